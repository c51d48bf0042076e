//! A look at a source, in the words for people.

use super::peek::length;
use super::{About, CutError, Glance, Tools};
use crate::media::probe::Scan;
use crate::media::window;
use crate::media::{Bench, Input, MediaError};
use crate::recipe::Source;
use crate::seconds::Seconds;
use crate::sighting::flow::Flow;
use crate::sighting::{self, Form, MOST_KEYFRAMES, MOST_STRETCHES, Sighting, Sound};
use crate::source::Place;
use crate::title;

/// A file of this size is read to its end in a moment.
const SMALL: u64 = 50_000_000;

impl Tools {
    /// What a source is; `name` is what it is called unless it knows better.
    ///
    /// # Errors
    /// When it is refused, cannot be reached or read.
    pub async fn sight(
        &self,
        bench: &Bench<'_>,
        source: &Source,
        name: String,
    ) -> Result<Sighting, CutError> {
        let Some(path) = self.local(source)? else {
            return Ok(sighting(self.look(bench, source).await?, name, None));
        };
        let size = tokio::fs::metadata(&path)
            .await
            .map_err(MediaError::from)?
            .len();
        // Under the job's own name for it, which is the only one that sidecars may know.
        let opened = self.open(bench, source)?;
        let input = match &opened.place {
            Place::File(path) => Input::File(path.clone()),
            Place::Link { .. } => Input::File(path),
        };
        let mut looked = window::look(bench, &input).await?;
        // Reading all of a large file to find them is not done in a moment.
        if size <= SMALL {
            looked = looked.with_keyframes(bench, &input).await?;
        }
        let form = match &looked.whole {
            Some(_) => Form::Tables,
            None => Form::File,
        };
        let glance = Glance {
            looked,
            form,
            about: About::default(),
            bytes: 0,
        };
        Ok(sighting(glance, name, Some(size)))
    }
}

/// What was looked at, in the words for people.
fn sighting(glance: Glance, name: String, size: Option<u64>) -> Sighting {
    let Glance {
        looked,
        form,
        mut about,
        bytes: bytes_fetched,
    } = glance;
    let duration = length(&looked).or(about.duration);
    about.chapters.truncate(MOST_STRETCHES);
    about.heatmap.truncate(MOST_STRETCHES);
    let probe = looked.probe;
    let flow = match (looked.flow, &looked.whole) {
        (Some(flow), _) => Some(flow),
        (None, Some(whole)) => whole.flow(),
        (None, None) => None,
    };
    let rates = looked.whole.as_ref().map(|whole| whole.rates());
    let (seen, heard) = rates.unwrap_or_else(|| {
        let seconds = duration.map_or(0.0, Seconds::as_f64);
        let rate = size.filter(|_| seconds > 0.0);
        (rate.map(|size| size as f64 / seconds), None)
    });
    let sound = probe.audio.as_ref().map(|audio| audio.codec.as_str());
    let own = probe.title.as_deref().and_then(title::clean);
    Sighting {
        title: about.title.or(own).unwrap_or(name),
        duration,
        container: sighting::container(&probe.container, &probe.video.codec, sound),
        audio: probe.audio.as_ref().map(|audio| Sound {
            codec: audio.codec.clone(),
            channels: audio.channels,
            rate: audio.rate,
            bytes_a_second: heard,
        }),
        video: sighting::Pictures {
            codec: probe.video.codec,
            width: probe.video.width,
            height: probe.video.height,
            fps: probe.video.fps,
            rotation: probe.video.rotation,
            pixel_format: probe.video.pixel_format,
            interlaced: probe.video.scan == Scan::Interlaced,
            rate: flow.as_ref().and_then(Flow::rate).or(seen),
        },
        keyframes: looked
            .keyframes
            .filter(|keyframes| keyframes.len() <= MOST_KEYFRAMES),
        flow,
        form,
        thumbnail: about.thumbnail,
        chapters: about.chapters,
        heatmap: about.heatmap,
        bytes_fetched,
    }
}
