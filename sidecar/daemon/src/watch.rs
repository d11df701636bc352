//! What watchers see: every event, with its time.
//!
//! Owns the shape and the bound of the stream. Must not know how it is written.

use sidelock_engine::{Event, Time};
use std::rc::Rc;

/// Events a slow watcher may lag behind before it misses some.
pub(crate) const WATCH_LAG_MAX: usize = 4096;

/// One event, shared by all watchers.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Boottime of the turn in which it happened.
    pub at: Time,
    /// What happened. Its session and request identify a lease; it carries no secret.
    pub event: Rc<Event>,
}
