//! The trash in the index: what has been removed and can still be brought back.

use rusqlite::{Connection, OptionalExtension, params};

use super::clips::{COLUMNS, clip_of, find, parse_id};
use super::events::{self, Kind};
use super::queue::insert_segments;
use super::remake::fall_back;
use super::{Index, IndexError};
use crate::clip::{Clip, ClipId, State};
use crate::timestamp::Timestamp;

/// Where the files of a removed clip go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They can be brought back for a while.
    Trash,
    Gone,
}

/// Why something is in the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody removed it.
    Removed,
    Expired,
}

impl Why {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::Removed => "removed",
            Why::Expired => "expired",
        }
    }
}

/// A clip in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trashed {
    pub id: ClipId,
    pub title: String,
    /// `removed` or `expired`.
    pub why: String,
    pub bytes: u64,
    pub trashed_at: Timestamp,
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It was ready and is in the trash.
    Trashed,
    Gone,
    Unknown,
}

pub(super) const PAGE: &str = "SELECT id, title, why, bytes, trashed_at FROM trash
     WHERE trashed_at <= ?1 AND (trashed_at, id) > (?2, ?3) ORDER BY trashed_at, id LIMIT ?4";

/// Everything of a clip's row that makes it what it is.
const KEPT: [&str; 22] = [
    "title",
    "recipe",
    "outcome",
    "file_name",
    "visitor",
    "estimate",
    "estimate_seconds",
    "attempts",
    "created_at",
    "queued_at",
    "started_at",
    "finished_at",
    "expires_at",
    "pinned",
    "views",
    "downloads",
    "upload",
    "bytes",
    "viewed_at",
    "worth",
    "failure",
    "version",
];

impl Index {
    /// Forgets a clip; of a ready one the trash remembers enough to bring it back, where that is its fate.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn remove(
        &self,
        now: Timestamp,
        id: ClipId,
        fate: Fate,
    ) -> Result<Removed, IndexError> {
        self.write(move |connection| {
            let Some(clip) = find(connection, id)? else {
                return Ok(Removed::Unknown);
            };
            let subject = id.to_string();
            let mut removed = Removed::Gone;
            forget(connection, &subject)?;
            // One that is made again goes as what it was before.
            let ready = fall_back(connection, id, None)? || clip.state == State::Ready;
            if ready && fate == Fate::Trash {
                let pairs: Vec<String> = KEPT
                    .iter()
                    .map(|column| format!("'{column}', {column}"))
                    .collect();
                let mut row = connection.prepare_cached(&format!(
                    "SELECT json_object({}), bytes FROM clips WHERE id = ?1",
                    pairs.join(", ")
                ))?;
                let (row, bytes): (String, u64) =
                    row.query_row([&subject], |row| Ok((row.get(0)?, row.get(1)?)))?;
                put(
                    connection,
                    now,
                    id,
                    &clip.title,
                    Why::Removed,
                    bytes,
                    Some(&row),
                )?;
                removed = Removed::Trashed;
            }
            connection.execute("DELETE FROM clips WHERE id = ?1", [&subject])?;
            events::about_clip(connection, now, Kind::Removed, &subject)?;
            Ok(removed)
        })
        .await
    }

    /// What is in the trash since before `horizon`, the oldest first; those behind `after`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn trash(
        &self,
        horizon: Timestamp,
        after: Option<(Timestamp, ClipId)>,
        limit: usize,
    ) -> Result<Vec<Trashed>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(PAGE)?;
            let (at, id) =
                after.map_or((i64::MIN, String::new()), |(at, id)| (at.0, id.to_string()));
            let rows = query.query_map(params![horizon.0, at, id, limit], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            })?;
            rows.map(|row| {
                let (id, title, why, bytes, at) = row?;
                Ok(Trashed {
                    id: parse_id(&id)?,
                    title,
                    why,
                    bytes,
                    trashed_at: Timestamp(at),
                })
            })
            .collect()
        })
        .await
    }

    /// Whether a clip is in the trash.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn in_trash(&self, id: ClipId) -> Result<bool, IndexError> {
        self.read(move |connection| {
            let mut query =
                connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM trash WHERE id = ?1)")?;
            Ok(query.query_row([id.to_string()], |row| row.get(0))?)
        })
        .await
    }

    /// Forgets what was in the trash.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn empty_trash(&self, ids: Vec<ClipId>) -> Result<(), IndexError> {
        self.write(move |connection| {
            ids.iter()
                .try_for_each(|id| forget(connection, &id.to_string()))
        })
        .await
    }

    /// Brings a clip back as ready until `expires_at`, or as long as it had; `None` when it is not in the trash, or has gone on
    /// meanwhile.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn restore(
        &self,
        now: Timestamp,
        id: ClipId,
        expires_at: Timestamp,
    ) -> Result<Option<(Clip, i64)>, IndexError> {
        self.write(move |connection| {
            let subject = id.to_string();
            let mut query = connection.prepare_cached("SELECT clip FROM trash WHERE id = ?1")?;
            let kept: Option<Option<String>> = query
                .query_row([&subject], |row| row.get(0))
                .optional()?;
            let statement = match &kept {
                None => return Ok(None),
                Some(None) => format!(
                    "UPDATE clips SET state = 'ready', failure = NULL, expires_at = max(expires_at, ?2)
                     WHERE id = ?1 AND state = 'expired' AND ?3 IS NULL RETURNING {COLUMNS}"
                ),
                Some(Some(_)) => {
                    let values: Vec<String> = KEPT
                        .iter()
                        .map(|column| match *column {
                            "expires_at" => "max(json_extract(?3, '$.expires_at'), ?2)".to_owned(),
                            // What an older version has put there knows none.
                            "version" => "coalesce(json_extract(?3, '$.version'), 1)".to_owned(),
                            column => format!("json_extract(?3, '$.{column}')"),
                        })
                        .collect();
                    format!(
                        "INSERT INTO clips (id, state, {}) SELECT ?1, 'ready', {} RETURNING {COLUMNS}",
                        KEPT.join(", "),
                        values.join(", ")
                    )
                }
            };
            let row = kept.flatten();
            let mut bring = connection.prepare_cached(&statement)?;
            let back = bring
                .query_row(params![subject, expires_at.0, row], |row| Ok(clip_of(row)))
                .optional()?;
            let Some(clip) = back.transpose()? else {
                return Ok(None);
            };
            if row.is_some() {
                insert_segments(connection, &subject, &clip.recipe)?;
            }
            forget(connection, &subject)?;
            let seq = events::about_clip(connection, now, Kind::Restored, &subject)?;
            Ok(Some((clip, seq)))
        })
        .await
    }
}

/// Notes inside the caller's transaction that a clip is in the trash.
pub(super) fn put(
    connection: &Connection,
    now: Timestamp,
    id: ClipId,
    title: &str,
    why: Why,
    bytes: u64,
    clip: Option<&str>,
) -> Result<(), IndexError> {
    let id = id.to_string();
    // Not replaced in one: that would pass by the trigger which keeps the sum.
    forget(connection, &id)?;
    connection
        .prepare_cached(
            "INSERT INTO trash (id, title, why, bytes, trashed_at, clip) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![id, title, why.as_str(), bytes, now.0, clip])?;
    Ok(())
}

/// Forgets inside the caller's transaction what was in the trash; nothing is fine.
pub(super) fn forget(connection: &Connection, id: &str) -> Result<(), IndexError> {
    connection
        .prepare_cached("DELETE FROM trash WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}
