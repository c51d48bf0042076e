//! The monitor: reads disk, memory and load, keeps the readings, and judges the service's health by named checks.

pub mod pages;

use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use sysinfo::{
    DiskRefreshKind, Disks, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate,
    RefreshKind, System,
};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Reading};
use crate::bytes::Bytes;
use crate::index::records::{CheckResult, Sample};
use crate::library::blocking;
use crate::worker::chain;

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
    }
}

/// Takes one reading and keeps it.
pub async fn observe(app: &App) {
    let store = app.settings.storage_dir();
    let now = app.now();
    let reading = match blocking(move || read(&store)).await {
        Ok(reading) => Reading {
            at: Some(now),
            ..reading
        },
        Err(error) => {
            tracing::error!(error = %error, "no reading could be taken");
            return;
        }
    };
    *app.reading.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    metrics::gauge!("meme_maker_disk_available_bytes").set(reading.disk_available as f64);
    metrics::gauge!("meme_maker_memory_resident_bytes").set(reading.resident as f64);
    let sample = |metric, value: f64, unit| Sample {
        metric,
        value,
        unit,
    };
    let samples = vec![
        sample("disk_total", reading.disk_total as f64, "bytes"),
        sample("disk_available", reading.disk_available as f64, "bytes"),
        sample("memory_total", reading.memory_total as f64, "bytes"),
        sample("memory_available", reading.memory_available as f64, "bytes"),
        sample("resident", reading.resident as f64, "bytes"),
        sample("load", reading.load, "1"),
    ];
    if let Err(error) = app.index.record_samples(now, samples).await {
        tracing::error!(error = %chain(&error), "the reading could not be kept");
    }
    let (_, checks) = health(app).await;
    if let Err(error) = app.index.record_checks(now, checks).await {
        tracing::error!(error = %chain(&error), "the health checks could not be kept");
    }
}

/// Reads disk, memory and load.
fn read(store: &Path) -> std::io::Result<Reading> {
    let (disk_total, disk_available) = disk(store)?;
    let pid = Pid::from_u32(std::process::id());
    let ram = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let mut system = System::new_with_specifics(ram).map_err(std::io::Error::other)?;
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        false,
        ProcessRefreshKind::nothing().with_memory(),
    );
    Ok(Reading {
        at: None,
        disk_total,
        disk_available,
        memory_total: system.total_memory(),
        memory_available: system.available_memory(),
        resident: system.process(pid).map_or(0, sysinfo::Process::memory),
        load: System::load_average().map_or(0.0, |load| load.one),
    })
}

/// Total and available bytes of the disk that holds `path`.
///
/// # Errors
/// When there is no such path.
pub fn disk(path: &Path) -> std::io::Result<(u64, u64)> {
    let path = path.canonicalize()?;
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage())
        .map_err(std::io::Error::other)?;
    let holding = disks
        .iter()
        .filter(|disk| path.starts_with(disk.mount_point()))
        .max_by_key(|disk| disk.mount_point().components().count());
    match holding {
        Some(disk) if disk.total_space() > 0 => Ok((disk.total_space(), disk.available_space())),
        // Some mounts (overlays, bind mounts) are not listed; the file system itself always answers.
        _ => {
            let answer = rustix::fs::statvfs(&path)?;
            Ok((
                answer.f_blocks * answer.f_frsize,
                answer.f_bavail * answer.f_frsize,
            ))
        }
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
