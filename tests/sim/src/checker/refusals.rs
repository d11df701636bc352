//! Refusals: when a wait ends without a lease, and what is said then.
//!
//! Owns that nobody waits for a shorter or a longer time than it asked to, that the reason it is told is so (S7), and that
//! it is not granted after all (L5). Whether a try, or the victim of a deadlock, had to be refused is judged elsewhere.

use super::book::Book;
use super::bounds::RATES_DIFFER_MAX;
use super::history::{Acquire, At, Bounds, Event, Refused, Req, Sent, Wait};
use super::{Findings, Rule};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A try that hears nothing of the store has its answer after this.
const TRY_MAX: Duration = Duration::from_secs(5);

/// The rules on refusals.
#[derive(Default)]
pub(super) struct Refusals {
    declined: BTreeSet<Req>,
    draining: BTreeSet<u32>,
    /// Sidecars that know that they have no connection to the store, and since when: what was due in that instant came first (P8).
    cut_off: BTreeMap<u32, At>,
    /// Limits with which anybody has asked for a key.
    limits: BTreeSet<(u32, u32)>,
}

impl Refusals {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Drains { sidecar } => drop(self.draining.insert(sidecar)),
            Event::StoreLost { sidecar } => drop(self.cut_off.insert(sidecar, at)),
            Event::StoreFound { sidecar } => drop(self.cut_off.remove(&sidecar)),
            Event::Sent { what: Sent::Acquire(acquire), .. } => {
                self.limits.insert((acquire.key, acquire.limit));
            }
            Event::Declined { of, why } => {
                self.declined.insert(of);
                self.has_reason(at, of, why, book, bounds, found);
                is_in_time(at, of, book, bounds, found);
            }
            Event::Issued { lease, .. } => {
                if self.declined.contains(&lease) {
                    found.add(Rule::Refusal, || format!("{lease} was granted after it was refused"));
                }
                if book.place_of(lease).is_some_and(|(sidecar, _)| self.draining.contains(&sidecar)) {
                    found.add(Rule::Refusal, || format!("{lease} was granted by a sidecar that drains"));
                }
                is_in_time(at, lease, book, bounds, found);
            }
            _ => {}
        }
    }

    fn has_reason(&self, at: At, of: Req, why: Refused, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let (Some(request), Some(session)) = (book.request(of), book.session(of.session)) else { return };
        let acquire = book.acquire(of).map(|(acquire, _)| acquire);
        let since = request.arrived_at.unwrap_or(request.sent_at);
        let is_so = match why {
            Refused::Held => request.is_try() || acquire.is_some_and(|acquire| acquire.upgrades.is_some()),
            Refused::WaitTimeout => acquire.is_some_and(|acquire| match acquire.wait {
                Wait::AtMost(wait) => {
                    let is_over = at + bounds.slack >= since + wait.mul_f64(1.0 - RATES_DIFFER_MAX);
                    is_over && self.cut_off.get(&session.sidecar).is_none_or(|lost| at <= *lost)
                }
                Wait::Try | Wait::Forever => false,
            }),
            Refused::Unavailable => {
                let disturbed = book.sidecar(session.sidecar).disturbed_until;
                disturbed >= since && at <= disturbed + bounds.settle
            }
            Refused::OtherLimit => acquire.is_some_and(|acquire| {
                let of_key = self.limits.range((acquire.key, 0)..=(acquire.key, u32::MAX));
                of_key.count() > 1
            }),
            Refused::Quarantined => bounds.strict,
            Refused::Draining => self.draining.contains(&session.sidecar),
            Refused::Deadlock | Refused::NotYours | Refused::Absent | Refused::Unknown | Refused::Other => {
                true
            }
        };
        if !is_so {
            found.add(Rule::Refusal, || {
                format!(
                    "{of}, {:?}, there since {since}, was refused as {why:?}, which is not so",
                    request.what
                )
            });
        }
    }
}

/// A sidecar decided on a request: was that before the wait was over?
fn is_in_time(at: At, of: Req, book: &Book, bounds: &Bounds, found: &mut Findings) {
    let (Some((acquire, sidecar)), Some(since)) =
        (book.acquire(of), book.request(of).and_then(|request| request.arrived_at))
    else {
        return;
    };
    let sidecar = book.sidecar(sidecar);
    let Some(wait) = longest(&acquire).filter(|_| sidecar.froze_at.is_none()) else { return };
    let by = since + wait.mul_f64(1.0 + RATES_DIFFER_MAX) + bounds.slack;
    if at > by.max(sidecar.disturbed_until + bounds.slack) {
        found.add(Rule::Refusal, || format!("{of}, there since {since}, was to be answered by {by}"));
    }
}

