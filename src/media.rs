//! The engine room: from an input and a recipe to a finished, checked file. It knows nothing of HTTP, the index or the network's
//! rules: what it may reach is in the [`Input`] it is given.

pub mod check;
pub mod copy;
pub mod encode;
pub mod fit;
pub mod lettering;
pub mod packets;
pub mod plan;
pub mod poster;
pub mod preview;
pub mod probe;
pub mod rendering;
pub mod sidecar;
pub mod splice;
pub mod window;
use std::borrow::Cow;
use std::path::PathBuf;

use tokio::sync::watch;

use crate::bytes::Bytes;
use crate::clip::Method;
use crate::cost::Work;
use crate::recipe::frame::Frame;
use crate::recipe::{Format, Mode, Recipe, crop};
use crate::seconds::Seconds;
use encode::Rate;
use fit::{Bound, Fitted};
use rendering::Rendering;
use sidecar::{Job, SidecarError};

/// What is to be cut: a local file or a link with the proxy through which alone it may be reached.
#[derive(Clone, Debug)]
pub enum Input {
    File(PathBuf),
    Link { url: String, proxy: String },
}

/// The engine's settings, taken from the configuration once.
#[derive(Clone, Debug)]
pub struct Engine {
    pub programs: sidecar::Programs,
    pub threads: u32,
    pub preset: String,
    pub crf: u32,
    /// The preset of clips that have to fit into a size, which are made in two passes.
    pub fit_preset: String,
    pub max_height: u32,
    pub max_pixels: u64,
    pub probe_deadline: std::time::Duration,
    pub fetch_deadline: std::time::Duration,
    pub cut_deadline: std::time::Duration,
    /// Folders with Noto faces beside the system's.
    pub fonts: Vec<PathBuf>,
}

/// How far a job has come, as a share of the whole from 0 to 1.
pub type Progress = watch::Sender<f64>;

/// Everything one job needs at hand.
#[derive(Debug)]
pub struct Bench<'a> {
    pub engine: &'a Engine,
    /// A directory of its own; the caller removes it.
    pub dir: &'a std::path::Path,
    pub stop: &'a tokio_util::sync::CancellationToken,
    pub progress: &'a Progress,
    /// Whom the work is for, where that is written down.
    pub subject: Option<&'a str>,
}

impl<'a> Bench<'a> {
    /// The same place, for work that is about somebody.
    #[must_use]
    pub fn about(self, subject: &'a str) -> Bench<'a> {
        Bench {
            subject: Some(subject),
            ..self
        }
    }

    /// A sidecar's terms: its deadline and what may stop it.
    pub fn job(&self, deadline: std::time::Duration) -> Job<'_> {
        Job {
            programs: &self.engine.programs,
            dir: self.dir,
            deadline,
            stop: self.stop,
            proxy: None,
            reads: &[],
            kin: sidecar::Kin::Alone,
        }
    }
}

