//! From a request body to a [`Recipe`]: every rule has its own code and names the field it is about.

mod inquiry;

use serde_json::{Map, Value};
use url::Url;

use super::{Format, Mode, Recipe, SHORTEST, Segment, Source};
use crate::seconds::Seconds;
use crate::upload::UploadId;
pub use inquiry::{Inquiry, name_of};

/// The limits that the configuration sets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_clip: Seconds,
    pub max_segments: usize,
}

/// A refused wish: the rule it breaks and the field that breaks it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct RecipeError {
    pub rule: Rule,
    /// A JSON path such as `start_time` or `segments[2].end`; empty when the body as a whole is meant.
    pub field: String,
}

/// The rules, one variant each; the message is the sentence people read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    #[error("the body is not a JSON object")]
    Json,
    #[error("`{0}` is not a field of a recipe")]
    UnknownField(String),
    #[error("this field must be {0}")]
    Type(&'static str),
    #[error("neither a link nor an upload was given")]
    SourceMissing,
    #[error("give either url or upload")]
    SourceConflict,
    #[error("this is not the id of an upload")]
    UploadInvalid,
    #[error("no link was given")]
    UrlMissing,
    #[error("this is not a link")]
    UrlInvalid,
    #[error("this link is longer than {} characters", URL_CHARS)]
    UrlTooLong,
    #[error("only http and https links can be fetched")]
    UrlScheme,
    #[error("links with a user name or password are not fetched")]
    UrlCredentials,
    #[error("no {0} time was given")]
    TimeMissing(&'static str),
    #[error("this is not a time")]
    TimeInvalid,
    #[error("the end is not after the start")]
    TimeOrder,
    #[error("a clip is at least {} s long", SHORTEST)]
    TooShort,
    #[error("a clip is at most {0} s long")]
    TooLong(Seconds),
    #[error("give either start_time and end_time or segments")]
    SegmentsConflict,
    #[error("segments is empty")]
    SegmentsEmpty,
    #[error("a clip has at most {0} segments")]
    SegmentsTooMany(usize),
    #[error("mode is exact or fast")]
    Mode,
    #[error("format is mp4")]
    Format,
    #[error("height is a whole number of pixels from 16 to 4320")]
    Height,
    #[error("a title has at most {} characters", TITLE_CHARS)]
    TitleTooLong,
    #[error("a title has no control characters")]
    TitleInvalid,
    #[error("fast mode copies pictures and cannot change their height")]
    FastHeight,
    #[error("fast mode makes one segment")]
    FastSegments,
}

const URL_CHARS: usize = 4096;
pub(super) const TITLE_CHARS: usize = 300;
const FIELDS: [&str; 10] = [
    "url",
    "upload",
    "start_time",
    "end_time",
    "segments",
    "mode",
    "format",
    "title",
    "height",
    "mute",
];

impl Rule {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Rule::Json => "json_invalid",
            Rule::UnknownField(_) => "json_unknown_field",
            Rule::Type(_) => "field_type",
            Rule::SourceMissing => "source_missing",
            Rule::SourceConflict => "source_conflict",
            Rule::UploadInvalid => "upload_invalid",
            Rule::UrlMissing => "url_missing",
            Rule::UrlInvalid => "url_invalid",
            Rule::UrlTooLong => "url_too_long",
            Rule::UrlScheme => "url_scheme",
            Rule::UrlCredentials => "url_credentials",
            Rule::TimeMissing(_) => "time_missing",
            Rule::TimeInvalid => "time_invalid",
            Rule::TimeOrder => "time_order",
            Rule::TooShort => "clip_too_short",
            Rule::TooLong(_) => "clip_too_long",
            Rule::SegmentsConflict => "segments_conflict",
            Rule::SegmentsEmpty => "segments_empty",
            Rule::SegmentsTooMany(_) => "segments_too_many",
            Rule::Mode => "mode_unknown",
            Rule::Format => "format_unknown",
            Rule::Height => "height_invalid",
            Rule::TitleTooLong => "title_too_long",
            Rule::TitleInvalid => "title_invalid",
            Rule::FastHeight => "fast_height",
            Rule::FastSegments => "fast_segments",
        }
    }

    /// The next step.
    pub fn hint(&self) -> String {
        match self {
            Rule::Json => {
                "Send an object like {\"url\":\"https://…\",\"start_time\":10,\"end_time\":20}."
                    .to_owned()
            }
            Rule::UnknownField(name) => {
                let nearest = FIELDS.iter().max_by(|a, b| {
                    strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b))
                });
                match nearest {
                    Some(field) if strsim::jaro_winkler(name, field) > 0.75 => {
                        format!("Did you mean `{field}`?")
                    }
                    _ => format!("The fields are {}.", FIELDS.join(", ")),
                }
            }
            Rule::Type(_) => "Look at /api/openapi.json for the shape of a recipe.".to_owned(),
            Rule::SourceMissing => {
                "Give url, the address of a video, or upload, the id of a file uploaded to /api/uploads."
                    .to_owned()
            }
            Rule::SourceConflict => "Leave one of the two out.".to_owned(),
            Rule::UploadInvalid => {
                "Use the last part of the address that POST /api/uploads answered with.".to_owned()
            }
            Rule::UrlMissing | Rule::UrlInvalid => {
                "Paste the full address of a video, starting with https://.".to_owned()
            }
            Rule::UrlTooLong => "Use a shorter link to the same video.".to_owned(),
            Rule::UrlScheme => "Use a link that starts with http:// or https://.".to_owned(),
            Rule::UrlCredentials => "Use a link that needs no password.".to_owned(),
            Rule::TimeMissing(_) | Rule::TimeInvalid => {
                "Write seconds (83.5) or a clock time (1:23.5, 1:02:03).".to_owned()
            }
            Rule::TimeOrder => "Choose an end later than the start.".to_owned(),
            Rule::TooShort => "Choose a later end or an earlier start.".to_owned(),
            Rule::TooLong(_) => "Choose a shorter stretch or make several clips.".to_owned(),
            Rule::SegmentsConflict => "Leave one of the two out.".to_owned(),
            Rule::SegmentsEmpty => "Give at least one {\"start\",\"end\"}.".to_owned(),
            Rule::SegmentsTooMany(_) => "Make several clips.".to_owned(),
            Rule::Mode => {
                "Use exact for the very frames asked for, fast for no encoding.".to_owned()
            }
            Rule::Format => "Leave format out or say mp4.".to_owned(),
            Rule::Height => "Use for example 720; pictures are never scaled up.".to_owned(),
            Rule::TitleTooLong => "Shorten the title.".to_owned(),
            Rule::TitleInvalid => "Remove line breaks and other control characters.".to_owned(),
            Rule::FastHeight => "Use mode exact, or leave the height out.".to_owned(),
            Rule::FastSegments => "Use mode exact for several segments.".to_owned(),
        }
    }

    fn at(self, field: impl Into<String>) -> RecipeError {
        RecipeError {
            rule: self,
            field: field.into(),
        }
    }
}

