//! The exact cut by encoding: every wanted frame once, at the very time it had in the source unless the look moves it. Timestamps are
//! passed through, never made anew; sound is trimmed to the sample and gaps in it stay gaps.

pub mod feed;
pub mod film;
pub mod graph;
mod loudness;
pub mod sound;
mod turned;

use std::path::Path;

use super::rendering::Rendering;
use super::{Bench, MediaError};

/// Makes what is wanted into `target`.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn encode(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    target: &Path,
) -> Result<(), MediaError> {
    film::mp4(bench, rendering, target).await
}
