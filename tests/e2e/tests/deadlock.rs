//! Deadlocks between owners (P14, P15): named within two seconds, also across sidecars and with every push lost; exactly one
//! is told, the others go on.

use serde_json::Value;
use sidelock_e2e::PATIENCE;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::http::Answer;
use sidelock_e2e::process::until;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{Acquire, Change, LeaseName, Mode, ToClient, ToSidecar};
use std::thread;
use std::time::{Duration, Instant};

/// From the last edge to the verdict (L4).
const NAMED_WITHIN: Duration = Duration::from_secs(2);

/// A client with one owner.
struct Actor {
    peer: Peer,
    owner: Option<&'static str>,
    acquired: u64,
}

impl Actor {
    fn new(sidecar: &Sidecar, owner: &'static str) -> Actor {
        Actor { peer: Peer::greeted(sidecar.socket()), owner: Some(owner), acquired: 0 }
    }

    fn acquire<'a>(&mut self, key: &'a str, mode: Mode, wait: Option<Duration>) -> Acquire<'a> {
        self.acquired += 1;
        Acquire { wait, mode, owner: self.owner, ..try_lock(self.acquired, key) }
    }

    /// Has it, at once or nearly.
    fn has(&mut self, key: &str, mode: Mode) {
        let acquire = self.acquire(key, mode, Some(Duration::from_secs(5)));
        assert_eq!(self.peer.acquires(acquire), "granted", "{key}");
    }

    /// Waits for it from now on.
    fn wants(&mut self, key: &str, mode: Mode) {
        let acquire = self.acquire(key, mode, None);
        self.peer.say(&ToSidecar::Acquire(acquire));
    }
}

/// What became of the last wish of each, in their order, and after how long. Whoever has an answer goes, with all it has.
fn outcomes(actors: Vec<Actor>) -> Vec<(String, String, Duration)> {
    let since = Instant::now();
    let waits = actors.into_iter().map(|mut actor| {
        thread::spawn(move || {
            let (code, message) = actor.peer.refusal(actor.acquired);
            (code, message, since.elapsed())
        })
    });
    let waits: Vec<_> = waits.collect();
    waits.into_iter().map(|wait| wait.join().expect("an answer comes")).collect()
}

/// Exactly one is told, in time; its message.
#[track_caller]
fn one_victim(outcomes: &[(String, String, Duration)]) -> &str {
    let victims: Vec<_> = outcomes.iter().filter(|(code, ..)| code == "deadlock").collect();
    let granted = outcomes.iter().filter(|(code, ..)| code == "granted").count();
    assert_eq!((victims.len(), granted), (1, outcomes.len() - 1), "{outcomes:?}");
    let (_, message, after) = victims[0];
    assert!(*after < NAMED_WITHIN, "{outcomes:?}");
    message
}

/// Waits until so many are in line at this sidecar.
fn until_waiting(sidecar: &Sidecar, waiters: u64) {
    let are_waiting = || (sidecar.get("/v1/info").json()["waiters"] == waiters).then_some(());
    until(PATIENCE, "all are in line", are_waiting);
}

/// Three owners, each of whom has a key and wants that of the next.
fn ring(sidecars: [&Sidecar; 3]) -> String {
    let names = ["anna", "ben", "cleo"];
    let keys = ["x", "y", "z"];
    let mut actors: Vec<Actor> =
        sidecars.iter().zip(names).map(|(sidecar, name)| Actor::new(sidecar, name)).collect();
    for (actor, key) in actors.iter_mut().zip(keys) {
        actor.has(key, Mode::Exclusive);
    }
    for (actor, key) in actors.iter_mut().zip(["y", "z", "x"]) {
        actor.wants(key, Mode::Exclusive);
    }
    let outcomes = outcomes(actors);
    let message = one_victim(&outcomes);
    for name in names.iter().chain(&keys) {
        assert!(message.contains(name), "the ring is named: {message}");
    }
    message.to_owned()
}

#[test]
fn a_ring_inside_a_sidecar_is_named_at_once() {
    let sidecar = Sidecar::on_memory();
    let begun = Instant::now();
    ring([&sidecar; 3]);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn the_second_of_two_upgrades_hears_whom_it_would_wait_for() {
    let sidecar = Sidecar::on_memory();
    let mut peer = Peer::greeted(sidecar.socket());
    for (request, owner) in [(1, "anna"), (2, "ben")] {
        let share = Acquire { mode: Mode::Shared, owner: Some(owner), ..try_lock(request, "k") };
        assert_eq!(peer.acquires(share), "granted");
    }
    for (request, lease) in [(3, 1), (4, 2)] {
        let (lease, mode) = (LeaseName::Session(lease), Mode::Exclusive);
        peer.say(&ToSidecar::Change(Change { request, lease, mode, wait: None }));
    }
    let mut ring = Vec::new();
    peer.hears("a refusal", |message| {
        let ToClient::Refused(refused) = message else { return false };
        assert_eq!((refused.request, refused.code.name()), (4, "deadlock"));
        ring.extend(refused.detail.cycle.iter().map(|edge| (edge.owner.clone(), edge.key.clone())));
        true
    });
    assert_eq!(ring, [("ben", "k"), ("anna", "k")].map(|(owner, key)| (owner.into(), key.into())));
}

#[test]
fn a_ring_across_two_sidecars_is_named_within_two_seconds() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    for _ in 0..3 {
        ring([&a, &b, &a]);
        ring([&b, &a, &b]);
    }
}

