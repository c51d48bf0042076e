//! What a clip costs: seconds and bytes predicted from what its plan asks for, and the experience with past clips that the prediction
//! learns from. Pure arithmetic; nothing here is ever exact.

use serde::{Deserialize, Serialize};

use crate::clip::Method;
use crate::recipe::frame::Frame;
use crate::recipe::{Format, Look, Mode, Shape};

/// What is expected of a clip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Estimate {
    /// From the worker's first look at it until it is ready.
    pub seconds: f64,
    /// What it is still going to take on the disk, parts and all.
    pub bytes: u64,
}

/// What a plan asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    pub method: Method,
    /// Millions of pixels decoded and encoded.
    pub decoded: f64,
    pub encoded: f64,
    /// Bytes of pictures taken over as they are, and what the encoded ones take in the source, scaled as they will be.
    pub copied: u64,
    pub replaced: u64,
    /// Bytes of sound.
    pub sound: u64,
    pub frames: u64,
    /// Bytes at most that are only needed while it is made, beside its parts.
    pub scratch: u64,
}

/// What a clip that was asked for turned out to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experience {
    pub mode: Mode,
    /// Seconds of clip, and of how many segments.
    pub length: f64,
    pub segments: usize,
    pub work: Work,
    /// Seconds that fetching and all that follows took.
    pub fetch_seconds: f64,
    pub cut_seconds: f64,
    /// Bytes of the clip, and all that was on the disk for it.
    pub size: u64,
    pub footprint: u64,
}

/// Costs as far as they are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    methods: [Scale; 3],
    modes: [Guess; 2],
}

/// How this machine differs from the one on which the rates below were taken, for one method.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    fixed: f64,
    rated: f64,
    /// Bytes of encoded pictures against what they took in the source.
    growth: f64,
}

/// What is guessed of one mode before anything is known of the source.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Guess {
    seconds: f64,
    bytes: f64,
}

/// Above this share of frames to be encoded a splice saves too little for what it may cost.
pub const WORTH: f64 = 0.7;
/// Most bits for each pixel of pictures that are made to be shown in another order: noise does not have to be kept as it was, and a
/// minute of 1080p stays below 1.5 GB.
pub const TURNED_BITS: f64 = 3.0;

/// How many past clips are worth remembering.
pub const REMEMBERED: usize = 200;
/// A rate is believed once so many clips have told of it.
const ENOUGH: usize = 3;

/// Rates on a machine with two slow cores, by `make bench`: seconds for every clip, for a million pixels decoded and encoded, and for a
/// million bytes copied.
struct Rates {
    fixed: f64,
    decoded: f64,
    encoded: f64,
    copied: f64,
}

const fn rates(method: Method) -> Rates {
    match method {
        Method::Splice => Rates {
            fixed: 0.6,
            decoded: 0.001_6,
            encoded: 0.003,
            copied: 0.004,
        },
        Method::Encode => Rates {
            fixed: 0.6,
            decoded: 0.001_6,
            encoded: 0.012,
            copied: 0.004,
        },
        Method::Copy => Rates {
            fixed: 0.4,
            decoded: 0.0,
            encoded: 0.0,
            copied: 0.004,
        },
    }
}

const fn place(method: Method) -> usize {
    match method {
        Method::Splice => 0,
        Method::Encode => 1,
        Method::Copy => 2,
    }
}

const fn mode_place(mode: Mode) -> usize {
    match mode {
        Mode::Exact => 0,
        Mode::Fast => 1,
    }
}

/// What a pixel costs to encode in a format against one of MP4, by `make bench`.
const fn effort(format: Format) -> f64 {
    match format {
        Format::Mp4 | Format::Jpg => 1.0,
        Format::Webm => 5.0,
        Format::Gif => 2.5,
        Format::Webp => 6.0,
        Format::Mp3 | Format::M4a => 0.0,
    }
}

impl Work {
    /// The same with so many pictures that are encoded whole, after what a look does to them: pictures in another order are made once
    /// from first to last and then encoded from that.
    #[must_use]
    pub fn rendering(self, shown: f64, frame: &Frame, look: &Look, format: Format) -> Work {
        /// What a pixel costs that is encoded in a hurry.
        const HURRIED: f64 = 0.3;
        let pixels = frame.pixels() as f64 * shown;
        let (made, turned) = match (look.boomerang, look.reverse) {
            (true, _) => (2.0 * pixels, pixels),
            (false, true) => (pixels, pixels),
            (false, false) => (pixels, 0.0),
        };
        let decoded = if turned > 0.0 { made } else { 0.0 };
        Work {
            decoded: self.decoded + decoded / 1e6,
            encoded: self.encoded + (made * effort(format) + turned * HURRIED) / 1e6,
            scratch: self.scratch + (turned * TURNED_BITS / 8.0) as u64,
            ..self
        }
    }

