//! What must not be left over, and what must not be taken away, when a lease, a session or a sidecar comes to its end.

mod world;

use sidelock_engine::store::{Op, Push, Reply as Answer, Tenancy};
use sidelock_engine::{
    Acquire, AcquireAll, Align, Change, Config, Effect, EndedBy, FenceRange, Finish, Incarnation, Input, Key,
    LeaseName, LeaseSecret, Life, Mode, NewMode, Notice, Owner, Refusal, RegisterAct, RegisterRequest,
    Release, Reply, RequestId, SessionId, SessionOpened, Space, WHOLE, Window,
};
use std::time::Duration;
use world::{SESSION, World, acquire, granted, key};

const SECOND: Duration = Duration::from_secs(1);
const OTHER: SessionId = SessionId(2);

fn world() -> World {
    World::new(Config::new(Incarnation(1)))
}

fn anonymous(number: u64, text: &str) -> Acquire {
    Acquire { owner: None, ..acquire(number, text) }
}

fn tenancy(units: u32) -> Answer {
    let range = FenceRange { first: 5, last: 4_000 };
    Answer::Granted(Tenancy { units, remaining: 120 * SECOND, origin: range.first, range, contended: false })
}

/// All that is asked is granted, all that is renewed stands, and what is given back is back.
fn serve(world: &mut World) {
    while let Some(call) = world.calls.pop_front() {
        match &call.op {
            Op::Ask(ask) => world.answer(&call, tenancy(ask.units)),
            Op::Renew(renew) => {
                let remaining = renew.ttl;
                world.answer(&call, Answer::Renewed { remaining, origin: 5, range: None, contended: false });
            }
            Op::Return(_) => world.answer(&call, Answer::Returned),
            _ => {}
        }
    }
}

fn opened(ping_within: Option<Duration>) -> SessionOpened {
    SessionOpened { session: OTHER, uid: 1, app: "test".into(), ping_within, owners_by_uid: false }
}

fn together(numbers: &[(u64, &str)]) -> Input {
    let keys = numbers.iter().map(|(number, text)| (RequestId(*number), key(text))).collect();
    Input::AcquireAll(AcquireAll { wish: anonymous(numbers[0].0, numbers[0].1), keys, secrets: Vec::new() })
}

/// It has not read yet that it was granted anything: so it names no other.
#[test]
fn who_gives_up_what_was_granted_together_gives_up_what_is_left_of_it() {
    let mut world = world();
    world.input(together(&[(1, "a"), (2, "b")]));
    let ask = world.calls[0].clone();
    serve(&mut world);
    assert_eq!(world.engine.counts().leases, 2);
    let Op::Ask(asked) = &ask.op else { panic!("{ask:?}") };
    world.input(Input::Pushed(Push::Forced { key: asked.key.clone(), tenure: asked.id }));
    assert_eq!(world.engine.counts().leases, 1, "one is lost");
    world.input(Input::Cancel { session: SESSION, request: RequestId(1) });
    assert_eq!(world.engine.counts().leases, 0);
}

/// Who upgrades waits, in front of everybody: as long as its client gives a sign of life.
#[test]
fn an_upgrade_ends_with_the_silence_of_its_client() {
    let mut world = world();
    world.input(Input::SessionOpened(opened(Some(30 * SECOND))));
    let shared =
        |session, number, life| Acquire { session, mode: Mode::Shared, life, ..anonymous(number, "k") };
    let secret = LeaseSecret(7);
    let timed = Life::Timed { secret, ttl: 100 * SECOND };
    world.input(Input::Acquire(shared(OTHER, 1, timed)));
    serve(&mut world);
    world.input(Input::Acquire(shared(SESSION, 1, Life::Session { ttl: None })));
    let pass = |world: &mut World, seconds| {
        for _ in 0..seconds {
            world.now = world.now + SECOND;
            world.input(Input::Tick);
            serve(world);
        }
    };
    pass(&mut world, 40);
    let to = NewMode::Exclusive { wait: None, secret: LeaseSecret(8) };
    let (session, request, lease) = (OTHER, RequestId(2), LeaseName::Timed(secret));
    world.input(Input::Change(Change { session, request, lease, to }));
    assert_eq!(world.engine.counts().waiters, 1);
    pass(&mut world, 40);
    assert_eq!(world.engine.counts().waiters, 0, "nothing was heard of it for 40 s");
}

