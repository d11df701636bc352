//! The calls that are made most, as plain C functions.
//!
//! uniffi's generated code takes tens of microseconds to carry a record over in some languages (Python); a whole lock
//! takes as long. These take numbers and bytes. Owns what those mean: what to ask for is bytes (`order`); what came of a
//! call is one number; and an object is a *share* of it, a number that the caller keeps and frees. A call that gains a share
//! writes it where the caller says before it returns, so nothing can come between the two. 0 is the share of nothing: a language
//! that collects circles may use an object once more after its end. Whoever has no need for all this does not know of it:
//! every one of these calls is there in uniffi's way, too.
#![allow(unsafe_code, reason = "C knows nothing safer than addresses")]
#![allow(unreachable_pub, reason = "who calls these is no crate")]

use crate::blocking;
use crate::client::Client;
use crate::error::{Failure, Result};
use crate::event_loop::{EventLoop, Gain};
use crate::lease::Lease;
use crate::order;
use crate::wish::Wish;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;

/// What came of a call.
const PENDING: u8 = 0;
const DONE: u8 = 1;
/// [`failed`] tells why.
const FAILED: u8 = 2;

thread_local! {
    /// Why calls of this thread failed, by ticket: a signal's handler may make other calls before that is asked.
    static FAILURES: RefCell<BTreeMap<u64, Failure>> = const { RefCell::new(BTreeMap::new()) };
}

/// Fails with what the call of this ticket failed with, on this thread.
#[uniffi::export]
pub fn failed(ticket: u64) -> Result<()> {
    let failure = FAILURES.with_borrow_mut(|failures| failures.remove(&ticket));
    Err(failure.unwrap_or_else(|| Failure::invalid("", "no call with this ticket has failed on this thread")))
}

/// The lease of a share, for uniffi's calls; absent: of none.
#[uniffi::export]
pub fn lease_of(share: u64) -> Option<Arc<Lease>> {
    // SAFETY: the number is a share that the caller has, or it has no business with this.
    unsafe { again(share) }
}

fn fail(failure: Failure, ticket: u64) -> u8 {
    FAILURES.with_borrow_mut(|failures| failures.insert(ticket, failure));
    FAILED
}

/// # Safety
/// There is room for a share of a lease.
unsafe fn came_of(outcome: Result<Gain>, lease: *mut u64, ticket: u64) -> u8 {
    match outcome {
        Ok(Some(gained)) => {
            // SAFETY: as above.
            unsafe { lease.write(share(gained)) };
            DONE
        }
        Ok(None) => DONE,
        Err(failure) => fail(failure, ticket),
    }
}

/// # Safety
/// As [`came_of`].
unsafe fn came_so_far(polled: Poll<Result<Gain>>, lease: *mut u64, ticket: u64) -> u8 {
    match polled {
        Poll::Pending => PENDING,
        // SAFETY: as above.
        Poll::Ready(outcome) => unsafe { came_of(outcome, lease, ticket) },
    }
}

fn share<T>(object: Arc<T>) -> u64 {
    Arc::into_raw(object) as u64
}

/// The object of a share.
///
/// # Safety
/// The share is of this type, and its caller does not free it meanwhile.
unsafe fn of<'a, T>(share: u64) -> Option<&'a T> {
    // SAFETY: as above.
    unsafe { (share as *const T).as_ref() }
}

/// Another reference to it.
///
/// # Safety
/// As [`of`].
unsafe fn again<T>(share: u64) -> Option<Arc<T>> {
    let object = share as *const T;
    (!object.is_null()).then(|| {
        // SAFETY: as above.
        unsafe {
            Arc::increment_strong_count(object);
            Arc::from_raw(object)
        }
    })
}

/// # Safety
/// The share is of this type, and was not freed.
unsafe fn free<T>(share: u64) {
    let object = share as *const T;
    if !object.is_null() {
        // SAFETY: as above.
        drop(unsafe { Arc::from_raw(object) });
    }
}

/// # Safety
/// The client is a share; each pair is the address and length of readable bytes.
unsafe fn asking<'a>(
    client: u64,
    (order, order_bytes): (*const u8, usize),
    (owner, owner_bytes): (*const u8, usize),
    wait_ms: u64,
) -> Result<(&'a Client, Wish)> {
    // SAFETY: as above.
    let (client, order, owner) = unsafe {
        let order = std::slice::from_raw_parts(order, order_bytes);
        (of::<Client>(client), order, std::slice::from_raw_parts(owner, owner_bytes))
    };
    Ok((client.ok_or_else(Failure::closed)?, order::read(order, owner, wait_ms)?))
}

/// A share of the client at this address, which a uniffi object tells.
///
/// # Safety
/// That object lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_share_client(address: u64, into: *mut u64) {
    // SAFETY: promised by the caller.
    unsafe { into.write(again::<Client>(address).map_or(0, share)) };
}

/// A share of the lease at this address, which a uniffi object tells.
///
/// # Safety
/// That object lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_share_lease(address: u64, into: *mut u64) {
    // SAFETY: promised by the caller.
    unsafe { into.write(again::<Lease>(address).map_or(0, share)) };
}

/// A share of a new event loop; returns the descriptor that is to be watched for it.
///
/// # Safety
/// There is room for both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_new_loop(into: *mut u64, descriptor: *mut i32, ticket: u64) -> u8 {
    match EventLoop::new() {
        Ok(event_loop) => {
            // SAFETY: promised by the caller.
            unsafe {
                descriptor.write(event_loop.descriptor());
                into.write(share(Arc::new(event_loop)));
            }
            DONE
        }
        Err(failure) => fail(failure, ticket),
    }
}

