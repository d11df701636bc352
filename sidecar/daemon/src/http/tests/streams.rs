//! `?stream=1`: the story of a lease, and that the connection's end is the lease's end.

use super::{Lines, SOMEBODY, request, with_config, with_sidecar};
use crate::config::Config;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

#[test]
fn a_stream_tells_of_queue_and_grant_and_its_end_releases() {
    with_sidecar(|rig| async move {
        let held = rig.lock("k", "").await;
        let mut events = rig.events();
        let mut story = Lines::of(rig.begin("POST", "/v1/locks/k?stream=1", r#"{"wait":"10m"}"#).await);
        assert_eq!(story.expect("queued").await["ahead"], 0);
        rig.unlock(&held).await;
        let granted = story.expect("granted").await;
        assert_eq!(granted["key"], "k");
        assert!(granted["fence"].as_u64() > held["fence"].as_u64());
        assert!(granted.get("lease").is_none(), "it belongs to the connection, not to a bearer");
        rig.post("/v1/locks/k", "").await.is_refused(409, "held");

        drop(story);
        events.released("k").await;
        events.released("k").await;
        assert_eq!(rig.post("/v1/locks/k", "").await.status, 200);
    });
}

#[test]
fn a_stream_that_is_refused_at_once_is_a_plain_refusal() {
    with_sidecar(|rig| async move {
        rig.lock("k", "").await;
        rig.post("/v1/locks/k?stream=1", "").await.is_refused(409, "held");
    });
}

#[test]
fn a_wait_that_ends_without_a_grant_is_told_in_the_stream() {
    with_sidecar(|rig| async move {
        rig.lock("k", "").await;
        let mut story = Lines::of(rig.begin("POST", "/v1/locks/k?stream=1", r#"{"wait":"50ms"}"#).await);
        story.expect("queued").await;
        let refused = story.expect("refused").await;
        assert_eq!(refused["code"], "wait_timeout");
        assert_eq!(story.event().await, None, "that was the last line");
    });
}

#[test]
fn a_client_that_closes_while_its_stream_waits_leaves_the_queue() {
    with_sidecar(|rig| async move {
        rig.lock("k", "").await;
        let mut events = rig.events();
        let mut story = Lines::of(rig.begin("POST", "/v1/locks/k?stream=1", r#"{"wait":"10m"}"#).await);
        story.expect("queued").await;
        drop(story);
        events.cancelled("k").await;
    });
}

#[test]
fn a_lost_lease_is_told_and_ends_the_stream_but_not_the_connection() {
    with_sidecar(|rig| async move {
        let mut story = Lines::of(rig.begin("POST", "/v1/locks/k?stream=1", r#"{"max_hold":"50ms"}"#).await);
        story.expect("granted").await;
        assert_eq!(story.expect("lost").await["reason"], "max_hold");
        assert_eq!(story.event().await, None);
        let next = request("GET", "/livez", &[], "");
        story.stream.write_all(next.as_bytes()).await.expect("the connection stands");
        loop {
            let line = story.next().await.expect("the connection stands");
            if line == "live" {
                break;
            }
        }
    });
}

/// Its units come back by the clock, without a word.
#[test]
fn a_stream_about_permits_of_a_rate_ends_when_their_time_is_over() {
    with_sidecar(|rig| async move {
        let body = r#"{"limit":10,"per":"100ms"}"#;
        let mut story = Lines::of(rig.begin("POST", "/v1/semaphores/api?stream=1", body).await);
        story.expect("granted").await;
        assert_eq!(story.event().await, None);
    });
}

#[test]
fn a_held_lease_is_extended_and_says_until_when() {
    let mut config = Config::default();
    config.tenure.ttl = Duration::from_secs(3);
    config.tenure.retention = Duration::from_millis(100);
    with_config(config, |rig| async move {
        let mut story = Lines::of(rig.begin("POST", "/v1/locks/k?stream=1", "").await);
        let granted = story.expect("granted").await;
        let extended = story.expect("extended").await;
        assert!(extended["deadline_boottime_ns"].as_u64() > granted["deadline_boottime_ns"].as_u64());
        assert!(extended["expires_in"].as_f64() > Some(0.0));
    });
}

#[test]
fn draining_is_told_to_who_holds_a_lease_and_they_may_finish() {
    with_sidecar(|rig| async move {
        let mut story = Lines::of(rig.begin("POST", "/v1/locks/k?stream=1", "").await);
        story.expect("granted").await;
        rig.leaving.send_replace(true);
        let handle = rig.door.handle.clone();
        let drained = tokio::task::spawn_local(async move { handle.drain().await });
        story.expect("draining").await;
        assert!(!drained.is_finished(), "somebody holds a lease");
        drop(story);
        drained.await.expect("the drain ends with the last lease");
    });
}

#[test]
fn a_connection_that_the_sidecar_ends_keeps_its_lease_until_the_deadline() {
    with_sidecar(|rig| async move {
        let (mut stream, served) = rig.connect_as(SOMEBODY);
        let body = request("POST", "/v1/locks/k?stream=1", &[], "");
        stream.write_all(body.as_bytes()).await.expect("the door reads");
        let mut story = Lines::of(stream);
        story.expect("granted").await;
        served.abort();
        while story.event().await.is_some() {}
        rig.post("/v1/locks/k", "").await.is_refused(409, "held");
        let counts = rig.door.handle.counts().await.expect("the sidecar lives");
        assert_eq!(counts.leases, 1, "the reader may still believe what it was told (P6)");
    });
}
