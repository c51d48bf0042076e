//! Every format and the heavier looks, of a 1080p source and of a 4K one: the memory of the process tree at its highest, and the time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::figures::{mb, worst};
use crate::media::{made, sound};
use crate::table::{Bound, Must, Table};
use crate::tree::{Memory, Watch};
use crate::{Ground, Outcome, cut};

pub const MUSTS: &[Must] = &[
    Must {
        measure: "every form of 1080p: highest memory of the process tree",
        bound: Bound::AtMost(500.0),
        aim: None,
        unit: "MB",
    },
    Must {
        measure: "every form of 4K: highest memory of the process tree",
        bound: Bound::AtMost(500.0),
        aim: None,
        unit: "MB",
    },
];

/// What is made: its name, its extension, and what is asked for beside the span.
const FORMS: &[(&str, &str, &[&str])] = &[
    ("mp4", "mp4", &["--fps", "29"]),
    ("webm", "webm", &["--format", "webm"]),
    ("gif", "gif", &["--format", "gif"]),
    ("webp", "webp", &["--format", "webp"]),
    ("mp3", "mp3", &["--format", "mp3"]),
    ("m4a", "m4a", &["--format", "m4a"]),
    ("jpg", "jpg", &["--format", "jpg"]),
    ("mp4 to fit", "mp4", &["--fit", "1MB"]),
    (
        "webm to fit",
        "webm",
        &["--format", "webm", "--fit", "500kB"],
    ),
    ("gif to fit", "gif", &["--format", "gif", "--fit", "2MB"]),
    ("mp4 in reverse", "mp4", &["--reverse"]),
    ("mp4 there and back", "mp4", &["--boomerang"]),
    (
        "mp4 at twice the speed",
        "mp4",
        &["--speed", "2", "--fade-out", "1"],
    ),
    (
        "mp4 with captions and a watermark",
        "mp4",
        &[
            "--caption-top",
            "When it is on time",
            "--caption-bottom",
            "and under budget",
            "--watermark",
            "example",
        ],
    ),
    (
        "gif with captions, there and back",
        "gif",
        &[
            "--format",
            "gif",
            "--caption-top",
            "Again and again",
            "--boomerang",
        ],
    ),
    (
        "mp4 of a square, at -16 LUFS",
        "mp4",
        &["--crop", "1:1", "--loudness", "-16"],
    ),
];
const START: &str = "1.3";
const END: &str = "4.3";
const LOOK: Duration = Duration::from_millis(20);

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let sources = [("1080p", cut::source()?), ("4K", large()?)];
    for ((lines, source), must) in sources.iter().zip(MUSTS) {
        let mut peaks = Vec::new();
        for (name, extension, asked) in FORMS {
            let span = [&["--start", START, "--end", END], *asked].concat();
            let measure = format!("{name} of 3 s of {lines}");
            eprintln!("        {measure}");
            match make(ground, source, extension, &span) {
                Ok(made) => {
                    let peak = mb(made.peak.larger());
                    peaks.push(peak);
                    let size = made.told["size"].as_f64().unwrap_or(f64::NAN) / 1e6;
                    table.tell(
                        measure,
                        format!("{peak:.0} MB, {:.1} s; {size:.2} MB", made.seconds),
                    );
                }
                // A form that cannot be made keeps to no promise.
                Err(error) => {
                    peaks.push(f64::INFINITY);
                    table.tell(measure, format!("not made: {error}"));
                }
            }
        }
        let highest = worst(peaks);
        table.judge(must, highest, format!("{highest:.0} MB"));
    }
    Ok(())
}

/// A clip that the command line made.
pub struct Made {
    pub seconds: f64,
    pub told: Value,
    pub path: PathBuf,
    pub peak: Memory,
}

/// Makes a clip and watches it.
pub fn make(ground: &Ground, source: &Path, extension: &str, asked: &[&str]) -> Outcome<Made> {
    let path = ground.dir.path().join(format!("form.{extension}"));
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let began = Instant::now();
    let child = Command::new(&ground.binary)
        .arg("clip")
        .arg(source)
        .args(["--json", "-o"])
        .arg(&path)
        .args(asked)
        .current_dir(ground.dir.path())
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let watch = Watch::every(LOOK, child.id());
    let output = child.wait_with_output()?;
    let seconds = began.elapsed().as_secs_f64();
    let peaks = watch.peaks();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().next().unwrap_or_default();
        return Err(first.to_owned().into());
    }
    Ok(Made {
        seconds,
        told: serde_json::from_slice(&output.stdout)?,
        path,
        peak: peaks?.0,
    })
}

/// Six seconds of 3840x2160 at 30 fps with sound, about 20 Mbit/s, a keyframe every 2 s.
fn large() -> Outcome<PathBuf> {
    let sound = sound(6);
    made(
        "six-seconds-2160p30-20M.mp4",
        [
            ["-f", "lavfi", "-i"].as_slice(),
            &["testsrc2=size=3840x2160:rate=30:duration=6,noise=alls=6:allf=t:all_seed=7"],
            &["-f", "lavfi", "-i", &sound],
            &["-c:v", "libx264", "-preset", "ultrafast"],
            &["-pix_fmt", "yuv420p", "-b:v", "20M", "-g", "60"],
            &["-c:a", "aac", "-b:a", "128k", "-movflags", "+faststart"],
        ]
        .concat(),
    )
}
