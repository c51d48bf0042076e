//! What a million clips cost: looking up, listing, searching, starting, memory, choosing what to evict, and removing a hundred thousand at
//! once while others ask. Then the same with fewer clips, to show how it grows.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::figures::{mb, median, ms, quantile, sorted, worst};
use crate::million::{self, Depth};
use crate::origin::Origin;
use crate::service::Service;
use crate::table::{Bound, Must, Table};
use crate::wire::Wire;
use crate::{Ground, Outcome, tree};

const fn at_most(measure: &'static str, bound: f64, unit: &'static str) -> Must {
    Must {
        measure,
        bound: Bound::AtMost(bound),
        aim: None,
        unit,
    }
}

pub const MUSTS: &[Must] = &[
    at_most("a million clips: GET /api/clips/{id}, p99", 2.0, "ms"),
    at_most("a million clips: list, p99", 15.0, "ms"),
    at_most("a million clips: search, p99", 15.0, "ms"),
    at_most("a million clips: start to ready", 500.0, "ms"),
    at_most("a million clips: resident", 80.0, "MB"),
    at_most("a million clips: choosing what to evict", 100.0, "ms"),
];

pub const REMOVAL: &[Must] = &[at_most(
    "removing 100,000 expired clips: longest delay of a request",
    50.0,
    "ms",
)];
const MANY: u32 = 1_000_000;
const STEPS: [u32; 2] = [10_000, 100_000];
const EXPIRED: u32 = 100_000;
const STARTS: usize = 5;
const ASKED: usize = 2000;

/// A data folder with so many clips and all that belongs to them. It takes minutes to make, so that groups share it.
pub fn whole(ground: &Ground, clips: u32) -> Outcome<PathBuf> {
    let data = ground.dir.path().join(format!("clips-{clips}"));
    if !data.exists() {
        let began = Instant::now();
        million::fill(&data, clips, Depth::Whole)?;
        eprintln!(
            "  {clips} clips made in {:.0} s",
            began.elapsed().as_secs_f64()
        );
    }
    Ok(data)
}

/// What one number of clips costs.
struct Size {
    clips: u32,
    get: Vec<f64>,
    list: Vec<f64>,
    search: Vec<f64>,
    starts: Vec<f64>,
    resident: f64,
    eviction: f64,
    index: f64,
}

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let mut sizes = Vec::new();
    for clips in STEPS.into_iter().chain([MANY]) {
        let data = if clips == MANY {
            whole(ground, clips)?
        } else {
            let data = ground.dir.path().join(format!("rows-{clips}"));
            million::fill(&data, clips, Depth::Index)?;
            data
        };
        let size = measured(ground, &data, clips)?;
        if clips == MANY {
            judge(table, &size);
        }
        sizes.push(size);
    }
    for size in &sizes {
        table.tell(
            format!("{} clips", size.clips),
            format!(
                "get {:.2} ms, list {:.2} ms, search {:.2} ms (p99); ready {:.0} ms; resident {:.0} MB; choosing what to evict {:.1} ms; \
                 index {:.0} MB",
                quantile(&size.get, 0.99),
                quantile(&size.list, 0.99),
                quantile(&size.search, 0.99),
                median(size.starts.iter().copied()),
                size.resident,
                size.eviction,
                size.index
            ),
        );
    }
    Ok(())
}

fn judge(table: &mut Table, size: &Size) {
    for (must, times) in MUSTS.iter().zip([&size.get, &size.list, &size.search]) {
        let p99 = quantile(times, 0.99);
        table.judge(
            must,
            p99,
            format!(
                "p50 {:.2}, p99 {p99:.2}, worst {:.2} ms of {}",
                quantile(times, 0.5),
                worst(times.iter().copied()),
                times.len()
            ),
        );
    }
    crate::start::judge(table, &MUSTS[3], &size.starts);
    table.judge(
        &MUSTS[4],
        size.resident,
        format!("VmRSS {:.1} MB after all of that was asked", size.resident),
    );
    table.judge(&MUSTS[5], size.eviction, format!("{:.1} ms", size.eviction));
}

