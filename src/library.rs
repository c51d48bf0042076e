//! What people do with clips: submit, look up, change, cancel, retry, remove; and what keeps index and store in step after a start.

pub mod again;
pub mod several;

use crate::access::{self, Allowance, Asker, Caller};
use crate::app::rates::{Asked, Standing, TooOften};
use crate::app::{App, What};
use crate::bytes::Bytes;
use crate::clip::change::Change;
use crate::clip::{Clip, ClipId, Failure, State};
use crate::index::IndexError;
use crate::index::clips::Place;
use crate::index::keeping::{Bounds, Changed};
use crate::index::listing::Filter;
use crate::index::queue::{Barred, Retried, Submission, Submitted};
use crate::index::trash::{Fate, Removed};
use crate::recipe::{Recipe, Source, name_of};
use crate::room::{self, NoRoom};
use crate::source::gate::Refusal;
use crate::store::disk;
use crate::token::Scope;
use crate::trash::{self, turn_of};
use crate::upload::Upload;
use crate::worker::chain;

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
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
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
    #[error("{pinned} are pinned already, and {most} is the most")]
    PinsFull { pinned: Bytes, most: Bytes },
    #[error("a clip cannot have expired before now")]
    ExpiryPast,
    #[error("this token keeps a clip {0} days at most")]
    ExpiryFar(u32),
    #[error("this is being done already")]
    Running,
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("a file could not be read or written")]
    Io(#[from] std::io::Error),
}

impl LibraryError {
    /// Whether the disk has no room for it.
    pub fn is_full(&self) -> bool {
        match self {
            LibraryError::Index(error) => error.is_full(),
            LibraryError::Io(error) => disk::is_full(error),
            LibraryError::Refused(_)
            | LibraryError::NoRoom(_)
            | LibraryError::QueueFull { .. }
            | LibraryError::KeyReused
            | LibraryError::UploadGone
            | LibraryError::UploadIncomplete { .. }
            | LibraryError::NotFound
            | LibraryError::TokenMissing
            | LibraryError::TokenWrong
            | LibraryError::State(..)
            | LibraryError::TooOften(_)
            | LibraryError::TooManyAtOnce { .. }
            | LibraryError::PinsFull { .. }
            | LibraryError::ExpiryPast
            | LibraryError::ExpiryFar(_)
            | LibraryError::Running => false,
        }
    }
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
    if answered(app, &wish.asker, wish.idempotency.as_ref()).await? {
        return Ok(None);
    }
    Ok(access::count(app, &wish.asker, Asked::Clips)?)
}

/// Whether a visitor's key brings back an answer that was given before.
///
/// # Errors
/// When the index cannot be read.
pub async fn answered(
    app: &App,
    asker: &Asker,
    idempotency: Option<&(String, String)>,
) -> Result<bool, LibraryError> {
    let Some((key, _)) = idempotency else {
        return Ok(false);
    };
    Ok(app.index.answered(asker.mark.clone(), key.clone()).await?)
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
    room_for(app, estimate.bytes).await?;
    let id = ClipId(uuid::Uuid::now_v7());
    let submission = Submission {
        id,
        title,
        recipe: wish.recipe,
        visitor: wish.asker.mark,
        at_once: at_once(app, wish.asker.allowance),
        estimate,
        idempotency: wish.idempotency,
        sharing: None,
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
        Submitted::Barred(why) => Err(barred(app, why, upload.as_ref())),
    }
}

/// Why nothing is queued, in the words of this room.
fn barred(app: &App, why: Barred, upload: Option<&Upload>) -> LibraryError {
    match why {
        Barred::KeyReused => LibraryError::KeyReused,
        Barred::UploadGone => LibraryError::UploadGone,
        Barred::UploadIncomplete => match upload {
            Some(upload) => LibraryError::UploadIncomplete {
                received: upload.received,
                length: upload.length,
            },
            None => LibraryError::UploadGone,
        },
        Barred::TooManyAtOnce => too_many_at_once(app),
        Barred::QueueFull(waiting) => {
            metrics::counter!("meme_maker_refusals_total", "code" => "queue_full").increment(1);
            LibraryError::QueueFull {
                waiting,
                retry_after: until_done(app),
            }
        }
    }
}

