//! What the operator sees: readings and verdicts, the trail, alerts, figures, the log, and what systemd is told.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use meme_maker::index::Index;
use meme_maker::index::events::{Kind, Note};
use meme_maker::index::records::Sample;
use meme_maker::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::support::media;
use crate::support::origin::Origin;
use crate::support::service::{Answer, PATIENCE, Service, Setup, recipe};
use crate::support::visitor::{quick, until};

mod alerts;
mod figures;

impl Service {
    fn asked(&self, token: &str, path: &str) -> Value {
        let answer = self.ask(token, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    fn ask(&self, token: &str, path: &str) -> Answer {
        self.with_token("GET", path, token)
    }

    /// A stream of events from anywhere.
    fn stream(&self, path: &str, headers: &str) -> Stream {
        let mut stream = self.raw();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{headers}\r\n"
        )
        .unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(
            head.to_ascii_lowercase().contains("x-accel-buffering: no"),
            "{head}"
        );
        Stream { lines }
    }
}

struct Stream {
    lines: BufReader<TcpStream>,
}

/// A block of a stream as the HTML standard reads it: an id alone is one as well.
#[derive(Debug, Default)]
struct Block {
    kind: String,
    id: Option<i64>,
    data: Value,
}

impl Stream {
    fn next(&mut self) -> Block {
        let mut block = Block::default();
        let mut any = false;
        loop {
            let mut line = String::new();
            assert!(
                self.lines.read_line(&mut line).unwrap() > 0,
                "the stream ended: {block:?}"
            );
            let line = line.trim_end();
            if let Some(kind) = line.strip_prefix("event: ") {
                (block.kind, any) = (kind.to_owned(), true);
            } else if let Some(id) = line.strip_prefix("id: ") {
                (block.id, any) = (Some(id.parse().unwrap()), true);
            } else if let Some(data) = line.strip_prefix("data: ") {
                (block.data, any) = (serde_json::from_str(data).unwrap(), true);
            } else if line.is_empty() && any {
                return block;
            }
        }
    }

