//! A lease in a program's hands.
//!
//! Owns what its holder may do: look, renew, wait for its loss, give it back. A lease tells the truth: it is not valid
//! one instant longer than the sidecar is bound to keep it.

use crate::acquire::{forked, lost};
use crate::client::Handle;
use crate::clock;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::hold::{End, Hold};
use crate::mode::still_ours;
use crate::slots::Answer;
use sidelock_wire::{Code, Kind, LeaseName, LostReason};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A session lease. Dropping it gives it back, without waiting for the answer.
#[derive(Debug)]
#[must_use = "a lease that is dropped is released at once"]
pub struct Lease {
    pub(crate) view: LeaseView,
    released: bool,
}

/// A look at a lease that somebody else holds, such as [`crate::Request::run`] for its body. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeaseView {
    pub(crate) handle: Arc<Handle>,
    pub(crate) hold: Arc<Hold>,
    pub(crate) key: Arc<str>,
}

impl Lease {
    pub(crate) fn new(handle: Arc<Handle>, hold: Arc<Hold>, key: Arc<str>) -> Lease {
        Lease { view: LeaseView { handle, hold, key }, released: false }
    }

    /// What is locked.
    pub fn key(&self) -> &str {
        self.view.key()
    }

    /// The fence token: strictly rising per key, below 2^53. Send it along with every write to what the lock protects, and
    /// let the receiver refuse a lower one than it has seen: that holds even while a process is paused beyond its lease.
    pub fn fence(&self) -> u64 {
        self.view.fence()
    }

    /// When it ends unless extended, as told last: a point of `CLOCK_BOOTTIME`, since boot.
    pub fn deadline(&self) -> Duration {
        self.view.deadline()
    }

    /// Whether it is still yours, by a look at the clock, without asking anybody.
    pub fn is_valid(&self) -> bool {
        self.view.is_valid()
    }

    /// Whether the sidecar fails to extend it at the moment: it will be lost at its deadline unless that succeeds.
    pub fn is_at_risk(&self) -> bool {
        self.view.is_at_risk()
    }

    /// Makes it last for `ttl` from now: for leases acquired with a ttl, which nothing else renews. A shorter ttl than
    /// before shortens it. Of a lease with several handles, entered again by its owner, it moves the end of all of them.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it is gone, [`Error::Invalid`] if it was acquired without a ttl,
    /// [`Error::SidecarUnreachable`] if there is no connection for too long; the lease then stands as last told.
    pub async fn renew(&self, ttl: Duration) -> Result<()> {
        self.view.renew(ttl).await
    }

    /// Waits until it is lost, and says why: its sidecar took it, or its deadline passed without an extension.
    pub async fn lost(&self) -> LostReason {
        match self.view.wait_end().await {
            End::Lost(reason) => reason,
            // Only who has the lease can release it, and it is borrowed here.
            End::Released => LostReason::Other,
        }
    }

    /// Gives it back. It is invalid from the call on, whatever becomes of the future; awaiting that only tells when the
    /// sidecar has freed it.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if it was lost before, or its deadline had passed and nobody can say that it was extended;
    /// [`Error::OutcomeUnknown`] if the connection broke first, or its sidecar was restarted: it is then free when its
    /// deadline passes, at the latest. Permits of a rate whose time is over were not lost.
    pub fn release(mut self) -> Releasing {
        self.released = true;
        let LeaseView { handle, hold, key } = &self.view;
        let before = hold.end().filter(|&end| !hold.ends_as_agreed(end));
        // If nobody can say that it was extended, it ended when it said it would.
        let unanswered = self.view.end_by_now().map(|end| match hold.ends_as_agreed(end) {
            true => Ok(()),
            false => Err(lost(key, end)),
        });
        hold.finish(End::Released);
        let command = match before {
            _ if !handle.shared.is_own_process() => Err(forked(key)),
            Some(end) => {
                // That its deadline passed is known here; the sidecar may have extended it meanwhile.
                handle.shared.change(|state| state.release_unheard(hold.request));
                Err(lost(key, end))
            }
            None => Ok(Command::release(&handle.shared, hold)),
        };
        hold.tell();
        Releasing { command, handle: handle.clone(), key: key.clone(), unanswered }
    }

    /// A look at it for somebody else.
    pub fn view(&self) -> LeaseView {
        self.view.clone()
    }

    /// The sidecar ended it, as it was asked to.
    pub(crate) fn close(mut self) {
        self.released = true;
        let LeaseView { handle, hold, .. } = &self.view;
        hold.finish(End::Released);
        handle.shared.change(|state| state.slots.remove(hold.request));
        hold.tell();
    }
}

impl LeaseView {
    /// What is locked.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// See [`Lease::fence`].
    pub fn fence(&self) -> u64 {
        self.hold.fence
    }

    /// See [`Hold::end_by_now`].
    fn end_by_now(&self) -> Option<End> {
        self.hold.end_by_now(|| self.has_session())
    }

    /// See [`Hold::wait_end`].
    pub(crate) async fn wait_end(&self) -> End {
        self.hold.wait_end(|| self.has_session()).await
    }

    /// Whether a sign of life of ours has left in time, as far as that was up to us.
    fn has_session(&self) -> bool {
        let shared = &self.handle.shared;
        shared.is_alive_at(clock::boottime_ns()) || !shared.is_connected()
    }

    /// Why it is lost, be it that nobody has noticed yet; `None`: it is still ours, or permits of a rate whose time is over.
    pub(crate) fn loss_by_now(&self) -> Option<LostReason> {
        match self.end_by_now() {
            Some(end) if self.hold.ends_as_agreed(end) => None,
            Some(End::Lost(reason)) => Some(reason),
            Some(End::Released) => Some(LostReason::Other),
            None if !self.is_valid() => Some(LostReason::Session),
            None => None,
        }
    }

