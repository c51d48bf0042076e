//! Pictures with their sound: H.264 and AAC in MP4.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use super::feed::Feed;
use super::sound;
use crate::media::probe::Light;
use crate::media::rendering::{Rendering, Timing};
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, MediaError, Phase};

/// How many bits a film may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As many as the settings' quality wants. Where the file has to fit into something, the encoder gives up as soon as it does not.
    Quality,
    /// So many bits a second, shared out by what a first pass has seen.
    Average { video_bits: u64, audio_bits: u64 },
    /// The same again with what the last first pass has seen: it was of the same pictures.
    Again { video_bits: u64, audio_bits: u64 },
    /// Pictures that are no film, at this share of the usual quality.
    Graded { percent: u8 },
}

/// Encodes an MP4.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn mp4(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    rate: Rate,
    target: &Path,
) -> Result<(), MediaError> {
    let feed = Feed::prepare(bench, rendering, rate).await?;
    match rate {
        Rate::Quality | Rate::Graded { .. } => {
            let mut list = film(bench, rendering, &feed, rate).await?;
            list.extend(arguments([
                &"-preset",
                &bench.engine.preset,
                &"-crf",
                &bench.engine.crf.to_string(),
            ]));
            list.extend(bounded(rendering));
            list.extend(file(target));
            run(bench, rendering, list, 0.1..0.95).await
        }
        Rate::Average { video_bits, .. } => {
            first(bench, rendering, &feed, video_bits).await?;
            second(bench, rendering, &feed, (video_bits, rate), target).await
        }
        Rate::Again { video_bits, .. } => {
            second(bench, rendering, &feed, (video_bits, rate), target).await
        }
    }
}

/// Takes a first pass over the pictures of an MP4 and tells their mean quantizer.
///
/// # Errors
/// As [`mp4`].
pub async fn survey(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    video_bits: u64,
) -> Result<Option<f64>, MediaError> {
    let feed = Feed::prepare(bench, rendering, Rate::Quality).await?;
    first(bench, rendering, &feed, video_bits).await?;
    let notes = tokio::fs::read_to_string(bench.dir.join("pass-0.log")).await?;
    Ok(quantizer(&notes))
}

/// The mean quantizer in x264's notes about a pass: `... type:P ... q:31.20 aq:...` for each picture.
fn quantizer(notes: &str) -> Option<f64> {
    let told = notes.lines().filter(|line| line.starts_with("in:"));
    let each = told.filter_map(|line| {
        let field = line
            .split_whitespace()
            .find_map(|field| field.strip_prefix("q:"))?;
        field.parse::<f64>().ok()
    });
    let (sum, count) = each.fold((0.0, 0.0), |(sum, count), q| (sum + q, count + 1.0));
    (count > 0.0).then_some(sum / count)
}

/// The pass that only looks.
async fn first(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    feed: &Feed<'_>,
    video_bits: u64,
) -> Result<(), MediaError> {
    let mut list = feed.pictures("yuv420p", "");
    list.extend(h264(bench, rendering));
    list.extend(passed(bench, Pass::First, video_bits));
    list.extend(arguments([&"-f", &"null", &"-"]));
    run(bench, rendering, list, 0.1..0.4).await
}

/// The pass that writes the file.
async fn second(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    feed: &Feed<'_>,
    (video_bits, rate): (u64, Rate),
    target: &Path,
) -> Result<(), MediaError> {
    let mut list = film(bench, rendering, feed, rate).await?;
    list.extend(passed(bench, Pass::Second, video_bits));
    list.extend(file(target));
    run(bench, rendering, list, 0.4..0.95).await
}

/// Pictures and sound with their encoders.
async fn film(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    feed: &Feed<'_>,
    rate: Rate,
) -> Result<Vec<OsString>, MediaError> {
    let mut list = feed.film(bench, "yuv420p").await?;
    if rendering.plan.sound {
        list.extend(sound::aac(feed.heard, rate.audio_bits()));
    }
    list.extend(h264(bench, rendering));
    Ok(list)
}

/// The encoder of the pictures, without its rate.
fn h264(bench: &Bench<'_>, rendering: &Rendering<'_>) -> Vec<OsString> {
    let mut list = colours(rendering);
    list.extend(times(&rendering.timing));
    list.extend(arguments([
        &"-c:v",
        &"libx264",
        &"-threads",
        &bench.engine.threads.to_string(),
        &"-bsf:v",
        &lasting(&rendering.timing),
    ]));
    list
}

