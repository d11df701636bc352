//! One key: who holds it, who waits for it, and who of those is ahead of whom.
//!
//! Owns the order of grant in a fleet, as far as it is certain: queues of sidecars, the store's queue between them, and
//! what sidecars keep for their first waiters. Must not know what follows for deadlocks.

use super::history::{Acquire, At, Req};

/// A lock's limit.
const LOCK: u32 = u32::MAX;
/// What one point of priority is worth.
const PRIORITY_NS: i64 = 1_000_000_000;
/// Clocks differ by a hundredth at most: so much may a second of priority be worth more or less.
const PRIORITY_LEEWAY_NS: i64 = 10_000_000;

/// Ahead of everybody in its sidecar.
const BEFORE_ALL: i64 = i64::MIN / 2;

/// A session's owner.
pub(super) type Owner = (u32, u32);

/// A waiter in a sidecar.
#[derive(Clone, Copy)]
pub(super) struct Waiter {
    pub(super) of: Req,
    pub(super) owner: Option<Owner>,
    pub(super) sidecar: u32,
    pub(super) units: u32,
    /// It keeps a share meanwhile, and goes first.
    pub(super) upgrades: bool,
    /// It wants a turn of a once key.
    pub(super) turn: bool,
    priority: i32,
    /// Arrival less what its priority is worth: who is lower comes first.
    rank: i64,
}

/// A lease, or a key that is kept on the way to several.
#[derive(Clone, Copy)]
pub(super) struct Holder {
    pub(super) lease: Req,
    pub(super) owner: Option<Owner>,
    pub(super) sidecar: u32,
    pub(super) units: u32,
    /// It is no lease yet.
    pub(super) reserved: bool,
}

/// A sidecar's place in the store's queue.
#[derive(Clone, Copy)]
struct Entry {
    sidecar: u32,
    ask: u64,
    offered: bool,
}

/// One key.
#[derive(Default)]
pub(super) struct Line {
    pub(super) limit: u32,
    pub(super) holders: Vec<Holder>,
    /// In order of arrival.
    pub(super) waiters: Vec<Waiter>,
    entries: Vec<Entry>,
    /// Units that sidecars hold at the store.
    tenures: Vec<(u32, u32)>,
    /// Sidecars that hold the key and know that others wait: they serve nobody new before those (P9).
    aware: Vec<u32>,
}

impl Line {
    pub(super) fn arrived(&mut self, at: At, of: Req, owner: Option<Owner>, acquire: &Acquire, sidecar: u32) {
        let now = i64::try_from(at.0).expect("a run shorter than three centuries");
        if self.holders.is_empty() && self.waiters.is_empty() {
            self.limit = acquire.limit;
        }
        let Acquire { units, priority, turn, .. } = *acquire;
        let upgrades = acquire.upgrades.is_some();
        let rank = if upgrades { BEFORE_ALL } else { now - i64::from(priority) * PRIORITY_NS };
        self.waiters.push(Waiter { of, owner, sidecar, units, upgrades, turn, priority, rank });
    }

    pub(super) fn crashed(&mut self, sidecar: u32) {
        self.waiters.retain(|waiter| waiter.sidecar != sidecar);
        self.holders.retain(|holder| holder.sidecar != sidecar);
    }

    /// The store lost its data.
    pub(super) fn flushed(&mut self) {
        self.entries.clear();
        self.tenures.clear();
    }

    /// A sidecar has no place in the store's queue any more.
    pub(super) fn left(&mut self, sidecar: u32) {
        self.entries.retain(|entry| entry.sidecar != sidecar);
    }

    /// False: no such place.
    pub(super) fn offered(&mut self, sidecar: u32, ask: u64) -> bool {
        let mut entries = self.entries.iter_mut();
        let entry = entries.find(|entry| entry.sidecar == sidecar && entry.ask == ask);
        entry.map(|entry| entry.offered = true).is_some()
    }

    /// A place in the store's queue was entered or kept. False: it was kept.
    pub(super) fn entered(&mut self, sidecar: u32, ask: u64, upgrade: bool) -> bool {
        match self.entries.iter_mut().find(|entry| entry.sidecar == sidecar && entry.ask == ask) {
            Some(entry) => std::mem::take(&mut entry.offered),
            None => {
                self.entries.retain(|entry| entry.sidecar != sidecar);
                let place = if upgrade { 0 } else { self.entries.len() };
                self.entries.insert(place, Entry { sidecar, ask, offered: false });
                true
            }
        }
    }

