//! Sidecars in a simulated world: an engine each, fed and read as the daemon's driver does.
//!
//! Owns the mailbox of a stopped process, the engine's timer, and the translation of effects into messages and records.

use super::clients::{self, ClientMail};
use super::clock::HostClock;
use super::dice::Dice;
use super::network::Link;
use super::rare::{Kind, Racer};
use super::{Happening, World, reentry};
use crate::checker::history::{At, Event, Req};
use sidelock_engine::store::{Call, Push};
use sidelock_engine::{
    Change, Config, Effect, Engine, EventKind, Grant, Incarnation, Input, LostReason, NewMode, Path, Refusal,
    Reply, RequestId, Reserving, SessionId, Time,
};
use std::time::Duration;

/// A host with its sidecar.
pub(crate) struct Host {
    pub(crate) clock: HostClock,
    /// `None` while no sidecar runs.
    pub(crate) engine: Option<Engine>,
    /// Number of the running, or last, incarnation.
    pub(crate) sidecar: u32,
    /// Those before it: their clients are on this host still.
    pub(crate) earlier: Vec<u32>,
    pub(crate) link: Link,
    pub(crate) draining: bool,
    /// Stopped: what arrives waits here.
    pub(crate) stopped: bool,
    mailbox: Vec<Mail>,
    /// Its clock stands still since then.
    pub(crate) frozen_since: Option<At>,
    /// When the next tick is planned.
    armed: At,
}

/// Something for a sidecar.
pub(crate) struct Mail {
    pub(crate) from: From,
    pub(crate) input: Input,
}

/// Where mail comes from. Mail of one source keeps its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    /// A session, over this connection of it.
    Session { session: u32, connection: u32 },
    /// The store.
    Store,
    /// The inbox.
    Inbox,
    /// Itself.
    Timer,
}

impl Host {
    pub(crate) fn new(dice: &mut Dice) -> Host {
        Host {
            clock: HostClock::new(dice),
            engine: None,
            sidecar: u32::MAX,
            earlier: Vec::new(),
            link: Link::default(),
            draining: false,
            stopped: false,
            mailbox: Vec::new(),
            frozen_since: None,
            armed: At(u64::MAX),
        }
    }
}

/// Who orders forced unlocks: no client, and there is nobody to tell.
pub(crate) const OPERATOR: SessionId = SessionId(u32::MAX as u64);

/// Incarnations are numbered from 1 upwards, sidecars in a history from 0.
pub(crate) fn incarnation_of(sidecar: u32) -> Incarnation {
    Incarnation(u128::from(sidecar) + 1)
}

pub(crate) fn sidecar_of(incarnation: Incarnation) -> u32 {
    u32::try_from(incarnation.0 - 1).expect("made by incarnation_of")
}

impl World {
    pub(crate) fn boottime(&self, host: usize) -> Time {
        self.hosts[host].clock.read(self.now)
    }

    pub(crate) fn is_running(&self, host: usize, sidecar: u32) -> bool {
        self.hosts[host].engine.is_some() && self.hosts[host].sidecar == sidecar
    }

    pub(crate) fn sidecar_starts(&mut self, host: usize) {
        let sidecar = self.sidecars;
        self.sidecars += 1;
        let mut config = Config::new(incarnation_of(sidecar));
        config.tenure_ttl = self.plan.bounds.tenure_ttl;
        if let Some(terms) = self.plan.strict {
            config.tenure_ttl_max = terms.longest;
        }
        if self.plan.is_alone() {
            config.contact_every = None;
        }
        config.mutant = self.mutant;
        let running = &mut self.hosts[host];
        running.earlier.extend(Some(running.sidecar).filter(|&earlier| earlier != u32::MAX));
        running.engine = Some(Engine::new(config));
        running.sidecar = sidecar;
        running.draining = false;
        running.stopped = false;
        running.armed = At(u64::MAX);
        running.link = Link::default();
        self.log.say(|| format!("host {host} starts sidecar {sidecar}"));
        self.log.record(Event::StoreLost { sidecar });
        self.disturb_newcomer(host);
        self.refuse_asks(host);
        let delay = self.dice.span(Duration::from_millis(1), Duration::from_millis(30));
        self.reconnect(host, delay);
        for client in 0..self.clients.len() {
            if self.clients[client].host == host {
                let delay = self.dice.span(Duration::ZERO, Duration::from_millis(200));
                self.connect_later(client, delay);
            }
        }
    }

