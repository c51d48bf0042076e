//! What visitors do, in one call each, and waiting for what they wait for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::origin::{Behaviour, Origin};
use super::service::{Answer, PATIENCE, Service};

/// What a visitor holds after a submission: the clip's id and its delete token.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub id: String,
    pub token: String,
}

impl Ticket {
    #[track_caller]
    pub fn of(accepted: &Value) -> Ticket {
        Ticket {
            id: accepted["id"].as_str().unwrap().to_owned(),
            token: accepted["delete_token"].as_str().unwrap().to_owned(),
        }
    }

    pub fn path(&self) -> String {
        format!("/api/clips/{}", self.id)
    }
}

/// A clip that is made in no time: packets are only copied.
pub fn quick(link: &str) -> Value {
    json!({"url": link, "start_time": 0.5, "end_time": 1.5, "mode": "fast"})
}

/// A clip of `media::long` that takes a while in the encoder, because its pictures change their height.
pub fn lengthy(link: &str, seconds: f64) -> Value {
    json!({"url": link, "start_time": 1, "end_time": 1.0 + seconds, "height": 540})
}

impl Service {
    /// Submits a clip that has to be accepted.
    #[track_caller]
    pub fn ticket(&self, body: &Value) -> Ticket {
        Ticket::of(&self.submit(body))
    }

    pub fn submit_with(&self, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        self.request("POST", "/api/clips", &headers, body.to_string().as_bytes())
    }

    pub fn cancel(&self, ticket: &Ticket) -> Answer {
        self.with_token("POST", &format!("{}/cancel", ticket.path()), &ticket.token)
    }

    pub fn retry(&self, ticket: &Ticket) -> Answer {
        self.with_token("POST", &format!("{}/retry", ticket.path()), &ticket.token)
    }

    pub fn remove(&self, ticket: &Ticket) -> Answer {
        self.with_token("DELETE", &ticket.path(), &ticket.token)
    }

    pub fn clip(&self, ticket: &Ticket) -> Value {
        self.get(&ticket.path()).json()
    }

    /// Keeps a worker busy: submits a clip whose source never answers and waits until it is in hand.
    #[track_caller]
    pub fn hold(&self, origin: &Origin) -> Ticket {
        let link = origin.add("/silent.mp4", Behaviour::Silent);
        let ticket = self.ticket(&quick(&link));
        self.wait_for(&ticket.id, &["fetching"]);
        ticket
    }

    pub fn work_of(&self, ticket: &Ticket) -> PathBuf {
        self.data.join("work").join(&ticket.id)
    }

    pub fn files_of(&self, ticket: &Ticket) -> PathBuf {
        self.data.join("storage/clips").join(&ticket.id)
    }

    pub fn ledger_of(&self, ticket: &Ticket) -> PathBuf {
        let name = format!("{}.json", ticket.id);
        self.data.join("ledger/clips").join(name)
    }
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, check: impl FnMut() -> bool) {
    within(PATIENCE, what, check);
}

/// Waits until something is so, which is promised within a time.
#[track_caller]
pub fn within(limit: Duration, what: &str, mut check: impl FnMut() -> bool) {
    let began = Instant::now();
    while !check() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether none of these processes runs any more; one that only waits to be reaped does not.
pub fn gone(pids: &[u32]) -> bool {
    pids.iter().all(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = status
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest.trim_start());
        state.is_empty() || state.starts_with('Z') || state.starts_with('X')
    })
}