    /// The next event of a kind.
    fn next_of(&mut self, kind: &str) -> Block {
        loop {
            let block = self.next();
            if block.kind == kind {
                return block;
            }
        }
    }
}

fn kinds(page: &Value) -> Vec<&str> {
    let events = page["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

#[test]
fn readings_appear_with_their_history_and_verdicts() {
    let service = Setup::default().with("monitor.interval_seconds", 1).start();
    let token = service.token("ops:read");
    let listed = service.asked(&token, "/api/admin/history");
    let metrics = listed["metrics"].as_array().unwrap();
    assert!(metrics.len() >= 20, "{listed}");
    until("three readings are kept", || {
        let history = service.asked(
            &token,
            "/api/admin/history?metric=disk_available&points=1000",
        );
        let points = history["points"].as_array().unwrap();
        points
            .iter()
            .map(|point| point["count"].as_u64().unwrap())
            .sum::<u64>()
            >= 3
    });
    for metric in metrics {
        let name = metric["name"].as_str().unwrap();
        let history = service.asked(
            &token,
            &format!("/api/admin/history?metric={name}&points=1"),
        );
        assert_eq!(history["unit"], metric["unit"]);
        let point = &history["points"][0];
        let [min, mean, max] = ["min", "mean", "max"].map(|key| point[key].as_f64().unwrap());
        assert!(
            min <= mean && mean <= max && point["count"].as_u64().unwrap() >= 3,
            "{name} {point}"
        );
        let counts = [
            "disk_total",
            "disk_available",
            "memory_total",
            "memory_available",
            "resident",
            "index_bytes",
            "commit_mean",
        ];
        if counts.contains(&name) {
            assert!(max > 0.0, "{name} {point}");
        }
    }
    let disk = service.asked(&token, "/api/admin/disk");
    assert!(disk["total_bytes"].as_u64().unwrap() > disk["available_bytes"].as_u64().unwrap());
    assert!(disk["kept"]["index_bytes"].as_u64().unwrap() > 0, "{disk}");
    assert_eq!(disk["marks"]["floor_bytes"], 1_000_000);
    let health = service.asked(&token, "/api/admin/health");
    let resources: Vec<&str> = health["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["resource"].as_str().unwrap())
        .collect();
    assert_eq!(
        resources,
        [
            "disk", "inodes", "memory", "queue", "worker", "index", "storage", "sidecars"
        ]
    );
    assert!(!health["history"].as_array().unwrap().is_empty());
    let public = service.get("/api/health").json();
    assert_eq!(public["verdicts"]["storage"], "ok");
    assert_eq!(public["checks"].as_array().unwrap().len(), 5);
}

#[test]
fn a_disk_that_fills_is_foretold_and_told_before_it_is_full() {
    let mut service = Service::start();
    service.signal("TERM");
    assert!(service.ended().success());
    let path = service.data.join("index.db");
    let free = {
        let told = rustix::fs::statvfs(&service.data).unwrap();
        (told.f_bavail * told.f_frsize) as f64
    };
    // Three hours in which it came down to what it is, so that it is full ten hours from now.
    let rate = free / 36_000.0;
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let index = Index::open(&path, 1).unwrap();
        let now = Timestamp::from_system(std::time::SystemTime::now());
        for minute in 1..180 {
            let sample = Sample {
                metric: "disk_available",
                value: free + rate * 60.0 * f64::from(minute),
                unit: "bytes",
            };
            let at = now.plus_millis(-60_000 * i64::from(minute));
            index.record_samples(at, vec![sample]).await.unwrap();
        }
        index.close();
    });
    let setup = Setup {
        data: Some(service.data.clone()),
        ..Setup::default()
    };
    let service = setup.with("monitor.interval_seconds", 1).start();
    let token = service.token("ops:read");
    let forecast = service.asked(&token, "/api/admin/disk")["forecast"].clone();
    let hours = forecast["full_in_seconds"].as_f64().unwrap() / 3600.0;
    assert!((8.0..12.0).contains(&hours), "{forecast}");
    assert!(
        forecast["full_at"].as_str().unwrap().ends_with('Z'),
        "{forecast}"
    );
    until("it is judged", || {
        service.get("/api/health").json()["verdicts"]["disk"] == "high"
    });
    let changed = service.asked(&token, "/api/admin/events?kind=health.changed&subject=disk");
    let told = &changed["events"][0]["data"];
    assert_eq!(
        (&told["was"], &told["verdict"]),
        (&json!("ok"), &json!("high"))
    );
    assert!(
        told["detail"]
            .as_str()
            .unwrap()
            .contains("at the present rate"),
        "{told}"
    );
}

#[test]
fn what_is_asked_wrongly_is_told_and_without_the_scope_nothing_is() {
    let service = Service::start();
    let token = service.token("ops:read");
    for (path, code) in [
        ("/api/admin/history?metric=nonsense", "metric_unknown"),
        (
            "/api/admin/history?metric=load&from=yesterday",
            "time_invalid",
        ),
        (
            "/api/admin/history?metric=load&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            "time_order",
        ),
        ("/api/admin/history?metric=load&points=0", "points_invalid"),
        (
            "/api/admin/history?metric=load&points=1001",
            "points_invalid",
        ),
        ("/api/admin/events?kind=clip.lost", "kind_unknown"),
        ("/api/admin/events?limit=0", "limit_invalid"),
        ("/api/admin/events?after=x", "cursor_invalid"),
        ("/api/admin/events?before=-1", "cursor_invalid"),
        ("/api/admin/events?before=1&after=1", "cursor_invalid"),
    ] {
        service.ask(&token, path).expect_problem(400, code);
    }
    let other = service.token("clip:manage");
    for path in ["disk", "history", "queue", "events", "health"] {
        let path = format!("/api/admin/{path}");
        service.get(&path).expect_problem(401, "token_needed");
        service
            .ask(&other, &path)
            .expect_problem(403, "token_scope");
        assert_eq!(service.ask(&token, &path).status, 200);
    }
}

#[test]
fn the_queue_is_shown_without_whom_it_is_for() {
    let service = Setup::default().with("engine.workers", 1).start();
    let origin = Origin::start();
    let held = service.hold(&origin);
    let waiting = service.ticket(&quick(&origin.link("/later.mp4")));
    let queue = service.asked(&service.token("ops:read"), "/api/admin/queue");
    assert_eq!(queue["slots"], 1);
    assert_eq!(queue["running"][0]["id"], held.id.as_str());
    assert_eq!(queue["running"][0]["state"], "fetching");
    assert_eq!(queue["waiting"][0]["id"], waiting.id.as_str());
    assert_eq!(queue["waiting"][0]["position"], 1);
    assert!(queue["waiting"][0]["eta_seconds"].as_f64().unwrap() > 0.0);
    let text = queue.to_string();
    assert!(
        !text.contains("visitor") && !text.contains("127.0.0.1") && !text.contains("token"),
        "{text}"
    );
}

#[test]
fn the_trail_is_paged_both_ways_without_gaps() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&media::tiny());
    let token = service.token("ops:read");
    let made = service.make(&quick(&link));
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        service.fail(&quick("http://127.0.0.1:9/nothing.mp4")),
        "source_unreachable"
    );
    let page = service.asked(&token, &format!("/api/admin/events?after=0&subject={id}"));
    assert_eq!(
        kinds(&page),
        [
            "clip.submitted",
            "clip.started",
            "clip.cutting",
            "clip.storing",
            "clip.ready"
        ]
    );
    assert!(
        page["events"][1]["duration_ms"].is_i64(),
        "how long it waited: {page}"
    );
    let ready = &page["events"][4];
    assert!(ready["duration_ms"].as_i64().unwrap() > 0, "{ready}");
    assert_eq!(ready["data"]["method"], made["result"]["method"]);
    let failed = service.asked(&token, "/api/admin/events?kind=clip.failed");
    let failed = &failed["events"][0];
    assert_eq!(failed["error"], "source_unreachable");
    assert!(failed["duration_ms"].is_i64(), "{failed}");
    assert_eq!(failed["data"]["stage"], "fetching");
    let seqs = |mut path: String, cursor: &str| {
        let mut seqs = Vec::new();
        loop {
            let page = service.asked(&token, &path);
            let events = page["events"].as_array().unwrap();
            assert!(events.len() <= 3);
            seqs.extend(events.iter().map(|event| event["seq"].as_i64().unwrap()));
            match page["next"].as_i64() {
                Some(next) => path = format!("/api/admin/events?limit=3&{cursor}={next}"),
                None => return seqs,
            }
        }
    };
    let forth = seqs("/api/admin/events?limit=3&after=0".to_owned(), "after");
    let mut back = seqs("/api/admin/events?limit=3".to_owned(), "before");
    back.reverse();
    assert!(forth.len() > 9 && forth.is_sorted(), "{forth:?}");
    assert_eq!(forth, back);
    let started = service.asked(&token, "/api/admin/events?kind=service.started");
    assert_eq!(
        started["events"][0]["data"]["version"],
        env!("CARGO_PKG_VERSION")
    );
}

