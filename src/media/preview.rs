//! What a source looks and sounds like before anything is cut: a strip of its keyframes, the outline of its sound, and a small copy
//! that every browser plays. All of it is made from files on the disk; nothing here reaches the network.

pub mod browser;
pub mod filmstrip;
pub mod waveform;
