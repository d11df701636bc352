//! Taking a key from its holders by order of a person, and what their sidecars hear of it (P19).
//!
//! Owns the record's list of what was taken. Must not know who may give such an order: that is the admin door's business.
//! `scripts/force.lua` says the same for Redis: change both or none.

use crate::record::{Forced, Step, insert};
use sidelock_engine::mutant::Mutant;
use sidelock_engine::store::{Force, Push, REFUSE_AFTER, Reply, Taken, Wake};
use sidelock_engine::{AskId, Incarnation};
use std::time::Duration;

impl Step<'_> {
    pub(crate) fn force(&mut self, op: &Force) -> Reply {
        if self.now > op.refuse_after {
            return Reply::TooLate;
        }
        let now = self.now;
        let mut taken = Vec::new();
        for tenure in std::mem::take(&mut self.record.tenures) {
            let remaining = Duration::from_micros(tenure.until.0.saturating_sub(now.0));
            taken.push(Taken { id: tenure.id, units: tenure.units, remaining });
            // Copies of its ask may still be on their way, and none was sent later than now.
            self.bury(tenure.id, Some(now + REFUSE_AFTER));
            let forced = Forced { id: tenure.id, until: tenure.until, order: op.order.clone() };
            let tail = self.record.forced.len();
            insert(&mut self.record.forced, tail, forced);
            if tenure.id.incarnation != op.from {
                let push = Push::Forced { key: self.key.clone(), tenure: tenure.id };
                self.wakes.push(Wake { to: tenure.id.incarnation, push });
            }
        }
        self.record.queue.retain(|entry| !entry.offered);
        self.offer_on();
        Reply::Unlocked(taken)
    }

    /// What an incarnation is told that has not shown to know of its tenure's end.
    pub(crate) fn forced(&self, incarnation: Incarnation) -> Option<Reply> {
        let forced = self.record.forced.iter().find(|forced| forced.id.incarnation == incarnation)?;
        if Mutant::ForceUntold.is(self.mutant) {
            return None;
        }
        Some(Reply::Forced { seq: forced.id.seq, order: forced.order.clone() })
    }

    /// There is no such tenure: was it taken, it or what it had grown into?
    pub(crate) fn forced_or_gone(&self, tenure: AskId) -> Reply {
        match self.forced(tenure.incarnation) {
            Some(Reply::Forced { seq, order }) if seq >= tenure.seq => Reply::Forced { seq, order },
            _ => Reply::Gone,
        }
    }

    /// Its sidecar has ended everything that stood on this tenure.
    pub(crate) fn acknowledged(&mut self, tenure: AskId) {
        self.record.forced.retain(|forced| forced.id != tenure);
    }
}
