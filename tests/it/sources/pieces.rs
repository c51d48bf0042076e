//! Sources in pieces (HLS, DASH, one file with an index): looked at and previewed without a file to give away, on the time line that
//! clips are cut on.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    copy_matches, copy_of, cues, look, loud, marked_with_sound, nearest, own, strip_matches, tile,
    wait,
};
use crate::support::frames;
use crate::support::media::{self, film};
use crate::support::origin::Origin;
use crate::support::pieces::{asked, files, folder, in_pieces, serve};
use crate::support::service::{Service, Setup, recipe};

fn split(name: &str, arguments: &str) -> PathBuf {
    in_pieces(name, &marked_with_sound(), arguments)
}

/// Transport stream pieces whose timestamps begin far from 0.
fn transport() -> PathBuf {
    split(
        "seen-ts",
        "-c copy -output_ts_offset 1000 -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_filename DIR/s%02d.ts DIR/all.m3u8",
    )
}

/// The pictures at a time, as the filmstrip, the copy for browsers and a clip show them, are those of the film.
#[track_caller]
fn one_time_line(service: &Service, link: &str, source: &Value, film: &Path) {
    let frames = frames::decode(film, Some((160, 90)));
    assert_eq!(strip_matches(service, source, &frames, 0.002), 16);
    let dir = tempfile::tempdir().unwrap();
    let copy = copy_of(service, source, dir.path());
    let last = copy_matches(&copy, &frames::decode(film, Some((80, 46))));
    assert!(last > 7.8, "{last}");
    let (from, to) = loud(service, source);
    let late = frames[0].time;
    assert!(
        (from - 2.0 - late).abs() < 0.05 && (to - 3.0 - late).abs() < 0.05,
        "{from} to {to}"
    );
    // The sixth keyframe, by all three.
    let time = frames[65].time;
    let clip = service.make(&recipe(link, time, time + 0.4));
    let file = dir.path().join("clip.mp4");
    let bytes = service.get(clip["urls"]["file"].as_str().unwrap()).bytes;
    std::fs::write(&file, bytes).unwrap();
    let of_clip = frames::decode(&file, Some((160, 90)));
    let of_copy = frames::decode(&copy, Some((160, 90)));
    let shown = of_copy
        .iter()
        .find(|frame| (frame.time - time).abs() < 0.005);
    let vtt = wait(service, source["urls"]["filmstrip_vtt"].as_str().unwrap());
    let (_, _, place) = cues(&vtt.text())
        .into_iter()
        .find(|(start, ..)| (start - time).abs() < 0.002)
        .unwrap();
    let sheet = dir.path().join("sheet.jpg");
    let strip = wait(service, source["urls"]["filmstrip"].as_str().unwrap());
    std::fs::write(&sheet, strip.bytes).unwrap();
    for picture in [&of_clip[0].luma, &shown.unwrap().luma, &tile(&sheet, place)] {
        let (frame, apart) = nearest(&frames, picture);
        assert!(
            apart < 6.0 && (frame.time - time).abs() < 0.002,
            "{}",
            frame.time
        );
    }
}

#[test]
fn pieces_of_every_make_are_seen_on_the_time_line_of_their_clips() {
    let service = Service::start();
    let apart = "-map 0:v -map 0:a -c copy";
    for (dir, list, container, sound) in [
        (transport(), "all.m3u8", "mpegts", "aac"),
        (
            split(
                "seen-apart",
                &format!(
                    "{apart} -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_type fmp4 -hls_segment_filename DIR/s%v-%02d.m4s \
                     -hls_fmp4_init_filename init-%v.mp4 -master_pl_name master.m3u8 -var_stream_map v:0,agroup:a~a:0,agroup:a DIR/list-%v.m3u8"
                ),
            ),
            "master.m3u8",
            "mp4",
            "aac",
        ),
        (
            split(
                "seen-dash",
                &format!(
                    "{apart} -f dash -seg_duration 2 -use_timeline 1 -use_template 1 DIR/all.mpd"
                ),
            ),
            "all.mpd",
            "mp4",
            "aac",
        ),
        (
            split(
                "seen-index",
                &format!(
                    "{apart} -movflags +frag_keyframe+empty_moov+default_base_moof+global_sidx DIR/v.mp4"
                ),
            ),
            "v.mp4",
            "mp4",
            "aac",
        ),
    ] {
        let (_origin, link) = serve(&dir, list);
        let source = look(&service, &link);
        assert_eq!(source["container"], container, "{list}");
        assert_eq!(source["audio"]["codec"], sound, "{source}");
        assert!(
            (source["duration"].as_f64().unwrap() - 8.0).abs() < 0.1,
            "{source}"
        );
        assert_eq!(source["playable"], false, "{source}");
        assert_eq!(
            source["preview"],
            json!({"state": "absent", "progress": 0.0})
        );
        // Keyframes would cost all of it.
        assert!(source["keyframes"].is_null() && source["snap_points"].is_null());
        assert_eq!(
            source["splice"],
            json!({"possible": true, "reason": "exact"})
        );
        // Fragments without an edit list show their first picture later than the film that they were made from.
        let own = dir.join("v.mp4");
        let film = if own.exists() {
            own
        } else {
            marked_with_sound()
        };
        one_time_line(&service, &link, &source, &film);
    }
}

