//! The keeper: the cron table. Each entry calls one use case and leaves a record of its run.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Shared};
use crate::backup;
use crate::config::Settings;
use crate::eviction;
use crate::index::going::LastRun;
use crate::library::LibraryError;
use crate::retention::{self, Extent, Manner, Report};
use crate::room;
use crate::timestamp::Timestamp;
use crate::worker::chain;

/// What is in the cron table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// What has its time: clips, uploads, sources, trash.
    Expiry,
    /// That, orphans and old records.
    Sweep,
    /// Making room.
    Evict,
    /// A backup, where the settings say when.
    Backup,
}

impl Task {
    pub const ALL: [Task; 4] = [Task::Expiry, Task::Sweep, Task::Evict, Task::Backup];

    /// Its word in the trail.
    pub const fn name(self) -> &'static str {
        match self {
            Task::Expiry => "expiry",
            Task::Sweep => "sweep",
            Task::Evict => "evict",
            Task::Backup => "backup",
        }
    }

    /// When it runs; empty when it never does.
    pub fn expression(self, settings: &Settings) -> &str {
        match self {
            Task::Expiry => &settings.keeper.expiry,
            Task::Sweep => &settings.keeper.sweep,
            Task::Evict => &settings.keeper.evict,
            Task::Backup => &settings.backup.schedule,
        }
    }

    /// The first moment after `from` at which it runs; none when there is none.
    pub fn next(self, settings: &Settings, from: Timestamp) -> Option<Timestamp> {
        let cron = parsed(self.expression(settings)).ok()?;
        let from = DateTime::<Utc>::from_timestamp_millis(from.0)?;
        let next = cron.find_next_occurrence(&from, false).ok()?;
        // Expressions name seconds; what is less of the moment asked about is carried along.
        Some(Timestamp(next.timestamp() * 1000))
    }
}

/// As the scheduler reads it.
fn parsed(expression: &str) -> Result<Cron, CronError> {
    CronParser::builder()
        .seconds(Seconds::Required)
        .dom_and_dow(true)
        .build()
        .parse(expression)
}

/// A line of the cron table.
#[derive(Clone, Debug)]
pub struct Line {
    pub task: Task,
    pub expression: String,
    pub running: bool,
    pub last: Option<LastRun>,
    pub next: Option<Timestamp>,
}

/// The cron table as it stands.
///
/// # Errors
/// When the index cannot be read.
pub async fn table(app: &App) -> Result<Vec<Line>, LibraryError> {
    let settings = &app.settings;
    let mut lines = Vec::new();
    for task in Task::ALL {
        let (running, last) = app.keeping.standing(task.name());
        lines.push(Line {
            task,
            expression: task.expression(settings).to_owned(),
            running,
            last: match last {
                Some(last) => Some(last),
                None => app.index.last_run(task.name()).await?,
            },
            next: task.next(settings, app.now()),
        });
    }
    Ok(lines)
}

/// Starts the cron table; stopped by `shutdown` on what is returned.
///
/// # Errors
/// When an expression cannot be read.
pub async fn start(app: Shared) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    for task in Task::ALL {
        let expression = task.expression(&app.settings).to_owned();
        if expression.is_empty() {
            continue;
        }
        let app = Shared::clone(&app);
        let job = Job::new_async(
            expression.as_str(),
            move |_, _| -> Pin<Box<dyn Future<Output = ()> + Send>> {
                let app = Shared::clone(&app);
                Box::pin(async move {
                    if run(&app, task).await.is_none() {
                        tracing::debug!(task = task.name(), "it runs already");
                    }
                })
            },
        )?;
        scheduler.add(job).await?;
    }
    scheduler.start().await?;
    Ok(scheduler)
}

/// Makes room whenever something could not be written for want of it, until `stop`; and the ballast, first of all.
pub async fn relieve(app: &App, stop: &CancellationToken) {
    /// A full disk rings with every request.
    const PAUSE: Duration = Duration::from_secs(5);
    if let Err(error) = room::restore_ballast(app).await {
        tracing::warn!(error = %chain(&error), "the ballast could not be made");
    }
    loop {
        tokio::select! {
            () = app.keeping.pressed.notified() => {}
            () = stop.cancelled() => return,
        }
        run(app, Task::Evict).await;
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Runs one task, when it is its turn, and records it; `None` when it is running already.
pub async fn run(app: &App, task: Task) -> Option<Report> {
    let running = app.keeping.begin(task.name())?;
    // The two that go through the same things take turns; making room waits for nobody.
    let _turn = match task {
        Task::Expiry | Task::Sweep => Some(app.keeping.turn.lock().await),
        Task::Evict | Task::Backup => None,
    };
    let (at, began) = (app.now(), Instant::now());
    let report = match task {
        Task::Expiry => retention::tidy(app, Extent::Due, Manner::Remove).await,
        Task::Sweep => retention::tidy(app, Extent::All, Manner::Remove).await,
        Task::Evict => make_room(app).await,
        Task::Backup => {
            // It keeps its own record; one that an operator has begun at this moment is as good.
            let _ = backup::run(app).await;
            Report::default()
        }
    };
    let ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    let last = LastRun {
        at,
        ms,
        result: report.figures(),
        error: report.failure(),
    };
    running.note(last.clone());
    // A run every few minutes that found nothing is not worth a line in the trail.
    if !report.is_empty() || task == Task::Sweep {
        tracing::info!(
            task = task.name(),
            ms,
            went = report.sentence(),
            bytes = report.bytes,
            failed = report.errors.len(),
            "keeper ran"
        );
        let recorded = app
            .index
            .record_keeper_run(at, task.name(), last.result, ms, last.error);
        if let Err(error) = recorded.await {
            tracing::error!(error = %chain(&error), "the keeper's run could not be recorded");
        }
    }
    Some(report)
}

/// Room where it has run short, in the order in which things are missed least; then the ballast again, where there is room for it.
async fn make_room(app: &App) -> Report {
    let mut report = Report::default();
    if let Err(error) = eviction::run(app, &mut report).await {
        report.fail("eviction", &error);
    }
    if let Err(error) = room::restore_ballast(app).await {
        report.fail("ballast", &error);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_is_the_next_moment_that_the_expression_names() {
        let mut settings = Settings::default();
        settings.keeper.evict = "not cron".to_owned();
        let at = |text: &str| {
            let moment = DateTime::parse_from_rfc3339(text).unwrap();
            Timestamp(moment.timestamp_millis())
        };
        let now = at("2027-01-31T23:57:30.250Z");
        assert_eq!(
            Task::Expiry.next(&settings, now),
            Some(at("2027-02-01T00:00:00Z"))
        );
        assert_eq!(
            Task::Sweep.next(&settings, now),
            Some(at("2027-02-01T02:00:00Z"))
        );
        assert_eq!(Task::Evict.next(&settings, now), None);
        let then = at("2027-02-01T00:00:00Z");
        assert_eq!(
            Task::Expiry.next(&settings, then),
            Some(at("2027-02-01T00:05:00Z"))
        );
    }
}
