//! The index: the SQLite database, and the only place with SQL. One thread writes, in groups that share a commit; a few connections
//! read. Nothing outside sees a connection or a transaction.

pub mod clips;
pub mod costs;
pub mod events;
pub mod going;
pub mod keeping;
pub mod queue;
pub mod records;
pub mod sources;
pub mod tokens;
pub mod trash;
pub mod uploads;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations, SchemaVersion};
use tokio::sync::{Semaphore, oneshot};

/// Handle to the index; cheap to clone.
#[derive(Clone)]
pub struct Index {
    writer: mpsc::Sender<Message>,
    readers: Arc<Readers>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
    relief: Arc<OnceLock<Relief>>,
}

/// Makes room on the disk, or has it made.
type Relief = Box<dyn Fn() + Send + Sync>;

/// Why the index did not do it.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("the index could not be read or written")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the index cannot be brought to the schema of this version")]
    Migration(#[from] rusqlite_migration::Error),
    #[error(
        "the index was written by a newer version (schema {found}; this version knows {known}) and is left untouched"
    )]
    Newer { found: usize, known: usize },
    #[error("the index file {0} cannot be made")]
    File(std::path::PathBuf, #[source] std::io::Error),
    #[error("something stored in the index cannot be understood: {0}")]
    Corrupt(String),
    #[error("the disk is too full for the index: {0}")]
    Full(String),
    #[error("the index did not take it: {0}")]
    Uncommitted(String),
    #[error("the index is closed")]
    Closed,
}

impl IndexError {
    /// Whether the disk has no room for it.
    pub fn is_full(&self) -> bool {
        match self {
            IndexError::Full(_) => true,
            IndexError::Sqlite(error) => is_full(error),
            IndexError::Migration(_)
            | IndexError::Newer { .. }
            | IndexError::File(..)
            | IndexError::Corrupt(_)
            | IndexError::Uncommitted(_)
            | IndexError::Closed => false,
        }
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// What a write does inside the group's transaction, if there is one; the reply runs after the commit, with why it failed if it did.
type Op = Box<dyn FnOnce(Option<&Connection>) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Option<&Failed>)>;

/// Why a group is not in the index.
#[derive(Clone, Debug)]
struct Failed {
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

