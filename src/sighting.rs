//! The sighting: what a source was found to be when it was looked at, and what can be told of a clip from it before anything is
//! fetched. Pure: no clock, no I/O.

pub mod flow;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use crate::clip::Method;
use crate::cost::Work;
use crate::recipe::{Mode, Segment, Source};
use crate::seconds::Seconds;
use crate::timestamp::Timestamp;
use flow::Flow;

/// A source's id: a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(pub Uuid);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SourceId {
    type Err = uuid::Error;

    /// Only the hyphenated lower-case form, so that one source has one address.
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        let id = Uuid::parse_str(text)?;
        if id.to_string() == text {
            Ok(SourceId(id))
        } else {
            // Any parse error says the same thing to the caller: no such source.
            Uuid::parse_str("").map(SourceId)
        }
    }
}

/// A source that was looked at, as the index knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub id: SourceId,
    pub source: Source,
    pub sighting: Sighting,
    pub created_at: Timestamp,
    /// After this it is forgotten.
    pub expires_at: Timestamp,
}

impl Seen {
    /// Its link, when its bytes are behind one; none when they lie on the disk.
    pub fn link(&self) -> Option<&Url> {
        match &self.source {
            Source::Url(url) => Some(url),
            Source::Upload(_) | Source::File(_) => None,
        }
    }
}

/// What a source was found to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    pub title: String,
    /// As people count; unknown for some recordings.
    pub duration: Option<Seconds>,
    /// One word: `mp4`, `webm`, `matroska`, `mpegts`, …
    pub container: String,
    pub video: Pictures,
    pub audio: Option<Sound>,
    /// Where groups of pictures begin, rising; unknown where that would cost all of the source.
    pub keyframes: Option<Vec<Seconds>>,
    /// How its bytes are spread over time; unknown where keyframes are.
    #[serde(default)]
    pub flow: Option<Flow>,
    #[serde(default)]
    pub form: Form,
    /// A picture of it on the network, http or https; of a stranger's server.
    #[serde(default)]
    pub thumbnail: Option<Url>,
    #[serde(default)]
    pub chapters: Vec<Chapter>,
    /// What viewers watched again, where that is told.
    #[serde(default)]
    pub heatmap: Vec<Heat>,
    /// Bytes that travelled to find all this.
    pub bytes_fetched: u64,
}

/// In which form a source comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One file whose own tables say where every sample lies.
    Tables,
    /// One file that has to be read to be known.
    #[default]
    File,
    /// Pieces that a playlist, a manifest or an index lists.
    Pieces,
    /// Streams that a page leads to. Their addresses are good for a while only and are found anew each time.
    Page,
}

/// A named stretch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Chapter {
    #[schema(value_type = f64)]
    pub start: Seconds,
    #[schema(value_type = f64)]
    pub end: Seconds,
    /// Cleaned.
    pub title: String,
}

/// How much a stretch was watched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Heat {
    #[schema(value_type = f64)]
    pub start: Seconds,
    #[schema(value_type = f64)]
    pub end: Seconds,
    /// From 0 to 1.
    pub value: f64,
}

/// The pictures of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Pictures {
    pub codec: String,
    /// Size in pixels as coded, before rotation.
    pub width: u32,
    pub height: u32,
    pub fps: Option<f64>,
    /// Degrees clockwise that a player turns it: 0, 90, 180 or 270.
    pub rotation: u32,
    pub pixel_format: String,
    pub interlaced: bool,
    /// Bytes a second, when known.
    #[serde(default)]
    pub rate: Option<f64>,
}

/// The sound of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Sound {
    pub codec: String,
    pub channels: u32,
    /// Samples per second.
    pub rate: u32,
    /// Bytes a second, when known.
    #[serde(default)]
    pub bytes_a_second: Option<f64>,
}

/// Whether exact cuts can leave most pictures untouched, and why not, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Splice {
    pub possible: bool,
    pub reason: &'static str,
}

/// What is expected of a clip of one stretch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    pub work: Work,
    /// Bytes that have to travel or be read for it.
    pub fetched: u64,
}

