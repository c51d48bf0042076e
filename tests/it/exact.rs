//! Exactness, proved by decoding source and clip and comparing them picture by picture and sound by sound; what the engine says about
//! itself is never taken as proof.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::frames;
use crate::support::media::{self, H264, film, gentle, made, remuxed, short, sweep, turned};
use crate::support::origin::{Behaviour, Origin};
use crate::support::proof::{SYNC, Source, check, clip, cut_and_compare, same_sound};
use crate::support::service::{self, Service, recipe};

/// Spans that an exact cut has to get right, wherever the keyframes of a source are.
fn everywhere(source: &Source) -> Vec<(f64, f64)> {
    let key = source.keyframes[2];
    let at = source
        .frames()
        .iter()
        .position(|frame| (frame.time - key).abs() < 1e-6)
        .unwrap();
    let (before, after) = (source.time(at - 1), source.time(at + 1));
    let last = source.time(source.frames().len() - 1);
    vec![
        (key, key + 0.5),
        (before, before + 0.37),
        (after, after + 0.37),
        // Inside one group, at odd times, and across two keyframes.
        (source.keyframes[1] + 0.313, source.keyframes[1] + 0.777),
        (source.keyframes[1] - 0.25, key + 0.1),
        // Whole groups between two pieces of others, and all there is.
        (source.keyframes[1] - 0.25, source.keyframes[3] + 0.3),
        (0.0, last + 0.1),
        (0.0, 0.5),
        // Without the last frame, and with it.
        (last - 0.4, last),
        (last - 0.3, last + 60.0),
    ]
}

/// Two spans that say whether a source is read rightly: one across a keyframe, one at the end.
fn here_and_there(source: &Source) -> Vec<(f64, f64)> {
    let last = source.time(source.frames().len() - 1);
    vec![(0.85, 1.31), (last - 0.5, last)]
}

#[test]
fn an_mp4_is_cut_exactly_everywhere() {
    let source = Source::read(short());
    check(&source, &everywhere(&source));
}

#[test]
fn a_matroska_file_is_cut_exactly_everywhere() {
    let source = Source::read(remuxed("short.mkv", &short(), ""));
    check(&source, &everywhere(&source));
}

#[test]
fn a_transport_stream_is_cut_exactly_everywhere() {
    let source = Source::read(remuxed("short.ts", &short(), ""));
    assert!(source.contents.zero > 1.0);
    check(&source, &everywhere(&source));
}

fn open_groups() -> PathBuf {
    film(
        "open.mp4",
        &gentle("320x180", "25", 4.0),
        Some(&sweep(48_000, "stereo", 4.0)),
        &format!("{H264} -x264-params open-gop=1:b-adapt=0"),
    )
}

#[test]
fn pictures_of_open_groups_are_cut_exactly_everywhere() {
    let source = Source::read(open_groups());
    check(&source, &everywhere(&source));
}

#[test]
fn the_place_of_an_mp4s_index_does_not_matter() {
    for (name, arguments) in [
        ("index-behind.mp4", ""),
        (
            "fragmented.mp4",
            "-movflags +frag_keyframe+empty_moov+default_base_moof",
        ),
    ] {
        let source = Source::read(remuxed(name, &short(), arguments));
        check(&source, &here_and_there(&source));
    }
}

#[test]
fn quicktime_and_flash_files_are_cut_exactly() {
    for name in ["short.mov", "short.flv"] {
        let source = Source::read(remuxed(name, &short(), ""));
        check(&source, &here_and_there(&source));
    }
}

#[test]
fn a_stream_without_reordering_is_cut_exactly() {
    let path = film(
        "baseline.mp4",
        &gentle("320x180", "25", 4.0),
        Some(&sweep(44_100, "mono", 4.0)),
        &format!("{H264} -bf 0 -profile:v baseline"),
    );
    let source = Source::read(path);
    check(&source, &here_and_there(&source));
}

#[test]
fn webm_is_cut_exactly_although_it_hides_pictures() {
    for (name, arguments) in [
        (
            "vp8.webm",
            "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 2M -g 25 -auto-alt-ref 1 -lag-in-frames 16 -c:a libvorbis",
        ),
        (
            "vp9.webm",
            "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M -g 25 -lag-in-frames 16 -c:a libopus",
        ),
    ] {
        let path = film(
            name,
            &gentle("320x180", "25", 3.0),
            Some(&sweep(48_000, "stereo", 3.0)),
            arguments,
        );
        let source = Source::read(path);
        check(&source, &here_and_there(&source));
    }
}

