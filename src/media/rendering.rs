//! What is to be made of planned pieces: the size of its pictures and when each is shown. Pure arithmetic that graph and check share,
//! so that what comes out can be held against what was meant, picture by picture.

use super::plan::Plan;
use super::probe::{Light, TimeBase};
use super::window::Window;
use super::{MediaError, plan};
use crate::recipe::frame::Frame;
use crate::recipe::{Fit, Format, Look, Recipe};
use crate::seconds::Seconds;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Rendering<'a> {
    pub windows: &'a [Window],
    pub plan: &'a Plan,
    pub format: Format,
    pub look: Look,
    pub fit: Option<Fit>,
    pub frame: Frame,
    pub timing: Timing,
}

/// When each picture is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    pub base: TimeBase,
    /// In ticks from the clip's beginning, rising.
    pub times: Vec<i64>,
    /// Ticks that all of it lasts.
    pub length: i64,
    /// Pictures that would come sooner after another than this allows are left out.
    pub grid: Option<Grid>,
}

/// A rate that is not exceeded: of all pictures that fall into one cell, the first stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Thousandths of a picture a second.
    millihertz: i64,
    base: TimeBase,
}

/// Times that are rounded to milliseconds lie this much before their cell.
const SLACK: Seconds = Seconds::from_micros(2_000);

impl<'a> Rendering<'a> {
    /// Of a plan that encodes; pictures higher than `max_height` are scaled, as are those of formats that are usually smaller.
    ///
    /// # Errors
    /// `clip_empty` without a window; `crop_outside` or `crop_too_small` when the crop does not fit the pictures.
    pub fn of(
        windows: &'a [Window],
        plan: &'a Plan,
        recipe: &Recipe,
        max_height: u32,
    ) -> Result<Rendering<'a>, MediaError> {
        let window = windows.first().ok_or(MediaError::NoFrames)?;
        let most = match window.probe.video.light {
            Light::Standard => recipe.format.ceiling(max_height),
            // Bringing a picture into standard range takes twelve bytes and more for every pixel.
            Light::High => max_height,
        };
        let look = recipe.look.suited(recipe.format);
        Ok(Rendering {
            // Of a still, only the first is shown.
            windows: windows.get(..plan.pieces.len()).unwrap_or(windows),
            plan,
            format: recipe.format,
            fit: recipe.fit,
            frame: Frame::of(window.probe.shown_size(), &look, most)?,
            timing: Timing::of(plan, window.video.time_base, &look),
            look,
        })
    }

    /// The same in smaller pictures, or fewer of them.
    ///
    /// # Errors
    /// As [`Rendering::of`].
    pub fn reduced(&self, height: u32, fps: Option<u32>) -> Result<Rendering<'a>, MediaError> {
        let window = self.windows.first().ok_or(MediaError::NoFrames)?;
        let look = Look {
            height: Some(self.look.height.unwrap_or(height).min(height)),
            fps: match (self.look.fps, fps) {
                (Some(own), Some(fps)) => Some(own.min(fps)),
                (own, fps) => own.or(fps),
            },
            ..self.look.clone()
        };
        Ok(Rendering {
            frame: Frame::of(window.probe.shown_size(), &look, height)?,
            timing: Timing::of(self.plan, self.timing.base, &look),
            look,
            ..self.clone()
        })
    }

    /// How long it plays.
    pub fn seconds(&self) -> Seconds {
        self.timing.base.seconds(self.timing.length)
    }

    /// Pictures a second, on average.
    pub fn fps(&self) -> f64 {
        let seconds = self.seconds().as_f64();
        if seconds > 0.0 {
            self.timing.times.len() as f64 / seconds
        } else {
            0.0
        }
    }
}

impl Timing {
    /// Of a plan's frames after what a look does to time.
    pub fn of(plan: &Plan, base: TimeBase, look: &Look) -> Timing {
        let length = plan.pieces.iter().map(plan::Piece::length).sum();
        Timing::after(plan.times(), length, base, look)
    }

    /// Of frames at these times, in ticks from the beginning, after what a look does to time.
    pub fn after(times: Vec<i64>, length: i64, base: TimeBase, look: &Look) -> Timing {
        let grid = Grid::of(&times, base, look);
        let (times, length) = match look.speed {
            None => (times, length),
            Some(speed) => {
                let speed = i64::from(speed.thousandths());
                let times = times.into_iter();
                (
                    times.map(|time| scaled(time, speed)).collect(),
                    scaled(length, speed).max(1),
                )
            }
        };
        let times = match grid {
            None => times,
            Some(grid) => grid.thinned(times),
        };
        Timing {
            base,
            times,
            length,
            grid,
        }
        .directed(look)
    }

    /// The same before a look's direction: from the first picture to the last.
    pub fn forward(plan: &Plan, base: TimeBase, look: &Look) -> Timing {
        let look = Look {
            reverse: false,
            boomerang: false,
            ..look.clone()
        };
        Timing::of(plan, base, &look)
    }

    /// Of pictures that are shown from the first to the last, in a look's direction.
    #[must_use]
    pub fn directed(self, look: &Look) -> Timing {
        let (times, length) = if look.reverse {
            (backward(&self.times, self.length), self.length)
        } else if look.boomerang {
            there_and_back(self.times, self.length)
        } else {
            (self.times, self.length)
        };
        Timing {
            times,
            length,
            ..self
        }
    }

    /// Ticks that the last picture lasts.
    pub fn last(&self) -> i64 {
        self.length - self.times.last().copied().unwrap_or_default()
    }
}

