//! Frames by their pixels: which of a clip's are the source's own.

use std::path::Path;
use std::process::Command;

use super::clip::Span;
use crate::Outcome;
use crate::machine::said;

/// A hash of the pixels of every frame, in the order they are shown.
pub fn frames(path: &Path, input: &[&str]) -> Outcome<Vec<String>> {
    let text = said(
        Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin"])
            .args(input)
            .arg("-i")
            .arg(path)
            .args(["-map", "0:v:0", "-fps_mode", "passthrough"])
            .args(["-f", "framemd5", "-"]),
    )?;
    Ok(text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.rsplit_once(',')?.1.trim().to_owned()))
        .collect())
}

/// How many frames are the source's own, each at its place counted from the first or from the last, whichever fits better.
pub fn same(source: &Path, span: Span, clip: &[String]) -> Outcome<usize> {
    let (start, length) = (span.start.to_string(), span.length().to_string());
    let wanted = frames(source, &["-ss", &start, "-t", &length])?;
    let forward = clip.iter().zip(&wanted).filter(|(a, b)| a == b).count();
    let backward = clip
        .iter()
        .rev()
        .zip(wanted.iter().rev())
        .filter(|(a, b)| a == b)
        .count();
    Ok(forward.max(backward))
}
