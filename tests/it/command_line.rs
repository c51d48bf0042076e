//! The command line as scripts and people use it: what is printed, which exit code comes back and what is left behind.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::frames;
use crate::support::media::{self, H264, film, gentle, made, pictures, short};
use crate::support::origin::{Behaviour, Origin};
use crate::support::service::{BINARY, PATIENCE, descendants};

/// How one run ended.
#[derive(Debug)]
struct Ended {
    exit: i32,
    stdout: String,
    stderr: String,
}

/// A command about to run in a folder of its own.
struct Line {
    command: Command,
}

impl Line {
    fn new(dir: &Path, arguments: &[&str]) -> Line {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .current_dir(dir)
            // Tests serve their media on loopback.
            .env("MEME_MAKER__EGRESS__ALLOW", "127.0.0.0/8")
            .env("MEME_MAKER__MONITOR__FLOOR", "1 MB")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Line { command }
    }

    /// With a setting, like `("ENGINE__FFMPEG", "/opt/ffmpeg")`.
    fn with(mut self, key: &str, value: &str) -> Line {
        self.command.env(format!("MEME_MAKER__{key}"), value);
        self
    }

    /// Without what the tests allow themselves.
    fn without_permission(mut self) -> Line {
        self.command.env_remove("MEME_MAKER__EGRESS__ALLOW");
        self
    }

    fn start(mut self) -> Child {
        self.command.spawn().unwrap()
    }

    #[track_caller]
    fn run(self) -> Ended {
        end(self.start())
    }
}

/// Waits for the end of a command, but not for ever.
#[track_caller]
fn end(mut child: Child) -> Ended {
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            from.read_to_string(&mut text).unwrap();
            text
        })
    };
    let stdout = read(Box::new(child.stdout.take().unwrap()));
    let stderr = read(Box::new(child.stderr.take().unwrap()));
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it does not end; it said: {}", stdout.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Ended {
        exit: status.code().unwrap(),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

/// Runs a command in an empty folder.
#[track_caller]
fn run(arguments: &[&str]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    Line::new(dir.path(), arguments).run()
}

