//! `/api/sources`: looking at a source before anything is cut, its filmstrip and its waveform.

use actix_files::NamedFile;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::clips::{Time, body_of, limits};
use super::error::{Failed, For, Problem, ProblemBody, not_found};
use super::source_json::SourceJson;
use super::{AppData, SANDBOX, ratelimit, visitor};
use crate::access;
use crate::app::App;
use crate::app::rates::Asked;
use crate::library::blocking;
use crate::recipe::{Inquiry, Mode};
use crate::sighting::{Seen, SourceId};
use crate::sources::{self, Look};
use crate::store::previews::Part;

/// What `POST /api/sources` takes.
#[derive(utoipa::ToSchema)]
#[schema(as = Inquiry, example = json!({"url": "https://example.com/v.mp4"}))]
#[expect(
    dead_code,
    reason = "read by the OpenAPI document only; the inquiry's own parser gives better errors"
)]
pub struct InquiryBody {
    /// http or https: a file, a playlist (HLS, DASH) or a page; this or `upload`.
    url: Option<String>,
    /// The id of an uploaded file.
    upload: Option<String>,
    /// The stretch that the estimate is about; about 30 s from the middle unless said.
    #[schema(value_type = Option<Time>)]
    start_time: Option<Time>,
    #[schema(value_type = Option<Time>)]
    end_time: Option<Time>,
    /// `exact` (default) or `fast`.
    mode: Option<String>,
}

/// Which half of the filmstrip.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StripQuery {
    /// `vtt` for the cues; `jpg` for the sheet.
    format: Option<String>,
}

/// Looks at a source: what it is made of, where it can be cut, what that may cost.
#[utoipa::path(post, path = "/api/sources", tag = "sources", security((), ("token" = [])), request_body = InquiryBody,
    responses((status = 201, description = "Looked at", body = SourceJson),
              (status = 200, description = "Looked at a short while ago", body = SourceJson),
              (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)))]
pub async fn look(
    app: AppData,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Failed> {
    let body = body_of(&app, &request, body).answering(&request)?;
    let inquiry = Inquiry::from_json(&body, &limits(&app.settings)).answering(&request)?;
    sources::judge(&app, &inquiry).answering(&request)?;
    let asker = visitor::asker(&app, &request);
    let standing = access::count(&app, &asker, Asked::Sources).answering(&request)?;
    let (seen, look) = sources::look(&app, &inquiry, &asker.mark)
        .await
        .answering(&request)?;
    let answer = SourceJson::new(&app, &seen, inquiry.stretch, inquiry.mode).await;
    let status = match look {
        Look::New => StatusCode::CREATED,
        Look::Known => StatusCode::OK,
    };
    let response = HttpResponse::build(status)
        .insert_header((header::LOCATION, answer.urls.own.clone()))
        .json(answer);
    Ok(ratelimit::told(response, standing))
}

/// Shows a source that was looked at.
#[utoipa::path(get, path = "/api/sources/{id}", tag = "sources", params(("id" = String, Path)),
    responses((status = 200, body = SourceJson), (status = 404, body = ProblemBody)))]
pub async fn show(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id = id(&request).answering(&request)?;
    let seen = sources::show(&app, id).await.answering(&request)?;
    let answer = SourceJson::new(&app, &seen, None, Mode::Exact).await;
    Ok(HttpResponse::Ok().json(answer))
}

/// Pictures of a source's keyframes in one sheet, or which of them shows which moment.
#[utoipa::path(get, path = "/api/sources/{id}/filmstrip", tag = "sources",
    params(("id" = String, Path), StripQuery, ("Accept" = Option<String>, Header, description = "`text/vtt` for the cues")),
    responses((status = 200, description = "The sheet, or its cues (WebVTT) with `#xywh=`",
               content((String = "image/jpeg"), (String = "text/vtt"))), (status = 304),
              (status = "4XX", body = ProblemBody), (status = 503, description = "It is being made", body = ProblemBody)))]
pub async fn filmstrip(
    app: AppData,
    request: HttpRequest,
    query: web::Query<StripQuery>,
) -> Result<HttpResponse, Failed> {
    let half = half(&request, query.format.as_deref()).answering(&request)?;
    let id = id(&request).answering(&request)?;
    let seen = sources::show(&app, id).await.answering(&request)?;
    let files = sources::part(&app, &seen, Part::Filmstrip, &visitor::mark(&app, &request)).await;
    let files = files.answering(&request)?;
    let (place, kind) = match half {
        Half::Sheet => (0, "image/jpeg"),
        Half::Cues => (1, "text/vtt; charset=utf-8"),
    };
    let path = files.into_iter().nth(place).ok_or_else(not_found);
    let mut response = file(&app, &request, path.answering(&request)?, kind, &seen).await?;
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// The outline of a source's sound, as audiowaveform writes it: at most 2,000 points.
#[utoipa::path(get, path = "/api/sources/{id}/waveform", tag = "sources", params(("id" = String, Path)),
    responses((status = 200, description = "Peaks: `version`, `channels`, `sample_rate`, `samples_per_pixel`, `bits`, `length`, `data`"),
              (status = 304), (status = "4XX", body = ProblemBody),
              (status = 503, description = "It is being made", body = ProblemBody)))]
pub async fn waveform(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id = id(&request).answering(&request)?;
    let seen = sources::show(&app, id).await.answering(&request)?;
    let files = sources::part(&app, &seen, Part::Waveform, &visitor::mark(&app, &request)).await;
    let path = files.answering(&request)?.into_iter().next();
    let path = path.ok_or_else(not_found).answering(&request)?;
    file(&app, &request, path, "application/json", &seen).await
}

enum Half {
    Sheet,
    Cues,
}

fn half(request: &HttpRequest, format: Option<&str>) -> Result<Half, Problem> {
    let accept = request.headers().get(header::ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok());
    match format {
        Some("vtt") => Ok(Half::Cues),
        Some("jpg") => Ok(Half::Sheet),
        Some(_) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "format_unknown",
            "A filmstrip comes as jpg or vtt.",
            "Leave format out for the sheet.",
        )
        .at("format")),
        None if accept.is_some_and(|kinds| kinds.contains("text/vtt")) => Ok(Half::Cues),
        None => Ok(Half::Sheet),
    }
}

/// The source that the path names; anything that is not an id names none.
pub(super) fn id(request: &HttpRequest) -> Result<SourceId, Problem> {
    request
        .match_info()
        .get("id")
        .and_then(|id| id.parse().ok())
        .ok_or_else(not_found)
}

/// A file of ours with ranges and validators; its type is fixed here.
pub(super) async fn file(
    app: &App,
    request: &HttpRequest,
    path: std::path::PathBuf,
    kind: &'static str,
    seen: &Seen,
) -> Result<HttpResponse, Failed> {
    let opened = blocking(move || NamedFile::open(path)).await;
    let file = opened.map_err(|_| not_found()).answering(request)?;
    let mut response = file.disable_content_disposition().into_response(request);
    let left = (seen.expires_at.0 - app.now().0).max(0) / 1000;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(SANDBOX),
    );
    // Only our own pages show it.
    headers.insert(
        header::CROSS_ORIGIN_RESOURCE_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    if let Ok(value) = HeaderValue::from_str(&format!("private, max-age={left}")) {
        headers.insert(header::CACHE_CONTROL, value);
    }
    Ok(response)
}
