//! The trail: what happened, in order, with numbers that never repeat.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::{Index, IndexError};
use crate::clip::ClipId;
use crate::timestamp::Timestamp;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Submitted,
    Started,
    Cutting,
    Storing,
    Ready,
    Failed,
    Cancelled,
    Requeued,
    Expired,
    Evicted,
    Changed,
    Restored,
    Removed,
    KeeperRan,
    EgressRefused,
    TokenCreated,
    TokenRevoked,
    BackupMade,
    BackupFailed,
    HealthChanged,
    AlertSent,
    AlertFailed,
    ServiceStarted,
    ServiceStopped,
    IndexRebuilt,
    IndexRestored,
}

impl Kind {
    /// All of them.
    pub const ALL: &[Kind] = &[
        Kind::Submitted,
        Kind::Started,
        Kind::Cutting,
        Kind::Storing,
        Kind::Ready,
        Kind::Failed,
        Kind::Cancelled,
        Kind::Requeued,
        Kind::Expired,
        Kind::Evicted,
        Kind::Changed,
        Kind::Restored,
        Kind::Removed,
        Kind::KeeperRan,
        Kind::EgressRefused,
        Kind::TokenCreated,
        Kind::TokenRevoked,
        Kind::BackupMade,
        Kind::BackupFailed,
        Kind::IndexRebuilt,
        Kind::IndexRestored,
        Kind::HealthChanged,
        Kind::AlertSent,
        Kind::AlertFailed,
        Kind::ServiceStarted,
        Kind::ServiceStopped,
    ];

    /// The word in the trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Submitted => "clip.submitted",
            Kind::Started => "clip.started",
            Kind::Cutting => "clip.cutting",
            Kind::Storing => "clip.storing",
            Kind::Ready => "clip.ready",
            Kind::Failed => "clip.failed",
            Kind::Cancelled => "clip.cancelled",
            Kind::Requeued => "clip.requeued",
            Kind::Expired => "clip.expired",
            Kind::Evicted => "clip.evicted",
            Kind::Changed => "clip.changed",
            Kind::Restored => "clip.restored",
            Kind::Removed => "clip.removed",
            Kind::KeeperRan => "keeper.ran",
            Kind::EgressRefused => "egress.refused",
            Kind::TokenCreated => "token.created",
            Kind::TokenRevoked => "token.revoked",
            Kind::BackupMade => "backup.made",
            Kind::BackupFailed => "backup.failed",
            Kind::HealthChanged => "health.changed",
            Kind::AlertSent => "alert.sent",
            Kind::AlertFailed => "alert.failed",
            Kind::ServiceStarted => "service.started",
            Kind::ServiceStopped => "service.stopped",
            Kind::IndexRebuilt => "index.rebuilt",
            Kind::IndexRestored => "index.restored",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = ();

    fn from_str(word: &str) -> Result<Kind, ()> {
        Kind::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == word)
            .ok_or(())
    }
}

/// Something to be noted that goes with no other change.
#[derive(Clone, Debug)]
pub struct Note {
    pub kind: Kind,
    pub subject: String,
    pub data: serde_json::Value,
    pub duration_ms: Option<i64>,
    pub error: Option<String>,
}

/// An entry as it was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Written {
    /// Never used twice.
    pub seq: i64,
    pub at: Timestamp,
    /// In the word of the trail: an older version may have known others.
    pub kind: String,
    /// What it is about: a clip, a token, a task, a resource.
    pub subject: String,
    pub data: serde_json::Value,
    pub duration_ms: Option<i64>,
    pub error: Option<String>,
}

/// Where a page of the trail begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the newest, going back.
    Newest,
    /// With the entry before this one, going back.
    Before(i64),
    /// With the entry after this one, going on.
    After(i64),
}

/// Which entries are wanted.
#[derive(Clone, Debug)]
pub struct Page {
    pub from: From,
    pub kind: Option<Kind>,
    pub subject: Option<String>,
    pub limit: u32,
}

/// One entry to be written.
#[derive(Debug)]
pub struct Entry<'a> {
    pub kind: Kind,
    pub subject: &'a str,
    pub data: serde_json::Value,
    pub duration_ms: Option<i64>,
    pub error: Option<&'a str>,
}

/// Somebody was kept from going somewhere, once or several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The clip it was for; empty when there was none yet.
    pub subject: String,
    pub code: &'static str,
    /// Never with path or query.
    pub host: String,
    pub port: u16,
    pub count: u32,
}

