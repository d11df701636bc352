//! What is due when.
//!
//! Owns an ordered set of (time, subject). Must not know what being due means: whoever is woken looks at itself and may
//! find that it is too early, so a stale timer costs a look and nothing else.

use crate::model::{SessionId, Time};
use std::collections::BTreeSet;

/// Who is to look at itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A key: its tenure, its ask, its debts. At most one timer per resource is armed.
    Resource(usize),
    /// A lease's cap.
    Lease(usize),
    /// A waiter's patience.
    Waiter(usize),
    /// The patience of a group that has all its keys.
    Group(usize),
    /// A session's pings and extensions.
    Session(SessionId),
    /// The board, and rounds that look for deadlocks.
    Patrol,
    /// The patience of an inquiry.
    Inquiry(u64),
    /// An operation on a register.
    Register(u64),
    /// The next look at a watched register.
    Watch(u64),
}

/// The ordered set.
#[derive(Default)]
pub(crate) struct Timers(BTreeSet<(Time, Timer)>);

impl Timers {
    pub(crate) fn arm(&mut self, at: Time, timer: Timer) {
        if at < Time::MAX {
            self.0.insert((at, timer));
        }
    }

    pub(crate) fn disarm(&mut self, at: Time, timer: Timer) {
        if at < Time::MAX {
            self.0.remove(&(at, timer));
        }
    }

    /// The next timer due at `now`, taken out.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        match self.0.first() {
            Some(&(at, _)) if at <= now => self.0.pop_first().map(|(_, timer)| timer),
            _ => None,
        }
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.0.first().map(|&(at, _)| at)
    }
}
