//! What is refused, with which code, and that nothing was touched on the way.

use std::net::TcpListener;

use serde_json::json;

use crate::support::media::{self, ffmpeg, made};
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Service, Setup, recipe};

/// Links to places that are nobody's business, in many spellings.
const PRIVATE: [&str; 40] = [
    "http://localhost/a.mp4",
    "http://LOCALHOST/a.mp4",
    "http://localhost./a.mp4",
    "http://127.1/a.mp4",
    "http://127.0.1/a.mp4",
    "http://127.127.127.127/a.mp4",
    "http://127.255.255.254/a.mp4",
    "http://0x7f.0.0.1/a.mp4",
    "http://0177.0.0.1/a.mp4",
    "http://00000177.0.0.1/a.mp4",
    "http://2130706433/a.mp4",
    "http://0.0.0.0/a.mp4",
    "http://0.1.2.3/a.mp4",
    "http://10.255.255.255/a.mp4",
    "http://100.64.0.1/a.mp4",
    "http://100.127.255.255/a.mp4",
    "http://169.254.169.254/latest/meta-data/",
    "http://172.31.255.255/a.mp4",
    "http://192.0.0.1/a.mp4",
    "http://198.18.0.1/a.mp4",
    "http://203.0.113.1/a.mp4",
    "http://224.0.0.1/a.mp4",
    "http://[::]/a.mp4",
    "http://[::1]/a.mp4",
    "http://[0:0:0:0:0:0:0:1]/a.mp4",
    "http://[::10.0.0.1]/a.mp4",
    "http://[::ffff:127.0.0.1]/a.mp4",
    "http://[::ffff:169.254.169.254]/a.mp4",
    "http://[::ffff:0:127.0.0.1]/a.mp4",
    "http://[64:ff9b::127.0.0.1]/a.mp4",
    "http://[64:ff9b:1:a00:0:1::]/a.mp4",
    "http://[2001:db8::1]/a.mp4",
    "http://[100::1]/a.mp4",
    "http://[fc00::1]/a.mp4",
    "http://[fe80::1]/a.mp4",
    "http://[fec0::1]/a.mp4",
    "http://[2001:20::1]/a.mp4",
    "http://127\u{3002}0\u{3002}0\u{3002}1/a.mp4",
    "http://metadata.google.internal/a.mp4",
    "http://printer.local/a.mp4",
];

#[test]
fn links_to_private_places_are_refused_and_nothing_knocks() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let port = canary.local_addr().unwrap().port();
    let service = Setup::default().with("EGRESS__ALLOW", "").start();
    for link in PRIVATE {
        let answer = service.post("/api/clips", &recipe(link, 0.0, 5.0));
        answer.expect_problem(403, "url_blocked");
        assert_eq!(answer.json()["field"], "url", "{link}");
    }
    let answer = service.post(
        "/api/clips",
        &recipe(&format!("http://127.0.0.1:{port}/a.mp4"), 0.0, 5.0),
    );
    assert!([400, 403].contains(&answer.status), "{}", answer.text());
    for port in [22, 25, 6379] {
        service
            .post(
                "/api/clips",
                &recipe(&format!("http://example.com:{port}/a"), 0.0, 5.0),
            )
            .expect_problem(400, "url_port");
    }
    assert!(canary.accept().is_err(), "somebody connected");
}

#[test]
fn a_redirect_leads_nowhere_private() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let port = canary.local_addr().unwrap().port();
    let origin = Origin::start_at("127.0.0.2");
    let service = Setup::default()
        .with("EGRESS__ALLOW", "127.0.0.2/32")
        .start();
    for target in [
        format!("http://127.0.0.1:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1/".to_owned(),
    ] {
        let link = origin.add("/moved.mp4", Behaviour::Redirect(target.clone()));
        let code = service.fail(&recipe(&link, 0.0, 1.0));
        assert!(
            ["url_blocked", "url_port"].contains(&code.as_str()) || code.starts_with("source_"),
            "{target}: {code}"
        );
    }
    assert!(canary.accept().is_err(), "somebody connected");
}

