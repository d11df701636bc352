//! What the levels of guarantee are worth when Redis loses what it was told: a lock made of SET NX, `bounded` and `strict`.

use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::{run, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::road::Road;
use sidelock_e2e::sidecar::{Sidecar, command, fence};
use sidelock_wire::{Acquire, LeaseName, LostReason, ToClient, ToSidecar};
use std::time::{Duration, Instant};

/// Short lives, so that a quarantine is over soon: with these, 4.1 s where there are no replicas.
const SETTINGS: &str = "namespace = \"strict\"\n[redis]\nguarantee = \"strict\"\n[tenure]\nttl = \"4s\"\n[limits]\nttl_max = \"2s\"\nrate_per_max = \"2s\"\n";
/// The same, as far as it makes sense without strict.
const BOUNDED: &str = "namespace = \"bounded\"\n[tenure]\nttl = \"4s\"\n";
/// What asks for a lease at once; for one that is not longer than these settings allow.
const TRY: &str = r#"{"ttl":"1s"}"#;
/// How long a primary goes on without its replicas, in seconds, give or take two.
const LAG_MAX: &str = "3";
/// No quarantine is shorter, and none longer, than this.
const QUARANTINE_MIN: Duration = Duration::from_secs(3);
const QUARANTINE_MAX: Duration = Duration::from_secs(14);

fn sidecar(settings: &str, redis: &Redis) -> Sidecar {
    let sidecar = Sidecar::configured(settings, &["--redis", &redis.url()]);
    sidecar.await_store();
    sidecar
}

fn boottime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(now).expect("boottime is not negative")
}

/// A session lease, and what its holder was told of it.
struct Holder {
    peer: Peer,
    fence: u64,
    deadline: Duration,
    granted: Duration,
}

impl Holder {
    /// Waits for a lease of this key.
    fn of(sidecar: &Sidecar, key: &str) -> Holder {
        let mut peer = Peer::greeted(sidecar.socket());
        peer.say(&ToSidecar::Acquire(Acquire { wait: None, ..try_lock(1, key) }));
        let (mut fence, mut deadline) = (0, Duration::ZERO);
        peer.hears("a grant", |message| {
            if let ToClient::Granted(granted) = message {
                (fence, deadline) = (granted.fence, Duration::from_nanos(granted.deadline_ns));
            }
            fence > 0
        });
        Holder { peer, fence, deadline, granted: boottime() }
    }

    /// Until when it was told at the end that it holds, and why it does no more.
    fn loses(&mut self) -> (Duration, LostReason) {
        let (mut deadline, mut why) = (self.deadline, None);
        self.peer.hears("that it is lost", |message| {
            match message {
                ToClient::Extended { until_ns, .. } => deadline = Duration::from_nanos(*until_ns),
                ToClient::Lost { reason, .. } => why = Some(*reason),
                _ => {}
            }
            why.is_some()
        });
        (deadline, why.expect("the sidecar did not hang up"))
    }

    /// Gives it back. False: it had been lost.
    fn releases(&mut self) -> bool {
        self.peer.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
        let mut lost = false;
        self.peer.hears("the answer to a release", |message| {
            lost |= matches!(message, ToClient::Lost { .. });
            matches!(message, ToClient::Released { .. } | ToClient::Refused(_))
        }) && !lost
    }
}

/// From now on writes wait for so many replicas, each heard within so many seconds.
fn await_replicas(server: &Redis, count: &str, lag: &str) {
    server.command(&["CONFIG", "SET", "min-replicas-to-write", count, "min-replicas-max-lag", lag]);
}

/// A primary with two replicas at the end of a road.
struct Replicated {
    primary: Redis,
    replicas: [Redis; 2],
    road: Road,
}

impl Replicated {
    /// Set up as strict wants it: writes wait for both replicas, and for one where one is left.
    fn start() -> Replicated {
        let primary = Redis::replicated(None);
        let road = Road::to(primary.port());
        let replicas = [(); 2].map(|()| Redis::replicated(Some(road.port())));
        let replicated = Replicated { primary, replicas, road };
        let Replicated { primary, replicas: [next, _], .. } = &replicated;
        for (server, wait_for) in [(primary, "2"), (next, "1")] {
            await_replicas(server, wait_for, LAG_MAX);
        }
        until(sidelock_e2e::PATIENCE, "both replicas follow", || {
            (primary.info("replication", "min_slaves_good_slaves") == 2).then_some(())
        });
        replicated
    }

