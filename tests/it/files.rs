//! Published bytes over HTTP: ranges, validators, names, and nothing that was not published.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::media;
use crate::support::origin::Origin;
use crate::support::service::{Service, Setup};
use crate::support::visitor::{Ticket, quick};
use crate::support::wire;

/// A service with one finished clip.
struct Stand {
    service: Service,
    ticket: Ticket,
    clip: serde_json::Value,
    link: String,
    /// The address of its file.
    file: String,
    _origin: Origin,
}

impl Stand {
    fn new(setup: Setup) -> Stand {
        let service = setup.start();
        let (origin, link) = Origin::with(&media::tiny());
        let mut wish = quick(&link);
        wish["title"] = json!("a clip");
        let ticket = service.ticket(&wish);
        let clip = service.wait_for(&ticket.id, &["ready"]);
        let file = clip["urls"]["file"].as_str().unwrap().to_owned();
        Stand {
            service,
            ticket,
            clip,
            link,
            file,
            _origin: origin,
        }
    }

    fn start() -> Stand {
        Stand::new(Setup::default())
    }

    fn get(&self, headers: &[(&str, &str)]) -> crate::support::service::Answer {
        self.service.request("GET", &self.file, headers, b"")
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What a reader that knows RFC 8187 makes of `filename*`.
fn extended_name(disposition: &str) -> String {
    let (_, encoded) = disposition.split_once("filename*=UTF-8''").unwrap();
    assert!(
        encoded
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~%".contains(&byte)),
        "{encoded}"
    );
    percent_encoding::percent_decode_str(encoded)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

/// What a reader that knows only quoted strings makes of `filename`.
fn plain_name(disposition: &str) -> String {
    let (_, rest) = disposition.split_once("filename=\"").unwrap();
    let (name, _) = rest.split_once('"').unwrap();
    assert!(
        name.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
        "{name}"
    );
    name.to_owned()
}

#[test]
fn the_bytes_served_are_those_on_disk_and_in_the_result() {
    let stand = Stand::start();
    let answer = stand.get(&[]);
    assert_eq!(answer.status, 200);
    let result = &stand.clip["result"];
    assert_eq!(result["sha256"], sha256(&answer.bytes));
    assert_eq!(result["size"], answer.bytes.len());
    let on_disk = stand.service.files_of(&stand.ticket).join("a clip.mp4");
    assert_eq!(std::fs::read(on_disk).unwrap(), answer.bytes);
    for (name, value) in [
        ("content-type", "video/mp4"),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "cross-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert!(answer.header("etag").starts_with('"'), "a strong validator");
    assert!(!answer.header("last-modified").is_empty());
    let caching = answer.header("cache-control");
    let age: u64 = caching
        .strip_prefix("public, max-age=")
        .and_then(|rest| rest.strip_suffix(", immutable"))
        .unwrap_or_else(|| panic!("{caching}"))
        .parse()
        .unwrap();
    // Kept for a day by default: nobody should show it longer than that.
    assert!((3600..=24 * 3600).contains(&age), "{age}");

    let poster = stand.clip["urls"]["poster"].as_str().unwrap();
    let poster = stand.service.get(poster);
    assert_eq!(poster.header("content-type"), "image/jpeg");
    assert!(poster.bytes.starts_with(&[0xff, 0xd8]));
}

#[test]
fn a_head_request_gets_the_head_alone() {
    let stand = Stand::start();
    let got = stand.get(&[]);
    let request = format!(
        "HEAD {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        stand.file
    );
    let head = wire::exchange(&stand.service, request.as_bytes());
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in [
        "content-type",
        "content-length",
        "etag",
        "last-modified",
        "accept-ranges",
        "content-disposition",
        "cache-control",
    ] {
        assert_eq!(head.header(name), got.header(name), "{name}");
    }
    let missing = stand.file.replace("clip.mp4", "clop.mp4");
    let answer = stand.service.request("HEAD", &missing, &[], b"");
    assert_eq!(answer.status, 404);
}

#[test]
fn one_range_is_served_and_odd_ones_are_ignored() {
    let stand = Stand::start();
    let whole = stand.get(&[]).bytes;
    let n = whole.len();
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=0-".to_owned(), 0, n),
        ("bytes=5-9".to_owned(), 5, 10),
        (format!("bytes=0-{}", n - 1), 0, n),
        (format!("bytes={}-", n - 1), n - 1, n),
        (format!("bytes={}-{}", n - 10, n + 1000), n - 10, n),
        ("bytes=-1".to_owned(), n - 1, n),
        ("bytes=-500".to_owned(), n - 500, n),
        (format!("bytes=-{}", n + 100), 0, n),
    ] {
        let answer = stand.get(&[("range", &range)]);
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(
            answer.header("content-range"),
            format!("bytes {from}-{}/{n}", to - 1),
            "{range}"
        );
        assert_eq!(answer.header("content-length"), (to - from).to_string());
        assert!(answer.bytes == whole[from..to], "{range}: other bytes");
    }
    for range in [
        format!("bytes={n}-"),
        format!("bytes={}-{}", n + 5, n + 9),
        "bytes=-0".to_owned(),
    ] {
        let answer = stand.get(&[("range", &range)]);
        assert_eq!(answer.status, 416, "{range}");
        assert_eq!(
            answer.header("content-range"),
            format!("bytes */{n}"),
            "{range}"
        );
        assert!(answer.bytes.len() < 1000, "{range}");
    }
    let overlapping = format!("bytes=0-{}", ",0-".repeat(200));
    for range in [
        "",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0x1-0x5",
        "bytes=5",
        "bytes 0-5",
        "bytes=0-1,5-6",
        "bytes=--5",
        "bytes=1-2-3",
        "bytes=+1-5",
        "bytes=-99999999999999999999",
        "items=0-5",
        &overlapping,
    ] {
        let answer = stand.get(&[("range", range)]);
        assert_eq!(answer.status, 200, "{range}");
        assert_eq!(answer.bytes.len(), n, "{range}");
    }
    // RFC 9110 section 14.1.1: a last position before the first makes the range invalid.
    let answer = stand.get(&[("range", "bytes=5-2")]);
    assert!(matches!(answer.status, 200 | 416), "{}", answer.status);
    // Section 14.2: ranges are for GET.
    let answer = stand
        .service
        .request("HEAD", &stand.file, &[("range", "bytes=0-5")], b"");
    assert_eq!(answer.status, 200);
}

#[test]
fn validators_tell_old_bytes_from_new() {
    let stand = Stand::start();
    let first = stand.get(&[]);
    let (tag, date) = (first.header("etag"), first.header("last-modified"));
    let range = ("range", "bytes=0-9");
    for (name, value, status) in [
        ("if-range", tag.clone(), 206),
        ("if-range", "\"stale\"".to_owned(), 200),
        ("if-range", format!("W/{tag}"), 200),
        ("if-range", date.clone(), 206),
        ("if-range", "Thu, 01 Jan 2015 00:00:00 GMT".to_owned(), 200),
        ("if-range", "nonsense".to_owned(), 200),
        ("if-match", tag.clone(), 206),
        ("if-match", "\"stale\"".to_owned(), 412),
    ] {
        let answer = stand.get(&[range, (name, &value)]);
        assert_eq!(answer.status, status, "{name}: {value}");
        let length = if status == 206 { 10 } else { first.bytes.len() };
        assert!(
            status == 412 || answer.bytes.len() == length,
            "{name}: {value}"
        );
    }
    for (name, value, status) in [
        ("if-none-match", tag.clone(), 304),
        ("if-none-match", format!("\"other\", {tag}"), 304),
        ("if-none-match", format!("W/{tag}"), 304),
        ("if-none-match", "*".to_owned(), 304),
        ("if-none-match", "\"other\"".to_owned(), 200),
        ("if-modified-since", date.clone(), 304),
        (
            "if-modified-since",
            "Thu, 01 Jan 2015 00:00:00 GMT".to_owned(),
            200,
        ),
    ] {
        let answer = stand.get(&[(name, &value)]);
        assert_eq!(answer.status, status, "{name}: {value}");
        assert_eq!(answer.header("etag"), tag, "{name}: {value}");
        if status == 304 {
            assert!(answer.bytes.is_empty());
            assert!(answer.header("cache-control").contains("immutable"));
        }
    }
}

#[test]
fn names_keep_their_letters_in_headers_and_on_disk() {
    let stand = Stand::start();
    let cjk = "字".repeat(300);
    let titles = [
        ("देवनागरी शीर्षक", "देवनागरी शीर्षक.mp4".to_owned()),
        (cjk.as_str(), format!("{}.mp4", "字".repeat(38))),
        ("👩‍👩‍👧 emoji 😀", "👩‍👩‍👧 emoji 😀.mp4".to_owned()),
        ("\u{202e}4pm.exe", "4pm.exe.mp4".to_owned()),
        ("say \"hi\"", "say -hi-.mp4".to_owned()),
        ("x\"; filename=y.html", "x-; filename=y.html.mp4".to_owned()),
        ("e\u{301} vs \u{e9}", "é vs é.mp4".to_owned()),
        ("..\\..\\x.mp4", "x.mp4.mp4".to_owned()),
        ("../../etc/passwd", "etc-passwd.mp4".to_owned()),
        ("C:\\x.mp4", "C--x.mp4.mp4".to_owned()),
        (".htaccess", "htaccess.mp4".to_owned()),
        ("-rf.mp4", "rf.mp4.mp4".to_owned()),
        ("%2e%2e%2fx", "%2e%2e%2fx.mp4".to_owned()),
        ("$(id);id", "$(id);id.mp4".to_owned()),
        ("x.svg", "x.svg.mp4".to_owned()),
        ("100% #1?", "100% #1-.mp4".to_owned()),
    ];
    let clips: Vec<(Ticket, &String)> = titles
        .iter()
        .map(|(title, name)| {
            let mut wish = quick(&stand.link);
            wish["title"] = json!(title);
            let accepted = stand.service.submit(&wish);
            assert_eq!(accepted["title"], *title);
            (Ticket::of(&accepted), name)
        })
        .collect();
    for (ticket, name) in clips {
        let clip = stand.service.wait_for(&ticket.id, &["ready"]);
        let file = clip["urls"]["file"].as_str().unwrap();
        assert!(file.is_ascii() && file.matches('/').count() == 5, "{file}");
        assert!(name.len() <= 120);
        let published: Vec<String> = std::fs::read_dir(stand.service.files_of(&ticket))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "poster.jpg")
            .collect();
        assert_eq!(published, [name.as_str()]);
        for (query, kind) in [("", "inline"), ("?download=1", "attachment")] {
            let answer = stand.service.get(&format!("{file}{query}"));
            assert_eq!(answer.status, 200, "{file}");
            let disposition = answer.header("content-disposition");
            assert!(
                disposition.starts_with(&format!("{kind}; ")),
                "{disposition}"
            );
            assert_eq!(extended_name(&disposition), *name);
            let plain = plain_name(&disposition);
            assert!(
                plain.ends_with(".mp4") && !plain.contains(['/', '\\']),
                "{plain}"
            );
            assert_eq!(answer.header("set-cookie"), "");
        }
    }
    for title in ["x\r\nSet-Cookie: a=b.mp4", "a\u{0}b", "tab\there"] {
        let mut wish = quick(&stand.link);
        wish["title"] = json!(title);
        let answer = stand.service.post("/api/clips", &wish);
        answer.expect_problem(400, "title_invalid");
        assert_eq!(answer.json()["field"], "title");
    }
}

#[test]
fn a_title_in_another_form_of_unicode_names_the_same_file() {
    let stand = Stand::start();
    let mut wish = quick(&stand.link);
    wish["title"] = json!("e\u{301}");
    let clip = stand.service.make(&wish);
    let file = clip["urls"]["file"].as_str().unwrap();
    assert!(file.ends_with("/%C3%A9.mp4"), "{file}");
}

#[test]
fn the_download_is_an_attachment_or_says_where_it_is() {
    let stand = Stand::start();
    let path = stand.clip["urls"]["download"].as_str().unwrap();
    let downloads = || stand.service.clip(&stand.ticket)["downloads"].clone();
    let answer = stand.service.get(path);
    assert_eq!(answer.status, 200);
    assert_eq!(stand.clip["result"]["sha256"], sha256(&answer.bytes));
    let disposition = answer.header("content-disposition");
    assert!(disposition.starts_with("attachment; "), "{disposition}");
    assert_eq!(downloads(), 1);
    // A player or a download manager that goes on in the middle is no further download.
    let answer = stand
        .service
        .request("GET", path, &[("range", "bytes=100-")], b"");
    assert_eq!((answer.status, downloads()), (206, json!(1)));
    for accept in ["application/json", "text/html;q=0.1, Application/JSON"] {
        let answer = stand
            .service
            .request("GET", path, &[("accept", accept)], b"");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/json");
        assert!(answer.header("vary").eq_ignore_ascii_case("accept"));
        let link = answer.json()["download_url"].as_str().unwrap().to_owned();
        let answer = stand.service.get(&link);
        assert_eq!(stand.clip["result"]["sha256"], sha256(&answer.bytes));
        let disposition = answer.header("content-disposition");
        assert!(disposition.starts_with("attachment; "), "{disposition}");
    }
    for accept in ["*/*", "text/html,application/xhtml+xml,*/*;q=0.8"] {
        let answer = stand
            .service
            .request("GET", path, &[("accept", accept)], b"");
        assert_eq!(answer.header("content-type"), "video/mp4", "{accept}");
    }
    stand
        .service
        .get("/api/clips/0192f0c1-2345-7abc-8def-0123456789ab/download")
        .expect_problem(404, "not_found");
}

#[test]
fn nothing_is_shown_that_was_not_published() {
    let stand = Stand::start();
    let id = &stand.ticket.id;
    let storage = stand.service.data.join("storage");
    const FOREIGN: &str = "foreign-bytes";
    let folder = stand.service.files_of(&stand.ticket);
    for place in [
        stand.service.data.join("secret.txt"),
        storage.join("secret.txt"),
        storage.join("clips/secret.txt"),
        storage.join("clips/a.mp4"),
        folder.join("other.mp4"),
        folder.join(".hidden"),
    ] {
        std::fs::write(place, FOREIGN).unwrap();
    }
    std::os::unix::fs::symlink(
        stand.service.data.join("secret.txt"),
        folder.join("link.mp4"),
    )
    .unwrap();
    std::os::unix::fs::symlink(
        stand.service.data.join("secret.txt"),
        storage.join("clips/link"),
    )
    .unwrap();
    let database = "SQLite format 3";
    let long = "a".repeat(5000);
    let targets = [
        "/api/files/clips/../../etc/passwd".to_owned(),
        "/api/files/clips/..%2f..%2fsecret.txt".to_owned(),
        "/api/files/clips/%2e%2e/secret.txt".to_owned(),
        "/api/files/clips/%252e%252e%252fetc".to_owned(),
        "/api/files/clips/..\\..\\secret.txt".to_owned(),
        "/api/files/clips/..;/secret.txt".to_owned(),
        "/api/files/clips/....//secret.txt".to_owned(),
        "/api/files/clips/a%00.mp4".to_owned(),
        "/api/files/clips/a.mp4".to_owned(),
        "/api/files/clips/*".to_owned(),
        "/api/files/clips/[a-z]".to_owned(),
        format!("/api/files/clips/{long}"),
        "/api/files/clips/-rf".to_owned(),
        "/api/files/clips/secret.txt".to_owned(),
        "/api/files/clips/link".to_owned(),
        "/api/files/clips/".to_owned(),
        format!("/api/files/clips/{id}"),
        format!("/api/files/clips/{id}/"),
        format!("/api/files/clips/{id}/."),
        format!("/api/files/clips/{id}/.."),
        format!("/api/files/clips/{id}/../secret.txt"),
        format!("/api/files/clips/{id}/..%2fsecret.txt"),
        format!("/api/files/clips/{id}/..%2f..%2fsecret.txt"),
        format!("/api/files/clips/{id}/%2e%2e%2f%2e%2e%2f%2e%2e%2findex.db"),
        format!("/api/files/clips/{id}//etc/passwd"),
        format!("/api/files/clips/{id}/other.mp4"),
        format!("/api/files/clips/{id}/.hidden"),
        format!("/api/files/clips/{id}/link.mp4"),
        format!("/api/files/clips/{id}/A%20clip.mp4"),
        format!("/api/files/clips/{id}/a%20clip.mp4/"),
        format!("/api/files/clips/{id}/a%20clip.mp4%00"),
        format!("/api/files/clips/{id}/{long}"),
        format!("/api/files/clips/{}/a%20clip.mp4", id.to_uppercase()),
        format!("/api/files/clips/{}/a%20clip.mp4", id.replace('-', "")),
        format!("/api/clips/{id}.tmp"),
        format!("/api/clips/{id}/../db.sqlite"),
        format!("/api/clips/{id}/../../../index.db"),
        "/api/clips/../../index.db".to_owned(),
        "/index.db".to_owned(),
        "/storage/secret.txt".to_owned(),
        format!("/ledger/clips/{id}.json"),
        "/static/../../secret.txt".to_owned(),
        "/static/..%2f..%2fCargo.toml".to_owned(),
        "/static/%2e%2e%2fCargo.toml".to_owned(),
        "/files/link-to-etc-hostname".to_owned(),
        format!("/internal-clips/{id}/a%20clip.mp4"),
        format!("/internal-clips/{id}.mp4"),
        "//evil.com/%2e%2e".to_owned(),
        "//api/v1/admin/x".to_owned(),
        "/api/v1/ADMIN/x".to_owned(),
        "/c/../../secret.txt".to_owned(),
        "/.git/config".to_owned(),
    ];
    for target in &targets {
        let reply = wire::get(&stand.service, target, "");
        assert!(
            matches!(reply.status, 400 | 404 | 414),
            "{target}: {}",
            reply.head
        );
        assert!(
            reply.status != 404 || reply.text().contains("not_found") || target.starts_with("/c/"),
            "{target}: {}",
            reply.text()
        );
        assert_eq!(reply.header("location"), "", "{target}");
        let body = reply.text();
        for foreign in [FOREIGN, database, "root:", "evil.com"] {
            assert!(!body.contains(foreign), "{target} shows {foreign}: {body}");
        }
    }
    // The published file is still there, and only under its own name.
    assert_eq!(stand.get(&[]).status, 200);
}

#[test]
fn a_clip_that_is_not_ready_has_no_file() {
    let stand = Stand::start();
    let held = stand.service.hold(&Origin::start());
    let folder = stand.service.files_of(&held);
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["silent.mp4", "poster.jpg"] {
        std::fs::write(folder.join(name), "half-written").unwrap();
        let path = format!("/api/files/clips/{}/{name}", held.id);
        stand.service.get(&path).expect_problem(404, "not_found");
    }
}

#[test]
fn nginx_is_handed_the_bytes_when_it_brought_the_request() {
    let stand = Stand::new(Setup::default().with("SERVER__ACCEL", "/internal-clips/"));
    let id = &stand.ticket.id;
    let visitor = ("x-forwarded-for", "203.0.113.5");
    let download = format!("/api/clips/{id}/download");
    for (path, kind) in [
        (stand.file.clone(), "inline"),
        (format!("{}?download=1", stand.file), "attachment"),
        (download, "attachment"),
    ] {
        let handed = stand.service.request("GET", &path, &[visitor], b"");
        assert_eq!(handed.status, 200);
        assert!(handed.bytes.is_empty());
        assert_eq!(
            handed.header("x-accel-redirect"),
            format!("/internal-clips/{id}/a%20clip.mp4")
        );
        assert_eq!(handed.header("content-type"), "video/mp4");
        let disposition = handed.header("content-disposition");
        assert!(disposition.starts_with(kind), "{disposition}");

        let direct = stand.service.get(&path);
        assert_eq!(direct.header("x-accel-redirect"), "");
        assert_eq!(stand.clip["result"]["sha256"], sha256(&direct.bytes));
    }
    let missing = format!("/api/files/clips/{id}/other.mp4");
    let answer = stand.service.request("GET", &missing, &[visitor], b"");
    answer.expect_problem(404, "not_found");
    assert_eq!(answer.header("x-accel-redirect"), "");
    let inside = format!("/internal-clips/{id}/a%20clip.mp4");
    let answer = stand.service.request("GET", &inside, &[visitor], b"");
    answer.expect_problem(404, "not_found");
    // A file that somebody took away is not handed on.
    std::fs::remove_dir_all(stand.service.files_of(&stand.ticket)).unwrap();
    let answer = stand.service.request("GET", &stand.file, &[visitor], b"");
    answer.expect_problem(404, "not_found");
    assert_eq!(answer.header("x-accel-redirect"), "");
}

#[test]
fn a_base_url_makes_every_address_absolute() {
    const BASE: &str = "https://clips.example.org/sub";
    let service = Setup::default()
        .with("SERVER__BASE_URL", format!("{BASE}/"))
        .start();
    let (_origin, link) = Origin::with(&media::tiny());
    let answer = service.post("/api/clips", &quick(&link));
    let ticket = Ticket::of(&answer.json());
    assert_eq!(
        answer.header("location"),
        format!("{BASE}{}", ticket.path())
    );
    let clip = service.wait_for(&ticket.id, &["ready"]);
    for (name, url) in clip["urls"].as_object().unwrap() {
        let url = url.as_str().unwrap();
        assert!(url.starts_with(&format!("{BASE}/")), "{name}: {url}");
        // The path below it is one of this service.
        let answer = service.get(url.strip_prefix(BASE).unwrap());
        assert_eq!(answer.status, 200, "{name}: {url}");
    }
    let json = [("accept", "application/json")];
    let path = format!("{}/download", ticket.path());
    let answer = service.request("GET", &path, &json, b"");
    let link = answer.json()["download_url"].as_str().unwrap().to_owned();
    assert!(link.starts_with(&format!("{BASE}/")), "{link}");
}

#[test]
fn what_a_visitor_says_of_the_host_is_not_repeated() {
    let stand = Stand::start();
    let id = &stand.ticket.id;
    let lies = "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\nX-Original-URL: /evil.example\r\n\
                X-Forwarded-Proto: evil.example\r\nReferer: http://evil.example/\r\nOrigin: http://evil.example\r\n";
    for target in [
        "/",
        "/api/clips",
        &format!("/api/clips/{id}"),
        &format!("/c/{id}"),
        &format!("/embed/{id}"),
        &format!("/api/clips/{id}/download"),
        &stand.file,
        "/nowhere",
    ] {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nAccept: application/json\r\n{lies}\r\n"
        );
        let reply = wire::exchange(&stand.service, request.as_bytes());
        assert!(
            matches!(reply.status, 200 | 404 | 421),
            "{target}: {}",
            reply.head
        );
        assert!(!reply.head.contains("evil"), "{target}: {}", reply.head);
        assert!(!reply.text().contains("evil"), "{target}: {}", reply.text());
        assert_eq!(reply.header("access-control-allow-origin"), "", "{target}");
    }
    let body = quick(&stand.link).to_string();
    let request = format!(
        "POST /api/clips HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{lies}\r\n{body}",
        body.len()
    );
    let reply = wire::exchange(&stand.service, request.as_bytes());
    assert_eq!(reply.status, 202, "{}", reply.text());
    assert!(reply.header("location").starts_with("/api/clips/"));
    assert!(!reply.text().contains("evil"), "{}", reply.text());
}
