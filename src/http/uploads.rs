//! `/api/uploads`: resumable uploads by tus 1.0.0 (https://tus.io/protocols/resumable-upload) with creation, creation-with-upload,
//! termination, expiration and checksum.

mod headers;

use std::time::{Duration, SystemTime};

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue, HttpDate};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::AppData;
use super::error::{Failed, For, Problem, ProblemBody, not_found, upload_gone};
use super::{ratelimit, visitor};
use crate::access;
use crate::app::App;
use crate::app::rates::{Asked, Standing};
use crate::cut::sentence;
use crate::library::LibraryError;
use crate::upload::checksum::ALGORITHMS;
use crate::upload::{Upload, UploadId};
use crate::uploads::append::{self, Addition, Part, WAITING};
use crate::uploads::{self, UploadsError, Wish};

/// The version of the protocol.
const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,creation-with-upload,termination,expiration,checksum";
/// A body that is silent for so long has broken off.
const STALLED: Duration = Duration::from_secs(30);

/// Where uploads are.
pub const ROOT: &str = "/api/uploads";

/// Whether a path leads to uploads.
pub fn covers(path: &str) -> bool {
    path.strip_prefix(ROOT)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The method meant: some clients can send GET and POST alone and say in a header which other they mean (tus 1.0,
/// X-HTTP-Method-Override).
pub fn overridden(headers: &HeaderMap) -> Option<Method> {
    let meant = headers.get("x-http-method-override")?;
    Method::from_bytes(meant.as_bytes()).ok()
}

/// Adds what every answer of the protocol carries, whoever made it.
pub fn mark(status: StatusCode, headers: &mut HeaderMap) {
    let version = HeaderValue::from_static(VERSION);
    if status == StatusCode::PRECONDITION_FAILED {
        headers.insert(HeaderName::from_static("tus-version"), version.clone());
    }
    headers.insert(HeaderName::from_static("tus-resumable"), version);
}

/// What the service can do.
#[utoipa::path(options, path = "/api/uploads", tag = "uploads",
    responses((status = 204, description = "Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm")))]
pub async fn options(app: AppData) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header(("Tus-Version", VERSION))
        .insert_header(("Tus-Extension", EXTENSIONS))
        .insert_header(("Tus-Max-Size", app.settings.limits.upload_bytes.0))
        .insert_header(("Tus-Checksum-Algorithm", ALGORITHMS))
        .finish()
}

/// Begins an upload; with a body of `application/offset+octet-stream` it takes the first bytes too. The last part of `Location` is the
/// upload's id: whoever knows it may use the file.
#[utoipa::path(post, path = "/api/uploads", tag = "uploads", security((), ("token" = [])),
    params(("Tus-Resumable" = String, Header, description = "1.0.0"),
           ("Upload-Length" = u64, Header, description = "Bytes of the file"),
           ("Upload-Metadata" = Option<String>, Header, description = "`filename` in Base64 becomes the title"),
           ("Upload-Checksum" = Option<String>, Header, description = "Of the body, when there is one")),
    responses((status = 201, description = "Location, Upload-Offset, Upload-Expires"), (status = "4XX", body = ProblemBody),
              (status = 507, body = ProblemBody)))]
pub async fn create(
    app: AppData,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Failed> {
    let created = created(&app, &request, body).await;
    let (upload, standing) = refusals_counted(created).answering(&request)?;
    let location = format!("{}{ROOT}/{}", app.settings.server.base_url, upload.id);
    let mut response = HttpResponse::Created();
    response.insert_header((header::LOCATION, location));
    let response = place(&app, &mut response, &upload).finish();
    Ok(ratelimit::told(response, standing))
}

async fn created(
    app: &AppData,
    request: &HttpRequest,
    body: web::Payload,
) -> Result<(Upload, Option<Standing>), Problem> {
    headers::no_multipart(request.headers())?;
    headers::version(request.headers())?;
    let asker = visitor::asker(app, request);
    let wish = Wish {
        length: headers::length(request.headers(), app.settings.limits.upload_bytes)?,
        metadata: headers::metadata(request.headers())?,
        visitor: asker.mark.clone(),
    };
    let addition = headers::first_addition(request.headers())?;
    let too_long = |addition: &Addition| addition.length.is_some_and(|length| length > wish.length);
    if addition.as_ref().is_some_and(too_long) {
        return Err(UploadsError::PastLength.into());
    }
    let standing = access::count(app, &asker, Asked::Uploads)?;
    let Some(addition) = addition else {
        return Ok((uploads::create(app, wish).await?, standing));
    };
    let promised = addition.length;
    let (feed, parts) = mpsc::channel(WAITING);
    let shared = app.clone().into_inner();
    let taken = app
        .errands
        .run(append::create_with(shared, wish, addition, parts));
    let upload = brought(body, promised, feed, taken).await?;
    Ok((upload, standing))
}

/// How far an upload is.
#[utoipa::path(head, path = "/api/uploads/{id}", tag = "uploads",
    params(("id" = String, Path), ("Tus-Resumable" = String, Header)),
    responses((status = 200, description = "Upload-Offset, Upload-Length, Upload-Metadata, Upload-Expires"), (status = 404), (status = 410)))]
