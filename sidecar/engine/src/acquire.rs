//! Waiters: requests from their arrival to their one answer.
//!
//! Owns arrival, patience, cancel and refusal. Must not know when somebody is granted: that is `serve`.

use crate::ask::Ask;
use crate::effect::{EventKind, Notice, Refusal, Reply};
use crate::engine::Engine;
use crate::input::{Acquire, Life};
use crate::lease::End;
use crate::model::{Mode, RequestId, SessionId, Time, Window};
use crate::mutant::Mutant;
use crate::owners::{OwnerId, OwnerNo, Wait};
use crate::queue::Place;
use crate::resource::Resource;
use crate::serve::Verdict;
use crate::session::Slot;
use crate::store::Success;
use crate::timers::Timer;
use std::time::Duration;

/// Until the store has said a word, a try waits for a part of a tenure, and for so long at most.
const TRY_PATIENCE_MAX: Duration = Duration::from_secs(5);

/// A request in a queue.
pub(crate) struct Waiter {
    pub(crate) resource: usize,
    pub(crate) session: SessionId,
    pub(crate) request: RequestId,
    pub(crate) mode: Mode,
    pub(crate) place: Place,
    pub(crate) priority: i32,
    pub(crate) since: Time,
    /// When its patience ends; `MAX` never.
    pub(crate) until: Time,
    pub(crate) wait: Option<Duration>,
    pub(crate) life: Life,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) owner: Option<OwnerNo>,
    /// Its wait counts where deadlocks are looked for.
    pub(crate) find_deadlocks: bool,
    pub(crate) uid: u32,
    pub(crate) special: Option<Box<Special>>,
    /// Others held the key or waited for it when it came.
    pub(crate) met_others: bool,
}

/// What few waiters have, behind one word.
pub(crate) struct Special {
    /// Its units come back so long after the grant.
    per: Option<Duration>,
    /// It wants a turn of a once key, which fills this window.
    window: Option<Window>,
    /// It waits for one key of this group.
    group: Option<usize>,
}

impl Special {
    fn of(acquire: &Acquire, group: Option<usize>) -> Option<Box<Special>> {
        let (per, window) = (acquire.per, acquire.once.as_deref().copied());
        let any = per.is_some() || window.is_some() || group.is_some();
        any.then(|| Box::new(Special { per, window, group }))
    }
}

impl Waiter {
    /// Its units come back so long after the grant.
    pub(crate) fn per(&self) -> Option<Duration> {
        self.special.as_ref()?.per
    }

    /// The window that its turn fills.
    pub(crate) fn window(&self) -> Option<Window> {
        self.special.as_ref()?.window
    }

    /// It waits for one key of this group.
    pub(crate) fn group(&self) -> Option<usize> {
        self.special.as_ref()?.group
    }

    /// It wants an answer now, not a turn.
    pub(crate) fn is_try(&self) -> bool {
        self.wait == Some(Duration::ZERO)
    }
}

