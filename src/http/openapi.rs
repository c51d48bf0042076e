//! The OpenAPI document, made from the handlers; a test holds it against the route table.

use actix_web::HttpResponse;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::error::{CODES, ProblemBody};
use super::{
    backups, clip_json, clips, estimate, events, feed, files, health, keeping, presets, settings,
    sources, stream, tokens, trail, uploads, watch,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Meme Maker", description = "Frame-exact clips from a link."),
    paths(clips::submit, clips::batch, clips::list, clips::show, clips::cancel, clips::retry, clips::change, clips::remove, keeping::preview, keeping::run, keeping::trash, keeping::restore, events::clip, files::download,
          files::file, file_head, sources::look, sources::show, stream::stream, stream_head, sources::filmstrip, sources::waveform, uploads::options, uploads::create, uploads::show, uploads::add, uploads::remove, backups::make, backups::list, health::live, health::ready, health::metrics, document,
          tokens::list, tokens::create, tokens::revoke, estimate::estimate, presets::list, settings::show, feed::all, watch::disk, watch::history, watch::queue, trail::trail, watch::health),
    components(schemas(ProblemBody, clip_json::ClipJson, clips::RecipeBody, clips::BatchBody, clips::ChangeBody, clips::SegmentBody, clips::Time, watch::MetricsJson)),
    modifiers(&Additions)
)]
struct Document;

/// Codes of answers, where it is known before, and of clips, where it is seen later.
const IN_BOTH: [&str; 3] = ["time_range", "crop_outside", "crop_too_small"];

struct Additions;

impl Modify for Additions {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("delete_token", scheme.clone());
        components.add_security_scheme("token", scheme);
        let codes = CODES.iter().map(|(code, status)| match status {
            0 => format!("- `{code}` (in the `error` of a clip)"),
            status if code.starts_with("source_") || IN_BOTH.contains(code) => {
                format!("- `{code}` ({status}, or in the `error` of a failed clip)")
            }
            status => format!("- `{code}` ({status})"),
        });
        let list: Vec<String> = codes.collect();
        document.info.description = Some(format!(
            "Frame-exact clips from a link. Errors are RFC 9457 problems with a stable `code`:\n\n{}",
            list.join("\n")
        ));
    }
}

/// The head of a published file.
#[utoipa::path(head, path = "/api/files/clips/{id}/{name}", tag = "files", params(("id" = String, Path), ("name" = String, Path)),
    responses((status = 200), (status = 404)))]
#[expect(
    dead_code,
    reason = "one handler serves both methods; this one only documents the second"
)]
fn file_head() {}

/// The head of a source's stream.
#[utoipa::path(head, path = "/api/sources/{id}/stream", tag = "sources", params(("id" = String, Path)),
    responses((status = 200), (status = 206), (status = "4XX")))]
#[expect(
    dead_code,
    reason = "one handler serves both methods; this one only documents the second"
)]
fn stream_head() {}

/// The document as JSON.
pub fn json() -> String {
    Document::openapi().to_pretty_json().unwrap_or_default()
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "operation", responses((status = 200)))]
pub async fn document() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(json())
}

#[cfg(test)]
mod tests {
    use super::super::ROUTES;
    use super::super::access::Access;
    use super::*;

    #[test]
    fn the_document_and_the_route_table_say_the_same() {
        let document: serde_json::Value = serde_json::from_str(&json()).unwrap();
        let mut documented: Vec<(String, String)> = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                documented.push((path.clone(), method.to_uppercase()));
            }
        }
        let mut routes: Vec<(String, String)> = ROUTES
            .iter()
            .filter(|entry| entry.documented)
            .map(|entry| (entry.path.to_owned(), entry.method.to_owned()))
            .collect();
        documented.sort();
        routes.sort();
        assert_eq!(documented, routes);
    }

    #[test]
    fn the_document_says_who_may_use_what_as_the_door_does() {
        let document: serde_json::Value = serde_json::from_str(&json()).unwrap();
        let token = || serde_json::json!({"token": []});
        for entry in ROUTES.iter().filter(|entry| entry.documented) {
            let method = entry.method.to_lowercase();
            let told = &document["paths"][entry.path][method]["security"];
            let expected = match entry.access {
                Access::Anyone => serde_json::Value::Null,
                Access::Maker | Access::Reader | Access::Local(_) => {
                    serde_json::json!([{}, token()])
                }
                Access::Holder => serde_json::json!([{"delete_token": []}, token()]),
                Access::With(_) => serde_json::json!([token()]),
            };
            assert_eq!(told, &expected, "{} {}", entry.method, entry.path);
        }
    }

    #[test]
    fn the_document_lists_every_code() {
        let document = json();
        for (code, _) in CODES {
            assert!(document.contains(&format!("`{code}`")), "{code}");
        }
    }
}
