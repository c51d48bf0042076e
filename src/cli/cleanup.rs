//! `cleanup`: the nightly sweep, now; or only what it would remove and why.

use super::{Exit, Place, Trouble, block_on, print};
use crate::bytes::Bytes;
use crate::keeper;
use crate::library::{self, LibraryError, Removal};
use crate::serve::{self, StartError};
use crate::uploads;

/// Flags of `cleanup`.
#[derive(Debug, clap::Args)]
pub(super) struct Cleanup {
    /// Only say what would be removed and why
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(cleanup: Cleanup) -> Result<Exit, Trouble> {
    let settings = cleanup.place.settings()?;
    block_on(async {
        let app = serve::open(settings).await?;
        let found = async {
            let mut found = library::due(&app).await?;
            found.extend(library::orphans(&app).await?);
            Ok::<_, LibraryError>((found, uploads::due(&app).await?))
        };
        let (found, expired) = found.await.map_err(StartError::from)?;
        let verb = if cleanup.dry_run {
            "would remove"
        } else {
            "removing"
        };
        for removal in found.iter().chain(&expired) {
            print(&line(verb, removal));
        }
        let all = found.iter().chain(&expired);
        let bytes = Bytes(all.map(|removal| removal.bytes).sum());
        let mut counts = counted(found.len(), "clip");
        if !expired.is_empty() {
            counts = format!("{counts} and {}", counted(expired.len(), "upload"));
        }
        print(&format!("{counts}, {bytes}."));
        if !cleanup.dry_run {
            keeper::sweep(&app).await.map_err(StartError::from)?;
        }
        app.tools.gate.close().await;
        app.index.close();
        Ok::<_, Trouble>(Exit::Done)
    })?
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn line(verb: &str, removal: &Removal) -> String {
    let id = removal.clip.map(|id| format!("{id} ")).unwrap_or_default();
    format!(
        "{verb} {id}{} ({}): {}",
        removal.title,
        Bytes(removal.bytes),
        removal.reason
    )
}
