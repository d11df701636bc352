//! The way between a sidecar and the store, with everything that can happen on it.
//!
//! Owns pipelines (what becomes of them is `fates.rs`), connections, pushes, and what is in flight. A pipeline's calls run in order; those of
//! one connection arrive in order; those of a broken one may still arrive, late. Must not know what the calls mean, except
//! to count rare things.

use super::fates::Fate;
use super::hosts::{From, Mail, number, sidecar_of};
use super::rare::{Kind, Racer, Rare};
use super::truth::Cause;
use super::{Happening, World};
use crate::checker::history::{At, Event, Req};
use sidelock_engine::store::{Call, CallId, Fault, Op, Outcome, Push, Reply, Wake};
use sidelock_engine::{AskId, Input};
use std::time::Duration;

/// A call under way.
struct Flight {
    call: CallId,
    key: usize,
    ask: Option<AskId>,
    /// The answer is there, perhaps in the mailbox of a stopped process.
    answered: bool,
}

/// An acquire that a sidecar has not granted yet, or one that went away while a claim for its key was under way.
struct Claimant {
    of: Req,
    key: usize,
    cancelled: bool,
    gone: bool,
}

/// A sidecar's end of the way.
#[derive(Default)]
pub(crate) struct Link {
    pub(crate) up: bool,
    /// Number of the server at the other end.
    pub(crate) server: u32,
    /// The inbox is not heard.
    pub(crate) deaf: bool,
    pub(super) connection: u32,
    /// Nothing on this connection arrives before.
    last_there: At,
    pub(super) last_back: At,
    flights: Vec<Flight>,
    claimants: Vec<Claimant>,
    /// Recalls under way, per key.
    recalls: [u32; 8],
}

/// Calls on their way to the store.
pub(crate) struct Pipeline {
    pub(super) host: usize,
    pub(super) sidecar: u32,
    pub(super) connection: u32,
    pub(super) server: u32,
    pub(super) calls: Vec<Call>,
    pub(super) fate: Fate,
}

impl Link {
    pub(crate) fn broken(&mut self) {
        self.up = false;
        self.connection += 1;
        self.flights.retain(|flight| flight.answered);
    }

    fn open_calls(&self) -> Vec<CallId> {
        let open = self.flights.iter().filter(|flight| !flight.answered);
        open.map(|flight| flight.call).collect()
    }

    pub(crate) fn recalls_in_flight(&self, key: usize) -> bool {
        self.recalls[key] > 0
    }

    pub(crate) fn push_arrives(&mut self, input: &Input, rare: &mut Rare) {
        let Input::Pushed(push) = input else {
            return;
        };
        match push {
            Push::Recall { key, .. } => {
                let key = usize::from(key.as_str().as_bytes()[0] - b'0');
                self.recalls[key] = self.recalls[key].saturating_sub(1);
            }
            Push::Changed { .. } | Push::Inquired { .. } | Push::Declared(_) => {}
            Push::Offer { ask, .. } | Push::Busy { ask, .. } | Push::Forced { tenure: ask, .. } => {
                if self.flights.iter().any(|flight| flight.ask == Some(*ask) && !flight.answered) {
                    rare.saw(Kind::PushBeforeReply);
                }
            }
        }
    }

    /// An acquire reached the sidecar.
    pub(crate) fn asked(&mut self, of: Req, key: usize) {
        self.claimants.push(Claimant { of, key, cancelled: false, gone: false });
    }

    pub(crate) fn cancelled(&mut self, of: Req) {
        for claimant in self.claimants.iter_mut().filter(|claimant| claimant.of == of) {
            claimant.cancelled = true;
            claimant.gone = true;
        }
    }

    pub(crate) fn session_over(&mut self, session: usize, now: At, rare: &mut Rare) {
        let session = number(session);
        for claimant in self.claimants.iter_mut().filter(|claimant| claimant.of.session == session) {
            claimant.gone = true;
            rare.race(now, claimant.of, Racer::Eof);
        }
        rare.session_over(now, session);
    }

