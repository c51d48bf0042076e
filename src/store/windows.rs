//! Kept windows on the local disk: `windows/<clip>/`, what was fetched for a clip, so that it can be cut otherwise without fetching anything.
//! What the files hold is told in `window.json`, which is for others to read. All of it can be fetched again at any time.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::{make_dir, remove_dir, sync_dir};
use crate::clip::ClipId;

/// What tells what the files hold; without it there is nothing to be had.
const CARD: &str = "window.json";
/// While it is put together.
const MAKING: &str = ".making";

/// The folder of kept windows.
#[derive(Clone, Debug)]
pub struct Windows {
    root: PathBuf,
    /// What all took when they were last counted; none when that has changed since.
    counted: Arc<Mutex<Option<u64>>>,
}

/// A kept window.
#[derive(Clone, Debug)]
pub struct Kept {
    dir: PathBuf,
    pub card: Vec<u8>,
}

/// One that there is no room for, or whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surplus {
    pub id: ClipId,
    pub bytes: u64,
}

struct Entry {
    id: ClipId,
    bytes: u64,
    kept: SystemTime,
    used: SystemTime,
}

impl From<Entry> for Surplus {
    fn from(entry: Entry) -> Surplus {
        Surplus {
            id: entry.id,
            bytes: entry.bytes,
        }
    }
}

impl Windows {
    /// Opens the folder in the data directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(data: &Path) -> io::Result<Windows> {
        let root = data.join("windows");
        make_dir(&root)?;
        Ok(Windows {
            root,
            counted: Arc::default(),
        })
    }

    /// Removes whatever earlier runs left half-made. Only for the start, when no job runs.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn sweep(&self) -> io::Result<()> {
        remove_dir(&self.root.join(MAKING))
    }

    /// Keeps files of a job, which has them as well until it ends, unless they take more than `most` bytes. What was kept before under this
    /// id goes. False when they are not kept.
    ///
    /// # Errors
    /// When the disk refuses; then nothing is kept.
    pub fn keep(&self, id: ClipId, files: &[PathBuf], card: &[u8], most: u64) -> io::Result<bool> {
        let mut bytes = 0;
        for file in files {
            bytes += fs::metadata(file)?.blocks() * 512;
        }
        if bytes > most {
            return Ok(false);
        }
        let making = self.root.join(MAKING).join(id.to_string());
        let kept = self.put(id, &making, files, card);
        if kept.is_err() {
            // Half of it is worth nothing.
            let _ = remove_dir(&making);
        }
        self.forget_count();
        kept.map(|()| true)
    }

    fn put(&self, id: ClipId, making: &Path, files: &[PathBuf], card: &[u8]) -> io::Result<()> {
        remove_dir(making)?;
        make_dir(making)?;
        for file in files {
            let name = file.file_name().unwrap_or_default();
            // After a power cut nobody could tell what is in them.
            File::open(file)?.sync_all()?;
            fs::hard_link(file, making.join(name))?;
        }
        let mut file = File::create(making.join(CARD))?;
        file.write_all(card)?;
        file.sync_all()?;
        sync_dir(making)?;
        let dir = self.dir(id);
        remove_dir(&dir)?;
        fs::rename(making, dir)
    }

    /// Notes that there is no window to be had under this id; others who would wait for one need not.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn give_up(&self, id: ClipId) -> io::Result<()> {
        self.remove(id)?;
        make_dir(&self.dir(id))
    }

    /// Whether it was noted that there is none.
    pub fn is_given_up(&self, id: ClipId) -> bool {
        let dir = self.dir(id);
        dir.is_dir() && !dir.join(CARD).exists()
    }

    /// What is kept under an id; counts as a use.
    pub fn find(&self, id: ClipId) -> Option<Kept> {
        const MOST: u64 = 4 << 20;
        let dir = self.dir(id);
        let file = File::open(dir.join(CARD)).ok()?;
        if file.metadata().ok()?.len() > MOST {
            return None;
        }
        // Where the disk does not take it, the order of going is less just.
        let _ = file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
        let card = io::read_to_string(file).ok()?.into_bytes();
        Some(Kept { dir, card })
    }

    /// Forgets what is kept under an id; nothing is fine.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn remove(&self, id: ClipId) -> io::Result<()> {
        let removed = remove_dir(&self.dir(id));
        self.forget_count();
        removed
    }

    /// Bytes of all that is kept.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn bytes(&self) -> io::Result<u64> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = *counted {
            return Ok(bytes);
        }
        let bytes = self.entries()?.iter().map(|entry| entry.bytes).sum();
        *counted = Some(bytes);
        Ok(bytes)
    }

    /// What is to go so that no more than `most` bytes are left, the least recently used first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn over(&self, most: u64) -> io::Result<Vec<Surplus>> {
        let mut entries = self.entries()?;
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        entries.sort_by_key(|entry| entry.used);
        entries.retain(|entry| {
            let over = bytes > most;
            if over {
                bytes -= entry.bytes;
            }
            over
        });
        Ok(entries.into_iter().map(Surplus::from).collect())
    }

    /// What has been kept for longer than this.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn older(&self, age: Duration) -> io::Result<Vec<Surplus>> {
        let now = SystemTime::now();
        let mut entries = self.entries()?;
        // What is of a moment to come has a wrong one.
        entries.retain(|entry| now.duration_since(entry.kept).is_ok_and(|kept| kept >= age));
        Ok(entries.into_iter().map(Surplus::from).collect())
    }

    /// All ids under which something is kept.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all(&self) -> io::Result<Vec<Surplus>> {
        Ok(self.entries()?.into_iter().map(Surplus::from).collect())
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            let name = folder.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // What goes meanwhile is gone.
            let Ok(meta) = folder.metadata() else {
                continue;
            };
            let made = meta.modified()?;
            let mut entry = Entry {
                id,
                bytes: 0,
                kept: made,
                used: made,
            };
            for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                let Ok(meta) = file.metadata() else { continue };
                // Most of a sparse file is not there.
                entry.bytes += meta.blocks() * 512;
                if file.file_name() == CARD {
                    entry.kept = meta.modified()?;
                    entry.used = meta.accessed().or_else(|_| meta.modified())?;
                }
            }
            found.push(entry);
        }
        Ok(found)
    }

    fn forget_count(&self) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn dir(&self, id: ClipId) -> PathBuf {
        self.root.join(id.to_string())
    }
}