    pub(crate) fn sidecar_dies(&mut self, host: usize, sidecar: u32) {
        if !self.is_running(host, sidecar) {
            return;
        }
        if self.truth.offered(sidecar) {
            self.rare.saw(Kind::CrashWithOffer);
        }
        let running = &mut self.hosts[host];
        running.engine = None;
        running.stopped = false;
        running.mailbox.clear();
        running.link.broken();
        running.frozen_since = None;
        self.log.record(Event::Crashed { sidecar });
        for session in 0..self.sessions.len() {
            if self.sessions[session].sidecar == sidecar && self.sessions[session].connected {
                self.sessions[session].connected = false;
                self.post_to_client(session, ClientMail::Eof(number(session)));
            }
        }
        let delay = self.dice.span(Duration::from_millis(50), Duration::from_secs(4));
        self.agenda.put(self.now + delay, Happening::Starts { host });
    }

    /// Stops a sidecar's process for a while.
    pub(crate) fn sidecar_stops(&mut self, host: usize, span: Duration) {
        let sidecar = self.hosts[host].sidecar;
        if self.hosts[host].engine.is_none() || self.hosts[host].stopped {
            return;
        }
        self.log.say(|| format!("sidecar {sidecar} is stopped for {span:?}"));
        self.disturb(host, span);
        self.hosts[host].stopped = true;
        self.agenda.put(self.now + span, Happening::Continue { host, sidecar });
    }

    /// It goes on: what waited is read source by source, in whatever order the process polls them.
    pub(crate) fn sidecar_continues(&mut self, host: usize, sidecar: u32) {
        if !self.is_running(host, sidecar) || !self.hosts[host].stopped {
            return;
        }
        self.log.say(|| format!("sidecar {sidecar} goes on"));
        self.hosts[host].stopped = false;
        if let Some(since) = self.hosts[host].frozen_since.take() {
            self.hosts[host].clock.stood_still(since, self.now);
            self.feed(host, Input::ClockStepped);
        }
        let mut mails = std::mem::take(&mut self.hosts[host].mailbox);
        let mut first = Vec::new();
        while !mails.is_empty() {
            let pick = self.dice.below(mails.len());
            let source = mails[pick].from;
            let next = mails.iter().position(|mail| mail.from == source).unwrap_or(pick);
            first.push(mails.remove(next));
        }
        for mail in first {
            self.feed(host, mail.input);
        }
        self.arm(host);
    }

    /// Bounds on time do not hold for this sidecar for so long.
    pub(crate) fn disturb(&mut self, host: usize, span: Duration) {
        let sidecar = self.hosts[host].sidecar;
        if sidecar != u32::MAX {
            let until = self.now + span;
            self.log.record(Event::Disturbed { sidecar, until });
        }
    }

    pub(crate) fn mail(&mut self, host: usize, sidecar: u32, mail: Mail) {
        if !self.is_running(host, sidecar) {
            return;
        }
        if let From::Session { session, connection } = mail.from
            && self.sessions[session as usize].sidecar_side != connection
        {
            return;
        }
        if mail.from == From::Inbox {
            self.hosts[host].link.push_arrives(&mail.input, &mut self.rare);
            if self.hosts[host].link.deaf {
                return;
            }
        }
        match self.hosts[host].stopped {
            true => self.hosts[host].mailbox.push(mail),
            false => self.feed(host, mail.input),
        }
    }

    pub(crate) fn tick(&mut self, host: usize, sidecar: u32) {
        if !self.is_running(host, sidecar) || self.hosts[host].armed != self.now {
            return;
        }
        self.hosts[host].armed = At(u64::MAX);
        if self.hosts[host].stopped {
            let mail = Mail { from: From::Timer, input: Input::Tick };
            self.hosts[host].mailbox.push(mail);
        } else {
            self.feed(host, Input::Tick);
        }
    }

