//! An index as it lies on the disk, read without the service: copied at one moment, checked, and gone through clip by clip. It writes
//! nothing but copies.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::clips::{COLUMNS, SERVED, clip_of, find};
use super::{IndexError, MIGRATIONS, connect, create_private, latest};
use crate::clip::{Clip, ClipId};
use crate::upload::UploadId;

/// More faults than this are not told one by one.
const MOST_FAULTS: usize = 20;
/// So many are copied before it is asked whether to go on: some megabytes.
const PAGES: std::ffi::c_int = 1024;

/// The newest schema that this version knows.
pub const fn known_schema() -> usize {
    MIGRATIONS.len()
}

/// Copies an index as it is at this moment into a new file of its own, which needs no other beside it. Writers go on meanwhile: all pages
/// are copied in one read transaction, so nothing makes it begin anew. Ends early, with a piece of it, once `stopped` says so.
///
/// # Errors
/// When the index cannot be read or the copy not be written; then a piece of it may be there.
pub fn copy(from: &Path, to: &Path, stopped: &dyn Fn() -> bool) -> Result<(), IndexError> {
    let source = connect(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // The transaction is opened by the first that is read, and held to the end.
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    create_private(to)?;
    {
        let mut target = Connection::open(to)?;
        // Whoever asked syncs it; until then nobody needs it.
        target.pragma_update(None, "journal_mode", "OFF")?;
        target.pragma_update(None, "synchronous", "OFF")?;
        let backup = Backup::new(&source, &mut target)?;
        loop {
            match backup.step(PAGES)? {
                StepResult::Done => break,
                StepResult::More if stopped() => return Ok(()),
                StepResult::More => {}
                _ => return Err(IndexError::Corrupt("it could not be copied".to_owned())),
            }
        }
    }
    // The copy says of itself that it has a log beside it.
    let target = Connection::open(to)?;
    target.pragma_update(None, "synchronous", "OFF")?;
    target.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(())
}

/// Brings a copy to this version's schema.
///
/// # Errors
/// When it cannot be, or is newer; then it is untouched.
pub fn bring_up(path: &Path) -> Result<(), IndexError> {
    let mut connection = Connection::open(path)?;
    super::teach(&connection)?;
    latest(&mut connection)
}

/// Writes what an index has in its log into its file, so that the file alone is all of it. False when somebody reads it meanwhile.
///
/// # Errors
/// When it is no index, or cannot be written.
pub fn fold(path: &Path) -> Result<bool, IndexError> {
    let connection = Connection::open(path)?;
    let busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(busy == 0)
}

/// An index that is only read.
pub struct Still {
    connection: Connection,
}

impl Still {
    /// Opens an index for reading.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Still, IndexError> {
        Ok(Still {
            connection: connect(
                path,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?,
        })
    }

    /// The number of its schema.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn schema(&self) -> Result<usize, IndexError> {
        let version: i64 = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(usize::try_from(version).unwrap_or(usize::MAX))
    }

    /// What is wrong with its pages; nothing, when it is whole.
    ///
    /// # Errors
    /// When it cannot be read at all.
    pub fn faults(&self) -> Result<Vec<String>, IndexError> {
        let mut query = self
            .connection
            .prepare(&format!("PRAGMA quick_check({MOST_FAULTS})"))?;
        let rows = query.query_map([], |row| row.get::<_, String>(0))?;
        let faults = rows.collect::<Result<Vec<_>, _>>()?;
        Ok(faults.into_iter().filter(|fault| fault != "ok").collect())
    }

    /// How many rows of each table belong to a row that is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn strangers(&self) -> Result<Vec<(String, u64)>, IndexError> {
        let mut query = self
            .connection
            .prepare("SELECT \"table\", count(*) FROM pragma_foreign_key_check GROUP BY 1")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Sums that are not those of their rows, each with what is kept and what is true.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn wrong_tallies(&self) -> Result<Vec<(&'static str, i64, i64)>, IndexError> {
        // One statement, so that all are of one moment.
        let query = format!(
            "SELECT clips, (SELECT coalesce(sum(bytes), 0) FROM clips WHERE {SERVED}),
                    pinned, (SELECT coalesce(sum(bytes), 0) FROM clips WHERE {SERVED} AND pinned = 1),
                    uploads, (SELECT coalesce(sum(received), 0) FROM uploads),
                    trash, (SELECT coalesce(sum(bytes), 0) FROM trash) FROM tallies"
        );
        let pairs = self.connection.query_row(&query, [], |row| {
            Ok([
                ("clips", row.get(0)?, row.get(1)?),
                ("pinned", row.get(2)?, row.get(3)?),
                ("uploads", row.get(4)?, row.get(5)?),
                ("trash", row.get(6)?, row.get(7)?),
            ])
        })?;
        Ok(pairs
            .into_iter()
            .filter(|(_, kept, summed): &(_, i64, i64)| kept != summed)
            .collect())
    }

    /// How many clips are ready.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ready(&self) -> Result<u64, IndexError> {
        let count = format!("SELECT count(*) FROM clips WHERE {SERVED}");
        Ok(self.connection.query_row(&count, [], |row| row.get(0))?)
    }

    /// Goes through all clips by id, as they are at one moment, until `each` says stop.
    ///
    /// # Errors
    /// When one cannot be read, or what `each` fails with.
    pub fn each_clip<E: From<IndexError>>(
        &self,
        mut each: impl FnMut(Clip) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut query = self
            .connection
            .prepare(&format!("SELECT {COLUMNS} FROM clips ORDER BY id"))
            .map_err(IndexError::from)?;
        let mut rows = query.query([]).map_err(IndexError::from)?;
        while let Some(row) = rows.next().map_err(IndexError::from)? {
            each(clip_of(row)?)?;
        }
        Ok(())
    }

    /// A clip as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn clip(&self, id: ClipId) -> Result<Option<Clip>, IndexError> {
        find(&self.connection, id)
    }

    /// Uploads and how many bytes of each are recorded.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn uploads(&self) -> Result<Vec<(UploadId, u64)>, IndexError> {
        let mut query = self
            .connection
            .prepare_cached("SELECT id, received FROM uploads ORDER BY id")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
        rows.map(|row| {
            let (id, received) = row?;
            let id = id
                .parse()
                .map_err(|_| IndexError::Corrupt("upload id".to_owned()))?;
            Ok((id, received))
        })
        .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::index::Index;

    /// An index of the first schema with one clip.
    pub(crate) fn write_older(path: &Path) {
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(include_str!("schema/0001_clips.up.sql"))
            .unwrap();
        let recipe = r#"{"url":"https://example.com/v.mp4","segments":[{"start":1,"end":2}],"mode":"exact","format":"mp4"}"#;
        connection
            .execute(
                "INSERT INTO clips (id, state, title, recipe, visitor, estimate, created_at, queued_at)
                 VALUES ('0192f0c1-2345-7abc-8def-0123456789ab', 'failed', 'x', ?1, 'v', 1, 1, 1)",
                [recipe],
            )
            .unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
    }

    #[tokio::test]
    async fn a_copy_is_of_one_moment_and_stands_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, to) = (dir.path().join("index.db"), dir.path().join("copy"));
        let index = Index::open(&path, 1).unwrap();
        let sample = |metric: &'static str| {
            index.write(move |connection| {
                connection.execute("INSERT INTO samples VALUES (?1, 1, 1, 'B')", [metric])?;
                Ok(())
            })
        };
        sample("before").await.unwrap();
        copy(&path, &to, &|| false).unwrap();
        sample("after").await.unwrap();
        let names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("copy"))
            .collect();
        assert_eq!(names, ["copy"]);
        let still = Still::open(&to).unwrap();
        assert!(still.faults().unwrap().is_empty());
        assert_eq!(still.schema().unwrap(), known_schema());
        let count: i64 = still
            .connection
            .query_row("SELECT count(*) FROM samples", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 1);
    }
}
