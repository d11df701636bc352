//! Tenures: what this sidecar holds in the store, and for how long it may believe so.
//!
//! Owns deadlines (P4), renewal, retention (P10, P11), the closing and the death of tenures (P8). Must not know how a
//! tenure was won (`ask`) or who is served under it (`serve`).

use crate::certainty::deadline;
use crate::effect::{Effect, LostReason, Notice};
use crate::engine::Engine;
use crate::fence::Fences;
use crate::gone::is_word_of_it;
use crate::interest::Interest;
use crate::link::{Sent, SentKind};
use crate::model::{AskId, Fence, FenceRange, Time};
use crate::mutant::Mutant;
use crate::store::{CallId, Fault, GiveBack, Op, Outcome, Renew, Reply, Tenancy};
use std::time::Duration;

/// A renewal that was not applied is tried again after this long, while the link is up.
pub(crate) const RENEW_RETRY: Duration = Duration::from_millis(100);
/// Those that are due within this time leave together: more save little, and who comes behind them waits (P13).
const RENEWALS_EVERY: Duration = Duration::from_millis(2);
/// Keys held beyond this many stretch the tenure's time to live in proportion (P13).
const HELD_KEYS_PER_TTL: usize = 100_000;

/// One tenure. It is removed from its resource the moment its return is sent: a closed tenure serves nobody.
pub(crate) struct Tenure {
    pub(crate) seq: u64,
    pub(crate) units: u32,
    /// Past this it is dead, whatever the store says later.
    pub(crate) deadline: Time,
    /// Since which fence it stands without a break.
    pub(crate) origin: Fence,
    pub(crate) fences: Fences,
    /// Another sidecar waits.
    pub(crate) interest: Option<Box<Interest>>,
    /// Leases handed out under it.
    pub(crate) served: u32,
    /// When a renewal is due; `MAX` while one is under way, or none is wanted.
    renew_at: Time,
    renewing: bool,
    /// … which asks for more fences.
    topping_up: bool,
    /// Not before this: the last renewal failed, and trying at once again would be trying without end.
    retry_at: Time,
    /// The last renewal was not taken, or brought nothing that can be handed out; on this connection.
    refused: bool,
    /// Boottime of the sending of the last confirmed ask or renewal.
    confirmed: Time,
    /// Last time anything was sent about it.
    contacted: Time,
    /// When the store is to be contacted, only to learn whether others wait; `MAX` if nobody used it since the last time.
    pub(crate) contact_at: Time,
    /// When an idle tenure goes back; `MAX` in use.
    idle_until: Time,
    /// When its leases hear that they are at risk; `MAX` once they did.
    at_risk_at: Time,
    /// The clock stepped since what its deadline rests on was sent: only a later renewal proves anything (H9).
    pub(crate) unproven: bool,
}

impl Tenure {
    pub(crate) fn next_due(&self) -> Time {
        let upkeep = self.renew_at.min(self.contact_at).min(self.idle_until);
        let budget = self.interest.as_ref().map_or(Time::MAX, |interest| interest.next_due());
        self.deadline.min(upkeep).min(self.at_risk_at).min(budget)
    }

    /// Enough certainty to hand out a lease that lives until `until`.
    pub(crate) fn is_good_until(&self, until: Time) -> bool {
        !self.unproven && self.deadline >= until
    }

    /// So long nothing was said to the store about it.
    pub(crate) fn silence(&self, now: Time) -> Duration {
        now.since(self.contacted)
    }

    /// The store has refused renewals since it took one, or has been silent about one for this long.
    pub(crate) fn is_unheard(&self, now: Time, grace: Duration) -> bool {
        self.refused || self.renewing && self.silence(now) >= grace
    }

    /// A renewal, or what stands for one, leaves now.
    pub(crate) fn sends(&mut self, now: Time) {
        self.renewing = true;
        self.topping_up = false;
        self.contacted = now;
    }

    pub(crate) fn retry_after(&mut self, now: Time, pause: Duration) {
        self.retry_at = now + pause;
        self.renew_at = self.retry_at;
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.idle_until < Time::MAX
    }
}

