//! Published bytes: ranges, validators and names; by ourselves, or handed to nginx by `X-Accel-Redirect`.

use actix_files::NamedFile;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{self, ContentType, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::clip_json::{Urls, segment};
use super::error::{Failed, For, Problem, ProblemBody, not_found};
use super::{AppData, clips, visitor};
use crate::app::App;
use crate::clip::{Clip, State};
use crate::library;
use crate::recipe::Format;
use crate::store::POSTER;

/// Where a download is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Download {
    pub download_url: String,
}

/// A published file: the clip or its poster.
#[utoipa::path(get, path = "/api/files/clips/{id}/{name}", tag = "files",
    params(("id" = String, Path), ("name" = String, Path),
           ("download" = Option<String>, Query, description = "`1` to get it as an attachment"),
           ("Range" = Option<String>, Header), ("If-Range" = Option<String>, Header)),
    responses((status = 200, description = "The file, of the type that its format has", content((String = "video/mp4"), (String = "video/webm"), (String = "image/gif"), (String = "image/webp"),
              (String = "audio/mpeg"), (String = "audio/mp4"), (String = "image/jpeg"))),
              (status = 206, description = "A part of it"), (status = 304),
              (status = 404, body = ProblemBody), (status = 416)))]
pub async fn file(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id = clips::id(&request).answering(&request)?;
    // The router leaves a few escapes as they are (`%25`, `%2B`); in a name of ours every `%` is one.
    let raw = request.match_info().get("name").unwrap_or_default();
    let name = match percent_encoding::percent_decode_str(raw).decode_utf8() {
        Ok(name) => name.into_owned(),
        Err(_) => return Err(not_found()).answering(&request),
    };
    let clip = library::view(&app, id).await.answering(&request)?.clip;
    if !clip.is_served() {
        return Err(not_found()).answering(&request);
    }
    if clip.file_name.as_deref() != Some(&name) && name != POSTER {
        return moved(&app, &request, &clip, &name);
    }
    let attachment = request
        .query_string()
        .split('&')
        .any(|pair| pair == "download=1");
    let how = if attachment {
        Disposition::Attachment
    } else {
        Disposition::Inline
    };
    let served = serve(&app, &request, &clip, &name, how).await;
    if served.is_err() && name != POSTER {
        // It may have been exchanged since the index was asked.
        let clip = library::view(&app, id).await.answering(&request)?.clip;
        if clip.is_served() && clip.file_name.as_deref() != Some(&name) {
            return moved(&app, &request, &clip, &name);
        }
    }
    served
}

/// Leads from the name that a clip's file had before it was made again to the one that it has.
fn moved(
    app: &App,
    request: &HttpRequest,
    clip: &Clip,
    name: &str,
) -> Result<HttpResponse, Failed> {
    let file = Urls::new(clip, &app.settings.server.base_url).file;
    let Some(file) = file.filter(|_| clip.version > 1 && format_of(name).is_some()) else {
        return Err(not_found()).answering(request);
    };
    let query = match request.query_string() {
        "" => String::new(),
        query => format!("?{query}"),
    };
    Ok(HttpResponse::TemporaryRedirect()
        .insert_header((header::LOCATION, format!("{file}{query}")))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .finish())
}

/// The format that a file's name tells: while a clip is made again its recipe is another's.
fn format_of(name: &str) -> Option<Format> {
    name.rsplit_once('.')?.1.parse().ok()
}

/// The clip as an attachment, or where it is.
#[utoipa::path(get, path = "/api/clips/{id}/download", tag = "files",
    params(("id" = String, Path), ("Accept" = Option<String>, Header, description = "`application/json` to get the address instead")),
    responses((status = 200, description = "The file, or its address", content((Download = "application/json"), (String = "video/mp4"), (String = "video/webm"),
              (String = "image/gif"), (String = "image/webp"), (String = "audio/mpeg"), (String = "audio/mp4"), (String = "image/jpeg"))),
              (status = "4XX", body = ProblemBody)))]
pub async fn download(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let id = clips::id(&request).answering(&request)?;
    let clip = library::view(&app, id).await.answering(&request)?.clip;
    let (Some(name), Some(file)) = (
        clip.file_name.clone(),
        Urls::new(&clip, &app.settings.server.base_url).file,
    ) else {
        return Err(not_ready(&clip)).answering(&request);
    };
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accept.split(',').any(|kind| {
        kind.trim()
            .to_ascii_lowercase()
            .starts_with("application/json")
    }) {
        return Ok(HttpResponse::Ok()
            .insert_header((header::VARY, "Accept"))
            .json(Download {
                download_url: format!("{file}?download=1"),
            }));
    }
    // One download is one request from the beginning; the pieces that players and download managers ask for later are not.
    let from_start = request
        .headers()
        .get(header::RANGE)
        .is_none_or(|range| range.as_bytes().starts_with(b"bytes=0-"));
    if from_start {
        library::downloaded(&app, id).await;
    }
    let mut served = serve(&app, &request, &clip, &name, Disposition::Attachment).await;
    if served.is_err() {
        // It may have been exchanged since the index was asked.
        let clip = library::view(&app, id).await.answering(&request)?.clip;
        let other = clip.file_name.clone().filter(|other| *other != name);
        if let Some(name) = other.filter(|_| clip.is_served()) {
            served = serve(&app, &request, &clip, &name, Disposition::Attachment).await;
        }
    }
    let mut response = served?;
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    Ok(response)
}

