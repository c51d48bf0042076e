//! Titles from the names of files: what a person called it, without what only machines need.

use unicode_normalization::UnicodeNormalization;

use super::parse::TITLE_CHARS;

/// A title made from a file's name, whatever system it comes from: no folders, no extension, no characters that cannot be seen or
/// that turn the reading direction. Never empty.
pub fn title_of(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    // Composed, so that one name gives one title whatever system wrote it.
    let seen: String = last
        .nfc()
        .filter(|letter| !is_invisible(*letter))
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let spaced = seen.split_whitespace().collect::<Vec<_>>().join(" ");
    let stem = match spaced.rsplit_once('.') {
        Some((stem, _)) if !stem.trim().is_empty() => stem,
        _ => spaced.as_str(),
    };
    let title: String = stem.trim().chars().take(TITLE_CHARS).collect();
    if title.is_empty() {
        "clip".to_owned()
    } else {
        title
    }
}

/// Marks that turn the reading direction or cannot be seen. The joiners U+200C and U+200D stay: Persian, Devanagari and emoji need
/// them.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(title_of(name), title, "{name:?}");
        }
        assert_eq!(title_of(&"字".repeat(900)).chars().count(), TITLE_CHARS);
    }
}
