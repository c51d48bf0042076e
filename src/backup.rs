//! Backups: one consistent archive while the service runs, read again before it counts (`backup/archive.rs` is its form), kept up to a
//! number; and restoring one (`backup/restore.rs`). A backup that fails leaves nothing, and older ones are never touched by it.

pub mod archive;
pub mod restore;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Advice, FallocateFlags};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::bytes::Bytes;
use crate::clip::State;
use crate::cut::sentence;
use crate::index::still::{self, Still};
use crate::index::{Index, IndexError};
use crate::library::ledger_entry;
use crate::store::POSTER;
use crate::store::lock::{self, own_like_folder};
use crate::store::places::Places;
use crate::timestamp::Timestamp;
use crate::worker::chain;
use archive::{About, ArchiveError, Name, Writer};

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("another backup is being made")]
    Busy,
    #[error("the service stopped while the backup was made")]
    Stopped,
    #[error("there is something at {0} already")]
    Exists(PathBuf),
    #[error("there is no index at {0}")]
    NoIndex(PathBuf),
    #[error("the copy of the index is not whole: {0}")]
    Unsound(String),
    #[error(
        "the disk is too full: the backup needs {needed} more, {available} are free and {floor} of them stay free"
    )]
    DiskLow {
        needed: Bytes,
        available: Bytes,
        floor: Bytes,
    },
    #[error("{0} holds something already")]
    NotEmpty(PathBuf),
    #[error("a meme-maker runs on {0}")]
    InUse(PathBuf),
    #[error("{0} is a key already, and another one than the backup's")]
    OtherSecret(PathBuf),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("could not read or write {0}")]
    Io(String, #[source] io::Error),
}

/// For what is read or written in the archive itself.
impl From<io::Error> for BackupError {
    fn from(error: io::Error) -> Self {
        BackupError::Io("the backup".to_owned(), error)
    }
}

impl BackupError {
    /// Stable, for scripts and answers.
    pub fn code(&self) -> &'static str {
        if self.is_full() {
            return "disk_full";
        }
        match self {
            BackupError::Busy => "backup_running",
            BackupError::Stopped => "backup_stopped",
            BackupError::Exists(_) => "backup_exists",
            BackupError::NoIndex(_) => "index_missing",
            BackupError::Unsound(_) => "index_corrupt",
            BackupError::DiskLow { .. } => "disk_low",
            BackupError::NotEmpty(_) => "data_dir_not_empty",
            BackupError::InUse(_) => "data_in_use",
            BackupError::OtherSecret(_) => "secret_exists",
            BackupError::Archive(ArchiveError::Format(_))
            | BackupError::Index(IndexError::Newer { .. }) => "backup_newer",
            BackupError::Archive(ArchiveError::Io(_)) | BackupError::Io(..) => "io",
            BackupError::Archive(_) => "backup_damaged",
            BackupError::Index(_) => "index",
        }
    }

    /// The next step.
    pub fn hint(&self) -> &'static str {
        if self.is_full() {
            return "Make room on that disk, or choose another one; nothing of it was left there.";
        }
        match self {
            BackupError::Busy => "Wait until it is done.",
            BackupError::Stopped => {
                "Make one when the service runs again, or wait for the next of the schedule; older backups are as they were."
            }
            BackupError::Exists(_) => {
                "Choose another name, or a folder: then the backup gets one of its own."
            }
            BackupError::NoIndex(_) => "Give --data-dir or --config as the service has them.",
            BackupError::Unsound(_) => {
                "Run meme-maker fsck, and look at the disk; older backups are as they were."
            }
            BackupError::DiskLow { .. } => {
                "Put backup.dir on another disk, keep fewer, or make room."
            }
            BackupError::NotEmpty(_) => {
                "Restore into an empty or new folder; move what is there aside first."
            }
            BackupError::InUse(_) => "Stop the service first.",
            BackupError::OtherSecret(_) => {
                "Move that file aside, or set auth.secret_file to another place."
            }
            BackupError::Archive(ArchiveError::Format(_))
            | BackupError::Index(IndexError::Newer { .. }) => {
                "Use the version of meme-maker that made it, or a newer one."
            }
            BackupError::Archive(ArchiveError::Io(_)) | BackupError::Io(..) => {
                "Check the path and its permissions; run it as the service's user (sudo -u meme-maker)."
            }
            BackupError::Archive(_) => "Use another backup; nothing was restored.",
            BackupError::Index(_) => {
                "Run meme-maker fsck, which says what is wrong with the index."
            }
        }
    }

    /// Whether there was no room on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            BackupError::Index(error) => error.is_full(),
            BackupError::Io(_, error) | BackupError::Archive(ArchiveError::Io(error)) => {
                error.kind() == io::ErrorKind::StorageFull
            }
            BackupError::Busy
            | BackupError::Stopped
            | BackupError::Exists(_)
            | BackupError::NoIndex(_)
            | BackupError::Unsound(_)
            | BackupError::DiskLow { .. }
            | BackupError::NotEmpty(_)
            | BackupError::InUse(_)
            | BackupError::OtherSecret(_)
            | BackupError::Archive(_) => false,
        }
    }
}

