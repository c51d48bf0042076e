//! Every format by what comes out of it: decoded, counted, measured and held against the source; and how each is handed out.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use image_webp::{LoopCount, WebPDecoder};
use serde_json::{Value, json};

use crate::support::frames::{self, psnr, shown_size};
use crate::support::media::{H264, ffmpeg, film, gentle, made, short, sweep};
use crate::support::origin::Origin;
use crate::support::page::{elements, tags};
use crate::support::proof::{Source, same_sound};
use crate::support::service::{self, Setup};

/// Thirty frames of [`short`], from 0.52 s on.
const START: f64 = 0.52;
const LENGTH: f64 = 1.2;

struct Made {
    path: PathBuf,
    told: Value,
    _dir: tempfile::TempDir,
}

/// A clip of a source in a format.
#[track_caller]
fn form(source: &Path, format: &str, arguments: &[&str]) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(format!("clip.{format}"));
    let mut list = vec!["clip", source.to_str().unwrap(), "--format", format];
    list.extend(["--json", "-o", path.to_str().unwrap()]);
    list.extend(arguments);
    let output = service::run(&list, dir.path());
    assert!(
        output.status.success(),
        "{list:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Made {
        path,
        told: serde_json::from_slice(&output.stdout).unwrap(),
        _dir: dir,
    }
}

#[track_caller]
fn usual(format: &str) -> Made {
    let (start, end) = (START.to_string(), (START + LENGTH).to_string());
    form(&short(), format, &["--start", &start, "--end", &end])
}

#[track_caller]
fn told(made: &Made, expected: Value) {
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&made.told[field], value, "{field} of {}", made.told);
    }
}

/// The sound of a clip is that of the source from [`START`] on, and all of it.
#[track_caller]
fn sounds_alike(source: &Source, path: &Path) {
    let original = source.contents.sound.as_ref().unwrap();
    let clip = frames::samples(path);
    let extra = clip.len() as f64 / 48_000.0 - LENGTH;
    assert!(extra < 0.025, "{extra} s more sound than wanted");
    same_sound(
        original,
        START,
        &clip,
        0.0,
        LENGTH,
        &path.display().to_string(),
    );
}

#[test]
fn a_webm_has_every_frame_at_its_time_and_its_sound() {
    let source = Source::read(short());
    let made = usual("webm");
    told(
        &made,
        json!({"method": "encode", "reason": "format", "frames": 30, "width": 320, "height": 180,
               "video_codec": "vp9", "audio_codec": "opus", "duration": LENGTH}),
    );
    let original = frames::decode(&short(), None);
    let frames = frames::decode(&made.path, None);
    assert_eq!(frames.len(), 30);
    for (number, frame) in frames.iter().enumerate() {
        assert!(
            (frame.time - number as f64 * 0.04).abs() < 0.0011,
            "{}",
            frame.time
        );
        let like = psnr(&frame.luma, &original[13 + number].luma);
        assert!(like > 27.0, "frame {number} is alike by {like} dB");
    }
    // Its times are rounded to milliseconds, so the samples are taken as they come; where they begin is told by the first packet, which
    // holds what the decoder needs to settle.
    let original = source.contents.sound.as_ref().unwrap();
    same_sound(
        original,
        START,
        &as_they_come(&made.path),
        0.0,
        LENGTH,
        "webm",
    );
    let begins = frames::ffprobe(
        &made.path,
        &[
            "-select_streams",
            "a:0",
            "-show_entries",
            "stream=start_time",
            "-of",
            "csv=p=0",
        ],
    );
    let begins: f64 = begins.trim().parse().unwrap();
    assert!((-0.0075..-0.0055).contains(&begins), "{begins}");
    // Where it ends: the last picture is shown as long as in the source.
    let printed = frames::ffprobe(
        &made.path,
        &["-show_entries", "format=duration", "-of", "csv=p=0"],
    );
    let length: f64 = printed.trim().parse().unwrap();
    assert!(
        (LENGTH - 0.001..LENGTH + 0.03).contains(&length),
        "{length}"
    );
}

/// Samples of the first sound track, mixed to one channel, whatever their times.
fn as_they_come(path: &Path) -> Vec<f32> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i", path.to_str().unwrap()])
        .args([
            "-map", "0:a:0", "-ac", "1", "-ar", "48000", "-f", "f32le", "-",
        ])
        .output()
        .unwrap();
    let samples = output.stdout.chunks_exact(4);
    samples
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

