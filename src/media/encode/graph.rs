//! The filter graph of the pictures: each window's trimmed and moved to its place in the clip, joined, and made to look as wished.
//! Everything in it is a number of ours; nothing a visitor wrote gets in.

use crate::media::probe::{Light, Probe, Scan, Video};
use crate::media::rendering::Rendering;
use crate::recipe::Look;
use crate::recipe::frame::Frame;
use crate::recipe::look::Speed;
use crate::seconds::Seconds;

/// Inputs beside the windows, which come first, by their numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    /// The pictures in the order in which they are shown, where that is not the source's.
    pub turned: Option<usize>,
    /// What is laid over the pictures.
    pub lettering: Option<usize>,
}

/// The graph from the inputs to `[v]`, in the pixel format `pixels`.
pub fn graph(rendering: &Rendering<'_>, beside: Beside, pixels: &str) -> String {
    let base = rendering.timing.base;
    let settb = format!("settb={}/{}", base.num, base.den);
    let mut graph = match beside.turned {
        None => moving(rendering),
        Some(number) => format!("[{number}:v:0]{settb},"),
    };
    if let Some(number) = beside.lettering {
        // In the picture's own ticks, or the times would be rounded to those of both.
        graph.push_str(&format!(
            "null[film];[{number}:v:0]setpts=0,{settb}[letters];[film][letters]overlay=0:0:format=auto,"
        ));
    }
    graph.push_str(&faded(&rendering.look, rendering.seconds().as_f64()));
    graph.push_str(&format!("format={pixels}[v]"));
    graph
}

/// The graph from the windows to `[v]`: the pictures in the source's order and their final size, with nothing laid over them.
pub fn forward(rendering: &Rendering<'_>, pixels: &str) -> String {
    format!("{}format={pixels}[v]", moving(rendering))
}

/// The pictures of all windows, joined, up to the comma behind their last filter.
fn moving(rendering: &Rendering<'_>) -> String {
    let windows = rendering.windows;
    let mut graph = String::new();
    let mut offset = 0;
    // One treatment does for all when they are alike; else each gets its own, and the size of the first.
    let alike = windows
        .windows(2)
        .all(|pair| same_look(&pair[0].probe, &pair[1].probe));
    let fit = windows.first().map(|first| fitted(&first.probe));
    for (number, (window, piece)) in windows.iter().zip(&rendering.plan.pieces).enumerate() {
        let (first, last) = (piece.first(), piece.last());
        let own = if alike {
            String::new()
        } else {
            let video = &window.probe.video;
            let fit = fit.as_deref().unwrap_or("null");
            format!(",{}{}{fit}", fields(video.scan), light(video.light))
        };
        graph.push_str(&format!(
            "[{number}:v:0]trim=start_pts={first}:end_pts={},setpts=PTS-{first}+{offset}{own}[v{number}];",
            last + 1
        ));
        offset += piece.length();
    }
    let count = windows.len();
    if count == 1 {
        graph.push_str("[v0]");
    } else {
        // Frames already carry their final times, so that sorting them is joining them; `concat` would invent durations instead.
        let inputs: String = (0..count).map(|number| format!("[v{number}]")).collect();
        graph.push_str(&format!("{inputs}interleave=nb_inputs={count},"));
    }
    let video = windows.first().map(|window| &window.probe.video);
    let (scan, lit) = match video.filter(|_| alike) {
        Some(video) => (video.scan, video.light),
        None => (Scan::Progressive, Light::Standard),
    };
    // Joining counts in microseconds and making frames of fields in half ticks; what follows counts in ticks.
    let base = rendering.timing.base;
    graph.push_str(&format!(
        "{}settb={}/{},{}{}{}",
        fields(scan),
        base.num,
        base.den,
        timed(rendering),
        sized(&rendering.frame),
        light(lit)
    ));
    graph
}

