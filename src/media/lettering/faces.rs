//! The faces that letters are taken from: those that come with us, then Noto faces of the system. Which face draws which letter is
//! decided here, by what the faces have, never by names of languages.

use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use harfrust::Font;
use unicode_normalization::UnicodeNormalization;
use unicode_script::{Script, UnicodeScript};
use unicode_segmentation::UnicodeSegmentation;

use super::{Undrawn, system};

/// A face at the size at which it looks as large as the others.
pub struct Face {
    pub font: Font,
    /// Times the size that is asked for.
    pub scale: f32,
}

/// All faces at hand, those first that are taken first.
pub struct Faces {
    all: Vec<Face>,
    folders: Vec<PathBuf>,
}

/// A face's number among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaceId(usize);

/// Whether Latin letters are those that shout or those that are small and plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    Display,
    Plain,
}

/// A stretch of a text, in bytes, in one face and one script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub range: Range<usize>,
    pub face: FaceId,
    pub script: Script,
}

const DISPLAY: FaceId = FaceId(0);
const EMOJI: FaceId = FaceId(4);

/// What comes with us, most of it compressed: it is only read when a text is drawn. The scale brings capitals and the like to the height
/// of the display face's.
static BUNDLED: [(Packed, f32); 5] = [
    (
        Packed::Plain(include_bytes!("../../../assets/fonts/Anton-Regular.ttf")),
        1.0,
    ),
    (
        Packed::Gzip(include_bytes!("../../../assets/fonts/NotoSans-Bold.ttf.gz")),
        1.15,
    ),
    (
        Packed::Gzip(include_bytes!(
            "../../../assets/fonts/NotoSansArabic-Bold.ttf.gz"
        )),
        1.2,
    ),
    (
        Packed::Gzip(include_bytes!(
            "../../../assets/fonts/NotoSansDevanagari-Bold.ttf.gz"
        )),
        1.2,
    ),
    (
        Packed::Gzip(include_bytes!(
            "../../../assets/fonts/NotoEmoji-Bold.ttf.gz"
        )),
        0.95,
    ),
];

