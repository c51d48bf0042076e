//! The index: the SQLite database, and the only place with SQL. One thread writes, in groups that share a commit; a few connections
//! read. Nothing outside sees a connection or a transaction.

pub mod batch;
pub mod clips;
pub mod costs;
pub mod events;
pub mod going;
pub mod keeping;
pub mod listing;
pub mod mend;
pub mod queue;
pub mod rebuild;
pub mod records;
pub mod remake;
pub mod schema;
pub mod sources;
pub mod still;
pub mod tokens;
pub mod trash;
pub mod uploads;
pub mod watch;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations, SchemaVersion};
use tokio::sync::{Semaphore, oneshot, watch as channel};

pub use writer::Commits;
use writer::{
    Disk, Failed, Message, Op, Relief, Telling, keep_reserve, last_entry, within_savepoint,
    write_in_groups,
};

/// Handle to the index; cheap to clone.
#[derive(Clone)]
pub struct Index {
    writer: mpsc::Sender<Message>,
    readers: Arc<Readers>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
    path: PathBuf,
    /// The number of the trail's last entry that is committed.
    news: channel::Receiver<i64>,
    commits: Arc<Mutex<Commits>>,
    relief: Arc<OnceLock<Relief>>,
}

/// Bytes of the database's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub file: u64,
    /// What is written and not yet taken over.
    pub wal: u64,
}

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
    #[error("this version knows schemas 1 to {known} and no schema {wanted}")]
    NoSuchSchema { wanted: usize, known: usize },
    #[error("somebody has the index open")]
    InUse,
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
            | IndexError::NoSuchSchema { .. }
            | IndexError::InUse
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

struct Readers {
    free: Mutex<Vec<Connection>>,
    /// As many as there are connections; each goes with one.
    permits: Arc<Semaphore>,
    /// When a query was answered last.
    answered: Mutex<Instant>,
}

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
    M::up(include_str!("index/schema/0008_watch.up.sql"))
        .down(include_str!("index/schema/0008_watch.down.sql")),
    M::up(include_str!("index/schema/0009_search.up.sql"))
        .down(include_str!("index/schema/0009_search.down.sql")),
    M::up(include_str!("index/schema/0010_remake.up.sql"))
        .down(include_str!("index/schema/0010_remake.down.sql")),
];

impl Index {
    /// Opens the database file, making or migrating it, and starts the writer.
    ///
    /// # Errors
    /// When it cannot be opened or was written by a newer version.
    pub fn open(path: &Path, readers: usize) -> Result<Index, IndexError> {
        create_private(path)?;
        let mut connection = connect(path, OpenFlags::default())?;
        migrate(&mut connection, path)?;
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
        let commits = Arc::new(Mutex::new(Commits::default()));
        let (tell, news) = channel::channel(last_entry(&connection)?);
        let told = Telling {
            news: tell,
            commits: Arc::clone(&commits),
        };
        let relief = Arc::new(OnceLock::new());
        let disk = Disk {
            dir: path.parent().unwrap_or(Path::new(".")).to_owned(),
            relief: Arc::clone(&relief),
        };
        let thread = std::thread::Builder::new()
            .name("index-writer".to_owned())
            .spawn(move || write_in_groups(&connection, &inbox, &disk, &told))
            .map_err(|error| IndexError::File(path.to_owned(), error))?;
        Ok(Index {
            writer,
            readers: Arc::new(Readers {
                permits: Arc::new(Semaphore::new(free.len())),
                free: Mutex::new(free),
                answered: Mutex::new(Instant::now()),
            }),
            thread: Arc::new(Mutex::new(Some(thread))),
            path: path.to_owned(),
            news,
            commits,
            relief,
        })
    }

    /// Who is called before a write when the disk has next to no room left. It is called on the writer's thread, and again as long as
    /// that is so.
    pub fn relieved_by(&self, relief: impl Fn() + Send + Sync + 'static) {
        // The first one stays: nothing asks twice.
        let _ = self.relief.set(Box::new(relief));
    }

