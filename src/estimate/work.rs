//! What a clip asks of the machine and of the line.

use super::Estimator;
use super::cut::Cut;
use crate::clip::Method;
use crate::cost::Work;
use crate::recipe::Shape;

impl Estimator<'_> {
    pub(super) fn fetched(&self, method: Method) -> Option<u64> {
        let sound = self
            .seen
            .audio
            .as_ref()
            .filter(|_| self.recipe.wants_sound());
        let heard = sound.map_or(0.0, |sound| sound.bytes_a_second.unwrap_or(16_000.0));
        let bytes = self.cuts.iter().map(|cut| {
            let end = match (method, self.recipe.format.shape()) {
                (_, Shape::Still) => cut.start,
                _ => cut.end,
            };
            let pictures = self.taken(cut.before, end)?;
            Some(pictures + heard * (end - cut.before))
        });
        Some(bytes.sum::<Option<f64>>()? as u64)
    }

    pub(super) fn work(&self, method: Method, frames: f64) -> Work {
        let video = &self.seen.video;
        let pixels = f64::from(video.width) * f64::from(video.height) / 1e6;
        let shape = self.recipe.format.shape();
        let decoded: f64 = match (method, shape) {
            (Method::Copy, _) | (_, Shape::Sound) => 0.0,
            (_, Shape::Still) => self
                .cuts
                .iter()
                .take(1)
                .map(|cut| cut.start - cut.before)
                .sum(),
            (Method::Encode, _) => self.cuts.iter().map(|cut| cut.end - cut.before).sum(),
            (Method::Splice, _) => {
                let heads = self.cuts.iter().filter(|cut| cut.head() > 0.0);
                heads.map(|cut| cut.start + cut.head() - cut.before).sum()
            }
        };
        let kept = |cut: &Cut| match (method, shape) {
            (Method::Encode, _) | (_, Shape::Sound) => Some(0.0),
            (Method::Copy, _) => self.taken(cut.before, cut.end),
            (Method::Splice, _) => self.taken(cut.entry.unwrap_or(cut.end), cut.end),
        };
        let copied: f64 = self.cuts.iter().filter_map(kept).sum();
        let work = Work {
            method,
            decoded: pixels * decoded * self.fps,
            encoded: 0.0,
            copied: copied as u64,
            replaced: 0,
            sound: 0,
            frames: frames as u64,
            scratch: 0,
        };
        match (method, shape) {
            (Method::Copy, _) | (_, Shape::Sound) => work,
            (Method::Encode, _) => {
                let (look, format) = (&self.look, self.recipe.format);
                work.rendering(self.shown(method), &self.frame, look, format)
            }
            (Method::Splice, _) => {
                let heads: f64 = self.cuts.iter().map(Cut::head).sum();
                let encoded = self.frame.pixels() as f64 / 1e6 * self.fps * heads;
                Work { encoded, ..work }
            }
        }
    }
}
