//! From a recipe to a finished file: source opened, windows fetched, plan made, clip cut and checked. The worker and the command
//! line both come through here; neither index nor store is known.

mod assembly;
mod film;
mod kept;
mod link;
mod opening;
mod page;
pub mod peek;
mod pieces;
mod sight;
mod texture;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::clip::Failure;
use crate::config::Settings;
use crate::media::window::{Looked, Window};
use crate::media::{self, Bench, Engine, Made, MediaError, Planned, Progress, sidecar};
use crate::recipe::{Recipe, Source};
use crate::seconds::Seconds;
use crate::sighting::Form;
use crate::source::fetch::FetchError;
use crate::source::gate::{Budget, Gate};
use crate::source::page::PageError;
use crate::source::playlist::PlaylistError;
use crate::source::{self, Folders, Opened, SourceError};
pub use film::About;
use film::{Film, Hearing};
pub use kept::Card;

/// The engine and the way out.
pub struct Tools {
    pub engine: Engine,
    pub gate: Gate,
    /// The folder of uploads.
    uploads: PathBuf,
    budget: Budget,
    pages: page::Reader,
    /// So much of what is still being broadcast may be cut from; none of it at zero.
    live: Seconds,
}

/// A source with its windows in the work directory.
pub struct Fetched {
    windows: Vec<Window>,
    /// What the windows are for: the segments that were asked for, put asunder where the source is.
    recipe: Recipe,
    /// Bytes that travelled.
    pub bytes: u64,
    pub seconds: f64,
    /// What others can be cut from, in files of the job's folder; none of what was cut from such, or is on the disk anyway.
    pub card: Option<Card>,
}

/// What a look at a source may cost: an index of 64 MiB, and the beginnings of two streams.
const LOOK_BYTES: u64 = 96 << 20;
/// A page and everything that the program asks to understand it.
const PAGE_BYTES: u64 = 64 << 20;

