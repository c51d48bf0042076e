//! Uploads in the index: who keeps how much, how far each has come, which clips need them, and what expires.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::sources::forget_source;
use super::{Index, IndexError};
use crate::timestamp::Timestamp;
use crate::upload::{Metadata, Upload, UploadId};

/// A new upload.
#[derive(Clone, Debug)]
pub struct NewUpload {
    pub id: UploadId,
    /// The visitor's mark.
    pub visitor: String,
    pub length: u64,
    pub metadata: Metadata,
}

/// What one visitor may keep at once.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    pub uploads: u64,
    pub bytes: u64,
}

/// What became of a new upload.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    New(Upload),
    /// The visitor keeps so many already.
    TooMany(u64),
    /// The visitor keeps so many bytes already.
    TooLarge(u64),
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    Gone,
    /// A clip that waits or runs is made from it.
    Needed,
    Unknown,
}

/// Whether a clip that is not settled is made from the upload in the row at hand.
const NEEDED: &str = "EXISTS (SELECT 1 FROM clips c WHERE c.upload = uploads.id
                      AND c.state IN ('queued', 'fetching', 'cutting', 'storing'))";
/// The last byte, or the end of the last clip.
const USED: &str = "max(used_at, coalesce((SELECT max(c.finished_at) FROM clips c WHERE c.upload = uploads.id), 0))";

fn columns() -> String {
    format!("id, length, received, metadata, {USED}, {NEEDED}")
}

