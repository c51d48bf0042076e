//! The last step: files for good, ledger, index. Where nothing was before, the ledger comes first and a refused commit takes the files back.
//! Where a clip is made again, the index comes first: until it says so, the old file is the one that counts.

use std::path::{Path, PathBuf};

use super::{JobError, chain};
use crate::app::App;
use crate::clip::{Clip, Outcome, State};
use crate::library::{self, again, blocking};
use crate::media::Made;
use crate::store::name::FileName;
use crate::store::{self, Publication, disk};
use crate::trash::turn_of;

/// Publishes what was made of a clip; the number of the event.
///
/// # Errors
/// When disk or index refuse, or nobody wants it any more. What was there before is as it was.
pub(super) async fn publish(
    app: &App,
    clip: &Clip,
    made: &Made,
    bytes_fetched: u64,
) -> Result<i64, JobError> {
    let path: PathBuf = made.path.clone();
    let sha256 = blocking(move || store::sha256(&path)).await?;
    let outcome = outcome(made, sha256, bytes_fetched);
    let (ready, seq) = match &clip.before {
        Some(_) => exchange(app, clip, made, outcome).await?,
        None => first(app, clip, made, outcome).await?,
    };
    let size = ready.outcome.as_ref().map_or(0, |outcome| outcome.size);
    tracing::info!(clip = %ready.id, method = made.method.as_str(), bytes = size, frames = made.checked.frames, "clip ready");
    Ok(seq)
}

/// Where nothing was before.
async fn first(
    app: &App,
    clip: &Clip,
    made: &Made,
    outcome: Outcome,
) -> Result<(Clip, i64), JobError> {
    let id = clip.id;
    let extension = clip.recipe.format.as_str();
    let name = match clip.version {
        0 => FileName::from_title(&clip.title, extension),
        // Browsers may still have what was at its address before it expired.
        version => FileName::numbered(&clip.title, version + 1, extension),
    };
    let now = app.now();
    let expires_at = now.plus_hours(app.settings.retention.hours);
    let entry = library::ledger_entry(&Clip {
        state: State::Ready,
        outcome: Some(outcome.clone()),
        file_name: Some(name.as_str().to_owned()),
        finished_at: Some(now),
        expires_at: Some(expires_at),
        version: clip.version + 1,
        ..clip.clone()
    });
    let (store, ballast, file, poster, named) = (
        app.store.clone(),
        std::sync::Arc::clone(&app.ballast),
        made.path.clone(),
        made.poster.clone(),
        name.clone(),
    );
    let published = blocking(move || {
        store.publish(&Publication {
            id,
            name: &named,
            clip: &file,
            poster: poster.as_deref().map(Path::new),
        })?;
        match store.write_ledger(id, &entry) {
            // All the work is done; a few hundred bytes are not to be the end of it.
            Err(error) if disk::is_full(&error) && ballast.give_up()? > 0 => {
                store.write_ledger(id, &entry)?;
            }
            written => written?,
        }
        Ok(store.size(id))
    });
    let committed = match published.await {
        Ok(bytes) => app
            .index
            .ready(
                now,
                id,
                outcome,
                name.as_str().to_owned(),
                bytes,
                expires_at,
            )
            .await
            .map_err(JobError::from),
        Err(error) => Err(error.into()),
    };
    match committed {
        Ok(Some((ready, seq))) => {
            if ready.title != clip.title
                && let Err(error) = library::record(app, &ready).await
            {
                tracing::warn!(clip = %id, error = %chain(&error), "the ledger has the title of before");
            }
            Ok((ready, seq))
        }
        not_ready => {
            let store = app.store.clone();
            blocking(move || {
                store.remove_files(id)?;
                store.remove_ledger(id)
            })
            .await?;
            Err(not_ready.err().unwrap_or(JobError::Unwanted))
        }
    }
}

/// Where an older version is served meanwhile.
async fn exchange(
    app: &App,
    clip: &Clip,
    made: &Made,
    outcome: Outcome,
) -> Result<(Clip, i64), JobError> {
    let id = clip.id;
    // Who removes the clip waits, or has removed it already.
    let _turn = app.desk.turn(&turn_of(id)).await;
    let states = app.index.states(vec![id]).await?;
    if !states.contains(&(id, Some(State::Storing))) {
        return Err(JobError::Unwanted);
    }
    let (store, title, version) = (app.store.clone(), clip.title.clone(), clip.version + 1);
    let (format, file, poster) = (clip.recipe.format, made.path.clone(), made.poster.clone());
    let laid = blocking(move || {
        let name = store.free_name(id, &title, version, format.as_str())?;
        let laid = store.publish_beside(&Publication {
            id,
            name: &name,
            clip: &file,
            poster: poster.as_deref().map(Path::new),
        });
        match laid {
            Ok(bytes) => Ok((name, bytes)),
            Err(error) => {
                store.take_back(id, &name)?;
                Err(error)
            }
        }
    });
    let (name, bytes) = laid.await?;
    let now = app.now();
    let expires_at = now.plus_hours(app.settings.retention.hours);
    let file = name.as_str().to_owned();
    let committed = app
        .index
        .ready(now, id, outcome, file, bytes, expires_at)
        .await;
    match committed {
        Ok(Some((ready, seq))) => {
            // The old file stays until the ledger knows the new one.
            if let Err(error) = again::settle_files(app, id).await {
                tracing::warn!(clip = %id, error = %chain(&error), "the file of before stays; the next start tries again");
                again::note_unsettled(app, id).await;
            }
            Ok((ready, seq))
        }
        not_ready => {
            let store = app.store.clone();
            blocking(move || store.take_back(id, &name)).await?;
            Err(not_ready.map_or_else(JobError::from, |_| JobError::Unwanted))
        }
    }
}

fn outcome(made: &Made, sha256: String, bytes_fetched: u64) -> Outcome {
    let checked = &made.checked;
    let copied = made.frames_copied;
    Outcome {
        method: made.method,
        reason: made.reason.to_owned(),
        fallback: made.fallback.clone(),
        start: made.start,
        end: made.end,
        truncated: made.truncated,
        duration: checked.duration,
        frames: checked.frames,
        frames_copied: copied,
        frames_encoded: checked.frames - copied,
        size: checked.size,
        sha256,
        width: checked.width,
        height: checked.height,
        fps: checked.fps,
        video_codec: checked.video_codec.clone(),
        audio_codec: checked.audio_codec.clone(),
        bytes_fetched,
        poster: made.poster.is_some(),
    }
}
