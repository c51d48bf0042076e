//! The keeper: the cron table. Each entry calls one use case and leaves a record of its run.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::app::{App, Shared};
use crate::backup;
use crate::index::records::Horizons;
use crate::library::{self, LibraryError};
use crate::sources;
use crate::uploads;
use crate::worker::chain;

/// Starts the cron table; stopped by `shutdown` on what is returned.
///
/// # Errors
/// When an expression cannot be read.
pub async fn start(app: Shared) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let table = [
        (app.settings.keeper.expiry.clone(), Task::Expiry),
        (app.settings.keeper.sweep.clone(), Task::Sweep),
    ];
    let backup = app.settings.backup.schedule.clone();
    let backup = (!backup.is_empty()).then_some((backup, Task::Backup));
    for (expression, task) in table.into_iter().chain(backup) {
        let app = Shared::clone(&app);
        let job = Job::new_async(
            expression.as_str(),
            move |_, _| -> Pin<Box<dyn Future<Output = ()> + Send>> {
                let app = Shared::clone(&app);
                Box::pin(async move { run(&app, task).await })
            },
        )?;
        scheduler.add(job).await?;
    }
    scheduler.start().await?;
    Ok(scheduler)
}

/// What is in the cron table.
#[derive(Clone, Copy, Debug)]
pub enum Task {
    /// Clips and uploads whose time has come.
    Expiry,
    /// Expiry, orphans and old records.
    Sweep,
    /// A backup, as the settings say.
    Backup,
}

impl Task {
    const fn name(self) -> &'static str {
        match self {
            Task::Expiry => "expiry",
            Task::Sweep => "sweep",
            Task::Backup => "backup",
        }
    }
}

/// Runs one task and records it.
pub async fn run(app: &App, task: Task) {
    let began = Instant::now();
    let result = match task {
        Task::Expiry => expiry(app).await,
        Task::Sweep => sweep(app).await,
        Task::Backup => {
            // It keeps its own record; one that an operator has begun at this moment is as good.
            let _ = backup::run(app).await;
            return;
        }
    };
    let ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    match result {
        // A run every five minutes that found nothing is not worth a line in the trail.
        Ok(tidied) if tidied == Tidied::default() && matches!(task, Task::Expiry) => {}
        Ok(tidied) => {
            tracing::info!(task = task.name(), ms, ?tidied, "keeper ran");
            let data = serde_json::json!({
                "expired": tidied.expired, "orphans": tidied.orphans, "history": tidied.history, "records": tidied.records,
                "uploads": tidied.uploads, "sources": tidied.sources,
            });
            if let Err(error) = app
                .index
                .record_keeper_run(app.now(), task.name(), data, ms)
                .await
            {
                tracing::error!(error = %chain(&error), "the keeper's run could not be recorded");
            }
        }
        Err(error) => {
            tracing::error!(task = task.name(), ms, error = %chain(&error), "keeper failed")
        }
    }
}

/// How many of each went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    pub expired: usize,
    pub uploads: usize,
    pub orphans: usize,
    pub history: usize,
    pub records: usize,
    pub sources: usize,
}

/// All are tried, so that what cannot go does not keep the others.
async fn expiry(app: &App) -> Result<Tidied, LibraryError> {
    let clips = library::expire(app).await;
    let uploads = uploads::expire(app).await;
    let sources = sources::forget(app).await;
    Ok(Tidied {
        expired: clips?.len(),
        uploads: uploads?.len(),
        sources: sources?,
        ..Tidied::default()
    })
}

/// Expiry, orphans and old records, once.
///
/// # Errors
/// When index or disk refuse.
pub async fn sweep(app: &App) -> Result<Tidied, LibraryError> {
    let now = app.now();
    let retention = &app.settings.retention;
    let horizons = Horizons {
        events: now.minus_days(retention.events_days),
        health_checks: now.minus_days(retention.health_checks_days),
        samples: now.minus_days(retention.samples_days),
        idempotency: now.plus_millis(-i64::from(app.settings.limits.idempotency_hours) * 3_600_000),
    };
    Ok(Tidied {
        orphans: library::remove_orphans(app).await?.len(),
        history: library::forget_history(app, now.minus_days(retention.history_days)).await?,
        records: app.index.forget(horizons).await?,
        ..expiry(app).await?
    })
}
