//! Which way a clip is going to be made, and why, in one word: as the plan decides it, in the same order, as far as that can be told from
//! a sighting.

use super::cut::Cut;
use super::{Estimator, seconds};
use crate::clip::Method;
use crate::cost::WORTH;
use crate::recipe::{Format, Mode, Shape};

impl Estimator<'_> {
    pub(super) fn method(&self, most: u32) -> (Method, &'static str) {
        let (method, reason) = self.wished(most);
        if method == Method::Encode {
            return (method, reason);
        }
        // What does not fit as it is has to be encoded.
        let playing = seconds(self.length(method));
        let free = self.bytes(method, self.frames(method), playing);
        match (self.recipe.fit, free) {
            (Some(fit), Some(free)) if free > fit.0.0 => (Method::Encode, "fit"),
            (Some(_), None) => (Method::Encode, "fit"),
            (Some(_) | None, _) => (method, reason),
        }
    }

    fn wished(&self, most: u32) -> (Method, &'static str) {
        match self.recipe.mode {
            Mode::Fast if self.copies() => (Method::Copy, "fast"),
            Mode::Fast => (Method::Encode, "codec"),
            Mode::Exact if self.takes_sound_over() => (Method::Copy, "sound"),
            Mode::Exact => match self.encodes(most) {
                Some(reason) => (Method::Encode, reason),
                None => (Method::Splice, "exact"),
            },
        }
    }

    /// Whether a fast cut takes over what is wanted.
    fn copies(&self) -> bool {
        let sound = self.seen.audio.as_ref();
        let sound = sound.filter(|_| self.recipe.wants_sound());
        self.seen.pictures_play()
            && sound.is_none_or(|sound| matches!(sound.codec.as_str(), "aac" | "mp3"))
    }

    /// Whether the sound alone is wanted, and can be taken over packet by packet.
    pub(super) fn takes_sound_over(&self) -> bool {
        self.recipe.format == Format::M4a && self.keeps_sound()
    }

    /// Whether the sound of one stretch can be taken over as it is.
    pub(super) fn keeps_sound(&self) -> bool {
        let heard = self.seen.audio.as_ref();
        heard.is_some_and(|heard| heard.codec == "aac")
            && self.recipe.segments.len() == 1
            && self.recipe.wants_sound()
            && !self.recipe.look.touches_sound()
    }

    /// Why a splice is impossible, if it is.
    fn encodes(&self, most: u32) -> Option<&'static str> {
        let recipe = self.recipe;
        if recipe.format != Format::Mp4 {
            return Some("format");
        }
        if let Some(wish) = recipe.look.touches_pictures() {
            return Some(wish);
        }
        let shown = self.seen.shown_height();
        if shown > most || recipe.look.height.is_some_and(|height| height < shown) {
            return Some("scale");
        }
        if recipe.look.crop.is_some() && self.frame.crop.is_some() {
            return Some("crop");
        }
        let splice = self.seen.splice(most);
        if !splice.possible {
            return Some(splice.reason);
        }
        let all: f64 = self.cuts.iter().map(Cut::length).sum();
        let ends = self.cuts.iter();
        let ends: f64 = ends
            .map(|cut| cut.head() + self.tail(cut).0 / self.fps)
            .sum();
        let grouped = self.cuts.iter().all(|cut| cut.entry.is_some());
        (!grouped || ends > WORTH * all).then_some("group")
    }

    /// Whether the size of what is encoded is told by nothing but the source's own rate.
    pub(super) fn guessed(&self, method: Method) -> bool {
        let pictures = match self.recipe.format.shape() {
            Shape::Film | Shape::Animation => method == Method::Encode,
            Shape::Sound | Shape::Still => false,
        };
        pictures && self.texture.is_none()
    }
}
