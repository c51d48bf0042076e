//! The queue: submission, claiming, and every change of a clip's state with its event in one transaction.

use rusqlite::{Connection, OptionalExtension, params};

use super::clips::{BEHIND, COLUMNS, Place, clip_of, find, json, parse_id, place};
use super::events::{self, Entry, Kind};
use super::remake::{fall_back, viewed};
use super::trash;
use super::uploads::{self, Readiness};
use super::{Index, IndexError};
use crate::clip::worth::worth;
use crate::clip::{Clip, ClipId, Failure, Outcome, Sharing, State};
use crate::cost::Estimate;
use crate::recipe::{Recipe, Source};
use crate::timestamp::Timestamp;

/// A new clip on its way into the queue.
#[derive(Clone, Debug)]
pub struct Submission {
    pub id: ClipId,
    pub title: String,
    pub recipe: Recipe,
    pub visitor: String,
    /// How many clips the visitor may have waiting or running at once, this one included.
    pub at_once: Option<u32>,
    pub estimate: Estimate,
    /// The visitor's key for this request and the hash of its body.
    pub idempotency: Option<(String, String)>,
    /// The window that it shares with others.
    pub sharing: Option<Sharing>,
}

/// What became of a submission.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// It is queued, at this place counted from 1.
    New {
        clip: Clip,
        place: Place,
        seq: i64,
    },
    /// The same request was answered before, with this clip.
    Known(Clip),
    Barred(Barred),
}

/// Why nothing more is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// The key was used for another body.
    KeyReused,
    /// So many wait already.
    QueueFull(u64),
    /// The visitor has as many as may wait or run at once.
    TooManyAtOnce,
    /// The upload it is to be made from has bytes to come.
    UploadIncomplete,
    /// There is no such upload.
    UploadGone,
}

/// What became of a wish to make a clip again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It is queued; the number of the event.
    Queued(i64),
    /// The upload it was made from is gone.
    UploadGone,
    /// The visitor whose clip it is has as many as may wait or run at once.
    TooManyAtOnce,
    /// It is in a state in which this cannot be done, or gone.
    No,
}

/// Work in the queue and in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub queued: u64,
    pub running: u64,
    /// Bytes that all of it is expected to take.
    pub reserved: u64,
}

