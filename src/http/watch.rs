//! `/api/admin/...` for whoever runs the service: disk, queue, readings over time, verdicts and checks. Nothing here names a visitor.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::AppData;
use super::error::{Failed, For, Problem, ProblemBody};
use super::health::{Check, word};
use crate::app::watch::{Forecast, Kept};
use crate::clip::State;
use crate::index::records::{Bucket, PastCheck, Stretch};
use crate::library::{LibraryError, View};
use crate::monitor::readings::{METRICS, Metric};
use crate::monitor::{self, readings, report};
use crate::timestamp::Timestamp;
use crate::verdict::{Resource, Verdict};

/// How the disk is.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Disk)]
pub struct DiskJson {
    total_bytes: u64,
    available_bytes: u64,
    /// What the service keeps, by kind; counted at most a minute ago.
    kept: KeptJson,
    /// What the work in the queue and in hand is expected to take.
    reserved_bytes: u64,
    marks: MarksJson,
    /// When the disk is full at the present rate; null when it does not fill.
    forecast: Option<ForecastJson>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct KeptJson {
    clips_bytes: u64,
    uploads_bytes: u64,
    previews_bytes: u64,
    /// Kept of what was fetched for clips.
    windows_bytes: u64,
    work_bytes: u64,
    trash_bytes: u64,
    index_bytes: u64,
    total_bytes: u64,
}

/// Below `floor_bytes` free no clip is taken; above `high_percent` of `max_bytes` the keeper makes room down to `low_percent`.
#[derive(Serialize, utoipa::ToSchema)]
struct MarksJson {
    floor_bytes: u64,
    max_bytes: u64,
    high_percent: u32,
    low_percent: u32,
}

#[derive(Serialize, utoipa::ToSchema)]
struct ForecastJson {
    bytes_per_second: f64,
    full_in_seconds: u64,
    #[schema(value_type = String, format = DateTime)]
    full_at: Timestamp,
}

impl KeptJson {
    fn new(kept: &Kept) -> KeptJson {
        KeptJson {
            clips_bytes: kept.clips,
            uploads_bytes: kept.uploads,
            previews_bytes: kept.previews,
            windows_bytes: kept.windows,
            work_bytes: kept.work,
            trash_bytes: kept.trash,
            index_bytes: kept.index,
            total_bytes: [
                kept.clips,
                kept.uploads,
                kept.previews,
                kept.windows,
                kept.work,
                kept.trash,
                kept.index,
            ]
            .iter()
            .sum(),
        }
    }
}

impl ForecastJson {
    fn new(forecast: Forecast, now: Timestamp) -> ForecastJson {
        let seconds = forecast.full_in_seconds.max(0.0) as u64;
        ForecastJson {
            bytes_per_second: forecast.bytes_per_second,
            full_in_seconds: seconds,
            full_at: now.plus_millis(i64::try_from(seconds).unwrap_or(i64::MAX / 1000) * 1000),
        }
    }
}

/// The disk: how full it is, with what, and when it will be.
#[utoipa::path(get, path = "/api/admin/disk", tag = "operation", security(("token" = [])),
    responses((status = 200, body = DiskJson), (status = "4XX", body = ProblemBody)))]
pub async fn disk(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let disk = report::disk(&app).await.answering(&request)?;
    Ok(HttpResponse::Ok().json(DiskJson {
        total_bytes: disk.total,
        available_bytes: disk.available,
        kept: KeptJson::new(&disk.kept),
        reserved_bytes: disk.reserved,
        marks: MarksJson {
            floor_bytes: disk.floor.0,
            max_bytes: disk.max.0,
            high_percent: disk.high_percent,
            low_percent: disk.low_percent,
        },
        forecast: disk
            .forecast
            .map(|forecast| ForecastJson::new(forecast, app.now())),
    }))
}

/// Which readings are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// The name of what is read; without it the names are listed.
    metric: Option<String>,
    /// RFC 3339; a day before `to` unless said.
    from: Option<String>,
    /// RFC 3339; now unless said.
    to: Option<String>,
    /// Into how many parts the time is divided, 1 to 1000; 200 unless said.
    points: Option<String>,
}

/// Readings over time.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = History)]
pub struct HistoryJson {
    metric: &'static str,
    unit: &'static str,
    /// Each with `at` (where its part of the time begins), `min`, `mean`, `max` and `count`; parts without a reading are left out.
    #[schema(value_type = Vec<Object>)]
    points: Vec<Bucket>,
}

/// What is read.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Metrics)]
pub struct MetricsJson {
    metrics: Vec<MetricJson>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct MetricJson {
    name: &'static str,
    unit: &'static str,
    about: &'static str,
}

/// Readings over time, or what there is to read.
#[utoipa::path(get, path = "/api/admin/history", tag = "operation", security(("token" = [])), params(HistoryQuery),
    responses((status = 200, description = "The readings, or without `metric` their names", body = HistoryJson),
              (status = "4XX", body = ProblemBody)))]
pub async fn history(
    app: AppData,
    request: HttpRequest,
    query: web::Query<HistoryQuery>,
) -> Result<HttpResponse, Failed> {
    let Some(name) = query.metric.as_deref().filter(|name| !name.is_empty()) else {
        let metrics = METRICS.iter().map(|metric| MetricJson {
            name: metric.name,
            unit: metric.unit,
            about: metric.about,
        });
        return Ok(HttpResponse::Ok().json(MetricsJson {
            metrics: metrics.collect(),
        }));
    };
    let (metric, stretch) = wanted(name, &query, app.now()).answering(&request)?;
    let points = app
        .index
        .history(metric.name, stretch)
        .await
        .map_err(LibraryError::from)
        .answering(&request)?;
    Ok(HttpResponse::Ok().json(HistoryJson {
        metric: metric.name,
        unit: metric.unit,
        points,
    }))
}

