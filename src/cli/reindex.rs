//! `reindex`: a new index from ledger and storage.

use super::{Exit, Place, Trouble, print};
use crate::app::clock::Clock;
use crate::repair::Files;
use crate::repair::reindex::{self, Report};
use crate::store::places::Places;

/// Flags of `reindex`.
#[derive(Debug, clap::Args)]
pub(super) struct Reindex {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// The storage is empty because its files are gone for good, not because it is not mounted
    #[arg(long)]
    files_lost: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(reindex: Reindex) -> Result<Exit, Trouble> {
    let settings = reindex.place.settings()?;
    let files = if reindex.files_lost {
        Files::Lost
    } else {
        Files::Expected
    };
    let places = Places::of(&settings);
    let report = self::reindex::run(&places, Clock::default().now(), files)?;
    if reindex.json {
        print(&serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        for line in lines(&places, &report) {
            print(&line);
        }
    }
    Ok(Exit::Done)
}

fn lines(places: &Places, report: &Report) -> Vec<String> {
    let mut lines = vec![format!(
        "{} clips from the ledger in {:.1} s.",
        report.clips,
        report.ms as f64 / 1000.0
    )];
    if report.files_missing > 0 {
        lines.push(format!(
            "{} of them have no file of the right size: they are expired and can be made again.",
            report.files_missing
        ));
    }
    if report.unreadable > 0 {
        lines.push(format!(
            "{} entries of the ledger cannot be read; meme-maker fsck names them.",
            report.unreadable
        ));
    }
    match &report.old_index {
        None => lines.push(format!(
            "From the old index: {} clips that the ledger does not keep, {} tokens, {} uploads, views and the trail.",
            report.from_old_index, report.tokens, report.uploads
        )),
        Some(why) => lines.push(format!(
            "Nothing came from the old index ({why}): tokens, uploads, views, the trail and clips that never were ready are gone."
        )),
    }
    if report.set_aside > 0 {
        lines.push(format!(
            "{} folders in the storage belong to no clip; they are in set-aside.",
            report.set_aside
        ));
    }
    if report.not_moved > 0 {
        lines.push(format!(
            "{} more could not be moved there and are where they were; meme-maker fsck names them.",
            report.not_moved
        ));
    }
    if let Some(kept) = &report.kept {
        lines.push(format!("The old index is kept as {}.", places.told(kept)));
    }
    lines
}
