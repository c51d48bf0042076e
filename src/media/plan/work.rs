//! What a plan asks for, for the estimate of its cost.

use super::{Piece, Plan, keyframe_before};
use crate::clip::Method;
use crate::cost::Work;
use crate::media::window::Window;
use crate::recipe::frame::Frame;
use crate::recipe::{Look, Recipe};

impl Plan {
    /// What the plan asks for; pictures taller than `max_height` are scaled.
    pub fn work(&self, windows: &[Window], recipe: &Recipe, max_height: u32) -> Work {
        let mut work = Work {
            method: self.method,
            decoded: 0.0,
            encoded: 0.0,
            copied: 0,
            replaced: 0,
            sound: 0,
            frames: 0,
            scratch: 0,
        };
        let look = recipe.look.suited(recipe.format);
        let max_height = recipe.format.ceiling(max_height);
        for (window, piece) in windows.iter().zip(&self.pieces) {
            if self.sound {
                work.sound += self.sound_bytes(window, piece, &recipe.look);
            }
            if !recipe.format.has_pictures() {
                continue;
            }
            let video = &window.probe.video;
            let pixels = f64::from(video.width) * f64::from(video.height) / 1e6;
            let size = window.probe.shown_size();
            // The cut will say what is wrong.
            let frame = Frame::of(size, &look, max_height).ok();
            let shrunk = frame.map_or(1.0, |frame| (frame.pixels() as f64 / 1e6 / pixels).min(1.0));
            let (head, tail) = (piece.head, piece.frames.len() - piece.tail);
            for stretch in [&piece.frames[..head], &piece.frames[tail..]] {
                let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else {
                    continue;
                };
                let key = keyframe_before(&window.video, *first);
                let taken = |from: i64| {
                    let packets = window.video.packets.iter();
                    packets.filter(move |packet| (from..=*last).contains(&packet.pts))
                };
                work.decoded += pixels * taken(key).count() as f64;
                match (self.method, frame) {
                    (Method::Encode, Some(frame)) => {
                        let seconds = window.video.time_base.seconds(piece.length());
                        let shown = look.shown(stretch.len() as f64, seconds.as_f64());
                        work = work.rendering(shown, &frame, &look, recipe.format);
                    }
                    (Method::Encode | Method::Splice | Method::Copy, _) => {
                        work.encoded += pixels * shrunk * stretch.len() as f64;
                    }
                }
                let bytes: u64 = taken(*first).map(|packet| packet.size).sum();
                work.replaced += (bytes as f64 * shrunk) as u64;
            }
            let copied = window.video.packets.get(piece.packets.clone());
            let copied = copied.unwrap_or_default().iter();
            work.copied += copied.map(|packet| packet.size).sum::<u64>();
            work.frames += piece.frames.len() as u64;
        }
        work
    }

    /// Bytes of a piece's sound: those of its packets where they are copied, else what the encoder is asked for.
    fn sound_bytes(&self, window: &Window, piece: &Piece, look: &Look) -> u64 {
        const ENCODED: f64 = 20_000.0;
        let base = window.video.time_base;
        let (from, until) = (base.seconds(piece.first()), base.seconds(piece.until));
        match &window.audio {
            Some(track)
                if self.method != Method::Encode
                    && self.pieces.len() == 1
                    && !look.touches_sound() =>
            {
                let heard = track.packets.iter().filter(|packet| {
                    let begins = track.time_base.seconds(packet.pts);
                    (from..until).contains(&begins)
                });
                heard.map(|packet| packet.size).sum()
            }
            _ => ((until - from).as_f64() * ENCODED) as u64,
        }
    }
}
