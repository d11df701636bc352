//! A million keys, each used once.

use crate::crowd::key;
use crate::figures::{Memory, count, measured, rate, sized};
use sidelock_e2e::PATIENCE;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::until;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{LeaseName, ToClient, ToSidecar};
use std::time::Instant;

/// Keys taken at a time.
const AT_A_TIME: u64 = 512;

/// Takes and releases so many keys, each once.
fn churn(sidecar: &Sidecar, keys: u64) {
    let mut peer = Peer::greeted(sidecar.socket());
    for start in (0..keys).step_by(AT_A_TIME as usize) {
        let some = start..keys.min(start + AT_A_TIME);
        peer.batches(
            some.clone(),
            |number, bytes| ToSidecar::Acquire(try_lock(number, &key(number))).encode(bytes),
            |said| match said {
                ToClient::Granted(_) => true,
                ToClient::Refused(no) => panic!("a fresh key is refused: {no:?}"),
                _ => false,
            },
        );
        peer.batches(
            some,
            |number, bytes| {
                let lease = LeaseName::Session(number);
                ToSidecar::Release { request: keys + number, lease }.encode(bytes);
            },
            |said| matches!(said, ToClient::Released { .. }),
        );
    }
}

#[test]
fn a_million_keys_used_once_leave_nothing_on_the_memory_store() {
    let keys = sized(1_000_000, 1_000_000);
    let sidecar = Sidecar::on_memory();
    churn(&sidecar, 1_000);
    let memory = Memory::before(&sidecar);
    let start = Instant::now();
    churn(&sidecar, keys);
    measured("keys used once, memory store", rate(keys, start.elapsed()));
    until(PATIENCE, "no key is left", || (count(&sidecar, "keys") == 0).then_some(()));
    memory.comes_back(&sidecar, "the keys used once");
}

#[test]
fn a_million_keys_used_once_leave_nothing_on_redis() {
    let keys = sized(1_000_000, 200_000);
    let redis = Redis::start();
    let sidecar = Sidecar::connected_to(&redis);
    churn(&sidecar, 1_000);
    let memory = Memory::before(&sidecar);
    let used_before = redis.info("memory", "used_memory");
    let start = Instant::now();
    churn(&sidecar, keys);
    measured("keys used once, Redis", rate(keys, start.elapsed()));
    until(PATIENCE, "no key is left here", || (count(&sidecar, "keys") == 0).then_some(()));
    until(PATIENCE, "no key is left at Redis", || (redis.command(&["DBSIZE"]) == "0").then_some(()));
    let left = redis.info("memory", "used_memory").saturating_sub(used_before);
    measured("memory left at Redis of the keys used once", format_args!("{} KiB", left / 1024));
    assert!(left < 4 << 20, "{left} bytes are left at Redis");
    memory.comes_back(&sidecar, "the keys used once on Redis");
}
