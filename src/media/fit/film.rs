//! Films: how many bits pictures and sound may take, and how large and how many the pictures can be for that. The choice is pure
//! arithmetic; the search asks for passes and is told what came of them.

use super::{rounded_up, within};
use crate::bytes::Bytes;
use crate::media::encode::Rate;

/// A film that has to fit into a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Film {
    pub target: Bytes,
    pub seconds: f64,
    /// The largest pictures that may be, and how many of them a second.
    pub width: u32,
    pub height: u32,
    pub fps: f64,
    pub voices: Voices,
    pub packing: Packing,
}

/// The channels of its sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voices {
    None,
    One,
    Two,
}

/// What container and codecs take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packing {
    /// Bytes of a file without packets, and of the tables for a picture and for a second of sound.
    pub empty: f64,
    pub picture: f64,
    pub sound_second: f64,
    /// Bits that pictures need against those of H.264.
    pub thirst: f64,
}

impl Packing {
    pub const MP4: Packing = Packing {
        empty: 1_700.0,
        picture: 18.0,
        sound_second: 250.0,
        thirst: 1.0,
    };
    pub const WEBM: Packing = Packing {
        empty: 1_500.0,
        picture: 12.0,
        sound_second: 500.0,
        thirst: 0.75,
    };
}

/// What the pictures are brought to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub height: u32,
    /// None when they stay as many as they are.
    pub fps: Option<u32>,
    pixels: f64,
    rate: f64,
}

/// What fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The number of the step: 0 leaves the pictures as they are.
    pub number: usize,
    pub step: Step,
    pub video_bits: u64,
    pub audio_bits: u64,
}

/// So much of a target is kept for what encoders take more than they were told.
const RESERVE: f64 = 0.015;
/// Heights that pictures are brought to.
const HEIGHTS: [u32; 10] = [2160, 1440, 1080, 720, 540, 480, 360, 240, 180, 144];
/// Fewer pixels show nothing any more.
const LEAST_PIXELS: f64 = 30_000.0;
/// Bits a pixel that pictures of 854x480 at 24 a second need when little happens in them, and the least that is still looked at.
const CALM: f64 = 0.012;
const FLOOR: f64 = 0.03;
/// Bits a second of sound: one of these, and about this share of all.
const SOUNDS: [u64; 5] = [160_000, 96_000, 64_000, 48_000, 32_000];
const SOUND_SHARE: f64 = 0.2;
/// The mean quantizer of x264 above which smaller pictures are more like the source, the one that is aimed at then, and how much it
/// falls when there are twice as many bits a pixel. Taken on films and drawn pictures: too small pictures lose more than too large ones.
const COARSE: f64 = 36.5;
const AIM: f64 = 38.0;
const HALVING: f64 = 9.0;
/// Above this one they are made smaller yet.
const HOPELESS: f64 = 44.0;

impl Film {
    /// What to begin with: the largest step for which there are enough bits if little happens in the pictures.
    ///
    /// # Errors
    /// The least target that would do.
    pub fn choose(&self) -> Result<Choice, Bytes> {
        self.chosen(1.0, 0)
    }

    /// What to go on with when the pictures of `choice` came out with this mean quantizer, which is too high; none when they can be no
    /// smaller.
    pub fn easier(&self, choice: &Choice, quantizer: f64) -> Option<Choice> {
        let calm = self.need(&choice.step) / self.pictures_bits(&choice.step);
        let busy = 2.0_f64.powf((quantizer - AIM) / HALVING) / calm;
        self.chosen(busy, choice.number + 1)
            .ok()
            .filter(|next| next.number > choice.number)
    }

    /// The next smaller step; none below the last.
    pub fn below(&self, choice: &Choice) -> Option<Choice> {
        self.chosen(1.0, choice.number + 1)
            .ok()
            .filter(|next| next.number > choice.number)
    }

