//! Changing the mode of a lease that is held: from shared to exclusive and back (P16).
//!
//! Owns both ways, and the rule that one lease of a key is upgraded at a time (what the second is told: `conflict.rs`). The
//! holder keeps its share while it waits, goes before everybody who waits, and has it as it was when
//! the upgrade is refused or cancelled. Must not know how the store queues an upgrade.

use crate::acquire::Waiter;
use crate::effect::{EventKind, Refusal, Reply};
use crate::ended::Ending;
use crate::engine::Engine;
use crate::input::{Change, Life, NewMode};
use crate::lease::{End, Lease, Missing};
use crate::model::{Fence, LeaseSecret, Mode, RequestId, SessionId, Time};
use crate::owners::Wait;
use crate::queue::Place;
use crate::reentry::Handle;
use std::collections::BTreeMap;
use std::time::Duration;

/// The upgrades under way: one per resource at most, and few resources have one.
pub(crate) type Upgrades = BTreeMap<usize, Upgrade>;

/// One upgrade under way. Its waiter is the first of its queue.
#[derive(Clone, Copy)]
pub(crate) struct Upgrade {
    pub(crate) waiter: usize,
    /// The shared lease, kept meanwhile.
    pub(crate) lease: usize,
    /// It will be refused because of another sidecar's, as soon as this inquiry says whose that is.
    pub(crate) refused_by: Option<u64>,
}

/// What an upgraded lease was: its holder has it again if it takes the upgrade back.
pub(crate) struct Share {
    session: SessionId,
    request: RequestId,
    secret: Option<LeaseSecret>,
    fence: Fence,
    since: Time,
}

impl Lease {
    /// What it was before it was upgraded.
    pub(crate) fn take_share(&mut self) -> Option<Box<Share>> {
        self.terms.as_mut()?.share.take()
    }

    /// Whether its owner is told of deadlocks when it upgrades. Only of owners there is something to tell.
    pub(crate) fn finds_deadlocks(&self) -> bool {
        self.terms.as_ref().is_none_or(|terms| !terms.unwatched)
    }
}

impl Engine {
    pub(crate) fn change(&mut self, now: Time, change: Change) {
        let (session, request) = (change.session, change.request);
        let changed = match (self.find_lease(session, change.lease), change.to) {
            (Ok(index), _) if !self.leases[index].inner_handles().is_empty() => Err(Refusal::NotUpgradable(
                "its owner entered it more than once: release the other handles first",
            )),
            (Ok(index), NewMode::Shared) => self.downgrade(now, index, session, request),
            (Ok(index), NewMode::Exclusive { wait, secret }) => {
                self.upgrade(now, index, (session, request), wait, secret)
            }
            (Err(Missing::Released), _) => Err(Refusal::NotFound),
            (Err(Missing::Refused(refusal)), _) => Err(refusal),
        };
        if let Err(refusal) = changed {
            self.reply(session, request, Reply::Refused(refusal));
        }
    }

    /// The lease stays, with its fence and its deadline, and others come in beside it. Nothing to do for a shared one.
    fn downgrade(
        &mut self,
        now: Time,
        index: usize,
        session: SessionId,
        request: RequestId,
    ) -> Result<(), Refusal> {
        let lease = &mut self.leases[index];
        let was = lease.mode;
        if let Mode::Permits { .. } = was {
            return Err(Refusal::NotUpgradable("permits of a semaphore have no mode to change"));
        }
        if self.pins.holds(index) {
            let what = "an operation under its fence is under way: downgrade when that is answered";
            return Err(Refusal::BadRequest(what));
        }
        if lease.turn().is_some() {
            return Err(Refusal::NotUpgradable("a turn of a once key is exclusive"));
        }
        lease.mode = Mode::Shared;
        // Whatever it was before, this is what it is now.
        lease.take_share();
        let (resource, fence) = (lease.resource, lease.fence);
        let cap = Some(lease.cap).filter(|&cap| cap < Time::MAX);
        let reply = Reply::Downgraded { deadline: lease.told, cap, fence };
        let holder = (lease.session, lease.request);
        self.reply(session, request, reply);
        if was == Mode::Exclusive {
            self.resources[resource].live.set_exclusive(false);
            self.event(resource, Mode::Shared, holder.0, holder.1, EventKind::Downgraded { fence });
            self.serve(now, resource);
        }
        Ok(())
    }

