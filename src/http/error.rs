//! The only maker of error answers: every error becomes one RFC 9457 problem with a sentence, a stable code and a next step.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;

use super::{RequestId, ratelimit};
use crate::access::AccessError;
use crate::app::rates::{Standing, TooOften};
use crate::clip::change::ChangeError;
use crate::cut::{CutError, sentence};
use crate::estimate::EstimateError;
use crate::library::LibraryError;
use crate::library::again::AgainError;
use crate::recipe::{RecipeError, Rule};
use crate::room::NoRoom;
use crate::source::gate::Refusal;
use crate::source::relay::RelayError;
use crate::source::{SourceError, refusal_hint};
use crate::sources::SourcesError;
use crate::token::GrantError;
use crate::worker::chain;

/// An error on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: String,
    pub field: Option<String>,
    pub hint: String,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u64>,
    /// Where the visitor stands, when that is the problem.
    pub standing: Option<Box<Standing>>,
}

/// A problem as it is sent: `application/problem+json`, RFC 9457.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Always `about:blank`: the code says which problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    /// One sentence for a person.
    detail: String,
    /// Stable; see the list in the document's description.
    code: &'static str,
    /// The field of the request that is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The next step.
    hint: String,
    /// Finds the request in the log.
    request_id: String,
}

/// Every code that an answer or a failed clip may carry, with the status it is answered with; 0 marks codes of failed clips only.
pub const CODES: &[(&str, u16)] = &[
    ("json_invalid", 400),
    ("json_unknown_field", 400),
    ("field_type", 400),
    ("source_missing", 400),
    ("source_conflict", 400),
    ("url_missing", 400),
    ("url_invalid", 400),
    ("url_too_long", 400),
    ("url_scheme", 400),
    ("url_credentials", 400),
    ("url_port", 400),
    ("url_blocked", 403),
    ("url_downgrade", 0),
    ("upload_invalid", 400),
    ("upload_incomplete", 409),
    ("upload_gone", 410),
    ("upload_multipart", 400),
    ("upload_version", 412),
    ("upload_length", 400),
    ("upload_metadata", 400),
    ("upload_offset", 400),
    ("upload_checksum", 400),
    ("upload_too_large", 413),
    ("upload_past_length", 413),
    ("upload_offset_mismatch", 409),
    ("upload_checksum_mismatch", 460),
    ("upload_locked", 423),
    ("upload_needed", 409),
    ("upload_stalled", 408),
    ("uploads_too_many", 429),
    ("uploads_too_large", 429),
    ("time_missing", 400),
    ("time_invalid", 400),
    ("time_order", 400),
    ("clip_too_short", 400),
    ("clip_too_long", 400),
    ("segments_conflict", 400),
    ("segments_empty", 400),
    ("segments_too_many", 400),
    ("spans_missing", 400),
    ("spans_too_many", 400),
    ("mode_unknown", 400),
    ("format_unknown", 400),
    ("height_invalid", 400),
    ("title_too_long", 400),
    ("title_invalid", 400),
    ("expires_at_invalid", 400),
    ("expires_at_past", 400),
    ("expires_at_too_far", 400),
    ("fast_height", 400),
    ("fast_segments", 400),
    ("fast_look", 400),
    ("fast_format", 400),
    ("fit_invalid", 400),
    ("crop_invalid", 400),
    ("fps_invalid", 400),
    ("speed_invalid", 400),
    ("volume_invalid", 400),
    ("loudness_invalid", 400),
    ("fade_invalid", 400),
    ("fade_too_long", 400),
    ("caption_too_long", 400),
    ("caption_invalid", 400),
    ("watermark_too_long", 400),
    ("watermark_invalid", 400),
    ("format_conflict", 400),
    ("mute_conflict", 400),
    ("loudness_conflict", 400),
    ("boomerang_conflict", 400),
    ("backward_too_long", 400),
    ("animation_too_long", 400),
    ("jpg_segments", 400),
    ("preset_unknown", 400),
    ("cursor_invalid", 400),
    ("state_unknown", 400),
    ("limit_invalid", 400),
    ("kind_unknown", 400),
    ("metric_unknown", 400),
    ("points_invalid", 400),
    ("idempotency_key_invalid", 400),
    ("idempotency_key_reused", 422),
    ("body_too_large", 413),
    ("body_incomplete", 400),
    ("content_type", 415),
    ("content_encoding", 415),
    ("token_missing", 401),
    ("token_needed", 401),
    ("token_invalid", 401),
    ("token_scope", 403),
    ("token_wrong", 403),
    ("scope_unknown", 400),
    ("scopes_missing", 400),
    ("name_invalid", 400),
    ("rate_limited", 429),
    ("clips_too_many", 429),
    ("not_found", 404),
    ("method_not_allowed", 405),
    ("clip_state", 409),
    ("clip_not_ready", 409),
    ("clip_gone", 410),
    ("range_invalid", 416),
    ("source_no_sound", 404),
    ("streams_too_many", 429),
    ("queue_full", 503),
    ("sources_busy", 503),
    ("preview_pending", 503),
    ("unavailable", 503),
    ("disk_low", 507),
    ("disk_full", 507),
    ("pins_full", 507),
    ("keeper_busy", 409),
    ("backup_running", 409),
    ("backup_failed", 500),
    ("internal", 500),
    ("source_unsupported", 422),
    ("source_no_video", 422),
    ("source_too_large", 422),
    ("source_unreachable", 502),
    ("source_timeout", 504),
    ("source_truncated", 422),
    ("source_damaged", 422),
    ("source_live", 422),
    ("source_protected", 422),
    ("source_too_many_requests", 502),
    ("page_private", 422),
    ("page_login", 422),
    ("page_geo_blocked", 422),
    ("page_rate_limited", 503),
    ("page_refused", 422),
    ("page_unsupported", 422),
    ("page_locked", 422),
    ("page_gone", 422),
    ("page_live", 422),
    ("page_unreachable", 502),
    ("page_timeout", 504),
    ("page_cookies", 500),
    ("page_off", 422),
    ("page_failed", 502),
    ("source_redirects", 502),
    ("time_range", 400),
    ("clip_empty", 0),
    ("crop_outside", 400),
    ("crop_too_small", 400),
    ("fit_too_small", 0),
    ("caption_letters", 0),
    ("caption_failed", 0),
    ("cut_failed", 0),
    ("cut_check", 0),
    ("cut_timeout", 0),
    ("interrupted", 0),
    ("clip_evicted", 0),
    ("clip_lost", 0),
    ("program_missing", 0),
    ("io", 0),
    ("storage", 0),
];

