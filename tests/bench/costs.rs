//! Predicted against real: clips of all methods and several lengths from one source, first for the service to learn from, then again
//! elsewhere in the source to see what it learned. Predictions are those made from the plan, before anything was cut.

use serde_json::{Value, json};

use crate::figures::{mb, median};
use crate::origin::Origin;
use crate::service::Service;
use crate::table::Table;
use crate::{Ground, Outcome, cut};

/// What is cut: its name, its length, and what is asked for beside the span.
const KINDS: [(&str, f64, &str); 6] = [
    ("splice of 6 s", 6.0, r#"{"mode":"exact"}"#),
    ("splice of 25 s", 25.0, r#"{"mode":"exact"}"#),
    ("encode of 2 s", 2.0, r#"{"mode":"exact"}"#),
    (
        "encode of 10 s at 480 lines",
        10.0,
        r#"{"mode":"exact","height":480}"#,
    ),
    ("copy of 4 s", 4.0, r#"{"mode":"fast"}"#),
    ("copy of 30 s", 30.0, r#"{"mode":"fast"}"#),
];
/// Where clips begin, in seconds of the source whose keyframes lie 5 s apart: first to learn from, then to be judged by.
const LEARNED_AT: [f64; 2] = [3.4, 13.7];
const JUDGED_AT: [f64; 3] = [6.9, 17.2, 21.1];

pub fn take(ground: &Ground, table: &mut Table) -> Outcome<()> {
    let source = cut::source()?;
    let origin = Origin::start(Some(&source))?;
    let service = Service::start(ground, &ground.dir.path().join("costs"), &[])?;
    let make = |start: f64, length: f64, more: &str, name: &str| -> Outcome<Made> {
        let mut recipe: Value = serde_json::from_str(more)?;
        recipe["url"] = json!(origin.link(&format!("/{name}-{start}.mp4").replace(' ', "-")));
        // What lies inside one group cannot be spliced.
        let start = if length < 3.0 {
            (start / 5.0).floor() * 5.0 + 1.3
        } else {
            start
        };
        recipe["start_time"] = json!(start);
        recipe["end_time"] = json!(start + length);
        let (clip, time) = service.make(&recipe)?;
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        Ok(Made {
            expected: number(&clip["estimate"]["seconds"]),
            took: time.as_secs_f64(),
            room: number(&clip["estimate"]["bytes"]),
            size: number(&clip["result"]["size"]),
            method: clip["result"]["method"].to_string(),
        })
    };
    for start in LEARNED_AT {
        for (name, length, more) in KINDS {
            make(start, length, more, name)?;
        }
    }
    let mut errors = Vec::new();
    for (name, length, more) in KINDS {
        let mut made = Vec::new();
        for start in JUDGED_AT {
            made.push(make(start, length, more, name)?);
        }
        let middle = |of: fn(&Made) -> f64| median(made.iter().map(of));
        errors.extend(
            made.iter()
                .map(|made| (made.expected / made.took - 1.0).abs()),
        );
        let method = made
            .first()
            .map_or("", |made| made.method.trim_matches('"'));
        table.tell(
            format!("{name}: predicted against real"),
            format!(
                "{:.2} s against {:.2} s ({:.2} x); room for {:.1} MB, clip of {:.1} MB; {method}, {} clips",
                middle(|made| made.expected),
                middle(|made| made.took),
                middle(|made| made.expected / made.took),
                mb(middle(|made| made.room) as u64),
                mb(middle(|made| made.size) as u64),
                made.len()
            ),
        );
    }
    table.tell(
        "predicted seconds against real: median error",
        format!(
            "{:.0} % of {} clips",
            100.0 * median(errors.iter().copied()),
            errors.len()
        ),
    );
    Ok(())
}

struct Made {
    /// Seconds predicted and from the request to ready.
    expected: f64,
    took: f64,
    /// Bytes that were kept free, and of the clip.
    room: f64,
    size: f64,
    method: String,
}
