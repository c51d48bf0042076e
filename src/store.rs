//! Published bytes on the local disk: the publish protocol, and the only folder that anything is served from. It knows nothing of
//! the index; what is in its folders is for the caller to know.

pub mod ballast;
pub mod disk;
pub mod lock;
pub mod lost;
pub mod name;
pub mod places;
pub mod previews;
mod replace;
pub mod trash;
pub mod windows;

pub use replace::UNSETTLED;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::clip::ClipId;
use name::FileName;

/// Name of a clip's poster in its folder.
pub const POSTER: &str = "poster.jpg";

/// The folders: `clips/<id>/` of published files, `ledger/clips/<id>.json` and `work/<id>/`.
#[derive(Clone, Debug)]
pub struct LocalStore {
    clips: PathBuf,
    incoming: PathBuf,
    ledger: PathBuf,
    work: PathBuf,
    trash: PathBuf,
}

/// What is published in one go.
#[derive(Debug)]
pub struct Publication<'a> {
    pub id: ClipId,
    pub name: &'a FileName,
    pub clip: &'a Path,
    pub poster: Option<&'a Path>,
}

impl LocalStore {
    /// Opens the store, making its folders where they are missing.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn open(storage: &Path, data: &Path) -> io::Result<LocalStore> {
        let storage = absolute(storage)?;
        let data = absolute(data)?;
        let mut store = LocalStore {
            clips: storage.join("clips"),
            incoming: storage.join(".incoming"),
            ledger: data.join("ledger").join("clips"),
            work: data.join("work"),
            trash: data.join("trash"),
        };
        for dir in [&store.clips, &store.ledger, &store.work] {
            make_dir(dir)?;
        }
        // What is put aside must not have to be copied.
        let device = |path: &Path| rustix::fs::stat(path).map(|stat| stat.st_dev);
        if device(&store.clips)? != device(&data)? {
            store.trash = storage.join(".trash");
        }
        make_dir(&store.trash)?;
        Ok(store)
    }

    /// The folder in which one job works, made empty.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn work_dir(&self, id: ClipId) -> io::Result<PathBuf> {
        let dir = self.work.join(id.to_string());
        remove_dir(&dir)?;
        make_dir(&dir)?;
        Ok(dir)
    }

    /// Removes a job's folder, and what of it was on its way in; missing is fine.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn remove_work(&self, id: ClipId) -> io::Result<()> {
        remove_dir(&self.work.join(id.to_string()))?;
        remove_dir(&self.incoming.join(id.to_string()))
    }

    /// Removes whatever earlier runs left half-done, but notes of what is still to be settled. Only for the start, when no job runs. Returns how many folders went.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn sweep(&self) -> io::Result<usize> {
        let mut gone = 0;
        for root in [&self.work, &self.incoming] {
            let entries = match fs::read_dir(root) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let path = entry?.path();
                if path
                    .to_str()
                    .is_some_and(|path| path.ends_with(replace::UNSETTLED))
                {
                    continue;
                }
                if path.is_dir() {
                    remove_dir(&path)?
                } else {
                    fs::remove_file(&path)?
                }
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// Moves a finished clip where it can be served from, for good: synced, renamed, folders synced. The caller commits it to the
    /// index afterwards; until then nothing points at it.
    ///
    /// # Errors
    /// When the disk refuses; nothing of the clip is left in the published folder then.
    pub fn publish(&self, publication: &Publication<'_>) -> io::Result<()> {
        let target = self.clip_dir(publication.id);
        remove_dir(&target)?;
        let staged = self.stage(publication, POSTER)?;
        fs::rename(&staged, &target)?;
        sync_dir(&self.clips)
    }

    /// Puts what is published together in a folder on the file system of the store, synced, with the picture under this name.
    fn stage(&self, publication: &Publication<'_>, picture: &str) -> io::Result<PathBuf> {
        let staged = publication
            .clip
            .parent()
            .unwrap_or(&self.work)
            .join("publish");
        remove_dir(&staged)?;
        make_dir(&staged)?;
        let mut files = vec![(publication.clip, staged.join(publication.name.as_str()))];
        if let Some(poster) = publication.poster {
            files.push((poster, staged.join(picture)));
        }
        for (from, to) in files {
            fs::rename(from, &to)?;
            File::open(&to)?.sync_all()?;
        }
        sync_dir(&staged)?;
        self.bring_over(publication.id, staged)
    }

    /// Where the store lies on another file system than the work, files are copied beside their goal first, so that the last step is
    /// a rename all the same.
    fn bring_over(&self, id: ClipId, staged: PathBuf) -> io::Result<PathBuf> {
        if rustix::fs::stat(&staged)?.st_dev == rustix::fs::stat(&self.clips)?.st_dev {
            return Ok(staged);
        }
        let beside = self.incoming.join(id.to_string());
        remove_dir(&beside)?;
        make_dir(&beside)?;
        for entry in fs::read_dir(&staged)? {
            let entry = entry?;
            let to = beside.join(entry.file_name());
            fs::copy(entry.path(), &to)?;
            File::open(&to)?.sync_all()?;
        }
        sync_dir(&beside)?;
        Ok(beside)
    }

    /// Writes the clip's entry in the ledger, whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_ledger(&self, id: ClipId, entry: &[u8]) -> io::Result<()> {
        self.place_ledger(id, entry, File::sync_all)?;
        sync_dir(&self.ledger)
    }

    /// The same without waiting for the disk, for many at once: [`LocalStore::sync_ledger`] follows. After a power cut before that, an
    /// entry may still say what it said before.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note_ledger(&self, id: ClipId, entry: &[u8]) -> io::Result<()> {
        self.place_ledger(id, entry, |_| Ok(()))
    }

    /// Waits until the disk has all entries.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync_ledger(&self) -> io::Result<()> {
        sync_dir(&self.ledger)
    }

    /// Two that write at once have a file of their own each: the entry is that of the last, and never of both.
    fn place_ledger(
        &self,
        id: ClipId,
        entry: &[u8],
        sync: fn(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let staged = format!(".{id}.{}.{number}.tmp", std::process::id());
        let staged = self.ledger.join(staged);
        let written = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o640)
                .open(&staged)?;
            file.write_all(entry)?;
            sync(&file)?;
            fs::rename(&staged, self.ledger.join(format!("{id}.json")))
        };
        written().inspect_err(|_| {
            // On a full disk it would stay for good.
            let _ = fs::remove_file(&staged);
        })
    }

    /// Removes a clip's published files; missing is fine. Its ledger entry stays.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn remove_files(&self, id: ClipId) -> io::Result<()> {
        remove_dir(&self.clip_dir(id))
    }

    /// Removes a clip's ledger entry; missing is fine.
    ///
    /// # Errors
    /// When it stays.
    pub fn remove_ledger(&self, id: ClipId) -> io::Result<()> {
        match fs::remove_file(self.ledger.join(format!("{id}.json"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The path of a published file. `name` is one that we made: the caller has it from the index, never from a request.
    pub fn path(&self, id: ClipId, name: &str) -> PathBuf {
        self.clip_dir(id).join(name)
    }

    /// The clips that have a published folder, and when the folder was last changed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn published(&self) -> io::Result<Vec<(ClipId, SystemTime)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.clips)? {
            let entry = entry?;
            if let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                found.push((id, entry.metadata()?.modified()?));
            }
        }
        Ok(found)
    }

    /// The clips among `ids` that have no published folder. One that the disk does not tell about is not among them: nobody loses a clip
    /// to a disk that cannot be read.
    pub fn missing(&self, ids: &[ClipId]) -> Vec<ClipId> {
        let mut unknown = None;
        let missing = ids
            .iter()
            .copied()
            .filter(|id| match self.clip_dir(*id).try_exists() {
                Ok(there) => !there,
                Err(error) => {
                    unknown = Some((*id, error));
                    false
                }
            })
            .collect();
        if let Some((id, error)) = unknown {
            tracing::error!(clip = %id, %error, "whether a clip has its files cannot be told");
        }
        missing
    }

    /// The clips whose published folder has not changed since a moment.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn published_before(&self, moment: SystemTime) -> io::Result<Vec<ClipId>> {
        folders_before(&self.clips, moment)
    }

    /// The bytes of a clip's published files.
    pub fn size(&self, id: ClipId) -> u64 {
        size_of(&self.clip_dir(id))
    }

    /// The folders whose file systems have to have room: that of what is published, and that of everything else.
    pub fn roots(&self) -> [&Path; 2] {
        [&self.clips, &self.work]
    }

    /// Whether the folders can be written to: makes, syncs and removes a small file.
    ///
    /// # Errors
    /// What the disk says.
    pub fn writable(&self) -> io::Result<()> {
        for root in [&self.work, &self.clips] {
            let probe = root.join(format!(".writable-{}", std::process::id()));
            let written = File::create(&probe).and_then(|mut file| {
                file.write_all(b"1")?;
                file.sync_all()
            });
            let removed = fs::remove_file(&probe);
            written?;
            removed?;
        }
        Ok(())
    }

    fn clip_dir(&self, id: ClipId) -> PathBuf {
        self.clips.join(id.to_string())
    }
}

