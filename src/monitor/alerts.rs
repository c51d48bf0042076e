//! Alerts on their way: entries of the trail that call for one are posted to the operator's webhook, each until it arrives, is refused
//! or is a day old. What could not be written into the trail is posted from memory. Nobody waits for it.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub use super::post::{Alert, PostError, Webhook, id_of, signature};
use crate::app::App;
use crate::app::watch::Urgent;
use crate::index::watch::{Gathering, NEWS, Pending, Posted};
use crate::timestamp::Timestamp;
use crate::worker::chain;

/// Between the first two tries; doubled after each.
const FIRST: Duration = Duration::from_secs(1);
/// Between two tries at most.
const LONGEST: Duration = Duration::from_secs(600);
/// Other programs write into the trail as well, of which nothing is heard here: so often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Posts alerts until `stop`. Those that did not arrive by then go on with the next start.
pub async fn run(app: &App, stop: &CancellationToken) {
    let webhook = match Webhook::new(&app.settings.monitor) {
        Ok(webhook) => webhook,
        Err(error) => {
            tracing::error!(error = %chain(&error), "no alerts can be sent");
            None
        }
    };
    if let Some(webhook) = &webhook {
        tracing::info!(to = webhook.origin(), "alerts are sent");
    }
    let mut news = app.index.news();
    let mut round = Round {
        app,
        webhook,
        unrecorded: None,
    };
    loop {
        let pause = tokio::select! {
            pause = round.go() => pause,
            () = stop.cancelled() => return,
        };
        tokio::select! {
            heard = news.changed() => if heard.is_err() { return },
            () = app.watch.bell.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// How long to wait after so many tries.
fn pause(attempts: u32) -> Duration {
    FIRST
        .saturating_mul(1_u32.checked_shl(attempts).unwrap_or(u32::MAX))
        .min(LONGEST)
}

struct Round<'a> {
    app: &'a App,
    webhook: Option<Webhook>,
    /// What became of the last alert, while the index does not take it: until then no other is taken up, else it would go out again
    /// and again.
    unrecorded: Option<(Pending, Posted)>,
}

impl Round<'_> {
    /// Posts all that is due; returns how long nothing else is.
    async fn go(&mut self) -> Duration {
        let app = self.app;
        let Some(webhook) = self.webhook.clone() else {
            while app.watch.due(Instant::now()).is_some() {}
            // So that a webhook that is set one day is not told of everything before.
            self.gather(Gathering::Pass).await;
            return LOOK_EVERY;
        };
        while let Some(urgent) = app.watch.due(Instant::now()) {
            self.urgent(&webhook, urgent).await;
        }
        self.gather(Gathering::Keep).await;
        loop {
            self.record().await;
            if self.unrecorded.is_some() {
                return LOOK_EVERY;
            }
            match app.index.due_alert(app.now()).await {
                Ok(Some(pending)) => self.pending(&webhook, pending).await,
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "alerts cannot be looked up");
                    return LOOK_EVERY;
                }
            }
        }
        let urgent = app
            .watch
            .next_due()
            .map(|at| at.saturating_duration_since(Instant::now()));
        let next = app
            .index
            .pending_alerts()
            .await
            .ok()
            .and_then(|(next, _)| next);
        let kept = next.map(|at| {
            let millis = at.0.saturating_sub(app.now().0).max(0).unsigned_abs();
            Duration::from_millis(millis)
        });
        [urgent, kept]
            .into_iter()
            .flatten()
            .fold(LOOK_EVERY, Duration::min)
    }

    async fn gather(&self, how: Gathering) {
        if let Err(error) = self.app.index.gather_alerts(self.app.now(), how).await {
            tracing::error!(error = %chain(&error), "alerts could not be taken note of");
        }
    }

    async fn pending(&mut self, webhook: &Webhook, pending: Pending) {
        let entry = &pending.entry;
        let alert = Alert::of(entry);
        let began = Instant::now();
        let sent = self.send(webhook, &alert).await;
        let now = self.app.now();
        let posted = match sent {
            Ok(()) => Posted::Sent {
                duration_ms: i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX),
            },
            Err(error) => match again(&error, now, entry.at, pending.attempts) {
                Some(pause) => {
                    let millis = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
                    Posted::Again(now.plus_millis(millis))
                }
                None => Posted::GivenUp(error.to_string()),
            },
        };
        self.unrecorded = Some((pending, posted));
    }

    async fn record(&mut self) {
        let Some((pending, posted)) = self.unrecorded.take() else {
            return;
        };
        let recorded =
            self.app
                .index
                .record_posted(self.app.now(), pending.clone(), posted.clone());
        if let Err(error) = recorded.await {
            tracing::error!(error = %chain(&error), "what became of an alert could not be written");
            self.unrecorded = Some((pending, posted));
        }
    }

    async fn urgent(&self, webhook: &Webhook, urgent: Urgent) {
        let alert = Alert::of(&urgent.entry);
        let sent = self.send(webhook, &alert).await;
        let pause = sent
            .err()
            .and_then(|error| again(&error, self.app.now(), urgent.entry.at, urgent.attempts));
        match pause {
            Some(pause) => self.app.watch.tell(Urgent {
                attempts: urgent.attempts + 1,
                next: Instant::now() + pause,
                ..urgent
            }),
            None => self.app.watch.settle(urgent.id),
        }
    }

    /// One try, told in the log and counted.
    async fn send(&self, webhook: &Webhook, alert: &Alert) -> Result<(), PostError> {
        let sent = webhook.send(alert, self.app.now()).await;
        let (id, to) = (alert.id.as_str(), webhook.origin());
        let result = match &sent {
            Ok(()) => {
                tracing::info!(alert = id, resource = alert.resource, verdict = %alert.verdict, to, "alert sent");
                "sent"
            }
            Err(error) => {
                tracing::warn!(alert = id, to, error = %error, "an alert did not arrive");
                if error.is_final() {
                    "refused"
                } else {
                    "unreachable"
                }
            }
        };
        metrics::counter!("meme_maker_alert_posts_total", "result" => result).increment(1);
        sent
    }
}

/// How long to wait before it is tried again; none when it is not.
fn again(error: &PostError, now: Timestamp, at: Timestamp, attempts: u32) -> Option<Duration> {
    let old = now.0.saturating_sub(at.0) > NEWS;
    (!error.is_final() && !old).then(|| pause(attempts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_at_growing_distances_up_to_ten_minutes_for_a_day() {
        let pauses: Vec<u64> = (0..12).map(|attempts| pause(attempts).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        assert_eq!(pause(u32::MAX), LONGEST);
        let fails = PostError::Status(503);
        assert!(again(&fails, Timestamp(NEWS), Timestamp(0), 3).is_some());
        assert!(again(&fails, Timestamp(NEWS + 1), Timestamp(0), 3).is_none());
        assert!(again(&PostError::Status(404), Timestamp(1), Timestamp(0), 0).is_none());
    }
}
