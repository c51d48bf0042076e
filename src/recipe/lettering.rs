//! Texts that are drawn into the picture: captions and the watermark. Plain text, whatever it looks like to a program.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

/// A text above or below; line breaks are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Caption(String);

/// A small text in a corner, on one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Watermark(String);

/// Why a text cannot be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LetteringError {
    #[error("this text is longer than {0} characters")]
    TooLong(usize),
    #[error("this text has control characters")]
    Control,
    #[error("this text is empty")]
    Empty,
}

/// The longest caption and the longest watermark, in characters as people count them (UAX #29).
pub const CAPTION_CHARS: usize = 300;
pub const WATERMARK_CHARS: usize = 80;
/// One character as people count them may be long, but not without end.
const BYTES_A_CHAR: usize = 40;

impl Caption {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Watermark {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Caption {
    type Err = LetteringError;

    fn from_str(text: &str) -> Result<Caption, LetteringError> {
        plain(&text.replace("\r\n", "\n"), CAPTION_CHARS, &['\n']).map(Caption)
    }
}

impl FromStr for Watermark {
    type Err = LetteringError;

    fn from_str(text: &str) -> Result<Watermark, LetteringError> {
        plain(text, WATERMARK_CHARS, &[]).map(Watermark)
    }
}

fn plain(text: &str, most: usize, allowed: &[char]) -> Result<String, LetteringError> {
    if text.len() > most * BYTES_A_CHAR || text.graphemes(true).count() > most {
        return Err(LetteringError::TooLong(most));
    }
    let control = |letter: char| {
        letter.is_control() && !allowed.contains(&letter)
            || matches!(letter, '\u{2028}' | '\u{2029}')
    };
    if text.chars().any(control) {
        return Err(LetteringError::Control);
    }
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(LetteringError::Empty);
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_as_written_or_refused() {
        for text in [
            "%{n}\\N{\\b1}",
            "a:b,c;d'e\"",
            "[v]drawtext",
            "日本\n語",
            "👩‍👩‍👧".repeat(300).as_str(),
        ] {
            assert_eq!(text.parse::<Caption>().unwrap().as_str(), text);
        }
        assert_eq!(" a\r\nb ".parse::<Caption>().unwrap().as_str(), "a\nb");
        for (text, error) in [
            ("a\u{0}b".to_owned(), LetteringError::Control),
            ("a\tb".to_owned(), LetteringError::Control),
            ("a\u{7f}".to_owned(), LetteringError::Control),
            ("a\u{85}b".to_owned(), LetteringError::Control),
            ("a\u{2028}b".to_owned(), LetteringError::Control),
            (" \n ".to_owned(), LetteringError::Empty),
            ("x".repeat(301), LetteringError::TooLong(300)),
            (
                format!("e{}", "\u{301}".repeat(10_000)),
                LetteringError::TooLong(300),
            ),
        ] {
            assert_eq!(text.parse::<Caption>(), Err(error), "{text:?}");
        }
        assert_eq!("a\nb".parse::<Watermark>(), Err(LetteringError::Control));
        assert!("x".repeat(81).parse::<Watermark>().is_err());
    }
}
