//! `/api/admin/events`: the trail of what happened, in pages or as a stream that goes on where it was left.

use std::collections::VecDeque;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::AppData;
use super::access::Hearer;
use super::error::{Failed, For, Problem, ProblemBody};
use super::events::{HEARTBEAT, last_seen, message};
use crate::index::events::{From, Kind, Page, Written};
use crate::library::LibraryError;
use crate::token::Scope;

/// Other programs write into the trail as well, of which nothing is heard here: so often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const AT_ONCE: u32 = 100;

/// Which entries are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TrailQuery {
    /// Only entries after the one of this number, the oldest first.
    after: Option<String>,
    /// Only entries before the one of this number, the newest first.
    before: Option<String>,
    /// Only entries of this kind, like `clip.ready`.
    kind: Option<String>,
    /// Only entries about this clip, token, task or resource.
    subject: Option<String>,
    /// 1 to 1000; 100 unless said.
    limit: Option<String>,
}

/// A page of the trail.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Trail)]
pub struct TrailJson {
    /// Each with `seq`, `at`, `kind`, `subject`, `data`, `duration_ms` and `error`.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Written>,
    /// The number to go on with, as `after` or `before`; null on the last page.
    next: Option<i64>,
}

/// What happened, the newest first; with `Accept: text/event-stream` as it happens, going on after `Last-Event-ID` or `after`.
#[utoipa::path(get, path = "/api/admin/events", tag = "operation", security(("token" = [])),
    params(TrailQuery, ("Accept" = Option<String>, Header), ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, content((TrailJson = "application/json"), (String = "text/event-stream"))),
              (status = "4XX", body = ProblemBody)))]
pub async fn trail(
    app: AppData,
    request: HttpRequest,
    query: web::Query<TrailQuery>,
) -> Result<HttpResponse, Failed> {
    let page = page(&query).answering(&request)?;
    let accept = request.headers().get(header::ACCEPT);
    let accept = accept
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accept.split(',').any(|kind| {
        kind.trim()
            .to_ascii_lowercase()
            .starts_with("text/event-stream")
    }) {
        return stream(app, &request, page).await;
    }
    let limit = page.limit as usize;
    // One more than shown tells whether there is a next page.
    let asked = Page {
        limit: page.limit + 1,
        ..page
    };
    let mut events = app
        .index
        .trail(asked)
        .await
        .map_err(LibraryError::from)
        .answering(&request)?;
    let more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().filter(|_| more).map(|event| event.seq);
    Ok(HttpResponse::Ok()
        .insert_header((header::VARY, "Accept"))
        .json(TrailJson { events, next }))
}

fn page(query: &TrailQuery) -> Result<Page, Problem> {
    let wrong = |code, detail: &str, hint: &str, field: &str| {
        Problem::new(StatusCode::BAD_REQUEST, code, detail, hint).at(field)
    };
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let number = |value: String, field| {
        value
            .parse::<i64>()
            .ok()
            .filter(|seq| *seq >= 0)
            .ok_or_else(|| {
                wrong(
                    "cursor_invalid",
                    "This is not a number of an event.",
                    "Pass next of the page before, or seq of an event.",
                    field,
                )
            })
    };
    let from = match (given(&query.after), given(&query.before)) {
        (None, None) => From::Newest,
        (Some(after), None) => From::After(number(after, "after")?),
        (None, Some(before)) => From::Before(number(before, "before")?),
        (Some(_), Some(_)) => {
            return Err(wrong(
                "cursor_invalid",
                "A page goes either forth or back.",
                "Pass after or before, not both.",
                "after",
            ));
        }
    };
    let kind = match given(&query.kind) {
        None => None,
        Some(word) => Some(word.parse::<Kind>().map_err(|()| {
            let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
            wrong(
                "kind_unknown",
                "There is no such kind of event.",
                &format!("The kinds are {}.", words.join(", ")),
                "kind",
            )
        })?),
    };
    let limit = match given(&query.limit) {
        None => 100,
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=1000).contains(limit))
            .ok_or_else(|| {
                wrong(
                    "limit_invalid",
                    "The limit is a number from 1 to 1000.",
                    "Leave it out for 100.",
                    "limit",
                )
            })?,
    };
    Ok(Page {
        from,
        kind,
        subject: given(&query.subject),
        limit,
    })
}

async fn stream(app: AppData, request: &HttpRequest, page: Page) -> Result<HttpResponse, Failed> {
    let news = app.index.news();
    let last = app
        .index
        .last_seq()
        .await
        .map_err(LibraryError::from)
        .answering(request)?;
    let after = match (last_seen(request), page.from) {
        (Some(seen), _) => seen,
        (None, From::After(seq)) => seq,
        (None, From::Newest | From::Before(_)) => last,
    };
    let follower = Follower {
        app,
        hearer: Hearer::new(request, &[Scope::OpsRead]),
        news,
        page: Page {
            from: From::After(after),
            limit: AT_ONCE,
            ..page
        },
        // So that the head goes out at once, and whoever comes back goes on from here.
        ready: VecDeque::from([Bytes::from(format!("id: {after}\n\n"))]),
        spoke: Instant::now(),
    };
    let stream = futures_util::stream::unfold(follower, |mut follower| async move {
        let message = follower.next().await?;
        Some((Ok::<_, actix_web::Error>(message), follower))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::VARY, "Accept"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(stream))
}

struct Follower {
    app: AppData,
    hearer: Hearer,
    news: watch::Receiver<i64>,
    /// What is still to be told.
    page: Page,
    ready: VecDeque<Bytes>,
    /// When something was said last.
    spoke: Instant,
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        let message = self.coming().await?;
        // What waited for a slow reader is not for one whose token was revoked meanwhile.
        self.hearer.may(&self.app).await.then_some(message)
    }

    async fn coming(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                self.spoke = Instant::now();
                return Some(message);
            }
            self.news.mark_unchanged();
            let written = self.app.index.trail(self.page.clone()).await.ok()?;
            if let Some(last) = written.last() {
                if !self.hearer.may_now(&self.app).await {
                    return None;
                }
                self.page.from = From::After(last.seq);
                let messages = written
                    .iter()
                    .map(|entry| message(&entry.kind, Some(entry.seq), entry));
                self.ready.extend(messages);
                continue;
            }
            if self.spoke.elapsed() >= HEARTBEAT {
                self.ready
                    .push_back(Bytes::from_static(b": still here\n\n"));
                continue;
            }
            let stopping = self.app.stopping.clone();
            tokio::select! {
                heard = self.news.changed() => heard.ok()?,
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stopping.cancelled() => return None,
            }
        }
    }
}
