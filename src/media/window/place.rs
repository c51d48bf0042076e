//! A window in place: a stretch of an MP4 that lies on the disk, found in its sample tables without a copy. For files that say no more
//! than samples can: H.264 with AAC or silence, no fragments, nothing hidden by an edit list. All others are copied.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mp4_atom::{Avcc, Codec, Matrix, Mp4a};

use super::{Reach, Samples, Window, length, whole_enough};
use crate::media::packets::{self, Packet, Track};
use crate::media::plan::{TOLERANCE, clean_boundaries};
use crate::media::probe::{Audio, Light, Probe, Scan, TimeBase, Video};
use crate::media::splice::bitstream::{self, configuration};
use crate::media::splice::join::{self, Film, Part, Placed};
use crate::media::splice::movie::{self, Movie};
use crate::media::splice::nal::Sequence;
use crate::media::{Bench, MediaError};
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
        // What an edit list hides is hard to tell from what is merely decoded first.
        if video.1.packets.iter().any(|packet| packet.pts < 0) {
            return None;
        }
        let probe = probe_of(&movie, &video, audio.as_ref())?;
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
        recipe.mute || self.audio.is_none() || recipe.segments.len() == 1
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

    /// The places in the file that hold the samples of a segment, in no order.
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

    fn window(&self, segment: Segment) -> Result<Option<Window>, MediaError> {
        let mut back = 0;
        loop {
            let (video, audio) = self.reach(segment, back);
            self.all_there(&video)?;
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
            return whole_enough(window).map(Some);
        }
    }

    /// Refuses samples behind the end of the file.
    fn all_there(&self, numbers: &Range<usize>) -> Result<(), MediaError> {
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

fn eight_bits_of_420(configuration: &Avcc) -> bool {
    let sets = configuration.sequence_parameter_sets.iter();
    let mut sets = sets.map(|set| Sequence::parse(set)).peekable();
    sets.peek().is_some()
        && sets.all(|set| {
            set.is_some_and(|set| {
                (set.chroma_format, set.luma_depth, set.chroma_depth) == (1, 8, 8)
            })
        })
}

fn scan(configuration: &Avcc) -> Scan {
    let mut sets = configuration.sequence_parameter_sets.iter();
    let fields = |set: Sequence| !set.frames_only;
    if sets.any(|set| Sequence::parse(set).is_some_and(fields)) {
        Scan::Interlaced
    } else {
        Scan::Progressive
    }
}

/// Channels and samples per second of a track of AAC-LC (ISO/IEC 14496-3, clause 1.6); `None` for everything else.
fn aac(entry: &Mp4a) -> Option<(u32, u32)> {
    const AAC: u8 = 0x40;
    const LOW_COMPLEXITY: u8 = 2;
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8_000, 7_350,
    ];
    let configuration = &entry.esds.es_desc.dec_config;
    let specific = configuration.dec_specific.as_ref()?;
    if configuration.object_type_indication != AAC || specific.profile != LOW_COMPLEXITY {
        return None;
    }
    let channels = match specific.chan_conf {
        count @ 1..=6 => u32::from(count),
        7 => 8,
        _ => return None,
    };
    Some((channels, *RATES.get(usize::from(specific.freq_index))?))
}

/// What ffprobe would say of the file.
fn probe_of(
    movie: &Movie,
    (reach, pictures): &(Reach, Track),
    sound: Option<&(Reach, Track)>,
) -> Option<Probe> {
    let trak = &movie.tracks.get(reach.track)?.trak;
    let [Codec::Avc1(entry)] = trak.mdia.minf.stbl.stsd.codecs.as_slice() else {
        return None;
    };
    let times = pictures.times();
    let (first, last) = (*times.first()?, *times.last()?);
    let length = pictures.time_base.seconds(last - first).as_f64();
    let fps = (length > 0.0).then(|| (times.len() - 1) as f64 / length);
    let mut from = pictures.time_base.seconds(first);
    let mut until = Seconds::ZERO;
    for track in std::iter::once(pictures).chain(sound.map(|(_, track)| track)) {
        let begins = track.packets.iter().map(|packet| packet.pts.max(0)).min()?;
        let ends = track
            .packets
            .iter()
            .map(|packet| packet.pts + packet.duration);
        from = from.min(track.time_base.seconds(begins));
        until = until.max(track.time_base.seconds(ends.max()?));
    }
    let audio = match sound {
        Some((reach, _)) => {
            let trak = &movie.tracks.get(reach.track)?.trak;
            let [Codec::Mp4a(entry)] = trak.mdia.minf.stbl.stsd.codecs.as_slice() else {
                return None;
            };
            let (channels, rate) = aac(entry)?;
            Some(Audio {
                index: reach.track,
                codec: "aac".to_owned(),
                channels,
                rate,
            })
        }
        None => None,
    };
    Some(Probe {
        container: CONTAINER.to_owned(),
        duration: Some(until - from).filter(|duration| *duration > Seconds::ZERO),
        start: from,
        video: Video {
            index: reach.track,
            codec: "h264".to_owned(),
            pixel_format: "yuv420p".to_owned(),
            width: u32::from(entry.visual.width),
            height: u32::from(entry.visual.height),
            rotation: rotation(&trak.tkhd.matrix)?,
            time_base: pictures.time_base,
            fps,
            scan: scan(&entry.avcc),
            light: Light::Standard,
        },
        audio,
    })
}

/// ffmpeg's name for MP4 and its kin.
const CONTAINER: &str = "mov,mp4,m4a,3gp,3g2,mj2";

/// Degrees clockwise that a player turns the picture (ISO/IEC 14496-12, clause 6.2.2), when it does no more than that.
fn rotation(matrix: &Matrix) -> Option<u32> {
    const ONE: i32 = 1 << 16;
    match (matrix.a, matrix.b, matrix.c, matrix.d) {
        (ONE, 0, 0, ONE) => Some(0),
        (0, ONE, c, 0) if c == -ONE => Some(90),
        (a, 0, 0, d) if (a, d) == (-ONE, -ONE) => Some(180),
        (0, b, ONE, 0) if b == -ONE => Some(270),
        _ => None,
    }
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
