//! A file system of its own that is full soon.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Small(tempfile::TempDir);

impl Small {
    /// Mounted with such options as `size=64m,nr_inodes=2000`; `None` where none may be mounted.
    pub fn mount(options: &str) -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Small(dir));
        }
        None
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes every byte that is left.
    pub fn fill(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap();
        for part in [1 << 20, 1 << 12, 1] {
            let bytes = vec![7_u8; part];
            while file.write_all(&bytes).is_ok() {}
        }
        path
    }

    /// Takes every file that is left.
    pub fn crowd(&self) -> PathBuf {
        let folder = self.path().join("crowd");
        std::fs::create_dir_all(&folder).unwrap();
        let mut number = 0_u64;
        loop {
            let taken = std::fs::File::create_new(folder.join(number.to_string()));
            match taken {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(_) => return folder,
            }
            number += 1;
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
