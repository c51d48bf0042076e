//! `/api/sources`: looking at a source before anything is cut, its filmstrip and its waveform.

use actix_files::NamedFile;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::clips::{Time, body_of, limits};
use super::error::{Failed, For, Problem, ProblemBody, not_found};
use super::{AppData, SANDBOX};
use crate::app::App;
use crate::clip::Method;
use crate::library::blocking;
use crate::recipe::{Inquiry, Mode, Segment, Source};
use crate::seconds::Seconds;
use crate::sighting::{Seen, SourceId, Splice};
use crate::sources::{self, Look, Preview};
use crate::store::previews::Part;
use crate::timestamp::Timestamp;

/// What `POST /api/sources` takes.
#[derive(utoipa::ToSchema)]
#[schema(as = Inquiry, example = json!({"url": "https://example.com/v.mp4"}))]
#[expect(
    dead_code,
    reason = "read by the OpenAPI document only; the inquiry's own parser gives better errors"
)]
pub struct InquiryBody {
    /// http or https.
    url: String,
    /// The stretch that the estimate is about; about 30 s from the middle unless said.
    #[schema(value_type = Option<Time>)]
    start_time: Option<Time>,
    #[schema(value_type = Option<Time>)]
    end_time: Option<Time>,
    /// `exact` (default) or `fast`.
    mode: Option<String>,
}

/// A source that was looked at.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Source)]
pub struct SourceJson {
    /// UUIDv7.
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The file's own, else the name in its address.
    title: String,
    /// Seconds; null when nobody knows.
    #[schema(value_type = Option<f64>)]
    duration: Option<Seconds>,
    /// One word: `mp4`, `webm`, `matroska`, `mpegts`, …
    container: String,
    video: VideoJson,
    audio: Option<AudioJson>,
    /// Where groups of pictures begin; null where telling would cost all of the source, or where there are more than 10,000.
    #[schema(value_type = Option<Vec<f64>>)]
    keyframes: Option<Vec<Seconds>>,
    /// Where a fast cut can begin; null when unknown, or when it may begin anywhere because it is encoded.
    #[schema(value_type = Option<Vec<f64>>)]
    snap_points: Option<Vec<Seconds>>,
    splice: Splice,
    /// Browsers play it as it is; if not, `/stream` gives a copy.
    playable: bool,
    /// The copy for browsers; null when none is needed.
    preview: Option<PreviewJson>,
    #[schema(value_type = Vec<Object>)]
    chapters: [(); 0],
    #[schema(value_type = Vec<Object>)]
    heatmap: [(); 0],
    thumbnail: Option<String>,
    estimate: EstimateJson,
    /// Bytes that travelled to find all this.
    bytes_fetched: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    urls: SourceUrls,
}

/// Its pictures.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SourceVideo)]
struct VideoJson {
    codec: String,
    /// As shown, after rotation.
    width: u32,
    height: u32,
    fps: Option<f64>,
    /// Degrees clockwise that a player turns the coded picture.
    rotation: u32,
    pixel_format: String,
}

/// Its sound.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SourceAudio)]
struct AudioJson {
    codec: String,
    channels: u32,
    /// Samples per second.
    rate: u32,
}

/// How far the copy for browsers is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SourcePreview)]
struct PreviewJson {
    /// `absent`, `pending`, `ready` or `failed`.
    state: &'static str,
    /// 0 to 1.
    progress: f64,
    /// The code of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What a clip of a stretch is expected to take.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SourceEstimate)]
struct EstimateJson {
    #[schema(value_type = f64)]
    start: Seconds,
    #[schema(value_type = f64)]
    end: Seconds,
    #[schema(value_type = String)]
    mode: Mode,
    /// Null when too little is known to tell.
    method: Option<Method>,
    seconds: f64,
    bytes: u64,
    /// Bytes of the source that are needed for it.
    fetch_bytes: Option<u64>,
}

/// Where things are; relative unless `server.base_url` is set.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct SourceUrls {
    #[serde(rename = "self")]
    own: String,
    stream: String,
    filmstrip: String,
    filmstrip_vtt: String,
    /// Null when there is no sound.
    waveform: Option<String>,
}

