//! Sources before they are cut: what they are found to be, their bytes for a browser, filmstrip, waveform and the copy for browsers.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::frames::{self, Frame};
use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Answer, PATIENCE, Service, Setup};
use crate::support::wire;

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
    let pictures = "nullsrc=size=320x180:rate=25:duration=8,format=yuv420p,\
                    geq=lum='40+180*mod(floor(N/pow(2\\,floor(X/40)))\\,2)':cb=128:cr=128";
    media::film(name, pictures, None, arguments)
}

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
    refused(json!({}), 400, "url_missing");
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
        let second = service.post("/api/sources", &json!({"url": link}));
        second.expect_problem(503, "sources_busy");
        assert!(!second.header("retry-after").is_empty());
        let clip = json!({"url": link, "start_time": 0.5, "end_time": 1.5, "mode": "fast"});
        service.make(&clip);
        first.join().unwrap().expect_problem(504, "source_timeout");
    });
    assert_eq!(look(&service, &link)["playable"], true);
}

#[test]
fn an_open_stream_does_not_keep_the_service_from_stopping() {
    let mut service = Service::start();
    let origin = Origin::start();
    let link = origin.add("/v.mp4", Behaviour::File(media::short()));
    let path = format!("{}/stream", own(&look(&service, &link)));
    let endless = Behaviour::Endless {
        head: Vec::new(),
        again: vec![7; 1024],
    };
    origin.add("/v.mp4", endless);
    let mut stream = service.raw();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
    until("bytes come", || origin.sent() > 1 << 20);
    service.signal("TERM");
    assert!(service.ended().success());
    reading.join().unwrap();
    until("the upstream is closed", || origin.open() == 0);
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

#[test]
fn a_stream_gives_the_very_bytes_of_any_range() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&media::everyday());
    let file = std::fs::read(media::everyday()).unwrap();
    let path = format!("{}/stream", own(&look(&service, &link)));
    let whole = service.get(&path);
    assert!(whole.status == 200 && whole.bytes == file);
    let length = file.len();
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=0-".to_owned(), 0, length),
        ("bytes=1000-200999".to_owned(), 1000, 201_000),
        (format!("bytes={}-", length - 10), length - 10, length),
        (
            format!("bytes={}-{}", length - 10, length + 100),
            length - 10,
            length,
        ),
    ] {
        let part = service.request("GET", &path, &[("range", &range)], b"");
        assert_eq!(part.status, 206, "{range}: {}", part.text());
        assert!(part.bytes == file[from..to], "{range}");
        assert_eq!(
            part.header("content-range"),
            format!("bytes {from}-{}/{length}", to - 1)
        );
        assert_eq!(part.header("content-length"), (to - from).to_string());
    }
    let beyond = format!("bytes={length}-");
    let none = service.request("GET", &path, &[("range", &beyond)], b"");
    none.expect_problem(416, "range_invalid");
    assert_eq!(none.header("content-range"), format!("bytes */{length}"));
    // Several ranges in one request are none.
    let several = service.request("GET", &path, &[("range", "bytes=0-1,5-6")], b"");
    assert_eq!((several.status, several.bytes.len()), (200, length));
    let head = service.request("HEAD", &path, &[], b"");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, length.to_string())
    );
    assert_eq!(head.header("content-type"), "video/mp4");
    let head = service.request("HEAD", &path, &[("range", "bytes=5-9")], b"");
    assert_eq!(
        (head.status, head.header("content-length")),
        (206, "5".to_owned())
    );
    // The connection is still good for another request after a HEAD.
    let mut stream = service.raw();
    write!(stream, "HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let more = "Host: x\r\nRange: bytes=4-7\r\nConnection: close\r\n\r\n";
    write!(stream, "GET {path} HTTP/1.1\r\n{more}").unwrap();
    assert_eq!(wire::read(stream).text(), "ftyp");
}

