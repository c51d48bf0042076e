//! The monitor: reads the machine, the queue and the index, keeps the readings, judges them, and runs the service's health checks by
//! name. What changes goes into the trail, from where it is told; what cannot be written is told from memory.

pub mod alerts;
pub mod forecast;
pub mod judge;
pub mod pages;
pub mod post;
pub mod readings;
pub mod report;

use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::app::watch::{Judged, Urgent};
use crate::app::{App, Reading};
use crate::bytes::Bytes;
use crate::index::IndexError;
use crate::index::events::{Kind, Written};
use crate::index::records::{CheckResult, Stretch};
use crate::index::watch::Change;
use crate::library::blocking;
use crate::verdict::{Resource, Standing, Verdict};
use crate::worker::chain;
pub use readings::disk;

/// The forecast looks so far back, in milliseconds, and takes so many points of it.
const LOOK_BACK: i64 = 6 * 3_600_000;
const POINTS: u32 = 60;

/// Takes a reading every `monitor.interval_seconds` until `stop`.
pub async fn run(app: &App, stop: &CancellationToken) {
    let period = Duration::from_secs(app.settings.monitor.interval_seconds);
    loop {
        pages::refresh(app, stop).await;
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = stop.cancelled() => return,
        }
        observe(app).await;
        app.watch.turn();
    }
}

/// Takes up the verdicts as they were told last, so that a restart is no news.
///
/// # Errors
/// When the index cannot be read.
pub async fn recall(app: &App) -> Result<(), IndexError> {
    for told in app.index.verdicts().await? {
        let known = Resource::ALL
            .into_iter()
            .find(|resource| resource.as_str() == told.resource);
        if let Some(resource) = known {
            let judged = Judged {
                standing: Standing::at(told.verdict),
                since: told.since,
                detail: told.detail,
                hint: String::new(),
            };
            app.watch.judge(resource, judged);
        }
    }
    Ok(())
}

/// Takes one reading, keeps it and judges it.
pub async fn observe(app: &App) {
    let now = app.now();
    let reading = match readings::take(app).await {
        Ok(reading) => reading,
        Err(error) => {
            tracing::error!(error = %error, "no reading could be taken");
            return;
        }
    };
    *app.reading.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    show(&reading);
    let kept = app
        .index
        .record_samples(now, readings::samples(&reading))
        .await;
    let (_, mut checks) = health(app).await;
    if let Err(error) = app.index.record_checks(now, checks.clone()).await {
        tracing::error!(error = %chain(&error), "the health checks could not be kept");
    }
    // An index that is read but not written is of no use to anybody who wants a clip.
    if let Err(error) = kept {
        tracing::error!(error = %chain(&error), "the reading could not be kept");
        for check in checks.iter_mut().filter(|check| check.name == "index") {
            (check.ok, check.detail) = (false, chain(&error));
        }
    }
    app.watch.expect(foresee(app).await);
    judge(app, &reading, &checks).await;
}

/// How the service does in one line, for systemd.
pub fn status(app: &App) -> String {
    let reading = app.reading();
    let used = reading.disk_total.saturating_sub(reading.disk_available);
    let percent = (used * 100).checked_div(reading.disk_total).unwrap_or(0);
    format!(
        "{} running, {} waiting, disk {percent} %, {}",
        reading.running,
        reading.queued,
        app.watch.verdict()
    )
}

/// The same reading for Prometheus.
fn show(reading: &Reading) {
    for (gauge, value) in [
        (
            metrics::gauge!("meme_maker_disk_total_bytes"),
            reading.disk_total as f64,
        ),
        (
            metrics::gauge!("meme_maker_disk_available_bytes"),
            reading.disk_available as f64,
        ),
        (
            metrics::gauge!("meme_maker_disk_inodes_free"),
            reading.inodes_free as f64,
        ),
        (
            metrics::gauge!("meme_maker_memory_resident_bytes"),
            reading.resident as f64,
        ),
        (
            metrics::gauge!("meme_maker_memory_available_bytes"),
            reading.memory_available as f64,
        ),
        (
            metrics::gauge!("meme_maker_sidecars_resident_bytes"),
            reading.sidecars_resident as f64,
        ),
        (
            metrics::gauge!("meme_maker_queue_waiting"),
            reading.queued as f64,
        ),
        (
            metrics::gauge!("meme_maker_queue_oldest_wait_seconds"),
            reading.oldest_wait as f64,
        ),
        (
            metrics::gauge!("meme_maker_index_bytes"),
            reading.index_bytes as f64,
        ),
        (
            metrics::gauge!("meme_maker_index_wal_bytes"),
            reading.wal_bytes as f64,
        ),
    ] {
        gauge.set(value);
    }
}

/// When the disk is full, by what was read in the last hours. An index that does not tell says nothing about the disk.
async fn foresee(app: &App) -> Option<crate::app::watch::Forecast> {
    let to = app.now().plus_millis(1);
    let stretch = Stretch {
        from: to.plus_millis(-LOOK_BACK),
        to,
        points: POINTS,
    };
    let history = app.index.history("disk_available", stretch).await.ok()?;
    let points: Vec<(f64, f64)> = history
        .iter()
        .map(|bucket| (bucket.at.0 as f64 / 1000.0, bucket.mean))
        .collect();
    forecast::full(&points)
}

