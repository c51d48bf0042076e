//! What people would use instead, on the same span of the same file.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::clip::{Span, target};
use crate::cut::ENCODED;
use crate::machine::{said, version};
use crate::origin::Origin;
use crate::{Ground, Outcome};

/// So much of a download is taken for the whole.
pub const DOWNLOAD: Duration = Duration::from_secs(30);

/// The rival that splices too.
pub struct Smartcut {
    program: PathBuf,
    pub version: String,
}

impl Smartcut {
    pub const NAME: &str = "smartcut";

    pub fn install() -> Outcome<Smartcut> {
        let folder = said(
            Command::new("tests/python.sh")
                .args([Smartcut::NAME, "smartcut==1.7"])
                .current_dir(env!("CARGO_MANIFEST_DIR")),
        )?;
        let program = Path::new(folder.trim()).join("bin/smartcut");
        let version = program
            .to_str()
            .and_then(|path| version(path, "--version"))
            .ok_or("smartcut does not start")?;
        Ok(Smartcut { program, version })
    }

    /// Cuts a span into [`Smartcut::NAME`]; the seconds.
    pub fn cut(&self, ground: &Ground, source: &Path, span: Span) -> Outcome<f64> {
        let mut command = Command::new(&self.program);
        command
            .arg(source)
            .arg(target(ground, Smartcut::NAME))
            .args(["--keep", &format!("{},{}", span.start, span.end)]);
        timed(command)
    }
}

/// Encodes every frame anew; the seconds.
pub fn encode(ground: &Ground, source: &Path, span: Span) -> Outcome<f64> {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "error", "-nostdin", "-y"])
        .args(["-ss", &span.start.to_string(), "-i"])
        .arg(source)
        .args(["-t", &span.length().to_string()])
        .args(ENCODED)
        .arg(target(ground, "encoded"));
    timed(command)
}

/// Bytes a second of a plain download from the start on.
pub fn download_rate(origin: &Origin) -> Outcome<f64> {
    let began = Instant::now();
    let mut answer = ureq::get(origin.link("/film.mp4")).call()?;
    let mut reader = answer.body_mut().as_reader();
    let (mut piece, mut bytes) = (vec![0; 64 * 1024], 0);
    while began.elapsed() < DOWNLOAD {
        match reader.read(&mut piece)? {
            0 => break,
            count => bytes += count,
        }
    }
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}

/// How long a command takes that has to end well.
fn timed(mut command: Command) -> Outcome<f64> {
    let began = Instant::now();
    said(&mut command)?;
    Ok(began.elapsed().as_secs_f64())
}
