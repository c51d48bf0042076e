//! Several clips of one source at once: queued all or none, and what lies close together is fetched once.

use serde_json::{Value, json};

use crate::support::media;
use crate::support::origin::Origin;
use crate::support::service::{Answer, Service, Setup, recipe};

fn batch(service: &Service, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/json"));
    service.request(
        "POST",
        "/api/clips:batch",
        &headers,
        body.to_string().as_bytes(),
    )
}

fn ids(answer: &Value) -> Vec<String> {
    let ids = answer["ids"].as_array().unwrap().iter();
    ids.map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[test]
fn spans_that_lie_close_together_are_fetched_once() {
    let (origin, link) = Origin::with(&media::everyday());
    // Each as one clip that is as long as what lies together.
    let alone = Setup::default().with("ENGINE__WINDOW_HOURS", 0).start();
    for (start, end) in [(0.5, 3.0), (8.1, 10.9)] {
        alone.make(&recipe(&link, start, end));
    }
    let windows = origin.sent();
    drop(alone);

    let service = Service::start();
    let body = json!({"url": link, "mute": true, "spans": [
        {"start": 8.5, "end": 10, "title": "Later"},
        {"start": 0.5, "end": 1.5},
        {"start": 9.5, "end": 10.9},
        {"start": "0:01", "end": 3, "title": "Sooner"},
        {"start": 8.1, "end": 9},
    ]});
    let answer = batch(&service, &[], &body);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let answer = answer.json();
    let (ids, clips) = (ids(&answer), answer["clips"].as_array().unwrap());
    assert!(ids.is_sorted() && ids.len() == 5);
    let mut fetched = 0;
    for (id, (clip, frames)) in ids.iter().zip(clips.iter().zip([45, 30, 42, 60, 27])) {
        assert_eq!(clip["id"], **id);
        assert!(clip["delete_token"].is_string() && clip["recipe"]["mute"] == true);
        let ready = service.wait_for(id, &["ready"]);
        assert_eq!(ready["result"]["frames"], frames, "{ready}");
        assert_eq!(ready["result"]["audio_codec"], Value::Null);
        fetched += u64::from(ready["result"]["bytes_fetched"].as_u64().unwrap() > 0);
    }
    assert_eq!((origin.sent() - windows, fetched), (windows, 2));
    assert_eq!(
        (&clips[0]["title"], &clips[3]["title"]),
        (&json!("Later"), &json!("Sooner"))
    );
    let token = clips[4]["delete_token"].as_str().unwrap();
    assert_eq!(
        service
            .with_token("DELETE", &format!("/api/clips/{}", ids[4]), token)
            .status,
        204
    );
}

#[test]
fn several_are_taken_together_or_not_at_all() {
    let (origin, link) = Origin::with(&media::tiny());
    let service = Setup::default()
        .with("LIMITS__QUEUE", 2)
        .with("LIMITS__CLIPS_PER_MINUTE", 9)
        .with("LIMITS__MAX_SEGMENTS", 4)
        .with("ENGINE__WORKERS", 1)
        .start();
    let span = |start: f64| json!({"start": start, "end": start + 0.5});
    let body = |spans: Vec<Value>| json!({"url": link, "spans": spans});
    for (spans, code, field) in [
        (
            vec![span(0.5), json!({"start": 2, "end": 1})],
            "time_order",
            "spans[1].end",
        ),
        (
            vec![span(0.5), span(1.0), json!({"start": 2})],
            "time_missing",
            "spans[2].end",
        ),
        (vec![], "spans_missing", "spans"),
        (vec![span(0.5); 5], "spans_too_many", "spans"),
    ] {
        let refused = batch(&service, &[], &body(spans));
        refused.expect_problem(400, code);
        assert_eq!(refused.json()["field"], field);
    }
    let looked = service.post("/api/sources", &json!({"url": link}));
    assert_eq!(looked.status, 201, "{}", looked.text());
    let mut outside = body(vec![span(0.5), span(1.0)]);
    outside["crop"] = json!("9000x9000+0+0");
    batch(&service, &[], &outside).expect_problem(400, "crop_outside");
    let held = service.hold(&origin);
    let count = || {
        service.get("/api/clips").json()["clips"]
            .as_array()
            .unwrap()
            .len()
    };
    batch(&service, &[], &body(vec![span(0.5), span(1.0), span(1.5)]))
        .expect_problem(503, "queue_full");
    assert_eq!(count(), 1);
    let two = body(vec![span(0.5), span(1.5)]);
    let key = [("idempotency-key", "same")];
    let first = batch(&service, &key, &two);
    assert_eq!((first.status, count()), (202, 3));
    let (first, second) = (ids(&first.json()), ids(&batch(&service, &key, &two).json()));
    assert_eq!((&first, count()), (&second, 3));
    batch(&service, &key, &body(vec![span(0.5)])).expect_problem(422, "idempotency_key_reused");
    // Six were counted so far; what is answered again is not.
    batch(&service, &[], &body(vec![span(0.5); 4])).expect_problem(429, "rate_limited");
    service.cancel(&held);
    for id in first {
        service.wait_for(&id, &["ready"]);
    }
}

#[test]
fn more_than_there_ever_are_at_once_are_refused_for_good() {
    let link = "http://127.0.0.1:9/v.mp4";
    for (minute, visitor, most) in [(3, 0, 3), (0, 2, 2), (4, 2, 2), (0, 0, 5)] {
        let service = Setup::default()
            .with("LIMITS__CLIPS_PER_MINUTE", minute)
            .with("LIMITS__CLIPS_PER_VISITOR", visitor)
            .with("LIMITS__MAX_SEGMENTS", 5)
            .start();
        let spans = |number: usize| json!({"url": link, "spans": vec![json!({"start": 1, "end": 2}); number]});
        let refused = batch(&service, &[], &spans(most + 1));
        refused.expect_problem(400, "spans_too_many");
        assert!(
            refused.text().contains(&format!("At most {most} clips")),
            "{}",
            refused.text()
        );
        assert_eq!(refused.header("retry-after"), "");
        // Nothing of it was counted.
        assert_eq!(batch(&service, &[], &spans(most)).status, 202);
    }
}
