//! What survives a power cut, an expiry, a clean-up and a newer version.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Service, Setup, run};
use crate::support::visitor::{Ticket, lengthy, quick, until};
use crate::support::wire;

/// The keeper runs at the turn of the year only.
const NEVER: &str = "0 0 0 1 1 *";

#[test]
fn every_clip_that_was_answered_is_there_after_a_power_cut() {
    let origin = Origin::start();
    let link = origin.add("/silent.mp4", Behaviour::Silent);
    let body = quick(&link).to_string();
    let setup = || {
        Setup::default()
            .with("LIMITS__QUEUE", 100_000)
            .with("ENGINE__WORKERS", 1)
            .with("LOG__LEVEL", "error,meme_maker::serve=info")
    };
    let mut service = setup().start();
    let answered = Mutex::new(Vec::new());
    for round in 0..10_u64 {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    // The service is killed under their hands: an answer that came whole counts, everything else does not.
                    while let Some(ticket) = submitted(&service.address, &body) {
                        answered.lock().unwrap().push(ticket);
                    }
                });
            }
            let enough = answered.lock().unwrap().len() + 5;
            until("some were answered", || {
                answered.lock().unwrap().len() >= enough
            });
            std::thread::sleep(Duration::from_micros(7919 * round % 40_000));
            service.signal("KILL");
        });
        service = service.killed_and_started_again(setup());
    }
    let answered = answered.into_inner().unwrap();
    for ticket in &answered {
        let answer = service.get(&ticket.path());
        assert_eq!(answer.status, 200, "{} is lost", ticket.id);
        let clip = answer.json();
        // One of them at most was in hand at two power cuts.
        let state = clip["state"].as_str().unwrap();
        assert!(["queued", "fetching", "failed"].contains(&state), "{clip}");
    }
    let (last, state) = (answered.last().unwrap(), "cancelled");
    assert_eq!(
        service.cancel(last).json()["state"],
        state,
        "its token fits"
    );
}

/// One submission on a connection of its own; none when the service went away meanwhile.
fn submitted(address: &str, body: &str) -> Option<Ticket> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    let request = format!(
        "POST /api/clips HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 202"), "{answer}");
    Some(Ticket::of(&serde_json::from_str(body).ok()?))
}

#[test]
fn a_clip_interrupted_once_is_made_by_the_next_run() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&media::long());
    let ticket = service.ticket(&lengthy(&link, 6.0));
    service.wait_for(&ticket.id, &["cutting"]);
    let service = service.killed_and_started_again(Setup::default());
    let clip = service.wait_for(&ticket.id, &["ready"]);
    assert_eq!(clip["result"]["frames"], 180);
    assert_served(&service, &clip);
}

#[test]
fn a_clip_interrupted_twice_fails_and_can_be_made_again() {
    let origin = Origin::start();
    let link = origin.add("/v.mp4", Behaviour::Silent);
    let setup = || Setup::default().with("ENGINE__WORKERS", 1);
    let mut service = setup().start();
    let ticket = service.ticket(&quick(&link));
    let other = service.ticket(&quick(&link));
    for _ in 0..2 {
        service.wait_for(&ticket.id, &["fetching"]);
        until("the work folder is there", || {
            service.work_of(&ticket).is_dir()
        });
        service = service.killed_and_started_again(setup());
    }
    let clip = service.clip(&ticket);
    assert_eq!(clip["state"], "failed", "{clip}");
    assert_eq!(clip["error"]["code"], "interrupted");
    assert!(clip["finished_at"].is_string());
    assert!(!service.work_of(&ticket).exists(), "work is swept");
    let document = service.get("/api/openapi.json").text();
    assert!(document.contains("`interrupted`"));
    // The one behind it never was in hand before and is none the worse.
    service.wait_for(&other.id, &["fetching"]);
    origin.add("/v.mp4", Behaviour::File(media::tiny()));
    service.cancel(&other);
    assert_eq!(service.retry(&ticket).status, 202);
    service.wait_for(&ticket.id, &["ready"]);
}

