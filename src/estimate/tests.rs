//! The estimate by numbers that can be reckoned by hand.

use super::texture::Sample;
use super::*;
use crate::sighting::flow::{Flow, Shown};
use crate::sighting::{Form, Pictures, Sound};

/// A minute of 1280x720 at 30 pictures a second and 500 kB a second, a key of 50 kB every 5 s, with AAC.
fn seen() -> Sighting {
    let shown = (0..1800).map(|number| Shown {
        at: Seconds::from_micros(number * 1_000_000 / 30),
        bytes: if number % 150 == 0 { 50_000 } else { 16_443 },
        key: number % 150 == 0,
    });
    Sighting {
        title: "film".into(),
        duration: Some(Seconds::from_whole(60)),
        container: "mp4".into(),
        video: Pictures {
            codec: "h264".into(),
            width: 1280,
            height: 720,
            fps: Some(30.0),
            rotation: 0,
            pixel_format: "yuv420p".into(),
            interlaced: false,
            rate: Some(500_000.0),
        },
        audio: Some(Sound {
            codec: "aac".into(),
            channels: 2,
            rate: 48_000,
            bytes_a_second: Some(16_000.0),
        }),
        keyframes: Some((0..12).map(|n| Seconds::from_whole(5 * n)).collect()),
        flow: Flow::of(shown.collect()),
        form: Form::Tables,
        thumbnail: None,
        chapters: Vec::new(),
        heatmap: Vec::new(),
        bytes_fetched: 0,
    }
}

fn texture() -> Texture {
    let samples = [11, 31, 51].map(|at| Sample {
        start: Seconds::from_whole(at),
        end: Seconds::from_whole(at + 1),
        first: 40_000,
        frames: 30,
        // Half of what the source has.
        rest: 30 * 8_221,
    });
    Texture {
        width: 1280,
        height: 720,
        samples: samples.to_vec(),
        exponent: None,
        thinning: None,
    }
}

