//! What is wrong with a service's data, told apart and mended; and an index made anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use serde_json::Value;

use crate::million::{self, Depth};
use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{BINARY, Service, Setup, run};
use crate::support::visitor::{Ticket, quick};

/// A command about a data folder.
pub fn command(data: &Path, arguments: &[&str]) -> Output {
    let mut all = arguments.to_vec();
    all.extend(["--data-dir", data.to_str().unwrap()]);
    run(&all, Path::new("/"))
}

/// Exit code and what was printed.
#[track_caller]
pub fn exited(output: &Output, code: i32) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// What `fsck` found: how many of each kind.
#[track_caller]
fn found(data: &Path, arguments: &[&str], code: i32) -> BTreeMap<String, u64> {
    let output = command(data, &[&["fsck", "--json"], arguments].concat());
    exited(&output, code);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["clean"], code == 0, "{document}");
    serde_json::from_value(document["found"].clone()).unwrap()
}

#[track_caller]
pub fn clean(data: &Path) {
    let text = exited(&command(data, &["fsck", "--hashes"]), 0);
    assert!(text.contains("no difference"), "{text}");
}

/// A data folder with clips of all settled states.
fn filled(clips: u32) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    million::fill(&data, clips, Depth::Whole).unwrap();
    (dir, data)
}

fn sql(data: &Path, statement: &str) {
    let connection = Connection::open(data.join("index.db")).unwrap();
    meme_maker::index::teach(&connection).unwrap();
    connection
        .pragma_update(None, "foreign_keys", false)
        .unwrap();
    connection.execute_batch(statement).unwrap();
}

