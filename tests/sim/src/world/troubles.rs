//! What goes wrong in a simulated world, apart from calls and pushes.
//!
//! Owns how each planned trouble strikes. Must not know how the struck react.

use super::clients::ClientMail;
use super::hosts::{OPERATOR, number};
use super::plan::Trouble;
use super::rare::Kind;
use super::{Happening, World};
use crate::checker::history::Event;
use sidelock_engine::store::{Order, REFUSE_AFTER};
use sidelock_engine::{EndedBy, Force, Input, RequestId, SessionId};
use std::time::Duration;

impl World {
    pub(crate) fn trouble(&mut self, trouble: Trouble) {
        if self.healed {
            return;
        }
        self.log.say(|| format!("—— {trouble:?} ——"));
        let host = self.dice.below(self.hosts.len());
        match trouble {
            Trouble::Crash => self.sidecar_dies(host, self.hosts[host].sidecar),
            Trouble::Drain => self.drain(host),
            Trouble::Pause => {
                let span = self.pause_span();
                self.sidecar_stops(host, span);
            }
            Trouble::Suspend => {
                let span = self.pause_span();
                self.host_stops(host, span);
            }
            Trouble::Freeze => self.freeze(host),
            Trouble::WallStep => self.wall_step(host),
            Trouble::Disconnect if self.dice.chance(0.3) => self.deafen(host),
            Trouble::Disconnect => self.disconnect(host),
            Trouble::ClientPause => {
                let client = self.dice.below(self.clients.len());
                let span = self.pause_span();
                self.client_stops(client, span);
            }
            Trouble::CutOff => self.cut_off(),
            Trouble::StoreAway => self.store_away(),
            Trouble::Full => self.store_fills(),
            Trouble::Evict => self.evict(),
            Trouble::Flush => self.flush(),
            Trouble::Failover => self.failover(),
            Trouble::StoreClockAhead => {
                let by = self.dice.between(1_000_000, 20_000_000_000);
                self.step_store_clock(i64::try_from(by).expect("seconds"));
            }
            Trouble::StoreClockBack => {
                let by = self.dice.between(1_000_000, 20_000_000_000);
                self.step_store_clock(-i64::try_from(by).expect("seconds"));
            }
            Trouble::Burst => self.burst(),
            Trouble::Force => self.force(host),
        }
    }

    /// Mostly short, sometimes longer than any tenure.
    fn pause_span(&mut self) -> Duration {
        match self.dice.chance(0.5) {
            true => self.dice.span(Duration::from_millis(20), Duration::from_secs(3)),
            false => self.dice.span(Duration::from_secs(3), Duration::from_secs(14)),
        }
    }

    fn drain(&mut self, host: usize) {
        let sidecar = self.hosts[host].sidecar;
        if self.hosts[host].engine.is_none() || self.hosts[host].stopped || self.hosts[host].draining {
            return;
        }
        self.hosts[host].draining = true;
        self.log.record(Event::Drains { sidecar });
        self.feed(host, Input::Drain);
        let grace = self.dice.span(Duration::ZERO, Duration::from_secs(3));
        self.disturb(host, grace);
        self.agenda.put(self.now + grace, Happening::Dies { host, sidecar });
    }

    fn host_stops(&mut self, host: usize, span: Duration) {
        self.sidecar_stops(host, span);
        for client in 0..self.clients.len() {
            if self.clients[client].host == host {
                self.client_stops(client, span);
            }
        }
    }

    /// Mostly a key that somebody holds, and beside whom others wait: another one would teach little.
    fn mostly_held(&mut self) -> usize {
        let held = self.truth.held_keys();
        let waited_for: Vec<usize> = held.iter().copied().filter(|&key| self.is_waited_for(key)).collect();
        match (held.is_empty(), waited_for.is_empty()) {
            (true, _) => self.dice.below(self.keys.len()),
            (false, false) if self.dice.chance(0.7) => self.dice.one_of(&waited_for),
            _ => self.dice.one_of(&held),
        }
    }

    /// Whether somebody waits at the sidecar that has it.
    fn is_waited_for(&self, key: usize) -> bool {
        let engines = self.hosts.iter().filter_map(|host| host.engine.as_ref());
        let mut views = engines.filter_map(|engine| engine.look(&self.keys[key], 1));
        views.any(|view| view.tenure.is_some() && !view.waiters.is_empty())
    }

    fn force(&mut self, host: usize) {
        if self.hosts[host].engine.is_none() || self.hosts[host].stopped {
            return;
        }
        let key = self.mostly_held();
        let key = self.keys[key].clone();
        self.force_unheard();
        let order = Order { by: 0, reason: "simulated".into() };
        self.feed(host, Input::Force(Force { session: OPERATOR, request: RequestId(0), key, order }));
    }

