//! The landing between the rooms and the use cases: handles to everything below, the settings, the event bus and the jobs in hand.
//! It decides nothing.

pub mod clock;
pub mod desk;
pub mod keeping;
pub mod rates;
pub mod uses;
pub mod watch;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clip::ClipId;
use crate::config::Settings;
use crate::cost::Costs;
use crate::cut::Tools;
use crate::index::records::CheckResult;
use crate::index::{Index, IndexError};
use crate::secret::Secret;
use crate::source::page::Version;
use crate::source::upload::UploadStore;
use crate::store::LocalStore;
use crate::store::ballast::Ballast;
use crate::store::previews::Previews;
use crate::store::windows::Windows;
use crate::timestamp::Timestamp;

/// One running service.
pub struct App {
    pub settings: Settings,
    pub index: Index,
    pub store: LocalStore,
    pub previews: Previews,
    /// What was fetched for clips, as long as it is kept.
    pub windows: Windows,
    /// What is done with sources that are only looked at.
    pub desk: desk::Desk,
    pub uploads: UploadStore,
    pub tools: Tools,
    pub secret: Secret,
    pub bus: Bus,
    pub jobs: Jobs,
    pub errands: Errands,
    /// What clips cost, as far as past ones told.
    pub costs: Mutex<Arc<Costs>>,
    /// Rung when there may be work in the queue.
    pub work: Notify,
    /// The monitor's last reading.
    pub reading: Mutex<Reading>,
    /// The last run of the health checks.
    pub health: Mutex<Option<(Instant, Vec<CheckResult>)>>,
    /// What the program that reads pages last said of itself.
    pub pages: Mutex<Option<AskedProgram>>,
    /// Set when the service is about to end: long answers end with it.
    pub stopping: CancellationToken,
    pub clock: clock::Clock,
    /// How often visitors asked.
    pub rates: rates::Rates,
    /// When tokens were used, as far as it was noted.
    pub uses: uses::Uses,
    /// Verdicts, and what is to be told of them.
    pub watch: watch::Watch,
    /// Given up when the disk is full.
    pub ballast: Arc<Ballast>,
    pub keeping: keeping::Keeping,
}

/// A program and what it said when it was asked for its version.
#[derive(Clone, Debug)]
pub struct AskedProgram {
    pub at: Instant,
    pub program: PathBuf,
    /// When its file was last written, as far as that can be told.
    pub changed: Option<SystemTime>,
    /// Or why it did not say.
    pub version: Result<Version, String>,
}

/// What the monitor last saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    pub at: Option<Timestamp>,
    /// Bytes on the disk that holds the store.
    pub disk_total: u64,
    pub disk_available: u64,
    /// Bytes of the machine.
    pub memory_total: u64,
    pub memory_available: u64,
    /// Bytes resident in this process.
    pub resident: u64,
    /// One-minute load average.
    pub load: f64,
    /// Of the same disk; 0 of 0 where the file system does not count them.
    pub inodes_total: u64,
    pub inodes_free: u64,
    /// Children that run, and the bytes resident in them.
    pub sidecars: u64,
    pub sidecars_resident: u64,
    pub queued: u64,
    /// Clips in hand, each in a slot.
    pub running: u64,
    /// Seconds for which the clip that waits longest has waited.
    pub oldest_wait: u64,
    /// Seconds for which the clip that is in hand longest has been.
    pub oldest_job: u64,
    /// Seconds since a slot took or ended a clip, or since the start.
    pub since_claim: u64,
    pub since_finish: u64,
    /// Bytes of the index, and of what is written and not yet taken over.
    pub index_bytes: u64,
    pub wal_bytes: u64,
    /// What commits took since the reading before.
    pub commit_mean_ms: f64,
    pub commit_max_ms: f64,
}

impl App {
    /// The last reading.
    pub fn reading(&self) -> Reading {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Corrects the last reading by bytes that were given back to the disk since.
    pub fn freed(&self, bytes: u64) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.disk_available = reading.disk_available.saturating_add(bytes);
    }

