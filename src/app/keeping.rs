//! What the keeper is doing and has done, for whoever asks; and the bell for when there is no room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::index::going::LastRun;
use crate::timestamp::Timestamp;

/// What was refused for want of room and did not get it: bytes missing of what may be ours, and of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub budget: u64,
    pub disk: u64,
}

/// Handles of the keeper.
#[derive(Default)]
pub struct Keeping {
    /// Rung when something could not be written for want of room.
    pub pressed: Arc<Notify>,
    /// Held by the task that runs: they take turns.
    pub turn: tokio::sync::Mutex<()>,
    tasks: Mutex<HashMap<&'static str, Standing>>,
    hush: Mutex<Option<Instant>>,
    wanted: Mutex<Wanted>,
    vain: Mutex<Option<Timestamp>>,
    /// What a clean-up would remove, as it was last found and when; held by who looks.
    pub preview: tokio::sync::Mutex<Option<(Timestamp, serde_json::Value)>>,
}

#[derive(Default)]
struct Standing {
    running: bool,
    last: Option<LastRun>,
}

/// A task that runs or waits for its turn, until this is dropped.
pub struct Running<'a> {
    keeping: &'a Keeping,
    task: &'static str,
}

impl Keeping {
    /// Takes a task in hand, unless it is already.
    pub fn begin(&self, task: &'static str) -> Option<Running<'_>> {
        let mut tasks = self.lock();
        let standing = tasks.entry(task).or_default();
        if standing.running {
            return None;
        }
        standing.running = true;
        Some(Running {
            keeping: self,
            task,
        })
    }

    /// Whether a task is in hand, and its last run in this process.
    pub fn standing(&self, task: &'static str) -> (bool, Option<LastRun>) {
        let tasks = self.lock();
        tasks
            .get(task)
            .map_or((false, None), |it| (it.running, it.last.clone()))
    }

    /// Notes what was refused for want of room, and rings.
    pub fn want(&self, more: Wanted) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.budget = wanted.budget.max(more.budget);
        wanted.disk = wanted.disk.max(more.disk);
        self.pressed.notify_one();
    }

    /// What was refused since this was asked last: forgotten with that, for whoever was refused may never come back.
    pub fn take_wanted(&self) -> Wanted {
        std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that clips have gone for a disk that gained nothing.
    pub fn evicted_in_vain(&self, now: Timestamp) {
        *self.vain.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Whether that happened since.
    pub fn vain_since(&self, moment: Timestamp) -> bool {
        let vain = self.vain.lock().unwrap_or_else(PoisonError::into_inner);
        vain.is_some_and(|at| at >= moment)
    }

    /// Whether something that happens with every request is to be told now: once a minute.
    pub fn tells(&self) -> bool {
        const EVERY: Duration = Duration::from_secs(60);
        let mut last = self.hush.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Standing>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running<'_> {
    /// Notes how it ended.
    pub fn note(&self, run: LastRun) {
        self.keeping.lock().entry(self.task).or_default().last = Some(run);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.keeping.lock().entry(self.task).or_default().running = false;
    }
}