/// Says of an error where it happened.
fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.display().to_string();
    move |error| BackupError::Io(path, error)
}

/// Where a backup goes.
#[derive(Clone, Debug)]
pub enum Target {
    File(PathBuf),
    /// Into a folder, under a name made from the moment.
    Folder(PathBuf),
}

/// Whether clips' files are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Films {
    Left,
    Taken,
}

/// How much room is left for others.
#[derive(Clone, Copy, Debug)]
pub enum Room {
    /// All there is may be used.
    All,
    /// So much stays free.
    Above(Bytes),
}

/// A backup to be made.
#[derive(Clone, Debug)]
pub struct Wish {
    pub target: Target,
    pub films: Films,
    pub room: Room,
}

/// A backup that was made.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Made {
    /// Where it is.
    #[schema(value_type = String)]
    pub file: PathBuf,
    pub bytes: u64,
    pub ms: u64,
    /// Clips in its index.
    pub clips: u64,
    /// Clips whose files are in it.
    pub files: u64,
    /// Clips that were removed, or whose files were missing, while it was made; restored, they are expired.
    pub files_missing: u64,
}

const BEGIN: &str = "meme-maker-";
const END: &str = ".tar";
const PARTIAL: &str = ".partial";
const COPY: &str = ".partial-index";
/// The copy of the index gives its room back in such pieces.
const PIECE: u64 = 8 * 1024 * 1024;

/// Makes a backup, beside a running service or without one, unless `stop` comes first: that is looked at with every piece.
///
/// # Errors
/// When it cannot be made; then nothing of it is left.
pub fn make(
    places: &Places,
    wish: &Wish,
    now: Timestamp,
    stop: &CancellationToken,
) -> Result<Made, BackupError> {
    let began = Instant::now();
    let index = places.index();
    if !index.is_file() {
        return Err(BackupError::NoIndex(index));
    }
    let lock = places.data.join("backup.lock");
    let _held = lock::take(&lock)
        .map_err(at(&lock))?
        .ok_or(BackupError::Busy)?;
    let file = match &wish.target {
        Target::File(file) => file.clone(),
        Target::Folder(folder) => {
            if !folder.is_dir() {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)
                    .and_then(|()| own_like_folder(folder))
                    .map_err(at(folder))?;
            }
            // Whoever wrote these was ended in the middle, else the lock were held.
            for path in named(folder, left_behind)? {
                fs::remove_file(&path).map_err(at(&path))?;
            }
            // Two in one second get names one after the other.
            let mut moment = now;
            loop {
                let file = folder.join(format!("{BEGIN}{}{END}", moment.stamp()));
                if file.symlink_metadata().is_err() {
                    break file;
                }
                moment = moment.plus_millis(1000);
            }
        }
    };
    if file.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(file));
    }
    let (partial, copy) = (ending(&file, PARTIAL), ending(&file, COPY));
    let written = write(places, wish, now, &partial, &copy, stop);
    let made = written.and_then(|(about, files_missing)| {
        fs::rename(&partial, &file).map_err(at(&file))?;
        let folder = folder_of(&file);
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(at(folder))?;
        Ok((about, files_missing))
    });
    if made.is_err() {
        for kind in ["", "-wal", "-shm", "-journal"] {
            // What is not there need not go, and the first error is the one to tell.
            let _ = fs::remove_file(ending(&copy, kind));
        }
        let _ = fs::remove_file(&partial);
        // Whatever it was that could not be read to its end.
        go_on(stop)?;
    }
    let (about, files_missing) = made?;
    let bytes = fs::metadata(&file).map_err(at(&file))?.len();
    Ok(Made {
        file,
        bytes,
        ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        clips: about.clips,
        files: about.files,
        files_missing,
    })
}