#[test]
fn the_trail_is_followed_as_it_happens_and_taken_up_where_it_was_left() {
    let service = Service::start();
    let origin = Origin::start();
    let token = service.token("ops:read");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut stream = service.stream("/api/admin/events", &bearer);
    let from = stream.next().id.unwrap();
    let ticket = service.hold(&origin);
    let submitted = stream.next_of("clip.submitted");
    assert_eq!(submitted.data["subject"], ticket.id.as_str());
    assert!(submitted.id.unwrap() > from);
    drop(stream);
    service.cancel(&ticket);
    // What happened meanwhile comes first, in order and once.
    let again = format!("{bearer}Last-Event-ID: {}\r\n", submitted.id.unwrap());
    let mut stream = service.stream("/api/admin/events", &again);
    assert_eq!(stream.next().id, submitted.id);
    let mut seqs = Vec::new();
    loop {
        let block = stream.next();
        seqs.push(block.id.unwrap());
        if block.kind == "clip.cancelled" {
            break;
        }
        assert_ne!(block.kind, "clip.submitted");
    }
    assert!(
        seqs.is_sorted() && seqs[0] > submitted.id.unwrap(),
        "{seqs:?}"
    );
    // What another program writes is heard as well, and what was not asked for is not.
    let mut tokens = service.stream("/api/admin/events?kind=token.created", &bearer);
    tokens.next();
    service.token("admin");
    assert_eq!(tokens.next().kind, "token.created");
}

#[test]
fn a_token_that_is_revoked_hears_nothing_more() {
    let service = Service::start();
    let token = service.token("ops:read");
    let mut stream = service.stream(
        "/api/admin/events",
        &format!("Authorization: Bearer {token}\r\n"),
    );
    stream.next();
    let index = rusqlite::Connection::open(service.data.join("index.db")).unwrap();
    assert_eq!(
        index
            .execute("UPDATE tokens SET revoked_at = 1", [])
            .unwrap(),
        1
    );
    service.hold(&Origin::start());
    // The last piece of an answer in pieces is one of no bytes.
    for line in stream.lines.lines().map(Result::unwrap) {
        assert!(!line.contains("clip.submitted"), "{line}");
        if line == "0" {
            return;
        }
    }
    panic!("the answer was cut off");
}

