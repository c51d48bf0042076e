//! H.264 as far as splicing needs it (ITU-T H.264, clauses 7.3 and 7.4): the units of a sample, and the few fields of the parameter
//! sets that say whether two streams may share one track.

/// `nal_unit_type` (table 7-1) of the units that matter here.
pub const IDR: u8 = 5;
/// Sequence parameter set.
pub const SPS: u8 = 7;
/// Picture parameter set.
pub const PPS: u8 = 8;
/// Supplemental enhancement information.
pub const SEI: u8 = 6;
/// Filler data.
pub const FILLER: u8 = 12;

/// The units of a sample whose lengths are `length_size` bytes wide (ISO/IEC 14496-15, clause 5.3). Stops at the first length that
/// does not fit, with `None`.
pub fn units(sample: &[u8], length_size: u8) -> Option<Vec<&[u8]>> {
    let width = usize::from(length_size);
    let mut rest = sample;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_at_checked(width)?;
        let length = length
            .iter()
            .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
        let (unit, after) = after.split_at_checked(length)?;
        if !unit.is_empty() {
            found.push(unit);
        }
        rest = after;
    }
    Some(found)
}

/// A unit without the zero bytes behind it that byte streams may have there (annex B, `trailing_zero_8bits`): no unit ends in one.
pub fn trimmed(unit: &[u8]) -> &[u8] {
    let end = unit.iter().rposition(|byte| *byte != 0);
    &unit[..end.map_or(0, |end| end + 1)]
}

/// Whether a unit is a slice of a picture (types 1 to 5).
pub fn is_slice(unit: &[u8]) -> bool {
    (1..=IDR).contains(&kind(unit))
}

/// Whether a slice is of type I (clause 7.4.3, `slice_type` 2 or 7): it needs no other picture. Its first bytes are enough.
pub fn is_intra(unit: &[u8]) -> bool {
    let mut bits = Bits::new(unit.get(1..).unwrap_or_default());
    let kind = bits.golomb().and_then(|_| bits.golomb());
    kind.is_some_and(|kind| kind % 5 == 2)
}

/// Whether no other picture refers to this one (`nal_ref_idc` is 0, clause 7.4.1).
pub fn is_disposable(unit: &[u8]) -> bool {
    unit.first().is_some_and(|byte| byte >> 5 & 3 == 0)
}

/// `nal_unit_type` of a unit; 0, which is unspecified, for an empty one.
pub fn kind(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte & 0x1f)
}

/// What a sequence parameter set says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    pub id: u32,
    pub profile: u8,
    pub level: u8,
    /// 1 is 4:2:0.
    pub chroma_format: u32,
    pub luma_depth: u32,
    pub chroma_depth: u32,
    /// No picture is a field or a pair of fields.
    pub frames_only: bool,
}

/// The ids in a picture parameter set: its own and that of its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    pub id: u32,
    pub sequence: u32,
}

