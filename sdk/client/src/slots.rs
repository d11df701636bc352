//! The requests under way and the leases held on one connection, by their numbers.
//!
//! Owns the states a number goes through. Numbers rise and are never given twice: the low bits are a place in the table,
//! the rest a count, so that an answer that comes late finds nobody instead of somebody else.

use crate::error::Error;
use crate::hold::Hold;
use crate::once::Outcome;
use sidelock_wire::{Current, Granted, Holders, NOBODY, Refused, Renewed};
use slab::Slab;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Waker;

/// Bits of a number that are its place: sixteen million requests and leases at a time.
const PLACE_BITS: u32 = 24;

/// Where a request stands.
#[derive(Debug)]
pub(crate) enum Slot {
    /// Waits for a connection; fails when boottime passes `give_up_ns`.
    Parked { waker: Waker, give_up_ns: u64 },
    /// Sent.
    Waiting { waker: Waker, about: About },
    /// One of several keys of a request, this one: answered with the request's own number.
    Member(Arc<str>),
    /// Answered, and its future has not looked yet.
    Answered(Answer),
    /// A lease whose future has not taken it yet: extended and lost like any other.
    Granted(Arc<Hold>),
    /// A lease in use.
    Held(Arc<Hold>),
    /// An acquire or watch that nobody wants any more; over when the sidecar says `cancelled`. Of an upgrade it names the share,
    /// which the sidecar knows by this number if the upgrade was granted.
    Cancelling { share: Option<Arc<Hold>> },
    /// Another request that nobody waits for any more; over when it is answered.
    Ignored,
}

/// What the answer to a request that was sent goes by.
#[derive(Clone, Debug)]
pub(crate) enum About {
    /// A lease of this key; `reentrant`: maybe one more handle of one that is in the table.
    Lease { key: Arc<str>, reentrant: bool },
    /// The renewal of this lease of this number ([`Hold::renewing`]), which its answer changes.
    Renewal(Arc<Hold>, u64),
    /// Nothing but the number.
    Other,
}

