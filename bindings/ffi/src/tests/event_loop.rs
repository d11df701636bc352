//! An event loop's operations, and the plain functions through which they cross.
#![allow(unsafe_code, reason = "plain functions know nothing safer than addresses")]

use super::{embedded, is_free, lock, until};
use crate::{Client, EventLoop, Failure, Lease, Refusal, failed, lease_at, plain};
use std::sync::Arc;

const PENDING: u64 = 0;
const DONE: u64 = 1;
const FAILED: u64 = 2;
/// A wait that was not said.
const AS_DEFAULT_MS: u64 = u64::MAX - 1;

/// The lock of one key, without options.
fn order(key: &str) -> Vec<u8> {
    let mut order = vec![0, 0];
    order.extend_from_slice(&0_i32.to_le_bytes());
    order.extend_from_slice(&[0; 16]);
    order.extend_from_slice(&[0xff; 16]);
    order.extend_from_slice(&u32::try_from(key.len()).unwrap().to_le_bytes());
    order.extend_from_slice(key.as_bytes());
    order
}

/// A loop, as another language would write one.
struct Loop(Arc<EventLoop>);

impl Loop {
    fn new() -> Loop {
        Loop(EventLoop::new().unwrap())
    }

    fn begin_acquire(&self, client: &Arc<Client>, key: &str, ticket: u64) -> u64 {
        // An owner does one thing after another.
        let (order, owner) = (order(key), format!("owner {ticket}"));
        // SAFETY: the objects and bytes outlive the call.
        unsafe {
            plain::sidelock_begin_acquire(
                self.0.address(),
                client.address(),
                order.as_ptr(),
                order.len(),
                owner.as_ptr(),
                owner.len(),
                AS_DEFAULT_MS,
                ticket,
            )
        }
    }

    fn begin_release(&self, lease: &Lease, ticket: u64) -> u64 {
        // SAFETY: both outlive the call.
        unsafe { plain::sidelock_begin_release(self.0.address(), lease.address(), ticket) }
    }

    fn go_on(&self, ticket: u64) -> u64 {
        // SAFETY: it outlives the call.
        unsafe { plain::sidelock_go_on(self.0.address(), ticket) }
    }

    fn give_up(&self, ticket: u64) {
        // SAFETY: it outlives the call.
        unsafe { plain::sidelock_give_up(self.0.address(), ticket) };
    }

