//! Who gets the key next: the one place where a lease is granted.
//!
//! Owns the decision about the head of the queue, and what follows from it for the store: ask, renew, give back. Must
//! not know how requests came or how answers leave.

use crate::certainty::ttl_covering;
use crate::effect::{Effect, LostReason, Path, Refusal, Reply};
use crate::engine::Engine;
use crate::grant;
use crate::input::Life;
use crate::model::{Mode, Time, WHOLE};
use crate::mutant::Mutant;
use std::time::Duration;

/// What stands between the head of the queue and its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Grant,
    /// There is no head.
    Nobody,
    /// Local leases.
    Blocked,
    /// Local leases, and the store besides: a writer behind readers of this sidecar may as well queue there already.
    BlockedAsk(u32),
    /// The store: the tenure must have so many units.
    Ask(u32),
    /// The tenure is not certain enough for this lease, or has no fences left: a renewal must be answered first.
    Renew,
    /// Another sidecar's turn (P9).
    Yield(u32),
}

impl Engine {
    /// Grants what can be granted, then brings what the sidecar has and asks for at the store in line with what is left. Every change
    /// of a resource ends here.
    pub(crate) fn serve(&mut self, now: Time, resource: usize) {
        let verdict = loop {
            match self.judge_head(now, resource) {
                Verdict::Grant => match self.head_is_over(now, resource) {
                    Some(reason) => self.refuse_head(now, resource, reason),
                    None => self.grant_head(now, resource),
                },
                other => break other,
            }
        };
        let unwanted = matches!(verdict, Verdict::Blocked | Verdict::BlockedAsk(_) | Verdict::Yield(_));
        if unwanted && self.resources[resource].queue.has_tries() {
            self.refuse_tries(now, resource, false);
            return self.serve(now, resource);
        }
        self.follow_up(now, resource, verdict);
        self.mark_use(now, resource);
        self.rearm_or_forget(resource);
    }

    /// Why the head is to have nothing any more though it could: its session has given no sign of life for too long, or it
    /// upgrades a share that is over. The timer of that is due in this very turn.
    fn head_is_over(&self, now: Time, resource: usize) -> Option<LostReason> {
        let head = self.resources[resource].queue.first()?;
        let session = self.sessions.get(&self.waiters[head].session);
        if session.is_some_and(|session| session.is_silent(now)) {
            return Some(LostReason::Session);
        }
        let upgrade = self.upgrades.get(&resource).filter(|upgrade| upgrade.waiter == head)?;
        let share = &self.leases[upgrade.lease];
        (share.ends_at() <= now).then(|| share.lost_by(now))
    }

    fn refuse_head(&mut self, now: Time, resource: usize, reason: LostReason) {
        if let Some(head) = self.resources[resource].queue.first() {
            self.refuse_waiter(now, head, Refusal::LeaseLost(reason));
        }
    }

    pub(crate) fn judge_head(&self, now: Time, resource: usize) -> Verdict {
        let r = &self.resources[resource];
        let Some(head) = r.queue.first() else {
            return Verdict::Nobody;
        };
        let waiter = &self.waiters[head];
        let units = r.live.units_with(waiter.mode);
        let held = r.tenure.as_ref().map_or(0, |tenure| tenure.units);
        // An upgrader's own share is in nobody's way, least of all in its own.
        let upgrades = self.is_upgrading(resource);
        let fits = if upgrades { r.live.is_single() } else { r.live.fits(waiter.mode) };
        if !fits {
            let early = waiter.mode == Mode::Exclusive && r.live.only_readers() && held < WHOLE;
            return if early { Verdict::BlockedAsk(units) } else { Verdict::Blocked };
        }
        let Some(tenure) = r.tenure.as_ref().filter(|_| held >= units) else {
            return Verdict::Ask(units);
        };
        let may_overtake =
            tenure.interest.as_ref().is_none_or(|interest| interest.allows(now, waiter.place.arrival));
        if !may_overtake && !upgrades && !Mutant::NoBudget.is(self.config.mutant) {
            return Verdict::Yield(units);
        }
        match self.can_grant(now, waiter) {
            true => Verdict::Grant,
            false => Verdict::Renew,
        }
    }

    fn follow_up(&mut self, now: Time, resource: usize, verdict: Verdict) {
        match verdict {
            Verdict::Ask(units) | Verdict::BlockedAsk(units) => return self.want_units(now, resource, units),
            Verdict::Yield(units)
                if units > self.resources[resource].live.units(self.resources[resource].limit) =>
            {
                return self.want_units(now, resource, units);
            }
            _ => self.drop_ask(now, resource),
        }
        if verdict == Verdict::Renew {
            self.renew_tenure(now, resource);
        }
        let r = &self.resources[resource];
        let Some(tenure) = &r.tenure else { return };
        let wanted_elsewhere = tenure.interest.is_some() || self.draining;
        let one_of_too_many = tenure.served == 1 && self.idle_tenures >= self.config.retained_max;
        // After a long hold a round trip is cheap, and somebody may have come meanwhile whose recall was lost.
        let held_long = self.config.contact_every.is_some_and(|every| tenure.silence(now) >= every);
        let give_back = match verdict {
            Verdict::Yield(_) => true,
            Verdict::Nobody if r.live.is_empty() => wanted_elsewhere || one_of_too_many || held_long,
            Verdict::Nobody => wanted_elsewhere,
            // P9: what a semaphore's head does not get now it does not wait for; a writer has it all, and would only ask anew.
            Verdict::Blocked if r.limit != WHOLE => tenure.interest.is_some(),
            Verdict::Blocked => {
                let head = r.queue.first().map(|head| self.waiters[head].place.arrival);
                tenure
                    .interest
                    .as_ref()
                    .is_some_and(|interest| head.is_some_and(|arrival| !interest.allows(now, arrival)))
            }
            _ => false,
        };
        if give_back && r.idle_units() > 0 {
            let waited_for = !r.queue.is_empty();
            self.return_idle(now, resource);
            // Perhaps what went back is all that was wanted: ask, so that those who stayed behind are not held up.
            if waited_for {
                self.renew_tenure(now, resource);
            }
        }
    }

