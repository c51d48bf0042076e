//! Reading MP4 (ISO/IEC 14496-12), fragmented or not, as far as its samples: where each lies, when it is decoded and shown. The bytes
//! of samples are read only when asked for.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mp4_atom::{
    Atom, DrefEntry, FixedPoint, FourCC, Header, Moof, Moov, ReadFrom, StszSamples, Trak, TrunEntry,
};

use super::{boxes, tags};

/// A file's tracks.
#[derive(Debug)]
pub struct Movie {
    file: File,
    /// Bytes of the file.
    pub length: u64,
    /// Ticks per second of the movie header, in which edit lists count.
    pub timescale: u32,
    /// Whether samples lie in fragments (clause 8.8) too.
    pub fragmented: bool,
    /// What the file calls itself.
    pub title: Option<String>,
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

/// More samples than this in one file are not held: four hours at 60 frames a second, with sound.
const MOST_SAMPLES: usize = 1 << 21;
/// More bytes than this in one `moov` or `moof` are not read.
pub const MOST_INDEX: u64 = 64 << 20;
/// A sample larger than this is nonsense.
const MOST_SAMPLE: u32 = 64 << 20;
/// `sample_is_non_sync_sample` (clause 8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;

/// A box at the top of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopBox {
    /// The index, which ends here.
    Index { end: u64 },
    /// Another one; the next begins here.
    Other { end: u64 },
    /// Samples in fragments, or no MP4 at all.
    Unreadable,
}

/// How many bytes of a box tell its kind and size.
pub const BOX_HEAD: u64 = 16;

/// Tells the box that begins at `start` from its first bytes, in a file of `length` bytes.
pub fn top_box(head: &[u8], start: u64, length: u64) -> TopBox {
    let mut bytes = head;
    let Ok(Some(header)) = Option::<Header>::read_from(&mut bytes) else {
        return TopBox::Unreadable;
    };
    let body = start + (head.len() - bytes.len()) as u64;
    let end = header
        .size
        .map_or(length, |size| body.saturating_add(size as u64));
    const KNOWN: [&[u8; 4]; 7] = [
        b"ftyp", b"mdat", b"free", b"skip", b"wide", b"uuid", b"pnot",
    ];
    if end <= start || end > length {
        TopBox::Unreadable
    } else if header.kind == Moov::KIND {
        TopBox::Index { end }
    } else if KNOWN.iter().any(|kind| header.kind == FourCC::new(kind)) {
        TopBox::Other { end }
    } else {
        TopBox::Unreadable
    }
}

