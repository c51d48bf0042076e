//! Clips from the outside: asked for, listed, cancelled, made again, removed; who may do what, and who comes first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{PATIENCE, Service, Setup, recipe};
use crate::support::visitor::{Ticket, gone, lengthy, quick, until, within};

/// Cancelling kills within a second; a loaded machine is given another.
const KILL: Duration = Duration::from_secs(2);

fn one_worker() -> Setup {
    Setup::default().with("ENGINE__WORKERS", 1)
}

#[test]
fn three_fields_are_a_full_recipe() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&media::tiny());
    let answer = service.post("/api/clips", &recipe(&link, 0.5, 1.5));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let accepted = answer.json();
    let id = accepted["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/api/clips/{id}"));
    assert_eq!(accepted["state"], "queued");
    assert_eq!(accepted["queue_position"], 1);
    assert_eq!(accepted["title"], "tiny");
    assert!(accepted["delete_token"].as_str().unwrap().len() >= 32);
    let clip = service.wait_for(id, &["ready"]);
    assert_eq!(clip["delete_token"], Value::Null, "shown to everybody");
    assert_eq!(clip["result"]["frames"], 30);
    assert_eq!(clip["result"]["duration"], 1.0);
}

#[test]
fn a_clip_shows_every_field_in_every_state() {
    let service = one_worker().start();
    let (origin, link) = Origin::with(&media::tiny());
    let held = service.hold(&origin);
    let waiting = service.ticket(&quick(&link));
    let missing = service.ticket(&quick(&origin.link("/missing.mp4")));
    let mut seen = vec![service.clip(&held), service.clip(&waiting)];
    service.cancel(&held);
    seen.push(service.clip(&held));
    seen.push(service.wait_for(&waiting.id, &["ready"]));
    seen.push(service.wait_for(&missing.id, &["failed"]));
    for clip in &seen {
        for field in [
            "id",
            "state",
            "stage",
            "progress",
            "queue_position",
            "eta_seconds",
            "estimate",
            "title",
            "recipe",
            "result",
            "urls",
            "created_at",
            "finished_at",
            "expires_at",
            "pinned",
            "views",
            "downloads",
            "error",
        ] {
            assert!(clip.get(field).is_some(), "{field} is missing in {clip}");
        }
        for url in ["self", "page", "file", "download", "poster", "embed"] {
            assert!(
                clip["urls"].get(url).is_some(),
                "{url} is missing in {clip}"
            );
        }
        assert!(clip["urls"]["self"].is_string() && clip["urls"]["page"].is_string());
        assert_eq!(clip["error"].is_object(), clip["state"] == "failed");
        assert_eq!(clip["result"].is_object(), clip["state"] == "ready");
        assert_eq!(clip["queue_position"].is_u64(), clip["state"] == "queued");
    }
    for field in [
        "method",
        "start",
        "end",
        "duration",
        "frames",
        "frames_copied",
        "size",
        "sha256",
        "width",
        "height",
        "fps",
        "video_codec",
        "audio_codec",
    ] {
        assert!(
            !seen[3]["result"][field].is_null(),
            "{field} in {}",
            seen[3]
        );
    }
    for field in ["finished_at", "expires_at"] {
        assert!(seen[3][field].is_string(), "{field} in {}", seen[3]);
    }
}

#[test]
fn ready_and_its_urls_appear_together() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&media::tiny());
    for _ in 0..3 {
        let ticket = service.ticket(&quick(&link));
        let began = Instant::now();
        loop {
            let clip = service.clip(&ticket);
            let listed = service.get("/api/clips?limit=1").json()["clips"][0].clone();
            for clip in [&clip, &listed] {
                let ready = clip["state"] == "ready";
                assert_eq!(clip["result"].is_object(), ready, "{clip}");
                for url in ["file", "download", "poster", "embed"] {
                    assert_eq!(clip["urls"][url].is_string(), ready, "{url} in {clip}");
                }
            }
            if clip["state"] == "ready" {
                let file = clip["urls"]["file"].as_str().unwrap();
                assert_eq!(service.get(file).status, 200);
                break;
            }
            assert!(
                clip["error"].is_null() && began.elapsed() < PATIENCE,
                "{clip}"
            );
        }
    }
}

