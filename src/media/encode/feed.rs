//! What every encoder reads from: the inputs and the graph of a rendering, with everything prepared that has to lie on the disk first.

use std::ffi::OsString;

use super::film::Rate;
use super::graph::Beside;
use super::sound::Heard;
use super::{graph, loudness, sound, turned};
use crate::media::lettering;
use crate::media::probe::{self};
use crate::media::rendering::Rendering;
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, Input, MediaError};
use crate::recipe::Shape;

/// So many inputs are decoded with all threads.
const FEW: usize = 3;

/// Inputs and graph of a rendering.
#[derive(Debug)]
pub struct Feed<'a> {
    rendering: &'a Rendering<'a>,
    inputs: Vec<OsString>,
    beside: Beside,
    /// The sound that comes out.
    pub heard: Heard,
}

impl<'a> Feed<'a> {
    /// Prepares the inputs.
    ///
    /// # Errors
    /// When one that has to be made first cannot be made.
    pub async fn prepare(
        bench: &Bench<'_>,
        rendering: &'a Rendering<'a>,
        rate: Rate,
    ) -> Result<Feed<'a>, MediaError> {
        let engine = bench.engine;
        // Texts that cannot be drawn are told before anything else is made.
        let picture = lettering::picture(bench, rendering).await?;
        // Every decoder has threads of its own, and many of them are no faster than one each.
        let threads = match rendering.windows.len() {
            0..=FEW => engine.threads,
            _ => 1,
        };
        let mut inputs = arguments([&"-copyts", &"-filter_complex_threads", &"1"]);
        for window in rendering.windows {
            inputs.extend(arguments([&"-threads", &threads.to_string()]));
            inputs.extend(probe::input_arguments(
                &Input::File(window.path.clone()),
                engine.max_pixels,
            ));
        }
        let mut beside = Beside::default();
        let mut count = rendering.windows.len();
        let look = &rendering.look;
        if (look.reverse || look.boomerang) && rendering.format.shape() != Shape::Sound {
            let file = turned::turned(bench, rendering, &inputs).await?;
            inputs.extend(arguments([&"-threads", &engine.threads.to_string()]));
            inputs.extend(probe::input_arguments(
                &Input::File(file),
                engine.max_pixels,
            ));
            beside.turned = Some(count);
            count += 1;
        }
        if let Some(picture) = picture {
            // It is ours, so that the limits for strangers' files do not hold for it; they know no pictures.
            inputs.extend(arguments([
                &"-f",
                &"png_pipe",
                &"-c:v",
                &"png",
                &"-protocol_whitelist",
                &"file",
                &"-i",
                &sidecar::file(&picture),
            ]));
            beside.lettering = Some(count);
        }
        Ok(Feed {
            rendering,
            inputs,
            beside,
            heard: Heard::of(rendering, rate.audio_bits()),
        })
    }

    /// One more input with its options; its number, by which further filters call it.
    pub fn beside(&mut self, input: Vec<OsString>) -> usize {
        let number = self.inputs.iter().filter(|word| *word == "-i").count();
        self.inputs.extend(input);
        number
    }

    /// Lets only the keyframes of the windows be decoded.
    pub fn skimmed(&mut self) {
        let inputs = std::mem::take(&mut self.inputs);
        let places = inputs.split_inclusive(|word| word == "-threads");
        for words in places {
            let (word, rest) = match words.split_last() {
                Some((word, rest)) if word == "-threads" => (Some(word), rest),
                _ => (None, words),
            };
            self.inputs.extend_from_slice(rest);
            if let Some(word) = word {
                self.inputs
                    .extend(arguments([&"-skip_frame", &"nokey", word]));
            }
        }
    }

    /// The arguments up to the encoders: pictures in this pixel format, and sound where there is some.
    ///
    /// # Errors
    /// When its loudness cannot be measured.
    pub async fn film(&self, bench: &Bench<'_>, pixels: &str) -> Result<Vec<OsString>, MediaError> {
        let mut whole = graph::graph(self.rendering, self.beside, pixels);
        let mut maps = arguments([&"-map", &"[v]"]);
        if self.rendering.plan.sound {
            whole.push(';');
            whole.push_str(&self.voiced(bench).await?);
            maps.extend(arguments([&"-map", &"[a]"]));
        }
        Ok(self.with(&whole, maps))
    }

    /// The same of the pictures alone, after these further filters, each with a comma in front.
    pub fn pictures(&self, pixels: &str, further: &str) -> Vec<OsString> {
        let graph = graph::graph(self.rendering, self.beside, pixels);
        let graph = match graph.strip_suffix("[v]") {
            Some(graph) => format!("{graph}{further}[v]"),
            None => graph,
        };
        self.with(&graph, arguments([&"-map", &"[v]"]))
    }

    /// The same of the sound alone.
    ///
    /// # Errors
    /// As [`Feed::film`].
    pub async fn sound(&self, bench: &Bench<'_>) -> Result<Vec<OsString>, MediaError> {
        let graph = self.voiced(bench).await?;
        Ok(self.with(&graph, arguments([&"-map", &"[a]"])))
    }

    /// The graph of the sound. It is measured only here: who looks at the pictures alone need not wait for it.
    async fn voiced(&self, bench: &Bench<'_>) -> Result<String, MediaError> {
        let gain = loudness::gain(bench, self.rendering, &self.inputs, self.heard).await?;
        Ok(sound::graph(self.rendering, self.heard, gain))
    }

    fn with(&self, graph: &str, maps: Vec<OsString>) -> Vec<OsString> {
        let mut list = self.inputs.clone();
        list.extend(arguments([&"-filter_complex", &graph]));
        list.extend(maps);
        list
    }
}
