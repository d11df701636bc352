//! Every limit of the settings, hit through each door that it applies to: its own code, and a message that says which
//! limit it was or what is allowed.
//!
//! `rate_per_max` is hit in `rate.rs`, `keys_per_request_max` in `lock_all.rs`. `value_bytes_max` bounds what is not
//! there yet.

use sidelock_e2e::PATIENCE;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::http::Answer;
use sidelock_e2e::process::until;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{
    Acquire, Code, Condition, Known, LeaseName, Life, Register, RegisterAct, ToClient, ToSidecar,
};
use std::time::Duration;

fn limited(limit: &str) -> Sidecar {
    Sidecar::configured(&format!("[limits]\n{limit}\n"), &["--store", "memory"])
}

/// A refusal over HTTP, with what it says.
fn refused(answer: &Answer, status: u16, code: &str, says: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    assert!(answer.body.contains(says), "{says:?} is said in {}", answer.body);
}

/// A refusal in a frame, with what it says.
fn told((code, message): (String, String), wanted: &str, says: &str) {
    assert_eq!(code, wanted, "{message}");
    assert!(message.contains(says), "{says:?} is said in {message}");
}

/// Refusals at a limit are what an alert looks for.
fn counted(sidecar: &Sidecar, code: &str, times: u32) {
    let page = sidecar.get("/metrics").body;
    let of_code = format!(r#"outcome="{code}""#);
    let line =
        page.lines().find(|line| line.starts_with("sidelock_requests_total") && line.contains(&of_code));
    assert!(line.is_some_and(|line| line.ends_with(&format!(" {times}"))), "{line:?}");
}

#[test]
fn key_bytes_max() {
    let sidecar = limited("key_bytes_max = 8");
    let mut peer = Peer::greeted(sidecar.socket());
    assert_eq!(peer.acquires(try_lock(1, "12345678")), "granted");
    told(peer.answer(try_lock(2, "123456789")), "too_large", "1 to 8 are allowed");
    refused(&sidecar.request("POST", "/v1/locks/123456789", ""), 413, "too_large", "1 to 8 are allowed");
}

#[test]
fn frame_bytes_max() {
    let sidecar = limited("frame_bytes_max = 1024");
    let mut peer = Peer::greeted(sidecar.socket());
    peer.bytes(&1025_u32.to_le_bytes());
    told(peer.farewell(), "too_large", "1024");
    let body = format!(r#"{{"owner":"{}"}}"#, "o".repeat(1024));
    refused(&sidecar.request("POST", "/v1/locks/k", &body), 413, "too_large", "1024");
}

#[test]
fn ttl_min_and_ttl_max() {
    let sidecar = limited("ttl_min = \"2s\"\nttl_max = \"5s\"");
    let says = "2s to 5s are allowed";
    let mut peer = Peer::greeted(sidecar.socket());
    let timed = |request, ttl| Acquire {
        life: Life::Timed { ttl: Duration::from_secs(ttl) },
        ..try_lock(request, "t")
    };
    let session = |request, ttl| Acquire {
        life: Life::Session { ttl: Some(Duration::from_secs(ttl)) },
        ..try_lock(request, "s")
    };
    for (request, ttl) in [(1, 1), (2, 6)] {
        told(peer.answer(timed(request, ttl)), "bad_request", says);
        told(peer.answer(session(10 + request, ttl)), "bad_request", says);
    }
    assert_eq!(peer.acquires(session(20, 2)), "granted");
    let renewal = |request, ttl| ToSidecar::Renew {
        request,
        lease: LeaseName::Session(20),
        ttl: Duration::from_secs(ttl),
    };
    for (request, ttl) in [(21, 1), (22, 6)] {
        peer.say(&renewal(request, ttl));
        told(peer.refusal(request), "bad_request", says);
    }

    for ttl in ["1s", "6s"] {
        let body = format!(r#"{{"ttl":"{ttl}"}}"#);
        refused(&sidecar.request("POST", "/v1/locks/h", &body), 400, "bad_request", says);
    }
    let lease = sidecar.lock("h", r#"{"ttl":"5s"}"#);
    let path = format!("/v1/leases/{}", lease["lease"].as_str().expect("a lease has an id"));
    for ttl in ["1s", "6s"] {
        refused(&sidecar.request("PUT", &path, &format!(r#"{{"ttl":"{ttl}"}}"#)), 400, "bad_request", says);
    }
}

#[test]
fn http_wait_max() {
    let sidecar = limited("http_wait_max = \"2s\"");
    let says = "0s to 2s are allowed";
    refused(&sidecar.request("POST", "/v1/locks/k", r#"{"wait":"3s"}"#), 400, "bad_request", says);
    refused(&sidecar.request("POST", "/v1/locks/k?stream=1", r#"{"wait":"3s"}"#), 400, "bad_request", says);
    assert_eq!(sidecar.request("POST", "/v1/locks/k", r#"{"wait":"2s"}"#).status, 200);
}

#[test]
fn sessions_max() {
    let sidecar = limited("sessions_max = 3");
    let mut inside: Vec<Peer> = (0..3).map(|_| Peer::greeted(sidecar.socket())).collect();
    told(
        Peer::admitted(sidecar.socket()).err().expect("a fourth"),
        "too_many",
        "3 connections already (sessions_max)",
    );
    let answer = sidecar.get("/v1/info");
    refused(&answer, 429, "too_many", "3 connections already (sessions_max)");
    assert_eq!((&answer.json()["limit"], answer.header("retry-after")), (&3.into(), Some("1")), "{answer:?}");
    for peer in &mut inside {
        peer.say(&ToSidecar::Ping);
        assert!(
            peer.hears("a pong", |said| matches!(said, ToClient::Pong { .. })),
            "those inside are served"
        );
    }
    inside.pop();
    until(PATIENCE, "there is room again", || Peer::admitted(sidecar.socket()).ok());
    inside.clear();
    let sent_away = r#"sidelock_requests_total{op="connect",mode="",class="",outcome="too_many"} "#;
    let counted = until(PATIENCE, "those sent away are counted", || {
        let answer = sidecar.get("/metrics");
        answer.body.lines().find_map(|line| line.strip_prefix(sent_away)?.parse::<u32>().ok())
    });
    assert!(counted.0 >= 2, "{counted:?}");
}

#[test]
fn in_flight_per_session_max() {
    let sidecar = limited("in_flight_per_session_max = 2");
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    let mut peer = Peer::greeted(sidecar.socket());
    for held in 10..13 {
        assert_eq!(peer.acquires(try_lock(held, &held.to_string())), "granted", "leases do not count");
    }
    let waits = |request| Acquire { wait: None, ..try_lock(request, "k") };
    peer.say(&ToSidecar::Acquire(waits(1)));
    peer.say(&ToSidecar::Acquire(waits(2)));
    told(peer.answer(waits(3)), "too_many", "2 waiting requests");
    peer.say(&ToSidecar::Cancel { request: 1 });
    peer.say(&ToSidecar::Acquire(waits(4)));
    told(peer.answer(waits(5)), "too_many", "(in_flight_per_session_max)");
    counted(&sidecar, "too_many", 2);
}

#[test]
fn handles_of_one_lease() {
    let sidecar = Sidecar::on_memory();
    let mut peer = Peer::greeted(sidecar.socket());
    let enter = |request| Acquire { owner: Some("o"), reentrant: true, ..try_lock(request, "k") };
    for request in 1..=1025 {
        assert_eq!(peer.acquires(enter(request)), "granted");
    }
    told(peer.answer(enter(1026)), "too_many", "1024 times beyond the first");
    peer.say(&ToSidecar::Release { request: 1027, lease: LeaseName::Session(1) });
    assert_eq!(peer.acquires(enter(1028)), "granted");
}

#[test]
fn in_flight_per_session_max_counts_watches_too() {
    let sidecar = limited("in_flight_per_session_max = 2");
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    let mut peer = Peer::greeted(sidecar.socket());
    let register = |request, act| ToSidecar::Register(Register { request, key: b"config", lease: None, act });
    let watch = |request| register(request, RegisterAct::Watch { known: Known::Absent, wait: None });
    peer.say(&watch(1));
    peer.say(&ToSidecar::Acquire(Acquire { wait: None, ..try_lock(2, "k") }));
    for third in [watch(3), register(4, RegisterAct::Get)] {
        let ToSidecar::Register(Register { request, .. }) = third else { unreachable!("made above") };
        peer.say(&third);
        told(peer.refusal(request), "too_many", "(in_flight_per_session_max)");
    }
    told(peer.answer(Acquire { wait: None, ..try_lock(5, "k") }), "too_many", "2 waiting requests");
    peer.say(&ToSidecar::Cancel { request: 1 });
    // What is answered does not count.
    for request in 6..9 {
        peer.say(&register(request, RegisterAct::Get));
        told(peer.refusal(request), "not_found", "the register has no value");
    }
    peer.say(&watch(9));
    peer.say(&watch(10));
    told(peer.refusal(10), "too_many", "(in_flight_per_session_max)");
}

#[test]
fn waiters_per_key_max() {
    let sidecar = limited("waiters_per_key_max = 2");
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    let mut peer = Peer::greeted(sidecar.socket());
    let waits = |request| Acquire { wait: None, ..try_lock(request, "k") };
    peer.say(&ToSidecar::Acquire(waits(1)));
    peer.say(&ToSidecar::Acquire(waits(2)));
    told(peer.answer(waits(3)), "queue_full", "2 waiters already (waiters_per_key_max)");
    let says = "2 waiters already (waiters_per_key_max)";
    let answer = sidecar.request("POST", "/v1/locks/k", r#"{"wait":"1m"}"#);
    refused(&answer, 429, "queue_full", says);
    counted(&sidecar, "queue_full", 2);
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(holder.acquires(try_lock(2, "other")), "granted", "other keys have their own");
}

#[test]
fn outbound_bytes_max() {
    let sidecar = limited("outbound_bytes_max = 4096");
    let mut slow = Peer::greeted(sidecar.socket());
    assert_eq!(slow.acquires(try_lock(1, "k")), "granted");
    let mut pings = Vec::new();
    (0..100_000).for_each(|_| ToSidecar::Ping.encode(&mut pings));
    slow.bytes(&pings);
    // It would not read a goodbye either: the log says why.
    sidecar.line("that a reader was too slow", |line| line.contains("slow_reader"));
    assert!(sidecar.output().contains("outbound_bytes_max"), "{}", sidecar.output());
    assert!(!slow.hears("the end", |_| false), "it is cut off");
    let mut other = Peer::greeted(sidecar.socket());
    assert_eq!(other.acquires(try_lock(1, "k")), "held", "until the deadline that it was told");
}

/// Of values that were asked for, 16 times `outbound_bytes_max` is kept for a reader that does not read. Who asked for more is
/// told so, and goes on.
#[test]
fn unread_values_have_a_bound_of_their_own() {
    const READS: u64 = 100;
    let sidecar = limited("outbound_bytes_max = 4096");
    let value = vec![7; 65_536];
    let keys: Vec<String> = (1..=READS).map(|number| format!("page/{number}")).collect();
    let mut writer = Peer::greeted(sidecar.socket());
    for (request, key) in (1..).zip(&keys) {
        let act = RegisterAct::Put { condition: Condition::Any, value: &value };
        writer.say(&ToSidecar::Register(Register { request, key: key.as_bytes(), lease: None, act }));
        let written = |message: &ToClient<'_>| matches!(message, ToClient::RegisterWritten { .. });
        assert!(writer.hears("that it is written", written));
    }
    let mut slow = Peer::greeted(sidecar.socket());
    let mut gets = Vec::new();
    for (request, key) in (1..).zip(&keys) {
        let act = RegisterAct::Get;
        ToSidecar::Register(Register { request, key: key.as_bytes(), lease: None, act }).encode(&mut gets);
    }
    slow.bytes(&gets);
    let (mut next, mut values, mut refused) = (1, 0, 0);
    slow.hears("the last answer", |message| {
        match message {
            ToClient::RegisterValue { request, .. } => {
                assert_eq!(*request, next, "answers stay in order");
                values += 1;
            }
            ToClient::Refused(no) => {
                assert_eq!((no.request, no.code), (next, Code::TooMany));
                assert!(no.message.contains("16 times outbound_bytes_max"), "{}", no.message);
                assert!(no.detail.retry_after.is_some(), "it may ask again");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
        next += 1;
        next > READS
    });
    assert!(values > 0 && refused > 0, "{values} values, {refused} refused");
    // It reads now, so whatever it asks for is there.
    let act = RegisterAct::Get;
    slow.say(&ToSidecar::Register(Register { request: next, key: b"page/1", lease: None, act }));
    assert!(slow.hears("the value", |message| matches!(message, ToClient::RegisterValue { .. })));
}

#[test]
fn limits_that_make_no_sense_are_refused_at_the_start_with_what_is_allowed() {
    for (limit, says) in [
        ("key_bytes_max = 0", "1 to 512"),
        ("key_bytes_max = 513", "1 to 512"),
        ("frame_bytes_max = 1", "1024 to"),
        ("keys_per_request_max = 0", "1 to 1024"),
        ("keys_per_request_max = 1025", "1 to 1024"),
        ("ttl_max = \"2h\"", "3600000ms"),
        ("rate_per_max = \"2h\"", "3600000ms"),
        ("sessions_max = 0", "1 to 1000000"),
        ("in_flight_per_session_max = 0", "1 to"),
        ("waiters_per_key_max = 0", "1 to"),
        ("outbound_bytes_max = 1", "4096 to"),
    ] {
        let folder = sidelock_e2e::folder();
        let file = folder.path().join("sidelock.toml");
        std::fs::write(&file, format!("[limits]\n{limit}\n")).expect("our folder");
        let command = Sidecar::command(&folder.path().join("s.sock"), &["--config", &file.to_string_lossy()]);
        let (code, said) = sidelock_e2e::process::run(command);
        assert_eq!(code, 2, "{limit}: {said}");
        let name = limit.split(' ').next().expect("a name");
        assert!(said.contains(name) && said.contains(says), "{limit}: {said}");
    }
}