#[test]
fn a_power_cut_while_storing_shows_nothing_half_written() {
    let (_origin, link) = Origin::with(&media::everyday());
    let mut service = Service::start();
    let mut tickets = Vec::new();
    for round in 0..5_u64 {
        let mut wish = quick(&link);
        wish["end_time"] = 11.into();
        let ticket = service.ticket(&wish);
        let storing = service
            .events(&ticket.id, None)
            .find(|event| event.kind == "state" && event.data["state"] == "storing");
        assert!(storing.is_some());
        std::thread::sleep(Duration::from_millis(3 * round));
        service.signal("KILL");
        // What a job, a copy between disks and a ledger leave behind.
        let data = service.data.clone();
        for leftover in ["work/junk/window-0.mov", "storage/.incoming/junk/x.mp4"] {
            let leftover = data.join(leftover);
            std::fs::create_dir_all(leftover.parent().unwrap()).unwrap();
            std::fs::write(leftover, "half").unwrap();
        }
        service = service.killed_and_started_again(Setup::default());
        for folder in ["work/junk", "storage/.incoming/junk"] {
            assert!(!data.join(folder).exists(), "{folder} is swept");
        }
        let clip = service.clip(&ticket);
        let ready = clip["state"] == "ready";
        assert_eq!(clip["urls"]["file"].is_string(), ready, "{clip}");
        if !ready {
            let path = format!("/api/files/clips/{}/everyday.mp4", ticket.id);
            let answer = service.get(&path);
            let meanwhile = service.clip(&ticket)["state"] == "ready";
            assert!(answer.status == 404 || meanwhile, "{}", answer.status);
        }
        // A second interruption would be its last.
        service.wait_for(&ticket.id, &["ready"]);
        tickets.push(ticket);
    }
    for ticket in &tickets {
        let clip = service.wait_for(&ticket.id, &["ready"]);
        assert_served(&service, &clip);
        let ledger = read_json(&service.ledger_of(ticket));
        assert_eq!(ledger["state"], "ready");
        assert_eq!(ledger["result"]["sha256"], clip["result"]["sha256"]);
    }
    until("no work is left", || {
        let mut left = std::fs::read_dir(service.data.join("work")).unwrap();
        left.next().is_none()
    });
}

