//! What the store decided, read off its record after every operation.
//!
//! Owns the comparison with the record as it was before. Must not know who asked for what.

use super::World;
use super::hosts::{number, sidecar_of};
use super::servers::Servers;
use crate::checker::history::{At, Event};
use sidelock_engine::{AskId, Fence};
use sidelock_store::record::{Entry, Tenure};

/// What an operation was, as far as it matters what it changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// This ask, for all of a key of which its sidecar has a share.
    Upgrade(AskId),
    /// A tenure was put back.
    Reassert,
    /// An operator's order.
    Force,
    /// Anything else.
    Other,
}

/// A record's tenures and queue as they were.
#[derive(Default)]
struct Shadow {
    tenures: Vec<Tenure>,
    queue: Vec<Entry>,
    /// Of which turn the success was that is kept.
    kept: Option<(AskId, Fence)>,
}

/// All records as they were.
pub(crate) struct Truth(Vec<Shadow>);

impl Truth {
    pub(crate) fn new(keys: usize) -> Truth {
        Truth((0..keys).map(|_| Shadow::default()).collect())
    }

    pub(crate) fn flush(&mut self) {
        for shadow in &mut self.0 {
            *shadow = Shadow::default();
        }
    }

    pub(crate) fn evict(&mut self, key: usize) {
        self.0[key] = Shadow::default();
    }

    /// Whether anybody waits in any queue.
    pub(crate) fn anybody_queued(&self) -> bool {
        self.0.iter().any(|shadow| !shadow.queue.is_empty())
    }

    /// Whether an offer to this sidecar stands.
    pub(crate) fn offered(&self, sidecar: u32) -> bool {
        let mut entries = self.0.iter().flat_map(|shadow| &shadow.queue);
        entries.any(|entry| entry.offered && sidecar_of(entry.id.incarnation) == sidecar)
    }

    /// Keys that some sidecar has.
    pub(crate) fn held_keys(&self) -> Vec<usize> {
        (0..self.0.len()).filter(|&key| !self.0[key].tenures.is_empty()).collect()
    }

    /// The highest fence of this tenure, before the operation under way.
    pub(crate) fn last_fence(&self, key: usize, id: sidelock_engine::AskId) -> Option<u64> {
        let tenure = self.0[key].tenures.iter().find(|tenure| tenure.id == id)?;
        Some(tenure.range.last)
    }

    /// Whether this tenure stood, before the operation under way.
    pub(crate) fn stood(&self, key: usize, id: AskId) -> bool {
        self.0[key].tenures.iter().any(|tenure| tenure.id == id)
    }
}

impl World {
    /// A replica is the primary now: what it knows, and others do not. Who waits there has a place again.
    pub(crate) fn observe_replica(&mut self) {
        for key in 0..self.keys.len() {
            let Some(record) = self.store.record(&self.keys[key]) else { continue };
            let mut known = Shadow::default();
            known.tenures.extend_from_slice(&record.tenures);
            known.queue.extend_from_slice(&record.queue);
            let number = u32::try_from(key).expect("few keys");
            for entry in &known.queue {
                self.observe_entry(number, None, &Entry { offered: false, ..*entry });
            }
            self.truth.0[key] = known;
        }
    }

