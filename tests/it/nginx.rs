//! The shipped site file, read by the real nginx in front of the real service.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::media::everyday;
use crate::support::nginx::{self, ACCEL, Nginx, shipped_site};
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Answer, Service, Setup, recipe};

const SITE: &str = "https://clips.example.org";
const TITLE: &str = "देव & Käse 100% #1 + 'naïve' 😀";

/// A ready clip with a title that is hard on every layer.
fn ready(service: &Service) -> (Origin, serde_json::Value) {
    let (origin, link) = Origin::with(&everyday());
    let clip =
        service.make(&json!({"url": link, "start_time": 2.5, "end_time": 4, "title": TITLE}));
    (origin, clip)
}

/// The path of an address, whatever site it names.
fn path(url: &serde_json::Value) -> String {
    url.as_str().unwrap().trim_start_matches(SITE).to_owned()
}

/// No header comes twice: one from the application and one from nginx.
#[track_caller]
fn expect_each_header_once(answer: &Answer) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in answer.headers.keys() {
        *counts.entry(name.as_str()).or_default() += answer.headers.get_all(name).iter().count();
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?} in {:?}", answer.headers);
}

/// What every answer carries, whoever gives it.
#[track_caller]
fn expect_safe(answer: &Answer) {
    expect_each_header_once(answer);
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(
        answer.header("referrer-policy"),
        "strict-origin-when-cross-origin"
    );
    let policy = answer.header("content-security-policy");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(policy.contains("frame-ancestors"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(!answer.header("x-request-id").is_empty());
    assert!(!answer.header("cache-control").is_empty());
    assert_eq!(answer.header("server"), "nginx", "no version is told");
}

#[test]
fn pages_and_assets_come_through_with_every_header_once() {
    let (nginx, service) = Nginx::with_service(Setup::default());
    let (_origin, clip) = ready(&service);
    for (path, kind) in [
        ("/".to_owned(), "text/html; charset=utf-8"),
        ("/static/app.js".to_owned(), "text/javascript"),
        ("/static/style.css".to_owned(), "text/css"),
        ("/static/favicon.svg".to_owned(), "image/svg+xml"),
        ("/favicon.ico".to_owned(), "image/svg+xml"),
        ("/robots.txt".to_owned(), "text/plain"),
        (path(&clip["urls"]["page"]), "text/html; charset=utf-8"),
        (path(&clip["urls"]["embed"]), "text/html; charset=utf-8"),
        (path(&clip["urls"]["self"]), "application/json"),
        ("/api/health".to_owned(), "application/json"),
    ] {
        for headers in [&[][..], &[("Accept-Encoding", "gzip")]] {
            let answer = nginx.request("GET", &path, headers, b"");
            assert_eq!(answer.status, 200, "{path}");
            assert!(
                answer
                    .header("content-type")
                    .starts_with(kind.split(';').next().unwrap()),
                "{path}: {}",
                answer.header("content-type")
            );
            expect_safe(&answer);
        }
    }
}

#[test]
fn text_is_compressed_on_the_way_out() {
    let (nginx, _service) = Nginx::with_service(Setup::default());
    for path in ["/", "/static/style.css", "/static/views.js"] {
        let plain = nginx.get(path);
        let packed = nginx.request("GET", path, &[("Accept-Encoding", "gzip")], b"");
        assert_eq!(plain.header("content-encoding"), "", "{path}");
        assert_eq!(packed.header("content-encoding"), "gzip", "{path}");
        assert_eq!(
            packed.header("vary").to_ascii_lowercase(),
            "accept-encoding",
            "{path}"
        );
        assert!(packed.bytes.len() * 2 < plain.bytes.len(), "{path}");
        // The copy that was compressed can still be asked about.
        let known = packed.header("etag");
        if !known.is_empty() {
            let again = nginx.request(
                "GET",
                path,
                &[("Accept-Encoding", "gzip"), ("If-None-Match", &known)],
                b"",
            );
            assert_eq!(again.status, 304, "{path}");
        }
    }
}

#[test]
fn a_clip_page_tells_other_sites_what_to_show() {
    let (nginx, service) = Nginx::with_service(Setup {
        environment: vec![("BASE_URL".to_owned(), SITE.to_owned())],
        data: None,
    });
    let (_origin, clip) = ready(&service);
    let page = nginx.get(&path(&clip["urls"]["page"]));
    assert_eq!(page.status, 200);
    let tags = crate::support::page::tags(&page.text());
    let (width, height) = (
        clip["result"]["width"].to_string(),
        clip["result"]["height"].to_string(),
    );
    for (name, value) in [
        ("og:title", TITLE),
        ("og:type", "video.other"),
        ("og:url", clip["urls"]["page"].as_str().unwrap()),
        ("og:video", clip["urls"]["file"].as_str().unwrap()),
        (
            "og:video:secure_url",
            clip["urls"]["file"].as_str().unwrap(),
        ),
        ("og:video:type", "video/mp4"),
        ("og:video:width", &width),
        ("og:video:height", &height),
        ("og:image", clip["urls"]["poster"].as_str().unwrap()),
        ("twitter:card", "player"),
        ("twitter:player", clip["urls"]["embed"].as_str().unwrap()),
    ] {
        assert_eq!(tags.get(name).map(String::as_str), Some(value), "{name}");
        if value.contains("/c/") || value.contains("/api/") {
            assert!(
                value.starts_with(SITE),
                "{name} is not a whole address: {value}"
            );
        }
    }
    let poster = nginx.get(&path(&clip["urls"]["poster"]));
    assert_eq!(poster.status, 200);
    assert_eq!(poster.header("content-type"), "image/jpeg");
    assert_eq!(poster.bytes[..3], [0xff, 0xd8, 0xff]);
    expect_safe(&poster);
}

#[test]
fn nginx_sends_the_bytes_of_a_clip_itself() {
    let (nginx, service) = Nginx::with_service(Setup::default());
    let (_origin, clip) = ready(&service);
    let id = clip["id"].as_str().unwrap();
    let file = path(&clip["urls"]["file"]);
    assert!(
        file.contains("%E0%A4%A6"),
        "the name keeps its letters: {file}"
    );
    let folder = service.data.join("storage/clips").join(id);
    let name = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "mp4"))
        .unwrap();
    let bytes = std::fs::read(&name).unwrap();

    let whole = nginx.get(&file);
    assert_eq!(whole.status, 200);
    assert_eq!(whole.bytes, bytes);
    assert_eq!(whole.header("content-type"), "video/mp4");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert!(whole.header("cache-control").contains("immutable"));
    assert!(whole.header("content-disposition").starts_with("inline;"));
    assert_eq!(whole.header("cross-origin-resource-policy"), "cross-origin");
    assert_eq!(
        whole.header("x-accel-redirect"),
        "",
        "the folder stays between the two"
    );
    expect_safe(&whole);

    // The application answered with nothing but the way to the file.
    let line = nginx.logged(&format!("GET {file} "));
    assert!(line.contains(&format!("uri={ACCEL}{id}/")), "{line}");
    assert!(line.ends_with("from_app=0"), "{line}");
    let own = nginx::request(
        &service.address,
        "GET",
        &file,
        &[("X-Forwarded-For", "192.0.2.1")],
        b"",
    );
    assert!(
        own.header("x-accel-redirect")
            .starts_with(&format!("{ACCEL}{id}/"))
    );
    assert!(own.bytes.is_empty());

    // Asked directly, by whoever works on the machine itself, it sends the file.
    let direct = service.get(&file);
    assert_eq!(direct.bytes, bytes);
}

