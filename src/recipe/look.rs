//! What is done to pictures and sound beside cutting. Amounts are whole thousandths, so that recipes compare and read back as written.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::crop::Crop;
use super::format::Format;
use super::lettering::{Caption, Watermark};
use crate::seconds::Seconds;

/// What is done to pictures and sound. The order is: crop, speed, pictures a second, height, direction, texts, fades.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Look {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// Wanted height in pixels, after cropping; never scaled up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// At most so many pictures a second; none are made up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<Speed>,
    pub mute: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loudness: Option<Loudness>,
    /// Seconds of the finished clip over which pictures and sound come up and go down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fade_in: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fade_out: Option<Seconds>,
    #[serde(skip_serializing_if = "is_not")]
    pub reverse: bool,
    /// Forward and then backward, so that it repeats without a jump.
    #[serde(skip_serializing_if = "is_not")]
    pub boomerang: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption_top: Option<Caption>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption_bottom: Option<Caption>,
    /// Captions in capital letters.
    #[serde(skip_serializing_if = "is_not")]
    pub caption_upper: bool,
    /// A small text in the lower right corner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Watermark>,
}

fn is_not(flag: &bool) -> bool {
    !flag
}

/// How fast it plays, in thousandths: 2000 is twice as fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speed(u32);

/// How loud it is against the source, in thousandths of the amplitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume(u32);

/// The loudness that the whole clip is brought to, in thousandths of LUFS (EBU R 128).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loudness(i32);

/// An amount that is none, or out of its range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("write a number from {0} to {1}")]
pub struct AmountError(f64, f64);

