//! Recipes made of others: one with some fields different (RFC 7396), and several of one source. Both come through the recipe's own parser.

use serde_json::{Map, Value};

use super::{Limits, Recipe, RecipeError, Rule};
use crate::recipe::{Format, Shape};

/// What of a span is no field of a recipe, and what it is called there.
const SPAN: [(&str, &str); 3] = [
    ("start", "start_time"),
    ("end", "end_time"),
    ("title", "title"),
];

impl Recipe {
    /// The recipe with these fields different; `null` takes one away.
    ///
    /// # Errors
    /// The first rule that what comes out breaks.
    pub fn merged(
        &self,
        patch: &Map<String, Value>,
        limits: &Limits,
    ) -> Result<Recipe, RecipeError> {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(self) else {
            return Err(Rule::Json.at(""));
        };
        let mut patch = patch.clone();
        if let Some(presets) = limits.presets {
            presets.lay_under(&mut patch)?;
        }
        let given = |name: &str| patch.contains_key(name);
        if given("start_time") || given("end_time") {
            // The other end of a single stretch stays where it is. A picture has none of its own.
            let format = match patch.get("format") {
                None => Some(self.format),
                Some(format) => format.as_str().and_then(|format| format.parse().ok()),
            };
            let still = format.is_some_and(|format: Format| format.shape() == Shape::Still);
            fields.remove("segments");
            if let [only] = self.segments.as_slice()
                && !given("segments")
            {
                fields.insert("start_time".to_owned(), only.start.as_f64().into());
                if !still {
                    fields.insert("end_time".to_owned(), only.end.as_f64().into());
                }
            }
        }
        for (name, value) in patch {
            if value.is_null() {
                fields.remove(&name);
            } else {
                fields.insert(name, value);
            }
        }
        Recipe::from_json(Value::Object(fields).to_string().as_bytes(), limits)
    }

    /// Several clips of one source: `spans` of `{start, end, title}`, and the other fields for all of them.
    ///
    /// # Errors
    /// The first rule that the body breaks; a field of a span is called `spans[2].end`.
    pub fn several_from_json(body: &[u8], limits: &Limits) -> Result<Vec<Recipe>, RecipeError> {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
            return Err(Rule::Json.at(""));
        };
        for name in ["segments", "start_time", "end_time"] {
            if fields.contains_key(name) {
                return Err(Rule::UnknownField(name.to_owned()).at(name));
            }
        }
        let spans = match fields.remove("spans") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(spans)) => spans,
            Some(_) => return Err(Rule::Type(LIST).at("spans")),
        };
        if spans.is_empty() {
            return Err(Rule::SpansMissing.at("spans"));
        }
        if spans.len() > limits.max_segments {
            return Err(Rule::SpansTooMany(limits.max_segments).at("spans"));
        }
        let each = spans.iter().enumerate();
        each.map(|(place, span)| one(&fields, place, span, limits))
            .collect()
    }
}

const LIST: &str = "a list of {start, end, title}";