impl Engine {
    /// A tenure's time to live now.
    pub(crate) fn tenure_ttl(&self) -> Duration {
        let stretch = self.tenures / HELD_KEYS_PER_TTL + 1;
        let stretched = self.config.tenure_ttl.saturating_mul(u32::try_from(stretch).unwrap_or(u32::MAX));
        stretched.min(self.config.tenure_ttl_max)
    }

    fn proven_deadline(&self, now: Time, sent: Time, remaining: Duration) -> Time {
        match Mutant::DeadlineFromReply.is(self.config.mutant) {
            true => now + remaining,
            false => deadline(sent, remaining),
        }
    }

    /// The store says that this tenure stands. Takes the place of an older one of this resource (growth).
    pub(crate) fn install(&mut self, now: Time, resource: usize, seq: u64, sent: Time, tenancy: Tenancy) {
        self.ended_before(now, resource, tenancy.origin);
        let deadline = self.proven_deadline(now, sent, tenancy.remaining);
        let unproven = !self.link.is_proof(sent);
        let renew_at = if unproven { now } else { self.renewal_due(resource, sent, deadline) };
        let r = &mut self.resources[resource];
        // Growth never shortens what was confirmed, but a repeated answer to it may prove less.
        let deadline = match &r.tenure {
            Some(older) if !older.unproven => deadline.max(older.deadline),
            _ => deadline,
        };
        // A store that lost data may have an earlier one again.
        let origin = r.tenure.as_ref().map_or(tenancy.origin, |older| older.origin.max(tenancy.origin));
        let at_risk_at = deadline - self.config.tenure_ttl / 3;
        let tenure = Tenure {
            seq,
            units: tenancy.units,
            deadline,
            origin,
            fences: Fences::new(tenancy.range, r.issued),
            interest: None,
            served: 0,
            renew_at,
            renewing: false,
            topping_up: false,
            retry_at: Time::ZERO,
            refused: false,
            confirmed: sent,
            contacted: now,
            contact_at: Time::MAX,
            idle_until: Time::MAX,
            at_risk_at,
            unproven,
        };
        match r.tenure.replace(tenure) {
            Some(grown) => self.idle_tenures -= usize::from(grown.is_idle()),
            None => self.tenures += 1,
        }
        if tenancy.contended {
            self.learn_interest(now, resource);
        }
        self.extend_leases(now, resource);
    }

    /// The store knows our tenure, or what is left of it, by another name: that is no turn of ours, and the budget goes on.
    pub(crate) fn rename_tenure(
        &mut self,
        now: Time,
        resource: usize,
        seq: u64,
        sent: Time,
        tenancy: Tenancy,
    ) {
        self.ended_before(now, resource, tenancy.origin);
        let older = self.resources[resource].tenure.as_mut();
        let budget = older.map(|older| (older.served, older.interest.take()));
        self.install(now, resource, seq, sent, tenancy);
        if let (Some((served, interest)), Some(tenure)) = (budget, &mut self.resources[resource].tenure) {
            tenure.served = served;
            tenure.interest = interest.filter(|_| tenancy.contended);
            if tenancy.contended {
                self.learn_interest(now, resource);
            }
        }
    }

    /// Renewals at a third of the time to live, spread by resource so that they do not come as one wave, and in small groups (P13).
    /// A tenure that was granted before many others made that longer stands for less.
    fn renewal_due(&self, resource: usize, confirmed: Time, deadline: Time) -> Time {
        let third = (self.tenure_ttl() / 3).min(deadline.since(confirmed) / 5 * 2);
        let spread = third / 256 * (resource.wrapping_mul(0x9E37_79B9) >> 8 & 0x3F) as u32;
        (confirmed + third - spread).floor(RENEWALS_EVERY).max(confirmed)
    }

    /// Another sidecar waits for this key: from now on the overtaking budget counts (P9).
    pub(crate) fn learn_interest(&mut self, now: Time, resource: usize) {
        if let Some(tenure) = &mut self.resources[resource].tenure
            && tenure.interest.is_none()
        {
            let served = tenure.served > 0 && !Mutant::FreeFirstGrant.is(self.config.mutant);
            let interest = Interest::learned(now, self.arrivals, served, &self.config);
            tenure.interest = Some(Box::new(interest));
        }
    }