/// Where the index of fragments lies that begins at `start`, told from its first bytes; none when another box begins there.
pub fn segment_index(head: &[u8], start: u64, length: u64) -> Option<Range<u64>> {
    let mut bytes = head;
    let header = Option::<Header>::read_from(&mut bytes).ok()??;
    let body = start + (head.len() - bytes.len()) as u64;
    let end = body.checked_add(header.size? as u64)?;
    let is_one = header.kind == FourCC::new(b"sidx") && end <= length;
    (is_one && end - start <= MOST_INDEX).then_some(start..end)
}

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
        let (mut defaults, mut fragmented, mut timescale) = (Vec::new(), false, 0);
        let mut title = None;
        while reader.stream_position()? < length {
            let start = reader.stream_position()?;
            let Some(header) = Option::<Header>::read_from(&mut reader).map_err(invalid)? else {
                break;
            };
            let body = reader.stream_position()?;
            let end = header
                .size
                .map_or(length, |size| body.saturating_add(size as u64));
            if end > length || end <= start {
                // It breaks off, or would be read for ever.
                break;
            }
            if header.kind == Moov::KIND {
                let mut body = body_of(&mut reader, body..end)?;
                title = tags::title(&body);
                boxes::needed_only(&mut body, b"moov")?;
                let moov = Moov::decode_body(&mut body.as_slice()).map_err(invalid)?;
                timescale = moov.mvhd.timescale;
                fragmented = moov.mvex.is_some();
                defaults = moov.mvex.map(|mvex| mvex.trex).unwrap_or_default();
                // A sample has at least a byte.
                let mut most = MOST_SAMPLES.min(usize::try_from(length).unwrap_or(usize::MAX));
                for trak in moov.trak {
                    let track = table(trak, most)?;
                    most -= track.samples.len();
                    tracks.push(track);
                }
            } else if header.kind == Moof::KIND {
                let mut body = body_of(&mut reader, body..end)?;
                boxes::needed_only(&mut body, b"moof")?;
                let moof = Moof::decode_body(&mut body.as_slice()).map_err(invalid)?;
                fragment(&moof, start, &defaults, &mut tracks)?;
            }
            reader.seek(SeekFrom::Start(end))?;
            // Without fragments everything is said, and what comes behind may be large or not even here.
            if !tracks.is_empty() && !fragmented {
                break;
            }
        }
        drop(reader);
        Ok(Movie {
            file,
            length,
            timescale,
            fragmented,
            title,
            tracks,
        })
    }

    /// The first track with this handler: `vide` or `soun`.
    pub fn track(&self, handler: &[u8; 4]) -> Option<&Track> {
        self.number(handler)
            .and_then(|number| self.tracks.get(number))
    }

    /// The number of the first track with this handler.
    pub fn number(&self, handler: &[u8; 4]) -> Option<usize> {
        self.tracks.iter().position(|track| track.is_a(handler))
    }

    /// Reads a sample's bytes into `buffer`, replacing what it held.
    ///
    /// # Errors
    /// When the file ends before the sample does.
    pub fn read(&self, sample: &Sample, buffer: &mut Vec<u8>) -> io::Result<()> {
        if sample.size > MOST_SAMPLE {
            return Err(invalid("a sample is impossibly large"));
        }
        buffer.resize(sample.size as usize, 0);
        self.file.read_exact_at(buffer, sample.offset)
    }

    /// Reads bytes of a sample, from `from` on and as many as `buffer` holds or the sample has; returns how many.
    ///
    /// # Errors
    /// When the file ends before the sample does.
    pub fn read_at(&self, sample: &Sample, from: u32, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (sample.size.saturating_sub(from) as usize).min(buffer.len());
        self.file
            .read_exact_at(&mut buffer[..count], sample.offset + u64::from(from))?;
        Ok(count)
    }
}

impl Track {
    /// Whether this is its handler (clause 8.4.3).
    pub fn is_a(&self, handler: &[u8; 4]) -> bool {
        self.trak.mdia.hdlr.handler == FourCC::new(handler)
    }

    /// Whether all samples lie in the file itself (clause 8.7.2).
    pub fn is_self_contained(&self) -> bool {
        const HERE: [u8; 4] = [0, 0, 0, 1];
        let entries = &self.trak.mdia.minf.dinf.dref.entries;
        entries.iter().all(|entry| match entry {
            DrefEntry::Url(url) => url.location.is_empty(),
            // QuickTime's alias record; it is empty and flagged when it means this file.
            DrefEntry::Unknown(kind, data) => *kind == FourCC::new(b"alis") && data[..] == HERE,
            _ => false,
        })
    }

    /// What is added to a sample's time to have the time at which it is shown, in ticks, where the edit list (clause 8.6.6) says no
    /// more than that: at most a wait and then one stretch at normal speed that goes on to the last sample. `None` when it says more.
    pub fn moved(&self, movie_timescale: u32) -> Option<i64> {
        let entries = self
            .trak
            .edts
            .iter()
            .filter_map(|edts| edts.elst.as_ref())
            .flat_map(|elst| &elst.entries);
        let (mut wait, mut stretch) = (0_u64, None);
        for entry in entries {
            match (entry.media_time, stretch) {
                (None, None) => wait = wait.checked_add(entry.segment_duration)?,
                (Some(time), None) if entry.media_rate == FixedPoint::new(1, 0) => {
                    stretch = Some((i64::try_from(time).ok()?, entry.segment_duration));
                }
                _ => return None,
            }
        }
        let scale = i128::from(self.trak.mdia.mdhd.timescale);
        let movie = i128::from(movie_timescale.max(1));
        let ticks = |movie_ticks: u64| {
            i64::try_from((i128::from(movie_ticks) * scale + movie / 2) / movie).ok()
        };
        let wait = ticks(wait)?;
        // Beyond this no clock goes, and sums of times stay sums.
        const MOST: i64 = 1 << 53;
        let Some((begin, length)) = stretch else {
            return (wait == 0).then_some(0);
        };
        let last = self.samples.iter().map(|sample| sample.pts).max()?;
        // 0 is what writers say who do not know the length yet. A movie's tick of slack: lengths are rounded.
        let shown = ticks(length.saturating_add(1))?;
        let whole = length == 0 || begin.checked_add(shown)? > last;
        (whole && wait < MOST && begin < MOST).then_some(wait - begin)
    }
}