/// Every file below a folder that is not the index's.
fn files(root: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.to_string_lossy().contains("index.db") {
            found.push(fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn every_kind_of_difference_is_told_apart_and_mended_and_nothing_is_lost() {
    let (_dir, data) = filled(120);
    clean(&data);
    let id = |number: u32| million::id(number).to_string();
    let folder = |number: u32| data.join("storage/clips").join(id(number));
    let entry = |number: u32| data.join(format!("ledger/clips/{}.json", id(number)));
    // Numbers that are ready: not 5, 13 or 21 of 24.
    fs::remove_file(folder(0).join("clip.mp4")).unwrap();
    let cut_short = folder(1).join("clip.mp4");
    fs::remove_file(&cut_short).unwrap();
    fs::write(&cut_short, "cut short").unwrap();
    let rotten = folder(2).join("clip.mp4");
    let length = fs::metadata(&rotten).unwrap().len() as usize;
    fs::remove_file(&rotten).unwrap();
    fs::write(&rotten, vec![1_u8; length]).unwrap();
    fs::remove_file(folder(3).join("poster.jpg")).unwrap();
    // 5 has failed, and something lies where it would be; so it does where no clip ever was.
    for name in [id(5), id(5000)] {
        let orphan = data.join("storage/clips").join(name);
        fs::create_dir(&orphan).unwrap();
        fs::write(orphan.join("x.mp4"), "orphan").unwrap();
    }
    fs::remove_file(entry(4)).unwrap();
    let text = fs::read_to_string(entry(6)).unwrap();
    fs::write(
        entry(6),
        text.replace("\"pinned\":false", "\"pinned\":true"),
    )
    .unwrap();
    // An expired clip's entry outlives its row.
    sql(
        &data,
        &format!(
            "DELETE FROM segments WHERE clip_id = '{0}'; DELETE FROM clips WHERE id = '{0}'",
            id(21)
        ),
    );
    fs::write(entry(8), "{\"id\":").unwrap();
    sql(
        &data,
        &format!(
            "DELETE FROM segments WHERE clip_id = '{0}'; DELETE FROM clips WHERE id = '{0}'",
            id(9)
        ),
    );
    // Only the row is gone; segments of it are left.
    sql(&data, &format!("DELETE FROM clips WHERE id = '{}'", id(13)));
    fs::write(folder(10).join("notes.txt"), "stray").unwrap();
    fs::write(data.join("ledger/clips/notes.txt"), "stray").unwrap();
    fs::create_dir_all(data.join("work").join(id(11))).unwrap();
    let uploads = data.join("uploads");
    let upload = |number: u32| format!("0192f0c1-2345-4abc-8def-{number:012}");
    let record = |number: u32, received: u32| {
        sql(
            &data,
            &format!(
                "INSERT INTO uploads (id, visitor, length, received, metadata, created_at, used_at) VALUES ('{}', 'v', 9, {received}, '', 1, 1)",
                upload(number)
            ),
        );
    };
    let send = |number: u32, bytes: &str| {
        fs::create_dir_all(uploads.join(upload(number))).unwrap();
        fs::write(uploads.join(upload(number)).join("file"), bytes).unwrap();
    };
    record(1, 9);
    record(2, 9);
    send(2, "12345");
    send(3, "orphaned");
    record(4, 9);
    send(4, "123456789");
    sql(&data, "UPDATE tallies SET trash = trash + 5");
    let before = files(&data);

    let all = [
        ("file_missing", 1),
        ("file_size", 1),
        ("file_hash", 1),
        ("poster_missing", 1),
        ("file_orphan", 2),
        ("foreign_keys", 1),
        ("index_missing", 1),
        ("ledger_missing", 1),
        ("ledger_orphan", 1),
        ("ledger_stale", 1),
        ("ledger_unreadable", 1),
        ("stray", 2),
        ("tally_wrong", 1),
        ("upload_missing", 1),
        ("upload_orphan", 1),
        ("upload_short", 1),
        ("work_left", 1),
    ];
    let all: BTreeMap<String, u64> = all
        .into_iter()
        .map(|(kind, count)| (kind.to_owned(), count))
        .collect();
    let mut without_hashes = all.clone();
    without_hashes.remove("file_hash");
    assert_eq!(found(&data, &[], 1), without_hashes);
    assert_eq!(found(&data, &["--hashes"], 1), all);
    assert_eq!(files(&data), before, "looking changes nothing");

    assert_eq!(found(&data, &["--hashes", "--repair"], 0), all);
    clean(&data);
    let after = files(&data);
    for bytes in before {
        // Entries that the index knows better were written anew.
        let entry = bytes.starts_with(b"{\"created_at\"");
        assert!(
            entry || after.contains(&bytes),
            "{} is lost",
            String::from_utf8_lossy(&bytes)
        );
    }
    assert!(
        data.join("set-aside/file_size")
            .join(id(1))
            .join("clip.mp4")
            .exists()
    );

    let service = Setup {
        data: Some(data.clone()),
        ..Setup::default()
    }
    .start();
    let clip = |number: u32| service.get(&format!("/api/clips/{}", id(number))).json();
    for number in [0, 1, 2] {
        assert_eq!(clip(number)["state"], "expired", "it can be made again");
    }
    for number in [3, 4, 6, 8, 9, 10] {
        let clip = clip(number);
        assert_eq!(clip["state"], "ready");
        assert_eq!(
            service.get(clip["urls"]["file"].as_str().unwrap()).status,
            200
        );
    }
    assert_eq!(clip(3)["result"]["poster"], false);
    assert_eq!(clip(6)["pinned"], false, "the index is right");
}

#[test]
fn repair_is_refused_while_the_service_runs_and_so_is_a_second_service() {
    let service = Service::start();
    for arguments in [&["fsck", "--repair"][..], &["reindex"]] {
        let text = exited(&command(&service.data, arguments), 1);
        assert!(text.contains("data_in_use"), "{text}");
    }
    let data = service.data.to_str().unwrap();
    let second = run(
        &["serve", "--bind", "127.0.0.1:0", "--data-dir", data],
        Path::new("/"),
    );
    let text = exited(&second, 1);
    assert!(text.contains("data_in_use"), "{text}");
    assert_eq!(service.get("/api/health/live").status, 200);
    exited(&command(&service.data, &["fsck"]), 0);
}

#[test]
fn nothing_is_found_beside_a_service_at_work() {
    let (_origin, link) = Origin::with(&media::tiny());
    let service = Service::start();
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
        let looks: Vec<Output> = (0..4).map(|_| command(&service.data, &["fsck"])).collect();
        done.store(true, Ordering::SeqCst);
        for look in looks {
            exited(&look, 0);
        }
    });
}

/// Clips as visitors see them, without what only the index counts.
fn seen(service: &Service, ids: &[String]) -> Vec<Value> {
    let one = |id: &String| {
        let mut clip = service.get(&format!("/api/clips/{id}")).json();
        if let Some(fields) = clip.as_object_mut() {
            for field in ["views", "downloads", "estimate", "attempts"] {
                fields.remove(field);
            }
        }
        clip
    };
    ids.iter().map(one).collect()
}

struct Made {
    service: Service,
    /// Ready, and one that has expired.
    kept: Vec<Ticket>,
    /// Failed and cancelled.
    others: Vec<Ticket>,
    token: String,
    _origin: Origin,
}

fn made() -> Made {
    let origin = Origin::start();
    let link = origin.add("/v.mp4", Behaviour::File(media::tiny()));
    let missing = origin.link("/missing.mp4");
    let service = Service::start();
    let mut kept = Vec::new();
    for title in ["One", "Über – zwei"] {
        let mut wish = quick(&link);
        wish["title"] = title.into();
        let ticket = service.ticket(&wish);
        service.wait_for(&ticket.id, &["ready"]);
        kept.push(ticket);
    }
    let failed = service.ticket(&quick(&missing));
    service.wait_for(&failed.id, &["failed"]);
    let token = service.token("ops:read");
    Made {
        kept,
        others: vec![failed],
        token,
        service,
        _origin: origin,
    }
}

fn ids(tickets: &[Ticket]) -> Vec<String> {
    tickets.iter().map(|ticket| ticket.id.clone()).collect()
}

fn asks(service: &Service, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("x-forwarded-for", "203.0.113.9"),
        ("authorization", bearer.as_str()),
    ];
    service.request("GET", "/metrics", &headers, b"").status
}

