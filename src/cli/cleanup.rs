//! `cleanup`: the nightly sweep, now; or only what it would remove and why.

use super::{Exit, Place, Trouble, block_on, print};
use crate::bytes::Bytes;
use crate::index::still::{self, Still};
use crate::keeper::{self, Task};
use crate::retention::{self, Extent, Manner, Removal, Report, What};
use crate::serve;
use crate::store::lock;
use crate::store::places::Places;

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
    let places = Places::of(&settings);
    let runs = lock::is_held(&places.lock()).unwrap_or(false);
    if cleanup.dry_run || runs {
        refuse_older(&places)?;
    }
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

/// Opening an index brings it to this version's schema, which is not for one that only looks, nor below a service that runs.
fn refuse_older(places: &Places) -> Result<(), Trouble> {
    let (index, known) = (places.index(), still::known_schema());
    if !index.is_file() {
        return Ok(());
    }
    match Still::open(&index).and_then(|still| still.schema()) {
        Ok(found) if found > 0 && found < known => Err(Trouble {
            exit: Exit::Failed,
            code: "index_schema".to_owned(),
            sentence: format!("The index has schema {found}, and this version's is {known}."),
            hint: "Start the service of this version once, which brings the index up to date."
                .to_owned(),
        }),
        // What is wrong otherwise is told by who opens it.
        Ok(_) | Err(_) => Ok(()),
    }
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
        | What::Windows
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
