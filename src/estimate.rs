//! The estimate of a clip before it is asked for: what is going to be done, what comes out, what it takes, and what somebody may want to
//! know first. Pure: told from a sighting alone, without touching the source.

mod sizes;
pub mod texture;
mod warning;

use crate::clip::Method;
use crate::cost::Work;
use crate::recipe::crop::Unfit;
use crate::recipe::frame::Frame;
use crate::recipe::{Format, Mode, Recipe, Segment, Shape};
use crate::seconds::Seconds;
use crate::sighting::Sighting;
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

/// A splice that would encode more than this share is none.
const WORTH: f64 = 0.7;
/// The encoder begins anew at least this often, in frames.
const GROUP: f64 = 250.0;
/// Sped-up pictures are thinned out to this rate at most.
const SMOOTH: f64 = 30.0;
/// Where nothing is known of groups or rates.
const USUAL_GROUP: f64 = 5.0;
const USUAL_FPS: f64 = 30.0;

impl Foretold {
    /// Whether samples of the source would tell more.
    pub fn is_guessed(&self) -> bool {
        self.warnings.contains(&Warning::SizeGuessed)
    }
}

/// The stretch of a segment that is there.
#[derive(Clone, Copy, Debug)]
struct Cut {
    start: f64,
    end: f64,
    /// The keyframe at or before the start, and the first one inside.
    before: f64,
    entry: Option<f64>,
}

struct Estimator<'a> {
    seen: &'a Sighting,
    recipe: &'a Recipe,
    texture: Option<&'a Texture>,
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
    let estimator = Estimator {
        seen,
        recipe,
        texture: texture.filter(|texture| !texture.samples.is_empty()),
        frame: Frame::of(seen.shown_size(), &recipe.look, most)?,
        cuts: recipe.segments.iter().map(|one| cut(seen, *one)).collect(),
        fps: seen.video.fps.filter(|fps| *fps > 0.0).unwrap_or(USUAL_FPS),
    };
    let mut foretold = estimator.foretold(most);
    if recipe.format == Format::Gif {
        let film = Recipe {
            format: Format::Mp4,
            fit: None,
            ..recipe.clone()
        };
        let other = Estimator {
            recipe: &film,
            ..estimator
        };
        let (gif, mp4) = (foretold.bytes, other.foretold(most).bytes);
        if let (Some(gif), Some(mp4)) = (gif, mp4)
            && gif > mp4
        {
            foretold.warnings.push(Warning::GifLarger { gif, mp4 });
        }
    }
    Ok(foretold)
}

fn cut(seen: &Sighting, segment: Segment) -> Cut {
    /// A moment that was rounded lies on its frame.
    const NEAR: Seconds = Seconds::from_micros(1_000);
    let (start, end) = (segment.start.as_f64(), segment.end.as_f64());
    let end = seen.duration.map_or(end, |all| end.min(all.as_f64()));
    let (before, entry) = match &seen.keyframes {
        Some(keys) => {
            let here = keys.partition_point(|key| *key < segment.start - NEAR);
            let entry = keys.get(here).map(|key| key.as_f64());
            let before = keys.partition_point(|key| *key <= segment.start + NEAR);
            let before = before.checked_sub(1).and_then(|place| keys.get(place));
            (before.map_or(start, |key| key.as_f64()), entry)
        }
        None => (
            (start - USUAL_GROUP / 2.0).max(0.0),
            Some(start + USUAL_GROUP / 2.0),
        ),
    };
    Cut {
        start,
        end: end.max(start),
        before: before.min(start),
        entry: entry.filter(|entry| *entry < end),
    }
}

impl Cut {
    fn length(&self) -> f64 {
        self.end - self.start
    }

