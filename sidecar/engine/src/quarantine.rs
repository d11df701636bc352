//! What a strict store's quarantine means for this sidecar (P20).
//!
//! Owns the way of waiters and of live tenures through it. Must not know how long a quarantine is, nor when one is due: the
//! store says so in its answers. A store that is not strict never does, and nothing here runs.

use crate::ask::next_refresh;
use crate::effect::{Effect, LostReason};
use crate::engine::Engine;
use crate::link::{Sent, SentKind};
use crate::model::{AskId, Time};
use crate::mutant::Mutant;
use crate::store::{Op, Queued, REFUSE_AFTER, Reassert};
use std::time::Duration;

/// The store's clock may not have reached the end yet when ours has.
const LATER: Duration = Duration::from_millis(1);

impl Engine {
    /// Nobody is granted anything, but the ask has its place. Waiters wait; who only tries need not.
    pub(crate) fn ask_quarantined(&mut self, now: Time, resource: usize, ahead: u32, left: Duration) {
        let end = now + left + LATER;
        let Some(ask) = &mut self.resources[resource].ask else { return };
        ask.queued = Some(Queued { ahead, retry: left, holder: None });
        ask.quarantined_until = end;
        ask.again_at = next_refresh(now, ahead).min(end);
        if self.link.learn_quarantine(end) {
            self.effects.push_back(Effect::Quarantined { left });
        }
        self.refuse_tries(now, resource, false);
    }

    /// The store no longer knows of the tenure, which lives: it is told. What is not certain to live is not put in the way
    /// of those who may have got the key meanwhile.
    pub(crate) fn reassert(&mut self, now: Time, resource: usize) {
        let ttl = self.wanted_ttl(now, resource);
        let incarnation = self.config.incarnation;
        let store_now = self.link.store_time(now);
        let r = &mut self.resources[resource];
        let Some(tenure) = &mut r.tenure else { return };
        if tenure.unproven && !Mutant::UnprovenReasserts.is(self.config.mutant) {
            return self.kill_tenure(now, resource, LostReason::Store);
        }
        let refuse_after = store_now + REFUSE_AFTER.min(tenure.deadline.since(now));
        tenure.sends(now);
        let seq = tenure.seq;
        let op = Reassert {
            key: r.key.clone(),
            tenure: AskId { incarnation, seq },
            units: tenure.units,
            limit: r.limit,
            origin: tenure.origin,
            range: tenure.fences.range(),
            ttl,
            refuse_after,
        };
        // A copy of it may run after the tenure went back, and would bring it back to life.
        r.copies_until = r.copies_until.max(refuse_after);
        self.send(resource, Sent { kind: SentKind::Renew, resource, seq, at: now }, Op::Reassert(op));
    }
}
