//! What the encoder makes of a source: a few short stretches of it, encoded once and measured.

use serde::{Deserialize, Serialize};

use crate::recipe::Segment;
use crate::seconds::Seconds;
use crate::sighting::Sighting;

/// Samples of a source as the engine's encoder writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Texture {
    /// The size that they were encoded at.
    pub width: u32,
    pub height: u32,
    /// At least one, in the order of their times.
    pub samples: Vec<Sample>,
    /// The power of the share of pixels that is the share of bytes, where that was measured.
    pub exponent: Option<f64>,
    /// The power of the share of pictures that is the share of bytes when fewer are shown in the same time, where that was measured.
    #[serde(default)]
    pub thinning: Option<f64>,
}

/// A stretch that was encoded, and what is counted of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What is counted, which lies inside of what was encoded.
    pub start: Seconds,
    pub end: Seconds,
    /// Bytes of the first picture that was encoded, which stands alone.
    pub first: u64,
    /// How many that follow it are counted, and their bytes.
    pub frames: u64,
    pub rest: u64,
}

/// How many stretches are encoded, and how long each is.
const SAMPLES: i64 = 6;
const LONG: Seconds = Seconds::from_micros(1_200_000);
/// The encoder saves at both ends of a short stretch, where it does not see what came before and what follows: a fifth of its pictures
/// each is not counted.
const EDGE: usize = 5;
/// The least that can be told of a source of unknown length.
const UNKNOWN: Seconds = Seconds::from_whole(10);

/// The stretches of a source that are encoded: spread evenly, all of it when it is short.
pub fn stretches(sighting: &Sighting) -> Vec<Segment> {
    let length = sighting.duration.unwrap_or(UNKNOWN);
    // The last picture may be shown before the sound ends.
    let length = length - Seconds::from_micros(length.micros() / 50);
    if length.micros() <= SAMPLES * LONG.micros() {
        return vec![Segment {
            start: Seconds::ZERO,
            end: length.max(Seconds::from_micros(200_000)),
        }];
    }
    let part = length.micros() / SAMPLES;
    let starts = (0..SAMPLES).map(|place| place * part + (part - LONG.micros()) / 2);
    starts
        .map(|micros| {
            let start = Seconds::from_micros(micros);
            Segment {
                start,
                end: start + LONG,
            }
        })
        .collect()
}

impl Sample {
    /// Of a stretch, by the bytes of its pictures in the order in which they are shown; none when there is nothing to count.
    pub fn of(segment: Segment, pictures: &[u64]) -> Option<Sample> {
        let first = pictures.first()?;
        let edge = (pictures.len() / EDGE).max(1);
        let counted = pictures.get(edge..pictures.len().saturating_sub(edge - 1))?;
        let each = segment.length().micros() / i64::try_from(pictures.len()).ok()?;
        let counted_micros = each * i64::try_from(counted.len()).ok()?;
        let start = segment.start + Seconds::from_micros(each * i64::try_from(edge).ok()?);
        Some(Sample {
            start,
            end: start + Seconds::from_micros(counted_micros),
            first: *first,
            frames: counted.len() as u64,
            rest: counted.iter().sum(),
        })
    }
}

impl Texture {
    /// Bytes of a picture that stands alone, at a moment, by the samples near it.
    pub fn alone(&self, moment: Seconds) -> f64 {
        self.near(moment, |sample| Some(sample.first as f64))
            .unwrap_or(0.0)
    }

    /// Pixels of one picture.
    pub fn pixels(&self) -> f64 {
        f64::from(self.width) * f64::from(self.height)
    }

    /// Bytes of one of the pictures that follow, at a moment, by the samples near it.
    pub fn following(&self, moment: Seconds) -> f64 {
        self.near(moment, |sample| {
            (sample.frames > 0).then(|| sample.rest as f64 / sample.frames as f64)
        })
        .unwrap_or(0.0)
    }

    /// Bytes of pictures that follow against what they take in the source, at a moment; `None` when the source does not tell.
    pub fn against(
        &self,
        moment: Seconds,
        moving: impl Fn(Seconds, Seconds) -> f64,
    ) -> Option<f64> {
        self.near(moment, |sample| {
            let taken = moving(sample.start, sample.end);
            let enough = taken >= sample.frames.max(1) as f64 && sample.rest > 0;
            enough.then(|| sample.rest as f64 / taken)
        })
    }

    /// A mean of what the samples say, by their nearness to a moment; of factors, so that one twice as large and one half as large
    /// make one.
    fn near(&self, moment: Seconds, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let (mut sum, mut weights) = (0.0, 0.0);
        for sample in &self.samples {
            let Some(value) = of(sample) else { continue };
            let middle = (sample.start.as_f64() + sample.end.as_f64()) / 2.0;
            let away = (middle - moment.as_f64()).abs() + 1.0;
            let weight = 1.0 / (away * away);
            sum += weight * value.max(1e-3).ln();
            weights += weight;
        }
        (weights > 0.0).then(|| (sum / weights).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_sample_are_not_counted() {
        let segment = Segment {
            start: Seconds::from_whole(10),
            end: Seconds::from_whole(12),
        };
        let mut pictures = vec![7; 20];
        pictures[0] = 1_000;
        pictures[1] = 500;
        pictures[19] = 0;
        let sample = Sample::of(segment, &pictures).unwrap();
        assert_eq!((sample.first, sample.frames, sample.rest), (1_000, 13, 91));
        let at = |micros| Seconds::from_micros(micros);
        assert_eq!((sample.start, sample.end), (at(10_400_000), at(11_700_000)));
        // Of few pictures all but the first are counted.
        let few = Sample::of(segment, &[9, 1, 2]).unwrap();
        assert_eq!((few.first, few.frames, few.rest), (9, 2, 3));
        assert_eq!(Sample::of(segment, &[]), None);
    }
}