fn measured(ground: &Ground, data: &Path, clips: u32) -> Outcome<Size> {
    let starts = (0..STARTS)
        .map(|_| Ok(ms(quiet(ground, data)?.ready_after)))
        .collect::<Outcome<Vec<f64>>>()?;
    let ids = some_ids(data, clips)?;
    let service = quiet(ground, data)?;
    let mut wire = Wire::connect(&service.address)?;
    let mut asked = |path: &dyn Fn(usize) -> String| -> Outcome<Vec<f64>> {
        let mut times = Vec::new();
        for number in 0..ASKED {
            let path = path(number);
            let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", service.address);
            let began = Instant::now();
            let answer = wire.exchange(request.as_bytes())?;
            times.push(ms(began.elapsed()));
            if answer.status != 200 {
                return Err(format!("{path} answered {}", answer.status).into());
            }
        }
        Ok(sorted(times))
    };
    let id = |number: usize| &ids[number * 7919 % ids.len()];
    let get = asked(&|number| format!("/api/clips/{}", id(number)))?;
    let list = asked(&|number| match number % 4 {
        0 => "/api/clips".to_owned(),
        1 => format!("/api/clips?cursor={}", id(number)),
        2 => format!("/api/clips?state=ready&cursor={}", id(number)),
        _ => "/api/clips?state=failed".to_owned(),
    })?;
    // Words in many titles and in one, parts of words, short texts, and what is nowhere.
    let search = asked(&|number| {
        let text = match number % 8 {
            0 => "title".to_owned(),
            1 => format!("{}", number * 7919 % clips as usize),
            2 => "zyx".to_owned(),
            3 => "it".to_owned(),
            4 => "7".to_owned(),
            5 => format!("tit&state=ready&cursor={}", id(number)),
            6 => "%E7%8C%AB".to_owned(),
            _ => format!("{}&state=ready", number % 1000),
        };
        format!("/api/clips?text={text}")
    })?;
    let resident = mb(tree::memory(service.pid())?.rss);
    drop(service);
    let eviction = eviction(data)?;
    Ok(Size {
        clips,
        get,
        list,
        search,
        starts,
        resident,
        eviction,
        index: mb(std::fs::metadata(data.join("index.db"))?.len()),
    })
}

/// A service whose keeper does nothing by itself meanwhile.
fn quiet(ground: &Ground, data: &Path) -> Outcome<Service> {
    const NEVER: &str = "0 0 0 29 2 *";
    let settings = [
        ("KEEPER__SWEEP", NEVER),
        ("KEEPER__EXPIRY", NEVER),
        ("KEEPER__EVICT", NEVER),
        ("LIMITS__QUEUE", "1000000"),
    ];
    Service::start(ground, data, &settings)
}

fn index(data: &Path) -> Outcome<Connection> {
    let connection = Connection::open(data.join("index.db"))?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(connection)
}

