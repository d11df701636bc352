//! Forced unlocks: those whose lease was taken hear that it was, and nobody else does.
//!
//! Owns P19 as far as the holder hears of it: with the right reason, and before its sidecar serves anybody anew. That the next fence is above all that was reserved is S3; that overlapping
//! windows are excused is with the windows.

use super::book::{Book, Force};
use super::history::{At, Bounds, Event, Req};
use super::{Findings, Rule};
use std::collections::BTreeMap;

/// The rules on what holders hear.
#[derive(Default)]
pub(super) struct Forced {
    /// Of the leases that sidecars count as live.
    fences: BTreeMap<Req, u64>,
    /// Orders that their victims' sidecars have heard of, before the store lost its data.
    heard: Vec<Force>,
}

impl Forced {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Issued { lease, fence, .. } => self.issued(lease, fence, book, bounds, found),
            Event::Deprived { lease, forced } => self.deprived(at, lease, forced, book, bounds, found),
            Event::Done { lease, .. } => drop(self.fences.remove(&lease)),
            _ => {}
        }
    }

    /// A token above what was reserved for a tenure that was taken: its sidecar is served anew, so it must have told those
    /// who stood on it.
    fn issued(&mut self, lease: Req, fence: u64, book: &Book, bounds: &Bounds, found: &mut Findings) {
        // The order may have been given to a primary that another one had replaced.
        let replaced = bounds.strict && book.flushed_at.is_some();
        let knows = |force: &&Force| !(force.forgotten || replaced) || self.has_heard(force);
        let untold = book.forces_before(lease, fence).filter(knows).find_map(|force| {
            let stands_on_it = |other: &Req| book.place_of(*other) == Some((force.sidecar, force.key));
            self.fences.iter().find(|(other, fence)| **fence <= force.last && stands_on_it(other))
        });
        if let Some((other, _)) = untold {
            found.add(Rule::Forced, || {
                format!("{lease} was granted before {other}, taken by force, was told")
            });
        }
        self.fences.insert(lease, fence);
    }

    fn has_heard(&self, force: &Force) -> bool {
        let Force { sidecar, key, last, .. } = *force;
        self.heard.iter().any(|heard| (heard.sidecar, heard.key, heard.last) == (sidecar, key, last))
    }

    fn deprived(
        &mut self,
        at: At,
        lease: Req,
        forced: bool,
        book: &Book,
        bounds: &Bounds,
        found: &mut Findings,
    ) {
        let Some(&fence) = self.fences.get(&lease) else { return };
        let force = book.force_of(lease, fence);
        if let Some(force) = force.filter(|force| forced && !force.forgotten && !self.has_heard(force)) {
            self.heard.push(*force);
        }
        let was_forced = force.is_some();
        if forced && !was_forced {
            found.add(Rule::Forced, || format!("{lease} was lost by force, which nobody had used on it"));
        }
        // A sidecar that could not talk to the store gave up by itself, and a store that lost its data knows no more.
        let calm = book.calm_since(bounds) + bounds.longest < at;
        let flushed = book.flushed_at.is_some_and(|flushed| at <= flushed + bounds.longest);
        if !forced && was_forced && calm && !flushed {
            found.add(Rule::Forced, || {
                format!("{lease} was taken by force, and its holder hears nothing of that")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::{Acquire, History, Record, Sent};
    use super::super::tests::exclusive;
    use super::*;

    const LEASE: Req = Req { session: 0, request: 0 };
    const NEXT: Req = Req { session: 0, request: 1 };
    /// A lease beside the first.
    const OTHER: Req = Req { session: 0, request: 2 };

    /// A lock granted with token 100, some of what the closure adds, and the rules that were broken.
    fn broken(events: &[(u64, Event)]) -> Vec<Rule> {
        let acquire = Acquire { watched: false, ..exclusive() };
        let begin = [
            (0, Event::Opened { session: 0, sidecar: 0, uid: 1 }),
            (0, Event::Sent { of: LEASE, what: Sent::Acquire(acquire) }),
            (0, Event::Sent { of: NEXT, what: Sent::Acquire(acquire) }),
            (0, Event::Sent { of: OTHER, what: Sent::Acquire(acquire) }),
            (1, Event::Issued { lease: LEASE, fence: 100, deadline: At(9_000_000_000) }),
        ];
        let records =
            begin.iter().chain(events).map(|(ms, event)| Record { at: At(ms * 1_000_000), event: *event });
        let history = History { bounds: Bounds::default(), records: records.collect() };
        super::super::check(&history).into_iter().map(|violation| violation.rule).collect()
    }

    fn force(last: u64) -> Event {
        Event::Forced { sidecar: 0, key: 0, last }
    }

    fn deprived(forced: bool) -> Event {
        Event::Deprived { lease: LEASE, forced }
    }

    #[test]
    fn who_was_forced_hears_that() {
        assert_eq!(broken(&[(20_000, force(100)), (20_010, deprived(true))]), []);
        assert_eq!(broken(&[(20_000, force(100)), (20_010, deprived(false))]), [Rule::Forced]);
    }

    #[test]
    fn who_was_not_does_not() {
        assert_eq!(broken(&[(20_010, deprived(true))]), [Rule::Forced]);
        assert_eq!(broken(&[(20_000, force(99)), (20_010, deprived(true))]), [Rule::Forced]);
    }

    #[test]
    fn nobody_is_served_anew_before_those_who_were_forced_are_told() {
        let next = |fence| Event::Issued { lease: NEXT, fence, deadline: At(90_000_000_000) };
        let told = [(3, deprived(true)), (3, Event::Done { lease: LEASE, lost: true })];
        let tale = |events: &[(u64, Event)]| broken(&[&[(2, force(110))], events].concat());
        assert_eq!(tale(&[told[0], told[1], (4, next(111))]), []);
        assert!(tale(&[(4, next(111))]).contains(&Rule::Forced));
        // From what was reserved before, by a sidecar that has not heard.
        assert!(!tale(&[(4, next(110))]).contains(&Rule::Forced));
        // A store that lost its data can tell nobody; but who has been told tells everybody.
        assert!(!tale(&[(3, Event::Flushed), (4, next(111))]).contains(&Rule::Forced));
        let other = Event::Issued { lease: OTHER, fence: 101, deadline: At(9_000_000_000) };
        let other = |events: [(u64, Event); 3]| tale(&[&[(2, other)], &events[..]].concat());
        let heard = Event::Deprived { lease: OTHER, forced: true };
        assert!(other([(3, heard), (4, Event::Flushed), (5, next(111))]).contains(&Rule::Forced));
        assert!(!other([(3, Event::Flushed), (4, heard), (5, next(111))]).contains(&Rule::Forced));
    }

    #[test]
    fn tokens_that_came_again_stand_for_what_reserved_them_last() {
        let again = |first| Event::Reserved { sidecar: 0, key: 0, first, last: 200 };
        let next = Event::Issued { lease: NEXT, fence: 111, deadline: At(90_000_000_000) };
        let tale = |first| broken(&[(2, force(110)), (3, again(first)), (4, next)]).contains(&Rule::Forced);
        assert!(!tale(110) && tale(111));
    }

    #[test]
    fn a_sidecar_that_was_cut_off_may_never_have_heard() {
        let disturbed = Event::Disturbed { sidecar: 0, until: At(19_000_000_000) };
        assert_eq!(broken(&[(10_000, disturbed), (20_000, force(100)), (20_010, deprived(false))]), []);
    }
}
