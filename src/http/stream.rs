//! A source's bytes for a browser: one range, handed on as it is taken, with a head that is ours alone.

use actix_web::body::SizedStream;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};

use tokio_util::sync::CancellationToken;

use super::error::{Failed, For, ProblemBody};
use super::sources::{file, id};
use super::{AppData, SANDBOX, visitor};
use crate::app::desk::Streaming;
use crate::source::relay::{Given, Relay, RelayError, Wanted};
use crate::sources;
use crate::sources::SourcesError;
use crate::sources::stream::{Streamed, stream as open};

/// A source as a browser plays it: its own bytes, or a copy where browsers cannot play those.
#[utoipa::path(get, path = "/api/sources/{id}/stream", tag = "sources",
    params(("id" = String, Path), ("Range" = Option<String>, Header)),
    responses((status = 200, content_type = "video/mp4"), (status = 206, content_type = "video/mp4"),
              (status = "4XX", body = ProblemBody), (status = 502, body = ProblemBody),
              (status = 503, description = "`preview_pending`: the copy is being made", body = ProblemBody)))]
pub async fn stream(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id = id(&request).answering(&request)?;
    let range = request.headers().get(header::RANGE);
    let wanted = range
        .and_then(|range| Wanted::parse(range.to_str().ok()?))
        .unwrap_or(Wanted::All);
    let visitor = visitor::mark(&app, &request);
    match open(&app, id, wanted, visitor).await {
        Ok(Streamed::File { path, kind }) => {
            let seen = sources::show(&app, id).await.answering(&request)?;
            file(&app, &request, path, kind, &seen).await
        }
        Ok(Streamed::Relay { relay, kind, place }) => {
            let stopping = app.stopping.clone();
            Ok(relayed(&request, *relay, kind, (place, stopping)))
        }
        Err(SourcesError::Relay(RelayError::Range {
            length: Some(length),
        })) => {
            let error = SourcesError::Relay(RelayError::Range {
                length: Some(length),
            });
            let mut response = super::error::Problem::from(error).answer(&request);
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            Ok(response)
        }
        Err(error) => Err(error).answering(&request),
    }
}

fn relayed(
    request: &HttpRequest,
    relay: Relay,
    kind: &'static str,
    terms: (Streaming, CancellationToken),
) -> HttpResponse {
    let mut response = HttpResponse::build(match relay.given {
        Given::All(_) => StatusCode::OK,
        Given::Part { .. } => StatusCode::PARTIAL_CONTENT,
    });
    response
        .insert_header((header::CONTENT_TYPE, kind))
        .insert_header((header::CONTENT_SECURITY_POLICY, SANDBOX))
        .insert_header((header::CACHE_CONTROL, "private, no-store"))
        // Only our own pages play it: the service is nobody's mirror.
        .insert_header((header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"))
        // nginx would take it from us as fast as it comes and keep it on its disk.
        .insert_header(("X-Accel-Buffering", "no"));
    let length = match &relay.given {
        Given::All(length) => *length,
        Given::Part { range, length } => {
            let said = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            response
                .insert_header((header::CONTENT_RANGE, said))
                .insert_header((header::ACCEPT_RANGES, "bytes"));
            Some(range.end - range.start)
        }
    };
    if request.method() == Method::HEAD {
        // The upstream is let go at once.
        let nothing = futures_util::stream::empty::<Result<_, RelayError>>();
        return match length {
            Some(length) => response.body(SizedStream::new(length, nothing)),
            None => response.finish(),
        };
    }
    let pieces = futures_util::stream::unfold(Some((relay, terms)), |held| async move {
        let (mut relay, terms) = held?;
        // A player may take hours; the service does not wait for it to stop.
        let gone = terms.0.taking();
        let taken = terms.1.run_until_cancelled(relay.next());
        let next = gone.run_until_cancelled(taken).await.flatten();
        match next.unwrap_or(Err(RelayError::Timeout)) {
            Ok(Some(piece)) => Some((Ok(piece), Some((relay, terms)))),
            Ok(None) => None,
            // What was promised does not come: the connection ends before its time, and everybody sees it.
            Err(error) => {
                tracing::debug!(error = %error, "a stream broke off");
                Some((Err(error), None))
            }
        }
    });
    match length {
        Some(length) => response.body(SizedStream::new(length, pieces)),
        None => response.streaming(pieces),
    }
}
