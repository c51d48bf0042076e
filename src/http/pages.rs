//! The pages for people and what they are made of, all of it in the binary.

use actix_web::http::header::{self, EntityTag, Header, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use rust_embed::RustEmbed;

use super::clip_json::Urls;
use super::error::{Failed, For, Problem, not_found};
use super::{AppData, clips};
use crate::app::App;
use crate::bytes::Bytes;
use crate::clip::{Clip, Method, Outcome, State};
use crate::library::{self, LibraryError};
use crate::recipe::{Format, Shape, Source};
use crate::seconds::Seconds;
use crate::timestamp::Timestamp;

#[derive(RustEmbed)]
#[folder = "static/"]
struct Static;

#[derive(Template)]
#[template(path = "clip.html")]
struct ClipPage<'a> {
    title: &'a str,
    state: &'static str,
    site_url: &'a str,
    page_url: String,
    file_url: String,
    download_url: String,
    poster_url: String,
    embed_url: String,
    shape: Shape,
    format: String,
    media_type: &'static str,
    width: u32,
    height: u32,
    player_width: u32,
    player_height: u32,
    description: String,
    duration_text: String,
    size_text: String,
    method_text: &'static str,
    created_text: String,
    expires_text: String,
}

#[derive(Template)]
#[template(path = "embed.html")]
struct EmbedPage<'a> {
    title: &'a str,
    shape: Shape,
    file_url: String,
    poster_url: String,
    page_url: String,
}

#[derive(Template)]
#[template(path = "gone.html")]
struct GonePage {
    heading: &'static str,
    message: String,
    source_url: String,
    start: String,
    end: String,
}

/// What a player of sound with its picture takes on another site's page.
const SOUND_PLAYER: (u32, u32) = (640, 360);

/// The page where clips are made.
pub async fn maker(request: HttpRequest) -> Result<HttpResponse, Failed> {
    embedded("index.html", &request).answering(&request)
}

/// A script, style or picture of the pages.
pub async fn asset(request: HttpRequest) -> Result<HttpResponse, Failed> {
    let name = request.match_info().get("name").unwrap_or_default();
    // Pages have their own addresses, and templates none.
    if name == "index.html" || name.contains('/') {
        return Err(not_found()).answering(&request);
    }
    embedded(name, &request).answering(&request)
}

/// Where browsers look without being told.
pub async fn favicon(request: HttpRequest) -> Result<HttpResponse, Failed> {
    embedded("favicon.svg", &request).answering(&request)
}

/// Clips are for those who have the link, not for search engines.
pub async fn robots() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain")
        .body("User-agent: *\nDisallow: /api/\nDisallow: /c/\nDisallow: /embed/\n")
}

/// A clip for people.
pub async fn clip(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let Some(clip) = find(&app, &request).await? else {
        return gone(None).answering(&request);
    };
    if clip.state == State::Expired {
        return gone(Some(&clip)).answering(&request);
    }
    library::viewed(&app, clip.id).await;
    let urls = Urls::new(&clip, &app.settings.server.base_url);
    let none = Seconds::ZERO;
    let outcome = clip.outcome.as_ref();
    let format = clip.recipe.format;
    let size = outcome.and_then(|outcome| outcome.width.zip(outcome.height));
    let (width, height) = size.unwrap_or((0, 0));
    let (player_width, player_height) = size.unwrap_or(SOUND_PLAYER);
    let duration_text = length(outcome.map_or(none, |outcome| outcome.duration));
    let page = ClipPage {
        title: &clip.title,
        state: clip.state.as_str(),
        site_url: &app.settings.server.base_url,
        page_url: urls.page,
        file_url: urls.file.unwrap_or_default(),
        download_url: urls.download.unwrap_or_default(),
        poster_url: urls.poster.unwrap_or_default(),
        embed_url: urls.embed.unwrap_or_default(),
        shape: format.shape(),
        format: format.as_str().to_uppercase(),
        media_type: format.media_type(),
        width,
        height,
        player_width,
        player_height,
        description: match format.shape() {
            Shape::Film | Shape::Animation => format!("A clip of {duration_text}."),
            Shape::Sound => format!("A sound of {duration_text}."),
            Shape::Still => "A picture.".to_owned(),
        },
        duration_text,
        size_text: outcome.map_or_else(String::new, |outcome: &Outcome| {
            Bytes(outcome.size).to_string()
        }),
        method_text: outcome.map_or("", |outcome| method(outcome, format)),
        created_text: format!("{} ago", span(clip.created_at, app.now())),
        expires_text: expiry(&app, &clip),
    };
    html(page.render()).answering(&request)
}

/// A clip to be shown inside another site's page.
pub async fn embed(app: AppData, request: HttpRequest) -> Result<HttpResponse, Failed> {
    let clip = match find(&app, &request).await? {
        Some(clip) if clip.is_served() => clip,
        Some(clip) if clip.state == State::Expired => return gone(Some(&clip)).answering(&request),
        Some(_) | None => return gone(None).answering(&request),
    };
    let urls = Urls::new(&clip, &app.settings.server.base_url);
    let page = EmbedPage {
        title: &clip.title,
        shape: clip.recipe.format.shape(),
        file_url: urls.file.unwrap_or_default(),
        poster_url: urls.poster.unwrap_or_default(),
        page_url: urls.page,
    };
    html(page.render()).answering(&request)
}

