//! Pins: leases that an unresolved store operation is bound to (P17, P18).
//!
//! Owns which leases are pinned, and who is told once they are free. A pinned lease that ends is over for its client at
//! once, but what it holds stays taken: as long as the operation may still run, nobody else may hold the key. That lasts
//! until the last operation bound to it is resolved, or until its tenure is gone, which the store checks in the step itself.
//! Must not know what the operations are.

use crate::effect::Reply;
use crate::engine::Engine;
use crate::model::{RequestId, SessionId, Time};
use std::collections::HashMap;

/// One operation's hold on a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    lease: usize,
    /// Never used twice: the lease's place may be another's by the time the operation is resolved.
    number: u64,
}

/// All pins. Empty but for leases with an operation under way.
#[derive(Default)]
pub(crate) struct Pins {
    next: u64,
    by_lease: HashMap<usize, Pinned>,
}

/// One pinned lease.
#[derive(Default)]
struct Pinned {
    numbers: Vec<u64>,
    /// It ended, and is only kept because of its pins.
    is_over: bool,
    /// Releases to be answered when it is free.
    releases: Vec<(SessionId, RequestId)>,
}

impl Pins {
    fn add(&mut self, lease: usize) -> Pin {
        let number = self.next;
        self.next += 1;
        self.by_lease.entry(lease).or_default().numbers.push(number);
        Pin { lease, number }
    }

    /// Takes a pin out. What is known of its lease, if that had ended and this was the last.
    fn remove(&mut self, pin: Pin) -> Option<Pinned> {
        let pinned = self.by_lease.get_mut(&pin.lease)?;
        let place = pinned.numbers.iter().position(|number| *number == pin.number)?;
        pinned.numbers.swap_remove(place);
        if !pinned.numbers.is_empty() {
            return None;
        }
        self.by_lease.remove(&pin.lease).filter(|pinned| pinned.is_over)
    }

    /// The lease ends: whether it has to be kept.
    pub(crate) fn keep(&mut self, lease: usize) -> bool {
        let pinned = self.by_lease.get_mut(&lease);
        pinned.map(|pinned| pinned.is_over = true).is_some()
    }

    /// Whether an operation is under way that is bound to the lease.
    pub(crate) fn holds(&self, lease: usize) -> bool {
        self.by_lease.contains_key(&lease)
    }

    /// Whether the lease has ended and is only kept.
    pub(crate) fn is_over(&self, lease: usize) -> bool {
        self.by_lease.get(&lease).is_some_and(|pinned| pinned.is_over)
    }

    /// Has a release answered when the lease is free; `false`: it is.
    pub(crate) fn tell_when_free(&mut self, lease: usize, session: SessionId, request: RequestId) -> bool {
        let pinned = self.by_lease.get_mut(&lease);
        pinned.map(|pinned| pinned.releases.push((session, request))).is_some()
    }
}

impl Engine {
    /// Binds an operation to a live lease.
    pub(crate) fn pin(&mut self, lease: usize) -> Pin {
        self.pins.add(lease)
    }

    /// The operation is resolved, or can no longer run. If its lease ended meanwhile, the key is free now.
    pub(crate) fn unpin(&mut self, now: Time, pin: Pin) {
        if let Some(pinned) = self.pins.remove(pin) {
            let resource = self.free_lease(pin.lease);
            self.answer_releases(pinned);
            self.serve(now, resource);
        }
    }

    /// The tenure under the lease is gone: nothing that is bound to it can run any more. (Or it came again under its own name, until
    /// its return is applied: then what runs bears a fence that nobody after it accepts.)
    pub(crate) fn drop_pins(&mut self, lease: usize) {
        if let Some(pinned) = self.pins.by_lease.remove(&lease) {
            self.answer_releases(pinned);
        }
    }

    fn answer_releases(&mut self, pinned: Pinned) {
        for (session, request) in pinned.releases {
            self.reply(session, request, Reply::Released);
        }
    }
}
