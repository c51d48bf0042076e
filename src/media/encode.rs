//! The exact cut by encoding: every wanted frame once, at the very time it had in the source unless the look moves it. Timestamps are
//! passed through, never made anew; sound is trimmed to the sample and gaps in it stay gaps.

mod audio;
pub mod feed;
pub mod film;
pub mod gif;
pub mod graph;
mod loudness;
pub mod sound;
mod still;
mod turned;
mod webm;
mod webp;

use std::path::Path;

use super::rendering::Rendering;
use super::{Bench, MediaError};
use crate::recipe::Format;
pub use film::Rate;

/// Makes what is wanted into `target`.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn encode(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    rate: Rate,
    target: &Path,
) -> Result<(), MediaError> {
    match rendering.format {
        Format::Mp4 => film::mp4(bench, rendering, rate, target).await,
        Format::Webm => webm::webm(bench, rendering, rate, target).await,
        Format::Gif => gif::gif(bench, rendering, rate, target).await,
        Format::Webp => webp::webp(bench, rendering, rate, target).await,
        Format::Mp3 => audio::mp3(bench, rendering, rate, target).await,
        Format::M4a => audio::m4a(bench, rendering, rate, target).await,
        Format::Jpg => still::jpg(bench, rendering, rate, target).await,
    }
}

/// Takes a first pass for [`Rate::Again`] and tells the mean quantizer; nothing when the encoder takes a first pass by itself.
///
/// # Errors
/// As [`encode`].
pub async fn survey(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    video_bits: u64,
) -> Result<Option<f64>, MediaError> {
    match rendering.format {
        Format::Mp4 => film::survey(bench, rendering, video_bits).await,
        Format::Webm | Format::Gif | Format::Webp | Format::Mp3 | Format::M4a | Format::Jpg => {
            Ok(None)
        }
    }
}
