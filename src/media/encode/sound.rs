//! The sound of what comes out: every piece trimmed to its first frame's time and its last frame's end, joined, and made as the look
//! wants it. It is as long as the pictures, to the sample.

use std::ffi::OsString;

use super::loudness::Gain;
use crate::media::plan::{Piece, Plan};
use crate::media::rendering::{Rendering, Timing};
use crate::media::sidecar::arguments;
use crate::media::window::Window;
use crate::recipe::look::{Speed, Volume};
use crate::seconds::Seconds;

/// No peak between samples is higher than this, in dBTP, where sound was made louder: the encoder adds a little.
pub const LIMIT: f64 = -1.2;

/// Sound as every player takes it: at most stereo, at a rate that MP4 players know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub channels: u32,
    pub rate: u32,
}

impl Heard {
    /// Of a rendering whose sound may take so many bits a second: two channels are one where there is little for each.
    pub fn of(rendering: &Rendering<'_>, bits: Option<u64>) -> Heard {
        const ONE: u64 = 64_000;
        let window = rendering.windows.first();
        let audio = window.and_then(|window| window.probe.audio.as_ref());
        let (channels, rate) = audio.map_or((2, 48_000), |audio| (audio.channels, audio.rate));
        let spare = bits.is_some_and(|bits| bits <= ONE);
        Heard {
            channels: if channels == 1 || spare { 1 } else { 2 },
            rate: if matches!(rate, 44_100 | 48_000) {
                rate
            } else {
                48_000
            },
        }
    }
}

/// The graph of the sound alone: `[a]` from all windows, as the look wants it. `gain` is what was found for its loudness.
pub fn graph(rendering: &Rendering<'_>, heard: Heard, gain: Option<Gain>) -> String {
    let joined = joined(rendering.windows, rendering.plan);
    let length = fitted(rendering.seconds());
    if !rendering.look.touches_sound() {
        return format!("{joined}[joined];[joined]{length}[a]");
    }
    let filters = [
        as_heard(heard),
        // What is turned is held whole, so that it comes before what is slowed down.
        directed(rendering),
        at_speed(rendering),
        louder(rendering, heard, gain),
        faded(rendering),
    ];
    format!("{joined}[joined];[joined]{}{length}[a]", filters.concat())
}

/// Sound that lasts so long: silence behind it where there is less.
fn fitted(length: Seconds) -> String {
    // Where nothing came, what pads has no times of its own.
    format!("apad=whole_dur={length},asetpts=N/SR/TB,atrim=end={length}")
}

/// The channels and the rate that come out, so that what is measured and limited is what is heard.
fn as_heard(Heard { channels, rate }: Heard) -> String {
    let layout = if channels == 1 { "mono" } else { "stereo" };
    format!("aformat=sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout},")
}

/// Faster or slower at the same pitch.
fn at_speed(rendering: &Rendering<'_>) -> String {
    let Some(speed) = rendering.look.speed else {
        return String::new();
    };
    // The filter holds back what it has not put together yet: with silence behind it comes out.
    format!(
        "{},{}apad=pad_dur=0.5,{}{},",
        fitted(before(rendering.seconds(), Some(speed))),
        behind(speed),
        tempo(speed),
        fitted(rendering.seconds()),
    )
}

/// How long what lasts so long was before its speed.
fn before(length: Seconds, speed: Option<Speed>) -> Seconds {
    let thousandths = i64::from(speed.map_or(1000, Speed::thousandths));
    Seconds::from_micros((length.micros() * thousandths + 500) / 1000)
}

/// What is slowed down comes too early by a share of half a window, of 2048 samples at the rates in use: that much is put before it.
fn behind(speed: Speed) -> String {
    const HALF: f64 = 1024.0;
    let early = (HALF * (1.0 - speed.as_f64())).round();
    if early >= 1.0 {
        format!("adelay=delays={early}S:all=1,")
    } else {
        String::new()
    }
}

/// Below half and above twice the speed in two steps: one of them would skip sound, or is not possible.
fn tempo(speed: Speed) -> String {
    let speed = speed.as_f64();
    if (0.5..=2.0).contains(&speed) {
        format!("atempo={speed},")
    } else {
        let step = speed.sqrt();
        format!("atempo={step:.9},atempo={step:.9},")
    }
}

/// Backward, or forward and then backward between the first picture and the last; at the source's speed.
fn directed(rendering: &Rendering<'_>) -> String {
    let (look, base) = (&rendering.look, rendering.timing.base);
    let own: i64 = rendering.plan.pieces.iter().map(Piece::length).sum();
    // Sound that ends before the pictures is silence first.
    let whole = fitted(base.seconds(own));
    if look.reverse {
        return format!("{whole},areverse,asetpts=N/SR/TB,");
    }
    let forward = Timing::forward(rendering.plan, base, look);
    match forward.times.as_slice() {
        [_, second, .., last] if look.boomerang => {
            let from = before(base.seconds(*second), look.speed);
            let until = before(base.seconds(*last), look.speed);
            format!(
                "{whole},asplit[there][turning];[turning]atrim=start={from}:end={until},areverse,asetpts=N/SR/TB[back];\
[there][back]concat=n=2:v=0:a=1,"
            )
        }
        _ => String::new(),
    }
}

/// Louder or quieter, by a factor or to a loudness. What becomes louder is kept from clipping.
fn louder(rendering: &Rendering<'_>, heard: Heard, gain: Option<Gain>) -> String {
    let raised = |filter: String| {
        // Peaks between samples are seen at four times the rate.
        let rate = heard.rate;
        let limit = 10_f64.powf(LIMIT / 20.0);
        format!(
            "{filter}aresample={},alimiter=level=0:limit={limit:.6}:attack=5:release=100:latency=1,aresample={rate},",
            4 * rate
        )
    };
    match (gain, rendering.look.volume.map(Volume::as_f64)) {
        (Some(Gain(gain)), _) => raised(format!("volume={gain:.3}dB,")),
        (None, Some(volume)) if volume > 1.0 => raised(format!("volume={volume},")),
        (None, Some(volume)) => format!("volume={volume},"),
        (None, None) => String::new(),
    }
}

/// Fades, in seconds of the finished clip.
fn faded(rendering: &Rendering<'_>) -> String {
    let look = &rendering.look;
    let mut filters = String::new();
    if look.fade_in.is_some() || look.fade_out.is_some() {
        filters.push_str("asetpts=N/SR/TB,");
    }
    if let Some(fade) = look.fade_in.filter(|fade| *fade > Seconds::ZERO) {
        filters.push_str(&format!("afade=t=in:st=0:d={fade},"));
    }
    if let Some(fade) = look.fade_out.filter(|fade| *fade > Seconds::ZERO) {
        let start = (rendering.seconds() - fade).max(Seconds::ZERO);
        filters.push_str(&format!("afade=t=out:st={start}:d={fade},"));
    }
    filters
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

/// AAC, at so many bits a second where they are told.
pub fn aac(heard: Heard, bits: Option<u64>) -> Vec<OsString> {
    let usual = if heard.channels == 1 { 96_000 } else { 160_000 };
    arguments([
        &"-c:a",
        &"aac",
        &"-b:a",
        &bits.unwrap_or(usual).to_string(),
        &"-ac",
        &heard.channels.to_string(),
        &"-ar",
        &heard.rate.to_string(),
    ])
}
