//! How often a session is told that its leases live on.

use sidelock_engine::store::{Fault, Op, Outcome};
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
    /// The most leases that one of them excepted.
    excepted: usize,
    renewed: Option<Time>,
    /// Renewals are answered for keys of this many letters at most.
    heard: usize,
}

impl World {
    fn input(&mut self, input: Input) {
        let at = StoreTime(1_000_000_000_000 + self.now.0 / 1000);
        self.engine.handle(self.now, input);
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Store(call) => {
                    if matches!(call.op, Op::Renew(_)) {
                        if call.op.key().as_str().len() > self.heard {
                            let outcome = Outcome::NotApplied(Fault::Down);
                            self.engine.handle(self.now, Input::Store { call: call.id, outcome });
                            continue;
                        }
                        self.renewed = Some(self.now);
                    }
                    let (reply, _) = self.store.apply(at, &call.op);
                    let outcome = Outcome::Applied { at, reply };
                    self.engine.handle(self.now, Input::Store { call: call.id, outcome });
                }
                Effect::Notice { notice: Notice::Extended { until, except }, .. } => {
                    self.extensions.push(until);
                    self.excepted = self.excepted.max(except.len());
                }
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
        excepted: 0,
        renewed: None,
        heard: usize::MAX,
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
    world.input(lock(1, "k"));
    world
}

fn lock(request: u64, key: &str) -> Input {
    Input::Acquire(Acquire {
        session: SESSION,
        request: RequestId(request),
        key: Key::new(key).expect("a short text is a key"),
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
    })
}

/// The store comes back, and of many leases most are renewed later than the first.
#[test]
fn what_is_told_excepts_no_more_than_a_frame_has_room_for() {
    let ttl = Duration::from_secs(10);
    let mut world = world(ttl);
    for request in 2..20_000 {
        world.input(lock(request, &format!("key/{request}")));
    }
    let begun = world.now;
    world.heard = 0;
    let pass = |world: &mut World, until: Duration| {
        while world.now.since(begun) < until {
            world.now = world.now + Duration::from_millis(100);
            world.input(Input::SessionPinged(SESSION));
        }
    };
    pass(&mut world, Duration::from_secs(8));
    world.heard = "k".len();
    pass(&mut world, Duration::from_millis(8_500));
    assert!(world.renewed.is_some(), "one is");
    world.heard = usize::MAX;
    pass(&mut world, Duration::from_millis(9_800));
    assert!(world.excepted < 16_000, "{} leases are excepted", world.excepted);
    let told = *world.extensions.last().expect("it is told");
    assert!(told > begun + ttl + Duration::from_secs(5), "of all, in time");
}

/// They end when they were meant to, and their tenures are renewed no more: that keeps nobody from hearing of the others.
#[test]
fn leases_that_near_their_own_end_are_not_excepted() {
    let mut world = world(Duration::from_secs(10));
    for request in 2..10_000 {
        let Input::Acquire(lock) = lock(request, &format!("key/{request}")) else {
            unreachable!("it is one")
        };
        world.input(Input::Acquire(Acquire { max_hold: Some(Duration::from_secs(9)), ..lock }));
    }
    let begun = world.now;
    while world.now.since(begun) < Duration::from_millis(8_900) {
        world.now = world.now + Duration::from_millis(100);
        world.input(Input::SessionPinged(SESSION));
    }
    assert_eq!(world.excepted, 0);
    let told = *world.extensions.last().expect("it is told");
    assert!(told > begun + Duration::from_secs(12), "{told:?}");
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
