//! What a sidecar may touch, by Landlock: files, TCP ports, and whom it may signal. As much of it as the kernel knows. It never
//! decides what a program needs beyond its own libraries: that is in the job.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use crate::media::sidecar::Confinement;
use crate::monitor::find_program;

/// The newest version of Landlock that is made use of.
const NEWEST: ABI = ABI::V9;

/// Programs, libraries and their data. A wildcard is not among them: `/usr` and `/etc` as a whole hold more than that.
const SYSTEM: [&str; 17] = [
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/share",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/share",
    "/nix/store",
    "/gnu/store",
    "/var/cache/fontconfig",
];
/// What libraries look at: where their kind is, fonts, certificates, the time zone, how many cores there are, and themselves.
const LOOKED_AT: [&str; 23] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
    "/etc/fonts",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/gnutls",
    "/etc/crypto-policies",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/gai.conf",
    "/dev/urandom",
    "/dev/random",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system",
];

/// From here on only these files can be opened: the program with its libraries, what is named in `read`, and for writing the working
/// directory. Only this port of TCP can be connected to, and only processes from here on can be signalled.
///
/// # Errors
/// When the kernel knows Landlock and still does not do as asked. That it does not know it is told and no error.
pub(super) fn files_and_ports(
    program: &Path,
    read: &[PathBuf],
    port: Option<u16>,
) -> io::Result<Confinement> {
    let status = restricted(program, read, port).map_err(io::Error::other)?;
    let landlock = match status {
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
        LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
    };
    Ok(Confinement {
        landlock,
        files: landlock >= 1,
        tcp: landlock >= 4,
        signals: landlock >= 6,
        calls: false,
    })
}

fn restricted(
    program: &Path,
    read: &[PathBuf],
    port: Option<u16>,
) -> Result<LandlockStatus, RulesetError> {
    let look: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = look | AccessFs::Execute;
    // No links and no devices: whoever reads the results would follow them. And nothing that was written there is run.
    let work = look
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir;
    let own = Own::of(program);
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM, run))?
        .add_rules(path_beneath_rules(&own.programs, run))?
        .add_rules(path_beneath_rules(&own.libraries, look))?
        .add_rules(path_beneath_rules(LOOKED_AT, look))?
        .add_rules(path_beneath_rules(read, look))?
        .add_rules(path_beneath_rules(
            ["/dev/null"],
            look | AccessFs::WriteFile,
        ))?
        .add_rules(path_beneath_rules(["."], work))?
        .add_rules(
            port.map(|port| Ok::<_, RulesetError>(NetPort::new(port, AccessNet::ConnectTcp))),
        )?;
    Ok(ruleset.restrict_self()?.landlock)
}

/// What belongs to a program that is not the system's own: by name and by where its links lead, and for a script its interpreter.
#[derive(Default)]
struct Own {
    programs: Vec<PathBuf>,
    libraries: Vec<PathBuf>,
}

impl Own {
    fn of(program: &Path) -> Own {
        let mut own = Own::default();
        let mut next = Some(program.to_owned());
        // A script of a script of a script is where Linux stops as well.
        for _ in 0..4 {
            let Some(program) = next.take() else { break };
            next = interpreter(&program);
            let real = program.canonicalize();
            for program in std::iter::once(program).chain(real.ok()) {
                let prefix = program.parent().and_then(Path::parent);
                // Not the prefix itself: that may be somebody's home.
                own.libraries.extend(prefix.into_iter().flat_map(|prefix| {
                    ["lib", "lib64", "pyvenv.cfg"].map(|place| prefix.join(place))
                }));
                own.programs.push(program);
            }
        }
        own
    }
}

/// The program that a script names in its first line, by way of `env` too.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut first = Vec::new();
    File::open(script)
        .ok()?
        .take(256)
        .read_to_end(&mut first)
        .ok()?;
    let line = first.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty())
        .map(|word| PathBuf::from(OsString::from_vec(word.to_vec())));
    let program = words.next()?;
    if program.ends_with("env") {
        return find_program(&words.next()?);
    }
    Some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_leads_to_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        for (first, found) in [
            ("#!/bin/sh\n", Some("/bin/sh")),
            (
                "#! /opt/venv/bin/python3 -I\nx",
                Some("/opt/venv/bin/python3"),
            ),
            ("\x7fELF", None),
            ("#!", None),
            ("", None),
        ] {
            std::fs::write(&script, first).unwrap();
            assert_eq!(interpreter(&script), found.map(PathBuf::from), "{first}");
        }
        std::fs::write(&script, "#!/usr/bin/env sh\n").unwrap();
        assert!(interpreter(&script).unwrap().ends_with("sh"));
    }

    #[test]
    fn a_program_brings_its_libraries_but_not_its_home() {
        let own = Own::of(Path::new("/home/me/bin/ffmpeg"));
        assert_eq!(own.programs, [Path::new("/home/me/bin/ffmpeg")]);
        assert!(own.libraries.contains(&PathBuf::from("/home/me/lib")));
        assert!(!own.libraries.contains(&PathBuf::from("/home/me")));
    }
}
