//! A tenure that the store does not know any more, while an ask for more stands beside it: did it grow, or end?

mod calls;
mod world;

use calls::{ask, next};
use sidelock_engine::store::{
    Call, Fault, Op, Outcome, Push, Queued, REFUSE_AFTER, Reply as Answer, Tenancy,
};
use sidelock_engine::{
    Acquire, AskId, Config, Fence, FenceRange, Incarnation, Input, LeaseName, LeaseSecret, Life, LostReason,
    Mode, Refusal, Release, Reply, RequestId, WHOLE,
};
use std::time::Duration;
use world::{SESSION, World, acquire, granted, key};

const LATER: Duration = Duration::from_secs(4);
/// The first fence of the share's tenure.
const ORIGIN: Fence = 5;

fn queued() -> Answer {
    Answer::Queued(Queued { ahead: 0, retry: LATER * 2, holder: Some(Incarnation(2)) })
}

/// All of the key is granted, to what stands since then.
fn all_of_it(origin: Fence) -> Answer {
    let (range, remaining) = (FenceRange { first: 5_000, last: 9_000 }, Duration::from_secs(10));
    Answer::Granted(Tenancy { units: WHOLE, remaining, origin, range, contended: false })
}

/// A share is held, somebody waits for all of the key, and both have been told to the store anew: the renewal and the ask.
fn held_and_wanted() -> (World, Call, Call) {
    let mut world = World::new(Config::new(Incarnation(1)));
    world.input(Input::Acquire(Acquire { mode: Mode::Shared, owner: None, ..acquire(1, "k") }));
    let share = ask(&mut world);
    world.answer(&share, granted(1));
    world.input(Input::Acquire(Acquire { owner: None, ..acquire(2, "k") }));
    let more = ask(&mut world);
    world.answer(&more, queued());
    world.now = world.now + LATER;
    world.input(Input::Tick);
    let calls: Vec<Call> = world.calls.drain(..).collect();
    let find =
        |is_it: fn(&Op) -> bool| calls.iter().find(|call| is_it(&call.op)).expect("it is sent").clone();
    let (renewal, again) = (find(|op| matches!(op, Op::Renew(_))), find(|op| matches!(op, Op::Ask(_))));
    world.replies.clear();
    (world, renewal, again)
}

/// Whether the share is there to be released.
fn stands(world: &mut World) -> bool {
    world.replies.clear();
    let lease = LeaseName::Session(RequestId(1));
    world.input(Input::Release(Release { session: SESSION, request: RequestId(9), lease }));
    match world.replies[..] {
        [Reply::Released, ..] => true,
        [Reply::Refused(Refusal::LeaseLost(LostReason::Store)), ..] => false,
        _ => panic!("{:?}", world.replies),
    }
}

#[test]
fn beside_an_ask_that_waits_it_ended() {
    let (mut world, renewal, again) = held_and_wanted();
    world.answer(&again, queued());
    world.answer(&renewal, Answer::Gone);
    assert!(!stands(&mut world));
}

/// Only what ran before the renewal can have been what it grew into.
#[test]
fn beside_an_ask_that_left_after_the_renewal_it_ended() {
    let (mut world, renewal, again) = held_and_wanted();
    world.answer(&again, queued());
    world.now = world.now + LATER / 4;
    world.input(Input::Tick);
    assert!(ask(&mut world).id > renewal.id);
    world.answer(&renewal, Answer::Gone);
    assert!(!stands(&mut world));
}

/// Its answer was lost: it may have been granted. The next answer tells, by the fence since which it stands.
#[test]
fn beside_an_ask_whose_answer_was_lost_the_grant_tells() {
    for (origin, grew) in [(ORIGIN, true), (ORIGIN + 1, false)] {
        let (mut world, renewal, again) = held_and_wanted();
        world.input(Input::Store { call: again.id, outcome: Outcome::Unknown(Fault::Down) });
        world.answer(&renewal, Answer::Gone);
        world.now = world.now + LATER / 4;
        world.input(Input::Tick);
        let more = ask(&mut world);
        world.answer(&more, all_of_it(origin));
        assert_eq!(stands(&mut world), grew, "since {origin}");
    }
}

