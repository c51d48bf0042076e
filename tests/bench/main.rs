//! The bench: `make bench` runs it against the static binary in `dist/` and it prints one table. Every verdict is computed from the
//! figure beside it; what could not be taken is said to be so and never counts as met. Ends with 1 unless every must is met.
//!
//! `cargo bench --bench bench -- files cuts` takes only the groups named.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is what it is for; how far it is goes to stderr"
)]

mod figures;
mod machine;
mod media;
mod million;
mod origin;
mod service;
mod table;
mod tree;
mod wire;

mod costs;
mod cut;
mod engine;
mod estimate;
mod fit;
mod forms;
mod gate;
mod repair;
mod scale;
mod serving;
mod sources;
mod start;
mod submit;
mod uploads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use table::{Must, Table};

/// Whatever goes wrong ends the measure, not the bench.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What every measure stands on.
struct Ground {
    binary: PathBuf,
    /// On the disk that is measured; gone when the bench ends.
    dir: tempfile::TempDir,
    began: Instant,
}

/// Measures that stand or fall together.
struct Group {
    name: &'static str,
    musts: &'static [Must],
    take: fn(&Ground, &mut Table) -> Outcome<()>,
}

const GROUPS: &[Group] = &[
    Group {
        name: "binary",
        musts: start::BINARY,
        take: start::binary,
    },
    Group {
        name: "start",
        musts: start::READY,
        take: start::ready,
    },
    Group {
        name: "idle",
        musts: start::IDLE,
        take: start::idle,
    },
    Group {
        name: "submissions",
        musts: submit::MUSTS,
        take: submit::take,
    },
    Group {
        name: "uploads",
        musts: uploads::MUSTS,
        take: uploads::take,
    },
    Group {
        name: "cuts",
        musts: cut::MUSTS,
        take: cut::take,
    },
    Group {
        name: "costs",
        musts: &[],
        take: costs::take,
    },
    Group {
        name: "engine",
        musts: engine::MUSTS,
        take: engine::take,
    },
    Group {
        name: "fit",
        musts: fit::MUSTS,
        take: fit::take,
    },
    Group {
        name: "forms",
        musts: forms::MUSTS,
        take: forms::take,
    },
    Group {
        name: "gate",
        musts: gate::MUSTS,
        take: gate::take,
    },
    Group {
        name: "sources",
        musts: sources::MUSTS,
        take: sources::take,
    },
    Group {
        name: "estimate",
        musts: estimate::MUSTS,
        take: estimate::take,
    },
    Group {
        name: "scale",
        musts: scale::MUSTS,
        take: scale::take,
    },
    Group {
        name: "repair",
        musts: repair::MUSTS,
        take: repair::take,
    },
    Group {
        name: "removal",
        musts: scale::REMOVAL,
        take: scale::removal,
    },
    Group {
        name: "files",
        musts: &[],
        take: serving::take,
    },
];

fn main() -> ExitCode {
    let ground = match ground() {
        Ok(ground) => ground,
        Err(error) => {
            eprintln!("The bench cannot begin: {error}.");
            return ExitCode::from(2);
        }
    };
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut table = Table::default();
    println!("{}", machine::describe(&ground));
    let others = machine::Others::begin();
    for group in GROUPS {
        if !wanted.is_empty() && wanted.iter().all(|name| name != group.name) {
            continue;
        }
        eprintln!("[{:>3} s] {}", ground.began.elapsed().as_secs(), group.name);
        if let Err(error) = (group.take)(&ground, &mut table) {
            table.not_taken(group.name, group.musts, &error.to_string());
        }
    }
    println!("\n{table}");
    println!(
        "Taken in {} s, during which {}. {}",
        ground.began.elapsed().as_secs(),
        others.told(),
        table.summary()
    );
    if table.all_met() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn ground() -> Outcome<Ground> {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/meme-maker");
    if !binary.is_file() {
        return Err("there is no dist/meme-maker; run `make bench`".into());
    }
    std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR"))?;
    Ok(Ground {
        binary,
        dir: tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?,
        began: Instant::now(),
    })
}
