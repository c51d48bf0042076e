//! Pages as sources: what a page says of its video beside what its streams tell, and previews of streams whose addresses are nobody's business.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    LOUD, MARKS, copy_matches, copy_of, look, loud, marked_with_sound, own, strip_matches,
};
use crate::page_clips::{page, reading, set};
use crate::support::frames;
use crate::support::media::film;
use crate::support::origin::{Behaviour, Origin};
use crate::support::pieces::{files, in_pieces};
use crate::support::service::{Service, recipe};
use crate::video_pages::{WITH_PLUGINS, program, with_faults, ytdlp};

/// A program that notes each of its runs and tells this.
fn telling(dir: &Path, told: &Value) -> PathBuf {
    std::fs::write(dir.join("told.json"), told.to_string()).unwrap();
    program(dir, &format!("cat '{}'", dir.join("told.json").display()))
}

fn two_streams(origin: &Origin) -> [String; 2] {
    let parts = in_pieces(
        "seen-page-files",
        &marked_with_sound(),
        "-map 0:v -c copy -movflags +faststart DIR/v.mp4 -map 0:a -c copy DIR/a.m4a",
    );
    ["v.mp4", "a.m4a"].map(|name| {
        let file = Behaviour::File(parts.join(name));
        origin.add(&format!("/{name}"), file) + "?secret=7c3e"
    })
}

fn told(origin: &Origin) -> Value {
    let [video, audio] = two_streams(origin);
    let headers = json!({"Referer": "https://site.example/"});
    json!({
        "title": "Two\u{202e} streams\n of  it", "extractor": "test", "webpage_url": "https://site.example/", "duration": 8,
        "thumbnail": "https://img.site.example/1.jpg",
        "chapters": [{"start_time": 0, "end_time": 3, "title": "One\nhalf"}, {"start_time": 3, "end_time": 8, "title": "Other"}],
        "heatmap": [{"start_time": 0, "end_time": 4, "value": 0.25}, {"start_time": 4, "end_time": 8, "value": 7}],
        "formats": [
            {"format_id": "v", "url": video, "protocol": "http", "ext": "mp4", "vcodec": "avc1.64000c", "acodec": "none", "height": 180, "http_headers": headers},
            {"format_id": "a", "url": audio, "protocol": "http", "ext": "m4a", "vcodec": "none", "acodec": "mp4a.40.2", "http_headers": headers},
        ],
    })
}

#[test]
fn a_page_tells_more_of_its_video_than_the_video_does() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    let service = reading(&telling(dir.path(), &told(&origin)));
    let link = page(&origin, "/watch", "");
    let source = look(&service, &link);
    assert_eq!(source["url"], link.as_str());
    assert_eq!(source["title"], "Two streams of it");
    assert_eq!(source["thumbnail"], "https://img.site.example/1.jpg");
    assert_eq!(
        source["chapters"],
        json!([{"start": 0.0, "end": 3.0, "title": "One half"}, {"start": 3.0, "end": 8.0, "title": "Other"}])
    );
    assert_eq!(
        source["heatmap"],
        json!([{"start": 0.0, "end": 4.0, "value": 0.25}, {"start": 4.0, "end": 8.0, "value": 1.0}])
    );
    assert!((source["duration"].as_f64().unwrap() - 8.0).abs() < 0.1);
    assert_eq!(source["audio"]["codec"], "aac");
    // Its tables tell where its pictures can be cut, but it is no file to be given away.
    assert_eq!(source["playable"], false);
    assert_eq!(
        source["preview"],
        json!({"state": "absent", "progress": 0.0})
    );
    assert_eq!(
        source["keyframes"].as_array().unwrap().len(),
        16,
        "{source}"
    );
    assert_eq!(source["snap_points"], source["keyframes"]);
    assert_eq!(
        source["splice"],
        json!({"possible": true, "reason": "exact"})
    );
    assert_eq!(service.get(&own(&source)).json(), source);
    // Once is enough for a while.
    let asked = origin.requests().len();
    let again = service.post("/api/sources", &json!({"url": link}));
    assert_eq!((again.status, &again.json()["id"]), (200, &source["id"]));
    assert_eq!(origin.requests().len(), asked);
    let clip = service.submit(&recipe(&link, 1.0, 2.0));
    assert_eq!(clip["title"], "Two streams of it");
}

