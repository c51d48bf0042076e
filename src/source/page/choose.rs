//! The choice among the streams that a page offers: what can be read by us, sounds as it was made, fits the wanted height and is
//! cheap to cut. Pure; the order of its rules is the order of [`Rank`].

use super::dump::{Format, link};
use super::{Kind, PageError, Stream, headers};

/// What is known of a track without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Track {
    Absent,
    /// The page does not say.
    Unknown,
    Known(Codec),
}

/// From the dearest to decode to the cheapest; H.264 alone can be spliced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Codec {
    Other,
    Av1,
    Vp9OrHevc,
    H264,
}

/// A format that can be read by us.
struct Candidate<'a> {
    format: &'a Format,
    stream: Stream,
    video: Track,
    audio: Track,
}

/// What makes one better than another, the most important first.
#[derive(Debug, PartialEq, PartialOrd)]
struct Rank {
    /// Not marked as broken or slow by the program.
    sane: bool,
    sound: bool,
    /// The original language before a dubbed one, any before a description for the blind.
    language: f64,
    plain_range: bool,
    fits: bool,
    h264: bool,
    height: i64,
    codec: Codec,
    kind: u8,
    /// One input instead of two.
    whole: bool,
}

/// The best stream with pictures and, where its sound is apart, the best with sound.
pub(super) fn choose(
    formats: &[Format],
    height: u32,
) -> Result<(Stream, Option<Stream>), PageError> {
    let candidates: Vec<Candidate<'_>> = formats.iter().filter_map(candidate).collect();
    let sound = candidates
        .iter()
        .filter(|one| one.video == Track::Absent && one.audio != Track::Absent)
        .max_by(|a, b| sound_rank(a).total_cmp(&sound_rank(b)));
    let pictures: Vec<&Candidate<'_>> = candidates
        .iter()
        .filter(|one| one.video != Track::Absent)
        .collect();
    let tallest = pictures
        .iter()
        .filter_map(|one| one.stream.height)
        .filter(|tall| *tall <= height)
        .max()
        .unwrap_or(0);
    let rank = |one: &Candidate<'_>| {
        let tall = one.stream.height.unwrap_or(0);
        let fits = tall <= height;
        let codec = codec(one);
        Rank {
            sane: sane(one.format),
            sound: one.audio != Track::Absent || sound.is_some(),
            language: match (one.audio, sound) {
                (Track::Absent, Some(sound)) => language(sound.format),
                (Track::Absent, None) | (Track::Unknown | Track::Known(_), _) => {
                    language(one.format)
                }
            },
            plain_range: one
                .format
                .dynamic_range
                .as_deref()
                .is_none_or(|range| range == "SDR"),
            fits,
            // H.264 is worth up to a quarter of the lines, not more: who asks for 1080 does not want 480 because it is cheap.
            h264: codec == Codec::H264 && (!fits || tall * 4 >= tallest * 3),
            // Of those that are all too tall, the least.
            height: if fits {
                i64::from(tall)
            } else {
                -i64::from(tall)
            },
            codec,
            kind: kind_rank(one.stream.kind),
            whole: one.audio != Track::Absent,
        }
    };
    // The last of equals wins, which is the one that the program itself puts first.
    let best = pictures.into_iter().max_by(|a, b| {
        rank(a)
            .partial_cmp(&rank(b))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let Some(best) = best else {
        return Err(nothing(formats));
    };
    let audio = match best.audio {
        // A manifest holds pictures and sound alike.
        Track::Absent if best.stream.kind != Kind::Dash => sound.map(|one| one.stream.clone()),
        Track::Absent if sound.is_some_and(|one| one.stream.url != best.stream.url) => {
            sound.map(|one| one.stream.clone())
        }
        Track::Absent | Track::Unknown | Track::Known(_) => None,
    };
    Ok((best.stream.clone(), audio))
}

fn nothing(formats: &[Format]) -> PageError {
    if formats.iter().any(locked) {
        PageError::Locked
    } else {
        PageError::Unsupported
    }
}

fn candidate(format: &Format) -> Option<Candidate<'_>> {
    if locked(format) {
        return None;
    }
    let (kind, url) = place(format)?;
    let (video, audio) = tracks(format);
    if video == Track::Absent && audio == Track::Absent {
        return None;
    }
    let said = |codec: &Option<String>| codec.clone().filter(|codec| codec != "none");
    let cookies = format
        .cookies
        .as_deref()
        .map(|cookies| headers::read_cookies(cookies, &url))
        .unwrap_or_default();
    Some(Candidate {
        format,
        video,
        audio,
        stream: Stream {
            headers: headers::with_cookies(&headers::safe(&format.http_headers), &cookies, &url),
            url,
            kind,
            format: format.format_id.clone().unwrap_or_default(),
            video_codec: said(&format.vcodec),
            audio_codec: said(&format.acodec),
            height: format.height.and_then(lines),
            bytes: format
                .filesize
                .or(format.filesize_approx)
                .filter(|bytes| *bytes >= 1.0)
                .map(|bytes| bytes as u64),
            cookies,
        },
    })
}

