//! A signal's handler that forks in the middle of a call: the child comes back into a call that its parent began.
#![allow(unsafe_code, reason = "to fork is what is tested")]

mod child;

use child::{in_child, lock, wish};
use sidelock_ffi::{Client, Failure, Lease, Options, forget};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Between two signals.
const AGAIN: Duration = Duration::from_millis(5);

/// What the thread of a language with handlers of its own does: a call comes back for a signal, and goes on with its ticket.
#[test]
fn what_a_child_comes_back_into_begins_anew() {
    let client = Client::embedded(Options::default(), None);
    let held = lock(&client, 1).unwrap();
    let ticket = 7;
    let stopped = interrupted(|| client.acquire_blocking(wish(None), ticket).map(drop));
    assert_eq!(stopped, Err(Failure::Stopped));
    // The key is free at its own sidecar.
    let own = |lease: Arc<Lease>| lease.is_valid() && !held.is_valid();
    assert!(in_child(|| client.acquire_blocking(wish(None), ticket).is_ok_and(own)));
    assert!(in_child(|| {
        forget(ticket);
        lock(&client, 8).is_ok_and(own)
    }));
    // The parent's has its place still.
    held.release_blocking(2).unwrap();
    client.acquire_blocking(wish(None), ticket).unwrap().release_blocking(3).unwrap();
}

/// What came of a call that a signal ended. Nothing of the thread that sent it is left then: one that is about to end has a
/// lock of the standard library's, which whoever forks meanwhile leaves locked to the child for ever; no thread begins there.
fn interrupted<T>(call: impl FnOnce() -> T) -> T {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: a handler that does nothing, for a signal that nobody else here uses.
    unsafe { libc::signal(libc::SIGUSR2, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    // SAFETY: asks for a number.
    let waiter = unsafe { libc::gettid() };
    let (over, is_over) = channel::<()>();
    std::thread::scope(|threads| {
        let sender = threads.spawn(move || {
            // One that comes while the call does not sleep interrupts nothing.
            while is_over.recv_timeout(AGAIN) == Err(RecvTimeoutError::Timeout) {
                // SAFETY: a thread of ours, which lives until this one ends.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), waiter, libc::SIGUSR2) };
            }
        });
        let outcome = call();
        drop(over);
        // The scope would wait for its work alone.
        sender.join().expect("it only sends signals");
        outcome
    })
}
