//! Sessions: the connections of clients, and what hangs on each.
//!
//! Owns opening, signs of life, the two ways to end (P6), and the coalesced extension of a session's leases. Must not
//! know frames or HTTP.

use crate::effect::{Effect, LostReason, Notice, Refusal};
use crate::ended::EndedName;
use crate::engine::Engine;
use crate::input::{EndedBy, SessionOpened};
use crate::lease::End;
use crate::model::{Owner, RequestId, SessionId, Time};
use crate::mutant::Mutant;
use crate::owners::OwnerId;
use crate::timers::Timer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thin_vec::ThinVec;

/// Leases that a notice of an extension excepts at most: what it is written into has room for twice as many.
const EXCEPT_MAX: usize = 8_000;

/// What a request number of a session stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// An acquire in a queue.
    Waiting(usize),
    /// One of the acquires of this group.
    Grouped(usize),
    /// A lease that ends with the session.
    Held(usize),
    /// A timed lease: it outlives the session (P5).
    Timed(usize),
}

/// One session.
pub(crate) struct Session {
    pub(crate) uid: u32,
    pub(crate) app: Arc<str>,
    pub(crate) owners_by_uid: bool,
    ping_within: Option<Duration>,
    seen: Time,
    slots: BTreeMap<RequestId, Slot>,
    waiting: u32,
    /// Its requests about registers.
    pub(crate) operations: u32,
    /// Its session leases.
    held: u32,
    newest: Option<RequestId>,
    cut: bool,
    pub(crate) lost_while_cut: Vec<(RequestId, LostReason)>,
    /// Leases that were lost, by whose numbers others were granted that live: a cancel on its way names those.
    lost_firsts: ThinVec<(RequestId, Vec<RequestId>)>,
    /// When its leases' new deadlines are to be told; `MAX` if there is no news.
    extend_at: Time,
    extended: Time,
    /// Its leases were told less than the store confirmed, because it is silent: more can be told once it is heard.
    held_short: bool,
    armed: Time,
}

impl Session {
    /// Nobody is connected to it, but it can be resumed.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(crate) fn slot(&self, request: RequestId) -> Option<Slot> {
        self.slots.get(&request).copied()
    }

    /// Whether an acquire with this number can have been here.
    pub(crate) fn has_asked(&self, request: RequestId) -> bool {
        self.newest.is_some_and(|newest| request <= newest)
    }

    /// A new acquire waits, by itself or in a group.
    pub(crate) fn wait(&mut self, request: RequestId, slot: Slot) {
        self.newest = self.newest.max(Some(request));
        self.waiting += 1;
        self.slots.insert(request, slot);
    }

    /// A request became a lease, or nothing.
    pub(crate) fn settle(&mut self, request: RequestId, slot: Option<Slot>) {
        let before = match slot {
            Some(slot) => self.slots.insert(request, slot),
            None => self.slots.remove(&request),
        };
        self.waiting -= u32::from(matches!(before, Some(Slot::Waiting(_) | Slot::Grouped(_))));
        self.held -= u32::from(matches!(before, Some(Slot::Held(_))));
        self.held += u32::from(matches!(slot, Some(Slot::Held(_))));
    }

    /// An acquire became one more name of a lease, without a wait.
    pub(crate) fn enter(&mut self, request: RequestId, slot: Slot) {
        self.newest = self.newest.max(Some(request));
        self.settle(request, Some(slot));
    }

    /// The lease with the number under which these were granted, too, is lost.
    pub(crate) fn loses_first(&mut self, request: RequestId, others: Vec<RequestId>) {
        let slots = &self.slots;
        let lives = |number: &RequestId| slots.contains_key(number);
        self.lost_firsts.retain(|(_, others)| others.iter().any(lives));
        if others.iter().any(lives) {
            self.lost_firsts.push((request, others));
        }
    }

    /// Those that were granted under the number of a lease that is lost.
    pub(crate) fn left_by(&mut self, request: RequestId) -> Option<Vec<RequestId>> {
        let place = self.lost_firsts.iter().position(|(first, _)| *first == request)?;
        Some(self.lost_firsts.swap_remove(place).1)
    }

    /// Nothing would change for anybody if it ended.
    fn is_bare(&self) -> bool {
        self.waiting == 0 && self.held == 0
    }

    /// Its session leases.
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// Its leases, timed ones among them, in the order of their requests.
    pub(crate) fn leases(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Held(lease) | Slot::Timed(lease) => Some(*lease),
            Slot::Waiting(_) | Slot::Grouped(_) => None,
        })
    }

    /// Who an owner of this name is. `id` is the session's own.
    pub(crate) fn owner_id(&self, id: SessionId, name: Owner) -> OwnerId {
        match self.owners_by_uid {
            true => OwnerId::Uid(self.uid, name),
            false => OwnerId::Session(id, name),
        }
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Until then its silence costs it nothing. No deadline told to it reaches further: a client that wakes from a pause
    /// must not find, among what it has not read, one that outlives its leases (S8).
    fn alive_until(&self) -> Time {
        self.ping_within.map_or(Time::MAX, |within| self.seen + within)
    }

    /// Its patience is over.
    pub(crate) fn is_silent(&self, now: Time) -> bool {
        self.alive_until() <= now
    }

    /// What may be told of a deadline now.
    pub(crate) fn tellable(&mut self, deadline: Time) -> Time {
        self.held_short |= deadline > self.alive_until();
        deadline.min(self.alive_until())
    }

    /// From one extension told to the next: a tenth of the time that either may last, the tenure or what is told of it (P6).
    fn extension_pause(&self, tenure_ttl: Duration) -> Duration {
        self.ping_within.map_or(tenure_ttl, |patience| patience.min(tenure_ttl)) / 10
    }

    fn next_due(&self) -> Time {
        let is_watched = !self.cut && !self.is_bare();
        let silent_at = if is_watched { self.alive_until() } else { Time::MAX };
        silent_at.min(self.extend_at)
    }
}

