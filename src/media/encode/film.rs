//! Pictures with their sound: H.264 and AAC in MP4.

use std::ffi::OsString;
use std::path::Path;

use super::feed::Feed;
use super::sound;
use crate::media::probe::Light;
use crate::media::rendering::{Rendering, Timing};
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, MediaError, Phase};

/// Encodes an MP4 by quality.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn mp4(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    target: &Path,
) -> Result<(), MediaError> {
    let engine = bench.engine;
    let feed = Feed::prepare(bench, rendering).await?;
    let mut list = feed.film("yuv420p");
    if rendering.plan.sound {
        list.extend(
            rendering
                .windows
                .first()
                .map(sound::aac)
                .unwrap_or_default(),
        );
    }
    list.extend(colours(rendering));
    list.extend(times(&rendering.timing));
    list.extend(arguments([
        &"-c:v",
        &"libx264",
        &"-preset",
        &engine.preset,
        &"-crf",
        &engine.crf.to_string(),
        &"-threads",
        &engine.threads.to_string(),
        &"-bsf:v",
        &lasting(&rendering.timing),
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
        &"-movflags",
        &"+faststart",
        &"-f",
        &"mp4",
    ]));
    list.push(sidecar::file(target));
    run(bench, rendering, list).await
}

/// What is told about colours once they were mapped.
pub fn colours(rendering: &Rendering<'_>) -> Vec<OsString> {
    let video = rendering.windows.first().map(|window| &window.probe.video);
    match video.map(|video| video.light) {
        Some(Light::High) => arguments([
            &"-colorspace",
            &"bt709",
            &"-color_primaries",
            &"bt709",
            &"-color_trc",
            &"bt709",
            &"-color_range",
            &"tv",
        ]),
        Some(Light::Standard) | None => Vec::new(),
    }
}

/// Times are passed through in the source's own ticks.
pub fn times(timing: &Timing) -> Vec<OsString> {
    let base = timing.base;
    arguments([
        &"-fps_mode",
        &"passthrough",
        &"-enc_time_base",
        &format!("{}:{}", base.num, base.den),
        &"-video_track_timescale",
        &timescale(base.num, base.den).to_string(),
    ])
}

/// Runs ffmpeg and tells how far it is.
///
/// # Errors
/// When it fails, is stopped or takes too long.
pub async fn run(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    list: Vec<OsString>,
) -> Result<(), MediaError> {
    let frames = rendering.timing.times.len().max(1) as f64;
    let progress = bench.progress.clone();
    // Something may have been made for it before.
    let from = progress.borrow().clamp(0.1, 0.9);
    sidecar::ffmpeg(bench.job(bench.engine.cut_deadline), list, move |frame| {
        progress.send_replace(from + (0.95 - from) * (frame as f64 / frames).min(1.0));
    })
    .await
    .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    Ok(())
}

/// Gives every packet the length of the last frame. Only that of the last one counts, and without it the muxer lets the track end
/// where the last frame begins, which then nobody shows.
fn lasting(timing: &Timing) -> String {
    format!("setts=pts=PTS:dts=DTS:duration={}", timing.last())
}

/// The track's ticks per second, when the time base is a whole fraction; else a multiple that holds it.
fn timescale(num: u32, den: u32) -> u32 {
    if num == 1 {
        den
    } else {
        den.saturating_mul(num)
    }
}
