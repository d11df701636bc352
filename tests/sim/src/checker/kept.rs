//! Leases that stay as long as they are meant to, and no longer.
//!
//! Owns what excuses the loss of a lease with its tenure, and that one ends by its own terms and with its holder. That it is
//! not granted anew before that is with the windows.

use super::book::Book;
use super::bounds::RATES_DIFFER_MAX;
use super::history::{At, Bounds, Event, Req, Sent};
use super::{Findings, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// The rules on how long leases live.
#[derive(Default)]
pub(super) struct Kept {
    /// Those that sidecars count as live.
    live: BTreeMap<Req, Ends>,
    /// Sessions whose connection a sidecar closed: their clients may still believe what they were told (P6).
    cut: BTreeSet<u32>,
}

/// When a lease must be over.
#[derive(Clone, Copy)]
struct Ends {
    /// By its own terms, or with its process.
    own: At,
    /// The store has forgotten its tenure.
    unconfirmed: At,
}

impl Ends {
    const NEVER: Ends = Ends { own: At(u64::MAX), unconfirmed: At(u64::MAX) };

    fn by(self) -> At {
        self.own.min(self.unconfirmed)
    }
}

impl Kept {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        self.judge(at, book, bounds, found);
        match *event {
            Event::Issued { lease, fence, .. } => {
                let Some((acquire, sidecar)) = book.acquire(lease) else { return };
                // An upgrade goes on with what is left of the share.
                let own = acquire.max_hold.filter(|_| acquire.upgrades.is_none());
                let own =
                    own.map_or(At(u64::MAX), |span| at + span.mul_f64(1.0 + RATES_DIFFER_MAX) + bounds.slack);
                // Where the store's clock went back, what it reserved later has lower fences.
                let is_known = book.remembers(acquire.key, fence) || !bounds.store_clock_monotone;
                let forgotten_at =
                    book.flushed_at.filter(|_| !(is_known && book.has_seated(sidecar, acquire.key)));
                let unconfirmed = forgotten_at.map_or(At(u64::MAX), |at| unconfirmed_by(at, bounds));
                self.live.insert(lease, Ends { own, unconfirmed });
            }
            Event::Flushed => self.forgotten(at, bounds, |_| true),
            Event::Evicted { key } => {
                self.forgotten(at, bounds, |lease| book.place_of(lease).is_some_and(|(_, of)| of == key));
            }
            Event::Done { lease, .. } => drop(self.live.remove(&lease)),
            Event::CutOff { session } | Event::EofSeen { session } => drop(self.cut.insert(session)),
            Event::Resumed { session } => drop(self.cut.remove(&session)),
            Event::HungUp { session } if !self.cut.contains(&session) => {
                self.hung_up(at, session, book, bounds)
            }
            Event::Crashed { sidecar } => {
                self.live.retain(|lease, _| book.place_of(*lease).is_some_and(|(of, _)| of != sidecar));
            }
            Event::Deprived { lease, forced: false } if !is_excused(at, lease, book, bounds) => {
                found.add(Rule::Kept, || {
                    format!("{lease} was lost with its tenure, and nothing had gone wrong")
                });
            }
            _ => {}
        }
    }

    /// All leases of a process that is gone are over as soon as its sidecar has heard of that. A timed one is its bearer's, and what
    /// is on its way to the store under a lease is seen through first.
    fn hung_up(&mut self, at: At, session: u32, book: &Book, bounds: &Bounds) {
        let is_open = |request: &super::book::Request| {
            request.answers == 0 && matches!(request.what, Sent::Register(_) | Sent::Finish { .. })
        };
        let requests =
            book.session(session).into_iter().flat_map(|session| session.requests.iter().flatten());
        if requests.clone().any(is_open) {
            return;
        }
        let by = at + bounds.round_trip + bounds.slack;
        for (lease, ends) in &mut self.live {
            let is_timed = book.acquire(*lease).is_none_or(|(acquire, _)| acquire.timed);
            if lease.session == session && !is_timed {
                ends.own = by.min(ends.own);
            }
        }
    }

    /// The store has forgotten the tenures of these.
    fn forgotten(&mut self, at: At, bounds: &Bounds, which: impl Fn(Req) -> bool) {
        let by = unconfirmed_by(at, bounds);
        for (_, ends) in self.live.iter_mut().filter(|(lease, _)| which(**lease)) {
            ends.unconfirmed = by.min(ends.unconfirmed);
        }
    }

    /// What is overdue, at sidecars that could have seen to it.
    fn judge(&mut self, at: At, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let mut overdue = Vec::new();
        for (lease, ends) in self.live.iter_mut().filter(|(_, ends)| at > ends.by()) {
            let sidecar = book.place_of(*lease).map(|(sidecar, _)| book.sidecar(sidecar));
            match sidecar {
                Some(known) if known.froze_at.is_some() => *ends = Ends::NEVER,
                Some(known) if ends.by() < known.disturbed_until + bounds.slack => {
                    let later = known.disturbed_until + bounds.slack + bounds.slack;
                    *ends = Ends { own: ends.own.max(later), unconfirmed: ends.unconfirmed.max(later) };
                }
                _ => overdue.push(*lease),
            }
        }
        for lease in overdue {
            let by = self.live.insert(lease, Ends::NEVER).map_or(At(0), Ends::by);
            found.add(Rule::Outlived, || format!("{lease} lives on, though it was to be over at {by}"));
        }
    }
}

