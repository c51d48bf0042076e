//! A whole MP4 on the disk, found in its sample tables: which of its samples a segment needs, and the windows that are cut in place.
//! For files that say no more than samples can: H.264 with AAC or silence, no fragments, nothing hidden by an edit list. All others
//! are copied.

pub mod pick;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mp4_atom::Codec;

use super::header::{aac, described, eight_bits_of_420};
use super::{Reach, Samples, Window, length, whole_enough};
use crate::media::MediaError;
use crate::media::packets::{self, Packet, Track};
use crate::media::plan::{TOLERANCE, clean_boundaries};
use crate::media::probe::{Probe, TimeBase};
use crate::media::splice::bitstream;
use crate::media::splice::movie::{self, Movie};
use crate::recipe::{Recipe, Segment};
use crate::seconds::Seconds;

/// A file whose packets are its samples, all of them.
#[derive(Debug)]
pub struct Whole {
    pub path: PathBuf,
    pub probe: Probe,
    movie: Arc<Movie>,
    video: (Reach, Track),
    audio: Option<(Reach, Track)>,
    /// See [`clean_boundaries`], of all pictures.
    clean: Vec<bool>,
}

/// So many keyframes are tried that only begin a gradual refresh; streams that have nothing else are for ffmpeg.
pub const MOST_BACK: usize = 16;

