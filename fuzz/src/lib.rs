//! The engine's own readers of MP4 and H.264, from the same files as in the engine but without the service around them, which would
//! take minutes to build and is not what is fuzzed.

#[path = "../../src/media/splice"]
pub mod splice {
    pub mod bitstream;
    pub mod boxes;
    pub mod movie;
    pub mod nal;
}