impl Ended {
    #[track_caller]
    fn well(self) -> Ended {
        assert_eq!(self.exit, 0, "{self:?}");
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless it went wrong in this way and said so in three parts: a sentence, the code and, on a line of its own, what to do.
    #[track_caller]
    fn badly(self, exit: i32, code: &str) -> Ended {
        assert_eq!(self.exit, exit, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        let [said, hint] = lines.as_slice() else {
            panic!("not two lines: {self:?}");
        };
        let sentence = said.strip_suffix(&format!(" ({code})"));
        let sentence = sentence.unwrap_or_else(|| panic!("the code is not {code}: {self:?}"));
        for text in [sentence, hint] {
            assert!(
                text.len() > 10 && text.ends_with(['.', '?']) && !text.ends_with("?."),
                "not a sentence: {text:?}"
            );
        }
        self
    }
}

/// The names in a folder, in order.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// Asks for a second of a source and wants this refusal and nothing left behind.
#[track_caller]
fn refused(source: &str, exit: i32, code: &str) {
    let dir = tempfile::tempdir().unwrap();
    Line::new(
        dir.path(),
        &[
            "clip", source, "--start", "1", "--end", "2", "-o", "clip.mp4",
        ],
    )
    .run()
    .badly(exit, code);
    assert_eq!(names(dir.path()), [""; 0], "{source}");
}

/// A file with these bytes in a folder that lives as long as what is returned.
fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

#[test]
fn clip_prints_one_object_with_the_keys_of_the_contract() {
    const KEYS: [&str; 17] = [
        "path",
        "method",
        "start",
        "end",
        "duration",
        "frames",
        "frames_copied",
        "frames_encoded",
        "size",
        "width",
        "height",
        "fps",
        "video_codec",
        "audio_codec",
        "bytes_fetched",
        "seconds",
        "reason",
    ];
    let dir = tempfile::tempdir().unwrap();
    let source = short();
    let source = source.to_str().unwrap();
    for mode in ["exact", "fast"] {
        let arguments = [
            "clip", source, "--start", "1", "--end", "2.2", "-o", "out.mp4", "--mode", mode,
            "--json",
        ];
        let ended = Line::new(dir.path(), &arguments).run().well();
        assert_eq!(ended.stderr, "");
        assert_eq!(ended.stdout.lines().count(), 1);
        let told = ended.json();
        let known = |key: &&str| KEYS.contains(key) || ["truncated", "fallback"].contains(key);
        assert!(keys(&told).iter().all(known), "{told}");
        assert!(
            KEYS.iter()
                .all(|key| *key == "reason" || told.get(*key).is_some()),
            "{told}"
        );
        let mut spent = keys(&told["seconds"]);
        spent.sort_unstable();
        assert_eq!(
            spent,
            ["check", "encode", "fetch", "plan", "splice", "total"]
        );
        assert!(
            told["seconds"]
                .as_object()
                .unwrap()
                .values()
                .all(Value::is_number)
        );
        let path = dir.path().join(told["path"].as_str().unwrap());
        assert_eq!(told["size"], std::fs::metadata(&path).unwrap().len());
        assert_eq!(told["frames"], frames::times(&path).len());
        let number = |key: &str| told[key].as_u64().unwrap();
        assert_eq!(
            number("frames_copied") + number("frames_encoded"),
            number("frames")
        );
        assert_eq!(
            (number("width"), number("height"), number("bytes_fetched")),
            (320, 180, 0)
        );
        assert_eq!(
            (&told["video_codec"], &told["audio_codec"]),
            (&"h264".into(), &"aac".into())
        );
        assert_eq!(told["start"], 1.0);
        assert!((told["fps"].as_f64().unwrap() - 25.0).abs() < 0.5, "{told}");
    }
    assert_eq!(names(dir.path()), ["out.mp4"]);
}

#[test]
fn a_clip_of_a_link_says_how_much_was_fetched() {
    let (origin, link) = Origin::with(&short());
    let dir = tempfile::tempdir().unwrap();
    let told = Line::new(
        dir.path(),
        &["clip", &link, "--start", "1", "--end", "1.5", "--json"],
    )
    .run()
    .well()
    .json();
    let fetched = told["bytes_fetched"].as_u64().unwrap();
    assert!(fetched > 50_000, "{told}");
    assert!(
        fetched <= origin.sent() + 20_000,
        "{told}, but {} were sent",
        origin.sent()
    );
    assert_eq!(names(dir.path()), ["short clip.mp4"]);
}

#[test]
fn a_clip_that_was_not_named_is_named_after_its_source_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let name = "-été: 100% %03d \"x\".mp4";
    std::fs::copy(short(), dir.path().join(name)).unwrap();
    let source = format!("./{name}");
    let arguments = ["clip", &source, "--start", "1", "--end", "1.4"];
    let said = Line::new(dir.path(), &arguments).run().well().stdout;
    let clip = "été- 100% %03d -x- clip.mp4";
    assert!(said.starts_with(&format!("{clip}: ")), "{said}");
    assert_eq!(names(dir.path()), [name, clip]);
    let before = std::fs::read(dir.path().join(clip)).unwrap();
    Line::new(dir.path(), &arguments)
        .run()
        .badly(3, "output_exists");
    assert_eq!(std::fs::read(dir.path().join(clip)).unwrap(), before);
    // Named, it is replaced; the source never is.
    let source_bytes = std::fs::read(dir.path().join(name)).unwrap();
    let mut named = arguments.to_vec();
    named.extend(["-o", clip, "--mute"]);
    Line::new(dir.path(), &named).run().well();
    assert_ne!(std::fs::read(dir.path().join(clip)).unwrap(), before);
    let mut own = arguments.to_vec();
    own.extend(["-o", name]);
    let own: Vec<&str> = own
        .iter()
        .map(|argument| {
            if *argument == name {
                source.as_str()
            } else {
                *argument
            }
        })
        .collect();
    Line::new(dir.path(), &own).run().badly(3, "output_exists");
    assert!(std::fs::read(dir.path().join(name)).unwrap() == source_bytes);
}

#[test]
fn a_folder_that_is_not_there_is_named_as_it_was_written() {
    let source = short();
    let said = run(&[
        "clip",
        source.to_str().unwrap(),
        "--start",
        "1",
        "--end",
        "2",
        "-o",
        "nodir/clip.mp4",
    ]);
    assert!(said.stderr.contains("nodir"), "{said:?}");
    said.badly(1, "io");
}

#[test]
fn pictures_are_made_lower_but_never_higher() {
    let source = short();
    for (height, size) in [
        ("90", (160, 90)),
        ("101", (178, 100)),
        ("720", (320, 180)),
        ("180", (320, 180)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let arguments = [
            "clip",
            source.to_str().unwrap(),
            "--start",
            "1",
            "--end",
            "1.4",
            "--height",
            height,
            "-o",
            "clip.mp4",
        ];
        Line::new(dir.path(), &arguments).run().well();
        assert_eq!(
            frames::shown_size(&dir.path().join("clip.mp4")),
            size,
            "{height}"
        );
    }
}

#[test]
fn times_can_be_written_in_every_way_people_write_them() {
    let source = short();
    for (start, end) in [("1", "1.5"), ("1.0", "0:01.5"), ("0:01", "00:00:01.500")] {
        let ended = run(&[
            "clip",
            source.to_str().unwrap(),
            "--start",
            start,
            "--end",
            end,
            "--json",
        ])
        .well();
        assert_eq!(ended.json()["frames"], 13, "{start} {end}");
    }
    let segments = [
        "clip",
        source.to_str().unwrap(),
        "--segment",
        "0:01-1.5",
        "--segment",
        "0-0:00.4",
        "--json",
    ];
    assert_eq!(run(&segments).well().json()["frames"], 23);
}

#[test]
fn what_cannot_be_understood_is_a_matter_of_usage() {
    let source = short();
    let source = source.to_str().unwrap();
    for arguments in [
        &[][..],
        &["clip"],
        &["clop"],
        &["clip", source],
        &["clip", source, "--start", "1"],
        &["clip", source, "--end", "1"],
        &["clip", source, "--start", "1", "--end", "1:75"],
        &["clip", source, "--start", "1e1", "--end", "20"],
        &[
            "clip",
            source,
            "--start",
            "1",
            "--end",
            "2",
            "--segment",
            "1-2",
        ],
        &["clip", source, "--segment", "1"],
        &["clip", source, "--segment", "1-x"],
        &[
            "clip", source, "--start", "1", "--end", "2", "--mode", "slow",
        ],
        &[
            "clip", source, "--start", "1", "--end", "2", "--format", "exe",
        ],
        &[
            "clip", source, "--start", "1", "--end", "2", "--height", "tall",
        ],
        &["clip", source, "--start", "1", "--end", "2", "--quietly"],
        &["probe"],
        &["openapi", "twice"],
    ] {
        let ended = run(arguments);
        assert_eq!(ended.exit, 2, "{arguments:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert!(ended.stderr.contains("--help"), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_wish_that_cannot_be_met_is_refused_with_its_reason() {
    let source = short();
    let source = source.to_str().unwrap();
    for (arguments, code) in [
        (&["--start", "2", "--end", "1"][..], "time_order"),
        (&["--start", "1", "--end", "1.05"], "clip_too_short"),
        (&["--start", "9", "--end", "10"], "time_range"),
        (&["--segment", "0-1", "--segment", "9-10"], "time_range"),
        (
            &["--start", "1", "--end", "2", "--height", "0"],
            "height_invalid",
        ),
        (
            &[
                "--start", "1", "--end", "2", "--height", "90", "--mode", "fast",
            ],
            "fast_height",
        ),
        (
            &["--segment", "0-1", "--segment", "1-2", "--mode", "fast"],
            "fast_segments",
        ),
    ] {
        let mut list = vec!["clip", source];
        list.extend(arguments);
        run(&list).badly(3, code);
    }
}

#[test]
fn what_is_no_video_is_refused() {
    let moov_missing = {
        let mut bytes = std::fs::read(media::remuxed("index-behind.mp4", &short(), "")).unwrap();
        let place = bytes.windows(4).rposition(|four| four == b"moov").unwrap();
        bytes.truncate(place - 4);
        bytes
    };
    for (name, bytes) in [
        (
            "page.mp4",
            &b"<!doctype html><html><title>Not found</title></html>"[..],
        ),
        ("empty.mp4", b""),
        ("noise.mp4", &[0x5a; 4096]),
        ("no-index.mp4", &moov_missing),
        ("only-a-head.mp4", &std::fs::read(short()).unwrap()[..24]),
    ] {
        let (_dir, path) = file(name, bytes);
        refused(&path, 3, "source_unsupported");
    }
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path().to_str().unwrap(), 3, "source_unsupported");
}

#[test]
fn scripts_that_lead_to_other_files_are_not_followed() {
    let secret = short();
    let secret = secret.to_str().unwrap();
    for (name, text) in [
        (
            "list.mp4",
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{secret}\n#EXT-X-ENDLIST\n"),
        ),
        ("list.m3u8", format!("#EXTM3U\n#EXTINF:4,\n{secret}\n#EXT-X-ENDLIST\n")),
        ("joined.mp4", format!("ffconcat version 1.0\nfile '{secret}'\n")),
        (
            "manifest.mp4",
            format!(
                "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\"><Period><AdaptationSet>\
                 <Representation id=\"1\" mimeType=\"video/mp4\" bandwidth=\"1\"><BaseURL>file://{secret}</BaseURL>\
                 </Representation></AdaptationSet></Period></MPD>"
            ),
        ),
        ("description.mp4", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n".to_owned()),
        ("picture.mp4", format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><image href=\"file://{secret}\"/></svg>")),
    ] {
        let (_dir, path) = file(name, text.as_bytes());
        refused(&path, 3, "source_unsupported");
    }
}

#[test]
fn a_source_without_pictures_is_no_video() {
    let song = film("song.m4a", "anullsrc=d=3", None, "-c:a aac");
    let covered = made("covered.mp3", |path| {
        let cover = pictures("320x180", "1", 1.0);
        media::ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            "sine=d=3",
            "-f",
            "lavfi",
            "-i",
            &cover,
            "-map",
            "0",
            "-map",
            "1",
            "-c:a",
            "libmp3lame",
            "-c:v",
            "mjpeg",
            "-frames:v",
            "1",
            "-disposition:v",
            "attached_pic",
            path,
        ]);
    });
    let covered_song = made("covered.m4a", |path| {
        let cover = pictures("320x180", "1", 1.0);
        media::ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            "sine=d=3",
            "-f",
            "lavfi",
            "-i",
            &cover,
            "-map",
            "0",
            "-map",
            "1",
            "-c:a",
            "aac",
            "-c:v",
            "mjpeg",
            "-frames:v",
            "1",
            "-disposition:v",
            "attached_pic",
            path,
        ]);
    });
    refused(song.to_str().unwrap(), 3, "source_no_video");
    refused(covered_song.to_str().unwrap(), 3, "source_no_video");
    // An MP3 is not among what is opened at all, unless it is one day.
    let ended = run(&[
        "clip",
        covered.to_str().unwrap(),
        "--start",
        "1",
        "--end",
        "2",
    ]);
    let code = if ended.stderr.contains("source_no_video") {
        "source_no_video"
    } else {
        "source_unsupported"
    };
    ended.badly(3, code);
}