impl Engine {
    /// The acquires whose leases a session still has, timed ones aside: what its client is told when it comes back.
    /// `None`: there is no such session.
    pub fn held_by(&self, id: SessionId) -> Option<Vec<RequestId>> {
        let session = self.sessions.get(&id)?;
        let held = |slot: &Slot| matches!(slot, Slot::Held(_));
        Some(session.slots.iter().filter(|(_, slot)| held(slot)).map(|(request, _)| *request).collect())
    }

    pub(crate) fn session_opened(&mut self, now: Time, opened: SessionOpened) {
        let session = Session {
            uid: opened.uid,
            app: opened.app,
            owners_by_uid: opened.owners_by_uid,
            ping_within: opened.ping_within,
            seen: now,
            slots: BTreeMap::new(),
            waiting: 0,
            operations: 0,
            held: 0,
            newest: None,
            cut: false,
            lost_while_cut: Vec::new(),
            lost_firsts: ThinVec::new(),
            extend_at: Time::MAX,
            extended: Time::ZERO,
            held_short: false,
            armed: Time::MAX,
        };
        self.sessions.insert(opened.session, session);
        if self.draining {
            self.notice(opened.session, Notice::Draining);
        }
    }

    /// Any input of a session is a sign of life.
    pub(crate) fn session_seen(&mut self, now: Time, id: SessionId) {
        let ttl = self.config.tenure_ttl;
        if let Some(session) = self.sessions.get_mut(&id) {
            let heard = std::mem::replace(&mut session.seen, now);
            if std::mem::take(&mut session.held_short) {
                let pause = session.extension_pause(ttl);
                // After a long silence what it was told may be about to end. A session that is heard all the time is told
                // no oftener than any other, however far ahead of its patience its tenures are.
                let at = if now.since(heard) >= pause { now } else { now.max(session.extended + pause) };
                session.extend_at = session.extend_at.min(at);
            }
            if session.extend_at < session.armed || session.armed == Time::MAX {
                self.arm_session(id);
            }
        }
    }