#[test]
fn who_follows_all_clips_by_a_token_hears_nothing_more_when_it_is_revoked() {
    let service = Setup::default().with("auth.create", "token").start();
    let (token, maker) = (service.token("file:read"), service.token("clip:create"));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let mut other = service.stream("/api/events", &bearer(&maker));
    let mut stream = service.stream("/api/events", &bearer(&token));
    other.next();
    stream.next();
    let revoked = service.token("admin");
    let path = format!("/api/admin/tokens/{}", &token[3..19]);
    assert_eq!(service.with_token("DELETE", &path, &revoked).status, 204);
    let header = format!("Bearer {maker}");
    let nowhere = quick("http://127.0.0.1:9/nothing.mp4");
    let made = service.submit_with(&[("authorization", &header)], &nowhere);
    assert_eq!(made.status, 202, "{}", made.text());
    // The last piece of an answer in pieces is one of no bytes.
    let mut lines = stream.lines.lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "0"), "the answer was cut off");
    // Who may goes on to hear.
    assert_eq!(other.next_of("state").kind, "state");
}

#[test]
fn who_was_away_for_long_is_told_that_something_was_missed() {
    let service = Service::start();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let index = Index::open(&service.data.join("index.db"), 1).unwrap();
        let notes = (0..1100).map(|_| {
            let note = Note {
                kind: Kind::Changed,
                subject: "0192f0c1-2345-7abc-8def-0123456789ab".to_owned(),
                data: json!({}),
                duration_ms: None,
                error: None,
            };
            index.note(Timestamp(1), note)
        });
        futures_util::future::try_join_all(notes).await.unwrap();
        index.close();
    });
    let mut stream = service.stream("/api/events", "Last-Event-ID: 1\r\n");
    let first = stream.next();
    assert_eq!(first.kind, "missed");
    let last = first.id.unwrap();
    assert!(last >= 1100);
    // A little later is not long: the clip that is not there is told once, however often it was noted.
    let mut stream = service.stream("/api/events", &format!("Last-Event-ID: {}\r\n", last - 150));
    let ids: Vec<i64> = (0..2)
        .map(|_| stream.next_of("removed").id.unwrap())
        .collect();
    assert_eq!(*ids.last().unwrap(), last);
}

#[test]
fn everybody_may_follow_all_clips_and_sees_what_everybody_may_see() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&media::tiny());
    let mut stream = service.stream("/api/events", "");
    let from = stream.next().id.unwrap();
    let first = service.make(&recipe(&link, 0.5, 1.5));
    let second = service.make(&quick(&link));
    let (mut states, mut seqs) = (Vec::new(), Vec::new());
    while states.last() != Some(&(second["id"].clone(), "ready".to_owned())) {
        let block = stream.next();
        assert!(block.data.get("delete_token").is_none(), "{block:?}");
        assert!(block.data["id"].is_string(), "{block:?}");
        match block.kind.as_str() {
            "state" => {
                states.push((
                    block.data["id"].clone(),
                    block.data["state"].as_str().unwrap().to_owned(),
                ));
                seqs.push(block.id.unwrap());
            }
            "progress" => assert!(block.id.is_none()),
            other => panic!("{other}"),
        }
    }
    assert!(
        seqs.is_sorted() && seqs.windows(2).all(|pair| pair[0] < pair[1]),
        "{seqs:?}"
    );
    assert!(
        states.contains(&(first["id"].clone(), "ready".to_owned())),
        "{states:?}"
    );
    // Taken up from the beginning: of each clip the last state, and then what comes.
    let mut again = service.stream("/api/events", &format!("Last-Event-ID: {from}\r\n"));
    for clip in [&first, &second] {
        let block = again.next();
        assert_eq!(
            (&block.data["id"], &block.data["state"]),
            (&clip["id"], &json!("ready"))
        );
    }
    let ticket = service.ticket(&quick(&link));
    service.wait_for(&ticket.id, &["ready"]);
    assert_eq!(service.remove(&ticket).status, 204);
    let removed = again.next_of("removed");
    assert_eq!(removed.data["id"], ticket.id.as_str());
}

