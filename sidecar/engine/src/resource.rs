//! One key: who holds it, who waits, and how this sidecar stands with the store about it.
//!
//! Owns the arithmetic of units. Must not know sessions or effects.

use crate::ask::{Ask, PLACE_MAX};
use crate::debt::Debt;
use crate::model::{Fence, Key, Mode, StoreTime, Time, WHOLE};
use crate::queue::Queue;
use crate::rate::Spent;
use crate::renewal::PendingRenewal;
use crate::tenure::Tenure;
use smallvec::SmallVec;
use thin_vec::ThinVec;

/// All that is known of one key. There is one for every key in use, so what few keys have stands apart, in a word each.
pub(crate) struct Resource {
    pub(crate) key: Key,
    pub(crate) limit: u32,
    pub(crate) queue: Queue,
    pub(crate) live: Live,
    pub(crate) tenure: Option<Tenure>,
    pub(crate) ask: Option<Box<Ask>>,
    /// Returns and withdraws that the store has not acknowledged.
    pub(crate) debts: ThinVec<Debt>,
    /// Lease renewals that wait for the store's confirmation (P5).
    pub(crate) renewals: ThinVec<PendingRenewal>,
    /// Units of rates whose leases are over and whose time is not.
    pub(crate) spent: Option<Box<Spent>>,
    /// The highest token handed out for this key, 0 if none.
    pub(crate) issued: Fence,
    /// Copies of asks whose outcome was once in doubt may still run until then: whatever ends what grew out of them, or
    /// out of a later ask, must leave a tombstone (P7). It outlives the tenure: growth and a give-back end that silently.
    pub(crate) copies_until: StoreTime,
    /// Calls under way that will come back here.
    pub(crate) calls: u32,
    /// When its timer is armed.
    pub(crate) armed: Time,
}

impl Resource {
    pub(crate) fn new(key: Key, limit: u32) -> Resource {
        Resource {
            key,
            limit,
            queue: Queue::default(),
            live: Live::default(),
            tenure: None,
            ask: None,
            debts: ThinVec::new(),
            renewals: ThinVec::new(),
            spent: None,
            issued: 0,
            copies_until: StoreTime(0),
            calls: 0,
            armed: Time::MAX,
        }
    }

    /// Nobody would miss it.
    pub(crate) fn is_forgettable(&self) -> bool {
        self.calls == 0
            && self.tenure.is_none()
            && self.ask.is_none()
            && self.queue.is_empty()
            && self.live.is_empty()
            && self.debts.is_empty()
    }

    /// How long the end of a tenure must be remembered by the store, if at all. Where that is past, a copy of its ask may still have
    /// a place in the queue, which goes with it.
    pub(crate) fn tombstone(&self, store_now: StoreTime) -> Option<StoreTime> {
        Some(self.copies_until).filter(|&until| until + PLACE_MAX > store_now)
    }

    /// Units of the tenure under which no lease lives.
    pub(crate) fn idle_units(&self) -> u32 {
        self.tenure.as_ref().map_or(0, |tenure| tenure.units.saturating_sub(self.live.units(self.limit)))
    }

    /// When this resource has to look at itself again.
    pub(crate) fn next_due(&self) -> Time {
        let tenure = self.tenure.as_ref().map_or(Time::MAX, |tenure| tenure.next_due());
        let ask = self.ask.as_ref().map_or(Time::MAX, |ask| ask.again_at);
        let debts = self.debts.iter().map(|debt| debt.next_due()).min().unwrap_or(Time::MAX);
        let cooling = self.cooling().map_or(Time::MAX, |(_, next)| next);
        tenure.min(ask).min(debts).min(cooling)
    }

    /// Units that cool, and when the next of them are free.
    pub(crate) fn cooling(&self) -> Option<(u32, Time)> {
        self.spent.as_ref().map(|spent| (spent.units(), spent.next()))
    }
}

