//! A strict store (P20): its primary, the replica that takes its place, and the primary that was replaced and still grants.
//!
//! Owns what a seed of such a world draws, failovers, and on which server an operation runs. Must not know how a store
//! notices a failover: that is what is tested.

use super::dice::Dice;
use super::plan::{KeyKind, Plan, Trouble};
use super::rare::Kind;
use super::truth::Truth;
use super::{Happening, World};
use crate::checker::history::{At, Event};
use sidelock_engine::store::{Call, Op, Outcome, Reply, Wake};
use sidelock_engine::{AskId, Fence, StoreTime};
use sidelock_store::Memory;
use sidelock_store::strict::Terms;
use std::collections::BTreeMap;
use std::time::Duration;

/// A primary that is cut off from its replicas is replaced within so long.
const FAILOVER_MAX: Duration = Duration::from_secs(5);
/// Sidecars leave a primary that takes no writes any more at the latest after so long.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// The servers of a strict store.
pub(crate) struct Servers {
    terms: Terms,
    /// Number of the primary; the next one has the next.
    pub(crate) primary: u32,
    /// Replications so far: every one has an id of its own.
    replications: u64,
    cut: Option<Cut>,
    replaced: Option<Replaced>,
    /// Number of the server that runs an operation.
    pub(crate) running: u32,
    /// When the quarantine ends that the world makes allowance for.
    allowed_for: StoreTime,
    /// The highest fence that was ever reserved for a tenure. A replica may know of less.
    reserved: BTreeMap<(u32, AskId), Fence>,
    /// Bounds on time do not hold before, for those who start meanwhile either.
    unsettled_until: At,
}

/// The primary's replicas hear nothing of it any more.
struct Cut {
    /// What they heard last.
    replica: Memory,
    /// Then it notices, and takes no more writes.
    refuses_from: At,
}

/// A primary that another one has replaced.
struct Replaced {
    number: u32,
    store: Memory,
    truth: Truth,
    refuses_from: At,
}

/// What a server is to those who speak to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declaration {
    /// It takes writes.
    Serves,
    /// It has no replicas, and takes none.
    Refuses,
    /// It is no more.
    Gone,
}

impl Servers {
    pub(crate) fn new(terms: Terms) -> Servers {
        Servers {
            terms,
            primary: 0,
            replications: 0,
            cut: None,
            replaced: None,
            running: 0,
            allowed_for: StoreTime(0),
            unsettled_until: At(0),
            reserved: BTreeMap::new(),
        }
    }

    /// A tenure of this key got fences up to `last`.
    pub(crate) fn note_reserved(&mut self, key: u32, tenure: AskId, last: Fence) {
        let highest = self.reserved.entry((key, tenure)).or_default();
        *highest = last.max(*highest);
    }

    /// The highest that it ever got.
    pub(crate) fn reserved(&self, key: u32, tenure: AskId) -> Option<Fence> {
        self.reserved.get(&(key, tenure)).copied()
    }

    /// Whether the operation under way runs on a server that was replaced.
    pub(crate) fn is_aside(&self) -> bool {
        self.running != self.primary
    }
}

impl Plan {
    /// A world whose store is strict.
    pub(crate) fn draw_strict(dice: &mut Dice) -> Plan {
        let mut plan = Plan::draw(dice);
        // What registers and turns lose with the store's data is no business of leases.
        plan.habits.counts = 0.0;
        for key in &mut plan.keys {
            if let KeyKind::Once(_) = key {
                *key = KeyKind::Lock { shared: dice.one_of(&[0.0, 0.5]) };
            }
        }
        // Which server's clock is right when they differ is another question.
        let clocks = [Trouble::StoreClockAhead, Trouble::StoreClockBack];
        // A store that evicts is none.
        plan.troubles.retain(|(_, trouble)| !clocks.contains(trouble) && *trouble != Trouble::Evict);
        plan.bounds.clocks_agree = true;
        plan.bounds.store_clock_monotone = true;
        plan.bounds.strict = true;
        for (trouble, likely, most) in [
            (Trouble::Failover, 0.7, 3),
            (Trouble::Flush, 0.5, 2),
            (Trouble::StoreAway, 0.3, 2),
            (Trouble::Freeze, 0.2, 1),
            (Trouble::Force, 1.0, 12),
        ] {
            if dice.chance(likely) {
                for _ in 0..dice.between(1, most) {
                    plan.troubles.push((At(dice.between(0, plan.faulty.as_nanos() as u64)), trouble));
                }
            }
        }
        if dice.chance(0.5) {
            // Long enough to be held through a quarantine.
            plan.habits.hold = Duration::from_secs(dice.one_of(&[3, 8, 20]));
        }
        // A lease of a time may be asked for with a little more than it lasts.
        let longest = plan.bounds.longest + Duration::from_millis(500);
        let isolation = match dice.chance(0.6) {
            true => dice.span(Duration::from_millis(500), Duration::from_secs(4)),
            // It has no replicas.
            false => Duration::ZERO,
        };
        plan.troubles.retain(|(_, trouble)| !isolation.is_zero() || *trouble != Trouble::Failover);
        plan.strict = Some(Terms { longest, isolation });
        plan
    }
}