#[test]
fn an_avi_is_cut_exactly() {
    let path = film(
        "divx.avi",
        &gentle("320x180", "25", 3.0),
        Some(&sweep(44_100, "stereo", 3.0)),
        "-c:v mpeg4 -q:v 4 -g 25 -c:a libmp3lame -b:a 128k",
    );
    let source = Source::read(path);
    check(&source, &here_and_there(&source));
}

#[test]
fn hevc_is_cut_exactly() {
    let path = film(
        "hevc.mp4",
        &gentle("320x180", "25", 3.0),
        Some(&sweep(48_000, "stereo", 3.0)),
        "-c:v libx265 -preset ultrafast -x265-params keyint=25:bframes=3:log-level=none -tag:v hvc1 -c:a aac",
    );
    let source = Source::read(path);
    check(&source, &here_and_there(&source));
}

#[test]
fn frames_that_come_at_no_steady_rate_keep_their_times() {
    // Of each ten frames some are missing, and now and then a whole third of a second.
    let uneven =
        "select='not(eq(mod(n,10),3)+eq(mod(n,10),4)+eq(mod(n,7),2)+between(mod(n,50),30,38))'";
    let moved = format!("{},{uneven}", gentle("320x180", "30", 4.0));
    for name in ["uneven.mp4", "uneven.mkv"] {
        let path = film(
            name,
            &moved,
            Some(&sweep(48_000, "stereo", 4.0)),
            &format!("-fps_mode passthrough -enc_time_base 1:90000 {H264}"),
        );
        let source = Source::read(path);
        let gaps: Vec<f64> = source
            .frames()
            .windows(2)
            .map(|pair| pair[1].time - pair[0].time)
            .collect();
        assert!(gaps.iter().any(|gap| *gap > 0.25) && gaps.iter().any(|gap| *gap < 0.04));
        let mut spans = here_and_there(&source);
        spans.push((0.5, 2.5));
        check(&source, &spans);
    }
}

#[test]
fn rates_that_are_no_whole_numbers_are_cut_exactly() {
    for (name, rate) in [
        ("23.976.mp4", "24000/1001"),
        ("29.97.mp4", "30000/1001"),
        ("59.94.mp4", "60000/1001"),
        ("29.97.mkv", "30000/1001"),
    ] {
        let path = film(
            name,
            &gentle("320x180", rate, 3.0),
            Some(&sweep(48_000, "stereo", 3.0)),
            H264,
        );
        let source = Source::read(path);
        check(&source, &here_and_there(&source)[..1]);
    }
}

#[test]
fn one_frame_is_a_clip() {
    let path = film(
        "slow.mp4",
        &gentle("320x180", "5", 4.0),
        Some(&sweep(48_000, "stereo", 4.0)),
        &format!("{H264} -g 5"),
    );
    let source = Source::read(path);
    for number in [0, 7, 10, source.frames().len() - 1] {
        let start = source.time(number);
        assert_eq!(source.wanted(start, start + 0.1), [number]);
        check(&source, &[(start, start + 0.1)]);
    }
}

#[test]
fn a_time_that_was_rounded_means_the_frame_it_names() {
    let source = Source::read(short());
    let (from, to) = (source.time(31), source.time(45));
    for rounding in [-0.0009, 0.0, 0.0009] {
        assert_eq!(source.wanted(from + rounding, to + rounding).len(), 14);
        check(&source, &[(from + rounding, to + rounding)]);
    }
}

#[test]
fn a_stream_that_starts_late_keeps_its_distance() {
    for (name, late) in [
        ("late-sound.mp4", "-map 0:v -map 1:a"),
        ("late-pictures.mp4", "-map 1:v -map 0:a"),
        ("late-sound.mkv", "-map 0:v -map 1:a"),
        ("late-pictures.ts", "-map 1:v -map 0:a"),
    ] {
        let path = made(name, |path| {
            let from = short();
            let from = from.to_str().unwrap();
            let mut list = vec!["-i", from, "-itsoffset", "0.5", "-i", from];
            list.extend(late.split(' '));
            list.extend(["-c", "copy", path]);
            media::ffmpeg(&list);
        });
        let source = Source::read(path);
        check(&source, &[(0.2, 1.3), (1.5, 2.0)]);
    }
}