#[test]
fn ranges_validators_and_heads_work_through_nginx() {
    let (nginx, service) = Nginx::with_service(Setup::default());
    let (_origin, clip) = ready(&service);
    let file = path(&clip["urls"]["file"]);
    let whole = nginx.get(&file);
    let (bytes, tag) = (&whole.bytes, whole.header("etag"));
    assert!(tag.starts_with('"'), "a strong validator: {tag}");

    let size = bytes.len();
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=100-1099".to_owned(), 100, 1100),
        (format!("bytes={}-", size - 7), size - 7, size),
        ("bytes=-16".to_owned(), size - 16, size),
        (format!("bytes=10-{}", size * 2), 10, size),
    ] {
        let part = nginx.request("GET", &file, &[("Range", &range)], b"");
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.bytes, &bytes[from..to], "{range}");
        assert_eq!(
            part.header("content-range"),
            format!("bytes {from}-{}/{size}", to - 1)
        );
        assert!(
            nginx
                .logged(&format!("GET {file} "))
                .ends_with("from_app=0")
        );
        expect_safe(&part);
    }

    let range = ("Range", "bytes=5-9");
    let same = nginx.request("GET", &file, &[range, ("If-Range", &tag)], b"");
    assert_eq!((same.status, same.bytes.len()), (206, 5));
    let other = nginx.request("GET", &file, &[range, ("If-Range", "\"another\"")], b"");
    assert_eq!((other.status, &other.bytes), (200, bytes));
    let known = nginx.request("GET", &file, &[("If-None-Match", &tag)], b"");
    assert_eq!((known.status, known.bytes.len()), (304, 0));

    let head = nginx.request("HEAD", &file, &[], b"");
    assert_eq!((head.status, head.bytes.len()), (200, 0));
    for name in [
        "content-length",
        "content-type",
        "etag",
        "accept-ranges",
        "content-disposition",
        "cache-control",
    ] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }
    expect_safe(&head);

    let beyond = nginx.request("GET", &file, &[("Range", &format!("bytes={size}-"))], b"");
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{size}"));
    expect_each_header_once(&beyond);
}

