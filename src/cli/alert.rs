//! `alert`: one signed message about a unit that has failed, for systemd's OnFailure. The service itself is not running then, so
//! this neither asks it nor writes anything.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use sha2::Sha256;

use super::{Exit, Place, Trouble, block_on, outward, print};
use crate::app::clock::Clock;
use crate::config::{Monitor, Settings};
use crate::timestamp::Timestamp;
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
const ANSWER: Duration = Duration::from_secs(10);

pub(super) fn run(alert: Alert) -> Result<Exit, Trouble> {
    let settings = alert.place.settings()?;
    if settings.monitor.webhook_url.is_empty() {
        print("monitor.webhook_url is empty: nobody is told.");
        return Ok(Exit::Done);
    }
    let at = Clock::default().now();
    let id = uuid::Uuid::now_v7().to_string();
    let body = message(&settings, &alert.unit, &id, at, |name| {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    });
    block_on(post(&settings.monitor, &id, &body))??;
    print(&format!("Told of {}.", alert.unit));
    Ok(Exit::Done)
}

/// What is told. Since systemd 251 a unit started by OnFailure learns by `MONITOR_…` how the other ended.
fn message(
    settings: &Settings,
    unit: &str,
    id: &str,
    at: Timestamp,
    environment: impl Fn(&str) -> Option<String>,
) -> String {
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
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default();
    serde_json::json!({
        "id": id,
        "at": at,
        "kind": "unit.failed",
        "resource": unit,
        "verdict": "critical",
        "was": "ok",
        "detail": detail,
        "hint": format!("Read why with journalctl -u {unit} -n 50, mend it and run systemctl restart {unit}."),
        "host": if settings.server.base_url.is_empty() { host } else { settings.server.base_url.clone() },
        "readings": {"result": result, "exit_status": status},
    })
    .to_string()
}

/// What `X-Meme-Maker-Signature` says: HMAC-SHA256 of the moment and the body.
fn signature(secret: &str, at: i64, body: &str) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length");
    mac.update(format!("{at}.{body}").as_bytes());
    let mac: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={at},v1={mac}")
}

async fn post(monitor: &Monitor, id: &str, body: &str) -> Result<(), Trouble> {
    let url = Url::parse(&monitor.webhook_url)
        .map_err(|error| untold(&format!("monitor.webhook_url cannot be used: {error}")))?;
    let mut pauses = PAUSES.iter();
    loop {
        let (reason, again) = match attempt(monitor, &url, id, body).await {
            Ok(status) if (200..300).contains(&status) => return Ok(()),
            Ok(status) => (
                format!("{} answered {status}", url.origin().ascii_serialization()),
                status == 408 || status == 429 || status >= 500,
            ),
            Err(reason) => (reason, true),
        };
        match pauses.next() {
            Some(pause) if again => tokio::time::sleep(*pause).await,
            Some(_) | None => return Err(untold(&reason)),
        }
    }
}

async fn attempt(monitor: &Monitor, url: &Url, id: &str, body: &str) -> Result<u16, String> {
    let addresses = outward::addresses(url).await?;
    let client = outward::client(url, &addresses, Vec::new())
        .and_then(|builder| builder.timeout(ANSWER).build())
        .map_err(|error| chain(&error.without_url()))?;
    let mut request = client
        .post(url.clone())
        .header("Content-Type", "application/json")
        .header("X-Meme-Maker-Event-Id", id);
    if !monitor.webhook_secret.is_empty() {
        // The moment of sending: a receiver may refuse what is old.
        let at = Clock::default().now().0 / 1000;
        let signature = signature(&monitor.webhook_secret, at, body);
        request = request.header("X-Meme-Maker-Signature", signature);
    }
    let answer = request.body(body.to_owned()).send().await;
    // The address may hold a secret.
    answer
        .map(|answer| answer.status().as_u16())
        .map_err(|error| chain(&error.without_url()))
}

fn untold(reason: &str) -> Trouble {
    Trouble {
        exit: Exit::Failed,
        code: "alert_not_sent".to_owned(),
        sentence: format!("The alert was not delivered: {reason}."),
        hint: "Check monitor.webhook_url and whether this machine reaches it.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_what_systemd_knows() {
        let settings = Settings::default();
        let told = |name: &str| match name {
            "MONITOR_SERVICE_RESULT" => Some("watchdog".to_owned()),
            "MONITOR_EXIT_STATUS" => Some("ABRT".to_owned()),
            _ => None,
        };
        let body = message(&settings, "x.service", "1", Timestamp(0), told);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            body["detail"],
            "The unit x.service has failed: watchdog, exit status ABRT."
        );
        assert_eq!(body["verdict"], "critical");
        let body = message(&settings, "x.service", "1", Timestamp(0), |_| None);
        assert!(body.contains("has failed.\""), "{body}");
    }

    #[test]
    fn signatures_are_those_of_the_standard() {
        // By: printf '1.{}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signature("key", 1, "{}"),
            "t=1,v1=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"
        );
    }
}
