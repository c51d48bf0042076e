//! The writer of the index: one thread that writes in groups which share a commit, tells what it committed, and keeps what a full disk takes.

use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};
use tokio::sync::watch as channel;

use super::{IndexError, is_full};

/// Makes room on the disk, or has it made.
pub(super) type Relief = Box<dyn Fn() + Send + Sync>;

/// What a write does inside the group's transaction, if there is one; the reply runs after the commit, with why it failed if it did.
pub(super) type Op = Box<dyn FnOnce(Option<&Connection>) -> Reply + Send>;
pub(super) type Reply = Box<dyn FnOnce(Option<&Failed>)>;

/// Why a group is not in the index.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    full: bool,
    why: String,
}

impl Failed {
    fn of(error: &rusqlite::Error) -> Failed {
        Failed {
            full: is_full(error),
            why: error.to_string(),
        }
    }

    pub(super) fn error(&self) -> IndexError {
        if self.full {
            IndexError::Full(self.why.clone())
        } else {
            IndexError::Uncommitted(self.why.clone())
        }
    }
}

/// What the writer is told.
pub(super) enum Message {
    Do(Op),
    /// Finish what was asked before, then end.
    Stop,
}

/// More operations than this wait for the next commit.
const GROUP: usize = 128;

/// What commits took since somebody asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Commits {
    pub count: u32,
    pub total: Duration,
    pub longest: Duration,
}

/// Whom the writer tells what.
pub(super) struct Telling {
    pub(super) news: channel::Sender<i64>,
    pub(super) commits: Arc<Mutex<Commits>>,
}

impl Telling {
    fn committed(&self, connection: &Connection, took: Duration) {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        commits.count += 1;
        commits.total += took;
        commits.longest = commits.longest.max(took);
        drop(commits);
        metrics::histogram!("meme_maker_index_commit_seconds").record(took.as_secs_f64());
        // Who could not be told now hears of it with the next commit.
        if let Ok(last) = last_entry(connection) {
            self.news.send_if_modified(|told| {
                let newer = last > *told;
                *told = last.max(*told);
                newer
            });
        }
    }
}

/// The highest number that an entry of the trail ever had.
pub(super) fn last_entry(connection: &Connection) -> Result<i64, rusqlite::Error> {
    let mut query =
        connection.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'events'")?;
    let last = query.query_row([], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or(0))
}

/// The disk under the index.
pub(super) struct Disk {
    pub(super) dir: PathBuf,
    pub(super) relief: Arc<OnceLock<Relief>>,
}

impl Disk {
    /// With less than this the log of the database may not be able to grow by what one group writes.
    const TIGHT: u64 = 4 << 20;
    /// Groups between two looks at the reserve.
    const EVERY: u64 = 64;

    /// Has room made while there is still enough to say so: a full disk refuses even what would free it.
    fn look(&self) {
        if let Some(relief) = self.relief.get()
            && self.is_tight()
        {
            relief();
        }
    }

    fn is_tight(&self) -> bool {
        let free =
            rustix::fs::statvfs(&self.dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        free.is_ok_and(|free| free < Disk::TIGHT)
    }
}

/// Tells once a minute that nothing can be written, however often it is tried, and once that it can be again.
#[derive(Default)]
struct Complaint {
    since: Option<Instant>,
    last: Option<Instant>,
    failures: u64,
}

impl Complaint {
    const EVERY: Duration = Duration::from_secs(60);

    fn note(&mut self, failed: Option<&Failed>) {
        let now = Instant::now();
        match failed {
            Some(failed) => {
                self.since.get_or_insert(now);
                self.failures += 1;
                if self.last.is_none_or(|last| now - last >= Self::EVERY) {
                    self.last = Some(now);
                    tracing::error!(
                        error = failed.why,
                        failures = self.failures,
                        "the index could not commit"
                    );
                }
            }
            None => {
                if let Some(since) = self.since.take() {
                    let ms = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(ms, failures = self.failures, "the index commits again");
                    *self = Complaint::default();
                }
            }
        }
    }
}

/// Free pages inside the file, and a log as long, so that on a full disk what frees room can be written: both files are overwritten in
/// place then. Made again when the pages are used up.
pub(super) fn keep_reserve(connection: &Connection) -> Result<(), rusqlite::Error> {
    const BYTES: u32 = 1 << 19;
    const LEAST: i64 = 64;
    let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    if free >= LEAST {
        return Ok(());
    }
    connection.execute("INSERT INTO reserve (bytes) VALUES (zeroblob(?1))", [BYTES])?;
    connection.execute("DELETE FROM reserve", [])?;
    checkpoint(connection)
}

/// Brings the log into the file as far as readers let it, so that the next write begins at the log's start.
fn checkpoint(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Writes until it is told to stop, or nobody is left who could.
pub(super) fn write_in_groups(
    connection: &Connection,
    inbox: &mpsc::Receiver<Message>,
    disk: &Disk,
    told: &Telling,
) {
    let mut stopping = false;
    let mut complaint = Complaint::default();
    let mut groups = 0_u64;
    while let (false, Ok(Message::Do(first))) = (stopping, inbox.recv()) {
        disk.look();
        let mut failed = connection
            .execute_batch("BEGIN IMMEDIATE")
            .err()
            .map(|error| Failed::of(&error));
        let mut replies = Vec::new();
        let mut next = Some(first);
        while let Some(op) = next.take() {
            // Without a transaction around it an operation would be in the index although its caller is told that it failed.
            replies.push(op(failed.is_none().then_some(connection)));
            if failed.is_none() && connection.is_autocommit() {
                // An error such as a full disk has rolled all of it back.
                failed = Some(Failed {
                    full: disk.is_tight(),
                    why: "the transaction was rolled back".to_owned(),
                });
            }
            if failed.is_none() && replies.len() < GROUP {
                match inbox.try_recv() {
                    Ok(Message::Do(op)) => next = Some(op),
                    Ok(Message::Stop) => stopping = true,
                    Err(_) => {}
                }
            }
        }
        if failed.is_none() {
            let committing = Instant::now();
            match connection.execute_batch("COMMIT") {
                Ok(()) => told.committed(connection, committing.elapsed()),
                Err(error) => failed = Some(Failed::of(&error)),
            }
        }
        if !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        complaint.note(failed.as_ref());
        if failed.as_ref().is_some_and(|failed| failed.full) {
            // Whoever tries again finds the log at its start. On a disk so full that not even this can be done it stays as it is.
            let _ = checkpoint(connection);
        }
        let idle = replies.len() < GROUP && failed.is_none();
        for reply in replies {
            reply(failed.as_ref());
        }
        groups += 1;
        if idle && groups.is_multiple_of(Disk::EVERY) && !disk.is_tight() {
            // What cannot be kept in reserve now is tried again later; the group before is safe.
            let _ = keep_reserve(connection);
        }
    }
}

pub(super) fn within_savepoint<T>(
    connection: &Connection,
    op: impl FnOnce(&Connection) -> Result<T, IndexError>,
) -> Result<T, IndexError> {
    connection.execute_batch("SAVEPOINT op")?;
    let result = op(connection);
    if connection.is_autocommit() {
        // Everything was rolled back already, the savepoint with it.
        return result;
    }
    if result.is_err() {
        connection.execute_batch("ROLLBACK TO op")?;
    }
    connection.execute_batch("RELEASE op")?;
    result
}
