//! Renewals, releases, finishes, registers: a request, and its answer.
//!
//! Owns the waiting for one answer, and for a connection where there is none. What to make of a connection that breaks is
//! up to who asked.

use crate::acquire::too_large;
use crate::clock;
use crate::hold::{Hold, Told};
use crate::shared::{Phase, Shared, State};
use crate::slots::{About, Answer, Slot};
use sidelock_wire::{AskHolders, Change, LeaseName, Mode, Secret, ToSidecar};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A command under way. Dropped, it stands and its answer is ignored.
#[derive(Debug)]
pub(crate) struct Command {
    shared: Arc<Shared>,
    /// `None`: answered.
    number: Option<u64>,
    /// Dropped, it is cancelled: it may wait for long.
    cancels: bool,
}

impl Command {
    /// Asks something of a register.
    pub(crate) fn register<'a>(
        shared: &Arc<Shared>,
        cancels: bool,
        message: impl FnOnce(u64) -> ToSidecar<'a>,
    ) -> Command {
        let mut command = Command::plain(shared, message);
        command.cancels = cancels;
        command
    }

    /// Renews a session lease; the answer is written to `hold`. What was told of it before comes with it.
    pub(crate) fn renew(shared: &Arc<Shared>, hold: &Arc<Hold>, ttl: Duration) -> (Command, Told) {
        let lease = LeaseName::Session(hold.request);
        let (number, told) = shared.change(|state| {
            // Here, so that they are numbered in the order in which the sidecar reads them.
            let told = hold.renewing(ttl);
            let about = About::Renewal(hold.clone(), told.number);
            (send_or_park(shared, state, about, |request| ToSidecar::Renew { request, lease, ttl }), told)
        });
        (Command { shared: shared.clone(), number: Some(number), cancels: false }, told)
    }

    /// Makes a session lease shared; that it stands is written to `hold`.
    pub(crate) fn downgrade(shared: &Arc<Shared>, hold: &Arc<Hold>) -> Command {
        let (lease, mode, wait) = (LeaseName::Session(hold.request), Mode::Shared, None);
        let number = shared.change(|state| {
            let about = About::Renewal(hold.clone(), hold.renewals());
            send_or_park(shared, state, about, |request| {
                ToSidecar::Change(Change { request, lease, mode, wait })
            })
        });
        Command { shared: shared.clone(), number: Some(number), cancels: false }
    }

    /// Renews a timed lease.
    pub(crate) fn renew_timed(shared: &Arc<Shared>, secret: Secret, ttl: Duration) -> Command {
        let lease = LeaseName::Timed(secret);
        Command::plain(shared, |request| ToSidecar::Renew { request, lease, ttl })
    }

    /// Asks who has a key.
    pub(crate) fn holders(shared: &Arc<Shared>, key: &str) -> Command {
        let key = key.as_bytes();
        Command::plain(shared, |request| ToSidecar::Holders(AskHolders { request, key }))
    }

    /// Releases a timed lease.
    pub(crate) fn release_timed(shared: &Arc<Shared>, secret: Secret) -> Command {
        let lease = LeaseName::Timed(secret);
        Command::plain(shared, |request| ToSidecar::Release { request, lease })
    }

    /// Finishes a turn.
    pub(crate) fn finish(shared: &Arc<Shared>, hold: &Hold, result: &[u8]) -> Command {
        let lease = LeaseName::Session(hold.request);
        Command::plain(shared, |request| ToSidecar::Finish { request, lease, result })
    }

    /// Releases a session lease, now or never: without a connection, the next one gives it back. An orphan's name means
    /// nothing to the session there is now, and whatever that answered would be no word about the lease.
    pub(crate) fn release(shared: &Arc<Shared>, hold: &Hold) -> Command {
        let lease = LeaseName::Session(hold.request);
        let number = shared.change(|state| {
            state.slots.remove(hold.request);
            match state.phase {
                Phase::Up(_) if !hold.is_orphaned() => {
                    sent(state, About::Other, |request| ToSidecar::Release { request, lease })
                }
                _ => state.slots.insert(Slot::Answered(Answer::Interrupted)),
            }
        });
        Command { shared: shared.clone(), number: Some(number), cancels: false }
    }

    /// A command whose answer changes nothing by itself.
    fn plain<'a>(shared: &Arc<Shared>, message: impl FnOnce(u64) -> ToSidecar<'a>) -> Command {
        let number = shared.change(|state| send_or_park(shared, state, About::Other, message));
        Command { shared: shared.clone(), number: Some(number), cancels: false }
    }
}

/// Sends a command, or parks until there is a connection to ask again on.
fn send_or_park<'a>(
    shared: &Shared,
    state: &mut State,
    about: About,
    message: impl FnOnce(u64) -> ToSidecar<'a>,
) -> u64 {
    match &state.phase {
        Phase::Up(_) => sent(state, about, message),
        Phase::Away { error, since_ns } => {
            let give_up_ns = clock::after(*since_ns, shared.unreachable_after);
            state.slots.insert(match give_up_ns > clock::boottime_ns() {
                true => Slot::Parked { waker: Waker::noop().clone(), give_up_ns },
                false => Slot::Answered(Answer::Failed(error.clone())),
            })
        }
        Phase::Closed(error) => state.slots.insert(Slot::Answered(Answer::Failed(error.clone()))),
    }
}

fn sent<'a>(state: &mut State, about: About, message: impl FnOnce(u64) -> ToSidecar<'a>) -> u64 {
    let number = state.slots.insert(Slot::Waiting { waker: Waker::noop().clone(), about });
    let before = state.outbox.len();
    state.send(&message(number));
    let frame_bytes_max = match &state.phase {
        Phase::Up(session) => session.limits.frame_bytes_max as usize,
        Phase::Away { .. } | Phase::Closed(_) => usize::MAX,
    };
    if let Some(error) = too_large(state, before, frame_bytes_max)
        && let Some(slot) = state.slots.get_mut(number)
    {
        *slot = Slot::Answered(Answer::Failed(error));
    }
    number
}

impl Future for Command {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let number = self.number.expect("a future is not polled after it was ready");
        let Some(answer) = self.shared.lock().slots.take_answer(number, cx.waker()) else {
            return Poll::Pending;
        };
        self.number = None;
        Poll::Ready(answer)
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        let Some(number) = self.number.filter(|_| self.shared.is_own_process()) else { return };
        self.shared.change(|state| match state.slots.get_mut(number) {
            Some(slot @ Slot::Waiting { .. }) if self.cancels => {
                *slot = Slot::Cancelling { share: None };
                state.send(&ToSidecar::Cancel { request: number });
            }
            Some(slot @ Slot::Waiting { .. }) => *slot = Slot::Ignored,
            _ => drop(state.slots.remove(number)),
        });
    }
}