/// The container.
fn file(target: &Path) -> Vec<OsString> {
    let mut list = arguments([
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
        &"-movflags",
        &"+faststart",
        &"-f",
        &"mp4",
    ]);
    list.push(sidecar::file(target));
    list
}

/// One of the two times that the pictures are looked at.
#[derive(Clone, Copy, Debug)]
enum Pass {
    First,
    Second,
}

/// A pass at a rate; what is learned by the first lies beside the clip.
fn passed(bench: &Bench<'_>, pass: Pass, bits: u64) -> Vec<OsString> {
    let pass = match pass {
        Pass::First => "1",
        Pass::Second => "2",
    };
    arguments([
        &"-preset",
        &bench.engine.fit_preset,
        &"-b:v",
        &bits.to_string(),
        &"-pass",
        &pass,
        &"-passlogfile",
        &bench.dir.join("pass"),
    ])
}

/// Lets an encoder end as soon as the file is larger than it may be: whatever ends so is too large, and shows it.
pub fn bounded(rendering: &Rendering<'_>) -> Vec<OsString> {
    match rendering.fit {
        Some(fit) => arguments([&"-fs", &(fit.0.0 + 1).to_string()]),
        None => Vec::new(),
    }
}

/// What is told about colours once they were mapped.
pub fn colours(rendering: &Rendering<'_>) -> Vec<OsString> {
    let video = rendering.windows.first().map(|window| &window.probe.video);
    match video.map(|video| video.light) {
        Some(Light::High) => arguments([
            &"-colorspace",
            &"bt709",
            &"-color_primaries",
            &"bt709",
            &"-color_trc",
            &"bt709",
            &"-color_range",
            &"tv",
        ]),
        Some(Light::Standard) | None => Vec::new(),
    }
}

/// Times are passed through in the source's own ticks.
pub fn times(timing: &Timing) -> Vec<OsString> {
    let base = timing.base;
    arguments([
        &"-fps_mode",
        &"passthrough",
        &"-enc_time_base:v",
        &format!("{}:{}", base.num, base.den),
        &"-video_track_timescale",
        &timescale(base.num, base.den).to_string(),
    ])
}

impl Rate {
    /// Bits a second of the sound, where they are told.
    pub const fn audio_bits(self) -> Option<u64> {
        match self {
            Rate::Average { audio_bits, .. } | Rate::Again { audio_bits, .. } => Some(audio_bits),
            Rate::Quality | Rate::Graded { .. } => None,
        }
    }

    /// The share of the usual quality, in hundredths.
    pub const fn percent(self) -> u32 {
        match self {
            Rate::Graded { percent } => percent as u32,
            Rate::Quality | Rate::Average { .. } | Rate::Again { .. } => 100,
        }
    }
}

/// Runs ffmpeg and tells how far it is; `share` is its part of the job.
///
/// # Errors
/// When it fails, is stopped or takes too long.
pub async fn run(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    list: Vec<OsString>,
    share: Range<f64>,
) -> Result<(), MediaError> {
    let frames = rendering.timing.times.len().max(1) as f64;
    let progress = bench.progress.clone();
    // Something may have been made for it before.
    let from = progress.borrow().clamp(share.start, share.end);
    sidecar::ffmpeg(bench.job(bench.engine.cut_deadline), list, move |frame| {
        let done = (frame as f64 / frames).min(1.0);
        progress.send_replace(from + (share.end - from) * done);
    })
    .await
    .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    Ok(())
}

/// Gives every packet the length of the last frame. Only that of the last one counts, and without it the muxer lets the track end
/// where the last frame begins, which then nobody shows.
fn lasting(timing: &Timing) -> String {
    format!("setts=pts=PTS:dts=DTS:duration={}", timing.last())
}

/// The track's ticks per second, when the time base is a whole fraction; else a multiple that holds it.
fn timescale(num: u32, den: u32) -> u32 {
    if num == 1 {
        den
    } else {
        den.saturating_mul(num)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_quantizer_is_read_from_the_notes() {
        let notes = "#options: 640x360 fps=25/1 crf=23.0\n\
in:0 out:0 type:I dur:2 cpbdur:2 q:30.00 aq:24.50 tex:9 mv:1 misc:2;\n\
in:2 out:1 type:P dur:2 cpbdur:2 q:33.00 aq:26.10 tex:9 mv:1 misc:2;\n";
        assert_eq!(quantizer(notes), Some(31.5));
        assert_eq!(quantizer("#options: q:3"), None);
    }
}
