//! How often visitors may ask: what counts, for whom, and what they are told.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{From, from, nowhere};
use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Answer, PATIENCE, Service, Setup};
use crate::support::visitor::{Ticket, quick};

fn three_clips_a_minute() -> Service {
    Setup::default().with("LIMITS__CLIPS_PER_MINUTE", 3).start()
}

fn clip(service: &Service, visitor: From<'_>) -> Answer {
    visitor.post(service, "/api/clips", &nowhere())
}

#[track_caller]
fn used_up(service: &Service, visitor: From<'_>, count: u32) {
    for left in (0..count).rev() {
        let answer = clip(service, visitor);
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(answer.header("ratelimit-remaining"), left.to_string());
    }
    clip(service, visitor).expect_problem(429, "rate_limited");
}

#[test]
fn answers_tell_where_a_visitor_stands() {
    let service = three_clips_a_minute();
    let visitor = from("203.0.113.1");
    let answer = clip(&service, visitor);
    assert_eq!(answer.status, 202, "{}", answer.text());
    for (header, value) in [
        ("ratelimit-policy", "\"clips\";q=3;w=60"),
        ("ratelimit", "\"clips\";r=2;t=20"),
        ("ratelimit-limit", "3"),
        ("ratelimit-remaining", "2"),
        ("ratelimit-reset", "20"),
        ("retry-after", ""),
    ] {
        assert_eq!(answer.header(header), value, "{header}");
    }
    clip(&service, visitor);
    clip(&service, visitor);
    let answer = clip(&service, visitor);
    answer.expect_problem(429, "rate_limited");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(
        answer.header("ratelimit"),
        format!("\"clips\";r=0;t={wait}")
    );
    assert_eq!(answer.header("ratelimit-reset"), "60");
    assert_eq!(answer.header("ratelimit-remaining"), "0");
}