/// The file of a ready clip is whole.
#[track_caller]
fn assert_served(service: &Service, clip: &Value) {
    let answer = service.get(clip["urls"]["file"].as_str().unwrap());
    assert_eq!(answer.status, 200);
    let hash: String = Sha256::digest(&answer.bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(clip["result"]["sha256"], hash);
    assert_eq!(clip["result"]["size"], answer.bytes.len());
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_ready_clip_is_as_it_was_after_a_power_cut() {
    let (service, (_origin, link)) = (Service::start(), Origin::with(&media::tiny()));
    let ticket = service.ticket(&quick(&link));
    let before = service.wait_for(&ticket.id, &["ready"]);
    let tag = service
        .get(before["urls"]["file"].as_str().unwrap())
        .header("etag");
    let service = service.killed_and_started_again(Setup::default());
    let after = service.clip(&ticket);
    assert_eq!(after, before);
    assert_served(&service, &after);
    // A player that goes on after the restart sees that the bytes are the same.
    let file = after["urls"]["file"].as_str().unwrap();
    assert_eq!(service.get(file).header("etag"), tag);
    assert_eq!(service.remove(&ticket).status, 204, "its token still fits");
}

#[test]
fn the_index_is_a_write_ahead_log_with_foreign_keys_and_strict_tables() {
    let (service, (_origin, link)) = (Service::start(), Origin::with(&media::tiny()));
    service.make(&quick(&link));
    let path = service.data.join("index.db");
    assert!(service.data.join("index.db-wal").exists());
    let index = rusqlite::Connection::open(&path).unwrap();
    let journal: String = index
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(journal, "wal");
    let strict: Vec<(String, bool)> = index
        .prepare("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(strict.len() >= 5, "{strict:?}");
    assert!(strict.iter().all(|(_, strict)| *strict), "{strict:?}");
    let whole: String = index
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
    for file in ["index.db", "secret.key"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(service.data.join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{file} is for the service alone");
    }
}

#[test]
fn an_index_of_a_newer_version_is_refused_and_left_untouched() {
    let service = Service::start();
    let data = service.data.clone();
    let mut stopped = service;
    stopped.signal("TERM");
    assert!(stopped.ended().success());
    let path = data.join("index.db");
    let index = rusqlite::Connection::open(&path).unwrap();
    index.pragma_update(None, "user_version", 99).unwrap();
    index.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    for command in [&["serve", "--bind", "127.0.0.1:0"][..], &["cleanup"]] {
        let arguments = [command, &["--data-dir", data.to_str().unwrap()]].concat();
        let output = run(&arguments, &data);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{command:?}: {told}");
        assert!(told.contains("newer version"), "{command:?}: {told}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{command:?}");
    }
}

#[test]
fn an_expired_clip_loses_its_file_keeps_its_ledger_and_can_be_made_again() {
    let (_origin, link) = Origin::with(&media::tiny());
    let service = Setup::default()
        .with("RETENTION__HOURS", 0)
        .with("KEEPER__EXPIRY", "* * * * * *")
        .start();
    let ticket = service.ticket(&quick(&link));
    let events = service.events(&ticket.id, None);
    until("it has expired", || {
        service.clip(&ticket)["state"] == "expired"
    });
    until("its file is gone", || !service.files_of(&ticket).exists());
    events.for_each(drop);
    let clip = service.clip(&ticket);
    assert!(clip["urls"]["file"].is_null() && clip["error"].is_null());
    let ledger = read_json(&service.ledger_of(&ticket));
    assert_eq!(ledger["state"], "expired");
    assert_eq!(ledger["recipe"]["url"], link.as_str());
    assert!(!ledger.to_string().contains(&ticket.token));
    assert!(ledger.get("visitor").is_none());
    let file = format!("/api/files/clips/{}/tiny.mp4", ticket.id);
    service.get(&file).expect_problem(404, "not_found");
    service
        .get(&format!("{}/download", ticket.path()))
        .expect_problem(410, "clip_gone");
    let page = service.get(&format!("/c/{}", ticket.id));
    assert!(page.status == 410 && page.text().contains("Make it again"));
    let listed = service.get("/api/clips?state=expired").json();
    assert_eq!(listed["clips"][0]["id"], ticket.id);
    service.cancel(&ticket).expect_problem(409, "clip_state");

    let service = service.restarted(Setup::default());
    assert_eq!(service.retry(&ticket).status, 202);
    let clip = service.wait_for(&ticket.id, &["ready"]);
    assert_served(&service, &clip);
    assert_eq!(read_json(&service.ledger_of(&ticket))["state"], "ready");
}

/// A folder of published files that belongs to no clip, changed so many seconds ago.
fn orphan(data: &Path, id: &str, age: u64) -> std::path::PathBuf {
    let folder = data.join("storage/clips").join(id);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("x.mp4"), "x").unwrap();
    let changed = SystemTime::now() - Duration::from_secs(age);
    let handle = std::fs::File::open(&folder).unwrap();
    handle.set_modified(changed).unwrap();
    folder
}

#[test]
fn a_cleanup_says_what_it_would_remove_and_then_removes_it() {
    let (_origin, link) = Origin::with(&media::tiny());
    let setup = || {
        Setup::default()
            .with("KEEPER__EXPIRY", NEVER)
            .with("KEEPER__SWEEP", NEVER)
    };
    let service = setup().start();
    let kept = service.ticket(&quick(&link));
    service.wait_for(&kept.id, &["ready"]);
    let service = service.restarted(setup().with("RETENTION__HOURS", 0));
    let due = service.ticket(&quick(&link));
    service.wait_for(&due.id, &["ready"]);
    let data = service.data.clone();
    let old = "0192f0c1-2345-7abc-8def-0123456789ab";
    let young = "0192f0c1-2345-7abc-8def-0123456789ac";
    let (old_folder, young_folder) = (orphan(&data, old, 7200), orphan(&data, young, 60));
    let cleanup = |more: &[&str]| {
        let arguments = [&["cleanup", "--data-dir", data.to_str().unwrap()], more].concat();
        let output = run(&arguments, Path::new("/"));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    };
    let told = cleanup(&["--dry-run"]);
    for line in [
        format!("would remove {}", due.id),
        format!("would remove {old}"),
        "1 clip and 1 orphan".to_owned(),
    ] {
        assert!(told.contains(&line), "{line} is missing in {told}");
    }
    for id in [&kept.id, young] {
        assert!(!told.contains(id), "{told}");
    }
    assert!(service.files_of(&due).exists() && old_folder.exists());
    assert_eq!(service.clip(&due)["state"], "ready");

    // The service goes on serving while the command runs beside it.
    cleanup(&[]);
    assert!(!service.files_of(&due).exists() && !old_folder.exists());
    assert!(service.files_of(&kept).exists() && young_folder.exists());
    assert_eq!(service.clip(&due)["state"], "expired");
    assert_eq!(service.clip(&kept)["state"], "ready");
    assert!(service.ledger_of(&due).exists());
    assert!(cleanup(&["--dry-run"]).starts_with("0 clips"));
}

#[test]
fn files_of_clips_that_are_made_again_are_no_orphans() {
    let service = Setup::default().with("ENGINE__WORKERS", 1).start();
    let (origin, link) = Origin::with(&media::tiny());
    let ready = service.ticket(&quick(&link));
    service.wait_for(&ready.id, &["ready"]);
    // Its folder is old by now, as after two hours of being served.
    orphan(&service.data, &ready.id, 7200);
    let held = service.hold(&origin);
    let cancelled = service.ticket(&quick(&link));
    service.cancel(&cancelled);
    let folder = orphan(&service.data, &cancelled.id, 7200);
    let data = service.data.to_str().unwrap();
    let output = run(&["cleanup", "--data-dir", data], Path::new("/"));
    assert!(output.status.success());
    assert!(service.files_of(&ready).exists());
    assert!(!folder.exists(), "a cancelled clip has no files");
    assert_eq!(service.clip(&held)["state"], "fetching");
    let file = service.clip(&ready)["urls"]["file"].clone();
    assert_eq!(wire::get(&service, file.as_str().unwrap(), "").status, 200);
}
