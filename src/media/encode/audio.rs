//! Sound alone: MP3, and AAC in M4A.

use std::ffi::OsString;
use std::path::Path;

use super::feed::Feed;
use super::film::{self, Rate};
use super::sound::{self, Heard};
use crate::media::rendering::Rendering;
use crate::media::sidecar::{self, arguments};
use crate::media::window::{Window, extract};
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
    let codec = |heard| lame(window, heard, rate.audio_bits());
    let muxer = arguments([&"-write_xing", &"1", &"-f", &"mp3"]);
    encoded(bench, rendering, rate, codec, muxer, target).await
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
    let codec = |heard| sound::aac(heard, rate.audio_bits());
    let muxer = arguments([&"-movflags", &"+faststart", &"-f", &"ipod"]);
    encoded(bench, rendering, rate, codec, muxer, target).await
}

async fn encoded(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    rate: Rate,
    codec: impl FnOnce(Heard) -> Vec<OsString>,
    muxer: Vec<OsString>,
    target: &Path,
) -> Result<(), MediaError> {
    let (windows, plan) = extract::sounds(bench, rendering).await?;
    let own = Rendering {
        windows: &windows,
        plan: &plan,
        ..rendering.clone()
    };
    let feed = Feed::prepare(bench, &own, rate).await?;
    let mut list = feed.sound(bench).await?;
    list.extend(arguments([
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
    ]));
    list.extend(codec(feed.heard));
    list.extend(muxer);
    list.push(sidecar::file(target));
    film::run(bench, &own, list, 0.1..0.95).await
}

/// MP3 of varying rate, about 190 kbit/s in stereo, at a rate that the format has.
fn lame(window: Option<&Window>, heard: Heard, bits: Option<u64>) -> Vec<OsString> {
    let audio = window.and_then(|window| window.probe.audio.as_ref());
    let own = audio.map(|audio| audio.rate);
    // MP4 players do not all know this one.
    let rate = own.filter(|rate| *rate == 32_000).unwrap_or(heard.rate);
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
        &heard.channels.to_string(),
        &"-ar",
        &rate.to_string(),
    ])
}
