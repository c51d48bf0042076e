//! Eviction: what goes when there is too much, and in which order: kept windows, the trash, previews, then the clips that are worth least. Uploads go
//! by their own time; what is pinned, waits or runs does not go.

use crate::app::keeping::Wanted;
use crate::app::{App, What};
use crate::bytes::Bytes;
use crate::clip::Failure;
use crate::index::events::Kind;
use crate::index::going::{Candidate, Ended, Ending};
use crate::library::{LibraryError, blocking, ledger_entry};
use crate::retention::{self, Removal, Report, What as Thing};
use crate::room::{self, FILES, Marks, Standing};
use crate::timestamp::Timestamp;
use crate::{sources, trash};

/// The code that an evicted clip carries.
pub const EVICTED: &str = "clip_evicted";
/// Clips that go in one transaction.
const BATCH: usize = 50;
/// Files that go with a clip: its folder, itself and its poster.
const FILES_OF_CLIP: u64 = 3;

/// Where clips have gone for a disk that gained nothing, none go for it so long, in milliseconds.
const VAIN: i64 = 15 * 60_000;

/// Whether clips may go for a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clips {
    MayGo,
    /// Others fill the disk: that is not paid with clips.
    Stay,
}

/// For whose sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sake {
    /// So much is ours at most.
    Budget,
    /// The disk has to have room; it is looked at whether it has more then.
    Disk,
}

/// What has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    pub bytes: u64,
    pub files: u64,
    pub clips: Clips,
    pub sake: Sake,
    /// In words.
    pub why: String,
}

impl Goal {
    fn is_met(&self) -> bool {
        self.bytes == 0 && self.files == 0
    }

    fn less(&mut self, bytes: u64, files: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.files = self.files.saturating_sub(files);
    }
}

/// What has to go as things stand, so that what was refused would fit; nothing when all is well.
pub fn goal(standing: &Standing, marks: &Marks, wanted: Wanted) -> Option<Goal> {
    // What is promised counts as taken: who was let in is not to find the disk full.
    let used = standing.spoken_for();
    let (floor, free) = (marks.floor, standing.available());
    // One refusal costs no more than bringing a full storage down.
    let most = marks.most.saturating_sub(marks.low);
    let wanted = Wanted {
        budget: wanted.budget.min(most),
        disk: wanted.disk.min(most),
    };
    // Begun before the floor is reached, so that nobody is turned away for want of a clean-up.
    let short = free < floor.saturating_add(floor / 8) || wanted.disk > 0;
    let few = standing.disks.left.files.filter(|files| *files < FILES);
    let over = used > marks.high || wanted.budget > 0;
    if !(over || short || few.is_some()) {
        return None;
    }
    let for_budget = if used > marks.high {
        used.saturating_sub(marks.low).max(wanted.budget)
    } else {
        wanted.budget
    };
    let for_disk = if short {
        let level = floor.saturating_add(floor / 4).saturating_sub(free);
        level.max(wanted.disk)
    } else {
        0
    };
    let ours = standing.fills(standing.disks.bytes);
    let why = if over {
        format!("{} of {} are in use", Bytes(used), Bytes(marks.most))
    } else if short {
        format!(
            "{} are free on the disk, and {} should be",
            Bytes(free),
            Bytes(floor)
        )
    } else {
        format!("the disk can hold {} more files", few.unwrap_or_default())
    };
    let few_of_ours = few.is_some() && standing.fills(standing.disks.files);
    let for_files = few.map_or(0, |files| 2 * FILES - files);
    // Clips go for the budget, and for a disk that is full of them: one that holds none has nothing of it.
    let (bytes, files, clips) = if over || (short && ours) || few_of_ours {
        let for_disk = if ours { for_disk } else { 0 };
        let for_files = if few_of_ours { for_files } else { 0 };
        (for_budget.max(for_disk), for_files, Clips::MayGo)
    } else {
        (for_disk, for_files, Clips::Stay)
    };
    Some(Goal {
        bytes,
        files,
        clips,
        sake: if over { Sake::Budget } else { Sake::Disk },
        why,
    })
}

