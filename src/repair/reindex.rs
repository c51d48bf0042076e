//! A new index from ledger and store, with what the old one still tells. The old one is set aside and never removed; until the new one is
//! whole and synced, nothing has changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use serde::Serialize;

use super::look::{self, Fault};
use super::{Files, RepairError, at, entry, entry_id, list, take};
use crate::clip::{Clip, ClipId, State};
use crate::index::IndexError;
use crate::index::rebuild::Rebuild;
use crate::index::still::{self, Still};
use crate::source::upload::file_of;
use crate::store::lock::own_like_folder;
use crate::store::lost::set_aside;
use crate::store::places::Places;
use crate::timestamp::Timestamp;

/// What became of it.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Clips that the new index knows from the ledger.
    pub clips: u64,
    /// Those of them whose files are gone: they are expired and can be made again.
    pub files_missing: u64,
    /// Entries of the ledger that cannot be understood; they were left where they are.
    pub unreadable: u64,
    /// Clips that somebody had removed, and an interruption kept in the ledger: it has forgotten them now.
    pub removed: u64,
    /// Clips that only the old index knows: those that never were ready, mostly.
    pub from_old_index: u64,
    pub tokens: u64,
    pub uploads: u64,
    /// Why nothing came from the old index.
    pub old_index: Option<String>,
    /// Where the old index is now.
    pub kept: Option<PathBuf>,
    /// Folders in the store that no clip owns, moved to set-aside.
    pub set_aside: u64,
    /// Those of them that could not be moved and are where they were.
    pub not_moved: u64,
    pub ms: u64,
}

/// So many clips are read and written at once.
const CHUNK: usize = 512;
/// So few lost files are no sign of a store that is not mounted.
const FEW: u64 = 10;

/// Makes a new index.
///
/// # Errors
/// When the service runs, the disk is full, or the store seems not to be mounted. Then the old index is as it was.
pub fn run(places: &Places, now: Timestamp, files: Files) -> Result<Report, RepairError> {
    let _held = take(places)?;
    under_lock(places, now, files)
}