impl About {
    /// The key of the lease that was asked for.
    pub(crate) fn key(&self) -> Arc<str> {
        match self {
            About::Lease { key, .. } => key.clone(),
            About::Renewal(..) | About::Other => Arc::default(),
        }
    }
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A lease.
    Granted(Arc<Hold>),
    /// A timed lease.
    Timed(Granted),
    /// To renew.
    Renewed(Renewed),
    /// To release.
    Released,
    /// To get and watch.
    Register(Current<'static>),
    /// To put and delete: the version that a put made.
    Written(Option<String>),
    /// To acquire of a once key: somebody did it.
    Done(Outcome),
    /// To finish.
    Finished,
    /// To holders.
    Holders(Holders),
    /// No, and why.
    Refused(Refused<'static>),
    /// The connection ended before the answer came.
    Interrupted,
    /// There is a connection now.
    Reconnected,
    /// There is no connection, and there was none for too long.
    Failed(Error),
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slab: Slab<(u64, Slot)>,
    count: u64,
    /// Leases in it, by their fences: those of different keys may have the same.
    by_fence: BTreeSet<(u64, u64)>,
}

impl Slots {
    /// A new number, in this state.
    pub(crate) fn insert(&mut self, slot: Slot) -> u64 {
        self.count = (self.count + 1) % (NOBODY >> PLACE_BITS);
        let entry = self.slab.vacant_entry();
        let number = (self.count << PLACE_BITS) | entry.key() as u64;
        entry.insert((number, slot));
        number
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Slot> {
        let (found, slot) = self.slab.get_mut(place(number))?;
        (*found == number).then_some(slot)
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Slot> {
        self.get_mut(number)?;
        let slot = self.slab.remove(place(number)).1;
        if let Slot::Held(hold) | Slot::Granted(hold) = &slot {
            self.by_fence.remove(&(hold.fence, number));
        }
        Some(slot)
    }

    /// A request has become a lease; what it was before.
    pub(crate) fn grant(&mut self, number: u64, hold: Arc<Hold>) -> Option<Slot> {
        let fence = hold.fence;
        let before = std::mem::replace(self.get_mut(number)?, Slot::Granted(hold));
        self.by_fence.insert((fence, number));
        Some(before)
    }

    /// Nobody wants what was asked for under this number, or what was granted.
    pub(crate) fn cancel(&mut self, number: u64, share: Option<Arc<Hold>>) {
        let Some(slot) = self.get_mut(number) else { return };
        if let Slot::Held(hold) | Slot::Granted(hold) = std::mem::replace(slot, Slot::Cancelling { share }) {
            self.by_fence.remove(&(hold.fence, number));
        }
    }

    /// The leases with this fence.
    pub(crate) fn with_fence(&self, fence: u64) -> impl Iterator<Item = &Arc<Hold>> {
        self.by_fence.range((fence, 0)..=(fence, u64::MAX)).filter_map(|&(_, number)| {
            match self.slab.get(place(number))? {
                (_, Slot::Held(hold) | Slot::Granted(hold)) => Some(hold),
                _ => None,
            }
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Slot)> {
        self.slab.iter_mut().map(|(_, (number, slot))| (*number, slot))
    }

    /// Keeps what `keep` says, which may change what it keeps.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u64, &mut Slot) -> bool) {
        let by_fence = &mut self.by_fence;
        self.slab.retain(|_, (number, slot)| {
            let is_kept = keep(*number, slot);
            if let (false, Slot::Held(hold) | Slot::Granted(hold)) = (is_kept, slot) {
                by_fence.remove(&(hold.fence, *number));
            }
            is_kept
        });
    }

    /// Takes the answer out if there is one; else whoever holds `waker` is told when it comes. A lease stays in the
    /// table as held.
    pub(crate) fn take_answer(&mut self, number: u64, waker: &Waker) -> Option<Answer> {
        let slot = self.get_mut(number)?;
        match slot {
            Slot::Parked { waker: old, .. } | Slot::Waiting { waker: old, .. } => {
                old.clone_from(waker);
                None
            }
            Slot::Granted(hold) => {
                let hold = hold.clone();
                *slot = Slot::Held(hold.clone());
                Some(Answer::Granted(hold))
            }
            Slot::Answered(_) => match self.remove(number) {
                Some(Slot::Answered(answer)) => Some(answer),
                _ => None,
            },
            Slot::Member(_) | Slot::Held(_) | Slot::Cancelling { .. } | Slot::Ignored => None,
        }
    }

    /// The lease of a member whose request was granted; it stays in the table as held.
    pub(crate) fn take_member(&mut self, number: u64) -> Option<Arc<Hold>> {
        let slot = self.get_mut(number)?;
        let Slot::Granted(hold) = slot else { return None };
        let hold = hold.clone();
        *slot = Slot::Held(hold.clone());
        Some(hold)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let leases =
            self.slab.iter().filter(|(_, (_, slot))| matches!(slot, Slot::Held(_) | Slot::Granted(_)));
        assert_eq!(self.by_fence.len(), leases.count(), "each lease is found by its fence, and nothing else");
        self.slab.len()
    }
}

fn place(number: u64) -> usize {
    (number & ((1 << PLACE_BITS) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_finds_nobody() {
        let mut slots = Slots::default();
        let first = slots.insert(Slot::Ignored);
        slots.remove(first);
        let second = slots.insert(Slot::Ignored);
        assert_eq!(place(first), place(second), "the place is used again");
        assert!(slots.get_mut(first).is_none());
        assert!(slots.remove(first).is_none());
        assert!(slots.get_mut(second).is_some());
    }

    #[test]
    fn nobody_has_the_number_of_nobody() {
        let mut slots = Slots { count: (NOBODY >> PLACE_BITS) - 2, ..Slots::default() };
        for _ in 0..4 {
            let number = slots.insert(Slot::Ignored);
            assert_ne!(number, NOBODY);
        }
        assert!(slots.get_mut(NOBODY).is_none());
    }
}
