//! Clips that our command line makes, and what it says about them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::film::FPS;
use crate::{Ground, Outcome};

#[derive(Clone, Copy)]
pub struct Span {
    pub start: f64,
    pub end: f64,
}

impl Span {
    pub fn length(self) -> f64 {
        self.end - self.start
    }

    pub fn frames(self) -> usize {
        (self.length() * FPS).round() as usize
    }
}

/// A clip that our command line made.
pub struct Made {
    pub seconds: f64,
    /// What it said about it.
    pub told: Value,
    pub path: PathBuf,
}

impl Made {
    /// What it said at a JSON pointer; not a number when that is none.
    pub fn number(&self, pointer: &str) -> f64 {
        self.told
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    }

    /// The method, and why it is not the one that was tried first.
    pub fn how(&self) -> String {
        let word = |key: &str| self.told[key].as_str();
        let fallback =
            word("fallback").map_or_else(String::new, |why| format!(", fallback: {why}"));
        format!("method {}{fallback}", word("method").unwrap_or("unknown"))
    }
}

/// Makes a clip, which has to have all the frames of its span.
pub fn clip(ground: &Ground, source: &str, span: Span) -> Outcome<Made> {
    let began = Instant::now();
    let output = start(ground, source, span)?.wait_with_output()?;
    let seconds = began.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(format!("our clip failed: {}", output.status).into());
    }
    let told: Value = serde_json::from_slice(&output.stdout)?;
    if told["frames"] != span.frames() {
        return Err(format!("the clip is not what was asked for: {told}").into());
    }
    Ok(Made {
        seconds,
        told,
        path: target(ground, "ours"),
    })
}

/// Begins to make a clip.
pub fn start(ground: &Ground, source: &str, span: Span) -> Outcome<Child> {
    let target = target(ground, "ours");
    // A clip is never written over another.
    if target.exists() {
        std::fs::remove_file(&target)?;
    }
    let child = Command::new(&ground.binary)
        .args(["clip", source, "--json"])
        .args(["--start", &span.start.to_string()])
        .args(["--end", &span.end.to_string(), "-o"])
        .arg(&target)
        .current_dir(ground.dir.path())
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("MEME_MAKER__EGRESS__ALLOW", "127.0.0.0/8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

/// Where a clip of this name is written.
pub fn target(ground: &Ground, name: &str) -> PathBuf {
    ground.dir.path().join(format!("engine-{name}.mp4"))
}
