//! Packets as they are: the fast cut from a keyframe on, and sound alone. Where it starts is in the plan and told to whoever asked. Where the packets
//! are samples of an MP4 they are taken over without a sidecar.

use std::path::Path;

use super::plan::Plan;
use super::sidecar::{self, arguments};
use super::window::Window;
use super::{Bench, Input, MediaError, Phase, probe, splice};

/// Copies the sound of the plan's only piece into `target`, from its first frame's time to its last frame's end.
///
/// # Errors
/// When the window does not hold what the plan says.
pub async fn sound(windows: &[Window], plan: &Plan, target: &Path) -> Result<(), MediaError> {
    let window = windows.first().ok_or(MediaError::NoFrames)?.clone();
    let (plan, target) = (plan.clone(), target.to_owned());
    tokio::task::spawn_blocking(move || splice::sound_taken_over(&window, &plan, &target))
        .await
        .map_err(std::io::Error::other)?
}

/// Copies the plan's only piece into `target`.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn copy(
    bench: &Bench<'_>,
    windows: &[Window],
    plan: &Plan,
    target: &Path,
) -> Result<(), MediaError> {
    let (Some(window), Some(piece)) = (windows.first(), plan.pieces.first()) else {
        return Err(MediaError::NoFrames);
    };
    if window.samples.is_some() && (!plan.sound || window.is_aac()) {
        let (window, plan, target) = (window.clone(), plan.clone(), target.to_owned());
        return tokio::task::spawn_blocking(move || splice::taken_over(&window, &plan, &target))
            .await
            .map_err(std::io::Error::other)?;
    }
    let (first, packets) = (piece.first(), &piece.packets);
    // Packets are picked by number and moved by whole ticks: ffmpeg's own -ss and -t round to microseconds and snap again.
    let video = format!(
        "noise=amount=0:drop=lt(n\\,{})+gte(n\\,{})+lt(pts\\,{first}),setts=pts=PTS-{first}:dts=DTS-{first}",
        packets.start, packets.end
    );
    let mut list = arguments([&"-copyts"]);
    list.extend(probe::input_arguments(
        &Input::File(window.path.clone()),
        bench.engine.max_pixels,
    ));
    list.extend(arguments([&"-map", &"0:v:0", &"-bsf:v", &video]));
    if let Some(track) = window.audio.as_ref().filter(|_| plan.sound) {
        let base = window.video.time_base;
        let ticks = |video_ticks| track.time_base.ticks(base.seconds(video_ticks));
        let (from, until) = (ticks(first), ticks(piece.until));
        let audio =
            format!("noise=amount=0:drop=lt(pts\\,{from})+gte(pts\\,{until}),setts=ts=TS-{from}");
        list.extend(arguments([&"-map", &"0:a:0", &"-bsf:a", &audio]));
    }
    list.extend(arguments([
        &"-c",
        &"copy",
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
        &"-video_track_timescale",
        &window.video.time_base.den.to_string(),
        &"-movflags",
        &"+faststart",
        &"-f",
        &"mp4",
    ]));
    list.push(sidecar::file(target));
    sidecar::ffmpeg(bench.job(bench.engine.cut_deadline), list, |_| {})
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    Ok(())
}
