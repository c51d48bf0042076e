//! The plan: from packet tables and spans to what is cut how. A pure function, tested on packet tables. This is the door for the
//! splicing engine: it decides the method.

use std::ops::Range;

use super::MediaError;
use super::packets::Track;
use super::window::Window;
use crate::clip::Method;
use crate::recipe::{Mode, Recipe};
use crate::seconds::Seconds;

/// What is cut, how and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub method: Method,
    /// One word.
    pub reason: &'static str,
    /// One per segment, in the order asked for.
    pub pieces: Vec<Piece>,
    /// Where the clip starts and ends, as people count.
    pub start: Seconds,
    pub end: Seconds,
    pub truncated: bool,
    /// The clip has a sound track.
    pub sound: bool,
}

/// One segment as it will be cut from its window. Ticks are the window's video ticks, as in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Presentation times of its frames, rising; at least one.
    pub frames: Vec<i64>,
    /// Where its last frame ends.
    pub until: i64,
    /// What is copied: numbers of the window's video packets in decoding order. Empty when nothing is.
    pub packets: Range<usize>,
}

impl Piece {
    /// Its first frame.
    pub fn first(&self) -> i64 {
        self.frames.first().copied().unwrap_or(self.until)
    }

    /// Its last frame.
    pub fn last(&self) -> i64 {
        self.frames.last().copied().unwrap_or(self.until)
    }

    /// Its length in ticks.
    pub fn length(&self) -> i64 {
        self.until - self.first()
    }
}

impl Plan {
    /// Presentation times of all frames of the clip, in ticks from its beginning.
    pub fn times(&self) -> Vec<i64> {
        let mut offset = 0;
        let mut times = Vec::new();
        for piece in &self.pieces {
            times.extend(piece.frames.iter().map(|pts| pts - piece.first() + offset));
            offset += piece.length();
        }
        times
    }
}

/// Decimal times are rounded: a frame this close to a boundary lies on it.
const TOLERANCE: Seconds = Seconds::from_micros(1_000);

/// Plans a clip. `windows` has one window per segment of the recipe, in its order.
///
/// # Errors
/// `clip_empty` when a segment has no frame.
pub fn plan(windows: &[Window], recipe: &Recipe) -> Result<Plan, MediaError> {
    let first_window = windows.first().ok_or(MediaError::NoFrames)?;
    let (method, reason) = method(first_window, recipe);
    let pieces = windows
        .iter()
        .map(|window| piece(window, method))
        .collect::<Result<Vec<_>, _>>()?;
    let sound = !recipe.mute
        && windows
            .iter()
            .zip(&pieces)
            .any(|(window, piece)| sounds(window, piece));
    let start = pieces.first().map(|piece| first_window.time(piece.first()));
    let end = windows
        .last()
        .zip(pieces.last())
        .map(|(window, piece)| window.time(piece.until));
    // A frame's length of slack: the last frame rarely ends where the wanted end is.
    let truncated = windows.iter().zip(&pieces).any(|(window, piece)| {
        let frame = piece.length() / piece.frames.len().max(1) as i64;
        window.time(piece.until + frame) + TOLERANCE < window.segment.end
    });
    Ok(Plan {
        method,
        reason,
        pieces,
        start: start.unwrap_or_default(),
        end: end.unwrap_or_default(),
        truncated,
        sound,
    })
}

fn method(window: &Window, recipe: &Recipe) -> (Method, &'static str) {
    if recipe.mode == Mode::Exact {
        return (Method::Encode, "exact");
    }
    let plays_everywhere = window.video.codec == "h264"
        && matches!(
            window.probe.video.pixel_format.as_str(),
            "yuv420p" | "yuvj420p"
        )
        && (recipe.mute
            || window
                .audio
                .as_ref()
                .is_none_or(|track| matches!(track.codec.as_str(), "aac" | "mp3")));
    if plays_everywhere {
        (Method::Copy, "fast")
    } else {
        (Method::Encode, "codec")
    }
}

fn piece(window: &Window, method: Method) -> Result<Piece, MediaError> {
    let from = window.ticks(window.segment.start - TOLERANCE);
    let to = window.ticks(window.segment.end - TOLERANCE);
    let times = window.video.times();
    let first = *times
        .iter()
        .find(|pts| **pts >= from && **pts < to)
        .ok_or(MediaError::NoFrames)?;
    let (frames, packets) = match method {
        Method::Encode => (
            times
                .iter()
                .copied()
                .filter(|pts| *pts >= first && *pts < to)
                .collect(),
            0..0,
        ),
        Method::Copy => copied(&window.video, first, to),
    };
    let last: i64 = frames.last().copied().ok_or(MediaError::NoFrames)?;
    let natural = times
        .iter()
        .copied()
        .find(|pts| *pts > last)
        .unwrap_or_else(|| last + own_duration(&window.video, last));
    let until = match method {
        // A copied frame lasts as long as it lasts in the source.
        Method::Copy => natural,
        Method::Encode => natural.min(window.ticks(window.segment.end)).max(last + 1),
    };
    Ok(Piece {
        frames,
        until,
        packets,
    })
}

