//! What an answer of the store proves: how long something stands, by our clock and by the store's.
//!
//! Owns the margins between the two (P4, A1). Must not know tenures, nor what is done when one is over.

use crate::link::Link;
use crate::model::{Fence, StoreTime, Time};
use crate::store::FENCE_LEAD_MAX_US;
use std::time::Duration;

/// What the host's clock may lose on the store's, besides one percent (A1).
const CLOCK_MARGIN: Duration = Duration::from_millis(6);
/// Times left are said in milliseconds, rounded down.
const REMAINING_PRECISION: Duration = Duration::from_millis(1);

/// The deadline that an answer proves: from before the request was sent, less what the clocks may differ (P4).
pub(crate) fn deadline(sent: Time, remaining: Duration) -> Time {
    sent + (remaining - remaining / 100).saturating_sub(CLOCK_MARGIN)
}

/// When what stands for so long is over, by the store's time: it was no later than what we have seen when it said so.
pub(crate) fn over_by(link: &Link, remaining: Duration) -> Option<StoreTime> {
    Some(link.seen() + remaining + REMAINING_PRECISION)
}

/// Whether this fence was reserved after that, by the store's time: fences are reserved ahead of it, but not by more than this.
pub(crate) fn reserved_after(first: Fence, then: StoreTime) -> bool {
    first > then.0 + FENCE_LEAD_MAX_US + 2
}

/// The time to live to ask for, so that [`deadline`] comes out at least `span` later.
pub(crate) fn ttl_covering(span: Duration) -> Duration {
    (span + CLOCK_MARGIN) * 100 / 99 + Duration::from_millis(1)
}

/// The longest time to live that a tenure is ever asked for, where no lease, and no unit of a rate, is bound for more than `span`;
/// more for keys by the hundred thousand aside (P13).
pub fn tenure_covering(span: Duration) -> Duration {
    // One percent for units of a rate, and what an answer may travel.
    ttl_covering(span + span / 100 + Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_counts_from_the_sending_less_both_margins() {
        let sent = Time::ZERO + Duration::from_secs(100);
        assert_eq!(deadline(sent, Duration::from_secs(10)).since(sent), Duration::from_millis(9_894));
        assert_eq!(deadline(sent, Duration::from_millis(5)), sent);
    }

    #[test]
    fn the_asked_ttl_covers_the_span() {
        for ms in [1, 100, 30_000, 3_600_000] {
            let span = Duration::from_millis(ms);
            assert!(deadline(Time::ZERO, ttl_covering(span)) >= Time::ZERO + span, "{ms} ms");
        }
    }
}