impl Whole {
    /// Reads the tables of a local file, if nothing in it asks for more than samples. `max_pixels` is what a picture may have.
    pub async fn open(path: &Path, max_pixels: u64) -> Option<Whole> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            // What cannot be read here may be read by ffmpeg.
            let movie = Movie::open(&path).ok()?;
            Whole::of(movie, path, max_pixels)
        });
        opened.await.ok().flatten()
    }

    fn of(movie: Movie, path: PathBuf, max_pixels: u64) -> Option<Whole> {
        if movie.fragmented {
            return None;
        }
        let video = track(&movie, b"vide")?;
        let audio = match movie.number(b"soun") {
            Some(_) => Some(track(&movie, b"soun")?),
            None => None,
        };
        // What an edit list hides is hard to tell from what is merely decoded first, and two pictures of one time from each other.
        let times = video.1.times();
        if times.first().is_none_or(|first| *first < 0)
            || times.windows(2).any(|two| two[0] == two[1])
        {
            return None;
        }
        let probe = described(&movie, &video, audio.as_ref())?;
        if u64::from(probe.video.width) * u64::from(probe.video.height) > max_pixels {
            return None;
        }
        Some(Whole {
            path,
            probe,
            clean: clean_boundaries(&video.1),
            movie: Arc::new(movie),
            video,
            audio,
        })
    }

    /// Whether a recipe can be cut in place. Sound of several segments is mixed anew, which ffmpeg does, from copies.
    pub fn serves(&self, recipe: &Recipe) -> bool {
        !recipe.wants_sound() || self.audio.is_none() || recipe.segments.len() == 1
    }

    /// The windows of a recipe, one per segment; `None` when they have to be copied after all.
    ///
    /// # Errors
    /// When the file lacks what its tables promise.
    pub async fn windows(
        self: &Arc<Whole>,
        recipe: &Recipe,
    ) -> Result<Option<Vec<Window>>, MediaError> {
        let (whole, segments) = (Arc::clone(self), recipe.segments.clone());
        let found = tokio::task::spawn_blocking(move || {
            segments
                .iter()
                .map(|segment| whole.window(*segment))
                .collect()
        });
        found.await.map_err(io::Error::other)?
    }

    /// Which samples of the two tracks a segment needs: from the keyframe shown at or before its start to the first place behind its
    /// end where everything before is shown before everything after. `back` is how many keyframes further to begin.
    fn reach(&self, segment: Segment, back: usize) -> (Range<usize>, Range<usize>) {
        let packets = &self.video.1.packets;
        let base = self.video.1.time_base;
        let from = base.ticks(segment.start - TOLERANCE);
        let until = base.ticks(segment.end);
        let shown = packets.iter().map(|packet| packet.pts);
        let first = shown.filter(|pts| *pts >= from).min().unwrap_or(from);
        let mut keys: Vec<usize> = (0..packets.len())
            .filter(|number| packets[*number].key && packets[*number].pts <= first)
            .collect();
        keys.sort_by_key(|number| std::cmp::Reverse(packets[*number].pts));
        let begin = keys.get(back).copied().unwrap_or(0);
        let mut highest = i64::MIN;
        let end = (begin..packets.len()).find(|number| {
            highest = highest.max(packets[*number].pts);
            highest >= until && self.clean[number + 1]
        });
        let end = end.map_or(packets.len(), |number| number + 1);
        let Some((_, sound)) = &self.audio else {
            return (begin..end, 0..0);
        };
        let key = packets.get(begin).map_or(from, |packet| packet.pts);
        let tick = |ticks| sound.time_base.ticks(base.seconds(ticks));
        let last = packets[begin..end].iter();
        let last = last.map(|packet| packet.pts + packet.duration).max();
        let (from, until) = (tick(key), tick(last.unwrap_or(until)));
        let heard = sound
            .packets
            .partition_point(|packet| packet.pts + packet.duration <= from);
        let over = sound.packets.partition_point(|packet| packet.pts < until);
        // One packet more at the front: a decoder of AAC is only right from its second one on.
        let heard = heard.saturating_sub(2);
        (begin..end, heard..over.max(heard))
    }

    /// The places in the file that hold the samples of a segment, in no order; `back` is how many keyframes further to begin.
    pub fn extents(&self, segment: Segment, back: usize) -> Vec<Range<u64>> {
        let (video, audio) = self.reach(segment, back);
        let lie = |reach: Reach, numbers: Range<usize>| {
            let samples = self
                .movie
                .tracks
                .get(reach.track)
                .and_then(|track| track.samples.get(numbers))
                .unwrap_or_default();
            samples
                .iter()
                .map(|sample| sample.offset..sample.offset + u64::from(sample.size))
                .collect::<Vec<_>>()
        };
        let mut extents = lie(self.video.0, video);
        if let Some((reach, _)) = &self.audio {
            extents.extend(lie(*reach, audio));
        }
        extents
    }

    /// Whether a segment's first picture is whole at once when it begins so many keyframes further back; only that sample is read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn begins_whole(&self, segment: Segment, back: usize) -> io::Result<bool> {
        let (video, _) = self.reach(segment, back);
        let first = video.start..video.start + 1;
        let track = self.movie.tracks.get(self.video.0.track);
        let look = track.map(|track| bitstream::look(&self.movie, track, first));
        let gradual = look.transpose()?.flatten().map(|look| look.gradual);
        Ok(video.start == 0 || gradual.is_none_or(|gradual| gradual.first() != Some(&true)))
    }

    fn window(&self, segment: Segment) -> Result<Option<Window>, MediaError> {
        let mut back = 0;
        let (video, audio) = loop {
            let (video, audio) = self.reach(segment, back);
            self.all_there(self.video.0, &video)?;
            if let Some((reach, _)) = &self.audio {
                self.all_there(*reach, &audio)?;
            }
            if self.begins_whole(segment, back)? {
                break (video, audio);
            }
            back += 1;
            if back == MOST_BACK {
                return Ok(None);
            }
        };
        let Some(track) = self.movie.tracks.get(self.video.0.track) else {
            return Ok(None);
        };
        let Some(look) = bitstream::look(&self.movie, track, video.clone())? else {
            return Ok(None);
        };
        let cut = |whole: &Track, numbers: &Range<usize>| Track {
            packets: whole
                .packets
                .get(numbers.clone())
                .unwrap_or_default()
                .to_vec(),
            codec: whole.codec.clone(),
            time_base: whole.time_base,
        };
        let mut pictures = cut(&self.video.1, &video);
        for (packet, gradual) in pictures.packets.iter_mut().zip(&look.gradual) {
            packet.key &= !gradual;
        }
        // There is nothing before the first picture of a file.
        if let Some(first) = pictures.packets.first_mut().filter(|_| video.start == 0) {
            first.key = true;
        }
        let from = |reach: Reach, first| Reach { first, ..reach };
        let window = Window {
            path: self.path.clone(),
            segment,
            probe: self.probe.clone(),
            video: pictures,
            audio: self.audio.as_ref().map(|(_, track)| cut(track, &audio)),
            shift: Seconds::ZERO,
            bitstream: look.bitstream,
            samples: Some(Samples {
                movie: Arc::clone(&self.movie),
                video: from(self.video.0, video.start),
                audio: self
                    .audio
                    .as_ref()
                    .map(|(reach, _)| from(*reach, audio.start)),
            }),
            in_place: true,
        };
        whole_enough(window).map(Some)
    }

    /// Refuses samples behind the end of the file.
    fn all_there(&self, reach: Reach, numbers: &Range<usize>) -> Result<(), MediaError> {
        let Some(track) = self.movie.tracks.get(reach.track) else {
            return Ok(());
        };
        let end = |sample: &movie::Sample| sample.offset.saturating_add(u64::from(sample.size));
        let samples = track.samples.get(numbers.clone()).unwrap_or_default();
        let Some(missing) = samples
            .iter()
            .find(|sample| end(sample) > self.movie.length)
        else {
            let all: u64 = samples.iter().map(|sample| u64::from(sample.size)).sum();
            return if all > self.movie.length {
                // They lie on each other.
                Err(MediaError::Unsupported(None))
            } else {
                Ok(())
            };
        };
        let base = TimeBase {
            num: 1,
            den: track.trak.mdia.mdhd.timescale,
        };
        let got = base.seconds(missing.pts.saturating_add(reach.moved));
        Err(MediaError::Truncated {
            got,
            said: length(&self.probe).unwrap_or(got),
        })
    }

    /// Times of the pictures at which a group begins, rising, as people count.
    pub fn keyframes(&self) -> Vec<Seconds> {
        let (_, track) = &self.video;
        let keys = track.packets.iter().filter(|packet| packet.key);
        let mut times: Vec<Seconds> = keys
            .map(|packet| track.time_base.seconds(packet.pts))
            .collect();
        times.sort_unstable();
        times
    }
}