/// The same, for who holds the data already.
///
/// # Errors
/// As above.
pub fn under_lock(places: &Places, now: Timestamp, files: Files) -> Result<Report, RepairError> {
    let began = Instant::now();
    let new = unfinished(places);
    let built = build(places, now, files, &new);
    if built.is_err() {
        remove(&new)?;
    }
    let (mut report, unknown) = built?;
    File::open(&new)
        .and_then(|file| file.sync_all())
        .and_then(|()| own_like_folder(&new))
        .map_err(at(&new))?;
    report.kept = put_in_place(places, now, &new)?;
    for id in unknown.entries {
        remove(&places.entry(id))?;
    }
    for (fault, id) in unknown.folders {
        let folder = places.clip(id);
        // The index is in its place: one folder that cannot be moved must not keep the others.
        match set_aside(places, fault.code(), &folder) {
            Ok(_) => report.set_aside += 1,
            Err(error) => {
                tracing::warn!(clip = %id, %error, "a folder that no clip owns could not be moved");
                report.not_moved += 1;
            }
        }
    }
    report.ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

fn unfinished(places: &Places) -> PathBuf {
    places.data.join("index.db.new")
}

/// Removes an index that was not made to its end.
///
/// # Errors
/// When it stays.
pub fn forget_unfinished(places: &Places) -> Result<(), RepairError> {
    remove(&unfinished(places))
}

/// What no clip owns any more, and why.
#[derive(Default)]
struct Unknown {
    folders: Vec<(Fault, ClipId)>,
    /// Entries of the ledger.
    entries: Vec<ClipId>,
}

fn build(
    places: &Places,
    now: Timestamp,
    files: Files,
    new: &Path,
) -> Result<(Report, Unknown), RepairError> {
    let index = places.index();
    let there = fs::metadata(&index).is_ok_and(|meta| meta.len() > 0);
    let old = if there { Some(index) } else { left(places)? };
    let mut refusal = match &old {
        Some(old) => readable(old)?.err(),
        None => Some("there is none".to_owned()),
    };
    if refusal.is_none() {
        match fill(places, now, files, new, old.as_deref()) {
            Err(RepairError::Index(error)) if !error.is_full() => {
                refusal = Some(crate::worker::chain(&error));
            }
            done => return done,
        }
    }
    let (mut report, unknown) = fill(places, now, files, new, None)?;
    report.old_index = refusal;
    Ok((report, unknown))
}

/// Before the moment of a file's name, when a reindex set it aside.
const BEFORE: &str = "index.db.before-";

/// The index that was set aside last, where no clip has come or gone since: then whoever did that was ended before the new one was in its
/// place. An older one would say of clips and tokens what is true no more.
fn left(places: &Places) -> Result<Option<PathBuf>, RepairError> {
    let mut newest: Option<String> = None;
    for entry in fs::read_dir(&places.data).map_err(at(&places.data))? {
        let name = entry.map_err(at(&places.data))?.file_name();
        let name = name.to_string_lossy().into_owned();
        // Copies before a new schema are named by its number.
        let stamped = name.strip_prefix(BEFORE).is_some_and(|rest| {
            rest.as_bytes().get(8) == Some(&b'T')
                && !rest.ends_with("-wal")
                && !rest.ends_with("-shm")
        });
        if stamped && newest.as_ref().is_none_or(|newest| *newest < name) {
            newest = Some(name);
        }
    }
    let Some(path) = newest.map(|name| places.data.join(name)) else {
        return Ok(None);
    };
    let (kept, ledger) = (
        fs::metadata(&path).map_err(at(&path))?,
        fs::metadata(places.ledger()).map_err(at(&places.ledger()))?,
    );
    let moved = (kept.ctime(), kept.ctime_nsec());
    Ok(((ledger.mtime(), ledger.mtime_nsec()) <= moved).then_some(path))
}

/// Whether an old index can be believed; why not.
fn readable(old: &Path) -> Result<Result<(), String>, RepairError> {
    let looked = Still::open(old).and_then(|still| {
        let (found, known) = (still.schema()?, still::known_schema());
        if found > known {
            return Err(IndexError::Newer { found, known });
        }
        Ok(still.faults()?.into_iter().next())
    });
    match looked {
        Ok(None) => Ok(Ok(())),
        Ok(Some(fault)) => Ok(Err(fault)),
        Err(error @ IndexError::Newer { .. }) => Err(error.into()),
        Err(error) => Ok(Err(crate::worker::chain(&error))),
    }
}

fn fill(
    places: &Places,
    now: Timestamp,
    files: Files,
    new: &Path,
    old: Option<&Path>,
) -> Result<(Report, Unknown), RepairError> {
    remove(new)?;
    let mut report = Report::default();
    let rebuild = Rebuild::begin(new, old)?;
    let ids = list(&places.ledger(), entry_id)?.ids;
    let mut unknown = Unknown::default();
    let mut unreadable = Vec::new();
    let mut lost = Vec::new();
    each_entry(places, &ids, |read| {
        let gone = rebuild.add(&read.clips)?;
        report.clips += (read.clips.len() - gone.len()) as u64;
        unreadable.extend(read.unreadable);
        lost.extend(read.lost.into_iter().filter(|id| !gone.contains(id)));
        unknown.entries.extend(gone);
        Ok(())
    })?;
    report.removed = unknown.entries.len() as u64;
    report.unreadable = unreadable.len() as u64;
    match old {
        Some(_) => {
            let kept = |id: &str| {
                id.parse()
                    .is_ok_and(|id| file_of(&places.uploads, id).is_file())
            };
            let taken = rebuild.take_over(kept)?;
            for id in taken.unproven {
                if let Some(clip) = rebuild.clip(id)?
                    && !look::is_served(places, &clip)
                {
                    rebuild.expire(id)?;
                    lost.push(id);
                }
            }
            report.from_old_index = taken.clips;
            report.tokens = taken.tokens;
            report.uploads = taken.uploads;
        }
        None => rebuild.number_events_anew(now)?,
    }
    report.files_missing = lost.len() as u64;
    let folders = list(&places.clips(), |name| name.parse().ok())?.ids;
    if files == Files::Expected && folders.is_empty() && report.files_missing > FEW {
        return Err(RepairError::StoreEmpty {
            ready: report.files_missing,
            clips: places.clips(),
        });
    }
    // What the sweep would take for nobody's may be all there is of a clip.
    lost.sort_unstable();
    for id in folders {
        let known = ids.binary_search(&id).is_ok() && unreadable.binary_search(&id).is_err();
        if lost.binary_search(&id).is_ok() {
            unknown.folders.push((Fault::FileSize, id));
        } else if !known && rebuild.clip(id)?.is_none() {
            unknown.folders.push((Fault::FileOrphan, id));
        }
    }
    let data = serde_json::json!({
        "clips": report.clips, "files_missing": report.files_missing, "unreadable": report.unreadable,
        "from_old_index": report.from_old_index,
    });
    rebuild.finish(now, data)?;
    Ok((report, unknown))
}

/// What was read of a part of the ledger.
#[derive(Default)]
struct Read {
    clips: Vec<Clip>,
    /// Entries that are none.
    unreadable: Vec<ClipId>,
    /// Clips whose files are not there.
    lost: Vec<ClipId>,
}

/// Reads entries on all cores and hands them on in the order of their ids.
fn each_entry(
    places: &Places,
    ids: &[ClipId],
    mut each: impl FnMut(Read) -> Result<(), RepairError>,
) -> Result<(), RepairError> {
    let readers = std::thread::available_parallelism().map_or(2, usize::from);
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::sync_channel(readers * 2);
    std::thread::scope(|scope| {
        for _ in 0..readers {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(part) = ids.chunks(CHUNK).nth(number) else {
                        break;
                    };
                    // Nobody listens any more when something failed.
                    if sender.send((number, part_of(places, part))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut wanted = 0;
        for (number, read) in receiver {
            early.insert(number, read?);
            while let Some(read) = early.remove(&wanted) {
                each(read)?;
                wanted += 1;
            }
        }
        Ok(())
    })
}

fn part_of(places: &Places, ids: &[ClipId]) -> Result<Read, RepairError> {
    let mut part = Read::default();
    for id in ids {
        // One that went meanwhile is gone.
        let Some(bytes) = look::read(&places.entry(*id))? else {
            continue;
        };
        let Ok(mut clip) = entry::read(*id, &bytes) else {
            part.unreadable.push(*id);
            continue;
        };
        if clip.state == State::Ready && !look::is_served(places, &clip) {
            clip.state = State::Expired;
            part.lost.push(*id);
        }
        part.clips.push(clip);
    }
    Ok(part)
}

/// Keeps the old index under another name, and puts the new one where it was in one step: at no moment is there none. The old log must
/// not lie beside the new file.
fn put_in_place(
    places: &Places,
    now: Timestamp,
    new: &Path,
) -> Result<Option<PathBuf>, RepairError> {
    let index = places.index();
    let mut kept = places.data.join(format!("{BEFORE}{}", now.stamp()));
    let mut number = 1_u32;
    while kept.exists() {
        kept = places
            .data
            .join(format!("{BEFORE}{}.{number}", now.stamp()));
        number += 1;
    }
    let had_one = index.exists();
    if had_one {
        // One that is no index any more is kept as it is, with its log.
        if let Err(error) = still::fold(&index) {
            tracing::warn!(%error, "the log of the old index could not be written into it");
        }
        if let Err(error) = fs::hard_link(&index, &kept) {
            tracing::warn!(%error, "the old index cannot have two names here and is moved");
            fs::rename(&index, &kept).map_err(at(&index))?;
        }
    }
    for ending in ["-wal", "-shm"] {
        let with = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let from = with(&index);
        match fs::rename(&from, with(&kept)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&from)(error)),
            _ => {}
        }
    }
    fs::rename(new, &index).map_err(at(&index))?;
    File::open(&places.data)
        .and_then(|folder| folder.sync_all())
        .map_err(at(&places.data))?;
    Ok(had_one.then_some(kept))
}

fn remove(path: &Path) -> Result<(), RepairError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}