impl Recipe {
    /// Parses a request body.
    ///
    /// # Errors
    /// The first rule that the body breaks, with the field.
    pub fn from_json(body: &[u8], limits: &Limits) -> Result<Recipe, RecipeError> {
        let value: Value = serde_json::from_slice(body).map_err(|_| Rule::Json.at(""))?;
        let Value::Object(fields) = value else {
            return Err(Rule::Json.at(""));
        };
        if let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return Err(Rule::UnknownField(name.clone()).at(name));
        }
        let source = source(&fields)?;
        Recipe {
            source,
            segments: segments(&fields, limits)?,
            mode: mode(&fields)?,
            format: format(&fields)?,
            title: title(&fields)?,
            height: height(&fields)?,
            mute: mute(&fields)?,
        }
        .checked(limits)
    }

    /// Holds the recipe against the rules that concern more than one field; the command line builds recipes and calls this.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn checked(self, limits: &Limits) -> Result<Recipe, RecipeError> {
        if self.segments.is_empty() {
            return Err(Rule::SegmentsEmpty.at("segments"));
        }
        if self.segments.len() > limits.max_segments {
            return Err(Rule::SegmentsTooMany(limits.max_segments).at("segments"));
        }
        for segment in &self.segments {
            if segment.end <= segment.start {
                return Err(Rule::TimeOrder.at("end_time"));
            }
            if segment.length() < SHORTEST {
                return Err(Rule::TooShort.at("end_time"));
            }
        }
        if self.length() > limits.max_clip {
            return Err(Rule::TooLong(limits.max_clip).at("end_time"));
        }
        if self
            .height
            .is_some_and(|height| !(16..=4320).contains(&height))
        {
            return Err(Rule::Height.at("height"));
        }
        if self.mode == Mode::Fast && self.height.is_some() {
            return Err(Rule::FastHeight.at("height"));
        }
        if self.mode == Mode::Fast && self.segments.len() > 1 {
            return Err(Rule::FastSegments.at("segments"));
        }
        Ok(self)
    }
}

