//! One engine whose store is the test: it sees every call, and answers when and what it likes.

use sidelock_engine::store::{Call, Outcome, Reply as Answer, Tenancy};
use sidelock_engine::{
    Acquire, Config, Effect, Engine, FenceRange, Input, Key, Life, Mode, Owner, Reply, RequestId, SessionId,
    SessionOpened, StoreTime, Time,
};
use std::collections::VecDeque;
use std::time::Duration;

pub(crate) const SESSION: SessionId = SessionId(1);

/// An engine, and what came of it.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) engine: Engine,
    pub(crate) calls: VecDeque<Call>,
    pub(crate) replies: Vec<Reply>,
}

impl World {
    pub(crate) fn new(config: Config) -> World {
        let engine = Engine::new(config);
        let mut world =
            World { now: Time(1_000_000_000), engine, calls: VecDeque::new(), replies: Vec::new() };
        world.input(Input::StoreUp { at: world.store_time() });
        world.input(Input::SessionOpened(SessionOpened {
            session: SESSION,
            uid: 1,
            app: "test".into(),
            ping_within: None,
            owners_by_uid: false,
        }));
        world
    }

    pub(crate) fn store_time(&self) -> StoreTime {
        StoreTime(1_000_000_000_000 + self.now.0 / 1000)
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Store(call) => self.calls.push_back(call),
                Effect::Reply { reply, .. } => self.replies.push(reply),
                _ => {}
            }
        }
    }

    pub(crate) fn answer(&mut self, call: &Call, reply: Answer) {
        let outcome = Outcome::Applied { at: self.store_time(), reply };
        self.input(Input::Store { call: call.id, outcome });
    }
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).expect("a short text is a key")
}

pub(crate) fn acquire(number: u64, text: &str) -> Acquire {
    Acquire {
        session: SESSION,
        request: RequestId(number),
        key: key(text),
        mode: Mode::Exclusive,
        wait: None,
        life: Life::Session { ttl: None },
        max_hold: None,
        owner: Some(Owner("o".into())),
        find_deadlocks: true,
        priority: 0,
        notify_queued: false,
        per: None,
        once: None,
        reentrant: false,
    }
}

pub(crate) fn granted(units: u32) -> Answer {
    let range = FenceRange { first: 5, last: 4_000 };
    Answer::Granted(Tenancy {
        units,
        remaining: Duration::from_secs(10),
        origin: range.first,
        range,
        contended: false,
    })
}