#[test]
fn what_an_edit_list_hides_stays_hidden() {
    // Cut without encoding, as phones and editors do: the packets before the start are there but not shown.
    let path = made("trimmed.mp4", |path| {
        let from = short();
        media::ffmpeg(&[
            "-ss",
            "0.6",
            "-i",
            from.to_str().unwrap(),
            "-c",
            "copy",
            path,
        ]);
    });
    let source = Source::read(path);
    assert!(source.frames().len() < 90);
    check(&source, &[(0.0, 0.6), (0.5, 1.0)]);
}

#[test]
fn pictures_that_few_players_know_come_out_as_every_player_knows_them() {
    for (name, format) in [
        ("full-colour.mp4", "-pix_fmt yuv444p"),
        ("ten-bit.mp4", "-pix_fmt yuv420p10le"),
    ] {
        let path = film(
            name,
            &gentle("320x180", "25", 3.0),
            Some(&sweep(48_000, "stereo", 3.0)),
            &format!("{H264} {format}"),
        );
        let source = Source::read(path);
        let clip = cut_and_compare(&source, source.name(), &[(0.85, 1.31)]);
        assert_eq!(stream(&clip.path, "v:0", "pix_fmt"), "yuv420p", "{name}");
    }
}

#[test]
fn odd_sizes_lose_a_line_and_nothing_else() {
    for (name, size, arguments, wanted) in [
        (
            "odd.mp4",
            (321, 181),
            format!("{H264} -pix_fmt yuv444p"),
            (320, 180),
        ),
        (
            "odd.webm",
            (319, 240),
            "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M -g 25 -c:a libopus".to_owned(),
            (318, 240),
        ),
    ] {
        let (width, height) = size;
        // testsrc2 itself makes even sizes only.
        let cropped = format!(
            "{},crop={width}:{height}:exact=1",
            gentle("324x244", "25", 2.0)
        );
        let sound = sweep(48_000, "stereo", 2.0);
        let source = Source::read(film(name, &cropped, Some(&sound), &arguments));
        assert_eq!(source.contents.size, size);
        let clip = cut_and_compare(&source, source.name(), &[(0.85, 1.31)]);
        assert_eq!(frames::shown_size(&clip.path), wanted);
    }
}

#[test]
fn a_phone_video_comes_out_upright_exactly_once() {
    for degrees in [90, 180, 270] {
        let source = Source::read(turned(&format!("turned-{degrees}.mp4"), &short(), degrees));
        let upright = if degrees == 180 {
            (320, 180)
        } else {
            (180, 320)
        };
        assert_eq!(source.contents.size, upright, "ffmpeg turns the source");
        // Across a keyframe, inside a group, and lower than the source: copied with the matrix, or turned and encoded.
        for span in [(0.85, 1.31), (1.313, 1.777)] {
            let clip = cut_and_compare(&source, source.name(), &[span]);
            assert_eq!(
                (&clip.told["width"], &clip.told["height"]),
                (&Value::from(upright.0), &Value::from(upright.1))
            );
            let entries = [
                "-show_entries",
                "stream_side_data=rotation:stream_tags=rotate",
            ];
            let turned_again = frames::ffprobe(&clip.path, &entries).contains("rotat");
            let copied = clip.told["method"] == "splice";
            assert_eq!(turned_again, copied, "{degrees}: {}", clip.told);
        }
    }
}

#[test]
fn a_source_without_sound_makes_a_clip_without_sound() {
    let path = film("silent.mp4", &gentle("320x180", "25", 2.0), None, H264);
    let source = Source::read(path);
    let clip = cut_and_compare(&source, source.name(), &[(0.85, 1.31)]);
    assert_eq!(kinds(&clip.path), ["video"]);
    assert_eq!(clip.told["audio_codec"], Value::Null);
}

