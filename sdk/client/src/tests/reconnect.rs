//! The connection breaks and comes back: what waits goes on within its wait, what was held stands or falls by P5 and P6.

use super::peer::{Peer, Place, SECRET, hold, open, restarted, resumed, welcome};
use crate::{Client, Error, Lease, LostReason, Result, clock};
use sidelock_wire::{Code, Detail, Refused, Resume, Scope, ToClient, ToSidecar};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test]
async fn on_the_memory_store_the_end_of_the_connection_is_the_end_of_its_leases() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (lease, _) = hold(&client, &mut peer, "k").await;
    drop(peer);
    assert_eq!(lease.lost().await, LostReason::SidecarRestarted);
    assert!(!lease.is_valid());
    let mut peer = place.accept_and_welcome(restarted(Scope::Host)).await;
    peer.settled(&client).await;
    assert_eq!(client.sidecar().unwrap().incarnation, 2);
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_goodbye_says_whether_it_is_the_session_or_the_sidecar_that_ends() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    for (code, reason) in [
        (Code::BadRequest, LostReason::Session),
        (Code::Draining, LostReason::SidecarRestarted),
        (Code::TooLarge, LostReason::Session),
    ] {
        let (lease, _) = hold(&client, &mut peer, "k").await;
        peer.say(&ToClient::Goodbye { code, message: "go".into() }).await;
        assert_eq!(lease.lost().await, reason, "{code}");
        peer = place.accept_and_welcome(restarted(Scope::Host)).await;
    }
}

#[tokio::test]
async fn a_waiting_request_goes_on_at_the_next_connection_within_its_wait() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let asking = tokio::spawn(client.lock("k").wait(Duration::from_secs(60)).acquire());
    let (first, wait) = peer.acquire("k").await;
    // Waits travel in milliseconds: let some pass.
    tokio::time::sleep(Duration::from_millis(3)).await;
    drop(peer);
    let mut peer = place.accept_and_welcome(restarted(Scope::Host)).await;
    let (second, rest) = peer.acquire("k").await;
    assert_ne!(first, second, "a number is never used twice");
    assert!(rest < wait, "{rest:?} of {wait:?}");
    peer.grant(second, 9).await;
    assert_eq!(asking.await.unwrap().unwrap().fence(), 9);
}

/// A host that slept for longer than a session lasts: its sidecar looks at the clock before it reads what was sent.
#[tokio::test]
async fn a_wait_whose_session_counted_as_lost_is_asked_for_again() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let asking = tokio::spawn(client.lock("k").wait(Duration::from_secs(60)).acquire());
    let (first, wait) = peer.acquire("k").await;
    // Waits travel in milliseconds: let some pass.
    tokio::time::sleep(Duration::from_millis(3)).await;
    let detail = Detail { reason: Some(LostReason::Session), ..Detail::default() };
    let refused =
        Refused { request: first, code: Code::LeaseLost, message: "".into(), detail, register: None };
    peer.say(&ToClient::Refused(refused)).await;
    let (second, rest) = peer.acquire("k").await;
    assert!(first != second && rest < wait, "{rest:?} of {wait:?}");
    peer.grant(second, 9).await;
    assert_eq!(asking.await.unwrap().unwrap().fence(), 9);
}

#[tokio::test]
async fn a_grant_that_the_end_overtook_is_asked_for_again() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let mut asking = Box::pin(client.lock("k").acquire());
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(asking.as_mut().poll(cx))).await.is_pending());
    let (request, _) = peer.acquire("k").await;
    peer.grant(request, 7).await;
    drop(peer);
    let (lease, _peer) = tokio::join!(asking, async {
        let mut peer = place.accept_and_welcome(restarted(Scope::Host)).await;
        let (request, _) = peer.acquire("k").await;
        peer.grant(request, 8).await;
        peer
    });
    assert_eq!(lease.unwrap().fence(), 8);
}

