//! Clips made again under the same link, by another recipe of the same source: what is there stays and is served until the new file is.

use super::{LibraryError, Right, View, at_once, barred, blocking, bounds, record, room_for, view};
use crate::access::Allowance;
use crate::app::{App, What};
use crate::bytes::Bytes;
use crate::clip::change::Change;
use crate::clip::{ClipId, State};
use crate::index::remake::{Remade, Remake};
use crate::recipe::{Limits, Recipe, RecipeError};
use crate::trash::turn_of;

/// A wish to have a clip made again.
#[derive(Debug)]
pub struct Wish {
    over: Recipe,
    recipe: Recipe,
    change: Change,
}

impl Wish {
    /// What the clip is to be made by.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }
}

/// What a change asks for.
#[derive(Debug)]
pub enum Asked {
    /// The clip is made again.
    Again(Box<Wish>),
    /// It is that already, and there.
    Already,
}

/// Why a clip is not to be made so.
#[derive(Debug, thiserror::Error)]
pub enum AgainError {
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// Finds out what a change asks for, without doing any of it.
///
/// # Errors
/// When the clip is being made, or the recipe that comes out breaks a rule.
pub async fn asked(
    app: &App,
    id: ClipId,
    change: Change,
    limits: &Limits<'_>,
) -> Result<Asked, AgainError> {
    let clip = view(app, id).await?.clip;
    if !clip.state.is_settled() {
        return Err(LibraryError::State(clip.state.as_str(), WORD).into());
    }
    let recipe = clip.recipe.merged(&change.recipe, limits)?;
    if clip.state == State::Ready && recipe == clip.recipe {
        return Ok(Asked::Already);
    }
    Ok(Asked::Again(Box::new(Wish {
        over: clip.recipe,
        recipe,
        change,
    })))
}

/// What cannot be done.
const WORD: &str = "made again by another recipe";

/// Queues a clip to be made again. All that the wish holds is done, or nothing.
///
/// # Errors
/// When the disk or the queue is too full, its visitor has too many in hand, or the upload it was made from is gone.
pub async fn again(
    app: &App,
    id: ClipId,
    wish: Wish,
    right: Right,
    allowance: Allowance,
) -> Result<View, LibraryError> {
    let recipe = &wish.recipe;
    if let crate::recipe::Source::Url(url) = &recipe.source {
        app.tools.gate.judge(url, None)?;
    }
    let (bounds, most) = bounds(app, &wish.change, right)?;
    let length = recipe.length().as_f64();
    let estimate = app
        .costs()
        .guess(recipe.mode, length, recipe.segments.len());
    room_for(app, estimate.bytes).await?;
    // Nobody may move its files meanwhile.
    let _turn = app.desk.turn(&turn_of(id)).await;
    let changed = !wish.change.fields().is_empty();
    let remake = Remake {
        id,
        over: wish.over,
        recipe: wish.recipe,
        change: wish.change,
        bounds,
        at_once: at_once(app, allowance),
        queue_limit: app.settings.limits.queue,
        estimate,
    };
    let seq = match app.index.remake(app.now(), remake).await? {
        Remade::Queued(seq) => seq,
        Remade::State(state) => return Err(LibraryError::State(state.as_str(), WORD)),
        Remade::Barred(why) => return Err(barred(app, why, None)),
        Remade::PinsFull(pinned) => {
            return Err(LibraryError::PinsFull {
                pinned: Bytes(pinned),
                most: Bytes(most),
            });
        }
        Remade::Unknown => return Err(LibraryError::NotFound),
    };
    let view = view(app, id).await?;
    app.bus.tell(id, What::State(seq));
    app.work.notify_waiters();
    if changed && view.clip.is_served() {
        record(app, &view.clip).await?;
    }
    Ok(view)
}

/// Leaves of a served clip's files those that count, and has the ledger say what they are: for who ended in the middle of exchanging them.
///
/// # Errors
/// When index or disk refuse.
pub async fn settle_files(app: &App, id: ClipId) -> Result<(), LibraryError> {
    let Some((clip, _)) = app.index.clip(id).await? else {
        return Ok(());
    };
    let (Some(served), Some(film)) = (clip.as_served(), clip.file_name.clone()) else {
        return Ok(());
    };
    let recorded = record(app, &served).await;
    let store = app.store.clone();
    let picture = served
        .outcome
        .as_ref()
        .is_some_and(|outcome| outcome.poster);
    let known = recorded.is_ok();
    let settled = blocking(move || {
        if known {
            store.settle(id, &film, picture)
        } else {
            // The ledger still tells of the old film; the picture is the new one's all the same.
            store.place_picture(id, &film, picture)
        }
    });
    let settled = settled.await;
    recorded?;
    match settled {
        // It is lost, which is for the sweep to tell.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        settled => Ok(settled?),
    }
}

/// Notes for the next start that a clip's files are not settled.
pub async fn note_unsettled(app: &App, id: ClipId) {
    let store = app.store.clone();
    if let Err(error) = blocking(move || store.note_unsettled(id)).await {
        tracing::warn!(clip = %id, %error, "a file that does not count stays beside a clip's");
    }
}
