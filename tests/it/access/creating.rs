//! A service on which making clips takes a token: what stays open, and that links which are shared work for everybody.

use serde_json::{Value, json};

use super::from;
use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Service, Setup};
use crate::support::visitor::quick;

fn closed() -> Service {
    Setup::default().with("AUTH__CREATE", "token").start()
}

#[test]
fn a_clip_that_took_a_token_is_for_everybody_who_has_its_link() {
    let origin = Origin::start();
    let film = origin.add("/film.mp4", Behaviour::File(media::everyday()));
    let service = closed();
    let visitor = from("203.0.113.1");
    visitor
        .post(&service, "/api/clips", &quick(&film))
        .expect_problem(401, "token_needed");
    visitor
        .post(&service, "/api/sources", &json!({"url": film}))
        .expect_problem(401, "token_needed");

    let text = service.token("clip:create");
    let maker = visitor.with(&text);
    let made = maker.post(&service, "/api/clips", &quick(&film));
    assert_eq!(made.status, 202, "{}", made.text());
    let clip = made.json();
    let (id, own) = (clip["id"].as_str().unwrap(), &clip["delete_token"]);
    let ready = service.wait_for(id, &["ready"]);
    for link in ["page", "file", "download", "poster", "embed"] {
        let path = ready["urls"][link].as_str().unwrap();
        assert_eq!(visitor.get(&service, path).status, 200, "{path}");
    }
    visitor
        .get(&service, "/api/clips")
        .expect_problem(401, "token_needed");
    assert_eq!(maker.get(&service, "/api/clips").status, 200);
    let reader = service.token("file:read");
    let list = visitor.with(&reader).get(&service, "/api/clips");
    assert_eq!(list.json()["clips"][0]["id"], id);
    visitor
        .with(&reader)
        .post(&service, "/api/clips", &quick(&film))
        .expect_problem(403, "token_scope");

    // Who looked at a source shows it in a player, which sends no headers.
    let seen = maker.post(&service, "/api/sources", &json!({"url": film}));
    assert_eq!(seen.status, 201, "{}", seen.text());
    let stream = seen.json()["urls"]["stream"].as_str().unwrap().to_owned();
    assert_eq!(visitor.get(&service, &stream).status, 200);

    // Making clips is not managing them, and the clip's own token goes on to work.
    let path = format!("/api/clips/{id}");
    maker
        .ask(&service, "DELETE", &path, b"")
        .expect_problem(403, "token_wrong");
    let own = own.as_str().unwrap();
    let gone = visitor.with(own).ask(&service, "DELETE", &path, b"");
    assert_eq!(gone.status, 204, "{}", gone.text());
}

#[test]
fn an_upload_takes_a_token_to_begin_and_its_id_to_go_on() {
    let service = closed();
    let bearer = format!("Bearer {}", service.token("clip:create"));
    let begin = |token: Option<&str>| {
        let mut headers = vec![("tus-resumable", "1.0.0"), ("upload-length", "5")];
        headers.extend(token.map(|token| ("authorization", token)));
        service.request("POST", "/api/uploads", &headers, b"")
    };
    let refused = begin(None);
    refused.expect_problem(401, "token_needed");
    assert_eq!(refused.header("tus-resumable"), "1.0.0");
    let begun = begin(Some(&bearer));
    assert_eq!(begun.status, 201, "{}", begun.text());
    let place = begun.header("location");
    let sent = service.request(
        "PATCH",
        &place,
        &[
            ("tus-resumable", "1.0.0"),
            ("upload-offset", "0"),
            ("content-type", "application/offset+octet-stream"),
        ],
        b"hello",
    );
    assert_eq!(sent.status, 204, "{}", sent.text());
}

#[test]
fn who_manages_clips_manages_those_of_others() {
    let service = Service::start();
    let manager = service.token("clip:manage");
    for (method, then, status) in [("POST", "/retry", 202), ("DELETE", "", 204)] {
        let clip = service.submit(&super::nowhere());
        let id = clip["id"].as_str().unwrap();
        service.wait_for(id, &["failed"]);
        let done = from("203.0.113.1").with(&manager).ask(
            &service,
            method,
            &format!("/api/clips/{id}{then}"),
            b"",
        );
        assert_eq!(done.status, status, "{}", done.text());
    }
}

#[test]
fn a_page_of_another_site_is_given_no_power_of_its_visitor() {
    let service = closed();
    let headers = [
        ("origin", "https://elsewhere.example"),
        ("cookie", "token=mm_0123456789abcdef"),
        ("content-type", "application/json"),
    ];
    let body = super::nowhere().to_string();
    let answer = service.request("POST", "/api/clips", &headers, body.as_bytes());
    answer.expect_problem(401, "token_needed");
    assert_eq!(answer.header("access-control-allow-origin"), "");
    assert_eq!(answer.header("set-cookie"), "");
    let asked = service.request(
        "OPTIONS",
        "/api/clips",
        &[
            ("origin", "https://elsewhere.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
        ],
        b"",
    );
    assert_eq!(asked.header("access-control-allow-headers"), "");
    // Nor is a token taken from where logs and histories keep it.
    let text = service.token("clip:create");
    for path in [
        format!("/api/clips?token={text}"),
        format!("/api/clips?access_token={text}"),
    ] {
        service
            .post(&path, &Value::Null)
            .expect_problem(401, "token_needed");
    }
}
