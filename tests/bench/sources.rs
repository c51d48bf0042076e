//! Looking at sources on this machine: every answer is a look of its own, since every link is another one. A minute of 1080p, once as
//! an MP4 whose tables tell all, once in a container that ffprobe has to read; then what previews of it cost.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::figures::{mb, ms, quantile, sorted};
use crate::media::made;
use crate::origin::Origin;
use crate::service::Service;
use crate::table::{Bound, Must, Table};
use crate::wire::Wire;
use crate::{Ground, Outcome, cut};

pub const MUSTS: &[Must] = &[
    Must {
        measure: "POST /api/sources of an MP4 on loopback: p99",
        bound: Bound::Under(1000.0),
        aim: Some(100.0),
        unit: "ms",
    },
    Must {
        measure: "POST /api/sources of an MKV on loopback: p99",
        bound: Bound::Under(1000.0),
        aim: Some(500.0),
        unit: "ms",
    },
];
const LOOKS: usize = 100;

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let film = cut::source()?;
    let other = made(
        "minute-1080p30-8M.mkv",
        [
            "-i",
            &film.to_string_lossy(),
            "-c",
            "copy",
            "-f",
            "matroska",
        ],
    )?;
    let service = Service::start(ground, &ground.dir.path().join("sources"), &[])?;
    for (file, must) in [(&film, &MUSTS[0]), (&other, &MUSTS[1])] {
        let origin = Origin::start(Some(file))?;
        let mut times = Vec::new();
        for number in 0..LOOKS {
            let began = Instant::now();
            look(&service, &origin.link(&format!("/{number}.bin")))?;
            times.push(ms(began.elapsed()));
        }
        let times = sorted(times);
        let (middle, late) = (quantile(&times, 0.5), quantile(&times, 0.99));
        let figure = format!("{middle:.1} ms p50, {late:.1} ms p99 of {LOOKS}");
        table.judge(must, late, figure);
    }
    let origin = Origin::start(Some(&film))?;
    let source = look(&service, &origin.link("/previews.mp4"))?;
    for part in ["filmstrip", "waveform"] {
        let address = source["urls"][part].as_str().ok_or("no address")?;
        let (began, before) = (Instant::now(), origin.sent());
        while service.get(address)? != 200 {
            if began.elapsed() > Duration::from_secs(60) {
                return Err(format!("no {part} came").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let figure = format!(
            "{:.0} ms, {:.2} MB fetched",
            ms(began.elapsed()),
            mb(origin.sent() - before)
        );
        table.tell(format!("{part} of a minute of 1080p from a link"), figure);
    }
    Ok(())
}

fn look(service: &Service, link: &str) -> Outcome<Value> {
    let body = json!({"url": link}).to_string();
    let request = format!(
        "POST /api/sources HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut wire = Wire::connect(&service.address)?;
    let answer = wire.exchange(request.as_bytes())?;
    if answer.status != 201 {
        return Err(format!("a look was answered {}", answer.status).into());
    }
    Ok(serde_json::from_slice(answer.body)?)
}
