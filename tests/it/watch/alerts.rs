//! Alerts: a real receiver that answers well or badly, and what arrives there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use meme_maker::index::Index;
use meme_maker::index::events::{Kind, Note};
use meme_maker::timestamp::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::kinds;
use crate::support::service::{Service, Setup};
use crate::support::visitor::until;

const SECRET: &str = "between us";

/// What arrived.
#[derive(Clone, Debug)]
struct Post {
    head: String,
    body: Vec<u8>,
}

impl Post {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> String {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found
            .next()
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    }

    /// Of whom it tells what.
    fn told(&self) -> (String, String, String) {
        let told = self.json();
        let word = |key: &str| told[key].as_str().unwrap().to_owned();
        (word("resource"), word("was"), word("verdict"))
    }
}

/// A webhook: answers with these statuses first, 0 being a connection that breaks, and then with 200.
struct Receiver {
    port: u16,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Receiver {
    fn start(statuses: &[u16]) -> Receiver {
        Receiver::on(TcpListener::bind("127.0.0.1:0").unwrap(), statuses)
    }

    fn on(listener: TcpListener, statuses: &[u16]) -> Receiver {
        let receiver = Receiver {
            port: listener.local_addr().unwrap().port(),
            posts: Arc::default(),
        };
        let (posts, statuses) = (Arc::clone(&receiver.posts), statuses.to_vec());
        let mut statuses = statuses.into_iter();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(post) = read(&stream) {
                    posts.lock().unwrap().push(post);
                    let status = statuses.next().unwrap_or(200);
                    if status > 0 {
                        let _ = write!(
                            &stream,
                            "HTTP/1.1 {status} Said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        );
                    }
                }
            }
        });
        receiver
    }

    fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    fn told(&self) -> Vec<(String, String, String)> {
        self.posts().iter().map(Post::told).collect()
    }
}

fn read(stream: &TcpStream) -> Option<Post> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Post { head, body })
}

