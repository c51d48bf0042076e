//! Uploads as sources: the same as the same file behind a link, for whoever knows the upload's id.

use serde_json::{Value, json};

use super::{copy_matches, copy_of, loud, marked, marked_with_sound, own, strip_matches, wait};
use crate::support::frames;
use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{Answer, Service, Setup};
use crate::support::tus::id_of;
use crate::support::visitor::until;

fn ask(service: &Service, path: &str) -> Answer {
    service.post("/api/sources", &json!({"upload": id_of(path)}))
}

#[track_caller]
fn look(service: &Service, path: &str) -> Value {
    let answer = ask(service, path);
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    answer.json()
}

fn upload(service: &Service, name: &str, file: &std::path::Path) -> String {
    service.upload(name, &std::fs::read(file).unwrap())
}

#[test]
fn an_upload_is_seen_as_the_same_file_behind_a_link() {
    let service = Service::start();
    let origin = Origin::start();
    let other = media::remuxed("marked-sound.mkv", &marked_with_sound(), "");
    for (name, file) in [("film.mp4", marked_with_sound()), ("film.mkv", other)] {
        let path = upload(&service, name, &file);
        let answer = ask(&service, &path);
        assert_eq!(answer.status, 201, "{}", answer.text());
        let mine = answer.json();
        let link = origin.add(&format!("/{name}"), Behaviour::File(file.clone()));
        let theirs = super::look(&service, &link);
        for field in [
            "title",
            "container",
            "video",
            "audio",
            "splice",
            "playable",
            "duration",
        ] {
            assert_eq!(mine[field], theirs[field], "{field} of {name}");
        }
        // A small file is read to its end at once.
        assert_eq!(mine["keyframes"].as_array().unwrap().len(), 16, "{mine}");
        assert_eq!(mine["bytes_fetched"], 0);
        assert!(mine.get("url").is_none(), "{mine}");
        assert!(mine["estimate"]["method"].is_string(), "{mine}");
        for part in ["filmstrip", "filmstrip_vtt", "waveform"] {
            let [one, two] = [&mine, &theirs].map(|source| {
                let path = source["urls"][part].as_str().unwrap();
                wait(&service, path).bytes
            });
            assert!(one == two, "{part} of {name}");
        }
        let frames = frames::decode(&file, Some((160, 90)));
        assert_eq!(strip_matches(&service, &mine, &frames, 0.022), 16);
        let (from, to) = loud(&service, &mine);
        assert!(
            (from - 2.0).abs() < 0.05 && (to - 3.0).abs() < 0.05,
            "{from} to {to}"
        );
        assert_eq!(ask(&service, &path).status, 200);
    }
}

#[test]
fn an_upload_streams_its_bytes_or_a_copy() {
    let service = Service::start();
    let file = marked();
    let path = upload(&service, "a.mp4", &file);
    let source = look(&service, &path);
    let stream = source["urls"]["stream"].as_str().unwrap();
    let bytes = std::fs::read(&file).unwrap();
    assert!(service.get(stream).bytes == bytes);
    let part = service.request("GET", stream, &[("range", "bytes=100-299")], b"");
    assert!(part.status == 206 && part.bytes == bytes[100..300]);
    assert_eq!(part.header("content-type"), "video/mp4");
    assert_eq!(
        part.header("content-security-policy"),
        "sandbox; default-src 'none'"
    );
    let other = media::remuxed("marked.mkv", &file, "");
    let source = look(&service, &upload(&service, "b.mkv", &other));
    let dir = tempfile::tempdir().unwrap();
    let copy = copy_of(&service, &source, dir.path());
    let last = copy_matches(&copy, &frames::decode(&other, Some((80, 46))));
    assert!(last > 7.9, "{last}");
}

#[test]
fn an_upload_is_called_by_its_own_title_else_by_its_name() {
    let service = Service::start();
    let named = upload(&service, "Caf\u{e9} im Mai\u{202e}.mp4", &media::tiny());
    assert_eq!(look(&service, &named)["title"], "Caf\u{e9} im Mai");
    let titled = media::made("upload-titled.mp4", |path| {
        let tiny = media::tiny();
        let tiny = tiny.to_str().unwrap();
        media::ffmpeg(&["-i", tiny, "-c", "copy", "-metadata", "title=Its own", path]);
    });
    let path = upload(&service, "other.mp4", &titled);
    let wish = json!({"upload": id_of(&path), "start_time": 0.5, "end_time": 1.5, "mode": "fast"});
    assert_eq!(service.submit(&wish)["title"], "other");
    assert_eq!(look(&service, &path)["title"], "Its own");
    assert_eq!(service.submit(&wish)["title"], "Its own");
}

