//! Who has my key, in which app, since when: asked at one sidecar, answered for all of them.

use serde_json::Value;
use sidelock_e2e::PATIENCE;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::until;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{Acquire, Align, Change, Code, LeaseName, Mode, ToClient, ToSidecar, Window};
use std::time::{Duration, Instant};

/// A look waits 100 ms for a sidecar that does not answer; the rest is the machine's.
const UNKNOWN_WITHIN: Duration = Duration::from_millis(500);

fn two() -> (Redis, Sidecar, Sidecar) {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    (redis, a, b)
}

/// The key as the fleet has it, seen from here, by one look: nobody waits long for a sidecar that does not answer.
fn glance(sidecar: &Sidecar, key: &str) -> Value {
    let graph = sidecar.get(&format!("/v1/graph?key={key}")).json();
    let mut keys = graph["keys"].as_array().expect("keys").iter();
    keys.find(|found| found["key"] == key).expect("the key is there").clone()
}

/// The same, once each sidecar has said whose it is.
fn look(sidecar: &Sidecar, key: &str) -> Value {
    known(|| glance(sidecar, key))
}

/// What is answered once nobody in it is unknown: a busy machine may keep a sidecar from answering one look in time.
fn known(mut ask: impl FnMut() -> Value) -> Value {
    until(PATIENCE, "each sidecar says whose it is", || Some(ask()).filter(|said| !has_unknown(said))).0
}

/// Whether there is a sidecar in it that did not say whose the key is.
fn has_unknown(said: &Value) -> bool {
    said.to_string().contains(r#""known":false"#)
}

/// What a verb shows once nobody in it is unknown.
fn shown(sidecar: &Sidecar, verb: [&str; 2]) -> String {
    let all_known = || {
        let (code, text) = sidecar.verb(verb);
        assert_eq!(code, 0, "{text}");
        (!text.contains("unknown")).then_some(text)
    };
    until(PATIENCE, "each sidecar says whose it is", all_known).0
}

/// The last of three looks at somebody who is unknown in all of them, the best of which took no longer than it may.
fn unknown_in_time(mut ask: impl FnMut() -> Value) -> Value {
    let mut look = || {
        let since = Instant::now();
        let said = ask();
        assert!(has_unknown(&said), "{said}");
        (since.elapsed(), said)
    };
    let looks = [look(), look(), look()];
    let quickest = looks.iter().map(|(took, _)| *took).min().expect("there are three");
    assert!(quickest < UNKNOWN_WITHIN, "{quickest:?}");
    let [.., (_, said)] = looks;
    said
}

/// As people read it.
fn short(sidecar: &Sidecar) -> String {
    incarnation(sidecar).as_str().expect("a name")[..8].to_owned()
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
    assert_eq!((&at_b["holders_left_out"], &at_b["waiters_left_out"]), (&0.into(), &0.into()), "{key}");
    assert_eq!(at_b.get("idle"), None, "{key}");
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
        let text = shown(&a, [verb, "k"]);
        let (uid, b) = (uid().to_string(), short(&b));
        assert!(has_row(&text, &["k", &b, "all", "holds,", "shown"]), "{text}");
        assert!(has_row(&text, &[&b, "e2e", &uid, "-", "exclusive"]), "{text}");
        assert!(has_row(&text, &[&b, "e2e", &uid, "task-3", "exclusive"]), "{text}");
    }
}

/// The other tests ask again where a busy machine kept a sidecar from answering; that must be the exception.
#[test]
fn the_first_look_at_a_key_knows_whose_it_is() {
    let (_redis, a, b) = two();
    let mut holder = Peer::greeted(b.socket());
    let knows = |number: &u64| {
        let key = format!("k/{number}");
        assert_eq!(holder.acquires(try_lock(*number, &key)), "granted");
        !has_unknown(&glance(&a, &key))
    };
    let known = (1..=20).filter(knows).count();
    assert!(known >= 15, "{known} of 20");
}

