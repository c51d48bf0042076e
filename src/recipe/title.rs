//! Titles that somebody else wrote (a page, a file's metadata), made fit to be shown: one line of text and nothing that could
//! steer a terminal, a header or the direction of reading. It never refuses; what is left may be nothing.

use unicode_segmentation::UnicodeSegmentation;

use super::parse::TITLE_CHARS;

/// The text as a title of at most [`TITLE_CHARS`] characters, or `None` when nothing of it can be seen.
pub fn clean_title(text: &str) -> Option<String> {
    let kept: String = text
        .chars()
        .filter(|letter| !unseen(*letter))
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let spaced = kept.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut title = String::new();
    let mut room = TITLE_CHARS;
    // By grapheme: half an emoji or a consonant without its vowel sign is another text.
    for grapheme in spaced.graphemes(true) {
        let Some(left) = room.checked_sub(grapheme.chars().count()) else {
            break;
        };
        room = left;
        title.push_str(grapheme);
    }
    let title = title.trim_end();
    (!title.is_empty()).then(|| title.to_owned())
}

/// Marks that turn the direction of reading or cannot be seen. The joiners U+200C and U+200D stay: Persian, Devanagari and emoji
/// need them.
fn unseen(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_become_one_line_that_reads_as_it_looks() {
        for (text, title) in [
            ("A plain title", Some("A plain title")),
            ("  two\n lines\t", Some("two lines")),
            ("x\r\nSet-Cookie: a=b", Some("x Set-Cookie: a=b")),
            ("\u{1b}[31mred\u{7}", Some("[31mred")),
            ("\u{202e}4pm.exe", Some("4pm.exe")),
            ("a\u{200b}b\u{feff}", Some("ab")),
            ("--exec=id", Some("--exec=id")),
            (
                "<script>alert(1)</script>",
                Some("<script>alert(1)</script>"),
            ),
            ("می‌خواهم", Some("می‌خواهم")),
            ("👩‍👩‍👧", Some("👩‍👩‍👧")),
            ("", None),
            (" \n\u{200b}\u{0}", None),
        ] {
            assert_eq!(clean_title(text).as_deref(), title, "{text:?}");
        }
    }

    #[test]
    fn a_long_title_ends_between_characters_people_see() {
        for text in ["字".repeat(900), "👩‍👩‍👧".repeat(90), "e\u{301}".repeat(500)] {
            let title = clean_title(&text).unwrap();
            let count = title.chars().count();
            assert!(count <= TITLE_CHARS && count > TITLE_CHARS - 5, "{count}");
            let whole: Vec<&str> = text
                .graphemes(true)
                .take(title.graphemes(true).count())
                .collect();
            assert_eq!(title, whole.concat());
        }
    }
}