#[test]
fn what_is_not_here_or_not_whole_is_told_apart() {
    let service = Service::start();
    let unknown = json!({"upload": "5f0c1a52-7c3e-4d8a-9d0b-0123456789ab"});
    let answer = service.post("/api/sources", &unknown);
    answer.expect_problem(410, "upload_gone");
    assert_eq!(answer.json()["field"], "upload");
    let bytes = std::fs::read(media::tiny()).unwrap();
    let path = service.begin_upload(bytes.len(), "tiny.mp4");
    service.sent(&path, 0, &bytes[..1000]);
    let answer = ask(&service, &path);
    answer.expect_problem(409, "upload_incomplete");
    assert!(answer.json()["detail"].as_str().unwrap().contains("1000"));
    service.sent(&path, 1000, &bytes[1000..]);
    let source = look(&service, &path);
    wait(&service, source["urls"]["filmstrip"].as_str().unwrap());
    // With the upload goes what was seen of it.
    assert_eq!(service.tus("DELETE", &path, &[], b"").status, 204);
    for part in ["", "/stream", "/filmstrip", "/waveform"] {
        let answer = service.get(&format!("{}{part}", own(&source)));
        answer.expect_problem(404, "not_found");
    }
    ask(&service, &path).expect_problem(410, "upload_gone");
    let text = upload(&service, "text.mp4", &std::path::PathBuf::from(file!()));
    ask(&service, &text).expect_problem(422, "source_unsupported");
}

#[test]
fn nobody_learns_the_id_of_an_upload_from_its_source() {
    let service = Service::start();
    let path = upload(
        &service,
        "mine.mkv",
        &media::remuxed("tiny.mkv", &media::tiny(), ""),
    );
    let id = id_of(&path).to_owned();
    let source = look(&service, &path);
    let mut shown = vec![source.to_string()];
    for place in ["self", "stream", "filmstrip", "filmstrip_vtt"] {
        let answer = wait(&service, source["urls"][place].as_str().unwrap());
        shown.push(format!("{:?} {}", answer.headers, answer.text()));
    }
    // What goes wrong with it says nothing either.
    let broken = media::tiny();
    let mut bytes = std::fs::read(broken).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0);
    let other = service.upload("broken.mkv", &bytes);
    shown.push(ask(&service, &other).text());
    shown.push(service.get("/metrics").text());
    shown.push(service.log());
    for text in shown {
        assert!(
            !text.contains(&id) && !text.contains(id_of(&other)),
            "{text}"
        );
    }
}

#[test]
fn looking_at_an_upload_is_using_it() {
    let service = Service::start();
    let path = upload(&service, "a.mp4", &media::tiny());
    let source = look(&service, &path);
    let expires = || {
        service
            .tus("HEAD", &path, &[], b"")
            .header("upload-expires")
    };
    let id = id_of(&path).to_owned();
    // As if it had last been used twenty hours ago.
    let age = || {
        service.index(&format!(
            "UPDATE uploads SET used_at = used_at - 72000000 WHERE id = '{id}'"
        ));
        expires()
    };
    for place in ["self", "stream", "filmstrip"] {
        let old = age();
        wait(&service, source["urls"][place].as_str().unwrap());
        assert_ne!(expires(), old, "{place}");
    }
    let old = age();
    assert_eq!(ask(&service, &path).status, 200);
    assert_ne!(expires(), old);
}

#[test]
fn expiry_waits_until_a_running_preview_is_done() {
    let service = Setup::default()
        .with("KEEPER__EXPIRY", "* * * * * *")
        .start();
    // Some seconds of work.
    let film = media::film(
        "upload-heavy.avi",
        &media::pictures("1280x720", "25", 60.0),
        None,
        "-c:v mpeg4 -q:v 8 -pix_fmt yuv420p",
    );
    let path = upload(&service, "heavy.avi", &film);
    let old = upload(&service, "old.mp4", &media::tiny());
    let source = look(&service, &path);
    let stream = source["urls"]["stream"].as_str().unwrap();
    service.get(stream).expect_problem(503, "preview_pending");
    until("it is in the making", || {
        let making = service.data.join("previews/.making");
        let mut jobs = making.read_dir().unwrap().flatten();
        jobs.any(|job| job.path().join("preview.mp4").exists())
    });
    for path in [&path, &old] {
        let id = id_of(path);
        service.index(&format!(
            "UPDATE uploads SET used_at = 1000 WHERE id = '{id}'"
        ));
    }
    until("the keeper has run", || {
        service.log().contains("upload expired")
    });
    assert!(
        !service.log().contains("preview made"),
        "the preview was too fast"
    );
    assert!(service.bytes_of(&path).exists());
    assert_eq!(wait(&service, stream).header("content-type"), "video/mp4");
}
