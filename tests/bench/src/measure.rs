//! Samples, rounds and what is said about them.
//!
//! Owns percentiles, medians and the fairness index. Must not know what was measured.

use std::time::Duration;

/// Durations of one kind.
#[derive(Default)]
pub(crate) struct Latency(Vec<Duration>);

impl Latency {
    /// One more.
    pub(crate) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// All of these too.
    pub(crate) fn extend(&mut self, other: Latency) {
        self.0.extend(other.0);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// In microseconds, the value that `share` of the samples do not exceed.
    pub(crate) fn micros(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        self.0.get(index).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e6)
    }

    /// In microseconds, their mean.
    pub(crate) fn mean_micros(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64() * 1e6 / self.0.len() as f64
    }
}

impl FromIterator<Duration> for Latency {
    fn from_iter<T: IntoIterator<Item = Duration>>(samples: T) -> Latency {
        Latency(samples.into_iter().collect())
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Jain's fairness index: 1 if all shares are equal, 1/n if one has everything (Jain, Chiu, Hawe 1984).
pub(crate) fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|&share| share as f64).sum();
    let squares: f64 = shares.iter().map(|&share| (share as f64).powi(2)).sum();
    if squares == 0.0 { f64::NAN } else { sum * sum / (shares.len() as f64 * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_one_for_equals_and_a_share_for_a_monopoly() {
        assert!((jain(&[5, 5, 5, 5]) - 1.0).abs() < 1e-9);
        assert!((jain(&[20, 0, 0, 0]) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn percentiles_and_medians_are_samples() {
        let mut latency = Latency::default();
        (1..=100).for_each(|micros| latency.add(Duration::from_micros(micros)));
        assert!((latency.micros(0.0) - 1.0).abs() < 1e-6);
        assert!((latency.micros(0.99) - 99.0).abs() < 1e-6);
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
    }
}
