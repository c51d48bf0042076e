//! The check of pictures that repeat: every one is decoded, and counted with the time it is shown.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image_webp::{LoopCount, WebPDecoder};
use tokio_util::sync::CancellationToken;

use super::{Checked, decoded_timing, rate, wrong};
use crate::media::encode::gif::Delays;
use crate::media::probe::TimeBase;
use crate::media::rendering::Rendering;
use crate::media::{Bench, MediaError};
use crate::recipe::Format;

/// GIF counts in hundredths of a second.
const CENTI: TimeBase = TimeBase { num: 1, den: 100 };
/// WebP counts in thousandths.
const MILLI: TimeBase = TimeBase { num: 1, den: 1000 };
/// A decoder takes at most so much memory beside the picture.
const MEMORY: usize = 200 << 20;

/// What was found in a file.
struct Found {
    width: u32,
    height: u32,
    /// How long each picture is shown, in the ticks of the format.
    delays: Vec<i64>,
    endless: bool,
}

impl Found {
    fn times(&self) -> Vec<i64> {
        let ends = self.delays.iter().scan(0, |end, delay| {
            let begins = *end;
            *end += delay;
            Some(begins)
        });
        ends.collect()
    }

    fn length(&self) -> i64 {
        self.delays.iter().sum()
    }
}

/// Checks an animated GIF.
///
/// # Errors
/// `cut_check` with what is wrong.
pub async fn gif(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    path: &Path,
) -> Result<Checked, MediaError> {
    let found = read(bench, path, read_gif).await?;
    let mut meant = Delays::of(&rendering.timing);
    if found.times() != meant.times {
        // A packet is not always a picture: the decoder has the last word.
        let decoded = Delays::of(&decoded_timing(bench, rendering).await?);
        let last = meant.length - meant.times.last().copied().unwrap_or_default();
        meant = Delays {
            length: decoded.times.last().copied().unwrap_or_default() + last,
            ..decoded
        };
    }
    if found.times() != meant.times || found.length() != meant.length {
        return Err(wrong(&format!(
            "it has {} pictures in {} s instead of {} in {} s, or others at other times",
            found.delays.len(),
            CENTI.seconds(found.length()),
            meant.times.len(),
            CENTI.seconds(meant.length)
        )));
    }
    checked(rendering, found, CENTI, path).await
}

/// Checks an animated WebP. Its encoder leaves out pictures that look like the one before, so there may be fewer than were meant, but
/// none at another time.
///
/// # Errors
/// `cut_check` with what is wrong.
pub async fn webp(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    path: &Path,
) -> Result<Checked, MediaError> {
    let mut found = read(bench, path, read_webp).await?;
    let base = rendering.timing.base;
    let meant = rendering.timing.times.iter();
    let meant: Vec<i64> = meant.map(|time| MILLI.ticks(base.seconds(*time))).collect();
    let length = MILLI.ticks(rendering.seconds());
    if let [delay] = found.delays.as_mut_slice() {
        // One picture that is no animation lasts as long as one likes.
        *delay = length;
    }
    let times = found.times();
    let near = |time: &i64| {
        let place = meant.partition_point(|meant| *meant < time - 1);
        meant.get(place).is_some_and(|meant| *meant <= time + 1)
    };
    if let Some(time) = times.iter().find(|time| !near(time)) {
        let at = MILLI.seconds(*time);
        return Err(wrong(&format!(
            "it has a picture at {at} s where none was meant"
        )));
    }
    if times.len() > meant.len() || (found.length() - length).abs() > 1 {
        return Err(wrong(&format!(
            "it has {} pictures in {} s instead of {} in {} s",
            times.len(),
            MILLI.seconds(found.length()),
            meant.len(),
            MILLI.seconds(length)
        )));
    }
    checked(rendering, found, MILLI, path).await
}

