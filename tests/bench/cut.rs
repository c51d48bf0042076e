//! Clips of half a minute from a 1080p source on loopback, made through the service and beside it by what people would type
//! instead, in turns.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::figures::{mb, median, sorted};
use crate::media::{made, sound};
use crate::origin::Origin;
use crate::service::Service;
use crate::table::{Bound, Must, Table};
use crate::tree::{Memory, Watch};
use crate::{Ground, Outcome, tree};

pub const MUSTS: &[Must] = &[Must {
    measure: "30 s of 1080p, exact: peak memory of the process tree",
    bound: Bound::AtMost(500.0),
    aim: None,
    unit: "MB",
}];

/// Between two keyframes.
const START: f64 = 17.3;
const LENGTH: f64 = 30.0;
const FRAMES: u64 = 900;
/// No further exact round begins when the bench has run for so long.
const ENOUGH: Duration = Duration::from_secs(140);
const EXACT_ROUNDS: usize = 3;
const FAST_ROUNDS: usize = 5;

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let source = source()?;
    let size = std::fs::metadata(&source)?.len();
    let origin = Origin::start(Some(&source))?;
    let service = Service::start(ground, &ground.dir.path().join("cut"), &[])?;
    let pair = Pair {
        ground,
        origin: &origin,
        service: &service,
    };
    let exact = pair.take(&EXACT, EXACT_ROUNDS)?;
    exact_rows(table, &exact, size);
    let fast = pair.take(&FAST, FAST_ROUNDS)?;
    fast_rows(table, &fast, size);
    Ok(())
}

/// One kind of cut and its rival.
struct Kind {
    mode: &'static str,
    codecs: &'static [&'static str],
}

/// What people type to have every frame encoded anew.
pub const ENCODED: &[&str] = &[
    "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-c:a", "aac",
];
const EXACT: Kind = Kind {
    mode: "exact",
    codecs: ENCODED,
};
const FAST: Kind = Kind {
    mode: "fast",
    codecs: &["-c", "copy"],
};

/// One clip made.
struct Made {
    seconds: f64,
    /// CPU seconds: they say the same on a busy machine.
    cpu: f64,
    peak: Memory,
    looks: usize,
    size: u64,
    /// Bytes that the origin sent for it.
    sent: u64,
    clip: Value,
}

struct Pair<'a> {
    ground: &'a Ground,
    origin: &'a Origin,
    service: &'a Service,
}

impl Pair<'_> {
    /// Ours and theirs in turns, so that both see the same machine.
    fn take(&self, kind: &Kind, rounds: usize) -> Outcome<Vec<(Made, Made)>> {
        let mut made = Vec::new();
        for round in 0..rounds {
            let long = kind.mode == "exact" && self.ground.began.elapsed() > ENOUGH;
            if round > 0 && long {
                break;
            }
            made.push((self.ours(kind, round)?, self.theirs(kind, round)?));
        }
        Ok(made)
    }

    fn ours(&self, kind: &Kind, round: usize) -> Outcome<Made> {
        // Another address every time, so that nothing can be remembered.
        let link = self.origin.link(&format!("/{}-{round}.mp4", kind.mode));
        let recipe = json!({"url": link, "start_time": START, "end_time": START + LENGTH, "mode": kind.mode});
        let before = self.origin.sent();
        let spent = tree::cpu(self.service.pid())?;
        let watch = Watch::start(self.service.pid());
        let made = self.service.make(&recipe);
        let (peak, looks) = watch.peaks()?;
        let (clip, time) = made?;
        let result = &clip["result"];
        if kind.mode == "exact" && result["frames"] != FRAMES {
            return Err(format!("the clip is not what was asked for: {result}").into());
        }
        Ok(Made {
            seconds: time.as_secs_f64(),
            cpu: tree::cpu(self.service.pid())? - spent,
            peak,
            looks,
            size: result["size"].as_u64().unwrap_or(0),
            sent: self.origin.sent() - before,
            clip,
        })
    }

    fn theirs(&self, kind: &Kind, round: usize) -> Outcome<Made> {
        let link = self.origin.link(&format!("/theirs-{round}.mp4"));
        let target = self
            .ground
            .dir
            .path()
            .join(format!("theirs-{}.mp4", kind.mode));
        let before = self.origin.sent();
        let spent = tree::cpu_of_children()?;
        let began = Instant::now();
        let mut child = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-y"])
            .args(["-ss", &START.to_string(), "-i", &link])
            .args(["-t", &LENGTH.to_string()])
            .args(kind.codecs)
            .arg(&target)
            .stdin(Stdio::null())
            .spawn()?;
        let watch = Watch::start(child.id());
        let status = child.wait()?;
        let time = began.elapsed();
        let (peak, looks) = watch.peaks()?;
        if !status.success() {
            return Err(format!("ffmpeg failed: {status}").into());
        }
        Ok(Made {
            seconds: time.as_secs_f64(),
            cpu: tree::cpu_of_children()? - spent,
            peak,
            looks,
            size: std::fs::metadata(&target)?.len(),
            sent: self.origin.sent() - before,
            clip: Value::Null,
        })
    }
}

