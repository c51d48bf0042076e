//! The HTTP face: all routes in one table, what every answer carries, and the shape of the log line of a request. Handlers extract,
//! make one call and render.

pub mod access;
pub mod backups;
pub mod clip_json;
pub mod clips;
pub mod error;
pub mod estimate;
pub mod events;
pub mod feed;
pub mod files;
pub mod health;
pub mod keeping;
pub mod openapi;
pub mod pages;
pub mod presets;
pub mod ratelimit;
pub mod settings;
pub mod source_json;
pub mod sources;
pub mod stream;
pub mod tokens;
pub mod trail;
pub mod uploads;
pub mod visitor;
pub mod watch;

use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{HttpMessage, Route, guard, web};

use crate::app::Shared;
use crate::token::Scope;
use access::Access::{self, Anyone, Holder, Local, Maker, Reader, With};

/// One route.
#[derive(Clone, Copy)]
pub struct Entry {
    pub method: &'static str,
    pub path: &'static str,
    /// In the OpenAPI document.
    pub documented: bool,
    /// Who may use it.
    pub access: Access,
    route: fn() -> Route,
}

const fn api(
    access: Access,
    method: &'static str,
    path: &'static str,
    route: fn() -> Route,
) -> Entry {
    Entry {
        method,
        path,
        documented: true,
        access,
        route,
    }
}

const fn page(method: &'static str, path: &'static str, route: fn() -> Route) -> Entry {
    Entry {
        method,
        path,
        documented: false,
        access: Anyone,
        route,
    }
}