#[test]
fn the_list_goes_on_page_by_page_and_can_be_searched() {
    let service = one_worker().start();
    let origin = Origin::start();
    let held = service.hold(&origin);
    let silent = origin.link("/silent.mp4");
    let mut made = vec![held.id.clone()];
    for title in ["Alpha", "beta 100%", "Gamma_1", "alphabet", "Жираф"] {
        let mut wish = quick(&silent);
        wish["title"] = json!(title);
        made.push(service.ticket(&wish).id);
    }
    made.reverse();

    let page = |query: &str| {
        let answer = service.get(&format!("/api/clips?{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        answer.json()
    };
    let ids = |page: &Value| -> Vec<String> {
        let clips = page["clips"].as_array().unwrap().iter();
        clips
            .map(|clip| clip["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (mut walked, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = page(&format!("limit=2&cursor={cursor}"));
        walked.extend(ids(&page));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!((walked, pages), (made.clone(), 3));
    assert_eq!(ids(&page("")), made);

    for (query, titles) in [
        ("text=ALPHA", &["alphabet", "Alpha"][..]),
        ("text=100%25", &["beta 100%"]),
        ("text=_", &["Gamma_1"]),
        ("text=%D0%B6%D0%B8%D1%80", &["Жираф"]),
        ("text=nothing", &[]),
        ("state=fetching", &["silent"]),
        ("state=ready", &[]),
        ("state=queued&text=alpha&limit=1", &["alphabet"]),
    ] {
        let page = page(query);
        let shown: Vec<&str> = page["clips"]
            .as_array()
            .unwrap()
            .iter()
            .map(|clip| clip["title"].as_str().unwrap())
            .collect();
        assert_eq!(shown, titles, "{query}");
    }
    for (query, code) in [
        ("cursor=abc", "cursor_invalid"),
        ("state=done", "state_unknown"),
        ("limit=0", "limit_invalid"),
        ("limit=101", "limit_invalid"),
        ("limit=many", "limit_invalid"),
    ] {
        let answer = service.get(&format!("/api/clips?{query}"));
        answer.expect_problem(400, code);
        let field = query.split('=').next().unwrap();
        assert_eq!(answer.json()["field"], field, "{query}");
    }
}

#[test]
fn cancelling_a_waiting_clip_takes_it_out_of_the_queue() {
    let service = one_worker().start();
    let (origin, link) = Origin::with(&media::tiny());
    let held = service.hold(&origin);
    let (first, second) = (service.ticket(&quick(&link)), service.ticket(&quick(&link)));
    assert_eq!(service.clip(&second)["queue_position"], 2);
    let answer = service.cancel(&first);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["state"], "cancelled");
    assert_eq!(service.clip(&second)["queue_position"], 1);
    service.cancel(&held);
    service.wait_for(&second.id, &["ready"]);
    assert_eq!(service.clip(&first)["state"], "cancelled");
    assert_eq!(
        service.cancel(&first).status,
        200,
        "twice is as good as once"
    );
}

#[test]
fn cancelling_a_running_clip_kills_what_runs_for_it() {
    let service = Service::start();
    let (origin, link) = Origin::with(&media::long());
    // What is no MP4 is fetched by a sidecar, an MP4 by the service itself.
    let matroska = media::remuxed("long.mkv", &media::long(), "");
    let dripping = origin.add("/drip.mkv", Behaviour::Slow(matroska, 2_000));
    let trickling = origin.add("/drip.mp4", Behaviour::Slow(media::long(), 2_000));
    let ticket = service.ticket(&quick(&trickling));
    service.wait_for(&ticket.id, &["fetching"]);
    until("it has begun", || service.work_of(&ticket).is_dir());
    assert_eq!(service.cancel(&ticket).json()["state"], "cancelled");
    within(KILL, "its folder is gone", || {
        !service.work_of(&ticket).exists()
    });
    for (wish, state) in [
        (quick(&dripping), "fetching"),
        (lengthy(&link, 38.0), "cutting"),
    ] {
        let ticket = service.ticket(&wish);
        service.wait_for(&ticket.id, &[state]);
        until("something runs for it", || !service.children().is_empty());
        assert!(service.work_of(&ticket).is_dir());
        let answer = service.cancel(&ticket);
        assert_eq!(answer.json()["state"], "cancelled", "{state}");
        within(KILL, "all it had started is gone", || {
            service.children().is_empty() && !service.work_of(&ticket).exists()
        });
        let clip = service.clip(&ticket);
        assert_eq!(clip["state"], "cancelled");
        assert!(clip["urls"]["file"].is_null() && clip["result"].is_null());
        assert!(!service.files_of(&ticket).exists());
        assert!(!service.ledger_of(&ticket).exists());
    }
}

#[test]
fn a_clip_cancelled_and_started_again_at_once_becomes_ready() {
    let service = Setup::default().with("ENGINE__WORKERS", 2).start();
    let origin = Origin::start();
    for round in 0..3 {
        let path = format!("/{round}.mp4");
        let link = origin.add(&path, Behaviour::Slow(media::tiny(), 1_000));
        let ticket = service.ticket(&quick(&link));
        until("it is being fetched", || service.work_of(&ticket).is_dir());
        origin.add(&path, Behaviour::File(media::tiny()));
        assert_eq!(service.cancel(&ticket).status, 200);
        let answer = service.retry(&ticket);
        assert_eq!(answer.status, 202, "{}", answer.text());
        service.wait_for(&ticket.id, &["ready"]);
        until("nothing is left of the work", || {
            !service.work_of(&ticket).exists()
        });
    }
}

#[test]
fn failed_and_cancelled_clips_can_be_made_again() {
    let service = one_worker().start();
    let origin = Origin::start();
    let link = origin.link("/late.mp4");
    let failed = service.ticket(&quick(&link));
    let clip = service.wait_for(&failed.id, &["failed"]);
    assert_eq!(clip["error"]["code"], "source_unreachable");
    let held = service.hold(&origin);
    let cancelled = service.ticket(&quick(&link));
    service.cancel(&cancelled);
    origin.add("/late.mp4", Behaviour::File(media::tiny()));
    for ticket in [&failed, &cancelled] {
        let answer = service.retry(ticket);
        assert_eq!(answer.status, 202, "{}", answer.text());
        let clip = answer.json();
        assert_eq!(clip["state"], "queued");
        assert!(clip["error"].is_null() && clip["finished_at"].is_null());
    }
    service.cancel(&held);
    for ticket in [&failed, &cancelled] {
        let clip = service.wait_for(&ticket.id, &["ready"]);
        assert!(clip["error"].is_null() && clip["result"].is_object());
    }
}

#[test]
fn what_a_state_does_not_allow_is_a_conflict() {
    let service = one_worker().start();
    let (origin, link) = Origin::with(&media::tiny());
    let ready = service.ticket(&quick(&link));
    service.wait_for(&ready.id, &["ready"]);
    let running = service.hold(&origin);
    let waiting = service.ticket(&quick(&link));
    let cancelled = service.ticket(&quick(&link));
    service.cancel(&cancelled);
    for (ticket, action, code) in [
        (&ready, "cancel", "clip_state"),
        (&ready, "retry", "clip_state"),
        (&running, "retry", "clip_state"),
        (&waiting, "retry", "clip_state"),
    ] {
        let path = format!("{}/{action}", ticket.path());
        let answer = service.with_token("POST", &path, &ticket.token);
        answer.expect_problem(409, code);
    }
    for ticket in [&running, &waiting, &cancelled] {
        let answer = service.get(&format!("{}/download", ticket.path()));
        answer.expect_problem(409, "clip_not_ready");
    }
    let failed = service.ticket(&quick(&origin.link("/missing.mp4")));
    service.cancel(&running);
    service.wait_for(&failed.id, &["failed"]);
    service.cancel(&failed).expect_problem(409, "clip_state");
}

#[test]
fn deleting_a_clip_leaves_nothing_of_it() {
    let service = Service::start();
    let (origin, link) = Origin::with(&media::tiny());
    let ready = service.ticket(&quick(&link));
    let file = service.wait_for(&ready.id, &["ready"])["urls"]["file"].clone();
    assert!(service.files_of(&ready).is_dir() && service.ledger_of(&ready).is_file());
    let slow = origin.add("/slow.mp4", Behaviour::Slow(media::tiny(), 1_000));
    let running = service.ticket(&quick(&slow));
    until("it has begun", || service.work_of(&running).is_dir());
    for ticket in [&ready, &running] {
        let answer = service.remove(ticket);
        assert_eq!((answer.status, answer.bytes.len()), (204, 0));
        service.get(&ticket.path()).expect_problem(404, "not_found");
        service.remove(ticket).expect_problem(404, "not_found");
        within(KILL, "its folders are gone", || {
            !service.files_of(ticket).exists()
                && !service.ledger_of(ticket).exists()
                && !service.work_of(ticket).exists()
        });
    }
    within(KILL, "nothing runs any more", || {
        service.children().is_empty()
    });
    service
        .get(file.as_str().unwrap())
        .expect_problem(404, "not_found");
    let left = service.get("/api/clips").json();
    assert_eq!(left["clips"], json!([]));
}

#[test]
fn only_the_holder_of_its_token_may_change_a_clip() {
    let service = one_worker().start();
    let origin = Origin::start();
    let held = service.hold(&origin);
    let other = service.ticket(&quick(&origin.link("/silent.mp4")));
    let unknown = Ticket {
        id: "0192f0c1-2345-7abc-8def-0123456789ab".to_owned(),
        token: held.token.clone(),
    };
    let flipped = held.token.replace('a', "b").replacen('0', "1", 1);
    let wrong = [
        "wrong".to_owned(),
        flipped,
        other.token.clone(),
        held.token[1..].to_owned(),
        format!("{}0", held.token),
    ];
    for (method, action) in [("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")] {
        let path = format!("{}{action}", held.path());
        let answer = service.request(method, &path, &[], b"");
        answer.expect_problem(401, "token_missing");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        for token in &wrong {
            let answer = service.with_token(method, &path, token);
            answer.expect_problem(403, "token_wrong");
        }
        for path in [
            format!("{}{action}", unknown.path()),
            format!("/api/clips/no-id{action}"),
            format!(
                "{}{action}",
                held.path()
                    .to_uppercase()
                    .replace("/API/CLIPS", "/api/clips")
            ),
        ] {
            let answer = service.with_token(method, &path, &held.token);
            answer.expect_problem(404, "not_found");
        }
    }
    assert_eq!(service.clip(&held)["state"], "fetching");
    let answer = service.request(
        "DELETE",
        &held.path(),
        &[("x-delete-token", &held.token)],
        b"",
    );
    assert_eq!(answer.status, 204);
}

#[test]
fn a_repeated_request_brings_back_its_first_answer() {
    let service = one_worker().with("SERVER__DRAIN_SECONDS", 0).start();
    let origin = Origin::start();
    service.hold(&origin);
    let wish = quick(&origin.link("/silent.mp4"));
    let key = ("idempotency-key", "4b1d");
    let first = service.submit_with(&[key], &wish);
    let again = service.submit_with(&[key], &wish);
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.header("location"), again.header("location"));
    for field in ["id", "delete_token", "created_at", "recipe"] {
        assert_eq!(first.json()[field], again.json()[field], "{field}");
    }
    let mut other = wish.clone();
    other["end_time"] = json!(1.4);
    service
        .submit_with(&[key], &other)
        .expect_problem(422, "idempotency_key_reused");
    let stranger = service.submit_with(&[key, ("x-forwarded-for", "198.51.100.7")], &other);
    assert_eq!(stranger.status, 202, "keys are a visitor's own");
    for key in [String::new(), "x".repeat(256)] {
        service
            .submit_with(&[("idempotency-key", &key)], &wish)
            .expect_problem(400, "idempotency_key_invalid");
    }
    let service = service.restarted(one_worker().with("SERVER__DRAIN_SECONDS", 0));
    let later = service.submit_with(&[key], &wish);
    assert_eq!(later.json()["id"], first.json()["id"]);
    assert_eq!(later.json()["delete_token"], first.json()["delete_token"]);
}

#[test]
fn requests_repeated_at_the_same_time_make_one_clip() {
    let service = Arc::new(one_worker().start());
    let origin = Origin::start();
    let wish = quick(&origin.add("/silent.mp4", Behaviour::Silent));
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (service, wish) = (Arc::clone(&service), wish.clone());
            std::thread::spawn(move || service.submit_with(&[("idempotency-key", "one")], &wish))
        })
        .collect();
    let mut answers: Vec<(u16, String, String)> = asking
        .into_iter()
        .map(|asking| {
            let answer = asking.join().unwrap();
            let ticket = Ticket::of(&answer.json());
            (answer.status, ticket.id, ticket.token)
        })
        .collect();
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, 202);
    let list = service.get("/api/clips").json();
    assert_eq!(list["clips"].as_array().unwrap().len(), 1);
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let service = one_worker().with("LIMITS__QUEUE", 1).start();
    let origin = Origin::start();
    service.hold(&origin);
    let wish = quick(&origin.link("/silent.mp4"));
    let key = ("idempotency-key", "queued");
    let waiting = service.submit_with(&[key], &wish);
    assert_eq!(waiting.status, 202);
    let refused = service.post("/api/clips", &wish);
    refused.expect_problem(503, "queue_full");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=3600).contains(&seconds));
    let again = service.submit_with(&[key], &wish);
    assert_eq!(again.status, 202, "it has its place already");
    service.cancel(&Ticket::of(&waiting.json()));
    assert_eq!(service.post("/api/clips", &wish).status, 202);
}