/// The live leases of one key.
#[derive(Default)]
pub(crate) struct Live {
    /// In no order; a lease knows its index, so leaving is O(1). Most keys never have more than one.
    leases: SmallVec<[usize; 2]>,
    /// Units bound, spent ones included.
    permits: u32,
    exclusive: bool,
}

impl Live {
    /// Adds a lease; returns its index here.
    pub(crate) fn add(&mut self, lease: usize, mode: Mode) -> usize {
        match mode {
            Mode::Exclusive => self.exclusive = true,
            Mode::Shared => {}
            Mode::Permits { permits, .. } => self.permits += permits,
        }
        self.leases.push(lease);
        self.leases.len() - 1
    }

    /// Removes the lease at `index`; returns the lease that now has that index, if one moved there.
    pub(crate) fn remove(&mut self, index: usize, mode: Mode) -> Option<usize> {
        match mode {
            Mode::Exclusive => self.exclusive = false,
            Mode::Shared => {}
            Mode::Permits { permits, .. } => self.permits -= permits,
        }
        self.leases.swap_remove(index);
        self.leases.get(index).copied()
    }

    /// Binds units that no lease stands on any more.
    pub(crate) fn spend(&mut self, units: u32) {
        self.permits += units;
    }

    /// Frees units that were spent.
    pub(crate) fn cool(&mut self, units: u32) {
        self.permits -= units;
    }

    /// The one lease, or a share, became all of a lock, or is a share again.
    pub(crate) fn set_exclusive(&mut self, exclusive: bool) {
        self.exclusive = exclusive;
    }

    /// Nobody is beside the one who holds.
    pub(crate) fn is_single(&self) -> bool {
        self.leases.len() == 1
    }

    /// No units are bound.
    pub(crate) fn is_empty(&self) -> bool {
        self.leases.is_empty() && self.permits == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.leases.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.leases.iter().copied()
    }

    /// Would this mode be compatible with the leases that live?
    pub(crate) fn fits(&self, mode: Mode) -> bool {
        match mode {
            Mode::Exclusive => self.leases.is_empty(),
            Mode::Shared => !self.exclusive,
            Mode::Permits { permits, limit } => {
                u64::from(self.permits) + u64::from(permits) <= u64::from(limit)
            }
        }
    }

    /// Units the sidecar needs at the store for what lives: readers of one sidecar share one unit (P9).
    pub(crate) fn units(&self, limit: u32) -> u32 {
        match limit {
            WHOLE if self.exclusive => WHOLE,
            WHOLE => u32::from(!self.leases.is_empty()),
            _ => self.permits,
        }
    }

    /// … and for this mode besides. More than the limit where a local lease has to go first.
    pub(crate) fn units_with(&self, mode: Mode) -> u32 {
        match mode {
            Mode::Exclusive => WHOLE,
            Mode::Shared => self.units(WHOLE).max(1),
            Mode::Permits { permits, .. } => self.permits.saturating_add(permits),
        }
    }

    /// Only a writer waits for readers of this sidecar: it can ask the store already.
    pub(crate) fn only_readers(&self) -> bool {
        !self.exclusive && self.permits == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_one_unit_and_a_writer_takes_all() {
        let mut live = Live::default();
        assert_eq!(live.add(10, Mode::Shared), 0);
        assert_eq!(live.add(11, Mode::Shared), 1);
        assert_eq!(live.units(WHOLE), 1);
        assert!(live.fits(Mode::Shared) && !live.fits(Mode::Exclusive));
        assert_eq!(live.units_with(Mode::Exclusive), WHOLE);
        assert_eq!(live.remove(0, Mode::Shared), Some(11));
        assert_eq!(live.remove(0, Mode::Shared), None);
        assert!(live.fits(Mode::Exclusive));
    }

    #[test]
    fn permits_add_up() {
        let mut live = Live::default();
        live.add(1, Mode::Permits { permits: 3, limit: 4 });
        assert!(live.fits(Mode::Permits { permits: 1, limit: 4 }));
        assert!(!live.fits(Mode::Permits { permits: 2, limit: 4 }));
        assert_eq!(live.units(4), 3);
    }
}
