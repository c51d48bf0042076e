//! The exact cut by encoding: every wanted frame once, at the very time it had in the source. Timestamps are passed through, never
//! made anew; sound is trimmed to the sample and gaps in it stay gaps.

use std::ffi::OsString;
use std::path::Path;

use super::plan::{Piece, Plan};
use super::probe::{self, Light, Probe, Scan, Video};
use super::sidecar::{self, arguments};
use super::window::Window;
use super::{Bench, Input, MediaError, Phase};
use crate::recipe::Recipe;

/// Encodes the plan's pieces, joined, into `target`.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn encode(
    bench: &Bench<'_>,
    windows: &[Window],
    plan: &Plan,
    recipe: &Recipe,
    target: &Path,
) -> Result<(), MediaError> {
    let Some(window) = windows.first() else {
        return Err(MediaError::NoFrames);
    };
    let engine = bench.engine;
    let threads = engine.threads.to_string();
    let mut list = arguments([&"-copyts", &"-filter_complex_threads", &"1"]);
    for window in windows {
        list.extend(arguments([&"-threads", &threads]));
        list.extend(probe::input_arguments(
            &Input::File(window.path.clone()),
            engine.max_pixels,
        ));
    }
    let height = recipe
        .height
        .unwrap_or(engine.max_height)
        .min(engine.max_height.max(16));
    list.extend(arguments([
        &"-filter_complex",
        &graph(windows, plan, height),
        &"-map",
        &"[v]",
    ]));
    if plan.sound {
        list.extend(arguments([&"-map", &"[a]"]));
        list.extend(sound(window));
    }
    let base = window.video.time_base;
    if window.probe.video.light == Light::High {
        list.extend(arguments([
            &"-colorspace",
            &"bt709",
            &"-color_primaries",
            &"bt709",
            &"-color_trc",
            &"bt709",
            &"-color_range",
            &"tv",
        ]));
    }
    list.extend(arguments([
        &"-fps_mode",
        &"passthrough",
        &"-enc_time_base",
        &format!("{}:{}", base.num, base.den),
        &"-video_track_timescale",
        &timescale(base.num, base.den).to_string(),
        &"-c:v",
        &"libx264",
        &"-preset",
        &engine.preset,
        &"-crf",
        &engine.crf.to_string(),
        &"-threads",
        &threads,
        &"-bsf:v",
        &lasting(plan),
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
        &"-movflags",
        &"+faststart",
        &"-f",
        &"mp4",
    ]));
    list.push(sidecar::file(target));
    let frames = plan
        .pieces
        .iter()
        .map(|piece| piece.frames.len())
        .sum::<usize>()
        .max(1) as f64;
    let progress = bench.progress.clone();
    sidecar::ffmpeg(bench.job(engine.cut_deadline), list, move |frame| {
        progress.send_replace(0.1 + 0.85 * (frame as f64 / frames).min(1.0));
    })
    .await
    .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    Ok(())
}

/// Gives every packet the length of the last frame. Only that of the last one counts, and without it the muxer lets the track end
/// where the last frame begins, which then nobody shows.
fn lasting(plan: &Plan) -> String {
    let ticks = plan
        .pieces
        .last()
        .map_or(1, |piece| piece.until - piece.last());
    format!("setts=pts=PTS:dts=DTS:duration={ticks}")
}

/// The filter graph: each window's picture and sound trimmed and moved to its place in the clip, then joined. Everything in it is a
/// number of ours; nothing a visitor wrote gets in.
fn graph(windows: &[Window], plan: &Plan, most: u32) -> String {
    let mut graph = String::new();
    let mut offset = 0;
    let looks: Vec<String> = windows
        .iter()
        .map(|window| look(&window.probe.video, window.probe.shown_height(), most))
        .collect();
    // One look does for all when they are alike; else each gets its own, and the size of the first.
    let alike = windows
        .windows(2)
        .all(|pair| same_look(&pair[0].probe, &pair[1].probe));
    let shared = looks
        .first()
        .filter(|_| alike)
        .cloned()
        .unwrap_or_else(|| "null".to_owned());
    let fit = windows
        .first()
        .map(|first| fitted(&first.probe, most))
        .unwrap_or_default();
    for (number, piece) in plan.pieces.iter().enumerate() {
        let (first, last) = (piece.first(), piece.last());
        let own = match looks.get(number).filter(|_| !alike) {
            Some(look) => format!(",{look},{fit}"),
            None => String::new(),
        };
        graph.push_str(&format!(
            "[{number}:v:0]trim=start_pts={first}:end_pts={},setpts=PTS-{first}+{offset}{own}[v{number}];",
            last + 1
        ));
        offset += piece.length();
    }
    let count = windows.len();
    if count == 1 {
        graph.push_str(&format!("[v0]{shared}[v]"));
    } else {
        // Frames already carry their final times, so that sorting them is joining them; `concat` would invent durations instead.
        let inputs: String = (0..count).map(|number| format!("[v{number}]")).collect();
        graph.push_str(&format!("{inputs}interleave=nb_inputs={count},{shared}[v]"));
    }
    if plan.sound {
        graph.push(';');
        graph.push_str(&sound_graph(windows, plan));
    }
    graph
}