impl Index {
    /// Puts a clip into the queue together with its event, unless the key is known or the queue is full.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn submit(
        &self,
        now: Timestamp,
        submission: Submission,
        queue_limit: u32,
    ) -> Result<Submitted, IndexError> {
        self.write(move |connection| submit(connection, now, &submission, queue_limit))
            .await
    }

    /// Takes the next clip in hand: first the visitor with the least work running, then the one served longest ago, then by age.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn claim(&self, now: Timestamp) -> Result<Option<(Clip, i64)>, IndexError> {
        self.write(move |connection| {
            let mut claim = connection.prepare_cached(&format!(
                "UPDATE clips SET state = 'fetching', attempts = attempts + 1, started_at = ?1
                 WHERE id = (SELECT c.id FROM clips c WHERE c.state = 'queued' ORDER BY
                     (SELECT count(*) FROM clips r
                      WHERE r.visitor = c.visitor AND r.state IN ('fetching', 'cutting', 'storing')),
                     (SELECT coalesce(max(r.started_at), 0) FROM clips r WHERE r.visitor = c.visitor),
                     c.queued_at, c.id LIMIT 1)
                 RETURNING {COLUMNS}, ?1 - queued_at"
            ))?;
            let claimed = claim.query_row([now.0], |row| Ok((clip_of(row), row.get(BEHIND)?)));
            let Some((clip, waited)) = claimed.optional()? else {
                return Ok(None);
            };
            let clip = clip?;
            let entry = Entry {
                kind: Kind::Started,
                subject: &clip.id.to_string(),
                data: serde_json::json!({}),
                duration_ms: waited,
                error: None,
            };
            let seq = events::append(connection, now, &entry)?;
            Ok(Some((clip, seq)))
        })
        .await
    }

    /// Moves a running clip one state on; `None` when it is not in `from` any more.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn advance(
        &self,
        now: Timestamp,
        id: ClipId,
        from: State,
        to: State,
    ) -> Result<Option<i64>, IndexError> {
        debug_assert!(from.may_become(to), "{from:?} to {to:?}");
        let kind = if to == State::Cutting {
            Kind::Cutting
        } else {
            Kind::Storing
        };
        self.write(move |connection| {
            let mut update = connection
                .prepare_cached("UPDATE clips SET state = ?3 WHERE id = ?1 AND state = ?2")?;
            if update.execute(params![id.to_string(), from.as_str(), to.as_str()])? == 0 {
                return Ok(None);
            }
            events::about_clip(connection, now, kind, &id.to_string()).map(Some)
        })
        .await
    }

    /// Makes a clip ready: result, file and event in one transaction. `None` when it was cancelled or removed meanwhile. One that was
    /// there before is kept at least as long as it would have been.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn ready(
        &self,
        now: Timestamp,
        id: ClipId,
        outcome: Outcome,
        file_name: String,
        bytes: u64,
        expires_at: Timestamp,
    ) -> Result<Option<(Clip, i64)>, IndexError> {
        self.write(move |connection| {
            let mut update = connection.prepare_cached(&format!(
                "UPDATE clips SET state = 'ready', outcome = ?2, file_name = ?3, failure = NULL, finished_at = ?4,
                     expires_at = CASE WHEN before IS NULL THEN ?5 ELSE max(expires_at, ?5) END,
                     viewed_at = CASE WHEN before IS NULL THEN NULL ELSE viewed_at END,
                     bytes = ?6, worth = ?7, version = version + 1, before = NULL
                 WHERE id = ?1 AND state = 'storing' RETURNING {COLUMNS}, ?4 - started_at"
            ))?;
            let worth = worth(now, viewed(connection, &id.to_string())?, bytes);
            let row = params![id.to_string(), json(&outcome)?, file_name, now.0, expires_at.0, bytes, worth];
            let updated = update.query_row(row, |row| Ok((clip_of(row), row.get::<_, Option<i64>>(BEHIND)?))).optional()?;
            let Some((clip, took)) = updated else { return Ok(None) };
            // What the trash has of an earlier time is another film.
            trash::forget(connection, &id.to_string())?;
            let entry = Entry {
                kind: Kind::Ready,
                subject: &id.to_string(),
                data: serde_json::json!({"method": outcome.method.as_str(), "bytes": outcome.size, "frames": outcome.frames}),
                duration_ms: took,
                error: None,
            };
            let seq = events::append(connection, now, &entry)?;
            Ok(Some((clip?, seq)))
        })
        .await
    }

    /// Ends an unsettled clip as failed or cancelled; `None` when it is settled or gone. One that is made again is what it was before.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn settle(
        &self,
        now: Timestamp,
        id: ClipId,
        failure: Option<Failure>,
    ) -> Result<Option<i64>, IndexError> {
        self.write(move |connection| {
            let (state, kind) = match failure {
                Some(_) => (State::Failed, Kind::Failed),
                None => (State::Cancelled, Kind::Cancelled),
            };
            let Some((stage, took)) = in_hand(connection, now, &id.to_string())? else {
                return Ok(None);
            };
            let told = failure.as_ref().map(json).transpose()?;
            let mut data = serde_json::json!({"stage": stage});
            if fall_back(connection, id, told.as_deref())? {
                data["kept"] = true.into();
            } else {
                let mut update = connection.prepare_cached(
                    "UPDATE clips SET state = ?2, failure = ?3, finished_at = ?4 WHERE id = ?1",
                )?;
                update.execute(params![id.to_string(), state.as_str(), told, now.0])?;
            }
            let entry = Entry {
                kind,
                subject: &id.to_string(),
                data,
                duration_ms: took,
                error: failure.as_ref().map(|failure| failure.code.as_str()),
            };
            events::append(connection, now, &entry).map(Some)
        })
        .await
    }

    /// Whether a cancellation is the last that the trail tells of a clip.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn cancelled_last(&self, id: ClipId) -> Result<bool, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT kind FROM events WHERE subject = ?1 ORDER BY seq DESC LIMIT 1",
            )?;
            let last: Option<String> = query
                .query_row([id.to_string()], |row| row.get(0))
                .optional()?;
            Ok(last.is_some_and(|kind| kind == Kind::Cancelled.as_str()))
        })
        .await
    }

    /// Queues a clip again that has failed, was cancelled or has expired, as long as its visitor has fewer than `at_once` in hand.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn retry(
        &self,
        now: Timestamp,
        id: ClipId,
        at_once: Option<u32>,
    ) -> Result<Retried, IndexError> {
        self.write(move |connection| {
            let mut settled = connection.prepare_cached(
                "SELECT upload, visitor FROM clips WHERE id = ?1 AND state IN ('failed', 'cancelled', 'expired')",
            )?;
            let settled: Option<(Option<String>, String)> = settled
                .query_row([id.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((upload, visitor)) = settled else {
                return Ok(Retried::No);
            };
            if has_enough(connection, &visitor, at_once, 1)? {
                return Ok(Retried::TooManyAtOnce);
            }
            if let Some(upload) = upload {
                match uploads::take(connection, now, &upload)? {
                    Readiness::Complete => {}
                    Readiness::Incomplete | Readiness::Gone => return Ok(Retried::UploadGone),
                }
            }
            let mut update = connection.prepare_cached(
                "UPDATE clips SET state = 'queued', failure = NULL, outcome = NULL, file_name = NULL, finished_at = NULL,
                     expires_at = NULL, attempts = 0, queued_at = ?2
                 WHERE id = ?1 AND state IN ('failed', 'cancelled', 'expired')",
            )?;
            if update.execute(params![id.to_string(), now.0])? == 0 {
                return Ok(Retried::No);
            }
            events::about_clip(connection, now, Kind::Requeued, &id.to_string()).map(Retried::Queued)
        })
        .await
    }

    /// Gives a running clip back to the queue without counting the attempt: the service is stopping, not the clip failing.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn give_back(&self, now: Timestamp, id: ClipId) -> Result<Option<i64>, IndexError> {
        self.write(move |connection| {
            let mut update = connection.prepare_cached(
                "UPDATE clips SET state = 'queued', attempts = attempts - 1
                 WHERE id = ?1 AND state IN ('fetching', 'cutting', 'storing')",
            )?;
            if update.execute([id.to_string()])? == 0 {
                return Ok(None);
            }
            events::about_clip(connection, now, Kind::Requeued, &id.to_string()).map(Some)
        })
        .await
    }

    /// After a start: clips that were running are queued again once; those interrupted a second time fail. Returns how many of each.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn recover(
        &self,
        now: Timestamp,
        failure: Failure,
    ) -> Result<(usize, usize), IndexError> {
        self.write(move |connection| {
            let mut running = connection
                .prepare_cached("SELECT id, attempts FROM clips WHERE state IN ('fetching', 'cutting', 'storing')")?;
            let rows = running.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)))?;
            let rows: Vec<(String, u32)> = rows.collect::<Result<_, _>>()?;
            let mut count = (0, 0);
            for (id, attempts) in rows {
                if attempts < 2 {
                    connection.execute("UPDATE clips SET state = 'queued' WHERE id = ?1", [&id])?;
                    events::about_clip(connection, now, Kind::Requeued, &id)?;
                    count.0 += 1;
                } else if let Some((stage, took)) = in_hand(connection, now, &id)? {
                    let told = json(&failure)?;
                    if !fall_back(connection, parse_id(&id)?, Some(&told))? {
                        connection.execute(
                            "UPDATE clips SET state = 'failed', failure = ?2, finished_at = ?3 WHERE id = ?1",
                            params![id, told, now.0],
                        )?;
                    }
                    let entry = Entry {
                        kind: Kind::Failed,
                        subject: &id,
                        data: serde_json::json!({"stage": stage}),
                        duration_ms: took,
                        error: Some(&failure.code),
                    };
                    events::append(connection, now, &entry)?;
                    count.1 += 1;
                }
            }
            Ok(count)
        })
        .await
    }

    /// Whether a visitor's key brings back an answer that was given before.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn answered(&self, visitor: String, key: String) -> Result<bool, IndexError> {
        self.read(move |connection| {
            let mut query = connection
                .prepare_cached("SELECT 1 FROM idempotency WHERE visitor = ?1 AND key = ?2")?;
            Ok(query.exists([visitor, key])?)
        })
        .await
    }

    /// When the clip that waits longest came into the queue.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn waiting_since(&self) -> Result<Option<Timestamp>, IndexError> {
        self.read(|connection| {
            let mut query = connection
                .prepare_cached("SELECT min(queued_at) FROM clips WHERE state = 'queued'")?;
            Ok(query
                .query_row([], |row| row.get::<_, Option<i64>>(0))?
                .map(Timestamp))
        })
        .await
    }

    /// What waits and runs.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn load(&self) -> Result<Load, IndexError> {
        self.read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT (SELECT count(*) FROM clips WHERE state = 'queued'),
                        (SELECT count(*) FROM clips WHERE state IN ('fetching', 'cutting', 'storing')),
                        (SELECT coalesce(sum(estimate), 0) FROM clips WHERE state IN ('queued', 'fetching', 'cutting', 'storing'))",
            )?;
            let load = query.query_row([], |row| {
                Ok(Load {
                    queued: row.get(0)?,
                    running: row.get(1)?,
                    reserved: row.get(2)?,
                })
            })?;
            Ok(load)
        })
        .await
    }
}

