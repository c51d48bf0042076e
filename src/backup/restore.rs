//! Restoring a backup into a folder that holds nothing. All of it is unpacked, checked and put right apart, and moved to its place in the
//! end, so that no half of it is ever taken for a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::archive::{self, ArchiveError, Name};
use super::{BackupError, at, folder_of, remove};
use crate::clip::{Clip, ClipId, State};
use crate::index::events::Kind;
use crate::index::mend::Mender;
use crate::index::still::{self, Still};
use crate::library::ledger_entry;
use crate::repair::{HALF_RESTORED, look};
use crate::store::lock;
use crate::store::places::Places;
use crate::timestamp::Timestamp;

/// What was restored.
#[derive(Debug, Serialize)]
pub struct Restored {
    pub data_dir: PathBuf,
    /// When the backup was made.
    pub made_at: Timestamp,
    pub clips: u64,
    /// Clips whose files came with it.
    pub files: u64,
    /// Clips that are expired now because their files did not: they can be made again.
    pub expired: u64,
    /// Uploads that are forgotten: backups hold none.
    pub uploads_forgotten: u64,
    pub ms: u64,
}

/// What a data folder may hold and still count as empty: a file system's own folder, and what an earlier try left.
const NOTHING: [&str; 3] = ["lost+found", "lock", HALF_RESTORED];
/// What a try that was ended in the middle may have moved out of its folder already.
const MOVED: [&str; 4] = ["storage", "ledger", "secret.key", "index.db"];
/// The film's name until its clip is known.
const FILM: &str = "clip";
const MOST_SECRET: u64 = 4096;

/// Restores a backup.
///
/// # Errors
/// When the backup is damaged or not one, or the folder holds something. Then the folder is as it was.
pub fn restore(places: &Places, archive: &Path, now: Timestamp) -> Result<Restored, BackupError> {
    let began = Instant::now();
    let file = File::open(archive).map_err(at(archive))?;
    let room = Room::take(places)?;
    let done = room.fill(places, &file, now);
    let (mut restored, secret) = match done {
        Ok(done) => done,
        Err(error) => {
            room.give_up();
            return Err(error);
        }
    };
    if let Some(secret) = secret {
        write_new(&places.secret, 0o600, &mut secret.as_slice())?;
    }
    room.put_in_place(places)?;
    restored.ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(restored)
}

/// Where it is unpacked.
struct Room {
    data: PathBuf,
    /// Beside the data folder where that is missing, inside it where it is there: it may be a disk's root.
    dir: PathBuf,
    /// Where clips' files come, which may be another disk.
    clips: PathBuf,
    /// The data folder's owner, who shall own what is restored.
    owner: Option<(u32, u32)>,
    _lock: Option<lock::Held>,
}

impl Room {
    fn take(places: &Places) -> Result<Room, BackupError> {
        let data = std::path::absolute(&places.data).map_err(at(&places.data))?;
        let there = data.symlink_metadata().is_ok();
        let (dir, held, owner) = if there {
            let path = places.lock();
            // What an earlier try left shows that the folder is ours; in anybody else's not even a lock is made.
            let left = data.join(HALF_RESTORED).exists();
            if !left {
                empty(&data)?;
            }
            let held = lock::take(&path)
                .map_err(at(&path))?
                .ok_or_else(|| BackupError::InUse(data.clone()))?;
            // Looked at again under the lock: another may have restored meanwhile.
            if left && data.join(HALF_RESTORED).exists() {
                for name in MOVED {
                    clear(&data.join(name))?;
                }
            }
            empty(&data)?;
            let meta = fs::metadata(&data).map_err(at(&data))?;
            let owner = Some((meta.uid(), meta.gid()));
            (data.join(HALF_RESTORED), Some(held), owner)
        } else {
            let mut name = std::ffi::OsString::from(".");
            name.push(data.file_name().unwrap_or_default());
            name.push(".restoring");
            (folder_of(&data).join(name), None, None)
        };
        clear(&dir)?;
        folder(&dir)?;
        let clips = match places.storage.strip_prefix(&places.data) {
            Ok(inside) => dir.join(inside).join("clips"),
            Err(_) => places.storage.join(HALF_RESTORED),
        };
        clear(&clips)?;
        folder(&clips)?;
        Ok(Room {
            data,
            dir,
            clips,
            owner,
            _lock: held,
        })
    }

    fn give_up(&self) {
        // The first error is the one to tell.
        let _ = clear(&self.dir);
        let _ = clear(&self.clips);
    }

