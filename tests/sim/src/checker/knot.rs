//! Who can never be granted, whatever everybody else does: deadlocks as P14 defines them, in a picture of one instant.
//!
//! Owns the definition. It is written from the rule and shares nothing with the engine, so that both can be wrong only
//! separately. Must not know histories.

use super::history::Req;
use std::collections::HashSet;

/// Blocked owners of a picture, as bits by their place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Set(pub(super) u128);

impl Set {
    /// A picture has no more blocked owners than this.
    pub(super) const MAX: usize = 128;
    pub(super) const EMPTY: Set = Set(0);

    pub(super) fn has(self, owner: usize) -> bool {
        self.0 >> owner & 1 == 1
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(super) fn with(self, owner: usize) -> Set {
        Set(self.0 | 1 << owner)
    }

    pub(super) fn without(self, owner: usize) -> Set {
        Set(self.0 & !(1 << owner))
    }

    pub(super) fn meets(self, other: Set) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn owners(self) -> impl Iterator<Item = usize> {
        (0..Set::MAX).filter(move |&owner| self.has(owner))
    }
}

/// How much is known of the order of waiters in different sidecars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Only who is surely ahead.
    Sure,
    /// Whoever may be ahead, if sidecars keep units for their first waiters.
    Keeping,
    /// Whoever may be ahead, if they give them to those who wait at the store.
    Yielding,
}

/// A blocked owner.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    /// Its acquire.
    pub(super) of: Req,
    /// The sidecar that it waits in.
    pub(super) sidecar: u32,
    pub(super) key: u32,
    pub(super) units: u32,
    pub(super) limit: u32,
    /// It gives a share of the key for all of it.
    pub(super) upgrades: bool,
    /// It wants a turn of a once key, or to hear of somebody's success.
    pub(super) turn: bool,
    /// Who is ahead of it, for each [`Order`].
    pub(super) ahead: [Set; 3],
}

/// Units that a blocked owner holds, be it a lease or a reservation on the way to several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) owner: usize,
    pub(super) key: u32,
    pub(super) units: u32,
    /// It is no lease yet.
    pub(super) reserved: bool,
}

/// One instant: everybody who is blocked, and what they hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    pub(super) waits: Vec<Wait>,
    pub(super) holds: Vec<Hold>,
}

impl Order {
    /// Those in which a victim may be right. Who is surely stuck may be needed where with more in the way nobody is.
    pub(super) const POSSIBLE: [Order; 3] = [Order::Sure, Order::Keeping, Order::Yielding];
}

impl Picture {
    /// All of its owners.
    pub(super) fn everybody(&self) -> Set {
        (0..self.waits.len()).fold(Set::EMPTY, Set::with)
    }

    /// The owner who waits with this acquire.
    pub(super) fn find(&self, of: Req) -> Option<usize> {
        self.waits.iter().position(|wait| wait.of == of)
    }

    /// Would this one fit, if only these held what they hold?
    pub(super) fn fits(&self, owner: usize, among: Set) -> bool {
        let Wait { key, units, limit, upgrades, .. } = self.waits[owner];
        let held = self.holds.iter().filter(|hold| hold.key == key && among.has(hold.owner));
        let held: u64 = held.map(|hold| u64::from(hold.units)).sum();
        // The share that it gives is in its own hands; another one of its own is in its way as anybody's.
        let given = u64::from(upgrades && held > 0 && among.has(owner));
        held - given + u64::from(units) <= u64::from(limit)
    }

    /// The greatest deadlock among these: none of it could be granted if everybody else let go of everything and left
    /// every queue. Empty if there is none.
    pub(super) fn stuck(&self, among: Set, order: Order) -> Set {
        let mut left = among;
        loop {
            let free = left.owners().find(|&owner| {
                let ahead = self.waits[owner].ahead[order as usize];
                !ahead.meets(left) && self.fits(owner, left)
            });
            match free {
                Some(free) => left = left.without(free),
                None => return left,
            }
        }
    }

    /// A deadlock that this owner is needed for: without it all the others could go on. Who merely waits behind a deadlock
    /// is in none, and its going would help nobody.
    pub(super) fn knot(&self, owner: usize, among: Set, order: Order) -> Option<Set> {
        self.search(owner, among, order, &mut HashSet::new())
    }

    /// … in one of the possible orders.
    pub(super) fn possible_knot(&self, owner: usize, among: Set) -> Option<Set> {
        Order::POSSIBLE.into_iter().find_map(|order| self.knot(owner, among, order))
    }

    /// Whether these can be made victims one after the other, each of them needed for a deadlock of those who are left.
    pub(super) fn all_needed(&self, victims: Set, among: Set) -> bool {
        victims.is_empty()
            || victims.owners().any(|first| {
                self.possible_knot(first, among).is_some()
                    && self.all_needed(victims.without(first), among.without(first))
            })
    }

    /// Whether this one is stuck in one of the possible orders.
    pub(super) fn may_be_stuck(&self, owner: usize) -> bool {
        Order::POSSIBLE.into_iter().any(|order| self.stuck(self.everybody(), order).has(owner))
    }

    /// Whether anybody is.
    pub(super) fn anybody_may_be_stuck(&self) -> bool {
        Order::POSSIBLE.into_iter().any(|order| !self.stuck(self.everybody(), order).is_empty())
    }

    fn search(&self, owner: usize, among: Set, order: Order, failed: &mut HashSet<Set>) -> Option<Set> {
        let stuck = self.stuck(among, order);
        if !stuck.has(owner) || failed.contains(&stuck) {
            return None;
        }
        let rest = self.stuck(stuck.without(owner), order);
        if rest.is_empty() {
            return Some(self.smallest(owner, stuck, order));
        }
        // Whatever knot there is, it lacks at least one of those who are stuck without this owner.
        let found = rest.owners().find_map(|other| self.search(owner, stuck.without(other), order, failed));
        if found.is_none() {
            failed.insert(stuck);
        }
        found
    }

    /// Leaves out whom this deadlock does not need.
    fn smallest(&self, owner: usize, knot: Set, order: Order) -> Set {
        knot.owners().filter(|&other| other != owner).fold(knot, |knot, other| {
            let smaller = self.stuck(knot.without(other), order);
            if smaller.has(owner) { smaller } else { knot }
        })
    }

    /// Whether this owner is in a circle of "waits for whoever holds": for units that is not enough to be stuck.
    pub(super) fn goes_in_circles(&self, owner: usize) -> bool {
        let mut reached = Set::EMPTY;
        let mut open = vec![owner];
        while let Some(next) = open.pop() {
            let Wait { key, upgrades, .. } = self.waits[next];
            let counts = |hold: &&Hold| hold.key == key && !(upgrades && hold.owner == next);
            for hold in self.holds.iter().filter(counts) {
                if hold.owner == owner {
                    return true;
                }
                if !reached.has(hold.owner) {
                    reached = reached.with(hold.owner);
                    open.push(hold.owner);
                }
            }
        }
        false
    }
}