/// Removes kept windows, trash and previews for so many bytes and files more; returns how many bytes that gave. What cannot go is told in the log.
pub async fn drop_caches(app: &App, bytes: u64, files: u64) -> u64 {
    let mut goal = Goal {
        bytes,
        files,
        clips: Clips::Stay,
        sake: Sake::Disk,
        why: "there is no room for something new".to_owned(),
    };
    let mut report = Report::default();
    caches(app, &mut goal, &mut report).await;
    report.bytes
}

/// Kept windows go, the trash, then previews; what of it cannot go keeps neither the rest nor what comes after.
async fn caches(app: &App, goal: &mut Goal, report: &mut Report) {
    if let Err(error) = drop_windows(app, goal, report).await {
        report.fail("windows", &error);
    }
    if let Err(error) = drop_trash(app, goal, report).await {
        report.fail("trash", &error);
    }
    if let Err(error) = drop_previews(app, goal, report).await {
        report.fail("previews", &error);
    }
}

async fn drop_windows(app: &App, goal: &mut Goal, report: &mut Report) -> Result<(), LibraryError> {
    if goal.is_met() {
        return Ok(());
    }
    let wanted = if goal.files > 0 { u64::MAX } else { goal.bytes };
    let windows = app.windows.clone();
    let going = blocking(move || {
        let all = windows.bytes()?;
        let going = windows.over(all.saturating_sub(wanted))?;
        going
            .iter()
            .try_for_each(|window| windows.remove(window.id))?;
        Ok(going)
    });
    for window in going.await? {
        goal.less(window.bytes, FILES_OF_CLIP);
        counted("window");
        report.add(Removal {
            what: Thing::Windows,
            id: window.id.to_string(),
            title: String::new(),
            bytes: window.bytes,
            reason: goal.why.clone(),
        });
    }
    Ok(())
}

async fn drop_trash(app: &App, goal: &mut Goal, report: &mut Report) -> Result<(), LibraryError> {
    let mut after = None;
    while !goal.is_met() {
        let page = app
            .index
            .trash(Timestamp(i64::MAX), after, trash::BATCH)
            .await?;
        let Some(last) = page.last() else { break };
        // What stays is not chosen twice.
        after = Some((last.trashed_at, last.id));
        let mut ahead = goal.clone();
        let mut going = Vec::new();
        for entry in page {
            if ahead.is_met() {
                break;
            }
            ahead.less(entry.bytes, FILES_OF_CLIP);
            after = Some((entry.trashed_at, entry.id));
            going.push(entry);
        }
        for entry in trash::empty(app, going, report).await? {
            goal.less(entry.bytes, FILES_OF_CLIP);
            counted("trash");
            report.add(Removal {
                what: Thing::Trash,
                id: entry.id.to_string(),
                title: entry.title,
                bytes: entry.bytes,
                reason: goal.why.clone(),
            });
        }
    }
    Ok(())
}

async fn drop_previews(
    app: &App,
    goal: &mut Goal,
    report: &mut Report,
) -> Result<(), LibraryError> {
    if goal.is_met() {
        return Ok(());
    }
    let wanted = if goal.files > 0 { u64::MAX } else { goal.bytes };
    for part in sources::make_room(app, wanted).await? {
        goal.less(part.bytes, 1);
        counted("preview");
        report.add(Removal {
            what: Thing::Previews,
            id: part.id.to_string(),
            title: part.part,
            bytes: part.bytes,
            reason: goal.why.clone(),
        });
    }
    Ok(())
}

fn counted(what: &'static str) {
    metrics::counter!("meme_maker_evictions_total", "what" => what).increment(1);
}

/// Makes room where it has run short.
///
/// # Errors
/// When index or disk refuse.
pub async fn run(app: &App, report: &mut Report) -> Result<(), LibraryError> {
    let marks = Marks::of(&app.settings);
    let wanted = app.keeping.take_wanted();
    let Some(mut goal) = goal(&room::standing(app).await?, &marks, wanted) else {
        return Ok(());
    };
    caches(app, &mut goal, report).await;
    if !goal.is_met() {
        let before = report.of(Thing::Clips);
        let bytes = report.bytes;
        if let Err(error) = retention::expire_clips(app, report).await {
            report.fail("clips", &error);
        }
        let count = report.of(Thing::Clips) - before;
        goal.less(report.bytes - bytes, count.saturating_mul(FILES_OF_CLIP));
    }
    let vain = goal.sake == Sake::Disk && app.keeping.vain_since(app.now().plus_millis(-VAIN));
    if goal.clips == Clips::MayGo && !vain {
        clips(app, &mut goal, report).await?;
    }
    Ok(())
}