/// Makes sure that there is room for what is asked for.
async fn room_for(app: &App, bytes: u64) -> Result<(), LibraryError> {
    let room = room::make_sure_of_room(app, bytes, 0).await;
    if let Err(LibraryError::NoRoom(_)) = &room {
        metrics::counter!("meme_maker_refusals_total", "code" => "disk_low").increment(1);
    }
    room
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

/// By what right somebody changes a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// By the clip's own token.
    Own,
    /// By a token with the scope to manage all clips.
    Manager,
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
) -> Result<Right, LibraryError> {
    app.index.clip(id).await?.ok_or(LibraryError::NotFound)?;
    if caller.is_some_and(|caller| caller.may(Scope::ClipManage)) {
        return Ok(Right::Manager);
    }
    let token = token.ok_or(LibraryError::TokenMissing)?;
    if app.secret.opens(id, token) {
        Ok(Right::Own)
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
        // Of one that was made again, the file of before is there.
        None if view.clip.state == State::Ready && app.index.cancelled_last(id).await? => Ok(view),
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

/// Changes what may be changed about a clip that is there: answered once index and ledger both say so.
///
/// # Errors
/// When the right does not reach so far, or the clip is not ready.
pub async fn change(
    app: &App,
    id: ClipId,
    change: Change,
    right: Right,
) -> Result<View, LibraryError> {
    // One after the other, so that the ledger ends with what the index ends with.
    let _turn = app.desk.turn(&turn_of(id)).await;
    let now = app.now();
    let (bounds, most) = bounds(app, &change, right)?;
    match app.index.change(now, id, change, bounds).await? {
        Changed::Done(clip, seq) => {
            // Those that wait or run write theirs when they are ready.
            if clip.state.is_settled() || clip.is_served() {
                record(app, &clip).await?;
            }
            app.bus.tell(id, What::State(seq));
            view(app, id).await
        }
        Changed::State(state) => Err(LibraryError::State(
            state.as_str(),
            "pinned or given another end",
        )),
        Changed::PinsFull(pinned) => Err(LibraryError::PinsFull {
            pinned: Bytes(pinned),
            most: Bytes(most),
        }),
        Changed::Unknown => Err(LibraryError::NotFound),
    }
}

/// How far a change may go, with the most bytes of pins; refused is one that asks for a moment out of bounds.
fn bounds(app: &App, change: &Change, right: Right) -> Result<(Bounds, u64), LibraryError> {
    let now = app.now();
    let retention = &app.settings.retention;
    if let Some(at) = change.expires_at {
        let latest = now.plus_hours(retention.max_days.saturating_mul(24));
        if at <= now {
            return Err(LibraryError::ExpiryPast);
        }
        if right == Right::Own && at > latest {
            return Err(LibraryError::ExpiryFar(retention.max_days));
        }
    }
    let most = app.settings.storage.max_bytes.0 / 100;
    let most = most.saturating_mul(u64::from(retention.pinned_percent));
    let bounds = Bounds {
        pinned: (right == Right::Own).then_some(most),
        anew: now.plus_hours(retention.hours),
    };
    Ok((bounds, most))
}

/// Writes a clip's entry in the ledger; on a full disk once more, when the ballast has made room.
///
/// # Errors
/// When the disk refuses.
pub async fn record(app: &App, clip: &Clip) -> Result<(), LibraryError> {
    let id = clip.id;
    let write = || {
        let (store, entry) = (app.store.clone(), ledger_entry(clip));
        blocking(move || store.write_ledger(id, &entry))
    };
    match write().await {
        Err(error) if disk::is_full(&error) => {
            room::press(app).await;
            Ok(write().await?)
        }
        written => Ok(written?),
    }
}

/// What people look at is counted; what cannot be counted is shown all the same.
pub async fn viewed(app: &App, id: ClipId) {
    tell_uncounted(app, app.index.count_view(app.now(), id).await);
}

/// The same for downloads.
pub async fn downloaded(app: &App, id: ClipId) {
    tell_uncounted(app, app.index.count_download(app.now(), id).await);
}

fn tell_uncounted(app: &App, counted: Result<(), IndexError>) {
    if let Err(error) = counted
        && app.keeping.tells()
    {
        tracing::warn!(error = %chain(&error), "views and downloads cannot be counted");
    }
}

/// Removes a clip, whatever its state: from now on there is none. Its files go to the trash as long as there is room.
///
/// # Errors
/// When there is none, or the disk refuses; then it is gone from the index all the same and the next sweep takes the files.
pub async fn remove(app: &App, id: ClipId) -> Result<(), LibraryError> {
    let _turn = app.desk.turn(&turn_of(id)).await;
    let fate = trash::fate(app).await;
    let removed = match app.index.remove(app.now(), id, fate).await {
        Err(error) if error.is_full() => {
            // On a full disk the index cannot even forget. The bytes go first, which makes room for that.
            tracing::warn!(clip = %id, error = %chain(&error), "the index could not forget a clip; its files go first");
            room::press(app).await;
            let store = app.store.clone();
            blocking(move || store.remove_files(id)).await?;
            app.index.remove(app.now(), id, Fate::Gone).await?
        }
        removed => removed?,
    };
    if removed == Removed::Unknown {
        return Err(LibraryError::NotFound);
    }
    app.jobs.stop(id);
    app.bus.tell(id, What::Removed);
    let (store, windows) = (app.store.clone(), app.windows.clone());
    blocking(move || {
        if let Err(error) = windows.remove(id) {
            tracing::warn!(clip = %id, %error, "the kept window of a removed clip stays for the keeper");
        }
        match removed {
            Removed::Trashed => store.put_aside(id)?,
            Removed::Gone | Removed::Unknown => store.remove_files(id)?,
        }
        if removed == Removed::Gone {
            // What an earlier expiry has put aside.
            store.empty(id)?;
        }
        store.remove_ledger(id)
    })
    .await?;
    tracing::info!(clip = %id, "clip removed");
    Ok(())
}

/// After a start, before anything is served: half-done work goes, interrupted clips are queued again once.
///
/// # Errors
/// When index or disk refuse.
pub async fn reconcile(app: &App) -> Result<(), LibraryError> {
    let (store, windows) = (app.store.clone(), app.windows.clone());
    let unfinished = blocking(move || {
        windows.sweep()?;
        store.unfinished()
    })
    .await?;
    let failure = Failure {
        code: "interrupted".to_owned(),
        detail: "The service was interrupted twice while making this clip.".to_owned(),
        hint: "Try again; if it happens again, the operator should look at the log.".to_owned(),
    };
    let (queued, failed) = app.index.recover(app.now(), failure).await?;
    for id in unfinished {
        // One clip's folder is no reason for all others to be out of reach.
        if let Err(error) = again::settle_files(app, id).await {
            tracing::warn!(clip = %id, error = %chain(&error), "the files of a clip could not be settled; the next start tries again");
            again::note_unsettled(app, id).await;
        }
    }
    let store = app.store.clone();
    let swept = blocking(move || store.sweep()).await?;
    tracing::info!(swept, queued, failed, "picked up after the last run");
    Ok(())
}

/// The clip as the ledger keeps it: all that `reindex` needs, without secrets and without the visitor.
pub fn ledger_entry(clip: &Clip) -> Vec<u8> {
    let served = clip.as_served();
    // Of one that is made again, what is there.
    let clip = served.as_deref().unwrap_or(clip);
    let mut entry = serde_json::json!({
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
        "error": clip.failure,
    });
    if clip.version > 1 {
        entry["version"] = clip.version.into();
    }
    entry.to_string().into_bytes()
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
