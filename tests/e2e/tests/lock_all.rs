//! Several keys at once, all or nothing: over the memory store and over Redis, for sidecars that take them in opposite
//! orders, and for clients that are killed with half of them.

use serde_json::Value;
use sidelock_e2e::PATIENCE;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::{Process, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, command, fence};
use sidelock_wire::{Acquire, AcquireAll, Granted, LeaseName, ToClient, ToSidecar};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Rounds in which two sidecars want the same keys.
const ROUNDS: u64 = 100;
/// All of them, on two slow processors.
const ROUNDS_TIME_MAX: Duration = Duration::from_secs(60);

fn all<'a>(first: Acquire<'a>, others: &[(u64, &'a str)]) -> ToSidecar<'a> {
    let others = others.iter().map(|(number, key)| (*number, key.as_bytes())).collect();
    ToSidecar::AcquireAll(AcquireAll { first, others })
}

/// The leases of this request, or the code with which it is refused.
fn outcome(peer: &mut Peer, wanted: u64) -> Result<Vec<Granted>, String> {
    let mut outcome = Err("no answer".to_owned());
    peer.hears("the answer to an acquire_all", |message| match message {
        ToClient::GrantedAll { request, leases } if *request == wanted => {
            outcome = Ok(leases.clone());
            true
        }
        ToClient::Refused(refused) if refused.request == wanted => {
            outcome = Err(refused.code.name().to_owned());
            true
        }
        _ => false,
    });
    outcome
}

fn release(peer: &mut Peer, request: u64) {
    peer.say(&ToSidecar::Release { request: u64::MAX, lease: LeaseName::Session(request) });
}

fn is_all_or_nothing(sidecar: &Sidecar) {
    let mut ann = Peer::greeted(sidecar.socket());
    let mut ben = Peer::greeted(sidecar.socket());
    assert_eq!(ben.acquires(try_lock(1, "b")), "granted");
    ann.say(&all(try_lock(1, "b"), &[(2, "a")]));
    assert_eq!(outcome(&mut ann, 1), Err("held".to_owned()));
    assert_eq!(ben.acquires(try_lock(2, "a")), "granted", "what was reserved is back");
    release(&mut ben, 2);

    // Patient, it has the first key of both and waits for the second: the view says so, and others find it taken.
    ann.say(&all(Acquire { wait: None, ..try_lock(11, "b") }, &[(12, "a"), (13, "b")]));
    until(PATIENCE, "the first key is reserved", || {
        let state = sidecar.get("/v1/locks/a").json();
        (state["holders"][0]["reserved"] == true).then_some(())
    });
    let (code, said) = sidecar.verb(["why", "a"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("reserved for lock_all"), "{said}");
    assert_eq!(ben.acquires(try_lock(3, "a")), "held");
    release(&mut ben, 1);
    let leases = outcome(&mut ann, 11).expect("both");
    let numbers: Vec<u64> = leases.iter().map(|lease| lease.request).collect();
    assert_eq!(numbers, [12, 11], "in the order of the keys, the same key once");
    // Each is a lease like any other.
    release(&mut ann, 12);
    until(PATIENCE, "the one is free", || {
        (sidecar.request("POST", "/v1/locks/a", "").status == 200).then_some(())
    });
    assert_eq!(ben.acquires(try_lock(4, "b")), "held");
    release(&mut ann, 11);
}

#[test]
fn all_or_nothing_on_the_memory_store() {
    is_all_or_nothing(&Sidecar::on_memory());
}

#[test]
fn all_or_nothing_on_redis() {
    let redis = Redis::start();
    is_all_or_nothing(&Sidecar::connected_to(&redis));
}

/// Takes both keys, named in this order, so many times; every token is greater than the last one of its key.
fn takes_turns(socket: &Path, first: &str, second: &str) {
    let mut peer = Peer::greeted(socket);
    let mut seen: [u64; 2] = [0, 0];
    for round in 0..ROUNDS {
        let (one, two) = (2 * round + 1, 2 * round + 2);
        peer.say(&all(Acquire { wait: None, ..try_lock(one, first) }, &[(two, second)]));
        let leases = outcome(&mut peer, one).expect("granted in turn");
        for (lease, seen) in leases.iter().zip(&mut seen) {
            assert!(lease.fence > *seen, "round {round}");
            *seen = lease.fence;
        }
        release(&mut peer, two);
        release(&mut peer, one);
    }
}

#[test]
fn two_sidecars_with_opposite_orders_never_wait_for_each_other() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| takes_turns(a.socket(), "x", "y"));
        scope.spawn(|| takes_turns(b.socket(), "y", "x"));
        scope.spawn(|| takes_turns(a.socket(), "y", "x"));
    });
    assert!(begun.elapsed() < ROUNDS_TIME_MAX, "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_is_killed_with_half_of_the_keys_leaves_none() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let held = b.lock("b", r#"{"ttl":"1m"}"#);
    let mut run = command(["run", "b", "a", "--", "true"]);
    run.env("SIDELOCK_SOCKET", a.socket());
    let mut victim = Process::spawn(run);
    until(PATIENCE, "it has reserved the first key", || {
        (a.get("/v1/locks/a").json()["holders"][0]["reserved"] == true).then_some(())
    });
    assert_eq!(b.request("POST", "/v1/locks/a", "").code(), "held");
    victim.kill();
    until(PATIENCE, "the first key is free again", || {
        (b.request("POST", "/v1/locks/a", r#"{"wait":"1s"}"#).status == 200).then_some(())
    });
    b.unlock(&held);
    assert_eq!(a.request("POST", "/v1/locks/b", r#"{"wait":"5s"}"#).status, 200);
}

#[test]
fn over_http_there_is_a_lease_for_each_key() {
    let sidecar = Sidecar::on_memory();
    let body = r#"{"keys":["y","x","y"],"ttl":"20s"}"#;
    let answer = sidecar.request("POST", "/v1/locks", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let leases = answer.json()["leases"].as_array().expect("a list").clone();
    let keys: Vec<&Value> = leases.iter().map(|lease| &lease["key"]).collect();
    assert_eq!(keys, ["x", "y"]);
    assert!(leases.iter().all(|lease| fence(lease) > 0), "{leases:?}");
    assert_eq!(sidecar.request("POST", "/v1/locks", body).code(), "held");
    for lease in &leases {
        sidecar.unlock(lease);
    }
    for (body, field, status, code) in [
        ("", "keys", 400, "bad_request"),
        (r#"{"keys":[]}"#, "keys", 400, "bad_request"),
        (r#"{"keys":["a",""]}"#, "key", 400, "bad_request"),
        (r#"{"keys":["a"],"limit":3}"#, "limit", 400, "bad_request"),
    ] {
        let answer = sidecar.request("POST", "/v1/locks", body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body}: {answer:?}");
        assert_eq!(answer.json()["field"], field, "{body}");
    }
    let streamed = sidecar.request("POST", "/v1/locks?stream=1", r#"{"keys":["a"]}"#);
    assert_eq!((streamed.status, streamed.json()["field"].as_str()), (400, Some("stream")), "{streamed:?}");
}

#[test]
fn keys_per_request_max() {
    let settings = "[limits]\nkeys_per_request_max = 3\n";
    let sidecar = Sidecar::configured(settings, &["--store", "memory"]);
    let says = "1 to 3 (keys_per_request_max) are allowed";
    let answer = sidecar.request("POST", "/v1/locks", r#"{"keys":["a","b","c","d"]}"#);
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"), "{answer:?}");
    assert!(answer.body.contains(says), "{answer:?}");
    assert_eq!(sidecar.request("POST", "/v1/locks", r#"{"keys":["a","b","c"]}"#).status, 200);
    let mut peer = Peer::greeted(sidecar.socket());
    peer.say(&all(try_lock(1, "k"), &[(2, "l"), (3, "m"), (4, "n")]));
    assert_eq!(outcome(&mut peer, 1), Err("too_large".to_owned()));
    let (code, said) = sidecar.verb(["run", "k", "l", "m", "n", "--", "true"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(says), "{said}");
}

#[test]
fn run_holds_several_keys_around_its_command() {
    let sidecar = Sidecar::on_memory();
    let script = r#"echo "$SIDELOCK_KEY" $SIDELOCK_KEYS; set -- $SIDELOCK_FENCES; test "$1" = "$SIDELOCK_FENCE" -a $# = 2"#;
    let (code, said) = sidecar.verb(["run", "two", "one", "--", "sh", "-c", script]);
    assert_eq!((code, said.trim()), (0, "one one two"));
    let held = sidecar.lock("two", r#"{"ttl":"5m"}"#);
    let (code, said) = sidecar.verb(["run", "-n", "one", "two", "--", "true"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("\"one, two\": somebody holds it"), "the free one is not blamed: {said}");
    let (code, said) = sidecar.verb(["run", "--wait", "100ms", "one", "two", "--", "true"]);
    assert_eq!(code, 124, "{said}");
    let mut waits = command(["run", "one", "two", "--", "true"]);
    waits.env("SIDELOCK_SOCKET", sidecar.socket());
    let mut waits = Process::spawn(waits);
    waits.line("what it waits for", |line| line.contains("waiting for"));
    sidecar.unlock(&held);
    assert_eq!(waits.code(), 0, "{}", waits.output());
    let said = waits.output();
    assert!(said.contains("waiting for \"two\" (held (exclusive)"), "not its own reservation: {said}");
    assert_eq!(said.matches("waiting for").count(), 1, "{said}");
    let (code, said) = sidecar.verb(["run", "--limit", "3", "one", "two", "--", "true"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("several keys"), "{said}");
}
