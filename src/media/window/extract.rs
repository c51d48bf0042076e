//! A window in place as a file of its own, and its sound sample by sample.

use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Reach, Samples, Window};
use crate::media::packets::{self, Packet};
use crate::media::plan::Plan;
use crate::media::probe::Video;
use crate::media::rendering::Rendering;
use crate::media::splice::bitstream::configuration;
use crate::media::splice::join::{self, Film, Part, Placed};
use crate::media::splice::movie::Movie;
use crate::media::{Bench, MediaError};
use crate::seconds::Seconds;

/// Writes a window in place into a file of its own, for sidecars to read.
///
/// # Errors
/// When it cannot be read or written.
pub async fn extract(
    bench: &Bench<'_>,
    window: &Window,
    number: usize,
) -> Result<Window, MediaError> {
    let path = bench.dir.join(format!("window-{number}.mp4"));
    let key = written(window, &path, Pictures::All).await?;
    let table = packets::read(bench, &path).await?;
    let mut probe = window.probe.clone();
    if let Some(found) = table.probe {
        // What only the pictures themselves tell.
        probe.video = Video {
            index: probe.video.index,
            ..found.video
        };
    }
    Ok(Window {
        path,
        probe,
        video: table.video.ok_or(MediaError::NoFrames)?,
        audio: table.audio,
        shift: Seconds::ZERO - window.video.time_base.seconds(key),
        samples: None,
        in_place: false,
        ..window.clone()
    })
}

/// The windows of a rendering and its plan as its sound is read: those in place are parts of larger files, and only their sound is
/// written out.
///
/// # Errors
/// As [`sound`].
pub async fn sounds(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
) -> Result<(Vec<Window>, Plan), MediaError> {
    let mut windows = Vec::new();
    let mut plan = rendering.plan.clone();
    for (number, window) in rendering.windows.iter().enumerate() {
        if !window.in_place {
            windows.push(window.clone());
            continue;
        }
        let (sound, moved) = sound(bench, window, number).await?;
        windows.push(sound);
        if let Some(piece) = plan.pieces.get_mut(number) {
            *piece = piece.moved(-moved);
        }
    }
    Ok((windows, plan))
}

/// Writes the sound of a window in place into a file of its own; times in it are earlier by the ticks that come with it.
///
/// # Errors
/// When it cannot be read or written.
async fn sound(
    bench: &Bench<'_>,
    window: &Window,
    number: usize,
) -> Result<(Window, i64), MediaError> {
    let path = bench.dir.join(format!("sound-{number}.mp4"));
    let key = written(window, &path, Pictures::First).await?;
    let table = packets::read(bench, &path).await?;
    let window = Window {
        path,
        audio: table.audio,
        samples: None,
        in_place: false,
        ..window.clone()
    };
    Ok((window, key))
}

/// How many pictures are written.
#[derive(Clone, Copy)]
enum Pictures {
    All,
    /// One, which says when the sound is heard.
    First,
}

async fn written(window: &Window, path: &Path, pictures: Pictures) -> Result<i64, MediaError> {
    let (source, target) = (window.clone(), path.to_owned());
    tokio::task::spawn_blocking(move || write(&source, &target, pictures))
        .await
        .map_err(io::Error::other)?
}

/// Writes pictures from the first keyframe on, byte by byte as they are, with their sound; returns the keyframe's time, which is 0 in the file.
fn write(window: &Window, target: &Path, pictures: Pictures) -> Result<i64, MediaError> {
    let lost = || MediaError::Splice("the window cannot be read again".to_owned());
    let samples = window.samples.as_ref().ok_or_else(lost)?;
    let track = samples.track(samples.video).ok_or_else(lost)?;
    let own = configuration(&track.trak).ok_or_else(lost)?;
    let packets = &window.video.packets;
    let begin = packets.iter().position(|packet| packet.key).unwrap_or(0);
    let key = packets.get(begin).ok_or(MediaError::NoFrames)?.pts;
    let mut until = key;
    let mut placed = Vec::new();
    for (packet, sample) in packets
        .iter()
        .zip(&track.samples[samples.video.first..])
        .skip(begin)
    {
        // Pictures shown before the keyframe need what came before it.
        if packet.pts < key {
            continue;
        }
        until = until.max(packet.pts + packet.duration);
        placed.push(Placed {
            sample: *sample,
            shown: packet.pts - key,
            plain: true,
        });
    }
    let mut film = Film {
        template: &track.trak,
        configuration: own.clone(),
        timescale: window.video.time_base.den,
        parts: vec![Part {
            movie: &samples.movie,
            length_size: own.length_size,
            samples: placed,
        }],
        length: until - key,
        sound: window.sound(key, until),
    };
    if let (Pictures::First, Some(part)) = (pictures, film.parts.first_mut()) {
        part.samples.truncate(1);
    }
    join::write(&film, target)?;
    Ok(key)
}

impl Window {
    /// With the samples of its sound, where nobody has looked at them yet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn with_sound_samples(&self) -> io::Result<Cow<'_, Window>> {
        let Some(track) = self.audio.as_ref().filter(|_| self.samples.is_none()) else {
            return Ok(Cow::Borrowed(self));
        };
        let movie = Movie::open(&self.path)?;
        let whole = |track| Reach {
            track,
            first: 0,
            moved: 0,
        };
        let (video, audio) = (movie.number(b"vide"), movie.number(b"soun"));
        let same = |number: &usize| {
            let samples = &movie.tracks[*number].samples;
            samples.len() == track.packets.len()
                && samples
                    .iter()
                    .zip(&track.packets)
                    .all(|(sample, packet)| sample.pts == packet.pts)
        };
        let audio = audio.filter(same).map(whole);
        let samples = video.map(whole).map(|video| Samples {
            movie: Arc::new(movie),
            video,
            audio,
        });
        Ok(Cow::Owned(Window {
            samples,
            ..self.clone()
        }))
    }

    /// The sound from one moment of the picture to another, in video ticks, sample by sample and with one more at the front; `None`
    /// when there is none or it cannot be taken over so.
    pub fn sound(&self, from: i64, until: i64) -> Option<join::Sound<'_>> {
        let samples = self.samples.as_ref()?;
        let (reach, track) = (samples.audio?, self.audio.as_ref()?);
        let source = samples.track(reach)?;
        let ticks = |ticks| track.time_base.ticks(self.video.time_base.seconds(ticks));
        let (from, until) = (ticks(from), ticks(until));
        let heard = |packet: &Packet| packet.pts + packet.duration > from && packet.pts < until;
        let first = track.packets.iter().position(heard)?.saturating_sub(1);
        let count = track.packets[first..]
            .iter()
            .take_while(|packet| packet.pts < until)
            .count();
        let picked = source.samples.get(reach.first + first..)?.get(..count)?;
        let times = track.packets[first..]
            .iter()
            .map(|packet| packet.pts - from);
        Some(join::Sound {
            movie: &samples.movie,
            template: &source.trak,
            samples: picked.iter().copied().zip(times).collect(),
        })
    }
}
