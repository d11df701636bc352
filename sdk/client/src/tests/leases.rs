//! A lease tells the truth: extended, capped, excepted, renewed, lost (S2, S8, P6).

use super::peer::{LEASE, Peer, Place, hold, open, resumed, welcome};
use crate::{Client, Error, Lease, LostReason, clock};
use sidelock_wire::{Code, Detail, Refused, Renewed, Scope, ToClient};
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// A lease that was granted until `deadline_ns`, and the number of its acquire.
async fn granted(client: &Client, peer: &mut Peer, deadline_ns: u64, cap_ns: Option<u64>) -> (Lease, u64) {
    let asking = tokio::spawn(client.lock("k").acquire());
    let (request, _) = peer.acquire("k").await;
    peer.grant_until(request, 7, deadline_ns, cap_ns).await;
    (asking.await.unwrap().unwrap(), request)
}

/// When a lease ends that is to end while its test waits.
fn soon() -> u64 {
    clock::boottime_ns() + SECOND_NS / 50
}

fn deadline_ns(lease: &Lease) -> u64 {
    lease.deadline().as_nanos() as u64
}

#[tokio::test]
async fn an_extension_moves_all_but_those_it_excepts_and_stops_at_caps() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let now = clock::boottime_ns();
    let (near, cap, until) = (now + SECOND_NS * 10, now + SECOND_NS * 15, now + SECOND_NS * 20);
    let (free, _) = granted(&client, &mut peer, near, None).await;
    let (capped, _) = granted(&client, &mut peer, near, Some(cap)).await;
    let (lagging, request) = granted(&client, &mut peer, near, None).await;
    peer.say(&ToClient::AtRisk { request }).await;
    peer.say(&ToClient::Extended { until_ns: until, except: vec![request] }).await;
    peer.settled(&client).await;
    assert_eq!([&free, &capped, &lagging].map(deadline_ns), [until, cap, near]);
    assert!(lagging.is_at_risk() && !free.is_at_risk());
    peer.say(&ToClient::Extended { until_ns: until, except: vec![] }).await;
    peer.settled(&client).await;
    assert_eq!(deadline_ns(&lagging), until);
    assert!(!lagging.is_at_risk());
}

#[tokio::test]
async fn an_extension_before_a_grant_does_not_move_it() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let near = clock::boottime_ns() + SECOND_NS;
    peer.say(&ToClient::Extended { until_ns: near + SECOND_NS, except: vec![] }).await;
    let (lease, _) = granted(&client, &mut peer, near, None).await;
    assert_eq!(deadline_ns(&lease), near);
}

#[tokio::test]
async fn a_view_hears_at_once_that_its_lease_was_given_back_or_lost() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let far = clock::boottime_ns() + SECOND_NS * 3600;
    for drops in [true, false] {
        let (lease, request) = granted(&client, &mut peer, far, None).await;
        let view = lease.view();
        let waiting = tokio::spawn(async move { view.ended().await });
        tokio::task::yield_now().await;
        let told = if drops {
            drop(lease);
            peer.release().await;
            None
        } else {
            peer.say(&ToClient::Lost { request, reason: LostReason::Forced }).await;
            peer.settled(&client).await;
            Some(LostReason::Forced)
        };
        tokio::task::yield_now().await;
        assert!(waiting.is_finished(), "it looks again after a second");
        assert_eq!(waiting.await.unwrap(), told);
    }
}

#[tokio::test]
async fn validity_ends_with_the_deadline_without_a_word() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (free, _) = hold(&client, &mut peer, "k").await;
    free.view.hold.shorten(soon());
    assert_eq!(free.lost().await, LostReason::Store);
    assert!(!free.is_valid());
    let asking = tokio::spawn(client.lock("k").acquire());
    let (request, _) = peer.acquire("k").await;
    // Its cap is told with the grant, which has to come in time.
    let cap = clock::boottime_ns() + SECOND_NS;
    peer.grant_until(request, 7, cap, Some(cap)).await;
    let short = asking.await.unwrap().unwrap();
    assert_eq!(short.lost().await, LostReason::MaxHold, "no ttl was asked for: what else caps it");
    assert!(!short.is_valid());
}

