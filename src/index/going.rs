//! Going in the index: whose time has come, what is worth least, and what is forgotten, in batches that hold up no other write.

use rusqlite::{OptionalExtension, params};

use super::clips::{BEHIND, COLUMNS, clip_of, json, parse_id};
use super::events::{self, Entry, Kind};
use super::trash::{self, Fate, Why};
use super::{Index, IndexError};
use crate::clip::{Clip, ClipId, Failure};
use crate::timestamp::Timestamp;

/// A ready clip that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: ClipId,
    pub title: String,
    pub bytes: u64,
    pub expires_at: Timestamp,
}

/// A clip whose files are to go, as it stands now.
#[derive(Clone, Debug)]
pub struct Ended {
    pub clip: Clip,
    pub bytes: u64,
    /// The number of the event.
    pub seq: i64,
}

/// Why clips end before their time.
#[derive(Clone, Debug)]
pub struct Ending {
    pub kind: Kind,
    /// What their visitors are told.
    pub failure: Failure,
    /// What the trail is told.
    pub why: String,
}

/// Records that have outlived their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    Events,
    HealthChecks,
    Samples,
    IdempotencyKeys,
    Sources,
}

impl Records {
    pub const ALL: [Records; 5] = [
        Records::Events,
        Records::HealthChecks,
        Records::Samples,
        Records::IdempotencyKeys,
        Records::Sources,
    ];

    /// The table, its key, and the column of its time.
    const fn place(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Records::Events => ("events", "seq", "at"),
            Records::HealthChecks => ("health_checks", "id", "at"),
            Records::Samples => ("samples", "metric, at", "at"),
            Records::IdempotencyKeys => ("idempotency", "visitor, key", "created_at"),
            Records::Sources => ("sources", "id", "expires_at"),
        }
    }
}

/// The last run of a task of the keeper, as the trail has it.
#[derive(Clone, Debug, PartialEq)]
pub struct LastRun {
    pub at: Timestamp,
    pub ms: i64,
    pub result: serde_json::Value,
    pub error: Option<String>,
}

