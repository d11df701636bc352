//! Debts: returns and withdraws that the store must hear, sent again until it says that it did (P7, P8).
//!
//! Owns their repetition and their end. Must not know why something is given back.

use crate::engine::Engine;
use crate::link::{Sent, SentKind};
use crate::model::{AskId, Time};
use crate::mutant::Mutant;
use crate::store::{CallId, Op, Outcome, REFUSE_AFTER, Reply, Return, Tenancy};
use crate::tenure::ttl_covering;
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
        let debts = &mut self.resources[resource].debts;
        if debts.is_empty() {
            // There is hardly ever a second one, and a crowd that leaves owes one for each of its keys.
            debts.reserve_exact(1);
        }
        debts.push(Debt { op, call: None, due: now, expires });
        self.pay_debts(now, resource);
    }

    /// Sends the debts that are due; forgets those that time has paid.
    pub(crate) fn pay_debts(&mut self, now: Time, resource: usize) {
        self.resources[resource].debts.retain(|debt| debt.call.is_some() || debt.expires > now);
        for index in 0..self.resources[resource].debts.len() {
            let debt = &mut self.resources[resource].debts[index];
            if debt.due > now {
                continue;
            }
            debt.due = Time::MAX;
            if !self.link.is_up() {
                continue;
            }
            let op = debt.op.clone();
            let call = self.send(resource, Sent { kind: SentKind::Debt, resource, seq: 0, at: now }, op);
            self.resources[resource].debts[index].call = Some(call);
        }
    }

    /// The answer to a return or a withdraw.
    pub(crate) fn debt_answered(&mut self, now: Time, call: CallId, sent: Sent, outcome: Outcome) {
        let resource = sent.resource;
        let debts = &mut self.resources[resource].debts;
        let Some(index) = debts.iter().position(|debt| debt.call == Some(call)) else {
            return;
        };
        match outcome {
            Outcome::Applied { reply, .. } => {
                let debt = debts.remove(index);
                match (debt.op, reply) {
                    (Op::Withdraw(withdraw), Reply::Granted(tenancy)) => {
                        self.adopt(now, sent, withdraw.id.seq, tenancy);
                    }
                    (Op::Return(back), Reply::Forced { order, .. }) if back.keep == 0 => {
                        self.taken_by_order(resource, order);
                    }
                    (_, Reply::Forced { seq, .. }) => self.tenure_taken(now, resource, seq),
                    _ => {}
                }
            }
            Outcome::Unknown(_) if Mutant::WithdrawOnce.is(self.config.mutant) => {
                debts.remove(index);
            }
            Outcome::NotApplied(_) | Outcome::Unknown(_) => {
                debts[index].call = None;
                debts[index].due = now + DEBT_RETRY;
            }
        }
    }

    /// A withdrawn growth had been granted: the store knows our tenure by the ask's id now.
    fn adopt(&mut self, now: Time, sent: Sent, seq: u64, mut tenancy: Tenancy) {
        let resource = sent.resource;
        match &self.resources[resource].tenure {
            Some(tenure) if tenure.seq < seq => {
                tenancy.units = tenancy.units.min(tenure.units);
                self.install(now, resource, seq, sent.at, tenancy);
            }
            Some(_) => {}
            None => {
                let tenure = AskId { incarnation: self.config.incarnation, seq };
                let key = self.resources[resource].key.clone();
                let op =
                    Return { key, tenure, keep: 0, issued: self.resources[resource].issued, tombstone: None };
                self.owe(now, resource, Op::Return(op));
            }
        }
    }
}
