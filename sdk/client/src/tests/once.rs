//! Turns over a connection that breaks: a finish is said twice at most, and what is not known is said to be unknown (P18).

use super::peer::{PATIENCE, Peer, Place, open, restarted, resumed};
use crate::{Client, Entered, Error, Turn, Window};
use sidelock_wire::{Acquire, Align, Code, Detail, Done, Life, Mode, Refused, Scope, ToClient, ToSidecar};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::timeout;

const DAY: Window = Window { per: Duration::from_secs(86_400), align: Align::Rolling };

/// A turn, and the number of its acquire.
async fn win(client: &Client, peer: &mut Peer) -> (Turn, u64) {
    let entering = tokio::spawn(client.once("k", DAY).enter());
    let (request, _) = peer.acquire("k").await;
    peer.grant(request, 7).await;
    match entering.await.unwrap().unwrap() {
        Entered::Won(turn) => (turn, request),
        Entered::Done(outcome) => panic!("a turn was due, got {outcome:?}"),
    }
}

async fn refuse(peer: &mut Peer, request: u64, code: Code) {
    let detail = Detail::default();
    peer.say(&ToClient::Refused(Refused { request, code, message: "".into(), detail, register: None })).await;
}

fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::OutcomeUnknown { what: "the finish", .. })
}

#[tokio::test]
async fn what_is_wished_of_a_turn_reaches_the_sidecar() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Host).await;
    let once = client
        .once("k", DAY)
        .wait_forever()
        .ttl(Duration::from_secs(7))
        .max_hold(Duration::from_secs(70))
        .owner("task 3")
        .priority(-4);
    for (once, waits) in [(once.clone().wait(Duration::from_secs(60)), true), (once, false)] {
        let entering = tokio::spawn(once.enter());
        peer.next(|message| {
            let ToSidecar::Acquire(acquire) = message else { panic!("an acquire was due, got {message:?}") };
            assert_eq!(acquire.wait.is_some(), waits);
            let wished = Acquire {
                request: acquire.request,
                key: b"k",
                mode: Mode::Exclusive,
                wait: acquire.wait,
                life: Life::Session { ttl: Some(Duration::from_secs(7)) },
                max_hold: Some(Duration::from_secs(70)),
                owner: Some("task 3"),
                priority: -4,
                notify_queued: false,
                per: None,
                once: Some(DAY),
                reentrant: false,
            };
            assert_eq!(acquire, wished);
        })
        .await;
        entering.abort();
        peer.cancel().await;
    }
}

#[tokio::test]
async fn a_finish_that_the_end_overtook_is_said_once_more_and_counted() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (turn, acquire) = win(&client, &mut peer).await;
    let finishing = tokio::spawn(turn.finish(b"done"));
    let (_, lease, result) = peer.finish().await;
    assert_eq!((lease, &*result), (acquire, &b"done"[..]));
    drop(peer);
    let mut peer = place.accept_and_welcome(resumed(vec![acquire])).await;
    let (request, lease, result) = peer.finish().await;
    assert_eq!((lease, &*result), (acquire, &b"done"[..]));
    peer.say(&ToClient::Finished { request }).await;
    finishing.await.unwrap().unwrap();
    peer.settled(&client).await;
    assert_eq!(open(&client), 0, "a turn that is finished is not given back");
}