/// What serves GET serves HEAD, without the body (RFC 9110 section 9.1).
fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// Every route there is. Longer paths come before those that would swallow them.
pub const ROUTES: &[Entry] = &[
    api(Maker, "POST", "/api/clips", || {
        web::post().to(clips::submit)
    }),
    api(Maker, "POST", "/api/clips:batch", || {
        web::post().to(clips::batch)
    }),
    api(Reader, "GET", "/api/clips", || web::get().to(clips::list)),
    api(Maker, "POST", "/api/clips:estimate", || {
        web::post().to(estimate::estimate)
    }),
    api(Anyone, "GET", "/api/presets", || {
        web::get().to(presets::list)
    }),
    api(Anyone, "GET", "/api/clips/{id}/events", || {
        web::get().to(events::clip)
    }),
    api(Anyone, "GET", "/api/clips/{id}/download", || {
        get_or_head().to(files::download)
    }),
    api(Holder, "POST", "/api/clips/{id}/cancel", || {
        web::post().to(clips::cancel)
    }),
    api(Holder, "POST", "/api/clips/{id}/retry", || {
        web::post().to(clips::retry)
    }),
    api(Anyone, "GET", "/api/clips/{id}", || {
        web::get().to(clips::show)
    }),
    api(Holder, "PATCH", "/api/clips/{id}", || {
        web::patch().to(clips::change)
    }),
    api(Holder, "DELETE", "/api/clips/{id}", || {
        web::delete().to(clips::remove)
    }),
    api(Anyone, "OPTIONS", uploads::ROOT, || {
        web::method(Method::OPTIONS).to(uploads::options)
    }),
    api(Maker, "POST", uploads::ROOT, || {
        web::post().to(uploads::create)
    }),
    api(Anyone, "HEAD", "/api/uploads/{id}", || {
        web::head().to(uploads::show)
    }),
    api(Anyone, "PATCH", "/api/uploads/{id}", || {
        web::patch().to(uploads::add)
    }),
    api(Anyone, "DELETE", "/api/uploads/{id}", || {
        web::delete().to(uploads::remove)
    }),
    api(Anyone, "GET", "/api/files/clips/{id}/{name}", || {
        web::get().to(files::file)
    }),
    api(Anyone, "HEAD", "/api/files/clips/{id}/{name}", || {
        web::head().to(files::file)
    }),
    api(Maker, "POST", "/api/sources", || {
        web::post().to(sources::look)
    }),
    api(Anyone, "GET", "/api/sources/{id}", || {
        web::get().to(sources::show)
    }),
    api(Anyone, "GET", "/api/sources/{id}/stream", || {
        web::get().to(stream::stream)
    }),
    api(Anyone, "HEAD", "/api/sources/{id}/stream", || {
        web::head().to(stream::stream)
    }),
    api(Anyone, "GET", "/api/sources/{id}/filmstrip", || {
        get_or_head().to(sources::filmstrip)
    }),
    api(Anyone, "GET", "/api/sources/{id}/waveform", || {
        get_or_head().to(sources::waveform)
    }),
    api(With(Scope::OpsRun), "POST", "/api/admin/backup", || {
        web::post().to(backups::make)
    }),
    api(With(Scope::OpsRead), "GET", "/api/admin/backups", || {
        web::get().to(backups::list)
    }),
    api(With(Scope::Admin), "GET", "/api/admin/tokens", || {
        web::get().to(tokens::list)
    }),
    api(With(Scope::Admin), "POST", "/api/admin/tokens", || {
        web::post().to(tokens::create)
    }),
    api(
        With(Scope::Admin),
        "DELETE",
        "/api/admin/tokens/{id}",
        || web::delete().to(tokens::revoke),
    ),
    api(With(Scope::Admin), "GET", "/api/admin/settings", || {
        web::get().to(settings::show)
    }),
    api(Anyone, "GET", "/api/health/live", || {
        web::get().to(health::live)
    }),
    api(Anyone, "GET", "/api/health", || {
        web::get().to(health::ready)
    }),
    api(Anyone, "GET", "/api/openapi.json", || {
        web::get().to(openapi::document)
    }),
    api(With(Scope::OpsRead), "GET", "/api/admin/cleanup", || {
        web::get().to(keeping::preview)
    }),
    api(With(Scope::OpsRun), "POST", "/api/admin/cleanup", || {
        web::post().to(keeping::run)
    }),
    api(With(Scope::ClipManage), "GET", "/api/admin/trash", || {
        web::get().to(keeping::trash)
    }),
    api(
        With(Scope::ClipManage),
        "POST",
        "/api/admin/trash/{id}/restore",
        || web::post().to(keeping::restore),
    ),
    api(Local(Scope::OpsRead), "GET", "/metrics", || {
        web::get().to(health::metrics)
    }),
    api(Reader, "GET", "/api/events", || web::get().to(feed::all)),
    api(With(Scope::OpsRead), "GET", "/api/admin/disk", || {
        web::get().to(watch::disk)
    }),
    api(With(Scope::OpsRead), "GET", "/api/admin/history", || {
        web::get().to(watch::history)
    }),
    api(With(Scope::OpsRead), "GET", "/api/admin/queue", || {
        web::get().to(watch::queue)
    }),
    api(With(Scope::OpsRead), "GET", "/api/admin/events", || {
        web::get().to(trail::trail)
    }),
    api(With(Scope::OpsRead), "GET", "/api/admin/health", || {
        web::get().to(watch::health)
    }),
    page("GET", "/", || get_or_head().to(pages::maker)),
    page("GET", "/c/{id}", || get_or_head().to(pages::clip)),
    page("GET", "/embed/{id}", || get_or_head().to(pages::embed)),
    page("GET", "/static/{name}", || get_or_head().to(pages::asset)),
    page("GET", "/favicon.ico", || get_or_head().to(pages::favicon)),
    page("GET", "/robots.txt", || get_or_head().to(pages::robots)),
];

/// Puts the table into an actix application.
pub fn configure(config: &mut web::ServiceConfig) {
    let mut done: Vec<&str> = Vec::new();
    for entry in ROUTES {
        if done.contains(&entry.path) {
            continue;
        }
        done.push(entry.path);
        let mut resource = web::resource(entry.path);
        for same in ROUTES.iter().filter(|same| same.path == entry.path) {
            resource = resource.route((same.route)());
        }
        let path = entry.path;
        let door = from_fn(move |request, next: Next<BoxBody>| access::guard(path, request, next));
        config.service(
            resource
                .default_service(web::to(error::wrong_method))
                .wrap(door),
        );
    }
    config.default_service(web::to(error::nothing_here));
}

/// The number under which a request is found in the log.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                              media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors ";