/// Why no clip came out. Each has a stable code, a sentence and a next step.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error("this cannot be read as a video")]
    Unsupported(#[source] Option<SidecarError>),
    #[error("the source has no video")]
    NoVideo,
    #[error("the pictures of this source are larger than this service decodes")]
    TooLarge,
    #[error("the server of the source answered with an error")]
    Unreachable(#[source] SidecarError),
    #[error("the source did not answer in time")]
    Timeout,
    #[error("the start lies after the end of the source, which is {0} s long")]
    Range(Seconds),
    #[error("there is no picture between start and end")]
    NoFrames,
    #[error(transparent)]
    Crop(#[from] crop::Unfit),
    #[error("this stretch of the source has no sound")]
    NoSound,
    #[error(
        "this clip does not fit into {target}; the least that still shows something is {least}"
    )]
    Fit { target: Bytes, least: Bytes },
    #[error("no font at hand has the letters {0}")]
    Letters(String),
    #[error("a text does not fit into a picture of {0}x{1} in letters that can be read")]
    CaptionTooLong(u32, u32),
    #[error("the texts of the clip could not be drawn")]
    Lettering(#[source] SidecarError),
    #[error("the source ends at {got} s although it says it is {said} s long")]
    Truncated { got: Seconds, said: Seconds },
    #[error("the video is damaged where it was to be cut")]
    Damaged(#[source] Option<SidecarError>),
    #[error("the finished clip did not pass its check: {0}")]
    Check(String),
    #[error("the parts of the clip do not fit together: {0}")]
    Splice(String),
    #[error("the cut took longer than it may")]
    Deadline,
    #[error("{}", engine_text(.0))]
    Engine(#[source] SidecarError),
    #[error("the job was stopped")]
    Stopped,
    #[error("there is no space left for the work")]
    NoSpace,
    #[error("a file could not be read or written")]
    Io(#[source] std::io::Error),
}

impl From<std::io::Error> for MediaError {
    fn from(error: std::io::Error) -> MediaError {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                MediaError::NoSpace
            }
            // Not the disk but what is on it.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                MediaError::Unsupported(None)
            }
            _ => MediaError::Io(error),
        }
    }
}

fn engine_text(error: &SidecarError) -> String {
    match error {
        SidecarError::Missing { .. } => {
            "the program ffmpeg or ffprobe is not installed or cannot be started".to_owned()
        }
        SidecarError::Exit { .. }
        | SidecarError::Deadline(_)
        | SidecarError::Stopped
        | SidecarError::Io(_) => "the program ffmpeg could not make this clip".to_owned(),
    }
}

impl MediaError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            MediaError::Unsupported(_) => "source_unsupported",
            MediaError::NoVideo => "source_no_video",
            MediaError::TooLarge => "source_too_large",
            MediaError::Unreachable(_) => "source_unreachable",
            MediaError::Timeout => "source_timeout",
            MediaError::Range(_) => "time_range",
            MediaError::NoFrames => "clip_empty",
            MediaError::Crop(crop::Unfit::Outside(..)) => "crop_outside",
            MediaError::Crop(crop::Unfit::Small) => "crop_too_small",
            MediaError::NoSound => "source_no_sound",
            MediaError::Fit { .. } => "fit_too_small",
            MediaError::Letters(_) => "caption_letters",
            MediaError::CaptionTooLong(..) => "caption_too_long",
            MediaError::Lettering(_) => "caption_failed",
            MediaError::Truncated { .. } => "source_truncated",
            MediaError::Damaged(_) => "source_damaged",
            MediaError::Check(_) => "cut_check",
            MediaError::Splice(_) => "cut_failed",
            MediaError::Deadline => "cut_timeout",
            MediaError::Engine(SidecarError::Missing { .. }) => "program_missing",
            MediaError::Engine(_) => "cut_failed",
            MediaError::Stopped => "cancelled",
            MediaError::NoSpace => "disk_full",
            MediaError::Io(_) => "io",
        }
    }

    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            MediaError::Unsupported(_) => "Check that it is a video file and plays in a browser.",
            MediaError::NoVideo => "Use a source with pictures; sound alone cannot be cut yet.",
            MediaError::TooLarge => "Use a version of the video with smaller pictures.",
            MediaError::Unreachable(_) => "Check that the link still works, then try again.",
            MediaError::Timeout => "Try again later; the server may be slow.",
            MediaError::Range(_) => "Choose times within the source.",
            MediaError::NoFrames => "Choose a longer stretch.",
            MediaError::Crop(_) => "Choose a part of the picture as it is shown.",
            MediaError::NoSound => "Choose another stretch, or a format with pictures.",
            MediaError::Fit { .. } => "Choose a larger target or a shorter stretch.",
            MediaError::Letters(_) => {
                "Write it in other letters, or ask the operator to install a Noto font that has them."
            }
            MediaError::CaptionTooLong(..) => "Shorten the text, or choose a larger picture.",
            MediaError::Lettering(_) => {
                "Try again or write it in other words; `meme-maker doctor` tells whether the engine works."
            }
            MediaError::Truncated { .. } => "The source is incomplete; use another copy of it.",
            MediaError::Damaged(_) => "Use another copy of the video, or another part of it.",
            MediaError::Check(_) | MediaError::Splice(_) => {
                "Try another copy of the video; this one may be damaged. If it plays well, report it."
            }
            MediaError::Deadline => "Choose a shorter stretch or a smaller height.",
            MediaError::Engine(SidecarError::Missing { .. }) => {
                "Install ffmpeg; `meme-maker doctor` says more."
            }
            MediaError::Engine(_) => {
                "Try again; `meme-maker doctor` tells whether the engine works."
            }
            MediaError::Stopped => "Start it again when you like.",
            MediaError::NoSpace => "Make room on the disk and try again.",
            MediaError::Io(_) => "Check the data directory with `meme-maker doctor`.",
        }
    }

    /// The same for a source whose bytes can be had, on the disk or from a server that gives ranges: when ffmpeg comes to an end too
    /// early, that is where the file says it goes on.
    #[must_use]
    pub fn of_what_is_there(self) -> MediaError {
        const SERVER: [&str; 3] = ["HTTP error", "Server returned", "Connection"];
        match self {
            MediaError::Unreachable(SidecarError::Exit { status, stderr })
                if SERVER.iter().all(|words| !stderr.contains(words)) =>
            {
                MediaError::Unsupported(Some(SidecarError::Exit { status, stderr }))
            }
            other => other,
        }
    }

    /// Whether another method may do better: the cut itself went wrong, not the world around it.
    fn is_about_the_cut(&self) -> bool {
        match self {
            MediaError::Check(_)
            | MediaError::Splice(_)
            | MediaError::Damaged(_)
            | MediaError::Engine(_)
            | MediaError::Io(_) => true,
            MediaError::Unsupported(_)
            | MediaError::NoVideo
            | MediaError::TooLarge
            | MediaError::Unreachable(_)
            | MediaError::Timeout
            | MediaError::Range(_)
            | MediaError::NoFrames
            | MediaError::Crop(_)
            | MediaError::NoSound
            | MediaError::Fit { .. }
            | MediaError::Letters(_)
            | MediaError::CaptionTooLong(..)
            | MediaError::Lettering(_)
            | MediaError::Truncated { .. }
            | MediaError::Deadline
            | MediaError::Stopped
            | MediaError::NoSpace => false,
        }
    }

    /// Sorts a sidecar's end into the error people are told; `reading` says that it was the source being read, not a clip being made.
    fn from_sidecar(error: SidecarError, phase: Phase) -> MediaError {
        match &error {
            SidecarError::Stopped => MediaError::Stopped,
            SidecarError::Deadline(_) => match phase {
                Phase::Reading => MediaError::Timeout,
                Phase::Cutting => MediaError::Deadline,
            },
            SidecarError::Missing { .. } => MediaError::Engine(error),
            SidecarError::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => {
                MediaError::NoSpace
            }
            SidecarError::Io(_) => MediaError::Engine(error),
            SidecarError::Exit { stderr, .. } => {
                let said = |needle: &str| stderr.contains(needle);
                if said("No space left on device") {
                    return MediaError::NoSpace;
                }
                match phase {
                    Phase::Cutting
                        if said("Invalid data found")
                            || said("Error while decoding")
                            || said("Invalid NAL") =>
                    {
                        MediaError::Damaged(Some(error))
                    }
                    Phase::Cutting => MediaError::Engine(error),
                    Phase::Reading => {
                        if said("Picture size") || said("picture size") {
                            MediaError::TooLarge
                        } else if said("HTTP error")
                            || said("Server returned")
                            || said("Connection refused")
                            || said("Connection timed out")
                            || said("Connection reset")
                            || said("Input/output error")
                            || said("End of file")
                        {
                            // Servers that refuse the beginning of a file have an empty one.
                            if said("416") {
                                return MediaError::Unsupported(Some(error));
                            }
                            MediaError::Unreachable(error)
                        } else {
                            MediaError::Unsupported(Some(error))
                        }
                    }
                }
            }
        }
    }
}

