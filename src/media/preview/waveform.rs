//! The waveform: the outline of the sound, as audiowaveform writes it and wavesurfer.js reads it.

use std::path::Path;

use serde::Serialize;

use crate::media::probe::{self, Audio};
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, Input, MediaError, Phase};
use crate::seconds::Seconds;

/// Peaks in audiowaveform's JSON, version 2: for every pixel the lowest and the highest sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waveform {
    pub version: u32,
    pub channels: u32,
    pub sample_rate: u32,
    pub samples_per_pixel: u64,
    pub bits: u32,
    pub length: usize,
    pub data: Vec<i8>,
}

/// Most pixels.
pub const MOST: usize = 2000;
/// Written beside the work by ffmpeg, under a name of ours.
const LEVELS: &str = "levels.txt";

/// Outlines the sound of a local file. `zero` is what people call 0 in its time; silence fills what comes before the sound.
///
/// # Errors
/// When it cannot be decoded, or ffmpeg is stopped or takes too long.
pub async fn waveform(
    bench: &Bench<'_>,
    path: &Path,
    audio: &Audio,
    zero: Seconds,
    length: Option<Seconds>,
) -> Result<Waveform, MediaError> {
    let per_pixel = samples_per_pixel(audio.rate, length);
    let graph = format!(
        "asetpts=PTS-{zero}/TB,aresample=async=1:first_pts=0:min_hard_comp=0.004,\
aformat=sample_fmts=fltp:sample_rates={}:channel_layouts=mono,asetnsamples=n={per_pixel}:p=0,\
astats=metadata=1:reset=1:measure_perchannel=Min_level+Max_level:measure_overall=none,ametadata=mode=print:file={LEVELS}",
        audio.rate
    );
    let mut list = arguments([&"-copyts", &"-threads", &"1", &"-vn", &"-sn", &"-dn"]);
    list.extend(probe::input_arguments(
        &Input::File(path.to_owned()),
        bench.engine.max_pixels,
    ));
    list.extend(arguments([
        &"-map",
        &format!("0:{}", audio.index),
        &"-af",
        &graph,
        &"-f",
        &"null",
        &"file:nothing",
    ]));
    // It may lie outside of the job's folder.
    let reads = [path.to_owned()];
    let job = bench.job(bench.engine.cut_deadline).reading(&reads);
    sidecar::ffmpeg(job, list, |_| {})
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    let printed = tokio::fs::read_to_string(bench.dir.join(LEVELS)).await?;
    let peaks = peaks(&printed);
    if peaks.is_empty() {
        return Err(MediaError::Damaged(None));
    }
    Ok(Waveform::of(&peaks, audio.rate, per_pixel))
}

/// So many that all of the sound fits; a recording of unknown length is made to fit afterwards.
fn samples_per_pixel(rate: u32, length: Option<Seconds>) -> u64 {
    let seconds = length.map_or(0.0, Seconds::as_f64);
    let samples = (seconds * f64::from(rate)).max(0.0) as u64;
    samples
        .div_ceil(MOST as u64)
        .max(u64::from(rate) / 100)
        .clamp(32, 1 << 28)
}

/// Lowest and highest level of each pixel, from what `ametadata` printed.
fn peaks(printed: &str) -> Vec<(f64, f64)> {
    let mut peaks: Vec<(f64, f64)> = Vec::new();
    for line in printed.lines() {
        let level = |key: &str| {
            let level: f64 = line.strip_prefix(key)?.parse().ok()?;
            level.is_finite().then_some(level)
        };
        if line.starts_with("frame:") {
            peaks.push((0.0, 0.0));
        } else if let Some(last) = peaks.last_mut() {
            if let Some(level) = level("lavfi.astats.1.Min_level=") {
                last.0 = level;
            } else if let Some(level) = level("lavfi.astats.1.Max_level=") {
                last.1 = level;
            }
        }
    }
    peaks
}

impl Waveform {
    fn of(peaks: &[(f64, f64)], rate: u32, per_pixel: u64) -> Waveform {
        let together = peaks.len().div_ceil(MOST).max(1);
        let byte = |level: f64| (level * 128.0).round().clamp(-128.0, 127.0) as i8;
        let data: Vec<i8> = peaks
            .chunks(together)
            .flat_map(|some| {
                let low = some.iter().map(|peak| peak.0).fold(f64::INFINITY, f64::min);
                let high = some.iter().map(|peak| peak.1);
                [byte(low), byte(high.fold(f64::NEG_INFINITY, f64::max))]
            })
            .collect();
        Waveform {
            version: 2,
            channels: 1,
            sample_rate: rate,
            samples_per_pixel: per_pixel * together as u64,
            bits: 8,
            length: data.len() / 2,
            data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_frame_by_frame() {
        let printed = "frame:0    pts:0       pts_time:0\nlavfi.astats.1.Min_level=-0.500000\nlavfi.astats.1.Max_level=0.250000\n\
                       frame:1    pts:4800    pts_time:0.1\nlavfi.astats.1.Min_level=nan\nlavfi.astats.1.Max_level=1.500000\n";
        let wave = Waveform::of(&peaks(printed), 48_000, 4800);
        assert_eq!(wave.data, [-64, 32, 0, 127]);
        assert_eq!((wave.length, wave.samples_per_pixel), (2, 4800));
    }

    #[test]
    fn there_are_never_too_many_pixels() {
        let long = Seconds::from_whole(7200);
        let pixels = 7200 * 48_000 / samples_per_pixel(48_000, Some(long));
        assert!((1900..=2000).contains(&pixels), "{pixels}");
        let many: Vec<(f64, f64)> = (0..5001).map(|n| (0.0, f64::from(n) / 5001.0)).collect();
        let wave = Waveform::of(&many, 48_000, 480);
        assert_eq!((wave.length, wave.samples_per_pixel), (1667, 1440));
        assert_eq!(wave.data.len(), 2 * wave.length);
    }
}
