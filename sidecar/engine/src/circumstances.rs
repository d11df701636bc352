//! What a policy may know of a request beyond what it says: who asks, what they hold, how busy the keys are. Read-only.
//!
//! Owns the shape, and the tally of leases by user. Must not know policies, nor decide anything.

use crate::effect::Client;
use crate::engine::Engine;
use crate::input::LeaseName;
use crate::lease::Lease;
use crate::model::{Key, Mode, Owner, SessionId, Time};
use crate::owners::OwnerId;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// Keys that a request is told of as held by who asks, at most.
pub const HELD_KEYS_MAX: usize = 256;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// The user id of the asking session.
    pub uid: u32,
    /// What its client calls itself.
    pub app: Arc<str>,
    /// How busy the keys are at this sidecar; of several keys each number is the largest of theirs.
    pub load: Load,
    /// Keys that the owner holds at this sidecar, or the session where the request names no owner: in the order of their
    /// grants, the first [`HELD_KEYS_MAX`].
    pub held: Vec<Key>,
}

/// How busy a key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Leases on it, reservations among them.
    pub held: u32,
    /// Requests that wait for it.
    pub waiters: u32,
    /// For how long the first in line has been waiting; zero if nobody waits.
    pub oldest_wait: Duration,
    /// Leases of the asking session that end with it.
    pub held_by_session: u32,
    /// Leases of all sessions of the asking user, timed ones and reservations among them.
    pub held_by_uid: u32,
}

/// Leases by user. A pod has few users, so that looking through them is cheaper than a map.
#[derive(Default)]
pub(crate) struct Tally(SmallVec<[(u32, u32); 2]>);

impl Tally {
    pub(crate) fn add(&mut self, uid: u32) {
        match self.0.iter_mut().find(|(user, _)| *user == uid) {
            Some((_, leases)) => *leases += 1,
            None => self.0.push((uid, 1)),
        }
    }

    pub(crate) fn remove(&mut self, uid: u32) {
        let Some(at) = self.0.iter().position(|(user, _)| *user == uid) else { return };
        self.0[at].1 -= 1;
        if self.0[at].1 == 0 {
            self.0.swap_remove(at);
        }
    }

    fn of(&self, uid: u32) -> u32 {
        self.0.iter().find(|(user, _)| *user == uid).map_or(0, |(_, leases)| *leases)
    }
}

impl Engine {
    /// How a request of this session, on behalf of this owner, for these keys finds the sidecar. `None`: the session is over.
    pub fn circumstances<'a>(
        &self,
        now: Time,
        session: SessionId,
        owner: Option<&Owner>,
        keys: impl IntoIterator<Item = &'a Key>,
    ) -> Option<Circumstances> {
        let asking = self.sessions.get(&session)?;
        let mut load = Load {
            held_by_session: asking.held(),
            held_by_uid: self.tally.of(asking.uid),
            ..Load::default()
        };
        for resource in keys.into_iter().filter_map(|key| self.resource_of(key)) {
            let resource = &self.resources[resource];
            let since = resource.queue.first().map(|waiter| self.waiters[waiter].since);
            load.held = load.held.max(resource.live.iter().count() as u32);
            load.waiters = load.waiters.max(resource.queue.len() as u32);
            load.oldest_wait = load.oldest_wait.max(since.map_or(Duration::ZERO, |since| now.since(since)));
        }
        let held = match owner {
            Some(owner) => self.held_by_owner(asking.owner_id(session, owner.clone())),
            None => asking.leases().take(HELD_KEYS_MAX).map(|lease| &self.leases[lease]).collect(),
        };
        Some(Circumstances { uid: asking.uid, app: asking.app.clone(), load, held: self.keys_of(held) })
    }

    /// Whether events name their clients from now on. Somebody has to look each of them up, so nobody asks for it in vain.
    pub fn name_clients(&mut self, wanted: bool) {
        self.names_clients = wanted;
    }

    pub(crate) fn client(&self, session: SessionId) -> Option<Client> {
        self.sessions.get(&session).map(|session| Client { uid: session.uid, app: session.app.clone() })
    }

    /// The key of a lease that this session may speak of, and how much of it the lease has.
    pub fn key_of(&self, session: SessionId, name: LeaseName) -> Option<(Key, Mode)> {
        let lease = &self.leases[self.lease_named(session, name).ok()?];
        Some((self.resources[lease.resource].key.clone(), lease.mode))
    }

    fn held_by_owner(&self, id: OwnerId) -> Vec<&Lease> {
        let leases = self.owners.find(&id).map(|owner| &self.owners.get(owner).leases);
        leases.into_iter().flat_map(|leases| leases.iter()).map(|lease| &self.leases[lease]).collect()
    }

    fn keys_of(&self, mut leases: Vec<&Lease>) -> Vec<Key> {
        leases.retain(|lease| lease.group().is_none());
        leases.sort_by_key(|lease| (lease.since, lease.fence));
        leases.truncate(HELD_KEYS_MAX);
        leases.into_iter().map(|lease| self.resources[lease.resource].key.clone()).collect()
    }
}
