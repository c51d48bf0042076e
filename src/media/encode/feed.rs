//! What every encoder reads from: the inputs and the graph of a rendering, with everything prepared that has to lie on the disk first.

use std::ffi::OsString;

use super::graph::Beside;
use super::loudness::{self, Gain};
use super::{graph, sound, turned};
use crate::media::lettering;
use crate::media::probe::{self};
use crate::media::rendering::Rendering;
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, Input, MediaError};
use crate::recipe::Shape;

/// Inputs and graph of a rendering.
#[derive(Debug)]
pub struct Feed<'a> {
    rendering: &'a Rendering<'a>,
    inputs: Vec<OsString>,
    beside: Beside,
    gain: Option<Gain>,
}

impl<'a> Feed<'a> {
    /// Prepares the inputs.
    ///
    /// # Errors
    /// When one that has to be made first cannot be made.
    pub async fn prepare(
        bench: &Bench<'_>,
        rendering: &'a Rendering<'a>,
    ) -> Result<Feed<'a>, MediaError> {
        let engine = bench.engine;
        let mut inputs = arguments([&"-copyts", &"-filter_complex_threads", &"1"]);
        for window in rendering.windows {
            inputs.extend(arguments([&"-threads", &engine.threads.to_string()]));
            inputs.extend(probe::input_arguments(
                &Input::File(window.path.clone()),
                engine.max_pixels,
            ));
        }
        let mut beside = Beside::default();
        let mut count = rendering.windows.len();
        let gain = loudness::gain(bench, rendering, &inputs).await?;
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
        if let Some(picture) = lettering::picture(bench, rendering).await? {
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
            gain,
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
    pub fn film(&self, pixels: &str) -> Vec<OsString> {
        let mut whole = graph::graph(self.rendering, self.beside, pixels);
        let mut maps = arguments([&"-map", &"[v]"]);
        if self.rendering.plan.sound {
            whole.push(';');
            whole.push_str(&sound::graph(self.rendering, self.gain));
            maps.extend(arguments([&"-map", &"[a]"]));
        }
        self.with(&whole, maps)
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
    pub fn sound(&self) -> Vec<OsString> {
        self.with(
            &sound::graph(self.rendering, self.gain),
            arguments([&"-map", &"[a]"]),
        )
    }

    fn with(&self, graph: &str, maps: Vec<OsString>) -> Vec<OsString> {
        let mut list = self.inputs.clone();
        list.extend(arguments([&"-filter_complex", &graph]));
        list.extend(maps);
        list
    }
}
