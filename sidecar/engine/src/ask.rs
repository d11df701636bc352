//! Asking the store: the one outstanding ask of a key.
//!
//! Owns asks, re-asks (P12) and withdrawals. Must not know who is granted what, nor repeat what was given up: that is a
//! debt.

use crate::copies::Copies;
use crate::engine::Engine;
use crate::link::{Sent, SentKind};
use crate::model::{AskId, Time};
use crate::mutant::Mutant;
use crate::store::{
    Ask as AskOp, CallId, Fault, GiveBack, Op, Outcome, Queued, REFUSE_AFTER, Reply, Withdraw,
};
use std::time::Duration;

/// Re-ask interval of the first places; deeper ones ask less often (P12).
const REASK_EVERY: Duration = Duration::from_secs(1);
/// An entry in the store's queue lives for so many re-ask intervals.
const ENTRY_TTL_INTERVALS: u32 = 3;
/// Whoever has many ahead asks again this much less often.
const REASK_STRETCH_MAX: u32 = 5;
/// A place in the queue that nobody refreshes stands no longer.
pub(crate) const PLACE_MAX: Duration = REASK_EVERY.saturating_mul(REASK_STRETCH_MAX * ENTRY_TTL_INTERVALS);
/// A try waits at least so long for a recall to be obeyed (P10). A holder that can not obey says so at once, so this is
/// spent only where a message was lost, or a machine too busy to pass four of them on.
const GRACE_MIN: Duration = Duration::from_millis(100);
/// An ask that was not applied is sent again after this long, while the link is up.
pub(crate) const ASK_RETRY: Duration = Duration::from_millis(50);

/// The outstanding ask of one key.
pub(crate) struct Ask {
    pub(crate) seq: u64,
    pub(crate) units: u32,
    pub(crate) since: Time,
    /// The store's last word on our place.
    pub(crate) queued: Option<Queued>,
    /// When to ask again; `MAX` while an answer is due or the link is down.
    pub(crate) again_at: Time,
    /// A recall came before the grant did: somebody already waits.
    pub(crate) recalled: bool,
    /// For all of a key of which a lease keeps a share: another place in the store's queue than any other ask has (P16).
    upgrade: bool,
    /// The store grants nothing before (P20).
    pub(crate) quarantined_until: Time,
    /// The key is in use with this other limit; the idle ones among its holders have been recalled.
    pub(crate) mismatched: Option<Mismatch>,
    /// Time brings back units of a rate that another sidecar has: the first of them then.
    pub(crate) free_at: Option<Time>,
    pub(crate) copies: Copies,
    /// What goes back in the same step, until an ask that carried it was applied; and the first call that did.
    give_back: Option<(GiveBack, CallId)>,
}

/// The key is in use with another limit.
#[derive(Clone, Copy)]
pub(crate) struct Mismatch {
    pub(crate) limit: u32,
    /// Idle ones among its holders have gone by then.
    grace_ends: Time,
}

impl Ask {
    fn new(seq: u64, units: u32, since: Time, upgrade: bool) -> Ask {
        Ask {
            seq,
            units,
            since,
            queued: None,
            again_at: Time::MAX,
            recalled: false,
            upgrade,
            quarantined_until: Time::ZERO,
            mismatched: None,
            free_at: None,
            copies: Copies::default(),
            give_back: None,
        }
    }

    /// A holder said when its first unit is back; others may have said that too.
    pub(crate) fn note_free(&mut self, now: Time, free_in: Option<Duration>) {
        let known = self.free_at.filter(|&at| at > now);
        self.free_at = known.into_iter().chain(free_in.map(|span| now + span)).min();
    }

    /// The store is done with the old number; the wish stands.
    fn renumber(&mut self, seq: u64) {
        *self = Ask {
            give_back: self.give_back,
            recalled: self.recalled,
            ..Ask::new(seq, self.units, self.since, self.upgrade)
        };
    }

    /// How long the store grants nothing yet, as far as it said (P20).
    pub(crate) fn quarantine(&self, now: Time) -> Option<Duration> {
        (self.quarantined_until > now).then(|| self.quarantined_until.since(now))
    }
}

fn reask_interval(ahead: u32) -> Duration {
    REASK_EVERY * (ahead / 8 + 1).min(REASK_STRETCH_MAX)
}

/// When a place in the queue is refreshed. All asks of a sidecar fall on the same instants, so that they leave as one
/// pipeline.
pub(crate) fn next_refresh(now: Time, ahead: u32) -> Time {
    let interval = reask_interval(ahead);
    now.floor(interval) + interval
}

impl Engine {
    /// Every fence of this key must be above this (P1).
    pub(crate) fn floor(&self, resource: usize) -> u64 {
        let r = &self.resources[resource];
        // What takes the place of a tenure that ended is known by its origin (D37).
        let origin = r.tenure.as_ref().map_or(0, |tenure| tenure.origin);
        self.link.floor().max(r.issued).max(origin)
    }

