//! A hundred megabytes of a larger file by one range request, through the gate and straight from the server, by the client that fetches
//! for the service and in turns.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meme_maker::source::gate::{Budget, Gate, Lease, Policy};
use reqwest::header::RANGE;
use reqwest::{Client, Proxy, StatusCode};

use crate::figures::{mb, median};
use crate::origin::Origin;
use crate::table::{Bound, Must, Table};
use crate::{Ground, Outcome};

pub const MUSTS: &[Must] = &[Must {
    measure: "100 MB by one range: time through the gate over time without",
    bound: Bound::AtMost(10.0),
    aim: None,
    unit: "%",
}];

const BYTES: u64 = 100_000_000;
const BEFORE: u64 = 1_000_000;
const ROUNDS: usize = 15;

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let path = ground.dir.path().join("gate.bin");
    let mut file = std::fs::File::create(&path)?;
    let piece: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    for _ in 0..BYTES / 1_000_000 + 2 {
        file.write_all(&piece)?;
    }
    let origin = Origin::deep(&path)?;
    let link = origin.link("/gate.bin");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (straight, through) = runtime.block_on(measure(&link))?;
    let (straight, through) = (median(straight), median(through));
    let more = 100.0 * (through / straight - 1.0);
    let rate = |seconds: f64| mb(BYTES) / seconds;
    table.judge(
        &MUSTS[0],
        more,
        format!(
            "{more:.1} %: {:.0} MB/s against {:.0} MB/s, medians of {ROUNDS}",
            rate(through),
            rate(straight)
        ),
    );
    Ok(())
}

/// Seconds of each round, without the gate and with it.
async fn measure(link: &str) -> Outcome<(Vec<f64>, Vec<f64>)> {
    let policy = Policy::new(&["127.0.0.1".to_owned()], &[])?;
    let gate = Gate::open(Arc::new(policy), &[]).await?;
    // Once, so that what is made at the first time is made.
    fetch(link, None).await?;
    let (mut straight, mut through) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        straight.push(fetch(link, None).await?);
        let lease = gate.lease(Budget {
            bytes: 2 * BYTES,
            deadline: Duration::from_secs(60),
            connections: 1,
            connect_timeout: Duration::from_secs(5),
        });
        through.push(fetch(link, Some(&lease)).await?);
    }
    gate.close().await;
    Ok((straight, through))
}

async fn fetch(link: &str, lease: Option<&Lease>) -> Outcome<f64> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .user_agent("bench");
    let client = match lease {
        Some(lease) => client.proxy(Proxy::all(lease.proxy_url())?),
        None => client,
    };
    let client = client.build()?;
    let range = format!("bytes={BEFORE}-{}", BEFORE + BYTES - 1);
    let began = Instant::now();
    let mut answer = client.get(link).header(RANGE, range).send().await?;
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return Err(format!("the answer is {}", answer.status()).into());
    }
    let mut read = 0;
    while let Some(bytes) = answer.chunk().await? {
        read += bytes.len() as u64;
    }
    if read != BYTES {
        return Err(format!("{read} bytes came").into());
    }
    Ok(began.elapsed().as_secs_f64())
}
