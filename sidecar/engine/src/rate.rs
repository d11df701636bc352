//! Rates: permits whose units come back a fixed time after the grant, not with the release.
//!
//! Owns how long units stay bound, the memory of units whose lease is over before that, and what is known of when they
//! are back. Must not know who is served next. A rate is a semaphore in all else: the same queue, the same fairness, the same units at the store.
//!
//! The store knows nothing of rates. A grant waits until the tenure is confirmed for as long as its units stay bound, as
//! a timed lease does (P5): so they are bound there whatever becomes of this sidecar.

use crate::acquire::Waiter;
use crate::effect::Refusal;
use crate::engine::Engine;
use crate::model::{Mode, Time};
use crate::mutant::Mutant;
use std::collections::BTreeMap;
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

/// Units that no lease stands on, and that are not free yet: as many as a limiter for a day has, so nothing walks them.
#[derive(Default)]
pub(crate) struct Spent {
    /// By when they are free.
    until: BTreeMap<Time, u32>,
    units: u32,
}

impl Spent {
    fn add(&mut self, units: u32, until: Time) {
        *self.until.entry(until).or_default() += units;
        self.units += units;
    }

    /// How many there are.
    pub(crate) fn units(&self) -> u32 {
        self.units
    }

    /// When the next of them are free; `MAX` if there are none.
    pub(crate) fn next(&self) -> Time {
        self.until.first_key_value().map_or(Time::MAX, |(until, _)| *until)
    }

    /// Takes out those that are free by then.
    fn cool(&mut self, by: Time) -> u32 {
        let mut free = 0;
        while let Some(first) = self.until.first_entry().filter(|first| *first.key() <= by) {
            free += first.remove();
        }
        self.units -= free;
        free
    }
}

impl Engine {
    /// How long units of a rate stay bound. Where other hosts may be granted them, a clock of ours that runs fast must
    /// not free them early on theirs.
    pub(crate) fn cooling_time(&self, per: Duration) -> Duration {
        match self.config.shares_its_store() {
            true => per + per / CLOCK_DRIFT,
            false => per,
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
        r.spent.get_or_insert_default().add(lease.mode.units(), rate.cools);
    }

    /// Why a waiter is refused that others are in the way of.
    pub(crate) fn refusal_of_taken(&self, now: Time, waiter: &Waiter) -> Refusal {
        let waited = !waiter.is_try();
        match (self.used_up(now, waiter), waiter.mode) {
            (Some(free_in), Mode::Permits { permits, limit }) => {
                Refusal::UsedUp { permits, limit, free_in, waited }
            }
            _ if waited => Refusal::WaitTimeout,
            _ => Refusal::Held,
        }
    }

    /// When time brings back the units that a waiter needs, if it does and that is known.
    fn used_up(&self, now: Time, waiter: &Waiter) -> Option<Duration> {
        let Mode::Permits { permits, limit } = waiter.mode else { return None };
        let r = &self.resources[waiter.resource];
        if !r.live.fits(waiter.mode) {
            let missing = r.live.units_with(waiter.mode).saturating_sub(limit);
            return self.units_cool_in(now, waiter.resource, missing);
        }
        // Others have the rest: what comes first, here or there, is what is next.
        let ask = r.ask.as_ref().filter(|ask| ask.queued.is_some())?;
        let there = ask.free_at.filter(|&at| at > now).map(|at| at.since(now));
        self.units_cool_in(now, waiter.resource, permits).into_iter().chain(there).min()
    }

    /// When the first unit is back that time brings back, for whoever waits elsewhere.
    pub(crate) fn next_unit_in(&self, now: Time, resource: usize) -> Option<Duration> {
        let free_in = self.units_cool_in(now, resource, 1)?;
        // What another sidecar reads counts in microseconds.
        Some(Duration::from_micros(u64::try_from(free_in.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)))
    }

    /// When so many units have cooled, those of live leases among them; nothing if fewer than that do.
    fn units_cool_in(&self, now: Time, resource: usize, units: u32) -> Option<Duration> {
        let r = &self.resources[resource];
        let live = r.live.iter().filter_map(|lease| {
            let lease = &self.leases[lease];
            Some((lease.rate()?.cools, lease.mode.units()))
        });
        let mut live: Vec<(Time, u32)> = live.collect();
        live.sort_unstable();
        let (mut live, mut spent) =
            (live.into_iter().peekable(), r.spent.iter().flat_map(|spent| &spent.until).peekable());
        let mut cool = 0;
        // The earlier of both, until it is enough.
        let at = loop {
            let next_spent = spent.peek().map(|&(until, units)| (*until, *units));
            let (at, more) = match (live.peek().copied(), next_spent) {
                (Some(first), other) if other.is_none_or(|other| first <= other) => {
                    live.next();
                    first
                }
                (_, other) => {
                    spent.next();
                    other?
                }
            };
            cool += more;
            if cool >= units {
                break at;
            }
        };
        Some(at.since(now)).filter(|free_in| !free_in.is_zero())
    }

    /// Frees what has cooled. The caller serves the resource.
    pub(crate) fn cool(&mut self, now: Time, resource: usize) {
        self.free_spent(resource, now);
    }

    /// The tenure is gone, and with it whatever was bound under it.
    pub(crate) fn forget_spent(&mut self, resource: usize) {
        self.free_spent(resource, Time::MAX);
    }

    fn free_spent(&mut self, resource: usize, by: Time) {
        let r = &mut self.resources[resource];
        if let Some(spent) = &mut r.spent {
            r.live.cool(spent.cool(by));
            r.spent.take_if(|spent| spent.units == 0);
        }
    }
}