/// A link as the standard for URLs (WHATWG) reads it, refused where that reading would differ from what was written.
///
/// # Errors
/// The rule broken, without a field.
pub fn parse_source_url(text: &str) -> Result<Url, Rule> {
    if text.is_empty() {
        return Err(Rule::UrlMissing);
    }
    if text.len() > URL_CHARS {
        return Err(Rule::UrlTooLong);
    }
    // The parser would silently drop tabs and line breaks, trim spaces and turn backslashes: what is fetched would not be what was shown.
    if text
        .chars()
        .any(|letter| letter.is_control() || letter.is_whitespace() || letter == '\\')
    {
        return Err(Rule::UrlInvalid);
    }
    let url = Url::parse(text).map_err(|_| Rule::UrlInvalid)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Rule::UrlScheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Rule::UrlCredentials);
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Rule::UrlInvalid);
    }
    Ok(url)
}

fn text<'a>(
    fields: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, RecipeError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Rule::Type("text").at(name)),
    }
}

fn source(fields: &Map<String, Value>) -> Result<Source, RecipeError> {
    match (text(fields, "url")?, text(fields, "upload")?) {
        (None, None) => Err(Rule::SourceMissing.at("url")),
        (Some(_), Some(_)) => Err(Rule::SourceConflict.at("upload")),
        (Some(url), None) => parse_source_url(url)
            .map(Source::Url)
            .map_err(|rule| rule.at("url")),
        (None, Some(id)) => id
            .parse::<UploadId>()
            .map(Source::Upload)
            .map_err(|_| Rule::UploadInvalid.at("upload")),
    }
}

