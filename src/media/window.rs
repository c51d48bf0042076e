//! The window: the stretch of a source, keyframe to keyframe, that covers one wanted segment, with the source's own ticks. An MP4 on
//! the disk serves in place; anything else is copied once into the work directory. From here on nothing needs the network.

pub mod copied;
pub mod extract;
mod header;
pub mod whole;

use std::path::PathBuf;
use std::sync::Arc;

use super::packets::{self, Track};
use super::probe::{self, Probe, TimeBase};
use super::splice::bitstream::{Bitstream, Unfit};
use super::splice::movie::{self, Movie};
use super::{Bench, Input, MediaError};
use crate::recipe::{Recipe, Segment};
use crate::seconds::Seconds;
use crate::sighting::flow::Flow;
use whole::Whole;

/// A stretch of the source on the disk.
#[derive(Clone, Debug)]
pub struct Window {
    pub path: PathBuf,
    /// What is wanted out of it, in the source's time as people count it.
    pub segment: Segment,
    pub probe: Probe,
    /// Packet tables with times as in the file.
    pub video: Track,
    pub audio: Option<Track>,
    /// File time minus the time people count.
    pub shift: Seconds,
    /// What splicing has to know of its pictures, or why they cannot be spliced.
    pub bitstream: Result<Bitstream, Unfit>,
    /// Where the packets lie, when the file is an MP4 whose samples can be taken over one by one.
    pub samples: Option<Samples>,
    /// It is a part of a larger file, which sidecars do not read.
    pub in_place: bool,
}

/// A window's packets as samples of an MP4.
#[derive(Clone, Debug)]
pub struct Samples {
    pub movie: Arc<Movie>,
    pub video: Reach,
    pub audio: Option<Reach>,
}

/// Packets of a track: packet `n` is sample `first + n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Number of the track in its file.
    pub track: usize,
    pub first: usize,
    /// A packet's time less its sample's, in ticks.
    pub moved: i64,
}

impl Samples {
    /// The track in the file.
    pub fn track(&self, reach: Reach) -> Option<&movie::Track> {
        self.movie.tracks.get(reach.track)
    }
}

impl Window {
    /// Ticks of the video track at a time as people count it.
    pub fn ticks(&self, time: Seconds) -> i64 {
        self.video.time_base.ticks(time + self.shift)
    }

    /// Whether its sound is AAC, which every player takes as it is.
    pub fn is_aac(&self) -> bool {
        self.audio
            .as_ref()
            .is_some_and(|track| track.codec == "aac")
    }

    /// Whether its sound is AAC that lies in an MP4, sample by sample.
    pub fn has_sound_samples(&self) -> bool {
        let known = self.samples.as_ref().map(|samples| samples.audio.is_some());
        self.is_aac()
            && known.unwrap_or_else(|| {
                // Of windows that cannot be spliced nobody has looked at the samples yet.
                !self.in_place && self.path.extension().is_some_and(|name| name == "mp4")
            })
    }

    /// Average rate of the pictures.
    pub fn bits_a_second(&self) -> u64 {
        let bits: u64 = self
            .video
            .packets
            .iter()
            .map(|packet| packet.size * 8)
            .sum();
        let ticks: i64 = self
            .video
            .packets
            .iter()
            .map(|packet| packet.duration)
            .sum();
        let seconds = self.video.time_base.seconds(ticks).as_f64();
        if seconds > 0.0 {
            (bits as f64 / seconds) as u64
        } else {
            0
        }
    }

    /// The time, as people count it, of ticks of the video track.
    pub fn time(&self, ticks: i64) -> Seconds {
        self.video.time_base.seconds(ticks) - self.shift
    }
}

/// A source that was looked at.
#[derive(Clone, Debug)]
pub struct Looked {
    pub probe: Probe,
    /// Its tables, when it is an MP4 on the disk that can be cut in place.
    pub whole: Option<Arc<Whole>>,
    /// Where a fast cut can begin, rising, as people count; none when nobody looked.
    pub keyframes: Option<Vec<Seconds>>,
    /// How its bytes are spread over time, when it was read to its end.
    pub flow: Option<Flow>,
}

/// Looks at a source: an MP4 on the disk by its tables, everything else through ffprobe.
///
/// # Errors
/// When it cannot be reached or read, or has no video.
pub async fn look(bench: &Bench<'_>, input: &Input) -> Result<Looked, MediaError> {
    let probed = probe::probe(bench, input);
    let probe = match input {
        Input::File(path) => match Whole::open(path, bench.engine.max_pixels).await {
            Some(whole) => return Ok(Looked::of(whole)),
            None => probed.await.map_err(MediaError::of_what_is_there)?,
        },
        Input::Link { .. } => probed.await?,
    };
    Ok(Looked {
        probe,
        whole: None,
        keyframes: None,
        flow: None,
    })
}

