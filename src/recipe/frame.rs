//! What becomes of a picture's size: cropped, scaled down, even. Pure arithmetic, done once for graph, captions, fit and estimate.

use super::crop::{LEAST, Rect, Unfit};
use super::look::Look;

/// The way from a picture as it is shown to the one that comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What is kept; none when that is all of it.
    pub crop: Option<Rect>,
    /// The size that comes out, even both ways.
    pub width: u32,
    pub height: u32,
    /// Whether what is kept is scaled to it.
    pub scaled: bool,
}

impl Frame {
    /// For a picture that is shown `width` by `height`; what comes out is at most `most` high.
    ///
    /// # Errors
    /// When the crop does not lie inside of the picture.
    pub fn of((width, height): (u32, u32), look: &Look, most: u32) -> Result<Frame, Unfit> {
        let rect = look.crop.map(|crop| crop.rect(width, height)).transpose()?;
        let kept = rect.map_or((width, height), |rect| (rect.width, rect.height));
        let whole = kept == (width, height);
        let most = look.height.unwrap_or(most).min(most).max(LEAST) & !1;
        if kept.1 > most {
            let (wide, high) = (u64::from(kept.0), u64::from(kept.1));
            // The nearest even width.
            let scaled = (wide * u64::from(most) + high) / (2 * high) * 2;
            return Ok(Frame {
                crop: rect.filter(|_| !whole),
                width: u32::try_from(scaled).unwrap_or(kept.0).max(2),
                height: most,
                scaled: true,
            });
        }
        let even = Rect {
            x: 0,
            y: 0,
            width: kept.0 & !1,
            height: kept.1 & !1,
        };
        // 4:2:0 wants even sizes: one line or column goes, the others stay as they are.
        let crop = match rect {
            Some(rect) => Some(rect),
            None if kept != (even.width, even.height) => Some(even),
            None => None,
        };
        Ok(Frame {
            crop: crop.filter(|rect| (rect.width, rect.height) != (width, height)),
            width: even.width,
            height: even.height,
            scaled: false,
        })
    }

    /// Pixels of one picture.
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shown: (u32, u32), look: &str, size: (u32, u32), cropped: bool, scaled: bool) {
        let look: Look = serde_json::from_str(look).unwrap();
        let frame = Frame::of(shown, &look, 1080).unwrap();
        assert_eq!((frame.width, frame.height), size);
        assert_eq!((frame.crop.is_some(), frame.scaled), (cropped, scaled));
    }

    #[test]
    fn pictures_are_scaled_down_only() {
        check((1920, 1080), "{}", (1920, 1080), false, false);
        check((640, 360), r#"{"height":720}"#, (640, 360), false, false);
        check((1920, 1080), r#"{"height":721}"#, (1280, 720), false, true);
        check((3840, 2160), "{}", (1920, 1080), false, true);
        check((1080, 1920), "{}", (608, 1080), false, true);
        check((640, 360), r#"{"height":16}"#, (28, 16), false, true);
    }

    #[test]
    fn odd_sizes_lose_one_line_instead_of_being_stretched() {
        check((641, 361), "{}", (640, 360), true, false);
        check((641, 360), "{}", (640, 360), true, false);
    }

    #[test]
    fn what_is_kept_is_measured_before_it_is_scaled() {
        check((1920, 1080), r#"{"crop":"1:1"}"#, (1080, 1080), true, false);
        check((3840, 2160), r#"{"crop":"9:16"}"#, (608, 1080), true, true);
        check(
            (1920, 1080),
            r#"{"crop":"16:9"}"#,
            (1920, 1080),
            false,
            false,
        );
        check(
            (640, 360),
            r#"{"crop":"50%x50%+50%+50%","height":90}"#,
            (160, 90),
            true,
            true,
        );
        let look: Look = serde_json::from_str(r#"{"crop":"700x100+0+0"}"#).unwrap();
        assert_eq!(
            Frame::of((640, 360), &look, 1080),
            Err(Unfit::Outside(640, 360))
        );
    }
}