    fn error(&self) -> IndexError {
        if self.full {
            IndexError::Full(self.why.clone())
        } else {
            IndexError::Uncommitted(self.why.clone())
        }
    }
}

/// What the writer is told.
enum Message {
    Do(Op),
    /// Finish what was asked before, then end.
    Stop,
}

struct Readers {
    free: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

/// More operations than this wait for the next commit.
const GROUP: usize = 128;

const MIGRATIONS: &[M<'static>] = &[
    M::up(include_str!("index/schema/0001_clips.up.sql"))
        .down(include_str!("index/schema/0001_clips.down.sql")),
    M::up(include_str!("index/schema/0002_records.up.sql"))
        .down(include_str!("index/schema/0002_records.down.sql")),
    M::up(include_str!("index/schema/0003_costs.up.sql"))
        .down(include_str!("index/schema/0003_costs.down.sql")),
    M::up(include_str!("index/schema/0004_uploads.up.sql"))
        .down(include_str!("index/schema/0004_uploads.down.sql")),
    M::up(include_str!("index/schema/0005_sources.up.sql"))
        .down(include_str!("index/schema/0005_sources.down.sql")),
    M::up(include_str!("index/schema/0006_tokens.up.sql"))
        .down(include_str!("index/schema/0006_tokens.down.sql")),
    M::up(include_str!("index/schema/0007_keeping.up.sql"))
        .down(include_str!("index/schema/0007_keeping.down.sql")),
];

impl Index {
    /// Opens the database file, making or migrating it, and starts the writer.
    ///
    /// # Errors
    /// When it cannot be opened or was written by a newer version.
    pub fn open(path: &Path, readers: usize) -> Result<Index, IndexError> {
        create_private(path)?;
        let mut connection = connect(path, OpenFlags::default())?;
        migrate(&mut connection)?;
        if let Err(error) = keep_reserve(&connection) {
            tracing::warn!(error = %error, "the index has no reserve for a full disk");
        }
        let free = (0..readers.max(1))
            .map(|_| {
                connect(
                    path,
                    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (writer, inbox) = mpsc::channel();
        let relief = Arc::new(OnceLock::new());
        let disk = Disk {
            dir: path.parent().unwrap_or(Path::new(".")).to_owned(),
            relief: Arc::clone(&relief),
        };
        let thread = std::thread::Builder::new()
            .name("index-writer".to_owned())
            .spawn(move || write_in_groups(&connection, &inbox, &disk))
            .map_err(|error| IndexError::File(path.to_owned(), error))?;
        Ok(Index {
            writer,
            readers: Arc::new(Readers {
                permits: Semaphore::new(free.len()),
                free: Mutex::new(free),
            }),
            thread: Arc::new(Mutex::new(Some(thread))),
            relief,
        })
    }

    /// Who is called before a write when the disk has next to no room left. It is called on the writer's thread, and again as long as
    /// that is so.
    pub fn relieved_by(&self, relief: impl Fn() + Send + Sync + 'static) {
        // The first one stays: nothing asks twice.
        let _ = self.relief.set(Box::new(relief));
    }

    /// Runs `op` on the writer; answers once it is committed and synced. If `op` fails, nothing of it stays.
    ///
    /// # Errors
    /// The error of `op`, or of the commit.
    pub async fn write<T, F>(&self, op: F) -> Result<T, IndexError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, IndexError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let op: Op = Box::new(move |connection| {
            let result = connection.map(|connection| within_savepoint(connection, op));
            Box::new(move |failed: Option<&Failed>| {
                let result = match (result, failed) {
                    (Some(result), None) => result,
                    // Its own words, where it has any.
                    (Some(Err(error)), Some(_)) => Err(error),
                    (_, Some(failed)) => Err(failed.error()),
                    (None, None) => Err(IndexError::Closed),
                };
                // The caller may have gone; then nobody waits for the answer.
                let _ = answer.send(result);
            })
        });
        self.writer
            .send(Message::Do(op))
            .map_err(|_| IndexError::Closed)?;
        answered.await.map_err(|_| IndexError::Closed)?
    }

    /// Runs `query` on a reader, off the async threads.
    ///
    /// # Errors
    /// The error of `query`.
    pub async fn read<T, F>(&self, query: F) -> Result<T, IndexError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, IndexError> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        let _permit = self
            .readers
            .permits
            .acquire()
            .await
            .map_err(|_| IndexError::Closed)?;
        let task = tokio::task::spawn_blocking(move || {
            let connection = readers.lock().pop().ok_or(IndexError::Closed)?;
            let result = query(&connection);
            readers.lock().push(connection);
            result
        });
        task.await.map_err(|_| IndexError::Closed)?
    }

    /// Waits until all that was asked is written and ends the writer; later writes find the index closed.
    pub fn close(&self) {
        // It may have ended already.
        let _ = self.writer.send(Message::Stop);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Readers {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file holds what visitors asked for: nobody but the service may read it.
fn create_private(path: &Path) -> Result<(), IndexError> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    made.map(drop)
        .map_err(|error| IndexError::File(path.to_owned(), error))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, IndexError> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // 2 MB a connection.
    connection.pragma_update(None, "cache_size", -2000)?;
    if !flags.contains(OpenFlags::SQLITE_OPEN_READ_ONLY) {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
    }
    connection.set_prepared_statement_cache_capacity(64);
    // SQLite's own lower() knows only ASCII.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("folded", 1, flags, |context| {
        Ok(context.get::<String>(0)?.to_lowercase())
    })?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), IndexError> {
    let migrations = Migrations::from_slice(MIGRATIONS);
    if let SchemaVersion::Outside(found) = migrations.current_version(connection)? {
        return Err(IndexError::Newer {
            found: found.get(),
            known: MIGRATIONS.len(),
        });
    }
    migrations.to_latest(connection)?;
    Ok(())
}

/// The disk under the index.
struct Disk {
    dir: PathBuf,
    relief: Arc<OnceLock<Relief>>,
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
fn keep_reserve(connection: &Connection) -> Result<(), rusqlite::Error> {
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

fn write_in_groups(connection: &Connection, inbox: &mpsc::Receiver<Message>, disk: &Disk) {
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
            failed = connection
                .execute_batch("COMMIT")
                .err()
                .map(|error| Failed::of(&error));
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

fn within_savepoint<T>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_go_up_and_down() {
        let migrations = Migrations::from_slice(MIGRATIONS);
        migrations.validate().unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        migrations.to_latest(&mut connection).unwrap();
        migrations.to_version(&mut connection, 0).unwrap();
        let tables: i64 = connection
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(tables, 0);
    }

    #[test]
    fn a_newer_index_is_refused_and_left_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.db");
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(
            Index::open(&path, 1),
            Err(IndexError::Newer { found: 99, .. })
        ));
        let connection = Connection::open(&path).unwrap();
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 0);
        drop(connection);
        assert_eq!(before.len(), std::fs::read(&path).unwrap().len());
    }

