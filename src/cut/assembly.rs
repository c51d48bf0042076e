//! Pieces of a run put together: exactly those that hold a stretch, opened where they are encrypted, with the timestamp that people call 0
//! in what came of it.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use url::Url;

use super::CutError;
use crate::media::packets::{self, Packets, Track};
use crate::media::splice::sidx;
use crate::media::{Bench, MediaError};
use crate::recipe::Segment;
use crate::seconds::Seconds;
use crate::source::fetch::{FetchError, Fetcher, Secret, Sink};
use crate::source::playlist::packed::{Packed, packed};
use crate::source::playlist::{Chunk, Chunks, Cipher, Init, Part, PlaylistError, Run, Zero};

/// Enough of a piece to tell when it begins, at any sensible bit rate.
const BEGINNING: u64 = 1 << 20;
/// Decimal times are rounded.
pub(super) const CLOSE: Seconds = Seconds::from_micros(1_000);
/// A decoder of sound is right from its second packet on: one of AAC lasts 21 to 64 ms.
const WARM_UP: Seconds = Seconds::from_micros(25_000);
/// What a playlist says of its pieces' lengths may be wrong, but not for ever.
const MOST_TRIES: usize = 12;
/// The timestamps of MPEG-TS have 33 bits at 90 kHz (ISO/IEC 13818-1, clause 2.4.3.7).
const WRAP: Seconds = Seconds::from_micros(95_443_717_689);
const MOST_KEY: u64 = 64;
/// A tag that says when sound is heard has a hundred bytes.
const MOST_TAG: u64 = 4096;
const MOST_INDEX: u64 = 4 << 20;
/// Headers of films are not larger.
pub(super) const HEADER: u64 = 4 << 20;

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

/// What has to be there for a stretch to be covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// With the sound beside them, if there is any.
    Pictures,
    /// `zero` is where the pictures' timestamps are shown at 0, for renditions that share one clock (RFC 8216, clause 4.3.4.1).
    Sound { zero: Option<Seconds> },
}

/// Pieces of one run, put together in a file.
pub(super) struct Assembly<'a> {
    fetcher: &'a Fetcher,
    dir: &'a Path,
    run: &'a Run,
    init: Option<Init>,
    pub(super) chunks: Vec<Chunk>,
    name: String,
    pub(super) path: PathBuf,
    keys: HashMap<Url, [u8; 16]>,
}

impl<'a> Assembly<'a> {
    pub(super) async fn new(
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
    pub(super) async fn cover(
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
    pub(super) async fn begin(&mut self) -> Result<PathBuf, CutError> {
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

    pub(super) async fn written(&mut self, chunks: Range<usize>) -> Result<Sink, CutError> {
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
