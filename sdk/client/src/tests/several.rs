//! Several keys, and upgrades, that nobody wants any more: whatever was granted meanwhile goes back, and a share stays.

use super::peer::{Peer, Place, hold, open, resumed};
use crate::clock;
use crate::{Client, Error, LostReason};
use sidelock_wire::{AcquireAll, Change, Granted, LeaseName, Mode, Scope, ToClient, ToSidecar};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// The numbers of the acquire of `a` and `b` that is due.
async fn asked(peer: &mut Peer) -> [u64; 2] {
    peer.next(|message| match message {
        ToSidecar::AcquireAll(AcquireAll { first, others }) => {
            assert_eq!((first.key, others[0].1), (&b"a"[..], &b"b"[..]));
            [first.request, others[0].0]
        }
        other => panic!("an acquire of several keys was due, got {other:?}"),
    })
    .await
}

async fn grant(peer: &mut Peer, numbers: [u64; 2]) {
    let deadline_ns = clock::after(clock::boottime_ns(), Duration::from_secs(20));
    let lease = |request| Granted { request, fence: request, deadline_ns, cap_ns: None, secret: None };
    peer.say(&ToClient::GrantedAll { request: numbers[0], leases: numbers.map(lease).to_vec() }).await;
}

/// The number of the upgrade of this lease that is due.
async fn upgrade(peer: &mut Peer, share: u64) -> u64 {
    peer.next(|message| match message {
        ToSidecar::Change(Change {
            request,
            lease: LeaseName::Session(lease),
            mode: Mode::Exclusive,
            ..
        }) => {
            assert_eq!(lease, share);
            request
        }
        other => panic!("an upgrade was due, got {other:?}"),
    })
    .await
}

async fn both(client: &Client, peer: &mut Peer) -> (crate::LeaseAll, [u64; 2]) {
    let acquiring = tokio::spawn(client.lock_all(["b", "a"]).acquire());
    let numbers = asked(peer).await;
    grant(peer, numbers).await;
    (acquiring.await.unwrap().unwrap(), numbers)
}

#[tokio::test]
async fn a_dropped_wait_for_several_is_cancelled_and_a_grant_that_crosses_is_none() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let mut acquiring = client.lock_all(["b", "a"]).acquire();
    assert!(poll_once(&mut acquiring).await.is_pending());
    let numbers = asked(&mut peer).await;
    drop(acquiring);
    grant(&mut peer, numbers).await;
    assert_eq!(peer.cancel().await, numbers[0]);
    peer.say(&ToClient::Cancelled { request: numbers[0] }).await;
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_grant_of_several_that_came_before_the_drop_is_released_whole() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let mut acquiring = client.lock_all(["b", "a"]).acquire();
    assert!(poll_once(&mut acquiring).await.is_pending());
    let numbers = asked(&mut peer).await;
    grant(&mut peer, numbers).await;
    peer.settled(&client).await;
    drop(acquiring);
    assert_eq!([peer.release().await.1, peer.release().await.1], numbers);
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn with_one_of_several_all_are_lost_and_the_rest_goes_back() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (leases, [first, second]) = both(&client, &mut peer).await;
    peer.say(&ToClient::Lost { request: second, reason: LostReason::Forced }).await;
    assert_eq!(leases.lost().await, LostReason::Forced);
    assert!(!leases.is_valid());
    assert_eq!(peer.release().await.1, first);
    drop(leases);
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn several_are_asked_for_again_after_a_break_under_new_numbers() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let acquiring = tokio::spawn(client.lock_all(["b", "a"]).acquire());
    let before = asked(&mut peer).await;
    drop(peer);
    // Granted on the way: both go back.
    let mut peer = place.accept_and_welcome(resumed(before.to_vec())).await;
    assert_eq!([peer.release().await.1, peer.release().await.1], before);
    let after = asked(&mut peer).await;
    assert!(after.iter().all(|number| !before.contains(number)), "{after:?}");
    grant(&mut peer, after).await;
    drop(acquiring.await.unwrap().unwrap());
    assert_eq!([peer.release().await.1, peer.release().await.1], after);
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_dropped_upgrade_takes_back_no_more_than_it_gave() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (mut lease, share) = hold(&client, &mut peer, "k").await;
    for granted_first in [false, true] {
        let mut upgrading = lease.upgrade().into_future();
        assert!(poll_once(&mut upgrading).await.is_pending());
        let whole = upgrade(&mut peer, share).await;
        if granted_first {
            peer.grant(whole, 8).await;
            peer.settled(&client).await;
        }
        drop(upgrading);
        assert_eq!(peer.cancel().await, whole);
        peer.say(&ToClient::Cancelled { request: whole }).await;
        peer.settled(&client).await;
        assert!(lease.is_valid());
        assert_eq!((lease.fence(), open(&client)), (7, 1));
    }
    drop(lease);
    assert_eq!(peer.release().await.1, share);
}

