//! Forced unlocks on real sidecars: who hears of it, when, and what protects until then (P19).

use serde_json::Value;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::http;
use sidelock_e2e::process::{self, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, command, fence};
use sidelock_wire::{LeaseName, LostReason, ToSidecar};
use std::time::{Duration, Instant};

/// Time to live of a tenure, as configured by default.
const TENURE_TTL: Duration = Duration::from_secs(10);
/// Long before any renewal: only a push, or the next use of the key, tells so soon.
const AT_ONCE: Duration = Duration::from_secs(1);

fn two_sidecars() -> (Redis, Sidecar, Sidecar) {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    (redis, a, b)
}

/// The order, as the admin door takes it.
fn force(sidecar: &Sidecar, key: &str) -> Value {
    let answer = order(sidecar, &format!("/v1/force-unlock/{key}"), r#"{"reason":"stuck since noon"}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn order(sidecar: &Sidecar, path: &str, body: &str) -> http::Answer {
    http::request(&sidecar.socket().with_file_name("admin.sock"), "POST", path, body)
}

/// Listens for the loss of the lease of request 1: its reason, and after how long.
fn lost(holder: &mut Peer) -> (LostReason, Duration) {
    let start = Instant::now();
    (holder.lost(1), start.elapsed())
}

#[test]
fn a_holder_of_this_sidecar_hears_at_once_and_the_next_has_the_higher_fence() {
    for sidecar in [Sidecar::on_memory(), Sidecar::connected_to(&Redis::start())] {
        let mut holder = Peer::greeted(sidecar.socket());
        assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
        let timed = sidecar.lock("timed", "");
        let answer = force(&sidecar, "k");
        assert_eq!(answer["victims"].as_array().map(Vec::len), Some(1), "{answer}");
        let left = answer["fenced_for"].as_f64().expect("seconds");
        assert!((TENURE_TTL / 2..=TENURE_TTL).contains(&Duration::from_secs_f64(left)), "{answer}");
        let (reason, after) = lost(&mut holder);
        assert_eq!(reason, LostReason::Forced);
        assert!(after < AT_ONCE, "after {after:?}");
        sidecar.unlock(&sidecar.lock("k", ""));
        force(&sidecar, "timed");
        let next = sidecar.lock("timed", "");
        assert!(fence(&next) > fence(&timed), "{next} after {timed}");
        let path = format!("/v1/leases/{}", timed["lease"].as_str().expect("a lease has an id"));
        for method in ["PUT", "DELETE", "GET"] {
            let answer = sidecar.request(method, &path, "");
            assert_eq!((answer.status, answer.code().as_str()), (410, "lease_lost"), "{method} {answer:?}");
            assert_eq!(answer.json()["reason"], "forced", "{answer:?}");
        }
    }
}

#[test]
fn a_holder_of_another_sidecar_hears_at_once_and_its_sidecar_writes_down_why() {
    let (_redis, a, b) = two_sidecars();
    let mut holder = Peer::greeted(a.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    force(&b, "k");
    let (reason, after) = lost(&mut holder);
    assert_eq!(reason, LostReason::Forced);
    assert!(after < AT_ONCE, "after {after:?}");
    b.unlock(&b.lock("k", ""));
    for sidecar in [&a, &b] {
        sidecar.line("who ordered it, and why", |line| {
            line.contains("forced_unlock") && line.contains("stuck since noon") && line.contains("by=")
        });
    }
}

#[test]
fn with_every_push_lost_the_holder_hears_at_its_sidecars_next_contact() {
    let (redis, a, b) = two_sidecars();
    // The scripts run as their caller, who may tell nobody anything from here on.
    redis.command(&["ACL", "SETUSER", "default", "-publish"]);
    let mut holder = Peer::greeted(a.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    let mut waiter = Peer::greeted(a.socket());
    waiter.say(&ToSidecar::Acquire(sidelock_wire::Acquire { wait: None, ..try_lock(1, "k") }));
    force(&b, "k");
    let (reason, after) = lost(&mut holder);
    assert_eq!(reason, LostReason::Forced);
    // The renewal at a third of the time to live, at the latest.
    assert!(after < TENURE_TTL / 2, "after {after:?}");
    assert_eq!(waiter.refusal(1).0, "granted");
    assert!(after > AT_ONCE, "a push came after all, after {after:?}");
}

#[test]
fn the_queue_goes_on_over_both_sidecars() {
    let (_redis, a, b) = two_sidecars();
    let before = a.lock("k", "");
    let mut waiter = Peer::greeted(b.socket());
    waiter.say(&ToSidecar::Acquire(sidelock_wire::Acquire { wait: None, ..try_lock(1, "k") }));
    until(sidelock_e2e::PATIENCE, "the waiter is in the store's queue", || {
        b.get("/v1/locks/k").json()["ask"]["holder"].is_string().then_some(())
    });
    let start = Instant::now();
    force(&a, "k");
    assert_eq!(waiter.refusal(1).0, "granted");
    assert!(start.elapsed() < AT_ONCE, "after {:?}", start.elapsed());
    assert_eq!(a.request("POST", "/v1/locks/k", "").code(), "held");
    waiter.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
    assert!(fence(&a.lock("k", r#"{"wait":"5s"}"#)) > fence(&before));
}

#[test]
fn the_verb_says_until_when_only_the_fence_protects() {
    let sidecar = Sidecar::on_memory();
    sidecar.lock("k", r#"{"ttl":"1m"}"#);
    let (code, said) = sidecar.verb(["force-unlock", "k", "--reason", "the holder's host is gone"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("k was taken from 1 sidecar") && said.contains("only the fence protects"),
        "{said}"
    );
    let (code, said) = sidecar.verb(["force-unlock", "k", "--reason", "again", "-o", "json"]);
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (code, &answer["victims"], &answer["fenced_until"]),
        (0, &Value::Array(Vec::new()), &Value::Null)
    );
}

#[test]
fn whoever_watches_sees_who_forced_what_and_why() {
    let sidecar = Sidecar::on_memory();
    sidecar.lock("k", "");
    let mut watch = command(["watch", "k", "-o", "json"]);
    watch.env("SIDELOCK_SOCKET", sidecar.socket());
    let watch = process::Process::spawn(watch);
    // It is there once it has seen something.
    watch_sees_something(&sidecar, &watch);
    force(&sidecar, "k");
    let line = watch.line("the order", |line| line.contains("\"forced\"") && line.contains("stuck"));
    let event: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(event["reason"], "stuck since noon", "{event}");
    assert_eq!(event["by"], u64::from(rustix::process::getuid().as_raw()), "{event}");
}

fn watch_sees_something(sidecar: &Sidecar, watch: &process::Process) {
    until(sidelock_e2e::PATIENCE, "the watcher watches", || {
        assert_eq!(sidecar.request("POST", "/v1/locks/k", "").code(), "held");
        watch.output().contains("refused").then_some(())
    });
}

#[test]
fn only_the_admin_socket_takes_the_order_and_only_with_a_reason() {
    let sidecar = Sidecar::on_memory();
    let lease = sidecar.lock("k", "");
    let answer = sidecar.request("POST", "/v1/force-unlock/k", r#"{"reason":"please"}"#);
    assert_eq!(answer.status, 404, "{answer:?}");
    assert!(answer.body.contains("admin socket"), "{answer:?}");
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(257));
    for body in ["", "{}", r#"{"reason":""}"#, r#"{"reason":"a\nb"}"#, r#"{"because":"x"}"#, &long] {
        let answer = order(&sidecar, "/v1/force-unlock/k", body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{body} {answer:?}");
    }
    let no_key = order(&sidecar, "/v1/force-unlock/", r#"{"reason":"x"}"#);
    assert_eq!((no_key.status, no_key.json()["field"].as_str()), (400, Some("key")), "{no_key:?}");
    let get = http::request(&sidecar.socket().with_file_name("admin.sock"), "GET", "/v1/force-unlock/k", "");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")), "{get:?}");
    let (code, said) = sidecar.verb(["force-unlock", "k"]);
    assert!(code == 2 && said.contains("--reason"), "{code} {said}");
    sidecar.unlock(&lease);
}

#[test]
fn without_its_store_a_sidecar_takes_nothing_and_says_so() {
    let mut redis = Redis::start();
    let sidecar = Sidecar::connected_to(&redis);
    redis.down();
    until(sidelock_e2e::PATIENCE, "the sidecar notices", || {
        (sidecar.get("/readyz/store").status != 200).then_some(())
    });
    let answer = order(&sidecar, "/v1/force-unlock/k", r#"{"reason":"x"}"#);
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{answer:?}");
}
