//! The bytes of uploads on the disk, one folder each, and who writes to which. It knows how many bytes are in a file, never how many
//! are meant to be: what is recorded is for the caller to know.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::upload::UploadId;

/// Where an upload's bytes are.
pub fn file_of(root: &Path, id: UploadId) -> PathBuf {
    root.join(id.to_string()).join("file")
}

/// The folder of all uploads.
#[derive(Clone)]
pub struct UploadStore {
    root: PathBuf,
    writers: Arc<Mutex<HashMap<UploadId, Arc<Writer>>>>,
}

/// One who writes to an upload, as others see them.
pub struct Writer {
    /// Asks the writer to end with what has come.
    pub stop: CancellationToken,
    /// The writer has ended and the upload is free.
    pub ended: CancellationToken,
    began: Instant,
    /// When the last bytes came, in milliseconds after `began`.
    heard: AtomicU64,
    ending: AtomicBool,
}

impl Writer {
    /// Bytes have come.
    pub fn hear(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(ms, Ordering::Relaxed);
    }

    /// No more bytes will be taken; what has come is being made safe.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether the writer is about to end by itself.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// How long no bytes have come.
    pub fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(heard)
    }
}

/// The right to write to an upload, or to remove it. Nobody else has it until this is dropped, in no process.
pub struct Writing {
    pub file: Arc<File>,
    pub writer: Arc<Writer>,
    id: UploadId,
    writers: Arc<Mutex<HashMap<UploadId, Arc<Writer>>>>,
}

/// What became of asking for that right.
pub enum Claimed {
    Yours(Writing),
    /// Somebody has it; known when they are in this process.
    Taken(Option<Arc<Writer>>),
    /// There are no such bytes.
    Missing,
}

impl UploadStore {
    /// Opens the folder, making it where it is missing. Only the service may look inside.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: PathBuf) -> io::Result<UploadStore> {
        private_dir(&root)?;
        Ok(UploadStore {
            root,
            writers: Arc::default(),
        })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes an upload without bytes, for good.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn make(&self, id: UploadId) -> io::Result<()> {
        let dir = self.root.join(id.to_string());
        private_dir(&dir)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file_of(&self.root, id))?;
        File::open(&dir)?.sync_all()?;
        File::open(&self.root)?.sync_all()
    }

    /// Removes an upload's bytes; missing is fine.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn remove(&self, id: UploadId) -> io::Result<()> {
        missing_is_fine(fs::remove_dir_all(self.root.join(id.to_string())))
    }

    /// Asks for the right to write.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn claim(&self, id: UploadId) -> io::Result<Claimed> {
        // Read as well: what is on the disk can be looked at through the same handle.
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .open(file_of(&self.root, id));
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Claimed::Missing),
            Err(error) => return Err(error),
        };
        // The lock is the file's own, so it also holds against a clean-up that runs beside the service.
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Ok(Claimed::Taken(self.lock().get(&id).cloned()));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let writer = Arc::new(Writer {
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
            began: Instant::now(),
            heard: AtomicU64::new(0),
            ending: AtomicBool::new(false),
        });
        self.lock().insert(id, Arc::clone(&writer));
        Ok(Claimed::Yours(Writing {
            file: Arc::new(file),
            writer,
            id,
            writers: Arc::clone(&self.writers),
        }))
    }

    /// Who writes to an upload, if anybody in this process does.
    pub fn writer(&self, id: UploadId) -> Option<Arc<Writer>> {
        self.lock().get(&id).cloned()
    }

    /// Removes everything that is no upload of `known`. Only for the start, when nobody makes one. Returns how many went.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn sweep(&self, known: &[UploadId]) -> io::Result<usize> {
        let known: Vec<String> = known.iter().map(UploadId::to_string).collect();
        let mut gone = 0;
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            if name
                .to_str()
                .is_some_and(|name| known.iter().any(|id| id == name))
            {
                continue;
            }
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
            gone += 1;
        }
        Ok(gone)
    }

    /// Cuts an upload's bytes back to what is recorded. Returns how many there are then: fewer when some were lost, `None` when all.
    ///
    /// # Errors
    /// When the file cannot be changed.
    pub fn cut_back(&self, id: UploadId, recorded: u64) -> io::Result<Option<u64>> {
        let file = match OpenOptions::new().write(true).open(file_of(&self.root, id)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        // After a power cut nobody can say whether what lies behind was written or only made room for.
        if length > recorded {
            file.set_len(recorded)?;
            file.sync_all()?;
        }
        Ok(Some(length.min(recorded)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Arc<Writer>>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writing {
    /// Goes to where the next bytes belong; what lies behind is from a writer that died and was never recorded.
    ///
    /// # Errors
    /// When fewer bytes are there, or the file cannot be changed.
    pub fn go_to(&self, offset: u64) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length < offset {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{length} bytes are there instead of {offset}"),
            ));
        }
        if length > offset {
            self.file.set_len(offset)?;
        }
        (&*self.file).seek(SeekFrom::Start(offset)).map(drop)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // The next one may claim it as soon as `ended` is told; children that are being started may still hold the handle.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(upload = self.id.mark(), error = %error, "the upload could not be unlocked");
        }
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if writers
            .get(&self.id)
            .is_some_and(|writer| Arc::ptr_eq(writer, &self.writer))
        {
            writers.remove(&self.id);
        }
        drop(writers);
        self.writer.ended.cancel();
    }
}

