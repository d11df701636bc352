//! Who has my key, in which app, since when: asked at one sidecar, answered for all of them.

use serde_json::Value;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{Acquire, Mode, ToClient, ToSidecar};
use std::time::{Duration, Instant};

/// A look waits 100 ms for a sidecar that does not answer; the rest is the machine's.
const UNKNOWN_WITHIN: Duration = Duration::from_millis(500);

fn two() -> (Redis, Sidecar, Sidecar) {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    (redis, a, b)
}

/// The key as the fleet has it, seen from here.
fn look(sidecar: &Sidecar, key: &str) -> Value {
    let graph = sidecar.get(&format!("/v1/graph?key={key}")).json();
    let mut keys = graph["keys"].as_array().expect("keys").iter();
    keys.find(|found| found["key"] == key).expect("the key is there").clone()
}

fn incarnation(sidecar: &Sidecar) -> Value {
    sidecar.get("/v1/info").json()["incarnation"].clone()
}

fn queues(peer: &mut Peer, acquire: Acquire<'_>) {
    peer.say(&ToSidecar::Acquire(Acquire { wait: None, notify_queued: true, ..acquire }));
    peer.hears("that it queues", |message| matches!(message, ToClient::Queued { .. }));
}

/// Whether a row of a table has these words, among others.
fn has_row(text: &str, words: &[&str]) -> bool {
    text.lines().any(|line| words.iter().all(|word| line.split_whitespace().any(|found| found == *word)))
}

fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

#[test]
fn a_holder_elsewhere_that_named_no_owner_is_shown_with_app_and_user_and_since_when() {
    let (_redis, a, b) = two();
    let mut holder = Peer::greeted(b.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    let granted = Instant::now();
    let mut waiter = Peer::greeted(b.socket());
    queues(&mut waiter, Acquire { owner: Some("task-3"), priority: 7, ..try_lock(1, "k") });
    std::thread::sleep(Duration::from_millis(300)); // So that there is an age to see.
    let key = look(&a, "k");
    let at_b = &key["holders"][0];
    assert_eq!((&at_b["sidecar"], &at_b["known"]), (&incarnation(&b), &true.into()), "{key}");
    assert_eq!((at_b["left_out"].as_u64(), at_b.get("idle")), (Some(0), None), "{key}");
    let (holders, waiters) =
        (at_b["holders"].as_array().expect("a list"), at_b["waiters"].as_array().expect("a list"));
    assert_eq!((holders.len(), waiters.len()), (1, 1), "{key}");
    for (who, owner) in [(&holders[0], Value::Null), (&waiters[0], "task-3".into())] {
        assert_eq!(
            (&who["app"], &who["uid"], &who["mode"]),
            (&"e2e".into(), &uid().into(), &"exclusive".into()),
            "{who}"
        );
        assert_eq!(who["owner"], owner, "{who}");
    }
    assert_eq!(waiters[0]["priority"], 7, "{key}");
    let ages = [&holders[0]["held_for"], &waiters[0]["waiting_for"]].map(|age| age.as_f64().expect("an age"));
    for age in ages {
        assert!((0.25..=granted.elapsed().as_secs_f64() + 0.2).contains(&age), "{key}");
    }
    for verb in ["why", "graph"] {
        let (code, text) = a.verb([verb, "k"]);
        assert_eq!(code, 0, "{text}");
        let (uid, b) = (uid().to_string(), incarnation(&b).as_str().expect("a name")[..8].to_owned());
        assert!(has_row(&text, &["k", &b, "all", "holds,", "shown"]), "{text}");
        assert!(has_row(&text, &["k", &b, "e2e", &uid, "-", "exclusive"]), "{text}");
        assert!(has_row(&text, &["k", &b, "e2e", &uid, "task-3", "exclusive"]), "{text}");
    }
}

#[test]
fn timed_leases_and_permits_of_several_sidecars_are_told_from_each_other() {
    let (_redis, a, b) = two();
    let take = |sidecar: &Sidecar, permits: u32| {
        let body = format!(r#"{{"limit":3,"permits":{permits}}}"#);
        let answer = sidecar.request("POST", "/v1/semaphores/s", &body);
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    take(&a, 2);
    take(&b, 1);
    let mut waiter = Peer::greeted(a.socket());
    queues(&mut waiter, Acquire { mode: Mode::Permits { permits: 3, limit: 3 }, ..try_lock(1, "s") });
    let key = look(&b, "s");
    let at = |sidecar: &Sidecar, place: &str| {
        let (name, mut listed) = (incarnation(sidecar), key[place].as_array().expect("a list").iter());
        listed.find(|one| one["sidecar"] == name).unwrap_or_else(|| panic!("{place} in {key}"))
    };
    for (sidecar, permits) in [(&a, 2), (&b, 1)] {
        let holder = &at(sidecar, "holders")["holders"][0];
        assert_eq!((&holder["mode"], &holder["permits"]), (&"permits".into(), &permits.into()), "{key}");
        assert_eq!(
            holder["ref"].as_str().map(str::len),
            Some(8),
            "a timed lease has a name, not its id: {key}"
        );
    }
    assert_eq!(at(&a, "holders")["waiters"][0]["permits"], 3, "{key}");
}

#[test]
fn a_key_that_is_kept_for_the_next_request_is_nobodys() {
    let (_redis, a, b) = two();
    b.unlock(&b.lock("k", ""));
    let key = look(&a, "k");
    let at_b = &key["holders"][0];
    assert_eq!((&at_b["known"], &at_b["idle"]), (&true.into(), &true.into()), "{key}");
    assert_eq!(at_b["holders"].as_array().map(Vec::len), Some(0), "{key}");
}

#[test]
fn a_sidecar_that_is_stopped_is_unknown_and_keeps_nobody_waiting() {
    let (_redis, a, b) = two();
    let mut holder = Peer::greeted(b.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    assert_eq!(look(&a, "k")["holders"][0]["known"], true);
    b.signal(rustix::process::Signal::STOP);
    let since = Instant::now();
    let key = look(&a, "k");
    let took = since.elapsed();
    assert!(took < UNKNOWN_WITHIN, "{took:?}");
    let at_b = &key["holders"][0];
    assert_eq!(
        (at_b["known"].as_bool(), at_b["holders"].as_array().map(Vec::len)),
        (Some(false), Some(0)),
        "{key}"
    );
    assert!(at_b["expires_in"].as_f64() > Some(0.0), "what the store knows is shown: {key}");
    let (code, text) = a.verb(["why", "k"]);
    assert_eq!(code, 0, "{text}");
    assert!(has_row(&text, &["k", "holds,", "unknown"]), "{text}");
    b.signal(rustix::process::Signal::CONT);
    sidelock_e2e::process::until(Duration::from_secs(5), "it answers again", || {
        (look(&a, "k")["holders"][0]["holders"][0]["app"] == "e2e").then_some(())
    });
}
