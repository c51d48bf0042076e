//! Exact clips of ten minutes of 1080p by the command line, beside the best splicer there is and a full encode of the same span, in
//! turns on the same file: time, memory, frames left as they were, bytes that travel.

mod clip;
mod film;
mod frames;
mod rivals;

use std::path::PathBuf;
use std::time::Duration;

use crate::cut::ENCODED;
use crate::figures::{mb, median, worst};
use crate::origin::Origin;
use crate::table::{Bound, Must, Table};
use crate::tree::{Memory, Watch};
use crate::{Ground, Outcome};
use clip::{Made, Span};
use film::Packets;
use frames::{frames, same};
use rivals::{DOWNLOAD, Smartcut};

const fn must(measure: &'static str, bound: Bound, aim: Option<f64>, unit: &'static str) -> Must {
    Must {
        measure,
        bound,
        aim,
        unit,
    }
}

const SPLICER: Must = must(
    "exact 30 s clip: time against smartcut 1.7",
    Bound::AtMost(0.25),
    Some(0.10),
    "x",
);
const ENCODER: Must = must(
    "exact 30 s clip: time against a full encode",
    Bound::AtMost(0.15),
    Some(0.08),
    "x",
);
const LONG: Must = must(
    "exact clip of 300 s: time against 30 s",
    Bound::AtMost(1.6),
    Some(1.2),
    "x",
);
const MEMORY: Must = must(
    "exact 30 s clip: peak memory of the process tree",
    Bound::AtMost(350.0),
    Some(220.0),
    "MB",
);
const UNTOUCHED: Must = must(
    "exact 30 s clip: frames untouched",
    Bound::AtLeast(90.0),
    Some(97.0),
    "%",
);
const BYTES: Must = must(
    "exact 30 s clip of a link: bytes against window and index",
    Bound::AtMost(1.10),
    Some(1.02),
    "x",
);
const LINE: Must = must(
    "the same at 20 Mbit/s: time against download and encode",
    Bound::AtMost(0.10),
    Some(0.05),
    "x",
);
const CHECK: Must = must(
    "exact 30 s clip: check of the finished clip",
    Bound::AtMost(0.3),
    None,
    "s",
);
pub const MUSTS: &[Must] = &[
    SPLICER, ENCODER, LONG, MEMORY, UNTOUCHED, BYTES, LINE, CHECK,
];

/// In the middle of a group: its keyframe is 3.9 s before, the next one 1.6 s after. The end lies 1.2 s into another.
const USUAL: Span = Span {
    start: 247.3,
    end: 277.3,
};
const TEN_TIMES: Span = Span {
    start: 247.3,
    end: 547.3,
};
/// The frame after the keyframe of a group of ten seconds.
const UNLUCKY: Span = Span {
    start: 248.934,
    end: 278.934,
};
const ROUNDS: usize = 3;
/// It is slow, and not what is measured.
const SMARTCUT_ROUNDS: usize = 2;
/// Clips that are looked at instead of timed.
const WATCHED: usize = 2;
const LOOK: Duration = Duration::from_millis(10);
/// 20 Mbit/s.
const RATE: f64 = 2.5e6;

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let source = film::source()?;
    // Nobody is the first to read it from the disk.
    std::io::copy(&mut std::fs::File::open(&source)?, &mut std::io::sink())?;
    let smartcut = Smartcut::install();
    let engine = Engine { ground, source };
    let rounds = engine.rounds(smartcut.as_ref().ok())?;
    let encode = median(rounds.encoder.iter().copied());
    if let Ok(smartcut) = &smartcut {
        engine.splicer_rows(table, &rounds, smartcut)?;
    }
    engine.time_rows(table, &rounds);
    engine.frame_rows(table)?;
    let links = [engine.over_loopback()?, engine.over_a_line(table, encode)?];
    engine.byte_row(table, &links)?;
    engine.memory_row(table)?;
    engine.unlucky_row(table, encode)?;
    smartcut.map(drop)
}

