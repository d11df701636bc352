//! What an engine does one nanosecond before an instant, and at it: where windows end, and where units of a rate are back.

mod world;

use sidelock_engine::store::{Call, Op, Outcome, Push, Queued, Reply as Answer, Success};
use sidelock_engine::{
    Acquire, Align, AskId, Change, Config, Finish, Incarnation, Input, LeaseName, LeaseSecret, LostReason,
    Mode, NewMode, Refusal, Release, Reply, RequestId, Space, StoreTime, Time, WHOLE, Window,
};
use std::time::Duration;
use world::{SESSION, World, acquire, granted, key};

const MS: Duration = Duration::from_millis(1);
const NS: Duration = Duration::from_nanos(1);
const US: Duration = Duration::from_micros(1);
const PER: Duration = Duration::from_secs(1);
/// On a store with others units are bound a hundredth longer: clocks may run apart by as much (A1).
const COOLS_AFTER: Duration = Duration::from_millis(1_010);

fn fleet() -> World {
    World::new(Config::new(Incarnation(1)))
}

fn enter(number: u64) -> Acquire {
    Acquire {
        key: key("k").in_space(Space::Once),
        once: Some(Box::new(Window { per: PER, align: Align::Rolling })),
        owner: None,
        ..acquire(number, "k")
    }
}

/// The next ask that it sends.
fn ask_of(world: &mut World) -> Call {
    loop {
        let call = world.calls.pop_front().expect("the engine asks");
        if let Op::Ask(_) = call.op {
            return call;
        }
    }
}

/// The store says that the key was done.
fn done(
    world: &mut World,
    ask: &Call,
    at: StoreTime,
    finished_at: StoreTime,
    window_end: StoreTime,
) -> usize {
    let success = Success { finished_at, window_end, result: b"r"[..].into() };
    let outcome = Outcome::Applied { at, reply: Answer::Finished(success) };
    world.input(Input::Store { call: ask.id, outcome });
    let is_done = |reply: &&Reply| matches!(reply, Reply::Done(_));
    world.replies.iter().filter(is_done).count()
}

/// One second is left of the window when the store answers. Who came while the answer was under way is answered with it as long
/// as that second is surely not over.
#[test]
fn a_window_that_may_be_over_answers_nobody_who_came_later() {
    for (answered_after, answered) in [(PER - NS, 2), (PER, 1)] {
        let mut world = fleet();
        world.input(Input::Acquire(enter(1)));
        let (ask, at) = (ask_of(&mut world), world.store_time());
        let sent = world.now;
        world.now = sent + MS;
        world.input(Input::Acquire(enter(2)));
        world.now = sent + answered_after;
        assert_eq!(done(&mut world, &ask, at, at, at + PER), answered, "after {answered_after:?}");
    }
}

/// A turn was granted a moment after midnight. While its body ran our clock fell behind the store's, or an answer travelled for
/// long: the day that it counts for is the one in which it was granted.
#[test]
fn a_turn_counts_for_the_window_in_which_it_was_granted() {
    let mut world = fleet();
    let day = Duration::from_secs(86_400);
    let window = Window { per: day, align: Align::Utc };
    world.input(Input::Acquire(Acquire { once: Some(Box::new(window)), ..enter(1) }));
    let ask = ask_of(&mut world);
    let granted_at = world.store_time();
    world.answer(&ask, granted(WHOLE));
    for _ in 0..3 {
        world.now = world.now + Duration::from_secs(3);
        world.input(Input::Tick);
        while let Some(call) = world.calls.pop_front() {
            let at = StoreTime(world.store_time().0 - 200_000);
            let reply = Answer::Renewed {
                remaining: Duration::from_secs(10),
                origin: 5,
                range: None,
                contended: false,
            };
            world.input(Input::Store { call: call.id, outcome: Outcome::Applied { at, reply } });
        }
    }
    let (session, request, lease) = (SESSION, RequestId(2), LeaseName::Session(RequestId(1)));
    world.input(Input::Finish(Finish { session, request, lease, result: b"r"[..].into() }));
    let finish = world.calls.iter().find_map(|call| match &call.op {
        Op::Finish(finish) => Some(finish),
        _ => None,
    });
    assert_eq!(finish.expect("the store is told").granted_at, granted_at);
}

/// Who waited when the ask was sent has its answer while the window is open at the store; at its end only who waited before the
/// finish has.
#[test]
fn at_the_end_of_a_window_only_who_waited_before_the_finish_has_its_answer() {
    for (before_its_end, answered) in [(US, 2), (Duration::ZERO, 1)] {
        let mut world = fleet();
        world.input(Input::Acquire(enter(1)));
        let first = ask_of(&mut world);
        let finished_at = world.store_time() + MS;
        world.answer(
            &first,
            Answer::Queued(Queued { ahead: 0, retry: 10 * MS, holder: Some(Incarnation(2)) }),
        );
        world.now = world.now + 2 * MS;
        world.input(Input::Acquire(enter(2)));
        world.now = world.now + 8 * MS;
        world.input(Input::Tick);
        let (again, at) = (ask_of(&mut world), world.store_time());
        // So late that the rest of the window, if there is any, is over here.
        world.now = world.now + MS;
        let window_end = at + before_its_end;
        assert_eq!(
            done(&mut world, &again, at, finished_at, window_end),
            answered,
            "{before_its_end:?} before"
        );
    }
}

