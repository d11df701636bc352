//! Renewals that clients ask for: a lease with a time to live of its own gets more of it.
//!
//! Owns what is told, and who waits until the store confirmed the time of a timed lease (P5). Must not know when a tenure is renewed.

use crate::effect::{Refusal, Reply};
use crate::engine::Engine;
use crate::input::Renew;
use crate::lease::End;
use crate::model::{RequestId, SessionId, Time};
use std::time::Duration;
use thin_vec::ThinVec;

/// A renewal of a timed lease that waits until the store confirmed its time (P5).
pub(crate) struct PendingRenewal {
    lease: usize,
    session: SessionId,
    request: RequestId,
    pub(crate) ttl: Duration,
}

impl Engine {
    pub(crate) fn renew(&mut self, now: Time, request: Renew) {
        let Renew { session, request, lease, ttl } = request;
        let refusal = match self.lease_named(session, lease) {
            Ok(index) if !self.leases[index].has_ttl => Refusal::BadRequest(
                "this lease has no ttl: the sidecar keeps it alive, there is nothing to renew",
            ),
            Ok(index) => return self.renew_lease(now, index, session, request, ttl),
            Err(refusal) => refusal,
        };
        self.reply(session, request, Reply::Refused(refusal));
    }

    fn renew_lease(
        &mut self,
        now: Time,
        index: usize,
        session: SessionId,
        request: RequestId,
        ttl: Duration,
    ) {
        let resource = self.leases[index].resource;
        let confirmed = self.resources[resource].tenure.as_ref().map_or(Time::ZERO, |tenure| tenure.deadline);
        let lease = &self.leases[index];
        if lease.is_timed() && confirmed < (now + ttl).min(lease.hold_until()) {
            if !self.link.is_up() {
                return self.reply(session, request, Reply::Refused(Refusal::StoreUnavailable));
            }
            let pending = PendingRenewal { lease: index, session, request, ttl };
            self.await_confirmation(resource, pending);
            self.renew_tenure(now, resource);
            return self.serve(now, resource);
        }
        let lease = &mut self.leases[index];
        lease.cap = (now + ttl).min(lease.hold_until());
        let mut deadline = confirmed.min(lease.cap);
        if !lease.is_timed()
            && let Some(session) = self.sessions.get_mut(&lease.session)
        {
            deadline = session.tellable(deadline);
        }
        lease.told = lease.told.max(deadline).min(lease.cap);
        let (fence, cap) = (lease.fence, Some(lease.cap));
        self.arm_lease(index);
        self.reply(session, request, Reply::Renewed { deadline, cap, fence });
        self.resume_renewals(now, resource);
    }

    /// One renewal of a lease waits at a time: a later one takes the place of an earlier one.
    fn await_confirmation(&mut self, resource: usize, pending: PendingRenewal) {
        let renewals = &mut self.resources[resource].renewals;
        match renewals.iter_mut().find(|waiting| waiting.lease == pending.lease) {
            None => renewals.push(pending),
            Some(waiting) => {
                let PendingRenewal { session, request, .. } = std::mem::replace(waiting, pending);
                let refusal = Refusal::BadRequest("a later renewal of this lease took the place of this one");
                self.reply(session, request, Reply::Refused(refusal));
            }
        }
    }

    /// The store confirmed more time: answer the renewals that waited for it, ask again for the rest.
    pub(crate) fn answer_renewals(&mut self, now: Time, resource: usize) {
        let waiting = std::mem::take(&mut self.resources[resource].renewals);
        for PendingRenewal { lease, session, request, ttl } in waiting {
            self.renew_lease(now, lease, session, request, ttl);
        }
    }

    /// The store is away: renewals that wait for it are refused, the leases stand to their deadline.
    pub(crate) fn refuse_renewals(&mut self, resource: usize) {
        for renewal in std::mem::take(&mut self.resources[resource].renewals) {
            self.reply(renewal.session, renewal.request, Reply::Refused(Refusal::StoreUnavailable));
        }
    }

    /// The lease is over: so are renewals of it.
    pub(crate) fn refuse_renewals_of(&mut self, index: usize, resource: usize, end: End) {
        if self.resources[resource].renewals.is_empty() {
            return;
        }
        let refusal = match end {
            End::Released | End::Finished => Refusal::NotFound,
            End::Lost(reason) => Refusal::LeaseLost(reason),
        };
        let (over, rest): (ThinVec<_>, _) = std::mem::take(&mut self.resources[resource].renewals)
            .into_iter()
            .partition(|renewal| renewal.lease == index);
        self.resources[resource].renewals = rest;
        for renewal in over {
            self.reply(renewal.session, renewal.request, Reply::Refused(refusal.clone()));
        }
    }
}
