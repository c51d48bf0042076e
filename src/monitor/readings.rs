//! What is read, and under which names it is kept: disk, inodes, memory, load, queue, slots, children and the index. It judges nothing.

use std::path::Path;

use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

use crate::app::{App, Reading};
use crate::index::records::Sample;
use crate::library::blocking;
use crate::worker::chain;

/// One thing that is read again and again.
#[derive(Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    /// The unit in which it is kept; 1 is a plain number.
    pub unit: &'static str,
    pub about: &'static str,
    value: fn(&Reading) -> f64,
}

const fn metric(
    name: &'static str,
    unit: &'static str,
    about: &'static str,
    value: fn(&Reading) -> f64,
) -> Metric {
    Metric {
        name,
        unit,
        about,
        value,
    }
}

/// Everything that is read. Names are kept for years in the index: they do not change.
pub const METRICS: &[Metric] = &[
    metric(
        "disk_total",
        "bytes",
        "Size of the disk that holds the store",
        |r| r.disk_total as f64,
    ),
    metric("disk_available", "bytes", "Free on it", |r| {
        r.disk_available as f64
    }),
    metric(
        "inodes_total",
        "1",
        "Inodes of it; 0 where they are not counted",
        |r| r.inodes_total as f64,
    ),
    metric("inodes_free", "1", "Free ones of them", |r| {
        r.inodes_free as f64
    }),
    metric("memory_total", "bytes", "Memory of the machine", |r| {
        r.memory_total as f64
    }),
    metric(
        "memory_available",
        "bytes",
        "What programs may still take of it",
        |r| r.memory_available as f64,
    ),
    metric("resident", "bytes", "Memory of the service itself", |r| {
        r.resident as f64
    }),
    metric(
        "sidecars_resident",
        "bytes",
        "Memory of its children",
        |r| r.sidecars_resident as f64,
    ),
    metric("load", "1", "Load average of the last minute", |r| r.load),
    metric("queued", "1", "Clips that wait", |r| r.queued as f64),
    metric("running", "1", "Clips in hand: busy slots", |r| {
        r.running as f64
    }),
    metric(
        "oldest_wait",
        "seconds",
        "How long the first in the queue has waited",
        |r| r.oldest_wait as f64,
    ),
    metric(
        "oldest_job",
        "seconds",
        "How long the oldest clip in hand has been",
        |r| r.oldest_job as f64,
    ),
    metric(
        "since_claim",
        "seconds",
        "Since a slot took a clip, or the start",
        |r| r.since_claim as f64,
    ),
    metric(
        "since_finish",
        "seconds",
        "Since a slot was done with one, or the start",
        |r| r.since_finish as f64,
    ),
    metric("sidecars", "1", "Children that run", |r| r.sidecars as f64),
    metric("index_bytes", "bytes", "The index's file", |r| {
        r.index_bytes as f64
    }),
    metric(
        "wal_bytes",
        "bytes",
        "What it has written and not yet taken over",
        |r| r.wal_bytes as f64,
    ),
    metric(
        "commit_mean",
        "milliseconds",
        "Mean of the commits since the reading before",
        |r| r.commit_mean_ms,
    ),
    metric("commit_max", "milliseconds", "The longest of them", |r| {
        r.commit_max_ms
    }),
];

/// The metric of that name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// A reading in the shape in which it is kept.
pub fn samples(reading: &Reading) -> Vec<Sample> {
    METRICS
        .iter()
        .map(|metric| Sample {
            metric: metric.name,
            value: (metric.value)(reading),
            unit: metric.unit,
        })
        .collect()
}

/// A reading by its names, as alerts tell it.
pub fn named(reading: &Reading) -> serde_json::Value {
    let pairs = METRICS
        .iter()
        .map(|metric| (metric.name.to_owned(), (metric.value)(reading).into()));
    serde_json::Value::Object(pairs.collect())
}

