//! A window in place: a stretch of an MP4 that lies on the disk, found in its sample tables without a copy. For files that say no more
//! than samples can: H.264 with AAC or silence, no fragments, nothing hidden by an edit list. All others are copied.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::{Reach, Samples, Window, length, whole_enough};
use crate::media::packets::{self, Packet, Track};
use crate::media::plan::{TOLERANCE, clean_boundaries};
use crate::media::probe::{Probe, TimeBase};
use crate::media::splice::bitstream::{self, configuration};
use crate::media::splice::join::{self, Film, Part, Placed};
use crate::media::splice::movie::{self, Movie};
use crate::media::{Bench, MediaError};
use crate::recipe::{Recipe, Segment};
use crate::seconds::Seconds;

/// The windows of a recipe in a local file, or `None` when it has to be copied.
///
/// # Errors
/// When the file lacks what its tables promise.
pub async fn windows(
    path: &Path,
    probe: &Probe,
    recipe: &Recipe,
) -> Result<Option<Vec<Window>>, MediaError> {
    if !may_serve(probe, recipe) {
        return Ok(None);
    }
    let (path, probe, segments) = (path.to_owned(), probe.clone(), recipe.segments.clone());
    let found = tokio::task::spawn_blocking(move || {
        // What cannot be read here may be read by ffmpeg.
        let Ok(movie) = Movie::open(&path) else {
            return Ok(None);
        };
        let Some(file) = Whole::of(Arc::new(movie), &probe) else {
            return Ok(None);
        };
        let windows = segments
            .iter()
            .map(|segment| file.window(&path, &probe, *segment));
        windows.collect()
    });
    found.await.map_err(io::Error::other)?
}

/// Whether a source is of the kind that may be cut in place. Sound of several segments is mixed anew, which ffmpeg does, from copies.
pub fn may_serve(probe: &Probe, recipe: &Recipe) -> bool {
    let sound = probe.audio.as_ref().filter(|_| !recipe.mute);
    probe.container.contains("mp4")
        && probe.video.codec == "h264"
        && sound.is_none_or(|audio| audio.codec == "aac" && recipe.segments.len() == 1)
}

/// A file whose packets are its samples, all of them.
pub struct Whole {
    movie: Arc<Movie>,
    video: (Reach, Track),
    audio: Option<(Reach, Track)>,
    /// See [`clean_boundaries`], of all pictures.
    clean: Vec<bool>,
}

