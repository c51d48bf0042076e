//! How long things are kept: what holders may change, what the trash gives back, and what a clean-up says and does.

mod room;
mod time;

use std::path::Path;

use meme_maker::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::support::media;
use crate::support::origin::Origin;
use crate::support::plant::{self, Plant, age};
use crate::support::service::{Answer, Service, Setup, run};
use crate::support::visitor::{Ticket, quick};
use crate::support::wire;

/// The keeper runs at the turn of the year only.
const NEVER: &str = "0 0 0 1 1 *";
const DAY: i64 = 86_400_000;

/// A service whose keeper does nothing by itself.
fn still() -> Setup {
    Setup::default()
        .with("KEEPER__EXPIRY", NEVER)
        .with("KEEPER__SWEEP", NEVER)
        .with("KEEPER__EVICT", NEVER)
}

fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}

fn bearer(service: &Service, method: &str, path: &str, token: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    service.request(method, path, &headers, body.to_string().as_bytes())
}

fn patch(service: &Service, ticket: &Ticket, body: &Value) -> Answer {
    bearer(service, "PATCH", &ticket.path(), &ticket.token, body)
}

#[track_caller]
fn ledger(service: &Service, ticket: &Ticket) -> Value {
    serde_json::from_slice(&std::fs::read(service.ledger_of(ticket)).unwrap()).unwrap()
}