    #[tokio::test]
    async fn a_failed_write_leaves_nothing_and_hurts_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.db"), 1).unwrap();
        let insert = |metric: &'static str| {
            move |connection: &Connection| -> Result<(), IndexError> {
                connection.execute("INSERT INTO samples VALUES (?1, 1, 1, 'B')", [metric])?;
                Ok(())
            }
        };
        let failing = index.write(move |connection| {
            insert("lost")(connection)?;
            Err::<(), _>(IndexError::Closed)
        });
        let (failed, kept) = tokio::join!(failing, index.write(insert("kept")));
        assert!(failed.is_err());
        kept.unwrap();
        let names: Vec<String> = index
            .read(|connection| {
                let mut statement = connection.prepare("SELECT metric FROM samples")?;
                let rows = statement.query_map([], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
            .unwrap();
        assert_eq!(names, ["kept"]);
    }

    /// A database that may not grow answers as a full disk does.
    #[tokio::test]
    async fn what_is_answered_on_a_full_disk_is_true_and_the_next_write_works() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.db"), 1).unwrap();
        let most = |pages: i64| {
            move |connection: &Connection| {
                let set = format!("PRAGMA max_page_count = {pages}");
                Ok(connection.query_row(&set, [], |row| row.get::<_, i64>(0))?)
            }
        };
        let pages = index.write(most(1)).await.unwrap();
        index.write(most(pages + 10)).await.unwrap();
        let insert = |number: usize| {
            index.write(move |connection| {
                let subject = "x".repeat(if number.is_multiple_of(3) {
                    60_000
                } else {
                    100
                });
                connection.execute(
                    "INSERT INTO events (at, kind, subject) VALUES (?1, 'test', ?2)",
                    rusqlite::params![number as i64, subject],
                )?;
                Ok(number as i64)
            })
        };
        let answers = futures_util::future::join_all((0..90).map(insert)).await;
        let told: Vec<i64> = answers.iter().flatten().copied().collect();
        assert!(!told.is_empty());
        let mut refused = answers.iter().filter_map(|answer| answer.as_ref().err());
        assert!(refused.any(IndexError::is_full), "{answers:?}");
        index.write(most(1_000_000)).await.unwrap();
        insert(100).await.unwrap();
        let there: Vec<i64> = index
            .read(|connection| {
                let mut query = connection.prepare("SELECT at FROM events ORDER BY at")?;
                let rows = query.query_map([], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
            .unwrap();
        assert_eq!(there, [told, vec![100]].concat());
    }

    #[tokio::test]
    async fn closing_ends_the_writer_whoever_else_holds_the_index() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.db"), 1).unwrap();
        let other = index.clone();
        index.write(|_| Ok(())).await.unwrap();
        index.close();
        assert!(matches!(
            other.write(|_| Ok(())).await,
            Err(IndexError::Closed)
        ));
        other.close();
    }

    #[tokio::test]
    async fn commits_are_durable_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.db");
        let index = Index::open(&path, 1).unwrap();
        let (journal, synchronous): (String, i64) = index
            .write(|connection| {
                let journal =
                    connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
                Ok((
                    journal,
                    connection.pragma_query_value(None, "synchronous", |row| row.get(0))?,
                ))
            })
            .await
            .unwrap();
        assert_eq!((journal.as_str(), synchronous), ("wal", 2));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