#[test]
fn a_ring_is_named_within_two_seconds_with_every_push_lost() {
    let redis = Redis::with(&["--rename-command", "PUBLISH", ""]);
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    for _ in 0..3 {
        ring([&a, &b, &a]);
    }
    let said = redis.command(&["INFO", "commandstats"]);
    assert!(
        said.contains("cmdstat_evalsha") && !said.contains("cmdstat_publish:"),
        "nothing was pushed: {said}"
    );
}

/// Standbys, such as one per partition, wait for ever and hold nothing: they are in no ring, and more than a round looks at.
#[test]
fn a_crowd_of_those_who_hold_nothing_hides_no_ring() {
    const STANDBYS: u64 = 200;
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let crowd = |has: &Sidecar, waits: &Sidecar, side: &str| {
        let (mut holder, mut standbys) = (Peer::greeted(has.socket()), Peer::greeted(waits.socket()));
        for number in 1..=STANDBYS {
            let (key, owner) = (format!("a/{side}/{number}"), format!("standby {number}"));
            assert_eq!(holder.acquires(try_lock(number, &key)), "granted");
            let acquire = Acquire { wait: None, owner: Some(&owner), ..try_lock(number, &key) };
            standbys.say(&ToSidecar::Acquire(acquire));
        }
        standbys.say(&ToSidecar::Ping);
        assert!(standbys.hears("that all are in line", |said| matches!(said, ToClient::Pong { .. })));
        (holder, standbys)
    };
    let crowds = (crowd(&a, &b, "of-a"), crowd(&b, &a, "of-b"));
    let (mut anna, mut ben) = (Actor::new(&a, "anna"), Actor::new(&b, "ben"));
    anna.has("x", Mode::Exclusive);
    ben.has("y", Mode::Exclusive);
    anna.wants("y", Mode::Exclusive);
    ben.wants("x", Mode::Exclusive);
    one_victim(&outcomes(vec![anna, ben]));
    drop(crowds);
}

#[test]
fn who_asks_for_what_it_has_is_told_at_once() {
    let sidecar = Sidecar::on_memory();
    let mut anna = Actor::new(&sidecar, "anna");
    anna.has("x", Mode::Exclusive);
    let acquire = anna.acquire("x", Mode::Exclusive, None);
    assert_eq!(anna.peer.acquires(acquire), "deadlock");
    let acquire = anna.acquire("x", Mode::Shared, Some(Duration::ZERO));
    assert_eq!(anna.peer.acquires(acquire), "held");
    anna.wants("y", Mode::Exclusive);
    assert_eq!(anna.peer.refusal(anna.acquired).0, "granted");
}

#[test]
fn an_owner_waits_for_one_thing_at_a_time() {
    let sidecar = Sidecar::on_memory();
    let (mut anna, mut ben) = (Actor::new(&sidecar, "anna"), Actor::new(&sidecar, "ben"));
    ben.has("x", Mode::Exclusive);
    anna.wants("x", Mode::Exclusive);
    let acquire = anna.acquire("y", Mode::Exclusive, None);
    let (code, message) = anna.peer.answer(acquire);
    assert_eq!(code, "bad_request");
    assert!(message.contains("owner"), "{message}");
}

#[test]
fn permits_deadlock_only_if_there_are_too_few() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let one_of = |limit| Mode::Permits { permits: 1, limit };
    let (mut anna, mut ben) = (Actor::new(&a, "anna"), Actor::new(&b, "ben"));
    for actor in [&mut anna, &mut ben] {
        actor.has("three", one_of(3));
        actor.has("two", one_of(2));
    }
    // One of three is left: whoever takes it waits for nobody.
    anna.has("three", one_of(3));
    anna.wants("two", one_of(2));
    ben.wants("two", one_of(2));
    one_victim(&outcomes(vec![anna, ben]));
}

#[test]
fn a_reader_waits_for_the_writer_ahead() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let (mut anna, mut ben, mut cleo) =
        (Actor::new(&a, "anna"), Actor::new(&b, "ben"), Actor::new(&b, "cleo"));
    anna.has("r", Mode::Shared);
    cleo.has("m", Mode::Exclusive);
    ben.wants("r", Mode::Exclusive);
    until_waiting(&b, 1);
    cleo.wants("r", Mode::Shared);
    until_waiting(&b, 2);
    anna.wants("m", Mode::Exclusive);
    one_victim(&outcomes(vec![anna, ben, cleo]));
}