/// Judges a reading; what changed is written, or told at once when it cannot be.
async fn judge(app: &App, reading: &Reading, checks: &[CheckResult]) {
    let now = app.now();
    let known = app.watch.verdicts();
    let mut changes = Vec::new();
    for finding in judge::findings(reading, checks, app.watch.forecast(), &limits(app)) {
        let before = known.get(&finding.resource);
        let was = before.map(|judged| judged.standing).unwrap_or_default();
        let standing = was.after(finding.resource, finding.pressure);
        metrics::gauge!("meme_maker_verdict", "resource" => finding.resource.as_str())
            .set(f64::from(standing.verdict as u8));
        let changed = standing.verdict != was.verdict;
        let judged = Judged {
            standing,
            since: match before {
                Some(before) if !changed => before.since,
                Some(_) | None => now,
            },
            detail: finding.detail,
            hint: finding.hint.to_owned(),
        };
        if changed {
            tell(finding.resource, was.verdict, &judged);
            changes.push(Change {
                resource: finding.resource.as_str(),
                verdict: standing.verdict,
                at: now,
                detail: judged.detail.clone(),
                data: serde_json::json!({
                    "verdict": standing.verdict, "was": was.verdict, "detail": judged.detail, "hint": judged.hint,
                    "readings": readings::named(reading),
                }),
            });
        }
        app.watch.judge(finding.resource, judged);
    }
    write(app, changes).await;
}

fn tell(resource: Resource, was: Verdict, judged: &Judged) {
    let (verdict, detail) = (judged.standing.verdict, judged.detail.as_str());
    match verdict {
        Verdict::Ok => tracing::info!(%resource, %verdict, %was, detail, "verdict changed"),
        Verdict::High | Verdict::Critical => {
            tracing::warn!(%resource, %verdict, %was, detail, "verdict changed");
        }
    }
}

/// Writes changes after those that could not be written before.
async fn write(app: &App, changes: Vec<Change>) {
    let mut all = app.watch.unwritten();
    let old = all.len();
    all.extend(changes);
    if all.is_empty() {
        return;
    }
    let ids: Vec<String> = all
        .iter()
        .map(|change| alerts::id_of(&entry(change)))
        .collect();
    for (change, id) in all.iter_mut().zip(&ids) {
        if app.watch.is_settled(id) {
            change.data["posted"] = true.into();
        }
    }
    // What is written is posted from the trail, which outlives us, and not from memory as well.
    let held = app.watch.hold(&ids);
    let Err(error) = app.index.record_verdicts(all.clone()).await else {
        return;
    };
    tracing::error!(error = %chain(&error), "changed verdicts could not be written; they are told from memory");
    let new = all.iter().zip(ids).skip(old).map(|(change, id)| Urgent {
        entry: entry(change),
        id,
        attempts: 0,
        next: Instant::now(),
    });
    for urgent in held.into_iter().chain(new) {
        app.watch.tell(urgent);
    }
    app.watch.keep(all);
}

/// A change as the trail has it, but for its number.
fn entry(change: &Change) -> Written {
    Written {
        seq: 0,
        at: change.at,
        kind: Kind::HealthChanged.as_str().to_owned(),
        subject: change.resource.to_owned(),
        data: change.data.clone(),
        duration_ms: None,
        error: None,
    }
}

fn limits(app: &App) -> judge::Limits {
    let (engine, settings) = (&app.settings.engine, &app.settings);
    // A splice that is discarded is followed by an encode, each with its deadline.
    const AROUND: u64 = 60;
    judge::Limits {
        floor: settings.monitor.floor.0,
        queue: u64::from(settings.limits.queue),
        job_seconds: engine.probe_seconds + engine.fetch_seconds + 2 * engine.cut_seconds + AROUND,
        slots: app.slots() as u64,
    }
}

/// The named checks, run anew when the last run is older than a moment: anybody may ask, and each run writes to the disk.
pub async fn recent_health(app: &App) -> (bool, Vec<CheckResult>) {
    const FRESH: Duration = Duration::from_secs(2);
    let last = app
        .health
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    match last {
        Some((at, results)) if at.elapsed() < FRESH => {
            (results.iter().all(|result| result.ok), results)
        }
        _ => health(app).await,
    }
}

/// Runs the named checks; true when all are well.
pub async fn health(app: &App) -> (bool, Vec<CheckResult>) {
    let result = |name, outcome: Result<String, String>| CheckResult {
        name,
        ok: outcome.is_ok(),
        detail: outcome.unwrap_or_else(|error| error),
    };
    let index = app
        .index
        .load()
        .await
        .map(|_| "answers".to_owned())
        .map_err(|error| chain(&error));
    let store = app.store.clone();
    let storage = blocking(move || store.writable()).await;
    let storage = storage
        .map(|()| "writable".to_owned())
        .map_err(|error| error.to_string());
    let floor = app.settings.monitor.floor;
    let available = app.reading().disk_available;
    // Told in whole gigabytes, so that a healthy disk gives the same words from one reading to the next.
    let disk = if available > floor.0 {
        Ok(format!("more than {floor} free"))
    } else {
        Err(format!("{} are free; {floor} should be", Bytes(available)))
    };
    let engine = &app.settings.engine;
    let programs = [&engine.ffmpeg, &engine.ffprobe];
    let missing = programs
        .into_iter()
        .find(|program| find_program(program).is_none());
    let sidecars = match missing {
        None => Ok("installed".to_owned()),
        Some(program) => Err(format!("{} is not installed", program.display())),
    };
    let results = vec![
        result("index", index),
        result("storage", storage),
        result("disk", disk),
        result("sidecars", sidecars),
        result("pages", Ok(pages::check(app))),
    ];
    *app.health.lock().unwrap_or_else(PoisonError::into_inner) =
        Some((Instant::now(), results.clone()));
    (results.iter().all(|result| result.ok), results)
}

/// Where a program is: a path as it stands, a name on PATH.
pub fn find_program(program: &Path) -> Option<std::path::PathBuf> {
    let runnable = |path: &Path| {
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
    };
    if program.components().count() > 1 {
        return runnable(program).then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|candidate| runnable(candidate))
}