/// More keyframes than this are not told: then there is one near every place.
pub const MOST_KEYFRAMES: usize = 5_000;
/// More chapters, or stretches of a heatmap, are not kept.
pub const MOST_STRETCHES: usize = 200;

impl Sighting {
    /// Width and height of the picture as shown.
    pub fn shown_size(&self) -> (u32, u32) {
        if matches!(self.video.rotation, 90 | 270) {
            (self.video.height, self.video.width)
        } else {
            (self.video.width, self.video.height)
        }
    }

    /// Height of the picture as shown.
    pub fn shown_height(&self) -> u32 {
        self.shown_size().1
    }

    /// Whether browsers play the source as it is: then it is one file that they can be given.
    pub fn playable(&self) -> bool {
        match self.form {
            Form::Tables | Form::File => {}
            Form::Pieces | Form::Page => return false,
        }
        let eight_bits = matches!(self.video.pixel_format.as_str(), "yuv420p" | "yuvj420p");
        let heard = |codecs: &[&str]| {
            let sound = self.audio.as_ref();
            sound.is_none_or(|sound| codecs.contains(&sound.codec.as_str()))
        };
        match (self.container.as_str(), self.video.codec.as_str()) {
            ("mp4", "h264" | "vp9") => eight_bits && heard(&["aac", "mp3", "opus", "flac"]),
            ("mp4", "av1") => heard(&["aac", "mp3", "opus", "flac"]),
            ("webm", "vp8" | "vp9") => eight_bits && heard(&["opus", "vorbis"]),
            ("webm", "av1") => heard(&["opus", "vorbis"]),
            _ => false,
        }
    }

    /// Whether browsers play its pictures once they are in another container.
    pub fn pictures_play(&self) -> bool {
        self.video.codec == "h264"
            && matches!(self.video.pixel_format.as_str(), "yuv420p" | "yuvj420p")
    }

