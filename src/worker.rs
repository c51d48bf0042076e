//! The worker: claims a clip and carries it through the house, claim to ready. One slot is one clip at a time.

mod gather;
mod publish;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::{App, What};
use crate::clip::{Clip, ClipId, Failure, State};
use crate::cost::{Estimate, Experience};
use crate::cut::{CutError, sentence};
use crate::index::IndexError;
use crate::library::{LibraryError, blocking};
use crate::media::{Bench, FIT, Made, MediaError, Planned};
use crate::room;
use crate::store::disk;
use gather::Gathered;

/// At most this often is progress told.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// A safety net: the bell is rung on every submission.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Works off the queue until `stop`; the clip in hand is finished or interrupted by whoever stops the service.
pub async fn run(app: &App, stop: &CancellationToken) {
    loop {
        let bell = app.work.notified();
        tokio::pin!(bell);
        // Heard from here on, so that a submission between claim and wait is not missed.
        bell.as_mut().enable();
        if stop.is_cancelled() {
            return;
        }
        match app.index.claim(app.now()).await {
            Ok(Some((clip, seq))) => {
                app.bus.tell(clip.id, What::State(seq));
                carry(app, clip).await;
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(error = %chain(&error), "the queue cannot be read"),
        }
        tokio::select! {
            () = bell => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Why a clip in hand did not become ready.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    Cut(#[from] CutError),
    #[error("the index did not take it")]
    Index(#[from] IndexError),
    #[error("the clip could not be stored")]
    Store(#[from] std::io::Error),
    /// It was cancelled or removed meanwhile.
    #[error("nobody wants it any more")]
    Unwanted,
}

impl JobError {
    fn is_stop(&self) -> bool {
        matches!(
            self,
            JobError::Unwanted | JobError::Cut(CutError::Media(MediaError::Stopped))
        )
    }

    /// Whether the disk had no room for it.
    fn is_full(&self) -> bool {
        match self {
            JobError::Cut(error) => matches!(error, CutError::Media(MediaError::NoSpace)),
            JobError::Index(error) => error.is_full(),
            JobError::Store(error) => disk::is_full(error),
            JobError::Unwanted => false,
        }
    }

    /// Whether other bytes might do better.
    fn is_of_the_bytes(&self) -> bool {
        matches!(
            self,
            JobError::Cut(CutError::Media(
                MediaError::Unsupported(_)
                    | MediaError::NoVideo
                    | MediaError::NoFrames
                    | MediaError::Range(_)
                    | MediaError::Truncated { .. }
                    | MediaError::Damaged(_)
                    | MediaError::Check(_)
                    | MediaError::Splice(_)
                    | MediaError::Engine(_)
                    | MediaError::Io(_)
            ))
        )
    }

    fn failure(&self) -> Failure {
        match self {
            JobError::Cut(error) => error.failure(),
            JobError::Store(_) | JobError::Index(_) if self.is_full() => {
                CutError::Media(MediaError::NoSpace).failure()
            }
            JobError::Store(_) | JobError::Index(_) | JobError::Unwanted => Failure {
                code: "storage".to_owned(),
                detail: sentence(&self.to_string()),
                hint: "Try again; the operator finds the cause in the log.".to_owned(),
            },
        }
    }
}

async fn carry(app: &App, clip: Clip) {
    let id = clip.id;
    // Cancelled and started again at once: the first job still clears its work folder away, which is the second one's too.
    while app.jobs.holds(id) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let began = Instant::now();
    let stop = app.jobs.begin(id, clip.estimate.seconds);
    metrics::gauge!("meme_maker_jobs_running").increment(1.0);
    let (progress, changed) = watch::channel(0.0);
    let result = tokio::select! {
        result = make(app, &clip, &stop, &progress, began) => result,
        () = tell_progress(app, id, changed) => Err(JobError::Unwanted),
    };
    let store = app.store.clone();
    if let Err(error) = blocking(move || store.remove_work(id)).await {
        tracing::warn!(clip = %id, error = %error, "the work folder could not be removed");
    }
    let interrupted = app.jobs.end(id);
    metrics::gauge!("meme_maker_jobs_running").decrement(1.0);
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let settled = match result {
        // It was told when it was published.
        Ok(()) => Ok(None),
        Err(error) if error.is_stop() && interrupted => {
            tracing::info!(clip = %id, ms, "clip given back to the queue");
            app.index.give_back(app.now(), id).await
        }
        // The one who cancelled or removed it has said so already.
        Err(error) if error.is_stop() => Ok(None),
        Err(error) => {
            let failure = error.failure();
            if error.is_full() {
                room::press(app).await;
            }
            tracing::warn!(clip = %id, ms, code = failure.code, error = %chain(&error), "clip failed");
            metrics::counter!("meme_maker_clips_settled_total", "state" => "failed").increment(1);
            app.index.settle(app.now(), id, Some(failure)).await
        }
    };
    match settled {
        Ok(Some(seq)) => app.bus.tell(id, What::State(seq)),
        Ok(None) => {}
        Err(error) => {
            tracing::error!(clip = %id, error = %chain(&error), "the clip's end could not be written")
        }
    }
}

async fn make(
    app: &App,
    clip: &Clip,
    stop: &CancellationToken,
    progress: &watch::Sender<f64>,
    began: Instant,
) -> Result<(), JobError> {
    let id = clip.id;
    let store = app.store.clone();
    let dir = blocking(move || store.work_dir(id)).await?;
    let subject = id.to_string();
    let bench = app.tools.bench(&dir, stop, progress).about(&subject);
    let mut gathered = gather::gather(app, clip, &bench).await?;
    advance(app, id, State::Fetching, State::Cutting).await?;
    let made = match cut(app, clip, &bench, &gathered).await {
        Err(error) if error.is_of_the_bytes() && gathered.kept.is_some() => {
            tracing::warn!(clip = %id, error = %chain(&error), "what was kept is of no use; the source is asked");
            if let Some(kept) = gathered.kept {
                gather::forget(app, kept).await;
            }
            gathered = gather::fetch(app, clip, &bench).await?;
            cut(app, clip, &bench, &gathered).await?
        }
        made => made?,
    };
    let footprint = footprint(&dir).await;
    advance(app, id, State::Cutting, State::Storing).await?;
    let publishing = Instant::now();
    let fetched = &gathered.fetched;
    let seq = publish::publish(app, clip, &made, fetched.bytes).await?;
    // Nobody waits for what is only kept for later.
    app.bus.tell(id, What::State(seq));
    metrics::counter!("meme_maker_clips_settled_total", "state" => "ready").increment(1);
    metrics::histogram!("meme_maker_clip_seconds").record(began.elapsed().as_secs_f64());
    count(&made, fetched.seconds, publishing.elapsed());
    // What was not fetched tells nothing about fetching.
    if gathered.kept.is_none() {
        learn(app, clip, &made, fetched.seconds, footprint).await;
    }
    gather::keep(app, clip, &bench, &gathered).await;
    Ok(())
}

async fn cut(
    app: &App,
    clip: &Clip,
    bench: &Bench<'_>,
    gathered: &Gathered,
) -> Result<Made, JobError> {
    let fetched = &gathered.fetched;
    let planned = app.tools.plan(bench, fetched).await?;
    expect(app, clip, &planned, fetched.seconds).await?;
    Ok(app.tools.make(bench, planned, &clip.recipe).await?)
}

/// Where the time went, and by which method.
fn count(made: &Made, fetch_seconds: f64, publishing: Duration) {
    let (method, spent) = (made.method.as_str(), &made.seconds);
    for (stage, seconds) in [
        ("fetch", fetch_seconds),
        ("plan", spent.plan),
        ("cut", spent.encode),
        ("check", spent.check),
        ("publish", publishing.as_secs_f64()),
    ] {
        metrics::histogram!("meme_maker_stage_seconds", "stage" => stage, "method" => method)
            .record(seconds);
    }
    metrics::counter!("meme_maker_clips_made_total", "method" => method).increment(1);
    metrics::counter!("meme_maker_published_bytes_total").increment(made.checked.size);
}

/// Replaces the guess by what the plan says, and makes sure that there is room for it.
async fn expect(
    app: &App,
    clip: &Clip,
    planned: &Planned,
    fetch_seconds: f64,
) -> Result<(), JobError> {
    let cut = app.costs().of(&planned.work);
    app.jobs.expect(clip.id, cut.seconds);
    // What is still to be written: the clip may lie beside its parts while it is joined.
    let bytes = cut.bytes.saturating_mul(2) + planned.work.scratch;
    // A reading that failed is no reason to give up: the disk itself has the last word.
    if let Err(LibraryError::NoRoom(_)) =
        room::make_sure_of_room(app, bytes, clip.estimate.bytes).await
    {
        return Err(CutError::Media(MediaError::NoSpace).into());
    }
    let estimate = Estimate {
        seconds: fetch_seconds + cut.seconds,
        bytes,
    };
    Ok(app.index.set_estimate(clip.id, estimate).await?)
}

/// Bytes on the disk in a work folder; holes in sparse files take none, and what is linked from elsewhere is not the job's.
async fn footprint(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let dir = dir.to_owned();
    let counted = blocking(move || {
        let mut bytes = 0;
        for entry in std::fs::read_dir(dir)? {
            let meta = entry?.metadata()?;
            if meta.nlink() == 1 {
                bytes += meta.blocks() * 512;
            }
        }
        Ok(bytes)
    });
    counted.await.unwrap_or(0)
}

/// Remembers what the clip cost, for the estimates of later ones. A fallback was no fair trial, and a clip
/// that had to be made until it fitted tells nothing of one that is made once.
async fn learn(app: &App, clip: &Clip, made: &Made, fetch_seconds: f64, footprint: u64) {
    if made.fallback.is_some() || made.reason == FIT {
        return;
    }
    let experience = Experience {
        mode: clip.recipe.mode,
        length: clip.recipe.length().as_f64(),
        segments: clip.recipe.segments.len(),
        work: made.work,
        fetch_seconds,
        cut_seconds: made.seconds.total,
        size: made.checked.size,
        footprint,
    };
    let remembered = async {
        app.index.record_cost(app.now(), experience).await?;
        app.learn_costs().await
    };
    if let Err(error) = remembered.await {
        tracing::warn!(clip = %clip.id, error = %chain(&error), "the cost could not be remembered");
    }
}

async fn advance(app: &App, id: ClipId, from: State, to: State) -> Result<(), JobError> {
    let seq = app
        .index
        .advance(app.now(), id, from, to)
        .await?
        .ok_or(JobError::Unwanted)?;
    app.bus.tell(id, What::State(seq));
    Ok(())
}

/// Tells how far the job is, at most four times a second. Never ends by itself.
async fn tell_progress(app: &App, id: ClipId, mut changed: watch::Receiver<f64>) {
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        if changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        app.jobs.note(id, *changed.borrow_and_update());
        app.bus.tell(id, What::Progress);
    }
}

/// An error with its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
