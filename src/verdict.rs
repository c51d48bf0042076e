//! How something is judged: `ok`, `high` or `critical`, on one scale for everything that is watched, and with a memory, so that what
//! lies at a mark does not go back and forth.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a resource is, from well to ill.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    #[default]
    Ok,
    /// Somebody should look at it soon.
    High,
    /// The service cannot do its work, or is about to.
    Critical,
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::High => "high",
            Verdict::Critical => "critical",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = ();

    fn from_str(word: &str) -> Result<Verdict, ()> {
        [Verdict::Ok, Verdict::High, Verdict::Critical]
            .into_iter()
            .find(|verdict| verdict.as_str() == word)
            .ok_or(())
    }
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    Disk,
    Inodes,
    Memory,
    Queue,
    Worker,
    Index,
    Storage,
    Sidecars,
}

impl Resource {
    /// All of them.
    pub const ALL: [Resource; 8] = [
        Resource::Disk,
        Resource::Inodes,
        Resource::Memory,
        Resource::Queue,
        Resource::Worker,
        Resource::Index,
        Resource::Storage,
        Resource::Sidecars,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Resource::Disk => "disk",
            Resource::Inodes => "inodes",
            Resource::Memory => "memory",
            Resource::Queue => "queue",
            Resource::Worker => "worker",
            Resource::Index => "index",
            Resource::Storage => "storage",
            Resource::Sidecars => "sidecars",
        }
    }

    /// How many readings in a row have to say so before it counts as worse: what comes and goes with the work is given a moment,
    /// what stops the work is not.
    const fn patience(self, worse: Verdict) -> u8 {
        match (self, worse) {
            (Resource::Memory | Resource::Queue, _) => 2,
            (_, Verdict::High) => 2,
            (_, Verdict::Ok | Verdict::Critical) => 1,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a resource is pressed: from 1 on it is high, from 2 on critical.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Pressure(f64);

/// A verdict is left only when the pressure is this much below the mark that brought it.
const EASE: f64 = 0.2;

impl Pressure {
    pub const NONE: Pressure = Pressure(0.0);
    pub const CRITICAL: Pressure = Pressure(2.0);

    /// Of something that is worse the more there is of it.
    pub fn rising(value: f64, high: f64, critical: f64) -> Pressure {
        Pressure(if value < high {
            value / high
        } else {
            1.0 + (value - high) / (critical - high)
        })
    }

    /// Of something that is worse the less there is left of it.
    pub fn falling(value: f64, high: f64, critical: f64) -> Pressure {
        Pressure(if value > high {
            high / value
        } else {
            1.0 + (high - value) / (high - critical)
        })
    }

    /// Never critical by itself.
    pub fn at_most_high(self) -> Pressure {
        Pressure(self.0.min(1.0))
    }

    /// The greater of both.
    pub fn or(self, other: Pressure) -> Pressure {
        if other > self { other } else { self }
    }

    fn verdict(self, was: Verdict) -> Verdict {
        let held = |verdict: Verdict, mark: f64| was >= verdict && self.0 > mark - EASE;
        if self.0 >= 2.0 || held(Verdict::Critical, 2.0) {
            Verdict::Critical
        } else if self.0 >= 1.0 || held(Verdict::High, 1.0) {
            Verdict::High
        } else {
            Verdict::Ok
        }
    }
}

/// How a resource stands, reading after reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub verdict: Verdict,
    /// So many readings in a row said that it is worse.
    worse: u8,
}

impl Standing {
    /// Of what was judged so before.
    pub fn at(verdict: Verdict) -> Standing {
        Standing { verdict, worse: 0 }
    }

    /// After another reading.
    pub fn after(self, resource: Resource, pressure: Pressure) -> Standing {
        let said = pressure.verdict(self.verdict);
        if said <= self.verdict {
            return Standing::at(said);
        }
        let worse = self.worse + 1;
        if worse >= resource.patience(said) {
            Standing::at(said)
        } else {
            Standing { worse, ..self }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(resource: Resource, pressures: &[f64]) -> Vec<&'static str> {
        let mut standing = Standing::default();
        let mut told = Vec::new();
        for pressure in pressures {
            standing = standing.after(resource, Pressure(*pressure));
            told.push(standing.verdict.as_str());
        }
        told
    }

    #[test]
    fn verdicts_follow_the_pressure_and_do_not_flap_at_a_mark() {
        let cases: [(Resource, &[f64], &[&str]); 8] = [
            // What stops the work counts at once, what is only near it is looked at twice.
            (Resource::Disk, &[0.5, 2.0, 0.5], &["ok", "critical", "ok"]),
            (Resource::Disk, &[1.1, 0.9, 1.1], &["ok", "ok", "ok"]),
            (Resource::Disk, &[1.1, 1.1, 0.9], &["ok", "high", "high"]),
            (
                Resource::Disk,
                &[1.1, 1.0, 0.99, 1.01, 0.81, 0.8],
                &["ok", "high", "high", "high", "high", "ok"],
            ),
            (
                Resource::Disk,
                &[2.0, 1.99, 2.01, 1.81, 1.8, 2.0],
                &[
                    "critical", "critical", "critical", "critical", "high", "critical",
                ],
            ),
            // A peak of memory is no news.
            (Resource::Memory, &[2.5, 0.5, 2.5], &["ok", "ok", "ok"]),
            (Resource::Memory, &[2.5, 2.5], &["ok", "critical"]),
            (Resource::Queue, &[1.0, 2.0, 0.0], &["ok", "critical", "ok"]),
        ];
        for (resource, pressures, expected) in cases {
            assert_eq!(
                told(resource, pressures),
                expected,
                "{resource} {pressures:?}"
            );
        }
    }

    #[test]
    fn pressure_is_one_at_the_high_mark_and_two_at_the_critical_one() {
        for (pressure, expected) in [
            (Pressure::rising(0.0, 10.0, 30.0), 0.0),
            (Pressure::rising(5.0, 10.0, 30.0), 0.5),
            (Pressure::rising(10.0, 10.0, 30.0), 1.0),
            (Pressure::rising(30.0, 10.0, 30.0), 2.0),
            (Pressure::falling(30.0, 15.0, 10.0), 0.5),
            (Pressure::falling(15.0, 15.0, 10.0), 1.0),
            (Pressure::falling(10.0, 15.0, 10.0), 2.0),
            (Pressure::falling(0.0, 15.0, 10.0), 4.0),
            (Pressure::falling(0.0, 15.0, 10.0).at_most_high(), 1.0),
            (Pressure::NONE.or(Pressure::CRITICAL), 2.0),
        ] {
            assert!((pressure.0 - expected).abs() < 1e-9, "{pressure:?}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for verdict in [Verdict::Ok, Verdict::High, Verdict::Critical] {
            assert_eq!(verdict.as_str().parse(), Ok(verdict));
        }
        assert_eq!("fine".parse::<Verdict>(), Err(()));
    }
}
