//! Leases: what clients hold.
//!
//! Owns the life of a lease from grant to end, and who may speak of it (S4). Must not know who is served next: every end calls `serve`.

use crate::acquire::Waiter;
use crate::effect::{EventKind, LostReason, Notice, Refusal, Reply};
use crate::ended::{EndedName, Ending};
use crate::engine::Engine;
use crate::input::{LeaseName, Life, Release};
use crate::model::{Fence, LeaseSecret, Mode, RequestId, SessionId, Time};
use crate::mutant::Mutant;
use crate::once::Turn;
use crate::owners::OwnerNo;
use crate::rate::Rate;
use crate::reentry::Handle;
use crate::session::Slot;
use crate::timers::Timer;
use crate::upgrade::Share;
use thin_vec::ThinVec;

/// One live lease.
pub(crate) struct Lease {
    pub(crate) resource: usize,
    /// Its index among the live leases of the resource.
    pub(crate) among_live: usize,
    /// The session that acquired it; a timed lease outlives it.
    pub(crate) session: SessionId,
    pub(crate) request: RequestId,
    pub(crate) mode: Mode,
    pub(crate) fence: Fence,
    pub(crate) since: Time,
    /// The last deadline that the client was told.
    pub(crate) told: Time,
    /// `ttl` since the last explicit renewal or `max_hold`, whichever is first; `MAX` without.
    pub(crate) cap: Time,
    pub(crate) has_ttl: bool,
    /// Its session is cut off: nobody can be told of an extension (P6).
    pub(crate) cut: bool,
    pub(crate) uid: u32,
    armed: Time,
    pub(crate) terms: Option<Box<Terms>>,
}

/// What few leases have.
pub(crate) struct Terms {
    /// When `max_hold` ends, or the time of a rate; `MAX` without.
    hold_until: Time,
    /// Set for permits of a rate.
    rate: Option<Rate>,
    /// This group has reserved its units; it is no lease yet.
    pub(crate) group: Option<usize>,
    /// Leases that were granted with it: whoever cancels the request for it cancels theirs.
    pub(crate) others: Vec<RequestId>,
    /// Set for a timed lease.
    pub(crate) secret: Option<LeaseSecret>,
    owner: Option<OwnerNo>,
    /// It was asked for without a look for deadlocks; so is its upgrade.
    pub(crate) unwatched: bool,
    /// Set once it was upgraded (P16).
    pub(crate) share: Option<Box<Share>>,
    /// Set for a turn of a once key.
    turn: Option<Box<Turn>>,
    /// Its handles beyond the first (P16).
    pub(crate) inner: ThinVec<Handle>,
}

impl Terms {
    fn bare() -> Terms {
        Terms {
            hold_until: Time::MAX,
            rate: None,
            group: None,
            others: Vec::new(),
            secret: None,
            owner: None,
            unwatched: false,
            share: None,
            turn: None,
            inner: ThinVec::new(),
        }
    }
}

impl Lease {
    pub(crate) fn new(
        now: Time,
        resource: usize,
        fence: Fence,
        waiter: &Waiter,
        rate: Option<Rate>,
        turn: Option<Turn>,
        tellable: Time,
    ) -> Lease {
        let hold_until = waiter.max_hold.map_or(Time::MAX, |span| now + span);
        let hold_until = rate.as_ref().map_or(hold_until, |rate| rate.ends.min(hold_until));
        let (ttl, secret) = match waiter.life {
            Life::Session { ttl } => (ttl, None),
            Life::Timed { ttl, secret } => (Some(ttl), Some(secret)),
        };
        let cap = ttl.map_or(Time::MAX, |ttl| now + ttl).min(hold_until);
        let plain = hold_until == Time::MAX && secret.is_none() && waiter.owner.is_none() && turn.is_none();
        let terms = (!plain).then(|| {
            let (owner, turn) = (waiter.owner, turn.map(Box::new));
            let unwatched = !waiter.find_deadlocks;
            Box::new(Terms { hold_until, rate, secret, owner, unwatched, turn, ..Terms::bare() })
        });
        // A timed lease is granted once all of its time is confirmed, so its cap is its deadline.
        let told = if secret.is_some() { cap } else { tellable.min(cap) };
        Lease {
            resource,
            among_live: 0,
            session: waiter.session,
            request: waiter.request,
            mode: waiter.mode,
            fence,
            since: now,
            told,
            cap,
            has_ttl: ttl.is_some(),
            cut: false,
            uid: waiter.uid,
            armed: Time::MAX,
            terms,
        }
    }