async fn find(app: &App, request: &HttpRequest) -> Result<Option<Clip>, Failed> {
    let Ok(id) = clips::id(request) else {
        return Ok(None);
    };
    match library::view(app, id).await {
        // Of one that is made again, what is there.
        Ok(view) => Ok(Some(match view.clip.as_served() {
            Some(served) => served.into_owned(),
            None => view.clip,
        })),
        Err(LibraryError::NotFound) => Ok(None),
        Err(error) => Err(error).answering(request),
    }
}

/// A humane page for a clip that is not there any more, with its recipe if it is known.
fn gone(clip: Option<&Clip>) -> Result<HttpResponse, Problem> {
    let segment = clip.map(|clip| clip.recipe.span());
    let source_url = match clip.map(|clip| &clip.recipe.source) {
        Some(Source::Url(url)) => url.to_string(),
        Some(Source::Upload(_) | Source::File(_)) | None => String::new(),
    };
    let (heading, message) = match clip.map(|clip| &clip.failure) {
        Some(Some(early)) => (
            "This clip has been removed",
            format!("{} {}", early.detail, early.hint),
        ),
        Some(None) => (
            "This clip has expired",
            "Clips are kept for a while and then removed. It can be made again from the same source.".to_owned(),
        ),
        None => (
            "There is no clip here",
            "It may have been removed, or the link is not complete.".to_owned(),
        ),
    };
    let page = GonePage {
        heading,
        message,
        source_url,
        start: segment.map_or_else(String::new, |segment| segment.start.to_string()),
        end: segment.map_or_else(String::new, |segment| segment.end.to_string()),
    };
    let mut response = html(page.render())?;
    *response.status_mut() = if clip.is_some() {
        actix_web::http::StatusCode::GONE
    } else {
        actix_web::http::StatusCode::NOT_FOUND
    };
    Ok(response)
}

fn html(page: Result<String, askama::Error>) -> Result<HttpResponse, Problem> {
    let page = page.map_err(|error| {
        tracing::error!(error = %error, "a page could not be rendered");
        Problem::from(LibraryError::Io(std::io::Error::other(error)))
    })?;
    Ok(HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(page))
}

/// A file of the binary, checked again by its hash at every use until names carry hashes.
fn embedded(name: &str, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let file = Static::get(name).ok_or_else(not_found)?;
    let hash: String = file.metadata.sha256_hash()[..12]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tag = EntityTag::new_strong(hash);
    let unchanged = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => request.headers().contains_key(header::IF_NONE_MATCH),
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut response = if unchanged {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header(header::ETag(tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"));
    if unchanged {
        return Ok(response.finish());
    }
    Ok(response
        .content_type(file.metadata.mimetype())
        .body(file.data.into_owned()))
}

/// How it was cut, in words.
fn method(outcome: &Outcome, format: Format) -> &'static str {
    match (outcome.method, format.shape()) {
        (Method::Copy, Shape::Sound) => "Sound as it was in the source",
        (Method::Copy, Shape::Film | Shape::Animation | Shape::Still) => {
            "Fast cut, starts at the nearest keyframe"
        }
        (Method::Splice | Method::Encode, _) => "Exact to the frame",
    }
}

fn length(length: Seconds) -> String {
    let tenths = (length.micros() + 50_000) / 100_000;
    let (minutes, tenths) = (tenths / 600, tenths % 600);
    if minutes > 0 {
        format!("{minutes} min {} s", tenths / 10)
    } else {
        format!("{}.{} s", tenths / 10, tenths % 10)
    }
}

fn expiry(app: &App, clip: &Clip) -> String {
    match clip.expires_at {
        _ if clip.pinned => "Kept for good".to_owned(),
        Some(at) => format!("Expires in {}", span(app.now(), at)),
        None => String::new(),
    }
}

/// The time between two moments in the largest unit that fits.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = ((to.0 - from.0) / 1000).max(0);
    let (count, unit) = match seconds {
        0..60 => (seconds.max(1), "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => ((seconds + 1800) / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    if count == 1 {
        format!("1 {unit}")
    } else {
        format!("{count} {unit}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_lengths_read_well() {
        let span = |seconds: i64| span(Timestamp(0), Timestamp(seconds * 1000));
        assert_eq!(
            [
                span(0),
                span(59),
                span(60),
                span(3600),
                span(86_400),
                span(200_000)
            ],
            [
                "1 second",
                "59 seconds",
                "1 minute",
                "1 hour",
                "24 hours",
                "2 days"
            ]
        );
        assert_eq!(length(Seconds::from_micros(12_449_000)), "12.4 s");
        assert_eq!(length(Seconds::from_whole(95)), "1 min 35 s");
    }
}
