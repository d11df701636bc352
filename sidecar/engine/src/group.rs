//! Groups: several keys for one request, all or nothing (P19).
//!
//! Owns the order in which a group takes its keys, what it has reserved so far, and that either everything is granted in
//! one turn or everything goes back. Keys are taken in the order of their bytes, by everybody, so that no two groups wait
//! for each other. A *reservation* stands among the live leases of its key and binds its units, but it has no fence, and
//! nobody is told of it. Must not know who gets a key next: a member of a group waits as anybody does.

use crate::acquire::Waiter;
use crate::effect::{Effect, EventKind, Grant, Notice, Path, Refusal, Reply, Reserving};
use crate::engine::{Engine, give_empty_room_back};
use crate::grant;
use crate::input::{Acquire, AcquireAll, Life};
use crate::lease::{End, Lease};
use crate::model::{Key, LeaseSecret, RequestId, SessionId, Time};
use crate::mutant::Mutant;
use crate::owners::OwnerId;
use crate::session::Slot;
use crate::timers::Timer;
use slab::Slab;
use std::collections::VecDeque;
use std::time::Duration;

/// One group.
struct Group {
    /// What every member asks for. Its number, one of the members', is the group's.
    wish: Acquire,
    /// In the order of their bytes, none twice, each with the number of its member.
    keys: Vec<(RequestId, Key)>,
    /// For timed leases, one for each key.
    secrets: Vec<LeaseSecret>,
    owner: Option<OwnerId>,
    since: Time,
    /// When its patience ends; `MAX` never.
    until: Time,
    /// The member that waits in the queue of its key, if one does.
    waiter: Option<usize>,
    /// What it has so far: as many keys from the first on.
    reserved: Vec<Reserved>,
    /// A reservation was lost: it has to begin again.
    broken: bool,
    was_queued: bool,
}

/// A key that a group has, for the time when it has all of them.
struct Reserved {
    lease: usize,
    waiter: Waiter,
    path: Path,
}

/// All groups, and what is to be done about them when the turn's input is dealt with.
#[derive(Default)]
pub(crate) struct Groups {
    all: Slab<Group>,
    /// These can go on.
    moved: VecDeque<usize>,
    /// These have all their keys and wait for a renewal.
    ready: Vec<usize>,
    /// Resources of which something was given back.
    freed: Vec<usize>,
}

impl Groups {
    fn is_idle(&self) -> bool {
        self.moved.is_empty() && self.ready.is_empty() && self.freed.is_empty()
    }

    fn remove(&mut self, group: usize) -> Group {
        self.moved.retain(|&other| other != group);
        self.ready.retain(|&other| other != group);
        self.all.remove(group)
    }

    /// What a crowd needed goes back when the crowd is gone (H16).
    pub(crate) fn give_room_back(&mut self) {
        give_empty_room_back(&mut self.all);
    }
}

impl Group {
    /// What its member for key `index` asks for.
    fn member(&self, index: usize) -> Acquire {
        let life = match (self.wish.life, self.secrets.get(index)) {
            (Life::Timed { ttl, .. }, Some(&secret)) => Life::Timed { ttl, secret },
            (life, _) => life,
        };
        let (request, key) = self.keys[index].clone();
        Acquire { request, key, life, ..self.wish.clone() }
    }

    fn numbers(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.keys.iter().map(|(number, _)| *number)
    }
}

impl Lease {
    /// Unlike any other lease of its key: its fence, or when it was reserved, which is no fence.
    pub(crate) fn identity(&self) -> u64 {
        if self.group().is_some() { 1 << 63 | self.since.0 } else { self.fence }
    }

    /// Set while it is merely reserved.
    pub(crate) fn group(&self) -> Option<usize> {
        self.terms.as_ref()?.group
    }

    /// These leases were granted with it: a cancel of the request for it is one of theirs.
    pub(crate) fn has_others(&mut self, others: Vec<RequestId>) {
        self.terms().others = others;
    }

    pub(crate) fn take_others(&mut self) -> Vec<RequestId> {
        self.terms.as_mut().map(|terms| std::mem::take(&mut terms.others)).unwrap_or_default()
    }
}

impl Engine {
    pub(crate) fn acquire_all(&mut self, now: Time, request: AcquireAll) {
        let AcquireAll { wish, keys, secrets } = request;
        let session = wish.session;
        let owner = match self.admit_group(&wish, &keys, &secrets) {
            Ok(owner) => owner,
            Err(refusal) => return self.turn_away(&wish, refusal),
        };
        // A try is bounded once it is known whom it waits for.
        let wait = wish.wait.filter(|wait| !wait.is_zero());
        let until = wait.map_or(Time::MAX, |wait| now + wait);
        let group = Group {
            wish,
            keys,
            secrets,
            owner,
            since: now,
            until,
            waiter: None,
            reserved: Vec::new(),
            broken: false,
            was_queued: false,
        };
        let numbers: Vec<RequestId> = group.numbers().collect();
        let group = self.groups.all.insert(group);
        if let Some(session) = self.sessions.get_mut(&session) {
            numbers.into_iter().for_each(|number| session.wait(number, Slot::Grouped(group)));
        }
        self.groups.moved.push_back(group);
    }

