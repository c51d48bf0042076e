//! Keeping in the index: what may be changed about a clip, whose time has come, what is worth least, and the sums of bytes that are
//! never counted anew.

use rusqlite::{Connection, OptionalExtension, params};

use super::clips::{COLUMNS, clip_of, find, json, parse_id};
use super::events::{self, Entry, Kind};
use super::trash::{self, Fate, Why};
use super::{Index, IndexError};
use crate::clip::change::Change;
use crate::clip::worth::worth;
use crate::clip::{Clip, ClipId, Failure, State};
use crate::timestamp::Timestamp;

/// Bytes that are here, and that are promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Of ready clips, with their posters.
    pub clips: u64,
    /// Of those among them that are pinned.
    pub pinned: u64,
    /// Received of uploads.
    pub uploads: u64,
    pub trash: u64,
    /// What clips that wait or run are expected to take.
    pub work: u64,
    /// Still to come of uploads.
    pub to_come: u64,
}

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

/// How far a holder may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most bytes of pinned clips, all together.
    pub pinned: Option<u64>,
    /// When a clip ends that is not pinned any more and whose time is over.
    pub anew: Timestamp,
}

/// What became of a change.
#[derive(Clone, Debug)]
pub enum Changed {
    /// The clip as it is now, and the number of the event.
    Done(Clip, i64),
    /// In this state only the title can be changed.
    State(State),
    /// So many bytes are pinned already.
    PinsFull(u64),
    Unknown,
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
    /// Bytes that are here, and that are promised; uploads used before `horizon` are promised nothing.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn amounts(&self, horizon: Timestamp) -> Result<Amounts, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT clips, pinned, uploads, trash,
                    (SELECT coalesce(sum(estimate), 0) FROM clips WHERE state IN ('queued', 'fetching', 'cutting', 'storing')),
                    (SELECT coalesce(sum(length - received), 0) FROM uploads WHERE received < length AND used_at > ?1)
                 FROM tallies",
            )?;
            let amounts = query.query_row([horizon.0], |row| {
                Ok(Amounts {
                    clips: row.get(0)?,
                    pinned: row.get(1)?,
                    uploads: row.get(2)?,
                    trash: row.get(3)?,
                    work: row.get(4)?,
                    to_come: row.get(5)?,
                })
            })?;
            Ok(amounts)
        })
        .await
    }

    /// Counts the sums anew, and what clips are worth: for an index that was put together from elsewhere.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn recount(&self) -> Result<(), IndexError> {
        self.write(|connection| {
            let mut ready = connection.prepare_cached(
                "SELECT id, coalesce(finished_at, created_at), viewed_at,
                        CASE bytes WHEN 0 THEN coalesce(json_extract(outcome, '$.size'), 0) ELSE bytes END
                 FROM clips WHERE state = 'ready' AND (bytes = 0 OR worth = 0)",
            )?;
            let rows = ready.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?, row.get::<_, u64>(3)?))
            })?;
            let rows: Vec<(String, i64, Option<i64>, u64)> = rows.collect::<Result<_, _>>()?;
            let mut update = connection
                .prepare_cached("UPDATE clips SET bytes = ?2, worth = ?3 WHERE id = ?1")?;
            for (id, finished, viewed, bytes) in rows {
                let worth = worth(Timestamp(finished), viewed.map(Timestamp), bytes);
                update.execute(params![id, bytes, worth])?;
            }
            connection.execute(
                "UPDATE tallies SET
                    clips = (SELECT coalesce(sum(bytes), 0) FROM clips WHERE state = 'ready'),
                    pinned = (SELECT coalesce(sum(bytes), 0) FROM clips WHERE state = 'ready' AND pinned = 1),
                    uploads = (SELECT coalesce(sum(received), 0) FROM uploads),
                    trash = (SELECT coalesce(sum(bytes), 0) FROM trash)",
                [],
            )?;
            Ok(())
        })
        .await
    }

    /// Changes a clip, with its event, as far as `bounds` allow.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn change(
        &self,
        now: Timestamp,
        id: ClipId,
        change: Change,
        bounds: Bounds,
    ) -> Result<Changed, IndexError> {
        self.write(move |connection| changed(connection, now, id, &change, bounds))
            .await
    }

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
                "UPDATE clips SET state = 'expired' WHERE id IN
                    (SELECT id FROM clips INDEXED BY clips_expiring WHERE state = 'ready' AND pinned = 0 AND expires_at <= ?1
                     ORDER BY expires_at, id LIMIT ?2)
                 RETURNING {COLUMNS}, bytes"
            ))?;
            let rows = update.query_map(params![now.0, limit], |row| {
                Ok((clip_of(row), row.get::<_, u64>(16)?))
            })?;
            let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
            let mut ended = Vec::with_capacity(rows.len());
            for (clip, bytes) in rows {
                let clip = clip?;
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
            // What is held against nobody is pinned by nobody: pinned clips end only where their files are lost.
            let mut update = connection.prepare_cached(&format!(
                "UPDATE clips SET state = 'expired', failure = ?2, expires_at = min(expires_at, ?3)
                 WHERE id = ?1 AND state = 'ready' AND (pinned = 0 OR ?4) RETURNING {COLUMNS}, bytes"
            ))?;
            let lost = ending.kind != Kind::Evicted;
            let mut ended = Vec::with_capacity(ids.len());
            for id in &ids {
                let row = params![id.to_string(), json(&ending.failure)?, now.0, lost];
                let found = update
                    .query_row(row, |row| Ok((clip_of(row), row.get::<_, u64>(16)?)))
                    .optional()?;
                let Some((clip, bytes)) = found else { continue };
                let entry = Entry {
                    kind: ending.kind,
                    subject: &id.to_string(),
                    data: serde_json::json!({"bytes": bytes, "why": ending.why}),
                    duration_ms: None,
                    error: None,
                };
                let seq = events::append(connection, now, &entry)?;
                ended.push(Ended {
                    clip: clip?,
                    bytes,
                    seq,
                });
            }
            Ok(ended)
        })
        .await
    }

    /// Counts one view, and when it was.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn count_view(&self, now: Timestamp, id: ClipId) -> Result<(), IndexError> {
        self.write(move |connection| {
            used(
                connection,
                now,
                id,
                "UPDATE clips SET views = views + 1 WHERE id = ?1",
            )
        })
        .await
    }

    /// Counts one download, and when it was.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn count_download(&self, now: Timestamp, id: ClipId) -> Result<(), IndexError> {
        self.write(move |connection| {
            used(
                connection,
                now,
                id,
                "UPDATE clips SET downloads = downloads + 1 WHERE id = ?1",
            )
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
            ids.iter()
                .map(|id| {
                    trash::forget(connection, id)?;
                    events::about_clip(connection, now, Kind::Removed, id)?;
                    parse_id(id)
                })
                .collect()
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
    rows.map(|row| {
        let (id, title, bytes, expires_at) = row?;
        Ok(Candidate {
            id: parse_id(&id)?,
            title,
            bytes,
            expires_at: Timestamp(expires_at),
        })
    })
    .collect()
}

/// Counts a use by `statement` and weighs the clip anew, at most once an hour: each time moves it in an index.
fn used(
    connection: &Connection,
    now: Timestamp,
    id: ClipId,
    statement: &str,
) -> Result<(), IndexError> {
    const OFTEN: i64 = 3_600_000;
    let id = id.to_string();
    connection.prepare_cached(statement)?.execute([&id])?;
    let mut query = connection.prepare_cached(
        "SELECT coalesce(finished_at, created_at), bytes FROM clips
         WHERE id = ?1 AND (viewed_at IS NULL OR viewed_at <= ?2)",
    )?;
    let due = query
        .query_row(params![id, now.0 - OFTEN], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    if let Some((finished, bytes)) = due {
        connection
            .prepare_cached("UPDATE clips SET viewed_at = ?2, worth = ?3 WHERE id = ?1")?
            .execute(params![
                id,
                now.0,
                worth(Timestamp(finished), Some(now), bytes)
            ])?;
    }
    Ok(())
}

fn changed(
    connection: &Connection,
    now: Timestamp,
    id: ClipId,
    change: &Change,
    bounds: Bounds,
) -> Result<Changed, IndexError> {
    let Some(clip) = find(connection, id)? else {
        return Ok(Changed::Unknown);
    };
    let of_ready = change.pinned.is_some() || change.expires_at.is_some();
    if of_ready && clip.state != State::Ready {
        return Ok(Changed::State(clip.state));
    }
    let subject = id.to_string();
    let pinned = change.pinned.unwrap_or(clip.pinned);
    if let (true, false, Some(most)) = (pinned, clip.pinned, bounds.pinned) {
        let mut query = connection.prepare_cached(
            "SELECT pinned, pinned + (SELECT bytes FROM clips WHERE id = ?1) FROM tallies",
        )?;
        let (already, then): (u64, u64) =
            query.query_row([&subject], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if then > most {
            return Ok(Changed::PinsFull(already));
        }
    }
    let mut expires_at = change.expires_at.or(clip.expires_at);
    // Nobody who only takes a pin out means to lose the clip the same minute.
    let over = expires_at.is_some_and(|at| at <= now);
    if clip.pinned && !pinned && change.expires_at.is_none() && over {
        expires_at = Some(bounds.anew);
    }
    let mut update = connection.prepare_cached(&format!(
        "UPDATE clips SET title = ?2, pinned = ?3, expires_at = ?4 WHERE id = ?1 RETURNING {COLUMNS}"
    ))?;
    let row = params![
        subject,
        change.title.as_ref().unwrap_or(&clip.title),
        pinned,
        expires_at.map(|at| at.0)
    ];
    let clip = update.query_row(row, |row| Ok(clip_of(row)))??;
    let entry = Entry {
        kind: Kind::Changed,
        subject: &subject,
        // What a clip is called now is nobody's business once it is gone: the trail outlives it.
        data: serde_json::json!({"fields": change.fields(), "pinned": clip.pinned, "expires_at": clip.expires_at}),
        duration_ms: None,
        error: None,
    };
    let seq = events::append(connection, now, &entry)?;
    Ok(Changed::Done(clip, seq))
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

    async fn sums(index: &Index) -> (u64, u64, u64, u64) {
        let amounts = index.amounts(Timestamp(0)).await.unwrap();
        (
            amounts.clips,
            amounts.pinned,
            amounts.uploads,
            amounts.trash,
        )
    }

    #[tokio::test]
    async fn the_sums_follow_whatever_happens_and_can_be_counted_anew() {
        let (_dir, index) = index();
        let steps: [(&str, (u64, u64, u64, u64)); 10] = [
            (
                "INSERT INTO clips (id, state, title, recipe, visitor, estimate, created_at, queued_at)
                 VALUES ('a', 'storing', '', '', '', 0, 0, 0)",
                (0, 0, 0, 0),
            ),
            (
                "UPDATE clips SET state = 'ready', outcome = '', file_name = '', expires_at = 9, bytes = 70",
                (70, 0, 0, 0),
            ),
            ("UPDATE clips SET pinned = 1", (70, 70, 0, 0)),
            ("UPDATE clips SET bytes = 50", (50, 50, 0, 0)),
            ("UPDATE clips SET state = 'expired'", (0, 0, 0, 0)),
            ("UPDATE clips SET state = 'ready'", (50, 50, 0, 0)),
            (
                "INSERT INTO uploads (id, visitor, length, metadata, created_at, used_at) VALUES ('u', '', 90, '', 0, 0)",
                (50, 50, 0, 0),
            ),
            ("UPDATE uploads SET received = 30", (50, 50, 30, 0)),
            (
                "INSERT INTO trash (id, title, why, bytes, trashed_at) VALUES ('t', '', 'expired', 8, 0)",
                (50, 50, 30, 8),
            ),
            ("DELETE FROM clips; DELETE FROM uploads; DELETE FROM trash", (0, 0, 0, 0)),
        ];
        for (step, expected) in steps {
            index
                .write(move |connection| Ok(connection.execute_batch(step)?))
                .await
                .unwrap();
            assert_eq!(sums(&index).await, expected, "{step}");
        }
        index
            .write(|connection| {
                Ok(connection.execute_batch(
                    "INSERT INTO clips (id, state, title, recipe, visitor, estimate, created_at, queued_at, outcome, file_name,
                         expires_at, finished_at)
                     VALUES ('b', 'ready', '', '', '', 0, 0, 0, '{\"size\":40}', '', 9, 5000000)",
                )?)
            })
            .await
            .unwrap();
        assert_eq!(sums(&index).await, (0, 0, 0, 0));
        index.recount().await.unwrap();
        assert_eq!(sums(&index).await, (40, 0, 0, 0));
    }
}