#[test]
fn who_asks_too_often_is_let_in_again_however_often_they_ask() {
    // One a second.
    let service = Setup::default()
        .with("LIMITS__CLIPS_PER_MINUTE", 60)
        .start();
    let visitor = from("203.0.113.1");
    let refused = loop {
        let answer = clip(&service, visitor);
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 202, "{}", answer.text());
    };
    assert_eq!(refused.header("retry-after"), "1");
    let began = Instant::now();
    while clip(&service, visitor).status == 429 {
        assert!(began.elapsed() < PATIENCE, "asking keeps the visitor out");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn one_visitor_never_shuts_out_another() {
    let service = three_clips_a_minute();
    used_up(&service, from("203.0.113.1"), 3);
    assert_eq!(clip(&service, from("203.0.113.2")).status, 202);
    // Of an IPv6 network every address is the same household.
    used_up(&service, from("2001:db8:0:1::1"), 3);
    clip(&service, from("2001:db8:0:1:ffff::2")).expect_problem(429, "rate_limited");
    assert_eq!(clip(&service, from("2001:db8:0:2::1")).status, 202);
    // An IPv4 address is itself, however it is written.
    clip(&service, from("::ffff:203.0.113.1")).expect_problem(429, "rate_limited");
}

#[test]
fn what_the_visitor_got_wrong_does_not_count() {
    let service = three_clips_a_minute();
    let visitor = from("203.0.113.1");
    for _ in 0..3 {
        for (wish, status) in [
            (json!({}), 400),
            (
                json!({"url": "nonsense", "start_time": 1, "end_time": 2}),
                400,
            ),
            (
                json!({"url": "http://127.0.0.1:9/v.mp4", "start_time": 2, "end_time": 1}),
                400,
            ),
            (
                json!({"url": "http://10.0.0.1/v.mp4", "start_time": 1, "end_time": 2}),
                403,
            ),
        ] {
            let answer = visitor.post(&service, "/api/clips", &wish);
            assert_eq!(answer.status, status, "{}", answer.text());
            assert_eq!(answer.header("ratelimit"), "");
        }
    }
    used_up(&service, visitor, 3);
}

#[test]
fn looking_and_watching_and_repeating_do_not_count() {
    let origin = Origin::start();
    let film = origin.add("/film.mp4", Behaviour::File(media::everyday()));
    let service = Setup::default()
        .with("LIMITS__CLIPS_PER_MINUTE", 2)
        .with("LIMITS__PROBES_PER_MINUTE", 2)
        .start();
    let visitor = from("203.0.113.1");
    let headers = [
        ("x-forwarded-for", "203.0.113.1"),
        ("idempotency-key", "once"),
    ];
    let made = service.submit_with(&headers, &quick(&film));
    assert_eq!(made.header("ratelimit-remaining"), "1");
    let clip_id = made.json()["id"].as_str().unwrap().to_owned();
    let ready = service.wait_for(&clip_id, &["ready"]);
    let file = ready["urls"]["file"].as_str().unwrap();
    for _ in 0..10 {
        let again = service.submit_with(&headers, &quick(&film));
        assert_eq!(again.status, 202, "{}", again.text());
        assert_eq!(again.json()["id"], clip_id.as_str());
        assert_eq!(again.header("ratelimit"), "");
        for path in [&format!("/api/clips/{clip_id}"), file, "/api/clips", "/"] {
            let seen = visitor.get(&service, path);
            assert_eq!(seen.status, 200, "{path}");
            assert_eq!(seen.header("ratelimit"), "");
        }
    }
    // Sources are counted by themselves, and what leads on from one is not counted.
    let look = || visitor.post(&service, "/api/sources", &json!({"url": film}));
    let seen = look();
    assert_eq!(seen.header("ratelimit"), "\"sources\";r=1;t=30");
    assert_eq!(look().header("ratelimit-remaining"), "0");
    look().expect_problem(429, "rate_limited");
    let stream = seen.json()["urls"]["stream"].as_str().unwrap().to_owned();
    for _ in 0..5 {
        assert_eq!(visitor.get(&service, &stream).status, 200);
    }
    assert_eq!(
        visitor.post(&service, "/api/clips", &quick(&film)).status,
        202
    );
    visitor
        .post(&service, "/api/clips", &quick(&film))
        .expect_problem(429, "rate_limited");
}

#[test]
fn making_a_clip_again_counts_as_making_one() {
    let service = three_clips_a_minute();
    let visitor = from("203.0.113.1");
    let made = clip(&service, visitor).json();
    let (id, own) = (
        made["id"].as_str().unwrap(),
        made["delete_token"].as_str().unwrap(),
    );
    let retry = |token: &str| {
        visitor
            .with(token)
            .ask(&service, "POST", &format!("/api/clips/{id}/retry"), b"")
    };
    service.wait_for(id, &["failed"]);
    retry(&"0".repeat(64)).expect_problem(403, "token_wrong");
    let again = retry(own);
    assert_eq!(again.status, 202, "{}", again.text());
    assert_eq!(again.header("ratelimit-remaining"), "1");
    service.wait_for(id, &["failed"]);
    assert_eq!(retry(own).status, 202);
    service.wait_for(id, &["failed"]);
    retry(own).expect_problem(429, "rate_limited");
}

#[test]
fn a_link_that_is_refused_and_a_repeat_that_is_impossible_do_not_count() {
    let service = Setup::default()
        .with("LIMITS__CLIPS_PER_MINUTE", 2)
        .with("LIMITS__PROBES_PER_MINUTE", 1)
        .start();
    let visitor = from("203.0.113.1");
    for _ in 0..3 {
        let refused = visitor.post(
            &service,
            "/api/sources",
            &json!({"url": "http://10.0.0.1/v.mp4"}),
        );
        refused.expect_problem(403, "url_blocked");
    }
    let looked = visitor.post(
        &service,
        "/api/sources",
        &json!({"url": "http://127.0.0.1:9/v.mp4"}),
    );
    assert_ne!(looked.json()["code"], "rate_limited");
    let origin = Origin::start();
    let silent = origin.add("/silent.mp4", Behaviour::Silent);
    let held = visitor.post(&service, "/api/clips", &quick(&silent));
    assert_eq!(held.status, 202, "{}", held.text());
    let ticket = Ticket::of(&held.json());
    let repeat = format!("/api/clips/{}/retry", ticket.id);
    for _ in 0..3 {
        let refused = visitor
            .with(&ticket.token)
            .ask(&service, "POST", &repeat, b"");
        assert_eq!(refused.status, 409, "{}", refused.text());
    }
    assert_eq!(clip(&service, visitor).status, 202);
    clip(&service, visitor).expect_problem(429, "rate_limited");
}

#[test]
fn uploads_are_counted_when_they_begin() {
    let service = Setup::default()
        .with("LIMITS__UPLOADS_PER_MINUTE", 2)
        .start();
    let begin = |length: &str| {
        service.request(
            "POST",
            "/api/uploads",
            &[
                ("x-forwarded-for", "203.0.113.1"),
                ("tus-resumable", "1.0.0"),
                ("upload-length", length),
            ],
            b"",
        )
    };
    let begun = begin("3");
    assert_eq!(begun.status, 201, "{}", begun.text());
    assert_eq!(begun.header("ratelimit-policy"), "\"uploads\";q=2;w=60");
    assert_eq!(begin("x").status, 400);
    assert_eq!(begin("3").header("ratelimit-remaining"), "0");
    let refused = begin("3");
    refused.expect_problem(429, "rate_limited");
    assert_eq!(refused.header("tus-resumable"), "1.0.0");
    let place = begun.header("location");
    for (offset, piece) in [("0", "a"), ("1", "b"), ("2", "c")] {
        let headers = [
            ("x-forwarded-for", "203.0.113.1"),
            ("tus-resumable", "1.0.0"),
            ("upload-offset", offset),
            ("content-type", "application/offset+octet-stream"),
        ];
        let sent = service.request("PATCH", &place, &headers, piece.as_bytes());
        assert_eq!(sent.status, 204, "{}", sent.text());
    }
}

#[test]
fn whoever_has_a_token_is_counted_by_it_and_who_manages_clips_is_not() {
    let service = Setup::default()
        .with("LIMITS__CLIPS_PER_MINUTE", 3)
        .with("LIMITS__CLIPS_PER_VISITOR", 4)
        .start();
    let visitor = from("203.0.113.1");
    used_up(&service, visitor, 3);
    let (one, other) = (service.token("clip:create"), service.token("clip:create"));
    used_up(&service, visitor.with(&one), 3);
    // The same token from elsewhere is the same, another one from here is not.
    clip(&service, from("203.0.113.2").with(&one)).expect_problem(429, "rate_limited");
    used_up(&service, visitor.with(&other), 3);
    for scope in ["clip:manage", "admin"] {
        let free = service.token(scope);
        for _ in 0..6 {
            let answer = clip(&service, visitor.with(&free));
            assert_eq!(answer.status, 202, "{}", answer.text());
            assert_eq!(answer.header("ratelimit"), "");
        }
    }
    // What is no token that counts is a visitor like any other.
    clip(&service, visitor.with("mm_nonsense")).expect_problem(429, "rate_limited");
}

#[test]
fn a_visitor_has_so_many_clips_in_hand_and_others_have_theirs() {
    let origin = Origin::start();
    let service = Setup::default()
        .with("LIMITS__CLIPS_PER_VISITOR", 2)
        .with("ENGINE__WORKERS", 1)
        .start();
    let silent = origin.add("/silent.mp4", Behaviour::Silent);
    let visitor = from("203.0.113.1");
    let make = |visitor: From<'_>| visitor.post(&service, "/api/clips", &quick(&silent));
    let running = make(visitor).json();
    service.wait_for(running["id"].as_str().unwrap(), &["fetching"]);
    let waiting = make(visitor).json();
    let refused = make(visitor);
    refused.expect_problem(429, "clips_too_many");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=600).contains(&wait), "{wait}");
    assert_eq!(make(from("203.0.113.2")).status, 202);

    let does = |clip: &serde_json::Value, what: &str| {
        let own = clip["delete_token"].as_str().unwrap();
        let path = format!("/api/clips/{}/{what}", clip["id"].as_str().unwrap());
        visitor.with(own).ask(&service, "POST", &path, b"")
    };
    assert_eq!(does(&waiting, "cancel").status, 200);
    let third = make(visitor);
    assert_eq!(third.status, 202, "{}", third.text());
    // Nor does making one again go around it.
    does(&waiting, "retry").expect_problem(429, "clips_too_many");
    assert_eq!(does(&third.json(), "cancel").status, 200);
    assert_eq!(does(&waiting, "retry").status, 202);
}