async fn clips(app: &App, goal: &mut Goal, report: &mut Report) -> Result<(), LibraryError> {
    let before = room::disks(app).await?.left;
    while !goal.is_met() {
        let mut ahead = goal.clone();
        let mut going: Vec<Candidate> = Vec::new();
        for candidate in app.index.least_worth(BATCH).await? {
            if ahead.is_met() {
                break;
            }
            ahead.less(candidate.bytes, FILES_OF_CLIP);
            going.push(candidate);
        }
        if going.is_empty() {
            // Nothing is left that may go.
            break;
        }
        let ending = Ending {
            kind: Kind::Evicted,
            failure: Failure {
                code: EVICTED.to_owned(),
                detail: "This clip was removed before its time to make room.".to_owned(),
                hint: "Make it again: its recipe is kept.".to_owned(),
            },
            why: goal.why.clone(),
        };
        let reason = format!("removed to make room: {}", goal.why);
        let ids = going.iter().map(|candidate| candidate.id).collect();
        let ended = app.index.end_some(app.now(), ids, ending).await?;
        if ended.is_empty() {
            break;
        }
        let mut removed = 0;
        for ended in ended {
            let id = ended.clip.id;
            // It has ended in any case, and no other goes in its place: what stays of it is for the sweep.
            goal.less(ended.bytes, FILES_OF_CLIP);
            match remove(app, &ended).await {
                Ok(()) => removed += 1,
                Err(error) => report.fail("eviction", &error),
            }
            app.bus.tell(id, What::State(ended.seq));
            counted("clip");
            tracing::info!(clip = %id, bytes = ended.bytes, why = goal.why, "clip evicted");
            report.add(Removal {
                what: Thing::Clips,
                id: id.to_string(),
                title: ended.clip.title,
                bytes: ended.bytes,
                reason: reason.clone(),
            });
        }
        let moved = match goal.sake {
            Sake::Budget => true,
            Sake::Disk => {
                let now = room::disks(app).await?.left;
                now.free > before.free || now.files > before.files
            }
        };
        if removed == 0 || !moved {
            // Snapshots, a disk that takes no more orders, or others that write as fast: more clips would go for nothing.
            app.keeping.evicted_in_vain(app.now());
            let told = "clips have gone and the disk has no more room than before";
            report.fail("eviction", &std::io::Error::other(told));
            break;
        }
        // Others want to write, too.
        tokio::time::sleep(retention::PAUSE).await;
    }
    Ok(())
}