#[test]
fn a_full_disk_is_said_in_figures() {
    let service = Setup::default().with("MONITOR__FLOOR", "900 TB").start();
    let wish = quick("http://127.0.0.1:9/v.mp4");
    let refused = service.post("/api/clips", &wish);
    refused.expect_problem(507, "disk_low");
    assert!(!refused.header("retry-after").is_empty());
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    let amounts = detail
        .split_whitespace()
        .zip(detail.split_whitespace().skip(1))
        .filter(|(number, unit)| number.parse::<f64>().is_ok() && unit.contains('B'))
        .count();
    assert_eq!(amounts, 3, "needed, free and floor in {detail:?}");
    assert!(detail.contains("900 TB"), "{detail:?}");
    let health = service.get("/api/health");
    assert_eq!(health.status, 503);
    let health = health.json();
    let disk = health["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == "disk");
    assert_eq!(disk.unwrap()["status"], "failing", "{health}");
    assert_eq!(service.get("/api/health/live").status, 200);
    let list = service.get("/api/clips").json();
    assert_eq!(list["clips"], json!([]), "nothing was queued");
}

#[test]
fn room_is_reserved_for_clips_that_are_not_made_yet() {
    let origin = Origin::start();
    // Room for two short clips but not for three, whatever the disk of this machine holds.
    let free = free_megabytes();
    let service = one_worker()
        .with("MONITOR__FLOOR", format!("{} MB", free - 1200))
        .start();
    let link = origin.add("/silent.mp4", Behaviour::Silent);
    // 175 s and 10 s of margin at 2 MB a second, and the poster: 371 MB.
    let wish = json!({"url": link, "start_time": 0, "end_time": 175});
    let mut statuses = Vec::new();
    let mut accepted = Vec::new();
    for _ in 0..6 {
        let answer = service.post("/api/clips", &wish);
        statuses.push(answer.status);
        if answer.status == 202 {
            accepted.push(Ticket::of(&answer.json()));
        }
    }
    assert_eq!(statuses[0], 202, "{statuses:?}");
    assert_eq!(statuses[5], 507, "{statuses:?}");
    // What is cancelled gives its room back.
    for ticket in &accepted {
        service.cancel(ticket);
    }
    assert_eq!(service.post("/api/clips", &wish).status, 202);
}

/// Free megabytes of the disk that test data lies on.
fn free_megabytes() -> u64 {
    let output = std::process::Command::new("df")
        .args(["--output=avail", "-B", "1000000"])
        .arg(std::env::temp_dir())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().nth(1).unwrap().trim().parse().unwrap()
}

#[test]
fn whoever_prefers_to_wait_gets_the_finished_clip() {
    let service = one_worker().start();
    let (origin, link) = Origin::with(&media::tiny());
    let wait = |seconds: &'static str| [("prefer", seconds)];
    let answer = service.submit_with(&wait("wait=50"), &quick(&link));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("preference-applied"), "wait=50");
    let clip = answer.json();
    assert_eq!(clip["state"], "ready");
    assert!(clip["urls"]["file"].is_string() && clip["delete_token"].is_string());

    let missing = quick(&origin.link("/missing.mp4"));
    let answer = service.submit_with(&wait("respond-async, wait=50"), &missing);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["state"], "failed");

    service.hold(&origin);
    let answer = service.submit_with(&wait("wait=1"), &quick(&link));
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["state"], "queued");
    let answer = service.submit_with(&wait("wait=soon"), &quick(&link));
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("preference-applied"), "");
}

