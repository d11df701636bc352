//! What an answer of the store proves: how long something stands, by our clock.
//!
//! Owns the margins between it and the store's (P4, A1). Must not know tenures, nor what is done when one is over.

use crate::model::Time;
use std::time::Duration;

/// What the host's clock may lose on the store's, besides one percent (A1).
const CLOCK_MARGIN: Duration = Duration::from_millis(6);

/// The deadline that an answer proves: from before the request was sent, less what the clocks may differ (P4).
pub(crate) fn deadline(sent: Time, remaining: Duration) -> Time {
    sent + (remaining - remaining / 100).saturating_sub(CLOCK_MARGIN)
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
