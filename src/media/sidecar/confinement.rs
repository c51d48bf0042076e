//! What holds a sidecar on this machine, as the launcher tells it and as people are told. It confines nobody.

use serde::{Deserialize, Serialize};

/// What is in force; a kernel that knows less holds less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Version of the kernel's Landlock; 0 without one.
    pub landlock: i32,
    /// It opens only the files it was given.
    pub files: bool,
    /// It connects to no TCP port but the gate's.
    pub tcp: bool,
    /// It signals nobody but itself, and reaches no abstract socket.
    pub signals: bool,
    /// System calls that no sidecar needs are refused, and with them every socket that is not TCP.
    pub calls: bool,
}

impl Confinement {
    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.files && self.tcp && self.signals && self.calls
    }
}

impl std::fmt::Display for Confinement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            ("files", self.files),
            ("TCP ports", self.tcp),
            ("signals", self.signals),
            ("system calls", self.calls),
        ];
        let named = |wanted: bool| {
            let parts = parts.iter().filter(|(_, held)| *held == wanted);
            let names: Vec<&str> = parts.map(|(name, _)| *name).collect();
            names.join(", ")
        };
        match self.landlock {
            0 => f.write_str("no Landlock")?,
            version => write!(f, "Landlock {version}")?,
        }
        match (named(true), named(false)) {
            (held, open) if open.is_empty() => write!(f, "; held: {held}"),
            (held, open) if held.is_empty() => write!(f, "; not held: {open}"),
            (held, open) => write!(f, "; held: {held}; not held: {open}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_is_told_in_words() {
        let whole = Confinement {
            landlock: 7,
            files: true,
            tcp: true,
            signals: true,
            calls: true,
        };
        let old = Confinement {
            landlock: 2,
            tcp: false,
            signals: false,
            ..whole
        };
        for (told, words) in [
            (
                whole,
                "Landlock 7; held: files, TCP ports, signals, system calls",
            ),
            (
                old,
                "Landlock 2; held: files, system calls; not held: TCP ports, signals",
            ),
            (
                Confinement::default(),
                "no Landlock; not held: files, TCP ports, signals, system calls",
            ),
        ] {
            assert_eq!(told.to_string(), words);
        }
        assert!(whole.is_whole() && !old.is_whole());
    }
}
