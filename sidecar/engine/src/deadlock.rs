//! Deadlocks among the owners of this sidecar (P14).
//!
//! Owns when they are looked for, and what becomes of the one that is told. Must not know other sidecars, nor how a graph
//! is searched.

use crate::cycle::{Cycle, Edge};
use crate::effect::Refusal;
use crate::engine::Engine;
use crate::input::Acquire;
use crate::model::{Mode, Time};
use crate::owners::OwnerNo;
use std::sync::Arc;
use std::time::Duration;

impl Engine {
    /// An owner that holds what stands in its own way would wait for itself: it is told at once.
    pub(crate) fn refuse_nested(
        &self,
        now: Time,
        owner: OwnerNo,
        resource: usize,
        acquire: &Acquire,
    ) -> Result<(), Refusal> {
        let own = self.owners.get(owner).leases.iter().map(|&lease| &self.leases[lease]);
        let own = own.filter(|lease| lease.resource == resource);
        let mut permits = 0;
        let mut in_the_way = None;
        for lease in own {
            let fits = match (acquire.mode, lease.mode) {
                (Mode::Permits { permits: wanted, limit }, Mode::Permits { permits: held, .. }) => {
                    permits += held;
                    u64::from(permits) + u64::from(wanted) <= u64::from(limit)
                }
                (wanted, held) => wanted == Mode::Shared && held == Mode::Shared,
            };
            if !fits {
                in_the_way = Some(lease);
            }
        }
        let Some(lease) = in_the_way else { return Ok(()) };
        if acquire.wait == Some(Duration::ZERO) {
            return Err(Refusal::Held);
        }
        if !acquire.find_deadlocks {
            return Ok(());
        }
        let edge = Edge {
            key: acquire.key.clone(),
            mode: acquire.mode,
            owner: self.owners.name(owner).0.clone(),
            app: self.app_of(acquire.session),
            sidecar: self.config.incarnation,
            waiting_for: Duration::ZERO,
            held_for: Some(now.since(lease.since)),
        };
        Err(Refusal::Deadlock(Arc::new(Cycle { edges: vec![edge] })))
    }

    /// What the client of a session calls itself; empty once the session is over.
    pub(crate) fn app_of(&self, session: crate::SessionId) -> Arc<str> {
        self.sessions.get(&session).map_or_else(|| "".into(), |session| session.app.clone())
    }
}
