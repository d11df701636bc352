//! Two sidecars, one store, a few clients, and a clock that moves when a step says so.
//!
//! Owns the road of a frame and the order of events. Must not judge: `book.rs` does, and the engine's own assertions.

use super::book::{Book, PATIENCE};
use super::network::{Network, Travelling};
use super::step::{Change, Says, Step};
use crate::Marks;
use sidelock_daemon::config::Config as Settings;
use sidelock_daemon::fuzz::Gate;
use sidelock_engine::store::{Call, Wake};
use sidelock_engine::{
    Config, Effect, EndedBy, Engine, Incarnation, Input, Key, LeaseSecret, Life, NewMode, RequestId,
    SessionId, SessionOpened, StoreTime, Time,
};
use sidelock_store::Memory;
use sidelock_wire::{self as wire, Decoder, FRAME_BYTES_MAX, ToSidecar};
use std::time::Duration;

const SIDECARS: usize = 2;
const PLACES: usize = 6;
/// Small, so that stories hit them.
const WAITERS_PER_KEY_MAX: u32 = 4;
const IN_FLIGHT_MAX: u32 = 6;
/// A world in which a stretch of time needs more turns than this will never come to rest. Renewals of an hour are some
/// thousands.
const TURNS_MAX: usize = 100_000;
/// The store's clock when boottime was zero.
const STORE_EPOCH: u64 = 1_000_000_000_000;

struct Sidecar {
    engine: Engine,
    incarnation: Incarnation,
    network: Network,
}

/// A client's place.
#[derive(Clone, Copy)]
struct Place {
    sidecar: usize,
    session: SessionId,
    /// Its last number.
    newest: u64,
}

pub(super) struct World<'a> {
    now: Time,
    sidecars: Vec<Sidecar>,
    store: Memory,
    gate: Gate,
    places: [Option<Place>; PLACES],
    book: Book,
    sessions: u64,
    secrets: u64,
    incarnations: u128,
    connections: usize,
    marks: &'a mut Marks,
}

