//! `doctor`: whether this machine has all the service needs, and what to do where it has not; or how a site looks from outside.

mod caller;
mod card;
mod outside;
mod traffic;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Exit, Trouble, block_on, print, settings};
use crate::bytes::Bytes;
use crate::config::{Flags, Settings};
use crate::cut::{Tools, sentence};
use crate::media::sidecar::{self, Confinement, Job, Kin, SidecarError};
use crate::monitor::find_program;
use crate::monitor::pages::{self, Told};
use crate::serve::tools;
use crate::source::page::examine_cookies;
use crate::store::LocalStore;
use crate::worker::chain;

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    outside: outside::Outside,
}

#[derive(Debug, serde::Serialize)]
struct Finding {
    name: &'static str,
    /// None when it could not be checked.
    ok: Option<bool>,
    detail: String,
    /// What to do; empty when nothing has to be done.
    hint: String,
}

impl Finding {
    fn new(name: &'static str, outcome: Result<String, String>, hint: &'static str) -> Finding {
        let ok = outcome.is_ok();
        Finding {
            name,
            ok: Some(ok),
            detail: outcome.unwrap_or_else(|error| error),
            hint: if ok { "" } else { hint }.to_owned(),
        }
    }

    /// Nothing is wrong, but there may be something to do.
    fn fine(name: &'static str, told: Told) -> Finding {
        Finding {
            name,
            ok: Some(true),
            detail: told.detail,
            hint: told.hint,
        }
    }

    fn well(name: &'static str, detail: String) -> Finding {
        Finding {
            name,
            ok: Some(true),
            detail,
            hint: String::new(),
        }
    }

    fn wrong(name: &'static str, detail: String, hint: impl Into<String>) -> Finding {
        Finding {
            name,
            ok: Some(false),
            detail,
            hint: hint.into(),
        }
    }

    fn unchecked(name: &'static str, why: &str) -> Finding {
        Finding {
            name,
            ok: None,
            detail: format!("not checked: {why}"),
            hint: String::new(),
        }
    }
}

const INSTALL: &str =
    "Install ffmpeg (apt-get install ffmpeg) or set engine.ffmpeg and engine.ffprobe.";

pub(super) fn run(doctor: Doctor) -> Result<Exit, Trouble> {
    if let Some(url) = &doctor.outside.url {
        let findings = block_on(outside::examine(&doctor.outside, url))??;
        let ok = tell(&findings, doctor.json, &serde_json::json!({"url": url}));
        return Ok(if ok { Exit::Done } else { Exit::Failed });
    }
    let settings = settings(&Flags {
        config: doctor.config,
        data_dir: doctor.data_dir,
        ..Flags::default()
    })?;
    let (findings, held) = block_on(examine(&settings))??;
    let ok = tell(
        &findings,
        doctor.json,
        &serde_json::json!({"sandbox": held}),
    );
    let missing = findings
        .iter()
        .any(|finding| finding.ok == Some(false) && matches!(finding.name, "ffmpeg" | "ffprobe"));
    Ok(match (ok, missing) {
        (true, _) => Exit::Done,
        (false, true) => Exit::ProgramMissing,
        (false, false) => Exit::Failed,
    })
}

/// Prints what was found, for a person or as one object with `more` in it; whether nothing is wrong.
fn tell(findings: &[Finding], json: bool, more: &serde_json::Value) -> bool {
    let ok = findings.iter().all(|finding| finding.ok != Some(false));
    if json {
        let mut told = serde_json::json!({"ok": ok, "checks": findings});
        if let (Some(told), Some(more)) = (told.as_object_mut(), more.as_object()) {
            told.extend(more.clone());
        }
        print(&told.to_string());
        return ok;
    }
    for finding in findings {
        let word = match finding.ok {
            Some(true) => "ok  ",
            Some(false) => "FAIL",
            None => "-   ",
        };
        print(&format!("{word} {:<9} {}", finding.name, finding.detail));
        if !finding.hint.is_empty() {
            print(&format!("     {:<9} {}", "", finding.hint));
        }
    }
    print(if ok {
        "All is well."
    } else {
        "Something is missing; see the lines marked FAIL."
    });
    ok
}

