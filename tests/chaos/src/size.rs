//! How a fleet is made.
//!
//! Owns its dimensions, and the settings that its sidecars read. Must not start anything.

use crate::store::Shape;
use std::time::Duration;

/// How a fleet is made.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Sidecars.
    pub sidecars: usize,
    /// Clients, spread evenly over them.
    pub clients: usize,
    /// Time to live of a tenure.
    pub tenure_ttl: Duration,
    /// What they share.
    pub shape: Shape,
    /// Every sidecar has a namespace of its own, and so nobody arbitrates between them. To see that this shows.
    pub divided: bool,
    /// Redis loses no lease when it loses its data.
    pub strict: bool,
    /// What the clients' dice begin with.
    pub seed: u64,
}

impl Size {
    /// What sidecars read.
    pub fn settings(&self) -> String {
        let ttl = self.tenure_ttl.as_millis();
        // The longest lease that anybody may ask for is what a quarantine waits for.
        let strict = format!(
            "[redis]\nguarantee = \"strict\"\n[limits]\nttl_max = \"{ttl}ms\"\nrate_per_max = \"{ttl}ms\"\n"
        );
        format!("[tenure]\nttl = \"{ttl}ms\"\n{}", if self.strict { &strict } else { "" })
    }
}