impl World {
    /// What a server is now to those who speak to it.
    pub(crate) fn stand_of(&self, server: u32) -> Declaration {
        let Some(servers) = &self.servers else { return Declaration::Serves };
        let from = match &servers.replaced {
            _ if server == servers.primary => servers.cut.as_ref().map(|cut| cut.refuses_from),
            Some(replaced) if server == replaced.number => Some(replaced.refuses_from),
            _ => return Declaration::Gone,
        };
        match from.is_some_and(|from| from <= self.now) {
            true => Declaration::Refuses,
            false => Declaration::Serves,
        }
    }

    /// The number of the primary.
    pub(crate) fn primary(&self) -> u32 {
        self.servers.as_ref().map_or(0, |servers| servers.primary)
    }

    /// A call runs on this server.
    pub(crate) fn apply_at(&mut self, server: u32, call: &Call) -> Outcome {
        let aside = self.swap_servers(server);
        let outcome = self.apply(call);
        if let (Outcome::Applied { reply, .. }, true) = (&outcome, self.servers.is_some()) {
            self.notice_strictness(call, reply);
        }
        if aside {
            self.swap_servers(server);
            if let Some(servers) = &mut self.servers {
                servers.running = servers.primary;
            }
        }
        self.allow_for_quarantine();
        outcome
    }

    /// Puts the data of a replaced primary in the place of the primary's, and back. False: this one is the primary.
    fn swap_servers(&mut self, server: u32) -> bool {
        let Some(servers) = &mut self.servers else { return false };
        servers.running = server;
        let replaced = servers.replaced.as_mut().filter(|replaced| replaced.number == server);
        let Some(replaced) = replaced else { return false };
        std::mem::swap(&mut self.store, &mut replaced.store);
        std::mem::swap(&mut self.truth, &mut replaced.truth);
        true
    }

    /// The store runs one operation, by the rules of this world.
    pub(crate) fn run_at_store(&mut self, op: &Op) -> (StoreTime, Reply, Vec<Wake>) {
        let at = self.store_clock.read(self.now);
        let (reply, wakes) = match &self.servers {
            None => self.store.apply(at, op),
            Some(servers) => self.store.apply_strictly(at, op, &servers.terms),
        };
        (at, reply, wakes)
    }

    fn notice_strictness(&mut self, call: &Call, reply: &Reply) {
        let aside = self.servers.as_ref().is_some_and(Servers::is_aside);
        match (&call.op, reply) {
            (Op::Reassert(_), Reply::Renewed { .. }) => self.rare.saw(Kind::PutBack),
            (Op::Reassert(_), Reply::Gone) => self.rare.saw(Kind::NotPutBack),
            (Op::Renew(_), Reply::Quarantined { .. }) => self.rare.saw(Kind::RenewalTooSoon),
            (Op::Ask(_), Reply::Quarantined { .. }) => self.rare.saw(Kind::AskInQuarantine),
            (Op::Ask(_), Reply::Granted(_)) if aside => self.rare.saw(Kind::GrantByReplaced),
            (Op::Renew(_), Reply::Renewed { .. }) if aside => self.rare.saw(Kind::RenewalByReplaced),
            _ => {}
        }
    }

    /// Bounds on time do not hold while nothing is granted.
    fn allow_for_quarantine(&mut self) {
        let (Some(servers), Some(marker)) = (&mut self.servers, self.store.marker()) else { return };
        let ends = marker.ends();
        if ends > servers.allowed_for {
            servers.allowed_for = ends;
            let span = self.store_clock.when(ends).since(self.now) + Duration::from_secs(1);
            self.disturb_all(span);
        }
    }

