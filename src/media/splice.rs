//! The exact cut that encodes almost nothing: the frames up to the next IDR picture and, at the end, at most one run of B-frames are
//! encoded; everything between is copied bit for bit, and all of it is joined into one track. What may be spliced is decided by the
//! plan; the MP4 and H.264 parts below stand by themselves.

pub mod bitstream;
pub mod boxes;
pub mod join;
pub mod movie;
pub mod nal;
pub mod reorder;
pub mod sidx;
mod stretch;
mod tags;
mod tracks;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::encode::Rate;
use super::encode::feed::Feed;
use super::encode::sound;
use super::plan::Plan;
use super::rendering::Rendering;
use super::sidecar::{self, arguments, file};
use super::window::{Samples, Window, extract};
use super::{Bench, MediaError, Phase};
use bitstream::{configuration, joinable};
use join::{Extent, Film, Part, Placed, Sound};
use movie::{Movie, Sample};
use stretch::encode_stretch;

/// Splices the plan's pieces, joined, into `target`.
///
/// # Errors
/// `Splice` when the parts do not fit together; the caller then encodes instead.
pub async fn splice(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    target: &Path,
) -> Result<(), MediaError> {
    let (windows, plan) = (rendering.windows, rendering.plan);
    let mut encoded = Vec::new();
    let steps = windows.len() as f64;
    // One limit for all: the encoder's parameter sets depend on it, and there may be only one pair.
    let rate = windows.iter().map(Window::bits_a_second).max();
    let most = rate.unwrap_or(0).saturating_mul(2).max(LEAST_RATE);
    for (number, (window, piece)) in windows.iter().zip(&plan.pieces).enumerate() {
        let head = encode_stretch(
            bench,
            window,
            piece.head_stretch(),
            most,
            format!("head-{number}"),
        );
        let tail = encode_stretch(
            bench,
            window,
            piece.tail_stretch(),
            most,
            format!("tail-{number}"),
        );
        let (head, tail) = tokio::try_join!(head, tail)?;
        encoded.push((head, tail));
        bench
            .progress
            .send_replace(0.1 + 0.7 * (number + 1) as f64 / steps);
    }
    let copied = matches!((windows, plan.pieces.as_slice()), ([window], [piece])
        if plan.sound
            && !rendering.look.touches_sound()
            && window.is_aac()
            && window.sound(piece.first(), piece.until).is_some());
    let sound = if plan.sound && !copied {
        Some(mixed_sound(bench, rendering).await?)
    } else {
        None
    };
    bench.progress.send_replace(0.9);
    let (windows, plan, target) = (windows.to_vec(), plan.clone(), target.to_owned());
    let joined = tokio::task::spawn_blocking(move || {
        join_all(&windows, &plan, &encoded, sound.as_deref(), &target)
    });
    joined.await.map_err(|error| broken(&error.to_string()))?
}

/// However poor the source, what is encoded may take so many bits a second.
const LEAST_RATE: u64 = 500_000;

fn broken(what: &str) -> MediaError {
    MediaError::Splice(what.to_owned())
}

fn samples_of(window: &Window) -> Result<&Samples, MediaError> {
    window
        .samples
        .as_ref()
        .ok_or_else(|| broken("the window has no samples"))
}

/// The source's picture track.
fn template(window: &Window) -> Result<&mp4_atom::Trak, MediaError> {
    let samples = samples_of(window)?;
    let track = samples.track(samples.video);
    Ok(&track.ok_or_else(|| broken("no picture"))?.trak)
}

/// Packets of a window, by their numbers, moved by so many ticks.
fn places(
    window: &Window,
    numbers: impl Iterator<Item = usize>,
    moved: i64,
) -> Result<Vec<Placed>, MediaError> {
    let samples = samples_of(window)?;
    let reach = samples.video;
    let all = samples.track(reach).map_or(&[][..], |track| &track.samples);
    let plain = window
        .bitstream
        .as_ref()
        .map_or(&[][..], |bitstream| &bitstream.plain);
    numbers
        .map(|number| {
            let packet = window.video.packets.get(number);
            match (packet, all.get(reach.first + number)) {
                (Some(packet), Some(sample)) if sample.pts + reach.moved == packet.pts => {
                    Ok(Placed {
                        // Where pictures are not whole at once, no player should begin.
                        sample: Sample {
                            sync: packet.key,
                            ..*sample
                        },
                        shown: packet.pts + moved,
                        plain: plain.get(number) == Some(&true),
                    })
                }
                _ => Err(broken("the window's tables differ")),
            }
        })
        .collect()
}

