//! One picture as a JPEG of the best quality there is.

use std::path::Path;

use super::feed::Feed;
use super::film::{self, Rate};
use crate::media::rendering::Rendering;
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, MediaError};

/// What JPEG readers take for granted (JFIF): full range, the matrix of BT.601.
const JFIF: &str = ",scale=out_color_matrix=bt601:out_range=pc:flags=bicubic+accurate_rnd+full_chroma_int,format=yuvj444p";

/// Encodes the first picture of a rendering.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn jpg(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    rate: Rate,
    target: &Path,
) -> Result<(), MediaError> {
    let feed = Feed::prepare(bench, rendering, rate).await?;
    // Colours at every pixel: captions have edges.
    let mut list = feed.pictures("yuv444p", JFIF);
    list.extend(arguments([
        &"-fps_mode",
        &"passthrough",
        &"-frames:v",
        &"1",
        &"-c:v",
        &"mjpeg",
        &"-qmin",
        &"1",
        &"-q:v",
        &coarseness(rate).to_string(),
        &"-map_metadata",
        &"-1",
        &"-f",
        &"mjpeg",
    ]));
    list.push(sidecar::file(target));
    film::run(bench, rendering, list, 0.1..0.95).await
}

/// On the encoder's scale from 1, the best, to 31.
fn coarseness(rate: Rate) -> u32 {
    1 + (100 - rate.percent().min(100)) * 30 / 100
}
