//! Once per window (P18): turns, their finish, and what is known to be done.
//!
//! A *turn* is an exclusive lease of a once key: it waits, is handed off, is given back and is lost as any other, and
//! whoever waits for it waits in the same queue. What it has besides is a finish, a write at the store that names the
//! turn exactly; until the store has acknowledged it the lease is pinned: whatever becomes of it for its client, nobody else
//! is granted the turn. Owns finishes and their ends, and who is answered with a success instead of a
//! turn. Must not know how a store keeps a success.

use crate::ask::Ask;
use crate::certainty::deadline;
use crate::effect::{EventKind, LostReason, Refusal, Reply};
use crate::engine::Engine;
use crate::input::{Acquire, Finish};
use crate::lease::{End, Missing};
use crate::link::Sent;
use crate::model::{Fence, Key, RequestId, SessionId, Space, StoreTime, Time, Window};
use crate::mutant::Mutant;
use crate::owners::Wait;
use crate::pin::Pin;
use crate::store::{Finish as FinishOp, Op, REFUSE_AFTER, Success};
use std::collections::BTreeMap;
use std::time::Duration;

mod known;

pub(crate) use known::Known;

/// What there is of once keys beside their resources.
#[derive(Default)]
pub(crate) struct Once {
    /// What need not be asked of the store.
    pub(crate) known: Known,
    /// Finishes that were not answered yet.
    finishing: BTreeMap<TurnId, Finishing>,
}

impl Once {
    /// Our clock may have stood still: how long windows are still open is in doubt, and the store knows.
    pub(crate) fn clock_stepped(&mut self) {
        self.known = Known::default();
    }
}

/// A turn of a once key.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    /// What a success fills.
    pub(crate) window: Window,
    /// By the store's clock, as it was heard then: when the turn is over, our clock may have drifted by as much as its body took,
    /// and across the edge of an aligned window.
    pub(crate) granted_at: StoreTime,
}

/// Names one turn of this incarnation: resource, tenure, fence.
type TurnId = (usize, u64, Fence);

/// Who waits for the answer to a finish.
struct Finishing {
    session: SessionId,
    request: RequestId,
    pin: Option<Pin>,
    /// A sending of it has an unknown outcome: it may have been done, or may still be.
    outcome_unknown: bool,
}

impl Engine {
    /// Answers an acquire of a once key from what is known: an undisturbed skip does not leave the sidecar.
    pub(crate) fn is_known_done(&mut self, now: Time, acquire: &Acquire) -> bool {
        if acquire.once.is_none() {
            return false;
        }
        let session = self.sessions.get(&acquire.session);
        if !session.is_some_and(|session| !session.is_cut() && session.slot(acquire.request).is_none()) {
            return false; // It is refused for that.
        }
        let known = self.once.known.get(now, &acquire.key);
        let Some(success) = known else { return false };
        self.reply(acquire.session, acquire.request, Reply::Done(success));
        let kind = EventKind::Skipped { waited: Duration::ZERO };
        self.event_of(acquire.key.clone(), acquire.mode, acquire.session, acquire.request, kind);
        true
    }

    /// What is known to be done of a once key, for whoever repeats a request of theirs.
    pub fn done(&self, now: Time, key: &Key) -> Option<Success> {
        self.once.known.peek(now, key).cloned()
    }

    /// Since when the one of this key who has waited longest waits, for the store; nothing if it is no once key. Rather
    /// too late than too early: who comes after a finish was acknowledged is no follower of it.
    pub(crate) fn waiting_since(&self, now: Time, resource: usize) -> Option<StoreTime> {
        let r = &self.resources[resource];
        if r.key.space() != Space::Once {
            return None;
        }
        let oldest = r.queue.iter().map(|waiter| self.waiters[waiter].since).min();
        Some(self.link.store_time_at_most(now) - now.since(oldest.unwrap_or(now)))
    }

    /// A turn succeeded: the store must hear of it.
    pub(crate) fn finish(&mut self, now: Time, finish: Finish) {
        let (session, request) = (finish.session, finish.request);
        if let Err(refusal) = self.begin_finish(now, finish) {
            self.reply(session, request, Reply::Refused(refusal));
        }
    }

