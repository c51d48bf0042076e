//! What an operator asks about: what takes the disk's room, what waits and runs. Everything is counted when it is asked for, and what
//! takes long to count not more often than once a minute.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{App, Bytes, blocking};
use crate::app::watch::{Forecast, Kept};
use crate::clip::State;
use crate::index::listing::Filter;
use crate::library::{self, LibraryError, View};

/// Counted again when it is older.
const FRESH: Duration = Duration::from_secs(60);
/// More clips than that are not listed.
const MOST: u32 = 500;

/// How the disk is.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    pub total: u64,
    pub available: u64,
    pub kept: Kept,
    /// What the work in the queue and in hand is expected to take.
    pub reserved: u64,
    pub floor: Bytes,
    pub max: Bytes,
    pub high_percent: u32,
    pub low_percent: u32,
    pub forecast: Option<Forecast>,
}

/// How the disk is, and what takes it.
///
/// # Errors
/// When index or disk cannot be read.
pub async fn disk(app: &App) -> Result<Disk, LibraryError> {
    let kept = match app.watch.kept(FRESH) {
        Some(kept) => kept,
        None => {
            let kept = count(app).await?;
            app.watch.count(kept);
            kept
        }
    };
    let (reading, settings) = (app.reading(), &app.settings);
    Ok(Disk {
        total: reading.disk_total,
        available: reading.disk_available,
        kept,
        reserved: app.index.load().await?.reserved,
        floor: settings.monitor.floor,
        max: settings.storage.max_bytes,
        high_percent: settings.monitor.high_percent,
        low_percent: settings.monitor.low_percent,
        forecast: app.watch.forecast(),
    })
}

async fn count(app: &App) -> Result<Kept, LibraryError> {
    let amounts = app.index.amounts(app.now()).await?;
    let (previews, windows) = (app.previews.clone(), app.windows.clone());
    let data = app.settings.server.data_dir.clone();
    let counted = blocking(move || {
        let work = footprint(&data.join("work"));
        Ok((previews.bytes()?, windows.bytes()?, work))
    });
    let (previews, windows, work) = counted.await?;
    let size = app.index.size();
    Ok(Kept {
        at: Instant::now(),
        clips: amounts.clips,
        uploads: amounts.uploads,
        previews,
        windows,
        work,
        trash: amounts.trash,
        index: size.file + size.wal,
    })
}

/// Bytes that a folder takes on the disk; what goes away meanwhile is left out.
fn footprint(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => footprint(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// Clips in hand, and those that wait, the next one first.
///
/// # Errors
/// When the index cannot be read.
pub async fn queue(app: &App) -> Result<(Vec<View>, Vec<View>), LibraryError> {
    let of = |state| Filter {
        state: Some(state),
        limit: MOST,
        ..Filter::default()
    };
    let mut running = Vec::new();
    for state in [State::Fetching, State::Cutting, State::Storing] {
        running.extend(library::list(app, of(state)).await?);
    }
    running.sort_by_key(|view| view.clip.created_at);
    let mut waiting = library::list(app, of(State::Queued)).await?;
    waiting.sort_by_key(|view| view.queue_position);
    Ok((running, waiting))
}