#[test]
fn a_small_rendition_is_enough_for_previews() {
    let dir = folder("seen-renditions", |dir| {
        let large = marked_with_sound();
        for (name, size) in [("large", "1280x720"), ("small", "320x180")] {
            let [list, part] = ["all.m3u8", "%02d.ts"].map(|end| dir.join(format!("{name}-{end}")));
            // Each rendition begins at a time of its own.
            let offset = if name == "small" { "77" } else { "5" };
            media::ffmpeg(&[
                "-i",
                large.to_str().unwrap(),
                "-vf",
                &format!("scale={}", size.replace('x', ":")),
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-g",
                "13",
                "-keyint_min",
                "13",
                "-sc_threshold",
                "0",
                "-pix_fmt",
                "yuv420p",
                "-c:a",
                "aac",
                "-output_ts_offset",
                offset,
                "-f",
                "hls",
                "-hls_time",
                "2",
                "-hls_playlist_type",
                "vod",
                "-hls_segment_filename",
                part.to_str().unwrap(),
                list.to_str().unwrap(),
            ]);
        }
        let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=3000000,RESOLUTION=1280x720\nlarge-all.m3u8\n\
                      #EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=320x180\nsmall-all.m3u8\n";
        std::fs::write(dir.join("master.m3u8"), master).unwrap();
    });
    let service = Service::start();
    let (origin, link) = serve(&dir, "master.m3u8");
    let source = look(&service, &link);
    assert_eq!(source["video"]["height"], 720);
    let before = asked(&origin).len();
    let frames = frames::decode(&marked_with_sound(), Some((160, 90)));
    strip_matches(&service, &source, &frames, 0.002);
    let names = asked(&origin).split_off(before);
    assert!(names.contains(&"small-03.ts".to_owned()), "{names:?}");
    assert!(
        !names.iter().any(|name| name.starts_with("large")),
        "{names:?}"
    );
    // All previews are made of what came once.
    let requests = origin.requests().len();
    let dir = tempfile::tempdir().unwrap();
    copy_of(&service, &source, dir.path());
    wait(&service, source["urls"]["waveform"].as_str().unwrap());
    assert_eq!(origin.requests().len(), requests);
    let again = look_again(&service, &link);
    one_time_line(&service, &link, &again, &marked_with_sound());
}

/// The same link looked at once more, by a source of its own.
fn look_again(service: &Service, link: &str) -> Value {
    look(service, &format!("{link}?again"))
}

#[test]
fn previews_end_where_a_break_is() {
    let other = film(
        "seen-other.mp4",
        &media::pictures("320x180", "25", 4.0),
        Some(&media::sound(44_100, 4.0)),
        media::H264,
    );
    let dir = folder("seen-break", |dir| {
        for (name, from) in [("a", marked_with_sound()), ("b", other.clone())] {
            let to = dir.join(format!("{name}.ts"));
            let [from, to] = [&from, &to].map(|path| path.to_str().unwrap());
            media::ffmpeg(&["-i", from, "-t", "4", "-c", "copy", to]);
        }
        let list = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:4,\nb.ts\n#EXT-X-ENDLIST\n";
        std::fs::write(dir.join("all.m3u8"), list).unwrap();
    });
    let service = Service::start();
    let (_origin, link) = serve(&dir, "all.m3u8");
    let source = look(&service, &link);
    assert_eq!(source["duration"], 8.0);
    let last = ends(&service, &source);
    assert!((3.8..4.1).contains(&last), "{last}");
    // What lies behind is cut all the same.
    let clip = service.make(&recipe(&link, 5.0, 6.0));
    assert_eq!(clip["result"]["frames"], 25);
}

/// Where previews end; they are right until there.
#[track_caller]
fn ends(service: &Service, source: &Value) -> f64 {
    let vtt = wait(service, source["urls"]["filmstrip_vtt"].as_str().unwrap());
    let (_, strip, _) = *cues(&vtt.text()).last().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let copy = copy_of(service, source, dir.path());
    let film = frames::decode(&marked_with_sound(), Some((80, 46)));
    let last = copy_matches(&copy, &film) + 0.04;
    // Packets lie in the order of decoding, and a few more than wanted come along.
    assert!(
        last >= strip - 0.05 && last < strip + 1.1,
        "{last} against {strip}"
    );
    strip
}

