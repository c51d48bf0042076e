//! `alert`: one signed message about a unit that has failed, for systemd's OnFailure. The service itself is not running then, so
//! this neither asks it nor writes anything.

use std::time::Duration;

use super::{Exit, Place, Trouble, block_on, print};
use crate::app::clock::Clock;
use crate::cut::sentence;
use crate::monitor::post::{Alert as Message, PostError, Webhook};
use crate::timestamp::Timestamp;
use crate::verdict::Verdict;
use crate::worker::chain;

/// Flags of `alert`.
#[derive(Debug, clap::Args)]
pub(super) struct Alert {
    /// The unit that has failed
    #[arg(long, value_name = "NAME")]
    unit: String,
    #[command(flatten)]
    place: Place,
}

/// Pauses between attempts: whoever listens may be starting too.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
];

pub(super) fn run(alert: Alert) -> Result<Exit, Trouble> {
    let settings = alert.place.settings()?;
    let Some(webhook) = Webhook::new(&settings.monitor).map_err(untold)? else {
        print("monitor.webhook_url is empty: nobody is told.");
        return Ok(Exit::Done);
    };
    let message = message(&alert.unit, Clock::default().now(), |name| {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    });
    block_on(post(&webhook, &message))?.map_err(untold)?;
    print(&format!("Told of {}.", alert.unit));
    Ok(Exit::Done)
}

/// What is told. Since systemd 251 a unit started by OnFailure learns by `MONITOR_…` how the other ended.
fn message(unit: &str, at: Timestamp, environment: impl Fn(&str) -> Option<String>) -> Message {
    let result = environment("MONITOR_SERVICE_RESULT");
    let status = environment("MONITOR_EXIT_STATUS");
    let mut detail = format!("The unit {unit} has failed");
    if let Some(result) = &result {
        detail.push_str(&format!(": {result}"));
    }
    if let Some(status) = &status {
        detail.push_str(&format!(", exit status {status}"));
    }
    detail.push('.');
    let hint = format!(
        "Read why with journalctl -u {unit} -n 50, mend it and run systemctl restart {unit}."
    );
    Message {
        kind: "unit.failed".to_owned(),
        readings: serde_json::json!({"result": result, "exit_status": status}),
        ..Message::about(unit, Verdict::Critical, &detail, &hint, at)
    }
}

async fn post(webhook: &Webhook, message: &Message) -> Result<(), PostError> {
    let mut pauses = PAUSES.iter();
    loop {
        // The moment of sending: a receiver may refuse what is old.
        let sent = webhook.send(message, Clock::default().now()).await;
        match (sent, pauses.next()) {
            (Err(error), Some(pause)) if !error.is_final() => {
                tracing::debug!(error = %error, "the alert is sent again");
                tokio::time::sleep(*pause).await;
            }
            (sent, _) => return sent,
        }
    }
}

fn untold(error: PostError) -> Trouble {
    Trouble {
        exit: Exit::Failed,
        code: error.code().to_owned(),
        sentence: sentence(&chain(&error)),
        hint: error.hint().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_what_systemd_knows() {
        let told = |name: &str| match name {
            "MONITOR_SERVICE_RESULT" => Some("watchdog".to_owned()),
            "MONITOR_EXIT_STATUS" => Some("ABRT".to_owned()),
            _ => None,
        };
        let alert = message("x.service", Timestamp(0), told);
        assert_eq!(
            alert.detail,
            "The unit x.service has failed: watchdog, exit status ABRT."
        );
        assert_eq!(alert.verdict, Verdict::Critical);
        let alert = message("x.service", Timestamp(0), |_| None);
        assert!(alert.detail.ends_with("has failed."), "{}", alert.detail);
    }
}