    /// Unpacks and puts right; the key comes apart where it has a place of its own.
    fn fill(
        &self,
        places: &Places,
        file: &File,
        now: Timestamp,
    ) -> Result<(Restored, Option<Vec<u8>>), BackupError> {
        let index = self.dir.join("index.db");
        let mut secret = None;
        let about = archive::read(file, |name, bytes, content| match name {
            Name::Secret => {
                if bytes > MOST_SECRET || secret.is_some() {
                    return Err(ArchiveError::Stranger("secret.key".to_owned()).into());
                }
                let mut key = Vec::new();
                content.read_to_end(&mut key).map_err(ArchiveError::Io)?;
                secret = Some(key);
                Ok(())
            }
            Name::Index => write_new(&index, 0o600, content),
            // Written anew from the index, which it was written from.
            Name::Ledger => Ok(()),
            Name::Film(id) => self.unpack(id, FILM, content),
            Name::Poster(id) => self.unpack(id, crate::store::POSTER, content),
        })?;
        let secret = secret.ok_or(ArchiveError::NotWhole)?;
        let inside = places.secret.strip_prefix(&places.data);
        let apart = match inside {
            Ok(inside) => {
                write_new(&self.dir.join(inside), 0o600, &mut secret.as_slice())?;
                None
            }
            Err(_) => match fs::read(&places.secret) {
                Ok(there) if there == secret => None,
                Ok(_) => return Err(BackupError::OtherSecret(places.secret.clone())),
                Err(_) => Some(secret),
            },
        };
        let mut restored = Restored {
            data_dir: self.data.clone(),
            made_at: about.made_at,
            clips: about.clips,
            files: 0,
            expired: 0,
            uploads_forgotten: 0,
            ms: 0,
        };
        still::bring_up(&index)?;
        self.put_right(places, &index, now, &mut restored)?;
        self.own(&self.dir)?;
        let folder = File::open(&self.dir).map_err(at(&self.dir))?;
        rustix::fs::syncfs(&folder).map_err(|error| at(&self.dir)(error.into()))?;
        Ok((restored, apart))
    }

    fn unpack(&self, id: ClipId, name: &str, content: &mut dyn Read) -> Result<(), BackupError> {
        let dir = self.clips.join(id.to_string());
        folder(&dir)?;
        write_new(&dir.join(name), 0o640, content)
    }

    /// Holds the index against the files that came, and writes the ledger.
    fn put_right(
        &self,
        places: &Places,
        index: &Path,
        now: Timestamp,
        restored: &mut Restored,
    ) -> Result<(), BackupError> {
        let ledger = self.dir.join("ledger").join("clips");
        folder(&ledger)?;
        let mender = Mender::open(index)?;
        let index = Still::open(index)?;
        let mut lost = Vec::new();
        index.each_clip(|mut clip| {
            if clip.is_served() {
                if self.claim(&clip)? {
                    restored.files += 1;
                } else if !look::is_served(places, &clip) {
                    clip.recipe = clip.before.take().unwrap_or(clip.recipe);
                    clip.state = State::Expired;
                    lost.push(clip.id);
                }
            }
            if clip.is_served() || clip.state == State::Expired {
                let path = ledger.join(format!("{}.json", clip.id));
                write_new(&path, 0o640, &mut ledger_entry(&clip).as_slice())?;
            }
            Ok::<_, BackupError>(())
        })?;
        self.clear_unclaimed()?;
        restored.expired = lost.len() as u64;
        mender.together(|mender| {
            for id in lost {
                mender.mark_expired(id)?;
            }
            for (id, _) in index.uploads()? {
                mender.lose_upload(id)?;
                restored.uploads_forgotten += 1;
            }
            mender.empty_trash()?;
            let data = serde_json::json!({
                "made_at": restored.made_at, "clips": restored.clips, "files": restored.files, "expired": restored.expired,
            });
            mender.tell(now, Kind::IndexRestored, data)?;
            Ok::<_, BackupError>(())
        })
    }

