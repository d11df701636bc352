//! What an operator's settings say about a class of keys holds through both doors, whatever the asker says.

use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{Acquire, LostReason, Mode};
use std::time::{Duration, Instant};

const CLASSES: &str = "[[class]]\nname='api'\nmatch='api/**'\nlimit=2\ndefault_wait='300ms'\n\
                       [[class]]\nname='short'\nmatch='short/**'\nmax_hold='500ms'\n";

/// On each store, so that what the class says is what both arbitrate by.
fn sidecars() -> Vec<(Option<Redis>, Sidecar)> {
    let redis = Redis::start();
    let url = redis.url();
    let on_redis = Sidecar::configured(CLASSES, &["--redis", &url]);
    on_redis.await_store();
    vec![(None, Sidecar::configured(CLASSES, &["--store", "memory"])), (Some(redis), on_redis)]
}

fn permits(request: u64, key: &str, permits: u32, limit: u32) -> Acquire<'_> {
    Acquire { mode: Mode::Permits { permits, limit }, ..try_lock(request, key) }
}

#[test]
fn a_class_gives_the_limit_to_who_says_none_and_overrides_who_says_another() {
    for (_redis, sidecar) in sidecars() {
        let post = |body: &str| sidecar.request("POST", "/v1/semaphores/api/x", body);
        let first = post("");
        assert_eq!(first.status, 200, "{first:?}");
        let mut peer = Peer::greeted(sidecar.socket());
        assert_eq!(peer.acquires(permits(1, "api/x", 1, 0)), "granted");
        assert_eq!(post(r#"{"limit":50,"wait":"0s"}"#).code(), "held", "the class has two, not fifty");
        assert_eq!(peer.acquires(permits(2, "api/x", 1, 50)), "held");
        let (code, message) = peer.answer(permits(3, "api/x", 3, 50));
        assert_eq!(code, "bad_request");
        assert!(message.contains("`permits`: 1 to 2 (the limit) are allowed"), "{message}");
        let wide = post(r#"{"permits":3}"#);
        assert_eq!((wide.status, wide.json()["limit"].as_u64()), (400, Some(2)), "{wide:?}");
        sidecar.unlock(&first.json());
        assert_eq!(peer.acquires(permits(4, "api/x", 1, 0)), "granted");
    }
}

#[test]
fn a_class_gives_the_wait_to_who_says_none() {
    for (_redis, sidecar) in sidecars() {
        let all = sidecar.request("POST", "/v1/semaphores/api/x", r#"{"permits":2}"#);
        assert_eq!(all.status, 200, "{all:?}");
        let start = Instant::now();
        let answer = sidecar.request("POST", "/v1/semaphores/api/x", "");
        assert_eq!((answer.status, answer.code().as_str()), (409, "wait_timeout"), "{answer:?}");
        let mut peer = Peer::greeted(sidecar.socket());
        assert_eq!(peer.acquires(Acquire { wait: None, ..permits(1, "api/x", 1, 0) }), "wait_timeout");
        assert!(start.elapsed() >= Duration::from_millis(600), "after {:?}", start.elapsed());
        let at_once = sidecar.request("POST", "/v1/semaphores/api/x", r#"{"wait":"0s"}"#);
        assert_eq!(at_once.code(), "held", "what is said counts: {at_once:?}");
    }
}

#[test]
fn a_class_bounds_the_hold_through_both_doors() {
    for (_redis, sidecar) in sidecars() {
        let mut peer = Peer::greeted(sidecar.socket());
        assert_eq!(peer.acquires(try_lock(1, "short/frames")), "granted");
        let lease = sidecar.lock("short/http", r#"{"ttl":"1m","max_hold":"10m"}"#);
        assert!(lease["expires_in"].as_f64().is_some_and(|left| left <= 0.5), "{lease}");
        assert_eq!(peer.lost(1), LostReason::MaxHold);
        sidecar.lock("short/http", r#"{"wait":"5s"}"#);
    }
}

#[test]
fn without_a_class_a_limit_has_to_be_said_and_agreed_on() {
    for (_redis, sidecar) in sidecars() {
        let answer = sidecar.request("POST", "/v1/semaphores/other", "");
        assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some("limit")), "{answer:?}");
        assert!(answer.body.contains("[[class]]"), "it says what would help: {answer:?}");
        assert_eq!(sidecar.request("POST", "/v1/semaphores/other", r#"{"limit":4}"#).status, 200);
        let mut peer = Peer::greeted(sidecar.socket());
        let (code, message) = peer.answer(permits(1, "other", 1, 3));
        assert_eq!(code, "limit_mismatch");
        assert!(message.contains("a semaphore of 4 permits"), "{message}");
        let (code, message) = peer.answer(try_lock(2, "other"));
        assert_eq!(code, "limit_mismatch", "{message}");
        let answer = sidecar.request("POST", "/v1/semaphores/other", r#"{"limit":3}"#);
        assert_eq!((answer.status, answer.json()["limit"].as_u64()), (409, Some(4)), "{answer:?}");
    }
}