    /// What clips cost.
    pub fn costs(&self) -> Arc<Costs> {
        Arc::clone(&self.costs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Learns anew from what the index remembers.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn learn_costs(&self) -> Result<(), IndexError> {
        let learned = Costs::learned(&self.index.costs().await?);
        *self.costs.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(learned);
        Ok(())
    }

    /// How many clips are cut at once: one per core unless said.
    pub fn slots(&self) -> usize {
        match self.settings.engine.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }

    /// The moment it is.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// News about clips, for whoever listens.
#[derive(Clone, Debug)]
pub struct Bus(broadcast::Sender<News>);

/// Something happened to a clip.
#[derive(Clone, Copy, Debug)]
pub struct News {
    pub clip: ClipId,
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Its state changed; the number of the event in the trail.
    State(i64),
    /// It is gone.
    Removed,
    /// It came further.
    Progress,
}

impl Bus {
    /// A bus on which a listener may lag this many pieces of news behind.
    pub fn new() -> Bus {
        Bus(broadcast::Sender::new(256))
    }

    /// Tells all who listen; nobody listening is fine.
    pub fn tell(&self, clip: ClipId, what: What) {
        let _ = self.0.send(News { clip, what });
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }
}

impl Default for Bus {
    fn default() -> Self {
        Bus::new()
    }
}

/// Work that a request begins and that goes on when the visitor has hung up. It runs on the service's own threads, which outlive those
/// that answer HTTP, and the service waits for it before it ends.
pub struct Errands {
    tracker: TaskTracker,
    runtime: tokio::runtime::Handle,
}

impl Errands {
    /// On the runtime that this is called in.
    pub fn here() -> Errands {
        Errands {
            tracker: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// Begins one.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tracker.spawn_on(work, &self.runtime)
    }

    /// Waits until none is left.
    pub async fn finish(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// The jobs in hand: how far each is and how to stop it.
pub struct Jobs {
    hands: Mutex<HashMap<ClipId, Job>>,
    pulse: Mutex<Pulse>,
}

/// When jobs came and went.
#[derive(Clone, Copy, Debug)]
struct Pulse {
    begun: Instant,
    ended: Instant,
}

/// How the slots are doing, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hands {
    /// Jobs in hand.
    pub busy: u64,
    /// The oldest of them is so old.
    pub oldest: u64,
    pub since_claim: u64,
    pub since_finish: u64,
}

impl Default for Jobs {
    fn default() -> Self {
        let now = Instant::now();
        Jobs {
            hands: Mutex::default(),
            pulse: Mutex::new(Pulse {
                begun: now,
                ended: now,
            }),
        }
    }
}

struct Job {
    stop: CancellationToken,
    interrupted: bool,
    progress: f64,
    begun: Instant,
    /// Seconds that all of it is expected to take.
    expected: f64,
}

impl Job {
    /// Seconds until it is done: what was expected at first, and more and more what its own pace says.
    fn left(&self) -> f64 {
        let spent = self.begun.elapsed().as_secs_f64();
        let expected = (self.expected - spent).max(0.1);
        if self.progress <= 0.1 {
            return expected;
        }
        let paced = spent * (1.0 - self.progress) / self.progress;
        let trust = self.progress.min(1.0);
        expected * (1.0 - trust) + paced * trust
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// From 0 to 1.
    pub progress: f64,
    pub eta_seconds: Option<f64>,
}

impl Jobs {
    /// Takes a job in hand and returns what stops it.
    pub fn begin(&self, id: ClipId, expected: f64) -> CancellationToken {
        let stop = CancellationToken::new();
        let job = Job {
            stop: stop.clone(),
            interrupted: false,
            progress: 0.0,
            begun: Instant::now(),
            expected,
        };
        self.pulse().begun = job.begun;
        self.lock().insert(id, job);
        stop
    }

    /// How the slots are doing.
    pub fn hands(&self) -> Hands {
        let pulse = *self.pulse();
        let hands = self.lock();
        let oldest = hands.values().map(|job| job.begun.elapsed().as_secs());
        Hands {
            busy: hands.len() as u64,
            oldest: oldest.max().unwrap_or(0),
            since_claim: pulse.begun.elapsed().as_secs(),
            since_finish: pulse.ended.elapsed().as_secs(),
        }
    }

    /// Whether a job is in hand.
    pub fn holds(&self, id: ClipId) -> bool {
        self.lock().contains_key(&id)
    }

    /// Puts a job out of hand; true when it was interrupted by the service stopping.
    pub fn end(&self, id: ClipId) -> bool {
        self.pulse().ended = Instant::now();
        self.lock().remove(&id).is_some_and(|job| job.interrupted)
    }

    /// Stops one job, if it is in hand.
    pub fn stop(&self, id: ClipId) {
        if let Some(job) = self.lock().get(&id) {
            job.stop.cancel();
        }
    }

    /// Stops all jobs because the service is stopping.
    pub fn interrupt_all(&self) {
        for job in self.lock().values_mut() {
            job.interrupted = true;
            job.stop.cancel();
        }
    }

    /// Notes how far a job is.
    pub fn note(&self, id: ClipId, progress: f64) {
        if let Some(job) = self.lock().get_mut(&id) {
            job.progress = progress;
        }
    }

    /// Notes how long a job is expected to take from here on.
    pub fn expect(&self, id: ClipId, seconds: f64) {
        if let Some(job) = self.lock().get_mut(&id) {
            job.expected = job.begun.elapsed().as_secs_f64() + seconds;
        }
    }

    /// Seconds of work that the jobs in hand are expected to have left, all together.
    pub fn left(&self) -> f64 {
        self.lock().values().map(Job::left).sum()
    }

    /// How far a job is, if it is in hand.
    pub fn standing(&self, id: ClipId) -> Option<Standing> {
        self.lock().get(&id).map(|job| Standing {
            progress: (job.progress * 1000.0).round() / 1000.0,
            eta_seconds: Some((job.left() * 10.0).round() / 10.0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClipId, Job>> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the key file, making it at the first start: 32 random bytes that only the service may read.
///
/// # Errors
/// When it cannot be read or made, or is not a key.
pub fn load_secret(path: &Path) -> std::io::Result<Secret> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(mut file) => {
            let mut bytes = [0_u8; 32];
            std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let bytes = std::fs::read(path)?;
    Secret::from_bytes(&bytes).ok_or_else(|| {
        std::io::Error::other(format!(
            "{} is not a key of 32 bytes; remove it to have a new one made",
            path.display()
        ))
    })
}

/// A shared handle.
pub type Shared = Arc<App>;