impl<'a> World<'a> {
    pub(super) fn new(marks: &'a mut Marks) -> World<'a> {
        let mut world = World {
            now: Time(1_000_000_000_000),
            sidecars: Vec::new(),
            store: Memory::default(),
            gate: Gate::new(&Settings::default()),
            places: [None; PLACES],
            book: Book::default(),
            sessions: 0,
            secrets: 0,
            incarnations: 0,
            connections: 0,
            marks,
        };
        world.sidecars = (0..SIDECARS).map(|_| world.new_sidecar()).collect();
        (0..SIDECARS).for_each(|index| world.change(index, Change::Connect));
        world
    }

    fn new_sidecar(&mut self) -> Sidecar {
        self.incarnations += 1;
        let incarnation = Incarnation(self.incarnations);
        let mut config = Config::new(incarnation);
        config.waiters_per_key_max = WAITERS_PER_KEY_MAX;
        config.in_flight_per_session_max = IN_FLIGHT_MAX;
        Sidecar { engine: Engine::new(config), incarnation, network: Network::default() }
    }

    fn store_time(&self) -> StoreTime {
        StoreTime(STORE_EPOCH + self.now.0 / 1_000)
    }

    /// The store's clock when it runs an operation. That takes time: no two see the same instant, and P1 counts on it.
    fn store_turn(&mut self) -> StoreTime {
        self.now = self.now + Duration::from_micros(1);
        self.store_time()
    }

    /// One step, and what follows from it at once.
    pub(super) fn take(&mut self, step: &Step) {
        match *step {
            Step::Open { place, sidecar, uid } => self.open(place, usize::from(sidecar) % SIDECARS, uid),
            Step::Say { place, ref says, damage } => self.say(place, says, damage),
            Step::Leave { place } => self.hang_up(place, EndedBy::Peer),
            Step::CutOff { place } => self.hang_up(place, EndedBy::Sidecar),
            Step::Resume { place } => self.resume(place),
            Step::Pass { time, stopped } => self.pass(time, stopped),
            Step::Network { sidecar, change } => self.change(usize::from(sidecar) % SIDECARS, change),
            Step::ClockStepped { sidecar } => {
                self.input(usize::from(sidecar) % SIDECARS, Input::ClockStepped)
            }
            Step::Restart { sidecar } => self.restart(usize::from(sidecar) % SIDECARS),
            Step::Drain { sidecar } => self.input(usize::from(sidecar) % SIDECARS, Input::Drain),
        }
    }

    fn open(&mut self, place: u8, sidecar: usize, uid: u8) {
        self.hang_up(place, EndedBy::Peer);
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let uid = 1000 + u32::from(uid % 2);
        self.book.opened(session, uid, self.now);
        self.places[usize::from(place) % PLACES] = Some(Place { sidecar, session, newest: 0 });
        self.input(sidecar, Input::SessionOpened(opened(session, uid)));
    }

    fn hang_up(&mut self, place: u8, by: EndedBy) {
        let Some(Place { sidecar, session, .. }) = self.connected(place) else { return };
        match by {
            EndedBy::Peer => self.book.left(session),
            EndedBy::Sidecar => self.book.disconnected(session),
        }
        self.input(sidecar, Input::SessionEnded { session, by });
    }

    /// Only the sidecar that knows a session can have it back: one that has ended, or died, gives a new one.
    fn resume(&mut self, place: u8) {
        let Some(Place { sidecar, session, .. }) = self.places[usize::from(place) % PLACES] else { return };
        let held = self.sidecars[sidecar].engine.held_by(session);
        let Some(held) = held.filter(|_| !self.book.clients[&session].is_connected) else { return };
        self.book.resumed(session, self.now);
        let uid = self.book.clients[&session].uid;
        self.input(sidecar, Input::SessionResumed { session: opened(session, uid), held });
        self.marks.saw("resumed");
    }

    fn connected(&self, place: u8) -> Option<Place> {
        self.places[usize::from(place) % PLACES]
            .filter(|place| self.book.clients[&place.session].is_connected)
    }

    /// A frame's way: bytes, the decoder, the gate, the engine.
    fn say(&mut self, place: u8, says: &Says, damage: Option<(u8, u8)>) {
        let Some(Place { sidecar, session, newest }) = self.connected(place) else { return };
        let message = self.message(says, newest);
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        message.encode(decoder.space());
        if let Some((at, bits)) = damage {
            let bytes = decoder.space();
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= bits;
        }
        let decoded = match decoder.next_frame() {
            // Half a frame: more would have to come.
            Ok(None) => return,
            Ok(Some(payload)) => ToSidecar::decode(payload),
            Err(error) => Err(error),
        };
        match decoded {
            Ok(None) => {}
            Err(_) | Ok(Some(ToSidecar::Hello(_))) => {
                self.marks.saw("sent away");
                self.hang_up(place, EndedBy::Sidecar);
            }
            Ok(Some(message)) => self.handle(place, sidecar, session, &message),
        }
    }

    /// The frame that a client means.
    fn message(&self, says: &Says, newest: u64) -> ToSidecar<'static> {
        // Mostly the next number; now and then one that was used before.
        let number =
            |choice: u8| if choice < 224 { newest + 1 } else { newest.saturating_sub((choice % 4).into()) };
        match says {
            Says::Acquire(wish) => wish.message(number(wish.number)),
            Says::Cancel { number } => {
                ToSidecar::Cancel { request: newest.saturating_sub((number % 8).into()) }
            }
            Says::Renew { name, ttl, number: choice } => ToSidecar::Renew {
                request: number(*choice),
                lease: name.choose(newest, self.secrets),
                ttl: *ttl,
            },
            Says::Release { name, number: choice } => {
                ToSidecar::Release { request: number(*choice), lease: name.choose(newest, self.secrets) }
            }
            Says::Change { name, mode, wait, number: choice } => ToSidecar::Change(wire::Change {
                request: number(*choice),
                lease: name.choose(newest, self.secrets),
                mode: *mode,
                wait: *wait,
            }),
            Says::Ping => ToSidecar::Ping,
        }
    }

