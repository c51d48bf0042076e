//! Clips of videos on pages: from the link of a page to a checked clip, through the real yt-dlp, and what is said when that does not go.

use std::path::Path;

use serde_json::{Value, json};

use super::support::frames;
use super::support::origin::{Behaviour, Origin};
use super::support::pieces::{files, film_of_12, in_pieces};
use super::support::proof::{self, Source};
use super::support::service::{Service, Setup, recipe};
use super::video_pages::{WITH_PLUGINS, program, readable, with_faults, ytdlp};

/// A service that reads pages by a program.
pub fn reading(program: &Path) -> Service {
    set(program).start()
}

pub fn set(program: &Path) -> Setup {
    let readable: Vec<String> = readable()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Setup::default()
        .with("SOURCES__YTDLP_PATH", program.display())
        .with("ENGINE__READABLE", readable.join(","))
}

pub fn page(origin: &Origin, path: &str, html: &str) -> String {
    let bytes = format!(
        "<!doctype html><html><head><title>A film</title></head><body>{html}</body></html>"
    )
    .into_bytes();
    let claimed = bytes.len();
    origin.add(path, Behaviour::Bytes { bytes, claimed })
}

/// The clip's pictures are those of the film from `start` on, and its sound belongs to them.
#[track_caller]
fn same(service: &Service, clip: &Value, source: &Source, start: f64, end: f64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    let file = service.get(clip["urls"]["file"].as_str().unwrap());
    std::fs::write(&path, &file.bytes).unwrap();
    let got = frames::read(&path);
    let wanted = source.wanted(start, end);
    assert_eq!(got.frames.len(), wanted.len(), "{clip}");
    for (number, frame) in got.frames.iter().enumerate() {
        let like = frames::psnr(&source.frames()[wanted[number]].luma, &frame.luma);
        assert!(like >= 36.0, "frame {number} has {like} dB");
    }
    let sound = got.sound.unwrap();
    let first = source.time(wanted[0]);
    let original = source.contents.sound.as_ref().unwrap();
    proof::same_sound(original, first, &sound, 0.0, end - first, "page");
}

#[test]
fn a_page_with_a_video_is_cut_like_the_video() {
    let service = reading(ytdlp());
    let (origin, _) = Origin::with(&film_of_12());
    let link = page(
        &origin,
        "/watch",
        "<video src=\"/in-pieces.mp4\" type=\"video/mp4\"></video>",
    );
    let clip = service.make(&recipe(&link, 5.2, 7.6));
    same(&service, &clip, &Source::read(film_of_12()), 5.2, 7.6);
    assert_eq!(clip["result"]["method"], "splice", "{clip}");
}

#[test]
fn a_page_whose_sound_comes_apart_is_cut_in_sync() {
    let dir = in_pieces(
        "page-apart",
        &film_of_12(),
        "-map 0:v -map 0:a -c copy -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_type fmp4 -hls_segment_filename DIR/s%v-%02d.m4s \
         -hls_fmp4_init_filename init-%v.mp4 -master_pl_name master.m3u8 -var_stream_map v:0,agroup:a~a:0,agroup:a DIR/list-%v.m3u8",
    );
    let service = reading(ytdlp());
    let origin = Origin::start();
    for file in files(&dir) {
        let name = format!("/{}", file.file_name().unwrap().to_str().unwrap());
        origin.add(&name, Behaviour::File(file));
    }
    let link = page(
        &origin,
        "/watch",
        "<video><source src=\"/master.m3u8\" type=\"application/x-mpegURL\"></video>",
    );
    let clip = service.make(&recipe(&link, 3.3, 6.1));
    same(&service, &clip, &Source::read(film_of_12()), 3.3, 6.1);
}

