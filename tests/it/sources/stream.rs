//! A source's own bytes for a browser.

use std::io::{Read, Write};
use std::time::Duration;

use super::{look, own, until};
use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Service, Setup};
use crate::support::wire;

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
