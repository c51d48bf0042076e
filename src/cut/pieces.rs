//! One rendition of a source and how stretches of it come to lie on the disk: whole files read by ffmpeg, MP4s fetched by their tables,
//! and timelines of pieces, of which exactly those are fetched that hold the stretch.

use std::path::{Path, PathBuf};

use url::Url;

use super::CutError;
use super::assembly::{Assembly, CLOSE, HEADER, Want};
use super::link::{stretch_fetched, unfetched};
use super::peek::length;
use crate::media::probe::{self, Probe, Sound};
use crate::media::window::{self, Looked, Window};
use crate::media::{Bench, Input, MediaError};
use crate::recipe::{Recipe, SHORTEST, Segment};
use crate::seconds::Seconds;
use crate::source::fetch::{FetchError, Fetcher, Sink};
use crate::source::playlist::{Chunks, Part, PlaylistError, Run, Timeline};
use crate::source::spool::{Spool, SpoolError};

/// One rendition.
pub enum Reel {
    /// ffmpeg reads it where it is.
    Read(Input, Box<Looked>),
    /// An MP4 behind a link whose tables are here.
    Tables {
        spool: Box<Spool>,
        looked: Box<Looked>,
        /// The same for ffmpeg, when the tables do not help; none when it needs more than an address.
        link: Option<Input>,
    },
    /// A file behind a link whose server wants more than an address: it comes here whole, once it is known to be wanted.
    Later(Later),
    Pieces {
        fetcher: Fetcher,
        timeline: Timeline,
    },
}

/// What is still to be fetched.
pub enum Later {
    Ranges(Box<Spool>),
    Plain {
        fetcher: Fetcher,
        url: Url,
        path: PathBuf,
        /// So much of it tells what it is; all of it, unless said.
        enough: Option<u64>,
    },
}

impl Later {
    /// Enough of it to tell what it is.
    async fn beginning(&mut self) -> Result<Input, CutError> {
        match self {
            Later::Ranges(spool) => {
                let some = std::iter::once(0..HEADER);
                spool.want(some).await.map_err(unfetched)?;
                Ok(Input::File(spool.path().to_owned()))
            }
            Later::Plain {
                fetcher,
                url,
                path,
                enough,
            } => {
                let input = Input::File(path.clone());
                saved(fetcher, url, path, *enough).await?;
                Ok(input)
            }
        }
    }

    async fn whole(&mut self) -> Result<Input, CutError> {
        match self {
            Later::Ranges(spool) => {
                spool.want_all().await.map_err(unfetched)?;
                Ok(Input::File(spool.path().to_owned()))
            }
            Later::Plain {
                fetcher, url, path, ..
            } => {
                let input = Input::File(path.clone());
                saved(fetcher, url, path, None).await?;
                Ok(input)
            }
        }
    }
}

async fn saved(
    fetcher: &Fetcher,
    url: &Url,
    path: &Path,
    most: Option<u64>,
) -> Result<(), CutError> {
    let part = Part {
        url: url.clone(),
        range: None,
    };
    let mut sink = Sink::create(path).map_err(FetchError::from)?;
    Ok(fetcher.append(&part, None, most, &mut sink).await?)
}

/// So much of a rendition is taken to be like the rest of it.
const SAMPLE: Seconds = Seconds::from_whole(10);

impl Reel {
    /// Where runs meet, strictly within a segment.
    pub fn breaks(&self, segment: Segment) -> Vec<Seconds> {
        match self {
            Reel::Pieces { timeline, .. } => timeline.breaks(segment),
            Reel::Read(..) | Reel::Tables { .. } | Reel::Later(_) => Vec::new(),
        }
    }

    /// How long it is, where that is known and not all of it is here.
    pub fn length(&self) -> Option<Seconds> {
        match self {
            Reel::Pieces { timeline, .. } => Some(timeline.end()),
            Reel::Tables { looked, .. } => length(looked),
            Reel::Read(..) | Reel::Later(_) => None,
        }
    }

    /// Bytes a second that have to come for a stretch from the beginning of the first run, by a sample from its middle; none of what is
    /// here.
    ///
    /// # Errors
    /// When the sample cannot be fetched.
    pub async fn rate(&self, bench: &Bench<'_>, stretch: Segment) -> Result<f64, CutError> {
        let (bytes, length) = match self {
            Reel::Pieces { fetcher, timeline } => {
                let run = timeline.runs.first().ok_or(PlaylistError::Empty)?;
                let mut assembly = Assembly::new(bench, fetcher, run, "sample".to_owned()).await?;
                let start = Seconds::from_micros(stretch.end.micros() / 2);
                let sample = Segment {
                    start,
                    end: start + SAMPLE,
                };
                let here = Run::holding(&assembly.chunks, sample);
                let chunks = assembly.chunks.get(here.clone()).unwrap_or_default();
                let ends = chunks.first().zip(chunks.last());
                let length = ends.map_or(Seconds::ZERO, |(first, last)| last.end - first.start);
                let ranges = chunks.iter().map(|chunk| chunk.part.range.as_ref());
                let told = ranges.map(|range| Some(range?.end - range?.start)).sum();
                let bytes: u64 = match told {
                    Some(bytes) => bytes,
                    None => assembly.written(here).await?.length(),
                };
                let _ = tokio::fs::remove_file(&assembly.path).await;
                (bytes, length)
            }
            Reel::Tables { spool, looked, .. } => {
                (spool.length(), length(looked).unwrap_or(stretch.end))
            }
            Reel::Read(..) | Reel::Later(_) => return Ok(0.0),
        };
        Ok(bytes as f64 / length.as_f64().max(0.1))
    }

