//! Clips whose time has come, clips of the past, and old records: in batches, so that nobody waits for them.

use super::{Manner, PAUSE, Removal, Report, What};
use crate::app::{App, What as News};
use crate::clip::{ClipId, State};
use crate::index::going::{Ended, Records};
use crate::index::trash::Fate;
use crate::library::{LibraryError, blocking, ledger_entry};
use crate::timestamp::Timestamp;
use crate::trash::{self, turn_of};

/// So many go in one transaction.
const BATCH: usize = 50;
/// Records are smaller.
const RECORDS: usize = 500;

/// Expires clips whose time has come: first in the index, so that nobody is served half a removal, then on the disk. What an
/// interruption leaves between the two are files of no ready clip, which the sweep of orphans takes.
pub(super) async fn due(
    app: &App,
    manner: Manner,
    report: &mut Report,
) -> Result<(), LibraryError> {
    let now = app.now();
    let (mut after, mut expired) = (None, 0);
    loop {
        match manner {
            Manner::Preview => {
                let page = app.index.due_clips(now, after, BATCH).await?;
                let Some(last) = page.last() else {
                    return Ok(());
                };
                after = Some((last.expires_at, last.id));
                for clip in page {
                    report.add(removal(clip.id, clip.title, clip.bytes, clip.expires_at));
                }
            }
            Manner::Remove => {
                let fate = trash::fate(app).await;
                let batch = app.index.expire_some(now, BATCH, fate).await?;
                if batch.is_empty() {
                    if expired > 0 {
                        let store = app.store.clone();
                        blocking(move || store.sync_ledger()).await?;
                    }
                    return Ok(());
                }
                expired += batch.len();
                put_away(app, &batch, fate, report).await;
                for ended in batch {
                    let clip = ended.clip;
                    let at = clip.expires_at.unwrap_or(now);
                    report.add(removal(clip.id, clip.title, ended.bytes, at));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn removal(id: ClipId, title: String, bytes: u64, at: Timestamp) -> Removal {
    Removal {
        what: What::Clips,
        id: id.to_string(),
        title,
        bytes,
        reason: format!("expired at {at}"),
    }
}

async fn put_away(app: &App, batch: &[Ended], fate: Fate, report: &mut Report) {
    for ended in batch {
        let (store, id) = (app.store.clone(), ended.clip.id);
        let _turn = app.desk.turn(&turn_of(id)).await;
        match still_expired(app, id).await {
            Ok(true) => {}
            // Somebody brought it back or has it made again: its files are theirs.
            Ok(false) => continue,
            Err(error) => {
                report.fail("clips", &error);
                continue;
            }
        }
        let entry = ledger_entry(&ended.clip);
        // Files first: on a full disk the ledger needs the room that they give. An entry that was not written says that the clip is
        // ready until a moment that is over.
        let put = blocking(move || {
            match fate {
                Fate::Trash => store.put_aside(id)?,
                Fate::Gone => store.remove_files(id)?,
            }
            store.note_ledger(id, &entry)
        });
        if let Err(error) = put.await {
            // The sweep takes its files.
            report.fail("clips", &error);
        }
    }
    for ended in batch {
        let id = ended.clip.id;
        app.bus.tell(id, News::State(ended.seq));
        metrics::counter!("meme_maker_clips_expired_total").increment(1);
        tracing::debug!(clip = %id, bytes = ended.bytes, "clip expired");
    }
}

/// Whether a clip is expired as before; asked by who holds its turn.
pub(super) async fn still_expired(app: &App, id: ClipId) -> Result<bool, LibraryError> {
    let states = app.index.states(vec![id]).await?;
    Ok(states
        .iter()
        .any(|(_, state)| *state == Some(State::Expired)))
}

/// Clips that have been expired, failed or cancelled for long.
pub(super) async fn history(
    app: &App,
    manner: Manner,
    report: &mut Report,
) -> Result<(), LibraryError> {
    let horizon = app.now().minus_days(app.settings.retention.history_days);
    if manner == Manner::Preview {
        report.count(What::History, app.index.past_clips(horizon).await?);
        return Ok(());
    }
    loop {
        let gone = app.index.forget_past(app.now(), horizon, BATCH).await?;
        if gone.is_empty() {
            return Ok(());
        }
        report.count(What::History, gone.len() as u64);
        for id in gone {
            app.bus.tell(id, News::Removed);
            let _turn = app.desk.turn(&turn_of(id)).await;
            let store = app.store.clone();
            // All three are tried: files that stay are found by the sweep, an entry that stays would bring the clip back.
            let removed = blocking(move || {
                let files = store.remove_files(id);
                let aside = store.empty(id);
                store.remove_ledger(id).and(files).and(aside)
            });
            if let Err(error) = removed.await {
                report.fail("history", &error);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Events, results of checks, readings and keys that have outlived their time.
pub(super) async fn records(
    app: &App,
    manner: Manner,
    report: &mut Report,
) -> Result<(), LibraryError> {
    let now = app.now();
    let retention = &app.settings.retention;
    let keys = i64::from(app.settings.limits.idempotency_hours) * 3_600_000;
    for (records, what, horizon) in [
        (
            Records::Events,
            What::Events,
            now.minus_days(retention.events_days),
        ),
        (
            Records::HealthChecks,
            What::HealthChecks,
            now.minus_days(retention.health_checks_days),
        ),
        (
            Records::Samples,
            What::Samples,
            now.minus_days(retention.samples_days),
        ),
        (
            Records::IdempotencyKeys,
            What::IdempotencyKeys,
            now.plus_millis(-keys),
        ),
    ] {
        forget(app, records, what, horizon, manner, report).await?;
    }
    Ok(())
}

/// Records of before a moment, by their number.
pub(super) async fn forget(
    app: &App,
    records: Records,
    what: What,
    horizon: Timestamp,
    manner: Manner,
    report: &mut Report,
) -> Result<(), LibraryError> {
    if manner == Manner::Preview {
        report.count(what, app.index.count_records(records, horizon).await?);
        return Ok(());
    }
    loop {
        let gone = app.index.forget_records(records, horizon, RECORDS).await?;
        report.count(what, gone as u64);
        if gone < RECORDS {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
