//! Going through all of a service's data and holding index, ledger and store against each other. Beside a running service a difference
//! counts only when it is still there on a second look: a clip may be on its way.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::look::{self, Closeness, Difference, Fault, Subject};
use super::mend::{Bench, mend};
use super::{Files, RepairError, at, entry_id, index_lost, list, reindex, take, whole};
use crate::clip::{Clip, ClipId};
use crate::index::IndexError;
use crate::index::mend::Mender;
use crate::index::still::{Still, known_schema};
use crate::source::upload::file_of;
use crate::store::lock;
use crate::store::places::Places;
use crate::store::{LocalStore, UNSETTLED};
use crate::timestamp::Timestamp;
use crate::worker::chain;

/// What is to be done about differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Look,
    Mend,
}

/// How it is to be gone through.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub manner: Manner,
    pub closeness: Closeness,
    pub files: Files,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Clips in the index.
    pub clips: u64,
    /// How many differences of each kind there are.
    pub found: BTreeMap<Fault, u64>,
    /// How many of them were mended.
    pub mended: u64,
}

impl Report {
    /// Differences that are still there.
    pub fn left(&self) -> u64 {
        self.found.values().sum::<u64>() - self.mended
    }
}

/// So many clips are looked at in one go, and so many differences at a second time.
const CHUNK: usize = 256;
const SUSPECTS: usize = 4096;
/// Between two looks beside a running service, and how often a difference is looked at again.
const PAUSE: Duration = Duration::from_secs(1);
const LOOKS: usize = 3;

/// Goes through everything; `told` is called with each difference.
///
/// # Errors
/// When the data cannot be read, or is to be mended while the service runs.
pub fn run(
    places: &Places,
    wish: Wish,
    now: Timestamp,
    told: &mut dyn FnMut(&Difference),
) -> Result<Report, RepairError> {
    if !places.data.is_dir() {
        return Err(RepairError::NoData(places.data.clone()));
    }
    whole(places)?;
    let _held = match wish.manner {
        Manner::Mend => Some(take(places)?),
        Manner::Look => None,
    };
    let path = places.lock();
    let beside = wish.manner == Manner::Look && lock::is_held(&path).map_err(at(&path))?;
    let mut report = Report::default();
    if !index_whole(places, wish, now, &mut report, told)? {
        return Ok(report);
    }
    let index = places.index();
    let hands = match wish.manner {
        Manner::Look => {
            let found = Still::open(&index)?.schema()?;
            let known = known_schema();
            if found > known {
                return Err(IndexError::Newer { found, known }.into());
            }
            if found < known {
                return Err(RepairError::OldSchema { found, known });
            }
            None
        }
        Manner::Mend => {
            let store =
                LocalStore::open(&places.storage, &places.data).map_err(at(&places.storage))?;
            Some((Mender::open(&index)?, store))
        }
    };
    let bench = hands.as_ref().map(|(index, store)| Bench {
        places,
        store,
        index,
        now,
    });
    let still = Still::open(&index)?;
    let mut check = Check {
        places,
        still: &still,
        closeness: wish.closeness,
        beside,
        bench,
        report,
        told,
        suspects: Vec::new(),
    };
    for (table, rows) in still.strangers()? {
        let detail = format!("{rows} rows of {table}");
        check.suspect(vec![Difference::new(
            Fault::ForeignKeys,
            Subject::Index,
            detail,
        )])?;
    }
    for (name, kept, summed) in still.wrong_tallies()? {
        let detail = format!("{name}: {kept} bytes are kept as the sum of {summed}");
        check.suspect(vec![Difference::new(
            Fault::TallyWrong,
            Subject::Index,
            detail,
        )])?;
    }
    check.clips(wish)?;
    check.folders()?;
    check.confirm()?;
    Ok(check.report)
}

/// Whether there is an index that can be gone through; makes one anew if that is wished.
fn index_whole(
    places: &Places,
    wish: Wish,
    now: Timestamp,
    report: &mut Report,
    told: &mut dyn FnMut(&Difference),
) -> Result<bool, RepairError> {
    let index = places.index();
    let faults = if index_lost(places)? {
        vec!["there is none, but clips are in the ledger".to_owned()]
    } else if !index.exists() {
        // Nothing was ever kept here.
        return Ok(false);
    } else {
        match Still::open(&index).and_then(|still| still.faults()) {
            Ok(faults) => faults,
            Err(error) => vec![chain(&error)],
        }
    };
    if faults.is_empty() {
        return Ok(true);
    }
    let mended = match wish.manner {
        Manner::Look => None,
        Manner::Mend => {
            let made = reindex::under_lock(places, now, wish.files)?;
            let kept = made.kept.map(|path| places.told(&path));
            let aside = kept.map(|path| format!("; the old one is {path}"));
            Some(format!(
                "made anew with {} clips{}",
                made.clips + made.from_old_index,
                aside.unwrap_or_default()
            ))
        }
    };
    for fault in faults {
        *report.found.entry(Fault::IndexCorrupt).or_default() += 1;
        report.mended += u64::from(mended.is_some());
        told(&Difference {
            mended: mended.clone(),
            ..Difference::new(Fault::IndexCorrupt, Subject::Index, fault)
        });
    }
    Ok(mended.is_some())
}

