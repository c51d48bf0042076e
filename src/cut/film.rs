//! What is cut from: pictures, and sound when it comes apart from them, found behind a file, a link, a playlist or a page. It knows where each
//! stretch has to be put asunder, and how windows of it come to lie on the disk.

use crate::media::probe::TimeBase;
use crate::media::window::{self, Feed, Looked, Window};
use crate::media::{Bench, Input, MediaError};
use crate::recipe::{Mode, Recipe, SHORTEST, Segment};
use crate::seconds::Seconds;
use crate::sighting::{Chapter, Form, Heat};
use crate::source::fetch::{FetchError, Fetcher};
use crate::source::gate::Budget;
use crate::source::page::{PageError, Stream};
use crate::source::playlist::{Ending, PlaylistError, Presentation, Wish};
use crate::source::{Opened, Place, SourceError};

use super::assembly::HEADER;
use super::link::{self, Found};
use super::pieces::{Later, Reel};
use super::{CutError, PAGE_BYTES, Tools};

/// What is cut from: pictures, and sound when it comes apart from them.
pub(super) struct Film {
    pub(super) pictures: Reel,
    pub(super) sound: Option<Reel>,
    pub(super) form: Form,
    pub(super) ending: Ending,
    pub(super) about: About,
    /// What finding it cost beside the source's own bytes.
    pub(super) page_bytes: u64,
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

/// Whether the sound is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
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

    pub(super) async fn look(&mut self, bench: &Bench<'_>) -> Result<Looked, CutError> {
        let mut looked = self.pictures.look(bench).await?;
        if let Some(sound) = &mut self.sound {
            looked.probe.audio = Some(sound.hear(bench).await?.audio);
        }
        Ok(looked)
    }

    /// The windows, and the recipe with one segment for each of them.
    pub(super) async fn windows(
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
        let hearing = if !recipe.wants_sound() {
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
    pub(super) async fn window(
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
    pub(super) fn asunder(&self, segment: Segment) -> Vec<Segment> {
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

impl Tools {
    /// Finds out what a source is.
    pub(super) async fn film(
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
            Found::Backward => Ok(Film::of(Reel::Later(Later::Plain {
                fetcher,
                url: url.clone(),
                path: bench.dir.join("source.mp4"),
                enough: None,
            }))),
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
        stream: &Stream,
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
            found @ (Found::Nothing | Found::Backward) => Ok(Film::of(Reel::Later(Later::Plain {
                fetcher,
                url: stream.url.clone(),
                path,
                enough: matches!(found, Found::Nothing).then_some(HEADER),
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
