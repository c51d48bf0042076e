//! The check after every cut: the file is probed and its packet table compared with the plan. ffmpeg's exit code proves nothing.

mod animation;
mod sound;
mod still;

use std::path::Path;

use super::packets;
use super::plan::{Piece, Plan};
use super::probe::{self, TimeBase};
use super::rendering::{Rendering, Timing};
use super::sidecar::{self, arguments};
use super::window::Window;
use super::{Bench, Input, MediaError, Phase};
use crate::clip::Method;
use crate::recipe::Format;
use crate::seconds::Seconds;

/// What was measured on the finished file.
#[derive(Clone, Debug)]
pub struct Checked {
    pub frames: u64,
    pub duration: Seconds,
    /// As shown, rotation applied; none of what has no pictures.
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub fps: Option<f64>,
    pub video_codec: Option<String>,
    pub audio_codec: Option<String>,
    pub size: u64,
}

/// Checks the finished file.
///
/// # Errors
/// `cut_check` with what is wrong.
pub async fn check(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    path: &Path,
) -> Result<Checked, MediaError> {
    match rendering.format {
        Format::Mp4 | Format::Webm => film(bench, rendering, path).await,
        Format::Gif => animation::gif(bench, rendering, path).await,
        Format::Webp => animation::webp(bench, rendering, path).await,
        Format::Mp3 | Format::M4a => sound::sound(bench, rendering, path).await,
        Format::Jpg => still::jpg(bench, rendering, path).await,
    }
}

/// Checks pictures with their sound.
async fn film(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    path: &Path,
) -> Result<Checked, MediaError> {
    let (windows, plan, timing) = (rendering.windows, rendering.plan, &rendering.timing);
    let unreadable = |error: MediaError| match error {
        MediaError::Unsupported(_) | MediaError::NoVideo => wrong("it cannot be read"),
        other => other,
    };
    let joints = async {
        match plan.method {
            Method::Splice => listen(bench, windows, plan, path).await,
            Method::Encode | Method::Copy => Ok(()),
        }
    };
    let table = async {
        let table = packets::read_clip(bench, rendering.format, path).await;
        table.map_err(unreadable)
    };
    let (table, ()) = tokio::try_join!(table, joints)?;
    let probe = match (table.probe, plan.method) {
        (Some(probe), _) => probe,
        // Of what was to be decoded, nothing could be.
        (None, Method::Encode) => return Err(MediaError::Damaged(None)),
        (None, Method::Splice | Method::Copy) => return Err(wrong("it cannot be read")),
    };
    let video = table.video.ok_or_else(|| wrong("it has no video"))?;
    let times = video.times();
    let base = timing.base;
    if let Err(difference) = same_times(&timing.times, base, &times, video.time_base) {
        // A packet is not always a frame (two fields, hidden pictures): where frames were made anew the decoder has the last word.
        match plan.method {
            Method::Encode => {
                let decoded = decoded_timing(bench, rendering).await?;
                match same_times(&decoded.times, base, &times, video.time_base) {
                    Ok(()) => {}
                    // Some were asked for that no decoder brings out.
                    Err(_) if times.len() < timing.times.len() => {
                        return Err(MediaError::Damaged(None));
                    }
                    Err(_) => return Err(wrong(&difference)),
                }
            }
            Method::Copy | Method::Splice => return Err(wrong(&difference)),
        }
    }
    if plan.sound
        != table
            .audio
            .as_ref()
            .is_some_and(|track| !track.packets.is_empty())
    {
        return Err(wrong("its sound track is not as planned"));
    }
    let frames = times.len() as u64;
    let (width, height) = probe.shown_size();
    let meant = (rendering.frame.width, rendering.frame.height);
    if plan.method == Method::Encode && (width, height) != meant {
        return Err(wrong(&format!(
            "its pictures are {width}x{height} instead of {}x{}",
            meant.0, meant.1
        )));
    }
    Ok(Checked {
        frames,
        duration: rendering.seconds(),
        width: Some(width),
        height: Some(height),
        fps: rate(&times, video.time_base).or(probe.video.fps),
        video_codec: Some(probe.video.codec),
        audio_codec: probe.audio.map(|audio| audio.codec),
        size: tokio::fs::metadata(path).await?.len(),
    })
}

/// Decodes across each joint of a splice; a single complaint of the decoder is one too many.
async fn listen(
    bench: &Bench<'_>,
    windows: &[Window],
    plan: &Plan,
    path: &Path,
) -> Result<(), MediaError> {
    let Some(window) = windows.first() else {
        return Ok(());
    };
    let base = window.video.time_base;
    let entries: Vec<(Seconds, bool)> = entries(windows, plan)
        .into_iter()
        .map(|(ticks, closed)| (base.seconds(ticks), closed))
        .collect();
    let joints: Vec<Joint> = plan
        .joints()
        .into_iter()
        .map(|joint| Joint::listened(base.seconds(joint), &entries))
        .collect();
    for some in joints.chunks(AT_ONCE) {
        listen_at(bench, path, some).await?;
    }
    Ok(())
}

