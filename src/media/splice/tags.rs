//! What an MP4 calls itself: the one tag that is read from its index. Everything that does not fit is taken for absent.

/// The title in the body of a `moov`: iTunes' metadata (`udta/meta/ilst/©nam/data`), or QuickTime's user data (`udta/©nam`).
pub fn title(moov: &[u8]) -> Option<String> {
    const NAME: &[u8; 4] = b"\xa9nam";
    let udta = find(moov, b"udta")?;
    let tagged = find(udta, b"meta").and_then(|meta| {
        // A full box in MP4 (ISO/IEC 14496-12, clause 8.11.1), a plain one in QuickTime.
        let boxes = match meta.get(4..8) {
            Some(b"hdlr") => meta,
            _ => meta.get(4..)?,
        };
        let data = find(find(find(boxes, b"ilst")?, NAME)?, b"data")?;
        // A type and a locale come first; type 1 is UTF-8.
        let (kind, text) = (data.get(..4)?, data.get(8..)?);
        (kind == [0, 0, 0, 1]).then_some(text)
    });
    let plain = || {
        // Its length and its language come first.
        let text = find(udta, NAME)?;
        let length = u16::from_be_bytes([*text.first()?, *text.get(1)?]);
        text.get(4..4 + usize::from(length))
    };
    const MOST: usize = 4096;
    let text = tagged.or_else(plain)?;
    let text = text.get(..MOST).unwrap_or(text);
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The body of the first box of a kind.
fn find<'a>(mut boxes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    const HEAD: usize = 8;
    loop {
        let size = u32::from_be_bytes(boxes.get(..4)?.try_into().ok()?);
        let size = usize::try_from(size).ok().filter(|size| *size >= HEAD)?;
        let body = boxes.get(HEAD..size)?;
        if &boxes[4..HEAD] == kind {
            return Some(body);
        }
        boxes = &boxes[size..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_box(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = (body.len() as u32 + 8).to_be_bytes();
        [&size[..], kind, body].concat()
    }

    fn tagged(text: &[u8]) -> Vec<u8> {
        let data = a_box(b"data", &[&[0, 0, 0, 1, 0, 0, 0, 0], text].concat());
        let ilst = a_box(b"ilst", &a_box(b"\xa9nam", &data));
        let meta = [&[0; 4], &a_box(b"hdlr", &[0; 25])[..], &ilst].concat();
        let moov = [
            a_box(b"mvhd", &[0; 100]),
            a_box(b"udta", &a_box(b"meta", &meta)),
        ];
        moov.concat()
    }

    #[test]
    fn both_kinds_of_titles_are_found() {
        assert_eq!(title(&tagged("Übung".as_bytes())).as_deref(), Some("Übung"));
        let text = a_box(b"\xa9nam", b"\0\x05\x15\xc7Older");
        assert_eq!(title(&a_box(b"udta", &text)).as_deref(), Some("Older"));
        assert_eq!(title(&a_box(b"mvhd", b"")), None);
    }

    #[test]
    fn broken_tags_are_none() {
        let whole = tagged(b"Title");
        for end in 0..whole.len() {
            let _ = title(&whole[..end]);
        }
        for place in 0..whole.len() {
            let mut broken = whole.clone();
            broken[place] ^= 0xff;
            let _ = title(&broken);
        }
        assert_eq!(
            title(&a_box(b"udta", &a_box(b"\xa9nam", b"\xff\xff\0\0x"))),
            None
        );
    }
}