#[test]
fn a_server_without_ranges_gives_all_of_it() {
    let service = Service::start();
    let origin = Origin::start();
    let link = origin.add("/v.mp4", Behaviour::WithoutRanges(media::short()));
    let file = std::fs::read(media::short()).unwrap();
    let path = format!("{}/stream", own(&look(&service, &link)));
    for headers in [&[][..], &[("range", "bytes=5-9")][..]] {
        let answer = service.request("GET", &path, headers, b"");
        assert!(answer.status == 200 && answer.bytes == file);
        assert_eq!(answer.header("content-range"), "");
    }
}

#[test]
fn nothing_of_the_upstreams_head_is_passed_on() {
    let service = Service::start();
    let origin = Origin::start();
    let file = std::fs::read(media::short()).unwrap();
    let link = origin.add("/v.mp4", Behaviour::File(media::short()));
    let path = format!("{}/stream", own(&look(&service, &link)));
    let mut raw = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: text/html\r\nSet-Cookie: a=b\r\nServer: evil\r\n\
         Content-Disposition: attachment; filename=x.html\r\nAccess-Control-Allow-Origin: *\r\nX-Accel-Redirect: /x\r\n\
         Content-Security-Policy: default-src *\r\nLocation: http://x\r\nRefresh: 0\r\nAlt-Svc: x\r\nLink: <x>\r\n\
         Content-Encoding: identity\r\n\r\n",
        file.len()
    )
    .into_bytes();
    raw.extend(&file);
    origin.add("/v.mp4", Behaviour::Raw(raw));
    let answer = service.get(&path);
    assert!(answer.status == 200 && answer.bytes == file);
    let mut names: Vec<&str> = answer.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "cache-control",
            "content-length",
            "content-security-policy",
            "content-type",
            "cross-origin-resource-policy",
            "date",
            "referrer-policy",
            "x-accel-buffering",
            "x-content-type-options",
            "x-request-id"
        ]
    );
    for (name, value) in [
        ("content-type", "video/mp4"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "private, no-store"),
    ] {
        assert_eq!(answer.header(name), value);
    }
}

#[test]
fn an_upstream_that_lies_is_found_out() {
    let service = Service::start();
    let origin = Origin::start();
    let link = origin.add("/v.mp4", Behaviour::File(media::short()));
    let path = format!("{}/stream", own(&look(&service, &link)));
    let asked = |raw: &str| {
        origin.add("/v.mp4", Behaviour::Raw(raw.as_bytes().to_vec()));
        wire::get(&service, &path, "Range: bytes=10-19\r\n")
    };
    for lie in [
        // Another part, more than was asked for, a part that is not told, another length, coded bytes.
        "HTTP/1.1 206 X\r\nContent-Range: bytes 0-9/100\r\nContent-Length: 10\r\n\r\n0123456789",
        "HTTP/1.1 206 X\r\nContent-Range: bytes 10-20/100\r\nContent-Length: 11\r\n\r\n0123456789a",
        "HTTP/1.1 206 X\r\nContent-Length: 10\r\n\r\n0123456789",
        "HTTP/1.1 206 X\r\nContent-Range: bytes 10-19/100\r\nContent-Length: 5\r\n\r\n01234",
        "HTTP/1.1 206 X\r\nContent-Range: bytes 19-10/100\r\nContent-Length: 10\r\n\r\n0123456789",
        "HTTP/1.1 206 X\r\nContent-Range: bytes 10-19/100\r\nContent-Length: 10\r\nContent-Encoding: gzip\r\n\r\n0123456789",
        "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 X\r\n\r\n",
        "no answer at all",
        "",
    ] {
        let reply = asked(lie);
        assert_eq!(reply.status, 502, "{lie}: {}", reply.head);
        assert!(
            reply.text().contains("\"source_unreachable\""),
            "{lie}: {}",
            reply.text()
        );
    }
    // Less than was asked for is allowed, and told as what it is.
    let less =
        asked("HTTP/1.1 206 X\r\nContent-Range: bytes 10-14/100\r\nContent-Length: 5\r\n\r\n01234");
    assert_eq!(
        (less.status, less.header("content-range")),
        (206, "bytes 10-14/100")
    );
    assert_eq!(less.text(), "01234");
    // More than was promised goes to nobody.
    let more = asked("HTTP/1.1 206 X\r\nContent-Range: bytes 10-14/100\r\n\r\n0123456789");
    assert_eq!((more.status, more.text().as_str()), (206, "01234"));
    // It dies in the middle: the answer ends before its time.
    let dies =
        asked("HTTP/1.1 206 X\r\nContent-Range: bytes 10-19/100\r\nContent-Length: 10\r\n\r\n0123");
    assert_eq!((dies.status, dies.header("content-length")), (206, "10"));
    assert!(dies.body.len() < 10);
    // After all that the service is as well as before.
    origin.add("/v.mp4", Behaviour::File(media::short()));
    assert_eq!(service.get(&path).status, 200);
}

