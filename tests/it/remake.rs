//! Clips made again under the same link: what is there is served until the new file is, nothing is fetched that was kept, and whatever goes
//! wrong leaves the clip as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::repair::{command, exited};
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Answer, Service, Setup, recipe};
use crate::support::visitor::{Ticket, until};
use crate::support::{frames, media};

fn patch(service: &Service, ticket: &Ticket, body: &Value) -> Answer {
    let token = format!("Bearer {}", ticket.token);
    let headers = [
        ("authorization", token.as_str()),
        ("content-type", "application/json"),
    ];
    service.request(
        "PATCH",
        &ticket.path(),
        &headers,
        body.to_string().as_bytes(),
    )
}

/// Has a clip made again and waits until it is.
#[track_caller]
fn again(service: &Service, ticket: &Ticket, body: &Value) -> Value {
    let version = service.clip(ticket)["urls"]["file"].clone();
    let answer = patch(service, ticket, body);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let queued = answer.json();
    assert_ne!(queued["state"], "ready");
    assert_eq!(queued["urls"]["file"], version, "the old file is served");
    service.wait_for(&ticket.id, &["ready"])
}

/// A clip that is ready, and the folder in which its window is kept.
#[track_caller]
fn made(service: &Service, body: &Value) -> (Ticket, Value, PathBuf) {
    let ticket = service.ticket(body);
    let clip = service.wait_for(&ticket.id, &["ready"]);
    let kept = service.data.join("windows").join(&ticket.id);
    (ticket, clip, kept)
}

fn published(service: &Service, ticket: &Ticket, clip: &Value) -> PathBuf {
    let url = clip["urls"]["file"].as_str().unwrap();
    let name = url.rsplit('/').next().unwrap();
    let name = percent_encoding::percent_decode_str(name)
        .decode_utf8()
        .unwrap();
    service.files_of(ticket).join(name.as_ref())
}

/// Waits until what was fetched for a clip is kept, and its folder of work is gone.
#[track_caller]
fn wait_kept(service: &Service, ticket: &Ticket, kept: &Path) {
    until("the window is kept", || {
        kept.join("window.json").exists() && !service.work_of(ticket).exists()
    });
}

fn in_order(service: &Service) {
    exited(&command(&service.data, &["fsck", "--hashes"]), 0);
}

