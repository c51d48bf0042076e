//! What is done to pictures and sound beside cutting, measured on what comes out: which picture is shown when and which part of it, how
//! high a tone is, how loud it all is. What the engine says about itself is compared, never taken for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::frames::{self, Frame, psnr, shift};
use crate::support::media::{H264, film, gentle, made, remuxed, short, sweep, turned};
use crate::support::proof::{Clip, Source, clip};

/// Cuts `path` with these flags, spaces between them.
#[track_caller]
fn look(path: &Path, flags: &str) -> Clip {
    let flags: Vec<&str> = flags.split(' ').collect();
    let clip = clip(path.to_str().unwrap(), &flags);
    assert_eq!(clip.told["fallback"], Value::Null, "{flags:?}");
    assert_eq!(frames::complaints(&clip.path), "", "{flags:?}");
    clip
}

/// How a clip was made, and why.
fn way(clip: &Clip) -> (&str, &str) {
    let told = |key: &str| clip.told[key].as_str().unwrap();
    (told("method"), told("reason"))
}

/// For each picture the one among `source` that it is most like; it has to be like it indeed.
#[track_caller]
fn numbers(source: &[Frame], shown: &[Frame]) -> Vec<usize> {
    // A part of the pixels tells pictures apart well enough.
    let some = |frame: &Frame| frame.luma.iter().copied().step_by(11).collect::<Vec<u8>>();
    let source: Vec<Vec<u8>> = source.iter().map(some).collect();
    let number = |frame: &Frame| {
        let own = some(frame);
        let like = source.iter().map(|other| psnr(other, &own)).enumerate();
        let (number, like) = like.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert!(like > 33.0, "the nearest is {number}, by {like:.1} dB");
        number
    };
    shown.iter().map(number).collect()
}

/// Pictures are shown at these times.
#[track_caller]
fn shown_at(shown: &[Frame], times: &[f64]) {
    assert_eq!(shown.len(), times.len());
    for (number, (frame, time)) in shown.iter().zip(times).enumerate() {
        assert!(
            (frame.time - time).abs() < 0.0011,
            "picture {number} is shown at {} instead of {time}",
            frame.time
        );
    }
}

/// The luma of all pictures after these filters of ffmpeg.
fn filtered(path: &Path, filters: &str, size: (u32, u32)) -> Vec<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args(["-map", "0:v:0", "-fps_mode", "passthrough", "-vf"])
        .arg(format!("{filters},format=yuv420p,extractplanes=y"))
        .args(["-f", "rawvideo", "-"])
        .output()
        .unwrap();
    let pictures = output.stdout.chunks_exact((size.0 * size.1) as usize);
    pictures.map(<[u8]>::to_vec).collect()
}