    /// Whatever is due at `now` about the tenure of this resource.
    pub(crate) fn tenure_due(&mut self, now: Time, resource: usize) {
        let Some(tenure) = &mut self.resources[resource].tenure else {
            return;
        };
        if tenure.deadline <= now {
            self.kill_tenure(now, resource, LostReason::Store);
            return;
        }
        if let Some(interest) = &mut tenure.interest {
            interest.notice_end(now);
        }
        if tenure.idle_until <= now {
            self.return_idle(now, resource);
            return;
        }
        if tenure.at_risk_at <= now {
            tenure.at_risk_at = Time::MAX;
            self.tell_at_risk(resource);
        }
        if self.resources[resource].tenure.as_ref().is_some_and(|tenure| tenure.contact_at <= now) {
            self.renew_tenure(now, resource);
        }
        if self.resources[resource].tenure.as_ref().is_some_and(|tenure| tenure.renew_at <= now) {
            match self.is_wanted_longer(resource) {
                true => self.renew_tenure(now, resource),
                false => {
                    self.resources[resource].tenure.iter_mut().for_each(|tenure| tenure.renew_at = Time::MAX)
                }
            }
        }
    }

    /// Timed leases alone need no renewal, unless their client has asked for one: all of their time is confirmed already.
    fn is_wanted_longer(&self, resource: usize) -> bool {
        let r = &self.resources[resource];
        let deadline = r.tenure.as_ref().map_or(Time::MAX, |tenure| tenure.deadline);
        !r.queue.is_empty()
            || !r.renewals.is_empty()
            || r.live.iter().any(|lease| self.leases[lease].cap > deadline)
    }

    /// A lease got more time, or one came that lives as long as its session. A tenure whose renewal came due when nobody wanted
    /// one, as under timed leases alone, may be wanted longer now.
    pub(crate) fn resume_renewals(&mut self, now: Time, resource: usize) {
        let tenure = self.resources[resource].tenure.as_ref();
        let rests = |tenure: &Tenure| tenure.renew_at == Time::MAX && !tenure.renewing;
        if tenure.is_some_and(rests) && self.is_wanted_longer(resource) {
            self.renew_tenure(now, resource);
        }
    }

    /// Those that may end before they were meant to.
    fn tell_at_risk(&mut self, resource: usize) {
        let tenure = self.resources[resource].tenure.as_ref().filter(|tenure| !tenure.unproven);
        let certain = tenure.map_or(Time::ZERO, |tenure| tenure.deadline);
        for index in self.resources[resource].live.iter() {
            let lease = &self.leases[index];
            if !lease.is_timed()
                && lease.cap > certain
                && lease.group().is_none()
                && !self.pins.is_over(index)
            {
                for handle in lease.handles() {
                    let notice = Notice::AtRisk { request: handle.request };
                    self.effects.push_back(Effect::Notice { session: handle.session, notice });
                }
            }
        }
    }

    /// Extend the tenure, with more fences where they run low. One renewal at a time: what the answer does not cover, the next
    /// look asks for again.
    pub(crate) fn renew_tenure(&mut self, now: Time, resource: usize) {
        let ttl = self.wanted_ttl(now, resource);
        let floor = self.floor(resource);
        let incarnation = self.config.incarnation;
        let up = self.link.is_up();
        let r = &mut self.resources[resource];
        let Some(tenure) = &mut r.tenure else { return };
        tenure.renew_at = Time::MAX;
        tenure.contact_at = Time::MAX;
        if tenure.renewing || !up {
            return;
        }
        if now < tenure.retry_at {
            tenure.renew_at = tenure.retry_at;
            return;
        }
        tenure.sends(now);
        let seq = tenure.seq;
        let top_up = tenure.fences.is_low();
        tenure.topping_up = top_up;
        let op = Renew { key: r.key.clone(), tenure: AskId { incarnation, seq }, ttl, floor, top_up };
        self.send(resource, Sent { kind: SentKind::Renew, resource, seq, at: now }, Op::Renew(op));
    }