/// A joint, and from where it is listened to; times from the clip's beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Joint {
    at: Seconds,
    from: Seconds,
    /// Every picture is decoded, not only intra pictures.
    whole: bool,
}

impl Joint {
    /// Decoding begins at an entry behind which nothing needs anything before it, because a decoder complains about what is missing:
    /// at the last one before the joint when it is near; when it is far, intra pictures alone tell whether the parameter sets change
    /// well; and when pictures of open groups lie between, at the joint itself.
    fn listened(at: Seconds, entries: &[(Seconds, bool)]) -> Joint {
        let before = || entries.iter().rev().filter(|(entry, _)| *entry < at);
        let closed = before().find(|(_, closed)| *closed);
        match closed {
            Some((entry, _)) if at - *entry <= FAR => Joint {
                at,
                from: *entry,
                whole: true,
            },
            Some((entry, _)) if before().next().is_some_and(|(last, _)| last == entry) => Joint {
                at,
                from: *entry,
                whole: false,
            },
            _ => Joint {
                at,
                from: at,
                whole: true,
            },
        }
    }
}

/// Where a decoder can begin, in ticks from the clip's beginning, rising, and whether nothing behind needs anything before.
fn entries(windows: &[Window], plan: &Plan) -> Vec<(i64, bool)> {
    let mut entries = Vec::new();
    let mut offset = 0;
    for (window, piece) in windows.iter().zip(&plan.pieces) {
        let moved = offset - piece.first();
        let (head, tail) = (piece.head, piece.frames.len() - piece.tail);
        entries.extend((head > 0).then_some((offset, true)));
        let idr = window
            .bitstream
            .as_ref()
            .map_or(&[][..], |stream| &stream.idr);
        let copied = window.video.packets.iter().zip(idr).enumerate();
        entries.extend(
            copied
                .filter(|(place, (packet, _))| packet.key && piece.packets.contains(place))
                .map(|(_, (packet, idr))| (packet.pts + moved, *idr)),
        );
        entries.extend(piece.frames.get(tail).map(|pts| (pts + moved, true)));
        offset += piece.length();
    }
    entries.sort_unstable();
    entries
}

/// So many joints are decoded by one sidecar.
const AT_ONCE: usize = 4;

async fn listen_at(bench: &Bench<'_>, path: &Path, joints: &[Joint]) -> Result<(), MediaError> {
    let mut list = Vec::new();
    for joint in joints {
        let length = joint.at - joint.from + FOLLOW;
        // Smoothing changes no message, and what lies before the moment may be put out as well.
        list.extend(arguments([
            &"-noaccurate_seek",
            &"-ss",
            &(joint.from + INSIDE).to_string(),
            &"-t",
            &length.to_string(),
            &"-threads",
            &"1",
            &"-skip_loop_filter",
            &"all",
        ]));
        if !joint.whole {
            // What lies between was decoded without a complaint when the stretch beside it was encoded.
            list.extend(arguments([&"-skip_frame", &"nointra"]));
        }
        list.extend(probe::input_arguments(
            &Input::File(path.to_owned()),
            bench.engine.max_pixels,
        ));
    }
    for number in 0..joints.len() {
        list.extend(arguments([
            &"-map",
            &format!("{number}:v:0"),
            &"-f",
            &"null",
            &"-",
        ]));
    }
    let finished = sidecar::ffmpeg(bench.job(bench.engine.cut_deadline), list, |_| {})
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    // The null muxer counts in frames of the average rate, in which two may fall together; it is nobody's player.
    let complaints = finished.stderr.lines();
    let complaints: Vec<&str> = complaints
        .filter(|line| !line.trim().is_empty() && !line.starts_with("[null @"))
        .collect();
    if complaints.is_empty() {
        return Ok(());
    }
    let places: Vec<String> = joints.iter().map(|joint| joint.at.to_string()).collect();
    Err(wrong(&format!(
        "the decoder complains at {} s: {}",
        places.join(" or "),
        complaints.join("; ")
    )))
}

/// A joint further behind its entry is decoded by its intra pictures alone.
const FAR: Seconds = Seconds::from_micros(500_000);
/// Times are rounded to microseconds; so far inside a picture, seeking finds it and not the one before.
const INSIDE: Seconds = Seconds::from_micros(500);
/// How much is decoded behind a joint.
const FOLLOW: Seconds = Seconds::from_micros(150_000);

fn wrong(what: &str) -> MediaError {
    MediaError::Check(what.to_owned())
}

