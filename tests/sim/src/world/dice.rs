//! Chance, decided by a seed.
//!
//! Owns the one source of randomness of a simulated world.

use std::time::Duration;

/// A seeded source of chance.
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        // Neighbouring seeds must not give neighbouring worlds: spread them over all 64 bits first.
        Dice(fastrand::Rng::with_seed((seed ^ 0x51de_10cc).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.0.f64() < p
    }

    /// Evenly between two bounds, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.u64(low..=high)
    }

    /// An index below `n`, which is not zero.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.usize(0..n)
    }

    /// Evenly between -1 and 1.
    pub(crate) fn swing(&mut self) -> f64 {
        self.0.f64() * 2.0 - 1.0
    }

    /// Evenly between two spans.
    pub(crate) fn span(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.between(nanos(low), nanos(high)))
    }

    /// Memoryless with this mean, at most twenty times the mean.
    pub(crate) fn about(&mut self, mean: Duration) -> Duration {
        let unit = 1.0 - self.0.f64();
        mean.mul_f64((-unit.ln()).min(20.0))
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// A span in nanoseconds.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
