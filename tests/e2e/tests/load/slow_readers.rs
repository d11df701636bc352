//! A hundred clients that ask and never read.

use crate::figures::{Bystander, Memory, measured, percentile};
use sidelock_e2e::PATIENCE;
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::until;
use sidelock_e2e::sidecar::Sidecar;
use sidelock_wire::ToSidecar;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Clients that do not read.
const READERS: u64 = 100;
/// Bytes of answers that a client may leave unread, by default.
const OUTBOUND_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a pong.
const PONG_BYTES: u64 = 13;
/// Pings at a time.
const PINGS: u64 = 4_000;

#[test]
fn a_hundred_readers_that_do_not_read_cost_their_bound_and_keep_their_leases() {
    let sidecar = Sidecar::on_memory();
    let mut slow: Vec<Peer> = (0..READERS).map(|_| Peer::greeted(sidecar.socket())).collect();
    for (number, peer) in slow.iter_mut().enumerate() {
        assert_eq!(peer.acquires(try_lock(1, &format!("slow/{number}"))), "granted");
    }
    let memory = Memory::before(&sidecar);
    let over = AtomicBool::new(false);
    let mut samples = thread::scope(|scope| {
        let bystander = scope.spawn(|| {
            let mut bystander = Bystander::of(&sidecar, "beside slow readers");
            let mut samples = Vec::new();
            while !over.load(Ordering::Relaxed) {
                samples.push(bystander.takes_its_key());
                thread::sleep(std::time::Duration::from_millis(1));
            }
            samples
        });
        let mut pings = Vec::new();
        (0..PINGS).for_each(|_| ToSidecar::Ping.encode(&mut pings));
        // In turn, so that all of them come close to their bound before the first one exceeds it; in the end by far more
        // than that and what a socket takes.
        for _ in 0..2 * OUTBOUND_BYTES_MAX / PONG_BYTES / PINGS {
            slow.iter_mut().for_each(|peer| peer.bytes(&pings));
        }
        over.store(true, Ordering::Relaxed);
        bystander.join().expect("the bystander is served to the end")
    });
    let grown_kib = memory.most(&sidecar);
    measured(
        format_args!("memory of {READERS} clients that do not read, at most"),
        format_args!("{} KiB each", grown_kib / READERS),
    );
    let bound_kib = READERS * 2 * OUTBOUND_BYTES_MAX / 1024;
    assert!(grown_kib < bound_kib, "{grown_kib} KiB are more than their bounds together");
    measured(
        "an acquire beside them, p50 and p99",
        format_args!("{:?} {:?}", percentile(&mut samples, 50), percentile(&mut samples, 99)),
    );

    let mut other = Peer::greeted(sidecar.socket());
    for number in 0..READERS {
        let key = format!("slow/{number}");
        assert_eq!(other.acquires(try_lock(number, &key)), "held", "until the deadline that was told");
    }
    for mut peer in slow {
        assert!(!peer.hears("the end", |_| false), "each of them is cut off");
    }
    until(PATIENCE, "their leases end", || (sidecar.get("/v1/info").json()["leases"] == 0).then_some(()));
    memory.comes_back(&sidecar, "the clients that did not read");
}
