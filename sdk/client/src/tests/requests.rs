//! Options reach the sidecar, answers reach their requests, refusals become errors.

use super::peer::{PATIENCE, Place, open, welcome};
use crate::{Client, Error, LostReason, Window, clock};
use sidelock_wire::{
    Acquire, Code, Detail, Granted, LeaseName, Life, Mode, Refused, Scope, Secret, ToClient, ToSidecar,
    Welcome,
};
use std::time::Duration;

#[tokio::test]
async fn options_reach_the_sidecar() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let request = client
        .semaphore("api", 10)
        .permits(2)
        .wait(Duration::from_secs(60))
        .ttl(Duration::from_secs(7))
        .max_hold(Duration::from_secs(70))
        .owner("task 3")
        .priority(-4);
    let acquiring = tokio::spawn(request.acquire());
    let number = peer
        .next(|message| match message {
            ToSidecar::Acquire(acquire) => {
                let wait = acquire.wait.unwrap();
                assert!(wait <= Duration::from_secs(60) && wait > Duration::from_secs(50), "{wait:?}");
                assert_eq!(
                    Acquire { wait: None, ..acquire },
                    Acquire {
                        request: acquire.request,
                        key: b"api",
                        mode: Mode::Permits { permits: 2, limit: 10 },
                        wait: None,
                        life: Life::Session { ttl: Some(Duration::from_secs(7)) },
                        max_hold: Some(Duration::from_secs(70)),
                        owner: Some("task 3"),
                        priority: -4,
                        notify_queued: false,
                        per: None,
                        once: None,
                        reentrant: false,
                    }
                );
                acquire.request
            }
            other => panic!("{other:?}"),
        })
        .await;
    peer.grant(number, 9).await;
    let lease = acquiring.await.unwrap().unwrap();
    assert_eq!((lease.key(), lease.fence()), ("api", 9));
}

/// A scope is a task's: what it spawns is somebody else, and a request that names an owner is that one's.
#[tokio::test]
async fn requests_have_the_owner_of_their_scope_unless_they_name_one() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (inside, spawned) = (client.clone(), client.clone());
    let ask = |client: &Client, key| drop(tokio::spawn(client.lock(key).acquire()));
    crate::owner("outer", async {
        let spawned = tokio::spawn(async move { ask(&spawned, "spawned") });
        spawned.await.unwrap();
        ask(&inside, "plain");
        drop(tokio::spawn(inside.lock("named").owner("mine").acquire()));
        crate::owner("inner", async { ask(&inside, "nested") }).await;
    })
    .await;
    let mut owners = Vec::new();
    for _ in 0..4 {
        let owner = peer.next(|message| match message {
            ToSidecar::Acquire(acquire) => acquire.owner.map(str::to_owned),
            other => panic!("an acquire was due, got {other:?}"),
        });
        owners.push(owner.await);
    }
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(owners, [None, named("outer"), named("mine"), named("inner")]);
}

#[tokio::test]
async fn readers_and_writers_have_their_modes() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let lock = client.rwlock("catalog");
    for (request, mode) in [(lock.read(), Mode::Shared), (lock.write(), Mode::Exclusive)] {
        let asking = tokio::spawn(request.acquire());
        let asked = peer.next(|message| matches!(message, ToSidecar::Acquire(a) if a.mode == mode)).await;
        assert!(asked, "{mode:?}");
        asking.abort();
        peer.cancel().await;
    }
}

/// Fences are the key's, and once keys are keys of their own: one of another key may be the same.
#[tokio::test]
async fn a_lock_is_no_handle_of_the_turn_of_the_same_name() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let now_ns = clock::boottime_ns();
    let (near, far) = (clock::after(now_ns, PATIENCE), clock::after(now_ns, 2 * PATIENCE));
    let entering = tokio::spawn(client.once("k", Window::utc(Duration::from_secs(86_400))).enter());
    let (turn, _) = peer.acquire("k").await;
    peer.grant_until(turn, 7, far, None).await;
    let _turn = entering.await.unwrap().unwrap();
    let mut handles = Vec::new();
    for (key, fence) in [("k", 7), ("l", 7), ("k", 8), ("k", 7)] {
        let asking = tokio::spawn(client.lock(key).owner("anna").reentrant().acquire());
        let (request, _) = peer.acquire(key).await;
        peer.grant_until(request, fence, near, None).await;
        handles.push(asking.await.unwrap().unwrap());
    }
    let told_ns = clock::after(near, PATIENCE / 2);
    handles[3].view.hold.extend(told_ns);
    let deadlines: Vec<u64> = handles.iter().map(|handle| handle.deadline().as_nanos() as u64).collect();
    assert_eq!(deadlines, [told_ns, near, near, told_ns], "the last is one more handle of the first");
}

