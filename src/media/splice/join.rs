//! Writing the joined file: samples of several files in one track with one `avcC` that holds all parameter sets, index in front,
//! sound and picture interleaved every half second. Nothing is decoded.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use mp4_atom::{
    Avc1, Avcc, Codec, Ctts, CttsEntry, Edts, Elst, ElstEntry, Encode, FixedPoint, FourCC, Ftyp,
    Header, Mdhd, Moov, Mvhd, Stco, Stsc, StscEntry, Stss, Stsz, StszSamples, Stts, SttsEntry,
    Trak,
};

use super::bitstream::configuration;
use super::movie::{Movie, Sample};
use super::nal::{self, Sequence};

/// Samples of one file on their way into the joined track, in decoding order, each with the time at which it is shown there.
pub struct Part<'a> {
    pub movie: &'a Movie,
    /// Width of unit lengths in its samples.
    pub length_size: u8,
    pub samples: Vec<(Sample, i64)>,
}

/// A sound track taken over as it is, edit list included.
pub struct Sound {
    pub movie: Movie,
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
    pub sound: Option<Sound>,
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
    merged.length_size = LENGTH_SIZE;
    Ok(merged)
}

const LENGTH_SIZE: u8 = 4;
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
        for (sample, _) in &part.samples {
            part.movie.read(sample, &mut buffer)?;
            sizes.push(
                clean(&buffer, part.length_size)?
                    .iter()
                    .map(|unit| unit.len() as u32 + 4)
                    .sum::<u32>(),
            );
        }
    }
    let picture = picture_trak(film, &sizes)?;
    let mut traks = vec![picture];
    let mut chunks = chunks_of(&traks[0], &sizes, 0);
    if let Some(sound) = &film.sound {
        let track = sound
            .movie
            .tracks
            .first()
            .ok_or_else(|| io::Error::other("the sound has no track"))?;
        let sizes: Vec<u32> = track.samples.iter().map(|sample| sample.size).collect();
        traks.push(sound_trak(&track.trak, film));
        chunks.extend(chunks_of(&traks[1], &sizes, 1));
    }
    chunks.sort_by(|a, b| a.seconds.total_cmp(&b.seconds).then(a.track.cmp(&b.track)));
    let head = head(film, traks, &chunks)?;

    let mut out = BufWriter::with_capacity(256 * 1024, File::create(target)?);
    out.write_all(&head)?;
    let pictures: Vec<(&Part<'_>, &Sample)> = film
        .parts
        .iter()
        .flat_map(|part| part.samples.iter().map(move |(sample, _)| (part, sample)))
        .collect();
    let sound = film
        .sound
        .as_ref()
        .and_then(|sound| Some((&sound.movie, sound.movie.tracks.first()?)));
    for chunk in &chunks {
        let numbers = chunk.first..chunk.first + chunk.count;
        if chunk.track == 0 {
            for (part, sample) in &pictures[numbers] {
                part.movie.read(sample, &mut buffer)?;
                for unit in clean(&buffer, part.length_size)? {
                    out.write_all(&(unit.len() as u32).to_be_bytes())?;
                    out.write_all(unit)?;
                }
            }
        } else if let Some((movie, track)) = sound {
            for sample in &track.samples[numbers] {
                movie.read(sample, &mut buffer)?;
                out.write_all(&buffer)?;
            }
        }
    }
    out.flush()
}

/// The units of a sample that stay: parameter sets are in the `avcC`, filler is nothing.
fn clean(sample: &[u8], length_size: u8) -> io::Result<Vec<&[u8]>> {
    let mut units = nal::units(sample, length_size)
        .ok_or_else(|| io::Error::other("a sample is not made of whole units"))?;
    units.retain(|unit| !matches!(nal::kind(unit), nal::SPS | nal::PPS | nal::FILLER));
    Ok(units)
}

/// The picture track. Decoding times are the sorted presentation times, so they rise strictly; composition offsets make up the
/// difference, moved by the largest need for reordering so that none is negative; the edit list takes that back.
fn picture_trak(film: &Film<'_>, sizes: &[u32]) -> io::Result<Trak> {
    let shown: Vec<i64> = film
        .parts
        .iter()
        .flat_map(|part| part.samples.iter().map(|(_, shown)| *shown))
        .collect();
    let mut decoded = shown.clone();
    decoded.sort_unstable();
    if decoded.first() != Some(&0) || decoded.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(io::Error::other("the frames' times do not rise from 0"));
    }
    let shift = decoded
        .iter()
        .zip(&shown)
        .map(|(decoded, shown)| decoded - shown)
        .max()
        .unwrap_or(0);
    let ends = decoded.iter().skip(1).copied().chain([film.length]);
    let durations = decoded
        .iter()
        .zip(ends)
        .map(|(start, end)| u32::try_from(end - start).map_err(io::Error::other));
    let durations: Vec<u32> = durations.collect::<io::Result<_>>()?;
    let offsets = decoded
        .iter()
        .zip(&shown)
        .map(|(decoded, shown)| shown + shift - decoded);
    let sync = film
        .parts
        .iter()
        .flat_map(|part| part.samples.iter().map(|(sample, _)| sample.sync));

    let mut trak = film.template.clone();
    trak.tkhd.track_id = 1;
    trak.tkhd.duration = film.length as u64;
    trak.tkhd.enabled = true;
    trak.edts = Some(edit(film.length as u64, shift as u64, 0));
    trak.mdia.mdhd = Mdhd {
        timescale: film.timescale,
        duration: film.length as u64,
        language: trak.mdia.mdhd.language.clone(),
        ..Mdhd::default()
    };
    let stbl = &mut trak.mdia.minf.stbl;
    let entry = match stbl.stsd.codecs.as_slice() {
        [Codec::Avc1(entry)] => Avc1 {
            avcc: film.configuration.clone(),
            btrt: None,
            ..entry.clone()
        },
        _ => return Err(io::Error::other("the source's track is not H.264")),
    };
    stbl.stsd.codecs = vec![Codec::Avc1(entry)];
    stbl.stts = Stts {
        entries: runs(durations.into_iter())
            .map(|(count, delta)| SttsEntry {
                sample_count: count,
                sample_delta: delta,
            })
            .collect(),
    };
    stbl.ctts = Some(Ctts {
        entries: runs(offsets)
            .map(|(count, offset)| CttsEntry {
                sample_count: count,
                sample_offset: offset,
            })
            .collect(),
    });
    stbl.stss = Some(Stss {
        entries: (1..)
            .zip(sync)
            .filter(|(_, sync)| *sync)
            .map(|(number, _)| number)
            .collect(),
    });
    stbl.stsz = Stsz {
        samples: StszSamples::Different {
            sizes: sizes.to_vec(),
        },
    };
    stbl.cslg = None;
    Ok(trak)
}