/// Appends an entry inside the caller's transaction and returns its number.
pub(super) fn append(
    connection: &Connection,
    now: Timestamp,
    entry: &Entry<'_>,
) -> Result<i64, IndexError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO events (at, kind, subject, data, duration_ms, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    insert.execute(params![
        now.0,
        entry.kind.as_str(),
        entry.subject,
        entry.data.to_string(),
        entry.duration_ms,
        entry.error
    ])?;
    Ok(connection.last_insert_rowid())
}

/// Appends an entry about a clip.
pub(super) fn about_clip(
    connection: &Connection,
    now: Timestamp,
    kind: Kind,
    subject: &str,
) -> Result<i64, IndexError> {
    let entry = Entry {
        kind,
        subject,
        data: serde_json::json!({}),
        duration_ms: None,
        error: None,
    };
    append(connection, now, &entry)
}

/// Whether the last that a trail tells of a clip is that it was removed.
pub(super) fn was_removed(
    connection: &Connection,
    schema: &'static str,
    id: ClipId,
) -> Result<bool, IndexError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT kind FROM {schema}.events WHERE subject = ?1 AND kind <> ?2 ORDER BY seq DESC LIMIT 1"
    ))?;
    let subject = id.to_string();
    let kind: Option<String> = query
        .query_row([subject.as_str(), Kind::EgressRefused.as_str()], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(kind.is_some_and(|kind| kind == Kind::Removed.as_str()))
}

/// An entry from the columns seq, at, kind, subject, data, duration_ms and error.
pub(super) fn written(row: &Row<'_>) -> rusqlite::Result<Written> {
    let data: String = row.get(4)?;
    Ok(Written {
        seq: row.get(0)?,
        at: Timestamp(row.get(1)?),
        kind: row.get(2)?,
        subject: row.get(3)?,
        data: serde_json::from_str(&data).unwrap_or_default(),
        duration_ms: row.get(5)?,
        error: row.get(6)?,
    })
}

