//! Clients that disturb, by right or by wrong: foreign users, floods, too many connections. The others must not notice.

use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::{Process, run, until};
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::{Sidecar, binary};
use sidelock_e2e::{PATIENCE, folder, http};
use sidelock_wire::{Acquire, LeaseName, ToClient, ToSidecar};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Promised from Redis being there again to the next grant (L6).
const STORE_BACK_WITHIN: Duration = Duration::from_secs(2);
/// `nobody` on Debian.
const FOREIGN_UID: &str = "65534";

/// `curl` as this user; needs root.
fn curl_as(uid: &str, socket: &Path, arguments: &[&str]) -> String {
    let mut curl = Command::new("setpriv");
    curl.args(["--reuid", uid, "--regid", uid, "--clear-groups", "curl", "--silent", "--unix-socket"]);
    curl.arg(socket).args(arguments);
    run(curl).1
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_foreign_user_is_refused_and_told_how_to_change_that_and_cannot_touch_others_leases() {
    if !is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let place = folder();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).expect("our folder");
    let socket = place.path().join("s.sock");
    let strict = Sidecar::at(&socket, &["--store", "memory"]);
    let answer = curl_as(FOREIGN_UID, &socket, &["-X", "POST", "http://sidelock/v1/locks/k"]);
    assert!(answer.contains("peer_refused") && answer.contains("--allow-uid 65534"), "{answer}");
    assert_eq!(strict.get("/v1/info").json()["leases"], 0);
    drop(strict);

    let open = Sidecar::at(&socket, &["--store", "memory", "--allow-uid", "0", FOREIGN_UID]);
    let lease = open.lock("k", "");
    let path = format!("http://sidelock/v1/leases/{}", lease["lease"].as_str().expect("a lease has an id"));
    let answer = curl_as(FOREIGN_UID, &socket, &["-X", "DELETE", &path]);
    assert!(answer.contains("not_held"), "knowing the id is not enough: {answer}");
    let answer = curl_as(FOREIGN_UID, &socket, &["-X", "PUT", "-d", r#"{"ttl":"1s"}"#, &path]);
    assert!(answer.contains("not_held"), "{answer}");
    open.unlock(&lease);
}

#[test]
fn a_session_cannot_release_what_another_session_holds() {
    let sidecar = Sidecar::on_memory();
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(7, "k")), "granted");
    let mut thief = Peer::greeted(sidecar.socket());
    thief.say(&ToSidecar::Release { request: 1, lease: LeaseName::Session(7) });
    assert!(thief.hears("a refusal", |message| matches!(message, ToClient::Refused(_))));
    assert_eq!(thief.acquires(try_lock(2, "k")), "held");
}

/// A newcomer that has a hundred keys below this one, and how long it took to take them.
fn newcomer(sidecar: &Sidecar, key: &str) -> (Peer, Duration) {
    let start = Instant::now();
    let mut peer = Peer::greeted(sidecar.socket());
    for request in 0..100 {
        assert_eq!(peer.acquires(try_lock(request, &format!("{key}/{request}"))), "granted");
    }
    (peer, start.elapsed())
}

#[test]
fn a_flood_meets_its_limit_and_others_are_served_meanwhile() {
    let sidecar = Sidecar::on_memory();
    let (_earlier, calm) = newcomer(&sidecar, "earlier");
    let mut flood = Peer::greeted(sidecar.socket());
    assert_eq!(flood.acquires(try_lock(0, "k")), "granted");
    for request in 1..=5_000 {
        flood.say(&ToSidecar::Acquire(Acquire { wait: None, ..try_lock(request, "k") }));
    }
    let (_bystander, took) = newcomer(&sidecar, "other");
    // A machine that is slow just then is so without a flood, too.
    let allowed = Duration::from_secs(2).max(calm * 20);
    assert!(took < allowed, "a hundred requests took {took:?}, and {calm:?} before");
    let mut refused = String::new();
    flood.hears("that it is too much", |message| {
        if let ToClient::Refused(no) = message {
            refused = no.code.name().to_owned();
        }
        !refused.is_empty()
    });
    assert_eq!(refused, "too_many");
    drop(flood);
    // All 4095 waiters and the lease go with their session.
    until(Duration::from_secs(5), "the flood is gone", || {
        let info = sidecar.get("/v1/info").json();
        (info["waiters"] == 0 && info["leases"] == 200).then_some(())
    });
}

/// Waiters that a key may have, by default.
const WAITERS_PER_KEY_MAX: u64 = 100_000;
/// Waiting acquires of each of the sessions that make them, below what a session may have.
const WAITERS_PER_SESSION: u64 = 4_000;

