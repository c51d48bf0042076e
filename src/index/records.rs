//! Readings and check results with their history.

use rusqlite::params;
use serde::Serialize;

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

/// Readings of a stretch of time together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// Where the stretch begins.
    pub at: Timestamp,
    pub min: f64,
    pub mean: f64,
    pub max: f64,
    /// So many readings.
    pub count: u32,
}

/// A stretch of time from a moment up to another, in so many parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub from: Timestamp,
    pub to: Timestamp,
    pub points: u32,
}

/// A result of a check that differed from the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PastCheck {
    pub at: Timestamp,
    pub name: String,
    /// `ok` or `failing`.
    pub status: String,
    pub detail: String,
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

    /// Readings of one kind over a stretch of time, taken together in parts of the same length; parts without a reading are left out.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn history(
        &self,
        metric: &'static str,
        stretch: Stretch,
    ) -> Result<Vec<Bucket>, IndexError> {
        self.read(move |connection| {
            let length = stretch.to.0.saturating_sub(stretch.from.0).max(1);
            let width = length
                .unsigned_abs()
                .div_ceil(u64::from(stretch.points.max(1)));
            let width = i64::try_from(width).unwrap_or(i64::MAX);
            let mut query = connection.prepare_cached(
                "SELECT (at - ?2) / ?4, min(value), avg(value), max(value), count(*) FROM samples
                 WHERE metric = ?1 AND at >= ?2 AND at < ?3 GROUP BY 1 ORDER BY 1",
            )?;
            let asked = params![metric, stretch.from.0, stretch.to.0, width];
            let rows = query.query_map(asked, |row| {
                let (min, max): (f64, f64) = (row.get(1)?, row.get(3)?);
                Ok(Bucket {
                    at: stretch
                        .from
                        .plus_millis(row.get::<_, i64>(0)?.saturating_mul(width)),
                    min,
                    // A mean of equal numbers is rounded, and may lie beside them.
                    mean: row.get::<_, f64>(2)?.max(min).min(max),
                    max,
                    count: row.get(4)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The last changes of check results, the newest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn past_checks(&self, limit: u32) -> Result<Vec<PastCheck>, IndexError> {
        self.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT at, name, status, detail FROM health_checks ORDER BY id DESC LIMIT ?1",
            )?;
            let rows = query.query_map([limit], |row| {
                Ok(PastCheck {
                    at: Timestamp(row.get(0)?),
                    name: row.get(1)?,
                    status: row.get(2)?,
                    detail: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_history_has_the_least_the_mean_and_the_most_of_each_part() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index.db"), 1).unwrap();
        for (at, value) in [
            (999, 9.0),
            (1000, 1.0),
            (1040, 3.0),
            (1099, 8.0),
            (1150, 5.0),
            (1200, 7.0),
        ] {
            let sample = Sample {
                metric: "load",
                value,
                unit: "1",
            };
            let recorded = index.record_samples(Timestamp(at), vec![sample]);
            recorded.await.unwrap();
        }
        let stretch = Stretch {
            from: Timestamp(1000),
            to: Timestamp(1200),
            points: 2,
        };
        let bucket = |at, min, mean, max, count| Bucket {
            at: Timestamp(at),
            min,
            mean,
            max,
            count,
        };
        assert_eq!(
            index.history("load", stretch).await.unwrap(),
            [
                bucket(1000, 1.0, 4.0, 8.0, 3),
                bucket(1100, 5.0, 5.0, 5.0, 1)
            ]
        );
        assert!(index.history("resident", stretch).await.unwrap().is_empty());
    }
}
