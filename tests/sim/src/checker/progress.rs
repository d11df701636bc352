//! That things move: offers are taken up, free keys are granted, tries succeed where nobody holds.
//!
//! Owns L1, L3, S8's "after that it moves on", and P10. All bounds are on time, so none is judged while a sidecar is
//! disturbed, nor for [`Bounds::settle`] after.

use super::book::Book;
use super::bounds::RATES_DIFFER_MAX;
use super::history::{Answer, At, Bounds, Event, Refused, Req, Sent};
use super::value::Asked;
use super::{Findings, Rule, slot};
use std::time::Duration;

/// An operation on a register, or the finish of a turn, is resolved so long after it was sent, whoever waits for it.
const UNRESOLVED_MAX: Duration = Duration::from_millis(2100);

/// One key, as the sidecars see it.
#[derive(Default)]
struct KeyState {
    /// Leases, with their sidecars.
    live: Vec<(Req, u32)>,
    /// Acquires in a sidecar, not answered yet: name, sidecar, since when, and whether it is a try.
    present: Vec<(Req, u32, At, bool)>,
    /// Requests for several keys that want this one besides: it may be reserved for them, or wait for another key.
    groups: Vec<(Req, u32)>,
    /// The last lease ended then.
    idle_since: At,
    /// A waiter, or an offer, went away then, and what had been asked for in the store with it.
    last_dropped: At,
    /// Somebody held or somebody else asked until then.
    busy_until: At,
    /// Units of a rate that were granted come back by then.
    cooled: At,
    /// A sidecar died, or had given up what the store holds for it since a loss of data: that is free by then.
    recovered: At,
    /// Tries that were refused though nobody held or asked meanwhile.
    odd_tries: Vec<Req>,
    /// Operations on a register that are bound to a lease of this key, and finishes of a turn, and when they were sent: it stays
    /// taken until they are resolved (P17, P18), though the lease may end before.
    bound: Vec<(Req, At)>,
    /// Offers, by sidecar: since when.
    offers: Vec<(u32, At)>,
}

/// The rules on progress.
#[derive(Default)]
pub(super) struct Progress {
    keys: Vec<KeyState>,
}