/// The state of an unsettled clip, and the milliseconds since it was claimed if it runs.
fn in_hand(
    connection: &Connection,
    now: Timestamp,
    id: &str,
) -> Result<Option<(String, Option<i64>)>, IndexError> {
    let mut query = connection.prepare_cached(
        "SELECT state, CASE WHEN state <> 'queued' THEN ?2 - started_at END FROM clips
         WHERE id = ?1 AND state IN ('queued', 'fetching', 'cutting', 'storing')",
    )?;
    let found = query.query_row(params![id, now.0], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?)
}

fn submit(
    connection: &Connection,
    now: Timestamp,
    submission: &Submission,
    queue_limit: u32,
) -> Result<Submitted, IndexError> {
    if let Some((key, body)) = &submission.idempotency {
        match answered(connection, &submission.visitor, key, body)? {
            Answered::No => {}
            Answered::Otherwise => return Ok(Submitted::Barred(Barred::KeyReused)),
            Answered::With(id) => {
                if let Some(clip) = find(connection, id)? {
                    return Ok(Submitted::Known(clip));
                }
            }
        }
    }
    if let Some(barred) = barred(connection, now, submission, 1, queue_limit)? {
        return Ok(Submitted::Barred(barred));
    }
    let (clip, seq) = insert(connection, now, submission)?;
    Ok(Submitted::New {
        clip,
        place: place(connection, submission.id)?,
        seq,
    })
}

