//! Packet tables and the plans that are made of them.

use super::*;
use crate::media::packets::{Packet, Track};
use crate::media::probe::{Audio, Light, Probe, Scan, TimeBase, Video};
use crate::media::splice::bitstream::Bitstream;
use crate::recipe::{Format, Look, Segment, Source};

/// 25 fps in ticks of 1/1000 with a keyframe each second, B-frames in decoding order, ten seconds.
fn window(start: f64, end: f64) -> Window {
    let mut packets: Vec<Packet> = (0..250)
        .map(|n| Packet {
            pts: n * 40,
            duration: 40,
            size: 100,
            key: n % 25 == 0,
        })
        .collect();
    for pair in packets
        .chunks_mut(25)
        .flat_map(|group| group[1..].chunks_exact_mut(2))
    {
        pair.swap(0, 1);
    }
    let sound = (0..500)
        .map(|n| Packet {
            pts: n * 1024,
            duration: 1024,
            size: 9,
            key: true,
        })
        .collect();
    let audio = Audio {
        index: 1,
        codec: "aac".into(),
        channels: 2,
        rate: 48_000,
    };
    let base = TimeBase { num: 1, den: 1000 };
    Window {
        path: "w".into(),
        segment: Segment {
            start: Seconds::from_f64(start).unwrap(),
            end: Seconds::from_f64(end).unwrap(),
        },
        probe: Probe {
            container: "mov,mp4".into(),
            duration: Some(Seconds::from_whole(10)),
            start: Seconds::ZERO,
            zero_at: None,
            video: Video {
                index: 0,
                codec: "h264".into(),
                pixel_format: "yuv420p".into(),
                width: 64,
                height: 64,
                rotation: 0,
                time_base: base,
                fps: Some(25.0),
                scan: Scan::Progressive,
                light: Light::Standard,
            },
            audio: Some(audio),
            title: None,
        },
        video: Track {
            codec: "h264".into(),
            time_base: base,
            packets,
        },
        audio: Some(Track {
            codec: "aac".into(),
            time_base: TimeBase {
                num: 1,
                den: 48_000,
            },
            packets: sound,
        }),
        shift: Seconds::ZERO,
        bitstream: Err("codec"),
        samples: None,
        in_place: false,
    }
}

fn recipe(mode: Mode) -> Recipe {
    Recipe {
        source: Source::File("w".into()),
        segments: vec![],
        mode,
        format: Format::Mp4,
        title: None,
        look: Look::default(),
        fit: None,
    }
}

#[track_caller]
fn check(start: f64, end: f64, mode: Mode, first: i64, last: i64, count: usize, until: i64) {
    let plan = plan(&[window(start, end)], &recipe(mode), 1080).unwrap();
    let piece = &plan.pieces[0];
    let got = (piece.first(), piece.last(), piece.frames.len(), piece.until);
    assert_eq!(got, (first, last, count, until), "{start}-{end} {mode:?}");
}

#[test]
fn exact_takes_the_frames_from_start_up_to_but_without_end() {
    check(1.0, 2.0, Mode::Exact, 1000, 1960, 25, 2000);
    check(1.01, 2.01, Mode::Exact, 1040, 2000, 25, 2010);
    check(0.0, 0.1, Mode::Exact, 0, 80, 3, 100);
    check(9.9, 12.0, Mode::Exact, 9920, 9960, 2, 10_000);
    // A decimal that is a hair too late or too early still means the frame it names.
    check(1.0009, 2.0009, Mode::Exact, 1000, 1960, 25, 2000);
    check(0.9991, 1.9991, Mode::Exact, 1000, 1960, 25, 1999);
}

#[test]
fn fast_starts_at_the_keyframe_at_or_before_the_start() {
    check(1.5, 2.0, Mode::Fast, 1000, 1960, 25, 2000);
    check(2.0, 3.0, Mode::Fast, 2000, 2960, 25, 3000);
    let plan = plan(&[window(1.5, 2.0)], &recipe(Mode::Fast), 1080).unwrap();
    assert_eq!(
        (plan.method, plan.start),
        (Method::Copy, Seconds::from_whole(1))
    );
}

/// The same window with a stream that may be spliced: every keyframe an IDR picture.
fn spliceable(start: f64, end: f64) -> Window {
    let mut window = window(start, end);
    window.bitstream = Ok(Bitstream {
        idr: window
            .video
            .packets
            .iter()
            .map(|packet| packet.key)
            .collect(),
        disposable: vec![false; 250],
        plain: vec![true; 250],
        spare_id: 1,
        length_size: 4,
        configuration: mp4_atom::Avcc::default(),
    });
    window
}