/// Which half of the filmstrip.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StripQuery {
    /// `vtt` for the cues; `jpg` for the sheet.
    format: Option<String>,
}

/// Looks at a source: what it is made of, where it can be cut, what that may cost.
#[utoipa::path(post, path = "/api/sources", tag = "sources", request_body = InquiryBody,
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
    let (seen, look) = sources::look(&app, &inquiry).await.answering(&request)?;
    let answer = render(&app, &seen, inquiry.stretch, inquiry.mode).await;
    let status = match look {
        Look::New => StatusCode::CREATED,
        Look::Known => StatusCode::OK,
    };
    Ok(HttpResponse::build(status)
        .insert_header((header::LOCATION, answer.urls.own.clone()))
        .json(answer))
}

/// Shows a source that was looked at.
#[utoipa::path(get, path = "/api/sources/{id}", tag = "sources", params(("id" = String, Path)),
    responses((status = 200, body = SourceJson), (status = 404, body = ProblemBody)))]
pub async fn show(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id = id(&request).answering(&request)?;
    let seen = sources::show(&app, id).await.answering(&request)?;
    let answer = render(&app, &seen, None, Mode::Exact).await;
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
    let files = sources::part(&app, &seen, Part::Filmstrip).await;
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
    let files = sources::part(&app, &seen, Part::Waveform).await;
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

async fn render(app: &App, seen: &Seen, stretch: Option<Segment>, mode: Mode) -> SourceJson {
    let sighting = &seen.sighting;
    let expected = sources::expect(app, seen, stretch, mode);
    let shown = |state, progress| Some((state, progress, None));
    let preview = match sources::preview(app, seen).await {
        Preview::Unneeded => None,
        Preview::Absent => shown("absent", 0.0),
        Preview::Pending(progress) => shown("pending", (progress * 1000.0).round() / 1000.0),
        Preview::Ready => shown("ready", 1.0),
        Preview::Failed(failure) => Some(("failed", 0.0, Some(failure.code))),
    };
    let video = &sighting.video;
    let (width, height) = if matches!(video.rotation, 90 | 270) {
        (video.height, video.width)
    } else {
        (video.width, video.height)
    };
    let own = format!("{}/api/sources/{}", app.settings.server.base_url, seen.id);
    SourceJson {
        id: seen.id.to_string(),
        url: match &seen.source {
            Source::Url(url) => Some(url.to_string()),
            Source::File(_) => None,
        },
        title: sighting.title.clone(),
        duration: sighting.duration,
        container: sighting.container.clone(),
        video: VideoJson {
            codec: video.codec.clone(),
            width,
            height,
            fps: video.fps.map(|fps| (fps * 1000.0).round() / 1000.0),
            rotation: video.rotation,
            pixel_format: video.pixel_format.clone(),
        },
        audio: sighting.audio.as_ref().map(|audio| AudioJson {
            codec: audio.codec.clone(),
            channels: audio.channels,
            rate: audio.rate,
        }),
        keyframes: sighting.keyframes.clone(),
        snap_points: sighting.snap_points().map(<[Seconds]>::to_vec),
        splice: sighting.splice(app.settings.engine.max_height),
        playable: sighting.playable(),
        preview: preview.map(|(state, progress, error)| PreviewJson {
            state,
            progress,
            error,
        }),
        chapters: [],
        heatmap: [],
        thumbnail: None,
        estimate: EstimateJson {
            start: expected.stretch.start,
            end: expected.stretch.end,
            mode: expected.mode,
            method: expected.method,
            seconds: expected.seconds,
            bytes: expected.bytes,
            fetch_bytes: expected.fetched,
        },
        bytes_fetched: sighting.bytes_fetched,
        created_at: seen.created_at,
        expires_at: seen.expires_at,
        urls: SourceUrls {
            stream: format!("{own}/stream"),
            filmstrip: format!("{own}/filmstrip"),
            filmstrip_vtt: format!("{own}/filmstrip?format=vtt"),
            waveform: sighting.audio.as_ref().map(|_| format!("{own}/waveform")),
            own,
        },
    }
}
