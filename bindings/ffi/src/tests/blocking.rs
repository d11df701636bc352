//! Blocking calls: what a signal does to them, and what becomes of what did not arrive.
#![allow(unsafe_code, reason = "there is no safe way to send a thread a signal")]

use super::{embedded, is_free, lock, until, wish};
use crate::{Client, Failure, forget};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn a_cycle() {
    let client = embedded();
    let lease = lock(&client, "k");
    assert!(lease.is_valid());
    assert!(!is_free(&client, "k"));
    lease.release_blocking(2).unwrap();
    assert!(is_free(&client, "k"));
}

#[test]
fn a_signal_interrupts_a_wait_that_goes_on_with_its_ticket() {
    let client = embedded();
    let holder = lock(&client, "k");
    let fence = holder.fence();
    let waiter = Waiter::start(&client, |client| {
        let first = client.acquire_blocking(wish(&["k"]), 7);
        assert_eq!(first.map(|lease| lease.fence()), Err(Failure::Stopped));
        client.acquire_blocking(wish(&["k"]), 7).map(|lease| lease.fence())
    });
    waiter.interrupt();
    holder.release_blocking(2).unwrap();
    assert!(waiter.outcome().unwrap() > fence);
}

#[test]
fn an_interrupted_wait_that_is_forgotten_leaves_its_queue() {
    let client = embedded();
    let holder = lock(&client, "k");
    let waiter = Waiter::start(&client, |client| {
        assert!(client.acquire_blocking(wish(&["k"]), 7).is_err());
        forget(7);
        forget(7);
        Ok(0)
    });
    waiter.interrupt();
    waiter.outcome().unwrap();
    holder.release_blocking(2).unwrap();
    // Behind it, had it stayed: it would be granted to nobody, and held.
    lock(&client, "k").release_blocking(3).unwrap();
}

#[test]
fn a_lease_that_did_not_arrive_is_given_back() {
    let client = embedded();
    let undelivered = client.acquire_blocking(wish(&["k"]), 7).unwrap();
    forget(8);
    assert!(undelivered.is_valid(), "another call's ticket");
    forget(7);
    assert!(!undelivered.is_valid());
    lock(&client, "k").release_blocking(9).unwrap();
}

#[test]
fn a_ticket_of_another_call_is_a_new_one() {
    let client = embedded();
    let holder = lock(&client, "k");
    let waiter = Waiter::start(&client, |client| {
        assert!(client.acquire_blocking(wish(&["k"]), 7).is_err());
        assert!(!client.holders_blocking("k".into(), 7).unwrap().is_empty());
        Ok(0)
    });
    waiter.interrupt();
    waiter.outcome().unwrap();
    drop(holder);
}

/// A thread that waits, and can be sent a signal.
struct Waiter {
    thread: std::thread::JoinHandle<Result<u64, Failure>>,
    /// Its number for the system, once it runs.
    id: Arc<AtomicU64>,
}

impl Waiter {
    fn start(
        client: &Arc<Client>,
        body: impl FnOnce(&Client) -> Result<u64, Failure> + Send + 'static,
    ) -> Waiter {
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: a handler that does nothing, for a signal that nobody else here uses.
        unsafe { libc::signal(libc::SIGUSR1, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t) };
        let id = Arc::new(AtomicU64::new(0));
        let (client, known) = (client.clone(), id.clone());
        let thread = std::thread::spawn(move || {
            // SAFETY: asks for a number.
            known.store(unsafe { libc::gettid() }.unsigned_abs().into(), Ordering::Release);
            body(&client)
        });
        Waiter { thread, id }
    }

    /// Sends the signal once it sleeps in its read.
    fn interrupt(&self) {
        until(|| self.sleeps_in_a_read());
        let id = self.id.load(Ordering::Acquire) as libc::pid_t;
        // SAFETY: a thread of ours, which lives until its outcome is asked for.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, libc::SIGUSR1) };
    }

    fn sleeps_in_a_read(&self) -> bool {
        let path = format!("/proc/self/task/{}/syscall", self.id.load(Ordering::Acquire));
        let number = std::fs::read_to_string(path).ok();
        let number = number.and_then(|text| text.split(' ').next().and_then(|word| word.parse().ok()));
        number.is_some_and(|number: libc::c_long| [libc::SYS_read, libc::SYS_recvfrom].contains(&number))
    }

    fn outcome(self) -> Result<u64, Failure> {
        self.thread.join().unwrap()
    }
}
