//! Backups taken while the service runs, and what comes back from them.

#![expect(
    clippy::print_stdout,
    reason = "what was not tried, and why, is told where the tests report"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::million::{self, Depth};
use crate::repair::{clean, command, exited};
use crate::support::media;
use crate::support::origin::Origin;
use crate::support::service::{BINARY, Service, Setup, run};
use crate::support::visitor::{Ticket, quick, until};

#[track_caller]
fn back_up(data: &Path, target: &Path, arguments: &[&str]) -> Value {
    let all = [&["backup", "--json", target.to_str().unwrap()], arguments].concat();
    let output = command(data, &all);
    exited(&output, 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn restore(archive: &Path, data: &Path) -> Value {
    let output = command(data, &["restore", "--json", archive.to_str().unwrap()]);
    exited(&output, 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn on(data: &Path) -> Service {
    Setup {
        data: Some(data.to_owned()),
        ..Setup::default()
    }
    .start()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What a restored index says before anybody serves it: ids and states.
fn snapshot(data: &Path) -> Vec<(String, String)> {
    let connection = Connection::open(data.join("index.db")).unwrap();
    let mut query = connection
        .prepare("SELECT id, state FROM clips ORDER BY id")
        .unwrap();
    let rows = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn twenty_backups_under_load_come_back_without_a_difference() {
    let (_origin, link) = Origin::with(&media::tiny());
    let service = Service::start();
    let steady: Vec<Ticket> = (0..2).map(|_| service.ticket(&quick(&link))).collect();
    for ticket in &steady {
        service.wait_for(&ticket.id, &["ready"]);
    }
    let before: Vec<Value> = steady.iter().map(|ticket| service.clip(ticket)).collect();
    let dir = tempfile::tempdir().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let ticket = service.ticket(&quick(&link));
                    service.wait_for(&ticket.id, &["ready"]);
                    assert_eq!(service.remove(&ticket).status, 204);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut number = 0_u32;
                while !done.load(Ordering::SeqCst) {
                    let ticket = service.ticket(&quick(&link));
                    // It may be ready by now.
                    service.cancel(&ticket);
                    // Some stay: enough to be in every backup, too few to be all it is about.
                    number += 1;
                    if !number.is_multiple_of(16) {
                        service.remove(&ticket);
                    }
                }
            });
        }
        for round in 0..20 {
            let archive = dir.path().join(format!("{round}.tar"));
            let made = back_up(&service.data, &archive, &["--clips"]);
            let mode = fs::metadata(&archive).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let data = dir.path().join(format!("data-{round}"));
            let restored = restore(&archive, &data);
            assert_eq!(restored["files"], made["files"]);
            assert_eq!(restored["expired"], made["files_missing"]);
            clean(&data);
            let clips = snapshot(&data);
            assert_eq!(clips.len() as u64, made["clips"].as_u64().unwrap());
            same(&data, &clips, &steady, &before);
            fs::remove_file(&archive).unwrap();
            fs::remove_dir_all(&data).unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
}

/// A service on what was restored serves what the backup says.
fn same(data: &Path, clips: &[(String, String)], steady: &[Ticket], before: &[Value]) {
    let service = on(data);
    for (ticket, before) in steady.iter().zip(before) {
        assert_eq!(service.clip(ticket), *before);
    }
    for (id, state) in clips {
        let clip = service.get(&format!("/api/clips/{id}")).json();
        match state.as_str() {
            "ready" => {
                assert_eq!(clip["state"], "ready");
                let file = service.get(clip["urls"]["file"].as_str().unwrap());
                let hash: String = Sha256::digest(&file.bytes)
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                assert_eq!(clip["result"]["sha256"], hash);
            }
            "failed" | "cancelled" | "expired" => assert_eq!(clip["state"], *state),
            // It goes on.
            _ => assert!(clip["state"].is_string(), "{clip}"),
        }
    }
    assert_eq!(service.remove(&steady[0]).status, 204, "its token fits");
}

/// A data folder with enough in it that a backup takes a moment.
fn filled(clips: u32) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    million::fill(&data, clips, Depth::Whole).unwrap();
    (dir, data)
}

#[test]
fn without_files_clips_come_back_expired_and_can_be_made_again() {
    let (_origin, link) = Origin::with(&media::tiny());
    let service = Service::start();
    let ticket = service.ticket(&quick(&link));
    let clip = service.wait_for(&ticket.id, &["ready"]);
    let removed = service.ticket(&quick(&link));
    service.wait_for(&removed.id, &["ready"]);
    assert_eq!(service.remove(&removed).status, 204);
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("x.tar");
    back_up(&service.data, &archive, &[]);
    // An empty folder is as good as none.
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let restored = restore(&archive, &data);
    assert_eq!(restored["expired"], 1);
    clean(&data);
    let trash = |data: &Path| -> u32 {
        let connection = Connection::open(data.join("index.db")).unwrap();
        let count = "SELECT count(*) FROM trash";
        connection.query_row(count, [], |row| row.get(0)).unwrap()
    };
    // Its files are in no backup.
    assert_eq!((trash(&service.data), trash(&data)), (1, 0));
    let service = on(&data);
    let expired = service.clip(&ticket);
    assert_eq!(expired["state"], "expired");
    assert_eq!(expired["recipe"], clip["recipe"]);
    assert_eq!(service.retry(&ticket).status, 202);
    service.wait_for(&ticket.id, &["ready"]);
}

fn started(arguments: &[&str], data: &Path) -> Child {
    Command::new(BINARY)
        .args(arguments)
        .arg("--data-dir")
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_backup_leaves_nothing_that_counts_as_one() {
    let (dir, data) = filled(2000);
    let folder = dir.path().join("backups");
    fs::create_dir(&folder).unwrap();
    let target = format!("{}/", folder.display());
    let mut cut = 0;
    for round in 0..12_u64 {
        let mut child = started(&["backup", "--clips", &target], &data);
        std::thread::sleep(Duration::from_millis(40 * round + 5));
        let _ = child.kill();
        let ended = child.wait().unwrap();
        let whole: Vec<String> = names(&folder)
            .into_iter()
            .filter(|name| name.ends_with(".tar"))
            .collect();
        if !ended.success() {
            cut += 1;
        }
        for name in whole {
            let back = dir.path().join("back");
            restore(&folder.join(&name), &back);
            clean(&back);
            fs::remove_dir_all(&back).unwrap();
            fs::remove_file(folder.join(&name)).unwrap();
        }
    }
    assert!(cut > 0, "none was cut off");
    let made = back_up(&data, Path::new(&target), &[]);
    let name = Path::new(made["file"].as_str().unwrap());
    assert_eq!(
        names(&folder),
        [name.file_name().unwrap().to_str().unwrap()],
        "what was left is gone"
    );
}

#[test]
fn a_killed_restore_leaves_no_half_of_a_data_folder() {
    let (dir, data) = filled(2000);
    let archive = dir.path().join("x.tar");
    back_up(&data, &archive, &["--clips"]);
    let archive = archive.to_str().unwrap();
    for (name, there) in [("missing", false), ("empty", true)] {
        let back = dir.path().join(name);
        let mut cut = 0;
        for round in 0..8_u64 {
            if there && !back.exists() {
                fs::create_dir(&back).unwrap();
            }
            let mut child = started(&["restore", archive], &back);
            std::thread::sleep(Duration::from_millis(60 * round + 5));
            let _ = child.kill();
            if child.wait().unwrap().success() {
                clean(&back);
                fs::remove_dir_all(&back).unwrap();
                continue;
            }
            cut += 1;
            if back.join(".restoring").exists() {
                let text = exited(&command(&back, &["serve", "--bind", "127.0.0.1:0"]), 1);
                assert!(text.contains("restore_unfinished"), "{text}");
            } else if there {
                assert!(names(&back).iter().all(|name| name == "lock"));
            } else {
                assert!(!back.exists());
            }
        }
        assert!(cut > 0, "none was cut off");
        if back.exists() && !back.join(".restoring").exists() {
            // Whole, or nothing but a lock.
            let _ = fs::remove_file(back.join("lock"));
        }
        restore(Path::new(archive), &back);
        clean(&back);
        assert!(!names(dir.path()).contains(&format!(".{name}.restoring")));
    }
}

#[test]
fn damaged_and_hostile_archives_are_refused_and_nothing_is_written() {
    let (dir, data) = filled(50);
    let archive = dir.path().join("x.tar");
    back_up(&data, &archive, &["--clips"]);
    let whole = fs::read(&archive).unwrap();
    let outside = dir.path().join("outside");
    let hostile = |name: &str, kind: tar::EntryType, link: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(4);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(b"evil");
        bytes.resize(1024, 0);
        bytes.extend(&whole);
        bytes
    };
    let mut flipped = whole.clone();
    let middle = whole.len() / 2;
    flipped[middle] ^= 1;
    let regular = tar::EntryType::Regular;
    let cases = [
        ("empty", Vec::new()),
        ("no tar", b"hello".repeat(1000)),
        ("cut off", whole[..whole.len() - 20_000].to_vec()),
        ("flipped", flipped),
        ("outside", hostile("../outside", regular, "")),
        ("absolute", hostile(outside.to_str().unwrap(), regular, "")),
        (
            "link",
            hostile(
                "secret.key",
                tar::EntryType::Symlink,
                outside.to_str().unwrap(),
            ),
        ),
        (
            "hard link",
            hostile("index.db", tar::EntryType::Link, "/etc/passwd"),
        ),
        ("twice", hostile("secret.key", regular, "")),
    ];
    for (what, bytes) in cases {
        let bad = dir.path().join("bad.tar");
        fs::write(&bad, bytes).unwrap();
        let back = dir.path().join("back");
        let text = exited(&command(&back, &["restore", bad.to_str().unwrap()]), 3);
        assert!(text.contains("backup_damaged"), "{what}: {text}");
        assert!(!back.exists() && !outside.exists(), "{what}");
        assert!(
            !names(dir.path())
                .iter()
                .any(|name| name.contains("restoring")),
            "{what}"
        );
    }
    // A folder that holds anything is left alone.
    let full = dir.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("letter.txt"), "dear").unwrap();
    let text = exited(&command(&full, &["restore", archive.to_str().unwrap()]), 3);
    assert!(text.contains("data_dir_not_empty"), "{text}");
    assert_eq!(names(&full), ["letter.txt"]);
    // So is one that is in use, and a backup that is there already.
    let text = exited(&command(&data, &["restore", archive.to_str().unwrap()]), 3);
    assert!(text.contains("data_dir_not_empty"), "{text}");
    let text = exited(&command(&data, &["backup", archive.to_str().unwrap()]), 3);
    assert!(text.contains("backup_exists"), "{text}");
    assert_eq!(fs::read(&archive).unwrap(), whole);
}

#[test]
fn a_backup_of_a_newer_version_is_refused() {
    let (dir, data) = filled(50);
    let archive = dir.path().join("x.tar");
    let connection = Connection::open(data.join("index.db")).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    drop(connection);
    back_up(&data, &archive, &[]);
    let back = dir.path().join("back");
    let text = exited(&command(&back, &["restore", archive.to_str().unwrap()]), 3);
    assert!(text.contains("backup_newer"), "{text}");
    assert!(!back.exists());
}

/// A file system of its own; none where that may not be made.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(size: u64) -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Small(dir));
        }
        println!("no file system can be mounted here: the full disk was not tried");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Makes an index large without many clips.
fn swell(data: &Path, megabytes: u32) {
    let connection = Connection::open(data.join("index.db")).unwrap();
    connection
        .execute_batch(&format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {megabytes} * 100)
             INSERT INTO events (at, kind, subject, data) SELECT i, 'keeper.ran', '', hex(randomblob(5000)) FROM n;
             PRAGMA wal_checkpoint(TRUNCATE);"
        ))
        .unwrap();
}

