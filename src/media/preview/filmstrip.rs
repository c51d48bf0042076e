//! The filmstrip: small pictures of keyframes in one sheet, and the cues (WebVTT) that say which of them shows which moment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::media::encode::graph;
use crate::media::probe::{self, Probe, Scan, TimeBase, Video};
use crate::media::sidecar::{self, arguments, file};
use crate::media::window::whole::Whole;
use crate::media::window::whole::pick::Key;
use crate::media::{Bench, Input, MediaError, Phase};
use crate::seconds::Seconds;

/// The sheet and what is on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Filmstrip {
    pub sheet: PathBuf,
    /// When each picture is shown, rising; row by row from the left.
    pub times: Vec<Seconds>,
    /// Size of one picture on the sheet.
    pub width: u32,
    pub height: u32,
}

/// Most pictures on a sheet, and how many stand in a row.
pub const MOST: usize = 100;
const COLUMNS: usize = 10;
const WIDTH: u32 = 160;
const TALLEST: u32 = 320;

impl Filmstrip {
    /// The cues: each picture from its own time to that of the next one, the first from the beginning. `link` is the sheet's address.
    pub fn cues(&self, duration: Option<Seconds>, link: &str) -> String {
        let mut text = "WEBVTT\n".to_owned();
        for (number, time) in self.times.iter().enumerate() {
            let start = if number == 0 { Seconds::ZERO } else { *time };
            let last = || duration.unwrap_or(*time + Seconds::from_whole(1));
            let end = self.times.get(number + 1).copied().unwrap_or_else(last);
            let end = end.max(start + Seconds::from_micros(1_000));
            let x = (number % COLUMNS) as u32 * self.width;
            let y = (number / COLUMNS) as u32 * self.height;
            text.push_str(&format!(
                "\n{} --> {}\n{link}#xywh={x},{y},{},{}\n",
                clock(start),
                clock(end),
                self.width,
                self.height
            ));
        }
        text
    }
}

/// A WebVTT timestamp (clause 4.1 of the standard), in whole milliseconds.
fn clock(time: Seconds) -> String {
    let millis = time.micros().max(0) / 1000;
    let (seconds, hours) = (millis / 1000, millis / 3_600_000);
    format!(
        "{hours:02}:{:02}:{:02}.{:03}",
        seconds / 60 % 60,
        seconds % 60,
        millis % 1000
    )
}

/// Which of the keyframes are on the sheet: for moments spread evenly over the source those shown then, each once.
pub fn choose(keys: Vec<Key>, most: usize) -> Vec<Key> {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
        return keys;
    };
    if keys.len() <= most {
        return keys;
    }
    let (from, span) = (first.time.micros(), (last.time - first.time).micros());
    let steps = most.max(2) as i64 - 1;
    let mut chosen: Vec<usize> = (0..=steps)
        .map(|step| {
            let moment = from + (i128::from(span) * i128::from(step) / i128::from(steps)) as i64;
            let shown = keys.partition_point(|key| key.time.micros() <= moment);
            shown.saturating_sub(1)
        })
        .collect();
    chosen.dedup();
    chosen
        .into_iter()
        .filter_map(|place| keys.get(place).cloned())
        .collect()
}

/// Makes the strip from these keyframes of a plain MP4; only they are read.
///
/// # Errors
/// When they cannot be decoded, or ffmpeg is stopped or takes too long.
pub async fn of_tables(
    bench: &Bench<'_>,
    whole: &Arc<Whole>,
    keys: Vec<Key>,
) -> Result<Filmstrip, MediaError> {
    let path = bench.dir.join("keys.mp4");
    let (own, chosen, target) = (Arc::clone(whole), keys.clone(), path.clone());
    let written = tokio::task::spawn_blocking(move || own.write_keys(&chosen, &target));
    written.await.map_err(std::io::Error::other)??;
    let small = small(bench, &path, &whole.probe, "").await?;
    // They stand a 25th of a second apart.
    let apart = i64::from(whole.probe.video.time_base.den.max(25)) / 25;
    let length = whole.probe.video.time_base.seconds(apart).micros().max(1);
    let times = small.times.iter().filter_map(|time| {
        let place = (time.micros() + length / 2) / length;
        Some(keys.get(usize::try_from(place).ok()?)?.time)
    });
    let times = times.collect();
    sheet(bench, small, times).await
}