fn private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
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
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    fn id(number: u8) -> UploadId {
        format!("5f0c1a52-7c3e-4d8a-9d0b-0123456789{number:02x}")
            .parse()
            .unwrap()
    }

    fn store() -> (tempfile::TempDir, UploadStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = UploadStore::open(dir.path().join("uploads")).unwrap();
        store.make(id(1)).unwrap();
        (dir, store)
    }

    fn claimed(store: &UploadStore, number: u8) -> Option<Writing> {
        match store.claim(id(number)).unwrap() {
            Claimed::Yours(writing) => Some(writing),
            Claimed::Taken(_) | Claimed::Missing => None,
        }
    }

    #[test]
    fn one_writes_at_a_time() {
        let (_dir, store) = store();
        let first = claimed(&store, 1).unwrap();
        // Another process would have another store.
        let other = UploadStore::open(store.root().to_owned()).unwrap();
        assert!(matches!(
            store.claim(id(1)).unwrap(),
            Claimed::Taken(Some(_))
        ));
        assert!(matches!(other.claim(id(1)).unwrap(), Claimed::Taken(None)));
        let writer = Arc::clone(&first.writer);
        drop(first);
        assert!(writer.ended.is_cancelled() && store.writer(id(1)).is_none());
        assert!(claimed(&other, 1).is_some());
        assert!(matches!(store.claim(id(2)).unwrap(), Claimed::Missing));
    }

    #[test]
    fn what_was_never_recorded_is_cut_off() {
        let (_dir, store) = store();
        let path = file_of(store.root(), id(1));
        fs::write(&path, "recorded, and more").unwrap();
        let writing = claimed(&store, 1).unwrap();
        writing.go_to(8).unwrap();
        (&*writing.file).write_all(b"!").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"recorded!");
        assert!(writing.go_to(10).is_err());
        assert_eq!(store.cut_back(id(1), 3).unwrap(), Some(3));
        assert_eq!(store.cut_back(id(1), 5).unwrap(), Some(3));
        assert_eq!(store.cut_back(id(2), 5).unwrap(), None);
    }

    #[test]
    fn uploads_are_for_the_service_alone_and_what_is_none_is_swept() {
        let (_dir, store) = store();
        let path = file_of(store.root(), id(1));
        for path in [store.root(), path.parent().unwrap(), &path] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
        store.make(id(2)).unwrap();
        fs::write(store.root().join("stray"), "x").unwrap();
        assert_eq!(store.sweep(&[id(1)]).unwrap(), 2);
        assert!(path.exists());
        store.remove(id(1)).unwrap();
        store.remove(id(1)).unwrap();
        assert_eq!(fs::read_dir(store.root()).unwrap().count(), 0);
    }
}
