//! `/api/clips:estimate`: what a clip is going to be and to take, before it is asked for.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::clips::{RecipeBody, body_of, limits};
use super::error::{Failed, For, Problem, ProblemBody};
use super::{AppData, ratelimit, visitor};
use crate::clip::Method;
use crate::cut::sentence;
use crate::estimate::{Picture, Warning};
use crate::recipe::Recipe;
use crate::seconds::Seconds;
use crate::sources::estimate::{self, Estimated, EstimatingError};

/// What is expected of a clip.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ClipEstimate)]
pub struct EstimateJson {
    /// `splice`, `encode` or `copy`.
    #[schema(value_type = String)]
    method: Method,
    /// Why, in one word, as `result.reason` will have it.
    reason: &'static str,
    /// From the worker's first look at it until it is ready.
    seconds: f64,
    /// Of the finished file.
    bytes: u64,
    /// Frames of the source that stay as they are, from 0 to 1 of all.
    share_untouched: f64,
    /// Seconds that it plays; 0 for one picture.
    #[schema(value_type = f64)]
    duration: Seconds,
    /// Null for sound alone, as height and fps; fps for one picture too.
    width: Option<u32>,
    height: Option<u32>,
    fps: Option<f64>,
    /// Bytes of the source that are needed for it; null when nobody knows.
    fetch_bytes: Option<u64>,
    warnings: Vec<WarningJson>,
}

/// Something that may not be as expected.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Warning)]
struct WarningJson {
    /// `gif_larger_than_mp4`, `height_not_reached`, `time_beyond_end`, `fit_not_needed`, `fit_lowers_quality`, `fast_start_differs`,
    /// `no_sound` or `size_guessed`.
    code: &'static str,
    detail: String,
    hint: &'static str,
}

impl From<&Warning> for WarningJson {
    fn from(warning: &Warning) -> WarningJson {
        WarningJson {
            code: warning.code(),
            detail: sentence(&warning.to_string()),
            hint: warning.hint(),
        }
    }
}

impl From<Estimated> for EstimateJson {
    fn from(estimated: Estimated) -> EstimateJson {
        let round = |number: f64| (number * 1000.0).round() / 1000.0;
        let foretold = &estimated.foretold;
        let picture = foretold.picture;
        EstimateJson {
            method: foretold.method,
            reason: foretold.reason,
            seconds: round(estimated.seconds),
            bytes: estimated.bytes,
            share_untouched: round(foretold.untouched),
            duration: foretold.duration,
            width: picture.map(|picture| picture.width),
            height: picture.map(|picture| picture.height),
            fps: picture.and_then(|Picture { fps, .. }| fps).map(round),
            fetch_bytes: foretold.fetched,
            warnings: foretold.warnings.iter().map(WarningJson::from).collect(),
        }
    }
}

impl From<EstimatingError> for Problem {
    fn from(error: EstimatingError) -> Problem {
        match error {
            EstimatingError::Sources(error) => error.into(),
            EstimatingError::Estimate(error) => error.into(),
        }
    }
}

/// Tells what a clip is expected to be and to take. A source that was looked at lately is not touched; any other is looked at first,
/// as by `POST /api/sources`.
#[utoipa::path(post, path = "/api/clips:estimate", tag = "clips", security((), ("token" = [])), request_body = RecipeBody,
    responses((status = 200, body = EstimateJson), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)))]
pub async fn estimate(
    app: AppData,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Failed> {
    let body = body_of(&app, &request, body).answering(&request)?;
    let recipe = Recipe::from_json(&body, &limits(&app.settings)).answering(&request)?;
    let asker = visitor::asker(&app, &request);
    let estimated = estimate::estimate(&app, &recipe, &asker)
        .await
        .answering(&request)?;
    let standing = estimated.standing;
    let response = HttpResponse::Ok().json(EstimateJson::from(estimated));
    Ok(ratelimit::told(response, standing))
}