    /// The type of the source's own bytes, fixed by what was found in them.
    pub fn media_type(&self) -> &'static str {
        if self.container == "webm" {
            "video/webm"
        } else {
            "video/mp4"
        }
    }

    /// Whether a splice is possible somewhere in it; pictures taller than `max_height` are scaled.
    pub fn splice(&self, max_height: u32) -> Splice {
        let video = &self.video;
        let reason = if video.codec != "h264" {
            "codec"
        } else if !matches!(video.pixel_format.as_str(), "yuv420p" | "yuvj420p") {
            "pixels"
        } else if video.interlaced {
            "interlaced"
        } else if self.shown_height() > max_height {
            "scale"
        } else {
            "exact"
        };
        Splice {
            possible: reason == "exact",
            reason,
        }
    }

    /// Where a fast cut can begin, rising; `None` when that is unknown, or when fast cuts are encoded and begin anywhere.
    pub fn snap_points(&self) -> Option<&[Seconds]> {
        let copied = self.copies();
        self.keyframes.as_deref().filter(|_| copied)
    }

    /// Whether a fast cut takes pictures and sound over as they are.
    pub fn copies(&self) -> bool {
        let sound = self.audio.as_ref();
        self.pictures_play()
            && sound.is_none_or(|sound| matches!(sound.codec.as_str(), "aac" | "mp3"))
    }

    /// About 30 s from the middle, or all of it when it is shorter.
    pub fn middle(&self) -> Segment {
        const LONG: Seconds = Seconds::from_whole(30);
        let length = self.duration.unwrap_or(LONG).max(Seconds::from_whole(1));
        let start = Seconds::from_micros((length.micros() - LONG.micros()).max(0) / 2);
        Segment {
            start,
            end: length.min(start + LONG),
        }
    }

    /// What a clip of a stretch asks for, as far as it can be told from here; `None` when too little is known.
    pub fn forecast(&self, stretch: Segment, mode: Mode, max_height: u32) -> Option<Forecast> {
        let fps = self.video.fps.filter(|fps| *fps > 0.0)?;
        let rate = self.video.rate?;
        let heard = self.audio.as_ref();
        let heard = heard.map_or(0.0, |sound| sound.bytes_a_second.unwrap_or(16_000.0));
        let (start, end) = (stretch.start.as_f64(), stretch.end.as_f64());
        let end = self.duration.map_or(end, |all| end.min(all.as_f64()));
        let length = (end - start).max(0.1);
        // Where nothing is known of groups, they are taken to be 5 s long.
        let (before, after) = match &self.keyframes {
            Some(keys) => {
                let next = keys.partition_point(|key| *key <= stretch.start);
                let before = next.checked_sub(1).and_then(|place| keys.get(place));
                (
                    before.map_or(start, |key| key.as_f64()),
                    keys.get(next).map(|key| key.as_f64()),
                )
            }
            None => ((start - 2.5).max(0.0), Some(start + 2.5)),
        };
        let entry = if before == start { Some(start) } else { after };
        let entry = entry.filter(|entry| *entry < end);
        let method = match (mode, entry) {
            (Mode::Fast, _) if self.copies() => Method::Copy,
            (Mode::Fast, _) => Method::Encode,
            (Mode::Exact, Some(_)) if self.splice(max_height).possible => Method::Splice,
            (Mode::Exact, _) => Method::Encode,
        };
        let pixels = f64::from(self.video.width) * f64::from(self.video.height) / 1e6;
        let shrunk = (f64::from(max_height) / f64::from(self.shown_height().max(1))).min(1.0);
        let (decoded, encoded, kept) = match method {
            Method::Copy => (0.0, 0.0, end - before),
            Method::Encode => (end - before, length, 0.0),
            Method::Splice => {
                let entry = entry.unwrap_or(start);
                let decoded = if entry > start { entry - before } else { 0.0 };
                (decoded, entry - start, end - entry)
            }
        };
        let work = Work {
            method,
            decoded: pixels * decoded * fps,
            encoded: pixels * shrunk * shrunk * encoded * fps,
            copied: (kept * rate) as u64,
            replaced: (encoded * rate * shrunk * shrunk) as u64,
            sound: (length * heard) as u64,
            frames: (length * fps) as u64,
            scratch: 0,
        };
        Some(Forecast {
            work,
            fetched: ((end - before) * (rate + heard)) as u64,
        })
    }
}