#[test]
fn half_a_source_gives_what_is_in_it_and_no_more() {
    let whole = std::fs::read(short()).unwrap();
    let (dir, half) = file("half.mp4", &whole[..whole.len() / 2]);
    for span in [("3", "3.5"), ("0.5", "3.9")] {
        let ended = Line::new(
            dir.path(),
            &["clip", &half, "--start", span.0, "--end", span.1],
        )
        .run();
        ended.badly(3, "source_truncated");
    }
    let arguments = ["clip", &half, "--start", "0.5", "--end", "1.2", "--json"];
    let told = Line::new(dir.path(), &arguments).run().well().json();
    assert_eq!(told["frames"], 17);
}

#[test]
fn pictures_too_large_to_decode_are_refused_without_decoding_them() {
    let bomb = made("bomb.mkv", |path| {
        media::ffmpeg(&[
            "-f",
            "rawvideo",
            "-pix_fmt",
            "monob",
            "-s",
            "15360x15360",
            "-r",
            "1",
            "-i",
            "/dev/zero",
            "-frames:v",
            "1",
            "-c:v",
            "png",
            path,
        ]);
    });
    let dir = tempfile::tempdir().unwrap();
    let child = Line::new(
        dir.path(),
        &["clip", bomb.to_str().unwrap(), "--start", "0", "--end", "1"],
    )
    .start();
    let pid = child.id();
    let running = std::thread::spawn(move || end(child));
    let mut most = 0;
    while !running.is_finished() {
        for pid in descendants(pid) {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes =
                line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
            most = most.max(kilobytes.unwrap_or(0));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let ended = running.join().unwrap();
    assert_eq!(ended.exit, 3, "{ended:?}");
    assert!(
        ["source_too_large", "source_unsupported"]
            .iter()
            .any(|code| ended.stderr.contains(code)),
        "{ended:?}"
    );
    assert!(most < 150_000, "a child took {most} kB");
}

#[test]
fn a_source_that_cannot_be_had_is_told_apart_from_one_that_may_not_be_had() {
    let (origin, good) = Origin::with(&short());
    let status = |status: u16| origin.add(&format!("/{status}.mp4"), Behaviour::Status(status));
    for link in [
        origin.link("/nothing.mp4"),
        status(403),
        status(500),
        "nothing.mp4".to_owned(),
    ] {
        refused(&link, 4, "source_unreachable");
    }
    // A port that was free a moment ago.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    refused(&format!("http://{closed}/x.mp4"), 4, "source_unreachable");
    let sent = origin.sent();
    let wish = |link: &str| {
        let dir = tempfile::tempdir().unwrap();
        Line::new(dir.path(), &["clip", link, "--start", "1", "--end", "2"])
            .without_permission()
            .run()
    };
    for link in [
        good.as_str(),
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/x.mp4",
        "http://localhost/x.mp4",
    ] {
        wish(link).badly(4, "url_blocked");
    }
    assert_eq!(origin.sent(), sent, "something was fetched all the same");
    wish("ftp://example.org/x.mp4").badly(3, "url_scheme");
    wish("file:///etc/passwd").badly(3, "url_scheme");
    wish("http://user:secret@example.org/x.mp4").badly(3, "url_credentials");
    // A redirect does not lead past the policy.
    let outside = origin.add(
        "/away.mp4",
        Behaviour::Redirect("http://10.0.0.1/x.mp4".to_owned()),
    );
    refused(&outside, 4, "url_blocked");
}

#[test]
fn a_missing_program_has_an_exit_code_of_its_own() {
    let source = short();
    for key in ["ENGINE__FFMPEG", "ENGINE__FFPROBE"] {
        let dir = tempfile::tempdir().unwrap();
        let arguments = [
            "clip",
            source.to_str().unwrap(),
            // From a keyframe on nothing would have to be encoded.
            "--start",
            "0.5",
            "--end",
            "3",
        ];
        let ended = Line::new(dir.path(), &arguments)
            .with(key, "/nonexistent")
            .run();
        ended.badly(6, "program_missing");
        assert_eq!(names(dir.path()), [""; 0]);
    }
}

/// A folder on a file system of a quarter of a megabyte; `None` where this user may not mount one.
struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    fn mount() -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Small { dir })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.dir.path()).status();
    }
}

