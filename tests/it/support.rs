//! What the tests stand on: a running service, an origin that serves media, generated media, and decoded frames.

pub mod frames;
pub mod media;
pub mod names;
pub mod nginx;
pub mod origin;
pub mod page;
pub mod pieces;
pub mod plant;
pub mod proof;
pub mod service;
pub mod small;
pub mod tree;
pub mod tus;
pub mod visitor;
pub mod wire;

/// Says why a test shows nothing here.
#[expect(clippy::print_stderr, reason = "whoever runs the tests should know")]
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
