//! What is really in a file: every frame decoded with its time, independent of anything the service says.

use std::path::Path;
use std::process::Command;

/// A decoded frame: its time in seconds and its luma, scaled to nothing, as it came out of the decoder.
#[derive(Clone, Debug)]
pub struct Frame {
    pub time: f64,
    pub luma: Vec<u8>,
}

/// Decodes all frames of the first video stream as grey pictures, at most `width` x `height` by area scaling when given.
/// Times are presentation times as the container has them.
#[track_caller]
pub fn decode(path: &Path, size: Option<(u32, u32)>) -> Vec<Frame> {
    let times = times(path);
    let scale = size.map_or(String::new(), |(width, height)| {
        format!("scale={width}:{height}:flags=area,")
    });
    let (width, height) = size.unwrap_or_else(|| shown_size(path));
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args([
            "-map",
            "0:v:0",
            "-an",
            "-vf",
            &format!("{scale}format=gray"),
            "-fps_mode",
            "passthrough",
            "-f",
            "rawvideo",
            "-",
        ])
        .output()
        .unwrap();
    assert!(
        output.stderr.is_empty(),
        "{}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let frames: Vec<&[u8]> = output
        .stdout
        .chunks_exact((width * height) as usize)
        .collect();
    assert_eq!(
        frames.len(),
        times.len(),
        "frames and times of {} differ in number",
        path.display()
    );
    frames
        .into_iter()
        .zip(times)
        .map(|(luma, time)| Frame {
            time,
            luma: luma.to_vec(),
        })
        .collect()
}

/// Presentation times of all decoded frames, in seconds.
#[track_caller]
pub fn times(path: &Path) -> Vec<f64> {
    let printed = ffprobe(
        path,
        &[
            "-select_streams",
            "v:0",
            "-show_entries",
            "frame=pts_time",
            "-of",
            "csv=p=0",
        ],
    );
    printed
        .lines()
        .filter_map(|line| line.trim_end_matches(',').parse().ok())
        .collect()
}

/// Hashes of all decoded frames: equal only when every pixel is.
#[track_caller]
pub fn hashes(path: &Path) -> Vec<String> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args([
            "-map",
            "0:v:0",
            "-fps_mode",
            "passthrough",
            "-f",
            "framemd5",
            "-",
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit(',').next().unwrap().trim().to_owned())
        .collect()
}

/// Width and height as a player shows them.
#[track_caller]
pub fn shown_size(path: &Path) -> (u32, u32) {
    let printed = ffprobe(
        path,
        &[
            "-select_streams",
            "v:0",
            "-show_entries",
            "stream=width,height:stream_side_data=rotation",
            "-of",
            "json",
        ],
    );
    let parsed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let stream = &parsed["streams"][0];
    let size = (
        stream["width"].as_u64().unwrap() as u32,
        stream["height"].as_u64().unwrap() as u32,
    );
    let turned = stream["side_data_list"][0]["rotation"]
        .as_f64()
        .is_some_and(|angle| angle.abs() as i64 % 180 == 90);
    if turned { (size.1, size.0) } else { size }
}

/// What ffprobe prints.
#[track_caller]
pub fn ffprobe(path: &Path, arguments: &[&str]) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "error"])
        .args(arguments)
        .arg(path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Peak signal-to-noise ratio in dB of two pictures of equal size; infinite when they are the same.
pub fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: f64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum();
    10.0 * (255.0_f64.powi(2) / (sum / a.len() as f64)).log10()
}

/// Samples of the first sound track, mixed to one channel at 48 kHz, placed by their times: silence where there is none.
#[track_caller]
pub fn samples(path: &Path) -> Vec<f32> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args([
            "-map",
            "0:a:0",
            "-af",
            "aresample=48000:async=1:first_pts=0:min_hard_comp=0.001",
            "-ac",
            "1",
            "-f",
            "f32le",
            "-",
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
        .stdout
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

/// By how many samples `clip` lags behind `source` at `offset`, and how alike they are there (1 is the same): cross-correlation
/// over lags up to 20 ms either way.
pub fn lag(source: &[f32], clip: &[f32], offset: usize) -> (i64, f64) {
    const MOST: i64 = 960;
    let length = clip
        .len()
        .min(source.len().saturating_sub(offset))
        .saturating_sub(2 * MOST as usize);
    let clip = &clip[MOST as usize..MOST as usize + length];
    let energy = |samples: &[f32]| {
        samples
            .iter()
            .map(|sample| f64::from(*sample).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    (-MOST..=MOST)
        .map(|lag| {
            let start = (offset as i64 + MOST - lag) as usize;
            let source = &source[start..start + length];
            let dot: f64 = source
                .iter()
                .zip(clip)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum();
            (lag, dot / (energy(source) * energy(clip)).max(1e-12))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap()
}
