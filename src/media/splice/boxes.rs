//! Which boxes of an index are read. All others are renamed to `free` before anything looks at them: a box that nobody needs cannot do
//! harm, whatever it says of itself.

use std::io;

/// The boxes that may stand in another (ISO/IEC 14496-12, table 1), as far as they say where samples are and what they are.
fn allowed(parent: &[u8; 4]) -> &'static [&'static [u8; 4]] {
    match parent {
        b"moov" => &[b"mvhd", b"trak", b"mvex"],
        b"trak" => &[b"tkhd", b"edts", b"mdia"],
        b"edts" => &[b"elst"],
        b"mdia" => &[b"mdhd", b"hdlr", b"minf"],
        b"minf" => &[b"vmhd", b"smhd", b"dinf", b"stbl"],
        b"dinf" => &[b"dref"],
        b"stbl" => &[
            b"stsd", b"stts", b"ctts", b"stss", b"stsz", b"stsc", b"stco", b"co64",
        ],
        b"mvex" => &[b"trex"],
        b"moof" => &[b"mfhd", b"traf"],
        b"traf" => &[b"tfhd", b"tfdt", b"trun"],
        _ => &[],
    }
}

/// Renames what is not read in the body of a `moov` or `moof`.
///
/// # Errors
/// When a box is larger than what it stands in.
pub fn needed_only(body: &mut [u8], parent: &[u8; 4]) -> io::Result<()> {
    const HEAD: usize = 8;
    let mut rest = body;
    // A few bytes of padding at the end are common.
    while rest.len() >= HEAD {
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte))
        };
        let (head, size) = match number(&rest[..4]) {
            0 => (HEAD, rest.len() as u64),
            1 if rest.len() >= 2 * HEAD => (2 * HEAD, number(&rest[HEAD..2 * HEAD])),
            size => (HEAD, size),
        };
        let size = usize::try_from(size)
            .ok()
            .filter(|size| (head..=rest.len()).contains(size))
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "a box is larger than its place")
            })?;
        let (this, after) = rest.split_at_mut(size);
        let kind: [u8; 4] = [this[4], this[5], this[6], this[7]];
        if !allowed(parent).contains(&&kind) {
            this[4..HEAD].copy_from_slice(b"free");
        } else if !allowed(&kind).is_empty() {
            needed_only(&mut this[head..], &kind)?;
        }
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_box(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = (body.len() as u32 + 8).to_be_bytes();
        [&size[..], kind, body].concat()
    }

    #[test]
    fn only_boxes_that_are_read_keep_their_names() {
        let stbl = [a_box(b"stsz", b"1234"), a_box(b"sgpd", b"zzzz")].concat();
        let minf = a_box(b"minf", &a_box(b"stbl", &stbl));
        let trak = [a_box(b"udta", b"name"), a_box(b"mdia", &minf)].concat();
        let mut body = [a_box(b"trak", &trak), a_box(b"meta", b"")].concat();
        needed_only(&mut body, b"moov").unwrap();
        let names = |kind: &[u8]| body.windows(4).filter(|four| *four == kind).count();
        assert_eq!((names(b"stsz"), names(b"mdia"), names(b"trak")), (1, 1, 1));
        assert_eq!((names(b"sgpd"), names(b"udta"), names(b"meta")), (0, 0, 0));
        assert_eq!(names(b"free"), 3);
    }

    #[test]
    fn a_box_that_does_not_fit_is_refused() {
        for size in [3_u32, 17, u32::MAX] {
            let mut body = [&size.to_be_bytes()[..], b"trak", b"12345678"].concat();
            assert!(needed_only(&mut body, b"moov").is_err(), "{size}");
        }
    }
}
