//! From the body of `POST /api/sources` to an [`Inquiry`].

use serde_json::Value;

use super::{Limits, RecipeError, Rule, mode, segments, source};
use crate::recipe::{Format, Look, Mode, Recipe, Segment, Source};
use crate::title;

/// A question about a source: what it is, and what a clip of a stretch would cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Inquiry {
    pub source: Source,
    /// The stretch that the estimate is about; none for one from the middle.
    pub stretch: Option<Segment>,
    pub mode: Mode,
}

const FIELDS: [&str; 5] = ["url", "upload", "start_time", "end_time", "mode"];

impl Inquiry {
    /// Parses a request body.
    ///
    /// # Errors
    /// The first rule that the body breaks, with the field.
    pub fn from_json(body: &[u8], limits: &Limits<'_>) -> Result<Inquiry, RecipeError> {
        let value: Value = serde_json::from_slice(body).map_err(|_| Rule::Json.at(""))?;
        let Value::Object(fields) = value else {
            return Err(Rule::Json.at(""));
        };
        if let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return Err(Rule::UnknownField(name.clone()).at(name));
        }
        let source = source(&fields)?;
        let mode = mode(&fields)?;
        let timed = ["start_time", "end_time"]
            .iter()
            .any(|name| fields.get(*name).is_some_and(|time| !time.is_null()));
        let stretch = if timed {
            let asked = recipe(
                source.clone(),
                segments(&fields, Format::Mp4, limits)?,
                mode,
            );
            asked.checked(limits)?.segments.first().copied()
        } else {
            None
        };
        Ok(Inquiry {
            source,
            stretch,
            mode,
        })
    }
}

/// What a source is called by its address alone.
pub fn name_of(source: &Source) -> String {
    let named = recipe(source.clone(), Vec::new(), Mode::Exact).title_or_default();
    title::clean(&named).unwrap_or_else(|| "clip".to_owned())
}

fn recipe(source: Source, segments: Vec<Segment>, mode: Mode) -> Recipe {
    Recipe {
        source,
        segments,
        mode,
        format: Format::Mp4,
        title: None,
        look: Look::default(),
        fit: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seconds::Seconds;

    fn parse(body: &str) -> Result<Inquiry, RecipeError> {
        let limits = Limits {
            max_clip: Seconds::from_whole(180),
            max_segments: 20,
            presets: None,
        };
        Inquiry::from_json(body.as_bytes(), &limits)
    }

    #[test]
    fn a_link_alone_is_a_question() {
        let inquiry = parse(r#"{"url":"https://example.com/a%20b.mp4"}"#).unwrap();
        assert_eq!((inquiry.stretch, inquiry.mode), (None, Mode::Exact));
        assert_eq!(name_of(&inquiry.source), "a b");
        let inquiry =
            parse(r#"{"url":"https://x.org/v","start_time":"1:00","end_time":70,"mode":"fast"}"#)
                .unwrap();
        assert_eq!(inquiry.stretch.unwrap().length(), Seconds::from_whole(10));
        assert_eq!(inquiry.mode, Mode::Fast);
    }

    #[test]
    fn bad_questions_name_rule_and_field() {
        for (body, code, field) in [
            ("[]", "json_invalid", ""),
            ("{}", "source_missing", "url"),
            (r#"{"url":"ftp://x.org/v"}"#, "url_scheme", "url"),
            (r#"{"url":7}"#, "field_type", "url"),
            (
                r#"{"url":"https://x.org/v","title":"x"}"#,
                "json_unknown_field",
                "title",
            ),
            (
                r#"{"url":"https://x.org/v","start_time":1}"#,
                "time_missing",
                "end_time",
            ),
            (
                r#"{"url":"https://x.org/v","start_time":2,"end_time":1}"#,
                "time_order",
                "end_time",
            ),
            (
                r#"{"url":"https://x.org/v","start_time":2,"end_time":999}"#,
                "clip_too_long",
                "end_time",
            ),
            (
                r#"{"url":"https://x.org/v","mode":"slow"}"#,
                "mode_unknown",
                "mode",
            ),
        ] {
            let error = parse(body).unwrap_err();
            assert_eq!(
                (error.rule.code(), error.field.as_str()),
                (code, field),
                "{body}"
            );
        }
    }

    #[test]
    fn names_from_links_are_cleaned() {
        let source = Source::Url("https://x.org/%E2%80%AE4pm%00%0Ax.mp4".parse().unwrap());
        assert_eq!(name_of(&source), "4pm x");
    }
}
