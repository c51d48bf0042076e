//! How the windows of a clip come onto the disk: out of what is kept, out of one that is shared with clips that were asked for together, or
//! fetched. Whatever is wrong with what is kept, the source is asked instead.

use super::{JobError, chain};
use crate::app::App;
use crate::app::keeping::Wanted;
use crate::clip::{Clip, ClipId, Sharing};
use crate::cut::{Card, CutError, Fetched};
use crate::eviction;
use crate::library::blocking;
use crate::media::{Bench, MediaError};
use crate::recipe::{Recipe, Source};
use crate::room::{self, Marks};

/// Windows, and where they come from.
pub(super) struct Gathered {
    pub(super) fetched: Fetched,
    /// The clip under whose id what they come from is kept; none when they were fetched for this clip alone.
    pub(super) kept: Option<ClipId>,
}

/// Gets the windows of a clip.
///
/// # Errors
/// When they are not kept and cannot be fetched.
pub(super) async fn gather(
    app: &App,
    clip: &Clip,
    bench: &Bench<'_>,
) -> Result<Gathered, JobError> {
    for id in keys(clip) {
        if let Some(gathered) = from_kept(app, id, clip, bench).await? {
            return Ok(gathered);
        }
    }
    if let Some(sharing) = shared(clip)
        && let Some(gathered) = with_others(app, sharing, clip, bench).await?
    {
        return Ok(gathered);
    }
    fetch(app, clip, bench).await
}

/// Fetches them, whatever is kept.
///
/// # Errors
/// When they cannot be fetched.
pub(super) async fn fetch(app: &App, clip: &Clip, bench: &Bench<'_>) -> Result<Gathered, JobError> {
    // Files of before may have second names elsewhere, and must not be written into.
    let (store, id) = (app.store.clone(), clip.id);
    blocking(move || store.work_dir(id)).await?;
    Ok(Gathered {
        fetched: app.tools.fetch(bench, &clip.recipe).await?,
        kept: None,
    })
}

/// Keeps what was fetched for a clip, as long as there is room. That it is not kept is no reason for anything to fail.
pub(super) async fn keep(app: &App, clip: &Clip, bench: &Bench<'_>, gathered: &Gathered) {
    if gathered.kept.is_none()
        && let Source::Url(_) = clip.recipe.source
        && let Some(card) = &gathered.fetched.card
    {
        put(app, clip.id, bench, card).await;
        // Whoever removed the clip meanwhile came too early to take it along; whoever does from here on, does not.
        if let Ok(states) = app.index.states(vec![clip.id]).await
            && states.contains(&(clip.id, None))
        {
            forget(app, clip.id).await;
        }
    }
}

/// Forgets what was kept under an id, because nothing can be cut from it.
pub(super) async fn forget(app: &App, id: ClipId) {
    let windows = app.windows.clone();
    if let Err(error) = blocking(move || windows.remove(id)).await {
        tracing::warn!(clip = %id, %error, "a kept window that is of no use could not be removed");
    }
}

/// Under which ids something for a clip may be kept.
fn keys(clip: &Clip) -> Vec<ClipId> {
    let Source::Url(_) = clip.recipe.source else {
        return Vec::new();
    };
    let first = clip.sharing.map(|sharing| sharing.first);
    let first = first.filter(|first| *first != clip.id);
    std::iter::once(clip.id).chain(first).collect()
}

/// What a clip shares with others, when it is made for the first time and lies within.
fn shared(clip: &Clip) -> Option<Sharing> {
    let span = clip.recipe.span();
    clip.sharing.filter(|sharing| {
        clip.version == 0 && sharing.span.start <= span.start && span.end <= sharing.span.end
    })
}

