//! Instances prepared ahead.
//!
//! Owns how many there are. A guest whose runtime takes long to begin (JavaScript, Python) is begun before it is asked, by its
//! policy's lane; each is used once. Must not know what they are asked.

use crate::bindings::World;
use crate::inside::Span;
use crate::instance::{Instance, Mould};
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
    /// The lane has been told.
    filling: AtomicBool,
}

impl<W: World> Stock<W> {
    /// Prepares `wanted` instances now, each within `span`.
    pub(crate) fn filled(mould: Arc<Mould<W>>, span: Span, wanted: usize) -> Stock<W> {
        let ready = Mutex::new(Vec::with_capacity(wanted));
        let shelf = Shelf { mould, span, wanted, ready, filling: AtomicBool::new(false) };
        shelf.fill();
        Stock(Arc::new(shelf))
    }

    /// One that is ready, if there is one. What is taken is made anew by the lane.
    pub(crate) fn take(&self, lane: &Lane) -> Option<Instance<W>> {
        if self.0.wanted == 0 {
            return None;
        }
        let taken = self.0.ready.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if !self.0.filling.swap(true, SeqCst) {
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
        while self.ready.lock().unwrap_or_else(PoisonError::into_inner).len() < self.wanted {
            let Ok((instance, _)) = Instance::fresh(&self.mould, self.span) else { return };
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
        }
    }
}
