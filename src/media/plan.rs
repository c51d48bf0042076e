//! The plan: from packet tables and spans to what is cut how. A pure function, tested on packet tables. This is the door for the
//! splicing engine: it decides the method.

use std::ops::Range;

use super::MediaError;
use super::packets::Track;
use super::splice::bitstream::Bitstream;
use super::window::Window;
use crate::clip::Method;
use crate::cost::Work;
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
    /// How many of the first and of the last frames are encoded.
    pub head: usize,
    pub tail: usize,
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
    /// How many frames are taken over bit for bit.
    pub fn copied(&self) -> u64 {
        self.pieces
            .iter()
            .map(|piece| (piece.frames.len() - piece.head - piece.tail) as u64)
            .sum()
    }

    /// What the plan asks for; pictures taller than `max_height` are scaled.
    pub fn work(&self, windows: &[Window], recipe: &Recipe, max_height: u32) -> Work {
        let mut work = Work {
            method: self.method,
            decoded: 0.0,
            encoded: 0.0,
            copied: 0,
            replaced: 0,
            sound: 0,
            frames: 0,
        };
        for (window, piece) in windows.iter().zip(&self.pieces) {
            let video = &window.probe.video;
            let pixels = f64::from(video.width) * f64::from(video.height) / 1e6;
            let height = recipe.height.unwrap_or(max_height).min(max_height);
            let shrunk =
                (f64::from(height) / f64::from(window.probe.shown_height().max(1))).min(1.0);
            let (head, tail) = (piece.head, piece.frames.len() - piece.tail);
            for stretch in [&piece.frames[..head], &piece.frames[tail..]] {
                let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else {
                    continue;
                };
                let key = keyframe_before(&window.video, *first);
                let taken = |from: i64| {
                    let packets = window.video.packets.iter();
                    packets.filter(move |packet| (from..=*last).contains(&packet.pts))
                };
                work.decoded += pixels * taken(key).count() as f64;
                work.encoded += pixels * shrunk * shrunk * stretch.len() as f64;
                let bytes: u64 = taken(*first).map(|packet| packet.size).sum();
                work.replaced += (bytes as f64 * shrunk * shrunk) as u64;
            }
            let copied = window.video.packets.get(piece.packets.clone());
            let copied = copied.unwrap_or_default().iter();
            work.copied += copied.map(|packet| packet.size).sum::<u64>();
            work.frames += piece.frames.len() as u64;
            if self.sound {
                work.sound += self.sound_bytes(window, piece);
            }
        }
        work
    }

    /// Bytes of a piece's sound: those of its packets where they are copied, else what the encoder is asked for.
    fn sound_bytes(&self, window: &Window, piece: &Piece) -> u64 {
        const ENCODED: f64 = 20_000.0;
        let base = window.video.time_base;
        let (from, until) = (base.seconds(piece.first()), base.seconds(piece.until));
        match &window.audio {
            Some(track) if self.method != Method::Encode && self.pieces.len() == 1 => {
                let heard = track.packets.iter().filter(|packet| {
                    let begins = track.time_base.seconds(packet.pts);
                    (from..until).contains(&begins)
                });
                heard.map(|packet| packet.size).sum()
            }
            _ => ((until - from).as_f64() * ENCODED) as u64,
        }
    }

    /// Where what is encoded meets what is copied, and where segments meet, in ticks from the clip's beginning.
    pub fn joints(&self) -> Vec<i64> {
        let mut offset = 0;
        let mut joints = Vec::new();
        for piece in &self.pieces {
            let place = |number: usize| {
                piece
                    .frames
                    .get(number)
                    .map(|pts| pts - piece.first() + offset)
            };
            let tail = piece.frames.len() - piece.tail;
            joints.extend(
                [Some(offset), place(piece.head), place(tail)]
                    .into_iter()
                    .flatten()
                    .filter(|joint| *joint > 0),
            );
            offset += piece.length();
        }
        joints.dedup();
        joints
    }

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
pub const TOLERANCE: Seconds = Seconds::from_micros(1_000);

/// Above this share of frames to be encoded a splice saves too little for what it may cost.
const WORTH: f64 = 0.7;

