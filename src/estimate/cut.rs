//! Where a segment lies among the groups of pictures of a source.

use crate::recipe::Segment;
use crate::seconds::Seconds;
use crate::sighting::Sighting;

/// Where nothing is known of groups.
const USUAL_GROUP: f64 = 5.0;

/// The stretch of a segment that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub start: f64,
    pub end: f64,
    /// The keyframe at or before the start, and the first one inside.
    pub before: f64,
    pub entry: Option<f64>,
}

pub(super) fn cut(seen: &Sighting, segment: Segment) -> Cut {
    /// A moment that was rounded lies on its frame.
    const NEAR: Seconds = Seconds::from_micros(1_000);
    let (start, end) = (segment.start.as_f64(), segment.end.as_f64());
    let end = seen.duration.map_or(end, |all| end.min(all.as_f64()));
    let (before, entry) = match &seen.keyframes {
        Some(keys) => {
            let here = keys.partition_point(|key| *key < segment.start - NEAR);
            let entry = keys.get(here).map(|key| key.as_f64());
            let before = keys.partition_point(|key| *key <= segment.start + NEAR);
            let before = before.checked_sub(1).and_then(|place| keys.get(place));
            (before.map_or(start, |key| key.as_f64()), entry)
        }
        None => (
            (start - USUAL_GROUP / 2.0).max(0.0),
            Some(start + USUAL_GROUP / 2.0),
        ),
    };
    Cut {
        start,
        end: end.max(start),
        before: before.min(start),
        entry: entry.filter(|entry| *entry < end),
    }
}

impl Cut {
    pub fn length(&self) -> f64 {
        self.end - self.start
    }

    /// Seconds that a splice encodes at its beginning.
    pub fn head(&self) -> f64 {
        self.entry
            .map_or(self.length(), |entry| (entry - self.start).max(0.0))
    }
}