/// Why there is no clip.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Media(#[from] MediaError),
    #[error(transparent)]
    Playlist(#[from] PlaylistError),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("a part of the source could not be fetched: {0}")]
    Fetch(#[from] FetchError),
}

impl CutError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            CutError::Source(error) => error.code(),
            CutError::Media(error) => error.code(),
            CutError::Playlist(error) => error.code(),
            CutError::Page(error) => error.code(),
            CutError::Fetch(error) => error.code(),
        }
    }

    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            CutError::Source(error) => error.hint(),
            CutError::Media(error) => error.hint(),
            CutError::Playlist(error) => error.hint(),
            CutError::Page(error) => error.hint(),
            CutError::Fetch(error) => error.hint(),
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
                    readable: engine.readable.clone(),
                },
                threads: engine.threads.clamp(1, 16),
                preset: engine.preset.clone(),
                crf: engine.crf,
                fit_preset: engine.fit_preset.clone(),
                max_height: engine.max_height,
                max_pixels: engine.max_pixels,
                probe_deadline: Duration::from_secs(engine.probe_seconds),
                fetch_deadline: Duration::from_secs(engine.fetch_seconds),
                cut_deadline: Duration::from_secs(engine.cut_seconds),
                fonts: engine.fonts.clone(),
            },
            gate,
            uploads: settings.uploads_dir(),
            budget: Budget {
                bytes: settings.egress.max_bytes.0,
                deadline: Duration::from_secs(engine.probe_seconds + engine.fetch_seconds),
                connections: settings.egress.max_connections,
                connect_timeout: Duration::from_secs(settings.egress.connect_seconds),
            },
            pages: page::Reader::new(&settings.sources),
            live: Seconds::from_whole(i64::from(settings.limits.live_seconds)),
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
            subject: None,
        }
    }

    /// Looks at a source.
    ///
    /// # Errors
    /// When it is refused, cannot be reached or read.
    pub async fn look(&self, bench: &Bench<'_>, source: &Source) -> Result<Glance, CutError> {
        // Beginnings, tables and playlists are enough.
        let budget = Budget {
            bytes: LOOK_BYTES.min(self.budget.bytes),
            ..self.budget.clone()
        };
        let folders = self.folders(bench);
        let opened = source::open(&self.gate, folders, source, budget, bench.subject)?;
        let looked = async {
            let mut film = self.film(bench, &opened, self.engine.max_height).await?;
            let looked = film.look(bench).await?;
            Ok(Glance {
                looked,
                form: film.form,
                about: film.about,
                bytes: film.page_bytes,
            })
        };
        let glance = explained(timely(bench, looked).await, &opened)?;
        Ok(Glance {
            bytes: glance.bytes + opened.bytes(),
            ..glance
        })
    }

    /// Fetches the windows of a recipe, one per segment.
    ///
    /// # Errors
    /// When the source is refused, cannot be reached or read, or does not hold the segments.
    pub async fn fetch(&self, bench: &Bench<'_>, recipe: &Recipe) -> Result<Fetched, CutError> {
        let began = Instant::now();
        let opened = self.open(bench, &recipe.source)?;
        let height = kept::height_of(recipe, self.engine.max_height);
        let fetching = async {
            let mut film = self.film(bench, &opened, height).await?;
            let (windows, cut) = film.windows(bench, recipe).await?;
            let card = Card::of(bench.dir, &film, &windows, recipe, height);
            Ok((windows, cut, card, film.page_bytes))
        };
        let (windows, recipe, card, page_bytes) =
            explained(timely(bench, fetching).await, &opened)?;
        Ok(Fetched {
            windows,
            recipe,
            bytes: opened.bytes() + page_bytes,
            seconds: began.elapsed().as_secs_f64(),
            card,
        })
    }

    /// The windows of a recipe out of what was fetched before, in files whose names `place` gives; none when that does not hold all of it.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub async fn refetch(
        &self,
        bench: &Bench<'_>,
        recipe: &Recipe,
        card: &Card,
        place: impl Fn(&str) -> PathBuf,
    ) -> Result<Option<Fetched>, CutError> {
        let began = Instant::now();
        if !card.may_serve(recipe, self.engine.max_height) {
            return Ok(None);
        }
        let reading = async { Ok(card.windows(bench, recipe, place).await?) };
        let windows = timely(bench, reading).await?;
        Ok(windows.map(|windows| Fetched {
            windows,
            recipe: recipe.clone(),
            bytes: 0,
            seconds: began.elapsed().as_secs_f64(),
            card: None,
        }))
    }

    /// Plans the clip from its windows.
    ///
    /// # Errors
    /// When there is nothing to cut.
    pub async fn plan(&self, bench: &Bench<'_>, fetched: &Fetched) -> Result<Planned, CutError> {
        Ok(media::plan(bench, &fetched.windows, &fetched.recipe).await?)
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
        let (folders, budget) = (self.folders(bench), self.budget.clone());
        source::open(&self.gate, folders, source, budget, bench.subject)
    }

    fn folders<'a>(&'a self, bench: &Bench<'a>) -> Folders<'a> {
        Folders {
            uploads: &self.uploads,
            work: bench.dir,
        }
    }
}

/// What a look at a source found.
pub struct Glance {
    pub looked: Looked,
    pub form: Form,
    pub about: About,
    /// Bytes that travelled.
    pub bytes: u64,
}

/// Lets nothing take longer than fetching may, or go on when nobody waits.
async fn timely<T>(
    bench: &Bench<'_>,
    work: impl Future<Output = Result<T, CutError>>,
) -> Result<T, CutError> {
    // A sidecar that is asked to stop needs a moment.
    const GRACE: Duration = Duration::from_millis(600);
    tokio::pin!(work);
    tokio::select! {
        done = tokio::time::timeout(bench.engine.fetch_deadline, &mut work) => {
            done.unwrap_or(Err(MediaError::Timeout.into()))
        }
        () = bench.stop.cancelled() => {
            let _ = tokio::time::timeout(GRACE, work).await;
            Err(MediaError::Stopped.into())
        }
    }
}

/// What the gate refused explains what could not be read.
fn explained<T>(result: Result<T, CutError>, opened: &Opened) -> Result<T, CutError> {
    result.map_err(|error| match (error, opened.refusal()) {
        (CutError::Media(MediaError::Stopped), _) => MediaError::Stopped.into(),
        (CutError::Fetch(FetchError::Io(error)), None) => MediaError::from(error).into(),
        (_, Some(refusal)) => SourceError::Refused(refusal).into(),
        (error, None) => error,
    })
}
