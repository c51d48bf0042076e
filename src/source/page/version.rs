//! How old a yt-dlp is and how it is renewed: its version is the day it was made, and sites change faster than distributions.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};

use crate::timestamp::Timestamp;

/// From this age in days on, an update is advised.
pub const OLD_DAYS: i64 = 60;

/// A version as the program prints it: `2026.10.26`, or with the time of a nightly build behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    text: String,
    made: NaiveDate,
}

impl Version {
    /// Reads what `--version` printed.
    pub fn read(printed: &[u8]) -> Option<Version> {
        let text = std::str::from_utf8(printed).ok()?.trim();
        if text.len() > 40
            || !text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return None;
        }
        let mut parts = text.split('.');
        // Its first year was 2021: `7.1.4` is something else.
        let year = parts.next()?.parse().ok().filter(|year| *year > 2020)?;
        let month = parts.next()?.parse().ok()?;
        let day = parts.next()?.parse().ok()?;
        Some(Version {
            text: text.to_owned(),
            made: NaiveDate::from_ymd_opt(year, month, day)?,
        })
    }

    /// Days since it was made; 0 when this machine's clock is behind.
    pub fn age_days(&self, now: Timestamp) -> i64 {
        let today = DateTime::<Utc>::from_timestamp_millis(now.0).unwrap_or_default();
        (today.date_naive() - self.made).num_days().max(0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where a program came from, which says how it is renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// By pip, for this interpreter.
    Pip(PathBuf),
    /// By the distribution.
    Package,
    /// A file that renews itself.
    Alone(PathBuf),
}

impl Installed {
    /// Looks at the program's file.
    pub fn look(program: &Path) -> Installed {
        let mut head = Vec::new();
        let read =
            std::fs::File::open(program).and_then(|file| file.take(4096).read_to_end(&mut head));
        let script = read
            .is_ok()
            .then(|| String::from_utf8_lossy(&head))
            .filter(|head| head.starts_with("#!"));
        // By its real place: a link in /usr/bin may lead to somebody's own installation, and /bin leads to /usr/bin.
        let place = std::fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
        if place.starts_with("/usr/bin") {
            return Installed::Package;
        }
        let interpreter = script
            // A zip archive with a first line for the shell is the program's own kind of file.
            .filter(|head| head.contains("yt_dlp") && !head.contains("PK\u{3}\u{4}"))
            .and_then(|head| {
                let mut lines = head.lines();
                let first = lines.next()?.strip_prefix("#!")?.trim();
                // An interpreter whose path is too long for a first line is executed by the shell from the second.
                let second = lines.next().and_then(|line| line.strip_prefix("'''exec' "));
                let path = match second {
                    Some(line) => line.split(" \"$0\"").next()?.trim_matches('"'),
                    None => first,
                };
                (path.starts_with('/') && !path.contains(' ')).then(|| PathBuf::from(path))
            });
        match interpreter {
            Some(python) => Installed::Pip(python),
            None => Installed::Alone(program.to_owned()),
        }
    }

    /// The command that renews it.
    pub fn update(&self) -> String {
        match self {
            Installed::Pip(python) => format!("{} -m pip install -U yt-dlp", python.display()),
            Installed::Package => "apt-get install --only-upgrade yt-dlp".to_owned(),
            Installed::Alone(program) => format!("{} -U", program.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_day() {
        let now = Timestamp(
            DateTime::parse_from_rfc3339("2026-12-25T00:00:00Z")
                .unwrap()
                .timestamp_millis(),
        );
        for (printed, age) in [
            ("2026.10.26\n", Some(60)),
            ("2026.10.26.232900", Some(60)),
            ("2026.12.24", Some(1)),
            ("2027.01.01", Some(0)),
            ("2025.06.09", Some(564)),
            ("", None),
            ("7.1.4", None),
            ("2026.13.01", None),
            ("usage: yt-dlp", None),
            ("2026.10.26 \u{1b}[31m", None),
        ] {
            let version = Version::read(printed.as_bytes());
            assert_eq!(
                version.map(|version| version.age_days(now)),
                age,
                "{printed:?}"
            );
        }
    }

    #[test]
    fn the_command_that_renews_it_fits_how_it_was_installed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("yt-dlp");
        let own = format!("{} -U", path.display());
        let pip = "#!/opt/pages/bin/python3\nimport sys\nfrom yt_dlp import main\n";
        for (content, command) in [
            (pip, "/opt/pages/bin/python3 -m pip install -U yt-dlp"),
            (
                "#!/usr/bin/env python3\nPK\u{3}\u{4}yt_dlp/__main__.py",
                own.as_str(),
            ),
            (
                "#!/bin/sh\n'''exec' /opt/long/bin/python3 \"$0\" \"$@\"\n' '''\nfrom yt_dlp import main\n",
                "/opt/long/bin/python3 -m pip install -U yt-dlp",
            ),
            ("\u{7f}ELF", own.as_str()),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(Installed::look(&path).update(), command);
        }
        assert_eq!(
            Installed::look(Path::new("/usr/bin/yt-dlp")),
            Installed::Package
        );
    }
}
