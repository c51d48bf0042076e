//! What is wrong with one clip: its row held against its file, its picture and its entry in the ledger. It changes nothing.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{RepairError, at, entry};
use crate::clip::{Clip, ClipId, Outcome, State};
use crate::store::places::Places;
use crate::store::{self, POSTER};
use crate::upload::UploadId;

/// The kinds of difference, each told apart from the others and mended in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The index cannot be read, is damaged, or is not there.
    IndexCorrupt,
    /// Rows belong to a clip that is not there.
    ForeignKeys,
    /// A sum that is kept is not the sum of its rows.
    TallyWrong,
    /// File and entry are there and the index does not know the clip.
    IndexMissing,
    /// A ready clip has no file.
    FileMissing,
    /// A ready clip's file has another size than was measured.
    FileSize,
    /// A ready clip's file has other bytes than were measured.
    FileHash,
    /// A picture is said to be there and is not.
    PosterMissing,
    /// Files are there of a clip that is not ready, or of none.
    FileOrphan,
    /// A ready or expired clip is not in the ledger.
    LedgerMissing,
    /// The ledger says something else than the index.
    LedgerStale,
    /// An entry is about a clip that is not there.
    LedgerOrphan,
    /// An entry cannot be understood.
    LedgerUnreadable,
    /// Something in the service's folders is not the service's.
    Stray,
    /// The working folder of a job that does not run.
    WorkLeft,
    /// An upload has no file.
    UploadMissing,
    /// An upload's file is shorter than was recorded.
    UploadShort,
    /// An upload's file is there and the index does not know it.
    UploadOrphan,
}

impl Fault {
    /// Its stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Fault::IndexCorrupt => "index_corrupt",
            Fault::ForeignKeys => "foreign_keys",
            Fault::TallyWrong => "tally_wrong",
            Fault::IndexMissing => "index_missing",
            Fault::FileMissing => "file_missing",
            Fault::FileSize => "file_size",
            Fault::FileHash => "file_hash",
            Fault::PosterMissing => "poster_missing",
            Fault::FileOrphan => "file_orphan",
            Fault::LedgerMissing => "ledger_missing",
            Fault::LedgerStale => "ledger_stale",
            Fault::LedgerOrphan => "ledger_orphan",
            Fault::LedgerUnreadable => "ledger_unreadable",
            Fault::Stray => "stray",
            Fault::WorkLeft => "work_left",
            Fault::UploadMissing => "upload_missing",
            Fault::UploadShort => "upload_short",
            Fault::UploadOrphan => "upload_orphan",
        }
    }
}

/// What a difference is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Index,
    Clip(ClipId),
    Upload(UploadId),
    Path(PathBuf),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Index => f.write_str("index"),
            Subject::Clip(id) => id.fmt(f),
            // Whoever knows all of it may use the file.
            Subject::Upload(id) => write!(f, "upload {}", id.mark()),
            Subject::Path(path) => path.display().fmt(f),
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub fault: Fault,
    pub subject: Subject,
    /// In words.
    pub detail: String,
    /// What was done about it.
    pub mended: Option<String>,
}

impl Difference {
    /// One that nothing was done about.
    pub fn new(fault: Fault, subject: Subject, detail: impl Into<String>) -> Difference {
        Difference {
            fault,
            subject,
            detail: detail.into(),
            mended: None,
        }
    }
}

/// How closely files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closeness {
    Sizes,
    /// Every byte of every file.
    Hashes,
}

/// Looks at one clip, or at what lies where a clip of that id would.
///
/// # Errors
/// When the disk cannot be read.
pub fn clip(
    places: &Places,
    id: ClipId,
    row: Option<&Clip>,
    closeness: Closeness,
) -> Result<Vec<Difference>, RepairError> {
    let mut found = Found {
        id,
        differences: Vec::new(),
    };
    let Some(row) = row else {
        unknown(places, id, &mut found)?;
        return Ok(found.differences);
    };
    if row.before.is_some()
        && let Some(served) = row.as_served()
    {
        // What else is there is the worker's, but this is served meanwhile.
        if let (Some(outcome), Some(name)) = (&served.outcome, &served.file_name) {
            files(places, outcome, name, closeness, &mut found)?;
        }
        found
            .differences
            .retain(|difference| difference.fault != Fault::Stray);
        ledger(places, &served, &mut found)?;
        return Ok(found.differences);
    }
    match row.state {
        // It is on its way, and what is there is the worker's.
        State::Queued | State::Fetching | State::Cutting | State::Storing => {}
        State::Ready => {
            if let (Some(outcome), Some(name)) = (&row.outcome, &row.file_name) {
                files(places, outcome, name, closeness, &mut found)?;
            }
            ledger(places, row, &mut found)?;
        }
        State::Expired => {
            orphan(
                places,
                &format!("the clip is {}", row.state.as_str()),
                &mut found,
            );
            ledger(places, row, &mut found)?;
        }
        State::Failed | State::Cancelled => {
            orphan(
                places,
                &format!("the clip is {}", row.state.as_str()),
                &mut found,
            );
            // One that was expired before it was tried again may be there.
            if let Some(bytes) = read(&places.entry(id))? {
                match entry::read(id, &bytes) {
                    Err(error) => found.add(Fault::LedgerUnreadable, error.to_string()),
                    Ok(entry) if entry.state == State::Ready => found.add(
                        Fault::LedgerStale,
                        format!("ready in the ledger, {} in the index", row.state.as_str()),
                    ),
                    Ok(_) => {}
                }
            }
        }
    }
    Ok(found.differences)
}