impl Problem {
    /// A problem with a field-less body.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Problem {
        Problem {
            status,
            code,
            detail: detail.into(),
            field: None,
            hint: hint.into(),
            retry_after: None,
            standing: None,
        }
    }

    /// The same problem about one field.
    pub fn at(self, field: &str) -> Problem {
        Problem {
            field: Some(field.to_owned()),
            ..self
        }
    }

    /// The answer to a request.
    pub fn answer(&self, request: &HttpRequest) -> HttpResponse<BoxBody> {
        self.response(id_of(request))
    }

    fn response(&self, request_id: String) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status);
        response.content_type("application/problem+json");
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        let response = response.json(ProblemBody {
            kind: "about:blank",
            title: title(self.status),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            code: self.code,
            field: self.field.clone(),
            hint: self.hint.clone(),
            request_id,
        });
        ratelimit::told(response, self.standing.as_deref().copied())
    }
}

/// The status in words; 460 is one of tus alone.
fn title(status: StatusCode) -> &'static str {
    match status.canonical_reason() {
        Some(reason) => reason,
        None if status.as_u16() == 460 => "Checksum Mismatch",
        None => "Error",
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

/// The number under which a request is found in the log.
pub(super) fn id_of(request: &HttpRequest) -> String {
    request
        .extensions()
        .get::<RequestId>()
        .map(|id| id.0.clone())
        .unwrap_or_default()
}

/// What handlers return: the problem and the id of the request it answers.
#[derive(Debug)]
pub struct Failed(Box<(Problem, String)>);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.0.fmt(f)
    }
}

