//! Futures that nobody waits for any more.

use super::{drive, embedded, lock, until, wish, without_waiting};
use crate::{Cancel, Client, Failure, Lease, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

type Acquiring = Pin<Box<dyn Future<Output = Result<Arc<Lease>>> + Send>>;

/// An acquire under way: in the queue, once it was polled.
fn acquiring(client: &Arc<Client>, key: &str, cancel: &Arc<Cancel>) -> Acquiring {
    let (client, wish, cancel) = (client.clone(), wish(&[key]), cancel.clone());
    Box::pin(async move { client.acquire(wish, Some(cancel)).await })
}

fn poll(future: &mut Acquiring) -> Poll<Result<Arc<Lease>>> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn what_is_cancelled_before_it_begins_does_not_begin() {
    let client = embedded();
    let cancel = Cancel::new();
    cancel.cancel();
    cancel.cancel();
    assert_eq!(drive(acquiring(&client, "k", &cancel)).unwrap_err(), Failure::Stopped);
    drive(client.acquire(without_waiting("k"), None)).unwrap();
}

#[test]
fn a_cancelled_wait_leaves_the_queue() {
    let client = embedded();
    let holder = lock(&client, "k");
    let cancel = Cancel::new();
    let mut waiting = acquiring(&client, "k", &cancel);
    assert!(poll(&mut waiting).is_pending());
    cancel.cancel();
    assert_eq!(drive(waiting).unwrap_err(), Failure::Stopped);
    holder.release_blocking(2).unwrap();
    drive(client.acquire(without_waiting("k"), None)).unwrap();
}

#[test]
fn a_grant_that_nobody_took_is_given_back() {
    let client = embedded();
    let holder = lock(&client, "k");
    let mut waiting = acquiring(&client, "k", &Cancel::new());
    assert!(poll(&mut waiting).is_pending());
    let fence = holder.fence();
    holder.release_blocking(2).unwrap();
    // Granted, and its future not polled since.
    let granted =
        || client.holders_blocking("k".into(), 3).unwrap().iter().any(|holder| holder.fence > Some(fence));
    until(granted);
    drop(waiting);
    lock(&client, "k").release_blocking(4).unwrap();
}

#[test]
fn a_thousand_cancelled_waits_leave_nothing() {
    let client = embedded();
    let holder = lock(&client, "k");
    let cancel = Cancel::new();
    let mut waiting: Vec<_> = (0..1000).map(|_| acquiring(&client, "k", &cancel)).collect();
    for future in &mut waiting {
        assert!(poll(future).is_pending());
    }
    cancel.cancel();
    for future in waiting {
        assert_eq!(drive(future).unwrap_err(), Failure::Stopped);
    }
    holder.release_blocking(2).unwrap();
    drive(client.acquire(without_waiting("k"), None)).unwrap();
}
