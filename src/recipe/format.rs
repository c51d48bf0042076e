//! The kinds of file that come out, and what each can hold.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A kind of file.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// H.264 and AAC: plays everywhere.
    #[default]
    Mp4,
    /// VP9 and Opus.
    Webm,
    /// Animated, 256 colours, no sound.
    Gif,
    /// Animated WebP, no sound.
    Webp,
    Mp3,
    /// AAC alone.
    M4a,
    /// One picture.
    Jpg,
}

/// What a file is to whoever opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Moving pictures, and sound where there is some.
    Film,
    /// Moving pictures that repeat, without sound.
    Animation,
    Sound,
    Still,
}

impl Format {
    /// Every format, the usual first.
    pub const ALL: [Format; 7] = [
        Format::Mp4,
        Format::Webm,
        Format::Gif,
        Format::Webp,
        Format::Mp3,
        Format::M4a,
        Format::Jpg,
    ];

    /// The word used in the API; also the extension of its files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Mp4 => "mp4",
            Format::Webm => "webm",
            Format::Gif => "gif",
            Format::Webp => "webp",
            Format::Mp3 => "mp3",
            Format::M4a => "m4a",
            Format::Jpg => "jpg",
        }
    }

    /// The type in `Content-Type`, as registered with IANA.
    pub const fn media_type(self) -> &'static str {
        match self {
            Format::Mp4 => "video/mp4",
            Format::Webm => "video/webm",
            Format::Gif => "image/gif",
            Format::Webp => "image/webp",
            Format::Mp3 => "audio/mpeg",
            Format::M4a => "audio/mp4",
            Format::Jpg => "image/jpeg",
        }
    }

    /// What it is to whoever opens it.
    pub const fn shape(self) -> Shape {
        match self {
            Format::Mp4 | Format::Webm => Shape::Film,
            Format::Gif | Format::Webp => Shape::Animation,
            Format::Mp3 | Format::M4a => Shape::Sound,
            Format::Jpg => Shape::Still,
        }
    }

    /// The height of its pictures unless another is asked for.
    pub const fn usual_height(self) -> Option<u32> {
        match self.shape() {
            // Without prediction between pictures, every line costs.
            Shape::Animation => Some(480),
            Shape::Film | Shape::Sound | Shape::Still => None,
        }
    }

    /// The most pictures a second unless others are asked for.
    pub const fn usual_fps(self) -> Option<u32> {
        match self {
            Format::Gif => Some(15),
            Format::Webp => Some(30),
            Format::Mp4 | Format::Webm | Format::Mp3 | Format::M4a | Format::Jpg => None,
        }
    }

    /// The most pictures a second that it can have, whatever is asked for.
    pub const fn most_fps(self) -> Option<u32> {
        match self {
            // Pictures that last less than two hundredths of a second are shown for ten by browsers.
            Format::Gif => Some(50),
            Format::Mp4 | Format::Webm | Format::Webp | Format::Mp3 | Format::M4a | Format::Jpg => {
                None
            }
        }
    }

    /// What the highest picture may be where films have at most `max_height` lines.
    pub const fn ceiling(self, max_height: u32) -> u32 {
        match self.shape() {
            Shape::Film | Shape::Animation | Shape::Sound => max_height,
            // One picture costs little, and is wanted as it is.
            Shape::Still => u32::MAX,
        }
    }

    /// Whether sound can be in it.
    pub const fn has_sound(self) -> bool {
        match self.shape() {
            Shape::Film | Shape::Sound => true,
            Shape::Animation | Shape::Still => false,
        }
    }

    /// Whether pictures can be in it.
    pub const fn has_pictures(self) -> bool {
        match self.shape() {
            Shape::Film | Shape::Animation | Shape::Still => true,
            Shape::Sound => false,
        }
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Format, ()> {
        Format::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or(())
    }
}
