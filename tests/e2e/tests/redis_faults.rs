//! What Redis does to us on bad days: forgets scripts, refuses writes, drops connections, is edited by hand.

use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::until;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::road::Road;
use sidelock_e2e::sidecar::{Sidecar, fence};
use sidelock_wire::{Acquire, LeaseName, LostReason, ToClient, ToSidecar};
use std::time::Duration;

/// Promised from Redis being writable again to the next grant (L6).
const RECOVERY: Duration = Duration::from_secs(2);

fn is_granted(sidecar: &Sidecar, key: &str) -> Option<()> {
    let answer = sidecar.request("POST", &format!("/v1/locks/{key}"), "");
    (answer.status == 200).then(|| sidecar.unlock(&answer.json()))
}

/// Releases a session's first lease; true if it was not lost before.
fn releases(peer: &mut Peer) -> bool {
    peer.say(&ToSidecar::Release { request: 99, lease: LeaseName::Session(1) });
    let mut lost = false;
    peer.hears("the answer to a release", |message| {
        lost |= matches!(message, ToClient::Lost { .. });
        matches!(message, ToClient::Released { .. } | ToClient::Refused(_))
    }) && !lost
}

#[test]
fn scripts_that_redis_forgot_are_loaded_again() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    for round in 0..10 {
        redis.command(&["SCRIPT", "FLUSH", "SYNC"]);
        for sidecar in [&a, &b] {
            sidecar.unlock(&sidecar.lock("k", r#"{"wait":"5s"}"#));
            sidecar.unlock(&sidecar.lock(&format!("new/{round}"), r#"{"wait":"5s"}"#));
        }
    }
}

#[test]
fn a_redis_that_takes_no_writes_is_unavailable_and_costs_no_lease() {
    let redis = Redis::start();
    let sidecar = Sidecar::connected_to(&redis);
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(1, "held")), "granted");
    let faults: [(&str, &[&str], &[&str]); 3] = [
        ("READONLY", &["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]),
        (
            "NOREPLICAS",
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
        ("OOM", &["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"]),
    ];
    for (fault, begin, end) in faults {
        redis.command(begin);
        let answer = sidecar.request("POST", &format!("/v1/locks/{fault}"), "");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "store_unavailable"),
            "{fault}: {answer:?}"
        );
        redis.command(end);
        until(RECOVERY, fault, || is_granted(&sidecar, fault));
    }
    assert!(releases(&mut holder), "its lease was not lost in any of this");
    until(RECOVERY, "the released key is free", || is_granted(&sidecar, "held"));
}

/// A managed Redis, or a Service of Kubernetes: the name stays, and so does the connection to the server that was demoted.
#[test]
fn a_name_that_leads_to_another_primary_is_followed() {
    let old = Redis::replicated(None);
    let new = Redis::replicated(Some(old.port()));
    let road = Road::to(old.port());
    let sidecar = Sidecar::with(&["--redis", &format!("redis://127.0.0.1:{}", road.port())]);
    sidecar.await_store();
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(1, "held")), "granted");
    until(RECOVERY, "the replica has the record", || {
        (new.command(&["EXISTS", "sl:1:default:{held}:lock"]) == "1").then_some(())
    });
    new.command(&["REPLICAOF", "NO", "ONE"]);
    old.command(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
    let answer = sidecar.request("POST", "/v1/locks/k", "");
    assert_eq!(answer.code(), "store_unavailable", "{answer:?}");
    // The name still leads to what is a replica now.
    sidecar.line("why", |line| line.contains("store_down") && line.contains("this is a replica of"));
    road.lead_to(new.port());
    until(RECOVERY, "the new primary is used", || is_granted(&sidecar, "k"));
    assert!(releases(&mut holder), "its lease was not lost in any of this");
    until(RECOVERY, "the released key is free", || is_granted(&sidecar, "held"));
}

#[test]
fn a_release_is_taken_by_a_redis_that_is_out_of_memory() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let mut holder = Peer::greeted(a.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    assert_eq!(holder.acquires(try_lock(2, "unwanted")), "granted");
    let mut waiter = Peer::greeted(b.socket());
    waiter.say(&ToSidecar::Acquire(Acquire { wait: None, notify_queued: true, ..try_lock(1, "k") }));
    waiter.hears("that it queues", |message| matches!(message, ToClient::Queued { .. }));
    let record = || redis.command(&["EXISTS", "sl:1:default:{unwanted}:lock"]);
    assert_eq!(record(), "1");
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(releases(&mut holder));
    // What nobody waits for is given back after a second without use, and by itself it would be there for ten.
    holder.say(&ToSidecar::Release { request: 100, lease: LeaseName::Session(2) });
    until(Duration::from_secs(5), "it is given back", || (record() == "0").then_some(()));
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(waiter.hears("its grant", |message| matches!(message, ToClient::Granted(_))));
}

#[test]
fn connections_that_redis_drops_cost_no_lease_and_no_wakeup() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    for kind in ["pubsub", "normal"] {
        let mut holder = Peer::greeted(a.socket());
        assert_eq!(holder.acquires(try_lock(1, kind)), "granted");
        let mut waiter = Peer::greeted(b.socket());
        waiter.say(&ToSidecar::Acquire(Acquire { wait: None, notify_queued: true, ..try_lock(1, kind) }));
        waiter.hears("that it queues", |message| matches!(message, ToClient::Queued { .. }));
        redis.command(&["CLIENT", "KILL", "TYPE", kind]);
        assert!(releases(&mut holder), "{kind}");
        let granted = std::time::Instant::now();
        assert!(waiter.hears("its grant", |message| matches!(message, ToClient::Granted(_))));
        assert!(granted.elapsed() <= RECOVERY, "{kind}: granted after {:?}", granted.elapsed());
    }
}

#[test]
fn a_record_that_somebody_deleted_is_a_lost_lease() {
    let redis = Redis::start();
    let sidecar = Sidecar::connected_to(&redis);
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    assert_eq!(
        redis.command(&["DEL", "sl:1:default:{k}:lock"]),
        "1",
        "the record has the name that is documented"
    );
    assert_eq!(holder.lost(1), LostReason::Store);
}

#[test]
fn a_record_that_is_garbage_is_an_error_until_it_is_removed_and_others_go_on() {
    let redis = Redis::start();
    let sidecar = Sidecar::connected_to(&redis);
    redis.command(&["SET", "sl:1:default:{k}:lock", "garbage"]);
    let answer = sidecar.request("POST", "/v1/locks/k", "");
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{answer:?}");
    assert_eq!(
        redis.command(&["GET", "sl:1:default:{k}:lock"]),
        "garbage",
        "what we cannot read we do not overwrite"
    );
    is_granted(&sidecar, "other").expect("other keys are not affected");
    redis.command(&["DEL", "sl:1:default:{k}:lock"]);
    until(RECOVERY, "the key works again", || is_granted(&sidecar, "k"));
}

#[test]
fn namespaces_do_not_meet_whatever_the_keys_are_called() {
    let redis = Redis::start();
    let in_namespace = |namespace: &str| {
        let sidecar = Sidecar::with(&["--redis", &redis.url(), "--namespace", namespace]);
        sidecar.await_store();
        sidecar
    };
    let (a, b) = (in_namespace("a"), in_namespace("a:{x}"));
    for key in ["k", "%7Bx%7D:k", "x%7D:lock", "a:%7Bk%7D"] {
        let (one, other) = (a.lock(key, ""), b.lock(key, ""));
        assert!(fence(&one) > 0 && fence(&other) > 0);
        assert_eq!(a.request("POST", &format!("/v1/locks/{key}"), "").code(), "held");
    }
}
