//! From a request body to a [`Recipe`]: every rule has its own code and names the field it is about.

mod fields;
mod inquiry;
mod merge;
mod rule;

use serde_json::{Map, Value};
use url::Url;

use super::{Format, Mode, Presets, Recipe, SHORTEST, Segment, Shape, Source};
use crate::seconds::Seconds;
use crate::upload::UploadId;
pub use inquiry::{Inquiry, name_of};
use rule::{ANIMATION, BACKWARD};
pub use rule::{FIELDS, RecipeError, Rule};

const URL_CHARS: usize = 4096;
pub(super) const TITLE_CHARS: usize = 300;
/// Within so much of the moment asked for a picture is looked for.
const AFTER: Seconds = Seconds::from_whole(1);

/// What the configuration says about recipes: the limits, and the presets that may be named.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    pub max_clip: Seconds,
    pub max_segments: usize,
    /// None where recipes are complete.
    pub presets: Option<&'a Presets>,
}

impl Recipe {
    /// Parses a request body.
    ///
    /// # Errors
    /// The first rule that the body breaks, with the field.
    pub fn from_json(body: &[u8], limits: &Limits<'_>) -> Result<Recipe, RecipeError> {
        let value: Value = serde_json::from_slice(body).map_err(|_| Rule::Json.at(""))?;
        let Value::Object(mut fields) = value else {
            return Err(Rule::Json.at(""));
        };
        if let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return Err(Rule::UnknownField(name.clone()).at(name));
        }
        let source = source(&fields)?;
        if let Some(presets) = limits.presets {
            presets.lay_under(&mut fields)?;
        }
        Recipe::of_fields(source, &fields, limits)
    }

    /// The same from fields that are known and complete, of a source that was told apart from them.
    ///
    /// # Errors
    /// The first rule that they break, with the field.
    pub fn of_fields(
        source: Source,
        fields: &Map<String, Value>,
        limits: &Limits<'_>,
    ) -> Result<Recipe, RecipeError> {
        let segments = segments(fields, fields::format(fields)?, limits)?;
        recipe_of(source, segments, fields, limits)
    }

    /// Holds the recipe against the rules that concern more than one field; the command line builds recipes and calls this.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn checked(self, limits: &Limits<'_>) -> Result<Recipe, RecipeError> {
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
        self.checked_look()?;
        self.checked_shape()?;
        if self.mode == Mode::Fast {
            self.checked_fast()?;
        }
        Ok(self)
    }

    /// Wishes that contradict each other or ask for too much, whatever the format.
    fn checked_look(&self) -> Result<(), RecipeError> {
        let look = &self.look;
        if look
            .height
            .is_some_and(|height| !(16..=4320).contains(&height))
        {
            return Err(Rule::Height.at("height"));
        }
        if look.fps.is_some_and(|fps| !(1..=120).contains(&fps)) {
            return Err(Rule::Fps.at("fps"));
        }
        if look.mute && look.volume.is_some() {
            return Err(Rule::MuteSound.at("volume"));
        }
        if look.mute && look.loudness.is_some() {
            return Err(Rule::MuteSound.at("loudness"));
        }
        if look.volume.is_some() && look.loudness.is_some() {
            return Err(Rule::VolumeLoudness.at("loudness"));
        }
        if look.reverse && look.boomerang {
            return Err(Rule::ReverseBoomerang.at("boomerang"));
        }
        if (look.reverse || look.boomerang) && self.length() > BACKWARD {
            return Err(Rule::BackwardTooLong.at("end_time"));
        }
        for (fade, field) in [(look.fade_in, "fade_in"), (look.fade_out, "fade_out")] {
            if fade.is_some_and(|fade| fade <= Seconds::ZERO || fade > rule::FADE) {
                return Err(Rule::Fade.at(field));
            }
        }
        let fades = look.fade_in.unwrap_or_default() + look.fade_out.unwrap_or_default();
        if fades > self.playing() {
            let field = if look.fade_out.is_some() {
                "fade_out"
            } else {
                "fade_in"
            };
            return Err(Rule::FadeTooLong.at(field));
        }
        Ok(())
    }

    /// What the format has no place for.
    fn checked_shape(&self) -> Result<(), RecipeError> {
        let look = &self.look;
        let sound = [
            (look.volume.is_some(), "volume"),
            (look.loudness.is_some(), "loudness"),
        ];
        let pictures = [
            (look.crop.is_some(), "crop"),
            (look.height.is_some(), "height"),
            (look.fps.is_some(), "fps"),
            (look.caption_top.is_some(), "caption_top"),
            (look.caption_bottom.is_some(), "caption_bottom"),
            (look.caption_upper, "caption_upper"),
            (look.watermark.is_some(), "watermark"),
        ];
        let motion = [
            (look.fps.is_some(), "fps"),
            (look.speed.is_some(), "speed"),
            (look.fade_in.is_some(), "fade_in"),
            (look.fade_out.is_some(), "fade_out"),
            (look.reverse, "reverse"),
            (look.boomerang, "boomerang"),
        ];
        let shapeless: Vec<(bool, &str)> = match self.format.shape() {
            Shape::Film => Vec::new(),
            Shape::Animation => sound.to_vec(),
            Shape::Sound => [&pictures[..], &[(look.mute, "mute")]].concat(),
            Shape::Still => [&motion[..], &sound[..]].concat(),
        };
        if let Some((_, field)) = shapeless.into_iter().find(|(wished, _)| *wished) {
            return Err(Rule::Shapeless(self.format).at(field));
        }
        if self.format.shape() == Shape::Animation && self.playing() > ANIMATION {
            return Err(Rule::AnimationTooLong(self.format).at("end_time"));
        }
        if self.format.shape() == Shape::Still && self.segments.len() > 1 {
            return Err(Rule::StillSegments.at("segments"));
        }
        Ok(())
    }

    /// Fast mode copies what is there; only the sound can be left out.
    fn checked_fast(&self) -> Result<(), RecipeError> {
        if self.look.height.is_some() {
            return Err(Rule::FastHeight.at("height"));
        }
        if self.segments.len() > 1 {
            return Err(Rule::FastSegments.at("segments"));
        }
        if self.format != Format::Mp4 {
            return Err(Rule::FastFormat.at("format"));
        }
        let look = &self.look;
        let wishes = [
            (look.crop.is_some(), "crop"),
            (look.fps.is_some(), "fps"),
            (look.speed.is_some(), "speed"),
            (look.volume.is_some(), "volume"),
            (look.loudness.is_some(), "loudness"),
            (look.fade_in.is_some(), "fade_in"),
            (look.fade_out.is_some(), "fade_out"),
            (look.reverse, "reverse"),
            (look.boomerang, "boomerang"),
            (look.caption_top.is_some(), "caption_top"),
            (look.caption_bottom.is_some(), "caption_bottom"),
            (look.watermark.is_some(), "watermark"),
            (self.fit.is_some(), "fit"),
        ];
        match wishes.into_iter().find(|(wished, _)| *wished) {
            Some((_, field)) => Err(Rule::FastLook.at(field)),
            None => Ok(()),
        }
    }
}