#[tokio::test]
async fn a_resumed_session_keeps_what_it_still_has() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (kept, kept_number) = hold(&client, &mut peer, "kept").await;
    let (gone, _) = hold(&client, &mut peer, "gone").await;
    let waiting = tokio::spawn(client.lock("w").acquire());
    let (crossed, _) = peer.acquire("w").await;
    drop(peer);
    let mut peer = place.accept_and_welcome(resumed(vec![kept_number, crossed])).await;
    assert_eq!(peer.resume, Some(Resume { session: 77, secret: SECRET }));
    assert_eq!(peer.release().await.1, crossed, "a grant that was lost on the way is returned");
    let (again, _) = peer.acquire("w").await;
    peer.grant(again, 11).await;
    drop(waiting.await.unwrap().unwrap());
    assert_eq!(gone.lost().await, LostReason::Session);
    assert!(kept.is_valid() && !gone.is_valid());
    let until_ns = clock::after(clock::boottime_ns(), Duration::from_secs(3600));
    peer.release().await;
    peer.say(&ToClient::Extended { until_ns, except: vec![] }).await;
    peer.settled(&client).await;
    assert_eq!(kept.deadline().as_nanos() as u64, until_ns);
}

#[tokio::test]
async fn what_was_given_up_without_a_connection_is_returned_by_the_resumed_session() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (dropped, first) = hold(&client, &mut peer, "dropped").await;
    let (released, second) = hold(&client, &mut peer, "released").await;
    drop(peer);
    while client.sidecar().is_some() {
        tokio::task::yield_now().await;
    }
    drop(dropped);
    assert!(matches!(released.release().await, Err(Error::OutcomeUnknown { .. })));
    let mut peer = place.accept_and_welcome(resumed(vec![first, second])).await;
    assert_eq!([peer.release().await.1, peer.release().await.1], [first, second]);
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn what_is_given_back_after_its_deadline_without_a_connection_was_lost() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (lease, _) = hold(&client, &mut peer, "k").await;
    drop(peer);
    while client.sidecar().is_some() {
        tokio::task::yield_now().await;
    }
    lease.view.hold.shorten(clock::boottime_ns());
    let error = lease.release().await.unwrap_err();
    assert!(matches!(error, Error::LeaseLost { .. }), "{error}");
}

#[tokio::test]
async fn an_older_incarnations_lease_lasts_until_the_deadline_told_and_no_longer() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (lease, _) = hold(&client, &mut peer, "k").await;
    let deadline = lease.deadline();
    drop(peer);
    let mut peer = place.accept_and_welcome(restarted(Scope::Fleet)).await;
    peer.say(&ToClient::Extended { until_ns: u64::MAX, except: vec![] }).await;
    peer.settled(&client).await;
    assert!(lease.is_valid());
    assert_eq!(lease.deadline(), deadline);
    let error = lease.renew(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, Error::LeaseLost { reason: LostReason::SidecarRestarted, .. }), "{error}");
    drop(lease);
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

/// A request that was granted, and whose future has not looked since.
async fn granted_unseen(client: &Client, peer: &mut Peer) -> impl Future<Output = Result<Lease>> + use<> {
    let mut late = Box::pin(client.lock("late").into_future());
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(late.as_mut().poll(cx).is_pending())).await);
    let (request, _) = peer.acquire("late").await;
    peer.grant(request, 7).await;
    peer.settled(client).await;
    late
}

/// What a scripted peer is told next is the probe of `settled`, which fails on anything else.
#[tokio::test]
async fn an_orphan_is_never_released_into_the_new_session() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (released, _) = hold(&client, &mut peer, "released").await;
    let (dropped, _) = hold(&client, &mut peer, "dropped").await;
    // Granted, and orphaned before its future looks.
    let late = granted_unseen(&client, &mut peer).await;
    drop(peer);
    let mut peer = place.accept_and_welcome(restarted(Scope::Fleet)).await;
    peer.settled(&client).await;
    let error = released.release().await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    drop(dropped);
    drop(late.await.unwrap());
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

