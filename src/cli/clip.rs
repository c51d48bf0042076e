//! `clip`: the same engine without a server.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Number, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Exit, Trouble, block_on, print, settings, source};
use crate::clip::Method;
use crate::config::Flags;
use crate::cut::sentence;
use crate::media::Made;
use crate::recipe::{Format, Limits, Presets, Recipe, RecipeError, Rule, Segment, Shape};
use crate::seconds::Seconds;
use crate::serve::{Signals, tools};
use crate::store::name::FileName;

/// Flags of `clip`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 bad input, 4 source unreachable or refused, 5 no space,\n\
                        6 a needed program is missing."
)]
pub(super) struct Clip {
    /// A video file or an http(s) link to one
    source: String,
    /// First moment: 83, 83.5, 1:23.5 or 1:02:03
    #[arg(
        long,
        value_name = "T",
        required_unless_present = "segment",
        conflicts_with = "segment"
    )]
    start: Option<Seconds>,
    /// Moment at which the clip ends; a jpg needs none
    #[arg(long, value_name = "T", requires = "start")]
    end: Option<Seconds>,
    /// A stretch to join with the others, in this order; may be given several times
    #[arg(long, value_name = "T-T", value_parser = segment)]
    segment: Vec<Segment>,
    /// Where to write the clip; made from the source's name when left out
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A named recipe; flags beside it win
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Print one JSON object about the finished clip
    #[arg(long)]
    json: bool,
    /// Configuration file (TOML) with engine and egress settings, and presets
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    file: OfFile,
    #[command(flatten)]
    pictures: OfPictures,
    #[command(flatten)]
    sound: OfSound,
    #[command(flatten)]
    time: OfTime,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "File")]
struct OfFile {
    /// Kind of file; told by the ending of FILE when left out, else mp4
    #[arg(long, value_name = "F", value_parser = Format::ALL.map(Format::as_str))]
    format: Option<String>,
    /// exact: the very frames asked for (the default); fast: no encoding, starts at a keyframe
    #[arg(long, value_name = "M", value_parser = ["exact", "fast"])]
    mode: Option<String>,
    /// The most bytes it may have: 10MB, 8MiB, 500kB
    #[arg(long, value_name = "SIZE")]
    fit: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Pictures")]
struct OfPictures {
    /// What is kept: 9:16, 1:1@left, 4:5@30%, 640x360+100+50 (pixels), 50%x50%+25%+25%
    #[arg(long, value_name = "R")]
    crop: Option<String>,
    /// Height in pixels, 16 to 4320; never scaled up
    #[arg(long, value_name = "N")]
    height: Option<u32>,
    /// At most so many pictures a second, 1 to 120
    #[arg(long, value_name = "N")]
    fps: Option<u32>,
    /// Text above, in large letters; at most 300 characters
    #[arg(long, value_name = "TEXT")]
    caption_top: Option<String>,
    /// Text below
    #[arg(long, value_name = "TEXT")]
    caption_bottom: Option<String>,
    /// Captions in capital letters
    #[arg(long)]
    caption_upper: bool,
    /// Small text in the lower right corner; at most 80 characters
    #[arg(long, value_name = "TEXT")]
    watermark: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sound")]
struct OfSound {
    /// Leave the sound out
    #[arg(long)]
    mute: bool,
    /// 0 to 4; 1 is as loud as the source
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    volume: Option<f64>,
    /// Bring it to so many LUFS (EBU R 128), -40 to -8
    #[arg(long, value_name = "LUFS", allow_negative_numbers = true)]
    loudness: Option<f64>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Time")]
struct OfTime {
    /// 0.25 to 4; the pitch stays
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    speed: Option<f64>,
    /// Seconds over which pictures and sound come up, at most 30
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    fade_in: Option<f64>,
    /// Seconds over which they go down
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    fade_out: Option<f64>,
    /// Backward; at most 60 s
    #[arg(long)]
    reverse: bool,
    /// Forward and then backward; at most 60 s
    #[arg(long)]
    boomerang: bool,
}

/// On one's own machine the length is one's own business.
const fn limits(presets: &Presets) -> Limits<'_> {
    Limits {
        max_clip: Seconds::from_whole(86_400),
        max_segments: 100,
        presets: Some(presets),
    }
}

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
    let recipe = recipe(&clip, &settings.presets)?;
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
        print(&told(&target, &made, bytes, fetch).to_string());
    } else {
        print(&summary(&target, &made, &recipe));
    }
    Ok(Exit::Done)
}

