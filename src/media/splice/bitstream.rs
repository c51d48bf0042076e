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
    /// Width of the unit lengths in its samples.
    pub length_size: u8,
    /// The parameter sets, as a joined track has them.
    pub configuration: Avcc,
}

/// Why a stream cannot be spliced, in one word.
pub type Unfit = &'static str;

/// Width of the unit lengths in what is joined.
pub const LENGTH_SIZE: u8 = 4;
/// Ids above this would take more bits than x264 is given here.
const MOST_ID: u32 = 29;

/// What a look at all units of a track shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// For each packet in decoding order, whether it at most begins a gradual refresh: it may be a key to the container, but the
    /// pictures from it on are not whole at once.
    pub gradual: Vec<bool>,
    pub bitstream: Result<Bitstream, Unfit>,
}

/// Reads the parameter sets of a video track and the kinds of all units in some of its samples, numbers in decoding order; `None` when
/// it is not H.264 with one sample entry.
///
/// # Errors
/// When the file cannot be read.
pub fn look(movie: &Movie, track: &Track, samples: Range<usize>) -> io::Result<Option<Look>> {
    let Some(own) = configuration(&track.trak) else {
        return Ok(None);
    };
    let configuration = &joinable(own);
    let samples = track.samples.get(samples).unwrap_or_default();
    let mut look = Look {
        gradual: Vec::with_capacity(samples.len()),
        bitstream: Err("bitstream"),
    };
    let (mut idr, mut disposable, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let mut unfit = None;
    for sample in samples {
        let seen = sight(movie, sample, configuration, own.length_size)?;
        if !seen.whole {
            unfit = Some("bitstream");
        }
        if seen.unknown_sets {
            // Sets that change on the way would be lost when they are taken out of the samples.
            unfit = Some("parameters");
        }
        look.gradual
            .push(!seen.idr && (seen.gradual || !seen.intra));
        idr.push(seen.idr);
        disposable.push(seen.disposable);
        plain.push(seen.plain && own.length_size == LENGTH_SIZE);
    }
    look.bitstream = match (unfit, spare_id(configuration)) {
        (Some(unfit), _) | (None, Err(unfit)) => Err(unfit),
        (None, Ok(spare_id)) => Ok(Bitstream {
            idr,
            disposable,
            plain,
            spare_id,
            length_size: own.length_size,
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
    /// All slices are of type I.
    intra: bool,
    plain: bool,
    unknown_sets: bool,
}

impl Sight {
    /// A unit that is no slice.
    fn note(&mut self, unit: &[u8], configuration: &Avcc) {
        let known = |unit| {
            let sets = configuration.sequence_parameter_sets.iter();
            sets.chain(&configuration.picture_parameter_sets)
                .any(|set| set == nal::trimmed(unit))
        };
        match nal::kind(unit) {
            nal::SPS | nal::PPS => {
                self.plain = false;
                self.unknown_sets |= !known(unit);
            }
            nal::FILLER => self.plain = false,
            nal::SEI => {
                self.gradual |= nal::recovery_frames(unit).is_some_and(|frames| frames > 0);
            }
            _ => {}
        }
    }
}

/// Messages and parameter sets longer than this are not read to their end.
const MOST_SMALL: u32 = 4096;
/// So much of a sample is read at once: mostly all of its units but the last begin in there.
const GLANCE: usize = 512;
/// A picture of more units than this is nonsense.
const MOST_UNITS: usize = 2048;
/// So much of a slice tells its type.
const SLICE_HEAD: u32 = 12;

/// Looks at the head of each unit, and at the whole of those that are no slices.
fn sight(
    movie: &Movie,
    sample: &Sample,
    configuration: &Avcc,
    length_size: u8,
) -> io::Result<Sight> {
    let mut seen = Sight {
        whole: true,
        idr: false,
        gradual: false,
        disposable: true,
        intra: true,
        plain: true,
        unknown_sets: false,
    };
    let width = u32::from(length_size);
    let mut glance = [0_u8; GLANCE];
    let count = movie.read_at(sample, 0, &mut glance)?;
    let glance = &glance[..count];
    let mut small = Vec::new();
    let (mut place, mut slices, mut units) = (0_u32, 0, 0);
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
        units += 1;
        // No unit is empty, and none of this is how pictures are made.
        if length == 0 || length > sample.size - place || units > MOST_UNITS {
            seen.whole = false;
            break;
        }
        let head = bytes(place, length.min(SLICE_HEAD))?;
        if nal::is_slice(&head) {
            slices += 1;
            seen.idr |= nal::kind(&head) == nal::IDR;
            seen.disposable &= nal::is_disposable(&head);
            seen.intra &= nal::is_intra(&head);
        } else {
            let unit = bytes(place, length.min(MOST_SMALL))?;
            seen.note(&unit, configuration);
        }
        place += length;
    }
    seen.disposable &= slices > 0;
    Ok(seen)
}

/// The same configuration with parameter sets that end where they end, for samples with lengths of [`LENGTH_SIZE`].
pub fn joinable(configuration: &Avcc) -> Avcc {
    let mut tidied = configuration.clone();
    tidied.length_size = LENGTH_SIZE;
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