    /// Units bound for a group: no fence, and nobody is told of it.
    pub(crate) fn reservation(now: Time, resource: usize, waiter: &Waiter, group: usize) -> Lease {
        let terms = Terms { group: Some(group), owner: waiter.owner, ..Terms::bare() };
        Lease {
            resource,
            among_live: 0,
            session: waiter.session,
            request: waiter.request,
            mode: waiter.mode,
            fence: 0,
            since: now,
            told: Time::ZERO,
            cap: Time::MAX,
            has_ttl: false,
            cut: false,
            uid: waiter.uid,
            armed: Time::MAX,
            terms: Some(Box::new(terms)),
        }
    }

    /// Set for a timed lease.
    pub(crate) fn secret(&self) -> Option<LeaseSecret> {
        self.terms.as_ref()?.secret
    }

    pub(crate) fn is_timed(&self) -> bool {
        self.secret().is_some()
    }

    pub(crate) fn owner(&self) -> Option<OwnerNo> {
        self.terms.as_ref()?.owner
    }

    /// Set for a turn of a once key.
    pub(crate) fn turn(&self) -> Option<Turn> {
        self.terms.as_ref()?.turn.as_deref().copied()
    }

    /// Set for permits of a rate.
    pub(crate) fn rate(&self) -> Option<&Rate> {
        self.terms.as_ref()?.rate.as_ref()
    }

    /// When `max_hold` ends, or the time of a rate; `MAX` without.
    pub(crate) fn hold_until(&self) -> Time {
        self.terms.as_ref().map_or(Time::MAX, |terms| terms.hold_until)
    }

    /// What few leases have; this one has it now.
    pub(crate) fn terms(&mut self) -> &mut Terms {
        self.terms.get_or_insert_with(|| Box::new(Terms::bare()))
    }

    /// Its handles beyond the first: mostly none.
    pub(crate) fn inner_handles(&self) -> &[Handle] {
        self.terms.as_ref().map_or(&[], |terms| terms.inner.as_slice())
    }

    pub(crate) fn ends_at(&self) -> Time {
        if self.cut { self.cap.min(self.told) } else { self.cap }
    }

    /// Which of its ends it was.
    pub(crate) fn lost_by(&self, now: Time) -> LostReason {
        match () {
            () if self.hold_until() <= now => LostReason::MaxHold,
            () if self.cap <= now => LostReason::Expired,
            () => LostReason::Session,
        }
    }
}

/// How a lease ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its holder gave it back, or it came to the end that it was meant to have.
    Released,
    Lost(LostReason),
    /// A turn succeeded.
    Finished,
}

impl Engine {
    pub(crate) fn release(&mut self, now: Time, request: Release) {
        let Release { session, request, lease } = request;
        match self.find_lease(session, lease) {
            Ok(index) if self.drop_handle(index, session, lease) => self.released(session, request, None),
            Ok(index) => {
                let holder = self.leases[index].session;
                let resource = self.end_lease(now, index, End::Released);
                self.released(session, request, Some(index));
                self.serve(now, resource);
                self.forget_if_over(holder);
            }
            Err(Missing::Released) => self.released(session, request, None),
            Err(Missing::Refused(refusal)) => self.reply(session, request, Reply::Refused(refusal)),
        }
    }

