//! How often each visitor may ask within a minute (GCRA: a burst of all of it, then evenly). It counts and says no; who is asking is
//! told to it, and nothing is kept of those who have not asked for a while.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::clock::Clock;
use crate::config::Limits;

/// What is counted, each apart from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Clips asked for, or made again.
    Clips,
    /// Sources looked at.
    Sources,
    /// Uploads begun.
    Uploads,
    /// Tokens that do not count.
    WrongTokens,
}

impl Asked {
    /// The name of the policy in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Asked::Clips => "clips",
            Asked::Sources => "sources",
            Asked::Uploads => "uploads",
            Asked::WrongTokens => "tokens",
        }
    }
}

/// Where somebody stands after asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub asked: Asked,
    /// How many there are in a minute.
    pub limit: u32,
    pub remaining: u32,
    /// Seconds after which there is at least one more.
    pub more_in: u64,
    /// Seconds after which there are all again.
    pub all_in: u64,
}

/// Somebody asked too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this was asked for too often: there are {} of \"{}\" in a minute", .0.limit, .0.asked.as_str())]
pub struct TooOften(pub Standing);

/// The counters of one service.
pub struct Rates {
    clips: Option<Rate>,
    sources: Option<Rate>,
    uploads: Option<Rate>,
    wrong_tokens: Option<Rate>,
}

type Limiter = RateLimiter<Box<str>, Visitors, Clock, StateInformationMiddleware>;

/// Until when each visitor has used up what comes evenly; never more of them than `MOST`.
#[derive(Default)]
struct Visitors(Mutex<HashMap<Box<str>, Nanos>>);

struct Rate {
    limiter: Limiter,
    limit: NonZeroU32,
    taken: AtomicU32,
}

/// Wrong tokens that a visitor may try in a minute. Nobody guesses 256 bits; this keeps trying from being work for the index.
const WRONG_TOKENS: u32 = 30;
/// After so many questions those are forgotten of whom nothing is to be remembered.
const UPKEEP: u32 = 1024;
/// Most visitors remembered for one counter, about 5 MB. Whoever has that many addresses gets around limits by address anyway: new
/// visitors are then let through, and those who are known go on to be counted.
const MOST: usize = 50_000;

const MINUTE: u64 = 60;

impl governor::clock::Clock for Clock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.running())
    }
}

impl Rates {
    /// Counters by the settings, in which 0 is no limit.
    pub fn new(limits: &Limits, clock: &Clock) -> Rates {
        let rate = |limit| Rate::new(limit, clock.clone());
        Rates {
            clips: rate(limits.clips_per_minute),
            sources: rate(limits.probes_per_minute),
            uploads: rate(limits.uploads_per_minute),
            wrong_tokens: rate(WRONG_TOKENS),
        }
    }

    /// Counts one for whoever has this mark; `None` where there is no limit.
    ///
    /// # Errors
    /// When there were too many; then this one is not counted.
    pub fn take(&self, asked: Asked, mark: &str) -> Result<Option<Standing>, TooOften> {
        self.take_several(asked, mark, 1)
    }

    /// The same for several at once: all of them are counted, or none.
    ///
    /// # Errors
    /// When there were too many, or would be.
    pub fn take_several(
        &self,
        asked: Asked,
        mark: &str,
        number: u32,
    ) -> Result<Option<Standing>, TooOften> {
        let rate = match asked {
            Asked::Clips => &self.clips,
            Asked::Sources => &self.sources,
            Asked::Uploads => &self.uploads,
            Asked::WrongTokens => &self.wrong_tokens,
        };
        rate.as_ref()
            .map_or(Ok(None), |rate| rate.take(asked, mark, number))
    }
}

impl Rate {
    fn new(limit: u32, clock: Clock) -> Option<Rate> {
        let limit = NonZeroU32::new(limit)?;
        Some(Rate {
            limiter: Limiter::new(Quota::per_minute(limit), Visitors::default(), clock),
            limit,
            taken: AtomicU32::new(1),
        })
    }

    fn take(&self, asked: Asked, mark: &str, number: u32) -> Result<Option<Standing>, TooOften> {
        if self
            .taken
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(UPKEEP)
        {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let standing = |remaining, more_in: Duration| Standing {
            asked,
            limit: self.limit.get(),
            remaining,
            more_in: whole(more_in),
            all_in: whole(self.each() * (self.limit.get() - remaining)),
        };
        let number = NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let Ok(checked) = self.limiter.check_key_n(&mark.into(), number) else {
            // More than there are in a minute, whoever waits.
            return Err(TooOften(standing(0, Duration::from_secs(MINUTE))));
        };
        match checked {
            Ok(now) => {
                let left = now.remaining_burst_capacity().min(self.limit.get());
                Ok(Some(standing(left, self.each())))
            }
            Err(until) => {
                let wait = until.wait_time_from(governor::clock::Clock::now(self.limiter.clock()));
                Err(TooOften(standing(0, wait)))
            }
        }
    }

    /// How long it takes until there is one more.
    fn each(&self) -> Duration {
        Duration::from_secs(MINUTE) / self.limit.get()
    }
}

impl Visitors {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Nanos>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Visitors {
    type Key = Box<str>;

