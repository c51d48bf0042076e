//! What visitors do with uploads: create, look up, send (`uploads/append.rs`), remove; and how they expire and are put right after a
//! start.

pub mod append;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::app::App;
use crate::bytes::Bytes;
use crate::index::IndexError;
use crate::index::uploads::{Created, NewUpload, Quota, Removed};
use crate::library::{LibraryError, blocking};
use crate::retention::{Removal, What};
use crate::room;
use crate::source::upload::{Claimed, UploadStore, Writer, Writing};
use crate::store::disk;
use crate::timestamp::Timestamp;
use crate::upload::{Metadata, Upload, UploadId};
use crate::worker::chain;

/// A writer that has been silent for so long gives way to whoever comes next: a phone that changed its network comes back before its
/// old connection is known to be dead.
const SILENT: Duration = Duration::from_secs(3);
/// A writer that was asked to end, or is ending, gets so long to make safe what has come.
const ENDING: Duration = Duration::from_secs(20);

/// Between two looks at an upload that somebody unknown writes to.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum UploadsError {
    #[error("there is no such upload")]
    NotFound,
    #[error("this upload has expired")]
    Gone,
    #[error("an upload has at most {0}")]
    TooLarge(Bytes),
    #[error("{0} uploads are kept for you already")]
    TooMany(u64),
    #[error("{kept} of uploads are kept for you already, and {most} is the most")]
    TooMuch { kept: Bytes, most: Bytes },
    #[error("the upload stands at byte {stands}, not at {asked}")]
    Offset { stands: u64, asked: u64 },
    #[error("these are more bytes than the upload has")]
    PastLength,
    #[error("the bytes do not match their checksum and were discarded")]
    Checksum,
    #[error("another request is writing to this upload")]
    Locked,
    #[error("the bytes did not arrive whole")]
    Broken,
    #[error("the service is about to stop")]
    Stopping,
    #[error("a clip that waits or runs is made from this upload")]
    Needed,
    #[error("the disk is full; what has arrived is kept")]
    DiskFull,
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("the upload could not be read or written")]
    Io(#[from] std::io::Error),
}

/// A file that a visitor means to upload.
#[derive(Debug)]
pub struct Wish {
    pub visitor: String,
    pub length: u64,
    pub metadata: Metadata,
}

/// When an upload goes unless it is used again.
pub fn expires_at(app: &App, upload: &Upload) -> Timestamp {
    upload
        .used_at
        .plus_hours(app.settings.retention.upload_hours)
}

/// Takes a wish: weighed against the limits and the disk, and kept from then on.
///
/// # Errors
/// When it is too large, the visitor keeps too much, or the disk is too full.
pub async fn create(app: &App, wish: Wish) -> Result<Upload, UploadsError> {
    let limits = &app.settings.limits;
    if wish.length > limits.upload_bytes.0 {
        return Err(UploadsError::TooLarge(limits.upload_bytes));
    }
    room::make_sure_of_room(app, wish.length, 0).await?;
    let id = UploadId(Uuid::new_v4());
    let new = NewUpload {
        id,
        visitor: wish.visitor,
        length: wish.length,
        metadata: wish.metadata,
    };
    let quota = Quota {
        uploads: u64::from(limits.uploads_per_visitor),
        bytes: limits.upload_bytes_per_visitor.0,
    };
    // The row first: a folder without one is nobody's, a row without a folder is put right at the next start.
    let upload = match app.index.create_upload(app.now(), new, quota).await? {
        Created::New(upload) => upload,
        Created::TooMany(kept) => return Err(UploadsError::TooMany(kept)),
        Created::TooLarge(kept) => {
            return Err(UploadsError::TooMuch {
                kept: Bytes(kept),
                most: limits.upload_bytes_per_visitor,
            });
        }
    };
    let store = app.uploads.clone();
    if let Err(error) = blocking(move || store.make(id)).await {
        app.index.lose_upload(id).await?;
        return Err(full_or(error));
    }
    metrics::counter!("meme_maker_uploads_created_total").increment(1);
    tracing::info!(upload = id.mark(), bytes = upload.length, "upload created");
    if upload.is_complete() {
        finished(&upload);
    }
    Ok(upload)
}

fn finished(upload: &Upload) {
    metrics::counter!("meme_maker_uploads_finished_total").increment(1);
    tracing::info!(
        upload = upload.id.mark(),
        bytes = upload.length,
        "upload complete"
    );
}

/// An upload as it stands, once a writer that is ending, or has fallen silent, has made its bytes safe.
///
/// # Errors
/// When there is none, or it has expired.
pub async fn view(app: &App, id: UploadId) -> Result<Upload, UploadsError> {
    if let Some(writer) = app.uploads.writer(id)
        && gives_way(&writer)
    {
        // Still not ended is no reason to keep quiet: what is recorded is true.
        let _ = ended(&writer).await;
    }
    find(app, id).await
}