    /// Sends a call about a resource.
    pub(crate) fn send(&mut self, resource: usize, sent: Sent, op: Op) -> CallId {
        self.resources[resource].calls += 1;
        let id = self.link.send(sent);
        self.emit_call(id, op);
        id
    }

    /// Makes sure that the store knows that we want so many units.
    pub(crate) fn want_units(&mut self, now: Time, resource: usize, units: u32) {
        if self.is_conflicted(resource) {
            return;
        }
        let idle = self.resources[resource].idle_units() > 0;
        let upgrade = self.is_upgrading(resource);
        if self.resources[resource].ask.as_ref().is_some_and(|ask| ask.upgrade != upgrade) {
            self.drop_ask(now, resource);
        }
        match &mut self.resources[resource].ask {
            Some(ask) if ask.units == units && !idle && ask.again_at > now => {}
            Some(ask) => {
                ask.units = units;
                self.send_ask(now, resource);
            }
            None => {
                self.last_seq += 1;
                self.resources[resource].ask = Some(Box::new(Ask::new(self.last_seq, units, now, upgrade)));
                self.send_ask(now, resource);
            }
        }
    }

    /// Asks, or asks again: enters the queue, refreshes the place, takes up an offer (P3).
    pub(crate) fn send_ask(&mut self, now: Time, resource: usize) {
        if !self.link.is_up() {
            if let Some(ask) = &mut self.resources[resource].ask {
                ask.again_at = Time::MAX;
            }
            return;
        }
        let ttl = self.wanted_ttl(now, resource);
        let floor = self.floor(resource);
        let refuse_after = self.link.store_time(now) + REFUSE_AFTER;
        let incarnation = self.config.incarnation;
        let waiting_since = self.waiting_since(now, resource);
        let fresh = self.take_idle(resource);
        let r = &mut self.resources[resource];
        let Some(ask) = &mut r.ask else { return };
        let give_back = fresh.or(ask.give_back.map(|(give_back, _)| give_back));
        ask.again_at = Time::MAX;
        ask.copies.send_until(refuse_after);
        let interval = reask_interval(ask.queued.map_or(0, |queued| queued.ahead));
        let (seq, units) = (ask.seq, ask.units);
        let op = AskOp {
            key: r.key.clone(),
            id: AskId { incarnation, seq },
            units,
            limit: r.limit,
            ttl,
            entry_ttl: interval * ENTRY_TTL_INTERVALS,
            floor,
            refuse_after,
            give_back,
            upgrade: ask.upgrade,
            waiting_since,
        };
        let call = self.send(resource, Sent { kind: SentKind::Ask, resource, seq, at: now }, Op::Ask(op));
        let Some(ask) = &mut self.resources[resource].ask else { return };
        ask.copies.sent_as(call);
        if let Some(give_back) = fresh {
            ask.give_back = Some((give_back, call));
        }
    }

    /// The answer to an ask.
    pub(crate) fn ask_answered(&mut self, now: Time, call: CallId, sent: Sent, outcome: Outcome) {
        let resource = sent.resource;
        let ask = self.resources[resource].ask.as_mut();
        let Some(ask) = ask.filter(|ask| ask.seq == sent.seq) else {
            return self.ask_repeated(now, sent, outcome);
        };
        ask.copies.answered(call);
        let (at, reply) = match outcome {
            Outcome::Applied { at, reply } => (at, reply),
            Outcome::NotApplied(Fault::Corrupt(_)) => {
                ask.again_at = now + REASK_EVERY;
                self.refuse_tries(now, resource, true);
                return;
            }
            Outcome::NotApplied(_) => {
                ask.again_at = now + ASK_RETRY;
                return;
            }
            Outcome::Unknown(_) => {
                ask.copies.not_heard_of();
                ask.again_at = now + ASK_RETRY;
                return;
            }
        };
        let read_whole = !matches!(reply, Reply::TooLate | Reply::ClockRegressed);
        if read_whole && ask.give_back.is_some_and(|(_, first)| call >= first) {
            ask.give_back = None;
        }
        if matches!(reply, Reply::Queued(_) | Reply::Quarantined { .. }) {
            ask.copies.not_granted_by(at);
        }
        match reply {
            Reply::Granted(mut tenancy) => {
                let (seq, copies_until) = (ask.seq, ask.copies.may_run_until());
                tenancy.contended |= ask.recalled;
                let r = &mut self.resources[resource];
                r.ask = None;
                r.copies_until = match Mutant::TombstoneOnTenure.is(self.config.mutant) {
                    true => copies_until.unwrap_or_default(),
                    false => r.copies_until.max(copies_until.unwrap_or_default()),
                };
                self.install(now, resource, seq, sent.at, tenancy);
            }
            Reply::Queued(queued) => self.ask_queued(now, resource, queued),
            Reply::Quarantined { ahead, left } => self.ask_quarantined(now, resource, ahead, left),
            Reply::Stale => {
                self.last_seq += 1;
                ask.renumber(self.last_seq);
                self.send_ask(now, resource);
            }
            Reply::Finished(success) => self.ask_finished(now, sent, at, success),
            Reply::TooLate => self.send_ask(now, resource),
            Reply::LimitMismatch { limit } => self.ask_mismatched(now, resource, sent.at, limit),
            Reply::UpgradeConflict { upgrader } => self.ask_conflicted(now, resource, upgrader),
            Reply::ClockRegressed => {
                ask.again_at = now + REASK_EVERY;
                self.alarm_clock(resource);
            }
            Reply::Forced { seq, .. } => self.ask_after_taken(now, resource, seq),
            // Answers to other operations.
            _ => {
                ask.again_at = now + REASK_EVERY;
            }
        }
    }

