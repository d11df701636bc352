//! Two sidecars on one Redis: handing over, recovering from kills and pauses, fences that never turn back.

use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::{Process, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, command, fence};
use sidelock_wire::{Acquire, LeaseName, LostReason, ToClient, ToSidecar};
use std::time::{Duration, Instant};

/// Time to live of a tenure, as configured by default.
const TENURE_TTL: Duration = Duration::from_secs(10);

fn two_sidecars() -> (Redis, Sidecar, Sidecar) {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    (redis, a, b)
}

#[test]
fn a_lock_released_on_one_sidecar_is_there_for_a_try_on_the_other() {
    let (_redis, a, b) = two_sidecars();
    let mut last = 0;
    for round in 0..200 {
        let here = if round % 2 == 0 { &a } else { &b };
        let lease = here.lock("k", r#"{"wait":"0s"}"#);
        assert!(fence(&lease) > last, "round {round}: {} after {last}", fence(&lease));
        last = fence(&lease);
        here.unlock(&lease);
    }
}

#[test]
fn a_try_is_refused_while_the_other_sidecar_has_a_live_lease() {
    let (_redis, a, b) = two_sidecars();
    let lease = a.lock("k", "");
    let answer = b.request("POST", "/v1/locks/k", "");
    assert_eq!((answer.status, answer.code().as_str()), (409, "held"), "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    let (code, said) = b.verb(["lock", "k", "--wait", "200ms"]);
    assert_eq!(code, 124, "{said}");
    a.unlock(&lease);
    b.unlock(&b.lock("k", ""));
}

#[test]
fn a_semaphore_counts_over_both_sidecars() {
    let (_redis, a, b) = two_sidecars();
    let permits = |sidecar: &Sidecar, permits: u32| {
        sidecar.request("POST", "/v1/semaphores/s", &format!(r#"{{"limit":3,"permits":{permits}}}"#))
    };
    let two = permits(&a, 2);
    assert_eq!(two.status, 200, "{two:?}");
    assert_eq!(permits(&b, 2).code(), "held");
    let one = permits(&b, 1);
    assert_eq!(one.status, 200, "{one:?}");
    let other_limit = b.request("POST", "/v1/semaphores/s", r#"{"limit":4}"#);
    assert_eq!(other_limit.code(), "limit_mismatch", "{other_limit:?}");
    a.unlock(&two.json());
    assert_eq!(permits(&b, 2).status, 200);
}

#[test]
fn flushall_does_not_turn_fences_back() {
    let (redis, a, b) = two_sidecars();
    let mut last = 0;
    let mut grants = |sidecar: &Sidecar, times: u32, when: &str| {
        for _ in 0..times {
            let lease = sidecar.lock("k", "");
            assert!(fence(&lease) > last, "{when}: {} after {last}", fence(&lease));
            last = fence(&lease);
            sidecar.unlock(&lease);
        }
    };
    for round in 0..6 {
        let (here, there) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        // Many grants under one tenure, so that a range is reserved and partly used.
        grants(here, 50, "before");
        redis.command(&["FLUSHALL"]);
        grants(there, 1, "elsewhere, right after FLUSHALL");
        // The first sidecar does not know yet that its kept tenure is gone from the store. What it grants from it until
        // it does is fenced off by a lower token; it gives the tenure up after a second without use, at the latest.
        until(Duration::from_secs(3), "the kept tenure is given up", || (keys(here) == 0).then_some(()));
        grants(here, 1, "here, after FLUSHALL");
    }
}

/// Keys that a sidecar knows.
fn keys(sidecar: &Sidecar) -> u64 {
    sidecar.get("/v1/info").json()["keys"].as_u64().expect("a number of keys")
}

#[test]
fn a_lease_whose_record_was_flushed_is_reported_lost() {
    let (redis, a, b) = two_sidecars();
    let mut holder = Peer::greeted(a.socket());
    assert_eq!(holder.acquires(try_lock(1, "session")), "granted");
    let timed = a.lock("timed", "");
    redis.command(&["FLUSHALL"]);
    // The next renewal finds out: the session's by itself, at a third of the tenure's time to live …
    let start = Instant::now();
    assert_eq!(holder.lost(1), LostReason::Store);
    assert!(start.elapsed() <= TENURE_TTL / 2, "after {:?}", start.elapsed());
    // … the timed lease's when its holder renews it.
    let path = format!("/v1/leases/{}", timed["lease"].as_str().expect("a lease has an id"));
    let answer = a.request("PUT", &path, r#"{"ttl":"30s"}"#);
    assert_eq!((answer.status, answer.code().as_str()), (410, "lease_lost"), "{answer:?}");
    for (key, before) in [("session", 0), ("timed", fence(&timed))] {
        assert!(fence(&b.lock(key, "")) > before, "{key}");
    }
}

#[test]
fn redis_that_is_away_is_an_answer_and_its_return_is_noticed_within_two_seconds() {
    let mut redis = Redis::absent();
    let sidecar = Sidecar::on_redis(&redis);
    let lock = || sidecar.request("POST", "/v1/locks/k", r#"{"ttl":"1s"}"#);
    let unavailable = |why: &str| {
        let answer = lock();
        assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{why}: {answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    };
    unavailable("Redis was never there");
    assert_eq!(sidecar.get("/livez").status, 200, "a sidecar without Redis is alive");
    assert_eq!(sidecar.get("/readyz/store").status, 503);
    let (code, said) = sidecar.verb(["lock", "k", "--wait", "0"]);
    assert_eq!(code, 1, "{said}");
    for _ in 0..3 {
        redis.up();
        let granted = || (lock().status == 200).then_some(());
        until(Duration::from_secs(2), "a grant after Redis is back", granted);
        redis.down();
        until(Duration::from_secs(5), "its absence is noticed", || (lock().status == 503).then_some(()));
        unavailable("Redis is away again");
    }
}

#[test]
fn redis_stopped_for_three_seconds_loses_no_lease_and_leaks_none() {
    let (redis, a, b) = two_sidecars();
    let mut holder = Peer::greeted(a.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    let mut waiter = Peer::greeted(b.socket());
    waiter.say(&ToSidecar::Acquire(Acquire { wait: None, notify_queued: true, ..try_lock(1, "k") }));
    waiter.hears("that it queues", |message| matches!(message, ToClient::Queued { .. }));

    redis.pause();
    std::thread::sleep(Duration::from_secs(3));
    redis.resume();

    holder.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
    let mut lost = false;
    holder.hears("the answer to the release", |message| {
        lost |= matches!(message, ToClient::Lost { .. });
        matches!(message, ToClient::Released { .. })
    });
    assert!(!lost, "three seconds are within the tenure's time to live");
    assert!(waiter.hears("its grant", |message| matches!(message, ToClient::Granted(_))));
    drop(waiter);
    for sidecar in [&a, &b] {
        until(Duration::from_secs(5), "the key is free for a try", || {
            let answer = sidecar.request("POST", "/v1/locks/k", "");
            (answer.status == 200).then(|| sidecar.unlock(&answer.json()))
        });
    }
    until(Duration::from_secs(5), "nothing is held anywhere", || {
        [&a, &b].iter().all(|sidecar| sidecar.get("/v1/info").json()["leases"] == 0).then_some(())
    });
}

#[test]
fn a_killed_sidecar_costs_its_ttl_and_a_second_and_its_client_not_a_moment_of_what_it_was_told() {
    let (_redis, mut a, b) = two_sidecars();
    let mut client = Peer::greeted(a.socket());
    client.say(&ToSidecar::Acquire(try_lock(1, "k")));
    let mut deadline_ns = 0;
    client.hears("a grant", |message| {
        if let ToClient::Granted(granted) = message {
            deadline_ns = granted.deadline_ns;
        }
        deadline_ns > 0
    });
    let mut waiter = Peer::greeted(b.socket());
    a.kill();
    let start = Instant::now();
    assert_eq!(waiter.acquires(Acquire { wait: None, ..try_lock(1, "k") }), "granted");
    let (took, now) = (start.elapsed(), rustix::time::clock_gettime(rustix::time::ClockId::Boottime));
    assert!(took <= TENURE_TTL + Duration::from_secs(1), "the next grant came after {took:?}");
    let now = Duration::try_from(now).expect("boottime is not negative");
    assert!(now >= Duration::from_nanos(deadline_ns), "granted before the deadline that the client was told");
}

/// From the death of a process that holds a key to the next grant, for 99 of 100 (L3).
const PROMISED: Duration = Duration::from_millis(50);

/// From the death of a process that holds the key to the next grant, once.
fn handover(holders: &Sidecar, waiters: &Sidecar) -> Duration {
    let mut holder = command(["run", "k", "--", "sh", "-c", "echo held; cat"]);
    holder.env("SIDELOCK_SOCKET", holders.socket());
    let mut holder = Process::spawn(holder);
    holder.line("that it holds", |line| line == "held");
    let mut waiter = Peer::greeted(waiters.socket());
    waiter.say(&ToSidecar::Acquire(Acquire { wait: None, notify_queued: true, ..try_lock(1, "k") }));
    waiter.hears("that it queues", |message| matches!(message, ToClient::Queued { .. }));
    let start = Instant::now();
    holder.kill();
    let killing = start.elapsed();
    assert!(waiter.hears("its grant", |message| matches!(message, ToClient::Granted(_))));
    let took = start.elapsed();
    // It is dead when its connection is closed. What a busy machine takes to do that is not ours.
    let took = if took > PROMISED { took - killing } else { took };
    waiter.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
    waiter.hears("that it is free", |message| matches!(message, ToClient::Released { .. }));
    took
}

/// The promise is 50 ms for 99 of 100. Forty rounds cannot show a 99th percentile; what they can show is that the
/// usual hand-over is far below the promise, that at most one in forty misses it (the machine's scheduler may), and
/// that none waits for a timer: the shortest of those is a second.
fn keeps_the_promise(what: &str, mut rounds: Vec<Duration>) {
    rounds.sort();
    let (median, second, worst) =
        (rounds[rounds.len() / 2], rounds[rounds.len() - 2], rounds[rounds.len() - 1]);
    assert!(median <= Duration::from_millis(25), "{what}: {rounds:?}");
    assert!(second <= PROMISED, "{what}: {rounds:?}");
    assert!(worst < Duration::from_millis(500), "{what}: {rounds:?}");
}

#[test]
fn a_killed_holder_hands_over_in_milliseconds() {
    let (_redis, a, b) = two_sidecars();
    keeps_the_promise("local", (0..40).map(|_| handover(&a, &a)).collect());
    keeps_the_promise("remote", (0..40).map(|_| handover(&a, &b)).collect());
}
