//! One table: each figure the median of the rounds, beside what it is compared with in the same run.
//!
//! Owns the figures and their layout. Must not know how they came about.

use crate::measure::median;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Figures by name, one value per round.
#[derive(Default)]
pub(crate) struct Report {
    figures: BTreeMap<&'static str, Vec<f64>>,
}

/// A line of the table.
struct Line {
    id: &'static str,
    what: &'static str,
    figure: &'static str,
    unit: &'static str,
    /// What to divide by, and the goal for the ratio, in words.
    against: &'static [(&'static str, &'static str)],
}

const fn line(
    id: &'static str,
    what: &'static str,
    figure: &'static str,
    unit: &'static str,
    against: &'static [(&'static str, &'static str)],
) -> Line {
    Line { id, what, figure, unit, against }
}

const LINES: &[Line] = &[
    line("floor", "Unix socket ping-pong, p50", "floor_p50", "µs", &[]),
    line("floor", "… p99", "floor_p99", "µs", &[]),
    line("floor", "… as grants", "floor_rate", "/s", &[]),
    line("peer", "redis crate: SET NX PX + compare and delete, p50", "peer_p50", "µs", &[]),
    line("peer", "… 64 in flight, own keys", "peer_own", "/s", &[]),
    line("peer", "… 64 on one key, polling without a pause", "peer_one", "/s", &[]),
    line("B1", "one client, one key, p50", "b1_p50", "µs", &[("floor_p50", "≤ 1.3"), ("peer_p50", "≤ 0.4")]),
    line("B1", "… p99", "b1_p99", "µs", &[("floor_p99", "")]),
    line("B2", "64 tasks, own keys, one connection", "b2", "/s", &[("peer_own", "≥ 5")]),
    line("B3", "64 tasks, one key, one sidecar", "b3", "/s", &[("floor_rate", "≥ 0.9"), ("peer_one", "≥ 2")]),
    line("B3", "… out of order", "b3_overtaken", "", &[]),
    line("B4", "4 sidecars × 16, one key", "b4", "/s", &[("floor_rate", "≥ 0.5"), ("peer_one", "≥ 2")]),
    line("B4", "… Jain's index", "b4_jain", "", &[]),
    line("B4", "… wait p99.9", "b4_p999", "µs", &[("b4_mean", "≤ 3")]),
    line("B4", "… worst wait", "b4_worst", "µs", &[("b4_mean", "")]),
    line("B4", "… Redis requests per grant", "b4_requests", "", &[]),
    line("B4", "… commands in Redis per grant, scripts' inside included", "b4_commands", "", &[]),
    line("B4", "the same, held 1 ms", "b4_held", "/s", &[]),
    line("B4", "… Jain's index", "b4_held_jain", "", &[]),
    line("B8", "resident, idle, memory store", "rss_memory", "MiB", &[]),
    line("B8", "resident, idle, Redis store", "rss_redis", "MiB", &[]),
    line("B11", "start to ready", "ready", "ms", &[]),
];

impl Report {
    /// One value of one round.
    pub(crate) fn add(&mut self, figure: &'static str, value: f64) {
        self.figures.entry(figure).or_default().push(value);
    }

    /// The table, as Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from("| id | what | median | ratio (goal) |\n|---|---|---:|---|\n");
        for line in LINES {
            let Some(value) = self.median(line.figure) else { continue };
            let ratios = line.against.iter().filter_map(|(against, goal)| {
                let ratio = value / self.median(against)?;
                let goal = if goal.is_empty() { String::new() } else { format!(" ({goal})") };
                Some(format!("{ratio:.2} × {}{goal}", title(against)))
            });
            let ratios = ratios.collect::<Vec<_>>().join(", ");
            let (id, what, unit) = (line.id, line.what, line.unit);
            writeln!(table, "| {id} | {what} | {} {unit} | {ratios} |", digits(value))
                .expect("a String takes text");
        }
        table
    }

    fn median(&self, figure: &str) -> Option<f64> {
        self.figures.get(figure).map(|values| median(values.clone()))
    }
}

/// What a figure that others are compared with is called in a ratio.
fn title(figure: &str) -> &'static str {
    match figure {
        "floor_p50" | "floor_p99" | "floor_rate" => "floor",
        "b4_mean" => "mean",
        _ => "peer",
    }
}

/// Three significant digits, or all of a large number's.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
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
    fn a_line_shows_its_median_and_its_ratio() {
        let mut report = Report::default();
        [10.0, 12.0, 11.0].into_iter().for_each(|value| report.add("floor_p50", value));
        [20.0, 22.0, 900.0].into_iter().for_each(|value| report.add("b1_p50", value));
        let table = report.table();
        assert!(
            table.contains("| B1 | one client, one key, p50 | 22.0 µs | 2.00 × floor (≤ 1.3) |"),
            "{table}"
        );
        assert!(!table.contains("B2"), "what was not measured is not shown");
    }
}
