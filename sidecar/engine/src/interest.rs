//! Bounded overtaking: how much longer we may serve ourselves while another sidecar waits (P9, L2).
//!
//! Owns the budget. Must not know how the interest became known.

use crate::config::Config;
use crate::model::Time;

/// Another sidecar waits, and has since we learned of it.
#[derive(Debug)]
pub(crate) struct Interest {
    /// Waiters who arrived before this number were there; later ones do not overtake the other sidecar.
    cutoff: u64,
    grants_left: u32,
    until: Time,
    served: bool,
    /// That the time is up was noticed.
    is_over: bool,
}

impl Interest {
    /// Learned at `now`, when the next waiter to come has this number; `served`: the tenure has served somebody already.
    pub(crate) fn learned(now: Time, next_arrival: u64, served: bool, config: &Config) -> Interest {
        Interest {
            cutoff: next_arrival,
            grants_left: config.handoffs_max,
            until: now + config.handoff_time_max,
            served,
            is_over: false,
        }
    }

    /// May this waiter still be served? The first of a tenure always may, if it was there: a tenure that came at our turn
    /// must serve somebody, or two slow sidecars would pass it to each other for ever.
    pub(crate) fn allows(&self, now: Time, arrival: u64) -> bool {
        arrival < self.cutoff && (!self.served || (self.grants_left > 0 && now < self.until))
    }

    pub(crate) fn count_grant(&mut self) {
        self.served = true;
        self.grants_left = self.grants_left.saturating_sub(1);
    }

    /// When the budget ends by itself; `MAX` once that was noticed.
    pub(crate) fn next_due(&self) -> Time {
        if self.is_over { Time::MAX } else { self.until }
    }

    pub(crate) fn notice_end(&mut self, now: Time) {
        self.is_over |= self.until <= now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Incarnation;
    use std::time::Duration;

    #[test]
    fn the_budget_ends_by_count_by_time_and_by_arrival() {
        let config = Config { handoffs_max: 2, ..Config::new(Incarnation(1)) };
        let now = Time(1_000);
        let mut interest = Interest::learned(now, 5, false, &config);
        assert!(interest.allows(now, 4) && !interest.allows(now, 5));
        let late = now + Duration::from_secs(1);
        assert!(interest.allows(late, 4), "the first is always served");
        interest.count_grant();
        assert!(interest.allows(now, 4) && !interest.allows(late, 4));
        interest.count_grant();
        assert!(!interest.allows(now, 4));
        assert!(!Interest::learned(now, 5, true, &config).allows(late, 4), "the tenure had its turn");
    }
}
