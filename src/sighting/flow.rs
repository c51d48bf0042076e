//! How the bytes of a source's pictures are spread over its time, in few numbers.

use serde::{Deserialize, Serialize};

use crate::seconds::Seconds;

/// Bytes of the pictures up to moments, rising, all of them and those at which groups begin; between the moments they are taken to be
/// spread evenly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    times: Vec<Seconds>,
    all: Vec<u64>,
    keys: Vec<u64>,
    /// The share of places in decoding order behind which everything is shown later than everything before.
    clean: f64,
}

/// A picture as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// As people count.
    pub at: Seconds,
    pub bytes: u64,
    pub key: bool,
}

/// More moments are not kept.
pub const MOST: usize = 2_000;
/// They lie at least so far apart, unless a group begins there.
const NEAR: Seconds = Seconds::from_micros(100_000);

impl Flow {
    /// Of pictures in decoding order; none when there are none.
    pub fn of(mut shown: Vec<Shown>) -> Option<Flow> {
        let clean = clean(&shown);
        shown.sort_by_key(|picture| picture.at);
        let (first, last) = (shown.first()?.at, shown.last()?.at);
        let groups = shown.iter().filter(|picture| picture.key).count();
        // Where groups begin is told exactly as long as that leaves room for what lies between.
        let exact = groups <= MOST / 4;
        let even = MOST as i64 / 2 - 2;
        let step = NEAR.micros().max((last - first).micros() / even);
        let mut flow = Flow {
            clean,
            ..Flow::default()
        };
        let (mut all, mut keys) = (0, 0);
        let mut due = first.micros();
        let mut after_key = false;
        for picture in &shown {
            let at = picture.at.micros();
            if at >= due || exact && (picture.key || after_key) {
                flow.add(picture.at, all, keys);
                due = due.max(at - at.rem_euclid(step) + step);
            }
            after_key = picture.key;
            all += picture.bytes;
            keys += if picture.key { picture.bytes } else { 0 };
        }
        // The last picture is taken to last as long as the others do.
        let frame = (last - first).micros() / shown.len().saturating_sub(1).max(1) as i64;
        flow.add(last + Seconds::from_micros(frame.max(1)), all, keys);
        Some(flow)
    }

    fn add(&mut self, at: Seconds, all: u64, keys: u64) {
        self.times.push(at);
        self.all.push(all);
        self.keys.push(keys);
    }

    /// Bytes of the pictures shown from one moment to another.
    pub fn between(&self, from: Seconds, until: Seconds) -> f64 {
        (self.at(&self.all, until) - self.at(&self.all, from)).max(0.0)
    }

    /// The same without those at which groups begin.
    pub fn moving(&self, from: Seconds, until: Seconds) -> f64 {
        let keys = self.at(&self.keys, until) - self.at(&self.keys, from);
        (self.between(from, until) - keys).max(0.0)
    }

    /// The share of places at which a copy of the pictures may end, from 0 to 1.
    pub fn clean(&self) -> f64 {
        self.clean
    }

    /// Bytes of all pictures a second.
    pub fn rate(&self) -> Option<f64> {
        let (first, last) = (self.times.first()?, self.times.last()?);
        let seconds = (*last - *first).as_f64();
        (seconds > 0.0).then(|| self.all.last().copied().unwrap_or_default() as f64 / seconds)
    }

    fn at(&self, sums: &[u64], moment: Seconds) -> f64 {
        let behind = self.times.partition_point(|time| *time <= moment);
        let value = |place: usize| sums.get(place).map_or(0.0, |sum| *sum as f64);
        let Some(before) = behind.checked_sub(1) else {
            return 0.0;
        };
        let (Some(from), Some(until)) = (self.times.get(before), self.times.get(behind)) else {
            return value(sums.len().saturating_sub(1));
        };
        let part = (moment - *from).as_f64() / (*until - *from).as_f64();
        value(before) + part * (value(behind) - value(before))
    }
}

fn clean(shown: &[Shown]) -> f64 {
    let mut earliest = Seconds::from_micros(i64::MAX);
    let mut behind: Vec<Seconds> = shown
        .iter()
        .rev()
        .map(|picture| {
            earliest = earliest.min(picture.at);
            earliest
        })
        .collect();
    behind.reverse();
    let mut latest = Seconds::from_micros(i64::MIN);
    let mut clean = 0;
    for (picture, behind) in shown.iter().zip(behind.iter().skip(1)) {
        latest = latest.max(picture.at);
        clean += usize::from(latest < *behind);
    }
    // Behind the last one there is nothing.
    (clean + 1) as f64 / shown.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thirty pictures a second, a large one every two seconds.
    fn pictures(seconds: i64) -> Vec<Shown> {
        (0..seconds * 30)
            .map(|number| Shown {
                at: Seconds::from_micros(number * 1_000_000 / 30),
                bytes: if number % 60 == 0 { 10_000 } else { 500 },
                key: number % 60 == 0,
            })
            .collect()
    }

    fn at(seconds: f64) -> Seconds {
        Seconds::from_f64(seconds).unwrap()
    }

    #[test]
    fn bytes_are_counted_from_group_to_group_exactly() {
        let flow = Flow::of(pictures(60)).unwrap();
        let group = 10_000.0 + 59.0 * 500.0;
        assert_eq!(flow.between(at(2.0), at(4.0)), group);
        assert_eq!(flow.between(at(10.0), at(40.0)), 15.0 * group);
        assert_eq!(flow.between(Seconds::ZERO, at(60.0)), 30.0 * group);
        let part = flow.between(at(2.0), at(3.0));
        assert!((part - (10_000.0 + 29.0 * 500.0)).abs() < 600.0, "{part}");
        assert!((flow.moving(at(2.0), at(4.0)) - 59.0 * 500.0).abs() < 1.0);
        assert!((flow.rate().unwrap() - group / 2.0).abs() < 10.0);
        assert_eq!(flow.clean(), 1.0);
        let mut reordered = pictures(4);
        for three in reordered.chunks_mut(3) {
            three.rotate_right(1);
        }
        assert!((Flow::of(reordered).unwrap().clean() - 1.0 / 3.0).abs() < 0.02);
        // What lies outside has none.
        assert_eq!(flow.between(at(70.0), at(80.0)), 0.0);
    }

    #[test]
    fn a_long_source_is_told_in_few_numbers() {
        for every in [1, 60] {
            let mut long = pictures(3_600);
            for (number, picture) in long.iter_mut().enumerate() {
                picture.key = number % every == 0;
            }
            let bytes: u64 = long.iter().map(|picture| picture.bytes).sum();
            let flow = Flow::of(long).unwrap();
            assert!(flow.times.len() <= MOST, "{}", flow.times.len());
            assert_eq!(flow.between(Seconds::ZERO, at(3_600.0)), bytes as f64);
            let minute = flow.between(at(600.5), at(660.5)) / (bytes as f64 / 60.0);
            assert!((minute - 1.0).abs() < 0.05, "{minute}");
        }
        assert_eq!(Flow::of(Vec::new()), None);
    }
}
