//! Memory of a process and its descendants while something happens, from /proc.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::service::descendants;

/// Looks at a tree until it is asked for the peak.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Watch {
    pub fn start(pid: u32) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            while !stopped.load(Ordering::SeqCst) {
                peak = peak.max(resident(pid));
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        Watch { stop, thread }
    }

    /// The most that all of them held at once, in bytes; pages that several share count in each.
    #[track_caller]
    pub fn peak(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let peak = self.thread.join().unwrap();
        assert!(peak > 0, "the tree was never seen");
        peak
    }
}

/// Those that end meanwhile count nothing.
fn resident(pid: u32) -> u64 {
    let of = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) * 1024
    };
    of(pid) + descendants(pid).into_iter().map(of).sum::<u64>()
}