/// Granted, and orphaned before its future looks: then a lease of a sidecar that is no more, and no other's to extend.
#[tokio::test]
async fn a_grant_taken_late_lasts_until_the_deadline_told_and_no_longer() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let late = granted_unseen(&client, &mut peer).await;
    drop(peer);
    let mut peer = place.accept_and_welcome(restarted(Scope::Fleet)).await;
    peer.settled(&client).await;
    let lease = late.await.unwrap();
    let deadline = lease.deadline();
    peer.say(&ToClient::Extended { until_ns: u64::MAX, except: vec![] }).await;
    peer.settled(&client).await;
    assert_eq!(lease.deadline(), deadline);
}

#[tokio::test]
async fn hanging_up_on_a_talker_of_nonsense_gives_the_leases_up_first() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (lease, _) = hold(&client, &mut peer, "k").await;
    peer.say_bytes(&[0xff, 0xff, 0xff, 0xff, 0x42]).await;
    assert_eq!(lease.lost().await, LostReason::Session);
    peer.hung_up().await;
}

#[tokio::test]
async fn hanging_up_on_a_resumed_session_gives_its_leases_up_first() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (lease, _) = hold(&client, &mut peer, "k").await;
    drop(peer);
    let mut peer = place.accept().await;
    assert!(peer.resume.is_some() && lease.is_valid());
    peer.say(&ToClient::Draining).await;
    assert_eq!(lease.lost().await, LostReason::Session);
    peer.hung_up().await;
}

#[tokio::test]
async fn a_stopped_sidecar_is_noticed_by_its_silence() {
    let place = Place::new();
    let mut short = welcome(Scope::Fleet);
    short.session_ttl = Duration::from_millis(200);
    let (client, mut peer) = tokio::join!(place.builder().connect(), place.accept_and_welcome(short));
    let client = client.unwrap();
    let (lease, _) = hold(&client, &mut peer, "k").await;
    assert_eq!(lease.lost().await, LostReason::Session);
    peer.hung_up().await;
}