#[test]
fn another_stretch_or_look_inside_of_what_was_fetched_needs_no_network() {
    let (origin, link) = Origin::with(&media::everyday());
    let service = Service::start();
    let (ticket, first, kept) = made(&service, &recipe(&link, 4.5, 8.5));
    wait_kept(&service, &ticket, &kept);
    let old = service.get(first["urls"]["file"].as_str().unwrap());
    let (sent, requests) = (origin.sent(), origin.requests().len());

    let second = again(
        &service,
        &ticket,
        &json!({"start_time": 5.1, "end_time": 7.3}),
    );
    assert_eq!(second["result"]["bytes_fetched"], 0);
    assert_eq!((origin.sent(), origin.requests().len()), (sent, requests));
    assert_eq!(second["result"]["frames"], 66);
    // The very film that one who never had the longer one gets.
    let (fresh, plain, _) = made(&service, &recipe(&link, 5.1, 7.3));
    let films = [(&ticket, &second), (&fresh, &plain)]
        .map(|(ticket, clip)| frames::hashes(&published(&service, ticket, clip)));
    let copied = second["result"]["frames_copied"].as_u64().unwrap();
    assert_eq!(plain["result"]["frames_copied"], copied);
    assert_eq!(films[0].len(), films[1].len());
    // An encoder with two threads does not make the same picture each time; what is taken over is the same.
    let same = films[0].iter().zip(&films[1]).filter(|(a, b)| a == b);
    assert!(same.count() as u64 >= copied, "{copied} are taken over");
    // Other bytes, another name, another tag; the old name leads to the new one.
    let file = second["urls"]["file"].as_str().unwrap();
    let new = service.get(file);
    assert_ne!(new.bytes, old.bytes);
    assert_ne!(new.header("etag"), old.header("etag"));
    assert!(new.header("cache-control").contains("immutable"));
    let moved = service.get(&format!(
        "{}?download=1",
        first["urls"]["file"].as_str().unwrap()
    ));
    assert_eq!(
        (
            moved.status,
            moved.header("location"),
            moved.header("cache-control")
        ),
        (307, format!("{file}?download=1"), "no-store".to_owned())
    );
    assert_eq!(service.get(&format!("{file}.html")).status, 404);
    let poster = second["urls"]["poster"].as_str().unwrap();
    assert!(poster.ends_with("poster.jpg?v=2"), "{poster}");
    assert!(
        service
            .get(poster)
            .header("cache-control")
            .contains("immutable")
    );
    // As in the moment between the index and the files: whoever asks then does not keep what is not the new picture yet.
    let waiting = service.files_of(&ticket).join(format!(
        ".{}.jpg",
        published(&service, &ticket, &second)
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
    ));
    fs::write(&waiting, "waits").unwrap();
    assert_eq!(
        service.get(poster).header("cache-control"),
        "public, no-cache"
    );
    fs::remove_file(waiting).unwrap();
    let bare = service.get(poster.trim_end_matches("?v=2"));
    assert_eq!(
        (bare.status, bare.header("cache-control")),
        (200, "public, no-cache".to_owned())
    );
    assert_eq!(fs::read_dir(service.files_of(&ticket)).unwrap().count(), 2);

    let before = origin.sent();
    let small = again(&service, &ticket, &json!({"height": 180, "mute": true}));
    assert_eq!(
        (&small["result"]["height"], &small["result"]["audio_codec"]),
        (&json!(180), &Value::Null)
    );
    assert_eq!(
        frames::shown_size(&published(&service, &ticket, &small)),
        (320, 180)
    );
    let heard = again(
        &service,
        &ticket,
        &json!({"height": null, "mute": null, "segments": [{"start": 4.5, "end": 8}]}),
    );
    assert_eq!(heard["result"]["audio_codec"], "aac");
    assert_eq!(heard["recipe"].get("height"), None);
    assert_eq!(origin.sent(), before);
    let outside = again(&service, &ticket, &json!({"end_time": 10.5}));
    assert!(origin.sent() > before);
    assert_eq!(outside["result"]["frames"], 180);
    // What is as it is wished already is not made again.
    let same = patch(
        &service,
        &ticket,
        &json!({"end_time": 10.5, "title": "Another"}),
    );
    assert_eq!((same.status, &same.json()["state"]), (200, &json!("ready")));
    wait_kept(&service, &ticket, &kept);
    in_order(&service);

    // What came to nothing is not why it has expired; made once more, it has an address that nobody has kept anything of.
    again(
        &service,
        &ticket,
        &json!({"start_time": 100, "end_time": 101}),
    );
    // Not so long ago that all of it is forgotten.
    let now = std::time::SystemTime::now();
    let over = meme_maker::timestamp::Timestamp::from_system(now).0 - 1000;
    service.index(&format!("UPDATE clips SET expires_at = {over}"));
    service.with_token("POST", "/api/admin/cleanup", &service.token("ops:run"));
    let ended = service.clip(&ticket);
    assert_eq!(
        (&ended["state"], &ended["error"]),
        (&json!("expired"), &Value::Null)
    );
    assert!(
        service
            .get(&format!("/c/{}", ticket.id))
            .text()
            .contains("has expired")
    );
    assert_eq!(service.retry(&ticket).status, 202);
    let back = service.wait_for(&ticket.id, &["ready"]);
    let file = back["urls"]["file"].as_str().unwrap();
    assert!(file.ends_with("-6.mp4"), "{file}");
    assert_eq!(service.get(file).status, 200);
    assert_eq!(
        service.get(first["urls"]["file"].as_str().unwrap()).status,
        307
    );
    service.remove(&ticket);
    until("the window is gone", || {
        !kept.exists() && !service.work_of(&ticket).exists()
    });
}

#[test]
fn windows_that_were_copied_serve_again_and_broken_ones_are_fetched_anew() {
    let origin = Origin::start();
    // Without ranges ffmpeg reads and copies it.
    let link = origin.add("/plain.mp4", Behaviour::WithoutRanges(media::everyday()));
    let service = Service::start();
    let (ticket, _, kept) = made(&service, &recipe(&link, 4.5, 8.5));
    wait_kept(&service, &ticket, &kept);
    let sent = origin.sent();
    let inside = again(
        &service,
        &ticket,
        &json!({"start_time": 6.2, "end_time": 8}),
    );
    assert_eq!(
        (origin.sent(), &inside["result"]["frames"]),
        (sent, &json!(54))
    );
    let (fresh, plain, _) = made(&service, &recipe(&link, 6.2, 8.0));
    assert_eq!(
        frames::hashes(&published(&service, &ticket, &inside)),
        frames::hashes(&published(&service, &fresh, &plain))
    );
    // What lies before its first picture is not in it.
    until("the job is over", || !service.work_of(&ticket).exists());
    let sent = origin.sent();
    let earlier = again(&service, &ticket, &json!({"start_time": 1, "end_time": 5}));
    assert!(origin.sent() > sent && earlier["result"]["frames"] == 120);
    wait_kept(&service, &ticket, &kept);

    let film = kept.join("window-0.mp4");
    let mut bytes = fs::read(&film).unwrap();
    let half = bytes.len() / 2;
    bytes[4000..half].fill(0);
    fs::write(&film, &bytes).unwrap();
    let mended = again(&service, &ticket, &json!({"start_time": 2, "end_time": 4}));
    assert_eq!(
        (&mended["result"]["frames"], &mended["error"]),
        (&json!(60), &Value::Null)
    );
    assert!(mended["result"]["bytes_fetched"].as_u64().unwrap() > 0);
    in_order(&service);
}

