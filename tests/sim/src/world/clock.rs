//! The clocks of a simulated world, as functions of true time.
//!
//! Owns how host and store clocks err (A1). True time is nanoseconds since the world began.

use super::dice::Dice;
use crate::checker::history::At;
use sidelock_engine::{StoreTime, Time};

/// Clocks run this much too fast or too slow at most. A store at the fast and a host at the slow end differ by 0.9 %,
/// inside A1's 1 %.
const RATE_ERROR_MAX: f64 = 0.0045;

/// A clock that ticks at almost the right rate.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// What it shows at true time zero, in nanoseconds.
    start: i128,
    /// Nanoseconds it shows per 2^32 nanoseconds of true time.
    rate: i128,
}

impl Line {
    fn new(start: u64, error: f64) -> Line {
        #[expect(clippy::cast_possible_truncation, reason = "about 2^32")]
        let rate = ((1.0 + error) * 4_294_967_296.0) as i128;
        Line { start: i128::from(start), rate }
    }

    fn read(&self, at: At) -> u64 {
        u64::try_from(self.start + ((i128::from(at.0) * self.rate) >> 32)).unwrap_or(0)
    }

    /// The first true instant at which it shows `shown` or more.
    fn when(&self, shown: u64) -> At {
        let ahead = (i128::from(shown) - self.start) << 32;
        let at = (ahead + self.rate - 1).div_euclid(self.rate);
        At(u64::try_from(at.max(0)).unwrap_or(u64::MAX))
    }
}

/// `CLOCK_BOOTTIME` of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostClock(Line);

impl HostClock {
    pub(crate) fn new(dice: &mut Dice) -> HostClock {
        HostClock(Line::new(dice.between(1_000_000_000, 1 << 40), dice.swing() * RATE_ERROR_MAX))
    }

    pub(crate) fn read(&self, at: At) -> Time {
        Time(self.0.read(at))
    }

    pub(crate) fn when(&self, shown: Time) -> At {
        self.0.when(shown.0)
    }

    /// It stood still from `then` to `now`.
    pub(crate) fn stood_still(&mut self, then: At, now: At) {
        self.0.start -= i128::from(self.0.read(now) - self.0.read(then));
    }
}

/// The store's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreClock(Line);

impl StoreClock {
    /// Microseconds since 1970 at a time when these lines were written.
    const START_NS: u64 = 1_764_000_000_000_000_000;

    pub(crate) fn new(dice: &mut Dice) -> StoreClock {
        StoreClock(Line::new(StoreClock::START_NS, dice.swing() * RATE_ERROR_MAX))
    }

    pub(crate) fn read(&self, at: At) -> StoreTime {
        StoreTime(self.0.read(at) / 1_000)
    }

    pub(crate) fn when(&self, shown: StoreTime) -> At {
        self.0.when(shown.0.saturating_mul(1_000))
    }

    /// Somebody sets it.
    pub(crate) fn step(&mut self, by_ns: i64) {
        self.0.start += i128::from(by_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_and_asking_when_are_inverse() {
        let mut dice = Dice::new(1);
        for _ in 0..1_000 {
            let clock = HostClock::new(&mut dice);
            let at = At(dice.between(0, 1 << 40));
            let shown = clock.read(at);
            let when = clock.when(shown);
            assert!(when <= at && clock.read(when) >= shown, "{clock:?} {at:?}");
            assert!(when.0 == 0 || clock.read(At(when.0 - 1)) < shown);
        }
    }
}
