//! Wishes that cannot be met, over HTTP: every field at its limits and past them, wishes that contradict each other, texts that look like
//! something to a program. Each is refused with a code and the field that is meant, and nothing is queued.

use serde_json::{Map, Value, json};

use crate::support::media;
use crate::support::origin::Origin;
use crate::support::service::{Answer, Service};

/// A link that no gate lets through: what passes the recipe's rules is refused there, before anything is made.
const LINK: &str = "http://10.1.2.3/v.mp4";

/// Asks for a clip of ten seconds with these fields beside it; null fields are left as they are.
fn wish(service: &Service, more: &Value) -> Answer {
    let mut body = Map::new();
    body.insert("url".to_owned(), json!(LINK));
    if more.get("segments").is_none() {
        body.insert("start_time".to_owned(), json!(5));
        body.insert("end_time".to_owned(), json!(15));
    }
    for (name, value) in more.as_object().unwrap() {
        body.insert(name.clone(), value.clone());
    }
    service.post("/api/clips", &Value::Object(body))
}

#[track_caller]
fn refused(service: &Service, more: Value, code: &str, field: &str) {
    let answer = wish(service, &more);
    let told = answer.json();
    let shown: String = more.to_string().chars().take(200).collect();
    assert_eq!(
        (answer.status, &told["code"], &told["field"]),
        (400, &json!(code), &json!(field)),
        "{shown}: {told}"
    );
    answer.expect_problem(400, code);
    // The estimate says the same.
    let mut body = more.as_object().unwrap().clone();
    body.insert("url".to_owned(), json!(LINK));
    if more.get("segments").is_none() {
        body.entry("start_time").or_insert(json!(5));
        body.entry("end_time").or_insert(json!(15));
    }
    let answer = service.post("/api/clips:estimate", &Value::Object(body));
    assert_eq!(answer.json()["code"], code, "{shown}");
}

/// The recipe is fine; only its link is not.
#[track_caller]
fn understood(service: &Service, more: Value) {
    let answer = wish(service, &more);
    let shown: String = more.to_string().chars().take(200).collect();
    assert_eq!(
        answer.json()["code"],
        "url_blocked",
        "{shown}: {}",
        answer.text()
    );
}

