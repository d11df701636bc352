//! First come, first served: within a sidecar by priority, between sidecars in the store's queue.
//!
//! Owns the FIFO half of L2. Must not know how long anything takes.

use super::book::Book;
use super::history::{At, Bounds, Event, Req};
use super::{Findings, Rule, slot};
use std::time::Duration;

/// Clocks differ by a hundredth at most: so much may a second of priority be worth more or less.
const PRIORITY_LEEWAY_NS: i64 = 10_000_000;
/// An entry that lapses this soon may have lapsed by the store's rounded clock.
const LAPSE_LEEWAY: Duration = Duration::from_millis(2);
/// What one point of priority is worth.
const PRIORITY_NS: i64 = 1_000_000_000;

/// A waiter in a sidecar.
#[derive(Clone, Copy)]
struct Waiter {
    of: Req,
    priority: i32,
    arrived: At,
    /// Arrival less what its priority is worth: who is lower comes first.
    rank: i64,
}

/// A sidecar's place in a key's queue in the store.
#[derive(Clone, Copy)]
struct Entry {
    sidecar: u32,
    ask: u64,
    since: At,
    until: At,
    /// Its last ask ran then: an operation that both settled the queue and changed this entry shows only the result.
    asked: At,
    offered: bool,
    /// It goes first, whoever came before it.
    upgrade: bool,
}

impl Entry {
    fn new(at: At, sidecar: u32, ask: u64, until: At, upgrade: bool) -> Entry {
        Entry { sidecar, ask, since: at, until, asked: at, offered: false, upgrade }
    }
}

/// The rules on order.
#[derive(Default)]
pub(super) struct Order {
    /// Per sidecar and key.
    waiters: Vec<Vec<Vec<Waiter>>>,
    /// Per key, in order of arrival.
    entries: Vec<Vec<Entry>>,
}

impl Order {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Arrived { of } => self.arrived(at, of, book),
            Event::Issued { lease, .. } => self.granted(at, lease, book, found),
            Event::Dropped { of } => {
                if let Some((acquire, sidecar)) = book.acquire(of) {
                    self.queue(sidecar, acquire.key).retain(|waiter| waiter.of != of);
                }
            }
            Event::Crashed { sidecar } => slot(&mut self.waiters, sidecar).clear(),
            Event::Entered { sidecar, key, ask, until, upgrade } => {
                self.entered(at, key, Entry::new(at, sidecar, ask, until, upgrade))
            }
            Event::Left { sidecar, key } => {
                slot(&mut self.entries, key).retain(|entry| entry.sidecar != sidecar);
            }
            Event::Offered { sidecar, key, ask } => {
                self.turn(at, key, sidecar, ask, bounds, found);
                let entries = slot(&mut self.entries, key).iter_mut();
                for entry in entries.filter(|entry| entry.sidecar == sidecar && entry.ask == ask) {
                    entry.offered = true;
                }
            }
            Event::Seated { sidecar, key, ask, upgrade, .. } => {
                if !upgrade {
                    self.turn(at, key, sidecar, ask, bounds, found);
                }
                slot(&mut self.entries, key).retain(|entry| entry.sidecar != sidecar);
            }
            Event::Flushed => self.entries.clear(),
            Event::Evicted { key } => slot(&mut self.entries, key).clear(),
            _ => {}
        }
    }

    fn queue(&mut self, sidecar: u32, key: u32) -> &mut Vec<Waiter> {
        slot(slot(&mut self.waiters, sidecar), key)
    }

    fn arrived(&mut self, at: At, of: Req, book: &Book) {
        let Some((acquire, sidecar)) = book.acquire(of) else {
            return;
        };
        // It enters the queue when it has the keys before this one.
        if acquire.group.is_some() {
            return;
        }
        let now = i64::try_from(at.0).expect("a run shorter than three centuries");
        self.queue(sidecar, acquire.key).push(Waiter {
            of,
            priority: acquire.priority,
            arrived: at,
            rank: match acquire.upgrades {
                Some(_) => i64::MIN,
                None => now - i64::from(acquire.priority) * PRIORITY_NS,
            },
        });
    }

    fn granted(&mut self, at: At, lease: Req, book: &Book, found: &mut Findings) {
        let Some((acquire, sidecar)) = book.acquire(lease) else {
            return;
        };
        let queue = self.queue(sidecar, acquire.key);
        let Some(index) = queue.iter().position(|waiter| waiter.of == lease) else {
            return;
        };
        let me = queue.swap_remove(index);
        // A host whose clock stood still weighs priorities on a clock that the history does not show.
        let frozen = book.sidecar(sidecar).froze_at.is_some();
        let mut comparable = queue.iter().filter(|other| !frozen || other.priority == me.priority);
        let ahead = comparable.find(|other| {
            let leeway = i64::from((me.priority - other.priority).abs()) * PRIORITY_LEEWAY_NS;
            // Who arrives in the instant of a grant may have come after it.
            other.arrived < at && other.rank + leeway < me.rank
        });
        if let Some(ahead) = ahead {
            found.add(Rule::LocalOrder, || {
                format!("key {}: {lease} was served before {}, which was ahead", acquire.key, ahead.of)
            });
        }
    }

    fn entered(&mut self, at: At, key: u32, new: Entry) {
        let entries = slot(&mut self.entries, key);
        match entries.iter_mut().find(|entry| entry.sidecar == new.sidecar && entry.ask == new.ask) {
            Some(entry) => {
                entry.until = new.until;
                entry.asked = at;
                entry.offered = false;
            }
            None => {
                entries.retain(|entry| entry.sidecar != new.sidecar);
                entries.push(new);
            }
        }
    }

    /// It is a sidecar's turn, by an offer or, without one, by a tenure: nobody who entered before it still waits.
    fn turn(&mut self, at: At, key: u32, sidecar: u32, ask: u64, bounds: &Bounds, found: &mut Findings) {
        let entries = slot(&mut self.entries, key);
        let mine = entries.iter().find(|entry| entry.sidecar == sidecar && entry.ask == ask);
        if mine.is_some_and(|mine| mine.offered || mine.upgrade) || !bounds.clocks_agree {
            return;
        }
        let since = mine.map_or(at, |mine| mine.since);
        let ahead = entries.iter().find(|entry| {
            entry.sidecar != sidecar
                && entry.since < since
                && !entry.offered
                && entry.asked < at
                && entry.until > at + LAPSE_LEEWAY
        });
        if let Some(ahead) = ahead {
            found.add(Rule::StoreOrder, || {
                format!(
                    "key {key}: it was sidecar {sidecar}'s turn before that of sidecar {}, which waits since {}",
                    ahead.sidecar, ahead.since
                )
            });
        }
    }
}
