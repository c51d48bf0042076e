//! One rendition of a source and how stretches of it come to lie on the disk: whole files read by ffmpeg, MP4s fetched by their tables,
//! and timelines of pieces, of which exactly those are fetched that hold the stretch.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use url::Url;

use super::CutError;
use super::link::{stretch_fetched, unfetched};
use super::peek::length;
use crate::media::packets::{self, Packets, Track};
use crate::media::probe::{self, Probe, Sound};
use crate::media::splice::sidx;
use crate::media::window::{self, Looked, Window};
use crate::media::{Bench, Input, MediaError};
use crate::recipe::{Recipe, SHORTEST, Segment};
use crate::seconds::Seconds;
use crate::source::fetch::{FetchError, Fetcher, Secret, Sink};
use crate::source::playlist::packed::{Packed, packed};
use crate::source::playlist::{
    Chunk, Chunks, Cipher, Init, Part, PlaylistError, Run, Timeline, Zero,
};
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
            Later::Plain { fetcher, url, path } => {
                let input = Input::File(path.clone());
                saved(fetcher, url, path, Some(HEADER)).await?;
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
            Later::Plain { fetcher, url, path } => {
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

/// Headers of films are not larger.
const HEADER: u64 = 4 << 20;
/// Enough of a piece to tell when it begins, at any sensible bit rate.
const BEGINNING: u64 = 1 << 20;
/// Decimal times are rounded.
const CLOSE: Seconds = Seconds::from_micros(1_000);
/// A decoder of sound is right from its second packet on: one of AAC lasts 21 to 64 ms.
const WARM_UP: Seconds = Seconds::from_micros(25_000);
/// What a playlist says of its pieces' lengths may be wrong, but not for ever.
const MOST_TRIES: usize = 12;
/// The timestamps of MPEG-TS have 33 bits at 90 kHz (ISO/IEC 13818-1, clause 2.4.3.7).
const WRAP: Seconds = Seconds::from_micros(95_443_717_689);
const MOST_KEY: u64 = 64;
/// A tag that says when sound is heard has a hundred bytes.
const MOST_TAG: u64 = 4096;
/// So much of a rendition is taken to be like the rest of it.
const SAMPLE: Seconds = Seconds::from_whole(10);
const MOST_INDEX: u64 = 4 << 20;

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

/// The chunks that the index of a file names; none when it names no bytes.
pub fn indexed(
    bytes: &[u8],
    file: &Url,
    place: &Range<u64>,
    zero: Seconds,
    start: Seconds,
) -> Option<Vec<Chunk>> {
    let index = sidx::read(bytes)?;
    let time = |ticks: u64| {
        let micros = u128::from(ticks) * 1_000_000 / u128::from(index.timescale);
        let time = i64::try_from(micros).map(Seconds::from_micros).ok()?;
        Some(time - zero + start)
    };
    index
        .list
        .iter()
        .map(|part| {
            let from = place.end.checked_add(part.bytes.start)?;
            let to = place.end.checked_add(part.bytes.end)?;
            Some(Chunk {
                start: time(part.ticks.start)?,
                end: time(part.ticks.end)?,
                part: Part {
                    url: file.clone(),
                    range: Some(from..to),
                },
                cipher: None,
            })
        })
        .collect()
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

/// What has to be there for a stretch to be covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// With the sound beside them, if there is any.
    Pictures,
    /// `zero` is where the pictures' timestamps are shown at 0, for renditions that share one clock (RFC 8216, clause 4.3.4.1).
    Sound { zero: Option<Seconds> },
}

/// Pieces of one run, put together in a file.
struct Assembly<'a> {
    fetcher: &'a Fetcher,
    dir: &'a Path,
    run: &'a Run,
    init: Option<Init>,
    chunks: Vec<Chunk>,
    name: String,
    path: PathBuf,
    keys: HashMap<Url, [u8; 16]>,
}

impl<'a> Assembly<'a> {
    async fn new(
        bench: &Bench<'a>,
        fetcher: &'a Fetcher,
        run: &'a Run,
        name: String,
    ) -> Result<Assembly<'a>, CutError> {
        let (init, chunks) = match &run.chunks {
            Chunks::Listed(chunks) => (run.init.clone(), chunks.clone()),
            Chunks::Indexed { file, index } => from_file(fetcher, run, file, index.clone()).await?,
        };
        if chunks.is_empty() {
            return Err(PlaylistError::Empty.into());
        }
        Ok(Assembly {
            fetcher,
            dir: bench.dir,
            run,
            init,
            chunks,
            path: bench.dir.join(&name),
            name,
            keys: HashMap::new(),
        })
    }

    /// Fetches what covers a segment; the timestamp that people call 0 in what came.
    async fn cover(
        &mut self,
        bench: &Bench<'_>,
        segment: Segment,
        want: Want,
    ) -> Result<Seconds, CutError> {
        let mut here = Run::holding(&self.chunks, segment);
        let mut sink = self.written(here.clone()).await?;
        let mut first: Option<Seconds> = None;
        for _ in 0..MOST_TRIES {
            let table = packets::read(bench, &self.path).await?;
            // What carries no timestamps counts from the beginning of the file; its lead is what is missing.
            let lead = match (want, packed(&self.first_bytes().await?)) {
                (Want::Sound { .. }, Some(Packed::At(time))) => Some(time),
                (Want::Sound { .. }, Some(Packed::Untimed)) => None,
                (Want::Sound { .. }, None) | (Want::Pictures, _) => Some(Seconds::ZERO),
            };
            let expected = self
                .chunks
                .get(here.start)
                .map_or(self.run.start, |chunk| chunk.start);
            let begins = begin_of(&table, want).ok_or(MediaError::NoFrames);
            let zero = match lead {
                None => Seconds::ZERO - expected,
                Some(lead) => {
                    let base = match (self.run.zero, want, first) {
                        (Zero::At(time), ..) => time,
                        (Zero::First, Want::Sound { zero: Some(zero) }, _) => zero + self.run.start,
                        (Zero::First, ..) if here.start == 0 => begins? + lead,
                        (Zero::First, _, Some(known)) => known,
                        (Zero::First, _, None) => {
                            let known = self.first_shown(bench, want).await?;
                            first = Some(known);
                            known
                        }
                    };
                    let begins = begin_of(&table, want).map_or(base, |begins| begins + lead);
                    let mut zero = base - self.run.start;
                    // Behind the end of what its timestamps can count, they begin anew.
                    let off = begins - zero - expected;
                    if off < Seconds::ZERO - half(WRAP) {
                        zero = zero - WRAP;
                    } else if off > half(WRAP) {
                        zero = zero + WRAP;
                    }
                    zero - lead
                }
            };
            let reach = reach(&table, want, zero);
            let missing = |from: Seconds, to: Seconds| steps(&self.chunks, from, to);
            match reach {
                Some((from, _)) if from > segment.start + CLOSE && here.start > 0 => {
                    let more = missing(segment.start, from).min(here.start);
                    here.start -= more;
                    sink = self.written(here.clone()).await?;
                }
                // Nothing in it that one could begin with.
                None if here.start > 0 => {
                    here.start -= 1;
                    sink = self.written(here.clone()).await?;
                }
                Some((_, to)) if to + CLOSE < segment.end && here.end < self.chunks.len() => {
                    let more = missing(to, segment.end).min(self.chunks.len() - here.end);
                    let added = here.end..here.end + more;
                    here.end = added.end;
                    self.append(added, &mut sink).await?;
                }
                Some(_) | None => return Ok(zero),
            }
        }
        Err(PlaylistError::Unreadable.into())
    }

    /// How what came begins.
    async fn first_bytes(&self) -> Result<Vec<u8>, CutError> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            use std::io::Read;
            let mut bytes = Vec::new();
            std::fs::File::open(path)?
                .take(MOST_TAG)
                .read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(bytes)
        });
        let read = read.await.map_err(std::io::Error::other);
        Ok(read.and_then(|bytes| bytes).map_err(FetchError::from)?)
    }

    /// The run's first timestamp, from the beginning of its first piece.
    async fn first_shown(&mut self, bench: &Bench<'_>, want: Want) -> Result<Seconds, CutError> {
        let begin = self.begin().await?;
        let table = packets::read(bench, &begin).await?;
        Ok(begin_of(&table, want).ok_or(MediaError::NoFrames)?)
    }

    /// Header and the beginning of the first piece, in a file of their own.
    async fn begin(&mut self) -> Result<PathBuf, CutError> {
        let path = self.dir.join(format!("{}-begin", self.name));
        let mut sink = Sink::create(&path).map_err(FetchError::from)?;
        self.head(&mut sink).await?;
        if let Some(chunk) = self.chunks.first().cloned() {
            let secret = self.secret(chunk.cipher.as_ref()).await?;
            self.fetcher
                .append(&chunk.part, secret, Some(BEGINNING), &mut sink)
                .await?;
        }
        Ok(path)
    }

    async fn written(&mut self, chunks: Range<usize>) -> Result<Sink, CutError> {
        let mut sink = Sink::create(&self.path).map_err(FetchError::from)?;
        self.head(&mut sink).await?;
        self.append(chunks, &mut sink).await?;
        Ok(sink)
    }

    async fn head(&mut self, sink: &mut Sink) -> Result<(), CutError> {
        if let Some(init) = self.init.clone() {
            let secret = self.secret(init.cipher.as_ref()).await?;
            let before = sink.length();
            let range = init.part.range.as_ref();
            if range.is_some_and(|range| range.end - range.start > HEADER) {
                return Err(FetchError::TooLarge.into());
            }
            // What is encrypted can only be opened whole.
            let most = Some(HEADER + 1).filter(|_| range.is_none() && secret.is_none());
            self.fetcher.append(&init.part, secret, most, sink).await?;
            if sink.length() - before > HEADER {
                return Err(FetchError::TooLarge.into());
            }
        }
        Ok(())
    }

    async fn append(&mut self, chunks: Range<usize>, sink: &mut Sink) -> Result<(), CutError> {
        for (part, cipher) in together(self.chunks.get(chunks).unwrap_or_default()) {
            let secret = self.secret(cipher.as_ref()).await?;
            self.fetcher.append(&part, secret, None, sink).await?;
        }
        Ok(())
    }

    async fn secret(&mut self, cipher: Option<&Cipher>) -> Result<Option<Secret>, CutError> {
        let Some(cipher) = cipher else {
            return Ok(None);
        };
        if let Some(key) = self.keys.get(&cipher.key) {
            return Ok(Some((*key, cipher.iv)));
        }
        let part = Part {
            url: cipher.key.clone(),
            range: None,
        };
        let (key, _) = self.fetcher.bytes(&part, MOST_KEY).await?;
        let key: [u8; 16] = key.try_into().map_err(|_| FetchError::Cipher)?;
        self.keys.insert(cipher.key.clone(), key);
        Ok(Some((key, cipher.iv)))
    }
}

