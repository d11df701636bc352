//! Where the engine's answers leave for a session.
//!
//! Owns the shape of what a session is told, and the [`Inbox`]: the outlet of doors that await answers one by one. Must
//! not know how anything is written on a wire.

use sidelock_engine::{Notice, Reply, RequestId};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use tokio::sync::Notify;

/// Messages an [`Inbox`] keeps for a reader that does not read; one more and the session is cut off (P6).
const INBOX_MAX: usize = 1024;

/// One thing a session is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    /// The answer to one of its requests.
    Reply {
        /// Which request.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// Something unasked.
    Notice(Notice),
}

/// The session's reader is too slow: what it has not read exceeds its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// The way out to one session. The driver calls it from its own turn, so nothing here may block.
pub(crate) trait Outlet {
    /// Takes a message, in order. [`Overflow`]: the driver ends the session as cut off by the sidecar.
    fn deliver(&self, told: Told) -> Result<(), Overflow>;

    /// The turn is over: write what was taken. Called once per turn in which something was delivered.
    fn flush(&self) {}

    /// The driver ended the session: nothing more will come.
    fn close(&self);
}

/// An outlet that keeps messages until they are asked for. Each `extended` replaces the one before it, as P6 has it.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: RefCell<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Told>,
    closed: bool,
}

impl Inbox {
    /// An empty one, shared between the driver and its reader.
    pub(crate) fn new() -> Rc<Inbox> {
        Rc::default()
    }

    /// The next message, in order; `None` once the driver ended the session and everything was read. Dropping the future
    /// loses nothing. One reader at a time.
    pub(crate) async fn recv(&self) -> Option<Told> {
        loop {
            {
                let mut waiting = self.waiting.borrow_mut();
                if let Some(told) = waiting.messages.pop_front() {
                    return Some(told);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }
}

impl Outlet for Inbox {
    fn deliver(&self, told: Told) -> Result<(), Overflow> {
        let waiting = &mut *self.waiting.borrow_mut();
        let is_extended = |told: &Told| matches!(told, Told::Notice(Notice::Extended { .. }));
        if is_extended(&told) && waiting.messages.back().is_some_and(is_extended) {
            waiting.messages.pop_back();
        } else if waiting.messages.len() >= INBOX_MAX {
            return Err(Overflow);
        }
        waiting.messages.push_back(told);
        self.arrived.notify_one();
        Ok(())
    }

    fn close(&self) {
        self.waiting.borrow_mut().closed = true;
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_engine::Time;

    fn extended(until: u64) -> Told {
        Told::Notice(Notice::Extended { until: Time(until), except: Vec::new() })
    }

    #[tokio::test]
    async fn extended_is_state_and_only_the_latest_is_kept() {
        let inbox = Inbox::new();
        for until in 0..10 * INBOX_MAX as u64 {
            inbox.deliver(extended(until)).expect("extended never overflows");
        }
        inbox.deliver(Told::Notice(Notice::Draining)).unwrap();
        inbox.deliver(extended(1)).unwrap();
        inbox.close();
        assert_eq!(inbox.recv().await, Some(extended(10 * INBOX_MAX as u64 - 1)));
        assert_eq!(inbox.recv().await, Some(Told::Notice(Notice::Draining)));
        assert_eq!(inbox.recv().await, Some(extended(1)), "order with other messages is kept");
        assert_eq!(inbox.recv().await, None);
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_overflows() {
        let inbox = Inbox::new();
        for _ in 0..INBOX_MAX {
            inbox.deliver(Told::Notice(Notice::Draining)).unwrap();
        }
        assert_eq!(inbox.deliver(Told::Notice(Notice::Draining)), Err(Overflow));
    }
}