impl ResponseError for Failed {
    fn status_code(&self) -> StatusCode {
        self.0.0.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        self.0.0.response(self.0.1.clone())
    }
}

/// Ties an error to the request it answers.
pub trait For<T> {
    /// The result with its error ready to be sent.
    ///
    /// # Errors
    /// The error, as a problem.
    fn answering(self, request: &HttpRequest) -> Result<T, Failed>;
}

impl<T, E: Into<Problem>> For<T> for Result<T, E> {
    fn answering(self, request: &HttpRequest) -> Result<T, Failed> {
        self.map_err(|error| Failed(Box::new((error.into(), id_of(request)))))
    }
}

impl From<RecipeError> for Problem {
    fn from(error: RecipeError) -> Problem {
        let hint = error.rule.hint();
        let problem = Problem::new(
            StatusCode::BAD_REQUEST,
            error.rule.code(),
            sentence(&error.rule.to_string()),
            hint,
        );
        if error.field.is_empty() {
            problem
        } else {
            problem.at(&error.field)
        }
    }
}

impl From<Rule> for Problem {
    fn from(rule: Rule) -> Problem {
        Problem::from(RecipeError {
            rule,
            field: String::new(),
        })
    }
}

impl From<EstimateError> for Problem {
    fn from(error: EstimateError) -> Problem {
        let (detail, field) = (sentence(&error.to_string()), error.field());
        Problem::new(StatusCode::BAD_REQUEST, error.code(), detail, error.hint()).at(field)
    }
}

impl From<TooOften> for Problem {
    fn from(error: TooOften) -> Problem {
        Problem {
            retry_after: Some(error.0.more_in),
            standing: Some(Box::new(error.0)),
            ..Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                sentence(&error.to_string()),
                "Try again after the seconds in Retry-After.",
            )
        }
    }
}

