//! Behaviour tests: they boot the real binary on a free port, with media made by ffmpeg's generators, and look at what comes out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod access;
mod backup;
mod bad_input;
mod batch;
mod binary;
mod captions;
mod clips;
mod command_line;
mod durability;
mod egress;
mod estimate;
mod events;
mod exact;
mod files;
mod fit;
mod forms;
mod house;
mod install;
mod keeping;
mod limits;
mod looks;
mod media_corpus;
mod nginx;
mod outside;
mod page_clips;
mod pages;
mod playlists;
mod random;
mod refusals;
mod remake;
mod repair;
mod sandbox;
mod shutdown;
mod sources;
mod unit;
mod uploads;
mod video_pages;
mod watch;
mod wishes;
mod withstand;

mod support;

/// A data folder that is filled past the service.
#[path = "../bench/million.rs"]
mod million;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
