//! What a splice has to withstand: every kind of stream, container and cut that it meets in the wild, one test each, with the proof that
//! it was a splice wherever one can be right. The simplest kinds, and what is encoded anyway, are in `exact.rs`.

use std::path::PathBuf;

use crate::support::frames;
use crate::support::media::{self, H264, film, gentle, made, remuxed, several_sets, sweep};
use crate::support::proof::{Source, check, cut_and_compare, encode, splice};

/// Four seconds of 160x90 at 25 fps with sound, made by these arguments after those of [`H264`].
fn small(name: &str, arguments: &str) -> Source {
    at_rate(name, "25", arguments)
}

fn at_rate(name: &str, rate: &str, arguments: &str) -> Source {
    // Fast pictures make three groups in less time.
    let seconds = if ["60000/1001", "120"].contains(&rate) {
        2.0
    } else {
        4.0
    };
    let sound = sweep(48_000, "stereo", seconds);
    let pictures = gentle("160x90", rate, seconds);
    Source::read(film(
        name,
        &pictures,
        Some(&sound),
        &format!("{H264} {arguments}"),
    ))
}

/// What most tests take apart and put together anew.
fn plain() -> PathBuf {
    small("small.mp4", "").path().to_owned()
}

/// From the frame before a keyframe on, over another one, to a place between B-frames.
fn across(source: &Source) -> (f64, f64) {
    let [from, to] = [1, 2].map(|key| source.number(source.keyframes[key]));
    (source.time(from - 1), source.time(to + 3))
}

/// From the frame after the first keyframe on, so that a whole group but one is encoded, to behind the end.
fn rest(source: &Source) -> (f64, f64) {
    (source.time(1), 60.0)
}

/// Splices across keyframes and to the end.
#[track_caller]
fn check_splices(source: &Source) {
    splice(source, &[across(source)]);
    splice(source, &[rest(source)]);
}

#[test]
fn every_profile_is_spliced() {
    for (profile, name) in [
        ("baseline", "Constrained Baseline"),
        ("main", "Main"),
        ("high", "High"),
    ] {
        let source = small(
            &format!("profile-{profile}.mp4"),
            &format!("-profile:v {profile}"),
        );
        let entries = [
            "-select_streams",
            "v:0",
            "-show_entries",
            "stream=profile",
            "-of",
            "csv=p=0",
        ];
        assert_eq!(frames::ffprobe(source.path(), &entries).trim(), name);
        check_splices(&source);
    }
}

#[test]
fn both_entropy_codings_are_spliced_with_slices_and_weights() {
    for (name, arguments) in [
        ("cavlc.mp4", "cabac=0:8x8dct=1:weightp=2:weightb=1"),
        ("cabac.mp4", "cabac=1:slices=4:weightp=2:weightb=1"),
    ] {
        check_splices(&small(name, &format!("-x264-params {arguments}")));
    }
}

#[test]
fn pyramids_of_b_frames_are_spliced() {
    for pyramid in ["strict", "normal"] {
        let arguments = format!("-bf 7 -x264-params b-pyramid={pyramid}:b-adapt=0:ref=5");
        let source = small(&format!("pyramid-{pyramid}.mp4"), &arguments);
        check_splices(&source);
        // At every place of a run of B-frames.
        let key = source.number(source.keyframes[1]);
        for frame in [9, 12, 14, 15] {
            splice(&source, &[(source.time(key), source.time(key + frame))]);
        }
    }
}

/// An entry every second, of which only those at 0 and 2 s are IDR pictures.
fn few_entries(name: &str, params: &str) -> Source {
    let forced = "-force_key_frames 2 -forced-idr 1";
    let source = small(name, &format!("{forced} -x264-params {params}"));
    let entries = frames::units(source.path()).idr;
    assert_eq!(entries.iter().filter(|idr| **idr).count(), 2);
    assert!(source.keyframes.len() >= 4);
    source
}

#[test]
fn an_open_group_is_spliced_at_its_next_idr() {
    for name in ["few-open.mp4", "few-open.mkv", "few-open.ts"] {
        let source = few_entries(name, "open-gop=1:b-adapt=0");
        splice(&source, &[(0.9, 3.3)]);
        splice(&source, &[(0.0, 1.46)]);
        // A single frame behind the last joint.
        splice(&source, &[(0.0, 1.08)]);
        encode(&source, &[(2.5, 3.5)], "group");
    }
}

