//! Any bytes as a sample of units, and as each kind of unit that is read. The first byte says how wide the lengths are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meme_maker_fuzz::splice::nal::{self, Picture, Sequence};

fuzz_target!(|bytes: &[u8]| {
    let Some((width, sample)) = bytes.split_first() else {
        return;
    };
    read(sample);
    for unit in nal::units(sample, width % 4 + 1).unwrap_or_default() {
        read(unit);
    }
});

fn read(unit: &[u8]) {
    nal::is_slice(unit);
    nal::is_disposable(unit);
    Sequence::parse(unit);
    Picture::parse(unit);
    nal::recovery_frames(unit);
}
