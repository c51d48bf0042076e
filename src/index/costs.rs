//! What past clips cost: the experience that estimates learn from.

use rusqlite::{Row, params};

use super::clips::{json, unjson};
use super::{Index, IndexError};
use crate::clip::ClipId;
use crate::cost::{Estimate, Experience, REMEMBERED, Work};
use crate::timestamp::Timestamp;

impl Index {
    /// Remembers what a clip cost; the oldest is forgotten when there are many.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn record_cost(&self, now: Timestamp, one: Experience) -> Result<(), IndexError> {
        self.write(move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO costs (at, mode, length, segments, method, decoded, encoded, copied, replaced, sound, frames, fetch_seconds,
                     cut_seconds, size, footprint)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?;
            insert.execute(params![
                now.0,
                word(&one.mode)?,
                one.length,
                one.segments,
                one.work.method.as_str(),
                one.work.decoded,
                one.work.encoded,
                one.work.copied,
                one.work.replaced,
                one.work.sound,
                one.work.frames,
                one.fetch_seconds,
                one.cut_seconds,
                one.size,
                one.footprint
            ])?;
            connection
                .prepare_cached("DELETE FROM costs WHERE id <= (SELECT max(id) FROM costs) - ?1")?
                .execute([REMEMBERED])?;
            Ok(())
        })
        .await
    }

    /// All that is remembered.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn costs(&self) -> Result<Vec<Experience>, IndexError> {
        self.read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT mode, length, method, decoded, encoded, copied, replaced, sound, frames, fetch_seconds, cut_seconds, size,
                     footprint, segments
                 FROM costs ORDER BY id",
            )?;
            let rows = query.query_map([], |row| Ok(experience(row)))?;
            rows.map(|row| row?).collect()
        })
        .await
    }

    /// Replaces what is expected of a clip.
    ///
    /// # Errors
    /// When the index does not take it.
    pub async fn set_estimate(&self, id: ClipId, estimate: Estimate) -> Result<(), IndexError> {
        self.write(move |connection| {
            let mut update = connection.prepare_cached(
                "UPDATE clips SET estimate = ?2, estimate_seconds = ?3 WHERE id = ?1",
            )?;
            let bytes = i64::try_from(estimate.bytes).unwrap_or(i64::MAX);
            update.execute(params![id.to_string(), bytes, estimate.seconds])?;
            Ok(())
        })
        .await
    }
}

fn experience(row: &Row<'_>) -> Result<Experience, IndexError> {
    let word = |column| -> Result<String, rusqlite::Error> {
        Ok(format!("\"{}\"", row.get::<_, String>(column)?))
    };
    Ok(Experience {
        mode: unjson(&word(0)?)?,
        length: row.get(1)?,
        segments: row.get(13)?,
        work: Work {
            method: unjson(&word(2)?)?,
            decoded: row.get(3)?,
            encoded: row.get(4)?,
            copied: row.get(5)?,
            replaced: row.get(6)?,
            sound: row.get(7)?,
            frames: row.get(8)?,
            // What was needed for a while is part of the footprint.
            scratch: 0,
        },
        fetch_seconds: row.get(9)?,
        cut_seconds: row.get(10)?,
        size: row.get(11)?,
        footprint: row.get(12)?,
    })
}

/// The word by which a value is known in the API.
fn word<T: serde::Serialize>(value: &T) -> Result<String, IndexError> {
    Ok(json(value)?.trim_matches('"').to_owned())
}
