//! Retention: one place that says of everything which goes what it is, how large, and why. What a clean-up would remove is found by the
//! very steps that remove it, so that a preview and a run tell the same.

mod caches;
mod clips;
mod orphans;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::app::App;
use crate::clip::ClipId;
use crate::cut::sentence;
use crate::library::LibraryError;
use crate::uploads;
use crate::worker::chain;

/// Between two batches: others want to write, too.
pub const PAUSE: Duration = Duration::from_millis(10);
/// Of more removals than this only the number is told.
const LISTED: usize = 1000;
/// Of more troubles than this only the first are told.
const TROUBLES: usize = 20;

/// What goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Clips whose time has come, or for which there is no room.
    Clips,
    Uploads,
    /// Sources that were looked at, by their number.
    Sources,
    Previews,
    /// What was fetched for clips.
    Windows,
    Trash,
    /// Files that belong to no clip.
    Orphans,
    /// Clips whose files are lost.
    LostClips,
    /// What is left of jobs that run no more.
    Work,
    /// Clips that were over long ago, by their number.
    History,
    Events,
    HealthChecks,
    Samples,
    IdempotencyKeys,
}

impl What {
    pub const ALL: [What; 14] = [
        What::Clips,
        What::Uploads,
        What::Sources,
        What::Previews,
        What::Windows,
        What::Trash,
        What::Orphans,
        What::LostClips,
        What::Work,
        What::History,
        What::Events,
        What::HealthChecks,
        What::Samples,
        What::IdempotencyKeys,
    ];

    /// One of it, and several.
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            What::Clips => ("clip", "clips"),
            What::Uploads => ("upload", "uploads"),
            What::Sources => ("source", "sources"),
            What::Previews => ("preview", "previews"),
            What::Windows => ("kept window", "kept windows"),
            What::Trash => ("clip in the trash", "clips in the trash"),
            What::Orphans => ("orphan", "orphans"),
            What::LostClips => ("lost clip", "lost clips"),
            What::Work => ("folder of work", "folders of work"),
            What::History => ("clip of the past", "clips of the past"),
            What::Events => ("event", "events"),
            What::HealthChecks => ("health check", "health checks"),
            What::Samples => ("sample", "samples"),
            What::IdempotencyKeys => ("idempotency key", "idempotency keys"),
        }
    }

    /// The key under which it is counted.
    pub const fn key(self) -> &'static str {
        match self {
            What::Clips => "clips",
            What::Uploads => "uploads",
            What::Sources => "sources",
            What::Previews => "previews",
            What::Windows => "windows",
            What::Trash => "trash",
            What::Orphans => "orphans",
            What::LostClips => "lost_clips",
            What::Work => "work",
            What::History => "history",
            What::Events => "events",
            What::HealthChecks => "health_checks",
            What::Samples => "samples",
            What::IdempotencyKeys => "idempotency_keys",
        }
    }
}

/// One thing that goes, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Removal {
    pub what: What,
    /// Of an upload only its mark: the id is the right to use it.
    pub id: String,
    pub title: String,
    pub bytes: u64,
    /// Why, in words.
    pub reason: String,
}

/// A part of a run that failed; the others went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Trouble {
    pub part: &'static str,
    pub error: String,
}

/// What goes, or went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Report {
    /// One by one, at most a thousand.
    pub removals: Vec<Removal>,
    /// How many there are beyond those.
    pub more: u64,
    /// How many of each.
    #[schema(value_type = Object)]
    pub counts: BTreeMap<What, u64>,
    /// All together.
    pub bytes: u64,
    pub errors: Vec<Trouble>,
}

impl Report {
    /// Adds one thing.
    pub fn add(&mut self, removal: Removal) {
        self.count(removal.what, 1);
        self.bytes = self.bytes.saturating_add(removal.bytes);
        if self.removals.len() < LISTED {
            self.removals.push(removal);
        } else {
            self.more += 1;
        }
    }

    /// Adds what is only counted.
    pub fn count(&mut self, what: What, number: u64) {
        if number > 0 {
            *self.counts.entry(what).or_default() += number;
        }
    }

    /// Notes that a part failed, or one thing of it; a broken disk fails a thousand times in the same way.
    pub fn fail(&mut self, part: &'static str, error: &dyn std::error::Error) {
        if self.errors.len() >= TROUBLES {
            return;
        }
        tracing::error!(part, error = %chain(error), "a part of the clean-up failed");
        self.errors.push(Trouble {
            part,
            error: sentence(&chain(error)),
        });
    }

    /// How many of one kind.
    pub fn of(&self, what: What) -> u64 {
        self.counts.get(&what).copied().unwrap_or_default()
    }