#[test]
fn a_full_disk_ends_a_backup_and_older_ones_stay() {
    let (_dir, data) = filled(200);
    swell(&data, 20);
    let Some(small) = Small::mount(8_000_000) else {
        return;
    };
    let folder = small.0.path().join("backups");
    fs::create_dir(&folder).unwrap();
    let older = folder.join("meme-maker-20200101T000000Z.tar");
    fs::write(&older, "older").unwrap();
    let target = folder.to_str().unwrap();
    for arguments in [&["backup", target][..], &["backup", target, "--clips"]] {
        let text = exited(&command(&data, arguments), 5);
        assert!(text.contains("disk_full"), "{text}");
        assert_eq!(names(&folder), ["meme-maker-20200101T000000Z.tar"]);
    }
    assert_eq!(fs::read(&older).unwrap(), b"older");
    // Nor does a restore leave anything there.
    let archive = _dir.path().join("x.tar");
    back_up(&data, &archive, &[]);
    let back = small.0.path().join("data");
    let text = exited(&command(&back, &["restore", archive.to_str().unwrap()]), 5);
    assert!(text.contains("disk_full"), "{text}");
    assert_eq!(names(small.0.path()), ["backups"]);
}

#[test]
fn a_backup_takes_no_more_room_than_it_writes() {
    let (dir, data) = filled(200);
    swell(&data, 40);
    let archive = dir.path().join("x.tar");
    let made = back_up(&data, &archive, &[]);
    let bytes = made["bytes"].as_u64().unwrap();
    assert!(bytes > 40_000_000, "{bytes}");
    // Beside the archive itself what is moved at once, which is 8 MiB.
    let Some(small) = Small::mount(bytes + 10_000_000) else {
        return;
    };
    back_up(&data, &small.0.path().join("x.tar"), &[]);
    assert_eq!(names(small.0.path()), ["x.tar"]);
}

