//! Ten thousand clients at a time, and one more.

use crate::figures::{Memory, measured, rate};
use rustix::process::{Resource, getrlimit, setrlimit};
use sidelock_e2e::PATIENCE;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::until;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::LeaseName;
use sidelock_wire::{ToClient, ToSidecar};
use std::time::Instant;

/// What a sidecar admits by default.
const SESSIONS_MAX: u64 = 10_000;
/// Descriptors that this test needs besides.
const OWN_DESCRIPTORS: u64 = 100;
/// What a connection may cost; measured were 4 thousand bytes. The goal is 8 KiB.
const BYTES_MAX: u64 = 5_000;

/// Raises our limit of open files as far as it goes; how many clients we can be.
fn room() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit can be raised to its maximum");
    limit.current.map_or(SESSIONS_MAX, |limit| limit - OWN_DESCRIPTORS)
}

#[test]
fn ten_thousand_connections_are_served_and_cheap_and_one_more_is_told_so() {
    // Fewer only where the machine forbids ten thousand; the figures say how many it were.
    let count = room().min(SESSIONS_MAX);
    let sidecar = Sidecar::configured(&format!("limits.sessions_max = {count}"), &["--store", "memory"]);
    drop(Peer::greeted(sidecar.socket()));
    let memory = Memory::before(&sidecar);

    let start = Instant::now();
    let mut peers: Vec<Peer> = Vec::new();
    for number in 0..count {
        let greeted = until(PATIENCE, "there is room", || Peer::admitted(sidecar.socket()).ok()).0;
        peers.push(greeted);
        assert_eq!(peers.len() as u64, number + 1);
    }
    measured(format_args!("{count} clients connect"), rate(count, start.elapsed()));
    memory.each_costs(&sidecar, "a connection that was greeted", count, BYTES_MAX);

    let start = Instant::now();
    for (number, peer) in peers.iter_mut().enumerate() {
        assert_eq!(peer.acquires(try_lock(1, &format!("k/{number}"))), "granted");
        peer.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
        assert!(peer.hears("a release", |message| matches!(message, ToClient::Released { .. })));
    }
    measured(
        format_args!("an acquire and a release of each of {count} clients"),
        rate(count, start.elapsed()),
    );
    memory.each_costs(&sidecar, "a connection that was served", count, BYTES_MAX);

    let (code, message) = Peer::admitted(sidecar.socket()).err().expect("one more is one too many");
    assert_eq!(code, "too_many");
    assert!(message.contains("sessions_max"), "{message}");
    let answer = sidecar.get("/livez");
    assert_eq!((answer.status, answer.code().as_str()), (429, "too_many"), "{answer:?}");

    let start = Instant::now();
    drop(peers);
    until(PATIENCE, "there is room again", || (sidecar.get("/livez").status == 200).then_some(()));
    until(PATIENCE, "all are gone", || {
        let sessions = sidecar.get("/v1/info").json()["sessions"].as_u64();
        // The one that asks is a session too.
        (sessions <= Some(1)).then_some(())
    });
    measured(format_args!("{count} clients leave"), format_args!("{:?}", start.elapsed()));
    memory.comes_back(&sidecar, "the connections");
}
