//! The binary itself: how large it is, how soon it serves, what it takes while nothing is asked of it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::figures::{mb, median, ms, worst};
use crate::service::Service;
use crate::table::{Bound, Must, Table};
use crate::{Ground, Outcome, tree};

pub const BINARY: &[Must] = &[Must {
    measure: "static binary",
    bound: Bound::AtMost(25.0),
    aim: None,
    unit: "MB",
}];

pub fn binary(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let size = mb(std::fs::metadata(&ground.binary)?.len());
    table.judge(&BINARY[0], size, format!("{size:.1} MB"));
    Ok(())
}

pub const READY: &[Must] = &[
    Must {
        measure: "exec to the first 200, new data folder",
        bound: Bound::AtMost(100.0),
        aim: None,
        unit: "ms",
    },
    Must {
        measure: "exec to the first 200, folder of a killed service",
        bound: Bound::AtMost(100.0),
        aim: None,
        unit: "ms",
    },
];
const STARTS: usize = 20;

pub fn ready(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let folder = |number: usize| ground.dir.path().join(format!("start-{number}"));
    let new = starts(ground, folder)?;
    judge(table, &READY[0], &new);
    let kept = starts(ground, |_| folder(0))?;
    judge(table, &READY[1], &kept);
    Ok(())
}

/// Times in ms of starts that are each ended without warning.
fn starts<P: AsRef<Path>>(ground: &Ground, folder: impl Fn(usize) -> P) -> Outcome<Vec<f64>> {
    (0..STARTS)
        .map(|number| {
            let service = Service::start(ground, folder(number).as_ref(), &[])?;
            Ok(ms(service.ready_after))
        })
        .collect()
}

/// The promise is about every start: the worst one is judged.
pub fn judge(table: &mut Table, must: &Must, times: &[f64]) {
    let (middle, worst) = (median(times.iter().copied()), worst(times.iter().copied()));
    let figure = format!(
        "{middle:.1} ms median, {worst:.1} ms worst of {}",
        times.len()
    );
    table.judge(must, worst, figure);
}

pub const IDLE: &[Must] = &[Must {
    measure: "resident when idle",
    bound: Bound::AtMost(25.0),
    aim: None,
    unit: "MB",
}];

pub fn idle(ground: &Ground, table: &mut Table) -> Outcome<()> {
    const AFTER: Duration = Duration::from_secs(10);
    let began = Instant::now();
    let service = Service::start(ground, &ground.dir.path().join("idle"), &[])?;
    for path in [
        "/",
        "/api/health",
        "/api/health/live",
        "/api/clips",
        "/api/openapi.json",
        "/metrics",
        "/favicon.ico",
    ] {
        let status = service.get(path)?;
        if status != 200 {
            return Err(format!("{path} answered {status}").into());
        }
    }
    std::thread::sleep(AFTER.saturating_sub(began.elapsed()));
    let memory = tree::memory(service.pid())?;
    table.judge(
        &IDLE[0],
        mb(memory.larger()),
        format!(
            "VmRSS {:.1} MB, Pss {:.1} MB, 10 s after the start",
            mb(memory.rss),
            mb(memory.pss)
        ),
    );
    Ok(())
}