#[test]
fn every_field_has_its_limits() {
    let service = Service::start();
    for (field, code, fine, wrong) in [
        (
            "format",
            "format_unknown",
            json!(["mp4", "webm", "gif", "webp", "mp3", "m4a", "jpg", null]),
            json!(["", "MP4", "avi", "mp4 ", "../mp4", "mp4,drawtext"]),
        ),
        (
            "fit",
            "fit_invalid",
            json!([
                "10kB",
                "10MB",
                "8MiB",
                "10 GB",
                10_000,
                10_000_000_000_u64,
                null
            ]),
            json!([
                1,
                "1B",
                9_999,
                "9999B",
                "1TB",
                "1 TB",
                10_000_000_001_u64,
                -1,
                0,
                1.5,
                "",
                "10",
                "-1MB",
                "NaN",
                "1e400MB",
                "10MB;id",
                true,
                [],
                {}
            ]),
        ),
        (
            "crop",
            "crop_invalid",
            json!([
                "9:16",
                "1:1@left",
                "4:5@30%",
                "100:1",
                "640x360+0+0",
                "50%x50%+50%+50%",
                null
            ]),
            json!([
                "",
                "9",
                "0:1",
                "101:1",
                "9:16@101%",
                "9:16@middle",
                "iw/2:ih",
                "1:1,drawtext=text=x",
                "640x360",
                "50%x50%+60%+0%",
                "4294967296x2+0+0",
                "-1x2+0+0",
                "１:１",
                "1:1\u{0}"
            ]),
        ),
        (
            "height",
            "height_invalid",
            json!([16, 17, 720, 4320, null]),
            json!([0, 15, 4321, -720, 720.5, 1e300, "720", true, [], {}]),
        ),
        (
            "fps",
            "fps_invalid",
            json!([1, 120, null]),
            json!([0, 121, -1, 29.97, "30", 1e99, true]),
        ),
        (
            "speed",
            "speed_invalid",
            json!([0.25, 1, 4, 4.0, 1.337, null]),
            json!([0, 0.249, 4.001, -1, "2", 1e300, true, []]),
        ),
        (
            "volume",
            "volume_invalid",
            json!([0, 1, 4, 0.5, null]),
            json!([-0.1, 4.001, "1", 1e300, true]),
        ),
        (
            "loudness",
            "loudness_invalid",
            json!([-40, -8, -16.5, null]),
            json!([-40.1, -7.9, 0, 16, "-16", -1e300, false]),
        ),
        (
            "fade_in",
            "fade_invalid",
            json!([0, 0.5, 10, null]),
            json!([-0.1, 31, "1", 1e300, true]),
        ),
        (
            "fade_out",
            "fade_invalid",
            json!([0, 0.5, 10, null]),
            json!([-0.1, 30.1, "1", 1e300, {}]),
        ),
        (
            "caption_top",
            "caption_invalid",
            json!([
                "",
                "two\nlines",
                "%{n}\\N{\\b1}",
                "a:b,c;d'e\"[v]",
                "$(id) `id`",
                "-i /etc/passwd",
                "日本語",
                null
            ]),
            json!([
                "a\u{0}b",
                "a\tb",
                "a\u{1b}[0m",
                "a\u{7f}",
                "a\u{85}b",
                "a\u{2028}b"
            ]),
        ),
        (
            "caption_bottom",
            "caption_too_long",
            json!(["x".repeat(300), "👩‍👩‍👧".repeat(300)]),
            json!([
                "x".repeat(301),
                "x".repeat(10_000),
                "字".repeat(10_000),
                format!("e{}", "\u{301}".repeat(10_000))
            ]),
        ),
        (
            "watermark",
            "watermark_invalid",
            json!(["", "@me", "%{pts}", "movie=/etc/passwd", null]),
            json!(["a\nb", "a\r\nb", "a\u{0}", "a\u{9f}"]),
        ),
        (
            "watermark",
            "watermark_too_long",
            json!(["x".repeat(80)]),
            json!(["x".repeat(81), "x".repeat(10_000)]),
        ),
        (
            "preset",
            "preset_unknown",
            json!(["discord", "story", "gif-small", "audio", null]),
            json!([
                "",
                "Discord",
                "discrod",
                "presets.discord",
                "x".repeat(10_000),
                "\u{0}"
            ]),
        ),
        (
            "mode",
            "mode_unknown",
            json!(["exact", "fast", null]),
            json!(["", "Exact", "slow"]),
        ),
    ] {
        for value in fine.as_array().unwrap() {
            understood(&service, json!({field: value}));
        }
        for value in wrong.as_array().unwrap() {
            refused(&service, json!({field: value}), code, field);
        }
    }
    for field in ["mute", "reverse", "boomerang", "caption_upper"] {
        for value in [json!(true), json!(false), json!(null)] {
            understood(&service, json!({field: value}));
        }
        for value in [json!("yes"), json!(1), json!([]), json!({})] {
            refused(&service, json!({field: value}), "field_type", field);
        }
    }
    for field in [
        "format",
        "crop",
        "caption_top",
        "caption_bottom",
        "watermark",
        "preset",
        "mode",
    ] {
        for value in [json!(7), json!(true), json!([]), json!({})] {
            refused(&service, json!({field: value}), "field_type", field);
        }
    }
    // Numbers that JSON does not have are no JSON.
    for number in [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "0x10",
        "01",
        "+1",
        ".5",
    ] {
        let body = format!(r#"{{"url":"{LINK}","start_time":5,"end_time":15,"speed":{number}}}"#);
        let kind = [("content-type", "application/json")];
        let answer = service.request("POST", "/api/clips", &kind, body.as_bytes());
        answer.expect_problem(400, "json_invalid");
    }
    assert_eq!(service.get("/api/clips").json()["clips"], json!([]));
    assert!(!service.log().contains("panicked"), "{}", service.log());
}

#[test]
fn wishes_that_contradict_each_other_are_refused_at_the_field_that_is_too_much() {
    let service = Service::start();
    let long = |more: Value, end: f64| {
        let mut body = more.as_object().unwrap().clone();
        body.insert("start_time".to_owned(), json!(0));
        body.insert("end_time".to_owned(), json!(end));
        Value::Object(body)
    };
    for (more, code, field) in [
        (
            json!({"format": "gif", "volume": 1}),
            "format_conflict",
            "volume",
        ),
        (
            json!({"format": "webp", "loudness": -16}),
            "format_conflict",
            "loudness",
        ),
        (
            json!({"format": "mp3", "crop": "1:1"}),
            "format_conflict",
            "crop",
        ),
        (
            json!({"format": "mp3", "height": 240}),
            "format_conflict",
            "height",
        ),
        (
            json!({"format": "m4a", "fps": 10}),
            "format_conflict",
            "fps",
        ),
        (
            json!({"format": "m4a", "mute": true}),
            "format_conflict",
            "mute",
        ),
        (
            json!({"format": "mp3", "caption_top": "x"}),
            "format_conflict",
            "caption_top",
        ),
        (
            json!({"format": "mp3", "caption_bottom": "x"}),
            "format_conflict",
            "caption_bottom",
        ),
        (
            json!({"format": "mp3", "caption_upper": true}),
            "format_conflict",
            "caption_upper",
        ),
        (
            json!({"format": "mp3", "watermark": "x"}),
            "format_conflict",
            "watermark",
        ),
        (
            json!({"format": "jpg", "speed": 2}),
            "format_conflict",
            "speed",
        ),
        (json!({"format": "jpg", "fps": 2}), "format_conflict", "fps"),
        (
            json!({"format": "jpg", "fade_in": 1}),
            "format_conflict",
            "fade_in",
        ),
        (
            json!({"format": "jpg", "reverse": true}),
            "format_conflict",
            "reverse",
        ),
        (
            json!({"format": "jpg", "boomerang": true}),
            "format_conflict",
            "boomerang",
        ),
        (
            json!({"format": "jpg", "volume": 1}),
            "format_conflict",
            "volume",
        ),
        (
            json!({"format": "jpg", "segments": [{"start": 1, "end": 2}, {"start": 3, "end": 4}]}),
            "jpg_segments",
            "segments",
        ),
        (
            json!({"mute": true, "volume": 1}),
            "mute_conflict",
            "volume",
        ),
        (
            json!({"mute": true, "loudness": -16}),
            "mute_conflict",
            "loudness",
        ),
        (
            json!({"volume": 1, "loudness": -16}),
            "loudness_conflict",
            "loudness",
        ),
        (
            json!({"reverse": true, "boomerang": true}),
            "boomerang_conflict",
            "boomerang",
        ),
        (
            json!({"fade_in": 6, "fade_out": 5}),
            "fade_too_long",
            "fade_out",
        ),
        (json!({"fade_in": 11}), "fade_too_long", "fade_in"),
        (
            json!({"fade_in": 6, "speed": 2}),
            "fade_too_long",
            "fade_in",
        ),
        (
            long(json!({"reverse": true}), 60.1),
            "backward_too_long",
            "end_time",
        ),
        (
            long(json!({"boomerang": true}), 61.0),
            "backward_too_long",
            "end_time",
        ),
        (
            long(json!({"format": "gif"}), 60.1),
            "animation_too_long",
            "end_time",
        ),
        (
            long(json!({"format": "webp", "speed": 0.5}), 31.0),
            "animation_too_long",
            "end_time",
        ),
        (
            long(json!({"format": "gif", "boomerang": true}), 31.0),
            "animation_too_long",
            "end_time",
        ),
        (long(json!({}), 180.1), "clip_too_long", "end_time"),
        (long(json!({}), 0.09), "clip_too_short", "end_time"),
        (
            json!({"mode": "fast", "height": 240}),
            "fast_height",
            "height",
        ),
        (
            json!({"mode": "fast", "format": "gif"}),
            "fast_format",
            "format",
        ),
        (json!({"mode": "fast", "crop": "1:1"}), "fast_look", "crop"),
        (json!({"mode": "fast", "fps": 10}), "fast_look", "fps"),
        (json!({"mode": "fast", "speed": 2}), "fast_look", "speed"),
        (json!({"mode": "fast", "volume": 2}), "fast_look", "volume"),
        (
            json!({"mode": "fast", "loudness": -16}),
            "fast_look",
            "loudness",
        ),
        (
            json!({"mode": "fast", "fade_in": 1}),
            "fast_look",
            "fade_in",
        ),
        (
            json!({"mode": "fast", "fade_out": 1}),
            "fast_look",
            "fade_out",
        ),
        (
            json!({"mode": "fast", "reverse": true}),
            "fast_look",
            "reverse",
        ),
        (
            json!({"mode": "fast", "boomerang": true}),
            "fast_look",
            "boomerang",
        ),
        (
            json!({"mode": "fast", "caption_top": "x"}),
            "fast_look",
            "caption_top",
        ),
        (
            json!({"mode": "fast", "caption_bottom": "x"}),
            "fast_look",
            "caption_bottom",
        ),
        (
            json!({"mode": "fast", "watermark": "x"}),
            "fast_look",
            "watermark",
        ),
        (json!({"mode": "fast", "fit": "10MB"}), "fast_look", "fit"),
        // What a preset brings contradicts like anything else.
        (
            json!({"preset": "gif-small", "volume": 1}),
            "format_conflict",
            "volume",
        ),
        (
            json!({"preset": "audio", "crop": "1:1"}),
            "format_conflict",
            "crop",
        ),
        (
            json!({"preset": "discord", "mode": "fast"}),
            "fast_look",
            "fit",
        ),
    ] {
        refused(&service, more, code, field);
    }
    for more in [
        json!({"mode": "fast", "mute": true}),
        json!({"format": "gif", "mute": true}),
        json!({"format": "jpg", "end_time": null}),
        json!({"format": "jpg", "mute": true, "crop": "1:1", "height": 100, "caption_top": "x", "fit": "10kB"}),
        json!({"format": "m4a", "speed": 2, "volume": 2, "fade_in": 1, "reverse": true, "fit": "10kB"}),
        json!({"fade_in": 5, "fade_out": 5}),
        json!({"preset": "gif-small", "format": "mp4", "volume": 1}),
        json!({"preset": "discord", "fit": null, "mode": "fast"}),
        long(json!({"reverse": true}), 60.0),
        long(json!({"format": "gif", "boomerang": true}), 30.0),
        long(json!({"format": "gif", "speed": 4}), 180.0),
        long(json!({}), 180.0),
    ] {
        understood(&service, more);
    }
}

#[test]
fn a_crop_outside_of_the_picture_is_refused_as_soon_as_the_source_is_known() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&media::tiny());
    let wish = |crop: &str| {
        let body = json!({"url": link, "start_time": 0.5, "end_time": 1, "crop": crop});
        service.post("/api/clips", &body)
    };
    let clip = wish("2000x64+0+0");
    assert_eq!(clip.status, 202, "{}", clip.text());
    let clip = clip.json();
    let failed = service.wait_for(clip["id"].as_str().unwrap(), &["failed"]);
    assert_eq!(failed["error"]["code"], "crop_outside", "{failed}");
    let looked = service.post("/api/sources", &json!({"url": link}));
    assert_eq!(looked.status, 201, "{}", looked.text());
    for (crop, code) in [
        ("2000x64+0+0", "crop_outside"),
        ("64x64+5000+0", "crop_outside"),
        ("1%x1%+0%+0%", "crop_too_small"),
    ] {
        let answer = wish(crop);
        answer.expect_problem(400, code);
        assert_eq!(answer.json()["field"], "crop");
    }
    assert_eq!(wish("1:1").status, 202);
}