    /// The whole host stands still, its boottime too: the wall clock shows it afterwards.
    fn freeze(&mut self, host: usize) {
        let sidecar = self.hosts[host].sidecar;
        if self.hosts[host].engine.is_none() || self.hosts[host].stopped {
            return;
        }
        let span = self.dice.span(Duration::from_millis(1100), Duration::from_secs(12));
        for sidecar in self.hosts[host].earlier.iter().copied().chain([sidecar]) {
            self.log.record(Event::Froze { sidecar });
        }
        self.host_stops(host, span);
        self.disturb(host, span + Duration::from_secs(1));
        self.hosts[host].frozen_since = Some(self.now);
        self.flush_within(span / 2, span);
    }

    fn wall_step(&mut self, host: usize) {
        if self.hosts[host].engine.is_some() && !self.hosts[host].stopped {
            self.disturb(host, Duration::from_secs(1));
            self.feed(host, Input::ClockStepped);
        }
    }

    /// The inbox is not heard for a while, the store is.
    pub(crate) fn deafen(&mut self, host: usize) {
        if self.hosts[host].engine.is_none() || !self.hosts[host].link.up {
            return;
        }
        let sidecar = self.hosts[host].sidecar;
        self.hosts[host].link.deaf = true;
        let span = self.dice.about(Duration::from_secs(1));
        self.disturb(host, span);
        self.agenda.put(self.now + span, Happening::Subscribed { host, sidecar });
    }

    fn cut_off(&mut self) {
        let open: Vec<usize> =
            (0..self.sessions.len()).filter(|&session| self.sessions[session].connected).collect();
        if open.is_empty() {
            return;
        }
        let session = open[self.dice.below(open.len())];
        let host = self.sessions[session].host;
        if !self.is_running(host, self.sessions[session].sidecar) || self.hosts[host].stopped {
            return;
        }
        let number = number(session);
        self.log.record(Event::CutOff { session: number });
        self.sessions[session].sidecar_side += 1;
        self.post_to_client(session, ClientMail::Eof(number));
        self.sessions[session].connected = false;
        self.feed(host, Input::SessionEnded { session: SessionId(u64::from(number)), by: EndedBy::Sidecar });
    }

    fn store_away(&mut self) {
        let span = self.dice.span(Duration::from_millis(100), Duration::from_secs(6));
        self.store_away_until = Some(self.now + span);
        self.store_restarted();
        if self.dice.chance(0.3) {
            self.flush();
        }
        for host in 0..self.hosts.len() {
            self.disturb(host, span + Duration::from_secs(1));
            self.disconnect(host);
        }
    }

    /// Who asks for more gets nothing for a while; what stands goes on.
    fn store_fills(&mut self) {
        let span = self.dice.span(Duration::from_millis(200), Duration::from_secs(8));
        self.full_until = self.full_until.max(self.now + span);
        (0..self.hosts.len()).for_each(|host| self.refuse_asks(host));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.now < self.full_until && !self.healed
    }

    /// Bounds on time do not hold for who wants something, and for half a second after: it asks again.
    pub(crate) fn refuse_asks(&mut self, host: usize) {
        let sidecar = self.hosts[host].sidecar;
        if sidecar != u32::MAX && self.is_full() {
            let until = self.full_until + Duration::from_millis(500);
            self.log.record(Event::AsksRefused { sidecar, until });
        }
    }

    fn flush(&mut self) {
        if self.truth.anybody_queued() {
            self.rare.saw(Kind::FlushWhileQueued);
        }
        self.store.flush();
        self.truth.flush();
        self.data_lost(Event::Flushed);
    }

    fn evict(&mut self) {
        let key = self.mostly_held();
        self.store.evict(&self.keys[key]);
        self.truth.evict(key);
        self.data_lost(Event::Evicted { key: number(key) });
    }

    fn data_lost(&mut self, what: Event) {
        self.log.record(what);
        // What the store knew to be over is forgotten too: late copies of asks may enter the queue, and lapse there.
        for host in 0..self.hosts.len() {
            self.disturb(host, REFUSE_AFTER + 3 * self.plan.bounds.wake_max);
        }
    }

    /// Bounds on time do not hold until what was counted on the old clock has run out.
    fn step_store_clock(&mut self, by_ns: i64) {
        self.store_clock.step(by_ns);
        let longest = self.plan.bounds.longest + Duration::from_nanos(by_ns.unsigned_abs());
        for host in 0..self.hosts.len() {
            self.disturb(host, longest + Duration::from_secs(2));
        }
    }

    fn burst(&mut self) {
        let key = self.dice.below(self.keys.len());
        let span = self.dice.span(Duration::from_millis(150), Duration::from_millis(400));
        for client in 0..self.clients.len() {
            if self.dice.chance(0.7) {
                self.heat(client, key, span);
            }
        }
        // A store that loses its data while fences are taken fast is the hardest case of P1.
        if self.plan.troubles.iter().any(|(_, trouble)| *trouble == Trouble::Flush) {
            for part in 1..4 {
                self.agenda.put(self.now + span / 4 * part, Happening::Trouble(Trouble::Flush));
            }
        }
    }
}
