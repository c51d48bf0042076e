//! The sound of what is encoded: every piece trimmed to its first frame's time and its last frame's end, then joined.

use std::ffi::OsString;

use crate::media::plan::{Piece, Plan};
use crate::media::rendering::Rendering;
use crate::media::sidecar::arguments;
use crate::media::window::Window;

/// The graph of the sound alone: `[a]` from all windows, as the look wants it.
pub fn graph(rendering: &Rendering<'_>) -> String {
    let joined = joined(rendering.windows, rendering.plan);
    format!("{joined}[joined];[joined]anull[a]")
}

/// The sound of all windows one after the other, up to the name of its end.
fn joined(windows: &[Window], plan: &Plan) -> String {
    let count = windows.len();
    let pieces = windows.iter().zip(&plan.pieces).enumerate();
    let mut graph: String = pieces
        .map(|(number, (window, piece))| sound_piece(window, piece, number, count))
        .collect();
    if count == 1 {
        graph.push_str("[a0]anull");
    } else {
        let inputs: String = (0..count).map(|number| format!("[a{number}]")).collect();
        graph.push_str(&format!("{inputs}concat=n={count}:v=0:a=1"));
    }
    graph
}

/// A piece's sound from the time of its first frame to the end of its last. Missing sound becomes silence, so that what follows
/// keeps its place; the smallest step that counts as a gap is above the rounding of millisecond containers.
fn sound_piece(window: &Window, piece: &Piece, number: usize, count: usize) -> String {
    let base = window.video.time_base;
    let (start, end) = (base.seconds(piece.first()), base.seconds(piece.until));
    let length = end - start;
    let filling = "aresample=async=1:first_pts=0:min_hard_comp=0.004";
    let Some(track) = &window.audio else {
        return format!("anullsrc=r=48000:cl=stereo:d={length}[a{number}];");
    };
    if track.packets.is_empty() {
        return format!("anullsrc=r=48000:cl=stereo:d={length}[a{number}];");
    }
    let fitted = if count == 1 {
        String::new()
    } else {
        // Where the trim leaves nothing, what pads has no times of its own.
        format!(",apad=whole_dur={length},asetpts=N/SR/TB,atrim=end={length}")
    };
    format!(
        "[{number}:a:0]atrim=start={start}:end={end},asetpts=PTS-{start}/TB,{filling}{fitted}[a{number}];"
    )
}

/// Sound as every player takes it: AAC, at most stereo, at a rate that MP4 players know.
pub fn aac(window: &Window) -> Vec<OsString> {
    let (channels, rate) = window
        .probe
        .audio
        .as_ref()
        .map_or((2, 48_000), |audio| (audio.channels, audio.rate));
    let rate = if matches!(rate, 44_100 | 48_000) {
        rate
    } else {
        48_000
    };
    let (channels, bits) = if channels == 1 {
        ("1", "96k")
    } else {
        ("2", "160k")
    };
    arguments([
        &"-c:a",
        &"aac",
        &"-b:a",
        &bits,
        &"-ac",
        &channels,
        &"-ar",
        &rate.to_string(),
    ])
}

/// Sound that takes fewer bits a second than usual, behind the arguments of an encoder: what comes later holds. Two channels are one
/// where there is little for each.
pub fn spare(bits: u64) -> Vec<OsString> {
    const ONE: u64 = 64_000;
    let mut list = arguments([&"-b:a", &bits.to_string()]);
    if bits <= ONE {
        list.extend(arguments([&"-ac", &"1"]));
    }
    list
}
