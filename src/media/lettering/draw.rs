//! The drawing itself: white letters with a black edge, above and below, and a watermark in the corner.

use harfrust::font::glyph::outline::{DrawMemory, DrawOptions, PathSink};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, PixmapPaint, Rect,
    Stroke, Transform,
};

use super::faces::{Faces, Voice};
use super::layout::{Block, Place, Text, edge};
use super::shape::{Glyph, Inks};
use super::{Sheet, Undrawn};
use crate::recipe::lettering::Caption;

/// A text set and placed.
struct Set {
    block: Block,
    /// Pixels of an em, and of the edge around letters.
    size: f32,
    edge: f32,
    area: Area,
}

/// A part of the picture in pixels, edges included.
#[derive(Clone, Copy, Debug)]
struct Area {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

/// Shares of the picture's width and height.
const WIDEST: f32 = 0.92;
const HIGHEST: f32 = 0.4;
const COMFORT: f32 = 0.27;
/// A caption's letters are at most this part of the height, and of the width of narrow pictures.
const OF_HEIGHT: f32 = 9.0;
const OF_WIDTH: f32 = 8.0;
const MARGIN: f32 = 0.03;
/// Below this many pixels nobody can read.
const LEAST: f32 = 10.0;
/// The same of the watermark.
const SMALL: f32 = 28.0;
const SMALL_LEAST: f32 = 8.0;
const SMALL_HIGHEST: f32 = 0.2;
const SMALL_OPACITY: f32 = 0.7;

/// Draws all texts of a sheet.
///
/// # Errors
/// When a letter is in no face, or a text does not fit.
pub fn draw(sheet: &Sheet, faces: &mut Faces) -> Result<Pixmap, Undrawn> {
    let frame = Frame {
        width: sheet.width as f32,
        height: sheet.height as f32,
    };
    let mut inks = Inks::default();
    let mut picture = Pixmap::new(sheet.width, sheet.height).ok_or(Undrawn::TooLong)?;
    let mark = match &sheet.watermark {
        Some(mark) => Some(frame.mark(mark.as_str(), faces, &mut inks)?),
        None => None,
    };
    let mut captions = Vec::new();
    let sides = [(&sheet.top, Side::Top), (&sheet.bottom, Side::Bottom)];
    for (caption, side) in sides {
        let Some(caption) = caption else { continue };
        let text = written(caption, sheet.upper);
        captions.push(frame.caption(&text, side, mark.as_ref(), faces, &mut inks)?);
    }
    for caption in &captions {
        caption.draw(Align::Middle, faces, &mut picture);
    }
    if let Some(mark) = mark {
        let mut own = Pixmap::new(sheet.width, sheet.height).ok_or(Undrawn::TooLong)?;
        mark.draw(Align::End, faces, &mut own);
        let paint = PixmapPaint {
            opacity: SMALL_OPACITY,
            ..PixmapPaint::default()
        };
        picture.draw_pixmap(0, 0, own.as_ref(), &paint, Transform::identity(), None);
    }
    Ok(picture)
}

/// In capital letters where that is wished for and the script writes so.
fn written(caption: &Caption, upper: bool) -> String {
    if !upper {
        return caption.as_str().to_owned();
    }
    let letters = caption.as_str().chars().map(|letter| match letter {
        // These have capitals that nobody writes in and few faces have.
        '\u{10d0}'..='\u{10ff}' => letter.to_string(),
        _ => letter.to_uppercase().collect(),
    });
    letters.collect()
}

/// The size of the picture in pixels.
struct Frame {
    width: f32,
    height: f32,
}

#[derive(Clone, Copy)]
enum Side {
    Top,
    Bottom,
}

#[derive(Clone, Copy)]
enum Align {
    Middle,
    End,
}

impl Frame {
    fn caption(
        &self,
        text: &str,
        side: Side,
        mark: Option<&Set>,
        faces: &mut Faces,
        inks: &mut Inks,
    ) -> Result<Set, Undrawn> {
        let text = Text::new(text, Voice::Display, faces)?;
        let place = Place {
            width: self.width * WIDEST,
            height: self.height * HIGHEST,
            comfort: self.height * COMFORT,
            largest: (self.height / OF_HEIGHT).min(self.width / OF_WIDTH),
            least: LEAST,
        };
        let (block, size) = text.fitted(&place, faces, inks).ok_or(Undrawn::TooLong)?;
        let edge = edge(size);
        let width = block.width() * size + 2.0 * edge;
        let height = block.height * size + 2.0 * edge;
        let left = (self.width - width) / 2.0;
        let margin = (self.height * MARGIN).max(1.0);
        let mut area = Area {
            left,
            top: margin,
            right: left + width,
            bottom: margin + height,
        };
        match side {
            Side::Top => {}
            Side::Bottom => {
                let taken = mark.filter(|mark| mark.area.left < area.right + margin);
                let floor = taken.map_or(self.height, |mark| mark.area.top);
                area.bottom = floor - margin;
                area.top = area.bottom - height;
            }
        }
        Ok(Set {
            block,
            size,
            edge,
            area,
        })
    }