/// SHA-256 of a file in lower-case hex.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 128 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Readable by the service and its group: nginx is in it.
fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(dir)
}

/// Clips with a folder in `root` that has not changed since a moment. One that goes while this looks is gone.
fn folders_before(root: &Path, moment: SystemTime) -> io::Result<Vec<ClipId>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let (Some(id), Ok(meta)) = (id, entry.metadata())
            && meta.modified()? < moment
        {
            found.push(id);
        }
    }
    Ok(found)
}

fn size_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ClipId {
        "0192f0c1-2345-7abc-8def-0123456789ab".parse().unwrap()
    }

    fn publish(store: &LocalStore) {
        let work = store.work_dir(id()).unwrap();
        fs::write(work.join("clip.mp4"), "film").unwrap();
        fs::write(work.join("p.jpg"), "picture").unwrap();
        let publication = Publication {
            id: id(),
            name: &FileName::from_title("A title", "mp4"),
            clip: &work.join("clip.mp4"),
            poster: Some(&work.join("p.jpg")),
        };
        store.publish(&publication).unwrap();
    }

    #[test]
    fn publishing_moves_clip_and_poster_where_they_are_served_from() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&dir.path().join("storage"), dir.path()).unwrap();
        publish(&store);
        assert_eq!(fs::read(store.path(id(), "A title.mp4")).unwrap(), b"film");
        assert_eq!(fs::read(store.path(id(), POSTER)).unwrap(), b"picture");
        assert_eq!(store.size(id()), 11);
        store.remove_work(id()).unwrap();
        store.remove_files(id()).unwrap();
        assert!(store.published().unwrap().is_empty());
        assert_eq!(store.missing(&[id()]), [id()]);
    }

    #[test]
    fn what_the_disk_does_not_tell_about_is_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&dir.path().join("storage"), dir.path()).unwrap();
        let clips = dir.path().join("storage/clips");
        fs::remove_dir(&clips).unwrap();
        // A link to itself cannot be followed: neither there nor missing.
        std::os::unix::fs::symlink("clips", &clips).unwrap();
        assert!(store.missing(&[id()]).is_empty());
    }

    #[test]
    fn the_ledger_is_whole_when_many_write_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&dir.path().join("storage"), dir.path()).unwrap();
        std::thread::scope(|scope| {
            for letter in [b'a', b'b', b'c', b'd'] {
                let store = &store;
                scope.spawn(move || {
                    for length in 1..100 {
                        store
                            .note_ledger(id(), &vec![letter; length * 100])
                            .unwrap();
                    }
                });
            }
        });
        let entries: Vec<_> = fs::read_dir(dir.path().join("ledger/clips"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!(fs::read(&entries[0]).unwrap().len(), 9_900);
    }

    #[test]
    fn publishing_again_replaces_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&dir.path().join("storage"), dir.path()).unwrap();
        publish(&store);
        publish(&store);
        assert_eq!(store.published().unwrap().len(), 1);
    }

    #[test]
    fn a_store_on_another_file_system_is_published_to_by_copy() {
        let (dir, other) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir_in("/dev/shm").unwrap(),
        );
        let store = LocalStore::open(&other.path().join("storage"), dir.path()).unwrap();
        publish(&store);
        assert_eq!(fs::read(store.path(id(), "A title.mp4")).unwrap(), b"film");
        assert_eq!(store.published().unwrap().len(), 1);
    }

    #[test]
    fn the_sweep_leaves_published_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&dir.path().join("storage"), dir.path()).unwrap();
        publish(&store);
        fs::write(store.work_dir(id()).unwrap().join("half"), "x").unwrap();
        assert_eq!(store.sweep().unwrap(), 1);
        assert_eq!(store.published().unwrap().len(), 1);
        assert!(
            fs::read_dir(dir.path().join("work"))
                .unwrap()
                .next()
                .is_none()
        );
    }
}
