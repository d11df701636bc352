//! What the sidecars of a round share: a Redis, or several that stand in for one.
//!
//! Owns which shapes there are, and what can be asked of whichever server keeps the records. Must not know what is plagued.

use sidelock_e2e::redis::Redis;
use sidelock_e2e::sentinel::Ensemble;

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A Redis, which writes everything to disk before it answers if it is durable.
    Single {
        /// Whether it is.
        durable: bool,
    },
    /// A Redis with replicas, and sentinels.
    Watched,
}

/// It, as it runs.
pub enum Store {
    /// See [`Shape::Single`].
    Single(Redis),
    /// See [`Shape::Watched`].
    Watched(Ensemble),
}

impl Store {
    /// Starts it.
    pub fn start(shape: Shape) -> Store {
        match shape {
            Shape::Single { durable: true } => Store::Single(Redis::durable()),
            Shape::Single { durable: false } => Store::Single(Redis::start()),
            Shape::Watched => Store::Watched(Ensemble::start()),
        }
    }

    /// The one Redis, if it is one.
    pub fn single(&self) -> Option<&Redis> {
        match self {
            Store::Single(redis) => Some(redis),
            Store::Watched(_) => None,
        }
    }

    /// The same, to be struck.
    ///
    /// # Panics
    /// If there are several.
    pub fn single_mut(&mut self) -> &mut Redis {
        match self {
            Store::Single(redis) => redis,
            Store::Watched(_) => panic!("there is no such trouble where Redis has replicas"),
        }
    }

    /// Sends a command to each server that keeps records; the answers.
    ///
    /// # Panics
    /// If one is away, or answers an error.
    pub fn command(&self, words: &[&str]) -> Vec<String> {
        match self {
            Store::Single(redis) => vec![redis.command(words)],
            Store::Watched(ensemble) => vec![ensemble.await_primary().command(words)],
        }
    }
}
