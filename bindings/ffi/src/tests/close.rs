//! A client that is closed.

use super::{Heard, drive, embedded, embedded_with_listener, lock, wish, without_waiting};
use crate::{Client, Failure, LossReason, Options, Refusal, Result};
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Waker};

fn is_closed<T>(outcome: Result<T>) -> bool {
    matches!(outcome, Err(Failure::Refused { kind: Refusal::Invalid, text, .. }) if text == CLOSED)
}

/// In the same words, whether it ever was connected or not.
const CLOSED: &str = "this client was closed; make a new one (bad_request)";

#[test]
fn what_is_held_ends_and_what_waits_is_told() {
    let (client, heard) = embedded_with_listener();
    let lease = lock(&client, "k");
    lease.clone().watch(42).unwrap();
    let mut waiting = Box::pin(client.acquire(wish(&["k"]), None));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    client.close();
    assert!(!lease.is_valid());
    assert!(is_closed(drive(waiting)));
    assert_eq!(heard.recv().unwrap(), (42, LossReason::Session));
    let failure = lease.release_blocking(3).unwrap_err();
    assert!(matches!(failure, Failure::LeaseLost { reason: LossReason::Session, .. }), "{failure}");
    client.close();
    assert!(is_closed(client.acquire_blocking(without_waiting("k"), 4)));
    assert!(is_closed(client.holders_blocking("k".into(), 5)));
    assert!(is_closed(client.clone().register("r".into()).get_blocking(None, 6)));
}

#[test]
fn a_client_that_was_never_used_is_closed_as_well() {
    let (heard, _hearing) = channel();
    for client in [embedded(), Client::embedded(Options::default(), Some(Arc::new(Heard(heard))))] {
        client.close();
        assert!(is_closed(client.acquire_blocking(wish(&["k"]), 1)));
        assert!(is_closed(client.connect_blocking(2)));
    }
}