#[test]
fn a_service_without_its_index_makes_it_anew_and_says_the_same() {
    let mut made = made();
    let before = seen(&made.service, &ids(&made.kept));
    made.service.signal("TERM");
    assert!(made.service.ended().success());
    let data = made.service.data.clone();
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = fs::remove_file(data.join(name));
    }
    // What would begin an empty index instead is refused.
    for arguments in [&["cleanup"][..], &["token", "create", "--scope", "admin"]] {
        let text = exited(&command(&data, arguments), 1);
        assert!(text.contains("index_missing"), "{text}");
        assert!(!data.join("index.db").exists());
    }
    assert_eq!(found(&data, &[], 1)["index_corrupt"], 1);
    let service = Setup {
        data: Some(data.clone()),
        ..Setup::default()
    }
    .start();
    assert!(
        service.log().contains("the index was made anew"),
        "{}",
        service.log()
    );
    assert_eq!(seen(&service, &ids(&made.kept)), before);
    for clip in &before {
        assert_eq!(
            service.get(clip["urls"]["file"].as_str().unwrap()).status,
            200
        );
    }
    let failed = service.get(&made.others[0].path());
    assert_eq!(failed.status, 404, "the ledger keeps what was ready");
    assert_eq!(
        asks(&service, &made.token),
        404,
        "tokens went with the index"
    );
    let ticket = &made.kept[0];
    assert_eq!(
        service.remove(ticket).status,
        204,
        "delete tokens still fit"
    );
    clean(&data);
}

#[test]
fn reindex_beside_the_old_index_loses_nothing() {
    let mut made = made();
    let page = format!("/c/{}", made.kept[0].id);
    assert_eq!(made.service.get(&page).status, 200);
    let all = [ids(&made.kept), ids(&made.others)].concat();
    let whole = |service: &Service| -> Vec<Value> {
        all.iter()
            .map(|id| service.get(&format!("/api/clips/{id}")).json())
            .collect()
    };
    let before = whole(&made.service);
    let last = made.service.events(&made.kept[0].id, None).next().unwrap();
    made.service.signal("TERM");
    assert!(made.service.ended().success());
    let data = made.service.data.clone();
    let text = exited(&command(&data, &["reindex"]), 0);
    assert!(text.contains("2 clips from the ledger"), "{text}");
    assert!(
        text.contains("1 clips that the ledger does not keep, 1 tokens"),
        "{text}"
    );
    let kept = fs::read_dir(&data)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with("index.db.before-")
        })
        .count();
    assert!(kept >= 1, "the old one is there");
    clean(&data);
    let service = Setup {
        data: Some(data),
        ..Setup::default()
    }
    .start();
    assert_eq!(whole(&service), before);
    assert_eq!(asks(&service, &made.token), 200);
    let again = service.events(&made.kept[0].id, None).next().unwrap();
    assert_eq!(again.id, last.id, "the trail goes on");
}

