//! Animated GIF: a palette of the whole clip in a first run, its pictures in a second. GIF counts in hundredths of a second.

use std::path::Path;

use super::feed::Feed;
use super::film::{self, Rate};
use crate::media::rendering::{Rendering, Timing};
use crate::media::sidecar::{self, arguments};
use crate::media::{Bench, MediaError};

/// A pattern instead of diffused errors: it stands still where the picture does. Against `sierra2_4a` it takes two thirds of the bytes
/// and looks better to SSIM.
const DITHER: &str = "dither=bayer:bayer_scale=4";
/// What a palette holds, and the fewest that still look like a picture.
const COLOURS: u32 = 256;
const LEAST_COLOURS: u32 = 32;
/// Browsers show what lasts shorter for a tenth of a second.
const LEAST_DELAY: i64 = 2;
/// A palette is a picture of 16 by 16 colours, four bytes each.
const PALETTE_BYTES: u64 = 16 * 16 * 4;

/// Hundredths of a second at which the pictures are shown, and where the last one ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delays {
    pub times: Vec<i64>,
    pub length: i64,
}

impl Delays {
    /// The same times rounded. Where two come closer than browsers stand, the second waits.
    pub fn of(timing: &Timing) -> Delays {
        let (num, den) = (i128::from(timing.base.num), i128::from(timing.base.den));
        let rounded = |ticks: i64| {
            let time = (2 * i128::from(ticks) * num * 100 + den).div_euclid(2 * den.max(1));
            i64::try_from(time).unwrap_or(i64::MAX)
        };
        let mut times: Vec<i64> = Vec::with_capacity(timing.times.len());
        for ticks in &timing.times {
            let least = times.last().map_or(0, |last| last + LEAST_DELAY);
            times.push(rounded(*ticks).max(least));
        }
        let least = times.last().map_or(0, |last| last + LEAST_DELAY);
        Delays {
            length: rounded(timing.length).max(least),
            times,
        }
    }

    /// How long the last picture is shown.
    fn last(&self) -> i64 {
        self.length - self.times.last().copied().unwrap_or_default()
    }
}

/// Encodes an animated GIF that repeats for ever.
///
/// # Errors
/// When ffmpeg fails, is stopped or takes too long.
pub async fn gif(
    bench: &Bench<'_>,
    rendering: &Rendering<'_>,
    rate: Rate,
    target: &Path,
) -> Result<(), MediaError> {
    let mut feed = Feed::prepare(bench, rendering, rate).await?;
    let palette = bench.dir.join("palette.raw");
    // It keeps a count of colours, no pictures.
    let colours = (COLOURS * rate.percent() / 100).clamp(LEAST_COLOURS, COLOURS);
    let mut list = feed.pictures(
        "bgra",
        &format!(",palettegen=stats_mode=full:max_colors={colours}"),
    );
    list.extend(arguments([
        &"-fps_mode",
        &"passthrough",
        &"-frames:v",
        &"1",
        &"-f",
        &"rawvideo",
        &"-pix_fmt",
        &"bgra",
    ]));
    list.push(sidecar::file(&palette));
    film::run(bench, rendering, list, 0.1..0.4).await?;
    if tokio::fs::metadata(&palette).await?.len() != PALETTE_BYTES {
        return Err(MediaError::Damaged(None));
    }
    let mut picture = arguments([
        &"-f",
        &"rawvideo",
        &"-pixel_format",
        &"bgra",
        &"-video_size",
        &"16x16",
        &"-protocol_whitelist",
        &"file",
        &"-i",
    ]);
    picture.push(sidecar::file(&palette));
    let number = feed.beside(picture);
    // Both inputs in the ticks of the format, or the filter would choose others. The rule for times is that of `Delays`.
    let further = format!(
        ",settb=1/100,setpts='if(isnan(PREV_OUTPTS),PTS,max(PTS,PREV_OUTPTS+{LEAST_DELAY}))'[pictures];\
[{number}:v:0]settb=1/100[palette];[pictures][palette]paletteuse={DITHER}"
    );
    let mut list = feed.pictures("bgra", &further);
    list.extend(arguments([
        &"-fps_mode",
        &"passthrough",
        &"-enc_time_base",
        &"1:100",
        &"-c:v",
        &"gif",
        &"-map_metadata",
        &"-1",
        &"-loop",
        &"0",
        &"-final_delay",
        &Delays::of(&rendering.timing).last().to_string(),
        &"-f",
        &"gif",
    ]));
    list.push(sidecar::file(target));
    film::run(bench, rendering, list, 0.4..0.95).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::probe::TimeBase;

    #[test]
    fn no_picture_is_shorter_than_browsers_stand() {
        let check = |times: &[i64], length: i64, rounded: &[i64], end: i64| {
            let timing = Timing {
                base: TimeBase { num: 1, den: 1000 },
                times: times.to_vec(),
                length,
                grid: None,
            };
            let delays = Delays::of(&timing);
            assert_eq!((&delays.times[..], delays.length), (rounded, end));
        };
        check(&[0, 67, 133, 200], 267, &[0, 7, 13, 20], 27);
        check(&[0, 15, 20, 60], 62, &[0, 2, 4, 6], 8);
        check(&[0], 5, &[0], 2);
    }
}