    /// An operation ran on a key: writes down what it changed.
    pub(crate) fn observe(&mut self, key: usize, cause: Cause) {
        let number = u32::try_from(key).expect("few keys");
        let mut before = std::mem::take(&mut self.truth.0[key]);
        let mut after = Shadow::default();
        let now = self.store_clock.read(self.now);
        if let Some(record) = self.store.record(&self.keys[key]) {
            after.tenures.extend_from_slice(&record.tenures);
            after.queue.extend_from_slice(&record.queue);
            after.kept = record.kept.as_deref().map(|kept| (kept.tenure, kept.fence));
        }
        if after.kept.is_some() && after.kept != before.kept {
            let kept = self.store.record(&self.keys[key]).and_then(|record| record.kept.clone());
            self.observe_success(key, &kept.expect("it was there just now"));
        }
        for tenure in &before.tenures {
            if !after.tenures.iter().any(|other| other.id == tenure.id) {
                let sidecar = sidecar_of(tenure.id.incarnation);
                self.record_at_store(Event::Returned { sidecar, key: number });
            }
        }
        for entry in &before.queue {
            let incarnation = entry.id.incarnation;
            let stays = after.queue.iter().any(|other| other.id == entry.id);
            let lapsed = entry.until <= now;
            if (lapsed || !stays) && !after.tenures.iter().any(|tenure| tenure.id == entry.id) {
                let sidecar = sidecar_of(incarnation);
                if cause == Cause::Force && entry.offered {
                    self.record_at_store(Event::OfferTaken { key: number });
                }
                self.record_at_store(Event::Left { sidecar, key: number });
            }
        }
        before.queue.retain(|entry| entry.until > now);
        // In the order of the queue as it was, newcomers last: so the store served them within the operation.
        let place = |id| before.queue.iter().position(|entry| entry.id == id).unwrap_or(usize::MAX);
        let entries = after.queue.iter().map(|entry| (place(entry.id), Ok(entry)));
        let tenures = after.tenures.iter().map(|tenure| (place(tenure.id), Err(tenure)));
        let mut changes: Vec<(usize, Result<&Entry, &Tenure>)> = entries.chain(tenures).collect();
        changes.sort_by_key(|(place, _)| *place);
        for (_, change) in changes {
            match change {
                Ok(entry) => {
                    let was = before.queue.iter().find(|other| other.id == entry.id);
                    self.observe_entry(number, was, entry);
                }
                Err(tenure) => {
                    let was = before.tenures.iter().find(|other| other.id == tenure.id);
                    self.observe_tenure(number, was, tenure, cause);
                }
            }
        }
        self.truth.0[key] = after;
    }

    /// A tenure was taken by order. A replica that is the primary now may know only what it grew into something since: then
    /// nobody was taken anything.
    pub(crate) fn observe_taken(&mut self, key: usize, id: AskId) {
        let (sidecar, number) = (sidecar_of(id.incarnation), number(key));
        let last = self.truth.last_fence(key, id).expect("what is taken stood");
        let Some(servers) = &self.servers else {
            return self.log.record(Event::Forced { sidecar, key: number, last });
        };
        let last = last.max(servers.reserved(number, id).unwrap_or_default());
        let engines = self.hosts.iter().filter(|host| host.sidecar == sidecar);
        let mut views = engines.filter_map(|host| host.engine.as_ref()?.look(&self.keys[key], usize::MAX));
        let has_grown = views.any(|view| view.tenure.is_some_and(|tenure| tenure.id.seq > id.seq));
        if !has_grown {
            self.log.record(Event::Forced { sidecar, key: number, last });
        }
    }

    /// Places, and whose turn it is, are the primary's business.
    fn record_at_store(&mut self, event: Event) {
        if !self.servers.as_ref().is_some_and(Servers::is_aside) {
            self.log.record(event);
        }
    }

    fn observe_tenure(&mut self, key: u32, was: Option<&Tenure>, is: &Tenure, cause: Cause) {
        let sidecar = sidecar_of(is.id.incarnation);
        // What was put back was seated, and had its fences reserved, before.
        let is_put_back = was.is_none() && cause == Cause::Reassert;
        if was.is_none() && !is_put_back {
            let (ask, upgrade) = (is.id.seq, cause == Cause::Upgrade(is.id));
            self.record_at_store(Event::Seated { sidecar, key, ask, units: is.units, upgrade });
        }
        if was.is_some_and(|was| was.units != is.units) {
            self.record_at_store(Event::Kept { sidecar, key, units: is.units });
        }
        if was.is_none_or(|was| was.range != is.range) && !is_put_back {
            let (first, last) = (is.range.first, is.range.last);
            if let Some(servers) = &mut self.servers {
                servers.note_reserved(key, is.id, last);
                self.flush_after_reserving();
            }
            self.log.record(Event::Reserved { sidecar, key, first, last });
        }
        if was.is_none_or(|was| was.until != is.until) {
            let until: At = self.store_clock.when(is.until);
            self.log.record(Event::Confirmed { sidecar, key, until });
        }
    }

    fn observe_entry(&mut self, key: u32, was: Option<&Entry>, is: &Entry) {
        let sidecar = sidecar_of(is.id.incarnation);
        let ask = is.id.seq;
        let newly_offered = is.offered && !was.is_some_and(|was| was.offered);
        if was.is_none() || (!is.offered && was != Some(is)) {
            let until = self.store_clock.when(is.until);
            self.record_at_store(Event::Entered { sidecar, key, ask, until, upgrade: is.upgrade });
        }
        if newly_offered {
            self.record_at_store(Event::Offered { sidecar, key, ask });
        }
    }
}