pub async fn show(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let upload = async {
        headers::version(request.headers())?;
        Ok::<_, Problem>(uploads::view(&app, id(&request)?).await?)
    };
    let upload = refusals_counted(upload.await).answering(&request)?;
    let mut response = HttpResponse::Ok();
    response.insert_header(("Upload-Length", upload.length));
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    let metadata = upload.metadata.as_str();
    if !metadata.is_empty() {
        response.insert_header(("Upload-Metadata", metadata));
    }
    Ok(place(&app, &mut response, &upload).finish())
}

/// Adds bytes at the offset where the upload stands. What arrived of a body that broke off is kept, unless it came with a checksum.
#[utoipa::path(patch, path = "/api/uploads/{id}", tag = "uploads",
    params(("id" = String, Path), ("Tus-Resumable" = String, Header), ("Upload-Offset" = u64, Header),
           ("Upload-Checksum" = Option<String>, Header, description = "`sha1` or `sha256`, a space, the hash of the body in Base64")),
    request_body(content = String, content_type = "application/offset+octet-stream"),
    responses((status = 204, description = "Upload-Offset, Upload-Expires; the bytes are on the disk"), (status = "4XX", body = ProblemBody),
              (status = 507, body = ProblemBody)))]
pub async fn add(
    app: AppData,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Failed> {
    let upload = async {
        headers::version(request.headers())?;
        let id = id(&request)?;
        let addition = headers::addition(request.headers())?;
        let promised = addition.length;
        let shared = app.clone().into_inner();
        let appending = append::begin(&shared, id, addition).await?;
        let (feed, parts) = mpsc::channel(WAITING);
        let taken = app.errands.run(appending.receive(parts));
        brought(body, promised, feed, taken).await
    };
    let upload = refusals_counted(upload.await).answering(&request)?;
    let mut response = HttpResponse::NoContent();
    Ok(place(&app, &mut response, &upload).finish())
}

/// Removes an upload for good.
#[utoipa::path(delete, path = "/api/uploads/{id}", tag = "uploads",
    params(("id" = String, Path), ("Tus-Resumable" = String, Header)),
    responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub async fn remove(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let removed = async {
        headers::version(request.headers())?;
        Ok::<_, Problem>(uploads::remove(&app, id(&request)?).await?)
    };
    refusals_counted(removed.await).answering(&request)?;
    Ok(HttpResponse::NoContent().finish())
}

fn refusals_counted<T>(result: Result<T, Problem>) -> Result<T, Problem> {
    if let Err(problem) = &result {
        metrics::counter!("meme_maker_upload_refusals_total", "code" => problem.code).increment(1);
    }
    result
}

fn id(request: &HttpRequest) -> Result<UploadId, Problem> {
    request
        .match_info()
        .get("id")
        .and_then(|id| id.parse().ok())
        .ok_or_else(not_found)
}

fn place<'a>(
    app: &App,
    response: &'a mut HttpResponseBuilder,
    upload: &Upload,
) -> &'a mut HttpResponseBuilder {
    let expires = uploads::expires_at(app, upload).0;
    let expires = Duration::from_millis(u64::try_from(expires).unwrap_or(0));
    let expires = HttpDate::from(SystemTime::UNIX_EPOCH + expires);
    response
        .insert_header(("Upload-Offset", upload.received))
        .insert_header(("Upload-Expires", expires.to_string()))
}