async fn from_kept(
    app: &App,
    id: ClipId,
    clip: &Clip,
    bench: &Bench<'_>,
) -> Result<Option<Gathered>, JobError> {
    let (windows, dir) = (app.windows.clone(), bench.dir.to_owned());
    let (recipe, most) = (clip.recipe.clone(), bench.engine.max_height);
    let lent = blocking(move || {
        let Some(kept) = windows.find(id) else {
            return Ok(None);
        };
        let Some(card) = Card::read(&kept.card).filter(|card| card.may_serve(&recipe, most)) else {
            return Ok(None);
        };
        for name in card.files() {
            // It stays ours, whatever goes meanwhile. What was lent of another one is in the way.
            let to = dir.join(lent_name(name));
            match std::fs::remove_file(&to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            kept.lend(name, &to)?;
        }
        Ok(Some(card))
    });
    let card = match lent.await {
        Ok(Some(card)) => card,
        Ok(None) => return Ok(None),
        Err(error) => {
            tracing::debug!(clip = %clip.id, %error, "a kept window could not be lent");
            return Ok(None);
        }
    };
    let place = |name: &str| bench.dir.join(lent_name(name));
    match app.tools.refetch(bench, &clip.recipe, &card, place).await {
        Ok(Some(fetched)) => Ok(Some(Gathered {
            fetched,
            kept: Some(id),
        })),
        Ok(None) => Ok(None),
        Err(CutError::Media(MediaError::Stopped)) => Err(stopped()),
        Err(error) => {
            tracing::warn!(clip = %clip.id, error = %chain(&error), "a kept window cannot be read");
            forget(app, id).await;
            Ok(None)
        }
    }
}

fn lent_name(name: &str) -> String {
    format!("kept-{name}")
}

/// Gets the windows out of what the first of the clips that share it fetches for all of them.
async fn with_others(
    app: &App,
    sharing: Sharing,
    clip: &Clip,
    bench: &Bench<'_>,
) -> Result<Option<Gathered>, JobError> {
    let thing = format!("window {}", sharing.first);
    let _turn = tokio::select! {
        turn = app.desk.turn(&thing) => turn,
        () = bench.stop.cancelled() => return Err(stopped()),
    };
    if let Some(gathered) = from_kept(app, sharing.first, clip, bench).await? {
        return Ok(Some(gathered));
    }
    let windows = app.windows.clone();
    if blocking(move || Ok(windows.is_given_up(sharing.first))).await? {
        return Ok(None);
    }
    let recipe = Recipe {
        segments: vec![sharing.span],
        ..clip.recipe.clone()
    };
    let wide = match app.tools.fetch(bench, &recipe).await {
        Ok(wide) => wide,
        Err(CutError::Media(MediaError::Stopped)) => return Err(stopped()),
        Err(error) => {
            tracing::warn!(clip = %clip.id, error = %chain(&error), "clips that were asked for together are fetched one by one");
            give_up(app, sharing.first).await;
            return Ok(None);
        }
    };
    let Some(card) = &wide.card else {
        give_up(app, sharing.first).await;
        return Ok(None);
    };
    if !put(app, sharing.first, bench, card).await {
        give_up(app, sharing.first).await;
    }
    let place = |name: &str| bench.dir.join(name);
    let own = match app.tools.refetch(bench, &clip.recipe, card, place).await {
        Err(CutError::Media(MediaError::Stopped)) => return Err(stopped()),
        own => own,
    };
    match own {
        Ok(Some(mut own)) => {
            own.bytes = wide.bytes;
            own.seconds += wide.seconds;
            return Ok(Some(Gathered {
                fetched: own,
                kept: Some(sharing.first),
            }));
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(clip = %clip.id, error = %chain(&error), "a shared window cannot be read");
        }
    }
    // Else each of the others would fetch all of it, and for nothing.
    give_up(app, sharing.first).await;
    Ok(None)
}

/// Keeps files of a job under an id; false when they are not kept.
async fn put(app: &App, id: ClipId, bench: &Bench<'_>, card: &Card) -> bool {
    let engine = &app.settings.engine;
    let most = engine.window_bytes.0;
    if engine.window_hours == 0 || most == 0 || !there_is_room(app).await {
        return false;
    }
    let Ok(bytes) = serde_json::to_vec(card) else {
        return false;
    };
    let files = card.files().into_iter().map(|name| bench.dir.join(name));
    let (windows, files) = (app.windows.clone(), files.collect::<Vec<_>>());
    let kept = blocking(move || {
        let kept = windows.keep(id, &files, &bytes, most)?;
        for window in windows.over(most)? {
            windows.remove(window.id)?;
        }
        Ok(kept)
    });
    match kept.await {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!(clip = %id, %error, "what was fetched for a clip is not kept");
            false
        }
    }
}

/// Whether nothing has to go as things stand.
async fn there_is_room(app: &App) -> bool {
    let marks = Marks::of(&app.settings);
    match room::standing(app).await {
        Ok(standing) => eviction::goal(&standing, &marks, Wanted::default()).is_none(),
        // What cannot be told is taken for full.
        Err(_) => false,
    }
}

/// Nobody else is to wait for this window.
async fn give_up(app: &App, id: ClipId) {
    let windows = app.windows.clone();
    if let Err(error) = blocking(move || windows.give_up(id)).await {
        tracing::debug!(clip = %id, %error, "it could not be noted that there is no window");
    }
}

fn stopped() -> JobError {
    CutError::Media(MediaError::Stopped).into()
}