/// The graph of the sound alone: `[a]` from all windows.
pub fn sound_graph(windows: &[Window], plan: &Plan) -> String {
    let count = windows.len();
    let pieces = windows.iter().zip(&plan.pieces).enumerate();
    let mut graph: String = pieces
        .map(|(number, (window, piece))| sound_piece(window, piece, number, count))
        .collect();
    if count == 1 {
        graph.push_str("[a0]anull[a]");
    } else {
        let inputs: String = (0..count).map(|number| format!("[a{number}]")).collect();
        graph.push_str(&format!("{inputs}concat=n={count}:v=0:a=1[a]"));
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

/// What becomes of the picture: fields into frames, scaling, even sizes, high into standard dynamic range, and the pixel format that
/// every player knows. ffmpeg has turned the picture already. Scaling comes before what works on floating-point pictures.
pub fn look(video: &Video, shown_height: u32, most: u32) -> String {
    let fields = match video.scan {
        Scan::Progressive => "",
        // One frame for each frame, at its time; pictures that are whole already stay as they are.
        Scan::Interlaced => "bwdif=mode=send_frame:parity=auto:deint=interlaced,",
    };
    let size = if shown_height > most {
        format!("scale=-2:{}:flags=bicubic,", most & !1)
    } else if !video.width.is_multiple_of(2) || !video.height.is_multiple_of(2) {
        // 4:2:0 wants even sizes: one line or column goes, the others stay as they are.
        "crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0,".to_owned()
    } else {
        String::new()
    };
    let light = match video.light {
        Light::Standard => "",
        Light::High => {
            "zscale=transfer=linear:npl=203,format=gbrpf32le,zscale=primaries=bt709,tonemap=tonemap=mobius:desat=0,\
zscale=transfer=bt709:matrix=bt709:range=tv,"
        }
    };
    format!("{fields}{size}{light}format=yuv420p")
}

/// Whether pictures of two windows can go through one filter.
fn same_look(one: &Probe, other: &Probe) -> bool {
    let of = |probe: &Probe| {
        let video = &probe.video;
        (
            video.width,
            video.height,
            video.rotation,
            video.scan,
            video.light,
        )
    };
    of(one) == of(other)
}

/// Pictures of any size in the frame that those of `first` have, whole, with black beside them where they do not fill it.
fn fitted(first: &Probe, most: u32) -> String {
    let (width, height) = match first.video.rotation {
        90 | 270 => (first.video.height, first.video.width),
        _ => (first.video.width, first.video.height),
    };
    let (width, height) = if height > most {
        let even = most & !1;
        let scaled = u64::from(width) * u64::from(even) / u64::from(height.max(1));
        (u32::try_from(scaled).unwrap_or(width) & !1, even)
    } else {
        (width & !1, height & !1)
    };
    format!(
        "scale={width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2:flags=bicubic,\
pad={width}:{height}:(ow-iw)/2:(oh-ih)/2,setsar=1"
    )
}

/// Sound as every player takes it: AAC, at most stereo, at a rate that MP4 players know.
pub fn sound(window: &Window) -> Vec<OsString> {
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

/// The track's ticks per second, when the time base is a whole fraction; else a multiple that holds it.
fn timescale(num: u32, den: u32) -> u32 {
    if num == 1 {
        den
    } else {
        den.saturating_mul(num)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::probe::TimeBase;

    fn video(width: u32, height: u32) -> Video {
        Video {
            index: 0,
            codec: "h264".into(),
            pixel_format: "yuv420p".into(),
            width,
            height,
            rotation: 0,
            time_base: TimeBase { num: 1, den: 1000 },
            fps: None,
            scan: Scan::Progressive,
            light: Light::Standard,
        }
    }

    #[test]
    fn pictures_are_scaled_down_only() {
        assert_eq!(look(&video(1920, 1080), 1080, 1080), "format=yuv420p");
        assert_eq!(
            look(&video(1920, 1080), 1080, 721),
            "scale=-2:720:flags=bicubic,format=yuv420p"
        );
        assert_eq!(look(&video(640, 360), 360, 1080), "format=yuv420p");
    }

    #[test]
    fn odd_sizes_lose_one_line_instead_of_being_stretched() {
        assert!(look(&video(641, 360), 360, 1080).starts_with("crop="));
        assert!(look(&video(640, 361), 361, 1080).starts_with("crop="));
    }
}
