//! `ls --fleet`: the keys in use at all sidecars of a store, whichever is asked.

use serde_json::{Value, json};
use sidelock_e2e::PATIENCE;
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

/// What one question is answered: nobody waits long for a sidecar that does not answer.
fn glance(sidecar: &Sidecar, prefix: &str) -> Value {
    let answer = sidecar.get(&format!("/v1/locks?fleet=1&prefix={prefix}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Whether each sidecar in it said whose the keys are.
fn is_known(listing: &Value) -> bool {
    !listing.to_string().contains(r#""known":false"#)
}

/// All that begins so, once each sidecar has said whose it is: a busy machine may keep one from answering in time.
fn listing(sidecar: &Sidecar, prefix: &str) -> Value {
    until(PATIENCE, "each sidecar says whose it is", || Some(glance(sidecar, prefix)).filter(is_known)).0
}

/// What `ls --fleet` shows, once nobody in it is unknown.
fn shown(sidecar: &Sidecar) -> String {
    let all_known = || {
        let (code, said) = sidecar.verb(["ls", "--fleet"]);
        assert_eq!(code, 0, "{said}");
        (!said.contains("unknown")).then_some(said)
    };
    until(PATIENCE, "each sidecar says whose it is", all_known).0
}

fn incarnation(sidecar: &Sidecar) -> Value {
    sidecar.get("/v1/info").json()["incarnation"].clone()
}

/// The entry of a key.
fn entry<'a>(listing: &'a Value, key: &str) -> &'a Value {
    let keys = listing["keys"].as_array().expect("a list");
    keys.iter().find(|entry| entry["key"] == key).unwrap_or_else(|| panic!("{key} is in {listing}"))
}

/// The other tests ask again where a busy machine kept a sidecar from answering; that must be the exception.
#[test]
fn the_first_listing_of_many_keys_knows_whose_they_are() {
    let redis = Redis::start();
    let [here, there] = [(); 2].map(|()| Sidecar::connected_to(&redis));
    let mut holder = Peer::greeted(there.socket());
    let known = (0..10).filter(|round| {
        for key in 0..20 {
            assert_eq!(holder.acquires(try_lock(round * 20 + key, &format!("{round}/{key}"))), "granted");
        }
        is_known(&glance(&here, &format!("{round}/")))
    });
    let known = known.count();
    assert!(known >= 5, "{known} of 10");
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
            let (listing, _) = until(PATIENCE, "all is listed", || {
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
            // Who its clients are each sidecar says, whichever is asked.
            let holder = &lock["holders"][0]["holders"][0];
            assert_eq!(
                (&holder["sidecar"], &holder["app"], &holder["fence"].is_u64()),
                (&h, &json!("e2e"), &true),
                "{lock}"
            );
            assert_eq!(lock["waiting"], 2, "{lock}");
            if h != t {
                let waits = &lock["queue"][0];
                assert_eq!((&waits["sidecar"], &waits["known"]), (&t, &json!(true)), "{lock}");
                let waiters = waits["waiters"].as_array().map_or(0, Vec::len) as u64;
                assert_eq!(
                    Some(waiters + waits["waiters_left_out"].as_u64().unwrap_or(0)),
                    Some(2),
                    "{lock}"
                );
            }
            let known = if asked.socket() == there.socket() { 2 } else { 0 };
            assert_eq!(lock["here"]["queue"].as_array().map_or(0, Vec::len), known, "{lock}");
            assert_eq!(lock["queue"].as_array().map_or(0, Vec::len), usize::from(h != t), "{lock}");
        }
        let keys = listing(there, "jobs/")["keys"].as_array().map(Vec::len);
        assert_eq!(keys, Some(2), "only those that begin so");
        let said = shown(there);
        let elsewhere = format!(
            "exclusive at {} ({}e2e)",
            &h.as_str().expect("a name")[..8],
            if h == t { "here: " } else { "" }
        );
        for shown in ["jobs/1", "jobs/pool", "mail", &elsewhere, "permits 2 at ", "(here: e2e)"] {
            assert!(said.contains(shown), "{shown:?} in {said}");
        }
        let (code, said) = there.verb(["ls", "jobs/", "--fleet", "-o", "json"]);
        let listed: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!((code, listed["keys"].as_array().map(Vec::len)), (0, Some(2)), "{said}");
    });
}

#[test]
fn what_is_only_kept_at_hand_is_shown_so_by_its_sidecar() {
    places(|here, there| {
        // Used before each look: after a second without use it is given back.
        let is_used = || here.unlock(&here.lock("k", "{}"));
        for asked in [here, there] {
            let (listing, _) = until(PATIENCE, "its sidecar says how it stands there", || {
                is_used();
                Some(glance(asked, "")).filter(is_known)
            });
            assert_eq!(entry(&listing, "k")["holders"][0]["idle"], true, "{listing}");
            let (said, _) = until(PATIENCE, "its sidecar says how it stands there", || {
                is_used();
                let (_, said) = asked.verb(["ls", "--fleet"]);
                (!said.contains("unknown")).then_some(said)
            });
            assert!(said.contains("at hand at "), "{said}");
        }
    });
}

/// Far more keys than one question is about, at two other sidecars: all that those hold is named, but for one that is stopped.
#[test]
fn of_many_keys_each_holder_is_named_and_a_stopped_sidecar_is_unknown() {
    const EACH: u64 = 300;
    let redis = Redis::start();
    let [asked, there, stopped] = std::array::from_fn(|_| Sidecar::connected_to(&redis));
    let mut peers = Vec::new();
    for (sidecar, owner) in [(&there, "task-1"), (&stopped, "task-2")] {
        let mut peer = Peer::greeted(sidecar.socket());
        for request in 0..EACH {
            let key = format!("{owner}/{request}");
            assert_eq!(
                peer.acquires(Acquire { owner: Some(owner), ..try_lock(request + 1, &key) }),
                "granted"
            );
        }
        peers.push(peer);
    }
    let named = |listing: &Value, owner: &str| -> (usize, usize) {
        let keys = listing["keys"].as_array().expect("a list").iter();
        let of_owner = keys.filter(|key| key["key"].as_str().is_some_and(|key| key.starts_with(owner)));
        let holders: Vec<&Value> = of_owner.map(|key| &key["holders"][0]).collect();
        let named = holders.iter().filter(|holder| holder["holders"][0]["owner"] == owner);
        let unknown = holders.iter().filter(|holder| holder["known"] == false);
        (named.count(), unknown.count())
    };
    let all = EACH as usize;
    let seen = listing(&asked, "");
    assert_eq!((named(&seen, "task-1"), named(&seen, "task-2")), ((all, 0), (all, 0)));
    stopped.signal(rustix::process::Signal::STOP);
    until(PATIENCE, "the other one says whose its keys are", || {
        let seen = glance(&asked, "");
        assert_eq!(named(&seen, "task-2"), (0, all));
        (named(&seen, "task-1") == (all, 0)).then_some(())
    });
    let (_, said) = asked.verb(["ls", "task-2/7", "--fleet"]);
    assert!(said.contains("(unknown)"), "{said}");
    stopped.signal(rustix::process::Signal::CONT);
    drop(peers);
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