struct Check<'a> {
    places: &'a Places,
    still: &'a Still,
    closeness: Closeness,
    /// The service runs meanwhile.
    beside: bool,
    bench: Option<Bench<'a>>,
    report: Report,
    told: &'a mut dyn FnMut(&Difference),
    /// Differences that were seen once.
    suspects: Vec<Difference>,
}

/// A clip's id, and its row if it has one.
type Task = (ClipId, Option<Clip>);

impl Check<'_> {
    /// Rows, ledger and published folders, all in the order of ids, looked at on all cores.
    fn clips(&mut self, wish: Wish) -> Result<(), RepairError> {
        let places = self.places;
        let ledger = list(&places.ledger(), entry_id)?;
        let published = list(&places.clips(), |name| name.parse().ok())?;
        let strays = [ledger.strays, published.strays].concat();
        let stray = |path| Difference::new(Fault::Stray, Subject::Path(path), "not the service's");
        self.suspect(strays.into_iter().map(stray).collect())?;
        let nothing = published.ids.is_empty();
        let mut others = ledger.ids;
        others.extend(published.ids);
        others.sort_unstable();
        others.dedup();
        if nothing && wish.manner == Manner::Mend && wish.files == Files::Expected {
            let ready = self.still.ready()?;
            if ready > 10 {
                return Err(RepairError::StoreEmpty {
                    ready,
                    clips: places.clips(),
                });
            }
        }
        let closeness = self.closeness;
        let lookers = std::thread::available_parallelism().map_or(2, usize::from);
        let (tasks, inbox) = mpsc::sync_channel::<Vec<Task>>(lookers * 2);
        let (findings, found) = mpsc::sync_channel(lookers * 2);
        let inbox = Mutex::new(inbox);
        std::thread::scope(|scope| {
            let feeder = scope.spawn(move || feed(places, &others, &tasks));
            for _ in 0..lookers {
                let (findings, inbox) = (findings.clone(), &inbox);
                scope.spawn(move || {
                    loop {
                        let next = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(part) = next else { break };
                        // Nobody listens any more when something failed.
                        if findings.send(look_at(places, &part, closeness)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(findings);
            let mut failed = None;
            // To the end even when something failed: whoever feeds must not wait for ever.
            for finding in found {
                if failed.is_none() {
                    failed = finding.and_then(|found| self.suspect(found)).err();
                }
            }
            let rows = match feeder.join() {
                Ok(rows) => rows,
                Err(_) => Err(at(&places.index())(io::Error::other("its reader broke"))),
            };
            match failed {
                Some(error) => Err(error),
                None => {
                    self.report.clips = rows?;
                    Ok(())
                }
            }
        })
    }

    /// Jobs' folders and uploads.
    fn folders(&mut self) -> Result<(), RepairError> {
        let mut found = Vec::new();
        for path in entries(&self.places.work())? {
            if self.is_left(&path)? {
                let subject = Subject::Path(path);
                found.push(Difference::new(
                    Fault::WorkLeft,
                    subject,
                    "no job runs in it",
                ));
            }
        }
        let rows = self.still.uploads()?;
        for (id, received) in &rows {
            let detail = format!("{received} bytes are recorded");
            let fault = match fs::metadata(file_of(&self.places.uploads, *id)) {
                Err(_) => Fault::UploadMissing,
                Ok(meta) if meta.len() < *received => Fault::UploadShort,
                Ok(_) => continue,
            };
            found.push(Difference::new(fault, Subject::Upload(*id), detail));
        }
        for path in entries(&self.places.uploads)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match name.parse() {
                Ok(id) if rows.iter().any(|(known, _)| *known == id) => {}
                Ok(id) => found.push(Difference::new(
                    Fault::UploadOrphan,
                    Subject::Upload(id),
                    "no upload in the index",
                )),
                Err(_) => found.push(Difference::new(
                    Fault::Stray,
                    Subject::Path(path),
                    "not the service's",
                )),
            }
        }
        self.suspect(found)
    }

    /// Whether a job's folder is nobody's. Those of clips that were in hand are swept at the next start.
    fn is_left(&self, path: &std::path::Path) -> Result<bool, RepairError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // By such a note the next start knows whose files it has to settle.
        if name.starts_with(".writable-") || name.ends_with(UNSETTLED) {
            return Ok(false);
        }
        let Ok(id) = name.parse() else {
            return Ok(path.exists());
        };
        let settled = match self.still.clip(id)? {
            Some(clip) => clip.state.is_settled(),
            None => true,
        };
        Ok(settled && path.exists())
    }

    /// Takes differences: mended, told, or looked at again first.
    fn suspect(&mut self, found: Vec<Difference>) -> Result<(), RepairError> {
        if self.beside {
            self.suspects.extend(found);
            if self.suspects.len() >= SUSPECTS {
                self.confirm()?;
            }
            return Ok(());
        }
        self.settle(found)
    }

    fn settle(&mut self, mut found: Vec<Difference>) -> Result<(), RepairError> {
        if found.is_empty() {
            return Ok(());
        }
        if let Some(bench) = &self.bench {
            bench.index.together(|_| {
                for difference in &mut found {
                    difference.mended = Some(mend(bench, difference)?);
                }
                Ok::<_, RepairError>(())
            })?;
        }
        for difference in &found {
            *self.report.found.entry(difference.fault).or_default() += 1;
            self.report.mended += u64::from(difference.mended.is_some());
            (self.told)(difference);
        }
        Ok(())
    }

    /// Looks at what was seen once again, beside a running service.
    fn confirm(&mut self) -> Result<(), RepairError> {
        for _ in 1..LOOKS {
            if self.suspects.is_empty() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
            for suspect in std::mem::take(&mut self.suspects) {
                if self.is_so(&suspect)? {
                    self.suspects.push(suspect);
                }
            }
        }
        let found = std::mem::take(&mut self.suspects);
        self.settle(found)
    }

    fn is_so(&self, seen: &Difference) -> Result<bool, RepairError> {
        match &seen.subject {
            Subject::Clip(id) => {
                let row = self.still.clip(*id)?;
                // A hash takes long, and published bytes do not change.
                let closeness = match seen.fault {
                    Fault::FileHash => Closeness::Hashes,
                    _ => Closeness::Sizes,
                };
                let now = look::clip(self.places, *id, row.as_ref(), closeness)?;
                Ok(now.iter().any(|difference| difference.fault == seen.fault))
            }
            Subject::Path(path) if seen.fault == Fault::WorkLeft => self.is_left(path),
            Subject::Path(path) => Ok(path.exists()),
            Subject::Upload(id) => {
                let row = self
                    .still
                    .uploads()?
                    .into_iter()
                    .find(|(known, _)| known == id);
                let length =
                    fs::metadata(file_of(&self.places.uploads, *id)).map(|meta| meta.len());
                let folder = self.places.uploads.join(id.to_string()).exists();
                Ok(match seen.fault {
                    Fault::UploadOrphan => row.is_none() && folder,
                    Fault::UploadMissing => row.is_some() && length.is_err(),
                    _ => row
                        .is_some_and(|(_, received)| length.is_ok_and(|length| length < received)),
                })
            }
            Subject::Index if seen.fault == Fault::TallyWrong => {
                Ok(!self.still.wrong_tallies()?.is_empty())
            }
            Subject::Index => Ok(!self.still.strangers()?.is_empty()),
        }
    }
}

/// Hands on what is to be looked at, rows and what has none, in the order of ids; how many rows there are.
fn feed(
    places: &Places,
    others: &[ClipId],
    tasks: &mpsc::SyncSender<Vec<Task>>,
) -> Result<u64, RepairError> {
    let still = Still::open(&places.index())?;
    let mut others = others.iter().copied().peekable();
    let mut part: Vec<Task> = Vec::with_capacity(CHUNK);
    let mut rows = 0;
    let mut push = |task: Task| {
        part.push(task);
        if part.len() == CHUNK {
            // Nobody takes it any more when something failed, and that is told where it failed.
            let _ = tasks.send(std::mem::replace(&mut part, Vec::with_capacity(CHUNK)));
        }
    };
    still.each_clip(|clip| {
        while let Some(id) = others.next_if(|id| *id < clip.id) {
            push((id, None));
        }
        others.next_if_eq(&clip.id);
        rows += 1;
        push((clip.id, Some(clip)));
        Ok::<_, RepairError>(())
    })?;
    for id in others {
        push((id, None));
    }
    let _ = tasks.send(part);
    Ok(rows)
}

fn look_at(
    places: &Places,
    part: &[Task],
    closeness: Closeness,
) -> Result<Vec<Difference>, RepairError> {
    let mut found = Vec::new();
    for (id, row) in part {
        found.extend(look::clip(places, *id, row.as_ref(), closeness)?);
    }
    Ok(found)
}

/// What lies in a folder; nothing when there is none.
fn entries(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>, RepairError> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| Ok(entry.map_err(at(folder))?.path()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at(folder)(error)),
    }
}