/// The ask is granted before any renewal is told that it is gone, as where a machine's clock stood still, or a store lost its data.
#[test]
fn what_was_granted_after_the_store_ended_it_is_another_one() {
    for (origin, grew) in [(ORIGIN, true), (ORIGIN + 1, false)] {
        for extended in [false, true] {
            let (mut world, renewal, again) = held_and_wanted();
            if extended {
                world.input(Input::Store { call: renewal.id, outcome: Outcome::Unknown(Fault::Down) });
            }
            world.answer(&again, all_of_it(origin));
            assert_eq!(stands(&mut world), grew, "since {origin}, extended: {extended}");
        }
    }
}

/// The store forgot it, and a copy of its own ask made it again: others may have had the key in between.
#[test]
fn what_has_its_name_but_stands_since_later_is_another_one() {
    for (origin, stood) in [(ORIGIN, true), (ORIGIN + 1, false)] {
        let (mut world, renewal, _) = held_and_wanted();
        world.answer(&renewal, Answer::Renewed { remaining: LATER, origin, range: None, contended: false });
        assert_eq!(stands(&mut world), stood, "since {origin}");
    }
}

/// … it is given back, so that nobody waits for it.
#[test]
fn what_is_another_one_goes_back() {
    let (mut world, renewal, _) = held_and_wanted();
    let origin = ORIGIN + 1;
    world.answer(&renewal, Answer::Renewed { remaining: LATER, origin, range: None, contended: false });
    let back = next(&mut world, |op| matches!(op, Op::Return(_)));
    assert!(matches!(&back.op, Op::Return(back) if back.keep == 0));
}

/// Copies of which nothing was heard can not run any more, and it waits.
#[test]
fn what_waits_was_not_granted_whatever_was_not_heard() {
    let (mut world, renewal, again) = held_and_wanted();
    world.input(Input::Store { call: again.id, outcome: Outcome::Unknown(Fault::Down) });
    world.now = world.now + REFUSE_AFTER + Duration::from_millis(1);
    world.input(Input::Tick);
    let more = ask(&mut world);
    world.answer(&more, queued());
    world.answer(&renewal, Answer::Gone);
    assert!(!stands(&mut world));
}

/// A store that lost its data may have them again: what it extends is there.
#[test]
fn what_is_renewed_again_was_not_gone() {
    let (mut world, renewal, again) = held_and_wanted();
    world.input(Input::Store { call: again.id, outcome: Outcome::Unknown(Fault::Down) });
    world.answer(&renewal, Answer::Gone);
    world.now = world.now + LATER / 4;
    world.input(Input::Tick);
    let renewal = next(&mut world, |op| matches!(op, Op::Renew(_)));
    world.input(Input::Tick);
    let remaining = Duration::from_secs(10);
    world.answer(&renewal, Answer::Renewed { remaining, origin: 5, range: None, contended: false });
    world.now = world.now + LATER / 4;
    world.input(Input::Tick);
    let more = ask(&mut world);
    world.answer(&more, all_of_it(ORIGIN));
    assert!(stands(&mut world));
}

/// Two of three units are free to go back.
fn partly_used() -> World {
    let mut world = World::new(Config::new(Incarnation(1)));
    world.input(Input::Acquire(some_of_it(1, 1)));
    let one = ask(&mut world);
    world.answer(&one, granted(1));
    world.input(Input::Acquire(some_of_it(2, 2)));
    let all = ask(&mut world);
    world.answer(&all, granted(3));
    let lease = LeaseName::Session(RequestId(2));
    world.input(Input::Release(Release { session: SESSION, request: RequestId(3), lease }));
    world
}

fn some_of_it(number: u64, permits: u32) -> Acquire {
    Acquire { mode: Mode::Permits { permits, limit: 6 }, owner: None, ..acquire(number, "k") }
}

/// The two go back.
fn given_back(world: &mut World) -> Call {
    let back = next(world, |op| matches!(op, Op::Return(_)));
    assert!(matches!(&back.op, Op::Return(back) if back.keep == 1));
    back
}

