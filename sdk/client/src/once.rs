//! Once per window: the turn of a key, or what somebody else's turn left.
//!
//! Owns the request, the turn and its end. A turn is a lease: it is lost, renewed and given back as any other.

use crate::acquire::{Asking, Gain};
use crate::client::{Client, Handle};
use crate::clock;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::lease::{Lease, LeaseView, Releasing, out_of_turn};
use crate::mode::still_ours;
use crate::request::{Request, another_kind};
use crate::slots::Answer;
use sidelock_wire::{LostReason, Mode, Window};
use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

/// A request to do something once per window. Made by [`Client::once`]; to be awaited, or entered many times.
///
/// **What is promised**: at most one *successful finish* per window. Whoever comes first is given the turn; the others
/// wait for it, and when it is finished they all get its result instead of a turn, as does everybody who comes before
/// the window ends. A body may run *again* if its runner dies, loses its lease, gives the turn back, or the store loses
/// its data: what must not happen twice has to be guarded by [`Turn::fence`] besides, or be harmless when repeated.
///
/// ```no_run
/// # async fn f(sl: sidelock_client::Client) -> sidelock_client::Result<()> {
/// # use std::time::Duration;
/// use sidelock_client::{Entered, Window};
/// match sl.once("nightly", Window::utc(Duration::from_secs(86_400))).await? {
///     Entered::Won(turn) => turn.finish(b"42 rows").await?, // after it is done
///     Entered::Done(outcome) => assert_eq!(&*outcome, b"42 rows"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited or entered"]
pub struct Once {
    request: Request,
}

/// What came of entering.
#[derive(Debug)]
pub enum Entered {
    /// The turn is ours.
    Won(Turn),
    /// Somebody did it.
    Done(Outcome),
}

/// What a finished turn left: the bytes, by dereference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The result.
    pub result: Vec<u8>,
    /// When it was finished, by the store's clock, in whole milliseconds.
    pub finished_at: SystemTime,
}

/// The turn of a once key. Dropping it gives it back: then the next who waits has it.
#[derive(Debug)]
#[must_use = "a turn that is dropped is given back at once"]
pub struct Turn {
    lease: Lease,
}

impl Client {
    /// What is to be done once per `window` under the name `key`: 1 to 512 bytes, a name space of its own beside that of
    /// the locks. All who use a key should agree on its window; that of the turn that succeeds counts.
    pub fn once(&self, key: impl AsRef<str>, window: Window) -> Once {
        let mut request = Request::new(&self.handle, Arc::from(key.as_ref()), Mode::Exclusive);
        request.wish.once = Some(window);
        Once { request }
    }
}

impl Deref for Outcome {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.result
    }
}

impl Once {
    /// Waits so long at most for whoever has the turn, in whole milliseconds. Without this: the client's `default_wait`.
    pub fn wait(self, wait: Duration) -> Once {
        Once { request: self.request.wait(wait) }
    }

    /// Waits for as long as it takes.
    pub fn wait_forever(self) -> Once {
        Once { request: self.request.wait_forever() }
    }

    /// Loses the turn `ttl` after its grant or its last [`Turn::renew`]. Without this the session keeps it alive.
    pub fn ttl(self, ttl: Duration) -> Once {
        Once { request: self.request.ttl(ttl) }
    }

    /// Loses the turn so long after its grant: a runner that hangs holds the others up no longer than this.
    pub fn max_hold(self, max_hold: Duration) -> Once {
        Once { request: self.request.max_hold(max_hold) }
    }

    /// Ahead of local waiters with a lower priority, -100 to 100; a waiter gains one a second. Without this: 0.
    pub fn priority(self, priority: i32) -> Once {
        Once { request: self.request.priority(priority) }
    }

    /// The sequential actor that asks, for the detection of deadlocks: a task, a thread.
    pub fn owner(self, owner: impl AsRef<str>) -> Once {
        Once { request: self.request.owner(owner) }
    }

    /// Enters: the turn, or what another one left. Dropping the future leaves the queue, and gives a turn back that raced
    /// that.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::WaitTimeout`] if the wait is over and somebody still has the turn.
    pub fn enter(&self) -> Entering {
        self.clone().into_future()
    }