#[test]
fn scheduled_backups_are_kept_up_to_a_number_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("backups");
    fs::create_dir(&folder).unwrap();
    for name in ["meme-maker-20200101T000000Z.tar", "mine.tar"] {
        fs::write(folder.join(name), "x").unwrap();
    }
    let service = Setup::default()
        .with("backup.schedule", "* * * * * *")
        .with("backup.dir", folder.display())
        .with("backup.keep", 2)
        .start();
    let ours = || {
        let mut names = names(&folder);
        names.retain(|name| name.starts_with("meme-maker-") && name.ends_with(".tar"));
        names
    };
    let first = "meme-maker-20200101T000000Z.tar".to_owned();
    until("the oldest is gone", || !ours().contains(&first));
    let second = ours()[0].clone();
    until("so is the next", || !ours().contains(&second));
    assert!(folder.join("mine.tar").exists());
    let service = service.restarted(
        Setup::default()
            .with("backup.dir", folder.display())
            .with("backup.keep", 2),
    );
    assert_eq!(ours().len(), 2);

    let ask = |method: &str, path: &str, scope: &str| {
        service.with_token(method, path, &service.token(scope))
    };
    service
        .get("/api/admin/backups")
        .expect_problem(401, "token_needed");
    ask("POST", "/api/admin/backup", "ops:read").expect_problem(403, "token_scope");
    let listed = ask("GET", "/api/admin/backups", "ops:read").json();
    let listed: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|backup| backup["name"].as_str().unwrap())
        .collect();
    let mut newest_first = ours();
    newest_first.reverse();
    assert_eq!(listed, newest_first);
    let answer = ask("POST", "/api/admin/backup", "ops:run");
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = PathBuf::from(answer.json()["file"].as_str().unwrap());
    assert!(made.exists() && ours().len() == 2);
    let back = dir.path().join("back");
    restore(&made, &back);
    clean(&back);
    let connection = Connection::open(service.data.join("index.db")).unwrap();
    let events: u32 = connection
        .query_row(
            "SELECT count(*) FROM events WHERE kind = 'backup.made' AND duration_ms >= 0 AND json_extract(data, '$.bytes') > 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(events >= 3, "{events}");
}

