//! Requests that nobody wants any more leave the queue, or their grant is returned; nothing leaks (L5, H24, H28).

use super::peer::{Place, open};
use futures_lite_poll::poll_once;
use sidelock_wire::{Code, Detail, Refused, Scope, ToClient};

/// Polls a future once.
mod futures_lite_poll {
    use std::future::{Future, poll_fn};
    use std::pin::Pin;
    use std::task::Poll;

    pub(super) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
    }
}

#[tokio::test]
async fn a_dropped_wait_leaves_the_queue() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let mut acquiring = client.lock("a").acquire();
    assert!(poll_once(&mut acquiring).await.is_pending());
    let (request, wait) = peer.acquire("a").await;
    assert_eq!(wait, None, "the default is for ever");
    drop(acquiring);
    assert_eq!(peer.cancel().await, request);
    assert_eq!(open(&client), 1, "until the sidecar says cancelled, the number is taken");
    peer.say(&ToClient::Cancelled { request }).await;
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_grant_that_crosses_the_cancel_is_no_lease() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let mut acquiring = client.lock("a").acquire();
    assert!(poll_once(&mut acquiring).await.is_pending());
    let (request, _) = peer.acquire("a").await;
    drop(acquiring);
    peer.grant(request, 5).await;
    assert_eq!(peer.cancel().await, request);
    peer.say(&ToClient::Cancelled { request }).await;
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_refusal_that_crosses_the_cancel_is_forgotten_with_it() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let mut acquiring = client.lock("a").acquire();
    assert!(poll_once(&mut acquiring).await.is_pending());
    let (request, _) = peer.acquire("a").await;
    drop(acquiring);
    let (code, detail) = (Code::WaitTimeout, Detail::default());
    peer.say(&ToClient::Refused(Refused { request, code, message: "".into(), detail, register: None })).await;
    assert_eq!(peer.cancel().await, request);
    peer.say(&ToClient::Cancelled { request }).await;
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_grant_that_came_before_the_drop_is_released() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let mut acquiring = client.lock("a").acquire();
    assert!(poll_once(&mut acquiring).await.is_pending());
    let (request, _) = peer.acquire("a").await;
    peer.grant(request, 5).await;
    peer.settled(&client).await;
    drop(acquiring);
    assert_eq!(peer.release().await.1, request);
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_grant_of_nobody_is_returned() {
    let place = Place::new();
    let (_client, mut peer) = place.meet(Scope::Host).await;
    peer.grant(12345, 5).await;
    assert_eq!(peer.cancel().await, 12345);
}

#[tokio::test]
async fn an_unpolled_request_says_nothing() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    drop(client.lock("never").acquire());
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn an_ignored_release_is_answered_to_nobody() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let acquiring = tokio::spawn(client.lock("a").acquire());
    let (acquire, _) = peer.acquire("a").await;
    peer.grant(acquire, 5).await;
    let releasing = acquiring.await.unwrap().unwrap().release();
    drop(releasing);
    let (request, released) = peer.release().await;
    assert_eq!(released, acquire);
    assert_eq!(open(&client), 1);
    peer.say(&ToClient::Released { request }).await;
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}