#[test]
fn a_visitor_cannot_choose_an_address() {
    let service = Setup::default()
        .with("LIMITS__CLIPS_PER_MINUTE", 1)
        .with("SERVER__TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")
        .start();
    let body = nowhere().to_string();
    let ask = |forwarded: &[&str]| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(forwarded.iter().map(|value| ("x-forwarded-for", *value)));
        service.request("POST", "/api/clips", &headers, body.as_bytes())
    };
    assert_eq!(ask(&["203.0.113.1"]).status, 202);
    for forged in [
        &["198.51.100.1, 203.0.113.1"][..],
        &["198.51.100.2", "203.0.113.1"],
        &["10.1.1.1, 198.51.100.3, 203.0.113.1, 10.9.9.9"],
        &["198.51.100.4,,,203.0.113.1, "],
        &["unknown, 203.0.113.1"],
        &["  203.0.113.1  "],
    ] {
        ask(forged).expect_problem(429, "rate_limited");
    }
    // Who comes past no proxy that is trusted is who connects.
    let bare = Setup::default()
        .with("LIMITS__CLIPS_PER_MINUTE", 1)
        .with("SERVER__TRUSTED_PROXIES", "10.0.0.0/8")
        .start();
    assert_eq!(clip(&bare, from("203.0.113.1")).status, 202);
    clip(&bare, from("203.0.113.2")).expect_problem(429, "rate_limited");
}

#[test]
fn many_requests_at_the_same_moment_get_no_more_than_one_after_the_other() {
    let origin = Origin::start();
    let silent = origin.add("/silent.mp4", Behaviour::Silent);
    for (setting, code) in [
        ("LIMITS__CLIPS_PER_MINUTE", "rate_limited"),
        ("LIMITS__CLIPS_PER_VISITOR", "clips_too_many"),
    ] {
        let service = Setup::default().with(setting, 3).start();
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let ask = || from("203.0.113.1").post(&service, "/api/clips", &quick(&silent));
            let asked: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
            asked
                .into_iter()
                .map(|answer| answer.join().unwrap())
                .collect()
        });
        let (taken, refused): (Vec<&Answer>, Vec<&Answer>) =
            answers.iter().partition(|answer| answer.status == 202);
        assert_eq!(taken.len(), 3, "{setting}");
        for answer in refused {
            answer.expect_problem(429, code);
        }
    }
}
