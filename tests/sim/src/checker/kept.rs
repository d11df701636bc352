//! Leases that stay: where nothing goes wrong, none is lost with its tenure.
//!
//! Owns what excuses such a loss. That a lease ends by its own terms, or with its session, is no such loss.

use super::book::Book;
use super::history::{At, Bounds, Event, Req};
use super::{Findings, Rule};

pub(super) fn see(at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
    if let Event::Deprived { lease, forced: false } = *event
        && !is_excused(at, lease, book, bounds)
    {
        found.add(Rule::Kept, || format!("{lease} was lost with its tenure, and nothing had gone wrong"));
    }
}

/// Whether its sidecar could not talk to the store for a part of the tenure's life, the store forgot it, somebody took it, or a
/// clock did what no clock may.
fn is_excused(at: At, lease: Req, book: &Book, bounds: &Bounds) -> bool {
    let Some((sidecar, key)) = book.place_of(lease) else { return true };
    let known = book.sidecar(sidecar);
    let disturbed = known.disturbed_until > At(0) && at <= known.disturbed_until + bounds.tenure_ttl;
    let forgotten = book.flushed_at.is_some_and(|flushed| at <= flushed + bounds.longest + bounds.tenure_ttl);
    let forced = book.forces.iter().any(|force| (force.sidecar, force.key) == (sidecar, key));
    disturbed || forgotten || forced || known.froze_at.is_some() || !bounds.clocks_agree
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Tale, req};
    use super::*;

    const LOST: Event = Event::Deprived { lease: req(0, 0), forced: false };

    fn held() -> Tale {
        let mut tale = Tale::new();
        tale.acquire(5, req(0, 0)).issued(10, req(0, 0), 100, 10_000);
        tale
    }

    #[test]
    fn a_loss_wants_a_reason() {
        held().add(30_000, LOST).breaks(Rule::Kept);
        for (reason, excused) in [
            (Event::Flushed, true),
            (Event::Disturbed { sidecar: 0, until: At(25_000_000_000) }, true),
            (Event::Disturbed { sidecar: 0, until: At(15_000_000_000) }, false),
            (Event::Disturbed { sidecar: 1, until: At(25_000_000_000) }, false),
            (Event::Froze { sidecar: 0 }, true),
        ] {
            let mut tale = held();
            tale.add(14_000, reason).add(30_000, LOST);
            assert_eq!(!tale.rules().contains(&Rule::Kept), excused, "{reason:?}");
        }
    }
}
