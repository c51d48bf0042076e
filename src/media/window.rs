//! The window: the stretch of a source, keyframe to keyframe, that covers one wanted segment, copied once into the work directory
//! with the source's own ticks. From here on nothing needs the network.

use std::path::PathBuf;

use super::packets::{self, Track};
use super::probe::Probe;
use super::sidecar::{self, arguments};
use super::splice::bitstream::{self, Bitstream, Unfit};
use super::splice::movie::Movie;
use super::{Bench, Input, MediaError, Phase, probe};
use crate::recipe::Segment;
use crate::seconds::Seconds;

/// A local copy of a stretch of the source.
#[derive(Clone, Debug)]
pub struct Window {
    pub path: PathBuf,
    /// What is wanted out of it, in the source's time as people count it.
    pub segment: Segment,
    pub probe: Probe,
    /// Packet tables with times as in the file.
    pub video: Track,
    pub audio: Option<Track>,
    /// File time minus the time people count.
    pub shift: Seconds,
    /// What splicing has to know of its pictures, or why they cannot be spliced.
    pub bitstream: Result<Bitstream, Unfit>,
}

/// Added to every timestamp of a window so that none is negative, which MP4 fragments cannot say. In whole seconds, and a multiple
/// of 1001, so that it is a whole number of ticks in every time base in use, 1001/30000 included.
const OFFSET: Seconds = Seconds::from_whole(1001);
/// Packets are stored in decoding order: one that is shown before the end may come this much later.
const REORDER: Seconds = Seconds::from_whole(1);
/// How far before the start to look for a keyframe, tried in turn. Containers with an index find it at the first try.
const BACK: [i64; 5] = [1, 6, 20, 60, 240];

impl Window {
    /// Ticks of the video track at a time as people count it.
    pub fn ticks(&self, time: Seconds) -> i64 {
        self.video.time_base.ticks(time + self.shift)
    }

    /// The file's own start time, from which a demuxer counts when it seeks.
    pub fn opens_at(&self) -> Seconds {
        [Some(&self.video), self.audio.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|track| {
                track
                    .times()
                    .first()
                    .map(|ticks| track.time_base.seconds(*ticks))
            })
            .min()
            .unwrap_or_default()
    }

    /// Average rate of the pictures.
    pub fn bits_a_second(&self) -> u64 {
        let bits: u64 = self
            .video
            .packets
            .iter()
            .map(|packet| packet.size * 8)
            .sum();
        let ticks: i64 = self
            .video
            .packets
            .iter()
            .map(|packet| packet.duration)
            .sum();
        let seconds = self.video.time_base.seconds(ticks).as_f64();
        if seconds > 0.0 {
            (bits as f64 / seconds) as u64
        } else {
            0
        }
    }

    /// The time, as people count it, of ticks of the video track.
    pub fn time(&self, ticks: i64) -> Seconds {
        self.video.time_base.seconds(ticks) - self.shift
    }
}

/// Copies the window of `segment` into the work directory as `window-<number>`.
///
/// # Errors
/// When the source cannot be read, the segment lies outside of it, or the disk is full.
pub async fn fetch(
    bench: &Bench<'_>,
    input: &Input,
    probe: &Probe,
    segment: Segment,
    number: usize,
) -> Result<Window, MediaError> {
    let shift = OFFSET + probe.zero();
    let length = probe
        .duration
        .map(|duration| probe.start + duration - probe.zero());
    if let Some(length) = length
        && segment.start >= length
    {
        return Err(MediaError::Range(length));
    }
    let container = container(probe);
    let path = bench
        .dir
        .join(format!("window-{number}.{}", container.extension));
    let whole = Seconds::from_micros(i64::MAX);
    let tries = BACK.into_iter().map(Seconds::from_whole).chain([whole]);
    for back in tries {
        let from_start = segment.start + probe.zero() - back <= probe.start;
        copy(
            bench,
            input,
            probe,
            segment,
            (!from_start).then_some(back),
            &container,
            &path,
        )
        .await?;
        let table = packets::read(bench, &path).await?;
        let Some(video) = table.video.filter(|track| !track.packets.is_empty()) else {
            if from_start {
                return Err(MediaError::NoFrames);
            }
            continue;
        };
        let mut window = Window {
            path: path.clone(),
            segment,
            probe: probe.clone(),
            video,
            audio: table.audio,
            shift,
            bitstream: Err("codec"),
        };
        inspect(&mut window).await?;
        let wanted = window.ticks(segment.start + Seconds::from_micros(1_000));
        let covered = window
            .video
            .packets
            .iter()
            .any(|packet| packet.key && packet.pts <= wanted);
        if covered || from_start {
            return whole_enough(window, length);
        }
    }
    Err(MediaError::NoFrames)
}

