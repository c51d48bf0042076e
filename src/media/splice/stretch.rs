//! Encoding a stretch of a window so that it can stand in one track with the source.

use std::path::{Path, PathBuf};

use super::join::{self, Film, Part};
use super::{broken, places, samples_of, template, unjoined};
use crate::media::plan::{Piece, keyframe_before};
use crate::media::sidecar::{self, arguments, file};
use crate::media::window::Window;
use crate::media::{Bench, Input, MediaError, Phase, probe};

/// Quality of what is encoded: close to the source, because it stands beside it.
const CRF: &str = "16";
/// At this quality slower presets gain a decibel and cost twice the time; so few frames weigh little either way.
const PRESET: &str = "ultrafast";

/// Frames to be encoded from a window: the ticks of the first and the last.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    first: i64,
    last: i64,
}

impl Piece {
    /// The frames before what is copied.
    pub fn head_stretch(&self) -> Option<Stretch> {
        stretch(&self.frames[..self.head])
    }

    /// The frames behind what is copied.
    pub fn tail_stretch(&self) -> Option<Stretch> {
        stretch(&self.frames[self.frames.len() - self.tail..])
    }
}

fn stretch(frames: &[i64]) -> Option<Stretch> {
    Some(Stretch {
        first: *frames.first()?,
        last: *frames.last()?,
    })
}

/// Encodes a stretch so that it can stand in one track with the source: same size and pixels, parameter sets under an id of their own,
/// at most so many bits a second.
pub async fn encode_stretch(
    bench: &Bench<'_>,
    window: &Window,
    stretch: Option<Stretch>,
    most: u64,
    name: String,
) -> Result<Option<PathBuf>, MediaError> {
    let Some(stretch) = stretch else {
        return Ok(None);
    };
    let bitstream = window.bitstream.as_ref().map_err(|unfit| broken(unfit))?;
    let source = bench.dir.join(format!("{name}-source.mp4"));
    let target = bench.dir.join(format!("{name}.mp4"));
    let (whole, path) = (window.clone(), source.clone());
    let first = tokio::task::spawn_blocking(move || needed(&whole, stretch, &path))
        .await
        .map_err(|error| broken(&error.to_string()))??;
    let base = window.video.time_base;
    let last = first + stretch.last - stretch.first;
    let threads = bench.engine.threads.to_string();
    let mut list = arguments([&"-copyts", &"-noautorotate", &"-threads", &threads]);
    list.extend(probe::input_arguments(
        &Input::File(source),
        bench.engine.max_pixels,
    ));
    let profile = match bitstream.configuration.avc_profile_indication {
        66 => "baseline",
        77 => "main",
        _ => "high",
    };
    list.extend(arguments([
        &"-an",
        &"-map",
        &"0:v:0",
        &"-vf",
        &format!(
            "trim=start_pts={first}:end_pts={},setpts=PTS-{first}",
            last + 1
        ),
        &"-filter_threads",
        &"1",
        &"-fps_mode",
        &"passthrough",
        &"-enc_time_base",
        &format!("{}:{}", base.num, base.den),
        &"-video_track_timescale",
        &base.den.to_string(),
        &"-c:v",
        &"libx264",
        &"-preset",
        &PRESET,
        &"-profile:v",
        &profile,
        &"-crf",
        &CRF,
        &"-maxrate",
        &most.to_string(),
        &"-bufsize",
        &most.to_string(),
        &"-threads",
        &threads,
        &"-x264-params",
        // No frames are held back: so few gain nothing from it, and each costs memory.
        &format!(
            "sps-id={}:keyint=infinite:scenecut=0:open-gop=0:bframes=0:rc-lookahead=0:sync-lookahead=0:sliced-threads=1",
            bitstream.spare_id
        ),
        &"-map_metadata",
        &"-1",
        &"-f",
        &"mp4",
    ]));
    list.push(file(&target));
    let finished = sidecar::ffmpeg(bench.job(bench.engine.cut_deadline), list, |_| {})
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    // The same pictures stand beside the stretch in the clip: whatever is wrong with them would be heard there. Behind an entry
    // of an open group a decoder misses what it does not need.
    let key = keyframe_before(&window.video, stretch.first);
    let entry = window.video.packets.iter().zip(&bitstream.idr);
    let closed = entry
        .into_iter()
        .any(|(packet, idr)| *idr && packet.pts == key);
    match finished.stderr.trim() {
        "" => Ok(Some(target)),
        _ if !closed => Ok(Some(target)),
        said => Err(broken(&format!(
            "the source cannot be decoded cleanly: {said}"
        ))),
    }
}

/// Writes what decoding a stretch takes into a file of its own: pictures from the keyframe shown at or before it on, without those
/// that are not wanted and that no other needs. Returns the time of the stretch in it, in ticks.
fn needed(window: &Window, stretch: Stretch, target: &Path) -> Result<i64, MediaError> {
    let bitstream = window.bitstream.as_ref().map_err(|unfit| broken(unfit))?;
    let packets = &window.video.packets;
    let key = keyframe_before(&window.video, stretch.first);
    let begin = packets
        .iter()
        .position(|packet| packet.key && packet.pts == key)
        .ok_or_else(|| broken("there is no keyframe before it"))?;
    let end = packets
        .iter()
        .rposition(|packet| packet.pts <= stretch.last)
        .map_or(begin, |place| place + 1);
    let taken = |place: &usize| {
        let pts = packets[*place].pts;
        pts >= key && (pts >= stretch.first || !bitstream.disposable[*place])
    };
    let samples = places(window, (begin..end).filter(taken), -key)?;
    let film = Film {
        template: template(window)?,
        configuration: bitstream.configuration.clone(),
        timescale: window.video.time_base.den,
        length: samples
            .iter()
            .map(|placed| placed.shown + 1)
            .max()
            .unwrap_or(1),
        parts: vec![Part {
            movie: &samples_of(window)?.movie,
            length_size: bitstream.length_size,
            samples,
        }],
        sound: None,
    };
    join::write(&film, target).map_err(unjoined)?;
    Ok(stretch.first - key)
}