/// Makes the strip from the keyframes of any local file, which is read to its end.
///
/// # Errors
/// When nothing of it can be decoded, or ffmpeg is stopped or takes too long.
pub async fn of_file(
    bench: &Bench<'_>,
    path: &Path,
    probe: &Probe,
    length: Option<Seconds>,
) -> Result<Filmstrip, MediaError> {
    let step = length.map_or(1.0, |length| length.as_f64() / (MOST - 1) as f64);
    let zero = probe.zero();
    // Behind the end of a beginning lies a little more of the source.
    let inside = probe
        .zero_at
        .and(length)
        .map_or(String::new(), |length| format!("*lt(t,{})", zero + length));
    let select = format!(
        "select='(isnan(prev_selected_t)+gte(t-prev_selected_t,{step:.6}))*lt(selected_n,{MOST}){inside}',"
    );
    let small = small(bench, path, probe, &select).await?;
    let times = small.times.iter().map(|time| *time - zero).collect();
    sheet(bench, small, times).await
}

/// Keyframes on their way onto the sheet.
struct Small {
    path: PathBuf,
    /// When they are shown, in the time of their file.
    times: Vec<Seconds>,
    width: u32,
    height: u32,
}

/// Decodes keyframes and makes them small, without loss, together with a list of their times.
async fn small(
    bench: &Bench<'_>,
    path: &Path,
    probe: &Probe,
    select: &str,
) -> Result<Small, MediaError> {
    let (target, list_file) = (bench.dir.join("small.mp4"), bench.dir.join("times.txt"));
    let height = height(probe);
    // Combs go when it is scaled, and nothing else of it is kept.
    let video = Video {
        scan: Scan::Progressive,
        width: WIDTH,
        height,
        ..probe.video.clone()
    };
    let look = graph::plain(&video, (WIDTH, height), height);
    let graph = format!(
        "[0:{}]{select}scale={WIDTH}:{height}:flags=area,setsar=1,{look},split[a][b]",
        probe.video.index
    );
    // Else times are rounded to what the frame rate is said to be.
    let base = format!("{}:{}", video.time_base.num, video.time_base.den);
    let mut list = arguments([
        &"-copyts",
        &"-filter_complex_threads",
        &"1",
        &"-threads",
        &"1",
        &"-skip_frame",
        &"nokey",
    ]);
    list.extend(probe::input_arguments(
        &Input::File(path.to_owned()),
        bench.engine.max_pixels,
    ));
    list.extend(arguments([
        &"-filter_complex",
        &graph,
        &"-map",
        &"[a]",
        &"-fps_mode",
        &"passthrough",
        &"-enc_time_base",
        &base,
        &"-c:v",
        &"libx264",
        &"-preset",
        &"ultrafast",
        &"-qp",
        &"0",
        &"-threads",
        &"1",
        &"-f",
        &"mp4",
    ]));
    list.push(file(&target));
    list.extend(arguments([
        &"-map",
        &"[b]",
        &"-fps_mode",
        &"passthrough",
        &"-enc_time_base",
        &base,
        &"-f",
        &"framecrc",
    ]));
    list.push(file(&list_file));
    run(bench, path, list).await?;
    let times = listed(&tokio::fs::read_to_string(&list_file).await?);
    if times.is_empty() {
        return Err(MediaError::Damaged(None));
    }
    Ok(Small {
        path: target,
        times,
        width: WIDTH,
        height,
    })
}

