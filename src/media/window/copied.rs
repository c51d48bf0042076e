//! A window copied by ffmpeg, from a link or a local file of any kind, with the source's own ticks.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Feed, Reach, Samples, Window, whole_enough};
use crate::media::packets;
use crate::media::probe::{Audio, Probe};
use crate::media::sidecar::{self, arguments};
use crate::media::splice::bitstream;
use crate::media::splice::movie::Movie;
use crate::media::{Bench, Input, MediaError, Phase, probe};
use crate::recipe::Segment;
use crate::seconds::Seconds;

/// Added to every timestamp of a window so that none is negative, which MP4 fragments cannot say. In whole seconds, and a multiple
/// of 1001, so that it is a whole number of ticks in every time base in use, 1001/30000 included.
const OFFSET: Seconds = Seconds::from_whole(1001);
/// Packets are stored in decoding order: one that is shown before the end may come this much later.
const REORDER: Seconds = Seconds::from_whole(1);
/// How far before the start to look for a keyframe, tried in turn. Containers with an index find it at the first try.
const BACK: [i64; 5] = [1, 6, 20, 60, 240];

/// Copies the window of `segment` into the work directory as `window-<number>`.
///
/// # Errors
/// When the source cannot be read, the segment lies outside of it, or the disk is full.
pub async fn fetch(
    bench: &Bench<'_>,
    feed: &Feed<'_>,
    segment: Segment,
    number: usize,
) -> Result<Window, MediaError> {
    let probe = feed.pictures.1;
    let shift = OFFSET + probe.zero();
    let container = container(feed);
    let path = bench
        .dir
        .join(format!("window-{number}.{}", container.extension));
    let whole = Seconds::from_micros(i64::MAX);
    let tries = BACK.into_iter().map(Seconds::from_whole).chain([whole]);
    for back in tries {
        let from_start = segment.start + probe.zero() - back <= probe.start;
        copy(
            bench,
            feed,
            segment,
            (!from_start).then_some(back),
            &container,
            &path,
        )
        .await?;
        let copied = Copied {
            probe: Probe {
                audio: audio(feed).cloned(),
                ..probe.clone()
            },
            shift,
        };
        let Some(window) = read(bench, &path, copied, segment).await? else {
            if from_start {
                return Err(MediaError::NoFrames);
            }
            continue;
        };
        if is_covered(&window) || from_start {
            return whole_enough(window);
        }
    }
    Err(MediaError::NoFrames)
}

/// What has to be known of a copied window to read it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copied {
    pub probe: Probe,
    pub shift: Seconds,
}

impl Copied {
    /// That of a window.
    pub fn of(window: &Window) -> Copied {
        Copied {
            probe: window.probe.clone(),
            shift: window.shift,
        }
    }
}

/// Reads a copied window again, for a segment that lies in what it was copied for; none when it does not begin soon enough.
///
/// # Errors
/// When it cannot be read.
pub async fn again(
    bench: &Bench<'_>,
    path: &Path,
    copied: Copied,
    segment: Segment,
) -> Result<Option<Window>, MediaError> {
    match read(bench, path, copied, segment).await? {
        Some(window) if is_covered(&window) => whole_enough(window).map(Some),
        Some(_) | None => Ok(None),
    }
}

/// What lies in a copied window; none when there are no pictures.
async fn read(
    bench: &Bench<'_>,
    path: &Path,
    copied: Copied,
    segment: Segment,
) -> Result<Option<Window>, MediaError> {
    let table = packets::read(bench, path).await?;
    let Some(video) = table.video.filter(|track| !track.packets.is_empty()) else {
        return Ok(None);
    };
    let mut window = Window {
        path: path.to_owned(),
        segment,
        probe: copied.probe,
        video,
        audio: table.audio,
        shift: copied.shift,
        bitstream: Err("codec"),
        samples: None,
        in_place: false,
    };
    inspect(&mut window).await?;
    Ok(Some(window))
}

/// Whether it begins with a keyframe at or before the wanted start.
fn is_covered(window: &Window) -> bool {
    let wanted = window.ticks(window.segment.start + Seconds::from_micros(1_000));
    let mut packets = window.video.packets.iter();
    packets.any(|packet| packet.key && packet.pts <= wanted)
}

/// Looks into a window whose packets can be taken over one by one; packets that only begin a gradual refresh are no keyframes from
/// then on.
async fn inspect(window: &mut Window) -> Result<(), MediaError> {
    if window.video.codec != "h264"
        || window
            .path
            .extension()
            .is_none_or(|extension| extension == "mkv")
    {
        return Ok(());
    }
    let path = window.path.clone();
    let looked = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
        let movie = Movie::open(&path)?;
        let Some(track) = movie.track(b"vide") else {
            return Ok(None);
        };
        let look = bitstream::look(&movie, track, 0..track.samples.len())?;
        Ok(look.map(|look| (movie, look)))
    });
    let Some((movie, look)) = looked.await.map_err(std::io::Error::other)?? else {
        return Ok(());
    };
    let movie = Arc::new(movie);
    let all = |handler| {
        movie.number(handler).map(|track| Reach {
            track,
            first: 0,
            moved: 0,
        })
    };
    let (Some(video), audio) = (all(b"vide"), all(b"soun")) else {
        return Ok(());
    };
    let samples = Samples {
        movie: Arc::clone(&movie),
        video,
        audio,
    };
    let same = |reach: Reach, track: &packets::Track| {
        let samples = samples.track(reach).map_or(&[][..], |track| &track.samples);
        samples.len() == track.packets.len()
            && samples
                .iter()
                .zip(&track.packets)
                .all(|(sample, packet)| sample.pts == packet.pts)
    };
    let heard = match (audio, &window.audio) {
        (Some(reach), Some(track)) => same(reach, track),
        (None, None) => true,
        _ => false,
    };
    if !same(video, &window.video) {
        window.bitstream = Err("bitstream");
        return Ok(());
    }
    for (packet, gradual) in window.video.packets.iter_mut().zip(&look.gradual) {
        packet.key &= !gradual;
    }
    window.bitstream = look.bitstream;
    window.samples = Some(Samples {
        audio: audio.filter(|_| heard),
        ..samples
    });
    Ok(())
}