/// Structural similarity of two pictures, the mean over blocks of 8 by 8.
fn ssim(one: &[u8], other: &[u8], width: usize) -> f64 {
    let (mut sum, mut blocks) = (0.0, 0.0);
    for y in (0..one.len() / width - 7).step_by(8) {
        for x in (0..width - 7).step_by(8) {
            let (mut a, mut b, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for place in (0..64).map(|place| (y + place / 8) * width + x + place % 8) {
                let (p, q) = (f64::from(one[place]), f64::from(other[place]));
                (a, b) = (a + p / 64.0, b + q / 64.0);
                (aa, bb, ab) = (aa + p * p / 64.0, bb + q * q / 64.0, ab + p * q / 64.0);
            }
            let (c1, c2) = (6.5025, 58.5225);
            let shape = (2.0 * a * b + c1) * (2.0 * (ab - a * b) + c2);
            sum += shape / ((a * a + b * b + c1) * (aa - a * a + bb - b * b + c2));
            blocks += 1.0;
        }
    }
    sum / blocks
}

/// Integrated loudness in LUFS and the highest peak in dBTP, as ffmpeg's meter finds them.
#[track_caller]
fn loudness(path: &Path) -> (f64, f64) {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostats", "-nostdin", "-i"])
        .arg(path)
        .args(["-af", "ebur128=peak=true:framelog=verbose"])
        .args(["-f", "null", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = |name: &str| {
        let mut lines = text
            .lines()
            .rev()
            .filter_map(|line| line.trim().strip_prefix(name));
        let value = lines.next()?.split_whitespace().next()?.to_owned();
        value.parse::<f64>().ok()
    };
    (value("I:").unwrap(), value("Peak:").unwrap())
}

/// Samples between two times, at 48 kHz.
fn part(sound: &[f32], from: f64, to: f64) -> &[f32] {
    let place = |time: f64| ((time * 48_000.0) as usize).min(sound.len());
    &sound[place(from)..place(to)]
}

/// Root of the mean square.
fn level(sound: &[f32]) -> f64 {
    let sum: f64 = sound.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (sum / sound.len().max(1) as f64).sqrt()
}

/// How high a tone is, by how often it crosses zero.
fn pitch(sound: &[f32]) -> f64 {
    let crossings = sound.windows(2).filter(|two| two[0] < 0.0 && two[1] >= 0.0);
    crossings.count() as f64 * 48_000.0 / sound.len() as f64
}

/// Sound that is there from second 1 to second 2 only, one tone, under pictures that can be told apart; 25 a second.
fn tone() -> PathBuf {
    film(
        "looks-tone.mp4",
        &gentle("320x180", "25", 3.0),
        Some("aevalsrc='0.25*sin(2*PI*440*t)*between(t,1,2)':s=48000:c=mono:d=3"),
        H264,
    )
}

/// Four quarters: red, green (above), blue, white (below).
fn card() -> PathBuf {
    film(
        "looks-card.mp4",
        "color=red:size=320x180:rate=25:duration=1,drawbox=160:0:160:90:lime:fill,drawbox=0:90:160:90:blue:fill,\
         drawbox=160:90:160:90:white:fill",
        None,
        H264,
    )
}

/// The mean colour of a part of the first picture; filters say which.
fn colour(path: &Path, filters: &str) -> &'static str {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args(["-map", "0:v:0", "-frames:v", "1", "-vf"])
        .arg(format!("{filters},scale=1:1:flags=area,format=rgb24"))
        .args(["-f", "rawvideo", "-"])
        .output()
        .unwrap();
    let [red, green, blue] = output.stdout[..] else {
        panic!("{} shows nothing", path.display());
    };
    match [red, green, blue].map(|light| light > 128) {
        [true, false, false] => "red",
        [false, true, false] => "green",
        [false, false, true] => "blue",
        [true, true, true] => "white",
        _ => "mixed",
    }
}

#[test]
fn a_crop_keeps_the_part_that_was_named() {
    let whole = ["iw/2:ih/2:0:0", "iw/2:ih/2:iw/2:0"].map(|at| format!("crop={at}"));
    let card = card();
    // What players turn is cropped as it is shown: turned clockwise, the lower left quarter comes to lie in the upper left.
    let sideways = turned("looks-card-90.mp4", &card, 90);
    for (path, crop, size, left, right) in [
        (&card, "50%x50%+50%+0%", (160, 90), "green", "green"),
        (&card, "160x90+160+90", (160, 90), "white", "white"),
        (&card, "2:1@top", (320, 160), "red", "green"),
        (&card, "1:1@left", (180, 180), "red", "mixed"),
        (&sideways, "100%x50%+0%+0%", (180, 160), "blue", "red"),
        (&sideways, "90x160+90+160", (90, 160), "green", "green"),
    ] {
        let clip = look(path, &format!("--start 0 --end 0.4 --crop {crop}"));
        let case = format!("{} {crop}", path.display());
        assert_eq!(way(&clip), ("encode", "crop"), "{case}");
        assert_eq!(frames::shown_size(&clip.path), size, "{case}");
        // The middle third of the left and of the right half, so that edges say nothing.
        let found = whole
            .clone()
            .map(|half| colour(&clip.path, &format!("{half},crop=iw*0.6:ih*0.6")));
        let mixed = |found: &str, wanted: &str| wanted == "mixed" || found == wanted;
        assert!(
            mixed(found[0], left) && mixed(found[1], right),
            "{case}: {found:?}"
        );
    }
}

#[test]
fn a_crop_or_height_that_takes_nothing_leaves_the_pictures_untouched() {
    let source = Source::read(short());
    let spans = "--start 0.85 --end 2.4";
    let plain = look(source.path(), spans);
    for flags in ["--crop 16:9", "--height 720 --crop 320x180+0+0"] {
        let clip = look(source.path(), &format!("{spans} {flags}"));
        assert_eq!(way(&clip), ("splice", "exact"), "{flags}");
        assert_eq!(frames::hashes(&clip.path), frames::hashes(&plain.path));
    }
}

#[test]
fn pictures_are_cropped_and_scaled_as_by_hand() {
    let source = short();
    let clip = look(&source, "--start 1 --end 1.6 --crop 1:1@left --height 120");
    let by_hand = filtered(
        &source,
        "trim=1:1.6,crop=180:180:0:0,scale=120:120:flags=bicubic",
        (120, 120),
    );
    let got = frames::read(&clip.path).frames;
    assert_eq!((got.len(), by_hand.len()), (15, 15));
    assert_eq!(frames::shown_size(&clip.path), (120, 120));
    for (number, (frame, reference)) in got.iter().zip(&by_hand).enumerate() {
        let like = ssim(&frame.luma, reference, 120);
        assert!(like > 0.97, "picture {number}: {like}");
    }
}

/// The pictures of these spans that a rate leaves, by number: of all that fall into one cell the first. With the times at which they are
/// shown.
fn thinned(source: &Source, spans: &[(f64, f64)], fps: f64) -> (Vec<usize>, Vec<f64>) {
    let (mut picked, mut times) = (Vec::new(), Vec::new());
    let (mut offset, mut cell) = (0.0, -1.0);
    for (start, end) in spans {
        let wanted = source.wanted(*start, *end);
        let first = source.time(wanted[0]);
        for number in &wanted {
            let time = source.time(*number) - first + offset;
            // Times that are rounded to milliseconds lie this much before their cell.
            let own = ((time + 0.002) * fps).floor();
            if own > cell {
                cell = own;
                picked.push(*number);
                times.push(time);
            }
        }
        offset += source.over(*wanted.last().unwrap()).min(*end) - first;
    }
    (picked, times)
}

#[test]
fn a_rate_leaves_the_first_picture_of_each_of_its_cells() {
    let uneven = || {
        film(
            "looks-uneven.mp4",
            &format!(
                "{},select='not(eq(mod(n,7),3))*not(eq(mod(n,5),1))'",
                gentle("320x180", "50", 3.0)
            ),
            None,
            &format!("{H264} -fps_mode passthrough"),
        )
    };
    let ntsc = || {
        film(
            "looks-29.97.mp4",
            &gentle("320x180", "30000/1001", 3.0),
            None,
            H264,
        )
    };
    for (path, spans, fps) in [
        (short(), &[(0.85, 2.4)][..], 10),
        (remuxed("looks-short.mkv", &short(), ""), &[(0.51, 1.9)], 12),
        (short(), &[(2.1, 2.93), (0.3, 1.11)], 9),
        (ntsc(), &[(0.4, 2.3)], 15),
        (uneven(), &[(0.2, 2.1)], 20),
    ] {
        let source = Source::read(path);
        let flags: Vec<String> = spans
            .iter()
            .map(|(start, end)| format!("--segment {start}-{end}"))
            .collect();
        let clip = look(
            source.path(),
            &format!("{} --fps {fps} --mute", flags.join(" ")),
        );
        assert_eq!(way(&clip), ("encode", "fps"));
        let (picked, times) = thinned(&source, spans, f64::from(fps));
        let got = frames::read(&clip.path).frames;
        shown_at(&got, &times);
        assert_eq!(numbers(source.frames(), &got), picked, "{}", source.name());
    }
}

#[test]
fn frames_made_of_fields_are_counted_once() {
    let path = film(
        "looks-fields.mp4",
        &format!("{},tinterlace=interleave_top", gentle("320x180", "50", 2.0)),
        None,
        &format!("{H264} -flags +ilme+ildct -top 1"),
    );
    let clip = look(&path, "--start 0.2 --end 1.6 --fps 10");
    let got = frames::decode(&clip.path, None);
    let times: Vec<f64> = (0..14)
        .map(|cell| (f64::from(cell) * 2.5).ceil() / 25.0)
        .collect();
    shown_at(&got, &times);
    let clip = look(&path, "--start 0.2 --end 1.2 --speed 0.5 --reverse");
    let times: Vec<f64> = (0..25).map(|number| f64::from(number) * 0.08).collect();
    shown_at(&frames::decode(&clip.path, None), &times);
}

#[test]
fn speed_changes_how_long_it_takes_and_not_how_high_it_sounds() {
    let source = Source::read(tone());
    for speed in [0.25, 0.75, 2.0] {
        let clip = look(
            source.path(),
            &format!("--start 0.4 --end 2.8 --speed {speed}"),
        );
        assert_eq!(way(&clip), ("encode", "speed"));
        let got = frames::read(&clip.path);
        let length = 2.4 / speed;
        let told = clip.told["duration"].as_f64().unwrap();
        assert!((told - length).abs() < 0.001, "{speed}: {told} s");
        // A picture whose time is near is as good as the very one: which are left out is not the matter here.
        let numbers = numbers(source.frames(), &got.frames);
        for (frame, number) in got.frames.iter().zip(&numbers) {
            let time = (source.time(*number) - 0.4) / speed;
            assert!((frame.time - time).abs() < 0.0011, "{speed}: {number}");
        }
        // None twice, and at most 30 a second where there are more.
        assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{speed}");
        let most = (60.0_f64).min((length * 30.0).round());
        assert!(
            (got.frames.len() as f64 - most).abs() <= 1.0,
            "{speed}: {}",
            got.frames.len()
        );
        let sound = got.sound.unwrap();
        let (from, to) = (0.6 / speed, 1.6 / speed);
        let heard = pitch(part(&sound, from + 0.05, to - 0.05));
        assert!((heard - 440.0).abs() < 6.0, "{speed}: {heard} Hz");
        // It is heard where it belongs.
        let loud = |from: f64, to: f64| level(part(&sound, from, to)) > 0.1;
        assert!(loud(from + 0.025, from + 0.05), "{speed}");
        assert!(loud(to - 0.05, to - 0.025), "{speed}");
        assert!(
            !loud(0.0, from - 0.025) && !loud(to + 0.025, length),
            "{speed}"
        );
    }
}

/// The pictures of a span, from the last to the first.
fn backward(source: &Source, start: f64, end: f64) -> Vec<usize> {
    let mut wanted = source.wanted(start, end);
    wanted.reverse();
    wanted
}

#[test]
fn a_reversed_clip_begins_with_its_last_picture_and_sound() {
    let source = Source::read(short());
    let clip = look(source.path(), "--start 0.85 --end 2.4 --reverse");
    assert_eq!(way(&clip), ("encode", "reverse"));
    let got = frames::read(&clip.path);
    let wanted = backward(&source, 0.85, 2.4);
    assert_eq!(numbers(source.frames(), &got.frames), wanted);
    let times: Vec<f64> = (0..wanted.len())
        .map(|number| number as f64 / 25.0)
        .collect();
    shown_at(&got.frames, &times);
    // Not worse than what any encode loses.
    for (frame, number) in got.frames.iter().zip(&wanted) {
        let like = psnr(&frame.luma, &source.frames()[*number].luma);
        assert!(like > 36.0, "picture {number} by {like:.1} dB");
    }
    let first = source.time(*wanted.last().unwrap());
    let length = wanted.len() as f64 / 25.0;
    let mut heard = part(
        source.contents.sound.as_ref().unwrap(),
        first,
        first + length,
    )
    .to_vec();
    heard.reverse();
    let (late, alike) = shift(&heard, part(&got.sound.unwrap(), 0.0, length));
    assert!(late.abs() < 0.002 && alike > 0.9, "{late} s, {alike}");
}

#[test]
fn several_segments_play_backward_as_one() {
    let source = Source::read(remuxed("looks-short.mkv", &short(), ""));
    let clip = look(
        source.path(),
        "--segment 2.1-2.93 --segment 0.3-1.11 --reverse --speed 1.25 --mute",
    );
    let mut wanted = backward(&source, 0.3, 1.11);
    wanted.extend(backward(&source, 2.1, 2.93));
    let shown = numbers(source.frames(), &frames::read(&clip.path).frames);
    // 31.25 pictures a second are more than 30: one in 25 is left out.
    let missing = wanted.len() - shown.len();
    assert!((1..=3).contains(&missing), "{missing}");
    let mut rest = wanted.iter();
    assert!(
        shown
            .iter()
            .all(|number| rest.any(|wanted| wanted == number)),
        "{shown:?}"
    );
}

#[test]
fn a_boomerang_shows_its_turning_points_once() {
    let source = Source::read(tone());
    let clip = look(source.path(), "--start 1.2 --end 2.6 --boomerang");
    assert_eq!(way(&clip), ("encode", "boomerang"));
    let wanted = source.wanted(1.2, 2.6);
    let inner = &wanted[1..wanted.len() - 1];
    let all: Vec<usize> = wanted.iter().chain(inner.iter().rev()).copied().collect();
    let got = frames::read(&clip.path);
    assert_eq!(numbers(source.frames(), &got.frames), all);
    let times: Vec<f64> = (0..all.len()).map(|number| number as f64 / 25.0).collect();
    shown_at(&got.frames, &times);
    let length = all.len() as f64 / 25.0;
    let sound = got.sound.unwrap();
    assert!((sound.len() as f64 / 48_000.0 - length).abs() < 0.025);
    // The tone ends at 0.8 and comes back when that moment does: the last picture, shown once, turns at 1.36 and 1.4.
    let loud = |from: f64, to: f64| level(part(&sound, from, to)) > 0.1;
    let back = 1.4 + (1.4 - 0.04) - 0.8;
    assert!(loud(0.02, 0.78) && !loud(0.82, back - 0.02) && loud(back + 0.02, length - 0.02));
}

#[test]
fn fades_begin_in_black_and_silence_and_end_there() {
    let path = film(
        "looks-plain.mp4",
        "color=gray:size=160x90:rate=25:duration=3",
        Some("sine=440:r=48000:d=3"),
        H264,
    );
    let clip = look(&path, "--start 0.5 --end 2.5 --fade-in 0.5 --fade-out 0.8");
    assert_eq!(way(&clip), ("encode", "fade"));
    let got = frames::read(&clip.path);
    let light = |number: usize| f64::from(got.frames[number].luma[45 * 160 + 80]);
    let (black, grey) = (16.0, light(20));
    assert!(grey > 100.0);
    for (number, share) in [
        (0, 0.0),
        (6, 0.48),
        (13, 1.0),
        (30, 1.0),
        (40, 0.5),
        (49, 0.05),
    ] {
        let wanted = black + share * (grey - black);
        let seen = light(number);
        assert!(
            (seen - wanted).abs() < 4.0,
            "picture {number}: {seen} for {wanted}"
        );
    }
    let sound = got.sound.unwrap();
    let full = level(part(&sound, 0.6, 1.1));
    for (at, share) in [(0.01, 0.02), (0.25, 0.5), (1.6, 0.5), (1.98, 0.025)] {
        let heard = level(part(&sound, at - 0.01, at + 0.01)) / full;
        assert!(
            (heard - share).abs() < 0.04,
            "at {at} s: {heard} for {share}"
        );
    }
}

#[test]
fn loudness_and_volume_leave_the_pictures_untouched() {
    let source = short();
    for (spans, looks) in [
        (
            "--start 0.85 --end 2.4",
            &["--volume 0.5", "--volume 1.5", "--loudness=-14"][..],
        ),
        ("--segment 1.1-2.3 --segment 0.9-1.7", &["--loudness=-31"]),
    ] {
        let plain = look(&source, spans);
        let (hashes, own) = (frames::hashes(&plain.path), frames::samples(&plain.path));
        for flags in looks {
            let clip = look(&source, &format!("{spans} {flags}"));
            assert_eq!(way(&clip), ("splice", "exact"), "{flags}");
            assert_eq!(clip.told["frames_copied"], plain.told["frames_copied"]);
            assert_eq!(frames::hashes(&clip.path), hashes, "{flags}");
            let sound = frames::samples(&clip.path);
            let (late, alike) = shift(&own, &sound);
            assert!(
                late.abs() < 0.002 && alike > 0.9,
                "{flags}: {late} s, {alike}"
            );
            if let Some(volume) = flags.strip_prefix("--volume ") {
                let factor = level(&sound) / level(&own);
                let volume: f64 = volume.parse().unwrap();
                assert!((factor / volume - 1.0).abs() < 0.03, "{flags}: {factor}");
            } else {
                let wanted: f64 = flags["--loudness=".len()..].parse().unwrap();
                let (heard, _) = loudness(&clip.path);
                assert!((heard - wanted).abs() < 0.5, "{flags}: {heard} LUFS");
            }
        }
    }
}

#[test]
fn loudness_holds_peaks_down_and_leaves_silence_silent() {
    // Short strokes far above the rest: at -14 LUFS they would clip.
    let strokes = made("looks-strokes.mp4", |path| {
        let sound =
            "aevalsrc='(0.04+0.7*lt(mod(t,0.5),0.004))*sin(2*PI*900*t)':s=44100:c=stereo:d=3";
        crate::support::media::ffmpeg(&[
            "-i",
            short().to_str().unwrap(),
            "-f",
            "lavfi",
            "-i",
            sound,
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c:v",
            "copy",
            "-c:a",
            "aac",
            "-b:a",
            "192k",
            "-shortest",
            path,
        ]);
    });
    let clip = look(&strokes, "--start 0.5 --end 2.5 --loudness=-14");
    let (heard, peak) = loudness(&clip.path);
    assert!(peak < -0.5, "{peak} dBTP");
    assert!((heard + 14.0).abs() < 1.0, "{heard} LUFS");
    // What is shorter than a measurement is measured all the same, and in every look.
    let clip = look(
        &tone(),
        "--start 1.2 --end 1.5 --loudness=-20 --speed 0.5 --reverse",
    );
    let (heard, _) = loudness(&clip.path);
    assert!((heard + 20.0).abs() < 0.7, "{heard} LUFS");
    let clip = look(&tone(), "--start 0 --end 0.9 --loudness=-16");
    assert!(level(part(&frames::samples(&clip.path), 0.0, 0.85)) < 1e-4);
}

#[test]
fn every_look_goes_with_sources_of_high_dynamic_range() {
    let path = film(
        "looks-high.mp4",
        "color=black:size=320x180:rate=25:duration=1,format=yuv420p10le,geq=lum='64+876*X/W':cb=512:cr=512",
        Some(&sweep(48_000, "stereo", 1.0)),
        "-c:v libx265 -x265-params log-level=none -color_primaries bt2020 -color_trc smpte2084 \
         -colorspace bt2020nc -tag:v hvc1 -c:a aac",
    );
    let clip = look(
        &path,
        "--start 0.2 --end 0.8 --crop 50%x100%+50%+0% --height 90 --boomerang --speed 0.5 --fade-out 0.2",
    );
    let got = frames::decode(&clip.path, None);
    assert_eq!((got.len(), frames::shown_size(&clip.path)), (28, (80, 90)));
    let luma = &got[3].luma;
    // The brighter half of the ramp: by PQ the white of a page lies at a sixth of it.
    let at = |x: usize| luma[45 * 80 + x];
    assert!(
        at(14) > 195 && at(2) < 210 && at(78) >= at(14),
        "{} {} {}",
        at(2),
        at(14),
        at(78)
    );
    let tags = frames::ffprobe(
        &clip.path,
        &[
            "-select_streams",
            "v:0",
            "-show_entries",
            "stream=color_transfer,color_space",
            "-of",
            "csv=p=0",
        ],
    );
    assert_eq!(tags.trim(), "bt709,bt709");
}

#[test]
fn sound_that_ends_early_is_silence_first_when_it_is_reversed() {
    let path = film(
        "looks-early.mp4",
        &gentle("320x180", "25", 3.0),
        Some("aevalsrc='0.25*sin(2*PI*440*t)*between(t,1,2)':s=48000:c=mono:d=2"),
        H264,
    );
    for (flags, from, until) in [
        ("--reverse", 1.0, 2.0),
        ("--reverse --speed 2", 0.5, 1.0),
        ("--reverse --speed 0.5", 2.0, 4.0),
    ] {
        let clip = look(&path, &format!("--start 0 --end 3 {flags}"));
        let heard = frames::samples(&clip.path);
        let margin = 0.08;
        for (start, end, there) in [
            (0.0, from - margin, false),
            (from + margin, until - margin, true),
            (until + margin, until + 0.4, false),
        ] {
            let level = level(part(&heard, start, end));
            assert_eq!(level > 0.1, there, "{flags}: {level} from {start} to {end}");
            assert!(there || level < 0.01, "{flags}: {level} from {start}");
        }
    }
}

#[test]
fn many_segments_need_no_more_memory_than_one_child_has() {
    let path = film(
        "looks-480.mp4",
        &gentle("854x480", "25", 3.0),
        Some(&sweep(48_000, "stereo", 3.0)),
        H264,
    );
    let segments: Vec<String> = (0..20)
        .map(|number| f64::from(number) * 0.14)
        .map(|start| format!("--segment {start:.2}-{:.2}", start + 0.12))
        .collect();
    let clip = look(&path, &format!("{} --fade-in 0.1", segments.join(" ")));
    assert_eq!(way(&clip), ("encode", "fade"));
    assert_eq!(frames::times(&clip.path).len(), 60);
}
