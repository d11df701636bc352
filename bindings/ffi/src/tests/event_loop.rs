//! An event loop's operations, and the plain functions through which they cross.
#![allow(unsafe_code, reason = "plain functions know nothing safer than addresses")]

use super::{embedded, is_free, lock, until};
use crate::{Client, Failure, Lease, Refusal, failed, lease_of, plain};
use std::sync::Arc;

const PENDING: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;
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

/// A share, as another language keeps one.
struct Share {
    number: u64,
    free: unsafe extern "C" fn(u64),
}

impl Share {
    fn of_no_lease_yet() -> Share {
        Share { number: 0, free: plain::sidelock_free_lease }
    }

    fn of_client(client: &Client) -> Share {
        let mut share = Share { number: 0, free: plain::sidelock_free_client };
        // SAFETY: the client outlives the call.
        unsafe { plain::sidelock_share_client(client.address(), &raw mut share.number) };
        share
    }

    fn of_lease(lease: &Lease) -> Share {
        let mut share = Share::of_no_lease_yet();
        // SAFETY: the lease outlives the call.
        unsafe { plain::sidelock_share_lease(lease.address(), &raw mut share.number) };
        share
    }

    fn lease(&self) -> Arc<Lease> {
        lease_of(self.number).unwrap()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // SAFETY: it is of what this frees, and freed once.
        unsafe { (self.free)(self.number) };
    }
}

/// A loop, as another language would write one.
struct Loop {
    share: Share,
    descriptor: i32,
}

impl Loop {
    fn new() -> Loop {
        let (mut share, mut descriptor) = (Share { number: 0, free: plain::sidelock_free_loop }, -1);
        // SAFETY: there is room.
        let made = unsafe { plain::sidelock_new_loop(&raw mut share.number, &raw mut descriptor, 0) };
        assert_eq!(made, DONE);
        Loop { share, descriptor }
    }

    fn begin_order(&self, client: &Client, order: &[u8], lease: &mut Share, ticket: u64) -> u8 {
        // An owner does one thing after another.
        let (client, owner) = (Share::of_client(client), format!("owner {ticket}"));
        // SAFETY: shares and bytes outlive the call, and there is room.
        unsafe {
            plain::sidelock_begin_acquire(
                self.share.number,
                client.number,
                order.as_ptr(),
                order.len(),
                owner.as_ptr(),
                owner.len(),
                AS_DEFAULT_MS,
                &raw mut lease.number,
                ticket,
            )
        }
    }

    fn begin_acquire(&self, client: &Client, key: &str, lease: &mut Share, ticket: u64) -> u8 {
        self.begin_order(client, &order(key), lease, ticket)
    }

    fn begin_release(&self, lease: &Share, ticket: u64) -> u8 {
        // SAFETY: both outlive the call.
        unsafe { plain::sidelock_begin_release(self.share.number, lease.number, ticket) }
    }

    fn go_on(&self, lease: &mut Share, ticket: u64) -> u8 {
        // SAFETY: both outlive the call.
        unsafe { plain::sidelock_go_on(self.share.number, &raw mut lease.number, ticket) }
    }

    fn give_up(&self, ticket: u64) {
        // SAFETY: it outlives the call.
        unsafe { plain::sidelock_give_up(self.share.number, ticket) };
    }