    /// As [`Once::enter`], without waiting if no wait was said; `None`: somebody has the turn and is at it.
    ///
    /// # Errors
    /// See [`Error`]; being held by somebody else is none.
    pub async fn try_enter(&self) -> Result<Option<Entered>> {
        let mut once = self.clone();
        if !once.request.wait_is_said {
            once.request.wish.wait = Some(Duration::ZERO);
        }
        match once.await {
            Ok(entered) => Ok(Some(entered)),
            Err(Error::WaitTimeout(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs `body` if the turn is ours, finishes with what it returns, and drops it in the middle if the turn is lost;
    /// else waits for the one who has it. Either way returns the result. An error of the body gives the turn back.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::LeaseLost`] if the turn was lost before the body was done.
    pub async fn run<F, Fut, R, E>(&self, body: F) -> Result<std::result::Result<Vec<u8>, E>>
    where
        F: FnOnce(LeaseView) -> Fut,
        Fut: Future<Output = std::result::Result<R, E>>,
        R: Into<Vec<u8>>,
    {
        let turn = match self.enter().await? {
            Entered::Done(outcome) => return Ok(Ok(outcome.result)),
            Entered::Won(turn) => turn,
        };
        let output = tokio::select! {
            // First, so that nothing of the body runs after the loss is known.
            biased;
            reason = turn.lost() => return Err(Error::LeaseLost { key: Arc::from(turn.key()), reason }),
            output = body(turn.view()) => output,
        };
        match output {
            Ok(result) => {
                let result = result.into();
                turn.finish(&result).await?;
                Ok(Ok(result))
            }
            Err(error) => {
                // Given back whether it is confirmed or not; the body's error is the one to hear of.
                let _ = turn.give_back().await;
                Ok(Err(error))
            }
        }
    }
}

impl IntoFuture for Once {
    type Output = Result<Entered>;
    type IntoFuture = Entering;

    fn into_future(self) -> Entering {
        let Request { handle, wish, .. } = self.request;
        let key = wish.key.clone();
        Entering { asking: Asking::new(handle.shared.clone(), wish), handle, key }
    }
}

/// An entering under way. Dropping it leaves the queue, and gives a turn back that raced that.
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct Entering {
    asking: Asking,
    handle: Arc<Handle>,
    key: Arc<str>,
}

impl Future for Entering {
    type Output = Result<Entered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Entered>> {
        let Poll::Ready(gain) = Pin::new(&mut self.asking).poll(cx) else {
            return Poll::Pending;
        };
        let (handle, key) = (self.handle.clone(), self.key.clone());
        Poll::Ready(match gain? {
            Gain::Session(hold) => Ok(Entered::Won(Turn { lease: Lease::new(handle, hold, key) })),
            Gain::Done(outcome) => Ok(Entered::Done(outcome)),
            Gain::Timed(_) | Gain::Several(_) => Err(another_kind(&key)),
        })
    }
}

impl Turn {
    /// What it is the turn of.
    pub fn key(&self) -> &str {
        self.lease.key()
    }

    /// The fence token; see [`Lease::fence`].
    pub fn fence(&self) -> u64 {
        self.lease.fence()
    }

    /// See [`Lease::deadline`].
    pub fn deadline(&self) -> Duration {
        self.lease.deadline()
    }

    /// Whether it is still yours; see [`Lease::is_valid`].
    pub fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    /// See [`Lease::renew`].
    ///
    /// # Errors
    /// As there.
    pub async fn renew(&self, ttl: Duration) -> Result<()> {
        self.lease.renew(ttl).await
    }

    /// Waits until it is lost, and says why.
    pub async fn lost(&self) -> LostReason {
        self.lease.lost().await
    }

    /// A look at it for somebody else.
    pub fn view(&self) -> LeaseView {
        self.lease.view()
    }

    /// It is done: nobody runs again before the window ends, and `result`, at most 64 KiB, is what the others get. Returns
    /// when the store knows. Until then the turn is nobody else's, even if this future is dropped.
    ///
    /// # Errors
    /// [`Error::LeaseLost`]: it was not counted, somebody else may run. [`Error::OutcomeUnknown`]: it was counted or not.
    /// [`Error::Invalid`] with [`crate::Code::TooLarge`]; whatever the error, the turn is over.
    pub async fn finish(self, result: impl AsRef<[u8]>) -> Result<()> {
        let LeaseView { handle, hold, key } = &self.lease.view;
        let mut was_sent = false;
        loop {
            if clock::until(hold.deadline_ns()).is_zero() {
                // At once: it ended with its deadline, and this finds out why.
                self.lease.view.wait_end().await;
            }
            match still_ours(&self.lease.view) {
                Ok(()) => {}
                // No session knows it any more that could say what became of it.
                Err(_) if was_sent => return Err(unknown(key)),
                Err(gone) => return Err(gone),
            }
            match Command::finish(&handle.shared, hold, result.as_ref()).await {
                Answer::Finished => {
                    self.lease.close();
                    return Ok(());
                }
                // Sent before, and asked again: that it is closed tells nothing about the first time.
                Answer::Refused(_) | Answer::Failed(_) if was_sent => return Err(unknown(key)),
                Answer::Refused(refused) => return Err(Error::refused(key, refused)),
                Answer::Failed(error) => return Err(error),
                // Once more, for a sidecar that only hung up; one that hangs up because of this would do so for ever.
                Answer::Interrupted if was_sent => return Err(unknown(key)),
                Answer::Interrupted => was_sent = true,
                Answer::Reconnected => {}
                other => return Err(out_of_turn(key, &other)),
            }
        }
    }

    /// Gives it back undone: the next who waits has it. It is over from the call on, whatever becomes of the future.
    ///
    /// # Errors
    /// As [`Lease::release`].
    pub fn give_back(self) -> Releasing {
        self.lease.release()
    }
}

fn unknown(key: &Arc<str>) -> Error {
    Error::OutcomeUnknown {
        what: "the finish",
        key: key.clone(),
        advice: "it was counted or not; enter again to learn which, or to run it again",
    }
}
