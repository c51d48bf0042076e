//! Taking in the next bytes of an upload. They are written as they come, synced and recorded in pieces beside that, and synced and
//! recorded at the end: what is recorded is on the disk for good, whatever happens.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{
    Manner, UploadsError, Wish, claim, create, discard, find, finished, full_or, full_or_index,
};
use crate::app::{App, Shared};
use crate::library::blocking;
use crate::room::{self, UPLOAD_PROMISE};
use crate::source::upload::Writing;
use crate::upload::checksum::Checksum;
use crate::upload::{Upload, UploadId};

/// After so many bytes, or when bytes have waited for so long, a piece is synced and recorded.
const PIECE: u64 = 16 << 20;
const EVERY: Duration = Duration::from_secs(5);
/// Most parts of a body that are written in one go.
const BATCH: usize = 64;
/// Parts of a body that wait for the disk. A part is at most some 64 kB.
pub const WAITING: usize = 32;
/// What is given back on a full disk, so that the index has room to say what is there.
const GIVEN_BACK: u64 = 1 << 20;

/// What a request wants to add.
#[derive(Clone)]
pub struct Addition {
    pub offset: u64,
    /// How much it says it brings.
    pub length: Option<u64>,
    pub checksum: Option<Checksum>,
}

/// A part of a body on its way.
pub enum Part<B> {
    Bytes(B),
    /// That was all. A way that ends without it has broken off.
    End,
}

/// The right to add, with everything looked at that can be before the first byte.
pub struct Appending {
    app: Shared,
    upload: Upload,
    writing: Writing,
    addition: Addition,
    /// The bytes come with a checksum.
    checked: bool,
}

/// Looks whether bytes may be added to an upload.
///
/// # Errors
/// When there is none, somebody writes to it, or the bytes do not belong there.
pub async fn begin(
    app: &Shared,
    id: UploadId,
    addition: Addition,
) -> Result<Appending, UploadsError> {
    let writing = claim(app, id, Manner::Patient).await?;
    // Read under the lock, so that it stays as it is.
    let upload = find(app, id).await?;
    if addition.offset != upload.received {
        return Err(UploadsError::Offset {
            stands: upload.received,
            asked: addition.offset,
        });
    }
    if addition
        .length
        .is_some_and(|length| length > upload.missing())
    {
        return Err(UploadsError::PastLength);
    }
    // Room was kept for a while after the last byte; later it has to be asked for again.
    if upload.used_at.plus_millis(UPLOAD_PROMISE) <= app.now() && !upload.is_complete() {
        room::make_sure_of_room(app, upload.missing(), 0).await?;
    } else if app.ballast.owed() > 0 {
        // What the ballast gave up is for cleaning up, not for those who were promised room before the disk was full.
        room::make_sure_of_room(app, upload.missing(), upload.missing()).await?;
    }
    let offset = upload.received;
    let writing = blocking(move || {
        writing.go_to(offset)?;
        Ok(writing)
    });
    Ok(Appending {
        app: Arc::clone(app),
        upload,
        writing: writing.await?,
        checked: addition.checksum.is_some(),
        addition,
    })
}

/// Takes a wish together with its first bytes. If they do not come whole, nothing is left: nobody has been told the upload's address, so
/// nobody could go on with it.
///
/// # Errors
/// Those of both.
pub async fn create_with<B>(
    app: Shared,
    wish: Wish,
    addition: Addition,
    parts: mpsc::Receiver<Part<B>>,
) -> Result<Upload, UploadsError>
where
    B: AsRef<[u8]> + Send + 'static,
{
    let id = create(&app, wish).await?.id;
    let received = match begin(&app, id, addition).await {
        Ok(appending) => appending.receive(parts).await,
        Err(error) => Err(error),
    };
    if received.is_err() {
        discard(&app, id).await;
    }
    received
}

