//! Clips that have to fit into a size: the file is measured, its pictures and its sound are decoded.

use std::path::{Path, PathBuf};
use std::process::Command;

use image_webp::WebPDecoder;
use serde_json::Value;

use crate::support::frames;
use crate::support::media::{H264, film, gentle, sweep};
use crate::support::proof::{self, Clip};
use crate::support::service;

/// Four seconds of 480x270 that take more than 1 MB and have a keyframe every second, the first picture inside.
fn source() -> PathBuf {
    film(
        "fit-270.mp4",
        &gentle("480x270", "25", 4.0),
        Some(&sweep(48_000, "stereo", 4.0)),
        "-c:v libx264 -preset ultrafast -crf 18 -g 25 -keyint_min 25 -sc_threshold 0 -pix_fmt yuv420p \
         -c:a aac -b:a 128k -movflags +faststart",
    )
}

#[track_caller]
fn clip(fit: &str) -> Clip {
    let source = source();
    let arguments = ["--start", "0.5", "--end", "3.5", "--fit", fit];
    proof::clip(source.to_str().unwrap(), &arguments)
}

/// The file's own size, which is what was told, and at most `target`.
#[track_caller]
fn size(clip: &Clip, target: u64) -> u64 {
    let size = std::fs::metadata(&clip.path).unwrap().len();
    assert_eq!(clip.told["size"], size);
    assert!(size <= target, "{size} bytes for {target}");
    size
}

#[test]
fn a_target_that_binds_is_used_and_never_exceeded() {
    for (fit, target, height, sound) in [
        ("300KiB", 300 << 10, 270, 180_000.0),
        ("40kB", 40_000, 180, 50_000.0),
    ] {
        let clip = clip(fit);
        let size = size(&clip, target);
        assert!(size * 100 >= target * 85, "{size} bytes for {fit}");
        let told = &clip.told;
        assert_eq!(
            (&told["method"], &told["reason"]),
            (&"encode".into(), &"fit".into())
        );
        let (width, shown) = frames::shown_size(&clip.path);
        assert_eq!(
            (&told["width"], &told["height"]),
            (&width.into(), &shown.into())
        );
        assert!(shown <= height && shown >= 144, "{shown} lines for {fit}");
        let times = frames::times(&clip.path);
        assert_eq!(told["frames"], times.len());
        assert!(times.len() >= 40, "{} pictures for {fit}", times.len());
        // The sound is whole, at a rate that leaves room for the pictures.
        let samples = frames::samples(&clip.path);
        assert!((samples.len() as f64 / 48_000.0 - 3.0).abs() < 0.1);
        let loud = samples.iter().filter(|sample| sample.abs() > 0.01).count();
        assert!(loud > samples.len() / 2);
        assert!(
            rate_of_sound(&clip) < sound,
            "{} for {fit}",
            rate_of_sound(&clip)
        );
    }
}

/// Bits a second that the packets of its sound take.
fn rate_of_sound(clip: &Clip) -> f64 {
    let entries = ["-select_streams", "a:0", "-show_entries", "packet=size"];
    let printed = frames::ffprobe(&clip.path, &[&entries[..], &["-of", "csv=p=0"]].concat());
    let sizes = printed
        .lines()
        .filter_map(|line| line.trim_matches(',').parse::<f64>().ok());
    sizes.sum::<f64>() * 8.0 / 3.0
}

#[test]
fn what_fits_anyway_is_left_as_it_is() {
    let whole = clip("8MiB");
    assert_eq!(
        (&whole.told["method"], &whole.told["reason"]),
        (&"splice".into(), &"exact".into())
    );
    let size = size(&whole, 8 << 20);
    // To the byte: a target is no less than what it says.
    let exactly = clip(&size.to_string());
    assert_eq!(exactly.told["method"], "splice");
    let less = clip(&(size - 1).to_string());
    assert_eq!(
        (&less.told["method"], &less.told["reason"]),
        (&"encode".into(), &"fit".into())
    );
    assert!(std::fs::metadata(&less.path).unwrap().len() < size);
}