impl Engine {
    pub(crate) fn acquire(&mut self, now: Time, acquire: Acquire) {
        let (session, request) = (acquire.session, acquire.request);
        let notify = acquire.notify_queued;
        if self.is_known_done(now, &acquire) {
            return;
        }
        if acquire.reentrant {
            match self.reenter(now, &acquire) {
                Ok(true) => return,
                Ok(false) => {}
                Err(refusal) => return self.reply(session, request, Reply::Refused(refusal)),
            }
        }
        let (resource, owner) = match self.admit(now, &acquire) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.turn_away(&acquire, refusal),
        };
        let waiter = self.line_up(now, resource, owner, acquire, None);
        self.begin_waiting(now, waiter, notify);
    }

    /// It is refused before it was anywhere. Who found no place to wait in is counted by what it hears: a storm of them is to cost
    /// no events.
    pub(crate) fn turn_away(&mut self, acquire: &Acquire, refusal: Refusal) {
        if !matches!(refusal, Refusal::QueueFull { .. } | Refusal::TooMany { .. }) {
            let kind = EventKind::Refused { refusal: refusal.clone(), waited: Duration::ZERO };
            self.event_of(acquire.key.clone(), acquire.mode, acquire.session, acquire.request, kind);
        }
        self.reply(acquire.session, acquire.request, Reply::Refused(refusal));
    }

    /// Somebody came: what follows at once, and what it is told if it has to wait.
    pub(crate) fn begin_waiting(&mut self, now: Time, waiter: usize, notify: bool) {
        let Waiter { resource, session, request, mode, .. } = self.waiters[waiter];
        self.serve(now, resource);
        if !self.waiters.contains(waiter) {
            return;
        }
        self.event(resource, mode, session, request, EventKind::Queued);
        if notify {
            let ahead = self.resources[resource].queue.ahead_of(self.waiters[waiter].place);
            self.notice(session, Notice::Queued { request, ahead: u32::try_from(ahead).unwrap_or(u32::MAX) });
        }
        self.settle_in(now, resource, waiter);
    }

    /// A new waiter has to wait indeed.
    pub(crate) fn settle_in(&mut self, now: Time, resource: usize, waiter: usize) {
        self.bound_try(now, resource, waiter);
        if self.waiters.get(waiter).is_some_and(|waiter| waiter.owner.is_some()) {
            self.break_deadlocks(now, waiter);
            self.patrol_for_owners(now);
        }
    }

    /// A try that is still here waits for the store: for its word, and for a recall once it said that somebody holds.
    fn bound_try(&mut self, now: Time, resource: usize, waiter: usize) {
        if !self.waiters[waiter].is_try() {
            return;
        }
        let asked = self.resources[resource].ask.as_ref();
        let refusal = match asked.and_then(|ask| ask.quarantine(now)) {
            _ if !self.link.is_up() => Refusal::StoreUnavailable,
            Some(left) => Refusal::Quarantined { left },
            None => {
                let heard = asked.is_some_and(|ask| ask.queued.is_some());
                let patience =
                    if heard { self.grace() } else { TRY_PATIENCE_MAX.min(self.config.tenure_ttl / 4) };
                return self.limit_waiter(waiter, now + patience);
            }
        };
        self.refuse_waiter(now, waiter, refusal);
        self.serve(now, resource);
    }

    /// The checks that need the engine's state; the gate made the others.
    fn admit(&mut self, now: Time, acquire: &Acquire) -> Result<(usize, Option<OwnerId>), Refusal> {
        self.admit_request(acquire.session, acquire.request)?;
        if let Life::Timed { secret, .. } = acquire.life
            && self.timed.contains_key(&secret)
        {
            return Err(Refusal::BadRequest("this lease id is in use: draw a random one"));
        }
        let owner = self.owner_of(acquire)?;
        let resource = self.admit_to_key(now, owner.as_ref(), acquire)?;
        Ok((resource, owner))
    }

    pub(crate) fn admit_to_key(
        &mut self,
        now: Time,
        owner: Option<&OwnerId>,
        acquire: &Acquire,
    ) -> Result<usize, Refusal> {
        let resource = self.resource_for(&acquire.key, acquire.mode.limit());
        self.agree_on_limit(now, resource, acquire.mode.limit())?;
        if let Some(known) = owner.and_then(|owner| self.owners.find(owner)) {
            self.refuse_nested(now, known, resource, acquire)?;
        }
        let r = &self.resources[resource];
        if r.queue.len() >= self.config.waiters_per_key_max as usize {
            return Err(Refusal::QueueFull { limit: self.config.waiters_per_key_max });
        }
        Ok(resource)
    }

    /// Whether the session may wait for one more lease.
    pub(crate) fn admit_request(&self, session: SessionId, request: RequestId) -> Result<(), Refusal> {
        self.admit_number(session, request)?;
        let refuses = self.draining && !Mutant::DrainIgnored.is(self.config.mutant);
        if refuses { Err(Refusal::Draining) } else { Ok(()) }
    }

    /// Whether the session may have one more request, of whatever kind, under this number.
    pub(crate) fn admit_number(&self, id: SessionId, request: RequestId) -> Result<(), Refusal> {
        let session = self.sessions.get(&id);
        let session = session.ok_or(Refusal::BadRequest("the session is over: connect again"))?;
        if session.is_cut() {
            // Sent before its connection was closed: a grant would go to nobody, and nothing would ever end it.
            return Err(Refusal::BadRequest("the connection was closed: connect again"));
        }
        if session.slot(request).is_some() || self.registers.find(id, request).is_some() {
            return Err(Refusal::BadRequest(
                "this request number is in use: number requests without repetition",
            ));
        }
        if session.waiting() + session.operations >= self.config.in_flight_per_session_max {
            return Err(Refusal::TooMany { limit: self.config.in_flight_per_session_max });
        }
        Ok(())
    }

    pub(crate) fn resource_for(&mut self, key: &crate::Key, limit: u32) -> usize {
        match self.resources.find(key) {
            Some(resource) => resource,
            None => self.resources.insert(Resource::new(key.clone(), limit)),
        }
    }

    /// All who use a key at a time agree on its limit; a key that is merely kept changes it.
    fn agree_on_limit(&mut self, now: Time, resource: usize, limit: u32) -> Result<(), Refusal> {
        let r = &self.resources[resource];
        if r.limit == limit {
            return Ok(());
        }
        if !r.live.is_empty() || !r.queue.is_empty() {
            return Err(Refusal::LimitMismatch { limit: r.limit });
        }
        self.drop_ask(now, resource);
        self.return_idle(now, resource);
        self.resources[resource].limit = limit;
        Ok(())
    }

    /// Puts a request into the queue of its key: one of its own, or a member of a group that waits since then.
    pub(crate) fn line_up(
        &mut self,
        now: Time,
        resource: usize,
        owner: Option<OwnerId>,
        acquire: Acquire,
        group: Option<(usize, Time)>,
    ) -> usize {
        let place = Place::new(now, acquire.priority, self.arrivals);
        let r = &self.resources[resource];
        let met_others = !r.queue.is_empty() || !r.live.fits(acquire.mode);
        let uid = self.sessions.get(&acquire.session).map_or(u32::MAX, |session| session.uid);
        let special = Special::of(&acquire, group.map(|(group, _)| group));
        let waiter = self.insert_waiter(Waiter {
            resource,
            session: acquire.session,
            request: acquire.request,
            mode: acquire.mode,
            place,
            priority: acquire.priority,
            since: group.map_or(now, |(_, since)| since),
            until: Time::MAX,
            wait: acquire.wait,
            life: acquire.life,
            max_hold: acquire.max_hold,
            owner: None,
            find_deadlocks: acquire.find_deadlocks,
            uid,
            special,
            met_others,
        });
        let since = self.link.store_time(now);
        self.waiters[waiter].owner =
            owner.map(|owner| self.owners.waits(owner, Wait::Request(waiter), since));
        waiter
    }

    /// Takes a waiter into its queue, for as long as it is ready to wait.
    pub(crate) fn insert_waiter(&mut self, mut waiter: Waiter) -> usize {
        self.arrivals += 1;
        let Waiter { resource, session, request, place, wait, since, .. } = waiter;
        // A try is bounded once it is known whom it waits for.
        let is_try = waiter.is_try();
        let times = if Mutant::PatienceIgnored.is(self.config.mutant) { 2 } else { 1 };
        waiter.until = wait.filter(|_| !is_try).map_or(Time::MAX, |wait| since + wait * times);
        let until = waiter.until;
        let is_member = waiter.group().is_some();
        let waiter = self.waiters.insert(waiter);
        // A group's numbers stand for the group.
        if let Some(session) = self.sessions.get_mut(&session).filter(|_| !is_member) {
            session.wait(request, Slot::Waiting(waiter));
        }
        self.timers.arm(until, Timer::Waiter(waiter));
        self.resources[resource].queue.push(place, waiter, is_try);
        waiter
    }

    /// Its patience ends then, if not sooner.
    pub(crate) fn limit_waiter(&mut self, index: usize, until: Time) {
        let waiter = &mut self.waiters[index];
        if until < waiter.until {
            self.timers.disarm(waiter.until, Timer::Waiter(index));
            self.timers.arm(until, Timer::Waiter(index));
            waiter.until = until;
        }
    }

    /// A waiter's timer fired.
    pub(crate) fn waiter_due(&mut self, now: Time, index: usize) {
        let Some(waiter) = self.waiters.get(index) else {
            return;
        };
        if waiter.until > now {
            return;
        }
        let resource = waiter.resource;
        let r = &self.resources[resource];
        // A wait may be shorter than a round trip: only a store that has been silent for longer is away. To say that there is another
        // limit, which those who have nothing any more may be about to give up, is no silence.
        let is_silent = |ask: &Ask| {
            ask.queued.is_none() && ask.mismatched.is_none() && now.since(ask.since) >= self.grace()
        };
        let verdict = (r.queue.first() == Some(index)).then(|| self.judge_head(now, resource));
        let unheard = match (verdict, r.ask.as_deref()) {
            (Some(Verdict::Renew), _) => {
                r.tenure.as_ref().is_some_and(|tenure| tenure.is_unheard(now, self.grace()))
            }
            (Some(Verdict::Ask(_)), Some(ask)) => is_silent(ask),
            (_, ask) => r.tenure.is_none() && ask.is_none_or(is_silent),
        };
        let refusal = match () {
            () if Mutant::StoreNeverBlamed.is(self.config.mutant) => self.refusal_of_taken(now, waiter),
            () if !self.link.is_up() || unheard => Refusal::StoreUnavailable,
            () if Mutant::StoreBlamed.is(self.config.mutant) => Refusal::StoreUnavailable,
            () => match r.ask.as_ref().and_then(|ask| ask.quarantine(now)) {
                Some(left) => Refusal::Quarantined { left },
                None => self.refusal_of_taken(now, waiter),
            },
        };
        self.refuse_waiter(now, index, refusal);
        self.serve(now, resource);
    }

    pub(crate) fn cancel(&mut self, now: Time, session: SessionId, request: RequestId) {
        let slot = self.sessions.get(&session).and_then(|session| session.slot(request));
        let resource = match slot {
            Some(Slot::Waiting(waiter)) => {
                let resource = self.waiters[waiter].resource;
                self.drop_waiter(now, waiter);
                Some(resource)
            }
            Some(Slot::Held(lease) | Slot::Timed(lease))
                if !self.leases[lease].inner_handles().is_empty() =>
            {
                self.cancel_handle(now, lease, session, request);
                None
            }
            // The grant raced the cancel: nobody wants it.
            Some(Slot::Held(lease) | Slot::Timed(lease)) => match self.take_back(now, lease) {
                Some(resource) => Some(resource),
                None => {
                    self.cancel_others(now, lease);
                    Some(self.end_lease(now, lease, End::Released))
                }
            },
            Some(Slot::Grouped(group)) => {
                self.cancel_group(now, group, request);
                None
            }
            None => {
                // The lease that it names was lost before the cancel came: those that were granted with it were not.
                let others = self.sessions.get_mut(&session).and_then(|session| session.left_by(request));
                match others {
                    Some(others) => self.end_granted_together(now, session, others),
                    None => self.cancel_register(now, session, request),
                }
                None
            }
        };
        self.reply(session, request, Reply::Cancelled);
        if let Some(resource) = resource {
            self.serve(now, resource);
        }
        self.forget_if_over(session);
    }

    /// Refuses a waiter. The caller serves the resource.
    pub(crate) fn refuse_waiter(&mut self, now: Time, index: usize, refusal: Refusal) {
        if let Some(group) = self.waiters[index].group() {
            return self.refuse_group(now, group, refusal);
        }
        let waiter = self.take_waiter(index);
        self.reply(waiter.session, waiter.request, Reply::Refused(refusal.clone()));
        let kind = EventKind::Refused { refusal, waited: now.since(waiter.since) };
        self.event(waiter.resource, waiter.mode, waiter.session, waiter.request, kind);
    }

    /// Answers a waiter for a turn with what another turn left. The caller serves the resource.
    pub(crate) fn skip_waiter(&mut self, now: Time, index: usize, success: Success) {
        let waiter = self.take_waiter(index);
        self.reply(waiter.session, waiter.request, Reply::Done(success));
        let kind = EventKind::Skipped { waited: now.since(waiter.since) };
        self.event(waiter.resource, waiter.mode, waiter.session, waiter.request, kind);
    }

    /// Takes a waiter out that wants no answer. The caller serves the resource.
    pub(crate) fn drop_waiter(&mut self, now: Time, index: usize) {
        let waiter = self.take_waiter(index);
        let kind = EventKind::Cancelled { waited: now.since(waiter.since) };
        self.event(waiter.resource, waiter.mode, waiter.session, waiter.request, kind);
    }

    pub(crate) fn take_waiter(&mut self, index: usize) -> Waiter {
        let waiter = self.waiters.remove(index);
        if self.is_upgrading(waiter.resource) {
            self.forget_upgrade(waiter.resource, index);
        }
        if let Some(owner) = waiter.owner {
            self.owners.stops_waiting(owner);
        }
        self.timers.disarm(waiter.until, Timer::Waiter(index));
        self.resources[waiter.resource].queue.remove(waiter.place, waiter.is_try());
        if let Some(session) = self.sessions.get_mut(&waiter.session) {
            session.settle(waiter.request, None);
        }
        waiter
    }
}