/// One word for ffmpeg's name of a container.
pub fn container(name: &str, pictures: &str, sound: Option<&str>) -> String {
    let of_webm = matches!(pictures, "vp8" | "vp9" | "av1")
        && sound.is_none_or(|codec| matches!(codec, "opus" | "vorbis"));
    let word = if name.split(',').any(|word| word == "mp4") {
        "mp4"
    } else if name.starts_with("matroska") && of_webm {
        "webm"
    } else {
        name.split(',').next().unwrap_or_default()
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(container: &str, pictures: &str, sound: Option<&str>) -> Sighting {
        Sighting {
            title: "t".to_owned(),
            duration: Some(Seconds::from_whole(60)),
            container: container.to_owned(),
            video: Pictures {
                codec: pictures.to_owned(),
                width: 1280,
                height: 720,
                fps: Some(30.0),
                rotation: 0,
                pixel_format: "yuv420p".to_owned(),
                interlaced: false,
                rate: Some(500_000.0),
            },
            audio: sound.map(|codec| Sound {
                codec: codec.to_owned(),
                channels: 2,
                rate: 48_000,
                bytes_a_second: Some(16_000.0),
            }),
            keyframes: Some((0..12).map(|n| Seconds::from_whole(5 * n)).collect()),
            flow: None,
            form: Form::Tables,
            thumbnail: None,
            chapters: Vec::new(),
            heatmap: Vec::new(),
            bytes_fetched: 0,
        }
    }

    #[test]
    fn what_browsers_play_is_told_from_container_and_codecs() {
        for (container, pictures, sound, plays) in [
            ("mp4", "h264", Some("aac"), true),
            ("mp4", "h264", None, true),
            ("mp4", "h264", Some("ac3"), false),
            ("mp4", "hevc", Some("aac"), false),
            ("mp4", "av1", Some("opus"), true),
            ("mp4", "mpeg4", Some("aac"), false),
            ("webm", "vp8", Some("vorbis"), true),
            ("webm", "vp9", Some("opus"), true),
            ("matroska", "h264", Some("ac3"), false),
            ("matroska", "h264", None, false),
            ("avi", "mpeg4", Some("mp3"), false),
            ("mpegts", "h264", Some("aac"), false),
            ("flv", "h264", Some("aac"), false),
            ("mp4", "prores", None, false),
        ] {
            let seen = sighting(container, pictures, sound);
            assert_eq!(seen.playable(), plays, "{container} {pictures} {sound:?}");
        }
        for form in [Form::Pieces, Form::Page] {
            let apart = Sighting {
                form,
                ..sighting("mp4", "h264", Some("aac"))
            };
            assert!(!apart.playable(), "{form:?} is no file");
        }
        let mut ten_bits = sighting("mp4", "h264", None);
        ten_bits.video.pixel_format = "yuv420p10le".to_owned();
        assert!(!ten_bits.playable());
    }

    #[test]
    fn containers_have_one_name() {
        for (name, pictures, sound, word) in [
            ("mov,mp4,m4a,3gp,3g2,mj2", "h264", Some("aac"), "mp4"),
            ("matroska,webm", "vp9", Some("opus"), "webm"),
            ("matroska,webm", "vp9", Some("ac3"), "matroska"),
            ("matroska,webm", "h264", None, "matroska"),
            ("mpegts", "h264", None, "mpegts"),
        ] {
            assert_eq!(container(name, pictures, sound), word);
        }
    }

    #[test]
    fn a_forecast_tells_the_method_and_what_it_costs() {
        let seen = sighting("mp4", "h264", Some("aac"));
        let stretch = |start, end| Segment {
            start: Seconds::from_whole(start),
            end: Seconds::from_whole(end),
        };
        let splice = seen.forecast(stretch(7, 37), Mode::Exact, 1080).unwrap();
        assert_eq!(splice.work.method, Method::Splice);
        assert_eq!(splice.work.frames, 900);
        // 3 s are encoded after 2 s that are only decoded; the rest is taken over.
        assert!((splice.work.encoded - 0.9216 * 90.0).abs() < 0.01);
        assert!((splice.work.decoded - 0.9216 * 150.0).abs() < 0.01);
        assert_eq!(splice.work.copied, 27 * 500_000);
        assert_eq!(splice.fetched, 32 * 516_000);
        let at_key = seen.forecast(stretch(10, 20), Mode::Exact, 1080).unwrap();
        assert_eq!((at_key.work.encoded, at_key.work.copied), (0.0, 5_000_000));
        let no_key = seen.forecast(stretch(11, 14), Mode::Exact, 1080).unwrap();
        assert_eq!(no_key.work.method, Method::Encode);
        let scaled = seen.forecast(stretch(7, 37), Mode::Exact, 360).unwrap();
        assert_eq!(scaled.work.method, Method::Encode);
        let fast = seen.forecast(stretch(7, 37), Mode::Fast, 1080).unwrap();
        assert_eq!(fast.work.method, Method::Copy);
        // What lies behind the end costs nothing.
        let beyond = seen.forecast(stretch(50, 80), Mode::Fast, 1080).unwrap();
        assert_eq!(beyond.work.copied, 10 * 500_000);
    }

    #[test]
    fn the_middle_of_a_short_source_is_all_of_it() {
        let mut seen = sighting("mp4", "h264", None);
        assert_eq!(seen.middle().start, Seconds::from_whole(15));
        assert_eq!(seen.middle().end, Seconds::from_whole(45));
        seen.duration = Some(Seconds::from_whole(4));
        assert_eq!(seen.middle().start, Seconds::ZERO);
        assert_eq!(seen.middle().end, Seconds::from_whole(4));
    }
}
