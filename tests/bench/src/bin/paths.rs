//! The hot paths, each as a loop that does the same in every run: `paths NAME TIMES`. For counting instructions.
//!
//! Without TIMES it names them. No clock, no I/O, no other thread: what is counted is the path, and the harness around it
//! is as thin as it can be.

use sidelock_engine::store::{Ask, Op, Outcome, REFUSE_AFTER, Reply, Return};
use sidelock_engine::{
    Acquire, AskId, Config, Effect, Engine, Incarnation, Input, Key, LeaseName, Life, Mode, Release,
    RequestId, SessionId, SessionOpened, StoreTime, Time, WHOLE,
};
use sidelock_store::Memory;
use sidelock_wire::{self as wire, Decoder, FRAME_BYTES_MAX, ToClient, ToSidecar};
use std::error::Error;
use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

const SESSION: SessionId = SessionId(1);
const WAITERS: u64 = 64;

/// A path, and what it is called.
type Path = (&'static str, fn(u64));

const PATHS: [Path; 6] = [
    ("engine: acquire and release, tenure retained", |times| Rig::new().cycles(times, |_| key("orders/42"))),
    ("engine and memory store: acquire and release, every key new", |times| {
        Rig::new().cycles(times, |number| key(&format!("orders/{number}")))
    }),
    ("engine: handoff in a queue of 64", handoffs),
    ("wire: acquire encoded and decoded", acquires),
    ("wire: grant encoded and decoded", grants),
    ("memory store: ask and return", asks),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(name), Some(times)) = (words.next(), words.next()) else {
        let mut out = std::io::stdout().lock();
        for (name, _) in PATHS {
            writeln!(out, "{name}")?;
        }
        return Ok(());
    };
    let path = PATHS.iter().find(|path| path.0 == name).ok_or_else(|| format!("there is no path {name}"))?;
    path.1(times.parse()?);
    Ok(())
}

/// A key, made anew each time, as the gate does.
fn key(text: &str) -> Key {
    Key::new(text).expect("a short text is a key")
}

/// An engine on a memory store, and one session. Each input comes some microseconds after the one before: faster than one
/// client can, and slowly enough that the fences of a key that is used all the time are not used up (a clock's tick each).
struct Rig {
    now: Time,
    engine: Engine,
    store: Memory,
}

impl Rig {
    fn new() -> Rig {
        let config = Config { contact_every: None, ..Config::new(Incarnation(1)) };
        let mut rig = Rig { now: Time(1_000_000_000), engine: Engine::new(config), store: Memory::default() };
        rig.input(Input::StoreUp { at: store_time(rig.now) });
        let opened = SessionOpened {
            session: SESSION,
            uid: 1,
            app: "paths".into(),
            ping_within: None,
            owners_by_uid: false,
        };
        rig.input(Input::SessionOpened(opened));
        rig
    }

    fn input(&mut self, input: Input) {
        self.now = self.now + Duration::from_micros(5);
        self.engine.handle(self.now, input);
        while let Some(effect) = self.engine.poll_effect() {
            if let Effect::Store(call) = black_box(effect) {
                let at = store_time(self.now);
                let (reply, _) = self.store.apply(at, &call.op);
                self.engine.handle(
                    self.now,
                    Input::Store { call: call.id, outcome: Outcome::Applied { at, reply } },
                );
            }
        }
    }

    fn acquire(&mut self, number: u64, key: Key) {
        self.input(Input::Acquire(Acquire {
            session: SESSION,
            request: RequestId(number),
            key,
            mode: Mode::Exclusive,
            wait: None,
            life: Life::Session { ttl: None },
            max_hold: None,
            per: None,
            reentrant: false,
            owner: None,
            find_deadlocks: true,
            priority: 0,
            notify_queued: false,
            once: None,
        }));
    }

    fn release(&mut self, number: u64) {
        let lease = LeaseName::Session(RequestId(number));
        self.input(Input::Release(Release { session: SESSION, request: RequestId(number), lease }));
    }

    fn cycles(mut self, times: u64, key: impl Fn(u64) -> Key) {
        for number in 0..times {
            self.acquire(number, key(number));
            self.release(number);
        }
    }
}

fn store_time(now: Time) -> StoreTime {
    StoreTime(1_700_000_000_000_000 + now.0 / 1_000)
}

/// Whoever had it queues again, so that there are always as many.
fn handoffs(times: u64) {
    let mut rig = Rig::new();
    (0..WAITERS).for_each(|number| rig.acquire(number, key("orders/42")));
    for number in 0..times {
        rig.release(number);
        rig.acquire(number + WAITERS, key("orders/42"));
    }
}

fn acquires(times: u64) {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    for request in 0..times {
        let acquire = wire::Acquire {
            request,
            key: b"orders/42",
            mode: wire::Mode::Exclusive,
            wait: None,
            life: wire::Life::Session { ttl: None },
            max_hold: None,
            per: None,
            reentrant: false,
            owner: None,
            priority: 0,
            notify_queued: false,
            once: None,
        };
        ToSidecar::Acquire(black_box(acquire)).encode(decoder.space());
        let payload = decoder.next_frame().expect("a frame of ours is one").expect("all of it is there");
        black_box(ToSidecar::decode(payload).expect("a message of ours is one"));
    }
}

fn grants(times: u64) {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    for request in 0..times {
        let granted = wire::Granted { request, fence: request, deadline_ns: 7, cap_ns: None, secret: None };
        ToClient::Granted(black_box(granted)).encode(decoder.space());
        let payload = decoder.next_frame().expect("a frame of ours is one").expect("all of it is there");
        black_box(ToClient::decode(payload).expect("a message of ours is one"));
    }
}

fn asks(times: u64) {
    let mut store = Memory::default();
    let key = key("orders/42");
    for seq in 1..=times {
        let at = store_time(Time(seq * 1_000));
        let id = AskId { incarnation: Incarnation(1), seq };
        let ask = Ask {
            key: key.clone(),
            id,
            units: WHOLE,
            limit: WHOLE,
            ttl: Duration::from_secs(10),
            entry_ttl: Duration::from_secs(3),
            floor: 0,
            refuse_after: at + REFUSE_AFTER,
            give_back: None,
            upgrade: false,
            waiting_since: None,
        };
        let (reply, _) = store.apply(at, &Op::Ask(black_box(ask)));
        assert!(matches!(reply, Reply::Granted(_)), "nobody else is there");
        let back = Return { key: key.clone(), tenure: id, keep: 0, issued: 0, tombstone: None };
        black_box(store.apply(at, &Op::Return(back)));
    }
}