    fn handle(&mut self, place: u8, sidecar: usize, session: SessionId, message: &ToSidecar<'_>) {
        let mut input = match self.gate.admit(session, message) {
            Ok(input) => input,
            Err(code) => {
                let request = match message {
                    ToSidecar::Acquire(acquire) => acquire.request,
                    ToSidecar::Renew { request, .. } => *request,
                    ToSidecar::Change(change) => change.request,
                    other => panic!("{other:?} is refused with {code}"),
                };
                self.marks.saw(format!("refused at the gate: {code}"));
                return self.book.refused_at_the_gate(session, RequestId(request));
            }
        };
        match &mut input {
            Input::Acquire(acquire) => {
                if let Life::Timed { secret, .. } = &mut acquire.life {
                    // The gate draws at random; a story that is told again needs the same names.
                    self.secrets += 1;
                    *secret = LeaseSecret(self.secrets.into());
                }
                self.book.acquires(acquire);
                let request = acquire.request;
                self.used(place, request);
            }
            Input::Cancel { request, .. } => self.book.cancels(session, *request),
            Input::Renew(renew) => {
                self.book.renews(session, renew.request, renew.lease);
                let request = renew.request;
                self.used(place, request);
            }
            Input::Change(change) => {
                if let NewMode::Exclusive { secret, .. } = &mut change.to {
                    self.secrets += 1;
                    *secret = LeaseSecret(self.secrets.into());
                }
                self.book.changes(session, change.request, change.lease, change.to);
                let request = change.request;
                self.used(place, request);
            }
            Input::Release(release) => {
                self.book.releases(session, release.request, release.lease);
                let request = release.request;
                self.used(place, request);
            }
            _ => {}
        }
        self.book.seen(session, self.now);
        self.input(sidecar, input);
    }

    fn used(&mut self, place: u8, request: RequestId) {
        if let Some(place) = &mut self.places[usize::from(place) % PLACES] {
            place.newest = place.newest.max(request.0).min(u64::MAX / 2);
        }
    }