/// Puts the pictures into one sheet.
async fn sheet(
    bench: &Bench<'_>,
    small: Small,
    times: Vec<Seconds>,
) -> Result<Filmstrip, MediaError> {
    if times.len() != small.times.len() {
        return Err(MediaError::Damaged(None));
    }
    let target = bench.dir.join("sheet.jpg");
    let columns = times.len().min(COLUMNS);
    let rows = times.len().div_ceil(COLUMNS);
    let mut list = arguments([&"-threads", &"1"]);
    list.extend(probe::input_arguments(
        &Input::File(small.path.clone()),
        bench.engine.max_pixels,
    ));
    list.extend(arguments([
        &"-an",
        &"-vf",
        &format!("tile={columns}x{rows},format=yuvj420p"),
        &"-fps_mode",
        &"passthrough",
        &"-frames:v",
        &"1",
        &"-q:v",
        &"4",
        &"-f",
        &"mjpeg",
    ]));
    list.push(file(&target));
    run(bench, &small.path, list).await?;
    let size = tokio::fs::metadata(&target)
        .await
        .map_or(0, |meta| meta.len());
    if size == 0 {
        return Err(MediaError::Damaged(None));
    }
    Ok(Filmstrip {
        sheet: target,
        times,
        width: small.width,
        height: small.height,
    })
}

/// Runs ffmpeg on a file, which may lie outside of the job's folder.
async fn run(
    bench: &Bench<'_>,
    path: &Path,
    list: Vec<std::ffi::OsString>,
) -> Result<(), MediaError> {
    let reads = [path.to_owned()];
    let job = bench.job(bench.engine.cut_deadline).reading(&reads);
    let made = sidecar::ffmpeg(job, list, |_| {}).await;
    made.map(drop)
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))
}

/// Height of a picture on the sheet, as it is shown.
fn height(probe: &Probe) -> u32 {
    let shown = f64::from(probe.shown_height().max(1));
    let across = if matches!(probe.video.rotation, 90 | 270) {
        probe.video.height
    } else {
        probe.video.width
    };
    let height = f64::from(WIDTH) * shown / f64::from(across.max(1));
    ((height / 2.0).round() as u32 * 2).clamp(16, TALLEST)
}

/// The times in what the `framecrc` muxer wrote: `#tb 0: NUM/DEN`, then lines of `stream, dts, pts, …`.
fn listed(text: &str) -> Vec<Seconds> {
    let base = text
        .lines()
        .find_map(|line| probe::time_base(line.strip_prefix("#tb 0: ")?.trim()));
    let Some(base) = base else { return Vec::new() };
    let time = |line: &str, base: TimeBase| {
        let pts = line.split(',').nth(2)?.trim().parse().ok()?;
        Some(base.seconds(pts))
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| time(line, base))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_cover_all_of_the_source_once() {
        let strip = Filmstrip {
            sheet: PathBuf::new(),
            times: (0..12)
                .map(|number| Seconds::from_micros(500_000 + 2_000_000 * number))
                .collect(),
            width: 160,
            height: 90,
        };
        let text = strip.cues(Some(Seconds::from_whole(3600)), "filmstrip");
        let cues: Vec<&str> = text.split("\n\n").skip(1).collect();
        assert_eq!(cues.len(), 12);
        assert_eq!(
            cues[0],
            "00:00:00.000 --> 00:00:02.500\nfilmstrip#xywh=0,0,160,90"
        );
        assert_eq!(
            cues[11].trim_end(),
            "00:00:22.500 --> 01:00:00.000\nfilmstrip#xywh=160,90,160,90"
        );
    }

    #[test]
    fn times_are_read_from_what_the_muxer_wrote() {
        let text = "#software: x\n#tb 0: 1/12288\n#media_type 0: video\n0,          0,          0,      512,    21600, 0x1\n\
                    0,      24576,      24576,      512,    21600, 0x2\n";
        assert_eq!(listed(text), [Seconds::ZERO, Seconds::from_whole(2)]);
        assert!(listed("").is_empty());
    }
}
