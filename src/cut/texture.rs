//! What the engine's encoder makes of a source: a few short stretches are cut by the very steps that make a clip, and measured.

use super::peek::Material;
use super::{CutError, Tools};
use crate::estimate::texture::{Sample, Texture, stretches};
use crate::media::{Bench, MediaError, Planned, packets};
use crate::recipe::frame::Frame;
use crate::recipe::{Format, Look, Mode, Recipe, Source};
use crate::sighting::Sighting;

/// More than any source has, so that everything is encoded and nothing left out.
const ALL: u32 = 120;
/// Smaller pictures are not measured.
const LOW: u32 = 64;
/// Nor are fewer pictures a second.
const SLOW: u32 = 4;

impl Tools {
    /// The texture of a source, from the source itself or from a copy of it.
    ///
    /// # Errors
    /// When it cannot be reached, decoded or encoded.
    pub async fn texture(
        &self,
        bench: &Bench<'_>,
        from: &Material,
        sighting: &Sighting,
    ) -> Result<Texture, CutError> {
        let source = match from {
            Material::Source(source) => source.clone(),
            Material::Copy(path, _) => Source::File(path.clone()),
        };
        let recipe = Recipe {
            source,
            segments: stretches(sighting),
            mode: Mode::Exact,
            format: Format::Mp4,
            title: None,
            look: Look {
                mute: true,
                fps: Some(ALL),
                ..Look::default()
            },
            fit: None,
        };
        let fetched = self.fetch(bench, &recipe).await?;
        let planned = self.plan(bench, &fetched).await?;
        let mut samples = Vec::new();
        let mut frame = None;
        // Of the same stretches in full and in small: what scaling makes of this source.
        let mut pairs = Vec::new();
        // And in full and in half as many pictures.
        let mut thinned = Vec::new();
        let sparse = usize::from(recipe.segments.len() > 1);
        let half = sighting.video.fps.map(|fps| (fps / 2.0).round() as u32);
        // One by one: decoders of all windows at once take more memory than one child may.
        for (number, (own, segment)) in planned.apart().iter().zip(&recipe.segments).enumerate() {
            let (size, pictures) = encoded(bench, own, &recipe).await?;
            let Some(sample) = Sample::of(*segment, &pictures) else {
                continue;
            };
            samples.push(sample);
            frame = Some(size);
            if number % 2 == 0 && size.height >= 2 * LOW {
                let mut small = recipe.clone();
                small.look.height = Some(size.height / 2);
                let (less, smaller) = encoded(bench, own, &small).await?;
                let share = less.pixels() as f64 / size.pixels() as f64;
                pairs.push((share, sum(&smaller) / sum(&pictures).max(1.0)));
            }
            // Of the stretches that are not scaled; of a short source there is but one.
            if let Some(half) = half.filter(|half| *half >= SLOW && number % 2 == sparse) {
                let mut fewer = recipe.clone();
                fewer.look.fps = Some(half);
                let (_, left) = encoded(bench, own, &fewer).await?;
                let share = left.len() as f64 / pictures.len().max(1) as f64;
                thinned.push((share, sum(&left) / sum(&pictures).max(1.0)));
            }
        }
        let frame = frame.ok_or(MediaError::NoFrames)?;
        Ok(Texture {
            width: frame.width,
            height: frame.height,
            samples,
            exponent: exponent(&pairs).map(|mean| mean.clamp(0.4, 1.6)),
            thinning: exponent(&thinned).map(|mean| mean.clamp(-0.3, 1.0)),
        })
    }
}

/// Encodes a piece; tells the size of its pictures and the bytes of each, in the order in which they are shown.
async fn encoded(
    bench: &Bench<'_>,
    planned: &Planned,
    recipe: &Recipe,
) -> Result<(Frame, Vec<u64>), CutError> {
    let target = bench.dir.join("texture.mp4");
    let frame = planned.encode(bench, recipe, &target).await?;
    let made = packets::read_clip(bench, Format::Mp4, &target).await?;
    let mut pictures = made.video.ok_or(MediaError::NoFrames)?.packets;
    pictures.sort_by_key(|packet| packet.pts);
    Ok((frame, pictures.iter().map(|packet| packet.size).collect()))
}

fn sum(pictures: &[u64]) -> f64 {
    pictures.iter().sum::<u64>() as f64
}

/// The power of the share of pixels or pictures that is the share of bytes, on average.
fn exponent(pairs: &[(f64, f64)]) -> Option<f64> {
    let usable = pairs
        .iter()
        .filter(|(share, bytes)| *share < 0.9 && *bytes > 0.0);
    let powers: Vec<f64> = usable
        .map(|(share, bytes)| bytes.ln() / share.ln())
        .collect();
    let mean = powers.iter().sum::<f64>() / powers.len().max(1) as f64;
    (!powers.is_empty()).then_some(mean)
}
