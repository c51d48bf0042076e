//! Room: what is in use, what is left, and whether something more fits beside what is promised already. What goes to make room is
//! told in `eviction`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::app::App;
use crate::app::keeping::Wanted;
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

/// What of ours lies on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Clips, and what they are made of and with.
    All,
    /// Clips and their trash alone.
    Clips,
    /// No clips: that these go helps nobody there.
    Others,
}

/// The disk that has least left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tight {
    pub holds: Holds,
    /// Bytes that are taken on it, by whomever.
    pub taken: u64,
}

/// What our disks have left, and which of them has least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disks {
    /// Of each figure the least.
    pub left: Left,
    pub bytes: Tight,
    pub files: Tight,
}

impl Disks {
    /// From what each disk has left.
    fn of(clips: (Holds, Left), others: &[(Holds, Left)]) -> Disks {
        let tight = |(holds, left): (Holds, Left)| Tight {
            holds,
            taken: left.total.saturating_sub(left.free),
        };
        let mut disks = Disks {
            left: clips.1,
            bytes: tight(clips),
            files: tight(clips),
        };
        for other in others {
            let left = other.1;
            if left.free < disks.left.free {
                (disks.left.free, disks.left.total) = (left.free, left.total);
                disks.bytes = tight(*other);
            }
            if let Some(files) = left.files
                && disks.left.files.is_none_or(|least| files < least)
            {
                disks.left.files = Some(files);
                disks.files = tight(*other);
            }
        }
        disks
    }
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub disks: Disks,
    /// Bytes of the free ones that the ballast has given up.
    pub owed: u64,
    pub amounts: Amounts,
    pub previews: u64,
    /// Kept of what was fetched for clips.
    pub windows: u64,
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
            self.windows,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// Bytes that work in hand and uploads have still to bring.
    fn promised(&self) -> u64 {
        self.amounts.work.saturating_add(self.amounts.to_come)
    }

    /// Bytes that are ours or promised.
    pub fn spoken_for(&self) -> u64 {
        self.used().saturating_add(self.amounts.to_come)
    }

    /// Bytes that are free and promised to nobody.
    pub fn available(&self) -> u64 {
        self.free().saturating_sub(self.promised())
    }

    /// Bytes that are free and not owed to the ballast, which lies with the data.
    pub fn free(&self) -> u64 {
        let owed = match self.disks.bytes.holds {
            Holds::All | Holds::Others => self.owed,
            Holds::Clips => 0,
        };
        self.disks.left.free.saturating_sub(owed)
    }

    /// Whether it is our clips that fill a disk: only then it is paid with clips.
    pub fn fills(&self, tight: Tight) -> bool {
        let amounts = &self.amounts;
        let published = amounts.clips.saturating_add(amounts.trash);
        let there = match tight.holds {
            Holds::All => published
                .saturating_add(amounts.uploads)
                .saturating_add(self.previews)
                .saturating_add(self.windows),
            Holds::Clips => published,
            Holds::Others => return false,
        };
        there >= tight.taken / 2
    }

    /// Whether so many bytes fit; `own` of those promised already are the asker's.
    ///
    /// # Errors
    /// What is in the way, with the figures.
    pub fn fits(&self, marks: &Marks, needed: u64, own: u64) -> Result<(), NoRoom> {
        let promised = self.promised().saturating_sub(own);
        let available = self.free().saturating_sub(promised);
        if available < marks.floor.saturating_add(needed) {
            return Err(NoRoom::Disk {
                needed: Bytes(needed),
                available: Bytes(available),
                floor: Bytes(marks.floor),
            });
        }
        let used = self.spoken_for().saturating_sub(own);
        if used.saturating_add(needed) > marks.most {
            return Err(NoRoom::Storage {
                needed: Bytes(needed),
                used: Bytes(used),
                most: Bytes(marks.most),
            });
        }
        match self.disks.left.files {
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

    /// The same for the keeper; files that are missing it finds by itself.
    fn wanted(&self) -> Wanted {
        let missing = self.missing();
        match self {
            NoRoom::Disk { .. } => Wanted {
                disk: missing,
                ..Wanted::default()
            },
            NoRoom::Storage { .. } => Wanted {
                budget: missing,
                ..Wanted::default()
            },
            NoRoom::Files(_) => Wanted::default(),
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

/// What our disks have left.
///
/// # Errors
/// When a disk does not answer.
pub async fn disks(app: &App) -> Result<Disks, LibraryError> {
    let (store, uploads) = (app.store.clone(), app.uploads.root().to_owned());
    let looked = blocking(move || {
        let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev());
        let [clips, work] = store.roots();
        let own = device(clips)?;
        let holds = if device(work)? == own {
            Holds::All
        } else {
            Holds::Clips
        };
        let mut others = Vec::new();
        for other in [work, &uploads] {
            if device(other)? != own {
                others.push((Holds::Others, disk::left(other)?));
            }
        }
        Ok(Disks::of((holds, disk::left(clips)?), &others))
    });
    Ok(looked.await?)
}

/// How things stand at this moment.
///
/// # Errors
/// When index or disk cannot be read.
pub async fn standing(app: &App) -> Result<Standing, LibraryError> {
    let (previews, windows) = (app.previews.clone(), app.windows.clone());
    let (previews, windows) = blocking(move || Ok((previews.bytes()?, windows.bytes()?))).await?;
    Ok(Standing {
        disks: disks(app).await?,
        owed: app.ballast.owed(),
        amounts: app.index.amounts(promised_since(app.now())).await?,
        previews,
        windows,
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
    let mut why = why;
    if freed > 0 {
        app.freed(freed);
        match standing(app).await?.fits(&marks, needed, own) {
            Ok(()) => return Ok(()),
            Err(still) => why = still,
        }
    }
    // The clips that are worth least are for the keeper to find: nobody waits for that.
    app.keeping.want(why.wanted());
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
        let left = Left {
            total: 5000,
            free,
            files: Some(10_000),
        };
        Standing {
            disks: Disks::of((Holds::All, left), &[]),
            owed,
            amounts: Amounts {
                clips,
                work,
                to_come,
                ..Amounts::default()
            },
            previews: 0,
            windows: 0,
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
        few.disks.left.files = Some(FILES - 1);
        assert_eq!(few.fits(&MARKS, 1, 0), Err(NoRoom::Files(FILES - 1)));
        few.disks.left.files = None;
        assert_eq!(few.fits(&MARKS, 1, 0), Ok(()));
    }

    #[test]
    fn of_several_disks_the_tightest_is_told_with_what_it_holds() {
        let left = |free, files| Left {
            total: 1000,
            free,
            files,
        };
        for (clips, other, bytes, files) in [
            (
                left(500, Some(9)),
                left(600, Some(10)),
                Holds::Clips,
                Holds::Clips,
            ),
            (
                left(500, Some(9)),
                left(400, Some(10)),
                Holds::Others,
                Holds::Clips,
            ),
            (
                left(500, Some(9)),
                left(600, Some(8)),
                Holds::Clips,
                Holds::Others,
            ),
            (
                left(500, None),
                left(600, Some(8)),
                Holds::Clips,
                Holds::Others,
            ),
        ] {
            let disks = Disks::of((Holds::Clips, clips), &[(Holds::Others, other)]);
            assert_eq!(
                (disks.bytes.holds, disks.files.holds),
                (bytes, files),
                "{disks:?}"
            );
            assert_eq!(disks.left.free, clips.free.min(other.free));
            assert_eq!(disks.bytes.taken, 1000 - disks.left.free);
        }
    }
}
