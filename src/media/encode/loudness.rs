//! How much louder or quieter a clip's sound becomes so that it is as loud as wished (EBU R 128): measured on the very sound that comes
//! out, before it is encoded.

use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::sound::{self, Heard};
use crate::media::rendering::Rendering;
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, MediaError, Phase};
use crate::seconds::Seconds;

/// What the sound is multiplied with, in dB; peaks above the limit are held down then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain(pub f64);

/// Below the absolute gate (ITU-R BS.1770, -70 LUFS) nothing is heard, and nothing is to be.
const SILENCE: f64 = -69.9;
/// This close is as loud as wished.
const CLOSE: f64 = 0.1;
/// Where the limiter takes loudness away, so much more is given at most.
const MOST_MORE: f64 = 6.0;
/// How often that is tried.
const TRIES: usize = 3;
/// Gating needs 0.4 s (EBU Tech 3341); what is shorter than this is measured as if it were repeated.
const SHORT: Seconds = Seconds::from_whole(1);

/// The gain that a rendering's wish for loudness takes; none without that wish, and none for silence. `inputs` are its windows.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn gain(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    inputs: &[OsString],
    heard: Heard,
) -> Result<Option<Gain>, MediaError> {
    let Some(wanted) = rendering.look.loudness.filter(|_| rendering.plan.sound) else {
        return Ok(None);
    };
    let path = bench.dir.join(KNOWN);
    let of = of(rendering, inputs, heard);
    // Where nothing is known, or it cannot be read, it is found.
    let known = tokio::fs::read(&path).await.ok();
    let known = known.and_then(|text| serde_json::from_slice::<Known>(&text).ok());
    if let Some(known) = known.filter(|known| known.of == of) {
        return Ok(known.gain.map(Gain));
    }
    let gain = found(bench, rendering, inputs, heard, wanted.as_f64()).await?;
    let known = Known {
        of,
        gain: gain.map(|Gain(gain)| gain),
    };
    let text = serde_json::to_vec(&known).map_err(io::Error::from)?;
    tokio::fs::write(&path, text).await?;
    Ok(gain)
}

/// What was found last, in the job's folder: who encodes the same sound again, with other pictures, need not measure it again.
#[derive(Serialize, Deserialize)]
struct Known {
    of: String,
    gain: Option<f64>,
}

const KNOWN: &str = "loudness.json";

/// All that a measure depends on.
fn of(rendering: &Rendering<'_>, inputs: &[OsString], heard: Heard) -> String {
    format!(
        "{inputs:?} {} {:?}",
        sound::graph(rendering, heard, None),
        rendering.look.loudness
    )
}

async fn found(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    inputs: &[OsString],
    heard: Heard,
    wanted: f64,
) -> Result<Option<Gain>, MediaError> {
    let own = measure(bench, rendering, inputs, heard, None).await?;
    if own.loudness < SILENCE {
        return Ok(None);
    }
    let first = wanted - own.loudness;
    if own.peak + first <= sound::LIMIT {
        return Ok(Some(Gain(first)));
    }
    let mut gain = first;
    for _ in 0..TRIES {
        let raised = measure(bench, rendering, inputs, heard, Some(Gain(gain))).await?;
        let missing = wanted - raised.loudness;
        if missing.abs() < CLOSE || gain >= first + MOST_MORE {
            break;
        }
        gain = (gain + missing).min(first + MOST_MORE);
    }
    Ok(Some(Gain(gain)))
}

/// What was measured, in LUFS and dBTP.
struct Measured {
    loudness: f64,
    peak: f64,
}

async fn measure(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    inputs: &[OsString],
    heard: Heard,
    gain: Option<Gain>,
) -> Result<Measured, MediaError> {
    const LOUDNESS: &str = "lavfi.r128.I";
    const PEAK: &str = "lavfi.r128.true_peak";
    let graph = sound::graph(rendering, heard, gain);
    // In the job's directory, under names of ours.
    let told = |key: &str, file: &str| format!("ametadata=mode=print:key={key}:file={file}");
    let graph = format!(
        "{graph};[a]{}ebur128=metadata=1:peak=true:framelog=verbose,{},{}[measured]",
        repeated(rendering.seconds()),
        told(LOUDNESS, "loudness.txt"),
        told(PEAK, "peak.txt")
    );
    let mut list = inputs.to_vec();
    list.extend(arguments([
        &"-filter_complex",
        &graph,
        &"-map",
        &"[measured]",
        &"-f",
        &"null",
        &"-",
    ]));
    sidecar::ffmpeg(bench.job(bench.engine.cut_deadline), list, |_| {})
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    let dir = bench.dir.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let loudness = last(&dir.join("loudness.txt"), LOUDNESS)?;
        let peak = last(&dir.join("peak.txt"), PEAK)?;
        Ok::<_, io::Error>(Measured {
            loudness: loudness.unwrap_or(f64::NEG_INFINITY),
            // An amplitude.
            peak: 20.0 * peak.unwrap_or(0.0).log10(),
        })
    });
    Ok(read.await.map_err(io::Error::other)??)
}

/// A filter that goes on with the same sound where there is too little of it to be measured.
fn repeated(length: Seconds) -> String {
    if length >= SHORT || length <= Seconds::ZERO {
        return String::new();
    }
    // The rate is known to the filter alone; this holds a second at any.
    let times = SHORT.micros() / length.micros();
    format!("aloop=loop={times}:size=192000,")
}

/// The last value of a key in what was printed, if it is a number.
fn last(path: &Path, key: &str) -> io::Result<Option<f64>> {
    const TAIL: u64 = 4096;
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let values = text.lines().rev();
    let mut values = values.filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().and_then(|value| value.parse::<f64>().ok());
    Ok(value.filter(|value| value.is_finite()))
}