#[test]
fn a_muted_clip_has_no_sound_track() {
    let source = Source::read(short());
    for mode in ["exact", "fast"] {
        let clip = clip(
            source.name(),
            &["--start", "1", "--end", "1.5", "--mute", "--mode", mode],
        );
        assert_eq!(kinds(&clip.path), ["video"], "{mode}");
        assert_eq!(frames::times(&clip.path).len(), 13, "{mode}");
    }
}

#[test]
fn sound_is_in_sync_whatever_its_rate_and_layout() {
    let quiet = gentle("160x90", "25", 3.0);
    for (name, rate, layout) in [
        ("mono-44.mp4", 44_100, "mono"),
        ("stereo-44.mp4", 44_100, "stereo"),
        ("mono-48.mkv", 48_000, "mono"),
        ("surround-48.mp4", 48_000, "5.1"),
        ("surround-44.ts", 44_100, "5.1"),
        ("low.mkv", 22_050, "stereo"),
    ] {
        let source = Source::read(film(name, &quiet, Some(&sweep(rate, layout, 3.0)), H264));
        // Inside a group all is encoded; with a whole group in it pictures and sound are copied.
        for span in [(1.37, 1.97), (0.62, 2.4)] {
            let clip = cut_and_compare(&source, source.name(), &[span]);
            assert_eq!(stream(&clip.path, "a:0", "codec_name"), "aac", "{name}");
            let channels = stream(&clip.path, "a:0", "channels");
            let encoded = clip.told["method"] == "encode";
            assert!(channels != "6" || !encoded, "{name}: six channels");
        }
    }
}

#[test]
fn sound_that_starts_late_or_ends_early_leaves_silence() {
    let path = made("sound-in-the-middle.mp4", |path| {
        let (pictures, sound) = (gentle("160x90", "25", 4.0), sweep(48_000, "stereo", 1.5));
        let mut list = vec![
            "-f",
            "lavfi",
            "-i",
            &pictures,
            "-itsoffset",
            "1",
            "-f",
            "lavfi",
            "-i",
            &sound,
        ];
        list.extend(H264.split_whitespace());
        list.push(path);
        media::ffmpeg(&list);
    });
    let source = Source::read(path);
    // Sound from 1.0 to 2.5: where it is in the clip, if anywhere.
    for (start, end, heard) in [
        (0.4, 2.0, (0.6, 1.6)),
        (2.0, 3.6, (0.0, 0.5)),
        (0.6, 3.4, (0.4, 1.9)),
    ] {
        let clip = clip(
            source.name(),
            &["--start", &start.to_string(), "--end", &end.to_string()],
        );
        let sound = frames::read(&clip.path).sound.unwrap();
        // Each hundredth of a second is loud or silent; the ones at the edges may be either.
        for (number, piece) in sound.chunks_exact(480).enumerate() {
            let time = number as f64 / 100.0;
            let loud = piece.iter().map(|sample| sample.abs()).fold(0.0, f32::max);
            if time > heard.0 + 0.03 && time < heard.1 - 0.03 {
                assert!(loud > 0.05, "{start}-{end}: silent at {time}");
            } else if time < heard.0 - 0.03 || time > heard.1 + 0.03 {
                assert!(loud < 0.02, "{start}-{end}: loud at {time}");
            }
        }
        let place = |samples: &[f32], time: f64| samples[(time * 48_000.0) as usize..].to_vec();
        let original = source.contents.sound.as_ref().unwrap();
        let (shift, alike) = frames::shift(
            &place(original, start + heard.0)[..(24_000.0 * (heard.1 - heard.0)) as usize],
            &place(&sound, heard.0)[..(24_000.0 * (heard.1 - heard.0)) as usize],
        );
        assert!(
            shift.abs() < SYNC && alike > 0.9,
            "{start}-{end}: {shift} s late, alike by {alike}"
        );
    }
    // Where there is no sound at all there is no track of silence.
    let clip = clip(source.name(), &["--start", "3", "--end", "3.5"]);
    assert_eq!(kinds(&clip.path), ["video"]);
}

