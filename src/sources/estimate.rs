//! Estimates: what a clip is expected to be and to take, told without touching a source that was looked at.

use super::{SourcesError, fresh, judge};
use crate::access::{self, Asker};
use crate::app::App;
use crate::app::rates::{Asked, Standing};
use crate::estimate::texture::Texture;
use crate::estimate::{self, EstimateError, Foretold};
use crate::library::blocking;
use crate::recipe::{Inquiry, Recipe, Source};
use crate::sighting::{Form, Seen};
use crate::store::previews::Part;
use crate::uploads;

/// What is expected, and the seconds that it takes here.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimated {
    pub foretold: Foretold,
    pub seconds: f64,
    pub bytes: u64,
    pub standing: Option<Standing>,
}

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
pub enum EstimatingError {
    #[error(transparent)]
    Sources(#[from] SourcesError),
    #[error(transparent)]
    Estimate(#[from] EstimateError),
}

/// Estimates a recipe; a source that nobody looked at lately is looked at first, which counts.
///
/// # Errors
/// When the source cannot be looked at, or no clip can come of the recipe.
pub async fn estimate(
    app: &App,
    recipe: &Recipe,
    asker: &Asker,
) -> Result<Estimated, EstimatingError> {
    let inquiry = Inquiry {
        source: recipe.source.clone(),
        stretch: None,
        mode: recipe.mode,
    };
    judge(app, &inquiry)?;
    let mut standing = None;
    let seen = match known(app, &recipe.source).await? {
        Some(seen) => seen,
        None => {
            standing = access::count(app, asker, Asked::Sources)
                .map_err(|error| SourcesError::Library(error.into()))?;
            super::look(app, &inquiry, &asker.mark).await?.0
        }
    };
    let texture = texture(app, &seen).await;
    let most = app.settings.engine.max_height;
    let foretold = estimate::foretell(&seen.sighting, recipe, texture.as_ref(), most)?;
    if foretold.is_guessed() {
        measure(app, &seen, &asker.mark);
    }
    let costs = app.costs();
    let cut = costs.of(&foretold.work);
    let length = foretold.duration.as_f64();
    let guess = || {
        costs
            .guess(recipe.mode, length, recipe.segments.len())
            .bytes
    };
    let fetch = seen.link().and(foretold.fetched);
    Ok(Estimated {
        seconds: cut.seconds + fetch.map_or(0.0, |bytes| bytes as f64 / super::LINE),
        bytes: foretold.bytes.unwrap_or_else(guess),
        foretold,
        standing,
    })
}

/// Refuses what can be seen to be impossible, where the source is known; anything else is for the job to find out.
///
/// # Errors
/// When the crop does not lie inside of the picture.
pub async fn possible(app: &App, recipe: &Recipe) -> Result<(), EstimatingError> {
    let Some(crop) = recipe.look.crop else {
        return Ok(());
    };
    let Some(seen) = fresh(app, &recipe.source).await? else {
        return Ok(());
    };
    let (width, height) = seen.sighting.shown_size();
    crop.rect(width, height).map_err(EstimateError::from)?;
    Ok(())
}

/// A source that was looked at a short while ago; using it is using its upload.
async fn known(app: &App, source: &Source) -> Result<Option<Seen>, SourcesError> {
    let found = fresh(app, source).await?;
    if let (Some(_), Source::Upload(upload)) = (&found, source) {
        uploads::used_in_passing(app, *upload).await?;
    }
    Ok(found)
}

/// Has samples of a source encoded, unless they would have to be searched for in all of it. Nobody waits for it, and who only looks
/// costs nothing.
fn measure(app: &App, seen: &Seen, visitor: &str) {
    let near = match seen.sighting.form {
        Form::Tables => true,
        Form::File => seen.link().is_none(),
        Form::Pieces | Form::Page => false,
    };
    if near {
        // Where too many wait already, the next one who asks orders it.
        drop(app.desk.order(visitor, seen.id, Part::Texture));
    }
}

/// What was measured of a source, if it was.
async fn texture(app: &App, seen: &Seen) -> Option<Texture> {
    let path = super::find(app, seen.id, Part::Texture).await?;
    let read = blocking(move || {
        let text = std::fs::read(path.first().ok_or(std::io::ErrorKind::NotFound)?)?;
        Ok(serde_json::from_slice(&text)?)
    });
    read.await.ok()
}
