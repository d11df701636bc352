//! Requests that are written by who makes them.

use super::peer::{Place, hold, welcome};
use sidelock_wire::{Limits, Scope, Welcome};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

/// One of these tests' own: its connection runs only while it is awaited.
#[tokio::test]
async fn a_request_leaves_at_once_and_so_does_a_release() {
    let place = Place::new();
    let (client, mut peer) = place.meet_with(place.builder().write_through(), Scope::Host).await;
    peer.settled(&client).await;
    let mut asking = pin!(client.lock("k").acquire());
    assert!(asking.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let (request, _) = peer.acquire_already_here("k");
    peer.grant(request, 7).await;
    drop(asking.await.unwrap());
    peer.take_in_already_here();
    assert_eq!(peer.release().await.1, request);
}

#[tokio::test]
async fn without_that_the_connection_writes() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    peer.settled(&client).await;
    let mut asking = pin!(client.lock("k").acquire());
    assert!(asking.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(peer.take_in_already_here(), 0);
    assert!(asking.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    peer.acquire("k").await;
}

/// The socket is full after some hundred: what does not fit is the connection's to write, and all arrives in order.
#[tokio::test]
async fn what_does_not_fit_follows_in_order() {
    const REQUESTS: usize = 20_000;
    let place = Place::new();
    let limits = Limits { in_flight_max: 1 << 20, ..welcome(Scope::Host).limits };
    let (client, peer) = tokio::join!(
        place.builder().write_through().connect(),
        place.accept_and_welcome(Welcome { limits, ..welcome(Scope::Host) })
    );
    let (client, mut peer) = (client.unwrap(), peer);
    peer.settled(&client).await;
    let key = |number: usize| format!("{number:0>300}");
    let mut asking: Vec<_> = (0..REQUESTS).map(|number| client.lock(key(number)).acquire()).collect();
    for asking in &mut asking {
        assert!(pin!(asking).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let written = peer.take_in_already_here();
    assert!(written > 0 && written < REQUESTS * 300, "{written} bytes fit");
    for number in 0..REQUESTS {
        peer.acquire(&key(number)).await;
    }
    drop(asking);
    for _ in 0..REQUESTS {
        peer.cancel().await;
    }
    let (lease, _) = hold(&client, &mut peer, "after").await;
    assert!(lease.is_valid());
}
