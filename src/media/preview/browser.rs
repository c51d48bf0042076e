//! A copy for the browser of a source that it cannot play: small H.264 and AAC on the source's own time line, or its own pictures in
//! another container where only that is in the way.

use std::path::{Path, PathBuf};

use crate::media::encode::graph;
use crate::media::packets;
use crate::media::probe::{self, Light, Probe};
use crate::media::sidecar::{self, arguments, file};
use crate::media::{Bench, Input, MediaError, Phase};
use crate::recipe::Format;
use crate::seconds::Seconds;

/// How the pictures of the copy are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pictures {
    /// Taken over as they are.
    Kept,
    /// Small and encoded fast.
    Small,
}

const HEIGHT: u32 = 360;

/// Makes `preview.mp4` of a local file in the work directory, at most so long.
///
/// # Errors
/// When nothing comes out that has pictures, or ffmpeg is stopped or takes too long.
pub async fn preview(
    bench: &Bench<'_>,
    path: &Path,
    probe: &Probe,
    most: Seconds,
    pictures: Pictures,
) -> Result<PathBuf, MediaError> {
    let target = bench.dir.join("preview.mp4");
    let zero = probe.zero();
    // Packets fit as they are where nothing has to be moved, or all of them by the same: a copy of ours has every timestamp that it needs.
    let kept = pictures == Pictures::Kept && (zero == Seconds::ZERO || probe.zero_at.is_some());
    let mut list = arguments([
        &"-copyts",
        &"-filter_threads",
        &"1",
        &"-threads",
        &"1",
        &"-t",
        &most.to_string(),
    ]);
    if kept && zero != Seconds::ZERO {
        list.extend(arguments([
            &"-itsoffset",
            &(Seconds::ZERO - zero).to_string(),
        ]));
    }
    let late = if kept { Seconds::ZERO } else { zero };
    list.extend(probe::input_arguments(
        &Input::File(path.to_owned()),
        bench.engine.max_pixels,
    ));
    list.extend(arguments([&"-map", &format!("0:{}", probe.video.index)]));
    if kept {
        list.extend(arguments([&"-c:v", &"copy"]));
    } else {
        list.extend(small(probe, zero));
    }
    match &probe.audio {
        Some(audio) if kept && audio.codec == "aac" => {
            let map = format!("0:{}", audio.index);
            list.extend(arguments([&"-map", &map, &"-c:a", &"copy"]));
        }
        Some(audio) => {
            let map = format!("0:{}", audio.index);
            let filter =
                format!("asetpts=PTS-{late}/TB,aresample=async=1:first_pts=0:min_hard_comp=0.004");
            list.extend(arguments([
                &"-map", &map, &"-af", &filter, &"-c:a", &"aac", &"-b:a", &"96k", &"-ac", &"2",
                &"-ar", &"48000",
            ]));
        }
        None => {}
    }
    list.extend(arguments([
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
        &"-movflags",
        &"+faststart",
        &"-f",
        &"mp4",
    ]));
    list.push(file(&target));
    let length = probe.duration.map_or(most, |all| all.min(most)).as_f64();
    let frames = (length * probe.video.fps.unwrap_or(25.0)).max(1.0);
    let progress = bench.progress.clone();
    // It may lie outside of the job's folder.
    let reads = [path.to_owned()];
    let job = bench.job(bench.engine.cut_deadline).reading(&reads);
    sidecar::ffmpeg(job, list, move |frame| {
        progress.send_replace((frame as f64 / frames).min(0.99));
    })
    .await
    .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    // ffmpeg ends well with nothing in its hands.
    let table = packets::read_clip(bench, Format::Mp4, &target).await?;
    match table.video {
        Some(track) if !track.packets.is_empty() => Ok(target),
        _ => Err(MediaError::Damaged(None)),
    }
}

/// Pictures at their own times, small and without reordering.
fn small(probe: &Probe, zero: Seconds) -> Vec<std::ffi::OsString> {
    let look = graph::plain(&probe.video, probe.shown_size(), HEIGHT);
    let filter = format!("setpts=PTS-{zero}/TB,{look}");
    let base = probe.video.time_base;
    let base = format!("{}:{}", base.num, base.den);
    let mut list = arguments([
        &"-vf",
        &filter,
        &"-fps_mode",
        &"passthrough",
        &"-enc_time_base:v",
        &base,
        &"-c:v",
        &"libx264",
        &"-preset",
        &"ultrafast",
        &"-crf",
        &"28",
        &"-bf",
        &"0",
        &"-g",
        &"60",
        &"-threads",
        &"1",
    ]);
    if probe.video.light == Light::High {
        list.extend(arguments([
            &"-colorspace",
            &"bt709",
            &"-color_primaries",
            &"bt709",
            &"-color_trc",
            &"bt709",
        ]));
    }
    list
}