    fn admit_group(
        &self,
        wish: &Acquire,
        keys: &[(RequestId, Key)],
        secrets: &[LeaseSecret],
    ) -> Result<Option<OwnerId>, Refusal> {
        self.admit_request(wish.session, wish.request)?;
        let session = &self.sessions[&wish.session];
        let mut numbers: Vec<RequestId> = keys.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        let twice = numbers.windows(2).any(|pair| pair[0] == pair[1]);
        let in_use = |number: RequestId| {
            session.slot(number).is_some() || self.registers.find(wish.session, number).is_some()
        };
        let taken = |number: &RequestId| *number == RequestId::NOBODY || in_use(*number);
        if twice || numbers.iter().any(taken) {
            return Err(Refusal::BadRequest(
                "a number of this request is in use: each of its keys takes one of its own",
            ));
        }
        let limit = self.config.in_flight_per_session_max;
        if u64::from(session.waiting() + session.operations) + keys.len() as u64 > u64::from(limit) {
            return Err(Refusal::TooMany { limit });
        }
        if secrets.iter().any(|secret| self.timed.contains_key(secret)) {
            return Err(Refusal::BadRequest("this lease id is in use: draw a random one"));
        }
        self.owner_of(wish)
    }

    /// Every turn ends here: groups that can go on do, and what they gave back is granted to others.
    pub(crate) fn advance_groups(&mut self, now: Time) {
        if self.groups.is_idle() {
            return;
        }
        loop {
            if let Some(resource) = self.groups.freed.pop() {
                // Another may have its number by now: then the look is for nothing.
                if self.resources.get_mut(resource).is_some() {
                    self.serve(now, resource);
                }
            } else if let Some(group) = self.groups.moved.pop_front() {
                self.advance(now, group);
            } else {
                break;
            }
        }
        for group in std::mem::take(&mut self.groups.ready) {
            self.issue_all(now, group);
        }
        if !self.groups.moved.is_empty() || !self.groups.freed.is_empty() {
            self.advance_groups(now);
        }
    }

    fn advance(&mut self, now: Time, group: usize) {
        if self.groups.all[group].broken {
            self.start_again(group);
        }
        let Group { waiter, reserved, keys, .. } = &self.groups.all[group];
        match waiter {
            Some(_) => {}
            None if reserved.len() == keys.len() => self.issue_all(now, group),
            None => self.line_up_next(now, group),
        }
    }

    /// The next member enters the queue of its key.
    fn line_up_next(&mut self, now: Time, group: usize) {
        let Group { reserved, since, owner, .. } = &self.groups.all[group];
        let (since, owner) = (*since, owner.clone());
        let member = self.groups.all[group].member(reserved.len());
        self.note(member.session, member.request, Reserving::Next);
        // Beginning again, it may find its owner waiting for something else.
        let admitted = self.idle_owner(&member).and_then(|_| self.admit_to_key(now, owner.as_ref(), &member));
        let resource = match admitted {
            Ok(resource) => resource,
            Err(refusal) => return self.refuse_group(now, group, refusal),
        };
        let (session, first) = (member.session, self.groups.all[group].wish.request);
        let (mode, notify) = (member.mode, member.notify_queued);
        let waiter = self.line_up(now, resource, owner, member, Some((group, since)));
        self.groups.all[group].waiter = Some(waiter);
        self.serve(now, resource);
        if !self.waiters.contains(waiter) {
            return;
        }
        if !std::mem::replace(&mut self.groups.all[group].was_queued, true) {
            self.event(resource, mode, session, first, EventKind::Queued);
            if notify {
                let ahead = self.resources[resource].queue.ahead_of(self.waiters[waiter].place);
                let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
                self.notice(session, Notice::Queued { request: first, ahead });
            }
        }
        self.settle_in(now, resource, waiter);
    }