/// The parts of chunks, with what lies side by side in one file in one: each request costs a connection.
fn together(chunks: &[Chunk]) -> Vec<(Part, Option<Cipher>)> {
    let mut parts: Vec<(Part, Option<Cipher>)> = Vec::new();
    for chunk in chunks {
        let joined = parts.last_mut().filter(|(last, cipher)| {
            let meets = match (&last.range, &chunk.part.range) {
                (Some(last), Some(next)) => last.end == next.start,
                (None, _) | (_, None) => false,
            };
            meets && last.url == chunk.part.url && cipher.is_none() && chunk.cipher.is_none()
        });
        match (joined, &chunk.part.range) {
            (
                Some((
                    Part {
                        range: Some(all), ..
                    },
                    _,
                )),
                Some(next),
            ) => all.end = next.end,
            _ => parts.push((chunk.part.clone(), chunk.cipher.clone())),
        }
    }
    parts
}

/// A single file's header and pieces, by its index.
async fn from_file(
    fetcher: &Fetcher,
    run: &Run,
    file: &Url,
    index: Option<Range<u64>>,
) -> Result<(Option<Init>, Vec<Chunk>), CutError> {
    let whole = |range| Part {
        url: file.clone(),
        range: Some(range),
    };
    let Some(index) = index.filter(|index| index.end - index.start <= MOST_INDEX) else {
        // Without an index it is one piece.
        let chunk = Chunk {
            start: run.start,
            end: run.end,
            part: Part {
                url: file.clone(),
                range: None,
            },
            cipher: None,
        };
        return Ok((None, vec![chunk]));
    };
    let (bytes, _) = fetcher.bytes(&whole(index.clone()), MOST_INDEX).await?;
    let zero = match run.zero {
        Zero::At(zero) => zero,
        Zero::First => Seconds::ZERO,
    };
    let chunks = indexed(&bytes, file, &index, zero, run.start).ok_or(PlaylistError::Unreadable)?;
    let init = run.init.clone().or_else(|| {
        Some(Init {
            part: whole(0..index.start),
            cipher: None,
        })
    });
    Ok((init, chunks))
}

