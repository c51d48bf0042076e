//! Making a file that is no larger than it may be: what a target leaves for pictures and sound, and the tries until one fits. Arithmetic
//! is in the parts; here an encoder is asked and what it wrote is measured. Nothing that is too large is ever handed on.

pub mod animation;
pub mod film;
pub mod sound;

use std::path::Path;

use super::encode::{self, Rate};
use super::rendering::Rendering;
use super::{Bench, MediaError};
use crate::bytes::Bytes;
use crate::cost::Work;
use crate::recipe::{Fit, Format, Shape};
use film::{Ask, Film, Packing, Search, Voices};

/// What was made, and whether the target decided how it looks.
#[derive(Debug)]
pub struct Fitted<'a> {
    pub rendering: Rendering<'a>,
    pub bound: Bound,
}

/// What decided how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It is as it would be without a target.
    Quality,
    Target,
}

/// Whether a file of this size is not too large.
pub fn within(size: u64, target: Bytes) -> bool {
    size <= target.0
}

/// Whether a plan cannot fit without being made: what it copies alone is too much.
pub fn surely_over(work: &Work, fit: Fit) -> bool {
    work.copied + work.sound > fit.0.0
}

/// What it takes to make a plan's pictures fit: they are gone through twice when there is less room than they want, and take no more.
pub fn work(rendering: &Rendering<'_>, fit: Fit, work: Work) -> Work {
    if expects_to_fit(rendering, fit) {
        return work;
    }
    let pixels = rendering.frame.pixels() as f64 * rendering.timing.times.len() as f64;
    Work {
        replaced: work.replaced.min(fit.0.0.saturating_sub(work.sound)),
        ..work.fitted(pixels, rendering.format)
    }
}

/// Two digits, and never less: what is shown is what was meant.
pub fn rounded_up(bytes: f64) -> Bytes {
    let bytes = bytes.max(crate::recipe::fit::LEAST.0 as f64);
    let unit = 10.0_f64.powi(bytes.log10().floor() as i32 - 1);
    // What is a whole number already does not grow by a rounding error.
    Bytes(((bytes / unit - 1e-9).ceil() * unit).round() as u64)
}

/// Makes a file that fits.
///
/// # Errors
/// `fit_too_small` with what would do; when an encoder fails, is stopped or takes too long.
pub async fn encode<'a>(
    bench: &Bench<'_>,
    rendering: &Rendering<'a>,
    fit: Fit,
    target: &Path,
) -> Result<Fitted<'a>, MediaError> {
    let mut tried = None;
    if expects_to_fit(rendering, fit) {
        encode::encode(bench, rendering, Rate::Quality, target).await?;
        let size = size(target).await?;
        if within(size, fit.0) {
            return Ok(Fitted {
                rendering: rendering.clone(),
                bound: Bound::Quality,
            });
        }
        tried = Some(size);
    }
    let rendering = match rendering.format.shape() {
        Shape::Film => by_rate(bench, rendering, fit, target).await?,
        Shape::Animation | Shape::Still => by_trying(bench, rendering, fit, tried, target).await?,
        Shape::Sound => by_bits(bench, rendering, fit, target).await?,
    };
    Ok(Fitted {
        rendering,
        bound: Bound::Target,
    })
}

/// A film at a rate.
async fn by_rate<'a>(
    bench: &Bench<'_>,
    rendering: &Rendering<'a>,
    fit: Fit,
    target: &Path,
) -> Result<Rendering<'a>, MediaError> {
    let film = Film {
        target: fit.0,
        seconds: rendering.seconds().as_f64(),
        width: rendering.frame.width,
        height: rendering.frame.height,
        fps: rendering.fps(),
        voices: voices(rendering),
        packing: match rendering.format {
            Format::Webm => Packing::WEBM,
            Format::Mp4 | Format::Gif | Format::Webp | Format::Mp3 | Format::M4a | Format::Jpg => {
                Packing::MP4
            }
        },
    };
    let stepped = |choice: &film::Choice| {
        if choice.number == 0 {
            Ok(rendering.clone())
        } else {
            rendering.reduced(choice.step.height, choice.step.fps)
        }
    };
    let mut search = Search::begin(film).map_err(|least| refused(fit, least))?;
    loop {
        match search.ask() {
            Ask::Survey(choice) => {
                let seen = stepped(&choice)?;
                search.surveyed(encode::survey(bench, &seen, choice.video_bits).await?);
            }
            Ask::Make(choice, rate) => {
                let made = stepped(&choice)?;
                encode::encode(bench, &made, rate, target).await?;
                let size = size(target).await?;
                tracing::debug!(size, ?choice, "a film was made to fit");
                if search.made(size).map_err(|least| refused(fit, least))? {
                    return Ok(made);
                }
            }
        }
    }
}

fn refused(fit: Fit, least: Bytes) -> MediaError {
    MediaError::Fit {
        target: fit.0,
        least,
    }
}

