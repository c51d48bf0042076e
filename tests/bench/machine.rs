//! On what the figures were taken.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::figures::{ms, quantile, sorted};
use crate::{Ground, Outcome, tree};

/// A few lines; what cannot be found out is said to be unknown.
pub fn describe(ground: &Ground) -> String {
    let unknown = || "unknown".to_owned();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let cores =
        std::thread::available_parallelism().map_or_else(|_| unknown(), |cores| cores.to_string());
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown);
    let memory = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .map_or_else(unknown, |kib| format!("{:.1} GB", kib * 1024.0 / 1e9));
    let busy = read("/proc/loadavg");
    let busy = busy.split(' ').next().unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let disk = match sync_times(ground) {
        Ok(times) => format!(
            "4 kB appended and fdatasync'ed in {:.2} ms (p50), {:.2} ms (p99)",
            quantile(&times, 0.5),
            quantile(&times, 0.99)
        ),
        Err(error) => format!("unknown ({error})"),
    };
    [
        (
            "date",
            chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
        ),
        (
            "machine",
            format!("{cores} cores, {model}, {memory}; load {busy} at the start"),
        ),
        ("disk", disk),
        ("kernel", kernel.trim().to_owned()),
        (
            "ffmpeg",
            version("ffmpeg", "-version").unwrap_or_else(unknown),
        ),
        (
            "nginx",
            crate::serving::nginx()
                .and_then(|path| version(&path, "-v"))
                .unwrap_or_else(|| "not installed".to_owned()),
        ),
    ]
    .map(|(name, value)| format!("{name:<8} {value}"))
    .join("\n")
}

/// What a program writes to its standard output, as long as it ends well.
pub fn said(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let program = command.get_program().display();
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.trim_end().lines().last().unwrap_or_default();
        return Err(format!("{program} failed ({}): {last}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The first line of what a program says about itself, without the licence.
pub fn version(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().next()?;
    let line = line.split(" Copyright").next()?;
    Some(line.trim().to_owned())
}

/// What one durable write costs on the measured disk, in ms: the floor below which no commit comes.
fn sync_times(ground: &Ground) -> Outcome<Vec<f64>> {
    let path = ground.dir.path().join("sync");
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..300 {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(ms(began.elapsed()));
    }
    std::fs::remove_file(path)?;
    Ok(sorted(times))
}

/// The share of the CPU that went to work which is not ours: the more of it, the worse every figure.
pub struct Others(Option<Spent>);

/// In clock ticks of all cores together.
struct Spent {
    total: f64,
    busy: f64,
    /// By this process and all children that have ended.
    ours: f64,
}

impl Others {
    pub fn begin() -> Others {
        Others(Spent::so_far())
    }

    /// In words, once all children have ended.
    pub fn told(&self) -> String {
        let (Some(before), Some(after)) = (&self.0, Spent::so_far()) else {
            return "it is unknown how much other work there was".to_owned();
        };
        let others = (after.busy - before.busy) - (after.ours - before.ours);
        format!(
            "other work took {:.0} % of the CPU",
            100.0 * (others / (after.total - before.total)).clamp(0.0, 1.0)
        )
    }
}

impl Spent {
    fn so_far() -> Option<Spent> {
        // user nice system idle iowait irq softirq steal; guest time is within user.
        let all = std::fs::read_to_string("/proc/stat").ok()?;
        let all: Vec<f64> = all
            .lines()
            .next()?
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        let total: f64 = all.iter().sum();
        Some(Spent {
            total,
            busy: total - all.get(3)? - all.get(4)?,
            ours: tree::fields(&std::fs::read_to_string("/proc/self/stat").ok()?)?
                .iter()
                .sum(),
        })
    }
}