/// What was found, and what holds the programs.
async fn examine(settings: &Settings) -> Result<(Vec<Finding>, Option<Confinement>), Trouble> {
    let tools = tools(settings).await?;
    let dir = tempfile::tempdir()
        .map_err(|error| Trouble::io("no temporary folder can be made", &error))?;
    let stop = CancellationToken::new();
    let job = Job {
        programs: &tools.engine.programs,
        dir: dir.path(),
        deadline: Duration::from_secs(20),
        stop: &stop,
        proxy: None,
        reads: &[],
        kin: Kin::Alone,
    };
    let probe_version = version(sidecar::ffprobe(job, vec!["-show_program_version".into()]).await);
    let encoders = sidecar::ffmpeg_listing(job, "-encoders").await;
    let held = sidecar::confinement(job).await;
    let mut findings = vec![
        Finding::new("ffmpeg", located(&settings.engine.ffmpeg), INSTALL),
        Finding::new(
            "ffprobe",
            located(&settings.engine.ffprobe)
                .and_then(|path| Ok(format!("{path}, version {}", probe_version?))),
            INSTALL,
        ),
        Finding::new(
            "encoders",
            encoders_there(encoders),
            "Install an ffmpeg with all encoders named, such as Debian's.",
        ),
        Finding::new(
            "cut",
            test_cut(&tools, dir.path(), &stop, job).await,
            "Run it again with --json; see whether ffmpeg runs by hand.",
        ),
        sandbox(&held),
        Finding::new(
            "data",
            writable(settings),
            "Give the service's user the folder: chown -R meme-maker DIR.",
        ),
        Finding::new(
            "disk",
            space(settings),
            "Free some space or lower monitor.floor.",
        ),
    ];
    findings.push(reads_pages(settings, job).await);
    if !settings.sources.cookies_file.as_os_str().is_empty() {
        findings.push(cookies(&settings.sources.cookies_file));
    }
    tools.gate.close().await;
    Ok((findings, held.ok()))
}

/// What holds the programs. An older kernel that holds less is told of and no failure: the service works all the same.
fn sandbox(held: &Result<Confinement, SidecarError>) -> Finding {
    const HINT: &str = "Linux 6.12 holds all of it; in a container, see whether its profile refuses Landlock or seccomp.";
    let finding = Finding::new(
        "sandbox",
        held.as_ref()
            .map(ToString::to_string)
            .map_err(|error| chain(error)),
        "Run it again as the user of the service; a container may refuse to limit processes.",
    );
    match held {
        Ok(held) if !held.is_whole() => Finding {
            hint: HINT.to_owned(),
            ..finding
        },
        Ok(_) | Err(_) => finding,
    }
}

/// The reader of pages may be absent, but not broken.
async fn reads_pages(settings: &Settings, job: Job<'_>) -> Finding {
    let program = match pages::reader(&settings.sources.ytdlp_path) {
        Ok(program) => program,
        Err(off) => return Finding::fine("pages", off),
    };
    let shown = program.display();
    match pages::ask(job.programs, &program, job.dir, job.stop).await {
        Ok(version) => {
            let told = pages::judge(
                &program,
                &version,
                crate::app::clock::Clock::default().now(),
            );
            Finding::fine(
                "pages",
                Told {
                    detail: format!("{shown}, {}", told.detail),
                    ..told
                },
            )
        }
        Err(why) => Finding::new(
            "pages",
            Err(format!("{shown}: {}", why.replace('\n', " "))),
            "Run it with --version by hand and install it anew; an empty sources.ytdlp_path switches pages off.",
        ),
    }
}

