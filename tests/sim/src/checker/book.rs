//! Who is who in a history: sessions, their requests, and where each stands.
//!
//! Owns what more than one rule needs to look up. Must not judge, except whether the history makes sense at all.

use super::history::{Acquire, Answer, At, Bounds, Event, Req, Sent, Wait};
use super::{Findings, Rule, slot};
use std::collections::{BTreeMap, BTreeSet};

/// A session.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) known: bool,
    pub(super) sidecar: u32,
    pub(super) uid: u32,
    /// The client hung up, or saw that the sidecar did and did not come back.
    pub(super) closed: bool,
    pub(super) requests: Vec<Option<Request>>,
}

/// A request, of any kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) sent_at: At,
    pub(super) what: Sent,
    pub(super) answers: u32,
    pub(super) cancels: u32,
    pub(super) cancels_answered: u32,
    /// Of an acquire: the sidecar decided to grant it then.
    pub(super) issued_at: Option<At>,
    /// It reached its sidecar then.
    pub(super) arrived_at: Option<At>,
    /// Its connection is gone: nobody will read an answer.
    pub(super) void: bool,
}

/// An incarnation of a sidecar.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sidecar {
    pub(super) crashed: bool,
    /// Bounds on time do not hold before.
    pub(super) disturbed_until: At,
    /// … nor do tenures: they may go unrenewed.
    pub(super) unsure_until: At,
    pub(super) froze_at: Option<At>,
}

/// Who is who.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) sessions: Vec<Session>,
    pub(super) sidecars: Vec<Sidecar>,
    /// Bounds on time that concern all sidecars do not hold before.
    pub(super) disturbed_until: At,
    /// The store lost its data then, last.
    pub(super) flushed_at: Option<At>,
    /// The lowest fence of each key that was reserved since, if one was, and for whom some were.
    remembered: BTreeMap<u32, u64>,
    seated: BTreeSet<(u32, u32)>,
    /// Tenures taken by order.
    pub(super) forces: Vec<Force>,
}

/// A tenure that was taken by order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Force {
    pub(super) sidecar: u32,
    pub(super) key: u32,
    /// The highest fence that leases of it can have.
    pub(super) last: u64,
    /// The store lost its data since, and with them whom to tell.
    pub(super) forgotten: bool,
}

impl Book {
    pub(super) fn session(&self, number: u32) -> Option<&Session> {
        self.sessions.get(number as usize).filter(|session| session.known)
    }

    pub(super) fn request(&self, of: Req) -> Option<&Request> {
        self.session(of.session)?.requests.get(of.request as usize)?.as_ref()
    }

    /// The acquire of this name, and the sidecar it was sent to.
    pub(super) fn acquire(&self, of: Req) -> Option<(Acquire, u32)> {
        match self.request(of)?.what {
            Sent::Acquire(acquire) => Some((acquire, self.session(of.session)?.sidecar)),
            _ => None,
        }
    }

    /// Whether who sent `of` may speak for `lease`: its session, or for a timed lease a session of the same user on the
    /// same incarnation (S4, S5).
    pub(super) fn entitled(&self, of: Req, lease: Req) -> bool {
        let (Some(speaker), Some(holder)) = (self.session(of.session), self.session(lease.session)) else {
            return false;
        };
        let timed = self.acquire(lease).is_some_and(|(acquire, _)| acquire.timed);
        of.session == lease.session
            || (timed && speaker.uid == holder.uid && speaker.sidecar == holder.sidecar)
    }

    /// Whether a lease was granted before its host's clock stood still: what was told of it proves nothing any more (A1).
    pub(super) fn predates_freeze(&self, lease: Req) -> bool {
        let (Some(request), Some(session)) = (self.request(lease), self.session(lease.session)) else {
            return false;
        };
        let granted = request.issued_at.unwrap_or(request.sent_at);
        self.sidecar(session.sidecar).froze_at.is_some_and(|froze| granted <= froze)
    }

    /// The store lost its data: until the leases of before have run out, those of after may overlap them, with greater tokens
    /// (S6). Not where the store is strict.
    pub(super) fn has_amnesia(&self, at: At, bounds: &Bounds) -> bool {
        !bounds.strict && self.flushed_at.is_some_and(|flushed| at <= flushed + bounds.longest)
    }

    /// Whether the store still knows the tenure that this fence of the key was granted under: it lost no data since.
    pub(super) fn remembers(&self, key: u32, fence: u64) -> bool {
        self.flushed_at.is_none() || self.remembered.get(&key).is_some_and(|first| fence >= *first)
    }

    /// Whether this sidecar had fences of the key reserved since the store lost its data.
    pub(super) fn has_seated(&self, sidecar: u32, key: u32) -> bool {
        self.flushed_at.is_none() || self.seated.contains(&(sidecar, key))
    }

    /// What the store knew to be over it may have forgotten with its data.
    pub(super) fn lost_data_lately(&self, at: At, bounds: &Bounds) -> bool {
        self.flushed_at.is_some_and(|flushed| at <= flushed + bounds.settle)
    }

    /// Whether a lease with this fence stood, or stands, on a tenure that was taken by order (P19).
    pub(super) fn was_forced(&self, lease: Req, fence: u64) -> bool {
        self.force_of(lease, fence).is_some()
    }

    /// Tenures of the lease's sidecar and key that were taken by order, and below whose last fence this one is not.
    pub(super) fn forces_before(&self, lease: Req, fence: u64) -> impl Iterator<Item = &Force> {
        let place = self.place_of(lease);
        self.forces
            .iter()
            .filter(move |force| Some((force.sidecar, force.key)) == place && fence > force.last)
    }

