//! Server-sent events about all clips. One teller renders what happened for all listeners: it reads the trail after every commit, so
//! that nothing is missed or out of order whoever wrote it, and takes progress from the bus. It shows what everybody may see.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::access::Hearer;
use super::clip_json::{ClipJson, ProgressJson};
use super::error::{Failed, For, ProblemBody};
use super::events::{HEARTBEAT, Seat, Seats, last_seen, message};
use super::{AppData, visitor};
use crate::app::{App, News, What};
use crate::clip::ClipId;
use crate::index::IndexError;
use crate::library::{self, LibraryError};

/// What is told to all who listen.
#[derive(Debug)]
pub struct Feed {
    told: broadcast::Sender<Told>,
    pub(super) seats: Seats,
}

#[derive(Clone, Debug)]
struct Told {
    /// The number in the trail; 0 for what has none.
    seq: i64,
    message: Bytes,
}

/// Other programs write into the trail as well, of which nothing is heard here: so often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Rows of the trail that are read together.
const AT_ONCE: u32 = 100;
/// Whoever missed more than this does better to load the list again.
const REPLAYED: i64 = 200;

impl Default for Feed {
    fn default() -> Self {
        Feed {
            told: broadcast::Sender::new(512),
            seats: Seats::default(),
        }
    }
}

/// Tells all who listen until `stop`.
pub async fn run(app: &App, feed: &Feed, stop: &CancellationToken) {
    let (mut trail, mut bus) = (app.index.news(), app.bus.listen());
    let mut told = *trail.borrow_and_update();
    loop {
        tokio::select! {
            heard = trail.changed() => if heard.is_err() { return },
            news = bus.recv() => match news {
                Ok(News { clip, what: What::Progress }) if feed.told.receiver_count() > 0 => {
                    if let Some(message) = progress(app, clip).await {
                        // Nobody listens any more: fine.
                        let _ = feed.told.send(Told { seq: 0, message });
                    }
                    continue;
                }
                // States are in the trail.
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
        if feed.told.receiver_count() == 0 {
            told = *trail.borrow_and_update();
            continue;
        }
        while let Ok(batch) = read(app, told).await {
            for one in batch.told {
                let _ = feed.told.send(one);
            }
            if batch.reached == told {
                break;
            }
            told = batch.reached;
        }
    }
}

struct Batch {
    told: Vec<Told>,
    /// The trail was read up to here.
    reached: i64,
}

/// What the trail holds after a number: of each clip the last entry, with the clip as it is now.
async fn read(app: &App, after: i64) -> Result<Batch, LibraryError> {
    let rows = app.index.clips_after(after, AT_ONCE).await?;
    let reached = rows.last().map_or(after, |(seq, _)| *seq);
    let mut seen = HashSet::new();
    let mut last: Vec<(i64, ClipId)> = rows
        .iter()
        .rev()
        .filter_map(|(seq, subject)| Some((*seq, subject.parse().ok()?)))
        .filter(|(_, id)| seen.insert(*id))
        .collect();
    last.reverse();
    let mut told = Vec::new();
    for (seq, id) in last {
        let message = match library::view(app, id).await {
            Ok(view) => {
                let clip = ClipJson::new(&view, &app.settings.server.base_url);
                message("state", Some(seq), &clip)
            }
            Err(LibraryError::NotFound) => {
                message("removed", Some(seq), &serde_json::json!({"id": id}))
            }
            Err(error) => return Err(error),
        };
        told.push(Told { seq, message });
    }
    Ok(Batch { told, reached })
}

#[derive(Serialize)]
struct Progress {
    id: String,
    #[serde(flatten)]
    progress: ProgressJson,
}

async fn progress(app: &App, id: ClipId) -> Option<Bytes> {
    let view = library::view(app, id).await.ok()?;
    let progress = Progress {
        id: id.to_string(),
        progress: ProgressJson::new(&view),
    };
    Some(message("progress", None, &progress))
}

/// Follows all clips. `state` events carry the clip and an id; with `Last-Event-ID` the stream goes on after it, and begins with
/// `missed` when that was too long ago. `removed` carries the id of a clip that is gone.
#[utoipa::path(get, path = "/api/events", tag = "clips", security((), ("token" = [])),
    params(("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, content_type = "text/event-stream", description = "`state`, `progress`, `removed` and `missed` events"),
              (status = 429, body = ProblemBody),
              (status = 503, body = ProblemBody)))]
pub async fn all(
    app: AppData,
    feed: web::Data<Feed>,
    request: HttpRequest,
) -> Result<HttpResponse, Failed> {
    let asker = visitor::asker(&app, &request);
    let seat = feed.seats.take(asker.mark).answering(&request)?;
    // Listening starts before looking, so that nothing falls between.
    let heard = feed.told.subscribe();
    let now = latest(&app).await.answering(&request)?;
    let mut first = VecDeque::new();
    let told = match last_seen(&request).filter(|seen| (0..=now).contains(seen)) {
        Some(seen) if seen < now - REPLAYED => {
            first.push_back(message("missed", Some(now), &serde_json::json!({})));
            now
        }
        Some(seen) => seen,
        // An id without an event: whoever comes back goes on from here.
        None => {
            first.push_back(Bytes::from(format!("id: {now}\n\n")));
            now
        }
    };
    let listener = Listener {
        behind: told < now,
        hearer: Hearer::reader(&app, &request),
        _seat: seat,
        app,
        heard,
        told,
        ready: first,
    };
    let stream = futures_util::stream::unfold(listener, |mut listener| async move {
        let message = listener.next().await?;
        Some((Ok::<_, actix_web::Error>(message), listener))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(stream))
}

async fn latest(app: &App) -> Result<i64, LibraryError> {
    let last: Result<i64, IndexError> = app.index.last_seq().await;
    Ok(last?)
}

struct Listener {
    app: AppData,
    hearer: Hearer,
    _seat: Seat,
    heard: broadcast::Receiver<Told>,
    /// The number of the last state sent.
    told: i64,
    /// There may be entries in the trail that were not told here.
    behind: bool,
    ready: VecDeque<Bytes>,
}

impl Listener {
    async fn next(&mut self) -> Option<Bytes> {
        let message = self.coming().await?;
        self.hearer.may(&self.app).await.then_some(message)
    }

    async fn coming(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            let stopping = self.app.stopping.clone();
            let heard = tokio::select! {
                heard = self.heard.recv() => heard,
                () = tokio::time::sleep(HEARTBEAT) => return Some(Bytes::from_static(b": still here\n\n")),
                () = stopping.cancelled() => return None,
            };
            match heard {
                Ok(Told { seq: 0, message }) => return Some(message),
                // It was read from the trail already.
                Ok(Told { seq, .. }) if seq <= self.told => {}
                Ok(Told { seq, message }) => {
                    self.told = seq;
                    return Some(message);
                }
                // Too slow to hear all of it: the trail has what was missed.
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Reads on in the trail; none when it cannot be read: the listener comes back and goes on where it was.
    async fn catch_up(&mut self) -> Option<()> {
        let batch = read(&self.app, self.told).await.ok()?;
        self.behind = batch.reached > self.told;
        self.told = batch.reached;
        self.ready
            .extend(batch.told.into_iter().map(|told| told.message));
        Some(())
    }
}