#[test]
fn what_is_there_stays_until_the_new_file_is_and_when_nothing_comes_of_it() {
    let (origin, link) = Origin::with(&media::everyday());
    let service = Setup::default().with("ENGINE__WORKERS", 1).start();
    let (ticket, first, kept) = made(&service, &recipe(&link, 4.5, 6.5));
    wait_kept(&service, &ticket, &kept);
    let url = first["urls"]["file"].as_str().unwrap();
    let old = service.get(url);
    let is_as_it_was = || {
        let clip = service.clip(&ticket);
        for field in ["recipe", "result", "urls", "title", "finished_at"] {
            assert_eq!(clip[field], first[field], "{field}");
        }
        assert_eq!(service.get(url).bytes, old.bytes);
        clip
    };

    // It comes to nothing by itself.
    let failed = again(
        &service,
        &ticket,
        &json!({"start_time": 100, "end_time": 101}),
    );
    assert_eq!(failed["error"]["code"], "time_range");
    assert_eq!(is_as_it_was()["state"], "ready");
    service.retry(&ticket).expect_problem(409, "clip_state");

    let held = service.hold(&origin);
    let queued = patch(&service, &ticket, &json!({"height": 180}));
    assert_eq!(
        (queued.status, &queued.json()["error"]),
        (202, &Value::Null)
    );
    patch(&service, &ticket, &json!({"height": 90})).expect_problem(409, "clip_state");
    assert_eq!(service.get(url).bytes, old.bytes);
    let poster = first["urls"]["poster"].as_str().unwrap();
    for path in [
        poster,
        &format!("{}/download", ticket.path()),
        &format!("/c/{}", ticket.id),
        &format!("/embed/{}", ticket.id),
    ] {
        assert_eq!(service.get(path).status, 200, "{path}");
    }
    // Whatever it is to become, the pages show what is there.
    service.cancel(&ticket);
    let still = patch(&service, &ticket, &json!({"format": "gif", "end_time": 6}));
    assert_eq!(still.status, 202, "{}", still.text());
    for path in [format!("/c/{}", ticket.id), format!("/embed/{}", ticket.id)] {
        let page = service.get(&path).text();
        assert!(
            page.contains(url) && page.contains("<video"),
            "{path}: {page}"
        );
    }
    let pinned = patch(&service, &ticket, &json!({"pinned": true}));
    assert_eq!(
        (pinned.status, &pinned.json()["state"]),
        (200, &json!("queued"))
    );
    assert_eq!(
        patch(&service, &ticket, &json!({"pinned": false})).status,
        200
    );
    // A folder that has not changed for long is no orphan's.
    let aged = Command::new("touch")
        .args(["-d", "3 hours ago"])
        .arg(service.files_of(&ticket))
        .status();
    assert!(aged.unwrap().success());
    let token = format!("Bearer {}", service.token("ops:run"));
    let swept = service.request(
        "POST",
        "/api/admin/cleanup",
        &[("authorization", &token)],
        b"",
    );
    assert_eq!(
        swept.json()["counts"].get("orphans"),
        None,
        "{}",
        swept.text()
    );
    in_order(&service);
    // An index that is made anew knows of both; the ledger tells what is there.
    let entry: Value =
        serde_json::from_slice(&fs::read(service.ledger_of(&ticket)).unwrap()).unwrap();
    assert_eq!(
        (&entry["state"], &entry["recipe"]),
        (&json!("ready"), &first["recipe"])
    );

    for _ in 0..2 {
        assert_eq!(
            service.cancel(&ticket).status,
            200,
            "twice is as good as once"
        );
    }
    assert_eq!(
        (&is_as_it_was()["state"], &is_as_it_was()["error"]),
        (&json!("ready"), &Value::Null)
    );

    // Removed meanwhile, it goes to the trash as what it was, and comes back as that.
    assert_eq!(
        patch(&service, &ticket, &json!({"height": 180})).status,
        202
    );
    assert_eq!(service.remove(&ticket).status, 204);
    assert_eq!(service.get(url).status, 404);
    let manage = format!("Bearer {}", service.token("clip:manage"));
    let back = format!("/api/admin/trash/{}/restore", ticket.id);
    assert_eq!(
        service
            .request("POST", &back, &[("authorization", &manage)], b"")
            .status,
        200
    );
    assert_eq!(is_as_it_was()["state"], "ready");
    service.cancel(&held);
    in_order(&service);
}