    /// A tenure that is used again, or for the first time long after it was won, is told to the store soon after, so that a
    /// waiter elsewhere whose recall was lost is known within `contact_every` of use; and fences are reserved before they
    /// run out (P1, P11). Called after each grant.
    pub(crate) fn keep_in_touch(&mut self, now: Time, resource: usize) {
        let waited_for = !self.resources[resource].queue.is_empty();
        let Some(tenure) = &mut self.resources[resource].tenure else { return };
        let reused = tenure.served > 1;
        if let Some(every) = self.config.contact_every
            && (reused || tenure.silence(now) >= every)
            && !Mutant::NoContact.is(self.config.mutant)
        {
            tenure.contact_at = tenure.contact_at.min(tenure.contacted + every);
        }
        let low = (reused || waited_for) && tenure.fences.is_low();
        if low || tenure.contact_at <= now {
            self.renew_tenure(now, resource);
        }
    }

    /// The answer to a renewal.
    pub(crate) fn renew_answered(&mut self, now: Time, call: CallId, sent: Sent, outcome: Outcome) {
        let resource = sent.resource;
        let r = &mut self.resources[resource];
        let Some(tenure) = r.tenure.as_mut().filter(|tenure| tenure.seq == sent.seq) else {
            return;
        };
        tenure.renewing = false;
        tenure.refused = !is_word_of_it(&outcome);
        match outcome {
            Outcome::Applied { reply: Reply::Renewed { remaining, origin, range, contended }, .. } => {
                if !self.ended_before(now, resource, origin) {
                    self.renewed(now, resource, sent.at, remaining, range, contended);
                }
            }
            Outcome::Applied { reply: Reply::Gone, .. } => self.tenure_gone(now, resource, sent.seq, call),
            Outcome::Applied { reply: Reply::Forced { seq, .. }, .. } => {
                self.tenure_taken(now, resource, seq)
            }
            Outcome::Applied { reply: Reply::Quarantined { left, .. }, .. } => {
                tenure.retry_after(now, left.max(RENEW_RETRY));
            }
            Outcome::Applied { reply: Reply::Forgotten, .. } => self.reassert(now, resource),
            Outcome::Applied { reply: Reply::ClockRegressed, .. } => {
                tenure.retry_after(now, RENEW_RETRY);
                self.alarm_clock(resource);
            }
            Outcome::NotApplied(Fault::Corrupt(_)) => tenure.retry_after(now, RENEW_RETRY * 10),
            Outcome::Applied { .. } | Outcome::NotApplied(_) | Outcome::Unknown(_) => {
                tenure.retry_after(now, RENEW_RETRY)
            }
        }
    }

    /// The store has extended the tenure, as was asked then.
    fn renewed(
        &mut self,
        now: Time,
        resource: usize,
        sent: Time,
        remaining: Duration,
        range: Option<FenceRange>,
        contended: bool,
    ) {
        let Some(tenure) = &mut self.resources[resource].tenure else {
            return;
        };
        match range {
            Some(range) => tenure.fences.top_up(range),
            // It reserves none in a quarantine.
            None if tenure.topping_up => tenure.retry_at = now + RENEW_RETRY,
            None => {}
        }
        tenure.unproven &= !self.link.is_proof(sent);
        tenure.confirmed = sent;
        tenure.refused = tenure.fences.is_empty() && tenure.topping_up && range.is_none();
        if !contended {
            tenure.interest = None;
        }
        let proven = self.proven_deadline(now, sent, remaining);
        self.extend_tenure(now, resource, proven);
        if contended {
            self.learn_interest(now, resource);
        }
    }

    fn extend_tenure(&mut self, now: Time, resource: usize, proven: Time) {
        let Some(tenure) = &self.resources[resource].tenure else {
            return;
        };
        let deadline = tenure.deadline.max(proven);
        let due = self.renewal_due(resource, tenure.confirmed, deadline);
        let at_risk_at = deadline - self.config.tenure_ttl / 3;
        let Some(tenure) = &mut self.resources[resource].tenure else {
            return;
        };
        (tenure.deadline, tenure.at_risk_at) = (deadline, at_risk_at);
        if !tenure.is_idle() {
            tenure.renew_at = due.max(now + RENEW_RETRY);
        }
        self.extend_leases(now, resource);
    }