/// `GET /v1/locks/{key}`, which `why` shows: holders and queue of all sidecars, whichever is asked.
#[test]
fn each_sidecar_says_who_holds_a_key_and_who_waits_at_all_of_them() {
    let (_redis, a, b) = two();
    let (mut holder, mut waiter) = (Peer::greeted(b.socket()), Peer::greeted(a.socket()));
    assert_eq!(holder.acquires(Acquire { owner: Some("task-1"), ..try_lock(1, "k") }), "granted");
    queues(&mut waiter, Acquire { owner: Some("task-2"), priority: 7, ..try_lock(1, "k") });
    let fence = b.get("/v1/locks/k").json()["holders"][0]["fence"].clone();
    assert!(fence.as_u64() > Some(0), "{fence}");
    for (asked, is_holders) in [(&a, false), (&b, true)] {
        let key = known(|| asked.get("/v1/locks/k").json());
        assert_eq!(key["sidecar"], incarnation(asked), "{key}");
        let (holders, queue) =
            (key["holders"].as_array().expect("a list"), key["queue"].as_array().expect("a list"));
        assert_eq!((holders.len(), queue.len()), (1, 1), "{key}");
        for (who, at, owner) in [(&holders[0], &b, "task-1"), (&queue[0], &a, "task-2")] {
            assert_eq!((&who["sidecar"], &who["known"]), (&incarnation(at), &true.into()), "{key}");
            assert_eq!(
                (&who["app"], &who["uid"], &who["owner"]),
                (&"e2e".into(), &uid().into(), &owner.into()),
                "{key}"
            );
            assert_eq!(who["mode"], "exclusive", "{key}");
        }
        assert_eq!((&holders[0]["fence"], &queue[0]["priority"]), (&fence, &7.into()), "{key}");
        assert!(holders[0]["held_for"].is_f64() && queue[0]["waiting_for"].is_f64(), "{key}");
        let left = holders[0]["expires_in"].as_f64().expect("seconds");
        assert!(left > 5.0 && left <= 10.0, "{key}");
        let why = key["why"].as_str().expect("a sentence");
        let at = if is_holders { String::new() } else { format!(" at the sidecar {}", short(&b)) };
        let begin = format!("held (exclusive) by e2e (uid {}, owner task-1){at} for ", uid());
        assert!(why.starts_with(&begin) && why.ends_with("; one waits"), "{why}");
    }
    let text = shown(&a, ["why", "k"]);
    let (uid, at_a, at_b) = (uid().to_string(), short(&a), short(&b));
    assert!(has_row(&text, &["e2e", &uid, "task-1", "exclusive", &fence.to_string(), &at_b]), "{text}");
    assert!(has_row(&text, &["e2e", &uid, "task-2", "exclusive", "7", &at_a]), "{text}");
}

/// A turn of once elsewhere, and those who wait to follow it.
#[test]
fn a_turn_elsewhere_and_its_followers_are_named() {
    let (_redis, a, b) = two();
    let body = r#"{"per":"1h","owner":"nightly"}"#;
    assert_eq!(b.request("POST", "/v1/once/job", body).json()["won"], true);
    let mut follower = Peer::greeted(a.socket());
    let window = Window { per: Duration::from_secs(3600), align: Align::Rolling };
    queues(&mut follower, Acquire { owner: Some("task-9"), once: Some(window), ..try_lock(1, "job") });
    for asked in [&a, &b] {
        let turn = known(|| asked.get("/v1/locks/job?space=once").json());
        let (winner, follows) = (&turn["holders"][0], &turn["queue"][0]);
        assert_eq!((&winner["sidecar"], &winner["owner"]), (&incarnation(&b), &"nightly".into()), "{turn}");
        assert_eq!((&follows["sidecar"], &follows["owner"]), (&incarnation(&a), &"task-9".into()), "{turn}");
        assert_eq!((&winner["known"], &follows["known"]), (&true.into(), &true.into()), "{turn}");
        let lock = known(|| asked.get("/v1/locks/job").json());
        assert_eq!(
            lock["holders"].as_array().map(Vec::len),
            Some(0),
            "the lock of that name is another: {lock}"
        );
        let text = shown(asked, ["why", "job"]);
        let (_, once) = text.split_once("\nonce job: held (exclusive) by ").expect("what is done once");
        assert!(has_row(once, &["nightly", "exclusive", &short(&b)]), "{text}");
        assert!(has_row(once, &["e2e", "task-9", "exclusive", &short(&a)]), "{text}");
        let graph = known(|| asked.get("/v1/graph?key=job&space=once").json());
        assert_eq!(
            (&graph["keys"][0]["space"], &graph["keys"][0]["key"]),
            (&"once".into(), &"job".into()),
            "{graph}"
        );
        assert_eq!(graph["keys"][0]["holders"][0]["holders"][0]["owner"], "nightly", "{graph}");
    }
    let answer = a.get("/v1/graph?key=job&space=twice");
    assert_eq!((answer.status, &answer.json()["field"]), (400, &"space".into()), "{answer:?}");
}

/// Units of a rate that are used up at another sidecar: nobody holds them, and it is no idle tenure either.
#[test]
fn a_rate_used_up_elsewhere_is_on_its_way_back() {
    let (_redis, a, b) = two();
    let body = r#"{"limit":2,"permits":2,"per":"1h"}"#;
    let lease = b.request("POST", "/v1/semaphores/api", body).json();
    b.unlock(&lease);
    let key = known(|| a.get("/v1/locks/api").json());
    assert_eq!(key["holders"].as_array().map(Vec::len), Some(0), "{key}");
    assert_eq!(
        (&key["limit"], &key["cooling"]["permits"], &key["kept_by"]),
        (&2.into(), &2.into(), &serde_json::json!([])),
        "{key}"
    );
    assert!(key["cooling"]["next_in"].as_f64() > Some(3_500.0), "{key}");
    let why = key["why"].as_str().expect("a sentence");
    assert!(why.starts_with("2 of 2 permits come back by the clock, the next in 3"), "{why}");
}