/// What a key brings back.
pub(super) enum Answered {
    No,
    /// The key was used for another body.
    Otherwise,
    With(ClipId),
}

pub(super) fn answered(
    connection: &Connection,
    visitor: &str,
    key: &str,
    body: &str,
) -> Result<Answered, IndexError> {
    let mut known = connection.prepare_cached(
        "SELECT body_hash, clip_id FROM idempotency WHERE visitor = ?1 AND key = ?2",
    )?;
    let known: Option<(String, String)> = known
        .query_row([visitor, key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(match known {
        None => Answered::No,
        Some((known, _)) if known != body => Answered::Otherwise,
        Some((_, id)) => Answered::With(parse_id(&id)?),
    })
}

/// What keeps a visitor from `more` clips of one source, if anything; the upload they are made from is used from now on.
pub(super) fn barred(
    connection: &Connection,
    now: Timestamp,
    submission: &Submission,
    more: u32,
    queue_limit: u32,
) -> Result<Option<Barred>, IndexError> {
    if has_enough(connection, &submission.visitor, submission.at_once, more)? {
        return Ok(Some(Barred::TooManyAtOnce));
    }
    let waiting = waiting(connection)?;
    if waiting + u64::from(more) > u64::from(queue_limit) {
        return Ok(Some(Barred::QueueFull(waiting)));
    }
    match upload_of(&submission.recipe) {
        // In this transaction, so that no upload expires between being looked at and being needed.
        Some(upload) => Ok(match uploads::take(connection, now, &upload)? {
            Readiness::Complete => None,
            Readiness::Incomplete => Some(Barred::UploadIncomplete),
            Readiness::Gone => Some(Barred::UploadGone),
        }),
        None => Ok(None),
    }
}

/// How many clips wait.
pub(super) fn waiting(connection: &Connection) -> Result<u64, IndexError> {
    let mut waiting =
        connection.prepare_cached("SELECT count(*) FROM clips WHERE state = 'queued'")?;
    Ok(waiting.query_row([], |row| row.get(0))?)
}

fn upload_of(recipe: &Recipe) -> Option<String> {
    match &recipe.source {
        Source::Upload(id) => Some(id.to_string()),
        Source::Url(_) | Source::File(_) => None,
    }
}

/// Puts a clip into the queue, with its event.
pub(super) fn insert(
    connection: &Connection,
    now: Timestamp,
    submission: &Submission,
) -> Result<(Clip, i64), IndexError> {
    let id = submission.id.to_string();
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO clips (id, state, title, recipe, visitor, estimate, estimate_seconds, created_at, queued_at, upload, sharing)
         VALUES (?1, 'queued', ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9) RETURNING {COLUMNS}"
    ))?;
    let row = params![
        id,
        submission.title,
        json(&submission.recipe)?,
        submission.visitor,
        i64::try_from(submission.estimate.bytes).unwrap_or(i64::MAX),
        submission.estimate.seconds,
        now.0,
        upload_of(&submission.recipe),
        submission.sharing.as_ref().map(json).transpose()?
    ];
    let clip = insert.query_row(row, |row| Ok(clip_of(row)))??;
    insert_segments(connection, &id, &submission.recipe)?;
    if let Some((key, body)) = &submission.idempotency {
        let mut insert = connection.prepare_cached(
            "INSERT OR REPLACE INTO idempotency (visitor, key, body_hash, clip_id, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        insert.execute(params![submission.visitor, key, body, id, now.0])?;
    }
    let seq = events::about_clip(connection, now, Kind::Submitted, &id)?;
    Ok((clip, seq))
}

/// Whether a visitor would have more clips waiting or running than they may.
pub(super) fn has_enough(
    connection: &Connection,
    visitor: &str,
    at_once: Option<u32>,
    more: u32,
) -> Result<bool, IndexError> {
    let Some(most) = at_once else {
        return Ok(false);
    };
    // The plus keeps SQLite from going through all the clips that the visitor ever made; of those in hand there are few.
    let mut query = connection.prepare_cached(
        "SELECT count(*) FROM clips WHERE +visitor = ?1 AND state IN ('queued', 'fetching', 'cutting', 'storing')",
    )?;
    let in_hand: u32 = query.query_row([visitor], |row| row.get(0))?;
    Ok(in_hand.saturating_add(more) > most)
}

/// Notes a clip's segments inside the caller's transaction.
pub(super) fn insert_segments(
    connection: &Connection,
    id: &str,
    recipe: &Recipe,
) -> Result<(), IndexError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO segments (clip_id, place, start_us, end_us) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (place, segment) in recipe.segments.iter().enumerate() {
        insert.execute(params![
            id,
            place as i64,
            segment.start.micros(),
            segment.end.micros()
        ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::listing::Filter;
    use crate::recipe::Limits;
    use crate::seconds::Seconds;

    fn index() -> (tempfile::TempDir, Index) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.db"), 2).unwrap();
        (dir, index)
    }

    fn id(number: u16) -> ClipId {
        format!("0192f0c1-2345-7abc-8def-00000000{number:04x}")
            .parse()
            .unwrap()
    }

    fn submission(number: u16, visitor: &str) -> Submission {
        let limits = Limits {
            max_clip: Seconds::from_whole(180),
            max_segments: 20,
            presets: None,
        };
        let body = br#"{"url":"https://example.com/v.mp4","start_time":1,"end_time":2}"#;
        Submission {
            id: id(number),
            title: format!("clip {number}"),
            recipe: Recipe::from_json(body, &limits).unwrap(),
            visitor: visitor.to_owned(),
            at_once: None,
            estimate: Estimate {
                seconds: 2.0,
                bytes: 1000,
            },
            idempotency: None,
            sharing: None,
        }
    }

    async fn submitted(index: &Index, number: u16, visitor: &str) {
        let outcome = index
            .submit(
                Timestamp(i64::from(number)),
                submission(number, visitor),
                100,
            )
            .await
            .unwrap();
        assert!(matches!(outcome, Submitted::New { .. }), "{outcome:?}");
    }

    async fn claimed(index: &Index, now: i64) -> Option<ClipId> {
        index
            .claim(Timestamp(now))
            .await
            .unwrap()
            .map(|(clip, _)| clip.id)
    }

    #[tokio::test]
    async fn a_visitor_with_many_clips_does_not_hold_up_the_others() {
        let (_dir, index) = index();
        for number in 1..=3 {
            submitted(&index, number, "busy").await;
        }
        submitted(&index, 4, "other").await;
        submitted(&index, 5, "third").await;
        let mut order = Vec::new();
        for now in 10..15 {
            order.push(claimed(&index, now).await.unwrap());
        }
        assert_eq!(order, [id(1), id(4), id(5), id(2), id(3)]);
        assert_eq!(claimed(&index, 20).await, None);
    }

    #[tokio::test]
    async fn a_clip_is_claimed_once_however_many_workers_ask() {
        let (_dir, index) = index();
        for number in 1..=20 {
            submitted(&index, number, "v").await;
        }
        let claims: Vec<_> = (0..40)
            .map(|now| {
                let index = index.clone();
                tokio::spawn(async move { claimed(&index, now).await })
            })
            .collect();
        let mut got = Vec::new();
        for claim in claims {
            got.extend(claim.await.unwrap());
        }
        got.sort_unstable();
        got.dedup();
        assert_eq!(got.len(), 20);
    }

    #[tokio::test]
    async fn the_same_key_brings_back_the_same_clip_and_another_body_is_told_apart() {
        let (_dir, index) = index();
        let keyed = |number, visitor: &str, body: &str| Submission {
            idempotency: Some(("key".to_owned(), body.to_owned())),
            ..submission(number, visitor)
        };
        let first = index
            .submit(Timestamp(1), keyed(1, "a", "body"), 100)
            .await
            .unwrap();
        assert!(matches!(
            first,
            Submitted::New {
                place: Place {
                    position: 1,
                    seconds: 2.0
                },
                ..
            }
        ));
        let second = index
            .submit(Timestamp(2), keyed(2, "a", "body"), 100)
            .await
            .unwrap();
        assert!(matches!(second, Submitted::Known(clip) if clip.id == id(1)));
        let third = index
            .submit(Timestamp(3), keyed(3, "a", "other"), 100)
            .await
            .unwrap();
        assert!(matches!(third, Submitted::Barred(Barred::KeyReused)));
        let stranger = index
            .submit(Timestamp(4), keyed(4, "b", "body"), 100)
            .await
            .unwrap();
        assert!(matches!(stranger, Submitted::New { .. }));
    }

    #[tokio::test]
    async fn a_full_queue_takes_no_more() {
        let (_dir, index) = index();
        submitted(&index, 1, "a").await;
        let full = index
            .submit(Timestamp(2), submission(2, "a"), 1)
            .await
            .unwrap();
        assert!(matches!(full, Submitted::Barred(Barred::QueueFull(1))));
    }

    #[tokio::test]
    async fn interrupted_clips_are_queued_again_once_and_then_fail() {
        let (_dir, index) = index();
        let failure = Failure {
            code: "interrupted".into(),
            detail: "d".into(),
            hint: "h".into(),
        };
        submitted(&index, 1, "a").await;
        claimed(&index, 2).await.unwrap();
        assert_eq!(
            index.recover(Timestamp(3), failure.clone()).await.unwrap(),
            (1, 0)
        );
        claimed(&index, 4).await.unwrap();
        assert_eq!(index.recover(Timestamp(5), failure).await.unwrap(), (0, 1));
        let (clip, _) = index.clip(id(1)).await.unwrap().unwrap();
        assert_eq!(
            (clip.state, clip.failure.unwrap().code.as_str()),
            (State::Failed, "interrupted")
        );
    }

    #[tokio::test]
    async fn a_clip_given_back_at_shutdown_keeps_its_attempts() {
        let (_dir, index) = index();
        submitted(&index, 1, "a").await;
        claimed(&index, 2).await.unwrap();
        index.give_back(Timestamp(3), id(1)).await.unwrap().unwrap();
        let (clip, place) = index.clip(id(1)).await.unwrap().unwrap();
        let position = place.map(|place| place.position);
        assert_eq!(
            (clip.state, clip.attempts, position),
            (State::Queued, 0, Some(1))
        );
    }

    #[tokio::test]
    async fn a_cancelled_clip_never_becomes_ready() {
        let (_dir, index) = index();
        submitted(&index, 1, "a").await;
        claimed(&index, 2).await.unwrap();
        index
            .advance(Timestamp(3), id(1), State::Fetching, State::Cutting)
            .await
            .unwrap()
            .unwrap();
        index
            .settle(Timestamp(4), id(1), None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            index
                .advance(Timestamp(5), id(1), State::Cutting, State::Storing)
                .await
                .unwrap(),
            None
        );
        assert_eq!(index.settle(Timestamp(6), id(1), None).await.unwrap(), None);
    }

    #[tokio::test]
    async fn lists_go_on_where_the_last_page_ended() {
        let (_dir, index) = index();
        for number in 1..=5 {
            submitted(&index, number, "a").await;
        }
        let page = |before| Filter {
            limit: 2,
            before,
            ..Filter::default()
        };
        let ids = |clips: Vec<(Clip, Option<Place>)>| {
            clips
                .into_iter()
                .map(|(clip, _)| clip.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(index.clips(page(None)).await.unwrap()), [id(5), id(4)]);
        assert_eq!(
            ids(index.clips(page(Some(id(4)))).await.unwrap()),
            [id(3), id(2)]
        );
        let named = Filter {
            limit: 9,
            text: Some("CLIP 3".into()),
            ..Filter::default()
        };
        assert_eq!(ids(index.clips(named).await.unwrap()), [id(3)]);
        let ready = Filter {
            limit: 9,
            state: Some(State::Ready),
            ..Filter::default()
        };
        assert!(index.clips(ready).await.unwrap().is_empty());
    }
}