/// Kinds and data of a clip's events.
fn trail(service: &Service, subject: &str) -> Vec<(String, Value)> {
    let index = plant::connect(&service.data);
    let mut query = index
        .prepare("SELECT kind, data FROM events WHERE subject = ?1 ORDER BY seq")
        .unwrap();
    let rows = query.query_map([subject], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
    rows.unwrap()
        .map(|row| {
            let (kind, data) = row.unwrap();
            (kind, serde_json::from_str(&data).unwrap())
        })
        .collect()
}

#[test]
fn the_holder_of_a_clip_changes_its_title_and_how_long_it_is_kept() {
    let (origin, link) = Origin::with(&media::tiny());
    let service = still().with("ENGINE__WORKERS", 1).start();
    let ticket = service.ticket(&quick(&link));
    service.wait_for(&ticket.id, &["ready"]);
    let later = now().plus_millis(29 * DAY).to_string();
    let body = json!({"title": "Ein Ж", "pinned": true, "expires_at": later});
    let answer = patch(&service, &ticket, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    for clip in [
        answer.json(),
        service.clip(&ticket),
        ledger(&service, &ticket),
    ] {
        for field in ["title", "pinned", "expires_at"] {
            assert_eq!(clip[field], body[field], "{clip}");
        }
    }
    let (kind, data) = trail(&service, &ticket.id).pop().unwrap();
    assert_eq!(kind, "clip.changed");
    assert_eq!(data["fields"], json!(["title", "pinned", "expires_at"]));
    assert!(!data.to_string().contains('Ж'), "{data}");
    // Nothing asked is nothing changed.
    let same = patch(&service, &ticket, &json!({}));
    assert_eq!((same.status, &same.json()["title"]), (200, &body["title"]));

    let past = now().plus_millis(-1000).to_string();
    let far = now().plus_millis(31 * DAY).to_string();
    for (body, status, code, field) in [
        (
            json!({"expires_at": past}),
            400,
            "expires_at_past",
            "expires_at",
        ),
        (
            json!({"expires_at": far}),
            400,
            "expires_at_too_far",
            "expires_at",
        ),
        (
            json!({"expires_at": "soon"}),
            400,
            "expires_at_invalid",
            "expires_at",
        ),
        (
            json!({"url": "https://example.com/"}),
            400,
            "json_unknown_field",
            "url",
        ),
        (json!({"pinned": "yes"}), 400, "field_type", "pinned"),
        (json!({"title": ""}), 400, "title_invalid", "title"),
        (
            json!({"title": "x".repeat(301)}),
            400,
            "title_too_long",
            "title",
        ),
    ] {
        let answer = patch(&service, &ticket, &body);
        answer.expect_problem(status, code);
        assert_eq!(answer.json()["field"], field);
    }
    bearer(&service, "PATCH", &ticket.path(), "x", &json!({})).expect_problem(403, "token_wrong");
    let none = service.request(
        "PATCH",
        &ticket.path(),
        &[("content-type", "application/json")],
        b"{}",
    );
    none.expect_problem(401, "token_missing");
    let manager = service.token("clip:manage");
    let answer = bearer(
        &service,
        "PATCH",
        &ticket.path(),
        &manager,
        &json!({"expires_at": far}),
    );
    assert_eq!(answer.json()["expires_at"], far.as_str());

    // One that is not ready has no end yet; its title is one all the same, and the ledger's when it is ready.
    let held = service.hold(&origin);
    let waiting = service.ticket(&quick(&link));
    patch(&service, &waiting, &json!({"pinned": true})).expect_problem(409, "clip_state");
    assert_eq!(
        patch(&service, &waiting, &json!({"title": "Later"})).status,
        200
    );
    service.cancel(&held);
    service.wait_for(&waiting.id, &["ready"]);
    assert_eq!(service.clip(&waiting)["title"], "Later");
    assert_eq!(ledger(&service, &waiting)["title"], "Later");

    // Taking the pin out of one whose time is over does not lose it the same minute.
    service.index("UPDATE clips SET expires_at = 1000 WHERE pinned = 1");
    let answer = patch(&service, &ticket, &json!({"pinned": false})).json();
    assert!(answer["expires_at"].as_str().unwrap() > now().to_string().as_str());
}

#[test]
fn strangers_cannot_fill_the_disk_by_pinning() {
    let (_origin, link) = Origin::with(&media::tiny());
    let service = still().start();
    let tickets = [(); 2].map(|()| service.ticket(&quick(&link)));
    for ticket in &tickets {
        service.wait_for(&ticket.id, &["ready"]);
    }
    let files = std::fs::read_dir(service.files_of(&tickets[0])).unwrap();
    let bytes: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    // A quarter of it holds one and a half.
    let service = service.restarted(still().with("STORAGE__MAX_BYTES", bytes * 6));
    assert_eq!(
        patch(&service, &tickets[0], &json!({"pinned": true})).status,
        200
    );
    let answer = patch(&service, &tickets[1], &json!({"pinned": true}));
    answer.expect_problem(507, "pins_full");
    // What is pinned already may be said again; who manages all clips may do as they like.
    assert_eq!(
        patch(&service, &tickets[0], &json!({"pinned": true})).status,
        200
    );
    let manager = service.token("clip:manage");
    let answer = bearer(
        &service,
        "PATCH",
        &tickets[1].path(),
        &manager,
        &json!({"pinned": true}),
    );
    assert_eq!(answer.status, 200);
    for ticket in &tickets {
        assert_eq!(
            patch(&service, ticket, &json!({"pinned": false})).status,
            200
        );
    }
    assert_eq!(
        patch(&service, &tickets[1], &json!({"pinned": true})).status,
        200
    );
}

#[test]
fn what_was_removed_is_gone_for_everybody_and_comes_back_under_its_link() {
    let (_origin, link) = Origin::with(&media::tiny());
    let service = still().start();
    let ticket = service.ticket(&quick(&link));
    let clip = service.wait_for(&ticket.id, &["ready"]);
    let file = clip["urls"]["file"].as_str().unwrap().to_owned();
    let bytes = service.get(&file).bytes;
    assert_eq!(service.get(&format!("/c/{}", ticket.id)).status, 200);
    assert_eq!(service.remove(&ticket).status, 204);
    service.get(&ticket.path()).expect_problem(404, "not_found");
    service.get(&file).expect_problem(404, "not_found");
    assert_eq!(service.get(&format!("/c/{}", ticket.id)).status, 404);
    assert_eq!(service.remove(&ticket).status, 404);
    assert!(!service.files_of(&ticket).exists() && !service.ledger_of(&ticket).exists());

    let (manager, reader) = (service.token("clip:manage"), service.token("ops:read"));
    let list = "/api/admin/trash";
    let restore = format!("{list}/{}/restore", ticket.id);
    service.get(list).expect_problem(401, "token_needed");
    bearer(&service, "POST", &restore, &reader, &json!({})).expect_problem(403, "token_scope");
    let shown = service.with_token("GET", list, &manager).json();
    let entry = &shown["trash"][0];
    assert_eq!(
        (&entry["id"], &entry["why"]),
        (&json!(ticket.id), &json!("removed"))
    );
    assert!(entry["bytes"].as_u64().unwrap() >= bytes.len() as u64);
    let back = service.with_token("POST", &restore, &manager);
    assert_eq!(
        (back.status, &back.json()["state"]),
        (200, &json!("ready")),
        "{}",
        back.text()
    );
    assert_eq!(service.get(&file).bytes, bytes);
    let mut same = service.clip(&ticket);
    let mut before = clip.clone();
    for clip in [&mut same, &mut before] {
        for field in ["expires_at", "views"] {
            clip[field] = Value::Null;
        }
    }
    assert_eq!(same, before);
    assert_eq!(ledger(&service, &ticket)["state"], "ready");
    service
        .with_token("POST", &restore, &manager)
        .expect_problem(404, "not_found");

    // An expired one comes back the same way, unless it has been made again.
    let over = now().0 - 1000;
    service.index(&format!("UPDATE clips SET expires_at = {over}"));
    let operator = service.token("ops:run");
    let report = service.with_token("POST", "/api/admin/cleanup", &operator);
    assert_eq!(report.json()["counts"]["clips"], 1, "{}", report.text());
    assert_eq!(service.clip(&ticket)["state"], "expired");
    service.get(&file).expect_problem(404, "not_found");
    let back = service.with_token("POST", &restore, &manager);
    assert_eq!(back.json()["state"], "ready", "{}", back.text());
    assert_eq!(service.get(&file).bytes, bytes);
    let kinds: Vec<String> = trail(&service, &ticket.id)
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    let tail = [
        "clip.ready",
        "clip.removed",
        "clip.restored",
        "clip.expired",
        "clip.restored",
    ];
    assert_eq!(kinds[kinds.len() - 5..], tail);

    // Without a trash, what goes is gone.
    let service = service.restarted(still().with("RETENTION__TRASH_HOURS", 0));
    assert_eq!(service.remove(&ticket).status, 204);
    let shown = service.with_token("GET", list, &manager).json();
    assert_eq!(shown["trash"], json!([]));
    assert_eq!(
        std::fs::read_dir(service.data.join("trash"))
            .unwrap()
            .count(),
        0
    );
}

fn cleanup(data: &Path, more: &[&str]) -> String {
    let arguments = [&["cleanup", "--data-dir", data.to_str().unwrap()], more].concat();
    let output = run(&arguments, Path::new("/"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout).unwrap()
}

fn sorted(report: &Value) -> Vec<String> {
    let mut removals: Vec<String> = report["removals"]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    removals.sort();
    removals
}

#[test]
fn a_preview_a_run_and_its_event_say_the_same() {
    let service = still().start();
    let data = service.data.clone();
    let over = now().plus_millis(-1000);
    let due = |number| Plant {
        expires_at: over,
        ..plant::clip(number)
    };
    let plants = [due(1), due(2), plant::clip(3), plant::clip(4)];
    plant::rows(&data, &plants);
    plant::files(&data, &plants[..3]);
    // Files without a clip; the fourth is a clip without files.
    plant::files(&data, &[plant::clip(5)]);
    let work = data.join("work").join(plant::clip(6).id);
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("part"), "left over").unwrap();
    age(&work);
    let trashed = plant::clip(7).id;
    let aside = data.join("trash").join(&trashed);
    std::fs::create_dir_all(&aside).unwrap();
    let upload = service.begin_upload(10, "x.mp4");
    let id = crate::support::tus::id_of(&upload);
    service.index(&format!(
        "UPDATE uploads SET used_at = 1000 WHERE id = '{id}';
         INSERT INTO trash (id, title, why, bytes, trashed_at) VALUES ('{trashed}', 'old', 'removed', 5, 1000);
         INSERT INTO events (at, kind, subject) VALUES (1000, 'old', 'old'), (1001, 'old', 'old');
         INSERT INTO samples (metric, at, value, unit) VALUES ('old', 1000, 1, '1');
         INSERT INTO health_checks (at, name, status, detail) VALUES (1000, 'old', 'ok', '');
         INSERT INTO clips (id, state, title, recipe, visitor, estimate, created_at, queued_at, finished_at)
             SELECT '{}', 'failed', 'past', recipe, 'v', 0, 1000, 1000, 1000 FROM clips LIMIT 1",
        plant::clip(8).id
    ));
    let (reader, operator) = (service.token("ops:read"), service.token("ops:run"));
    let path = "/api/admin/cleanup";
    service.get(path).expect_problem(401, "token_needed");
    bearer(&service, "POST", path, &reader, &json!({})).expect_problem(403, "token_scope");

    let told: Value = serde_json::from_str(&cleanup(&data, &["--dry-run", "--json"])).unwrap();
    let answer = service.with_token("GET", path, &reader).json();
    let preview = &answer["preview"];
    let counts = json!({
        "clips": 2, "uploads": 1, "trash": 1, "orphans": 1, "lost_clips": 1, "work": 1, "history": 1, "events": 2, "samples": 1,
        "health_checks": 1,
    });
    assert_eq!(preview["counts"], counts);
    assert_eq!((&told["counts"], sorted(&told)), (&counts, sorted(preview)));
    for reason in [
        format!("expired at {over}"),
        "files of no known clip".to_owned(),
        "its files are gone".to_owned(),
        "left over from a job that runs no more".to_owned(),
    ] {
        assert!(preview.to_string().contains(&reason), "{reason}: {preview}");
    }
    assert!(
        !preview.to_string().contains(id),
        "an upload's id is a secret"
    );
    let lines = cleanup(&data, &["--dry-run"]);
    assert!(
        lines.contains(&format!("would remove {} plant", plants[0].id)),
        "{lines}"
    );
    let sum = "2 clips, 1 upload, 1 clip in the trash, 1 orphan, 1 lost clip, 1 folder of work, 1 clip of the past, 2 events, \
               1 health check and 1 sample";
    assert!(lines.contains(sum), "{lines}");
    let tasks = answer["tasks"].as_array().unwrap();
    let sweep = tasks.iter().find(|task| task["task"] == "sweep").unwrap();
    assert_eq!(
        (&sweep["expression"], &sweep["last"]),
        (&json!(NEVER), &Value::Null)
    );
    assert!(
        sweep["next"]
            .as_str()
            .unwrap()
            .ends_with("-01-01T00:00:00.000Z")
    );
    // Nobody has touched anything by looking.
    assert_eq!(
        plant::states(&data)
            .iter()
            .filter(|(_, state)| state == "ready")
            .count(),
        4
    );
    assert!(work.exists() && aside.exists());

    let ran = service.with_token("POST", path, &operator).json();
    assert_eq!((&ran["counts"], sorted(&ran)), (&counts, sorted(preview)));
    assert_eq!(ran["errors"], json!([]));
    let (kind, mut figures) = trail(&service, "sweep").pop().unwrap();
    assert_eq!(figures["bytes"], ran["bytes"]);
    figures.as_object_mut().unwrap().remove("bytes");
    assert_eq!((kind.as_str(), &figures), ("keeper.ran", &counts));
    assert!(!work.exists() && !aside.exists());
    let state = |number: u32| {
        service
            .get(&format!("/api/clips/{}", plant::clip(number).id))
            .json()
    };
    assert_eq!(state(3)["state"], "ready");
    assert_eq!(
        (&state(4)["state"], &state(4)["error"]["code"]),
        (&json!("expired"), &json!("clip_lost"))
    );
    let answer = service.with_token("GET", path, &reader).json();
    assert_eq!(answer["preview"]["counts"], json!({}));
    let tasks = answer["tasks"].as_array().unwrap();
    let sweep = tasks.iter().find(|task| task["task"] == "sweep").unwrap();
    assert_eq!(sweep["last"]["result"]["clips"], 2);
    // Known after a start, too.
    let service = service.restarted(still());
    let answer = service.with_token("GET", path, &reader).json();
    assert!(answer.to_string().contains(r#""clips":2"#), "{answer}");
    assert!(cleanup(&data, &["--dry-run"]).starts_with("0 clips"));
}

#[test]
fn a_storage_that_is_not_there_loses_nobody_their_clips() {
    let service = still().start();
    let plants: Vec<Plant> = (0..20).map(plant::clip).collect();
    plant::rows(&service.data, &plants);
    let upload = service.begin_upload(10, "x.mp4");
    service.index("UPDATE uploads SET used_at = 1000");
    let operator = service.token("ops:run");
    let ran = service
        .with_token("POST", "/api/admin/cleanup", &operator)
        .json();
    let trouble = &ran["errors"][0];
    assert_eq!(trouble["part"], "lost_clips");
    assert!(
        trouble["error"]
            .as_str()
            .unwrap()
            .contains("is the storage mounted"),
        "{ran}"
    );
    // The other parts are done, the clips are as they were, and the trail has the error.
    assert_eq!(service.tus("HEAD", &upload, &[], b"").status, 404);
    assert!(
        plant::states(&service.data)
            .iter()
            .all(|(_, state)| state == "ready")
    );
    let index = plant::connect(&service.data);
    let query = "SELECT error FROM events WHERE kind = 'keeper.ran' ORDER BY seq DESC LIMIT 1";
    let error: String = index.query_row(query, [], |row| row.get(0)).unwrap();
    assert!(error.starts_with("lost_clips: "), "{error}");
}

#[test]
fn clips_that_go_while_the_power_does_are_whole_or_gone() {
    const MANY: u32 = 4000;
    let service = still().start();
    let data = service.data.clone();
    let over = now().plus_millis(-1000);
    let plants: Vec<Plant> = (0..MANY)
        .map(|number| Plant {
            expires_at: over,
            ..plant::clip(number)
        })
        .collect();
    plant::rows(&data, &plants);
    plant::files(&data, &plants);
    let count = |state: &str| {
        let states = plant::states(&data);
        states.iter().filter(|(_, is)| is == state).count()
    };
    let service = service.restarted(still().with("KEEPER__EXPIRY", "* * * * * *"));
    crate::support::visitor::until("some are gone", || count("expired") > 300);
    let service = service.killed_and_started_again(still());
    let left = count("ready");
    assert!(left > 0, "the power was cut too late to show anything");
    for (id, state) in plant::states(&data) {
        let there = data.join("storage/clips").join(&id).join("x.mp4").exists();
        assert!(state == "expired" || there, "{id} is {state}");
    }
    let operator = service.token("ops:run");
    let ran = service
        .with_token("POST", "/api/admin/cleanup", &operator)
        .json();
    assert_eq!(ran["counts"]["clips"], left, "{}", ran["counts"]);
    assert_eq!(count("expired"), MANY as usize);
    assert_eq!(
        std::fs::read_dir(data.join("storage/clips"))
            .unwrap()
            .count(),
        0
    );
    let index = plant::connect(&data);
    let (kept, bytes): (usize, i64) = index
        .query_row("SELECT count(*), sum(bytes) FROM trash", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!((kept, bytes), (MANY as usize, i64::from(MANY) * 1000));
    let sums: (i64, i64) = index
        .query_row("SELECT clips, trash FROM tallies", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(sums, (0, bytes));
    let aside = std::fs::read_dir(data.join("trash")).unwrap().count();
    assert!(aside <= kept && aside + 100 >= kept, "{aside} of {kept}");
    assert_eq!(
        wire::get(&service, "/api/clips?state=expired", "").status,
        200
    );
}

#[test]
fn what_cannot_be_removed_keeps_nothing_else() {
    let service = still().start();
    let data = service.data.clone();
    let plants: Vec<Plant> = (1..=4).map(plant::clip).collect();
    plant::rows(&data, &plants);
    plant::files(&data, &plants[..2]);
    let over = now().plus_millis(-40 * DAY).0;
    // A file where a folder should be cannot be removed as one.
    let stuck = data.join("trash").join(plant::clip(8).id);
    std::fs::write(&stuck, "x").unwrap();
    let gone = data.join("trash").join(plant::clip(9).id);
    std::fs::create_dir(&gone).unwrap();
    std::fs::write(data.join("storage/clips").join(&plants[2].id), "x").unwrap();
    let ledger = |number: usize| {
        let path = data.join(format!("ledger/clips/{}.json", plants[number].id));
        std::fs::write(&path, "{}").unwrap();
        path
    };
    let (third, fourth) = (ledger(2), ledger(3));
    service.index(&format!(
        "UPDATE clips SET expires_at = {over} WHERE id IN ('{}', '{}');
         UPDATE clips SET state = 'expired', expires_at = {over} WHERE id IN ('{}', '{}');
         INSERT INTO trash (id, title, why, bytes, trashed_at) VALUES ('{}', 'x', 'removed', 1, {over});
         INSERT INTO trash (id, title, why, bytes, trashed_at) VALUES ('{}', 'y', 'removed', 1, {over} + 1)",
        plants[0].id, plants[1].id, plants[2].id, plants[3].id, plant::clip(8).id, plant::clip(9).id
    ));
    let operator = service.token("ops:run");
    let ran = service
        .with_token("POST", "/api/admin/cleanup", &operator)
        .json();
    let parts: Vec<&str> = ran["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trouble| trouble["part"].as_str().unwrap())
        .collect();
    assert!(
        parts.contains(&"trash") && parts.contains(&"history"),
        "{ran}"
    );
    assert_eq!(
        (&ran["counts"]["trash"], &ran["counts"]["clips"]),
        (&json!(1), &json!(2)),
        "{ran}"
    );
    assert!(stuck.exists() && !gone.exists());
    // What stays is still known, and nobody is left in the ledger.
    let known = plant::connect(&data);
    let left: Vec<String> = known
        .prepare("SELECT id FROM trash WHERE trashed_at <= ?1 + 1")
        .unwrap()
        .query_map([over], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(left, [plant::clip(8).id]);
    assert!(!third.exists() && !fourth.exists());
}

#[test]
fn a_clip_that_was_made_again_is_not_brought_back_as_it_was() {
    let (_origin, link) = Origin::with(&media::tiny());
    let service = still().start();
    let ticket = service.ticket(&quick(&link));
    service.wait_for(&ticket.id, &["ready"]);
    let over = now().plus_millis(-1000).0;
    service.index(&format!("UPDATE clips SET expires_at = {over}"));
    let operator = service.token("ops:run");
    let manager = service.token("clip:manage");
    service.with_token("POST", "/api/admin/cleanup", &operator);
    let aside = service.data.join("trash").join(&ticket.id);
    assert!(aside.exists());
    assert_eq!(service.retry(&ticket).status, 202);
    service.wait_for(&ticket.id, &["ready"]);
    // It ends without going to the trash; the film in the trash is not the one that the index tells of.
    service.index("UPDATE clips SET state = 'expired'");
    let restore = format!("/api/admin/trash/{}/restore", ticket.id);
    let answer = service.with_token("POST", &restore, &manager);
    answer.expect_problem(404, "not_found");
    age(&aside);
    service.with_token("POST", "/api/admin/cleanup", &operator);
    assert!(!aside.exists());
}

#[test]
fn a_row_that_cannot_be_read_keeps_no_other_clip() {
    let service = still().start();
    let over = now().plus_millis(-1000);
    let due = |number| Plant {
        expires_at: over,
        ..plant::clip(number)
    };
    let plants = [due(1), due(2), due(3)];
    plant::rows(&service.data, &plants);
    plant::files(&service.data, &plants);
    service.index(&format!(
        "UPDATE clips SET recipe = 'not json' WHERE id = '{}'",
        plants[1].id
    ));
    let operator = service.token("ops:run");
    let ran = service.with_token("POST", "/api/admin/cleanup", &operator);
    assert_eq!(ran.json()["counts"]["clips"], 2, "{}", ran.text());
    let states: Vec<String> = plant::states(&service.data)
        .into_iter()
        .map(|(_, state)| state)
        .collect();
    assert_eq!(states, ["expired"; 3]);
    assert_eq!(
        service
            .log()
            .matches("cannot be read and is passed over")
            .count(),
        1
    );
    // Its files go with the sweep.
    let folder = service.data.join("storage/clips").join(&plants[1].id);
    assert!(!folder.exists());
}

#[test]
fn a_preview_is_kept_for_a_minute_and_until_a_run() {
    let service = still().start();
    let (reader, operator) = (service.token("ops:read"), service.token("ops:run"));
    let path = "/api/admin/cleanup";
    let shown = || service.with_token("GET", path, &reader).json();
    let first = shown();
    let over = now().plus_millis(-1000);
    let due = Plant {
        expires_at: over,
        ..plant::clip(1)
    };
    plant::rows(&service.data, &[due]);
    let kept = shown();
    assert_eq!(
        (&kept["preview"], &kept["previewed_at"]),
        (&first["preview"], &first["previewed_at"])
    );
    let ran = service.with_token("POST", path, &operator).json();
    assert_eq!(ran["counts"]["clips"], 1, "{ran}");
    let again = Plant {
        expires_at: over,
        ..plant::clip(2)
    };
    plant::rows(&service.data, &[again]);
    assert_eq!(shown()["preview"]["counts"]["clips"], 1);
}
