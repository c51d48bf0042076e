//! The estimate of a clip before it is asked for: what is going to be done, what comes out, what it takes, and what somebody may want to
//! know first. Pure: told from a sighting alone, without touching the source.

mod cut;
mod factors;
mod method;
mod size;
pub mod texture;
mod warning;
mod work;

use crate::clip::Method;
use crate::cost::Work;
use crate::recipe::crop::Unfit;
use crate::recipe::frame::Frame;
use crate::recipe::{Format, Look, Recipe, Shape};
use crate::seconds::Seconds;
use crate::sighting::Sighting;
use cut::{Cut, cut};
use texture::Texture;
pub use warning::Warning;

/// What is expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Foretold {
    pub method: Method,
    /// One word, as the result will have it.
    pub reason: &'static str,
    /// Of the finished file; none when the source does not tell enough.
    pub bytes: Option<u64>,
    /// Frames of the source that are taken over bit for bit, from 0 to 1 of all.
    pub untouched: f64,
    pub duration: Seconds,
    /// None for sound alone.
    pub picture: Option<Picture>,
    /// What it asks of the machine.
    pub work: Work,
    /// Bytes of the source that are needed for it; none when nobody knows.
    pub fetched: Option<u64>,
    pub warnings: Vec<Warning>,
}

/// The pictures that come out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picture {
    pub width: u32,
    pub height: u32,
    /// None for a single one.
    pub fps: Option<f64>,
}

/// What a clip of this source cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EstimateError {
    #[error(transparent)]
    Crop(#[from] Unfit),
    #[error("the start lies after the end of the source, which is {0} s long")]
    Range(Seconds),
}

impl EstimateError {
    /// The stable code, the same that a clip would fail with.
    pub const fn code(&self) -> &'static str {
        match self {
            EstimateError::Crop(Unfit::Outside(..)) => "crop_outside",
            EstimateError::Crop(Unfit::Small) => "crop_too_small",
            EstimateError::Range(_) => "time_range",
        }
    }

    /// The field of the recipe that is meant.
    pub const fn field(&self) -> &'static str {
        match self {
            EstimateError::Crop(_) => "crop",
            EstimateError::Range(_) => "start_time",
        }
    }

    /// The next step.
    pub const fn hint(&self) -> &'static str {
        match self {
            EstimateError::Crop(_) => "Choose a part of the picture as it is shown.",
            EstimateError::Range(_) => "Choose times within the source.",
        }
    }
}

/// Where no rate is known.
const USUAL_FPS: f64 = 30.0;

impl Foretold {
    /// Whether samples of the source would tell more.
    pub fn is_guessed(&self) -> bool {
        self.warnings.contains(&Warning::SizeGuessed)
    }
}

struct Estimator<'a> {
    seen: &'a Sighting,
    recipe: &'a Recipe,
    texture: Option<&'a Texture>,
    /// As it suits the format.
    look: Look,
    frame: Frame,
    cuts: Vec<Cut>,
    fps: f64,
}

/// Tells what is expected of a recipe. `most` is the height above which pictures are scaled; `texture` makes sizes of what is encoded
/// much better.
///
/// # Errors
/// When no clip can come of it.
pub fn foretell(
    seen: &Sighting,
    recipe: &Recipe,
    texture: Option<&Texture>,
    most: u32,
) -> Result<Foretold, EstimateError> {
    for segment in &recipe.segments {
        if let Some(length) = seen.duration.filter(|length| segment.start >= *length) {
            return Err(EstimateError::Range(length));
        }
    }
    let mut foretold = Estimator::of(seen, recipe, texture, most)?.foretold(most);
    if recipe.format == Format::Gif {
        let film = Recipe {
            format: Format::Mp4,
            fit: None,
            ..recipe.clone()
        };
        let other = Estimator::of(seen, &film, texture, most)?.foretold(most);
        if let (Some(gif), Some(mp4)) = (foretold.bytes, other.bytes)
            && gif > mp4
        {
            foretold.warnings.push(Warning::GifLarger { gif, mp4 });
        }
    }
    Ok(foretold)
}

