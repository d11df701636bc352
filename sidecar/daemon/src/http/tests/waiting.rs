//! Waiting over HTTP: in the queue, out of it, and never granted to nobody.

use super::{answer_on, with_sidecar};

#[test]
fn who_waits_gets_it_when_it_is_released() {
    with_sidecar(|rig| async move {
        let held = rig.lock("k", "").await;
        let mut events = rig.events();
        let waiting = rig.begin("POST", "/v1/locks/k", r#"{"wait":"10m"}"#).await;
        events.queued("k").await;
        rig.unlock(&held).await;
        let answer = answer_on(waiting).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    });
}

#[test]
fn a_client_that_closes_while_it_waits_leaves_the_queue() {
    with_sidecar(|rig| async move {
        let held = rig.lock("k", "").await;
        let mut events = rig.events();
        let waiting = rig.begin("POST", "/v1/locks/k", r#"{"wait":"10m"}"#).await;
        events.queued("k").await;
        drop(waiting);
        events.cancelled("k").await;
        rig.unlock(&held).await;
        assert_eq!(rig.post("/v1/locks/k", "").await.status, 200, "nobody else got it");
    });
}

#[test]
fn a_grant_that_races_the_close_is_returned() {
    with_sidecar(|rig| async move {
        for _ in 0..20 {
            let held = rig.lock("k", "").await;
            let mut events = rig.events();
            let waiting = rig.begin("POST", "/v1/locks/k", r#"{"wait":"10m"}"#).await;
            events.queued("k").await;
            // Both at once: whichever the sidecar sees first, the key is free in the end.
            drop(waiting);
            rig.unlock(&held).await;
            let next = rig.post("/v1/locks/k", r#"{"wait":"5s"}"#).await;
            assert_eq!(next.status, 200, "{next:?}");
            rig.unlock(&next.json()).await;
            let counts = rig.door.handle.counts().await.expect("the sidecar lives");
            assert_eq!((counts.leases, counts.waiters), (0, 0));
        }
    });
}

#[test]
fn requests_on_one_connection_are_answered_in_turn() {
    with_sidecar(|rig| async move {
        let request = super::request("POST", "/v1/locks/a", &[], "")
            + &super::request("POST", "/v1/locks/b", &["Connection: close"], "");
        let answers = rig.raw(request.as_bytes()).await;
        assert_eq!(
            answers.body.matches("HTTP/1.1 200 OK").count(),
            1,
            "the second follows the first: {answers:?}"
        );
        assert!(
            answers.body.contains(r#""key":"a""#) && answers.body.contains(r#""key":"b""#),
            "{answers:?}"
        );
    });
}

#[test]
fn a_draining_sidecar_sends_waiters_away_and_takes_no_new_ones() {
    with_sidecar(|rig| async move {
        rig.lock("k", "").await;
        let mut events = rig.events();
        let waiting = rig.begin("POST", "/v1/locks/k", r#"{"wait":"10m"}"#).await;
        events.queued("k").await;
        let handle = rig.door.handle.clone();
        tokio::task::spawn_local(async move { handle.drain().await });
        let answer = answer_on(waiting).await;
        answer.is_refused(503, "draining");
        assert_eq!(answer.header("retry-after"), Some("1"));
        rig.post("/v1/locks/other", "").await.is_refused(503, "draining");
    });
}
