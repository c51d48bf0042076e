//! Keeping in the index: what may be changed about a clip, when it was used, and the sums of bytes that nobody has to scan for.

use rusqlite::{Connection, OptionalExtension, params};

use super::clips::{COLUMNS, SERVED, clip_of, find};
use super::events::{self, Entry, Kind};
use super::{Index, IndexError};
use crate::clip::change::Change;
use crate::clip::worth::worth;
use crate::clip::{Clip, ClipId, State};
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
    Done(Box<Clip>, i64),
    /// In this state only the title can be changed.
    State(State),
    /// So many bytes are pinned already.
    PinsFull(u64),
    Unknown,
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

pub(super) fn changed(
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
    if of_ready && !clip.is_served() {
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
    Ok(Changed::Done(Box::new(clip), seq))
}

/// Counts the sums anew, and what ready clips are worth that have none yet: for rows that came past the triggers.
pub(super) fn recount(connection: &Connection) -> Result<(), IndexError> {
    connection.execute_batch(&format!(
        "UPDATE clips SET bytes = coalesce(json_extract(outcome, '$.size'), 0) WHERE {SERVED} AND bytes = 0;
         UPDATE clips SET worth = coalesce(finished_at, created_at) WHERE {SERVED} AND worth = 0;
         UPDATE tallies SET
             clips = (SELECT coalesce(sum(bytes), 0) FROM clips WHERE {SERVED}),
             pinned = (SELECT coalesce(sum(bytes), 0) FROM clips WHERE {SERVED} AND pinned = 1),
             uploads = (SELECT coalesce(sum(received), 0) FROM uploads),
             trash = (SELECT coalesce(sum(bytes), 0) FROM trash);"
    ))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> (tempfile::TempDir, Index) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.db"), 2).unwrap();
        (dir, index)
    }

    /// Clips, pinned, uploads, trash.
    type Sums = (u64, u64, u64, u64);

    async fn sums(index: &Index) -> Sums {
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
        let steps: [(&str, Sums); 13] = [
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
            // Made again: the old file is there until the new one is.
            ("UPDATE clips SET state = 'queued', before = '{}'", (50, 50, 0, 0)),
            ("UPDATE clips SET state = 'storing', bytes = 60", (60, 60, 0, 0)),
            ("UPDATE clips SET state = 'ready', before = NULL, bytes = 50", (50, 50, 0, 0)),
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
        index.write(recount).await.unwrap();
        assert_eq!(sums(&index).await, (40, 0, 0, 0));
    }
}
