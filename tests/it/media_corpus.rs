//! The corpus of bad media, each as a link and as an upload: what is no video fails with its code, what is one is cut, no other file is
//! opened and nobody else is asked.

use std::path::{Path, PathBuf};

use super::support::frames;
use super::support::media::{self, ffmpeg, made, short};
use super::support::origin::{Behaviour, Origin};
use super::support::service::{Service, Setup, recipe};
use super::support::tus;

const CORPUS: &str = include_str!("../data/bad-input/media.psv");

/// A RIFF chunk.
fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut all = kind.to_vec();
    all.extend((body.len() as u32).to_le_bytes());
    all.extend(body);
    if body.len() % 2 == 1 {
        all.push(0);
    }
    all
}

fn list(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    chunk(b"LIST", &[kind, body].concat())
}

/// A film whose subtitles are a playlist that names a file of the machine.
fn avi_with_a_playlist() -> Vec<u8> {
    let header = |kind: &[u8; 4]| {
        let mut body = kind.to_vec();
        body.extend([0; 16]);
        body.extend(1_u32.to_le_bytes());
        body.extend(25_u32.to_le_bytes());
        body.extend([0; 24]);
        chunk(b"strh", &body)
    };
    let playlist =
        b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1.0,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n";
    let mut text = b"GAB2\0".to_vec();
    text.extend(2_u16.to_le_bytes());
    text.extend(0_u32.to_le_bytes());
    text.extend(4_u16.to_le_bytes());
    text.extend((playlist.len() as u32).to_le_bytes());
    text.extend(playlist);
    let streams = [
        list(b"strl", &[header(b"txts"), chunk(b"strf", &[])].concat()),
        list(b"strl", &[header(b"txts"), chunk(b"strf", &[])].concat()),
    ];
    let mut first = [0_u8; 56];
    first[24] = 2;
    let body = [
        b"AVI ".to_vec(),
        list(
            b"hdrl",
            &[chunk(b"avih", &first), streams.concat()].concat(),
        ),
        list(
            b"movi",
            &[chunk(b"00tx", &text), chunk(b"01tx", &text)].concat(),
        ),
    ];
    chunk(b"RIFF", &body.concat())
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// The film with four bytes behind the kind of its first such box written over.
fn lying(kind: &[u8; 4], behind: usize, number: u32) -> Vec<u8> {
    let mut bytes = read(&media::tiny());
    let at = bytes.windows(4).position(|four| four == kind).unwrap() + 4 + behind;
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn referring() -> Vec<u8> {
    let mut bytes = read(&media::tiny());
    let own = b"url \0\0\0\x01";
    let places: Vec<usize> = (0..bytes.len() - own.len())
        .filter(|at| bytes[*at..].starts_with(own))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 7] = 0;
    }
    bytes
}

fn film(name: &str, arguments: &[&str]) -> PathBuf {
    made(name, |path| ffmpeg(&[arguments, &[path]].concat()))
}

