//! Captions and the watermark, drawn by us into one transparent picture of the clip's size that is laid over its frames. What a visitor
//! wrote is drawn in a child of its own and never reaches a filter, an option or a path. It knows nothing of videos.

mod draw;
mod faces;
mod layout;
mod shape;
mod system;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::rendering::Rendering;
use super::sidecar::{self, SidecarError};
use super::{Bench, MediaError};
use crate::recipe::lettering::{Caption, Watermark};
use faces::Faces;

/// What the child reads, and what it writes, in the folder of its job.
const SHEET: &str = "lettering.json";
const PICTURE: &str = "lettering.png";
const UNFINISHED: &str = "lettering-unfinished.png";

/// What is to be written onto a picture of this size.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sheet {
    width: u32,
    height: u32,
    top: Option<Caption>,
    bottom: Option<Caption>,
    /// Captions in capital letters.
    upper: bool,
    watermark: Option<Watermark>,
    /// Where Noto faces lie, beside the system's folders.
    folders: Vec<PathBuf>,
}

/// How the drawing ended, as the child prints it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    Drawn,
    /// No face has these.
    Letters(String),
    /// It would be too small to read.
    TooLong,
    /// A file could not be read or written.
    Failed(String),
}

/// Why texts cannot be drawn.
#[derive(Debug, thiserror::Error)]
enum Undrawn {
    #[error("no face has these letters")]
    Letters(String),
    #[error("the text would be too small to read")]
    TooLong,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Sheet {
    /// The texts of a rendering, if it has any.
    fn of(rendering: &Rendering<'_>, folders: &[PathBuf]) -> Option<Sheet> {
        let look = &rendering.look;
        if look.caption_top.is_none() && look.caption_bottom.is_none() && look.watermark.is_none() {
            return None;
        }
        Some(Sheet {
            width: rendering.frame.width,
            height: rendering.frame.height,
            top: look.caption_top.clone(),
            bottom: look.caption_bottom.clone(),
            upper: look.caption_upper,
            watermark: look.watermark.clone(),
            folders: folders.to_vec(),
        })
    }
}

/// The picture to lay over the frames of a rendering, if it has texts.
///
/// # Errors
/// `caption_letters` and `caption_too_long` when a text cannot be drawn, `caption_failed` when the drawing goes wrong.
pub async fn picture(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
) -> Result<Option<PathBuf>, MediaError> {
    let folders = &bench.engine.fonts;
    let Some(sheet) = Sheet::of(rendering, folders) else {
        return Ok(None);
    };
    let written = serde_json::to_vec(&sheet).map_err(std::io::Error::from)?;
    let picture = bench.dir.join(PICTURE);
    if tokio::fs::try_exists(&picture).await? {
        // It is that of the sheet beside it.
        if tokio::fs::read(bench.dir.join(SHEET)).await? == written {
            return Ok(Some(picture));
        }
        tokio::fs::remove_file(&picture).await?;
    }
    tokio::fs::write(bench.dir.join(SHEET), written).await?;
    // Nobody waits longer for letters than for a look at the source.
    let job = bench.job(bench.engine.probe_deadline).reading(folders);
    let printed = sidecar::letter(job).await.map_err(|error| match error {
        SidecarError::Stopped => MediaError::Stopped,
        SidecarError::Deadline(_)
        | SidecarError::Missing { .. }
        | SidecarError::Exit { .. }
        | SidecarError::Io(_) => MediaError::Lettering(error),
    })?;
    match serde_json::from_slice(&printed).map_err(std::io::Error::from)? {
        Told::Drawn => Ok(Some(picture)),
        Told::Letters(letters) => Err(MediaError::Letters(letters)),
        Told::TooLong => Err(MediaError::CaptionTooLong(sheet.width, sheet.height)),
        Told::Failed(why) => Err(MediaError::Lettering(SidecarError::Io(
            std::io::Error::other(why),
        ))),
    }
}

/// Draws the sheet that lies in `dir`. This is what runs in the child.
pub fn draw_in(dir: &Path) -> Told {
    match drawn(dir) {
        Ok(()) => Told::Drawn,
        Err(Undrawn::Letters(letters)) => Told::Letters(letters),
        Err(Undrawn::TooLong) => Told::TooLong,
        Err(Undrawn::Io(error)) => Told::Failed(error.to_string()),
    }
}

fn drawn(dir: &Path) -> Result<(), Undrawn> {
    let sheet: Sheet =
        serde_json::from_slice(&std::fs::read(dir.join(SHEET))?).map_err(std::io::Error::from)?;
    let mut faces = Faces::bundled(&sheet.folders);
    let picture = draw::draw(&sheet, &mut faces)?;
    let png = picture.encode_png().map_err(std::io::Error::other)?;
    // Whole or not at all: who finds it takes it.
    let unfinished = dir.join(UNFINISHED);
    std::fs::write(&unfinished, png)?;
    std::fs::rename(unfinished, dir.join(PICTURE))?;
    Ok(())
}