    /// The first replica takes the place of a primary that they no longer hear, and the other one follows it.
    fn fail_over(&self) -> &Redis {
        let [next, other] = &self.replicas;
        next.command(&["REPLICAOF", "NO", "ONE"]);
        other.command(&["REPLICAOF", "127.0.0.1", &next.port().to_string()]);
        until(sidelock_e2e::PATIENCE, "the other replica follows", || {
            (next.info("replication", "min_slaves_good_slaves") == 1).then_some(())
        });
        next
    }
}

#[test]
fn a_lossy_failover_grants_twice_except_under_strict() {
    let replicated = Replicated::start();
    let primary = &replicated.primary;
    let (bounded, strict) = (sidecar(BOUNDED, primary), sidecar(SETTINGS, primary));
    // Past the quarantine of the first start.
    let lease = strict.lock("k", r#"{"wait":"20s","ttl":"1s"}"#);
    assert_eq!(lease["guarantee"], "strict", "{lease}");
    strict.unlock(&lease);
    assert_eq!(bounded.lock("k2", "")["guarantee"], "bounded");
    // It waits for the replica to take writes.
    let replica = replicated.replicas[0].url();
    let bounded_too = Sidecar::configured(BOUNDED, &["--redis", &replica]);
    bounded_too.line("why", |line| line.contains("store_down") && line.contains("this is a replica of"));

    // The replicas hear nothing of what the primary grants from here on, and it does not know for a while.
    replicated.road.cut();
    let plain = ["SET", "plain", "a holder", "NX", "PX", "30000"];
    assert_eq!(primary.command(&plain), "OK");
    let mut before = Holder::of(&bounded, "k");
    let mut strictly_before = Holder::of(&strict, "k");

    let next = replicated.fail_over();
    assert_eq!(next.command(&plain), "OK", "SET NX grants twice");

    let after = Holder::of(&bounded_too, "k");
    assert!(after.fence > before.fence, "{} after {}", after.fence, before.fence);
    let (deadline, why) = before.loses();
    assert_eq!(why, LostReason::Store, "bounded tells the holder of before");
    assert!(after.granted < deadline, "bounded allows an overlap");

    let elsewhere = sidecar(SETTINGS, next);
    let answer = elsewhere.request("POST", "/v1/locks/k", TRY);
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{answer:?}");
    assert!(answer.header("retry-after").is_some() && answer.body.contains("strict"), "{answer:?}");
    let (begun, strictly_after) = (Instant::now(), Holder::of(&elsewhere, "k"));
    let (deadline, why) = strictly_before.loses();
    assert_eq!(why, LostReason::Store);
    assert!(
        strictly_after.granted > deadline,
        "granted at {:?}, held until {deadline:?}",
        strictly_after.granted
    );
    assert!(strictly_after.fence > strictly_before.fence);
    assert!(begun.elapsed() < QUARANTINE_MAX, "granted after {:?}", begun.elapsed());
    println!("measured: granted {:.1?} after the last lease of before", strictly_after.granted - deadline);
}

/// Takes the data from a Redis under two strict sidecars, one of which holds a key.
fn loses_its_data(lose: impl FnOnce(&mut Redis)) {
    let mut redis = Redis::on_loopback();
    let (a, b) = (sidecar(SETTINGS, &redis), sidecar(SETTINGS, &redis));
    let mut holder = Holder::of(&a, "held");
    let lost_at = Instant::now();
    lose(&mut redis);
    b.await_store();
    let refused = || {
        let answer = b.request("POST", "/v1/locks/held", TRY);
        (answer.code() == "store_unavailable" && answer.body.contains("strict")).then_some(())
    };
    until(Duration::from_secs(2), "a try is refused at once, with the reason", refused);
    // Whoever waits is served when the quarantine is over, one after the other.
    let granted_after = |sidecar: &Sidecar| {
        let mut waiter = Holder::of(sidecar, "free");
        let waited = lost_at.elapsed();
        assert!(waiter.releases());
        (waiter.fence, waited)
    };
    let [one, other] = std::thread::scope(|scope| {
        let waiters = [&a, &b].map(|sidecar| scope.spawn(|| granted_after(sidecar)));
        waiters.map(|waiter| waiter.join().expect("it was granted"))
    });
    assert_ne!(one.0, other.0);
    for (_, waited) in [one, other] {
        assert!((QUARANTINE_MIN..QUARANTINE_MAX).contains(&waited), "granted after {waited:?}");
    }
    // The one who held all along holds still.
    let held = || (b.request("POST", "/v1/locks/held", TRY).code() == "held").then_some(());
    until(Duration::from_secs(2), "the key is held", held);
    let before = holder.fence;
    assert!(holder.releases(), "its lease went on through all of it");
    assert!(fence(&b.lock("held", r#"{"wait":"5s","ttl":"1s"}"#)) > before);
}

#[test]
fn flushall_under_strict_costs_a_quarantine_and_no_lease() {
    loses_its_data(|redis| drop(redis.command(&["FLUSHALL"])));
}

#[test]
fn a_restart_without_data_under_strict_costs_a_quarantine_and_no_lease() {
    loses_its_data(|redis| {
        redis.down();
        redis.up();
    });
}

#[test]
fn what_strict_needs_and_lacks_is_told_in_each_grant_and_by_doctor() {
    let primary = Redis::replicated(None);
    let replica = Redis::replicated(Some(primary.port()));
    until(sidelock_e2e::PATIENCE, "the replica follows", || {
        (primary.info("replication", "connected_slaves") == 1).then_some(())
    });
    let strict = sidecar(SETTINGS, &primary);
    strict.line("why not", |line| {
        line.contains("grants say bounded") && line.contains("min-replicas-to-write")
    });
    assert_eq!(strict.get("/v1/info").json()["guarantee"], "bounded");
    drop(strict);

    let folder = sidelock_e2e::folder();
    let file = folder.path().join("sidelock.toml");
    std::fs::write(&file, SETTINGS).expect("our folder");
    let doctor = || {
        let file = file.to_string_lossy();
        run(command(["doctor", "--config", file.as_ref(), "--redis", &primary.url()]))
    };
    let (code, text) = doctor();
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("set min-replicas-to-write 1"), "{text}");

    await_replicas(&primary, "1", LAG_MAX);
    until(sidelock_e2e::PATIENCE, "the replica is near", || {
        (primary.info("replication", "min_slaves_good_slaves") == 1).then_some(())
    });
    let (_, text) = doctor();
    assert!(text.contains("strict: leases do not overlap"), "{text}");
    // With what the first one had to assume of the isolation the quarantine would be twice as long.
    primary.command(&["FLUSHALL"]);
    let another = sidecar(SETTINGS, &primary);
    assert_eq!(another.lock("k2", r#"{"wait":"30s","ttl":"1s"}"#)["guarantee"], "strict");
    assert_eq!(another.get("/v1/info").json()["guarantee"], "strict");
    assert!(another.get("/metrics").body.contains(r#"guarantee="strict""#));
    // Somebody who does not keep to it is told.
    let bounded = sidecar(&SETTINGS.replace("\"strict\"\n[tenure]", "\"bounded\"\n[tenure]"), &primary);
    bounded.line("a warning", |line| line.contains("rely on strict"));

    // What was promised is kept: a Redis that can not keep it any more is no store.
    primary.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    primary.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    another.line("why", |line| line.contains("store_down") && line.contains("min-replicas-to-write"));
    let answer = another.request("POST", "/v1/locks/k3", TRY);
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{answer:?}");
    drop(replica);
}

#[test]
fn a_replica_that_is_added_needs_no_restart() {
    let primary = Redis::replicated(None);
    let sidecar = sidecar(SETTINGS, &primary);
    assert_eq!(sidecar.lock("k", r#"{"wait":"30s","ttl":"1s"}"#)["guarantee"], "strict");
    let replica = Redis::replicated(Some(primary.port()));
    until(sidelock_e2e::PATIENCE, "the replica follows", || {
        (primary.info("replication", "connected_slaves") == 1).then_some(())
    });
    let answer = sidecar.request("POST", "/v1/locks/k1", TRY);
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{answer:?}");
    sidecar
        .line("what to do", |line| line.contains("store_down") && line.contains("set min-replicas-to-write"));
    await_replicas(&primary, "1", LAG_MAX);
    let granted = || {
        let answer = sidecar.request("POST", "/v1/locks/k2", TRY);
        (answer.status == 200).then(|| answer.json())
    };
    // Its first replica begins another replication: one quarantine, and none longer for what nobody knew before.
    let (lease, _) = until(QUARANTINE_MAX, "grants go on", granted);
    assert_eq!(lease["guarantee"], "strict");
    drop(replica);
}
