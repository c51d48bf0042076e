//! Letters become glyphs: which ones, how far apart, and what their ink covers. All lengths are in ems.

use std::collections::HashMap;
use std::ops::Range;

use harfrust::{
    Buffer, BufferFlags, Direction, GlyphId, Script as Tagged, ShapeOptions, ShaperFont, Tag,
};
use unicode_script::Script;

use super::faces::{FaceId, Faces, Span};

/// One drawn shape; its origin is to the right of the line's beginning and below its baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Glyph {
    pub face: FaceId,
    pub id: GlyphId,
    pub x: f32,
    pub y: f32,
    /// Ems of its face.
    pub size: f32,
}

/// What a glyph's ink covers: left, top, right and bottom in ems of its face, downward.
pub type Ink = Option<[f32; 4]>;

/// Ink that was measured already.
#[derive(Default)]
pub struct Inks(HashMap<(FaceId, GlyphId), Ink>);

/// A glyph with how far the next one stands.
pub struct Shaped {
    pub glyph: Glyph,
    /// Where the glyph stands in front of where it would.
    pub x: f32,
    pub advance: f32,
    /// The byte of the paragraph that it comes from.
    pub cluster: usize,
}

impl Inks {
    /// Of a glyph; none when it shows nothing.
    pub fn of(&mut self, glyph: &Glyph, faces: &Faces) -> Ink {
        *self.0.entry((glyph.face, glyph.id)).or_insert_with(|| {
            let font = &faces.face(glyph.face)?.font;
            let outline = font.outline_glyphs().get(glyph.id)?;
            let ink = outline.extents().ok()?;
            let em = f32::from(font.units_per_em().max(1));
            let seen = ink.width > 0.0 && ink.height > 0.0;
            let (left, top) = (ink.x_bearing, -ink.y_bearing);
            let ink = [left, top, left + ink.width, top + ink.height];
            seen.then(|| ink.map(|length| length / em))
        })
    }
}

/// The glyphs of a range of a text, which is in one face, one script and one direction, from left to right.
pub fn shaped(
    text: &str,
    range: Range<usize>,
    span: &Span,
    rtl: bool,
    faces: &Faces,
) -> Vec<Shaped> {
    let Some(face) = faces.face(span.face) else {
        return Vec::new();
    };
    let mut buffer = Buffer::new();
    buffer.push_str(&text[range.clone()]);
    // Letters join over the border of two faces too.
    buffer.set_pre_context(&text[..range.start]);
    buffer.set_post_context(&text[range.end..]);
    buffer.set_flags(BufferFlags::REMOVE_DEFAULT_IGNORABLES);
    buffer.set_direction(match rtl {
        true => Direction::RightToLeft,
        false => Direction::LeftToRight,
    });
    if span.script != Script::Common {
        let tag = span.script.as_iso15924_tag().to_be_bytes();
        buffer.set_script(Tagged::from_iso15924_tag(Tag::new(&tag)));
    }
    let shaper = ShaperFont::new(&face.font);
    if harfrust::shape(&shaper, &mut buffer, ShapeOptions::new()).is_err() {
        return Vec::new();
    }
    let unit = face.scale / f32::from(face.font.units_per_em().max(1));
    let placed = buffer.glyph_infos().iter().zip(buffer.glyph_positions());
    placed
        .map(|(info, position)| Shaped {
            glyph: Glyph {
                face: span.face,
                id: GlyphId::new(info.glyph_id),
                x: 0.0,
                y: -(position.y_offset as f32) * unit,
                size: face.scale,
            },
            x: position.x_offset as f32 * unit,
            advance: position.x_advance as f32 * unit,
            cluster: range.start + info.cluster as usize,
        })
        .collect()
}
