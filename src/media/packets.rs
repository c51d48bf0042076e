//! The packet table of a file: timestamps, sizes and key flags of its picture and sound, in decoding order, without the bytes.

use std::path::Path;

use super::probe::{self, TimeBase};
use super::sidecar::{self, arguments};
use super::{Bench, Input, MediaError, Phase};

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
}

/// Both tracks of a file that we made; the first of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packets {
    pub video: Option<Track>,
    pub audio: Option<Track>,
}

/// Reads the table of a local file.
///
/// # Errors
/// When ffprobe cannot read it.
pub async fn read(bench: &Bench<'_>, path: &Path) -> Result<Packets, MediaError> {
    let mut list = arguments([
        &"-show_entries",
        &"stream=index,codec_type,codec_name,time_base:packet=stream_index,pts,dts,duration,size,flags",
        &"-of",
        &"compact",
    ]);
    list.extend(probe::input_arguments(
        &Input::File(path.to_owned()),
        bench.engine.max_pixels,
    ));
    let printed = sidecar::ffprobe(bench.job(bench.engine.cut_deadline), list)
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Reading))?;
    Ok(parse(&String::from_utf8_lossy(&printed)))
}

/// Reads ffprobe's `compact` lines. Packets that an edit list discards or that have no time at all are left out: no player shows them.
pub fn parse(printed: &str) -> Packets {
    let mut streams: Vec<(usize, String, Track)> = Vec::new();
    let mut packets: Vec<(usize, Packet)> = Vec::new();
    for line in printed.lines() {
        let mut cells = line.split('|');
        let section = cells.next().unwrap_or_default();
        let field = |name: &str| {
            line.split('|').find_map(|cell| {
                cell.strip_prefix(name)
                    .and_then(|rest| rest.strip_prefix('='))
            })
        };
        match section {
            "packet" => {
                let number = |name| field(name).and_then(|text| text.parse::<i64>().ok());
                let flags = field("flags").unwrap_or_default();
                let (Some(stream), Some(pts)) = (
                    number("stream_index"),
                    number("pts").or_else(|| number("dts")),
                ) else {
                    continue;
                };
                if flags.contains('D') {
                    continue;
                }
                let packet = Packet {
                    pts,
                    duration: number("duration").unwrap_or(0).max(0),
                    size: number("size").unwrap_or(0).unsigned_abs(),
                    key: flags.contains('K'),
                };
                packets.push((stream.unsigned_abs() as usize, packet));
            }
            "stream" => {
                let base = field("time_base").and_then(probe::time_base);
                let index = field("index").and_then(|text| text.parse().ok());
                if let (Some(index), Some(time_base), Some(kind)) =
                    (index, base, field("codec_type"))
                {
                    let track = Track {
                        codec: field("codec_name").unwrap_or_default().to_owned(),
                        time_base,
                        packets: Vec::new(),
                    };
                    streams.push((index, kind.to_owned(), track));
                }
            }
            _ => {}
        }
    }
    let first = |kind: &str| {
        let (index, _, track) = streams.iter().find(|(_, found, _)| found == kind)?;
        let mut track = track.clone();
        let own = packets.iter().filter(|(stream, _)| stream == index);
        track.packets = own.map(|(_, packet)| *packet).collect();
        fill_durations(&mut track.packets);
        Some(track)
    };
    Packets {
        video: first("video"),
        audio: first("audio"),
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
    fn a_table_is_read_from_compact_lines() {
        let table = parse(
            "packet|stream_index=0|pts=1024|dts=0|duration=512|size=900|flags=K_\n\
             packet|stream_index=1|pts=-1024|dts=-1024|duration=1024|size=21|flags=KD|side_datum/skip_samples:skip=1\n\
             packet|stream_index=1|pts=0|dts=0|duration=1024|size=22|flags=K_\n\
             packet|stream_index=0|pts=N/A|dts=512|duration=N/A|size=10|flags=__\n\
             stream|index=0|codec_name=h264|codec_type=video|time_base=1/12288\n\
             stream|index=1|codec_name=aac|codec_type=audio|time_base=1/48000\n",
        );
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
        assert_eq!(
            parse(""),
            Packets {
                video: None,
                audio: None
            }
        );
    }
}
