//! Animated WebP, which counts in milliseconds. Its encoder guesses how long the last picture is shown; that is put right in the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::feed::Feed;
use super::film::{self, Rate};
use crate::media::rendering::Rendering;
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, MediaError};

/// Of 100.
const QUALITY: u32 = 75;
/// A picture that stands alone comes at least so often; players only ever begin at the first.
const GROUP: &str = "120";

/// Encodes an animated WebP that repeats for ever.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn webp(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    rate: Rate,
    target: &Path,
) -> Result<(), MediaError> {
    let feed = Feed::prepare(bench, rendering, rate).await?;
    let mut list = feed.pictures("yuv420p", ",settb=1/1000");
    list.extend(arguments([
        &"-fps_mode",
        &"passthrough",
        &"-enc_time_base",
        &"1:1000",
        &"-c:v",
        &"libwebp_anim",
        &"-lossless",
        &"0",
        &"-quality",
        &(QUALITY * rate.percent() / 100).to_string(),
        &"-g",
        &GROUP,
        &"-map_metadata",
        &"-1",
        &"-loop",
        &"0",
        &"-f",
        &"webp",
    ]));
    list.push(sidecar::file(target));
    film::run(bench, rendering, list, 0.1..0.95).await?;
    let length = rendering.seconds().micros() + 500;
    let (path, length) = (target.to_owned(), length / 1000);
    tokio::task::spawn_blocking(move || lasting(&path, length))
        .await
        .map_err(io::Error::other)??;
    Ok(())
}

/// Lets the pictures of a file last so many milliseconds together, by the length of the last one.
fn lasting(path: &Path, length: i64) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let mut head = [0; 8];
    let mut place = 12_u64;
    let mut last = None;
    let mut before = 0_i64;
    loop {
        file.seek(SeekFrom::Start(place))?;
        match file.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        let [name @ .., a, b, c, d] = head;
        let size = u64::from(u32::from_le_bytes([a, b, c, d]));
        if &name == b"ANMF" {
            // Place and size of the picture are three bytes each, and so is its duration.
            let at = place + 8 + 12;
            let mut duration = [0; 4];
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut duration[..3])?;
            let duration = i64::from(u32::from_le_bytes(duration));
            if let Some((_, earlier)) = last.replace((at, duration)) {
                before += earlier;
            }
        }
        place += 8 + size + size % 2;
    }
    // Where nothing moves there is but one picture, and no animation.
    let Some((at, _)) = last else { return Ok(()) };
    let rest = (length - before).clamp(1, MOST_DURATION);
    let bytes = u32::try_from(rest).unwrap_or_default().to_le_bytes();
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&bytes[..3])
}

const MOST_DURATION: i64 = (1 << 24) - 1;