async fn remove(app: &App, ended: &Ended) -> Result<(), LibraryError> {
    let (store, id) = (app.store.clone(), ended.clip.id);
    let _turn = app.desk.turn(&trash::turn_of(id)).await;
    if !retention::still_expired(app, id).await? {
        // Somebody has it made again: its files are theirs.
        return Ok(());
    }
    let entry = ledger_entry(&ended.clip);
    // Files first: the ledger may need the room that they give.
    let removed = blocking(move || {
        store.remove_files(id)?;
        store.write_ledger(id, &entry)
    });
    Ok(removed.await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::keeping::Amounts;
    use crate::room::{Disks, Holds, Tight};
    use crate::store::disk::Left;

    const MARKS: Marks = Marks {
        floor: 800,
        most: 10_000,
        high: 9_000,
        low: 8_000,
    };

    fn standing(clips: u64, total: u64, free: u64, files: u64) -> Standing {
        let left = Left {
            total,
            free,
            files: Some(files),
        };
        let tight = Tight {
            holds: Holds::All,
            taken: total - free,
        };
        Standing {
            disks: Disks {
                left,
                bytes: tight,
                files: tight,
            },
            owed: 0,
            amounts: Amounts {
                clips,
                ..Amounts::default()
            },
            previews: 0,
            windows: 0,
        }
    }

    #[test]
    fn room_is_made_above_the_high_mark_and_near_the_floor() {
        use Clips::{MayGo, Stay};
        for (standing, wanted) in [
            // All is well, up to the mark and down to an eighth above the floor.
            (standing(9_000, 20_000, 5_000, 9999), None),
            (standing(0, 20_000, 900, 9999), None),
            // Too much is ours: down to the low mark.
            (
                standing(9_001, 20_000, 5_000, 9999),
                Some((1_001, 0, MayGo)),
            ),
            // The disk is small and full of ours: until there is room again.
            (standing(5_000, 8_000, 850, 9999), Some((150, 0, MayGo))),
            // Others fill the disk: only what nobody misses goes.
            (standing(500, 8_000, 0, 9999), Some((1_000, 0, Stay))),
            // Both: for our own part we pay.
            (standing(9_500, 90_000, 0, 9999), Some((1_500, 0, MayGo))),
            // Files run out.
            (standing(5_000, 8_000, 2_000, 56), Some((0, 456, MayGo))),
            (standing(10, 8_000, 2_000, 0), Some((0, 512, Stay))),
        ] {
            let found = goal(&standing, &MARKS, Wanted::default())
                .map(|goal| (goal.bytes, goal.files, goal.clips));
            assert_eq!(found, wanted, "{standing:?}");
        }
    }

    #[test]
    fn clips_go_only_for_the_disk_that_holds_them() {
        use Clips::{MayGo, Stay};
        for (holds, sums, wanted) in [
            (Holds::All, (5_000, 0), (1_000, 0, MayGo)),
            (Holds::Clips, (5_000, 0), (1_000, 0, MayGo)),
            // What fills it is not published.
            (Holds::Clips, (500, 5_000), (1_000, 0, Stay)),
            (Holds::Others, (5_000, 0), (1_000, 0, Stay)),
            // The budget asks for them all the same, and for no more than that.
            (Holds::Others, (9_001, 0), (1_001, 0, MayGo)),
        ] {
            let mut standing = standing(sums.0, 8_000, 0, 9999);
            standing.amounts.uploads = sums.1;
            standing.disks.bytes.holds = holds;
            let found = goal(&standing, &MARKS, Wanted::default())
                .map(|goal| (goal.bytes, goal.files, goal.clips));
            assert_eq!(found, Some(wanted), "{standing:?}");
        }
        let mut standing = standing(5_000, 8_000, 2_000, 56);
        standing.disks.files.holds = Holds::Others;
        let found = goal(&standing, &MARKS, Wanted::default())
            .map(|goal| (goal.bytes, goal.files, goal.clips));
        assert_eq!(found, Some((0, 456, Stay)));
    }

    #[test]
    fn what_was_refused_gets_room_within_bounds_and_promises_count_as_taken() {
        let with = |budget, disk| Wanted { budget, disk };
        for (clips, free, to_come, wanted, bytes) in [
            // Below the mark, and still too little for what was asked.
            (8_500, 9_000, 0, with(700, 0), Some(700)),
            (9_500, 9_000, 0, with(700, 0), Some(1_500)),
            (9_500, 9_000, 0, with(1_900, 0), Some(1_900)),
            (8_500, 9_000, 0, with(9_999, 0), Some(2_000)),
            (8_500, 2_000, 0, with(0, 700), Some(700)),
            (8_500, 2_000, 0, with(0, 9_999), Some(2_000)),
            // An upload on its way.
            (8_900, 9_000, 200, with(0, 0), Some(1_100)),
            (5_000, 2_000, 1_100, with(0, 0), None),
            (5_000, 2_000, 1_150, with(0, 0), Some(150)),
        ] {
            let mut standing = standing(clips, 10_000, free, 9999);
            standing.amounts.to_come = to_come;
            let found = goal(&standing, &MARKS, wanted).map(|goal| goal.bytes);
            assert_eq!(found, bytes, "{standing:?} {wanted:?}");
        }
    }

    #[test]
    fn what_the_ballast_gave_up_counts_as_taken() {
        let mut standing = standing(500, 8_000, 1_000, 9999);
        assert_eq!(goal(&standing, &MARKS, Wanted::default()), None);
        standing.owed = 200;
        assert_eq!(
            goal(&standing, &MARKS, Wanted::default()).map(|goal| goal.bytes),
            Some(200)
        );
    }
}
