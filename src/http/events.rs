//! Server-sent events (HTML standard, section 9.2) about one clip: its state with the whole clip, and its progress in between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};

use super::clip_json::{ClipJson, ProgressJson};
use super::error::{Failed, For, ProblemBody};
use super::{AppData, clips, feed, visitor};
use crate::app::{News, What};
use crate::clip::{ClipId, State};
use crate::library::{self, View};
use crate::sources::SourcesError;

/// Below the idle limits of common proxies.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);

/// How many streams of events each visitor follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<HashMap<String, usize>>>);

/// One stream; another may take its place when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    visitor: String,
}

impl Seats {
    /// # Errors
    /// When the visitor has as many as one may have: all share the connections that the service takes.
    pub(super) fn take(&self, visitor: String) -> Result<Seat, SourcesError> {
        const MOST: usize = 32;
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.entry(visitor.clone()).or_default();
        if *own >= MOST {
            return Err(SourcesError::TooManyStreams);
        }
        *own += 1;
        drop(taken);
        Ok(Seat {
            seats: self.clone(),
            visitor,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.visitor) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.visitor);
            }
        }
    }
}

/// Follows a clip. `state` events carry the clip and an id; with `Last-Event-ID` nothing already seen is sent again. The stream
/// ends when the clip is settled.
#[utoipa::path(get, path = "/api/clips/{id}/events", tag = "clips",
    params(("id" = String, Path), ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, content_type = "text/event-stream", description = "`state`, `progress` and `removed` events"),
              (status = 404, body = ProblemBody), (status = 429, body = ProblemBody)))]
pub async fn clip(
    app: AppData,
    feed: web::Data<feed::Feed>,
    request: HttpRequest,
) -> Result<HttpResponse, Failed> {
    let id = clips::id(&request).answering(&request)?;
    let seat = feed.seats.take(visitor::mark(&app, &request));
    let seat = seat.answering(&request)?;
    // Listening starts before looking, so that nothing falls between.
    let news = app.bus.listen();
    // The number before the state: a state that is newer than its number is told again, one that is older would be missed.
    let last = app
        .index
        .last_event(id.to_string())
        .await
        .map_err(library::LibraryError::from)
        .answering(&request)?;
    let view = library::view(&app, id).await.answering(&request)?;
    let seen = last_seen(&request);
    let mut feed = Feed {
        app,
        id,
        news,
        shown: view.clip.state,
        position: view.queue_position,
        told: last,
        over: view.clip.state.is_settled(),
        first: None,
        _seat: seat,
    };
    // The state is told whole, so that one event makes up for all that were missed.
    feed.first = if seen == Some(last) && !feed.over {
        Some(message("progress", None, &ProgressJson::new(&view)))
    } else {
        Some(feed.state(&view, last))
    };
    let stream = futures_util::stream::unfold(feed, |mut feed| async move {
        let message = feed.next().await?;
        Some((Ok::<_, actix_web::Error>(message), feed))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(stream))
}

struct Feed {
    app: AppData,
    id: ClipId,
    news: broadcast::Receiver<News>,
    first: Option<Bytes>,
    /// What the listener knows.
    shown: State,
    position: Option<u64>,
    /// The number of the last state sent.
    told: i64,
    over: bool,
    _seat: Seat,
}

impl Feed {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.over {
            let stopping = self.app.stopping.clone();
            let news = tokio::select! {
                news = self.news.recv() => news,
                () = tokio::time::sleep(HEARTBEAT) => return Some(Bytes::from_static(b": still here\n\n")),
                () = stopping.cancelled() => return None,
            };
            if let Some(message) = self.heard(news).await {
                return Some(message);
            }
        }
        None
    }

    async fn heard(&mut self, news: Result<News, RecvError>) -> Option<Bytes> {
        let what = match news {
            Err(RecvError::Closed) => {
                self.over = true;
                return None;
            }
            // Too slow to hear all of it: the state as it is now makes up for that.
            Err(RecvError::Lagged(_)) => What::State(0),
            // It happened between listening and looking.
            Ok(News {
                clip,
                what: What::State(seq),
            }) if clip == self.id && seq <= self.told => return None,
            Ok(news) if news.clip == self.id => news.what,
            Ok(News {
                what: What::State(_) | What::Removed,
                ..
            }) if self.shown == State::Queued => return self.moved_up().await,
            Ok(_) => return None,
        };
        let view = match (what, library::view(&self.app, self.id).await) {
            (What::Removed, _) | (_, Err(library::LibraryError::NotFound)) => {
                self.over = true;
                return Some(message(
                    "removed",
                    None,
                    &serde_json::json!({"id": self.id}),
                ));
            }
            (_, Err(_)) => return None,
            (_, Ok(view)) => view,
        };
        match what {
            What::State(seq) => Some(self.state(&view, seq)),
            What::Progress | What::Removed => {
                Some(message("progress", None, &ProgressJson::new(&view)))
            }
        }
    }

    /// Another clip moved: the place of this one may have changed.
    async fn moved_up(&mut self) -> Option<Bytes> {
        let view = library::view(&self.app, self.id).await.ok()?;
        if view.clip.state != State::Queued || view.queue_position == self.position {
            return None;
        }
        self.position = view.queue_position;
        Some(message("progress", None, &ProgressJson::new(&view)))
    }

    fn state(&mut self, view: &View, seq: i64) -> Bytes {
        self.told = self.told.max(seq);
        self.shown = view.clip.state;
        self.position = view.queue_position;
        self.over = view.clip.state.is_settled();
        message(
            "state",
            Some(seq),
            &ClipJson::new(view, &self.app.settings.server.base_url),
        )
    }
}

/// What a listener that comes back has seen.
pub(super) fn last_seen(request: &HttpRequest) -> Option<i64> {
    let seen = request.headers().get("last-event-id")?;
    seen.to_str().ok()?.parse().ok()
}

/// One event as it is sent.
pub(super) fn message(event: &str, id: Option<i64>, data: &impl Serialize) -> Bytes {
    let id = id
        .filter(|id| *id > 0)
        .map(|id| format!("id: {id}\n"))
        .unwrap_or_default();
    // JSON has no line breaks, so one data line is enough.
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("event: {event}\n{id}data: {data}\n\n"))
}