/// How the bytes ended.
enum Ended {
    Whole,
    Failed(UploadsError),
}

/// How far the file has come.
struct Reach {
    written: u64,
    /// Synced and recorded.
    recorded: u64,
    /// When the last piece was begun.
    since: Instant,
    /// What is written and not recorded may be lost.
    doubtful: bool,
}

impl Appending {
    /// Takes the parts as they come until the last. Runs to its end whoever waits for it: what has come is kept, unless it came with
    /// a checksum, which holds for all of it or for nothing.
    ///
    /// # Errors
    /// When not all could be taken.
    pub async fn receive<B>(
        mut self,
        mut parts: mpsc::Receiver<Part<B>>,
    ) -> Result<Upload, UploadsError>
    where
        B: AsRef<[u8]> + Send + 'static,
    {
        let start = self.upload.received;
        let mut reach = Reach {
            written: start,
            recorded: start,
            since: Instant::now(),
            doubtful: false,
        };
        let mut piece: Option<JoinHandle<Result<u64, UploadsError>>> = None;
        let mut clock = tokio::time::interval(EVERY);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let writer = Arc::clone(&self.writing.writer);
        let mut ended = loop {
            tokio::select! {
                count = parts.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break Ended::Failed(UploadsError::Broken);
                    }
                    writer.hear();
                    let last = matches!(batch.last(), Some(Part::End));
                    if last {
                        writer.end();
                    }
                    let wrote = self.write(&mut batch, &mut reach).await;
                    metrics::counter!("meme_maker_upload_bytes_total").increment(wrote.as_ref().copied().unwrap_or(0));
                    match wrote {
                        Ok(_) if last => break Ended::Whole,
                        Ok(_) => {}
                        Err(error) => break Ended::Failed(error),
                    }
                }
                done = joined(&mut piece), if piece.is_some() => {
                    piece = None;
                    match done {
                        Ok(recorded) => reach.recorded = recorded,
                        Err(error) => {
                            reach.doubtful = true;
                            break Ended::Failed(error);
                        }
                    }
                }
                _ = clock.tick() => {}
                () = writer.stop.cancelled() => break Ended::Failed(UploadsError::Locked),
                () = self.app.stopping.cancelled() => break Ended::Failed(UploadsError::Stopping),
            }
            let waiting = reach.written - reach.recorded;
            let due = waiting >= PIECE || (waiting > 0 && reach.since.elapsed() >= EVERY);
            if due && piece.is_none() && !self.checked {
                reach.since = Instant::now();
                piece = Some(self.piece(reach.written));
            }
        };
        writer.end();
        if piece.is_some() {
            match joined(&mut piece).await {
                Ok(recorded) => reach.recorded = recorded,
                Err(error) => {
                    reach.doubtful = true;
                    ended = Ended::Failed(error);
                }
            }
        }
        let received = self.conclude(ended, start, &reach).await?;
        self.upload.received = received;
        self.upload.used_at = self.app.now();
        if self.upload.is_complete() && received > start {
            finished(&self.upload);
        }
        Ok(self.upload)
    }

    /// Writes parts off the async threads; how many bytes.
    async fn write<B>(
        &mut self,
        batch: &mut Vec<Part<B>>,
        reach: &mut Reach,
    ) -> Result<u64, UploadsError>
    where
        B: AsRef<[u8]> + Send + 'static,
    {
        let parts = std::mem::take(batch);
        let bytes: u64 = parts.iter().map(Part::len).sum();
        if bytes > self.upload.length - reach.written {
            return Err(UploadsError::PastLength);
        }
        if bytes == 0 {
            return Ok(0);
        }
        let file = Arc::clone(&self.writing.file);
        let mut checksum = self.addition.checksum.take();
        let written = blocking(move || {
            let mut file = &*file;
            let mut result = Ok(());
            for part in &parts {
                let Part::Bytes(bytes) = part else { continue };
                if let Some(checksum) = &mut checksum {
                    checksum.update(bytes.as_ref());
                }
                result = file.write_all(bytes.as_ref());
                if result.is_err() {
                    break;
                }
            }
            Ok((parts, checksum, result))
        });
        let (mut parts, checksum, result) = written.await?;
        parts.clear();
        *batch = parts;
        self.addition.checksum = checksum;
        if let Err(error) = result {
            // Some of it may be there all the same; the file says how much.
            let file = Arc::clone(&self.writing.file);
            reach.written = blocking(move || Ok(file.metadata()?.len())).await?;
            return Err(full_or(error));
        }
        reach.written += bytes;
        Ok(bytes)
    }

    /// Syncs what is written so far and records it, beside the writing.
    fn piece(&self, upto: u64) -> JoinHandle<Result<u64, UploadsError>> {
        let (app, file, id) = (
            Arc::clone(&self.app),
            Arc::clone(&self.writing.file),
            self.upload.id,
        );
        tokio::spawn(async move {
            blocking(move || file.sync_data()).await.map_err(full_or)?;
            record(&app, id, upto).await?;
            Ok(upto)
        })
    }

    /// Makes safe what is to be kept and says how the addition ended; the bytes there are then.
    async fn conclude(
        &mut self,
        ended: Ended,
        start: u64,
        reach: &Reach,
    ) -> Result<u64, UploadsError> {
        let checksum = self.addition.checksum.take();
        let (keep, result) = match ended {
            Ended::Whole if checksum.is_none_or(Checksum::holds) => (true, Ok(())),
            Ended::Whole => (false, Err(UploadsError::Checksum)),
            // Who sends more than there is cannot be trusted with the rest either.
            Ended::Failed(UploadsError::PastLength) => (false, Err(UploadsError::PastLength)),
            Ended::Failed(error) => (!self.checked, Err(error)),
        };
        let mut target = if keep { reach.written } else { start };
        if reach.doubtful {
            // A failed sync is told once: the next one may say that all is well with bytes that are lost.
            target = target.min(reach.recorded);
        }
        if matches!(result, Err(UploadsError::DiskFull)) {
            room::press(&self.app).await;
            target = target
                .saturating_sub(GIVEN_BACK)
                .max(reach.recorded.min(target));
        }
        if target < reach.recorded {
            // The record goes back before the bytes do, so that it never says too much.
            self.record(target).await?;
        }
        let file = Arc::clone(&self.writing.file);
        let (cut, sync) = (target < reach.written, target > reach.recorded);
        let safe = blocking(move || {
            if cut {
                file.set_len(target)?;
            }
            if sync {
                file.sync_data()?;
            }
            Ok(())
        });
        safe.await.map_err(full_or)?;
        if sync {
            self.record(target).await?;
        }
        if let Err(error) = &result {
            tracing::info!(upload = self.upload.id.mark(), received = target, why = %error, "upload interrupted");
        }
        result.map(|()| target)
    }

    async fn record(&self, received: u64) -> Result<(), UploadsError> {
        record(&self.app, self.upload.id, received).await
    }
}

async fn record(app: &App, id: UploadId, received: u64) -> Result<(), UploadsError> {
    match app.index.record_received(app.now(), id, received).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(UploadsError::NotFound),
        Err(error) => Err(full_or_index(&app.uploads, error)),
    }
}

/// Waits for a piece; only for one that there is.
async fn joined(
    piece: &mut Option<JoinHandle<Result<u64, UploadsError>>>,
) -> Result<u64, UploadsError> {
    match piece {
        Some(piece) => piece.await.map_err(std::io::Error::other)?,
        None => std::future::pending().await,
    }
}

impl<B: AsRef<[u8]>> Part<B> {
    fn len(&self) -> u64 {
        match self {
            Part::Bytes(bytes) => bytes.as_ref().len() as u64,
            Part::End => 0,
        }
    }
}
