//! yt-dlp's `--dump-single-json` read into a page. What it holds comes from strangers: wrong types count as absent, every list is
//! bounded, every text cleaned, and only http and https addresses count.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use url::Url;

use super::{Live, Page, PageError, Wish, choose};
use crate::seconds::Seconds;
use crate::sighting::{Chapter, Heat};
use crate::title;

const CHAPTERS_MOST: usize = 500;
const HEATS_MOST: usize = 1000;
const FORMATS_MOST: usize = 2000;
/// Lists within lists: a channel, its tabs, their videos.
const DEPTH_MOST: usize = 4;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Dump<'a> {
    /// What a list of videos holds; read one level at a time.
    #[serde(borrow)]
    entries: Option<Vec<&'a RawValue>>,
    #[serde(deserialize_with = "text")]
    title: Option<String>,
    #[serde(deserialize_with = "text")]
    extractor_key: Option<String>,
    #[serde(deserialize_with = "number")]
    duration: Option<f64>,
    #[serde(deserialize_with = "text")]
    thumbnail: Option<String>,
    #[serde(deserialize_with = "many")]
    chapters: Vec<Stretch>,
    #[serde(deserialize_with = "many")]
    heatmap: Vec<Stretch>,
    #[serde(deserialize_with = "truth")]
    is_live: Option<bool>,
    #[serde(deserialize_with = "text")]
    live_status: Option<String>,
    #[serde(deserialize_with = "many")]
    formats: Vec<Format>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stretch {
    #[serde(deserialize_with = "number")]
    start_time: Option<f64>,
    #[serde(deserialize_with = "number")]
    end_time: Option<f64>,
    #[serde(deserialize_with = "text")]
    title: Option<String>,
    #[serde(deserialize_with = "number")]
    value: Option<f64>,
}

/// One of the ways to get a video, as yt-dlp names its properties.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Format {
    #[serde(deserialize_with = "text")]
    pub(super) format_id: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) url: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) manifest_url: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) protocol: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) ext: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) resolution: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) vcodec: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) acodec: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) dynamic_range: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) cookies: Option<String>,
    #[serde(deserialize_with = "number")]
    pub(super) height: Option<f64>,
    #[serde(deserialize_with = "number")]
    pub(super) filesize: Option<f64>,
    #[serde(deserialize_with = "number")]
    pub(super) filesize_approx: Option<f64>,
    #[serde(deserialize_with = "number")]
    pub(super) preference: Option<f64>,
    #[serde(deserialize_with = "number")]
    pub(super) language_preference: Option<f64>,
    /// `true`, `false` or `"maybe"`.
    pub(super) has_drm: Value,
    #[serde(deserialize_with = "pairs")]
    pub(super) http_headers: BTreeMap<String, String>,
}

/// Reads what the program printed, and chooses streams for the wish that it was asked with.
///
/// # Errors
/// When it is no such print, or none of its streams can be read by us.
pub fn read(json: &[u8], wish: &Wish<'_>) -> Result<Page, PageError> {
    let json = mended(json);
    let mut text = std::str::from_utf8(&json).map_err(|_| unreadable(&"it is not UTF-8"))?;
    let mut dump: Dump<'_> = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    let mut title = None;
    let mut depth = 0;
    while let Some(entries) = dump.entries.take() {
        depth += 1;
        title = dump.title.take().or(title);
        text = entries
            .into_iter()
            .map(RawValue::get)
            .find(|entry| *entry != "null")
            .filter(|_| depth < DEPTH_MOST)
            .ok_or(PageError::Unsupported)?;
        dump = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    }
    let mut formats = std::mem::take(&mut dump.formats);
    if formats.is_empty() {
        // A page with one stream only says it beside its title.
        formats.push(serde_json::from_str(text).map_err(|error| unreadable(&error))?);
    }
    // Sorted from worst to best.
    let surplus = formats.len().saturating_sub(FORMATS_MOST);
    let (video, audio) = choose::choose(&formats[surplus..], wish.height)?;
    Ok(Page {
        title: dump
            .title
            .as_deref()
            .map(|title| unnumbered(title, dump.extractor_key.as_deref()))
            .and_then(title::clean)
            .or_else(|| title.as_deref().and_then(title::clean)),
        duration: dump.duration.and_then(length),
        thumbnail: dump.thumbnail.as_deref().and_then(link),
        chapters: chapters(dump.chapters),
        heatmap: heatmap(dump.heatmap),
        live: if dump.is_live == Some(true) || dump.live_status.as_deref() == Some("is_live") {
            Live::Running
        } else {
            Live::Recorded
        },
        video,
        audio,
    })
}

