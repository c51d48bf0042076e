//! `letter`: draws the texts of one clip, in the folder it is started in. Only the service starts it, as a child of its own.

use std::path::Path;
use std::process::ExitCode;

use super::print;
use crate::media::lettering;

pub(super) fn run() -> ExitCode {
    let told = lettering::draw_in(Path::new("."));
    print(&serde_json::json!(told).to_string());
    ExitCode::SUCCESS
}