/// Writes the archive, syncs it and reads it again.
fn write(
    places: &Places,
    wish: &Wish,
    now: Timestamp,
    partial: &Path,
    copy: &Path,
    stop: &CancellationToken,
) -> Result<(About, u64), BackupError> {
    go_on(stop)?;
    for path in [partial, copy] {
        remove(path)?;
    }
    let room = |needed: u64| enough(folder_of(partial), wish.room, needed);
    room(size(&places.index()) + size(&ending(&places.index(), "-wal")))?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(partial)
        .map_err(at(partial))?;
    still::copy(&places.index(), copy, &|| stop.is_cancelled())?;
    go_on(stop)?;
    if Still::open(copy)?.schema()? < still::known_schema() {
        // Of a service that this version has not served yet.
        still::bring_up(copy)?;
    }
    let index = Still::open(copy)?;
    if let Some(fault) = index.faults()?.into_iter().next() {
        return Err(BackupError::Unsound(fault));
    }
    let mut about = About {
        format: archive::FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: index.schema()?,
        made_at: now,
        clips: 0,
        files: 0,
    };
    let mut writer = Writer::begin(file, now);
    let secret = fs::read(&places.secret).map_err(at(&places.secret))?;
    writer.add(Name::Secret, secret.len() as u64, &mut secret.as_slice())?;
    let mut missing = 0;
    if wish.films == Films::Taken {
        index.each_clip(|clip| {
            go_on(stop)?;
            let (true, Some(outcome), Some(name)) =
                (clip.is_served(), &clip.outcome, &clip.file_name)
            else {
                return Ok(());
            };
            let folder = places.clip(clip.id);
            let Some((film, length)) = open(&folder.join(name))? else {
                missing += 1;
                return Ok(());
            };
            if length != outcome.size {
                missing += 1;
                return Ok(());
            }
            room(length)?;
            let mut film = Heeding { inner: film, stop };
            writer.add(Name::Film(clip.id), length, &mut film)?;
            about.files += 1;
            if let Some((mut poster, length)) = open(&folder.join(POSTER))? {
                writer.add(Name::Poster(clip.id), length, &mut poster)?;
            }
            Ok::<_, BackupError>(())
        })?;
    }
    // Written from the copy, so that both are of one moment.
    writer.add_streamed(Name::Ledger, |into| {
        index.each_clip(|clip| {
            go_on(stop)?;
            about.clips += 1;
            if clip.is_served() || clip.state == State::Expired {
                into.write_all(&ledger_entry(&clip))?;
                into.write_all(b"\n")?;
            }
            Ok::<_, BackupError>(())
        })
    })?;
    drop(index);
    let length = size(copy);
    let moving = Moving {
        file: OpenOptions::new()
            .read(true)
            .write(true)
            .open(copy)
            .map_err(at(copy))?,
        place: 0,
        given_back: 0,
    };
    let mut moving = Heeding {
        inner: moving,
        stop,
    };
    writer.add(Name::Index, length, &mut moving)?;
    remove(copy)?;
    let mut file = writer.finish(about.clone())?;
    file.sync_all().map_err(at(partial))?;
    // From the disk, as far as the system lets us ask for that.
    let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    file.seek(SeekFrom::Start(0))?;
    let heeding = Heeding { inner: &file, stop };
    let read = archive::read(heeding, |_, _, _| Ok::<_, ArchiveError>(()))?;
    if read != about {
        return Err(ArchiveError::Damaged("manifest.json".to_owned()).into());
    }
    Ok((about, missing))
}

