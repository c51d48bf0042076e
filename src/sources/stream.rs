//! A source on its way to a browser: its own bytes, ranged, or the copy that is made where browsers cannot play it.

use std::path::PathBuf;

use super::{SourcesError, part, show};
use crate::app::App;
use crate::app::desk::Streaming;
use crate::sighting::SourceId;
use crate::source::relay::{Relay, Wanted};
use crate::store::previews::Part;

/// What is streamed.
pub enum Streamed {
    /// A link's bytes; the place is held until they are all taken.
    Relay {
        relay: Box<Relay>,
        kind: &'static str,
        place: Streaming,
    },
    /// A file on the disk.
    File { path: PathBuf, kind: &'static str },
}

/// Opens a source for a browser.
///
/// # Errors
/// When there is none, it cannot be reached, too many streams are open, or its copy is still being made.
pub async fn stream(
    app: &App,
    id: SourceId,
    wanted: Wanted,
    visitor: String,
) -> Result<Streamed, SourcesError> {
    let seen = show(app, id).await?;
    if !seen.sighting.playable() {
        let files = part(app, &seen, Part::Preview, &visitor).await?;
        let path = files.into_iter().next().ok_or(SourcesError::Pending)?;
        return Ok(Streamed::File {
            path,
            kind: "video/mp4",
        });
    }
    let kind = seen.sighting.media_type();
    if let Some(path) = app.tools.local(&seen.source)? {
        return Ok(Streamed::File { path, kind });
    }
    let place = app
        .desk
        .stream(visitor)
        .ok_or(SourcesError::TooManyStreams)?;
    let relay = app.tools.relay(&seen.source, wanted).await?;
    Ok(Streamed::Relay {
        relay: Box::new(relay),
        kind,
        place,
    })
}
