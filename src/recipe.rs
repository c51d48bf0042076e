//! The recipe: what was asked, valid by construction. Parsed once at the edge (`recipe/parse.rs`); below it an impossible wish
//! cannot exist. It serialises to the same shape that `POST /api/clips` takes, so that it can be run again.

pub mod crop;
pub mod fit;
pub mod format;
pub mod frame;
pub mod lettering;
pub mod look;
mod parse;
pub mod preset;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::seconds::Seconds;
use crate::title;
use crate::upload::UploadId;

pub use fit::Fit;
pub use format::{Format, Shape};
pub use look::Look;
pub use parse::{FIELDS, Inquiry, Limits, RecipeError, Rule, name_of, parse_source_url};
pub use preset::Presets;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    #[serde(flatten)]
    pub source: Source,
    /// At least one; each at least [`SHORTEST`] long.
    pub segments: Vec<Segment>,
    pub mode: Mode,
    #[serde(default)]
    pub format: Format,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    #[serde(flatten)]
    pub look: Look,
    /// The most bytes that the finished file may have.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fit: Option<Fit>,
}

/// Where the video comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Url(Url),
    /// A file that a visitor uploaded.
    Upload(UploadId),
    /// A path on this machine: command line only.
    File(PathBuf),
}

/// One stretch of the source: the frames with `start <= pts < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub start: Seconds,
    pub end: Seconds,
}

impl Segment {
    /// Its length.
    pub fn length(&self) -> Seconds {
        self.end - self.start
    }
}

/// What matters more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The very frames that were asked for.
    #[default]
    Exact,
    /// No encoding: the clip starts at the keyframe at or before the wanted start.
    Fast,
}

/// The shortest segment.
pub const SHORTEST: Seconds = Seconds::from_micros(100_000);

impl Recipe {
    /// The length of all segments together.
    pub fn length(&self) -> Seconds {
        self.segments
            .iter()
            .fold(Seconds::ZERO, |sum, segment| sum + segment.length())
    }

    /// How long the finished clip plays.
    pub fn playing(&self) -> Seconds {
        self.look.length(self.length())
    }

    /// Whether sound is wanted in what comes out.
    pub fn wants_sound(&self) -> bool {
        self.format.has_sound() && !self.look.mute
    }

    /// The stretch of the source that covers all segments.
    pub fn span(&self) -> Segment {
        let start = self.segments.iter().map(|segment| segment.start).min();
        let end = self.segments.iter().map(|segment| segment.end).max();
        Segment {
            start: start.unwrap_or_default(),
            end: end.unwrap_or_default(),
        }
    }

    /// The title given, or one made from the source's last path segment. An upload's name is in the index.
    pub fn title_or_default(&self) -> String {
        if let Some(title) = &self.title {
            return title.clone();
        }
        match &self.source {
            Source::Url(url) => {
                let last = url
                    .path_segments()
                    .and_then(|mut segments| segments.next_back())
                    .unwrap_or_default();
                title::of_name(&percent_encoding::percent_decode_str(last).decode_utf8_lossy())
            }
            Source::Upload(_) => title::of_name(""),
            Source::File(path) => path.file_name().map_or_else(
                || title::of_name(""),
                |name| title::of_name(&name.to_string_lossy()),
            ),
        }
    }

    /// The recipe as anybody may see it: whoever knows an upload's id may use the file, so the id is left out.
    pub fn public(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let (Source::Upload(_), Some(fields)) = (&self.source, value.as_object_mut()) {
            fields.remove("upload");
        }
        value
    }
}
