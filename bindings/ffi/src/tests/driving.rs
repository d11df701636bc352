//! Who drives the runtime, and what may happen on a thread that does.
#![allow(unsafe_code, reason = "there is no safe way to send a thread a signal")]

use super::{embedded, lock, until, wish};
use crate::guest::Guest;
use crate::runtime::{Driven, runtime};
use crate::{Client, Failure, LossListener, LossReason, Options, Refusal, Wish};
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{ThreadId, current};

/// The bound on wakes: a call that is alone needs no other thread to send what it asks, nor to hear the answer.
#[test]
fn the_tasks_of_a_call_that_is_alone_run_on_its_thread() {
    // Other tests of this process may drive, or ride, at the moment.
    until(|| {
        let mut task = pin!(async { tokio::spawn(async { current().id() }).await.unwrap() });
        let driven = runtime().unwrap().drive(task.as_mut()).unwrap();
        matches!(driven, Driven::Done(thread) if thread == current().id())
    });
}

#[test]
fn what_nobody_waits_for_is_done_soon_after_the_last_call() {
    let client = embedded();
    drop(lock(&client, "k"));
    let (done, is_done) = channel();
    runtime().unwrap().handle().spawn(async move { done.send(()) });
    is_done.recv().unwrap();
}

#[test]
fn a_signal_interrupts_a_call_that_drives() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: a handler that does nothing, for a signal that nobody else here uses.
    unsafe { libc::signal(libc::SIGUSR2, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    // SAFETY: asks for a number.
    let waiter = unsafe { libc::gettid() };
    let interrupted = Arc::new(AtomicBool::new(false));
    let is_interrupted = interrupted.clone();
    let signals = std::thread::spawn(move || {
        until(|| {
            // SAFETY: a thread of ours, which lives until this one ends.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), waiter, libc::SIGUSR2) };
            is_interrupted.load(Ordering::Acquire)
        });
    });
    until(|| {
        let mut never = pin!(pending::<()>());
        matches!(runtime().unwrap().drive(never.as_mut()).unwrap(), Driven::Interrupted)
    });
    interrupted.store(true, Ordering::Release);
    signals.join().unwrap();
}

#[test]
fn without_a_signal_it_is_not_interrupted() {
    for _ in 0..20 {
        let mut never = pin!(pending::<()>());
        assert!(matches!(runtime().unwrap().drive(never.as_mut()).unwrap(), Driven::TooLong));
    }
}

/// Notes on which thread it was woken.
#[derive(Default)]
struct Woken(OnceLock<ThreadId>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.get_or_init(|| current().id());
    }
}

/// Its code would run in the middle of a call: a handler's exception would come out of nowhere, and a second call on this
/// thread would have nobody to drive.
#[test]
fn another_language_is_never_called_on_a_thread_that_drives() {
    let woken = Arc::new(Woken::default());
    let mut stored = None;
    let mut guest = pin!(
        Guest::new(poll_fn(|cx| {
            stored = Some(cx.waker().clone());
            Poll::<()>::Pending
        }))
        .unwrap()
    );
    assert!(guest.as_mut().poll(&mut Context::from_waker(&Waker::from(woken.clone()))).is_pending());
    let waker = stored.unwrap();
    let mut waking = pin!(async move { waker.wake() });
    runtime().unwrap().drive(waking.as_mut()).unwrap();
    until(|| woken.0.get().is_some());
    assert_ne!(woken.0.get(), Some(&current().id()));
}

/// It would wait for itself.
#[test]
fn a_call_inside_of_driving_is_refused() {
    let client = embedded();
    drop(lock(&client, "k"));
    let mut inside = pin!(async { client.acquire_blocking(wish(&["k"]), 7).map(drop) });
    let Driven::Done(outcome) = runtime().unwrap().drive(inside.as_mut()).unwrap() else {
        panic!("it waits")
    };
    assert!(matches!(outcome, Err(Failure::Refused { kind: Refusal::Invalid, .. })), "{outcome:?}");
}

/// A listener that locks and releases when it hears of a loss.
#[derive(Debug)]
struct Locks(OnceLock<Arc<Client>>, Sender<Result<(), Failure>>);

impl LossListener for Locks {
    fn lost(&self, _: u64, _: LossReason) {
        let client = self.0.get().unwrap();
        let cycle = client.acquire_blocking(wish(&["other"]), 1).and_then(|lease| lease.release_blocking(2));
        // The test that does not listen any more has failed already.
        let _ = self.1.send(cycle);
    }
}

#[test]
fn who_hears_of_a_loss_may_block() {
    let (tell, told) = channel();
    let listener = Arc::new(Locks(OnceLock::new(), tell));
    let client = Client::embedded(Options::default(), Some(listener.clone()));
    listener.0.get_or_init(|| client.clone());
    let wish = Wish { ttl_ms: Some(100), ..wish(&["k"]) };
    let lease = client.acquire_blocking(wish, 1).unwrap();
    lease.clone().watch(1).unwrap();
    assert_eq!(told.recv().unwrap(), Ok(()));
}