fn not_ready(clip: &Clip) -> Problem {
    match clip.state {
        State::Expired => Problem::new(
            StatusCode::GONE,
            "clip_gone",
            match &clip.failure {
                Some(early) => early.detail.as_str(),
                None => "This clip has expired and its file is gone.",
            },
            "Make it again: its recipe is kept.",
        ),
        State::Queued
        | State::Fetching
        | State::Cutting
        | State::Storing
        | State::Ready
        | State::Failed
        | State::Cancelled => Problem::new(
            StatusCode::CONFLICT,
            "clip_not_ready",
            format!("This clip is {} and has no file.", clip.state.as_str()),
            "Follow /api/clips/{id}/events until it is ready.",
        ),
    }
}

#[derive(Clone, Copy, Debug)]
enum Disposition {
    Inline,
    Attachment,
}

async fn serve(
    app: &App,
    request: &HttpRequest,
    clip: &Clip,
    name: &str,
    how: Disposition,
) -> Result<HttpResponse, Failed> {
    let path = app.store.path(clip.id, name);
    let kind = if name == POSTER {
        Format::Jpg.media_type()
    } else {
        format_of(name).unwrap_or(clip.recipe.format).media_type()
    };
    let caching = caching(app, request, clip, name).await;
    let accel = &app.settings.server.accel;
    let mut response = if !accel.is_empty() && visitor::forwarded(&app.settings, request) {
        if !path.is_file() {
            return Err(not_found()).answering(request);
        }
        let location = format!("{accel}{}/{}", clip.id, segment(name));
        HttpResponse::Ok()
            .insert_header(("X-Accel-Redirect", location))
            .content_type(kind)
            .finish()
    } else {
        let file = library::blocking(move || NamedFile::open(path))
            .await
            .map_err(|_| not_found())
            .answering(request)?;
        let parsed = kind
            .parse()
            .unwrap_or_else(|_| ContentType::octet_stream().0);
        file.disable_content_disposition()
            .set_content_type(parsed)
            .into_response(request)
    };
    if let BodySize::Sized(bytes) = response.body().size()
        && request.method() == Method::GET
    {
        metrics::counter!("meme_maker_served_bytes_total").increment(bytes);
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_DISPOSITION, disposition(name, how)),
        (header::CACHE_CONTROL, caching),
        // Other sites may show it: that is what a link is for.
        (
            header::CROSS_ORIGIN_RESOURCE_POLICY,
            "cross-origin".to_owned(),
        ),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

/// RFC 6266 with the name twice: plain for old readers, UTF-8 (RFC 8187) for all others.
fn disposition(name: &str, how: Disposition) -> String {
    let kind = match how {
        Disposition::Inline => "inline",
        Disposition::Attachment => "attachment",
    };
    let plain: String = name
        .chars()
        .map(|letter| {
            if letter.is_ascii_graphic() && !matches!(letter, '"' | '\\' | '%' | ';')
                || letter == ' '
            {
                letter
            } else {
                '_'
            }
        })
        .collect();
    format!(
        "{kind}; filename=\"{plain}\"; filename*=UTF-8''{}",
        segment(name)
    )
}

/// The bytes at an address never change while it exists; after that nobody should still have them. Only the picture of a clip that was made
/// again has an address without its version, too, and for a moment the picture of before at the new one. To be asked before a file is opened:
/// then a picture that does not wait is the new one.
async fn caching(app: &App, request: &HttpRequest, clip: &Clip, name: &str) -> String {
    const YEAR: i64 = 31_536_000;
    if name == POSTER && clip.version > 1 {
        let version = format!("v={}", clip.version);
        let mut asked = request.query_string().split('&');
        if !asked.any(|pair| pair == version) || waits(app, clip).await {
            return "public, no-cache".to_owned();
        }
    }
    let left = match clip.expires_at {
        Some(at) if !clip.pinned => ((at.0 - app.now().0) / 1000).clamp(0, YEAR),
        _ => YEAR,
    };
    format!("public, max-age={left}, immutable")
}

/// Whether the picture of what is served is not in its place yet; what cannot be told is taken for that.
async fn waits(app: &App, clip: &Clip) -> bool {
    let (store, id, film) = (app.store.clone(), clip.id, clip.file_name.clone());
    let waits = library::blocking(move || match film {
        Some(film) => store.picture_waits(id, &film),
        None => Ok(false),
    });
    waits.await.unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_in_both_spellings() {
        assert_eq!(
            disposition("naïve \"q\"; x.mp4", Disposition::Attachment),
            "attachment; filename=\"na_ve _q__ x.mp4\"; filename*=UTF-8''na%C3%AFve%20%22q%22%3B%20x.mp4"
        );
        assert_eq!(
            disposition("देव.mp4", Disposition::Inline),
            "inline; filename=\"___.mp4\"; filename*=UTF-8''%E0%A4%A6%E0%A5%87%E0%A4%B5.mp4"
        );
    }
}
