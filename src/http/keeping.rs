//! `/api/admin/cleanup` and `/api/admin/trash`: what would go and why, having it go now, and bringing back what went by mistake.

use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::clip_json::ClipJson;
use super::error::{Failed, For, ProblemBody};
use super::{AppData, clips};
use crate::app::App;
use crate::index::going::LastRun;
use crate::index::trash::Trashed;
use crate::keeper::{self, Line, Task};
use crate::library::LibraryError;
use crate::retention::{self, Extent, Manner, Report};
use crate::timestamp::Timestamp;
use crate::trash;

/// A preview is shown for so long, in milliseconds.
const KEPT: i64 = 60_000;

/// What would go now, and when the keeper runs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Cleanup {
    /// As it was found at `previewed_at`.
    #[schema(value_type = Report)]
    pub preview: serde_json::Value,
    #[schema(value_type = String, format = DateTime)]
    pub previewed_at: Timestamp,
    pub tasks: Vec<TaskJson>,
}

/// One entry of the keeper's cron table.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TaskJson {
    pub task: &'static str,
    /// Second minute hour day month weekday, in UTC.
    pub expression: String,
    pub running: bool,
    pub last: Option<RunJson>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next: Option<Timestamp>,
}

/// How a run went.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RunJson {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub ms: i64,
    /// How many of each went, and how many bytes.
    #[schema(value_type = Object)]
    pub result: serde_json::Value,
    pub error: Option<String>,
}

/// A page of the trash, the oldest first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TrashList {
    pub trash: Vec<TrashedJson>,
}

/// A clip in the trash.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TrashedJson {
    pub id: String,
    pub title: String,
    /// `removed` or `expired`.
    pub why: String,
    pub bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    pub trashed_at: Timestamp,
    /// When it goes for good, if not before.
    #[schema(value_type = String, format = DateTime)]
    pub goes_at: Timestamp,
}

impl From<Line> for TaskJson {
    fn from(line: Line) -> TaskJson {
        TaskJson {
            task: line.task.name(),
            expression: line.expression,
            running: line.running,
            last: line.last.map(RunJson::from),
            next: line.next,
        }
    }
}

impl From<LastRun> for RunJson {
    fn from(run: LastRun) -> RunJson {
        RunJson {
            at: run.at,
            ms: run.ms,
            result: run.result,
            error: run.error,
        }
    }
}

/// What a clean-up would remove now and why, and the keeper's cron table with last and next runs. Looking goes through all files: it is
/// done once at a time, and its answer is kept for a minute or until a clean-up that is asked for.
#[utoipa::path(get, path = "/api/admin/cleanup", tag = "admin", security(("token" = [])),
    responses((status = 200, body = Cleanup), (status = "4XX", body = ProblemBody)))]
pub async fn preview(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let (previewed_at, preview) = looked(&app).await.answering(&request)?;
    let tasks = keeper::table(&app).await.answering(&request)?;
    let tasks = tasks.into_iter().map(TaskJson::from).collect();
    Ok(HttpResponse::Ok().json(Cleanup {
        preview,
        previewed_at,
        tasks,
    }))
}

async fn looked(app: &App) -> Result<(Timestamp, serde_json::Value), LibraryError> {
    let mut kept = app.keeping.preview.lock().await;
    let now = app.now();
    if let Some((at, preview)) = kept.as_ref()
        && now.0.saturating_sub(at.0) < KEPT
    {
        return Ok((*at, preview.clone()));
    }
    let found = retention::tidy(app, Extent::All, Manner::Preview).await;
    let preview = serde_json::to_value(found).map_err(std::io::Error::other)?;
    *kept = Some((now, preview.clone()));
    Ok((now, preview))
}

/// Cleans up now, as the nightly sweep does; answers when it is done, with what went.
#[utoipa::path(post, path = "/api/admin/cleanup", tag = "admin", security(("token" = [])),
    responses((status = 200, body = Report), (status = "4XX", body = ProblemBody)))]
pub async fn run(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let own = app.clone().into_inner();
    // It goes on when whoever asked has hung up.
    let ran = app
        .errands
        .run(async move { keeper::run(&own, Task::Sweep).await });
    let report = ran
        .await
        .map_err(|error| LibraryError::Io(std::io::Error::other(error)))
        .and_then(|report| report.ok_or(LibraryError::Running))
        .answering(&request)?;
    *app.keeping.preview.lock().await = None;
    Ok(HttpResponse::Ok().json(report))
}

/// What is in the trash, the oldest first, at most a thousand.
#[utoipa::path(get, path = "/api/admin/trash", tag = "admin", security(("token" = [])),
    responses((status = 200, body = TrashList), (status = "4XX", body = ProblemBody)))]
pub async fn trash(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let entries = trash::list(&app).await.answering(&request)?;
    let shown = |entry: Trashed| TrashedJson {
        goes_at: trash::goes_at(&app, &entry),
        id: entry.id.to_string(),
        title: entry.title,
        why: entry.why,
        bytes: entry.bytes,
        trashed_at: entry.trashed_at,
    };
    let trash = entries.into_iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(TrashList { trash }))
}

/// Brings a clip back from the trash, under its old link.
#[utoipa::path(post, path = "/api/admin/trash/{id}/restore", tag = "admin", params(("id" = String, Path)), security(("token" = [])),
    responses((status = 200, body = ClipJson), (status = "4XX", body = ProblemBody)))]
pub async fn restore(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id = clips::id(&request).answering(&request)?;
    let view = trash::restore(&app, id).await.answering(&request)?;
    Ok(HttpResponse::Ok().json(ClipJson::new(&view, &app.settings.server.base_url)))
}