/// Speed, and pictures left out where there are too many.
fn timed(rendering: &Rendering<'_>) -> String {
    let mut filters = String::new();
    if let Some(speed) = rendering.look.speed {
        filters.push_str(&format!(
            "setpts=floor(PTS*1000/{}+0.5),",
            Speed::thousandths(speed)
        ));
    }
    if let Some(grid) = rendering.timing.grid {
        let (factor, slack, whole) = grid.cell();
        let cell = |of: &str| format!("floor(({of}*{factor}+{slack})/{whole})");
        filters.push_str(&format!(
            "select='isnan(prev_selected_pts)+gt({},{})',",
            cell("pts"),
            cell("prev_selected_pts")
        ));
    }
    filters
}

/// Cropping and scaling.
fn sized(frame: &Frame) -> String {
    let mut filters = String::new();
    if let Some(rect) = frame.crop {
        filters.push_str(&format!(
            "crop={}:{}:{}:{},",
            rect.width, rect.height, rect.x, rect.y
        ));
    }
    if frame.scaled {
        filters.push_str(&format!(
            "scale={}:{}:flags=bicubic,",
            frame.width, frame.height
        ));
    }
    filters
}

/// Fades, in seconds of the finished clip.
fn faded(look: &Look, length: f64) -> String {
    let mut filters = String::new();
    // Without a length the filter takes one of its own.
    if let Some(fade) = look.fade_in.filter(|fade| *fade > Seconds::ZERO) {
        filters.push_str(&format!("fade=t=in:st=0:d={fade},"));
    }
    if let Some(fade) = look.fade_out.filter(|fade| *fade > Seconds::ZERO) {
        let start = (length - fade.as_f64()).max(0.0);
        filters.push_str(&format!("fade=t=out:st={start:.6}:d={fade},"));
    }
    filters
}

/// What becomes of a picture that is only brought to a height: fields into frames, scaling, even sizes, high into standard dynamic
/// range, and the pixel format that every player knows. ffmpeg has turned the picture already. Scaling comes before what works on
/// floating-point pictures.
pub fn plain(video: &Video, shown: (u32, u32), most: u32) -> String {
    let sized = match Frame::of(shown, &Look::default(), most) {
        Ok(frame) => sized(&frame),
        // Nothing is cropped, so nothing lies outside.
        Err(_) => String::new(),
    };
    format!(
        "{}{sized}{}format=yuv420p",
        fields(video.scan),
        light(video.light)
    )
}

fn fields(scan: Scan) -> &'static str {
    match scan {
        Scan::Progressive => "",
        // One frame for each frame, at its time; pictures that are whole already stay as they are.
        Scan::Interlaced => "bwdif=mode=send_frame:parity=auto:deint=interlaced,",
    }
}

fn light(light: Light) -> &'static str {
    match light {
        Light::Standard => "",
        Light::High => {
            "zscale=transfer=linear:npl=203,format=gbrpf32le,zscale=primaries=bt709,tonemap=tonemap=mobius:desat=0,\
zscale=transfer=bt709:matrix=bt709:range=tv,"
        }
    }
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
fn fitted(first: &Probe) -> String {
    let (width, height) = first.shown_size();
    let (width, height) = (width & !1, height & !1);
    format!(
        "scale={width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2:flags=bicubic,\
pad={width}:{height}:(ow-iw)/2:(oh-ih)/2,setsar=1"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::probe::TimeBase;

    #[test]
    fn pictures_are_only_brought_to_a_height() {
        let video = Video {
            index: 0,
            codec: "h264".into(),
            pixel_format: "yuv420p".into(),
            width: 1920,
            height: 1080,
            rotation: 0,
            time_base: TimeBase { num: 1, den: 1000 },
            fps: None,
            scan: Scan::Progressive,
            light: Light::Standard,
        };
        assert_eq!(plain(&video, (1920, 1080), 1080), "format=yuv420p");
        assert_eq!(
            plain(&video, (1920, 1080), 721),
            "scale=1280:720:flags=bicubic,format=yuv420p"
        );
        assert_eq!(
            plain(&video, (641, 360), 1080),
            "crop=640:360:0:0,format=yuv420p"
        );
    }
}
