//! The tracks of a joined file: their headers, times and edit lists.

use std::io;

use mp4_atom::{
    Avc1, Codec, Ctts, CttsEntry, Edts, Elst, ElstEntry, FixedPoint, Mdhd, Stss, Stsz, StszSamples,
    Stts, SttsEntry, Tkhd, Trak, Url,
};

use super::join::{Extent, Film, Sound};
use super::movie::invalid;

/// The picture track. Decoding times are the sorted presentation times, so they rise strictly; composition offsets make up the
/// difference, moved by the largest need for reordering so that none is negative; the edit list takes that back.
pub fn picture_trak(film: &Film<'_>, sizes: &[u32]) -> io::Result<Trak> {
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
    trak.tkhd.duration = film.extent().movie_ticks(film.length);
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
pub fn sound_trak(
    sound: &Sound<'_>,
    extent: Extent,
    number: u32,
    sizes: &[u32],
) -> io::Result<Trak> {
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
    let mut trak = bare(sound.template, number, scale, length);
    let movie = extent.movie_timescale();
    let in_movie = |ticks: u64| scaled(ticks, scale, movie);
    let wait = in_movie(u64::try_from(first).unwrap_or(0));
    let media_time = u64::try_from(-first).unwrap_or(0);
    let heard = in_movie(length.saturating_sub(media_time))
        .min(extent.movie_ticks(extent.length).saturating_sub(wait));
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

impl Extent {
    /// Ticks per second of the movie header, in which edit lists count: a whole multiple of the picture's, fine enough to say when sound
    /// begins.
    pub fn movie_timescale(self) -> u32 {
        const FINE: u32 = 10_000;
        self.timescale
            .saturating_mul(FINE.div_ceil(self.timescale.max(1)))
            .max(1)
    }

    /// Ticks of the picture in those of the movie header.
    pub fn movie_ticks(self, ticks: i64) -> u64 {
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

/// Equal values one after the other, counted.
pub fn runs<T: PartialEq>(values: impl Iterator<Item = T>) -> impl Iterator<Item = (u32, T)> {
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