fn time(value: Option<&Value>, word: &'static str, field: &str) -> Result<Seconds, RecipeError> {
    let time = match value {
        None | Some(Value::Null) => return Err(Rule::TimeMissing(word).at(field)),
        Some(Value::Number(number)) => number
            .as_f64()
            .and_then(|number| Seconds::from_f64(number).ok()),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    time.filter(|time| *time >= Seconds::ZERO)
        .ok_or_else(|| Rule::TimeInvalid.at(field))
}

fn segments(fields: &Map<String, Value>, limits: &Limits) -> Result<Vec<Segment>, RecipeError> {
    let Some(list) = fields.get("segments").filter(|list| !list.is_null()) else {
        let segment = Segment {
            start: time(fields.get("start_time"), "start", "start_time")?,
            end: time(fields.get("end_time"), "end", "end_time")?,
        };
        return Ok(vec![segment]);
    };
    if fields.contains_key("start_time") || fields.contains_key("end_time") {
        return Err(Rule::SegmentsConflict.at("segments"));
    }
    let Value::Array(list) = list else {
        return Err(Rule::Type("a list of {start, end}").at("segments"));
    };
    if list.len() > limits.max_segments {
        return Err(Rule::SegmentsTooMany(limits.max_segments).at("segments"));
    }
    list.iter()
        .enumerate()
        .map(|(place, item)| {
            let field = format!("segments[{place}]");
            let Value::Object(item) = item else {
                return Err(Rule::Type("a list of {start, end}").at(field));
            };
            if let Some(name) = item
                .keys()
                .find(|name| !matches!(name.as_str(), "start" | "end"))
            {
                return Err(Rule::UnknownField(name.clone()).at(format!("{field}.{name}")));
            }
            Ok(Segment {
                start: time(item.get("start"), "start", &format!("{field}.start"))?,
                end: time(item.get("end"), "end", &format!("{field}.end"))?,
            })
        })
        .collect()
}

fn mode(fields: &Map<String, Value>) -> Result<Mode, RecipeError> {
    match text(fields, "mode")? {
        None | Some("exact") => Ok(Mode::Exact),
        Some("fast") => Ok(Mode::Fast),
        Some(_) => Err(Rule::Mode.at("mode")),
    }
}

fn format(fields: &Map<String, Value>) -> Result<Format, RecipeError> {
    match text(fields, "format")? {
        None | Some("mp4") => Ok(Format::Mp4),
        Some(_) => Err(Rule::Format.at("format")),
    }
}

fn title(fields: &Map<String, Value>) -> Result<Option<String>, RecipeError> {
    let Some(title) = text(fields, "title")? else {
        return Ok(None);
    };
    if title.chars().count() > TITLE_CHARS {
        return Err(Rule::TitleTooLong.at("title"));
    }
    if title.chars().any(char::is_control) {
        return Err(Rule::TitleInvalid.at("title"));
    }
    let title = title.trim();
    Ok((!title.is_empty()).then(|| title.to_owned()))
}

fn height(fields: &Map<String, Value>) -> Result<Option<u32>, RecipeError> {
    match fields.get("height") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|height| u32::try_from(height).ok())
            .map(Some)
            .ok_or_else(|| Rule::Height.at("height")),
    }
}

