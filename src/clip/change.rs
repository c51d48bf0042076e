//! What may be changed about a clip that is there: from a body to a [`Change`]. Pure.

use serde_json::{Map, Value};

use crate::recipe;
use crate::timestamp::Timestamp;
use crate::title;

/// What is to be different; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub title: Option<String>,
    pub pinned: Option<bool>,
    pub expires_at: Option<Timestamp>,
    /// Fields of the recipe by which the clip is to be made again; `null` takes one away. None when it stays as it is.
    pub recipe: Map<String, Value>,
}

/// Why a body is no change; the message is the sentence people read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("the body is not a JSON object")]
    Json,
    #[error("`{0}` is not something that can be changed")]
    UnknownField(String),
    #[error("this field must be {1}")]
    Type(&'static str, &'static str),
    #[error("a title has at most {} characters", title::MOST)]
    TitleTooLong,
    #[error("a title has at least one character and no control characters")]
    TitleInvalid,
    #[error("this is not a moment")]
    Moment,
}

const FIELDS: [&str; 3] = ["title", "pinned", "expires_at"];

impl ChangeError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            ChangeError::Json => "json_invalid",
            ChangeError::UnknownField(_) => "json_unknown_field",
            ChangeError::Type(..) => "field_type",
            ChangeError::TitleTooLong => "title_too_long",
            ChangeError::TitleInvalid => "title_invalid",
            ChangeError::Moment => "expires_at_invalid",
        }
    }

    /// The field that is meant; empty for the body as a whole.
    pub fn field(&self) -> &str {
        match self {
            ChangeError::Json => "",
            ChangeError::UnknownField(name) => name,
            ChangeError::Type(field, _) => field,
            ChangeError::TitleTooLong | ChangeError::TitleInvalid => "title",
            ChangeError::Moment => "expires_at",
        }
    }

    /// The next step.
    pub fn hint(&self) -> String {
        match self {
            ChangeError::Json => "Send an object like {\"pinned\":true}.".to_owned(),
            ChangeError::UnknownField(_) => {
                let recipe = recipe::FIELDS.into_iter().filter(|name| is_of_recipe(name));
                let all: Vec<&str> = FIELDS.into_iter().chain(recipe).collect();
                format!("What can be changed is {}.", all.join(", "))
            }
            ChangeError::Type(..) => {
                "Look at /api/openapi.json for the shape of a change.".to_owned()
            }
            ChangeError::TitleTooLong => "Shorten the title.".to_owned(),
            ChangeError::TitleInvalid => "Write the title on one line.".to_owned(),
            ChangeError::Moment => "Write it like 2027-01-31T18:00:00Z.".to_owned(),
        }
    }
}

impl Change {
    /// Parses a request body.
    ///
    /// # Errors
    /// The first rule that the body breaks.
    pub fn from_json(body: &[u8]) -> Result<Change, ChangeError> {
        let value: Value = serde_json::from_slice(body).map_err(|_| ChangeError::Json)?;
        let Value::Object(fields) = value else {
            return Err(ChangeError::Json);
        };
        let known = |name: &str| FIELDS.contains(&name) || is_of_recipe(name);
        if let Some(name) = fields.keys().find(|name| !known(name)) {
            return Err(ChangeError::UnknownField(name.clone()));
        }
        let recipe = fields.iter().filter(|(name, _)| is_of_recipe(name));
        let recipe = recipe.map(|(name, value)| (name.clone(), value.clone()));
        Ok(Change {
            title: new_title(&fields)?,
            pinned: match fields.get("pinned") {
                None => None,
                Some(Value::Bool(pinned)) => Some(*pinned),
                Some(_) => return Err(ChangeError::Type("pinned", "true or false")),
            },
            expires_at: moment(&fields)?,
            recipe: recipe.collect(),
        })
    }

    /// The names of what is to be different about the clip as it is.
    pub fn fields(&self) -> Vec<&'static str> {
        let named = [
            self.title.is_some(),
            self.pinned.is_some(),
            self.expires_at.is_some(),
        ];
        let named = FIELDS.into_iter().zip(named);
        named
            .filter(|(_, there)| *there)
            .map(|(name, _)| name)
            .collect()
    }
}

/// Whether a clip is made again for this. The source stays: another one is another clip. A title is the clip's.
fn is_of_recipe(name: &str) -> bool {
    recipe::FIELDS.contains(&name) && !matches!(name, "url" | "upload" | "title")
}

fn new_title(fields: &Map<String, Value>) -> Result<Option<String>, ChangeError> {
    let given = match fields.get("title") {
        None => return Ok(None),
        Some(Value::String(given)) => given,
        Some(_) => return Err(ChangeError::Type("title", "text")),
    };
    if given.chars().count() > title::MOST {
        return Err(ChangeError::TitleTooLong);
    }
    let trimmed = given.trim();
    if trimmed.is_empty() || given.chars().any(char::is_control) {
        return Err(ChangeError::TitleInvalid);
    }
    Ok(Some(trimmed.to_owned()))
}

fn moment(fields: &Map<String, Value>) -> Result<Option<Timestamp>, ChangeError> {
    match fields.get("expires_at") {
        None => Ok(None),
        Some(value @ Value::String(_)) => {
            let moment = serde_json::from_value(value.clone());
            moment.map(Some).map_err(|_| ChangeError::Moment)
        }
        Some(_) => Err(ChangeError::Type("expires_at", "a moment")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_or_refused_by_name() {
        let parse = |body: &str| Change::from_json(body.as_bytes());
        assert_eq!(parse("{}"), Ok(Change::default()));
        let all = r#"{"title":" Ж ","pinned":true,"expires_at":"2027-01-31T18:00:00+01:00"}"#;
        let change = parse(all).unwrap();
        assert_eq!(change.fields(), FIELDS);
        assert_eq!(change.title.as_deref(), Some("Ж"));
        assert_eq!(
            change.expires_at.map(|at| at.to_string()).as_deref(),
            Some("2027-01-31T17:00:00.000Z")
        );
        let again = parse(r#"{"segments":[],"mute":null,"title":"x"}"#).unwrap();
        let mut names: Vec<&str> = again.recipe.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            (names, again.fields()),
            (vec!["mute", "segments"], vec!["title"])
        );
        for (body, code, field) in [
            ("", "json_invalid", ""),
            ("[]", "json_invalid", ""),
            (r#"{"url":"https://e.com/"}"#, "json_unknown_field", "url"),
            (r#"{"upload":null}"#, "json_unknown_field", "upload"),
            (r#"{"state":"ready"}"#, "json_unknown_field", "state"),
            (r#"{"pinned":1}"#, "field_type", "pinned"),
            (r#"{"pinned":null}"#, "field_type", "pinned"),
            (r#"{"title":7}"#, "field_type", "title"),
            (r#"{"title":"  "}"#, "title_invalid", "title"),
            (r#"{"title":"a\nb"}"#, "title_invalid", "title"),
            (r#"{"expires_at":null}"#, "field_type", "expires_at"),
            (r#"{"expires_at":1}"#, "field_type", "expires_at"),
            (
                r#"{"expires_at":"tomorrow"}"#,
                "expires_at_invalid",
                "expires_at",
            ),
        ] {
            let error = parse(body).unwrap_err();
            assert_eq!((error.code(), error.field()), (code, field), "{body}");
            assert!(!error.hint().is_empty());
        }
        let long = format!(r#"{{"title":"{}"}}"#, "字".repeat(301));
        assert_eq!(parse(&long).unwrap_err().code(), "title_too_long");
    }
}
