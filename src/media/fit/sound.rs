//! Sound alone: the most bits a second that a target leaves for it.

use super::rounded_up;
use crate::bytes::Bytes;

/// Sound that has to fit into a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alone {
    pub target: Bytes,
    pub seconds: f64,
}

/// Bits a second that MP3 knows (ISO/IEC 11172-3, 2.4.2.3), which do for AAC as well.
const STEPS: [u64; 12] = [
    256_000, 224_000, 192_000, 160_000, 128_000, 112_000, 96_000, 80_000, 64_000, 56_000, 48_000,
    32_000,
];
/// A file without packets, and the tables of a second.
const EMPTY: f64 = 2_000.0;
const SECOND: f64 = 250.0;
/// What an encoder takes more than it was told.
const RESERVE: f64 = 0.01;
const USUAL_BITS: f64 = 192_000.0;

/// Bytes of sound that nothing was asked of.
pub fn usual_bytes(seconds: f64) -> f64 {
    EMPTY + seconds * (SECOND + USUAL_BITS / 8.0)
}

impl Alone {
    /// The steps that are expected to fit, the best first.
    pub fn fitting(&self) -> impl Iterator<Item = u64> {
        let most = self.target.0 as f64 * (1.0 - RESERVE);
        let seconds = self.seconds;
        STEPS
            .into_iter()
            .filter(move |bits| bytes(*bits, seconds) <= most)
    }

    /// Those that are tried: the best two, and then the one that takes the least.
    pub fn tries(&self) -> Vec<u64> {
        let fitting: Vec<u64> = self.fitting().collect();
        match fitting.as_slice() {
            [best, next, .., last] => vec![*best, *next, *last],
            few => few.to_vec(),
        }
    }

    /// The least target that is not refused.
    pub fn least(&self) -> Bytes {
        let last = STEPS.last().copied().unwrap_or_default();
        rounded_up(bytes(last, self.seconds) / (1.0 - RESERVE))
    }
}

fn bytes(bits: u64, seconds: f64) -> f64 {
    EMPTY + seconds * (SECOND + bits as f64 / 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_takes_the_most_bits_that_fit() {
        for (target, seconds, bits) in [
            (10_000_000, 10.0, Some(256_000)),
            (1_000_000, 60.0, Some(128_000)),
            (330_000, 60.0, Some(32_000)),
            (200_000, 60.0, None),
        ] {
            let target = Bytes(target);
            let alone = Alone { target, seconds };
            assert_eq!(alone.fitting().next(), bits, "{target}");
        }
    }

    #[test]
    fn the_last_try_takes_the_least_bits() {
        for (target, tries) in [
            (1_000_000, &[128_000, 112_000, 32_000][..]),
            (400_000, &[48_000, 32_000]),
            (200_000, &[]),
        ] {
            let target = Bytes(target);
            let seconds = 60.0;
            assert_eq!(Alone { target, seconds }.tries(), tries, "{target}");
        }
    }

    #[test]
    fn what_is_refused_names_a_target_that_does() {
        for seconds in [0.1, 1.0, 10.0, 60.0, 3600.0, 86_400.0] {
            let target = Bytes(0);
            let target = Alone { target, seconds }.least();
            let fitting: Vec<u64> = Alone { target, seconds }.fitting().collect();
            assert_eq!(fitting.last(), Some(&32_000));
            assert!(seconds < 10.0 || fitting.len() == 1, "{seconds}");
        }
    }
}