    /// An acquire was answered.
    pub(crate) fn settled(&mut self, of: Req) {
        self.claimants.retain(|claimant| claimant.gone || claimant.of != of);
        if self.claimants.len() > 100 {
            self.claimants.retain(|claimant| !claimant.gone);
        }
    }

    /// A claim was granted: for those who went away meanwhile it comes too late.
    fn claim_granted(&mut self, key: usize, now: At, rare: &mut Rare) {
        for claimant in self.claimants.iter().filter(|claimant| claimant.key == key && claimant.gone) {
            rare.race(now, claimant.of, Racer::Grant);
            if claimant.cancelled {
                rare.saw(Kind::ClaimAfterCancel);
            }
        }
        self.claimants.retain(|claimant| claimant.key != key || !claimant.gone);
    }
}

impl World {
    pub(super) fn one_way(&mut self) -> Duration {
        self.plan.one_way + self.dice.span(Duration::ZERO, self.plan.jitter)
    }

    fn is_stormy(&self) -> bool {
        !self.healed && self.plan.stormy(self.now)
    }

    pub(crate) fn send_calls(&mut self, host: usize, mut calls: Vec<Call>) {
        // As the link to Redis has it, where all find room; where not, renewals do not wait for the others. Other links do neither.
        let order = self.dice.between(0, 99);
        if order < 25 {
            calls.sort_by_key(|call| matches!(call.op, Op::Renew(_)));
        } else if order < 35 {
            calls.sort_by_key(|call| !matches!(call.op, Op::Renew(_)));
        }
        let sidecar = self.hosts[host].sidecar;
        for call in &calls {
            let key = self.key_index(call.op.key());
            let ask = if let Op::Ask(ask) = &call.op { Some(ask.id) } else { None };
            self.hosts[host].link.flights.push(Flight { call: call.id, key, ask, answered: false });
        }
        if !self.hosts[host].link.up {
            let down = |call: &Call| (call.id, Outcome::NotApplied(Fault::Down));
            let answers = calls.iter().map(down).collect();
            self.answer(host, self.now + Duration::from_micros(5), answers);
            return;
        }
        let delay = self.one_way();
        let link = &mut self.hosts[host].link;
        link.last_there = link.last_there.max(self.now + delay);
        let (there, connection, server) = (link.last_there, link.connection, link.server);
        let pipeline = Pipeline { host, sidecar, connection, server, calls, fate: Fate::Good };
        match self.is_stormy() {
            true => self.send_in_storm(there, pipeline),
            false => self.agenda.put(there, Happening::AtStore(pipeline)),
        }
    }

    pub(super) fn answer(&mut self, host: usize, at: At, answers: Vec<(CallId, Outcome)>) {
        let (sidecar, link) = (self.hosts[host].sidecar, &mut self.hosts[host].link);
        link.last_back = link.last_back.max(at);
        let (at, connection) = (link.last_back, link.connection);
        self.agenda.put(at, Happening::Answers { host, sidecar, connection, answers });
    }