/// It was cut off, and what it had sent before arrives.
#[test]
fn a_session_that_gives_its_last_lease_back_after_its_end_is_forgotten() {
    let release = Input::Release(Release {
        session: OTHER,
        request: RequestId(2),
        lease: LeaseName::Session(RequestId(1)),
    });
    for last in [release, Input::Cancel { session: OTHER, request: RequestId(1) }] {
        let mut world = world();
        world.input(Input::SessionOpened(opened(None)));
        world.input(Input::Acquire(Acquire { session: OTHER, ..anonymous(1, "k") }));
        serve(&mut world);
        world.input(Input::SessionEnded { session: OTHER, by: EndedBy::Sidecar });
        assert_eq!(world.engine.counts().sessions, 2);
        world.input(last);
        assert_eq!((world.engine.counts().sessions, world.engine.counts().leases), (1, 0));
    }
}

/// A sidecar that goes before it has said so keeps the key for as long as its tenure lasts.
#[test]
fn what_is_to_be_given_back_is_owed_until_the_store_has_it() {
    let mut world = world();
    world.input(Input::Acquire(anonymous(1, "k")));
    serve(&mut world);
    world.input(Input::StoreDown);
    let lease = LeaseName::Session(RequestId(1));
    world.input(Input::Drain);
    world.input(Input::Release(Release { session: SESSION, request: RequestId(2), lease }));
    let counts = world.engine.counts();
    assert_eq!((counts.leases, counts.calls, world.engine.owes()), (0, 0, true));
    world.input(Input::StoreUp { at: world.store_time() });
    serve(&mut world);
    assert!(!world.engine.owes());
}

/// Its owner can not finish otherwise, and nothing more is taken.
#[test]
fn who_holds_enters_its_lock_again_though_the_sidecar_is_going() {
    let mut world = world();
    world.input(Input::Acquire(acquire(1, "k")));
    serve(&mut world);
    world.input(Input::Drain);
    world.replies.clear();
    world.input(Input::Acquire(Acquire { reentrant: true, ..acquire(2, "k") }));
    world.input(Input::Acquire(Acquire { reentrant: true, ..acquire(3, "other") }));
    let is_entered = matches!(world.replies[0], Reply::Granted(_));
    assert!(is_entered && world.replies[1] == Reply::Refused(Refusal::Draining), "{:?}", world.replies);
}

#[test]
fn who_comes_back_to_a_sidecar_that_is_going_is_told() {
    let mut world = world();
    world.input(Input::SessionOpened(opened(None)));
    world.input(Input::Acquire(Acquire { session: OTHER, ..anonymous(1, "k") }));
    serve(&mut world);
    world.input(Input::SessionEnded { session: OTHER, by: EndedBy::Sidecar });
    world.input(Input::Drain);
    let told = |world: &mut World| {
        let resumed = Input::SessionResumed { session: opened(None), held: vec![RequestId(1)] };
        world.engine.handle(world.now, resumed);
        let effects = std::iter::from_fn(|| world.engine.poll_effect());
        let is_told = |effect: &Effect| matches!(effect, Effect::Notice { notice: Notice::Draining, .. });
        effects.filter(is_told).count()
    };
    assert_eq!(told(&mut world), 1);
    let lease = LeaseName::Session(RequestId(1));
    world.input(Input::SessionEnded { session: OTHER, by: EndedBy::Sidecar });
    world.input(Input::Release(Release { session: OTHER, request: RequestId(2), lease }));
    assert_eq!(told(&mut world), 1, "though nothing was known of it any more");
}

