//! The poster: one frame of the clip as a JPEG, not black if any frame is not. It comes out of the clip, or out of what the clip was
//! made from where that cannot be looked at.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::encode::Rate;
use super::encode::feed::Feed;
use super::rendering::{Rendering, Timing};
use super::sidecar::{self, arguments, file};
use super::window::{Window, extract};
use super::{Bench, MediaError, Phase, plan, probe};
use crate::recipe::{Format, Look, Shape};
use crate::seconds::Seconds;

/// Each frame is judged on a grey thumbnail of this size.
const WIDTH: usize = 32;
const HEIGHT: usize = 18;
/// Mean luma (0 to 255) and spread from which a picture counts as showing something.
const LIGHT: f64 = 24.0;
const SPREAD: f64 = 6.0;
const MOST_HEIGHT: u32 = 720;
/// Behind sound there may be hours of pictures: all of them are looked at only when it is short, and so much when they are not on the
/// disk in a form that can be looked at.
const LOOKED_AT: Seconds = Seconds::from_whole(20);

/// Makes `poster.jpg` in the work directory.
///
/// # Errors
/// When ffmpeg is stopped, misses its deadline or the disk is full; a picture that cannot be made otherwise is no reason to lose
/// the clip, and `None`.
pub async fn poster(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    clip: &Path,
) -> Result<Option<PathBuf>, MediaError> {
    match rendering.format {
        Format::Mp4 | Format::Webm | Format::Gif | Format::Jpg => {
            let clip = Pictures::Clip(rendering.format, clip);
            chosen(bench, &clip).await
        }
        Format::Webp => chosen(bench, &Pictures::Rendering(rendering)).await,
        Format::Mp3 | Format::M4a => behind(bench, rendering).await,
    }
}

/// Where the frames come from.
enum Pictures<'a> {
    Clip(Format, &'a Path),
    Rendering(&'a Rendering<'a>),
}

/// Which of them are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skim {
    All,
    Keyframes,
}

impl Pictures<'_> {
    /// Whether it takes too long to look at every frame.
    fn is_long(&self) -> bool {
        match self {
            Pictures::Clip(..) => false,
            Pictures::Rendering(rendering) => {
                rendering.format.shape() == Shape::Sound && rendering.seconds() > LOOKED_AT
            }
        }
    }

    /// Inputs and a graph from the frames through these filters to `[v]`, which may name further ends.
    async fn through(
        &self,
        bench: &Bench<'_>,
        skim: Skim,
        filters: &str,
    ) -> Result<Vec<OsString>, MediaError> {
        match self {
            Pictures::Clip(format, path) => {
                let mut list = match skim {
                    Skim::All => Vec::new(),
                    Skim::Keyframes => arguments([&"-skip_frame", &"nokey"]),
                };
                list.extend(arguments([
                    &"-threads",
                    &"1",
                    &"-max_pixels",
                    &bench.engine.max_pixels.to_string(),
                ]));
                list.extend(probe::own_arguments(*format, path));
                let graph = format!("[0:v:0]null{filters}[v]");
                list.extend(arguments([&"-filter_complex", &graph, &"-map", &"[v]"]));
                Ok(list)
            }
            Pictures::Rendering(rendering) => {
                let mut feed = Feed::prepare(bench, rendering, Rate::Quality).await?;
                match skim {
                    Skim::All => {}
                    Skim::Keyframes => feed.skimmed(),
                }
                Ok(feed.pictures("yuv420p", filters))
            }
        }
    }
}

/// A picture of the stretch that sound is from.
async fn behind(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
) -> Result<Option<PathBuf>, MediaError> {
    let (Some(window), Some(piece)) = (rendering.windows.first(), rendering.plan.pieces.first())
    else {
        return Ok(None);
    };
    let mut plan = rendering.plan.clone();
    let mut windows = Cow::Borrowed(rendering.windows);
    if window.in_place {
        // Only its beginning is written out.
        let most = piece.first() + window.video.time_base.ticks(LOOKED_AT);
        let Some(beginning) = beginning_of(window, most) else {
            return Ok(None);
        };
        let beginning = extract::extract(bench, &beginning, 0).await?;
        let moved = beginning.shift - window.shift;
        let moved = window.video.time_base.ticks(moved);
        let frames = piece.frames.iter().filter(|pts| **pts < most);
        plan.pieces = vec![plan::Piece {
            frames: frames.map(|pts| pts + moved).collect(),
            until: piece.until.min(most) + moved,
            ..piece.clone()
        }];
        windows = Cow::Owned(vec![beginning]);
    }
    // Shown as they are: what is wished for the sound is nothing to them.
    let look = Look::default();
    let base = window.video.time_base;
    let pictures = Rendering {
        windows: &windows,
        timing: Timing::of(&plan, base, &look),
        plan: &plan,
        look,
        ..rendering.clone()
    };
    chosen(bench, &Pictures::Rendering(&pictures)).await
}

