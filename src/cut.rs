//! From a recipe to a finished file: source opened, windows fetched, plan made, clip cut and checked. The worker and the command
//! line both come through here; neither index nor store is known.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::clip::Failure;
use crate::config::Settings;
use crate::media::splice::movie::{self, TopBox};
use crate::media::window::whole::{MOST_BACK, Whole};
use crate::media::window::{self, Looked, Window};
use crate::media::{self, Bench, Engine, Input, Made, MediaError, Planned, Progress, sidecar};
use crate::recipe::{Recipe, Segment, Source};
use crate::source::gate::{Budget, Gate};
use crate::source::spool::{Spool, SpoolError};
use crate::source::{self, Folders, Opened, Place, SourceError};

/// The engine and the way out.
pub struct Tools {
    pub engine: Engine,
    pub gate: Gate,
    /// The folder of uploads.
    uploads: PathBuf,
    budget: Budget,
}

/// A source with its windows in the work directory.
pub struct Fetched {
    windows: Vec<Window>,
    /// Bytes that travelled.
    pub bytes: u64,
    pub seconds: f64,
}

/// Why there is no clip.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Media(#[from] MediaError),
}

impl CutError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            CutError::Source(error) => error.code(),
            CutError::Media(error) => error.code(),
        }
    }

    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            CutError::Source(error) => error.hint(),
            CutError::Media(error) => error.hint(),
        }
    }

    /// In the words for whoever asked for the clip.
    pub fn failure(&self) -> Failure {
        Failure {
            code: self.code().to_owned(),
            detail: sentence(&self.to_string()),
            hint: self.hint().to_owned(),
        }
    }
}

/// A message of ours as a sentence: first letter large, full stop.
pub fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().collect::<String>())
        .unwrap_or_default();
    let rest = letters.as_str();
    let stop = if rest.ends_with(['.', '?', '!']) {
        ""
    } else {
        "."
    };
    format!("{first}{rest}{stop}")
}

impl Tools {
    /// From the settings.
    pub fn new(settings: &Settings, gate: Gate) -> Tools {
        let engine = &settings.engine;
        Tools {
            engine: Engine {
                programs: sidecar::Programs {
                    // Not the path it was started by: that may hold a newer version by now.
                    launcher: PathBuf::from("/proc/self/exe"),
                    ffmpeg: engine.ffmpeg.clone(),
                    ffprobe: engine.ffprobe.clone(),
                    memory: engine.memory.0,
                },
                threads: engine.threads.clamp(1, 16),
                preset: engine.preset.clone(),
                crf: engine.crf,
                max_height: engine.max_height,
                max_pixels: engine.max_pixels,
                probe_deadline: Duration::from_secs(engine.probe_seconds),
                fetch_deadline: Duration::from_secs(engine.fetch_seconds),
                cut_deadline: Duration::from_secs(engine.cut_seconds),
            },
            gate,
            uploads: settings.uploads_dir(),
            budget: Budget {
                bytes: settings.egress.max_bytes.0,
                deadline: Duration::from_secs(engine.probe_seconds + engine.fetch_seconds),
                connections: settings.egress.max_connections,
                connect_timeout: Duration::from_secs(settings.egress.connect_seconds),
            },
        }
    }

    /// A place to work at.
    pub fn bench<'a>(
        &'a self,
        dir: &'a Path,
        stop: &'a CancellationToken,
        progress: &'a Progress,
    ) -> Bench<'a> {
        Bench {
            engine: &self.engine,
            dir,
            stop,
            progress,
        }
    }

    /// Looks at a source.
    ///
    /// # Errors
    /// When it is refused, cannot be reached or read.
    pub async fn look(
        &self,
        bench: &Bench<'_>,
        source: &Source,
    ) -> Result<(Looked, u64), CutError> {
        let opened = self.open(bench, source)?;
        let looked = async {
            let spooled = spooled(bench, &opened, None).await?;
            if let Spooled::Here(_, looked) = spooled {
                return Ok(*looked);
            }
            let input = input(&opened);
            let looked = spooled.blamed(window::look(bench, &input).await)?;
            looked.with_keyframes(bench, &input).await
        };
        let looked = explained(looked.await, &opened)?;
        Ok((looked, opened.bytes()))
    }

    /// Fetches the windows of a recipe, one per segment.
    ///
    /// # Errors
    /// When the source is refused, cannot be reached or read, or does not hold the segments.
    pub async fn fetch(&self, bench: &Bench<'_>, recipe: &Recipe) -> Result<Fetched, CutError> {
        let began = Instant::now();
        let opened = self.open(bench, &recipe.source)?;
        let windows = async {
            let spooled = spooled(bench, &opened, Some(recipe)).await?;
            if let Spooled::Here(input, looked) = &spooled {
                return window::fetch(bench, input, looked, recipe).await;
            }
            let input = input(&opened);
            let looked = spooled.blamed(window::look(bench, &input).await)?;
            spooled.blamed(window::fetch(bench, &input, &looked, recipe).await)
        };
        let windows = explained(windows.await, &opened)?;
        Ok(Fetched {
            windows,
            bytes: opened.bytes(),
            seconds: began.elapsed().as_secs_f64(),
        })
    }

    /// Plans the clip from its windows.
    ///
    /// # Errors
    /// When there is nothing to cut.
    pub async fn plan(
        &self,
        bench: &Bench<'_>,
        fetched: &Fetched,
        recipe: &Recipe,
    ) -> Result<Planned, CutError> {
        Ok(media::plan(bench, &fetched.windows, recipe).await?)
    }

    /// Makes the clip as planned.
    ///
    /// # Errors
    /// When no clip comes out that passes the check.
    pub async fn make(
        &self,
        bench: &Bench<'_>,
        planned: Planned,
        recipe: &Recipe,
    ) -> Result<Made, CutError> {
        Ok(media::make(bench, planned, recipe).await?)
    }

    fn open(&self, bench: &Bench<'_>, source: &Source) -> Result<Opened, SourceError> {
        let folders = Folders {
            uploads: &self.uploads,
            work: bench.dir,
        };
        source::open(&self.gate, folders, source, self.budget.clone())
    }
}