/// The sidecar knows the lease by the upgrade's number only.
#[tokio::test]
async fn a_share_is_lost_with_the_upgrade_that_nobody_wants_any_more() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    for lost_first in [true, false] {
        let (mut lease, share) = hold(&client, &mut peer, "k").await;
        let mut upgrading = lease.upgrade().into_future();
        assert!(poll_once(&mut upgrading).await.is_pending());
        let whole = upgrade(&mut peer, share).await;
        peer.grant(whole, 8).await;
        let lost = ToClient::Lost { request: whole, reason: LostReason::Forced };
        if lost_first {
            peer.say(&lost).await;
            peer.settled(&client).await;
            drop(upgrading);
        } else {
            peer.settled(&client).await;
            drop(upgrading);
            assert_eq!(peer.cancel().await, whole);
            peer.say(&lost).await;
            peer.say(&ToClient::Cancelled { request: whole }).await;
        }
        assert_eq!(lease.lost().await, LostReason::Forced);
        assert!(!lease.is_valid());
        drop(lease);
        peer.settled(&client).await;
        assert_eq!(open(&client), 0);
    }
}

/// What caps the share caps the whole: here its ttl.
#[tokio::test]
async fn an_upgraded_lease_ends_by_what_capped_its_share() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let reading = tokio::spawn(client.lock("k").ttl(Duration::from_secs(9)).acquire());
    let (share, _) = peer.acquire("k").await;
    let until = |span| clock::after(clock::boottime_ns(), span);
    let far = until(Duration::from_secs(9));
    peer.grant_until(share, 7, far, Some(far)).await;
    let mut lease = reading.await.unwrap().unwrap();
    let whole = async {
        let whole = upgrade(&mut peer, share).await;
        let soon = until(Duration::from_secs(1));
        peer.grant_until(whole, 8, soon, Some(soon)).await;
    };
    let (upgraded, ()) = tokio::join!(lease.upgrade().into_future(), whole);
    upgraded.unwrap();
    assert_eq!(lease.lost().await, LostReason::Expired);
}

#[tokio::test]
async fn an_upgrade_goes_on_in_the_resumed_session_and_ends_with_its_share() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (mut lease, share) = hold(&client, &mut peer, "k").await;
    let upgrading = tokio::spawn(async move { lease.upgrade().await.map(|()| lease) });
    upgrade(&mut peer, share).await;
    drop(peer);
    let mut peer = place.accept_and_welcome(resumed(vec![share])).await;
    let whole = upgrade(&mut peer, share).await;
    peer.grant(whole, 8).await;
    let lease = upgrading.await.unwrap().unwrap();
    assert_eq!((lease.fence(), open(&client)), (8, 1));
    drop(lease);
    assert_eq!(peer.release().await.1, whole);
}

#[tokio::test]
async fn of_several_a_loss_is_told_before_what_is_not_known() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let acquiring = tokio::spawn(client.lock_all(["a", "b"]).acquire());
    let [a, b] = asked(&mut peer).await;
    let deadline_ns = clock::after(clock::boottime_ns(), Duration::from_secs(3600));
    let lease = |request| Granted { request, fence: request, deadline_ns, cap_ns: None, secret: None };
    let leases = vec![lease(a), lease(b)];
    peer.say(&ToClient::GrantedAll { request: a, leases }).await;
    let both = acquiring.await.unwrap().unwrap();
    drop(peer);
    while client.sidecar().is_some() {
        tokio::task::yield_now().await;
    }
    both.views()[1].hold.shorten(clock::boottime_ns());
    let error = both.release().await.unwrap_err();
    assert!(matches!(error, Error::LeaseLost { .. }), "{error}");
}