impl Whole {
    /// Takes a movie as a whole, if nothing in it asks for more than samples.
    pub fn of(movie: Arc<Movie>, probe: &Probe) -> Option<Whole> {
        if movie.fragmented {
            return None;
        }
        let video = track(&movie, probe.video.index, b"vide", probe.video.time_base)?;
        configuration(&movie.tracks.get(video.0.track)?.trak)?;
        // What an edit list hides is hard to tell from what is merely decoded first.
        if video.1.packets.iter().any(|packet| packet.pts < 0) {
            return None;
        }
        let audio = match &probe.audio {
            Some(audio) => {
                let found = movie.tracks.get(audio.index)?;
                let base = TimeBase {
                    num: 1,
                    den: found.trak.mdia.mdhd.timescale,
                };
                Some(track(&movie, audio.index, b"soun", base)?)
            }
            None => None,
        };
        let clean = clean_boundaries(&video.1);
        Some(Whole {
            movie,
            video,
            audio,
            clean,
        })
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

    /// The places in the file that hold the samples of a segment.
    pub fn extents(&self, segment: Segment) -> Vec<Range<u64>> {
        let (video, audio) = self.reach(segment, 0);
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

    fn window(
        &self,
        path: &Path,
        probe: &Probe,
        segment: Segment,
    ) -> Result<Option<Window>, MediaError> {
        let mut back = 0;
        loop {
            let (video, audio) = self.reach(segment, back);
            self.all_there(&video, probe)?;
            let Some(track) = self.movie.tracks.get(self.video.0.track) else {
                return Ok(None);
            };
            let Some(look) = bitstream::look(&self.movie, track, video.clone())? else {
                return Ok(None);
            };
            if look.gradual.first() == Some(&true) && video.start > 0 {
                back += 1;
                continue;
            }
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
            let from = |reach: Reach, first| Reach { first, ..reach };
            let window = Window {
                path: path.to_owned(),
                segment,
                probe: probe.clone(),
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
            return whole_enough(window).map(Some);
        }
    }

    /// Refuses samples behind the end of the file.
    fn all_there(&self, numbers: &Range<usize>, probe: &Probe) -> Result<(), MediaError> {
        let (reach, track) = &self.video;
        let samples = self
            .movie
            .tracks
            .get(reach.track)
            .map_or(&[][..], |track| &track.samples);
        let missing = numbers.clone().find(|number| {
            samples.get(*number).is_none_or(|sample| {
                sample.offset.saturating_add(u64::from(sample.size)) > self.movie.length
            })
        });
        let Some(missing) = missing else {
            return Ok(());
        };
        let got = track.time_base.seconds(track.packets[missing].pts);
        Err(MediaError::Truncated {
            got,
            said: length(probe).unwrap_or(got),
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

/// A track of the file as packets with the times at which they are shown.
fn track(
    movie: &Movie,
    number: usize,
    handler: &[u8; 4],
    time_base: TimeBase,
) -> Option<(Reach, Track)> {
    let track = movie.tracks.get(number)?;
    let scale = track.trak.mdia.mdhd.timescale;
    if !track.is_a(handler)
        || !track.is_self_contained()
        || (time_base.num, time_base.den) != (1, scale)
    {
        return None;
    }
    let moved = track.moved(movie.timescale)?;
    let packet = |sample: &movie::Sample| Packet {
        pts: sample.pts + moved,
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
    let codec = if handler == b"vide" { "h264" } else { "aac" };
    let track = Track {
        codec: codec.to_owned(),
        time_base,
        packets,
    };
    Some((reach, track))
}

/// Writes a window in place into a file of its own, for sidecars to read.
///
/// # Errors
/// When it cannot be read or written.
pub async fn extract(
    bench: &Bench<'_>,
    window: &Window,
    number: usize,
) -> Result<Window, MediaError> {
    let path = bench.dir.join(format!("window-{number}.mp4"));
    let (source, target) = (window.clone(), path.clone());
    let key = tokio::task::spawn_blocking(move || write(&source, &target))
        .await
        .map_err(io::Error::other)??;
    let table = packets::read(bench, &path).await?;
    Ok(Window {
        path,
        video: table.video.ok_or(MediaError::NoFrames)?,
        audio: table.audio,
        shift: Seconds::ZERO - window.video.time_base.seconds(key),
        samples: None,
        in_place: false,
        ..window.clone()
    })
}

/// Writes all pictures from the first keyframe on with their sound; returns the keyframe's time, which is 0 in the file.
fn write(window: &Window, target: &Path) -> Result<i64, MediaError> {
    let lost = || MediaError::Splice("the window cannot be read again".to_owned());
    let samples = window.samples.as_ref().ok_or_else(lost)?;
    let track = samples.track(samples.video).ok_or_else(lost)?;
    let own = configuration(&track.trak).ok_or_else(lost)?;
    let packets = &window.video.packets;
    let begin = packets.iter().position(|packet| packet.key).unwrap_or(0);
    let key = packets.get(begin).ok_or(MediaError::NoFrames)?.pts;
    let mut until = key;
    let mut placed = Vec::new();
    for (packet, sample) in packets
        .iter()
        .zip(&track.samples[samples.video.first..])
        .skip(begin)
    {
        // Pictures shown before the keyframe need what came before it.
        if packet.pts < key {
            continue;
        }
        until = until.max(packet.pts + packet.duration);
        placed.push(Placed {
            sample: *sample,
            shown: packet.pts - key,
            plain: false,
        });
    }
    let film = Film {
        template: &track.trak,
        configuration: own.clone(),
        timescale: window.video.time_base.den,
        parts: vec![Part {
            movie: &samples.movie,
            length_size: own.length_size,
            samples: placed,
        }],
        length: until - key,
        sound: window.sound(key, until),
    };
    join::write(&film, target)?;
    Ok(key)
}

impl Window {
    /// The sound from one moment of the picture to another, in video ticks, sample by sample and with one more at the front; `None`
    /// when there is none or it cannot be taken over so.
    pub fn sound(&self, from: i64, until: i64) -> Option<join::Sound<'_>> {
        let samples = self.samples.as_ref()?;
        let (reach, track) = (samples.audio?, self.audio.as_ref()?);
        let source = samples.track(reach)?;
        let ticks = |ticks| track.time_base.ticks(self.video.time_base.seconds(ticks));
        let (from, until) = (ticks(from), ticks(until));
        let heard = |packet: &Packet| packet.pts + packet.duration > from && packet.pts < until;
        let first = track.packets.iter().position(heard)?.saturating_sub(1);
        let count = track.packets[first..]
            .iter()
            .take_while(|packet| packet.pts < until)
            .count();
        let picked = source.samples.get(reach.first + first..)?.get(..count)?;
        let times = track.packets[first..]
            .iter()
            .map(|packet| packet.pts - from);
        Some(join::Sound {
            movie: &samples.movie,
            template: &source.trak,
            samples: picked.iter().copied().zip(times).collect(),
        })
    }
}
