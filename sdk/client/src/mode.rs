//! Another mode for a lease in a program's hands: shared instead of exclusive, and back.
//!
//! Owns what becomes of the lease when the sidecar says yes, no, or nothing: it is never less than it was, unless it was
//! lost. Must not know how a request finds its way; that is `acquire`.

use crate::acquire::{Asking, Gain, Wish, forked, lost};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::hold::{End, Hold};
use crate::lease::{Lease, LeaseView, out_of_turn};
use crate::slots::Answer;
use sidelock_wire::{Code, LostReason, Mode};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

impl Lease {
    /// Lets readers in beside it, from the call on: an exclusive lease is shared afterwards, without anybody coming in
    /// between. It keeps its fence and its deadline. Nothing happens to one that is shared already.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is gone, [`Error::Conflict`] if it is permits of a semaphore.
    pub async fn downgrade(&self) -> Result<()> {
        let LeaseView { handle, hold, key } = &self.view;
        loop {
            still_ours(&self.view)?;
            match Command::downgrade(&handle.shared, hold).await {
                Answer::Renewed(_) => return Ok(()),
                Answer::Refused(refused) => return Err(Error::refused(key, refused)),
                Answer::Failed(error) => return Err(error),
                Answer::Interrupted | Answer::Reconnected => {}
                other => return Err(out_of_turn(key, &other)),
            }
        }
    }

    /// The same without waiting for the answer, at once or never: for bindings, whose caller may give up an upgrade in the moment
    /// in which it is granted.
    #[doc(hidden)]
    pub fn downgrade_unheard(&self) {
        if still_ours(&self.view).is_ok() {
            drop(Command::downgrade(&self.view.handle.shared, &self.view.hold));
        }
    }

    /// Makes a shared lease exclusive, once nobody else holds the key. It goes before all who wait, and nobody comes in
    /// between: until then, and if it comes to nothing, or the future is dropped, the lease is what it was. Afterwards it has
    /// another [`Lease::fence`], and views taken before are over. What ends the lease ends it as before.
    ///
    /// One lease of a key is upgraded at a time: a second would wait for this one's share as this one for its, and is told
    /// [`Error::Deadlock`] at once.
    ///
    /// ```no_run
    /// # async fn f(sl: sidelock_client::Client) -> sidelock_client::Result<()> {
    /// # use std::time::Duration;
    /// let mut lease = sl.rwlock("catalog").read().await?;
    /// lease.upgrade().wait(Duration::from_secs(5)).await?;
    /// println!("the writer's fence is {}", lease.fence());
    /// lease.downgrade().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::WaitTimeout`] if the wait is over, [`Error::Deadlock`], [`Error::LeaseLost`] if it was lost before,
    /// [`Error::Conflict`] if it is not shared.
    pub fn upgrade(&mut self) -> Upgrade<'_> {
        let wait = self.view.handle.default_wait;
        Upgrade { lease: self, wait }
    }
}

/// A lease that is gone has no mode.
pub(crate) fn still_ours(LeaseView { handle, hold, key }: &LeaseView) -> Result<()> {
    if let Some(end) = hold.end() {
        return Err(lost(key, end));
    }
    if hold.is_orphaned() {
        return Err(Error::LeaseLost { key: key.clone(), reason: LostReason::SidecarRestarted });
    }
    if !handle.shared.is_own_process() {
        return Err(forked(key));
    }
    Ok(())
}

/// An upgrade to be awaited. Made by [`Lease::upgrade`].
#[derive(Debug)]
#[must_use = "an upgrade does nothing until it is awaited"]
pub struct Upgrade<'a> {
    lease: &'a mut Lease,
    wait: Option<Duration>,
}

impl Upgrade<'_> {
    /// Waits so long at most for the others to go, in whole milliseconds. Without this: the client's `default_wait`.
    pub fn wait(self, wait: Duration) -> Self {
        Upgrade { wait: Some(wait), ..self }
    }

    /// Waits for as long as it takes.
    pub fn wait_forever(self) -> Self {
        Upgrade { wait: None, ..self }
    }
}

impl<'a> IntoFuture for Upgrade<'a> {
    type Output = Result<()>;
    type IntoFuture = Upgrading<'a>;

    fn into_future(self) -> Upgrading<'a> {
        let LeaseView { handle, hold, key } = &self.lease.view;
        let wish =
            Wish { wait: self.wait, upgrades: Some(hold.clone()), ..Wish::new(key.clone(), Mode::Exclusive) };
        Upgrading { asking: Asking::new(handle.shared.clone(), wish), lease: self.lease }
    }
}

/// An upgrade under way. Dropping it leaves the lease as it was, and gives back a grant that raced that.
#[derive(Debug)]
#[must_use = "an upgrade does nothing until it is awaited"]
pub struct Upgrading<'a> {
    asking: Asking,
    lease: &'a mut Lease,
}

impl Future for Upgrading<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Poll::Ready(gain) = Pin::new(&mut self.asking).poll(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(match gain? {
            Gain::Session(whole) => {
                self.lease.becomes(whole);
                Ok(())
            }
            Gain::Timed(_) | Gain::Done(_) | Gain::Several(_) => {
                let key = self.lease.view.key.clone();
                Err(Error::plain(Code::Internal, key, "the sidecar granted another kind of lease"))
            }
        })
    }
}

impl Lease {
    /// The sidecar knows it by another name from now on.
    fn becomes(&mut self, hold: Arc<Hold>) {
        let share = std::mem::replace(&mut self.view.hold, hold);
        share.finish(End::Released);
        self.view.handle.shared.lock().slots.remove(share.request);
        share.tell();
    }
}
