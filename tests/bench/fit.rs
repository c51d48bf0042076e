//! Clips that have to fit into a size, beside what somebody makes of the same bytes who tries two passes of x264 `medium` at several
//! heights and keeps the best: both brought back to the source's size and compared with it.
//!
//! Further films are named in `MEME_MAKER_BENCH_FILMS`, with a colon between them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::figures::sorted;
use crate::forms;
use crate::machine::said;
use crate::media::made;
use crate::table::{Bound, Must, Table};
use crate::{Ground, Outcome};

pub const MUSTS: &[Must] = &[
    Must {
        measure: "fit: quality against the best of two hand-tuned passes, worst of all",
        bound: Bound::AtLeast(-1.0),
        aim: Some(0.0),
        unit: "dB",
    },
    Must {
        measure: "fit: size against the target, largest of all",
        bound: Bound::AtMost(100.0),
        aim: None,
        unit: "%",
    },
];

/// Bits a pixel of the source that the targets leave: tight, and tighter.
const TARGETS: [f64; 2] = [0.1, 0.05];
/// Seconds of a film, and where they begin when it is long enough.
const LENGTH: f64 = 4.0;
const INSIDE: f64 = 6.0;
/// Heights that are tried by hand below the source's own.
const HEIGHTS: [u32; 4] = [720, 540, 480, 360];
const TRIED: usize = 3;

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let (mut differences, mut shares) = (Vec::new(), Vec::new());
    for film in films()? {
        for bits in TARGETS {
            let row = film.compared(ground, bits)?;
            differences.push(row.ours.quality - row.theirs.quality);
            shares.push(row.share);
            let told = format!(
                "{:.2} dB at {} lines in {:.1} s, {:.1} % of {} kB; by hand {:.2} dB at {} lines in {:.1} s",
                row.ours.quality,
                row.ours.height,
                row.ours.seconds,
                row.share,
                row.target / 1000,
                row.theirs.quality,
                row.theirs.height,
                row.theirs.seconds,
            );
            eprintln!("        {}: {told}", film.name);
            table.tell(format!("{} at {bits} bits a pixel", film.name), told);
        }
    }
    let lowest = sorted(differences).first().copied().unwrap_or(f64::NAN);
    table.judge(&MUSTS[0], lowest, format!("{lowest:+.2} dB"));
    let largest = sorted(shares).last().copied().unwrap_or(f64::NAN);
    table.judge(&MUSTS[1], largest, format!("{largest:.2} %"));
    Ok(())
}

struct Film {
    name: String,
    path: PathBuf,
    width: u32,
    height: u32,
    fps: f64,
    start: f64,
    length: f64,
}

/// Pictures, and what they cost.
struct Pictures {
    quality: f64,
    height: u32,
    seconds: f64,
}

struct Row {
    ours: Pictures,
    theirs: Pictures,
    target: u64,
    share: f64,
}

impl Film {
    fn of(path: PathBuf) -> Outcome<Film> {
        let text = said(
            Command::new("ffprobe")
                .args(["-v", "error", "-select_streams", "v:0", "-show_entries"])
                .arg("stream=width,height,r_frame_rate:format=duration")
                .args(["-of", "default=nw=1"])
                .arg(&path),
        )?;
        let field = |name: &str| {
            let told = text.lines().filter_map(|line| line.split_once('='));
            let mut value = told.filter(|(key, _)| *key == name).map(|(_, value)| value);
            value
                .next_back()
                .ok_or_else(|| format!("{name} is not told of {}", path.display()))
        };
        let (num, den) = field("r_frame_rate")?
            .split_once('/')
            .ok_or("the rate is no fraction")?;
        let duration: f64 = field("duration")?.parse()?;
        let start = if duration > INSIDE + LENGTH {
            INSIDE
        } else {
            0.0
        };
        Ok(Film {
            name: path
                .file_stem()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            width: field("width")?.parse()?,
            height: field("height")?.parse()?,
            fps: num.parse::<f64>()? / den.parse::<f64>()?,
            start,
            length: LENGTH.min(duration - start),
            path,
        })
    }