    fn measure_and_replace<T, F, E>(&self, key: &Box<str>, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut known = self.lock();
        let before = known.get(key).copied();
        let (decided, after) = decide(before)?;
        if before.is_some() || known.len() < MOST {
            known.insert(key.clone(), after);
        }
        Ok(decided)
    }
}

impl ShrinkableKeyedStateStore<Box<str>> for Visitors {
    fn retain_recent(&self, drop_below: Nanos) {
        self.lock().retain(|_, until| *until > drop_below);
    }

    fn shrink_to_fit(&self) {
        self.lock().shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

/// Whole seconds, rounded up and never 0: who comes back then is not too early.
fn whole(time: Duration) -> u64 {
    (time.as_millis().div_ceil(1000) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(clips_per_minute: u32) -> (Rates, Clock) {
        let clock = Clock::default();
        let limits = Limits {
            clips_per_minute,
            ..Limits::default()
        };
        (Rates::new(&limits, &clock), clock)
    }

    fn left(rates: &Rates, mark: &str) -> Result<u32, u64> {
        match rates.take(Asked::Clips, mark) {
            Ok(standing) => Ok(standing.unwrap().remaining),
            Err(TooOften(standing)) => Err(standing.more_in),
        }
    }

    #[test]
    fn who_waits_as_long_as_told_is_let_in_again_and_not_before() {
        for limit in [1, 3, 20, 59, 61, 1000] {
            let (rates, clock) = rates(limit);
            for remaining in (0..limit).rev() {
                assert_eq!(left(&rates, "a"), Ok(remaining), "of {limit}");
            }
            let wait = left(&rates, "a").unwrap_err();
            assert_eq!(wait, 60_u64.div_ceil(u64::from(limit)), "of {limit}");
            if wait > 1 {
                clock.pass(i64::try_from(wait - 1).unwrap() * 1000);
                assert!(left(&rates, "a").is_err(), "of {limit}");
                clock.pass(1000);
            } else {
                clock.pass(1000);
            }
            assert!(left(&rates, "a").is_ok(), "of {limit}");
        }
    }

    #[test]
    fn visitors_and_what_they_ask_for_are_counted_apart() {
        let (rates, _) = rates(1);
        assert_eq!(left(&rates, "a"), Ok(0));
        assert!(left(&rates, "a").is_err());
        assert_eq!(left(&rates, "b"), Ok(0));
        let sources = rates.take(Asked::Sources, "a").unwrap().unwrap();
        assert_eq!((sources.limit, sources.remaining), (60, 59));
        assert_eq!((sources.more_in, sources.all_in), (1, 1));
    }

    #[test]
    fn what_was_taken_comes_back_evenly_and_no_more_than_there_was() {
        let (rates, clock) = rates(20);
        for _ in 0..20 {
            left(&rates, "a").unwrap();
        }
        let TooOften(standing) = rates.take(Asked::Clips, "a").unwrap_err();
        assert_eq!((standing.remaining, standing.all_in), (0, 60));
        clock.pass(9000);
        assert_eq!(left(&rates, "a"), Ok(2));
        clock.pass(3_600_000);
        assert_eq!(left(&rates, "a"), Ok(19));
    }

    #[test]
    fn several_are_counted_all_or_none() {
        let (rates, _) = rates(5);
        let several = |number| rates.take_several(Asked::Clips, "a", number);
        assert_eq!(several(3).unwrap().unwrap().remaining, 2);
        assert!(several(3).is_err() && several(6).is_err());
        assert_eq!(several(2).unwrap().unwrap().remaining, 0);
        assert!(several(1).is_err());
    }

    #[test]
    fn no_limit_is_none() {
        let (rates, _) = rates(0);
        for _ in 0..1000 {
            assert_eq!(rates.take(Asked::Clips, "a"), Ok(None));
        }
    }

    #[test]
    fn those_who_have_not_asked_for_a_while_are_forgotten() {
        let (rates, clock) = rates(2);
        let known = || rates.clips.as_ref().unwrap().limiter.len();
        for visitor in 0..UPKEEP {
            left(&rates, &visitor.to_string()).unwrap();
        }
        assert!(known() >= UPKEEP as usize - 1);
        clock.pass(60_000);
        for _ in 0..UPKEEP {
            let _ = left(&rates, "a");
        }
        assert_eq!(known(), 1);
    }

    #[test]
    fn a_crowd_takes_no_more_memory_than_there_is_for_it_and_keeps_nobody_out() {
        let (rates, clock) = rates(1);
        let known = || rates.clips.as_ref().unwrap().limiter.len();
        assert_eq!(left(&rates, "early"), Ok(0));
        for visitor in 0..MOST + 1000 {
            assert_eq!(left(&rates, &visitor.to_string()), Ok(0));
        }
        assert_eq!(known(), MOST);
        assert!(left(&rates, "early").is_err(), "known, and counted");
        assert_eq!((left(&rates, "late"), left(&rates, "late")), (Ok(0), Ok(0)));
        // What is full again is kept for the time of one more.
        clock.pass(120_000);
        for _ in 0..UPKEEP {
            let _ = left(&rates, "late");
        }
        assert_eq!(known(), 1);
        assert!(left(&rates, "late").is_err(), "counted again");
    }
}
