//! What people do with clips: submit, look up, cancel, retry, remove; and what keeps index and store in step.

use std::time::Duration;

use crate::access::{self, Allowance, Asker, Caller};
use crate::app::rates::{Asked, Standing, TooOften};
use crate::app::{App, What};
use crate::bytes::Bytes;
use crate::clip::{Clip, ClipId, Failure, State};
use crate::index::IndexError;
use crate::index::clips::Place;
use crate::index::listing::Filter;
use crate::index::queue::{Retried, Submission, Submitted};
use crate::recipe::{Recipe, Source, name_of};
use crate::source::gate::Refusal;
use crate::sources;
use crate::timestamp::Timestamp;
use crate::token::Scope;
use crate::upload::Upload;

/// A clip with what only the running service knows of it.
#[derive(Clone, Debug)]
pub struct View {
    pub clip: Clip,
    pub queue_position: Option<u64>,
    pub progress: Option<f64>,
    pub eta_seconds: Option<f64>,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error(
        "the disk is too full: this may need {needed}, {available} are free and {floor} of them stay free"
    )]
    DiskLow {
        needed: Bytes,
        available: Bytes,
        floor: Bytes,
    },
    #[error("{waiting} clips are waiting already")]
    QueueFull { waiting: u64, retry_after: u64 },
    #[error(transparent)]
    TooOften(#[from] TooOften),
    #[error("{most} of your clips are waiting or being made already")]
    TooManyAtOnce { most: u32, retry_after: u64 },
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    #[error("this upload is not here, or not any more")]
    UploadGone,
    #[error("this upload is not complete: {received} of {length} bytes are here")]
    UploadIncomplete { received: u64, length: u64 },
    #[error("there is no such clip")]
    NotFound,
    #[error("this needs the clip's delete token")]
    TokenMissing,
    #[error("this is not the clip's delete token")]
    TokenWrong,
    #[error("a clip that is {0} cannot be {1}")]
    State(&'static str, &'static str),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("a file could not be read or written")]
    Io(#[from] std::io::Error),
}

/// A request to make a clip.
#[derive(Debug)]
pub struct Wish {
    pub recipe: Recipe,
    pub asker: Asker,
    /// The visitor's key for this request and the hash of its body.
    pub idempotency: Option<(String, String)>,
}

/// Counts a wish against what its visitor may ask for. What brings back an earlier answer is not counted, nor is what the link alone
/// refuses: that costs nothing. `None` where nothing is counted.
///
/// # Errors
/// When the link is refused, or the visitor asked too often.
pub async fn count(app: &App, wish: &Wish) -> Result<Option<Standing>, LibraryError> {
    if let Source::Url(url) = &wish.recipe.source {
        app.tools.gate.judge(url, None)?;
    }
    if let Some((key, _)) = &wish.idempotency
        && app
            .index
            .answered(wish.asker.mark.clone(), key.clone())
            .await?
    {
        return Ok(None);
    }
    Ok(access::count(app, &wish.asker, Asked::Clips)?)
}

/// Accepts a wish: judged, weighed against the disk, queued.
///
/// # Errors
/// When the link is refused, the disk or the queue is too full, or the key was used for another wish.
pub async fn submit(app: &App, wish: Wish) -> Result<View, LibraryError> {
    let recipe = &wish.recipe;
    // Whether it may be used is judged by the index, in one transaction with the clip.
    let upload = match &recipe.source {
        Source::Url(url) => {
            app.tools.gate.judge(url, None)?;
            None
        }
        Source::Upload(id) => app.index.upload(*id).await?,
        Source::File(_) => None,
    };
    let title = title(app, recipe, upload.as_ref()).await?;
    let length = recipe.length().as_f64();
    let estimate = app
        .costs()
        .guess(recipe.mode, length, recipe.segments.len());
    let room = make_sure_of_room(app, estimate.bytes, 0).await;
    if let Err(LibraryError::DiskLow { .. }) = &room {
        metrics::counter!("meme_maker_refusals_total", "code" => "disk_low").increment(1);
    }
    room?;
    let id = ClipId(uuid::Uuid::now_v7());
    let submission = Submission {
        id,
        title,
        recipe: wish.recipe,
        visitor: wish.asker.mark,
        at_once: at_once(app, wish.asker.allowance),
        estimate,
        idempotency: wish.idempotency,
    };
    match app
        .index
        .submit(app.now(), submission, app.settings.limits.queue)
        .await?
    {
        Submitted::New { clip, place, seq } => {
            metrics::counter!("meme_maker_clips_submitted_total").increment(1);
            app.bus.tell(id, What::State(seq));
            app.work.notify_waiters();
            Ok(standing(app, clip, Some(place)))
        }
        Submitted::Known(clip) => view(app, clip.id).await,
        Submitted::KeyReused => Err(LibraryError::KeyReused),
        Submitted::UploadGone => Err(LibraryError::UploadGone),
        Submitted::UploadIncomplete => {
            let upload = upload.ok_or(LibraryError::UploadGone)?;
            Err(LibraryError::UploadIncomplete {
                received: upload.received,
                length: upload.length,
            })
        }
        Submitted::TooManyAtOnce => Err(too_many_at_once(app)),
        Submitted::QueueFull(waiting) => {
            metrics::counter!("meme_maker_refusals_total", "code" => "queue_full").increment(1);
            Err(LibraryError::QueueFull {
                waiting,
                retry_after: until_done(app),
            })
        }
    }
}

