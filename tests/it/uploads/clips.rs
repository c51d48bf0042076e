//! Clips made from uploads: the same as from anywhere else, and nobody but the uploader learns where the file is.

use serde_json::{Value, json};

use crate::support::media::{self, everyday};
use crate::support::nginx::Nginx;
use crate::support::origin::Origin;
use crate::support::service::{Service, Setup};
use crate::support::tus::{self, id_of, noise, sha256};
use crate::support::visitor::{Ticket, until};
use crate::support::wire;

fn wish(path: &str) -> Value {
    json!({"upload": id_of(path), "start_time": 2.5, "end_time": 6.5})
}

#[test]
fn a_clip_of_an_upload_is_the_clip_of_the_same_file() {
    let service = Service::start();
    let (_origin, link) = Origin::with(&everyday());
    let path = service.upload("Café im Mai.mp4", &std::fs::read(everyday()).unwrap());
    for more in [json!({}), json!({"mode": "fast"}), json!({"height": 180})] {
        let with = |mut wish: Value| {
            wish.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            service.make(&wish)
        };
        let mine = with(wish(&path));
        let theirs = with(json!({"url": link, "start_time": 2.5, "end_time": 6.5}));
        if more["mode"] == "fast" {
            assert_eq!(mine["result"]["sha256"], theirs["result"]["sha256"]);
        }
        // An encoder with threads need not give the same bytes twice.
        for field in ["method", "frames", "frames_copied", "start", "duration"] {
            assert_eq!(
                mine["result"][field], theirs["result"][field],
                "{field} {more}"
            );
        }
        assert_eq!(mine["result"]["bytes_fetched"], 0);
        assert_eq!(mine["title"], "Café im Mai");
    }
    // The file itself is as it was.
    let kept = std::fs::read(service.bytes_of(&path)).unwrap();
    assert_eq!(sha256(&kept), sha256(&std::fs::read(everyday()).unwrap()));
}

#[test]
fn nobody_but_the_uploader_learns_the_id() {
    let service = Service::start();
    let path = service.upload("mine.mp4", &std::fs::read(media::tiny()).unwrap());
    let id = id_of(&path);
    let wish = json!({"upload": id, "start_time": 0.5, "end_time": 1.5, "mode": "fast"});
    let accepted = service.submit(&wish);
    assert_eq!(accepted["recipe"]["upload"], id);
    let ticket = Ticket::of(&accepted);
    let told: Vec<Value> = service
        .events(&ticket.id, None)
        .map(|event| event.data)
        .collect();
    assert!(told.iter().any(|data| data["state"] == "ready"));
    let clip = service.clip(&ticket);
    assert_eq!(clip["recipe"]["mode"], "fast");
    assert!(clip["recipe"].get("upload").is_none(), "{clip}");
    let file = clip["urls"]["file"].as_str().unwrap();
    let mut shown = vec![json!(told).to_string(), clip.to_string()];
    for address in [
        "/api/clips",
        &format!("/c/{}", ticket.id),
        &format!("/embed/{}", ticket.id),
        &format!("{}/download", ticket.path()),
        file,
        "/metrics",
    ] {
        let answer = service.get(address);
        assert_eq!(answer.status, 200, "{address}");
        shown.push(format!("{:?} {}", answer.headers, answer.text()));
    }
    let name = service.request(
        "GET",
        &format!("{}/download", ticket.path()),
        &[("accept", "application/json")],
        b"",
    );
    shown.push(name.text());
    for text in shown {
        assert!(!text.contains(id), "{text}");
    }
}

#[test]
fn an_upload_is_used_when_it_is_whole_and_as_long_as_it_is_there() {
    let origin = Origin::start();
    let service = Setup::default().with("ENGINE__WORKERS", 1).start();
    let tiny = std::fs::read(media::tiny()).unwrap();
    let path = service.begin_upload(tiny.len(), "tiny.mp4");
    let wish = json!({"upload": id_of(&path), "start_time": 0.5, "end_time": 1.5, "mode": "fast"});
    service.sent(&path, 0, &tiny[..1_000]);
    let answer = service.post("/api/clips", &wish);
    answer.expect_problem(409, "upload_incomplete");
    assert_eq!(answer.json()["field"], "upload");
    assert!(answer.json()["detail"].as_str().unwrap().contains("1000"));
    service.sent(&path, 1_000, &tiny[1_000..]);

    // While a clip waits for it, it cannot be removed.
    let held = service.hold(&origin);
    let (first, second) = (service.ticket(&wish), service.ticket(&wish));
    let answer = service.tus("DELETE", &path, &[], b"");
    answer.expect_problem(409, "upload_needed");
    service.cancel(&held);
    let ready = service.wait_for(&first.id, &["ready"]);
    let other = service.wait_for(&second.id, &["ready"]);
    assert_eq!(ready["result"]["sha256"], other["result"]["sha256"]);

    let failed = json!({"upload": id_of(&path), "start_time": 50, "end_time": 51});
    let failed = service.ticket(&failed);
    service.wait_for(&failed.id, &["failed"]);
    assert_eq!(service.retry(&failed).status, 202);
    service.wait_for(&failed.id, &["failed"]);
    assert_eq!(service.tus("DELETE", &path, &[], b"").status, 204);
    let answer = service.retry(&failed);
    answer.expect_problem(410, "upload_gone");
    assert_eq!(service.clip(&failed)["state"], "failed");
    service
        .post("/api/clips", &wish)
        .expect_problem(410, "upload_gone");
    // What was made stays.
    let file = ready["urls"]["file"].as_str().unwrap();
    assert_eq!(service.get(file).status, 200);
}

