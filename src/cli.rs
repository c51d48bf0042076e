//! The command line: parsing, dispatch and exit codes. One file a subcommand.

mod alert;
mod backup;
mod cleanup;
mod clip;
mod doctor;
mod fsck;
mod launch;
mod letter;
mod outward;
mod probe;
mod reindex;
mod restore;
mod schema;
mod serve;
mod token;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::backup::BackupError;
use crate::config::{ConfigError, Flags, Settings};
use crate::cut::{CutError, sentence};
use crate::index::IndexError;
use crate::media::MediaError;
use crate::recipe::{Source, parse_source_url};
use crate::repair::RepairError;
use crate::serve::StartError;
use crate::source::SourceError;
use crate::worker::chain;

/// Frame-exact clips from a link or a file.
#[derive(Debug, Parser)]
#[command(
    name = "meme-maker",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Serve(serve::Serve),
    /// Cut a clip, without a server.
    Clip(Box<clip::Clip>),
    /// Show what a source is made of.
    Probe(probe::Probe),
    /// Check that this machine has all the service needs.
    Doctor(doctor::Doctor),
    /// Remove what is expired or orphaned, as the nightly sweep does.
    Cleanup(cleanup::Cleanup),
    /// Write index, ledger and key into one archive, while the service runs.
    Backup(backup::Backup),
    /// Unpack a backup into an empty or missing data folder.
    Restore(restore::Restore),
    /// Hold index, ledger and storage against each other, and mend what differs.
    Fsck(fsck::Fsck),
    /// Make the index anew from ledger and storage.
    Reindex(reindex::Reindex),
    /// Make, list and revoke tokens of the service.
    Token(token::Token),
    /// Tell monitor.webhook_url that a unit has failed, as systemd does by OnFailure.
    Alert(alert::Alert),
    /// Show the schema of the index, or bring it to an older one for an older binary.
    Schema(schema::Schema),
    /// Print the OpenAPI document.
    Openapi,
    #[command(hide = true)]
    Launch(launch::Launch),
    #[command(hide = true)]
    Letter,
}

/// Where a command finds the service's settings and data.
#[derive(Debug, clap::Args)]
struct Place {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn settings(self) -> Result<Settings, Trouble> {
        settings(&Flags {
            config: self.config,
            data_dir: self.data_dir,
            ..Flags::default()
        })
    }
}

/// Exit codes that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    BadInput = 3,
    Source = 4,
    NoSpace = 5,
    ProgramMissing = 6,
}

impl Exit {
    /// Of a failure, which may be one for want of room.
    const fn of(full: bool) -> Exit {
        if full { Exit::NoSpace } else { Exit::Failed }
    }
}

/// What went wrong, for a person at a terminal: one sentence, the code, the next step.
#[derive(Debug)]
struct Trouble {
    exit: Exit,
    code: String,
    sentence: String,
    hint: String,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Asking for help or the version is no mistake.
            let code = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            let _ = error.print();
            return ExitCode::from(code as u8);
        }
    };
    let result = match cli.command {
        Command::Launch(launch) => return launch::run(launch),
        Command::Letter => return letter::run(),
        Command::Serve(serve) => serve::run(serve),
        Command::Clip(clip) => clip::run(*clip),
        Command::Probe(probe) => probe::run(probe),
        Command::Doctor(doctor) => doctor::run(doctor),
        Command::Cleanup(cleanup) => cleanup::run(cleanup),
        Command::Backup(backup) => backup::run(backup),
        Command::Restore(restore) => restore::run(restore),
        Command::Fsck(fsck) => fsck::run(fsck),
        Command::Reindex(reindex) => reindex::run(reindex),
        Command::Token(token) => token::run(token),
        Command::Alert(alert) => alert::run(alert),
        Command::Schema(schema) => schema::run(schema),
        Command::Openapi => {
            print(&crate::http::openapi::json());
            Ok(Exit::Done)
        }
    };
    match result {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(trouble) => {
            let mut stderr = std::io::stderr();
            let _ = writeln!(
                stderr,
                "{} ({})\n{}",
                trouble.sentence, trouble.code, trouble.hint
            );
            ExitCode::from(trouble.exit as u8)
        }
    }
}

/// Prints a line to standard output; a reader that went away is no error.
fn print(line: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{line}");
}

/// Reads the settings: a file if named, the environment, and what the subcommand's flags say.
fn settings(flags: &Flags) -> Result<Settings, Trouble> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Settings::load(flags, environment).map_err(Trouble::from)
}

/// Refuses to touch a data folder of another user: what this process makes there would be its own, and a service that finds a file
/// of root's in its index cannot start any more.
fn as_its_owner(data_dir: &Path) -> Result<(), Trouble> {
    use std::os::unix::fs::MetadataExt;
    let Ok(found) = std::fs::metadata(data_dir) else {
        // Whoever opens it says what is wrong.
        return Ok(());
    };
    let (owner, own) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == own {
        return Ok(());
    }
    let name = user_name(owner).unwrap_or_else(|| format!("'#{owner}'"));
    Err(Trouble {
        exit: Exit::Failed,
        code: "data_dir_owner".to_owned(),
        sentence: format!(
            "{} belongs to the user {name}, and this command runs as another.",
            data_dir.display()
        ),
        hint: format!("Run the same command as that user: sudo -u {name} meme-maker ..."),
    })
}

fn user_name(wanted: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(wanted)).then(|| name.to_owned())
    })
}

