//! Where the letters of a text stand: shaped, ordered, broken into lines of like length, and as large as its place allows. All lengths
//! are in ems of the display face until a size is chosen.

use std::ops::Range;

use unicode_bidi::{LevelRun, ParagraphBidiInfo};
use unicode_linebreak::linebreaks;
use unicode_segmentation::UnicodeSegmentation;

use super::Undrawn;
use super::faces::{Faces, Span, Voice};
use super::shape::{Glyph, Inks, shaped};

/// A line and what its ink covers, around its beginning on the baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub glyphs: Vec<Glyph>,
    pub left: f32,
    pub right: f32,
    top: f32,
    bottom: f32,
}

/// Lines below each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub lines: Vec<Line>,
    /// From its upper edge to the first baseline, and from one to the next.
    pub first: f32,
    pub leading: f32,
    pub height: f32,
    /// Places where a word had to be torn.
    torn: usize,
}

/// A text whose letters have their faces.
pub struct Text<'t> {
    paragraphs: Vec<Paragraph<'t>>,
}

/// A line as its author meant it.
struct Paragraph<'t> {
    text: &'t str,
    bidi: ParagraphBidiInfo<'t>,
    spans: Vec<Span>,
    pieces: Vec<Piece>,
}

/// What is never torn: a character as people count them.
struct Piece {
    range: Range<usize>,
    advance: f32,
    /// A line may end behind it.
    breaks: bool,
    blank: bool,
}

/// Where a text has to fit, in pixels, with its edge.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub width: f32,
    pub height: f32,
    /// What it fills when that can be had without becoming much smaller.
    pub comfort: f32,
    pub largest: f32,
    pub least: f32,
}

/// Between the ink of one line and the next.
const GAP: f32 = 0.21;
/// Ink of a line counts at least and at most so far: capitals always fit, and piles of marks push nobody away.
const TOP: Range<f32> = 0.86..1.3;
const BOTTOM: Range<f32> = 0.0..0.5;
/// Ink of a pile of marks that is farther from its line than this is left out.
const FARTHEST: f32 = 2.0;
/// One size to the next that is tried.
const STEP: f32 = 0.95;
/// Down to this share of the largest size, lines stay few; and down to this, words whole.
const FEW: f32 = 0.62;
const WHOLE: f32 = 0.4;

/// The width of the edge around letters of a size, in pixels.
pub fn edge(size: f32) -> f32 {
    (size * 0.07).max(1.0)
}