fn wanted(
    name: &str,
    query: &HistoryQuery,
    now: Timestamp,
) -> Result<(&'static Metric, Stretch), Problem> {
    const DAY: i64 = 86_400_000;
    let wrong = |code, detail: &str, hint: &str, field: &str| {
        Problem::new(StatusCode::BAD_REQUEST, code, detail, hint).at(field)
    };
    let metric = readings::find(name).ok_or_else(|| {
        wrong(
            "metric_unknown",
            "Nothing of this name is read.",
            "GET /api/admin/history lists what is.",
            "metric",
        )
    })?;
    let time = |value: &Option<String>, otherwise: Timestamp, field| match value.as_deref() {
        None | Some("") => Ok(otherwise),
        Some(text) => serde_json::from_value(text.into()).map_err(|_| {
            wrong(
                "time_invalid",
                "This is not a time.",
                "Write it like 2026-01-31T12:00:00Z.",
                field,
            )
        }),
    };
    let to = time(&query.to, now.plus_millis(1), "to")?;
    let from = time(&query.from, to.plus_millis(-DAY), "from")?;
    if from >= to {
        return Err(wrong(
            "time_order",
            "The time ends before it begins.",
            "Choose from before to.",
            "from",
        ));
    }
    let points = match query.points.as_deref() {
        None | Some("") => 200,
        Some(points) => points
            .parse()
            .ok()
            .filter(|points| (1..=1000).contains(points))
            .ok_or_else(|| {
                wrong(
                    "points_invalid",
                    "The number of points is one from 1 to 1000.",
                    "Leave it out for 200.",
                    "points",
                )
            })?,
    };
    Ok((metric, Stretch { from, to, points }))
}

/// What is done and what waits.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Queue)]
pub struct QueueJson {
    slots: usize,
    running: Vec<JobJson>,
    /// The next one first.
    waiting: Vec<JobJson>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct JobJson {
    id: String,
    title: String,
    state: State,
    position: Option<u64>,
    progress: Option<f64>,
    /// Since it was asked for.
    age_seconds: u64,
    eta_seconds: Option<f64>,
    attempts: u32,
}

impl JobJson {
    fn new(view: &View, now: Timestamp) -> JobJson {
        let age = now.0.saturating_sub(view.clip.created_at.0).max(0);
        JobJson {
            id: view.clip.id.to_string(),
            title: view.clip.title.clone(),
            state: view.clip.state,
            position: view.queue_position,
            progress: view.progress,
            age_seconds: age.unsigned_abs() / 1000,
            eta_seconds: view.eta_seconds,
            attempts: view.clip.attempts,
        }
    }
}

/// What is done and what waits, without whom for.
#[utoipa::path(get, path = "/api/admin/queue", tag = "operation", security(("token" = [])),
    responses((status = 200, body = QueueJson), (status = "4XX", body = ProblemBody)))]
pub async fn queue(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let (running, waiting) = report::queue(&app).await.answering(&request)?;
    let now = app.now();
    let shown = |views: &[View]| views.iter().map(|view| JobJson::new(view, now)).collect();
    Ok(HttpResponse::Ok().json(QueueJson {
        slots: app.slots(),
        running: shown(&running),
        waiting: shown(&waiting),
    }))
}

/// How everything is judged, and how the checks went.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Verdicts)]
pub struct HealthJson {
    /// The worst of all: `ok`, `high` or `critical`.
    #[schema(value_type = String)]
    verdict: Verdict,
    resources: Vec<ResourceJson>,
    checks: Vec<Check>,
    /// Changes of checks with `at`, `name`, `status` and `detail`, the newest first.
    #[schema(value_type = Vec<Object>)]
    history: Vec<PastCheck>,
    /// Alerts that did not arrive yet.
    alerts_pending: u32,
}

#[derive(Serialize, utoipa::ToSchema)]
struct ResourceJson {
    #[schema(value_type = String)]
    resource: Resource,
    #[schema(value_type = String)]
    verdict: Verdict,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    detail: String,
    hint: String,
}

/// Verdicts, checks and the history of checks.
#[utoipa::path(get, path = "/api/admin/health", tag = "operation", security(("token" = [])),
    responses((status = 200, body = HealthJson), (status = "4XX", body = ProblemBody)))]
pub async fn health(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    const SHOWN: u32 = 200;
    let (_, checks) = monitor::recent_health(&app).await;
    let history = app
        .index
        .past_checks(SHOWN)
        .await
        .map_err(LibraryError::from)
        .answering(&request)?;
    let (_, alerts_pending) = app
        .index
        .pending_alerts()
        .await
        .map_err(LibraryError::from)
        .answering(&request)?;
    let resources = app
        .watch
        .verdicts()
        .into_iter()
        .map(|(resource, judged)| ResourceJson {
            resource,
            verdict: judged.standing.verdict,
            since: judged.since,
            detail: judged.detail,
            hint: judged.hint,
        });
    Ok(HttpResponse::Ok().json(HealthJson {
        verdict: app.watch.verdict(),
        resources: resources.collect(),
        checks: checks
            .into_iter()
            .map(|result| Check {
                name: result.name,
                status: word(result.ok),
                detail: result.detail,
            })
            .collect(),
        history,
        alerts_pending,
    }))
}