/// Two upgrades of a key at two sidecars: the second hears of which owner the other is.
#[test]
fn who_upgrades_elsewhere_is_named_to_the_second() {
    let (_redis, a, b) = two();
    let share = |owner| Acquire { mode: Mode::Shared, owner: Some(owner), ..try_lock(1, "k") };
    let (mut first, mut second) = (Peer::greeted(b.socket()), Peer::greeted(a.socket()));
    assert_eq!(first.acquires(share("task-1")), "granted");
    assert_eq!(second.acquires(share("task-2")), "granted");
    let upgrade = Change {
        request: 2,
        lease: LeaseName::Session(1),
        mode: Mode::Exclusive,
        wait: Some(Duration::from_secs(20)),
    };
    first.say(&ToSidecar::Change(upgrade));
    until(Duration::from_secs(5), "it waits", || {
        let waits = a.get("/v1/locks/k").json()["queue"][0].clone();
        (waits["upgrades"] == true && waits["owner"] == "task-1").then_some(())
    });
    second.say(&ToSidecar::Change(upgrade));
    let mut refused = None;
    second.hears("that it is the second", |message| {
        if let ToClient::Refused(no) = message {
            refused = Some((no.code, no.message.to_string(), no.detail.cycle.clone()));
        }
        refused.is_some()
    });
    let (code, message, cycle) = refused.expect("was heard");
    assert_eq!(code, Code::Deadlock, "{message}");
    let named = format!("(e2e, uid {}, owner task-1, sidecar {})", uid(), short(&b));
    assert!(message.contains(&named), "{message}");
    let ring: Vec<(&str, u128)> = cycle.iter().map(|edge| (edge.owner.as_str(), edge.sidecar)).collect();
    let number = |sidecar: &Sidecar| {
        u128::from_str_radix(incarnation(sidecar).as_str().expect("a name"), 16).expect("digits")
    };
    assert_eq!(ring, [("task-2", number(&a)), ("task-1", number(&b))]);
    let spans = cycle.iter().map(|edge| edge.held_for.expect("both hold a share"));
    assert!(spans.clone().all(|span| span < Duration::from_secs(20)), "{cycle:?}");
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
    // Used before each look: after a second without use it is given back.
    let kept = |look: &dyn Fn() -> Value| {
        known(|| {
            b.unlock(&b.lock("k", ""));
            look()
        })
    };
    let key = kept(&|| glance(&a, "k"));
    let at_b = &key["holders"][0];
    assert_eq!((&at_b["known"], &at_b["idle"]), (&true.into(), &true.into()), "{key}");
    assert_eq!(at_b["holders"].as_array().map(Vec::len), Some(0), "{key}");
    let key = kept(&|| a.get("/v1/locks/k").json());
    assert_eq!(
        (key["holders"].as_array().map(Vec::len), &key["kept_by"][0]),
        (Some(0), &incarnation(&b)),
        "{key}"
    );
    let why = key["why"].as_str().expect("a sentence");
    assert_eq!(why, format!("free; the sidecar {} keeps it at hand for its next request", short(&b)));
}

#[test]
fn with_the_store_away_it_is_said_that_others_are_not_known() {
    let (mut redis, a, _b) = two();
    let mut holder = Peer::greeted(a.socket());
    assert_eq!(holder.acquires(try_lock(1, "mine")), "granted");
    redis.down();
    until(Duration::from_secs(5), "the store is missed", || {
        (a.get("/readyz/store").status == 503).then_some(())
    });
    let key = a.get("/v1/locks/k").json();
    assert_eq!(
        (&key["store_away"], key["holders"].as_array().map(Vec::len)),
        (&true.into(), Some(0)),
        "{key}"
    );
    assert!(
        key["why"].as_str().expect("a sentence").contains("the store is away, so others are not known"),
        "{key}"
    );
    assert_eq!(a.get("/v1/locks/mine").json()["holders"][0]["app"], "e2e", "its own are");
    let (code, text) = a.verb(["why", "k"]);
    assert!(code == 0 && text.contains("other sidecars are not shown"), "{text}");
}

#[test]
fn a_sidecar_that_is_stopped_is_unknown_and_keeps_nobody_waiting() {
    let (_redis, a, b) = two();
    let mut holder = Peer::greeted(b.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    assert_eq!(look(&a, "k")["holders"][0]["known"], true);
    let (name, b_name) = (incarnation(&b), short(&b)); // It says nothing from now on.
    b.signal(rustix::process::Signal::STOP);
    let key = unknown_in_time(|| glance(&a, "k"));
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
    assert!(has_row(&text, &["unknown", "-", "exclusive", &b_name]), "{text}");
    assert!(
        text.contains(&format!("the sidecar {} has it (exclusive) and did not say for whom", b_name)),
        "{text}"
    );
    let key = unknown_in_time(|| a.get("/v1/locks/k").json());
    let holder = &key["holders"][0];
    assert_eq!((&holder["sidecar"], &holder["known"]), (&name, &false.into()), "{key}");
    assert_eq!((holder.get("app"), holder.get("fence")), (None, None), "{key}");
    b.signal(rustix::process::Signal::CONT);
    until(Duration::from_secs(5), "it answers again", || {
        (glance(&a, "k")["holders"][0]["holders"][0]["app"] == "e2e").then_some(())
    });
}