    /// Seconds that a splice encodes at its beginning.
    fn head(&self) -> f64 {
        self.entry
            .map_or(self.length(), |entry| (entry - self.start).max(0.0))
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
        let free = self.bytes(method, frames, playing);
        let bytes = match (self.recipe.fit, free) {
            (Some(fit), Some(free)) if free <= fit.0.0 => {
                warnings.push(Warning::FitNotNeeded { bytes: free });
                Some(free)
            }
            (Some(fit), Some(free)) => {
                warnings.push(Warning::FitLowersQuality { bytes: free });
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
            work: self.work(method, frames),
            fetched: self.fetched(method),
            warnings,
        }
    }

    /// As the plan will decide, as far as it can be told from here.
    fn method(&self, most: u32) -> (Method, &'static str) {
        let recipe = self.recipe;
        if recipe.mode == Mode::Fast {
            return if self.seen.copies() {
                (Method::Copy, "fast")
            } else {
                (Method::Encode, "codec")
            };
        }
        if recipe.format != Format::Mp4 {
            return (Method::Encode, "format");
        }
        if let Some(wish) = recipe.look.touches_pictures() {
            return (Method::Encode, wish);
        }
        let splice = self.seen.splice(most);
        let shown = self.seen.shown_height();
        if !splice.possible {
            return (Method::Encode, splice.reason);
        }
        if recipe.look.height.is_some_and(|height| height < shown) {
            return (Method::Encode, "scale");
        }
        let all: f64 = self.cuts.iter().map(Cut::length).sum();
        let head: f64 = self.cuts.iter().map(Cut::head).sum();
        if head > WORTH * all || self.cuts.iter().any(|cut| cut.entry.is_none()) {
            return (Method::Encode, "group");
        }
        // What does not fit as it is has to be encoded.
        let free = self.bytes(Method::Splice, self.frames(Method::Splice), seconds(all));
        match (recipe.fit, free) {
            (Some(fit), Some(free)) if free > fit.0.0 => (Method::Encode, "fit"),
            (Some(_), None) => (Method::Encode, "fit"),
            _ => (Method::Splice, "exact"),
        }
    }

    /// Seconds of the source that come out.
    fn length(&self, method: Method) -> f64 {
        let from = |cut: &Cut| match method {
            Method::Copy => cut.before,
            Method::Splice | Method::Encode => cut.start,
        };
        self.cuts.iter().map(|cut| cut.end - from(cut)).sum()
    }

    /// Frames that come out.
    fn frames(&self, method: Method) -> f64 {
        let look = &self.recipe.look;
        if self.recipe.format.shape() == Shape::Still {
            return 1.0;
        }
        let length = self.length(method);
        let all = (length * self.fps).max(1.0);
        if method != Method::Encode {
            return all;
        }
        let speed = look.speed.map_or(1.0, |speed| speed.as_f64());
        let most = match look.fps {
            Some(fps) => f64::from(fps),
            None if speed > 1.0 => self.fps.max(SMOOTH),
            None => f64::INFINITY,
        };
        let once = all.min(length / speed * most).max(1.0);
        if look.boomerang {
            (2.0 * once - 2.0).max(once)
        } else {
            once
        }
    }

    /// Bytes of the finished file without a target; none when the source does not tell enough.
    fn bytes(&self, method: Method, frames: f64, playing: Seconds) -> Option<u64> {
        let format = self.recipe.format;
        let pictures = match (format.shape(), method) {
            (Shape::Sound, _) => 0.0,
            (Shape::Still, _) => self.still(),
            (Shape::Film | Shape::Animation, Method::Encode) => {
                let pixels = frames * self.frame.pixels() as f64;
                sizes::of(format, self.encoded(frames)?, pixels)
            }
            (Shape::Film | Shape::Animation, Method::Copy) => {
                let kept = self.cuts.iter().map(|cut| self.taken(cut.before, cut.end));
                kept.sum::<Option<f64>>()?
            }
            (Shape::Film | Shape::Animation, Method::Splice) => {
                let parts = self.cuts.iter().map(|cut| {
                    let entry = cut.entry.unwrap_or(cut.end);
                    let tail = self.tail(cut).1;
                    Some(self.taken(entry, cut.end)? + self.head(cut.start, entry)? + tail)
                });
                parts.sum::<Option<f64>>()?
            }
        };
        let sound = self.sound(method, playing);
        let tables = match format {
            Format::Mp4 => {
                1_500.0
                    + 14.0 * frames
                    + if sound > 0.0 {
                        250.0 * playing.as_f64()
                    } else {
                        0.0
                    }
            }
            Format::M4a => 1_000.0 + 200.0 * playing.as_f64(),
            Format::Webm => 1_000.0 + 8.0 * frames,
            Format::Gif | Format::Webp | Format::Mp3 | Format::Jpg => 500.0,
        };
        Some((pictures + sound + tables) as u64)
    }

    /// Bytes of the source's own pictures of a stretch.
    fn taken(&self, from: f64, until: f64) -> Option<f64> {
        match &self.seen.flow {
            Some(flow) => Some(flow.between(seconds(from), seconds(until))),
            None => Some((until - from).max(0.0) * self.seen.video.rate?),
        }
    }

    /// Bytes of what a splice encodes before its entry.
    fn head(&self, from: f64, until: f64) -> Option<f64> {
        if until <= from {
            return Some(0.0);
        }
        let own = self.taken(from, until)?;
        Some(match self.texture {
            Some(_) => sizes::quick(self.stretch(from, until)?).min(self.most(until - from)),
            None => 1.2 * own,
        })
    }

    /// The most that a splice encodes in so many seconds: twice the source's rate, and nearly a second of it at once.
    fn most(&self, length: f64) -> f64 {
        let rate = self.seen.video.rate.unwrap_or(f64::INFINITY);
        2.0 * rate * (length + 0.9)
    }

    /// Frames and bytes that a splice encodes at its end, on average: pictures that others shown later are needed for.
    fn tail(&self, cut: &Cut) -> (f64, f64) {
        let all = self.seen.duration.map_or(f64::INFINITY, Seconds::as_f64);
        let Some(flow) = self
            .seen
            .flow
            .as_ref()
            .filter(|_| cut.end + 1.0 / self.fps < all)
        else {
            return (0.0, 0.0);
        };
        let clean = flow.clean().clamp(0.05, 1.0);
        let frames = (1.0 / clean - 1.0) / 2.0;
        let end = seconds(cut.end);
        let bytes = self.texture.map_or(0.0, |texture| {
            let pictures = (1.0 - clean) * texture.alone(end) + frames * texture.following(end);
            sizes::quick(pictures).min(self.most(frames / self.fps))
        });
        (frames, bytes)
    }

    /// Bytes of the encoded pictures of all segments as MP4, after what the look does to them.
    fn encoded(&self, frames: f64) -> Option<f64> {
        let all: f64 = self.cuts.iter().map(Cut::length).sum();
        let plain = self
            .cuts
            .iter()
            .map(|cut| self.stretch(cut.start, cut.end))
            .sum::<Option<f64>>()?;
        let (wide, high) = self.seen.shown_size();
        let whole = f64::from(wide) * f64::from(high);
        let base = self.texture.map_or(whole, Texture::pixels);
        let kept = self
            .frame
            .crop
            .map_or(whole, |rect| f64::from(rect.width) * f64::from(rect.height));
        let power = self.texture.and_then(|texture| texture.exponent);
        let scaled = |share| sizes::scaled(share, power);
        let sized = kept / whole * scaled(self.frame.pixels() as f64 / kept) / scaled(base / whole);
        let look = &self.recipe.look;
        let (turned, speed) = (
            if look.boomerang { 2.0 } else { 1.0 },
            look.speed.map_or(1.0, |speed| speed.as_f64()),
        );
        let share = (frames / turned / (all * self.fps).max(1.0)).min(1.0);
        let longer = 1.0 / (share * speed);
        Some(plain * sized * sizes::timed(share, longer) * turned)
    }

    /// Bytes of a stretch encoded as it is, at the size of the texture.
    fn stretch(&self, from: f64, until: f64) -> Option<f64> {
        const STEP: f64 = 0.5;
        let Some(texture) = self.texture else {
            return Some(1.2 * self.taken(from, until)?);
        };
        let length = (until - from).max(0.0);
        let count = (length / STEP).ceil().clamp(1.0, 400.0);
        let step = length / count;
        let flow = self.seen.flow.as_ref();
        let mut following = 0.0;
        for number in 0..count as u32 {
            let begin = from + step * f64::from(number);
            let (begin, end) = (seconds(begin), seconds(begin + step));
            let middle = seconds(begin.as_f64() + step / 2.0);
            let by_source = flow.and_then(|flow| {
                let factor = texture.against(middle, |from, until| flow.moving(from, until))?;
                Some(factor * flow.moving(begin, end))
            });
            following += by_source.unwrap_or_else(|| texture.following(middle) * step * self.fps);
        }
        let frames = (length * self.fps).max(1.0);
        // Pictures that stand alone: the first, one for each cut in the source, and one now and then.
        let alone = (1.0 + self.scenes(from, until) + (frames / GROUP).floor()).min(frames);
        Some(
            following * (1.0 - alone / frames)
                + alone * texture.alone(seconds((from + until) / 2.0)),
        )
    }

    /// Groups of the source that begin before they had to: there the picture changes.
    fn scenes(&self, from: f64, until: f64) -> f64 {
        let Some(keys) = &self.seen.keyframes else {
            return 0.0;
        };
        let pairs = || keys.windows(2).map(|two| (two[1], two[1] - two[0]));
        let longest = pairs().map(|(_, apart)| apart).max().unwrap_or_default();
        let inside = |at: Seconds| at > seconds(from) && at < seconds(until);
        let early = |apart: Seconds| apart.as_f64() < 0.9 * longest.as_f64();
        let count = pairs().filter(|(at, apart)| inside(*at) && early(*apart));
        count.count() as f64
    }

    fn still(&self) -> f64 {
        let pixels = self.frame.pixels() as f64;
        let alone = self.texture.map(|texture| {
            let share = pixels / texture.pixels().max(1.0);
            texture.alone(self.recipe.span().start) * sizes::scaled(share, texture.exponent)
        });
        sizes::still(pixels, alone)
    }

    /// Bytes of the sound that comes out.
    fn sound(&self, method: Method, playing: Seconds) -> f64 {
        let Some(heard) = self
            .seen
            .audio
            .as_ref()
            .filter(|_| self.recipe.wants_sound())
        else {
            return 0.0;
        };
        let taken_over = match (self.recipe.format, method) {
            (Format::Mp4, Method::Splice | Method::Copy) | (Format::M4a, _) => {
                heard.codec == "aac"
                    && self.recipe.segments.len() == 1
                    && !self.recipe.look.touches_sound()
            }
            _ => method == Method::Copy,
        };
        let rate = match heard.bytes_a_second {
            Some(own) if taken_over => own,
            _ => sizes::sound(self.recipe.format, heard.channels),
        };
        rate * playing.as_f64()
    }

    fn fetched(&self, method: Method) -> Option<u64> {
        let sound = self
            .seen
            .audio
            .as_ref()
            .filter(|_| self.recipe.wants_sound());
        let heard = sound.map_or(0.0, |sound| sound.bytes_a_second.unwrap_or(16_000.0));
        let bytes = self.cuts.iter().map(|cut| {
            let end = match (method, self.recipe.format.shape()) {
                (_, Shape::Still) => cut.start,
                _ => cut.end,
            };
            let pictures = self.taken(cut.before, end)?;
            Some(pictures + heard * (end - cut.before))
        });
        Some(bytes.sum::<Option<f64>>()? as u64)
    }

    fn work(&self, method: Method, frames: f64) -> Work {
        let video = &self.seen.video;
        let pixels = f64::from(video.width) * f64::from(video.height) / 1e6;
        let decoded: f64 = match method {
            Method::Copy => 0.0,
            Method::Encode => self.cuts.iter().map(|cut| cut.end - cut.before).sum(),
            Method::Splice => {
                let heads = self.cuts.iter().filter(|cut| cut.head() > 0.0);
                heads.map(|cut| cut.start + cut.head() - cut.before).sum()
            }
        };
        let encoded = match method {
            Method::Copy => 0.0,
            Method::Encode => frames,
            Method::Splice => self.fps * self.cuts.iter().map(Cut::head).sum::<f64>(),
        };
        let encoded = match self.recipe.format.shape() {
            Shape::Sound => 0.0,
            Shape::Film | Shape::Animation | Shape::Still => encoded,
        };
        let kept = |cut: &Cut| match method {
            Method::Copy => self.taken(cut.before, cut.end),
            Method::Splice => self.taken(cut.entry.unwrap_or(cut.end), cut.end),
            Method::Encode => Some(0.0),
        };
        let copied: f64 = self.cuts.iter().filter_map(kept).sum();
        Work {
            method,
            decoded: pixels * decoded * self.fps,
            encoded: self.frame.pixels() as f64 / 1e6 * encoded * effort(self.recipe),
            copied: copied as u64,
            replaced: 0,
            sound: 0,
            frames: frames as u64,
        }
    }

    /// Whether the size of what is encoded is told by nothing but the source's own rate.
    fn guessed(&self, method: Method) -> bool {
        let pictures = match self.recipe.format.shape() {
            Shape::Film | Shape::Animation => method == Method::Encode,
            Shape::Sound | Shape::Still => false,
        };
        pictures && self.texture.is_none()
    }

    fn warnings(&self, method: Method, most: u32) -> Vec<Warning> {
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

/// What a picture costs against one of H.264, by format and wishes.
fn effort(recipe: &Recipe) -> f64 {
    let format = match recipe.format {
        Format::Mp4 | Format::Jpg | Format::Mp3 | Format::M4a => 1.0,
        Format::Webm => 5.0,
        Format::Gif => 2.5,
        Format::Webp => 6.0,
    };
    // Two passes.
    if recipe.fit.is_some() {
        2.0 * format
    } else {
        format
    }
}

fn seconds(number: f64) -> Seconds {
    Seconds::from_f64(number).unwrap_or_default()
}

#[cfg(test)]
mod tests;