    /// The same with fewer bits for the pictures, as the file came out with `size` bytes.
    #[must_use]
    pub fn corrected(&self, choice: &Choice, size: u64) -> Choice {
        let rest = self.tables(&choice.step) + choice.audio_bits as f64 * self.seconds / 8.0;
        let (got, wanted) = (size as f64 - rest, self.payload() - rest);
        let share = (wanted / got.max(1.0)).clamp(0.1, 0.99);
        Choice {
            video_bits: ((choice.video_bits as f64 * share * 0.995) as u64).max(1_000),
            ..*choice
        }
    }

    /// The least target that is not refused.
    pub fn least(&self) -> Bytes {
        let steps = self.steps();
        let needed = steps.last().map_or(0.0, |step| {
            let pictures = self.floor(step);
            let total = match self.voices {
                Voices::None => pictures,
                Voices::One | Voices::Two => {
                    (pictures + least_sound()).max(pictures / (1.0 - SOUND_SHARE))
                }
            };
            (total * self.seconds / 8.0 + self.tables(step)) / (1.0 - RESERVE)
        });
        rounded_up(needed)
    }

    /// Bytes that are expected of the container's tables.
    fn tables(&self, step: &Step) -> f64 {
        let sound = match self.voices {
            Voices::None => 0.0,
            Voices::One | Voices::Two => self.packing.sound_second * self.seconds,
        };
        self.packing.empty + step.rate * self.seconds * self.packing.picture + sound
    }

    fn payload(&self) -> f64 {
        self.target.0 as f64 * (1.0 - RESERVE)
    }

    /// Bits a second for pictures and sound.
    fn total(&self, step: &Step) -> f64 {
        (self.payload() - self.tables(step)) * 8.0 / self.seconds.max(0.001)
    }

    /// Bits a second that sound may take of this many.
    fn sound_bits(&self, total: f64) -> f64 {
        let most = match self.voices {
            Voices::None => return 0.0,
            Voices::One => 96_000.0,
            Voices::Two => 160_000.0,
        };
        (total * SOUND_SHARE).clamp(least_sound(), most)
    }

    /// Bits a second for the pictures of a step.
    fn pictures_bits(&self, step: &Step) -> f64 {
        let total = self.total(step);
        total - self.sound_bits(total)
    }

    /// Bits a second that a step needs when little happens: small pictures, and few, need more for each pixel.
    fn need(&self, step: &Step) -> f64 {
        let pixels = step.pixels * step.rate;
        let denser = (854.0 * 480.0 * 24.0 / pixels).powf(0.25);
        CALM * denser * pixels * self.packing.thirst
    }

    /// Bits a second below which a step is refused.
    fn floor(&self, step: &Step) -> f64 {
        FLOOR * step.pixels * step.rate * self.packing.thirst
    }

    /// The first step from `from` on for which there are enough bits; the last one has a floor of its own.
    fn chosen(&self, busy: f64, from: usize) -> Result<Choice, Bytes> {
        let steps = self.steps();
        let enough = |step: &&Step| self.pictures_bits(step) >= self.need(step) * busy;
        let last = steps.len().saturating_sub(1);
        let from = from.min(last);
        let fitting = steps.iter().enumerate().skip(from);
        let found = fitting
            .take(last - from)
            .find(|(_, step)| enough(step))
            .or_else(|| {
                let step = steps.get(last)?;
                (self.pictures_bits(step) >= self.floor(step)).then_some((last, step))
            });
        let Some((number, step)) = found else {
            return Err(self.least());
        };
        let total = self.total(step);
        let sound = self.sound_bits(total);
        let audio = SOUNDS.into_iter().find(|bits| *bits as f64 <= sound);
        let audio_bits = audio.unwrap_or(0);
        Ok(Choice {
            number,
            step: *step,
            video_bits: (total - audio_bits as f64) as u64,
            audio_bits,
        })
    }

