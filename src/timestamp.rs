//! A moment on the wall clock, in milliseconds since 1970 UTC. It never reads the clock itself: callers pass `now`.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since the Unix epoch; serialises as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From the system clock's reading.
    pub fn from_system(time: std::time::SystemTime) -> Self {
        Timestamp(DateTime::<Utc>::from(time).timestamp_millis())
    }

    /// This moment moved by whole milliseconds, forward or back.
    pub fn plus_millis(self, millis: i64) -> Self {
        Timestamp(self.0.saturating_add(millis))
    }

    /// This moment moved forward by hours.
    pub fn plus_hours(self, hours: u32) -> Self {
        self.plus_millis(i64::from(hours) * 3_600_000)
    }

    /// This moment moved back by days.
    pub fn minus_days(self, days: u32) -> Self {
        self.plus_millis(-i64::from(days) * 86_400_000)
    }

    /// To the second, fit for file names and sorted as moments are: `20261121T030000Z`.
    pub fn stamp(self) -> String {
        let text = self.to_string();
        let whole = text.split('.').next().unwrap_or_default();
        let kept: String = whole
            .chars()
            .filter(|letter| letter.is_ascii_digit() || *letter == 'T')
            .collect();
        format!("{kept}Z")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => write!(f, "{} ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        DateTime::parse_from_rfc3339(&text)
            .map(|time| Timestamp(time.timestamp_millis()))
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_a_moment_without_punctuation() {
        assert_eq!(Timestamp(1_795_230_000_123).stamp(), "20261121T030000Z");
    }
}
