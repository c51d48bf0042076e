//! What each reading means: how much every resource is pressed, in words and with the next step. Pure, and the only place with
//! thresholds; the memory that keeps verdicts from flapping is in `verdict`.

use crate::app::Reading;
use crate::app::watch::Forecast;
use crate::bytes::Bytes;
use crate::index::records::CheckResult;
use crate::verdict::{Pressure, Resource};

/// What the settings say about it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that stay free.
    pub floor: u64,
    /// Clips that may wait.
    pub queue: u64,
    /// Seconds after which no job should be in hand any more.
    pub job_seconds: u64,
    /// Clips that are cut at once.
    pub slots: u64,
}

/// How one resource is pressed now.
#[derive(Clone, Debug)]
pub struct Finding {
    pub resource: Resource,
    pub pressure: Pressure,
    pub detail: String,
    pub hint: &'static str,
}

/// So many times the floor is near it.
const NEAR_FLOOR: f64 = 1.5;
/// A disk that is full within this is told, in seconds.
const SOON: f64 = 86_400.0;
/// Shares of what there is.
const INODES_LEFT: (f64, f64) = (0.10, 0.03);
const MEMORY_LEFT: (f64, f64) = (0.10, 0.04);
const QUEUE_FILLED: (f64, f64) = (0.8, 1.0);
/// Clips wait and slots are free, but none is claimed: seconds.
const NOT_CLAIMED: (f64, f64) = (60.0, 300.0);
/// The mean of commits in milliseconds; on a disk that works it is under 20.
const COMMIT: (f64, f64) = (1000.0, 10_000.0);
/// What waits to be taken over into the database, in bytes; in good health it stays under 10 MB.
const WAL: (f64, f64) = (256e6, 2e9);

/// Judges a reading together with the checks of that moment.
pub fn findings(
    reading: &Reading,
    checks: &[CheckResult],
    forecast: Option<Forecast>,
    limits: &Limits,
) -> Vec<Finding> {
    let check = |name: &str| checks.iter().find(|check| check.name == name && !check.ok);
    Resource::ALL
        .into_iter()
        .map(|resource| {
            let (pressure, detail, hint) = match resource {
                Resource::Disk => disk(reading, forecast, limits),
                Resource::Inodes => inodes(reading),
                Resource::Memory => memory(reading),
                Resource::Queue => queue(reading, limits),
                Resource::Worker => worker(reading, limits),
                Resource::Index => index(reading, check("index")),
                Resource::Storage => of_check(
                    check("storage"),
                    "The store can be written.",
                    "Look at the disk and at who owns storage.path.",
                ),
                Resource::Sidecars => of_check(
                    check("sidecars"),
                    "All programs are installed.",
                    "Install ffmpeg, or set engine.ffmpeg and engine.ffprobe; doctor tells what is missing.",
                ),
            };
            Finding {
                resource,
                pressure,
                detail,
                hint,
            }
        })
        .collect()
}