#[test]
fn a_link_is_cut_as_exactly_as_a_file() {
    let origin = Origin::start();
    for path in [
        short(),
        remuxed("index-behind.mp4", &short(), ""),
        remuxed("short.mkv", &short(), ""),
        remuxed("short.ts", &short(), ""),
    ] {
        let name = format!("/{}", path.file_name().unwrap().to_str().unwrap());
        let link = origin.add(&name, Behaviour::File(path.clone()));
        let source = Source::read(path);
        cut_and_compare(&source, &link, &[(2.13, 2.61)]);
    }
}

#[test]
fn a_server_that_gives_all_or_nothing_is_no_hindrance_wherever_the_index_is() {
    let origin = Origin::start();
    let long = film(
        "index-far-behind.mp4",
        &gentle("640x360", "25", 6.0),
        Some(&sweep(48_000, "stereo", 6.0)),
        &format!("{H264} -b:v 1M"),
    );
    for path in [
        short(),
        remuxed("index-behind.mp4", &short(), ""),
        remuxed("index-far-behind-again.mp4", &long, ""),
    ] {
        let name = format!("/{}", path.file_name().unwrap().to_str().unwrap());
        let link = origin.add(&name, Behaviour::WithoutRanges(path.clone()));
        let source = Source::read(path);
        cut_and_compare(&source, &link, &[(2.13, 2.61)]);
    }
}

#[test]
fn segments_follow_each_other_in_the_order_asked_for_without_a_gap() {
    for path in [
        short(),
        remuxed("short.mkv", &short(), ""),
        remuxed("short.ts", &short(), ""),
    ] {
        let source = Source::read(path);
        let name = source.name();
        for spans in [
            &[(0.5, 1.0), (1.9, 2.4), (3.0, 3.4)][..],
            // Out of order, overlapping, one twice, and one past the end.
            &[(3.6, 9.0), (0.0, 0.5), (0.25, 0.75), (0.25, 0.75)],
        ] {
            cut_and_compare(&source, name, spans);
        }
    }
}

#[test]
fn segments_keep_their_places_when_only_some_have_sound() {
    let source = Source::read(film(
        "sound-at-first.mp4",
        &gentle("160x90", "25", 4.0),
        Some(&sweep(44_100, "stereo", 2.0)),
        H264,
    ));
    let name = source.name();
    cut_and_compare(
        &source,
        name,
        &[(2.5, 3.0), (1.0, 1.5), (3.0, 3.4), (0.2, 0.7)],
    );
}

/// Cuts fast and wants the source's own pictures, bit for bit, from the keyframe at or before the start on.
#[track_caller]
fn check_fast(path: PathBuf, spans: impl Fn(&Source) -> Vec<(f64, f64)>) {
    let source = Source::read(path);
    let hashes = frames::hashes(source.path());
    for (start, end) in spans(&source) {
        let case = format!("{} from {start} to {end}", source.name());
        let clip = clip(
            source.name(),
            &[
                "--start",
                &start.to_string(),
                "--end",
                &end.to_string(),
                "--mode",
                "fast",
            ],
        );
        assert_eq!(clip.told["method"], "copy", "{case}");
        let from = source.keyframe_before(start);
        assert!(
            (clip.told["start"].as_f64().unwrap() - from).abs() < source.tick,
            "{case}: starts at {from}, but {}",
            clip.told
        );
        let first = source.wanted(from, f64::INFINITY)[0];
        let copied = frames::hashes_despite_messages(&clip.path);
        assert!(
            hashes[first..].starts_with(&copied),
            "{case}: the frames from {first} on are not those of the source"
        );
        let last = *source.wanted(start, end).last().unwrap();
        assert!(
            first + copied.len() > last,
            "{case}: frame {last} is missing"
        );
        assert!(
            first + copied.len() <= last + 5,
            "{case}: {} frames",
            copied.len()
        );
        let times = frames::times(&clip.path);
        assert_eq!(times.len(), copied.len(), "{case}");
        for (number, time) in times.iter().enumerate() {
            let wanted = source.time(first + number) - source.time(first);
            assert!(
                (time - wanted).abs() <= source.tick,
                "{case}: frame {number} is at {time}"
            );
        }
        let length = source.over(first + copied.len() - 1) - source.time(first);
        let sound = frames::samples(&clip.path);
        let original = source.contents.sound.as_ref().unwrap();
        same_sound(original, source.time(first), &sound, 0.0, length, &case);
    }
}