#[test]
fn a_number_of_several_keys_is_nothing_else_at_the_same_time() {
    let mut world = world();
    let (request, key) = (RequestId(6), key("r").in_space(Space::Register));
    let get = RegisterRequest { session: SESSION, request, key, lease: None, act: RegisterAct::Get };
    world.input(Input::Register(get));
    world.input(together(&[(5, "a"), (6, "b")]));
    assert!(matches!(world.replies[..], [Reply::Refused(Refusal::BadRequest(_))]), "{:?}", world.replies);
}

/// It has both keys, and not the time that it wants them for: it waits, and does one thing after another.
#[test]
fn who_waits_for_the_store_to_confirm_several_keys_asks_for_nothing_else() {
    let mut world = world();
    world.input(Input::Acquire(Acquire { mode: Mode::Shared, ..acquire(9, "share") }));
    serve(&mut world);
    world.input(Input::Acquire(anonymous(1, "a")));
    let ask = world.calls.pop_front().expect("the engine asks");
    world.answer(&ask, granted(WHOLE));
    let lease = LeaseName::Session(RequestId(1));
    world.input(Input::Release(Release { session: SESSION, request: RequestId(2), lease }));
    let secret = LeaseSecret(7);
    let life = Life::Timed { secret, ttl: 60 * SECOND };
    let (wish, keys) = (Acquire { life, ..acquire(3, "a") }, vec![(RequestId(3), key("a"))]);
    world.input(Input::AcquireAll(AcquireAll { wish, keys, secrets: vec![secret] }));
    world.replies.clear();
    world.input(Input::Acquire(acquire(4, "c")));
    let (lease, to) = (LeaseName::Session(RequestId(9)), NewMode::Exclusive { wait: None, secret });
    world.input(Input::Change(Change { session: SESSION, request: RequestId(5), lease, to }));
    let refused = |reply: &Reply| matches!(reply, Reply::Refused(Refusal::BadRequest(_)));
    assert!(world.replies.len() == 2 && world.replies.iter().all(refused), "{:?}", world.replies);
}

fn by(owner: &str, number: u64, on: Key, ttl: u32) -> Acquire {
    let life = Life::Timed { secret: LeaseSecret(u128::from(number)), ttl: ttl * SECOND };
    Acquire { key: on, life, owner: Some(Owner(owner.into())), ..acquire(number, "k") }
}

/// A turn that is about to end is nobody's to wait for. If its end is not heard of it is its owner's again, who waits by then.
#[test]
fn a_turn_that_goes_on_after_all_may_close_a_ring() {
    let mut world = world();
    let turn = Key::of(Space::Once, "t").expect("a short text is a key");
    let once = Some(Box::new(Window { per: 60 * SECOND, align: Align::Rolling }));
    world.input(Input::Acquire(Acquire { once: once.clone(), ..by("x", 1, turn.clone(), 60) }));
    world.input(Input::Acquire(by("p", 2, key("k"), 60)));
    serve(&mut world);
    world.input(Input::Acquire(Acquire { once, ..by("p", 3, turn, 60) }));
    serve(&mut world);
    world.input(Input::StoreDown);
    let (lease, result) = (LeaseName::Timed(LeaseSecret(1)), b"done"[..].into());
    world.input(Input::Finish(Finish { session: SESSION, request: RequestId(4), lease, result }));
    world.input(Input::Acquire(by("x", 5, key("k"), 60)));
    world.replies.clear();
    let told = |world: &World| {
        world.replies.iter().any(|reply| matches!(reply, Reply::Refused(Refusal::Deadlock(_))))
    };
    assert!(!told(&world));
    for _ in 0..20 {
        world.now = world.now + SECOND;
        world.input(Input::Tick);
    }
    assert!(told(&world), "{:?}", world.replies);
}