#[test]
fn an_index_that_is_no_index_is_told_and_made_anew() {
    let (_dir, data) = filled(60);
    let garbage = vec![0x42_u8; 50_000];
    fs::write(data.join("index.db"), &garbage).unwrap();
    let address = ["serve", "--bind", "127.0.0.1:0"];
    let text = exited(&command(&data, &address), 1);
    assert!(
        text.contains("(index)") && text.contains("reindex"),
        "{text}"
    );
    assert_eq!(found(&data, &[], 1)["index_corrupt"], 1);
    assert_eq!(found(&data, &["--repair"], 0)["index_corrupt"], 1);
    clean(&data);
    let kept = fs::read_dir(&data).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        path.to_string_lossy().contains("index.db.before-") && fs::read(path).unwrap() == garbage
    });
    assert!(kept, "the old one is there, whatever it is");
}

#[test]
fn a_store_that_is_not_mounted_expires_nothing() {
    let (dir, data) = filled(60);
    let (clips, away) = (data.join("storage/clips"), dir.path().join("away"));
    fs::rename(&clips, &away).unwrap();
    fs::create_dir(&clips).unwrap();
    assert!(found(&data, &[], 1)["file_missing"] > 10);
    for arguments in [&["fsck", "--repair"][..], &["reindex"]] {
        let text = exited(&command(&data, arguments), 1);
        assert!(text.contains("store_empty"), "{text}");
    }
    fs::remove_dir(&clips).unwrap();
    fs::rename(&away, &clips).unwrap();
    clean(&data);
    fs::remove_dir_all(&clips).unwrap();
    fs::create_dir(&clips).unwrap();
    exited(&command(&data, &["fsck", "--repair", "--files-lost"]), 0);
    clean(&data);
}

#[test]
fn a_killed_reindex_changes_nothing() {
    let (_dir, data) = filled(3000);
    let before = fs::read(data.join("index.db")).unwrap();
    for round in 0..6_u64 {
        let mut child = std::process::Command::new(BINARY)
            .args(["reindex", "--data-dir"])
            .arg(&data)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20 * round));
        let _ = child.kill();
        child.wait().unwrap();
        let kept = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains("before-");
        let done = fs::read_dir(&data)
            .unwrap()
            .flatten()
            .any(|entry| kept(&entry));
        if done {
            break;
        }
        assert_eq!(fs::read(data.join("index.db")).unwrap(), before);
    }
    clean(&data);
    exited(&command(&data, &["reindex"]), 0);
    clean(&data);
}

/// Makes all published folders as old as those that a sweep looks at.
fn age(data: &Path) {
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    for entry in fs::read_dir(data.join("storage/clips")).unwrap() {
        let folder = fs::File::open(entry.unwrap().path()).unwrap();
        folder.set_modified(then).unwrap();
    }
}

fn forget(data: &Path, id: &str) {
    sql(
        data,
        &format!(
            "DELETE FROM segments WHERE clip_id = '{id}'; DELETE FROM clips WHERE id = '{id}'"
        ),
    );
}

#[test]
fn the_sweep_leaves_what_a_repair_takes_back_and_puts_what_the_trash_lists_into_it() {
    let (_dir, data) = filled(120);
    let id = |number: u32| million::id(number).to_string();
    let folder = |number: u32| data.join("storage/clips").join(id(number));
    let entry = |number: u32| data.join(format!("ledger/clips/{}.json", id(number)));
    // Its row is lost.
    forget(&data, &id(0));
    // It was removed, and the power went before its files did.
    forget(&data, &id(1));
    sql(
        &data,
        &format!(
            "INSERT INTO events (at, kind, subject, data) VALUES (1, 'clip.removed', '{}', '{{}}')",
            id(1)
        ),
    );
    // Nobody knows what it is.
    forget(&data, &id(2));
    fs::write(entry(2), "{").unwrap();
    forget(&data, &id(3));
    fs::remove_file(entry(3)).unwrap();
    // 21 is expired, and the power went before its files were in the trash.
    fs::create_dir(folder(21)).unwrap();
    fs::write(folder(21).join("x.mp4"), "x").unwrap();
    sql(
        &data,
        &format!(
            "UPDATE clips SET created_at = {now}, finished_at = {now}, expires_at = {now} WHERE id = '{0}';
             INSERT INTO trash (id, title, why, bytes, trashed_at) VALUES ('{0}', 'x', 'expired', 1, {now})",
            id(21),
            now = "unixepoch() * 1000"
        ),
    );
    age(&data);
    let text = exited(&command(&data, &["cleanup"]), 1);
    assert!(text.contains("meme-maker fsck --repair"), "{text}");
    assert!(folder(0).join("clip.mp4").exists());
    assert!(!folder(1).exists() && !entry(1).exists());
    assert!(!folder(2).exists());
    assert!(data.join("set-aside/file_orphan").join(id(2)).exists());
    assert!(!folder(3).exists());
    assert!(data.join("trash").join(id(21)).join("x.mp4").exists());
    assert_eq!(found(&data, &["--repair"], 0)["index_missing"], 1);
}