#[tokio::test]
async fn a_body_during_which_the_session_ran_out_is_told() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let (request, shared) = (client.lock("k"), client.handle.shared.clone());
    let running = tokio::spawn(async move { request.run(async |_| shared.alive_until(0)).await });
    let (number, _) = peer.acquire("k").await;
    peer.grant(number, 7).await;
    let told = running.await.unwrap();
    assert!(matches!(told, Err(Error::LeaseLost { reason: LostReason::Session, .. })), "{told:?}");
}

#[tokio::test]
async fn answers_in_any_order_find_their_requests() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let mut waiting = Vec::new();
    let mut asked = Vec::new();
    for key in ["a", "b", "c"] {
        waiting.push(tokio::spawn(client.lock(key).acquire()));
        asked.push(peer.acquire(key).await.0);
    }
    for (place, request) in asked.iter().enumerate().rev() {
        peer.grant(*request, 100 + place as u64).await;
    }
    for (place, waiting) in waiting.into_iter().enumerate() {
        let lease = waiting.await.unwrap().unwrap();
        assert_eq!(lease.fence(), 100 + place as u64);
        drop(lease);
    }
    assert_eq!(open(&client), 0);
}

async fn refusal(code: Code, message: &'static str) -> Error {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let asking = tokio::spawn(client.lock("k").acquire());
    let (request, _) = peer.acquire("k").await;
    let detail = Detail { limit: Some(3), ..Detail::default() };
    peer.say(&ToClient::Refused(Refused { request, code, message: message.into(), detail, register: None }))
        .await;
    asking.await.unwrap().unwrap_err()
}

