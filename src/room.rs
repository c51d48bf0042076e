//! Room: what is in use, what is left, and whether something more fits beside what is promised already. What goes to make room is
//! told in `eviction`.

use crate::app::App;
use crate::bytes::Bytes;
use crate::config::Settings;
use crate::index::keeping::Amounts;
use crate::library::{LibraryError, blocking};
use crate::store::disk::{self, Left};
use crate::timestamp::Timestamp;
use crate::{eviction, worker::chain};

/// Room for the rest of an upload is kept so long after its last byte, in milliseconds: who promises gigabytes and sends none must not
/// keep others out for a day.
pub const UPLOAD_PROMISE: i64 = 3_600_000;
/// So many more files have to be possible on the disk; a clip takes some ten while it is made.
pub const FILES: u64 = 256;

/// Why something does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error(
        "the disk is too full: this may need {needed}, {available} are free and {floor} of them stay free"
    )]
    Disk {
        needed: Bytes,
        available: Bytes,
        floor: Bytes,
    },
    #[error(
        "the storage is full: this may need {needed}, and {used} of {most} are in use or promised"
    )]
    Storage {
        needed: Bytes,
        used: Bytes,
        most: Bytes,
    },
    #[error("the disk is too full: {0} more files are all that it can hold")]
    Files(u64),
}

/// The marks that the settings set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Of the disk: stays free.
    pub floor: u64,
    /// Of ours: never more.
    pub most: u64,
    /// Above this the keeper makes room, down to `low`.
    pub high: u64,
    pub low: u64,
}

impl Marks {
    /// From the settings.
    pub fn of(settings: &Settings) -> Marks {
        let most = settings.storage.max_bytes.0;
        let share = |percent: u32| (u128::from(most) * u128::from(percent) / 100) as u64;
        Marks {
            floor: settings.monitor.floor.0,
            most,
            high: share(settings.monitor.high_percent),
            low: share(settings.monitor.low_percent),
        }
    }
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The least that any of our disks has left.
    pub left: Left,
    /// Bytes of the free ones that the ballast has given up.
    pub owed: u64,
    pub amounts: Amounts,
    pub previews: u64,
}

