//! Figures by name, one value per round.
//!
//! Owns medians and ratios over rounds. Must not know what a figure means.

use crate::measure::median;
use std::collections::BTreeMap;

/// All that was measured in one run.
#[derive(Default)]
pub(crate) struct Figures(BTreeMap<String, Vec<f64>>);

/// The rounds' values of a figure, or of a ratio of two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The middle one.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Figures {
    /// One value of one round.
    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// The value of this round, if it was measured.
    pub(crate) fn last(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.last().copied()
    }

    /// The greatest of these in this round, as a figure of its own.
    pub(crate) fn add_best(&mut self, name: &str, of: &[&str]) {
        if let Some(best) = of.iter().filter_map(|one| self.last(one)).max_by(f64::total_cmp) {
            self.add(name, best);
        }
    }

    /// A figure over the rounds.
    pub(crate) fn spread(&self, name: &str) -> Option<Spread> {
        Spread::of(self.0.get(name)?.clone())
    }

    /// The ratio of two figures, taken in each round: what the machine's neighbours did to both is gone from it.
    pub(crate) fn ratio(&self, over: &str, under: &str) -> Option<Spread> {
        let pairs = self.0.get(over)?.iter().zip(self.0.get(under)?);
        Spread::of(pairs.map(|(over, under)| over / under).collect())
    }

    /// The medians of `NAME@N` for all N, by N.
    pub(crate) fn curve(&self, name: &str) -> Vec<(f64, f64)> {
        let point = |(figure, values): (&String, &Vec<f64>)| {
            let size: f64 = figure.strip_prefix(name)?.strip_prefix('@')?.parse().ok()?;
            Some((size, median(values.clone())))
        };
        let mut points: Vec<_> = self.0.iter().filter_map(point).collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        points
    }
}

impl Spread {
    fn of(values: Vec<f64>) -> Option<Spread> {
        Some(Spread {
            min: values.iter().copied().min_by(f64::total_cmp)?,
            max: values.iter().copied().max_by(f64::total_cmp)?,
            median: median(values),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(values: &[(&str, &[f64])]) -> Figures {
        let mut figures = Figures::default();
        for (name, values) in values {
            values.iter().for_each(|&value| figures.add(*name, value));
        }
        figures
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        // The second round ran on a machine half as fast.
        let figures = figures(&[("ours", &[10.0, 20.0, 33.0]), ("floor", &[10.0, 20.0, 30.0])]);
        assert_eq!(figures.ratio("ours", "floor"), Some(Spread { median: 1.0, min: 1.0, max: 1.1 }));
        assert_eq!(figures.ratio("ours", "nothing"), None);
    }

    #[test]
    fn a_curve_is_sorted_by_size() {
        let figures = figures(&[("b@8", &[2.0]), ("b@64", &[3.0]), ("b@512", &[4.0]), ("b.other@1", &[9.0])]);
        assert_eq!(figures.curve("b"), [(8.0, 2.0), (64.0, 3.0), (512.0, 4.0)]);
    }

    #[test]
    fn the_best_is_chosen_anew_in_each_round() {
        let mut figures = figures(&[("one", &[1.0]), ("two", &[2.0])]);
        figures.add_best("best", &["one", "two", "absent"]);
        figures.add("one", 3.0);
        figures.add_best("best", &["one", "two"]);
        assert_eq!(figures.spread("best").map(|best| (best.min, best.max)), Some((2.0, 3.0)));
    }
}
