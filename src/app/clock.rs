//! The clock of a running service: the system's, moved by what a test says, so that a day passes when it is asked to.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use crate::timestamp::Timestamp;

/// Tells the time.
#[derive(Debug, Default)]
pub struct Clock {
    /// Milliseconds ahead of the system's clock.
    ahead: AtomicI64,
}

impl Clock {
    /// The moment it is.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_system(SystemTime::now()).plus_millis(self.ahead.load(Ordering::Relaxed))
    }

    /// Lets time pass at once, in milliseconds.
    pub fn pass(&self, millis: i64) {
        self.ahead.fetch_add(millis, Ordering::Relaxed);
    }
}
