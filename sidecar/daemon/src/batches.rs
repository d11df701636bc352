//! How much a session may say before others have their turn (H15).
//!
//! Owns the two sizes of a batch, and who was heard last. Must not know what is said.
//!
//! Large batches save writes and wakes, but whoever comes meanwhile waits for their end. So they are for a session that is
//! alone; beside others it hands over a few requests at a time. Who asks less than some ten times a second is no company:
//! it may wait for one large batch, which takes some tens of microseconds.

use sidelock_engine::SessionId;
use std::cell::Cell;

/// Requests of a session that is alone: some tens of microseconds. Half as many cost it a quarter more system time.
pub(crate) const BATCH_ALONE: usize = 64;
/// Requests of a session beside others: what they wait for its sake is about what their own request takes.
pub(crate) const BATCH_IN_COMPANY: usize = 8;
/// Batches of one session in a row after which it counts as alone: a tenth of a second at full speed, so that who asks
/// ten times a second is company.
const ALONE_AFTER: u32 = 10_000;

/// See the module. One for all sessions of a sidecar.
#[derive(Debug)]
pub(crate) struct Batches {
    last: Cell<SessionId>,
    in_a_row: Cell<u32>,
}

impl Batches {
    /// Nobody was heard yet.
    pub(crate) fn new() -> Batches {
        Batches { last: Cell::new(SessionId(0)), in_a_row: Cell::new(0) }
    }

    /// The session says something.
    pub(crate) fn heard(&self, session: SessionId) {
        if self.last.replace(session) != session {
            self.in_a_row.set(0);
        }
    }

    /// How many requests the session may hand over now.
    pub(crate) fn batch(&self, session: SessionId) -> usize {
        let in_a_row = if self.last.get() == session { self.in_a_row.get() } else { 0 };
        if in_a_row < ALONE_AFTER {
            self.in_a_row.set(in_a_row + 1);
        }
        if in_a_row >= ALONE_AFTER { BATCH_ALONE } else { BATCH_IN_COMPANY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn company_makes_batches_small_until_it_was_silent_for_long() {
        let (busy, quiet) = (SessionId(1), SessionId(2));
        let batches = Batches::new();
        let say = |session| {
            batches.heard(session);
            batches.batch(session)
        };
        let mut batches = 0;
        while say(busy) == BATCH_IN_COMPANY {
            batches += 1;
        }
        assert_eq!(batches, ALONE_AFTER);
        assert_eq!(say(busy), BATCH_ALONE);
        say(quiet);
        assert_eq!(say(busy), BATCH_IN_COMPANY, "not alone any more");
    }
}