/// The policy of bytes that are not ours: whatever they are taken for, they may do nothing.
const SANDBOX: &str = "sandbox; default-src 'none'";

/// Around every request: its id, the headers that every answer carries, and one line in the log, without addresses and queries.
///
/// # Errors
/// Those of the handler, which are answers already.
pub async fn around(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let began = Instant::now();
    let id = request_id(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    ignore_odd_ranges(&mut request);
    // As the router reads it: an address may be written in more than one way.
    let of_upload = uploads::covers(request.match_info().as_str());
    if of_upload && let Some(meant) = uploads::overridden(request.headers()) {
        request.head_mut().method = meant;
    }
    // Whoever knows an upload's id may use the file: the log does not tell.
    let path = if of_upload {
        uploads::ROOT.to_owned()
    } else {
        request.path().to_owned()
    };
    let method = request.method().clone();
    let mut response = next.call(request).await?;
    if of_upload {
        uploads::mark(response.status(), response.headers_mut());
    }
    let status = response.status().as_u16();
    let ms = began.elapsed().as_micros() as f64 / 1000.0;
    let framing = if path.starts_with("/embed/") {
        "*"
    } else {
        "'none'"
    };
    let policy = format!("{CONTENT_POLICY}{framing}");
    let headers = response.headers_mut();
    for (name, value) in [
        (REQUEST_ID, id.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "strict-origin-when-cross-origin"),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    // A stranger's bytes come with a policy of their own.
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY)
        && let Ok(value) = HeaderValue::from_str(&policy)
    {
        headers.insert(header::CONTENT_SECURITY_POLICY, value);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    count(&response, verb(&method), began.elapsed());
    // Those who look every few seconds would drown everything else.
    if path == "/api/health/live" || path == "/metrics" {
        tracing::debug!(%method, path, status, ms, request = id, "request");
    } else {
        tracing::info!(%method, path, status, ms, request = id, "request");
    }
    Ok(response)
}

/// Counts an answer by the pattern of its route: paths hold ids, of which there is no end.
fn count(response: &ServiceResponse<impl MessageBody>, method: &'static str, took: Duration) {
    let pattern = response.request().match_pattern();
    let labels = [
        ("route", pattern.unwrap_or_else(|| "none".to_owned())),
        ("method", method.to_owned()),
        ("status", response.status().as_u16().to_string()),
    ];
    metrics::counter!("meme_maker_http_requests_total", &labels).increment(1);
    metrics::histogram!("meme_maker_http_request_duration_seconds", &labels)
        .record(took.as_secs_f64());
    if let Some(app) = response.request().app_data::<AppData>() {
        app.watch.answer();
    }
}

/// A method that is known, or `other`: anybody may invent some.
fn verb(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"];
    KNOWN
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("other")
}

/// The proxy's id when the proxy is trusted and the id is plain; otherwise a new one.
fn request_id(request: &ServiceRequest) -> String {
    let trusted = request
        .app_data::<web::Data<crate::app::App>>()
        .is_some_and(|app| {
            visitor::from_proxy(&app.settings, request.peer_addr().map(|peer| peer.ip()))
        });
    let plain = |id: &&str| {
        (8..=64).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let given = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(plain);
    match given {
        Some(id) if trusted => id.to_owned(),
        _ => uuid::Uuid::now_v7().simple().to_string(),
    }
}

/// A Range header that is not one plain range of bytes is ignored, as RFC 9110 section 14.2 allows: several ranges in one request
/// are how a client makes a server work for nothing.
fn ignore_odd_ranges(request: &mut ServiceRequest) {
    let one_range = |text: &str| {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let digits =
            |text: &str| text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(first) && digits(last) && !(first.is_empty() && last.is_empty())).then_some(())
    };
    let odd = request
        .headers()
        .get(header::RANGE)
        .is_some_and(|range| range.to_str().ok().and_then(one_range).is_none());
    if odd {
        request.headers_mut().remove(header::RANGE);
    }
}

/// What handlers are given.
pub type AppData = web::Data<crate::app::App>;

/// The handle as actix wants it.
pub fn data(app: Shared) -> AppData {
    web::Data::from(app)
}