    /// The order that took the tenure on which a lease with this fence stood, if one did.
    pub(super) fn force_of(&self, lease: Req, fence: u64) -> Option<&Force> {
        let place = self.place_of(lease)?;
        let of_it =
            self.forces.iter().filter(|force| (force.sidecar, force.key) == place && fence <= force.last);
        of_it.min_by_key(|force| force.last)
    }

    /// The sidecar and the key of an acquire.
    pub(super) fn place_of(&self, lease: Req) -> Option<(u32, u32)> {
        self.acquire(lease).map(|(acquire, sidecar)| (sidecar, acquire.key))
    }

    /// Since when the last disturbance has left no trace.
    pub(super) fn calm_since(&self, bounds: &Bounds) -> At {
        match self.disturbed_until {
            At(0) => At(0),
            until => until + bounds.settle,
        }
    }

    pub(super) fn sidecar(&self, number: u32) -> Sidecar {
        self.sidecars.get(number as usize).copied().unwrap_or_default()
    }

    pub(super) fn see(&mut self, at: At, event: &Event, found: &mut Findings) {
        match *event {
            Event::Opened { session, sidecar, uid } => {
                let entry = slot(&mut self.sessions, session);
                if entry.known {
                    found.add(Rule::Recording, || format!("session {session} opened twice"));
                }
                *entry = Session { known: true, sidecar, uid, ..Session::default() };
            }
            Event::Sent { of, what } => self.sent(at, of, what, found),
            Event::Answered { of, answer } => match self.request_mut(of) {
                Some(request) if answer == Answer::Cancelled => request.cancels_answered += 1,
                Some(request) => request.answers += 1,
                None => {}
            },
            Event::HungUp { session } | Event::EofSeen { session } => {
                let entry = slot(&mut self.sessions, session);
                entry.closed = true;
                for request in entry.requests.iter_mut().flatten() {
                    request.void = true;
                }
            }
            Event::Resumed { session } => slot(&mut self.sessions, session).closed = false,
            Event::Arrived { of } => match self.request_mut(of) {
                Some(request) => request.arrived_at = Some(at),
                None => found.add(Rule::Recording, || format!("{of} arrived but was never sent")),
            },
            Event::Issued { lease, .. } => match self.request_mut(lease) {
                Some(request) => request.issued_at = Some(at),
                None => found.add(Rule::OneAnswer, || format!("{lease} was granted but never sent")),
            },
            Event::Crashed { sidecar } => slot(&mut self.sidecars, sidecar).crashed = true,
            Event::Froze { sidecar } => slot(&mut self.sidecars, sidecar).froze_at = Some(at),
            Event::Disturbed { sidecar, until } | Event::AsksRefused { sidecar, until } => {
                let entry = slot(&mut self.sidecars, sidecar);
                entry.disturbed_until = entry.disturbed_until.max(until);
                if matches!(event, Event::Disturbed { .. }) {
                    entry.unsure_until = entry.unsure_until.max(until);
                }
                self.disturbed_until = self.disturbed_until.max(until);
            }
            Event::Flushed => {
                self.flushed_at = Some(at);
                self.remembered.clear();
                self.seated.clear();
                self.forces.iter_mut().for_each(|force| force.forgotten = true);
            }
            // What that excuses is excused for all keys.
            Event::Evicted { key } => {
                self.flushed_at = Some(at);
                self.remembered.remove(&key);
                self.seated.retain(|(_, of)| *of != key);
                self.forces.iter_mut().for_each(|force| force.forgotten |= force.key == key);
            }
            Event::Forced { sidecar, key, last } => {
                self.forces.push(Force { sidecar, key, last, forgotten: false });
            }
            // Where the store's clock went back and a key was forgotten tokens come again; that they may not otherwise is another
            // rule. From now on they stand for this.
            Event::Reserved { sidecar, key, first, .. } => {
                self.remembered.entry(key).or_insert(first);
                self.seated.insert((sidecar, key));
                self.forces
                    .retain(|force| (force.sidecar, force.key) != (sidecar, key) || first > force.last);
            }
            _ => {}
        }
    }

    fn sent(&mut self, at: At, of: Req, what: Sent, found: &mut Findings) {
        if !slot(&mut self.sessions, of.session).known {
            found.add(Rule::Recording, || format!("{of} was sent before its session was opened"));
        }
        let entry = slot(&mut slot(&mut self.sessions, of.session).requests, of.request);
        match (entry, what) {
            (Some(request), Sent::Cancel) => request.cancels += 1,
            (Some(_), _) => found.add(Rule::Recording, || format!("{of} was sent twice")),
            (None, Sent::Cancel) => found.add(Rule::Recording, || format!("{of} was cancelled, never sent")),
            (entry, what) => {
                *entry = Some(Request {
                    sent_at: at,
                    what,
                    answers: 0,
                    cancels: 0,
                    cancels_answered: 0,
                    issued_at: None,
                    arrived_at: None,
                    void: false,
                });
            }
        }
    }

    fn request_mut(&mut self, of: Req) -> Option<&mut Request> {
        self.sessions.get_mut(of.session as usize)?.requests.get_mut(of.request as usize)?.as_mut()
    }
}

impl Request {
    /// A try.
    pub(super) fn is_try(&self) -> bool {
        matches!(self.what, Sent::Acquire(acquire) if acquire.wait == Wait::Try)
    }
}
