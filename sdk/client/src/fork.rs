//! Noticing that this process is a forked child, and letting go of what it inherited.
//!
//! A child inherits the connection's descriptor and the memory that says "held", but not the right to either: its parent
//! still uses them. A descriptor that stayed open in the child would keep the session alive after the parent's death, so
//! a child handler puts `/dev/null` in its place. (In its place, and not nothing: what owns the descriptor will close it
//! once more.) Counting forks in the same handler makes the check on every use one load instead of a system call.
//!
//! A fork by raw system call runs no handlers: there, nothing of this happens.
#![allow(unsafe_code, reason = "there is no safe way to register a fork handler, or to act in one")]

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

/// Connections of a process that a child lets go of. A program has one; a test has some. More are not let go of.
const CONNECTIONS_MAX: usize = 64;
/// Between two looks at an opening, which lasts two system calls.
const OPENING_LOOK_EVERY: Duration = Duration::from_micros(50);
/// Looks at one: a second's.
const OPENING_LOOKS_MAX: u32 = 20_000;
/// No descriptor.
const NONE: RawFd = -1;

/// Forks between the process that first used the SDK and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);
/// The connections of this process.
static CONNECTIONS: [AtomicI32; CONNECTIONS_MAX] = [const { AtomicI32::new(NONE) }; CONNECTIONS_MAX];
static REGISTERED: Once = Once::new();
/// A connection is being opened, or the process forks. Held for two system calls, or for one fork.
static OPENING: AtomicBool = AtomicBool::new(false);

/// Which process of a line of forks something belongs to: for those who keep what a forked child must not use, such as
/// threads. A client's own leases and requests look after themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMark(u32);

impl ProcessMark {
    /// This process.
    pub fn here() -> ProcessMark {
        REGISTERED.call_once(register);
        ProcessMark(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this is still the process that made the mark.
    pub fn is_here(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }
}

/// While it lives, a forked child lets go of the descriptor. To be dropped before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct LetGoInChild(Option<&'static AtomicI32>);

/// An open connection, which a forked child lets go of. Fields are dropped in their order.
#[derive(Debug)]
pub(crate) struct Opened<C> {
    pub(crate) let_go: LetGoInChild,
    pub(crate) connection: C,
}

impl LetGoInChild {
    /// Opens a connection. No fork comes between that and its being written down, so `open` must not wait.
    pub(crate) fn open<C: AsRawFd>(open: impl FnOnce() -> io::Result<C>) -> io::Result<Opened<C>> {
        REGISTERED.call_once(register);
        let _no_fork = OpeningGuard::wait();
        let connection = open()?;
        let fd = connection.as_raw_fd();
        let place = CONNECTIONS
            .iter()
            .find(|place| place.compare_exchange(NONE, fd, Ordering::AcqRel, Ordering::Relaxed).is_ok());
        Ok(Opened { let_go: LetGoInChild(place), connection })
    }
}

/// Whoever opens a connection, or forks.
struct OpeningGuard;

impl OpeningGuard {
    fn wait() -> OpeningGuard {
        // Not for ever: a signal's handler may fork on the thread that opens.
        let mut looks = 0..OPENING_LOOKS_MAX;
        while OPENING.swap(true, Ordering::Acquire) && looks.next().is_some() {
            std::thread::sleep(OPENING_LOOK_EVERY);
        }
        OpeningGuard
    }
}

impl Drop for OpeningGuard {
    fn drop(&mut self) {
        OPENING.store(false, Ordering::Release);
    }
}

impl Drop for LetGoInChild {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            place.store(NONE, Ordering::Release);
        }
    }
}

fn register() {
    // SAFETY: the handlers are plain functions that live for ever. A failure (out of memory) leaves forks unnoticed, as in
    // a program that forks by raw system call.
    unsafe {
        libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child));
    }
}

extern "C" fn before() {
    std::mem::forget(OpeningGuard::wait());
}

extern "C" fn in_parent() {
    drop(OpeningGuard);
}

/// Only touches atomics and calls what is safe between fork and exec.
extern "C" fn in_child() {
    drop(OpeningGuard);
    FORKS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: plain system calls with a constant path and descriptors that this process has; errors leave things as they
    // were.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if null < 0 {
            return;
        }
        for place in &CONNECTIONS {
            let fd = place.swap(NONE, Ordering::Relaxed);
            if fd != NONE {
                libc::dup3(null, fd, libc::O_CLOEXEC);
            }
        }
        libc::close(null);
    }
}
