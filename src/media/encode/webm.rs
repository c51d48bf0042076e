//! Pictures with their sound: VP9 and Opus in WebM, which counts in milliseconds.

use std::ffi::OsString;
use std::path::Path;

use super::feed::Feed;
use super::film;
use crate::media::probe::TimeBase;
use crate::media::rendering::{Rendering, Timing};
use crate::media::sidecar::{self, arguments};
use crate::media::window::Window;
use crate::media::{Bench, MediaError};

/// The encoder counts as the container does: then nothing is rounded twice.
const MILLI: TimeBase = TimeBase { num: 1, den: 1000 };
/// Constant quality on VP9's own scale of 63; looks like H.264 at 23.
const CRF: &str = "33";
/// How much is left out of the search, up to 8: at 4 two cores make 1080p at a few pictures a second, below that hardly one.
const SPEED: &str = "4";

/// Encodes a WebM by quality.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn webm(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    target: &Path,
) -> Result<(), MediaError> {
    let feed = Feed::prepare(bench, rendering).await?;
    let mut list = feed.film("yuv420p");
    if rendering.plan.sound {
        list.extend(rendering.windows.first().map(opus).unwrap_or_default());
    }
    list.extend(film::colours(rendering));
    list.extend(arguments([
        &"-fps_mode",
        &"passthrough",
        // Of the pictures alone: the encoder of the sound reads its own packets' lengths in samples.
        &"-enc_time_base:v",
        &format!("{}:{}", MILLI.num, MILLI.den),
        &"-c:v",
        &"libvpx-vp9",
        &"-crf",
        &CRF,
        &"-b:v",
        &"0",
        &"-deadline",
        &"good",
        &"-cpu-used",
        &SPEED,
        &"-row-mt",
        &"1",
        // Rows of blocks are shared out among threads only inside of a tile column.
        &"-tile-columns",
        &"2",
        &"-g",
        &"240",
        &"-threads",
        &bench.engine.threads.to_string(),
        &"-bsf:v",
        &lasting(&rendering.timing),
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
        &"-f",
        &"webm",
    ]));
    list.push(sidecar::file(target));
    film::run(bench, rendering, list).await
}

/// Gives every packet the length of the last frame, by which the muxer tells where the film ends.
fn lasting(timing: &Timing) -> String {
    let last = MILLI.ticks(timing.base.seconds(timing.last())).max(1);
    format!("setts=pts=PTS:dts=DTS:duration={last}")
}

/// Opus at its own rate, at most stereo.
fn opus(window: &Window) -> Vec<OsString> {
    let mono = window
        .probe
        .audio
        .as_ref()
        .is_some_and(|audio| audio.channels == 1);
    let (channels, bits) = if mono { ("1", "64k") } else { ("2", "112k") };
    arguments([
        &"-c:a",
        &"libopus",
        &"-b:a",
        &bits,
        &"-ac",
        &channels,
        &"-ar",
        &"48000",
        // What its decoder needs to settle comes before time 0. WebM says so beside the times, which begin at 0.
        &"-bsf:a",
        &"setts=ts=TS-STARTPTS",
    ])
}