#[test]
fn a_browser_that_leaves_takes_its_upstream_with_it_and_one_that_waits_makes_it_wait() {
    let service = Setup::default()
        .with("SOURCES__STREAMS_PER_VISITOR", 2)
        .start();
    let origin = Origin::start();
    let link = origin.add("/v.mp4", Behaviour::File(media::short()));
    let path = format!("{}/stream", own(&look(&service, &link)));
    until("the look is over", || origin.open() == 0);
    let endless = Behaviour::Endless {
        head: Vec::new(),
        again: vec![7; 64 * 1024],
    };
    origin.add("/v.mp4", endless);
    let open = || {
        let mut stream = service.raw();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut first = [0; 1];
        stream.read_exact(&mut first).unwrap();
        stream
    };
    let before = origin.sent();
    let (one, two) = (open(), open());
    assert_eq!(origin.open(), 2);
    // A third is one too many.
    let third = service.get(&path);
    third.expect_problem(429, "streams_too_many");
    assert!(!third.header("retry-after").is_empty());
    // Nobody reads on: what is under way fills the sockets between, and no more comes.
    let settled = || {
        let sent = origin.sent();
        std::thread::sleep(Duration::from_millis(300));
        origin.sent() == sent
    };
    until("the upstream waits for the reader", settled);
    assert!(origin.sent() - before < 64 << 20, "{}", origin.sent());
    drop(one);
    until("the first upstream is closed", || origin.open() == 1);
    drop(two);
    until("the second upstream is closed", || origin.open() == 0);
    origin.add("/v.mp4", Behaviour::File(media::short()));
    until("its place is free again", || {
        service.get(&path).status == 200
    });
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
    for (start, end, place) in &cues {
        assert!(
            (start - last).abs() < 0.0015 && end > start,
            "{}",
            vtt.text()
        );
        last = *end;
        let picture = tile(&file, *place);
        let (frame, apart) = nearest(frames, &picture);
        assert!(apart < 6.0, "{apart} at {start}");
        assert!(
            (frame.time - start).abs() < step,
            "{} at {start}",
            frame.time
        );
    }
    assert!((last - source["duration"].as_f64().unwrap()).abs() < 0.01);
    cues.len()
}

#[test]
fn the_filmstrip_shows_what_the_source_shows_at_those_times() {
    let service = Service::start();
    let origin = Origin::start();
    let file = marked();
    let frames = frames::decode(&file, Some((160, 90)));
    let link = origin.add("/a.mp4", Behaviour::File(file.clone()));
    // 8 s with a keyframe every 13 frames.
    assert_eq!(
        strip_matches(&service, &look(&service, &link), &frames, 0.002),
        16
    );
    // The same by way of a copy, since its tables are of no use.
    let other = media::remuxed("marked.mkv", &file, "");
    let link = origin.add("/b.mkv", Behaviour::File(other));
    assert_eq!(
        strip_matches(&service, &look(&service, &link), &frames, 0.002),
        16
    );
    // A transport stream begins at another time.
    let other = media::remuxed("marked.ts", &file, "");
    let link = origin.add("/c.ts", Behaviour::File(other));
    assert_eq!(
        strip_matches(&service, &look(&service, &link), &frames, 0.002),
        16
    );
    let turned = media::turned("marked-turned.mp4", &file, 90);
    let frames = frames::decode(&turned, Some((160, 284)));
    let link = origin.add("/d.mp4", Behaviour::File(turned));
    assert_eq!(
        strip_matches(&service, &look(&service, &link), &frames, 0.002),
        16
    );
}