fn unreadable(error: &dyn std::fmt::Display) -> PageError {
    tracing::debug!(%error, "yt-dlp printed what cannot be read");
    PageError::Failed("its answer cannot be read".to_owned())
}

/// A page's only `<video>` is called `its title (1)` by the program.
fn unnumbered<'a>(title: &'a str, extractor: Option<&str>) -> &'a str {
    match title.strip_suffix(" (1)") {
        Some(bare) if extractor == Some("HTML5MediaEmbed") => bare,
        Some(_) | None => title,
    }
}

fn chapters(said: Vec<Stretch>) -> Vec<Chapter> {
    let chapter = |stretch: Stretch| {
        let (start, end) = ends(&stretch)?;
        Some(Chapter {
            start,
            end,
            title: stretch.title.as_deref().and_then(title::clean)?,
        })
    };
    said.into_iter()
        .filter_map(chapter)
        .take(CHAPTERS_MOST)
        .collect()
}

fn heatmap(said: Vec<Stretch>) -> Vec<Heat> {
    let heat = |stretch: Stretch| {
        let (start, end) = ends(&stretch)?;
        Some(Heat {
            start,
            end,
            value: stretch.value?.clamp(0.0, 1.0),
        })
    };
    said.into_iter().filter_map(heat).take(HEATS_MOST).collect()
}

fn ends(stretch: &Stretch) -> Option<(Seconds, Seconds)> {
    let start = time(stretch.start_time?)?;
    let end = time(stretch.end_time?)?;
    (start < end).then_some((start, end))
}

fn time(seconds: f64) -> Option<Seconds> {
    Seconds::from_f64(seconds)
        .ok()
        .filter(|time| *time >= Seconds::ZERO)
}

fn length(seconds: f64) -> Option<Seconds> {
    time(seconds).filter(|time| *time > Seconds::ZERO)
}

/// An address that may be fetched.
pub(super) fn link(text: &str) -> Option<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    })
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Value::deserialize(deserializer)?
        .as_f64()
        .filter(|number| number.is_finite()))
}

fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_bool())
}

fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let Value::Object(map) = Value::deserialize(deserializer)? else {
        return Ok(BTreeMap::new());
    };
    Ok(map
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
        .collect())
}

/// A list without the members that are something else; anything but a list is an empty one. One member is held at a time.
fn many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    deserializer.deserialize_any(Many(PhantomData))
}

struct Many<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for Many<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Vec<T>, A::Error> {
        let mut read = Vec::new();
        while let Some(member) = members.next_element::<Value>()? {
            if member.is_object() {
                read.extend(serde_json::from_value(member).ok());
            }
        }
        Ok(read)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Vec<T>, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Vec::new())
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_str<E>(self, _: &str) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }
}

/// Python prints halves of surrogate pairs as they are, for instance of a title that a site cut within an emoji; strict JSON knows
/// whole pairs only. Lone halves become U+FFFD, of the same length.
fn mended(json: &[u8]) -> Cow<'_, [u8]> {
    let unit = |place: usize| -> Option<u16> {
        let escape = json.get(place..place + 6)?;
        let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut mended = Cow::Borrowed(json);
    let mut place = 0;
    while let Some(found) = json
        .get(place..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\\'))
    {
        place += found;
        match (unit(place), unit(place + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => place += 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.to_mut()[place..place + 6].copy_from_slice(b"\\ufffd");
                place += 6;
            }
            // Past the escaped letter too, so that the second half of `\\` opens nothing.
            (Some(_) | None, _) => place += 2,
        }
    }
    mended
}

#[cfg(test)]
mod tests;