fn input(opened: &Opened) -> Input {
    match &opened.place {
        Place::File(path) => Input::File(path.clone()),
        Place::Link { url, proxy } => Input::Link {
            url: url.clone(),
            proxy: proxy.clone(),
        },
    }
}

/// What became of fetching by ranges.
enum Spooled {
    /// An MP4 in the work directory, as far as it is needed.
    Here(Input, Box<Looked>),
    /// The server gives ranges, but this is no MP4 that can be cut in place.
    Other,
    /// Nothing is known: ffmpeg reads the source, and says what is wrong if anything is.
    Nothing,
}

impl Spooled {
    /// Lets nobody blame a server that just gave what it was asked for.
    fn blamed<T>(&self, result: Result<T, MediaError>) -> Result<T, MediaError> {
        match self {
            Spooled::Here(..) | Spooled::Other => result.map_err(MediaError::of_what_is_there),
            Spooled::Nothing => result,
        }
    }
}

/// Fetches an MP4 behind a link by ranges: its index and what some segments need, into a sparse file in the work directory.
async fn spooled(
    bench: &Bench<'_>,
    opened: &Opened,
    recipe: Option<&Recipe>,
) -> Result<Spooled, MediaError> {
    let Place::Link { url, proxy } = &opened.place else {
        return Ok(Spooled::Nothing);
    };
    let path = bench.dir.join("source.mp4");
    let work = async {
        let mut spool = Spool::open(url, proxy, &path).await?;
        if !index_fetched(&mut spool).await? {
            return Ok(Spooled::Other);
        }
        let Some(whole) = Whole::open(&path, bench.engine.max_pixels).await else {
            return Ok(Spooled::Other);
        };
        let looked = Looked::of(whole);
        if let Some(recipe) = recipe {
            if !looked.serves(recipe) {
                return Ok(Spooled::Other);
            }
            for segment in &recipe.segments {
                if !stretch_fetched(&mut spool, &looked, *segment).await? {
                    return Ok(Spooled::Other);
                }
            }
        }
        Ok::<_, SpoolError>(Spooled::Here(Input::File(path.clone()), Box::new(looked)))
    };
    let spooled = tokio::select! {
        spooled = tokio::time::timeout(bench.engine.fetch_deadline, work) => spooled,
        () = bench.stop.cancelled() => return Err(MediaError::Stopped),
    };
    match spooled {
        Ok(Ok(here @ Spooled::Here(..))) => Ok(here),
        Ok(Err(SpoolError::Io(error))) if error.kind() == std::io::ErrorKind::StorageFull => {
            Err(MediaError::NoSpace)
        }
        Err(_) => Err(MediaError::Timeout),
        Ok(other) => {
            // It may hold much already.
            let _ = tokio::fs::remove_file(&path).await;
            Ok(other.unwrap_or(Spooled::Nothing))
        }
    }
}

/// Fetches what a segment needs; false when that cannot be told.
async fn stretch_fetched(
    spool: &mut Spool,
    looked: &Looked,
    segment: Segment,
) -> Result<bool, SpoolError> {
    let Some(whole) = &looked.whole else {
        return Ok(false);
    };
    for back in 0..MOST_BACK {
        let own = Arc::clone(whole);
        let extents = tokio::task::spawn_blocking(move || own.extents(segment, back));
        let extents = extents.await.map_err(std::io::Error::other)?;
        spool.want(extents.into_iter()).await?;
        let own = Arc::clone(whole);
        let begins = tokio::task::spawn_blocking(move || own.begins_whole(segment, back));
        if begins.await.map_err(std::io::Error::other)?? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fetches the index of an MP4, wherever in the file it is; whether there is one.
async fn index_fetched(spool: &mut Spool) -> Result<bool, SpoolError> {
    const MOST_BOXES: usize = 16;
    let mut start = 0_u64;
    for _ in 0..MOST_BOXES {
        let head = start..start.saturating_add(movie::BOX_HEAD);
        spool.want(std::iter::once(head.clone())).await?;
        match movie::top_box(&spool.read(head)?, start, spool.length()) {
            TopBox::Index { end } if end - start <= movie::MOST_INDEX => {
                spool.want(std::iter::once(start..end)).await?;
                return Ok(true);
            }
            TopBox::Other { end } => start = end,
            TopBox::Index { .. } | TopBox::Unreadable => return Ok(false),
        }
    }
    Ok(false)
}

/// What the gate refused explains what ffmpeg could not read.
fn explained<T>(result: Result<T, MediaError>, opened: &Opened) -> Result<T, CutError> {
    result.map_err(|error| match (error, opened.refusal()) {
        (MediaError::Stopped, _) => MediaError::Stopped.into(),
        (_, Some(refusal)) => SourceError::Refused(refusal).into(),
        (error, None) => error.into(),
    })
}