#[tokio::test]
async fn a_finish_is_not_said_a_third_time() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (turn, acquire) = win(&client, &mut peer).await;
    let finishing = tokio::spawn(turn.finish(b"done"));
    peer.finish().await;
    drop(peer);
    let mut peer = place.accept_and_welcome(resumed(vec![acquire])).await;
    peer.finish().await;
    drop(peer);
    let finished = timeout(PATIENCE, finishing).await.expect("it waits to say it again");
    let error = finished.unwrap().unwrap_err();
    assert!(is_unknown(&error), "{error}");
    let mut peer = place.accept_and_welcome(resumed(vec![acquire])).await;
    assert_eq!(peer.release().await.1, acquire, "the turn is over, and goes back if it was not counted");
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_finish_that_never_left_may_be_said_twice_too() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (turn, acquire) = win(&client, &mut peer).await;
    drop(peer);
    while client.sidecar().is_some() {
        tokio::task::yield_now().await;
    }
    let finishing = tokio::spawn(turn.finish(b""));
    let mut peer = place.accept_and_welcome(resumed(vec![acquire])).await;
    peer.finish().await;
    drop(peer);
    let mut peer = place.accept_and_welcome(resumed(vec![acquire])).await;
    let (request, ..) = peer.finish().await;
    peer.say(&ToClient::Finished { request }).await;
    finishing.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_refusal_of_a_finish_says_why_but_that_of_its_repetition_tells_nothing_of_the_first() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (turn, _) = win(&client, &mut peer).await;
    let finishing = tokio::spawn(turn.finish(b""));
    let (request, ..) = peer.finish().await;
    refuse(&mut peer, request, Code::TurnClosed).await;
    let error = finishing.await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::Conflict(refusal) if refusal.code == Code::TurnClosed), "{error}");
    peer.release().await;

    let (turn, acquire) = win(&client, &mut peer).await;
    let finishing = tokio::spawn(turn.finish(b""));
    peer.finish().await;
    drop(peer);
    let mut peer = place.accept_and_welcome(resumed(vec![acquire])).await;
    let (request, ..) = peer.finish().await;
    refuse(&mut peer, request, Code::TurnClosed).await;
    let error = finishing.await.unwrap().unwrap_err();
    assert!(is_unknown(&error), "{error}");
}

/// What a scripted peer is told next is the probe of `settled`, which fails on anything else.
#[tokio::test]
async fn a_finish_is_not_said_again_to_a_session_that_does_not_know_the_turn() {
    for scope in [Scope::Host, Scope::Fleet] {
        let place = Place::new();
        let (client, mut peer) = place.meet(scope).await;
        let (turn, _) = win(&client, &mut peer).await;
        let finishing = tokio::spawn(turn.finish(b""));
        peer.finish().await;
        drop(peer);
        let mut peer = place.accept_and_welcome(restarted(scope)).await;
        peer.settled(&client).await;
        let error = timeout(PATIENCE, finishing).await.expect("nothing is left to ask").unwrap().unwrap_err();
        assert!(is_unknown(&error), "{scope}: {error}");
        assert_eq!(open(&client), 0, "{scope}");
    }
}

#[tokio::test]
async fn a_turn_that_was_lost_is_not_finished() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (turn, request) = win(&client, &mut peer).await;
    peer.say(&ToClient::Lost { request, reason: sidelock_wire::LostReason::Forced }).await;
    turn.lost().await;
    assert!(matches!(turn.finish(b"").await.unwrap_err(), Error::LeaseLost { .. }));
    peer.settled(&client).await;
}

#[tokio::test]
async fn a_result_too_large_for_a_frame_fails_alone_and_gives_the_turn_back() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (turn, acquire) = win(&client, &mut peer).await;
    let error = turn.finish([0; 5000]).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::TooLarge), "{error}");
    assert_eq!(peer.release().await.1, acquire);
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_finish_that_nobody_waits_for_stands() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (turn, acquire) = win(&client, &mut peer).await;
    let finishing = tokio::spawn(turn.finish(b""));
    let (request, ..) = peer.finish().await;
    finishing.abort();
    // Behind the finish, which the sidecar decides first.
    assert_eq!(peer.release().await.1, acquire);
    peer.say(&ToClient::Finished { request }).await;
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn an_entering_that_is_dropped_gives_back_the_turn_that_raced_it_and_nothing_for_what_is_done() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    for won in [true, false] {
        let mut entering = client.once("k", DAY).enter();
        assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut entering).poll(cx))).await.is_pending());
        let (request, _) = peer.acquire("k").await;
        match won {
            true => peer.grant(request, 7).await,
            false => {
                peer.say(&ToClient::Done(Done { request, finished_at_ms: 1, result: b"x"[..].into() })).await
            }
        }
        peer.settled(&client).await;
        drop(entering);
        if won {
            assert_eq!(peer.release().await.1, request);
        }
        peer.settled(&client).await;
        assert_eq!(open(&client), 0);
    }
}
