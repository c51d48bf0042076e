//! What a power cut or a lost disk leaves behind: files of no clip, clips without files, folders of jobs that run no more.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::{Manner, PAUSE, Removal, Report, What};
use crate::app::{App, What as News};
use crate::clip::{ClipId, Failure, State};
use crate::index::events::{From, Kind, Page};
use crate::index::going::Ending;
use crate::library::{LibraryError, blocking, ledger_entry};
use crate::repair::entry;
use crate::store::lost::set_aside;
use crate::store::places::Places;
use crate::trash::turn_of;

/// So many are looked up in one go.
const BATCH: usize = 500;
/// A folder is young while its clip may still be on the way into the index.
const YOUNG: Duration = Duration::from_secs(3600);
/// When so many clips, and most of all, have no files, it is the disk that is missing; the other way round it is the index.
const SUSPICIOUS: usize = 10;

/// What has not changed since is old.
fn young() -> SystemTime {
    SystemTime::now() - YOUNG
}

/// Published folders that no ready clip owns, and folders in the trash that the index does not know.
pub(super) async fn files(
    app: &App,
    manner: Manner,
    report: &mut Report,
) -> Result<(), LibraryError> {
    let store = app.store.clone();
    let published = blocking(move || store.published_before(young())).await?;
    let mut nobodys = Vec::new();
    let mut unknown = 0;
    for ids in published.chunks(BATCH) {
        for (id, state) in app.index.states_of_files(ids.to_vec()).await? {
            if why(state).is_some() {
                nobodys.push(id);
                unknown += usize::from(state.is_none());
            }
        }
    }
    if unknown >= SUSPICIOUS && unknown * 2 > published.len() {
        return Err(told(format!(
            "{unknown} of {} folders of files belong to no known clip: is this the right index? Nothing was changed",
            published.len()
        )));
    }
    let mut left = 0_u64;
    for id in nobodys {
        let _turn = app.desk.turn(&turn_of(id)).await;
        let now = app.index.states_of_files(vec![id]).await?;
        let state = now.first().and_then(|(_, state)| *state);
        let Some(reason) = why(state) else { continue };
        match standing(app, id, state).await? {
            Standing::Recoverable => left += 1,
            Standing::Trash => to_trash(app, manner, id, state).await?,
            Standing::Nobodys => {
                let store = app.store.clone();
                let bytes = blocking(move || {
                    let bytes = store.size(id);
                    if manner == Manner::Remove {
                        store.remove_files(id)?;
                        if state.is_none() {
                            store.remove_ledger(id)?;
                        }
                    }
                    Ok(bytes)
                });
                report.add(orphan(id, bytes.await?, &reason));
            }
            Standing::Doubtful => set_apart(app, manner, id).await?,
        }
    }
    let store = app.store.clone();
    let aside = blocking(move || store.aside_before(young())).await?;
    for id in aside {
        let _turn = app.desk.turn(&turn_of(id)).await;
        if app.index.in_trash(id).await? {
            continue;
        }
        let store = app.store.clone();
        let bytes = blocking(move || {
            let bytes = store.size_aside(id);
            if manner == Manner::Remove {
                store.empty(id)?;
            }
            Ok(bytes)
        });
        let reason = "trash that is not in the index";
        report.add(orphan(id, bytes.await?, reason));
    }
    if left > 0 {
        return Err(told(format!(
            "{left} clips have files and an entry in the ledger and are not in the index: stop the service and run meme-maker fsck \
             --repair, which takes them back. Nothing of them was changed"
        )));
    }
    Ok(())
}

/// What files are whose clip is not ready.
enum Standing {
    /// An interruption kept them from the trash, which lists them.
    Trash,
    /// A repair would take them back.
    Recoverable,
    /// The ledger says something, and not that they are ready.
    Doubtful,
    Nobodys,
}

