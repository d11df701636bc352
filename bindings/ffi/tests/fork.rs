//! A forked child: what it inherits is dead, and it gets on with a connection of its own.
#![allow(unsafe_code, reason = "to fork is what is tested")]

mod child;

use child::{in_child, lock};
use sidelock_ffi::{Client, Failure, LossReason, Options};

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
