//! Which part of the picture is kept: written as `9:16`, `1:1@left`, `640x360+100+50` or `50%x50%+25%+25%`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A part of a picture as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crop {
    /// The largest part with these proportions. Where something has to go, `at` says from which side: 0 keeps left or top, 1000
    /// right or bottom.
    Ratio { wide: u32, high: u32, at: u32 },
    /// In pixels of the picture as it is shown.
    Pixels {
        width: u32,
        height: u32,
        x: u32,
        y: u32,
    },
    /// In thousandths of the picture's width and height.
    Share {
        width: u32,
        height: u32,
        x: u32,
        y: u32,
    },
}

/// The text is not a crop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a part of a picture")]
pub struct CropError;

/// The part lies outside of the picture, or is too small to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the crop reaches outside of the picture, which is {0}x{1}")]
    Outside(u32, u32),
    #[error("what the crop leaves of the picture is smaller than {LEAST}x{LEAST}")]
    Small,
}

/// A rectangle in pixels; all four numbers are even, as 4:2:0 wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// A picture has at least so many pixels each way.
pub const LEAST: u32 = 16;
/// Proportions beyond this are a slip of the pen.
const MOST_RATIO: u32 = 100;
const WHOLE: u32 = 1000;

impl Crop {
    /// The rectangle in a picture of this size.
    ///
    /// # Errors
    /// When it does not lie inside, or too little is left.
    pub fn rect(&self, width: u32, height: u32) -> Result<Rect, Unfit> {
        let part = |whole: u32, share: u32| {
            u32::try_from(u64::from(whole) * u64::from(share) / u64::from(WHOLE)).unwrap_or(whole)
        };
        let (x, y, wide, high) = match *self {
            Crop::Ratio { wide, high, at } => {
                let (w, h) = (u64::from(width), u64::from(height));
                let (a, b) = (u64::from(wide.max(1)), u64::from(high.max(1)));
                let (keep_w, keep_h) = if w * b > h * a {
                    (h * a / b, h)
                } else {
                    (w, w * b / a)
                };
                let keep_w = u32::try_from(keep_w).unwrap_or(width);
                let keep_h = u32::try_from(keep_h).unwrap_or(height);
                (
                    part(width - keep_w.min(width), at),
                    part(height - keep_h.min(height), at),
                    keep_w,
                    keep_h,
                )
            }
            Crop::Pixels {
                width: w,
                height: h,
                x,
                y,
            } => (x, y, w, h),
            Crop::Share {
                width: w,
                height: h,
                x,
                y,
            } => (
                part(width, x),
                part(height, y),
                part(width, w),
                part(height, h),
            ),
        };
        let inside = |from: u32, length: u32, whole: u32| {
            from.checked_add(length).is_some_and(|end| end <= whole)
        };
        if !inside(x, wide, width) || !inside(y, high, height) {
            return Err(Unfit::Outside(width, height));
        }
        let rect = Rect {
            x: x & !1,
            y: y & !1,
            width: wide & !1,
            height: high & !1,
        };
        if rect.width < LEAST || rect.height < LEAST {
            return Err(Unfit::Small);
        }
        Ok(rect)
    }
}

impl FromStr for Crop {
    type Err = CropError;

    fn from_str(text: &str) -> Result<Crop, CropError> {
        if text.len() > 64 {
            return Err(CropError);
        }
        match text.split_once(':') {
            Some((wide, high)) => ratio(wide, high),
            None => free(text),
        }
        .ok_or(CropError)
    }
}

fn ratio(wide: &str, rest: &str) -> Option<Crop> {
    let (high, place) = match rest.split_once('@') {
        Some((high, place)) => (high, Some(place)),
        None => (rest, None),
    };
    let side = |text: &str| whole(text).filter(|side| (1..=MOST_RATIO).contains(side));
    Some(Crop::Ratio {
        wide: side(wide)?,
        high: side(high)?,
        at: match place {
            None | Some("center") => WHOLE / 2,
            Some("left" | "top") => 0,
            Some("right" | "bottom") => WHOLE,
            Some(share) => thousandths(share)?,
        },
    })
}

/// `WxH+X+Y`, all in pixels or all with a percent sign.
fn free(text: &str) -> Option<Crop> {
    let (size, place) = text.split_once('+')?;
    let (width, height) = size.split_once('x')?;
    let (x, y) = place.split_once('+')?;
    let all = |number: fn(&str) -> Option<u32>| {
        Some((number(width)?, number(height)?, number(x)?, number(y)?))
    };
    if let Some((width, height, x, y)) = all(whole) {
        return Some(Crop::Pixels {
            width,
            height,
            x,
            y,
        });
    }
    let (width, height, x, y) = all(thousandths)?;
    let inside = x + width <= WHOLE && y + height <= WHOLE;
    inside.then_some(Crop::Share {
        width,
        height,
        x,
        y,
    })
}

