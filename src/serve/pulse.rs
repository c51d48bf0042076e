//! What systemd is told: a line on how the service does, and, while it lives, that it does. Alive means that it would answer: the index
//! reads, HTTP answers, the monitor turns. A full disk or a failing check is no reason to be killed: a restart mends neither.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::monitor;

/// Without a watchdog the line is renewed so often.
const RENEW: Duration = Duration::from_secs(30);

/// Tells systemd, if it listens.
pub fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(error = %error, "systemd was not told");
    }
}

/// Tells how the service does until `stop`; pings the watchdog three times in its time, and looks again soon when a sign of life was
/// missing: one that was late is no reason to be killed. `address` is where the service listens.
pub async fn run(app: &App, address: SocketAddr, stop: &CancellationToken) {
    let watchdog = sd_notify::watchdog_enabled();
    let period = watchdog.map_or(RENEW, |time| time / 3);
    let mut told = String::new();
    loop {
        let status = monitor::status(app);
        if status != told {
            notify(NotifyState::Status(&status));
            told = status;
        }
        let mut pause = period;
        if watchdog.is_some() {
            let signs = Signs::look(app, address, period / 2).await;
            match signs.missing(period, app.settings.monitor.interval_seconds) {
                None => notify(NotifyState::Watchdog),
                Some(missing) => {
                    pause = period / 8;
                    tracing::error!(
                        missing,
                        "the service does not seem to live; the watchdog is not told"
                    );
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Signs of life.
#[derive(Clone, Copy, Debug)]
struct Signs {
    /// The index answered in time.
    index: Answer,
    /// How long ago it answered anybody.
    since_read: Duration,
    /// A request of our own was answered in time.
    http: Answer,
    /// How long ago any request was.
    since_answer: Duration,
    since_turn: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Came,
    Missing,
}

impl Answer {
    fn if_so(came: Option<()>) -> Answer {
        came.map_or(Answer::Missing, |()| Answer::Came)
    }
}

impl Signs {
    async fn look(app: &App, address: SocketAddr, within: Duration) -> Signs {
        let (index, http) = tokio::join!(
            tokio::time::timeout(within, app.index.last_seq()),
            tokio::time::timeout(within, answers(address)),
        );
        Signs {
            // An error is an answer too: a new start would meet the same one.
            index: Answer::if_so(index.ok().map(drop)),
            since_read: app.index.since_read(),
            http: Answer::if_so(http.ok().and_then(Result::ok)),
            since_answer: app.watch.since_answer(),
            since_turn: app.watch.since_turn(),
        }
    }

    /// What speaks against life, if anything.
    fn missing(&self, period: Duration, interval_seconds: u64) -> Option<&'static str> {
        // A reading may wait for a program that is asked for its version, and for a slow disk.
        let turn = Duration::from_secs(interval_seconds.saturating_mul(3).saturating_add(60));
        // With all readers taken by visitors ours does not get its turn, but theirs are answered.
        if self.index == Answer::Missing && self.since_read > period {
            return Some("the index does not answer");
        }
        // With all connections taken by visitors our own does not come through, but theirs do.
        if self.http == Answer::Missing && self.since_answer > period {
            return Some("HTTP does not answer");
        }
        (self.since_turn > turn).then_some("the monitor stands still")
    }
}

/// Asks the service itself whether it lives.
async fn answers(address: SocketAddr) -> std::io::Result<()> {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let mut stream = TcpStream::connect((host, address.port())).await?;
    let request = "GET /api/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0_u8; 12];
    stream.read_exact(&mut head).await?;
    if &head == b"HTTP/1.1 200" {
        Ok(())
    } else {
        Err(std::io::Error::other("another answer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_told_only_of_a_service_that_would_answer() {
        let well = Signs {
            index: Answer::Came,
            since_read: Duration::ZERO,
            http: Answer::Came,
            since_answer: Duration::ZERO,
            since_turn: Duration::from_secs(31),
        };
        let long = Duration::from_secs(3600);
        let missing = Answer::Missing;
        for (signs, expected) in [
            (well, None),
            // Nobody has asked for an hour but ourselves.
            (
                Signs {
                    since_answer: long,
                    ..well
                },
                None,
            ),
            // All connections are taken, and those who have them are answered.
            (
                Signs {
                    http: missing,
                    ..well
                },
                None,
            ),
            (
                Signs {
                    http: missing,
                    since_answer: long,
                    ..well
                },
                Some("HTTP does not answer"),
            ),
            // All readers are taken, and those who have them are answered.
            (
                Signs {
                    index: missing,
                    ..well
                },
                None,
            ),
            (
                Signs {
                    index: missing,
                    since_read: long,
                    ..well
                },
                Some("the index does not answer"),
            ),
            (
                Signs {
                    since_turn: long,
                    ..well
                },
                Some("the monitor stands still"),
            ),
        ] {
            assert_eq!(
                signs.missing(Duration::from_secs(15), 30),
                expected,
                "{signs:?}"
            );
        }
    }
}
