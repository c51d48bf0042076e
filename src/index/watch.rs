//! Verdicts as they were told last, and the entries of the trail that are still to be posted as alerts. An alert is an entry of the
//! trail: written once, posted once, whoever wrote it.

use rusqlite::{Connection, OptionalExtension, params};

use super::events::{self, Entry, Kind, Written, written};
use super::{Index, IndexError};
use crate::timestamp::Timestamp;
use crate::verdict::Verdict;

/// A resource is judged otherwise than before.
#[derive(Clone, Debug)]
pub struct Change {
    pub resource: &'static str,
    pub verdict: Verdict,
    pub at: Timestamp,
    pub detail: String,
    /// What the entry in the trail holds.
    pub data: serde_json::Value,
}

/// How a resource was judged last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub resource: String,
    pub verdict: Verdict,
    pub since: Timestamp,
    pub detail: String,
}

/// An entry that is to be posted, and how often that was tried.
#[derive(Clone, Debug)]
pub struct Pending {
    pub entry: Written,
    pub attempts: u32,
}

/// What became of trying to post an entry.
#[derive(Clone, Debug)]
pub enum Posted {
    Sent {
        duration_ms: i64,
    },
    /// To be tried again at this moment.
    Again(Timestamp),
    /// Not to be tried again, and why.
    GivenUp(String),
}

/// What is done with entries that call for an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathering {
    /// They wait to be posted.
    Keep,
    /// Nobody wants them: they are passed over for good.
    Pass,
}

/// More than so many do not wait: the oldest are given up.
pub const MOST_PENDING: i64 = 256;
/// What is older than a day, in milliseconds, is no news.
pub const NEWS: i64 = 86_400_000;

impl Index {
    /// Keeps changed verdicts, each with its entry in the trail.
    ///
    /// # Errors
    /// When the index does not take them.
    pub async fn record_verdicts(&self, changes: Vec<Change>) -> Result<(), IndexError> {
        self.write(move |connection| {
            for change in &changes {
                connection.execute(
                    "INSERT INTO verdicts (resource, verdict, since, detail) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (resource) DO UPDATE SET verdict = ?2, since = ?3, detail = ?4",
                    params![change.resource, change.verdict.as_str(), change.at.0, change.detail],
                )?;
                let entry = Entry {
                    kind: Kind::HealthChanged,
                    subject: change.resource,
                    data: change.data.clone(),
                    duration_ms: None,
                    error: None,
                };
                events::append(connection, change.at, &entry)?;
            }
            Ok(())
        })
        .await
    }