    fn begin_finish(&mut self, now: Time, finish: Finish) -> Result<(), Refusal> {
        let index = match self.find_lease(finish.session, finish.lease) {
            Ok(index) => index,
            Err(Missing::Released) => return Err(Refusal::TurnClosed),
            Err(Missing::Refused(refusal)) => return Err(refusal),
        };
        let lease = &self.leases[index];
        let no_turn = Refusal::BadRequest("this lease is no turn of a once key: release it instead");
        let Turn { window, granted_at } = lease.turn().ok_or(no_turn)?;
        let (resource, fence) = (lease.resource, lease.fence);
        let r = &self.resources[resource];
        let tenure = r.tenure.as_ref().ok_or(Refusal::LeaseLost(LostReason::Store))?.seq;
        if self.pins.holds(index) {
            return Err(Refusal::TurnClosed);
        }
        let op = FinishOp {
            key: r.key.clone(),
            tenure: self.own(tenure),
            fence,
            granted_at,
            window,
            result: finish.result,
            refuse_after: StoreTime(0),
        };
        let pin = (!Mutant::TurnFreedBeforeAck.is(self.config.mutant)).then(|| self.pin(index));
        let finishing =
            Finishing { session: finish.session, request: finish.request, pin, outcome_unknown: false };
        let freed = finishing.pin.is_none();
        self.once.finishing.insert((resource, tenure, fence), finishing);
        // Longer than a store takes that can be reached at all; a finish that never went out can be said again.
        let expires = now + REFUSE_AFTER + self.config.tenure_ttl;
        self.owe_until(now, resource, Op::Finish(Box::new(op)), expires);
        if freed {
            self.end_turn(now, resource, fence, End::Finished);
        }
        self.serve(now, resource);
        Ok(())
    }

    /// Whether this is a turn whose finish is under way.
    pub(crate) fn is_finishing(&self, lease: usize) -> bool {
        let binds = Mutant::FinishingBinds.is(self.config.mutant);
        !binds && self.pins.holds(lease) && self.leases[lease].turn().is_some()
    }

    /// A finish has an unknown outcome.
    pub(crate) fn finish_unheard(&mut self, resource: usize, finish: &FinishOp) {
        if let Some(finishing) = self.once.finishing.get_mut(&turn(resource, finish)) {
            finishing.outcome_unknown = true;
        }
    }

    /// The store knows: the turn is over, and with it its tenure; whoever waited here is answered.
    pub(crate) fn finish_acknowledged(
        &mut self,
        now: Time,
        sent: Sent,
        at: StoreTime,
        finish: &FinishOp,
        success: Success,
    ) {
        let resource = sent.resource;
        if self.ends_turn(resource, finish) {
            self.end_turn(now, resource, finish.fence, End::Finished);
            self.drop_tenure(resource);
        }
        self.answer_finish(now, resource, finish, |_| Reply::Finished(success.clone()));
        self.learn_success(now, sent, at, success);
    }

    /// The store knows no such tenure: it was lost, or an earlier sending ended it in a store that has forgotten since.
    pub(crate) fn finish_refused(
        &mut self,
        now: Time,
        resource: usize,
        finish: &FinishOp,
        reason: LostReason,
    ) {
        if self.ends_turn(resource, finish) {
            self.kill_tenure(now, resource, reason);
        }
        self.answer_finish(now, resource, finish, |outcome_unknown| {
            Reply::Refused(match outcome_unknown {
                true => Refusal::OutcomeUnknown,
                false => Refusal::LeaseLost(reason),
            })
        });
    }

    /// The store did not answer in all that time. A turn whose finish may still be done is over, so that it can not be
    /// done twice; another one goes on, and can be finished again.
    pub(crate) fn finish_overdue(&mut self, now: Time, resource: usize, finish: &FinishOp) {
        let outcome_unknown = self
            .once
            .finishing
            .get(&turn(resource, finish))
            .is_some_and(|finishing| finishing.outcome_unknown);
        if outcome_unknown && self.ends_turn(resource, finish) {
            self.end_turn(now, resource, finish.fence, End::Lost(LostReason::Store));
            self.return_idle(now, resource);
        }
        self.answer_finish(now, resource, finish, |outcome_unknown| {
            Reply::Refused(if outcome_unknown { Refusal::OutcomeUnknown } else { Refusal::StoreUnavailable })
        });
        self.binds_again(now, resource, finish.fence);
    }

