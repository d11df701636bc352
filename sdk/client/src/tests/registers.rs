//! Registers over a connection that breaks: what reads is asked again, what writes is said once (P17).

use super::peer::{PATIENCE, Place, hold, open, resumed};
use crate::Error;
use sidelock_wire::{
    Code, Condition, Current, Known, LeaseName, Register, RegisterAct, Scope, ToClient, ToSidecar, Version,
};
use std::time::Duration;
use tokio::time::timeout;

const PUT: RegisterAct<'static> = RegisterAct::Put { condition: Condition::Match("v1"), value: b"6" };
const DELETE: RegisterAct<'static> = RegisterAct::Delete { condition: Condition::Any };

fn value(request: u64, etag: &'static str) -> ToClient<'static> {
    let version = Version { etag: etag.into(), value: b"5"[..].into() };
    ToClient::RegisterValue { request, current: Current::Value(version) }
}

#[tokio::test]
async fn conditions_and_the_lease_reach_the_sidecar() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let (lease, acquire) = hold(&client, &mut peer, "stock").await;
    let register = client.register("stock");
    let put = |condition| RegisterAct::Put { condition, value: b"6" };
    let delete = |condition| RegisterAct::Delete { condition };
    let under = Some(LeaseName::Session(acquire));
    let cases: [(tokio::task::JoinHandle<()>, Option<LeaseName>, RegisterAct<'static>); 7] = [
        (tokio::spawn(drop_answer(register.put(b"6").if_absent())), None, put(Condition::Absent)),
        (tokio::spawn(drop_answer(register.put(b"6").if_present())), None, put(Condition::Present)),
        (tokio::spawn(drop_answer(register.put(b"6").fenced(&lease))), under, put(Condition::Any)),
        (tokio::spawn(drop_answer(register.get().fenced(&lease))), under, RegisterAct::Get),
        (tokio::spawn(drop_answer(register.delete())), None, delete(Condition::Any)),
        (tokio::spawn(drop_answer(register.delete().if_match("v1"))), None, delete(Condition::Match("v1"))),
        (tokio::spawn(drop_answer(register.delete().fenced(&lease))), under, delete(Condition::Any)),
    ];
    for (asking, lease, act) in cases {
        peer.next(|message| match message {
            ToSidecar::Register(asked) => {
                assert_eq!(asked, Register { request: asked.request, key: b"stock", lease, act });
            }
            other => panic!("something of a register was due, got {other:?}"),
        })
        .await;
        drop(asking);
    }
    let (other, _peer) = place.meet(Scope::Fleet).await;
    let error = other.register("stock").put(b"6").fenced(&lease).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::BadRequest), "{error}");
}

/// Asks, and does not care for the answer.
async fn drop_answer(asked: impl IntoFuture) {
    drop(asked.await);
}

/// What a scripted peer is told next is the probe of `settled`, which fails on anything else.
#[tokio::test]
async fn a_write_that_the_end_overtook_is_of_unknown_outcome_and_not_said_again() {
    for act in [PUT, DELETE] {
        let place = Place::new();
        let (client, mut peer) = place.meet(Scope::Fleet).await;
        let register = client.register("stock");
        let writing = tokio::spawn(match act {
            PUT => Box::pin(async move { register.put(b"6").if_match("v1").await.map(drop) }),
            _ => register.delete().into_future(),
        });
        peer.register("stock", act.clone()).await;
        drop(peer);
        let written = timeout(PATIENCE, writing).await.expect("it waits to say it again");
        let error = written.unwrap().unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { what: "the write", .. }), "{error}");
        let mut peer = place.accept_and_welcome(resumed(vec![])).await;
        peer.settled(&client).await;
        assert_eq!(open(&client), 0);
    }
}