    /// The same for pictures that have to be made until they fit: films are gone through twice, a first time in a hurry; others are
    /// tried a few times, mostly smaller. `pixels` are all that are shown.
    #[must_use]
    pub fn fitted(self, pixels: f64, format: Format) -> Work {
        /// Bytes that the first pass notes for each macroblock of a picture.
        const NOTES: f64 = 2.0 / 256.0;
        let (decoded, encoded, notes) = match format.shape() {
            Shape::Film => (2.0, 1.6, NOTES),
            Shape::Animation => (3.0, 2.0, 0.0),
            Shape::Still | Shape::Sound => (1.0, 1.0, 0.0),
        };
        Work {
            decoded: self.decoded * decoded,
            encoded: self.encoded * encoded,
            scratch: self.scratch + (pixels * notes) as u64,
            ..self
        }
    }

    /// The part of its seconds that depends on what it is.
    fn rated(&self) -> f64 {
        let rates = rates(self.method);
        rates.decoded * self.decoded
            + rates.encoded * self.encoded
            + rates.copied * self.copied as f64 / 1e6
    }

    /// Bytes that are known beforehand: what is copied, the sound, and the tables.
    fn known(&self) -> u64 {
        self.copied + self.sound + self.frames * 24 + 4_000
    }
}

impl Default for Costs {
    fn default() -> Costs {
        Costs::learned(&[])
    }
}

impl Costs {
    /// What can be learned from past clips, in any order.
    pub fn learned(past: &[Experience]) -> Costs {
        Costs {
            methods: [Method::Splice, Method::Encode, Method::Copy]
                .map(|method| Scale::learned(method, past)),
            modes: [Mode::Exact, Mode::Fast].map(|mode| Guess::learned(mode, past)),
        }
    }

    /// Seconds of cutting, and bytes of the clip, from its plan.
    pub fn of(&self, work: &Work) -> Estimate {
        let scale = &self.methods[place(work.method)];
        Estimate {
            seconds: scale.fixed * rates(work.method).fixed + scale.rated * work.rated(),
            bytes: work.known() + (scale.growth * work.replaced as f64) as u64,
        }
    }

    /// What a clip of so many seconds may take when nothing else is known of it.
    pub fn guess(&self, mode: Mode, length: f64, segments: usize) -> Estimate {
        let guess = &self.modes[mode_place(mode)];
        Estimate {
            seconds: guess.seconds * guessed_seconds(mode, length),
            bytes: (guess.bytes * guessed_bytes(length, segments)) as u64,
        }
    }
}

/// The first guess: a start and a tenth of the clip's length.
fn guessed_seconds(mode: Mode, length: f64) -> f64 {
    match mode {
        Mode::Exact => 2.0 + 0.1 * length,
        Mode::Fast => 1.0 + 0.02 * length,
    }
}

/// The first guess: a window and a file at 8 Mbit/s each, and the poster.
fn guessed_bytes(length: f64, segments: usize) -> f64 {
    (length + 10.0 * segments as f64) * 2e6 + 1e6
}

impl Scale {
    fn learned(method: Method, past: &[Experience]) -> Scale {
        let own = || past.iter().filter(|one| one.work.method == method);
        // Least squares of the relative error in both factors; one clip's weight each holds them near each other, because a slow
        // machine is slow in all, and near 1.
        let base = rates(method).fixed;
        let (mut aa, mut ab, mut bb, mut ac, mut bc) = (1.0, -1.0, 2.0, 0.0, 1.0);
        for one in own() {
            let told = one.cut_seconds.max(0.01);
            let (fixed, rated) = (base / told, one.work.rated() / told);
            aa += fixed * fixed;
            ab += fixed * rated;
            bb += rated * rated;
            ac += fixed;
            bc += rated;
        }
        let determinant = aa * bb - ab * ab;
        let growth = own()
            .filter(|one| one.work.replaced > one.work.known() / 8)
            .map(|one| one.size.saturating_sub(one.work.known()) as f64 / one.work.replaced as f64);
        Scale {
            fixed: ((ac * bb - bc * ab) / determinant).clamp(0.05, 50.0),
            rated: ((bc * aa - ac * ab) / determinant).clamp(0.05, 50.0),
            growth: quantile(growth, 0.5).unwrap_or(1.2).clamp(0.02, 20.0),
        }
    }
}