#[test]
fn a_gradual_refresh_is_spliced_at_its_next_idr() {
    for name in ["refresh.mp4", "refresh.ts"] {
        let source = few_entries(name, "intra-refresh=1:b-adapt=0");
        splice(&source, &[(0.9, 3.3)]);
        splice(&source, &[(0.0, 1.46)]);
        encode(&source, &[(2.5, 3.5)], "group");
    }
}

#[test]
fn groups_of_one_frame_are_spliced_anywhere_without_encoding() {
    let source = small("only-keys.mp4", "-g 1");
    assert_eq!(source.keyframes.len(), source.frames().len());
    for span in [(0.31, 1.47), (1.0, 1.1), (2.5, 60.0)] {
        let clip = splice(&source, &[span]);
        assert_eq!(clip.told["frames_encoded"], 0, "{}", clip.told);
    }
}

#[test]
fn a_group_of_ten_minutes_is_spliced_at_its_end_and_encoded_within() {
    let sound =
        "aevalsrc='0.15*sin(2*PI*(200*mod(t\\,4)+700*mod(t\\,4)*mod(t\\,4)))':s=44100:d=604";
    let source = Source::read(film(
        "ten-minutes.mp4",
        &gentle("160x90", "5", 604.0),
        Some(sound),
        "-c:v libx264 -preset ultrafast -bf 2 -crf 26 -pix_fmt yuv420p -force_key_frames 600 -forced-idr 1 \
         -x264-params keyint=infinite:scenecut=0:b-adapt=0 -c:a aac",
    ));
    assert_eq!(source.keyframes, [0.0, 600.0]);
    splice(&source, &[(598.5, 602.9)]);
    splice(&source, &[(0.0, 3.1)]);
    encode(&source, &[(444.3, 445.9)], "group");
}

#[test]
fn several_picture_parameter_sets_stay_in_force() {
    let source = Source::read(several_sets("several-sets.mp4", true));
    let joint = source.contents.frames.len() / 2;
    // Within what uses the first set, within what uses the second, and over both.
    for (from, to) in [(20, 49), (joint + 20, joint + 49), (joint - 30, joint + 20)] {
        splice(&source, &[(source.time(from), source.time(to))]);
    }
}

#[test]
fn parameter_sets_that_change_on_the_way_are_encoded() {
    let source = Source::read(several_sets("changing-sets.mp4", false));
    let joint = source.contents.frames.len() / 2;
    let span = (source.time(joint - 30), source.time(joint + 20));
    encode(&source, &[span], "parameters");
}

#[test]
fn messages_delimiters_and_filler_are_spliced() {
    let rate = "bitrate=900:vbv-maxrate=900:vbv-bufsize=900";
    for (name, params) in [
        (
            "delimited.mp4",
            "aud=1:pic-struct=1:frame-packing=3".to_owned(),
        ),
        ("bounded.mp4", format!("aud=1:nal-hrd=vbr:{rate}")),
        ("filled.mp4", format!("aud=1:nal-hrd=cbr:filler=1:{rate}")),
        ("filled.ts", format!("aud=1:nal-hrd=cbr:filler=1:{rate}")),
    ] {
        check_splices(&small(name, &format!("-x264-params {params}")));
    }
}

#[test]
fn frames_that_come_at_no_steady_rate_are_spliced() {
    let uneven =
        "select='not(eq(mod(n,10),3)+eq(mod(n,10),4)+eq(mod(n,7),2)+between(mod(n,50),30,38))'";
    let pictures = format!("{},{uneven}", gentle("160x90", "30", 4.0));
    let arguments =
        format!("-fps_mode passthrough -enc_time_base 1:90000 {H264} -g 20 -keyint_min 20");
    let sound = sweep(48_000, "stereo", 4.0);
    for name in [
        "unsteady.mp4",
        "unsteady.mkv",
        "unsteady.ts",
        "unsteady.flv",
    ] {
        let source = Source::read(film(name, &pictures, Some(&sound), &arguments));
        let gaps = source
            .frames()
            .windows(2)
            .map(|pair| pair[1].time - pair[0].time);
        let (least, most) = gaps.fold((1.0_f64, 0.0_f64), |(least, most), gap| {
            (least.min(gap), most.max(gap))
        });
        assert!(least < 0.04 && most > 0.25);
        splice(&source, &[across(&source)]);
    }
}

