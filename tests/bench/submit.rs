//! Submissions with a durable commit each, at a steady rate that does not wait for answers: a request is due at its moment, and its
//! latency counts from there, whether or not the one before it has been answered. The only worker waits for an origin that never
//! answers, so nothing else happens meanwhile.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::figures::{mb, median, ms, quantile, sorted, worst};
use crate::origin::Origin;
use crate::service::Service;
use crate::table::{Bound, Must, Table};
use crate::wire::Wire;
use crate::{Ground, Outcome, start, tree};

pub const MUSTS: &[Must] = &[
    Must {
        measure: "POST /api/clips at 300/s: p99",
        bound: Bound::Under(20.0),
        aim: None,
        unit: "ms",
    },
    Must {
        measure: "POST /api/clips at 300/s: rate achieved",
        bound: Bound::AtLeast(297.0),
        aim: None,
        unit: "/s",
    },
    Must {
        measure: "answers other than 202",
        bound: Bound::AtMost(0.0),
        aim: None,
        unit: "answers",
    },
    Must {
        measure: "accepted, but not in the index after kill -9",
        bound: Bound::AtMost(0.0),
        aim: None,
        unit: "clips",
    },
    Must {
        measure: "exec to the first 200, folder of that load",
        bound: Bound::AtMost(100.0),
        aim: None,
        unit: "ms",
    },
];
const RATE: u32 = 300;
const SECONDS: f64 = 20.0;
/// The time is taken in rounds, each on a new folder, so that one hiccup of the disk does not speak for all. There are more where the
/// disk is small.
const LEAST_ROUNDS: f64 = 3.0;
const STARTS: usize = 10;
const CONNECTIONS: u32 = 32;
/// The ladder that is climbed until a step does not hold.
const STEPS: [u32; 9] = [450, 600, 900, 1200, 1500, 2000, 2500, 3000, 4000];
const STEP_SECONDS: f64 = 3.0;

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let most = admitted(ground.dir.path())?;
    let rounds = (f64::from(RATE) * SECONDS / most).ceil().max(LEAST_ROUNDS);
    if rounds > 10.0 {
        return Err("the disk has too little room: every accepted clip reserves some".into());
    }
    let folder = |round: usize| ground.dir.path().join(format!("load-{round}"));
    let loads = (0..rounds as usize)
        .map(|round| load(ground, &folder(round), RATE, SECONDS / rounds))
        .collect::<Outcome<Vec<Load>>>()?;
    let middle = |share| median(loads.iter().map(|load| load.quantile(share)));
    table.judge(
        &MUSTS[0],
        middle(0.99),
        format!(
            "p50 {:.1}, p90 {:.1}, p99 {:.1} ms (medians of {rounds} rounds; worst round's p99 {:.1}, max {:.1})",
            middle(0.5),
            middle(0.9),
            middle(0.99),
            worst(loads.iter().map(|load| load.quantile(0.99))),
            worst(loads.iter().map(|load| load.quantile(1.0))),
        ),
    );
    let sum = |of: fn(&Load) -> usize| loads.iter().map(of).sum::<usize>();
    let (asked, accepted) = (sum(|load| load.asked), sum(|load| load.accepted));
    let rate = accepted as f64 / loads.iter().map(|load| load.seconds).sum::<f64>();
    table.judge(
        &MUSTS[1],
        rate,
        format!(
            "{rate:.1}/s, {asked} requests in {rounds} rounds of {:.1} s, {CONNECTIONS} connections",
            SECONDS / rounds
        ),
    );
    table.judge(
        &MUSTS[2],
        (asked - accepted) as f64,
        format!("{} of {asked}", asked - accepted),
    );
    let (lost, rows) = (sum(|load| load.lost), sum(|load| load.rows));
    table.judge(
        &MUSTS[3],
        lost as f64,
        format!("{lost} of {accepted}; {rows} rows"),
    );
    let starts = (0..STARTS)
        .map(|_| Ok(ms(Service::start(ground, &folder(0), &[])?.ready_after)))
        .collect::<Outcome<Vec<f64>>>()?;
    start::judge(table, &MUSTS[4], &starts);
    table.tell(
        "resident after that load",
        format!(
            "VmRSS {:.1} MB",
            median(loads.iter().map(|load| mb(load.resident)))
        ),
    );
    climb(ground, table, most, middle(0.99))
}

/// How many queued clips the service admits on this disk, less a margin: it reserves room for each before it says 202.
fn admitted(dir: &Path) -> Outcome<f64> {
    const RESERVED: f64 = 23e6;
    let disk = rustix::fs::statvfs(dir)?;
    Ok((disk.f_bavail as f64 * disk.f_frsize as f64 * 0.95 / RESERVED).floor())
}