type Said = (Pressure, String, &'static str);

fn disk(reading: &Reading, forecast: Option<Forecast>, limits: &Limits) -> Said {
    let available = reading.disk_available as f64;
    let floor = limits.floor as f64;
    let level = if floor > 0.0 {
        Pressure::falling(available, floor * NEAR_FLOOR, floor)
    } else {
        Pressure::NONE
    };
    let mut detail = format!(
        "{} are free; {} should be",
        Bytes(reading.disk_available),
        Bytes(limits.floor)
    );
    let mut pressure = level;
    if let Some(forecast) = forecast {
        let soon = Pressure::falling(forecast.full_in_seconds, SOON, 0.0).at_most_high();
        pressure = level.or(soon);
        detail.push_str(&format!(
            "; full in {:.1} h at the present rate",
            forecast.full_in_seconds / 3600.0
        ));
    }
    detail.push('.');
    let hint = "Remove clips, shorten retention.hours or lower storage.max_bytes; GET /api/admin/disk tells what takes the room.";
    (pressure, detail, hint)
}

fn inodes(reading: &Reading) -> Said {
    let share = share(reading.inodes_free, reading.inodes_total);
    let detail = format!(
        "{} of {} inodes are free.",
        reading.inodes_free, reading.inodes_total
    );
    let hint = "Files without bytes fill a disk too; find the folder that holds most of them.";
    (left(share, INODES_LEFT), detail, hint)
}

fn memory(reading: &Reading) -> Said {
    let share = share(reading.memory_available, reading.memory_total);
    let detail = format!(
        "{} of {} are free; the service takes {}, its children {}.",
        Bytes(reading.memory_available),
        Bytes(reading.memory_total),
        Bytes(reading.resident),
        Bytes(reading.sidecars_resident)
    );
    let hint = "Lower engine.workers, engine.max_height or engine.memory.";
    (left(share, MEMORY_LEFT), detail, hint)
}

fn queue(reading: &Reading, limits: &Limits) -> Said {
    let share = reading.queued as f64 / limits.queue.max(1) as f64;
    let detail = format!(
        "{} clips wait, the longest for {} s; {} may.",
        reading.queued, reading.oldest_wait, limits.queue
    );
    let hint = "Wait, or give the machine more cores; GET /api/admin/queue tells who is next.";
    (
        Pressure::rising(share, QUEUE_FILLED.0, QUEUE_FILLED.1),
        detail,
        hint,
    )
}

fn worker(reading: &Reading, limits: &Limits) -> Said {
    let most = limits.job_seconds as f64;
    let late = Pressure::rising(reading.oldest_job as f64, most, most * 2.0);
    let waits = reading.queued > 0 && reading.running < limits.slots;
    let idle = if waits {
        let since = reading.oldest_wait.min(reading.since_claim);
        Pressure::rising(since as f64, NOT_CLAIMED.0, NOT_CLAIMED.1)
    } else {
        Pressure::NONE
    };
    let detail = if late >= Pressure::rising(1.0, 1.0, 2.0) {
        format!(
            "Stuck: a clip is in hand for {} s, past its deadline of {} s.",
            reading.oldest_job, limits.job_seconds
        )
    } else if idle >= Pressure::rising(1.0, 1.0, 2.0) {
        format!(
            "Stuck: clips wait for {} s and no free slot takes them.",
            reading.oldest_wait
        )
    } else {
        format!("{} of {} slots are busy.", reading.running, limits.slots)
    };
    let hint =
        "Look for the clip in the log and cancel it; restart the service if that does not help.";
    (late.or(idle), detail, hint)
}

fn index(reading: &Reading, failing: Option<&CheckResult>) -> Said {
    let hint = "Look at the disk; meme-maker fsck tells whether the index is whole.";
    if let Some(check) = failing {
        return (Pressure::CRITICAL, format!("{}.", check.detail), hint);
    }
    let slow = Pressure::rising(reading.commit_mean_ms, COMMIT.0, COMMIT.1);
    let long = Pressure::rising(reading.wal_bytes as f64, WAL.0, WAL.1);
    let detail = format!(
        "Commits take {:.1} ms, at most {:.1} ms; {} and {} waiting to be taken over.",
        reading.commit_mean_ms,
        reading.commit_max_ms,
        Bytes(reading.index_bytes),
        Bytes(reading.wal_bytes)
    );
    (slow.or(long).at_most_high(), detail, hint)
}

fn of_check(failing: Option<&CheckResult>, well: &str, hint: &'static str) -> Said {
    match failing {
        Some(check) => (Pressure::CRITICAL, format!("{}.", check.detail), hint),
        None => (Pressure::NONE, well.to_owned(), hint),
    }
}

/// Some file systems do not count: then there is always enough.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

fn left(share: f64, marks: (f64, f64)) -> Pressure {
    Pressure::falling(share, marks.0, marks.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Standing, Verdict};

    const LIMITS: Limits = Limits {
        floor: 2_000_000_000,
        queue: 200,
        job_seconds: 2000,
        slots: 2,
    };

    fn well() -> Reading {
        Reading {
            disk_total: 60_000_000_000,
            disk_available: 40_000_000_000,
            inodes_total: 1_000_000,
            inodes_free: 900_000,
            memory_total: 2_000_000_000,
            memory_available: 1_500_000_000,
            ..Reading::default()
        }
    }

    /// Verdicts after the reading was taken three times in a row.
    fn judged(reading: &Reading, checks: &[CheckResult], forecast: Option<Forecast>) -> String {
        let mut ill = Vec::new();
        for finding in findings(reading, checks, forecast, &LIMITS) {
            assert!(
                !finding.hint.is_empty() && finding.detail.ends_with('.'),
                "{finding:?}"
            );
            let mut standing = Standing::default();
            for _ in 0..3 {
                standing = standing.after(finding.resource, finding.pressure);
            }
            if standing.verdict > Verdict::Ok {
                ill.push(format!("{} {}", finding.resource, standing.verdict));
            }
        }
        ill.join(", ")
    }

    /// A name, what is ill, and the verdicts that are not `ok`.
    type Case = (&'static str, fn(&mut Reading), &'static str);

    #[test]
    fn readings_are_judged_by_the_marks() {
        let cases: [Case; 17] = [
            ("all well", |_| {}, ""),
            ("above the mark", |r| r.disk_available = 3_100_000_000, ""),
            (
                "near the floor",
                |r| r.disk_available = 2_900_000_000,
                "disk high",
            ),
            (
                "on the floor",
                |r| r.disk_available = 2_000_000_000,
                "disk critical",
            ),
            ("full", |r| r.disk_available = 0, "disk critical"),
            ("inodes go", |r| r.inodes_free = 90_000, "inodes high"),
            ("inodes gone", |r| r.inodes_free = 0, "inodes critical"),
            (
                "no inodes counted",
                |r| (r.inodes_free, r.inodes_total) = (0, 0),
                "",
            ),
            (
                "memory goes",
                |r| r.memory_available = 150_000_000,
                "memory high",
            ),
            (
                "memory gone",
                |r| r.memory_available = 50_000_000,
                "memory critical",
            ),
            (
                "queue fills",
                |r| (r.queued, r.running) = (160, 2),
                "queue high",
            ),
            (
                "queue full",
                |r| (r.queued, r.running) = (200, 2),
                "queue critical",
            ),
            (
                "job late",
                |r| (r.running, r.oldest_job) = (1, 2100),
                "worker high",
            ),
            (
                "job stuck",
                |r| (r.running, r.oldest_job) = (1, 4100),
                "worker critical",
            ),
            (
                "nobody claims",
                |r| (r.queued, r.oldest_wait, r.since_claim) = (3, 400, 400),
                "worker critical",
            ),
            (
                "all slots busy for long",
                |r| (r.queued, r.running, r.oldest_wait, r.since_claim) = (3, 2, 400, 400),
                "",
            ),
            ("slow commits", |r| r.commit_mean_ms = 1500.0, "index high"),
        ];
        for (name, ill, expected) in cases {
            let mut reading = well();
            ill(&mut reading);
            assert_eq!(judged(&reading, &[], None), expected, "{name}");
        }
    }

    #[test]
    fn a_disk_that_is_full_within_a_day_is_high_and_never_critical_by_that_alone() {
        let full_in = |hours: f64| {
            Some(Forecast {
                bytes_per_second: 1.0,
                full_in_seconds: hours * 3600.0,
            })
        };
        assert_eq!(judged(&well(), &[], full_in(30.0)), "");
        assert_eq!(judged(&well(), &[], full_in(23.0)), "disk high");
        assert_eq!(judged(&well(), &[], full_in(0.1)), "disk high");
    }

    #[test]
    fn a_failing_check_is_critical() {
        for name in ["index", "storage", "sidecars"] {
            let check = |ok| CheckResult {
                name,
                ok,
                detail: "it fails".to_owned(),
            };
            let expected = format!("{name} critical");
            assert_eq!(judged(&well(), &[check(false)], None), expected);
            assert_eq!(judged(&well(), &[check(true)], None), "");
        }
    }
}
