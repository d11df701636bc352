//! A simulated fleet: engines, a model store, a network, clients, and everything that can go wrong between them.
//!
//! Owns the world's state and the order in which it moves. One number, the seed, decides it all: [`run`] twice gives the
//! same history twice. Must not judge: it writes down what happens, and the checker reads that.
//!
//! Read on in `plan` (what a seed draws), `hosts` (sidecars), `network` and `fates` (the way to the store), `truth` (what the store
//! decided), `clients` and `tasks` (who asks), `counters` (who uses registers), `turns` (who does a thing once),
//! `servers` (the store of a strict fleet), `tangle`, `owners`, `sharers`, `runners` and `reentry` (who asks for more while it holds, or for the same again), `troubles` (what goes wrong),
//! `rare` (what must not stay untested).

mod agenda;
mod clients;
mod clock;
mod counters;
mod dice;
mod fates;
mod ghosts;
mod groups;
mod holding;
mod modes;
mod hosts;
mod log;
mod network;
mod owners;
mod plan;
pub mod rare;
mod reentry;
mod runners;
mod servers;
mod sharers;
mod tangle;
mod tasks;
mod troubles;
mod truth;
mod turns;

use crate::checker::history::{At, Event, History, Req, Rest};
use agenda::Agenda;
use clients::{Client, ClientMail, Session};
use clock::StoreClock;
use counters::Turn;
use dice::Dice;
use groups::Groups;
use holding::Register;
use hosts::{Host, Mail};
use log::Log;
use network::Pipeline;
use owners::Move;
use plan::{Plan, Trouble};
use rare::Rare;
use servers::Servers;
use sidelock_engine::mutant::Mutant;
use sidelock_engine::store::{CallId, Outcome};
use sidelock_engine::{Effect, Key};
use sidelock_store::Memory;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tasks::{Secret, Step};
use truth::Truth;

/// What kind of a world a seed decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Many tasks with one lease at a time each, and everything that can go wrong.
    Fleet,
    /// Owners who ask for more while they hold.
    Tangle,
    /// A fleet on a strict store, which loses its data, and its primary.
    Strict,
}

/// A world in which more happens than this will never come to rest.
const INPUTS_MAX: u64 = 200_000;

/// What a run leaves behind.
pub struct Run {
    /// What happened, for the checker.
    pub history: History,
    /// How often rare things happened.
    pub rare: Rare,
    /// How much happened.
    pub totals: Totals,
    /// The story in words, if it was asked for.
    pub story: Vec<String>,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Inputs handled by engines.
    pub inputs: u64,
    /// Grants.
    pub grants: u64,
    /// Grants inside a tenure.
    pub handoffs: u64,
    /// Leases lost.
    pub lost: u64,
    /// Operations that the store ran.
    pub operations: u64,
    /// Requests refused or cancelled.
    pub refused: u64,
    /// Alarms that the store's clock went back.
    pub alarms: u64,
    /// Leases that their owners entered once more.
    pub entered: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.inputs += other.inputs;
        self.grants += other.grants;
        self.handoffs += other.handoffs;
        self.lost += other.lost;
        self.operations += other.operations;
        self.refused += other.refused;
        self.alarms += other.alarms;
        self.entered += other.entered;
    }
}

/// Something to come.
enum Happening {
    /// An engine's timer.
    Tick { host: usize, sidecar: u32 },
    /// Something reaches a sidecar.
    Mail { host: usize, sidecar: u32, mail: Mail },
    /// A stopped sidecar goes on.
    Continue { host: usize, sidecar: u32 },
    /// A sidecar dies.
    Dies { host: usize, sidecar: u32 },
    /// A sidecar starts.
    Starts { host: usize },
    /// A sidecar is connected to the store again.
    Connected { host: usize, sidecar: u32 },
    /// A sidecar hears pushes again.
    Subscribed { host: usize, sidecar: u32 },
    /// Calls reach the store.
    AtStore(Pipeline),
    /// Answers reach a sidecar.
    Answers { host: usize, sidecar: u32, connection: u32, answers: Vec<(CallId, Outcome)> },
    /// A connection to the store breaks.
    Breaks { host: usize, sidecar: u32, connection: u32 },
    /// A sidecar stops waiting for answers.
    GivesUp { host: usize, sidecar: u32, calls: Vec<CallId> },
    /// Something reaches a client.
    ToClient { client: usize, mail: ClientMail },
    /// A stopped client goes on.
    ClientContinues { client: usize },
    /// A client's own timer.
    Step { client: usize, task: usize, generation: u32, step: Step },
    /// An owner's own timer.
    Moves { client: usize, owner: usize, generation: u32, step: Move },
    /// A counter's own timer.
    Counts { client: usize, counter: usize, generation: u32, turn: Turn },
    /// A replica takes its primary's place.
    Promoted,
    /// A sidecar leaves a primary that was replaced.
    LeavesReplaced { host: usize, sidecar: u32 },
    /// Something goes wrong.
    Trouble(Trouble),
    /// Everything is well from now on.
    Heal,
    /// Is everybody done?
    Look,
    /// Everything has run out: what is left?
    Rest,
}

