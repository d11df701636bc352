//! Instances prepared ahead.
//!
//! Owns how many there are. A guest whose runtime takes long to begin (JavaScript, Python) is begun before it is asked, by its
//! policy's lane; each is used once, and taken apart by the lane as well. Must not know what they are asked.

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
    /// What making one may take.
    span: Span,
    wanted: usize,
    ready: Mutex<Vec<Instance<W>>>,
    spent: Mutex<Vec<Spent>>,
    /// The lane has been told.
    filling: AtomicBool,
}

impl<W: World> Stock<W> {
    /// Prepares `wanted` instances now, each within `span`.
    pub(crate) fn filled(mould: Arc<Mould<W>>, span: Span, wanted: usize) -> Stock<W> {
        let ready = Mutex::new(Vec::with_capacity(wanted));
        let (spent, filling) = Default::default();
        let shelf = Shelf { mould, span, wanted, ready, spent, filling };
        shelf.fill();
        Stock(Arc::new(shelf))
    }

    /// One that is ready, if there is one. When half of them are gone, the lane makes others: to wake it for each would take
    /// as long as a decision.
    pub(crate) fn take(&self, lane: &Lane) -> Option<Instance<W>> {
        if self.0.wanted == 0 {
            return None;
        }
        let (taken, left) = {
            let mut ready = self.0.ready.lock().unwrap_or_else(PoisonError::into_inner);
            (ready.pop(), ready.len())
        };
        if left <= self.0.wanted / 2 && !self.0.filling.swap(true, SeqCst) {
            match lane.reserve() {
                Ok(slot) => {
                    let shelf = self.0.clone();
                    slot.put(move || shelf.fill());
                }
                // Somebody else will ask, when fewer wait.
                Err(_) => self.0.filling.store(false, SeqCst),
            }
        }
        taken
    }

    /// For what is left of one that was taken: the lane drops it when it makes others.
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

impl<W: World> Shelf<W> {
    /// An instance that can not be made will be missed when it is asked for: then its fault is told.
    fn fill(&self) {
        self.filling.store(false, SeqCst);
        drop(std::mem::take(&mut *self.spent.lock().unwrap_or_else(PoisonError::into_inner)));
        while self.ready.lock().unwrap_or_else(PoisonError::into_inner).len() < self.wanted {
            let Ok((instance, _)) = Instance::fresh(&self.mould, self.span) else { return };
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
        }
    }
}
