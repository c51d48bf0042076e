//! The launcher behind every sidecar: limits itself, gives up what the program does not need, then becomes the program. It never returns
//! when all goes well, and never starts a program that could not be limited.

mod calls;
mod confine;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::media::sidecar::{CANNOT_EXECUTE, Confinement, Kin};
use crate::monitor::find_program;

/// What the parent asks for.
#[derive(Debug, clap::Args)]
pub struct Launch {
    /// Process that has to be alive; when it dies, so does the program.
    #[arg(long)]
    parent: i32,
    /// Address space in bytes.
    #[arg(long)]
    memory: u64,
    /// CPU time in seconds.
    #[arg(long)]
    cpu: u64,
    /// A file or folder beside the working directory that may be read.
    #[arg(long)]
    read: Vec<PathBuf>,
    /// The only TCP port that may be connected to; none without it.
    #[arg(long)]
    port: Option<u16>,
    /// Whether the program may start others.
    #[arg(long, default_value = "alone")]
    kin: Kin,
    /// Tells what holds it instead of becoming the program.
    #[arg(long)]
    report: bool,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

const NICE: i32 = 10;
/// Between 0 and 1000: far before everything else that runs on the machine.
const OOM_SCORE: &str = "800";
const OPEN_FILES: u64 = 64;
/// A clip is bounded far below this; a runaway output is not.
const FILE_SIZE: u64 = 8 << 30;
/// Tasks that the program's user may have beyond all that there are.
const MORE_TASKS: u64 = 512;

/// Applies the limits and executes the program.
pub fn run(launch: Launch) -> ExitCode {
    let Some((name, arguments)) = launch.program.split_first() else {
        return failed("no program was named", 126);
    };
    // Looked up while everything can still be seen.
    let program = match found(Path::new(name)) {
        Ok(program) => program,
        Err(error) => {
            return failed(
                &format!("{}: {error}", name.to_string_lossy()),
                CANNOT_EXECUTE as u8,
            );
        }
    };
    offer_to_be_killed();
    if let Err(error) = limit(&launch) {
        return failed(
            &format!("the limits of a sidecar could not be set: {error}"),
            126,
        );
    }
    let held = confine::files_and_ports(&program, &launch.read, launch.port).and_then(|held| {
        let calls = calls::filter(launch.kin, launch.port)?;
        Ok(Confinement { calls, ..held })
    });
    let held = match held {
        Ok(held) => held,
        Err(error) => return failed(&format!("a sidecar could not be confined: {error}"), 126),
    };
    if launch.report {
        super::print(&serde_json::json!(held).to_string());
        return ExitCode::SUCCESS;
    }
    let error = Command::new(&program).args(arguments).exec();
    failed(
        &format!("{}: {error}", name.to_string_lossy()),
        CANNOT_EXECUTE as u8,
    )
}

/// Where a program is, absolute.
fn found(name: &Path) -> io::Result<PathBuf> {
    match find_program(name) {
        Some(program) => std::path::absolute(program),
        // The system's own words for it.
        None => match std::fs::metadata(name) {
            Err(error) if name.components().count() > 1 => Err(error),
            Err(_) => Err(io::Error::from_raw_os_error(libc::ENOENT)),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EACCES)),
        },
    }
}

fn limit(launch: &Launch) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above: then nobody would ever send the signal.
    if rustix::process::getppid() != Pid::from_raw(launch.parent) {
        return Err(io::Error::other("the parent is gone"));
    }
    if rustix::process::getpgrp() != rustix::process::getpid() {
        rustix::process::setpgid(None, None)?;
    }
    let most = |limit| Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    rustix::process::setrlimit(Resource::As, most(launch.memory))?;
    rustix::process::setrlimit(Resource::Cpu, most(launch.cpu))?;
    rustix::process::setrlimit(Resource::Fsize, most(FILE_SIZE))?;
    rustix::process::setrlimit(Resource::Nofile, most(OPEN_FILES))?;
    rustix::process::setrlimit(Resource::Core, most(0))?;
    rustix::process::setrlimit(Resource::Msgqueue, most(0))?;
    // Locked memory keeps the system's own limit: libraries lock a little for keys, and complain where they may not.
    if let Some(tasks) = tasks() {
        // The limit counts all tasks of the user, whoever started them, and may have been lower before.
        let tasks = tasks.saturating_add(MORE_TASKS);
        let before = rustix::process::getrlimit(Resource::Nproc);
        let tasks = before.maximum.map_or(tasks, |before| before.min(tasks));
        rustix::process::setrlimit(Resource::Nproc, most(tasks))?;
    }
    rustix::process::setpriority_process(None, NICE)?;
    rustix::thread::set_no_new_privs(true)?;
    // Root without its privileges still reads what its user named; without new privileges it gets none of them back.
    let had = rustix::thread::capabilities(None)?;
    let kept = had.permitted & CapabilitySet::DAC_READ_SEARCH;
    if had.permitted != kept {
        rustix::thread::set_capabilities(
            None,
            CapabilitySets {
                effective: kept,
                permitted: kept,
                inheritable: CapabilitySet::empty(),
            },
        )?;
    }
    Ok(())
}

/// When memory runs out the kernel takes the program and leaves the service: raising one's own score takes no privilege. Where it
/// cannot be written (no /proc), the limits on memory hold all the same.
fn offer_to_be_killed() {
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
}

/// Tasks on this machine, from the fourth word of `/proc/loadavg`.
fn tasks() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/loadavg").ok()?;
    let (_, all) = told.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

#[expect(
    clippy::print_stderr,
    reason = "the parent reads it as the program's last words"
)]
fn failed(message: &str, code: u8) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(code)
}