/// HMAC (RFC 2104) by its definition.
fn hmac(key: &[u8], message: &[u8]) -> String {
    assert!(key.len() <= 64);
    let padded = |pad: u8| -> Vec<u8> {
        (0..64)
            .map(|place| key.get(place).copied().unwrap_or(0) ^ pad)
            .collect()
    };
    let inner = Sha256::digest([padded(0x36), message.to_vec()].concat());
    let outer = Sha256::digest([padded(0x5c), inner.to_vec()].concat());
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A program that can be taken away and put back, so that a verdict changes when the test wants it.
struct Program {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Program {
    fn new() -> Program {
        let dir = tempfile::tempdir().unwrap();
        let program = Program {
            path: dir.path().join("ffmpeg"),
            _dir: dir,
        };
        program.put_back();
        program
    }

    fn put_back(&self) {
        std::os::unix::fs::symlink("/bin/true", &self.path).unwrap();
    }

    fn take_away(&self) {
        std::fs::remove_file(&self.path).unwrap();
    }

    fn setup(&self, port: u16) -> Setup {
        Setup::default()
            .with("monitor.interval_seconds", 1)
            .with(
                "monitor.webhook_url",
                format!("http://127.0.0.1:{port}/hook/hunter2?key=hunter2"),
            )
            .with("monitor.webhook_secret", SECRET)
            .with("engine.ffmpeg", self.path.display())
    }
}

fn change(was: &str, verdict: &str) -> (String, String, String) {
    ("sidecars".to_owned(), was.to_owned(), verdict.to_owned())
}

/// Waits until so many more readings are kept.
fn let_readings_pass(service: &Service, token: &str, count: u64) {
    let readings = || {
        let history = service.asked(token, "/api/admin/history?metric=load&points=1");
        history["points"][0]["count"].as_u64().unwrap()
    };
    let before = readings();
    until("readings are taken", || readings() >= before + count);
}

#[test]
fn each_change_is_told_once_signed_and_with_the_next_step() {
    let (program, receiver) = (Program::new(), Receiver::start(&[]));
    let service = program.setup(receiver.port).start();
    let token = service.token("ops:read");
    program.take_away();
    until("it is told", || {
        receiver.told() == [change("ok", "critical")]
    });
    let_readings_pass(&service, &token, 3);
    program.put_back();
    until("that it is well is told", || receiver.posts().len() >= 2);
    let_readings_pass(&service, &token, 2);
    assert_eq!(
        receiver.told(),
        [change("ok", "critical"), change("critical", "ok")]
    );
    for post in receiver.posts() {
        let told = post.json();
        assert_eq!(told["kind"], "health.changed");
        assert_eq!(told["id"], post.header("x-meme-maker-event-id"));
        for field in ["at", "detail", "hint"] {
            assert!(!told[field].as_str().unwrap().is_empty(), "{told}");
        }
        assert!(told["readings"]["disk_available"].as_f64().unwrap() > 0.0);
        assert!(
            post.head.starts_with("POST /hook/hunter2?key=hunter2 "),
            "{}",
            post.head
        );
        let signature = post.header("x-meme-maker-signature");
        let (t, v1) = signature
            .strip_prefix("t=")
            .unwrap()
            .split_once(",v1=")
            .unwrap();
        assert_eq!(
            v1,
            hmac(
                SECRET.as_bytes(),
                &[t.as_bytes(), b".", &post.body].concat()
            )
        );
    }
    until("it is in the trail", || {
        let sent = service.asked(&token, "/api/admin/events?kind=alert.sent");
        kinds(&sent).len() == 2
    });
    let changed = service.asked(
        &token,
        "/api/admin/events?kind=health.changed&subject=sidecars",
    );
    assert_eq!(changed["events"].as_array().unwrap().len(), 2);
    // The address may hold a secret.
    assert!(!service.log().contains("hunter2"), "{}", service.log());
    assert!(
        service
            .log()
            .contains(&format!("http://127.0.0.1:{}", receiver.port))
    );
}

#[test]
fn an_alert_is_sent_again_until_it_arrives() {
    let (program, receiver) = (Program::new(), Receiver::start(&[500, 0, 429]));
    let service = program.setup(receiver.port).start();
    let token = service.token("ops:read");
    program.take_away();
    until("it has arrived", || {
        let sent = service.asked(&token, "/api/admin/events?kind=alert.sent");
        sent["events"][0]["data"]["attempts"] == 4
    });
    let posts = receiver.posts();
    let ids: Vec<Value> = posts.iter().map(|post| post.json()["id"].clone()).collect();
    assert_eq!(ids.len(), 4);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(
        service.asked(&token, "/api/admin/health")["alerts_pending"],
        0
    );
}

#[test]
fn an_alert_that_is_not_wanted_is_not_sent_again() {
    let (program, receiver) = (Program::new(), Receiver::start(&[404]));
    let service = program.setup(receiver.port).start();
    let token = service.token("ops:read");
    program.take_away();
    until("it is given up", || {
        let failed = service.asked(&token, "/api/admin/events?kind=alert.failed");
        failed["events"][0]["error"]
            .as_str()
            .is_some_and(|error| error.contains("404"))
    });
    let_readings_pass(&service, &token, 3);
    assert_eq!(receiver.posts().len(), 1);
}

#[test]
fn an_alert_outlives_a_webhook_that_is_away_and_a_service_that_is_killed() {
    let program = Program::new();
    let away = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = away.local_addr().unwrap().port();
    drop(away);
    let service = program.setup(port).start();
    let token = service.token("ops:read");
    program.take_away();
    until("it waits", || {
        service.asked(&token, "/api/admin/health")["alerts_pending"] == 1
    });
    let service = service.killed_and_started_again(program.setup(port));
    let receiver = Receiver::on(TcpListener::bind(("127.0.0.1", port)).unwrap(), &[]);
    until("it has arrived", || !receiver.posts().is_empty());
    until("nothing waits", || {
        service.asked(&token, "/api/admin/health")["alerts_pending"] == 0
    });
    let_readings_pass(&service, &token, 3);
    // That the program is still away after the start is no news.
    assert_eq!(receiver.told(), [change("ok", "critical")]);
}

#[test]
fn what_another_program_notes_is_told_as_well() {
    let (program, receiver) = (Program::new(), Receiver::start(&[]));
    let service = program.setup(receiver.port).start();
    note_failed_backup(&service.data);
    until("it is told", || !receiver.posts().is_empty());
    let told = receiver.posts()[0].json();
    assert_eq!(
        (&told["kind"], &told["verdict"]),
        (&json!("backup.failed"), &json!("critical"))
    );
    assert!(
        told["detail"].as_str().unwrap().contains("disk_full"),
        "{told}"
    );
}

fn note_failed_backup(data: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let index = Index::open(&data.join("index.db"), 1).unwrap();
        let note = Note {
            kind: Kind::BackupFailed,
            subject: "backup".to_owned(),
            data: json!({}),
            duration_ms: Some(1),
            error: Some("disk_full".to_owned()),
        };
        let now = Timestamp::from_system(std::time::SystemTime::now());
        index.note(now, note).await.unwrap();
        index.close();
    });
}

