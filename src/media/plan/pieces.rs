//! One segment's frames: which are wanted, which are copied, and where copying can begin and end.

use super::{Piece, TOLERANCE, WORTH};
use crate::media::MediaError;
use crate::media::packets::Track;
use crate::media::splice::bitstream::Bitstream;
use crate::media::window::Window;
use crate::recipe::frame::Frame;
use crate::recipe::{Format, Recipe};

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

pub(super) fn encoded_piece(window: &Window) -> Result<Piece, MediaError> {
    let (frames, until) = wanted(window)?;
    Ok(Piece {
        head: frames.len(),
        tail: 0,
        packets: 0..0,
        frames,
        until,
    })
}

/// A packet is not always a picture: among so many there is one.
const LOOKED_AT: usize = 4;

/// The same as far as it takes to find its first picture.
pub(super) fn beginning(piece: Piece) -> Piece {
    let mut frames = piece.frames;
    let until = frames.get(LOOKED_AT).copied().unwrap_or(piece.until);
    frames.truncate(LOOKED_AT);
    Piece {
        head: frames.len(),
        until,
        frames,
        ..piece
    }
}

/// Whether the sound alone is wanted, and can be taken over packet by packet.
pub(super) fn takes_sound_over(windows: &[Window], recipe: &Recipe) -> bool {
    let [window] = windows else { return false };
    recipe.format == Format::M4a
        && recipe.wants_sound()
        && !recipe.look.touches_sound()
        && window.has_sound_samples()
}

/// Whether a fast cut may copy: H.264 and AAC or MP3, which every player knows.
pub(super) fn plays_everywhere(window: &Window, recipe: &Recipe) -> bool {
    let sound = window.audio.as_ref().filter(|_| recipe.wants_sound());
    window.video.codec == "h264"
        && matches!(
            window.probe.video.pixel_format.as_str(),
            "yuv420p" | "yuvj420p"
        )
        && sound.is_none_or(|track| matches!(track.codec.as_str(), "aac" | "mp3"))
}

/// A fast cut: from the keyframe at or before the start to the first clean boundary that leaves no wanted frame out.
pub(super) fn copied_piece(window: &Window) -> Result<Piece, MediaError> {
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
pub(super) fn splice_pieces(
    windows: &[Window],
    recipe: &Recipe,
    max_height: u32,
) -> Result<Result<Vec<Piece>, &'static str>, MediaError> {
    if recipe.format != Format::Mp4 {
        return Ok(Err("format"));
    }
    if let Some(reason) = recipe.look.touches_pictures() {
        return Ok(Err(reason));
    }
    let mut pieces = Vec::new();
    let mut stream: Option<&Bitstream> = None;
    for window in windows {
        let shown = window.probe.shown_height();
        if shown > max_height || recipe.look.height.is_some_and(|height| height < shown) {
            return Ok(Err("scale"));
        }
        // The cut will say what is wrong with it; a crop that keeps all of the picture is none.
        let crop = recipe.look.crop.is_some().then(|| {
            let size = window.probe.shown_size();
            Frame::of(size, &recipe.look, max_height).map(|frame| frame.crop)
        });
        if !matches!(crop, None | Some(Ok(None))) {
            return Ok(Err("crop"));
        }
        let bitstream = match &window.bitstream {
            Ok(bitstream) => bitstream,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let base = windows.first().map(|first| first.video.time_base);
        if window.video.time_base.num != 1 || base != Some(window.video.time_base) {
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