#[tokio::test]
async fn a_write_that_never_left_is_said_once_there_is_a_connection() {
    let place = Place::new();
    let (client, peer) = place.meet(Scope::Fleet).await;
    drop(peer);
    while client.sidecar().is_some() {
        tokio::task::yield_now().await;
    }
    let register = client.register("stock");
    let writing = tokio::spawn(register.put(b"6").if_match("v1").into_future());
    let mut peer = place.accept_and_welcome(resumed(vec![])).await;
    let request = peer.register("stock", PUT).await;
    peer.say(&ToClient::RegisterWritten { request, etag: Some("v2".into()) }).await;
    assert_eq!(writing.await.unwrap().unwrap().as_ref(), "v2");
}

#[tokio::test]
async fn a_write_without_a_connection_for_too_long_did_not_happen() {
    let place = Place::new();
    let builder = place.builder().unreachable_after(Duration::from_millis(30));
    let (client, peer) = place.meet_with(builder, Scope::Fleet).await;
    drop((peer, place));
    while client.sidecar().is_some() {
        tokio::task::yield_now().await;
    }
    let error = client.register("stock").put(b"6").await.unwrap_err();
    assert!(matches!(error, Error::SidecarUnreachable { .. }), "{error}");
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn what_reads_is_asked_again_and_a_watch_goes_on_where_it_was() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let getting = tokio::spawn(client.register("stock").get().into_future());
    let mut watch = client.register("stock").watch().after("v1");
    let watching = tokio::spawn(async move { watch.next().await });
    let watched = RegisterAct::Watch { known: Known::Etag("v1"), wait: None };
    peer.register("stock", RegisterAct::Get).await;
    peer.register("stock", watched.clone()).await;
    drop(peer);
    let mut peer = place.accept_and_welcome(resumed(vec![])).await;
    let got = peer.register("stock", RegisterAct::Get).await;
    let seen = peer.register("stock", watched).await;
    peer.say(&value(got, "v2")).await;
    peer.say(&value(seen, "v2")).await;
    assert_eq!(getting.await.unwrap().unwrap().etag.as_ref(), "v2");
    assert_eq!(watching.await.unwrap().unwrap().unwrap().etag.as_ref(), "v2");
    assert_eq!(open(&client), 0);
}

#[tokio::test]
async fn a_watch_asks_for_what_is_other_than_it_told_last() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let mut watch = client.register("stock").watch();
    let told = [Some("v1"), None, Some("v2")];
    for (known, tells) in [Known::Nothing, Known::Etag("v1"), Known::Absent].into_iter().zip(told) {
        let watching = tokio::spawn(async move { (watch.next().await.unwrap(), watch) });
        let request = peer.register("stock", RegisterAct::Watch { known, wait: None }).await;
        match tells {
            Some(etag) => peer.say(&value(request, etag)).await,
            None => peer.say(&ToClient::RegisterValue { request, current: Current::Absent }).await,
        }
        let (seen, same) = watching.await.unwrap();
        watch = same;
        assert_eq!(seen.map(|value| value.etag.to_string()), tells.map(str::to_owned));
    }
}

#[tokio::test]
async fn a_watch_that_nobody_waits_for_is_cancelled_and_a_write_stands() {
    let place = Place::new();
    let (client, mut peer) = place.meet(Scope::Fleet).await;
    let mut watch = client.register("stock").watch();
    let watching = tokio::spawn(async move { watch.next().await });
    let watched = peer.register("stock", RegisterAct::Watch { known: Known::Nothing, wait: None }).await;
    watching.abort();
    assert_eq!(peer.cancel().await, watched);
    // A change that crosses the cancel.
    peer.say(&value(watched, "v1")).await;
    peer.say(&ToClient::Cancelled { request: watched }).await;
    let writing = tokio::spawn(client.register("stock").put(b"6").if_match("v1").into_future());
    let written = peer.register("stock", PUT).await;
    writing.abort();
    peer.settled(&client).await;
    assert_eq!(open(&client), 1, "until it is answered, the number is taken");
    peer.say(&ToClient::RegisterWritten { request: written, etag: Some("v2".into()) }).await;
    peer.settled(&client).await;
    assert_eq!(open(&client), 0);
}