    /// Puts the holder of a share at the head of the queue, to wait for all.
    fn upgrade(
        &mut self,
        now: Time,
        index: usize,
        (session, request): (SessionId, RequestId),
        wait: Option<Duration>,
        secret: LeaseSecret,
    ) -> Result<(), Refusal> {
        let lease = &self.leases[index];
        let (resource, uid, owner) = (lease.resource, lease.uid, lease.owner());
        let find_deadlocks = lease.finds_deadlocks();
        let life = match lease.is_timed() {
            true => Life::Timed { secret, ttl: Duration::ZERO },
            false => Life::Session { ttl: None },
        };
        self.admit_upgrade(now, index, session, request)?;
        if let Some(owner) = owner {
            self.refuse_nested_upgrade(now, (owner, session), resource, wait, find_deadlocks)?;
        }
        let owner = owner.map(|owner| self.owners.get(owner).id.clone());
        let waiter = self.insert_waiter(Waiter {
            resource,
            session,
            request,
            mode: Mode::Exclusive,
            place: Place::before_all(self.arrivals),
            priority: 0,
            since: now,
            until: Time::MAX,
            wait,
            life,
            max_hold: None,
            owner: None,
            find_deadlocks,
            special: None,
            uid,
            met_others: true,
        });
        let since = self.link.store_time(now);
        self.waiters[waiter].owner =
            owner.map(|owner| self.owners.waits(owner, Wait::Request(waiter), since));
        self.upgrades.insert(resource, Upgrade { waiter, lease: index, refused_by: None });
        self.begin_waiting(now, waiter, false);
        Ok(())
    }

    fn admit_upgrade(
        &self,
        now: Time,
        index: usize,
        session: SessionId,
        request: RequestId,
    ) -> Result<(), Refusal> {
        let lease = &self.leases[index];
        match lease.mode {
            Mode::Shared => {}
            Mode::Exclusive => {
                return Err(Refusal::NotUpgradable(
                    "the lease is exclusive already: only a shared one is upgraded",
                ));
            }
            Mode::Permits { .. } => {
                return Err(Refusal::NotUpgradable("permits of a semaphore have no mode to change"));
            }
        }
        self.admit_request(session, request)?;
        let waits = |owner| {
            let actor = self.owners.get(owner);
            actor.wait.is_some() || self.has_reserved_all(&actor.id)
        };
        if lease.owner().is_some_and(waits) {
            return Err(Refusal::BadRequest("its owner waits for something else already"));
        }
        match self.upgrades.get(&lease.resource) {
            None => Ok(()),
            Some(other) if other.lease == index => {
                Err(Refusal::BadRequest("an upgrade of this lease is under way already"))
            }
            Some(&other) => Err(self.conflict_here(now, (session, index), other)),
        }
    }

    /// Whether the head of this queue keeps a share of the key.
    pub(crate) fn is_upgrading(&self, resource: usize) -> bool {
        !self.upgrades.is_empty() && self.upgrades.contains_key(&resource)
    }

    /// Whether this waiter keeps a share of what it waits for.
    pub(crate) fn is_upgrade(&self, waiter: usize) -> bool {
        let upgrade = self.upgrades.get(&self.waiters[waiter].resource);
        upgrade.is_some_and(|upgrade| upgrade.waiter == waiter)
    }

    /// Whether this lease is the share that an upgrade keeps.
    pub(crate) fn is_being_upgraded(&self, resource: usize, lease: usize) -> bool {
        self.upgrades.get(&resource).is_some_and(|upgrade| upgrade.lease == lease)
    }