/// How a face lies in the binary.
enum Packed {
    Plain(&'static [u8]),
    Gzip(&'static [u8]),
}

impl Packed {
    fn font(&self) -> Option<Font> {
        match self {
            Packed::Plain(bytes) => Font::new(*bytes, 0),
            Packed::Gzip(bytes) => {
                let mut font = Vec::new();
                GzDecoder::new(*bytes).read_to_end(&mut font).ok()?;
                Font::new(font, 0)
            }
        }
    }
}

const SYSTEM: [&str; 2] = ["/usr/share/fonts", "/usr/local/share/fonts"];
/// Letters that are named when none of the faces has them.
const NAMED: usize = 5;

impl Faces {
    /// The bundled ones; others are looked for, in the system's folders and these, when a letter is missing.
    pub fn bundled(folders: &[PathBuf]) -> Faces {
        let faces = BUNDLED.iter().filter_map(|(packed, scale)| {
            Some(Face {
                font: packed.font()?,
                scale: *scale,
            })
        });
        let system = SYSTEM.iter().map(PathBuf::from);
        Faces {
            all: faces.collect(),
            folders: folders.iter().cloned().chain(system).collect(),
        }
    }

    /// The face of this number.
    pub fn face(&self, id: FaceId) -> Option<&Face> {
        self.all.get(id.0)
    }

    /// Who draws what of a text.
    ///
    /// # Errors
    /// When a letter is in no face; it tells which.
    pub fn spans(&mut self, text: &str, voice: Voice) -> Result<Vec<Span>, Undrawn> {
        let missing = self.missing(text);
        if !missing.is_empty() {
            self.search(&missing);
        }
        let missing = self.missing(text);
        if !missing.is_empty() {
            return Err(Undrawn::Letters(named(&missing)));
        }
        Ok(self.assigned(text, voice))
    }

    /// Of what no face has all letters, each once.
    fn missing<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut missing: Vec<&str> = Vec::new();
        for grapheme in text.graphemes(true) {
            if !missing.contains(&grapheme) && !self.all.iter().any(|face| face.covers(grapheme)) {
                missing.push(grapheme);
            }
        }
        missing
    }

    fn assigned(&self, text: &str, voice: Voice) -> Vec<Span> {
        let graphemes: Vec<(usize, &str)> = text.grapheme_indices(true).collect();
        let scripts: Vec<Option<Script>> = graphemes.iter().map(|(_, of)| script(of)).collect();
        let order: Vec<FaceId> = (0..self.all.len())
            .map(FaceId)
            .filter(|id| voice == Voice::Display || *id != DISPLAY)
            .collect();
        let has =
            |id: FaceId, grapheme: &str| self.face(id).is_some_and(|face| face.covers(grapheme));
        let first = |grapheme: &str| order.iter().copied().find(|id| has(*id, grapheme));
        // Letters of one script look alike: one face draws all of them if one can.
        let mut whole: Vec<(Script, Option<FaceId>)> = Vec::new();
        for script in scripts.iter().flatten() {
            if !whole.iter().any(|(known, _)| known == script) {
                let of_it = graphemes.iter().zip(&scripts);
                let of_it = of_it.filter(|(_, other)| **other == Some(*script));
                let of_it: Vec<&str> = of_it.map(|((_, grapheme), _)| *grapheme).collect();
                let all_of = |id: &FaceId| of_it.iter().all(|grapheme| has(*id, grapheme));
                whole.push((*script, order.iter().copied().find(all_of)));
            }
        }
        let own = |grapheme: &str, script: Script| {
            let whole = whole.iter().find(|(known, _)| *known == script);
            whole
                .and_then(|(_, face)| *face)
                .or_else(|| first(grapheme))
        };
        let mut spans: Vec<Span> = Vec::new();
        let mut last: Option<(FaceId, Script)> = None;
        for (place, (start, grapheme)) in graphemes.iter().enumerate() {
            let ahead = || {
                let next = scripts.iter().zip(&graphemes).skip(place + 1);
                next.filter_map(|(script, (_, of))| script.map(|script| (script, *of)))
                    .next()
                    .and_then(|(script, of)| Some((own(of, script)?, script)))
            };
            let chosen = match scripts[place] {
                Some(script) => own(grapheme, script).map(|face| (face, script)),
                None if wants_emoji(grapheme) && has(EMOJI, grapheme) => {
                    Some((EMOJI, Script::Common))
                }
                // Digits, stops and spaces go with the letters beside them.
                None => last
                    .filter(|(face, _)| has(*face, grapheme))
                    .or_else(|| ahead().filter(|(face, _)| has(*face, grapheme)))
                    .or_else(|| first(grapheme).map(|face| (face, Script::Common))),
            };
            // Every letter has a face by now.
            let Some((face, script)) = chosen else {
                continue;
            };
            if scripts[place].is_some() {
                last = chosen;
            }
            let end = start + grapheme.len();
            match spans.last_mut() {
                Some(span)
                    if span.face == face && span.script == script && span.range.end == *start =>
                {
                    span.range.end = end;
                }
                Some(_) | None => spans.push(Span {
                    range: *start..end,
                    face,
                    script,
                }),
            }
        }
        spans
    }

    /// Adds the system's faces that have what is missing.
    fn search(&mut self, missing: &[&str]) {
        let mut wanted = missing.to_vec();
        for path in system::files(&self.folders) {
            let Some(face) = system::opened(&path) else {
                continue;
            };
            let before = wanted.len();
            wanted.retain(|grapheme| !face.covers(grapheme));
            if wanted.len() < before {
                self.all.push(face);
            }
            if wanted.is_empty() {
                break;
            }
        }
    }
}

impl Face {
    /// Whether it can draw this, as it is written or put together.
    fn covers(&self, grapheme: &str) -> bool {
        let map = self.font.charmap();
        let has = |letter: char| is_unseen(letter) || map.map_unicode(u32::from(letter)).is_some();
        grapheme.chars().all(has) || grapheme.nfc().all(has)
    }
}

/// The script of a letter; those that are written together are one. None for what belongs to all.
fn script(grapheme: &str) -> Option<Script> {
    grapheme.chars().find_map(|letter| match letter.script() {
        Script::Common | Script::Inherited | Script::Unknown => None,
        Script::Hiragana | Script::Katakana => Some(Script::Han),
        script => Some(script),
    })
}

/// Whether it says itself that it is meant as a picture.
fn wants_emoji(grapheme: &str) -> bool {
    grapheme
        .chars()
        .any(|letter| matches!(letter, '\u{fe0f}' | '\u{20e3}' | '\u{1f000}'..='\u{1faff}'))
}

/// White space, and what has no shape of its own: Default_Ignorable_Code_Point (UAX #44).
fn is_unseen(letter: char) -> bool {
    letter.is_whitespace()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fff8}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// A few letters as they look and by their numbers.
fn named(missing: &[&str]) -> String {
    let letters = missing.iter().take(NAMED).map(|grapheme| {
        let letter = grapheme.chars().next().unwrap_or_default();
        format!("{letter} (U+{:04X})", u32::from(letter))
    });
    let mut named = letters.collect::<Vec<_>>().join(", ");
    if missing.len() > NAMED {
        named.push_str(" and more");
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A face that does not come with the binary.
    const JAPANESE: &[u8] = include_bytes!("../../../assets/fonts/NotoSansJP-Bold.ttf");

    #[track_caller]
    fn drawn_by(text: &str) -> Vec<(String, usize)> {
        let mut faces = Faces::bundled(&[]);
        faces.folders = vec![PathBuf::from("assets/fonts")];
        let spans = faces.spans(text, Voice::Display).unwrap();
        let part = |span: &Span| (text[span.range.clone()].to_owned(), span.face.0);
        spans.iter().map(part).collect()
    }

    #[test]
    fn all_bundled_faces_can_be_read() {
        assert_eq!(Faces::bundled(&[]).all.len(), BUNDLED.len());
    }

    #[test]
    fn letters_of_one_script_come_from_one_face() {
        for (text, parts) in [
            ("Hello, 12!", vec![("Hello, 12!", 0)]),
            ("Tiếng Việt", vec![("Tiếng Việt", 0)]),
            ("Привет", vec![("Привет", 1)]),
            ("日本語です", vec![("日本語です", 5)]),
            ("नमस्ते", vec![("नमस्ते", 1)]),
            // Vedic signs are in one face only, which then draws the letters beside them too.
            ("क\u{1cda}", vec![("क\u{1cda}", 3)]),
            ("مرحبا", vec![("مرحبا", 2)]),
            ("e\u{301}", vec![("e\u{301}", 0)]),
            ("LOL 😂!", vec![("LOL ", 0), ("😂", 4), ("!", 0)]),
            ("❤️", vec![("❤️", 4)]),
            // Anton has no letter for the second, so it draws neither.
            ("aɧ", vec![("aɧ", 1)]),
            ("2日", vec![("2日", 5)]),
            ("\u{200d}", vec![("\u{200d}", 0)]),
        ] {
            let parts: Vec<_> = parts
                .into_iter()
                .map(|(part, face)| (part.to_owned(), face))
                .collect();
            assert_eq!(drawn_by(text), parts, "{text}");
        }
    }

    #[test]
    fn letters_that_no_face_has_are_named() {
        let mut faces = Faces::bundled(&[]);
        faces.folders.clear();
        let Err(Undrawn::Letters(named)) = faces.spans("a𓀀b𓀁𓀀", Voice::Display) else {
            panic!("hieroglyphs are drawn");
        };
        assert_eq!(named, "𓀀 (U+13000), 𓀁 (U+13001)");
    }

    #[test]
    fn faces_of_a_folder_are_found_by_what_they_have() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("truetype/noto");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("NotoSansBroken-Bold.ttf"), b"no font").unwrap();
        std::fs::write(deep.join("Other-Bold.ttf"), JAPANESE).unwrap();
        let mut faces = Faces::bundled(&[]);
        faces.folders = vec![folder.path().to_owned()];
        assert!(faces.spans("日", Voice::Display).is_err());
        std::fs::write(deep.join("NotoSansCJK-Bold.ttc"), JAPANESE).unwrap();
        let spans = faces.spans("日", Voice::Display).unwrap();
        assert_eq!(spans[0].face, FaceId(5));
    }
}