#[test]
fn who_names_no_owner_is_waited_for_by_nobody() {
    let sidecar = Sidecar::on_memory();
    let (mut anna, mut nobody) = (Actor::new(&sidecar, "anna"), Actor::new(&sidecar, "nobody"));
    nobody.owner = None;
    anna.has("x", Mode::Exclusive);
    nobody.has("y", Mode::Exclusive);
    anna.wants("y", Mode::Exclusive);
    let acquire = nobody.acquire("x", Mode::Exclusive, Some(Duration::from_millis(300)));
    assert_eq!(nobody.peer.acquires(acquire), "wait_timeout");
}

#[test]
fn a_class_can_be_left_alone() {
    let settings = "[[class]]\nname = \"patient\"\nmatch = \"patient/**\"\ndeadlock = \"off\"\n";
    let sidecar = Sidecar::configured(settings, &["--store", "memory"]);
    let (mut anna, mut ben) = (Actor::new(&sidecar, "anna"), Actor::new(&sidecar, "ben"));
    anna.has("patient/x", Mode::Exclusive);
    ben.has("patient/y", Mode::Exclusive);
    anna.wants("patient/y", Mode::Exclusive);
    let acquire = ben.acquire("patient/x", Mode::Exclusive, Some(Duration::from_millis(300)));
    assert_eq!(ben.peer.acquires(acquire), "wait_timeout");
}

/// POST of a lock for an owner.
fn post(sidecar: &Sidecar, key: &str, owner: &str, wait: &str) -> Answer {
    let body = format!(r#"{{"owner":"{owner}","wait":"{wait}","ttl":"30s"}}"#);
    sidecar.request("POST", &format!("/v1/locks/{key}"), &body)
}

#[test]
fn over_http_an_owner_is_a_name_of_a_user() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let mine = post(&a, "x", "anna", "0s").json();
    let theirs = post(&b, "y", "ben", "0s").json();
    let answers = thread::scope(|scope| {
        let first = scope.spawn(|| post(&a, "y", "anna", "20s"));
        until_waiting(&a, 1); // Ben comes last, and is told.
        let since = Instant::now();
        let told = post(&b, "x", "ben", "20s");
        assert!(since.elapsed() < NAMED_WITHIN, "{:?}", since.elapsed());
        b.unlock(&theirs);
        (first.join().expect("an answer"), told)
    });
    assert_eq!((answers.0.status, answers.1.status), (200, 409), "{answers:?}");
    a.unlock(&mine);
    let problem = answers.1.json();
    assert_eq!(problem["code"], "deadlock");
    let edges: Vec<[&Value; 3]> = problem["cycle"]
        .as_array()
        .expect("a ring")
        .iter()
        .map(|edge| [&edge["owner"], &edge["key"], &edge["mode"]])
        .collect();
    assert_eq!(edges, [["ben", "x", "exclusive"], ["anna", "y", "exclusive"]]);
    for edge in problem["cycle"].as_array().expect("a ring") {
        assert!(edge["held_for"].as_f64() > Some(0.0) && edge["waiting_for"].as_f64() > Some(0.0), "{edge}");
        assert_eq!(edge["sidecar"].as_str().map(str::len), Some(32), "{edge}");
    }
}

#[test]
fn the_graph_shows_who_waits_for_whom_across_sidecars() {
    let redis = Redis::start();
    let (a, b) = (Sidecar::connected_to(&redis), Sidecar::connected_to(&redis));
    let (mut anna, mut ben) = (Actor::new(&a, "anna"), Actor::new(&b, "ben"));
    anna.has("x", Mode::Exclusive);
    ben.has("y", Mode::Exclusive);
    ben.wants("x", Mode::Exclusive);
    let mut others = Actor::new(&b, "cleo");
    others.wants("y", Mode::Exclusive);
    // Each look asks b how it stands, and b answers so many in a second: some of these looks go without.
    let (graph, _) = until(PATIENCE, "a sees the board of b and hears from it", || {
        let graph = a.get("/v1/graph?key=x").json();
        let x = graph["keys"].as_array().and_then(|keys| keys.iter().find(|key| key["key"] == "x"));
        let heard = x.is_some_and(|x| x["queue"][0]["known"] == true);
        (heard && graph["waits"].as_array().map(Vec::len) == Some(2)).then_some(graph)
    });
    assert_eq!(graph["edges"].as_array().map(Vec::len), Some(1), "{graph}");
    let edge = &graph["edges"][0];
    let name = |end: &str| graph["waits"][edge[end].as_u64().expect("a place") as usize]["owner"].clone();
    assert_eq!([name("from"), name("to")], ["cleo", "ben"]);
    let x = graph["keys"].as_array().expect("keys").iter().find(|key| key["key"] == "x").expect("x is there");
    assert_eq!(
        (x["holders"][0]["known"].clone(), x["queue"][0]["known"].clone()),
        (true.into(), true.into()),
        "{x}"
    );
    let (code, why) = a.verb(["why", "x"]);
    assert_eq!(code, 0, "{why}");
    assert!(why.contains("e2e") && why.contains("ben") && why.contains("place 1"), "{why}");
    let (code, dot) = b.verb(["graph", "--dot"]);
    assert_eq!(code, 0, "{dot}");
    assert!(dot.starts_with("digraph") && dot.contains("cleo"), "{dot}");
}