/// The clip's sound as a file of its own, encoded once.
async fn mixed_sound(bench: &Bench<'_>, rendering: &Rendering<'_>) -> Result<PathBuf, MediaError> {
    let (windows, plan) = extract::sounds(bench, rendering).await?;
    let own = Rendering {
        windows: &windows,
        plan: &plan,
        ..rendering.clone()
    };
    let feed = Feed::prepare(bench, &own, Rate::Quality).await?;
    let target = bench.dir.join("sound.mp4");
    let mut list = feed.sound(bench).await?;
    list.extend(sound::aac(feed.heard, None));
    list.extend(arguments([
        &"-map_metadata",
        &"-1",
        &"-map_chapters",
        &"-1",
        &"-f",
        &"mp4",
    ]));
    list.push(file(&target));
    sidecar::ffmpeg(bench.job(bench.engine.cut_deadline), list, |_| {})
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    Ok(target)
}

/// All sound of a movie of ours that holds nothing else.
fn all_sound(movie: &Movie) -> Option<Sound<'_>> {
    let track = movie.tracks.first()?;
    let moved = track.moved(movie.timescale)?;
    Some(Sound {
        movie,
        template: &track.trak,
        samples: track
            .samples
            .iter()
            .map(|sample| (*sample, sample.pts + moved))
            .collect(),
    })
}

type Encoded = (Option<PathBuf>, Option<PathBuf>);

fn join_all(
    windows: &[Window],
    plan: &Plan,
    encoded: &[Encoded],
    sound: Option<&Path>,
    target: &Path,
) -> Result<(), MediaError> {
    let open = |path: &Path| Movie::open(path).map(Arc::new);
    let mut pieces = Vec::new();
    for (head, tail) in encoded {
        let head = head.as_deref().map(open).transpose()?;
        let tail = tail.as_deref().map(open).transpose()?;
        pieces.push((head, tail));
    }
    let window = windows.first().ok_or_else(|| broken("nothing to join"))?;
    let template = template(window)?;
    let first = window.bitstream.as_ref().map_err(|unfit| broken(unfit))?;
    let mut merged = first.configuration.clone();
    let mut parts = Vec::new();
    let mut offset = 0;
    for ((head, tail), (window, piece)) in pieces.iter().zip(windows.iter().zip(&plan.pieces)) {
        let moved = offset - piece.first();
        let own = window.bitstream.as_ref().map_err(|unfit| broken(unfit))?;
        for (encoded, frames) in [
            (head, &piece.frames[..piece.head]),
            (tail, &piece.frames[piece.frames.len() - piece.tail..]),
        ] {
            if let Some(encoded) = encoded {
                let configuration = join::encoded_configuration(encoded)
                    .ok_or_else(|| broken("no configuration"))?;
                merged = join::merged(&merged, configuration).map_err(broken)?;
                check_order(encoded, frames)?;
            }
        }
        if let Some(head) = head {
            parts.push(encoded_part(head, &piece.frames[..piece.head], moved)?);
        }
        parts.push(Part {
            movie: &samples_of(window)?.movie,
            length_size: own.length_size,
            samples: places(window, piece.packets.clone(), moved)?,
        });
        if let Some(tail) = tail {
            parts.push(encoded_part(
                tail,
                &piece.frames[piece.frames.len() - piece.tail..],
                moved,
            )?);
        }
        offset += piece.length();
    }
    // Two sets from two encodes of one setting are the same set; anything else would be one id with two meanings.
    if merged.sequence_parameter_sets.len() > 2 {
        return Err(broken("the encoder's parameter sets differ"));
    }
    let mixed = sound.map(Movie::open).transpose()?;
    let sound = match (&mixed, plan.pieces.as_slice()) {
        (Some(movie), _) => Some(all_sound(movie).ok_or_else(|| broken("no sound"))?),
        (None, [piece]) if plan.sound => window.sound(piece.first(), piece.until),
        (None, _) => None,
    };
    let film = Film {
        template,
        configuration: merged,
        timescale: window.video.time_base.den,
        parts,
        length: offset,
        sound,
    };
    join::write(&film, target).map_err(unjoined)
}

