//! The index: the SQLite database, and the only place with SQL. One thread writes, in groups that share a commit; a few connections
//! read. Nothing outside sees a connection or a transaction.

pub mod clips;
pub mod costs;
pub mod events;
pub mod mend;
pub mod queue;
pub mod rebuild;
pub mod records;
pub mod sources;
pub mod still;
pub mod tokens;
pub mod uploads;

use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    #[error("the index file {0} cannot be made")]
    File(std::path::PathBuf, #[source] std::io::Error),
    #[error("something stored in the index cannot be understood: {0}")]
    Corrupt(String),
    #[error("the index is closed")]
    Closed,
}

impl IndexError {
    /// Whether there was no room on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            IndexError::Sqlite(error) => {
                error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            IndexError::File(_, error) => error.kind() == std::io::ErrorKind::StorageFull,
            IndexError::Migration(_)
            | IndexError::Newer { .. }
            | IndexError::Corrupt(_)
            | IndexError::Closed => false,
        }
    }
}

/// What a write does inside the group's transaction; the reply runs after the commit, with its error if it failed.
type Op = Box<dyn FnOnce(&Connection) -> Reply + Send>;
type Reply = Box<dyn FnOnce(Option<String>)>;

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
        let free = (0..readers.max(1))
            .map(|_| {
                connect(
                    path,
                    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (writer, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("index-writer".to_owned())
            .spawn(move || write_in_groups(&connection, &inbox))
            .map_err(|error| IndexError::File(path.to_owned(), error))?;
        Ok(Index {
            writer,
            readers: Arc::new(Readers {
                permits: Semaphore::new(free.len()),
                free: Mutex::new(free),
            }),
            thread: Arc::new(Mutex::new(Some(thread))),
        })
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
            let result = within_savepoint(connection, op);
            Box::new(move |failed_commit| {
                let result = match failed_commit {
                    // The caller may have gone; then nobody waits for the answer.
                    Some(error) => Err(IndexError::Corrupt(error)),
                    None => result,
                };
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
    define(&connection)?;
    Ok(connection)
}

/// Defines what statements and triggers of ours use.
fn define(connection: &Connection) -> Result<(), IndexError> {
    // SQLite's own lower() knows only ASCII.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("folded", 1, flags, |context| {
        Ok(context.get::<String>(0)?.to_lowercase())
    })?;
    Ok(())
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

fn write_in_groups(connection: &Connection, inbox: &mpsc::Receiver<Message>) {
    let mut stopping = false;
    while let (false, Ok(Message::Do(first))) = (stopping, inbox.recv()) {
        let begun = connection
            .execute_batch("BEGIN IMMEDIATE")
            .err()
            .map(|error| error.to_string());
        let mut replies = vec![first(connection)];
        while replies.len() < GROUP {
            match inbox.try_recv() {
                Ok(Message::Do(op)) => replies.push(op(connection)),
                Ok(Message::Stop) => {
                    stopping = true;
                    break;
                }
                Err(_) => break,
            }
        }
        let failed = begun.or_else(|| {
            connection.execute_batch("COMMIT").err().map(|error| {
                tracing::error!(error = %error, "the index could not commit");
                if !connection.is_autocommit() {
                    let _ = connection.execute_batch("ROLLBACK");
                }
                error.to_string()
            })
        });
        for reply in replies {
            reply(failed.clone());
        }
    }
}

fn within_savepoint<T>(
    connection: &Connection,
    op: impl FnOnce(&Connection) -> Result<T, IndexError>,
) -> Result<T, IndexError> {
    connection.execute_batch("SAVEPOINT op")?;
    let result = op(connection);
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