    pub(crate) fn session_ended(&mut self, now: Time, id: SessionId, by: EndedBy) {
        let by = match by {
            _ if Mutant::CutOffFrees.is(self.config.mutant) => EndedBy::Peer,
            _ if Mutant::DeathIgnored.is(self.config.mutant) => EndedBy::Sidecar,
            by => by,
        };
        match by {
            EndedBy::Peer => {
                self.leave_registers(now, id);
                self.leave_queues(now, id, None);
                self.end_leases_of(now, id, End::Released);
                if let Some(session) = self.sessions.remove(&id) {
                    self.timers.disarm(session.armed, Timer::Session(id));
                }
            }
            EndedBy::Sidecar => {
                self.leave_registers(now, id);
                self.leave_queues(now, id, None);
                self.freeze_leases(id, true);
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.cut = true;
                    session.extend_at = Time::MAX;
                }
                self.forget_if_over(id);
            }
        }
    }

    /// The client came back: it hears what it missed, and its leases live on.
    pub(crate) fn session_resumed(&mut self, now: Time, opened: SessionOpened, held: &[RequestId]) {
        let id = opened.session;
        let (mut lost, mut is_going) = (Vec::new(), false);
        match self.sessions.get_mut(&id) {
            None => self.session_opened(now, opened),
            Some(session) => {
                session.cut = false;
                session.seen = now;
                session.extend_at = now;
                lost = std::mem::take(&mut session.lost_while_cut);
                is_going = self.draining;
            }
        }
        // Lost since the door looked, perhaps with all that is known of the session.
        for &request in held {
            let has = self.sessions[&id].slot(request).is_some();
            if !has && lost.iter().all(|(known, _)| *known != request) {
                let ending = self.ended.recall(EndedName::Session(id, request));
                lost.push((request, ending.and_then(|ending| ending.lost).unwrap_or(LostReason::Session)));
            }
        }
        for (request, reason) in lost {
            self.notice(id, Notice::Lost { request, reason });
        }
        if is_going {
            self.notice(id, Notice::Draining);
        }
        self.freeze_leases(id, false);
        self.arm_session(id);
    }

    /// A session that was cut off and holds nothing any more has nothing to be resumed for.
    pub(crate) fn forget_if_over(&mut self, id: SessionId) {
        let over = self.sessions.get(&id).is_some_and(|session| session.cut && session.is_bare());
        if over && let Some(session) = self.sessions.remove(&id) {
            self.timers.disarm(session.armed, Timer::Session(id));
        }
    }

    /// Takes its waiters out of all queues, with a refusal or silently, then serves those queues.
    fn leave_queues(&mut self, now: Time, id: SessionId, refusal: Option<Refusal>) {
        let mut resources = Vec::new();
        for (request, slot) in self.slots_of(id) {
            match (slot, &refusal) {
                (Slot::Waiting(waiter), refusal) => {
                    resources.push(self.waiters[waiter].resource);
                    match refusal {
                        Some(refusal) => self.refuse_waiter(now, waiter, refusal.clone()),
                        None => self.drop_waiter(now, waiter),
                    }
                }
                // It has several numbers, and goes with the first of them.
                (Slot::Grouped(_), refusal) => match (self.group_of(id, request), refusal) {
                    (Some(group), Some(refusal)) => self.refuse_group(now, group, refusal.clone()),
                    (Some(group), None) => self.drop_group(now, group),
                    (None, _) => {}
                },
                _ => {}
            }
        }
        self.serve_each(now, resources);
    }

    /// Ends its session leases; timed ones belong to the bearer of their id (P5).
    fn end_leases_of(&mut self, now: Time, id: SessionId, end: End) {
        let mut resources = Vec::new();
        for (request, slot) in self.slots_of(id) {
            // With a lease all of its handles end.
            let still = self.sessions.get(&id).and_then(|session| session.slot(request)) == Some(slot);
            if let Slot::Held(lease) = slot
                && still
            {
                resources.push(self.end_lease(now, lease, end));
            }
        }
        self.serve_each(now, resources);
    }

    fn serve_each(&mut self, now: Time, mut resources: Vec<usize>) {
        resources.sort_unstable();
        resources.dedup();
        for resource in resources {
            self.serve(now, resource);
        }
    }

    fn freeze_leases(&mut self, id: SessionId, cut: bool) {
        for (_, slot) in self.slots_of(id) {
            if let Slot::Held(lease) = slot {
                self.leases[lease].cut = cut;
                self.arm_lease(lease);
            }
        }
    }

    fn slots_of(&self, id: SessionId) -> Vec<(RequestId, Slot)> {
        let all = |session: &Session| session.slots.iter().map(|(request, slot)| (*request, *slot)).collect();
        self.sessions.get(&id).map_or_else(Vec::new, all)
    }

    /// The deadline of a tenure moved: the sessions of its leases are told, each with a pause in between, all of its leases
    /// in one notice (P6).
    pub(crate) fn extend_leases(&mut self, now: Time, resource: usize) {
        let ttl = self.config.tenure_ttl;
        for lease in self.resources[resource].live.iter() {
            let lease = &self.leases[lease];
            if lease.is_timed() {
                continue;
            }
            let id = lease.session;
            if let Some(session) = self.sessions.get_mut(&id)
                && !session.cut
                && session.extend_at == Time::MAX
            {
                session.extend_at = now.max(session.extended + session.extension_pause(ttl));
                let due = session.next_due();
                if due < session.armed {
                    self.timers.disarm(session.armed, Timer::Session(id));
                    self.timers.arm(due, Timer::Session(id));
                    session.armed = due;
                }
            }
        }
        self.answer_renewals(now, resource);
    }

    pub(crate) fn arm_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let due = session.next_due();
        if due < session.armed {
            self.timers.disarm(session.armed, Timer::Session(id));
            self.timers.arm(due, Timer::Session(id));
            session.armed = due;
        }
    }

    /// A session's timer fired.
    pub(crate) fn session_due(&mut self, now: Time, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.armed > now {
            return;
        }
        session.armed = Time::MAX;
        if session.extend_at <= now {
            session.extend_at = Time::MAX;
            session.extended = now;
            self.tell_extended(now, id);
        }
        self.check_pings(now, id);
        self.arm_session(id);
    }

    fn check_pings(&mut self, now: Time, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.cut || session.is_bare() || !session.is_silent(now) {
            return;
        }
        self.leave_queues(now, id, Some(Refusal::LeaseLost(LostReason::Session)));
        self.end_leases_of(now, id, End::Lost(LostReason::Session));
    }

    /// One notice for all leases of a session: until when they are valid, and which lag behind.
    fn tell_extended(&mut self, now: Time, id: SessionId) {
        let alive_until = self.sessions.get(&id).map_or(Time::ZERO, Session::alive_until);
        let soon = now + self.config.tenure_ttl / 3;
        let mut until = Time::MAX;
        let mut except = Vec::new();
        let mut news = false;
        let slots = self.slots_of(id);
        let session_leases = || {
            slots.iter().filter_map(|(request, slot)| match slot {
                Slot::Held(lease) => Some((*request, *lease)),
                _ => None,
            })
        };
        for (request, lease) in session_leases() {
            let lease = &self.leases[lease];
            let tenure = self.resources[lease.resource].tenure.as_ref();
            match tenure.map_or(Time::ZERO, |tenure| tenure.deadline) {
                // What was told its own end needs no extension.
                lagging if lagging < soon && lease.cap > lease.told => except.push(request),
                lagging if lagging < soon => {}
                deadline => {
                    until = until.min(deadline);
                    news |= deadline.min(lease.cap).min(alive_until) > lease.told;
                }
            }
        }
        let until = match self.sessions.get_mut(&id) {
            Some(session) if until < Time::MAX => session.tellable(until),
            _ => return,
        };
        if !news {
            return;
        }
        if except.len() > EXCEPT_MAX {
            // After an outage: what follows is renewed meanwhile.
            let ttl = self.config.tenure_ttl;
            if let Some(session) = self.sessions.get_mut(&id) {
                session.extend_at = now + session.extension_pause(ttl);
            }
            return;
        }
        for (request, lease) in session_leases() {
            let lease = &mut self.leases[lease];
            if except.binary_search(&request).is_err() {
                lease.told = lease.told.max(until.min(lease.cap));
            }
        }
        self.notice(id, Notice::Extended { until, except });
    }

    pub(crate) fn notice(&mut self, session: SessionId, notice: Notice) {
        self.effects.push_back(Effect::Notice { session, notice });
    }

    pub(crate) fn drain(&mut self, now: Time) {
        self.draining = true;
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in sessions {
            self.notice(id, Notice::Draining);
        }
        // All of them before anybody is served, or one's refusal would be another's grant.
        let waiters: Vec<usize> = self.waiters.iter().map(|(waiter, _)| waiter).collect();
        for waiter in waiters {
            self.refuse_waiter(now, waiter, Refusal::Draining);
        }
        self.drain_watches(now);
        self.refuse_groups(now, &Refusal::Draining);
        for resource in self.all_resources() {
            self.serve(now, resource);
        }
    }
}