/// The source's frames that a rate leaves of the usual clip: the first in each cell.
fn thinned(fps: f64) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    let cell = |number: usize| (number as f64 * 0.04 * fps + 1e-6).floor() as i64;
    for number in 0..30 {
        if kept.last().is_none_or(|last| cell(number) > cell(*last)) {
            kept.push(number);
        }
    }
    kept
}

#[test]
fn a_gif_repeats_for_ever_and_shows_at_most_fifteen_pictures_a_second() {
    let original = frames::decode(&short(), None);
    let made = usual("gif");
    let kept = thinned(15.0);
    assert_eq!(kept.len(), 18);
    told(
        &made,
        json!({"method": "encode", "frames": 18, "width": 320, "height": 180, "video_codec": "gif",
               "audio_codec": null, "duration": LENGTH}),
    );
    let frames = frames::decode(&made.path, None);
    assert_eq!(frames.len(), kept.len());
    for (frame, number) in frames.iter().zip(&kept) {
        assert!(
            (frame.time - *number as f64 * 0.04).abs() < 0.0051,
            "{}",
            frame.time
        );
        let like = psnr(&frame.luma, &original[13 + number].luma);
        assert!(like > 27.0, "frame {number} is alike by {like} dB");
    }
    let bytes = std::fs::read(&made.path).unwrap();
    let endless = b"NETSCAPE2.0\x03\x01\x00\x00";
    assert!(bytes.windows(endless.len()).any(|some| some == endless));
    // All delays together, the last one included.
    let delays: u32 = delays_of_gif(&made.path).iter().sum();
    assert_eq!(delays, 120);
}

fn delays_of_gif(path: &Path) -> Vec<u32> {
    let mut decoder = gif::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut delays = Vec::new();
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        delays.push(u32::from(frame.delay));
    }
    delays
}

/// How long a picture is shown, and its luma.
type Shown = (u32, Vec<u8>);

/// Size, and the pictures with how long each is shown in ms, as luma.
fn decoded_webp(path: &Path) -> ((u32, u32), Vec<Shown>) {
    let bytes = std::fs::read(path).unwrap();
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).unwrap();
    assert!(decoder.is_animated());
    assert!(matches!(decoder.loop_count(), LoopCount::Forever));
    let mut picture = vec![0; decoder.output_buffer_size().unwrap()];
    let alpha = decoder.has_alpha();
    let mut pictures = Vec::new();
    for _ in 0..decoder.num_frames() {
        let delay = decoder.read_frame(&mut picture).unwrap();
        let pixels = picture.chunks(if alpha { 4 } else { 3 });
        let luma = pixels.map(|pixel| {
            let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(f64::from);
            (0.299 * red + 0.587 * green + 0.114 * blue).round() as u8
        });
        pictures.push((delay, luma.collect()));
    }
    (decoder.dimensions(), pictures)
}

#[test]
fn a_webp_repeats_for_ever_and_shows_every_picture() {
    let original = frames::decode(&short(), None);
    let made = usual("webp");
    told(
        &made,
        json!({"method": "encode", "frames": 30, "width": 320, "height": 180, "video_codec": "webp",
               "audio_codec": null, "duration": LENGTH}),
    );
    let (size, pictures) = decoded_webp(&made.path);
    assert_eq!((size, pictures.len()), ((320, 180), 30));
    assert!(pictures.iter().all(|(delay, _)| *delay == 40));
    for number in [1, 14, 28] {
        let like = |other: usize| psnr(&pictures[number].1, &original[13 + other].luma);
        let own = like(number);
        assert!(own > 23.0, "frame {number} is alike by {own} dB");
        assert!(like(number - 1) < own - 1.0 && like(number + 1) < own - 1.0);
    }
}

/// A second without sound, in which one thing happens.
fn unmoved() -> PathBuf {
    film(
        "unmoved.mp4",
        "color=teal:size=160x90:rate=25:duration=1,drawbox=x=20:y=20:w=40:h=40:color=orange:t=fill:enable='gt(t,0.5)'",
        None,
        H264,
    )
}

#[test]
fn a_picture_that_does_not_move_is_kept_as_long_as_it_lasts() {
    let still = unmoved();
    let whole = ["--start", "0", "--end", "1"];
    let made = form(&still, "webp", &whole);
    let (_, pictures) = decoded_webp(&made.path);
    let delays: Vec<u32> = pictures.iter().map(|(delay, _)| *delay).collect();
    assert_eq!(delays.iter().sum::<u32>(), 1000, "{delays:?}");
    assert_eq!(made.told["frames"], pictures.len());
    let made = form(&still, "gif", &whole);
    assert_eq!(delays_of_gif(&made.path).iter().sum::<u32>(), 100);
    let nothing_moves = form(&still, "webp", &["--start", "0", "--end", "0.4"]);
    told(
        &nothing_moves,
        json!({"frames": 1, "width": 160, "height": 90}),
    );
}

