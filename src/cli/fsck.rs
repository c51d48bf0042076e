//! `fsck`: what differs between index, ledger and storage, and mending it.

use super::{Exit, Place, Trouble, print};
use crate::app::clock::Clock;
use crate::repair::Files;
use crate::repair::fsck::{self, Manner, Report, Wish};
use crate::repair::look::{Closeness, Difference};
use crate::store::places::Places;

/// Flags of `fsck`.
#[derive(Debug, clap::Args)]
pub(super) struct Fsck {
    /// Mend what differs; the service must not run
    #[arg(long)]
    repair: bool,
    /// Read every file whole and compare its SHA-256
    #[arg(long)]
    hashes: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// With --repair: the storage is empty because its files are gone for good, not because it is not mounted
    #[arg(long, requires = "repair")]
    files_lost: bool,
    #[command(flatten)]
    place: Place,
}

/// More differences than this are counted and not listed.
const MOST: usize = 10_000;

pub(super) fn run(fsck: Fsck) -> Result<Exit, Trouble> {
    let settings = fsck.place.settings()?;
    let wish = Wish {
        manner: if fsck.repair {
            Manner::Mend
        } else {
            Manner::Look
        },
        closeness: if fsck.hashes {
            Closeness::Hashes
        } else {
            Closeness::Sizes
        },
        files: if fsck.files_lost {
            Files::Lost
        } else {
            Files::Expected
        },
    };
    let places = Places::of(&settings);
    let mut listed = Vec::new();
    let mut told = |difference: &Difference| {
        if listed.len() == MOST {
            return;
        }
        if !fsck.json {
            print(&line(&places, difference));
        }
        listed.push(difference.clone());
    };
    let report = self::fsck::run(&places, wish, Clock::default().now(), &mut told)?;
    if fsck.json {
        print(&json(&places, &report, &listed));
    } else {
        print(&summary(&report, listed.len()));
    }
    Ok(if report.left() == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn line(places: &Places, difference: &Difference) -> String {
    let mended = difference.mended.as_ref();
    format!(
        "{} {}: {}{}",
        difference.fault.code(),
        subject(places, difference),
        difference.detail,
        mended.map(|what| format!(" -> {what}")).unwrap_or_default()
    )
}

fn subject(places: &Places, difference: &Difference) -> String {
    match &difference.subject {
        crate::repair::look::Subject::Path(path) => places.told(path),
        other => other.to_string(),
    }
}

fn summary(report: &Report, listed: usize) -> String {
    let found: u64 = report.found.values().sum();
    if found == 0 {
        return format!("{} clips, no difference.", report.clips);
    }
    let more = found - listed as u64;
    let more = if more > 0 {
        format!(" ({more} more than are listed)")
    } else {
        String::new()
    };
    let kinds: Vec<String> = report
        .found
        .iter()
        .map(|(fault, count)| format!("{} {count}", fault.code()))
        .collect();
    let rest = match report.left() {
        0 => "all mended".to_owned(),
        left if report.mended == 0 => format!("{left} to mend with --repair"),
        left => format!("{} mended, {left} left", report.mended),
    };
    format!(
        "{} clips, {found} differences{more}: {}; {rest}.",
        report.clips,
        kinds.join(", ")
    )
}

fn json(places: &Places, report: &Report, listed: &[Difference]) -> String {
    let differences: Vec<_> = listed
        .iter()
        .map(|difference| {
            serde_json::json!({
                "kind": difference.fault,
                "subject": subject(places, difference),
                "detail": difference.detail,
                "mended": difference.mended,
            })
        })
        .collect();
    let found: serde_json::Map<_, _> = report
        .found
        .iter()
        .map(|(fault, count)| (fault.code().to_owned(), (*count).into()))
        .collect();
    let document = serde_json::json!({
        "clean": report.left() == 0,
        "clips": report.clips,
        "found": found,
        "mended": report.mended,
        "left": report.left(),
        "differences": differences,
    });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}