/// Ticks at another speed, in thousandths, rounded to the nearest. The graph has the same formula.
fn scaled(ticks: i64, speed: i64) -> i64 {
    (2 * ticks * 1000 + speed).div_euclid(2 * speed)
}

/// Each picture lasts as long as it did; the one that ended last comes first.
fn backward(times: &[i64], length: i64) -> Vec<i64> {
    let ends = times.iter().skip(1).copied().chain([length]);
    let mut moved: Vec<i64> = ends.map(|end| length - end).collect();
    moved.reverse();
    moved
}

/// Which pictures are shown, by their numbers from the first to the last, in a look's direction.
pub fn order(count: usize, look: &Look) -> Vec<usize> {
    if look.reverse {
        (0..count).rev().collect()
    } else if look.boomerang {
        (0..count).chain((1..count.max(2) - 1).rev()).collect()
    } else {
        (0..count).collect()
    }
}

/// All pictures, and then those between the first and the last in the other direction.
fn there_and_back(mut times: Vec<i64>, length: i64) -> (Vec<i64>, i64) {
    let count = times.len();
    if count < 3 {
        return (times, length);
    }
    let mut at = length;
    for place in (1..count - 1).rev() {
        times.push(at);
        at += times[place + 1] - times[place];
    }
    (times, at)
}

impl Grid {
    fn of(times: &[i64], base: TimeBase, look: &Look) -> Option<Grid> {
        let own = || {
            let (first, last) = (times.first()?, times.last()?);
            let seconds = base.seconds(last - first).as_f64();
            (seconds > 0.0).then(|| ((times.len() - 1) as f64 / seconds * 1000.0).round() as i64)
        };
        let millihertz = look.most_millihertz(own)?;
        Some(Grid { millihertz, base })
    }

    /// The factors of a tick's cell: `floor((ticks * .0 + .1) / .2)`.
    pub fn cell(&self) -> (i64, i64, i64) {
        let factor = i64::from(self.base.num) * self.millihertz;
        let whole = i64::from(self.base.den) * 1000;
        (factor, self.base.ticks(SLACK) * factor, whole)
    }

    fn thinned(&self, times: Vec<i64>) -> Vec<i64> {
        let (factor, slack, whole) = self.cell();
        let cell = |time: i64| {
            (i128::from(time) * i128::from(factor) + i128::from(slack))
                .div_euclid(i128::from(whole))
        };
        let mut kept: Vec<i64> = Vec::new();
        for time in times {
            if kept.last().is_none_or(|last| cell(time) > cell(*last)) {
                kept.push(time);
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::Method;
    use crate::media::plan::Piece;

    const MILLI: TimeBase = TimeBase { num: 1, den: 1000 };

    fn timing(frames: &[i64], until: i64, look: &str) -> Timing {
        let plan = Plan {
            method: Method::Encode,
            reason: "look",
            pieces: vec![Piece {
                frames: frames.to_vec(),
                until,
                packets: 0..0,
                head: frames.len(),
                tail: 0,
            }],
            start: Seconds::ZERO,
            end: Seconds::ZERO,
            truncated: false,
            sound: false,
        };
        Timing::of(&plan, MILLI, &serde_json::from_str(look).unwrap())
    }

    #[track_caller]
    fn check(look: &str, times: &[i64], length: i64) {
        let timing = timing(&[1000, 1033, 1067, 1100, 1133], 1167, look);
        assert_eq!(
            (&timing.times[..], timing.length),
            (times, length),
            "{look}"
        );
    }

    #[test]
    fn times_follow_the_look() {
        check("{}", &[0, 33, 67, 100, 133], 167);
        check(r#"{"speed":0.5}"#, &[0, 66, 134, 200, 266], 334);
        check(r#"{"speed":2}"#, &[0, 34, 67], 84);
        check(r#"{"speed":4}"#, &[0, 33], 42);
        check(r#"{"fps":15}"#, &[0, 67, 133], 167);
        check(r#"{"fps":60}"#, &[0, 33, 67, 100, 133], 167);
        check(r#"{"reverse":true}"#, &[0, 34, 67, 100, 134], 167);
        check(
            r#"{"boomerang":true}"#,
            &[0, 33, 67, 100, 133, 167, 200, 233],
            267,
        );
    }

    #[test]
    fn as_many_pictures_are_shown_as_there_are_times() {
        for look in ["{}", r#"{"reverse":true}"#, r#"{"boomerang":true}"#] {
            let look: Look = serde_json::from_str(look).unwrap();
            for count in 1..6 {
                let times = (0..count).collect();
                let timing = Timing::after(times, count, MILLI, &look);
                let order = order(count as usize, &look);
                assert_eq!(order.len(), timing.times.len(), "{count} {look:?}");
            }
        }
        let look = |text| serde_json::from_str(text).unwrap();
        assert_eq!(order(4, &look(r#"{"reverse":true}"#)), [3, 2, 1, 0]);
        assert_eq!(order(4, &look(r#"{"boomerang":true}"#)), [0, 1, 2, 3, 2, 1]);
    }

    #[test]
    fn a_rate_is_never_exceeded_and_rounding_costs_no_picture() {
        let frames: Vec<i64> = (0..300).map(|n| (n * 1000 + 15) / 30).collect();
        for fps in [10, 15, 30] {
            let timing = timing(&frames, 10_000, &format!(r#"{{"fps":{fps}}}"#));
            assert_eq!(timing.times.len(), 10 * fps, "{fps}");
        }
    }
}