#[test]
fn a_proxy_of_the_environment_is_not_asked() {
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let proxy = format!("http://{}", canary.local_addr().unwrap());
    let mut setup = Setup::default();
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY"] {
        setup.environment.push((name.to_owned(), proxy.clone()));
    }
    setup
        .environment
        .push(("no_proxy".to_owned(), "*".to_owned()));
    let (service, (_origin, link)) = (setup.start(), Origin::with(&media::tiny()));
    service.make(&recipe(&link, 0.5, 1.0));
    assert!(canary.accept().is_err(), "somebody asked the proxy");
}

#[test]
fn requests_that_cannot_be_understood_say_why() {
    let service = Service::start();
    let body = recipe("https://example.com/v.mp4", 0.0, 5.0).to_string();
    let send = |headers: &[(&str, &str)], body: &[u8]| {
        service.request("POST", "/api/clips", headers, body)
    };
    let json = ("content-type", "application/json");
    send(&[("content-type", "text/plain")], body.as_bytes()).expect_problem(415, "content_type");
    send(&[], body.as_bytes()).expect_problem(415, "content_type");
    send(&[json, ("content-encoding", "gzip")], b"\x1f\x8b")
        .expect_problem(415, "content_encoding");
    send(&[json], &vec![b' '; 70_000]).expect_problem(413, "body_too_large");
    for broken in [
        &b""[..],
        b"null",
        b"{",
        b"\xef\xbb\xbf{}",
        b"{\"url\":\"\\ud800\"}",
        b"{\"url\":\"\xff\"}",
        b"{\"end_time\":-Infinity}",
    ] {
        send(&[json], broken).expect_problem(400, "json_invalid");
    }
    let answer = service.post(
        "/api/clips",
        &json!({"url": "https://example.com/v", "start": 1, "end_time": 2}),
    );
    answer.expect_problem(400, "json_unknown_field");
    assert!(
        answer.json()["hint"]
            .as_str()
            .unwrap()
            .contains("start_time"),
        "{}",
        answer.text()
    );
    let wrong = service.request("PUT", "/api/clips", &[], b"");
    wrong.expect_problem(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), "GET, POST");
    service.get("/api/nothing").expect_problem(404, "not_found");
    service
        .get("/api/clips?limit=0")
        .expect_problem(400, "limit_invalid");
    service
        .get("/api/clips?cursor=x")
        .expect_problem(400, "cursor_invalid");
    service
        .get("/api/clips?state=lost")
        .expect_problem(400, "state_unknown");
}

