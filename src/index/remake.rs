//! Clips that are made again under the same link: the row keeps result, file and end of what is served, and `before` the recipe of that,
//! until the new file is there or nothing comes of it.

use rusqlite::{Connection, OptionalExtension, params};

use super::clips::{find, json, unjson};
use super::events::{self, Kind};
use super::keeping::{Bounds, Changed, changed};
use super::queue::{Barred, has_enough, insert_segments, waiting};
use super::uploads::{self, Readiness};
use super::{Index, IndexError};
use crate::clip::change::Change;
use crate::clip::{ClipId, State};
use crate::cost::Estimate;
use crate::recipe::Recipe;
use crate::timestamp::Timestamp;

/// A wish to make a clip again, by another recipe of the same source.
#[derive(Clone, Debug)]
pub struct Remake {
    pub id: ClipId,
    /// The recipe that the wish was merged over: nobody else's may have come between.
    pub over: Recipe,
    pub recipe: Recipe,
    /// What else is to be different about the clip.
    pub change: Change,
    pub bounds: Bounds,
    /// How many clips its visitor may have waiting or running at once, this one included.
    pub at_once: Option<u32>,
    pub queue_limit: u32,
    pub estimate: Estimate,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remade {
    /// It is queued; the number of the event.
    Queued(i64),
    /// In this state it cannot be made again.
    State(State),
    Barred(Barred),
    /// So many bytes are pinned already.
    PinsFull(u64),
    Unknown,
}

impl Index {
    /// Queues a clip that is ready, failed, was cancelled or has expired, to be made by another recipe. All of it is done, or nothing.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn remake(&self, now: Timestamp, remake: Remake) -> Result<Remade, IndexError> {
        self.write(move |connection| queued(connection, now, &remake))
            .await
    }
}

fn queued(connection: &Connection, now: Timestamp, remake: &Remake) -> Result<Remade, IndexError> {
    let Some(clip) = find(connection, remake.id)? else {
        return Ok(Remade::Unknown);
    };
    if !clip.state.is_settled() || clip.recipe != remake.over {
        return Ok(Remade::State(clip.state));
    }
    let id = remake.id.to_string();
    let mut row = connection.prepare_cached("SELECT visitor, upload FROM clips WHERE id = ?1")?;
    let (visitor, upload): (String, Option<String>) =
        row.query_row([&id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if has_enough(connection, &visitor, remake.at_once, 1)? {
        return Ok(Remade::Barred(Barred::TooManyAtOnce));
    }
    let waiting = waiting(connection)?;
    if waiting >= u64::from(remake.queue_limit) {
        return Ok(Remade::Barred(Barred::QueueFull(waiting)));
    }
    if let Some(upload) = upload {
        match uploads::take(connection, now, &upload)? {
            Readiness::Complete => {}
            Readiness::Incomplete => return Ok(Remade::Barred(Barred::UploadIncomplete)),
            Readiness::Gone => return Ok(Remade::Barred(Barred::UploadGone)),
        }
    }
    if !remake.change.fields().is_empty() {
        match changed(connection, now, remake.id, &remake.change, remake.bounds)? {
            Changed::Done(..) => {}
            Changed::State(state) => return Ok(Remade::State(state)),
            Changed::PinsFull(pinned) => return Ok(Remade::PinsFull(pinned)),
            Changed::Unknown => return Ok(Remade::Unknown),
        }
    }
    let set = if clip.state == State::Ready {
        "before = recipe"
    } else {
        "outcome = NULL, file_name = NULL, finished_at = NULL, expires_at = NULL"
    };
    let mut update = connection.prepare_cached(&format!(
        "UPDATE clips SET state = 'queued', {set}, recipe = ?2, failure = NULL, attempts = 0, queued_at = ?3, estimate = ?4,
             estimate_seconds = ?5
         WHERE id = ?1"
    ))?;
    update.execute(params![
        id,
        json(&remake.recipe)?,
        now.0,
        i64::try_from(remake.estimate.bytes).unwrap_or(i64::MAX),
        remake.estimate.seconds
    ])?;
    replace_segments(connection, &id, &remake.recipe)?;
    events::about_clip(connection, now, Kind::Requeued, &id).map(Remade::Queued)
}

/// Makes of a clip that is made again what it was before, with what is told about it; false when it is no such clip.
pub(super) fn fall_back(
    connection: &Connection,
    id: ClipId,
    failure: Option<&str>,
) -> Result<bool, IndexError> {
    let id = id.to_string();
    let mut update = connection.prepare_cached(
        "UPDATE clips SET state = 'ready', recipe = before, before = NULL, failure = ?2
         WHERE id = ?1 AND before IS NOT NULL RETURNING recipe",
    )?;
    let recipe: Option<String> = update
        .query_row(params![id, failure], |row| row.get(0))
        .optional()?;
    let Some(recipe) = recipe else {
        return Ok(false);
    };
    replace_segments(connection, &id, &unjson(&recipe)?)?;
    Ok(true)
}

/// When what is served of a clip that is made again was last looked at; nothing of others.
pub(super) fn viewed(connection: &Connection, id: &str) -> Result<Option<Timestamp>, IndexError> {
    let mut query = connection
        .prepare_cached("SELECT viewed_at FROM clips WHERE id = ?1 AND before IS NOT NULL")?;
    let viewed: Option<Option<i64>> = query.query_row([id], |row| row.get(0)).optional()?;
    Ok(viewed.flatten().map(Timestamp))
}

fn replace_segments(connection: &Connection, id: &str, recipe: &Recipe) -> Result<(), IndexError> {
    connection
        .prepare_cached("DELETE FROM segments WHERE clip_id = ?1")?
        .execute([id])?;
    insert_segments(connection, id, recipe)
}
