//! What is really in a file: every frame decoded with its time, independent of anything the service says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

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
    listed_hashes(&text)
}

/// As [`hashes`], for files whose decoding works but is commented: a stream that begins with an open group refers to what is not there.
#[track_caller]
pub fn hashes_despite_messages(path: &Path) -> Vec<String> {
    let output = Command::new("ffmpeg")
        .args(["-v", "quiet", "-nostdin", "-i"])
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
    assert!(output.status.success(), "{}", path.display());
    let text = String::from_utf8(output.stdout).unwrap();
    listed_hashes(&text)
}

/// The hashes in a list that the `framemd5` muxer wrote.
fn listed_hashes(text: &str) -> Vec<String> {
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

/// All that is in a file, as [`read`] finds it.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Width and height as a player shows them.
    pub size: (u32, u32),
    /// Times are counted from `zero`.
    pub frames: Vec<Frame>,
    /// Hashes of the frames: equal only when every pixel is.
    pub hashes: Vec<String>,
    /// The first sound track, mixed to one channel at 48 kHz and placed by its times: silence where there is none.
    pub sound: Option<Vec<f32>>,
    /// One tick of the picture track, in seconds.
    pub tick: f64,
    /// The timestamp that people call 0: that of an MP4 or Matroska file is 0, a stream counts from where it starts.
    pub zero: f64,
}

/// Decodes a file whole, at its full size. Any error that ffmpeg reports is the test's failure.
#[track_caller]
pub fn read(path: &Path) -> Contents {
    let printed = ffprobe(
        path,
        &[
            "-show_entries",
            "format=format_name,start_time:stream=codec_type,width,height,time_base:stream_side_data=rotation:frame=media_type,pts_time",
            "-of",
            "json",
        ],
    );
    let parsed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let number =
        |value: &serde_json::Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
    let format = &parsed["format"];
    let name = format["format_name"].as_str().unwrap();
    let zero = if name.contains("mp4") || name.contains("matroska") {
        0.0
    } else {
        number(&format["start_time"]).unwrap()
    };
    let streams = parsed["streams"].as_array().unwrap();
    let kind = |stream: &serde_json::Value| stream["codec_type"].as_str().unwrap_or("").to_owned();
    let kinds: Vec<String> = streams.iter().map(kind).collect();
    let video = streams
        .iter()
        .find(|stream| kind(stream) == "video")
        .unwrap();
    let base = video["time_base"].as_str().unwrap();
    let (ticks, second) = base.split_once('/').unwrap();
    let tick = ticks.parse::<f64>().unwrap() / second.parse::<f64>().unwrap();
    let side = |name: &str| video[name].as_u64().unwrap() as u32;
    let turned = video["side_data_list"][0]["rotation"]
        .as_f64()
        .is_some_and(|angle| angle.abs() as i64 % 180 == 90);
    let size = if turned {
        (side("height"), side("width"))
    } else {
        (side("width"), side("height"))
    };
    let times: Vec<f64> = parsed["frames"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|frame| frame["media_type"] == "video")
        .filter_map(|frame| number(&frame["pts_time"]))
        .collect();
    let (luma, hashes, sound) = raw(path, kinds.iter().any(|kind| kind == "audio"), zero);
    let pictures = luma.chunks_exact((size.0 * size.1) as usize);
    assert_eq!(
        (pictures.len(), hashes.len()),
        (times.len(), times.len()),
        "frames and times of {} differ in number",
        path.display()
    );
    Contents {
        size,
        frames: pictures
            .zip(times)
            .map(|(luma, time)| Frame {
                time: time - zero,
                luma: luma.to_vec(),
            })
            .collect(),
        hashes,
        sound,
        tick,
        zero,
    }
}