/// A source as it is written on the command line: a link if it looks like one, else a path.
fn source(text: &str) -> Result<Source, Trouble> {
    if text.contains("://") {
        let url = parse_source_url(text).map_err(|rule| Trouble {
            exit: Exit::BadInput,
            code: rule.code().to_owned(),
            sentence: sentence(&rule.to_string()),
            hint: rule.hint(),
        })?;
        return Ok(Source::Url(url));
    }
    Ok(Source::File(PathBuf::from(text)))
}

/// A runtime for one command.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Trouble> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Trouble::io("threads could not be started", &error))?;
    Ok(runtime.block_on(work))
}

impl Trouble {
    fn io(what: &str, error: &std::io::Error) -> Trouble {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        Trouble {
            exit: if full { Exit::NoSpace } else { Exit::Failed },
            code: if full { "disk_full" } else { "io" }.to_owned(),
            sentence: sentence(&format!("{what}: {error}")),
            hint: if full {
                "Make room on the disk and try again."
            } else {
                "Check the path and its permissions."
            }
            .to_owned(),
        }
    }
}

impl From<ConfigError> for Trouble {
    fn from(error: ConfigError) -> Trouble {
        Trouble {
            exit: Exit::BadInput,
            code: "config_invalid".to_owned(),
            sentence: sentence(&chain(&error)),
            hint: "See deploy/config.toml for every key and its default.".to_owned(),
        }
    }
}

impl From<RepairError> for Trouble {
    fn from(error: RepairError) -> Trouble {
        Trouble {
            exit: Exit::of(error.is_full()),
            code: error.code().to_owned(),
            sentence: sentence(&chain(&error)),
            hint: error.hint().to_owned(),
        }
    }
}

impl From<BackupError> for Trouble {
    fn from(error: BackupError) -> Trouble {
        let exit = match error.code() {
            "disk_full" | "disk_low" => Exit::NoSpace,
            "backup_exists" | "backup_damaged" | "backup_newer" | "data_dir_not_empty"
            | "secret_exists" => Exit::BadInput,
            _ => Exit::Failed,
        };
        Trouble {
            exit,
            code: error.code().to_owned(),
            sentence: sentence(&chain(&error)),
            hint: error.hint().to_owned(),
        }
    }
}

impl From<StartError> for Trouble {
    fn from(error: StartError) -> Trouble {
        let (exit, code, hint) = match &error {
            StartError::Folder(..) => (
                Exit::Failed,
                "data_dir",
                "Check server.data_dir and its owner.",
            ),
            StartError::Index(IndexError::Newer { .. }) => (
                Exit::Failed,
                "index",
                "Check server.data_dir; a newer version may have written it.",
            ),
            StartError::Index(_) => (
                Exit::Failed,
                "index",
                "Run meme-maker fsck, which says what is wrong; meme-maker reindex makes the index anew and keeps the old one.",
            ),
            StartError::IndexLost(_) => (
                Exit::Failed,
                "index_missing",
                "Start the service or run meme-maker reindex: both make it anew from ledger and storage.",
            ),
            StartError::Repair(error) => (Exit::of(error.is_full()), error.code(), error.hint()),
            StartError::Policy(_) => (
                Exit::BadInput,
                "config_invalid",
                "Write CIDRs, addresses, host names or *.domains.",
            ),
            StartError::Bind(..) => (
                Exit::Failed,
                "bind",
                "Choose another server.bind or stop what listens there.",
            ),
            StartError::Cron(_) => (
                Exit::BadInput,
                "config_invalid",
                "Write second minute hour day month weekday.",
            ),
            StartError::Gate(_)
            | StartError::Metrics(_)
            | StartError::Library(_)
            | StartError::Server(_) => (Exit::Failed, "start", "Look at the log above."),
        };
        Trouble {
            exit,
            code: code.to_owned(),
            sentence: sentence(&chain(&error)),
            hint: hint.to_owned(),
        }
    }
}

impl From<CutError> for Trouble {
    fn from(error: CutError) -> Trouble {
        let exit = match &error {
            CutError::Playlist(_) => Exit::BadInput,
            CutError::Fetch(_) | CutError::Page(_) => Exit::Source,
            CutError::Source(
                SourceError::Refused(_)
                | SourceError::File(..)
                | SourceError::UploadGone
                | SourceError::Upload(_),
            ) => Exit::Source,
            CutError::Media(error) => match error {
                MediaError::Unsupported(_)
                | MediaError::NoVideo
                | MediaError::TooLarge
                | MediaError::Range(_)
                | MediaError::NoFrames
                | MediaError::Crop(_)
                | MediaError::NoSound
                | MediaError::Fit { .. }
                | MediaError::Letters(_)
                | MediaError::CaptionTooLong(..)
                | MediaError::Truncated { .. }
                | MediaError::Damaged(_) => Exit::BadInput,
                MediaError::Unreachable(_) | MediaError::Timeout => Exit::Source,
                MediaError::NoSpace => Exit::NoSpace,
                MediaError::Engine(crate::media::sidecar::SidecarError::Missing { .. }) => {
                    Exit::ProgramMissing
                }
                MediaError::Engine(_)
                | MediaError::Lettering(_)
                | MediaError::Check(_)
                | MediaError::Splice(_)
                | MediaError::Deadline
                | MediaError::Stopped
                | MediaError::Io(_) => Exit::Failed,
            },
        };
        Trouble {
            exit,
            code: error.code().to_owned(),
            sentence: sentence(&error.to_string()),
            hint: error.hint().to_owned(),
        }
    }
}
