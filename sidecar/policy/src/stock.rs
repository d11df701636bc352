//! Instances prepared ahead.
//!
//! Owns how many there are. They are begun before they are asked, by their policy's lane, which a guest whose runtime takes long
//! to begin (JavaScript, Python) can not do without; each is used once, and taken apart by the lane as well. The lane is woken
//! at a tick, not by those who take: that would take as long as a decision. Must not know what they are asked.

use crate::bindings::World;
use crate::inside::Span;
use crate::instance::{Instance, Mould, Spent};
use crate::lane::Lane;
use crate::ticker::Chore;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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
        let shelf = Arc::new(shelf);
        let chore: Weak<dyn Chore> = Arc::<Shelf<W>>::downgrade(&shelf);
        shelf.mould.ticker.see_to(chore);
        Stock(shelf)
    }

    /// One that is ready, if there is one. If none is left, the lane is told at once.
    pub(crate) fn take(&self) -> Option<Instance<W>> {
        if self.0.wanted == 0 {
            return None;
        }
        let (taken, left) = {
            let mut ready = self.0.ready();
            (ready.pop(), ready.len())
        };
        if left == 0 {
            fill(&self.0);
        }
        taken
    }

    /// For what is left of an instance that was asked: the lane drops it when it comes to that.
    pub(crate) fn bury(&self, spent: Option<Spent>) {
        self.0.spent().extend(spent);
    }

    /// How many there are when none is in use.
    pub(crate) fn wanted(&self) -> usize {
        self.0.wanted
    }

    /// How many are ready now.
    pub(crate) fn ready(&self) -> usize {
        self.0.ready().len()
    }
}

impl<W: World> Chore for Shelf<W> {
    /// Whether half of those that are ready are gone, or others are to be taken apart.
    fn look_after(self: Arc<Self>) {
        let ready = self.ready().len();
        let is_wanted = ready <= self.wanted / 2 && ready < self.wanted;
        if is_wanted || !self.spent().is_empty() {
            fill(&self);
        }
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
    fn ready(&self) -> MutexGuard<'_, Vec<Instance<W>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spent(&self) -> MutexGuard<'_, Vec<Spent>> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one, if one is wanted. Whether there was a reason to go on. An instance that can not be made will be missed when it
    /// is asked for: then its fault is told.
    fn make_one(&self) -> bool {
        // First: until then they fill the room that there is for all instances. Nobody who has one to bury waits for that.
        let spent = std::mem::take(&mut *self.spent());
        drop(spent);
        if self.ready().len() >= self.wanted {
            return false;
        }
        let Ok((instance, _)) = Instance::fresh(&self.mould, self.span) else { return false };
        self.ready().push(instance);
        true
    }
}