    /// Lets time pass, turn by turn; sidecars in `stopped` hear of it when it has.
    fn pass(&mut self, time: Duration, stopped: u8) {
        let until = self.now + time;
        let runs = |index: &usize| stopped >> index & 1 == 0;
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "no rest within {time:?}");
            let due = (0..SIDECARS)
                .filter(runs)
                .filter_map(|index| self.sidecars[index].engine.next_deadline())
                .min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.now = self.now.max(due);
            (0..SIDECARS).filter(runs).for_each(|index| self.input(index, Input::Tick));
        }
        self.now = until;
        (0..SIDECARS).for_each(|index| self.input(index, Input::Tick));
    }

    fn change(&mut self, sidecar: usize, change: Change) {
        let now = self.store_time();
        let inputs = self.sidecars[sidecar].network.change(change, now);
        inputs.into_iter().for_each(|input| self.input(sidecar, input));
        match change {
            Change::Connect => self.connections += 1,
            Change::Deliver(count) => {
                for _ in 0..count {
                    let Some(travelling) = self.sidecars[sidecar].network.deliver() else { break };
                    self.arrive(sidecar, travelling);
                }
            }
            Change::RunLate => {
                let late = self.sidecars[sidecar].network.late();
                self.run_late(late);
            }
            _ => {}
        }
        self.settle();
    }

    fn run_late(&mut self, calls: Vec<Call>) {
        for call in calls {
            let now = self.store_turn();
            let (_, wakes) = self.store.apply(now, &call.op);
            self.wake(wakes);
        }
    }

    fn restart(&mut self, sidecar: usize) {
        for place in self.places.iter().flatten().filter(|place| place.sidecar == sidecar) {
            if self.book.clients[&place.session].is_connected {
                self.book.disconnected(place.session);
            }
        }
        let new = self.new_sidecar();
        let mut old = std::mem::replace(&mut self.sidecars[sidecar], new);
        old.network.orphan();
        self.run_late(old.network.late());
        self.change(sidecar, Change::Connect);
    }

    fn input(&mut self, sidecar: usize, input: Input) {
        self.sidecars[sidecar].engine.handle(self.now, input);
        self.carry_out(sidecar);
        self.settle();
    }

    fn carry_out(&mut self, index: usize) {
        while let Some(effect) = self.sidecars[index].engine.poll_effect() {
            let (now, store) = (self.now, &self.store);
            let incarnation = self.sidecars[index].incarnation;
            let confirmed = |key: &Key| confirmed(store, key, incarnation);
            match effect {
                Effect::Store(call) => self.send(index, call),
                Effect::Reply { session, request, reply } => {
                    self.book.answered(session, request, &reply, now, confirmed, self.marks);
                }
                Effect::Notice { session, notice } => {
                    self.book.noticed(session, &notice, confirmed, self.marks)
                }
                Effect::Event(_)
                | Effect::Reservation { .. }
                | Effect::TakenByForce { .. }
                | Effect::Quarantined { .. }
                | Effect::Surveyed { .. } => {}
                Effect::AlarmStoreClock { key } => {
                    // Each new connection lifts the floor of fences by a tenth of a second: many at once, above the clock.
                    assert!(self.connections > SIDECARS, "the store's clock never went back: {key}");
                    self.marks.saw("alarm of the store's clock");
                }
            }
        }
    }

    fn send(&mut self, sidecar: usize, call: Call) {
        self.sidecars[sidecar].network.send(call);
    }

    /// Everything that arrives by itself arrives.
    fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "the store is asked without end");
            let next = (0..SIDECARS).find_map(|index| Some((index, self.sidecars[index].network.next()?)));
            let Some((sidecar, travelling)) = next else { return };
            self.arrive(sidecar, travelling);
        }
    }

    fn arrive(&mut self, index: usize, travelling: Travelling) {
        let now = self.store_turn();
        let sidecar = &mut self.sidecars[index];
        match travelling {
            Travelling::Call(call) => {
                let wakes = sidecar.network.arrive(&call, now, &mut self.store);
                self.wake(wakes);
            }
            Travelling::Answer(call, outcome) => {
                sidecar.engine.handle(self.now, Input::Store { call, outcome });
                self.carry_out(index);
            }
            Travelling::Push(push) => {
                sidecar.engine.handle(self.now, Input::Pushed(push));
                self.carry_out(index);
            }
        }
    }

    fn wake(&mut self, wakes: Vec<Wake>) {
        for Wake { to, push } in wakes {
            if let Some(sidecar) = self.sidecars.iter_mut().find(|sidecar| sidecar.incarnation == to) {
                sidecar.network.push(push);
            }
        }
    }

    /// What the engines themselves say must make sense, too.
    pub(super) fn look(&self) {
        for sidecar in &self.sidecars {
            for key in sidecar.engine.list("", usize::MAX, usize::MAX) {
                let held: u64 = key.holders.iter().map(|holder| u64::from(holder.mode.units())).sum();
                assert!(held <= u64::from(key.limit), "{key:?}");
                assert!(key.waiters.len() <= WAITERS_PER_KEY_MAX as usize, "{key:?}");
            }
        }
    }

    /// The network heals, everybody gets an answer, then everybody goes, and time passes: nothing is left.
    pub(super) fn end(mut self) {
        for sidecar in 0..SIDECARS {
            for change in [Change::Refuse(0), Change::PushesLost(false), Change::Connect, Change::Prompt] {
                self.change(sidecar, change);
            }
        }
        self.pass(PATIENCE / 10, 0);
        for place in 0..PLACES as u8 {
            let Some(Place { sidecar, session, .. }) = self.connected(place) else { continue };
            for request in self.book.unanswered(session) {
                self.book.cancels(session, request);
                self.book.seen(session, self.now);
                self.input(sidecar, Input::Cancel { session, request });
            }
            self.book.is_settled(session);
        }
        (0..PLACES as u8).for_each(|place| self.hang_up(place, EndedBy::Peer));
        // The longest lease and then some.
        self.pass(Duration::from_secs(3_700), 0);
        for sidecar in &self.sidecars {
            let counts = sidecar.engine.counts();
            let left = counts.leases
                + counts.waiters
                + counts.keys
                + counts.tenures
                + counts.calls
                + counts.sessions;
            assert_eq!(left, 0, "{counts:?} {:#?}", sidecar.engine.list("", usize::MAX, usize::MAX));
        }
    }
}

fn opened(session: SessionId, uid: u32) -> SessionOpened {
    SessionOpened { session, uid, app: "fuzz".into(), ping_within: Some(PATIENCE), owners_by_uid: false }
}

/// Until when the store says that this sidecar has a tenure of the key, on the clock of the host.
fn confirmed(store: &Memory, key: &Key, incarnation: Incarnation) -> Time {
    let tenures = store.record(key).into_iter().flat_map(|record| &record.tenures);
    let until =
        tenures.filter(|tenure| tenure.id.incarnation == incarnation).map(|tenure| tenure.until).max();
    until.map_or(Time::ZERO, |until| Time((until.0 - STORE_EPOCH) * 1_000))
}
