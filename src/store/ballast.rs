//! The ballast: a file that takes room until the disk is full, and then gives it to whoever cleans up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FallocateFlags;

/// The file in the data directory.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    bytes: u64,
    given_up: AtomicBool,
}

impl Ballast {
    /// A ballast of so many bytes, which is not made by this; 0 is none.
    pub fn new(data: &Path, bytes: u64) -> Ballast {
        Ballast {
            path: data.join("ballast"),
            bytes,
            given_up: AtomicBool::new(false),
        }
    }

    /// Bytes that it should have.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that it takes on the disk.
    pub fn held(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |meta| (meta.blocks() * 512).min(meta.len()))
    }

    /// Bytes of the free ones that are not for new work: those it gave up and has not got back.
    pub fn owed(&self) -> u64 {
        if self.given_up.load(Ordering::Relaxed) {
            self.bytes
        } else {
            0
        }
    }

    /// Makes it as large as it should be, really taking the room. What cannot be made whole is not left half.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn make(&self) -> io::Result<()> {
        if self.bytes == 0 {
            return missing_is_fine(fs::remove_file(&self.path));
        }
        let whole = fs::metadata(&self.path).is_ok_and(|meta| meta.len() == self.bytes);
        if !whole || self.held() < self.bytes {
            missing_is_fine(fs::remove_file(&self.path))?;
            let made = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&self.path)
                .and_then(|file| take_room(&file, self.bytes));
            if let Err(error) = made {
                missing_is_fine(fs::remove_file(&self.path))?;
                return Err(error);
            }
        }
        self.given_up.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Gives it up; returns how many bytes that gave. Nothing to give is fine.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn give_up(&self) -> io::Result<u64> {
        let held = self.held();
        if held == 0 {
            return Ok(0);
        }
        fs::remove_file(&self.path)?;
        self.given_up.store(true, Ordering::Relaxed);
        Ok(held)
    }
}

fn take_room(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => {}
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let part = vec![0xa5_u8; 1 << 20];
            let mut left = bytes;
            while left > 0 {
                let count = left.min(part.len() as u64);
                (&*file).write_all(&part[..count as usize])?;
                left -= count;
            }
        }
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_its_room_gives_it_up_once_and_takes_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(dir.path(), 3_000_000);
        assert_eq!((ballast.held(), ballast.owed()), (0, 0));
        ballast.make().unwrap();
        assert_eq!(ballast.held(), 3_000_000);
        assert_eq!(ballast.give_up().unwrap(), 3_000_000);
        assert_eq!((ballast.held(), ballast.owed()), (0, 3_000_000));
        assert_eq!(ballast.give_up().unwrap(), 0);
        ballast.make().unwrap();
        assert_eq!((ballast.held(), ballast.owed()), (3_000_000, 0));
        // Another size is another ballast; a sparse one is none.
        let larger = Ballast::new(dir.path(), 5_000_000);
        larger.make().unwrap();
        assert_eq!(larger.held(), 5_000_000);
        fs::remove_file(&larger.path).unwrap();
        File::create(&larger.path)
            .unwrap()
            .set_len(5_000_000)
            .unwrap();
        assert_eq!(larger.held(), 0);
        larger.make().unwrap();
        assert_eq!(larger.held(), 5_000_000);
        Ballast::new(dir.path(), 0).make().unwrap();
        assert!(!larger.path.exists());
    }
}
