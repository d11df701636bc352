//! The world of the scenario files: sidecars, one store, a clock that stands still until it is moved.

mod registers;
mod words;

use sidelock_engine::store::{Call, CallId, Op, Outcome, Peeked, Push, Reply};
use sidelock_engine::{Config, Effect, Engine, Incarnation, Input, Key, StoreTime, Time};
use sidelock_store::Memory;
use sidelock_store::strict::Terms;
use std::collections::BTreeMap;
use std::time::Duration;

/// One way between a sidecar and the store.
const HOP: Duration = Duration::from_micros(500);
/// The store's clock at the start; fences are shown as the distance from it.
const STORE_EPOCH: u64 = 1_000_000_000_000;
/// A sidecar gives a call up after this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// Something on its way.
enum Travelling {
    ToStore { sidecar: usize, call: Call },
    Answer { sidecar: usize, call: CallId, outcome: Outcome },
    Push { to: Incarnation, push: Push },
}

struct World {
    now: Time,
    sidecars: Vec<Sidecar>,
    store: Memory,
    /// Where the store is strict.
    terms: Option<Terms>,
    travelling: BTreeMap<(Time, u64), Travelling>,
    departures: u64,
    pushes_lost: bool,
    /// Only what clients hear is told.
    clients_only: bool,
    told: Vec<String>,
}

struct Sidecar {
    name: String,
    engine: Engine,
    connected: bool,
    /// Answers are lost: the store did what it was asked, the sidecar never hears.
    deaf: bool,
    clients: Vec<String>,
}

/// Tells a story: every `> ` line is done, and what follows from it is written under it.
pub(crate) fn tell(story: &str) -> String {
    let mut world = World {
        now: Time(1_000_000_000),
        sidecars: Vec::new(),
        store: Memory::default(),
        terms: None,
        travelling: BTreeMap::new(),
        departures: 0,
        pushes_lost: false,
        clients_only: false,
        told: Vec::new(),
    };
    for line in story.lines() {
        if let Some(words) = line.strip_prefix("> ") {
            world.told.push(line.into());
            words::act(&mut world, words);
            world.settle();
        } else if !line.starts_with("  ") {
            world.told.push(line.into());
        }
    }
    world.told.join("\n") + "\n"
}

impl World {
    fn add_sidecar(&mut self, name: &str) {
        let incarnation = Incarnation(self.sidecars.len() as u128 + 1);
        let mut config = Config::new(incarnation);
        if let Some(terms) = self.terms {
            config.tenure_ttl_max = terms.longest;
        }
        let mut engine = Engine::new(config);
        engine.handle(self.now, Input::StoreUp { at: self.store_time() });
        self.sidecars.push(Sidecar {
            name: name.into(),
            engine,
            connected: true,
            deaf: false,
            clients: Vec::new(),
        });
    }

    /// What a walk through the store's names would show of this key.
    fn peek(&mut self, key: Key) -> (Key, Peeked) {
        let (reply, _) = self.store.apply(self.store_time(), &Op::Peek { key: key.clone() });
        let Reply::Record(record) = reply else { panic!("{reply:?}") };
        (key, record)
    }

    fn store_time(&self) -> StoreTime {
        StoreTime(STORE_EPOCH + self.now.0 / 1_000)
    }

    fn input(&mut self, sidecar: usize, input: Input) {
        self.sidecars[sidecar].engine.handle(self.now, input);
        self.collect(sidecar);
    }

