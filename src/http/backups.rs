//! Backups for the operator: what there is, and one more.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};

use super::AppData;
use super::error::{Failed, For, Problem, ProblemBody};
use crate::backup::{self, BackupError, Kept, Made};
use crate::cut::sentence;
use crate::worker::chain;

/// Makes a backup into `backup.dir` and answers when it is there and was read again. It is made whoever hangs up.
#[utoipa::path(post, path = "/api/admin/backup", tag = "operation", security(("token" = [])),
    responses((status = 201, body = Made), (status = "4XX", body = ProblemBody), (status = 507, body = ProblemBody)))]
pub async fn make(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let errands = app.clone().into_inner();
    let shared = app.into_inner();
    let made = errands
        .errands
        .run(async move { backup::run(&shared).await })
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error).into()));
    let made = made.answering(&request)?;
    Ok(HttpResponse::Created().json(made))
}

/// Backups in `backup.dir`, the newest first.
#[utoipa::path(get, path = "/api/admin/backups", tag = "operation", security(("token" = [])),
    responses((status = 200, body = [Kept]), (status = "4XX", body = ProblemBody)))]
pub async fn list(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let kept = backup::kept(&app).await.answering(&request)?;
    Ok(HttpResponse::Ok().json(kept))
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Problem {
        let (status, code) = match error.code() {
            "backup_running" => (StatusCode::CONFLICT, "backup_running"),
            "disk_full" => (StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            "disk_low" => (StatusCode::INSUFFICIENT_STORAGE, "disk_low"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "backup_failed"),
        };
        Problem::new(status, code, sentence(&chain(&error)), error.hint())
    }
}
