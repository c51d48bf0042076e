//! Sources in pieces: HLS and DASH of every make are cut as exactly as the same film in one file, only the pieces of the stretch travel,
//! and what cannot be used is refused in words.

use std::path::{Path, PathBuf};

use super::support::frames;
use super::support::media::{ffmpeg, film, gentle, sweep};
use super::support::origin::{Behaviour, Origin};
use super::support::pieces::{asked, files, film_of_12, folder, in_pieces, serve};
use super::support::proof::{self, Source, cut_and_compare};
use super::support::service::{Setup, recipe, run};

/// HLS of transport stream pieces of two seconds.
fn transport() -> PathBuf {
    in_pieces(
        "hls-ts",
        &film_of_12(),
        "-c copy -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_filename DIR/s%02d.ts DIR/all.m3u8",
    )
}

/// What they were made from.
fn whole() -> Source {
    Source::read(film_of_12())
}

fn refused(link: &str) -> String {
    refused_at(link, "1", "2")
}

fn refused_at(link: &str, start: &str, end: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let output = run(
        &["clip", link, "--start", start, "--end", end, "--json"],
        dir.path(),
    );
    assert!(!output.status.success(), "{link} was cut");
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_playlist_is_cut_as_exactly_as_its_pieces_in_one_file() {
    let source = whole();
    let (_origin, link) = serve(&transport(), "all.m3u8");
    for span in [
        (0.0, 1.5),
        (3.3, 3.9),
        (5.28, 9.72),
        (4.0, 6.0),
        (11.2, 14.0),
    ] {
        cut_and_compare(&source, &link, &[span]);
    }
    cut_and_compare(&source, &link, &[(6.5, 7.5), (1.1, 2.9)]);
}

#[test]
fn only_the_pieces_of_the_stretch_travel() {
    let (origin, link) = serve(&transport(), "all.m3u8");
    let clip = proof::clip(&link, &["--start", "8.4", "--end", "9.2"]);
    let names = asked(&origin);
    // The first piece tells when the film begins.
    assert_eq!(names, ["all.m3u8", "s04.ts", "s00.ts"]);
    let told = clip.told["bytes_fetched"].as_u64().unwrap();
    assert!(
        told >= origin.sent() && told < origin.sent() + 20_000,
        "{told}"
    );
}

#[test]
fn lengths_that_are_not_true_do_not_matter() {
    let source = whole();
    let dir = folder("hls-liar", |dir| {
        for file in files(&transport()) {
            std::fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
        }
        let text = std::fs::read_to_string(dir.join("all.m3u8")).unwrap();
        let told = |factor: &str| -> String {
            text.lines()
                .map(|line| {
                    if line.starts_with("#EXTINF") {
                        format!("#EXTINF:{factor},\n")
                    } else {
                        format!("{line}\n")
                    }
                })
                .collect()
        };
        std::fs::write(dir.join("short.m3u8"), told("1.7")).unwrap();
        std::fs::write(dir.join("long.m3u8"), told("2.4")).unwrap();
    });
    for name in ["short.m3u8", "long.m3u8"] {
        let (_origin, link) = serve(&dir, name);
        for span in [(5.28, 7.1), (8.5, 9.9)] {
            cut_and_compare(&source, &link, &[span]);
        }
    }
}

#[test]
fn fragments_with_byte_ranges_are_cut_exactly() {
    let dir = in_pieces(
        "hls-mp4",
        &film_of_12(),
        "-c copy -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_type fmp4 -hls_flags single_file DIR/all.m3u8",
    );
    let text = std::fs::read_to_string(dir.join("all.m3u8")).unwrap();
    assert!(text.contains("BYTERANGE"), "{text}");
    let source = whole();
    let (origin, link) = serve(&dir, "all.m3u8");
    let clip = cut_and_compare(&source, &link, &[(7.12, 7.9)]);
    let all = std::fs::metadata(source.path()).unwrap().len();
    assert!(origin.sent() < all * 2 / 3, "{} of {all}", origin.sent());
    let told = clip.told["bytes_fetched"].as_u64().unwrap();
    assert!(told >= origin.sent(), "{told}");
    cut_and_compare(&source, &link, &[(0.0, 2.5)]);
}

#[test]
fn sound_that_comes_apart_is_joined_in_sync() {
    let dir = in_pieces(
        "hls-apart",
        &film_of_12(),
        "-map 0:v -map 0:a -c copy -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_type fmp4 -hls_segment_filename DIR/s%v-%02d.m4s \
         -hls_fmp4_init_filename init-%v.mp4 -master_pl_name master.m3u8 -var_stream_map v:0,agroup:a~a:0,agroup:a DIR/list-%v.m3u8",
    );
    let source = whole();
    let (origin, link) = serve(&dir, "master.m3u8");
    cut_and_compare(&source, &link, &[(5.2, 7.6)]);
    let names = asked(&origin);
    assert!(
        names.iter().any(|name| name.starts_with("s1-")),
        "{names:?}"
    );
    assert!(
        !names.iter().any(|name| name.ends_with("05.m4s")),
        "{names:?}"
    );
    cut_and_compare(&source, &link, &[(0.0, 1.0), (9.3, 12.0)]);
    let muted = proof::clip(&link, &["--start", "5", "--end", "6", "--mute"]);
    assert_eq!(muted.told["audio_codec"], serde_json::Value::Null);
}

/// Lengths of the frames of ADTS in a file (ISO/IEC 13818-7, clause 6.2.2).
fn adts_frames(bytes: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at + 7 <= bytes.len() {
        let length = usize::from(bytes[at + 3] & 3) << 11
            | usize::from(bytes[at + 4]) << 3
            | usize::from(bytes[at + 5]) >> 5;
        assert!(bytes[at] == 0xff && length >= 7);
        at += length;
        count += 1;
    }
    count
}

/// The tag that says when a piece of bare sound is heard.
fn heard_at(seconds: f64) -> Vec<u8> {
    let mut body = b"com.apple.streaming.transportStreamTimestamp\0".to_vec();
    body.extend(((seconds * 90_000.0).round() as u64).to_be_bytes());
    let mut frame = b"PRIV\0\0\0".to_vec();
    frame.extend([body.len() as u8, 0, 0]);
    frame.extend(body);
    let mut tag = b"ID3\x04\0\0\0\0\0".to_vec();
    tag.push(frame.len() as u8);
    tag.extend(frame);
    tag
}

#[test]
fn bare_sound_is_heard_when_its_tags_say() {
    let dir = folder("hls-packed", |dir| {
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let film = film_of_12();
        let film = film.to_str().unwrap();
        ffmpeg(&[
            "-i",
            film,
            "-map",
            "0:v",
            "-c",
            "copy",
            "-f",
            "hls",
            "-hls_time",
            "2",
            "-hls_playlist_type",
            "vod",
            "-hls_segment_filename",
            &at("v%02d.ts"),
            &at("video.m3u8"),
        ]);
        ffmpeg(&[
            "-i",
            film,
            "-map",
            "0:a",
            "-c",
            "copy",
            "-f",
            "segment",
            "-segment_time",
            "2",
            "-segment_format",
            "adts",
            &at("bare%02d.aac"),
        ]);
        let zero = frames::read(&dir.join("v00.ts")).zero;
        let (mut tagged, mut plain, mut before) = (String::new(), String::new(), 0);
        for piece in files(dir)
            .into_iter()
            .filter(|path| path.extension().is_some_and(|kind| kind == "aac"))
        {
            let bare = std::fs::read(&piece).unwrap();
            // The first packet is what the encoder needs to begin; it is heard before the film starts.
            let time = zero + (before as f64 - 1.0) * 1024.0 / 48_000.0;
            let count = adts_frames(&bare);
            let length = count as f64 * 1024.0 / 48_000.0;
            let name = piece
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .replace("bare", "tagged");
            std::fs::write(dir.join(&name), [heard_at(time), bare].concat()).unwrap();
            tagged.push_str(&format!("#EXTINF:{length:.6},\n{name}\n"));
            plain.push_str(&format!(
                "#EXTINF:{length:.6},\n{}\n",
                piece.file_name().unwrap().to_str().unwrap()
            ));
            before += count;
        }
        for (name, pieces) in [("tagged", tagged), ("plain", plain)] {
            std::fs::write(
                at(&format!("{name}-sound.m3u8")),
                format!("#EXTM3U\n{pieces}#EXT-X-ENDLIST\n"),
            )
            .unwrap();
            let master = format!(
                "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",DEFAULT=YES,URI=\"{name}-sound.m3u8\"\n\
                 #EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\nvideo.m3u8\n"
            );
            std::fs::write(at(&format!("{name}.m3u8")), master).unwrap();
        }
    });
    let source = whole();
    let (origin, link) = serve(&dir, "tagged.m3u8");
    cut_and_compare(&source, &link, &[(5.2, 7.6)]);
    assert!(!asked(&origin).iter().any(|name| name == "tagged05.aac"));
    cut_and_compare(&source, &link, &[(0.0, 1.0), (9.3, 11.8)]);
    // Without tags it is heard where the playlist puts it: a packet later than it was.
    let (_origin, link) = serve(&dir, "plain.m3u8");
    let clip = proof::clip(&link, &["--start", "5.2", "--end", "7.6"]);
    let got = frames::read(&clip.path);
    let (late, alike) = frames::shift(
        &samples_from(&source, 5.2 - 1024.0 / 48_000.0),
        &got.sound.unwrap(),
    );
    assert!(
        late.abs() < proof::SYNC && alike > 0.9,
        "{late} s late, alike by {alike}"
    );
}

/// The film's sound from a time on.
fn samples_from(source: &Source, time: f64) -> Vec<f32> {
    let sound = source.contents.sound.as_ref().unwrap();
    sound[(time * 48_000.0).round() as usize..].to_vec()
}

#[test]
fn encrypted_pieces_are_decrypted() {
    let key: Vec<u8> = (1..=16).collect();
    let dir = folder("hls-aes", |dir| {
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        std::fs::write(at("the.key"), &key).unwrap();
        std::fs::write(at("info"), format!("the.key\n{}\n", at("the.key"))).unwrap();
        ffmpeg(&[
            "-i",
            film_of_12().to_str().unwrap(),
            "-c",
            "copy",
            "-f",
            "hls",
            "-hls_time",
            "2",
            "-hls_playlist_type",
            "vod",
            "-hls_key_info_file",
            &at("info"),
            "-hls_segment_filename",
            &at("s%02d.ts"),
            &at("all.m3u8"),
        ]);
        // Another key opens nothing.
        let text = std::fs::read_to_string(at("all.m3u8")).unwrap();
        std::fs::write(at("wrong.m3u8"), text.replace("the.key", "wrong.key")).unwrap();
        std::fs::write(at("wrong.key"), [7; 16]).unwrap();
        std::fs::write(at("short.m3u8"), text.replace("the.key", "short.key")).unwrap();
        std::fs::write(at("short.key"), [7; 15]).unwrap();
    });
    let source = whole();
    let (origin, link) = serve(&dir, "all.m3u8");
    cut_and_compare(&source, &link, &[(5.28, 8.72)]);
    assert_eq!(
        origin
            .requests()
            .iter()
            .filter(|line| line.contains("the.key"))
            .count(),
        1
    );
    for name in ["wrong.m3u8", "short.m3u8"] {
        let said = refused(&origin.link(&format!("/{name}")));
        assert!(said.contains("source_damaged"), "{said}");
    }
}

#[test]
fn a_break_within_the_stretch_is_joined() {
    let other = film(
        "in-pieces-other.mp4",
        &gentle("320x180", "25", 4.0).replace("seed=7", "seed=9"),
        Some(&sweep(48_000, "stereo", 4.0)),
        "-c:v libx264 -preset ultrafast -crf 20 -g 25 -pix_fmt yuv420p -c:a aac",
    );
    let small = film(
        "in-pieces-small.mp4",
        &gentle("256x144", "25", 4.0),
        Some(&sweep(44_100, "mono", 4.0)),
        "-c:v libx264 -preset ultrafast -crf 20 -g 25 -pix_fmt yuv420p -c:a aac",
    );
    let dir = folder("hls-breaks", |dir| {
        for (name, from) in [
            ("a", film_of_12()),
            ("b", other.clone()),
            ("c", small.clone()),
        ] {
            let to = dir.join(format!("{name}.ts"));
            ffmpeg(&[
                "-i",
                from.to_str().unwrap(),
                "-t",
                "4",
                "-c",
                "copy",
                to.to_str().unwrap(),
            ]);
        }
        let list = |names: &[&str]| {
            let mut text = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n".to_owned();
            for name in names {
                text.push_str(&format!("#EXT-X-DISCONTINUITY\n#EXTINF:4,\n{name}.ts\n"));
            }
            text + "#EXT-X-ENDLIST\n"
        };
        std::fs::write(dir.join("same.m3u8"), list(&["a", "b"])).unwrap();
        std::fs::write(dir.join("sizes.m3u8"), list(&["a", "c"])).unwrap();
    });
    let first = whole();
    for (name, behind) in [("same.m3u8", &other), ("sizes.m3u8", &small)] {
        let second = Source::read(behind.clone());
        let (_origin, link) = serve(&dir, name);
        let clip = proof::clip(&link, &["--start", "3", "--end", "5"]);
        let got = frames::read(&clip.path);
        assert_eq!(got.frames.len(), 50, "{name}");
        for (number, frame) in got.frames.iter().enumerate() {
            assert!(
                (frame.time - number as f64 / 25.0).abs() < 0.001,
                "{name}: frame {number} at {}",
                frame.time
            );
            let wanted = if number < 25 {
                &first.frames()[75 + number]
            } else {
                &second.frames()[number - 25]
            };
            if wanted.luma.len() == frame.luma.len() {
                let like = frames::psnr(&wanted.luma, &frame.luma);
                assert!(like >= 36.0, "{name}: frame {number} has {like} dB");
            }
        }
        assert_eq!(frames::shown_size(&clip.path), (320, 180), "{name}");
        assert_eq!(frames::complaints(&clip.path), "", "{name}");
        let sound = got.sound.unwrap();
        proof::same_sound(
            first.contents.sound.as_ref().unwrap(),
            3.0,
            &sound,
            0.0,
            1.0,
            name,
        );
        if name == "same.m3u8" {
            proof::same_sound(
                second.contents.sound.as_ref().unwrap(),
                0.0,
                &sound,
                1.0,
                1.0,
                name,
            );
        }
    }
}

#[test]
fn a_broadcast_is_refused_unless_the_operator_allows_a_part() {
    let dir = folder("hls-live", |dir| {
        for file in files(&transport()) {
            std::fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
        }
        let text = std::fs::read_to_string(dir.join("all.m3u8")).unwrap();
        let text = text
            .replace("#EXT-X-ENDLIST", "")
            .replace("#EXT-X-PLAYLIST-TYPE:VOD", "");
        std::fs::write(dir.join("all.m3u8"), text).unwrap();
    });
    let (origin, link) = serve(&dir, "all.m3u8");
    let said = refused(&link);
    assert!(
        said.contains("source_live") && said.contains("limits.live_seconds"),
        "{said}"
    );
    assert_eq!(asked(&origin), ["all.m3u8"]);
    let service = Setup::default().with("LIMITS__LIVE_SECONDS", 6).start();
    let clip = service.make(&recipe(&link, 1.0, 2.0));
    assert_eq!(clip["result"]["frames"], 25);
    assert!(!asked(&origin).contains(&"s02.ts".to_owned()));
    let late = service.fail(&recipe(&link, 7.0, 8.0));
    assert_eq!(late, "time_range");
}

#[test]
fn manifests_of_every_make_are_cut_exactly() {
    let source = whole();
    let dash = |name: &str, arguments: &str| {
        in_pieces(
            name,
            &film_of_12(),
            &format!("-map 0:v -map 0:a -c copy -f dash -seg_duration 2 {arguments} DIR/all.mpd"),
        )
    };
    for (dir, has) in [
        (
            dash("dash-timeline", "-use_timeline 1 -use_template 1"),
            "SegmentTimeline",
        ),
        (
            dash("dash-numbers", "-use_timeline 0 -use_template 1"),
            "$Number",
        ),
        (
            dash(
                "dash-list",
                "-use_timeline 0 -use_template 0 -single_file 1",
            ),
            "mediaRange",
        ),
    ] {
        let text = std::fs::read_to_string(dir.join("all.mpd")).unwrap();
        assert!(text.contains(has), "{text}");
        let (origin, link) = serve(&dir, "all.mpd");
        cut_and_compare(&source, &link, &[(5.2, 7.6)]);
        cut_and_compare(&source, &link, &[(0.0, 1.0), (9.3, 12.0)]);
        assert!(!origin.requests().is_empty());
    }
}

#[test]
fn periods_of_a_manifest_are_joined() {
    let dir = folder("dash-periods", |dir| {
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let film = film_of_12();
        let film = film.to_str().unwrap();
        ffmpeg(&["-i", film, "-t", "4", "-an", "-c", "copy", &at("one.mp4")]);
        ffmpeg(&[
            "-ss",
            "6",
            "-i",
            film,
            "-t",
            "4",
            "-an",
            "-c",
            "copy",
            &at("two.mp4"),
        ]);
        let period = |name: &str| {
            format!(
                "<Period duration=\"PT4S\"><AdaptationSet mimeType=\"video/mp4\"><Representation id=\"v\"><BaseURL>{name}</BaseURL></Representation></AdaptationSet></Period>"
            )
        };
        let manifest = format!(
            "<?xml version=\"1.0\"?><MPD type=\"static\">{}{}</MPD>",
            period("one.mp4"),
            period("two.mp4")
        );
        std::fs::write(at("all.mpd"), manifest).unwrap();
    });
    let source = whole();
    let (origin, link) = serve(&dir, "all.mpd");
    let clip = proof::clip(&link, &["--start", "3.2", "--end", "4.8"]);
    let got = frames::read(&clip.path);
    assert_eq!(got.frames.len(), 40);
    for (number, frame) in got.frames.iter().enumerate() {
        // The second period begins with the frame at six seconds.
        let original = if number < 20 {
            80 + number
        } else {
            150 + number - 20
        };
        assert!(
            (frame.time - number as f64 / 25.0).abs() < 0.001,
            "frame {number} at {}",
            frame.time
        );
        let like = frames::psnr(&source.frames()[original].luma, &frame.luma);
        assert!(like >= 36.0, "frame {number} has {like} dB");
    }
    assert_eq!(asked(&origin), ["all.mpd", "one.mp4", "two.mp4"]);
    let late = proof::clip(&link, &["--start", "5", "--end", "6"]);
    assert_eq!(late.told["frames"], 25);
    assert!(refused_at(&link, "8.5", "9").contains("time_range"));
}

/// The film in one file of fragments with one index in front.
fn with_index() -> PathBuf {
    in_pieces(
        "dash-index",
        &film_of_12(),
        "-map 0:v -c copy -movflags +frag_keyframe+empty_moov+default_base_moof+global_sidx DIR/v.mp4",
    )
}

#[test]
fn one_file_with_an_index_gives_only_what_is_asked_for() {
    let source = Source::read(with_index().join("v.mp4"));
    let all = std::fs::metadata(source.path()).unwrap().len();
    // As a link of its own.
    let (origin, link) = serve(&with_index(), "v.mp4");
    cut_and_compare(&source, &link, &[(8.2, 8.7)]);
    assert!(origin.sent() < all / 2, "{} of {all}", origin.sent());
    // In a manifest that names the index.
    let bytes = std::fs::read(source.path()).unwrap();
    let at = bytes.windows(4).position(|four| four == b"sidx").unwrap() - 4;
    let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let manifest = format!(
        "<?xml version=\"1.0\"?><MPD type=\"static\" mediaPresentationDuration=\"PT12S\"><Period><AdaptationSet mimeType=\"video/mp4\">\
         <Representation id=\"v\" bandwidth=\"1\"><BaseURL>v.mp4</BaseURL><SegmentBase indexRange=\"{at}-{}\"><Initialization range=\"0-{}\"/>\
         </SegmentBase></Representation></AdaptationSet></Period></MPD>",
        at + size - 1,
        at - 1
    );
    let path = tempfile::tempdir().unwrap();
    std::fs::write(path.path().join("all.mpd"), manifest).unwrap();
    let origin = Origin::start();
    origin.add("/v.mp4", Behaviour::File(source.path().to_owned()));
    let link = origin.add("/all.mpd", Behaviour::File(path.path().join("all.mpd")));
    cut_and_compare(&source, &link, &[(3.4, 5.1)]);
    assert!(origin.sent() < all * 2 / 3, "{} of {all}", origin.sent());
}

#[test]
fn what_is_missing_or_protected_is_said() {
    let origin = Origin::start();
    let list = |name: &str, text: &str| {
        let bytes = text.as_bytes().to_vec();
        let claimed = bytes.len();
        origin.add(name, Behaviour::Bytes { bytes, claimed })
    };
    let piece = files(&transport())
        .into_iter()
        .find(|path| path.ends_with("s00.ts"))
        .unwrap();
    origin.add("/s00.ts", Behaviour::File(piece.clone()));
    let head = std::fs::read(&piece).unwrap();
    origin.add(
        "/broken.ts",
        Behaviour::Bytes {
            bytes: head[..20_000].to_vec(),
            claimed: head.len(),
        },
    );
    for (name, text, code) in [
        (
            "/gone.m3u8",
            "#EXTM3U\n#EXTINF:4,\ngone.ts\n#EXT-X-ENDLIST\n",
            "source_unreachable",
        ),
        (
            "/broken.m3u8",
            "#EXTM3U\n#EXTINF:4,\nbroken.ts\n#EXT-X-ENDLIST\n",
            "source_unreachable",
        ),
        (
            "/drm.m3u8",
            "#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://1\"\n#EXTINF:4,\ns00.ts\n#EXT-X-ENDLIST\n",
            "source_protected",
        ),
        (
            "/empty.m3u8",
            "#EXTM3U\n#EXT-X-ENDLIST\n",
            "source_unsupported",
        ),
        (
            "/loop.m3u8",
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nloop.m3u8\n",
            "source_unsupported",
        ),
        (
            "/file.m3u8",
            "#EXTM3U\n#EXTINF:4,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
            "url_scheme",
        ),
        (
            "/map.m3u8",
            "#EXTM3U\n#EXT-X-MAP:URI=\"file:///etc/passwd\"\n#EXTINF:4,\ns00.ts\n#EXT-X-ENDLIST\n",
            "url_scheme",
        ),
        (
            "/concat.m3u8",
            "#EXTM3U\n#EXTINF:4,\nconcat:s00.ts|file:///etc/passwd\n#EXT-X-ENDLIST\n",
            "url_scheme",
        ),
        (
            "/inside.m3u8",
            "#EXTM3U\n#EXTINF:4,\nhttp://10.0.0.1/s.ts\n#EXT-X-ENDLIST\n",
            "url_blocked",
        ),
        (
            "/inside.mpd",
            "<MPD type=\"static\" mediaPresentationDuration=\"PT4S\"><Period><BaseURL>http://[::1]/</BaseURL><AdaptationSet mimeType=\"video/mp4\"><SegmentTemplate duration=\"4\" media=\"$Number$\"/><Representation id=\"v\"/></AdaptationSet></Period></MPD>",
            "url_blocked",
        ),
        ("/live.mpd", "<MPD type=\"dynamic\"></MPD>", "source_live"),
        (
            "/html.m3u8",
            "#EXTM3U\n#EXTINF:4,\nhtml.m3u8\n#EXT-X-ENDLIST\n",
            "source_unsupported",
        ),
    ] {
        let said = refused(&list(name, text));
        assert!(said.contains(code), "{name}: {said}");
    }
    // On the disk a playlist is a text like any other.
    let dir = tempfile::tempdir().unwrap();
    let local = dir.path().join("all.m3u8");
    std::fs::write(
        &local,
        format!("#EXTM3U\n#EXTINF:4,\n{}\n#EXT-X-ENDLIST\n", piece.display()),
    )
    .unwrap();
    let said = refused(local.to_str().unwrap());
    assert!(said.contains("source_unsupported"), "{said}");
}

#[test]
fn a_probe_of_a_playlist_tells_its_length_from_its_first_piece() {
    let (origin, link) = serve(&transport(), "all.m3u8");
    let output = run(&["probe", &link, "--json"], Path::new("."));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        (told["duration"].as_f64().unwrap() - 12.0).abs() < 0.1,
        "{told}"
    );
    assert_eq!(asked(&origin), ["all.m3u8", "s00.ts"]);
}