#[test]
fn a_download_keeps_its_name_through_nginx() {
    let (nginx, service) = Nginx::with_service(Setup::default());
    let (_origin, clip) = ready(&service);
    let encoded = path(&clip["urls"]["file"]);
    let encoded = encoded.rsplit('/').next().unwrap();
    for link in [
        path(&clip["urls"]["download"]),
        format!("{}?download=1", path(&clip["urls"]["file"])),
    ] {
        let answer = nginx.get(&link);
        assert_eq!(answer.status, 200, "{link}");
        let disposition = answer.header("content-disposition");
        assert!(disposition.starts_with("attachment;"), "{disposition}");
        assert!(
            disposition.ends_with(&format!("filename*=UTF-8''{encoded}")),
            "{disposition}"
        );
        assert_eq!(
            answer.bytes.len() as u64,
            clip["result"]["size"].as_u64().unwrap()
        );
        expect_safe(&answer);
    }
    // The same address answers differently when JSON is asked for, and says so.
    let download = nginx.get(&path(&clip["urls"]["download"]));
    assert!(
        download.header("vary").contains("Accept"),
        "{:?}",
        download.headers
    );
}

#[test]
fn events_leave_nginx_as_they_come() {
    let (nginx, service) = Nginx::with_service(Setup::default());
    let origin = Origin::start();
    let size = std::fs::metadata(everyday()).unwrap().len();
    let slow = origin.add("/slow.mp4", Behaviour::Slow(everyday(), size / 3));
    let id = service.submit(&recipe(&slow, 0.5, 11.5))["id"]
        .as_str()
        .unwrap()
        .to_owned();

    let (lines, head) = nginx.events(&format!("/api/clips/{id}/events"));
    assert!(head.contains("Content-Type: text/event-stream"), "{head}");
    assert!(
        !head.to_ascii_lowercase().contains("content-encoding"),
        "{head}"
    );
    let mut arrivals: Vec<(String, Instant)> = Vec::new();
    let mut states: Vec<String> = Vec::new();
    let mut kind = String::new();
    for line in lines.lines() {
        let line = line.unwrap();
        if let Some(named) = line.strip_prefix("event: ") {
            kind = named.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            arrivals.push((kind.clone(), Instant::now()));
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            let state = data["state"].as_str().unwrap().to_owned();
            if arrivals.len() == 1 {
                let now = service.get(&format!("/api/clips/{id}")).json();
                assert_ne!(
                    now["state"], "ready",
                    "the first event came when all was over"
                );
            }
            let over = state == "ready" || state == "failed";
            states.push(state);
            if over {
                break;
            }
        }
    }
    assert_eq!(states.last().unwrap(), "ready", "{states:?}");
    let mut order = states.clone();
    order.dedup();
    assert!(order.len() >= 3, "the way was told: {order:?}");
    let spread = arrivals.last().unwrap().1 - arrivals[0].1;
    let moments = arrivals
        .windows(2)
        .filter(|pair| pair[1].1 - pair[0].1 > Duration::from_millis(20))
        .count();
    assert!(
        spread > Duration::from_secs(1) && moments >= 3,
        "all came at once: {spread:?}, {moments}"
    );
    assert!(arrivals.iter().any(|(kind, _)| kind == "progress"));
}

