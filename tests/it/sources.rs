//! Sources before they are cut: what they are found to be. What is shown of them, and what is special to uploads, sources in pieces and
//! pages, has files of its own.

mod pages;
mod pieces;
mod previews;
mod stream;
mod uploads;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::frames::{self, Frame};
use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Answer, PATIENCE, Service, Setup};

/// Looks at a source that has to be fine.
#[track_caller]
fn look(service: &Service, url: &str) -> Value {
    let answer = service.post("/api/sources", &json!({"url": url}));
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    answer.json()
}

fn own(source: &Value) -> String {
    source["urls"]["self"].as_str().unwrap().to_owned()
}

/// Asks until it is there, as a page would.
#[track_caller]
fn wait(service: &Service, path: &str) -> Answer {
    let began = Instant::now();
    loop {
        let answer = service.get(path);
        if answer.status != 503 {
            assert_eq!(answer.status, 200, "{}\n{}", answer.text(), service.log());
            return answer;
        }
        answer.expect_problem(503, "preview_pending");
        assert!(!answer.header("retry-after").is_empty());
        assert!(began.elapsed() < PATIENCE, "{}", service.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[track_caller]
fn until(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Eight bars, black or white, that are the frame's number in binary, so that a picture tells its time: 8 s at 25 fps.
fn telling(name: &str, arguments: &str) -> PathBuf {
    media::film(name, MARKS, None, arguments)
}

const LOUD: &str = "aevalsrc='sin(2*PI*500*t)*0.5*between(t,2,2.999)':s=48000:c=mono:d=8";
const MARKS: &str = "nullsrc=size=320x180:rate=25:duration=8,format=yuv420p,\
                     geq=lum='40+180*mod(floor(N/pow(2\\,floor(X/40)))\\,2)':cb=128:cr=128";

fn marked() -> PathBuf {
    telling(
        "marked.mp4",
        "-c:v libx264 -preset veryfast -crf 18 -g 13 -keyint_min 13 -sc_threshold 0 -bf 2 -pix_fmt yuv420p -movflags +faststart",
    )
}

#[test]
fn a_source_is_told_by_what_it_is_made_of() {
    let service = Service::start();
    let (origin, link) = Origin::with(&media::everyday());
    let answer = service.post("/api/sources", &json!({"url": link}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let source = answer.json();
    assert_eq!(answer.header("location"), own(&source));
    assert_eq!(source["url"], link.as_str());
    assert_eq!(source["title"], "everyday");
    assert_eq!(source["container"], "mp4");
    assert_eq!(
        source["video"],
        json!({"codec": "h264", "width": 640, "height": 360, "fps": 30.0, "rotation": 0, "pixel_format": "yuv420p"})
    );
    assert_eq!(
        source["audio"],
        json!({"codec": "aac", "channels": 2, "rate": 48_000})
    );
    assert!((source["duration"].as_f64().unwrap() - 12.0).abs() < 0.1);
    let keys = json!([0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    assert_eq!(
        (&source["keyframes"], &source["snap_points"]),
        (&keys, &keys)
    );
    assert_eq!(
        source["splice"],
        json!({"possible": true, "reason": "exact"})
    );
    assert_eq!(source["playable"], true);
    for empty in ["preview", "thumbnail"] {
        assert!(source[empty].is_null());
    }
    for empty in ["chapters", "heatmap"] {
        assert_eq!(source[empty], json!([]));
    }
    let size = std::fs::metadata(media::everyday()).unwrap().len();
    assert!(source["bytes_fetched"].as_u64().unwrap() < size / 4);
    assert!(origin.sent() < size / 4);
    let estimate = &source["estimate"];
    assert_eq!(estimate["method"], "splice");
    assert!(estimate["seconds"].as_f64().unwrap() > 0.0 && estimate["bytes"].as_u64().unwrap() > 0);
    // Shown again as it was.
    let again = service.get(&own(&source));
    assert_eq!((again.status, again.json()), (200, source));
    service
        .get("/api/sources/0192f0c1-2345-7abc-8def-0123456789ab")
        .expect_problem(404, "not_found");
    service
        .get("/api/sources/x")
        .expect_problem(404, "not_found");
}

#[test]
fn other_containers_and_codecs_are_told_too() {
    let service = Service::start();
    let origin = Origin::start();
    let short = media::short();
    let cases = [
        (
            media::film(
                "look.webm",
                &media::pictures("160x90", "25", 2.0),
                Some(&media::sound(48_000, 2.0)),
                "-c:v libvpx -deadline realtime -b:v 300k -c:a libvorbis",
            ),
            ("webm", "vp8", "vorbis", true, "codec"),
        ),
        (
            media::remuxed("look.mkv", &short, ""),
            ("matroska", "h264", "aac", false, "exact"),
        ),
        (
            media::remuxed("look.ts", &short, ""),
            ("mpegts", "h264", "aac", false, "exact"),
        ),
        (
            media::film(
                "look-hevc.mp4",
                &media::pictures("160x90", "25", 2.0),
                Some(&media::sound(48_000, 2.0)),
                "-c:v libx265 -x265-params log-level=none -preset ultrafast -pix_fmt yuv420p -c:a aac",
            ),
            ("mp4", "hevc", "aac", false, "codec"),
        ),
    ];
    for (path, (container, video, audio, playable, reason)) in cases {
        let name = format!("/{}", path.file_name().unwrap().to_str().unwrap());
        let source = look(&service, &origin.add(&name, Behaviour::File(path)));
        let told = [
            &source["container"],
            &source["video"]["codec"],
            &source["audio"]["codec"],
        ];
        assert_eq!(told, [container, video, audio], "{source}");
        assert_eq!(source["playable"], playable, "{source}");
        assert_eq!(source["splice"]["reason"], reason, "{source}");
        assert_eq!(source["preview"].is_null(), playable, "{source}");
        // A link of this kind would have to be read to its end.
        assert!(source["keyframes"].is_null());
    }
    let turned = media::turned("look-turned.mp4", &short, 90);
    let source = look(
        &service,
        &origin.add("/turned.mp4", Behaviour::File(turned)),
    );
    let video = &source["video"];
    assert_eq!(
        (&video["width"], &video["height"], &video["rotation"]),
        (&json!(180), &json!(320), &json!(90))
    );
    assert!(source["urls"]["waveform"].is_string());
    let silent = look(
        &service,
        &origin.add("/marked.mp4", Behaviour::File(marked())),
    );
    assert!(silent["urls"]["waveform"].is_null() && silent["audio"].is_null());
}

#[test]
fn titles_come_from_the_file_and_are_cleaned() {
    let service = Service::start();
    let origin = Origin::start();
    let titled = |name: &str, arguments: &str| {
        media::made(name, |path| {
            let mut list = vec!["-i"];
            let short = media::short();
            let short = short.to_str().unwrap().to_owned();
            list.extend([short.as_str(), "-c", "copy"]);
            list.extend(arguments.split_whitespace());
            list.extend(["-metadata", "title=A\u{202e} film\u{200b}\n of  ours", path]);
            media::ffmpeg(&list);
        })
    };
    for (path, file) in [
        ("/a.mp4", titled("titled.mp4", "-movflags +faststart")),
        ("/b.mp4", titled("titled-late.mp4", "")),
        ("/c.mkv", titled("titled.mkv", "")),
    ] {
        let source = look(&service, &origin.add(path, Behaviour::File(file)));
        assert_eq!(source["title"], "A film of ours", "{path}");
    }
    // A clip without a title has that of its source, once somebody looked at it.
    let clip =
        service.submit(&json!({"url": origin.link("/a.mp4"), "start_time": 0, "end_time": 1}));
    assert_eq!(clip["title"], "A film of ours");
    let clip = service.submit(
        &json!({"url": origin.link("/a.mp4"), "start_time": 0, "end_time": 1, "title": "Mine"}),
    );
    assert_eq!(clip["title"], "Mine");
    let link = origin.add("/x", Behaviour::File(media::short()));
    let named = link.replace("/x", "/%E2%80%AEe%CC%81t%C3%A9%0A%20.mp4");
    origin.add(
        "/%E2%80%AEe%CC%81t%C3%A9%0A%20.mp4",
        Behaviour::File(media::short()),
    );
    assert_eq!(look(&service, &named)["title"], "été");
}

#[test]
fn the_same_link_is_looked_at_once_while_it_is_fresh() {
    let service = Service::start();
    let (origin, link) = Origin::with(&media::everyday());
    let ids: Vec<String> = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| look(&service, &link)["id"].as_str().unwrap().to_owned()))
            .collect();
        askers
            .into_iter()
            .map(|asker| asker.join().unwrap())
            .collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let requests = origin.requests().len();
    let again = service.post(
        "/api/sources",
        &json!({"url": link, "start_time": 3, "end_time": "0:05", "mode": "fast"}),
    );
    assert_eq!(again.status, 200);
    // The question may be another one.
    let estimate = &again.json()["estimate"];
    assert_eq!(
        (&estimate["start"], &estimate["end"], &estimate["method"]),
        (&json!(3.0), &json!(5.0), &json!("copy"))
    );
    assert_eq!(origin.requests().len(), requests);
    let never = Setup::default().with("SOURCES__FRESH_SECONDS", 0).start();
    let first = look(&never, &link);
    until("a moment later", || {
        look(&never, &link)["id"] != first["id"]
    });
}

#[test]
fn what_cannot_be_looked_at_is_refused_with_a_reason() {
    let service = Setup::default().with("ENGINE__PROBE_SECONDS", 3).start();
    let origin = Origin::start();
    let refused = |body: Value, status, code| {
        service
            .post("/api/sources", &body)
            .expect_problem(status, code);
    };
    refused(
        json!({"url": "https://x.org/v", "title": "x"}),
        400,
        "json_unknown_field",
    );
    refused(json!({}), 400, "source_missing");
    refused(json!({"url": "file:///etc/passwd"}), 400, "url_scheme");
    refused(json!({"url": "http://10.0.0.1/v.mp4"}), 403, "url_blocked");
    refused(
        json!({"url": "http://169.254.169.254/latest"}),
        403,
        "url_blocked",
    );
    refused(
        json!({"url": origin.link("/none.mp4")}),
        502,
        "source_unreachable",
    );
    let text = Behaviour::Bytes {
        bytes: b"plain text".repeat(50),
        claimed: 500,
    };
    refused(
        json!({"url": origin.add("/text.mp4", text)}),
        422,
        "source_unsupported",
    );
    refused(
        json!({"url": origin.add("/silent.mp4", Behaviour::Silent)}),
        504,
        "source_timeout",
    );
    let song = media::film(
        "song.m4a",
        "color=size=16x16:duration=0.1",
        Some(&media::sound(48_000, 1.0)),
        "-map 1:a -c:a aac",
    );
    refused(
        json!({"url": origin.add("/song.m4a", Behaviour::File(song))}),
        422,
        "source_no_video",
    );
    let answer = service.request(
        "POST",
        "/api/sources",
        &[("content-type", "text/plain")],
        b"{}",
    );
    answer.expect_problem(415, "content_type");
    // Nothing of it is left behind.
    let making = service.data.join("previews/.making");
    until("folders are cleared away", || {
        making.read_dir().unwrap().next().is_none()
    });
}

#[test]
fn looks_are_bounded_and_leave_clips_alone() {
    let service = Setup::default()
        .with("SOURCES__PROBES", 1)
        .with("ENGINE__PROBE_SECONDS", 8)
        .start();
    let origin = Origin::start();
    let silent = origin.add("/silent.mp4", Behaviour::Silent);
    let link = origin.add("/v.mp4", Behaviour::File(media::tiny()));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| service.post("/api/sources", &json!({"url": silent})));
        until("the first look is under way", || origin.open() > 0);
        // Another visitor: one's own looks wait for each other.
        let headers = [
            ("content-type", "application/json"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        let body = json!({"url": link}).to_string();
        let second = service.request("POST", "/api/sources", &headers, body.as_bytes());
        second.expect_problem(503, "sources_busy");
        assert!(!second.header("retry-after").is_empty());
        let clip = json!({"url": link, "start_time": 0.5, "end_time": 1.5, "mode": "fast"});
        service.make(&clip);
        first.join().unwrap().expect_problem(504, "source_timeout");
    });
    assert_eq!(look(&service, &link)["playable"], true);
}

#[test]
fn a_link_that_leads_inside_is_followed_by_nobody() {
    let service = Service::start();
    let (origin, canary) = (Origin::start(), Origin::start_at("127.0.0.2"));
    canary.add("/secret.mp4", Behaviour::File(media::short()));
    let guarded = Setup::default().with("EGRESS__ALLOW", "127.0.0.1").start();
    let inside = canary.link("/secret.mp4");
    let hop = origin.add("/hop.mp4", Behaviour::Redirect(inside));
    guarded
        .post("/api/sources", &json!({"url": hop}))
        .expect_problem(403, "url_blocked");
    // It was well-behaved when it was looked at.
    let link = origin.add("/film.mp4", Behaviour::File(media::short()));
    let source = look(&guarded, &link);
    origin.add("/film.mp4", Behaviour::Redirect(canary.link("/secret.mp4")));
    for path in ["stream", "filmstrip", "waveform"] {
        let answer = guarded.get(&format!("{}/{path}", own(&source)));
        answer.expect_problem(403, "url_blocked");
    }
    assert_eq!((canary.requests().len(), canary.sent()), (0, 0));
    // Where both may be reached, it is only a redirect.
    let source = look(&service, &hop);
    assert_eq!(service.get(&format!("{}/stream", own(&source))).status, 200);
}

/// A part of the sheet as a grey picture of its own size.
fn tile(sheet: &Path, place: [u32; 4]) -> Vec<u8> {
    let [x, y, width, height] = place;
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(sheet)
        .args(["-vf", &format!("crop={width}:{height}:{x}:{y},format=gray")])
        .args(["-f", "rawvideo", "-"])
        .output()
        .unwrap();
    assert_eq!(output.stdout.len(), (width * height) as usize);
    output.stdout
}

/// Cues of a WebVTT file: start, end, and the place on the sheet.
fn cues(text: &str) -> Vec<(f64, f64, [u32; 4])> {
    let clock = |text: &str| {
        let parts = text
            .trim()
            .split(':')
            .map(|part| part.parse::<f64>().unwrap());
        parts.fold(0.0, |sum, part| sum * 60.0 + part)
    };
    assert!(text.starts_with("WEBVTT\n"), "{text}");
    text.split("\n\n")
        .skip(1)
        .map(|cue| {
            let (times, link) = cue.trim().split_once('\n').unwrap();
            let (start, end) = times.split_once("-->").unwrap();
            let (_, place) = link.split_once("filmstrip#xywh=").unwrap();
            let place: Vec<u32> = place
                .split(',')
                .map(|number| number.parse().unwrap())
                .collect();
            (clock(start), clock(end), place.try_into().unwrap())
        })
        .collect()
}

/// How far two pictures of one size lie apart, by every third point.
fn distance(one: &[u8], other: &[u8]) -> f64 {
    let points = one.iter().zip(other).step_by(3);
    let sum: u64 = points.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / (one.len() / 3) as f64
}

/// The frame that a picture looks most like, and how far they lie apart.
fn nearest<'a>(frames: &'a [Frame], picture: &[u8]) -> (&'a Frame, f64) {
    let apart = frames
        .iter()
        .map(|frame| (frame, distance(&frame.luma, picture)));
    apart.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

/// Holds every tile against the frame that the source shows at its time: no other frame of it is nearer.
#[track_caller]
fn strip_matches(service: &Service, source: &Value, frames: &[Frame], step: f64) -> usize {
    let path = source["urls"]["filmstrip"].as_str().unwrap();
    let sheet = wait(service, path);
    assert_eq!(sheet.header("content-type"), "image/jpeg");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sheet.jpg");
    std::fs::write(&file, &sheet.bytes).unwrap();
    let vtt = wait(service, source["urls"]["filmstrip_vtt"].as_str().unwrap());
    assert_eq!(vtt.header("content-type"), "text/vtt; charset=utf-8");
    let asked = service.request("GET", path, &[("accept", "text/vtt")], b"");
    assert_eq!(asked.text(), vtt.text());
    let cues = cues(&vtt.text());
    let mut last = 0.0;
    for (number, (start, end, place)) in cues.iter().enumerate() {
        assert!(
            (start - last).abs() < 0.0015 && end > start,
            "{}",
            vtt.text()
        );
        last = *end;
        let picture = tile(&file, *place);
        let (frame, apart) = nearest(frames, &picture);
        assert!(apart < 6.0, "{apart} at {start}");
        // The first picture stands for all that is before it.
        let shown = if number == 0 { frames[0].time } else { *start };
        assert!(
            (frame.time - shown).abs() < step,
            "{} at {start}",
            frame.time
        );
    }
    // Fragments are said to end where their decoding does.
    assert!((last - source["duration"].as_f64().unwrap()).abs() < 0.09);
    cues.len()
}

/// The copy for browsers, once it is made.
#[track_caller]
fn copy_of(service: &Service, source: &Value, dir: &Path) -> PathBuf {
    let stream = source["urls"]["stream"].as_str().unwrap();
    service.get(stream).expect_problem(503, "preview_pending");
    let copy = wait(service, stream);
    assert_eq!(copy.header("content-type"), "video/mp4");
    let part = service.request("GET", stream, &[("range", "bytes=4-7")], b"");
    assert_eq!((part.status, part.text().as_str()), (206, "ftyp"));
    let path = dir.join("copy.mp4");
    std::fs::write(&path, &copy.bytes).unwrap();
    path
}

/// Each frame of the copy looks as the source does at its time, and as at no other; the last one's time.
#[track_caller]
fn copy_matches(copy: &Path, of_source: &[Frame]) -> f64 {
    let of_copy = frames::decode(copy, Some((80, 46)));
    for frame in of_copy.iter().step_by(9) {
        let (same, _) = nearest(of_source, &frame.luma);
        assert!(
            (same.time - frame.time).abs() < 0.021,
            "{} looks like {}",
            frame.time,
            same.time
        );
    }
    of_copy.last().unwrap().time
}

/// The highest and lowest points of a waveform, and how many seconds one of them is.
#[track_caller]
fn peaks(service: &Service, source: &Value) -> (Vec<(f64, f64)>, f64) {
    let wave = wait(service, source["urls"]["waveform"].as_str().unwrap()).json();
    let data: Vec<f64> = wave["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect();
    let pixel = wave["samples_per_pixel"].as_f64().unwrap() / wave["sample_rate"].as_f64().unwrap();
    let pairs = data.chunks(2).map(|pair| (pair[0], pair[1]));
    (pairs.collect(), pixel)
}

/// As [`marked`], with sound that is loud in the third second alone.
fn marked_with_sound() -> PathBuf {
    media::film(
        "marked-sound.mp4",
        MARKS,
        Some(LOUD),
        "-c:v libx264 -preset veryfast -crf 18 -g 13 -keyint_min 13 -sc_threshold 0 -bf 2 -pix_fmt yuv420p -c:a aac -b:a 96k \
         -movflags +faststart",
    )
}

/// Where the sound of [`marked_with_sound`] begins and ends in a waveform.
#[track_caller]
fn loud(service: &Service, source: &Value) -> (f64, f64) {
    let (peaks, pixel) = peaks(service, source);
    let loud = |(_, high): &(f64, f64)| *high > 30.0;
    let first = peaks.iter().position(loud).unwrap();
    let last = peaks.iter().rposition(loud).unwrap();
    (first as f64 * pixel, (last + 1) as f64 * pixel)
}

#[test]
fn an_index_behind_the_pictures_is_no_hindrance_where_a_server_gives_no_ranges() {
    let service = Service::start();
    let origin = Origin::start();
    let film = media::remuxed("index-behind.mp4", &media::short(), "");
    let link = origin.add("/behind.mp4", Behaviour::WithoutRanges(film));
    let seen = look(&service, &link);
    assert_eq!(seen["playable"], true, "{seen}");
    assert_eq!(seen["video"]["pixel_format"], "yuv420p", "{seen}");
}