impl Index {
    /// Ready clips that are not pinned and whose time has come, in the order in which they expire; those behind `after`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn due_clips(
        &self,
        now: Timestamp,
        after: Option<(Timestamp, ClipId)>,
        limit: usize,
    ) -> Result<Vec<Candidate>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(DUE)?;
            let (at, id) =
                after.map_or((i64::MIN, String::new()), |(at, id)| (at.0, id.to_string()));
            candidates(&mut query, params![now.0, at, id, limit])
        })
        .await
    }

    /// Expires some of the clips whose time has come, in one transaction with their events.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn expire_some(
        &self,
        now: Timestamp,
        limit: usize,
        fate: Fate,
    ) -> Result<Vec<Ended>, IndexError> {
        self.write(move |connection| {
            let mut update = connection.prepare_cached(&format!(
                "UPDATE clips SET state = 'expired', failure = NULL WHERE id IN
                    (SELECT id FROM clips INDEXED BY clips_expiring WHERE state = 'ready' AND pinned = 0 AND expires_at <= ?1
                     ORDER BY expires_at, id LIMIT ?2)
                 RETURNING {COLUMNS}, bytes"
            ))?;
            let rows = update.query_map(params![now.0, limit], |row| {
                Ok((clip_of(row), row.get::<_, u64>(BEHIND)?))
            })?;
            let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
            let mut ended = Vec::with_capacity(rows.len());
            for (clip, bytes) in rows {
                // It is expired with the others, so that it stops nobody and is told once; its files go with the sweep.
                let Some(clip) = readable(clip) else { continue };
                let subject = clip.id.to_string();
                if fate == Fate::Trash {
                    trash::put(
                        connection,
                        now,
                        clip.id,
                        &clip.title,
                        Why::Expired,
                        bytes,
                        None,
                    )?;
                } else {
                    trash::forget(connection, &subject)?;
                }
                let seq = events::about_clip(connection, now, Kind::Expired, &subject)?;
                ended.push(Ended { clip, bytes, seq });
            }
            Ok(ended)
        })
        .await
    }

    /// The ready clips that are worth least, pinned ones never among them.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn least_worth(&self, limit: usize) -> Result<Vec<Candidate>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(LEAST_WORTH)?;
            candidates(&mut query, params![limit])
        })
        .await
    }

    /// Ready clips behind `after`, by id.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn ready_clips(
        &self,
        after: Option<ClipId>,
        limit: usize,
    ) -> Result<Vec<Candidate>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(READY)?;
            let after = after.map(|id| id.to_string()).unwrap_or_default();
            candidates(&mut query, params![after, limit])
        })
        .await
    }

    /// Ends ready clips before their time, in one transaction with their events; their recipes stay.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn end_some(
        &self,
        now: Timestamp,
        ids: Vec<ClipId>,
        ending: Ending,
    ) -> Result<Vec<Ended>, IndexError> {
        self.write(move |connection| {
            // Pinned clips end only where their files are lost.
            let mut update = connection.prepare_cached(&format!(
                "UPDATE clips SET state = 'expired', failure = ?2, expires_at = min(expires_at, ?3)
                 WHERE id = ?1 AND state = 'ready' AND (pinned = 0 OR ?4) RETURNING {COLUMNS}, bytes"
            ))?;
            let lost = ending.kind != Kind::Evicted;
            let mut ended = Vec::with_capacity(ids.len());
            for id in &ids {
                let row = params![id.to_string(), json(&ending.failure)?, now.0, lost];
                let found = update
                    .query_row(row, |row| Ok((clip_of(row), row.get::<_, u64>(BEHIND)?)))
                    .optional()?;
                let Some((clip, bytes)) = found else { continue };
                trash::forget(connection, &id.to_string())?;
                let entry = Entry {
                    kind: ending.kind,
                    subject: &id.to_string(),
                    data: serde_json::json!({"bytes": bytes, "why": ending.why}),
                    duration_ms: None,
                    error: None,
                };
                let seq = events::append(connection, now, &entry)?;
                if let Some(clip) = readable(clip) {
                    ended.push(Ended { clip, bytes, seq });
                }
            }
            Ok(ended)
        })
        .await
    }

    /// How many clips have been expired, failed or cancelled since before `horizon`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn past_clips(&self, horizon: Timestamp) -> Result<u64, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(&format!("SELECT count(*) {PAST}"))?;
            Ok(query.query_row([horizon.0], |row| row.get(0))?)
        })
        .await
    }

    /// Forgets some of them, with their events.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn forget_past(
        &self,
        now: Timestamp,
        horizon: Timestamp,
        limit: usize,
    ) -> Result<Vec<ClipId>, IndexError> {
        self.write(move |connection| {
            let mut delete = connection.prepare_cached(&format!(
                "DELETE FROM clips WHERE id IN (SELECT id {PAST} LIMIT ?2) RETURNING id"
            ))?;
            let ids = delete.query_map(params![horizon.0, limit], |row| row.get::<_, String>(0))?;
            let ids: Vec<String> = ids.collect::<Result<_, _>>()?;
            let mut forgotten = Vec::with_capacity(ids.len());
            for id in &ids {
                trash::forget(connection, id)?;
                events::about_clip(connection, now, Kind::Removed, id)?;
                forgotten.extend(readable(parse_id(id)));
            }
            Ok(forgotten)
        })
        .await
    }

    /// How many records are of before `horizon`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn count_records(
        &self,
        records: Records,
        horizon: Timestamp,
    ) -> Result<u64, IndexError> {
        self.read(move |connection| {
            let (table, _, time) = records.place();
            let mut query = connection
                .prepare_cached(&format!("SELECT count(*) FROM {table} WHERE {time} < ?1"))?;
            Ok(query.query_row([horizon.0], |row| row.get(0))?)
        })
        .await
    }

    /// Forgets some of them; how many. Fewer than `limit` means that none is left.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn forget_records(
        &self,
        records: Records,
        horizon: Timestamp,
        limit: usize,
    ) -> Result<usize, IndexError> {
        self.write(move |connection| {
            let (table, key, time) = records.place();
            let mut delete = connection.prepare_cached(&format!(
                "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {time} < ?1 LIMIT ?2)"
            ))?;
            Ok(delete.execute(params![horizon.0, limit])?)
        })
        .await
    }

    /// The last run of a task that is in the trail.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn last_run(&self, task: &'static str) -> Result<Option<LastRun>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT at, coalesce(duration_ms, 0), data, error FROM events WHERE subject = ?1 AND kind = ?2
                 ORDER BY seq DESC LIMIT 1",
            )?;
            let row = query.query_row(params![task, Kind::KeeperRan.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?))
            });
            let Some((at, ms, data, error)) = row.optional()? else {
                return Ok(None);
            };
            let result = serde_json::from_str(&data).unwrap_or_default();
            Ok(Some(LastRun { at: Timestamp(at), ms, result, error }))
        })
        .await
    }
}