#[test]
fn a_fast_cut_changes_no_pixel_and_says_where_it_starts() {
    check_fast(short(), |source| {
        let key = source.keyframes[2];
        vec![
            (key, key + 0.5),
            (key - 0.3, key + 0.2),
            (0.0, 0.4),
            (key + 0.5, 60.0),
        ]
    });
}

#[test]
fn a_fast_cut_is_the_same_from_every_container() {
    for name in ["short.mkv", "short.ts", "short.flv"] {
        check_fast(remuxed(name, &short(), ""), |source| {
            let key = source.keyframes[2];
            vec![(key, key + 0.5), (key - 0.3, key + 0.2)]
        });
    }
}

#[test]
fn a_fast_cut_of_open_groups_leaves_out_what_it_cannot_show() {
    check_fast(open_groups(), |source| {
        let key = source.keyframes[2];
        vec![(key, key + 0.5), (key - 0.3, key + 0.2)]
    });
}

#[test]
fn a_fast_cut_of_what_browsers_do_not_play_is_encoded_and_says_so() {
    let path = film(
        "vp9.webm",
        &gentle("320x180", "25", 3.0),
        Some(&sweep(48_000, "stereo", 3.0)),
        "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M -g 25 -lag-in-frames 16 -c:a libopus",
    );
    let clip = clip(
        path.to_str().unwrap(),
        &["--start", "0.5", "--end", "1", "--mode", "fast"],
    );
    assert_eq!(
        (&clip.told["method"], &clip.told["reason"]),
        (&Value::from("encode"), &Value::from("codec"))
    );
    let source = Source::read(path);
    assert_eq!(
        frames::times(&clip.path).len(),
        source.wanted(0.5, 1.0).len(),
        "exact all the same"
    );
}

/// How much the lines of pictures differ from those between which they lie: fields of different moments make combs of everything that
/// moves.
fn combs(frames: &[frames::Frame], width: usize) -> f64 {
    let of = |luma: &[u8]| {
        let lines: Vec<&[u8]> = luma.chunks_exact(width).collect();
        let three = lines.windows(3).flat_map(|three| {
            (0..width).map(move |x| {
                let between = (f64::from(three[0][x]) + f64::from(three[2][x])) / 2.0;
                (f64::from(three[1][x]) - between).abs()
            })
        });
        three.sum::<f64>() / luma.len() as f64
    };
    frames.iter().map(|frame| of(&frame.luma)).sum::<f64>() / frames.len() as f64
}

#[test]
fn fields_become_frames_each_at_its_time() {
    let path = film(
        "top-fields-first.mp4",
        &format!("{},tinterlace=interleave_top", gentle("320x180", "50", 4.0)),
        Some(&sweep(48_000, "stereo", 4.0)),
        &format!("{H264} -flags +ilme+ildct -top 1"),
    );
    let source = frames::decode(&path, None);
    for name in ["top-fields-first.mp4", "top-fields-first.mkv"] {
        let path = if name.ends_with("mp4") {
            path.clone()
        } else {
            remuxed(name, &path, "")
        };
        let clip = clip(
            path.to_str().unwrap(),
            &["--start", "0.51", "--end", "2.51"],
        );
        assert_eq!(
            (&clip.told["method"], &clip.told["reason"]),
            (&"encode".into(), &"interlaced".into())
        );
        let got = frames::decode(&clip.path, None);
        assert_eq!(got.len(), 50, "{name}");
        for (number, frame) in got.iter().enumerate() {
            assert!((frame.time - number as f64 / 25.0).abs() < 0.001, "{name}");
        }
        let (before, after) = (combs(&source[12..62], 320), combs(&got, 320));
        assert!(
            after < 0.7 * before,
            "{name}: combs of {before} became {after}"
        );
        // The same moments all the same: the lines of one field are kept.
        for (number, frame) in got.iter().enumerate() {
            let field = |luma: &[u8], which: usize| {
                luma.chunks_exact(640)
                    .flat_map(|two| two[320 * which..][..320].to_vec())
                    .collect::<Vec<u8>>()
            };
            let like = |other: usize| {
                let fields = [0, 1].map(|which| {
                    let (own, its) = (field(&frame.luma, which), field(&source[other].luma, which));
                    frames::psnr(&own, &its)
                });
                fields[0].max(fields[1])
            };
            let original = 13 + number;
            assert!(
                like(original) > 36.0
                    && like(original) > like(original - 1)
                    && like(original) > like(original + 1),
                "{name}: frame {number} is like its original by {:.1} dB",
                like(original)
            );
        }
    }
}

