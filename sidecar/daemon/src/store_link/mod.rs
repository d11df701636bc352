//! The driver's way to the store: calls go out, inputs come back.
//!
//! Owns which store it is. Must not know what a call means.

mod memory;
#[cfg(feature = "redis")]
mod redis;

pub(crate) use memory::{HighWater, MemoryLink};
#[cfg(feature = "redis")]
pub(crate) use redis::{RedisLink, survey};

use crate::config::{Config, Guarantee, StoreKind};
use sidelock_engine::store::Call;
use sidelock_engine::{Input, Time, tenure_covering};
use sidelock_store::listing::Listing;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a tenure may live at a time, where the store is to be strict: nothing is granted for as long after a loss of data.
pub(crate) fn longest_tenure(config: &Config) -> Option<Duration> {
    let span = config.limits.ttl_max.max(config.limits.rate_per_max);
    let longest = config.tenure.ttl.max(tenure_covering(span));
    let strict = config.store() == StoreKind::Redis && config.redis.guarantee == Guarantee::Strict;
    strict.then_some(longest)
}

/// A store and the connection to it.
pub(crate) enum StoreLink {
    /// In this process: answers on the spot.
    Memory(MemoryLink),
    /// In Redis: answers later.
    #[cfg(feature = "redis")]
    Redis(RedisLink),
}

/// Whether a store can be set up with these settings. Connects to nothing.
#[cfg(feature = "redis")]
pub(crate) fn check(config: &Config) -> Result<(), String> {
    match config.store() {
        StoreKind::Memory => Ok(()),
        StoreKind::Redis => redis::check(config),
    }
}

/// Whether a store can be set up with these settings. Connects to nothing.
#[cfg(not(feature = "redis"))]
pub(crate) fn check(config: &Config) -> Result<(), String> {
    match config.store() {
        StoreKind::Memory => Ok(()),
        StoreKind::Redis => Err("this build has no Redis store".into()),
    }
}

impl StoreLink {
    /// Takes a call of this turn. What is known at once comes back at once, in order.
    pub(crate) fn send(&mut self, now: Time, call: Call) -> Vec<Input> {
        match self {
            StoreLink::Memory(link) => link.send(now, &call),
            #[cfg(feature = "redis")]
            StoreLink::Redis(link) => {
                link.send(call);
                Vec::new()
            }
        }
    }

    /// Lists what all sidecars hold and wait for, or says why it can not; the answer is dropped where the store is away. The
    /// memory store has one sidecar, which knows all of it.
    #[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "the memory store has one sidecar"))]
    pub(crate) fn list(&self, prefix: String, answer: oneshot::Sender<Result<Listing, String>>) {
        match self {
            // Who no longer waits needs no answer.
            StoreLink::Memory(_) => drop(answer.send(Ok(Listing::default()))),
            #[cfg(feature = "redis")]
            StoreLink::Redis(link) => link.list(prefix, answer),
        }
    }

    /// The turn is over: what it gathered leaves as one batch.
    pub(crate) fn depart(&mut self) {
        match self {
            StoreLink::Memory(_) => {}
            #[cfg(feature = "redis")]
            StoreLink::Redis(link) => link.depart(),
        }
    }

    /// Takes what may change in a life from new settings: credentials and certificates.
    #[cfg_attr(
        not(feature = "redis"),
        expect(unused_variables, reason = "the memory store has no credentials")
    )]
    pub(crate) fn reload(&mut self, config: &Config) {
        match self {
            StoreLink::Memory(_) => {}
            #[cfg(feature = "redis")]
            StoreLink::Redis(link) => link.reload(config),
        }
    }

    /// The next news of the store, awaited. Dropping the future loses nothing.
    pub(crate) async fn news(&mut self) -> Input {
        match self {
            StoreLink::Memory(link) => link.news().await,
            #[cfg(feature = "redis")]
            StoreLink::Redis(link) => link.news().await,
        }
    }

    /// More news, if there is some already.
    pub(crate) fn try_news(&mut self) -> Option<Input> {
        match self {
            StoreLink::Memory(_) => None,
            #[cfg(feature = "redis")]
            StoreLink::Redis(link) => link.try_news(),
        }
    }
}
