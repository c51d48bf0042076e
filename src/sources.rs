//! What people do with sources before they cut: look at one, play it, see its filmstrip and its waveform; and what is forgotten of
//! them in time.

pub mod estimate;
pub mod making;
pub mod stream;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::app::desk::{Reading, Standing};
use crate::clip::{Failure, Method};
use crate::cut::CutError;
use crate::index::IndexError;
use crate::library::{LibraryError, blocking};
use crate::media::MediaError;
use crate::recipe::{Inquiry, Mode, Segment, Source, name_of};
use crate::sighting::{Seen, SourceId};
use crate::source::SourceError;
use crate::source::relay::RelayError;
use crate::store::previews::{Part, Surplus};
use crate::uploads;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    #[error(transparent)]
    Cut(#[from] CutError),
    #[error(transparent)]
    Relay(#[from] RelayError),
    #[error("too many sources are being looked at")]
    Busy,
    #[error("there is no such source")]
    NotFound,
    #[error("this source has no sound")]
    NoSound,
    #[error("this preview is being made")]
    Pending,
    #[error("{}", .0.detail)]
    Failed(Failure),
    #[error("too many streams are open")]
    TooManyStreams,
    #[error(transparent)]
    Library(#[from] LibraryError),
}

impl From<IndexError> for SourcesError {
    fn from(error: IndexError) -> SourcesError {
        LibraryError::from(error).into()
    }
}

impl From<std::io::Error> for SourcesError {
    fn from(error: std::io::Error) -> SourcesError {
        LibraryError::from(error).into()
    }
}

/// Whether a look was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    New,
    /// Somebody looked at it a short while ago.
    Known,
}

/// What a clip of a stretch is expected to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    pub stretch: Segment,
    pub mode: Mode,
    /// None when too little is known to tell.
    pub method: Option<Method>,
    pub seconds: f64,
    pub bytes: u64,
    /// Bytes that have to travel.
    pub fetched: Option<u64>,
}

/// How far the copy for browsers is.
#[derive(Clone, Debug, PartialEq)]
pub enum Preview {
    /// Browsers play the source itself.
    Unneeded,
    /// Nobody has asked for it yet.
    Absent,
    Pending(f64),
    Ready,
    Failed(Failure),
}

/// Refuses a link that would be refused before anybody is counted for it.
///
/// # Errors
/// When it is one.
pub fn judge(app: &App, inquiry: &Inquiry) -> Result<(), SourcesError> {
    match &inquiry.source {
        Source::Url(url) => {
            let judged = app.tools.gate.judge(url, None);
            judged.map_err(|refusal| CutError::from(SourceError::from(refusal)))?;
            Ok(())
        }
        Source::Upload(_) | Source::File(_) => Ok(()),
    }
}

/// Looks at a source, unless somebody did a short while ago.
///
/// # Errors
/// When it is refused, cannot be reached or read in time, or too many are being looked at.
pub async fn look(
    app: &App,
    inquiry: &Inquiry,
    visitor: &str,
) -> Result<(Seen, Look), SourcesError> {
    let source = &inquiry.source;
    judge(app, inquiry)?;
    let _reading = reading(app, source);
    let name = match source {
        Source::Upload(id) => uploads::used(app, *id).await?.metadata.title(),
        Source::Url(_) | Source::File(_) => name_of(source),
    };
    if let Some(seen) = fresh(app, source).await? {
        return Ok((seen, Look::Known));
    }
    let deadline = Duration::from_secs(app.settings.engine.probe_seconds);
    let thing = serde_json::to_string(source).unwrap_or_default();
    let turn = tokio::time::timeout(deadline, app.desk.turn(&thing)).await;
    let _turn = turn.map_err(|_| SourcesError::Busy)?;
    if let Some(seen) = fresh(app, source).await? {
        return Ok((seen, Look::Known));
    }
    let _place = app.desk.probe(visitor).await.ok_or(SourcesError::Busy)?;
    let began = Instant::now();
    let previews = app.previews.clone();
    let dir = blocking(move || previews.work_dir()).await?;
    let (stop, (progress, _)) = (app.stopping.child_token(), watch::channel(0.0));
    let bench = app.tools.bench(dir.path(), &stop, &progress);
    let sighted = tokio::time::timeout(deadline, app.tools.sight(&bench, source, name)).await;
    let sighting = sighted.map_err(|_| CutError::Media(MediaError::Timeout))??;
    // Removing what was fetched is the disk's time, not the visitor's.
    drop(tokio::task::spawn_blocking(move || drop(dir)));
    let now = app.now();
    let seen = Seen {
        id: SourceId(uuid::Uuid::now_v7()),
        source: source.clone(),
        sighting,
        created_at: now,
        expires_at: now.plus_hours(app.settings.sources.keep_hours),
    };
    app.index.add_source(seen.clone()).await?;
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(source = %seen.id, ms, bytes = seen.sighting.bytes_fetched, "looked at a source");
    Ok((seen, Look::New))
}

/// Keeps an upload while it is looked at or made previews of.
fn reading(app: &App, source: &Source) -> Option<Reading> {
    match source {
        Source::Upload(id) => Some(app.desk.read(*id)),
        Source::Url(_) | Source::File(_) => None,
    }
}

async fn fresh(app: &App, source: &Source) -> Result<Option<Seen>, SourcesError> {
    let age = i64::from(app.settings.sources.fresh_seconds) * 1000;
    let now = app.now();
    let found = app
        .index
        .fresh_source(source.clone(), now.plus_millis(-age));
    Ok(found.await?.filter(|seen| seen.expires_at > now))
}