    /// What the engine wants done: calls leave, the rest is told.
    fn collect(&mut self, sidecar: usize) {
        while let Some(effect) = self.sidecars[sidecar].engine.poll_effect() {
            match effect {
                Effect::Store(call) => {
                    self.whisper(words::call(&self.sidecars[sidecar].name, &call));
                    self.depart(HOP, Travelling::ToStore { sidecar, call });
                }
                Effect::Event(_) | Effect::Reservation { .. } => {}
                Effect::TakenByForce { key, order } => {
                    let name = &self.sidecars[sidecar].name;
                    self.say(format!("{name} logs that {key} was taken: {}", order.reason));
                }
                Effect::Surveyed { survey, .. } => {
                    let waits =
                        survey.boards.values().flat_map(|board| &board.lines).map(|line| line.waits.len());
                    let (waits, edges) = (waits.sum::<usize>(), survey.edges.len());
                    self.say(format!("{}: {waits} wait, {edges} edges", self.sidecars[sidecar].name));
                    let several = survey.declarations.len() > 1;
                    for (key, said) in &survey.declarations {
                        let of = if several { format!(" ({key})") } else { String::new() };
                        for (other, declaration) in said {
                            self.say(format!("at {}: {}{of}", { other.0 }, words::declaration(declaration)));
                        }
                    }
                }
                Effect::Quarantined { left } => {
                    let name = &self.sidecars[sidecar].name;
                    self.say(format!("{name} logs that nothing is granted for {}", words::span(left)));
                }
                Effect::AlarmStoreClock { key } => self.say(format!("alarm: store clock regressed at {key}")),
                Effect::Reply { session, request, reply } => {
                    let client = &self.sidecars[sidecar].clients[session.0 as usize];
                    self.say(format!("{client} {}: {}", request.0, words::reply(&reply, self.now)));
                }
                Effect::Notice { session, notice } => {
                    let client = &self.sidecars[sidecar].clients[session.0 as usize];
                    self.say(format!("{client}: {}", words::notice(&notice)));
                }
            }
        }
    }

    /// Tells of the talk between sidecars and the store.
    fn whisper(&mut self, what: String) {
        if !self.clients_only {
            self.say(what);
        }
    }

    fn say(&mut self, what: String) {
        let since = self.now.since(Time(1_000_000_000));
        self.told.push(format!("  {:>9.1}ms {what}", since.as_secs_f64() * 1e3));
    }

    fn depart(&mut self, after: Duration, what: Travelling) {
        self.departures += 1;
        self.travelling.insert((self.now + after, self.departures), what);
    }

    /// Lets everything that is on its way arrive, as long as less than ten milliseconds pass.
    fn settle(&mut self) {
        let until = self.now + Duration::from_millis(10);
        while let Some((&(at, _), _)) = self.travelling.first_key_value() {
            if at > until {
                return;
            }
            self.advance_to(at);
        }
    }

    fn advance_to(&mut self, until: Time) {
        loop {
            let arrival = self.travelling.first_key_value().map(|(&(at, _), _)| at);
            let timer = self.sidecars.iter().filter_map(|sidecar| sidecar.engine.next_deadline()).min();
            let next = arrival.into_iter().chain(timer).min().filter(|&next| next <= until);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, what) = self.travelling.pop_first().expect("seen a moment ago");
                self.arrive(what);
            } else {
                for sidecar in 0..self.sidecars.len() {
                    self.input(sidecar, Input::Tick);
                }
            }
        }
        self.now = self.now.max(until);
    }

    fn arrive(&mut self, what: Travelling) {
        match what {
            Travelling::ToStore { sidecar, call } => {
                if !self.sidecars[sidecar].connected {
                    let outcome = Outcome::Unknown(sidelock_engine::store::Fault::Down);
                    return self.depart(HOP, Travelling::Answer { sidecar, call: call.id, outcome });
                }
                let at = self.store_time();
                let (reply, wakes) = match &self.terms {
                    None => self.store.apply(at, &call.op),
                    Some(terms) => self.store.apply_strictly(at, &call.op, terms),
                };
                if self.sidecars[sidecar].deaf {
                    let outcome = Outcome::Unknown(sidelock_engine::store::Fault::Down);
                    self.depart(CALL_TIMEOUT, Travelling::Answer { sidecar, call: call.id, outcome });
                } else {
                    let outcome = Outcome::Applied { at, reply };
                    self.depart(HOP, Travelling::Answer { sidecar, call: call.id, outcome });
                }
                let wakes = if self.pushes_lost { Vec::new() } else { wakes };
                for wake in wakes {
                    self.depart(HOP, Travelling::Push { to: wake.to, push: wake.push });
                }
            }
            Travelling::Answer { sidecar, call, outcome } => {
                self.whisper(words::answer(&self.sidecars[sidecar].name, &outcome));
                self.input(sidecar, Input::Store { call, outcome });
            }
            Travelling::Push { to, push } => {
                let sidecar = to.0 as usize - 1;
                self.whisper(format!("store tells {}: {}", self.sidecars[sidecar].name, words::push(&push)));
                self.input(sidecar, Input::Pushed(push));
            }
        }
    }
}