#[test]
fn a_full_disk_has_an_exit_code_of_its_own() {
    let source = short();
    let arguments = [
        "clip",
        source.to_str().unwrap(),
        "--start",
        "0",
        "--end",
        "4",
        "-o",
        "clip.mp4",
    ];
    // What ffmpeg says when the disk is full, said by something that can be run anywhere.
    let (dir, full) = file("ffmpeg", b"#!/bin/sh\necho '[error] av_interleaved_write_frame(): No space left on device' >&2\nexit 1\n");
    let script = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&full, script).unwrap();
    let ended = Line::new(dir.path(), &arguments)
        .with("ENGINE__FFMPEG", &full)
        .run();
    ended.badly(5, "disk_full");
    match Small::mount() {
        Some(small) => {
            Line::new(small.dir.path(), &arguments)
                .run()
                .badly(5, "disk_full");
            assert_eq!(names(small.dir.path()), [""; 0]);
        }
        None => println!("no file system can be mounted here: only ffmpeg's words were tried"),
    }
}

#[test]
fn stopping_leaves_nothing_behind() {
    let origin = Origin::start();
    let slow = origin.add("/slow.mp4", Behaviour::Slow(short(), 20_000));
    for signal in ["INT", "TERM"] {
        let dir = tempfile::tempdir().unwrap();
        let arguments = [
            "clip", &slow, "--start", "1", "--end", "3", "-o", "clip.mp4",
        ];
        let child = Line::new(dir.path(), &arguments).start();
        let pid = child.id();
        let began = Instant::now();
        let children = loop {
            let children = descendants(pid);
            if !children.is_empty() && !names(dir.path()).is_empty() && origin.sent() > 0 {
                break children;
            }
            assert!(began.elapsed() < PATIENCE, "it does not begin");
            std::thread::sleep(Duration::from_millis(5));
        };
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &pid.to_string()])
            .status();
        assert!(sent.unwrap().success());
        end(child).badly(1, "cancelled");
        assert_eq!(names(dir.path()), [""; 0], "{signal}");
        for child in children {
            let alive = Path::new(&format!("/proc/{child}")).exists();
            assert!(!alive, "{signal}: child {child} goes on");
        }
    }
}