    /// Gives a clip's file the name under which it is served; false when it did not come.
    fn claim(&self, clip: &Clip) -> Result<bool, BackupError> {
        let (Some(outcome), Some(name)) = (&clip.outcome, &clip.file_name) else {
            return Ok(false);
        };
        let dir = self.clips.join(clip.id.to_string());
        let film = dir.join(FILM);
        match fs::metadata(&film) {
            Ok(meta) if meta.len() == outcome.size && !name.contains('/') => {
                fs::rename(&film, dir.join(name)).map_err(at(&film))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Removes files of no clip: they are in the backup still.
    fn clear_unclaimed(&self) -> Result<(), BackupError> {
        for entry in fs::read_dir(&self.clips).map_err(at(&self.clips))? {
            let dir = entry.map_err(at(&self.clips))?.path();
            let posters_alone = fs::read_dir(&dir).map_err(at(&dir))?.count() < 2
                && dir.join(crate::store::POSTER).exists();
            if posters_alone || dir.join(FILM).exists() {
                clear(&dir)?;
            }
        }
        Ok(())
    }

    /// What root restores belongs to whom the folder belonged.
    fn own(&self, path: &Path) -> Result<(), BackupError> {
        let Some((user, group)) = self.owner else {
            return Ok(());
        };
        let meta = path.symlink_metadata().map_err(at(path))?;
        if (meta.uid(), meta.gid()) != (user, group) {
            std::os::unix::fs::lchown(path, Some(user), Some(group)).map_err(at(path))?;
        }
        if meta.is_dir() {
            for entry in fs::read_dir(path).map_err(at(path))? {
                self.own(&entry.map_err(at(path))?.path())?;
            }
        }
        Ok(())
    }

    fn put_in_place(&self, places: &Places) -> Result<(), BackupError> {
        if !self.clips.starts_with(&self.dir) {
            self.own(&self.clips)?;
            let goal = places.clips();
            folder(&goal)?;
            for entry in fs::read_dir(&self.clips).map_err(at(&self.clips))? {
                let from = entry.map_err(at(&self.clips))?.path();
                let to = goal.join(from.file_name().unwrap_or_default());
                clear(&to)?;
                fs::rename(&from, &to).map_err(at(&to))?;
            }
            clear(&self.clips)?;
            sync(&goal)?;
        }
        if self.dir.parent() == Some(&self.data) {
            // The index last: without it nothing is served.
            let mut children: Vec<PathBuf> = fs::read_dir(&self.dir)
                .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
                .map_err(at(&self.dir))?;
            children.sort_by_key(|path| path.ends_with("index.db"));
            for from in children {
                let to = self.data.join(from.file_name().unwrap_or_default());
                fs::rename(&from, &to).map_err(at(&to))?;
            }
            sync(&self.data)?;
            fs::remove_dir(&self.dir).map_err(at(&self.dir))?;
            return sync(&self.data);
        }
        fs::rename(&self.dir, &self.data).map_err(at(&self.data))?;
        sync(folder_of(&self.data))
    }
}

/// Refuses a folder that holds anything of anybody's.
fn empty(data: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(data).map_err(at(data))? {
        let name = entry.map_err(at(data))?.file_name();
        if !NOTHING.iter().any(|nothing| name == *nothing) {
            return Err(BackupError::NotEmpty(data.to_owned()));
        }
    }
    Ok(())
}

fn folder(dir: &Path) -> Result<(), BackupError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(dir)
        .map_err(at(dir))
}

fn clear(path: &Path) -> Result<(), BackupError> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).map_err(at(path)),
        Ok(_) => remove(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at(path)(error)),
    }
}

fn write_new(path: &Path, mode: u32, content: &mut dyn Read) -> Result<(), BackupError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(at(path))?;
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        // An archive that ends too early is told by what it is, a disk that is full by where.
        let count = content
            .read(&mut buffer)
            .map_err(|error| match error.raw_os_error() {
                Some(_) => ArchiveError::Io(error),
                None => ArchiveError::NotWhole,
            })?;
        if count == 0 {
            return Ok(());
        }
        file.write_all(&buffer[..count]).map_err(at(path))?;
    }
}

fn sync(dir: &Path) -> Result<(), BackupError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(at(dir))
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;
    use crate::backup::archive::{About, FORMAT, Writer};
    use crate::index::Index;

    #[tokio::test]
    async fn an_older_index_is_brought_up() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old.db");
        crate::index::still::tests::write_older(&old);
        let bytes = fs::read(&old).unwrap();
        let mut writer = Writer::begin(tempfile::tempfile().unwrap(), Timestamp(0));
        writer
            .add(Name::Secret, 32, &mut [7; 32].as_slice())
            .unwrap();
        writer
            .add(Name::Index, bytes.len() as u64, &mut bytes.as_slice())
            .unwrap();
        let about = About {
            format: FORMAT,
            version: "0".to_owned(),
            schema: 1,
            made_at: Timestamp(0),
            clips: 1,
            files: 0,
        };
        let mut file = writer.finish(about).unwrap();
        let archive = dir.path().join("x.tar");
        file.rewind().unwrap();
        io::copy(&mut file, &mut File::create(&archive).unwrap()).unwrap();
        let data = dir.path().join("data");
        let places = Places {
            storage: data.join("storage"),
            uploads: data.join("uploads"),
            secret: data.join("secret.key"),
            data,
        };
        let restored = restore(&places, &archive, Timestamp(1)).unwrap();
        assert_eq!((restored.clips, restored.expired), (1, 0));
        let index = Index::open(&places.index(), 1).unwrap();
        assert_eq!(index.counts().await.unwrap(), [(State::Failed, 1)]);
        index.close();
    }
}