#[test]
fn an_index_that_knows_hardly_any_of_the_files_lets_none_of_them_be_removed() {
    let (_dir, data) = filled(120);
    sql(&data, "DELETE FROM segments; DELETE FROM clips");
    for entry in fs::read_dir(data.join("ledger/clips")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    age(&data);
    let count = || fs::read_dir(data.join("storage/clips")).unwrap().count();
    let before = count();
    let text = exited(&command(&data, &["cleanup"]), 1);
    assert!(text.contains("is this the right index"), "{text}");
    assert_eq!(count(), before);
}

#[test]
fn an_index_that_was_set_aside_and_not_replaced_is_the_old_index() {
    let (_dir, data) = filled(120);
    let clips = |data: &Path| -> u32 {
        let connection = Connection::open(data.join("index.db")).unwrap();
        let count = "SELECT count(*) FROM clips";
        connection.query_row(count, [], |row| row.get(0)).unwrap()
    };
    let before = clips(&data);
    fs::rename(
        data.join("index.db"),
        data.join("index.db.before-20261121T000000Z"),
    )
    .unwrap();
    exited(&command(&data, &["reindex"]), 0);
    assert_eq!(clips(&data), before, "not only what the ledger keeps");
    clean(&data);
    // One from before clips came or went is not believed.
    fs::remove_file(data.join("index.db")).unwrap();
    fs::write(data.join("ledger/clips/.new"), "x").unwrap();
    fs::remove_file(data.join("ledger/clips/.new")).unwrap();
    exited(&command(&data, &["reindex"]), 0);
    assert!(clips(&data) < before);
}

#[test]
fn a_clip_that_was_removed_does_not_come_back_from_the_ledger() {
    let (_dir, data) = filled(120);
    let id = |number: u32| million::id(number).to_string();
    let entry = |number: u32| data.join(format!("ledger/clips/{}.json", id(number)));
    let removed = |number: u32| {
        forget(&data, &id(number));
        sql(
            &data,
            &format!(
                "INSERT INTO events (at, kind, subject, data) VALUES (1, 'clip.removed', '{}', '{{}}')",
                id(number)
            ),
        );
    };
    let rows = |number: u32| -> u32 {
        let connection = Connection::open(data.join("index.db")).unwrap();
        let count = "SELECT count(*) FROM clips WHERE id = ?1";
        connection
            .query_row(count, [id(number)], |row| row.get(0))
            .unwrap()
    };
    removed(0);
    removed(21);
    let found = found(&data, &["--repair"], 0);
    assert_eq!((found["index_missing"], found["ledger_orphan"]), (1, 1));
    for number in [0, 21] {
        assert_eq!(rows(number), 0);
        assert!(!entry(number).exists());
    }
    clean(&data);
    removed(1);
    let output = command(&data, &["reindex", "--json"]);
    exited(&output, 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["removed"], 1);
    assert_eq!(rows(1), 0);
    assert!(!entry(1).exists());
}

#[test]
fn a_look_at_what_a_cleanup_would_remove_brings_no_index_to_another_schema() {
    let (_dir, data) = filled(24);
    let version = || -> u32 {
        let connection = Connection::open(data.join("index.db")).unwrap();
        connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    };
    sql(&data, "PRAGMA user_version = 7");
    let text = exited(&command(&data, &["cleanup", "--dry-run"]), 1);
    assert!(text.contains("index_schema"), "{text}");
    assert_eq!(version(), 7);
}