#[test]
fn an_index_that_cannot_be_written_does_not_keep_an_alert_back_and_hears_of_it_later() {
    let (program, receiver) = (Program::new(), Receiver::start(&[]));
    let service = program.setup(receiver.port).start();
    let token = service.token("ops:read");
    // Whoever holds the lock keeps the service from writing, as a full disk does.
    let lock = rusqlite::Connection::open(service.data.join("index.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    program.take_away();
    let index = |was: &str, verdict: &str| ("index".to_owned(), was.to_owned(), verdict.to_owned());
    until("both are told", || {
        let told = receiver.told();
        told.contains(&change("ok", "critical")) && told.contains(&index("ok", "critical"))
    });
    assert_eq!(service.get("/api/health/live").status, 200);
    lock.execute_batch("ROLLBACK").unwrap();
    until("that it is well is told", || {
        receiver.told().contains(&index("critical", "ok"))
    });
    until("all of it is in the trail", || {
        let changed = service.asked(&token, "/api/admin/events?kind=health.changed");
        kinds(&changed).len() == 3
    });
    let_readings_pass(&service, &token, 2);
    let mut told = receiver.told();
    told.sort();
    assert_eq!(
        told,
        [
            index("critical", "ok"),
            index("ok", "critical"),
            change("ok", "critical")
        ]
    );
}

#[test]
fn an_alert_that_did_not_arrive_from_memory_goes_out_from_the_trail_after_a_restart() {
    let program = Program::new();
    let away = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = away.local_addr().unwrap().port();
    drop(away);
    let service = program.setup(port).start();
    let token = service.token("ops:read");
    let lock = rusqlite::Connection::open(service.data.join("index.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    program.take_away();
    until("it is told from memory", || {
        service
            .log()
            .contains("could not be written; they are told from memory")
            && service.get("/api/health").json()["verdicts"]["sidecars"] == "critical"
    });
    lock.execute_batch("ROLLBACK").unwrap();
    until("it waits in the index", || {
        let waiting = service.asked(&token, "/api/admin/health")["alerts_pending"].clone();
        waiting.as_u64().unwrap() > 0
    });
    let _service = service.killed_and_started_again(program.setup(port));
    let receiver = Receiver::on(TcpListener::bind(("127.0.0.1", port)).unwrap(), &[]);
    until("it has arrived", || {
        receiver.told().contains(&change("ok", "critical"))
    });
}

/// A disk of a few megabytes.
struct Small(tempfile::TempDir);

impl Small {
    /// None where this process may not mount.
    fn mount() -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24M", "tmpfs"])
            .arg(dir.path())
            .output();
        let mounted = mounted.is_ok_and(|done| done.status.success());
        mounted.then(|| Small(dir))
    }

    /// Writes until not a byte is left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("filler")).unwrap();
        for piece in [1 << 16, 1] {
            while file.write_all(&vec![7; piece]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn a_full_disk_is_told_and_is_no_reason_to_be_killed() {
    let Some(small) = Small::mount() else {
        eprintln!("skipped: a small disk can be mounted by root only");
        return;
    };
    let (receiver, manager) = (Receiver::start(&[]), super::Manager::new());
    let setup = Setup {
        data: Some(small.0.path().join("data")),
        ..Setup::default()
    };
    let setup = setup
        .with("monitor.interval_seconds", 1)
        .with("monitor.floor", "4 MB")
        .with("storage.ballast_bytes", 0)
        .with(
            "monitor.webhook_url",
            format!("http://127.0.0.1:{}/", receiver.port),
        );
    let service = super::notified(setup, &manager, "1000000").start();
    small.fill();
    let changed = |resource: &str, was: &str, verdict: &str| {
        (resource.to_owned(), was.to_owned(), verdict.to_owned())
    };
    // The index keeps free pages for such a day and goes on.
    for resource in ["disk", "storage"] {
        let told = changed(resource, "ok", "critical");
        until("it is told", || receiver.told().contains(&told));
    }
    manager.hear("%, critical");
    for _ in 0..4 {
        manager.hear("WATCHDOG=1");
    }
    assert_eq!(service.get("/api/clips").status, 200);
    small.empty();
    for resource in ["disk", "storage"] {
        let told = changed(resource, "critical", "ok");
        until("that it is well is told", || {
            receiver.told().contains(&told)
        });
    }
    let token = service.token("ops:read");
    let_readings_pass(&service, &token, 2);
    let told = receiver.told();
    for resource in ["disk", "storage"] {
        let times =
            |told_of: &(String, String, String)| told.iter().filter(|one| *one == told_of).count();
        assert_eq!(times(&changed(resource, "ok", "critical")), 1, "{told:?}");
        assert_eq!(times(&changed(resource, "critical", "ok")), 1, "{told:?}");
    }
    let trail = service.asked(&token, "/api/admin/events?kind=health.changed");
    assert_eq!(kinds(&trail).len(), told.len());
    drop(service);
}

#[test]
fn without_a_webhook_nothing_waits_and_nothing_old_is_told_later() {
    let (program, receiver) = (Program::new(), Receiver::start(&[]));
    let service = program
        .setup(receiver.port)
        .with("monitor.webhook_url", "")
        .start();
    let token = service.token("ops:read");
    program.take_away();
    until("it is judged", || {
        let changed = service.asked(&token, "/api/admin/events?kind=health.changed");
        !kinds(&changed).is_empty()
    });
    let_readings_pass(&service, &token, 1);
    let service = service.restarted(program.setup(receiver.port));
    program.put_back();
    until("what is new is told", || !receiver.posts().is_empty());
    assert_eq!(receiver.told(), [change("critical", "ok")]);
    assert_eq!(
        service.asked(&token, "/api/admin/health")["alerts_pending"],
        0
    );
}