    /// The link is back: what could not be sent is due now.
    pub(crate) fn tenure_reconnected(&mut self, now: Time, resource: usize) {
        let Some(tenure) = &mut self.resources[resource].tenure else { return };
        tenure.refused = false;
        if !tenure.is_idle() {
            tenure.retry_at = now;
            tenure.renew_at = now;
        }
    }

    /// The wall clock ran ahead: nothing is handed out until a renewal sent after this is answered (H9).
    pub(crate) fn unprove_tenure(&mut self, now: Time, resource: usize) {
        if let Some(tenure) = &mut self.resources[resource].tenure {
            tenure.unproven = true;
            tenure.at_risk_at = now;
            tenure.renew_at = now;
        }
    }

    /// In use again, or idle from now on.
    pub(crate) fn mark_use(&mut self, now: Time, resource: usize) {
        let idle = self.resources[resource].live.is_empty() && self.resources[resource].queue.is_empty();
        let retention = self.config.retention;
        let Some(tenure) = &self.resources[resource].tenure else {
            return;
        };
        if idle == tenure.is_idle() {
            return;
        }
        let due =
            if idle { Time::MAX } else { self.renewal_due(resource, tenure.confirmed, tenure.deadline) };
        let Some(tenure) = &mut self.resources[resource].tenure else {
            return;
        };
        if idle {
            tenure.idle_until = now + retention;
            tenure.renew_at = due;
            tenure.at_risk_at = Time::MAX;
            self.idle_tenures += 1;
        } else {
            tenure.idle_until = Time::MAX;
            tenure.renew_at = if tenure.renewing { Time::MAX } else { due.max(now) };
            tenure.at_risk_at = tenure.deadline - self.config.tenure_ttl / 3;
            self.idle_tenures -= 1;
        }
    }

    /// Gives back every unit under which no lease lives; all of them: the tenure is closed from here on (P8).
    pub(crate) fn return_idle(&mut self, now: Time, resource: usize) {
        if let Some(back) = self.take_idle(resource) {
            self.owe_return(now, resource, back);
        }
    }

    /// Takes the idle units out of the tenure, for a return or an ask to carry to the store.
    pub(crate) fn take_idle(&mut self, resource: usize) -> Option<GiveBack> {
        let upgrades = self.is_upgrading(resource);
        let r = &mut self.resources[resource];
        let gives_up = upgrades && Mutant::UpgradeDropsShare.is(self.config.mutant);
        let keep = if gives_up { 0 } else { r.live.units(r.limit) };
        let tenure = r.tenure.as_mut().filter(|tenure| tenure.units > keep)?;
        let back = GiveBack { seq: tenure.seq, keep, issued: r.issued };
        if !Mutant::ClosedTenureServes.is(self.config.mutant) {
            tenure.units = keep;
            if keep == 0 {
                self.drop_tenure(resource);
            }
        } else if keep == 0 {
            tenure.interest = None;
            tenure.idle_until = Time::MAX;
        }
        Some(back)
    }

    pub(crate) fn drop_tenure(&mut self, resource: usize) {
        if let Some(tenure) = self.resources[resource].tenure.take() {
            self.tenures -= 1;
            self.idle_tenures -= usize::from(tenure.is_idle());
        }
    }

    /// The tenure is dead. Its leases hear of it before anything else happens, and the store is told until it says so.
    pub(crate) fn kill_tenure(&mut self, now: Time, resource: usize, reason: LostReason) {
        let Some(tenure) = &self.resources[resource].tenure else {
            return;
        };
        let seq = tenure.seq;
        self.drop_tenure(resource);
        self.lose_all(now, resource, reason);
        self.owe_whole(now, resource, seq);
    }

    /// The store's clock lies below fences that were handed out (P1).
    pub(crate) fn alarm_clock(&mut self, resource: usize) {
        let key = self.resources[resource].key.clone();
        self.effects.push_back(Effect::AlarmStoreClock { key });
    }
}