macro_rules! amount {
    ($name:ident, $whole:ty, $least:expr, $most:expr) => {
        impl $name {
            /// What it may be.
            pub const RANGE: (f64, f64) = ($least, $most);

            /// As a number.
            pub fn as_f64(self) -> f64 {
                f64::from(self.0) / 1000.0
            }

            /// In thousandths.
            pub const fn thousandths(self) -> $whole {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = AmountError;

            fn try_from(number: f64) -> Result<$name, AmountError> {
                if ($least..=$most).contains(&number) {
                    Ok($name((number * 1000.0).round() as $whole))
                } else {
                    Err(AmountError($least, $most))
                }
            }
        }

        impl From<$name> for f64 {
            fn from(amount: $name) -> f64 {
                amount.as_f64()
            }
        }

        impl FromStr for $name {
            type Err = AmountError;

            fn from_str(text: &str) -> Result<$name, AmountError> {
                let number: f64 = text.parse().map_err(|_| AmountError($least, $most))?;
                $name::try_from(number)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_f64(self.as_f64())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = f64::deserialize(deserializer)?;
                $name::try_from(number).map_err(serde::de::Error::custom)
            }
        }
    };
}

amount!(Speed, u32, 0.25, 4.0);
amount!(Volume, u32, 0.0, 4.0);
amount!(Loudness, i32, -40.0, -8.0);

/// Sped-up pictures are not thinned out below this rate, in thousandths of a picture a second.
const SMOOTH: i64 = 30_000;

impl Look {
    /// The first wish that makes every picture anew, in one word; crop and height are not among them because they may change nothing.
    pub fn touches_pictures(&self) -> Option<&'static str> {
        let wishes = [
            (self.fps.is_some(), "fps"),
            (self.speed.is_some(), "speed"),
            (self.fade_in.is_some() || self.fade_out.is_some(), "fade"),
            (self.reverse, "reverse"),
            (self.boomerang, "boomerang"),
            (
                self.caption_top.is_some() || self.caption_bottom.is_some(),
                "caption",
            ),
            (self.watermark.is_some(), "watermark"),
        ];
        let wished = wishes.into_iter().find(|(wished, _)| *wished);
        wished.map(|(_, word)| word)
    }

    /// Whether the sound cannot be taken over as it is.
    pub fn touches_sound(&self) -> bool {
        self.volume.is_some()
            || self.loudness.is_some()
            || self.speed.is_some()
            || self.fade_in.is_some()
            || self.fade_out.is_some()
            || self.reverse
            || self.boomerang
    }

    /// The same with the height and the pictures a second that a format has when nothing else was asked for.
    #[must_use]
    pub fn suited(&self, format: Format) -> Look {
        let fps = self.fps.or(format.usual_fps());
        Look {
            height: self.height.or(format.usual_height()),
            fps: match (fps, format.most_fps()) {
                (Some(fps), Some(most)) => Some(fps.min(most)),
                (fps, _) => fps,
            },
            ..self.clone()
        }
    }

    /// The most pictures a second that are shown, in thousandths: what was asked for; for what is sped up, at most what the source has.
    /// None where all are shown.
    pub fn most_millihertz(&self, own: impl FnOnce() -> Option<i64>) -> Option<i64> {
        let quicker = self.speed.filter(|speed| speed.thousandths() > 1000);
        match (self.fps, quicker) {
            (Some(fps), _) => Some(i64::from(fps) * 1000),
            (None, Some(_)) => Some(own()?.max(SMOOTH)),
            (None, None) => None,
        }
    }

    /// How many of so many pictures, spread evenly over so many seconds of the source, are shown from the first to the last.
    pub fn shown(&self, pictures: f64, seconds: f64) -> f64 {
        let own = pictures / seconds.max(1e-3);
        let most = self.most_millihertz(|| Some((own * 1000.0).round() as i64));
        let playing = seconds / self.speed.map_or(1.0, Speed::as_f64);
        let shown = most.map_or(pictures, |most| {
            pictures.min((playing * most as f64 / 1000.0).ceil())
        });
        shown.max(1.0)
    }

    /// How long a stretch of this length plays.
    pub fn length(&self, of: Seconds) -> Seconds {
        let micros = i128::from(of.micros()) * 1000;
        let speed = self.speed.map_or(1000, Speed::thousandths);
        let once = micros / i128::from(speed);
        let all = if self.boomerang { 2 * once } else { once };
        Seconds::from_micros(i64::try_from(all).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_ranges_and_read_back() {
        assert_eq!("2".parse(), Ok(Speed(2000)));
        assert_eq!("0.25".parse(), Ok(Speed(250)));
        assert_eq!("1.337".parse(), Ok(Speed(1337)));
        for text in ["0.249", "4.001", "", "x", "NaN", "inf", "-1", "1e9", "0x2"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
        assert_eq!("-16.5".parse(), Ok(Loudness(-16_500)));
        assert!("-41".parse::<Loudness>().is_err() && "0".parse::<Loudness>().is_err());
        assert_eq!("0".parse(), Ok(Volume(0)));
        assert!("4.1".parse::<Volume>().is_err());
    }

    #[test]
    fn animations_are_small_unless_asked_for_otherwise() {
        let check = |look: &str, format: Format, height: Option<u32>, fps: Option<u32>| {
            let look: Look = serde_json::from_str(look).unwrap();
            let suited = look.suited(format);
            assert_eq!((suited.height, suited.fps), (height, fps), "{format:?}");
        };
        check("{}", Format::Gif, Some(480), Some(15));
        check("{}", Format::Webp, Some(480), Some(30));
        check("{}", Format::Mp4, None, None);
        check(
            r#"{"height":720,"fps":30}"#,
            Format::Gif,
            Some(720),
            Some(30),
        );
        check(r#"{"fps":120}"#, Format::Gif, Some(480), Some(50));
        check(r#"{"fps":60}"#, Format::Webp, Some(480), Some(60));
    }

    #[test]
    fn a_rate_leaves_pictures_out_and_makes_none_up() {
        for (look, pictures, seconds, shown) in [
            ("{}", 240.0, 10.0, 240.0),
            (r#"{"fps":15}"#, 240.0, 10.0, 150.0),
            (r#"{"fps":60}"#, 240.0, 10.0, 240.0),
            (r#"{"speed":2}"#, 240.0, 10.0, 150.0),
            (r#"{"speed":2}"#, 600.0, 10.0, 300.0),
            (r#"{"speed":0.5}"#, 240.0, 10.0, 240.0),
            (r#"{"speed":2,"fps":10}"#, 240.0, 10.0, 50.0),
        ] {
            let look: Look = serde_json::from_str(look).unwrap();
            assert_eq!(look.shown(pictures, seconds), shown, "{look:?}");
        }
    }

    #[test]
    fn a_look_of_nothing_touches_nothing() {
        let plain = Look::default();
        assert_eq!(plain.touches_pictures(), None);
        assert!(!plain.touches_sound());
        assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"mute":false}"#);
        let fast = Look {
            speed: Some(Speed(1500)),
            boomerang: true,
            ..Look::default()
        };
        assert_eq!(fast.touches_pictures(), Some("speed"));
        assert_eq!(fast.length(Seconds::from_whole(3)), Seconds::from_whole(4));
    }
}
