//! Estimates and presets: what is told of a clip before it is made, held against what is made.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::media;
use crate::support::origin::Origin;
use crate::support::service::{PATIENCE, Service, Setup};
use crate::support::tus::id_of;

#[track_caller]
fn estimate(service: &Service, body: &Value) -> Value {
    let answer = service.post("/api/clips:estimate", body);
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), service.log());
    answer.json()
}

fn codes(estimate: &Value) -> Vec<String> {
    let warnings = estimate["warnings"].as_array().unwrap().iter();
    warnings
        .map(|warning| {
            for field in ["detail", "hint"] {
                assert!(!warning[field].as_str().unwrap().is_empty(), "{warning}");
            }
            warning["code"].as_str().unwrap().to_owned()
        })
        .collect()
}

/// Asks until the pictures of a source have been measured.
#[track_caller]
fn measured(service: &Service, body: &Value) -> Value {
    let began = Instant::now();
    loop {
        let told = estimate(service, body);
        if !codes(&told).contains(&"size_guessed".to_owned()) {
            return told;
        }
        assert!(began.elapsed() < PATIENCE, "{told}\n{}", service.log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Two seconds and a half of moving pictures with sound, a group every second.
fn film() -> std::path::PathBuf {
    let pictures = media::pictures("320x180", "30", 6.0);
    let sound = media::sound(48_000, 6.0);
    media::film(
        "estimated.mp4",
        &pictures,
        Some(&sound),
        "-c:v libx264 -preset veryfast -crf 23 -g 30 -keyint_min 30 -sc_threshold 0 -pix_fmt yuv420p -c:a aac -b:a 96k \
         -movflags +faststart",
    )
}

#[test]
fn what_comes_out_is_what_was_told() {
    let service = Service::start();
    let path = service.upload("film.mp4", &std::fs::read(film()).unwrap());
    let recipe = |more: Value| {
        let mut body = json!({"upload": id_of(&path), "start_time": 0.5, "end_time": 5.5});
        let fields = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        body
    };
    assert_eq!(
        service
            .post("/api/sources", &json!({"upload": id_of(&path)}))
            .status,
        201
    );
    measured(&service, &recipe(json!({"fps": 100})));
    // How far the size may be off, where that is told apart.
    for (more, most) in [
        (json!({"start_time": 1}), Some(0.05)),
        (json!({"fps": 100}), Some(0.15)),
        (json!({"height": 90, "mute": true}), Some(0.15)),
        (json!({"mode": "fast"}), Some(0.05)),
        (json!({"format": "m4a"}), Some(0.05)),
        (json!({"format": "mp3", "end_time": 2}), None),
        (json!({"format": "gif", "end_time": 1.5}), None),
        (json!({"format": "jpg"}), None),
        // The reason is the first that the plan comes upon.
        (json!({"crop": "1:1", "end_time": 1.5}), None),
        (json!({"crop": "1:1", "height": 90, "end_time": 1.5}), None),
        (json!({"crop": "16:9", "start_time": 1}), Some(0.05)),
        (
            json!({"format": "m4a", "volume": 0.5, "end_time": 1.5}),
            None,
        ),
        (json!({"start_time": 1.2, "end_time": 1.8}), None),
    ] {
        let body = recipe(more.clone());
        let told = estimate(&service, &body);
        let clip = service.make(&body);
        let result = &clip["result"];
        let number = |value: &Value| value.as_f64().unwrap();
        let error = number(&told["bytes"]) / number(&result["size"]) - 1.0;
        assert!(
            error.abs() < most.unwrap_or(5.0),
            "{more}: {error}, {told} for {clip}"
        );
        for field in ["method", "reason", "width", "height"] {
            assert_eq!(
                told[field], result[field],
                "{field} of {more}: {told} for {clip}"
            );
        }
        for field in ["duration", "fps"] {
            let off = told[field].as_f64().zip(result[field].as_f64());
            let off = off.map_or(0.0, |(told, made)| (told - made).abs());
            let one = told[field].is_null() != result[field].is_null() && field == "fps";
            assert!(off < 0.2 && !one, "{field} of {more}: {told} for {clip}");
        }
        if !told["fps"].is_null() {
            let share = number(&result["frames_copied"]) / number(&result["frames"]);
            assert!(
                (number(&told["share_untouched"]) - share).abs() < 0.05,
                "{told} for {clip}"
            );
        }
        assert!(number(&told["seconds"]) > 0.0);
    }
}

#[test]
fn a_second_estimate_does_not_touch_the_source() {
    let service = Setup::default()
        .with("LIMITS__PROBES_PER_MINUTE", 1)
        .start();
    let (origin, link) = Origin::with(&film());
    let body = json!({"url": link, "start_time": 1, "end_time": 4});
    let first = service.post("/api/clips:estimate", &body);
    assert_eq!(first.status, 200, "{}", first.text());
    assert!(
        first.header("ratelimit").contains("r=0"),
        "{:?}",
        first.headers
    );
    let told = first.json();
    assert_eq!(
        (&told["method"], &told["reason"]),
        (&json!("splice"), &json!("exact"))
    );
    let (requests, began) = (origin.requests().len(), Instant::now());
    for _ in 0..20 {
        assert_eq!(estimate(&service, &body), told);
    }
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(origin.requests().len(), requests);
    // Another source would be looked at, which counts.
    let other = json!({"url": format!("{link}?other"), "start_time": 1, "end_time": 4});
    service
        .post("/api/clips:estimate", &other)
        .expect_problem(429, "rate_limited");
}

#[test]
fn what_may_surprise_is_told_beforehand() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&film());
    let told = |more: Value| {
        let mut body = json!({"url": link, "start_time": 1.5, "end_time": 4.5});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let told = estimate(&service, &body);
        let mut codes = codes(&told);
        codes.retain(|code| code != "size_guessed");
        codes
    };
    for (more, codes) in [
        (json!({}), &[][..]),
        (json!({"format": "gif"}), &["gif_larger_than_mp4"]),
        (json!({"height": 720}), &["height_not_reached"]),
        (json!({"end_time": 60}), &["time_beyond_end"]),
        (json!({"fit": "1GB"}), &["fit_not_needed"]),
        (json!({"fit": "20kB"}), &["fit_lowers_quality"]),
        (json!({"mode": "fast"}), &["fast_start_differs"]),
        (json!({"mode": "fast", "start_time": 2}), &[]),
    ] {
        assert_eq!(told(more.clone()), codes, "{more}");
    }
    for (more, code, field) in [
        (
            json!({"start_time": 9, "end_time": 10}),
            "time_range",
            "start_time",
        ),
        (json!({"crop": "640x360+0+0"}), "crop_outside", "crop"),
        (json!({"preset": "gif-smal"}), "preset_unknown", "preset"),
    ] {
        let mut body = json!({"url": link, "start_time": 1.5, "end_time": 4.5});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = service.post("/api/clips:estimate", &body);
        answer.expect_problem(400, code);
        assert_eq!(answer.json()["field"], field);
    }
}

#[test]
fn presets_are_the_operators_and_what_is_given_beside_them_wins() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let text = "[presets]\naudio = {}\n[presets.small]\nheight = 90\nmute = true\n[presets.story]\ncrop = \"1:1\"\n";
    std::fs::write(&config, text).unwrap();
    let service = Setup::default().with("PRESETS__TINY__HEIGHT", 64).start();
    let names: Vec<Value> = service.get("/api/presets").json()["presets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|preset| preset["name"].clone())
        .collect();
    assert_eq!(names, ["audio", "discord", "gif-small", "story", "tiny"]);
    let (_origin, link) = Origin::with(&film());
    let made =
        service.make(&json!({"url": link, "start_time": 1, "end_time": 2, "preset": "tiny"}));
    assert_eq!(made["result"]["height"], 64, "{made}");
    // What is kept is what it stood for.
    assert_eq!(
        (&made["recipe"]["height"], &made["recipe"]["preset"]),
        (&json!(64), &Value::Null)
    );
    let body =
        json!({"url": link, "start_time": 1, "end_time": 2, "preset": "tiny", "height": null});
    assert_eq!(estimate(&service, &body)["height"], 180);
    // The same by the command line, with a file of settings.
    let target = dir.path().join("clip.mp4");
    let run = |more: &[&str]| {
        std::process::Command::new(crate::support::service::BINARY)
            .args([
                "clip",
                film().to_str().unwrap(),
                "--start",
                "1",
                "--end",
                "2",
                "--json",
            ])
            .args([
                "--config",
                config.to_str().unwrap(),
                "-o",
                target.to_str().unwrap(),
            ])
            .args(more)
            .output()
            .unwrap()
    };
    let told = |more: &[&str]| -> Value {
        let ended = run(more);
        assert!(ended.status.success(), "{ended:?}");
        serde_json::from_slice(&ended.stdout).unwrap()
    };
    let small = told(&["--preset", "small"]);
    assert_eq!(
        (&small["height"], &small["audio_codec"]),
        (&json!(90), &Value::Null)
    );
    assert_eq!(
        told(&["--preset", "small", "--height", "100"])["height"],
        100
    );
    assert_eq!(told(&["--preset", "story"])["width"], 180);
    let ended = run(&["--preset", "audio"]);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(
        said.contains("preset_unknown") && said.contains("discord"),
        "{said}"
    );
    std::fs::write(&config, "[presets.small]\nheight = 9\n").unwrap();
    let ended = run(&["--preset", "small"]);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("presets.small.height"), "{said}");
}