#[track_caller]
fn check_splice(start: f64, end: f64, head: usize, copied: u64, tail: usize) {
    let plan = plan(&[spliceable(start, end)], &recipe(Mode::Exact), 1080).unwrap();
    let piece = &plan.pieces[0];
    let got = (plan.method, piece.head, plan.copied(), piece.tail);
    assert_eq!(got, (Method::Splice, head, copied, tail), "{start}-{end}");
    // What is copied is shown between head and tail, and nothing else is.
    let window = spliceable(start, end);
    let mut shown: Vec<i64> = window.video.packets[piece.packets.clone()]
        .iter()
        .map(|packet| packet.pts)
        .collect();
    shown.sort_unstable();
    assert_eq!(shown, piece.frames[head..piece.frames.len() - tail]);
}

#[test]
fn a_splice_encodes_up_to_the_next_entry_and_the_last_run_of_b_frames() {
    check_splice(1.0, 3.0, 0, 50, 0);
    check_splice(1.5, 4.0, 12, 50, 0);
    // In decoding order frame 2 comes before frame 1: a clip that ends between them re-encodes what comes after the last clean place.
    check_splice(1.0, 2.08, 0, 26, 1);
    check_splice(1.0, 2.12, 0, 28, 0);
    check_splice(1.96, 4.0, 1, 50, 0);
    check_splice(0.0, 10.0, 0, 250, 0);
}

#[test]
fn joints_are_where_encoded_and_copied_meet() {
    let plan = plan(
        &[spliceable(1.52, 3.08), spliceable(5.0, 6.0)],
        &recipe(Mode::Exact),
        1080,
    )
    .unwrap();
    assert_eq!(plan.joints(), [480, 1520, 1560]);
}

#[test]
fn what_cannot_be_spliced_or_does_not_pay_is_encoded_and_says_why() {
    let reason = |window: Window, recipe: &Recipe, most| {
        let plan = plan(&[window], recipe, most).unwrap();
        (plan.method, plan.reason, plan.copied())
    };
    let exact = recipe(Mode::Exact);
    assert_eq!(
        reason(spliceable(1.2, 1.8), &exact, 1080),
        (Method::Encode, "group", 0)
    );
    assert_eq!(
        reason(spliceable(1.04, 2.2), &exact, 1080),
        (Method::Encode, "group", 0)
    );
    assert_eq!(
        reason(window(1.0, 3.0), &exact, 1080),
        (Method::Encode, "codec", 0)
    );
    assert_eq!(
        reason(spliceable(1.0, 3.0), &exact, 32),
        (Method::Encode, "scale", 0)
    );
    let small = Recipe {
        look: Look {
            height: Some(32),
            ..Look::default()
        },
        ..recipe(Mode::Exact)
    };
    assert_eq!(
        reason(spliceable(1.0, 3.0), &small, 1080),
        (Method::Encode, "scale", 0)
    );
    // Keyframes that are no IDR pictures cannot be entered.
    let mut open = spliceable(1.0, 3.0);
    if let Ok(bitstream) = &mut open.bitstream {
        bitstream.idr.fill(false);
    }
    assert_eq!(reason(open, &exact, 1080), (Method::Encode, "group", 0));
}

#[test]
fn pictures_that_browsers_do_not_play_are_not_copied() {
    let mut odd = window(1.0, 2.0);
    odd.probe.video.pixel_format = "yuv444p".into();
    let plan = plan(&[odd], &recipe(Mode::Fast), 1080).unwrap();
    assert_eq!((plan.method, plan.reason), (Method::Encode, "codec"));
}

#[test]
fn segments_follow_each_other_without_a_gap_in_the_order_asked_for() {
    let plan = plan(
        &[window(5.0, 5.2), window(1.0, 1.1)],
        &recipe(Mode::Exact),
        1080,
    )
    .unwrap();
    assert_eq!(plan.times(), [0, 40, 80, 120, 160, 200, 240, 280]);
}

#[test]
fn an_end_past_the_source_is_told() {
    assert!(
        plan(&[window(9.0, 12.0)], &recipe(Mode::Exact), 1080)
            .unwrap()
            .truncated
    );
    assert!(
        !plan(&[window(9.0, 10.0)], &recipe(Mode::Exact), 1080)
            .unwrap()
            .truncated
    );
    assert!(matches!(
        plan(&[window(11.0, 12.0)], &recipe(Mode::Exact), 1080),
        Err(MediaError::NoFrames)
    ));
}

#[test]
fn sound_is_planned_only_where_there_is_some() {
    assert!(
        plan(&[window(1.0, 2.0)], &recipe(Mode::Exact), 1080)
            .unwrap()
            .sound
    );
    let mut silent = window(1.0, 2.0);
    silent
        .audio
        .as_mut()
        .unwrap()
        .packets
        .retain(|packet| packet.pts > 5 * 48_000);
    assert!(!plan(&[silent], &recipe(Mode::Exact), 1080).unwrap().sound);
    let muted = Recipe {
        look: Look {
            mute: true,
            ..Look::default()
        },
        ..recipe(Mode::Exact)
    };
    assert!(!plan(&[window(1.0, 2.0)], &muted, 1080).unwrap().sound);
}