impl<'a> Estimator<'a> {
    fn of(
        seen: &'a Sighting,
        recipe: &'a Recipe,
        texture: Option<&'a Texture>,
        most: u32,
    ) -> Result<Estimator<'a>, EstimateError> {
        let look = recipe.look.suited(recipe.format);
        let most = recipe.format.ceiling(most);
        Ok(Estimator {
            seen,
            recipe,
            texture: texture.filter(|texture| !texture.samples.is_empty()),
            frame: Frame::of(seen.shown_size(), &look, most)?,
            look,
            cuts: recipe.segments.iter().map(|one| cut(seen, *one)).collect(),
            fps: seen.video.fps.filter(|fps| *fps > 0.0).unwrap_or(USUAL_FPS),
        })
    }
}

impl Estimator<'_> {
    fn foretold(&self, most: u32) -> Foretold {
        let (method, reason) = self.method(most);
        let length = self.length(method);
        let frames = self.frames(method);
        let still = self.recipe.format.shape() == Shape::Still;
        let shown = self.recipe.format.has_pictures();
        let playing = match method {
            Method::Encode => self.recipe.look.length(seconds(length)),
            Method::Splice | Method::Copy => seconds(length),
        };
        let playing = if still { Seconds::ZERO } else { playing };
        let encoded = match method {
            Method::Splice => {
                let ends = self.cuts.iter();
                ends.map(|cut| cut.head() + self.tail(cut).0 / self.fps)
                    .sum()
            }
            Method::Encode => self.cuts.iter().map(Cut::length).sum(),
            Method::Copy => 0.0,
        };
        let untouched = match method {
            Method::Splice => 1.0 - encoded / length.max(1e-9),
            Method::Encode => 0.0,
            Method::Copy => 1.0,
        };
        let fps = frames / playing.as_f64().max(1e-9);
        let mut warnings = self.warnings(method, most);
        let mut work = self.work(method, frames);
        let free = self.bytes(method, frames, playing);
        let bytes = match (self.recipe.fit, free) {
            (Some(fit), Some(free)) if free <= fit.0.0 => {
                warnings.push(Warning::FitNotNeeded { bytes: free });
                Some(free)
            }
            (Some(fit), Some(free)) => {
                warnings.push(Warning::FitLowersQuality { bytes: free });
                work = work.fitted(self.frame.pixels() as f64 * frames, self.recipe.format);
                Some(fit.0.0 / 100 * 97)
            }
            (Some(fit), None) => Some(fit.0.0),
            (None, free) => free,
        };
        if self.guessed(method) {
            warnings.push(Warning::SizeGuessed);
        }
        Foretold {
            method,
            reason,
            bytes,
            untouched: untouched.clamp(0.0, 1.0),
            duration: playing,
            picture: shown.then(|| Picture {
                width: self.frame.width,
                height: self.frame.height,
                fps: (!still).then_some(fps),
            }),
            work,
            fetched: self.fetched(method),
            warnings,
        }
    }

    /// Seconds of the source that come out.
    fn length(&self, method: Method) -> f64 {
        let from = |cut: &Cut| match (method, self.recipe.format.shape()) {
            (Method::Copy, Shape::Film | Shape::Animation | Shape::Still) => cut.before,
            (Method::Copy, Shape::Sound) | (Method::Splice | Method::Encode, _) => cut.start,
        };
        self.cuts.iter().map(|cut| cut.end - from(cut)).sum()
    }

    /// Frames that come out.
    fn frames(&self, method: Method) -> f64 {
        let once = self.shown(method);
        if method == Method::Encode && self.look.boomerang {
            (2.0 * once - 2.0).max(once)
        } else {
            once
        }
    }

    /// Frames that are shown from the first to the last.
    fn shown(&self, method: Method) -> f64 {
        let length = self.length(method);
        let all = (length * self.fps).max(1.0);
        match (self.recipe.format.shape(), method) {
            (Shape::Still, _) => 1.0,
            (Shape::Film | Shape::Animation | Shape::Sound, Method::Encode) => {
                self.look.shown(all, length)
            }
            (Shape::Film | Shape::Animation | Shape::Sound, Method::Splice | Method::Copy) => all,
        }
    }
}

fn seconds(number: f64) -> Seconds {
    Seconds::from_f64(number).unwrap_or_default()
}

#[cfg(test)]
mod tests;