#[test]
fn every_frame_rate_is_spliced() {
    for (name, rate) in [
        ("rate-23.976.mp4", "24000/1001"),
        ("rate-29.97.ts", "30000/1001"),
        ("rate-59.94.mp4", "60000/1001"),
        ("rate-59.94.mkv", "60000/1001"),
        ("rate-120.mp4", "120"),
        ("rate-120.flv", "120"),
    ] {
        let source = at_rate(name, rate, "");
        splice(&source, &[across(&source)]);
    }
}

#[test]
fn a_first_decoding_time_below_zero_is_spliced() {
    for (name, arguments) in [
        ("negative.mp4", ""),
        ("negative-offsets.mp4", "-movflags +negative_cts_offsets"),
        ("negative.mkv", "-avoid_negative_ts disabled"),
    ] {
        let source = Source::read(remuxed(name, &plain(), arguments));
        splice(&source, &[(0.0, 1.3)]);
        splice(&source, &[across(&source)]);
    }
    let entries = [
        "-select_streams",
        "v:0",
        "-show_entries",
        "packet=dts",
        "-of",
        "csv=p=0",
    ];
    let times = frames::ffprobe(&remuxed("negative.mp4", &plain(), ""), &entries);
    assert!(times.starts_with('-'), "{}", times.lines().next().unwrap());
}

#[test]
fn what_is_left_of_a_trimmed_file_is_spliced() {
    // The packets from 1.0 s on are there, those from 1.52 s on are shown.
    for name in ["left.mp4", "left.mov"] {
        let path = made(name, |path| {
            let from = plain();
            media::ffmpeg(&[
                "-ss",
                "1.52",
                "-i",
                from.to_str().unwrap(),
                "-c",
                "copy",
                path,
            ]);
        });
        let source = Source::read(path);
        assert_eq!(source.frames().len(), 62);
        splice(&source, &[(0.0, 60.0)]);
        splice(&source, &[(0.1, 1.7)]);
    }
}

#[test]
fn a_source_that_does_not_start_at_zero_is_spliced() {
    for (name, arguments) in [
        ("from-half.mp4", "-output_ts_offset 0.5"),
        ("from-three.mkv", "-output_ts_offset 3.217"),
        ("from-three.mov", "-output_ts_offset 3.217"),
        ("from-three.flv", "-output_ts_offset 3.217"),
        ("from-day.ts", "-output_ts_offset 86400.5"),
    ] {
        let source = Source::read(remuxed(name, &plain(), arguments));
        splice(&source, &[across(&source)]);
    }
}

#[test]
fn pictures_that_start_later_or_earlier_than_the_sound_are_spliced() {
    for (name, late) in [
        ("later-sound.mp4", "-map 0:v -map 1:a"),
        ("later-pictures.mp4", "-map 1:v -map 0:a"),
        ("later-pictures.mkv", "-map 1:v -map 0:a"),
        ("later-pictures.ts", "-map 1:v -map 0:a"),
        ("later-sound.flv", "-map 0:v -map 1:a"),
    ] {
        let path = made(name, |path| {
            let from = plain();
            let from = from.to_str().unwrap();
            let mut list = vec!["-i", from, "-itsoffset", "0.3", "-i", from];
            list.extend(late.split(' '));
            list.extend(["-c", "copy", path]);
            media::ffmpeg(&list);
        });
        let source = Source::read(path);
        splice(&source, &[across(&source)]);
        splice(&source, &[(0.0, source.keyframes[1] + 0.5)]);
    }
}

#[test]
fn every_container_is_spliced() {
    for (name, arguments) in [
        ("in-front.mp4", "-movflags +faststart"),
        ("behind.mp4", ""),
        (
            "pieces.mp4",
            "-movflags +frag_keyframe+empty_moov+default_base_moof",
        ),
        (
            "small-pieces.mp4",
            "-movflags +empty_moov+default_base_moof -frag_duration 300000",
        ),
        ("container.mov", ""),
        ("container.mkv", ""),
        ("container.flv", ""),
        ("container.ts", ""),
        ("container.m2ts", ""),
    ] {
        let source = Source::read(remuxed(name, &plain(), arguments));
        splice(&source, &[across(&source)]);
    }
}

#[test]
fn sound_that_is_longer_or_shorter_than_the_pictures_is_spliced() {
    for (name, seconds) in [
        ("more-sound.mp4", 5.5),
        ("more-sound.mkv", 5.5),
        ("more-sound.ts", 5.5),
        ("less-sound.mp4", 2.7),
        ("less-sound.ts", 2.7),
    ] {
        let sound = sweep(44_100, "stereo", seconds);
        let source = Source::read(film(name, &gentle("160x90", "25", 4.0), Some(&sound), H264));
        splice(&source, &[rest(&source)]);
        splice(&source, &[(0.9, 3.3)]);
    }
}

