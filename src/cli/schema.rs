//! `schema`: which schema the index has and this binary knows, and the way down for an older binary. It never opens the index as the
//! service does, which would bring it up.

use super::{Exit, Place, Trouble, print};
use crate::cut::sentence;
use crate::index::IndexError;
use crate::index::schema::{bring_to, known, standing};
use crate::worker::chain;

/// Flags of `schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Schema {
    /// Bring the index to this schema while the service is stopped; what the older schema has a place for is kept
    #[arg(long, value_name = "N")]
    to: Option<usize>,
    /// Only print the newest schema this binary knows
    #[arg(long, conflicts_with = "to")]
    known: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(schema: Schema) -> Result<Exit, Trouble> {
    // Asked of a binary by itself: the settings may be those of another version.
    if schema.known {
        print(&known().to_string());
        return Ok(Exit::Done);
    }
    let settings = schema.place.settings()?;
    let path = settings.server.data_dir.join("index.db");
    if let Some(wanted) = schema.to {
        bring_to(&path, wanted).map_err(trouble)?;
    }
    let standing = standing(&path).map_err(trouble)?;
    print(&format!("known {}", standing.known));
    match standing.found {
        Some(found) => print(&format!("index {found}")),
        None => print("index none"),
    }
    match standing.copy {
        Some((copy, number)) => print(&format!("copy {number} {}", copy.display())),
        None => print("copy none"),
    }
    Ok(Exit::Done)
}

fn trouble(error: IndexError) -> Trouble {
    let (exit, code, hint) = match &error {
        IndexError::InUse => (
            Exit::Failed,
            "index_in_use",
            "Stop the service first: systemctl stop meme-maker.",
        ),
        IndexError::NoSuchSchema { .. } => (
            Exit::Usage,
            "no_such_schema",
            "Run meme-maker schema to see what there is.",
        ),
        IndexError::Newer { .. } => (
            Exit::Failed,
            "index",
            "Run the newer binary's schema command instead.",
        ),
        IndexError::Sqlite(_)
        | IndexError::Migration(_)
        | IndexError::File(..)
        | IndexError::Corrupt(_)
        | IndexError::Full(_)
        | IndexError::Uncommitted(_)
        | IndexError::Closed => (
            Exit::Failed,
            "index",
            "Check server.data_dir and that this user may write there.",
        ),
    };
    Trouble {
        exit,
        code: code.to_owned(),
        sentence: sentence(&chain(&error)),
        hint: hint.to_owned(),
    }
}