#[test]
fn a_visitor_with_many_clips_does_not_hold_up_another() {
    let order = |setup: Setup| {
        let service = setup.start();
        let (origin, link) = Origin::with(&media::tiny());
        let submit = |visitor: &str, body: &Value| {
            let answer = service.submit_with(&[("x-forwarded-for", visitor)], body);
            assert_eq!(answer.status, 202, "{}", answer.text());
            Ticket::of(&answer.json())
        };
        let silent = origin.add("/silent.mp4", Behaviour::Silent);
        let held = submit("198.51.100.1", &quick(&silent));
        service.wait_for(&held.id, &["fetching"]);
        let mut clips: Vec<(&str, Ticket)> = ["first", "second", "third"]
            .into_iter()
            .map(|name| (name, submit("198.51.100.1", &quick(&link))))
            .collect();
        clips.push(("other", submit("198.51.100.2", &quick(&link))));
        service.cancel(&held);
        let mut finished: Vec<(String, &str)> = clips
            .iter()
            .map(|(name, ticket)| {
                let clip = service.wait_for(&ticket.id, &["ready"]);
                (clip["finished_at"].as_str().unwrap().to_owned(), *name)
            })
            .collect();
        finished.sort();
        let names: Vec<&str> = finished.into_iter().map(|(_, name)| name).collect();
        names
    };
    assert_eq!(order(one_worker()), ["other", "first", "second", "third"]);
    let untrusted = one_worker().with("SERVER__TRUSTED_PROXIES", "192.0.2.1/32");
    assert_eq!(
        order(untrusted),
        ["first", "second", "third", "other"],
        "what anybody may claim does not count"
    );
}