    /// Gives one input to the engine and carries its effects out, in order.
    pub(crate) fn feed(&mut self, host: usize, mut input: Input) {
        self.notice_input(host, &input);
        let (now, sidecar) = (self.boottime(host), self.hosts[host].sidecar);
        let Some(engine) = &mut self.hosts[host].engine else {
            return;
        };
        let mut resumed = None;
        if let Input::SessionResumed { session, held } = &mut input {
            // The door looks first, and has nothing to resume where the session is over.
            let Some(known) = engine.held_by(session.session) else {
                return self.session_resumed(session.session, None);
            };
            held.clone_from(&known);
            resumed = Some((session.session, known));
        }
        self.log.say(|| format!("sidecar {sidecar} ← {input:?}"));
        self.totals.inputs += 1;
        engine.handle(now, input);
        let mut effects = std::mem::take(&mut self.effects);
        while let Some(effect) = engine.poll_effect() {
            effects.push(effect);
        }
        if let Some((session, held)) = resumed {
            self.session_resumed(session, Some(held));
        }
        let mut calls = Vec::new();
        for effect in effects.drain(..) {
            self.effect(host, effect, &mut calls);
        }
        self.effects = effects;
        if !calls.is_empty() {
            self.send_calls(host, calls);
        }
        self.arm(host);
    }

    fn arm(&mut self, host: usize) {
        let running = &self.hosts[host];
        let Some(due) = running.engine.as_ref().and_then(Engine::next_deadline) else {
            return;
        };
        let mut at = running.clock.when(due).max(self.now);
        if at >= running.armed {
            return;
        }
        if self.plan.late_timers && self.dice.chance(0.2) {
            at = at + self.dice.span(Duration::ZERO, Duration::from_millis(20));
        } else {
            at = at + self.dice.span(Duration::from_micros(1), Duration::from_micros(200));
        }
        let sidecar = running.sidecar;
        self.hosts[host].armed = at;
        self.agenda.put(at, Happening::Tick { host, sidecar });
    }

    fn effect(&mut self, host: usize, effect: Effect, calls: &mut Vec<Call>) {
        if !matches!(effect, Effect::Event(_)) {
            self.log.say(|| format!("sidecar {} → {effect:?}", self.hosts[host].sidecar));
        }
        match effect {
            Effect::Store(call) => calls.push(call),
            // An operator reads what is answered, and does nothing about it.
            Effect::Reply { session: OPERATOR, .. } => {}
            Effect::Reply { request: RequestId::NOBODY, .. } => {}
            Effect::Reply { session, request, reply } => {
                if !reentry::is_inner(request) {
                    self.notice_reply(host, session, request, &reply);
                }
                self.post_to_client(index(session), ClientMail::Reply { session, request, reply });
            }
            Effect::Notice { session, notice } => {
                self.post_to_client(index(session), ClientMail::Notice { session, notice });
            }
            // Nobody here looks.
            Effect::TakenByForce { .. } | Effect::Surveyed { .. } | Effect::Quarantined { .. } => {}
            Effect::AlarmStoreClock { .. } => self.totals.alarms += 1,
            Effect::Reservation { session, request, step } => {
                let of = req(session, request);
                self.log.record(match step {
                    Reserving::Next => Event::LinedUp { of },
                    Reserving::Reserved => Event::Bound { of },
                    Reserving::GaveBack => Event::Unbound { of },
                });
            }
            Effect::Event(event) if !self.is_of_lease(&event) => {}
            Effect::Event(event) => {
                let of = req(event.session, event.request);
                match event.kind {
                    EventKind::Cancelled { .. } => {
                        self.totals.refused += 1;
                        self.dropped(host, of);
                    }
                    EventKind::Released { .. } => self.log.record(Event::Done { lease: of, lost: false }),
                    EventKind::Lost { reason, .. } => {
                        self.totals.lost += 1;
                        let forced = reason == LostReason::Forced;
                        if forced || reason == LostReason::Store {
                            self.log.record(Event::Deprived { lease: of, forced });
                        }
                        self.log.record(Event::Done { lease: of, lost: true });
                    }
                    EventKind::Downgraded { .. } => self.log.record(Event::Shared { lease: of }),
                    EventKind::Finished { .. } => self.log.record(Event::Done { lease: of, lost: false }),
                    EventKind::Queued
                    | EventKind::Granted { .. }
                    | EventKind::Refused { .. }
                    | EventKind::Forced { .. }
                    | EventKind::Skipped { .. } => {}
                }
            }
        }
    }

