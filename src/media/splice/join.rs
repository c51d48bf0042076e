//! Writing the joined file: samples of several files in one track with one `avcC` that holds all parameter sets, index in front,
//! sound and picture interleaved every half second. Nothing is decoded.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use mp4_atom::{
    Avcc, Encode, FixedPoint, FourCC, Ftyp, Header, Moov, Mvhd, Stco, Stsc, StscEntry, Trak,
};

use super::bitstream::{LENGTH_SIZE, configuration};
use super::movie::{Movie, Sample, invalid};
use super::nal::{self, Sequence};
use super::tracks::{picture_trak, runs, sound_trak};

/// Samples of one file on their way into the joined track, in decoding order.
pub struct Part<'a> {
    pub movie: &'a Movie,
    /// Width of unit lengths in its samples.
    pub length_size: u8,
    pub samples: Vec<Placed>,
}

/// A sample and its place in the joined track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub sample: Sample,
    /// When it is shown, in ticks from the beginning of the film.
    pub shown: i64,
    /// It is known to hold nothing that has to be taken out.
    pub plain: bool,
}

/// A sound track whose samples are taken over as they are.
pub struct Sound<'a> {
    pub movie: &'a Movie,
    /// The source's track: its sample entry comes from here.
    pub template: &'a Trak,
    /// Samples in order with the time at which each begins, in ticks of the template from the beginning of the film. What begins
    /// before 0 is decoded and not heard; where one begins later than the one before ends, there is silence.
    pub samples: Vec<(Sample, i64)>,
}

/// What the joined file is made of.
pub struct Film<'a> {
    /// The source's track: size, matrix, colours and sample aspect come from here.
    pub template: &'a Trak,
    pub configuration: Avcc,
    /// Ticks per second of the times in the parts.
    pub timescale: u32,
    pub parts: Vec<Part<'a>>,
    /// Length in ticks.
    pub length: i64,
    pub sound: Option<Sound<'a>>,
}

/// How long a film is, in its own ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Ticks per second.
    pub timescale: u32,
    pub length: i64,
}

impl Film<'_> {
    pub(super) fn extent(&self) -> Extent {
        Extent {
            timescale: self.timescale,
            length: self.length,
        }
    }
}

/// One `avcC` that serves the source's stream and the encoder's: both sets, the higher level, and the larger profile where they differ.
///
/// # Errors
/// A sentence when a set cannot be read.
pub fn merged(source: &Avcc, encoded: &Avcc) -> Result<Avcc, &'static str> {
    let mut merged = source.clone();
    for set in &encoded.sequence_parameter_sets {
        let sequence = Sequence::parse(set).ok_or("the encoder's parameter set cannot be read")?;
        if sequence.profile > merged.avc_profile_indication {
            merged.avc_profile_indication = sequence.profile;
            merged.profile_compatibility = encoded.profile_compatibility;
            merged.ext.clone_from(&encoded.ext);
        }
        merged.avc_level_indication = merged.avc_level_indication.max(sequence.level);
        if !merged.sequence_parameter_sets.contains(set) {
            merged.sequence_parameter_sets.push(set.clone());
        }
    }
    for set in &encoded.picture_parameter_sets {
        if !merged.picture_parameter_sets.contains(set) {
            merged.picture_parameter_sets.push(set.clone());
        }
    }
    Ok(merged)
}

/// Chunks are this long, so that a player finds sound and picture of one moment close together.
const CHUNKS_A_SECOND: i64 = 2;

