//! Titles as they are shown: what a file, a page or a link calls itself, made harmless for a line of text. Pure.

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// The longest title, in characters.
pub const MOST: usize = 300;

/// A title without characters that cannot be seen or that turn the reading direction, on one line; `None` when nothing is left.
pub fn clean(text: &str) -> Option<String> {
    let spaced: String = text
        .nfc()
        .map(|letter| {
            if letter.is_whitespace() || letter.is_control() {
                ' '
            } else {
                letter
            }
        })
        .filter(|letter| !is_unseen(*letter))
        .collect();
    let folded = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut title = String::new();
    let mut room = MOST;
    // By grapheme: half an emoji or a consonant without its vowel sign is another text.
    for grapheme in folded.graphemes(true) {
        let Some(left) = room.checked_sub(grapheme.chars().count()) else {
            break;
        };
        room = left;
        title.push_str(grapheme);
    }
    let title = title.trim_end();
    (!title.is_empty()).then(|| title.to_owned())
}

/// A title made from a file's name, whatever system it comes from: no folders, no extension. Never empty.
pub fn of_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let shown = clean(last).unwrap_or_default();
    let stem = match shown.rsplit_once('.') {
        Some((stem, _)) if !stem.trim().is_empty() => stem.trim(),
        _ => shown.as_str(),
    };
    if stem.is_empty() {
        "clip".to_owned()
    } else {
        stem.to_owned()
    }
}

/// Marks of direction (Unicode Standard Annex 9), of zero width, and what no text consists of. The joiners U+200C and U+200D stay:
/// Persian, Devanagari and emoji are written with them.
const fn is_unseen(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_keep_what_can_be_read() {
        for (text, title) in [
            ("A plain title", Some("A plain title")),
            (
                "  two\r\n lines\tand\u{a0}spaces ",
                Some("two lines and spaces"),
            ),
            ("e\u{301}té", Some("été")),
            ("\u{202e}4pm.exe", Some("4pm.exe")),
            ("a\u{200b}b\u{feff}c\u{2066}d", Some("abcd")),
            ("nul\u{0}and\u{7f}del\u{9b}csi", Some("nul and del csi")),
            ("می‌خواهم 👩‍👩‍👧", Some("می‌خواهم 👩‍👩‍👧")),
            ("\u{200b}\u{200f} \n", None),
            ("", None),
        ] {
            assert_eq!(clean(text).as_deref(), title, "{text:?}");
        }
    }

    #[test]
    fn what_looks_like_an_order_is_text() {
        for (text, title) in [
            ("x\r\nSet-Cookie: a=b", "x Set-Cookie: a=b"),
            ("\u{1b}[31mred\u{7}", "[31mred"),
            ("--exec=id", "--exec=id"),
            ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ] {
            assert_eq!(clean(text).as_deref(), Some(title), "{text:?}");
        }
    }

    #[test]
    fn a_long_title_ends_between_characters_people_see() {
        for text in [
            "字".repeat(900),
            "👩‍👩‍👧".repeat(90),
            "e\u{301}\u{302}".repeat(500),
        ] {
            let title = clean(&text).unwrap();
            let count = title.chars().count();
            assert!(count <= MOST && count > MOST - 5, "{count}");
            let text: String = text.nfc().collect();
            let whole: Vec<&str> = text
                .graphemes(true)
                .take(title.graphemes(true).count())
                .collect();
            assert_eq!(title, whole.concat());
        }
    }

    #[test]
    fn a_title_is_what_a_person_would_call_the_file() {
        for (name, title) in [
            ("holiday.mp4", "holiday"),
            ("a.b.mp4", "a.b"),
            ("no extension", "no extension"),
            ("..\\..\\x.mp4", "x"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\x.mp4", "x"),
            ("", "clip"),
            ("/", "clip"),
            ("  .mp4", ".mp4"),
            (".htaccess", ".htaccess"),
            ("-rf.mp4", "-rf"),
            ("x\r\nSet-Cookie: a=b.mp4", "x Set-Cookie: a=b"),
            ("x\"; filename=y.html", "x\"; filename=y"),
            ("\u{202e}4pm.exe", "4pm"),
            ("e\u{301}t\u{e9}.mp4", "\u{e9}t\u{e9}"),
            ("\u{1f600}.mp4", "\u{1f600}"),
            ("%2e%2e%2fx.mp4", "%2e%2e%2fx"),
            ("$(id).mp4", "$(id)"),
            ("a\u{0}b\u{7f}c.mp4", "a b c"),
            ("\u{200b}\u{feff}", "clip"),
            ("می\u{200c}خواهم.mp4", "می\u{200c}خواهم"),
        ] {
            assert_eq!(of_name(name), title, "{name:?}");
        }
        assert_eq!(of_name(&"字".repeat(900)).chars().count(), MOST);
    }
}
