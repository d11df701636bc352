//! How often a session is told that its leases live on.

use sidelock_engine::store::{Op, Outcome};
use sidelock_engine::{
    Acquire, Config, Effect, Engine, Incarnation, Input, Key, Life, Mode, Notice, RequestId, SessionId,
    SessionOpened, StoreTime, Time,
};
use sidelock_store::Memory;
use std::time::Duration;

const SESSION: SessionId = SessionId(1);
const PATIENCE: Duration = Duration::from_secs(30);
/// At most ten times per patience, which is shorter than all tenures here (P6).
const PAUSE: Duration = Duration::from_secs(3);

struct World {
    now: Time,
    engine: Engine,
    store: Memory,
    extensions: Vec<Time>,
    renewed: Option<Time>,
}

impl World {
    fn input(&mut self, input: Input) {
        let at = StoreTime(1_000_000_000_000 + self.now.0 / 1000);
        self.engine.handle(self.now, input);
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Store(call) => {
                    if matches!(call.op, Op::Renew(_)) {
                        self.renewed = Some(self.now);
                    }
                    let (reply, _) = self.store.apply(at, &call.op);
                    let outcome = Outcome::Applied { at, reply };
                    self.engine.handle(self.now, Input::Store { call: call.id, outcome });
                }
                Effect::Notice { notice: Notice::Extended { until, .. }, .. } => self.extensions.push(until),
                _ => {}
            }
        }
    }
}

/// A session with a lease on a tenure that outlives its patience, as tenures of a sidecar with many keys do.
fn world(tenure_ttl: Duration) -> World {
    let config = Config { tenure_ttl, ..Config::new(Incarnation(1)) };
    let mut world = World {
        now: Time(1_000_000_000),
        engine: Engine::new(config),
        store: Memory::default(),
        extensions: Vec::new(),
        renewed: None,
    };
    world.input(Input::StoreUp { at: StoreTime(1_000_001_000_000) });
    let opened = SessionOpened {
        session: SESSION,
        uid: 1,
        app: "test".into(),
        ping_within: Some(PATIENCE),
        owners_by_uid: false,
    };
    world.input(Input::SessionOpened(opened));
    world.input(Input::Acquire(Acquire {
        session: SESSION,
        request: RequestId(1),
        key: Key::new("k").expect("a short text is a key"),
        mode: Mode::Exclusive,
        wait: None,
        life: Life::Session { ttl: None },
        max_hold: None,
        owner: None,
        find_deadlocks: true,
        priority: 0,
        notify_queued: false,
        per: None,
        once: None,
        reentrant: false,
    }));
    world
}

#[test]
fn a_busy_session_is_told_no_oftener_than_any_other() {
    let mut world = world(Duration::from_secs(60));
    let span = Duration::from_secs(60);
    let end = world.now + span;
    while world.now < end {
        world.now = world.now + Duration::from_millis(10);
        world.input(Input::SessionPinged(SESSION));
    }
    let most = span.as_secs() / PAUSE.as_secs() + 1;
    let told = world.extensions.len() as u64;
    assert!((2..=most).contains(&told), "told {told} times; {most} are enough");
}

/// However long its tenures: what it was told must not end while it is heard.
#[test]
fn who_is_heard_is_told_in_time() {
    for ttl in [10, 60, 600, 3600].map(Duration::from_secs) {
        let mut world = world(ttl);
        let mut told = world.now + PATIENCE;
        for step in 0..3_000 {
            world.now = world.now + Duration::from_millis(100);
            world.input(if step % 30 == 0 { Input::SessionPinged(SESSION) } else { Input::Tick });
            told = world.extensions.last().copied().unwrap_or(told);
            assert!(told > world.now, "with a tenure of {ttl:?}: told {told:?} at {:?}", world.now);
        }
    }
}

/// Its tenure was renewed just now, when its silence allowed nothing to be told of that; then it says something.
#[test]
fn after_a_long_silence_it_is_told_at_once_though_its_tenure_was_renewed_a_moment_ago() {
    // Renewed at a third of it, when the silence is nearly as long as the patience.
    let mut world = world(PATIENCE * 3 - Duration::from_secs(2));
    let silent_since = world.now;
    while world.now.since(silent_since) < PATIENCE - Duration::from_millis(100) {
        world.now = world.now + Duration::from_millis(10);
        world.input(Input::Tick);
    }
    let renewed = world.renewed.expect("a renewal at a third");
    assert!(world.now.since(renewed) < PAUSE, "renewed at {renewed:?}");
    world.input(Input::SessionPinged(SESSION));
    world.input(Input::Tick);
    let told = *world.extensions.last().expect("it is told");
    assert!(told > world.now + PATIENCE / 2, "until {told:?} at {:?}", world.now);
}
