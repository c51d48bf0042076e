//! The packet table of a file: timestamps, sizes and key flags of its picture and sound, in decoding order, without the bytes.

use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;

use super::probe::{self, Probe, TimeBase};
use super::sidecar::{self, arguments};
use super::{Bench, Input, MediaError, Phase};
use crate::recipe::Format;
use crate::seconds::Seconds;
use crate::sighting::flow::{Flow, Shown};

/// One packet. Times are in ticks of its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub pts: i64,
    pub duration: i64,
    pub size: u64,
    pub key: bool,
}

/// A stream's packets in decoding order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    pub codec: String,
    pub time_base: TimeBase,
    pub packets: Vec<Packet>,
}

impl Track {
    /// Presentation times in rising order.
    pub fn times(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self.packets.iter().map(|packet| packet.pts).collect();
        times.sort_unstable();
        times
    }

    /// How its bytes are spread over time, as people count; `zero` is the file's time at which they begin.
    pub fn flow(&self, zero: Seconds) -> Option<Flow> {
        let shown = self.packets.iter().map(|packet| Shown {
            at: self.time_base.seconds(packet.pts) - zero,
            bytes: packet.size,
            key: packet.key,
        });
        Flow::of(shown.collect())
    }
}

/// Both tracks of a file that we made; the first of each kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Packets {
    /// What it is made of; none when it has no pictures.
    pub probe: Option<Probe>,
    pub video: Option<Track>,
    pub audio: Option<Track>,
}

/// Reads the table of a local file.
///
/// # Errors
/// When ffprobe cannot read it.
pub async fn read(bench: &Bench<'_>, path: &Path) -> Result<Packets, MediaError> {
    read_after(bench, path, &[]).await
}

/// Reads the table of a film of ours. The header of an MP4 says all there is to know, so nothing is decoded to learn more.
///
/// # Errors
/// When ffprobe cannot read it.
pub async fn read_clip(
    bench: &Bench<'_>,
    format: Format,
    path: &Path,
) -> Result<Packets, MediaError> {
    match format {
        Format::Mp4 => read_after(bench, path, &["-probesize", "32"]).await,
        Format::Webm | Format::Gif | Format::Webp | Format::Mp3 | Format::M4a | Format::Jpg => {
            read(bench, path).await
        }
    }
}

async fn read_after(
    bench: &Bench<'_>,
    path: &Path,
    options: &[&str],
) -> Result<Packets, MediaError> {
    let entries = format!(
        "{}:packet=stream_index,pts,dts,duration,size,flags",
        probe::ENTRIES
    );
    let mut list = arguments([&"-show_entries", &entries, &"-of", &"json=compact=1"]);
    list.extend(options.iter().map(OsString::from));
    let input = Input::File(path.to_owned());
    list.extend(probe::input_arguments(&input, bench.engine.max_pixels));
    let job = bench.job(bench.engine.cut_deadline).reaching(&input);
    let printed = sidecar::ffprobe(job, list)
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Reading))?;
    parse(&printed)
}

/// Reads ffprobe's JSON. Packets that an edit list discards or that have no time at all are left out: no player shows them.
///
/// # Errors
/// `source_unsupported` when it is not what ffprobe prints.
pub fn parse(printed: &[u8]) -> Result<Packets, MediaError> {
    let raw: Raw = serde_json::from_slice(printed).map_err(|_| MediaError::Unsupported(None))?;
    let first = |kind: &str| {
        let stream = raw.streams.iter().find(|stream| stream.kind == kind)?;
        let own = raw
            .packets
            .iter()
            .filter(|packet| packet.stream == stream.index);
        let mut packets: Vec<Packet> = own.filter_map(RawPacket::shown).collect();
        fill_durations(&mut packets);
        Some(Track {
            codec: stream.codec.to_owned(),
            time_base: probe::time_base(stream.time_base)?,
            packets,
        })
    };
    Ok(Packets {
        probe: probe::parse(printed).ok(),
        video: first("video"),
        audio: first("audio"),
    })
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(default, borrow)]
    streams: Vec<RawStream<'a>>,
    #[serde(default, borrow)]
    packets: Vec<RawPacket<'a>>,
}

#[derive(Deserialize)]
struct RawStream<'a> {
    index: usize,
    #[serde(rename = "codec_type", default)]
    kind: &'a str,
    #[serde(rename = "codec_name", default)]
    codec: &'a str,
    #[serde(default)]
    time_base: &'a str,
}

#[derive(Deserialize)]
struct RawPacket<'a> {
    #[serde(rename = "stream_index")]
    stream: usize,
    pts: Option<i64>,
    dts: Option<i64>,
    duration: Option<i64>,
    #[serde(default)]
    size: &'a str,
    #[serde(default)]
    flags: &'a str,
}

impl RawPacket<'_> {
    fn shown(&self) -> Option<Packet> {
        if self.flags.contains('D') {
            return None;
        }
        Some(Packet {
            pts: self.pts.or(self.dts)?,
            duration: self.duration.unwrap_or(0).max(0),
            size: self.size.parse().unwrap_or(0),
            key: self.flags.contains('K'),
        })
    }
}

/// Where the demuxer gives no duration, a packet lasts until the next one is shown, and the last as long as the one before.
pub fn fill_durations(packets: &mut [Packet]) {
    let mut times: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
    times.sort_unstable();
    let last_gap = times
        .windows(2)
        .next_back()
        .map_or(0, |pair| pair[1] - pair[0]);
    for packet in packets.iter_mut().filter(|packet| packet.duration == 0) {
        let next = times.partition_point(|pts| *pts <= packet.pts);
        packet.duration = times.get(next).map_or(last_gap, |next| next - packet.pts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_from_what_ffprobe_prints() {
        let table = parse(
            br#"{"packets": [
                {"stream_index": 0, "pts": 1024, "dts": 0, "duration": 512, "size": "900", "flags": "K_"},
                {"stream_index": 1, "pts": -1024, "dts": -1024, "duration": 1024, "size": "21", "flags": "KD",
                 "side_data_list": [{"side_data_type": "Skip Samples", "skip_samples": 1}]},
                {"stream_index": 1, "pts": 0, "dts": 0, "duration": 1024, "size": "22", "flags": "K_"},
                {"stream_index": 0, "dts": 512, "size": "10", "flags": "__"}
              ], "streams": [
                {"index": 0, "codec_name": "h264", "codec_type": "video", "width": 64, "height": 36, "time_base": "1/12288"},
                {"index": 1, "codec_name": "aac", "codec_type": "audio", "time_base": "1/48000"}
              ], "format": {"format_name": "mov,mp4"}}"#,
        )
        .unwrap();
        assert_eq!(table.probe.map(|probe| probe.video.width), Some(64));
        let video = table.video.unwrap();
        assert_eq!(
            video.time_base,
            TimeBase {
                num: 1,
                den: 12_288
            }
        );
        assert_eq!(video.times(), [512, 1024]);
        assert!(video.packets[0].key && !video.packets[1].key);
        assert_eq!(
            video
                .packets
                .iter()
                .map(|packet| packet.duration)
                .collect::<Vec<_>>(),
            [512, 512]
        );
        assert_eq!(table.audio.unwrap().times(), [0]);
        assert!(parse(b"").is_err());
        let nothing = parse(b"{}").unwrap();
        assert!(nothing.video.is_none() && nothing.audio.is_none() && nothing.probe.is_none());
    }
}