    /// The store runs one operation.
    pub(crate) fn apply(&mut self, call: &Call) -> Outcome {
        if matches!(call.op, Op::Publish(_) | Op::ReadBoard { .. } | Op::Peek { .. }) {
            return self.apply_beside(call);
        }
        if matches!(call.op, Op::ReadRegister(_) | Op::WriteRegister(_)) {
            return self.apply_to_register(call);
        }
        let key = self.key_index(call.op.key());
        let (at, reply, wakes) = self.run_at_store(&call.op);
        self.totals.operations += 1;
        self.log.say(|| format!("store: {:?} → {reply:?}", call.op));
        match (&call.op, &reply) {
            (Op::Ask(ask), Reply::Granted(_)) if self.truth.stood(key, ask.id) => {
                self.rare.saw(Kind::DuplicateClaim);
            }
            (Op::Ask(_), Reply::UpgradeConflict { .. }) => self.rare.saw(Kind::UpgradeConflict),
            (Op::Return(back), Reply::Gone) if self.truth.stood(key, back.tenure) => {
                self.rare.saw(Kind::ExpiryDuringYield);
            }
            _ => {}
        }
        if let Reply::Unlocked(taken) = &reply {
            taken.iter().for_each(|taken| self.observe_taken(key, taken.id));
        }
        // These do not look at the record, so what is due in it stays.
        if !matches!(reply, Reply::Told | Reply::ClockRegressed) {
            let cause = match &call.op {
                Op::Ask(ask) if ask.upgrade => Cause::Upgrade(ask.id),
                Op::Reassert(_) => Cause::Reassert,
                Op::Force(_) => Cause::Force,
                _ => Cause::Other,
            };
            self.observe(key, cause);
        }
        for wake in wakes {
            self.push(wake);
        }
        Outcome::Applied { at, reply }
    }

    /// … that changes no record.
    fn apply_beside(&mut self, call: &Call) -> Outcome {
        let (at, reply, _) = self.run_at_store(&call.op);
        self.totals.operations += 1;
        self.log.say(|| format!("store: {:?} → {reply:?}", call.op));
        Outcome::Applied { at, reply }
    }

    pub(crate) fn push(&mut self, wake: Wake) {
        let sidecar = sidecar_of(wake.to);
        let Some(host) = (0..self.hosts.len()).find(|&host| self.is_running(host, sidecar)) else {
            return;
        };
        let lossy = !self.healed || self.plan.push_lost >= 1.0;
        let elsewhere =
            self.servers.as_ref().is_some_and(|servers| servers.running != self.hosts[host].link.server);
        if elsewhere || !self.hosts[host].link.up || (lossy && self.dice.chance(self.plan.push_lost)) {
            return;
        }
        let copies = if self.dice.chance(self.plan.push_twice) { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = self.one_way();
            if !self.healed && self.dice.chance(self.plan.push_late) {
                delay += self.dice.about(Duration::from_millis(300));
            }
            if let Push::Recall { key, .. } = &wake.push {
                let key = self.key_index(key);
                self.hosts[host].link.recalls[key] += 1;
            }
            let mail = Mail { from: From::Inbox, input: Input::Pushed(wake.push.clone()) };
            self.agenda.put(self.now + delay, Happening::Mail { host, sidecar, mail });
        }
    }

    pub(crate) fn answers(
        &mut self,
        host: usize,
        sidecar: u32,
        connection: u32,
        answers: Vec<(CallId, Outcome)>,
    ) {
        if !self.is_running(host, sidecar) || self.hosts[host].link.connection != connection {
            return;
        }
        for (call, outcome) in answers {
            self.outcome(host, call, outcome);
        }
    }

    pub(crate) fn gives_up(&mut self, host: usize, sidecar: u32, calls: &[CallId]) {
        if self.is_running(host, sidecar) {
            for &call in calls {
                self.outcome(host, call, Outcome::Unknown(Fault::Down));
            }
        }
    }

    /// Tells the engine what became of a call, unless it was told before.
    fn outcome(&mut self, host: usize, call: CallId, outcome: Outcome) {
        let mut flights = self.hosts[host].link.flights.iter_mut();
        let Some(flight) = flights.find(|flight| flight.call == call && !flight.answered) else {
            return;
        };
        flight.answered = true;
        let sidecar = self.hosts[host].sidecar;
        self.mail(host, sidecar, Mail { from: From::Store, input: Input::Store { call, outcome } });
    }