/// A complete upload for whoever is about to use it; its time counts from now on.
///
/// # Errors
/// When there is none any more, or not all of it yet.
pub async fn used(app: &App, id: UploadId) -> Result<Upload, LibraryError> {
    let upload = complete(app, id).await?;
    let now = app.now();
    if !is_due(&upload, now) {
        return Ok(upload);
    }
    match app.index.use_upload(now, id).await {
        Ok(true) => Ok(upload),
        Ok(false) => Err(LibraryError::UploadGone),
        Err(error) => {
            // Nobody is kept from reading because nothing can be written.
            tracing::warn!(upload = id.mark(), error = %chain(&error), "the use of an upload could not be noted");
            Ok(upload)
        }
    }
}

/// The same for whoever cannot wait until that is written down.
///
/// # Errors
/// When there is none any more, or not all of it yet.
pub async fn used_in_passing(app: &App, id: UploadId) -> Result<Upload, LibraryError> {
    let upload = complete(app, id).await?;
    let now = app.now();
    if is_due(&upload, now) {
        let index = app.index.clone();
        tokio::spawn(async move {
            if let Err(error) = index.use_upload(now, id).await {
                tracing::warn!(upload = id.mark(), error = %chain(&error), "the use of an upload could not be noted");
            }
        });
    }
    Ok(upload)
}

async fn complete(app: &App, id: UploadId) -> Result<Upload, LibraryError> {
    let upload = app.index.upload(id).await?;
    let upload = upload.ok_or(LibraryError::UploadGone)?;
    if !upload.is_complete() {
        return Err(LibraryError::UploadIncomplete {
            received: upload.received,
            length: upload.length,
        });
    }
    Ok(upload)
}

/// Whether its use has to be noted. A player asks many times a minute, and each note is a write.
fn is_due(upload: &Upload, now: Timestamp) -> bool {
    /// In milliseconds.
    const OFTEN: i64 = 60_000;
    now.0 - upload.used_at.0 >= OFTEN
}

async fn find(app: &App, id: UploadId) -> Result<Upload, UploadsError> {
    let upload = app.index.upload(id).await?.ok_or(UploadsError::NotFound)?;
    if !upload.needed && expires_at(app, &upload) <= app.now() {
        return Err(UploadsError::Gone);
    }
    Ok(upload)
}

/// Whether whoever comes next need not be turned away.
fn gives_way(writer: &Writer) -> bool {
    writer.is_ending() || writer.silence() >= SILENT
}

/// Asks a writer to end and waits for it; false when it does not.
async fn ended(writer: &Writer) -> bool {
    if !writer.is_ending() {
        writer.stop.cancel();
    }
    tokio::time::timeout(ENDING, writer.ended.cancelled())
        .await
        .is_ok()
}

/// What to do about somebody who writes already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Wait for those who are ending or silent.
    Patient,
    /// Ask them to end, whoever they are.
    Resolute,
}

async fn claim(app: &App, id: UploadId, manner: Manner) -> Result<Writing, UploadsError> {
    const TRIES: usize = 3;
    for _ in 0..TRIES {
        let store = app.uploads.clone();
        match blocking(move || store.claim(id)).await? {
            Claimed::Yours(writing) => return Ok(writing),
            Claimed::Missing => return Err(UploadsError::NotFound),
            // Another process, or one who has just ended: that is told apart by looking again.
            Claimed::Taken(None) => tokio::time::sleep(LOOK_AGAIN).await,
            Claimed::Taken(Some(writer)) => {
                if manner == Manner::Patient && !gives_way(&writer) {
                    break;
                }
                if !ended(&writer).await {
                    break;
                }
            }
        }
    }
    Err(UploadsError::Locked)
}

/// Removes an upload for good; a writer is asked to end first.
///
/// # Errors
/// When there is none, or a clip needs it.
pub async fn remove(app: &App, id: UploadId) -> Result<(), UploadsError> {
    let writing = claim(app, id, Manner::Resolute).await?;
    let removed = match app.index.remove_upload(id).await {
        Err(error) => {
            make_way(app, id, Some(&writing), &error).await?;
            app.index.remove_upload(id).await?
        }
        Ok(removed) => removed,
    };
    match removed {
        Removed::Gone => {}
        Removed::Needed => return Err(UploadsError::Needed),
        Removed::Unknown => return Err(UploadsError::NotFound),
    }
    let store = app.uploads.clone();
    blocking(move || store.remove(id)).await?;
    tracing::info!(upload = id.mark(), "upload removed");
    Ok(())
}

/// Removes an upload that nobody can go on with; what cannot be removed now expires in its time.
async fn discard(app: &App, id: UploadId) {
    match remove(app, id).await {
        Ok(()) | Err(UploadsError::NotFound) => {}
        Err(error) => {
            tracing::warn!(upload = id.mark(), error = %chain(&error), "an upload that never began stays until it expires");
        }
    }
}