impl Looked {
    /// What the tables of a file tell.
    pub fn of(whole: Whole) -> Looked {
        Looked {
            probe: whole.probe.clone(),
            keyframes: Some(whole.keyframes()),
            whole: Some(Arc::new(whole)),
            flow: None,
        }
    }

    /// With the keyframes of a local file, which is read to its end if its tables did not tell. Those of a link would cost all of it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn with_keyframes(
        self,
        bench: &Bench<'_>,
        input: &Input,
    ) -> Result<Looked, MediaError> {
        let (None, Input::File(path)) = (&self.keyframes, input) else {
            return Ok(self);
        };
        let table = packets::read(bench, path).await?;
        let zero = self.probe.zero();
        let flow = table.video.as_ref().and_then(|track| track.flow(zero));
        let keyframes = table.video.map(|track| {
            let keys = track.packets.iter().filter(|packet| packet.key);
            let mut times: Vec<Seconds> = keys
                .map(|packet| track.time_base.seconds(packet.pts) - zero)
                .collect();
            times.sort_unstable();
            times
        });
        Ok(Looked {
            keyframes,
            flow,
            ..self
        })
    }

    /// Whether a recipe can be cut in place.
    pub fn serves(&self, recipe: &Recipe) -> bool {
        self.whole
            .as_ref()
            .is_some_and(|whole| whole.serves(recipe))
    }
}

/// The windows of a recipe, one per segment, in its order.
///
/// # Errors
/// When the source cannot be read, a segment lies outside of it, or the disk is full.
pub async fn fetch(
    bench: &Bench<'_>,
    input: &Input,
    looked: &Looked,
    recipe: &Recipe,
) -> Result<Vec<Window>, MediaError> {
    let probe = &looked.probe;
    for segment in &recipe.segments {
        if let Some(length) = length(probe)
            && segment.start >= length
        {
            return Err(MediaError::Range(length));
        }
    }
    if let Some(whole) = looked.whole.as_ref().filter(|whole| whole.serves(recipe))
        && let Some(windows) = whole.windows(recipe).await?
    {
        return Ok(windows);
    }
    let mut windows = Vec::new();
    for (number, segment) in recipe.segments.iter().enumerate() {
        let feed = Feed {
            pictures: (input, probe),
            sound: None,
            ticks: None,
        };
        let window = copied::fetch(bench, &feed, *segment, number).await;
        windows.push(match input {
            Input::File(_) => window.map_err(MediaError::of_what_is_there)?,
            Input::Link { .. } => window?,
        });
        bench
            .progress
            .send_replace(0.1 * (number + 1) as f64 / recipe.segments.len() as f64);
    }
    Ok(windows)
}

/// Where a copied window comes from.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    pub pictures: (&'a Input, &'a Probe),
    /// When it is not beside the pictures.
    pub sound: Option<(&'a Input, &'a probe::Sound)>,
    /// The ticks that the pictures of the windows before it have: those of one clip count in one.
    pub ticks: Option<TimeBase>,
}

/// Copies the window of one segment into the work directory as number `number`.
///
/// # Errors
/// As [`fetch`].
pub async fn fetch_one(
    bench: &Bench<'_>,
    feed: &Feed<'_>,
    segment: Segment,
    number: usize,
) -> Result<Window, MediaError> {
    copied::fetch(bench, feed, segment, number).await
}

/// How long the source is, as people count, when its container says so.
fn length(probe: &Probe) -> Option<Seconds> {
    probe
        .duration
        .map(|duration| probe.start + duration - probe.zero())
}

/// Refuses a window that stops before it should: ffmpeg copies what there is and ends well all the same.
fn whole_enough(window: Window) -> Result<Window, MediaError> {
    let ends = |track: &Track| {
        let last = track.packets.iter();
        let last = last.map(|packet| packet.pts + packet.duration).max();
        last.map_or(Seconds::ZERO, |ticks| {
            track.time_base.seconds(ticks) - window.shift
        })
    };
    let got = ends(&window.video);
    // In a whole file the sound may go on after the pictures.
    let there = window
        .audio
        .as_ref()
        .map_or(got, |track| got.max(ends(track)));
    if let Some(said) = length(&window.probe)
        && !window.in_place
    {
        let slack = Seconds::from_micros(1_000_000.max(said.micros() / 50));
        if there + slack < window.segment.end.min(said) {
            return Err(MediaError::Truncated { got, said });
        }
    }
    if got <= window.segment.start {
        return Err(MediaError::Range(got));
    }
    Ok(window)
}
