//! Parses the command line, dispatches, exits.

use std::process::ExitCode;

fn main() -> ExitCode {
    meme_maker::cli::run()
}
