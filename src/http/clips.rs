//! `/api/clips`: making, listing, showing, cancelling, retrying and removing clips.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::clip_json::ClipJson;
use super::error::{Failed, For, Problem, ProblemBody, id_of, not_found};
use super::{AppData, ratelimit, visitor};
use crate::access::{self, Caller};
use crate::app::rates;
use crate::app::{App, What};
use crate::clip::change::Change;
use crate::clip::{ClipId, State};
use crate::config::Settings;
use crate::index::listing::Filter;
use crate::library::again::{self, Asked};
use crate::library::several::{self, Wishes};
use crate::library::{self, LibraryError, Right, View, Wish};
use crate::recipe::{Limits, Recipe};
use crate::seconds::Seconds;
use crate::sources::estimate;

/// A page of clips.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ClipList {
    pub clips: Vec<ClipJson>,
    /// Pass as `cursor` for the next page; null on the last.
    pub next: Option<String>,
}

/// What a list shows.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// `next` of the page before.
    cursor: Option<String>,
    /// Only clips in this state.
    state: Option<String>,
    /// Only clips whose title holds this text.
    text: Option<String>,
    /// 1 to 100; 20 unless said.
    limit: Option<String>,
}

/// What `POST /api/clips` takes.
#[derive(utoipa::ToSchema)]
#[schema(as = Recipe, example = json!({"url": "https://example.com/v.mp4", "start_time": "1:23.5", "end_time": 95}))]
#[expect(
    dead_code,
    reason = "read by the OpenAPI document only; the recipe's own parser gives better errors"
)]
pub struct RecipeBody {
    /// http or https; this or `upload`.
    url: Option<String>,
    /// The id of a complete upload; this or `url`.
    upload: Option<String>,
    /// Seconds or clock time (`83.5`, `1:23.5`, `1:02:03`); together with `end_time`, or use `segments`.
    #[schema(value_type = Option<Time>)]
    start_time: Option<Time>,
    #[schema(value_type = Option<Time>)]
    end_time: Option<Time>,
    segments: Option<Vec<SegmentBody>>,
    /// `exact` (default) or `fast`.
    mode: Option<String>,
    /// `mp4` (default), `webm`, `gif`, `webp`, `mp3`, `m4a` or `jpg`.
    format: Option<String>,
    title: Option<String>,
    /// The name of a preset (`GET /api/presets`); fields given beside it win, and null takes one of its fields away.
    preset: Option<String>,
    /// The most bytes that the file may have, like `10MB` (decimal) or `8MiB`.
    fit: Option<String>,
    /// `9:16`, `1:1@left`, `4:5@30%`; in pixels of the picture as shown `640x360+100+50`; in shares of it `50%x50%+25%+25%`.
    crop: Option<String>,
    /// 16 to 4320, after cropping; never scaled up.
    height: Option<u32>,
    /// At most so many pictures a second, 1 to 120.
    fps: Option<u32>,
    /// 0.25 to 4; the pitch stays.
    speed: Option<f64>,
    mute: Option<bool>,
    /// 0 to 4; 1 is as loud as the source.
    volume: Option<f64>,
    /// The loudness of the whole clip in LUFS (EBU R 128), -40 to -8.
    loudness: Option<f64>,
    /// Seconds at the beginning over which pictures and sound come up.
    fade_in: Option<f64>,
    /// Seconds at the end over which they go down.
    fade_out: Option<f64>,
    /// Backward, sound included; at most 60 s.
    reverse: Option<bool>,
    /// Forward and then backward; at most 60 s.
    boomerang: Option<bool>,
    /// At most 300 characters; line breaks are kept.
    caption_top: Option<String>,
    caption_bottom: Option<String>,
    /// Captions in capital letters.
    caption_upper: Option<bool>,
    /// A small text in the lower right corner, at most 80 characters on one line.
    watermark: Option<String>,
}

/// One stretch.
#[derive(utoipa::ToSchema)]
#[schema(as = Segment)]
#[expect(dead_code, reason = "as above")]
pub struct SegmentBody {
    start: Time,
    end: Time,
}

/// Seconds or clock time.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
pub enum Time {
    Seconds(f64),
    Clock(String),
}

const MOST_WAIT: u64 = 60;