#[test]
fn a_clip_of_an_upload_does_not_tell_all_the_world_which() {
    let service = Service::start();
    let mut stream = service.stream("/api/events", "");
    stream.next();
    let bytes = std::fs::read(media::tiny()).unwrap();
    let length = bytes.len().to_string();
    let made = service.request(
        "POST",
        "/api/uploads",
        &[
            ("tus-resumable", "1.0.0"),
            ("upload-length", &length),
            ("content-type", "application/offset+octet-stream"),
        ],
        &bytes,
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let upload = made
        .header("location")
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    service.make(&json!({"upload": upload, "start_time": 0.5, "end_time": 1.5}));
    loop {
        let block = stream.next();
        assert!(!block.data.to_string().contains(&upload), "{block:?}");
        if block.data["state"] == "ready" {
            break;
        }
    }
}

#[test]
fn log_lines_carry_request_ids_in_both_formats_and_no_address_and_no_query() {
    for format in ["text", "json"] {
        let service = Setup::default().with("log.format", format).start();
        let headers = [
            ("x-forwarded-for", "203.0.113.77"),
            ("content-type", "application/json"),
        ];
        let (_origin, link) = Origin::with(&media::tiny());
        let body = quick(&format!("{link}?key=hunter2")).to_string();
        let answer = service.request(
            "POST",
            "/api/clips?secret=hunter2",
            &headers,
            body.as_bytes(),
        );
        assert_eq!(answer.status, 202, "{}", answer.text());
        let request = answer.header("x-request-id");
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        service.wait_for(&id, &["ready"]);
        service.request("GET", "/api/clips?text=hunter2", &headers[..1], b"");
        until("the lines are written", || {
            let log = service.log();
            log.lines()
                .filter(|line| line.contains("/api/clips") && line.contains("GET"))
                .count()
                >= 1
        });
        let log = service.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&request)).collect();
        assert!(
            lines
                .iter()
                .any(|line| line.contains("clip submitted") && line.contains(&id)),
            "{log}"
        );
        assert!(
            lines
                .iter()
                .any(|line| line.contains("/api/clips") && line.contains("202")),
            "{log}"
        );
        assert_eq!(lines.len(), 2, "{lines:?}");
        for never in ["203.0.113.77", "hunter2", "secret=", "text="] {
            assert!(!log.contains(never), "{never} in {log}");
        }
        if format == "json" {
            for line in log.lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                assert!(
                    line["level"].is_string() && line["message"].is_string(),
                    "{line}"
                );
            }
        }
    }
}

/// Where systemd would listen.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Manager {
    fn new() -> Manager {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager {
            socket,
            path,
            _dir: dir,
        }
    }

    /// Hears until a message holds this; all that was heard.
    fn hear(&self, wanted: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(wanted) {
            let mut buffer = [0; 4096];
            let length = self
                .socket
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("{error}: {wanted} after {heard}"));
            heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        heard
    }
}

fn notified(setup: Setup, manager: &Manager, watchdog: &str) -> Setup {
    let mut setup = setup;
    let socket = manager.path.to_str().unwrap().to_owned();
    setup.environment.push(("NOTIFY_SOCKET".to_owned(), socket));
    setup
        .environment
        .push(("WATCHDOG_USEC".to_owned(), watchdog.to_owned()));
    setup
}

#[test]
fn systemd_is_told_how_the_service_does_and_that_it_lives_even_when_the_disk_is_full() {
    let manager = Manager::new();
    // A floor that no disk has: to the service, the disk is full.
    let setup = Setup::default()
        .with("monitor.interval_seconds", 1)
        .with("monitor.floor", "900 TB");
    let mut service = notified(setup, &manager, "1000000").start();
    assert_eq!(service.get("/api/health").status, 503);
    let mut heard = manager.hear("READY=1");
    if !heard.contains("STATUS=") {
        heard += &manager.hear("STATUS=");
    }
    assert!(heard.contains("%, critical"), "{heard}");
    assert!(heard.contains("0 running, 0 waiting, disk "), "{heard}");
    for _ in 0..4 {
        manager.hear("WATCHDOG=1");
    }
    service.signal("TERM");
    manager.hear("STOPPING=1");
    assert!(service.ended().success());
}

#[test]
fn without_a_watchdog_nobody_is_pinged() {
    let manager = Manager::new();
    let mut service = Setup::default();
    let socket = manager.path.to_str().unwrap().to_owned();
    service
        .environment
        .push(("NOTIFY_SOCKET".to_owned(), socket));
    let mut service = service.start();
    let heard = manager.hear("STATUS=");
    service.signal("TERM");
    let heard = heard + &manager.hear("STOPPING=1");
    assert!(!heard.contains("WATCHDOG"), "{heard}");
    assert!(service.ended().success());
}

#[test]
fn the_end_of_the_service_is_in_the_trail() {
    let service = Service::start().restarted(Setup::default());
    let page = service.asked(&service.token("ops:read"), "/api/admin/events?after=0");
    let kinds = kinds(&page);
    let lives: Vec<&&str> = kinds
        .iter()
        .filter(|kind| kind.starts_with("service."))
        .collect();
    assert_eq!(
        lives,
        [&"service.started", &"service.stopped", &"service.started"]
    );
}
