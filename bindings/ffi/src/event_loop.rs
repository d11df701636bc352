//! An event loop of another language, and its operations under way.
//!
//! Owns those, and how the loop is told which can go on: by a descriptor that it watches beside its others. Nobody calls into
//! the other language, whose code waits its turn (Python's does), and one wake tells of all operations that can go on by then.
//! Each goes on on the loop's thread, in [`EventLoop::go_on`]; until that has a lease, it is this side's to give back.

use crate::error::{Failure, Result};
use crate::lease::Lease;
use crate::own_process::OwnProcess;
use crate::runtime::{Ride, runtime};
use std::collections::BTreeMap;
use std::future::Future;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// What an operation gains: a lease, or that it is done.
pub(crate) type Gain = Option<Arc<Lease>>;

/// The operations of one event loop.
pub(crate) struct EventLoop {
    woken: Arc<Woken>,
    /// By ticket. A forked child has none of them.
    operations: OwnProcess<Mutex<BTreeMap<u64, Operation>>>,
}

struct Operation {
    ride: Ride,
    waker: Waker,
    future: Pin<Box<dyn Future<Output = Result<Gain>> + Send>>,
}

impl EventLoop {
    /// For a loop that has no operations yet.
    pub(crate) fn new() -> Result<EventLoop> {
        let (hears, rings) = std::io::pipe().map_err(|error| Failure::no_thread(&error))?;
        let woken = Arc::new(Woken { bell: Mutex::default(), hears, rings });
        Ok(EventLoop { woken, operations: OwnProcess::new(Mutex::default()) })
    }

    /// To be watched by the loop: it can be read while operations can go on. Not to be read or closed by anybody else.
    pub(crate) fn descriptor(&self) -> i32 {
        self.woken.hears.as_raw_fd()
    }

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
        let operation = self.operations()?.remove(&ticket);
        let operation =
            operation.ok_or_else(|| Failure::invalid("", "there is no operation with this ticket"));
        self.poll(ticket, operation?)
    }

    fn poll(&self, ticket: u64, mut operation: Operation) -> Poll<Result<Gain>> {
        let _context = operation.ride.runtime().handle().enter();
        let polled = operation.future.as_mut().poll(&mut Context::from_waker(&operation.waker));
        if polled.is_pending() {
            self.operations()?.insert(ticket, operation);
        }
        polled
    }

    /// Gives an operation up: a wait leaves its queue, and a lease that was granted meanwhile is given back. Unknown tickets
    /// are nothing.
    pub(crate) fn give_up(&self, ticket: u64) {
        let operation = self.operations().map(|mut operations| operations.remove(&ticket));
        // Outside of the table: an operation's end may be anything.
        drop(operation);
    }

    /// Tickets of operations that can go on, as many as there is room for; how many. To be called when the descriptor can be
    /// read; at other times there are none.
    pub(crate) fn woken(&self, into: &mut [u64]) -> usize {
        let mut bell = self.woken.bell();
        let count = bell.tickets.len().min(into.len());
        for (place, ticket) in into.iter_mut().zip(bell.tickets.drain(..count)) {
            *place = ticket;
        }
        let is_heard = bell.is_rung && bell.tickets.is_empty();
        bell.is_rung &= !is_heard;
        drop(bell);
        if is_heard {
            // The byte is there, or comes at once; and who rings from now on writes another one.
            let _ = (&self.woken.hears).read_exact(&mut [0]);
        }
        count
    }

    pub(crate) fn has_ended() -> Failure {
        Failure::invalid(
            "",
            "this event loop has ended, or is that of the process that this one was forked from",
        )
    }

    fn operations(&self) -> Result<MutexGuard<'_, BTreeMap<u64, Operation>>> {
        let operations = self.operations.get().ok_or_else(EventLoop::has_ended)?;
        Ok(operations.lock().unwrap_or_else(PoisonError::into_inner))
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
