//! The exact cut that encodes almost nothing: the frames up to the next IDR picture and, at the end, at most one run of B-frames are
//! encoded; everything between is copied bit for bit, and all of it is joined into one track. What may be spliced is decided by the
//! plan; the MP4 and H.264 parts below stand by themselves.

pub mod bitstream;
pub mod join;
pub mod movie;
pub mod nal;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::encode;
use super::plan::{Piece, Plan, keyframe_before};
use super::probe;
use super::sidecar::{self, arguments, file};
use super::window::Window;
use super::{Bench, Input, MediaError, Phase};
use crate::seconds::Seconds;
use bitstream::{Bitstream, configuration};
use join::{Film, Part, Sound};
use movie::{Movie, Sample};

/// Quality of what is encoded: close to the source, because it stands beside it.
const CRF: &str = "16";
/// A little slower than the fastest, which is visibly worse at the same size.
const PRESET: &str = "superfast";

/// Frames to be encoded from a window: the ticks of the first and the last.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    first: i64,
    last: i64,
}

/// Splices the plan's pieces, joined, into `target`.
///
/// # Errors
/// `Splice` when the parts do not fit together; the caller then encodes instead.
pub async fn splice(
    bench: &Bench<'_>,
    windows: &[Window],
    plan: &Plan,
    target: &Path,
) -> Result<(), MediaError> {
    let mut encoded = Vec::new();
    let steps = windows.len() as f64;
    for (number, (window, piece)) in windows.iter().zip(&plan.pieces).enumerate() {
        let bitstream = window.bitstream.as_ref().map_err(|unfit| broken(unfit))?;
        let head = encode_stretch(
            bench,
            window,
            bitstream,
            piece.head_stretch(),
            format!("head-{number}.mp4"),
        );
        let tail = encode_stretch(
            bench,
            window,
            bitstream,
            piece.tail_stretch(),
            format!("tail-{number}.mp4"),
        );
        let (head, tail) = tokio::try_join!(head, tail)?;
        encoded.push((head, tail));
        bench
            .progress
            .send_replace(0.1 + 0.7 * (number + 1) as f64 / steps);
    }
    let sound = if plan.sound {
        Some(sound(bench, windows, plan).await?)
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

fn broken(what: &str) -> MediaError {
    MediaError::Splice(what.to_owned())
}

impl Piece {
    fn head_stretch(&self) -> Option<Stretch> {
        stretch(&self.frames[..self.head])
    }

    fn tail_stretch(&self) -> Option<Stretch> {
        stretch(&self.frames[self.frames.len() - self.tail..])
    }
}

fn stretch(frames: &[i64]) -> Option<Stretch> {
    Some(Stretch {
        first: *frames.first()?,
        last: *frames.last()?,
    })
}

/// Encodes a stretch so that it can stand in one track with the source: same size and pixels, parameter sets under an id of their own.
async fn encode_stretch(
    bench: &Bench<'_>,
    window: &Window,
    bitstream: &Bitstream,
    stretch: Option<Stretch>,
    name: String,
) -> Result<Option<PathBuf>, MediaError> {
    let Some(Stretch { first, last }) = stretch else {
        return Ok(None);
    };
    let target = bench.dir.join(name);
    let base = window.video.time_base;
    // Decoding begins at the keyframe shown at or before `first`, never at one that is merely decoded before it; what comes before
    // `first` is dropped by tick.
    let key = keyframe_before(&window.video, first);
    let seek = base.seconds(key) - window.opens_at() - Seconds::from_micros(5_000);
    let mut list = arguments([&"-copyts"]);
    if seek > Seconds::ZERO {
        list.extend(arguments([&"-noaccurate_seek", &"-ss", &seek.to_string()]));
    }
    list.extend(arguments([
        &"-noautorotate",
        &"-threads",
        &bench.engine.threads.to_string(),
    ]));
    list.extend(probe::input_arguments(
        &Input::File(window.path.clone()),
        bench.engine.max_pixels,
    ));
    let rate = window.bits_a_second().saturating_mul(2).max(500_000);
    let profile = match bitstream.configuration.avc_profile_indication {
        66 => "baseline",
        77 => "main",
        _ => "high",
    };
    list.extend(arguments([
        &"-an",
        &"-map",
        &"0:v:0",
        &"-vf",
        &format!(
            "trim=start_pts={first}:end_pts={},setpts=PTS-{first}",
            last + 1
        ),
        &"-fps_mode",
        &"passthrough",
        &"-enc_time_base",
        &format!("{}:{}", base.num, base.den),
        &"-video_track_timescale",
        &base.den.to_string(),
        &"-c:v",
        &"libx264",
        &"-preset",
        &PRESET,
        &"-profile:v",
        &profile,
        &"-crf",
        &CRF,
        &"-maxrate",
        &rate.to_string(),
        &"-bufsize",
        &rate.to_string(),
        &"-threads",
        &bench.engine.threads.to_string(),
        &"-x264-params",
        &format!(
            "sps-id={}:keyint=infinite:scenecut=0:open-gop=0",
            bitstream.spare_id
        ),
        &"-map_metadata",
        &"-1",
        &"-f",
        &"mp4",
    ]));
    list.push(file(&target));
    sidecar::ffmpeg(bench.job(bench.engine.cut_deadline), list, |_| {})
        .await
        .map_err(|error| MediaError::from_sidecar(error, Phase::Cutting))?;
    Ok(Some(target))
}

/// The clip's sound as a file of its own: AAC of one segment is copied packet by packet with one packet before, which the edit list
/// trims away again to the sample; anything else is encoded once.
async fn sound(bench: &Bench<'_>, windows: &[Window], plan: &Plan) -> Result<PathBuf, MediaError> {
    let target = bench.dir.join("sound.mp4");
    let mut list = arguments([&"-copyts"]);
    for window in windows {
        list.extend(probe::input_arguments(
            &Input::File(window.path.clone()),
            bench.engine.max_pixels,
        ));
    }
    match (windows, plan.pieces.as_slice()) {
        ([window], [piece])
            if window
                .audio
                .as_ref()
                .is_some_and(|track| track.codec == "aac") =>
        {
            let Some(track) = &window.audio else {
                return Err(broken("sound"));
            };
            let base = window.video.time_base;
            let ticks = |video_ticks| track.time_base.ticks(base.seconds(video_ticks));
            let (from, until) = (ticks(piece.first()), ticks(piece.until));
            let packet = track.packets.first().map_or(1024, |packet| packet.duration);
            let picked = format!(
                "noise=amount=0:drop=lte(pts\\,{})+gte(pts\\,{until}),setts=ts=TS-{from}",
                from - 2 * packet
            );
            list.extend(arguments([
                &"-map", &"0:a:0", &"-c", &"copy", &"-bsf:a", &picked,
            ]));
        }
        _ => {
            list.extend(arguments([
                &"-filter_complex",
                &encode::sound_graph(windows, plan),
                &"-map",
                &"[a]",
            ]));
            list.extend(windows.first().map(encode::sound).unwrap_or_default());
        }
    }
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

type Encoded = (Option<PathBuf>, Option<PathBuf>);

fn join_all(
    windows: &[Window],
    plan: &Plan,
    encoded: &[Encoded],
    sound: Option<&Path>,
    target: &Path,
) -> Result<(), MediaError> {
    let open = |path: &Path| Movie::open(path).map(Arc::new);
    let mut sources = Vec::new();
    for (window, (head, tail)) in windows.iter().zip(encoded) {
        let head = head.as_deref().map(open).transpose()?;
        let tail = tail.as_deref().map(open).transpose()?;
        sources.push((open(&window.path)?, head, tail));
    }
    let (Some(window), Some((movie, ..))) = (windows.first(), sources.first()) else {
        return Err(broken("nothing to join"));
    };
    let template = &movie
        .track(b"vide")
        .ok_or_else(|| broken("no picture"))?
        .trak;
    let mut merged = configuration(template)
        .ok_or_else(|| broken("no configuration"))?
        .clone();
    let mut parts = Vec::new();
    let mut offset = 0;
    for ((movie, head, tail), (window, piece)) in
        sources.iter().zip(windows.iter().zip(&plan.pieces))
    {
        let moved = offset - piece.first();
        let own = configuration(
            &movie
                .track(b"vide")
                .ok_or_else(|| broken("no picture"))?
                .trak,
        );
        let own = own.ok_or_else(|| broken("no configuration"))?;
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
        parts.push(copied_part(movie, own.length_size, window, piece, moved)?);
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
    let film = Film {
        template,
        configuration: merged,
        timescale: window.video.time_base.den,
        parts,
        length: offset,
        sound: sound
            .map(Movie::open)
            .transpose()?
            .map(|movie| Sound { movie }),
    };
    Ok(join::write(&film, target)?)
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
        .map(|sample| (*sample, sample.pts - start + first + moved))
        .collect();
    Ok(Part {
        movie,
        length_size,
        samples,
    })
}

fn copied_part<'a>(
    movie: &'a Movie,
    length_size: u8,
    window: &Window,
    piece: &Piece,
    moved: i64,
) -> Result<Part<'a>, MediaError> {
    let all = samples(movie);
    if all.len() != window.video.packets.len() {
        return Err(broken("the window's tables differ"));
    }
    let picked = all
        .get(piece.packets.clone())
        .ok_or_else(|| broken("the window is too short"))?;
    let expected = &window.video.packets[piece.packets.clone()];
    if picked
        .iter()
        .zip(expected)
        .any(|(sample, packet)| sample.pts != packet.pts)
    {
        return Err(broken("the window's tables differ in time"));
    }
    let samples = picked
        .iter()
        .map(|sample| (*sample, sample.pts + moved))
        .collect();
    Ok(Part {
        movie,
        length_size,
        samples,
    })
}
