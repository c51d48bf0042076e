//! How the service is: liveness, readiness with each check named, and figures for Prometheus.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;

use super::AppData;
use super::error::ProblemBody;
use crate::monitor;
use crate::verdict::{Resource, Verdict};

/// How the service is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// `ok` or `failing`.
    pub status: &'static str,
    pub version: &'static str,
    pub checks: Vec<Check>,
    /// The worst of `verdicts`: `ok`, `high` or `critical`.
    #[schema(value_type = String)]
    pub verdict: Verdict,
    /// How each resource is judged.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub verdicts: BTreeMap<Resource, Verdict>,
}

/// One named check.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Check {
    pub name: &'static str,
    /// `ok` or `failing`.
    pub status: &'static str,
    pub detail: String,
}

pub(super) const fn word(ok: bool) -> &'static str {
    if ok { "ok" } else { "failing" }
}

/// The process answers.
#[utoipa::path(get, path = "/api/health/live", tag = "operation", responses((status = 200)))]
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"status": "ok"}))
}

/// The service can make clips.
#[utoipa::path(get, path = "/api/health", tag = "operation",
    responses((status = 200, body = Health), (status = 503, body = Health)))]
pub async fn ready(app: AppData) -> HttpResponse {
    let (ok, results) = monitor::recent_health(&app).await;
    let health = Health {
        status: word(ok),
        version: env!("CARGO_PKG_VERSION"),
        checks: results
            .into_iter()
            .map(|result| Check {
                name: result.name,
                status: word(result.ok),
                detail: result.detail,
            })
            .collect(),
        verdict: app.watch.verdict(),
        verdicts: app
            .watch
            .verdicts()
            .into_iter()
            .map(|(resource, judged)| (resource, judged.standing.verdict))
            .collect(),
    };
    if ok {
        HttpResponse::Ok().json(health)
    } else {
        HttpResponse::ServiceUnavailable().json(health)
    }
}

/// Figures for Prometheus; on this machine, or with the scope `ops:read`.
#[utoipa::path(get, path = "/metrics", tag = "operation", security((), ("token" = [])),
    responses((status = 200, content_type = "text/plain"), (status = 404, body = ProblemBody)))]
pub async fn metrics(figures: web::Data<PrometheusHandle>) -> HttpResponse {
    figures.run_upkeep();
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4")
        .body(figures.render())
}