impl<'t> Text<'t> {
    /// Of lines that are separated by line breaks.
    ///
    /// # Errors
    /// When there is a letter that no face has.
    pub fn new(text: &'t str, voice: Voice, faces: &mut Faces) -> Result<Text<'t>, Undrawn> {
        let spans = faces.spans(text, voice)?;
        let mut start = 0;
        let mut paragraphs = Vec::new();
        for line in text.split('\n') {
            let own = start..start + line.len();
            let spans = spans.iter().filter_map(|span| {
                let range = common(&span.range, &own)?;
                Some(Span {
                    range: range.start - start..range.end - start,
                    ..span.clone()
                })
            });
            paragraphs.push(Paragraph::new(line, spans.collect(), faces));
            start = own.end + 1;
        }
        Ok(Text { paragraphs })
    }

    /// The text as large as its place allows, with its size in pixels; none when it would be too small.
    pub fn fitted(&self, place: &Place, faces: &Faces, inks: &mut Inks) -> Option<(Block, f32)> {
        let most = place.largest.max(place.least);
        // Large on few lines if that goes, else smaller on more; words are torn only when that saves the size.
        let tries = [
            (1.0, FEW, place.comfort, 0),
            (1.0, WHOLE, place.height, 0),
            (FEW, 0.0, place.height, usize::MAX),
        ];
        for (from, to, height, torn) in tries {
            let mut size = (most * from).max(place.least);
            loop {
                let edges = 2.0 * edge(size);
                let block = self.set((place.width - edges) / size, faces, inks);
                let fits = block.height * size + edges <= height
                    && block.width() * size + edges <= place.width
                    && block.torn <= torn;
                if fits {
                    return Some((block, size));
                }
                if size <= place.least || size <= most * to {
                    break;
                }
                size = (size * STEP).max(place.least);
            }
        }
        None
    }

    /// Set into lines of at most this width.
    fn set(&self, width: f32, faces: &Faces, inks: &mut Inks) -> Block {
        let mut lines = Vec::new();
        let mut all = 0;
        for paragraph in &self.paragraphs {
            let (broken, torn) = paragraph.balanced(width);
            all += torn;
            for range in broken {
                lines.push(paragraph.line(range, faces, inks));
            }
        }
        let pairs = lines.windows(2).map(|pair| pair[0].bottom + pair[1].top);
        let leading = pairs.fold(0.0, f32::max) + GAP;
        let first = lines.first().map_or(0.0, |line| line.top);
        let last = lines.last().map_or(0.0, |line| line.bottom);
        Block {
            first,
            leading,
            height: first + leading * lines.len().saturating_sub(1) as f32 + last,
            lines,
            torn: all,
        }
    }
}

impl Block {
    /// Of its widest line.
    pub fn width(&self) -> f32 {
        let widths = self.lines.iter().map(|line| line.right - line.left);
        widths.fold(0.0, f32::max)
    }
}

impl<'t> Paragraph<'t> {
    fn new(text: &'t str, spans: Vec<Span>, faces: &Faces) -> Paragraph<'t> {
        let bidi = ParagraphBidiInfo::new(text, None);
        let graphemes = text.grapheme_indices(true);
        let mut pieces: Vec<Piece> = graphemes
            .map(|(start, grapheme)| Piece {
                range: start..start + grapheme.len(),
                advance: 0.0,
                breaks: false,
                blank: grapheme.chars().all(char::is_whitespace),
            })
            .collect();
        let at = |pieces: &[Piece], place: usize| {
            pieces.partition_point(|piece| piece.range.end <= place)
        };
        for span in &spans {
            // Letters of one direction are shaped together.
            let levels = bidi.levels[span.range.clone()].chunk_by(|one, other| one == other);
            let mut start = span.range.start;
            for level in levels {
                let run = start..start + level.len();
                start = run.end;
                let rtl = level.iter().any(|level| level.is_rtl());
                for shaped in shaped(text, run, span, rtl, faces) {
                    let place = at(&pieces, shaped.cluster);
                    if let Some(piece) = pieces.get_mut(place) {
                        piece.advance += shaped.advance;
                    }
                }
            }
        }
        for (place, _) in linebreaks(text) {
            let ends = at(&pieces, place).checked_sub(1);
            if let Some(piece) = ends.and_then(|ends| pieces.get_mut(ends))
                && piece.range.end == place
            {
                piece.breaks = true;
            }
        }
        Paragraph {
            text,
            bidi,
            spans,
            pieces,
        }
    }

    /// Ranges of pieces that are at most this wide, and how many words were torn for it.
    fn broken(&self, width: f32) -> (Vec<Range<usize>>, usize) {
        let mut lines = Vec::new();
        let mut torn = 0;
        let (mut start, mut used, mut last) = (0, 0.0, None);
        for (place, piece) in self.pieces.iter().enumerate() {
            // What is blank hangs over.
            while used + piece.advance > width && !piece.blank && place > start {
                let end = last.take().unwrap_or_else(|| {
                    torn += 1;
                    place
                });
                lines.push(start..end);
                start = end;
                used = self.advance(start..place);
            }
            used += piece.advance;
            if piece.breaks {
                last = Some(place + 1);
            }
        }
        if start < self.pieces.len() || lines.is_empty() {
            lines.push(start..self.pieces.len());
        }
        (lines, torn)
    }

    /// The same with lines as like as they can be, and no more of them.
    fn balanced(&self, width: f32) -> (Vec<Range<usize>>, usize) {
        let (mut best, torn) = self.broken(width);
        let (mut low, mut high) = (0.0, width);
        if best.len() > 1 {
            for _ in 0..12 {
                let middle = (low + high) / 2.0;
                let (lines, torn_now) = self.broken(middle);
                if lines.len() <= best.len() && torn_now <= torn {
                    (best, high) = (lines, middle);
                } else {
                    low = middle;
                }
            }
        }
        (best, torn)
    }

    fn advance(&self, pieces: Range<usize>) -> f32 {
        self.pieces[pieces].iter().map(|piece| piece.advance).sum()
    }

    /// The glyphs of a range of pieces, in the order in which they are seen.
    fn line(&self, range: Range<usize>, faces: &Faces, inks: &mut Inks) -> Line {
        let mut line = Line {
            glyphs: Vec::new(),
            left: 0.0,
            right: 0.0,
            top: TOP.start,
            bottom: BOTTOM.start,
        };
        let Some(range) = self.seen(range) else {
            return line;
        };
        let (levels, runs) = self.bidi.visual_runs(range);
        let mut pen = 0.0;
        for run in runs {
            let rtl = levels.get(run.start).is_some_and(|level| level.is_rtl());
            for (part, span) in self.parts(&run, rtl) {
                for shaped in shaped(self.text, part, span, rtl, faces) {
                    line.glyphs.push(Glyph {
                        x: pen + shaped.x,
                        ..shaped.glyph
                    });
                    pen += shaped.advance;
                }
            }
        }
        let (mut left, mut right) = (f32::MAX, f32::MIN);
        line.glyphs.retain(|glyph| {
            let Some([from, top, to, bottom]) = inks.of(glyph, faces) else {
                return false;
            };
            let (top, bottom) = (glyph.y + top * glyph.size, glyph.y + bottom * glyph.size);
            if -top > FARTHEST || bottom > FARTHEST {
                return false;
            }
            left = left.min(glyph.x + from * glyph.size);
            right = right.max(glyph.x + to * glyph.size);
            line.top = line.top.max(-top);
            line.bottom = line.bottom.max(bottom);
            true
        });
        if left < right {
            (line.left, line.right) = (left, right);
        }
        line.top = line.top.min(TOP.end);
        line.bottom = line.bottom.min(BOTTOM.end);
        line
    }

    /// The bytes of pieces without the white space around them.
    fn seen(&self, range: Range<usize>) -> Option<Range<usize>> {
        let pieces = &self.pieces[range];
        let first = pieces.iter().find(|piece| !piece.blank)?;
        let last = pieces.iter().rfind(|piece| !piece.blank)?;
        Some(first.range.start..last.range.end)
    }

    /// What of a run is in one face, in the order in which it is seen.
    fn parts(&self, run: &LevelRun, rtl: bool) -> Vec<(Range<usize>, &Span)> {
        let spans = self.spans.iter();
        let mut parts: Vec<_> = spans
            .filter_map(|span| Some((common(&span.range, run)?, span)))
            .collect();
        if rtl {
            parts.reverse();
        }
        parts
    }
}

/// What two ranges have in common, if anything.
fn common(one: &Range<usize>, other: &Range<usize>) -> Option<Range<usize>> {
    let both = one.start.max(other.start)..one.end.min(other.end);
    (both.start < both.end).then_some(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Place = Place {
        width: 1766.0,
        height: 432.0,
        comfort: 290.0,
        largest: 120.0,
        least: 10.0,
    };

    fn set(text: &str, place: &Place) -> Option<(Block, f32)> {
        let mut faces = Faces::bundled(&[]);
        let text = Text::new(text, Voice::Display, &mut faces).unwrap();
        text.fitted(place, &faces, &mut Inks::default())
    }

    #[track_caller]
    fn line(text: &str) -> Vec<Glyph> {
        let (block, _) = set(text, &WIDE).unwrap();
        assert_eq!(block.lines.len(), 1, "{text}");
        block.lines[0].glyphs.clone()
    }

    #[test]
    fn signs_that_mean_something_to_a_program_are_letters() {
        let text = r"%{n}\:'[v]{\b1};,=&<i>";
        let faces = Faces::bundled(&[]);
        let mut spans = Faces::bundled(&[]);
        let face = spans.spans(text, Voice::Display).unwrap()[0].face;
        let map = faces.face(face).unwrap().font.charmap();
        let expected: Vec<u32> = text
            .chars()
            .map(|letter| map.map_unicode(u32::from(letter)).unwrap().to_u32())
            .collect();
        let drawn: Vec<u32> = line(text).iter().map(|glyph| glyph.id.to_u32()).collect();
        assert_eq!(drawn, expected);
    }

    #[test]
    fn short_texts_are_large_and_long_ones_fit() {
        let (block, size) = set("One does not simply", &WIDE).unwrap();
        assert_eq!((block.lines.len(), size), (1, 120.0));
        let long = "walk into mordor ".repeat(18);
        let (block, size) = set(&long, &WIDE).unwrap();
        assert!(
            block.lines.len() > 2 && size < 100.0 && size > 40.0,
            "{size}"
        );
        let edges = 2.0 * edge(size);
        assert!(block.height * size + edges <= WIDE.height);
        assert!(block.width() * size + edges <= WIDE.width);
        let tiny = Place {
            width: 58.0,
            height: 14.0,
            comfort: 10.0,
            largest: 4.0,
            least: 10.0,
        };
        assert_eq!(set("LOL", &tiny).unwrap().1, 10.0);
        assert!(set(&long, &tiny).is_none());
    }

    #[test]
    fn lines_are_alike_and_those_of_the_author_are_kept() {
        let text =
            "when the neighbour drills holes into the wall behind the television set on a sunday";
        let (block, _) = set(text, &WIDE).unwrap();
        let widths: Vec<f32> = block
            .lines
            .iter()
            .map(|line| line.right - line.left)
            .collect();
        assert_eq!(widths.len(), 2);
        assert!(
            widths[0].min(widths[1]) > 0.8 * widths[0].max(widths[1]),
            "{widths:?}"
        );
        let (block, _) = set("a\n\nb c", &WIDE).unwrap();
        let glyphs: Vec<usize> = block.lines.iter().map(|line| line.glyphs.len()).collect();
        assert_eq!(glyphs, [1, 0, 2]);
    }

    #[test]
    fn a_word_without_end_is_torn_between_characters() {
        let text = "e\u{301}\u{323}".repeat(150);
        let (block, _) = set(&text, &WIDE).unwrap();
        assert!(block.lines.len() > 1 && block.torn > 0);
        let mut inks = Inks::default();
        let faces = Faces::bundled(&[]);
        for line in &block.lines {
            let first = line.glyphs[0];
            let [_, _, _, bottom] = inks.of(&first, &faces).unwrap();
            assert!(bottom > -0.2, "a line begins with a mark");
        }
    }

    #[test]
    fn arabic_letters_join_and_run_to_the_left() {
        let ids = |text: &str| line(text).iter().map(|glyph| glyph.id).collect::<Vec<_>>();
        // Dots are glyphs of their own, which stay the same.
        let joined = ids("بيت");
        let alone = ["ب", "ي", "ت"].map(ids).concat();
        let changed = alone.iter().filter(|id| !joined.contains(id)).count();
        assert!(changed >= 3, "{joined:?} {alone:?}");
        assert_eq!(ids("اب").last(), ids("ا").first());
        // A number inside stays as it is.
        let mixed = ids("بيت 12 بيت");
        let digits = ids("ا 12");
        assert_eq!(mixed.len(), 2 * joined.len() + 2);
        assert_eq!(mixed[joined.len()..joined.len() + 2], digits[..2]);
    }

    #[test]
    fn hindi_signs_are_put_in_order_and_together() {
        // The vowel sign is written after its consonant and stands before it; two consonants become one.
        let ki = line("कि");
        let ka = line("क")[0].id;
        assert!(ki.len() == 2 && ki[1].id == ka);
        assert!(line("क्ष").len() < 3);
    }
}
