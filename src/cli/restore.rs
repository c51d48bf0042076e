//! `restore`: a backup into an empty or missing data folder.

use std::path::PathBuf;

use super::{Exit, Place, Trouble, print};
use crate::app::clock::Clock;
use crate::backup::restore;
use crate::store::places::Places;

/// Flags of `restore`.
#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(restore: Restore) -> Result<Exit, Trouble> {
    let settings = restore.place.settings()?;
    let now = Clock::default().now();
    let restored = self::restore::restore(&Places::of(&settings), &restore.file, now)?;
    if restore.json {
        print(&serde_json::to_string_pretty(&restored).unwrap_or_default());
        return Ok(Exit::Done);
    }
    print(&format!(
        "{} clips as of {} are in {}, {} with their files.",
        restored.clips,
        restored.made_at,
        restored.data_dir.display(),
        restored.files
    ));
    if restored.expired > 0 {
        print(&format!(
            "{} clips are expired because their files are not in the backup; they can be made again.",
            restored.expired
        ));
    }
    if restored.uploads_forgotten > 0 {
        print(&format!(
            "{} uploads are forgotten: backups hold none.",
            restored.uploads_forgotten
        ));
    }
    Ok(Exit::Done)
}