/// How many clips somebody may have waiting or running at once.
fn at_once(app: &App, allowance: Allowance) -> Option<u32> {
    match allowance {
        Allowance::Limited => Some(app.settings.limits.clips_per_visitor).filter(|most| *most > 0),
        Allowance::Unlimited => None,
    }
}

fn too_many_at_once(app: &App) -> LibraryError {
    metrics::counter!("meme_maker_refusals_total", "code" => "clips_too_many").increment(1);
    LibraryError::TooManyAtOnce {
        most: app.settings.limits.clips_per_visitor,
        retry_after: until_done(app),
    }
}

/// Seconds until the clips in hand are expected to be done.
fn until_done(app: &App) -> u64 {
    app.jobs.left().clamp(1.0, 600.0).ceil() as u64
}

/// The title given, else what the source was called when somebody looked at it, else its name.
async fn title(
    app: &App,
    recipe: &Recipe,
    upload: Option<&Upload>,
) -> Result<String, LibraryError> {
    if recipe.title.is_some() {
        return Ok(recipe.title_or_default());
    }
    let seen = app.index.known_title(recipe.source.clone()).await?;
    let named = || upload.map_or_else(|| name_of(&recipe.source), |upload| upload.metadata.title());
    Ok(seen.unwrap_or_else(named))
}

/// Room for the rest of an upload is kept so long after its last byte, in milliseconds: who promises gigabytes and sends none must not
/// keep others out for a day.
pub const UPLOAD_PROMISE: i64 = 3_600_000;

/// Refuses what does not fit beside everything that is promised already; `own` of the promised bytes are the asker's.
///
/// # Errors
/// `DiskLow` with the figures.
pub async fn make_sure_of_room(app: &App, needed: u64, own: u64) -> Result<(), LibraryError> {
    let available = app.reading().disk_available;
    make_sure_of_room_in(app, available, needed, own).await
}

/// The same, when somebody knows better than the last reading how much is free.
///
/// # Errors
/// `DiskLow` with the figures.
pub async fn make_sure_of_room_in(
    app: &App,
    available: u64,
    needed: u64,
    own: u64,
) -> Result<(), LibraryError> {
    let floor = app.settings.monitor.floor;
    let horizon = app.now().plus_millis(-UPLOAD_PROMISE);
    let to_come = app.index.bytes_to_come(horizon).await?;
    let reserved = app.index.load().await?.reserved.saturating_add(to_come);
    let mut available = available.saturating_sub(reserved.saturating_sub(own));
    let wanted = floor.0.saturating_add(needed);
    if available < wanted {
        // What can be made again goes before anybody is turned away.
        let freed = sources::make_room(app, wanted - available).await?;
        app.freed(freed);
        available = available.saturating_add(freed);
    }
    if available >= wanted {
        return Ok(());
    }
    Err(LibraryError::DiskLow {
        needed: Bytes(needed),
        available: Bytes(available),
        floor,
    })
}

/// A clip as it stands.
///
/// # Errors
/// When there is none.
pub async fn view(app: &App, id: ClipId) -> Result<View, LibraryError> {
    let (clip, place) = app.index.clip(id).await?.ok_or(LibraryError::NotFound)?;
    Ok(standing(app, clip, place))
}

/// Clips as they stand, the newest first.
///
/// # Errors
/// When the index cannot be read.
pub async fn list(app: &App, filter: Filter) -> Result<Vec<View>, LibraryError> {
    let clips = app.index.clips(filter).await?;
    Ok(clips
        .into_iter()
        .map(|(clip, place)| standing(app, clip, place))
        .collect())
}

