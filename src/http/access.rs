//! The door: each route says who may use it, and nobody else gets as far as its handler. It stands at the route itself, so that there is
//! one notion of which route a path leads to: an address may be written in more than one way.

use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, web};
use tokio::time::Instant;

use super::error::{Problem, not_found};
use super::{ROUTES, visitor};
use crate::access::{self, Asker, Caller};
use crate::app::App;
use crate::app::rates::{Asked, TooOften};
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
    /// Anybody where `auth.create` is `public`, else who may read or make clips.
    Reader,
    /// Whoever holds what the handler asks for: a clip's delete token, or the scope to manage all clips.
    Holder,
    /// Who has the scope.
    With(Scope),
    /// This machine itself, or who has the scope. Nobody else learns that there is something.
    Local(Scope),
}

/// What opens `Access::Reader` where that takes a token.
const READERS: &[Scope] = &[Scope::FileRead, Scope::ClipCreate];

/// Lets through who may; handlers find the `Caller`, if there is one, among the request's extensions.
///
/// # Errors
/// Those of the handler.
pub async fn guard(
    path: &'static str,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    match judged(of(path, request.method()), &request).await {
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

async fn judged(access: Access, request: &ServiceRequest) -> Result<Option<Caller>, Problem> {
    // The index is asked only where a token may matter: a busy one keeps nobody from what is for all.
    let Some(app) = request
        .app_data::<web::Data<App>>()
        .filter(|_| access != Access::Anyone)
    else {
        return Ok(None);
    };
    let given = visitor::token(request.request());
    let caller = match given {
        Some(token) => access::caller(app, token)
            .await
            .map_err(LibraryError::from)?,
        None => None,
    };
    let public = app.settings.auth.create == Create::Public;
    let needed = match access {
        Access::Anyone | Access::Holder => return Ok(caller),
        Access::Maker | Access::Reader if public => return Ok(caller),
        Access::Local(_) if is_local(request.request()) => return Ok(caller),
        Access::Maker => &[Scope::ClipCreate][..],
        Access::Reader => READERS,
        Access::With(scope) | Access::Local(scope) => &[scope],
    };
    if let Some(known) = &caller
        && needed.iter().any(|scope| known.may(*scope))
    {
        return Ok(caller);
    }
    // Only now, so that a right token is good however many wrong ones come from the same address.
    let tried = match (&caller, given) {
        (None, Some(_)) => wrong_token(app, request.request()),
        (Some(_), _) | (None, None) => Ok(()),
    };
    if let Access::Local(_) = access {
        return Err(not_found());
    }
    tried?;
    Err(refusal(needed, caller.as_ref(), given))
}

/// Counts a token that does not count, or does not open what it was sent for.
///
/// # Errors
/// When the visitor tried too many within a minute.
pub(super) fn wrong_token(app: &App, request: &HttpRequest) -> Result<(), TooOften> {
    let visitor = Asker::visitor(visitor::mark(app, request));
    access::count(app, &visitor, Asked::WrongTokens).map(drop)
}

fn refusal(needed: &[Scope], caller: Option<&Caller>, given: Option<&str>) -> Problem {
    let words: Vec<&str> = needed.iter().map(|scope| scope.as_str()).collect();
    let words = words.join(" or ");
    let (status, code, detail, hint) = match (caller, given) {
        (Some(_), _) => (
            StatusCode::FORBIDDEN,
            "token_scope",
            format!("This token may not do that: it takes the scope {words}."),
            "Use another token; the operator makes one with meme-maker token create.",
        ),
        (None, Some(_)) => (
            StatusCode::UNAUTHORIZED,
            "token_invalid",
            "This token does not count here, or not any more.".to_owned(),
            "Use another token; the operator makes one with meme-maker token create.",
        ),
        (None, None) => (
            StatusCode::UNAUTHORIZED,
            "token_needed",
            format!("This takes a token with the scope {words}."),
            "Send Authorization: Bearer <token>; the operator makes one with meme-maker token create.",
        ),
    };
    Problem::new(status, code, detail, hint)
}

/// Whoever follows a stream, for as long as they may: it may last for days, and their token be revoked meanwhile.
#[derive(Debug)]
pub(super) struct Hearer {
    /// One of these opens the stream; none where it is open to all.
    needed: &'static [Scope],
    token: String,
    /// When the token was looked at last.
    asked: Instant,
}

impl Hearer {
    /// Somebody whom the door has just let in.
    pub(super) fn new(request: &HttpRequest, needed: &'static [Scope]) -> Hearer {
        Hearer {
            needed,
            token: visitor::token(request).unwrap_or_default().to_owned(),
            asked: Instant::now(),
        }
    }

    /// Of what `Access::Reader` opens.
    pub(super) fn reader(app: &App, request: &HttpRequest) -> Hearer {
        let needed = match app.settings.auth.create {
            Create::Public => &[][..],
            Create::Token => READERS,
        };
        Hearer::new(request, needed)
    }

    /// Whether they may, as it was a second ago at most: progress comes often, and each look is a read.
    pub(super) async fn may(&mut self, app: &App) -> bool {
        const GOOD_FOR: Duration = Duration::from_secs(1);
        self.needed.is_empty() || self.asked.elapsed() < GOOD_FOR || self.may_now(app).await
    }

    /// Whether they may, as it is now.
    pub(super) async fn may_now(&mut self, app: &App) -> bool {
        self.asked = Instant::now();
        let caller = access::caller(app, &self.token).await;
        matches!(caller, Ok(Some(caller)) if self.needed.iter().any(|scope| caller.may(*scope)))
    }
}

fn of(path: &str, method: &Method) -> Access {
    let entry = |wanted: &str| {
        ROUTES
            .iter()
            .find(|entry| entry.path == path && entry.method == wanted)
    };
    // What serves GET may serve HEAD.
    let found =
        entry(method.as_str()).or_else(|| (method == Method::HEAD).then(|| entry("GET")).flatten());
    // No handler takes any other method; that it is so is nobody's business where nobody learns that there is something.
    let hidden = || {
        ROUTES
            .iter()
            .find(|entry| entry.path == path && matches!(entry.access, Access::Local(_)))
    };
    let found = found.or_else(hidden);
    found.map_or(Access::Anyone, |entry| entry.access)
}

/// Whether a program on this machine asks for itself. A proxy asks for somebody else, whether its word is taken or not.
fn is_local(request: &HttpRequest) -> bool {
    let local = request
        .peer_addr()
        .is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    let brought = ["x-forwarded-for", "forwarded", "x-real-ip", "via"]
        .iter()
        .any(|name| request.headers().contains_key(*name));
    local && !brought
}
