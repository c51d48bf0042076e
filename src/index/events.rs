//! The trail: what happened, in order, with numbers that never repeat.

use rusqlite::{Connection, params};

use super::{Index, IndexError};
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
    Removed,
    KeeperRan,
    EgressRefused,
    TokenCreated,
    BackupMade,
    BackupFailed,
    IndexRebuilt,
    IndexRestored,
}

impl Kind {
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
            Kind::Removed => "clip.removed",
            Kind::KeeperRan => "keeper.ran",
            Kind::EgressRefused => "egress.refused",
            Kind::TokenCreated => "token.created",
            Kind::BackupMade => "backup.made",
            Kind::BackupFailed => "backup.failed",
            Kind::IndexRebuilt => "index.rebuilt",
            Kind::IndexRestored => "index.restored",
        }
    }
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

impl Index {
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
    ) -> Result<i64, IndexError> {
        self.write(move |connection| {
            let entry = Entry {
                kind: Kind::KeeperRan,
                subject: task,
                data,
                duration_ms: Some(duration_ms),
                error: None,
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
                subject: "",
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
