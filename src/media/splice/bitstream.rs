//! What the H.264 of a window is like: whether it may be spliced at all, and where its groups can be entered.

use std::io;
use std::ops::Range;

use mp4_atom::{Avcc, Codec, Trak};

use super::movie::{Movie, Sample, Track};
use super::nal::{self, Picture, Sequence};

/// A stream that may be spliced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitstream {
    /// For each packet in decoding order, whether it is an IDR picture: nothing after it needs anything before it.
    pub idr: Vec<bool>,
    /// For each packet, whether no other picture needs it.
    pub disposable: Vec<bool>,
    /// For each packet, whether it holds nothing but what a joined track takes over as it is.
    pub plain: Vec<bool>,
    /// An id that neither sequences nor pictures of the stream use; x264 gives both of its sets this one.
    pub spare_id: u32,
    pub configuration: Avcc,
}

/// Why a stream cannot be spliced, in one word.
pub type Unfit = &'static str;

/// Ids above this would take more bits than x264 is given here.
const MOST_ID: u32 = 29;

/// What a look at all units of a track shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// For each packet in decoding order, whether it only begins a gradual refresh: a key to the container, but the pictures after it
    /// are not whole at once.
    pub gradual: Vec<bool>,
    pub bitstream: Result<Bitstream, Unfit>,
}

/// Reads the parameter sets of a video track and the kinds of all units in some of its samples, numbers in decoding order; `None` when
/// it is not H.264 with one sample entry.
///
/// # Errors
/// When the file cannot be read.
pub fn look(movie: &Movie, track: &Track, samples: Range<usize>) -> io::Result<Option<Look>> {
    let Some(configuration) = &configuration(&track.trak).map(tidied) else {
        return Ok(None);
    };
    let samples = track.samples.get(samples).unwrap_or_default();
    let mut look = Look {
        gradual: Vec::with_capacity(samples.len()),
        bitstream: Err("bitstream"),
    };
    let (mut idr, mut disposable, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let mut unfit = None;
    for sample in samples {
        let seen = sight(movie, sample, configuration)?;
        if !seen.whole {
            unfit = Some("bitstream");
        }
        if seen.unknown_sets {
            // Sets that change on the way would be lost when they are taken out of the samples.
            unfit = Some("parameters");
        }
        look.gradual.push(seen.gradual && !seen.idr);
        idr.push(seen.idr);
        disposable.push(seen.disposable);
        plain.push(seen.plain && configuration.length_size == 4);
    }
    look.bitstream = match (unfit, spare_id(configuration)) {
        (Some(unfit), _) | (None, Err(unfit)) => Err(unfit),
        (None, Ok(spare_id)) => Ok(Bitstream {
            idr,
            disposable,
            plain,
            spare_id,
            configuration: configuration.clone(),
        }),
    };
    Ok(Some(look))
}

/// What the units of one sample are.
struct Sight {
    whole: bool,
    idr: bool,
    gradual: bool,
    disposable: bool,
    plain: bool,
    unknown_sets: bool,
}

/// Messages and parameter sets longer than this are not read to their end.
const MOST_SMALL: u32 = 4096;
/// So much of a sample is read at once: mostly all of its units but the last begin in there.
const GLANCE: usize = 512;

/// Looks at the head of each unit, and at the whole of those that are no slices.
fn sight(movie: &Movie, sample: &Sample, configuration: &Avcc) -> io::Result<Sight> {
    let mut seen = Sight {
        whole: true,
        idr: false,
        gradual: false,
        disposable: true,
        plain: true,
        unknown_sets: false,
    };
    let width = u32::from(configuration.length_size);
    let mut glance = [0_u8; GLANCE];
    let count = movie.read_at(sample, 0, &mut glance)?;
    let glance = &glance[..count];
    let mut small = Vec::new();
    let (mut place, mut slices) = (0_u32, 0);
    while place < sample.size {
        // Length and type, and then the whole of it if it is not a slice.
        let mut bytes = |from: u32, count: u32| -> io::Result<Vec<u8>> {
            let (begin, end) = (from as usize, (from + count) as usize);
            if let Some(known) = glance.get(begin..end) {
                return Ok(known.to_vec());
            }
            small.resize(count as usize, 0);
            let got = movie.read_at(sample, from, &mut small)?;
            Ok(small[..got].to_vec())
        };
        if sample.size - place < width {
            seen.whole = false;
            break;
        }
        let head = bytes(place, width)?;
        let length = head
            .iter()
            .fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
        place += width;
        if length > sample.size - place {
            seen.whole = false;
            break;
        }
        if length > 0 {
            let head = bytes(place, 1)?;
            if nal::is_slice(&head) {
                slices += 1;
                seen.idr |= nal::kind(&head) == nal::IDR;
                seen.disposable &= nal::is_disposable(&head);
            } else {
                let unit = bytes(place, length.min(MOST_SMALL))?;
                match nal::kind(&unit) {
                    nal::SPS | nal::PPS => {
                        seen.plain = false;
                        seen.unknown_sets |= !configuration
                            .sequence_parameter_sets
                            .iter()
                            .chain(&configuration.picture_parameter_sets)
                            .any(|set| set == nal::trimmed(&unit));
                    }
                    nal::FILLER => seen.plain = false,
                    nal::SEI => {
                        seen.gradual |=
                            nal::recovery_frames(&unit).is_some_and(|frames| frames > 0);
                    }
                    _ => {}
                }
            }
        }
        place += length;
    }
    seen.disposable &= slices > 0;
    Ok(seen)
}

/// The same configuration with parameter sets that end where they end.
pub fn tidied(configuration: &Avcc) -> Avcc {
    let mut tidied = configuration.clone();
    let sets = tidied.sequence_parameter_sets.iter_mut();
    for set in sets.chain(&mut tidied.picture_parameter_sets) {
        set.truncate(nal::trimmed(set).len());
    }
    tidied
}

/// The only sample entry's `avcC`.
pub fn configuration(trak: &Trak) -> Option<&Avcc> {
    match trak.mdia.minf.stbl.stsd.codecs.as_slice() {
        [Codec::Avc1(entry)] => Some(&entry.avcc),
        _ => None,
    }
}

fn spare_id(configuration: &Avcc) -> Result<u32, Unfit> {
    let [set] = configuration.sequence_parameter_sets.as_slice() else {
        return Err("parameters");
    };
    let sequence = Sequence::parse(set).ok_or("bitstream")?;
    if sequence.chroma_format != 1 || sequence.luma_depth != 8 || sequence.chroma_depth != 8 {
        return Err("pixels");
    }
    if !sequence.frames_only {
        return Err("interlaced");
    }
    let pictures: Option<Vec<Picture>> = configuration
        .picture_parameter_sets
        .iter()
        .map(|set| Picture::parse(set))
        .collect();
    let pictures = pictures.ok_or("bitstream")?;
    if pictures.is_empty()
        || pictures
            .iter()
            .any(|picture| picture.sequence != sequence.id)
    {
        return Err("parameters");
    }
    (0..=MOST_ID)
        .find(|id| *id != sequence.id && pictures.iter().all(|picture| picture.id != *id))
        .ok_or("parameters")
}
