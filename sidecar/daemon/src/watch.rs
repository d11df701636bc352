//! What watchers see: every event, with its time.
//!
//! Owns the shape and the bound of the stream. Must not know how it is written.

use sidelock_engine::{Event, Time};
use std::rc::Rc;

/// Events a slow watcher may lag behind before it misses some.
pub(crate) const WATCH_LAG_MAX: usize = 4096;

/// One event, shared by all watchers.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// Boottime of the turn in which it happened.
    pub(crate) at: Time,
    /// What happened. Its session and request identify a lease; it carries no secret.
    pub(crate) event: Rc<Event>,
}