#[test]
fn a_clip_that_is_made_again_survives_being_killed() {
    let (_origin, link) = Origin::with(&media::long());
    let service = Service::start();
    let (ticket, first, kept) = made(&service, &recipe(&link, 1.0, 2.0));
    wait_kept(&service, &ticket, &kept);
    let url = first["urls"]["file"].as_str().unwrap().to_owned();
    let old = service.get(&url).bytes;
    let longer = json!({"end_time": 9, "height": 540});
    assert_eq!(patch(&service, &ticket, &longer).status, 202);
    service.wait_for(&ticket.id, &["cutting"]);
    let service = service.killed_and_started_again(Setup::default());
    assert_eq!(service.get(&url).bytes, old);
    service.wait_for(&ticket.id, &["cutting"]);
    // As one leaves it who is killed between laying the file down and telling the index.
    fs::write(service.files_of(&ticket).join("half-2.mp4"), "half").unwrap();
    let service = service.killed_and_started_again(Setup::default());
    let back = service.wait_for(&ticket.id, &["ready"]);
    assert_eq!(
        (&back["error"]["code"], &back["recipe"], &back["result"]),
        (&json!("interrupted"), &first["recipe"], &first["result"])
    );
    assert_eq!(service.get(&url).bytes, old);
    in_order(&service);
    let done = again(&service, &ticket, &json!({"height": 180}));
    assert_eq!(
        (&done["result"]["height"], &done["error"]),
        (&json!(180), &Value::Null)
    );
    in_order(&service);
}

#[test]
fn what_could_not_be_told_to_the_ledger_is_settled_by_a_later_start() {
    let (_origin, link) = Origin::with(&media::tiny());
    let service = Service::start();
    let (ticket, first, _) = made(&service, &recipe(&link, 0.5, 1.5));
    let old = published(&service, &ticket, &first);
    // In the place of the entry something that no file can replace.
    let entry = service.ledger_of(&ticket);
    fs::remove_file(&entry).unwrap();
    fs::create_dir_all(entry.join("x")).unwrap();
    let second = again(&service, &ticket, &json!({"height": 90}));
    let new = published(&service, &ticket, &second);
    until("the picture is in its place", || {
        let poster = service.get(second["urls"]["poster"].as_str().unwrap());
        poster.header("cache-control").contains("immutable")
    });
    until("its work is over", || !service.work_of(&ticket).exists());
    assert!(old.exists() && new.exists());
    // One clip's folder keeps no service down.
    let service = service.restarted(Setup::default());
    assert_eq!(service.clip(&ticket)["result"]["height"], 90);
    assert!(old.exists());
    let note = service.work_of(&ticket).with_extension("unsettled");
    assert!(note.exists());
    // Nobody takes the note for what a job has left.
    let told = command(&service.data, &["fsck"]);
    assert!(!String::from_utf8_lossy(&told.stdout).contains("work_left"));
    fs::remove_dir_all(&entry).unwrap();
    let service = service.restarted(Setup::default());
    assert!(new.exists() && !old.exists());
    let told: Value = serde_json::from_slice(&fs::read(&entry).unwrap()).unwrap();
    assert_eq!(told["result"], second["result"]);
    assert!(!note.exists());
    in_order(&service);
}