    /// The verdicts as they were told last.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn verdicts(&self) -> Result<Vec<Judged>, IndexError> {
        self.read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT resource, verdict, since, detail FROM verdicts ORDER BY resource",
            )?;
            let rows = query.query_map([], |row| {
                Ok(Judged {
                    resource: row.get(0)?,
                    verdict: row.get::<_, String>(1)?.parse().unwrap_or_default(),
                    since: Timestamp(row.get(2)?),
                    detail: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Takes note of entries that call for an alert and were not looked at yet.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn gather_alerts(&self, now: Timestamp, how: Gathering) -> Result<(), IndexError> {
        // Most of the time there is nothing, which costs no commit.
        let new = self.read(|connection| {
            let (seen, last) = seen_and_last(connection)?;
            Ok(last > seen)
        });
        if !new.await? {
            return Ok(());
        }
        self.write(move |connection| {
            let (seen, last) = seen_and_last(connection)?;
            if how == Gathering::Keep {
                // What was posted from memory, because it could not be written then, is not posted again.
                connection.execute(
                    "INSERT OR IGNORE INTO alerts (seq, at, next_at)
                     SELECT seq, at, ?3 FROM events
                     WHERE kind IN (?1, ?2) AND seq > ?4 AND at > ?5 AND json_extract(data, '$.posted') IS NULL",
                    params![ALARMING[0].as_str(), ALARMING[1].as_str(), now.0, seen, now.0 - NEWS],
                )?;
                give_up_the_oldest(connection, now)?;
            }
            connection.execute("UPDATE alerts_seen SET seq = ?1", [last])?;
            Ok(())
        })
        .await
    }

    /// The alert that is due first; none when none is due yet.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn due_alert(&self, now: Timestamp) -> Result<Option<Pending>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT e.seq, e.at, e.kind, e.subject, e.data, e.duration_ms, e.error, a.attempts
                 FROM alerts a JOIN events e ON e.seq = a.seq WHERE a.next_at <= ?1 ORDER BY a.next_at, a.seq LIMIT 1",
            )?;
            let found = query.query_row([now.0], |row| {
                Ok(Pending {
                    entry: written(row)?,
                    attempts: row.get(7)?,
                })
            });
            Ok(found.optional()?)
        })
        .await
    }

    /// When the next alert is due, and how many wait.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn pending_alerts(&self) -> Result<(Option<Timestamp>, u32), IndexError> {
        self.read(|connection| {
            let mut query =
                connection.prepare_cached("SELECT min(next_at), count(*) FROM alerts")?;
            let found = query.query_row([], |row| {
                Ok((row.get::<_, Option<i64>>(0)?.map(Timestamp), row.get(1)?))
            })?;
            Ok(found)
        })
        .await
    }

    /// Keeps what became of an alert, with its entry in the trail when it is over.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn record_posted(
        &self,
        now: Timestamp,
        pending: Pending,
        posted: Posted,
    ) -> Result<(), IndexError> {
        self.write(move |connection| {
            let (seq, attempts) = (pending.entry.seq, pending.attempts + 1);
            let (kind, duration_ms, error) = match &posted {
                Posted::Again(at) => {
                    connection.execute(
                        "UPDATE alerts SET attempts = ?2, next_at = ?3 WHERE seq = ?1",
                        params![seq, attempts, at.0],
                    )?;
                    return Ok(());
                }
                Posted::Sent { duration_ms } => (Kind::AlertSent, Some(*duration_ms), None),
                Posted::GivenUp(why) => (Kind::AlertFailed, None, Some(why.as_str())),
            };
            connection.execute("DELETE FROM alerts WHERE seq = ?1", [seq])?;
            let entry = Entry {
                kind,
                subject: &pending.entry.subject,
                data: serde_json::json!({"event": seq, "attempts": attempts}),
                duration_ms,
                error,
            };
            events::append(connection, now, &entry).map(drop)
        })
        .await
    }
}

/// Kinds of entries that call for an alert.
const ALARMING: [Kind; 2] = [Kind::HealthChanged, Kind::BackupFailed];

fn seen_and_last(connection: &Connection) -> Result<(i64, i64), IndexError> {
    let mut query = connection.prepare_cached(
        "SELECT (SELECT seq FROM alerts_seen),
                max((SELECT coalesce(max(seq), 0) FROM events WHERE kind = ?1),
                    (SELECT coalesce(max(seq), 0) FROM events WHERE kind = ?2))",
    )?;
    let kinds = [ALARMING[0].as_str(), ALARMING[1].as_str()];
    Ok(query.query_row(kinds, |row| Ok((row.get(0)?, row.get(1)?)))?)
}