/// Nothing that the store has forgotten is confirmed again: so it is over by then (S6). Where the store is strict it is put back.
fn unconfirmed_by(flushed: At, bounds: &Bounds) -> At {
    match bounds.strict {
        true => At(u64::MAX),
        false => flushed + bounds.longest.mul_f64(1.0 + RATES_DIFFER_MAX) + bounds.round_trip + bounds.slack,
    }
}

/// Whether its sidecar could not talk to the store for a part of the tenure's life, the store forgot it, somebody took it, or a
/// clock did what no clock may.
fn is_excused(at: At, lease: Req, book: &Book, bounds: &Bounds) -> bool {
    let Some((sidecar, key)) = book.place_of(lease) else { return true };
    let known = book.sidecar(sidecar);
    let disturbed = known.unsure_until > At(0) && at <= known.unsure_until + bounds.tenure_ttl;
    let forgotten = book.flushed_at.is_some_and(|flushed| at <= flushed + bounds.longest + bounds.tenure_ttl);
    let forced = book.forces.iter().any(|force| (force.sidecar, force.key) == (sidecar, key));
    disturbed || forgotten || forced || known.froze_at.is_some() || !bounds.clocks_agree
}

#[cfg(test)]
mod tests {
    use super::super::history::Acquire;
    use super::super::tests::{Tale, exclusive, req};
    use super::*;
    use std::time::Duration;

    const LOST: Event = Event::Deprived { lease: req(0, 0), forced: false };

    fn held_by(acquire: Acquire) -> Tale {
        let mut tale = Tale::new();
        tale.ask(5, req(0, 0), acquire).issued(10, req(0, 0), 100, 10_000);
        tale
    }

    fn later(tale: &mut Tale, at: u64) -> &mut Tale {
        tale.add(at, Event::Learned { sidecar: 0, key: 0, contended: false })
    }

    #[test]
    fn a_loss_wants_a_reason() {
        held_by(exclusive()).add(30_000, LOST).breaks(Rule::Kept);
        for (reason, excused) in [
            (Event::Flushed, true),
            (Event::Disturbed { sidecar: 0, until: At(25_000_000_000) }, true),
            (Event::Disturbed { sidecar: 0, until: At(15_000_000_000) }, false),
            (Event::Disturbed { sidecar: 1, until: At(25_000_000_000) }, false),
            (Event::AsksRefused { sidecar: 0, until: At(25_000_000_000) }, false),
            (Event::Froze { sidecar: 0 }, true),
        ] {
            let mut tale = held_by(exclusive());
            tale.add(14_000, reason).add(30_000, LOST);
            assert_eq!(!tale.rules().contains(&Rule::Kept), excused, "{reason:?}");
        }
    }

    #[test]
    fn a_lease_ends_with_its_max_hold() {
        let held = || held_by(Acquire { max_hold: Some(Duration::from_secs(1)), ..exclusive() });
        let over = Event::Done { lease: req(0, 0), lost: true };
        later(&mut held(), 1_100).breaks(Rule::Outlived);
        later(held().add(1_020, over), 1_100).is_good();
        later(held().add(500, Event::Crashed { sidecar: 0 }), 1_100).is_good();
        let stopped = Event::Disturbed { sidecar: 0, until: At(2_000_000_000) };
        later(held().add(900, stopped), 2_010).is_good();
        later(later(held().add(900, stopped), 2_010), 2_100).breaks(Rule::Outlived);
    }

    #[test]
    fn a_lease_whose_tenure_the_store_forgot_ends_with_the_time_that_it_had_said() {
        later(held_by(exclusive()).add(20, Event::Flushed), 10_000).is_good();
        later(held_by(exclusive()).add(20, Event::Flushed), 10_300).breaks(Rule::Outlived);
        let again = |sidecar| Event::Reserved { sidecar, key: 0, first: 200, last: 300 };
        for sidecar in [0, 1] {
            let mut tale = held_by(exclusive());
            later(tale.add(20, Event::Flushed).add(30, again(sidecar)), 10_300).breaks(Rule::Outlived);
        }
    }

    #[test]
    fn a_lease_ends_with_its_process() {
        let gone = Event::HungUp { session: 0 };
        later(held_by(exclusive()).add(20, gone), 100).breaks(Rule::Outlived);
        let over = Event::Done { lease: req(0, 0), lost: false };
        later(held_by(exclusive()).add(20, gone).add(30, over), 100).is_good();
        later(held_by(Acquire { timed: true, ..exclusive() }).add(20, gone), 100).is_good();
        later(held_by(exclusive()).add(15, Event::CutOff { session: 0 }).add(20, gone), 100).is_good();
    }
}