#[test]
fn only_a_recipe_that_holds_is_taken_and_it_counts_as_a_new_clip() {
    let (origin, link) = Origin::with(&media::tiny());
    let service = Setup::default()
        .with("LIMITS__CLIPS_PER_MINUTE", 4)
        .with("LIMITS__CLIPS_PER_VISITOR", 1)
        .with("ENGINE__WORKERS", 1)
        .with("ENGINE__WINDOW_HOURS", 0)
        .start();
    let (ticket, _, kept) = made(&service, &recipe(&link, 0.5, 1.5));
    let looked = service.post("/api/sources", &json!({"url": link}));
    assert_eq!(looked.status, 201, "{}", looked.text());
    for (body, code, field) in [
        (json!({"crop": "9000x9000+0+0"}), "crop_outside", "crop"),
        (
            json!({"url": "https://example.com/"}),
            "json_unknown_field",
            "url",
        ),
        (json!({"colour": 1}), "json_unknown_field", "colour"),
        (json!({"end_time": 0.2}), "time_order", "end_time"),
        (json!({"height": 7}), "height_invalid", "height"),
        (
            json!({"mode": "fast", "height": 90}),
            "fast_height",
            "height",
        ),
        (json!({"segments": []}), "segments_empty", "segments"),
    ] {
        let refused = patch(&service, &ticket, &body);
        refused.expect_problem(400, code);
        assert_eq!(refused.json()["field"], field);
    }
    let mute = again(&service, &ticket, &json!({"mute": true, "title": "Quiet"}));
    assert_eq!(
        (&mute["title"], &mute["result"]["audio_codec"]),
        (&json!("Quiet"), &Value::Null)
    );
    assert!(
        mute["urls"]["file"]
            .as_str()
            .unwrap()
            .ends_with("/Quiet-2.mp4")
    );
    assert!(!kept.exists(), "nothing is kept");
    // Held back by what else its visitor has in hand; then nothing of the change is done.
    let held = service.hold(&origin);
    patch(&service, &ticket, &json!({"mute": null, "title": "Loud"}))
        .expect_problem(429, "clips_too_many");
    assert_eq!(service.clip(&ticket)["title"], "Quiet");
    service.cancel(&held);
    patch(&service, &ticket, &json!({"mute": null})).expect_problem(429, "rate_limited");

    // What has failed can be tried with another recipe.
    let service = Service::start();
    let ticket = service.ticket(&recipe(&link, 50.0, 51.0));
    service.wait_for(&ticket.id, &["failed"]);
    let answer = patch(&service, &ticket, &json!({"start_time": 1, "end_time": 2}));
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (202, &Value::Null)
    );
    assert_eq!(
        service.wait_for(&ticket.id, &["ready"])["result"]["frames"],
        30
    );

    // What was answered before is answered again, also when more is known by now.
    let mut outside = recipe(&link, 1.0, 2.0);
    outside["crop"] = json!("9000x9000+0+0");
    let ask = || {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", "one"),
        ];
        let body = outside.to_string();
        service.request("POST", "/api/clips", &headers, body.as_bytes())
    };
    let id = ask().json()["id"].clone();
    let looked = service.post("/api/sources", &json!({"url": link}));
    assert_eq!(looked.status, 201, "{}", looked.text());
    service
        .post("/api/clips", &outside)
        .expect_problem(400, "crop_outside");
    assert_eq!(ask().json()["id"], id);
}

#[test]
fn kept_windows_go_first_and_when_their_time_is_over() {
    let (_origin, link) = Origin::with(&media::everyday());
    let service = Service::start();
    let (ticket, first, kept) = made(&service, &recipe(&link, 4.5, 6.5));
    wait_kept(&service, &ticket, &kept);
    let taken = fs::metadata(service.files_of(&ticket)).unwrap();
    assert!(taken.is_dir());
    let tokens = (service.token("ops:read"), service.token("ops:run"));
    let ask = |method: &str, path: &str, token: &str| {
        let token = format!("Bearer {token}");
        service
            .request(method, path, &[("authorization", &token)], b"")
            .json()
    };
    let bytes = ask("GET", "/api/admin/disk", &tokens.0)["kept"]["windows_bytes"]
        .as_u64()
        .unwrap();
    let film = fs::metadata(kept.join("source.mp4")).unwrap();
    assert!(
        bytes > 100_000 && bytes < film.len(),
        "only what was fetched: {bytes} of {}",
        film.len()
    );
    let card = fs::File::open(kept.join("window.json")).unwrap();
    card.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600))
        .unwrap();
    let preview = &ask("GET", "/api/admin/cleanup", &tokens.0)["preview"];
    assert_eq!(preview["counts"], json!({"windows": 1}));
    assert!(kept.exists());
    assert_eq!(
        ask("POST", "/api/admin/cleanup", &tokens.1)["counts"]["windows"],
        1
    );
    assert!(!kept.exists());

    // No room for clip and window both: the window goes, and the clip stays.
    again(&service, &ticket, &json!({"end_time": 8}));
    wait_kept(&service, &ticket, &kept);
    let used = service.clip(&ticket)["result"]["size"].as_u64().unwrap() + bytes;
    let tight = Setup::default().with("STORAGE__MAX_BYTES", used);
    let service = service.restarted(tight.with("KEEPER__EVICT", "* * * * * *"));
    until("the window goes", || !kept.exists());
    assert_eq!(service.clip(&ticket)["state"], "ready");
    assert_ne!(first["urls"]["file"], service.clip(&ticket)["urls"]["file"]);
}
