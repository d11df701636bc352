//! One table, and plots of how costs grow: each figure the median of the rounds, each ratio the median of the rounds' ratios.
//!
//! Owns the layout. Must not know how the figures came about.

mod lines;
mod chart;
pub(crate) mod growth;

use crate::figures::{Figures, Spread};
use lines::{Comparison, Goal, Line, lines};
use std::fmt::Write;

/// The table, as Markdown. What was not measured is not shown.
pub(crate) fn table(figures: &Figures) -> String {
    let mut table =
        String::from("| id | what | measured | least–most | goal | |\n|---|---|---:|---:|---|---|\n");
    for line in lines() {
        let Some(value) = figures.spread(line.figure) else { continue };
        let Line { id, what, unit, .. } = line;
        write_row(&mut table, [id, what, &quantity(value.median, unit)], value, line.goal);
        for Comparison { words, over, under, goal } in line.against {
            let Some(ratio) = figures.ratio(over, under) else { continue };
            write_row(&mut table, [id, "", &format!("{} {words}", digits(ratio.median))], ratio, goal);
        }
    }
    table
}

fn write_row(table: &mut String, [id, what, measured]: [&str; 3], spread: Spread, goal: Option<Goal>) {
    let range = match spread.min < spread.max {
        true => format!("{}–{}", digits(spread.min), digits(spread.max)),
        false => String::new(),
    };
    let (goal, verdict) = match goal {
        Some(goal) => (goal.words(), if goal.is_met(spread.median) { "met" } else { "**missed**" }),
        None => Default::default(),
    };
    writeln!(table, "| {id} | {what} | {measured} | {range} | {goal} | {verdict} |")
        .expect("a String takes text");
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Goal::AtMost(most) => value <= most,
            Goal::AtLeast(least) => value >= least,
        }
    }

    fn words(self) -> String {
        match self {
            Goal::AtMost(most) => format!("≤ {most}"),
            Goal::AtLeast(least) => format!("≥ {least}"),
        }
    }
}

fn quantity(value: f64, unit: &str) -> String {
    format!("{} {unit}", digits(value)).trim_end().to_owned()
}

/// Three significant digits, or all of a large number's.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_its_median_its_ratios_and_whether_the_goals_are_met() {
        let mut figures = Figures::default();
        [10.0, 12.0, 11.0].into_iter().for_each(|value| figures.add("b1.floor.p50", value));
        [11.0, 12.0, 900.0].into_iter().for_each(|value| figures.add("b1.ours.p50", value));
        [20.0, 24.0, 22.0].into_iter().for_each(|value| figures.add("b1.redis.p50", value));
        let table = table(&figures);
        for row in [
            "| B1 | one client, one key, whole cycle, p50 | 12.0 µs | 11.0–900 |  |  |",
            "| B1 |  | 1.10 × the floor | 1.00–81.8 | ≤ 1.3 | met |",
            "| B1 |  | 1.82 × faster than `redis` | 0.024–2.00 | ≥ 2.5 | **missed** |",
        ] {
            assert!(table.contains(row), "{row}\n{table}");
        }
        assert!(!table.contains("B2"), "what was not measured is not shown");
    }
}
