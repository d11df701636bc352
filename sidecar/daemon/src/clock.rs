//! The two clocks of the host: boottime, by which everything is decided, and wall time, which is only watched.
//!
//! Owns reading them and noticing that the wall clock was stepped. Must not know what anybody does about it.

use rustix::time::{ClockId, clock_gettime};
use sidelock_engine::Time;
use std::time::Duration;

/// Wall time running further ahead of boottime than this puts deadlines in doubt (H9): the store's clock may have been
/// stepped with it, or this host may have slept in a way that boottime did not count.
const STEP_MIN: Duration = Duration::from_secs(1);

/// Reads the clocks and remembers how far they were apart.
#[derive(Debug)]
pub(crate) struct Clock {
    ahead: i128,
}

impl Clock {
    /// Starts to watch from here.
    pub(crate) fn new() -> Clock {
        Clock { ahead: ahead() }
    }

    /// `CLOCK_BOOTTIME`, now.
    pub(crate) fn now(&self) -> Time {
        boottime()
    }

    /// Whether wall time gained more than [`STEP_MIN`] on boottime since it was last asked. A step back is no danger to
    /// a deadline and is only taken note of.
    pub(crate) fn stepped(&mut self) -> bool {
        self.gained(ahead())
    }

    fn gained(&mut self, ahead: i128) -> bool {
        let gain = ahead - self.ahead;
        if gain.unsigned_abs() > STEP_MIN.as_nanos() {
            self.ahead = ahead;
        }
        gain > 0 && gain.unsigned_abs() > STEP_MIN.as_nanos()
    }
}

/// `CLOCK_BOOTTIME`, now.
pub fn boottime() -> Time {
    Time(nanos(ClockId::Boottime))
}

/// Wall time, in microseconds since the Unix epoch.
pub(crate) fn realtime_us() -> u64 {
    nanos(ClockId::Realtime) / 1_000
}

fn ahead() -> i128 {
    i128::from(nanos(ClockId::Realtime)) - i128::from(nanos(ClockId::Boottime))
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;

    #[test]
    fn only_a_jump_forward_is_a_step_and_it_is_told_once() {
        let mut clock = Clock { ahead: 0 };
        assert!(!clock.gained(SECOND / 2), "slewing is no step");
        assert!(clock.gained(3 * SECOND));
        assert!(!clock.gained(3 * SECOND), "told once");
        assert!(!clock.gained(-3 * SECOND), "back is no danger");
        assert!(clock.gained(0), "forward again from where it fell back to");
    }

    #[test]
    fn boottime_goes_on() {
        let earlier = boottime();
        assert!(boottime() >= earlier);
        assert!(earlier > Time::ZERO);
    }
}
