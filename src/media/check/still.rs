//! The check of one picture: it is decoded and measured.

use std::path::Path;

use serde::Deserialize;

use super::{Checked, wrong};
use crate::media::rendering::Rendering;
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, MediaError, Phase, probe};
use crate::seconds::Seconds;

/// Checks a JPEG.
///
/// # Errors
/// `cut_check` with what is wrong; `source_damaged` when there is no picture in it.
pub async fn jpg(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    path: &Path,
) -> Result<Checked, MediaError> {
    let size = tokio::fs::metadata(path).await?.len();
    if size == 0 {
        // What was to be decoded could not be.
        return Err(MediaError::Damaged(None));
    }
    let mut list = arguments([
        &"-err_detect",
        &"explode",
        &"-show_entries",
        &"stream=codec_name:frame=width,height",
        &"-of",
        &"json=compact=1",
    ]);
    list.extend(probe::own_arguments(rendering.format, path));
    let printed = sidecar::ffprobe(bench.job(bench.engine.cut_deadline), list)
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    let raw: Raw = serde_json::from_slice(&printed).map_err(|_| wrong("it cannot be read"))?;
    let ([stream], [frame]) = (raw.streams.as_slice(), raw.frames.as_slice()) else {
        return Err(wrong("it is not one picture"));
    };
    let meant = &rendering.frame;
    if (frame.width, frame.height) != (meant.width, meant.height) {
        return Err(wrong(&format!(
            "it is {}x{} instead of {}x{}",
            frame.width, frame.height, meant.width, meant.height
        )));
    }
    Ok(Checked {
        frames: 1,
        // It does not play.
        duration: Seconds::ZERO,
        width: Some(frame.width),
        height: Some(frame.height),
        fps: None,
        video_codec: Some(stream.codec.clone()),
        audio_codec: None,
        size,
    })
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
    #[serde(rename = "codec_name", default)]
    codec: String,
}

#[derive(Deserialize)]
struct Frame {
    width: u32,
    height: u32,
}
