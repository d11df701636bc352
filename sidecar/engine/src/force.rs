//! Forced unlock: an operator takes a key from whoever holds it, here and at every other sidecar (P19).
//!
//! Owns the order on its way to the store and back, and what a sidecar does that hears that a tenure of its was taken. Must
//! not know who may give such an order: the admin door lets nobody else in.

use crate::ask::ASK_RETRY;
use crate::effect::{Effect, EventKind, LostReason, Refusal, Reply, Unlocked, Victim};
use crate::engine::Engine;
use crate::input::Force;
use crate::link::{Sent, SentKind};
use crate::model::{Mode, RequestId, SessionId, Time, WHOLE};
use crate::store::{CallId, Force as ForceOp, Op, Order, Outcome, REFUSE_AFTER, Reply as Answer, Taken};
use std::collections::BTreeMap;

/// Orders on their way to the store, by the call that carries each. There is hardly ever one.
pub(crate) type Forcing = BTreeMap<CallId, Pending>;

/// Who is to be answered.
pub(crate) struct Pending {
    session: SessionId,
    request: RequestId,
    order: Order,
}

impl Engine {
    /// An order: the store decides what there is to take. It is sent once: a second one might take the key from somebody
    /// who got it after the first.
    pub(crate) fn force(&mut self, now: Time, force: Force) {
        let Force { session, request, key, order } = force;
        if !self.link.is_up() {
            return self.reply(session, request, Reply::Refused(Refusal::StoreUnavailable));
        }
        let resource = self.resource_for(&key, WHOLE);
        let refuse_after = self.link.store_time(now) + REFUSE_AFTER;
        let op = ForceOp { key, from: self.config.incarnation, order: order.clone(), refuse_after };
        let sent = Sent { kind: SentKind::Force, resource, seq: 0, at: now };
        let call = self.send(resource, sent, Op::Force(op));
        self.forcing.insert(call, Pending { session, request, order });
    }

    /// The store's answer to an order.
    pub(crate) fn force_answered(&mut self, now: Time, call: CallId, sent: Sent, outcome: Outcome) {
        let Some(Pending { session, request, order }) = self.forcing.remove(&call) else { return };
        let reply = match outcome {
            Outcome::Applied { reply: Answer::Unlocked(taken), .. } => {
                self.unlocked(now, sent, session, request, order, taken)
            }
            Outcome::Unknown(_) => Reply::Refused(Refusal::OutcomeUnknown),
            Outcome::Applied { .. } | Outcome::NotApplied(_) => Reply::Refused(Refusal::StoreUnavailable),
        };
        self.reply(session, request, reply);
    }

    fn unlocked(
        &mut self,
        now: Time,
        sent: Sent,
        session: SessionId,
        request: RequestId,
        order: Order,
        taken: Vec<Taken>,
    ) -> Reply {
        let victims: Vec<Victim> = taken.iter().map(|taken| victim(now, taken)).collect();
        let kind = EventKind::Forced { victims: victims.len(), order: order.clone() };
        self.event(sent.resource, Mode::Exclusive, session, request, kind);
        let ours = taken.iter().find(|taken| taken.id.incarnation == self.config.incarnation);
        if let Some(ours) = ours {
            self.tenure_taken(now, sent.resource, ours.id.seq);
        }
        Reply::Unlocked(Unlocked { victims })
    }

    /// The tenure with this seq, or one that grew into it, was taken: what stands on it is lost. The store goes on saying
    /// so until it hears that we know, which is the return of exactly that tenure. The caller serves the resource.
    pub(crate) fn tenure_taken(&mut self, now: Time, resource: usize, seq: u64) {
        let standing = self.resources[resource].tenure.as_ref().map(|tenure| tenure.seq);
        if standing.is_some_and(|standing| standing <= seq) {
            self.kill_tenure(now, resource, LostReason::Forced);
        }
        if !self.resources[resource].debts.iter().any(|debt| debt.returns(seq)) {
            self.owe_whole(now, resource, seq);
        }
        // An ask that became what was taken, and whose answer was lost: a new one will take its place.
        if self.resources[resource].ask.as_ref().is_some_and(|ask| ask.seq <= seq) {
            self.drop_ask(now, resource);
        }
    }

    /// The store did not look at an ask because of what was taken before it.
    pub(crate) fn ask_after_taken(&mut self, now: Time, resource: usize, seq: u64) {
        let owed = self.resources[resource].debts.iter().any(|debt| debt.returns(seq));
        self.tenure_taken(now, resource, seq);
        if let Some(ask) = &mut self.resources[resource].ask {
            // It leaves when the caller serves the resource: less is wanted if what was held is lost. The return that is on
            // its way may have been lost.
            ask.again_at = if owed { now + ASK_RETRY } else { now };
        }
    }

    /// The store heard that we know, and says by whose order it was: for the log of the sidecar whose leases they were.
    pub(crate) fn taken_by_order(&mut self, resource: usize, order: Order) {
        let key = self.resources[resource].key.clone();
        self.effects.push_back(Effect::TakenByForce { key, order });
    }
}

fn victim(now: Time, taken: &Taken) -> Victim {
    Victim { sidecar: taken.id.incarnation, units: taken.units, until: now + taken.remaining }
}