    fn mark(&self, text: &str, faces: &mut Faces, inks: &mut Inks) -> Result<Set, Undrawn> {
        let text = Text::new(text, Voice::Plain, faces)?;
        let largest = self.height.min(self.width) / SMALL;
        let place = Place {
            width: self.width * WIDEST,
            height: self.height * SMALL_HIGHEST,
            comfort: largest.max(SMALL_LEAST) * 2.0,
            largest,
            least: SMALL_LEAST,
        };
        let (block, size) = text.fitted(&place, faces, inks).ok_or(Undrawn::TooLong)?;
        let edge = edge(size);
        let margin = (self.height.min(self.width) * MARGIN).max(1.0);
        let (right, bottom) = (self.width - margin, self.height - margin);
        Ok(Set {
            area: Area {
                left: right - block.width() * size - 2.0 * edge,
                top: bottom - block.height * size - 2.0 * edge,
                right,
                bottom,
            },
            block,
            size,
            edge,
        })
    }
}

impl Set {
    fn draw(&self, align: Align, faces: &Faces, picture: &mut Pixmap) {
        let Some(path) = self.path(align, faces) else {
            return;
        };
        let paint = |colour: Color| {
            let mut paint = Paint::default();
            paint.set_color(colour);
            paint
        };
        // All edges lie behind all letters, so that none covers its neighbour.
        let stroke = Stroke {
            width: 2.0 * self.edge,
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        let (black, white) = (paint(Color::BLACK), paint(Color::WHITE));
        let as_it_is = Transform::identity();
        picture.stroke_path(&path, &black, &stroke, as_it_is, None);
        picture.fill_path(&path, &white, FillRule::Winding, as_it_is, None);
    }

    /// The outlines of all letters where they stand.
    fn path(&self, align: Align, faces: &Faces) -> Option<Path> {
        let mut path = PathBuilder::new();
        let area = Rect::from_ltrb(
            self.area.left,
            self.area.top,
            self.area.right,
            self.area.bottom,
        )?;
        for (number, line) in self.block.lines.iter().enumerate() {
            let width = (line.right - line.left) * self.size;
            let ink = match align {
                Align::Middle => area.left() + (area.width() - width) / 2.0,
                Align::End => area.right() - self.edge - width,
            };
            let x = ink - line.left * self.size;
            let baseline = self.block.first + self.block.leading * number as f32;
            let y = area.top() + self.edge + baseline * self.size;
            for glyph in &line.glyphs {
                self.outline(glyph, (x, y), faces, &mut path);
            }
        }
        path.finish()
    }

    fn outline(&self, glyph: &Glyph, (x, y): (f32, f32), faces: &Faces, path: &mut PathBuilder) {
        let Some(face) = faces.face(glyph.face) else {
            return;
        };
        let glyphs = face.font.outline_glyphs();
        let Some(outline) = glyphs.get(glyph.id) else {
            return;
        };
        let mut moved = Moved {
            path,
            scale: glyph.size * self.size / f32::from(face.font.units_per_em().max(1)),
            x: x + glyph.x * self.size,
            y: y + glyph.y * self.size,
        };
        // A glyph without an outline, or with a damaged one, is blank.
        let _ = outline.draw(&DrawOptions::new(), DrawMemory::Scratch, &mut moved);
    }
}

/// Takes outlines, which count upward in units of their face, to where they belong.
struct Moved<'p> {
    path: &'p mut PathBuilder,
    scale: f32,
    x: f32,
    y: f32,
}

impl Moved<'_> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl PathSink for Moved<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, cx0: f32, cy0: f32, x: f32, y: f32) {
        let ((cx, cy), (x, y)) = (self.at(cx0, cy0), self.at(x, y));
        self.path.quad_to(cx, cy, x, y);
    }

    fn curve_to(&mut self, cx0: f32, cy0: f32, cx1: f32, cy1: f32, x: f32, y: f32) {
        let (one, other, end) = (self.at(cx0, cy0), self.at(cx1, cy1), self.at(x, y));
        self.path
            .cubic_to(one.0, one.1, other.0, other.1, end.0, end.1);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(top: &str, bottom: &str, watermark: &str) -> Sheet {
        Sheet {
            width: 640,
            height: 360,
            top: top.parse().ok(),
            bottom: bottom.parse().ok(),
            upper: false,
            watermark: watermark.parse().ok(),
            folders: Vec::new(),
        }
    }

    /// Left, top, right and bottom of all that is drawn.
    fn ink(sheet: &Sheet) -> Option<[u32; 4]> {
        let picture = draw(sheet, &mut Faces::bundled(&[])).unwrap();
        assert_eq!((picture.width(), picture.height()), (640, 360));
        let inked = picture.pixels().iter().enumerate();
        let inked = inked.filter(|(_, pixel)| pixel.alpha() > 0);
        inked.fold(None, |area, (place, _)| {
            let (x, y) = (place as u32 % 640, place as u32 / 640);
            let [left, top, right, bottom] = area.unwrap_or([x, y, x, y]);
            Some([left.min(x), top.min(y), right.max(x), bottom.max(y)])
        })
    }

    #[test]
    fn captions_are_centred_within_the_margins() {
        let [left, top, right, bottom] = ink(&sheet("Hello there", "", "")).unwrap();
        assert!(
            left.abs_diff(639 - right) <= 1 && left > 26,
            "{left} {right}"
        );
        assert!((9..=12).contains(&top) && bottom < 60, "{top} {bottom}");
        let [left, top, right, bottom] = ink(&sheet("", "Hello there", "")).unwrap();
        assert!(left.abs_diff(639 - right) <= 1);
        assert!((347..=351).contains(&bottom) && top > 295, "{top} {bottom}");
    }

    #[test]
    fn the_watermark_is_in_its_corner_and_keeps_clear_of_the_caption() {
        let [left, top, right, bottom] = ink(&sheet("", "", "@meme")).unwrap();
        assert!(left > 560 && top > 330 && right < 632 && bottom < 352);
        let low = |text: &str, mark: &str| {
            let frame = Frame {
                width: 640.0,
                height: 360.0,
            };
            let (mut faces, mut inks) = (Faces::bundled(&[]), Inks::default());
            let mark = frame.mark(mark, &mut faces, &mut inks).unwrap();
            let caption = frame.caption(text, Side::Bottom, Some(&mark), &mut faces, &mut inks);
            (caption.unwrap().area, mark.area)
        };
        let (caption, mark) = low("short", "@meme");
        assert!(caption.bottom > mark.top);
        let (caption, mark) = low(
            &"a long line below ".repeat(4),
            "a mark that reaches far to the left",
        );
        assert!(caption.bottom < mark.top);
    }

    #[test]
    fn letters_are_white_with_black_around_them() {
        let picture = draw(&sheet("I", "", ""), &mut Faces::bundled(&[])).unwrap();
        // Through the middle of the letter: clear, black, white, black, clear, with mixed pixels between.
        let mut row: Vec<(u8, u8)> = Vec::new();
        for x in 0..640 {
            let pixel = picture.pixel(x, 30).unwrap();
            let seen = (pixel.red(), pixel.alpha());
            if [(0, 0), (0, 255), (255, 255)].contains(&seen) && row.last() != Some(&seen) {
                row.push(seen);
            }
        }
        assert_eq!(row, [(0, 0), (0, 255), (255, 255), (0, 255), (0, 0)]);
    }

    #[test]
    fn capitals_are_those_of_the_script() {
        let upper = |text: &str| written(&text.parse().unwrap(), true);
        assert_eq!(upper("straße ñ ψ й\nﬁ"), "STRASSE Ñ Ψ Й\nFI");
        assert_eq!(upper("日本 مرحبا ქართული"), "日本 مرحبا ქართული");
        assert_eq!(written(&"straße".parse().unwrap(), false), "straße");
    }

    #[test]
    fn texts_of_the_hostile_are_drawn_or_refused() {
        let zalgo = format!("Z{}a", "\u{300}\u{316}\u{489}".repeat(6)).repeat(100);
        let nested = "\u{202e}\u{2067}a".repeat(100);
        let lines = format!("a{}b", "\n".repeat(298));
        let marks = "\u{301}".repeat(299);
        for text in [
            "\u{200d}",
            "\u{200d}\u{200c}\u{202e}\u{2066}",
            "\u{fe0f}",
            "\u{feff}",
            "\u{301}",
            "\u{0600}\u{06dd}",
            "\u{094d}\u{094d}\u{093f}",
            "क्\u{200d}\u{200d}ष",
            "🏳️\u{200d}🌈\u{200d}",
            "🇺🇳🇺",
            "a\u{e0041}\u{e007f}",
            "ﷺﷺﷺ﷽",
            &zalgo,
            &nested,
            &lines,
            &marks,
            &"W".repeat(300),
            &"👩‍👩‍👧‍👦".repeat(300),
            &"\u{1160}가".repeat(3),
        ] {
            let sheet = Sheet {
                top: text.parse().ok(),
                ..sheet("", "x", "")
            };
            match draw(&sheet, &mut Faces::bundled(&[])) {
                Ok(_) | Err(Undrawn::TooLong | Undrawn::Letters(_)) => {}
                Err(Undrawn::Io(error)) => panic!("{text:?}: {error}"),
            }
        }
        // Piles of marks stay with their line.
        let pile = format!("a{}", "\u{300}".repeat(30));
        let [_, _, _, bottom] = ink(&sheet(&pile, "", "")).unwrap();
        assert!(bottom < 180, "{bottom}");
    }
}
