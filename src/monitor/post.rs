//! One alert on its way to the operator's webhook: signed, sent once, and what the answer means. The address is the operator's own and
//! may be private, so it does not go through the visitors' gate; it follows no redirect and tells nobody the address's path, which may
//! hold a secret. When to send again is decided by whoever calls.

use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Serialize;
use sha2::Sha256;

use crate::config::Monitor;
use crate::index::events::{Kind, Written};
use crate::timestamp::Timestamp;
use crate::verdict::Verdict;
use crate::worker::chain;

/// What is posted, as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Alert {
    /// The same whenever the same alert is sent again.
    pub id: String,
    pub at: Timestamp,
    /// The kind of the entry in the trail, like `health.changed`.
    pub kind: String,
    pub resource: String,
    pub verdict: Verdict,
    pub was: Verdict,
    /// One sentence.
    pub detail: String,
    /// The next step.
    pub hint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Everything that was read at that moment, by the names of `GET /api/admin/history`.
    pub readings: serde_json::Value,
}

impl Alert {
    /// Of something that no entry of the trail tells, like a unit that failed. Its id is new.
    pub fn about(
        resource: &str,
        verdict: Verdict,
        detail: &str,
        hint: &str,
        at: Timestamp,
    ) -> Alert {
        Alert {
            id: uuid::Uuid::now_v7().to_string(),
            at,
            kind: Kind::HealthChanged.as_str().to_owned(),
            resource: resource.to_owned(),
            verdict,
            was: Verdict::Ok,
            detail: detail.to_owned(),
            hint: hint.to_owned(),
            host: sysinfo::System::host_name().ok(),
            readings: serde_json::json!({}),
        }
    }

    /// From an entry of the trail, or from what would be one.
    pub fn of(entry: &Written) -> Alert {
        let word = |key: &str| entry.data[key].as_str().unwrap_or_default().to_owned();
        let failed = entry.kind == Kind::BackupFailed.as_str();
        let verdict = |key: &str, otherwise: Verdict| {
            entry.data[key]
                .as_str()
                .and_then(|word| word.parse().ok())
                .unwrap_or(otherwise)
        };
        let detail = match word("detail") {
            detail if detail.is_empty() => {
                let why = entry.error.as_deref().unwrap_or("no reason was given");
                format!("{}: {why}.", entry.kind)
            }
            detail => detail,
        };
        let hint = match word("hint") {
            hint if hint.is_empty() => "Look at GET /api/admin/health and at the log.".to_owned(),
            hint => hint,
        };
        Alert {
            id: id_of(entry),
            at: entry.at,
            kind: entry.kind.clone(),
            resource: entry.subject.clone(),
            verdict: verdict(
                "verdict",
                if failed {
                    Verdict::Critical
                } else {
                    Verdict::Ok
                },
            ),
            was: verdict("was", Verdict::Ok),
            detail,
            hint,
            host: sysinfo::System::host_name().ok(),
            readings: match &entry.data["readings"] {
                serde_json::Value::Null => serde_json::json!({}),
                readings => readings.clone(),
            },
        }
    }
}

/// By which a receiver knows an alert again, whether it came from memory or from the trail.
pub fn id_of(entry: &Written) -> String {
    let at = entry.at.0;
    let changed = entry.kind == Kind::HealthChanged.as_str();
    match entry.data["verdict"].as_str().filter(|_| changed) {
        Some(verdict) => format!("{at}-{}-{verdict}", entry.subject),
        None => format!("{at}-{}", entry.seq),
    }
}

/// Why an alert did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error("monitor.webhook_url cannot be used: {0}")]
    Unusable(String),
    #[error("the webhook answers {0}")]
    Status(u16),
    #[error("the webhook was not reached: {0}")]
    Unreachable(String),
}

impl PostError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            PostError::Unusable(_) => "webhook_unusable",
            PostError::Status(_) => "webhook_status",
            PostError::Unreachable(_) => "webhook_unreachable",
        }
    }

    /// The next step.
    pub const fn hint(&self) -> &'static str {
        match self {
            PostError::Unusable(_) => {
                "Give the whole address, like https://alerts.example.org/hook."
            }
            PostError::Status(_) => "Look at what receives the alerts; it has to answer 2xx.",
            PostError::Unreachable(_) => {
                "See that monitor.webhook_url can be reached from this machine."
            }
        }
    }

    /// Whether trying again is of no use: it was understood and is not wanted.
    pub const fn is_final(&self) -> bool {
        match self {
            PostError::Status(status) => {
                *status >= 300 && *status < 500 && *status != 408 && *status != 429
            }
            PostError::Unusable(_) => true,
            PostError::Unreachable(_) => false,
        }
    }
}

