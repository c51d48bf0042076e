//! `cleanup`: the nightly sweep, now; or only what it would remove and why.

use super::{Exit, Place, Trouble, block_on, print};
use crate::bytes::Bytes;
use crate::keeper::{self, Task};
use crate::retention::{self, Extent, Manner, Removal, Report, What};
use crate::serve;

/// Flags of `cleanup`.
#[derive(Debug, clap::Args)]
pub(super) struct Cleanup {
    /// Only say what would be removed and why
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(cleanup: Cleanup) -> Result<Exit, Trouble> {
    let settings = cleanup.place.settings()?;
    block_on(async {
        let app = serve::open(settings).await?;
        let report = if cleanup.dry_run {
            retention::tidy(&app, Extent::All, Manner::Preview).await
        } else {
            // Nothing else runs in this process.
            keeper::run(&app, Task::Sweep).await.unwrap_or_default()
        };
        app.tools.gate.close().await;
        app.index.close();
        if cleanup.json {
            print(&serde_json::to_string_pretty(&report).unwrap_or_default());
        } else {
            tell(
                &report,
                if cleanup.dry_run {
                    "would remove"
                } else {
                    "removed"
                },
            );
        }
        match report.failure() {
            None => Ok::<_, Trouble>(Exit::Done),
            Some(failure) => Err(Trouble {
                exit: Exit::Failed,
                code: "cleanup".to_owned(),
                sentence: failure,
                hint: "The other parts are done; look at the log above.".to_owned(),
            }),
        }
    })?
}

fn tell(report: &Report, verb: &str) {
    for removal in &report.removals {
        print(&line(verb, removal));
    }
    if report.more > 0 {
        print(&format!("{verb} {} more", report.more));
    }
    print(&format!("{}, {}.", report.sentence(), Bytes(report.bytes)));
}

fn line(verb: &str, removal: &Removal) -> String {
    let kind = match removal.what {
        What::Clips | What::LostClips | What::Orphans => String::new(),
        What::Uploads
        | What::Sources
        | What::Previews
        | What::Trash
        | What::Work
        | What::History
        | What::Events
        | What::HealthChecks
        | What::Samples
        | What::IdempotencyKeys => format!("{} ", removal.what.words().0),
    };
    let title = match removal.title.as_str() {
        "" => String::new(),
        title => format!(" {title}"),
    };
    format!(
        "{verb} {kind}{}{title} ({}): {}",
        removal.id,
        Bytes(removal.bytes),
        removal.reason
    )
}