#[tokio::test]
async fn a_grant_whose_deadline_passed_on_the_way_is_given_back_and_asked_for_again() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let asking = tokio::spawn(client.lock("k").acquire());
    let (first, _) = peer.acquire("k").await;
    peer.grant_until(first, 7, clock::boottime_ns(), None).await;
    assert_eq!(peer.release().await.1, first);
    let (second, _) = peer.acquire("k").await;
    peer.grant(second, 8).await;
    assert_eq!(asking.await.unwrap().unwrap().fence(), 8);
}

#[tokio::test]
async fn a_release_keeps_the_connection_until_it_is_answered() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (lease, _) = granted(&client, &mut peer, u64::MAX, None).await;
    drop(client);
    let releasing = lease.release();
    let (request, _) = peer.release().await;
    peer.say(&ToClient::Released { request }).await;
    releasing.await.unwrap();
    peer.hung_up().await;
}

#[tokio::test]
async fn a_loss_is_told_and_not_released() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (lease, request) = granted(&client, &mut peer, u64::MAX, None).await;
    assert!(lease.is_valid());
    peer.say(&ToClient::Lost { request, reason: LostReason::Forced }).await;
    assert_eq!(lease.lost().await, LostReason::Forced);
    assert!(!lease.is_valid());
    let error = lease.release().await.unwrap_err();
    assert!(matches!(error, Error::LeaseLost { reason: LostReason::Forced, .. }), "{error}");
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

/// A client that stood still notices by its clock; the sidecar has extended the lease meanwhile, and would go on.
#[tokio::test]
async fn a_release_after_a_deadline_that_was_noticed_here_is_sent() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (lease, request) = hold(&client, &mut peer, "k").await;
    lease.view.hold.shorten(soon());
    assert_eq!(lease.lost().await, LostReason::Store);
    let error = lease.release().await.unwrap_err();
    assert!(matches!(error, Error::LeaseLost { reason: LostReason::Store, .. }), "{error}");
    assert_eq!(peer.release().await.1, request);
    assert_eq!(open(&client), 0);
}

/// A client that stood still for longer than a session lasts: it is not the store's fault.
#[tokio::test]
async fn a_deadline_that_passed_while_no_sign_of_life_left_is_the_sessions() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (first, _) = granted(&client, &mut peer, u64::MAX, None).await;
    let (second, _) = granted(&client, &mut peer, u64::MAX, None).await;
    client.handle.shared.alive_until(0);
    [&first, &second].into_iter().for_each(|lease| lease.view.hold.shorten(clock::boottime_ns()));
    assert_eq!(first.lost().await, LostReason::Session);
    drop(peer);
    while client.sidecar().is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(second.lost().await, LostReason::Store, "nobody could have heard one");
}

#[tokio::test]
async fn a_release_invalidates_before_it_is_sent_and_is_answered() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (lease, acquire) = granted(&client, &mut peer, u64::MAX, None).await;
    let view = lease.view();
    let releasing = lease.release();
    assert!(!view.is_valid());
    let (request, released) = peer.release().await;
    assert_eq!(released, acquire);
    peer.say(&ToClient::Released { request }).await;
    releasing.await.unwrap();
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_renewal_moves_deadline_and_cap() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let now = clock::boottime_ns();
    let first = now + 10 * SECOND_NS;
    let (lease, acquire) = granted(&client, &mut peer, first, Some(first)).await;
    let far = now + 100 * SECOND_NS;
    let script = async {
        let (request, renewed, ttl) = peer.renew().await;
        assert_eq!((renewed, ttl), (acquire, Duration::from_secs(90)));
        peer.say(&ToClient::Renewed(Renewed {
            request,
            fence: 7,
            deadline_ns: first + 1,
            cap_ns: Some(far),
        }))
        .await;
    };
    let (result, ()) = tokio::join!(lease.renew(Duration::from_secs(90)), script);
    result.unwrap();
    assert_eq!(deadline_ns(&lease), first + 1);
    peer.say(&ToClient::Extended { until_ns: u64::MAX, except: vec![] }).await;
    peer.settled(&client).await;
    assert_eq!(deadline_ns(&lease), far);
}

#[tokio::test]
async fn a_refused_renewal_says_so() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (lease, _) = granted(&client, &mut peer, u64::MAX, None).await;
    let script = async {
        let (request, _, _) = peer.renew().await;
        let detail = Detail { reason: Some(LostReason::Expired), ..Detail::default() };
        peer.say(&ToClient::Refused(Refused {
            request,
            code: Code::LeaseLost,
            message: "".into(),
            detail,
            register: None,
        }))
        .await;
    };
    let (result, ()) = tokio::join!(lease.renew(Duration::from_secs(9)), script);
    assert!(matches!(result.unwrap_err(), Error::LeaseLost { reason: LostReason::Expired, .. }));
}