    fn notice_reply(&mut self, host: usize, session: SessionId, request: RequestId, reply: &Reply) {
        let of = req(session, request);
        let clock = self.hosts[host].clock;
        match reply {
            Reply::Granted(grant) => self.notice_grant(host, of, grant),
            Reply::GrantedAll(grants) => {
                for (request, grant) in grants {
                    self.notice_grant(host, req(session, *request), grant);
                }
            }
            Reply::Renewed { deadline, .. } => {
                self.log.record(Event::Renewed { of, deadline: clock.when(*deadline) });
            }
            Reply::Refused(refusal) => {
                if matches!(refusal, Refusal::LimitMismatch { .. }) {
                    self.rare.saw(Kind::OtherLimit);
                }
                self.log.record(Event::Declined { of, why: clients::why(refusal) });
                self.totals.refused += 1;
                self.dropped(host, of);
            }
            Reply::Done(_) => {
                self.totals.refused += 1;
                self.hosts[host].link.settled(of);
                self.log.record(Event::Dropped { of });
            }
            Reply::Register(_) | Reply::Unchanged => {
                self.log.record(Event::Watched { of, unchanged: matches!(reply, Reply::Unchanged) });
            }
            Reply::Downgraded { .. }
            | Reply::Released
            | Reply::Cancelled
            | Reply::Finished(_)
            | Reply::Unlocked(_)
            | Reply::Written(_)
            | Reply::Deleted => {}
        }
    }

    /// Nothing waits any more of a request, or of those that go with it.
    fn dropped(&mut self, host: usize, of: Req) {
        for of in self.groups.members(of) {
            self.hosts[host].link.settled(of);
            self.log.record(Event::Dropped { of });
        }
    }

    fn notice_grant(&mut self, host: usize, lease: Req, grant: &Grant) {
        self.totals.grants += 1;
        if grant.path == Path::Handoff {
            self.totals.handoffs += 1;
            if self.hosts[host].link.recalls_in_flight(self.key_index(&grant.key)) {
                self.rare.saw(Kind::HandoffDuringRecall);
            }
        }
        self.rare.race(self.now, lease, Racer::Grant);
        self.hosts[host].link.settled(lease);
        let deadline = self.hosts[host].clock.when(grant.deadline);
        let fence = grant.fence;
        self.log.record(Event::Issued { lease, fence, deadline });
    }

    /// Writes down what a sidecar is about to see.
    fn notice_input(&mut self, host: usize, input: &Input) {
        let now = self.now;
        match input {
            Input::Acquire(acquire) if reentry::is_inner(acquire.request) => {}
            Input::Acquire(acquire) => {
                let of = req(acquire.session, acquire.request);
                self.log.record(Event::Arrived { of });
                let key = self.key_index(&acquire.key);
                self.hosts[host].link.asked(of, key);
            }
            Input::AcquireAll(request) => {
                for (of, key) in self.members_in(request) {
                    self.log.record(Event::Arrived { of });
                    self.hosts[host].link.asked(of, key);
                }
            }
            Input::Change(Change { session, request, to: NewMode::Exclusive { .. }, .. }) => {
                self.log.record(Event::Arrived { of: req(*session, *request) });
            }
            Input::Cancel { session, request } => {
                let of = req(*session, *request);
                self.rare.race(now, of, Racer::Cancel);
                self.hosts[host].link.cancelled(of);
            }
            Input::SessionEnded { session, .. } => {
                let link = &mut self.hosts[host].link;
                link.session_over(index(*session), now, &mut self.rare);
            }
            Input::Store { call, outcome } => self.notice_outcome(host, *call, outcome),
            Input::StoreDown => self.log.record(Event::StoreLost { sidecar: self.hosts[host].sidecar }),
            Input::StoreUp { .. } => self.log.record(Event::StoreFound { sidecar: self.hosts[host].sidecar }),
            Input::Pushed(Push::Recall { key, .. }) => {
                let (sidecar, key) = (self.hosts[host].sidecar, number(self.key_index(key)));
                self.log.record(Event::Learned { sidecar, key, contended: true });
            }
            _ => {}
        }
    }

    pub(crate) fn key_index(&self, key: &sidelock_engine::Key) -> usize {
        usize::from(key.as_str().as_bytes()[0] - b'0')
    }
}

pub(crate) fn index(session: SessionId) -> usize {
    usize::try_from(session.0).expect("sessions are numbered from 0")
}

pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a small world")
}

pub(crate) fn req(session: SessionId, request: RequestId) -> Req {
    Req {
        session: number(index(session)),
        request: u32::try_from(reentry::outer(request)).expect("requests are numbered from 0"),
    }
}
