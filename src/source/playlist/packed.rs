//! Packed audio (RFC 8216, clause 3.4): bare frames of sound, each piece with an ID3 tag in front that says when it is heard, because
//! the frames themselves do not.

use crate::seconds::Seconds;

/// The owner of the frame that holds the time.
const OWNER: &[u8] = b"com.apple.streaming.transportStreamTimestamp\0";
const TAG_HEAD: usize = 10;
const FRAME_HEAD: usize = 10;
/// Ticks per second.
const CLOCK: i64 = 90_000;

/// How a piece of packed audio begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// At this timestamp, on the clock of MPEG-TS.
    At(Seconds),
    /// It does not say when.
    Untimed,
}

/// Tells packed AAC by its first bytes; none when it is something else.
pub fn packed(bytes: &[u8]) -> Option<Packed> {
    if let Some(tag) = tag(bytes) {
        return Some(time(tag).map_or(Packed::Untimed, Packed::At));
    }
    // The sync word of ADTS (ISO/IEC 13818-7, clause 6.2.1), layer 0.
    matches!(bytes, [0xff, second, ..] if second & 0xf6 == 0xf0).then_some(Packed::Untimed)
}

/// The frames of an ID3v2 tag.
fn tag(bytes: &[u8]) -> Option<&[u8]> {
    let head = bytes.get(..TAG_HEAD)?.strip_prefix(b"ID3")?;
    let size = synchsafe(head.get(3..7)?)?;
    let end = TAG_HEAD.checked_add(size)?.min(bytes.len());
    bytes.get(TAG_HEAD..end)
}

fn time(mut frames: &[u8]) -> Option<Seconds> {
    while let Some(head) = frames.get(..FRAME_HEAD) {
        let size = synchsafe(&head[4..8])?;
        let body = frames.get(FRAME_HEAD..FRAME_HEAD.checked_add(size)?)?;
        if head.starts_with(b"PRIV")
            && let Some(ticks) = body.strip_prefix(OWNER)
        {
            let ticks = u64::from_be_bytes(ticks.try_into().ok()?) & ((1 << 33) - 1);
            let micros = i64::try_from(ticks).ok()? * 1_000_000 / CLOCK;
            return Some(Seconds::from_micros(micros));
        }
        frames = &frames[FRAME_HEAD + size..];
    }
    None
}

/// Four bytes of seven bits each.
fn synchsafe(bytes: &[u8]) -> Option<usize> {
    bytes.iter().all(|byte| byte & 0x80 == 0).then(|| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 7 | usize::from(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(owner: &[u8], ticks: u64) -> Vec<u8> {
        let mut body = owner.to_vec();
        body.extend(ticks.to_be_bytes());
        let mut frame = b"PRIV".to_vec();
        frame.extend([0, 0, 0, body.len() as u8, 0, 0]);
        frame.extend(body);
        let mut tag = b"ID3\x04\0\0".to_vec();
        tag.extend([0, 0, 0, frame.len() as u8]);
        tag.extend(frame);
        tag
    }

    #[test]
    fn a_piece_tells_when_it_is_heard() {
        let at = |ticks: u64| packed(&tagged(OWNER, ticks));
        assert_eq!(at(90_000), Some(Packed::At(Seconds::from_whole(1))));
        assert_eq!(at(0), Some(Packed::At(Seconds::ZERO)));
        // Only 33 bits count.
        assert_eq!(
            at((1 << 33) + 180_000),
            Some(Packed::At(Seconds::from_whole(2)))
        );
    }

    #[test]
    fn other_beginnings_are_told_apart() {
        assert_eq!(
            packed(&tagged(b"somebody.else\0", 9)),
            Some(Packed::Untimed)
        );
        assert_eq!(packed(&[0xff, 0xf1, 0x50]), Some(Packed::Untimed));
        assert_eq!(packed(&[0xff, 0xfb, 0x90]), None);
        assert_eq!(packed(b"\x47\x40\0"), None);
        assert_eq!(packed(b"\0\0\0\x1cftyp"), None);
        assert_eq!(packed(b""), None);
        // Cut off anywhere, and with sizes that are not true.
        let whole = tagged(OWNER, 90_000);
        for length in 0..whole.len() {
            let _ = packed(&whole[..length]);
        }
        let mut wrong = whole.clone();
        wrong[17] = 0x7f;
        assert_eq!(packed(&wrong), Some(Packed::Untimed));
        wrong[16] = 0xff;
        assert_eq!(packed(&wrong), Some(Packed::Untimed));
    }
}
