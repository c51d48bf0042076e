//! Sources, made by ffmpeg's generators the first time they are asked for and kept beside the cargo output.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// Noise that rises and falls in two tones, 48 kHz stereo, as a lavfi source.
pub fn sound(seconds: u32) -> String {
    format!(
        "aevalsrc='0.3*sin(2*PI*(200*t+9*t*mod(t,60)))+0.05*random(0)|0.3*sin(2*PI*(300*t+5*t*mod(t,60)))':s=48000:d={seconds}"
    )
}

/// A file of the media folder; ffmpeg makes it with these arguments unless it is there.
pub fn made<'a>(name: &str, arguments: impl IntoIterator<Item = &'a str>) -> Outcome<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-media");
    let path = folder.join(name);
    if path.exists() {
        return Ok(path);
    }
    std::fs::create_dir_all(&folder)?;
    // It appears whole or not at all.
    let half = folder.join(format!("{}.mp4", std::process::id()));
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments)
        .arg(&half)
        .stdin(Stdio::null())
        .status()?;
    if !made.success() {
        return Err(format!("ffmpeg could not make the source {name}: {made}").into());
    }
    std::fs::rename(&half, &path)?;
    Ok(path)
}