#[test]
fn probe_says_what_a_source_is_made_of() {
    let told = run(&["probe", short().to_str().unwrap(), "--json"])
        .well()
        .json();
    assert_eq!(told["duration"], 4.0);
    for (field, value) in [
        ("codec", Value::from("h264")),
        ("pixel_format", "yuv420p".into()),
        ("width", 320.into()),
        ("height", 180.into()),
        ("rotation", 0.into()),
        ("fps", 25.0.into()),
    ] {
        assert_eq!(told["video"][field], value, "{told}");
    }
    for (field, value) in [
        ("codec", Value::from("aac")),
        ("channels", 2.into()),
        ("rate", 48_000.into()),
    ] {
        assert_eq!(told["audio"][field], value, "{told}");
    }
    let (_origin, link) = Origin::with(&short());
    let told = run(&["probe", &link, "--json"]).well().json();
    assert!(told["bytes_fetched"].as_u64().unwrap() > 0);
    let phone = media::turned("turned-90.mp4", &short(), 90);
    let told = run(&["probe", phone.to_str().unwrap(), "--json"])
        .well()
        .json();
    let video = &told["video"];
    assert_eq!(
        (&video["width"], &video["height"]),
        (&180.into(), &320.into()),
        "as it is shown"
    );
    let silent = film("silent.mp4", &gentle("320x180", "25", 2.0), None, H264);
    let told = run(&["probe", silent.to_str().unwrap(), "--json"])
        .well()
        .json();
    assert_eq!(told["audio"], Value::Null);
    let said = run(&["probe", silent.to_str().unwrap()]).well().stdout;
    assert!(
        said.contains("320x180") && said.contains("25.000 fps"),
        "{said}"
    );
    run(&["probe", "nothing.mp4", "--json"]).badly(4, "source_unreachable");
}