/// The sound track with its own times; its edit ends with the picture.
fn sound_trak(source: &Trak, film: &Film<'_>) -> Trak {
    let mut trak = source.clone();
    let (media_time, wait) = edited(source, film.timescale);
    let scale = i128::from(source.mdia.mdhd.timescale.max(1));
    let there = i128::from(source.mdia.mdhd.duration)
        .saturating_sub(i128::from(media_time))
        .max(0);
    let there = (there * i128::from(film.timescale) / scale) as u64;
    let length = there.min((film.length as u64).saturating_sub(wait));
    trak.tkhd.track_id = 2;
    trak.tkhd.duration = wait + length;
    trak.edts = Some(edit(length, media_time, wait));
    trak.mdia.mdhd.creation_time = 0;
    trak.mdia.mdhd.modification_time = 0;
    trak
}

/// Where a track's edit list begins in its media, and how long it waits before, in ticks of the film.
fn edited(trak: &Trak, timescale: u32) -> (u64, u64) {
    let entries = trak
        .edts
        .iter()
        .filter_map(|edts| edts.elst.as_ref())
        .flat_map(|elst| &elst.entries);
    let (mut media_time, mut wait) = (0, 0);
    for entry in entries {
        match entry.media_time {
            Some(time) => {
                media_time = time;
                break;
            }
            // ffmpeg's movies count in thousandths.
            None => wait += entry.segment_duration * u64::from(timescale) / 1000,
        }
    }
    (media_time, wait)
}

fn edit(length: u64, media_time: u64, wait: u64) -> Edts {
    let entry = |segment_duration, media_time| ElstEntry {
        segment_duration,
        media_time,
        media_rate: FixedPoint::new(1, 0),
    };
    let mut entries = Vec::new();
    if wait > 0 {
        entries.push(entry(wait, None));
    }
    entries.push(entry(length, Some(media_time)));
    Edts {
        elst: Some(Elst { entries }),
    }
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

/// `ftyp`, `moov` and the head of `mdat`. The size of `moov` does not depend on the offsets in it, so it is made twice.
fn head(film: &Film<'_>, mut traks: Vec<Trak>, chunks: &[Chunk]) -> io::Result<Vec<u8>> {
    let body: u64 = chunks.iter().map(|chunk| chunk.bytes).sum();
    let mut start = 0_u64;
    loop {
        for (track, trak) in traks.iter_mut().enumerate() {
            let mut offset = start;
            let mut entries = Vec::new();
            for chunk in chunks {
                if chunk.track == track {
                    entries.push(u32::try_from(offset).map_err(io::Error::other)?);
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
            major_brand: brand(b"isom"),
            minor_version: 512,
            compatible_brands: vec![
                brand(b"isom"),
                brand(b"iso2"),
                brand(b"avc1"),
                brand(b"mp41"),
            ],
        };
        let moov = Moov {
            mvhd: Mvhd {
                timescale: film.timescale,
                duration: film.length as u64,
                rate: FixedPoint::new(1, 0),
                volume: FixedPoint::new(1, 0),
                next_track_id: traks.len() as u32 + 1,
                ..Mvhd::default()
            },
            trak: traks.clone(),
            ..Moov::default()
        };
        let mut bytes = Vec::new();
        let failed = |error: mp4_atom::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        ftyp.encode(&mut bytes).map_err(failed)?;
        moov.encode(&mut bytes).map_err(failed)?;
        let size = usize::try_from(body).map_err(io::Error::other)?;
        Header {
            kind: brand(b"mdat"),
            size: Some(size),
        }
        .encode(&mut bytes)
        .map_err(failed)?;
        if bytes.len() as u64 == start {
            return Ok(bytes);
        }
        start = bytes.len() as u64;
    }
}

/// Equal values one after the other, counted.
fn runs<T: PartialEq>(values: impl Iterator<Item = T>) -> impl Iterator<Item = (u32, T)> {
    let mut values = values.peekable();
    std::iter::from_fn(move || {
        let value = values.next()?;
        let mut count = 1;
        while values.next_if(|next| *next == value).is_some() {
            count += 1;
        }
        Some((count, value))
    })
}

/// The `avcC` of a file that the encoder wrote.
pub fn encoded_configuration(movie: &Movie) -> Option<&Avcc> {
    movie
        .track(b"vide")
        .and_then(|track| configuration(&track.trak))
}