/// Climbs until a step fails twice.
fn climb(ground: &Ground, table: &mut Table, most: f64, first: f64) -> Outcome<()> {
    let mut held = (RATE, first);
    let mut broke = "higher was not tried".to_owned();
    for rate in STEPS {
        let mut failed = Vec::new();
        while failed.len() < 2 {
            let folder = ground
                .dir
                .path()
                .join(format!("step-{rate}-{}", failed.len()));
            let step = load(
                ground,
                &folder,
                rate,
                STEP_SECONDS.min(most / f64::from(rate)),
            )?;
            std::fs::remove_dir_all(folder)?;
            let p99 = step.quantile(0.99);
            if MUSTS[0].bound.holds(p99) && step.accepted == step.asked && step.lost == 0 {
                held = (rate, p99);
                break;
            }
            failed.push(format!("{p99:.1}"));
        }
        if held.0 != rate {
            broke = format!("{rate}/s gave {} ms", failed.join(" and "));
            break;
        }
    }
    let figure = if MUSTS[0].bound.holds(held.1) {
        format!("{}/s ({:.1} ms); {broke}", held.0, held.1)
    } else {
        format!("none: {RATE}/s gave {first:.1} ms, {broke}")
    };
    table.tell("highest rate with p99 under 20 ms", figure);
    Ok(())
}

/// What became of a number of requests.
struct Load {
    asked: usize,
    accepted: usize,
    /// In ms from the moment each request was due, in rising order.
    latencies: Vec<f64>,
    /// From the first moment due to the last answer.
    seconds: f64,
    rows: usize,
    lost: usize,
    resident: u64,
}

impl Load {
    fn quantile(&self, share: f64) -> f64 {
        quantile(&self.latencies, share)
    }
}

/// One service on a new folder, `rate` requests a second for so long, then killed; and what its index holds then.
fn load(ground: &Ground, folder: &Path, rate: u32, seconds: f64) -> Outcome<Load> {
    let origin = Origin::start(None)?;
    let settings = [
        ("LIMITS__QUEUE", "1000000"),
        ("ENGINE__WORKERS", "1"),
        ("ENGINE__PROBE_SECONDS", "600"),
    ];
    let mut service = Service::start(ground, folder, &settings)?;
    let body = format!(
        r#"{{"url":"{}","start_time":0,"end_time":1}}"#,
        origin.link("/silent")
    );
    let request = format!(
        "POST /api/clips HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        service.address,
        body.len()
    );
    let total = (f64::from(rate) * seconds) as u32;
    let barrier = Barrier::new(CONNECTIONS as usize + 1);
    let (answers, seconds) = std::thread::scope(|scope| {
        let (service, request, barrier) = (&service, request.as_bytes(), &barrier);
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|first| {
                scope.spawn(move || {
                    let wire = Wire::connect(&service.address);
                    barrier.wait();
                    let begin = Instant::now() + Duration::from_millis(20);
                    send(wire, service, request, (first, total, rate), begin)
                })
            })
            .collect();
        barrier.wait();
        let begin = Instant::now() + Duration::from_millis(20);
        let answers: Vec<_> = senders
            .into_iter()
            .flat_map(|sender| sender.join().unwrap_or_default())
            .collect();
        (answers, begin.elapsed().as_secs_f64())
    });
    let resident = tree::memory(service.pid())?.rss;
    service.kill()?;
    let rows = rows(folder)?;
    let accepted: Vec<&String> = answers.iter().filter_map(|(_, id)| id.as_ref()).collect();
    Ok(Load {
        asked: total as usize,
        accepted: accepted.len(),
        lost: accepted.iter().filter(|id| !rows.contains(**id)).count()
            + rows.len().abs_diff(accepted.len()),
        latencies: sorted(answers.iter().map(|(latency, _)| *latency)),
        seconds,
        rows: rows.len(),
        resident,
    })
}

/// One connection's share: every request is due at its moment, however late the one before it is. Latency in ms, and the id if it was
/// a 202.
fn send(
    wire: std::io::Result<Wire>,
    service: &Service,
    request: &[u8],
    (first, total, rate): (u32, u32, u32),
    begin: Instant,
) -> Vec<(f64, Option<String>)> {
    let mut wire = wire.ok();
    let mut answers = Vec::new();
    for number in (first..total).step_by(CONNECTIONS as usize) {
        let due = begin + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let kept = wire.take().or_else(|| Wire::connect(&service.address).ok());
        let mut id = None;
        // A connection that broke is made anew for the next request; this one counts as not accepted.
        if let Some(mut kept) = kept
            && let Ok(answer) = kept.exchange(request)
        {
            if answer.status == 202 {
                id = answer
                    .location
                    .and_then(|location| Some(location.rsplit('/').next()?.to_owned()));
            }
            wire = Some(kept);
        }
        answers.push((ms(due.elapsed()), id));
    }
    answers
}

/// The ids in the index of a service that is no more.
fn rows(folder: &Path) -> Outcome<HashSet<String>> {
    let index = rusqlite::Connection::open(folder.join("index.db"))?;
    let mut ids = index.prepare("SELECT id FROM clips")?;
    let rows = ids.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
