//! A sidecar that is served anew, after others had the key, has ended what it had handed out before.
//!
//! Owns that, whatever any clock showed (D37): the order of tokens alone says who came after whom. That
//! nobody is granted beside another while clocks agree is with the windows, and what an operator took with the forced unlocks.

use super::book::Book;
use super::history::{At, Bounds, Event, Req};
use super::{Findings, Rule, slot};

/// A lease that its sidecar counts as live.
#[derive(Clone, Copy, Debug)]
struct Live {
    lease: Req,
    sidecar: u32,
    fence: u64,
    units: u32,
    limit: u32,
    /// The first token of one that conflicts with it, came after it, and that another sidecar granted.
    overtaken: Option<u64>,
}

/// The rule.
#[derive(Default)]
pub(super) struct Revived {
    /// Per key.
    live: Vec<Vec<Live>>,
}

impl Revived {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Issued { lease, fence, .. } if bounds.store_clock_monotone => {
                self.issued(at, (lease, fence), book, bounds, found);
            }
            Event::Shared { lease } => self.each_of(lease, book, |live| {
                live.units = 1;
                true
            }),
            Event::Done { lease, .. } => self.each_of(lease, book, |_| false),
            _ => {}
        }
    }

    /// Changes a lease, and keeps it if `keep` says so.
    fn each_of(&mut self, lease: Req, book: &Book, mut keep: impl FnMut(&mut Live) -> bool) {
        if let Some((acquire, _)) = book.acquire(lease) {
            slot(&mut self.live, acquire.key).retain_mut(|live| live.lease != lease || keep(live));
        }
    }

    fn issued(
        &mut self,
        at: At,
        (lease, fence): (Req, u64),
        book: &Book,
        bounds: &Bounds,
        found: &mut Findings,
    ) {
        let Some((acquire, sidecar)) = book.acquire(lease) else {
            return;
        };
        let (units, limit) = (acquire.units, acquire.limit);
        let new = Live { lease, sidecar, fence, units, limit, overtaken: None };
        let live = slot(&mut self.live, acquire.key);
        for old in live.iter_mut().filter(|old| !book.was_forced(old.lease, old.fence)) {
            match old.overtaken {
                Some(between) if old.sidecar == sidecar && between < fence => {
                    let old = old.lease;
                    found.add(Rule::Revived, || {
                        format!(
                            "key {}: {old} goes on beside {lease}, though {between} was granted elsewhere in between",
                            acquire.key
                        )
                    });
                }
                // What a store has forgotten it may grant to others until those who have it hear of that (S6).
                None if conflict(old, &new) && !book.has_amnesia(at, bounds) => {
                    old.overtaken = Some(fence);
                }
                _ => {}
            }
        }
        live.push(new);
    }
}

/// Whether two that different sidecars granted may not stand together, and `new` came after `old`.
fn conflict(old: &Live, new: &Live) -> bool {
    let fit = old.limit == new.limit && old.units.checked_add(new.units).is_some_and(|sum| sum <= old.limit);
    old.sidecar != new.sidecar && new.fence > old.fence && !fit
}

#[cfg(test)]
mod tests {
    use super::super::history::{Acquire, Event, History, Record, Sent};
    use super::super::tests::exclusive;
    use super::*;
    use std::time::Duration;

    /// Two leases of one sidecar, and between them one of another.
    const FIRST: Req = Req { session: 0, request: 0 };
    const BETWEEN: Req = Req { session: 1, request: 0 };
    const NEXT: Req = Req { session: 0, request: 1 };
    /// One more of the other.
    const AGAIN: Req = Req { session: 1, request: 1 };

    fn issued(lease: Req, fence: u64) -> Event {
        Event::Issued { lease, fence, deadline: At(u64::MAX) }
    }

    fn done(lease: Req) -> Event {
        Event::Done { lease, lost: true }
    }

    /// Whether these events, one a second, break the rule; first and last want a share, who comes between them so many units.
    fn breaks(units: u32, strict: bool, events: &[Event]) -> bool {
        let opened = |session| Event::Opened { session, sidecar: session, uid: 1 };
        let sent = |of, units| Event::Sent { of, what: Sent::Acquire(Acquire { units, ..exclusive() }) };
        let begin =
            [opened(0), opened(1), sent(FIRST, 1), sent(BETWEEN, units), sent(NEXT, 1), sent(AGAIN, 1)];
        let records = begin.iter().chain(events).zip(0..);
        let records = records
            .map(|(&event, second): (_, u64)| Record { at: At(second * 1_000_000_000), event })
            .collect();
        let bounds = Bounds { strict, longest: Duration::from_secs(2), ..Bounds::default() };
        let found = super::super::check(&History { bounds, records });
        found.iter().any(|violation| violation.rule == Rule::Revived)
    }

    const ALL: u32 = u32::MAX;

    #[test]
    fn what_others_came_after_is_over_before_its_sidecar_is_served_anew() {
        let [first, between, next] = [issued(FIRST, 100), issued(BETWEEN, 101), issued(NEXT, 102)];
        assert!(breaks(ALL, false, &[first, between, done(BETWEEN), next]));
        assert!(!breaks(ALL, false, &[first, between, done(BETWEEN), done(FIRST), next]));
        assert!(!breaks(1, false, &[first, between, done(BETWEEN), next]), "shares stand beside each other");
        assert!(!breaks(ALL, false, &[first, next, between]), "a sidecar may not have heard yet");
        assert!(breaks(ALL, false, &[first, between, issued(NEXT, 103)]), "whether that is over or not");
    }

    #[test]
    fn what_was_reserved_before_proves_nothing() {
        let [first, between, next] = [issued(FIRST, 100), issued(BETWEEN, 110), issued(NEXT, 101)];
        assert!(!breaks(ALL, false, &[first, between, next]));
    }

    #[test]
    fn whoever_keeps_a_share_can_be_beside_others_who_share() {
        let tale = |shared: &[Event]| {
            let [first, between, next] = [issued(BETWEEN, 100), issued(FIRST, 101), issued(AGAIN, 102)];
            breaks(ALL, false, &[&[first], shared, &[between, next]].concat())
        };
        assert!(tale(&[]));
        assert!(!tale(&[Event::Shared { lease: BETWEEN }]));
    }

    #[test]
    fn what_a_store_forgot_it_may_grant_beside_unless_it_is_strict() {
        let [first, between, next] = [issued(FIRST, 100), issued(BETWEEN, 101), issued(NEXT, 102)];
        assert!(!breaks(ALL, false, &[first, Event::Flushed, between, next]));
        assert!(breaks(ALL, true, &[first, Event::Flushed, between, next]));
        // What its tenure was granted for is over then, whenever it was handed out.
        assert!(!breaks(ALL, false, &[Event::Flushed, first, between, next]));
        let heard = Event::Arrived { of: BETWEEN };
        assert!(breaks(ALL, false, &[first, Event::Flushed, heard, heard, between, next]));
        assert!(breaks(ALL, false, &[first, between, Event::Flushed, next]), "that was after");
    }

    #[test]
    fn what_an_operator_took_is_another_rules() {
        let [first, between, next] = [issued(FIRST, 100), issued(BETWEEN, 101), issued(NEXT, 102)];
        let force = |last| Event::Forced { sidecar: 0, key: 0, last };
        assert!(!breaks(ALL, true, &[first, force(100), between, Event::Flushed, next]));
        assert!(breaks(ALL, true, &[first, force(99), between, Event::Flushed, next]), "that was not it");
    }
}