fn half(time: Seconds) -> Seconds {
    Seconds::from_micros(time.micros() / 2)
}

/// The first timestamp of what is wanted.
fn begin_of(table: &Packets, want: Want) -> Option<Seconds> {
    let track = match want {
        Want::Pictures => table.video.as_ref()?,
        Want::Sound { .. } => table.audio.as_ref()?,
    };
    let first = track.packets.iter().map(|packet| packet.pts).min()?;
    Some(track.time_base.seconds(first))
}

/// From where on all that is wanted can be decoded to where the first of it ends, as people count.
fn reach(table: &Packets, want: Want, zero: Seconds) -> Option<(Seconds, Seconds)> {
    let pictures = || table.video.as_ref().and_then(|track| span(track, zero));
    let sound = || {
        let (from, to) = table.audio.as_ref().and_then(|track| span(track, zero))?;
        Some((from + WARM_UP, to))
    };
    match want {
        Want::Sound { .. } => sound(),
        Want::Pictures => {
            let (from, to) = pictures()?;
            // Where there is no sound in a whole piece, there is none.
            let (heard, silent) = sound().unwrap_or((from, to));
            Some((from.max(heard), to.min(silent)))
        }
    }
}

/// From the first packet that one can begin with to where the last one ends, as people count.
fn span(track: &Track, zero: Seconds) -> Option<(Seconds, Seconds)> {
    let keys = track.packets.iter().filter(|packet| packet.key);
    let first = keys.map(|packet| packet.pts).min()?;
    let ends = track
        .packets
        .iter()
        .map(|packet| packet.pts.saturating_add(packet.duration));
    let last = ends.max()?;
    Some((
        track.time_base.seconds(first) - zero,
        track.time_base.seconds(last) - zero,
    ))
}