/// Where alerts go.
#[derive(Clone, Debug)]
pub struct Webhook {
    client: Client,
    url: Url,
    secret: String,
}

/// An answer has to come within this.
const ANSWER: Duration = Duration::from_secs(10);

impl Webhook {
    /// The one of the settings; none when none is set.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn new(settings: &Monitor) -> Result<Option<Webhook>, PostError> {
        if settings.webhook_url.is_empty() {
            return Ok(None);
        }
        let url = Url::parse(&settings.webhook_url)
            .map_err(|error| PostError::Unusable(error.to_string()))?;
        // The first to ask decides; that it was decided already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .timeout(ANSWER)
            // Alerts are rare: a connection that was kept would be a broken one by then.
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(Names))
            .user_agent(concat!("meme-maker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| PostError::Unusable(chain(&error.without_url())))?;
        Ok(Some(Webhook {
            client,
            url,
            secret: settings.webhook_secret.clone(),
        }))
    }

    /// Where it is, as far as it may be told.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// Sends an alert once.
    ///
    /// # Errors
    /// When it did not arrive, or is not taken.
    pub async fn send(&self, alert: &Alert, now: Timestamp) -> Result<(), PostError> {
        let body =
            serde_json::to_vec(alert).map_err(|error| PostError::Unusable(error.to_string()))?;
        let mut request = self
            .client
            .post(self.url.clone())
            .header("Content-Type", "application/json")
            .header("X-Meme-Maker-Event-Id", &alert.id);
        if !self.secret.is_empty() {
            let signed = signature(&self.secret, now.0.div_euclid(1000), &body);
            request = request.header("X-Meme-Maker-Signature", signed);
        }
        let answer = request
            .body(body)
            .send()
            .await
            .map_err(|error| PostError::Unreachable(chain(&error.without_url())))?;
        match answer.status().as_u16() {
            200..300 => Ok(()),
            status => Err(PostError::Status(status)),
        }
    }
}

/// `t=<seconds since 1970>,v1=<HMAC-SHA256 of "<t>.<body>" in hex>`: a receiver that looks at `t` cannot be sent an old alert again.
pub fn signature(secret: &str, at: i64, body: &[u8]) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length");
    mac.update(at.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let bytes = mac.finalize().into_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={hex}")
}

/// Names as this machine knows them, its hosts file included: the binary is static and does not ask the system's library. What the
/// machine knows is read each time: alerts are rare, and at boot there may be no name servers yet.
struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let resolver = TokioResolver::builder_tokio()?.build()?;
            let found = resolver.lookup_ip(name.as_str()).await?;
            let addresses: Vec<_> = found
                .iter()
                .map(|address| std::net::SocketAddr::new(address, 0))
                .collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_other_programs_compute() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret
        assert_eq!(
            signature("s3cret", 1_700_000_000, br#"{"a":1}"#),
            "t=1700000000,v1=1698a50bc74d1ff1db85c4e0a5297c2ad9fdba245d5737cdb789e4cc6e098940"
        );
    }

    #[test]
    fn what_is_tried_again_is_what_may_get_better() {
        for (status, is_final) in [
            (301, true),
            (400, true),
            (401, true),
            (404, true),
            (408, false),
            (410, true),
            (429, false),
            (500, false),
            (503, false),
        ] {
            assert_eq!(PostError::Status(status).is_final(), is_final, "{status}");
        }
        assert!(!PostError::Unreachable(String::new()).is_final());
    }

    #[test]
    fn an_alert_has_the_same_id_from_memory_and_from_the_trail() {
        let entry = |seq| Written {
            seq,
            at: Timestamp(7),
            kind: Kind::HealthChanged.as_str().to_owned(),
            subject: "disk".to_owned(),
            data: serde_json::json!({"verdict": "critical"}),
            duration_ms: None,
            error: None,
        };
        assert_eq!(id_of(&entry(0)), "7-disk-critical");
        assert_eq!(id_of(&entry(12)), id_of(&entry(0)));
    }

    #[test]
    fn an_entry_without_words_is_told_all_the_same() {
        let entry = Written {
            seq: 3,
            at: Timestamp(0),
            kind: Kind::BackupFailed.as_str().to_owned(),
            subject: "backup".to_owned(),
            data: serde_json::json!({}),
            duration_ms: None,
            error: Some("disk_full".to_owned()),
        };
        let alert = Alert::of(&entry);
        assert_eq!(alert.verdict, Verdict::Critical);
        assert_eq!(alert.detail, "backup.failed: disk_full.");
        assert!(!alert.hint.is_empty());
    }
}
