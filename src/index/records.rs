//! Readings and check results with their history, and what is forgotten of all records in time.

use rusqlite::params;

use super::{Index, IndexError};
use crate::timestamp::Timestamp;

/// One reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub metric: &'static str,
    pub value: f64,
    pub unit: &'static str,
}

/// One result of a health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    pub name: &'static str,
    pub ok: bool,
    pub detail: String,
}

/// Moments before which records are forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Horizons {
    pub events: Timestamp,
    pub health_checks: Timestamp,
    pub samples: Timestamp,
    pub idempotency: Timestamp,
}

impl Index {
    /// Records readings taken together.
    ///
    /// # Errors
    /// When the index does not take them.
    pub async fn record_samples(
        &self,
        now: Timestamp,
        samples: Vec<Sample>,
    ) -> Result<(), IndexError> {
        self.write(move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT OR REPLACE INTO samples (metric, at, value, unit) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for sample in samples {
                insert.execute(params![sample.metric, now.0, sample.value, sample.unit])?;
            }
            Ok(())
        })
        .await
    }

    /// Records check results whose status or words differ from the last recorded ones: a check that stays as it is says nothing new.
    ///
    /// # Errors
    /// When the index does not take them.
    pub async fn record_checks(
        &self,
        now: Timestamp,
        results: Vec<CheckResult>,
    ) -> Result<(), IndexError> {
        self.write(move |connection| {
            let mut last = connection.prepare_cached(
                "SELECT status = ?2 AND detail = ?3 FROM health_checks WHERE name = ?1 ORDER BY id DESC LIMIT 1",
            )?;
            let mut insert =
                connection.prepare_cached("INSERT INTO health_checks (at, name, status, detail) VALUES (?1, ?2, ?3, ?4)")?;
            for result in results {
                let status = if result.ok { "ok" } else { "failing" };
                let same = last.query_row(params![result.name, status, result.detail], |row| row.get::<_, bool>(0));
                if !same.unwrap_or(false) {
                    insert.execute(params![now.0, result.name, status, result.detail])?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Forgets records older than their horizon; returns how many went.
    ///
    /// # Errors
    /// When the index does not do it.
    pub async fn forget(&self, horizons: Horizons) -> Result<usize, IndexError> {
        self.write(move |connection| {
            let mut gone = 0;
            for (statement, horizon) in [
                ("DELETE FROM events WHERE at < ?1", horizons.events),
                (
                    "DELETE FROM health_checks WHERE at < ?1",
                    horizons.health_checks,
                ),
                ("DELETE FROM samples WHERE at < ?1", horizons.samples),
                (
                    "DELETE FROM idempotency WHERE created_at < ?1",
                    horizons.idempotency,
                ),
            ] {
                gone += connection.execute(statement, [horizon.0])?;
            }
            Ok(gone)
        })
        .await
    }
}