/// Looks into the pictures of a window, where they are of the kind that can be spliced; packets that only begin a gradual refresh are
/// no keyframes from then on.
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
    let looked = tokio::task::spawn_blocking(move || bitstream::look(&Movie::open(&path)?));
    let Some(look) = looked.await.map_err(std::io::Error::other)?? else {
        return Ok(());
    };
    for (packet, gradual) in window.video.packets.iter_mut().zip(&look.gradual) {
        packet.key &= !gradual;
    }
    window.bitstream = look.bitstream;
    Ok(())
}

/// Refuses a window that stops before it should: ffmpeg copies what there is and ends well all the same.
fn whole_enough(window: Window, length: Option<Seconds>) -> Result<Window, MediaError> {
    let last = window
        .video
        .packets
        .iter()
        .map(|packet| packet.pts + packet.duration)
        .max();
    let got = last.map_or(Seconds::ZERO, |ticks| window.time(ticks));
    if let Some(said) = length {
        // The container's length may be that of a sound track which is a little longer than the pictures.
        let slack = Seconds::from_micros(1_000_000.max(said.micros() / 50));
        if got + slack < window.segment.end.min(said) {
            return Err(MediaError::Truncated { got, said });
        }
    }
    if got <= window.segment.start {
        return Err(MediaError::Range(got));
    }
    Ok(window)
}

async fn copy(
    bench: &Bench<'_>,
    input: &Input,
    probe: &Probe,
    segment: Segment,
    back: Option<Seconds>,
    container: &Container,
    path: &std::path::Path,
) -> Result<(), MediaError> {
    let mut list = arguments([&"-copyts", &"-rw_timeout", &"20000000"]);
    if matches!(input, Input::File(_)) {
        list.truncate(1);
    }
    if let Some(back) = back {
        // ffmpeg adds the container's start time to -ss.
        let seek = segment.start + probe.zero() - back - probe.start;
        list.extend(arguments([&"-ss", &seek.to_string()]));
    }
    list.extend(probe::input_arguments(input, bench.engine.max_pixels));
    let until = segment.end + probe.zero() + REORDER;
    list.extend(arguments([
        &"-to",
        &until.to_string(),
        &"-map",
        &format!("0:{}", probe.video.index),
    ]));
    if let Some(audio) = &probe.audio {
        list.extend(arguments([&"-map", &format!("0:{}", audio.index)]));
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
    sidecar::ffmpeg(
        bench.job(bench.engine.fetch_deadline).reaching(input),
        list,
        |_| {},
    )
    .await
    .map_err(|error| MediaError::from_sidecar(error, Phase::Reading))?;
    Ok(())
}

struct Container {
    muxer: &'static str,
    extension: &'static str,
}

/// MP4 keeps every tick; Matroska, which counts in milliseconds, takes only what MP4 and MOV cannot hold (VP8, Vorbis: they come
/// from Matroska files anyway).
fn container(probe: &Probe) -> Container {
    const MP4_VIDEO: [&str; 6] = ["h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video"];
    const MP4_AUDIO: [&str; 7] = ["aac", "mp3", "opus", "ac3", "eac3", "flac", "alac"];
    const MOV_VIDEO: [&str; 4] = ["prores", "mjpeg", "dnxhd", "h263"];
    let video = probe.video.codec.as_str();
    let audio = probe.audio.as_ref().map(|audio| audio.codec.as_str());
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