    /// A waiter leaves its queue. If it was an upgrade, its share stays as it is.
    pub(crate) fn forget_upgrade(&mut self, resource: usize, waiter: usize) {
        if self.upgrades.get(&resource).is_some_and(|upgrade| upgrade.waiter == waiter) {
            self.upgrades.remove(&resource);
        }
    }

    /// A lease ends: there is nothing left to upgrade.
    pub(crate) fn end_upgrade_of(&mut self, now: Time, resource: usize, lease: usize, end: End) {
        let refusal = match end {
            End::Released | End::Finished => {
                Refusal::NotUpgradable("the shared lease was released meanwhile")
            }
            End::Lost(reason) => Refusal::LeaseLost(reason),
        };
        if let Some(&Upgrade { waiter, .. }) =
            self.upgrades.get(&resource).filter(|upgrade| upgrade.lease == lease)
        {
            self.refuse_waiter(now, waiter, refusal);
        }
    }

    /// Turns the share into all of the key, under a new name and a new fence, in one step. What ends it stays: an upgrade
    /// is no renewal.
    pub(crate) fn exchange(
        &mut self,
        now: Time,
        index: usize,
        fence: Fence,
        waiter: &Waiter,
        tellable: Time,
    ) {
        let lease = &mut self.leases[index];
        let share = Share {
            session: lease.session,
            request: lease.request,
            secret: lease.secret(),
            fence: lease.fence,
            since: lease.since,
        };
        let (resource, held) = (lease.resource, now.since(lease.since));
        let (session, request) = (share.session, share.request);
        let secret = match waiter.life {
            Life::Timed { secret, .. } => Some(secret),
            Life::Session { .. } => None,
        };
        let name = Handle { session: waiter.session, request: waiter.request, secret };
        self.rename(index, name);
        let kind = EventKind::Released { fence: share.fence, held };
        self.event(resource, Mode::Shared, session, request, kind);
        let lease = &mut self.leases[index];
        lease.mode = Mode::Exclusive;
        lease.fence = fence;
        lease.since = now;
        lease.told = if secret.is_some() { lease.cap } else { tellable.min(lease.cap) };
        lease.terms().share = Some(Box::new(share));
        self.resources[resource].live.set_exclusive(true);
    }

    /// An upgrade that was granted is taken back before anybody relied on it: the share is what it was. The caller serves
    /// the resource. Nothing happens if the lease was not upgraded.
    pub(crate) fn take_back(&mut self, now: Time, index: usize) -> Option<usize> {
        if self.pins.holds(index) {
            return None;
        }
        let lease = &mut self.leases[index];
        let share = lease.take_share()?;
        let (resource, session, request) = (lease.resource, lease.session, lease.request);
        let kind = EventKind::Released { fence: lease.fence, held: now.since(lease.since) };
        let name = Handle { session: share.session, request: share.request, secret: share.secret };
        self.rename(index, name);
        self.event(resource, Mode::Exclusive, session, request, kind);
        let lease = &mut self.leases[index];
        lease.mode = Mode::Shared;
        lease.fence = share.fence;
        lease.since = share.since;
        self.resources[resource].live.set_exclusive(false);
        let kind = EventKind::Downgraded { fence: share.fence };
        self.event(resource, Mode::Shared, share.session, share.request, kind);
        Some(resource)
    }

    /// The lease is known by another name from now on; by the old one it was released.
    pub(crate) fn rename(&mut self, index: usize, name: Handle) {
        let lease = &mut self.leases[index];
        let (old, ending) = (lease.handle(), Ending { uid: lease.uid, lost: None });
        (lease.session, lease.request) = (name.session, name.request);
        if name.secret.is_some() {
            lease.terms().secret = name.secret;
        }
        self.forget_handle(old, ending);
        if let Some(secret) = name.secret {
            self.timed.insert(secret, index);
        }
        if let Some(holder) = self.sessions.get_mut(&name.session) {
            holder.settle(name.request, Some(name.slot(index)));
        }
    }
}
