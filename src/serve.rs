//! Wiring, readiness and shutdown of the service: the only place that spawns long tasks.

pub mod figures;
mod pulse;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::{App as ActixApp, HttpServer, web};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::clock::Clock;
use crate::app::desk::{Desk, Lane};
use crate::app::keeping::Keeping;
use crate::app::rates::Rates;
use crate::app::uses::Uses;
use crate::app::watch::Watch;
use crate::app::{App, Bus, Errands, Jobs, Reading, Shared, load_secret};
use crate::config::Settings;
use crate::cost::Costs;
use crate::cut::Tools;
use crate::http::feed::Feed;
use crate::index::events::{Kind, Note};
use crate::index::{Index, IndexError};
use crate::repair::{self, Files, RepairError};
use crate::source::gate::{Gate, Policy, PolicyError};
use crate::source::upload::UploadStore;
use crate::store::LocalStore;
use crate::store::ballast::Ballast;
use crate::store::lock::Held;
use crate::store::places::Places;
use crate::store::previews::Previews;
use crate::store::windows::Windows;
use crate::{http, keeper, library, monitor, sources, trail, uploads, worker};

const UPKEEP: Duration = Duration::from_secs(10);
/// What was begun beside requests gets so long after the drain: with it, the unit's TimeoutStopSec is not reached.
const LAST_ERRANDS: Duration = Duration::from_secs(10);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0} cannot be used")]
    Folder(PathBuf, #[source] std::io::Error),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("egress.allow, egress.deny or egress.ports cannot be used: {0}")]
    Policy(#[from] PolicyError),
    #[error("the way out could not be opened")]
    Gate(#[source] std::io::Error),
    #[error("{0} cannot be listened on")]
    Bind(std::net::SocketAddr, #[source] std::io::Error),
    #[error("the figures cannot be collected")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("a schedule of keeper or backup is not a cron expression with seconds")]
    Cron(#[from] tokio_cron_scheduler::JobSchedulerError),
    #[error("clips are in the ledger at {0} and there is no index")]
    IndexLost(PathBuf),
    #[error(transparent)]
    Repair(#[from] RepairError),
    #[error(transparent)]
    Library(#[from] library::LibraryError),
    #[error("the service stopped serving")]
    Server(#[source] std::io::Error),
}

/// The engine and the way out alone, as the command line needs them.
///
/// # Errors
/// When the way out cannot be opened.
pub async fn tools(settings: &Settings) -> Result<Tools, StartError> {
    let egress = &settings.egress;
    let mut policy = Policy::new(&egress.allow, &egress.ports)?.denying(&egress.deny)?;
    if let Ok(base) = url::Url::parse(&settings.server.base_url) {
        policy = policy.found_at(&base);
    }
    let gate = Gate::open(Arc::new(policy), &egress.nameservers)
        .await
        .map_err(StartError::Gate)?;
    Ok(Tools::new(settings, gate))
}

/// Everything below the faces, opened but not yet at work.
///
/// # Errors
/// When a folder, the index or the way out cannot be opened.
pub async fn open(mut settings: Settings) -> Result<Shared, StartError> {
    let data = settings.server.data_dir.clone();
    let in_folder = |path: &Path| {
        let path = path.to_owned();
        move |error| StartError::Folder(path, error)
    };
    make_private(&data).map_err(in_folder(&data))?;
    settings.server.data_dir = std::path::absolute(&data).map_err(in_folder(&data))?;
    let data = settings.server.data_dir.clone();
    if repair::index_lost(&Places::of(&settings))? {
        return Err(StartError::IndexLost(data));
    }
    let storage = settings.storage_dir();
    let store = LocalStore::open(&storage, &data).map_err(in_folder(&storage))?;
    let previews = Previews::open(&data).map_err(in_folder(&data))?;
    let windows = Windows::open(&data).map_err(in_folder(&data))?;
    let folder = settings.uploads_dir();
    let uploads = UploadStore::open(folder.clone()).map_err(in_folder(&folder))?;
    let index = Index::open(&data.join("index.db"), settings.index.readers)?;
    let secret_file = settings.secret_file();
    let secret = load_secret(&secret_file).map_err(in_folder(&secret_file))?;
    let tools = tools(&settings).await?;
    let costs = Costs::learned(&index.costs().await?);
    let clock = Clock::default();
    let rates = Rates::new(&settings.limits, &clock);
    let ballast = Arc::new(Ballast::new(&data, settings.storage.ballast_bytes.0));
    let keeping = Keeping::default();
    let (given, pressed) = (Arc::clone(&ballast), Arc::clone(&keeping.pressed));
    index.relieved_by(move || {
        if given.give_up().is_ok_and(|bytes| bytes > 0) {
            tracing::warn!("the disk is full: the ballast is given up");
        }
        pressed.notify_one();
    });
    Ok(Arc::new(App {
        costs: Mutex::new(Arc::new(costs)),
        index,
        store,
        previews,
        windows,
        desk: Desk::new(&settings.sources),
        uploads,
        errands: Errands::here(),
        tools,
        secret,
        settings,
        bus: Bus::new(),
        jobs: Jobs::default(),
        work: tokio::sync::Notify::new(),
        reading: Mutex::new(Reading::default()),
        health: Mutex::new(None),
        pages: Mutex::new(None),
        stopping: CancellationToken::new(),
        clock,
        rates,
        uses: Uses::default(),
        watch: Watch::default(),
        ballast,
        keeping,
    }))
}

/// The group may look for the published folder inside, nobody else may look at all.
fn make_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(dir)
}

/// Takes the data for this process alone, and makes the index anew where there is none although there are clips.
///
/// # Errors
/// When another process has the data, it was restored by half, or no index can be made.
async fn take(settings: &Settings) -> Result<Held, StartError> {
    let places = Places::of(settings);
    let data = places.data.clone();
    make_private(&data).map_err(|error| StartError::Folder(data, error))?;
    let held = repair::take(&places)?;
    if !repair::index_lost(&places)? {
        return Ok(held);
    }
    tracing::warn!("there is no index, but clips are in the ledger: it is made anew");
    // Systemd waits for a start only so long.
    pulse::notify(sd_notify::NotifyState::ExtendTimeoutUsec(600_000_000));
    let now = Clock::default().now();
    let made = tokio::task::spawn_blocking(move || {
        repair::reindex::under_lock(&places, now, Files::Expected)
    });
    let report = made
        .await
        .map_err(|error| StartError::Server(std::io::Error::other(error)))??;
    tracing::warn!(?report, "the index was made anew");
    Ok(held)
}

/// Serves until SIGTERM or SIGINT, then winds down: nothing new is taken, the cut in hand gets `server.drain_seconds` to finish, what
/// is left is queued again.
///
/// # Errors
/// When the service cannot start, or the listener breaks.
pub async fn run(settings: Settings) -> Result<(), StartError> {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        settings = settings.redacted(),
        "starting"
    );
    let bind = settings.server.bind;
    let mut signals = Signals::listen().map_err(StartError::Server)?;
    let figures = figures::collect()?;
    let _held = take(&settings).await?;
    let app = open(settings).await?;
    library::reconcile(&app).await?;
    sources::reconcile(&app).await?;
    uploads::reconcile(&app).await?;
    life(&app, Kind::ServiceStarted).await;
    monitor::recall(&app).await?;
    monitor::observe(&app).await;

    let listener =
        std::net::TcpListener::bind(bind).map_err(|error| StartError::Bind(bind, error))?;
    let address = listener
        .local_addr()
        .map_err(|error| StartError::Bind(bind, error))?;
    let feed = web::Data::new(Feed::default());
    let server =
        serve(&app, &figures, &feed, listener).map_err(|error| StartError::Bind(bind, error))?;
    let handle = server.handle();
    let server = tokio::spawn(server);

    let stop = CancellationToken::new();
    let mut workers = JoinSet::new();
    for _ in 0..app.slots() {
        let (app, stop) = (Shared::clone(&app), stop.clone());
        workers.spawn(async move { worker::run(&app, &stop).await });
    }
    // A slow server does not keep everybody's filmstrips waiting.
    for lane in [Lane::Quick, Lane::Quick, Lane::Slow] {
        let (app, stop) = (Shared::clone(&app), stop.clone());
        workers.spawn(async move { sources::making::run(&app, lane, &stop).await });
    }
    let watcher = {
        let (app, stop) = (Shared::clone(&app), stop.clone());
        tokio::spawn(async move { monitor::run(&app, &stop).await })
    };
    let poster = {
        let (app, stop) = (Shared::clone(&app), stop.clone());
        tokio::spawn(async move { monitor::alerts::run(&app, &stop).await })
    };
    let teller = {
        let (app, stop) = (Shared::clone(&app), stop.clone());
        tokio::spawn(async move { http::feed::run(&app, &feed, &stop).await })
    };
    let upkeep = {
        let stop = stop.clone();
        tokio::spawn(async move { keep_up(&figures, &stop).await })
    };
    let pulse = {
        let (app, stop) = (Shared::clone(&app), stop.clone());
        tokio::spawn(async move { pulse::run(&app, address, &stop).await })
    };
    let writer = app.tools.gate.refusals().map(|refused| {
        let (app, stop) = (Shared::clone(&app), stop.clone());
        tokio::spawn(async move { trail::run(&app, refused, &stop).await })
    });
    let relief = {
        let (app, stop) = (Shared::clone(&app), stop.clone());
        tokio::spawn(async move { keeper::relieve(&app, &stop).await })
    };
    let mut scheduler = keeper::start(Shared::clone(&app)).await?;
    tracing::info!(%address, "listening");
    pulse::notify(sd_notify::NotifyState::Ready);

    tokio::pin!(server);
    let served = tokio::select! {
        () = signals.any() => Ok(()),
        ended = &mut server => ended.map_err(std::io::Error::other).and_then(|ended| ended),
    };

    pulse::notify(sd_notify::NotifyState::Stopping);
    let drain = Duration::from_secs(app.settings.server.drain_seconds);
    tracing::info!(drain_seconds = drain.as_secs(), "stopping");
    app.stopping.cancel();
    stop.cancel();
    let closing = tokio::spawn(handle.stop(true));
    tokio::select! {
        () = joined(&mut workers) => {}
        () = tokio::time::sleep(drain) => {}
        // Asked twice: the operator does not want to wait.
        () = signals.any() => {}
    }
    app.jobs.interrupt_all();
    joined(&mut workers).await;
    let _ = closing.await;
    if tokio::time::timeout(LAST_ERRANDS, app.errands.finish())
        .await
        .is_err()
    {
        tracing::warn!("something that was begun beside a request did not end; it is left");
    }
    let _ = scheduler.shutdown().await;
    for task in [watcher, relief, poster, teller, upkeep, pulse] {
        let _ = task.await;
    }
    if let Some(writer) = writer {
        let _ = writer.await;
    }
    app.tools.gate.close().await;
    life(&app, Kind::ServiceStopped).await;
    app.index.close();
    tracing::info!("stopped");
    served.map_err(StartError::Server)
}

/// Notes in the trail that the service began or ended. A disk that is full is no reason not to.
async fn life(app: &App, kind: Kind) {
    let note = Note {
        kind,
        subject: "service".to_owned(),
        data: serde_json::json!({"version": env!("CARGO_PKG_VERSION")}),
        duration_ms: None,
        error: None,
    };
    if let Err(error) = app.index.note(app.now(), note).await {
        tracing::error!(error = %worker::chain(&error), kind = kind.as_str(), "it could not be noted");
    }
}

/// Puts what was measured in order now and then: until somebody asks for the figures, each measurement would be kept as it came.
async fn keep_up(figures: &PrometheusHandle, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(UPKEEP) => figures.run_upkeep(),
            () = stop.cancelled() => return,
        }
    }
}

async fn joined(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(error = %error, "a worker broke");
        }
    }
}

fn serve(
    app: &Shared,
    figures: &PrometheusHandle,
    feed: &web::Data<Feed>,
    listener: std::net::TcpListener,
) -> std::io::Result<actix_web::dev::Server> {
    let body = usize::try_from(app.settings.limits.body.0).unwrap_or(usize::MAX);
    let threads = app.settings.server.workers.max(1);
    let app = http::data(Shared::clone(app));
    let (figures, feed) = (web::Data::new(figures.clone()), feed.clone());
    let server = HttpServer::new(move || {
        ActixApp::new()
            .app_data(app.clone())
            .app_data(figures.clone())
            .app_data(feed.clone())
            .app_data(web::PayloadConfig::new(body))
            .wrap(from_fn(http::around))
            .configure(http::configure)
    });
    let server = server
        .workers(threads)
        .worker_max_blocking_threads(8)
        .max_connections(2048)
        .client_request_timeout(Duration::from_secs(15))
        .keep_alive(Duration::from_secs(30))
        // Else the last short segment of an answer waits for the visitor to acknowledge the one before.
        .tcp_nodelay(true)
        .shutdown_timeout(5)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

/// What asks a process of ours to end.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    pub async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
