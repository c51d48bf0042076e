//! The check of sound alone: all of it is decoded and its samples are counted.

use std::path::Path;

use serde::Deserialize;

use super::{Checked, wrong};
use crate::media::rendering::Rendering;
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, MediaError, Phase, probe};
use crate::recipe::Look;
use crate::recipe::look::Speed;
use crate::seconds::Seconds;

/// Samples in a packet of MP3; those of AAC have fewer.
const PACKET: f64 = 1152.0;
/// Stretching sound keeps its length to so much.
const STRETCH: f64 = 0.02;

/// Checks a file of sound.
///
/// # Errors
/// `cut_check` with what is wrong.
pub async fn sound(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    path: &Path,
) -> Result<Checked, MediaError> {
    let mut list = arguments([
        &"-show_entries",
        &"stream=codec_type,codec_name,sample_rate:frame=nb_samples",
        &"-of",
        &"json=compact=1",
    ]);
    list.extend(probe::own_arguments(rendering.format, path));
    let printed = sidecar::ffprobe(bench.job(bench.engine.cut_deadline), list)
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    let raw: Raw = serde_json::from_slice(&printed).map_err(|_| wrong("it cannot be read"))?;
    let [stream] = raw.streams.as_slice() else {
        return Err(wrong("it is not one track of sound"));
    };
    let rate = stream.rate.parse::<f64>().unwrap_or_default();
    if stream.kind != "audio" || rate <= 0.0 {
        return Err(wrong("it is not one track of sound"));
    }
    let samples: u64 = raw.frames.iter().map(|frame| frame.samples).sum();
    let length = samples as f64 / rate;
    let most = rendering.seconds().as_f64();
    let stretched = match rendering.look.speed {
        Some(_) => STRETCH,
        None => 0.0,
    };
    let slack = PACKET / rate + stretched;
    let least = least(rendering).as_f64();
    if length > most + slack || length < least - slack || samples == 0 {
        return Err(wrong(&format!(
            "it has {length:.3} s of sound instead of {most:.3} s"
        )));
    }
    Ok(Checked {
        frames: 0,
        duration: Seconds::from_micros((length * 1e6).round() as i64),
        width: None,
        height: None,
        fps: None,
        video_codec: None,
        audio_codec: Some(stream.codec.clone()),
        size: tokio::fs::metadata(path).await?.len(),
    })
}

/// How long it is at least: the sound of a source may end before its pictures do.
fn least(rendering: &Rendering<'_>) -> Seconds {
    let ([window], [piece]) = (rendering.windows, rendering.plan.pieces.as_slice()) else {
        return rendering.seconds();
    };
    let Some(track) = &window.audio else {
        return Seconds::ZERO;
    };
    let ends = track.packets.iter();
    let end = ends.map(|packet| packet.pts + packet.duration).max();
    let end = end.map_or(Seconds::ZERO, |end| track.time_base.seconds(end));
    let first = window.video.time_base.seconds(piece.first());
    let heard = played(&rendering.look, (end - first).max(Seconds::ZERO));
    heard.min(rendering.seconds())
}

/// How long so much of the source plays.
fn played(look: &Look, length: Seconds) -> Seconds {
    let speed = look.speed.map_or(1000, Speed::thousandths);
    Seconds::from_micros(length.micros().saturating_mul(1000) / i64::from(speed))
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    frames: Vec<Frame>,
}

#[derive(Deserialize)]
struct Stream {
    #[serde(rename = "codec_type", default)]
    kind: String,
    #[serde(rename = "codec_name", default)]
    codec: String,
    #[serde(rename = "sample_rate", default)]
    rate: String,
}

#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "nb_samples", default)]
    samples: u64,
}