#[test]
fn requests_that_break_http_end_without_harm() {
    let service = Service::start();
    for (request, statuses) in [
        (
            "POST /api/clips HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}{}{}",
            &["400"][..],
        ),
        (
            "POST /api/clips HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &["400"],
        ),
        ("GET / HTTP/9.9\r\nHost: x\r\n\r\n", &["400", "505"]),
        (
            "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03\r\n\r\n",
            &["400"],
        ),
        (
            "GET /api/files/clips/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            &["404"],
        ),
        (
            "GET //evil.com/%2e%2e HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            &["404"],
        ),
    ] {
        let answer = service.exchange(request.as_bytes());
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(
            statuses.contains(&status),
            "{request:?} was answered {answer}"
        );
        assert!(!answer.contains("root:"), "{answer}");
    }
    let answer = service.exchange(
        b"GET /api/health/live HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.contains("200 OK") && !answer.contains("evil.example"));
}

#[test]
fn sources_that_are_no_videos_fail_with_a_reason() {
    let origin = Origin::start();
    let service = Setup::default()
        .with("ENGINE__PROBE_SECONDS", 3)
        .with("ENGINE__FETCH_SECONDS", 3)
        .with("SOURCES__YTDLP_PATH", "")
        .start();
    let tiny = std::fs::read(media::tiny()).unwrap();
    let other = origin.add("/other.mp4", Behaviour::File(media::tiny()));
    let song = made("song.m4a", |path| {
        ffmpeg(&["-f", "lavfi", "-i", "sine=d=3", "-c:a", "aac", path])
    });
    // The index in front says all is there, but half of the bytes is not.
    let half = tiny[..tiny.len() * 6 / 10].to_vec();
    let text = |text: String| Behaviour::Bytes {
        claimed: text.len(),
        bytes: text.into_bytes(),
    };
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let script = origin.link("/svg.mp4");
    for (name, behaviour, code) in [
        ("gone.mp4", Behaviour::Status(404), "source_unreachable"),
        ("broken.mp4", Behaviour::Status(500), "source_unreachable"),
        ("silent.mp4", Behaviour::Silent, "source_timeout"),
        (
            "page.mp4",
            text("<html><body>hello</body></html>".repeat(50)),
            "page_off",
        ),
        (
            "svg.mp4",
            text("<svg><script>alert(1)</script></svg>".to_owned()),
            "source_unsupported",
        ),
        (
            "hls.mp4",
            text(format!(
                "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{script}\n#EXT-X-ENDLIST\n"
            )),
            "source_unsupported",
        ),
        (
            "live.mp4",
            text(format!("#EXTM3U\n#EXTINF:10,\n{other}\n")),
            "source_live",
        ),
        (
            "file.mp4",
            text("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n".to_owned()),
            "url_scheme",
        ),
        (
            "concat.mp4",
            text(format!("ffconcat version 1.0\nfile '{other}'\n")),
            "source_unsupported",
        ),
        (
            "headless.mp4",
            Behaviour::Bytes {
                claimed: tiny.len() / 2,
                bytes: tiny[tiny.len() / 2..tiny.len() / 2 * 2].to_vec(),
            },
            "source_unsupported",
        ),
        (
            "half.mp4",
            Behaviour::Bytes {
                claimed: half.len(),
                bytes: half,
            },
            "source_truncated",
        ),
        ("song.mp4", Behaviour::File(song), "source_no_video"),
    ] {
        let link = origin.add(&format!("/{name}"), behaviour);
        assert_eq!(
            service.fail(&recipe(&link, 0.0, 2.9)),
            code,
            "{name}\n{}",
            service.log()
        );
    }
    assert!(
        !origin
            .requests()
            .iter()
            .any(|line| line.contains("/other.mp4")),
        "a script was followed"
    );
    assert!(!service.log().contains(passwd.lines().next().unwrap()));
    assert_eq!(service.fail(&recipe(&other, 100.0, 110.0)), "time_range");
    let document = service.get("/api/openapi.json").text();
    for code in [
        "source_unreachable",
        "source_timeout",
        "source_unsupported",
        "source_truncated",
        "source_no_video",
        "time_range",
    ] {
        assert!(document.contains(code), "{code}");
    }
}

#[test]
fn an_end_past_the_source_ends_there_and_says_so() {
    let (service, (_origin, link)) = (Service::start(), Origin::with(&media::tiny()));
    let clip = service.make(&recipe(&link, 1.0, 100.0));
    assert_eq!(
        (
            clip["result"]["truncated"].as_bool(),
            clip["result"]["frames"].as_u64()
        ),
        (Some(true), Some(60))
    );
}

#[test]
fn only_what_is_needed_travels_when_the_server_allows_it() {
    let source = made("wide.mp4", |path| {
        let pictures = media::pictures("640x360", "30", 60.0);
        ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            &pictures,
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-crf",
            "10",
            "-g",
            "30",
            "-pix_fmt",
            "yuv420p",
            "-movflags",
            "+faststart",
            path,
        ]);
    });
    let size = std::fs::metadata(&source).unwrap().len();
    let (service, (origin, link)) = (Service::start(), Origin::with(&source));
    let clip = service.make(&recipe(&link, 40.0, 42.0));
    let (sent, fetched) = (
        origin.sent(),
        clip["result"]["bytes_fetched"].as_u64().unwrap(),
    );
    assert!(size > 20_000_000, "the source has only {size} bytes");
    assert!(
        sent < size / 3 && fetched < size / 3,
        "{sent} sent and {fetched} fetched of {size}"
    );
    let whole = origin.add("/whole.mp4", Behaviour::WithoutRanges(media::tiny()));
    assert_eq!(
        service.make(&recipe(&whole, 0.5, 1.5))["result"]["frames"],
        30
    );
}
