//! The second of two upgrades of a key: each would wait for the other's share for ever (P16).
//!
//! Owns what the second is told: who the first is and, if both are owners, the ring. At another sidecar only that sidecar
//! knows whose upgrade it is, and is asked; the refusal does not depend on what it says, nor on whether it does.

use crate::cycle::{Cycle, Edge};
use crate::declaration::{Declaration, DeclaredWaiter};
use crate::effect::Refusal;
use crate::engine::Engine;
use crate::inquiry::Purpose;
use crate::model::{Incarnation, Mode, SessionId, StoreTime, Time};
use crate::upgrade::Upgrade;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Who upgrades at another sidecar, as that says.
struct Upgrader {
    waits: DeclaredWaiter,
    /// Since when it has its share; nothing if that is not among the holders named.
    holds_since: Option<StoreTime>,
}

impl Upgrader {
    fn of(declaration: &Declaration) -> Option<Upgrader> {
        let waits = declaration.waiters.iter().find(|waiter| waiter.upgrades)?.clone();
        let share = declaration.holders.iter().find(|holder| holder.upgrades);
        let holds_since = share.map(|share| share.who.since);
        Some(Upgrader { waits, holds_since })
    }
}

impl Engine {
    /// A session would upgrade this lease, and another of the key is being upgraded here.
    pub(crate) fn conflict_here(&self, now: Time, second: (SessionId, usize), first: Upgrade) -> Refusal {
        Refusal::UpgradeConflict {
            upgrader: self.config.incarnation,
            who: Some(Arc::new(self.waiter_party(now, first.waiter))),
            ring: self.ring_here(now, second, first).map(Arc::new),
        }
    }

    /// Who would upgrade this lease for a session and the other upgrader, each waiting for the other's share; nothing if
    /// one of them is no owner.
    fn ring_here(&self, now: Time, second: (SessionId, usize), first: Upgrade) -> Option<Cycle> {
        let waiter = &self.waiters[first.waiter];
        let waits_since = |session, lease: usize, other: usize, since: Time| {
            let (lease, other) = (&self.leases[lease], &self.leases[other]);
            Some(Edge {
                key: self.resources[lease.resource].key.clone(),
                mode: Mode::Exclusive,
                owner: self.owners.name(lease.owner()?).0.clone(),
                app: self.app_of(session),
                sidecar: self.config.incarnation,
                waiting_for: now.since(since),
                held_for: Some(now.since(other.since)),
            })
        };
        let told = waits_since(second.0, second.1, first.lease, now)?;
        let other = waits_since(waiter.session, first.lease, second.1, waiter.since)?;
        Some(Cycle { edges: vec![told, other] })
    }

    /// The store says that another sidecar's upgrade waits for our units: ours would wait for ever. It is told so as soon as
    /// that sidecar has said whose it is.
    pub(crate) fn ask_conflicted(&mut self, now: Time, resource: usize, upgrader: Incarnation) {
        self.drop_ask(now, resource);
        if !self.upgrades.contains_key(&resource) {
            return;
        }
        let key = self.resources[resource].key.clone();
        let wanted = vec![(upgrader, BTreeSet::from([key.clone()]))];
        let number = self.inquire(now, Purpose::Refusal { resource, upgrader }, vec![key], wanted);
        if let Some(upgrade) = self.upgrades.get_mut(&resource) {
            upgrade.refused_by = Some(number);
        }
        self.conclude_inquiry(now, number);
    }

    /// Whether the head of this queue is about to be refused: there is nothing to ask for.
    pub(crate) fn is_conflicted(&self, resource: usize) -> bool {
        !self.upgrades.is_empty()
            && self.upgrades.get(&resource).is_some_and(|upgrade| upgrade.refused_by.is_some())
    }

    /// The other sidecar said how it stands, or did not. Nothing happens if the upgrade is over meanwhile.
    pub(crate) fn refuse_conflicted(
        &mut self,
        now: Time,
        (resource, inquiry): (usize, u64),
        upgrader: Incarnation,
        said: Option<Declaration>,
    ) {
        let upgrade = self.upgrades.get(&resource).filter(|upgrade| upgrade.refused_by == Some(inquiry));
        let Some(&upgrade) = upgrade else { return };
        let other = said.and_then(|declaration| Upgrader::of(&declaration));
        let ring = other.as_ref().and_then(|other| self.ring_with(now, upgrade, upgrader, other));
        let who = other.map(|other| Arc::new(other.waits.who));
        let refusal = Refusal::UpgradeConflict { upgrader, who, ring: ring.map(Arc::new) };
        self.refuse_waiter(now, upgrade.waiter, refusal);
        self.serve(now, resource);
    }

    /// The two owners, here and at the other sidecar, each of whom would wait for the other's share.
    fn ring_with(&self, now: Time, mine: Upgrade, at: Incarnation, other: &Upgrader) -> Option<Cycle> {
        let (waiter, share) = (&self.waiters[mine.waiter], &self.leases[mine.lease]);
        let ago = |then: StoreTime| Duration::from_micros(self.link.store_time(now).0.saturating_sub(then.0));
        let told = Edge {
            key: self.resources[share.resource].key.clone(),
            mode: Mode::Exclusive,
            owner: self.owners.name(share.owner()?).0.clone(),
            app: self.app_of(waiter.session),
            sidecar: self.config.incarnation,
            waiting_for: now.since(waiter.since),
            held_for: Some(ago(other.holds_since?)),
        };
        let theirs = Edge {
            owner: other.waits.who.owner.as_ref()?.0.clone(),
            app: other.waits.who.app.clone(),
            sidecar: at,
            waiting_for: ago(other.waits.who.since),
            held_for: Some(now.since(share.since)),
            ..told.clone()
        };
        Some(Cycle { edges: vec![told, theirs] })
    }
}