#[test]
fn high_dynamic_range_becomes_standard() {
    // Grey of 10 bits in 16 steps; by PQ (SMPTE ST 2084) code 0.58 is 203 cd/m², the white of a page (ITU-R BT.2408).
    let path = film(
        "high-ramp.mp4",
        "color=black:size=640x360:rate=25:duration=2,format=yuv420p10le,geq=lum='64+876*X/W':cb=512:cr=512",
        None,
        "-c:v libx265 -x265-params log-level=none -color_primaries bt2020 -color_trc smpte2084 \
         -colorspace bt2020nc -tag:v hvc1",
    );
    let clip = clip(path.to_str().unwrap(), &["--start", "0.5", "--end", "1.5"]);
    for (field, value) in [
        ("pix_fmt", "yuv420p"),
        ("color_transfer", "bt709"),
        ("color_primaries", "bt709"),
        ("color_space", "bt709"),
        ("color_range", "tv"),
    ] {
        assert_eq!(stream(&clip.path, "v:0", field), value, "{field}");
    }
    let got = frames::decode(&clip.path, None);
    assert_eq!(got.len(), 25);
    let line = &got[12].luma[100 * 640..101 * 640];
    let at = |share: f64| line[(share * 640.0) as usize];
    assert!(
        line.windows(32).all(|some| some[31] >= some[0]),
        "it is a ramp"
    );
    // Shown as it is, the white of a page would be a middle grey (148 of 255).
    assert!(at(0.58) > 200, "white is {}", at(0.58));
    assert!(
        at(0.3) < 90 && at(0.02) < 30,
        "shadows are {} and {}",
        at(0.3),
        at(0.02)
    );
}

