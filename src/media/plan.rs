//! The plan: from packet tables and spans to what is cut how. A pure function, tested on packet tables. This is the door for the
//! splicing engine: it decides the method.

mod pieces;
mod work;

use std::ops::Range;

use super::MediaError;
use super::window::Window;
use crate::clip::Method;
use crate::cost::WORTH;
use crate::recipe::{Mode, Recipe, Shape};
use crate::seconds::Seconds;
use pieces::{
    beginning, copied_piece, encoded_piece, plays_everywhere, splice_pieces, takes_sound_over,
};
pub use pieces::{clean_boundaries, keyframe_before};

/// What is cut, how and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub method: Method,
    /// One word.
    pub reason: &'static str,
    /// One per segment, in the order asked for.
    pub pieces: Vec<Piece>,
    /// Where the clip starts and ends, as people count.
    pub start: Seconds,
    pub end: Seconds,
    pub truncated: bool,
    /// The clip has a sound track.
    pub sound: bool,
}

/// One segment as it will be cut from its window. Ticks are the window's video ticks, as in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Presentation times of its frames, rising; at least one.
    pub frames: Vec<i64>,
    /// Where its last frame ends.
    pub until: i64,
    /// What is copied: numbers of the window's video packets in decoding order. Empty when nothing is.
    pub packets: Range<usize>,
    /// How many of the first and of the last frames are encoded.
    pub head: usize,
    pub tail: usize,
}

impl Piece {
    /// Its first frame.
    pub fn first(&self) -> i64 {
        self.frames.first().copied().unwrap_or(self.until)
    }

    /// Its last frame.
    pub fn last(&self) -> i64 {
        self.frames.last().copied().unwrap_or(self.until)
    }

    /// The same in a window whose times are so many ticks later.
    #[must_use]
    pub fn moved(&self, ticks: i64) -> Piece {
        Piece {
            frames: self.frames.iter().map(|pts| pts + ticks).collect(),
            until: self.until + ticks,
            ..self.clone()
        }
    }

    /// Its length in ticks.
    pub fn length(&self) -> i64 {
        self.until - self.first()
    }
}

impl Plan {
    /// How many frames are taken over bit for bit.
    pub fn copied(&self) -> u64 {
        self.pieces
            .iter()
            .map(|piece| (piece.frames.len() - piece.head - piece.tail) as u64)
            .sum()
    }

    /// Where what is encoded meets what is copied, and where segments meet, in ticks from the clip's beginning.
    pub fn joints(&self) -> Vec<i64> {
        let mut offset = 0;
        let mut joints = Vec::new();
        for piece in &self.pieces {
            let place = |number: usize| {
                piece
                    .frames
                    .get(number)
                    .map(|pts| pts - piece.first() + offset)
            };
            let tail = piece.frames.len() - piece.tail;
            joints.extend(
                [Some(offset), place(piece.head), place(tail)]
                    .into_iter()
                    .flatten()
                    .filter(|joint| *joint > 0),
            );
            offset += piece.length();
        }
        joints.dedup();
        joints
    }

    /// Presentation times of all frames of the clip, in ticks from its beginning.
    pub fn times(&self) -> Vec<i64> {
        let mut offset = 0;
        let mut times = Vec::new();
        for piece in &self.pieces {
            times.extend(piece.frames.iter().map(|pts| pts - piece.first() + offset));
            offset += piece.length();
        }
        times
    }
}

/// Decimal times are rounded: a frame this close to a boundary lies on it.
pub const TOLERANCE: Seconds = Seconds::from_micros(1_000);

/// Less sound than this is the end of a packet that sticks out, and no track.
const AUDIBLE: Seconds = Seconds::from_micros(10_000);

/// Plans a clip. `windows` has one window per segment of the recipe, in its order; pictures taller than `max_height` are scaled.
///
/// # Errors
/// `clip_empty` when a segment has no frame, `source_no_sound` when sound alone is wanted and there is none.
pub fn plan(windows: &[Window], recipe: &Recipe, max_height: u32) -> Result<Plan, MediaError> {
    match recipe.mode {
        Mode::Exact if takes_sound_over(windows, recipe) => {
            let pieces = encoded_pieces(windows, recipe)?;
            assemble(windows, recipe, Method::Copy, "sound", pieces)
        }
        Mode::Exact => match splice_pieces(windows, recipe, max_height)? {
            Ok(pieces) => assemble(windows, recipe, Method::Splice, "exact", pieces),
            Err(reason) => encoded(windows, recipe, reason),
        },
        Mode::Fast
            if windows
                .iter()
                .all(|window| plays_everywhere(window, recipe)) =>
        {
            let pieces = windows.iter().map(copied_piece).collect::<Result<_, _>>()?;
            assemble(windows, recipe, Method::Copy, "fast", pieces)
        }
        Mode::Fast => encoded(windows, recipe, "codec"),
    }
}

/// Plans a clip by encoding, which is always possible.
///
/// # Errors
/// As [`plan`].
pub fn encoded(
    windows: &[Window],
    recipe: &Recipe,
    reason: &'static str,
) -> Result<Plan, MediaError> {
    let pieces = encoded_pieces(windows, recipe)?;
    assemble(windows, recipe, Method::Encode, reason, pieces)
}

/// What is made anew of each window; of the first alone where one picture is wanted.
fn encoded_pieces(windows: &[Window], recipe: &Recipe) -> Result<Vec<Piece>, MediaError> {
    let pieces = windows.iter().map(encoded_piece);
    match recipe.format.shape() {
        Shape::Film | Shape::Animation | Shape::Sound => pieces.collect(),
        Shape::Still => pieces.take(1).map(|piece| piece.map(beginning)).collect(),
    }
}

fn assemble(
    windows: &[Window],
    recipe: &Recipe,
    method: Method,
    reason: &'static str,
    pieces: Vec<Piece>,
) -> Result<Plan, MediaError> {
    let shape = recipe.format.shape();
    let pairs = || windows.iter().zip(&pieces);
    let sound = recipe.wants_sound() && pairs().any(|(window, piece)| sounds(window, piece));
    let start = pairs()
        .next()
        .map(|(window, piece)| window.time(piece.first()));
    let end = pairs().next_back().map(|(window, piece)| {
        let second = piece.frames.get(1).filter(|_| shape == Shape::Still);
        window.time(*second.unwrap_or(&piece.until))
    });
    if shape == Shape::Sound && !sound {
        return Err(MediaError::NoSound);
    }
    // A frame's length of slack: the last frame rarely ends where the wanted end is.
    let truncated = shape != Shape::Still
        && pairs().any(|(window, piece)| {
            let frame = piece.length() / piece.frames.len().max(1) as i64;
            window.time(piece.until + frame) + TOLERANCE < window.segment.end
        });
    Ok(Plan {
        method,
        reason,
        start: start.unwrap_or_default(),
        end: end.unwrap_or_default(),
        truncated,
        sound,
        pieces,
    })
}

/// Whether any sound that can be heard belongs to the piece.
fn sounds(window: &Window, piece: &Piece) -> bool {
    let Some(track) = &window.audio else {
        return false;
    };
    let from = window.video.time_base.seconds(piece.first());
    let until = window.video.time_base.seconds(piece.until);
    let heard = track.packets.iter().map(|packet| {
        let start = track.time_base.seconds(packet.pts).max(from);
        let end = track.time_base.seconds(packet.pts + packet.duration);
        (end.min(until) - start).max(Seconds::ZERO).micros()
    });
    heard.sum::<i64>() >= AUDIBLE.micros()
}

#[cfg(test)]
mod tests;
