//! The exact cut by encoding: every wanted frame once, at the very time it had in the source unless the look moves it. Timestamps are
//! passed through, never made anew; sound is trimmed to the sample and gaps in it stay gaps.

mod audio;
pub mod feed;
pub mod film;
pub mod gif;
pub mod graph;
pub mod sound;
mod still;
mod webm;
mod webp;

use std::path::Path;

use super::rendering::Rendering;
use super::{Bench, MediaError};
use crate::recipe::Format;

/// Makes what is wanted into `target`.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn encode(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    target: &Path,
) -> Result<(), MediaError> {
    match rendering.format {
        Format::Mp4 => film::mp4(bench, rendering, target).await,
        Format::Webm => webm::webm(bench, rendering, target).await,
        Format::Gif => gif::gif(bench, rendering, target).await,
        Format::Webp => webp::webp(bench, rendering, target).await,
        Format::Mp3 => audio::mp3(bench, rendering, target).await,
        Format::M4a => audio::m4a(bench, rendering, target).await,
        Format::Jpg => still::jpg(bench, rendering, target).await,
    }
}