    /// Bounds on time do not hold for anybody.
    fn disturb_all(&mut self, span: Duration) {
        if let Some(servers) = &mut self.servers {
            servers.unsettled_until = servers.unsettled_until.max(self.now + span);
        }
        (0..self.hosts.len()).for_each(|host| self.disturb(host, span));
    }

    /// … nor for who starts now.
    pub(crate) fn disturb_newcomer(&mut self, host: usize) {
        let until = self.servers.as_ref().map_or(At(0), |servers| servers.unsettled_until);
        if until > self.now {
            self.disturb(host, until.since(self.now));
        }
    }

    /// Nobody hears that a key was taken by force, before the store forgets it too.
    pub(crate) fn force_unheard(&mut self) {
        if self.servers.is_some() && self.dice.chance(0.9) {
            (0..self.hosts.len()).for_each(|host| self.deafen(host));
            self.flush_within(Duration::from_millis(900), Duration::from_millis(2_500));
        }
    }

    /// What was just reserved is forgotten, before others reserve more: nothing else tells them that it is taken.
    pub(crate) fn flush_after_reserving(&mut self) {
        if !self.healed && self.dice.chance(0.001) {
            self.flush_within(Duration::ZERO, Duration::from_millis(3));
        }
    }

    /// In the worst moment.
    pub(crate) fn flush_within(&mut self, from: Duration, to: Duration) {
        if self.servers.is_some() && self.dice.chance(0.7) {
            let delay = self.dice.span(from, to);
            self.agenda.put(self.now + delay, Happening::Trouble(Trouble::Flush));
        }
    }

    /// The store is another replication: it started anew, with what data it has.
    pub(crate) fn store_restarted(&mut self) {
        if let Some(servers) = &mut self.servers {
            servers.replications += 1;
            self.store.replicate(servers.replications);
        }
    }

    /// The primary is cut off from its replicas. One of them takes its place before long, and lacks what came meanwhile.
    pub(crate) fn failover(&mut self) {
        let Some(servers) = &mut self.servers else { return };
        if servers.cut.is_some() {
            return;
        }
        let isolation = servers.terms.isolation;
        // The last writes may not have reached it either.
        let notices =
            if self.dice.chance(0.6) { isolation } else { self.dice.span(Duration::ZERO, isolation) };
        servers.cut = Some(Cut { replica: self.store.clone(), refuses_from: self.now + notices });
        let delay = match self.dice.chance(0.5) {
            true => self.dice.span(Duration::from_millis(1), Duration::from_millis(500)),
            false => self.dice.span(Duration::from_millis(500), FAILOVER_MAX),
        };
        self.agenda.put(self.now + delay, Happening::Promoted);
        self.disturb_all(delay + isolation + LEAVE_MAX + Duration::from_secs(8));
    }

    /// The replica is the primary from now on. Not everybody has heard.
    pub(crate) fn promoted(&mut self) {
        let Some(servers) = &mut self.servers else { return };
        let Some(cut) = servers.cut.take() else { return };
        self.log.say(|| "—— a replica is the primary now ——".to_owned());
        self.log.record(Event::Flushed);
        servers.replications += 1;
        let mut store = cut.replica;
        store.replicate(servers.replications);
        let (number, refuses_from) = (servers.primary, cut.refuses_from);
        servers.primary += 1;
        servers.running = servers.primary;
        let store = std::mem::replace(&mut self.store, store);
        let truth = std::mem::replace(&mut self.truth, Truth::new(self.keys.len()));
        servers.replaced = Some(Replaced { number, store, truth, refuses_from });
        self.observe_replica();
        let leave = refuses_from.since(self.now) + LEAVE_MAX;
        for host in 0..self.hosts.len() {
            let stays = self.hosts[host].link.server == number && self.dice.chance(0.6);
            let delay = if stays { self.dice.span(Duration::ZERO, leave) } else { Duration::ZERO };
            let sidecar = self.hosts[host].sidecar;
            self.agenda.put(self.now + delay, Happening::LeavesReplaced { host, sidecar });
        }
    }

    /// A sidecar hears that its server was replaced.
    pub(crate) fn leaves_replaced(&mut self, host: usize, sidecar: u32) {
        if self.is_running(host, sidecar) && self.hosts[host].link.server != self.primary() {
            self.disconnect(host);
        }
    }
}
