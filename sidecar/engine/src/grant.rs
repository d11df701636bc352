//! Grants: how a waiter whose turn it is becomes the holder of a lease.
//!
//! Owns what a tenure must be good for before that, and everything a new lease is entered in. Must not know whose turn it
//! is: that is `serve`, and for all keys of a group at once `group`.

use crate::acquire::Waiter;
use crate::effect::{EventKind, Grant, Path};
use crate::engine::Engine;
use crate::input::Life;
use crate::lease::Lease;
use crate::model::{Fence, Time};
use crate::mutant::Mutant;
use crate::once::Turn;
use crate::rate::Rate;
use crate::session::Slot;

impl Engine {
    /// Whether the tenure under this waiter's key is certain for long enough, and has fences left.
    pub(crate) fn can_grant(&self, now: Time, waiter: &Waiter) -> bool {
        // A lease that could be extended needs some time to be; a timed one needs all of its time confirmed (P5, P8).
        let reserve = self.config.tenure_ttl / 10;
        let until = match waiter.life {
            Life::Timed { ttl, .. } if !Mutant::TimedUnconfirmed.is(self.config.mutant) => ttl.max(reserve),
            _ => reserve,
        };
        let per = waiter.per().filter(|_| !Mutant::RateUnconfirmed.is(self.config.mutant));
        let until = per.map_or(until, |per| self.cooling_time(per).max(until));
        let tenure = self.resources[waiter.resource].tenure.as_ref();
        tenure.is_some_and(|tenure| tenure.is_good_until(now + until) && !tenure.fences.is_empty())
    }

    /// Makes a lease, under a tenure that [`Engine::can_grant`] it: in the place of the reservation, if there is one.
    pub(crate) fn grant(&mut self, now: Time, waiter: &Waiter, path: Path, reserved: Option<usize>) -> Grant {
        let resource = waiter.resource;
        let r = &mut self.resources[resource];
        let tenure = r.tenure.as_mut().expect("judged a moment ago");
        let mut fence = tenure.fences.issue().expect("judged a moment ago");
        if path == Path::Handoff && Mutant::HandoffRepeatsFence.is(self.config.mutant) {
            fence = r.issued;
        }
        r.issued = tenure.fences.issued();
        let confirmed = tenure.deadline;
        let tellable =
            self.sessions.get_mut(&waiter.session).map_or(confirmed, |session| session.tellable(confirmed));
        // A group's share may be granted while somebody waits to upgrade another.
        let upgrades = reserved.is_none() && self.is_upgrading(resource);
        let upgraded = if upgrades { self.upgrades.remove(&resource) } else { None };
        let index = match upgraded {
            Some(upgrade) => {
                self.exchange(now, upgrade.lease, fence, waiter, tellable);
                upgrade.lease
            }
            None => self.begin_lease(now, fence, waiter, tellable, reserved),
        };
        if let Some(owner) = waiter.owner.filter(|_| reserved.is_none()) {
            self.owners.stops_waiting(owner);
        }
        let lease = &self.leases[index];
        let (told, cap, secret) = (lease.told, lease.cap, lease.secret());
        let key = self.resources[resource].key.clone();
        let waited = now.since(waiter.since);
        let cap = (cap < Time::MAX).then_some(cap);
        Grant { key, mode: waiter.mode, fence, deadline: told, cap, secret, path, waited }
    }

    /// A new lease, of which its session knows.
    fn begin_lease(
        &mut self,
        now: Time,
        fence: Fence,
        waiter: &Waiter,
        tellable: Time,
        reserved: Option<usize>,
    ) -> usize {
        let resource = waiter.resource;
        let rate = waiter.per().map(|per| Rate { ends: now + per, cools: now + self.cooling_time(per) });
        let granted_at = self.link.store_time(now);
        let turn = waiter.window().map(|window| Turn { window, granted_at });
        let lease = Lease::new(now, resource, fence, waiter, rate, turn, tellable);
        let secret = lease.secret();
        let index = match reserved {
            Some(index) => {
                let among_live = self.leases[index].among_live;
                self.leases[index] = lease;
                self.leases[index].among_live = among_live;
                index
            }
            None => {
                self.tally.add(lease.uid);
                let index = self.leases.insert(lease);
                self.leases[index].among_live = self.resources[resource].live.add(index, waiter.mode);
                if let Some(owner) = waiter.owner {
                    self.owners.holds(owner, index);
                }
                index
            }
        };
        self.arm_lease(index);
        if let Some(secret) = secret {
            self.timed.insert(secret, index);
        }
        if let Some(session) = self.sessions.get_mut(&waiter.session) {
            let slot = if secret.is_some() { Slot::Timed(index) } else { Slot::Held(index) };
            session.settle(waiter.request, Some(slot));
        }
        index
    }

    /// What follows a grant, once its client is told.
    pub(crate) fn granted(&mut self, now: Time, waiter: &Waiter, kind: EventKind) {
        let resource = waiter.resource;
        self.event(resource, waiter.mode, waiter.session, waiter.request, kind);
        self.mark_use(now, resource);
        self.keep_in_touch(now, resource);
        // All the time of a timed one is confirmed.
        if !matches!(waiter.life, Life::Timed { .. }) && !Mutant::RenewalsNotResumed.is(self.config.mutant) {
            self.resume_renewals(now, resource);
        }
    }
}

/// The event of a grant.
pub(crate) fn event(grant: &Grant) -> EventKind {
    EventKind::Granted { fence: grant.fence, path: grant.path, waited: grant.waited }
}