    /// A turn that was on its way out is its owner's again, and what others wait for: its owner may wait for them by now.
    fn binds_again(&mut self, now: Time, resource: usize, fence: Fence) {
        let Some(r) = self.resources.get(resource) else { return };
        let turn = r.live.iter().find(|&lease| self.leases[lease].fence == fence);
        let owner = turn.and_then(|lease| self.leases[lease].owner());
        if let Some(Wait::Request(waiter)) = owner.and_then(|owner| self.owners.get(owner).wait) {
            self.break_deadlocks(now, waiter);
        }
    }

    /// Whether the tenure of the finished turn is still the one we have.
    fn ends_turn(&self, resource: usize, finish: &FinishOp) -> bool {
        self.resources[resource].tenure.as_ref().is_some_and(|tenure| tenure.seq == finish.tenure.seq)
    }

    /// Ends the lease of a turn, whatever still holds it. The caller serves the resource.
    fn end_turn(&mut self, now: Time, resource: usize, fence: Fence, end: End) {
        let lease = self.resources[resource].live.iter().find(|&lease| self.leases[lease].fence == fence);
        if let Some(lease) = lease {
            let session = self.leases[lease].session;
            if !self.pins.is_over(lease) {
                self.end_for_client(now, lease, end);
            }
            self.drop_pins(lease);
            self.free_lease(lease);
            self.forget_if_over(session);
        }
    }

    fn answer_finish(
        &mut self,
        now: Time,
        resource: usize,
        finish: &FinishOp,
        reply: impl FnOnce(bool) -> Reply,
    ) {
        if let Some(finishing) = self.once.finishing.remove(&turn(resource, finish)) {
            if let Some(pin) = finishing.pin {
                self.unpin(now, pin);
            }
            self.reply(finishing.session, finishing.request, reply(finishing.outcome_unknown));
        }
    }

    /// An ask was answered with a success: nobody who asked then gets a turn.
    pub(crate) fn ask_finished(&mut self, now: Time, sent: Sent, at: StoreTime, success: Success) {
        let resource = sent.resource;
        let ends_soon = |ask: &Ask| ask.copies.may_run_after(success.window_end);
        match self.resources[resource].ask.as_deref().is_some_and(ends_soon) {
            // A copy that runs when the window is over would get a turn for nobody.
            true => self.drop_ask(now, resource),
            false => self.forget_ask(now, resource),
        }
        self.learn_success(now, sent, at, success);
    }

    /// The store said so `at` its time, in answer to what was `sent`.
    fn learn_success(&mut self, now: Time, sent: Sent, at: StoreTime, success: Success) {
        let resource = sent.resource;
        let left = success.window_end.since(at);
        // Who waited when this was sent waited before the finish, or asks while the window is open.
        let answers_all = at < success.window_end || at == success.finished_at;
        // What was sent before our clock may have stood still tells nothing that is counted on it.
        let counted = self.link.is_proof(sent.at);
        let surely_open = counted && now.since(sent.at) < left;
        let r = &self.resources[resource];
        let answered: Vec<usize> = r
            .queue
            .iter()
            .filter(|&waiter| {
                let since = self.waiters[waiter].since;
                let waited =
                    counted && self.link.store_time_at_most(now) - now.since(since) <= success.finished_at;
                surely_open || answers_all && since <= sent.at || waited
            })
            .collect();
        if counted {
            self.once.known.learn(now, &r.key, &success, deadline(sent.at, left));
        }
        for waiter in answered {
            self.skip_waiter(now, waiter, success.clone());
        }
    }
}

fn turn(resource: usize, finish: &FinishOp) -> TurnId {
    (resource, finish.tenure.seq, finish.fence)
}
