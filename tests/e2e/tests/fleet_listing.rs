//! `ls --fleet`: the keys in use at all sidecars of a store, whichever is asked.

use serde_json::{Value, json};
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::until;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{Acquire, Mode, ToClient, ToSidecar};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);

/// A case with one sidecar for both sides, and with two of one fleet.
fn places(case: impl Fn(&Sidecar, &Sidecar)) {
    let alone = Sidecar::on_memory();
    case(&alone, &alone);
    let redis = Redis::start();
    case(&Sidecar::connected_to(&redis), &Sidecar::connected_to(&redis));
}

fn listing(sidecar: &Sidecar, prefix: &str) -> Value {
    let answer = sidecar.get(&format!("/v1/locks?fleet=1&prefix={prefix}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn incarnation(sidecar: &Sidecar) -> Value {
    sidecar.get("/v1/info").json()["incarnation"].clone()
}

/// The entry of a key.
fn entry<'a>(listing: &'a Value, key: &str) -> &'a Value {
    let keys = listing["keys"].as_array().expect("a list");
    keys.iter().find(|entry| entry["key"] == key).unwrap_or_else(|| panic!("{key} is in {listing}"))
}

#[test]
fn each_sidecar_lists_what_all_of_them_hold_and_who_waits() {
    places(|here, there| {
        let (h, t) = (incarnation(here), incarnation(there));
        let mut holder = Peer::greeted(here.socket());
        assert_eq!(holder.acquires(try_lock(1, "jobs/1")), "granted");
        let mode = Mode::Permits { permits: 2, limit: 5 };
        assert_eq!(holder.acquires(Acquire { mode, ..try_lock(2, "jobs/pool") }), "granted");
        let mut waiter = Peer::greeted(there.socket());
        assert_eq!(waiter.acquires(try_lock(1, "mail")), "granted");
        for request in [2, 3] {
            let waits = Acquire { wait: None, notify_queued: true, ..try_lock(request, "jobs/1") };
            waiter.say(&ToSidecar::Acquire(waits));
            assert!(waiter.hears("that it queues", |message| matches!(message, ToClient::Queued { .. })));
        }
        for asked in [here, there] {
            let (listing, _) = until(SOON, "all is listed", || {
                let listing = listing(asked, "");
                (entry(&listing, "jobs/1")["waiting"] != 0).then_some(listing)
            });
            assert_eq!((&listing["truncated"], &listing["sidecar"]), (&json!(false), &incarnation(asked)));
            let lock = entry(&listing, "jobs/1");
            assert_eq!((&lock["space"], &lock["limit"]), (&json!("lock"), &Value::Null), "{lock}");
            assert_eq!(lock["holders"].as_array().map(Vec::len), Some(1), "{lock}");
            assert_eq!(
                (&lock["holders"][0]["sidecar"], &lock["holders"][0]["mode"]),
                (&h, &json!("exclusive"))
            );
            let left = lock["holders"][0]["expires_in"].as_f64().expect("seconds");
            assert!(left > 0.0 && left < 12.0, "{lock}");
            let pool = entry(&listing, "jobs/pool");
            assert_eq!((&pool["limit"], &pool["holders"][0]["permits"]), (&json!(5), &json!(2)), "{pool}");
            assert_eq!((&pool["holders"][0]["sidecar"], &pool["waiting"]), (&h, &json!(0)), "{pool}");
            assert_eq!(entry(&listing, "mail")["holders"][0]["sidecar"], t, "{listing}");
            // Who its clients are a sidecar says of its own, and how many of them wait.
            let (known, waiting) = if asked.socket() == there.socket() { (2, 2) } else { (0, 1) };
            assert_eq!(lock["waiting"], waiting, "{lock}");
            assert_eq!(lock["here"]["queue"].as_array().map_or(0, Vec::len), known, "{lock}");
            assert_eq!(lock["queue"].as_array().map_or(0, Vec::len), usize::from(h != t), "{lock}");
        }
        let keys = listing(there, "jobs/")["keys"].as_array().map(Vec::len);
        assert_eq!(keys, Some(2), "only those that begin so");
        let (code, said) = there.verb(["ls", "--fleet"]);
        assert_eq!(code, 0, "{said}");
        for shown in ["jobs/1", "jobs/pool", "mail", "exclusive at ", "permits 2 at ", "(here: "] {
            assert!(said.contains(shown), "{shown:?} in {said}");
        }
        let (code, said) = there.verb(["ls", "jobs/", "--fleet", "-o", "json"]);
        let listed: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!((code, listed["keys"].as_array().map(Vec::len)), (0, Some(2)), "{said}");
    });
}

#[test]
fn what_is_only_kept_at_hand_is_shown_so_by_its_sidecar() {
    places(|here, _| {
        let lease = here.lock("k", "{}");
        here.unlock(&lease);
        let listing = listing(here, "");
        assert_eq!(entry(&listing, "k")["holders"][0]["idle"], true, "{listing}");
        let (_, said) = here.verb(["ls", "--fleet"]);
        assert!(said.contains("at hand at "), "{said}");
    });
}

#[test]
fn a_question_that_makes_no_sense_and_a_store_that_is_away_are_told() {
    let mut redis = Redis::start();
    let sidecar = Sidecar::connected_to(&redis);
    let answer = sidecar.get("/v1/locks?fleet=yes");
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{answer:?}");
    assert_eq!(answer.json()["field"], "fleet", "{answer:?}");
    redis.down();
    until(SOON, "the store is missed", || (sidecar.get("/readyz/store").status == 503).then_some(()));
    let answer = sidecar.get("/v1/locks?fleet=1");
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"), "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    let (code, said) = sidecar.verb(["ls", "--fleet"]);
    assert!(code == 1 && said.contains("the store is away"), "{code}: {said}");
}
