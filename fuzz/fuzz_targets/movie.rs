//! Any bytes as an MP4: the boxes at its top, its tables, every sample, and what its H.264 is like.

#![no_main]

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use meme_maker_fuzz::splice::bitstream;
use meme_maker_fuzz::splice::movie::{self, Movie};

thread_local! {
    /// The input has to have a path; it never touches a disk.
    static INPUT: RefCell<File> = RefCell::new(
        rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into()
    );
}

fn written(bytes: &[u8]) -> PathBuf {
    INPUT.with_borrow_mut(|file| {
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(bytes).unwrap();
        format!("/proc/self/fd/{}", file.as_raw_fd()).into()
    })
}

fuzz_target!(|bytes: &[u8]| {
    movie::top_box(&bytes[..bytes.len().min(16)], 0, bytes.len() as u64);
    let Ok(movie) = Movie::open(&written(bytes)) else {
        return;
    };
    let mut buffer = Vec::new();
    for track in &movie.tracks {
        track.is_self_contained();
        track.moved(movie.timescale);
        // The engine, too, gives up at the first sample that cannot be read.
        for sample in &track.samples {
            if movie.read(sample, &mut buffer).is_err() {
                break;
            }
        }
        let _ = bitstream::look(&movie, track, 0..track.samples.len());
    }
});
