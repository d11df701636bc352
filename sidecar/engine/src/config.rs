//! What can be set about the engine, with the reason for each default.
//!
//! Owns names, units and defaults of the engine's limits. Must not know where the values came from.

use crate::model::Incarnation;
use crate::mutant::Mutant;
use std::time::Duration;

/// Settings of one engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// This life of this sidecar.
    pub incarnation: Incarnation,
    /// Time to live of a tenure: a sidecar's death costs its keys this long (L3). Renewed at a third of it.
    pub tenure_ttl: Duration,
    /// … but no longer than this, however many there are (P13): a strict store does not let it live longer (P20).
    pub tenure_ttl_max: Duration,
    /// How long an idle tenure is kept for the next local request (P11).
    pub retention: Duration,
    /// Idle tenures kept at most; beyond it one that served a single lease is given back at once.
    pub retained_max: usize,
    /// Local grants to the waiters present, once another sidecar is known to wait (`B` of P9).
    pub handoffs_max: u32,
    /// … and for how long at most (`T` of P9).
    pub handoff_time_max: Duration,
    /// While a tenure is re-used locally the store is contacted about it at least so often (P11). `None` where no other
    /// sidecar can exist: the memory store.
    pub contact_every: Option<Duration>,
    /// Waiters of one key; more are refused `queue_full`.
    pub waiters_per_key_max: u32,
    /// Acquires of one session that wait at a time; more are refused `too_many`.
    pub in_flight_per_session_max: u32,
    /// A deliberate bug, for the simulator; has no effect without the feature `mutants`.
    pub mutant: Option<Mutant>,
}

impl Config {
    /// Whether there may be other sidecars at the store.
    pub fn shares_its_store(&self) -> bool {
        self.contact_every.is_some()
    }

    /// The defaults, for this incarnation.
    pub fn new(incarnation: Incarnation) -> Config {
        Config {
            incarnation,
            tenure_ttl: Duration::from_secs(10),
            tenure_ttl_max: Duration::MAX,
            retention: Duration::from_secs(1),
            retained_max: 4096,
            handoffs_max: 32,
            handoff_time_max: Duration::from_millis(50),
            contact_every: Some(Duration::from_millis(50)),
            waiters_per_key_max: 100_000,
            in_flight_per_session_max: 4096,
            mutant: None,
        }
    }
}