/// The frames and packets of a fast cut: from the keyframe at or before `first` to the first clean boundary that leaves no wanted
/// frame out. At a clean boundary everything decoded before is shown before everything decoded after.
fn copied(track: &Track, first: i64, to: i64) -> (Vec<i64>, Range<usize>) {
    let key = keyframe_before(track, first);
    let begin = track
        .packets
        .iter()
        .position(|packet| packet.key && packet.pts == key)
        .unwrap_or(0);
    let behind = &track.packets[begin..];
    let wanted = behind
        .iter()
        .rposition(|packet| packet.pts < to)
        .map_or(1, |last| last + 1);
    let clean = |end: &usize| {
        let shown = behind[..*end].iter().map(|packet| packet.pts).max();
        let next = behind[*end..].iter().map(|packet| packet.pts).min();
        next.is_none_or(|next| Some(next) > shown)
    };
    let end = (wanted..=behind.len()).find(clean).unwrap_or(behind.len());
    // Pictures that follow the keyframe but are shown before it need what came before it.
    let mut frames: Vec<i64> = behind[..end]
        .iter()
        .map(|packet| packet.pts)
        .filter(|pts| *pts >= key)
        .collect();
    frames.sort_unstable();
    (frames, begin..begin + end)
}

/// The keyframe at or before `first`, or the earliest there is.
fn keyframe_before(track: &Track, first: i64) -> i64 {
    let keys = track
        .packets
        .iter()
        .filter(|packet| packet.key)
        .map(|packet| packet.pts);
    keys.clone()
        .filter(|pts| *pts <= first)
        .max()
        .or_else(|| keys.min())
        .unwrap_or(first)
}

fn own_duration(track: &Track, pts: i64) -> i64 {
    let own = track
        .packets
        .iter()
        .find(|packet| packet.pts == pts)
        .map_or(0, |packet| packet.duration);
    own.max(1)
}

/// Whether any sound belongs to the piece.
fn sounds(window: &Window, piece: &Piece) -> bool {
    let Some(track) = &window.audio else {
        return false;
    };
    let from = window.video.time_base.seconds(piece.first());
    let until = window.video.time_base.seconds(piece.until);
    track.packets.iter().any(|packet| {
        let start = track.time_base.seconds(packet.pts);
        let end = track.time_base.seconds(packet.pts + packet.duration);
        start < until && end > from
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::packets::Packet;
    use crate::media::probe::{Audio, Probe, TimeBase, Video};
    use crate::recipe::{Format, Segment, Source};

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
                video: Video {
                    index: 0,
                    codec: "h264".into(),
                    pixel_format: "yuv420p".into(),
                    width: 64,
                    height: 64,
                    rotation: 0,
                    time_base: base,
                    fps: Some(25.0),
                },
                audio: Some(audio),
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
        }
    }

    fn recipe(mode: Mode) -> Recipe {
        Recipe {
            source: Source::File("w".into()),
            segments: vec![],
            mode,
            format: Format::Mp4,
            title: None,
            height: None,
            mute: false,
        }
    }

    #[track_caller]
    fn check(start: f64, end: f64, mode: Mode, first: i64, last: i64, count: usize, until: i64) {
        let plan = plan(&[window(start, end)], &recipe(mode)).unwrap();
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
        let plan = plan(&[window(1.5, 2.0)], &recipe(Mode::Fast)).unwrap();
        assert_eq!(
            (plan.method, plan.start),
            (Method::Copy, Seconds::from_whole(1))
        );
    }

    #[test]
    fn pictures_that_browsers_do_not_play_are_not_copied() {
        let mut odd = window(1.0, 2.0);
        odd.probe.video.pixel_format = "yuv444p".into();
        let plan = plan(&[odd], &recipe(Mode::Fast)).unwrap();
        assert_eq!((plan.method, plan.reason), (Method::Encode, "codec"));
    }

    #[test]
    fn segments_follow_each_other_without_a_gap_in_the_order_asked_for() {
        let plan = plan(&[window(5.0, 5.2), window(1.0, 1.1)], &recipe(Mode::Exact)).unwrap();
        assert_eq!(plan.times(), [0, 40, 80, 120, 160, 200, 240, 280]);
    }

    #[test]
    fn an_end_past_the_source_is_told() {
        assert!(
            plan(&[window(9.0, 12.0)], &recipe(Mode::Exact))
                .unwrap()
                .truncated
        );
        assert!(
            !plan(&[window(9.0, 10.0)], &recipe(Mode::Exact))
                .unwrap()
                .truncated
        );
        assert!(matches!(
            plan(&[window(11.0, 12.0)], &recipe(Mode::Exact)),
            Err(MediaError::NoFrames)
        ));
    }

    #[test]
    fn sound_is_planned_only_where_there_is_some() {
        assert!(
            plan(&[window(1.0, 2.0)], &recipe(Mode::Exact))
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
        assert!(!plan(&[silent], &recipe(Mode::Exact)).unwrap().sound);
        let muted = Recipe {
            mute: true,
            ..recipe(Mode::Exact)
        };
        assert!(!plan(&[window(1.0, 2.0)], &muted).unwrap().sound);
    }
}
