//! Sound alone: MP3, and AAC in M4A.

use std::ffi::OsString;
use std::path::Path;

use super::feed::Feed;
use super::film::{self, Rate};
use super::sound;
use crate::media::rendering::Rendering;
use crate::media::sidecar::{self, arguments};
use crate::media::window::Window;
use crate::media::{Bench, MediaError};

/// Encodes an MP3 by quality; its first frame says how much of the beginning and the end is no sound.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn mp3(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    rate: Rate,
    target: &Path,
) -> Result<(), MediaError> {
    let window = rendering.windows.first();
    let codec = window
        .map(|window| lame(window, rate.audio_bits()))
        .unwrap_or_default();
    let muxer = arguments([&"-write_xing", &"1", &"-f", &"mp3"]);
    encoded(bench, rendering, [codec, muxer].concat(), target).await
}

/// Encodes AAC.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn m4a(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    rate: Rate,
    target: &Path,
) -> Result<(), MediaError> {
    let first = rendering.windows.first();
    let mut codec = first.map(sound::aac).unwrap_or_default();
    codec.extend(rate.audio_bits().map(sound::spare).unwrap_or_default());
    let muxer = arguments([&"-movflags", &"+faststart", &"-f", &"ipod"]);
    encoded(bench, rendering, [codec, muxer].concat(), target).await
}

async fn encoded(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    codec: Vec<OsString>,
    target: &Path,
) -> Result<(), MediaError> {
    let feed = Feed::prepare(bench, rendering).await?;
    let mut list = feed.sound();
    list.extend(arguments([
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
    ]));
    list.extend(codec);
    list.push(sidecar::file(target));
    film::run(bench, rendering, list, 0.1..0.95).await
}

/// MP3 of varying rate, about 190 kbit/s in stereo, at a rate that the format has.
fn lame(window: &Window, bits: Option<u64>) -> Vec<OsString> {
    let (channels, rate) = window
        .probe
        .audio
        .as_ref()
        .map_or((2, 48_000), |audio| (audio.channels, audio.rate));
    let rate = if matches!(rate, 32_000 | 44_100 | 48_000) {
        rate
    } else {
        48_000
    };
    let channels = if channels == 1 { "1" } else { "2" };
    let (how, much) = match bits {
        Some(bits) => ("-b:a", bits.to_string()),
        None => ("-q:a", "2".to_owned()),
    };
    arguments([
        &"-c:a",
        &"libmp3lame",
        &how,
        &much,
        &"-ac",
        &channels,
        &"-ar",
        &rate.to_string(),
    ])
}