#[tokio::test]
async fn a_try_without_a_connection_fails_at_once() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (lease, _) = hold(&client, &mut peer, "k").await;
    drop(peer);
    lease.lost().await;
    let error = client.lock("k").try_acquire().await.unwrap_err();
    assert!(matches!(error, Error::SidecarUnreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_wait_without_a_connection_fails_when_it_is_over() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (lease, _) = hold(&client, &mut peer, "k").await;
    drop((peer, place));
    lease.lost().await;
    let started = std::time::Instant::now();
    let error = client.lock("k").wait(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, Error::SidecarUnreachable { .. }), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_long_wait_fails_when_there_was_no_connection_for_too_long() {
    let place = Place::new();
    let builder = place.builder().unreachable_after(Duration::from_millis(30));
    let (client, peer) = place.meet_with(builder, Scope::Host).await;
    drop((peer, place));
    let error = client.lock("k").await.unwrap_err();
    assert!(matches!(error, Error::SidecarUnreachable { .. }), "{error}");
}

/// A sidecar of another version, perhaps. It is not asked for ever, nor as often as it can hang up.
#[tokio::test]
async fn a_sidecar_that_hangs_up_because_of_a_question_is_not_asked_for_ever() {
    let place = Place::new();
    let builder = place.builder().unreachable_after(Duration::from_millis(400));
    let (client, mut peer) = place.meet_with(builder, Scope::Fleet).await;
    let (_lease, number) = hold(&client, &mut peer, "other").await;
    let asked = AtomicUsize::new(0);
    let hang_up = async {
        loop {
            peer.next(|message| assert!(matches!(message, ToSidecar::Holders(_)), "{message:?}")).await;
            asked.fetch_add(1, Ordering::Relaxed);
            drop(peer);
            peer = place.accept_and_welcome(resumed(vec![number])).await;
            peer.say(&ToClient::Extended { until_ns: u64::MAX, except: Vec::new() }).await;
        }
    };
    let result = tokio::select! {
        result = client.holders("k") => result,
        () = hang_up => unreachable!("it goes on for as long as it is asked"),
    };
    assert!(matches!(result, Err(Error::SidecarUnreachable { .. })), "{result:?}");
    let asked = asked.load(Ordering::Relaxed);
    assert!((2..=8).contains(&asked), "asked {asked} times in 400 ms");
}

/// One that answers others meanwhile is there.
#[tokio::test]
async fn a_connection_on_which_something_was_answered_was_one() {
    let place = Place::new();
    let builder = place.builder().unreachable_after(Duration::from_millis(500));
    let (client, mut peer) = place.meet_with(builder, Scope::Fleet).await;
    let script = async {
        for _ in 0..4 {
            let (number, _) = peer.acquire("k").await;
            drop(peer);
            peer = place.accept_and_welcome(resumed(Vec::new())).await;
            let (again, _) = peer.acquire("k").await;
            assert_ne!(again, number);
            peer.grant(again, 7).await;
            peer.release().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        peer
    };
    let asking = async {
        for _ in 0..4 {
            drop(client.lock("k").await.unwrap());
        }
    };
    tokio::join!(script, asking);
}

#[tokio::test]
async fn what_was_said_at_goodbye_is_the_reason() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (lease, _) = hold(&client, &mut peer, "k").await;
    peer.say(&ToClient::Goodbye { code: Code::TooMany, message: "sessions_max is 1".into() }).await;
    lease.lost().await;
    let error = client.lock("k").try_acquire().await.unwrap_err();
    assert!(error.to_string().contains("sessions_max is 1"), "{error}");
}

#[tokio::test]
async fn a_release_that_the_end_overtook_is_of_unknown_outcome() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (lease, _) = hold(&client, &mut peer, "k").await;
    let releasing = lease.release();
    peer.release().await;
    drop(peer);
    assert!(matches!(releasing.await.unwrap_err(), Error::OutcomeUnknown { .. }));
}

#[tokio::test]
async fn a_timed_acquire_that_the_end_overtook_is_of_unknown_outcome() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let asking = tokio::spawn(async move { client.lock("k").acquire_timed(Duration::from_secs(5)).await });
    peer.acquire("k").await;
    drop(peer);
    assert!(matches!(asking.await.unwrap().unwrap_err(), Error::OutcomeUnknown { .. }));
}

#[tokio::test]
async fn a_renewal_goes_on_in_the_resumed_session() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (lease, number) = hold(&client, &mut peer, "k").await;
    let script = async {
        peer.renew().await;
        drop(peer);
        let mut peer = place.accept_and_welcome(resumed(vec![number])).await;
        let (request, acquire, _) = peer.renew().await;
        assert_eq!(acquire, number);
        let renewed = sidelock_wire::Renewed { request, fence: 7, deadline_ns: u64::MAX, cap_ns: None };
        peer.say(&ToClient::Renewed(renewed)).await;
    };
    let (result, ()) = tokio::join!(lease.renew(Duration::from_secs(5)), script);
    result.unwrap();
}

#[test]
fn a_client_whose_runtime_is_gone_is_closed() {
    let place_runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (client, lease, _peer) = place_runtime.block_on(async {
        let place = Place::new();
        let (client, mut peer) = place.meet(Scope::Fleet).await;
        let (lease, _) = hold(&client, &mut peer, "k").await;
        (client, lease, peer)
    });
    drop(place_runtime);
    assert!(!lease.is_valid(), "nobody pings for it any more");
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = other.block_on(async { client.lock("k").await.unwrap_err() });
    assert!(error.to_string().contains("closed"), "{error}");
}