#[test]
fn the_filmstrip_of_a_plain_mp4_costs_its_keyframes_alone() {
    let service = Service::start();
    let film = media::long();
    let (origin, link) = Origin::with(&film);
    let source = look(&service, &link);
    let before = origin.sent();
    let answer = wait(&service, source["urls"]["filmstrip"].as_str().unwrap());
    assert!(answer.bytes.starts_with(&[0xff, 0xd8]));
    let size = std::fs::metadata(&film).unwrap().len();
    let sent = origin.sent() - before;
    assert!(sent < size / 4, "{sent} of {size}");
    // And nothing once it is there.
    let (requests, etag) = (origin.requests().len(), answer.header("etag"));
    let again = service.request(
        "GET",
        source["urls"]["filmstrip"].as_str().unwrap(),
        &[("if-none-match", &etag)],
        b"",
    );
    assert_eq!(again.status, 304);
    assert_eq!(origin.requests().len(), requests);
    assert!(
        answer
            .header("cache-control")
            .starts_with("private, max-age=")
    );
}

#[test]
fn two_who_ask_at_once_have_one_made() {
    let service = Service::start();
    let (origin, link) = Origin::with(&media::everyday());
    let source = look(&service, &link);
    let before = origin.requests().len();
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| wait(&service, source["urls"]["filmstrip"].as_str().unwrap()));
        }
    });
    let made = |log: &str| log.matches("preview made").count();
    until("it is in the log", || made(&service.log()) > 0);
    assert_eq!(made(&service.log()), 1);
    // The index, then six keyframes.
    assert!(
        origin.requests().len() - before <= 8,
        "{:?}",
        origin.requests()
    );
}

