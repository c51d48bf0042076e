//! What was fetched for a clip, described so that other segments can be cut from it later without any network: which bytes of a sparse file
//! are here, or what each copied window covers. It moves no files and is given nothing that anybody outside has made.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::film::Film;
use super::pieces::Reel;
use crate::media::window::Window;
use crate::media::window::copied::{self, Copied};
use crate::media::window::whole::{MOST_BACK, Whole};
use crate::media::{Bench, MediaError};
use crate::recipe::{Recipe, Segment, Source};
use crate::sighting::Form;

/// What lies in the files of a job, and what it can be used for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Card {
    source: Source,
    /// The rendition was chosen for pictures of this height; none where there is no choice.
    height: Option<u32>,
    /// The sound was wanted.
    heard: bool,
    holding: Holding,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Holding {
    /// An MP4 as long as the source, with these of its bytes.
    Sparse {
        file: String,
        here: Vec<Range<u64>>,
    },
    Copied(Vec<Stretch>),
}

/// A copied window.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stretch {
    file: String,
    segment: Segment,
    copied: Copied,
}

/// The height for which a rendition is chosen.
pub(super) fn height_of(recipe: &Recipe, most: u32) -> u32 {
    // A crop is a part of the best picture there is.
    let look = recipe.look.suited(recipe.format);
    let wanted = look.height.filter(|_| look.crop.is_none());
    wanted.unwrap_or_else(|| recipe.format.ceiling(most))
}

impl Card {
    /// Describes windows that lie in the job's folder; none of those that lie elsewhere.
    pub(super) fn of(
        dir: &Path,
        film: &Film,
        windows: &[Window],
        recipe: &Recipe,
        height: u32,
    ) -> Option<Card> {
        let name = |path: &Path| {
            let inside = path.parent() == Some(dir);
            let name = path.file_name()?.to_str()?.to_owned();
            (inside && is_plain(&name)).then_some(name)
        };
        let first = windows.first()?;
        let holding = if first.in_place {
            let here = match &film.pictures {
                Reel::Tables { spool, .. } if spool.path() == first.path => spool.here().to_vec(),
                // It came whole.
                Reel::Tables { .. } | Reel::Read(..) | Reel::Later(_) | Reel::Pieces { .. } => {
                    std::iter::once(0..u64::MAX).collect()
                }
            };
            Holding::Sparse {
                file: name(&first.path)?,
                here,
            }
        } else {
            let stretches = windows.iter().map(|window| {
                Some(Stretch {
                    file: name(&window.path)?,
                    segment: window.segment,
                    copied: Copied::of(window),
                })
            });
            Holding::Copied(stretches.collect::<Option<_>>()?)
        };
        Some(Card {
            source: recipe.source.clone(),
            height: match film.form {
                Form::Tables | Form::File => None,
                Form::Pieces | Form::Page => Some(height),
            },
            heard: recipe.wants_sound(),
            holding,
        })
    }

    /// Reads what was written.
    pub fn read(bytes: &[u8]) -> Option<Card> {
        serde_json::from_slice(bytes).ok()
    }

    /// The names of the files, each once.
    pub fn files(&self) -> Vec<&str> {
        let mut names: Vec<&str> = match &self.holding {
            Holding::Sparse { file, .. } => vec![file],
            Holding::Copied(stretches) => stretches
                .iter()
                .map(|stretch| stretch.file.as_str())
                .collect(),
        };
        names.dedup();
        names
    }

    /// Whether it may hold what a recipe asks for, as far as can be told without looking into the files.
    pub fn may_serve(&self, recipe: &Recipe, most: u32) -> bool {
        let high = self
            .height
            .is_none_or(|height| height_of(recipe, most) <= height);
        let inside = match &self.holding {
            Holding::Sparse { .. } => true,
            Holding::Copied(stretches) => recipe
                .segments
                .iter()
                .all(|segment| holding(stretches, *segment).is_some()),
        };
        self.source == recipe.source
            && high
            && inside
            && (self.heard || !recipe.wants_sound())
            && self.files().iter().all(|name| is_plain(name))
    }

    /// The windows of a recipe, from files whose names `place` gives; none when they do not hold all of it.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) async fn windows(
        &self,
        bench: &Bench<'_>,
        recipe: &Recipe,
        place: impl Fn(&str) -> PathBuf,
    ) -> Result<Option<Vec<Window>>, MediaError> {
        match &self.holding {
            Holding::Sparse { file, here } => {
                let whole = Whole::open(&place(file), bench.engine.max_pixels).await;
                let Some(whole) = whole.filter(|whole| whole.serves(recipe)).map(Arc::new) else {
                    return Ok(None);
                };
                let (own, here, segments) =
                    (Arc::clone(&whole), here.clone(), recipe.segments.clone());
                let covered = tokio::task::spawn_blocking(move || {
                    for segment in segments {
                        if !is_here(&own, segment, &here)? {
                            return Ok::<_, io::Error>(false);
                        }
                    }
                    Ok(true)
                });
                if !covered.await.map_err(io::Error::other)?? {
                    return Ok(None);
                }
                whole.windows(recipe).await
            }
            Holding::Copied(stretches) => {
                let mut windows = Vec::with_capacity(recipe.segments.len());
                for segment in &recipe.segments {
                    let Some(stretch) = holding(stretches, *segment) else {
                        return Ok(None);
                    };
                    let (path, copied) = (place(&stretch.file), stretch.copied.clone());
                    match copied::again(bench, &path, copied, *segment).await? {
                        Some(window) => windows.push(window),
                        None => return Ok(None),
                    }
                }
                Ok(Some(windows))
            }
        }
    }
}

/// The copied window that holds a segment.
fn holding(stretches: &[Stretch], segment: Segment) -> Option<&Stretch> {
    // Where it really begins is told by its packets: at a keyframe, which may be earlier.
    let mut those = stretches.iter();
    those.find(|stretch| segment.end <= stretch.segment.end && segment.end > stretch.segment.start)
}

/// Whether every sample that a segment needs is among the bytes that are here.
fn is_here(whole: &Whole, segment: Segment, here: &[Range<u64>]) -> io::Result<bool> {
    for back in 0..MOST_BACK {
        let extents = whole.extents(segment, back);
        let there = |extent: &Range<u64>| {
            here.iter()
                .any(|known| known.start <= extent.start && extent.end <= known.end)
        };
        if extents.is_empty() || !extents.iter().all(there) {
            return Ok(false);
        }
        if whole.begins_whole(segment, back)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a name is one that stays in its folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}
