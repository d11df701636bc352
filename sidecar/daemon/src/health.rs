//! How the sidecar is, as values: started, store reachable, draining.
//!
//! Owns the flags and what the probes conclude from them. Must not know who asks or how it is written.

use std::cell::Cell;

/// The flags. Set by the driver, read by probes.
#[derive(Debug, Default)]
pub(crate) struct Health {
    started: Cell<bool>,
    store_up: Cell<bool>,
    draining: Cell<bool>,
}

/// A probe's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// `/livez`: the process turns. A store that is away is no reason to restart a sidecar: its leases would go with it.
    Live,
    /// `/readyz`: it takes requests. Without its store too: it answers `store_unavailable` itself, and taking it out of
    /// service would cut its clients off from their leases.
    Ready,
    /// `/readyz/store`: it can grant.
    ReadyStore,
    /// `/startupz`: it listens.
    Startup,
}

impl Health {
    /// The answer, and the word for people.
    pub(crate) fn probe(&self, probe: Probe) -> (bool, &'static str) {
        match probe {
            Probe::Live => (true, "live"),
            _ if !self.started.get() => (false, "starting"),
            Probe::Startup => (true, "started"),
            _ if self.draining.get() => (false, "draining"),
            Probe::Ready => (true, "ready"),
            Probe::ReadyStore if self.store_up.get() => (true, "ready"),
            Probe::ReadyStore => (false, "store_unavailable"),
        }
    }

    /// Whether the store can be talked to.
    pub(crate) fn store_up(&self) -> bool {
        self.store_up.get()
    }

    /// Whether the sidecar is going.
    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    pub(crate) fn set_started(&self) {
        self.started.set(true);
    }

    pub(crate) fn set_store_up(&self, up: bool) {
        self.store_up.set(up);
    }

    pub(crate) fn set_draining(&self) {
        self.draining.set(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_tell_starting_away_and_going_apart() {
        let health = Health::default();
        assert_eq!(health.probe(Probe::Live), (true, "live"));
        assert_eq!(health.probe(Probe::Startup), (false, "starting"));
        assert_eq!(health.probe(Probe::Ready), (false, "starting"));
        health.set_started();
        assert_eq!(health.probe(Probe::Startup), (true, "started"));
        assert_eq!(health.probe(Probe::Ready), (true, "ready"));
        assert_eq!(health.probe(Probe::ReadyStore), (false, "store_unavailable"));
        health.set_store_up(true);
        assert_eq!(health.probe(Probe::ReadyStore), (true, "ready"));
        health.set_draining();
        assert_eq!(health.probe(Probe::Ready), (false, "draining"));
        assert_eq!(health.probe(Probe::Live), (true, "live"), "draining is no reason to be killed");
    }
}
