//! When the disk is full at the present rate. Pure: the median of all slopes between readings (Theil-Sen), which a few odd readings
//! (a large file that came and went) do not move.

use crate::app::watch::Forecast;

/// Readings of less than this say nothing, in seconds.
const LEAST_SPAN: f64 = 600.0;
/// Nor do fewer than these.
const LEAST_POINTS: usize = 8;
/// A disk that loses less than this share of what is free, over all readings, does not fill.
const LEAST_FALL: f64 = 0.005;
/// What is farther off is no forecast, in seconds.
const FARTHEST: f64 = 365.0 * 86_400.0;

/// From readings of free bytes with their times in seconds, in order; at most a few dozen, as all pairs are looked at.
pub fn full(readings: &[(f64, f64)]) -> Option<Forecast> {
    let (first, last) = (readings.first()?, readings.last()?);
    let span = last.0 - first.0;
    if readings.len() < LEAST_POINTS || span < LEAST_SPAN {
        return None;
    }
    let pairs = readings
        .iter()
        .enumerate()
        .flat_map(|(place, one)| readings[place + 1..].iter().map(move |other| (one, other)));
    let slope = median(
        pairs
            .filter(|(one, other)| other.0 > one.0)
            .map(|(one, other)| (other.1 - one.1) / (other.0 - one.0))
            .collect(),
    )?;
    // Where the line through the readings is now.
    let level = median(
        readings
            .iter()
            .map(|(at, free)| free + slope * (last.0 - at))
            .collect(),
    )?
    .max(0.0);
    let rate = -slope;
    if rate * span < level * LEAST_FALL || rate <= 0.0 {
        return None;
    }
    let full_in_seconds = level / rate;
    (full_in_seconds <= FARTHEST).then_some(Forecast {
        bytes_per_second: rate,
        full_in_seconds,
    })
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    Some(if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reading a minute, of so many minutes.
    fn readings(minutes: u32, free: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..minutes)
            .map(|minute| f64::from(minute) * 60.0)
            .map(|at| (at, free(at)))
            .collect()
    }

    /// A name, the readings, and at which second of them the disk is full.
    type Case = (&'static str, Vec<(f64, f64)>, Option<f64>);

    #[test]
    fn a_disk_that_fills_is_told_and_one_that_does_not_is_not() {
        const GB: f64 = 1e9;
        let noise = |at: f64| {
            if (at / 60.0) % 2.0 < 1.0 {
                0.1 * GB
            } else {
                0.0
            }
        };
        let cases: [Case; 9] = [
            ("nothing known", Vec::new(), None),
            ("too few", readings(5, |at| 10.0 * GB - at * 1e6), None),
            (
                "too short",
                vec![
                    (0.0, 9.0),
                    (1.0, 8.0),
                    (2.0, 7.0),
                    (3.0, 6.0),
                    (4.0, 5.0),
                    (5.0, 4.0),
                    (6.0, 3.0),
                    (7.0, 2.0),
                ],
                None,
            ),
            ("steady", readings(60, |_| 10.0 * GB), None),
            ("freed", readings(60, |at| 10.0 * GB + at * 1e6), None),
            // A megabyte a second from 10 GB: full after 10,000 s.
            (
                "filling",
                readings(60, |at| 10.0 * GB - at * 1e6),
                Some(10_000.0),
            ),
            (
                "filling unevenly",
                readings(60, |at| 10.0 * GB - at * 1e6 + noise(at)),
                Some(10_050.0),
            ),
            // 5 GB that came and went do not count.
            (
                "a peak",
                readings(60, |at| {
                    if (600.0..1200.0).contains(&at) {
                        5.0 * GB
                    } else {
                        10.0 * GB
                    }
                }),
                None,
            ),
            (
                "a peak while filling",
                readings(60, |at| {
                    10.0 * GB
                        - at * 1e6
                        - if (600.0..1200.0).contains(&at) {
                            3.0 * GB
                        } else {
                            0.0
                        }
                }),
                Some(10_000.0),
            ),
        ];
        for (name, readings, expected) in cases {
            let told = full(&readings);
            let last = readings.last().map_or(0.0, |reading| reading.0);
            match (told, expected) {
                (None, None) => {}
                (Some(told), Some(at)) => {
                    let off = (last + told.full_in_seconds - at).abs() / at;
                    assert!(off < 0.1, "{name}: {told:?}");
                }
                (told, expected) => panic!("{name}: {told:?} and not {expected:?}"),
            }
        }
    }
}