/// The bytes of a case; none when only a server can be so bad.
fn bytes(what: &str, canary: &str) -> Option<Vec<u8>> {
    let text = |text: &str| Some(text.as_bytes().to_vec());
    match what {
        "<html>…" => text("<html><body>hello</body></html>"),
        "#EXTM3U + /data/other/ok.ts" => {
            text("#EXTM3U\n#EXTINF:4,\n/data/other/ok.ts\n#EXT-X-ENDLIST\n")
        }
        "#EXTM3U + concat:…¦file:///etc/passwd" => text(&format!(
            "#EXTM3U\n#EXTINF:4,\nconcat:{canary}|file:///etc/passwd\n#EXT-X-ENDLIST\n"
        )),
        "#EXTM3U live playlist with no ENDLIST" => {
            text(&format!("#EXTM3U\n#EXTINF:4,\n{canary}\n"))
        }
        "m3u8 with a byte order mark" => text(&format!("\u{feff}#EXTM3U\n#EXTINF:4,\n{canary}\n")),
        "ffconcat version 1.0\\nfile other-upload.mp4" => {
            text("ffconcat version 1.0\nfile other-upload.mp4\n")
        }
        "ffconcat + http://127.0.0.1" => text(&format!("ffconcat version 1.0\nfile '{canary}'\n")),
        "AVI with GAB2 subtitle m3u8 (2017 attack)" => Some(avi_with_a_playlist()),
        "mov with external dref" => Some(referring()),
        "<svg><script>" => text("<svg><script>alert(1)</script></svg>"),
        "15360x15360 png" => Some(read(&film(
            "huge-picture.mkv",
            &[
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
            ],
        ))),
        "1000 audio tracks" => {
            let tiny = short();
            let mut list = vec!["-i", tiny.to_str().unwrap(), "-t", "1", "-map", "0:v"];
            list.extend(["-map", "0:a"].repeat(999));
            list.extend(["-c", "copy"]);
            Some(read(&film("thousand-tracks.mkv", &list)))
        }
        "mvhd duration 2^32-1" => Some(lying(b"mvhd", 16, u32::MAX)),
        "r_frame_rate 1e6" => Some(read(&film(
            "million-frames.mkv",
            &[
                "-f",
                "lavfi",
                "-i",
                "testsrc2=s=64x64:rate=1000000:duration=0.0005",
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
            ],
        ))),
        "1 frame" => Some(read(&film(
            "one-frame.mp4",
            &[
                "-f",
                "lavfi",
                "-i",
                "testsrc2=s=320x180:rate=2",
                "-frames:v",
                "1",
                "-c:v",
                "libx264",
                "-pix_fmt",
                "yuv420p",
            ],
        ))),
        "sine" => Some(read(&film(
            "sine.m4a",
            &["-f", "lavfi", "-i", "sine=d=3", "-c:a", "aac"],
        ))),
        "display matrix" => Some(read(&media::turned("corpus-turned.mp4", &short(), 90))),
        "faststart mp4 cut at 50 %" => {
            let whole = read(&short());
            Some(whole[..whole.len() / 2].to_vec())
        }
        "no moov" => {
            let mut whole = read(&short());
            let at = whole.windows(4).position(|four| four == b"moov").unwrap();
            whole[at..at + 4].copy_from_slice(b"mooo");
            Some(whole)
        }
        "title=<script>…" => {
            let from = short();
            Some(read(&film(
                "scripted-title.mp4",
                &[
                    "-i",
                    from.to_str().unwrap(),
                    "-c",
                    "copy",
                    "-metadata",
                    "title=<script>alert(1)</script>",
                    "-metadata",
                    "comment=<img src=x>",
                ],
            )))
        }
        "mkv with attachment + font" => {
            let from = short();
            let font = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
            Some(read(&film(
                "attached.mkv",
                &[
                    "-i",
                    from.to_str().unwrap(),
                    "-c",
                    "copy",
                    "-attach",
                    font,
                    "-metadata:s:t",
                    "mimetype=application/x-truetype-font",
                ],
            )))
        }
        "nothing at all" => Some(Vec::new()),
        "a text named .mp4" => text("This is no film."),
        "DASH manifest with entities" => text(
            "<?xml version=\"1.0\"?><!DOCTYPE MPD [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><MPD>&x;</MPD>",
        ),
        "DASH manifest with a billion laughs" => {
            let mut all = "<?xml version=\"1.0\"?><!DOCTYPE MPD [<!ENTITY a0 \"ha\">".to_owned();
            for level in 1..30 {
                all.push_str(&format!("<!ENTITY a{level} \"&a{0};&a{0};\">", level - 1));
            }
            text(&(all + "]><MPD><BaseURL>&a29;</BaseURL></MPD>"))
        }
        "SDP with an address inside" => text(
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        ),
        "a ZIP" => text("PK\u{3}\u{4}\u{14}\0\0\0\0\0"),
        "a shell script" => text("#!/bin/sh\ncat /etc/passwd\n"),
        "a picture" => Some(read(&film(
            "picture.png",
            &["-f", "lavfi", "-i", "testsrc2=s=320x180", "-frames:v", "1"],
        ))),
        "source 1 byte/s" | "Content-Length 10, sends 10 MB" | "404" | "500" | "503" => None,
        other => panic!("no case for {other}"),
    }
}

