//! Pictures with their sound: VP9 and Opus in WebM, which counts in milliseconds.

use std::ffi::OsString;
use std::path::Path;

use super::feed::Feed;
use super::film::{self, Rate};
use super::sound::Heard;
use crate::media::probe::TimeBase;
use crate::media::rendering::{Rendering, Timing};
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, MediaError};

/// The encoder counts as the container does: then nothing is rounded twice.
const MILLI: TimeBase = TimeBase { num: 1, den: 1000 };
/// Constant quality on VP9's own scale of 63; looks like H.264 at 23.
const CRF: &str = "33";
/// How much is left out of the search, up to 8: at 4 two cores make 1080p at a few pictures a second, below that hardly one.
const SPEED: &str = "4";

/// Encodes a WebM.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn webm(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    rate: Rate,
    target: &Path,
) -> Result<(), MediaError> {
    let feed = Feed::prepare(bench, rendering, rate).await?;
    let notes = bench.dir.join("vp9-pass");
    let pass = |number: &str, bits: u64| {
        arguments([
            &"-b:v",
            &bits.to_string(),
            &"-pass",
            &number,
            &"-passlogfile",
            &notes,
        ])
    };
    let (quality, share) = match rate {
        Rate::Quality | Rate::Graded { .. } => {
            let mut quality = arguments([&"-crf", &CRF, &"-b:v", &"0"]);
            quality.extend(film::bounded(rendering));
            (quality, 0.1..0.95)
        }
        Rate::Average { video_bits, .. } => {
            let mut list = feed.pictures("yuv420p", "");
            list.extend(vp9(bench, rendering));
            list.extend(pass("1", video_bits));
            list.extend(arguments([&"-f", &"null", &"-"]));
            film::run(bench, rendering, list, 0.1..0.4).await?;
            (pass("2", video_bits), 0.4..0.95)
        }
        Rate::Again { video_bits, .. } => (pass("2", video_bits), 0.4..0.95),
    };
    let mut list = feed.film(bench, "yuv420p").await?;
    if rendering.plan.sound {
        list.extend(opus(feed.heard, rate.audio_bits()));
    }
    list.extend(vp9(bench, rendering));
    list.extend(quality);
    list.extend(arguments([
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
        &"-f",
        &"webm",
    ]));
    list.push(sidecar::file(target));
    film::run(bench, rendering, list, share).await
}

/// The encoder of the pictures, without its rate.
fn vp9(bench: &Bench<'_>, rendering: &Rendering<'_>) -> Vec<OsString> {
    let mut list = film::colours(rendering);
    list.extend(arguments([
        &"-fps_mode",
        &"passthrough",
        // Of the pictures alone: the encoder of the sound reads its own packets' lengths in samples.
        &"-enc_time_base:v",
        &format!("{}:{}", MILLI.num, MILLI.den),
        &"-c:v",
        &"libvpx-vp9",
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
    ]));
    list
}

/// Gives every packet the length of the last frame, by which the muxer tells where the film ends.
fn lasting(timing: &Timing) -> String {
    let last = MILLI.ticks(timing.base.seconds(timing.last())).max(1);
    format!("setts=pts=PTS:dts=DTS:duration={last}")
}

/// Opus at its own rate, at most stereo.
fn opus(heard: Heard, bits: Option<u64>) -> Vec<OsString> {
    let usual = if heard.channels == 1 { 64_000 } else { 112_000 };
    let bits = bits.map_or(usual, |bits| bits.min(usual));
    arguments([
        &"-c:a",
        &"libopus",
        &"-b:a",
        &bits.to_string(),
        &"-ac",
        &heard.channels.to_string(),
        &"-ar",
        &"48000",
        // What its decoder needs to settle comes before time 0. WebM says so beside the times, which begin at 0.
        &"-bsf:a",
        &"setts=ts=TS-STARTPTS",
    ])
}
