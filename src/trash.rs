//! The trash: what visitors remove and what expires is put aside for a while, as long as there is room, and can be brought back by
//! who may manage clips. It is the first thing to go.

use crate::app::keeping::Wanted;
use crate::app::{App, What};
use crate::clip::{ClipId, State};
use crate::eviction;
use crate::index::trash::{Fate, Trashed};
use crate::library::{self, LibraryError, View, blocking, ledger_entry};
use crate::retention::Report;
use crate::room::{self, Marks};
use crate::timestamp::Timestamp;

/// How many entries are looked at or removed in one go.
pub const BATCH: usize = 100;

/// Whether there is room to put things aside.
pub async fn fate(app: &App) -> Fate {
    if app.settings.retention.trash_hours == 0 {
        return Fate::Gone;
    }
    let marks = Marks::of(&app.settings);
    match room::standing(app).await {
        Ok(standing) if eviction::goal(&standing, &marks, Wanted::default()).is_none() => {
            Fate::Trash
        }
        // What cannot be told is taken for full: then nothing is put where it takes room.
        Ok(_) | Err(_) => Fate::Gone,
    }
}

/// Since when something has to be in the trash for its time to have come.
pub fn horizon(app: &App) -> Timestamp {
    app.now()
        .plus_millis(-i64::from(app.settings.retention.trash_hours) * 3_600_000)
}

/// When something in the trash goes for good.
pub fn goes_at(app: &App, trashed: &Trashed) -> Timestamp {
    trashed
        .trashed_at
        .plus_hours(app.settings.retention.trash_hours)
}

/// What is in the trash, the oldest first; as much as fits on a page.
///
/// # Errors
/// When the index cannot be read.
pub async fn list(app: &App) -> Result<Vec<Trashed>, LibraryError> {
    const PAGE: usize = 1000;
    Ok(app.index.trash(Timestamp(i64::MAX), None, PAGE).await?)
}

/// Brings a clip back under its old link.
///
/// # Errors
/// When it is not in the trash, or is being made again.
pub async fn restore(app: &App, id: ClipId) -> Result<View, LibraryError> {
    let _turn = app.desk.turn(&turn_of(id)).await;
    if !app.index.in_trash(id).await? {
        return Err(LibraryError::NotFound);
    }
    if let Some((clip, _)) = app.index.clip(id).await?
        && clip.state != State::Expired
    {
        return Err(LibraryError::State(clip.state.as_str(), "restored"));
    }
    let store = app.store.clone();
    if !blocking(move || store.bring_back(id)).await? {
        app.index.empty_trash(vec![id]).await?;
        return Err(LibraryError::NotFound);
    }
    let now = app.now();
    let expires_at = now.plus_hours(app.settings.retention.hours);
    let restored = app.index.restore(now, id, expires_at).await;
    let Ok(Some((clip, seq))) = restored else {
        let store = app.store.clone();
        blocking(move || store.put_aside(id)).await?;
        restored?;
        return Err(LibraryError::NotFound);
    };
    let (store, entry) = (app.store.clone(), ledger_entry(&clip));
    blocking(move || store.write_ledger(id, &entry)).await?;
    app.bus.tell(id, What::State(seq));
    tracing::info!(clip = %id, "clip brought back from the trash");
    library::view(app, id).await
}

/// Removes entries for good: files first, so that what is left after an interruption is told by the index. Returns those that went;
/// what stays is told in the report, and keeps none of the others.
///
/// # Errors
/// When the index refuses.
pub async fn empty(
    app: &App,
    entries: Vec<Trashed>,
    report: &mut Report,
) -> Result<Vec<Trashed>, LibraryError> {
    let mut gone = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = entry.id;
        let _turn = app.desk.turn(&turn_of(id)).await;
        let store = app.store.clone();
        match blocking(move || store.empty(id)).await {
            Ok(()) => gone.push(entry),
            Err(error) => report.fail("trash", &error),
        }
    }
    let ids = gone.iter().map(|entry| entry.id).collect();
    app.index.empty_trash(ids).await?;
    Ok(gone)
}

/// What one who moves a clip's files holds meanwhile.
pub fn turn_of(id: ClipId) -> String {
    format!("clip {id}")
}