#[test]
fn a_fast_cut_starts_where_the_probe_said_it_may() {
    let source = short();
    for path in [
        source.clone(),
        remuxed("short.mkv", &source, ""),
        remuxed("short.ts", &source, ""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let output = service::run(&["probe", path.to_str().unwrap(), "--json"], dir.path());
        let probe: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let snaps: Vec<f64> = probe["snap_points"]
            .as_array()
            .unwrap()
            .iter()
            .map(|time| time.as_f64().unwrap())
            .collect();
        assert_eq!(snaps.len(), 4, "{probe}");
        for start in ["0.3", "1.7", "2.1", "3.5"] {
            let wanted: f64 = start.parse().unwrap();
            let mut before = snaps.iter().copied().filter(|time| *time <= wanted);
            let clip = clip(
                path.to_str().unwrap(),
                &["--start", start, "--end", "3.9", "--mode", "fast"],
            );
            let said = clip.told["start"].as_f64().unwrap();
            assert!(
                (said - before.next_back().unwrap()).abs() < 0.002,
                "{}: from {start} it began at {said}, of {snaps:?}",
                path.display()
            );
        }
    }
}

#[test]
fn a_clip_plays_everywhere_and_carries_nothing_of_its_source() {
    let rich = made("rich.mkv", |path| {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("notes.txt");
        std::fs::write(
            &notes,
            ";FFMETADATA1\ntitle=Betrayal\nartist=Betrayal\nlocation=+48.8577+002.295/\n\
             [CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=2000\ntitle=Betrayal\n",
        )
        .unwrap();
        let (from, notes) = (short(), notes.to_str().unwrap().to_owned());
        media::ffmpeg(&[
            "-i",
            from.to_str().unwrap(),
            "-i",
            &notes,
            "-map",
            "0",
            "-map_metadata",
            "1",
            "-map_chapters",
            "1",
            "-metadata:s:v",
            "title=Betrayal",
            "-metadata:s:a",
            "language=fra",
            "-attach",
            &notes,
            "-metadata:s:2",
            "mimetype=text/plain",
            "-c",
            "copy",
            path,
        ]);
    });
    for mode in ["exact", "fast"] {
        let clip = clip(
            rich.to_str().unwrap(),
            &["--start", "1", "--end", "1.6", "--mode", mode],
        );
        assert_eq!(kinds(&clip.path), ["video", "audio"], "{mode}");
        assert_eq!(stream(&clip.path, "v:0", "codec_name"), "h264");
        assert_eq!(stream(&clip.path, "v:0", "pix_fmt"), "yuv420p");
        assert_eq!(stream(&clip.path, "a:0", "codec_name"), "aac");
        assert_eq!(frames::complaints(&clip.path), "", "{mode}");
        assert_eq!(
            frames::ffprobe(&clip.path, &["-show_chapters", "-of", "csv"]),
            ""
        );
        let bytes = std::fs::read(&clip.path).unwrap();
        assert!(
            !contains(&bytes, b"Betrayal"),
            "{mode}: a tag of the source is in the clip"
        );
        let order = boxes(&bytes);
        let place = |kind: &str| order.iter().position(|found| found == kind);
        assert_eq!(order.first().map(String::as_str), Some("ftyp"), "{mode}");
        assert!(place("moov") < place("mdat"), "{mode}: {order:?}");
    }
}

#[test]
fn a_poster_is_not_black_when_the_clip_is_not() {
    let (service, origin) = (Service::start(), Origin::start());
    let black = "color=c=black:size=320x180:rate=25:duration";
    let dawn = made("dawn.mp4", |path| {
        let (night, day) = (format!("{black}=2"), gentle("320x180", "25", 2.0));
        let graph = "[0:v][1:v]concat=n=2:v=1,format=yuv420p[v]";
        media::ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            &night,
            "-f",
            "lavfi",
            "-i",
            &day,
            "-filter_complex",
            graph,
            "-map",
            "[v]",
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-g",
            "250",
            path,
        ]);
    });
    let night = film("night.mp4", &format!("{black}=2"), None, H264);
    for (path, start, end, light) in [
        (&dawn, 0.0, 4.0, 60.0..250.0),
        (&dawn, 1.5, 2.5, 60.0..250.0),
        (&dawn, 0.0, 1.5, 0.0..20.0),
        (&night, 0.0, 1.5, 0.0..20.0),
    ] {
        let name = format!("/{}", path.file_name().unwrap().to_str().unwrap());
        let link = origin.add(&name, Behaviour::File(path.clone()));
        let clip = service.make(&recipe(&link, start, end));
        let answer = service.get(clip["urls"]["poster"].as_str().unwrap());
        assert_eq!(
            (answer.status, answer.header("content-type").as_str()),
            (200, "image/jpeg")
        );
        let dir = tempfile::tempdir().unwrap();
        let poster = dir.path().join("poster.jpg");
        std::fs::write(&poster, &answer.bytes).unwrap();
        let picture = &frames::decode(&poster, None)[0];
        let sum: f64 = picture.luma.iter().map(|luma| f64::from(*luma)).sum();
        let mean = sum / picture.luma.len() as f64;
        assert!(
            light.contains(&mean),
            "{name} from {start} to {end}: {mean}"
        );
    }
}

/// One field of one stream.
#[track_caller]
fn stream(path: &Path, which: &str, field: &str) -> String {
    let entry = format!("stream={field}");
    let printed = frames::ffprobe(
        path,
        &[
            "-select_streams",
            which,
            "-show_entries",
            &entry,
            "-of",
            "csv=p=0",
        ],
    );
    printed.trim().trim_end_matches(',').to_owned()
}

/// The kinds of a file's streams, in order.
#[track_caller]
fn kinds(path: &Path) -> Vec<String> {
    let printed = frames::ffprobe(
        path,
        &["-show_entries", "stream=codec_type", "-of", "csv=p=0"],
    );
    printed.lines().map(|line| line.trim().to_owned()).collect()
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// The kinds of an MP4's outermost boxes, in order.
fn boxes(bytes: &[u8]) -> Vec<String> {
    let (mut kinds, mut place) = (Vec::new(), 0);
    while let Some(head) = bytes.get(place..place + 8) {
        kinds.push(String::from_utf8_lossy(&head[4..]).into_owned());
        let size = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        assert!(size >= 8, "a box of {size} bytes");
        place += size;
    }
    kinds
}