#[test]
fn doctor_finds_nothing_wrong_here_and_a_missing_program_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let told = Line::new(dir.path(), &["doctor", "--json"])
        .run()
        .well()
        .json();
    assert_eq!(told["ok"], true, "{told}");
    for check in told["checks"].as_array().unwrap() {
        assert_eq!(check["ok"], true, "{told}");
        assert!(
            !check["name"].as_str().unwrap().is_empty()
                && !check["detail"].as_str().unwrap().is_empty()
        );
    }
    for (key, name) in [("ENGINE__FFMPEG", "ffmpeg"), ("ENGINE__FFPROBE", "ffprobe")] {
        let ended = Line::new(dir.path(), &["doctor", "--json"])
            .with(key, "/nonexistent")
            .run();
        assert_eq!(ended.exit, 6, "{ended:?}");
        let told = ended.json();
        assert_eq!(told["ok"], false);
        let checks = told["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        assert_eq!(check["ok"], false);
        assert!(
            check["hint"]
                .as_str()
                .unwrap()
                .contains("apt-get install ffmpeg"),
            "{check}"
        );
        for check in checks {
            let detail = check["detail"].as_str().unwrap();
            assert!(!detail.contains('\n'), "more than a line: {check}");
        }
        let said = Line::new(dir.path(), &["doctor"])
            .with(key, "/nonexistent")
            .run();
        assert_eq!(said.exit, 6);
        assert!(
            said.stdout.contains("FAIL") && said.stdout.contains("apt-get install ffmpeg"),
            "{said:?}"
        );
    }
    // A data folder that cannot be: a file is in its place.
    let (_dir, taken) = file("data", b"");
    let ended = Line::new(dir.path(), &["doctor", "--json", "--data-dir", &taken]).run();
    assert_eq!(ended.exit, 1, "{ended:?}");
    assert_eq!(ended.json()["ok"], false);
}

