//! A hundred thousand waiters on one key.

use crate::figures::{Memory, count, measured, rate};
use sidelock_e2e::PATIENCE;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::until;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::{Acquire, LeaseName, ToClient, ToSidecar};
use std::time::Instant;

/// Waiters that a key may have, by default.
const WAITERS: u64 = 100_000;
/// Of each session, below what a session may have under way.
const EACH: u64 = 4_000;
/// What a waiter may cost.
const BYTES_MAX: u64 = 300;

/// So many sessions queue, one after the other, so that the order of their waiters is known.
fn queue(sidecar: &Sidecar) -> Vec<Peer> {
    let sessions = (0..WAITERS / EACH).map(|_| {
        let mut peer = Peer::greeted(sidecar.socket());
        let mut asks = Vec::new();
        for request in 0..EACH {
            let notify_queued = request == EACH - 1;
            let ask = Acquire { wait: None, notify_queued, ..try_lock(request, "k") };
            ToSidecar::Acquire(ask).encode(&mut asks);
        }
        peer.bytes(&asks);
        assert!(peer.hears("that the last one queues", |said| matches!(said, ToClient::Queued { .. })));
        peer
    });
    sessions.collect()
}

#[test]
fn a_hundred_thousand_waiters_are_cheap_cancelled_at_once_and_served_in_order() {
    let sidecar = Sidecar::on_memory();
    let mut holder = Peer::greeted(sidecar.socket());
    assert_eq!(holder.acquires(try_lock(1, "k")), "granted");
    let memory = Memory::before(&sidecar);

    let start = Instant::now();
    let mut crowd = queue(&sidecar);
    measured("queueing on one key", rate(WAITERS, start.elapsed()));
    assert_eq!(count(&sidecar, "waiters"), WAITERS);
    memory.each_costs(&sidecar, "a waiter", WAITERS, BYTES_MAX);

    let start = Instant::now();
    for peer in &mut crowd {
        peer.batches(
            0..EACH,
            |request, bytes| ToSidecar::Cancel { request }.encode(bytes),
            |message| matches!(message, ToClient::Cancelled { .. }),
        );
    }
    measured("cancelling waiters of one key", rate(WAITERS, start.elapsed()));
    assert_eq!(count(&sidecar, "waiters"), 0);
    drop(crowd);
    memory.comes_back(&sidecar, "the cancelled waiters");

    let mut crowd = queue(&sidecar);
    let start = Instant::now();
    holder.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
    let mut last_fence = 0;
    for peer in &mut crowd {
        for request in 0..EACH {
            assert!(peer.hears("its grant", |message| match message {
                ToClient::Granted(grant) => {
                    assert_eq!(grant.request, request, "who came first is served first");
                    assert!(grant.fence > last_fence, "fences rise");
                    last_fence = grant.fence;
                    true
                }
                _ => false,
            }));
            peer.say(&ToSidecar::Release { request: EACH + request, lease: LeaseName::Session(request) });
        }
    }
    measured("grants through the queue, each released before the next", rate(WAITERS, start.elapsed()));
    until(PATIENCE, "nobody waits", || (count(&sidecar, "waiters") == 0).then_some(()));
    drop(crowd);
    memory.comes_back(&sidecar, "the served waiters");
}
