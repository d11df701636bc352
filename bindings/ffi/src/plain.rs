//! The calls that are made most, as plain C functions.
//!
//! uniffi's generated code takes tens of microseconds to carry a record over in some languages (Python); a whole lock
//! takes as long. These take numbers and bytes. Owns what those mean: objects are addresses, which their `address` tells
//! and which stay good while the object lives; what to ask for is bytes (`order`); what came of a call is one number.
//! Whoever has no need for this does not know of it: every one of these calls is there in uniffi's way, too.
#![allow(unsafe_code, reason = "C knows nothing safer than addresses")]
#![allow(unreachable_pub, reason = "who calls these is no crate")]

use crate::client::Client;
use crate::error::{Failure, Result};
use crate::event_loop::EventLoop;
use crate::lease::Lease;
use crate::order;
use crate::wish::Wish;
use std::cell::RefCell;
use std::sync::Arc;
use std::task::Poll;

/// What came of a call: one of these, or the address of a lease, which the caller has to free.
const PENDING: u64 = 0;
const DONE: u64 = 1;
const FAILED: u64 = 2;

thread_local! {
    static FAILURE: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// Fails with what the last call of this thread failed with that answered 2.
#[uniffi::export]
pub fn failed() -> Result<()> {
    FAILURE.take().map_or(Ok(()), Err)
}

/// The lease at an address, for uniffi's calls.
#[uniffi::export]
pub fn lease_at(address: u64) -> Arc<Lease> {
    let lease = address as *const Lease;
    // SAFETY: the address is a lease's that the caller did not free, or it has no business with this.
    unsafe {
        Arc::increment_strong_count(lease);
        Arc::from_raw(lease)
    }
}

fn of_lease(outcome: Result<Arc<Lease>>) -> u64 {
    outcome.map_or_else(fail, Lease::into_address)
}

fn of_poll(polled: Poll<Result<Option<Arc<Lease>>>>) -> u64 {
    match polled {
        Poll::Pending => PENDING,
        Poll::Ready(outcome) => outcome.map_or_else(fail, |gain| gain.map_or(DONE, Lease::into_address)),
    }
}

fn fail(failure: Failure) -> u64 {
    FAILURE.set(Some(failure));
    FAILED
}

/// The object at an address.
///
/// # Safety
/// It is one of this type, and its caller keeps it.
unsafe fn at<'a, T>(address: u64) -> &'a T {
    // SAFETY: as above.
    unsafe { &*(address as *const T) }
}

/// # Safety
/// Each pair is the address and length of readable bytes.
unsafe fn wish(
    (order, order_bytes): (*const u8, usize),
    (owner, owner_bytes): (*const u8, usize),
    wait_ms: u64,
) -> Result<Wish> {
    // SAFETY: as above.
    let (order, owner) = unsafe {
        (std::slice::from_raw_parts(order, order_bytes), std::slice::from_raw_parts(owner, owner_bytes))
    };
    order::read(order, owner, wait_ms)
}

/// [`Client::acquire_blocking`].
///
/// # Safety
/// `client` is the address of one; order and owner are readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_acquire(
    client: u64,
    order: *const u8,
    order_bytes: usize,
    owner: *const u8,
    owner_bytes: usize,
    wait_ms: u64,
    ticket: u64,
) -> u64 {
    // SAFETY: promised by the caller.
    let (client, wish) =
        unsafe { (at::<Client>(client), wish((order, order_bytes), (owner, owner_bytes), wait_ms)) };
    of_lease(wish.and_then(|wish| client.acquire_blocking(wish, ticket)))
}

/// [`Lease::release_blocking`].
///
/// # Safety
/// `lease` is the address of one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_release(lease: u64, ticket: u64) -> u64 {
    // SAFETY: promised by the caller.
    let lease = unsafe { at::<Lease>(lease) };
    lease.release_blocking(ticket).map_or_else(fail, |()| DONE)
}

/// [`Client::acquire`], begun on an event loop.
///
/// # Safety
/// `event_loop` and `client` are addresses of such; order and owner are readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_begin_acquire(
    event_loop: u64,
    client: u64,
    order: *const u8,
    order_bytes: usize,
    owner: *const u8,
    owner_bytes: usize,
    wait_ms: u64,
    ticket: u64,
) -> u64 {
    // SAFETY: promised by the caller.
    let (event_loop, client, wish) = unsafe {
        let wish = wish((order, order_bytes), (owner, owner_bytes), wait_ms);
        (at::<EventLoop>(event_loop), at::<Client>(client), wish)
    };
    match wish {
        Ok(wish) => {
            let acquiring = client.acquiring(wish);
            of_poll(event_loop.begin(ticket, async move { acquiring.await.map(Some) }))
        }
        Err(failure) => fail(failure),
    }
}

/// [`Lease::release`], begun on an event loop.
///
/// # Safety
/// `event_loop` and `lease` are addresses of such.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_begin_release(event_loop: u64, lease: u64, ticket: u64) -> u64 {
    // SAFETY: promised by the caller.
    let (event_loop, lease) = unsafe { (at::<EventLoop>(event_loop), at::<Lease>(lease)) };
    let releasing = lease.releasing();
    of_poll(event_loop.begin(ticket, async move { releasing.await.map(|()| None) }))
}

/// [`EventLoop::go_on`].
///
/// # Safety
/// `event_loop` is the address of one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_go_on(event_loop: u64, ticket: u64) -> u64 {
    // SAFETY: promised by the caller.
    of_poll(unsafe { at::<EventLoop>(event_loop) }.go_on(ticket))
}

/// [`EventLoop::give_up`].
///
/// # Safety
/// `event_loop` is the address of one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_give_up(event_loop: u64, ticket: u64) {
    // SAFETY: promised by the caller.
    unsafe { at::<EventLoop>(event_loop) }.give_up(ticket);
}

/// Writes the tickets of operations that can go on, as many as there is room for, and returns how many.
///
/// # Safety
/// `event_loop` is the address of one; there is room for so many numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_woken(event_loop: u64, into: *mut u64, room: usize) -> usize {
    // SAFETY: promised by the caller.
    let (event_loop, into) =
        unsafe { (at::<EventLoop>(event_loop), std::slice::from_raw_parts_mut(into, room)) };
    event_loop.woken(into)
}

/// [`Lease::fence`].
///
/// # Safety
/// `lease` is the address of one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_fence(lease: u64) -> u64 {
    // SAFETY: promised by the caller.
    unsafe { at::<Lease>(lease) }.fence()
}

/// [`Lease::is_valid`].
///
/// # Safety
/// `lease` is the address of one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_is_valid(lease: u64) -> bool {
    // SAFETY: promised by the caller.
    unsafe { at::<Lease>(lease) }.is_valid()
}

/// The caller has no use for this lease any more.
///
/// # Safety
/// `lease` is the address of one, and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_free_lease(lease: u64) {
    // SAFETY: promised by the caller.
    drop(unsafe { Arc::from_raw(lease as *const Lease) });
}