#[test]
fn a_refusal_names_a_target_that_does() {
    let dir = tempfile::tempdir().unwrap();
    let source = source();
    let output = service::run(
        &[
            "clip",
            source.to_str().unwrap(),
            "--start",
            "0.5",
            "--end",
            "3.5",
            "--fit",
            "10kB",
            "-o",
            "small.mp4",
        ],
        dir.path(),
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("(fit_too_small)"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let figure = said
        .split("something is ")
        .nth(1)
        .unwrap()
        .split(". (")
        .next()
        .unwrap();
    let least = figure.replace(" kB", "000").parse().unwrap();
    let clip = clip(figure);
    size(&clip, least);
    assert_ne!(clip.told["audio_codec"], Value::Null);
}

struct Made {
    path: PathBuf,
    told: Value,
    _dir: tempfile::TempDir,
}

/// A clip of a source in a format, with these flags, spaces between them.
#[track_caller]
fn form(source: &Path, format: &str, flags: &str) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("clip.{format}"));
    let mut list = vec!["clip", source.to_str().unwrap(), "--format", format];
    list.extend(["--json", "-o", path.to_str().unwrap()]);
    list.extend(flags.split(' '));
    let output = service::run(&list, dir.path());
    assert!(
        output.status.success(),
        "{list:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Made {
        path,
        told: serde_json::from_slice(&output.stdout).unwrap(),
        _dir: dir,
    }
}

/// How many pictures can be decoded, and how many seconds of sound.
fn contents(path: &Path) -> (usize, f64) {
    match path.extension().unwrap().to_str().unwrap() {
        "webp" => {
            let bytes = std::fs::read(path).unwrap();
            let mut decoder = WebPDecoder::new(std::io::Cursor::new(bytes)).unwrap();
            let mut picture = vec![0; decoder.output_buffer_size().unwrap()];
            let read = std::iter::from_fn(|| decoder.read_frame(&mut picture).ok());
            (read.count(), 0.0)
        }
        "mp3" | "m4a" => (0, frames::samples(path).len() as f64 / 48_000.0),
        "gif" | "jpg" => (frames::decode(path, None).len(), 0.0),
        _ => (
            frames::times(path).len(),
            frames::samples(path).len() as f64 / 48_000.0,
        ),
    }
}

#[test]
fn every_format_keeps_to_a_target_that_binds() {
    let source = source();
    for (format, target, sound) in [
        ("gif", 150_000, 0.0),
        ("webp", 60_000, 0.0),
        ("webm", 18_000, 1.2),
        ("mp3", 15_000, 1.2),
        ("m4a", 15_000, 1.2),
        ("jpg", 12_000, 0.0),
    ] {
        let made = form(
            &source,
            format,
            &format!("--start 0.5 --end 1.7 --fit {target}"),
        );
        let told = &made.told;
        let size = std::fs::metadata(&made.path).unwrap().len();
        assert_eq!(told["size"], size, "{format}");
        assert!(size <= target, "{size} bytes of {format}");
        assert!(size * 10 >= target * 4, "{size} bytes of {format}");
        assert_eq!(told["reason"], "fit", "{format}");
        let (pictures, heard) = contents(&made.path);
        assert_eq!(told["frames"], pictures, "{format}");
        assert!((heard - sound).abs() < 0.06, "{heard} s of {format}");
        if format != "jpg" {
            let length = told["duration"].as_f64().unwrap();
            assert!((length - 1.2).abs() < 0.06, "{length} s of {format}");
        }
    }
    // What is small enough without being encoded is taken over.
    let whole = form(&source, "m4a", "--start 0.5 --end 1.7 --fit 8MiB");
    assert_eq!(whole.told["method"], "copy");
}

/// Grey pictures with a moving band across the middle third, and a tone on the left only; two seconds.
fn card() -> PathBuf {
    film(
        "fit-card.mp4",
        "color=0x808080:size=320x180:rate=25:duration=2[grey];testsrc2=size=320x60:rate=25:duration=2[band];\
         [grey][band]overlay=0:60",
        Some("aevalsrc='0.3*sin(2*PI*440*t)|0':s=48000:c=stereo:d=2"),
        H264,
    )
}