/// Pictures whose size is known only when they are made; `tried` is what they take as they are, if that is known.
async fn by_trying<'a>(
    bench: &Bench<'_>,
    rendering: &Rendering<'a>,
    fit: Fit,
    tried: Option<u64>,
    target: &Path,
) -> Result<Rendering<'a>, MediaError> {
    let pictures = animation::Pictures {
        target: fit.0,
        height: rendering.frame.height,
        pixels: rendering.frame.pixels() as f64,
        count: rendering.timing.times.len() as f64,
        fps: rendering.fps(),
        kind: match rendering.format.shape() {
            Shape::Still => animation::Kind::Still,
            Shape::Film | Shape::Animation | Shape::Sound => animation::Kind::Moving,
        },
    };
    let begun = animation::Search::begin(pictures, tried);
    let mut search = begun.map_err(|least| refused(fit, least))?;
    loop {
        let next = search.ask();
        let made = rendering.reduced(next.height, next.fps)?;
        let rate = Rate::Graded {
            percent: next.percent,
        };
        encode::encode(bench, &made, rate, target).await?;
        let size = size(target).await?;
        tracing::debug!(size, ?next, "pictures were made to fit");
        if search.made(size).map_err(|least| refused(fit, least))? {
            return Ok(made);
        }
    }
}

/// Sound alone.
async fn by_bits<'a>(
    bench: &Bench<'_>,
    rendering: &Rendering<'a>,
    fit: Fit,
    target: &Path,
) -> Result<Rendering<'a>, MediaError> {
    let alone = sound::Alone {
        target: fit.0,
        seconds: rendering.seconds().as_f64(),
    };
    let mut least = alone.least();
    for audio_bits in alone.tries() {
        let rate = Rate::Average {
            video_bits: 0,
            audio_bits,
        };
        encode::encode(bench, rendering, rate, target).await?;
        let size = size(target).await?;
        if within(size, fit.0) {
            return Ok(rendering.clone());
        }
        least = least.max(rounded_up(size as f64));
    }
    Err(refused(fit, least))
}

fn voices(rendering: &Rendering<'_>) -> Voices {
    let sound = rendering.windows.first().map(|window| &window.probe.audio);
    match sound {
        _ if !rendering.plan.sound => Voices::None,
        Some(Some(audio)) if audio.channels == 1 => Voices::One,
        _ => Voices::Two,
    }
}

/// Whether it is worth trying to make it as it would be without a target: by what its pictures take in the source, or because there is
/// room for any.
pub fn expects_to_fit(rendering: &Rendering<'_>, fit: Fit) -> bool {
    /// Bits a pixel that hardly any picture needs.
    const ANY: f64 = 0.4;
    /// What is encoded anew against what it was: other codecs than H.264 need less.
    const ANEW: f64 = 1.3;
    const ANEW_FROM_OTHERS: f64 = 2.0;
    const MARGIN: f64 = 0.9;
    let seconds = rendering.seconds().as_f64();
    let target = fit.0.0 as f64;
    match rendering.format.shape() {
        Shape::Film => {}
        // The first try tells.
        Shape::Animation => return animation::expects_to_fit(rendering, target),
        Shape::Still => return true,
        Shape::Sound => return target > sound::usual_bytes(seconds),
    }
    let sound = if rendering.plan.sound {
        sound::usual_bytes(seconds)
    } else {
        0.0
    };
    let pieces = rendering.windows.iter().zip(&rendering.plan.pieces);
    let pictures: f64 = pieces
        .map(|(window, piece)| {
            let video = &window.probe.video;
            let taken = window.video.packets.iter();
            let taken = taken.filter(|packet| (piece.first()..=piece.last()).contains(&packet.pts));
            let bytes: u64 = taken.map(|packet| packet.size).sum();
            let own = f64::from(video.width) * f64::from(video.height);
            let anew = match video.codec.as_str() {
                "h264" => ANEW,
                _ => ANEW_FROM_OTHERS,
            };
            bytes as f64 * anew * (rendering.frame.pixels() as f64 / own).min(1.0)
        })
        .sum();
    let planned: usize = rendering
        .plan
        .pieces
        .iter()
        .map(|piece| piece.frames.len())
        .sum();
    let shown = rendering.timing.times.len() as f64;
    let any = ANY * rendering.frame.pixels() as f64 * shown / 8.0;
    let pictures = pictures * shown / planned.max(1) as f64;
    (pictures.min(any) + sound) < target * MARGIN
}

async fn size(path: &Path) -> Result<u64, MediaError> {
    Ok(tokio::fs::metadata(path).await?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_never_less_than_what_is_needed() {
        for (bytes, shown) in [
            (1.0, "10 kB"),
            (10_000.0, "10 kB"),
            (10_001.0, "11 kB"),
            (123_456.0, "130 kB"),
            (999_999.0, "1 MB"),
            (1_200_000.0, "1.2 MB"),
            (1_200_001.0, "1.3 MB"),
        ] {
            let up = rounded_up(bytes);
            assert_eq!(up.to_string(), shown);
            assert!(up.0 as f64 >= bytes);
            assert_eq!(up.to_string().parse(), Ok(up));
        }
    }
}