fn standing(app: &App, clip: Clip, place: Option<Place>) -> View {
    let standing = app
        .jobs
        .standing(clip.id)
        .filter(|_| clip.state.is_running());
    let progress = match clip.state {
        State::Ready | State::Expired => Some(1.0),
        State::Fetching | State::Cutting | State::Storing => {
            standing.map(|standing| standing.progress)
        }
        State::Queued | State::Failed | State::Cancelled => None,
    };
    // The slots share what is in hand and what waits before it.
    let waiting = place.map(|place| {
        let all = (app.jobs.left() + place.seconds - clip.estimate.seconds).max(0.0);
        let seconds = all / app.slots() as f64 + clip.estimate.seconds;
        (seconds * 10.0).round() / 10.0
    });
    View {
        clip,
        queue_position: place.map(|place| place.position),
        progress,
        eta_seconds: waiting.or(standing.and_then(|standing| standing.eta_seconds)),
    }
}

/// Lets the holder of the clip's token through, and who may manage all clips.
///
/// # Errors
/// When there is no such clip, no token or a wrong one.
pub async fn authorize(
    app: &App,
    id: ClipId,
    caller: Option<&Caller>,
    token: Option<&str>,
) -> Result<(), LibraryError> {
    app.index.clip(id).await?.ok_or(LibraryError::NotFound)?;
    if caller.is_some_and(|caller| caller.may(Scope::ClipManage)) {
        return Ok(());
    }
    let token = token.ok_or(LibraryError::TokenMissing)?;
    if app.secret.opens(id, token) {
        Ok(())
    } else {
        Err(LibraryError::TokenWrong)
    }
}

/// Cancels a clip that is not settled; its sidecars are killed.
///
/// # Errors
/// When it is settled already.
pub async fn cancel(app: &App, id: ClipId) -> Result<View, LibraryError> {
    let settled = app.index.settle(app.now(), id, None).await?;
    let view = view(app, id).await?;
    match settled {
        Some(seq) => {
            app.jobs.stop(id);
            app.bus.tell(id, What::State(seq));
            metrics::counter!("meme_maker_clips_settled_total", "state" => "cancelled")
                .increment(1);
            tracing::info!(clip = %id, "clip cancelled");
            Ok(view)
        }
        // Twice is as good as once.
        None if view.clip.state == State::Cancelled => Ok(view),
        None => Err(LibraryError::State(view.clip.state.as_str(), "cancelled")),
    }
}

/// Runs a recipe again that failed, was cancelled or has expired.
///
/// # Errors
/// When the clip is in another state, the upload it was made from is gone, or its visitor has too many in hand.
pub async fn retry(app: &App, id: ClipId, allowance: Allowance) -> Result<View, LibraryError> {
    let at_once = at_once(app, allowance);
    let retried = app.index.retry(app.now(), id, at_once).await?;
    let view = view(app, id).await?;
    let seq = match retried {
        Retried::Queued(seq) => seq,
        Retried::UploadGone => return Err(LibraryError::UploadGone),
        Retried::TooManyAtOnce => return Err(too_many_at_once(app)),
        Retried::No => {
            return Err(LibraryError::State(view.clip.state.as_str(), "made again"));
        }
    };
    app.bus.tell(id, What::State(seq));
    app.work.notify_waiters();
    Ok(view)
}

/// Removes a clip and its files for good, whatever its state.
///
/// # Errors
/// When there is none, or the disk refuses; then it is gone from the index all the same and the next sweep takes the files.
pub async fn remove(app: &App, id: ClipId) -> Result<(), LibraryError> {
    if !app.index.remove(app.now(), id).await? {
        return Err(LibraryError::NotFound);
    }
    app.jobs.stop(id);
    app.bus.tell(id, What::Removed);
    let store = app.store.clone();
    blocking(move || {
        store.remove_files(id)?;
        store.remove_ledger(id)
    })
    .await?;
    tracing::info!(clip = %id, "clip removed");
    Ok(())
}

/// What an expiry run removes or would remove, and why.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Removal {
    pub clip: Option<ClipId>,
    pub title: String,
    pub bytes: u64,
    pub reason: String,
}

/// Clips whose time has come.
///
/// # Errors
/// When the index cannot be read.
pub async fn due(app: &App) -> Result<Vec<Removal>, LibraryError> {
    let clips = app.index.expiring(app.now()).await?;
    let store = app.store.clone();
    let removal = move |clip: Clip| Removal {
        bytes: store.size(clip.id),
        reason: match clip.expires_at {
            Some(at) => format!("expired at {at}"),
            None => "expired".to_owned(),
        },
        clip: Some(clip.id),
        title: clip.title,
    };
    Ok(blocking(move || Ok(clips.into_iter().map(removal).collect())).await?)
}

