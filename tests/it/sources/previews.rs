//! Filmstrip, waveform and the copy for browsers: what they show, what they cost, how long they stay.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{look, marked, nearest, own, strip_matches, telling, until, wait};
use crate::support::frames;
use crate::support::media;
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{PATIENCE, Service, Setup};

#[test]
fn the_filmstrip_shows_what_the_source_shows_at_those_times() {
    let service = Service::start();
    let origin = Origin::start();
    let file = marked();
    let frames = frames::decode(&file, Some((160, 90)));
    let link = origin.add("/a.mp4", Behaviour::File(file.clone()));
    // 8 s with a keyframe every 13 frames.
    assert_eq!(
        strip_matches(&service, &look(&service, &link), &frames, 0.002),
        16
    );
    // The same by way of a copy, since its tables are of no use.
    let other = media::remuxed("marked.mkv", &file, "");
    let link = origin.add("/b.mkv", Behaviour::File(other));
    assert_eq!(
        strip_matches(&service, &look(&service, &link), &frames, 0.002),
        16
    );
    // A transport stream begins at another time.
    let other = media::remuxed("marked.ts", &file, "");
    let link = origin.add("/c.ts", Behaviour::File(other));
    assert_eq!(
        strip_matches(&service, &look(&service, &link), &frames, 0.002),
        16
    );
    let turned = media::turned("marked-turned.mp4", &file, 90);
    let frames = frames::decode(&turned, Some((160, 284)));
    let link = origin.add("/d.mp4", Behaviour::File(turned));
    assert_eq!(
        strip_matches(&service, &look(&service, &link), &frames, 0.002),
        16
    );
}

#[test]
fn the_filmstrip_of_a_plain_mp4_costs_its_keyframes_alone() {
    let service = Service::start();
    let film = media::long();
    let (origin, link) = Origin::with(&film);
    let source = look(&service, &link);
    let before = origin.sent();
    let answer = wait(&service, source["urls"]["filmstrip"].as_str().unwrap());
    assert!(answer.bytes.starts_with(&[0xff, 0xd8]));
    let size = std::fs::metadata(&film).unwrap().len();
    let sent = origin.sent() - before;
    assert!(sent < size / 4, "{sent} of {size}");
    // And nothing once it is there.
    let (requests, etag) = (origin.requests().len(), answer.header("etag"));
    let again = service.request(
        "GET",
        source["urls"]["filmstrip"].as_str().unwrap(),
        &[("if-none-match", &etag)],
        b"",
    );
    assert_eq!(again.status, 304);
    assert_eq!(origin.requests().len(), requests);
    assert!(
        answer
            .header("cache-control")
            .starts_with("private, max-age=")
    );
}

#[test]
fn two_who_ask_at_once_have_one_made() {
    let service = Service::start();
    let (origin, link) = Origin::with(&media::everyday());
    let source = look(&service, &link);
    let before = origin.requests().len();
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| wait(&service, source["urls"]["filmstrip"].as_str().unwrap()));
        }
    });
    let made = |log: &str| log.matches("preview made").count();
    until("it is in the log", || made(&service.log()) > 0);
    assert_eq!(made(&service.log()), 1);
    // The index, then six keyframes.
    assert!(
        origin.requests().len() - before <= 8,
        "{:?}",
        origin.requests()
    );
}

