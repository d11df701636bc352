//! Deadlocks among the owners of this sidecar (P14): found the moment they come to be.
//!
//! Owns when they are looked for, and what becomes of the one that is told. Must not know other sidecars, nor how a graph
//! is searched.
//!
//! A deadlock can only come to be when somebody begins to wait, and then that one is in it. So it is enough to look who
//! waits for it, directly or not: mostly nobody does.

use crate::acquire::Waiter;
use crate::cycle::{Cycle, Edge};
use crate::effect::Refusal;
use crate::engine::Engine;
use crate::input::Acquire;
use crate::model::{Mode, SessionId, Time};
use crate::mutant::Mutant;
use crate::owners::{OwnerNo, Wait};
use crate::queue::Place;
use crate::wait_graph::{Rank, WaitGraph, Why};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Owners looked at in one search. A crowd beyond it is cut off, which can hide a deadlock and never invents one.
const OWNERS_SEARCHED_MAX: usize = 4096;
/// So many leases of an owner are looked through whoever waits.
const FEW_LEASES: usize = 8;

impl Engine {
    /// An owner that holds what stands in its own way would wait for itself: it is told at once.
    pub(crate) fn refuse_nested(
        &self,
        now: Time,
        owner: OwnerNo,
        resource: usize,
        acquire: &Acquire,
    ) -> Result<(), Refusal> {
        let own = self.bound_there(owner, resource);
        let held: u64 = own.map(|lease| u64::from(lease.mode.units())).sum();
        if held + u64::from(acquire.mode.units()) <= u64::from(acquire.mode.limit()) {
            return Ok(());
        }
        let Acquire { session, mode, wait, find_deadlocks, .. } = *acquire;
        self.refuse_in_its_own_way(now, (owner, session), (resource, mode), wait, find_deadlocks)
    }

    /// An owner that upgrades one of several shares waits for the others, which are its own: it is told at once.
    pub(crate) fn refuse_nested_upgrade(
        &self,
        now: Time,
        (owner, session): (OwnerNo, SessionId),
        resource: usize,
        wait: Option<Duration>,
        find_deadlocks: bool,
    ) -> Result<(), Refusal> {
        match self.bound_there(owner, resource).count() {
            0 | 1 => Ok(()),
            _ => {
                let wanted = (resource, Mode::Exclusive);
                self.refuse_in_its_own_way(now, (owner, session), wanted, wait, find_deadlocks)
            }
        }
    }

    fn refuse_in_its_own_way(
        &self,
        now: Time,
        (owner, session): (OwnerNo, SessionId),
        (resource, mode): (usize, Mode),
        wait: Option<Duration>,
        find_deadlocks: bool,
    ) -> Result<(), Refusal> {
        if wait == Some(Duration::ZERO) {
            return Err(Refusal::Held);
        }
        if !find_deadlocks || Mutant::DeadlocksIgnored.is(self.config.mutant) {
            return Ok(());
        }
        let own = self.bound_there(owner, resource);
        let edge = Edge {
            key: self.resources[resource].key.clone(),
            mode,
            owner: self.owners.name(owner).0.clone(),
            app: self.app_of(session),
            sidecar: self.config.incarnation,
            waiting_for: Duration::ZERO,
            held_for: own.map(|lease| now.since(lease.since)).max(),
        };
        Err(Refusal::Deadlock(Arc::new(Cycle { edges: vec![edge] })))
    }

    /// An owner has begun to wait: if that closed a ring, one of it is told, until there is none or it waits no longer.
    pub(crate) fn break_deadlocks(&mut self, now: Time, waiter: usize) {
        while self.owners.entangled() > 0
            && !Mutant::DeadlocksIgnored.is(self.config.mutant)
            && let Some(owner) = self.waiters.get(waiter).and_then(|waiter| waiter.owner)
            && let Some(waiting) = self.waiting_for(owner)
        {
            let graph = LocalGraph::of(self, waiting);
            let Some(knot) = graph.search.knots().into_iter().next() else { return };
            let ring: Vec<(OwnerNo, Why)> =
                knot.ring.into_iter().map(|(owner, why)| (graph.owners[owner], why)).collect();
            let Some(victim) = self.waiter_of(ring[0].0) else { return };
            let resource = self.waiters[victim].resource;
            let cycle = Arc::new(self.tell_ring(now, &ring));
            self.refuse_waiter(now, victim, Refusal::Deadlock(cycle));
            self.serve(now, resource);
        }
    }

    /// Who waits for this owner, directly or not, with itself; nothing if it does not wait for itself. No line is walked twice,
    /// however many of those who stand in it are met.
    fn waiting_for(&self, owner: OwnerNo) -> Option<BTreeSet<OwnerNo>> {
        self.waiter_of(owner)?;
        let mut all = BTreeSet::from([owner]);
        let mut new = vec![owner];
        let mut closed = false;
        let mut lines = None;
        // From this place on, or `None` as a whole.
        let mut walked: BTreeMap<usize, Option<Place>> = BTreeMap::new();
        while let Some(blocker) = new.pop() {
            let mut found = |waiting: OwnerNo| {
                closed |= waiting == owner;
                if all.len() < OWNERS_SEARCHED_MAX && all.insert(waiting) {
                    new.push(waiting);
                }
            };
            for resource in self.waited_for_of(blocker, &mut lines) {
                if walked.insert(resource, None) != Some(None) {
                    self.owners_in_line(resource).for_each(&mut found);
                }
            }
            if let Some(waiter) = self.waiter_of(blocker) {
                let Waiter { resource, place, .. } = self.waiters[waiter];
                let before = walked.get(&resource).copied();
                if before.is_none_or(|from| from.is_some_and(|from| place < from)) {
                    let behind =
                        self.resources[resource].queue.behind(place).map(|waiter| &self.waiters[waiter]);
                    let unwalked =
                        behind.take_while(|waiter| before.flatten().is_none_or(|from| waiter.place <= from));
                    self.owners_of(unwalked).for_each(&mut found);
                    walked.insert(resource, Some(place));
                }
            }
        }
        closed.then_some(all)
    }

