//! What an operator may see of the engine: keys, holders, queues, counts. Read-only.
//!
//! Owns the shape of what `ls`, `why` and the gauges show. Must not change anything.

use crate::effect::Refusal;
use crate::ended::{EndedName, Ending};
use crate::engine::Engine;
use crate::model::{AskId, Fence, Incarnation, Key, LeaseSecret, Mode, Owner, SessionId, Time};
use crate::resource::Resource;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// One key as this sidecar knows it.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// The key.
    pub key: Key,
    /// Its units; [`crate::model::WHOLE`] for a lock.
    pub limit: u32,
    /// Live leases, oldest first: as many as were wanted.
    pub holders: Vec<HolderView>,
    /// Live leases besides.
    pub holders_left_out: usize,
    /// Waiters in the order of grant: as many as were wanted.
    pub waiters: Vec<WaiterView>,
    /// Waiters behind those.
    pub waiters_left_out: usize,
    /// Units of rates that no lease stands on and that are not free yet, and when the next of them are.
    pub cooling: Option<(u32, Time)>,
    /// The sidecar's tenure at the store.
    pub tenure: Option<TenureView>,
    /// The sidecar's ask at the store, if one is under way.
    pub ask: Option<AskView>,
}

/// A live lease.
#[derive(Clone, Debug)]
pub struct HolderView {
    /// Mode.
    pub mode: Mode,
    /// Token; 0 while it is reserved.
    pub fence: Fence,
    /// It is no lease yet: a request for several keys has this one and waits for others.
    pub reserved: bool,
    /// Whose, if its session still exists.
    pub session: Option<SessionId>,
    /// User id it was granted to.
    pub uid: u32,
    /// What the client called itself.
    pub app: String,
    /// Owner.
    pub owner: Option<Owner>,
    /// Since when.
    pub since: Time,
    /// Deadline last known.
    pub deadline: Time,
    /// A timed lease's short public name: not its secret.
    pub reference: Option<u32>,
}

/// A waiter.
#[derive(Clone, Debug)]
pub struct WaiterView {
    /// Mode.
    pub mode: Mode,
    /// Session.
    pub session: SessionId,
    /// User id.
    pub uid: u32,
    /// What the client calls itself.
    pub app: String,
    /// Owner.
    pub owner: Option<Owner>,
    /// Since when.
    pub since: Time,
    /// Priority.
    pub priority: i32,
    /// It has a share, keeps it, and wants all.
    pub upgrades: bool,
}

/// A tenure.
#[derive(Clone, Debug)]
pub struct TenureView {
    /// Its id.
    pub id: AskId,
    /// Units.
    pub units: u32,
    /// Confirmed until.
    pub deadline: Time,
    /// No lease stands on it: kept for the next local request.
    pub idle: bool,
    /// Another sidecar wants it.
    pub recalled: bool,
}

/// An ask.
#[derive(Clone, Debug)]
pub struct AskView {
    /// Its id.
    pub id: AskId,
    /// Store entries ahead, once known.
    pub ahead: Option<u32>,
    /// A sidecar in the way, once known.
    pub holder: Option<Incarnation>,
    /// Since when.
    pub since: Time,
}

/// Sizes, for gauges and for tests that demand that nothing leaks. Each is known without looking through anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open sessions, cut-off ones included.
    pub sessions: usize,
    /// Live leases.
    pub leases: usize,
    /// Queued acquires.
    pub waiters: usize,
    /// Owners that hold or wait.
    pub owners: usize,
    /// Keys known.
    pub keys: usize,
    /// Tenures held, idle ones included.
    pub tenures: usize,
    /// Requests about registers under way, watches among them.
    pub operations: usize,
    /// Store calls whose outcome is awaited.
    pub calls: usize,
}

/// In the order of keys.
struct ByKey<'a>(&'a Resource);

impl PartialEq for ByKey<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByKey<'_> {}

impl PartialOrd for ByKey<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl Engine {
    /// Keys that begin with `prefix`, in order, at most `limit`; of all of them at most `shown` holders, and waiters.
    pub fn list(&self, prefix: &str, limit: usize, shown: usize) -> Vec<KeyView> {
        // Of a million only the first `limit` are kept, the last of them on top.
        let mut found: BinaryHeap<ByKey<'_>> = BinaryHeap::new();
        for (_, resource) in self.resources.iter() {
            if !resource.key.as_str().starts_with(prefix) {
                continue;
            }
            if found.len() < limit {
                found.push(ByKey(resource));
            } else if let Some(mut last) = found.peek_mut()
                && resource.key < last.0.key
            {
                *last = ByKey(resource);
            }
        }
        let (mut holders, mut waiters) = (shown, shown);
        let mut view = |resource: &Resource| {
            let view = self.view(resource, holders, waiters);
            (holders, waiters) = (holders - view.holders.len(), waiters - view.waiters.len());
            view
        };
        found.into_sorted_vec().into_iter().map(|ByKey(resource)| view(resource)).collect()
    }

    /// One key, if this sidecar knows it, with at most `shown` holders, and waiters.
    pub fn look(&self, key: &Key, shown: usize) -> Option<KeyView> {
        self.resource_of(key).map(|resource| self.view(&self.resources[resource], shown, shown))
    }