// Without statistics SQLite takes any index with an equality for better than one that has the order.
const DUE: &str = "SELECT id, title, bytes, expires_at FROM clips INDEXED BY clips_expiring
     WHERE state = 'ready' AND pinned = 0 AND expires_at <= ?1 AND (expires_at, id) > (?2, ?3) ORDER BY expires_at, id LIMIT ?4";
const LEAST_WORTH: &str = "SELECT id, title, bytes, expires_at FROM clips INDEXED BY clips_by_worth
     WHERE state = 'ready' AND pinned = 0 ORDER BY worth LIMIT ?1";
const READY: &str = "SELECT id, title, bytes, expires_at FROM clips INDEXED BY clips_by_state
     WHERE state = 'ready' AND id > ?1 ORDER BY id LIMIT ?2";
const PAST: &str = "FROM clips INDEXED BY clips_past
     WHERE state IN ('expired', 'failed', 'cancelled') AND coalesce(expires_at, finished_at, created_at) < ?1";

fn candidates(
    query: &mut rusqlite::CachedStatement<'_>,
    params: &[&dyn rusqlite::ToSql],
) -> Result<Vec<Candidate>, IndexError> {
    let rows = query.query_map(params, |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
        ))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (id, title, bytes, expires_at) = row?;
        if let Some(id) = readable(parse_id(&id)) {
            found.push(Candidate {
                id,
                title,
                bytes,
                expires_at: Timestamp(expires_at),
            });
        }
    }
    Ok(found)
}

/// What can be read of a row: one that cannot is told, and stops none of the others.
fn readable<T>(read: Result<T, IndexError>) -> Option<T> {
    read.inspect_err(|error| tracing::error!(%error, "a row cannot be read and is passed over"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> (tempfile::TempDir, Index) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.db"), 2).unwrap();
        (dir, index)
    }

    /// The choice among a million clips, and the sums, have to come from an index and a row.
    #[tokio::test]
    async fn nothing_that_is_asked_often_is_looked_for_row_by_row() {
        let (_dir, index) = index();
        let past = format!("SELECT count(*) {PAST}");
        for (query, wanted) in [
            (LEAST_WORTH, "clips_by_worth"),
            (DUE, "clips_expiring"),
            (READY, "clips_by_state"),
            (past.as_str(), "clips_past"),
            (crate::index::trash::PAGE, "trash_by_time"),
        ] {
            let explained = format!("EXPLAIN QUERY PLAN {query}");
            let plan: Vec<String> = index
                .read(move |connection| {
                    let mut plan = connection.prepare(&explained)?;
                    let rows = plan.query_map(
                        rusqlite::params_from_iter(vec![1; plan.parameter_count()]),
                        |row| row.get("detail"),
                    )?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await
                .unwrap();
            let plan = plan.join("; ");
            assert!(plan.contains(wanted), "{query}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{query}: {plan}");
        }
    }
}