#[test]
fn no_log_of_nginx_has_an_uploads_id() {
    let (nginx, mut service) = Nginx::with_service(Setup::default());
    let path = service.begin_upload(3_000_000, "secret.mp4");
    let id = path.rsplit('/').next().unwrap().to_owned();
    let tus = [
        ("Tus-Resumable", "1.0.0"),
        ("Upload-Offset", "0"),
        ("Content-Type", "application/offset+octet-stream"),
    ];
    let piece = nginx.request("PATCH", &path, &tus, &[7; 1000]);
    assert_eq!(piece.status, 204, "{}", piece.text());
    // What ends in an error page, and what is written differently.
    let large = nginx.request("PATCH", &path, &tus, &vec![7; 1_100_000]);
    large.expect_problem(413, "body_too_large");
    nginx.get(&format!("/api/%75ploads/{id}"));
    nginx.get(&format!("/x/../api/uploads//{id}"));
    service.signal("KILL");
    service.ended();
    nginx.get(&path).expect_problem(503, "unavailable");
    nginx
        .get("/api/clips?q=after")
        .expect_problem(503, "unavailable");

    // The last request is written, so those before it are.
    nginx.logged("GET /api/clips?q=after ");
    let log = nginx.site_log();
    assert_eq!(log.matches("/api/uploads/-").count(), 5, "{log}");
    assert!(log.contains("/api/clips?q=after"), "{log}");
    assert!(!log.contains(&id), "{log}");
    let errors = nginx.error_log();
    assert!(
        errors.contains("/api/clips?q=after"),
        "errors are told: {errors}"
    );
    assert!(!errors.contains(&id), "{errors}");
}

