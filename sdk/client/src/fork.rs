//! Noticing that this process is a forked child.
//!
//! A child inherits the connection's descriptor and the memory that says "held", but not the right to either: its parent
//! still uses them. Counting forks in a child handler makes the check on every use one load instead of a system call.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// Forks between the process that first used the SDK and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);
static REGISTERED: Once = Once::new();

/// Which process of a line of forks something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessMark(u32);

impl ProcessMark {
    /// This process.
    pub(crate) fn here() -> ProcessMark {
        REGISTERED.call_once(register);
        ProcessMark(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this is still the process that made the mark.
    pub(crate) fn is_here(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

#[allow(unsafe_code, reason = "there is no safe way to register a fork handler")]
fn register() {
    // SAFETY: the handler is a plain function that lives for ever and only touches an atomic, which is allowed between
    // fork and exec. A failure (out of memory) leaves forks unnoticed, as in a program that forks by raw system call.
    unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    }
}
