//! Sources that nobody has looked at for long, previews of no source or beyond their budget, kept windows, and trash whose time has come.

use std::time::Duration;

use super::{Manner, PAUSE, Removal, Report, What, clips};
use crate::app::App;
use crate::index::going::Records;
use crate::index::trash::Trashed;
use crate::library::{LibraryError, blocking};
use crate::store::windows::Surplus;
use crate::trash;

pub(super) async fn previews(
    app: &App,
    manner: Manner,
    report: &mut Report,
) -> Result<(), LibraryError> {
    let now = app.now();
    let over = now.plus_millis(1);
    clips::forget(app, Records::Sources, What::Sources, over, manner, report).await?;
    let known = app.index.source_ids(now).await?;
    let (previews, most) = (app.previews.clone(), app.settings.storage.preview_bytes);
    let (strays, surplus) = blocking(move || match manner {
        Manner::Preview => {
            let strays = previews.strays(&known)?;
            let gone: u64 = strays.iter().map(|(_, bytes)| bytes).sum();
            // What goes with its source leaves that much more room.
            let mut surplus = previews.surplus(most.0.saturating_add(gone))?;
            surplus.retain(|part| known.contains(&part.id));
            Ok((strays, surplus))
        }
        Manner::Remove => Ok((
            previews.retain_by_source(&known)?,
            previews.shrink_by_part(most.0)?,
        )),
    })
    .await?;
    for (id, bytes) in strays {
        report.add(Removal {
            what: What::Previews,
            id: id.to_string(),
            title: "all".to_owned(),
            bytes,
            reason: "previews of a source that is forgotten".to_owned(),
        });
    }
    for part in surplus {
        report.add(Removal {
            what: What::Previews,
            id: part.id.to_string(),
            title: part.part,
            bytes: part.bytes,
            reason: format!("previews take more than {most}"),
        });
    }
    Ok(())
}

/// Windows of clips that are gone, that have been kept long enough, or that there are too many of.
pub(super) async fn windows(
    app: &App,
    manner: Manner,
    report: &mut Report,
) -> Result<(), LibraryError> {
    let engine = &app.settings.engine;
    let (hours, most) = (engine.window_hours, engine.window_bytes);
    let windows = app.windows.clone();
    let all = blocking(move || windows.all()).await?;
    let ids = all.iter().map(|window| window.id).collect();
    let states = app.index.states(ids).await?;
    let is_gone = |id| {
        states
            .iter()
            .any(|(known, state)| *known == id && state.is_none())
    };
    let mut going: Vec<(Surplus, String)> = all
        .iter()
        .filter(|window| is_gone(window.id))
        .map(|window| (*window, "the window of a clip that is gone".to_owned()))
        .collect();
    let windows = app.windows.clone();
    let age = Duration::from_secs(u64::from(hours) * 3600);
    let old = blocking(move || windows.older(age)).await?;
    add(&mut going, old, &format!("kept for {hours} hours"));
    let gone: u64 = going.iter().map(|(window, _)| window.bytes).sum();
    let windows = app.windows.clone();
    // What goes anyway leaves that much more room.
    let over = blocking(move || windows.over(most.0.saturating_add(gone))).await?;
    add(
        &mut going,
        over,
        &format!("kept windows take more than {most}"),
    );
    for (window, reason) in going {
        if manner == Manner::Remove {
            let windows = app.windows.clone();
            blocking(move || windows.remove(window.id)).await?;
        }
        report.add(Removal {
            what: What::Windows,
            id: window.id.to_string(),
            title: String::new(),
            bytes: window.bytes,
            reason,
        });
    }
    Ok(())
}

fn add(going: &mut Vec<(Surplus, String)>, more: Vec<Surplus>, reason: &str) {
    for window in more {
        if !going.iter().any(|(known, _)| known.id == window.id) {
            going.push((window, reason.to_owned()));
        }
    }
}

pub(super) async fn trash(
    app: &App,
    manner: Manner,
    report: &mut Report,
) -> Result<(), LibraryError> {
    let horizon = trash::horizon(app);
    let mut after = None;
    loop {
        let page = app.index.trash(horizon, after, trash::BATCH).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        // What stays is not looked at twice.
        after = Some((last.trashed_at, last.id));
        let gone = match manner {
            Manner::Preview => page,
            Manner::Remove => {
                let gone = trash::empty(app, page, report).await?;
                tokio::time::sleep(PAUSE).await;
                gone
            }
        };
        for entry in gone {
            report.add(removal(app, entry));
        }
    }
}

fn removal(app: &App, entry: Trashed) -> Removal {
    Removal {
        what: What::Trash,
        id: entry.id.to_string(),
        bytes: entry.bytes,
        reason: format!(
            "{} at {}, in the trash until {}",
            entry.why,
            entry.trashed_at,
            trash::goes_at(app, &entry)
        ),
        title: entry.title,
    }
}