/// A window up to the group in which something is shown at or after a time.
fn beginning_of(window: &Window, most: i64) -> Option<Window> {
    let packets = &window.video.packets;
    let end = packets
        .iter()
        .position(|packet| packet.key && packet.pts >= most)
        .unwrap_or(packets.len());
    let mut beginning = window.clone();
    beginning.video.packets = packets.get(..end)?.to_vec();
    beginning.audio = None;
    Some(beginning)
}

async fn chosen(bench: &Bench<'_>, from: &Pictures<'_>) -> Result<Option<PathBuf>, MediaError> {
    let target = bench.dir.join(NAME);
    // Mostly the first frame shows something. Otherwise keyframes are cheap to look at; all frames are decoded only when every
    // keyframe is dark.
    if first(bench, from).await? {
        return Ok(Some(target));
    }
    let choice = match best(bench, from, Skim::Keyframes).await? {
        Some((number, light)) if light >= LIGHT || from.is_long() => {
            Some((number, Skim::Keyframes))
        }
        _ if from.is_long() => None,
        _ => best(bench, from, Skim::All)
            .await?
            .map(|(number, _)| (number, Skim::All)),
    };
    if let Some((number, skim)) = choice {
        let filters = format!(",select=eq(n\\,{number}),{}", picture());
        let mut list = from.through(bench, skim, &filters).await?;
        list.extend(jpeg(&target));
        match run(bench, list).await {
            Ok(()) => {}
            Err(MediaError::Engine(error)) => {
                tracing::warn!(error = %error, "no poster could be made");
                return Ok(None);
            }
            Err(other) => return Err(other),
        }
    }
    // Of a long dark stretch the first frame is as good as any.
    let size = tokio::fs::metadata(&target)
        .await
        .map_or(0, |meta| meta.len());
    Ok((size > 0).then_some(target))
}

/// Makes the poster from the first frame; whether that shows something.
async fn first(bench: &Bench<'_>, from: &Pictures<'_>) -> Result<bool, MediaError> {
    let luma = bench.dir.join(LUMA);
    let filters = format!(
        ",split[large][small];[small]{}[luma];[large]{}",
        thumbnail(),
        picture()
    );
    let mut list = from.through(bench, Skim::All, &filters).await?;
    list.extend(jpeg(&bench.dir.join(NAME)));
    list.extend(arguments([&"-map", &"[luma]", &"-frames:v", &"1"]));
    list.extend(grey(&luma));
    match run(bench, list).await {
        Ok(()) => {
            let thumbnail = taken(&luma).await?;
            Ok(!thumbnail.is_empty() && shows(light_and_spread(&thumbnail)))
        }
        Err(MediaError::Engine(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

const NAME: &str = "poster.jpg";
const LUMA: &str = "luma.raw";

/// What makes a frame the poster.
fn picture() -> String {
    format!("scale=-2:min(ih\\,{MOST_HEIGHT}),format=yuvj420p")
}

/// What makes a frame its grey thumbnail.
fn thumbnail() -> String {
    format!("scale={WIDTH}:{HEIGHT}:flags=area,format=gray")
}

/// The output that is the poster.
fn jpeg(target: &Path) -> Vec<OsString> {
    let mut list = arguments([
        &"-fps_mode",
        &"passthrough",
        &"-frames:v",
        &"1",
        &"-q:v",
        &"3",
        &"-f",
        &"mjpeg",
    ]);
    list.push(file(target));
    list
}

/// The output that is every frame's thumbnail.
fn grey(target: &Path) -> Vec<OsString> {
    let mut list = arguments([&"-fps_mode", &"passthrough", &"-f", &"rawvideo"]);
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
    from: &Pictures<'_>,
    skim: Skim,
) -> Result<Option<(usize, f64)>, MediaError> {
    let luma = bench.dir.join(LUMA);
    let filters = format!(",{}", thumbnail());
    let mut list = from.through(bench, skim, &filters).await?;
    list.extend(grey(&luma));
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