struct Found {
    id: ClipId,
    differences: Vec<Difference>,
}

impl Found {
    fn add(&mut self, fault: Fault, detail: impl Into<String>) {
        let subject = Subject::Clip(self.id);
        self.differences
            .push(Difference::new(fault, subject, detail));
    }
}

/// Where the index knows no clip.
fn unknown(places: &Places, id: ClipId, found: &mut Found) -> Result<(), RepairError> {
    let entry = read(&places.entry(id))?.map(|bytes| entry::read(id, &bytes));
    let folder = places.clip(id).exists();
    match (entry, folder) {
        (None, false) => {}
        (None, true) => found.add(
            Fault::FileOrphan,
            "no clip in the index, none in the ledger",
        ),
        (Some(Err(error)), _) => {
            found.add(Fault::LedgerUnreadable, error.to_string());
            if folder {
                found.add(Fault::FileOrphan, "no clip in the index");
            }
        }
        (Some(Ok(clip)), true) if is_served(places, &clip) => {
            found.add(Fault::IndexMissing, "file and entry are there");
        }
        (Some(Ok(_)), folder) => {
            found.add(Fault::LedgerOrphan, "no clip in the index");
            if folder {
                found.add(
                    Fault::FileOrphan,
                    "no clip in the index, and not what the ledger says",
                );
            }
        }
    }
    Ok(())
}

/// Whether a clip's file is there and has the right size.
pub fn is_served(places: &Places, clip: &Clip) -> bool {
    let (Some(outcome), Some(name)) = (&clip.outcome, &clip.file_name) else {
        return false;
    };
    clip.is_served()
        && fs::metadata(places.clip(clip.id).join(name))
            .is_ok_and(|meta| meta.is_file() && meta.len() == outcome.size)
}

fn orphan(places: &Places, why: &str, found: &mut Found) {
    if places.clip(found.id).exists() {
        found.add(Fault::FileOrphan, why);
    }
}

fn files(
    places: &Places,
    outcome: &Outcome,
    name: &str,
    closeness: Closeness,
    found: &mut Found,
) -> Result<(), RepairError> {
    let folder = places.clip(found.id);
    let (mut film, mut poster) = (None, false);
    match fs::read_dir(&folder) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(at(&folder))?;
                let this = entry.file_name();
                if this == name {
                    film = entry.metadata().ok();
                } else if this == POSTER {
                    poster = true;
                } else {
                    found.differences.push(Difference::new(
                        Fault::Stray,
                        Subject::Path(entry.path()),
                        "beside a clip's files",
                    ));
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(&folder)(error)),
    }
    match film {
        None => {
            found.add(Fault::FileMissing, "the clip is ready");
            // Its picture goes where it goes.
            return Ok(());
        }
        Some(meta) if !meta.is_file() || meta.len() != outcome.size => found.add(
            Fault::FileSize,
            format!("{} bytes, {} were measured", meta.len(), outcome.size),
        ),
        Some(_) if closeness == Closeness::Hashes => match store::sha256(&folder.join(name)) {
            Ok(hash) if hash == outcome.sha256 => {}
            Ok(_) => found.add(Fault::FileHash, "not the bytes that were measured"),
            Err(error) => found.add(Fault::FileHash, format!("it cannot be read: {error}")),
        },
        Some(_) => {}
    }
    if outcome.poster && !poster {
        found.add(Fault::PosterMissing, POSTER);
    }
    Ok(())
}

fn ledger(places: &Places, row: &Clip, found: &mut Found) -> Result<(), RepairError> {
    let Some(bytes) = read(&places.entry(row.id))? else {
        found.add(
            Fault::LedgerMissing,
            format!("the clip is {}", row.state.as_str()),
        );
        return Ok(());
    };
    if entry::agrees(&bytes, row) {
        return Ok(());
    }
    match entry::read(row.id, &bytes) {
        Err(error) => found.add(Fault::LedgerUnreadable, error.to_string()),
        Ok(entry) if entry.state != row.state => found.add(
            Fault::LedgerStale,
            format!(
                "{} in the ledger, {} in the index",
                entry.state.as_str(),
                row.state.as_str()
            ),
        ),
        Ok(_) => found.add(Fault::LedgerStale, "not what the index says"),
    }
    Ok(())
}

/// A small file, whole; `None` when it is not there.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, RepairError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}