fn lines(height: f64) -> Option<u32> {
    (1.0..=65_536.0).contains(&height).then_some(height as u32)
}

fn locked(format: &Format) -> bool {
    format.has_drm.as_bool() == Some(true)
}

/// How it is read, and from where; `None` for what only the program itself can read.
fn place(format: &Format) -> Option<(Kind, url::Url)> {
    let url = link(format.url.as_deref()?);
    match format.protocol.as_deref() {
        Some("m3u8" | "m3u8_native") => {
            // Where nobody knows whether the sound comes apart, the playlist above knows.
            let above = format.manifest_url.as_deref().and_then(link);
            let unsure = matches!(
                tracks(format),
                (Track::Known(_) | Track::Unknown, Track::Unknown)
            );
            Some((Kind::Hls, above.filter(|_| unsure).or(url)?))
        }
        // Its `url` may be the manifest or a segment; its fragments are known to the program alone.
        Some("http_dash_segments") => Some((Kind::Dash, link(format.manifest_url.as_deref()?)?)),
        Some("http" | "https") | None => match format.ext.as_deref() {
            Some("m3u8") => Some((Kind::Hls, url?)),
            Some("mpd") => Some((Kind::Dash, url?)),
            Some("mhtml" | "f4m" | "ism" | "jpg" | "png" | "webp" | "gif") => None,
            Some(_) | None => Some((Kind::File, url?)),
        },
        Some(_) => None,
    }
}

fn tracks(format: &Format) -> (Track, Track) {
    let track = |codec: Option<&str>| match codec {
        Some("none") => Track::Absent,
        None | Some("" | "unknown") => Track::Unknown,
        Some(name) => Track::Known(named(name)),
    };
    let (video, audio) = (
        track(format.vcodec.as_deref()),
        track(format.acodec.as_deref()),
    );
    let only_sound = format.resolution.as_deref() == Some("audio only")
        || matches!(
            format.ext.as_deref(),
            Some("mp3" | "m4a" | "aac" | "ogg" | "oga" | "opus" | "wav" | "flac" | "weba" | "mka")
        );
    match (video, audio) {
        (Track::Unknown, audio) if only_sound => (Track::Absent, audio),
        (video, audio) => (video, audio),
    }
}

fn named(codec: &str) -> Codec {
    let codec = codec.to_ascii_lowercase();
    let starts = |names: &[&str]| names.iter().any(|name| codec.starts_with(name));
    if starts(&["avc", "h264"]) {
        Codec::H264
    } else if starts(&["vp", "hev", "hvc", "h265"]) {
        Codec::Vp9OrHevc
    } else if starts(&["av01", "av1"]) {
        Codec::Av1
    } else {
        Codec::Other
    }
}

fn codec(one: &Candidate<'_>) -> Codec {
    match one.video {
        Track::Known(codec) => codec,
        // What a site calls mp4 and says no more about is H.264 nearly everywhere, and so are playlists.
        Track::Unknown => match one.format.ext.as_deref() {
            Some("mp4" | "m4v" | "mov") => Codec::H264,
            Some("webm") => Codec::Vp9OrHevc,
            Some(_) | None => Codec::Other,
        },
        Track::Absent => Codec::Other,
    }
}

const fn kind_rank(kind: Kind) -> u8 {
    match kind {
        Kind::File => 2,
        Kind::Hls => 1,
        Kind::Dash => 0,
    }
}

/// The program puts -1 where it knows nothing, and -10 and less on what is damaged or held back.
fn sane(format: &Format) -> bool {
    format.preference.unwrap_or(-1.0) > -10.0
}

fn language(format: &Format) -> f64 {
    format.language_preference.unwrap_or(-1.0)
}

/// Sound is small: of it, the best that needs no encoding.
fn sound_rank(one: &Candidate<'_>) -> f64 {
    let aac = one
        .format
        .acodec
        .as_deref()
        .is_some_and(|codec| codec.starts_with("mp4a") || codec.starts_with("aac"));
    // Levelled for phones; the original is beside it.
    let levelled = one.stream.format.ends_with("-drc");
    let flag = |flag: bool| f64::from(u8::from(flag));
    flag(sane(one.format)) * 1e6
        + language(one.format).clamp(-100.0, 100.0) * 1e3
        + flag(!levelled) * 100.0
        + flag(aac) * 10.0
        + f64::from(kind_rank(one.stream.kind))
}