    /// Answers a release, once the lease is free: an operation that is under way may keep it a little.
    fn released(&mut self, session: SessionId, request: RequestId, lease: Option<usize>) {
        let wanted = request != RequestId::NOBODY;
        if wanted && !lease.is_some_and(|lease| self.pins.tell_when_free(lease, session, request)) {
            self.reply(session, request, Reply::Released);
        }
    }

    /// Until when the holder of this lease was told that it has it, if there is one.
    pub fn told(&self, session: SessionId, name: LeaseName) -> Option<Time> {
        self.find_lease(session, name).ok().map(|lease| self.leases[lease].told)
    }

    /// The lease that a session speaks of, if it may and it lives.
    pub(crate) fn lease_named(&self, session: SessionId, name: LeaseName) -> Result<usize, Refusal> {
        self.find_lease(session, name).map_err(|missing| match missing {
            Missing::Released => Refusal::NotFound,
            Missing::Refused(refusal) => refusal,
        })
    }

    pub(crate) fn find_lease(&self, session: SessionId, name: LeaseName) -> Result<usize, Missing> {
        let speaker = self.sessions.get(&session);
        let (ended, uid) = match name {
            LeaseName::Session(request) => {
                match speaker.and_then(|speaker| speaker.slot(request)) {
                    Some(Slot::Held(index) | Slot::Timed(index)) => return Ok(index),
                    Some(Slot::Waiting(_) | Slot::Grouped(_)) => {
                        return Err(Missing::Refused(Refusal::NotFound));
                    }
                    None => {}
                }
                let lost = self.ended.recall(EndedName::Session(session, request));
                let known = speaker.is_some_and(|speaker| speaker.has_asked(request));
                if lost.is_none() && known {
                    return Err(Missing::Released);
                }
                (lost, 0)
            }
            LeaseName::Timed(secret) => {
                let uid = speaker.map_or(u32::MAX, |speaker| speaker.uid);
                if let Some(&index) = self.timed.get(&secret) {
                    let mine = self.leases[index].uid == uid;
                    return if mine { Ok(index) } else { Err(Missing::Refused(Refusal::NotHeld)) };
                }
                (self.ended.recall(EndedName::Timed(secret)), uid)
            }
        };
        Err(match ended {
            None => Missing::Refused(Refusal::NotFound),
            Some(ending) if ending.uid != uid => Missing::Refused(Refusal::NotHeld),
            Some(Ending { lost: None, .. }) => Missing::Released,
            Some(Ending { lost: Some(reason), .. }) => Missing::Refused(Refusal::LeaseLost(reason)),
        })
    }

    /// Ends a lease and tells whoever must know. The caller serves the resource, which is returned.
    pub(crate) fn end_lease(&mut self, now: Time, index: usize, end: End) -> usize {
        self.end_for_client(now, index, end);
        match self.pins.keep(index) {
            true => self.leases[index].resource,
            false => self.free_lease(index),
        }
    }

    /// The lease is over for its client.
    pub(crate) fn end_for_client(&mut self, now: Time, index: usize, end: End) {
        let lease = &mut self.leases[index];
        let (resource, session, request, mode) = (lease.resource, lease.session, lease.request, lease.mode);
        let (fence, held) = (lease.fence, now.since(lease.since));
        let armed = std::mem::replace(&mut lease.armed, Time::MAX);
        self.timers.disarm(armed, Timer::Lease(index));
        if let Some(owner) = lease.terms.as_mut().and_then(|terms| terms.owner.take()) {
            self.owners.lets_go(owner, index);
        }
        let lost = if let End::Lost(reason) = end { Some(reason) } else { None };
        let ending = Ending { uid: lease.uid, lost };
        let (first, inner) = (lease.handle(), lease.take_inner_handles());
        let others = lease.take_others();
        if let Some(session) =
            self.sessions.get_mut(&session).filter(|_| lost.is_some() && !others.is_empty())
        {
            session.loses_first(request, others);
        }
        self.forget_handle(first, ending);
        inner.iter().for_each(|&handle| self.forget_handle(handle, ending));
        self.spend(now, index);
        self.refuse_renewals_of(index, resource, end);
        if self.is_upgrading(resource) {
            self.end_upgrade_of(now, resource, index, end);
        }
        let kind = match end {
            End::Released => EventKind::Released { fence, held },
            End::Finished => EventKind::Finished { fence, held },
            End::Lost(reason) => {
                self.tell_lost(first, reason);
                inner.iter().for_each(|&handle| self.tell_lost(handle, reason));
                EventKind::Lost { fence, held, reason }
            }
        };
        self.event(resource, mode, session, request, kind);
    }