/// Takes a reading. What the index does not tell stays as it was told last.
///
/// # Errors
/// When disk or memory cannot be read.
pub async fn take(app: &App) -> std::io::Result<Reading> {
    let store = app.settings.storage_dir();
    let machine = blocking(move || of_machine(&store)).await?;
    let before = app.reading();
    let now = app.now();
    let asked = async {
        let load = app.index.load().await?;
        let since = app.index.waiting_since().await?;
        let waited = since.map_or(0, |since| {
            now.0.saturating_sub(since.0).max(0) as u64 / 1000
        });
        Ok::<_, crate::index::IndexError>((load.queued, waited))
    };
    let (queued, oldest_wait) = asked.await.unwrap_or_else(|error| {
        tracing::error!(error = %chain(&error), "the queue could not be read");
        (before.queued, before.oldest_wait)
    });
    let (hands, size, commits) = (app.jobs.hands(), app.index.size(), app.index.commits());
    let mean = commits.total.as_secs_f64() * 1000.0 / f64::from(commits.count.max(1));
    Ok(Reading {
        at: Some(now),
        queued,
        oldest_wait,
        running: hands.busy,
        oldest_job: hands.oldest,
        since_claim: hands.since_claim,
        since_finish: hands.since_finish,
        index_bytes: size.file,
        wal_bytes: size.wal,
        commit_mean_ms: mean,
        commit_max_ms: commits.longest.as_secs_f64() * 1000.0,
        ..machine
    })
}

/// Reads disk, memory, load and children.
fn of_machine(store: &Path) -> std::io::Result<Reading> {
    let (disk_total, disk_available) = disk(store)?;
    let counted = rustix::fs::statvfs(store)?;
    let own = Pid::from_u32(std::process::id());
    let ram = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let mut system = System::new_with_specifics(ram).map_err(std::io::Error::other)?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::All,
        false,
        ProcessRefreshKind::nothing().with_memory().without_tasks(),
    );
    let children: Vec<u64> = system
        .processes()
        .values()
        .filter(|process| descends(&system, process, own))
        .map(sysinfo::Process::memory)
        .collect();
    Ok(Reading {
        disk_total,
        disk_available,
        inodes_total: counted.f_files,
        inodes_free: counted.f_favail,
        memory_total: system.total_memory(),
        memory_available: system.available_memory(),
        resident: system.process(own).map_or(0, sysinfo::Process::memory),
        sidecars: children.len() as u64,
        sidecars_resident: children.iter().sum(),
        load: System::load_average().map_or(0.0, |load| load.one),
        ..Reading::default()
    })
}

/// Whether a process is a child of ours, or a child's child.
fn descends(system: &System, process: &sysinfo::Process, own: Pid) -> bool {
    // No family is deeper than this; a parent's number that was given anew must not lead round in circles.
    const DEPTH: usize = 8;
    let mut parent = process.parent();
    for _ in 0..DEPTH {
        match parent {
            Some(pid) if pid == own => return true,
            Some(pid) => parent = system.process(pid).and_then(sysinfo::Process::parent),
            None => return false,
        }
    }
    false
}

/// Total and available bytes of the disk that holds `path`, from the file system itself: lists of disks leave some out (memory, overlays,
/// bind mounts), and then another one's figures would be taken for them.
///
/// # Errors
/// When there is no such path.
pub fn disk(path: &Path) -> std::io::Result<(u64, u64)> {
    let told = rustix::fs::statvfs(path)?;
    Ok((told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_name_of_its_own_and_a_unit() {
        for (place, metric) in METRICS.iter().enumerate() {
            assert!(!metric.unit.is_empty() && !metric.about.is_empty());
            assert!(
                METRICS[..place]
                    .iter()
                    .all(|other| other.name != metric.name)
            );
            assert!(find(metric.name).is_some());
        }
        assert!(find("nonsense").is_none());
    }

    #[test]
    fn a_reading_of_this_machine_is_not_empty() {
        let mut child = std::process::Command::new("sleep")
            .arg("30")
            .spawn()
            .unwrap();
        let reading = of_machine(Path::new("/")).unwrap();
        let _ = child.kill();
        let _ = child.wait();
        assert!(reading.disk_total >= reading.disk_available && reading.disk_total > 0);
        assert!(reading.memory_total >= reading.memory_available && reading.memory_total > 0);
        assert!(reading.resident > 1_000_000, "{reading:?}");
        assert!(reading.sidecars >= 1, "{reading:?}");
    }
}
