//! What a source is made of: ffprobe's JSON read into a typed [`Probe`]. It never opens a source itself.

use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::sidecar::{self, arguments};
use super::{Bench, Input, MediaError, Phase};
use crate::recipe::Format;
use crate::seconds::Seconds;

/// A source as far as the engine cares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// ffmpeg's name of the container, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// What the container says; unknown for some live recordings.
    pub duration: Option<Seconds>,
    /// The first timestamp.
    pub start: Seconds,
    /// The timestamp that counts as zero for people, when somebody knows it better than the container: see [`Probe::zero`].
    pub zero_at: Option<Seconds>,
    pub video: Video,
    pub audio: Option<Audio>,
    /// What the file calls itself, as it stands there.
    pub title: Option<String>,
}

/// A source of sound alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    pub container: String,
    pub start: Seconds,
    pub duration: Option<Seconds>,
    pub zero_at: Option<Seconds>,
    pub audio: Audio,
}

/// The chosen video stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Video {
    /// Number among all streams of the source.
    pub index: usize,
    pub codec: String,
    pub pixel_format: String,
    /// Coded size in pixels, before rotation.
    pub width: u32,
    pub height: u32,
    /// Degrees clockwise that a player turns it: 0, 90, 180 or 270.
    pub rotation: u32,
    pub time_base: TimeBase,
    /// Average frames per second, when known.
    pub fps: Option<f64>,
    pub scan: Scan,
    pub light: Light,
}

/// How a picture is made of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scan {
    Progressive,
    /// Some pictures are two fields of two moments.
    Interlaced,
}

/// How bright a picture may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Light {
    Standard,
    /// Coded by PQ or HLG (ITU-R BT.2100); shown as it is on a standard screen it would be grey.
    High,
}

/// The chosen audio stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audio {
    pub index: usize,
    pub codec: String,
    pub channels: u32,
    /// Samples per second.
    pub rate: u32,
}

/// A tick as a fraction of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeBase {
    pub num: u32,
    pub den: u32,
}

impl TimeBase {
    /// Seconds of so many ticks.
    pub fn seconds(self, ticks: i64) -> Seconds {
        let micros = i128::from(ticks) * i128::from(self.num) * 1_000_000;
        let den = i128::from(self.den.max(1));
        let rounded = (micros + den / 2).div_euclid(den);
        Seconds::from_micros(i64::try_from(rounded).unwrap_or(i64::MAX))
    }

    /// The tick nearest to a time.
    pub fn ticks(self, time: Seconds) -> i64 {
        let scaled = i128::from(time.micros()) * i128::from(self.den);
        let unit = i128::from(self.num.max(1)) * 1_000_000;
        i64::try_from((scaled + unit / 2).div_euclid(unit)).unwrap_or(i64::MAX)
    }
}

/// The timestamp that people call 0, by container.
fn zero(container: &str, start: Seconds) -> Seconds {
    let counts_from_zero = ["mp4", "matroska"]
        .iter()
        .any(|name| container.contains(name));
    if counts_from_zero {
        Seconds::ZERO
    } else {
        start
    }
}

impl Sound {
    /// As [`Probe::zero`].
    pub fn zero(&self) -> Seconds {
        self.zero_at
            .unwrap_or_else(|| zero(&self.container, self.start))
    }
}

impl Probe {
    /// The timestamp that people call 0. Files with an index (MP4, MOV, Matroska) count from timestamp 0 and players keep that;
    /// streams cut out of something longer (MPEG-TS, FLV, AVI, Ogg) begin anywhere and are shown from their first picture or sound.
    pub fn zero(&self) -> Seconds {
        self.zero_at
            .unwrap_or_else(|| zero(&self.container, self.start))
    }

    /// Height of the picture as shown.
    pub fn shown_height(&self) -> u32 {
        self.shown_size().1
    }

    /// Width and height of the picture as shown.
    pub fn shown_size(&self) -> (u32, u32) {
        let video = &self.video;
        match video.rotation {
            90 | 270 => (video.height, video.width),
            _ => (video.width, video.height),
        }
    }
}