/// A cut that passed its check, with the picture for it.
struct Passed {
    checked: check::Checked,
    poster: Option<PathBuf>,
    bound: Bound,
    /// Seconds that the cut and the check took.
    cut: f64,
    check: f64,
}

/// Cuts by the plan's method; what comes out is no larger than it may be.
async fn cut<'a>(
    bench: &Bench<'_>,
    rendering: &Rendering<'a>,
    path: &std::path::Path,
) -> Result<Fitted<'a>, MediaError> {
    let (windows, plan) = (rendering.windows, rendering.plan);
    match (plan.method, rendering.fit) {
        (Method::Splice, _) => splice::splice(bench, rendering, path).await?,
        (Method::Encode, Some(fit)) => return fit::encode(bench, rendering, fit, path).await,
        (Method::Encode, None) => {
            encode::encode(bench, rendering, Rate::Quality, path).await?;
        }
        (Method::Copy, _) if rendering.format == Format::M4a => {
            copy::sound(windows, plan, path).await?;
        }
        (Method::Copy, _) => copy::copy(bench, windows, plan, path).await?,
    }
    let size = tokio::fs::metadata(path).await?.len();
    held(rendering, size)?;
    Ok(Fitted {
        rendering: rendering.clone(),
        bound: Bound::Quality,
    })
}

