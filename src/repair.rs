//! Putting a service's data right, while no service runs on it: what is wrong (`look`), going through all of it (`fsck`), mending each kind
//! (`mend`), and an index made anew from ledger and store (`reindex`). Nothing is ever deleted that may be the only copy.

pub mod entry;
pub mod fsck;
pub mod look;
pub mod mend;
pub mod reindex;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::clip::ClipId;
use crate::index::IndexError;
use crate::store::lock::{self, Held};
use crate::store::places::Places;

/// Left in a data folder by a restore that did not come to its end.
pub const HALF_RESTORED: &str = ".restoring";

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("a meme-maker runs on {0} already")]
    InUse(PathBuf),
    #[error("there is no data folder at {0}")]
    NoData(PathBuf),
    #[error("a restore into {0} did not come to its end")]
    HalfRestored(PathBuf),
    #[error("the index has schema {found}, and this version's is {known}")]
    OldSchema { found: usize, known: usize },
    #[error("{ready} clips are said to be ready and {clips} holds none at all")]
    StoreEmpty { ready: u64, clips: PathBuf },
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("could not read or write {0}")]
    Io(String, #[source] io::Error),
}

impl RepairError {
    /// Stable, for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            RepairError::InUse(_) => "data_in_use",
            RepairError::NoData(_) => "data_dir",
            RepairError::HalfRestored(_) => "restore_unfinished",
            RepairError::OldSchema { .. } => "index_schema",
            RepairError::StoreEmpty { .. } => "store_empty",
            RepairError::Index(IndexError::Newer { .. }) => "index_newer",
            _ if self.is_full() => "disk_full",
            RepairError::Index(_) => "index",
            RepairError::Io(..) => "io",
        }
    }

    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            RepairError::InUse(_) => {
                "Stop the service first (systemctl stop meme-maker); looking without --repair is possible while it runs."
            }
            RepairError::NoData(_) => "Give --data-dir or --config as the service has them.",
            RepairError::HalfRestored(_) => "Run meme-maker restore once more.",
            RepairError::OldSchema { .. } => {
                "Start the service once, which brings the index up to date, or add --repair."
            }
            RepairError::StoreEmpty { .. } => {
                "Mount the disk of storage.path; if the files are gone for good, add --files-lost."
            }
            RepairError::Index(IndexError::Newer { .. }) => "Use the newer version of meme-maker.",
            _ if self.is_full() => "Make room on the disk and try again; nothing was changed.",
            RepairError::Index(_) => {
                "Run meme-maker reindex, which makes a new index and keeps the old one."
            }
            RepairError::Io(..) => {
                "Check the folder and its owner; run it as the service's user (sudo -u meme-maker)."
            }
        }
    }

    /// Whether there was no room on the disk.
    pub fn is_full(&self) -> bool {
        match self {
            RepairError::Index(error) => error.is_full(),
            RepairError::Io(_, error) => error.kind() == io::ErrorKind::StorageFull,
            RepairError::InUse(_)
            | RepairError::NoData(_)
            | RepairError::HalfRestored(_)
            | RepairError::OldSchema { .. }
            | RepairError::StoreEmpty { .. } => false,
        }
    }
}

/// Says of an error where it happened.
fn at(path: &Path) -> impl FnOnce(io::Error) -> RepairError {
    let path = path.display().to_string();
    move |error| RepairError::Io(path, error)
}

/// Whether the store may be found empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// A store without any file is one that is not mounted.
    Expected,
    /// The operator knows that they are gone.
    Lost,
}

/// Takes the data for whoever works on it alone: the service, or a repair.
///
/// # Errors
/// When somebody else has it, or it was restored by half.
pub fn take(places: &Places) -> Result<Held, RepairError> {
    if !places.data.is_dir() {
        return Err(RepairError::NoData(places.data.clone()));
    }
    whole(places)?;
    let path = places.lock();
    let held = lock::take(&path)
        .map_err(at(&path))?
        .ok_or_else(|| RepairError::InUse(places.data.clone()))?;
    // Of somebody who was ended in the middle.
    reindex::forget_unfinished(places)?;
    Ok(held)
}

/// Refuses data that was restored by half.
fn whole(places: &Places) -> Result<(), RepairError> {
    if places.data.join(HALF_RESTORED).exists() {
        return Err(RepairError::HalfRestored(places.data.clone()));
    }
    Ok(())
}

/// Whether clips are in the ledger and no index is there. To begin with an empty one would make every clip unknown, and the sweep would
/// remove their files.
///
/// # Errors
/// When it cannot be told.
pub fn index_lost(places: &Places) -> Result<bool, RepairError> {
    let index = places.index();
    match fs::metadata(&index) {
        Ok(meta) if meta.len() > 0 => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(&index)(error)),
    }
    let ledger = places.ledger();
    let entries = match fs::read_dir(&ledger) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(at(&ledger)(error)),
    };
    for entry in entries {
        let name = entry.map_err(at(&ledger))?.file_name();
        if entry_id(&name.to_string_lossy()).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The clip that an entry of the ledger is about, by its name.
fn entry_id(name: &str) -> Option<ClipId> {
    name.strip_suffix(".json")?.parse().ok()
}

/// What a folder holds.
#[derive(Debug, Default)]
struct Listing {
    /// In their order.
    ids: Vec<ClipId>,
    /// Names that are nobody's.
    strays: Vec<PathBuf>,
}

/// Goes through a folder of clips; `id` reads a name. Missing is empty.
fn list(folder: &Path, id: impl Fn(&str) -> Option<ClipId>) -> Result<Listing, RepairError> {
    let mut listing = Listing::default();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
        Err(error) => return Err(at(folder)(error)),
    };
    for entry in entries {
        let name = entry.map_err(at(folder))?.file_name();
        match name.to_str().and_then(&id) {
            Some(id) => listing.ids.push(id),
            // The service tries whether it can write here.
            None if name.to_string_lossy().starts_with(".writable-") => {}
            None => listing.strays.push(folder.join(name)),
        }
    }
    listing.ids.sort_unstable();
    listing.strays.sort_unstable();
    Ok(listing)
}