#[test]
fn the_recipe_of_a_clip_can_be_posted_again() {
    let service = one_worker().start();
    let origin = Origin::start();
    service.hold(&origin);
    let silent = origin.link("/silent.mp4");
    for wish in [
        json!({"url": silent, "start_time": "0:01.25", "end_time": 2}),
        json!({"url": silent, "start_time": 0, "end_time": 2, "mode": "fast"}),
        json!({"url": silent, "segments": [{"start": 1, "end": "2.5"}, {"start": 9, "end": 10}],
               "mode": "exact", "format": "mp4", "title": "Ж \"q\"", "height": 480, "mute": true}),
    ] {
        let first = service.submit(&wish);
        let second = service.submit(&first["recipe"]);
        assert_eq!(second["recipe"], first["recipe"]);
        assert_eq!(second["title"], first["title"]);
        assert_ne!(second["id"], first["id"]);
    }
}

#[test]
fn unknown_fields_are_named_with_the_nearest_known() {
    let service = Service::start();
    for (field, nearest) in [
        ("star_time", "start_time"),
        ("endtime", "end_time"),
        ("titel", "title"),
        ("segment", "segments"),
        ("URL", "fields are"),
        ("zzz", "fields are"),
    ] {
        let mut wish = quick("https://example.com/v.mp4");
        wish[field] = json!(1);
        let answer = service.post("/api/clips", &wish);
        answer.expect_problem(400, "json_unknown_field");
        let problem = answer.json();
        assert_eq!(problem["field"], field);
        let hint = problem["hint"].as_str().unwrap();
        assert!(hint.contains(nearest), "{field}: {hint}");
    }
}

