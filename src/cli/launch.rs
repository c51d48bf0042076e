//! The launcher behind every sidecar: limits itself, then becomes the program. It never returns when all goes well.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Resource, Rlimit, Signal};

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
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

const NICE: i32 = 10;
const OPEN_FILES: u64 = 64;
/// A clip is bounded far below this; a runaway output is not.
const FILE_SIZE: u64 = 8 << 30;

/// Applies the limits and executes the program.
pub fn run(launch: Launch) -> ExitCode {
    if let Err(error) = limit(&launch) {
        return failed(
            &format!("the limits of a sidecar could not be set: {error}"),
            126,
        );
    }
    let Some((program, arguments)) = launch.program.split_first() else {
        return failed("no program was named", 126);
    };
    let error = Command::new(program).args(arguments).exec();
    failed(
        &format!("{}: {error}", program.to_string_lossy()),
        crate::media::sidecar::CANNOT_EXECUTE as u8,
    )
}

fn limit(launch: &Launch) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above: then nobody would ever send the signal.
    if rustix::process::getppid() != Pid::from_raw(launch.parent) {
        return Err(std::io::Error::other("the parent is gone"));
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
    rustix::process::setpriority_process(None, NICE)?;
    Ok(())
}

#[expect(
    clippy::print_stderr,
    reason = "the parent reads it as the program's last words"
)]
fn failed(message: &str, code: u8) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(code)
}