impl Index {
    /// Notes something in the trail; returns its number.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn note(&self, now: Timestamp, note: Note) -> Result<i64, IndexError> {
        self.write(move |connection| {
            let entry = Entry {
                kind: note.kind,
                subject: &note.subject,
                data: note.data,
                duration_ms: note.duration_ms,
                error: note.error.as_deref(),
            };
            append(connection, now, &entry)
        })
        .await
    }

    /// A page of the trail, in its direction.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn trail(&self, page: Page) -> Result<Vec<Written>, IndexError> {
        self.read(move |connection| {
            let (bound, place, order) = match page.from {
                From::Newest => ("seq <= ?1", i64::MAX, "DESC"),
                From::Before(seq) => ("seq < ?1", seq, "DESC"),
                From::After(seq) => ("seq > ?1", seq, "ASC"),
            };
            // Words of ours alone; what was asked for goes in as values. The empty word stands for all, so that the numbers stay.
            let kind = if page.kind.is_some() {
                "kind = ?2"
            } else {
                "?2 = ''"
            };
            let subject = if page.subject.is_some() {
                "subject = ?3"
            } else {
                "?3 = ''"
            };
            let mut query = connection.prepare_cached(&format!(
                "SELECT seq, at, kind, subject, data, duration_ms, error FROM events
                 WHERE {bound} AND {kind} AND {subject} ORDER BY seq {order} LIMIT ?4"
            ))?;
            let kind = page.kind.map(Kind::as_str).unwrap_or_default();
            let subject = page.subject.as_deref().unwrap_or_default();
            let rows = query.query_map(params![place, kind, subject, page.limit], written)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Entries about clips' own lives after one, in order: the number and the clip.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn clips_after(
        &self,
        seq: i64,
        limit: u32,
    ) -> Result<Vec<(i64, String)>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT seq, subject FROM events WHERE seq > ?1 AND +kind >= 'clip.' AND +kind < 'clip/' ORDER BY seq LIMIT ?2",
            )?;
            let rows = query.query_map(params![seq, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The highest number that an entry ever had, whoever wrote it.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn last_seq(&self) -> Result<i64, IndexError> {
        self.read(|connection| Ok(super::last_entry(connection)?))
            .await
    }

    /// Records one run of the keeper.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn record_keeper_run(
        &self,
        now: Timestamp,
        task: &'static str,
        data: serde_json::Value,
        duration_ms: i64,
        error: Option<String>,
    ) -> Result<i64, IndexError> {
        self.write(move |connection| {
            let entry = Entry {
                kind: Kind::KeeperRan,
                subject: task,
                data,
                duration_ms: Some(duration_ms),
                error: error.as_deref(),
            };
            append(connection, now, &entry)
        })
        .await
    }

    /// Records a backup, or why there is none.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn record_backup(
        &self,
        now: Timestamp,
        data: serde_json::Value,
        duration_ms: i64,
        error: Option<String>,
    ) -> Result<i64, IndexError> {
        self.write(move |connection| {
            let entry = Entry {
                kind: match error {
                    None => Kind::BackupMade,
                    Some(_) => Kind::BackupFailed,
                },
                subject: "backup",
                data,
                duration_ms: Some(duration_ms),
                error: error.as_deref(),
            };
            append(connection, now, &entry)
        })
        .await
    }

    /// Records what the gate refused.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn record_refusals(
        &self,
        now: Timestamp,
        refusals: Vec<Refusal>,
    ) -> Result<(), IndexError> {
        self.write(move |connection| {
            for refusal in &refusals {
                let entry = Entry {
                    kind: Kind::EgressRefused,
                    subject: &refusal.subject,
                    data: serde_json::json!({
                        "code": refusal.code, "host": refusal.host, "port": refusal.port, "count": refusal.count,
                    }),
                    duration_ms: None,
                    error: None,
                };
                append(connection, now, &entry)?;
            }
            Ok(())
        })
        .await
    }

    /// The number of the last entry about a clip's own life.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn last_event(&self, subject: String) -> Result<i64, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT coalesce(max(seq), 0) FROM events WHERE subject = ?1 AND kind <> ?2",
            )?;
            let aside = Kind::EgressRefused.as_str();
            Ok(query.query_row([subject.as_str(), aside], |row| row.get(0))?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::going::Records;

    fn note(kind: Kind, subject: &str) -> Note {
        Note {
            kind,
            subject: subject.to_owned(),
            data: serde_json::json!({}),
            duration_ms: None,
            error: None,
        }
    }

    #[tokio::test]
    async fn numbers_never_repeat_not_even_when_everything_was_forgotten_and_the_index_opened_again()
     {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.db");
        let index = Index::open(&path, 1).unwrap();
        let mut last = 0;
        for _ in 0..3 {
            last = index
                .note(Timestamp(1), note(Kind::ServiceStarted, "service"))
                .await
                .unwrap();
        }
        let gone = index.forget_records(Records::Events, Timestamp(1000), 10);
        assert_eq!(gone.await.unwrap(), 3);
        index.close();
        let index = Index::open(&path, 1).unwrap();
        assert_eq!(index.last_seq().await.unwrap(), last);
        assert_eq!(*index.news().borrow(), last);
        let next = index
            .note(Timestamp(2), note(Kind::ServiceStarted, "service"))
            .await
            .unwrap();
        assert_eq!(next, last + 1);
    }

    #[tokio::test]
    async fn pages_go_both_ways_and_are_chosen_by_kind_and_subject() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.db"), 1).unwrap();
        let mut news = index.news();
        for (kind, subject) in [
            (Kind::Submitted, "a"),
            (Kind::Submitted, "b"),
            (Kind::Ready, "a"),
            (Kind::KeeperRan, "sweep"),
        ] {
            index.note(Timestamp(1), note(kind, subject)).await.unwrap();
        }
        assert_eq!(*news.borrow_and_update(), 4);
        let seqs = |from, kind, subject: Option<&str>, limit| {
            let page = Page {
                from,
                kind,
                subject: subject.map(str::to_owned),
                limit,
            };
            let index = index.clone();
            async move {
                let trail = index.trail(page).await.unwrap();
                trail.iter().map(|entry| entry.seq).collect::<Vec<_>>()
            }
        };
        assert_eq!(seqs(From::Newest, None, None, 2).await, [4, 3]);
        assert_eq!(seqs(From::Before(3), None, None, 9).await, [2, 1]);
        assert_eq!(seqs(From::After(1), None, None, 2).await, [2, 3]);
        assert_eq!(
            seqs(From::Newest, Some(Kind::Submitted), None, 9).await,
            [2, 1]
        );
        assert_eq!(seqs(From::Newest, None, Some("a"), 9).await, [3, 1]);
        let one = seqs(From::After(0), Some(Kind::Ready), Some("a"), 9);
        assert_eq!(one.await, [3]);
        let clips = index.clips_after(1, 9).await.unwrap();
        assert_eq!(clips, [(2, "b".to_owned()), (3, "a".to_owned())]);
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
    }
}