    /// The answer to an ask that is over. One that was given up has left a debt, which settles the matter, and one that was
    /// granted stands; but the answer may know that our tenure had ended, or of a waiter elsewhere, of whom it has not heard.
    fn ask_repeated(&mut self, now: Time, sent: Sent, outcome: Outcome) {
        let Outcome::Applied { reply: Reply::Granted(tenancy), .. } = outcome else {
            return;
        };
        self.ended_before(now, sent.resource, tenancy.origin);
        let tenure = self.resources[sent.resource].tenure.as_ref();
        if tenancy.contended && tenure.is_some_and(|tenure| tenure.seq <= sent.seq) {
            self.learn_interest(now, sent.resource);
        }
    }

    fn ask_queued(&mut self, now: Time, resource: usize, queued: Queued) {
        let grace = self.grace();
        let Some(ask) = &mut self.resources[resource].ask else {
            return;
        };
        let first_word = ask.queued.replace(queued).is_none();
        // Who has a place agrees with all others on the limit, whoever was in the way before.
        ask.mismatched = None;
        ask.again_at = next_refresh(now, queued.ahead);
        ask.quarantined_until = Time::ZERO;
        // The head also asks when the one in its way is due.
        if queued.ahead == 0 {
            ask.again_at = ask.again_at.min(now + queued.retry.max(Duration::from_millis(1)));
        }
        if Mutant::NoReask.is(self.config.mutant) {
            ask.again_at = Time::MAX;
        }
        if Mutant::TryFailsAtOnce.is(self.config.mutant) {
            self.refuse_tries(now, resource, false);
        } else if first_word {
            self.limit_tries(resource, now + grace);
        }
    }

    /// How long a try may wait for a recall to be obeyed (P10).
    pub(crate) fn grace(&self) -> Duration {
        (self.link.round_trip() * 4).max(GRACE_MIN)
    }

    /// Idle holders were recalled by the answer; whoever still holds with another limit after the grace is right (for
    /// now), and we are refused.
    fn ask_mismatched(&mut self, now: Time, resource: usize, asked: Time, limit: u32) {
        let grace = self.grace();
        let Some(ask) = &mut self.resources[resource].ask else {
            return;
        };
        match ask.mismatched {
            Some(Mismatch { grace_ends, .. }) if asked >= grace_ends => {
                // Copies of it may still run.
                self.drop_ask(now, resource);
                self.refuse_mismatched(now, resource, limit);
            }
            first => {
                let grace_ends = first.map_or(now + grace, |first| first.grace_ends);
                ask.mismatched = Some(Mismatch { limit, grace_ends });
                ask.again_at = grace_ends.max(now);
            }
        }
    }

    /// The ask is no longer wanted.
    pub(crate) fn drop_ask(&mut self, now: Time, resource: usize) {
        self.end_ask(now, resource, true);
    }

    /// The ask is over at the store, and no copy of it can change that.
    pub(crate) fn forget_ask(&mut self, now: Time, resource: usize) {
        self.end_ask(now, resource, false);
    }

    fn end_ask(&mut self, now: Time, resource: usize, withdraw: bool) {
        let r = &mut self.resources[resource];
        let Some(ask) = r.ask.take() else { return };
        let keep = r.tenure.as_ref().map_or(0, |tenure| tenure.units);
        let key = r.key.clone();
        if let Some((back, _)) = ask.give_back {
            self.owe_return(now, resource, back);
        }
        if withdraw && ask.copies.were_sent() {
            let id = self.own(ask.seq);
            // Its answer may still be under way, so each of them counts.
            let op = Withdraw { key, id, keep, tombstone: Some(ask.copies.void_after()) };
            self.owe(now, resource, Op::Withdraw(op));
        }
    }

    /// Whatever waits for the link goes out now.
    pub(crate) fn asks_reconnected(&mut self, now: Time, resource: usize) {
        let r = &mut self.resources[resource];
        r.debts.iter_mut().for_each(|debt| debt.call_again(now));
        if let Some(ask) = &mut r.ask {
            ask.again_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_eight_places_ask_every_second_and_the_last_every_five() {
        let seconds: Vec<u64> = [0, 7, 8, 31, 32, 1000].map(|ahead| reask_interval(ahead).as_secs()).into();
        assert_eq!(seconds, [1, 1, 2, 4, 5, 5]);
    }
}