fn exact_rows(table: &mut Table, rounds: &[(Made, Made)], size: u64) {
    let highest = |made: &mut dyn Iterator<Item = &Made>| {
        made.fold(Memory::default(), |peak, made| peak.highest(made.peak))
    };
    let ours = highest(&mut rounds.iter().map(|(ours, _)| ours));
    let theirs = highest(&mut rounds.iter().map(|(_, theirs)| theirs));
    let looks: usize = rounds.iter().map(|(ours, _)| ours.looks).sum();
    table.judge(
        &MUSTS[0],
        mb(ours.larger()),
        format!(
            "Pss {:.0} MB, VmRSS {:.0} MB, highest of {looks} looks, {} clip(s)",
            mb(ours.pss),
            mb(ours.rss),
            rounds.len()
        ),
    );
    table.tell(
        "the same by ffmpeg -ss -i URL -t: peak memory",
        format!(
            "Pss {:.0} MB, VmRSS {:.0} MB",
            mb(theirs.pss),
            mb(theirs.rss)
        ),
    );
    table.tell(
        "peak memory against ffmpeg's",
        format!("{:.2} x", ours.pss as f64 / theirs.pss as f64),
    );
    time_rows(
        table,
        "30 s of 1080p, exact",
        "ffmpeg libx264 veryfast crf 20",
        rounds,
    );
    let last = rounds.last();
    let (our_size, their_size) = (
        last.map_or(0, |(ours, _)| ours.size),
        last.map_or(0, |(_, theirs)| theirs.size),
    );
    table.tell(
        "size of the clip against ffmpeg's",
        format!(
            "{:.1} MB, {:.2} x",
            mb(our_size),
            our_size as f64 / their_size as f64
        ),
    );
    byte_rows(table, "30 s of 1080p, exact", rounds, size);
}

fn fast_rows(table: &mut Table, rounds: &[(Made, Made)], size: u64) {
    time_rows(table, "30 s of 1080p, fast", "ffmpeg -c copy", rounds);
    byte_rows(table, "30 s of 1080p, fast", rounds, size);
}

fn time_rows(table: &mut Table, what: &str, rival: &str, rounds: &[(Made, Made)]) {
    let spread = |values: Vec<f64>| {
        let values = sorted(values);
        format!(
            "{:.2} s ({:.2} to {:.2} in {})",
            median(values.iter().copied()),
            values.first().copied().unwrap_or(f64::NAN),
            values.last().copied().unwrap_or(f64::NAN),
            values.len()
        )
    };
    let result = rounds.last().map(|(ours, _)| &ours.clip["result"]);
    let method = result.and_then(|result| result["method"].as_str());
    table.tell(
        format!("{what}: request to ready"),
        format!(
            "{}, method {}",
            spread(rounds.iter().map(|(ours, _)| ours.seconds).collect()),
            method.unwrap_or("unknown")
        ),
    );
    table.tell(
        format!("the same by {rival}"),
        spread(rounds.iter().map(|(_, theirs)| theirs.seconds).collect()),
    );
    let ratio =
        |of: fn(&Made) -> f64| median(rounds.iter().map(|(ours, theirs)| of(ours) / of(theirs)));
    let cpu = |side: fn(&(Made, Made)) -> f64| median(rounds.iter().map(side));
    table.tell(
        "time against ffmpeg's",
        format!(
            "{:.2} x; CPU time {:.2} x ({:.2} s against {:.2} s)",
            ratio(|made| made.seconds),
            ratio(|made| made.cpu),
            cpu(|(ours, _)| ours.cpu),
            cpu(|(_, theirs)| theirs.cpu)
        ),
    );
}

fn byte_rows(table: &mut Table, what: &str, rounds: &[(Made, Made)], size: u64) {
    let Some((ours, theirs)) = rounds.last() else {
        return;
    };
    let fetched = ours.clip["result"]["bytes_fetched"].as_u64();
    let fetched = fetched.map_or_else(
        || "not told".to_owned(),
        |bytes| {
            format!(
                "{:.1} MB, {:.0} % of the file's {:.1} MB",
                mb(bytes),
                100.0 * bytes as f64 / size as f64,
                mb(size)
            )
        },
    );
    table.tell(
        format!("{what}: bytes fetched"),
        format!(
            "{fetched}; origin sent {:.1} MB, to ffmpeg {:.1} MB",
            mb(ours.sent),
            mb(theirs.sent)
        ),
    );
}

/// A minute of 1080p at 30 fps with motion, noise and sound, 8 Mbit/s, a keyframe every 5 s, index in front. Made once.
pub fn source() -> Outcome<PathBuf> {
    let sound = sound(60);
    made(
        "minute-1080p30-8M.mp4",
        [
            ["-f", "lavfi", "-i"].as_slice(),
            &["testsrc2=size=1920x1080:rate=30:duration=60,noise=alls=12:allf=t:all_seed=7"],
            &["-f", "lavfi", "-i", &sound],
            &["-c:v", "libx264", "-preset", "veryfast"],
            &["-pix_fmt", "yuv420p"],
            &["-b:v", "8M", "-maxrate", "12M", "-bufsize", "16M"],
            &["-g", "150", "-keyint_min", "150", "-sc_threshold", "0"],
            &["-c:a", "aac", "-b:a", "128k", "-movflags", "+faststart"],
        ]
        .concat(),
    )
}