/// Plans a clip. `windows` has one window per segment of the recipe, in its order; pictures taller than `max_height` are scaled.
///
/// # Errors
/// `clip_empty` when a segment has no frame.
pub fn plan(windows: &[Window], recipe: &Recipe, max_height: u32) -> Result<Plan, MediaError> {
    match recipe.mode {
        Mode::Exact => match splice_pieces(windows, recipe, max_height)? {
            Ok(pieces) => Ok(assemble(windows, recipe, Method::Splice, "exact", pieces)),
            Err(reason) => encoded(windows, recipe, reason),
        },
        Mode::Fast
            if windows
                .iter()
                .all(|window| plays_everywhere(window, recipe)) =>
        {
            let pieces = windows.iter().map(copied_piece).collect::<Result<_, _>>()?;
            Ok(assemble(windows, recipe, Method::Copy, "fast", pieces))
        }
        Mode::Fast => encoded(windows, recipe, "codec"),
    }
}

/// Plans a clip by encoding, which is always possible.
///
/// # Errors
/// `clip_empty` when a segment has no frame.
pub fn encoded(
    windows: &[Window],
    recipe: &Recipe,
    reason: &'static str,
) -> Result<Plan, MediaError> {
    let pieces = windows
        .iter()
        .map(encoded_piece)
        .collect::<Result<_, _>>()?;
    Ok(assemble(windows, recipe, Method::Encode, reason, pieces))
}

fn assemble(
    windows: &[Window],
    recipe: &Recipe,
    method: Method,
    reason: &'static str,
    pieces: Vec<Piece>,
) -> Plan {
    let pairs = || windows.iter().zip(&pieces);
    let sound = !recipe.mute && pairs().any(|(window, piece)| sounds(window, piece));
    let start = pairs()
        .next()
        .map(|(window, piece)| window.time(piece.first()));
    let end = pairs()
        .next_back()
        .map(|(window, piece)| window.time(piece.until));
    // A frame's length of slack: the last frame rarely ends where the wanted end is.
    let truncated = pairs().any(|(window, piece)| {
        let frame = piece.length() / piece.frames.len().max(1) as i64;
        window.time(piece.until + frame) + TOLERANCE < window.segment.end
    });
    Plan {
        method,
        reason,
        start: start.unwrap_or_default(),
        end: end.unwrap_or_default(),
        truncated,
        sound,
        pieces,
    }
}

/// The frames wanted from a window: presentation times of all with `start <= pts < end`, rising, and where the last one ends.
fn wanted(window: &Window) -> Result<(Vec<i64>, i64), MediaError> {
    let from = window.ticks(window.segment.start - TOLERANCE);
    let to = window.ticks(window.segment.end - TOLERANCE);
    let times = window.video.times();
    let frames: Vec<i64> = times
        .iter()
        .copied()
        .filter(|pts| *pts >= from && *pts < to)
        .collect();
    let last = frames.last().copied().ok_or(MediaError::NoFrames)?;
    let until = next_frame(&window.video, &times, last)
        .min(window.ticks(window.segment.end))
        .max(last + 1);
    Ok((frames, until))
}

/// When the frame after `last` is shown, or where `last` ends if there is none.
fn next_frame(track: &Track, times: &[i64], last: i64) -> i64 {
    times
        .iter()
        .copied()
        .find(|pts| *pts > last)
        .unwrap_or_else(|| last + own_duration(track, last))
}

fn encoded_piece(window: &Window) -> Result<Piece, MediaError> {
    let (frames, until) = wanted(window)?;
    Ok(Piece {
        head: frames.len(),
        tail: 0,
        packets: 0..0,
        frames,
        until,
    })
}

/// Whether a fast cut may copy: H.264 and AAC or MP3, which every player knows.
fn plays_everywhere(window: &Window, recipe: &Recipe) -> bool {
    let sound = window.audio.as_ref().filter(|_| !recipe.mute);
    window.video.codec == "h264"
        && matches!(
            window.probe.video.pixel_format.as_str(),
            "yuv420p" | "yuvj420p"
        )
        && sound.is_none_or(|track| matches!(track.codec.as_str(), "aac" | "mp3"))
}

/// A fast cut: from the keyframe at or before the start to the first clean boundary that leaves no wanted frame out.
fn copied_piece(window: &Window) -> Result<Piece, MediaError> {
    let track = &window.video;
    let (frames, _) = wanted(window)?;
    let (first, last) = (frames[0], frames[frames.len() - 1]);
    let key = keyframe_before(track, first);
    let begin = track
        .packets
        .iter()
        .position(|packet| packet.key && packet.pts == key)
        .unwrap_or(0);
    let clean = clean_boundaries(track);
    let least = track
        .packets
        .iter()
        .rposition(|packet| packet.pts <= last)
        .map_or(begin + 1, |place| place + 1);
    let end = (least..=track.packets.len())
        .find(|place| clean[*place])
        .unwrap_or(track.packets.len());
    // Pictures that follow the keyframe but are shown before it need what came before it.
    let mut frames: Vec<i64> = track.packets[begin..end]
        .iter()
        .map(|packet| packet.pts)
        .filter(|pts| *pts >= key)
        .collect();
    frames.sort_unstable();
    let last = frames.last().copied().ok_or(MediaError::NoFrames)?;
    let until = next_frame(track, &track.times(), last);
    Ok(Piece {
        frames,
        until,
        packets: begin..end,
        head: 0,
        tail: 0,
    })
}

