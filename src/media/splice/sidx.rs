//! The index of a fragmented file (`sidx`, ISO/IEC 14496-12, clause 8.16.3): which bytes hold which stretch of time.

use std::ops::Range;

use mp4_atom::{ReadFrom, Sidx};

/// One stretch of a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsegment {
    /// Counted from the first byte behind the index.
    pub bytes: Range<u64>,
    /// In ticks of the presentation.
    pub ticks: Range<u64>,
}

/// What an index says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsegments {
    /// Ticks per second; not 0.
    pub timescale: u32,
    pub list: Vec<Subsegment>,
}

/// Reads one whole box; none when it is no index, or one of further indexes.
pub fn read(bytes: &[u8]) -> Option<Subsegments> {
    let mut rest = bytes;
    let index = Sidx::read_from(&mut rest).ok()?;
    if index.timescale == 0 || index.references.is_empty() {
        return None;
    }
    let (mut at, mut tick) = (index.first_offset, index.earliest_presentation_time);
    let mut list = Vec::new();
    for reference in &index.references {
        if reference.reference_type || reference.referenced_size == 0 {
            return None;
        }
        let end = at.checked_add(u64::from(reference.referenced_size))?;
        let until = tick.checked_add(u64::from(reference.subsegment_duration))?;
        list.push(Subsegment {
            bytes: at..end,
            ticks: tick..until,
        });
        (at, tick) = (end, until);
    }
    Some(Subsegments {
        timescale: index.timescale,
        list,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(version: u8, references: &[(u32, u32)]) -> Vec<u8> {
        let mut body = vec![version, 0, 0, 0];
        body.extend(1_u32.to_be_bytes());
        body.extend(1000_u32.to_be_bytes());
        if version == 0 {
            body.extend(500_u32.to_be_bytes());
            body.extend(20_u32.to_be_bytes());
        } else {
            body.extend(500_u64.to_be_bytes());
            body.extend(20_u64.to_be_bytes());
        }
        body.extend([0, 0]);
        body.extend((references.len() as u16).to_be_bytes());
        for (size, duration) in references {
            body.extend(size.to_be_bytes());
            body.extend(duration.to_be_bytes());
            body.extend(0x9000_0000_u32.to_be_bytes());
        }
        let mut whole = (body.len() as u32 + 8).to_be_bytes().to_vec();
        whole.extend(b"sidx");
        whole.extend(body);
        whole
    }

    #[test]
    fn stretches_lie_one_behind_the_other() {
        for version in [0, 1] {
            let read = read(&index(version, &[(100, 4000), (50, 2000)])).unwrap();
            assert_eq!(read.timescale, 1000);
            assert_eq!(
                read.list,
                [
                    Subsegment {
                        bytes: 20..120,
                        ticks: 500..4500
                    },
                    Subsegment {
                        bytes: 120..170,
                        ticks: 4500..6500
                    },
                ]
            );
        }
    }

    #[test]
    fn an_index_of_indexes_is_no_use() {
        assert_eq!(read(&index(0, &[(0x8000_0064, 4000)])), None);
        assert_eq!(read(&index(0, &[])), None);
        assert_eq!(read(&index(0, &[(0, 10)])), None);
        assert_eq!(read(b""), None);
        assert_eq!(read(&index(0, &[(100, 4000)])[..30]), None);
    }
}