/// On a full disk the index cannot even forget. Then the bytes go first, which makes room for that. A record without bytes is put
/// right by the next expiry or start.
async fn make_way(
    app: &App,
    id: UploadId,
    writing: Option<&Writing>,
    error: &IndexError,
) -> Result<(), LibraryError> {
    tracing::warn!(upload = id.mark(), error = %chain(error), "the index could not forget an upload; its bytes go first");
    let needed = app
        .index
        .upload(id)
        .await?
        .is_none_or(|upload| upload.needed);
    if needed {
        return Ok(());
    }
    let (store, file) = (
        app.uploads.clone(),
        writing.map(|writing| Arc::clone(&writing.file)),
    );
    blocking(move || {
        // What somebody holds open takes room until it is closed.
        if let Some(file) = file {
            file.set_len(0)?;
        }
        store.remove(id)
    })
    .await?;
    Ok(())
}

fn horizon(app: &App) -> Timestamp {
    app.now()
        .plus_millis(-i64::from(app.settings.retention.upload_hours) * 3_600_000)
}

/// Uploads whose time has come.
///
/// # Errors
/// When the index cannot be read.
pub async fn due(app: &App) -> Result<Vec<Removal>, LibraryError> {
    let uploads = app.index.expiring_uploads(horizon(app)).await?;
    let idle = uploads.iter().filter(|upload| {
        let id = upload.id;
        !app.desk.reads(id) && app.uploads.writer(id).is_none()
    });
    Ok(idle.map(|upload| removal(app, upload)).collect())
}

fn removal(app: &App, upload: &Upload) -> Removal {
    Removal {
        what: What::Uploads,
        id: upload.id.mark().to_owned(),
        title: String::new(),
        bytes: upload.received,
        reason: format!("expired at {}", expires_at(app, upload)),
    }
}

/// Removes uploads whose time has come, but none that is being written to or read, or that a clip needs.
///
/// # Errors
/// When index or disk refuse.
pub async fn expire(app: &App) -> Result<Vec<Removal>, LibraryError> {
    let mut done = Vec::new();
    let horizon = horizon(app);
    for upload in app.index.expiring_uploads(horizon).await? {
        let id = upload.id;
        if app.desk.reads(id) {
            continue;
        }
        let store = app.uploads.clone();
        // Held until the bytes are gone, so that nobody begins to write meanwhile.
        let claimed = blocking(move || store.claim(id)).await?;
        let writing = match &claimed {
            Claimed::Taken(_) => continue,
            Claimed::Yours(writing) => Some(writing),
            Claimed::Missing => None,
        };
        let expired = match app.index.expire_upload(id, horizon).await {
            Err(error) => {
                make_way(app, id, writing, &error).await?;
                app.index.expire_upload(id, horizon).await?
            }
            Ok(expired) => expired,
        };
        if !expired {
            continue;
        }
        let store = app.uploads.clone();
        blocking(move || store.remove(id)).await?;
        drop(claimed);
        metrics::counter!("meme_maker_uploads_expired_total").increment(1);
        tracing::info!(
            upload = id.mark(),
            bytes = upload.received,
            "upload expired"
        );
        done.push(removal(app, &upload));
    }
    Ok(done)
}

/// After a start, before anything is served: bytes and records are made to agree, towards what is certain.
///
/// # Errors
/// When index or disk refuse.
pub async fn reconcile(app: &App) -> Result<(), LibraryError> {
    let uploads = app.index.uploads().await?;
    let known: Vec<UploadId> = uploads.iter().map(|upload| upload.id).collect();
    let store = app.uploads.clone();
    let swept = blocking(move || store.sweep(&known)).await?;
    let mut lost = 0;
    for upload in &uploads {
        let (store, id, recorded) = (app.uploads.clone(), upload.id, upload.received);
        match blocking(move || store.cut_back(id, recorded)).await? {
            Some(there) if there < recorded => {
                tracing::warn!(
                    upload = id.mark(),
                    recorded,
                    there,
                    "bytes of an upload are lost"
                );
                app.index.record_received(upload.used_at, id, there).await?;
            }
            Some(_) => {}
            None => {
                lost += 1;
                app.index.lose_upload(id).await?;
            }
        }
    }
    if swept + lost > 0 {
        tracing::info!(swept, lost, "uploads put right after the last run");
    }
    Ok(())
}

/// A full disk is something that a visitor can be told.
fn full_or(error: std::io::Error) -> UploadsError {
    if disk::is_full(&error) {
        UploadsError::DiskFull
    } else {
        UploadsError::Io(error)
    }
}

/// The index that cannot grow says so in its own words; what is certain is how much room there is.
fn full_or_index(store: &UploadStore, error: IndexError) -> UploadsError {
    const ROOM: u64 = 1 << 20;
    match rustix::fs::statvfs(store.root()) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM => {
            tracing::warn!(error = %chain(&error), "the disk is too full to record an upload");
            UploadsError::DiskFull
        }
        _ => UploadsError::Index(error),
    }
}
