//! Mending one difference, each kind in its way. What is taken out of the way is kept in `set-aside`.

use std::fs;
use std::io;

use super::look::{self, Difference, Fault, Subject};
use super::{RepairError, at, entry};
use crate::clip::{ClipId, State};
use crate::index::mend::Mender;
use crate::library::ledger_entry;
use crate::source::upload::file_of;
use crate::store::LocalStore;
use crate::store::lock::own_like_folder;
use crate::store::lost::set_aside;
use crate::store::places::Places;
use crate::timestamp::Timestamp;

/// What mending takes.
pub struct Bench<'a> {
    pub places: &'a Places,
    pub store: &'a LocalStore,
    pub index: &'a Mender,
    pub now: Timestamp,
}

/// Mends one difference; what was done.
///
/// # Errors
/// When index or disk do not take it.
pub fn mend(bench: &Bench<'_>, difference: &Difference) -> Result<String, RepairError> {
    match &difference.subject {
        Subject::Clip(id) => clip(bench, difference.fault, *id),
        Subject::Path(path) => match difference.fault {
            Fault::WorkLeft => {
                remove(path)?;
                Ok("removed".to_owned())
            }
            fault => aside(bench, fault, path),
        },
        Subject::Upload(id) => {
            let (places, id) = (bench.places, *id);
            match difference.fault {
                Fault::UploadMissing => {
                    bench.index.lose_upload(id)?;
                    Ok("forgotten".to_owned())
                }
                Fault::UploadShort => {
                    let file = file_of(&places.uploads, id);
                    let length = fs::metadata(&file).map_err(at(&file))?.len();
                    bench.index.shorten_upload(id, length)?;
                    Ok(format!("{length} bytes are recorded now"))
                }
                fault => aside(bench, fault, &places.uploads.join(id.to_string())),
            }
        }
        Subject::Index if difference.fault == Fault::TallyWrong => {
            bench.index.recount()?;
            Ok("counted anew".to_owned())
        }
        Subject::Index => {
            bench.index.drop_strangers()?;
            Ok("those rows are removed".to_owned())
        }
    }
}

fn clip(bench: &Bench<'_>, fault: Fault, id: ClipId) -> Result<String, RepairError> {
    let places = bench.places;
    match fault {
        Fault::FileMissing => {
            let folder = places.clip(id);
            if folder.exists() {
                aside(bench, fault, &folder)?;
            }
            bench.index.expire(bench.now, id)?;
            write_entry(bench, id)?;
            Ok("expired; it can be made again".to_owned())
        }
        Fault::FileSize | Fault::FileHash => {
            let told = aside(bench, fault, &places.clip(id))?;
            bench.index.expire(bench.now, id)?;
            write_entry(bench, id)?;
            Ok(format!("expired; it can be made again; {told}"))
        }
        Fault::PosterMissing => {
            bench.index.without_poster(id)?;
            write_entry(bench, id)?;
            Ok("the clip has no picture from now on".to_owned())
        }
        Fault::FileOrphan => aside(bench, fault, &places.clip(id)),
        Fault::LedgerMissing => {
            write_entry(bench, id)?;
            Ok("written".to_owned())
        }
        Fault::LedgerStale => {
            if write_entry(bench, id)? {
                return Ok("written anew".to_owned());
            }
            aside(bench, fault, &places.entry(id))
        }
        Fault::LedgerUnreadable => {
            let told = aside(bench, fault, &places.entry(id))?;
            let written = write_entry(bench, id)?;
            Ok(if written {
                format!("written anew; {told}")
            } else {
                told
            })
        }
        Fault::LedgerOrphan if bench.index.was_removed(id)? => {
            remove(&places.entry(id))?;
            Ok("removed, as the clip was".to_owned())
        }
        Fault::LedgerOrphan => aside(bench, fault, &places.entry(id)),
        Fault::IndexMissing if bench.index.was_removed(id)? => {
            let folder = places.clip(id);
            let told = if bench.index.in_trash(id)? && !bench.store.is_aside(id) {
                bench.store.put_aside(id).map_err(at(&folder))?;
                "its files are in the trash".to_owned()
            } else {
                aside(bench, Fault::FileOrphan, &folder)?
            };
            remove(&places.entry(id))?;
            Ok(format!("the clip was removed, and so is its entry; {told}"))
        }
        Fault::IndexMissing => {
            let path = places.entry(id);
            let bytes = look::read(&path)?.unwrap_or_default();
            let clip = entry::read(id, &bytes)
                .map_err(|error| at(&path)(io::Error::other(error.to_string())))?;
            bench.index.add(&clip)?;
            Ok("taken into the index again".to_owned())
        }
        // About no clip.
        Fault::IndexCorrupt
        | Fault::ForeignKeys
        | Fault::TallyWrong
        | Fault::Stray
        | Fault::WorkLeft
        | Fault::UploadMissing
        | Fault::UploadShort
        | Fault::UploadOrphan => Ok("left as it is".to_owned()),
    }
}

/// Writes what the index says into the ledger; false when such a clip has no place there.
fn write_entry(bench: &Bench<'_>, id: ClipId) -> Result<bool, RepairError> {
    let Some(clip) = bench.index.clip(id)? else {
        return Ok(false);
    };
    if !clip.is_served() && clip.state != State::Expired {
        return Ok(false);
    }
    let path = bench.places.entry(id);
    bench
        .store
        .write_ledger(id, &ledger_entry(&clip))
        .and_then(|()| own_like_folder(&path))
        .map_err(at(&path))?;
    Ok(true)
}

fn aside(bench: &Bench<'_>, fault: Fault, path: &std::path::Path) -> Result<String, RepairError> {
    let to = match set_aside(bench.places, fault.code(), path) {
        Ok(to) => to,
        // Another difference about the same clip took it along.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok("gone".to_owned()),
        Err(error) => return Err(at(path)(error)),
    };
    Ok(format!("moved to {}", bench.places.told(&to)))
}

fn remove(path: &std::path::Path) -> Result<(), RepairError> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}
