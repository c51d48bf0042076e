//! Pictures in another order than the source's: made once from first to last, each for itself, and then only listed in the order in
//! which they are shown. However long it is, no more pictures are held than for any other encode.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::{film, graph};
use crate::cost::TURNED_BITS;
use crate::media::probe::TimeBase;
use crate::media::rendering::{Rendering, Timing, order};
use crate::media::sidecar::{self, arguments, file};
use crate::media::splice::movie::{Movie, invalid};
use crate::media::splice::reorder::reorder;
use crate::media::{Bench, MediaError, Phase};

/// What is lost here is little beside what the encode behind it loses.
const CRF: &str = "8";
/// The encoder counts its bits in 32 of them.
const MOST_BITS: f64 = 2e9;
const PIXELS: &str = "yuv420p";

/// Makes the pictures of a rendering in the order in which they are shown, from `inputs`, its windows; returns the file. It is made once:
/// who asks again, for another encode of the same, gets the same.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long, or the disk is full.
pub async fn turned(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    inputs: &[OsString],
) -> Result<PathBuf, MediaError> {
    let name = name(rendering, inputs);
    let path = bench.dir.join(format!("{name}.mp4"));
    if tokio::fs::try_exists(&path).await? {
        return Ok(path);
    }
    // Those of other sizes are large, and hardly ever asked for again.
    let mut others = tokio::fs::read_dir(bench.dir).await?;
    while let Some(other) = others.next_entry().await? {
        if other.file_name().to_string_lossy().starts_with(PREFIX) {
            tokio::fs::remove_file(other.path()).await?;
        }
    }
    let unfinished = bench.dir.join(format!("{name}-forward.mp4"));
    let timing = Timing::forward(rendering.plan, rendering.timing.base, &rendering.look);
    one_by_one(bench, rendering, &timing, inputs, &unfinished).await?;
    let (look, target) = (rendering.look.clone(), path.clone());
    let listed = tokio::task::spawn_blocking(move || {
        let movie = Movie::open(&unfinished)?;
        let track = movie
            .track(b"vide")
            .ok_or_else(|| invalid("no picture was encoded"))?;
        // What was decoded has the last word on how many there are.
        let moved = track.moved(movie.timescale).unwrap_or(0);
        let shown = track.samples.iter().map(|sample| sample.pts + moved);
        let scale = Scale::of(timing.base, track.trak.mdia.mdhd.timescale);
        let times = shown.map(|ticks| scale.narrow(ticks)).collect();
        let timing = Timing { times, ..timing }.directed(&look);
        let order = order(track.samples.len(), &look);
        let times = timing.times.iter().map(|time| scale.widen(*time));
        let order: Vec<(usize, i64)> = order.into_iter().zip(times).collect();
        reorder(&unfinished, &movie, &order, scale.widen(timing.length))?;
        std::fs::rename(&unfinished, &target)
    });
    listed.await.map_err(std::io::Error::other)??;
    Ok(path)
}

/// Begins the names of these files in the job's folder.
const PREFIX: &str = "turned-";

/// A name for all that the file depends on.
fn name(rendering: &Rendering<'_>, inputs: &[OsString]) -> String {
    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    graph::forward(rendering, PIXELS).hash(&mut hasher);
    rendering.look.reverse.hash(&mut hasher);
    format!("{PREFIX}{:016x}", hasher.finish())
}

/// The ticks of a track that holds those of a time base.
#[derive(Clone, Copy)]
struct Scale(i64);

impl Scale {
    fn of(base: TimeBase, timescale: u32) -> Scale {
        let each = u64::from(timescale) * u64::from(base.num) / u64::from(base.den.max(1));
        Scale(i64::try_from(each).unwrap_or(1).max(1))
    }

    fn widen(self, ticks: i64) -> i64 {
        ticks * self.0
    }

    fn narrow(self, ticks: i64) -> i64 {
        (ticks + self.0 / 2).div_euclid(self.0)
    }
}

/// Encodes all pictures from first to last, none of which needs another.
async fn one_by_one(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    timing: &Timing,
    inputs: &[OsString],
    target: &Path,
) -> Result<(), MediaError> {
    let engine = bench.engine;
    let count = timing.times.len().max(1) as f64;
    let seconds = timing.base.seconds(timing.length).as_f64().max(0.001);
    let most = rendering.frame.pixels() as f64 * count / seconds * TURNED_BITS;
    let most = most.clamp(1e6, MOST_BITS) as u64;
    let mut list = inputs.to_vec();
    list.extend(arguments([
        &"-filter_complex",
        &graph::forward(rendering, PIXELS),
        &"-map",
        &"[v]",
    ]));
    list.extend(film::colours(rendering));
    list.extend(film::times(timing));
    list.extend(arguments([
        &"-c:v",
        &"libx264",
        &"-preset",
        &"ultrafast",
        &"-crf",
        &CRF,
        &"-g",
        &"1",
        &"-maxrate",
        &most.to_string(),
        &"-bufsize",
        &most.to_string(),
        &"-threads",
        &engine.threads.to_string(),
        &"-x264-params",
        &"rc-lookahead=0:sync-lookahead=0:sliced-threads=1",
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
        &"-f",
        &"mp4",
    ]));
    list.push(file(target));
    let progress = bench.progress.clone();
    sidecar::ffmpeg(bench.job(engine.cut_deadline), list, move |frame| {
        progress.send_replace(0.1 + 0.4 * (frame as f64 / count).min(1.0));
    })
    .await
    .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    Ok(())
}