async fn checked(
    rendering: &Rendering<'_>,
    found: Found,
    base: TimeBase,
    path: &Path,
) -> Result<Checked, MediaError> {
    let frame = &rendering.frame;
    if (found.width, found.height) != (frame.width, frame.height) {
        return Err(wrong(&format!(
            "its pictures are {}x{} instead of {}x{}",
            found.width, found.height, frame.width, frame.height
        )));
    }
    if !found.endless {
        return Err(wrong("it does not repeat for ever"));
    }
    let codec = match rendering.format {
        Format::Gif => "gif",
        Format::Mp4 | Format::Webm | Format::Webp | Format::Mp3 | Format::M4a | Format::Jpg => {
            "webp"
        }
    };
    Ok(Checked {
        frames: found.delays.len() as u64,
        duration: base.seconds(found.length()),
        width: Some(found.width),
        height: Some(found.height),
        fps: rate(&found.times(), base),
        video_codec: Some(codec.to_owned()),
        audio_codec: None,
        size: tokio::fs::metadata(path).await?.len(),
    })
}

/// Reads a file on a thread of its own, until somebody stops it.
async fn read(
    bench: &Bench<'_>,
    path: &Path,
    how: fn(File, &CancellationToken) -> Result<Found, Unread>,
) -> Result<Found, MediaError> {
    let (path, stop) = (path.to_owned(), bench.stop.clone());
    let reading = tokio::task::spawn_blocking(move || how(File::open(path)?, &stop));
    let read = reading.await.map_err(std::io::Error::other)?;
    read.map_err(|unread| match unread {
        Unread::Stopped => MediaError::Stopped,
        Unread::Io(error) => error.into(),
        Unread::Broken(why) => wrong(&format!("it cannot be decoded: {why}")),
    })
}

/// Why a file was not read to its end.
enum Unread {
    Stopped,
    Io(std::io::Error),
    Broken(String),
}

impl From<std::io::Error> for Unread {
    fn from(error: std::io::Error) -> Unread {
        Unread::Io(error)
    }
}

fn broken(error: impl std::fmt::Display) -> Unread {
    Unread::Broken(error.to_string())
}

fn read_gif(file: File, stop: &CancellationToken) -> Result<Found, Unread> {
    let mut options = ::gif::DecodeOptions::new();
    options.check_frame_consistency(true);
    options.set_color_output(::gif::ColorOutput::Indexed);
    let mut decoder = options.read_info(BufReader::new(file)).map_err(broken)?;
    let mut delays = Vec::new();
    while let Some(frame) = decoder.read_next_frame().map_err(broken)? {
        if stop.is_cancelled() {
            return Err(Unread::Stopped);
        }
        delays.push(i64::from(frame.delay));
    }
    Ok(Found {
        width: decoder.width().into(),
        height: decoder.height().into(),
        delays,
        // One picture alone has nothing to repeat.
        endless: matches!(decoder.repeat(), ::gif::Repeat::Infinite),
    })
}

fn read_webp(file: File, stop: &CancellationToken) -> Result<Found, Unread> {
    let mut decoder = WebPDecoder::new(BufReader::new(file)).map_err(broken)?;
    decoder.set_memory_limit(MEMORY);
    let (width, height) = decoder.dimensions();
    let size = decoder.output_buffer_size();
    let mut picture = vec![0; size.ok_or_else(|| broken("its pictures are too large"))?];
    if !decoder.is_animated() {
        decoder.read_image(&mut picture).map_err(broken)?;
        return Ok(Found {
            width,
            height,
            delays: vec![0],
            endless: true,
        });
    }
    let mut delays = Vec::new();
    for _ in 0..decoder.num_frames() {
        if stop.is_cancelled() {
            return Err(Unread::Stopped);
        }
        let delay = decoder.read_frame(&mut picture).map_err(broken)?;
        delays.push(i64::from(delay));
    }
    Ok(Found {
        width,
        height,
        delays,
        endless: matches!(decoder.loop_count(), LoopCount::Forever),
    })
}
