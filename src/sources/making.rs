//! Previews in the making: one at a time in each lane, for as long as somebody asks, and never what is here already.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{find, reading, stopped_with};
use crate::app::App;
use crate::app::desk::{Lane, Standing};
use crate::clip::Failure;
use crate::cut::peek::{Bearings, Extent, Material};
use crate::cut::{CutError, sentence};
use crate::library::{LibraryError, blocking};
use crate::media::{Bench, MediaError};
use crate::recipe::Source;
use crate::room;
use crate::seconds::Seconds;
use crate::sighting::{Form, Seen, SourceId};
use crate::store::previews::Part;
use crate::upload::UploadId;
use crate::uploads;
use crate::worker::chain;

/// Why a part was not made.
#[derive(Debug, thiserror::Error)]
enum MakingError {
    #[error(transparent)]
    Cut(#[from] CutError),
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error("a file could not be read or written")]
    Io(#[from] std::io::Error),
    /// Nobody asks any more, or the source is forgotten.
    #[error("nobody wants it any more")]
    Unwanted,
}

impl From<MediaError> for MakingError {
    fn from(error: MediaError) -> MakingError {
        CutError::from(error).into()
    }
}

impl MakingError {
    fn is_stop(&self) -> bool {
        matches!(
            self,
            MakingError::Unwanted | MakingError::Cut(CutError::Media(MediaError::Stopped))
        )
    }

