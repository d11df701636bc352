//! Who leads, for blocking programs.
//!
//! Owns the wrapper. What it does is said at [`crate::Observer`].

use super::{Leader, Thread};
use crate::error::Result;
use std::sync::Arc;

/// Who leads, seen from outside; see [`crate::Observer`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is asked"]
pub struct Observer {
    observer: crate::Observer,
    thread: Arc<Thread>,
}

impl Leader {
    /// See [`crate::Leader::observe`].
    pub fn observe(&self) -> Observer {
        Observer { observer: self.leader.observe(), thread: self.thread.clone() }
    }
}

impl Observer {
    /// See [`crate::Observer::current`].
    ///
    /// # Errors
    /// As there.
    pub fn current(&self) -> Result<Option<crate::Holder>> {
        self.thread.wait(self.observer.current())
    }

    /// See [`crate::Observer::changed`].
    ///
    /// # Errors
    /// As there.
    pub fn changed(&mut self) -> Result<Option<crate::Holder>> {
        self.thread.wait(self.observer.changed())
    }
}