#[test]
fn previews_cost_what_they_may() {
    let (origin, link) = serve(&transport(), "all.m3u8");
    let short = Setup::default().with("SOURCES__PREVIEW_SECONDS", 3).start();
    let last = ends(&short, &look(&short, &link));
    assert!((2.9..3.1).contains(&last), "{last}");
    let names = asked(&origin);
    assert!(!names.iter().any(|name| name == "s03.ts"), "{names:?}");
    let poor = Setup::default()
        .with("SOURCES__FETCH_BYTES", "60 kB")
        .start();
    let source = look(&poor, &link);
    let answer = poor.get(source["urls"]["filmstrip"].as_str().unwrap());
    answer.expect_problem(422, "source_too_large");
    assert!(left(&poor).is_empty());
    // Where connections are few, what they reach is shown.
    let few = Setup::default().with("EGRESS__MAX_CONNECTIONS", 62).start();
    let last = ends(&few, &look(&few, &link));
    assert!((4.1..4.2).contains(&last), "{last}");
}

#[test]
fn previews_of_what_is_too_large_end_where_the_bytes_do() {
    let dir = folder("seen-long", |dir| {
        let film = marked_with_sound();
        let [list, part] = ["all.m3u8", "s%02d.ts"].map(|name| dir.join(name));
        media::ffmpeg(&[
            "-stream_loop",
            "29",
            "-i",
            film.to_str().unwrap(),
            "-c",
            "copy",
            "-f",
            "hls",
            "-hls_time",
            "6",
            "-hls_playlist_type",
            "vod",
            "-hls_segment_filename",
            part.to_str().unwrap(),
            list.to_str().unwrap(),
        ]);
    });
    let all: u64 = files(&dir)
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    let (origin, link) = serve(&dir, "all.m3u8");
    let service = Setup::default()
        .with("SOURCES__FETCH_BYTES", all / 2)
        .start();
    let source = look(&service, &link);
    assert!((source["duration"].as_f64().unwrap() - 240.0).abs() < 1.0);
    let before = origin.sent();
    let vtt = wait(&service, source["urls"]["filmstrip_vtt"].as_str().unwrap());
    let (_, last, _) = *cues(&vtt.text()).last().unwrap();
    assert!((50.0..120.0).contains(&last), "{last}");
    assert!(origin.sent() - before < all / 2);
    let dir = tempfile::tempdir().unwrap();
    let copy = copy_of(&service, &source, dir.path());
    let end = frames::times(&copy).into_iter().fold(0.0, f64::max);
    assert!((end - last).abs() < 1.2, "{end} against {last}");
}

/// What is kept of previews.
fn left(service: &Service) -> Vec<PathBuf> {
    let folders = service.data.join("previews").read_dir().unwrap().flatten();
    let folders = folders.filter(|folder| folder.file_name() != ".making");
    folders.flat_map(|folder| files(&folder.path())).collect()
}

fn with_list(name: &str, from: &Path, change: impl Fn(&str) -> String) -> PathBuf {
    folder(name, |dir| {
        for file in files(from) {
            std::fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
        }
        let text = std::fs::read_to_string(dir.join("all.m3u8")).unwrap();
        std::fs::write(dir.join("all.m3u8"), change(&text)).unwrap();
    })
}

#[test]
fn a_broadcast_has_no_previews_because_its_beginning_moves() {
    let dir = with_list("seen-live", &transport(), |text| {
        text.replace("#EXT-X-ENDLIST", "")
            .replace("#EXT-X-PLAYLIST-TYPE:VOD", "")
    });
    let (_origin, link) = serve(&dir, "all.m3u8");
    let refuses = Service::start();
    let answer = refuses.post("/api/sources", &json!({"url": link}));
    answer.expect_problem(422, "source_live");
    let allows = Setup::default().with("LIMITS__LIVE_SECONDS", 5).start();
    let source = look(&allows, &link);
    assert!(
        (source["duration"].as_f64().unwrap() - 6.0).abs() < 0.3,
        "{source}"
    );
    let answer = allows.get(source["urls"]["filmstrip"].as_str().unwrap());
    answer.expect_problem(422, "source_live");
}

#[test]
fn pieces_that_are_gone_or_lead_inside_give_a_reason() {
    let canary = Origin::start_at("127.0.0.2");
    let inside = canary.link("/s03.ts");
    let dir = with_list("seen-gone", &transport(), |text| {
        text.replace("s03.ts", "gone.ts")
    });
    let (origin, link) = serve(&dir, "all.m3u8");
    let service = Setup::default().with("EGRESS__ALLOW", "127.0.0.1").start();
    let source = look(&service, &link);
    let strip = service.get(&format!("{}/filmstrip", own(&source)));
    strip.expect_problem(502, "source_unreachable");
    let text = std::fs::read_to_string(dir.join("all.m3u8")).unwrap();
    let bytes = text.replace("gone.ts", &inside).into_bytes();
    let claimed = bytes.len();
    let link = origin.add(
        "/inside.m3u8",
        crate::support::origin::Behaviour::Bytes { bytes, claimed },
    );
    let source = look(&service, &link);
    let strip = service.get(&format!("{}/filmstrip", own(&source)));
    strip.expect_problem(403, "url_blocked");
    assert!(canary.requests().is_empty());
}