#[test]
fn progress_is_told_at_most_four_times_a_second() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&media::long());
    let ticket = service.ticket(&lengthy(&link, 8.0));
    let mut told: Vec<(Instant, f64)> = Vec::new();
    for event in service.events(&ticket.id, None) {
        if event.kind == "progress" && event.data["state"] != "queued" {
            let progress = event.data["progress"].as_f64().unwrap();
            told.push((Instant::now(), progress));
        }
    }
    assert_eq!(service.clip(&ticket)["state"], "ready", "{}", service.log());
    let shares: Vec<f64> = told.iter().map(|(_, progress)| *progress).collect();
    assert!(shares.is_sorted(), "{shares:?}");
    assert!(
        shares.iter().all(|share| (0.0..=1.0).contains(share)) && shares.len() >= 2,
        "{shares:?}"
    );
    // The reader may be held up and then read several at once, so the whole stretch counts.
    let seconds = (told[told.len() - 1].0 - told[0].0).as_secs_f64();
    let most = seconds / 0.25 + 3.0;
    assert!((told.len() as f64) <= most, "{} in {seconds} s", told.len());
}

#[test]
fn the_children_of_a_finished_clip_are_gone() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&media::tiny());
    let ticket = service.ticket(&recipe(&link, 0.2, 2.0));
    let mut seen = Vec::new();
    until("it is ready", || {
        seen.extend(service.children());
        service.clip(&ticket)["state"] == "ready"
    });
    assert!(!seen.is_empty());
    within(KILL, "no child is left", || gone(&seen));
    within(KILL, "its folder is gone", || {
        !service.work_of(&ticket).exists()
    });
}
