//! The crossing, seen from the other side: blocking calls from plain threads, futures polled by whoever comes.

mod blocking;
mod cancel;
mod close;
mod driving;
mod errors;
mod event_loop;
mod leader;
mod leases;
mod modes;

use crate::{Client, Lease, LossListener, LossReason, Options, Units, Wish};
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// A wish for the lock of these keys, with no end to its wait.
fn wish(keys: &[&str]) -> Wish {
    Wish {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        units: Units::Exclusive,
        wait_ms: None,
        ttl_ms: None,
        max_hold_ms: None,
        owner: None,
        priority: 0,
        reentrant: false,
    }
}

fn without_waiting(key: &str) -> Wish {
    Wish { wait_ms: Some(0), ..wish(&[key]) }
}

fn embedded() -> Arc<Client> {
    Client::embedded(Options::default(), None)
}

/// Runs a future as another language's event loop would: on a thread that is no runtime's.
fn drive<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = std::task::Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = std::task::Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A listener that writes down what it hears.
#[derive(Debug)]
struct Heard(Sender<(u64, LossReason)>);

impl LossListener for Heard {
    fn lost(&self, number: u64, reason: LossReason) {
        // The test that does not listen any more has failed already.
        let _ = self.0.send((number, reason));
    }
}

fn embedded_with_listener() -> (Arc<Client>, Receiver<(u64, LossReason)>) {
    let (heard, hearing) = channel();
    (Client::embedded(Options::default(), Some(Arc::new(Heard(heard)))), hearing)
}

fn lock(client: &Client, key: &str) -> Arc<Lease> {
    client.acquire_blocking(wish(&[key]), 1).unwrap()
}

/// Whether nobody has it.
fn is_free(client: &Client, key: &str) -> bool {
    client.holders_blocking(key.to_owned(), 1).unwrap().is_empty()
}

/// Looks again until it is so.
fn until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}