/// About how many chunks lie between two times; at least one.
fn steps(chunks: &[Chunk], from: Seconds, to: Seconds) -> usize {
    let length = chunks
        .first()
        .zip(chunks.last())
        .map_or(1.0, |(first, last)| {
            (last.end - first.start).as_f64() / chunks.len() as f64
        });
    let count = (to - from).as_f64() / length.max(0.001);
    // One at a time unless the playlist is far off.
    (count.floor() as usize).clamp(1, 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_side_by_side_in_one_file_is_one_request() {
        let chunk = |file: &str, range: Option<Range<u64>>, cipher: Option<&str>| Chunk {
            start: Seconds::ZERO,
            end: Seconds::ZERO,
            part: Part {
                url: Url::parse(file).unwrap(),
                range,
            },
            cipher: cipher.map(|key| Cipher {
                key: Url::parse(key).unwrap(),
                iv: [0; 16],
            }),
        };
        let (a, b, key) = (
            "https://x.org/a",
            "https://x.org/b",
            Some("https://x.org/k"),
        );
        let joined = together(&[
            chunk(a, Some(0..5), None),
            chunk(a, Some(5..9), None),
            chunk(a, Some(10..12), None),
            chunk(b, Some(12..13), None),
            chunk(b, None, None),
            chunk(b, None, None),
            // Each of them is padded for itself.
            chunk(a, Some(0..16), key),
            chunk(a, Some(16..32), key),
        ]);
        let ranges: Vec<_> = joined.into_iter().map(|(part, _)| part.range).collect();
        let expected = [
            Some(0..9),
            Some(10..12),
            Some(12..13),
            None,
            None,
            Some(0..16),
            Some(16..32),
        ];
        assert_eq!(ranges, expected);
    }
}