fn cookies(file: &std::path::Path) -> Finding {
    let shown = file.display();
    let counted = examine_cookies(file)
        .map(|count| format!("{count} in {shown}"))
        .map_err(|why| format!("{shown}: {why}"));
    Finding::new(
        "cookies",
        counted,
        "Export them again in Netscape's format and let the service's user read the file.",
    )
}

fn located(program: &std::path::Path) -> Result<String, String> {
    match find_program(program) {
        Some(path) => Ok(path.display().to_string()),
        None => Err(format!("{} was not found", program.display())),
    }
}

fn version(printed: Result<Vec<u8>, SidecarError>) -> Result<String, String> {
    let printed = printed.map_err(|error| chain(&error))?;
    let text = String::from_utf8_lossy(&printed);
    let version = text.lines().find_map(|line| line.strip_prefix("version="));
    version
        .map(str::to_owned)
        .ok_or_else(|| "it does not say its version".to_owned())
}

/// What the formats are made with.
const ENCODERS: [&str; 8] = [
    "libx264",
    "aac",
    "mjpeg",
    "libvpx-vp9",
    "libopus",
    "gif",
    "libwebp_anim",
    "libmp3lame",
];

fn encoders_there(listing: Result<Vec<u8>, SidecarError>) -> Result<String, String> {
    let listing = listing.map_err(|error| chain(&error))?;
    let listing = String::from_utf8_lossy(&listing);
    let has = |encoder: &str| {
        listing
            .lines()
            .any(|line| line.split_whitespace().nth(1) == Some(encoder))
    };
    let missing: Vec<&str> = ENCODERS
        .into_iter()
        .filter(|encoder| !has(encoder))
        .collect();
    if missing.is_empty() {
        Ok(ENCODERS.join(", "))
    } else {
        Err(format!("{} missing", missing.join(", ")))
    }
}

/// Half a second made from nothing, encoded as clips are and read back.
async fn test_cut(
    tools: &Tools,
    dir: &std::path::Path,
    stop: &CancellationToken,
    job: Job<'_>,
) -> Result<String, String> {
    let target = dir.join("test.mp4");
    let began = std::time::Instant::now();
    let list = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=640x360:rate=30:duration=0.5",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=0.5",
        "-c:v",
        "libx264",
        "-preset",
        &tools.engine.preset,
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-movflags",
        "+faststart",
        "-f",
        "mp4",
    ];
    let mut list: Vec<OsString> = list.into_iter().map(OsString::from).collect();
    list.push(target.clone().into());
    sidecar::ffmpeg(job, list, |_| {})
        .await
        .map_err(|error| chain(&error))?;
    let (progress, _) = watch::channel(0.0);
    let bench = tools.bench(dir, stop, &progress);
    let table = crate::media::packets::read(&bench, &target)
        .await
        .map_err(|error| sentence(&chain(&error)))?;
    let found = table.probe.ok_or("The test clip has no pictures.")?;
    let frames = table.video.map_or(0, |track| track.packets.len());
    if frames != 15 || found.video.codec != "h264" || found.audio.is_none() {
        return Err(format!(
            "the test clip came out wrong: {frames} frames of {}",
            found.video.codec
        ));
    }
    Ok(format!(
        "15 frames encoded and read back in {:.2} s",
        began.elapsed().as_secs_f64()
    ))
}

fn writable(settings: &Settings) -> Result<String, String> {
    let data = &settings.server.data_dir;
    LocalStore::open(&settings.storage_dir(), data)
        .and_then(|store| store.writable())
        .map(|()| format!("{} can be written to", data.display()))
        .map_err(|error| format!("{}: {error}", data.display()))
}

fn space(settings: &Settings) -> Result<String, String> {
    let dir = settings.storage_dir();
    let (total, available) =
        crate::monitor::disk(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let floor = settings.monitor.floor;
    let told = format!(
        "{} of {} free, {floor} stay free",
        Bytes(available),
        Bytes(total)
    );
    if available > floor.0 {
        Ok(told)
    } else {
        Err(told)
    }
}