fn one(
    shared: &Map<String, Value>,
    place: usize,
    span: &Value,
    limits: &Limits,
) -> Result<Recipe, RecipeError> {
    let field = format!("spans[{place}]");
    let Value::Object(span) = span else {
        return Err(Rule::Type(LIST).at(field));
    };
    let mut fields = shared.clone();
    for (name, value) in span {
        let Some((_, known)) = SPAN.iter().find(|(own, _)| own == name) else {
            return Err(Rule::UnknownField(name.clone()).at(format!("{field}.{name}")));
        };
        fields.insert((*known).to_owned(), value.clone());
    }
    let made = Recipe::from_json(Value::Object(fields).to_string().as_bytes(), limits);
    made.map_err(|error| {
        let own = SPAN.iter().find(|(own, known)| {
            *known == error.field && (*own != "title" || span.contains_key("title"))
        });
        match own {
            Some((own, _)) => error.rule.at(format!("{field}.{own}")),
            None => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seconds::Seconds;

    const LIMITS: Limits = Limits {
        max_clip: Seconds::from_whole(180),
        max_segments: 3,
        presets: None,
    };

    fn recipe(body: &str) -> Recipe {
        Recipe::from_json(body.as_bytes(), &LIMITS).unwrap()
    }

    #[test]
    fn what_is_given_changes_and_all_else_stays() {
        const ONE: &str = r#"{"url":"https://e.com/v.mp4","start_time":1,"end_time":3,"height":240,"mute":true,"title":"x","fit":"10MB"}"#;
        const TWO: &str =
            r#"{"url":"https://e.com/v.mp4","segments":[{"start":1,"end":2},{"start":5,"end":6}]}"#;
        for (body, patch, expected) in [
            (ONE, r#"{}"#, Ok(ONE)),
            (
                ONE,
                r#"{"end_time":2.5,"height":null,"mute":null}"#,
                Ok(
                    r#"{"url":"https://e.com/v.mp4","start_time":1,"end_time":2.5,"title":"x","fit":"10MB"}"#,
                ),
            ),
            (
                ONE,
                r#"{"segments":[{"start":4,"end":5}],"format":"gif","fit":null}"#,
                Ok(
                    r#"{"url":"https://e.com/v.mp4","start_time":4,"end_time":5,"height":240,"mute":true,"title":"x","format":"gif"}"#,
                ),
            ),
            // A picture has no end of its own.
            (
                r#"{"url":"https://e.com/v.mp4","start_time":1,"format":"jpg"}"#,
                r#"{"start_time":7}"#,
                Ok(r#"{"url":"https://e.com/v.mp4","start_time":7,"format":"jpg"}"#),
            ),
            (
                r#"{"url":"https://e.com/v.mp4","start_time":1,"end_time":3}"#,
                r#"{"start_time":7,"format":"jpg"}"#,
                Ok(r#"{"url":"https://e.com/v.mp4","start_time":7,"format":"jpg"}"#),
            ),
            (
                r#"{"url":"https://e.com/v.mp4","start_time":1,"format":"jpg"}"#,
                r#"{"start_time":0.5,"format":null}"#,
                Ok(r#"{"url":"https://e.com/v.mp4","start_time":0.5,"end_time":2}"#),
            ),
            (
                TWO,
                r#"{"start_time":"0:02","end_time":4}"#,
                Ok(r#"{"url":"https://e.com/v.mp4","start_time":2,"end_time":4}"#),
            ),
            (ONE, r#"{"end_time":0.5}"#, Err(("time_order", "end_time"))),
            (
                ONE,
                r#"{"end_time":"soon"}"#,
                Err(("time_invalid", "end_time")),
            ),
            (
                ONE,
                r#"{"segments":null}"#,
                Err(("time_missing", "start_time")),
            ),
            (
                TWO,
                r#"{"end_time":4}"#,
                Err(("time_missing", "start_time")),
            ),
            (
                ONE,
                r#"{"end_time":4,"segments":[{"start":4,"end":5}]}"#,
                Err(("segments_conflict", "segments")),
            ),
        ] {
            let Ok(Value::Object(patch)) = serde_json::from_str(patch) else {
                panic!("{patch}")
            };
            let merged = recipe(body).merged(&patch, &LIMITS);
            let told = merged
                .as_ref()
                .map_err(|error| (error.rule.code(), error.field.as_str()));
            assert_eq!(
                told,
                expected.map(recipe).as_ref().map_err(|error| *error),
                "{body} {patch:?}"
            );
        }
    }

    #[test]
    fn several_have_all_in_common_but_their_spans() {
        let body = r#"{"url":"https://e.com/v.mp4","height":240,"title":"all","spans":[{"start":1,"end":2},{"start":"0:05","end":6,"title":"b"}]}"#;
        let several = Recipe::several_from_json(body.as_bytes(), &LIMITS).unwrap();
        let expected = [
            r#"{"url":"https://e.com/v.mp4","start_time":1,"end_time":2,"height":240,"title":"all"}"#,
            r#"{"url":"https://e.com/v.mp4","start_time":5,"end_time":6,"height":240,"title":"b"}"#,
        ];
        assert_eq!(several, expected.map(recipe));
    }

    #[test]
    fn a_wrong_span_is_named_by_its_place() {
        let span = |rest: &str| format!(r#"{{"url":"https://e.com/v.mp4",{rest}}}"#);
        for (body, code, field) in [
            ("[]".to_owned(), "json_invalid", ""),
            (span(r#""spans":[]"#), "spans_missing", "spans"),
            (span(r#""mute":true"#), "spans_missing", "spans"),
            (span(r#""spans":7"#), "field_type", "spans"),
            (span(r#""spans":[7]"#), "field_type", "spans[0]"),
            (
                span(
                    r#""spans":[{"start":1,"end":2},{"start":3,"end":4},{"start":5,"end":6},{"start":7,"end":8}]"#,
                ),
                "spans_too_many",
                "spans",
            ),
            (
                span(r#""spans":[{"start":1,"end":2},{"start":3,"end":4},{"start":5}]"#),
                "time_missing",
                "spans[2].end",
            ),
            (
                span(r#""spans":[{"start":1,"end":2},{"start":"x","end":4}]"#),
                "time_invalid",
                "spans[1].start",
            ),
            (
                span(r#""spans":[{"start":2,"end":1}]"#),
                "time_order",
                "spans[0].end",
            ),
            (
                span(r#""spans":[{"start":1,"end":2,"mute":true}]"#),
                "json_unknown_field",
                "spans[0].mute",
            ),
            (
                span(r#""spans":[{"start":1,"end":2}],"start_time":1"#),
                "json_unknown_field",
                "start_time",
            ),
            (
                span(r#""spans":[{"start":1,"end":2}],"colour":1"#),
                "json_unknown_field",
                "colour",
            ),
            (
                span(r#""spans":[{"start":1,"end":2}],"height":-1"#),
                "height_invalid",
                "height",
            ),
        ] {
            let error = Recipe::several_from_json(body.as_bytes(), &LIMITS).unwrap_err();
            assert_eq!(
                (error.rule.code(), error.field.as_str()),
                (code, field),
                "{body}"
            );
        }
    }
}