/// Luma as it is stored, hashes of the pictures and samples of a file, decoded in one go.
#[track_caller]
fn raw(path: &Path, sounds: bool, zero: f64) -> (Vec<u8>, Vec<String>, Option<Vec<f32>>) {
    let samples = tempfile::NamedTempFile::new().unwrap();
    let hashes = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "error", "-nostdin", "-y", "-copyts", "-i"])
        .arg(path)
        .args([
            "-map",
            "0:v:0",
            "-vf",
            "format=yuv420p,extractplanes=y",
            "-fps_mode",
            "passthrough",
            // In ticks of a frame at the average rate, frames close to each other would fall together.
            "-enc_time_base",
            "1:90000",
            "-f",
            "rawvideo",
            "-",
            "-map",
            "0:v:0",
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            "1:90000",
            "-f",
            "framemd5",
        ])
        .arg(hashes.path());
    if sounds {
        let placed = format!(
            "asetpts=PTS-({zero})/TB,aresample=48000:async=1:first_pts=0:min_hard_comp=0.001"
        );
        command
            .args(["-map", "0:a:0", "-af", &placed, "-ac", "1", "-f", "f32le"])
            .arg(samples.path());
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let sound = sounds.then(|| {
        std::fs::read(samples.path())
            .unwrap()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect()
    });
    let hashes = listed_hashes(&std::fs::read_to_string(hashes.path()).unwrap());
    (output.stdout, hashes, sound)
}

/// A packet of pictures.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Presentation time as the container has it.
    pub time: f64,
    pub duration: f64,
    /// The container calls it a keyframe that is shown.
    pub key: bool,
}

/// The packets of the first video stream, in decoding order.
#[track_caller]
pub fn packets(path: &Path) -> Vec<Packet> {
    let printed = ffprobe(
        path,
        &[
            "-select_streams",
            "v:0",
            "-show_entries",
            "packet=pts_time,duration_time,flags",
            "-of",
            "csv=p=0",
        ],
    );
    let packet = |line: &str| {
        let mut fields = line.split(',');
        let (time, duration, flags) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Packet {
            time: time.parse().ok()?,
            duration: duration.parse().unwrap_or(0.0),
            key: flags.contains('K') && !flags.contains('D'),
        })
    };
    printed.lines().filter_map(packet).collect()
}

/// What the units of an H.264 stream are (ITU-T H.264, table 7-1).
#[derive(Clone, Debug)]
pub struct Units {
    /// For each packet in decoding order, whether it is an IDR picture.
    pub idr: Vec<bool>,
    /// One sequence parameter set, and all parameter sets are there from the first picture on.
    pub one_sequence: bool,
}

