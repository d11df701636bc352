//! What is said to who gets nothing: the reason that stands, where the store refuses, is silent, or said something else before.

mod calls;
mod world;

use calls::{ask, next};
use sidelock_engine::store::{Fault, Known, Op, Outcome, Push, Queued, Reply as Answer, Tenancy};
use sidelock_engine::{
    Acquire, AcquireAll, Config, FenceRange, Incarnation, Input, LeaseName, LeaseSecret, Life, Mode, Refusal,
    RegisterAct, RegisterRequest, Release, Renew, Reply, RequestId, Space, WHOLE,
};
use std::time::Duration;
use world::{SESSION, World, acquire, granted, key};

const MOMENT: Duration = Duration::from_millis(10);
const SECRET: LeaseSecret = LeaseSecret(7);

fn world() -> World {
    World::new(Config::new(Incarnation(1)))
}

/// The store refuses everything until somebody is told something.
fn refuses_until_told(world: &mut World) {
    for _ in 0..1_000 {
        while let Some(call) = world.calls.pop_front() {
            let outcome = Outcome::NotApplied(Fault::Unready("OOM".to_owned()));
            world.input(Input::Store { call: call.id, outcome });
        }
        if !world.replies.is_empty() {
            return;
        }
        world.now = world.now + MOMENT;
        world.input(Input::Tick);
    }
    panic!("nobody was told anything in ten seconds");
}

fn permit(number: u64) -> Acquire {
    Acquire { mode: Mode::Permits { permits: 1, limit: 6 }, owner: None, ..acquire(number, "k") }
}

fn a_try(of: Acquire) -> Acquire {
    Acquire { wait: Some(Duration::ZERO), owner: None, ..of }
}

/// Idle holders with another limit have gone, and who came instead has the same one.
#[test]
fn who_has_a_place_in_the_queue_is_not_told_of_another_limit() {
    let mut world = world();
    world.input(Input::Acquire(a_try(permit(1))));
    let first = ask(&mut world);
    world.answer(&first, Answer::LimitMismatch { limit: 9 });
    world.now = world.now + MOMENT * 11;
    world.input(Input::Tick);
    let again = ask(&mut world);
    let holder = Some(Incarnation(2));
    world.answer(&again, Answer::Queued(Queued { ahead: 0, retry: MOMENT * 1_000, holder }));
    let Op::Ask(asked) = &again.op else { unreachable!("looked for one") };
    world.input(Input::Pushed(Push::Busy { key: key("k"), ask: asked.id, free_in: None }));
    assert_eq!(world.replies, [Reply::Refused(Refusal::Held)]);
}

/// Nobody holds what it asks for.
#[test]
fn a_store_that_refuses_more_units_is_away() {
    let mut world = world();
    world.input(Input::Acquire(permit(1)));
    let share = ask(&mut world);
    world.answer(&share, granted(1));
    world.replies.clear();
    world.input(Input::Acquire(a_try(permit(2))));
    refuses_until_told(&mut world);
    assert_eq!(world.replies, [Reply::Refused(Refusal::StoreUnavailable)]);
}

/// A tenure that nobody uses, and of which the store would have to confirm more.
fn retained() -> World {
    let mut world = world();
    world.input(Input::Acquire(Acquire { owner: None, ..acquire(1, "k") }));
    let all = ask(&mut world);
    world.answer(&all, granted(WHOLE));
    let lease = LeaseName::Session(RequestId(1));
    world.input(Input::Release(Release { session: SESSION, request: RequestId(2), lease }));
    world.replies.clear();
    world
}

fn for_a_minute(number: u64) -> Acquire {
    let life = Life::Timed { secret: SECRET, ttl: Duration::from_secs(60) };
    a_try(Acquire { life, ..acquire(number, "k") })
}

#[test]
fn a_store_that_refuses_more_time_is_away() {
    let mut world = retained();
    world.input(Input::Acquire(for_a_minute(3)));
    refuses_until_told(&mut world);
    assert_eq!(world.replies, [Reply::Refused(Refusal::StoreUnavailable)]);

    for wait in [Duration::ZERO, Duration::from_secs(3)] {
        let mut world = retained();
        let (wish, keys) = (Acquire { wait: Some(wait), ..for_a_minute(3) }, vec![(RequestId(3), key("k"))]);
        world.input(Input::AcquireAll(AcquireAll { wish, keys, secrets: vec![SECRET] }));
        refuses_until_told(&mut world);
        assert_eq!(world.replies, [Reply::Refused(Refusal::StoreUnavailable)], "of several keys, {wait:?}");
    }
}

/// In a quarantine it extends what stands, and reserves nothing more (P20): nobody holds what is asked for.
#[test]
fn a_store_that_reserves_no_more_fences_is_away() {
    let mut world = world();
    world.input(Input::Acquire(permit(1)));
    let share = ask(&mut world);
    let (range, remaining) = (FenceRange { first: 5, last: 5 }, Duration::from_secs(10));
    let tenancy = Tenancy { units: 1, remaining, origin: 5, range, contended: false };
    world.answer(&share, Answer::Granted(tenancy));
    let lease = LeaseName::Session(RequestId(1));
    world.input(Input::Release(Release { session: SESSION, request: RequestId(2), lease }));
    world.replies.clear();
    world.input(Input::Acquire(Acquire { wait: Some(MOMENT * 20), ..permit(3) }));
    for _ in 0..20 {
        while let Some(call) = world.calls.pop_front() {
            assert!(matches!(&call.op, Op::Renew(renew) if renew.top_up), "{call:?}");
            world.answer(&call, Answer::Renewed { remaining, origin: 5, range: None, contended: false });
        }
        world.now = world.now + MOMENT;
        world.input(Input::Tick);
    }
    assert_eq!(world.replies, [Reply::Refused(Refusal::StoreUnavailable)]);
}