#[test]
fn the_waveform_has_the_peaks_of_the_sound() {
    let service = Service::start();
    let origin = Origin::start();
    // A second at half, a second of silence, a second at a quarter, one at full.
    let sound = "aevalsrc='sin(2*PI*500*t)*(0.5*lt(t,1)+0.25*between(t,2,2.999)+0.999*gte(t,3))':s=48000:c=mono:d=4";
    let pictures = media::gentle("160x90", "25", 4.0);
    let film = |name: &str, arguments: &str| media::film(name, &pictures, Some(sound), arguments);
    for (path, file) in [
        (
            "/a.mp4",
            film("tone.mp4", &format!("{} -movflags +faststart", media::H264)),
        ),
        (
            "/b.mkv",
            film(
                "tone.mkv",
                "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a pcm_s16le",
            ),
        ),
        (
            "/c.ts",
            film(
                "tone.ts",
                "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -b:a 192k",
            ),
        ),
    ] {
        let source = look(&service, &origin.add(path, Behaviour::File(file)));
        let answer = wait(&service, source["urls"]["waveform"].as_str().unwrap());
        assert_eq!(answer.header("content-type"), "application/json");
        let wave = answer.json();
        for (key, value) in [
            ("version", 2),
            ("channels", 1),
            ("bits", 8),
            ("sample_rate", 48_000),
        ] {
            assert_eq!(wave[key], value);
        }
        let data: Vec<f64> = wave["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_f64().unwrap())
            .collect();
        let length = wave["length"].as_u64().unwrap() as usize;
        assert_eq!(data.len(), 2 * length);
        assert!(length <= 2000);
        let pixel = wave["samples_per_pixel"].as_f64().unwrap() / 48_000.0;
        assert!(
            (length as f64 * pixel - 4.0).abs() < 0.15,
            "{path}: {length} of {pixel}"
        );
        for (from, to, level) in [
            (0.1, 0.9, 64.0),
            (1.1, 1.9, 0.0),
            (2.1, 2.9, 32.0),
            (3.1, 3.9, 127.0),
        ] {
            for place in (from / pixel) as usize..(to / pixel) as usize {
                let (low, high) = (data[2 * place], data[2 * place + 1]);
                assert!(
                    (high - level).abs() < 6.0 && (low + level).abs() < 6.0,
                    "{path}: {low} to {high} at {}",
                    place as f64 * pixel
                );
            }
        }
    }
    let silent = look(&service, &origin.add("/d.mp4", Behaviour::File(marked())));
    service
        .get(&format!("{}/waveform", own(&silent)))
        .expect_problem(404, "source_no_sound");
}

#[test]
fn the_waveform_of_a_plain_mp4_costs_its_sound_alone() {
    let service = Service::start();
    // Pictures that are so large that what lies between two pieces of sound is worth leaving out.
    let film = media::film(
        "heavy.mp4",
        &media::pictures("1280x720", "25", 6.0),
        Some(&media::sound(48_000, 6.0)),
        "-c:v libx264 -preset ultrafast -b:v 30M -g 25 -pix_fmt yuv420p -c:a aac -b:a 96k -movflags +faststart",
    );
    let (origin, link) = Origin::with(&film);
    let source = look(&service, &link);
    let before = origin.sent();
    wait(&service, source["urls"]["waveform"].as_str().unwrap());
    let (sent, size) = (
        origin.sent() - before,
        std::fs::metadata(&film).unwrap().len(),
    );
    assert!(sent < size / 4, "{sent} of {size}");
}

#[test]
fn what_browsers_cannot_play_is_copied_for_them_on_the_same_time_line() {
    let service = Service::start();
    let origin = Origin::start();
    let cases = [
        (
            "/a.mp4",
            telling(
                "copy-hevc.mp4",
                "-c:v libx265 -x265-params log-level=none:keyint=25 -preset ultrafast -pix_fmt yuv420p",
            ),
        ),
        (
            "/b.avi",
            telling("copy-mpeg4.avi", "-c:v mpeg4 -q:v 3 -pix_fmt yuv420p"),
        ),
        ("/c.mkv", media::remuxed("copy.mkv", &marked(), "")),
        ("/d.ts", media::remuxed("copy.ts", &marked(), "")),
    ];
    for (path, file) in cases {
        let source = look(&service, &origin.add(path, Behaviour::File(file.clone())));
        assert_eq!(source["playable"], false, "{path}");
        assert_eq!(
            source["preview"],
            json!({"state": "absent", "progress": 0.0}),
            "{path}"
        );
        let stream = source["urls"]["stream"].as_str().unwrap();
        service.get(stream).expect_problem(503, "preview_pending");
        let told = service.get(&own(&source)).json()["preview"]["state"].clone();
        assert!(
            ["pending", "ready"].contains(&told.as_str().unwrap()),
            "{told}"
        );
        let copy = wait(&service, stream);
        assert_eq!(copy.header("content-type"), "video/mp4");
        assert_eq!(
            service.get(&own(&source)).json()["preview"]["state"],
            "ready"
        );
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("copy.mp4");
        std::fs::write(&made, &copy.bytes).unwrap();
        let probed = frames::ffprobe(
            &made,
            &[
                "-select_streams",
                "v:0",
                "-show_entries",
                "stream=codec_name,pix_fmt",
                "-of",
                "csv=p=0",
            ],
        );
        assert_eq!(probed.trim(), "h264,yuv420p", "{path}");
        // Each frame of the copy looks as the source does at its time, and as at no other.
        let of_source = frames::decode(&file, Some((80, 46)));
        let zero = if path.ends_with("ts") {
            of_source[0].time
        } else {
            0.0
        };
        let of_copy = frames::decode(&made, Some((80, 46)));
        assert!(
            of_copy.len() + 2 >= of_source.len(),
            "{path}: {} frames",
            of_copy.len()
        );
        for frame in of_copy.iter().step_by(9) {
            let (same, _) = nearest(&of_source, &frame.luma);
            let time = same.time - zero;
            assert!(
                (time - frame.time).abs() < 0.021,
                "{path}: {} looks like {time}",
                frame.time
            );
        }
        // Ranges of the copy are ranges.
        let part = service.request("GET", stream, &[("range", "bytes=4-7")], b"");
        assert_eq!((part.status, part.text().as_str()), (206, "ftyp"));
    }
}

fn kept(service: &Service) -> Vec<String> {
    let mut found = Vec::new();
    for folder in service.data.join("previews").read_dir().unwrap().flatten() {
        if folder.file_name() != ".making" {
            for file in folder.path().read_dir().unwrap().flatten() {
                found.push(file.file_name().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn previews_stay_within_their_budget() {
    let origin = Origin::start();
    let link = |number: usize| {
        origin.add(
            &format!("/{number}.mp4"),
            Behaviour::File(media::everyday()),
        )
    };
    let first = Service::start();
    wait(
        &first,
        look(&first, &link(0))["urls"]["filmstrip"]
            .as_str()
            .unwrap(),
    );
    let folder = first.data.join("previews");
    let one = folder
        .read_dir()
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name() != ".making")
        .unwrap();
    let size: u64 = one
        .path()
        .read_dir()
        .unwrap()
        .flatten()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    let service = Setup::default()
        .with("STORAGE__PREVIEW_BYTES", size * 5 / 2)
        .start();
    let sources: Vec<Value> = (1..=3)
        .map(|number| look(&service, &link(number)))
        .collect();
    let strip = |number: usize| sources[number]["urls"]["filmstrip"].as_str().unwrap();
    let there = |number: usize| {
        service
            .data
            .join("previews")
            .join(sources[number]["id"].as_str().unwrap())
            .join("filmstrip.jpg")
            .exists()
    };
    wait(&service, strip(0));
    wait(&service, strip(1));
    // The older one is used again, so the other one goes.
    wait(&service, strip(0));
    wait(&service, strip(2));
    assert_eq!([there(0), there(1), there(2)], [true, false, true]);
    // What went is made again when it is wanted.
    wait(&service, strip(1));
    assert!(there(1));
}

#[test]
fn previews_go_before_anybody_is_refused_and_with_their_source() {
    let (_origin, link) = Origin::with(&media::everyday());
    let service = Service::start();
    let source = look(&service, &link);
    wait(&service, source["urls"]["filmstrip"].as_str().unwrap());
    assert_eq!(kept(&service), ["filmstrip.jpg", "filmstrip.vtt"]);
    let service = service.restarted(Setup::default().with("MONITOR__FLOOR", "1000 TB"));
    assert_eq!(kept(&service).len(), 2);
    let clip = json!({"url": link, "start_time": 1, "end_time": 2});
    service
        .post("/api/clips", &clip)
        .expect_problem(507, "disk_low");
    assert!(kept(&service).is_empty());
    // Nothing is made where there is no room for it.
    service
        .get(source["urls"]["filmstrip"].as_str().unwrap())
        .expect_problem(507, "disk_low");
    let service = service.restarted(Setup::default());
    wait(&service, source["urls"]["filmstrip"].as_str().unwrap());
}

#[test]
fn a_source_whose_time_is_over_is_gone_with_all_that_was_made_of_it() {
    let (_origin, link) = Origin::with(&media::everyday());
    let mut service = Service::start();
    let source = look(&service, &link);
    wait(&service, source["urls"]["filmstrip"].as_str().unwrap());
    let (data, id) = (service.data.clone(), source["id"].as_str().unwrap());
    let folder = data.join("previews").join(id);
    assert!(folder.exists());
    service.signal("TERM");
    assert!(service.ended().success());
    let index = rusqlite::Connection::open(data.join("index.db")).unwrap();
    let set = "UPDATE sources SET expires_at = 1 WHERE id = ?1";
    assert_eq!(index.execute(set, [id]).unwrap(), 1);
    drop(index);
    let service = service.killed_and_started_again(Setup::default());
    assert!(!folder.exists());
    service.get(&own(&source)).expect_problem(404, "not_found");
    for part in ["stream", "filmstrip", "waveform"] {
        let answer = service.get(&format!("{}/{part}", own(&source)));
        answer.expect_problem(404, "not_found");
    }
    assert_ne!(look(&service, &link)["id"], id);
}

#[test]
fn what_previews_may_cost_is_bounded() {
    let service = Setup::default()
        .with("SOURCES__FETCH_BYTES", "100 kB")
        .with("SOURCES__PREVIEW_SECONDS", 2)
        .start();
    let origin = Origin::start();
    // Larger than may be fetched, said beforehand, found out on the way, or without end.
    let large = media::remuxed("everyday.mkv", &media::everyday(), "");
    assert!(std::fs::metadata(&large).unwrap().len() > 100_000);
    let link = origin.add("/a.mkv", Behaviour::File(large.clone()));
    let endless = origin.add("/b.mkv", Behaviour::File(large.clone()));
    let (told, endless) = (look(&service, &link), look(&service, &endless));
    let head = std::fs::read(&large).unwrap();
    origin.add(
        "/b.mkv",
        Behaviour::Endless {
            head,
            again: vec![0; 4096],
        },
    );
    for source in [&told, &endless] {
        let path = source["urls"]["filmstrip"].as_str().unwrap();
        service.get(path).expect_problem(422, "source_too_large");
        let path = source["urls"]["stream"].as_str().unwrap();
        let began = Instant::now();
        let mut answer = service.get(path);
        while answer.status == 503 && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
            answer = service.get(path);
        }
        answer.expect_problem(422, "source_too_large");
        let preview = &service.get(&own(source)).json()["preview"];
        assert_eq!(preview["state"], "failed");
        assert_eq!(preview["error"], "source_too_large");
    }
    assert!(kept(&service).is_empty());
    until("upstreams are closed", || origin.open() == 0);
    // A copy is no longer than it may be.
    let small = media::film(
        "small-enough.mkv",
        "testsrc2=size=64x64:rate=25:duration=6",
        None,
        "-c:v mpeg4 -q:v 20",
    );
    assert!(std::fs::metadata(&small).unwrap().len() < 100_000);
    let source = look(&service, &origin.add("/c.mkv", Behaviour::File(small)));
    let copy = wait(&service, source["urls"]["stream"].as_str().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("copy.mp4");
    std::fs::write(&made, &copy.bytes).unwrap();
    let last = frames::times(&made).into_iter().fold(0.0, f64::max);
    assert!((1.8..2.1).contains(&last), "{last}");
}

#[test]
fn a_file_on_the_disk_serves_as_a_link_does() {
    let origin = Origin::start();
    let plain = origin.add("/a.mp4", Behaviour::File(media::everyday()));
    let other = media::remuxed("everyday.mkv", &media::everyday(), "");
    let second = origin.add("/b.mkv", Behaviour::File(other.clone()));
    let mut service = Service::start();
    let sources = [look(&service, &plain), look(&service, &second)];
    service.signal("TERM");
    assert!(service.ended().success());
    // From now on they are files: nobody may ask for those by their path.
    let index = rusqlite::Connection::open(service.data.join("index.db")).unwrap();
    for (source, path) in sources.iter().zip([media::everyday(), other]) {
        let set = "UPDATE sources SET source = json_object('file', ?2) WHERE id = ?1";
        let (id, path) = (source["id"].as_str().unwrap(), path.to_str().unwrap());
        assert_eq!(index.execute(set, [id, path]).unwrap(), 1);
    }
    drop(index);
    let service = service.killed_and_started_again(Setup::default());
    let requests = origin.requests().len();
    let shown = service.get(&own(&sources[0])).json();
    assert!(shown.get("url").is_none(), "{shown}");
    let stream = sources[0]["urls"]["stream"].as_str().unwrap();
    let file = std::fs::read(media::everyday()).unwrap();
    let part = service.request("GET", stream, &[("range", "bytes=100-299")], b"");
    assert!(part.status == 206 && part.bytes == file[100..300]);
    assert_eq!(part.header("content-type"), "video/mp4");
    assert_eq!(
        part.header("content-security-policy"),
        "sandbox; default-src 'none'"
    );
    let copy = wait(&service, sources[1]["urls"]["stream"].as_str().unwrap());
    assert_eq!(&copy.bytes[4..8], b"ftyp");
    for source in &sources {
        for part in ["filmstrip", "waveform"] {
            wait(&service, source["urls"][part].as_str().unwrap());
        }
    }
    assert_eq!(origin.requests().len(), requests);
}
