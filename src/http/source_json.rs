//! A source as the API shows it.

use serde::Serialize;
use url::Url;

use crate::app::App;
use crate::clip::Method;
use crate::recipe::{Mode, Segment};
use crate::seconds::Seconds;
use crate::sighting::{Chapter, Heat, Seen, Splice};
use crate::sources::{self, Preview};
use crate::timestamp::Timestamp;

/// A source that was looked at.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Source)]
pub struct SourceJson {
    /// UUIDv7.
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The page's, else the file's own, else the name in its address or that it was uploaded by.
    title: String,
    /// Seconds; null when nobody knows.
    #[schema(value_type = Option<f64>)]
    duration: Option<Seconds>,
    /// One word: `mp4`, `webm`, `matroska`, `mpegts`, …; of a playlist or a page that of its pieces.
    container: String,
    video: VideoJson,
    audio: Option<AudioJson>,
    /// Where groups of pictures begin; null where telling would cost all of the source, or where there are more than 5,000.
    #[schema(value_type = Option<Vec<f64>>)]
    keyframes: Option<Vec<Seconds>>,
    /// Where a fast cut can begin; null when unknown, or when it may begin anywhere because it is encoded.
    #[schema(value_type = Option<Vec<f64>>)]
    snap_points: Option<Vec<Seconds>>,
    splice: Splice,
    /// Browsers play it as it is; if not, `/stream` gives a copy.
    playable: bool,
    /// The copy for browsers; null when none is needed.
    preview: Option<PreviewJson>,
    /// Named stretches, where a page tells of any.
    chapters: Vec<Chapter>,
    /// How much each stretch was watched, where a page tells.
    heatmap: Vec<Heat>,
    /// A page's picture of it, http or https, on a server that is not ours.
    thumbnail: Option<String>,
    estimate: EstimateJson,
    /// Bytes that travelled to find all this.
    bytes_fetched: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    pub urls: SourceUrls,
}

/// Its pictures.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SourceVideo)]
struct VideoJson {
    codec: String,
    /// As shown, after rotation.
    width: u32,
    height: u32,
    fps: Option<f64>,
    /// Degrees clockwise that a player turns the coded picture.
    rotation: u32,
    pixel_format: String,
}

/// Its sound.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SourceAudio)]
struct AudioJson {
    codec: String,
    channels: u32,
    /// Samples per second.
    rate: u32,
}

/// How far the copy for browsers is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SourcePreview)]
struct PreviewJson {
    /// `absent`, `pending`, `ready` or `failed`.
    state: &'static str,
    /// 0 to 1.
    progress: f64,
    /// The code of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What a clip of a stretch is expected to take.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SourceEstimate)]
struct EstimateJson {
    #[schema(value_type = f64)]
    start: Seconds,
    #[schema(value_type = f64)]
    end: Seconds,
    #[schema(value_type = String)]
    mode: Mode,
    /// Null when too little is known to tell.
    method: Option<Method>,
    seconds: f64,
    bytes: u64,
    /// Bytes of the source that are needed for it.
    fetch_bytes: Option<u64>,
}

/// Where things are; relative unless `server.base_url` is set.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SourceUrls {
    #[serde(rename = "self")]
    pub own: String,
    stream: String,
    filmstrip: String,
    filmstrip_vtt: String,
    /// Null when there is no sound.
    waveform: Option<String>,
}

impl SourceJson {
    /// Renders a source, with what a clip of a stretch may cost.
    pub async fn new(app: &App, seen: &Seen, stretch: Option<Segment>, mode: Mode) -> SourceJson {
        let sighting = &seen.sighting;
        let expected = sources::expect(app, seen, stretch, mode);
        let shown = |state, progress| Some((state, progress, None));
        let preview = match sources::preview(app, seen).await {
            Preview::Unneeded => None,
            Preview::Absent => shown("absent", 0.0),
            Preview::Pending(progress) => shown("pending", (progress * 1000.0).round() / 1000.0),
            Preview::Ready => shown("ready", 1.0),
            Preview::Failed(failure) => Some(("failed", 0.0, Some(failure.code))),
        };
        let video = &sighting.video;
        let (width, height) = if matches!(video.rotation, 90 | 270) {
            (video.height, video.width)
        } else {
            (video.width, video.height)
        };
        let own = format!("{}/api/sources/{}", app.settings.server.base_url, seen.id);
        SourceJson {
            id: seen.id.to_string(),
            url: seen.link().map(Url::to_string),
            title: sighting.title.clone(),
            duration: sighting.duration,
            container: sighting.container.clone(),
            video: VideoJson {
                codec: video.codec.clone(),
                width,
                height,
                fps: video.fps.map(|fps| (fps * 1000.0).round() / 1000.0),
                rotation: video.rotation,
                pixel_format: video.pixel_format.clone(),
            },
            audio: sighting.audio.as_ref().map(|audio| AudioJson {
                codec: audio.codec.clone(),
                channels: audio.channels,
                rate: audio.rate,
            }),
            keyframes: sighting.keyframes.clone(),
            snap_points: sighting.snap_points().map(<[Seconds]>::to_vec),
            splice: sighting.splice(app.settings.engine.max_height),
            playable: sighting.playable(),
            preview: preview.map(|(state, progress, error)| PreviewJson {
                state,
                progress,
                error,
            }),
            chapters: sighting.chapters.clone(),
            heatmap: sighting.heatmap.clone(),
            thumbnail: sighting.thumbnail.as_ref().map(Url::to_string),
            estimate: EstimateJson {
                start: expected.stretch.start,
                end: expected.stretch.end,
                mode: expected.mode,
                method: expected.method,
                seconds: expected.seconds,
                bytes: expected.bytes,
                fetch_bytes: expected.fetched,
            },
            bytes_fetched: sighting.bytes_fetched,
            created_at: seen.created_at,
            expires_at: seen.expires_at,
            urls: SourceUrls {
                stream: format!("{own}/stream"),
                filmstrip: format!("{own}/filmstrip"),
                filmstrip_vtt: format!("{own}/filmstrip?format=vtt"),
                waveform: sighting.audio.as_ref().map(|_| format!("{own}/waveform")),
                own,
            },
        }
    }
}