#[test]
fn sound_alone_is_that_of_the_source_and_no_longer() {
    let source = Source::read(short());
    let made = usual("mp3");
    told(
        &made,
        json!({"method": "encode", "frames": 0, "width": null, "height": null, "fps": null,
               "video_codec": null, "audio_codec": "mp3"}),
    );
    sounds_alike(&source, &made.path);
    let made = usual("m4a");
    told(
        &made,
        json!({"method": "copy", "reason": "sound", "frames": 0, "width": null,
               "video_codec": null, "audio_codec": "aac"}),
    );
    sounds_alike(&source, &made.path);
    assert_eq!(&std::fs::read(&made.path).unwrap()[4..12], b"ftypM4A ");
    // Nothing was made anew: its packets stand beside each other in the source.
    let (all, taken) = (packets(&short()), packets(&made.path));
    assert!(taken.len() > 55, "{}", taken.len());
    assert!(all.windows(taken.len()).any(|some| some == taken));
}

/// Hashes of the packets of the first sound track.
fn packets(path: &Path) -> Vec<String> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i", path.to_str().unwrap()])
        .args(["-map", "0:a:0", "-c", "copy", "-f", "framemd5", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let hash = |line: &str| line.split(',').nth(5).unwrap().trim().to_owned();
    let hashes: Vec<String> = lines.map(hash).collect();
    assert!(!hashes.is_empty());
    hashes
}

#[test]
fn sound_is_copied_out_of_any_source_and_encoded_where_it_has_to_be() {
    let source = Source::read(short());
    // Pictures that cannot be spliced are no reason to encode sound.
    let other = made("short-hevc.mp4", |path| {
        let short = short();
        ffmpeg(&[
            "-i",
            short.to_str().unwrap(),
            "-c:a",
            "copy",
            "-c:v",
            "mpeg4",
            "-f",
            "mp4",
            path,
        ]);
    });
    let (start, end) = (START.to_string(), (START + LENGTH).to_string());
    let made = form(&other, "m4a", &["--start", &start, "--end", &end]);
    told(&made, json!({"method": "copy", "reason": "sound"}));
    sounds_alike(&source, &made.path);
    let joined = form(
        &short(),
        "m4a",
        &["--segment", "0.52-1.12", "--segment", "1.12-1.72"],
    );
    told(&joined, json!({"method": "encode", "audio_codec": "aac"}));
    sounds_alike(&source, &joined.path);
}

#[test]
fn a_still_is_the_very_frame_in_its_own_size() {
    let made = usual("jpg");
    told(
        &made,
        json!({"method": "encode", "frames": 1, "duration": 0.0, "width": 320, "height": 180,
               "start": START, "end": 0.56, "audio_codec": null}),
    );
    let original = frames::decode(&short(), None);
    let picture = &frames::decode(&made.path, None)[0].luma;
    let like = |number: usize| psnr(picture, &original[number].luma);
    assert!(like(13) > 42.0, "{}", like(13));
    assert!(like(12) < like(13) - 6.0 && like(14) < like(13) - 6.0);
}

#[test]
fn animations_have_480_lines_and_stills_as_many_as_the_source() {
    let large = film(
        "large.mp4",
        &gentle("1280x720", "10", 0.5),
        Some(&sweep(48_000, "mono", 0.5)),
        "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac",
    );
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "[engine]\nmax_height = 360\n").unwrap();
    let whole = ["--start", "0", "--end", "0.5"];
    let low = [&whole[..], &["--config", config.to_str().unwrap()]].concat();
    let size = |format: &str, arguments: &[&str]| {
        let made = form(&large, format, arguments);
        shown_size(&made.path)
    };
    assert_eq!(size("gif", &whole), (854, 480));
    assert_eq!(size("gif", &low), (640, 360));
    assert_eq!(size("jpg", &low), (1280, 720));
    let made = form(&large, "webp", &whole);
    assert_eq!(decoded_webp(&made.path).0, (854, 480));
}