/// The world.
pub(crate) struct World {
    plan: Plan,
    mutant: Option<Mutant>,
    dice: Dice,
    now: At,
    agenda: Agenda<Happening>,
    hosts: Vec<Host>,
    clients: Vec<Client>,
    sessions: Vec<Session>,
    keys: Vec<Key>,
    registers: Vec<Register>,
    secrets: Vec<Secret>,
    groups: Groups,
    /// What owners entered again, and the token that it had.
    entered: BTreeMap<Req, u64>,
    store: Memory,
    store_clock: StoreClock,
    store_away_until: Option<At>,
    /// Until then the store takes nothing that it would need memory for.
    full_until: At,
    /// Where the store is strict.
    servers: Option<Servers>,
    truth: Truth,
    log: Log,
    rare: Rare,
    totals: Totals,
    /// Incarnations so far.
    sidecars: u32,
    healed: bool,
    /// No new requests.
    closing: bool,
    rested: bool,
    /// What all clients call themselves.
    app: Arc<str>,
    /// Scratch.
    effects: Vec<Effect>,
}

/// Runs the world of a seed to its end.
pub fn run(kind: Kind, seed: u64, mutant: Option<Mutant>, trace: bool) -> Run {
    let mut world = World::new(kind, seed, mutant, trace);
    world.begin();
    while !world.rested {
        let (at, happening) = world.agenda.pop().expect("a world comes to rest before it runs out of events");
        world.now = at;
        world.log.now = at;
        world.happen(happening);
        if world.totals.inputs > INPUTS_MAX && !world.rested {
            world.rest();
        }
    }
    Run { history: world.log.history, rare: world.rare, totals: world.totals, story: world.log.story }
}

impl World {
    fn new(kind: Kind, seed: u64, mutant: Option<Mutant>, trace: bool) -> World {
        let mut dice = Dice::new(seed);
        let plan = match kind {
            Kind::Fleet => Plan::draw(&mut dice),
            Kind::Tangle => Plan::draw_tangle(&mut dice),
            Kind::Strict => Plan::draw_strict(&mut dice),
        };
        let keys = plan
            .keys
            .iter()
            .enumerate()
            .map(|(index, kind)| Key::of(kind.space(), &index.to_string()).expect("digits make a key"));
        World {
            keys: keys.collect(),
            registers: plan.keys.iter().map(|_| Register::default()).collect(),
            secrets: Vec::new(),
            groups: Groups::default(),
            entered: BTreeMap::new(),
            store: Memory::with_mutant(mutant),
            store_clock: StoreClock::new(&mut dice),
            store_away_until: None,
            full_until: At(0),
            servers: plan.strict.map(Servers::new),
            truth: Truth::new(plan.keys.len()),
            log: Log::new(plan.bounds, trace),
            rare: Rare::default(),
            totals: Totals::default(),
            agenda: Agenda::new(),
            hosts: Vec::new(),
            clients: Vec::new(),
            sessions: Vec::new(),
            now: At(0),
            sidecars: 0,
            healed: false,
            closing: false,
            rested: false,
            app: "sim".into(),
            effects: Vec::new(),
            plan,
            mutant,
            dice,
        }
    }

