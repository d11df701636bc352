//! The engine: three verbs and a dispatch. Holds no rule of its own.

use crate::acquire::Waiter;
use crate::circumstances::Tally;
use crate::config::Config;
use crate::effect::{Effect, Event, EventKind};
use crate::ended::Ended;
use crate::force::Forcing;
use crate::group::Groups;
use crate::input::Input;
use crate::inquiry::Inquiries;
use crate::lease::Lease;
use crate::link::{Link, SentKind};
use crate::model::{AskId, Key, LeaseSecret, Mode, RequestId, SessionId, Time};
use crate::mutant::Mutant;
use crate::once::Once;
use crate::owners::Owners;
use crate::patrol::Patrol;
use crate::pin::Pins;
use crate::register::Registers;
use crate::resources::Resources;
use crate::session::Session;
use crate::store::{Call, CallId, Op, Outcome};
use crate::timers::{Timer, Timers};
use crate::upgrade::Upgrades;
use slab::Slab;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};

/// Room for so many of a kind is kept when there are none: growing anew at every use would cost more.
pub(crate) const ROOM_KEPT: usize = 1024;

/// One sidecar's rules and state, as a value.
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) link: Link,
    pub(crate) timers: Timers,
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) resources: Resources,
    pub(crate) waiters: Slab<Waiter>,
    pub(crate) leases: Slab<Lease>,
    /// How many of them each user has.
    pub(crate) tally: Tally,
    pub(crate) groups: Groups,
    pub(crate) timed: HashMap<LeaseSecret, usize>,
    pub(crate) owners: Owners,
    pub(crate) patrol: Patrol,
    pub(crate) inquiries: Inquiries,
    pub(crate) ended: Ended,
    pub(crate) pins: Pins,
    pub(crate) upgrades: Upgrades,
    pub(crate) forcing: Forcing,
    pub(crate) registers: Registers,
    pub(crate) once: Once,
    pub(crate) draining: bool,
    /// Whether events name their clients.
    pub(crate) names_clients: bool,
    /// Number of the next arrival of a waiter.
    pub(crate) arrivals: u64,
    /// Number of the last ask; rises over all keys, and so per key (P7).
    pub(crate) last_seq: u64,
    pub(crate) tenures: usize,
    pub(crate) idle_tenures: usize,
}

/// Halves the room of a map that has become nearly empty, so that what is moved is paid for by what was removed.
pub(crate) fn give_room_back<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    let room = map.capacity();
    if room > ROOM_KEPT && map.len() < room / 8 {
        map.shrink_to(room / 4);
    }
}

/// Gives the room of a slab back that has become empty. One that has not keeps it: what it holds is known by its place.
pub(crate) fn give_empty_room_back<T>(slab: &mut Slab<T>) {
    if slab.is_empty() && slab.capacity() > ROOM_KEPT {
        slab.shrink_to_fit();
    }
}