    /// Hears of every commit that made the trail longer, whoever wrote it in this process: the number of its last entry.
    pub fn news(&self) -> channel::Receiver<i64> {
        self.news.clone()
    }

    /// What commits took since this was asked before.
    pub fn commits(&self) -> Commits {
        std::mem::take(&mut self.commits.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How large the files are; nothing where they cannot be seen.
    pub fn size(&self) -> Size {
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        Size {
            file: bytes(&self.path),
            wal: bytes(Path::new(&wal)),
        }
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
        let permit = Arc::clone(&self.readers.permits)
            .acquire_owned()
            .await
            .map_err(|_| IndexError::Closed)?;
        let task = tokio::task::spawn_blocking(move || {
            let connection = readers.lock().pop().ok_or(IndexError::Closed)?;
            let result = query(&connection);
            readers.lock().push(connection);
            *readers
                .answered
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Instant::now();
            // Here and not in the caller, who may have gone: the connection is back before its permit is.
            drop(permit);
            result
        });
        task.await.map_err(|_| IndexError::Closed)?
    }

    /// How long ago a query was answered, whoever asked.
    pub fn since_read(&self) -> Duration {
        let answered = &self.readers.answered;
        answered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
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
    teach(&connection)?;
    Ok(connection)
}

/// Teaches a connection the functions that schema and queries use. SQLite's own lower() knows only ASCII.
///
/// # Errors
/// When it does not learn them.
pub fn teach(connection: &Connection) -> Result<(), rusqlite::Error> {
    // Innocuous: triggers may call it.
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("folded", 1, flags, |context| {
        Ok(context.get::<String>(0)?.to_lowercase())
    })
}

/// Brings the index to this version's schema, a copy being kept first.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), IndexError> {
    let found = Migrations::from_slice(MIGRATIONS).current_version(connection)?;
    if let SchemaVersion::Inside(found) = found
        && found.get() < MIGRATIONS.len()
    {
        schema::keep_copy(connection, path, MIGRATIONS.len());
    }
    latest(connection)
}

/// Brings a database to this version's schema.
fn latest(connection: &mut Connection) -> Result<(), IndexError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_go_up_and_down() {
        let migrations = Migrations::from_slice(MIGRATIONS);
        let mut connection = Connection::open_in_memory().unwrap();
        teach(&connection).unwrap();
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

    #[tokio::test]
    async fn what_could_not_be_written_is_told_and_is_not_written_after_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.db");
        let index = Index::open(&path, 1).unwrap();
        index
            .write(|connection| Ok(connection.busy_timeout(Duration::from_millis(10))?))
            .await
            .unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let written = index.write(|connection| {
            connection.execute("INSERT INTO samples VALUES ('lost', 1, 1, 'B')", [])?;
            Ok(())
        });
        assert!(matches!(written.await, Err(IndexError::Uncommitted(_))));
        drop(other);
        let count = index.read(|connection| {
            Ok(
                connection.query_row("SELECT count(*) FROM samples", [], |row| {
                    row.get::<_, i64>(0)
                })?,
            )
        });
        assert_eq!(count.await.unwrap(), 0);
        index.write(|_| Ok(())).await.unwrap();
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
    async fn a_read_that_nobody_waits_for_any_more_hurts_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.db"), 1).unwrap();
        for _ in 0..20 {
            let (begun, begins) = mpsc::channel();
            let (go, waits) = mpsc::channel::<()>();
            let slow = index.read(move |_| {
                let _ = begun.send(());
                let _ = waits.recv();
                Ok(())
            });
            let mut slow = Box::pin(slow);
            assert!(futures_util::poll!(&mut slow).is_pending());
            begins.recv().unwrap();
            // Its caller goes while the query has the connection.
            drop(slow);
            assert_eq!(index.readers.permits.available_permits(), 0);
            drop(go);
            index.read(|_| Ok(())).await.unwrap();
        }
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
