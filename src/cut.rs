//! From a recipe to a finished file: source opened, windows fetched, plan made, clip cut and checked. The worker and the command
//! line both come through here; neither index nor store is known.

mod link;
mod opening;
mod page;
pub mod peek;
mod pieces;
mod sight;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::clip::Failure;
use crate::config::Settings;
use crate::media::probe::TimeBase;
use crate::media::window::{self, Feed, Looked, Window};
use crate::media::{self, Bench, Engine, Input, Made, MediaError, Planned, Progress, sidecar};
use crate::recipe::{Mode, Recipe, SHORTEST, Segment, Source};
use crate::seconds::Seconds;
use crate::sighting::{Chapter, Form, Heat};
use crate::source::fetch::{FetchError, Fetcher};
use crate::source::gate::{Budget, Gate};
use crate::source::page::PageError;
use crate::source::playlist::{Ending, PlaylistError, Presentation, Wish};
use crate::source::{self, Folders, Opened, Place, SourceError};
use link::Found;
use pieces::{Later, Reel};

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
        let height = recipe.height.unwrap_or(self.engine.max_height);
        let fetching = async {
            let mut film = self.film(bench, &opened, height).await?;
            let (windows, recipe) = film.windows(bench, recipe).await?;
            Ok((windows, recipe, film.page_bytes))
        };
        let (windows, recipe, page_bytes) = explained(timely(bench, fetching).await, &opened)?;
        Ok(Fetched {
            windows,
            recipe,
            bytes: opened.bytes() + page_bytes,
            seconds: began.elapsed().as_secs_f64(),
        })
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

    /// Finds out what a source is.
    async fn film(
        &self,
        bench: &Bench<'_>,
        opened: &Opened,
        height: u32,
    ) -> Result<Film, CutError> {
        let (url, proxy) = match &opened.place {
            Place::File(path) => {
                let input = Input::File(path.clone());
                let looked = window::look(bench, &input).await?;
                return Ok(Film::of(Reel::Read(input, Box::new(looked))));
            }
            Place::Link { url, proxy } => (url, proxy),
        };
        let fetcher = Fetcher::new(proxy)?;
        let wish = Wish { height };
        let found = link::find(bench, &fetcher, url, wish, &bench.dir.join("source.mp4")).await?;
        match found {
            Found::Presentation(presentation) => self.presented(fetcher, presentation),
            Found::Tables(spool, looked) => Ok(Film::of(Reel::Tables {
                spool,
                looked,
                link: Some(link_input(url, proxy)),
            })),
            Found::Page => self.paged(bench, url, proxy, height).await,
            Found::Refused(status) => {
                let paged = self.paged(bench, url, proxy, height).await;
                paged.map_err(|error| match error {
                    CutError::Page(PageError::Off) => FetchError::Status(status).into(),
                    error => error,
                })
            }
            Found::Other(_) => {
                let input = link_input(url, proxy);
                // The server gave what it was asked for: nobody may blame it.
                let looked = window::look(bench, &input).await;
                let looked = looked.map_err(MediaError::of_what_is_there)?;
                Ok(Film::of(Reel::Read(input, Box::new(looked))))
            }
            Found::Nothing => {
                let input = link_input(url, proxy);
                let looked = window::look(bench, &input).await?;
                Ok(Film::of(Reel::Read(input, Box::new(looked))))
            }
        }
    }

    /// The video on a page: its streams, each looked at with the headers that its server wants.
    async fn paged(
        &self,
        bench: &Bench<'_>,
        url: &url::Url,
        proxy: &str,
        height: u32,
    ) -> Result<Film, CutError> {
        // What a page says fits into little, and the program holds all of it in memory.
        let budget = Budget {
            bytes: PAGE_BYTES.min(self.budget.bytes),
            ..self.budget.clone()
        };
        let lease = self.gate.lease_for(url, budget, bench.subject);
        let page = self
            .pages
            .read(bench, url, &lease.proxy_url(), height)
            .await;
        let page = page.map_err(|error| match lease.refusal() {
            Some(refusal) => SourceError::Refused(refusal).into(),
            None => error,
        })?;
        let mut film = self
            .streamed(bench, &page.video, proxy, height, "pictures")
            .await?;
        // A manifest has both, and knows better which of its sounds belongs to which pictures.
        let beside = page.audio.as_ref().filter(|_| film.sound.is_none());
        if let Some(audio) = beside {
            film.sound = Some(
                self.streamed(bench, audio, proxy, height, "sound")
                    .await?
                    .pictures,
            );
        }
        film.page_bytes = lease.bytes();
        film.form = Form::Page;
        film.about = About {
            title: page.title,
            duration: page.duration,
            thumbnail: page.thumbnail,
            chapters: page.chapters,
            heatmap: page.heatmap,
        };
        Ok(film)
    }

    async fn streamed(
        &self,
        bench: &Bench<'_>,
        stream: &source::page::Stream,
        proxy: &str,
        height: u32,
        name: &str,
    ) -> Result<Film, CutError> {
        let fetcher = Fetcher::new(proxy)?.on_behalf_of(stream);
        let path = bench.dir.join(format!("{name}.source"));
        let wish = Wish { height };
        match link::find(bench, &fetcher, &stream.url, wish, &path).await? {
            Found::Presentation(presentation) => self.presented(fetcher, presentation),
            Found::Tables(spool, looked) => Ok(Film::of(Reel::Tables {
                spool,
                looked,
                link: None,
            })),
            // A program's arguments are no place for headers: all of it comes here first, once it is known to be wanted.
            Found::Other(spool) => Ok(Film::of(Reel::Later(Later::Ranges(spool)))),
            Found::Nothing => Ok(Film::of(Reel::Later(Later::Plain {
                fetcher,
                url: stream.url.clone(),
                path,
            }))),
            Found::Refused(status) => Err(FetchError::Status(status).into()),
            Found::Page => Err(PageError::Unsupported.into()),
        }
    }

    fn presented(
        &self,
        fetcher: Fetcher,
        mut presentation: Presentation,
    ) -> Result<Film, CutError> {
        if presentation.ending == Ending::Live {
            if self.live == Seconds::ZERO {
                return Err(PlaylistError::Live.into());
            }
            presentation.newest(self.live);
        }
        let sound = presentation.sound.map(|timeline| Reel::Pieces {
            fetcher: fetcher.clone(),
            timeline,
        });
        Ok(Film {
            pictures: Reel::Pieces {
                fetcher,
                timeline: presentation.pictures,
            },
            sound,
            form: Form::Pieces,
            ending: presentation.ending,
            about: About::default(),
            page_bytes: 0,
        })
    }
}