async fn deny(peer: &mut Peer) {
    let (request, _, _) = peer.renew().await;
    let (code, detail) = (Code::Denied, Detail::default());
    peer.say(&ToClient::Refused(Refused { request, code, message: "".into(), detail, register: None })).await;
}

/// A policy's no changes nothing; after a renewal whose answer was lost nobody knows.
#[tokio::test]
async fn a_renewal_that_was_denied_leaves_the_lease_as_it_was() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let far = clock::boottime_ns() + 100 * SECOND_NS;
    let (lease, number) = granted(&client, &mut peer, far, Some(far)).await;
    let (denied, ()) = tokio::join!(lease.renew(Duration::from_secs(5)), deny(&mut peer));
    assert!(matches!(denied.unwrap_err(), Error::Denied { .. }));
    assert_eq!(deadline_ns(&lease), far);
    let interrupted = async {
        peer.renew().await;
        drop(peer);
        let mut peer = place.accept_and_welcome(resumed(vec![number])).await;
        deny(&mut peer).await;
        peer
    };
    let (denied, _peer) = tokio::join!(lease.renew(Duration::from_secs(5)), interrupted);
    assert!(matches!(denied.unwrap_err(), Error::Denied { .. }));
    assert!(deadline_ns(&lease) < far, "it may have run");
}

#[tokio::test]
async fn a_renewal_that_was_never_sent_leaves_the_lease_as_it_was() {
    let place = Place::new();
    let builder = place.builder().unreachable_after(Duration::from_millis(50));
    let (client, mut peer) = place.meet_with(builder, Scope::Fleet).await;
    let far = clock::boottime_ns() + 20 * SECOND_NS;
    let (lease, _) = granted(&client, &mut peer, far, Some(far)).await;
    drop((peer, place));
    while client.sidecar().is_some() {
        tokio::task::yield_now().await;
    }
    let error = lease.renew(Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, Error::SidecarUnreachable { .. }), "{error}");
    assert_eq!(deadline_ns(&lease), far);
}

#[tokio::test]
async fn run_drops_its_body_on_loss() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (entered, mut body_runs) = tokio::sync::mpsc::channel::<()>(1);
    let running = tokio::spawn({
        let request = client.lock("k");
        async move {
            let body = async move |_lease| {
                let _dropped_with_the_body = entered;
                std::future::pending::<()>().await
            };
            request.run(body).await
        }
    });
    let (request, _) = peer.acquire("k").await;
    peer.grant(request, 1).await;
    peer.settled(&client).await;
    peer.say(&ToClient::Lost { request, reason: LostReason::Store }).await;
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::LeaseLost { reason: LostReason::Store, .. }), "{error}");
    assert_eq!(body_runs.recv().await, None, "the body was dropped");
}

#[tokio::test]
async fn run_returns_what_its_body_returns_and_releases() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let running = tokio::spawn({
        let request = client.lock("k");
        async move { request.run(async |lease| (lease.fence(), lease.is_valid())).await }
    });
    let (request, _) = peer.acquire("k").await;
    peer.grant(request, 31).await;
    assert_eq!(running.await.unwrap().unwrap(), (31, true));
    assert_eq!(peer.release().await.1, request);
}

#[tokio::test]
async fn a_client_that_oversleeps_its_session_has_no_lease_when_it_wakes() {
    let place = Place::new();
    let mut short = welcome(Scope::Fleet);
    short.session_ttl = Duration::from_secs(1);
    let (client, mut peer) = tokio::join!(place.builder().connect(), place.accept_and_welcome(short));
    let client = client.unwrap();
    let (lease, request) = granted(&client, &mut peer, clock::after(clock::boottime_ns(), LEASE), None).await;
    peer.ping().await;
    assert!(lease.is_valid());
    // As a stopped process: nothing of this thread runs, the connection's task included.
    std::thread::sleep(Duration::from_millis(1100));
    assert!(!lease.is_valid(), "at the first look");
    assert_eq!(lease.lost().await, LostReason::Session);
    assert!(!lease.is_valid(), "and a late ping revives nothing");
    assert_eq!(peer.release().await.1, request);
}
