//! Once per window, for programs without async; see [`crate::Once`] for what is promised.

use super::{Client, Thread};
use crate::error::Result;
use crate::{Entered as AsyncEntered, LeaseView, LostReason, Outcome, Window};
use std::sync::Arc;
use std::time::Duration;

/// A request to do something once per window; see [`crate::Once`].
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is entered"]
pub struct Once {
    once: crate::Once,
    thread: Arc<Thread>,
}

/// What came of entering.
#[derive(Debug)]
pub enum Entered {
    /// The turn is ours.
    Won(Turn),
    /// Somebody did it.
    Done(Outcome),
}

/// The turn of a once key; see [`crate::Turn`]. Dropping it gives it back, without waiting for the answer.
#[derive(Debug)]
#[must_use = "a turn that is dropped is given back at once"]
pub struct Turn {
    turn: crate::Turn,
    thread: Arc<Thread>,
}

impl Client {
    /// See [`crate::Client::once`].
    pub fn once(&self, key: impl AsRef<str>, window: Window) -> Once {
        Once { once: self.client.once(key, window), thread: self.thread.clone() }
    }
}

impl Once {
    /// See [`crate::Once::wait`].
    pub fn wait(self, wait: Duration) -> Once {
        Once { once: self.once.wait(wait), ..self }
    }

    /// See [`crate::Once::wait_forever`].
    pub fn wait_forever(self) -> Once {
        Once { once: self.once.wait_forever(), ..self }
    }

    /// See [`crate::Once::ttl`].
    pub fn ttl(self, ttl: Duration) -> Once {
        Once { once: self.once.ttl(ttl), ..self }
    }

    /// See [`crate::Once::max_hold`].
    pub fn max_hold(self, max_hold: Duration) -> Once {
        Once { once: self.once.max_hold(max_hold), ..self }
    }

    /// See [`crate::Once::priority`].
    pub fn priority(self, priority: i32) -> Once {
        Once { once: self.once.priority(priority), ..self }
    }

    /// See [`crate::Once::owner`].
    pub fn owner(self, owner: impl AsRef<str>) -> Once {
        Once { once: self.once.owner(owner), ..self }
    }

    /// See [`crate::Once::enter`].
    ///
    /// # Errors
    /// As there.
    pub fn enter(&self) -> Result<Entered> {
        Ok(self.entered(self.thread.wait(self.once.enter())?))
    }

    /// See [`crate::Once::try_enter`].
    ///
    /// # Errors
    /// As there.
    pub fn try_enter(&self) -> Result<Option<Entered>> {
        Ok(self.thread.wait(self.once.try_enter())?.map(|entered| self.entered(entered)))
    }

    /// Runs `body` if the turn is ours and finishes with what it returns, else waits for the one who has it. Either way
    /// returns the result. An error of the body gives the turn back. Nothing interrupts the body when the turn is lost:
    /// a finish after that is an error, and [`LeaseView::is_valid`] tells before.
    ///
    /// # Errors
    /// As [`Once::enter`] and [`Turn::finish`].
    pub fn run<R, E>(
        &self,
        body: impl FnOnce(LeaseView) -> std::result::Result<R, E>,
    ) -> Result<std::result::Result<Vec<u8>, E>>
    where
        R: Into<Vec<u8>>,
    {
        let turn = match self.enter()? {
            Entered::Done(outcome) => return Ok(Ok(outcome.result)),
            Entered::Won(turn) => turn,
        };
        Ok(match body(turn.view()) {
            Ok(result) => {
                let result = result.into();
                turn.finish(&result)?;
                Ok(result)
            }
            Err(error) => {
                // Given back whether it is confirmed or not; the body's error is the one to hear of.
                let _ = turn.give_back();
                Err(error)
            }
        })
    }

    fn entered(&self, entered: AsyncEntered) -> Entered {
        match entered {
            AsyncEntered::Won(turn) => Entered::Won(Turn { turn, thread: self.thread.clone() }),
            AsyncEntered::Done(outcome) => Entered::Done(outcome),
        }
    }
}

impl Turn {
    /// See [`crate::Turn::key`].
    pub fn key(&self) -> &str {
        self.turn.key()
    }

    /// See [`crate::Turn::fence`].
    pub fn fence(&self) -> u64 {
        self.turn.fence()
    }

    /// See [`crate::Turn::deadline`].
    pub fn deadline(&self) -> Duration {
        self.turn.deadline()
    }

    /// See [`crate::Turn::is_valid`].
    pub fn is_valid(&self) -> bool {
        self.turn.is_valid()
    }

    /// A look at it for another thread.
    pub fn view(&self) -> LeaseView {
        self.turn.view()
    }

    /// See [`crate::Turn::renew`].
    ///
    /// # Errors
    /// As there.
    pub fn renew(&self, ttl: Duration) -> Result<()> {
        self.thread.wait(self.turn.renew(ttl))
    }

    /// See [`crate::Turn::lost`]: blocks until then.
    pub fn lost(&self) -> LostReason {
        self.thread.wait(self.turn.lost())
    }

    /// See [`crate::Turn::finish`].
    ///
    /// # Errors
    /// As there.
    pub fn finish(self, result: impl AsRef<[u8]>) -> Result<()> {
        self.thread.wait(self.turn.finish(result))
    }

    /// See [`crate::Turn::give_back`].
    ///
    /// # Errors
    /// As there.
    pub fn give_back(self) -> Result<()> {
        self.thread.wait(self.turn.give_back())
    }
}