fn link_input(url: &url::Url, proxy: &str) -> Input {
    Input::Link {
        url: url.to_string(),
        proxy: proxy.to_owned(),
    }
}

/// What is cut from: pictures, and sound when it comes apart from them.
struct Film {
    pictures: Reel,
    sound: Option<Reel>,
    form: Form,
    ending: Ending,
    about: About,
    /// What finding it cost beside the source's own bytes.
    page_bytes: u64,
}

/// What is known of a source beside its bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    pub title: Option<String>,
    pub duration: Option<Seconds>,
    pub thumbnail: Option<url::Url>,
    pub chapters: Vec<Chapter>,
    pub heatmap: Vec<Heat>,
}

/// What a look at a source found.
pub struct Glance {
    pub looked: Looked,
    pub form: Form,
    pub about: About,
    /// Bytes that travelled.
    pub bytes: u64,
}

/// Whether the sound is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    Wanted,
    Muted,
}

impl Film {
    fn of(pictures: Reel) -> Film {
        let form = match &pictures {
            Reel::Tables { .. } => Form::Tables,
            Reel::Read(..) | Reel::Later(_) => Form::File,
            Reel::Pieces { .. } => Form::Pieces,
        };
        Film {
            pictures,
            sound: None,
            form,
            ending: Ending::Complete,
            about: About::default(),
            page_bytes: 0,
        }
    }

    async fn look(&mut self, bench: &Bench<'_>) -> Result<Looked, CutError> {
        let mut looked = self.pictures.look(bench).await?;
        if let Some(sound) = &mut self.sound {
            looked.probe.audio = Some(sound.hear(bench).await?.audio);
        }
        Ok(looked)
    }

    /// The windows, and the recipe with one segment for each of them.
    async fn windows(
        &mut self,
        bench: &Bench<'_>,
        recipe: &Recipe,
    ) -> Result<(Vec<Window>, Recipe), CutError> {
        if self.sound.is_none()
            && let Some(windows) = self.pictures.windows(bench, recipe).await?
        {
            return Ok((windows, recipe.clone()));
        }
        let mut recipe = recipe.clone();
        let asked = recipe.segments.len();
        recipe.segments = recipe
            .segments
            .iter()
            .flat_map(|segment| self.asunder(*segment))
            .collect();
        // Parts can only be joined by cutting exactly.
        if recipe.segments.len() > asked {
            recipe.mode = Mode::Exact;
        }
        let hearing = if recipe.mute {
            Hearing::Muted
        } else {
            Hearing::Wanted
        };
        let mut windows: Vec<Window> = Vec::new();
        for (number, segment) in recipe.segments.iter().enumerate() {
            let ticks = windows.first().map(|first| first.video.time_base);
            let place = (number, ticks);
            let window = self.window(bench, *segment, hearing, place).await?;
            if ticks.is_some_and(|ticks| ticks != window.video.time_base) {
                let why = "their pictures are timed in different ways".to_owned();
                return Err(MediaError::Splice(why).into());
            }
            windows.push(window);
        }
        Ok((windows, recipe))
    }

    /// The window of a segment that lies in one run, with its number and the ticks that it has to count in.
    async fn window(
        &mut self,
        bench: &Bench<'_>,
        segment: Segment,
        hearing: Hearing,
        (number, ticks): (usize, Option<TimeBase>),
    ) -> Result<Window, CutError> {
        let (input, probe) = self.pictures.seen(bench, segment, number).await?;
        let sound = match (&mut self.sound, hearing) {
            (Some(reel), Hearing::Wanted) => {
                reel.heard(bench, segment, number, probe.zero_at).await?
            }
            (Some(_), Hearing::Muted) | (None, _) => None,
        };
        let feed = Feed {
            pictures: (&input, &probe),
            sound: sound.as_ref().map(|(input, sound)| (input, sound)),
            ticks,
        };
        Ok(window::fetch_one(bench, &feed, segment, number).await?)
    }

    /// A segment in parts that lie in one run each. What would be shorter than a clip may be stays with its neighbour.
    fn asunder(&self, segment: Segment) -> Vec<Segment> {
        let mut breaks: Vec<Seconds> = [Some(&self.pictures), self.sound.as_ref()]
            .into_iter()
            .flatten()
            .flat_map(|reel| reel.breaks(segment))
            .collect();
        breaks.sort_unstable();
        let mut parts = Vec::new();
        let mut start = segment.start;
        for place in breaks {
            // Two renditions rarely break at the very same moment.
            if place - start >= SHORTEST && segment.end - place >= SHORTEST {
                parts.push(Segment { start, end: place });
                start = place;
            }
        }
        parts.push(Segment {
            start,
            end: segment.end,
        });
        parts
    }
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
