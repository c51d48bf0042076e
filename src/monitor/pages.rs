//! Whether pages of video sites can be read here, by which yt-dlp, and how old it is. Its absence is a state and no fault; its age
//! is told with the command that renews it. It never reads a page.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

use super::find_program;
use crate::app::{App, AskedProgram};
use crate::media::sidecar::{self, Job, Kin, Programs};
use crate::source::page::{Installed, OLD_DAYS, Version};
use crate::timestamp::Timestamp;
use crate::worker::chain;

/// How often the program is asked for its version while its file stays the same.
const ASK_AGAIN: Duration = Duration::from_secs(3600);
/// A version that is not said by then is not known.
const ANSWER: Duration = Duration::from_secs(20);

/// What there is to say to an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub detail: String,
    /// What to do; empty when nothing has to be done.
    pub hint: String,
}

/// The program that reads pages, if they are not off.
///
/// # Errors
/// Why they are off.
pub fn reader(setting: &Path) -> Result<PathBuf, Told> {
    if setting.as_os_str().is_empty() {
        return Err(Told {
            detail: "off: sources.ytdlp_path is empty".to_owned(),
            hint: String::new(),
        });
    }
    let found = find_program(setting).and_then(|path| std::path::absolute(path).ok());
    found.ok_or_else(|| Told {
        detail: format!("off: {} is not installed", setting.display()),
        hint: "To make clips from pages: python3 -m venv /opt/yt-dlp && /opt/yt-dlp/bin/pip install yt-dlp, then set \
               sources.ytdlp_path to /opt/yt-dlp/bin/yt-dlp."
            .to_owned(),
    })
}

/// What is told of a program whose version is known.
pub fn judge(program: &Path, version: &Version, now: Timestamp) -> Told {
    let days = version.age_days(now);
    Told {
        detail: format!("yt-dlp {version}, {days} days old"),
        hint: if days > OLD_DAYS {
            format!(
                "Sites change faster than that; update it: {}",
                Installed::look(program).update()
            )
        } else {
            String::new()
        },
    }
}

/// Asks the program for its version. It works in `dir` and has no way to the network.
///
/// # Errors
/// When it does not say, in words for the operator.
pub async fn ask(
    programs: &Programs,
    program: &Path,
    dir: &Path,
    stop: &CancellationToken,
) -> Result<Version, String> {
    let job = Job {
        programs,
        dir,
        deadline: ANSWER,
        stop,
        proxy: None,
        reads: &[],
        kin: Kin::Alone,
    };
    let list = ["--ignore-config", "--version"].map(Into::into).to_vec();
    let printed = sidecar::ytdlp(job, program, list)
        .await
        .map_err(|error| chain(&error))?;
    Version::read(&printed).ok_or_else(|| "it does not say its version".to_owned())
}

/// The health check: what is known by now. It waits for nobody.
pub(super) fn check(app: &App) -> String {
    let told = reader(&app.settings.sources.ytdlp_path).and_then(|program| {
        let asked = app.pages.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.as_ref().filter(|asked| asked.program == program) {
            Some(AskedProgram {
                version: Ok(version),
                ..
            }) => Ok(judge(&program, version, app.now())),
            Some(AskedProgram {
                version: Err(why), ..
            }) => Err(Told {
                detail: format!("{} cannot be used: {why}", program.display()),
                hint: String::new(),
            }),
            None => Err(Told {
                detail: format!("{} has not said its version yet", program.display()),
                hint: String::new(),
            }),
        }
    });
    let told = told.unwrap_or_else(|told| told);
    if told.hint.is_empty() {
        told.detail
    } else {
        format!("{}. {}", told.detail, told.hint)
    }
}

/// Asks the version again when an hour has passed or the program's file has changed.
pub(super) async fn refresh(app: &App, stop: &CancellationToken) {
    let Ok(program) = reader(&app.settings.sources.ytdlp_path) else {
        return;
    };
    let changed = changed(&program);
    let fresh = app
        .pages
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .is_some_and(|asked| {
            asked.program == program && asked.changed == changed && asked.at.elapsed() < ASK_AGAIN
        });
    if fresh {
        return;
    }
    let version = match tempfile::tempdir_in(app.settings.server.data_dir.join("work")) {
        Ok(dir) => ask(&app.tools.engine.programs, &program, dir.path(), stop).await,
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = &version
        && !stop.is_cancelled()
    {
        tracing::warn!(why, "yt-dlp did not say its version");
    }
    *app.pages.lock().unwrap_or_else(PoisonError::into_inner) = Some(AskedProgram {
        at: Instant::now(),
        program,
        changed,
        version,
    });
}

fn changed(program: &Path) -> Option<SystemTime> {
    std::fs::metadata(program)
        .and_then(|file| file.modified())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_program_is_told_with_the_command_that_renews_it() {
        let version = Version::read(b"2026.10.26").unwrap();
        let program = Path::new("/usr/local/bin/yt-dlp");
        for (now, days, hint) in [
            ("2026-10-26T10:00:00Z", "0 days", false),
            ("2026-12-25T10:00:00Z", "60 days", false),
            ("2026-12-26T10:00:00Z", "61 days", true),
            ("2028-10-26T10:00:00Z", "731 days", true),
        ] {
            let now: Timestamp = serde_json::from_value(now.into()).unwrap();
            let told = judge(program, &version, now);
            assert!(
                told.detail.contains("2026.10.26") && told.detail.contains(days),
                "{told:?}"
            );
            assert_eq!(
                told.hint.contains("/usr/local/bin/yt-dlp -U"),
                hint,
                "{told:?}"
            );
        }
    }

    #[test]
    fn pages_are_off_without_a_program() {
        assert!(reader(Path::new("")).unwrap_err().detail.starts_with("off"));
        let missing = reader(Path::new("/nonexistent/yt-dlp")).unwrap_err();
        assert!(missing.detail.starts_with("off") && missing.hint.contains("pip install"));
        assert_eq!(
            reader(Path::new("sh")).map(|path| path.is_absolute()),
            Ok(true)
        );
    }
}
