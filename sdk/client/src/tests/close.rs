//! A client that is closed: what is held ends before others can have it, and whatever is asked is told so.

use super::peer::{Place, hold, open};
use crate::{Error, LostReason};
use sidelock_wire::Scope;

fn is_closed<T: std::fmt::Debug>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Invalid(refusal)) if refusal.message.contains("closed"))
}

#[tokio::test]
async fn closing_ends_what_is_held_and_what_waits() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (lease, _) = hold(&client, &mut peer, "k").await;
    let waiting = tokio::spawn(client.lock("q").acquire());
    peer.acquire("q").await;
    client.clone().close();
    assert!(!lease.is_valid(), "before the connection closes");
    assert_eq!(lease.lost().await, LostReason::Session);
    assert!(is_closed(waiting.await.unwrap()));
    assert!(is_closed(client.lock("k").await));
    assert!(is_closed(client.holders("k").await));
    peer.hung_up().await;
    client.close();
    drop(lease);
    assert!(is_closed(client.lock("k").await), "the first reason stands");
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_client_without_a_connection_is_closed_as_well() {
    let place = Place::new();
    let (client, peer) = place.meet(Scope::Fleet).await;
    drop(peer);
    let waiting = tokio::spawn(client.lock("k").acquire());
    // Looks for a sidecar again until it is closed; whoever it finds hears nothing.
    let mut again = place.accept().await;
    client.close();
    assert!(is_closed(waiting.await.unwrap()));
    again.hung_up().await;
    assert_eq!(client.sidecar(), None);
}
