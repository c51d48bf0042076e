//! What one kind of file takes against another, measured on film, drawings and a camera in the hand. Nothing here is ever exact.

use crate::recipe::Format;

/// Bytes of pictures at another size, where it was not measured: larger pictures have more pixels alike.
const SIZE: f64 = 0.85;
/// Bytes of fewer pictures: those that are left differ more from each other.
const FEWER: f64 = 0.4;
/// Bytes of pictures that are shown longer: the encoder takes more care of them.
const LONGER: f64 = 0.33;

/// Bytes of the few pictures that a splice encodes, in a hurry and well, of what careful encoding makes of them.
const QUICK: f64 = 2.0;

/// What a splice's own encoder makes of so many bytes.
pub fn quick(bytes: f64) -> f64 {
    QUICK * bytes
}

/// What scaling makes of bytes, by the share of pixels that is left.
pub fn scaled(share: f64, exponent: Option<f64>) -> f64 {
    share.powf(exponent.unwrap_or(SIZE))
}

/// What becomes of bytes by the share of pictures that is left, and how much longer each is shown; `thinning` is the power of the share
/// where those that are left are shown for the others.
pub fn timed(share: f64, longer: f64, thinning: Option<f64>) -> f64 {
    let fewer = thinning.map_or(FEWER, |power| power + LONGER);
    share.powf(fewer) * longer.powf(LONGER)
}

/// Bytes of a format, of so many bytes of MP4 and so many pixels in all.
pub fn of(format: Format, mp4: f64, pixels: f64) -> f64 {
    let pixels = pixels.max(1.0);
    let density = (mp4 / pixels).max(1e-5);
    match format {
        Format::Mp4 => mp4,
        Format::Webm => 0.38 * mp4,
        // Neither predicts one picture from another as well as film does: what is rich costs less more, what is plain costs more more.
        Format::Gif => pixels * 5.0 * density.powf(0.8),
        Format::Webp if density > 0.01 => 2.9 * mp4,
        Format::Webp => pixels * 0.42 * density.powf(0.58),
        Format::Mp3 | Format::M4a => 0.0,
        Format::Jpg => mp4,
    }
}

/// Bytes of one picture as a JPEG of full quality, of so many pixels and so many bytes as the only picture of an MP4.
pub fn still(pixels: f64, mp4: Option<f64>) -> f64 {
    match mp4 {
        Some(bytes) => 2.1 * bytes,
        None => 0.3 * pixels,
    }
}

/// Bytes a second of sound as it is encoded.
pub fn sound(format: Format, channels: u32) -> f64 {
    match (format, channels) {
        (Format::Mp4 | Format::M4a, 1) => 12_000.0,
        (Format::Mp4 | Format::M4a, _) => 20_000.0,
        (Format::Webm, 1) => 8_000.0,
        (Format::Webm, _) => 16_000.0,
        (Format::Mp3, 1) => 12_000.0,
        (Format::Mp3, _) => 24_000.0,
        (Format::Gif | Format::Webp | Format::Jpg, _) => 0.0,
    }
}