impl From<GrantError> for Problem {
    fn from(error: GrantError) -> Problem {
        let detail = sentence(&error.to_string());
        let problem = |code, field, hint| {
            Problem::new(StatusCode::BAD_REQUEST, code, detail.clone(), hint).at(field)
        };
        match error {
            GrantError::Scope => problem("scope_unknown", "scopes", "Use the words as they are."),
            GrantError::NoScopes => problem("scopes_missing", "scopes", "Name at least one scope."),
            GrantError::Name => problem("name_invalid", "name", "Choose a shorter, plain name."),
        }
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Problem {
        match error {
            AccessError::NotFound => not_found(),
            AccessError::Random(error) => LibraryError::Io(error).into(),
            AccessError::Index(error) => LibraryError::Index(error).into(),
        }
    }
}

impl From<LibraryError> for Problem {
    fn from(error: LibraryError) -> Problem {
        let detail = sentence(&error.to_string());
        match error {
            LibraryError::Refused(refusal) => {
                let status = match refusal {
                    Refusal::Blocked | Refusal::Denied | Refusal::Own => StatusCode::FORBIDDEN,
                    Refusal::Invalid
                    | Refusal::Scheme
                    | Refusal::Credentials
                    | Refusal::Port(_)
                    | Refusal::Downgrade => StatusCode::BAD_REQUEST,
                    // On the way to the source, or at its end.
                    Refusal::Unresolvable(_)
                    | Refusal::Unreachable(_)
                    | Refusal::Redirects
                    | Refusal::Connections => StatusCode::BAD_GATEWAY,
                    Refusal::Bytes => StatusCode::UNPROCESSABLE_ENTITY,
                    Refusal::Deadline => StatusCode::GATEWAY_TIMEOUT,
                };
                Problem::new(status, refusal.code(), detail, refusal_hint(&refusal)).at("url")
            }
            LibraryError::NoRoom(why) => Problem {
                retry_after: Some(match why {
                    // The keeper makes room within a minute.
                    NoRoom::Storage { .. } => 60,
                    NoRoom::Disk { .. } | NoRoom::Files(_) => 600,
                }),
                ..Problem::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "disk_low",
                    detail,
                    "Try again later, or choose a shorter clip or a smaller file; the operator can free space.",
                )
            },
            LibraryError::QueueFull { retry_after, .. } => Problem {
                retry_after: Some(retry_after),
                ..Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "queue_full",
                    detail,
                    "Try again in a moment.",
                )
            },
            LibraryError::TooOften(error) => error.into(),
            LibraryError::TooManyAtOnce { retry_after, .. } => Problem {
                retry_after: Some(retry_after),
                ..Problem::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "clips_too_many",
                    detail,
                    "Wait until one of them is done, or cancel one.",
                )
            },
            LibraryError::KeyReused => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                detail,
                "Use a new key for a new request.",
            ),
            LibraryError::UploadGone => upload_gone().at("upload"),
            LibraryError::UploadIncomplete { .. } => Problem::new(
                StatusCode::CONFLICT,
                "upload_incomplete",
                detail,
                "Send the rest with PATCH first, then try again.",
            )
            .at("upload"),
            LibraryError::NotFound => not_found(),
            LibraryError::TokenMissing => Problem::new(
                StatusCode::UNAUTHORIZED,
                "token_missing",
                detail,
                "Send the delete_token that came with the clip: Authorization: Bearer <delete_token>.",
            ),
            LibraryError::TokenWrong => Problem::new(
                StatusCode::FORBIDDEN,
                "token_wrong",
                detail,
                "Send the delete_token that came with this very clip.",
            ),
            LibraryError::State(..) => Problem::new(
                StatusCode::CONFLICT,
                "clip_state",
                detail,
                "Look at the clip's state first.",
            ),
            LibraryError::PinsFull { .. } => Problem::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "pins_full",
                detail,
                "Give the clip a later end instead, or ask the operator to pin it.",
            )
            .at("pinned"),
            LibraryError::ExpiryPast => Problem::new(
                StatusCode::BAD_REQUEST,
                "expires_at_past",
                detail,
                "Choose a moment to come, or remove the clip with DELETE.",
            )
            .at("expires_at"),
            LibraryError::ExpiryFar(_) => Problem::new(
                StatusCode::BAD_REQUEST,
                "expires_at_too_far",
                detail,
                "Choose an earlier moment, or ask the operator.",
            )
            .at("expires_at"),
            LibraryError::Running => Problem::new(
                StatusCode::CONFLICT,
                "keeper_busy",
                detail,
                "Wait until it is done; GET /api/admin/cleanup tells.",
            ),
            LibraryError::Index(_) | LibraryError::Io(_) if error.is_full() => {
                tracing::warn!(error = %chain(&error), "the disk is full");
                Problem {
                    retry_after: Some(60),
                    ..Problem::new(
                        StatusCode::INSUFFICIENT_STORAGE,
                        "disk_full",
                        "The disk is full.",
                        "Try again in a minute; the operator can free space.",
                    )
                }
            }
            LibraryError::Index(_) | LibraryError::Io(_) => {
                tracing::error!(error = %chain(&error), "request failed");
                Problem::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "The service could not do this.",
                    "Try again; the operator finds the cause in the log under the request id.",
                )
            }
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Problem {
        let detail = sentence(&error.to_string());
        let problem = Problem::new(StatusCode::BAD_REQUEST, error.code(), detail, error.hint());
        if error.field().is_empty() {
            problem
        } else {
            problem.at(error.field())
        }
    }
}

impl From<AgainError> for Problem {
    fn from(error: AgainError) -> Problem {
        match error {
            AgainError::Recipe(error) => error.into(),
            AgainError::Library(error) => error.into(),
        }
    }
}

