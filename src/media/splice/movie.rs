//! Reading MP4 (ISO/IEC 14496-12), fragmented or not, as far as its samples: where each lies, when it is decoded and shown. The bytes
//! of samples are read only when asked for.

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use mp4_atom::{
    Atom, FourCC, Header, Moof, Moov, ReadAtom, ReadFrom, StszSamples, Trak, TrunEntry,
};

/// A file's tracks.
#[derive(Debug)]
pub struct Movie {
    file: File,
    pub tracks: Vec<Track>,
}

/// One track: its header boxes and all its samples in decoding order.
#[derive(Clone, Debug)]
pub struct Track {
    pub trak: Trak,
    pub samples: Vec<Sample>,
}

/// Where a sample lies and when it is decoded and shown, in ticks of the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub offset: u64,
    pub size: u32,
    pub dts: i64,
    pub pts: i64,
    pub duration: u32,
    pub sync: bool,
}

/// A sample larger than this is nonsense.
const MOST_SAMPLE: u32 = 64 << 20;
/// `sample_is_non_sync_sample` (clause 8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

impl Movie {
    /// Reads all boxes that say where samples are.
    ///
    /// # Errors
    /// When the file cannot be read or is not MP4.
    pub fn open(path: &Path) -> io::Result<Movie> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut reader = BufReader::new(&file);
        let mut tracks: Vec<Track> = Vec::new();
        let mut defaults = Vec::new();
        while reader.stream_position()? < length {
            let start = reader.stream_position()?;
            let Some(header) = Option::<Header>::read_from(&mut reader).map_err(invalid)? else {
                break;
            };
            let body = reader.stream_position()?;
            let end = header.size.map_or(length, |size| body + size as u64);
            if header.kind == Moov::KIND {
                let moov = Moov::read_atom(&header, &mut reader).map_err(invalid)?;
                defaults = moov.mvex.map(|mvex| mvex.trex).unwrap_or_default();
                tracks = moov
                    .trak
                    .into_iter()
                    .map(table)
                    .collect::<io::Result<_>>()?;
            } else if header.kind == Moof::KIND {
                let moof = Moof::read_atom(&header, &mut reader).map_err(invalid)?;
                fragment(&moof, start, &defaults, &mut tracks)?;
            }
            reader.seek(SeekFrom::Start(end))?;
        }
        drop(reader);
        Ok(Movie { file, tracks })
    }

    /// The first track with this handler: `vide` or `soun`.
    pub fn track(&self, handler: &[u8; 4]) -> Option<&Track> {
        self.tracks
            .iter()
            .find(|track| track.trak.mdia.hdlr.handler == FourCC::new(handler))
    }

    /// Reads a sample's bytes into `buffer`, replacing what it held.
    ///
    /// # Errors
    /// When the file ends before the sample does.
    pub fn read(&self, sample: &Sample, buffer: &mut Vec<u8>) -> io::Result<()> {
        if sample.size > MOST_SAMPLE {
            return Err(io::Error::other("a sample is impossibly large"));
        }
        buffer.resize(sample.size as usize, 0);
        self.file.read_exact_at(buffer, sample.offset)
    }
}

fn invalid(error: mp4_atom::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The samples of a track's own tables (clauses 8.6 and 8.7).
fn table(trak: Trak) -> io::Result<Track> {
    let stbl = &trak.mdia.minf.stbl;
    let sizes: Vec<u32> = match &stbl.stsz.samples {
        StszSamples::Identical { count, size } => vec![*size; *count as usize],
        StszSamples::Different { sizes } => sizes.clone(),
    };
    let chunks: Vec<u64> = match (&stbl.stco, &stbl.co64) {
        (Some(stco), _) => stco
            .entries
            .iter()
            .map(|offset| u64::from(*offset))
            .collect(),
        (None, Some(co64)) => co64.entries.clone(),
        (None, None) => Vec::new(),
    };
    let durations = stbl
        .stts
        .entries
        .iter()
        .flat_map(|entry| std::iter::repeat_n(entry.sample_delta, entry.sample_count as usize));
    let shifts: Vec<i64> = stbl
        .ctts
        .iter()
        .flat_map(|ctts| &ctts.entries)
        .flat_map(|entry| std::iter::repeat_n(entry.sample_offset, entry.sample_count as usize))
        .collect();
    let mut durations = durations.chain(std::iter::repeat(0));
    let mut samples = Vec::with_capacity(sizes.len());
    let (mut dts, mut number) = (0_i64, 0_usize);
    for (chunk, offset) in chunks.iter().enumerate() {
        let entry = stbl
            .stsc
            .entries
            .iter()
            .rev()
            .find(|entry| entry.first_chunk as usize <= chunk + 1);
        let mut offset = *offset;
        for _ in 0..entry.map_or(0, |entry| entry.samples_per_chunk) {
            let Some(size) = sizes.get(number) else { break };
            let duration = durations.next().unwrap_or(0);
            samples.push(Sample {
                offset,
                size: *size,
                dts,
                pts: dts + shifts.get(number).copied().unwrap_or(0),
                duration,
                sync: stbl
                    .stss
                    .as_ref()
                    .is_none_or(|stss| stss.entries.binary_search(&(number as u32 + 1)).is_ok()),
            });
            offset += u64::from(*size);
            dts += i64::from(duration);
            number += 1;
        }
    }
    if number != sizes.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the sample tables contradict each other",
        ));
    }
    Ok(Track { trak, samples })
}

/// Adds the samples of a fragment (clause 8.8).
fn fragment(
    moof: &Moof,
    start: u64,
    defaults: &[mp4_atom::Trex],
    tracks: &mut [Track],
) -> io::Result<()> {
    for traf in &moof.traf {
        let head = &traf.tfhd;
        let Some(track) = tracks
            .iter_mut()
            .find(|track| track.trak.tkhd.track_id == head.track_id)
        else {
            continue;
        };
        let trex = defaults.iter().find(|trex| trex.track_id == head.track_id);
        let base = head.base_data_offset.unwrap_or(start);
        let mut dts = match &traf.tfdt {
            Some(tfdt) => i64::try_from(tfdt.base_media_decode_time).map_err(io::Error::other)?,
            None => track
                .samples
                .last()
                .map_or(0, |last| last.dts + i64::from(last.duration)),
        };
        let mut offset = base;
        for run in &traf.trun {
            if let Some(moved) = run.data_offset {
                offset = base.saturating_add_signed(i64::from(moved));
            }
            for entry in run.samples.iter() {
                let TrunEntry {
                    duration,
                    size,
                    flags,
                    cts,
                } = entry;
                let duration = duration
                    .or(head.default_sample_duration)
                    .or(trex.map(|trex| trex.default_sample_duration));
                let size = size
                    .or(head.default_sample_size)
                    .or(trex.map(|trex| trex.default_sample_size));
                let flags = flags
                    .or(head.default_sample_flags)
                    .or(trex.map(|trex| trex.default_sample_flags));
                let (duration, size, flags) =
                    (duration.unwrap_or(0), size.unwrap_or(0), flags.unwrap_or(0));
                track.samples.push(Sample {
                    offset,
                    size,
                    dts,
                    pts: dts + cts.unwrap_or(0),
                    duration,
                    sync: flags & NON_SYNC == 0,
                });
                offset += u64::from(size);
                dts += i64::from(duration);
            }
        }
    }
    Ok(())
}