#[test]
fn previews_of_a_page_are_made_of_its_streams() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    let service = reading(&telling(dir.path(), &told(&origin)));
    let source = look(&service, &page(&origin, "/watch", ""));
    seen(&service, &source, &marked_with_sound());
    for head in origin
        .heads()
        .iter()
        .filter(|head| head.contains("secret="))
    {
        let has = head
            .to_ascii_lowercase()
            .contains("referer: https://site.example/");
        assert!(has, "{head}");
    }
    // Addresses of streams are kept nowhere.
    for file in files(&service.data) {
        if file.is_file() {
            let bytes = std::fs::read(&file).unwrap();
            let kept = bytes.windows(11).any(|piece| piece == b"secret=7c3e");
            assert!(!kept, "{}", file.display());
        }
    }
    assert!(!service.log().contains("secret=7c3e"));
}

#[track_caller]
fn seen(service: &Service, source: &Value, film: &Path) {
    let frames = frames::decode(film, Some((160, 90)));
    assert_eq!(strip_matches(service, source, &frames, 0.002), 16);
    let dir = tempfile::tempdir().unwrap();
    let copy = copy_of(service, source, dir.path());
    let last = copy_matches(&copy, &frames::decode(film, Some((80, 46))));
    assert!(last > 7.8, "{last}");
    let (from, to) = loud(service, source);
    assert!(
        (from - 2.0).abs() < 0.05 && (to - 3.0).abs() < 0.05,
        "{from} to {to}"
    );
}

#[test]
fn the_real_program_reads_pages_with_files_or_a_playlist() {
    let dir = in_pieces(
        "seen-page-hls",
        &marked_with_sound(),
        "-c copy -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_filename DIR/s%02d.ts DIR/all.m3u8",
    );
    let (service, origin) = (reading(ytdlp()), Origin::start());
    for file in files(&dir) {
        let name = format!("/{}", file.file_name().unwrap().to_str().unwrap());
        origin.add(&name, Behaviour::File(file));
    }
    origin.add("/film.mp4", Behaviour::File(marked_with_sound()));
    // Nothing that MP4 can hold, and no tables that we read.
    let other = film(
        "marked-sound.webm",
        MARKS,
        Some(LOUD),
        "-c:v libvpx -deadline realtime -b:v 1M -g 13 -keyint_min 13 -auto-alt-ref 0 -c:a libvorbis",
    );
    origin.add("/film.webm", Behaviour::File(other.clone()));
    let plain = marked_with_sound();
    for (path, html) in [
        (
            "/one",
            "<video src=\"/film.mp4\" type=\"video/mp4\"></video>",
        ),
        (
            "/three",
            "<video src=\"/film.webm\" type=\"video/webm\"></video>",
        ),
        (
            "/two",
            "<video><source src=\"/all.m3u8\" type=\"application/x-mpegURL\"></video>",
        ),
    ] {
        let source = look(&service, &page(&origin, path, html));
        assert_eq!(source["title"], "A film", "{path}");
        assert_eq!(source["playable"], false, "{path}");
        assert_eq!(source["thumbnail"], Value::Null);
        let film = if path == "/three" { &other } else { &plain };
        seen(&service, &source, film);
    }
}

#[test]
fn what_a_page_says_no_with_has_its_status() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    let link = page(&origin, "/watch", "<p>no video here</p>");
    let off = reading(Path::new("/nonexistent/yt-dlp"));
    let body = json!({"url": link});
    off.post("/api/sources", &body)
        .expect_problem(422, "page_off");
    let faulty = reading(&with_faults(dir.path(), WITH_PLUGINS));
    faulty
        .post("/api/sources", &body)
        .expect_problem(422, "page_unsupported");
    for (fault, status, code) in [
        ("private", 422, "page_private"),
        ("login", 422, "page_login"),
        ("geo", 422, "page_geo_blocked"),
    ] {
        let body = json!({"url": page(&origin, &format!("/fault/{fault}"), "")});
        let answer = faulty.post("/api/sources", &body);
        answer.expect_problem(status, code);
        assert!(!answer.json()["hint"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_page_that_takes_too_long_is_given_up() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    let slow = program(
        dir.path(),
        "case \"$*\" in *--version*) exit 1;; esac; sleep 100",
    );
    let service = set(&slow).with("ENGINE__PROBE_SECONDS", 2).start();
    let body = json!({"url": page(&origin, "/watch", "")});
    let answer = service.post("/api/sources", &body);
    answer.expect_problem(504, "source_timeout");
    let began = Instant::now();
    while !service.children().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "it still runs");
        std::thread::sleep(Duration::from_millis(50));
    }
}