    /// What the lease held is free. The caller serves the resource, which is returned.
    pub(crate) fn free_lease(&mut self, index: usize) -> usize {
        let lease = self.leases.remove(index);
        self.tally.remove(lease.uid);
        let r = &mut self.resources[lease.resource];
        if let Some(moved) = r.live.remove(lease.among_live, lease.mode) {
            self.leases[moved].among_live = lease.among_live;
        }
        lease.resource
    }

    fn tell_lost(&mut self, handle: Handle, reason: LostReason) {
        if handle.secret.is_some() {
            return;
        }
        let (id, request) = (handle.session, handle.request);
        self.ended.remember(EndedName::Session(id, request), Ending { uid: 0, lost: Some(reason) });
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.is_cut() {
            session.lost_while_cut.push((request, reason));
        } else {
            self.notice(id, Notice::Lost { request, reason });
        }
    }

    /// The tenure under all leases of this key is gone. The caller serves the resource.
    pub(crate) fn lose_all(&mut self, now: Time, resource: usize, reason: LostReason) {
        let mut all: Vec<usize> = self.resources[resource].live.iter().collect();
        all.sort_by_key(|&lease| self.leases[lease].fence);
        for lease in all {
            if let Some(group) = self.leases[lease].group() {
                self.reservation_lost(group, lease);
                continue;
            }
            let session = self.leases[lease].session;
            if !self.pins.is_over(lease) {
                self.end_for_client(now, lease, End::Lost(reason));
            }
            self.drop_pins(lease);
            self.free_lease(lease);
            if !Mutant::SessionOutlivesLeases.is(self.config.mutant) {
                self.forget_if_over(session);
            }
        }
        self.forget_spent(resource);
    }

    /// Arms the lease's own timer for its cap, or for the last deadline told if its session is cut off.
    pub(crate) fn arm_lease(&mut self, index: usize) {
        let lease = &mut self.leases[index];
        let at = lease.ends_at();
        if at != lease.armed {
            self.timers.disarm(lease.armed, Timer::Lease(index));
            self.timers.arm(at, Timer::Lease(index));
            lease.armed = at;
        }
    }

    /// A lease's timer fired.
    pub(crate) fn lease_due(&mut self, now: Time, index: usize) {
        let Some(lease) = self.leases.get_mut(index) else {
            return;
        };
        if lease.armed > now {
            return;
        }
        lease.armed = Time::MAX;
        let runs_out = || lease.is_timed() && lease.cap <= now && lease.cap < lease.hold_until();
        let end = match lease.rate() {
            // Permits of a rate are spent and come back by the clock: whoever lets their lease run out has lost nothing.
            Some(rate) if rate.ends <= now || runs_out() => End::Released,
            _ => End::Lost(lease.lost_by(now)),
        };
        if matches!(end, End::Lost(LostReason::MaxHold)) && Mutant::MaxHoldIgnored.is(self.config.mutant) {
            return;
        }
        let session = lease.session;
        let resource = self.end_lease(now, index, end);
        self.serve(now, resource);
        self.forget_if_over(session);
    }
}

/// Why a named lease can not be acted on.
pub(crate) enum Missing {
    /// Its holder released it already: saying so again changes nothing.
    Released,
    Refused(Refusal),
}