    /// The head gets the key, or reserves it for its group.
    fn grant_head(&mut self, now: Time, resource: usize) {
        let r = &mut self.resources[resource];
        let head = r.queue.first().expect("judged a moment ago");
        let waiter = self.waiters.remove(head);
        r.queue.remove(waiter.place, waiter.is_try());
        self.timers.disarm(waiter.until, crate::timers::Timer::Waiter(head));
        let tenure = r.tenure.as_mut().expect("judged a moment ago");
        let path = match () {
            () if tenure.served == 0 => Path::Store,
            () if waiter.met_others => Path::Handoff,
            () => Path::Retained,
        };
        tenure.served += 1;
        if let Some(interest) = &mut tenure.interest {
            interest.count_grant();
        }
        match waiter.group() {
            Some(group) => self.reserve(now, resource, group, waiter, path),
            None => {
                let grant = self.grant(now, &waiter, path, None);
                let event = grant::event(&grant);
                self.reply(waiter.session, waiter.request, Reply::Granted(grant));
                self.granted(now, &waiter, event);
            }
        }
    }

    /// The time to live that this key's tenure needs: the usual one, or what a timed lease or a rate at the head, or a
    /// renewal, needs (P5), or what is already confirmed, which must not shrink.
    pub(crate) fn wanted_ttl(&self, now: Time, resource: usize) -> Duration {
        let r = &self.resources[resource];
        let slack = Duration::from_millis(200) + self.link.round_trip() * 4;
        let head = r.queue.first().map(|head| &self.waiters[head]);
        let rate = head.and_then(|head| head.per()).map(|per| ttl_covering(self.cooling_time(per) + slack));
        let head = head.and_then(|head| match head.life {
            Life::Timed { ttl, .. } => Some(ttl_covering(ttl + slack)),
            Life::Session { .. } => None,
        });
        let reserved = self.reserved_ttl(resource).map(|ttl| ttl_covering(ttl + slack));
        let renewal = r.renewals.iter().map(|renewal| ttl_covering(renewal.ttl + slack)).max();
        let confirmed = r.tenure.as_ref().map(|tenure| ttl_covering(tenure.deadline.since(now)));
        [head, rate, reserved, renewal, confirmed]
            .into_iter()
            .flatten()
            .fold(self.tenure_ttl(), Duration::max)
    }

    /// Refuses every try of the queue: what it met will not go away at once.
    pub(crate) fn refuse_tries(&mut self, now: Time, resource: usize, unavailable: bool) {
        if !self.resources[resource].queue.has_tries() {
            return;
        }
        let asked = self.resources[resource].ask.as_ref();
        let mismatch = asked.and_then(|ask| ask.mismatched).map(|mismatch| mismatch.limit);
        let quarantine = asked.and_then(|ask| ask.quarantine(now));
        let tries: Vec<usize> = self.resources[resource].queue.tries().collect();
        for waiter in tries {
            let refusal = match (quarantine, mismatch) {
                _ if unavailable => Refusal::StoreUnavailable,
                (Some(left), _) => Refusal::Quarantined { left },
                (None, Some(limit)) => Refusal::LimitMismatch { limit },
                (None, None) => self.refusal_of_taken(now, &self.waiters[waiter]),
            };
            self.refuse_waiter(now, waiter, refusal);
        }
    }

    /// Refuses everybody in the queue: the key is in use with another limit.
    pub(crate) fn refuse_mismatched(&mut self, now: Time, resource: usize, limit: u32) {
        let all: Vec<usize> = self.resources[resource].queue.iter().collect();
        for waiter in all {
            self.refuse_waiter(now, waiter, Refusal::LimitMismatch { limit });
        }
    }

    /// Tries in the queue have until then and no longer.
    pub(crate) fn limit_tries(&mut self, resource: usize, until: Time) {
        let tries: Vec<usize> = self.resources[resource].queue.tries().collect();
        for index in tries {
            self.limit_waiter(index, until);
        }
    }

    fn rearm_or_forget(&mut self, resource: usize) {
        if self.resources[resource].is_forgettable() {
            let r = self.resources.remove(resource);
            self.timers.disarm(r.armed, crate::timers::Timer::Resource(resource));
            return;
        }
        let due = self.resources[resource].next_due();
        let armed = self.resources[resource].armed;
        // A timer that comes too early costs a look; moving it at every grant would cost more.
        if due < armed {
            self.timers.disarm(armed, crate::timers::Timer::Resource(resource));
            self.timers.arm(due, crate::timers::Timer::Resource(resource));
            self.resources[resource].armed = due;
        }
    }

    /// A resource's timer fired.
    pub(crate) fn resource_due(&mut self, now: Time, resource: usize) {
        let Some(r) = self.resources.get_mut(resource) else {
            return;
        };
        if r.armed > now {
            return;
        }
        r.armed = Time::MAX;
        self.cool(now, resource);
        self.tenure_due(now, resource);
        self.give_up_finishes(now, resource);
        self.pay_debts(now, resource);
        if self.resources[resource].ask.as_ref().is_some_and(|ask| ask.again_at <= now) {
            self.send_ask(now, resource);
        }
        self.serve(now, resource);
    }

    pub(crate) fn reply(&mut self, session: crate::SessionId, request: crate::RequestId, reply: Reply) {
        self.effects.push_back(Effect::Reply { session, request, reply });
    }
}
