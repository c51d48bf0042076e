//! A time within a video or a length of one, in whole microseconds so that it compares and hashes; read from `83`, `83.5`,
//! `1:23.5` or `1:02:03.5`.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time or a length; serialises as a JSON number of seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds {
    micros: i64,
}

/// The text or number is not a time.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("this is not a time; write seconds (83.5) or a clock time (1:23.5, 1:02:03)")]
pub struct SecondsError;

/// About 31 years: beyond any video, and far from overflow in every time base ffmpeg uses.
const MAX: i64 = 1_000_000_000 * 1_000_000;

impl Seconds {
    /// Time zero.
    pub const ZERO: Seconds = Seconds { micros: 0 };

    /// From whole microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Seconds { micros }
    }

    /// From whole seconds.
    pub const fn from_whole(seconds: i64) -> Self {
        Seconds {
            micros: seconds * 1_000_000,
        }
    }

    /// From a float, rounded to the microsecond.
    ///
    /// # Errors
    /// When it is not finite or beyond 10^9 seconds either way. Negative values are times before zero and allowed here.
    pub fn from_f64(seconds: f64) -> Result<Self, SecondsError> {
        let micros = seconds * 1e6;
        if !micros.is_finite() || micros.abs() > MAX as f64 {
            return Err(SecondsError);
        }
        Ok(Seconds {
            micros: micros.round() as i64,
        })
    }

    /// Whole microseconds.
    pub const fn micros(self) -> i64 {
        self.micros
    }

    /// As a float, for arithmetic that may round.
    pub fn as_f64(self) -> f64 {
        self.micros as f64 / 1e6
    }
}

impl Add for Seconds {
    type Output = Seconds;
    fn add(self, other: Seconds) -> Seconds {
        Seconds::from_micros(self.micros.saturating_add(other.micros))
    }
}

impl Sub for Seconds {
    type Output = Seconds;
    fn sub(self, other: Seconds) -> Seconds {
        Seconds::from_micros(self.micros.saturating_sub(other.micros))
    }
}

impl FromStr for Seconds {
    type Err = SecondsError;

    /// Only digits, colons and one decimal point: no sign, no exponent, no spaces. Minutes and seconds after a colon are below 60.
    fn from_str(text: &str) -> Result<Self, SecondsError> {
        let parts: Vec<&str> = text.split(':').collect();
        if parts.len() > 3 {
            return Err(SecondsError);
        }
        let mut total = 0_i64;
        for (place, part) in parts.iter().enumerate() {
            let (whole, fraction) = match part.split_once('.') {
                Some((whole, fraction)) if place + 1 == parts.len() => (whole, fraction),
                Some(_) => return Err(SecondsError),
                None => (*part, ""),
            };
            let has_point = part.contains('.');
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(whole) || !digits(fraction) || whole.is_empty() || whole.len() > 10 {
                return Err(SecondsError);
            }
            if has_point && fraction.is_empty() {
                return Err(SecondsError);
            }
            let whole: i64 = whole.parse().map_err(|_| SecondsError)?;
            if place > 0 && whole >= 60 {
                return Err(SecondsError);
            }
            let mut micros = 0;
            for place in 0..6 {
                let digit = fraction.as_bytes().get(place).map_or(0, |byte| byte - b'0');
                micros = micros * 10 + i64::from(digit);
            }
            total = total * 60 + whole * 1_000_000 + micros;
        }
        if total > MAX {
            return Err(SecondsError);
        }
        Ok(Seconds { micros: total })
    }
}

impl fmt::Display for Seconds {
    /// As a plain decimal number without trailing zeros: `83.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.micros < 0 { "-" } else { "" };
        let (whole, micros) = (
            self.micros.unsigned_abs() / 1_000_000,
            self.micros.unsigned_abs() % 1_000_000,
        );
        if micros == 0 {
            return write!(f, "{sign}{whole}");
        }
        let fraction = format!("{micros:06}");
        write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_f64())
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Seconds::from_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, micros) in [
            ("0", 0),
            ("83", 83_000_000),
            ("83.5", 83_500_000),
            ("1:23.5", 83_500_000),
            ("83:20", 5_000_000_000),
            ("1:02:03.25", 3_723_250_000),
            ("00:00:01", 1_000_000),
            ("0.0416666666", 41_666),
        ] {
            assert_eq!(text.parse(), Ok(Seconds::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            " 1",
            "1 ",
            "-1",
            "+1",
            "1e3",
            "abc",
            "-ss",
            "1;id",
            "$(id)",
            "1:60",
            "00:61:00",
            "00:00:61",
            "1:2:3:4",
            "1.5:20",
            ".5",
            "5.",
            ":5",
            "5:",
            "∞",
            "٣",
            "NaN",
            "inf",
            "99999999999",
            "1,5",
        ] {
            assert_eq!(text.parse::<Seconds>(), Err(SecondsError), "{text}");
        }
        for number in [f64::NAN, f64::INFINITY, 1e308, -1e300] {
            assert_eq!(Seconds::from_f64(number), Err(SecondsError));
        }
    }

    #[test]
    fn a_time_reads_back_as_shown() {
        for micros in [0, 1, 83_500_000, 3_723_250_000, 41_666] {
            let time = Seconds::from_micros(micros);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}
