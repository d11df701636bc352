//! A Redis Cluster: one link to each primary, and a router above them.
//!
//! Owns the nodes that the settings name, and how all of them are reached. What there is of links stands in `router.rs`, where a
//! call goes in `routes.rs`; what a link does, it does here as on a single server. Must not know what calls mean.

pub(super) mod slots;
mod routes;
pub(super) mod topology;
mod inbox;
mod look;
mod listing;
mod fitness;
pub(super) mod survey;
mod router;

pub(super) use router::run;

use super::address::{self, Address};
use super::connect::Connector;
use super::dial::{Dialer, Wire};
use super::{RedisConfig, RedisConfigError};
use std::sync::Arc;

/// Seeds, and how nodes are reached.
pub(super) struct Cluster {
    seeds: Vec<Address>,
    dialer: Arc<Dialer>,
}

impl Cluster {
    /// Connects to nothing.
    pub(super) fn new(config: &RedisConfig) -> Result<Cluster, RedisConfigError> {
        let read: Vec<_> = config.urls.iter().map(|url| address::read(url)).collect::<Result<_, _>>()?;
        let Some((_, settings)) = read.first().cloned() else {
            return Err(RedisConfigError::Addresses("those of some nodes are needed in mode cluster"));
        };
        // A cluster has no other database.
        let dialer = Dialer::new(settings.set_db(0), config.access.clone(), config.connect_timeout);
        let seeds: Vec<Address> = read.into_iter().map(|(address, _)| address).collect();
        match config.access.tls.first_named() {
            Some(setting) if !seeds.iter().any(Address::has_tls) => {
                return Err(RedisConfigError::NoTls { setting });
            }
            _ => {}
        }
        for seed in &seeds {
            dialer.check(seed).map_err(RedisConfigError::Access)?;
        }
        Ok(Cluster { seeds, dialer: Arc::new(dialer) })
    }

    /// A connection for looking around, to the first of the seeds that answers; and which that is.
    async fn visit(&self, config: &RedisConfig) -> Result<(Wire, &Address), String> {
        let mut failures = Vec::new();
        for seed in &self.seeds {
            match self.visit_node(seed, config).await {
                Ok(line) => return Ok((line, seed)),
                Err(why) => failures.push(why),
            }
        }
        Err(failures.join("; "))
    }

    /// The same to this node.
    async fn visit_node(&self, node: &Address, config: &RedisConfig) -> Result<Wire, String> {
        Connector::of_node(node.clone(), self.dialer.clone(), config).visit().await
    }
}
