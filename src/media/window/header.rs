//! What the header of an MP4 tells of its tracks, as far as cutting in place has to know; what only pictures tell is probed when they
//! are written out to be encoded.

use mp4_atom::{Avcc, Codec, Matrix, Mp4a};

use super::Reach;
use crate::media::packets::Track;
use crate::media::probe::{Audio, Light, Probe, Scan, Video};
use crate::media::splice::movie::Movie;
use crate::media::splice::nal::Sequence;
use crate::seconds::Seconds;

/// Whether all pictures are 8-bit 4:2:0.
pub fn eight_bits_of_420(configuration: &Avcc) -> bool {
    let sets = configuration.sequence_parameter_sets.iter();
    let mut sets = sets.map(|set| Sequence::parse(set)).peekable();
    sets.peek().is_some()
        && sets.all(|set| {
            set.is_some_and(|set| {
                (set.chroma_format, set.luma_depth, set.chroma_depth) == (1, 8, 8)
            })
        })
}

fn scan(configuration: &Avcc) -> Scan {
    let mut sets = configuration.sequence_parameter_sets.iter();
    let fields = |set: Sequence| !set.frames_only;
    if sets.any(|set| Sequence::parse(set).is_some_and(fields)) {
        Scan::Interlaced
    } else {
        Scan::Progressive
    }
}

/// Channels and samples per second of a track of AAC-LC (ISO/IEC 14496-3, clause 1.6); `None` for everything else.
pub fn aac(entry: &Mp4a) -> Option<(u32, u32)> {
    const AAC: u8 = 0x40;
    const LOW_COMPLEXITY: u8 = 2;
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8_000, 7_350,
    ];
    let configuration = &entry.esds.es_desc.dec_config;
    let specific = configuration.dec_specific.as_ref()?;
    if configuration.object_type_indication != AAC || specific.profile != LOW_COMPLEXITY {
        return None;
    }
    let channels = match specific.chan_conf {
        count @ 1..=6 => u32::from(count),
        7 => 8,
        _ => return None,
    };
    Some((channels, *RATES.get(usize::from(specific.freq_index))?))
}

/// The file as a probe.
pub fn described(
    movie: &Movie,
    (reach, pictures): &(Reach, Track),
    sound: Option<&(Reach, Track)>,
) -> Option<Probe> {
    let trak = &movie.tracks.get(reach.track)?.trak;
    let [Codec::Avc1(entry)] = trak.mdia.minf.stbl.stsd.codecs.as_slice() else {
        return None;
    };
    let times = pictures.times();
    let (first, last) = (*times.first()?, *times.last()?);
    let length = pictures.time_base.seconds(last - first).as_f64();
    let fps = (length > 0.0).then(|| (times.len() - 1) as f64 / length);
    let mut from = pictures.time_base.seconds(first);
    let mut until = Seconds::ZERO;
    for track in std::iter::once(pictures).chain(sound.map(|(_, track)| track)) {
        let begins = track.packets.iter().map(|packet| packet.pts.max(0)).min()?;
        let ends = track
            .packets
            .iter()
            .map(|packet| packet.pts + packet.duration);
        from = from.min(track.time_base.seconds(begins));
        until = until.max(track.time_base.seconds(ends.max()?));
    }
    let audio = match sound {
        Some((reach, _)) => {
            let trak = &movie.tracks.get(reach.track)?.trak;
            let [Codec::Mp4a(entry)] = trak.mdia.minf.stbl.stsd.codecs.as_slice() else {
                return None;
            };
            let (channels, rate) = aac(entry)?;
            Some(Audio {
                index: reach.track,
                codec: "aac".to_owned(),
                channels,
                rate,
            })
        }
        None => None,
    };
    Some(Probe {
        container: CONTAINER.to_owned(),
        duration: Some(until - from).filter(|duration| *duration > Seconds::ZERO),
        start: from,
        zero_at: None,
        video: Video {
            index: reach.track,
            codec: "h264".to_owned(),
            pixel_format: "yuv420p".to_owned(),
            width: u32::from(entry.visual.width),
            height: u32::from(entry.visual.height),
            rotation: rotation(&trak.tkhd.matrix)?,
            time_base: pictures.time_base,
            fps,
            scan: scan(&entry.avcc),
            light: Light::Standard,
        },
        audio,
        title: movie.title.clone(),
    })
}

/// ffmpeg's name for MP4 and its kin.
const CONTAINER: &str = "mov,mp4,m4a,3gp,3g2,mj2";

/// Degrees clockwise that a player turns the picture (ISO/IEC 14496-12, clause 6.2.2), when it does no more than that.
fn rotation(matrix: &Matrix) -> Option<u32> {
    const ONE: i32 = 1 << 16;
    match (matrix.a, matrix.b, matrix.c, matrix.d) {
        (ONE, 0, 0, ONE) => Some(0),
        (0, ONE, c, 0) if c == -ONE => Some(90),
        (a, 0, 0, d) if (a, d) == (-ONE, -ONE) => Some(180),
        (0, b, ONE, 0) if b == -ONE => Some(270),
        _ => None,
    }
}
