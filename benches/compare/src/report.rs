//! Medians, ratios, and how they are printed.

use crate::cases::Case;

/// What one column did in one case.
pub(crate) struct Runs {
    pub(crate) column: &'static str,
    /// The figures of each round, in the order of the case's units.
    pub(crate) rounds: Vec<Vec<f64>>,
    /// Whether it could not do it.
    pub(crate) failed: bool,
}

impl Runs {
    /// A column that has not run yet.
    pub(crate) fn new(column: &'static str) -> Self {
        Self { column, rounds: Vec::new(), failed: false }
    }

    /// Notes that this column cannot do this case; what it did before does not count.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
        self.rounds.clear();
    }

    fn unit(&self, unit: usize) -> Vec<f64> {
        self.rounds.iter().map(|figures| figures[unit]).collect()
    }
}

/// One case with one parameter.
pub(crate) struct Report {
    pub(crate) case: &'static Case,
    pub(crate) param: String,
    pub(crate) runs: Vec<Runs>,
}

impl Report {
    /// Prints a line of JSON for each column and unit; a column that failed has nulls.
    pub(crate) fn print_json(&self) {
        for runs in &self.runs {
            for (index, unit) in self.case.units.iter().enumerate() {
                let values = runs.unit(index);
                println!(
                    r#"{{"case":"{}","param":"{}","column":"{}","unit":"{unit}","median":{},"min":{},"max":{},"rounds":{}}}"#,
                    self.case.name,
                    self.param,
                    runs.column,
                    json(median(values.clone())),
                    json(values.iter().copied().reduce(f64::min)),
                    json(values.iter().copied().reduce(f64::max)),
                    values.len(),
                );
            }
        }
    }

    /// Prints medians, and in brackets the first column's figure divided by this one's, as the median over the rounds.
    pub(crate) fn print_table(&self) {
        println!("{} {}: {}", self.case.name, self.param, self.case.about);
        print!("  {:16}", "");
        for unit in self.case.units {
            print!("{unit:>20}");
        }
        println!();
        for runs in &self.runs {
            print!("  {:16}", runs.column);
            for unit in 0..self.case.units.len() {
                print!("{:>20}", self.cell(runs, unit));
            }
            println!();
        }
        println!();
    }

    fn cell(&self, runs: &Runs, unit: usize) -> String {
        let Some(value) = median(runs.unit(unit)) else {
            return "fails".to_owned();
        };
        let value = readable(value);
        let first = &self.runs[0];
        let pairs = first.unit(unit).into_iter().zip(runs.unit(unit));
        match median(pairs.map(|(first, this)| first / this).collect()) {
            Some(ratio) if first.column != runs.column && ratio.is_finite() => {
                format!("{value} ({ratio:.2})")
            }
            // As wide as a ratio, so that the figures stand below each other.
            _ => format!("{value}       "),
        }
    }
}

/// Returns the median, or nothing of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

fn json(value: Option<f64>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| format!("{value:.3}"))
}

fn readable(value: f64) -> String {
    match value.abs() {
        1_000.0.. => format!("{value:.0}"),
        100.0.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 4.0, 2.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn a_column_that_failed_has_nulls_in_json() {
        assert_eq!(json(None), "null");
        assert_eq!(json(Some(2.0)), "2.000");
    }
}