    /// Who is in the way of those who wait for a key, as far as it is known here: the first of its holders, or else a sidecar. Unlike
    /// [`Engine::look`] it looks at nobody who waits.
    pub fn in_the_way(&self, key: &Key) -> (Option<HolderView>, Option<Incarnation>) {
        let Some(resource) = self.resource_of(key).map(|resource| &self.resources[resource]) else {
            return (None, None);
        };
        let first = resource.live.iter().min_by_key(|&lease| self.leases[lease].fence);
        let asked = resource.ask.as_ref().and_then(|ask| ask.queued);
        (first.map(|lease| self.view_lease(lease)), asked.and_then(|queued| queued.holder))
    }

    /// A timed lease as it stands, for whoever bears its secret and has the uid it was granted to (S4).
    pub fn look_timed(&self, uid: u32, secret: LeaseSecret) -> Result<(Key, HolderView), Refusal> {
        if let Some(&index) = self.timed.get(&secret) {
            let lease = &self.leases[index];
            let key = self.resources[lease.resource].key.clone();
            return if lease.uid == uid { Ok((key, self.view_lease(index))) } else { Err(Refusal::NotHeld) };
        }
        Err(match self.ended.recall(EndedName::Timed(secret)) {
            Some(ending) if ending.uid != uid => Refusal::NotHeld,
            Some(Ending { lost: Some(reason), .. }) => Refusal::LeaseLost(reason),
            Some(Ending { lost: None, .. }) | None => Refusal::NotFound,
        })
    }

    /// Sizes.
    pub fn counts(&self) -> Counts {
        Counts {
            sessions: self.sessions.len(),
            leases: self.leases.len(),
            waiters: self.waiters.len(),
            owners: self.owners.len(),
            keys: self.resources.len(),
            operations: self.registers.len(),
            tenures: self.tenures,
            calls: self.link.calls(),
        }
    }

    /// Whether something is still to be said to the store that others wait for: what was given back, and what clients are to be
    /// answered of their registers. Looks at every key there is.
    pub fn owes(&self) -> bool {
        self.registers.len() > 0 || self.resources.iter().any(|(_, resource)| !resource.debts.is_empty())
    }

    /// Since when the oldest waiter waits. Looks at every waiter there is.
    pub fn oldest_waiter(&self) -> Option<Time> {
        self.waiters.iter().map(|(_, waiter)| waiter.since).min()
    }

    fn view(&self, resource: &Resource, holders_max: usize, waiters_max: usize) -> KeyView {
        let mut holders: Vec<usize> = resource.live.iter().collect();
        holders.sort_unstable_by_key(|&lease| self.leases[lease].fence);
        let waiters = resource.queue.iter().take(waiters_max);
        KeyView {
            key: resource.key.clone(),
            limit: resource.limit,
            holders: holders.iter().take(holders_max).map(|&lease| self.view_lease(lease)).collect(),
            holders_left_out: holders.len().saturating_sub(holders_max),
            waiters: waiters.map(|waiter| self.view_waiter(waiter)).collect(),
            waiters_left_out: resource.queue.len().saturating_sub(waiters_max),
            cooling: resource.cooling(),
            tenure: resource.tenure.as_ref().map(|tenure| TenureView {
                id: self.own(tenure.seq),
                units: tenure.units,
                deadline: tenure.deadline,
                idle: resource.live.is_empty(),
                recalled: tenure.interest.is_some(),
            }),
            ask: resource.ask.as_ref().map(|ask| AskView {
                id: self.own(ask.seq),
                ahead: ask.queued.map(|queued| queued.ahead),
                holder: ask.queued.and_then(|queued| queued.holder),
                since: ask.since,
            }),
        }
    }

    pub(crate) fn view_lease(&self, index: usize) -> HolderView {
        let lease = &self.leases[index];
        let session = self.sessions.get(&lease.session);
        HolderView {
            mode: lease.mode,
            fence: lease.fence,
            reserved: lease.group().is_some(),
            session: session.map(|_| lease.session),
            uid: lease.uid,
            app: session.map_or_else(String::new, |session| session.app.to_string()),
            owner: lease.owner().map(|owner| self.owners.name(owner).clone()),
            since: lease.since,
            deadline: lease.told,
            reference: lease.secret().map(reference),
        }
    }

    pub(crate) fn view_waiter(&self, index: usize) -> WaiterView {
        let waiter = &self.waiters[index];
        WaiterView {
            mode: waiter.mode,
            session: waiter.session,
            uid: waiter.uid,
            app: self
                .sessions
                .get(&waiter.session)
                .map_or_else(String::new, |session| session.app.to_string()),
            owner: waiter.owner.map(|owner| self.owners.name(owner).clone()),
            since: waiter.since,
            priority: waiter.priority,
            upgrades: self.is_upgrade(index),
        }
    }
}

/// A timed lease's public name: a short hash (FNV-1a) that does not lead back to the 128-bit secret.
pub fn reference(secret: LeaseSecret) -> u32 {
    secret
        .0
        .to_be_bytes()
        .iter()
        .fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
