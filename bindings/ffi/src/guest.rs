//! Futures of the SDK that another language polls.
//!
//! Owns the crossing in both directions: sockets and timers that such a future makes are the runtime's, and who it wakes is
//! told where it may.

use crate::error::Result;
use crate::runtime::{Ride, Runtime, runtime};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// See the module.
pub(crate) struct Guest<F> {
    ride: Ride,
    future: Pin<Box<F>>,
}

impl<F: Future> Guest<F> {
    pub(crate) fn new(future: F) -> Result<Guest<F>> {
        Ok(Guest { ride: runtime()?.ride(), future: Box::pin(future) })
    }
}

impl<F: Future> Future for Guest<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let runtime = self.ride.runtime();
        let _context = runtime.handle().enter();
        let waker = Waker::from(Arc::new(ForeignWaker { waker: cx.waker().clone(), runtime }));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Wakes another language's event loop, for which that language's code may run: never on a thread that drives.
struct ForeignWaker {
    waker: Waker,
    runtime: &'static Runtime,
}

impl Wake for ForeignWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let (waker, visit) = (self.waker.clone(), self.runtime.visits().begin());
        let wake = move || {
            waker.wake();
            drop(visit);
        };
        match Runtime::is_driven_here() {
            true => drop(self.runtime.handle().spawn_blocking(wake)),
            false => wake(),
        }
    }
}