/// Writes the film, synced by nobody: that is the publisher's work.
///
/// # Errors
/// When a file cannot be read or written, or the result would not fit 32-bit offsets.
pub fn write(film: &Film<'_>, target: &Path) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut sizes = Vec::new();
    for part in &film.parts {
        for placed in &part.samples {
            sizes.push(if placed.plain {
                placed.sample.size
            } else {
                part.movie.read(&placed.sample, &mut buffer)?;
                clean(&buffer, part.length_size, &film.configuration)?
                    .iter()
                    .map(|unit| unit.len() as u32 + u32::from(LENGTH_SIZE))
                    .sum::<u32>()
            });
        }
    }
    let picture = picture_trak(film, &sizes)?;
    let mut traks = vec![picture];
    let mut chunks = chunks_of(&traks[0], &sizes, 0);
    if let Some(sound) = &film.sound {
        let sizes: Vec<u32> = sound
            .samples
            .iter()
            .map(|(sample, _)| sample.size)
            .collect();
        traks.push(sound_trak(sound, film.extent(), 2, &sizes)?);
        chunks.extend(chunks_of(&traks[1], &sizes, 1));
    }
    chunks.sort_by(|a, b| a.seconds.total_cmp(&b.seconds).then(a.track.cmp(&b.track)));
    let head = head(film.extent(), FILM, traks, &chunks)?;

    let mut out = BufWriter::with_capacity(256 * 1024, File::create(target)?);
    out.write_all(&head)?;
    let pictures: Vec<(&Part<'_>, &Placed)> = film
        .parts
        .iter()
        .flat_map(|part| part.samples.iter().map(move |placed| (part, placed)))
        .collect();
    for chunk in &chunks {
        let numbers = chunk.first..chunk.first + chunk.count;
        if chunk.track == 0 {
            for (part, placed) in &pictures[numbers] {
                part.movie.read(&placed.sample, &mut buffer)?;
                if placed.plain {
                    out.write_all(&buffer)?;
                    continue;
                }
                for unit in clean(&buffer, part.length_size, &film.configuration)? {
                    out.write_all(&(unit.len() as u32).to_be_bytes())?;
                    out.write_all(unit)?;
                }
            }
        } else if let Some(sound) = &film.sound {
            for (sample, _) in &sound.samples[numbers] {
                sound.movie.read(sample, &mut buffer)?;
                out.write_all(&buffer)?;
            }
        }
    }
    out.flush()
}

/// Writes sound alone, heard from the beginning of the film to its end.
///
/// # Errors
/// As [`write`].
pub fn write_sound(sound: &Sound<'_>, extent: Extent, target: &Path) -> io::Result<()> {
    let samples = sound.samples.iter();
    let sizes: Vec<u32> = samples.map(|(sample, _)| sample.size).collect();
    let traks = vec![sound_trak(sound, extent, 1, &sizes)?];
    let chunks = chunks_of(&traks[0], &sizes, 0);
    let head = head(extent, SOUND, traks, &chunks)?;
    let mut out = BufWriter::with_capacity(256 * 1024, File::create(target)?);
    out.write_all(&head)?;
    let mut buffer = Vec::new();
    for (sample, _) in &sound.samples {
        sound.movie.read(sample, &mut buffer)?;
        out.write_all(&buffer)?;
    }
    out.flush()
}

/// What a file says it is: its own brand first, then all that it may be read as.
type Brands = [&'static [u8; 4]; 4];
const FILM: Brands = [b"isom", b"iso2", b"avc1", b"mp41"];
const SOUND: Brands = [b"M4A ", b"isom", b"iso2", b"mp42"];

/// The units of a sample that stay: parameter sets that are in the `avcC` are said there, filler is nothing.
fn clean<'a>(sample: &'a [u8], length_size: u8, configuration: &Avcc) -> io::Result<Vec<&'a [u8]>> {
    let mut units = nal::units(sample, length_size)
        .ok_or_else(|| invalid("a sample is not made of whole units"))?;
    let said = |unit: &&[u8]| {
        configuration
            .sequence_parameter_sets
            .iter()
            .chain(&configuration.picture_parameter_sets)
            .any(|set| set == nal::trimmed(unit))
    };
    units.retain(|unit| match nal::kind(unit) {
        nal::SPS | nal::PPS => !said(unit),
        nal::FILLER => false,
        _ => true,
    });
    Ok(units)
}

