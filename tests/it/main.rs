//! Behaviour tests: they boot the real binary on a free port, with media made by ffmpeg's generators, and look at what comes out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bad_input;
mod binary;
mod clips;
mod command_line;
mod durability;
mod events;
mod exact;
mod files;
mod house;
mod nginx;
mod pages;
mod random;
mod refusals;
mod shutdown;
mod uploads;
mod withstand;

mod support;
