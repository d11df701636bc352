//! What clients do with a lease: hold it, believe in it no longer than told, write under its token, give it back.
//!
//! Owns the client's half of S2: deadlines are looked at on arrival and after every pause. Must not know how a lease is
//! asked for.

use super::World;
use super::hosts::{index, number};
use super::tasks::{State, Step};
use crate::checker::history::{Event, Req};
use sidelock_engine::{Grant, LeaseName, LeaseSecret, Mode, RequestId, SessionId, Time};
use std::time::Duration;

/// A lease as its client knows it.
#[derive(Clone, Copy)]
pub(crate) struct Lease {
    pub(crate) of: Req,
    pub(crate) key: usize,
    pub(crate) mode: Mode,
    fence: u64,
    deadline: Time,
    cap: Option<Time>,
    ttl: Option<Duration>,
    pub(crate) secret: Option<LeaseSecret>,
    /// The upgrade under way.
    pub(crate) upgrade: Option<Upgrade>,
    /// It took the place of a share.
    pub(crate) upgraded: bool,
    /// The renewal under way.
    pub(crate) renewal: Option<Req>,
    /// The version of the register that it read.
    pub(crate) base: Option<u32>,
}

/// An upgrade that was sent.
#[derive(Clone, Copy)]
pub(crate) struct Upgrade {
    pub(crate) of: Req,
    pub(crate) cancelled: bool,
}

impl Lease {
    /// Whether this is the number of its upgrade.
    pub(crate) fn upgrades_by(&self, of: Req) -> bool {
        self.upgrade.is_some_and(|upgrade| upgrade.of == of)
    }

    pub(crate) fn name(&self) -> LeaseName {
        match self.secret {
            Some(secret) => LeaseName::Timed(secret),
            None => LeaseName::Session(RequestId(u64::from(self.of.request))),
        }
    }
}

/// A resource that honours tokens.
#[derive(Default)]
pub(crate) struct Register {
    seen: u64,
    version: u32,
}

impl World {
    pub(crate) fn granted(&mut self, client: usize, task: usize, of: Req, grant: &Grant) {
        let key = self.key_index(&grant.key);
        let mut lease = Lease {
            of,
            key,
            mode: grant.mode,
            fence: grant.fence,
            deadline: grant.deadline,
            cap: grant.cap,
            ttl: self.clients[client].tasks[task].ttl,
            secret: grant.secret,
            upgrade: None,
            upgraded: false,
            renewal: None,
            base: None,
        };
        if grant.deadline <= self.boottime(self.clients[client].host) {
            self.log.record(Event::LostSeen { lease: of });
            return self.give_back(client, task, &lease);
        }
        if lease.mode == Mode::Exclusive {
            lease.base = self.read_register(&lease);
            self.count_under(client, key, lease.name());
        }
        self.set(client, task, State::Holding(lease));
        let hold = match () {
            () if self.hot(client, task).is_some() => Duration::from_micros(300),
            () if self.closing => Duration::from_millis(5),
            () if self.dice.chance(self.plan.habits.overstays) => Duration::from_secs(8),
            () => self.plan.habits.hold,
        };
        let hold = self.dice.about(hold);
        self.plan_change(client, task, hold);
        self.plan_step(client, task, hold, Step::Finish);
        if let Some(ttl) = lease.ttl
            && self.dice.chance(self.plan.habits.renews)
        {
            self.plan_step(client, task, ttl / 2, Step::Renew);
        }
        if !self.healed && self.dice.chance(self.plan.habits.dies) {
            let delay = self.dice.span(Duration::ZERO, Duration::from_millis(2));
            self.plan_step(client, task, delay, Step::Die);
        }
    }

    /// The world comes to its end: whoever holds is done soon.
    pub(crate) fn finish_soon(&mut self) {
        for client in 0..self.clients.len() {
            for task in 0..self.clients[client].tasks.len() {
                if self.holding(client, task).is_some() {
                    let delay = self.dice.about(Duration::from_millis(200));
                    self.plan_step(client, task, delay, Step::Finish);
                }
            }
        }
    }

    pub(crate) fn holding(&self, client: usize, task: usize) -> Option<Lease> {
        match self.clients[client].tasks[task].state {
            State::Holding(lease) => Some(lease),
            _ => None,
        }
    }

    pub(crate) fn change(&mut self, client: usize, task: usize, change: impl FnOnce(&mut Lease)) {
        if let State::Holding(lease) = &mut self.clients[client].tasks[task].state {
            change(lease);
        }
    }

    /// Gives up a lease whose deadline has passed. True if it did.
    pub(crate) fn look_at_deadline(&mut self, client: usize, task: usize) -> bool {
        let now = self.boottime(self.clients[client].host);
        let Some(lease) = self.holding(client, task).filter(|lease| lease.deadline <= now) else {
            return false;
        };
        self.log.record(Event::LostSeen { lease: lease.of });
        if self.dice.chance(0.5) {
            self.write_register(&lease);
        }
        self.give_back(client, task, &lease);
        true
    }

    pub(crate) fn renew(&mut self, client: usize, task: usize) {
        if self.look_at_deadline(client, task) || !self.clients[client].connected {
            return;
        }
        let Some(lease) = self.holding(client, task) else {
            return;
        };
        let ttl = lease.ttl.unwrap_or(Duration::from_secs(1));
        let renewal = self.send_renew(client, lease.of, lease.name(), ttl);
        self.change(client, task, |lease| lease.renewal = renewal);
    }

