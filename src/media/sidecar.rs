//! The only place that starts ffmpeg, ffprobe, yt-dlp and our own binary to draw texts. Every child is our own binary re-executed as a launcher that limits itself and
//! then becomes the program; it has a process group, a deadline and nothing on standard input. Arguments are arrays, never a shell.

mod confinement;

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ffmpeg_sidecar::command::FfmpegCommand;
use ffmpeg_sidecar::event::{FfmpegEvent, LogLevel};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio_util::sync::CancellationToken;

use super::Input;
pub use confinement::Confinement;

/// Where the programs are and what a child may use.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Our own binary; `/proc/self/exe` outlives its replacement on disk.
    pub launcher: PathBuf,
    pub ffmpeg: PathBuf,
    pub ffprobe: PathBuf,
    /// Address space of one child in bytes.
    pub memory: u64,
    /// Where programs lie, and what they need, outside of the system's folders.
    pub readable: Vec<PathBuf>,
}

/// The terms of one child.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    pub programs: &'a Programs,
    /// Its working directory.
    pub dir: &'a Path,
    /// On the wall clock.
    pub deadline: Duration,
    pub stop: &'a CancellationToken,
    /// The only way to the network, if any.
    pub proxy: Option<&'a str>,
    /// Files that are read beside those in the working directory; nothing outside of it is ever written.
    pub reads: &'a [PathBuf],
    pub kin: Kin,
}

/// Whether a program may start others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kin {
    /// Threads only.
    #[default]
    Alone,
    /// Programs that come with the system or with it.
    Family,
}

impl Kin {
    fn as_str(self) -> &'static str {
        match self {
            Kin::Alone => "alone",
            Kin::Family => "family",
        }
    }
}