fn recalled(world: &mut World) -> Call {
    let waits = AskId { incarnation: Incarnation(2), seq: 1 };
    world.input(Input::Pushed(Push::Recall { key: key("k"), ask: waits }));
    given_back(world)
}

/// As a renewal would: leases with a time of their own have none, and their machine may have slept.
#[test]
fn a_return_that_finds_nothing_tells_that_it_ended() {
    let mut world = partly_used();
    let back = recalled(&mut world);
    world.input(Input::Acquire(some_of_it(4, 3)));
    assert!(ask(&mut world).id > back.id);
    world.answer(&back, Answer::Gone);
    assert!(!stands(&mut world));
}

/// A strict store can be told of it: that is for the renewal.
#[test]
fn what_a_return_finds_forgotten_stands() {
    let mut world = partly_used();
    let back = recalled(&mut world);
    world.answer(&back, Answer::Forgotten);
    assert!(stands(&mut world));
}

/// An ask that was given up may have been granted, and then the tenure has another name.
#[test]
fn beside_a_withdrawal_a_return_that_finds_nothing_tells_nothing() {
    let mut world = partly_used();
    world.input(Input::Acquire(some_of_it(4, 4)));
    world.input(Input::Cancel { session: SESSION, request: RequestId(4) });
    let back = given_back(&mut world);
    next(&mut world, |op| matches!(op, Op::Withdraw(_)));
    world.answer(&back, Answer::Gone);
    assert!(stands(&mut world));
}

/// A lease with a time of its own needs no renewal; but what became of its tenure is asked for all the same.
#[test]
fn what_a_debt_does_not_tell_the_next_renewal_does() {
    let mut world = World::new(Config::new(Incarnation(1)));
    let secret = LeaseSecret(7);
    let timed = |number, permits| Acquire {
        life: Life::Timed { secret: LeaseSecret(u128::from(number)), ttl: LATER },
        ..some_of_it(number, permits)
    };
    world.input(Input::Acquire(timed(7, 1)));
    let one = ask(&mut world);
    world.answer(&one, granted(1));
    world.input(Input::Acquire(timed(8, 2)));
    let all = ask(&mut world);
    world.answer(&all, granted(3));
    let (session, request) = (SESSION, RequestId(9));
    world.input(Input::Release(Release { session, request, lease: LeaseName::Timed(LeaseSecret(8)) }));
    world.input(Input::Acquire(some_of_it(10, 4)));
    world.input(Input::Cancel { session, request: RequestId(10) });
    let back = given_back(&mut world);
    let withdrawal = next(&mut world, |op| matches!(op, Op::Withdraw(_)));
    world.answer(&back, Answer::Gone);
    world.answer(&withdrawal, Answer::Withdrawn);
    world.now = world.now + LATER / 4;
    world.input(Input::Tick);
    let renewal = next(&mut world, |op| matches!(op, Op::Renew(_)));
    world.answer(&renewal, Answer::Gone);
    world.replies.clear();
    let lease = LeaseName::Timed(secret);
    world.input(Input::Release(Release { session, request: RequestId(11), lease }));
    assert_eq!(world.replies[..], [Reply::Refused(Refusal::LeaseLost(LostReason::Store))]);
}

/// A second copy of its ask found nothing, and made another one.
#[test]
fn what_a_repeated_answer_tells_is_heard() {
    for (origin, stood) in [(ORIGIN, true), (ORIGIN + 1, false)] {
        let mut world = World::new(Config::new(Incarnation(1)));
        world.input(Input::Acquire(Acquire { owner: None, ..acquire(1, "k") }));
        let first = ask(&mut world);
        world.answer(&first, queued());
        world.now = world.now + LATER / 2;
        world.input(Input::Tick);
        let again = ask(&mut world);
        world.input(Input::Pushed(Push::Offer { key: key("k"), ask: asked(&again) }));
        let offered = ask(&mut world);
        world.answer(&again, granted(WHOLE));
        world.answer(&offered, all_of_it(origin));
        assert_eq!(stands(&mut world), stood, "since {origin}");
    }
}

fn asked(call: &Call) -> AskId {
    match &call.op {
        Op::Ask(ask) => ask.id,
        other => panic!("{other:?}"),
    }
}