impl Index {
    /// Notes a new upload, unless its visitor keeps too much already.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn create_upload(
        &self,
        now: Timestamp,
        new: NewUpload,
        quota: Quota,
    ) -> Result<Created, IndexError> {
        self.write(move |connection| {
            let mut kept = connection.prepare_cached(
                "SELECT count(*), coalesce(sum(length), 0) FROM uploads WHERE visitor = ?1",
            )?;
            let (uploads, bytes): (u64, u64) =
                kept.query_row([&new.visitor], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if uploads >= quota.uploads {
                return Ok(Created::TooMany(uploads));
            }
            if bytes.saturating_add(new.length) > quota.bytes {
                return Ok(Created::TooLarge(bytes));
            }
            let mut insert = connection.prepare_cached(
                "INSERT INTO uploads (id, visitor, length, metadata, created_at, used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
            )?;
            insert.execute(params![
                new.id.to_string(),
                new.visitor,
                new.length,
                new.metadata.as_str(),
                now.0
            ])?;
            Ok(Created::New(Upload {
                id: new.id,
                length: new.length,
                received: 0,
                metadata: new.metadata,
                used_at: now,
                needed: false,
            }))
        })
        .await
    }

    /// An upload.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn upload(&self, id: UploadId) -> Result<Option<Upload>, IndexError> {
        self.read(move |connection| {
            let mut query = connection
                .prepare_cached(&format!("SELECT {} FROM uploads WHERE id = ?1", columns()))?;
            query
                .query_row([id.to_string()], |row| Ok(upload_of(row)))
                .optional()?
                .transpose()
        })
        .await
    }

    /// All uploads.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn uploads(&self) -> Result<Vec<Upload>, IndexError> {
        self.read(|connection| {
            let mut query =
                connection.prepare_cached(&format!("SELECT {} FROM uploads", columns()))?;
            let rows = query.query_map([], |row| Ok(upload_of(row)))?;
            rows.map(|upload| upload?).collect()
        })
        .await
    }

    /// Notes that so many bytes are on the disk for good; false when there is no such upload any more.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn record_received(
        &self,
        now: Timestamp,
        id: UploadId,
        received: u64,
    ) -> Result<bool, IndexError> {
        self.write(move |connection| {
            let mut update = connection
                .prepare_cached("UPDATE uploads SET received = ?2, used_at = ?3 WHERE id = ?1")?;
            Ok(update.execute(params![id.to_string(), received, now.0])? == 1)
        })
        .await
    }

    /// Notes that a complete upload is used; false when there is none any more.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn use_upload(&self, now: Timestamp, id: UploadId) -> Result<bool, IndexError> {
        self.write(move |connection| {
            Ok(take(connection, now, &id.to_string())? == Readiness::Complete)
        })
        .await
    }

    /// Forgets an upload that no clip needs.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn remove_upload(&self, id: UploadId) -> Result<Removed, IndexError> {
        self.write(move |connection| {
            let mut query = connection
                .prepare_cached(&format!("SELECT {NEEDED} FROM uploads WHERE id = ?1"))?;
            let needed: Option<bool> = query
                .query_row([id.to_string()], |row| row.get(0))
                .optional()?;
            match needed {
                None => Ok(Removed::Unknown),
                Some(true) => Ok(Removed::Needed),
                Some(false) => {
                    connection.execute("DELETE FROM uploads WHERE id = ?1", [id.to_string()])?;
                    forget_source(connection, id)?;
                    Ok(Removed::Gone)
                }
            }
        })
        .await
    }

    /// Forgets an upload whatever needs it: its file is lost.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn lose_upload(&self, id: UploadId) -> Result<(), IndexError> {
        self.write(move |connection| {
            connection.execute("DELETE FROM uploads WHERE id = ?1", [id.to_string()])?;
            forget_source(connection, id)
        })
        .await
    }

    /// Uploads that were last used at or before `horizon` and that no clip needs.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn expiring_uploads(&self, horizon: Timestamp) -> Result<Vec<Upload>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT {} FROM uploads WHERE used_at <= ?1 AND {USED} <= ?1 AND NOT {NEEDED} ORDER BY used_at",
                columns()
            ))?;
            let rows = query.query_map([horizon.0], |row| Ok(upload_of(row)))?;
            rows.map(|upload| upload?).collect()
        })
        .await
    }

    /// Forgets an upload if that is still so; whether it did.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn expire_upload(
        &self,
        id: UploadId,
        horizon: Timestamp,
    ) -> Result<bool, IndexError> {
        self.write(move |connection| {
            let mut delete = connection.prepare_cached(&format!(
                "DELETE FROM uploads WHERE id = ?1 AND {USED} <= ?2 AND NOT {NEEDED}"
            ))?;
            let expired = delete.execute(params![id.to_string(), horizon.0])? == 1;
            if expired {
                forget_source(connection, id)?;
            }
            Ok(expired)
        })
        .await
    }

    /// Bytes that are still to come of unfinished uploads used after `horizon`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn bytes_to_come(&self, horizon: Timestamp) -> Result<u64, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT coalesce(sum(length - received), 0) FROM uploads WHERE received < length AND used_at > ?1",
            )?;
            Ok(query.query_row([horizon.0], |row| row.get(0))?)
        })
        .await
    }
}

/// How far an upload has come that a clip is to be made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Complete,
    Incomplete,
    Gone,
}

/// Looks at an upload inside the caller's transaction and counts a complete one as used.
pub(super) fn take(
    connection: &Connection,
    now: Timestamp,
    id: &str,
) -> Result<Readiness, IndexError> {
    let mut query =
        connection.prepare_cached("SELECT received >= length FROM uploads WHERE id = ?1")?;
    let complete: Option<bool> = query.query_row([id], |row| row.get(0)).optional()?;
    match complete {
        None => Ok(Readiness::Gone),
        Some(false) => Ok(Readiness::Incomplete),
        Some(true) => {
            connection
                .prepare_cached("UPDATE uploads SET used_at = ?2 WHERE id = ?1")?
                .execute(params![id, now.0])?;
            Ok(Readiness::Complete)
        }
    }
}

fn upload_of(row: &Row<'_>) -> Result<Upload, IndexError> {
    let id: String = row.get(0)?;
    let metadata: String = row.get(3)?;
    Ok(Upload {
        id: id
            .parse()
            .map_err(|_| IndexError::Corrupt("upload id".to_owned()))?,
        length: row.get(1)?,
        received: row.get(2)?,
        metadata: Metadata::parse(&metadata)
            .map_err(|error| IndexError::Corrupt(error.to_string()))?,
        used_at: Timestamp(row.get(4)?),
        needed: row.get(5)?,
    })
}