impl<'a> Job<'a> {
    /// The same terms with these files open for reading.
    pub fn reading(self, files: &'a [PathBuf]) -> Job<'a> {
        Job {
            reads: files,
            ..self
        }
    }

    /// The same terms with the way to `input` open. It goes into the child's environment, because anybody on the machine can read
    /// its arguments.
    pub fn reaching(self, input: &'a Input) -> Job<'a> {
        match input {
            Input::File(path) => self.reading(std::slice::from_ref(path)),
            Input::Link { proxy, .. } => Job {
                proxy: Some(proxy.as_str()),
                ..self
            },
        }
    }

    /// The gate's port, which is all of the network that the child may connect to.
    fn port(&self) -> Option<u16> {
        let (_, port) = self.proxy?.rsplit_once(':')?;
        port.trim_end_matches('/').parse().ok()
    }
}

/// How a child ended when not well.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    #[error("`{program}` is not installed or cannot be started")]
    Missing { program: String },
    #[error("the program ended with {status}: {stderr}")]
    Exit { status: ExitStatus, stderr: String },
    #[error("the program was still running after {} s", .0.as_secs())]
    Deadline(Duration),
    #[error("the program was stopped")]
    Stopped,
    #[error("the program could not be run")]
    Io(#[from] std::io::Error),
}

impl SidecarError {
    /// Why in one word, for the figures.
    fn reason(&self) -> &'static str {
        use std::os::unix::process::ExitStatusExt;
        match self {
            SidecarError::Missing { .. } => "missing",
            SidecarError::Deadline(_) => "deadline",
            SidecarError::Stopped => "stopped",
            SidecarError::Io(_) => "io",
            SidecarError::Exit { status, .. } => match status.signal() {
                // CPU time and file size are bounded, and those who go beyond are told so.
                Some(signal)
                    if [Signal::XCPU, Signal::XFSZ]
                        .map(Signal::as_raw)
                        .contains(&signal) =>
                {
                    "limit"
                }
                Some(_) => "killed",
                None => "exit",
            },
        }
    }
}

/// What a child that ended well leaves: its last words on standard error.
#[derive(Debug)]
pub struct Finished {
    pub stderr: String,
}

const STDERR_TAIL: usize = 4096;
const STDOUT_MOST: u64 = 64 << 20;
/// Between SIGTERM and SIGKILL: with it a cancelled cut is gone within a second.
const GRACE: Duration = Duration::from_millis(400);
/// Address space of yt-dlp, which holds whole pages in memory: it takes 80 MB for small ones, and a runtime for JavaScript may need
/// 700 MB more.
const READER_MEMORY: u64 = 1_000_000_000;
/// Address space for drawing texts: two pictures and a few faces.
const LETTER_MEMORY: u64 = 1_000_000_000;
/// What the launcher says through its exit code when the program cannot be executed.
pub const CANNOT_EXECUTE: i32 = 127;

/// Runs ffmpeg to its end. `on_frame` is told the number of the last frame written.
///
/// # Errors
/// When it cannot be started, fails, outlives its deadline or is stopped; its whole process group is gone by then.
pub async fn ffmpeg(
    job: Job<'_>,
    arguments: Vec<OsString>,
    on_frame: impl Fn(u64) + Send + 'static,
) -> Result<Finished, SidecarError> {
    let mut command = launch(&job, &job.programs.ffmpeg);
    command.args([
        "-hide_banner",
        "-nostdin",
        "-y",
        "-loglevel",
        "level+info",
        "-stats_period",
        "0.25",
    ]);
    command.args(arguments);
    let child = supervise(job, "ffmpeg", move |announce| {
        let mut ffmpeg = FfmpegCommand::new_with_path("");
        *ffmpeg.as_inner_mut() = command;
        let mut child = ffmpeg.spawn()?;
        announce(child.as_inner());
        // Nothing is ever sent to it.
        drop(child.take_stdin());
        let mut tail = Tail::default();
        if let Ok(events) = child.iter() {
            for event in events {
                match event {
                    FfmpegEvent::Progress(progress) => on_frame(u64::from(progress.frame)),
                    FfmpegEvent::Log(
                        LogLevel::Warning | LogLevel::Error | LogLevel::Fatal | LogLevel::Unknown,
                        line,
                    ) => {
                        tail.push(&line);
                    }
                    _ => {}
                }
            }
        }
        Ok((child.wait()?, Vec::new(), tail.text))
    });
    let (_, stderr) = child.await?;
    Ok(Finished { stderr })
}

/// Runs ffprobe and returns what it printed.
///
/// # Errors
/// As [`ffmpeg`].
pub async fn ffprobe(job: Job<'_>, arguments: Vec<OsString>) -> Result<Vec<u8>, SidecarError> {
    let mut command = launch(&job, &job.programs.ffprobe);
    command.args(["-hide_banner", "-v", "error"]);
    command.args(arguments);
    printed(job, "ffprobe", command).await
}

/// One of ffmpeg's lists about itself, such as `-encoders`.
///
/// # Errors
/// As [`ffmpeg`].
pub async fn ffmpeg_listing(job: Job<'_>, list: &str) -> Result<Vec<u8>, SidecarError> {
    let mut command = launch(&job, &job.programs.ffmpeg);
    command.args(["-hide_banner", "-v", "error", list]);
    printed(job, "ffmpeg", command).await
}

/// Runs yt-dlp and returns what it printed. Of its last words only errors are kept: its warnings quote from the cookies file.
///
/// # Errors
/// As [`ffmpeg`].
pub async fn ytdlp(
    job: Job<'_>,
    program: &Path,
    arguments: Vec<OsString>,
) -> Result<Vec<u8>, SidecarError> {
    let programs = Programs {
        memory: job.programs.memory.min(READER_MEMORY),
        ..job.programs.clone()
    };
    // Its modules may lie where `pip install --user` puts them.
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local"));
    let modules: Vec<PathBuf> = home.iter().map(|base| base.join("lib")).collect();
    let bounded = Job {
        programs: &programs,
        reads: &modules,
        // It asks programs of the system about the machine, and runtimes of JavaScript for sites that hide their streams.
        kin: Kin::Family,
        ..job
    };
    let mut command = launch(&bounded, program);
    // Every way out that it knows leads to the gate, those for protocols that it has yet to learn included. Without a lease there
    // is none: nothing listens on port 0.
    let way_out = job.proxy.unwrap_or("http://127.0.0.1:0");
    command.envs(["http_proxy", "https_proxy", "all_proxy"].map(|name| (name, way_out)));
    // Whatever it keeps for a user, it keeps in the job's directory.
    command
        .envs(["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR"].map(|name| (name, job.dir)));
    command.envs(home.map(|base| ("PYTHONUSERBASE", base)));
    // Code that lies about in some folder is not ours to run.
    command.env("YTDLP_NO_PLUGINS", "1");
    command.args(arguments);
    match printed(job, "yt-dlp", command).await {
        Err(SidecarError::Exit { status, stderr }) => Err(SidecarError::Exit {
            status,
            stderr: errors_of(&stderr),
        }),
        ended => ended,
    }
}

/// The words from the first error on; without one, the last line, which is where Python says what is wrong.
fn errors_of(stderr: &str) -> String {
    let error = stderr
        .match_indices("ERROR:")
        .map(|(place, _)| place)
        .find(|place| *place == 0 || stderr[..*place].ends_with('\n'));
    let Some(start) = error else {
        return stderr.lines().next_back().unwrap_or_default().to_owned();
    };
    stderr[start..]
        .lines()
        .filter(|line| !line.starts_with("WARNING:"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Runs our own binary to draw the texts that lie in the job's folder, and returns what it printed. Text and faces are strangers':
/// whatever they do to a library, they do it to a child.
///
/// # Errors
/// As [`ffmpeg`].
pub async fn letter(job: Job<'_>) -> Result<Vec<u8>, SidecarError> {
    let programs = Programs {
        memory: job.programs.memory.min(LETTER_MEMORY),
        ..job.programs.clone()
    };
    let bounded = Job {
        programs: &programs,
        ..job
    };
    let mut command = launch(&bounded, &job.programs.launcher);
    command.arg("letter");
    printed(job, "letter", command).await
}

/// What the launcher says holds a child on such terms, instead of starting one.
///
/// # Errors
/// As [`ffmpeg`].
pub async fn confinement(job: Job<'_>) -> Result<Confinement, SidecarError> {
    let launcher = &job.programs.launcher;
    let mut command = through(&job, &["--report"]);
    command.arg("--").arg(launcher);
    let told = printed(job, "launch", command).await?;
    serde_json::from_slice(&told).map_err(|error| SidecarError::Io(error.into()))
}

async fn printed(
    job: Job<'_>,
    name: &'static str,
    mut command: Command,
) -> Result<Vec<u8>, SidecarError> {
    let child = supervise(job, name, move |announce| {
        let mut child = command.spawn()?;
        announce(&child);
        drop(child.stdin.take());
        let stderr = child.stderr.take();
        let reader = std::thread::spawn(move || {
            let mut tail = Tail::default();
            let mut buffer = [0_u8; 4096];
            if let Some(mut stderr) = stderr {
                while let Ok(count @ 1..) = stderr.read(&mut buffer) {
                    tail.extend(&String::from_utf8_lossy(&buffer[..count]));
                }
            }
            tail.text
        });
        let mut printed = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(STDOUT_MOST).read_to_end(&mut printed)?;
        }
        let status = child.wait()?;
        Ok((status, printed, reader.join().unwrap_or_default()))
    });
    Ok(child.await?.0)
}

/// The command that becomes `program` by way of the launcher.
fn launch(job: &Job<'_>, program: &Path) -> Command {
    let mut command = through(job, &[]);
    command.arg("--").arg(program);
    command
}

/// The launcher with the job's terms, up to the program.
fn through(job: &Job<'_>, options: &[&str]) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(&job.programs.launcher);
    // CPU time is bounded beside the wall clock, for a child that nobody is left to watch: four cores' worth.
    let cpu = job.deadline.as_secs().saturating_mul(4).saturating_add(5);
    command
        .arg("launch")
        .args(["--parent", &std::process::id().to_string()])
        .args(["--memory", &job.programs.memory.to_string()])
        .args(["--cpu", &cpu.to_string()])
        .args(["--kin", job.kin.as_str()])
        .args(options)
        .current_dir(job.dir)
        .env_clear()
        .env(
            "PATH",
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()),
        )
        .env("LC_ALL", "C.UTF-8")
        // Every thread of a decoder would get a heap of 64 MB of address space, which is what is bounded.
        .env("MALLOC_ARENA_MAX", "2")
        .envs(job.proxy.map(|proxy| ("http_proxy", proxy)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Set here as well as in the launcher, so that a signal to the group cannot come too early.
        .process_group(0);
    for path in job.programs.readable.iter().chain(job.reads) {
        command.arg("--read").arg(path);
    }
    // A way that is not understood stays closed.
    if let Some(port) = job.port() {
        command.args(["--port", &port.to_string()]);
    }
    command
}

type Ended = (ExitStatus, Vec<u8>, String);

/// Runs a child under supervision and counts how it ended. `name` is the program's, whatever its path.
async fn supervise<F>(
    job: Job<'_>,
    name: &'static str,
    body: F,
) -> Result<(Vec<u8>, String), SidecarError>
where
    F: FnOnce(&dyn Fn(&Child)) -> std::io::Result<Ended> + Send + 'static,
{
    if job.stop.is_cancelled() {
        return Err(SidecarError::Stopped);
    }
    metrics::counter!("meme_maker_sidecar_runs_total", "program" => name).increment(1);
    let ended = watched(job, body).await;
    if let Err(error) = &ended {
        metrics::counter!("meme_maker_sidecar_failures_total", "program" => name, "reason" => error.reason())
            .increment(1);
    }
    ended
}

/// Runs `body` on a thread that lives as long as the child does (the parent-death signal follows the thread that started it) and
/// kills the group on deadline, on stop and when this future is dropped.
async fn watched<F>(job: Job<'_>, body: F) -> Result<(Vec<u8>, String), SidecarError>
where
    F: FnOnce(&dyn Fn(&Child)) -> std::io::Result<Ended> + Send + 'static,
{
    let group = Arc::new(Group::default());
    let announced = Arc::clone(&group);
    let program = job.programs.launcher.display().to_string();
    metrics::gauge!("meme_maker_sidecars_running").increment(1.0);
    let running = tokio::task::spawn_blocking(move || {
        let ended = body(&|child| announced.announce(child));
        announced.finish();
        metrics::gauge!("meme_maker_sidecars_running").decrement(1.0);
        ended
    });
    tokio::pin!(running);
    let guard = KillOnDrop(Arc::clone(&group));
    let cut_short = tokio::select! {
        ended = &mut running => {
            drop(guard);
            return judge(ended, &program);
        }
        () = job.stop.cancelled() => SidecarError::Stopped,
        () = tokio::time::sleep(job.deadline) => SidecarError::Deadline(job.deadline),
    };
    group.signal(Signal::TERM);
    if tokio::time::timeout(GRACE, &mut running).await.is_err() {
        group.signal(Signal::KILL);
        let _ = running.await;
    }
    Err(cut_short)
}

fn judge(
    ended: Result<std::io::Result<Ended>, tokio::task::JoinError>,
    program: &str,
) -> Result<(Vec<u8>, String), SidecarError> {
    match ended {
        Err(join) => Err(SidecarError::Io(std::io::Error::other(join))),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(SidecarError::Missing {
                program: program.to_owned(),
            })
        }
        Ok(Err(error)) => Err(SidecarError::Io(error)),
        Ok(Ok((status, printed, stderr))) if status.success() => Ok((printed, stderr)),
        Ok(Ok((status, _, stderr))) if status.code() == Some(CANNOT_EXECUTE) => {
            // The launcher says `PROGRAM: why`.
            let program = stderr
                .split(':')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            Err(SidecarError::Missing { program })
        }
        Ok(Ok((status, _, stderr))) => Err(SidecarError::Exit { status, stderr }),
    }
}

/// The process group of a child, once there is one and until it is reaped: after that its number may belong to somebody else.
#[derive(Default)]
struct Group(std::sync::Mutex<Option<Pid>>);

impl Group {
    fn announce(&self, child: &Child) {
        if let Ok(mut pid) = self.0.lock() {
            *pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        }
    }

    fn finish(&self) {
        if let Ok(mut pid) = self.0.lock() {
            *pid = None;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = self.0.lock()
            && let Some(pid) = *pid
        {
            // It may have ended by itself in between; then there is nobody left to tell.
            let _ = kill_process_group(pid, signal);
        }
    }
}

struct KillOnDrop(Arc<Group>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
    }
}

/// The end of what a child said, bounded.
#[derive(Default)]
struct Tail {
    text: String,
}

impl Tail {
    fn push(&mut self, line: &str) {
        self.extend(line);
        self.extend("\n");
    }

    fn extend(&mut self, piece: &str) {
        self.text.push_str(piece);
        if self.text.len() > STDERR_TAIL {
            let cut = self.text.len() - STDERR_TAIL;
            let cut = (cut..self.text.len())
                .find(|place| self.text.is_char_boundary(*place))
                .unwrap_or(0);
            self.text.drain(..cut);
        }
    }
}

/// An argument list built from mixed pieces.
pub fn arguments<const N: usize>(pieces: [&dyn AsRef<OsStr>; N]) -> Vec<OsString> {
    pieces
        .iter()
        .map(|piece| piece.as_ref().to_owned())
        .collect()
}

/// A local file as ffmpeg is told of it: the protocol is named, so that no path is taken for another one.
pub fn file(path: &Path) -> OsString {
    let mut file = OsString::from("file:");
    file.push(path);
    file
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn why_a_child_did_not_end_well_is_one_of_a_few_words() {
        let ended = |raw| SidecarError::Exit {
            status: ExitStatus::from_raw(raw),
            stderr: String::new(),
        };
        for (error, expected) in [
            (ended(1 << 8), "exit"),
            (ended(9), "killed"),
            (ended(11), "killed"),
            (ended(24), "limit"),
            (ended(25), "limit"),
            (SidecarError::Deadline(Duration::ZERO), "deadline"),
            (SidecarError::Stopped, "stopped"),
        ] {
            assert_eq!(error.reason(), expected, "{error:?}");
        }
    }
}
