//! What keeping a clip is worth, as a moment that does not move while time passes: so the least worthy stay in order in the index
//! without being weighed again. Pure.

use crate::timestamp::Timestamp;

const HOUR: i64 = 3_600_000;
/// Nobody has looked at it yet: it goes before those of the same age that somebody has.
const UNSEEN: i64 = 6 * HOUR;
/// Each doubling of the size above this counts as an hour of age: a large one gives way to many small ones.
const SMALL: f64 = 1_000_000.0;

/// The moment of its last use, moved back for what is large and for what nobody has looked at. The lowest goes first.
pub fn worth(finished_at: Timestamp, viewed_at: Option<Timestamp>, bytes: u64) -> i64 {
    let used = viewed_at.map_or(finished_at, |viewed| viewed.max(finished_at));
    let doublings = (1.0 + bytes as f64 / SMALL).log2();
    let unseen = if viewed_at.is_none() { UNSEEN } else { 0 };
    used.0 - (doublings * HOUR as f64) as i64 - unseen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_long_ago_never_seen_or_is_large_goes_first() {
        let at = |hours: i64| Timestamp(hours * HOUR);
        let seen = |hours| Some(at(hours));
        let mb = 1_000_000;
        for (first, then) in [
            // Older use.
            ((at(0), seen(1), mb), (at(0), seen(2), mb)),
            ((at(0), None, mb), (at(1), None, mb)),
            // Never viewed.
            ((at(0), None, mb), (at(0), seen(0), mb)),
            ((at(5), None, mb), (at(0), seen(1), mb)),
            // Large.
            ((at(0), seen(0), 900 * mb), (at(0), seen(0), 3 * mb)),
            ((at(4), seen(4), 900 * mb), (at(0), seen(0), mb)),
            // A day of age outweighs them all.
            ((at(0), seen(1), mb), (at(30), None, 900 * mb)),
        ] {
            let weigh = |(finished, viewed, bytes)| worth(finished, viewed, bytes);
            assert!(weigh(first) < weigh(then), "{first:?} {then:?}");
        }
    }
}
