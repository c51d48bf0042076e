//! Another order for the pictures of a film: its index is written anew behind the old one, and the samples stay where they are. A
//! picture may be listed more than once. For films of ours whose pictures need no other.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mp4_atom::{Co64, Encode, Stsc, StscEntry};

use super::bitstream::configuration;
use super::join::{Film, Part, Placed};
use super::movie::{BOX_HEAD, Movie, TopBox, invalid, top_box};
use super::tracks::picture_trak;

/// Lists the pictures of the film at `path`, which `movie` was read from, by their numbers, each with the time at which it is shown, in
/// ticks of the track; all of it lasts `length`.
///
/// # Errors
/// When the file cannot be read or written, or is none whose pictures can be moved.
pub fn reorder(path: &Path, movie: &Movie, order: &[(usize, i64)], length: i64) -> io::Result<()> {
    let track = movie
        .track(b"vide")
        .ok_or_else(|| invalid("it has no pictures"))?;
    let own = configuration(&track.trak).ok_or_else(|| invalid("its pictures are not H.264"))?;
    if track.samples.iter().any(|sample| !sample.sync) {
        return Err(invalid("its pictures need each other"));
    }
    let samples = order.iter().map(|(number, shown)| {
        let sample = track.samples.get(*number);
        sample.map(|sample| Placed {
            sample: *sample,
            shown: *shown,
            plain: true,
        })
    });
    let samples: Option<Vec<Placed>> = samples.collect();
    let samples = samples.ok_or_else(|| invalid("it has fewer pictures"))?;
    let sizes: Vec<u32> = samples.iter().map(|placed| placed.sample.size).collect();
    let places: Vec<u64> = samples.iter().map(|placed| placed.sample.offset).collect();
    let film = Film {
        template: &track.trak,
        configuration: own.clone(),
        timescale: track.trak.mdia.mdhd.timescale,
        parts: vec![Part {
            movie,
            length_size: own.length_size,
            samples,
        }],
        length,
        sound: None,
    };
    let mut trak = picture_trak(&film, &sizes)?;
    let stbl = &mut trak.mdia.minf.stbl;
    // Each picture is a chunk of its own, so that it may lie anywhere.
    stbl.stsc = Stsc {
        entries: vec![StscEntry {
            first_chunk: 1,
            samples_per_chunk: 1,
            sample_description_index: 1,
        }],
    };
    stbl.stco = None;
    stbl.co64 = Some(Co64 { entries: places });
    let mut bytes = Vec::new();
    film.extent()
        .moov(vec![trak])
        .encode(&mut bytes)
        .map_err(invalid)?;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let old = index_of(&file, movie.length)?;
    file.write_all_at(&bytes, movie.length)?;
    // From here on it is the only one.
    file.write_all_at(b"free", old + 4)
}

/// Where the index of a file begins.
fn index_of(file: &std::fs::File, length: u64) -> io::Result<u64> {
    let mut start = 0;
    while start < length {
        let mut head = [0; BOX_HEAD as usize];
        let count = head.len().min((length - start) as usize);
        file.read_exact_at(&mut head[..count], start)?;
        match top_box(&head[..count], start, length) {
            TopBox::Index { .. } => return Ok(start),
            TopBox::Other { end } => start = end,
            TopBox::Unreadable => break,
        }
    }
    Err(invalid("it has no index"))
}
