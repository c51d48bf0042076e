//! Clips that have to fit into a size: the file is measured, its pictures and its sound are decoded.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::frames;
use crate::support::media::{film, gentle, sweep};
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