    fn compared(&self, ground: &Ground, bits: f64) -> Outcome<Row> {
        let pixels = f64::from(self.width) * f64::from(self.height) * self.fps * self.length;
        let target = (pixels * bits / 8.0) as u64;
        let (start, end) = (
            self.start.to_string(),
            (self.start + self.length).to_string(),
        );
        let fit = target.to_string();
        let asked = ["--start", &start, "--end", &end, "--mute", "--fit", &fit];
        let made = forms::make(ground, &self.path, "mp4", &asked)?;
        let size = std::fs::metadata(&made.path)?.len();
        let ours = Pictures {
            quality: self.likeness(&made.path)?,
            height: u32::try_from(made.told["height"].as_u64().unwrap_or(0))?,
            seconds: made.seconds,
        };
        let lower = HEIGHTS.into_iter().filter(|height| *height < self.height);
        let heights = std::iter::once(self.height).chain(lower).take(TRIED);
        let mut theirs: Option<Pictures> = None;
        for height in heights {
            let tried = self.by_hand(ground, height, size)?;
            if theirs
                .as_ref()
                .is_none_or(|best| tried.quality > best.quality)
            {
                theirs = Some(tried);
            }
        }
        Ok(Row {
            ours,
            theirs: theirs.ok_or("nothing was tried by hand")?,
            target,
            share: 100.0 * size as f64 / target as f64,
        })
    }

    /// Two passes of `medium` for as many bytes as ours took.
    fn by_hand(&self, ground: &Ground, height: u32, size: u64) -> Outcome<Pictures> {
        let target = ground.dir.path().join("by-hand.mp4");
        let notes = ground.dir.path().join("by-hand");
        let bits = (size.saturating_sub(3000) as f64 * 8.0 / self.length) as u64;
        let scaled = format!("scale=-2:{height}:flags=bicubic");
        let began = Instant::now();
        for pass in ["1", "2"] {
            let mut command = Command::new("ffmpeg");
            command
                .args(["-v", "error", "-nostdin", "-y"])
                .args(["-ss", &self.start.to_string(), "-i"])
                .arg(&self.path)
                .args(["-t", &self.length.to_string(), "-an", "-vf", &scaled])
                .args(["-c:v", "libx264", "-preset", "medium", "-pix_fmt"])
                .args(["yuv420p", "-b:v", &bits.to_string()])
                .args(["-pass", pass, "-passlogfile"])
                .arg(&notes);
            if pass == "1" {
                command.args(["-f", "null", "-"]);
            } else {
                command.arg(&target);
            }
            said(&mut command)?;
        }
        let seconds = began.elapsed().as_secs_f64();
        Ok(Pictures {
            quality: self.likeness(&target)?,
            height,
            seconds,
        })
    }

    /// PSNR in dB of the luma against the source, at the source's size.
    fn likeness(&self, path: &Path) -> Outcome<f64> {
        let graph = format!(
            "[0:v]setpts=PTS-STARTPTS,scale={}:{}:flags=bicubic,format=yuv420p[a];\
             [1:v]setpts=PTS-STARTPTS,format=yuv420p[b];[a][b]psnr,metadata=print:key=lavfi.psnr.mse.y:file=-",
            self.width, self.height
        );
        let text = said(
            Command::new("ffmpeg")
                .args(["-v", "error", "-nostdin", "-i"])
                .arg(path)
                .args(["-ss", &self.start.to_string()])
                .args(["-t", &self.length.to_string(), "-i"])
                .arg(&self.path)
                .args(["-lavfi", &graph, "-f", "null", "-"]),
        )?;
        let errors: Vec<f64> = text
            .lines()
            .filter_map(|line| line.strip_prefix("lavfi.psnr.mse.y="))
            .filter_map(|value| value.parse().ok())
            .collect();
        if errors.is_empty() {
            return Err("nothing could be compared".into());
        }
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        Ok(10.0 * (255.0 * 255.0 / mean).log10())
    }
}

/// Drawn pictures that pan, a zoom without end into fine detail, and soft colours that turn; 720p each.
fn films() -> Outcome<Vec<Film>> {
    const DRAWN: [(&str, &str); 3] = [
        (
            "pan.mp4",
            "testsrc2=s=1600x900:r=30,crop=1280:720:x='160+150*sin(t)':y='90+80*cos(1.3*t)',noise=alls=4:allf=t:all_seed=7",
        ),
        (
            "zoom.mp4",
            "mandelbrot=s=1280x720:r=30:maxiter=300:end_scale=0.02:end_pts=200,noise=alls=3:allf=t:all_seed=7",
        ),
        (
            "turn.mp4",
            "gradients=s=1280x720:r=30:speed=0.03:n=6:seed=5,rotate=a=t/3,noise=alls=3:allf=t:all_seed=7",
        ),
    ];
    let mut films = Vec::new();
    for (name, pictures) in DRAWN {
        films.push(made(
            name,
            [
                "-f", "lavfi", "-i", pictures, "-t", "6", "-c:v", "libx264", "-preset", "veryfast",
                "-crf", "12", "-pix_fmt", "yuv420p",
            ],
        )?);
    }
    if let Some(further) = std::env::var_os("MEME_MAKER_BENCH_FILMS") {
        films.extend(std::env::split_paths(&further));
    }
    films.into_iter().map(Film::of).collect()
}