/// In which thirds of a picture something is white enough to be a caption: above, below.
fn captioned(path: &Path, number: usize) -> (bool, bool) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args(["-map", "0:v:0", "-frames:v", "1", "-vf"])
        .arg(format!("select=eq(n\\,{number}),format=gray"))
        .args(["-f", "rawvideo", "-"])
        .output()
        .unwrap();
    let luma = output.stdout;
    let third = luma.len() / 3;
    let white = |part: &[u8]| part.iter().filter(|luma| **luma > 210).count() > 20;
    (white(&luma[..third]), white(&luma[2 * third..]))
}

/// Integrated loudness in LUFS.
fn loudness(path: &Path) -> f64 {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostats", "-nostdin", "-i"])
        .arg(path)
        .args(["-af", "ebur128=framelog=verbose", "-f", "null", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut lines = text.lines().rev();
    let told = lines
        .find_map(|line| line.trim().strip_prefix("I:"))
        .unwrap();
    told.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn wishes_are_kept_together_in_every_format() {
    let card = card();
    let of = |format, flags: &str| form(&card, format, &format!("--start 0.2 --end 1.4 {flags}"));
    let length = |made: &Made, wanted: f64| {
        let length = made.told["duration"].as_f64().unwrap();
        assert!((length - wanted).abs() < 0.06, "{length} s: {}", made.told);
    };

    let gif = of("gif", "--reverse --caption-top TOP --fit 60000");
    assert!(std::fs::metadata(&gif.path).unwrap().len() <= 60_000);
    length(&gif, 1.2);
    assert_eq!(gif.told["frames"], contents(&gif.path).0);
    assert_eq!(captioned(&gif.path, 2), (true, false));

    let webm = of("webm", "--speed 2 --caption-bottom BELOW");
    length(&webm, 0.6);
    assert_eq!(webm.told["frames"], contents(&webm.path).0);
    assert_eq!(captioned(&webm.path, 2), (false, true));

    let mp3 = of("mp3", "--boomerang --speed 2 --fade-in 0.3");
    let heard = frames::samples(&mp3.path);
    let seconds = heard.len() as f64 / 48_000.0;
    assert!((1.05..1.21).contains(&seconds), "{seconds} s");
    let rising = |part: &[f32]| {
        let crossings = part.windows(2).filter(|two| two[0] < 0.0 && two[1] >= 0.0);
        crossings.count() as f64 * 48_000.0 / part.len() as f64
    };
    let pitch = rising(&heard[19_200..43_200]);
    assert!((pitch - 440.0).abs() < 12.0, "{pitch} Hz");
    let level = |part: &[f32]| part.iter().fold(0.0_f32, |most, one| most.max(one.abs()));
    assert!(level(&heard[..2_400]) < 0.5 * level(&heard[24_000..]));

    // Two channels become one here, by which a tone on one side is not as loud as it was.
    let mp4 = of(
        "mp4",
        "--boomerang --fade-in 0.2 --fade-out 0.2 --loudness=-20 --fit 30000",
    );
    assert!(std::fs::metadata(&mp4.path).unwrap().len() <= 30_000);
    length(&mp4, 2.32);
    let entries = ["-select_streams", "a", "-show_entries", "stream=channels"];
    let channels = frames::ffprobe(&mp4.path, &[&entries[..], &["-of", "csv=p=0"]].concat());
    assert_eq!(channels.trim(), "1");
    let loud = loudness(&mp4.path);
    assert!((loud + 20.0).abs() < 1.0, "{loud} LUFS");
    let pictures = frames::decode(&mp4.path, None);
    assert_eq!(mp4.told["frames"], pictures.len());
    let light = |number: usize| {
        let luma = &pictures[number].luma;
        luma.iter().map(|one| u64::from(*one)).sum::<u64>() / luma.len() as u64
    };
    let middle = light(pictures.len() / 2);
    assert!(light(0) < 40 && light(pictures.len() - 1) < 60 && middle > 90);
}