/// Demuxers that may open a source. Playlists and scripts, which would open further files, are not among them.
pub const FORMATS: &str = "mov,matroska,webm,flv,mpegts,avi,ogg,mpeg,aac";
/// Decoders that may run: what the web and cameras use.
pub const CODECS: &str = "h264,hevc,av1,libdav1d,vp8,vp9,libvpx,libvpx-vp9,mpeg4,mpeg2video,mpeg1video,mjpeg,prores,dnxhd,theora,flv,h263,\
aac,mp3,mp3float,opus,libopus,vorbis,libvorbis,ac3,eac3,flac,alac,mp2,mp2float,\
pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_f32le,pcm_u8,pcm_alaw,pcm_mulaw";

/// A file with more streams than this is made to take memory: each costs some to read.
const MOST_STREAMS: &str = "64";

/// What ffprobe is asked for to tell a [`Probe`].
pub const ENTRIES: &str = "format=format_name,start_time,duration:stream=index,codec_type,codec_name,pix_fmt,width,height,time_base,\
avg_frame_rate,field_order,color_transfer,channels,sample_rate,duration:format_tags=title:stream_disposition=default,attached_pic:stream_tags=rotate:stream_side_data=rotation";

/// The options that every reading of a source carries, and the source itself after `-i`.
pub fn input_arguments(input: &Input, max_pixels: u64) -> Vec<OsString> {
    let mut list = arguments([
        &"-format_whitelist",
        &FORMATS,
        &"-codec_whitelist",
        &CODECS,
        &"-max_pixels",
        &max_pixels.to_string(),
        &"-max_streams",
        &MOST_STREAMS,
    ]);
    match input {
        Input::File(path) => {
            let file = sidecar::file(path);
            list.extend(arguments([&"-protocol_whitelist", &"file", &"-i", &file]));
        }
        // The proxy is in the environment: see `Job::reaching`.
        Input::Link { url, .. } => {
            list.extend(arguments([
                &"-protocol_whitelist",
                &"http,https,tcp,tls,httpproxy",
                &"-user_agent",
                &concat!("meme-maker/", env!("CARGO_PKG_VERSION")),
                &"-i",
                url,
            ]));
        }
    }
    list
}

/// The options that a reading of a finished clip carries, and the clip itself after `-i`. What it is we know, since we made it; none of
/// this is for what strangers made. Animated WebP is not among it: ffmpeg writes it and cannot read it.
pub fn own_arguments(format: Format, path: &Path) -> Vec<OsString> {
    let demuxer = match format {
        Format::Mp4 | Format::M4a => "mov",
        Format::Webm => "matroska",
        Format::Gif => "gif",
        Format::Webp => "webp_pipe",
        Format::Mp3 => "mp3",
        Format::Jpg => "jpeg_pipe",
    };
    let mut list = arguments([&"-f", &demuxer, &"-protocol_whitelist", &"file", &"-i"]);
    list.push(sidecar::file(path));
    list
}

/// Probes a source.
///
/// # Errors
/// When it cannot be reached or read, or has no video.
pub async fn probe(bench: &Bench<'_>, input: &Input) -> Result<Probe, MediaError> {
    parse(&printed(bench, input).await?)
}

/// Probes a source of sound.
///
/// # Errors
/// When it cannot be reached or read, or has no sound.
pub async fn sound(bench: &Bench<'_>, input: &Input) -> Result<Sound, MediaError> {
    parse_sound(&printed(bench, input).await?)
}

async fn printed(bench: &Bench<'_>, input: &Input) -> Result<Vec<u8>, MediaError> {
    let mut list = arguments([&"-show_entries", &ENTRIES, &"-of", &"json"]);
    list.extend(input_arguments(input, bench.engine.max_pixels));
    sidecar::ffprobe(bench.job(bench.engine.probe_deadline).reaching(input), list)
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Reading))
}