impl Kept {
    /// Gives one of its files a second name, so that it stays for who works with it. `name` is one of ours.
    ///
    /// # Errors
    /// When it is not there, or the disk refuses.
    pub fn lend(&self, name: &str, to: &Path) -> io::Result<()> {
        let from = self.dir.join(name);
        if !fs::symlink_metadata(&from)?.is_file() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        fs::hard_link(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ClipId {
        format!("0192f0c1-2345-7abc-8def-0123456789{number:02x}")
            .parse()
            .unwrap()
    }

    #[test]
    fn what_was_used_least_recently_goes_first_and_what_is_lent_stays() {
        let dir = tempfile::tempdir().unwrap();
        let windows = Windows::open(dir.path()).unwrap();
        let file = dir.path().join("window-0.mp4");
        for number in 1..=3 {
            fs::write(&file, vec![number; 8192]).unwrap();
            assert!(
                windows
                    .keep(id(number), std::slice::from_ref(&file), b"{}", 1 << 20)
                    .unwrap()
            );
            fs::remove_file(&file).unwrap();
            let card = File::open(windows.dir(id(number)).join(CARD)).unwrap();
            let hour = SystemTime::now() - Duration::from_secs(3600 * u64::from(10 - number));
            card.set_times(FileTimes::new().set_accessed(hour).set_modified(hour))
                .unwrap();
        }
        let all = windows.bytes().unwrap();
        let each = all / 3;
        assert!((8192..20_000).contains(&each), "{each}");
        let ids = |found: Vec<Surplus>| found.iter().map(|found| found.id).collect::<Vec<_>>();
        assert_eq!(ids(windows.over(all).unwrap()), []);
        assert_eq!(ids(windows.over(all - 1).unwrap()), [id(1)]);
        let lent = windows.find(id(1)).unwrap();
        assert_eq!(lent.card, b"{}");
        assert_eq!(ids(windows.over(each).unwrap()), [id(2), id(3)]);
        let mut old = ids(windows.older(Duration::from_secs(8 * 3600)).unwrap());
        old.sort();
        assert_eq!(old, [id(1), id(2)]);
        lent.lend("window-0.mp4", &dir.path().join("kept")).unwrap();
        windows.remove(id(1)).unwrap();
        assert_eq!(fs::read(dir.path().join("kept")).unwrap(), vec![1; 8192]);
        assert!(windows.find(id(1)).is_none() && !windows.is_given_up(id(1)));
        windows.give_up(id(1)).unwrap();
        assert!(windows.find(id(1)).is_none() && windows.is_given_up(id(1)));
        assert!(lent.lend("../x", &dir.path().join("other")).is_err());
    }

    #[test]
    fn what_is_larger_than_all_may_be_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let windows = Windows::open(dir.path()).unwrap();
        let file = dir.path().join("source.mp4");
        fs::write(&file, vec![1; 100_000]).unwrap();
        assert!(
            !windows
                .keep(id(1), std::slice::from_ref(&file), b"{}", 4096)
                .unwrap()
        );
        // A hole takes no room.
        File::create(&file).unwrap().set_len(1 << 40).unwrap();
        assert!(windows.keep(id(1), &[file], b"{}", 4096).unwrap());
        windows.sweep().unwrap();
        assert_eq!(windows.all().unwrap().len(), 1);
    }
}
