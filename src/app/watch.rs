//! What the monitor knows between two readings: verdicts, the forecast, and what is to be told although it cannot be written. It
//! judges nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Notify;

use crate::index::events::Written;
use crate::index::watch::Change;
use crate::timestamp::Timestamp;
use crate::verdict::{Resource, Standing, Verdict};

/// When the disk is full if everything goes on as it does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Bytes by which it fills in a second.
    pub bytes_per_second: f64,
    /// From the last reading on.
    pub full_in_seconds: f64,
}

/// How one resource stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub standing: Standing,
    pub since: Timestamp,
    pub detail: String,
    pub hint: String,
}

/// Bytes of what is kept, by kind.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// When it was counted.
    pub at: Instant,
    pub clips: u64,
    pub uploads: u64,
    pub previews: u64,
    pub windows: u64,
    pub work: u64,
    pub trash: u64,
    pub index: u64,
}

/// An alert that goes out from memory.
#[derive(Clone, Debug)]
pub struct Urgent {
    /// The entry as the trail would have it; its number is 0.
    pub entry: Written,
    /// By which a receiver knows it again.
    pub id: String,
    pub attempts: u32,
    pub next: Instant,
}

/// More than so many do not go out from memory: the oldest are dropped.
const MOST_URGENT: usize = 64;

/// What the monitor knows.
#[derive(Debug)]
pub struct Watch {
    verdicts: Mutex<BTreeMap<Resource, Judged>>,
    forecast: Mutex<Option<Forecast>>,
    urgent: Mutex<VecDeque<Urgent>>,
    /// Ids of alerts that went out from memory, or are given up.
    settled: Mutex<VecDeque<String>>,
    unwritten: Mutex<Vec<Change>>,
    kept: Mutex<Option<Kept>>,
    turned: Mutex<Instant>,
    answered: Mutex<Instant>,
    /// Rung when something went into `urgent`.
    pub bell: Notify,
}

impl Default for Watch {
    fn default() -> Self {
        Watch {
            verdicts: Mutex::default(),
            forecast: Mutex::default(),
            urgent: Mutex::default(),
            settled: Mutex::default(),
            unwritten: Mutex::default(),
            kept: Mutex::default(),
            turned: Mutex::new(Instant::now()),
            answered: Mutex::new(Instant::now()),
            bell: Notify::new(),
        }
    }
}

impl Watch {
    /// How everything stands.
    pub fn verdicts(&self) -> BTreeMap<Resource, Judged> {
        lock(&self.verdicts).clone()
    }

    /// The worst of all verdicts.
    pub fn verdict(&self) -> Verdict {
        let verdicts = lock(&self.verdicts);
        let all = verdicts.values().map(|judged| judged.standing.verdict);
        all.max().unwrap_or_default()
    }

    /// Keeps how a resource stands.
    pub fn judge(&self, resource: Resource, judged: Judged) {
        lock(&self.verdicts).insert(resource, judged);
    }

    /// When the disk is full; none when it does not fill.
    pub fn forecast(&self) -> Option<Forecast> {
        *lock(&self.forecast)
    }

    /// Keeps a new forecast.
    pub fn expect(&self, forecast: Option<Forecast>) {
        *lock(&self.forecast) = forecast;
    }

    /// Takes an alert that cannot be written.
    pub fn tell(&self, urgent: Urgent) {
        let mut waiting = lock(&self.urgent);
        if waiting.len() >= MOST_URGENT {
            waiting.pop_front();
        }
        waiting.push_back(urgent);
        drop(waiting);
        self.bell.notify_one();
    }

    /// The alert that is due first, taken out.
    pub fn due(&self, now: Instant) -> Option<Urgent> {
        let mut waiting = lock(&self.urgent);
        let place = waiting.iter().position(|urgent| urgent.next <= now)?;
        waiting.remove(place)
    }

    /// Takes out those that wait under one of these ids.
    pub fn hold(&self, ids: &[String]) -> Vec<Urgent> {
        let mut waiting = lock(&self.urgent);
        let (held, rest): (VecDeque<Urgent>, VecDeque<Urgent>) = std::mem::take(&mut *waiting)
            .into_iter()
            .partition(|urgent| ids.contains(&urgent.id));
        *waiting = rest;
        held.into()
    }

    /// An alert went out from memory, or is given up.
    pub fn settle(&self, id: String) {
        let mut settled = lock(&self.settled);
        if settled.len() >= MOST_URGENT {
            settled.pop_front();
        }
        settled.push_back(id);
    }

    /// Whether it did.
    pub fn is_settled(&self, id: &str) -> bool {
        lock(&self.settled).iter().any(|known| known == id)
    }

    /// When the next one is due.
    pub fn next_due(&self) -> Option<Instant> {
        lock(&self.urgent).iter().map(|urgent| urgent.next).min()
    }

    /// What is kept, if it was counted within this time.
    pub fn kept(&self, within: Duration) -> Option<Kept> {
        lock(&self.kept).filter(|kept| kept.at.elapsed() < within)
    }

    /// Keeps what was counted.
    pub fn count(&self, kept: Kept) {
        *lock(&self.kept) = Some(kept);
    }

    /// Changes that could not be written yet, taken out.
    pub fn unwritten(&self) -> Vec<Change> {
        std::mem::take(&mut lock(&self.unwritten))
    }

    /// Keeps changes until they can be written; of each resource the last ones.
    pub fn keep(&self, changes: Vec<Change>) {
        let mut kept = lock(&self.unwritten);
        *kept = changes;
        let surplus = kept.len().saturating_sub(MOST_URGENT);
        kept.drain(..surplus);
    }

    /// The monitor has taken a reading.
    pub fn turn(&self) {
        *lock(&self.turned) = Instant::now();
    }

    /// How long ago it took the last one.
    pub fn since_turn(&self) -> Duration {
        lock(&self.turned).elapsed()
    }

    /// A request was answered.
    pub fn answer(&self) {
        *lock(&self.answered) = Instant::now();
    }

    /// How long ago the last one was.
    pub fn since_answer(&self) -> Duration {
        lock(&self.answered).elapsed()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