#[test]
fn the_waveform_has_the_peaks_of_the_sound() {
    let service = Service::start();
    let origin = Origin::start();
    // A second at half, a second of silence, a second at a quarter, one at full.
    let sound = "aevalsrc='sin(2*PI*500*t)*(0.5*lt(t,1)+0.25*between(t,2,2.999)+0.999*gte(t,3))':s=48000:c=mono:d=4";
    let pictures = media::gentle("160x90", "25", 4.0);
    let film = |name: &str, arguments: &str| media::film(name, &pictures, Some(sound), arguments);
    for (path, file) in [
        (
            "/a.mp4",
            film("tone.mp4", &format!("{} -movflags +faststart", media::H264)),
        ),
        (
            "/b.mkv",
            film(
                "tone.mkv",
                "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a pcm_s16le",
            ),
        ),
        (
            "/c.ts",
            film(
                "tone.ts",
                "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -b:a 192k",
            ),
        ),
    ] {
        let source = look(&service, &origin.add(path, Behaviour::File(file)));
        let answer = wait(&service, source["urls"]["waveform"].as_str().unwrap());
        assert_eq!(answer.header("content-type"), "application/json");
        let wave = answer.json();
        for (key, value) in [
            ("version", 2),
            ("channels", 1),
            ("bits", 8),
            ("sample_rate", 48_000),
        ] {
            assert_eq!(wave[key], value);
        }
        let data: Vec<f64> = wave["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_f64().unwrap())
            .collect();
        let length = wave["length"].as_u64().unwrap() as usize;
        assert_eq!(data.len(), 2 * length);
        assert!(length <= 2000);
        let pixel = wave["samples_per_pixel"].as_f64().unwrap() / 48_000.0;
        assert!(
            (length as f64 * pixel - 4.0).abs() < 0.15,
            "{path}: {length} of {pixel}"
        );
        for (from, to, level) in [
            (0.1, 0.9, 64.0),
            (1.1, 1.9, 0.0),
            (2.1, 2.9, 32.0),
            (3.1, 3.9, 127.0),
        ] {
            for place in (from / pixel) as usize..(to / pixel) as usize {
                let (low, high) = (data[2 * place], data[2 * place + 1]);
                assert!(
                    (high - level).abs() < 6.0 && (low + level).abs() < 6.0,
                    "{path}: {low} to {high} at {}",
                    place as f64 * pixel
                );
            }
        }
    }
    let silent = look(&service, &origin.add("/d.mp4", Behaviour::File(marked())));
    service
        .get(&format!("{}/waveform", own(&silent)))
        .expect_problem(404, "source_no_sound");
}

#[test]
fn the_waveform_of_a_plain_mp4_costs_its_sound_alone() {
    let service = Service::start();
    // Pictures that are so large that what lies between two pieces of sound is worth leaving out.
    let film = media::film(
        "heavy.mp4",
        &media::pictures("1280x720", "25", 6.0),
        Some(&media::sound(48_000, 6.0)),
        "-c:v libx264 -preset ultrafast -b:v 30M -g 25 -pix_fmt yuv420p -c:a aac -b:a 96k -movflags +faststart",
    );
    let (origin, link) = Origin::with(&film);
    let source = look(&service, &link);
    let before = origin.sent();
    wait(&service, source["urls"]["waveform"].as_str().unwrap());
    let (sent, size) = (
        origin.sent() - before,
        std::fs::metadata(&film).unwrap().len(),
    );
    assert!(sent < size / 4, "{sent} of {size}");
}

#[test]
fn what_browsers_cannot_play_is_copied_for_them_on_the_same_time_line() {
    let service = Service::start();
    let origin = Origin::start();
    let cases = [
        (
            "/a.mp4",
            telling(
                "copy-hevc.mp4",
                "-c:v libx265 -x265-params log-level=none:keyint=25 -preset ultrafast -pix_fmt yuv420p",
            ),
        ),
        (
            "/b.avi",
            telling("copy-mpeg4.avi", "-c:v mpeg4 -q:v 3 -pix_fmt yuv420p"),
        ),
        ("/c.mkv", media::remuxed("copy.mkv", &marked(), "")),
        ("/d.ts", media::remuxed("copy.ts", &marked(), "")),
    ];
    for (path, file) in cases {
        let source = look(&service, &origin.add(path, Behaviour::File(file.clone())));
        assert_eq!(source["playable"], false, "{path}");
        assert_eq!(
            source["preview"],
            json!({"state": "absent", "progress": 0.0}),
            "{path}"
        );
        let stream = source["urls"]["stream"].as_str().unwrap();
        service.get(stream).expect_problem(503, "preview_pending");
        let told = service.get(&own(&source)).json()["preview"]["state"].clone();
        assert!(
            ["pending", "ready"].contains(&told.as_str().unwrap()),
            "{told}"
        );
        let copy = wait(&service, stream);
        assert_eq!(copy.header("content-type"), "video/mp4");
        assert_eq!(
            service.get(&own(&source)).json()["preview"]["state"],
            "ready"
        );
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("copy.mp4");
        std::fs::write(&made, &copy.bytes).unwrap();
        let probed = frames::ffprobe(
            &made,
            &[
                "-select_streams",
                "v:0",
                "-show_entries",
                "stream=codec_name,pix_fmt",
                "-of",
                "csv=p=0",
            ],
        );
        assert_eq!(probed.trim(), "h264,yuv420p", "{path}");
        // Each frame of the copy looks as the source does at its time, and as at no other.
        let of_source = frames::decode(&file, Some((80, 46)));
        let zero = if path.ends_with("ts") {
            of_source[0].time
        } else {
            0.0
        };
        let of_copy = frames::decode(&made, Some((80, 46)));
        assert!(
            of_copy.len() + 2 >= of_source.len(),
            "{path}: {} frames",
            of_copy.len()
        );
        for frame in of_copy.iter().step_by(9) {
            let (same, _) = nearest(&of_source, &frame.luma);
            let time = same.time - zero;
            assert!(
                (time - frame.time).abs() < 0.021,
                "{path}: {} looks like {time}",
                frame.time
            );
        }
        // Ranges of the copy are ranges.
        let part = service.request("GET", stream, &[("range", "bytes=4-7")], b"");
        assert_eq!((part.status, part.text().as_str()), (206, "ftyp"));
    }
}

fn kept(service: &Service) -> Vec<String> {
    let mut found = Vec::new();
    for folder in service.data.join("previews").read_dir().unwrap().flatten() {
        if folder.file_name() != ".making" {
            for file in folder.path().read_dir().unwrap().flatten() {
                found.push(file.file_name().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn previews_stay_within_their_budget() {
    let origin = Origin::start();
    let link = |number: usize| {
        origin.add(
            &format!("/{number}.mp4"),
            Behaviour::File(media::everyday()),
        )
    };
    let first = Service::start();
    wait(
        &first,
        look(&first, &link(0))["urls"]["filmstrip"]
            .as_str()
            .unwrap(),
    );
    let folder = first.data.join("previews");
    let one = folder
        .read_dir()
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name() != ".making")
        .unwrap();
    let size: u64 = one
        .path()
        .read_dir()
        .unwrap()
        .flatten()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    let service = Setup::default()
        .with("STORAGE__PREVIEW_BYTES", size * 5 / 2)
        .start();
    let sources: Vec<Value> = (1..=3)
        .map(|number| look(&service, &link(number)))
        .collect();
    let strip = |number: usize| sources[number]["urls"]["filmstrip"].as_str().unwrap();
    let there = |number: usize| {
        service
            .data
            .join("previews")
            .join(sources[number]["id"].as_str().unwrap())
            .join("filmstrip.jpg")
            .exists()
    };
    wait(&service, strip(0));
    wait(&service, strip(1));
    // The older one is used again, so the other one goes.
    wait(&service, strip(0));
    wait(&service, strip(2));
    assert_eq!([there(0), there(1), there(2)], [true, false, true]);
    // What went is made again when it is wanted.
    wait(&service, strip(1));
    assert!(there(1));
}

#[test]
fn previews_go_before_anybody_is_refused_and_with_their_source() {
    let (_origin, link) = Origin::with(&media::everyday());
    let service = Service::start();
    let source = look(&service, &link);
    wait(&service, source["urls"]["filmstrip"].as_str().unwrap());
    assert_eq!(kept(&service), ["filmstrip.jpg", "filmstrip.vtt"]);
    let service = service.restarted(Setup::default().with("MONITOR__FLOOR", "1000 TB"));
    assert_eq!(kept(&service).len(), 2);
    let clip = json!({"url": link, "start_time": 1, "end_time": 2});
    service
        .post("/api/clips", &clip)
        .expect_problem(507, "disk_low");
    assert!(kept(&service).is_empty());
    // Nothing is made where there is no room for it.
    service
        .get(source["urls"]["filmstrip"].as_str().unwrap())
        .expect_problem(507, "disk_low");
    let service = service.restarted(Setup::default());
    wait(&service, source["urls"]["filmstrip"].as_str().unwrap());
}

#[test]
fn a_source_whose_time_is_over_is_gone_with_all_that_was_made_of_it() {
    let (_origin, link) = Origin::with(&media::everyday());
    let mut service = Service::start();
    let source = look(&service, &link);
    wait(&service, source["urls"]["filmstrip"].as_str().unwrap());
    let (data, id) = (service.data.clone(), source["id"].as_str().unwrap());
    let folder = data.join("previews").join(id);
    assert!(folder.exists());
    service.signal("TERM");
    assert!(service.ended().success());
    let index = rusqlite::Connection::open(data.join("index.db")).unwrap();
    let set = "UPDATE sources SET expires_at = 1 WHERE id = ?1";
    assert_eq!(index.execute(set, [id]).unwrap(), 1);
    drop(index);
    let service = service.killed_and_started_again(Setup::default());
    assert!(!folder.exists());
    service.get(&own(&source)).expect_problem(404, "not_found");
    for part in ["stream", "filmstrip", "waveform"] {
        let answer = service.get(&format!("{}/{part}", own(&source)));
        answer.expect_problem(404, "not_found");
    }
    assert_ne!(look(&service, &link)["id"], id);
}

#[test]
fn what_previews_may_cost_is_bounded() {
    let service = Setup::default()
        .with("SOURCES__FETCH_BYTES", "100 kB")
        .with("SOURCES__PREVIEW_SECONDS", 2)
        .start();
    let origin = Origin::start();
    // Larger than may be fetched, said beforehand, found out on the way, or without end.
    let large = media::remuxed("everyday.mkv", &media::everyday(), "");
    assert!(std::fs::metadata(&large).unwrap().len() > 100_000);
    let link = origin.add("/a.mkv", Behaviour::File(large.clone()));
    let endless = origin.add("/b.mkv", Behaviour::File(large.clone()));
    let (told, endless) = (look(&service, &link), look(&service, &endless));
    let head = std::fs::read(&large).unwrap();
    origin.add(
        "/b.mkv",
        Behaviour::Endless {
            head,
            again: vec![0; 4096],
        },
    );
    for source in [&told, &endless] {
        let path = source["urls"]["filmstrip"].as_str().unwrap();
        service.get(path).expect_problem(422, "source_too_large");
        let path = source["urls"]["stream"].as_str().unwrap();
        let began = Instant::now();
        let mut answer = service.get(path);
        while answer.status == 503 && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
            answer = service.get(path);
        }
        answer.expect_problem(422, "source_too_large");
        let preview = &service.get(&own(source)).json()["preview"];
        assert_eq!(preview["state"], "failed");
        assert_eq!(preview["error"], "source_too_large");
    }
    assert!(kept(&service).is_empty());
    until("upstreams are closed", || origin.open() == 0);
    // A copy is no longer than it may be.
    let small = media::film(
        "small.mkv",
        "testsrc2=size=64x64:rate=25:duration=6",
        None,
        "-c:v mpeg4 -q:v 20",
    );
    assert!(std::fs::metadata(&small).unwrap().len() < 100_000);
    let source = look(&service, &origin.add("/c.mkv", Behaviour::File(small)));
    let copy = wait(&service, source["urls"]["stream"].as_str().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("copy.mp4");
    std::fs::write(&made, &copy.bytes).unwrap();
    let last = frames::times(&made).into_iter().fold(0.0, f64::max);
    assert!((1.8..2.1).contains(&last), "{last}");
}

#[test]
fn a_file_on_the_disk_serves_as_a_link_does() {
    let origin = Origin::start();
    let plain = origin.add("/a.mp4", Behaviour::File(media::everyday()));
    let other = media::remuxed("everyday.mkv", &media::everyday(), "");
    let second = origin.add("/b.mkv", Behaviour::File(other.clone()));
    let mut service = Service::start();
    let sources = [look(&service, &plain), look(&service, &second)];
    service.signal("TERM");
    assert!(service.ended().success());
    // From now on they are files: nobody may ask for those by their path.
    let index = rusqlite::Connection::open(service.data.join("index.db")).unwrap();
    for (source, path) in sources.iter().zip([media::everyday(), other]) {
        let set = "UPDATE sources SET source = json_object('file', ?2) WHERE id = ?1";
        let (id, path) = (source["id"].as_str().unwrap(), path.to_str().unwrap());
        assert_eq!(index.execute(set, [id, path]).unwrap(), 1);
    }
    drop(index);
    let service = service.killed_and_started_again(Setup::default());
    let requests = origin.requests().len();
    let shown = service.get(&own(&sources[0])).json();
    assert!(shown.get("url").is_none(), "{shown}");
    let stream = sources[0]["urls"]["stream"].as_str().unwrap();
    let file = std::fs::read(media::everyday()).unwrap();
    let part = service.request("GET", stream, &[("range", "bytes=100-299")], b"");
    assert!(part.status == 206 && part.bytes == file[100..300]);
    assert_eq!(part.header("content-type"), "video/mp4");
    assert_eq!(
        part.header("content-security-policy"),
        "sandbox; default-src 'none'"
    );
    let copy = wait(&service, sources[1]["urls"]["stream"].as_str().unwrap());
    assert_eq!(&copy.bytes[4..8], b"ftyp");
    for source in &sources {
        for part in ["filmstrip", "waveform"] {
            wait(&service, source["urls"][part].as_str().unwrap());
        }
    }
    assert_eq!(origin.requests().len(), requests);
}