#[test]
fn a_hundred_thousand_waiters_are_bounded_cheap_and_forgotten() {
    let sidecar = Sidecar::on_memory();
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    let before_kib = sidecar.resident_kib();

    let mut asks = Vec::new();
    for request in 0..WAITERS_PER_SESSION {
        ToSidecar::Acquire(Acquire { wait: None, ..try_lock(request, "k") }).encode(&mut asks);
    }
    let crowd: Vec<_> = (0..WAITERS_PER_KEY_MAX / WAITERS_PER_SESSION)
        .map(|_| {
            let mut peer = Peer::greeted(sidecar.socket());
            peer.bytes(&asks);
            peer
        })
        .collect();
    let waiters = || sidecar.get("/v1/info").json()["waiters"].as_u64();
    until(PATIENCE, "everybody waits", || (waiters() == Some(WAITERS_PER_KEY_MAX)).then_some(()));
    let grown_kib = sidecar.resident_kib() - before_kib;
    assert!(grown_kib < 100 * 1024, "a waiter costs {} bytes", grown_kib * 1024 / WAITERS_PER_KEY_MAX);

    let mut late = Peer::greeted(sidecar.socket());
    assert_eq!(late.acquires(Acquire { wait: None, ..try_lock(1, "k") }), "queue_full");
    drop(crowd);
    until(PATIENCE, "nobody waits", || (waiters() == Some(0)).then_some(()));
    holder.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
    until(PATIENCE, "the key is free", || (late.acquires(next_try()) == "granted").then_some(()));
    // A sidecar looks every second whether memory is worth giving back.
    until(Duration::from_secs(5), "memory is given back", || {
        (sidecar.resident_kib().saturating_sub(before_kib) < 16 * 1024).then_some(())
    });
}

/// A try under a number that was not used before.
fn next_try() -> Acquire<'static> {
    static NUMBER: AtomicU64 = AtomicU64::new(100);
    try_lock(NUMBER.fetch_add(1, Ordering::Relaxed), "k")
}

/// Serves at this socket with these flags and few descriptors.
fn short_of_descriptors(socket: &Path, flags: &str) -> Process {
    let mut command = Command::new("sh");
    let serve =
        format!("ulimit -n 64; exec {} serve {flags} --socket {}", binary().display(), socket.display());
    command.args(["-c", &serve]);
    let sidecar = Process::spawn(command);
    sidecar.line("that it serves", |line| line.starts_with("sidelock serves at"));
    sidecar
}

#[test]
fn no_descriptors_left_hurts_nobody_who_is_in_and_does_not_spin() {
    let place = folder();
    let socket = place.path().join("s.sock");
    let sidecar = short_of_descriptors(&socket, "--store memory");
    sidecar.line("how low the limit is", |line| line.contains("raise it"));
    let mut insider = Peer::greeted(&socket);
    let crowd: Vec<_> = (0..100).map_while(|_| UnixStream::connect(&socket).ok()).collect();
    assert!(crowd.len() > 64, "more connections than descriptors: {}", crowd.len());

    let before = sidecar.processor_time();
    for request in 0..100 {
        assert_eq!(insider.acquires(try_lock(request, &format!("k/{request}"))), "granted");
        std::thread::sleep(Duration::from_millis(10));
    }
    let spent = sidecar.processor_time() - before;
    assert!(spent < Duration::from_millis(500), "a second of little work cost {spent:?}");
    drop(crowd);
    until(Duration::from_secs(5), "newcomers are served again", || {
        (http::request(&socket, "GET", "/livez", "").status == 200).then_some(())
    });
}

#[test]
fn a_connection_to_redis_comes_back_while_clients_hold_all_other_descriptors() {
    let place = folder();
    let socket = place.path().join("s.sock");
    let redis = Redis::start();
    let _sidecar = short_of_descriptors(&socket, &format!("--redis {}", redis.url()));
    let mut insider = Peer::greeted(&socket);
    let mut requests = 0..;
    let mut is_granted = || {
        let request = requests.next().expect("numbers do not end");
        (insider.acquires(try_lock(request, &format!("k/{request}"))) == "granted").then_some(())
    };
    until(PATIENCE, "Redis is reached", &mut is_granted);
    let mut crowd: Vec<Peer> = std::iter::from_fn(|| Peer::admitted(&socket).ok()).collect();
    assert!(crowd.len() >= 20, "only {} clients found a place", crowd.len());

    for _ in 0..5 {
        // The descriptors of these are free for a moment: newcomers are quicker than the store.
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        crowd.extend(std::iter::from_fn(|| Peer::admitted(&socket).ok()));
        until(STORE_BACK_WITHIN, "grants resume", &mut is_granted);
    }
    for (number, peer) in crowd.iter_mut().enumerate() {
        assert_eq!(peer.acquires(try_lock(1, &format!("crowd/{number}"))), "granted", "all are still there");
    }
}