/// Makes a clip: answers at once with the queued clip and its delete token.
#[utoipa::path(post, path = "/api/clips", tag = "clips", security((), ("token" = [])), request_body = RecipeBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body bring back the first answer."),
           ("Prefer" = Option<String>, Header, description = "`wait=N` answers after up to N seconds, sooner when the clip is settled.")),
    responses((status = 202, description = "Queued", body = ClipJson), (status = 200, description = "Settled within the wait", body = ClipJson),
              (status = "4XX", body = ProblemBody), (status = 503, body = ProblemBody), (status = 507, body = ProblemBody)))]
pub async fn submit(
    app: AppData,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Failed> {
    let wish = wish(&app, &request, body).answering(&request)?;
    // What was answered before is answered again, whatever is known by now.
    let answered = library::answered(&app, &wish.asker, wish.idempotency.as_ref()).await;
    if !answered.answering(&request)? {
        let possible = estimate::possible(&app, &wish.recipe).await;
        possible.answering(&request)?;
    }
    let standing = library::count(&app, &wish).await.answering(&request)?;
    let mut news = app.bus.listen();
    let view = library::submit(&app, wish).await.answering(&request)?;
    let id = view.clip.id;
    // The one line that ties a request to its clip.
    tracing::info!(clip = %id, request = id_of(&request), "clip submitted");
    let wait = preferred_wait(request.headers());
    let view = match wait {
        Some(seconds) => {
            let settled =
                async {
                    while !library::view(&app, id)
                        .await
                        .is_ok_and(|view| view.clip.state.is_settled())
                    {
                        while news.recv().await.is_ok_and(|news| {
                            news.clip != id || matches!(news.what, What::Progress)
                        }) {}
                    }
                };
            let _ = tokio::time::timeout(Duration::from_secs(seconds), settled).await;
            library::view(&app, id).await.answering(&request)?
        }
        None => view,
    };
    let answer = submitted(&app, &view);
    let status = if wait.is_some() && view.clip.state.is_settled() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let mut response = HttpResponse::build(status);
    response.insert_header((header::LOCATION, answer.urls.own.clone()));
    if let Some(seconds) = wait {
        response.insert_header(("Preference-Applied", format!("wait={seconds}")));
    }
    Ok(ratelimit::told(response.json(answer), standing))
}

fn wish(
    app: &App,
    request: &HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<Wish, Problem> {
    let body = body_of(app, request, body)?;
    Ok(Wish {
        recipe: Recipe::from_json(&body, &limits(&app.settings))?,
        asker: visitor::asker(app, request),
        idempotency: idempotency(request.headers(), &body)?,
    })
}

/// What the settings allow a recipe.
pub(super) fn limits(settings: &Settings) -> Limits<'_> {
    Limits {
        max_clip: Seconds::from_whole(i64::from(settings.limits.max_clip_seconds)),
        max_segments: settings.limits.max_segments,
        presets: Some(&settings.presets),
    }
}

/// The bytes of a JSON body.
///
/// # Errors
/// When it is said to be something else, is too large, or did not arrive whole.
pub(super) fn body_of(
    app: &App,
    request: &HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<web::Bytes, Problem> {
    let headers = request.headers();
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            "The body has to be JSON.",
            "Send the header Content-Type: application/json.",
        ));
    }
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_encoding",
            "Compressed bodies are not taken.",
            "Send the body as it is.",
        ));
    }
    body.map_err(|error| unreadable(app, &error))
}

fn unreadable(app: &App, error: &actix_web::Error) -> Problem {
    if error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE {
        let most = app.settings.limits.body;
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("The body is larger than {most}."),
            "A recipe needs a few hundred bytes; send less.",
        );
    }
    Problem::new(
        StatusCode::BAD_REQUEST,
        "body_incomplete",
        "The body did not arrive whole.",
        "Send the request again.",
    )
}

fn idempotency(headers: &HeaderMap, body: &[u8]) -> Result<Option<(String, String)>, Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = key
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()))
        .ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "idempotency_key_invalid",
                "The Idempotency-Key is not 1 to 255 plain characters.",
                "Use for example a UUID.",
            )
        })?;
    let hash = Sha256::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Some((key.to_owned(), hash)))
}