#[test]
fn a_backup_that_fails_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::File::create(&file).unwrap().write_all(b"x").unwrap();
    let service = Setup::default()
        .with("backup.dir", file.join("backups").display())
        .start();
    let answer = service.with_token("POST", "/api/admin/backup", &service.token("admin"));
    answer.expect_problem(500, "backup_failed");
    let connection = Connection::open(service.data.join("index.db")).unwrap();
    let (error, subject, detail, hint): (String, String, String, String) = connection
        .query_row(
            "SELECT error, subject, json_extract(data, '$.detail'), json_extract(data, '$.hint') FROM events WHERE kind = 'backup.failed'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .unwrap();
    assert!(error.contains("could not read or write"), "{error}");
    // The alert is made of these.
    assert_eq!(subject, "backup");
    assert!(detail.starts_with("Could not read or write"), "{detail}");
    assert!(hint.starts_with("Check the path"), "{hint}");
    // A relative path works like any other.
    let output = run(
        &[
            "backup",
            "x.tar",
            "--data-dir",
            service.data.to_str().unwrap(),
        ],
        dir.path(),
    );
    exited(&output, 0);
    assert!(dir.path().join("x.tar").exists());
}

#[test]
fn a_service_that_is_stopped_during_a_backup_ends_and_leaves_nothing_of_it() {
    let (_dir, data) = filled(40);
    let folder = data.join("backups");
    // Long to read, and takes no room: all of it is a hole.
    let length: u64 = 2 << 30;
    let id = million::id(0).to_string();
    let connection = Connection::open(data.join("index.db")).unwrap();
    meme_maker::index::teach(&connection).unwrap();
    let changed = connection.execute(
        "UPDATE clips SET outcome = json_set(outcome, '$.size', ?1) WHERE id = ?2",
        rusqlite::params![length, id],
    );
    assert_eq!(changed.unwrap(), 1);
    drop(connection);
    let film = data.join("storage/clips").join(id).join("clip.mp4");
    fs::remove_file(&film).unwrap();
    fs::File::create(&film).unwrap().set_len(length).unwrap();
    let mut service = Setup {
        data: Some(data.clone()),
        ..Setup::default()
    }
    .with("backup.dir", folder.display())
    .with("backup.clips", true)
    .with("monitor.floor", 0)
    .with("backup.schedule", "* * * * * *")
    .start();
    until("a backup is being made", || {
        folder.exists() && names(&folder).iter().any(|name| name.ends_with(".partial"))
    });
    service.signal("TERM");
    assert!(service.ended().success());
    assert_eq!(names(&folder), Vec::<String>::new());
    let connection = Connection::open(data.join("index.db")).unwrap();
    let code: String = connection
        .query_row(
            "SELECT json_extract(data, '$.code') FROM events WHERE kind = 'backup.failed'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(code, "backup_stopped");
}