/// Frames per second between the first and the last; the last frame's own length says nothing about the rate.
fn rate(times: &[i64], base: TimeBase) -> Option<f64> {
    let (first, last) = (times.first()?, times.last()?);
    let seconds = base.seconds(last - first).as_f64();
    (seconds > 0.0).then(|| ((times.len() - 1) as f64 / seconds * 1000.0).round() / 1000.0)
}

/// Holds two lists of times against each other: as many, and each pair at most one tick of the coarser base apart.
fn same_times(
    want: &[i64],
    want_base: TimeBase,
    got: &[i64],
    got_base: TimeBase,
) -> Result<(), String> {
    if want.len() != got.len() {
        return Err(format!(
            "it has {} frames instead of {}",
            got.len(),
            want.len()
        ));
    }
    let tick = want_base
        .seconds(1)
        .max(got_base.seconds(1))
        .micros()
        .max(1);
    for (number, (want, got)) in want.iter().zip(got).enumerate() {
        let (want, got) = (want_base.seconds(*want), got_base.seconds(*got));
        // One more microsecond for the rounding of the two conversions.
        if (want - got).micros().abs() > tick + 1 {
            return Err(format!(
                "its frame {number} is at {got} s instead of {want} s"
            ));
        }
    }
    Ok(())
}

/// When the pictures are shown that the decoder brings out.
async fn decoded_timing(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
) -> Result<Timing, MediaError> {
    let plan = rendering.plan;
    let decoded = decoded_times(bench, rendering.windows, plan).await?;
    let length = plan.pieces.iter().map(Piece::length).sum();
    let base = rendering.timing.base;
    Ok(Timing::after(decoded, length, base, &rendering.look))
}

/// The plan's frame times as the decoder sees them, in ticks from the clip's beginning.
async fn decoded_times(
    bench: &Bench<'_>,
    windows: &[Window],
    plan: &Plan,
) -> Result<Vec<i64>, MediaError> {
    let mut offset = 0;
    let mut times = Vec::new();
    for (window, piece) in windows.iter().zip(&plan.pieces) {
        let mut list = arguments([
            &"-select_streams",
            &"v:0",
            &"-show_entries",
            &"frame=pts",
            &"-of",
            &"csv=p=0",
        ]);
        list.extend(probe::input_arguments(
            &Input::File(window.path.clone()),
            bench.engine.max_pixels,
        ));
        let printed = sidecar::ffprobe(bench.job(bench.engine.cut_deadline), list)
            .await
            .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
        let mut frames: Vec<i64> = String::from_utf8_lossy(&printed)
            .lines()
            .filter_map(|line| line.trim_end_matches(',').parse().ok())
            .filter(|pts| (piece.first()..=piece.last()).contains(pts))
            .collect();
        frames.sort_unstable();
        times.extend(frames.iter().map(|pts| pts - piece.first() + offset));
        offset += piece.length();
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: TimeBase = TimeBase { num: 1, den: 1000 };
    const FINE: TimeBase = TimeBase {
        num: 1,
        den: 90_000,
    };

    #[test]
    fn equal_times_in_different_ticks_are_equal() {
        assert_eq!(
            same_times(&[0, 40, 80], MILLI, &[0, 3600, 7200], FINE),
            Ok(())
        );
        assert_eq!(
            same_times(&[0, 33, 67], MILLI, &[0, 3003, 6006], FINE),
            Ok(())
        );
    }

    #[test]
    fn a_missing_or_moved_frame_is_noticed() {
        assert!(same_times(&[0, 40, 80], MILLI, &[0, 3600], FINE).is_err());
        assert!(same_times(&[0, 40, 80], MILLI, &[0, 3600, 7400], FINE).is_err());
        assert!(same_times(&[0, 40], MILLI, &[0, 3600, 7200], FINE).is_err());
    }

    #[test]
    fn decoding_begins_where_nothing_is_missing() {
        let at = Seconds::from_whole(20);
        let check = |entries: &[(i64, bool)], from: i64, whole: bool| {
            let entries: Vec<_> = entries
                .iter()
                .map(|(ms, closed)| (Seconds::from_micros(ms * 1000), *closed))
                .collect();
            let joint = Joint::listened(at, &entries);
            let expected = (Seconds::from_micros(from * 1000), whole);
            assert_eq!((joint.from, joint.whole), expected, "{entries:?}");
        };
        check(&[(0, true), (19_600, true), (20_000, true)], 19_600, true);
        check(&[(0, true), (12_000, true), (20_000, true)], 12_000, false);
        // An open group between: from the closed entry if that is near, else at the joint.
        check(
            &[(19_550, true), (19_700, false), (20_000, true)],
            19_550,
            true,
        );
        check(
            &[(12_000, true), (19_700, false), (20_000, true)],
            20_000,
            true,
        );
        check(&[(20_000, true)], 20_000, true);
    }
}
