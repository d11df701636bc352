//! Clients that count in registers: read a value, think, write one more; under a lease, or by the version that they read.
//!
//! Owns the life of a count, the registers' keys, and what the store's side of them looks like in a history. Under a lease
//! a client writes without a condition, however long it thought: that nobody's count is lost then is the store's to see to.
//! Must not know whether any was: that is what the checker looks for.

use super::clients::Client;
use super::hosts::{number, sidecar_of};
use super::rare::Kind;
use super::{Happening, World};
use crate::checker::history::{Event, Req, Sent};
use crate::checker::value::{Act, Asked, Stored, Told, Value, Version};
use sidelock_engine::store::{Call, Condition, Known, Op, Outcome, Reply as StoreReply};
use sidelock_engine::{
    AskId, Etag, Input, Key, LeaseName, RegisterAct, RegisterRequest, Reply, RequestId, SessionId, Space,
};
use std::sync::Arc;
use std::time::Duration;

/// Every client counts by versions here, here while it holds a lease, and here it watches how others count.
const BY_VERSION: usize = 0;
const UNDER_LEASE: usize = 1;
const WATCHER: usize = 2;
/// So long a watch waits for a change at most.
const WATCH_MAX: Duration = Duration::from_secs(4);
/// Registers that are counted in by version have names of their own, behind the digit that says which key they go with.
const BY_VERSION_MARK: &str = "v";
/// So many of them are deleted, not counted on.
const DELETES: f64 = 0.2;

/// Somebody who counts, one thing after another.
#[derive(Default)]
pub(crate) struct Counter {
    state: State,
    /// Turns planned for an older state are void.
    generation: u32,
}

/// Where it stands.
#[derive(Default)]
enum State {
    #[default]
    Idle,
    Reading {
        of: Req,
        count: Count,
    },
    Thinking {
        count: Count,
        read: Option<(Etag, u64)>,
    },
    Writing {
        of: Req,
    },
    Watching {
        of: Req,
        key: usize,
        known: Option<Etag>,
    },
}

/// In which register, and under which lease.
#[derive(Clone, Copy)]
struct Count {
    key: usize,
    lease: Option<LeaseName>,
}

/// What a counter planned to do.
#[derive(Clone, Copy)]
pub(crate) enum Turn {
    Read,
    Write,
    /// The version of the register with this number that it knows.
    Watch(usize, Option<Etag>),
}

impl Count {
    /// Of a key's two registers.
    fn register(self, keys: usize) -> u32 {
        number(if self.lease.is_some() { self.key } else { keys + self.key })
    }
}

impl World {
    pub(crate) fn counters_begin(&mut self, client: usize) {
        if self.plan.habits.counts > 0.0 {
            self.count_later(client);
            self.watch_later(client, 0, None);
        }
    }

    fn watch_later(&mut self, client: usize, key: usize, known: Option<Etag>) {
        if !self.closing {
            let delay = self.dice.about(self.plan.habits.think);
            self.plan_turn(client, WATCHER, delay, Turn::Watch(key, known));
        }
    }

    fn count_later(&mut self, client: usize) {
        if !self.closing {
            let delay = self.dice.about(self.plan.habits.think);
            self.plan_turn(client, BY_VERSION, delay, Turn::Read);
        }
    }

    fn plan_turn(&mut self, client: usize, counter: usize, delay: Duration, turn: Turn) {
        let generation = self.clients[client].counters[counter].generation;
        self.agenda.put(self.now + delay, Happening::Counts { client, counter, generation, turn });
    }

    fn counter_becomes(&mut self, client: usize, counter: usize, state: State) {
        let counter = &mut self.clients[client].counters[counter];
        counter.generation += 1;
        counter.state = state;
    }

    /// It wants nothing; by version it begins anew later.
    fn counter_rests(&mut self, client: usize, counter: usize) {
        self.counter_becomes(client, counter, State::Idle);
        if counter == BY_VERSION && self.plan.habits.counts > 0.0 {
            self.count_later(client);
        }
    }

    /// The connection is gone: nobody will read an answer.
    pub(crate) fn counters_forget(&mut self, client: usize) {
        for counter in [BY_VERSION, UNDER_LEASE] {
            self.counter_rests(client, counter);
        }
        self.watcher_rests(client, 0, None);
    }

    fn watcher_rests(&mut self, client: usize, key: usize, known: Option<Etag>) {
        self.counter_becomes(client, WATCHER, State::Idle);
        if self.plan.habits.counts > 0.0 {
            self.watch_later(client, key, known);
        }
    }