    /// How far so many pieces from the beginning reach, when there are more of them.
    pub fn reach(&self, pieces: usize) -> Option<Seconds> {
        let Reel::Pieces { timeline, .. } = self else {
            return None;
        };
        let Chunks::Listed(chunks) = &timeline.runs.first()?.chunks else {
            return None;
        };
        // Ranges that follow each other come in one request.
        let next = chunks.get(pieces).filter(|next| next.part.range.is_none());
        next.map(|next| next.start)
    }

    /// What it is made of.
    ///
    /// # Errors
    /// When its beginning cannot be fetched or read.
    pub async fn look(&mut self, bench: &Bench<'_>) -> Result<Looked, CutError> {
        match self {
            Reel::Read(input, looked) => {
                Ok(Looked::clone(looked).with_keyframes(bench, input).await?)
            }
            Reel::Tables { looked, .. } => Ok(Looked::clone(looked)),
            Reel::Later(later) => Ok(window::look(bench, &later.beginning().await?).await?),
            Reel::Pieces { fetcher, timeline } => {
                let path = beginning(bench, fetcher, timeline, "look").await?;
                let input = Input::File(path);
                let mut probe = probe::probe(bench, &input).await?;
                probe.duration = Some(timeline.end());
                probe.zero_at = Some(probe.start);
                Ok(Looked {
                    probe,
                    whole: None,
                    keyframes: None,
                    flow: None,
                })
            }
        }
    }

    /// What its sound is made of.
    ///
    /// # Errors
    /// As [`Reel::look`].
    pub async fn hear(&mut self, bench: &Bench<'_>) -> Result<Sound, CutError> {
        match self {
            Reel::Read(input, _) => Ok(probe::sound(bench, input).await?),
            Reel::Later(later) => Ok(probe::sound(bench, &later.beginning().await?).await?),
            Reel::Tables { spool, .. } => {
                let input = Input::File(spool.path().to_owned());
                Ok(probe::sound(bench, &input).await?)
            }
            Reel::Pieces { fetcher, timeline } => {
                let path = beginning(bench, fetcher, timeline, "hear").await?;
                Ok(probe::sound(bench, &Input::File(path)).await?)
            }
        }
    }

    /// All windows at once, when no other rendition is needed for them; none of pieces.
    ///
    /// # Errors
    /// When the source cannot be fetched, or does not hold the segments.
    pub async fn windows(
        &mut self,
        bench: &Bench<'_>,
        recipe: &Recipe,
    ) -> Result<Option<Vec<Window>>, CutError> {
        match self {
            Reel::Read(input, looked) => {
                Ok(Some(window::fetch(bench, input, looked, recipe).await?))
            }
            Reel::Tables {
                spool,
                looked,
                link,
            } => {
                match by_tables(spool, looked, recipe).await {
                    Ok(true) => {
                        let input = Input::File(spool.path().to_owned());
                        return Ok(Some(window::fetch(bench, &input, looked, recipe).await?));
                    }
                    Err(SpoolError::Io(error))
                        if error.kind() == std::io::ErrorKind::StorageFull =>
                    {
                        return Err(MediaError::NoSpace.into());
                    }
                    Ok(false) | Err(_) => {}
                }
                let Some(link) = link else {
                    spool.want_all().await.map_err(unfetched)?;
                    let input = Input::File(spool.path().to_owned());
                    return Ok(Some(window::fetch(bench, &input, looked, recipe).await?));
                };
                // It may hold much already.
                let _ = tokio::fs::remove_file(spool.path()).await;
                // The server gave what it was asked for: nobody may blame it.
                let looked = window::look(bench, link)
                    .await
                    .map_err(MediaError::of_what_is_there)?;
                let windows = window::fetch(bench, link, &looked, recipe).await;
                Ok(Some(windows.map_err(MediaError::of_what_is_there)?))
            }
            Reel::Later(later) => {
                let input = later.whole().await?;
                let looked = window::look(bench, &input).await?;
                Ok(Some(window::fetch(bench, &input, &looked, recipe).await?))
            }
            Reel::Pieces { .. } => Ok(None),
        }
    }