impl Sequence {
    /// Reads a sequence parameter set (clause 7.3.2.1.1), header byte included.
    pub fn parse(unit: &[u8]) -> Option<Sequence> {
        if kind(unit) != SPS {
            return None;
        }
        let mut bits = Bits::new(unit.get(1..)?);
        let profile = bits.fixed(8)? as u8;
        bits.fixed(8)?;
        let level = bits.fixed(8)? as u8;
        let id = bits.golomb()?;
        let (mut chroma_format, mut luma_depth, mut chroma_depth) = (1, 8, 8);
        if matches!(
            profile,
            100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
        ) {
            chroma_format = bits.golomb()?;
            if chroma_format == 3 {
                bits.fixed(1)?;
            }
            luma_depth = bits.golomb()?.checked_add(8)?;
            chroma_depth = bits.golomb()?.checked_add(8)?;
            bits.fixed(1)?;
            if bits.fixed(1)? == 1 {
                for list in 0..if chroma_format == 3 { 12 } else { 8 } {
                    if bits.fixed(1)? == 1 {
                        skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        bits.golomb()?; // log2_max_frame_num
        match bits.golomb()? {
            0 => {
                bits.golomb()?;
            }
            1 => {
                bits.fixed(1)?;
                bits.golomb()?;
                bits.golomb()?;
                for _ in 0..bits.golomb()?.min(255) {
                    bits.golomb()?;
                }
            }
            _ => {}
        }
        bits.golomb()?; // max_num_ref_frames
        bits.fixed(1)?;
        bits.golomb()?; // width
        bits.golomb()?; // height
        Some(Sequence {
            id,
            profile,
            level,
            chroma_format,
            luma_depth,
            chroma_depth,
            frames_only: bits.fixed(1)? == 1,
        })
    }
}

impl Picture {
    /// Reads the ids of a picture parameter set (clause 7.3.2.2), header byte included.
    pub fn parse(unit: &[u8]) -> Option<Picture> {
        if kind(unit) != PPS {
            return None;
        }
        let mut bits = Bits::new(unit.get(1..)?);
        Some(Picture {
            id: bits.golomb()?,
            sequence: bits.golomb()?,
        })
    }
}

/// `recovery_frame_cnt` of a recovery point message (clauses D.1.8 and D.2.8) in an SEI unit: after so many frames pictures are whole
/// again. `None` when the unit holds no such message.
pub fn recovery_frames(unit: &[u8]) -> Option<u32> {
    const RECOVERY_POINT: usize = 6;
    let payload = unescaped(unit.get(1..).filter(|_| kind(unit) == SEI)?);
    let mut rest = payload.as_slice();
    // Clause 7.3.2.3.1: each message tells its type and size in bytes of 255 and a last one.
    while rest.len() > 2 {
        let mut number = || {
            let mut sum = 0;
            loop {
                let (byte, after) = rest.split_first()?;
                rest = after;
                sum += usize::from(*byte);
                if *byte != 255 {
                    return Some(sum);
                }
            }
        };
        let (kind, size) = (number()?, number()?);
        let (message, after) = rest.split_at_checked(size)?;
        if kind == RECOVERY_POINT {
            return Bits {
                payload: message.to_vec(),
                place: 0,
            }
            .golomb();
        }
        rest = after;
    }
    None
}

/// Clause 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits, size: u32) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            let code = i64::from(bits.golomb()?);
            let delta = if code % 2 == 0 {
                -(code / 2)
            } else {
                (code + 1) / 2
            };
            next = (last + delta + 256).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// A unit's payload without the bytes that keep start codes out of it (clause 7.4.1).
fn unescaped(escaped: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(escaped.len());
    let mut zeros = 0;
    for byte in escaped {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        payload.push(*byte);
    }
    payload
}

/// Reads bits one after the other.
struct Bits {
    payload: Vec<u8>,
    place: usize,
}

impl Bits {
    fn new(escaped: &[u8]) -> Bits {
        Bits {
            payload: unescaped(escaped),
            place: 0,
        }
    }

    fn fixed(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.payload.get(self.place / 8)?;
            value = (value << 1) | u32::from(byte >> (7 - self.place % 8) & 1);
            self.place += 1;
        }
        Some(value)
    }

    /// ue(v), clause 9.1.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.fixed(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some(((1_u64 << zeros) - 1) as u32 + self.fixed(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_split_by_their_lengths() {
        let sample = [0, 0, 0, 2, 0x67, 1, 0, 0, 0, 1, 0x65];
        let units = units(&sample, 4).unwrap();
        assert_eq!(
            units.iter().map(|unit| kind(unit)).collect::<Vec<_>>(),
            [SPS, IDR]
        );
        assert_eq!(super::units(&[0, 3, 9], 2), None);
        assert_eq!(super::units(&[], 4), Some(vec![]));
    }

    #[test]
    fn a_recovery_point_tells_after_how_many_frames() {
        // A user data message of 2 bytes, then a recovery point: ue(5) = 00110.
        assert_eq!(
            recovery_frames(&[0x06, 5, 2, 9, 9, 6, 1, 0b0011_0100, 0x80]),
            Some(5)
        );
        assert_eq!(recovery_frames(&[0x06, 6, 1, 0b1000_0000, 0x80]), Some(0));
        for unit in [
            &[0x06, 5, 2, 9, 9, 0x80][..],
            &[0x65, 6, 1, 0xff, 0x80],
            &[],
            &[0x06, 255],
            &[0x06, 6, 200, 1],
        ] {
            assert_eq!(recovery_frames(unit), None);
        }
    }

    #[test]
    fn a_high_profile_sequence_is_read() {
        // x264: High, level 3, 854x480, progressive.
        let unit = [
            0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xd8, 0x3d, 0xe6, 0xff, 0x03, 0x28, 0x03,
            0x24, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x00, 0xf1, 0x62,
            0xd9, 0x60,
        ];
        let sequence = Sequence::parse(&unit).unwrap();
        assert_eq!(
            (sequence.id, sequence.profile, sequence.level),
            (0, 100, 30)
        );
        assert_eq!(
            (
                sequence.chroma_format,
                sequence.luma_depth,
                sequence.frames_only
            ),
            (1, 8, true)
        );
    }

    #[test]
    fn ids_are_read_from_picture_sets_and_nonsense_is_none() {
        // ue(3) = 00100, ue(3) = 00100, then anything.
        assert_eq!(
            Picture::parse(&[0x68, 0b0010_0001, 0b0011_1111]),
            Some(Picture { id: 3, sequence: 3 })
        );
        for unit in [
            &[][..],
            &[0x67],
            &[0x67, 0, 0],
            &[0x68],
            &[0x68, 0, 0, 0, 0, 0],
        ] {
            assert!(Sequence::parse(unit).is_none() && Picture::parse(unit).is_none());
        }
    }
}
