//! A forked child: what it inherits is dead, and it gets on with a connection of its own.
#![allow(unsafe_code, reason = "to fork is what is tested")]

use sidelock_ffi::{Client, Failure, Lease, LossReason, Options, Units, Wish};
use std::sync::Arc;

fn lock(client: &Client, ticket: u64) -> Result<Arc<Lease>, Failure> {
    let wish = Wish {
        keys: vec!["k".into()],
        units: Units::Exclusive,
        wait_ms: Some(0),
        ttl_ms: None,
        max_hold_ms: None,
        owner: None,
        priority: 0,
        reentrant: false,
    };
    client.acquire_blocking(wish, ticket)
}

/// Runs `check` in a forked child, and says whether it returned true there.
fn in_child(check: impl FnOnce() -> bool) -> bool {
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

#[test]
fn what_a_child_inherits_is_dead_and_what_it_makes_is_its_own() {
    let client = Client::embedded(Options::default(), None);
    let lease = lock(&client, 1).unwrap();
    assert!(in_child(|| !lease.is_valid() && lease.deadline_ns() == 0));
    let is_loss = |failure| matches!(failure, Failure::LeaseLost { reason: LossReason::Session, .. });
    assert!(in_child(|| lease.release_blocking(2).is_err_and(is_loss)));
    assert!(in_child(|| lease.renew_blocking(1000, 2).is_err_and(is_loss)));
    // Its own embedded sidecar, in which the key is free; and then its child's.
    assert!(in_child(|| {
        let own = lock(&client, 2).unwrap();
        let of_the_grandchild =
            in_child(|| !own.is_valid() && lock(&client, 3).is_ok_and(|lease| lease.is_valid()));
        own.is_valid() && own.release_blocking(4).is_ok() && of_the_grandchild
    }));
    // Dropped in the child: neither told to the parent's sidecar nor waited for.
    let mut inherited = Some((client, lease));
    assert!(in_child(|| {
        drop(inherited.take());
        true
    }));
    let (client, lease) = inherited.take().unwrap();
    assert!(lease.is_valid() && lock(&client, 5).is_err());
    lease.release_blocking(6).unwrap();
    lock(&client, 7).unwrap().release_blocking(8).unwrap();
}