/// A program that answers with what a site with separate streams and a taste for headers would make of it.
fn telling(dir: &Path, video: &str, audio: &str) -> std::path::PathBuf {
    let headers = json!({"Referer": "https://site.example/", "User-Agent": "Wanted/1.0"});
    let told = json!({
        "title": "Two streams", "extractor": "test", "webpage_url": "https://site.example/",
        "formats": [
            {"format_id": "v", "url": video, "protocol": "http", "ext": "mp4", "vcodec": "avc1.64000c", "acodec": "none", "height": 180, "width": 320, "http_headers": headers},
            {"format_id": "a", "url": audio, "protocol": "http", "ext": "m4a", "vcodec": "none", "acodec": "mp4a.40.2", "http_headers": headers},
        ],
    });
    std::fs::write(dir.join("told.json"), told.to_string()).unwrap();
    program(dir, &format!("cat '{}'", dir.join("told.json").display()))
}

#[test]
fn two_files_of_one_page_are_joined_and_get_the_headers_they_want() {
    let dir = tempfile::tempdir().unwrap();
    let parts = in_pieces(
        "page-files",
        &film_of_12(),
        "-map 0:v -c copy DIR/v.mp4 -map 0:a -c copy DIR/a.m4a",
    );
    let origin = Origin::start();
    let video = origin.add("/v.mp4", Behaviour::File(parts.join("v.mp4")));
    let audio = origin.add("/a.m4a", Behaviour::File(parts.join("a.m4a")));
    let link = page(&origin, "/watch", "");
    let service = reading(&telling(dir.path(), &video, &audio));
    let clip = service.make(&recipe(&link, 5.2, 7.6));
    same(&service, &clip, &Source::read(film_of_12()), 5.2, 7.6);
    let heads = origin.heads();
    for (path, wanted) in [("/v.mp4", true), ("/a.m4a", true), ("/watch", false)] {
        let own: Vec<&String> = heads.iter().filter(|head| head.contains(path)).collect();
        assert!(!own.is_empty(), "{path}");
        for head in own {
            let has = |line: &str| head.to_ascii_lowercase().contains(line);
            assert_eq!(has("referer: https://site.example/"), wanted, "{head}");
            assert_eq!(has("user-agent: wanted/1.0"), wanted, "{head}");
        }
    }
}

#[test]
fn what_a_page_points_to_inside_stays_unreached() {
    let dir = tempfile::tempdir().unwrap();
    let canary = Origin::start_at("127.0.0.9");
    let origin = Origin::start();
    let service = Setup::default()
        .with("EGRESS__ALLOW", "127.0.0.1/32")
        .with("ENGINE__READABLE", std::env::temp_dir().display())
        .with(
            "SOURCES__YTDLP_PATH",
            telling(dir.path(), &canary.link("/v.mp4"), &canary.link("/a.m4a")).display(),
        )
        .start();
    let code = service.fail(&recipe(&page(&origin, "/watch", ""), 1.0, 2.0));
    assert_eq!(code, "url_blocked", "{}", service.log());
    assert!(canary.requests().is_empty());
}

#[test]
fn what_a_page_says_no_with_is_told_apart() {
    let origin = Origin::start();
    let link = page(&origin, "/watch", "<p>no video here</p>");
    let off = reading(Path::new("/nonexistent/yt-dlp"));
    assert_eq!(off.fail(&recipe(&link, 1.0, 2.0)), "page_off");
    let empty = Setup::default().with("SOURCES__YTDLP_PATH", "").start();
    assert_eq!(empty.fail(&recipe(&link, 1.0, 2.0)), "page_off");
    let real = reading(ytdlp());
    assert_eq!(real.fail(&recipe(&link, 1.0, 2.0)), "page_unsupported");
    let dir = tempfile::tempdir().unwrap();
    let faulty = reading(&with_faults(dir.path(), WITH_PLUGINS));
    for (fault, code) in [("private", "page_private"), ("geo", "page_geo_blocked")] {
        let link = page(&origin, &format!("/fault/{fault}"), "");
        assert_eq!(faulty.fail(&recipe(&link, 1.0, 2.0)), code);
    }
}