    /// Whether something can go on.
    fn can_go_on(&self) -> bool {
        let mut watched = libc::pollfd { fd: self.descriptor, events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, which is open.
        unsafe { libc::poll(&raw mut watched, 1, 0) == 1 }
    }

    /// Tickets of what can go on, this many at most.
    fn woken_now(&self, room: usize) -> Vec<u64> {
        let mut tickets = vec![0; room];
        // SAFETY: there is room for so many.
        let count = unsafe { plain::sidelock_woken(self.share.number, tickets.as_mut_ptr(), room) };
        tickets.truncate(count);
        tickets
    }

    /// The same, once there are some.
    fn woken(&self, room: usize) -> Vec<u64> {
        until(|| self.can_go_on());
        self.woken_now(room)
    }

    /// What came of an operation, which this one is alone to wait for.
    fn finish(&self, mut outcome: u8, lease: &mut Share, ticket: u64) -> u8 {
        while outcome == PENDING {
            assert_eq!(self.woken(8), [ticket]);
            outcome = self.go_on(lease, ticket);
        }
        outcome
    }

    fn acquire(&self, client: &Client, key: &str, ticket: u64) -> Share {
        let mut lease = Share::of_no_lease_yet();
        let begun = self.begin_acquire(client, key, &mut lease, ticket);
        assert_eq!(self.finish(begun, &mut lease, ticket), DONE);
        lease
    }
}

/// A call that blocks, without waiting.
fn try_acquire(client: &Client, key: &str, lease: &mut Share, ticket: u64) -> u8 {
    let (client, order, owner) = (Share::of_client(client), order(key), format!("owner {ticket}"));
    // SAFETY: shares and bytes outlive the call, and there is room.
    unsafe {
        plain::sidelock_acquire(
            client.number,
            order.as_ptr(),
            order.len(),
            owner.as_ptr(),
            owner.len(),
            0,
            &raw mut lease.number,
            ticket,
        )
    }
}

#[test]
fn a_cycle() {
    let (client, here) = (embedded(), Loop::new());
    let lease = here.acquire(&client, "k", 1);
    assert!(lease.lease().is_valid() && lease.lease().fence() > 0);
    assert_eq!(client.holders_blocking("k".into(), 1).unwrap()[0].owner.as_deref(), Some("owner 1"));
    let released = here.begin_release(&lease, 2);
    assert_eq!(here.finish(released, &mut Share::of_no_lease_yet(), 2), DONE);
    assert!(is_free(&client, "k"));
}

#[test]
fn a_blocking_cycle() {
    let (client, mut lease) = (embedded(), Share::of_no_lease_yet());
    assert_eq!(try_acquire(&client, "k", &mut lease, 1), DONE);
    assert!(lease.lease().is_valid());
    // SAFETY: it outlives the call.
    assert_eq!(unsafe { plain::sidelock_release(lease.number, 2) }, DONE);
    assert!(is_free(&client, "k"));
}

/// A signal's handler may call between a call and the question why it failed.
#[test]
fn each_failed_call_has_a_failure_of_its_own() {
    let (client, mut none) = (embedded(), Share::of_no_lease_yet());
    let held = lock(&client, "k");
    assert_eq!(try_acquire(&client, "k", &mut none, 1), FAILED);
    assert_eq!(try_acquire(&client, "", &mut none, 2), FAILED);
    assert!(matches!(failed(2), Err(Failure::Refused { kind: Refusal::Invalid, .. })));
    assert!(matches!(failed(1), Err(Failure::Busy { .. })));
    assert!(failed(1).is_err_and(|told| told.to_string().contains("no call")), "it is told once");
    assert_eq!(try_acquire(&client, "k", &mut none, 3), FAILED);
    plain::sidelock_forget(3);
    assert!(failed(3).is_err_and(|told| told.to_string().contains("no call")), "it was forgotten");
    assert!(held.is_valid() && none.number == 0);
}

/// Whoever is collected together with what it uses may use that once more.
#[test]
fn the_share_of_nothing_is_no_danger() {
    let (client, here, mut none) = (embedded(), Loop::new(), Share::of_no_lease_yet());
    let order = order("k");
    // SAFETY: 0 is allowed everywhere.
    unsafe {
        assert!(!plain::sidelock_is_valid(0) && plain::sidelock_fence(0) == 0 && lease_of(0).is_none());
        assert_eq!(plain::sidelock_release(0, 1), DONE);
        assert_eq!(plain::sidelock_begin_release(here.share.number, 0, 1), DONE);
        let (bytes, into) = (order.as_ptr(), &raw mut none.number);
        assert_eq!(plain::sidelock_acquire(0, bytes, order.len(), bytes, 0, 0, into, 1), FAILED);
        assert!(failed(1).is_err());
        let client = Share::of_client(&client);
        let begun = plain::sidelock_begin_acquire(0, client.number, bytes, order.len(), bytes, 0, 0, into, 1);
        assert_eq!(begun, FAILED);
        assert_eq!(plain::sidelock_go_on(0, into, 1), FAILED);
        plain::sidelock_give_up(0, 1);
        assert_eq!(plain::sidelock_woken(0, into, 1), 0);
        plain::sidelock_free_client(0);
        plain::sidelock_free_loop(0);
    }
    assert!(is_free(&client, "k") && none.number == 0);
}

#[test]
fn a_lease_has_as_many_shares_as_are_wanted() {
    let client = embedded();
    let lease = lock(&client, "k");
    let share = Share::of_lease(&lease);
    drop(lease);
    assert!(share.lease().is_valid());
    drop(share);
    drop(lock(&client, "k"));
}

/// One wake is enough for all that can go on by then, however many.
#[test]
fn a_loop_is_woken_once_for_many() {
    const OPERATIONS: usize = 100;
    let (client, here) = (embedded(), Loop::new());
    drop(lock(&client, "k"));
    let key = |ticket| format!("k/{ticket}");
    let mut leases: Vec<_> = (0..OPERATIONS).map(|_| Share::of_no_lease_yet()).collect();
    let begin = |(ticket, lease): (usize, &mut Share)| {
        here.begin_acquire(&client, &key(ticket), lease, ticket as u64) == PENDING
    };
    let waiting = leases.iter_mut().enumerate().map(begin).filter(|is_pending| *is_pending).count();
    // All are answered before the loop looks.
    until(|| (0..OPERATIONS).all(|ticket| !is_free(&client, &key(ticket))));
    let first = here.woken(1);
    assert_eq!(first.len(), 1);
    assert!(here.can_go_on(), "there was no room for the others: they are told of again");
    let others = here.woken(1000);
    assert_eq!(1 + others.len(), waiting);
    assert!(!here.can_go_on());
    for &ticket in first.iter().chain(&others) {
        assert_eq!(here.go_on(&mut leases[ticket as usize], ticket), DONE);
    }
    assert!(leases.iter().all(|lease| lease.lease().is_valid()));
}

#[test]
fn a_look_for_nothing_does_not_block() {
    let (client, here) = (embedded(), Loop::new());
    assert!(here.woken_now(8).is_empty());
    drop(here.acquire(&client, "k", 1));
    assert!(here.woken_now(8).is_empty());
}

#[test]
fn what_is_given_up_leaves_the_queue() {
    let (client, here, mut lease) = (embedded(), Loop::new(), Share::of_no_lease_yet());
    let holder = lock(&client, "k");
    assert_eq!(here.begin_acquire(&client, "k", &mut lease, 1), PENDING);
    here.give_up(1);
    here.give_up(1);
    assert_eq!(here.go_on(&mut lease, 1), FAILED);
    assert!(matches!(failed(1), Err(Failure::Refused { kind: Refusal::Invalid, .. })));
    holder.release_blocking(2).unwrap();
    drop(lock(&client, "k"));
}

#[test]
fn a_grant_that_the_loop_did_not_take_is_given_back() {
    let (client, here, mut lease) = (embedded(), Loop::new(), Share::of_no_lease_yet());
    let holder = lock(&client, "k");
    assert_eq!(here.begin_acquire(&client, "k", &mut lease, 1), PENDING);
    holder.release_blocking(2).unwrap();
    assert_eq!(here.woken(8), [1]);
    here.give_up(1);
    drop(lock(&client, "k"));
}

#[test]
fn a_loop_that_ends_gives_up_what_it_waits_for() {
    let (client, here, mut lease) = (embedded(), Loop::new(), Share::of_no_lease_yet());
    let holder = lock(&client, "k");
    assert_eq!(here.begin_acquire(&client, "k", &mut lease, 1), PENDING);
    drop(here);
    holder.release_blocking(2).unwrap();
    drop(lock(&client, "k"));
}

#[test]
fn an_order_that_is_cut_short_is_refused_and_never_misread() {
    let (client, here, whole) = (embedded(), Loop::new(), order("k"));
    let mut lease = Share::of_no_lease_yet();
    for length in 0..whole.len() {
        let begun = here.begin_order(&client, &whole[..length], &mut lease, 1);
        assert_eq!(here.finish(begun, &mut lease, 1), FAILED, "{length}");
        assert!(matches!(failed(1), Err(Failure::Refused { kind: Refusal::Invalid, .. })));
    }
}