#[test]
fn sound_of_every_layout_and_rate_is_spliced() {
    for layout in ["mono", "stereo", "5.1"] {
        for (rate, kind) in [(44_100, "mp4"), (48_000, "mkv"), (48_000, "ts")] {
            let name = format!("layout-{layout}-{rate}.{kind}");
            let sound = sweep(rate, layout, 4.0);
            let source = Source::read(film(
                &name,
                &gentle("160x90", "25", 4.0),
                Some(&sound),
                H264,
            ));
            let clip = splice(&source, &[across(&source)]);
            let entries = [
                "-select_streams",
                "a:0",
                "-show_entries",
                "stream=channels,sample_rate",
                "-of",
                "csv=p=0",
            ];
            // A transport stream tells it twice.
            let told = |path| {
                frames::ffprobe(path, &entries)
                    .lines()
                    .next()
                    .map(str::to_owned)
            };
            assert_eq!(told(&clip.path), told(source.path()), "{name}");
        }
    }
}

#[test]
fn a_clip_may_begin_and_end_where_its_source_does() {
    for name in ["ends.mp4", "ends.ts"] {
        let source = Source::read(remuxed(name, &plain(), ""));
        let last = source.time(source.frames().len() - 1);
        for span in [
            (0.0, last),
            (0.0, last + 0.04),
            (1.96, last),
            (1.96, last + 0.02),
        ] {
            splice(&source, &[span]);
        }
        let clip = splice(&source, &[(0.0, 60.0)]);
        assert_eq!(clip.told["frames_encoded"], 0, "{}", clip.told);
    }
}

#[test]
fn one_keyframe_is_a_splice_and_its_neighbours_are_encoded() {
    // No clip is shorter than a tenth of a second, which is less than a frame here.
    let source = at_rate("eight.mp4", "8", "-g 8 -keyint_min 8");
    let key = source.number(source.keyframes[2]);
    let alone = |number: usize| [(source.time(number), source.time(number) + 0.1)];
    let clip = splice(&source, &alone(key));
    assert_eq!(clip.told["frames"], 1, "{}", clip.told);
    for neighbour in [key - 1, key + 1, source.frames().len() - 1] {
        let clip = encode(&source, &alone(neighbour), "group");
        assert_eq!(clip.told["frames"], 1, "{}", clip.told);
    }
}

#[test]
fn several_segments_are_joined_by_one_splice() {
    let rotated = Source::read(media::turned("small-turned.mp4", &plain(), 90));
    for source in [
        small("small.mp4", ""),
        small("small.mkv", ""),
        small("small.ts", ""),
        small(
            "small-pyramid.mp4",
            "-bf 7 -x264-params b-pyramid=normal:b-adapt=0:ref=5",
        ),
        rotated,
    ] {
        // In order, then out of order, overlapping, one twice and one past the end.
        splice(&source, &[(0.9, 1.72), (1.96, 3.16), (3.0, 3.48)]);
        splice(
            &source,
            &[(2.9, 9.0), (0.0, 0.82), (0.93, 1.7), (0.93, 1.7)],
        );
    }
}

#[test]
fn rotated_pictures_are_spliced_to_the_end() {
    for degrees in [90, 180, 270] {
        let path = media::turned(&format!("small-turned-{degrees}.mp4"), &plain(), degrees);
        check(&Source::read(path), &[(0.7, 60.0)]);
    }
}

#[test]
fn sound_that_is_not_aac_is_encoded_beside_copied_pictures() {
    let pictures = gentle("160x90", "25", 4.0);
    for (name, codec) in [
        ("ac3.ts", "ac3"),
        ("mp3.mkv", "libmp3lame"),
        ("mp3.flv", "libmp3lame"),
        ("mp3.mp4", "libmp3lame"),
        ("opus.mkv", "libopus -ar 48000"),
        ("flac.mkv", "flac"),
        ("pcm.mov", "pcm_s16le"),
    ] {
        let sound = sweep(44_100, "stereo", 4.0);
        let source = Source::read(film(
            name,
            &pictures,
            Some(&sound),
            &format!("{H264} -c:a {codec}"),
        ));
        cut_and_compare(&source, source.name(), &[across(&source)]);
        splice(&source, &[(0.0, 1.3)]);
    }
}
