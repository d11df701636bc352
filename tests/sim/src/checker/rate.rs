//! Rates: in no window of `per`, wherever it begins, are there more units granted than the limit.
//!
//! Owns the count, in true time and at the instant in which a sidecar decides. Must not know how units come back: whether
//! a client still holds its lease makes no difference here.

use super::book::Book;
use super::history::{At, Bounds, Event, Req};
use super::{Findings, Rule, slot};
use std::time::Duration;

/// Units that were granted, and stay bound.
#[derive(Clone, Copy)]
struct Grant {
    lease: Req,
    fence: u64,
    at: At,
    units: u32,
    per: Duration,
}

/// The rule on rates.
#[derive(Default)]
pub(super) struct Rates {
    /// Per key.
    bound: Vec<Vec<Grant>>,
}

impl Rates {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let Event::Issued { lease, fence, .. } = *event else { return };
        let Some((acquire, _)) = book.acquire(lease) else { return };
        let bound = slot(&mut self.bound, acquire.key);
        bound.retain(|grant| grant.at + grant.per > at);
        // What was bound is unbound with the store's data (S6), and where its clock or a host's jumps.
        let amnesia = book.has_amnesia(at, bounds);
        // What an operator took is free, and whoever has not heard of it is held off by its fence alone (P19).
        let forced = |grant: &Grant| book.was_forced(grant.lease, grant.fence);
        let rivals = bound.iter().filter(|grant| !book.predates_freeze(grant.lease) && !forced(grant));
        let taken: u64 = rivals.clone().map(|grant| u64::from(grant.units)).sum();
        if taken + u64::from(acquire.units) > u64::from(acquire.limit)
            && !amnesia
            && bounds.clocks_agree
            && !book.was_forced(lease, fence)
        {
            found.add(Rule::Rate, || {
                let granted: Vec<_> = rivals
                    .map(|grant| format!("{} ({} at {})", grant.lease, grant.units, grant.at))
                    .collect();
                format!(
                    "key {}: {lease} got {} of {} units within the time of {}",
                    acquire.key,
                    acquire.units,
                    acquire.limit,
                    granted.join(", ")
                )
            });
        }
        if let Some(per) = acquire.per {
            bound.push(Grant { lease, fence, at, units: acquire.units, per });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tale, permits, req};
    use super::*;
    use crate::checker::history::Acquire;

    fn rate(units: u32) -> Acquire {
        Acquire { per: Some(Duration::from_secs(1)), ..permits(units) }
    }

    /// Three of four units were granted at 10 ms, and their lease ended soon after.
    fn three_spent() -> Tale {
        let mut tale = Tale::new();
        tale.ask(5, req(0, 0), rate(3)).issued(10, req(0, 0), 100, 1_010);
        tale.add(20, Event::Done { lease: req(0, 0), lost: false });
        tale
    }

    #[test]
    fn a_rate_that_is_kept_is_good() {
        let mut tale = three_spent();
        tale.ask(30, req(2, 0), rate(1)).issued(500, req(2, 0), 101, 1_500);
        tale.ask(600, req(1, 0), rate(3)).issued(1_010, req(1, 0), 102, 2_010).is_good();
    }

    #[test]
    fn no_window_has_more_units_than_the_limit() {
        three_spent().ask(30, req(2, 0), rate(2)).issued(1_009, req(2, 0), 101, 2_009).breaks(Rule::Rate);
        // The same for one who takes them for as long as it needs.
        three_spent().ask(30, req(2, 0), permits(2)).issued(1_009, req(2, 0), 101, 2_009).breaks(Rule::Rate);
    }

    #[test]
    fn an_operator_frees_what_was_spent() {
        let force = |last| Event::Forced { sidecar: 0, key: 0, last };
        let mut tale = three_spent();
        tale.ask(30, req(2, 0), rate(2)).add(40, force(100)).issued(500, req(2, 0), 101, 1_500).is_good();
        let mut tale = three_spent();
        tale.ask(30, req(2, 0), rate(2))
            .add(40, force(99))
            .issued(500, req(2, 0), 101, 1_500)
            .breaks(Rule::Rate);
    }

    #[test]
    fn units_of_a_semaphore_are_free_when_they_are_released() {
        let mut tale = Tale::new();
        tale.ask(5, req(0, 0), permits(3)).issued(10, req(0, 0), 100, 10_000);
        tale.add(20, Event::Done { lease: req(0, 0), lost: false });
        tale.ask(30, req(2, 0), rate(4)).issued(40, req(2, 0), 101, 1_040).is_good();
    }
}
