//! `probe`: what a source is made of.

use std::path::PathBuf;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Exit, Trouble, block_on, print, settings, source};
use crate::config::Flags;
use crate::cut::Glance;
use crate::seconds::Seconds;
use crate::serve::tools;

/// Flags of `probe`.
#[derive(Debug, clap::Args)]
pub(super) struct Probe {
    /// A video file or an http(s) link to one
    source: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Configuration file (TOML) with engine and egress settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(probe: Probe) -> Result<Exit, Trouble> {
    let settings = settings(&Flags {
        config: probe.config,
        ..Flags::default()
    })?;
    let source = source(&probe.source)?;
    let dir = tempfile::tempdir()
        .map_err(|error| Trouble::io("there is no folder for temporary files", &error))?;
    let Glance {
        looked,
        about,
        bytes,
        ..
    } = block_on(async {
        let tools = tools(&settings).await?;
        let (stop, (progress, _)) = (CancellationToken::new(), watch::channel(0.0));
        let result = tools
            .look(&tools.bench(dir.path(), &stop, &progress), &source)
            .await;
        tools.gate.close().await;
        result.map_err(Trouble::from)
    })??;
    let found = &looked.probe;
    // What a page says counts where its streams do not tell.
    let duration = found.duration.or(about.duration);
    let video = &found.video;
    if probe.json {
        let audio = found.audio.as_ref().map(|audio| {
            serde_json::json!({"index": audio.index, "codec": audio.codec, "channels": audio.channels, "rate": audio.rate})
        });
        let shown = if matches!(video.rotation, 90 | 270) {
            (video.height, video.width)
        } else {
            (video.width, video.height)
        };
        let object = serde_json::json!({
            "container": found.container,
            "duration": duration,
            "start": found.start,
            "video": {
                "index": video.index,
                "codec": video.codec,
                "pixel_format": video.pixel_format,
                "width": shown.0,
                "height": shown.1,
                "rotation": video.rotation,
                "fps": video.fps,
                "time_base": format!("{}/{}", video.time_base.num, video.time_base.den),
            },
            "audio": audio,
            "snap_points": looked.keyframes,
            "bytes_fetched": bytes,
        });
        print(&object.to_string());
        return Ok(Exit::Done);
    }
    let duration = duration.map_or("unknown".to_owned(), |duration| format!("{duration} s"));
    print(&format!("Container  {}", found.container));
    print(&format!("Duration   {duration}"));
    let turned = if video.rotation == 0 {
        String::new()
    } else {
        format!(", turned by {}°", video.rotation)
    };
    let fps = video
        .fps
        .map_or(String::new(), |fps| format!(", {fps:.3} fps"));
    print(&format!(
        "Video      {} {}, {}x{}{fps}{turned}",
        video.codec, video.pixel_format, video.width, video.height
    ));
    match &found.audio {
        Some(audio) => print(&format!(
            "Sound      {}, {} channels, {} Hz",
            audio.codec, audio.channels, audio.rate
        )),
        None => print("Sound      none"),
    }
    print(&format!(
        "Snaps at   {}",
        snaps(looked.keyframes.as_deref())
    ));
    Ok(Exit::Done)
}

/// Where a fast cut can begin: all places, or the first ones and how many there are.
fn snaps(keyframes: Option<&[Seconds]>) -> String {
    const SHOWN: usize = 8;
    let Some(keyframes) = keyframes else {
        return "unknown; a fast cut says afterwards where it started".to_owned();
    };
    let shown: Vec<String> = keyframes
        .iter()
        .take(SHOWN)
        .map(Seconds::to_string)
        .collect();
    let rest = match keyframes.len().saturating_sub(SHOWN) {
        0 => " s".to_owned(),
        rest => format!(" s and {rest} more (--json lists all)"),
    };
    shown.join(", ") + &rest
}