#[test]
fn every_command_that_looks_around_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let document = run(&["openapi"]).well().json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    assert!(document["paths"]["/api/clips"]["post"].is_object());
    for arguments in [&["cleanup", "--dry-run"][..], &["cleanup"]] {
        let said = Line::new(dir.path(), arguments).run().well().stdout;
        assert!(said.contains("0 clips"), "{said}");
    }
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["clip", "--help"],
        &["serve", "--help"],
        &["probe", "--help"],
        &["doctor", "--help"],
        &["cleanup", "--help"],
    ] {
        let ended = run(arguments).well();
        assert!(ended.stdout.contains("Usage:"), "{arguments:?}");
        assert_eq!(ended.stderr, "");
        assert!(
            !ended.stdout.contains("launch"),
            "the launcher is nobody's business"
        );
    }
    let said = run(&["--version"]).well().stdout;
    assert_eq!(
        said.trim(),
        format!("meme-maker {}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_setting_that_does_not_exist_is_refused_and_the_nearest_one_named() {
    let dir = tempfile::tempdir().unwrap();
    let source = short();
    let clip = [
        "clip",
        source.to_str().unwrap(),
        "--start",
        "1",
        "--end",
        "2",
    ];
    let ended = Line::new(dir.path(), &clip)
        .with("ENGINE__TREADS", "2")
        .run();
    assert!(
        ended.stderr.contains("engine.treads") && ended.stderr.contains("`engine.threads`"),
        "{ended:?}"
    );
    ended.badly(3, "config_invalid");
    let config = dir.path().join("config.toml");
    for (text, named) in [
        ("[engine]\npresett = \"fast\"\n", "`engine.preset`"),
        ("[egres]\nallow = []\n", "egress"),
        ("[engine]\ncrf = 99\n", "engine.crf"),
        ("[engine\n", "config"),
    ] {
        std::fs::write(&config, text).unwrap();
        let mut list = clip.to_vec();
        list.extend(["--config", "config.toml"]);
        let ended = Line::new(dir.path(), &list).run();
        assert!(ended.stderr.contains(named), "{text}: {ended:?}");
        assert_eq!(ended.exit, 3, "{text}: {ended:?}");
    }
    assert_eq!(names(dir.path()), ["config.toml"]);
}

#[test]
fn the_settings_that_are_shipped_are_the_defaults() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/config.toml");
    let ended = run(&[
        "probe",
        short().to_str().unwrap(),
        "--config",
        shipped.to_str().unwrap(),
    ]);
    ended.well();
}
