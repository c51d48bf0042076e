//! What somebody may want to know before a clip is made: a code, a sentence and a next step each.

use super::{Estimator, seconds};
use crate::bytes::Bytes;
use crate::clip::Method;
use crate::recipe::Shape;
use crate::seconds::Seconds;

/// Something that may not be as expected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Warning {
    #[error("a gif of this takes about {}, an mp4 about {}", Bytes(*.gif), Bytes(*.mp4))]
    GifLarger { gif: u64, mp4: u64 },
    #[error("the pictures are going to be {height} high, not {wanted}")]
    HeightNotReached {
        wanted: u32,
        height: u32,
        /// By the service, not by the source.
        limited: bool,
    },
    #[error("the source ends at {end} s, and so does the clip")]
    BeyondEnd { end: Seconds },
    #[error("the clip takes about {} without a target", Bytes(*.bytes))]
    FitNotNeeded { bytes: u64 },
    #[error("the clip would take about {}; to fit it is made worse", Bytes(*.bytes))]
    FitLowersQuality { bytes: u64 },
    #[error("{}", fast(.start))]
    FastStart { start: Option<Seconds> },
    #[error("this source has no sound to change")]
    NoSound,
    #[error("this source has no sound, and this format is nothing else")]
    NothingHeard,
    #[error("the size is a guess: the pictures of this source have not been measured")]
    SizeGuessed,
}

fn fast(start: &Option<Seconds>) -> String {
    match start {
        Some(start) => {
            format!("the clip really starts at {start} s, where a group of pictures begins")
        }
        None => "the clip starts earlier than asked, where a group of pictures begins".to_owned(),
    }
}

impl Warning {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Warning::GifLarger { .. } => "gif_larger_than_mp4",
            Warning::HeightNotReached { .. } => "height_not_reached",
            Warning::BeyondEnd { .. } => "time_beyond_end",
            Warning::FitNotNeeded { .. } => "fit_not_needed",
            Warning::FitLowersQuality { .. } => "fit_lowers_quality",
            Warning::FastStart { .. } => "fast_start_differs",
            Warning::NoSound | Warning::NothingHeard => "no_sound",
            Warning::SizeGuessed => "size_guessed",
        }
    }

    /// The next step.
    pub const fn hint(&self) -> &'static str {
        match self {
            Warning::GifLarger { .. } => "Choose mp4, which is smaller and looks better.",
            Warning::HeightNotReached { limited: true, .. } => {
                "This service makes no taller pictures; leave the height out."
            }
            Warning::HeightNotReached { limited: false, .. } => {
                "Pictures are never scaled up; leave the height out."
            }
            Warning::BeyondEnd { .. } => "Choose an end within the source.",
            Warning::FitNotNeeded { .. } => "Leave fit out.",
            Warning::FitLowersQuality { .. } => "Choose a larger target or a shorter stretch.",
            Warning::FastStart { .. } => "Use mode exact, or start at a snap point.",
            Warning::NoSound => "Leave volume and loudness out.",
            Warning::NothingHeard => "Choose a format with pictures.",
            Warning::SizeGuessed => {
                "Ask again in a few seconds; of links that are no plain MP4 it stays one."
            }
        }
    }
}

impl Estimator<'_> {
    /// All but those that depend on the size.
    pub(super) fn warnings(&self, method: Method, most: u32) -> Vec<Warning> {
        let look = &self.recipe.look;
        let mut warnings = Vec::new();
        if let Some(wanted) = look.height.filter(|wanted| self.frame.height < wanted & !1) {
            warnings.push(Warning::HeightNotReached {
                wanted,
                height: self.frame.height,
                limited: self.frame.height == most & !1,
            });
        }
        let ends = self.recipe.segments.iter().map(|segment| segment.end).max();
        if let (Some(wanted), Some(end)) = (ends, self.seen.duration)
            && wanted > end
            && self.recipe.format.shape() != Shape::Still
        {
            warnings.push(Warning::BeyondEnd { end });
        }
        if method == Method::Copy
            && let Some(cut) = self.cuts.first()
            && (cut.start - cut.before > 0.001 || self.seen.keyframes.is_none())
        {
            let start = self.seen.keyframes.as_ref().map(|_| seconds(cut.before));
            warnings.push(Warning::FastStart { start });
        }
        if self.seen.audio.is_none() {
            let wished = look.volume.is_some() || look.loudness.is_some();
            match self.recipe.format.shape() {
                Shape::Sound => warnings.push(Warning::NothingHeard),
                Shape::Film if wished => warnings.push(Warning::NoSound),
                Shape::Film | Shape::Animation | Shape::Still => {}
            }
        }
        warnings
    }
}
