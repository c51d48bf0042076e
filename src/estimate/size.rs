//! How many bytes come out: what is taken over is summed up, what is encoded follows the samples of the source.

use super::cut::Cut;
use super::texture::Texture;
use super::{Estimator, factors, seconds};
use crate::clip::Method;
use crate::recipe::{Format, Shape};
use crate::seconds::Seconds;

/// The encoder begins anew at least this often, in frames.
const GROUP: f64 = 250.0;

impl Estimator<'_> {
    /// Bytes of the finished file without a target; none when the source does not tell enough.
    pub(super) fn bytes(&self, method: Method, frames: f64, playing: Seconds) -> Option<u64> {
        let format = self.recipe.format;
        let pictures = match (format.shape(), method) {
            (Shape::Sound, _) => 0.0,
            (Shape::Still, _) => self.still(),
            (Shape::Film | Shape::Animation, Method::Encode) => {
                let pixels = frames * self.frame.pixels() as f64;
                factors::of(format, self.encoded(frames)?, pixels)
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
    pub(super) fn taken(&self, from: f64, until: f64) -> Option<f64> {
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
            Some(_) => factors::quick(self.stretch(from, until)?).min(self.most(until - from)),
            None => 1.2 * own,
        })
    }

    /// The most that a splice encodes in so many seconds: twice the source's rate, and nearly a second of it at once.
    fn most(&self, length: f64) -> f64 {
        let rate = self.seen.video.rate.unwrap_or(f64::INFINITY);
        2.0 * rate * (length + 0.9)
    }

    /// Frames and bytes that a splice encodes at its end, on average: pictures that others shown later are needed for.
    pub(super) fn tail(&self, cut: &Cut) -> (f64, f64) {
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
            factors::quick(pictures).min(self.most(frames / self.fps))
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
        let thinning = self.texture.and_then(|texture| texture.thinning);
        let scaled = |share| factors::scaled(share, power);
        let sized = kept / whole * scaled(self.frame.pixels() as f64 / kept) / scaled(base / whole);
        let look = &self.look;
        let (turned, speed) = (
            if look.boomerang { 2.0 } else { 1.0 },
            look.speed.map_or(1.0, |speed| speed.as_f64()),
        );
        let share = (frames / turned / (all * self.fps).max(1.0)).min(1.0);
        let longer = 1.0 / (share * speed);
        Some(plain * sized * factors::timed(share, longer, thinning) * turned)
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
            texture.alone(self.recipe.span().start) * factors::scaled(share, texture.exponent)
        });
        factors::still(pixels, alone)
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
            (Format::M4a, Method::Copy) | (Format::Mp4, Method::Splice) => self.keeps_sound(),
            (_, Method::Copy) => true,
            (_, Method::Splice | Method::Encode) => false,
        };
        let rate = match heard.bytes_a_second {
            Some(own) if taken_over => own,
            _ => factors::sound(self.recipe.format, heard.channels),
        };
        rate * playing.as_f64()
    }
}