    /// Keys that this owner has something of and somebody may wait for: looked for among what it has, or among `lines`, all that
    /// owners wait for, should it have much. They are looked up once in a search.
    fn waited_for_of(&self, owner: OwnerNo, lines: &mut Option<BTreeSet<usize>>) -> Vec<usize> {
        let waited_for = |resource: &usize| !self.resources[*resource].queue.is_empty();
        if self.owners.get(owner).leases.len() <= self.owners.waiting().len().max(FEW_LEASES) {
            return self.bound_by(owner).map(|lease| lease.resource).filter(waited_for).collect();
        }
        let lines = lines.get_or_insert_with(|| {
            let waiters = self.owners.waiting().filter_map(|owner| self.waiter_of(owner));
            waiters.map(|waiter| self.waiters[waiter].resource).collect()
        });
        let has = |resource: &usize| self.bound_there(owner, *resource).next().is_some();
        lines.iter().copied().filter(has).collect()
    }

    /// The waiter of an owner that waits, if deadlocks are looked for there. A try will not wait for long.
    pub(crate) fn waiter_of(&self, owner: OwnerNo) -> Option<usize> {
        let Wait::Request(waiter) = self.owners.get(owner).wait?;
        self.waiters.get(waiter).is_some_and(|waiter| self.is_searched(waiter)).then_some(waiter)
    }

    /// Owners that wait for a key, in the order of grant, if deadlocks are looked for there.
    pub(crate) fn owners_in_line(&self, resource: usize) -> impl Iterator<Item = OwnerNo> + '_ {
        self.owners_of(self.resources[resource].queue.iter().map(|waiter| &self.waiters[waiter]))
    }

    fn owners_of<'a>(
        &'a self,
        waiters: impl Iterator<Item = &'a Waiter> + 'a,
    ) -> impl Iterator<Item = OwnerNo> + 'a {
        waiters.filter(|waiter| self.is_searched(waiter)).filter_map(|waiter| waiter.owner)
    }

    fn is_searched(&self, waiter: &Waiter) -> bool {
        let ignored = Mutant::FollowersIgnored.is(self.config.mutant) && waiter.window().is_some();
        waiter.find_deadlocks && !waiter.is_try() && !ignored
    }

    fn tell_ring(&self, now: Time, ring: &[(OwnerNo, Why)]) -> Cycle {
        let next = ring.iter().cycle().skip(1);
        let edges = ring.iter().zip(next).filter_map(|(&(owner, why), &(blocker, _))| {
            let waiter = &self.waiters[self.waiter_of(owner)?];
            let held = self.bound_there(blocker, waiter.resource);
            Some(Edge {
                key: self.resources[waiter.resource].key.clone(),
                mode: waiter.mode,
                owner: self.owners.name(owner).0.clone(),
                app: self.app_of(waiter.session),
                sidecar: self.config.incarnation,
                waiting_for: now.since(waiter.since),
                held_for: held.map(|lease| now.since(lease.since)).max().filter(|_| why == Why::Held),
            })
        });
        Cycle { edges: edges.collect() }
    }

    /// What the client of a session calls itself; empty once the session is over.
    pub(crate) fn app_of(&self, session: SessionId) -> Arc<str> {
        self.sessions.get(&session).map_or_else(|| "".into(), |session| session.app.clone())
    }
}

/// Some owners of this sidecar that wait, and what they wait for and hold here.
struct LocalGraph {
    search: WaitGraph,
    /// By their number in the search.
    owners: Vec<OwnerNo>,
}

impl LocalGraph {
    fn of(engine: &Engine, members: BTreeSet<OwnerNo>) -> LocalGraph {
        let mut graph = LocalGraph { search: WaitGraph::new(engine.config.mutant), owners: Vec::new() };
        let waits = members.iter().filter_map(|&owner| engine.waiter_of(owner));
        let resources: BTreeSet<usize> = waits.map(|waiter| engine.waiters[waiter].resource).collect();
        let mut keys = BTreeMap::new();
        for resource in resources {
            let key = graph.search.key(engine.resources[resource].limit);
            let lane = graph.search.lane(key, 0);
            keys.insert(resource, key);
            for owner in engine.owners_in_line(resource).filter(|owner| members.contains(owner)) {
                graph.add(engine, owner, (key, lane));
            }
        }
        for (number, &owner) in graph.owners.iter().enumerate() {
            for lease in engine.bound_by(owner) {
                if let Some(&key) = keys.get(&lease.resource) {
                    graph.search.holds(number, key, lease.mode.units());
                }
            }
        }
        graph
    }

    fn add(&mut self, engine: &Engine, owner: OwnerNo, line: (usize, usize)) {
        let Some(index) = engine.waiter_of(owner) else { return };
        let waiter = &engine.waiters[index];
        let rank = Rank::new(
            engine.bound_by(owner).next().is_some(),
            waiter.priority,
            engine.owners.get(owner).since.0,
            engine.config.incarnation,
            engine.owners.get(owner).id.to_string(),
        );
        let number = self.search.waits(rank, line, waiter.mode.units(), false, engine.is_upgrade(index));
        debug_assert_eq!(number, self.owners.len());
        self.owners.push(owner);
    }
}