/// Who began to wait at the instant of the finish waited for it; a microsecond later it did not.
#[test]
fn who_waits_since_the_finish_is_one_of_its_followers() {
    for (finished_before, answered) in [(Duration::ZERO, 1), (US, 0)] {
        let mut world = fleet();
        world.input(Input::Acquire(enter(1)));
        let (first, since) = (ask_of(&mut world), world.store_time());
        world.answer(
            &first,
            Answer::Queued(Queued { ahead: 0, retry: 10 * MS, holder: Some(Incarnation(2)) }),
        );
        world.now = world.now + 10 * MS;
        world.input(Input::Tick);
        let (again, at) = (ask_of(&mut world), world.store_time());
        world.now = world.now + MS;
        // The window was over when it asked again.
        let finished_at = since - finished_before;
        assert_eq!(
            done(&mut world, &again, at, finished_at, finished_at),
            answered,
            "{finished_before:?} before"
        );
    }
}

fn unit(number: u64, wait: Option<Duration>) -> Input {
    let mode = Mode::Permits { permits: 1, limit: 1 };
    Input::Acquire(Acquire { mode, wait, per: Some(PER), owner: None, ..acquire(number, "api") })
}

/// A unit of a rate granted, and when.
fn used_up(world: &mut World) -> Time {
    world.input(unit(1, None));
    if let Some(ask) = world.calls.pop_front() {
        world.answer(&ask, granted(1));
    }
    assert!(matches!(world.replies[..], [Reply::Granted(_)]), "{:?}", world.replies);
    world.replies.clear();
    world.calls.clear();
    world.now
}

/// With the lease or after it, alone or beside others.
#[test]
fn a_unit_of_a_rate_is_back_at_its_instant_and_not_before() {
    let alone = || World::new(Config { contact_every: None, ..Config::new(Incarnation(1)) });
    let worlds: [(fn() -> World, Duration); 2] = [(alone, PER), (fleet, COOLS_AFTER)];
    for (world, back_after) in worlds {
        for released in [false, true] {
            let mut world = world();
            let granted_at = used_up(&mut world);
            if released {
                let lease = LeaseName::Session(RequestId(1));
                world.input(Input::Release(Release { session: SESSION, request: RequestId(9), lease }));
                world.replies.clear();
            }
            world.now = granted_at + back_after - NS;
            world.input(unit(2, Some(Duration::ZERO)));
            let Some(Reply::Refused(Refusal::UsedUp { free_in, waited: false, .. })) = world.replies.pop()
            else {
                panic!("it was free early");
            };
            assert_eq!(free_in, NS);
            world.replies.clear();
            world.calls.clear();
            world.now = granted_at + back_after;
            world.input(unit(3, Some(Duration::ZERO)));
            // What nobody needed for so long went back to the store in this very turn: it is asked for again.
            if let Some(ask) = world.calls.iter().find(|call| matches!(call.op, Op::Ask(_))).cloned() {
                world.answer(&ask, granted(1));
            }
            assert!(matches!(world.replies[..], [Reply::Granted(_)]), "{:?}", world.replies);
        }
    }
}

/// To a sidecar that stood still two shares are over in one turn: the end of the first does not upgrade the second.
#[test]
fn a_share_that_is_over_is_not_upgraded() {
    for (awake_after, is_granted) in [(PER - NS, true), (PER, false)] {
        let mut world = fleet();
        let share = |number, max_hold| {
            let mode = Mode::Shared;
            Input::Acquire(Acquire { mode, max_hold, owner: None, ..acquire(number, "k") })
        };
        world.input(share(1, Some(PER)));
        let ask = ask_of(&mut world);
        world.answer(&ask, granted(2));
        let granted_at = world.now;
        world.input(share(2, Some(PER - MS)));
        let (request, lease) = (RequestId(3), LeaseName::Session(RequestId(1)));
        let to = NewMode::Exclusive { wait: None, secret: LeaseSecret(3) };
        world.input(Input::Change(Change { session: SESSION, request, lease, to }));
        let ask = ask_of(&mut world);
        world.answer(&ask, granted(WHOLE));
        world.replies.clear();
        world.now = granted_at + awake_after;
        world.input(Input::Tick);
        let granted = |reply: &Reply| matches!(reply, Reply::Granted(_));
        let over = |reply: &Reply| matches!(reply, Reply::Refused(Refusal::LeaseLost(LostReason::MaxHold)));
        let said = (world.replies.iter().any(granted), world.replies.iter().any(over));
        assert_eq!(said, (is_granted, !is_granted), "{:?}", world.replies);
    }
}

/// What another sidecar is told counts in microseconds: rounded up, so that nobody who goes by it is early.
#[test]
fn when_a_unit_is_back_is_told_in_microseconds_rounded_up() {
    for (left, told) in
        [(500 * MS, 500 * MS), (500 * MS + NS, 500 * MS + US), (500 * MS + US - NS, 500 * MS + US)]
    {
        let mut world = fleet();
        let granted_at = used_up(&mut world);
        let ask = AskId { incarnation: Incarnation(2), seq: 1 };
        world.now = granted_at + COOLS_AFTER - left;
        world.calls.clear();
        world.input(Input::Pushed(Push::Recall { key: key("api"), ask }));
        let tell =
            world.calls.iter().find_map(|call| if let Op::Tell(tell) = &call.op { Some(tell) } else { None });
        assert_eq!(tell.map(|tell| tell.free_in), Some(Some(told)), "{left:?}");
    }
}
