//! The fields that say what comes out: format, fit and look.

use serde_json::{Map, Value};

use super::rule::{RecipeError, Rule};
use super::text;
use crate::bytes::Bytes;
use crate::recipe::lettering::{Caption, LetteringError, Watermark};
use crate::recipe::{Fit, Format, Look};
use crate::seconds::Seconds;

type Fields = Map<String, Value>;

pub(super) fn format(fields: &Fields) -> Result<Format, RecipeError> {
    match text(fields, "format")? {
        None => Ok(Format::default()),
        Some(word) => word.parse().map_err(|()| Rule::Format.at("format")),
    }
}

pub(super) fn fit(fields: &Fields) -> Result<Option<Fit>, RecipeError> {
    let wrong = || Rule::Fit.at("fit");
    match fields.get("fit") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| wrong()),
        Some(Value::Number(number)) => {
            let bytes = number.as_u64().ok_or_else(wrong)?;
            Fit::try_from(Bytes(bytes)).map(Some).map_err(|_| wrong())
        }
        Some(_) => Err(wrong()),
    }
}

pub(super) fn look(fields: &Fields) -> Result<Look, RecipeError> {
    Ok(Look {
        crop: match text(fields, "crop")? {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| Rule::Crop.at("crop"))?),
        },
        height: whole(fields, "height", Rule::Height)?,
        fps: whole(fields, "fps", Rule::Fps)?,
        speed: amount(fields, "speed", Rule::Speed)?,
        mute: flag(fields, "mute")?,
        volume: amount(fields, "volume", Rule::Volume)?,
        loudness: amount(fields, "loudness", Rule::Loudness)?,
        fade_in: fade(fields, "fade_in")?,
        fade_out: fade(fields, "fade_out")?,
        reverse: flag(fields, "reverse")?,
        boomerang: flag(fields, "boomerang")?,
        caption_top: caption(fields, "caption_top")?,
        caption_bottom: caption(fields, "caption_bottom")?,
        caption_upper: flag(fields, "caption_upper")?,
        watermark: watermark(fields)?,
    })
}

fn whole(fields: &Fields, field: &str, rule: Rule) -> Result<Option<u32>, RecipeError> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| rule.at(field)),
    }
}

fn amount<T: TryFrom<f64>>(
    fields: &Fields,
    field: &str,
    rule: Rule,
) -> Result<Option<T>, RecipeError> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .and_then(|number| T::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| rule.at(field)),
    }
}

fn flag(fields: &Fields, field: &str) -> Result<bool, RecipeError> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Rule::Type("true or false").at(field)),
    }
}

/// None of it is the same as no fade.
fn fade(fields: &Fields, field: &str) -> Result<Option<Seconds>, RecipeError> {
    let seconds = match fields.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_f64(),
    };
    let fade = seconds
        .filter(|seconds| *seconds >= 0.0)
        .and_then(|seconds| Seconds::from_f64(seconds).ok())
        .ok_or_else(|| Rule::Fade.at(field))?;
    Ok(Some(fade).filter(|fade| *fade > Seconds::ZERO))
}

/// A caption with its line breaks; nothing but white is none.
fn caption(fields: &Fields, field: &'static str) -> Result<Option<Caption>, RecipeError> {
    let Some(given) = text(fields, field)? else {
        return Ok(None);
    };
    match given.parse() {
        Ok(caption) => Ok(Some(caption)),
        Err(LetteringError::Empty) => Ok(None),
        Err(LetteringError::TooLong(_)) => Err(Rule::CaptionTooLong.at(field)),
        Err(LetteringError::Control) => Err(Rule::CaptionInvalid.at(field)),
    }
}

fn watermark(fields: &Fields) -> Result<Option<Watermark>, RecipeError> {
    const FIELD: &str = "watermark";
    let Some(given) = text(fields, FIELD)? else {
        return Ok(None);
    };
    match given.parse() {
        Ok(watermark) => Ok(Some(watermark)),
        Err(LetteringError::Empty) => Ok(None),
        Err(LetteringError::TooLong(_)) => Err(Rule::WatermarkTooLong.at(FIELD)),
        Err(LetteringError::Control) => Err(Rule::WatermarkInvalid.at(FIELD)),
    }
}
