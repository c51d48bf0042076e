//! Titles as they are shown: what a file, a page or a link calls itself, made harmless for a line of text. Pure.

use unicode_normalization::UnicodeNormalization;

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
    let short: String = folded.chars().take(MOST).collect();
    let short = short.trim_end();
    (!short.is_empty()).then(|| short.to_owned())
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
            | '\u{fff9}'..='\u{fffd}'
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
    fn titles_are_bounded_in_characters() {
        assert_eq!(clean(&"字".repeat(1000)).unwrap().chars().count(), MOST);
    }
}