/// `Prefer: wait=N` (RFC 7240 section 4.3), bounded.
fn preferred_wait(headers: &HeaderMap) -> Option<u64> {
    let preferences = headers
        .get_all("prefer")
        .filter_map(|value| value.to_str().ok());
    preferences
        .flat_map(|value| value.split([',', ';']))
        .filter_map(|preference| preference.trim().split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, seconds)| seconds.trim().parse::<u64>().ok())
        .map(|seconds| seconds.min(MOST_WAIT))
}

/// Lists clips, the newest first.
#[utoipa::path(get, path = "/api/clips", tag = "clips", security((), ("token" = [])), params(ListQuery),
    responses((status = 200, body = ClipList), (status = 400, body = ProblemBody)))]
pub async fn list(
    app: AppData,
    request: HttpRequest,
    query: web::Query<ListQuery>,
) -> Result<HttpResponse, Failed> {
    let filter = filter(&query).answering(&request)?;
    let limit = filter.limit as usize;
    // One more than shown tells whether there is a next page.
    let mut views = library::list(
        &app,
        Filter {
            limit: filter.limit + 1,
            ..filter
        },
    )
    .await
    .answering(&request)?;
    let more = views.len() > limit;
    views.truncate(limit);
    let next = views
        .last()
        .filter(|_| more)
        .map(|view| view.clip.id.to_string());
    let clips = views
        .iter()
        .map(|view| ClipJson::new(view, &app.settings.server.base_url))
        .collect();
    Ok(HttpResponse::Ok().json(ClipList { clips, next }))
}

fn filter(query: &ListQuery) -> Result<Filter, Problem> {
    let wrong =
        |code, detail: &str, hint: &str| Problem::new(StatusCode::BAD_REQUEST, code, detail, hint);
    let before = match query.cursor.as_deref() {
        None | Some("") => None,
        Some(cursor) => Some(cursor.parse().map_err(|_| {
            wrong(
                "cursor_invalid",
                "This is not a cursor.",
                "Pass next of the page before.",
            )
            .at("cursor")
        })?),
    };
    let state = match query.state.as_deref() {
        None | Some("") => None,
        Some(state) => Some(state.parse::<State>().map_err(|()| {
            let words: Vec<&str> = State::ALL.into_iter().map(State::as_str).collect();
            wrong(
                "state_unknown",
                "There is no such state.",
                &format!("The states are {}.", words.join(", ")),
            )
            .at("state")
        })?),
    };
    let limit = match query.limit.as_deref() {
        None | Some("") => 20,
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=100).contains(limit))
            .ok_or_else(|| {
                wrong(
                    "limit_invalid",
                    "The limit is a number from 1 to 100.",
                    "Leave it out for 20.",
                )
                .at("limit")
            })?,
    };
    Ok(Filter {
        state,
        text: query.text.clone().filter(|text| !text.is_empty()),
        before,
        limit,
    })
}

/// Shows a clip.
#[utoipa::path(get, path = "/api/clips/{id}", tag = "clips", params(("id" = String, Path)),
    responses((status = 200, body = ClipJson), (status = 404, body = ProblemBody)))]
pub async fn show(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id = id(&request).answering(&request)?;
    let view = library::view(&app, id).await.answering(&request)?;
    Ok(render(&app, &view))
}

/// Cancels a clip; its sidecars are killed.
#[utoipa::path(post, path = "/api/clips/{id}/cancel", tag = "clips", params(("id" = String, Path)), security(("delete_token" = []), ("token" = [])),
    responses((status = 200, body = ClipJson), (status = "4XX", body = ProblemBody)))]
pub async fn cancel(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id = owned(&app, &request).await?;
    let view = library::cancel(&app, id).await.answering(&request)?;
    Ok(render(&app, &view))
}

/// Makes a clip again that failed, was cancelled or has expired.
#[utoipa::path(post, path = "/api/clips/{id}/retry", tag = "clips", params(("id" = String, Path)), security(("delete_token" = []), ("token" = [])),
    responses((status = 202, body = ClipJson), (status = "4XX", body = ProblemBody)))]