    /// The head of a queue is a group's and could be granted: it is reserved.
    pub(crate) fn reserve(&mut self, now: Time, resource: usize, group: usize, waiter: Waiter, path: Path) {
        self.note(waiter.session, waiter.request, Reserving::Reserved);
        let lease = self.leases.insert(Lease::reservation(now, resource, &waiter, group));
        self.tally.add(waiter.uid);
        self.leases[lease].among_live = self.resources[resource].live.add(lease, waiter.mode);
        if let Some(owner) = waiter.owner {
            self.owners.holds(owner, lease);
            self.owners.stops_waiting(owner);
        }
        let group_state = &mut self.groups.all[group];
        group_state.waiter = None;
        group_state.reserved.push(Reserved { lease, waiter, path });
        self.groups.moved.push_back(group);
        self.mark_use(now, resource);
        self.resume_renewals(now, resource);
    }

    fn note(&mut self, session: SessionId, request: RequestId, step: Reserving) {
        self.effects.push_back(Effect::Reservation { session, request, step });
    }

    /// Grants everything, if every tenure is certain enough; else has those renewed that are not, and tries again when
    /// something happened.
    fn issue_all(&mut self, now: Time, group: usize) {
        let Group { reserved, wish, .. } = &self.groups.all[group];
        let session = wish.session;
        let uncertain: Vec<usize> = reserved
            .iter()
            .filter(|reserved| !self.can_grant(now, &reserved.waiter))
            .map(|reserved| reserved.waiter.resource)
            .collect();
        if !uncertain.is_empty() {
            self.groups.ready.push(group);
            let patience = if wish.wait.is_some_and(|wait| wait.is_zero()) {
                now + self.config.tenure_ttl / 4
            } else {
                Time::MAX
            };
            let until = self.groups.all[group].until.min(patience);
            self.groups.all[group].until = until;
            self.timers.arm(until, Timer::Group(group));
            uncertain.into_iter().for_each(|resource| self.renew_tenure(now, resource));
            return;
        }
        let Group { wish, reserved, until, .. } = self.groups.remove(group);
        self.timers.disarm(until, Timer::Group(group));
        let is_first = |reserved: &&Reserved| reserved.waiter.request == wish.request;
        let first = reserved.iter().find(is_first).map(|reserved| reserved.lease);
        let others = reserved.iter().filter(|reserved| !is_first(reserved));
        let others: Vec<RequestId> = others.map(|reserved| reserved.waiter.request).collect();
        let numbered = |engine: &mut Engine, Reserved { lease, waiter, path }: &Reserved| {
            (waiter.request, engine.grant(now, waiter, *path, Some(*lease)))
        };
        let grants: Vec<(RequestId, Grant)> = reserved.iter().map(|r| numbered(self, r)).collect();
        if let Some(first) = first {
            self.leases[first].has_others(others);
        }
        let events: Vec<EventKind> = grants.iter().map(|(_, grant)| grant::event(grant)).collect();
        self.reply(session, wish.request, Reply::GrantedAll(grants));
        for (reserved, event) in reserved.iter().zip(events) {
            self.granted(now, &reserved.waiter, event);
        }
    }

    /// For so long leases must be confirmed that a group has reserved here, if they are timed.
    pub(crate) fn reserved_ttl(&self, resource: usize) -> Option<Duration> {
        if self.groups.all.is_empty() {
            return None;
        }
        let groups = self.resources[resource].live.iter().filter_map(|lease| self.leases[lease].group());
        groups
            .filter_map(|group| match self.groups.all[group].wish.life {
                Life::Timed { ttl, .. } => Some(ttl),
                Life::Session { .. } => None,
            })
            .max()
    }

    /// A group that has everything has waited long enough for the store to say so.
    pub(crate) fn group_due(&mut self, now: Time, group: usize) {
        let due =
            self.groups.all.get(group).is_some_and(|group| group.waiter.is_none() && group.until <= now);
        if due {
            let refusal = match self.link.is_up() && !self.is_unheard(now, group) {
                true => Refusal::WaitTimeout,
                false => Refusal::StoreUnavailable,
            };
            self.refuse_group(now, group, refusal);
        }
    }

    /// Whether a group that has all its keys waits for a store that refuses to confirm one, or is silent. A try has no other wait.
    fn is_unheard(&self, now: Time, group: usize) -> bool {
        let Group { wish, reserved, .. } = &self.groups.all[group];
        let refused = |reserved: &Reserved| {
            let tenure = self.resources[reserved.waiter.resource].tenure.as_ref();
            !self.can_grant(now, &reserved.waiter)
                && tenure.is_some_and(|tenure| tenure.is_unheard(now, self.grace()))
        };
        wish.wait == Some(Duration::ZERO) || reserved.iter().any(refused)
    }

    /// Refuses a group, and gives back what it has.
    pub(crate) fn refuse_group(&mut self, now: Time, group: usize, refusal: Refusal) {
        let Group { wish, .. } = &self.groups.all[group];
        self.reply(wish.session, wish.request, Reply::Refused(refusal.clone()));
        let waited = now.since(self.groups.all[group].since);
        self.disband(group, EventKind::Refused { refusal, waited });
    }

