//! Blocking the caller's thread until an operation is done, or a signal comes.
//!
//! Owns that wait. A language with signal handlers of its own (Python) runs them only after the call has returned; a lock
//! that is waited for without end would make its program deaf to Ctrl-C. So a signal makes the call return
//! [`Failure::Stopped`]; the operation stays where it is, its place in the queue included, and the same call with the same
//! *ticket*, a number that the caller chose, goes on with it. A handler may also throw, at any moment after the call has
//! returned and before its caller has seen what: [`forget`] then gives up the operation, and gives back what it got.
//! Nothing spins: the thread drives the runtime for a moment, and then sleeps in one read; a signal interrupts either.

use crate::error::{Failure, Result};
use crate::own_process::OwnProcess;
use crate::runtime::{Driven, runtime};
use sidelock_client::ProcessMark;
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A signal that comes while the thread does not sleep interrupts nothing: so late at most it is seen.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

type Operation<T> = Pin<Box<dyn Future<Output = Result<T>>>>;

/// Runs an operation on this thread: the interrupted one of this ticket, or a new one.
pub(crate) fn wait<T, F>(ticket: u64, begin: impl FnOnce() -> F) -> Result<T>
where
    T: Delivery,
    F: Future<Output = Result<T>> + 'static,
{
    let runtime = runtime()?;
    let (mut operation, driven): (Operation<T>, _);
    match PARKED.with_borrow_mut(|parked| parked.take(ticket)) {
        None => {
            operation = Box::pin(begin());
            driven = runtime.drive(operation.as_mut())?;
        }
        Some(parked) => (operation, driven) = (parked, Driven::TooLong),
    }
    let polled = match driven {
        Driven::Done(outcome) => Poll::Ready(outcome),
        Driven::Interrupted => Poll::Pending,
        Driven::TooLong => {
            let _ride = runtime.ride();
            let _context = runtime.handle().enter();
            bell()?.poll_until_signal(operation.as_mut())
        }
    };
    PARKED.with_borrow_mut(|parked| match polled {
        Poll::Ready(outcome) => {
            parked.delivering = outcome.as_ref().ok().and_then(Delivery::way_back).map(|back| (ticket, back));
            outcome
        }
        Poll::Pending => {
            parked.operations.insert(ticket, OwnProcess::new(Box::new(operation)));
            Err(Failure::Stopped)
        }
    })
}

/// The call with this ticket is given up on this thread, because a signal's handler threw: a wait leaves its queue, and a
/// lease that was granted but did not reach the caller is given back. Unknown tickets are nothing.
#[uniffi::export]
pub fn forget(ticket: u64) {
    let (operation, delivered) = PARKED.with_borrow_mut(|parked| {
        let delivered = parked.delivering.take_if(|(delivered, _)| *delivered == ticket);
        (parked.operations.remove(&ticket), delivered)
    });
    // Outside of the table: an operation's end may be anything.
    drop(operation);
    if let Some((_, give_back)) = delivered {
        give_back();
    }
}

/// Whether this runs in a signal's handler that has interrupted a call of this thread.
pub(crate) fn has_interrupted() -> bool {
    PARKED.with_borrow(|parked| !parked.operations.is_empty())
}

/// What an operation delivers to its caller.
pub(crate) trait Delivery: 'static {
    /// How to give it back should it not arrive; nothing: there is nothing to give back.
    fn way_back(&self) -> Option<WayBack> {
        None
    }
}

pub(crate) type WayBack = Box<dyn FnOnce() + Send>;

impl Delivery for () {}
impl Delivery for String {}
impl<T: 'static> Delivery for Vec<T> {}
impl<T: 'static> Delivery for Option<T> {}

thread_local! {
    static PARKED: RefCell<Parked> = RefCell::default();
    static BELL: RefCell<Option<(ProcessMark, Bell)>> = const { RefCell::new(None) };
}

/// What a thread's calls left behind. A signal's handler may call, too, before it returns.
#[derive(Default)]
struct Parked {
    /// Interrupted operations, by ticket. A handler may fork: in the child, the call begins anew.
    operations: BTreeMap<u64, OwnProcess<Box<dyn Any>>>,
    /// What was delivered last, until the next is.
    delivering: Option<(u64, WayBack)>,
}

impl Parked {
    /// `None` if there is none of this ticket; one of another call counts as none.
    fn take<T: 'static>(&mut self, ticket: u64) -> Option<Operation<T>> {
        self.operations.remove(&ticket)?.into_inner()?.downcast().ok().map(|operation| *operation)
    }
}

/// What a thread sleeps by.
#[derive(Clone)]
struct Bell(Arc<Wire>);

struct Wire {
    state: AtomicU8,
    /// The sleeper reads here, one byte per ring that found it asleep.
    sleeper: UnixStream,
    ringer: UnixStream,
}

/// States of a wire.
const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const RUNG: u8 = 2;

/// The bell of this thread. A forked child makes another one: with its parent's it would steal the parent's rings.
fn bell() -> Result<Bell> {
    BELL.with_borrow_mut(|place| match place {
        Some((mark, bell)) if mark.is_here() => Ok(bell.clone()),
        _ => {
            let bell = Bell::new().map_err(|error| Failure::no_thread(&error))?;
            *place = Some((ProcessMark::here(), bell.clone()));
            Ok(bell)
        }
    })
}

impl Bell {
    fn new() -> std::io::Result<Bell> {
        let (sleeper, ringer) = UnixStream::pair()?;
        sleeper.set_read_timeout(Some(LOOK_AGAIN))?;
        Ok(Bell(Arc::new(Wire { state: AtomicU8::new(AWAKE), sleeper, ringer })))
    }

    /// Pending: a signal came, or may have.
    fn poll_until_signal<T>(&self, mut operation: Pin<&mut dyn Future<Output = T>>) -> Poll<T> {
        let waker = Waker::from(self.0.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = operation.as_mut().poll(&mut cx) {
                return Poll::Ready(outcome);
            }
            if !self.0.sleep() {
                return Poll::Pending;
            }
        }
    }
}

impl Wire {
    /// Sleeps until it rings; false: until a signal came, or may have.
    fn sleep(&self) -> bool {
        if self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_err() {
            self.state.store(AWAKE, Ordering::Release);
            return true;
        }
        let rang = self.hear();
        let was_rung = self.state.swap(AWAKE, Ordering::AcqRel) == RUNG;
        if was_rung && !rang {
            // Its byte is on the way, and would wake the next sleep for nothing.
            while !self.hear() {}
        }
        rang
    }

    fn hear(&self) -> bool {
        match (&self.sleeper).read(&mut [0]) {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => false,
            // Not with a pair of ours; the poll that follows makes progress whatever it was.
            Err(_) => true,
        }
    }
}

impl Wake for Wire {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            // One byte into an empty buffer: it fits, and the other end is ours.
            let _ = (&self.ringer).write(&[0]);
        }
    }
}