/// How the body ended.
enum Fed {
    Whole,
    Broken,
    Stalled,
    /// The one who takes the bytes has given up and says why.
    Unwanted,
}

/// Brings a body to the one who takes the bytes. That one goes on without us when the visitor hangs up and this is dropped.
async fn brought(
    body: web::Payload,
    promised: Option<u64>,
    feed: mpsc::Sender<Part<web::Bytes>>,
    taken: JoinHandle<Result<Upload, UploadsError>>,
) -> Result<Upload, Problem> {
    let fed = feed_all(body, promised, feed).await;
    let taken = taken
        .await
        .map_err(|error| UploadsError::Io(std::io::Error::other(error)))?;
    match (fed, taken) {
        (Fed::Stalled, Err(UploadsError::Broken)) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "upload_stalled",
            format!("No byte came for {} s.", STALLED.as_secs()),
            "Ask with HEAD how much has arrived and send the rest.",
        )),
        (Fed::Whole | Fed::Broken | Fed::Stalled | Fed::Unwanted, taken) => Ok(taken?),
    }
}

async fn feed_all(
    mut body: web::Payload,
    promised: Option<u64>,
    feed: mpsc::Sender<Part<web::Bytes>>,
) -> Fed {
    let mut fed = 0;
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(STALLED, body.next()) => next,
            () = feed.closed() => return Fed::Unwanted,
        };
        match next {
            Err(_) => return Fed::Stalled,
            Ok(Some(Err(_))) => return Fed::Broken,
            Ok(Some(Ok(bytes))) => {
                fed += bytes.len() as u64;
                if feed.send(Part::Bytes(bytes)).await.is_err() {
                    return Fed::Unwanted;
                }
            }
            Ok(None) if promised.is_some_and(|promised| promised != fed) => return Fed::Broken,
            Ok(None) => {
                // When nobody takes it, the one who should says why.
                let _ = feed.send(Part::End).await;
                return Fed::Whole;
            }
        }
    }
}

impl From<UploadsError> for Problem {
    fn from(error: UploadsError) -> Problem {
        let detail = sentence(&error.to_string());
        let problem = |status, code, hint: &str| Problem::new(status, code, detail.clone(), hint);
        let again = |code, seconds, hint| Problem {
            retry_after: Some(seconds),
            ..problem(StatusCode::TOO_MANY_REQUESTS, code, hint)
        };
        match error {
            UploadsError::NotFound => not_found(),
            UploadsError::Gone => upload_gone(),
            UploadsError::TooLarge(_) => problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "upload_too_large",
                "Choose a smaller file.",
            ),
            UploadsError::TooMany(_) => again(
                "uploads_too_many",
                600,
                "Remove one that is not needed any more, or come back when one has expired.",
            ),
            UploadsError::TooMuch { .. } => again(
                "uploads_too_large",
                600,
                "Remove one that is not needed any more, or come back when one has expired.",
            ),
            UploadsError::Offset { .. } => problem(
                StatusCode::CONFLICT,
                "upload_offset_mismatch",
                "Ask with HEAD where to go on.",
            ),
            UploadsError::PastLength => problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "upload_past_length",
                "Send no more than Upload-Length says; nothing of this body was kept.",
            ),
            UploadsError::Checksum => problem(
                StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST),
                "upload_checksum_mismatch",
                "Send the same bytes again.",
            ),
            UploadsError::Locked => Problem {
                retry_after: Some(3),
                ..problem(
                    StatusCode::LOCKED,
                    "upload_locked",
                    "Wait a moment, ask with HEAD where to go on, and try again.",
                )
            },
            UploadsError::Broken => problem(
                StatusCode::BAD_REQUEST,
                "body_incomplete",
                "Ask with HEAD how much has arrived and send the rest.",
            ),
            UploadsError::Stopping => Problem {
                retry_after: Some(5),
                ..problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "What has arrived is kept; send the rest in a few seconds.",
                )
            },
            UploadsError::Needed => problem(
                StatusCode::CONFLICT,
                "upload_needed",
                "Cancel the clip first, or wait until it is ready.",
            ),
            UploadsError::DiskFull => problem(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_full",
                "Try again later; the operator can free space.",
            ),
            UploadsError::Library(error) => error.into(),
            UploadsError::Index(error) => LibraryError::Index(error).into(),
            UploadsError::Io(error) => LibraryError::Io(error).into(),
        }
    }
}
