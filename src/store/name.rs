//! File names made from titles: what a person wrote, kept as far as file systems, shells and headers stand it.

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use super::POSTER;

/// A name without slashes, control or direction characters, never starting with `-` or `.`, at most 120 bytes of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

const MOST_BYTES: usize = 120;

impl FileName {
    /// Makes a name with an extension (without its dot) from a title.
    pub fn from_title(title: &str, extension: &str) -> FileName {
        FileName::ending(title, &format!(".{extension}"))
    }

    /// The same with a number behind the title.
    pub fn numbered(title: &str, number: u32, extension: &str) -> FileName {
        FileName::ending(title, &format!("-{number}.{extension}"))
    }

    fn ending(title: &str, ending: &str) -> FileName {
        // Composed, so that one title gives one name whatever keyboard wrote it.
        let kept: String = title
            .nfc()
            .map(plain)
            .filter(|letter| *letter != '\u{0}')
            .collect();
        let spaced = kept.split_whitespace().collect::<Vec<_>>().join(" ");
        let stem = spaced
            .trim_start_matches(['-', '.', ' ', '~'])
            .trim_end_matches(['.', ' ']);
        let room = MOST_BYTES - ending.len();
        let mut short = String::new();
        // By grapheme: half an emoji or a consonant without its vowel sign is another text.
        for grapheme in stem.graphemes(true) {
            if short.len() + grapheme.len() > room {
                break;
            }
            short.push_str(grapheme);
        }
        let short = short.trim_end_matches(['.', ' ']);
        let stem = if short.is_empty() { "clip" } else { short };
        let name = format!("{stem}{ending}");
        // That one is the picture's, which lies beside it; in whatever case, for disks that make no difference.
        if name.eq_ignore_ascii_case(POSTER) {
            return FileName(format!("{stem}-1{ending}"));
        }
        FileName(name)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Replaces separators and what other systems forbid; NUL stands for "leave out".
fn plain(letter: char) -> char {
    match letter {
        '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => '-',
        // Marks that turn the reading direction or cannot be seen. The joiners U+200C and U+200D stay: Persian, Devanagari and
        // emoji need them.
        '\u{61c}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{0}',
        letter if letter.is_control() => ' ',
        letter => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_what_was_written_as_far_as_it_is_safe() {
        for (title, name) in [
            ("A plain title", "A plain title.mp4"),
            ("Übergröße — ñ", "Übergröße — ñ.mp4"),
            ("e\u{301}té", "été.mp4"),
            ("", "clip.mp4"),
            ("   ", "clip.mp4"),
            ("...", "clip.mp4"),
            (".htaccess", "htaccess.mp4"),
            ("-rf", "rf.mp4"),
            ("--exec=id", "exec=id.mp4"),
            ("../../etc/passwd", "etc-passwd.mp4"),
            ("..\\..\\x", "x.mp4"),
            ("C:\\x", "C--x.mp4"),
            ("x\r\nSet-Cookie: a=b", "x Set-Cookie- a=b.mp4"),
            ("x\"; filename=y.html", "x-; filename=y.html.mp4"),
            ("\u{202e}4pm.exe", "4pm.exe.mp4"),
            ("a\u{0}b\u{7f}c", "a b c.mp4"),
            ("$(id) `id` ;id", "$(id) `id` ;id.mp4"),
            ("%2e%2e%2fx", "%2e%2e%2fx.mp4"),
            ("trailing. . ", "trailing.mp4"),
            ("👩‍👩‍👧 देवनागरी", "👩‍👩‍👧 देवनागरी.mp4"),
            ("می‌خواهم", "می‌خواهم.mp4"),
        ] {
            assert_eq!(
                FileName::from_title(title, "mp4").as_str(),
                name,
                "{title:?}"
            );
        }
    }

    #[test]
    fn no_clip_has_the_name_of_its_picture() {
        for (title, extension, name) in [
            ("poster", "jpg", "poster-1.jpg"),
            (" Poster. ", "jpg", "Poster-1.jpg"),
            ("poster", "mp4", "poster.mp4"),
            ("posters", "jpg", "posters.jpg"),
        ] {
            assert_eq!(FileName::from_title(title, extension).as_str(), name);
        }
    }

    #[test]
    fn a_number_stands_behind_the_title_and_within_what_a_name_may_have() {
        assert_eq!(
            FileName::numbered("A title.", 2, "gif").as_str(),
            "A title-2.gif"
        );
        assert_eq!(FileName::numbered("...", 12, "mp4").as_str(), "clip-12.mp4");
        let long = FileName::numbered(&"a".repeat(500), 1234, "mp4");
        assert_eq!(long.as_str().len(), MOST_BYTES);
        assert!(long.as_str().ends_with("a-1234.mp4"));
    }

    #[test]
    fn long_titles_are_cut_between_characters_people_see() {
        for title in [
            "字".repeat(300),
            "👩‍👩‍👧".repeat(40),
            "क्षि".repeat(60),
            "é".repeat(500),
            "a".repeat(500),
        ] {
            let name = FileName::from_title(&title, "mp4");
            assert!(name.as_str().len() <= MOST_BYTES, "{}", name.as_str().len());
            assert!(
                name.as_str().len() > MOST_BYTES - 24,
                "{}",
                name.as_str().len()
            );
            let stem = name.as_str().strip_suffix(".mp4").unwrap();
            let whole: Vec<&str> = title
                .graphemes(true)
                .take(stem.graphemes(true).count())
                .collect();
            assert_eq!(stem, whole.concat());
        }
    }

    #[test]
    fn no_title_makes_a_path_or_a_hidden_file() {
        for title in [
            "/",
            "//",
            "..",
            ".",
            "a/../b",
            "\u{202e}../x",
            "\u{feff}.x",
            "‎-rf",
            "~root",
        ] {
            let name = FileName::from_title(title, "mp4");
            let name = name.as_str();
            assert!(
                !name.contains('/') && !name.starts_with(['.', '-', '~']),
                "{title:?} became {name:?}"
            );
        }
    }
}
