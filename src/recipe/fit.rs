//! The most bytes that a finished file may have: `10MB` (decimal) or `8MiB`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bytes::{Bytes, BytesError};

/// A target that a finished file never exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit(pub Bytes);

/// Why an amount is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    #[error(transparent)]
    Bytes(#[from] BytesError),
    #[error("a target is from {} to {}", LEAST, MOST)]
    Range,
}

/// Less is no video; more is no limit.
pub const LEAST: Bytes = Bytes(10_000);
pub const MOST: Bytes = Bytes(10_000_000_000);

impl TryFrom<Bytes> for Fit {
    type Error = FitError;

    fn try_from(bytes: Bytes) -> Result<Fit, FitError> {
        if (LEAST..=MOST).contains(&bytes) {
            Ok(Fit(bytes))
        } else {
            Err(FitError::Range)
        }
    }
}

impl FromStr for Fit {
    type Err = FitError;

    fn from_str(text: &str) -> Result<Fit, FitError> {
        Fit::try_from(text.parse::<Bytes>()?)
    }
}

/// Exact, unlike amounts that are only shown.
impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [
            ("MB", 1_000_000),
            ("MiB", 1 << 20),
            ("kB", 1_000),
            ("KiB", 1 << 10),
        ];
        let bytes = self.0.0;
        match UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", bytes / unit),
            None => write!(f, "{bytes}B"),
        }
    }
}

impl Serialize for Fit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fit::try_from(Bytes::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_back_to_the_byte() {
        for (text, bytes, shown) in [
            ("10MB", 10_000_000, "10MB"),
            ("8MiB", 8 << 20, "8MiB"),
            ("9.5 MB", 9_500_000, "9500kB"),
            ("12345678", 12_345_678, "12345678B"),
            ("10 kB", 10_000, "10kB"),
        ] {
            let fit: Fit = text.parse().unwrap();
            assert_eq!((fit.0.0, fit.to_string().as_str()), (bytes, shown));
            assert_eq!(shown.parse(), Ok(fit));
        }
        for text in ["1", "9999", "1TB", "-1MB", "10 M", "", "NaN"] {
            assert!(text.parse::<Fit>().is_err(), "{text}");
        }
    }
}
