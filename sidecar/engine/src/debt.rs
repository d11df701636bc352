//! Debts: returns and withdraws that the store must hear, sent again until it says that it did (P7, P8).
//!
//! Owns their repetition and their end. Must not know why something is given back.

use crate::certainty::ttl_covering;
use crate::effect::LostReason;
use crate::engine::Engine;
use crate::link::{Sent, SentKind};
use crate::model::Time;
use crate::mutant::Mutant;
use crate::store::{CallId, GiveBack, Op, Outcome, REFUSE_AFTER, Reply, Return, Tenancy};
use std::time::Duration;

/// A debt whose payment was not acknowledged is sent again after this long, while the link is up.
const DEBT_RETRY: Duration = Duration::from_millis(100);

/// Something the store must still hear.
pub(crate) struct Debt {
    op: Op,
    call: Option<CallId>,
    due: Time,
    /// Whatever it was about is over at the store by then.
    expires: Time,
}

impl Debt {
    /// The link is back: nothing to wait for.
    pub(crate) fn call_again(&mut self, now: Time) {
        if self.call.is_none() {
            self.due = now;
        }
    }

    /// It gives the whole of this tenure back.
    pub(crate) fn returns(&self, seq: u64) -> bool {
        matches!(&self.op, Op::Return(back) if back.tenure.seq == seq && back.keep == 0)
    }

    /// It was a finish, and nobody waits for its answer any longer.
    fn is_overdue_finish(&self, now: Time) -> bool {
        matches!(self.op, Op::Finish(_)) && self.call.is_none() && self.expires <= now
    }

    pub(crate) fn next_due(&self) -> Time {
        match self.call {
            Some(_) => Time::MAX,
            None => self.due.min(self.expires),
        }
    }
}

impl Engine {
    /// Sends something that must arrive, and sees to it that it does.
    pub(crate) fn owe(&mut self, now: Time, resource: usize, op: Op) {
        let expires = now + REFUSE_AFTER + ttl_covering(self.wanted_ttl(now, resource));
        self.owe_until(now, resource, op, expires);
    }

    /// The store must hear that this much of a tenure is left.
    pub(crate) fn owe_return(&mut self, now: Time, resource: usize, back: GiveBack) {
        let GiveBack { seq, keep, issued } = back;
        let r = &self.resources[resource];
        let tombstone = r.tombstone(self.link.store_time(now));
        let op = Return { key: r.key.clone(), tenure: self.own(seq), keep, issued, tombstone };
        self.owe(now, resource, Op::Return(op));
    }

    /// … or nothing.
    pub(crate) fn owe_whole(&mut self, now: Time, resource: usize, seq: u64) {
        let issued = self.resources[resource].issued;
        self.owe_return(now, resource, GiveBack { seq, keep: 0, issued });
    }

    /// … and no longer than until then.
    pub(crate) fn owe_until(&mut self, now: Time, resource: usize, op: Op, expires: Time) {
        let debts = &mut self.resources[resource].debts;
        if debts.is_empty() {
            // There is hardly ever a second one, and a crowd that leaves owes one for each of its keys.
            debts.reserve_exact(1);
        }
        debts.push(Debt { op, call: None, due: now, expires });
        self.pay_debts(now, resource);
    }

    /// Finishes that the store has not answered in time are over. The caller serves the resource.
    pub(crate) fn give_up_finishes(&mut self, now: Time, resource: usize) {
        let overdue = |debt: &Debt| debt.is_overdue_finish(now);
        while let Some(index) = self.resources[resource].debts.iter().position(overdue) {
            if let Op::Finish(finish) = self.resources[resource].debts.remove(index).op {
                self.finish_overdue(now, resource, &finish);
            }
        }
    }

