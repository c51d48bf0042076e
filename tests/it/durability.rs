//! What survives a power cut, an expiry and a newer version.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{PATIENCE, Service, Setup, recipe, run};

#[test]
fn every_clip_that_was_answered_is_there_after_a_power_cut() {
    let origin = Origin::start();
    let link = origin.add("/silent.mp4", Behaviour::Silent);
    let setup = || Setup::default().with("LIMITS__QUEUE", 100_000);
    let mut service = setup().start();
    let answered = Mutex::new(Vec::new());
    for round in 0..5_u64 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let body = recipe(&link, 0.0, 1.0).to_string();
                    let request = format!(
                        "POST /api/clips HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    loop {
                        // The service is killed under our hands: an answer that came whole counts, everything else does not.
                        let Ok(mut stream) = std::net::TcpStream::connect(&service.address) else { return };
                        use std::io::{Read, Write};
                        let mut answer = String::new();
                        if stream.write_all(request.as_bytes()).is_err() || stream.read_to_string(&mut answer).is_err() {
                            return;
                        }
                        let Some((head, body)) = answer.split_once("\r\n\r\n") else { return };
                        if head.starts_with("HTTP/1.1 202") && let Ok(clip) = serde_json::from_str::<serde_json::Value>(body) {
                            answered.lock().unwrap().push(clip["id"].as_str().unwrap().to_owned());
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(150 + 37 * round));
            service.signal("KILL");
        });
        service = service.killed_and_started_again(setup());
    }
    let answered = answered.into_inner().unwrap();
    assert!(answered.len() > 50, "only {} were answered", answered.len());
    for id in &answered {
        assert_eq!(
            service.get(&format!("/api/clips/{id}")).status,
            200,
            "{id} is lost"
        );
    }
}

#[test]
fn a_clip_interrupted_once_is_made_and_twice_fails() {
    let origin = Origin::start();
    let link = origin.add("/v.mp4", Behaviour::Silent);
    let service = Service::start();
    let (once, twice) = (
        service.submit(&recipe(&link, 0.5, 1.5)),
        service.submit(&recipe(&link, 0.5, 1.5)),
    );
    let (once, twice) = (once["id"].as_str().unwrap(), twice["id"].as_str().unwrap());
    let setup = || Setup::default().with("ENGINE__WORKERS", 2);
    for id in [once, twice] {
        service.wait_for(id, &["fetching"]);
    }
    let leftover = service.data.join("work").join(once);
    assert!(leftover.is_dir());
    let service = service.killed_and_started_again(setup());
    service.wait_for(twice, &["fetching"]);
    service.wait_for(once, &["fetching"]);
    // Now the source answers; only one of the two is let finish before the next cut.
    let service = service.killed_and_started_again(setup());
    for id in [once, twice] {
        let clip = service.get(&format!("/api/clips/{id}")).json();
        assert_eq!(
            (clip["state"].as_str(), clip["error"]["code"].as_str()),
            (Some("failed"), Some("interrupted")),
            "{clip}"
        );
    }
    assert!(!leftover.exists(), "work was not swept");
    origin.add("/v.mp4", Behaviour::File(media::tiny()));
    let third = service.submit(&recipe(&link, 0.5, 1.5));
    let third = third["id"].as_str().unwrap();
    let service = service.killed_and_started_again(setup());
    service.wait_for(third, &["ready"]);
}

#[test]
fn an_index_of_a_newer_version_is_refused_and_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut service = Setup {
        data: Some(data.clone()),
        ..Setup::default()
    }
    .start();
    service.signal("TERM");
    assert!(service.ended().success());
    let script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version=99'); c.commit(); c.close()";
    let done = Command::new("python3")
        .args(["-c", script])
        .arg(data.join("index.db"))
        .status()
        .unwrap();
    assert!(done.success());
    let before = std::fs::read(data.join("index.db")).unwrap();
    let output = run(
        &[
            "serve",
            "--bind",
            "127.0.0.1:0",
            "--data-dir",
            data.to_str().unwrap(),
        ],
        dir.path(),
    );
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && told.contains("newer version"),
        "{told}"
    );
    assert_eq!(std::fs::read(data.join("index.db")).unwrap(), before);
}

#[test]
fn an_expired_clip_loses_its_file_keeps_its_ledger_and_can_be_made_again() {
    let (origin, link) = Origin::with(&media::tiny());
    let service = Setup::default()
        .with("RETENTION__HOURS", 0)
        .with("KEEPER__EXPIRY", "* * * * * *")
        .start();
    let clip = service.submit(&recipe(&link, 0.5, 1.5));
    let (id, token) = (
        clip["id"].as_str().unwrap(),
        clip["delete_token"].as_str().unwrap(),
    );
    let began = Instant::now();
    while service.get(&format!("/api/clips/{id}")).json()["state"] != "expired" {
        assert!(began.elapsed() < PATIENCE, "{}", service.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let folder = service.data.join("storage/clips").join(id);
    while folder.exists() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    let ledger =
        std::fs::read_to_string(service.data.join(format!("ledger/clips/{id}.json"))).unwrap();
    let ledger: serde_json::Value = serde_json::from_str(&ledger).unwrap();
    assert_eq!(
        (ledger["state"].as_str(), ledger["recipe"]["url"].as_str()),
        (Some("expired"), Some(link.as_str()))
    );
    assert!(!ledger.to_string().contains(token));
    service
        .get(&format!("/api/clips/{id}/download"))
        .expect_problem(410, "clip_gone");
    let page = service.get(&format!("/c/{id}"));
    assert!(page.status == 410 && page.text().contains("Make it again"));
    let service = service.restarted(Setup::default());
    assert_eq!(
        service
            .with_token("POST", &format!("/api/clips/{id}/retry"), token)
            .status,
        202
    );
    service.wait_for(id, &["ready"]);
    drop(origin);
}

#[test]
fn a_cleanup_says_what_it_would_remove_and_then_removes_it() {
    let (_origin, link) = Origin::with(&media::tiny());
    let service = Setup::default()
        .with("RETENTION__HOURS", 0)
        .with("KEEPER__EXPIRY", "0 0 0 1 1 *")
        .start();
    let clip = service.make(&recipe(&link, 0.5, 1.5));
    let id = clip["id"].as_str().unwrap();
    let orphan = service
        .data
        .join("storage/clips/0192f0c1-2345-7abc-8def-0123456789ab");
    std::fs::create_dir_all(&orphan).unwrap();
    std::fs::write(orphan.join("x.mp4"), "x").unwrap();
    let old = SystemTime::now() - Duration::from_secs(7200);
    std::fs::File::open(&orphan)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let cleanup = |more: &[&str]| {
        let data = service.data.to_str().unwrap();
        let output = run(
            &[&["cleanup", "--data-dir", data], more].concat(),
            Path::new("/"),
        );
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let told = cleanup(&["--dry-run"]);
    assert!(
        told.contains(&format!("would remove {id}")) && told.contains("would remove 0192f0c1"),
        "{told}"
    );
    let file = service.data.join("storage/clips").join(id);
    assert!(file.exists() && orphan.exists());
    cleanup(&[]);
    assert!(!file.exists() && !orphan.exists());
    assert_eq!(
        service.get(&format!("/api/clips/{id}")).json()["state"],
        "expired"
    );
}