impl Engine {
    /// An engine that knows nobody yet. The store counts as down until [`Input::StoreUp`].
    pub fn new(config: Config) -> Engine {
        Engine {
            config,
            link: Link::default(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            sessions: BTreeMap::new(),
            resources: Resources::default(),
            waiters: Slab::new(),
            leases: Slab::new(),
            tally: Tally::default(),
            groups: Groups::default(),
            timed: HashMap::new(),
            owners: Owners::default(),
            patrol: Patrol::default(),
            inquiries: Inquiries::default(),
            ended: Ended::default(),
            pins: Pins::default(),
            upgrades: Upgrades::new(),
            forcing: Forcing::new(),
            registers: Registers::default(),
            once: Once::default(),
            draining: false,
            names_clients: false,
            arrivals: 0,
            last_seq: 0,
            tenures: 0,
            idle_tenures: 0,
        }
    }

    /// Something happened at `now`. First everything that is due at `now` expires, then the input is looked at (P8).
    /// `now` never goes back.
    pub fn handle(&mut self, now: Time, input: Input) {
        match Mutant::InputBeforeExpiry.is(self.config.mutant) {
            true => {
                self.dispatch(now, input);
                self.expire(now);
            }
            false => {
                self.expire(now);
                self.dispatch(now, input);
            }
        }
        self.advance_groups(now);
    }

    /// The next thing to do, until there is none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if effect.is_none() {
            self.give_memory_back();
        }
        effect
    }

    /// What a crowd needed goes back when the crowd is gone (H16).
    fn give_memory_back(&mut self) {
        if self.effects.capacity() > ROOM_KEPT {
            self.effects.shrink_to(ROOM_KEPT);
        }
        give_empty_room_back(&mut self.waiters);
        give_empty_room_back(&mut self.leases);
        self.groups.give_room_back();
        self.resources.give_room_back();
        self.owners.give_room_back();
        self.link.give_room_back();
        give_room_back(&mut self.timed);
    }

    /// When [`Input::Tick`] is wanted if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn expire(&mut self, now: Time) {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Resource(resource) => self.resource_due(now, resource),
                Timer::Lease(lease) => self.lease_due(now, lease),
                Timer::Waiter(waiter) => self.waiter_due(now, waiter),
                Timer::Group(group) => self.group_due(now, group),
                Timer::Session(session) => self.session_due(now, session),
                Timer::Patrol => self.patrol_due(now),
                Timer::Inquiry(number) => self.conclude_inquiry(now, number),
                Timer::Register(operation) => self.operation_due(now, operation),
                Timer::Watch(watched) => self.watch_due(now, watched),
            }
        }
    }

    fn dispatch(&mut self, now: Time, input: Input) {
        match input {
            Input::SessionOpened(opened) => self.session_opened(now, opened),
            Input::SessionPinged(session) => self.session_seen(now, session),
            Input::SessionEnded { session, by } => self.session_ended(now, session, by),
            Input::SessionResumed { session, held } => self.session_resumed(now, session, &held),
            Input::Acquire(acquire) => {
                let session = acquire.session;
                self.session_seen(now, session);
                self.acquire(now, acquire);
                // It may have nothing to lose before, and something now.
                self.arm_session(session);
            }
            Input::AcquireAll(request) => {
                let session = request.wish.session;
                self.session_seen(now, session);
                self.acquire_all(now, request);
                self.arm_session(session);
            }
            Input::Cancel { session, request } => {
                self.session_seen(now, session);
                self.cancel(now, session, request);
            }
            Input::Renew(renew) => {
                self.session_seen(now, renew.session);
                self.renew(now, renew);
            }
            Input::Release(release) => {
                self.session_seen(now, release.session);
                self.release(now, release);
            }
            Input::Change(change) => {
                let session = change.session;
                self.session_seen(now, session);
                self.change(now, change);
                self.arm_session(session);
            }
            Input::Force(force) => self.force(now, force),
            Input::Register(asked) => {
                self.session_seen(now, asked.session);
                self.register(now, asked);
            }
            Input::Finish(finish) => {
                self.session_seen(now, finish.session);
                self.finish(now, finish);
            }
            Input::StoreUp { at } => {
                self.link.went_up(now, at);
                self.reconnected(now);
            }
            Input::StoreDown => self.disconnected(now),
            Input::Subscribed => self.reask_all(now),
            Input::Store { call, outcome } => self.store_answered(now, call, outcome),
            Input::Pushed(push) => self.pushed(now, push),
            Input::ClockStepped => self.clock_stepped(now),
            Input::Survey { ticket, around } => self.survey(now, ticket, around),
            Input::Tick => {}
            Input::Drain => self.drain(now),
        }
    }

    fn store_answered(&mut self, now: Time, call: CallId, outcome: Outcome) {
        let Some(sent) = self.link.take(call) else { return };
        if sent.kind == SentKind::Patrol {
            return self.patrol_answered(now, call, outcome);
        }
        let resource = sent.resource;
        if matches!(sent.kind, SentKind::Register | SentKind::Watch) {
            return self.register_answered(now, sent, outcome);
        }
        self.resources[resource].calls -= 1;
        if let Outcome::Applied { at, .. } = outcome
            && self.link.observe(now, sent.at, at)
        {
            self.alarm_clock(resource);
        }
        match sent.kind {
            SentKind::Ask => self.ask_answered(now, call, sent, outcome),
            SentKind::Renew => self.renew_answered(now, call, sent, outcome),
            SentKind::Debt => self.debt_answered(now, call, sent, outcome),
            SentKind::Tell | SentKind::Patrol | SentKind::Register | SentKind::Watch => {}
            SentKind::Force => self.force_answered(now, call, sent, outcome),
        }
        self.serve(now, resource);
    }

    fn reconnected(&mut self, now: Time) {
        for resource in self.all_resources() {
            self.tenure_reconnected(now, resource);
            self.asks_reconnected(now, resource);
            self.look_again(now, resource);
        }
        self.registers_reconnected(now);
    }

    fn disconnected(&mut self, now: Time) {
        self.link.went_down();
        self.registers.forget_looks();
        for resource in self.all_resources() {
            self.refuse_renewals(resource);
            self.refuse_tries(now, resource, true);
            self.serve(now, resource);
        }
    }

    fn reask_all(&mut self, now: Time) {
        for resource in self.all_resources() {
            if let Some(ask) = &mut self.resources[resource].ask
                && ask.queued.is_some()
            {
                ask.again_at = now;
                self.look_again(now, resource);
            }
        }
    }

    fn clock_stepped(&mut self, now: Time) {
        if Mutant::ClockStepTrusted.is(self.config.mutant) {
            return;
        }
        self.link.clock_stepped(now);
        self.once.clock_stepped();
        for resource in self.all_resources() {
            self.unprove_tenure(now, resource);
            self.look_again(now, resource);
        }
    }

    /// How the store calls what this sidecar has or does under this number.
    pub(crate) fn own(&self, seq: u64) -> AskId {
        AskId { incarnation: self.config.incarnation, seq }
    }

    /// Something of this resource became due out of turn.
    fn look_again(&mut self, now: Time, resource: usize) {
        self.timers.disarm(self.resources[resource].armed, Timer::Resource(resource));
        self.resources[resource].armed = now;
        self.resource_due(now, resource);
    }

    pub(crate) fn all_resources(&self) -> Vec<usize> {
        self.resources.iter().map(|(resource, _)| resource).collect()
    }

    pub(crate) fn resource_of(&self, key: &Key) -> Option<usize> {
        self.resources.find(key)
    }

    pub(crate) fn emit_call(&mut self, id: CallId, op: Op) {
        self.effects.push_back(Effect::Store(Call { id, op }));
    }

    pub(crate) fn event(
        &mut self,
        resource: usize,
        mode: Mode,
        session: SessionId,
        request: RequestId,
        kind: EventKind,
    ) {
        let key = self.resources[resource].key.clone();
        self.event_of(key, mode, session, request, kind);
    }

    pub(crate) fn event_of(
        &mut self,
        key: Key,
        mode: Mode,
        session: SessionId,
        request: RequestId,
        kind: EventKind,
    ) {
        let client = if self.names_clients { self.client(session) } else { None };
        self.effects.push_back(Effect::Event(Event { kind, key, mode, session, request, client }));
    }
}
