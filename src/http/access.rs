//! The door: each route says who may use it, and nobody else gets as far as its handler.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, web};

use super::error::{Problem, not_found};
use super::{ROUTES, visitor};
use crate::access::{self, Caller};
use crate::app::App;
use crate::config::Create;
use crate::library::LibraryError;
use crate::token::Scope;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Anyone,
    /// Anybody where `auth.create` is `public`, else who may make clips.
    Maker,
    /// Whoever holds what the handler asks for: a clip's delete token, or the scope to manage all clips.
    Holder,
    /// Who has the scope.
    With(Scope),
    /// This machine itself, or who has the scope. Nobody else learns that there is something.
    Local(Scope),
}

/// Lets through who may; handlers find the `Caller`, if there is one, among the request's extensions.
///
/// # Errors
/// Those of the handler.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    match judged(&request).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            Ok(next.call(request).await?.map_into_left_body())
        }
        Err(problem) => {
            let answer = problem.answer(request.request());
            Ok(request.into_response(answer).map_into_right_body())
        }
    }
}

async fn judged(request: &ServiceRequest) -> Result<Option<Caller>, Problem> {
    let Some(app) = request.app_data::<web::Data<App>>().cloned() else {
        return Ok(None);
    };
    let access = of(request);
    let given = visitor::token(request.request()).map(str::to_owned);
    let caller = match &given {
        // A database that is busy is no reason to keep those out who need no token.
        Some(token) if access != Access::Anyone => access::caller(&app, token)
            .await
            .map_err(LibraryError::from)?,
        _ => None,
    };
    let needed = match access {
        Access::Anyone | Access::Holder => return Ok(caller),
        Access::Maker if app.settings.auth.create == Create::Public => return Ok(caller),
        Access::Maker => Scope::ClipCreate,
        Access::With(scope) => scope,
        Access::Local(_) if is_local(&app, request.request()) => return Ok(caller),
        Access::Local(scope) => scope,
    };
    match &caller {
        Some(known) if known.may(needed) => Ok(caller),
        _ if matches!(access, Access::Local(_)) => Err(not_found()),
        Some(_) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "token_scope",
            format!("This token may not do that: it takes the scope {needed}."),
            "Use another token; the operator makes one with meme-maker token create.",
        )),
        None if given.is_some() => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "token_invalid",
            "This token does not count here, or not any more.",
            "Use another token; the operator makes one with meme-maker token create.",
        )),
        None => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "token_needed",
            format!("This takes a token with the scope {needed}."),
            "Send Authorization: Bearer <token>; the operator makes one with meme-maker token create.",
        )),
    }
}

fn of(request: &ServiceRequest) -> Access {
    let Some(pattern) = request.match_pattern() else {
        return Access::Anyone;
    };
    let method = request.method();
    let entry = |wanted: &str| {
        ROUTES
            .iter()
            .find(|entry| entry.path == pattern && entry.method == wanted)
    };
    // What serves GET may serve HEAD.
    let found =
        entry(method.as_str()).or_else(|| (method == Method::HEAD).then(|| entry("GET")).flatten());
    found.map_or(Access::Anyone, |entry| entry.access)
}

fn is_local(app: &App, request: &HttpRequest) -> bool {
    let local = request
        .peer_addr()
        .is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    local && !visitor::forwarded(&app.settings, request)
}