/// What cannot be joined may still be encoded; a disk that fails is another matter.
fn unjoined(error: std::io::Error) -> MediaError {
    match error.kind() {
        std::io::ErrorKind::InvalidData => broken(&error.to_string()),
        _ => error.into(),
    }
}

/// Writes a plan's only piece with nothing encoded.
///
/// # Errors
/// `Splice` when the window does not hold what the plan says.
pub fn taken_over(window: &Window, plan: &Plan, target: &Path) -> Result<(), MediaError> {
    let piece = plan.pieces.first().ok_or(MediaError::NoFrames)?;
    let template = template(window)?;
    let own = configuration(template).ok_or_else(|| broken("no configuration"))?;
    let configuration = joinable(own);
    let shown = |number: &usize| window.video.packets[*number].pts >= piece.first();
    let film = Film {
        template,
        configuration,
        timescale: window.video.time_base.den,
        parts: vec![Part {
            movie: &samples_of(window)?.movie,
            length_size: own.length_size,
            samples: places(window, piece.packets.clone().filter(shown), -piece.first())?,
        }],
        length: piece.length(),
        sound: window
            .sound(piece.first(), piece.until)
            .filter(|_| plan.sound),
    };
    join::write(&film, target).map_err(unjoined)
}

/// Writes the sound of a plan's only piece as it is, packet by packet.
///
/// # Errors
/// `Splice` when the window does not hold what the plan says.
pub fn sound_taken_over(window: &Window, plan: &Plan, target: &Path) -> Result<(), MediaError> {
    let piece = plan.pieces.first().ok_or(MediaError::NoFrames)?;
    let window = window.with_sound_samples()?;
    let sound = window.sound(piece.first(), piece.until);
    let sound = sound.ok_or_else(|| broken("the sound cannot be taken over"))?;
    let extent = Extent {
        timescale: window.video.time_base.den,
        length: piece.length() * i64::from(window.video.time_base.num),
    };
    join::write_sound(&sound, extent, target).map_err(unjoined)
}

/// The encoder's frames are the wanted ones, in number and in time: nobody else will notice later which is which.
fn check_order(encoded: &Movie, frames: &[i64]) -> Result<(), MediaError> {
    let mut times: Vec<i64> = samples(encoded).iter().map(|sample| sample.pts).collect();
    times.sort_unstable();
    let from = |times: &[i64]| times.iter().map(|time| time - times[0]).collect::<Vec<_>>();
    if times.len() == frames.len() && from(&times) == from(frames) {
        Ok(())
    } else {
        Err(broken("the encoded frames are not the wanted ones"))
    }
}

fn samples(movie: &Movie) -> &[Sample] {
    movie.track(b"vide").map_or(&[], |track| &track.samples)
}

fn encoded_part<'a>(movie: &'a Movie, frames: &[i64], moved: i64) -> Result<Part<'a>, MediaError> {
    let start = samples(movie)
        .iter()
        .map(|sample| sample.pts)
        .min()
        .ok_or_else(|| broken("nothing was encoded"))?;
    let first = frames
        .first()
        .ok_or_else(|| broken("nothing was to be encoded"))?;
    let length_size =
        join::encoded_configuration(movie).map_or(4, |configuration| configuration.length_size);
    let samples = samples(movie)
        .iter()
        .map(|sample| Placed {
            sample: *sample,
            shown: sample.pts - start + first + moved,
            plain: false,
        })
        .collect();
    Ok(Part {
        movie,
        length_size,
        samples,
    })
}
