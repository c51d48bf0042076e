//! The table: rows of measure, figure, must, verdict and aim. A verdict comes from a number and a bound, never from a word.

use std::fmt;

/// A promise about a measure.
pub struct Must {
    pub measure: &'static str,
    pub bound: Bound,
    /// Better than promised: a number on the same side that is worked towards.
    pub aim: Option<f64>,
    pub unit: &'static str,
}

/// What the number has to be.
#[derive(Clone, Copy)]
pub enum Bound {
    AtMost(f64),
    Under(f64),
    AtLeast(f64),
}

impl Bound {
    /// The same side of another number.
    fn moved_to(self, number: f64) -> Bound {
        match self {
            Bound::AtMost(_) => Bound::AtMost(number),
            Bound::Under(_) => Bound::Under(number),
            Bound::AtLeast(_) => Bound::AtLeast(number),
        }
    }

    pub fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtMost(most) => value <= most,
            Bound::Under(limit) => value < limit,
            Bound::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Must {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, number) = match self.bound {
            Bound::AtMost(number) => ("at most", number),
            Bound::Under(number) => ("under", number),
            Bound::AtLeast(number) => ("at least", number),
        };
        write!(to, "{word} {number} {}", self.unit)
    }
}

impl Must {
    /// The aim in words, and whether a value reaches it.
    fn aim(&self, value: Option<f64>) -> String {
        let Some(aim) = self.aim else {
            return String::new();
        };
        let word = match value {
            Some(value) if self.bound.moved_to(aim).holds(value) => ", reached",
            Some(_) => ", not yet",
            None => "",
        };
        format!("{aim} {}{word}", self.unit)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Met,
    Missed,
    NotTaken,
    /// Nothing was promised.
    Told,
}

struct Row {
    measure: String,
    figure: String,
    must: String,
    verdict: Verdict,
    aim: String,
}

#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Holds a number against its bound; a figure that is not a number meets nothing.
    pub fn judge(&mut self, must: &Must, value: f64, figure: impl Into<String>) {
        self.rows.push(Row {
            measure: must.measure.to_owned(),
            figure: figure.into(),
            must: must.to_string(),
            verdict: if must.bound.holds(value) {
                Verdict::Met
            } else {
                Verdict::Missed
            },
            aim: must.aim(Some(value)),
        });
    }

    /// A figure about which nothing was promised.
    pub fn tell(&mut self, measure: impl Into<String>, figure: impl Into<String>) {
        self.rows.push(Row {
            measure: measure.into(),
            figure: figure.into(),
            must: String::new(),
            verdict: Verdict::Told,
            aim: String::new(),
        });
    }

    /// A group broke off: those of its promises that have no figure yet have none.
    pub fn not_taken(&mut self, group: &str, musts: &[Must], why: &str) {
        let row = |measure: &str, must: Option<&Must>| Row {
            measure: measure.to_owned(),
            figure: why.replace('\n', " "),
            must: must.map(Must::to_string).unwrap_or_default(),
            verdict: Verdict::NotTaken,
            aim: must.map(|must| must.aim(None)).unwrap_or_default(),
        };
        let open: Vec<&Must> = musts
            .iter()
            .filter(|must| self.rows.iter().all(|row| row.measure != must.measure))
            .collect();
        if open.is_empty() {
            self.rows.push(row(group, None));
        }
        for must in open {
            self.rows.push(row(must.measure, Some(must)));
        }
    }

    /// Whether every promise was measured and kept.
    pub fn all_met(&self) -> bool {
        self.rows
            .iter()
            .all(|row| row.must.is_empty() || row.verdict == Verdict::Met)
    }

    /// How the promises fared, in a sentence.
    pub fn summary(&self) -> String {
        let count = |verdict| {
            self.rows
                .iter()
                .filter(|row| !row.must.is_empty() && row.verdict == verdict)
                .count()
        };
        format!(
            "Of the promises {} are met, {} missed, {} not taken.",
            count(Verdict::Met),
            count(Verdict::Missed),
            count(Verdict::NotTaken)
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = ["measure", "figure", "must", "verdict", "aim"].map(str::to_owned);
        let cells: Vec<[String; 5]> = std::iter::once(heading)
            .chain(self.rows.iter().map(|row| {
                let verdict = match row.verdict {
                    Verdict::Met => "met",
                    Verdict::Missed => "MISSED",
                    Verdict::NotTaken => "NOT TAKEN",
                    Verdict::Told => "",
                };
                [
                    row.measure.clone(),
                    row.figure.clone(),
                    row.must.clone(),
                    verdict.to_owned(),
                    row.aim.clone(),
                ]
            }))
            .collect();
        let width = |column: usize| {
            cells
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths = [0, 1, 2, 3, 4].map(width);
        for (number, row) in cells.iter().enumerate() {
            let padded: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, wide)| format!("{cell:wide$}"))
                .collect();
            writeln!(to, "| {} |", padded.join(" | "))?;
            if number == 0 {
                let rule = widths.map(|width| "-".repeat(width)).join(" | ");
                writeln!(to, "| {rule} |")?;
            }
        }
        Ok(())
    }
}
