//! `backup`: one consistent archive while the service runs.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::{Exit, Place, Trouble, print};
use crate::app::clock::Clock;
use crate::backup::{self, Films, Room, Target, Wish};
use crate::bytes::Bytes;
use crate::store::places::Places;

/// Flags of `backup`.
#[derive(Debug, clap::Args)]
pub(super) struct Backup {
    /// File to write, or a folder for a file named after the moment
    #[arg(value_name = "FILE|DIR")]
    target: PathBuf,
    /// Put clips' files in too
    #[arg(long)]
    clips: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(backup: Backup) -> Result<Exit, Trouble> {
    let settings = backup.place.settings()?;
    let folder = backup.target.is_dir() || backup.target.to_string_lossy().ends_with('/');
    let wish = Wish {
        target: if folder {
            Target::Folder(backup.target)
        } else {
            Target::File(backup.target)
        },
        films: if backup.clips {
            Films::Taken
        } else {
            Films::Left
        },
        room: Room::All,
    };
    let made = backup::make(
        &Places::of(&settings),
        &wish,
        Clock::default().now(),
        // Whoever interrupts this ends the process.
        &CancellationToken::new(),
    )?;
    if backup.json {
        print(&serde_json::to_string_pretty(&made).unwrap_or_default());
        return Ok(Exit::Done);
    }
    print(&format!(
        "{} ({}): {} clips{}, with the key of delete tokens; read again and whole.",
        made.file.display(),
        Bytes(made.bytes),
        made.clips,
        if backup.clips {
            format!(" and the files of {}", made.files)
        } else {
            String::new()
        }
    ));
    if made.files_missing > 0 {
        print(&format!(
            "{} clips were removed meanwhile, or their files are missing; restored, they are expired.",
            made.files_missing
        ));
    }
    Ok(Exit::Done)
}
