//! Writing the joined file: samples of several files in one track with one `avcC` that holds all parameter sets, index in front,
//! sound and picture interleaved every half second. Nothing is decoded.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use mp4_atom::{
    Avc1, Avcc, Codec, Ctts, CttsEntry, Edts, Elst, ElstEntry, Encode, FixedPoint, FourCC, Ftyp,
    Header, Mdhd, Moov, Mvhd, Stco, Stsc, StscEntry, Stss, Stsz, StszSamples, Stts, SttsEntry,
    Tkhd, Trak, Url,
};

use super::bitstream::configuration;
use super::movie::{Movie, Sample, invalid};
use super::nal::{self, Sequence};

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
        traks.push(sound_trak(sound, film, &sizes)?);
        chunks.extend(chunks_of(&traks[1], &sizes, 1));
    }
    chunks.sort_by(|a, b| a.seconds.total_cmp(&b.seconds).then(a.track.cmp(&b.track)));
    let head = head(film, traks, &chunks)?;

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

/// The picture track. Decoding times are the sorted presentation times, so they rise strictly; composition offsets make up the
/// difference, moved by the largest need for reordering so that none is negative; the edit list takes that back.
fn picture_trak(film: &Film<'_>, sizes: &[u32]) -> io::Result<Trak> {
    let shown: Vec<i64> = film
        .parts
        .iter()
        .flat_map(|part| part.samples.iter().map(|placed| placed.shown))
        .collect();
    let mut decoded = shown.clone();
    decoded.sort_unstable();
    if decoded.first() != Some(&0) || decoded.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(invalid("the frames' times do not rise from 0"));
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
        .map(|(start, end)| u32::try_from(end - start).map_err(invalid));
    let durations: Vec<u32> = durations.collect::<io::Result<_>>()?;
    let offsets = decoded
        .iter()
        .zip(&shown)
        .map(|(decoded, shown)| shown + shift - decoded);
    let sync = film
        .parts
        .iter()
        .flat_map(|part| part.samples.iter().map(|placed| placed.sample.sync));

    let mut trak = bare(film.template, 1, film.timescale, film.length as u64);
    trak.tkhd.duration = film.movie_ticks(film.length);
    trak.edts = Some(edit(trak.tkhd.duration, shift as u64, 0));
    let stbl = &mut trak.mdia.minf.stbl;
    let entry = match film.template.mdia.minf.stbl.stsd.codecs.as_slice() {
        [Codec::Avc1(entry)] => Avc1 {
            avcc: film.configuration.clone(),
            btrt: None,
            ..entry.clone()
        },
        _ => return Err(invalid("the source's track is not H.264")),
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
    Ok(trak)
}

/// The sound track: each sample lasts until the next begins, and the edit ends with the picture.
fn sound_trak(sound: &Sound<'_>, film: &Film<'_>, sizes: &[u32]) -> io::Result<Trak> {
    let scale = sound.template.mdia.mdhd.timescale;
    let (first, last) = match sound.samples.as_slice() {
        [first, .., last] => (first.1, last),
        [only] => (only.1, only),
        [] => return Err(invalid("the sound has no samples")),
    };
    let begins = sound.samples.iter().skip(1).map(|(_, begin)| *begin);
    let ends = begins.chain([last.1 + i64::from(last.0.duration)]);
    let durations = sound.samples.iter().zip(ends).map(|((_, begin), end)| {
        u32::try_from(end - begin).map_err(|_| invalid("the sound's times do not rise"))
    });
    let durations: Vec<u32> = durations.collect::<io::Result<_>>()?;
    let length: u64 = durations.iter().map(|ticks| u64::from(*ticks)).sum();
    let mut trak = bare(sound.template, 2, scale, length);
    let movie = film.movie_timescale();
    let in_movie = |ticks: u64| scaled(ticks, scale, movie);
    let wait = in_movie(u64::try_from(first).unwrap_or(0));
    let media_time = u64::try_from(-first).unwrap_or(0);
    let heard = in_movie(length.saturating_sub(media_time))
        .min(film.movie_ticks(film.length).saturating_sub(wait));
    trak.tkhd.duration = wait + heard;
    trak.edts = Some(edit(heard, media_time, wait));
    let stbl = &mut trak.mdia.minf.stbl;
    stbl.stsd = sound.template.mdia.minf.stbl.stsd.clone();
    stbl.stts = Stts {
        entries: runs(durations.into_iter())
            .map(|(count, delta)| SttsEntry {
                sample_count: count,
                sample_delta: delta,
            })
            .collect(),
    };
    stbl.stsz = Stsz {
        samples: StszSamples::Different {
            sizes: sizes.to_vec(),
        },
    };
    Ok(trak)
}

/// A track that has nothing of the template but its handler's kind, the look of its header and its language.
fn bare(template: &Trak, track_id: u32, timescale: u32, duration: u64) -> Trak {
    let media = &template.mdia;
    let mut trak = Trak {
        tkhd: Tkhd {
            creation_time: 0,
            modification_time: 0,
            track_id,
            enabled: true,
            ..template.tkhd.clone()
        },
        ..Trak::default()
    };
    trak.mdia.mdhd = Mdhd {
        timescale,
        duration,
        language: media.mdhd.language.clone(),
        ..Mdhd::default()
    };
    trak.mdia.hdlr.handler = media.hdlr.handler;
    let minf = &mut trak.mdia.minf;
    minf.vmhd.clone_from(&media.minf.vmhd);
    minf.smhd.clone_from(&media.minf.smhd);
    // The samples are in this file.
    minf.dinf.dref.entries = vec![Url::default().into()];
    trak
}

fn scaled(ticks: u64, from: u32, to: u32) -> u64 {
    let from = u128::from(from.max(1));
    u64::try_from((u128::from(ticks) * u128::from(to) + from / 2) / from).unwrap_or(u64::MAX)
}

impl Film<'_> {
    /// Ticks per second of the movie header, in which edit lists count: a whole multiple of the picture's, fine enough to say when sound
    /// begins.
    fn movie_timescale(&self) -> u32 {
        const FINE: u32 = 10_000;
        self.timescale
            .saturating_mul(FINE.div_ceil(self.timescale.max(1)))
            .max(1)
    }

    fn movie_ticks(&self, ticks: i64) -> u64 {
        scaled(
            u64::try_from(ticks).unwrap_or(0),
            self.timescale,
            self.movie_timescale(),
        )
    }
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
                timescale: film.movie_timescale(),
                duration: film.movie_ticks(film.length),
                rate: FixedPoint::new(1, 0),
                volume: FixedPoint::new(1, 0),
                next_track_id: traks.len() as u32 + 1,
                ..Mvhd::default()
            },
            trak: traks.clone(),
            ..Moov::default()
        };
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