/// The flags as fields of a recipe, which the recipe's own parser reads.
fn fields(clip: &Clip) -> Map<String, Value> {
    let text = |text: &Option<String>| text.clone().map(Value::String);
    let whole = |number: Option<u32>| number.map(Value::from);
    // What is no number in JSON is told by the rule for its field.
    let number = |number: Option<f64>| {
        let value = |number: f64| match Number::from_f64(number) {
            Some(number) => Value::Number(number),
            None => Value::String(number.to_string()),
        };
        number.map(value)
    };
    let flag = |flag: bool| flag.then_some(Value::Bool(true));
    let time = |time: Option<Seconds>| time.map(|time| json!(time));
    let segments = Some(json!(clip.segment)).filter(|_| !clip.segment.is_empty());
    let (file, pictures, sound, moving) = (&clip.file, &clip.pictures, &clip.sound, &clip.time);
    let given = [
        ("start_time", time(clip.start)),
        ("end_time", time(clip.end)),
        ("segments", segments),
        ("preset", text(&clip.preset)),
        ("format", text(&file.format)),
        ("mode", text(&file.mode)),
        ("fit", text(&file.fit)),
        ("crop", text(&pictures.crop)),
        ("height", whole(pictures.height)),
        ("fps", whole(pictures.fps)),
        ("caption_top", text(&pictures.caption_top)),
        ("caption_bottom", text(&pictures.caption_bottom)),
        ("caption_upper", flag(pictures.caption_upper)),
        ("watermark", text(&pictures.watermark)),
        ("mute", flag(sound.mute)),
        ("volume", number(sound.volume)),
        ("loudness", number(sound.loudness)),
        ("speed", number(moving.speed)),
        ("fade_in", number(moving.fade_in)),
        ("fade_out", number(moving.fade_out)),
        ("reverse", flag(moving.reverse)),
        ("boomerang", flag(moving.boomerang)),
    ];
    let given = given
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    given.collect()
}

/// The format that the ending of a file's name tells.
fn format_of(path: &Path) -> Option<Format> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    match ending.as_str() {
        "jpeg" => Some(Format::Jpg),
        ending => ending.parse().ok(),
    }
}

fn recipe(clip: &Clip, presets: &Presets) -> Result<Recipe, Trouble> {
    let source = source(&clip.source)?;
    let mut fields = fields(clip);
    let told = presets.lay_under(&mut fields).and_then(|()| {
        let ending = clip.output.as_deref().and_then(format_of);
        if let Some(format) = ending.filter(|_| !fields.contains_key("format")) {
            fields.insert("format".to_owned(), json!(format));
        }
        Recipe::of_fields(source, &fields, &limits(presets))
    });
    told.map_err(|RecipeError { rule, field }| match rule {
        Rule::TimeMissing(_) => Trouble {
            exit: Exit::Usage,
            code: rule.code().to_owned(),
            sentence: "The flag --end is missing.".to_owned(),
            hint: "Only a jpg needs none; see meme-maker clip --help.".to_owned(),
        },
        Rule::Preset(None) => Trouble {
            exit: Exit::BadInput,
            code: rule.code().to_owned(),
            sentence: sentence(&rule.to_string()),
            hint: format!(
                "There are {}.",
                presets
                    .all()
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        },
        rule => Trouble {
            exit: Exit::BadInput,
            code: rule.code().to_owned(),
            sentence: match flag_of(&field) {
                Some(flag) => sentence(&format!("{flag}: {rule}")),
                None => sentence(&rule.to_string()),
            },
            hint: rule.hint(),
        },
    })
}

/// The flag for a field, where the sentence does not name it.
fn flag_of(field: &str) -> Option<String> {
    let time = matches!(field, "start_time" | "end_time") || field.starts_with("segments");
    (!time && !field.is_empty()).then(|| format!("--{}", field.replace('_', "-")))
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
            let path = PathBuf::from(FileName::from_title(&title, recipe.format.as_str()).as_str());
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

/// What came out, in one line.
fn summary(target: &Path, made: &Made, recipe: &Recipe) -> String {
    let checked = &made.checked;
    let size = crate::bytes::Bytes(checked.size);
    let pictures = match (checked.width, checked.height) {
        (Some(width), Some(height)) => format!("{width}x{height}, "),
        _ => String::new(),
    };
    let path = target.display();
    let how = match (made.method, recipe.format.shape()) {
        (Method::Splice, _) => format!("exact, {} of them untouched", made.frames_copied),
        (Method::Copy, Shape::Film) => format!("fast, really starts at {} s", made.start),
        (Method::Copy, _) => "taken over as it was".to_owned(),
        (Method::Encode, _) => "exact".to_owned(),
    };
    match recipe.format.shape() {
        Shape::Film | Shape::Animation => format!(
            "{path}: {} s, {pictures}{} frames, {size}, {how}.",
            checked.duration, checked.frames
        ),
        Shape::Sound => format!("{path}: {} s, {size}, {how}.", checked.duration),
        Shape::Still => format!("{path}: {pictures}{size}, the picture at {} s.", made.start),
    }
}

fn told(target: &Path, made: &Made, bytes: u64, fetch: f64) -> Value {
    let checked = &made.checked;
    let copied = made.frames_copied;
    let round = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    let spent = made.seconds;
    json!({
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