    fn failure(&self) -> Failure {
        match self {
            MakingError::Cut(error) => error.failure(),
            MakingError::Library(error @ LibraryError::NoRoom(_)) => Failure {
                code: "disk_low".to_owned(),
                detail: sentence(&error.to_string()),
                hint: "Try again later; the operator can free space.".to_owned(),
            },
            MakingError::Library(_) | MakingError::Io(_) | MakingError::Unwanted => Failure {
                code: "storage".to_owned(),
                detail: sentence(&self.to_string()),
                hint: "Try again; the operator finds the cause in the log.".to_owned(),
            },
        }
    }
}

/// What is not asked for any more for so long is given up.
const DESERTED: Duration = Duration::from_secs(60);
/// How long a slow part waits for clips to be done.
const AFTER_CLIPS: Duration = Duration::from_secs(30);

/// Works off the orders of a lane until `stop`.
pub async fn run(app: &App, lane: Lane, stop: &CancellationToken) {
    loop {
        let bell = app.desk.bell.notified();
        tokio::pin!(bell);
        // Heard from here on, so that an order between looking and waiting is not missed.
        bell.as_mut().enable();
        if stop.is_cancelled() {
            return;
        }
        if let Some((id, part)) = app.desk.take(lane) {
            tokio::select! {
                () = carry(app, id, part) => {}
                () = stop.cancelled() => return,
            }
            continue;
        }
        tokio::select! {
            () = bell => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn carry(app: &App, id: SourceId, part: Part) {
    let began = Instant::now();
    let (progress, changed) = watch::channel(0.0);
    let made = tokio::select! {
        made = make(app, id, part, &progress) => made,
        () = tell(app, id, part, changed) => Err(MakingError::Unwanted),
        () = deserted(app, id, part) => Err(MakingError::Unwanted),
    };
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    match made {
        Ok(()) => {
            tracing::info!(source = %id, part = ?part, ms, "preview made");
            metrics::counter!("meme_maker_previews_made_total", "part" => part.word()).increment(1);
            app.desk.note(id, part, Standing::Done);
        }
        Err(error) if error.is_stop() => app.desk.drop_order(id, part),
        Err(error) => {
            tracing::warn!(source = %id, part = ?part, ms, error = %chain(&error), "preview failed");
            let failed = Standing::Failed(error.failure(), Instant::now());
            app.desk.note(id, part, failed);
        }
    }
}

/// Tells how far the part is. Never ends by itself.
async fn tell(app: &App, id: SourceId, part: Part, mut changed: watch::Receiver<f64>) {
    while changed.changed().await.is_ok() {
        let progress = *changed.borrow_and_update();
        app.desk.note(id, part, Standing::Making(progress));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    std::future::pending::<()>().await;
}

async fn deserted(app: &App, id: SourceId, part: Part) {
    while app.desk.unasked_for(id, part) < DESERTED {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

async fn make(
    app: &App,
    id: SourceId,
    part: Part,
    progress: &watch::Sender<f64>,
) -> Result<(), MakingError> {
    let seen = app.index.source(id, app.now()).await;
    let seen = seen.map_err(LibraryError::from)?;
    let seen = seen.ok_or(MakingError::Unwanted)?;
    // It may have been finished between asking and ordering.
    if find(app, id, part).await.is_some() {
        return Ok(());
    }
    if Lane::of(part) == Lane::Slow {
        after_clips(app).await;
    }
    room::make_sure_of_room(app, expected(part), 0).await?;
    let previews = app.previews.clone();
    let dir = blocking(move || previews.work_dir()).await?;
    let _reading = reading(app, &seen.source);
    if let Source::Upload(upload) = &seen.source {
        use_upload(app, *upload).await?;
    }
    let stop = stopped_with(app);
    let bench = app.tools.bench(dir.path(), &stop, progress);
    let files = files(app, &bench, &seen, part).await;
    let (previews, most) = (app.previews.clone(), app.settings.storage.preview_bytes.0);
    let kept = match files {
        Ok(files) => {
            blocking(move || {
                previews.keep(id, part, &files)?;
                previews.shrink(most)
            })
            .await
        }
        Err(error) => {
            drop(tokio::task::spawn_blocking(move || drop(dir)));
            return Err(error);
        }
    };
    drop(tokio::task::spawn_blocking(move || drop(dir)));
    Ok(kept.map(drop)?)
}

/// Counts an upload as used, right before it is.
async fn use_upload(app: &App, id: UploadId) -> Result<(), MakingError> {
    match uploads::used(app, id).await {
        Ok(_) => Ok(()),
        Err(LibraryError::UploadGone) => Err(MakingError::Unwanted),
        Err(error) => Err(error.into()),
    }
}

/// Makes the files of a part in the work directory, in the order of [`Part::files`].
async fn files(
    app: &App,
    bench: &Bench<'_>,
    seen: &Seen,
    part: Part,
) -> Result<Vec<PathBuf>, MakingError> {
    let settings = &app.settings.sources;
    let most = settings.fetch_bytes.0;
    let from = material(app, bench, seen).await?;
    match part {
        Part::Copy => Ok(Vec::new()),
        Part::Filmstrip => {
            let strip = app.tools.filmstrip(bench, &from, most).await?;
            let end = from.end().or(seen.sighting.duration);
            let cues = strip.cues(end, "filmstrip");
            let path = bench.dir.join("cues.vtt");
            tokio::fs::write(&path, cues).await?;
            Ok(vec![strip.sheet, path])
        }
        Part::Waveform => {
            let wave = app.tools.waveform(bench, &from, most).await?;
            let wave = wave.ok_or(MediaError::Unsupported(None))?;
            let path = bench.dir.join("waveform.json");
            let text = serde_json::to_vec(&wave).map_err(std::io::Error::other)?;
            tokio::fs::write(&path, text).await?;
            Ok(vec![path])
        }
        Part::Texture => {
            let texture = app.tools.texture(bench, &from, &seen.sighting).await?;
            let path = bench.dir.join("texture.json");
            let text = serde_json::to_vec(&texture).map_err(std::io::Error::other)?;
            tokio::fs::write(&path, text).await?;
            Ok(vec![path])
        }
        Part::Preview => {
            let length = Seconds::from_whole(i64::from(settings.preview_seconds));
            let made = app.tools.preview(bench, &from, length).await?;
            Ok(vec![made])
        }
    }
}

/// What a preview is made from: the source itself where it lies here or its tables lead to single bytes, else a copy of it, or of its
/// beginning, which serves for all previews.
async fn material(app: &App, bench: &Bench<'_>, seen: &Seen) -> Result<Material, MakingError> {
    if seen.link().is_none() || seen.sighting.form == Form::Tables {
        return Ok(Material::Source(seen.source.clone()));
    }
    let id = seen.id;
    let _turn = app.desk.turn(&format!("copy {id}")).await;
    // Under a name of its own, so that it stays while it is read whatever is dropped meanwhile.
    let own = bench.dir.join("own");
    if let Some(files) = find(app, id, Part::Copy).await {
        let target = own.clone();
        let taken = blocking(move || {
            let [copy, bearings] = files.as_slice() else {
                return Err(std::io::ErrorKind::NotFound.into());
            };
            let bearings: Bearings = serde_json::from_slice(&std::fs::read(bearings)?)?;
            std::fs::hard_link(copy, target)?;
            Ok(bearings)
        });
        if let Ok(bearings) = taken.await {
            return Ok(Material::Copy(own, bearings));
        }
    }
    let (copy, bearings) = fetched(app, bench, seen).await?;
    let (previews, target) = (app.previews.clone(), own.clone());
    let told = bench.dir.join("copy.json");
    blocking(move || {
        std::fs::write(&told, serde_json::to_vec(&bearings)?)?;
        std::fs::hard_link(&copy, target)?;
        previews.keep(id, Part::Copy, &[copy, told])
    })
    .await?;
    Ok(Material::Copy(own, bearings))
}

/// Brings a link here: all of a file, the beginning of anything else.
async fn fetched(
    app: &App,
    bench: &Bench<'_>,
    seen: &Seen,
) -> Result<(PathBuf, Bearings), MakingError> {
    let settings = &app.settings.sources;
    let most = settings.fetch_bytes.0;
    match seen.sighting.form {
        Form::Tables | Form::File => {
            room::make_sure_of_room(app, most, 0).await?;
            let copy = app.tools.copied(bench, &seen.source, most).await?;
            Ok((copy, Bearings::default()))
        }
        Form::Pieces | Form::Page => {
            // For a moment both are here: what came, and what it is put together to.
            room::make_sure_of_room(app, most.saturating_mul(2), 0).await?;
            let most = Extent {
                bytes: most,
                length: Seconds::from_whole(i64::from(settings.preview_seconds)),
            };
            Ok(app.tools.gathered(bench, &seen.source, most).await?)
        }
    }
}

/// Clips come first; but not for ever.
async fn after_clips(app: &App) {
    let idle = async {
        while app.jobs.left() > 0.0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let _ = tokio::time::timeout(AFTER_CLIPS, idle).await;
}

/// Bytes that a part may take.
const fn expected(part: Part) -> u64 {
    match part {
        Part::Filmstrip | Part::Waveform => 10_000_000,
        Part::Texture => 30_000_000,
        Part::Copy | Part::Preview => 100_000_000,
    }
}
