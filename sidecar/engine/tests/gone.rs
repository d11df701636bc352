//! A tenure that the store does not know any more, while an ask for more stands beside it: did it grow, or end?

mod calls;
mod world;

use calls::{ask, next};
use sidelock_engine::store::{
    Call, FENCE_LEAD_MAX_US, Fault, Op, Outcome, Push, Queued, REFUSE_AFTER, Reply as Answer, Tenancy,
};
use sidelock_engine::{
    Acquire, AskId, Config, Fence, FenceRange, Incarnation, Input, LeaseName, LostReason, Mode, Refusal,
    Release, Reply, RequestId, StoreTime, WHOLE,
};
use std::time::Duration;
use world::{SESSION, World, acquire, granted, key};

const LATER: Duration = Duration::from_secs(4);
/// When the share's tenure is granted.
const FIRST_GRANT: StoreTime = StoreTime(1_000_001_000_000);

fn queued() -> Answer {
    Answer::Queued(Queued { ahead: 0, retry: LATER * 2, holder: Some(Incarnation(2)) })
}

/// All of the key is granted, with fences from this on.
fn all_of_it(first: Fence) -> Answer {
    let (range, remaining) = (FenceRange { first, last: first + 4_000 }, Duration::from_secs(10));
    Answer::Granted(Tenancy { units: WHOLE, remaining, range, contended: false })
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

/// Its answer was lost: it may have been granted. Between the tenure's end and a grant others may have held the key: what began
/// surely after it was gone is another one.
#[test]
fn beside_an_ask_whose_answer_was_lost_the_grant_tells() {
    let lead = FENCE_LEAD_MAX_US + 2;
    for (reserved_after, grew) in [(0, true), (lead, true), (lead + 1, false)] {
        let (mut world, renewal, again) = held_and_wanted();
        let gone_at = world.store_time();
        world.input(Input::Store { call: again.id, outcome: Outcome::Unknown(Fault::Down) });
        world.answer(&renewal, Answer::Gone);
        world.now = world.now + LATER / 4;
        world.input(Input::Tick);
        let more = ask(&mut world);
        world.answer(&more, all_of_it(gone_at.0 + reserved_after));
        assert_eq!(stands(&mut world), grew, "reserved {reserved_after} us after");
    }
}

/// Its machine's clock stood still: the ask is granted before any renewal is told that it is gone.
#[test]
fn what_was_granted_after_the_store_ended_it_is_another_one() {
    let lead = FENCE_LEAD_MAX_US + 2;
    let (no, perhaps) = (false, true);
    let cases = [
        (0, no, "awake", true),
        (lead, no, "awake", true),
        (lead + 1, no, "awake", false),
        (lead + 1, no, "slept", false),
        (lead + 1, perhaps, "awake", true),
        // Nobody is told that it is over, nor are units of a rate freed, while it may stand.
        (lead + 1, perhaps, "slept", true),
    ];
    for (late, extended, host, grew) in cases {
        let (mut world, renewal, again) = held_and_wanted();
        let over = FIRST_GRANT + Duration::from_millis(10_001);
        if host == "slept" {
            world.input(Input::ClockStepped);
        }
        if extended {
            world.input(Input::Store { call: renewal.id, outcome: Outcome::Unknown(Fault::Down) });
        }
        let first = over.0 + late;
        let outcome = Outcome::Applied { at: StoreTime(first), reply: all_of_it(first) };
        world.input(Input::Store { call: again.id, outcome });
        assert_eq!(stands(&mut world), grew, "{late} us after, extended: {extended}, {host}");
    }
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
    world.answer(&renewal, Answer::Renewed { remaining, range: None, contended: false });
    world.now = world.now + LATER / 4;
    world.input(Input::Tick);
    let more = ask(&mut world);
    let first = world.store_time().0;
    world.answer(&more, all_of_it(first));
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