    /// Nothing went and nothing failed.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.errors.is_empty()
    }

    /// How many of each, in words.
    pub fn sentence(&self) -> String {
        let told = What::ALL.into_iter().filter_map(|what| {
            let count = self.of(what);
            let (one, several) = what.words();
            let word = if count == 1 { one } else { several };
            (count > 0 || what == What::Clips).then(|| format!("{count} {word}"))
        });
        let mut told: Vec<String> = told.collect();
        let last = told.pop().unwrap_or_default();
        if told.is_empty() {
            last
        } else {
            format!("{} and {last}", told.join(", "))
        }
    }

    /// The figures for the trail.
    pub fn figures(&self) -> serde_json::Value {
        let counts = What::ALL
            .into_iter()
            .filter(|what| self.of(*what) > 0)
            .map(|what| (what.key().to_owned(), self.of(what).into()));
        let mut figures: serde_json::Map<String, serde_json::Value> = counts.collect();
        figures.insert("bytes".to_owned(), self.bytes.into());
        figures.into()
    }

    /// The parts that failed, in one line; none when all is well.
    pub fn failure(&self) -> Option<String> {
        let told: Vec<String> = self
            .errors
            .iter()
            .map(|trouble| format!("{}: {}", trouble.part, trouble.error))
            .collect();
        (!told.is_empty()).then(|| told.join(" "))
    }
}

/// Whether things are only looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Preview,
    Remove,
}

/// How much of it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What has its time: clips, uploads, sources, trash.
    Due,
    /// That, and what was lost or forgotten on the way, and old records.
    All,
}

/// Goes through everything that may go. All parts are tried, so that what cannot go does not keep the others.
pub async fn tidy(app: &App, extent: Extent, manner: Manner) -> Report {
    let mut report = Report::default();
    let told = |report: &mut Report, part, result: Result<(), LibraryError>| {
        if let Err(error) = result {
            report.fail(part, &error);
        }
    };
    let done = clips::due(app, manner, &mut report).await;
    told(&mut report, "clips", done);
    let done = due_uploads(app, manner, &mut report).await;
    told(&mut report, "uploads", done);
    let done = caches::previews(app, manner, &mut report).await;
    told(&mut report, "previews", done);
    let done = caches::windows(app, manner, &mut report).await;
    told(&mut report, "windows", done);
    let done = caches::trash(app, manner, &mut report).await;
    told(&mut report, "trash", done);
    if extent == Extent::All {
        let done = orphans::files(app, manner, &mut report).await;
        told(&mut report, "orphans", done);
        let done = orphans::rows(app, manner, &mut report).await;
        told(&mut report, "lost_clips", done);
        let done = orphans::work(app, manner, &mut report).await;
        told(&mut report, "work", done);
        let done = clips::history(app, manner, &mut report).await;
        told(&mut report, "history", done);
        let done = clips::records(app, manner, &mut report).await;
        told(&mut report, "records", done);
    }
    report
}

/// Clips whose time has come, and nothing else: what goes first when there is no room.
///
/// # Errors
/// When index or disk refuse.
pub async fn expire_clips(app: &App, report: &mut Report) -> Result<(), LibraryError> {
    clips::due(app, Manner::Remove, report).await
}

/// Whether a clip that has ended is still expired; asked by who holds its turn.
///
/// # Errors
/// When the index cannot be read.
pub async fn still_expired(app: &App, id: ClipId) -> Result<bool, LibraryError> {
    clips::still_expired(app, id).await
}

async fn due_uploads(app: &App, manner: Manner, report: &mut Report) -> Result<(), LibraryError> {
    let found = match manner {
        Manner::Preview => uploads::due(app).await?,
        Manner::Remove => uploads::expire(app).await?,
    };
    found.into_iter().for_each(|removal| report.add(removal));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_count_in_words() {
        let mut report = Report::default();
        assert_eq!(report.sentence(), "0 clips");
        assert!(report.is_empty());
        for number in 0..=LISTED {
            report.add(Removal {
                what: What::Uploads,
                id: number.to_string(),
                title: String::new(),
                bytes: 2,
                reason: "expired".to_owned(),
            });
        }
        report.count(What::Events, 1);
        assert_eq!(report.sentence(), "0 clips, 1001 uploads and 1 event");
        assert_eq!((report.removals.len(), report.more), (LISTED, 1));
        let figures = serde_json::json!({"uploads": 1001, "events": 1, "bytes": 2002});
        assert_eq!(report.figures(), figures);
        let told = serde_json::to_value(&report).unwrap();
        assert_eq!(
            told["counts"],
            serde_json::json!({"uploads": 1001, "events": 1})
        );
        for what in What::ALL {
            assert_eq!(serde_json::to_value(what).unwrap(), what.key());
        }
    }
}
