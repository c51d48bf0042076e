//! The rules that a recipe is held against: a sentence, a stable code and a next step each.

use super::{TITLE_CHARS, URL_CHARS};
use crate::recipe::fit;
use crate::recipe::lettering::{CAPTION_CHARS, WATERMARK_CHARS};
use crate::recipe::look::{Loudness, Speed, Volume};
use crate::recipe::{Format, SHORTEST, Shape};
use crate::seconds::Seconds;

/// A refused wish: the rule it breaks and the field that breaks it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct RecipeError {
    pub rule: Rule,
    /// A JSON path such as `start_time` or `segments[2].end`; empty when the body as a whole is meant.
    pub field: String,
}

/// The rules, one variant each; the message is the sentence people read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    #[error("the body is not a JSON object")]
    Json,
    #[error("`{0}` is not a field of a recipe")]
    UnknownField(String),
    #[error("this field must be {0}")]
    Type(&'static str),
    #[error("neither a link nor an upload was given")]
    SourceMissing,
    #[error("give either url or upload")]
    SourceConflict,
    #[error("this is not the id of an upload")]
    UploadInvalid,
    #[error("no link was given")]
    UrlMissing,
    #[error("this is not a link")]
    UrlInvalid,
    #[error("this link is longer than {} characters", URL_CHARS)]
    UrlTooLong,
    #[error("only http and https links can be fetched")]
    UrlScheme,
    #[error("links with a user name or password are not fetched")]
    UrlCredentials,
    #[error("no {0} time was given")]
    TimeMissing(&'static str),
    #[error("this is not a time")]
    TimeInvalid,
    #[error("the end is not after the start")]
    TimeOrder,
    #[error("a clip is at least {} s long", SHORTEST)]
    TooShort,
    #[error("a clip is at most {0} s long")]
    TooLong(Seconds),
    #[error("give either start_time and end_time or segments")]
    SegmentsConflict,
    #[error("segments is empty")]
    SegmentsEmpty,
    #[error("a clip has at most {0} segments")]
    SegmentsTooMany(usize),
    #[error("no spans were given")]
    SpansMissing,
    #[error("at most {0} clips are made at once")]
    SpansTooMany(usize),
    #[error("mode is exact or fast")]
    Mode,
    #[error("format is one of {}", formats())]
    Format,
    #[error("height is a whole number of pixels from 16 to 4320")]
    Height,
    #[error("a title has at most {} characters", TITLE_CHARS)]
    TitleTooLong,
    #[error("a title has no control characters")]
    TitleInvalid,
    #[error("fast mode copies pictures and cannot change their height")]
    FastHeight,
    #[error("fast mode copies what is there and changes nothing else")]
    FastLook,
    #[error("fast mode makes mp4 only")]
    FastFormat,
    #[error("fast mode makes one segment")]
    FastSegments,
    #[error("this is not an amount of bytes from {} to {}", fit::LEAST, fit::MOST)]
    Fit,
    #[error("this is not a part of a picture")]
    Crop,
    #[error("fps is a whole number from 1 to 120")]
    Fps,
    #[error("speed is a number from {} to {}", Speed::RANGE.0, Speed::RANGE.1)]
    Speed,
    #[error("volume is a number from {} to {}", Volume::RANGE.0, Volume::RANGE.1)]
    Volume,
    #[error("loudness is a number of LUFS from {} to {}", Loudness::RANGE.0, Loudness::RANGE.1)]
    Loudness,
    #[error("a fade is a number of seconds from 0 to {}", FADE)]
    Fade,
    #[error("the fades are longer than the clip")]
    FadeTooLong,
    #[error("a caption has at most {} characters", CAPTION_CHARS)]
    CaptionTooLong,
    #[error("a caption has no control characters but line breaks")]
    CaptionInvalid,
    #[error("a watermark has at most {} characters", WATERMARK_CHARS)]
    WatermarkTooLong,
    #[error("a watermark is one line without control characters")]
    WatermarkInvalid,
    #[error("{}", shapeless(.0))]
    Shapeless(Format),
    #[error("a clip without sound has no volume and no loudness")]
    MuteSound,
    #[error("give either volume or loudness")]
    VolumeLoudness,
    #[error("give either reverse or boomerang")]
    ReverseBoomerang,
    #[error("at most {} s can be shown backward", BACKWARD)]
    BackwardTooLong,
    #[error("a {} is at most {} s long", .0.as_str(), ANIMATION)]
    AnimationTooLong(Format),
    #[error("a jpg is one picture of one segment")]
    StillSegments,
    /// With the name that is nearest.
    #[error("there is no such preset")]
    Preset(Option<String>),
}

fn formats() -> String {
    Format::ALL.map(Format::as_str).join(", ")
}

fn shapeless(format: &Format) -> String {
    let word = format.as_str();
    match format.shape() {
        Shape::Film => format!("this cannot be done to {word}"),
        Shape::Animation => format!("a {word} has no sound"),
        Shape::Sound => format!("a {word} has no pictures and is nothing without its sound"),
        Shape::Still => format!("a {word} is one picture: nothing in it moves or sounds"),
    }
}

/// Every field of a recipe.
pub const FIELDS: [&str; 25] = [
    "url",
    "upload",
    "start_time",
    "end_time",
    "segments",
    "mode",
    "format",
    "title",
    "preset",
    "fit",
    "crop",
    "height",
    "fps",
    "speed",
    "mute",
    "volume",
    "loudness",
    "fade_in",
    "fade_out",
    "reverse",
    "boomerang",
    "caption_top",
    "caption_bottom",
    "caption_upper",
    "watermark",
];

/// The longest fade.
pub const FADE: Seconds = Seconds::from_whole(30);
/// The longest stretch that is shown backward: every frame of it is made twice.
pub const BACKWARD: Seconds = Seconds::from_whole(60);
/// The longest animation: formats without prediction between pictures grow without bound.
pub const ANIMATION: Seconds = Seconds::from_whole(60);

impl Rule {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Rule::Json => "json_invalid",
            Rule::UnknownField(_) => "json_unknown_field",
            Rule::Type(_) => "field_type",
            Rule::SourceMissing => "source_missing",
            Rule::SourceConflict => "source_conflict",
            Rule::UploadInvalid => "upload_invalid",
            Rule::UrlMissing => "url_missing",
            Rule::UrlInvalid => "url_invalid",
            Rule::UrlTooLong => "url_too_long",
            Rule::UrlScheme => "url_scheme",
            Rule::UrlCredentials => "url_credentials",
            Rule::TimeMissing(_) => "time_missing",
            Rule::TimeInvalid => "time_invalid",
            Rule::TimeOrder => "time_order",
            Rule::TooShort => "clip_too_short",
            Rule::TooLong(_) => "clip_too_long",
            Rule::SegmentsConflict => "segments_conflict",
            Rule::SegmentsEmpty => "segments_empty",
            Rule::SegmentsTooMany(_) => "segments_too_many",
            Rule::SpansMissing => "spans_missing",
            Rule::SpansTooMany(_) => "spans_too_many",
            Rule::Mode => "mode_unknown",
            Rule::Format => "format_unknown",
            Rule::Height => "height_invalid",
            Rule::TitleTooLong => "title_too_long",
            Rule::TitleInvalid => "title_invalid",
            Rule::FastHeight => "fast_height",
            Rule::FastSegments => "fast_segments",
            Rule::FastLook => "fast_look",
            Rule::FastFormat => "fast_format",
            Rule::Fit => "fit_invalid",
            Rule::Crop => "crop_invalid",
            Rule::Fps => "fps_invalid",
            Rule::Speed => "speed_invalid",
            Rule::Volume => "volume_invalid",
            Rule::Loudness => "loudness_invalid",
            Rule::Fade => "fade_invalid",
            Rule::FadeTooLong => "fade_too_long",
            Rule::CaptionTooLong => "caption_too_long",
            Rule::CaptionInvalid => "caption_invalid",
            Rule::WatermarkTooLong => "watermark_too_long",
            Rule::WatermarkInvalid => "watermark_invalid",
            Rule::Shapeless(_) => "format_conflict",
            Rule::MuteSound => "mute_conflict",
            Rule::VolumeLoudness => "loudness_conflict",
            Rule::ReverseBoomerang => "boomerang_conflict",
            Rule::BackwardTooLong => "backward_too_long",
            Rule::AnimationTooLong(_) => "animation_too_long",
            Rule::StillSegments => "jpg_segments",
            Rule::Preset(_) => "preset_unknown",
        }
    }

    /// The next step.
    pub fn hint(&self) -> String {
        match self {
            Rule::Json => {
                "Send an object like {\"url\":\"https://…\",\"start_time\":10,\"end_time\":20}."
                    .to_owned()
            }
            Rule::UnknownField(name) => {
                let nearest = FIELDS.iter().max_by(|a, b| {
                    strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b))
                });
                match nearest {
                    Some(field) if strsim::jaro_winkler(name, field) > 0.75 => {
                        format!("Did you mean `{field}`?")
                    }
                    _ => format!("The fields are {}.", FIELDS.join(", ")),
                }
            }
            Rule::Type(_) => "Look at /api/openapi.json for the shape of a recipe.".to_owned(),
            Rule::SourceMissing => {
                "Give url, the address of a video, or upload, the id of a file uploaded to /api/uploads."
                    .to_owned()
            }
            Rule::SourceConflict => "Leave one of the two out.".to_owned(),
            Rule::UploadInvalid => {
                "Use the last part of the address that POST /api/uploads answered with.".to_owned()
            }
            Rule::UrlMissing | Rule::UrlInvalid => {
                "Paste the full address of a video, starting with https://.".to_owned()
            }
            Rule::UrlTooLong => "Use a shorter link to the same video.".to_owned(),
            Rule::UrlScheme => "Use a link that starts with http:// or https://.".to_owned(),
            Rule::UrlCredentials => "Use a link that needs no password.".to_owned(),
            Rule::TimeMissing(_) | Rule::TimeInvalid => {
                "Write seconds (83.5) or a clock time (1:23.5, 1:02:03).".to_owned()
            }
            Rule::TimeOrder => "Choose an end later than the start.".to_owned(),
            Rule::TooShort => "Choose a later end or an earlier start.".to_owned(),
            Rule::TooLong(_) => "Choose a shorter stretch or make several clips.".to_owned(),
            Rule::SegmentsConflict => "Leave one of the two out.".to_owned(),
            Rule::SegmentsEmpty => "Give at least one {\"start\",\"end\"}.".to_owned(),
            Rule::SegmentsTooMany(_) => "Make several clips.".to_owned(),
            Rule::SpansMissing => {
                "Give a list like {\"spans\":[{\"start\":10,\"end\":20}]}.".to_owned()
            }
            Rule::SpansTooMany(_) => "Ask for the others afterwards.".to_owned(),
            Rule::Mode => {
                "Use exact for the very frames asked for, fast for no encoding.".to_owned()
            }
            Rule::Format => "Leave format out for mp4, which plays everywhere.".to_owned(),
            Rule::Height => "Use for example 720; pictures are never scaled up.".to_owned(),
            Rule::TitleTooLong => "Shorten the title.".to_owned(),
            Rule::TitleInvalid => "Remove line breaks and other control characters.".to_owned(),
            Rule::FastHeight => "Use mode exact, or leave the height out.".to_owned(),
            Rule::FastSegments => "Use mode exact for several segments.".to_owned(),
            Rule::FastLook => "Use mode exact, or leave this out.".to_owned(),
            Rule::FastFormat => "Use mode exact, or leave the format out.".to_owned(),
            Rule::Fit => "Write it like 10MB, 8MiB or 500kB.".to_owned(),
            Rule::Crop => {
                "Write 9:16, 1:1@left, 640x360+100+50 (pixels) or 50%x50%+25%+25%.".to_owned()
            }
            Rule::Fps => "Use for example 15; pictures are never made up.".to_owned(),
            Rule::Speed => "Use 2 for twice as fast, 0.5 for half as fast.".to_owned(),
            Rule::Volume => "Use 1 for as loud as it is, 0.5 for half the amplitude.".to_owned(),
            Rule::Loudness => "Use -16 for the web, -23 for broadcasting.".to_owned(),
            Rule::Fade => "Use for example 0.5.".to_owned(),
            Rule::FadeTooLong => "Shorten the fades.".to_owned(),
            Rule::CaptionTooLong => "Shorten the caption.".to_owned(),
            Rule::CaptionInvalid => "Write the caption as plain text.".to_owned(),
            Rule::WatermarkTooLong => "Shorten the watermark.".to_owned(),
            Rule::WatermarkInvalid => "Write the watermark on one line.".to_owned(),
            Rule::Shapeless(_) => "Leave this out, or choose another format.".to_owned(),
            Rule::MuteSound => "Leave mute out, or volume and loudness.".to_owned(),
            Rule::VolumeLoudness | Rule::ReverseBoomerang => {
                "Leave one of the two out.".to_owned()
            }
            Rule::BackwardTooLong => "Choose a shorter stretch.".to_owned(),
            Rule::AnimationTooLong(_) => {
                "Choose a shorter stretch, or mp4, which is smaller and looks better.".to_owned()
            }
            Rule::StillSegments => "Choose one moment.".to_owned(),
            Rule::Preset(Some(name)) => format!("Did you mean `{name}`?"),
            Rule::Preset(None) => "GET /api/presets lists those there are.".to_owned(),
        }
    }

    /// Whether it depends on how long the clip is.
    pub fn is_about_length(&self) -> bool {
        matches!(
            self,
            Rule::TooShort
                | Rule::TooLong(_)
                | Rule::FadeTooLong
                | Rule::BackwardTooLong
                | Rule::AnimationTooLong(_)
        )
    }

    pub(in crate::recipe) fn at(self, field: impl Into<String>) -> RecipeError {
        RecipeError {
            rule: self,
            field: field.into(),
        }
    }
}