    /// Gives back what a group has that wants no answer.
    pub(crate) fn drop_group(&mut self, now: Time, group: usize) {
        let waited = now.since(self.groups.all[group].since);
        self.disband(group, EventKind::Cancelled { waited });
    }

    fn disband(&mut self, group: usize, kind: EventKind) {
        let at = self.groups.all[group].reserved.len().min(self.groups.all[group].keys.len() - 1);
        let event = self.groups.all[group].member(at);
        self.give_back_all(group);
        let group_state = self.groups.remove(group);
        self.timers.disarm(group_state.until, Timer::Group(group));
        if let Some(session) = self.sessions.get_mut(&event.session) {
            group_state.numbers().for_each(|number| session.settle(number, None));
        }
        self.event_of(event.key, event.mode, event.session, group_state.wish.request, kind);
    }

    /// All reservations go back, and its member leaves the queue.
    fn give_back_all(&mut self, group: usize) {
        if let Some(waiter) = self.groups.all[group].waiter.take() {
            let waiter = self.take_waiter(waiter);
            self.groups.freed.push(waiter.resource);
        }
        for Reserved { lease, .. } in std::mem::take(&mut self.groups.all[group].reserved) {
            if Mutant::GroupLeaksReservation.is(self.config.mutant) {
                self.leases[lease].terms().group = None;
                continue;
            }
            let resource = self.free_reservation(lease);
            self.groups.freed.push(resource);
        }
    }

    fn free_reservation(&mut self, lease: usize) -> usize {
        self.note(self.leases[lease].session, self.leases[lease].request, Reserving::GaveBack);
        if let Some(owner) = self.leases[lease].owner() {
            self.owners.lets_go(owner, lease);
        }
        self.free_lease(lease)
    }

    /// The tenure under a reservation is gone. The group goes on from its first key when the turn ends.
    pub(crate) fn reservation_lost(&mut self, group: usize, lease: usize) {
        self.groups.all[group].reserved.retain(|reserved| reserved.lease != lease);
        self.free_reservation(lease);
        self.groups.all[group].broken = true;
        if !self.groups.moved.contains(&group) {
            self.groups.moved.push_back(group);
        }
        self.groups.ready.retain(|&other| other != group);
    }

    fn start_again(&mut self, group: usize) {
        self.give_back_all(group);
        self.groups.all[group].broken = false;
        let state = &self.groups.all[group];
        if let Some(session) = self.sessions.get_mut(&state.wish.session) {
            // One of them went with its waiter.
            let missing: Vec<RequestId> =
                state.numbers().filter(|&number| session.slot(number).is_none()).collect();
            missing.into_iter().for_each(|number| session.wait(number, Slot::Grouped(group)));
        }
    }

    /// Groups of which nobody waits in a queue are refused: the sidecar is going.
    pub(crate) fn refuse_groups(&mut self, now: Time, refusal: &Refusal) {
        let groups: Vec<usize> = self.groups.all.iter().map(|(group, _)| group).collect();
        for group in groups {
            self.refuse_group(now, group, refusal.clone());
        }
    }

    /// Cancels a group by its first number; whether this is one.
    pub(crate) fn cancel_group(&mut self, now: Time, group: usize, request: RequestId) {
        if self.groups.all[group].wish.request == request {
            self.drop_group(now, group);
        }
    }

    /// A lease is cancelled: with it go those that were granted with it.
    pub(crate) fn cancel_others(&mut self, now: Time, index: usize) {
        let lease = &mut self.leases[index];
        let (session, others) = (lease.session, lease.take_others());
        self.end_granted_together(now, session, others);
    }

    pub(crate) fn end_granted_together(&mut self, now: Time, session: SessionId, others: Vec<RequestId>) {
        for number in others {
            let slot = self.sessions.get(&session).and_then(|session| session.slot(number));
            if let Some(Slot::Held(other) | Slot::Timed(other)) = slot {
                let resource = self.end_lease(now, other, End::Released);
                self.serve(now, resource);
            }
        }
    }

    /// Whether this owner's request for several keys has them all, and waits for the store to say so.
    pub(crate) fn has_reserved_all(&self, owner: &OwnerId) -> bool {
        let mut ready = self.groups.ready.iter();
        ready.any(|&group| self.groups.all[group].owner.as_ref() == Some(owner))
    }

    /// The group that this session's number belongs to, if it still stands for one.
    pub(crate) fn group_of(&self, session: SessionId, number: RequestId) -> Option<usize> {
        match self.sessions.get(&session)?.slot(number)? {
            Slot::Grouped(group) => Some(group),
            _ => None,
        }
    }
}