/// # Safety
/// A share of a client, or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_free_client(client: u64) {
    // SAFETY: promised by the caller.
    unsafe { free::<Client>(client) };
}

/// # Safety
/// A share of a lease, or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_free_lease(lease: u64) {
    // SAFETY: promised by the caller.
    unsafe { free::<Lease>(lease) };
}

/// # Safety
/// A share of an event loop, or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_free_loop(event_loop: u64) {
    // SAFETY: promised by the caller.
    unsafe { free::<EventLoop>(event_loop) };
}

/// [`Client::acquire_blocking`].
///
/// # Safety
/// A share of a client; order and owner are readable; there is room for the lease.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_acquire(
    client: u64,
    order: *const u8,
    order_bytes: usize,
    owner: *const u8,
    owner_bytes: usize,
    wait_ms: u64,
    lease: *mut u64,
    ticket: u64,
) -> u8 {
    // SAFETY: promised by the caller.
    unsafe {
        let outcome = asking(client, (order, order_bytes), (owner, owner_bytes), wait_ms)
            .and_then(|(client, wish)| client.acquire_blocking(wish, ticket));
        came_of(outcome.map(Some), lease, ticket)
    }
}

/// [`Lease::release_blocking`]. There is nothing to do for 0.
///
/// # Safety
/// A share of a lease, or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_release(lease: u64, ticket: u64) -> u8 {
    // SAFETY: promised by the caller.
    let released = unsafe { of::<Lease>(lease) }.map_or(Ok(()), |lease| lease.release_blocking(ticket));
    released.map_or_else(|failure| fail(failure, ticket), |()| DONE)
}

/// [`forget`](blocking::forget), of a plain call.
#[unsafe(no_mangle)]
pub extern "C" fn sidelock_forget(ticket: u64) {
    FAILURES.with_borrow_mut(|failures| failures.remove(&ticket));
    blocking::forget(ticket);
}

/// [`Client::acquire`], begun on an event loop.
///
/// # Safety
/// Shares of an event loop and of a client; order and owner are readable; there is room for the lease.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_begin_acquire(
    event_loop: u64,
    client: u64,
    order: *const u8,
    order_bytes: usize,
    owner: *const u8,
    owner_bytes: usize,
    wait_ms: u64,
    lease: *mut u64,
    ticket: u64,
) -> u8 {
    // SAFETY: promised by the caller.
    unsafe {
        let begun =
            asking(client, (order, order_bytes), (owner, owner_bytes), wait_ms).map(|(client, wish)| {
                let acquiring = client.acquiring(wish);
                begin(event_loop, ticket, async move { acquiring.await.map(Some) })
            });
        came_so_far(begun.unwrap_or_else(|failure| Poll::Ready(Err(failure))), lease, ticket)
    }
}

/// [`Lease::release`], begun on an event loop. There is nothing to do for 0.
///
/// # Safety
/// Shares of an event loop and of a lease, or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_begin_release(event_loop: u64, lease: u64, ticket: u64) -> u8 {
    // SAFETY: promised by the caller.
    unsafe {
        let Some(lease) = of::<Lease>(lease) else { return DONE };
        let releasing = lease.releasing(true);
        let begun = begin(event_loop, ticket, async move { releasing.await.map(|()| None) });
        came_so_far(begun, std::ptr::null_mut(), ticket)
    }
}

/// # Safety
/// A share of an event loop, or 0.
unsafe fn begin(
    event_loop: u64,
    ticket: u64,
    operation: impl Future<Output = Result<Gain>> + Send + 'static,
) -> Poll<Result<Gain>> {
    // SAFETY: promised by the caller.
    match unsafe { of::<EventLoop>(event_loop) } {
        Some(event_loop) => event_loop.begin(ticket, operation),
        None => Poll::Ready(Err(EventLoop::has_ended())),
    }
}

/// [`EventLoop::go_on`].
///
/// # Safety
/// A share of an event loop, or 0; there is room for a lease, if that is what it waits for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_go_on(event_loop: u64, lease: *mut u64, ticket: u64) -> u8 {
    // SAFETY: promised by the caller.
    unsafe {
        let polled = of::<EventLoop>(event_loop)
            .map_or_else(|| Poll::Ready(Err(EventLoop::has_ended())), |here| here.go_on(ticket));
        came_so_far(polled, lease, ticket)
    }
}

/// [`EventLoop::give_up`].
///
/// # Safety
/// A share of an event loop, or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_give_up(event_loop: u64, ticket: u64) {
    FAILURES.with_borrow_mut(|failures| failures.remove(&ticket));
    // SAFETY: promised by the caller.
    if let Some(event_loop) = unsafe { of::<EventLoop>(event_loop) } {
        event_loop.give_up(ticket);
    }
}

/// Writes the tickets of operations that can go on, as many as there is room for, and returns how many.
///
/// # Safety
/// A share of an event loop, or 0; there is room for so many numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_woken(event_loop: u64, into: *mut u64, room: usize) -> usize {
    // SAFETY: promised by the caller.
    unsafe {
        let into = std::slice::from_raw_parts_mut(into, room);
        of::<EventLoop>(event_loop).map_or(0, |event_loop| event_loop.woken(into))
    }
}

/// [`Lease::fence`]; 0 of none.
///
/// # Safety
/// A share of a lease, or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_fence(lease: u64) -> u64 {
    // SAFETY: promised by the caller.
    unsafe { of::<Lease>(lease) }.map_or(0, Lease::fence)
}

/// [`Lease::is_valid`]; no of none.
///
/// # Safety
/// A share of a lease, or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sidelock_is_valid(lease: u64) -> bool {
    // SAFETY: promised by the caller.
    unsafe { of::<Lease>(lease) }.is_some_and(Lease::is_valid)
}