    /// A sidecar that holds the key knows whether others wait. False: it did before.
    pub(super) fn learned(&mut self, sidecar: u32, contended: bool) -> bool {
        let known = self.aware.contains(&sidecar);
        match contended {
            true if !known => self.aware.push(sidecar),
            _ => self.aware.retain(|other| contended || *other != sidecar),
        }
        known != contended
    }

    /// Whether `first` is ahead of `second` in the order of grant, for each [`Order`](super::knot::Order).
    pub(super) fn is_ahead(&self, first: Req, second: Req) -> [bool; 3] {
        const NO: [bool; 3] = [false; 3];
        let place = |of: Req| self.waiters.iter().position(|waiter| waiter.of == of);
        let (Some(one), Some(two)) = (place(first), place(second)) else { return NO };
        let (a, b) = (&self.waiters[one], &self.waiters[two]);
        if a.sidecar == b.sidecar {
            let leeway = i64::from((a.priority - b.priority).abs()) * PRIORITY_LEEWAY_NS;
            let ahead = (a.rank, one) < (b.rank, two);
            let certain = leeway == 0 || (a.rank - b.rank).abs() > leeway;
            // One possible order has them one way round, the other the other: both ways in one would be a circle of its own.
            return [ahead && certain, ahead, ahead == certain];
        }
        let entry = |sidecar| self.entries.iter().position(|entry| entry.sidecar == sidecar);
        let (mine, theirs) = (entry(a.sidecar), entry(b.sidecar));
        let is_offered = |place: Option<usize>| place.is_some_and(|place| self.entries[place].offered);
        if is_offered(mine) || is_offered(theirs) {
            return NO;
        }
        // It goes before whoever waits elsewhere, as soon as the store hears of it.
        let jumps = b.upgrades && !a.upgrades;
        // A sidecar's place is its first waiter's. Who is behind may inherit it, or be served without it.
        let both_first = || self.is_first(a) && self.is_first(b);
        let keeps = |waiter: &Waiter| self.idle_units(waiter.sidecar) > 0;
        match (mine, theirs) {
            (Some(mine), Some(theirs)) => {
                [mine < theirs && both_first() && !jumps, mine < theirs, mine < theirs]
            }
            // A sidecar that holds the key and knows of others serves nobody new before them. But what it has beyond its
            // leases it may keep for its first waiter, whose turn has come already.
            (Some(_), None) => {
                let yields = self.aware.contains(&b.sidecar) && !keeps(b) && !jumps;
                [yields && both_first(), !keeps(b), true]
            }
            (None, Some(_)) if keeps(a) => {
                let sure = self.limit == LOCK && self.aware.contains(&a.sidecar);
                [sure && both_first(), true, false]
            }
            (None, None) => [false, keeps(a) && !keeps(b), false],
            // It holds up its own waiters and nobody else's.
            (None, Some(_)) => NO,
        }
    }

    /// Units that a sidecar holds at the store and nobody of its clients does.
    fn idle_units(&self, sidecar: u32) -> u32 {
        let held = self.tenures.iter().find(|(other, _)| *other == sidecar).map_or(0, |(_, units)| *units);
        let leases = self.holders.iter().filter(|holder| holder.sidecar == sidecar);
        let used = leases.map(|holder| holder.units).fold(0, u32::saturating_add);
        // Readers of one sidecar share a unit.
        held.saturating_sub(if self.limit == LOCK && used < LOCK { used.min(1) } else { used })
    }

    /// Units that a sidecar holds at the store now.
    pub(super) fn has(&mut self, sidecar: u32, units: u32) {
        self.tenures.retain(|(other, _)| *other != sidecar);
        if units > 0 {
            self.tenures.push((sidecar, units));
        }
    }

    fn is_first(&self, waiter: &Waiter) -> bool {
        let mut others = self.waiters.iter().filter(|other| other.sidecar == waiter.sidecar);
        others.all(|other| other.of == waiter.of || self.is_ahead(waiter.of, other.of)[0])
    }
}