/// A recipe of these segments and what the fields say of everything else.
pub(super) fn recipe_of(
    source: Source,
    segments: Vec<Segment>,
    fields: &Map<String, Value>,
    limits: &Limits<'_>,
) -> Result<Recipe, RecipeError> {
    Recipe {
        source,
        segments,
        mode: mode(fields)?,
        format: fields::format(fields)?,
        title: title(fields)?,
        look: fields::look(fields)?,
        fit: fields::fit(fields)?,
    }
    .checked(limits)
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

fn segments(
    fields: &Map<String, Value>,
    format: Format,
    limits: &Limits<'_>,
) -> Result<Vec<Segment>, RecipeError> {
    let Some(list) = fields.get("segments").filter(|list| !list.is_null()) else {
        let start = time(fields.get("start_time"), "start", "start_time")?;
        let end = match fields.get("end_time") {
            // One picture needs no end.
            None | Some(Value::Null) if format.shape() == Shape::Still => start + AFTER,
            end => time(end, "end", "end_time")?,
        };
        return Ok(vec![Segment { start, end }]);
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits<'_> = Limits {
        max_clip: Seconds::from_whole(180),
        max_segments: 20,
        presets: None,
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
            (
                recipe.mode,
                recipe.format,
                recipe.look.mute,
                recipe.look.height
            ),
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
        refused(&with(r#""format":"avi""#), "format_unknown", "format");
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
