//! `/api/admin/tokens`: making, listing and revoking tokens of the service. A token's secret is in the answer that made it and nowhere
//! else.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::AppData;
use super::clips::body_of;
use super::error::{Failed, For, Problem, ProblemBody, not_found};
use crate::access::{self, AccessError};
use crate::index::tokens::Kept;
use crate::recipe::Rule;
use crate::timestamp::Timestamp;
use crate::token::{Grant, GrantError, Scope, TokenId};

/// What `POST /api/admin/tokens` takes.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = TokenWish, example = json!({"scopes": ["clip:create"], "name": "phone"}))]
#[serde(deny_unknown_fields)]
pub struct TokenWish {
    /// `clip:create`, `clip:manage`, `file:read`, `ops:read`, `ops:run`, `admin`.
    scopes: Vec<String>,
    /// What its maker calls it; at most 100 characters.
    #[serde(default)]
    name: String,
}

/// A token as it is shown: all of it but its secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Token)]
pub struct TokenJson {
    id: String,
    name: String,
    /// The words of the scopes.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// To the minute; null until it is used.
    #[schema(value_type = Option<String>)]
    last_used_at: Option<Timestamp>,
    /// Null while it counts.
    #[schema(value_type = Option<String>)]
    revoked_at: Option<Timestamp>,
    /// The token itself, in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// All tokens.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TokenList {
    tokens: Vec<TokenJson>,
}

impl TokenJson {
    /// Without its secret.
    pub fn new(kept: Kept) -> TokenJson {
        TokenJson {
            id: kept.id.to_string(),
            name: kept.name,
            scopes: kept.scopes,
            created_at: kept.created_at,
            last_used_at: kept.used_at,
            revoked_at: kept.revoked_at,
            token: None,
        }
    }

    /// With its secret, for whoever made it.
    pub fn revealed(kept: Kept, secret: String) -> TokenJson {
        TokenJson {
            token: Some(secret),
            ..TokenJson::new(kept)
        }
    }
}

/// Lists tokens, the oldest first, revoked ones too.
#[utoipa::path(get, path = "/api/admin/tokens", tag = "admin", security(("token" = [])),
    responses((status = 200, body = TokenList), (status = "4XX", body = ProblemBody)))]
pub async fn list(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let kept = app.index.tokens().await.map_err(AccessError::from);
    let kept = kept.answering(&request)?;
    let tokens = kept.into_iter().map(TokenJson::new).collect();
    Ok(HttpResponse::Ok().json(TokenList { tokens }))
}

/// Makes a token. `token` in the answer is shown this once.
#[utoipa::path(post, path = "/api/admin/tokens", tag = "admin", security(("token" = [])), request_body = TokenWish,
    responses((status = 201, body = TokenJson), (status = "4XX", body = ProblemBody)))]
pub async fn create(
    app: AppData,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Failed> {
    let body = body_of(&app, &request, body).answering(&request)?;
    let grant = grant(&body).answering(&request)?;
    let (token, kept) = access::create(&app.index, app.now(), grant)
        .await
        .answering(&request)?;
    let place = format!(
        "{}/api/admin/tokens/{}",
        app.settings.server.base_url, kept.id
    );
    Ok(HttpResponse::build(StatusCode::CREATED)
        .insert_header((header::LOCATION, place))
        .json(TokenJson::revealed(kept, token.reveal())))
}

/// Revokes a token at once and for good.
#[utoipa::path(delete, path = "/api/admin/tokens/{id}", tag = "admin", security(("token" = [])), params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub async fn revoke(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id: Option<TokenId> = request
        .match_info()
        .get("id")
        .and_then(|id| id.parse().ok());
    let id = id.ok_or_else(not_found).answering(&request)?;
    access::revoke(&app.index, app.now(), id)
        .await
        .answering(&request)?;
    Ok(HttpResponse::NoContent().finish())
}

fn grant(body: &[u8]) -> Result<Grant, Problem> {
    let wish: TokenWish = serde_json::from_slice(body).map_err(|error| Problem {
        // Where it is wrong; nothing of the body is repeated.
        hint: format!(
            "Send {{\"scopes\": [\"clip:create\"], \"name\": \"...\"}}; line {}, column {} is wrong.",
            error.line(),
            error.column()
        ),
        ..Problem::from(Rule::Json)
    })?;
    let scopes: Result<Vec<Scope>, GrantError> =
        wish.scopes.iter().map(|scope| scope.parse()).collect();
    Ok(Grant::new(&wish.name, scopes?)?)
}