fn longest(acquire: &Acquire) -> Option<Duration> {
    match acquire.wait {
        Wait::Try => Some(TRY_MAX),
        Wait::AtMost(wait) => Some(wait),
        Wait::Forever => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tale, exclusive, req};
    use super::*;

    const OF: Req = req(0, 0);

    /// Somebody is there from millisecond 10 on, and waits for so long.
    fn waits(wait: Wait) -> Tale {
        let mut tale = Tale::new();
        tale.ask(5, OF, Acquire { wait, ..exclusive() }).add(10, Event::Arrived { of: OF });
        tale
    }

    fn declined(tale: &mut Tale, at: u64, why: Refused) -> bool {
        let rules = tale.add(at, Event::Declined { of: OF, why }).add(at, Event::Dropped { of: OF }).rules();
        !rules.contains(&Rule::Refusal)
    }

    const SECOND: Wait = Wait::AtMost(Duration::from_secs(1));

    #[test]
    fn a_wait_is_as_long_as_it_was_asked_to_be() {
        for (at, good) in [(900, false), (1_010, true), (1_030, true), (1_100, false)] {
            assert_eq!(declined(&mut waits(SECOND), at, Refused::WaitTimeout), good, "{at}");
        }
        assert!(!declined(&mut waits(Wait::Forever), 5_000, Refused::WaitTimeout));
        assert!(!declined(&mut waits(Wait::Try), 20, Refused::WaitTimeout));
        let stopped = Event::Disturbed { sidecar: 0, until: At(2_000_000_000) };
        assert!(declined(waits(SECOND).add(500, stopped), 2_010, Refused::WaitTimeout));
        waits(SECOND).issued(1_500, OF, 100, 10_000).breaks(Rule::Refusal);
    }

    #[test]
    fn a_reason_is_so() {
        let away = |sidecar, until: u64| Event::Disturbed { sidecar, until: At(until * 1_000_000) };
        assert!(!declined(&mut waits(SECOND), 500, Refused::Unavailable));
        assert!(declined(waits(SECOND).add(20, away(0, 400)), 500, Refused::Unavailable));
        let patient = || waits(Wait::AtMost(Duration::from_secs(60)));
        assert!(!declined(patient().add(20, away(0, 400)), 30_000, Refused::Unavailable), "long ago");
        let lost = Event::StoreLost { sidecar: 0 };
        assert!(!declined(waits(SECOND).add(900, lost), 1_010, Refused::WaitTimeout), "it is away");
        let found = Event::StoreFound { sidecar: 0 };
        assert!(declined(waits(SECOND).add(900, lost).add(950, found), 1_010, Refused::WaitTimeout));
        assert!(!declined(&mut waits(SECOND), 20, Refused::OtherLimit), "everybody agrees");
        assert!(!declined(waits(SECOND).add(20, away(1, 400)), 500, Refused::Unavailable));
        assert!(declined(&mut waits(Wait::Try), 20, Refused::Held));
        assert!(!declined(&mut waits(SECOND), 20, Refused::Held));
        assert!(!declined(&mut waits(SECOND), 20, Refused::Quarantined));
        assert!(!declined(&mut waits(SECOND), 20, Refused::Draining));
        assert!(declined(waits(SECOND).add(15, Event::Drains { sidecar: 0 }), 20, Refused::Draining));
    }

    #[test]
    fn who_was_refused_and_who_comes_to_a_sidecar_that_goes_is_granted_nothing() {
        let mut tale = waits(SECOND);
        assert!(declined(&mut tale, 1_010, Refused::WaitTimeout));
        tale.issued(1_011, OF, 100, 10_000).breaks(Rule::Refusal);
        waits(SECOND).add(15, Event::Drains { sidecar: 0 }).issued(20, OF, 100, 10_000).breaks(Rule::Refusal);
        waits(SECOND).add(15, Event::Drains { sidecar: 1 }).issued(20, OF, 100, 10_000).is_good();
    }
}