#[tokio::test]
async fn each_refusal_becomes_its_error_and_says_what_to_do() {
    for code in Code::all() {
        let error = refusal(code, "").await;
        assert_eq!(error.code(), Some(code), "{error:?}");
        match code {
            Code::Held | Code::WaitTimeout => assert!(matches!(error, Error::WaitTimeout(_))),
            Code::LimitMismatch => assert!(matches!(&error, Error::Conflict(r) if r.limit == Some(3))),
            Code::LeaseLost => assert!(matches!(error, Error::LeaseLost { .. })),
            Code::PeerRefused => assert!(matches!(error, Error::SidecarUnreachable { .. })),
            _ => {}
        }
        if !matches!(code, Code::LeaseLost | Code::OutcomeUnknown) {
            assert!(error.to_string().contains(code.advice()), "{error}");
            let error = refusal(code, "because; do that").await;
            assert!(error.to_string().contains("because; do that"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_try_that_meets_a_holder_is_none() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let asking = tokio::spawn(async move { client.lock("k").try_acquire().await });
    let (request, wait) = peer.acquire("k").await;
    assert_eq!(wait, Some(Duration::ZERO));
    let (code, detail) = (Code::Held, Detail::default());
    peer.say(&ToClient::Refused(Refused { request, code, message: "".into(), detail, register: None })).await;
    assert!(asking.await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn a_request_too_large_for_a_frame_fails_alone() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let error = client.lock("k".repeat(5000)).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::TooLarge), "{error}");
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn the_clients_default_wait_is_used() {
    let place = Place::new();
    let builder = place.builder().default_wait(Duration::from_secs(60));
    let (client, mut peer) = place.meet_with(builder, Scope::Host).await;
    let asking = tokio::spawn(client.lock("k").acquire());
    let wait = peer.acquire("k").await.1.unwrap();
    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
    asking.abort();
    peer.cancel().await;
    let asking = tokio::spawn(client.lock("k").wait_forever().acquire());
    assert_eq!(peer.acquire("k").await.1, None);
    asking.abort();
}

#[tokio::test]
async fn a_timed_lease_is_known_by_its_secret() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let asking = tokio::spawn({
        let request = client.lock("k");
        async move { request.acquire_timed(Duration::from_secs(30)).await }
    });
    let (request, _) = peer.acquire("k").await;
    let secret = Secret(42);
    let granted = Granted { request, fence: 8, deadline_ns: 5, cap_ns: None, secret: Some(secret) };
    peer.say(&ToClient::Granted(granted)).await;
    let lease = asking.await.unwrap().unwrap();
    assert_eq!((lease.id.0, lease.fence, lease.deadline.as_nanos()), (secret, 8, 5));
    assert_eq!(open(&client), 0);

    let releasing = tokio::spawn(async move { client.release_timed(lease.id).await });
    let request = peer
        .next(|message| match message {
            ToSidecar::Release { request, lease: LeaseName::Timed(named) } if named == secret => request,
            other => panic!("{other:?}"),
        })
        .await;
    peer.say(&ToClient::Released { request }).await;
    releasing.await.unwrap().unwrap();
}

#[tokio::test]
async fn refused_connections_say_why() {
    let place = Place::new();
    let refuse = async {
        let mut peer = place.accept().await;
        let message = "uid 1000 is not allowed; --allow-uid 1000 changes that".into();
        peer.say(&ToClient::Goodbye { code: Code::PeerRefused, message }).await;
    };
    let (client, ()) = tokio::join!(place.builder().connect(), refuse);
    let error = client.unwrap_err();
    assert_eq!(error.code(), Some(Code::PeerRefused));
    let text = error.to_string();
    assert!(text.contains("--allow-uid 1000") && text.contains("tried"), "{text}");
}

/// Welcomes all who come: a client that was itself held up on the way asks again.
async fn welcome_from_another_host(place: &Place) {
    loop {
        let mut peer = place.accept().await;
        let mut far = welcome(Scope::Host);
        far.boottime_ns = clock::after(clock::boottime_ns(), Duration::from_secs(2));
        peer.say(&ToClient::Welcome(far)).await;
    }
}

#[tokio::test]
async fn another_hosts_clock_is_refused() {
    let place = Place::new();
    let client = tokio::select! {
        client = place.builder().connect() => client,
        () = welcome_from_another_host(&place) => unreachable!("it goes on for ever"),
    };
    assert_eq!(client.unwrap_err().code(), Some(Code::ClockMismatch));
}

#[test]
fn a_clock_may_differ_by_what_its_resolution_is_on_both_sides() {
    const SECOND_NS: u64 = 1_000_000_000;
    let refused = |boottime_ns: u64| {
        let welcome = Welcome { boottime_ns, ..welcome(Scope::Host) };
        crate::handshake::check(&welcome, 5 * SECOND_NS, 6 * SECOND_NS).err().and_then(|error| error.code())
    };
    for close in [4_900_000_000, 5 * SECOND_NS, 6 * SECOND_NS, 6_100_000_000] {
        assert_eq!(refused(close), None, "{close}");
    }
    for far in [4_899_999_999, 6_100_000_001] {
        assert_eq!(refused(far), Some(Code::ClockMismatch), "{far}");
    }
}

#[tokio::test]
async fn something_else_on_the_socket_is_told_apart() {
    let place = Place::new();
    let greet = async {
        let mut peer = place.accept().await;
        peer.say_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    };
    let (client, ()) = tokio::join!(place.builder().connect(), greet);
    let error = client.unwrap_err();
    assert!(matches!(error, Error::SidecarUnreachable { .. }), "{error}");
    assert!(error.to_string().contains("frames"), "{error}");
}

#[tokio::test]
async fn no_socket_lists_the_path() {
    let error = Client::connect("/nonexistent/sidelock.sock").await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/sidelock.sock"), "{error}");
}

#[tokio::test]
async fn the_last_handle_hangs_up_after_its_releases() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let asking = tokio::spawn(client.lock("k").acquire());
    let (request, _) = peer.acquire("k").await;
    peer.grant(request, 1).await;
    let lease = tokio::time::timeout(PATIENCE, asking).await.unwrap().unwrap().unwrap();
    drop(client);
    assert!(lease.is_valid(), "a lease keeps the connection");
    drop(lease);
    assert_eq!(peer.release().await.1, request);
    peer.hung_up().await;
}