fn recipe(more: &str) -> Recipe {
    let body = format!(r#"{{"url":"https://e.com/a.mp4"{more}}}"#);
    let limits = crate::recipe::Limits {
        max_clip: Seconds::from_whole(180),
        max_segments: 20,
        presets: None,
    };
    Recipe::from_json(body.as_bytes(), &limits).unwrap()
}

fn told(more: &str) -> Foretold {
    let more = if more.contains("_time") || more.contains("segments") {
        more.to_owned()
    } else {
        format!(r#","start_time":7,"end_time":37{more}"#)
    };
    foretell(&seen(), &recipe(&more), Some(&texture()), 1080).unwrap()
}

#[track_caller]
fn near(bytes: Option<u64>, expected: f64) {
    let bytes = bytes.unwrap() as f64;
    assert!(
        (bytes / expected - 1.0).abs() < 0.02,
        "{bytes} for {expected}"
    );
}

#[test]
fn what_is_taken_over_is_summed_and_what_is_encoded_follows_the_samples() {
    let splice = told("");
    assert_eq!((splice.method, splice.reason), (Method::Splice, "exact"));
    assert!(
        (splice.untouched - 0.9).abs() < 1e-6,
        "{}",
        splice.untouched
    );
    assert_eq!(splice.duration, Seconds::from_whole(30));
    // 27 s of the source, 3 s at half of it by a quick encoder, sound and tables.
    let head = 2.0 * (40_000.0 + 89.0 * 8_221.0);
    let kept = 6.0 * 33_557.0 + 810.0 * 16_443.0;
    near(splice.bytes, head + kept + 30.0 * 16_250.0 + 14_000.0);
    let encoded = told(r#","fps":60"#);
    assert_eq!((encoded.method, encoded.reason), (Method::Encode, "fps"));
    assert_eq!(encoded.untouched, 0.0);
    // One picture more stands alone after 250, 500 and 750.
    let pictures = 4.0 * 40_000.0 + 896.0 * 8_221.0;
    near(encoded.bytes, pictures + 30.0 * 20_250.0 + 14_000.0);
    let fast = told(r#","mode":"fast""#);
    assert_eq!((fast.method, fast.untouched), (Method::Copy, 1.0));
    assert_eq!(fast.duration, Seconds::from_whole(32));
}

#[test]
fn looks_change_size_length_and_count() {
    let plain = told(r#","fps":60"#);
    let small = told(r#","height":360"#);
    let share = small.bytes.unwrap() as f64 / plain.bytes.unwrap() as f64;
    assert!((0.25..0.5).contains(&share), "{share}");
    let picture = small.picture.unwrap();
    assert_eq!(
        (picture.width, picture.height, picture.fps),
        (640, 360, Some(30.0))
    );
    let fast = told(r#","speed":2"#);
    assert_eq!(fast.duration, Seconds::from_whole(15));
    assert_eq!(fast.work.frames, 450);
    assert!(fast.bytes < plain.bytes);
    let there_and_back = told(r#","boomerang":true"#);
    assert_eq!(there_and_back.work.frames, 1798);
    assert!(there_and_back.bytes.unwrap() > plain.bytes.unwrap() * 3 / 2);
    let sound = told(r#","format":"mp3""#);
    assert_eq!((sound.picture, sound.work.encoded), (None, 0.0));
    near(sound.bytes, 30.0 * 24_000.0);
    let picture = told(r#","format":"jpg""#);
    assert_eq!(picture.picture.unwrap().fps, None);
    assert!(picture.bytes.unwrap() < 100_000);
    let several = told(r#","segments":[{"start":10,"end":20},{"start":30,"end":40}]"#);
    assert_eq!((several.method, several.untouched), (Method::Splice, 1.0));
}

#[test]
fn what_may_surprise_is_told() {
    for (more, codes) in [
        ("", &[][..]),
        (r#","format":"gif","height":240"#, &["gif_larger_than_mp4"]),
        (r#","height":900"#, &["height_not_reached"]),
        (r#","height":720"#, &[]),
        (
            r#","crop":"640x360+0+0","height":720"#,
            &["height_not_reached"],
        ),
        (r#","start_time":50,"end_time":70"#, &["time_beyond_end"]),
        (r#","start_time":50,"format":"jpg""#, &[]),
        (r#","fit":"100MB""#, &["fit_not_needed"]),
        (r#","fit":"2MB""#, &["fit_lowers_quality"]),
        (r#","mode":"fast""#, &["fast_start_differs"]),
        (r#","mode":"fast","start_time":10,"end_time":20"#, &[]),
        (r#","volume":2"#, &[]),
    ] {
        let codes_told: Vec<&str> = told(more).warnings.iter().map(Warning::code).collect();
        assert_eq!(codes_told, codes, "{more}");
    }
    let mut silent = seen();
    silent.audio = None;
    let codes = |more: &str, texture: Option<&Texture>| -> Vec<&str> {
        let recipe = recipe(&format!(r#","start_time":7,"end_time":37{more}"#));
        let told = foretell(&silent, &recipe, texture, 1080).unwrap();
        told.warnings.iter().map(Warning::code).collect()
    };
    assert_eq!(codes(r#","volume":2"#, Some(&texture())), ["no_sound"]);
    assert_eq!(codes(r#","format":"m4a""#, Some(&texture())), ["no_sound"]);
    assert_eq!(codes(r#","speed":2"#, None), ["size_guessed"]);
    let fit = told(r#","fit":"2MB""#);
    assert!(fit.bytes.unwrap() <= 2_000_000 && fit.method == Method::Encode);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |more: &str| foretell(&seen(), &recipe(more), None, 1080).unwrap_err();
    let error = refused(r#","start_time":60,"end_time":70"#);
    assert_eq!(error, EstimateError::Range(Seconds::from_whole(60)));
    let error = refused(r#","start_time":1,"end_time":7,"crop":"1281x100+0+0""#);
    assert_eq!(error, EstimateError::Crop(Unfit::Outside(1280, 720)));
    let error = refused(r#","start_time":1,"end_time":7,"crop":"1%x1%+0%+0%""#);
    assert_eq!(error, EstimateError::Crop(Unfit::Small));
}

#[test]
fn a_source_of_which_little_is_known_is_estimated_all_the_same() {
    let mut vague = seen();
    vague.flow = None;
    vague.keyframes = None;
    vague.duration = None;
    vague.video.fps = None;
    let told = foretell(
        &vague,
        &recipe(r#","start_time":7,"end_time":37"#),
        None,
        1080,
    )
    .unwrap();
    assert!(told.bytes.is_some_and(|bytes| bytes > 10_000_000));
    vague.video.rate = None;
    let told = foretell(
        &vague,
        &recipe(r#","start_time":7,"end_time":37"#),
        None,
        1080,
    )
    .unwrap();
    assert_eq!((told.bytes, told.fetched), (None, None));
}