pub async fn retry(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id = owned(&app, &request).await?;
    // What cannot be done does not count.
    let view = library::view(&app, id).await.answering(&request)?;
    let state = view.clip.state;
    if !matches!(state, State::Failed | State::Cancelled | State::Expired) {
        return Err(LibraryError::State(state.as_str(), "made again")).answering(&request);
    }
    let asker = visitor::asker(&app, &request);
    let standing = access::count(&app, &asker, rates::Asked::Clips).answering(&request)?;
    let view = library::retry(&app, id, asker.allowance).await;
    let view = view.answering(&request)?;
    let answer = ClipJson::new(&view, &app.settings.server.base_url);
    let response = HttpResponse::Accepted().json(answer);
    Ok(ratelimit::told(response, standing))
}

/// What `PATCH /api/clips/{id}` takes; what is left out stays as it is. Beside these any field of a recipe but its source, `null` to take one
/// away: then the clip is made again under the same link, and what is there is served until the new file is.
#[derive(utoipa::ToSchema)]
#[schema(as = Change, example = json!({"pinned": true}))]
#[expect(
    dead_code,
    reason = "read by the OpenAPI document only; the change's own parser gives better errors"
)]
pub struct ChangeBody {
    /// At most 300 characters.
    title: Option<String>,
    /// A pinned clip does not expire. By the clip's own token only while there is room for pins (`retention.pinned_percent`).
    pinned: Option<bool>,
    /// A moment to come, like `2027-01-31T18:00:00Z`; by the clip's own token at most `retention.max_days` ahead.
    expires_at: Option<String>,
}

/// Changes a clip's title, or how long it is kept; or has it made again by another recipe, under the same link.
#[utoipa::path(patch, path = "/api/clips/{id}", tag = "clips", request_body = ChangeBody, params(("id" = String, Path)),
    security(("delete_token" = []), ("token" = [])),
    responses((status = 200, body = ClipJson), (status = 202, description = "Queued, to be made again", body = ClipJson),
              (status = "4XX", body = ProblemBody), (status = 503, body = ProblemBody), (status = 507, body = ProblemBody)))]
pub async fn change(
    app: AppData,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Failed> {
    let (id, right) = held(&app, &request).await?;
    let body = body_of(&app, &request, body).answering(&request)?;
    let change = Change::from_json(&body).answering(&request)?;
    if !change.recipe.is_empty() {
        let asked = again::asked(&app, id, change.clone(), &limits(&app.settings)).await;
        if let Asked::Again(wish) = asked.answering(&request)? {
            let possible = estimate::possible(&app, wish.recipe()).await;
            possible.answering(&request)?;
            return make_again(&app, &request, (id, right), *wish).await;
        }
    }
    let view = library::change(&app, id, change, right)
        .await
        .answering(&request)?;
    Ok(render(&app, &view))
}

async fn make_again(
    app: &App,
    request: &HttpRequest,
    (id, right): (ClipId, Right),
    wish: again::Wish,
) -> Result<HttpResponse, Failed> {
    let asker = visitor::asker(app, request);
    let standing = access::count(app, &asker, rates::Asked::Clips).answering(request)?;
    let view = again::again(app, id, wish, right, asker.allowance).await;
    let answer = ClipJson::new(&view.answering(request)?, &app.settings.server.base_url);
    let response = HttpResponse::Accepted().json(answer);
    Ok(ratelimit::told(response, standing))
}

/// What `POST /api/clips:batch` takes: beside the source and the spans any field of a recipe, for all of them.
#[derive(utoipa::ToSchema)]
#[schema(as = Batch, example = json!({"url": "https://example.com/v.mp4", "spans": [{"start": 10, "end": 15}, {"start": "1:10", "end": "1:20"}]}))]
#[expect(
    dead_code,
    reason = "read by the OpenAPI document only; the recipe's own parser gives better errors"
)]
pub struct BatchBody {
    /// http or https; this or `upload`.
    url: Option<String>,
    /// The id of a complete upload; this or `url`.
    upload: Option<String>,
    /// One clip each; at most `limits.max_segments`, and no more than a visitor may ask for in a minute or have in hand at once.
    spans: Vec<SpanBody>,
}

/// One clip's stretch.
#[derive(utoipa::ToSchema)]
#[schema(as = Span)]
#[expect(dead_code, reason = "as above")]
pub struct SpanBody {
    start: Time,
    end: Time,
    title: Option<String>,
}