impl From<SourcesError> for Problem {
    fn from(error: SourcesError) -> Problem {
        let detail = sentence(&error.to_string());
        let later = |status, code, hint: &str, seconds| Problem {
            retry_after: Some(seconds),
            ..Problem::new(status, code, detail.clone(), hint)
        };
        match error {
            SourcesError::Library(error) => error.into(),
            SourcesError::NotFound => not_found(),
            SourcesError::NoSound => Problem::new(
                StatusCode::NOT_FOUND,
                "source_no_sound",
                detail,
                "Show it without a waveform.",
            ),
            SourcesError::Busy => later(
                StatusCode::SERVICE_UNAVAILABLE,
                "sources_busy",
                "Try again in a moment.",
                3,
            ),
            SourcesError::Pending => later(
                StatusCode::SERVICE_UNAVAILABLE,
                "preview_pending",
                "Try again in a moment; GET /api/sources/{id} tells how far it is.",
                2,
            ),
            SourcesError::TooManyStreams => later(
                StatusCode::TOO_MANY_REQUESTS,
                "streams_too_many",
                "Close another player or page, or try again in a moment.",
                5,
            ),
            SourcesError::Cut(CutError::Source(SourceError::Refused(refusal))) => {
                LibraryError::Refused(refusal).into()
            }
            SourcesError::Relay(RelayError::Source(SourceError::Refused(refusal))) => {
                LibraryError::Refused(refusal).into()
            }
            SourcesError::Relay(error) => of_source(error.code(), detail, error.hint()),
            SourcesError::Cut(error) => {
                let problem = of_source(error.code(), detail, error.hint());
                if problem.status == StatusCode::INTERNAL_SERVER_ERROR {
                    tracing::error!(error = %chain(&error), "a source could not be looked at");
                }
                problem
            }
            SourcesError::Failed(failure) => of_source(&failure.code, detail, &failure.hint),
        }
    }
}

/// A problem that a source has, with the status of its code; what is the service's own fault is told as such.
fn of_source(code: &str, detail: String, hint: &str) -> Problem {
    let listed = CODES.iter().find(|(known, _)| *known == code);
    match listed {
        Some((code, status)) if *status != 0 => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
            Problem::new(status, code, detail, hint)
        }
        _ => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail, hint),
    }
}

/// What was uploaded is not there any more.
pub fn upload_gone() -> Problem {
    Problem::new(
        StatusCode::GONE,
        "upload_gone",
        "This upload is not here, or not any more.",
        "Upload the file again; uploads are kept for a while and then removed.",
    )
}

/// There is nothing at this address.
pub fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "There is nothing at this address.",
        "Check the link.",
    )
}

/// The answer where no route is.
pub async fn nothing_here(request: HttpRequest) -> HttpResponse<BoxBody> {
    not_found().answer(&request)
}

/// The answer where a route is, but not for this method.
pub async fn wrong_method(request: HttpRequest) -> HttpResponse<BoxBody> {
    let path = request.match_pattern().unwrap_or_default();
    let mut methods: Vec<&str> = super::ROUTES
        .iter()
        .filter(|entry| entry.path == path)
        .map(|entry| entry.method)
        .collect();
    methods.sort_unstable();
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("This address does not take {}.", request.method()),
        format!("Use {}.", methods.join(" or ")),
    );
    let mut response = problem.answer(&request);
    if let Ok(value) = header::HeaderValue::from_str(&methods.join(", ")) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_listed_code_with_its_status() {
        let refusals = [
            Refusal::Invalid,
            Refusal::Scheme,
            Refusal::Credentials,
            Refusal::Port(22),
            Refusal::Blocked,
            Refusal::Denied,
            Refusal::Own,
        ];
        for refusal in refusals {
            let problem = Problem::from(LibraryError::Refused(refusal));
            let listed = CODES.iter().find(|(code, _)| *code == problem.code);
            assert_eq!(
                listed.map(|(_, status)| *status),
                Some(problem.status.as_u16()),
                "{}",
                problem.code
            );
        }
        for refusal in [
            Refusal::Unresolvable(String::new()),
            Refusal::Downgrade,
            Refusal::Redirects,
            Refusal::Bytes,
            Refusal::Connections,
            Refusal::Deadline,
        ] {
            assert!(
                CODES.iter().any(|(code, _)| *code == refusal.code()),
                "{}",
                refusal.code()
            );
        }
    }

    #[test]
    fn codes_are_listed_once() {
        let mut codes: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}
