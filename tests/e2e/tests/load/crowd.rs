//! Many sessions that ask for many things.
//!
//! Owns who asks for what. Must not know what it costs.

use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_wire::{Acquire, ToClient, ToSidecar};
use std::path::Path;

/// What each session asks for, below what a session may have under way.
const EACH: u64 = 4_000;

/// Sessions, each with as many leases as it asked for. Dropping it is their death.
pub(crate) struct Crowd(#[expect(dead_code, reason = "they hold until they are dropped")] Vec<Peer>);

impl Crowd {
    /// `count` leases, each of a key of its own.
    pub(crate) fn holding(socket: &Path, count: u64) -> Crowd {
        let starts = (0..count).step_by(usize::try_from(EACH).expect("fits"));
        let peers = starts.map(|start| {
            let mut peer = Peer::greeted(socket);
            peer.batches(
                start..count.min(start + EACH),
                |number, bytes| {
                    let key = key(number);
                    ToSidecar::Acquire(Acquire { wait: None, ..try_lock(number, &key) }).encode(bytes);
                },
                |message| match message {
                    ToClient::Granted(_) => true,
                    ToClient::Refused(no) => panic!("{no:?}"),
                    _ => false,
                },
            );
            peer
        });
        Crowd(peers.collect())
    }
}

/// The name of the key of this number, as long as keys usually are.
pub(crate) fn key(number: u64) -> String {
    format!("orders/{number:09}")
}
