//! Putting single rows right, while no service runs on the index.

use std::path::Path;

use rusqlite::{Connection, params};

use super::clips::{find, json};
use super::events::{self, Entry, Kind};
use super::keeping::recount;
use super::rebuild;
use super::remake::fall_back;
use super::sources::forget_source;
use super::{IndexError, connect, migrate};
use crate::clip::{Clip, ClipId};
use crate::timestamp::Timestamp;
use crate::upload::UploadId;

/// The index in the hands of whoever repairs it.
pub struct Mender {
    connection: Connection,
}

impl Mender {
    /// Opens an index to be mended, and brings it to this version's schema.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Mender, IndexError> {
        let mut connection = connect(path, rusqlite::OpenFlags::default())?;
        migrate(&mut connection, path)?;
        Ok(Mender { connection })
    }

    /// A clip as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn clip(&self, id: ClipId) -> Result<Option<Clip>, IndexError> {
        find(&self.connection, id)
    }

    /// Several changes for one sync.
    ///
    /// # Errors
    /// Those of the work, or when it cannot be committed.
    pub fn together<T, E: From<IndexError>>(
        &self,
        work: impl FnOnce(&Mender) -> Result<T, E>,
    ) -> Result<T, E> {
        let run = |batch| {
            self.connection
                .execute_batch(batch)
                .map_err(IndexError::from)
        };
        run("BEGIN IMMEDIATE")?;
        let done = work(self);
        run(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        done
    }

    /// Expires a ready clip whose file is lost; its recipe stays, so that it can be made again.
    ///
    /// # Errors
    /// When the index does not take it.
    pub fn expire(&self, now: Timestamp, id: ClipId) -> Result<bool, IndexError> {
        if !self.mark_expired(id)? {
            return Ok(false);
        }
        let entry = Entry {
            kind: Kind::Expired,
            subject: &id.to_string(),
            data: serde_json::json!({"reason": "file lost"}),
            duration_ms: None,
            error: None,
        };
        events::append(&self.connection, now, &entry)?;
        Ok(true)
    }

    /// The same without an entry in the trail, for many that one entry tells of.
    ///
    /// # Errors
    /// When the index does not take it.
    pub fn mark_expired(&self, id: ClipId) -> Result<bool, IndexError> {
        // Of one that is made again nobody knows what became of it.
        fall_back(&self.connection, id, None)?;
        let changed = self
            .connection
            .prepare_cached("UPDATE clips SET state = 'expired', failure = NULL WHERE id = ?1 AND state = 'ready'")?
            .execute([id.to_string()])?;
        Ok(changed == 1)
    }

    /// Notes that a clip has no picture.
    ///
    /// # Errors
    /// When the index does not take it.
    pub fn without_poster(&self, id: ClipId) -> Result<(), IndexError> {
        let Some(mut outcome) = self.clip(id)?.and_then(|clip| clip.outcome) else {
            return Ok(());
        };
        outcome.poster = false;
        self.connection
            .prepare_cached("UPDATE clips SET outcome = ?2 WHERE id = ?1")?
            .execute(params![id.to_string(), json(&outcome)?])?;
        Ok(())
    }

    /// Whether the last that the trail tells of a clip is that it was removed: then it must not come back from the ledger.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn was_removed(&self, id: ClipId) -> Result<bool, IndexError> {
        events::was_removed(&self.connection, "main", id)
    }

    /// Whether the trash lists a clip.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn in_trash(&self, id: ClipId) -> Result<bool, IndexError> {
        let query = "SELECT EXISTS (SELECT 1 FROM trash WHERE id = ?1)";
        let mut query = self.connection.prepare_cached(query)?;
        Ok(query.query_row([id.to_string()], |row| row.get(0))?)
    }

    /// Adds a clip that the ledger knows.
    ///
    /// # Errors
    /// When the index does not take it.
    pub fn add(&self, clip: &Clip) -> Result<(), IndexError> {
        rebuild::insert(&self.connection, clip)
    }

    /// Forgets an upload whose bytes are lost.
    ///
    /// # Errors
    /// When the index does not take it.
    pub fn lose_upload(&self, id: UploadId) -> Result<(), IndexError> {
        self.connection
            .execute("DELETE FROM uploads WHERE id = ?1", [id.to_string()])?;
        forget_source(&self.connection, id)
    }

    /// Notes that fewer bytes of an upload are there than were recorded.
    ///
    /// # Errors
    /// When the index does not take it.
    pub fn shorten_upload(&self, id: UploadId, received: u64) -> Result<(), IndexError> {
        self.connection.execute(
            "UPDATE uploads SET received = ?2 WHERE id = ?1 AND received > ?2",
            params![id.to_string(), received],
        )?;
        Ok(())
    }

    /// Forgets all that was in the trash: its files are not there.
    ///
    /// # Errors
    /// When the index does not take it.
    pub fn empty_trash(&self) -> Result<(), IndexError> {
        self.connection.execute("DELETE FROM trash", [])?;
        Ok(())
    }

    /// Counts the sums anew.
    ///
    /// # Errors
    /// When the index does not take it.
    pub fn recount(&self) -> Result<(), IndexError> {
        recount(&self.connection)
    }

    /// Forgets rows that belong to a clip that is not there.
    ///
    /// # Errors
    /// When the index does not take it.
    pub fn drop_strangers(&self) -> Result<(), IndexError> {
        // These have no row numbers by which the check could name their rows.
        self.connection.execute_batch(
            "DELETE FROM segments WHERE clip_id NOT IN (SELECT id FROM clips);
             DELETE FROM idempotency WHERE clip_id NOT IN (SELECT id FROM clips);",
        )?;
        let mut query = self.connection.prepare(
            "SELECT DISTINCT \"table\", rowid FROM pragma_foreign_key_check WHERE rowid IS NOT NULL",
        )?;
        let rows = query.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        })?;
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        for (table, row) in rows {
            self.connection
                .execute(&format!("DELETE FROM \"{table}\" WHERE rowid = ?1"), [row])?;
        }
        Ok(())
    }

    /// Appends to the trail.
    ///
    /// # Errors
    /// When the index does not take it.
    pub fn tell(
        &self,
        now: Timestamp,
        kind: Kind,
        data: serde_json::Value,
    ) -> Result<(), IndexError> {
        let entry = Entry {
            kind,
            subject: "",
            data,
            duration_ms: None,
            error: None,
        };
        events::append(&self.connection, now, &entry).map(drop)
    }
}
