//! Memory and CPU time of a process and its descendants, from /proc.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Outcome;

/// How often a watched tree is looked at; the looking takes time from it.
const EVERY: Duration = Duration::from_millis(50);

/// Bytes. `pss` counts a page that n processes share as 1/n of a page in each, `rss` counts it whole in each.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    pub pss: u64,
    pub rss: u64,
}

impl Memory {
    pub fn larger(self) -> u64 {
        self.pss.max(self.rss)
    }

    /// Each of the two at its highest.
    pub fn highest(self, other: Memory) -> Memory {
        Memory {
            pss: self.pss.max(other.pss),
            rss: self.rss.max(other.rss),
        }
    }
}

/// Memory of one process.
pub fn memory(pid: u32) -> Outcome<Memory> {
    let field = |file: &str, name: &str| -> Outcome<u64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}"))?;
        let kilobytes = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .ok_or_else(|| format!("{name} is not in {file}"))?;
        Ok(kilobytes.parse::<u64>()? * 1024)
    };
    Ok(Memory {
        pss: field("smaps_rollup", "Pss:")?,
        rss: field("status", "VmRSS:")?,
    })
}

/// CPU seconds that a process has spent, with all children that have ended. A hundred clock ticks are a second on every machine that
/// the service is built for.
pub fn cpu(pid: u32) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let four = fields(&stat).ok_or("its CPU time is not told")?;
    Ok(four.iter().sum::<f64>() / 100.0)
}

/// CPU seconds of the bench's own children that have ended.
pub fn cpu_of_children() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let four = fields(&stat).ok_or("our CPU time is not told")?;
    Ok((four[2] + four[3]) / 100.0)
}

/// utime, stime, cutime and cstime in a line of `stat`, in ticks: fields 14 to 17. The name before them may hold anything.
pub fn fields(stat: &str) -> Option<[f64; 4]> {
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let four: Vec<f64> = fields
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse().ok())
        .collect();
    four.try_into().ok()
}

/// The process and all its descendants; those that end meanwhile count nothing.
fn of_tree(pid: u32) -> Memory {
    let mut sum = memory(pid).unwrap_or_default();
    for child in children(pid) {
        let below = of_tree(child);
        sum.pss += below.pss;
        sum.rss += below.rss;
    }
    sum
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|child| child.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// Looks at a tree until it is asked for the peaks.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Memory, usize)>,
}

impl Watch {
    pub fn start(pid: u32) -> Watch {
        Watch::every(EVERY, pid)
    }

    /// Looks more or less often than usual.
    pub fn every(time: Duration, pid: u32) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut peak, mut looks) = (Memory::default(), 0);
            let mut due = Instant::now();
            while !stopped.load(Ordering::SeqCst) {
                peak = peak.highest(of_tree(pid));
                looks += 1;
                due += time;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            (peak, looks)
        });
        Watch { stop, thread }
    }

    /// The peaks, and how often the tree was looked at.
    pub fn peaks(self) -> Outcome<(Memory, usize)> {
        self.stop.store(true, Ordering::SeqCst);
        let (peak, looks) = self.thread.join().map_err(|_| "the watch broke")?;
        if peak.pss == 0 || peak.rss == 0 {
            return Err("the memory of the tree could not be read".into());
        }
        Ok((peak, looks))
    }
}