impl Standing {
    /// Bytes that are ours, work in progress by what it is expected to take.
    pub fn used(&self) -> u64 {
        let amounts = &self.amounts;
        [
            amounts.clips,
            amounts.uploads,
            amounts.trash,
            amounts.work,
            self.previews,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// Bytes that are free and not owed to the ballast.
    pub fn free(&self) -> u64 {
        self.left.free.saturating_sub(self.owed)
    }

    /// Whether so many bytes fit; `own` of those promised already are the asker's.
    ///
    /// # Errors
    /// What is in the way, with the figures.
    pub fn fits(&self, marks: &Marks, needed: u64, own: u64) -> Result<(), NoRoom> {
        let promised = self.amounts.work.saturating_add(self.amounts.to_come);
        let promised = promised.saturating_sub(own);
        let available = self.free().saturating_sub(promised);
        if available < marks.floor.saturating_add(needed) {
            return Err(NoRoom::Disk {
                needed: Bytes(needed),
                available: Bytes(available),
                floor: Bytes(marks.floor),
            });
        }
        let used = self.used().saturating_add(self.amounts.to_come);
        let used = used.saturating_sub(own);
        if used.saturating_add(needed) > marks.most {
            return Err(NoRoom::Storage {
                needed: Bytes(needed),
                used: Bytes(used),
                most: Bytes(marks.most),
            });
        }
        match self.left.files {
            Some(files) if files < FILES => Err(NoRoom::Files(files)),
            Some(_) | None => Ok(()),
        }
    }
}

impl NoRoom {
    /// Bytes that have to go so that it fits.
    pub fn missing(&self) -> u64 {
        match self {
            NoRoom::Disk {
                needed,
                available,
                floor,
            } => floor.0.saturating_add(needed.0).saturating_sub(available.0),
            NoRoom::Storage { needed, used, most } => {
                used.0.saturating_add(needed.0).saturating_sub(most.0)
            }
            NoRoom::Files(_) => 0,
        }
    }

    /// Files that have to go so that it fits.
    pub fn missing_files(&self) -> u64 {
        match self {
            NoRoom::Disk { .. } | NoRoom::Storage { .. } => 0,
            NoRoom::Files(left) => FILES.saturating_sub(*left),
        }
    }
}

/// What our disks have left: of each figure the least.
///
/// # Errors
/// When a disk does not answer.
pub async fn left(app: &App) -> Result<Left, LibraryError> {
    let (store, uploads) = (app.store.clone(), app.uploads.root().to_owned());
    let looked = blocking(move || {
        let [clips, work] = store.roots();
        let mut least = disk::left(clips)?;
        for other in [work, &uploads] {
            let other = disk::left(other)?;
            if other.free < least.free {
                least.free = other.free;
                least.total = other.total;
            }
            least.files = match (least.files, other.files) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            };
        }
        Ok(least)
    });
    Ok(looked.await?)
}

/// How things stand at this moment.
///
/// # Errors
/// When index or disk cannot be read.
pub async fn standing(app: &App) -> Result<Standing, LibraryError> {
    let previews = app.previews.clone();
    let previews = blocking(move || previews.bytes()).await?;
    Ok(Standing {
        left: left(app).await?,
        owed: app.ballast.owed(),
        amounts: app.index.amounts(promised_since(app.now())).await?,
        previews,
    })
}

fn promised_since(now: Timestamp) -> Timestamp {
    now.plus_millis(-UPLOAD_PROMISE)
}

/// Refuses what does not fit beside everything that is promised already; `own` of the promised bytes are the asker's. What nobody
/// would miss goes before anybody is turned away.
///
/// # Errors
/// `NoRoom` with the figures.
pub async fn make_sure_of_room(app: &App, needed: u64, own: u64) -> Result<(), LibraryError> {
    let marks = Marks::of(&app.settings);
    let Err(why) = standing(app).await?.fits(&marks, needed, own) else {
        return Ok(());
    };
    let freed = eviction::drop_caches(app, why.missing(), why.missing_files()).await;
    if freed > 0 {
        app.freed(freed);
        if standing(app).await?.fits(&marks, needed, own).is_ok() {
            return Ok(());
        }
    }
    if matches!(why, NoRoom::Storage { .. }) {
        // The clips that are worth least are for the keeper to find: nobody waits for that.
        app.keeping.pressed.notify_one();
    }
    Err(why.into())
}

/// Something could not be written for want of room: the ballast goes at once, and the keeper cleans up.
pub async fn press(app: &App) {
    let ballast = std::sync::Arc::clone(&app.ballast);
    match blocking(move || ballast.give_up()).await {
        Ok(0) => {}
        Ok(bytes) => tracing::warn!(bytes, "the disk is full: the ballast is given up"),
        Err(error) => {
            tracing::error!(error = %chain(&error), "the ballast could not be given up")
        }
    }
    app.keeping.pressed.notify_one();
}

/// Makes the ballast where there is room for it above the floor.
///
/// # Errors
/// When the disk refuses.
pub async fn restore_ballast(app: &App) -> Result<(), LibraryError> {
    let ballast = std::sync::Arc::clone(&app.ballast);
    let data = app.settings.server.data_dir.clone();
    let floor = app.settings.monitor.floor.0;
    let made = blocking(move || {
        let missing = ballast.bytes().saturating_sub(ballast.held());
        // What it holds has been fitted in before.
        if missing > 0 && disk::left(&data)?.free < floor.saturating_add(missing) {
            return Ok(false);
        }
        ballast.make()?;
        Ok(missing > 0)
    });
    if made.await? {
        tracing::info!(bytes = app.ballast.bytes(), "the ballast is in its place");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks {
        floor: 100,
        most: 1000,
        high: 900,
        low: 800,
    };

    fn standing(free: u64, owed: u64, clips: u64, work: u64, to_come: u64) -> Standing {
        Standing {
            left: Left {
                total: 5000,
                free,
                files: Some(10_000),
            },
            owed,
            amounts: Amounts {
                clips,
                work,
                to_come,
                ..Amounts::default()
            },
            previews: 0,
        }
    }

    #[test]
    fn what_is_promised_owed_and_kept_free_is_not_given_twice() {
        for (standing, needed, own, missing) in [
            // Disk: floor and need.
            (standing(150, 0, 0, 0, 0), 50, 0, None),
            (standing(149, 0, 0, 0, 0), 50, 0, Some(1)),
            // Promised to others, but not to the asker.
            (standing(200, 0, 0, 60, 20), 20, 0, None),
            (standing(200, 0, 0, 60, 20), 21, 0, Some(1)),
            (standing(200, 0, 0, 60, 20), 60, 60, None),
            // What the ballast gave up is for cleaning up.
            (standing(200, 64, 0, 0, 0), 50, 0, Some(14)),
            // Ours: everything, promises too.
            (standing(5000, 0, 700, 100, 100), 100, 0, None),
            (standing(5000, 0, 700, 100, 100), 101, 0, Some(1)),
            (standing(5000, 0, 1200, 0, 0), 0, 0, Some(200)),
        ] {
            let answer = standing.fits(&MARKS, needed, own);
            assert_eq!(
                answer.err().map(|why| why.missing()),
                missing,
                "{standing:?} {needed} {own}"
            );
        }
        let mut few = standing(5000, 0, 0, 0, 0);
        few.left.files = Some(FILES - 1);
        assert_eq!(few.fits(&MARKS, 1, 0), Err(NoRoom::Files(FILES - 1)));
        few.left.files = None;
        assert_eq!(few.fits(&MARKS, 1, 0), Ok(()));
    }
}