/// Holds a size against what the file may have.
fn held(rendering: &Rendering<'_>, size: u64) -> Result<(), MediaError> {
    match rendering.fit {
        Some(fit) if !fit::within(size, fit.0) => Err(MediaError::Fit {
            target: fit.0,
            least: fit::rounded_up(size as f64),
        }),
        _ => Ok(()),
    }
}

/// Cuts by the plan's method, checks what came out and makes its poster.
async fn cut_and_check(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    path: &std::path::Path,
) -> Result<Passed, MediaError> {
    let began = std::time::Instant::now();
    let Fitted { rendering, bound } = cut(bench, rendering, path).await?;
    let cut = began.elapsed().as_secs_f64();
    let checked = check::check(bench, &rendering, path).await?;
    held(&rendering, checked.size)?;
    let check = began.elapsed().as_secs_f64() - cut;
    Ok(Passed {
        checked,
        poster: poster::poster(bench, &rendering, path).await?,
        bound,
        cut,
        check,
    })
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Reading,
    Cutting,
}

/// A finished clip in the work directory, checked.
#[derive(Debug)]
pub struct Made {
    pub path: PathBuf,
    pub poster: Option<PathBuf>,
    pub method: Method,
    pub reason: &'static str,
    pub start: Seconds,
    pub end: Seconds,
    pub truncated: bool,
    /// Why the splice that was tried first was discarded.
    pub fallback: Option<String>,
    /// Frames taken over bit for bit.
    pub frames_copied: u64,
    /// What was planned at first.
    pub work: Work,
    pub checked: check::Checked,
    pub seconds: Spent,
}

/// Wall-clock seconds by step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    pub plan: f64,
    /// Head and tail encoded and everything joined, or all of it encoded, or copied.
    pub encode: f64,
    pub check: f64,
    /// All of it, with the poster and whatever was discarded.
    pub total: f64,
}

/// The reason of a clip whose size decides how it is made.
pub const FIT: &str = "fit";

/// The windows as files of their own, which sidecars read from their beginning.
async fn readable<'a>(
    bench: &Bench<'_>,
    windows: Cow<'a, [window::Window]>,
    recipe: &Recipe,
) -> Result<Cow<'a, [window::Window]>, MediaError> {
    // Of sound alone nobody reads the pictures; its encoder takes what it needs.
    if !recipe.format.has_pictures() || windows.iter().all(|window| !window.in_place) {
        return Ok(windows);
    }
    let mut files = Vec::new();
    for (number, window) in windows.iter().enumerate() {
        files.push(window::extract::extract(bench, window, number).await?);
    }
    Ok(Cow::Owned(files))
}

/// What is going to be cut how, and what that asks for.
#[derive(Clone, Debug)]
pub struct Planned {
    windows: Vec<window::Window>,
    plan: plan::Plan,
    pub work: Work,
    seconds: f64,
}

impl Planned {
    /// Each of its pieces as a plan of its own.
    pub fn apart(&self) -> Vec<Planned> {
        let pairs = self.windows.iter().zip(&self.plan.pieces);
        pairs
            .map(|(window, piece)| Planned {
                windows: vec![window.clone()],
                plan: plan::Plan {
                    pieces: vec![piece.clone()],
                    ..self.plan.clone()
                },
                ..self.clone()
            })
            .collect()
    }