    /// Sends the debts that are due; forgets those that time has paid.
    pub(crate) fn pay_debts(&mut self, now: Time, resource: usize) {
        let refuse_after = self.link.store_time(now) + REFUSE_AFTER;
        self.resources[resource]
            .debts
            .retain(|debt| debt.call.is_some() || debt.expires > now || debt.is_overdue_finish(now));
        for index in 0..self.resources[resource].debts.len() {
            let debt = &mut self.resources[resource].debts[index];
            if debt.due > now {
                continue;
            }
            debt.due = Time::MAX;
            if !self.link.is_up() {
                continue;
            }
            if let Op::Finish(finish) = &mut debt.op {
                finish.refuse_after = refuse_after;
            }
            let op = debt.op.clone();
            let call = self.send(resource, Sent { kind: SentKind::Debt, resource, seq: 0, at: now }, op);
            self.resources[resource].debts[index].call = Some(call);
        }
    }

    /// The answer to a return, a withdraw or a finish.
    pub(crate) fn debt_answered(&mut self, now: Time, call: CallId, sent: Sent, outcome: Outcome) {
        let resource = sent.resource;
        let debts = &mut self.resources[resource].debts;
        let Some(index) = debts.iter().position(|debt| debt.call == Some(call)) else {
            return;
        };
        let is_unknown = matches!(outcome, Outcome::Unknown(_));
        match outcome {
            Outcome::Applied { reply: Reply::TooLate, .. } => {
                debts[index].call = None;
                debts[index].due = now;
            }
            Outcome::Applied { reply, at } => match (debts.remove(index).op, reply) {
                (Op::Return(back), Reply::Forced { order, .. }) if back.keep == 0 => {
                    self.taken_by_order(resource, order);
                }
                (Op::Finish(finish), Reply::Forced { seq, .. }) => {
                    self.tenure_taken(now, resource, seq);
                    self.finish_refused(now, resource, &finish, LostReason::Forced);
                }
                (_, Reply::Forced { seq, .. }) => self.tenure_taken(now, resource, seq),
                (Op::Withdraw(withdraw), Reply::Granted(tenancy)) => {
                    self.adopt(now, sent, withdraw.id.seq, tenancy);
                }
                (Op::Finish(finish), Reply::Finished(success)) => {
                    self.finish_acknowledged(now, sent, at, &finish, success);
                }
                (Op::Return(back), Reply::Gone) => self.tenure_gone(now, resource, back.tenure.seq, call),
                (Op::Finish(finish), _) => self.finish_refused(now, resource, &finish, LostReason::Store),
                _ => {}
            },
            Outcome::Unknown(_) if Mutant::WithdrawOnce.is(self.config.mutant) => {
                debts.remove(index);
            }
            Outcome::NotApplied(_) | Outcome::Unknown(_) => {
                debts[index].call = None;
                debts[index].due = now + DEBT_RETRY;
                if let Op::Finish(finish) = &debts[index].op
                    && is_unknown
                {
                    let finish = finish.clone();
                    self.finish_unheard(resource, &finish);
                }
            }
        }
    }

    /// A withdrawn growth had been granted: the store knows our tenure by the ask's id now.
    fn adopt(&mut self, now: Time, sent: Sent, seq: u64, mut tenancy: Tenancy) {
        let resource = sent.resource;
        match &self.resources[resource].tenure {
            Some(tenure) if tenure.seq < seq => {
                let kept = tenancy.units;
                tenancy.units = kept.min(tenure.units);
                self.rename_tenure(now, resource, seq, sent.at, tenancy);
                if tenancy.units < kept {
                    // What went back since the withdraw was sent went back under a name that was over.
                    let issued = self.resources[resource].issued;
                    self.owe_return(now, resource, GiveBack { seq, keep: tenancy.units, issued });
                }
            }
            Some(_) => {}
            None => {
                let r = &self.resources[resource];
                let (key, tenure) = (r.key.clone(), self.own(seq));
                // The withdraw has left its own.
                let op = Return { key, tenure, keep: 0, issued: r.issued, tombstone: None };
                self.owe(now, resource, Op::Return(op));
            }
        }
    }
}