/// Takes an H.264 stream apart: ffmpeg marks where each packet begins, the rest is looking for start codes.
#[track_caller]
pub fn units(path: &Path) -> Units {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args([
            "-map",
            "0:v:0",
            "-c",
            "copy",
            "-bsf:v",
            "h264_mp4toannexb,filter_units=remove_types=9,h264_metadata=aud=insert",
            "-f",
            "h264",
            "-",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", path.display());
    let (mut idr, mut sets) = (Vec::new(), Vec::<(usize, &[u8])>::new());
    for unit in annex_b(&output.stdout) {
        match unit[0] & 0x1f {
            9 => idr.push(false),
            5 => *idr.last_mut().unwrap() = true,
            7 | 8 if sets.iter().all(|(_, set)| *set != unit) => sets.push((idr.len(), unit)),
            _ => {}
        }
    }
    let sequences = sets.iter().filter(|(_, set)| set[0] & 0x1f == 7).count();
    Units {
        one_sequence: sequences == 1 && sets.iter().all(|(packet, _)| *packet <= 1),
        idr,
    }
}

/// The units between the start codes of a byte stream (annex B).
pub fn annex_b(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut place = 0;
    while let Some(found) = stream[place..]
        .windows(3)
        .position(|three| three == [0, 0, 1])
    {
        place += found + 3;
        starts.push(place);
    }
    let ends = starts[1.min(starts.len())..].iter().map(|start| start - 3);
    starts
        .iter()
        .zip(ends.chain([stream.len()]))
        .map(|(start, end)| {
            let unit = &stream[*start..end];
            let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
            &unit[..unit.len() - zeros]
        })
        .filter(|unit| !unit.is_empty())
        .collect()
}

/// By how many seconds the sound at `clip` comes later than the same sound of `source`, and how alike the two are (1 is the same): as
/// a cross-correlation to the sample, over a fifth of the samples, which is quick enough for many cases.
pub fn shift(source: &[f32], clip: &[f32]) -> (f64, f64) {
    const MOST: i64 = 1200;
    const LONGEST: usize = 20_000;
    let room = clip.len().min(source.len());
    assert!(
        room > 4 * MOST as usize,
        "{room} samples are too few to compare"
    );
    let length = (room - 2 * MOST as usize).min(LONGEST);
    let begin = (room - length) / 2;
    let clip = &clip[begin..begin + length];
    let product = |a: &[f32], b: &[f32]| {
        let mut sum = 0.0_f32;
        for place in (0..length).step_by(5) {
            sum += a[place] * b[place];
        }
        f64::from(sum)
    };
    let energy = product(clip, clip).sqrt();
    let at = |step: i64| {
        let start = (begin as i64 - step) as usize;
        let source = &source[start..start + length];
        let alike = product(source, clip) / (energy * product(source, source).sqrt()).max(1e-9);
        (step, alike)
    };
    let more = |a: &(i64, f64), b: &(i64, f64)| a.1.total_cmp(&b.1);
    let coarse = (-MOST..=MOST).step_by(2).map(at).max_by(more).unwrap().0;
    let around = (coarse - 1).max(-MOST)..=(coarse + 1).min(MOST);
    let (step, alike) = around.map(at).max_by(more).unwrap();
    (step as f64 / 48_000.0, alike)
}

/// What ffmpeg has to say, warnings included, when it decodes every stream of a file.
pub fn complaints(path: &Path) -> String {
    complaints_of(Path::new("ffmpeg"), path)
}

/// As [`complaints`], with an ffmpeg of another version.
pub fn complaints_of(program: &Path, path: &Path) -> String {
    let output = Command::new(program)
        .args(["-v", "warning", "-nostdin", "-xerror", "-i"])
        .arg(path)
        // In ticks of a frame at the average rate, frames close to each other would fall together.
        .args([
            "-map",
            "0",
            "-enc_time_base:v",
            "1:90000",
            "-f",
            "null",
            "-",
        ])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An ffmpeg that is not the system's, as the packagers of Python have it; installed once for all tests of a build.
pub fn other_ffmpeg() -> &'static Path {
    static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python.sh");
        let output = Command::new("bash")
            .arg(script)
            .args(OTHER_FFMPEG)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let folder = String::from_utf8(output.stdout).unwrap();
        let only = |folder: PathBuf, start: &str| {
            let entries = std::fs::read_dir(folder).unwrap();
            let named = |path: &PathBuf| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with(start)
            };
            entries
                .map(|entry| entry.unwrap().path())
                .find(named)
                .unwrap()
        };
        let packages = only(Path::new(folder.trim()).join("lib"), "python3").join("site-packages");
        only(packages.join("imageio_ffmpeg/binaries"), "ffmpeg-")
    });
    &PLACE
}

/// Name and package for `tests/python.sh`; `make test` installs the same beforehand.
const OTHER_FFMPEG: [&str; 2] = ["ffmpeg", "imageio-ffmpeg==0.6.0"];

/// How long the first track of an MP4 is shown, as its header (ISO/IEC 14496-12, 8.3.2) says.
#[track_caller]
pub fn track_length(path: &Path) -> f64 {
    let bytes = std::fs::read(path).unwrap();
    let find = |kind: &[u8; 4]| bytes.windows(4).position(|four| four == kind).unwrap();
    let number = |place: usize, width: usize| {
        let digits = &bytes[place..place + width];
        digits
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)) as f64
    };
    let (movie, track) = (find(b"mvhd"), find(b"tkhd"));
    let scale = number(movie + if bytes[movie + 4] == 1 { 24 } else { 16 }, 4);
    let length = if bytes[track + 4] == 1 {
        number(track + 32, 8)
    } else {
        number(track + 24, 4)
    };
    length / scale
}
