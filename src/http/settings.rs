//! `/api/admin/settings`: what is set, with what could be a password struck out.

use actix_web::HttpResponse;

use super::AppData;
use super::error::ProblemBody;

/// The settings in force, as `deploy/config.toml` explains them. Secrets are shown as `***`.
#[utoipa::path(get, path = "/api/admin/settings", tag = "admin", security(("token" = [])),
    responses((status = 200, content_type = "application/json", description = "One object a section"),
              (status = "4XX", body = ProblemBody)))]
pub async fn show(app: AppData) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(app.settings.redacted())
}