/// A connection that came back long ago is no refusal, though a renewal was under way when it broke: what is waited for is
/// somebody's lease.
#[test]
fn a_store_that_was_away_is_not() {
    let mut world = world();
    world.input(Input::Acquire(for_a_minute(1)));
    let all = ask(&mut world);
    let (range, remaining) = (FenceRange { first: 5, last: 5 }, Duration::from_secs(61));
    world.answer(
        &all,
        Answer::Granted(Tenancy { units: WHOLE, remaining, origin: range.first, range, contended: false }),
    );
    let renew = Renew {
        session: SESSION,
        request: RequestId(9),
        lease: LeaseName::Timed(SECRET),
        ttl: Duration::from_secs(90),
    };
    world.input(Input::Renew(renew));
    let renewal = next(&mut world, |op| matches!(op, Op::Renew(_)));
    world.input(Input::Store { call: renewal.id, outcome: Outcome::Unknown(Fault::Down) });
    world.input(Input::StoreDown);
    world.now = world.now + MOMENT;
    world.input(Input::StoreUp { at: world.store_time() });
    world.now = world.now + Duration::from_secs(20);
    world.replies.clear();
    let life = Life::Timed { secret: LeaseSecret(8), ttl: Duration::from_secs(60) };
    world.input(Input::Acquire(Acquire { life, wait: Some(MOMENT * 50), ..acquire(2, "k") }));
    world.now = world.now + MOMENT * 49;
    let lease = LeaseName::Timed(SECRET);
    world.input(Input::Release(Release { session: SESSION, request: RequestId(3), lease }));
    world.now = world.now + MOMENT;
    world.input(Input::Tick);
    assert_eq!(world.replies[..], [Reply::Released, Reply::Refused(Refusal::WaitTimeout)]);
}

/// The store has all that it needs to answer, and others hold: whoever waits is told that, however short the wait.
#[test]
fn a_store_that_answers_is_not_away() {
    let mut world = world();
    world.input(Input::Acquire(permit(1)));
    let share = ask(&mut world);
    let (range, remaining) = (FenceRange { first: 5, last: 4_000 }, Duration::from_secs(10));
    world.answer(
        &share,
        Answer::Granted(Tenancy { units: 1, remaining, origin: range.first, range, contended: false }),
    );
    world.replies.clear();
    world.input(Input::Acquire(Acquire { wait: Some(MOMENT * 20), ..permit(2) }));
    let more = ask(&mut world);
    let holder = Some(Incarnation(2));
    world.answer(&more, Answer::Queued(Queued { ahead: 0, retry: MOMENT * 1_000, holder }));
    world.now = world.now + MOMENT * 20;
    world.input(Input::Tick);
    assert_eq!(world.replies, [Reply::Refused(Refusal::WaitTimeout)]);
}

/// It has said that the key is in use with another limit; who has had it so may be about to go.
#[test]
fn a_store_that_says_another_limit_is_not_away() {
    let mut world = world();
    world.input(Input::Acquire(Acquire { wait: Some(MOMENT * 15), ..permit(1) }));
    let first = ask(&mut world);
    world.answer(&first, Answer::LimitMismatch { limit: 9 });
    for _ in 0..15 {
        world.now = world.now + MOMENT;
        world.input(Input::Tick);
    }
    assert_eq!(world.replies, [Reply::Refused(Refusal::WaitTimeout)]);
}

/// A wait may be shorter than a round trip, and a store that is slow is not away.
#[test]
fn a_short_watch_waits_for_its_first_look() {
    for (answered, told) in [(true, Reply::Unchanged), (false, Reply::Refused(Refusal::StoreUnavailable))] {
        let mut world = world();
        let (request, key) = (RequestId(1), key("r").in_space(Space::Register));
        let act = RegisterAct::Watch { known: Known::Absent, wait: Some(MOMENT) };
        world.input(Input::Register(RegisterRequest { session: SESSION, request, key, lease: None, act }));
        let look = next(&mut world, |op| matches!(op, Op::ReadRegister(_)));
        world.now = world.now + MOMENT * 2;
        world.input(Input::Tick);
        assert_eq!(world.replies, [], "the store was asked a moment ago");
        if answered {
            world.answer(&look, Answer::Unchanged);
        }
        world.now = world.now + Duration::from_secs(3);
        world.input(Input::Tick);
        assert_eq!(world.replies, [told]);
    }
}

/// What was seen before an outage says nothing of what was written in it.
#[test]
fn a_watch_that_has_not_looked_since_an_outage_does_not_say_that_nothing_changed() {
    let mut world = world();
    let (request, key) = (RequestId(1), key("r").in_space(Space::Register));
    let act = RegisterAct::Watch { known: Known::Absent, wait: Some(Duration::from_secs(5)) };
    world.input(Input::Register(RegisterRequest { session: SESSION, request, key, lease: None, act }));
    let look = next(&mut world, |op| matches!(op, Op::ReadRegister(_)));
    world.answer(&look, Answer::Unchanged);
    world.now = world.now + MOMENT;
    world.input(Input::StoreDown);
    world.now = world.now + Duration::from_millis(4_980);
    world.input(Input::StoreUp { at: world.store_time() });
    world.now = world.now + MOMENT;
    world.input(Input::Tick);
    assert_eq!(world.replies, [Reply::Refused(Refusal::StoreUnavailable)]);
}
