//! `serve`: the settings, the log, and then the service.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::{Exit, Trouble, block_on, settings};
use crate::config::{Flags, Log, LogFormat};

/// Flags of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Serve {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, like 127.0.0.1:8000
    #[arg(long, value_name = "ADDR")]
    bind: Option<SocketAddr>,
    /// Folder for everything that is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(super) fn run(serve: Serve) -> Result<Exit, Trouble> {
    let settings = settings(&Flags {
        config: serve.config,
        bind: serve.bind,
        data_dir: serve.data_dir,
    })?;
    log_to_stderr(&settings.log)?;
    block_on(crate::serve::run(settings))??;
    Ok(Exit::Done)
}

fn log_to_stderr(log: &Log) -> Result<(), Trouble> {
    // A plain level means our own words; the libraries below speak up only when something is wrong.
    let directives = if log.level.contains([',', '=']) {
        log.level.clone()
    } else {
        format!(
            "{},actix_server=warn,tokio_cron_scheduler=warn,hickory_resolver=warn,hickory_net=warn",
            log.level
        )
    };
    let filter = EnvFilter::try_new(directives).map_err(|error| Trouble {
        exit: Exit::BadInput,
        code: "config_invalid".to_owned(),
        sentence: format!("`log.level` cannot be {}: {error}.", log.level),
        hint: "Use error, warn, info, debug or trace.".to_owned(),
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A reader of the log that goes away must not take the service with it: telling about it would be one more failed write.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    match log.format {
        // The journal keeps plain text best.
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
