//! A clip as the API shows it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::clip::{Clip, Failure, Outcome, State};
use crate::cost::Estimate;
use crate::library::View;
use crate::store::POSTER;
use crate::timestamp::Timestamp;

/// A clip.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Clip)]
pub struct ClipJson {
    /// UUIDv7.
    pub id: String,
    /// One that is made again is not `ready` and has a result.
    pub state: State,
    /// The state in one word for people.
    pub stage: &'static str,
    /// Share of the work done, 0 to 1; null while it waits or when it failed.
    pub progress: Option<f64>,
    /// Place in the queue, counted from 1.
    pub queue_position: Option<u64>,
    pub eta_seconds: Option<f64>,
    /// What it is expected to take; guessed at first, told by its plan later.
    pub estimate: Estimate,
    pub title: String,
    /// What was asked, last; can be posted again as it is, unless it was made from an upload: only the answer to `POST /api/clips` names that.
    #[schema(value_type = Object)]
    pub recipe: serde_json::Value,
    /// Of the file that is served; while a clip is made again, that of before, as are the addresses.
    pub result: Option<Outcome>,
    pub urls: Urls,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    pub pinned: bool,
    pub views: u64,
    pub downloads: u64,
    pub error: Option<Failure>,
    /// Only in the answer to `POST /api/clips`: shown to nobody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_token: Option<String>,
}

/// Where things are; relative unless `server.base_url` is set. Those of the file are null until there is one.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Urls {
    #[serde(rename = "self")]
    pub own: String,
    pub page: String,
    pub file: Option<String>,
    pub download: Option<String>,
    pub poster: Option<String>,
    pub embed: Option<String>,
}

/// How far a clip is: the data of a `progress` event.
#[derive(Clone, Debug, Serialize)]
pub struct ProgressJson {
    pub state: State,
    pub stage: &'static str,
    pub progress: Option<f64>,
    pub eta_seconds: Option<f64>,
    pub queue_position: Option<u64>,
}

/// Everything but what a path segment may hold as it is (RFC 3986 section 3.3, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A path segment with everything unusual percent-encoded.
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

impl ClipJson {
    /// Renders a clip.
    pub fn new(view: &View, base_url: &str) -> ClipJson {
        let clip = &view.clip;
        ClipJson {
            id: clip.id.to_string(),
            state: clip.state,
            stage: stage(clip.state),
            progress: view.progress,
            queue_position: view.queue_position,
            eta_seconds: view.eta_seconds,
            estimate: clip.estimate,
            title: clip.title.clone(),
            recipe: clip.recipe.public(),
            result: clip.outcome.clone(),
            urls: Urls::new(clip, base_url),
            created_at: clip.created_at,
            finished_at: clip.finished_at,
            expires_at: clip.expires_at,
            pinned: clip.pinned,
            views: clip.views,
            downloads: clip.downloads,
            error: clip.failure.clone(),
            delete_token: None,
        }
    }
}

impl Urls {
    /// The addresses of a clip.
    pub fn new(clip: &Clip, base_url: &str) -> Urls {
        let id = clip.id;
        let served = clip.is_served();
        let when_served = |path: String| served.then(|| format!("{base_url}{path}"));
        let file = clip
            .file_name
            .as_ref()
            .map(|name| format!("/api/files/clips/{id}/{}", segment(name)));
        let poster = format!("/api/files/clips/{id}/{POSTER}{}", version_query(clip));
        let has_poster = clip.outcome.as_ref().is_some_and(|outcome| outcome.poster);
        Urls {
            own: format!("{base_url}/api/clips/{id}"),
            page: format!("{base_url}/c/{id}"),
            file: file.and_then(when_served),
            download: when_served(format!("/api/clips/{id}/download")),
            poster: when_served(poster).filter(|_| has_poster),
            embed: when_served(format!("/embed/{id}")),
        }
    }
}

/// What tells the picture of one version from that of another, whose address it has.
fn version_query(clip: &Clip) -> String {
    match clip.version {
        0 | 1 => String::new(),
        version => format!("?v={version}"),
    }
}

impl ProgressJson {
    /// Renders how far a clip is.
    pub fn new(view: &View) -> ProgressJson {
        ProgressJson {
            state: view.clip.state,
            stage: stage(view.clip.state),
            progress: view.progress,
            eta_seconds: view.eta_seconds,
            queue_position: view.queue_position,
        }
    }
}

const fn stage(state: State) -> &'static str {
    match state {
        State::Queued => "waiting",
        State::Fetching => "fetching",
        State::Cutting => "cutting",
        State::Storing => "storing",
        State::Ready => "ready",
        State::Expired => "expired",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
    }
}
