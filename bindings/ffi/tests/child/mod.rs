//! What the tests of forked children share.

use sidelock_ffi::{Client, Failure, Lease, Units, Wish};
use std::sync::Arc;

/// The lock `k`.
pub(crate) fn wish(wait_ms: Option<u64>) -> Wish {
    Wish {
        keys: vec!["k".into()],
        units: Units::Exclusive,
        wait_ms,
        ttl_ms: None,
        max_hold_ms: None,
        owner: None,
        priority: 0,
        reentrant: false,
    }
}

/// The lock `k`, if nobody has it.
pub(crate) fn lock(client: &Client, ticket: u64) -> Result<Arc<Lease>, Failure> {
    client.acquire_blocking(wish(Some(0)), ticket)
}

/// Runs `check` in a forked child, and says whether it returned true there.
pub(crate) fn in_child(check: impl FnOnce() -> bool) -> bool {
    // SAFETY: this test is alone in its process; its other threads are the runtime's and the embedded sidecar's, which hold
    // no lock that the child takes. It leaves without running anything of its parent.
    unsafe {
        match libc::fork() {
            0 => {
                // A child that hangs is a child that failed.
                libc::alarm(20);
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
                libc::_exit(if matches!(outcome, Ok(true)) { 0 } else { 1 })
            }
            child => {
                assert!(child > 0, "fork failed");
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
            }
        }
    }
}