fn whole(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// `12.5%` as 125; at most 100 %.
fn thousandths(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (units, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let tenth = whole(tenth).filter(|_| tenth.len() == 1)?;
    let share = whole(units)?.checked_mul(10)?.checked_add(tenth)?;
    (share <= WHOLE).then_some(share)
}

struct Percent(u32);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(10) {
            write!(f, "{}%", self.0 / 10)
        } else {
            write!(f, "{}.{}%", self.0 / 10, self.0 % 10)
        }
    }
}

impl fmt::Display for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Crop::Ratio { wide, high, at } if at == WHOLE / 2 => write!(f, "{wide}:{high}"),
            Crop::Ratio { wide, high, at } => write!(f, "{wide}:{high}@{}", Percent(at)),
            Crop::Pixels {
                width,
                height,
                x,
                y,
            } => write!(f, "{width}x{height}+{x}+{y}"),
            Crop::Share {
                width,
                height,
                x,
                y,
            } => write!(
                f,
                "{}x{}+{}+{}",
                Percent(width),
                Percent(height),
                Percent(x),
                Percent(y)
            ),
        }
    }
}

impl Serialize for Crop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Crop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_read_back_as_shown() {
        for (text, shown) in [
            ("9:16", "9:16"),
            ("1:1@center", "1:1"),
            ("4:5@top", "4:5@0%"),
            ("16:9@right", "16:9@100%"),
            ("9:16@33.3%", "9:16@33.3%"),
            ("640x360+0+12", "640x360+0+12"),
            ("50%x50%+25%+12.5%", "50%x50%+25%+12.5%"),
        ] {
            let crop: Crop = text.parse().unwrap();
            assert_eq!(crop.to_string(), shown);
            assert_eq!(shown.parse(), Ok(crop));
        }
    }

    #[test]
    fn what_is_no_crop_is_refused() {
        for text in [
            "",
            ":",
            "9",
            "9:",
            "0:1",
            "1:0",
            "101:1",
            "-9:16",
            "9:16@",
            "9:16@middle",
            "9:16@101%",
            "9:16@1.25%",
            "9:16@left@top",
            "640x360",
            "640x360+1",
            "640x360+-1+0",
            "640x360+1+2+3",
            "4294967296x2+0+0",
            "50%x50%+60%+0%",
            "50%x50+0+0",
            "iw/2:ih",
            "9:16,drawtext=text=x",
            "100%x100%+0%+0.1%",
            " 1:1",
            "1:1 ",
            "１:1",
        ] {
            assert_eq!(text.parse::<Crop>(), Err(CropError), "{text}");
        }
    }

    #[test]
    fn rectangles_lie_inside_and_are_even() {
        let rect = |text: &str, width, height| {
            let crop: Crop = text.parse().unwrap();
            let rect = crop.rect(width, height)?;
            Ok((rect.x, rect.y, rect.width, rect.height))
        };
        assert_eq!(rect("9:16", 1920, 1080), Ok((656, 0, 606, 1080)));
        assert_eq!(rect("9:16@left", 1920, 1080), Ok((0, 0, 606, 1080)));
        assert_eq!(rect("9:16@right", 1920, 1080), Ok((1312, 0, 606, 1080)));
        assert_eq!(rect("1:1@top", 608, 1080), Ok((0, 0, 608, 608)));
        assert_eq!(rect("16:9", 1920, 1080), Ok((0, 0, 1920, 1080)));
        assert_eq!(rect("50%x50%+50%+50%", 640, 360), Ok((320, 180, 320, 180)));
        assert_eq!(rect("101x61+3+5", 640, 360), Ok((2, 4, 100, 60)));
        assert_eq!(rect("640x360+0+0", 640, 360), Ok((0, 0, 640, 360)));
        assert_eq!(rect("640x360+1+0", 640, 360), Err(Unfit::Outside(640, 360)));
        assert_eq!(
            rect("4294967295x4+9+0", 640, 360),
            Err(Unfit::Outside(640, 360))
        );
        assert_eq!(rect("2x360+0+0", 640, 360), Err(Unfit::Small));
        assert_eq!(rect("1%x100%+0%+0%", 640, 360), Err(Unfit::Small));
    }
}
