//! Backup, fsck and reindex of a large service. `CLIPS` says how large; a million unless said, for which about 8 GB have to be free.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::figures::mb;
use crate::table::{Bound, Must, Table};
use crate::{Ground, Outcome, scale, tree};

pub const MUSTS: &[Must] = &[
    Must {
        measure: "fsck without hashes",
        bound: Bound::AtMost(60.0),
        aim: None,
        unit: "s",
    },
    Must {
        measure: "reindex",
        bound: Bound::AtLeast(20_000.0),
        aim: None,
        unit: "clips/s",
    },
    Must {
        measure: "peak memory of a backup",
        bound: Bound::AtMost(50.0),
        aim: None,
        unit: "MB",
    },
];
const CLIPS: u32 = 1_000_000;

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let clips = match std::env::var("CLIPS") {
        Ok(text) => text.parse()?,
        Err(_) => CLIPS,
    };
    let data = scale::whole(ground, clips)?;

    let archive = ground.dir.path().join("million.tar");
    let (taken, memory) = run(ground, &data, &["backup", &archive.to_string_lossy()])?;
    let size = mb(std::fs::metadata(&archive)?.len());
    table.judge(
        &MUSTS[2],
        mb(memory),
        format!(
            "{:.1} MB resident at most; {size:.0} MB of {clips} clips in {:.1} s",
            mb(memory),
            taken.as_secs_f64()
        ),
    );
    std::fs::remove_file(&archive)?;

    let (taken, memory) = run(ground, &data, &["fsck"])?;
    table.judge(
        &MUSTS[0],
        taken.as_secs_f64(),
        format!(
            "{:.1} s of {clips} clips, {:.1} MB resident at most",
            taken.as_secs_f64(),
            mb(memory)
        ),
    );

    let (taken, memory) = run(ground, &data, &["reindex"])?;
    table.tell(
        "reindex beside an old index, of which it is checked and taken what the ledger does not keep",
        format!(
            "{:.0} clips/s: {clips} in {:.1} s, {:.1} MB resident at most",
            f64::from(clips) / taken.as_secs_f64(),
            taken.as_secs_f64(),
            mb(memory)
        ),
    );
    for entry in std::fs::read_dir(&data)? {
        let path = entry?.path();
        if path.to_string_lossy().contains("index.db") {
            std::fs::remove_file(path)?;
        }
    }
    // Clips that failed or were cancelled are not in the ledger.
    let entries = std::fs::read_dir(data.join("ledger/clips"))?.count() as f64;
    let (taken, memory) = run(ground, &data, &["reindex"])?;
    let rate = entries / taken.as_secs_f64();
    table.judge(
        &MUSTS[1],
        rate,
        format!(
            "{rate:.0} clips/s: {entries} from ledger and store alone in {:.1} s, {:.1} MB resident at most",
            taken.as_secs_f64(),
            mb(memory)
        ),
    );
    Ok(())
}

/// Runs a command on the data folder to its good end; how long it took and the most memory it held.
fn run(ground: &Ground, data: &Path, arguments: &[&str]) -> Outcome<(Duration, u64)> {
    let began = Instant::now();
    let mut child = Command::new(&ground.binary)
        .args(arguments)
        .arg("--data-dir")
        .arg(data)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    let watch = tree::Watch::start(child.id());
    let status = child.wait()?;
    let taken = began.elapsed();
    let (peak, _) = watch.peaks()?;
    if !status.success() {
        return Err(format!("{} ended with {status}", arguments.join(" ")).into());
    }
    Ok((taken, peak.rss))
}