/// What a clip of a link cost.
struct Travelled {
    sent: u64,
    told: f64,
}

#[derive(Default)]
struct Rounds {
    ours: Vec<Made>,
    long: Vec<Made>,
    encoder: Vec<f64>,
    smartcut: Vec<f64>,
}

/// The medians of both, and of their ratios round by round: a machine that is busier for a while is so for both.
struct Ratio {
    ours: f64,
    theirs: f64,
    ratio: f64,
}

impl Ratio {
    fn of(ours: &[f64], theirs: &[f64]) -> Ratio {
        let rounds = ours.iter().zip(theirs);
        Ratio {
            ours: median(ours.iter().copied()),
            theirs: median(theirs.iter().copied()),
            ratio: median(rounds.map(|(ours, theirs)| ours / theirs)),
        }
    }
}

impl Rounds {
    fn usual(&self) -> Vec<f64> {
        self.ours.iter().map(|made| made.seconds).collect()
    }
}

struct Engine<'a> {
    ground: &'a Ground,
    source: PathBuf,
}

impl Engine<'_> {
    /// All in turns, so that they see the same machine.
    fn rounds(&self, smartcut: Option<&Smartcut>) -> Outcome<Rounds> {
        let mut rounds = Rounds::default();
        let source = self.source.to_string_lossy();
        for round in 0..ROUNDS {
            rounds.ours.push(clip::clip(self.ground, &source, USUAL)?);
            rounds
                .encoder
                .push(rivals::encode(self.ground, &self.source, USUAL)?);
            rounds
                .long
                .push(clip::clip(self.ground, &source, TEN_TIMES)?);
            if let Some(smartcut) = smartcut.filter(|_| round < SMARTCUT_ROUNDS) {
                rounds
                    .smartcut
                    .push(smartcut.cut(self.ground, &self.source, USUAL)?);
            }
        }
        Ok(rounds)
    }

    fn splicer_rows(&self, table: &mut Table, rounds: &Rounds, smartcut: &Smartcut) -> Outcome<()> {
        let against = Ratio::of(&rounds.usual(), &rounds.smartcut);
        table.judge(
            &SPLICER,
            against.ratio,
            format!(
                "{:.3} x ({:.2} s against {:.2} s)",
                against.ratio, against.ours, against.theirs
            ),
        );
        let frames = frames(&clip::target(self.ground, Smartcut::NAME), &[])?;
        let right = same(&self.source, USUAL, &frames)?;
        table.tell(
            format!("the same by {}: frames", smartcut.version),
            format!(
                "{} of {}, {right} of them untouched",
                frames.len(),
                USUAL.frames()
            ),
        );
        Ok(())
    }

    fn time_rows(&self, table: &mut Table, rounds: &Rounds) {
        let ours = rounds.usual();
        let how = rounds.ours.first().map(Made::how).unwrap_or_default();
        let against = Ratio::of(&ours, &rounds.encoder);
        table.judge(
            &ENCODER,
            against.ratio,
            format!(
                "{:.3} x ({:.2} s, {how}, against {:.2} s by {})",
                against.ratio,
                against.ours,
                against.theirs,
                ENCODED[1..6].join(" ")
            ),
        );
        let long: Vec<f64> = rounds.long.iter().map(|made| made.seconds).collect();
        let against = Ratio::of(&long, &ours);
        table.judge(
            &LONG,
            against.ratio,
            format!(
                "{:.2} x ({:.2} s against {:.2} s)",
                against.ratio, against.ours, against.theirs
            ),
        );
        let check = median(rounds.ours.iter().map(|made| made.number("/seconds/check")));
        table.judge(&CHECK, check, format!("{check:.3} s"));
    }

    /// What the clip says of itself counts only as far as the decoder agrees.
    fn frame_rows(&self, table: &mut Table) -> Outcome<()> {
        let made = clip::clip(self.ground, &self.source.to_string_lossy(), USUAL)?;
        let frames = frames(&made.path, &[])?;
        let same = same(&self.source, USUAL, &frames)? as f64;
        let told = made.number("/frames_copied");
        let share = |number: f64| 100.0 * number / USUAL.frames() as f64;
        table.judge(
            &UNTOUCHED,
            share(same.min(told)),
            format!(
                "{:.1} % ({same} decode to the source's pixels, {told} said to be copied, of {})",
                share(same.min(told)),
                frames.len()
            ),
        );
        Ok(())
    }

    fn over_loopback(&self) -> Outcome<Travelled> {
        let origin = Origin::start(Some(&self.source))?;
        let made = clip::clip(self.ground, &origin.link("/film.mp4"), USUAL)?;
        Ok(Travelled {
            sent: origin.sent(),
            told: made.number("/bytes_fetched"),
        })
    }

    fn over_a_line(&self, table: &mut Table, encode: f64) -> Outcome<Travelled> {
        let origin = Origin::behind_a_line(&self.source, RATE)?;
        let made = clip::clip(self.ground, &origin.link("/film.mp4"), USUAL)?;
        let travelled = Travelled {
            sent: origin.sent(),
            told: made.number("/bytes_fetched"),
        };
        let rate = rivals::download_rate(&origin)?;
        let download = std::fs::metadata(&self.source)?.len() as f64 / rate;
        let ratio = made.seconds / (download + encode);
        table.judge(
            &LINE,
            ratio,
            format!(
                "{ratio:.3} x ({:.2} s against {download:.0} s, extrapolated from {} s, and {encode:.2} s)",
                made.seconds,
                DOWNLOAD.as_secs()
            ),
        );
        Ok(travelled)
    }

    fn byte_row(&self, table: &mut Table, links: &[Travelled]) -> Outcome<()> {
        let window = Packets::of(&self.source)?.window(USUAL.start, USUAL.end)?;
        let index = film::head(&self.source)?;
        let sent = worst(links.iter().map(|link| link.sent as f64));
        let told = worst(links.iter().map(|link| link.told));
        let ratio = sent.max(told) / (window + index) as f64;
        table.judge(
            &BYTES,
            ratio,
            format!(
                "{ratio:.3} x (origin sent {:.2} MB, said to be fetched {:.2} MB, window {:.2} MB and index {:.2} MB)",
                sent / 1e6,
                told / 1e6,
                mb(window),
                mb(index)
            ),
        );
        Ok(())
    }

    fn memory_row(&self, table: &mut Table) -> Outcome<()> {
        let origin = Origin::start(Some(&self.source))?;
        let (mut peak, mut looks) = (Memory::default(), 0);
        for _ in 0..WATCHED {
            for source in [
                self.source.to_string_lossy().into_owned(),
                origin.link("/film.mp4"),
            ] {
                let mut child = clip::start(self.ground, &source, USUAL)?;
                let watch = Watch::every(LOOK, child.id());
                let status = child.wait()?;
                let (seen, times) = watch.peaks()?;
                if !status.success() {
                    return Err(format!("the watched clip failed: {status}").into());
                }
                peak = peak.highest(seen);
                looks += times;
            }
        }
        table.judge(
            &MEMORY,
            mb(peak.larger()),
            format!(
                "{:.0} MB, the larger of Pss {:.0} MB and VmRSS {:.0} MB; {} clips of file and link, {looks} looks",
                mb(peak.larger()),
                mb(peak.pss),
                mb(peak.rss),
                2 * WATCHED
            ),
        );
        Ok(())
    }

    fn unlucky_row(&self, table: &mut Table, encode: f64) -> Outcome<()> {
        let made = clip::clip(self.ground, &self.source.to_string_lossy(), UNLUCKY)?;
        table.tell(
            "exact 30 s clip, start just after the key of a 10 s group",
            format!(
                "{:.2} s, {:.2} of a full encode; {:.1} % untouched, {}",
                made.seconds,
                made.seconds / encode,
                100.0 * made.number("/frames_copied") / UNLUCKY.frames() as f64,
                made.how()
            ),
        );
        Ok(())
    }
}