impl Guess {
    fn learned(mode: Mode, past: &[Experience]) -> Guess {
        let own = || past.iter().filter(|one| one.mode == mode);
        let seconds = own()
            .map(|one| (one.fetch_seconds + one.cut_seconds) / guessed_seconds(mode, one.length));
        let bytes = own().map(|one| one.footprint as f64 / guessed_bytes(one.length, one.segments));
        Guess {
            seconds: quantile(seconds, 0.5).unwrap_or(1.0).clamp(0.05, 50.0),
            // Too little room is worse than too much.
            bytes: quantile(bytes, 0.9).unwrap_or(1.0).clamp(0.25, 20.0),
        }
    }
}

/// The value below which this share lies; `None` when there are too few to believe.
fn quantile(values: impl Iterator<Item = f64>, share: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    if values.len() < ENOUGH {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let rank = (share * (values.len() - 1) as f64).round() as usize;
    values.get(rank).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(method: Method, encoded: f64, copied: u64) -> Work {
        Work {
            method,
            decoded: 2.0 * encoded,
            encoded,
            copied,
            replaced: 1_000_000,
            sound: 100_000,
            frames: 900,
            scratch: 0,
        }
    }

    fn experience(work: Work, cut_seconds: f64, size: u64) -> Experience {
        Experience {
            mode: Mode::Exact,
            length: 30.0,
            segments: 1,
            work,
            fetch_seconds: 1.0,
            cut_seconds,
            size,
            footprint: 2 * size,
        }
    }

    #[test]
    fn more_work_costs_more() {
        let costs = Costs::default();
        let small = costs.of(&work(Method::Splice, 10.0, 1_000_000));
        let large = costs.of(&work(Method::Splice, 100.0, 30_000_000));
        assert!(large.seconds > small.seconds && large.bytes > small.bytes);
        let encoded = costs.of(&work(Method::Encode, 100.0, 0));
        assert!(encoded.seconds > costs.of(&work(Method::Splice, 100.0, 0)).seconds);
    }

    #[test]
    fn a_machine_three_times_as_slow_is_learned_for_small_and_large_clips() {
        let first = Costs::default();
        let past: Vec<Experience> = (0_u32..40)
            .map(|number| {
                let work = work(Method::Encode, f64::from(number % 10 + 1) * 200.0, 0);
                experience(work, 3.0 * first.of(&work).seconds, 2_000_000)
            })
            .collect();
        let learned = Costs::learned(&past);
        for encoded in [100.0, 1_000.0, 4_000.0] {
            let work = work(Method::Encode, encoded, 0);
            let ratio = learned.of(&work).seconds / first.of(&work).seconds;
            assert!((ratio - 3.0).abs() < 0.45, "{encoded}: {ratio}");
        }
        // Of the other methods nothing was told.
        let splice = work(Method::Splice, 10.0, 1_000_000);
        assert_eq!(learned.of(&splice), first.of(&splice));
    }

    #[test]
    fn bytes_of_what_is_copied_are_known_and_of_what_is_encoded_are_learned() {
        let encoded = work(Method::Encode, 100.0, 0);
        let past = vec![experience(encoded, 2.0, encoded.known() + 500_000); 5];
        let learned = Costs::learned(&past);
        assert_eq!(learned.of(&encoded).bytes, encoded.known() + 500_000);
        let copied = Work {
            replaced: 0,
            ..work(Method::Copy, 0.0, 7_000_000)
        };
        assert_eq!(learned.of(&copied).bytes, copied.known());
    }

    #[test]
    fn a_guess_follows_what_clips_of_its_mode_took() {
        let first = Costs::default().guess(Mode::Exact, 30.0, 1);
        let past = vec![experience(work(Method::Splice, 10.0, 1_000_000), 1.0, 60_000_000); 10];
        let learned = Costs::learned(&past).guess(Mode::Exact, 30.0, 1);
        assert!((learned.seconds - 2.0).abs() < 0.01, "{}", learned.seconds);
        assert!(
            learned.bytes.abs_diff(120_000_000) < 1_000_000,
            "{}",
            learned.bytes
        );
        assert!(learned.bytes > first.bytes);
        let fast = Costs::learned(&past).guess(Mode::Fast, 30.0, 1);
        assert_eq!(fast, Costs::default().guess(Mode::Fast, 30.0, 1));
    }
}
