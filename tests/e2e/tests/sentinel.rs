//! A Redis with replicas and sentinels: the sidecar finds the primary, and the next one.

use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::{run, until};
use sidelock_e2e::redis::free_port;
use sidelock_e2e::sentinel::Ensemble;
use sidelock_e2e::sidecar::{Sidecar, command, fence};
use sidelock_wire::{LeaseName, ToClient, ToSidecar};
use std::time::{Duration, Instant};

/// Promised from a primary that takes writes to the next grant (L6).
const RECOVERY: Duration = Duration::from_secs(2);

fn connected_to(ensemble: &Ensemble) -> Sidecar {
    let flags = ensemble.flags();
    let sidecar = Sidecar::with(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    sidecar.await_store();
    sidecar
}

/// The fence of a lock that is taken and given back; nothing while it is refused.
fn taken(sidecar: &Sidecar, key: &str) -> Option<u64> {
    let answer = sidecar.request("POST", &format!("/v1/locks/{key}"), r#"{"wait":"5s"}"#);
    (answer.status == 200).then(|| {
        sidecar.unlock(&answer.json());
        fence(&answer.json())
    })
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
fn a_primary_that_dies_is_left_for_the_next_one_and_fences_go_on_rising() {
    let mut ensemble = Ensemble::start();
    let (a, b) = (connected_to(&ensemble), connected_to(&ensemble));
    let mut holder = Peer::greeted(a.socket());
    assert_eq!(holder.acquires(try_lock(1, "held")), "granted");
    let before = taken(&a, "k").expect("there is a primary");
    let mut succession = ensemble.kill_primary();
    let promoted = Instant::now();
    for sidecar in [&a, &b] {
        let (after, _) = until(RECOVERY, "grants go on", || taken(sidecar, "k"));
        assert!(after > before, "{after} after {before}");
    }
    let took = promoted.elapsed();
    println!("measured: grants on both sidecars {took:.1?} after a primary takes writes");
    assert!(took < RECOVERY, "grants after {took:?}");
    // What the holder has was written long before, so the next primary knows of it.
    assert_eq!(b.request("POST", "/v1/locks/held", "").code(), "held");
    let (new, _) = ensemble.await_successor(&mut succession, || ());
    ensemble.start_again(succession.old, new);
}

#[test]
fn a_primary_that_was_replaced_and_goes_on_answering_is_left() {
    let ensemble = Ensemble::start();
    let (a, b) = (connected_to(&ensemble), connected_to(&ensemble));
    let mut holder = Peer::greeted(a.socket());
    assert_eq!(holder.acquires(try_lock(1, "held")), "granted");
    let before = taken(&a, "k").expect("there is a primary");
    let mut succession = ensemble.fail_over();
    let old = succession.old;
    let (_, promoted) = ensemble.await_successor(&mut succession, || ());
    let agreed = Instant::now();
    ensemble.await_left(old, || ());
    assert!(agreed.elapsed() < RECOVERY, "left after {:?}", agreed.elapsed());
    println!(
        "measured: both sidecars left {:.1?} after the sentinels agree, {:.1?} after another primary takes writes",
        agreed.elapsed(),
        promoted.elapsed()
    );
    let role = ensemble.node(old).command(&["INFO", "replication"]);
    assert!(role.contains("role:master"), "left only when it was a replica: nothing is shown");
    for sidecar in [&a, &b] {
        let (after, _) = until(RECOVERY, "grants go on", || taken(sidecar, "k"));
        assert!(after > before, "{after} after {before}");
    }
    assert_eq!(b.request("POST", "/v1/locks/held", "").code(), "held");
    assert!(releases(&mut holder), "its lease was not lost in any of this");
}

#[test]
fn a_primary_that_is_replaced_when_it_has_just_become_one_is_left_too() {
    let ensemble = Ensemble::start();
    let (a, b) = (connected_to(&ensemble), connected_to(&ensemble));
    let mut holder = Peer::greeted(a.socket());
    assert_eq!(holder.acquires(try_lock(1, "held")), "granted");
    let before = taken(&a, "k").expect("there is a primary");
    let first = Instant::now();
    let replaced = [(); 2].map(|()| {
        let mut succession = ensemble.fail_over();
        ensemble.await_successor(&mut succession, || ());
        succession.old
    });
    let agreed = Instant::now();
    assert_ne!(replaced[0], replaced[1]);
    replaced.iter().for_each(|old| ensemble.await_left(*old, || ()));
    println!(
        "measured: both sidecars left {:.1?} after the sentinels agree, {:.1?} after the first failover",
        agreed.elapsed(),
        first.elapsed()
    );
    assert!(agreed.elapsed() < RECOVERY, "left after {:?}", agreed.elapsed());
    for sidecar in [&a, &b] {
        let (after, _) = until(RECOVERY, "grants go on", || taken(sidecar, "k"));
        assert!(after > before, "{after} after {before}");
    }
    assert_eq!(b.request("POST", "/v1/locks/held", "").code(), "held");
    assert!(releases(&mut holder), "its lease was not lost in any of this");
}

#[test]
fn sentinels_that_are_away_are_passed_over() {
    let ensemble = Ensemble::start();
    let dead = format!("redis://127.0.0.1:{}", free_port());
    let flags = ensemble.flags();
    let flags: Vec<_> = ["--redis", &dead].into_iter().chain(flags.iter().map(String::as_str)).collect();
    let sidecar = Sidecar::with(&flags);
    sidecar.await_store();
    taken(&sidecar, "k").expect("the others know the primary");
}

#[test]
fn doctor_asks_every_sentinel_and_looks_at_the_primary() {
    let ensemble = Ensemble::start();
    let flags = ensemble.flags();
    let doctor =
        |flags: &[String]| run(command(["doctor"].into_iter().chain(flags.iter().map(String::as_str))));
    let (code, text) = doctor(&flags);
    assert_eq!(code, 0, "{text}");
    let address =
        format!("3 of 3 name a primary of `mymaster`, 127.0.0.1:{}", ensemble.await_primary().port());
    for says in [address.as_str(), "a primary that sentinels name", "+role"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let strangers = [&flags[..], &["--redis-service".into(), "another".into()]].concat();
    let (code, text) = doctor(&strangers);
    assert!(code == 1 && text.contains("watches no `another`"), "{code}: {text}");
    let single: Vec<_> = flags.iter().map(|flag| flag.replace("sentinel", "single")).take(2).collect();
    let (code, text) = doctor(&single);
    assert!(code == 1 && text.contains("set redis.mode to sentinel"), "{code}: {text}");
}
