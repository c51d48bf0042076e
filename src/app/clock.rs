//! The clock of a running service: the system's, moved by what a test says, so that a day passes when it is asked to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::timestamp::Timestamp;

/// Tells the time. Clones are moved together.
#[derive(Clone, Debug)]
pub struct Clock {
    began: Instant,
    /// Milliseconds ahead of the system's clock.
    ahead: Arc<AtomicI64>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock {
            began: Instant::now(),
            ahead: Arc::default(),
        }
    }
}

impl Clock {
    /// The moment it is.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_system(SystemTime::now()).plus_millis(self.ahead.load(Ordering::Relaxed))
    }

    /// How long the clock runs: goes on evenly when somebody sets the system's.
    pub fn running(&self) -> Duration {
        let ahead = u64::try_from(self.ahead.load(Ordering::Relaxed)).unwrap_or(0);
        self.began.elapsed() + Duration::from_millis(ahead)
    }

    /// Lets time pass at once, in milliseconds.
    pub fn pass(&self, millis: i64) {
        self.ahead.fetch_add(millis, Ordering::Relaxed);
    }
}
