//! Writes what the gate refused into the trail of events: at once when it is rare, gathered and bounded when somebody insists. It judges
//! nothing, and what it leaves out is in the metrics.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::index::events::Refusal;
use crate::source::gate::Refused;
use crate::worker::chain;

/// At most so many entries each time, and so long between two times: what a visitor can fill the disk with is bounded.
const AT_ONCE: usize = 16;
const PAUSE: Duration = Duration::from_secs(5);
/// In any hour at most so many: kept for 90 days they take some 150 MB.
const AN_HOUR: usize = 300;
const HOUR: Duration = Duration::from_secs(3600);

/// How many entries may still be written this hour.
struct Allowance {
    since: Instant,
    left: usize,
}

impl Allowance {
    fn new(now: Instant) -> Allowance {
        Allowance {
            since: now,
            left: AN_HOUR,
        }
    }

    /// What is left for one write, which takes it.
    fn take(&mut self, wanted: usize, now: Instant) -> usize {
        if now.duration_since(self.since) >= HOUR {
            *self = Allowance::new(now);
        }
        let given = wanted.min(self.left);
        self.left -= given;
        given
    }
}

/// Writes refusals down until `stop`, and then what is left.
pub async fn run(app: &App, mut refused: Receiver<Refused>, stop: &CancellationToken) {
    let mut allowance = Allowance::new(Instant::now());
    loop {
        let mut heard = Vec::new();
        tokio::select! {
            count = refused.recv_many(&mut heard, usize::MAX) => if count == 0 { return },
            () = stop.cancelled() => {
                while let Ok(last) = refused.try_recv() {
                    heard.push(last);
                }
                return write(app, heard, &mut allowance).await;
            }
        }
        write(app, heard, &mut allowance).await;
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn write(app: &App, heard: Vec<Refused>, allowance: &mut Allowance) {
    let mut entries = gathered(heard);
    entries.truncate(allowance.take(entries.len(), Instant::now()));
    if entries.is_empty() {
        return;
    }
    if let Err(error) = app.index.record_refusals(app.now(), entries).await {
        tracing::error!(error = %chain(&error), "refusals could not be written down");
    }
}

/// The same ones together, in the order they came first, and no more than fit.
fn gathered(heard: Vec<Refused>) -> Vec<Refusal> {
    let mut entries: Vec<Refusal> = Vec::new();
    for refused in heard {
        let subject = refused.subject.as_deref().unwrap_or_default();
        let known = entries.iter().position(|entry| {
            entry.subject == subject
                && entry.code == refused.code
                && entry.host == refused.host
                && entry.port == refused.port
        });
        match known {
            Some(place) => entries[place].count += 1,
            None if entries.len() < AT_ONCE => entries.push(Refusal {
                subject: subject.to_owned(),
                code: refused.code,
                host: refused.host,
                port: refused.port,
                count: 1,
            }),
            None => {}
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_room_for_so_many() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let given: usize = (0..100).map(|_| allowance.take(AT_ONCE, start)).sum();
        assert_eq!(given, AN_HOUR);
        assert_eq!(allowance.take(AT_ONCE, start + HOUR), AT_ONCE);
    }

    #[test]
    fn the_same_refusals_are_one_entry_and_many_are_bounded() {
        let refused = |host: &str| Refused {
            subject: Some("clip".into()),
            code: "url_blocked",
            host: host.to_owned(),
            port: 80,
        };
        let entries = gathered(vec![refused("a"), refused("b"), refused("a")]);
        let told: Vec<(&str, u32)> = entries
            .iter()
            .map(|entry| (entry.host.as_str(), entry.count))
            .collect();
        assert_eq!(told, [("a", 2), ("b", 1)]);
        let many = (0..1000).map(|number| refused(&number.to_string()));
        assert_eq!(gathered(many.collect()).len(), AT_ONCE);
    }
}