#[test]
fn a_repeated_request_is_answered_although_the_upload_is_gone() {
    let service = Service::start();
    let path = service.upload("tiny.mp4", &std::fs::read(media::tiny()).unwrap());
    let wish = json!({"upload": id_of(&path), "start_time": 0.5, "end_time": 1.5, "mode": "fast"});
    let key = [("idempotency-key", "one")];
    let first = Ticket::of(&service.submit_with(&key, &wish).json());
    service.wait_for(&first.id, &["ready"]);
    assert_eq!(service.tus("DELETE", &path, &[], b"").status, 204);
    let again = service.submit_with(&key, &wish);
    assert_eq!(again.json()["id"], first.id.as_str(), "{}", again.text());
}

#[test]
fn a_lost_upload_fails_its_clip_with_words() {
    let origin = Origin::start();
    let service = Setup::default().with("ENGINE__WORKERS", 1).start();
    let path = service.upload("tiny.mp4", &std::fs::read(media::tiny()).unwrap());
    let held = service.hold(&origin);
    let ticket = service.ticket(&json!({"upload": id_of(&path), "start_time": 0, "end_time": 1}));
    std::fs::remove_file(service.bytes_of(&path)).unwrap();
    service.cancel(&held);
    let clip = service.wait_for(&ticket.id, &["failed"]);
    assert_eq!(clip["error"]["code"], "upload_gone", "{clip}");
}

#[test]
fn texts_that_name_other_files_are_no_videos() {
    let service = Service::start();
    let canary = tempfile::tempdir().unwrap();
    let film = canary.path().join("film.mp4");
    std::fs::copy(media::tiny(), &film).unwrap();
    let film = film.to_str().unwrap();
    for (name, text) in [
        (
            "concat.mp4",
            format!("ffconcat version 1.0\nfile '{film}'\n"),
        ),
        (
            "list.m3u8",
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{film}\n#EXT-X-ENDLIST\n"),
        ),
        (
            "list.mp4",
            format!(
                "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{film}\n#EXT-X-ENDLIST\n"
            ),
        ),
        ("empty.mp4", String::new()),
        (
            "page.svg",
            format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><image href=\"{film}\"/></svg>"),
        ),
    ] {
        let path = service.upload(name, text.as_bytes());
        let code = service.fail(&json!({"upload": id_of(&path), "start_time": 0, "end_time": 1}));
        assert_eq!(code, "source_unsupported", "{name}");
    }
}

#[test]
fn large_files_come_through_nginx_in_small_pieces() {
    const MOST: usize = 1 << 20;
    let (nginx, service) = Nginx::with_service(Setup::default());
    let bytes = noise(31, 3 * MOST + 12_345);
    let length = bytes.len().to_string();
    let headers = [
        ("Tus-Resumable", "1.0.0"),
        ("Upload-Length", length.as_str()),
    ];
    let answer = nginx.request("POST", "/api/uploads", &headers, b"");
    assert_eq!(answer.status, 201, "{}", answer.text());
    let path = answer.header("location");
    let send = |offset: usize, piece: &[u8]| {
        let offset = offset.to_string();
        let headers = [
            ("Tus-Resumable", "1.0.0"),
            tus::PIECE,
            ("Upload-Offset", offset.as_str()),
        ];
        nginx.request("PATCH", &path, &headers, piece)
    };
    let answer = send(0, &bytes[..MOST + 1]);
    answer.expect_problem(413, "body_too_large");

    // A piece that breaks off on the way through nginx loses nothing either: nginx does not wait for all of it.
    let stream = tus::piece(&nginx.address, &path, 0, MOST, &bytes[..400_000]);
    let file = service.bytes_of(&path);
    until("it comes through at once", || {
        std::fs::metadata(&file).unwrap().len() == 400_000
    });
    drop(stream);
    until("it is kept", || service.offset(&path) == 400_000);

    let mut sent = 400_000;
    while sent < bytes.len() {
        let piece = &bytes[sent..bytes.len().min(sent + MOST)];
        let answer = send(sent, piece);
        assert_eq!(answer.status, 204, "{}", answer.text());
        assert_eq!(answer.header("tus-resumable"), "1.0.0");
        sent += piece.len();
        assert_eq!(answer.header("upload-offset"), sent.to_string());
    }
    assert_eq!(sha256(&std::fs::read(&file).unwrap()), sha256(&bytes));
    let head = format!(
        "HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTus-Resumable: 1.0.0\r\n\r\n"
    );
    let reply = wire::exchange(&service, head.as_bytes());
    assert_eq!(reply.header("upload-offset"), length);
}