fn some_ids(data: &Path, clips: u32) -> Outcome<Vec<String>> {
    let connection = index(data)?;
    let mut query =
        connection.prepare("SELECT id FROM clips WHERE no % ?1 = 0 AND state = 'ready'")?;
    let ids = query.query_map([(clips / 2000).max(1)], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Milliseconds that it takes to say which clips go next, the worst of several; asked of the index itself, in this process.
fn eviction(data: &Path) -> Outcome<f64> {
    const AT_ONCE: usize = 1000;
    let index = meme_maker::index::Index::open(&data.join("index.db"), 1)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        let chosen = runtime.block_on(index.least_worth(AT_ONCE))?;
        times.push(ms(began.elapsed()));
        if chosen.len() != AT_ONCE {
            return Err(format!("only {} clips were chosen", chosen.len()).into());
        }
    }
    index.close();
    Ok(worst(times))
}

/// The longest that anybody waits while a hundred thousand clips expire, against the same requests before.
pub fn removal(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let data = &whole(ground, MANY)?;
    let origin = Origin::start(None)?;
    let ids = some_ids(data, MANY)?;
    let before = {
        let service = quiet(ground, data)?;
        let until = Instant::now() + Duration::from_secs(10);
        asked_until(&service, &ids, &origin, || Instant::now() > until)?
    };
    let changed = index(data)?.execute(
        "UPDATE clips SET expires_at = 1 WHERE no <= ?1 AND state = 'ready' AND pinned = 0",
        [EXPIRED * 2],
    )?;
    let service = Service::start(
        ground,
        data,
        &[
            ("KEEPER__EXPIRY", "* * * * * *"),
            ("LIMITS__QUEUE", "1000000"),
        ],
    )?;
    let connection = index(data)?;
    let left = || -> Outcome<u32> {
        Ok(connection.query_row(
            "SELECT count(*) FROM (SELECT 1 FROM clips WHERE state = 'ready' AND expires_at <= 1 LIMIT 1)",
            [],
            |row| row.get(0),
        )?)
    };
    let began = Instant::now();
    let over = AtomicBool::new(false);
    let during = std::thread::scope(|scope| -> Outcome<_> {
        let asking =
            scope.spawn(|| asked_until(&service, &ids, &origin, || over.load(Ordering::Relaxed)));
        while left()? > 0 && began.elapsed() < Duration::from_secs(600) {
            std::thread::sleep(Duration::from_millis(200));
        }
        over.store(true, Ordering::Relaxed);
        asking.join().map_err(|_| "the asker broke")?
    });
    let (during, seconds) = (during?, began.elapsed().as_secs_f64());
    if left()? > 0 {
        return Err("they were not all removed".into());
    }
    let mut longest = f64::NAN;
    let mut told = Vec::new();
    for (kind, (before, during)) in KINDS.iter().zip(before.iter().zip(&during)) {
        let (usual, worst) = (
            median(before.iter().copied()),
            worst(during.iter().copied()),
        );
        longest = longest.max(worst - usual);
        told.push(format!(
            "{kind} {usual:.1} usually, {:.1} at worst before, {worst:.1} at worst of {}",
            crate::figures::worst(before.iter().copied()),
            during.len()
        ));
    }
    table.judge(
        &REMOVAL[0],
        longest,
        format!(
            "{longest:.1} ms; {changed} clips in {seconds:.0} s; ms: {}",
            told.join("; ")
        ),
    );
    Ok(())
}

const KINDS: [&str; 4] = ["clip", "list", "page", "submission"];

/// Milliseconds of each kind of request, one after the other, until it is over.
fn asked_until(
    service: &Service,
    ids: &[String],
    origin: &Origin,
    over: impl Fn() -> bool,
) -> Outcome<[Vec<f64>; 4]> {
    let mut wire = Wire::connect(&service.address)?;
    let mut times: [Vec<f64>; 4] = Default::default();
    let body = serde_json::json!({"url": origin.link("/silent"), "start_time": 0, "end_time": 1})
        .to_string();
    let post = format!(
        "POST /api/clips HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut number = 0;
    while !over() {
        let id = &ids[number * 7919 % ids.len()];
        let get = |path: String| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let requests = [
            get(format!("/api/clips/{id}")),
            get(format!("/api/clips?cursor={id}")),
            get(format!("/c/{id}")),
            post.clone(),
        ];
        for (kind, request) in requests.iter().enumerate() {
            // One submission in ten rounds: the queue is bounded.
            if kind == 3 && number % 10 > 0 {
                continue;
            }
            let began = Instant::now();
            let answer = wire.exchange(request.as_bytes())?;
            times[kind].push(ms(began.elapsed()));
            // Expired, or no room for all that is queued.
            if !matches!(answer.status, 200 | 202 | 410 | 507) {
                return Err(format!("{} answered {}", KINDS[kind], answer.status).into());
            }
        }
        number += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(times)
}
