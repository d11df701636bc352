//! What the scenarios of a round share: a Redis, peers, and how long a measurement takes.
//!
//! Owns starting them. Must not know any scenario.

use crate::Outcome;
use crate::figures::Figures;
use crate::floor;
use crate::peers::foreign::Peers;
use crate::peers::redis_crate::Connection;
use sidelock_client::Client;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sidecar::Sidecar;
use std::path::PathBuf;
use std::time::Duration;

/// One round's surroundings.
pub(crate) struct Lab {
    /// A Redis of this round's own.
    pub(crate) redis: Redis,
    /// How long one measurement takes.
    pub(crate) span: Duration,
    /// Where plugins are that somebody built.
    pub(crate) plugins: PathBuf,
    /// Peers that are processes.
    pub(crate) foreign: Peers,
}

impl Lab {
    /// The floor, measured beside what is compared with it: `NAME.floor.p50`, `.p99` and `.rate`.
    pub(crate) async fn floor(&self, figures: &mut Figures, name: &str) -> Outcome {
        let mut floor = floor::ping_pong(self.span, Duration::ZERO).await?;
        figures.add(format!("{name}.floor.p50"), floor.micros(0.5));
        figures.add(format!("{name}.floor.p99"), floor.micros(0.99));
        figures.add(format!("{name}.floor.rate"), floor.count() as f64 / self.span.as_secs_f64());
        Ok(())
    }

    /// The `redis` crate, connected.
    pub(crate) async fn redis_crate(&self) -> Outcome<Connection> {
        Connection::open(&self.redis.url()).await
    }

    /// A sidecar that has reached this Redis, and a client of it.
    pub(crate) async fn sidecar(&self) -> Outcome<(Sidecar, Client)> {
        let sidecar = Sidecar::connected_to(&self.redis);
        let client = Client::connect(sidecar.socket()).await?;
        Ok((sidecar, client))
    }

    /// So many sidecars that have reached this Redis.
    pub(crate) fn fleet(&self, sidecars: usize) -> Vec<Sidecar> {
        (0..sidecars).map(|_| Sidecar::connected_to(&self.redis)).collect()
    }

    /// What Redis was asked so far.
    pub(crate) fn asked(&self) -> Asked {
        let stats = self.redis.command(&["INFO", "commandstats"]);
        let calls = |line: &str| line.split_once(":calls=")?.1.split(',').next()?.parse::<f64>().ok();
        let is_request = |line: &&str| line.starts_with("cmdstat_eval") || line.starts_with("cmdstat_ping");
        Asked {
            requests: stats.lines().filter(is_request).filter_map(calls).sum(),
            commands: self.redis.info("stats", "total_commands_processed") as f64,
        }
    }
}

/// What Redis was asked: requests on the wire by a sidecar, and commands run, those inside scripts included.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// Scripts called and pings.
    pub(crate) requests: f64,
    /// Commands run.
    pub(crate) commands: f64,
}

impl std::ops::Sub for Asked {
    type Output = Asked;
    fn sub(self, earlier: Asked) -> Asked {
        Asked { requests: self.requests - earlier.requests, commands: self.commands - earlier.commands }
    }
}
