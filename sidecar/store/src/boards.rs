//! What sidecars write down about themselves, and looks at records: all that changes no record.
//!
//! Owns the memory store's boards. Must not know what is on one. `scripts/board.lua` and `scripts/peek.lua` say the same.

use crate::record::Record;
use sidelock_engine::store::{PEEKED_MAX, Peeked, PeekedEntry, PeekedTenure, Publish, Reply};
use sidelock_engine::{Key, StoreTime};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
struct Board {
    version: u64,
    body: Arc<[u8]>,
    until: StoreTime,
}

/// The boards of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boards(HashMap<Key, Board>);

impl Boards {
    pub(crate) fn publish(&mut self, now: StoreTime, op: &Publish) -> Reply {
        if now > op.refuse_after {
            return Reply::TooLate;
        }
        let there = self.0.get(&op.board).filter(|board| board.until > now);
        if there.is_none_or(|board| board.version < op.version) {
            let board = Board { version: op.version, body: op.body.clone(), until: now + op.ttl };
            self.0.insert(op.board.clone(), board);
        }
        Reply::Published
    }

    pub(crate) fn read(&self, now: StoreTime, board: &Key) -> Reply {
        let there = self.0.get(board).filter(|board| board.until > now && !board.body.is_empty());
        Reply::Board(there.map(|board| board.body.clone()))
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What a record says at this instant.
pub(crate) fn peek(now: StoreTime, record: &Record) -> Peeked {
    let left = |until: StoreTime| Duration::from_millis(until.0.saturating_sub(now.0) / 1000);
    let tenures = record.tenures.iter().take(PEEKED_MAX).filter(|tenure| tenure.until > now);
    let tenures = tenures.map(|tenure| PeekedTenure {
        id: tenure.id,
        units: tenure.units,
        remaining: left(tenure.until),
    });
    let queue = record.queue.iter().take(PEEKED_MAX).filter(|entry| entry.until > now);
    let queue = queue.map(|entry| PeekedEntry { id: entry.id, units: entry.units, offered: entry.offered });
    Peeked { limit: record.limit, tenures: tenures.collect(), queue: queue.collect() }
}
