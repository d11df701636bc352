//! Instances prepared ahead.
//!
//! Owns how many there are. They are begun before they are asked, by their policy's lane, which a guest whose runtime takes long
//! to begin (JavaScript, Python) can not do without; each is used once, and taken apart by the lane as well. Must not know what
//! they are asked.

use crate::bindings::World;
use crate::inside::Span;
use crate::instance::{Instance, Mould, Spent};
use crate::lane::Lane;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
pub(crate) struct Stock<W: World>(Arc<Shelf<W>>);

struct Shelf<W: World> {
    mould: Arc<Mould<W>>,
    lane: Arc<Lane>,
    /// What making one may take.
    span: Span,
    wanted: usize,
    ready: Mutex<Vec<Instance<W>>>,
    spent: Mutex<Vec<Spent>>,
    /// The lane has been told.
    filling: AtomicBool,
}

impl<W: World> Stock<W> {
    /// Prepares `wanted` instances now, each within `span`; later ones on the lane.
    pub(crate) fn filled(mould: Arc<Mould<W>>, lane: Arc<Lane>, span: Span, wanted: usize) -> Stock<W> {
        let ready = Mutex::new(Vec::with_capacity(wanted));
        let (spent, filling) = Default::default();
        let shelf = Shelf { mould, lane, span, wanted, ready, spent, filling };
        while shelf.make_one() {}
        Stock(Arc::new(shelf))
    }

    /// One that is ready, if there is one. When half of them are gone, the lane makes others: to wake it for each would take
    /// as long as a decision.
    pub(crate) fn take(&self) -> Option<Instance<W>> {
        if self.0.wanted == 0 {
            return None;
        }
        let (taken, left) = {
            let mut ready = self.0.ready.lock().unwrap_or_else(PoisonError::into_inner);
            (ready.pop(), ready.len())
        };
        if left <= self.0.wanted / 2 {
            fill(&self.0);
        }
        taken
    }

    /// For what is left of one that was taken: the lane drops it when it makes another.
    pub(crate) fn bury(&self, spent: Option<Spent>) {
        self.0.spent.lock().unwrap_or_else(PoisonError::into_inner).extend(spent);
    }

    /// How many there are when none is in use.
    pub(crate) fn wanted(&self) -> usize {
        self.0.wanted
    }

    /// How many are ready now.
    pub(crate) fn ready(&self) -> usize {
        self.0.ready.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Has the lane make what is wanted, one at a time: requests that wait for the lane come in between.
fn fill<W: World>(shelf: &Arc<Shelf<W>>) {
    if shelf.filling.swap(true, SeqCst) {
        return;
    }
    match shelf.lane.reserve() {
        Ok(slot) => {
            // The policy may be gone by then.
            let shelf = Arc::downgrade(shelf);
            slot.put(move || {
                let Some(shelf) = shelf.upgrade() else { return };
                shelf.filling.store(false, SeqCst);
                if shelf.make_one() {
                    fill(&shelf);
                }
            });
        }
        // Somebody else will ask, when fewer wait.
        Err(_) => shelf.filling.store(false, SeqCst),
    }
}

impl<W: World> Shelf<W> {
    /// Makes one, if one is wanted. Whether there was a reason to go on. An instance that can not be made will be missed when it
    /// is asked for: then its fault is told.
    fn make_one(&self) -> bool {
        // First: until then they fill the room that there is for all instances. Nobody who has one to bury waits for that.
        let spent = std::mem::take(&mut *self.spent.lock().unwrap_or_else(PoisonError::into_inner));
        drop(spent);
        if self.ready.lock().unwrap_or_else(PoisonError::into_inner).len() >= self.wanted {
            return false;
        }
        let Ok((instance, _)) = Instance::fresh(&self.mould, self.span) else { return false };
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
        true
    }
}