/// Reads ffprobe's JSON.
///
/// # Errors
/// `source_unsupported` when it is not what ffprobe prints, `source_no_video` when no stream has pictures.
pub fn parse(printed: &[u8]) -> Result<Probe, MediaError> {
    let raw: Raw = serde_json::from_slice(printed).map_err(|_| MediaError::Unsupported(None))?;
    // Cover art is a video stream to ffmpeg, not to people.
    let mut pictures: Vec<&RawStream> = raw
        .streams
        .iter()
        .filter(|stream| {
            stream.kind.as_deref() == Some("video") && stream.disposition.attached_pic == 0
        })
        .collect();
    pictures.sort_by_key(|stream| std::cmp::Reverse(stream.disposition.default));
    let video = pictures.first().ok_or(MediaError::NoVideo)?;
    let audio = raw.audio();
    let (width, height) = match (video.width, video.height) {
        (Some(width @ 2..), Some(height @ 2..)) => (width, height),
        _ => return Err(MediaError::Unsupported(None)),
    };
    let format = raw.format.as_ref();
    Ok(Probe {
        container: format
            .and_then(|format| format.name.clone())
            .unwrap_or_default(),
        duration: format
            .and_then(|format| number(&format.duration))
            .or_else(|| number(&video.duration))
            .filter(|duration| *duration > Seconds::ZERO),
        start: format
            .and_then(|format| number(&format.start))
            .unwrap_or_default(),
        zero_at: None,
        video: Video {
            index: video.index,
            codec: video.codec.clone().ok_or(MediaError::Unsupported(None))?,
            pixel_format: video.pixel_format.clone().unwrap_or_default(),
            width,
            height,
            rotation: video.rotation(),
            time_base: video
                .time_base
                .as_deref()
                .and_then(time_base)
                .ok_or(MediaError::Unsupported(None))?,
            fps: video.fps.as_deref().and_then(ratio),
            scan: match video.field_order.as_deref() {
                Some("tt" | "bb" | "tb" | "bt") => Scan::Interlaced,
                _ => Scan::Progressive,
            },
            light: match video.color_transfer.as_deref() {
                Some("smpte2084" | "arib-std-b67") => Light::High,
                _ => Light::Standard,
            },
        },
        audio,
        title: format.and_then(|format| format.tags.title.clone()),
    })
}

/// Reads ffprobe's JSON of a source of sound.
///
/// # Errors
/// `source_unsupported` when it is not what ffprobe prints, or has no sound.
pub fn parse_sound(printed: &[u8]) -> Result<Sound, MediaError> {
    let raw: Raw = serde_json::from_slice(printed).map_err(|_| MediaError::Unsupported(None))?;
    let format = raw.format.as_ref();
    Ok(Sound {
        audio: raw.audio().ok_or(MediaError::Unsupported(None))?,
        container: format
            .and_then(|format| format.name.clone())
            .unwrap_or_default(),
        duration: format.and_then(|format| number(&format.duration)),
        start: format
            .and_then(|format| number(&format.start))
            .unwrap_or_default(),
        zero_at: None,
    })
}

fn number(text: &Option<String>) -> Option<Seconds> {
    let number = text.as_ref()?.parse::<f64>().ok()?;
    Seconds::from_f64(number).ok()
}

/// A `num/den` that is a usable time base.
pub fn time_base(text: &str) -> Option<TimeBase> {
    let (num, den) = text.split_once('/')?;
    let (num, den) = (num.parse().ok()?, den.parse().ok()?);
    (num > 0 && den > 0).then_some(TimeBase { num, den })
}

/// A `num/den` as a number, when it is one.
pub fn ratio(text: &str) -> Option<f64> {
    let (num, den) = text.split_once('/')?;
    let (num, den): (f64, f64) = (num.parse().ok()?, den.parse().ok()?);
    (num > 0.0 && den > 0.0).then_some(num / den)
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    streams: Vec<RawStream>,
    format: Option<RawFormat>,
}

