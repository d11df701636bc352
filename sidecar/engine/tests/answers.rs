//! What an engine makes of a store's answers that no story can have: late ones, and none at all.

use sidelock_engine::store::{Call, Op, Outcome, Queued, Reply as Answer};
use sidelock_engine::{
    Acquire, AcquireAll, Config, Effect, Engine, Incarnation, Input, Key, Life, Mode, Owner, Refusal,
    RegisterAct, RegisterRequest, Reply, RequestId, SessionId, SessionOpened, Space, StoreTime, Time,
};
use std::collections::VecDeque;
use std::time::Duration;

const SESSION: SessionId = SessionId(1);

struct World {
    now: Time,
    engine: Engine,
    calls: VecDeque<Call>,
    replies: Vec<Reply>,
}

impl World {
    fn new(config: Config) -> World {
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

    fn store_time(&self) -> StoreTime {
        StoreTime(1_000_000_000_000 + self.now.0 / 1000)
    }

    fn input(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Store(call) => self.calls.push_back(call),
                Effect::Reply { reply, .. } => self.replies.push(reply),
                _ => {}
            }
        }
    }

    fn answer(&mut self, call: &Call, reply: Answer) {
        let outcome = Outcome::Applied { at: self.store_time(), reply };
        self.input(Input::Store { call: call.id, outcome });
    }
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a short text is a key")
}

fn acquire(number: u64, text: &str) -> Acquire {
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

/// Whoever has seen board 1 takes board 3 for one that was composed after that: so no number is left out (P15).
#[test]
fn a_board_that_came_too_late_is_followed_by_one_of_the_same_number() {
    let mut world = World::new(Config::new(Incarnation(1)));
    world.input(Input::Acquire(acquire(1, "k")));
    let ask = world.calls.pop_front().expect("the engine asks");
    let queued = Queued { ahead: 0, retry: Duration::from_secs(5), holder: Some(Incarnation(2)) };
    world.answer(&ask, Answer::Queued(queued));
    let mut numbers = Vec::new();
    let answers = [Answer::Published, Answer::TooLate, Answer::TooLate, Answer::Published, Answer::Published];
    for answer in answers {
        let board = loop {
            world.now = world.now + Duration::from_millis(10);
            world.input(Input::Tick);
            let calls = std::mem::take(&mut world.calls);
            if let Some(board) = calls.into_iter().find(|call| matches!(call.op, Op::Publish(_))) {
                break board;
            }
        };
        let Op::Publish(publish) = &board.op else { unreachable!("looked for one") };
        numbers.push(publish.version);
        world.answer(&board, answer);
    }
    assert_eq!(numbers, [1, 2, 2, 2, 3]);
}

/// Every request that waits counts, of whatever kind: operations on registers beside the members of a group.
#[test]
fn operations_on_registers_leave_a_group_less_room() {
    for (keys, fits) in [(&["a", "b"][..], true), (&["a", "b", "c"], false)] {
        let config = Config { in_flight_per_session_max: 4, ..Config::new(Incarnation(1)) };
        let mut world = World::new(config);
        for number in [1, 2] {
            let (request, key) = (RequestId(number), key("r").in_space(Space::Register));
            let get = RegisterRequest { session: SESSION, request, key, lease: None, act: RegisterAct::Get };
            world.input(Input::Register(get));
        }
        let keys = (3..).map(RequestId).zip(keys.iter().map(|text| key(text))).collect();
        world.input(Input::AcquireAll(AcquireAll { wish: acquire(3, "a"), keys, secrets: Vec::new() }));
        let refused = matches!(world.replies[..], [Reply::Refused(Refusal::TooMany { limit: 4 })]);
        assert_eq!((refused, world.replies.len()), (!fits, usize::from(!fits)), "{:?}", world.replies);
    }
}