/// Clips that were asked for together.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Batch {
    /// In the order of the spans.
    pub ids: Vec<String>,
    /// Each with its `delete_token`.
    pub clips: Vec<ClipJson>,
}

/// Makes several clips of one source: all of them are queued, or none. What lies close together is fetched once.
#[utoipa::path(post, path = "/api/clips:batch", tag = "clips", security((), ("token" = [])), request_body = BatchBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body bring back the first answer.")),
    responses((status = 202, description = "Queued", body = Batch), (status = "4XX", body = ProblemBody), (status = 503, body = ProblemBody),
              (status = 507, body = ProblemBody)))]
pub async fn batch(
    app: AppData,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Failed> {
    let wishes = wishes(&app, &request, body).answering(&request)?;
    let answered = library::answered(&app, &wishes.asker, wishes.idempotency.as_ref()).await;
    // They differ in their spans alone, and a picture is as large everywhere.
    if let Some(recipe) = wishes.recipes.first()
        && !answered.answering(&request)?
    {
        let possible = estimate::possible(&app, recipe).await;
        possible.answering(&request)?;
    }
    let standing = several::count(&app, &wishes).await.answering(&request)?;
    let views = several::submit(&app, wishes).await.answering(&request)?;
    let clips: Vec<ClipJson> = views.iter().map(|view| submitted(&app, view)).collect();
    for clip in &clips {
        tracing::info!(clip = %clip.id, request = id_of(&request), "clip submitted");
    }
    let ids = clips.iter().map(|clip| clip.id.clone()).collect();
    let response = HttpResponse::Accepted().json(Batch { ids, clips });
    Ok(ratelimit::told(response, standing))
}

fn wishes(
    app: &App,
    request: &HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<Wishes, Problem> {
    let body = body_of(app, request, body)?;
    let asker = visitor::asker(app, request);
    let mut limits = limits(&app.settings);
    // More than this would be too many whenever they are asked for.
    if let Some(most) = several::most(app, asker.allowance) {
        limits.max_segments = limits.max_segments.min(most as usize);
    }
    Ok(Wishes {
        recipes: Recipe::several_from_json(&body, &limits)?,
        asker,
        idempotency: idempotency(request.headers(), &body)?,
    })
}

/// A clip as whoever asked for it may see it.
fn submitted(app: &App, view: &View) -> ClipJson {
    let mut answer = ClipJson::new(view, &app.settings.server.base_url);
    answer.delete_token = Some(app.secret.delete_token(view.clip.id));
    // Whoever asked knows the upload's id already.
    answer.recipe = serde_json::to_value(&view.clip.recipe).unwrap_or_default();
    answer
}

/// Removes a clip. Its files stay in the trash for `retention.trash_hours`, where only the operator can bring them back.
#[utoipa::path(delete, path = "/api/clips/{id}", tag = "clips", params(("id" = String, Path)), security(("delete_token" = []), ("token" = [])),
    responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub async fn remove(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id = owned(&app, &request).await?;
    library::remove(&app, id).await.answering(&request)?;
    Ok(HttpResponse::NoContent().finish())
}

/// The clip that the path names; anything that is not an id names none.
///
/// # Errors
/// `not_found`.
pub(super) fn id(request: &HttpRequest) -> Result<ClipId, Problem> {
    request
        .match_info()
        .get("id")
        .and_then(|id| id.parse().ok())
        .ok_or_else(not_found)
}

async fn owned(app: &App, request: &HttpRequest) -> Result<ClipId, Failed> {
    held(app, request).await.map(|(id, _)| id)
}

async fn held(app: &App, request: &HttpRequest) -> Result<(ClipId, Right), Failed> {
    let id = id(request).answering(request)?;
    let caller = request.extensions().get::<Caller>().cloned();
    let authorized = library::authorize(app, id, caller.as_ref(), visitor::token(request)).await;
    if let Err(LibraryError::TokenWrong) = &authorized {
        super::access::wrong_token(app, request).answering(request)?;
    }
    let right = authorized.answering(request)?;
    Ok((id, right))
}

fn render(app: &App, view: &View) -> HttpResponse {
    HttpResponse::Ok().json(ClipJson::new(view, &app.settings.server.base_url))
}