fn go_on(stop: &CancellationToken) -> Result<(), BackupError> {
    if stop.is_cancelled() {
        return Err(BackupError::Stopped);
    }
    Ok(())
}

/// What is read as long as nobody says stop.
struct Heeding<'a, T> {
    inner: T,
    stop: &'a CancellationToken,
}

impl<T: Read> Read for Heeding<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other(BackupError::Stopped));
        }
        self.inner.read(buffer)
    }
}

/// A file that gives its room back while it is read, so that moving it into another takes no more than one of them. Where the file system
/// cannot do that, it takes both.
struct Moving {
    file: File,
    place: u64,
    given_back: u64,
}

impl Read for Moving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.place += count as u64;
        if self.place - self.given_back >= PIECE {
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = rustix::fs::fallocate(
                &self.file,
                mode,
                self.given_back,
                self.place - self.given_back,
            );
            self.given_back = self.place;
        }
        Ok(count)
    }
}

/// A file and its length; `None` when it is not there.
fn open(path: &Path) -> Result<Option<(File, u64)>, BackupError> {
    match File::open(path) {
        Ok(file) => {
            let length = file.metadata().map_err(at(path))?.len();
            Ok(Some((file, length)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

fn enough(folder: &Path, room: Room, needed: u64) -> Result<(), BackupError> {
    let Room::Above(floor) = room else {
        return Ok(());
    };
    let disk = rustix::fs::statvfs(folder).map_err(|error| at(folder)(error.into()))?;
    let available = disk.f_bavail.saturating_mul(disk.f_frsize);
    if available >= floor.0.saturating_add(needed) {
        return Ok(());
    }
    Err(BackupError::DiskLow {
        needed: Bytes(needed),
        available: Bytes(available),
        floor,
    })
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether a name is one of those that we make: `meme-maker-20261121T030000Z.tar`.
fn is_ours(name: &str) -> bool {
    let stamp = name
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(END));
    stamp.is_some_and(|stamp| {
        stamp.len() == 16
            && stamp.bytes().enumerate().all(|(place, byte)| match place {
                8 => byte == b'T',
                15 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            })
    })
}

/// Whether a name is one of a backup that was not ended, or of what SQLite keeps beside its copy of the index.
fn left_behind(name: &str) -> bool {
    name.split_once(PARTIAL)
        .is_some_and(|(backup, _)| is_ours(backup))
}

/// Files in a folder by their names, in order; none when there is no such folder.
fn named(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, BackupError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(at(folder))?;
        if entry.file_name().to_str().is_some_and(&wanted) {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes the oldest of our own backups in a folder, so that so many stay; which went.
///
/// # Errors
/// When one of them stays.
pub fn prune(folder: &Path, keep: usize) -> Result<Vec<PathBuf>, BackupError> {
    let mut old = named(folder, is_ours)?;
    old.truncate(old.len().saturating_sub(keep.max(1)));
    for path in &old {
        remove(path)?;
    }
    Ok(old)
}

/// A backup that is kept.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Kept {
    pub name: String,
    pub bytes: u64,
    /// When it was written.
    #[schema(value_type = String)]
    pub made_at: Timestamp,
}

/// Our own backups in the folder that the settings name, the newest first.
///
/// # Errors
/// When the folder cannot be read.
pub async fn kept(app: &App) -> Result<Vec<Kept>, BackupError> {
    let folder = app.settings.backup_dir();
    blocking(move || {
        let mut kept = Vec::new();
        for path in named(&folder, is_ours)? {
            // One that went meanwhile is not kept.
            let Ok(meta) = fs::metadata(&path) else {
                continue;
            };
            kept.push(Kept {
                name: path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                bytes: meta.len(),
                made_at: Timestamp::from_system(meta.modified().map_err(at(&path))?),
            });
        }
        kept.reverse();
        Ok(kept)
    })
    .await
}

/// Makes a backup as the settings say, records it, and lets the oldest go.
///
/// # Errors
/// When there is none; that is recorded too.
pub async fn run(app: &App) -> Result<Made, BackupError> {
    let began = Instant::now();
    let folder = app.settings.backup_dir();
    let wish = Wish {
        target: Target::Folder(folder.clone()),
        films: if app.settings.backup.clips {
            Films::Taken
        } else {
            Films::Left
        },
        room: Room::Above(app.settings.monitor.floor),
    };
    let (places, now, keep) = (
        Places::of(&app.settings),
        app.now(),
        app.settings.backup.keep,
    );
    let (index, stop) = (app.index.clone(), app.stopping.clone());
    // The service ends when it has ended and is recorded, whoever began it.
    let errand = app.errands.run(async move {
        let made = blocking(move || {
            let made = make(&places, &wish, now, &stop)?;
            // Only now that there is a good new one.
            let pruned = prune(&folder, keep)?;
            Ok((made, pruned.len()))
        })
        .await;
        let ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        record(&index, now.plus_millis(ms), ms, &made).await;
        made.map(|(made, _)| made)
    });
    errand
        .await
        .map_err(|error| BackupError::from(io::Error::other(error)))?
}

/// Tells in figures, log and trail what became of a backup, and how many older ones it replaced.
async fn record(index: &Index, now: Timestamp, ms: i64, made: &Result<(Made, usize), BackupError>) {
    let (data, error) = match made {
        Ok((made, pruned)) => {
            metrics::counter!("meme_maker_backups_total", "result" => "made").increment(1);
            tracing::info!(file = %made.file.display(), bytes = made.bytes, clips = made.clips, files = made.files, pruned, ms, "backup made");
            let data = serde_json::json!({
                "bytes": made.bytes, "clips": made.clips, "files": made.files, "files_missing": made.files_missing, "pruned": pruned,
            });
            (data, None)
        }
        // Somebody else's is under way: nothing failed.
        Err(BackupError::Busy) => return,
        Err(error) => {
            metrics::counter!("meme_maker_backups_total", "result" => "failed").increment(1);
            tracing::error!(code = error.code(), ms, error = %chain(error), "backup failed");
            let data = serde_json::json!({
                "code": error.code(), "detail": sentence(&chain(error)), "hint": error.hint(),
            });
            (data, Some(chain(error)))
        }
    };
    if let Err(error) = index.record_backup(now, data, ms, error).await {
        tracing::error!(error = %chain(&error), "the backup could not be recorded");
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| BackupError::from(io::Error::other(error)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_pruned() {
        let dir = tempfile::tempdir().unwrap();
        let ours = |day: u32| format!("meme-maker-202611{day:02}T030000Z.tar");
        for day in 1..=5 {
            fs::write(dir.path().join(ours(day)), "x").unwrap();
        }
        let others = [
            "meme-maker-before-the-move.tar",
            "meme-maker-20261101T030000Z.tar.gpg",
            "meme-maker-20261101-030000Z.tar",
            "notes.txt",
        ];
        for name in others {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let gone = prune(dir.path(), 2).unwrap();
        assert_eq!(
            gone,
            [1, 2, 3].map(|day| dir.path().join(ours(day))).to_vec()
        );
        for name in others
            .iter()
            .map(|name| (*name).to_owned())
            .chain([ours(4), ours(5)])
        {
            assert!(dir.path().join(&name).exists(), "{name}");
        }
        assert!(prune(dir.path(), 2).unwrap().is_empty());
    }
}
