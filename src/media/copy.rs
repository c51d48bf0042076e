//! The fast cut: packets as they are, from a keyframe on. Where it starts is in the plan and told to whoever asked.

use std::ffi::OsString;
use std::path::Path;

use super::plan::Plan;
use super::sidecar::{self, arguments};
use super::window::Window;
use super::{Bench, Input, MediaError, Phase, probe};
use crate::seconds::Seconds;

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
    // As an output option and without -copyts, -ss drops packets by their own times: nothing is sought and nothing snapped again.
    let from = window.video.time_base.seconds(piece.first());
    let length = window.video.time_base.seconds(piece.until) - from;
    let start = earliest(window);
    let mut list =
        probe::input_arguments(&Input::File(window.path.clone()), bench.engine.max_pixels);
    list.extend(arguments([
        &"-ss",
        &(from - start).to_string(),
        &"-t",
        &length.to_string(),
        &"-map",
        &"0:v:0",
    ]));
    if plan.sound {
        list.extend(arguments([&"-map", &"0:a:0"]));
    }
    list.extend(arguments([
        &"-c",
        &"copy",
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
        &"-movflags",
        &"+faststart",
        &"-f",
        &"mp4",
    ]));
    let mut file = OsString::from("file:");
    file.push(target);
    list.push(file);
    sidecar::ffmpeg(bench.job(bench.engine.cut_deadline), list, |_| {})
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    Ok(())
}

/// The file's start time as ffmpeg sees it.
fn earliest(window: &Window) -> Seconds {
    [Some(&window.video), window.audio.as_ref()]
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