#[test]
fn what_is_for_the_operator_comes_through_and_is_kept_by_nobody() {
    let (nginx, service) = Nginx::with_service(Setup::default());
    // Whatever there is below it: without a token nothing is told, and the answer is the application's own.
    for path in [
        "/api/admin/health",
        "/api/admin/clips",
        "/api/admin/nothing",
    ] {
        let answer = nginx.get(path);
        assert_eq!(answer.status, service.get(path).status, "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        expect_safe(&answer);
    }
}

#[test]
fn figures_are_for_the_machine_itself() {
    let (nginx, service) = Nginx::with_service(Setup::default());
    assert_eq!(service.get("/metrics").status, 200);
    assert!(service.get("/metrics").text().contains("meme_maker_"));
    for path in [
        "/metrics",
        "/metrics/",
        "//metrics",
        "/./metrics",
        "/api/../metrics",
        "/%6detrics",
        "/metrics?x=1",
        "/metrics%00",
    ] {
        let answer = nginx.get(path);
        assert!(
            [400, 404].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        assert!(!answer.text().contains("meme_maker_"), "{path}");
    }
    nginx.get("/metrics").expect_problem(404, "not_found");
    expect_safe(&nginx.get("/metrics"));
}

#[test]
fn the_folder_of_published_files_has_no_address() {
    let (nginx, service) = Nginx::with_service(Setup::default());
    let (_origin, clip) = ready(&service);
    let id = clip["id"].as_str().unwrap();
    let name = path(&clip["urls"]["file"]);
    let name = name.rsplit('/').next().unwrap();
    std::fs::write(service.data.join("storage/clips.txt"), "beside").unwrap();
    for path in [
        format!("/internal-clips/{id}/{name}"),
        format!("/internal-clips/{id}/poster.jpg"),
        "/internal-clips/".to_owned(),
        "/internal-clips".to_owned(),
        format!("//internal-clips/{id}/{name}"),
        format!("/./internal-clips//{id}/{name}"),
        format!("/c/../internal-clips/{id}/{name}"),
        format!("/%69nternal-clips/{id}/{name}"),
        format!("/internal-clips%2f{id}/{name}"),
        format!("/INTERNAL-CLIPS/{id}/{name}"),
        format!("/internal-clips/{id}/{name}?x=1"),
        "/internal-clips.txt".to_owned(),
        "/internal-clips../clips.txt".to_owned(),
        "/internal-clips/../clips.txt".to_owned(),
        "/internal-clips/..%2f..%2findex.db".to_owned(),
        "/internal-clips/%2e%2e/%2e%2e/index.db".to_owned(),
        "/internal-clips/../../../../../../etc/passwd".to_owned(),
        "/api/files/clips/../../internal-clips/".to_owned(),
        format!("/api/files/clips/{id}/..%2f..%2f..%2findex.db"),
        format!("/api/files/clips/{id}/%2e%2e/%2e%2e/%2e%2e/index.db"),
        format!("/api/files/clips/{id}/"),
        "/static/../../index.db".to_owned(),
        "/static/..%2f..%2fCargo.toml".to_owned(),
    ] {
        for headers in [
            &[][..],
            &[
                ("X-Accel-Redirect", "/internal-clips/"),
                ("X-Original-URL", "/internal-clips/"),
            ],
        ] {
            let answer = nginx.request("GET", &path, headers, b"");
            assert!(
                [400, 404].contains(&answer.status),
                "{path}: {}",
                answer.status
            );
            assert!(answer.bytes.len() < 1000, "{path}: {}", answer.text());
        }
    }
    nginx
        .get(&format!("/internal-clips/{id}/{name}"))
        .expect_problem(404, "not_found");
    // The clip itself is there all the same.
    assert_eq!(nginx.get(&path(&clip["urls"]["poster"])).status, 200);
}

#[test]
fn a_visitor_cannot_claim_to_be_somebody_else() {
    let (nginx, service) = Nginx::with_service(Setup::default());
    let (_origin, link) = Origin::with(&everyday());
    let body = recipe(&link, 1.0, 2.0).to_string();
    let post = |address: &str, claims: &[(&str, &str)]| {
        let mut headers = vec![
            ("Content-Type", "application/json"),
            ("Idempotency-Key", "one-and-the-same"),
        ];
        headers.extend(claims);
        let answer = nginx::request(address, "POST", "/api/clips", &headers, body.as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    // A key belongs to one visitor: who could change their address would get another clip for it.
    let claims: [&[(&str, &str)]; 6] = [
        &[],
        &[("X-Forwarded-For", "198.51.100.7")],
        &[("X-Forwarded-For", "203.0.113.9, 198.51.100.8")],
        &[("X-Real-IP", "198.51.100.9")],
        &[("Forwarded", "for=198.51.100.10")],
        &[
            ("X-Forwarded-For", "198.51.100.7"),
            ("X-Forwarded-For", "198.51.100.11"),
            ("X_Forwarded_For", "198.51.100.12"),
        ],
    ];
    let ids: Vec<String> = claims
        .iter()
        .map(|claims| post(&nginx.address, claims))
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // What is overwritten does count: said by a trusted proxy, it is another visitor.
    assert_ne!(
        post(&service.address, &[("X-Forwarded-For", "198.51.100.7")]),
        ids[0]
    );
}

#[test]
fn a_visitor_cannot_name_the_request() {
    let (nginx, _service) = Nginx::with_service(Setup::default());
    let answer = nginx.request(
        "GET",
        "/api/clips/none",
        &[("X-Request-Id", "chosen-by-the-visitor")],
        b"",
    );
    answer.expect_problem(404, "not_found");
    let id = answer.header("x-request-id");
    assert_ne!(id, "chosen-by-the-visitor");
    assert_eq!(answer.json()["request_id"], id.as_str());
}

#[test]
fn errors_of_nginx_look_like_those_of_the_application() {
    let (nginx, mut service) = Nginx::with_service(Setup::default());
    let large = vec![b'x'; 200_000];
    let answer = nginx.request(
        "POST",
        "/api/clips",
        &[("Content-Type", "application/json")],
        &large,
    );
    answer.expect_problem(413, "body_too_large");
    expect_safe(&answer);

    service.signal("KILL");
    service.ended();
    for path in ["/", "/api/clips", "/api/clips/x/events", "/api/uploads/"] {
        let answer = nginx.get(path);
        answer.expect_problem(503, "unavailable");
        assert!(
            answer
                .header("retry-after")
                .parse::<u32>()
                .is_ok_and(|seconds| seconds > 0),
            "{path}"
        );
        assert_eq!(answer.header("cache-control"), "no-store");
        expect_safe(&answer);
    }
}

#[test]
fn every_code_that_nginx_answers_with_is_documented() {
    let service = Service::start();
    let document = service.get("/api/openapi.json").json();
    let listed = document["info"]["description"].as_str().unwrap();
    let site = shipped_site();
    let codes: Vec<&str> = site
        .split("\"code\":\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(codes.len() >= 3);
    for code in codes {
        assert!(listed.contains(&format!("`{code}`")), "{code}");
    }
}