fn give_up_the_oldest(connection: &Connection, now: Timestamp) -> Result<(), IndexError> {
    let mut oldest = connection.prepare_cached(
        "DELETE FROM alerts WHERE seq NOT IN (SELECT seq FROM alerts ORDER BY seq DESC LIMIT ?1) RETURNING seq",
    )?;
    let gone: Vec<i64> = oldest
        .query_map([MOST_PENDING], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if let Some(last) = gone.last() {
        let entry = Entry {
            kind: Kind::AlertFailed,
            subject: "",
            data: serde_json::json!({"event": last, "alerts": gone.len()}),
            duration_ms: None,
            error: Some("too many alerts wait"),
        };
        events::append(connection, now, &entry)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::events::{From, Note, Page};

    fn index() -> (tempfile::TempDir, Index) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.db"), 1).unwrap();
        (dir, index)
    }

    fn change(at: i64, verdict: Verdict, data: serde_json::Value) -> Change {
        Change {
            resource: "disk",
            verdict,
            at: Timestamp(at),
            detail: "d".to_owned(),
            data,
        }
    }

    #[tokio::test]
    async fn a_change_waits_to_be_posted_once_and_until_it_is() {
        let (_dir, index) = index();
        let told = change(1000, Verdict::Critical, serde_json::json!({"was": "ok"}));
        index.record_verdicts(vec![told]).await.unwrap();
        let verdicts = index.verdicts().await.unwrap();
        assert_eq!(
            (verdicts[0].resource.as_str(), verdicts[0].verdict),
            ("disk", Verdict::Critical)
        );
        for _ in 0..3 {
            let gathered = index.gather_alerts(Timestamp(2000), Gathering::Keep);
            gathered.await.unwrap();
        }
        assert_eq!(index.pending_alerts().await.unwrap().1, 1);
        let due = index.due_alert(Timestamp(2000)).await.unwrap().unwrap();
        assert_eq!((due.entry.subject.as_str(), due.attempts), ("disk", 0));
        let again = Posted::Again(Timestamp(5000));
        index
            .record_posted(Timestamp(2001), due, again)
            .await
            .unwrap();
        assert!(index.due_alert(Timestamp(4999)).await.unwrap().is_none());
        let due = index.due_alert(Timestamp(5000)).await.unwrap().unwrap();
        assert_eq!(due.attempts, 1);
        let sent = Posted::Sent { duration_ms: 7 };
        index
            .record_posted(Timestamp(5001), due, sent)
            .await
            .unwrap();
        assert_eq!(index.pending_alerts().await.unwrap(), (None, 0));
        let gathered = index.gather_alerts(Timestamp(6000), Gathering::Keep);
        gathered.await.unwrap();
        assert_eq!(index.pending_alerts().await.unwrap(), (None, 0));
        let page = Page {
            from: From::Newest,
            kind: Some(Kind::AlertSent),
            subject: None,
            limit: 9,
        };
        let trail = index.trail(page).await.unwrap();
        assert_eq!(trail.len(), 1);
        assert_eq!(trail[0].data["attempts"], 2);
    }

    #[tokio::test]
    async fn what_nobody_wants_what_is_old_and_what_was_posted_already_does_not_wait() {
        let (_dir, index) = index();
        let plain = serde_json::json!({});
        index
            .record_verdicts(vec![change(1, Verdict::High, plain.clone())])
            .await
            .unwrap();
        let passed = index.gather_alerts(Timestamp(2), Gathering::Pass);
        passed.await.unwrap();
        index
            .record_verdicts(vec![
                change(3, Verdict::Ok, plain),
                change(NEWS + 9, Verdict::High, serde_json::json!({"posted": true})),
            ])
            .await
            .unwrap();
        let gathered = index.gather_alerts(Timestamp(NEWS + 10), Gathering::Keep);
        gathered.await.unwrap();
        assert_eq!(index.pending_alerts().await.unwrap(), (None, 0));
    }

    #[tokio::test]
    async fn only_so_many_wait_and_the_oldest_are_given_up() {
        let (_dir, index) = index();
        let failed = Note {
            kind: Kind::BackupFailed,
            subject: "backup".to_owned(),
            data: serde_json::json!({}),
            duration_ms: None,
            error: Some("disk_full".to_owned()),
        };
        for _ in 0..MOST_PENDING + 2 {
            index.note(Timestamp(5), failed.clone()).await.unwrap();
        }
        let gathered = index.gather_alerts(Timestamp(6), Gathering::Keep);
        gathered.await.unwrap();
        let (_, waiting) = index.pending_alerts().await.unwrap();
        assert_eq!(i64::from(waiting), MOST_PENDING);
        let first = index.due_alert(Timestamp(6)).await.unwrap().unwrap();
        assert_eq!(
            (first.entry.seq, first.entry.error.as_deref()),
            (3, Some("disk_full"))
        );
    }
}