impl Progress {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Arrived { of } => {
                if let (Some((acquire, sidecar)), Some(request)) = (book.acquire(of), book.request(of)) {
                    let state = slot(&mut self.keys, acquire.key);
                    state.touch(at);
                    if acquire.group.is_some() {
                        state.groups.push((of, sidecar));
                        return;
                    }
                    state.present.push((of, sidecar, at, request.is_try()));
                    state.touch(at);
                }
            }
            Event::Issued { lease, .. } => self.issued(at, lease, book, bounds, found),
            Event::Dropped { of } => self.dropped(at, of, book, bounds, found),
            Event::Shared { lease } => {
                if let Some((acquire, sidecar)) = book.acquire(lease) {
                    let live = &mut slot(&mut self.keys, acquire.key).live;
                    live.retain(|(other, _)| *other != lease);
                    live.push((lease, sidecar));
                }
            }
            Event::Done { lease, .. } => {
                if let Some((acquire, _)) = book.acquire(lease) {
                    slot(&mut self.keys, acquire.key).done(at, |(other, _)| *other == lease);
                }
            }
            Event::Answered { of, answer: Answer::Refused(Refused::Held) } => self.held(of, book, found),
            Event::Sent { of, what: Sent::Register(Asked { under: Some(key), .. }) } => {
                slot(&mut self.keys, key).bound.push((of, at));
            }
            Event::Sent { of, what: Sent::Finish { lease } } => {
                if let Some((acquire, _)) = book.acquire(lease) {
                    slot(&mut self.keys, acquire.key).bound.push((of, at));
                }
            }
            Event::Answered { of, .. } => self.resolved(at, of),
            Event::Crashed { sidecar } => self.crashed(at, sidecar, bounds),
            Event::Offered { sidecar, key, .. } => slot(&mut self.keys, key).offers.push((sidecar, at)),
            Event::Seated { sidecar, key, .. }
            | Event::Left { sidecar, key }
            | Event::Entered { sidecar, key, .. } => {
                self.answered_offer(at, sidecar, key, book, bounds, found);
            }
            // Whoever is offered it next may not hear of that before it asks again.
            Event::OfferTaken { key } => {
                self.idle(at, key as usize, book, bounds, found);
                slot(&mut self.keys, key).last_dropped = at;
            }
            // Nobody renews it, as if its owner were dead. What prevents that is only lost with the data.
            Event::Haunted { key, .. } if book.lost_data_lately(at, bounds) => {
                let state = slot(&mut self.keys, key);
                state.recovered = state.recovered.max(recovered_by(at, bounds));
            }
            Event::Flushed => self.keys.iter_mut().for_each(|state| state.offers.clear()),
            Event::Evicted { key } => slot(&mut self.keys, key).offers.clear(),
            Event::Rest(_) => {
                for key in 0..self.keys.len() {
                    self.idle(at, key, book, bounds, found);
                }
            }
            _ => {}
        }
    }

    /// This operation, if it was one on a register or a finish, is resolved.
    fn resolved(&mut self, at: At, of: Req) {
        for state in &mut self.keys {
            let before = state.bound.len();
            state.bound.retain(|(bound, _)| *bound != of);
            if state.bound.len() < before {
                state.busy_until = state.busy_until.max(at);
            }
        }
    }

    fn issued(&mut self, at: At, lease: Req, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let Some((acquire, sidecar)) = book.acquire(lease) else {
            return;
        };
        self.idle(at, acquire.key as usize, book, bounds, found);
        let state = slot(&mut self.keys, acquire.key);
        state.touch(at);
        state.groups.retain(|(of, _)| *of != lease);
        state.present.retain(|(of, ..)| *of != lease);
        state.live.push((lease, sidecar));
        if let Some(per) = acquire.per {
            state.cooled = state.cooled.max(at + per.mul_f64(1.0 + RATES_DIFFER_MAX));
        }
    }

    fn dropped(&mut self, at: At, of: Req, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let Some((acquire, _)) = book.acquire(of) else {
            return;
        };
        self.idle(at, acquire.key as usize, book, bounds, found);
        let state = slot(&mut self.keys, acquire.key);
        state.touch(at);
        if acquire.group.is_some() {
            state.groups.retain(|(other, _)| *other != of);
            state.last_dropped = at;
            return;
        }
        let Some(index) = state.present.iter().position(|(other, ..)| *other == of) else {
            return;
        };
        let (_, _, since, is_try) = state.present.swap_remove(index);
        let calm = book.calm_since(bounds) <= since && state.recovered <= since;
        if is_try
            && calm
            && state.bound.iter().all(|(_, sent)| *sent + UNRESOLVED_MAX < since)
            && state.busy_until.max(state.cooled) < since
            && bounds.pushes_arrive
        {
            state.odd_tries.push(of);
        }
        state.last_dropped = at;
    }

    fn held(&mut self, of: Req, book: &Book, found: &mut Findings) {
        if let Some((acquire, _)) = book.acquire(of)
            && slot(&mut self.keys, acquire.key).odd_tries.contains(&of)
        {
            found.add(Rule::TryRefused, || {
                format!("key {}: {of} was refused as held, but nobody held or waited", acquire.key)
            });
        }
    }

    fn crashed(&mut self, at: At, sidecar: u32, bounds: &Bounds) {
        for state in &mut self.keys {
            state.touch(at);
            state.done(at, |(_, on)| *on == sidecar);
            state.present.retain(|(_, on, ..)| *on != sidecar);
            state.groups.retain(|(_, on)| *on != sidecar);
            state.offers.retain(|(on, _)| *on != sidecar);
            state.recovered = recovered_by(at, bounds);
        }
    }

    /// Nobody holds the key: had one who waits to be served by now?
    fn idle(&mut self, at: At, key: usize, book: &Book, bounds: &Bounds, found: &mut Findings) {
        let Some(state) = self.keys.get(key) else {
            return;
        };
        let waiters = state.present.iter().filter(|(.., is_try)| !is_try);
        let Some((of, _, since, _)) = waiters.min_by_key(|(_, _, since, _)| *since) else {
            return;
        };
        if !state.live.is_empty() || !state.groups.is_empty() {
            return;
        }
        let calm = book.calm_since(bounds);
        let from = (*since).max(state.idle_since).max(state.last_dropped).max(state.cooled).max(calm);
        let by = from + bounds.retention + bounds.wake_max + 2 * bounds.round_trip + bounds.slack;
        if at > by.max(state.recovered) {
            found.add(Rule::Idle, || {
                format!(
                    "key {key}: nobody holds it since {}, {of} waits since {since} and should have got it by {by}",
                    state.idle_since
                )
            });
        }
    }

    fn answered_offer(
        &mut self,
        at: At,
        sidecar: u32,
        key: u32,
        book: &Book,
        bounds: &Bounds,
        found: &mut Findings,
    ) {
        let offers = &mut slot(&mut self.keys, key).offers;
        let Some(index) = offers.iter().position(|(to, _)| *to == sidecar) else {
            return;
        };
        let (_, since) = offers.swap_remove(index);
        let disturbed = book.sidecar(sidecar).disturbed_until;
        let alive = !book.sidecar(sidecar).crashed;
        if alive && disturbed <= since && at > since + bounds.wake_max + bounds.round_trip + bounds.slack {
            found.add(Rule::Wake, || {
                format!("key {key}: sidecar {sidecar} did not take up or decline the offer of {since}")
            });
        }
    }
}

/// What nobody renews any more is free by then, and whoever waits for it has it (L6).
fn recovered_by(at: At, bounds: &Bounds) -> At {
    at + bounds.longest.mul_f64(1.01) + Duration::from_secs(1) + bounds.slack
}

impl KeyState {
    /// Notes whether somebody holds, or more than one asks, around a change at `at`.
    fn touch(&mut self, at: At) {
        if !self.live.is_empty() || !self.groups.is_empty() || self.present.len() > 1 {
            self.busy_until = at;
        }
    }

    fn done(&mut self, at: At, which: impl Fn(&(Req, u32)) -> bool) {
        self.touch(at);
        let before = self.live.len();
        self.live.retain(|live| !which(live));
        if self.live.is_empty() && before > 0 {
            self.idle_since = at;
        }
    }
}