struct Chunk {
    track: usize,
    first: usize,
    count: usize,
    bytes: u64,
    seconds: f64,
}

fn chunks_of(trak: &Trak, sizes: &[u32], track: usize) -> Vec<Chunk> {
    let scale = i64::from(trak.mdia.mdhd.timescale.max(1));
    let durations = trak
        .mdia
        .minf
        .stbl
        .stts
        .entries
        .iter()
        .flat_map(|entry| std::iter::repeat_n(entry.sample_delta, entry.sample_count as usize));
    let mut chunks: Vec<Chunk> = Vec::new();
    let (mut time, mut slot) = (0_i64, -1);
    for ((number, size), duration) in sizes
        .iter()
        .enumerate()
        .zip(durations.chain(std::iter::repeat(0)))
    {
        let now = time * CHUNKS_A_SECOND / scale;
        if now != slot {
            slot = now;
            chunks.push(Chunk {
                track,
                first: number,
                count: 0,
                bytes: 0,
                seconds: time as f64 / scale as f64,
            });
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.count += 1;
            chunk.bytes += u64::from(*size);
        }
        time += i64::from(duration);
    }
    chunks
}

impl Extent {
    /// The index of these tracks.
    pub fn moov(&self, traks: Vec<Trak>) -> Moov {
        Moov {
            mvhd: Mvhd {
                timescale: self.movie_timescale(),
                duration: self.movie_ticks(self.length),
                rate: FixedPoint::new(1, 0),
                volume: FixedPoint::new(1, 0),
                next_track_id: traks.len() as u32 + 1,
                ..Mvhd::default()
            },
            trak: traks,
            ..Moov::default()
        }
    }
}

/// `ftyp`, `moov` and the head of `mdat`. The size of `moov` does not depend on the offsets in it, so it is made twice.
fn head(
    extent: Extent,
    brands: Brands,
    mut traks: Vec<Trak>,
    chunks: &[Chunk],
) -> io::Result<Vec<u8>> {
    let body: u64 = chunks.iter().map(|chunk| chunk.bytes).sum();
    let mut start = 0_u64;
    loop {
        for (track, trak) in traks.iter_mut().enumerate() {
            let mut offset = start;
            let mut entries = Vec::new();
            for chunk in chunks {
                if chunk.track == track {
                    entries.push(u32::try_from(offset).map_err(invalid)?);
                }
                offset += chunk.bytes;
            }
            let stbl = &mut trak.mdia.minf.stbl;
            let counts = chunks
                .iter()
                .filter(|chunk| chunk.track == track)
                .map(|chunk| chunk.count as u32);
            let mut first = 1;
            stbl.stsc = Stsc {
                entries: runs(counts)
                    .map(|(count, samples_per_chunk)| {
                        let entry = StscEntry {
                            first_chunk: first,
                            samples_per_chunk,
                            sample_description_index: 1,
                        };
                        first += count;
                        entry
                    })
                    .collect(),
            };
            stbl.stco = Some(Stco { entries });
            stbl.co64 = None;
        }
        let brand = |name| FourCC::new(name);
        let ftyp = Ftyp {
            major_brand: brand(brands[0]),
            minor_version: 512,
            compatible_brands: brands.map(brand).to_vec(),
        };
        let moov = extent.moov(traks.clone());
        let mut bytes = Vec::new();
        ftyp.encode(&mut bytes).map_err(invalid)?;
        moov.encode(&mut bytes).map_err(invalid)?;
        let size = usize::try_from(body).map_err(invalid)?;
        Header {
            kind: brand(b"mdat"),
            size: Some(size),
        }
        .encode(&mut bytes)
        .map_err(invalid)?;
        if bytes.len() as u64 == start {
            return Ok(bytes);
        }
        start = bytes.len() as u64;
    }
}

/// The `avcC` of a file that the encoder wrote.
pub fn encoded_configuration(movie: &Movie) -> Option<&Avcc> {
    movie
        .track(b"vide")
        .and_then(|track| configuration(&track.trak))
}