fn behaviour(what: &str) -> Behaviour {
    match what {
        "source 1 byte/s" => Behaviour::Slow(short(), 10),
        "Content-Length 10, sends 10 MB" => Behaviour::Bytes {
            bytes: vec![b'x'; 10_000_000],
            claimed: 10,
        },
        "404" => Behaviour::Status(404),
        "500" => Behaviour::Status(500),
        "503" => Behaviour::Status(503),
        other => panic!("no behaviour for {other}"),
    }
}

/// How a clip of it ended, in one word; a finished one holds nothing of its source but film.
fn ended(service: &Service, body: &serde_json::Value) -> String {
    let id = service.submit(body)["id"].as_str().unwrap().to_owned();
    let clip = service.wait_for(&id, &["ready", "failed"]);
    if clip["state"] == "failed" {
        return clip["error"]["code"].as_str().unwrap().to_owned();
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    let file = service.get(clip["urls"]["file"].as_str().unwrap());
    assert_eq!(file.status, 200);
    std::fs::write(&path, &file.bytes).unwrap();
    assert_eq!(frames::complaints(&path), "");
    let streams = frames::ffprobe(
        &path,
        &["-show_entries", "stream=codec_type", "-of", "csv=p=0"],
    );
    let mut kinds = streams
        .lines()
        .map(|kind| kind.trim().trim_end_matches(','));
    assert!(
        kinds.all(|kind| ["video", "audio", ""].contains(&kind)),
        "{streams}"
    );
    for mark in [&b"<script>"[..], b"<img", b"[package]", b"root:"] {
        assert!(!file.bytes.windows(mark.len()).any(|bytes| bytes == mark));
    }
    let page = service.get(clip["urls"]["page"].as_str().unwrap()).text();
    assert!(!page.contains("<script>alert"), "{page}");
    "ready".to_owned()
}

#[test]
fn bad_media_is_told_apart_as_link_and_as_upload() {
    let canary = Origin::start_at("127.0.0.9");
    let forbidden = canary.add("/secret.ts", Behaviour::File(media::tiny()));
    let origin = Origin::start();
    let service = Setup::default()
        .with("EGRESS__ALLOW", "127.0.0.1/32")
        .with("SOURCES__YTDLP_PATH", "")
        .with("ENGINE__PROBE_SECONDS", 4)
        .with("ENGINE__FETCH_SECONDS", 4)
        .with("LIMITS__UPLOADS_PER_VISITOR", 1000)
        .start();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in CORPUS.lines().skip(1) {
        let [id, what, as_link, as_upload] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        count += 1;
        let bytes = bytes(what, &forbidden);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.mp4");
        let served = match &bytes {
            Some(bytes) => {
                std::fs::write(&path, bytes).unwrap();
                Behaviour::File(path.clone())
            }
            None => behaviour(what),
        };
        let link = origin.add(&format!("/{id}.mp4"), served);
        // Where a film is short, all of it is asked for.
        let (start, end) = match what {
            "1 frame" => (0.0, 0.4),
            "faststart mp4 cut at 50 %" => (3.0, 3.9),
            _ => (0.0, 0.9),
        };
        let mut seen = vec![("link", as_link, ended(&service, &recipe(&link, start, end)))];
        if let Some(bytes) = bytes {
            let upload = service.upload("bad.mp4", &bytes);
            let body = serde_json::json!({"upload": tus::id_of(&upload), "start_time": start, "end_time": end});
            seen.push(("upload", as_upload, ended(&service, &body)));
        }
        for (kind, expected, ended) in seen {
            if !expected.split('/').any(|code| code == ended) {
                wrong.push(format!(
                    "{id} ({what}) as {kind}: {ended} instead of {expected}"
                ));
            }
        }
    }
    assert!(count >= 34);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(canary.requests().is_empty(), "{:?}", canary.requests());
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    assert!(!service.log().contains(passwd.lines().next().unwrap()));
    assert_eq!(service.get("/api/health/live").status, 200);
}