async fn standing(app: &App, id: ClipId, state: Option<State>) -> Result<Standing, LibraryError> {
    let store = app.store.clone();
    let aside = blocking(move || Ok(store.is_aside(id))).await?;
    if !aside && app.index.in_trash(id).await? {
        return Ok(Standing::Trash);
    }
    if state.is_some() {
        return Ok(Standing::Nobodys);
    }
    let page = Page {
        from: From::Newest,
        kind: None,
        subject: Some(id.to_string()),
        limit: 1,
    };
    let last = app.index.trail(page).await?;
    if last
        .first()
        .is_some_and(|entry| entry.kind == Kind::Removed.as_str())
    {
        // Interrupted after the index had forgotten it.
        return Ok(Standing::Nobodys);
    }
    let path = Places::of(&app.settings).entry(id);
    let entry = blocking(move || match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    Ok(match entry.await?.map(|bytes| entry::read(id, &bytes)) {
        None => Standing::Nobodys,
        Some(Ok(clip)) if clip.state == State::Ready => Standing::Recoverable,
        Some(Ok(_) | Err(_)) => Standing::Doubtful,
    })
}

async fn to_trash(
    app: &App,
    manner: Manner,
    id: ClipId,
    state: Option<State>,
) -> Result<(), LibraryError> {
    if manner == Manner::Preview {
        return Ok(());
    }
    let store = app.store.clone();
    blocking(move || {
        store.put_aside(id)?;
        if state.is_none() {
            store.remove_ledger(id)?;
        }
        Ok(())
    })
    .await?;
    tracing::info!(clip = %id, "files that the trash lists are in the trash now");
    Ok(())
}

async fn set_apart(app: &App, manner: Manner, id: ClipId) -> Result<(), LibraryError> {
    if manner == Manner::Preview {
        return Ok(());
    }
    let places = Places::of(&app.settings);
    let to = blocking(move || set_aside(&places, "file_orphan", &places.clip(id))).await?;
    tracing::warn!(clip = %id, to = %to.display(), "files of no known clip are set aside");
    Ok(())
}

/// What keeps a part of the clean-up from being done.
fn told(sentence: String) -> LibraryError {
    LibraryError::Io(std::io::Error::other(sentence))
}

fn why(state: Option<State>) -> Option<String> {
    match state {
        Some(State::Ready | State::Storing) => None,
        Some(state) => Some(format!("files of a clip that is {}", state.as_str())),
        None => Some("files of no known clip".to_owned()),
    }
}

fn orphan(id: ClipId, bytes: u64, reason: &str) -> Removal {
    Removal {
        what: What::Orphans,
        id: id.to_string(),
        title: String::new(),
        bytes,
        reason: reason.to_owned(),
    }
}

/// Ready clips without files. They end, and can be made again.
pub(super) async fn rows(
    app: &App,
    manner: Manner,
    report: &mut Report,
) -> Result<(), LibraryError> {
    let mut lost = HashMap::new();
    let (mut looked, mut after) = (0, None);
    loop {
        let page = app.index.ready_clips(after, BATCH).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        looked += page.len();
        let (store, ids) = (app.store.clone(), page.iter().map(|clip| clip.id).collect());
        let missing = blocking(move || {
            let ids: Vec<ClipId> = ids;
            Ok(store.missing(&ids))
        });
        for id in missing.await? {
            if let Some(clip) = page.iter().find(|clip| clip.id == id) {
                lost.insert(id, clip.clone());
            }
        }
        if manner == Manner::Remove {
            tokio::task::yield_now().await;
        }
    }
    if lost.len() >= SUSPICIOUS && lost.len() * 2 > looked {
        return Err(told(format!(
            "{} of {looked} clips have no files: is the storage mounted? Nothing was changed",
            lost.len()
        )));
    }
    let mut ids: Vec<ClipId> = lost.keys().copied().collect();
    ids.sort();
    for ids in ids.chunks(100) {
        let mut gone: Vec<ClipId> = ids.to_vec();
        if manner == Manner::Remove {
            gone = end(app, ids).await?;
            tokio::time::sleep(PAUSE).await;
        }
        for clip in gone.iter().filter_map(|id| lost.get(id)) {
            report.add(Removal {
                what: What::LostClips,
                id: clip.id.to_string(),
                title: clip.title.clone(),
                bytes: 0,
                reason: "its files are gone".to_owned(),
            });
        }
    }
    Ok(())
}

async fn end(app: &App, ids: &[ClipId]) -> Result<Vec<ClipId>, LibraryError> {
    // One that was removed or brought back since has a turn of its own and another state.
    let store = app.store.clone();
    let looked = ids.to_vec();
    let still = blocking(move || Ok(store.missing(&looked))).await?;
    let ending = Ending {
        kind: Kind::Expired,
        failure: Failure {
            code: "clip_lost".to_owned(),
            detail: "The file of this clip is lost.".to_owned(),
            hint: "Make it again: its recipe is kept.".to_owned(),
        },
        why: "its files are gone".to_owned(),
    };
    let ended = app.index.end_some(app.now(), still, ending).await?;
    let mut gone = Vec::with_capacity(ended.len());
    for ended in ended {
        let (store, id) = (app.store.clone(), ended.clip.id);
        let entry = ledger_entry(&ended.clip);
        blocking(move || store.write_ledger(id, &entry)).await?;
        app.bus.tell(id, News::State(ended.seq));
        tracing::warn!(clip = %id, "a clip has lost its files");
        gone.push(id);
    }
    Ok(gone)
}

/// Folders of jobs that nobody works on.
pub(super) async fn work(
    app: &App,
    manner: Manner,
    report: &mut Report,
) -> Result<(), LibraryError> {
    let store = app.store.clone();
    let mut folders = blocking(move || store.working_before(young())).await?;
    folders.sort();
    folders.dedup();
    for (id, state) in app.index.states(folders).await? {
        if state.is_some_and(State::is_running) || app.jobs.holds(id) {
            continue;
        }
        let store = app.store.clone();
        let bytes = blocking(move || {
            let bytes = store.size_of_work(id);
            if manner == Manner::Remove {
                store.remove_work(id)?;
            }
            Ok(bytes)
        });
        report.add(Removal {
            what: What::Work,
            id: id.to_string(),
            title: String::new(),
            bytes: bytes.await?,
            reason: "left over from a job that runs no more".to_owned(),
        });
    }
    Ok(())
}