    fn watch(&mut self, client: usize, key: usize, known: Option<Etag>) {
        let wait = Some(self.dice.span(Duration::ZERO, WATCH_MAX));
        let act = RegisterAct::Watch { known: known.map_or(Known::Absent, Known::Version), wait };
        let told = Act::Watch { known: known.map(version) };
        match self.ask_register(client, Count { key, lease: None }, told, act) {
            Some(of) => self.counter_becomes(client, WATCHER, State::Watching { of, key, known }),
            None => self.watcher_rests(client, key, known),
        }
    }

    /// It goes on with what it was told, sometimes with the other register.
    fn watch_answered(&mut self, client: usize, key: usize, known: Option<Etag>, reply: &Reply) {
        let known = match reply {
            Reply::Register(there) => there.as_ref().map(|there| there.etag),
            _ => known,
        };
        match self.dice.chance(0.2) {
            true => {
                let other = self.dice.below(self.plan.keys.len().min(2));
                self.watcher_rests(client, other, known.filter(|_| other == key));
            }
            false => self.watcher_rests(client, key, known),
        }
    }

    pub(crate) fn counts(&mut self, client: usize, counter: usize, generation: u32, turn: Turn) {
        if self.clients[client].counters[counter].generation != generation {
            return;
        }
        match turn {
            Turn::Read => {
                // Few registers, so that clients meet.
                let key = self.dice.below(self.plan.keys.len().min(2));
                self.read_count(client, counter, Count { key, lease: None });
            }
            Turn::Write => self.write_count(client, counter),
            Turn::Watch(key, known) => self.watch(client, key, known),
        }
    }

    /// A client got an exclusive lease: some count under it.
    pub(crate) fn count_under(&mut self, client: usize, key: usize, lease: LeaseName) {
        let is_idle = matches!(self.clients[client].counters[UNDER_LEASE].state, State::Idle);
        if is_idle && self.dice.chance(self.plan.habits.counts) {
            self.read_count(client, UNDER_LEASE, Count { key, lease: Some(lease) });
        }
    }

    fn read_count(&mut self, client: usize, counter: usize, count: Count) {
        match self.ask_register(client, count, Act::Get, RegisterAct::Get) {
            Some(of) => self.counter_becomes(client, counter, State::Reading { of, count }),
            None => self.counter_rests(client, counter),
        }
    }

    fn write_count(&mut self, client: usize, counter: usize) {
        let State::Thinking { count, read } = self.clients[client].counters[counter].state else {
            return;
        };
        let condition = match (count.lease, read) {
            (Some(_), _) => Condition::Any,
            (None, None) => Condition::Absent,
            (None, Some((etag, _))) => Condition::Match(etag),
        };
        let base = read.map(|(etag, _)| version(etag));
        let asked = match base {
            Some(base) if count.lease.is_none() && self.dice.chance(DELETES) => {
                self.ask_register(client, count, Act::Delete { base }, RegisterAct::Delete { condition })
            }
            _ => {
                let next = read.map_or(1, |(_, count)| count + 1);
                let by = self.clients[client].upcoming();
                let value = by.map(|by| encode(Value { count: next, by })).unwrap_or_default();
                self.ask_register(client, count, Act::Put { base }, RegisterAct::Put { condition, value })
            }
        };
        match asked {
            Some(of) => self.counter_becomes(client, counter, State::Writing { of }),
            None => self.counter_rests(client, counter),
        }
    }

    fn ask_register(&mut self, client: usize, count: Count, told: Act, act: RegisterAct) -> Option<Req> {
        if self.closing || !self.clients[client].connected {
            return None;
        }
        let of = self.next_request(client)?;
        let register = count.register(self.keys.len());
        let under = count.lease.map(|_| number(count.key));
        self.send(of, Sent::Register(Asked { register, under, act: told }));
        let request = RegisterRequest {
            session: SessionId(u64::from(of.session)),
            request: RequestId(u64::from(of.request)),
            key: self.register_key(count),
            lease: count.lease,
            act,
        };
        self.post(client, Input::Register(request));
        Some(of)
    }

    fn register_key(&self, count: Count) -> Key {
        let key = &self.keys[count.key];
        match count.lease {
            Some(_) => key.in_space(Space::Register),
            None => {
                Key::of(Space::Register, &[key.as_str(), BY_VERSION_MARK].concat()).expect("a short text")
            }
        }
    }