impl Raw {
    /// The sound that people hear unless they choose another.
    fn audio(&self) -> Option<Audio> {
        let mut sounds: Vec<&RawStream> = self
            .streams
            .iter()
            .filter(|stream| stream.kind.as_deref() == Some("audio") && stream.codec.is_some())
            .collect();
        sounds.sort_by_key(|stream| std::cmp::Reverse(stream.disposition.default));
        let stream = sounds.first()?;
        Some(Audio {
            index: stream.index,
            codec: stream.codec.clone()?,
            channels: stream.channels.filter(|channels| *channels > 0)?,
            rate: stream
                .rate
                .as_ref()?
                .parse()
                .ok()
                .filter(|rate| *rate > 0)?,
        })
    }
}

#[derive(Default, Deserialize)]
struct RawFormat {
    #[serde(rename = "format_name")]
    name: Option<String>,
    #[serde(rename = "start_time")]
    start: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    tags: RawTags,
}

#[derive(Default, Deserialize)]
struct RawTags {
    #[serde(alias = "TITLE", alias = "Title")]
    title: Option<String>,
}

#[derive(Deserialize)]
struct RawStream {
    index: usize,
    #[serde(rename = "codec_type")]
    kind: Option<String>,
    #[serde(rename = "codec_name")]
    codec: Option<String>,
    #[serde(rename = "pix_fmt")]
    pixel_format: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    time_base: Option<String>,
    #[serde(rename = "avg_frame_rate")]
    fps: Option<String>,
    field_order: Option<String>,
    color_transfer: Option<String>,
    channels: Option<u32>,
    #[serde(rename = "sample_rate")]
    rate: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    disposition: RawDisposition,
    #[serde(default)]
    side_data_list: Vec<RawSideData>,
}

#[derive(Default, Deserialize)]
struct RawDisposition {
    #[serde(default)]
    default: u8,
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Deserialize)]
struct RawSideData {
    rotation: Option<f64>,
}

impl RawStream {
    /// ffprobe gives the display matrix's angle counter-clockwise.
    fn rotation(&self) -> u32 {
        let angle = self
            .side_data_list
            .iter()
            .find_map(|data| data.rotation)
            .unwrap_or(0.0);
        let quarter_turns = (-angle / 90.0).round() as i64;
        (quarter_turns.rem_euclid(4) * 90) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_video_is_read_with_its_rotation() {
        let probe = parse(include_bytes!("../../tests/data/probe/phone.json")).unwrap();
        assert_eq!(probe.video.rotation, 90);
        assert_eq!(
            (probe.video.width, probe.video.height, probe.shown_height()),
            (640, 360, 640)
        );
        assert_eq!(probe.video.time_base, TimeBase { num: 1, den: 15360 });
        assert_eq!(
            probe
                .audio
                .as_ref()
                .map(|audio| (audio.rate, audio.channels)),
            Some((48_000, 2))
        );
        assert_eq!(probe.zero(), Seconds::ZERO);
    }

    #[test]
    fn a_transport_stream_counts_from_its_start() {
        let probe = parse(include_bytes!("../../tests/data/probe/stream.json")).unwrap();
        assert_eq!(probe.container, "mpegts");
        assert!(probe.start > Seconds::from_whole(1));
        assert_eq!(probe.zero(), probe.start);
    }

    #[test]
    fn a_webm_without_duration_is_usable() {
        let probe = parse(include_bytes!("../../tests/data/probe/live.json")).unwrap();
        assert_eq!(probe.duration, None);
        assert_eq!(probe.video.codec, "vp9");
    }

    #[test]
    fn cover_art_is_not_a_video() {
        let error = parse(include_bytes!("../../tests/data/probe/song.json")).unwrap_err();
        assert_eq!(error.code(), "source_no_video");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"streams":[{"index":0,"codec_type":"video"}]}"#,
            "not json",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn ticks_become_seconds_to_the_microsecond() {
        let base = TimeBase {
            num: 1001,
            den: 30_000,
        };
        assert_eq!(base.seconds(1), Seconds::from_micros(33_367));
        assert_eq!(base.seconds(30_000), Seconds::from_whole(1001));
        assert_eq!(
            TimeBase {
                num: 1,
                den: 90_000
            }
            .seconds(-90_000),
            Seconds::from_whole(-1)
        );
    }
}
