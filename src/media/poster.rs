//! The poster: one frame of the clip as a JPEG, not black if any frame is not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::sidecar::{self, arguments, file};
use super::{Bench, Input, MediaError, Phase, probe};

/// Each frame is judged on a grey thumbnail of this size.
const WIDTH: usize = 32;
const HEIGHT: usize = 18;
/// Mean luma (0 to 255) and spread from which a picture counts as showing something.
const LIGHT: f64 = 24.0;
const SPREAD: f64 = 6.0;
const MOST_HEIGHT: u32 = 720;

/// Makes `poster.jpg` in the work directory.
///
/// # Errors
/// When ffmpeg is stopped, misses its deadline or the disk is full; a picture that cannot be made otherwise is no reason to lose
/// the clip, and `None`.
pub async fn poster(bench: &Bench<'_>, clip: &Path) -> Result<Option<PathBuf>, MediaError> {
    // Mostly the first frame shows something. Otherwise keyframes are cheap to look at; all frames are decoded only when every
    // keyframe is dark.
    if first(bench, clip).await? {
        return Ok(Some(bench.dir.join(NAME)));
    }
    let keys = ["-skip_frame", "nokey"];
    let choice = match best(bench, clip, &keys).await? {
        Some((number, light)) if light >= LIGHT => Some((number, &keys[..])),
        _ => best(bench, clip, &[])
            .await?
            .map(|(number, _)| (number, &[][..])),
    };
    let Some((number, skip)) = choice else {
        return Ok(None);
    };
    let mut list: Vec<OsString> = skip.iter().map(OsString::from).collect();
    list.extend(probe::input_arguments(
        &Input::File(clip.to_owned()),
        bench.engine.max_pixels,
    ));
    list.extend(picture(bench, &format!("select=eq(n\\,{number}),")));
    match run(bench, list).await {
        Ok(()) => {}
        Err(MediaError::Engine(error)) => {
            tracing::warn!(error = %error, "no poster could be made");
            return Ok(None);
        }
        Err(other) => return Err(other),
    }
    let target = bench.dir.join(NAME);
    let size = tokio::fs::metadata(&target)
        .await
        .map_or(0, |meta| meta.len());
    Ok((size > 0).then_some(target))
}

/// Makes the poster from the clip's first frame; whether that shows something.
async fn first(bench: &Bench<'_>, clip: &Path) -> Result<bool, MediaError> {
    let luma = bench.dir.join(LUMA);
    let mut list = arguments([&"-threads", &"1"]);
    list.extend(probe::input_arguments(
        &Input::File(clip.to_owned()),
        bench.engine.max_pixels,
    ));
    list.extend(thumbnails(&luma));
    // Before the name of the output, and for this output alone.
    list.splice(
        list.len() - 1..list.len() - 1,
        arguments([&"-frames:v", &"1"]),
    );
    list.extend(picture(bench, ""));
    match run(bench, list).await {
        Ok(()) => Ok(shows(light_and_spread(&taken(&luma).await?))),
        Err(MediaError::Engine(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

const NAME: &str = "poster.jpg";
const LUMA: &str = "luma.raw";

/// The output that is the poster, after these filters.
fn picture(bench: &Bench<'_>, filters: &str) -> Vec<OsString> {
    let mut list = arguments([
        &"-an",
        &"-vf",
        &format!("{filters}scale=-2:min(ih\\,{MOST_HEIGHT}),format=yuvj420p"),
        &"-fps_mode",
        &"passthrough",
        &"-frames:v",
        &"1",
        &"-q:v",
        &"3",
        &"-f",
        &"mjpeg",
    ]);
    list.push(file(&bench.dir.join(NAME)));
    list
}

/// The output that is every frame's grey thumbnail.
fn thumbnails(target: &Path) -> Vec<OsString> {
    let mut list = arguments([
        &"-an",
        &"-vf",
        &format!("scale={WIDTH}:{HEIGHT}:flags=area,format=gray"),
        &"-fps_mode",
        &"passthrough",
        &"-f",
        &"rawvideo",
    ]);
    list.push(file(target));
    list
}

async fn run(bench: &Bench<'_>, list: Vec<OsString>) -> Result<(), MediaError> {
    let made = sidecar::ffmpeg(bench.job(bench.engine.cut_deadline), list, |_| {}).await;
    made.map(drop)
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))
}

/// Reads the thumbnails and removes them.
async fn taken(luma: &Path) -> Result<Vec<u8>, MediaError> {
    let bytes = tokio::fs::read(luma).await?;
    tokio::fs::remove_file(luma).await?;
    Ok(bytes)
}

/// The number of the first frame that shows something, or of the lightest, and its mean luma.
async fn best(
    bench: &Bench<'_>,
    clip: &Path,
    skip: &[&str],
) -> Result<Option<(usize, f64)>, MediaError> {
    let luma = bench.dir.join(LUMA);
    let mut list: Vec<OsString> = skip.iter().map(OsString::from).collect();
    list.extend(probe::input_arguments(
        &Input::File(clip.to_owned()),
        bench.engine.max_pixels,
    ));
    list.extend(thumbnails(&luma));
    match run(bench, list).await {
        Ok(()) => Ok(choose(&taken(&luma).await?)),
        Err(MediaError::Engine(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

fn choose(luma: &[u8]) -> Option<(usize, f64)> {
    let frames: Vec<(f64, f64)> = luma
        .chunks_exact(WIDTH * HEIGHT)
        .map(light_and_spread)
        .collect();
    let lightest = || (0..frames.len()).max_by(|a, b| frames[*a].0.total_cmp(&frames[*b].0));
    let number = frames
        .iter()
        .position(|frame| shows(*frame))
        .or_else(lightest)?;
    Some((number, frames[number].0))
}

fn shows((light, spread): (f64, f64)) -> bool {
    light >= LIGHT && spread >= SPREAD
}

fn light_and_spread(pixels: &[u8]) -> (f64, f64) {
    let count = pixels.len() as f64;
    let mean = pixels.iter().map(|pixel| f64::from(*pixel)).sum::<f64>() / count;
    let square = pixels
        .iter()
        .map(|pixel| (f64::from(*pixel) - mean).powi(2))
        .sum::<f64>()
        / count;
    (mean, square.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: usize = WIDTH * HEIGHT;

    fn flat(light: u8) -> Vec<u8> {
        vec![light; PIXELS]
    }

    fn pattern(light: u8) -> Vec<u8> {
        (0..PIXELS)
            .map(|place| if place % 2 == 0 { light } else { light / 2 })
            .collect()
    }

    #[test]
    fn the_first_frame_that_shows_something_wins() {
        assert_eq!(
            choose(&[flat(0), flat(0), pattern(120), pattern(250)].concat()).map(|best| best.0),
            Some(2)
        );
    }

    #[test]
    fn among_dark_or_empty_frames_the_lightest_wins() {
        assert_eq!(
            choose(&[flat(0), flat(14), flat(3)].concat()).map(|best| best.0),
            Some(1)
        );
        assert_eq!(
            choose(&[flat(0), flat(255)].concat()).map(|best| best.0),
            Some(1)
        );
        assert_eq!(choose(&[]), None);
    }
}