    /// Every step from the pictures as they are down to the least; each has smaller pictures than the one before or fewer, and never
    /// larger or more.
    fn steps(&self) -> Vec<Step> {
        let own = f64::from(self.width) * f64::from(self.height);
        let mut steps = vec![Step {
            height: self.height,
            fps: None,
            pixels: own,
            rate: self.fps,
        }];
        let below = HEIGHTS.into_iter().filter(|height| *height < self.height);
        for height in std::iter::once(self.height).chain(below) {
            let share = f64::from(height) / f64::from(self.height);
            let pixels = own * share * share;
            if pixels < LEAST_PIXELS && height != self.height {
                break;
            }
            for fps in rates(pixels) {
                let fps = (self.fps > f64::from(*fps) * 1.1).then_some(*fps);
                let step = Step {
                    height,
                    fps,
                    pixels,
                    rate: fps.map_or(self.fps, f64::from),
                };
                if steps.last() != Some(&step) {
                    steps.push(step);
                }
            }
        }
        steps
    }
}

/// Pictures a second that are enough for pictures of this size: one goes with the other.
fn rates(pixels: f64) -> &'static [u32] {
    let lines = (pixels * 9.0 / 16.0).sqrt();
    match lines {
        370.0.. => &[30],
        250.0.. => &[30, 24],
        190.0.. => &[24, 15],
        _ => &[15],
    }
}

fn least_sound() -> f64 {
    SOUNDS.last().copied().unwrap_or_default() as f64
}

/// How often the pictures are looked at before a step is held to be right, and how often the film is made at most.
const LOOKS: usize = 3;
const TRIES: usize = 4;

/// What an encoder is to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ask {
    /// Take a first pass and tell the mean quantizer, if there is one to tell.
    Survey(Choice),
    /// Make the film and tell its bytes.
    Make(Choice, Rate),
}

/// The way to what fits: each answer leads to the next question.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    film: Film,
    choice: Choice,
    looks: usize,
    tries: usize,
    smallest: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Looking,
    /// A first pass over the very pictures was taken.
    Seen,
    Unseen,
}

impl Search {
    /// Begins with what should fit.
    ///
    /// # Errors
    /// The least target that is not refused.
    pub fn begin(film: Film) -> Result<Search, Bytes> {
        Ok(Search {
            choice: film.choose()?,
            film,
            looks: 0,
            tries: 0,
            smallest: u64::MAX,
            state: State::Looking,
        })
    }

    /// What is next.
    pub fn ask(&self) -> Ask {
        let choice = self.choice;
        let (video_bits, audio_bits) = (choice.video_bits, choice.audio_bits);
        match self.state {
            State::Looking => Ask::Survey(choice),
            State::Seen => Ask::Make(
                choice,
                Rate::Again {
                    video_bits,
                    audio_bits,
                },
            ),
            State::Unseen => Ask::Make(
                choice,
                Rate::Average {
                    video_bits,
                    audio_bits,
                },
            ),
        }
    }

    /// A first pass told this.
    pub fn surveyed(&mut self, quantizer: Option<f64>) {
        self.looks += 1;
        let Some(quantizer) = quantizer else {
            self.state = State::Unseen;
            return;
        };
        let most = if self.looks == 1 { COARSE } else { HOPELESS };
        let easier = if quantizer > most && self.looks < LOOKS {
            self.film.easier(&self.choice, quantizer)
        } else {
            None
        };
        match easier {
            Some(next) => self.choice = next,
            None => self.state = State::Seen,
        }
    }

    /// The film came out with so many bytes; whether it fits.
    ///
    /// # Errors
    /// A target that would do, when no more is tried.
    pub fn made(&mut self, size: u64) -> Result<bool, Bytes> {
        if within(size, self.film.target) {
            return Ok(true);
        }
        self.tries += 1;
        self.smallest = self.smallest.min(size);
        if self.tries == TRIES {
            let least = rounded_up(self.smallest as f64 * 1.02);
            return Err(least.max(self.film.least()));
        }
        // The same with fewer bits once; then smaller pictures, which have to be looked at first.
        match self.film.below(&self.choice) {
            Some(next) if self.tries.is_multiple_of(2) => {
                self.choice = next;
                self.state = State::Unseen;
            }
            _ => self.choice = self.film.corrected(&self.choice, size),
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