#[test]
fn pictures_that_are_no_packets_come_out_in_every_format() {
    let hidden = film(
        "hidden.webm",
        &gentle("160x90", "25", 1.5),
        Some(&sweep(48_000, "mono", 1.5)),
        "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 1M -g 25 -auto-alt-ref 1 -lag-in-frames 16 -c:a libvorbis",
    );
    let span = ["--start", "0.2", "--end", "1.2"];
    for (format, pictures) in [("webm", 25), ("webp", 25), ("gif", 15), ("jpg", 1)] {
        let made = form(&hidden, format, &span);
        assert_eq!(made.told["frames"], pictures, "{format}: {}", made.told);
    }
}

#[test]
fn silence_is_no_sound() {
    let silent = unmoved();
    let dir = tempfile::tempdir().unwrap();
    for format in ["mp3", "m4a"] {
        let output = service::run(
            &[
                "clip",
                silent.to_str().unwrap(),
                "--start",
                "0",
                "--end",
                "0.5",
                "--format",
                format,
            ],
            dir.path(),
        );
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains("(source_no_sound)"),
            "{said}"
        );
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Two seconds with sound, of which the first shows nothing.
fn dark_at_first() -> PathBuf {
    film(
        "dark-at-first.mp4",
        &format!(
            "{},drawbox=color=black:t=fill:enable='lt(t,1)'",
            gentle("320x180", "25", 2.0)
        ),
        Some(&sweep(48_000, "stereo", 2.0)),
        &format!("{H264} -movflags +faststart"),
    )
}

#[test]
fn every_format_is_served_as_what_it_is_and_has_a_poster_that_shows_something() {
    let service = Setup::default()
        .with("SERVER__ACCEL", "/internal-clips/")
        .start();
    let (_origin, link) = Origin::with(&dark_at_first());
    for (format, kind, element, tag) in [
        ("webm", "video/webm", "video", "og:video"),
        ("gif", "image/gif", "img", "og:image"),
        ("webp", "image/webp", "img", "og:image"),
        ("mp3", "audio/mpeg", "audio", "og:audio"),
        ("m4a", "audio/mp4", "audio", "og:audio"),
        ("jpg", "image/jpeg", "img", "og:image"),
    ] {
        let clip = service.make(
            &json!({"url": link, "start_time": if format == "jpg" { 1.5 } else { 0.4 },
            "end_time": 1.8, "format": format, "title": "A moment"}),
        );
        let urls = &clip["urls"];
        let file = service.get(urls["file"].as_str().unwrap());
        let name = format!("A moment.{format}");
        assert_eq!(file.header("content-type"), kind);
        let inline = file.header("content-disposition");
        assert!(
            inline.starts_with("inline; ") && inline.contains(&name),
            "{inline}"
        );
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        assert_eq!(
            file.bytes.len() as u64,
            clip["result"]["size"].as_u64().unwrap()
        );
        let download = service.get(urls["download"].as_str().unwrap());
        assert_eq!(download.header("content-type"), kind);
        assert!(
            download
                .header("content-disposition")
                .starts_with("attachment; ")
        );
        // Handed to nginx it keeps its type.
        let handed = service.request(
            "GET",
            urls["file"].as_str().unwrap(),
            &[("x-forwarded-for", "192.0.2.1")],
            b"",
        );
        assert_eq!(
            (handed.header("content-type"), handed.bytes.len()),
            (kind.to_owned(), 0)
        );

        let poster = service.get(urls["poster"].as_str().unwrap());
        assert_eq!(poster.header("content-type"), "image/jpeg", "{format}");
        let path = service.data.join("poster.jpg");
        std::fs::write(&path, &poster.bytes).unwrap();
        assert_eq!(shown_size(&path), (320, 180));
        let luma = &frames::decode(&path, Some((32, 18)))[0].luma;
        let light = luma.iter().map(|pixel| f64::from(*pixel)).sum::<f64>() / luma.len() as f64;
        assert!(light > 60.0, "the poster of {format} is dark: {light}");

        let page = service.get(urls["page"].as_str().unwrap()).text();
        let embed = service.get(urls["embed"].as_str().unwrap()).text();
        for html in [&page, &embed] {
            let found = elements(html);
            let shown = found
                .iter()
                .find(|one| one.name == element && one.attribute("src") == urls["file"]);
            assert!(shown.is_some(), "{format}: {html}");
            let players = ["video", "audio"].iter().filter(|one| **one != element);
            for other in players {
                assert!(found.iter().all(|one| one.name != *other), "{format}");
            }
        }
        let tags = tags(&page);
        assert_eq!(tags[&format!("{tag}:type")], kind, "{format}");
        assert_eq!(tags["twitter:title"], "A moment");
    }
}