    /// A sidecar is about to look at an answer.
    pub(crate) fn notice_outcome(&mut self, host: usize, call: CallId, outcome: &Outcome) {
        let link = &mut self.hosts[host].link;
        let Some(index) = link.flights.iter().position(|flight| flight.call == call) else {
            return;
        };
        let key = link.flights.swap_remove(index).key;
        let (sidecar, number) = (self.hosts[host].sidecar, number(key));
        let contended = match outcome {
            Outcome::Applied { reply: Reply::Granted(tenancy), .. } => {
                self.hosts[host].link.claim_granted(key, self.now, &mut self.rare);
                self.log.record(Event::Installed { sidecar, key: number });
                tenancy.contended
            }
            Outcome::Applied { reply: Reply::Renewed { contended, .. }, .. } => {
                self.notice_renewal(host, key);
                *contended
            }
            _ => return,
        };
        self.log.record(Event::Learned { sidecar, key: number, contended });
    }

    fn notice_renewal(&mut self, host: usize, key: usize) {
        let now = self.boottime(host);
        let view =
            self.hosts[host].engine.as_ref().and_then(|engine| engine.look(&self.keys[key], usize::MAX));
        if view.is_some_and(|view| view.tenure.is_none_or(|tenure| tenure.deadline <= now)) {
            self.rare.saw(Kind::RenewalAfterDeadline);
        }
    }

    /// The connection breaks: what is under way has no known outcome. It comes back after a while.
    pub(crate) fn disconnect(&mut self, host: usize) {
        if self.hosts[host].engine.is_none() || !self.hosts[host].link.up {
            return;
        }
        let sidecar = self.hosts[host].sidecar;
        self.log.say(|| format!("sidecar {sidecar} loses its connection to the store"));
        let lost: Vec<CallId> = self.hosts[host].link.open_calls();
        self.hosts[host].link.broken();
        let unknown = |call| Input::Store { call, outcome: Outcome::Unknown(Fault::Down) };
        let mut inputs: Vec<Input> = lost.into_iter().map(unknown).collect();
        match self.dice.chance(0.5) {
            true => inputs.insert(0, Input::StoreDown),
            false => inputs.push(Input::StoreDown),
        }
        for input in inputs {
            let mail = Mail { from: From::Store, input };
            self.agenda.put(self.now, Happening::Mail { host, sidecar, mail });
        }
        let delay = match self.healed {
            true => Duration::from_millis(50),
            false => self.dice.about(Duration::from_millis(400)).min(Duration::from_secs(8)),
        };
        self.reconnect(host, delay);
    }

    /// Plans the next connection.
    pub(crate) fn reconnect(&mut self, host: usize, delay: Duration) {
        let sidecar = self.hosts[host].sidecar;
        self.disturb(host, delay + Duration::from_millis(100));
        self.agenda.put(self.now + delay, Happening::Connected { host, sidecar });
    }

    pub(crate) fn connected(&mut self, host: usize, sidecar: u32) {
        if !self.is_running(host, sidecar) || self.hosts[host].link.up {
            return;
        }
        if let Some(back) = self.store_away_until.filter(|back| *back > self.now) {
            let delay = back.since(self.now) + self.dice.span(Duration::ZERO, Duration::from_millis(500));
            return self.reconnect(host, delay);
        }
        let primary = self.primary();
        let link = &mut self.hosts[host].link;
        link.up = true;
        link.deaf = false;
        link.server = primary;
        link.last_there = self.now;
        link.last_back = self.now;
        let at = self.store_clock.read(self.now);
        for input in [Input::StoreUp { at }, Input::Subscribed] {
            let mail = Mail { from: From::Store, input };
            self.mail(host, sidecar, mail);
        }
    }

    pub(crate) fn subscribed(&mut self, host: usize, sidecar: u32) {
        if self.is_running(host, sidecar) && self.hosts[host].link.up {
            self.hosts[host].link.deaf = false;
            let mail = Mail { from: From::Store, input: Input::Subscribed };
            self.mail(host, sidecar, mail);
        }
    }
}