    /// Encodes what was planned and nothing more: for a measure, not for a clip. Tells the size of its pictures.
    ///
    /// # Errors
    /// When nothing can be encoded.
    pub async fn encode(
        &self,
        bench: &Bench<'_>,
        recipe: &Recipe,
        target: &std::path::Path,
    ) -> Result<Frame, MediaError> {
        let most = bench.engine.max_height;
        let rendering = Rendering::of(&self.windows, &self.plan, recipe, most)?;
        encode::encode(bench, &rendering, Rate::Quality, target).await?;
        Ok(rendering.frame)
    }
}

/// Plans the clip from its windows (one per segment).
///
/// # Errors
/// When there is nothing to cut, or a window cannot be read.
pub async fn plan(
    bench: &Bench<'_>,
    windows: &[window::Window],
    recipe: &Recipe,
) -> Result<Planned, MediaError> {
    let started = std::time::Instant::now();
    let mut plan = plan::plan(windows, recipe, bench.engine.max_height)?;
    let mut windows = Cow::Borrowed(windows);
    let work = plan.work(&windows, recipe, bench.engine.max_height);
    if plan.method != Method::Encode && recipe.fit.is_some_and(|fit| fit::surely_over(&work, fit)) {
        plan.method = Method::Encode;
        plan.reason = FIT;
    }
    if plan.method == Method::Encode {
        windows = readable(bench, windows, recipe).await?;
        plan = plan::encoded(&windows, recipe, plan.reason)?;
    }
    let mut work = plan.work(&windows, recipe, bench.engine.max_height);
    if let (Method::Encode, Some(fit)) = (plan.method, recipe.fit)
        // If there is no rendering, the cut will say why.
        && let Ok(rendering) = Rendering::of(&windows, &plan, recipe, bench.engine.max_height)
    {
        work = fit::work(&rendering, fit, work);
    }
    Ok(Planned {
        work,
        windows: windows.into_owned(),
        plan,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Makes the clip as planned: cut, check, poster.
///
/// # Errors
/// When no clip that passes the check comes out.
pub async fn make(
    bench: &Bench<'_>,
    planned: Planned,
    recipe: &Recipe,
) -> Result<Made, MediaError> {
    let started = std::time::Instant::now();
    let Planned {
        windows,
        mut plan,
        work,
        seconds: planned,
    } = planned;
    let path = bench.dir.join(format!("clip.{}", recipe.format.as_str()));
    let most = bench.engine.max_height;
    let mut fallback = None;
    let rendering = Rendering::of(&windows, &plan, recipe, most)?;
    let mut passed = cut_and_check(bench, &rendering, &path).await;
    // The careful way always remains.
    let instead = match (&passed, plan.method) {
        (Err(MediaError::Fit { .. }), Method::Splice | Method::Copy) => Some(FIT),
        // What was to be exact without being encoded.
        (Err(error), Method::Splice | Method::Copy)
            if recipe.mode == Mode::Exact && error.is_about_the_cut() =>
        {
            tracing::warn!(error = %error, "what was joined was discarded; the clip is encoded instead");
            metrics::counter!("meme_maker_splice_fallbacks_total", "reason" => error.code())
                .increment(1);
            fallback = Some(error.to_string());
            Some("fallback")
        }
        _ => None,
    };
    if let Some(reason) = instead {
        let windows = readable(bench, Cow::Owned(windows), recipe).await?;
        plan = plan::encoded(&windows, recipe, reason)?;
        let rendering = Rendering::of(&windows, &plan, recipe, most)?;
        passed = cut_and_check(bench, &rendering, &path).await;
    }
    let passed = passed?;
    bench.progress.send_replace(0.98);
    Ok(Made {
        path,
        poster: passed.poster,
        method: plan.method,
        reason: match passed.bound {
            Bound::Quality => plan.reason,
            Bound::Target => FIT,
        },
        start: plan.start,
        end: plan.end,
        truncated: plan.truncated,
        fallback,
        frames_copied: plan.copied(),
        work,
        checked: passed.checked,
        seconds: Spent {
            plan: planned,
            encode: passed.cut,
            check: passed.check,
            total: planned + started.elapsed().as_secs_f64(),
        },
    })
}
