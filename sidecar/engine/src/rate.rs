//! Rates: permits whose units come back a fixed time after the grant, not with the release.
//!
//! Owns how long units stay bound, and the memory of units whose lease is over before that. Must not know who is served
//! next. A rate is a semaphore in all else: the same queue, the same fairness, the same units at the store.
//!
//! The store knows nothing of rates. A grant waits until the tenure is confirmed for as long as its units stay bound, as
//! a timed lease does (P5): so they are bound there whatever becomes of this sidecar.

use crate::engine::Engine;
use crate::model::Time;
use crate::mutant::Mutant;
use std::time::Duration;

/// Clocks of two hosts, and that of the store, run apart by one part in so many at most (A1).
const CLOCK_DRIFT: u32 = 100;

/// What a lease of a rate knows of its time.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    /// The lease ends then.
    pub(crate) ends: Time,
    /// Its units are free from then on.
    pub(crate) cools: Time,
}

/// Units that no lease stands on, and that are not free yet.
pub(crate) struct Spent {
    pub(crate) units: u32,
    pub(crate) until: Time,
}

impl Engine {
    /// How long units of a rate stay bound. Where other hosts may be granted them, a clock of ours that runs fast must
    /// not free them early on theirs.
    pub(crate) fn cooling_time(&self, per: Duration) -> Duration {
        match self.config.contact_every {
            Some(_) => per + per / CLOCK_DRIFT,
            None => per,
        }
    }

    /// A lease is over: if it was of a rate, its units stay bound for the rest of their time.
    pub(crate) fn spend(&mut self, now: Time, index: usize) {
        let lease = &self.leases[index];
        let Some(rate) = lease.rate().filter(|rate| rate.cools > now) else {
            return;
        };
        if Mutant::RateForgetsSpent.is(self.config.mutant) {
            return;
        }
        let r = &mut self.resources[lease.resource];
        r.live.spend(lease.mode.units());
        r.spent.push(Spent { units: lease.mode.units(), until: rate.cools });
    }

    /// Frees what has cooled. The caller serves the resource.
    pub(crate) fn cool(&mut self, now: Time, resource: usize) {
        self.free_spent(resource, |spent| spent.until <= now);
    }

    /// The tenure is gone, and with it whatever was bound under it.
    pub(crate) fn forget_spent(&mut self, resource: usize) {
        self.free_spent(resource, |_| true);
    }

    fn free_spent(&mut self, resource: usize, which: impl Fn(&Spent) -> bool) {
        let r = &mut self.resources[resource];
        if r.spent.is_empty() {
            return;
        }
        let live = &mut r.live;
        r.spent.retain(|spent| {
            let free = which(spent);
            if free {
                live.cool(spent.units);
            }
            !free
        });
    }
}