/// A source that was looked at. Whoever asks for that of an upload uses the upload.
///
/// # Errors
/// When there is none, or no more.
pub async fn show(app: &App, id: SourceId) -> Result<Seen, SourcesError> {
    let seen = app.index.source(id, app.now()).await?;
    let seen = seen.ok_or(SourcesError::NotFound)?;
    if let Source::Upload(upload) = &seen.source {
        uploads::used(app, *upload).await?;
    }
    Ok(seen)
}

/// Bytes a second at which links are taken to come.
const LINE: f64 = 5e6;

/// What a clip of a stretch, or of one from the middle, is expected to take.
pub fn expect(app: &App, seen: &Seen, stretch: Option<Segment>, mode: Mode) -> Expected {
    let stretch = stretch.unwrap_or_else(|| seen.sighting.middle());
    let costs = app.costs();
    let round = |seconds: f64| (seconds * 100.0).round() / 100.0;
    let max_height = app.settings.engine.max_height;
    match seen.sighting.forecast(stretch, mode, max_height) {
        Some(forecast) => {
            let cut = costs.of(&forecast.work);
            let fetch = seen.link().map_or(0.0, |_| forecast.fetched as f64 / LINE);
            Expected {
                stretch,
                mode,
                method: Some(forecast.work.method),
                seconds: round(cut.seconds + fetch),
                bytes: cut.bytes,
                fetched: Some(forecast.fetched),
            }
        }
        None => {
            let guess = costs.guess(mode, stretch.length().as_f64(), 1);
            Expected {
                stretch,
                mode,
                method: None,
                seconds: round(guess.seconds),
                bytes: guess.bytes,
                fetched: None,
            }
        }
    }
}

/// How far the copy for browsers is; asking keeps it wanted.
pub async fn preview(app: &App, seen: &Seen) -> Preview {
    if seen.sighting.playable() {
        return Preview::Unneeded;
    }
    if find(app, seen.id, Part::Preview).await.is_some() {
        return Preview::Ready;
    }
    match app.desk.standing(seen.id, Part::Preview) {
        Some(Standing::Waiting) => Preview::Pending(0.0),
        Some(Standing::Making(progress)) => Preview::Pending(progress),
        Some(Standing::Failed(failure, _)) => Preview::Failed(failure),
        Some(Standing::Done) | None => Preview::Absent,
    }
}

/// The files of a part of a source's previews: at once when they are here, else when they are made.
///
/// # Errors
/// When it cannot be made, or not in a moment: then it is being made.
pub async fn part(
    app: &App,
    seen: &Seen,
    part: Part,
    visitor: &str,
) -> Result<Vec<PathBuf>, SourcesError> {
    if part == Part::Waveform && seen.sighting.audio.is_none() {
        return Err(SourcesError::NoSound);
    }
    if let Some(files) = find(app, seen.id, part).await {
        return Ok(files);
    }
    let ordered = app.desk.order(visitor, seen.id, part);
    let mut following = ordered.ok_or(SourcesError::Busy)?;
    let patience = match part {
        Part::Filmstrip | Part::Waveform | Part::Texture => Duration::from_secs(15),
        Part::Copy | Part::Preview => Duration::ZERO,
    };
    let settled =
        following.wait_for(|standing| matches!(standing, Standing::Done | Standing::Failed(..)));
    let failure = match tokio::time::timeout(patience, settled).await {
        Ok(Ok(standing)) => match &*standing {
            Standing::Failed(failure, _) => Some(failure.clone()),
            Standing::Waiting | Standing::Making(_) | Standing::Done => None,
        },
        Ok(Err(_)) | Err(_) => return Err(SourcesError::Pending),
    };
    if let Some(failure) = failure {
        return Err(SourcesError::Failed(failure));
    }
    let files = find(app, seen.id, part).await;
    files.ok_or(SourcesError::Pending)
}

async fn find(app: &App, id: SourceId, part: Part) -> Option<Vec<PathBuf>> {
    let previews = app.previews.clone();
    let found = tokio::task::spawn_blocking(move || previews.find(id, part));
    found.await.ok().flatten()
}

/// Drops previews for so many bytes more on the disk; returns what went.
///
/// # Errors
/// When the disk refuses.
pub async fn make_room(app: &App, missing: u64) -> Result<Vec<Surplus>, LibraryError> {
    let previews = app.previews.clone();
    let gone = blocking(move || {
        let all = previews.bytes()?;
        previews.shrink_by_part(all.saturating_sub(missing))
    });
    let gone = gone.await?;
    if !gone.is_empty() {
        let bytes: u64 = gone.iter().map(|part| part.bytes).sum();
        tracing::info!(bytes, "previews dropped for want of room");
    }
    Ok(gone)
}

/// After a start, before anything is served: what was half-made goes, and what is forgotten.
///
/// # Errors
/// When index or disk refuse.
pub async fn reconcile(app: &App) -> Result<(), LibraryError> {
    let previews = app.previews.clone();
    blocking(move || previews.sweep()).await?;
    forget(app).await.map(drop)
}

/// Forgets sources whose time is over, with their previews, and holds previews to their budget; returns how many sources went.
///
/// # Errors
/// When index or disk refuse.
pub async fn forget(app: &App) -> Result<usize, LibraryError> {
    let gone = app.index.forget_sources(app.now()).await?;
    let known = app.index.source_ids(app.now()).await?;
    let (previews, most) = (app.previews.clone(), app.settings.storage.preview_bytes.0);
    blocking(move || {
        previews.retain(&known)?;
        previews.shrink(most)
    })
    .await?;
    Ok(gone)
}

/// What stops a part in the making: the end of the service.
fn stopped_with(app: &App) -> CancellationToken {
    app.stopping.child_token()
}