    /// Whether it is permits of a rate, to which [`LostReason::Expired`] is no loss: they end by themselves. For bindings.
    #[doc(hidden)]
    pub fn ends_with_its_rate(&self) -> bool {
        self.hold.ends_as_agreed(End::Lost(LostReason::Expired))
    }

    /// Waits until it is lost, and says why. The end that permits of a rate come to by themselves is none.
    pub(crate) async fn loss(&self) -> LostReason {
        match self.wait_end().await {
            end if self.hold.ends_as_agreed(end) => std::future::pending().await,
            End::Lost(reason) => reason,
            End::Released => LostReason::Other,
        }
    }

    /// Whether it was acquired over this connection.
    pub(crate) fn is_of(&self, handle: &Handle) -> bool {
        Arc::ptr_eq(&self.handle.shared, &handle.shared)
    }

    /// Its name in the session, unless it is over or belongs to an earlier one.
    pub(crate) fn name(&self) -> Result<LeaseName, End> {
        match self.hold.end() {
            Some(end) => Err(end),
            None if self.hold.is_orphaned() => Err(End::Lost(LostReason::SidecarRestarted)),
            None => Ok(LeaseName::Session(self.hold.request)),
        }
    }

    /// See [`Lease::deadline`].
    pub fn deadline(&self) -> Duration {
        Duration::from_nanos(self.hold.deadline_ns())
    }

    /// See [`Lease::is_valid`]. False after the release, too.
    pub fn is_valid(&self) -> bool {
        let now_ns = clock::boottime_ns();
        let shared = &self.handle.shared;
        self.hold.end().is_none()
            && now_ns < self.hold.deadline_ns()
            && shared.is_alive_at(now_ns)
            && shared.is_own_process()
    }

    /// See [`Lease::is_at_risk`].
    pub fn is_at_risk(&self) -> bool {
        self.hold.is_at_risk()
    }

    /// Waits until it is over, and says why it was lost; `None`: it was given back.
    pub async fn ended(&self) -> Option<LostReason> {
        match self.wait_end().await {
            End::Lost(reason) => Some(reason),
            End::Released => None,
        }
    }

    /// See [`Lease::renew`].
    ///
    /// # Errors
    /// As [`Lease::renew`].
    pub async fn renew(&self, ttl: Duration) -> Result<()> {
        let LeaseView { handle, hold, key } = self;
        // What was told before the first attempt; and whether an attempt without an answer may have changed that.
        let (mut before, mut is_open) = (None, false);
        loop {
            still_ours(self)?;
            let asked_ns = clock::after(clock::boottime_ns(), ttl);
            let (command, told) = Command::renew(&handle.shared, hold, ttl);
            let before = before.get_or_insert(told).before(told.number);
            match command.await {
                Answer::Renewed(_) => {
                    hold.renewed_until(asked_ns);
                    return Ok(());
                }
                Answer::Refused(refused) => {
                    let is_as_before = match refused.code.kind() {
                        // Who may not have a renewal now has not had one before.
                        Kind::Invalid => true,
                        Kind::Denied | Kind::QueueFull | Kind::StoreUnavailable => !is_open,
                        // Others may speak of a lease that is gone.
                        _ => false,
                    };
                    if is_as_before {
                        handle.shared.change(|_| hold.not_renewed(before));
                    }
                    return Err(Error::refused(key, refused));
                }
                Answer::Failed(error) => {
                    if !is_open {
                        handle.shared.change(|_| hold.not_renewed(before));
                    }
                    return Err(error);
                }
                Answer::Interrupted => is_open = true,
                Answer::Reconnected => {}
                other => return Err(out_of_turn(key, &other)),
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let LeaseView { handle, hold, .. } = &self.view;
        if !self.released && handle.shared.is_own_process() {
            hold.finish(End::Released);
            handle.shared.change(|state| state.release_unheard(hold.request));
            hold.tell();
        }
    }
}

/// A release under way; it was sent when it was made, and dropping this does not take it back.
#[derive(Debug)]
pub struct Releasing {
    command: Result<Command>,
    /// Keeps the connection until it is answered.
    #[expect(dead_code, reason = "kept for its drop")]
    handle: Arc<Handle>,
    key: Arc<str>,
    /// What it comes to if no answer comes; `None`: its deadline had not passed when it was given back.
    unanswered: Option<Result<()>>,
}

impl Future for Releasing {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let command = match &mut self.command {
            Ok(command) => command,
            Err(error) => return Poll::Ready(Err(error.clone())),
        };
        let Poll::Ready(answer) = Pin::new(command).poll(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(match (answer, self.unanswered.take()) {
            (Answer::Interrupted, Some(outcome)) => outcome,
            (answer, _) => released(&self.key, answer),
        })
    }
}

/// What the answer to a release means.
pub(crate) fn released(key: &Arc<str>, answer: Answer) -> Result<()> {
    match answer {
        Answer::Released => Ok(()),
        Answer::Refused(refused) => Err(Error::refused(key, refused)),
        Answer::Failed(error) => Err(error),
        Answer::Interrupted => Err(Error::OutcomeUnknown {
            what: "the release",
            key: key.clone(),
            advice: "it is free when its deadline passes, at the latest; nothing more is to be done",
        }),
        other => Err(out_of_turn(key, &other)),
    }
}

pub(crate) fn out_of_turn(key: &Arc<str>, answer: &Answer) -> Error {
    Error::plain(Code::Internal, key.clone(), format!("the sidecar answered {answer:?}, which was not asked"))
}