fn contradictory() -> io::Error {
    invalid("the sample tables contradict each other")
}

/// Reads the body of a box, all of it.
fn body_of(reader: &mut impl Read, place: Range<u64>) -> io::Result<Vec<u8>> {
    let size = place.end - place.start;
    if size > MOST_INDEX {
        return Err(invalid("the index is impossibly large"));
    }
    let mut body = Vec::new();
    reader.take(size).read_to_end(&mut body)?;
    if body.len() as u64 != size {
        return Err(invalid("the index breaks off"));
    }
    Ok(body)
}

/// What is wrong with a file's content rather than with the disk.
pub fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The samples of a track's own tables (clauses 8.6 and 8.7).
fn table(trak: Trak, most: usize) -> io::Result<Track> {
    let stbl = &trak.mdia.minf.stbl;
    let count = match &stbl.stsz.samples {
        StszSamples::Identical { count, .. } => *count as usize,
        StszSamples::Different { sizes } => sizes.len(),
    };
    if count > most {
        return Err(contradictory());
    }
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
    let shifts = stbl
        .ctts
        .iter()
        .flat_map(|ctts| &ctts.entries)
        .flat_map(|entry| std::iter::repeat_n(entry.sample_offset, entry.sample_count as usize));
    let mut durations = durations.chain(std::iter::repeat(0));
    let mut shifts = shifts.chain(std::iter::repeat(0));
    let mut samples = Vec::with_capacity(count);
    let mut dts = 0_i64;
    let mut runs = stbl.stsc.entries.iter().peekable();
    let mut a_chunk = 0;
    'all: for (chunk, offset) in (1..).zip(chunks) {
        while let Some(run) = runs.next_if(|run| run.first_chunk <= chunk) {
            a_chunk = run.samples_per_chunk;
        }
        let mut offset = offset;
        for _ in 0..a_chunk {
            let number = samples.len();
            if number == count {
                break 'all;
            }
            let size = match &stbl.stsz.samples {
                StszSamples::Identical { size, .. } => *size,
                StszSamples::Different { sizes } => sizes[number],
            };
            let duration = durations.next().unwrap_or(0);
            samples.push(Sample {
                offset,
                size,
                dts,
                pts: dts + shifts.next().unwrap_or(0),
                duration,
                sync: stbl
                    .stss
                    .as_ref()
                    .is_none_or(|stss| stss.entries.binary_search(&(number as u32 + 1)).is_ok()),
            });
            offset = offset
                .checked_add(u64::from(size))
                .ok_or_else(contradictory)?;
            dts += i64::from(duration);
        }
    }
    if samples.len() != count {
        return Err(contradictory());
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
    let held: usize = tracks.iter().map(|track| track.samples.len()).sum();
    let mut most = MOST_SAMPLES.saturating_sub(held);
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
            Some(tfdt) => i64::try_from(tfdt.base_media_decode_time).map_err(invalid)?,
            None => track
                .samples
                .last()
                .map_or(0, |last| last.dts.saturating_add(i64::from(last.duration))),
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
                most = most.checked_sub(1).ok_or_else(contradictory)?;
                track.samples.push(Sample {
                    offset,
                    size,
                    dts,
                    pts: dts.saturating_add(cts.unwrap_or(0)),
                    duration,
                    sync: flags & NON_SYNC == 0,
                });
                offset = offset.saturating_add(u64::from(size));
                dts = dts.saturating_add(i64::from(duration));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mp4_atom::{Edts, Elst, ElstEntry};

    /// A second of 25 frames in ticks of 1/1000, the first of them shown at `first`, with edits of (length in 1/600 s, media time).
    fn track(first: i64, edits: &[(u64, Option<u64>)]) -> Track {
        let mut trak = Trak::default();
        trak.mdia.mdhd.timescale = 1000;
        let entries = edits
            .iter()
            .map(|(segment_duration, media_time)| ElstEntry {
                segment_duration: *segment_duration,
                media_time: *media_time,
                media_rate: FixedPoint::new(1, 0),
            });
        trak.edts = (!edits.is_empty()).then(|| Edts {
            elst: Some(Elst {
                entries: entries.collect(),
            }),
        });
        let samples = (0..25).map(|number| Sample {
            offset: 0,
            size: 1,
            dts: number * 40,
            pts: first + number * 40,
            duration: 40,
            sync: number == 0,
        });
        Track {
            trak,
            samples: samples.collect(),
        }
    }

    #[test]
    fn an_edit_list_that_only_moves_is_understood() {
        let moved = |first, edits: &[(u64, Option<u64>)]| track(first, edits).moved(600);
        assert_eq!(moved(0, &[]), Some(0));
        // The reordering of B-frames taken back, as encoders write it; with a length and without.
        assert_eq!(moved(80, &[(600, Some(80))]), Some(-80));
        assert_eq!(moved(80, &[(0, Some(80))]), Some(-80));
        // A wait of half a second before.
        assert_eq!(moved(80, &[(300, None), (600, Some(80))]), Some(420));
    }

    #[test]
    fn an_edit_list_that_says_more_is_left_to_others() {
        let moved = |edits: &[(u64, Option<u64>)]| track(0, edits).moved(600);
        assert_eq!(moved(&[(300, Some(0))]), None, "it hides the second half");
        assert_eq!(
            moved(&[(300, Some(0)), (300, Some(500))]),
            None,
            "two stretches"
        );
        assert_eq!(moved(&[(300, None)]), None, "nothing is shown");
        assert_eq!(moved(&[(600, Some(0)), (300, None)]), None, "a wait behind");
        assert_eq!(moved(&[(600, Some(u64::MAX))]), None, "beyond any clock");
        let mut slow = track(0, &[(600, Some(0))]);
        if let Some(elst) = slow.trak.edts.as_mut().and_then(|edts| edts.elst.as_mut()) {
            elst.entries[0].media_rate = FixedPoint::new(2, 0);
        }
        assert_eq!(slow.moved(600), None, "another speed");
    }

    #[test]
    fn the_boxes_at_the_top_of_a_file_are_told_apart() {
        let head = |size: u32, kind: &[u8; 4]| {
            let mut head = size.to_be_bytes().to_vec();
            head.extend(kind);
            head.extend([0; 8]);
            head
        };
        assert_eq!(
            top_box(&head(32, b"ftyp"), 0, 1000),
            TopBox::Other { end: 32 }
        );
        assert_eq!(
            top_box(&head(500, b"moov"), 32, 1000),
            TopBox::Index { end: 532 }
        );
        // To the end of the file.
        assert_eq!(
            top_box(&head(0, b"mdat"), 32, 1000),
            TopBox::Other { end: 1000 }
        );
        for (size, kind) in [
            (2000, b"moov"),
            (4, b"moov"),
            (100, b"moof"),
            (100, b"\x1a\x45\xdf\xa3"),
        ] {
            assert_eq!(
                top_box(&head(size, kind), 0, 1000),
                TopBox::Unreadable,
                "{size} {kind:?}"
            );
        }
        assert_eq!(top_box(b"", 0, 0), TopBox::Unreadable);
    }
}
