//! `clip`: the same engine without a server.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Exit, Trouble, block_on, print, settings, source};
use crate::clip::Method;
use crate::config::Flags;
use crate::cut::sentence;
use crate::media::Made;
use crate::recipe::crop::Crop;
use crate::recipe::look::{Loudness, Speed, Volume};
use crate::recipe::{Format, Limits, Look, Mode, Recipe, RecipeError, Segment};
use crate::seconds::Seconds;
use crate::serve::{Signals, tools};
use crate::store::name::FileName;

/// Flags of `clip`.
#[derive(Debug, clap::Args)]
pub(super) struct Clip {
    /// A video file or an http(s) link to one
    source: String,
    /// First moment: 83, 83.5, 1:23.5 or 1:02:03
    #[arg(
        long,
        value_name = "T",
        required_unless_present = "segment",
        requires = "end",
        conflicts_with = "segment"
    )]
    start: Option<Seconds>,
    /// Moment at which the clip ends
    #[arg(long, value_name = "T", requires = "start")]
    end: Option<Seconds>,
    /// A stretch to join with the others, in this order; may be given several times
    #[arg(long, value_name = "T-T", value_parser = segment)]
    segment: Vec<Segment>,
    /// Where to write the clip; made from the source's name when left out
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// exact: the very frames asked for; fast: no encoding, starts at a keyframe
    #[arg(long, default_value = "exact", value_parser = ["exact", "fast"])]
    mode: String,
    /// Kind of file
    #[arg(long, default_value = "mp4", value_parser = ["mp4"])]
    format: String,
    /// Height in pixels; never scaled up
    #[arg(long, value_name = "N")]
    height: Option<u32>,
    /// Leave the sound out
    #[arg(long)]
    mute: bool,
    /// Part of the picture: 9:16, 1:1@left, 640x360+100+50 or 50%x50%+25%+25%
    #[arg(long, value_name = "PART")]
    crop: Option<Crop>,
    /// Most pictures a second
    #[arg(long, value_name = "N")]
    fps: Option<u32>,
    /// How fast it plays
    #[arg(long, value_name = "FACTOR")]
    speed: Option<Speed>,
    /// How loud it is against the source
    #[arg(long, value_name = "FACTOR")]
    volume: Option<Volume>,
    /// Loudness of the whole clip in LUFS
    #[arg(long, value_name = "LUFS", allow_negative_numbers = true)]
    loudness: Option<Loudness>,
    /// Seconds over which pictures and sound come up
    #[arg(long, value_name = "T")]
    fade_in: Option<Seconds>,
    /// Seconds over which they go down
    #[arg(long, value_name = "T")]
    fade_out: Option<Seconds>,
    /// Show it backward
    #[arg(long)]
    reverse: bool,
    /// Show it forward and then backward
    #[arg(long)]
    boomerang: bool,
    /// Print one JSON object about the finished clip
    #[arg(long)]
    json: bool,
    /// Configuration file (TOML) with engine and egress settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// On one's own machine the length is one's own business.
const LIMITS: Limits = Limits {
    max_clip: Seconds::from_whole(86_400),
    max_segments: 100,
};

fn segment(text: &str) -> Result<Segment, String> {
    let (start, end) = text
        .split_once('-')
        .ok_or("write it as START-END, like 1:20-1:35")?;
    let time = |text: &str| text.parse::<Seconds>().map_err(|error| error.to_string());
    Ok(Segment {
        start: time(start)?,
        end: time(end)?,
    })
}

pub(super) fn run(clip: Clip) -> Result<Exit, Trouble> {
    let settings = settings(&Flags {
        config: clip.config.clone(),
        ..Flags::default()
    })?;
    let recipe = recipe(&clip)?;
    let target = target(&clip, &recipe)?;
    // Beside the target, so that the finished clip only has to be renamed.
    let parent = match target.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let work = tempfile::Builder::new()
        .prefix(".meme-maker-")
        .tempdir_in(&parent);
    let work = work.map_err(|error| {
        Trouble::io(
            &format!("the folder {} cannot be written to", parent.display()),
            &error,
        )
    })?;
    let dir = std::path::absolute(work.path())
        .map_err(|error| Trouble::io("the folder cannot be found", &error))?;
    let (made, bytes, fetch) = block_on(async {
        let mut signals =
            Signals::listen().map_err(|error| Trouble::io("signals cannot be heard", &error))?;
        let tools = tools(&settings).await?;
        let stop = CancellationToken::new();
        let (progress, changed) = watch::channel(0.0);
        let bench = tools.bench(&dir, &stop, &progress);
        let work = async {
            let fetched = tools.fetch(&bench, &recipe).await?;
            let planned = tools.plan(&bench, &fetched).await?;
            let made = tools.make(&bench, planned, &recipe).await?;
            Ok::<_, Trouble>((made, fetched.bytes, fetched.seconds))
        };
        let result = tokio::select! {
            result = work => result,
            () = bar(changed) => Err(stopped()),
            () = signals.any() => Err(stopped()),
        };
        tools.gate.close().await;
        result
    })??;
    std::fs::rename(&made.path, &target)
        .map_err(|error| Trouble::io(&format!("{} cannot be written", target.display()), &error))?;
    if clip.json {
        print(&json(&target, &made, bytes, fetch).to_string());
    } else {
        print(&summary(&target, &made));
    }
    Ok(Exit::Done)
}