    /// The pictures of a segment.
    ///
    /// # Errors
    /// When they cannot be fetched, or are not there.
    pub async fn seen(
        &mut self,
        bench: &Bench<'_>,
        segment: Segment,
        number: usize,
    ) -> Result<(Input, Probe), CutError> {
        match self {
            Reel::Read(input, looked) => Ok((input.clone(), looked.probe.clone())),
            Reel::Tables { spool, looked, .. } => {
                if !wide(spool, looked, segment).await.map_err(unfetched)? {
                    spool.want_all().await.map_err(unfetched)?;
                }
                let input = Input::File(spool.path().to_owned());
                Ok((input, looked.probe.clone()))
            }
            Reel::Later(later) => {
                let input = later.whole().await?;
                let probe = probe::probe(bench, &input).await?;
                Ok((input, probe))
            }
            Reel::Pieces { fetcher, timeline } => {
                if segment.start >= timeline.end() {
                    return Err(MediaError::Range(timeline.end()).into());
                }
                let run = timeline.run(segment).ok_or(PlaylistError::Empty)?;
                let mut assembly =
                    Assembly::new(bench, fetcher, run, format!("pictures-{number}")).await?;
                let zero = assembly.cover(bench, segment, Want::Pictures).await?;
                let input = Input::File(assembly.path);
                let mut probe = probe::probe(bench, &input).await?;
                probe.zero_at = Some(zero);
                Ok((input, probe))
            }
        }
    }

    /// The sound of a segment; none when it is over before. `zero` is where the pictures' timestamps are shown at 0, when the sound was made
    /// beside them.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub async fn heard(
        &mut self,
        bench: &Bench<'_>,
        segment: Segment,
        number: usize,
        zero: Option<Seconds>,
    ) -> Result<Option<(Input, Sound)>, CutError> {
        match self {
            Reel::Read(input, _) => {
                let sound = probe::sound(bench, input).await?;
                Ok(Some((input.clone(), sound)))
            }
            Reel::Later(later) => {
                let input = later.whole().await?;
                let sound = probe::sound(bench, &input).await?;
                Ok(Some((input, sound)))
            }
            Reel::Tables { spool, .. } => {
                spool.want_all().await.map_err(unfetched)?;
                let input = Input::File(spool.path().to_owned());
                let sound = probe::sound(bench, &input).await?;
                Ok(Some((input, sound)))
            }
            Reel::Pieces { fetcher, timeline } => {
                let Some(run) = timeline.run(segment).filter(|run| run.end > segment.start) else {
                    return Ok(None);
                };
                let mut assembly =
                    Assembly::new(bench, fetcher, run, format!("sound-{number}")).await?;
                let zero = assembly.cover(bench, segment, Want::Sound { zero }).await?;
                let input = Input::File(assembly.path);
                let mut sound = probe::sound(bench, &input).await?;
                sound.zero_at = Some(zero);
                Ok(Some((input, sound)))
            }
        }
    }
}

/// Fetches what ffmpeg will read of an MP4 to copy a segment, which begins earlier and ends later; false when that cannot be told.
async fn wide(spool: &mut Spool, looked: &Looked, segment: Segment) -> Result<bool, SpoolError> {
    /// As far as the copying looks before and behind.
    const AROUND: Seconds = Seconds::from_micros(2_500_000);
    let Some(whole) = &looked.whole else {
        return Ok(false);
    };
    let around = Segment {
        start: (segment.start - AROUND).max(Seconds::ZERO),
        end: segment.end + AROUND,
    };
    stretch_fetched(spool, whole, around).await
}

/// Fetches what a recipe needs of an MP4; false when its tables do not help.
async fn by_tables(
    spool: &mut Spool,
    looked: &Looked,
    recipe: &Recipe,
) -> Result<bool, SpoolError> {
    let Some(whole) = looked.whole.as_ref().filter(|whole| whole.serves(recipe)) else {
        return Ok(false);
    };
    for segment in &recipe.segments {
        if !stretch_fetched(spool, whole, *segment).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Timeline {
    /// Where runs meet, strictly within a segment.
    fn breaks(&self, segment: Segment) -> Vec<Seconds> {
        let starts = self.runs.iter().skip(1).map(|run| run.start);
        starts
            .filter(|place| *place > segment.start && *place < segment.end)
            .collect()
    }

    /// The run that holds most of a segment: what sticks out at either end is less than a clip may be.
    fn run(&self, segment: Segment) -> Option<&Run> {
        let inside = segment.start + SHORTEST - CLOSE;
        let behind = self.runs.partition_point(|run| run.start <= inside);
        self.runs.get(behind.saturating_sub(1))
    }
}

/// The beginning of a rendition, enough to tell what it is made of.
async fn beginning(
    bench: &Bench<'_>,
    fetcher: &Fetcher,
    timeline: &Timeline,
    name: &str,
) -> Result<PathBuf, CutError> {
    let run = timeline.runs.first().ok_or(PlaylistError::Empty)?;
    let mut assembly = Assembly::new(bench, fetcher, run, name.to_owned()).await?;
    assembly.begin().await
}
