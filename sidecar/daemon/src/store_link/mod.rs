//! The driver's way to the store: calls go out, inputs come back.
//!
//! Owns which store it is. Must not know what a call means.

mod memory;

pub(crate) use memory::{HighWater, MemoryLink};

use sidelock_engine::store::Call;
use sidelock_engine::{Input, Time};

/// A store and the connection to it.
pub(crate) enum StoreLink {
    /// In this process: answers on the spot.
    Memory(MemoryLink),
}

impl StoreLink {
    /// Takes a call of this turn. What is known at once comes back at once, in order.
    pub(crate) fn send(&mut self, now: Time, call: Call) -> Vec<Input> {
        match self {
            StoreLink::Memory(link) => link.send(now, &call),
        }
    }

    /// The turn is over: what it gathered leaves as one batch.
    pub(crate) fn depart(&mut self) {
        match self {
            StoreLink::Memory(_) => {}
        }
    }

    /// The next news of the store, awaited. Dropping the future loses nothing.
    pub(crate) async fn news(&mut self) -> Input {
        match self {
            StoreLink::Memory(link) => link.news().await,
        }
    }

    /// More news, if there is some already.
    pub(crate) fn try_news(&mut self) -> Option<Input> {
        match self {
            StoreLink::Memory(_) => None,
        }
    }
}