/// Expires clips whose time has come: first in the index, so that nobody is served half a removal, then on the disk.
///
/// # Errors
/// When index or disk refuse.
pub async fn expire(app: &App) -> Result<Vec<Removal>, LibraryError> {
    let mut done = Vec::new();
    for removal in due(app).await? {
        let Some(id) = removal.clip else { continue };
        let Some(seq) = app.index.expire(app.now(), id).await? else {
            continue;
        };
        let entry = app
            .index
            .clip(id)
            .await?
            .map(|(clip, _)| ledger_entry(&clip));
        let store = app.store.clone();
        blocking(move || {
            if let Some(entry) = entry {
                store.write_ledger(id, &entry)?;
            }
            store.remove_files(id)
        })
        .await?;
        app.bus.tell(id, What::State(seq));
        metrics::counter!("meme_maker_clips_expired_total").increment(1);
        tracing::info!(clip = %id, bytes = removal.bytes, "clip expired");
        done.push(removal);
    }
    Ok(done)
}

/// Files that no ready clip owns. A folder is young while its clip may still be on the way into the index.
///
/// # Errors
/// When index or disk cannot be read.
pub async fn orphans(app: &App) -> Result<Vec<Removal>, LibraryError> {
    const YOUNG: Duration = Duration::from_secs(3600);
    let store = app.store.clone();
    let folders = blocking(move || store.published()).await?;
    let old: Vec<ClipId> = folders
        .into_iter()
        .filter(|(_, changed)| changed.elapsed().is_ok_and(|age| age > YOUNG))
        .map(|(id, _)| id)
        .collect();
    let states = app.index.states(old).await?;
    let store = app.store.clone();
    let removals = states.into_iter().filter_map(move |(id, state)| {
        let reason = match state {
            Some(State::Ready | State::Storing) => return None,
            Some(state) => format!("files of a clip that is {}", state.as_str()),
            None => "files of no known clip".to_owned(),
        };
        Some(Removal {
            bytes: store.size(id),
            clip: Some(id),
            title: String::new(),
            reason,
        })
    });
    Ok(removals.collect())
}

/// Removes files that no ready clip owns.
///
/// # Errors
/// When index or disk refuse.
pub async fn remove_orphans(app: &App) -> Result<Vec<Removal>, LibraryError> {
    let orphans = orphans(app).await?;
    let store = app.store.clone();
    let ids: Vec<ClipId> = orphans.iter().filter_map(|removal| removal.clip).collect();
    blocking(move || ids.into_iter().try_for_each(|id| store.remove_files(id))).await?;
    Ok(orphans)
}

/// Forgets clips that have been expired, failed or cancelled for long.
///
/// # Errors
/// When index or disk refuse.
pub async fn forget_history(app: &App, horizon: Timestamp) -> Result<usize, LibraryError> {
    let old = app.index.history_before(horizon).await?;
    for id in &old {
        match remove(app, *id).await {
            // Somebody else removed it first.
            Err(LibraryError::NotFound) | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(old.len())
}

/// After a start, before anything is served: half-done work goes, interrupted clips are queued again once.
///
/// # Errors
/// When index or disk refuse.
pub async fn reconcile(app: &App) -> Result<(), LibraryError> {
    let store = app.store.clone();
    let swept = blocking(move || store.sweep()).await?;
    let failure = Failure {
        code: "interrupted".to_owned(),
        detail: "The service was interrupted twice while making this clip.".to_owned(),
        hint: "Try again; if it happens again, the operator should look at the log.".to_owned(),
    };
    let (queued, failed) = app.index.recover(app.now(), failure).await?;
    tracing::info!(swept, queued, failed, "picked up after the last run");
    Ok(())
}

/// The clip as the ledger keeps it: all that `reindex` needs, without secrets and without the visitor.
pub fn ledger_entry(clip: &Clip) -> Vec<u8> {
    serde_json::json!({
        "id": clip.id,
        "state": clip.state,
        "title": clip.title,
        "recipe": clip.recipe.public(),
        "result": clip.outcome,
        "file_name": clip.file_name,
        "created_at": clip.created_at,
        "finished_at": clip.finished_at,
        "expires_at": clip.expires_at,
        "pinned": clip.pinned,
    })
    .to_string()
    .into_bytes()
}

/// Runs work that touches files off the async threads.
///
/// # Errors
/// The error of the work.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}