/// The only track of a kind, as packets with the times at which they are shown.
fn track(movie: &Movie, handler: &[u8; 4]) -> Option<(Reach, Track)> {
    let number = movie.number(handler)?;
    if movie
        .tracks
        .iter()
        .filter(|track| track.is_a(handler))
        .count()
        > 1
    {
        return None;
    }
    let track = movie.tracks.get(number)?;
    let codec = match track.trak.mdia.minf.stbl.stsd.codecs.as_slice() {
        [Codec::Avc1(entry)] if eight_bits_of_420(&entry.avcc) => "h264",
        [Codec::Mp4a(entry)] if aac(entry).is_some() => "aac",
        _ => return None,
    };
    if !track.is_self_contained() || track.samples.is_empty() {
        return None;
    }
    let moved = track.moved(movie.timescale)?;
    let packet = |sample: &movie::Sample| Packet {
        pts: sample.pts.saturating_add(moved),
        duration: i64::from(sample.duration),
        size: u64::from(sample.size),
        key: sample.sync,
    };
    let mut packets: Vec<Packet> = track.samples.iter().map(packet).collect();
    packets::fill_durations(&mut packets);
    let reach = Reach {
        track: number,
        first: 0,
        moved,
    };
    let time_base = TimeBase {
        num: 1,
        den: track.trak.mdia.mdhd.timescale,
    };
    (time_base.den > 0).then(|| {
        let track = Track {
            codec: codec.to_owned(),
            time_base,
            packets,
        };
        (reach, track)
    })
}
