//! Presets: what comes out, under a name. A preset is a recipe without source and times; what is given beside its name wins over it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::parse::{FIELDS, RecipeError, Rule, recipe_of};
use super::{Limits, Segment, Source};
use crate::seconds::Seconds;

/// Presets by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Presets(BTreeMap<String, Map<String, Value>>);

/// Why a preset cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresetError {
    #[error("`presets.{0}` is not a name of 1 to 40 small letters, digits and hyphens")]
    Name(String),
    #[error("`presets.{name}.{field}` cannot be in a preset; {hint}")]
    Field {
        name: String,
        field: String,
        hint: String,
    },
    #[error("`presets.{name}.{field}` cannot be used: {rule}")]
    Rule {
        name: String,
        field: String,
        rule: Rule,
    },
}

/// What belongs to one clip and not to a kind of clips.
const OWN: [&str; 7] = [
    "url",
    "upload",
    "start_time",
    "end_time",
    "segments",
    "title",
    "preset",
];
const NAME_CHARS: usize = 40;
/// The stretch that presets are tried with.
const TRIED: Segment = Segment {
    start: Seconds::ZERO,
    end: Seconds::from_whole(60),
};

impl Default for Presets {
    /// Those that are shipped.
    fn default() -> Presets {
        let shipped = [
            ("discord", json!({"fit": "10MB"})),
            ("story", json!({"crop": "9:16", "height": 1920})),
            (
                "gif-small",
                json!({"format": "gif", "height": 240, "fps": 12}),
            ),
            ("audio", json!({"format": "mp3"})),
        ];
        let named = shipped.into_iter().filter_map(|(name, fields)| {
            let Value::Object(fields) = fields else {
                return None;
            };
            Some((name.to_owned(), fields))
        });
        Presets(named.collect())
    }
}

impl<'de> Deserialize<'de> for Presets {
    /// Each name that is given replaces the shipped preset of that name; without fields it removes it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Presets, D::Error> {
        let given = BTreeMap::<String, Map<String, Value>>::deserialize(deserializer)?;
        let mut presets = Presets::default();
        for (name, fields) in given {
            if fields.is_empty() {
                presets.0.remove(&name);
            } else {
                presets.0.insert(name, fields);
            }
        }
        Ok(presets)
    }
}

impl Presets {
    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
        self.0.iter().map(|(name, fields)| (name.as_str(), fields))
    }

    /// Holds every preset against the rules for recipes.
    ///
    /// # Errors
    /// The first that breaks one, with the field.
    pub fn checked(&self) -> Result<(), PresetError> {
        self.all().try_for_each(|(name, fields)| one(name, fields))
    }

    /// Replaces the name of a preset among the fields by what it stands for; fields that are there, be they null, stay as they are.
    ///
    /// # Errors
    /// When there is no such preset.
    pub fn lay_under(&self, fields: &mut Map<String, Value>) -> Result<(), RecipeError> {
        const FIELD: &str = "preset";
        let name = match fields.remove(FIELD) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::String(name)) => name,
            Some(_) => return Err(Rule::Type("text").at(FIELD)),
        };
        let Some(preset) = self.0.get(&name) else {
            return Err(Rule::Preset(self.nearest(&name)).at(FIELD));
        };
        for (field, value) in preset {
            if !fields.contains_key(field) {
                fields.insert(field.clone(), value.clone());
            }
        }
        Ok(())
    }

    fn nearest(&self, wrong: &str) -> Option<String> {
        // A long name is no slip of the pen, and comparing it costs.
        let near = self.0.keys().filter(|_| wrong.len() <= 2 * NAME_CHARS);
        let near = near
            .map(|name| (strsim::jaro_winkler(wrong, name), name))
            .filter(|(likeness, _)| *likeness > 0.75);
        near.max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, name)| name.clone())
    }
}

