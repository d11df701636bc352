//! Renewals and releases: a request about a lease, and its answer.
//!
//! Owns the waiting for one answer. A renewal may wait for a connection and is asked again when one breaks, for it is
//! idempotent; a release is sent once, and whether it arrived is unknown when the connection breaks.

use crate::clock;
use crate::hold::Hold;
use crate::shared::{Phase, Shared};
use crate::slots::{Answer, Slot};
use sidelock_wire::{LeaseName, ToSidecar};
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
}

impl Command {
    /// Sends a renewal of `lease`, or parks until there is a connection to ask again on. The answer is written to
    /// `hold`, unless it is a timed lease.
    pub(crate) fn renew(
        shared: &Arc<Shared>,
        lease: LeaseName,
        ttl: Duration,
        hold: Option<&Arc<Hold>>,
    ) -> Command {
        let now_ns = clock::boottime_ns();
        let number = shared.change(|state| match &state.phase {
            Phase::Up(_) => {
                let slot = Slot::Waiting { waker: Waker::noop().clone(), renews: hold.cloned() };
                let request = state.slots.insert(slot);
                state.send(&ToSidecar::Renew { request, lease, ttl });
                request
            }
            Phase::Away { error, since_ns } => {
                let give_up_ns = clock::after(*since_ns, shared.unreachable_after);
                state.slots.insert(match give_up_ns > now_ns {
                    true => Slot::Parked { waker: Waker::noop().clone(), give_up_ns },
                    false => Slot::Answered(Answer::Failed(error.clone())),
                })
            }
            Phase::Closed(error) => state.slots.insert(Slot::Answered(Answer::Failed(error.clone()))),
        });
        Command { shared: shared.clone(), number: Some(number) }
    }

    /// Sends a release of `lease`. Answered with [`Answer::Again`] if there is no connection, or it breaks.
    pub(crate) fn release(shared: &Arc<Shared>, lease: LeaseName) -> Command {
        let number = shared.change(|state| match state.phase {
            Phase::Up(_) => {
                if let LeaseName::Session(acquire) = lease {
                    state.slots.remove(acquire);
                }
                let request =
                    state.slots.insert(Slot::Waiting { waker: Waker::noop().clone(), renews: None });
                state.send(&ToSidecar::Release { request, lease });
                request
            }
            Phase::Away { .. } | Phase::Closed(_) => state.slots.insert(Slot::Answered(Answer::Again)),
        });
        Command { shared: shared.clone(), number: Some(number) }
    }
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
        let mut state = self.shared.lock();
        match state.slots.get_mut(number) {
            Some(slot @ Slot::Waiting { .. }) => *slot = Slot::Ignored,
            _ => {
                state.slots.remove(number);
            }
        }
    }
}
