//! Pictures whose size nobody knows before they are made: a few tries, each smaller or coarser by what the last one took.

use super::{rounded_up, within};
use crate::bytes::Bytes;
use crate::media::rendering::Rendering;
use crate::recipe::Format;

/// Pictures that have to fit into a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pictures {
    pub target: Bytes,
    pub height: u32,
    /// Of one picture.
    pub pixels: f64,
    pub count: f64,
    pub fps: f64,
    pub kind: Kind,
}

/// Whether there are fewer of them to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Moving,
    Still,
}

/// One try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    pub height: u32,
    pub fps: Option<u32>,
    /// Of the usual quality.
    pub percent: u8,
}

/// How often pictures are made at most.
const TRIES: usize = 4;
/// What is aimed at, and what is near enough.
const AIM: f64 = 0.93;
const NEAR: f64 = 0.6;
/// The coarsest that is looked at.
const COARSEST: f64 = 50.0;
/// Fewer pixels show nothing any more.
const LEAST_PIXELS: f64 = 12_000.0;
/// Enough for what moves, and the least.
const ENOUGH: f64 = 15.0;
const LEAST_FPS: f64 = 8.0;

/// Whether the first try may be the usual one: bytes that a pixel of this format takes at least, for what is no longer than it.
pub fn expects_to_fit(rendering: &Rendering<'_>, target: f64) -> bool {
    let pixels = rendering.frame.pixels() as f64 * rendering.timing.times.len() as f64;
    let bits = match rendering.format {
        Format::Gif => 1.0,
        Format::Webp | Format::Mp4 | Format::Webm | Format::Mp3 | Format::M4a | Format::Jpg => 0.2,
    };
    pixels * bits / 8.0 < target
}

impl Pictures {
    fn aim(&self) -> f64 {
        self.target.0 as f64 * AIM
    }

    /// The try that is expected to take this share of what the pictures take as they are: fewer pictures first where there are more
    /// than enough, then coarser and smaller ones.
    pub fn of(&self, share: f64) -> Size {
        let mut share = share.min(1.0);
        let mut fps = self.fps;
        if self.kind == Kind::Moving && share < 1.0 {
            fps = self.fps * share.max((ENOUGH / self.fps).min(1.0));
            share = (share * self.fps / fps).min(1.0);
        }
        let percent = (100.0 * share.sqrt()).clamp(COARSEST, 100.0);
        let most = (LEAST_PIXELS / self.pixels).min(1.0);
        let area = (share * 100.0 / percent).clamp(most, 1.0);
        if self.kind == Kind::Moving && area <= most {
            let left = share * 100.0 / percent / area;
            fps = (fps * left).max(LEAST_FPS.min(fps));
        }
        let height = (f64::from(self.height) * area.sqrt()) as u32 & !1;
        Size {
            height: height.max(2),
            fps: (fps < self.fps * 0.98).then(|| (fps.floor() as u32).max(1)),
            percent: percent.round() as u8,
        }
    }
}

/// The way to what fits, in four tries at most.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    pictures: Pictures,
    share: f64,
    tries: usize,
    /// The largest share that is known to fit.
    fitting: Option<f64>,
}

impl Search {
    /// Begins with what the pictures take as they are; where nobody knows, with a bit a pixel.
    ///
    /// # Errors
    /// As [`Search::made`].
    pub fn begin(pictures: Pictures, tried: Option<u64>) -> Result<Search, Bytes> {
        let whole = pictures.pixels * pictures.count / 8.0;
        let mut search = Search {
            pictures,
            share: (pictures.aim() / whole).min(1.0),
            tries: 0,
            fitting: None,
        };
        if let Some(bytes) = tried {
            search.share = 1.0;
            search.made(bytes)?;
        }
        Ok(search)
    }

    /// What is to be made next.
    pub fn ask(&self) -> Size {
        self.pictures.of(self.share)
    }

    /// It came out with so many bytes; whether that is it.
    ///
    /// # Errors
    /// A target that would do, when the least is too large.
    pub fn made(&mut self, bytes: u64) -> Result<bool, Bytes> {
        self.tries += 1;
        let target = self.pictures.target;
        let ratio = self.pictures.aim() / bytes.max(1) as f64;
        if within(bytes, target) {
            let near = bytes as f64 >= target.0 as f64 * NEAR;
            if near || self.share >= 1.0 || self.tries >= TRIES {
                return Ok(true);
            }
            self.fitting = Some(self.share);
            self.share = (self.share * ratio).min(1.0);
        } else if self.ask() == self.pictures.of(0.0) || self.tries >= TRIES {
            return Err(rounded_up(bytes as f64 * 1.02));
        } else {
            // Smaller pictures have more in each pixel.
            let next = self.share * ratio.powf(1.15);
            self.share = self.fitting.map_or(next, |known| next.max(known));
        }
        if self.tries + 1 == TRIES {
            // What fitted is made again; else the least there is.
            self.share = self.fitting.unwrap_or(0.0);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVING: Pictures = Pictures {
        target: Bytes(1_000_000),
        height: 720,
        pixels: 1280.0 * 720.0,
        count: 150.0,
        fps: 30.0,
        kind: Kind::Moving,
    };

    /// Bytes of a try where a pixel takes so many bits.
    fn bytes(pictures: &Pictures, size: &Size, bits: f64) -> u64 {
        let area = (f64::from(size.height) / f64::from(pictures.height)).powi(2);
        let fewer = size.fps.map_or(1.0, |fps| f64::from(fps) / pictures.fps);
        let quality = f64::from(size.percent) / 100.0;
        let denser = (1.0 / area).powf(0.15);
        (pictures.pixels * area * denser * pictures.count * fewer * quality * bits / 8.0) as u64
    }

    #[test]
    fn pictures_of_any_density_fit_in_four_tries() {
        for bits in [0.05, 0.2, 1.0, 3.0, 8.0] {
            for target in [60_000, 300_000, 1_000_000, 8 << 20] {
                let pictures = Pictures {
                    target: Bytes(target),
                    ..MOVING
                };
                let mut search = Search::begin(pictures, None).unwrap();
                let mut tries = Vec::new();
                let ended = loop {
                    let size = search.ask();
                    let made = bytes(&pictures, &size, bits);
                    tries.push((size, made));
                    match search.made(made) {
                        Ok(false) => {}
                        ended => break ended,
                    }
                };
                assert!(tries.len() <= TRIES, "{tries:?}");
                let (size, made) = *tries.last().unwrap();
                match ended {
                    Ok(_) => {
                        let large = made as f64 >= 0.4 * target as f64;
                        assert!(made <= target, "{bits} {target}: {tries:?}");
                        assert!(
                            large || size == pictures.of(1.0),
                            "{bits} {target}: {tries:?}"
                        );
                    }
                    Err(least) => {
                        let smallest = bytes(&pictures, &pictures.of(0.0), bits);
                        assert!(smallest > target && least.0 >= smallest, "{tries:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_smaller_share_is_never_a_larger_picture() {
        let still = Pictures {
            kind: Kind::Still,
            ..MOVING
        };
        for pictures in [MOVING, still] {
            let mut before = pictures.of(1.0);
            assert_eq!(
                (before.height, before.fps, before.percent),
                (720, None, 100)
            );
            for thousandth in (0..1000).rev() {
                let size = pictures.of(f64::from(thousandth) / 1000.0);
                assert!(size.height <= before.height && size.percent <= before.percent);
                assert!(size.fps.unwrap_or(30) <= before.fps.unwrap_or(30));
                before = size;
            }
            assert_eq!(before.fps.is_some(), pictures.kind == Kind::Moving);
        }
    }
}