    /// An answer to a request of one of a client's counters.
    pub(crate) fn counter_answered(&mut self, client: usize, of: Req, reply: &Reply) {
        for counter in [BY_VERSION, UNDER_LEASE, WATCHER] {
            match self.clients[client].counters[counter].state {
                State::Reading { of: mine, count } if mine == of => {
                    self.count_read(client, counter, count, reply);
                }
                State::Writing { of: mine } if mine == of => self.counter_rests(client, counter),
                State::Watching { of: mine, key, known } if mine == of => {
                    self.watch_answered(client, key, known, reply);
                }
                _ => {}
            }
        }
    }

    fn count_read(&mut self, client: usize, counter: usize, count: Count, reply: &Reply) {
        let read = match reply {
            Reply::Register(Some(version)) => Some((version.etag, decode(&version.value).count)),
            Reply::Refused(sidelock_engine::Refusal::Absent) => None,
            _ => return self.counter_rests(client, counter),
        };
        self.counter_becomes(client, counter, State::Thinking { count, read });
        // As long as a lease is held: some write when it is over.
        let think = self.dice.about(self.plan.habits.hold.min(Duration::from_secs(1)));
        self.plan_turn(client, counter, think, Turn::Write);
    }

    /// The store runs an operation on a register.
    pub(crate) fn apply_to_register(&mut self, call: &Call) -> Outcome {
        let key = call.op.key();
        let before = self.etag_of(key);
        let (at, reply, wakes) = self.run_at_store(&call.op);
        self.totals.operations += 1;
        self.log.say(|| format!("store: {:?} → {reply:?}", call.op));
        let register = self.register_number(key);
        let (etag, bound) = (self.etag_of(key), bound(&call.op));
        match (&call.op, &reply) {
            (Op::WriteRegister(write), StoreReply::Written(_)) if etag != before => {
                let value = write.value.as_deref().map(decode);
                let stored = Stored { register, version: version(etag), value, fence: bound };
                self.log.record(Event::Stored(stored));
            }
            (Op::WriteRegister(_), StoreReply::Written(_)) => self.rare.saw(Kind::RepeatedWrite),
            (Op::WriteRegister(_), StoreReply::StaleFence) => self.rare.saw(Kind::LateFencedWrite),
            (Op::WriteRegister(_), StoreReply::Conflict(_)) => self.rare.saw(Kind::WriteConflict),
            (Op::ReadRegister(_), StoreReply::Register(_)) => {
                if let Some(fence) = bound {
                    self.log.record(Event::Looked { register, fence });
                }
            }
            _ => {}
        }
        for wake in wakes {
            self.push(wake);
        }
        Outcome::Applied { at, reply }
    }

    fn etag_of(&self, key: &Key) -> Etag {
        self.store.register(key).map_or(Etag::NEVER, |register| register.etag)
    }

    fn register_number(&self, key: &Key) -> u32 {
        let by_version = key.as_str().ends_with(BY_VERSION_MARK);
        number(self.key_index(key) + if by_version { self.keys.len() } else { 0 })
    }
}

impl Client {
    /// The next request's number.
    fn upcoming(&self) -> Option<Req> {
        Some(Req { session: self.session?, request: self.next_request })
    }
}

/// What a client was told of a register, if it was anything but a refusal.
pub(crate) fn told(reply: &Reply) -> Option<Told> {
    match reply {
        Reply::Register(Some(read)) => {
            Some(Told::Read { version: version(read.etag), value: decode(&read.value) })
        }
        Reply::Written(etag) => Some(Told::Written(version(*etag))),
        Reply::Deleted => Some(Told::Deleted),
        Reply::Register(None) => Some(Told::Nothing),
        Reply::Unchanged => Some(Told::Unchanged),
        _ => None,
    }
}

fn bound(op: &Op) -> Option<u64> {
    match op {
        Op::ReadRegister(read) => read.bound.map(|bound| bound.fence),
        Op::WriteRegister(write) => write.bound.map(|bound| bound.fence),
        _ => None,
    }
}

fn version(etag: Etag) -> Version {
    let Etag { number, writer: AskId { incarnation, seq } } = etag;
    Version { number, sidecar: sidecar_of(incarnation), seq }
}

fn encode(value: Value) -> Arc<[u8]> {
    let Value { count, by } = value;
    [&count.to_le_bytes()[..], &by.session.to_le_bytes(), &by.request.to_le_bytes()].concat().into()
}

fn decode(bytes: &[u8]) -> Value {
    let four = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let count = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    Value { count, by: Req { session: four(8), request: four(12) } }
}