    /// Whether something can go on.
    fn can_go_on(&self) -> bool {
        let mut watched = libc::pollfd { fd: self.0.descriptor(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, which is open.
        unsafe { libc::poll(&raw mut watched, 1, 0) == 1 }
    }

    /// Waits until something can go on; tickets, this many at most.
    fn woken(&self, room: usize) -> Vec<u64> {
        until(|| self.can_go_on());
        let mut tickets = vec![0; room];
        // SAFETY: there is room for so many.
        let count = unsafe { plain::sidelock_woken(self.0.address(), tickets.as_mut_ptr(), room) };
        tickets.truncate(count);
        tickets
    }

    /// What came of an operation, which this one is alone to wait for.
    fn finish(&self, mut outcome: u64, ticket: u64) -> u64 {
        while outcome == PENDING {
            assert_eq!(self.woken(8), [ticket]);
            outcome = self.go_on(ticket);
        }
        outcome
    }
}

/// The lease at an address that a plain function answered.
fn taken(address: u64) -> Arc<Lease> {
    assert!(address > FAILED, "{:?}", failed());
    let lease = lease_at(address);
    // SAFETY: the address is its caller's to free.
    unsafe { plain::sidelock_free_lease(address) };
    lease
}

#[test]
fn a_cycle() {
    let (client, here) = (embedded(), Loop::new());
    let lease = taken(here.finish(here.begin_acquire(&client, "k", 1), 1));
    assert!(lease.is_valid() && lease.fence() > 0);
    assert_eq!(client.holders_blocking("k".into(), 1).unwrap()[0].owner.as_deref(), Some("owner 1"));
    assert_eq!(here.finish(here.begin_release(&lease, 2), 2), DONE);
    assert!(is_free(&client, "k"));
}

#[test]
fn a_blocking_cycle() {
    let client = embedded();
    let order = order("k");
    // SAFETY: the client and the bytes outlive the call.
    let address = unsafe {
        let (client, owner) = (client.address(), b"me");
        plain::sidelock_acquire(
            client,
            order.as_ptr(),
            order.len(),
            owner.as_ptr(),
            owner.len(),
            AS_DEFAULT_MS,
            1,
        )
    };
    let lease = taken(address);
    assert!(lease.is_valid());
    // SAFETY: it outlives the call.
    assert_eq!(unsafe { plain::sidelock_release(lease.address(), 2) }, DONE);
    assert!(is_free(&client, "k"));
}

/// One wake is enough for all that can go on by then, however many.
#[test]
fn a_loop_is_woken_once_for_many() {
    const OPERATIONS: u64 = 100;
    let (client, here) = (embedded(), Loop::new());
    drop(lock(&client, "k"));
    let key = |ticket| format!("k/{ticket}");
    let mut waiting = 0;
    for ticket in 0..OPERATIONS {
        waiting += usize::from(here.begin_acquire(&client, &key(ticket), ticket) == PENDING);
    }
    // All are answered before the loop looks.
    until(|| (0..OPERATIONS).all(|ticket| !is_free(&client, &key(ticket))));
    let first = here.woken(1);
    assert_eq!(first.len(), 1);
    assert!(here.can_go_on(), "there was no room for the others: they are told of again");
    let others = here.woken(1000);
    assert_eq!(1 + others.len(), waiting);
    assert!(!here.can_go_on());
    let leases: Vec<_> = first.iter().chain(&others).map(|&ticket| taken(here.go_on(ticket))).collect();
    assert!(leases.iter().all(|lease| lease.is_valid()));
}

#[test]
fn what_is_given_up_leaves_the_queue() {
    let (client, here) = (embedded(), Loop::new());
    let holder = lock(&client, "k");
    assert_eq!(here.begin_acquire(&client, "k", 1), PENDING);
    here.give_up(1);
    here.give_up(1);
    assert_eq!(here.go_on(1), FAILED);
    assert!(matches!(failed(), Err(Failure::Refused { kind: Refusal::Invalid, .. })));
    assert_eq!(failed(), Ok(()), "it is told once");
    holder.release_blocking(2).unwrap();
    drop(lock(&client, "k"));
}

#[test]
fn a_grant_that_the_loop_did_not_take_is_given_back() {
    let (client, here) = (embedded(), Loop::new());
    let holder = lock(&client, "k");
    assert_eq!(here.begin_acquire(&client, "k", 1), PENDING);
    holder.release_blocking(2).unwrap();
    assert_eq!(here.woken(8), [1]);
    here.give_up(1);
    drop(lock(&client, "k"));
}

#[test]
fn a_lease_that_was_delivered_and_did_not_arrive_is_given_back() {
    let (client, here) = (embedded(), Loop::new());
    let lease = taken(here.finish(here.begin_acquire(&client, "k", 1), 1));
    here.give_up(2);
    assert!(lease.is_valid(), "another operation's ticket");
    here.give_up(1);
    assert!(!lease.is_valid());
    drop(lock(&client, "k"));
}

#[test]
fn a_loop_that_ends_gives_up_what_it_waits_for() {
    let (client, here) = (embedded(), Loop::new());
    let holder = lock(&client, "k");
    assert_eq!(here.begin_acquire(&client, "k", 1), PENDING);
    drop(here);
    holder.release_blocking(2).unwrap();
    drop(lock(&client, "k"));
}

#[test]
fn an_order_that_is_cut_short_is_refused_and_never_misread() {
    let (client, here, whole) = (embedded(), Loop::new(), order("k"));
    for length in 0..whole.len() {
        // SAFETY: the objects and bytes outlive the call.
        let outcome = unsafe {
            let (client, here) = (client.address(), here.0.address());
            plain::sidelock_begin_acquire(
                here,
                client,
                whole.as_ptr(),
                length,
                [].as_ptr(),
                0,
                AS_DEFAULT_MS,
                1,
            )
        };
        let outcome = here.finish(outcome, 1);
        assert_eq!(outcome, FAILED, "{length}");
        assert!(matches!(failed(), Err(Failure::Refused { kind: Refusal::Invalid, .. })));
    }
}