async fn copy(
    bench: &Bench<'_>,
    feed: &Feed<'_>,
    segment: Segment,
    back: Option<Seconds>,
    container: &Container,
    path: &std::path::Path,
) -> Result<(), MediaError> {
    let (input, probe) = feed.pictures;
    let mut list = arguments([&"-copyts"]);
    // ffmpeg adds the container's start time to -ss.
    let seek = |zero: Seconds, start: Seconds| back.map(|back| segment.start + zero - back - start);
    list.extend(reading(bench, input, seek(probe.zero(), probe.start)));
    if let Some((input, sound)) = feed.sound {
        // Both count from the same moment, whatever their timestamps say.
        let moved = probe.zero() - sound.zero();
        if moved != Seconds::ZERO {
            list.extend(arguments([&"-itsoffset", &moved.to_string()]));
        }
        let from = seek(sound.zero(), sound.start).filter(|from| *from > Seconds::ZERO);
        list.extend(reading(bench, input, from));
    }
    let until = segment.end + probe.zero() + REORDER;
    list.extend(arguments([
        &"-to",
        &until.to_string(),
        &"-map",
        &format!("0:{}", probe.video.index),
    ]));
    let number = usize::from(feed.sound.is_some());
    if let Some(audio) = audio(feed) {
        list.extend(arguments([&"-map", &format!("{number}:{}", audio.index)]));
        if audio.codec == "aac" {
            // From transport streams; leaves AAC that has its header in the container alone.
            list.extend(arguments([&"-bsf:a", &"aac_adtstoasc"]));
        }
    }
    list.extend(arguments([
        &"-c",
        &"copy",
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
        &"-avoid_negative_ts",
        &"disabled",
        &"-max_interleave_delta",
        &"0",
        &"-output_ts_offset",
        &OFFSET.to_string(),
        &"-f",
        &container.muxer,
    ]));
    if container.muxer == "mp4" {
        // FLAC in MP4 is a standard by now.
        list.extend(arguments([&"-strict", &"experimental"]));
    }
    if let Some(ticks) = feed
        .ticks
        .filter(|ticks| container.muxer != "matroska" && ticks.num == 1)
    {
        list.extend(arguments([
            &"-video_track_timescale",
            &ticks.den.to_string(),
        ]));
    }
    if container.muxer != "matroska" {
        // With frag_discont and without an edit list the fragments carry the timestamps as they are.
        list.extend(arguments([
            &"-use_editlist",
            &"0",
            &"-movflags",
            &"+frag_keyframe+empty_moov+default_base_moof+frag_discont+delay_moov",
        ]));
    }
    list.push(sidecar::file(path));
    let reached = match (input, feed.sound) {
        (Input::File(_), Some((sound, _))) => sound,
        _ => input,
    };
    sidecar::ffmpeg(
        bench.job(bench.engine.fetch_deadline).reaching(reached),
        list,
        |_| {},
    )
    .await
    .map_err(|error| MediaError::from_sidecar(error, Phase::Reading))?;
    Ok(())
}

/// The options for one input and the input itself, from `seek` on.
fn reading(bench: &Bench<'_>, input: &Input, seek: Option<Seconds>) -> Vec<std::ffi::OsString> {
    let mut list = match input {
        Input::File(_) => Vec::new(),
        Input::Link { .. } => arguments([&"-rw_timeout", &"20000000"]),
    };
    if let Some(seek) = seek {
        list.extend(arguments([&"-ss", &seek.to_string()]));
    }
    list.extend(probe::input_arguments(input, bench.engine.max_pixels));
    list
}

/// The sound that comes along.
fn audio<'a>(feed: &Feed<'a>) -> Option<&'a Audio> {
    match feed.sound {
        Some((_, sound)) => Some(&sound.audio),
        None => feed.pictures.1.audio.as_ref(),
    }
}

struct Container {
    muxer: &'static str,
    extension: &'static str,
}

/// MP4 keeps every tick; Matroska, which counts in milliseconds, takes only what MP4 and MOV cannot hold (VP8, Vorbis: they come
/// from Matroska files anyway).
fn container(feed: &Feed<'_>) -> Container {
    const MP4_VIDEO: [&str; 6] = ["h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video"];
    const MP4_AUDIO: [&str; 7] = ["aac", "mp3", "opus", "ac3", "eac3", "flac", "alac"];
    const MOV_VIDEO: [&str; 4] = ["prores", "mjpeg", "dnxhd", "h263"];
    let video = feed.pictures.1.video.codec.as_str();
    let audio = audio(feed).map(|audio| audio.codec.as_str());
    let mp4_sound = audio.is_none_or(|codec| MP4_AUDIO.contains(&codec));
    let mov_sound = audio
        .is_none_or(|codec| matches!(codec, "aac" | "mp3" | "alac") || codec.starts_with("pcm_"));
    if MP4_VIDEO.contains(&video) && mp4_sound {
        Container {
            muxer: "mp4",
            extension: "mp4",
        }
    } else if (MOV_VIDEO.contains(&video) || matches!(video, "h264" | "mpeg4" | "mpeg2video"))
        && mov_sound
    {
        Container {
            muxer: "mov",
            extension: "mov",
        }
    } else {
        Container {
            muxer: "matroska",
            extension: "mkv",
        }
    }
}
