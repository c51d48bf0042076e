//! Sources that were looked at: found again by their address while they are fresh, forgotten in time.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::clips::{json, unjson};
use super::{Index, IndexError};
use crate::recipe::Source;
use crate::sighting::{Seen, SourceId};
use crate::timestamp::Timestamp;
use crate::upload::UploadId;

const COLUMNS: &str = "id, source, sighting, created_at, expires_at";

/// More sources than this are not remembered: anybody may have one looked at, and each takes up to some 100 kB.
const MOST: usize = 4000;

impl Index {
    /// Remembers a source; the oldest is forgotten when there are many.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn add_source(&self, seen: Seen) -> Result<(), IndexError> {
        self.write(move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO sources (id, source, sighting, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            insert.execute(params![
                seen.id.to_string(),
                json(&seen.source)?,
                json(&seen.sighting)?,
                seen.created_at.0,
                seen.expires_at.0
            ])?;
            connection
                .prepare_cached("DELETE FROM sources WHERE id <= (SELECT id FROM sources ORDER BY id DESC LIMIT 1 OFFSET ?1)")?
                .execute([MOST])?;
            Ok(())
        })
        .await
    }

    /// The youngest look at a source that is not older than `since`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn fresh_source(
        &self,
        source: Source,
        since: Timestamp,
    ) -> Result<Option<Seen>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM sources WHERE source = ?1 AND created_at >= ?2 ORDER BY created_at DESC LIMIT 1",
            ))?;
            let found = query
                .query_row(params![json(&source)?, since.0], |row| Ok(seen(row)))
                .optional()?;
            found.transpose()
        })
        .await
    }

    /// What a source was called when it was last looked at.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn known_title(&self, source: Source) -> Result<Option<String>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT json_extract(sighting, '$.title') FROM sources WHERE source = ?1 ORDER BY created_at DESC LIMIT 1",
            )?;
            let found = query.query_row([json(&source)?], |row| row.get(0)).optional()?;
            Ok(found)
        })
        .await
    }

    /// A source that is not forgotten yet.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn source(&self, id: SourceId, now: Timestamp) -> Result<Option<Seen>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM sources WHERE id = ?1 AND expires_at > ?2"
            ))?;
            let found = query
                .query_row(params![id.to_string(), now.0], |row| Ok(seen(row)))
                .optional()?;
            found.transpose()
        })
        .await
    }

    /// Forgets sources whose time is over; returns how many went.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn forget_sources(&self, now: Timestamp) -> Result<usize, IndexError> {
        self.write(move |connection| {
            Ok(connection.execute("DELETE FROM sources WHERE expires_at <= ?1", [now.0])?)
        })
        .await
    }

    /// All sources whose time is not over.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn source_ids(&self, now: Timestamp) -> Result<Vec<SourceId>, IndexError> {
        self.read(move |connection| {
            let mut query =
                connection.prepare_cached("SELECT id FROM sources WHERE expires_at > ?1")?;
            let rows = query.query_map([now.0], |row| row.get::<_, String>(0))?;
            rows.map(|id| parse_id(&id?)).collect()
        })
        .await
    }
}

/// Forgets what was seen of an upload, inside the transaction in which the upload goes.
pub(super) fn forget_source(connection: &Connection, upload: UploadId) -> Result<(), IndexError> {
    let mut delete = connection.prepare_cached("DELETE FROM sources WHERE source = ?1")?;
    delete.execute([json(&Source::Upload(upload))?])?;
    Ok(())
}

fn seen(row: &Row<'_>) -> Result<Seen, IndexError> {
    Ok(Seen {
        id: parse_id(&row.get::<_, String>(0)?)?,
        source: unjson(&row.get::<_, String>(1)?)?,
        sighting: unjson(&row.get::<_, String>(2)?)?,
        created_at: Timestamp(row.get(3)?),
        expires_at: Timestamp(row.get(4)?),
    })
}

fn parse_id(text: &str) -> Result<SourceId, IndexError> {
    text.parse()
        .map_err(|_| IndexError::Corrupt(format!("the source id {text}")))
}
