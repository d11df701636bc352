//! A sidecar put together: store, engine, driver, doors.
//!
//! Owns the order in which the parts are made. Must not know any part's rules.

use crate::config::{Config, StoreKind};
use crate::driver::Driver;
use crate::frames::FrameDoor;
use crate::gate::Gate;
use crate::handle::Handle;
use crate::health::Health;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::observe::Observer;
use crate::policies::{Desk, Policies};
use crate::rules::InForce;
use crate::store_link::{HighWater, MemoryLink, StoreLink, longest_tenure};
use crate::watch::WATCH_LAG_MAX;
use sidelock_engine::{self as engine, Engine};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, spawn_local};

/// The parts that doors are built on. The driver runs as a task of the runtime it was made on, until every handle is gone.
pub(crate) struct Sidecar {
    /// The driver's mailbox.
    pub(crate) handle: Handle,
    /// What applies to requests; SIGHUP replaces it.
    pub(crate) in_force: InForce,
    /// For the HTTP door.
    pub(crate) metrics: Rc<Metrics>,
    /// Those in force; none so far.
    pub(crate) policies: Rc<Policies>,
    /// Ends only by a bug: as long as the sidecar serves, somebody has a handle.
    pub(crate) driver: JoinHandle<()>,
    /// For the frame door.
    resume_within: Duration,
}

/// Where the store is.
pub(crate) enum Home {
    /// In a program: for that program alone.
    Embedded,
    /// On a host: the memory store keeps its mark here, if it can.
    Host(Option<HighWater>),
}

impl Sidecar {
    /// Starts the driver. The sidecar serves from here on; the store may be away.
    pub(crate) fn start(config: &Config, home: Home) -> Result<Sidecar, String> {
        let identity =
            Rc::new(Identity::new(config.store(), &config.namespace, matches!(home, Home::Embedded)));
        let metrics = Rc::new(Metrics::new(&identity));
        let in_force = InForce::new(config);
        let health = Rc::new(Health::default());
        let (events, _) = broadcast::channel(WATCH_LAG_MAX);
        let gate = Gate::new(in_force.clone(), identity.clone(), metrics.clone());
        let policies = Rc::new(Policies::new(metrics.clone(), &identity));
        let (handle, mail) = Handle::new(gate.clone(), events.clone(), health.clone(), policies.clone());
        let store = connect(config, &identity, home, &metrics)?;
        let desk = Desk::new(policies.clone(), gate.clone());
        let observer = Observer::new(metrics.clone(), in_force.clone(), events, policies.clone());
        let engine = Engine::new(engine_config(config, &identity));
        let driver = spawn_local(Driver::new(engine, mail, store, desk, observer, health).run());
        Ok(Sidecar { handle, in_force, metrics, policies, driver, resume_within: config.tenure.ttl })
    }

    /// A door for frames.
    pub(crate) fn frames(&self) -> FrameDoor {
        FrameDoor::new(self.handle.clone(), self.resume_within)
    }
}

#[cfg_attr(
    not(feature = "redis"),
    expect(unused_variables, reason = "the memory store has nothing to measure")
)]
fn connect(config: &Config, identity: &Identity, home: Home, metrics: &Metrics) -> Result<StoreLink, String> {
    match (config.store(), home) {
        (StoreKind::Memory, Home::Embedded) => {
            Ok(StoreLink::Memory(MemoryLink::new(identity.incarnation, None)))
        }
        (StoreKind::Memory, Home::Host(mark)) => {
            Ok(StoreLink::Memory(MemoryLink::new(identity.incarnation, mark)))
        }
        #[cfg(feature = "redis")]
        (StoreKind::Redis, _) => {
            let link = crate::store_link::RedisLink::start(config, identity, metrics.store())?;
            Ok(StoreLink::Redis(link))
        }
        #[cfg(not(feature = "redis"))]
        (StoreKind::Redis, _) => Err("this build has no Redis store".into()),
    }
}

fn engine_config(config: &Config, identity: &Identity) -> engine::Config {
    let defaults = engine::Config::new(identity.incarnation);
    engine::Config {
        tenure_ttl: config.tenure.ttl,
        tenure_ttl_max: longest_tenure(config).unwrap_or(defaults.tenure_ttl_max),
        retention: config.tenure.retention,
        handoffs_max: config.tenure.handoffs_max,
        handoff_time_max: config.tenure.handoff_time_max,
        // No other sidecar can wait for what is in our own memory.
        contact_every: defaults.contact_every.filter(|_| identity.store != StoreKind::Memory),
        waiters_per_key_max: config.limits.waiters_per_key_max,
        in_flight_per_session_max: config.limits.in_flight_per_session_max,
        ..defaults
    }
}