/// The pieces of a splice, or why there is none, in one word.
fn splice_pieces(
    windows: &[Window],
    recipe: &Recipe,
    max_height: u32,
) -> Result<Result<Vec<Piece>, &'static str>, MediaError> {
    let mut pieces = Vec::new();
    let mut stream: Option<&Bitstream> = None;
    for window in windows {
        let shown = window.probe.shown_height();
        if shown > max_height || recipe.height.is_some_and(|height| height < shown) {
            return Ok(Err("scale"));
        }
        let bitstream = match &window.bitstream {
            Ok(bitstream) => bitstream,
            Err(unfit) => return Ok(Err(unfit)),
        };
        if window.video.time_base.num != 1 {
            return Ok(Err("ticks"));
        }
        if stream.is_some_and(|other| other.configuration != bitstream.configuration) {
            return Ok(Err("parameters"));
        }
        stream = Some(bitstream);
        match spliced_piece(window, bitstream)? {
            Some(piece) => pieces.push(piece),
            None => return Ok(Err("group")),
        }
    }
    let all: usize = pieces.iter().map(|piece| piece.frames.len()).sum();
    let encoded: usize = pieces.iter().map(|piece| piece.head + piece.tail).sum();
    if encoded as f64 > WORTH * all as f64 {
        return Ok(Err("group"));
    }
    Ok(Ok(pieces))
}

/// Head, middle and tail of one segment; `None` when no IDR picture lies inside it.
fn spliced_piece(window: &Window, bitstream: &Bitstream) -> Result<Option<Piece>, MediaError> {
    let track = &window.video;
    let (frames, until) = wanted(window)?;
    let (first, last) = (frames[0], frames[frames.len() - 1]);
    let entries = track.packets.iter().zip(&bitstream.idr).enumerate();
    let begin = entries
        .filter(|(_, (packet, idr))| **idr && packet.pts >= first)
        .map(|(place, _)| place)
        .next();
    let Some(begin) = begin.filter(|begin| track.packets[*begin].pts <= last) else {
        return Ok(None);
    };
    let entry = track.packets[begin].pts;
    let clean = clean_boundaries(track);
    let mut highest = i64::MIN;
    let mut end = None;
    for place in begin..track.packets.len() {
        highest = highest.max(track.packets[place].pts);
        if highest > last {
            break;
        }
        if clean[place + 1] {
            end = Some(place + 1);
        }
    }
    // Before an IDR picture nothing is shown that comes after it, so this boundary is clean as well.
    let (Some(end), true) = (end, clean[begin]) else {
        return Ok(None);
    };
    let copied_last = track.packets[begin..end]
        .iter()
        .map(|packet| packet.pts)
        .max()
        .unwrap_or(entry);
    let head = frames.partition_point(|pts| *pts < entry);
    let tail = frames.len() - frames.partition_point(|pts| *pts <= copied_last);
    Ok(Some(Piece {
        frames,
        until,
        packets: begin..end,
        head,
        tail,
    }))
}

/// For each place in decoding order, whether everything before it is shown before everything behind it.
pub fn clean_boundaries(track: &Track) -> Vec<bool> {
    let count = track.packets.len();
    let mut behind = vec![i64::MAX; count + 1];
    for place in (0..count).rev() {
        behind[place] = behind[place + 1].min(track.packets[place].pts);
    }
    let mut before = i64::MIN;
    let mut clean = Vec::with_capacity(count + 1);
    for (place, behind) in behind.iter().enumerate() {
        clean.push(before < *behind);
        before = track
            .packets
            .get(place)
            .map_or(before, |packet| before.max(packet.pts));
    }
    clean
}

/// The keyframe at or before `first`, or the earliest there is.
pub fn keyframe_before(track: &Track, first: i64) -> i64 {
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
    use crate::media::probe::{Audio, Light, Probe, Scan, TimeBase, Video};
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
                    scan: Scan::Progressive,
                    light: Light::Standard,
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
            height: None,
            mute: false,
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
            height: Some(32),
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
            mute: true,
            ..recipe(Mode::Exact)
        };
        assert!(!plan(&[window(1.0, 2.0)], &muted, 1080).unwrap().sound);
    }
}