fn one(name: &str, fields: &Map<String, Value>) -> Result<(), PresetError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=NAME_CHARS).contains(&name.len()) || !name.bytes().all(plain) {
        return Err(PresetError::Name(name.to_owned()));
    }
    for field in fields.keys() {
        let hint = if OWN.contains(&field.as_str()) {
            "it belongs to a single clip".to_owned()
        } else if FIELDS.contains(&field.as_str()) {
            continue;
        } else {
            Rule::UnknownField(field.clone()).hint()
        };
        return Err(PresetError::Field {
            name: name.to_owned(),
            field: field.clone(),
            hint,
        });
    }
    let limits = Limits {
        max_clip: TRIED.length(),
        max_segments: 1,
        presets: None,
    };
    let source = Source::File("any".into());
    match recipe_of(source, vec![TRIED], fields, &limits) {
        Ok(_) => Ok(()),
        Err(RecipeError { rule, .. }) if rule.is_about_length() => Ok(()),
        Err(RecipeError { rule, field }) => Err(PresetError::Rule {
            name: name.to_owned(),
            field,
            rule,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presets(given: Value) -> Presets {
        serde_json::from_value(given).unwrap()
    }

    #[test]
    fn a_name_that_is_given_replaces_the_shipped_preset() {
        let changed =
            presets(json!({"discord": {}, "story": {"crop": "1:1"}, "own-1": {"fps": 5}}));
        let names: Vec<&str> = changed.all().map(|(name, _)| name).collect();
        assert_eq!(names, ["audio", "gif-small", "own-1", "story"]);
        assert_eq!(json!(changed.0["story"]), json!({"crop": "1:1"}));
        changed.checked().unwrap();
        Presets::default().checked().unwrap();
    }

    #[test]
    fn what_is_given_beside_a_preset_wins() {
        let laid = |given: Value| {
            let Value::Object(mut fields) = given else {
                panic!("no object");
            };
            Presets::default()
                .lay_under(&mut fields)
                .map(|()| json!(fields))
        };
        assert_eq!(
            laid(json!({"preset": "gif-small", "fps": 5, "height": null})),
            Ok(json!({"format": "gif", "fps": 5, "height": null}))
        );
        assert_eq!(laid(json!({"preset": null})), Ok(json!({})));
        let error = laid(json!({"preset": "discrod"})).unwrap_err();
        assert_eq!(
            (error.rule.code(), error.field.as_str()),
            ("preset_unknown", "preset")
        );
        assert!(error.rule.hint().contains("`discord`"));
        assert_eq!(
            laid(json!({"preset": 7})).unwrap_err().rule.code(),
            "field_type"
        );
        assert!(laid(json!({"preset": "x".repeat(60_000)})).is_err());
    }

    #[test]
    fn a_preset_that_could_not_be_used_is_told_by_its_key() {
        for (given, told) in [
            (json!({"Big": {"fps": 5}}), "`presets.Big`"),
            (json!({"a b": {"fps": 5}}), "`presets.a b`"),
            (json!({"x": {"fps": 0}}), "`presets.x.fps`"),
            (json!({"x": {"hight": 5}}), "did you mean `height`?"),
            (json!({"x": {"url": "https://e.com/"}}), "`presets.x.url`"),
            (json!({"x": {"preset": "story"}}), "`presets.x.preset`"),
            (
                json!({"x": {"format": "gif", "volume": 2}}),
                "`presets.x.volume`",
            ),
            (
                json!({"x": {"mode": "fast", "fit": "10MB"}}),
                "`presets.x.fit`",
            ),
            (json!({"x": {"crop": "iw/2"}}), "`presets.x.crop`"),
        ] {
            let error = presets(given).checked().unwrap_err().to_string();
            assert!(
                error.to_lowercase().contains(&told.to_lowercase()),
                "{error}"
            );
        }
        // Whether a clip is too long for it is seen with the clip.
        let slow = json!({"slow": {"format": "gif", "speed": 0.25}});
        presets(slow).checked().unwrap();
    }
}
