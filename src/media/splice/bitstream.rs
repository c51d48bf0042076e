//! What the H.264 of a window is like: whether it may be spliced at all, and where its groups can be entered.

use std::io;

use mp4_atom::{Avcc, Codec, Trak};

use super::movie::Movie;
use super::nal::{self, Picture, Sequence};

/// A stream that may be spliced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitstream {
    /// For each packet in decoding order, whether it is an IDR picture: nothing after it needs anything before it.
    pub idr: Vec<bool>,
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

/// Reads the parameter sets and the kinds of all units of a window's video track; `None` when it is not H.264 with one sample entry.
///
/// # Errors
/// When the file cannot be read.
pub fn look(movie: &Movie) -> io::Result<Option<Look>> {
    let Some(track) = movie.track(b"vide") else {
        return Ok(None);
    };
    let Some(configuration) = configuration(&track.trak) else {
        return Ok(None);
    };
    let known = |unit: &[u8]| {
        configuration
            .sequence_parameter_sets
            .iter()
            .chain(&configuration.picture_parameter_sets)
            .any(|set| set == unit)
    };
    let (mut idr, mut gradual) = (Vec::new(), Vec::new());
    let mut unfit = None;
    let mut buffer = Vec::new();
    for sample in &track.samples {
        movie.read(sample, &mut buffer)?;
        let units = nal::units(&buffer, configuration.length_size).unwrap_or_else(|| {
            unfit = Some("bitstream");
            Vec::new()
        });
        // Sets that change on the way would be lost when they are taken out of the samples.
        if units
            .iter()
            .any(|unit| matches!(nal::kind(unit), nal::SPS | nal::PPS) && !known(unit))
        {
            unfit = Some("parameters");
        }
        let is_idr = units.iter().any(|unit| nal::kind(unit) == nal::IDR);
        idr.push(is_idr);
        gradual.push(
            !is_idr
                && units
                    .iter()
                    .filter_map(|unit| nal::recovery_frames(unit))
                    .any(|frames| frames > 0),
        );
    }
    let bitstream = match (unfit, spare_id(configuration)) {
        (Some(unfit), _) | (None, Err(unfit)) => Err(unfit),
        (None, Ok(spare_id)) => Ok(Bitstream {
            idr,
            spare_id,
            configuration: configuration.clone(),
        }),
    };
    Ok(Some(Look { gradual, bitstream }))
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