    pub(crate) fn renewed(&mut self, client: usize, task: usize, deadline: Time, cap: Option<Time>) {
        self.change(client, task, |lease| {
            lease.deadline = deadline;
            lease.cap = cap;
            lease.renewal = None;
        });
        if let Some(ttl) = self.holding(client, task).and_then(|lease| lease.ttl)
            && self.dice.chance(self.plan.habits.renews)
        {
            self.plan_step(client, task, ttl / 2, Step::Renew);
        }
    }

    /// State, not an event: where all session leases of the session stand now, except those listed.
    pub(crate) fn extended(&mut self, client: usize, session: SessionId, until: Time, except: &[RequestId]) {
        for task in 0..self.clients[client].tasks.len() {
            let Some(lease) = self.holding(client, task) else {
                continue;
            };
            let listed = except.contains(&RequestId(u64::from(lease.of.request)));
            let other = lease.of.session != number(index(session));
            if listed || other || lease.secret.is_some() || self.look_at_deadline(client, task) {
                continue;
            }
            let deadline = lease.cap.map_or(until, |cap| until.min(cap));
            self.change(client, task, |lease| lease.deadline = deadline);
            let until = self.hosts[self.clients[client].host].clock.when(deadline);
            self.log.record(Event::Extended { lease: lease.of, until });
        }
    }

    pub(crate) fn lost(&mut self, client: usize, of: Req) {
        self.log.record(Event::LostSeen { lease: of });
        for task in 0..self.clients[client].tasks.len() {
            if let Some(lease) = self.holding(client, task).filter(|lease| lease.of == of) {
                if self.dice.chance(0.3) {
                    self.write_register(&lease);
                }
                self.forget(client, task);
            }
        }
    }

    /// The work is done, or the client believes so long after its lease was over.
    pub(crate) fn finish(&mut self, client: usize, task: usize) {
        let Some(lease) = self.holding(client, task) else {
            return;
        };
        if !self.clients[client].connected {
            return self.plan_step(client, task, Duration::from_millis(100), Step::Finish);
        }
        if self.look_at_deadline(client, task) {
            return;
        }
        self.write_register(&lease);
        if self.finish_turn(client, task, &lease) {
            return;
        }
        // An upgraded lease that is cancelled is a share again: whoever is done with it gives it back.
        let plain = lease.secret.is_none() && lease.upgrade.is_none() && !lease.upgraded;
        if plain && self.dice.chance(self.plan.habits.cancels * 0.3) {
            self.set(client, task, State::Waiting { of: lease.of, cancelled: true });
            return self.send_cancel(client, lease.of);
        }
        self.give_back(client, task, &lease);
    }

    pub(crate) fn give_back(&mut self, client: usize, task: usize, lease: &Lease) {
        if !self.clients[client].connected {
            return self.forget(client, task);
        }
        // Or the grant of the upgrade, which may be on its way, would be nobody's.
        if lease.upgrade.is_some() {
            self.cancel_change(client, task);
        }
        let name = lease.name();
        match self.send_release(client, lease.of, name) {
            Some(of) => self.set(client, task, State::Releasing { of }),
            None => return self.forget(client, task),
        }
        if self.dice.chance(self.plan.habits.replays) {
            self.send_release(client, lease.of, name);
        }
    }

    /// The connection is gone. Timed leases do not mind; session leases wait for the client's return, if it comes.
    pub(crate) fn connection_lost(&mut self, client: usize, comes_back: bool) {
        self.owners_forget(client);
        self.counters_forget(client);
        for task in 0..self.clients[client].tasks.len() {
            let stays = self.holding(client, task).is_some_and(|lease| comes_back || lease.secret.is_some());
            if !stays && !matches!(self.clients[client].tasks[task].state, State::Idle) {
                self.forget(client, task);
            }
        }
    }

    /// Back on the same session: what is gone is given up, what nobody knows of is given back, the rest goes on.
    pub(crate) fn resumed(&mut self, client: usize, session: u32, held: &[RequestId]) {
        let known = |request: u32| held.contains(&RequestId(u64::from(request)));
        let mut kept = Vec::new();
        for task in 0..self.clients[client].tasks.len() {
            if self.look_at_deadline(client, task) {
                continue;
            }
            match self.holding(client, task).filter(|lease| lease.of.session == session) {
                Some(lease) if known(lease.of.request) => kept.push(lease.of.request),
                Some(lease) if lease.secret.is_none() => {
                    self.log.record(Event::LostSeen { lease: lease.of });
                    self.forget(client, task);
                }
                _ => {}
            }
        }
        self.log.record(Event::Resumed { session });
        for &RequestId(request) in held {
            let request = u32::try_from(request).expect("requests are numbered from 0");
            if !kept.contains(&request) {
                let lease = Req { session, request };
                self.send_release(client, lease, LeaseName::Session(RequestId(u64::from(request))));
            }
        }
    }

    fn read_register(&mut self, lease: &Lease) -> Option<u32> {
        let register = &mut self.registers[lease.key];
        if lease.fence < register.seen {
            return None;
        }
        register.seen = lease.fence;
        let version = register.version;
        self.log.record(Event::Read { key: number(lease.key), fence: lease.fence, version });
        Some(version)
    }

    pub(crate) fn write_register(&mut self, lease: &Lease) {
        let Some(base) = lease.base else {
            return;
        };
        let register = &mut self.registers[lease.key];
        let accepted = lease.fence >= register.seen;
        if accepted {
            register.version += 1;
        }
        self.log.record(Event::Wrote { key: number(lease.key), fence: lease.fence, base, accepted });
        // It read what it wrote.
        for client in 0..self.clients.len() {
            for task in 0..self.clients[client].tasks.len() {
                self.change(client, task, |other| {
                    if other.of == lease.of && accepted {
                        other.base = Some(base + 1);
                    }
                });
            }
        }
    }
}