    fn begin(&mut self) {
        for host in 0..self.plan.hosts {
            self.hosts.push(Host::new(&mut self.dice));
            self.agenda.put(At(0), Happening::Starts { host });
        }
        for index in 0..self.plan.clients {
            self.clients.push(Client::new(index % self.plan.hosts, index));
            if self.plan.tangle.is_some() {
                self.owners_begin(index);
                continue;
            }
            self.counters_begin(index);
            self.begin_later(index, 0, Duration::from_millis(20));
            self.begin_later(index, 1, self.plan.habits.think);
        }
        for (at, trouble) in self.plan.troubles.clone() {
            self.agenda.put(at, Happening::Trouble(trouble));
        }
        self.agenda.put(At(0) + self.plan.faulty, Happening::Heal);
        self.agenda.put(At(0) + self.plan.faulty + self.plan.healed, Happening::Look);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick { host, sidecar } => self.tick(host, sidecar),
            Happening::Mail { host, sidecar, mail } => self.mail(host, sidecar, mail),
            Happening::Continue { host, sidecar } => self.sidecar_continues(host, sidecar),
            Happening::Dies { host, sidecar } => self.sidecar_dies(host, sidecar),
            Happening::Starts { host } => self.sidecar_starts(host),
            Happening::Connected { host, sidecar } => self.connected(host, sidecar),
            Happening::Subscribed { host, sidecar } => self.subscribed(host, sidecar),
            Happening::AtStore(pipeline) => self.at_store(pipeline),
            Happening::Answers { host, sidecar, connection, answers } => {
                self.answers(host, sidecar, connection, answers)
            }
            Happening::Breaks { host, sidecar, connection } => self.breaks(host, sidecar, connection),
            Happening::GivesUp { host, sidecar, calls } => self.gives_up(host, sidecar, &calls),
            Happening::ToClient { client, mail } => self.reaches_client(client, mail),
            Happening::ClientContinues { client } => self.client_continues(client),
            Happening::Step { client, task, generation, step } => self.step(client, task, generation, step),
            Happening::Moves { client, owner, generation, step } => {
                self.owner_moves(client, owner, generation, step)
            }
            Happening::Counts { client, counter, generation, turn } => {
                self.counter_turns(client, counter, generation, turn)
            }
            Happening::Promoted => self.promoted(),
            Happening::LeavesReplaced { host, sidecar } => self.leaves_replaced(host, sidecar),
            Happening::Trouble(trouble) => self.trouble(trouble),
            Happening::Heal => self.heal(),
            Happening::Look => self.look(),
            Happening::Rest => self.rest(),
        }
    }

    /// From now on nothing new goes wrong. What is stopped or away comes back by itself, within seconds.
    fn heal(&mut self) {
        self.log.say(|| "—— healed ——".to_owned());
        self.healed = true;
    }

    /// No more requests; when everybody has their answers the world may come to rest.
    fn look(&mut self) {
        if !self.closing {
            self.closing = true;
            self.finish_soon();
            self.owners_finish_soon();
        }
        let overdue = self.now > self.plan.ends_by();
        if overdue || self.clients.iter().all(Client::is_done) {
            self.log.say(|| "—— everybody is done ——".to_owned());
            // What the store keeps until an instant of its clock stays longer after that clock was set back.
            let set_back = if self.plan.bounds.store_clock_monotone { 0 } else { 25 };
            let settle = self.plan.bounds.longest.mul_f64(1.02) + Duration::from_secs(6 + set_back);
            self.agenda.put(self.now + settle, Happening::Rest);
        } else {
            self.agenda.put(self.now + Duration::from_millis(500), Happening::Look);
        }
    }

    fn rest(&mut self) {
        let now = self.store_clock.read(self.now);
        let mut rest = Rest::default();
        for engine in self.hosts.iter().filter_map(|host| host.engine.as_ref()) {
            let counts = engine.counts();
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            rest.sessions += count(counts.sessions);
            rest.leases += count(counts.leases);
            rest.waiters += count(counts.waiters);
            rest.tenures += count(counts.tenures);
            rest.keys += count(counts.keys);
            rest.calls += count(counts.calls);
        }
        for key in &self.keys {
            let alive = self.store.record(key).is_some_and(|record| {
                record.tenures.iter().any(|tenure| tenure.until > now)
                    || record.queue.iter().any(|entry| entry.until > now)
                    || record.done.iter().any(|done| done.until > now)
                    || record.forced.iter().any(|forced| forced.until > now)
            });
            rest.records += u32::from(alive);
        }
        // Clients that are still there have one each.
        let open = self.sessions.iter().filter(|session| session.connected);
        rest.sessions = rest.sessions.saturating_sub(hosts::number(open.count()));
        rest.restless = self.totals.inputs > INPUTS_MAX;
        self.log.record(Event::Rest(rest));
        self.rested = true;
    }
}
