//! An event loop of another language, and its operations under way.
//!
//! Owns those, and how the loop is told which can go on: by a descriptor that it watches beside its others. Nobody calls into
//! the other language, whose code waits its turn (Python's does), and one wake tells of all operations that can go on by then.
//! Each goes on on the loop's thread, in [`EventLoop::go_on`]; until that delivered a lease, it is this side's to give back.

use crate::blocking::{Delivery, WayBack};
use crate::error::{Failure, Result};
use crate::lease::Lease;
use crate::runtime::{Ride, runtime};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// What an operation gains: a lease, or that it is done.
pub(crate) type Gain = Option<Arc<Lease>>;

/// The operations of one event loop.
#[derive(uniffi::Object)]
pub struct EventLoop {
    woken: Arc<Woken>,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    operations: BTreeMap<u64, Operation>,
    /// What was delivered last, until the next is.
    delivering: Option<(u64, WayBack)>,
}

struct Operation {
    ride: Ride,
    waker: Waker,
    future: Pin<Box<dyn Future<Output = Result<Gain>> + Send>>,
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").finish_non_exhaustive()
    }
}

#[uniffi::export]
impl EventLoop {
    /// For a loop that has no operations yet.
    #[uniffi::constructor]
    pub fn new() -> Result<Arc<EventLoop>> {
        let (hears, rings) = std::io::pipe().map_err(|error| Failure::no_thread(&error))?;
        let woken = Woken { bell: Mutex::default(), hears, rings };
        Ok(Arc::new(EventLoop { woken: Arc::new(woken), pending: Mutex::default() }))
    }

    /// To be watched by the loop: it can be read while operations can go on. Not to be read or closed by anybody else.
    pub fn descriptor(&self) -> i32 {
        self.woken.hears.as_raw_fd()
    }

    /// See `plain`.
    pub fn address(&self) -> u64 {
        std::ptr::from_ref(self) as u64
    }
}

impl EventLoop {
    /// Begins an operation, which may be over at once. `ticket` is a number of the caller's choice, another one for each.
    pub(crate) fn begin<F>(&self, ticket: u64, future: F) -> Poll<Result<Gain>>
    where
        F: Future<Output = Result<Gain>> + Send + 'static,
    {
        let waker = Waker::from(Arc::new(Ring { woken: self.woken.clone(), ticket }));
        let ride = runtime()?.ride();
        self.poll(ticket, Operation { ride, waker, future: Box::pin(future) })
    }

    /// Goes on with an operation.
    pub(crate) fn go_on(&self, ticket: u64) -> Poll<Result<Gain>> {
        let operation = self.pending().operations.remove(&ticket);
        let operation =
            operation.ok_or_else(|| Failure::invalid("", "there is no operation with this ticket"));
        self.poll(ticket, operation?)
    }

    fn poll(&self, ticket: u64, mut operation: Operation) -> Poll<Result<Gain>> {
        let _context = operation.ride.runtime().handle().enter();
        let polled = operation.future.as_mut().poll(&mut Context::from_waker(&operation.waker));
        let mut pending = self.pending();
        match &polled {
            Poll::Pending => drop(pending.operations.insert(ticket, operation)),
            Poll::Ready(outcome) => {
                let lease = outcome.as_ref().ok().and_then(Option::as_ref);
                pending.delivering = lease.and_then(Delivery::way_back).map(|back| (ticket, back));
            }
        }
        polled
    }

    /// Gives an operation up: a wait leaves its queue, and a lease that was granted but did not reach the caller is given
    /// back. Unknown tickets are nothing.
    pub(crate) fn give_up(&self, ticket: u64) {
        let mut pending = self.pending();
        let operation = pending.operations.remove(&ticket);
        let delivered = pending.delivering.take_if(|(delivered, _)| *delivered == ticket);
        drop(pending);
        drop(operation);
        if let Some((_, give_back)) = delivered {
            give_back();
        }
    }

    /// Tickets of operations that can go on, as many as there is room for; how many. To be called when the descriptor can be
    /// read, and only then.
    pub(crate) fn woken(&self, into: &mut [u64]) -> usize {
        let mut bell = self.woken.bell();
        let count = bell.tickets.len().min(into.len());
        for (place, ticket) in into.iter_mut().zip(bell.tickets.drain(..count)) {
            *place = ticket;
        }
        bell.is_rung = !bell.tickets.is_empty();
        let heard = !bell.is_rung;
        drop(bell);
        if heard {
            // The byte is there; and who rings from now on writes another one.
            let _ = (&self.woken.hears).read(&mut [0]);
        }
        count
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Operations that can go on.
struct Woken {
    bell: Mutex<Bell>,
    hears: PipeReader,
    rings: PipeWriter,
}

#[derive(Default)]
struct Bell {
    tickets: Vec<u64>,
    /// A byte for the loop is in the pipe, or about to be.
    is_rung: bool,
}

impl Woken {
    fn bell(&self) -> MutexGuard<'_, Bell> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the loop of one operation.
struct Ring {
    woken: Arc<Woken>,
    ticket: u64,
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut bell = self.woken.bell();
        bell.tickets.push(self.ticket);
        let was_rung = std::mem::replace(&mut bell.is_rung, true);
        // First: the loop wakes up at once, and would wait for this.
        drop(bell);
        if !was_rung {
            // Two bytes at most are in the pipe, whose other end is ours: it fits.
            let _ = (&self.woken.rings).write(&[0]);
        }
    }
}
