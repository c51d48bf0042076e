//! Clips in the index: what people look up.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{Index, IndexError};
use crate::clip::{Clip, ClipId, State};
use crate::cost::Estimate;
use crate::timestamp::Timestamp;

/// Where a clip stands in the queue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Counted from 1.
    pub position: u64,
    /// What all up to and with it are expected to take, one after the other.
    pub seconds: f64,
}

pub(super) const COLUMNS: &str = "id, state, title, recipe, outcome, file_name, failure, created_at, finished_at, expires_at, pinned, views, \
                       downloads, attempts, estimate, estimate_seconds, before, version, sharing";

/// The place of the first column that a query names behind those of a clip.
pub(super) const BEHIND: usize = 19;

/// Rows whose files are served: those of clips that are made again are, until the new ones are there.
pub(super) const SERVED: &str = "(state = 'ready' OR before IS NOT NULL)";

impl Index {
    /// A clip and its place in the queue, if it waits.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn clip(&self, id: ClipId) -> Result<Option<(Clip, Option<Place>)>, IndexError> {
        self.read(move |connection| {
            let Some(clip) = find(connection, id)? else {
                return Ok(None);
            };
            let place = if clip.state == State::Queued {
                Some(place(connection, id)?)
            } else {
                None
            };
            Ok(Some((clip, place)))
        })
        .await
    }

    /// The states of clips that the index knows among `ids`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn states(
        &self,
        ids: Vec<ClipId>,
    ) -> Result<Vec<(ClipId, Option<State>)>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached("SELECT state FROM clips WHERE id = ?1")?;
            ids.into_iter()
                .map(|id| {
                    let state: Option<String> = query
                        .query_row([id.to_string()], |row| row.get(0))
                        .optional()?;
                    Ok((id, state.map(|state| parse_state(&state)).transpose()?))
                })
                .collect()
        })
        .await
    }

    /// The states that the published files of `ids` are of: those of a clip that is made again are a ready one's.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn states_of_files(
        &self,
        ids: Vec<ClipId>,
    ) -> Result<Vec<(ClipId, Option<State>)>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT CASE WHEN before IS NULL THEN state ELSE 'ready' END FROM clips WHERE id = ?1",
            )?;
            ids.into_iter()
                .map(|id| {
                    let state: Option<String> = query
                        .query_row([id.to_string()], |row| row.get(0))
                        .optional()?;
                    Ok((id, state.map(|state| parse_state(&state)).transpose()?))
                })
                .collect()
        })
        .await
    }

    /// How many clips are in each state.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn counts(&self) -> Result<Vec<(State, u64)>, IndexError> {
        self.read(|connection| {
            let mut query =
                connection.prepare_cached("SELECT state, count(*) FROM clips GROUP BY state")?;
            let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
            rows.map(|row| {
                let (state, count) = row?;
                Ok((parse_state(&state)?, count))
            })
            .collect()
        })
        .await
    }
}

pub(super) fn find(connection: &Connection, id: ClipId) -> Result<Option<Clip>, IndexError> {
    let mut query =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM clips WHERE id = ?1"))?;
    query
        .query_row([id.to_string()], |row| Ok(clip_of(row)))
        .optional()?
        .transpose()
}

/// Place by age, counted from 1. Fairness between visitors may let a younger one go first.
pub(super) fn place(connection: &Connection, id: ClipId) -> Result<Place, IndexError> {
    let mut query = connection.prepare_cached(
        "SELECT count(*), coalesce(sum(c.estimate_seconds), 0) FROM clips c, clips own
         WHERE own.id = ?1 AND c.state = 'queued' AND (c.queued_at, c.id) <= (own.queued_at, own.id)",
    )?;
    let place = query.query_row([id.to_string()], |row| {
        Ok(Place {
            position: row.get(0)?,
            seconds: row.get(1)?,
        })
    })?;
    Ok(place)
}

pub(super) fn clip_of(row: &Row<'_>) -> Result<Clip, IndexError> {
    let stored = |column: usize| -> Result<Option<String>, rusqlite::Error> { row.get(column) };
    Ok(Clip {
        id: parse_id(&row.get::<_, String>(0)?)?,
        state: parse_state(&row.get::<_, String>(1)?)?,
        title: row.get(2)?,
        recipe: unjson(&row.get::<_, String>(3)?)?,
        outcome: stored(4)?.map(|text| unjson(&text)).transpose()?,
        file_name: row.get(5)?,
        failure: stored(6)?.map(|text| unjson(&text)).transpose()?,
        created_at: Timestamp(row.get(7)?),
        finished_at: row.get::<_, Option<i64>>(8)?.map(Timestamp),
        expires_at: row.get::<_, Option<i64>>(9)?.map(Timestamp),
        pinned: row.get(10)?,
        views: row.get(11)?,
        downloads: row.get(12)?,
        attempts: row.get(13)?,
        estimate: Estimate {
            bytes: row.get(14)?,
            seconds: row.get(15)?,
        },
        before: stored(16)?.map(|text| unjson(&text)).transpose()?,
        version: row.get(17)?,
        sharing: stored(18)?.map(|text| unjson(&text)).transpose()?,
    })
}

pub(super) fn parse_id(text: &str) -> Result<ClipId, IndexError> {
    text.parse()
        .map_err(|_| IndexError::Corrupt(format!("clip id {text}")))
}

fn parse_state(text: &str) -> Result<State, IndexError> {
    text.parse()
        .map_err(|()| IndexError::Corrupt(format!("state {text}")))
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String, IndexError> {
    serde_json::to_string(value).map_err(|error| IndexError::Corrupt(error.to_string()))
}

pub(super) fn unjson<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, IndexError> {
    serde_json::from_str(text).map_err(|error| IndexError::Corrupt(error.to_string()))
}
