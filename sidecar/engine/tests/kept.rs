//! Leases that stay, and what a sidecar on its way out grants no more.

mod world;

use sidelock_engine::store::{Op, Reply as Answer, Tenancy};
use sidelock_engine::{
    Acquire, AcquireAll, Config, FenceRange, Incarnation, Input, LeaseName, LeaseSecret, Life, Mode, Refusal,
    Release, Reply, RequestId, WHOLE,
};
use std::time::Duration;
use world::{SESSION, World, acquire, granted, key};

const SECOND: Duration = Duration::from_secs(1);
const SECRET: LeaseSecret = LeaseSecret(7);

/// On a store with nobody else, where nothing but renewals is ever said of a tenure.
fn alone() -> World {
    World::new(Config { contact_every: None, ..Config::new(Incarnation(1)) })
}

/// Time passes, and whoever asks for more of it has it.
fn live(world: &mut World, span: Duration) {
    let end = world.now + span;
    while world.now < end {
        world.now = world.now + Duration::from_millis(100);
        world.input(Input::Tick);
        while let Some(call) = world.calls.pop_front() {
            let Op::Renew(renew) = &call.op else { continue };
            let remaining = renew.ttl;
            world.answer(&call, Answer::Renewed { remaining, origin: 5, range: None, contended: false });
        }
    }
}

fn timed(number: u64, ttl: Duration) -> Acquire {
    Acquire { life: Life::Timed { secret: SECRET, ttl }, owner: None, ..acquire(number, "k") }
}

/// All the time of a timed lease is confirmed, so nobody renews it. What follows it on the same tenure lives as long as its session.
#[test]
fn who_follows_a_timed_lease_outlives_its_time() {
    for mode in [Mode::Exclusive, Mode::Shared] {
        let mut world = alone();
        world.input(Input::Acquire(Acquire { mode, ..timed(1, 60 * SECOND) }));
        let ask = world.calls.pop_front().expect("the engine asks");
        let (units, remaining) = (mode.units(), 61 * SECOND);
        let range = FenceRange { first: 5, last: 4_000 };
        world.answer(
            &ask,
            Answer::Granted(Tenancy { units, remaining, origin: range.first, range, contended: false }),
        );
        live(&mut world, 30 * SECOND);
        world.input(Input::Acquire(Acquire { mode, owner: None, ..acquire(2, "k") }));
        if mode == Mode::Exclusive {
            let (session, request, lease) = (SESSION, RequestId(3), LeaseName::Timed(SECRET));
            world.input(Input::Release(Release { session, request, lease }));
        }
        let holds =
            |world: &World| world.engine.look(&key("k"), usize::MAX).map_or(0, |key| key.holders.len());
        assert!(holds(&world) > 0);
        live(&mut world, 60 * SECOND);
        assert_eq!(holds(&world), 1, "{mode:?}: a minute later");
    }
}

/// So does what is reserved for a request for several keys.
#[test]
fn a_reservation_outlives_the_timed_lease_before_it() {
    let mut world = alone();
    world.input(Input::Acquire(timed(1, 60 * SECOND)));
    let ask = world.calls.pop_front().expect("the engine asks");
    let range = FenceRange { first: 5, last: 4_000 };
    let tenancy =
        Tenancy { units: WHOLE, remaining: 61 * SECOND, origin: range.first, range, contended: false };
    world.answer(&ask, Answer::Granted(tenancy));
    live(&mut world, 30 * SECOND);
    let keys = vec![(RequestId(2), key("k")), (RequestId(3), key("l"))];
    let wish = Acquire { owner: None, ..acquire(2, "k") };
    world.input(Input::AcquireAll(AcquireAll { wish, keys, secrets: Vec::new() }));
    let (session, request, lease) = (SESSION, RequestId(4), LeaseName::Timed(SECRET));
    world.input(Input::Release(Release { session, request, lease }));
    let asked = |op: &Op| matches!(op, Op::Ask(ask) if ask.key == key("l"));
    assert!(world.calls.iter().any(|call| asked(&call.op)), "for the other key: {:?}", world.calls);
    world.calls.retain(|call| matches!(call.op, Op::Renew(_)));
    for call in std::mem::take(&mut world.calls) {
        let remaining = 30 * SECOND;
        world.answer(&call, Answer::Renewed { remaining, origin: 5, range: None, contended: false });
    }
    live(&mut world, 60 * SECOND);
    let reserved = world.engine.look(&key("k"), usize::MAX).map(|key| key.holders.len());
    assert_eq!(reserved, Some(1), "a minute later");
}

/// A request for several keys whose reservation ends in the very instant of the drain begins no more.
#[test]
fn nothing_begins_anew_on_the_way_out() {
    let mut world = World::new(Config::new(Incarnation(1)));
    let keys = vec![(RequestId(1), key("a")), (RequestId(2), key("b"))];
    let wish = Acquire { owner: None, ..acquire(1, "a") };
    world.input(Input::AcquireAll(AcquireAll { wish, keys, secrets: Vec::new() }));
    // Its time counts from the question: most of it is over.
    let first = world.calls.pop_front().expect("it asks for the first");
    world.now = world.now + Duration::from_millis(8_500);
    world.answer(&first, granted(WHOLE));
    let second = world.calls.pop_front().expect("it asks for the second");
    world.now = world.now + Duration::from_millis(700);
    world.answer(&second, granted(WHOLE));
    assert_eq!(world.replies, [], "the first is not certain for long enough");
    world.calls.clear();
    world.now = world.now + SECOND;
    world.input(Input::Drain);
    assert!(matches!(world.replies[..], [Reply::Refused(Refusal::Draining)]), "{:?}", world.replies);
    live(&mut world, 20 * SECOND);
    assert_eq!((world.replies.len(), world.engine.counts().waiters), (1, 0));
}