fn recipe(clip: &Clip) -> Result<Recipe, Trouble> {
    let segments = match (clip.start, clip.end) {
        (Some(start), Some(end)) => vec![Segment { start, end }],
        _ => clip.segment.clone(),
    };
    let recipe = Recipe {
        source: source(&clip.source)?,
        segments,
        mode: if clip.mode == "fast" {
            Mode::Fast
        } else {
            Mode::Exact
        },
        format: Format::Mp4,
        title: None,
        look: Look {
            height: clip.height,
            mute: clip.mute,
            crop: clip.crop,
            fps: clip.fps,
            speed: clip.speed,
            volume: clip.volume,
            loudness: clip.loudness,
            fade_in: clip.fade_in,
            fade_out: clip.fade_out,
            reverse: clip.reverse,
            boomerang: clip.boomerang,
            ..Look::default()
        },
        fit: None,
    };
    recipe
        .checked(&LIMITS)
        .map_err(|RecipeError { rule, .. }| Trouble {
            exit: Exit::BadInput,
            code: rule.code().to_owned(),
            sentence: sentence(&rule.to_string()),
            hint: rule.hint(),
        })
}

/// Where the clip goes. A file that was not named is never overwritten, and the source never at all.
fn target(clip: &Clip, recipe: &Recipe) -> Result<PathBuf, Trouble> {
    let exists = |path: &Path, hint: &str| Trouble {
        exit: Exit::BadInput,
        code: "output_exists".to_owned(),
        sentence: format!("{} is there already.", path.display()),
        hint: hint.to_owned(),
    };
    match &clip.output {
        Some(path) => {
            let same = |source: &str| {
                Some(path.canonicalize().ok()? == Path::new(source).canonicalize().ok()?)
            };
            if same(&clip.source) == Some(true) {
                return Err(exists(
                    path,
                    "It is the source; choose another name with -o.",
                ));
            }
            Ok(path.clone())
        }
        None => {
            let title = format!("{} clip", recipe.title_or_default());
            let path = PathBuf::from(FileName::from_title(&title, "mp4").as_str());
            if path.exists() {
                Err(exists(&path, "Choose a name with -o."))
            } else {
                Ok(path)
            }
        }
    }
}

fn stopped() -> Trouble {
    Trouble {
        exit: Exit::Failed,
        code: "cancelled".to_owned(),
        sentence: "The cut was stopped.".to_owned(),
        hint: "Nothing was written.".to_owned(),
    }
}

/// A progress bar on a terminal; silence elsewhere. Never ends by itself.
async fn bar(mut changed: watch::Receiver<f64>) {
    const WIDTH: usize = 30;
    let began = Instant::now();
    while std::io::stderr().is_terminal() && changed.changed().await.is_ok() {
        let share = changed.borrow_and_update().clamp(0.0, 1.0);
        let full = (share * WIDTH as f64) as usize;
        let mut stderr = std::io::stderr();
        let end = if share >= 0.98 { "\n" } else { "" };
        let _ = write!(
            stderr,
            "\r[{}{}] {:3.0} %  {:.0} s{end}",
            "#".repeat(full),
            "-".repeat(WIDTH - full),
            share * 100.0,
            began.elapsed().as_secs_f64()
        );
        let _ = stderr.flush();
    }
    std::future::pending::<()>().await;
}

fn summary(target: &Path, made: &Made) -> String {
    let how = match made.method {
        Method::Splice => format!("exact, {} of them untouched", made.frames_copied),
        Method::Encode => "exact".to_owned(),
        Method::Copy => format!("fast, really starts at {} s", made.start),
    };
    let checked = &made.checked;
    let pictures = match (checked.width, checked.height) {
        (Some(width), Some(height)) => {
            format!("{width}x{height}, {} frames, ", checked.frames)
        }
        _ => String::new(),
    };
    format!(
        "{}: {} s, {pictures}{}, {how}.",
        target.display(),
        checked.duration,
        crate::bytes::Bytes(checked.size),
    )
}

fn json(target: &Path, made: &Made, bytes: u64, fetch: f64) -> serde_json::Value {
    let checked = &made.checked;
    let copied = made.frames_copied;
    let round = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    let spent = made.seconds;
    serde_json::json!({
        "path": target,
        "method": made.method,
        "reason": made.reason,
        "start": made.start,
        "end": made.end,
        "fallback": made.fallback,
        "truncated": made.truncated,
        "duration": checked.duration,
        "frames": checked.frames,
        "frames_copied": copied,
        "frames_encoded": checked.frames - copied,
        "size": checked.size,
        "width": checked.width,
        "height": checked.height,
        "fps": checked.fps,
        "video_codec": checked.video_codec,
        "audio_codec": checked.audio_codec,
        "bytes_fetched": bytes,
        "seconds": {
            "fetch": round(fetch),
            "plan": round(spent.plan),
            "encode": if made.method == Method::Splice { 0.0 } else { round(spent.encode) },
            "splice": if made.method == Method::Splice { round(spent.encode) } else { 0.0 },
            "check": round(spent.check),
            "total": round(fetch + spent.total),
        },
    })
}
