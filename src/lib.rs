//! The map of the house, in reading order. Imports point down this list's floors only: faces, use cases, the landing, rooms that
//! never look into each other, nouns.

// -- ground floor: nouns, pure; no clock, no randomness, no I/O
pub mod bytes;
pub mod clip;
pub mod cost;
pub mod estimate;
pub mod recipe;
pub mod seconds;
pub mod secret;
pub mod sighting;
pub mod timestamp;
pub mod title;
pub mod token;
pub mod upload;
pub mod verdict;

// -- beside the stairs: the settings, which every floor above may read
pub mod config;

// -- first floor: four rooms that never look into each other
pub mod index;
pub mod media;
pub mod source;
pub mod store;

// -- second floor: the engine with the way out, and the landing where everything is at hand
pub mod app;
pub mod cut;

// -- third floor: use cases
pub mod access;
pub mod backup;
pub mod eviction;
pub mod keeper;
pub mod library;
pub mod monitor;
pub mod repair;
pub mod retention;
pub mod room;
pub mod sources;
pub mod trail;
pub mod trash;
pub mod uploads;
pub mod worker;

// -- top floor: faces
pub mod cli;
pub mod http;
pub mod serve;