fn mute(fields: &Map<String, Value>) -> Result<bool, RecipeError> {
    match fields.get("mute") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(mute)) => Ok(*mute),
        Some(_) => Err(Rule::Type("true or false").at("mute")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_clip: Seconds::from_whole(180),
        max_segments: 20,
    };

    fn parse(body: &str) -> Result<Recipe, RecipeError> {
        Recipe::from_json(body.as_bytes(), &LIMITS)
    }

    #[track_caller]
    fn refused(body: &str, code: &str, field: &str) {
        match parse(body) {
            Ok(recipe) => panic!("accepted {body} as {recipe:?}"),
            Err(error) => assert_eq!(
                (error.rule.code(), error.field.as_str()),
                (code, field),
                "{body}"
            ),
        }
    }

    #[test]
    fn three_fields_are_a_full_recipe() {
        let recipe =
            parse(r#"{"url":"https://example.com/a%20b.mp4","start_time":"1:23.5","end_time":90}"#)
                .unwrap();
        assert_eq!(
            recipe.segments,
            [Segment {
                start: Seconds::from_micros(83_500_000),
                end: Seconds::from_whole(90)
            }]
        );
        assert_eq!(
            (recipe.mode, recipe.format, recipe.mute, recipe.height),
            (Mode::Exact, Format::Mp4, false, None)
        );
        assert_eq!(recipe.title_or_default(), "a b");
    }

    #[test]
    fn a_recipe_can_be_sent_again_as_it_serialises() {
        let body = r#"{"url":"https://example.com/v.mp4","segments":[{"start":1,"end":"2.5"},{"start":9,"end":10}],
            "mode":"exact","title":"Ж","height":480,"mute":true}"#;
        let recipe = parse(body).unwrap();
        let again = parse(&serde_json::to_string(&recipe).unwrap()).unwrap();
        assert_eq!(again, recipe);
        let stored: Recipe =
            serde_json::from_str(&serde_json::to_string(&recipe).unwrap()).unwrap();
        assert_eq!(stored, recipe);
    }

    #[test]
    fn links_that_are_not_links_are_refused() {
        for (url, code) in [
            ("", "url_missing"),
            ("http://exa mple.com/a", "url_invalid"),
            ("http://example.com:99999/a", "url_invalid"),
            ("http://example.com@127.0.0.1/a", "url_credentials"),
            ("https://u:p@example.com/a", "url_credentials"),
            (r"http://example.com/\r\nHost: x", "url_invalid"),
            ("-version", "url_invalid"),
            ("--exec=id", "url_invalid"),
            ("/etc/passwd", "url_invalid"),
            ("../../etc/passwd", "url_invalid"),
            ("http://", "url_invalid"),
            ("pipe:0", "url_scheme"),
            ("ftp://example.com/a", "url_scheme"),
            ("file:///etc/passwd", "url_scheme"),
            ("concat:http://a|http://b", "url_scheme"),
            ("lavfi:testsrc", "url_scheme"),
            ("javascript:alert(1)", "url_scheme"),
            ("http+unix://%2Frun%2Fd.sock/x", "url_scheme"),
        ] {
            let body = serde_json::json!({"url": url, "start_time": 0, "end_time": 5}).to_string();
            refused(&body, code, "url");
        }
        let backslashes =
            serde_json::json!({"url": "hTTp:\\\\example.com\\a", "start_time": 0, "end_time": 5});
        refused(&backslashes.to_string(), "url_invalid", "url");
        let long = serde_json::json!({"url": format!("https://e.com/{}", "a".repeat(5000)), "start_time": 0, "end_time": 5});
        refused(&long.to_string(), "url_too_long", "url");
        refused(
            r#"{"url":7,"start_time":0,"end_time":5}"#,
            "field_type",
            "url",
        );
        refused(r#"{"start_time":0,"end_time":5}"#, "source_missing", "url");
    }

    #[test]
    fn a_recipe_has_one_source() {
        let id = "5f0c1a52-7c3e-4d8a-9d0b-0123456789ab";
        let with = |source: &str| format!(r#"{{{source},"start_time":0,"end_time":5}}"#);
        let recipe = parse(&with(&format!(r#""upload":"{id}""#))).unwrap();
        assert_eq!(recipe.source, Source::Upload(id.parse().unwrap()));
        assert_eq!(recipe.title_or_default(), "clip");
        let again = parse(&serde_json::to_string(&recipe).unwrap()).unwrap();
        assert_eq!(again, recipe);
        assert!(!recipe.public().to_string().contains(id));
        refused(
            &with(&format!(r#""url":"https://e.com/a","upload":"{id}""#)),
            "source_conflict",
            "upload",
        );
        refused(
            &with(r#""url":null,"upload":null"#),
            "source_missing",
            "url",
        );
        for wrong in [
            "",
            "../../etc/passwd",
            "x",
            &id.to_uppercase(),
            &id.replace('-', ""),
        ] {
            refused(
                &with(&format!(r#""upload":"{wrong}""#)),
                "upload_invalid",
                "upload",
            );
        }
        refused(&with(r#""upload":7"#), "field_type", "upload");
        refused(
            &with(&format!(r#""file":"{id}""#)),
            "json_unknown_field",
            "file",
        );
    }

    #[test]
    fn times_have_rules_with_codes() {
        for (start, end, code, field) in [
            ("-1", "5", "time_invalid", "start_time"),
            ("0", "1e308", "time_invalid", "end_time"),
            ("0", "1e-320", "time_order", "end_time"),
            ("0", "0.05", "clip_too_short", "end_time"),
            ("5", "5", "time_order", "end_time"),
            ("9", "5", "time_order", "end_time"),
            ("0", "180.001", "clip_too_long", "end_time"),
            ("\"00:61:00\"", "\"00:62:00\"", "time_invalid", "start_time"),
            ("\"abc\"", "\"5\"", "time_invalid", "start_time"),
            ("\" 1\"", "5", "time_invalid", "start_time"),
            ("\"$(id)\"", "5", "time_invalid", "start_time"),
            ("{}", "5", "time_invalid", "start_time"),
            ("true", "5", "time_invalid", "start_time"),
            ("[]", "5", "time_invalid", "start_time"),
            ("null", "5", "time_missing", "start_time"),
            (
                "9223372036854775808",
                "9223372036854775809",
                "time_invalid",
                "start_time",
            ),
        ] {
            let body = format!(
                r#"{{"url":"https://example.com/a","start_time":{start},"end_time":{end}}}"#
            );
            refused(&body, code, field);
        }
        refused(
            r#"{"url":"https://e.com/a","start_time":0,"end_time":1e400}"#,
            "json_invalid",
            "",
        );
        refused(
            r#"{"url":"https://e.com/a","start_time":0}"#,
            "time_missing",
            "end_time",
        );
        assert!(parse(r#"{"url":"https://e.com/a","start_time":0,"end_time":0.1}"#).is_ok());
        assert!(parse(r#"{"url":"https://e.com/a","start_time":0,"end_time":180}"#).is_ok());
    }

    #[test]
    fn every_other_field_has_its_rule() {
        let with = |rest: &str| {
            format!(r#"{{"url":"https://e.com/a","start_time":0,"end_time":5,{rest}}}"#)
        };
        refused(&with(r#""mode":"quick""#), "mode_unknown", "mode");
        refused(&with(r#""mode":true"#), "field_type", "mode");
        refused(&with(r#""format":"gif""#), "format_unknown", "format");
        refused(&with(r#""height":15"#), "height_invalid", "height");
        refused(&with(r#""height":4321"#), "height_invalid", "height");
        refused(&with(r#""height":720.5"#), "height_invalid", "height");
        refused(&with(r#""height":-720"#), "height_invalid", "height");
        refused(&with(r#""mute":"yes""#), "field_type", "mute");
        refused(&with(r#""title":"a\u0000b""#), "title_invalid", "title");
        refused(
            &with(&format!(r#""title":"{}""#, "字".repeat(301))),
            "title_too_long",
            "title",
        );
        refused(
            &with(r#""mode":"fast","height":480"#),
            "fast_height",
            "height",
        );
        refused(&with(r#""titel":"x""#), "json_unknown_field", "titel");
        refused(&with(r#""segments":[]"#), "segments_conflict", "segments");
    }

    #[test]
    fn segments_are_checked_one_by_one() {
        let with = |rest: &str| format!(r#"{{"url":"https://e.com/a",{rest}}}"#);
        refused(&with(r#""segments":[]"#), "segments_empty", "segments");
        refused(&with(r#""segments":{}"#), "field_type", "segments");
        refused(&with(r#""segments":[5]"#), "field_type", "segments[0]");
        refused(
            &with(r#""segments":[{"start":1,"end":2},{"start":"x","end":2}]"#),
            "time_invalid",
            "segments[1].start",
        );
        refused(
            &with(r#""segments":[{"start":1,"end":2,"speed":2}]"#),
            "json_unknown_field",
            "segments[0].speed",
        );
        refused(
            &with(r#""segments":[{"start":0,"end":100},{"start":200,"end":300}]"#),
            "clip_too_long",
            "end_time",
        );
        refused(
            &with(r#""mode":"fast","segments":[{"start":0,"end":1},{"start":2,"end":3}]"#),
            "fast_segments",
            "segments",
        );
        let many = vec![r#"{"start":0,"end":1}"#; 21].join(",");
        refused(
            &with(&format!(r#""segments":[{many}]"#)),
            "segments_too_many",
            "segments",
        );
    }

    #[test]
    fn bodies_that_are_no_object_are_refused() {
        for body in [
            "",
            "null",
            "[]",
            "\"x\"",
            "{",
            "\u{feff}{}",
            r#"{"url":"\ud800"}"#,
            r#"{"end_time":-Infinity}"#,
        ] {
            refused(body, "json_invalid", "");
        }
        assert_eq!(
            Recipe::from_json(b"{\"url\":\"\xff\"}", &LIMITS)
                .unwrap_err()
                .rule,
            Rule::Json
        );
    }
}
