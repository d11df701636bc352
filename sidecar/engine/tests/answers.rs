//! What an engine makes of a store's answers that no story can have: late ones, and none at all.

mod world;

use sidelock_engine::store::{
    Ask, Call, Condition, Fault, Known, Op, Order, Outcome, Queued, Reply as Answer, Success, Tenancy,
    Version, Withdraw, WriteRegister,
};
use sidelock_engine::{
    Acquire, AcquireAll, Align, AskId, Config, Etag, FenceRange, INNER_HANDLES_MAX, Incarnation, Input,
    LeaseName, Mode, Refusal, RegisterAct, RegisterRequest, Release, Reply, RequestId, Space, StoreTime,
    Time, WHOLE, Window,
};
use std::time::Duration;
use world::{SESSION, World, acquire, granted, key};

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

/// What is given up may have been granted, which the withdrawal settles; that others wait is known at once (L2).
#[test]
fn the_answer_to_an_ask_that_was_given_up_tells_of_others() {
    for contended in [false, true] {
        let mut world = World::new(Config::new(Incarnation(1)));
        let share = |number| Acquire { mode: Mode::Shared, owner: None, ..acquire(number, "k") };
        world.input(Input::Acquire(share(1)));
        let ask = world.calls.pop_front().expect("the engine asks");
        world.answer(&ask, granted(1));
        world.input(Input::Acquire(Acquire { owner: None, ..acquire(2, "k") }));
        let more = world.calls.pop_front().expect("it asks for more");
        world.input(Input::Cancel { session: SESSION, request: RequestId(2) });
        let withdrawal = world.calls.pop_front().expect("it gives that up");
        assert!(matches!(withdrawal.op, Op::Withdraw(_)));
        let (range, remaining) = (FenceRange { first: 5_000, last: 9_000 }, Duration::from_secs(10));
        world
            .answer(&more, Answer::Granted(Tenancy { units: WHOLE, remaining, origin: 5, range, contended }));
        world.replies.clear();
        world.input(Input::Acquire(share(3)));
        let served = matches!(world.replies[..], [Reply::Granted(_)]);
        assert_eq!(served, !contended, "{:?}", world.replies);
        // The share goes on under another name, which is no turn of ours.
        world.answer(
            &withdrawal,
            Answer::Granted(Tenancy { units: 1, remaining, origin: 5, range, contended }),
        );
        world.input(Input::Acquire(share(4)));
        assert_eq!(world.replies.len(), if contended { 0 } else { 2 }, "{:?}", world.replies);
    }
}

/// A copy of an ask that ran when its tenure had ended has a place in the queue, which the tombstone takes away: so that is sent as
/// long as such a place may stand, and no longer (P7).
#[test]
fn what_was_asked_twice_leaves_a_tombstone_until_no_copy_can_have_a_place() {
    let (place_max, moment) = (Duration::from_secs(15), Duration::from_millis(1));
    for (after, told) in [(Duration::ZERO, true), (place_max - moment, true), (place_max, false)] {
        let mut world = World::new(Config::new(Incarnation(1)));
        world.input(Input::Acquire(Acquire { owner: None, ..acquire(1, "k") }));
        let first = world.calls.pop_front().expect("the engine asks");
        let queued = Queued { ahead: 0, retry: Duration::from_secs(5), holder: Some(Incarnation(2)) };
        world.answer(&first, Answer::Queued(queued));
        world.now = world.now + Duration::from_secs(2);
        world.input(Input::Tick);
        let again = world.calls.pop_front().expect("and again");
        let Op::Ask(Ask { refuse_after, .. }) = again.op else { panic!("{again:?}") };
        let (range, remaining) = (FenceRange { first: 5, last: 4_000 }, place_max * 4);
        world.answer(
            &again,
            Answer::Granted(Tenancy { units: WHOLE, remaining, origin: range.first, range, contended: true }),
        );
        let until = refuse_after.0 - world.store_time().0;
        world.now = world.now + Duration::from_micros(until) + after;
        let lease = LeaseName::Session(RequestId(1));
        world.input(Input::Release(Release { session: SESSION, request: RequestId(2), lease }));
        let returned = world.calls.iter().find_map(|call| match &call.op {
            Op::Return(back) => Some(back.tombstone),
            _ => None,
        });
        assert_eq!(returned, Some(told.then_some(refuse_after)), "{after:?} after it");
    }
}

/// A connection that is told of late brings a store's time of long ago: the next copy may run less long than the one before (P7).
#[test]
fn a_tombstone_stays_as_long_as_any_copy_may_run() {
    let mut world = World::new(Config::new(Incarnation(1)));
    world.input(Input::Acquire(Acquire { owner: None, ..acquire(1, "k") }));
    let latest_run = |call: &Call| match call.op {
        Op::Ask(Ask { refuse_after, .. }) => refuse_after,
        _ => panic!("{call:?}"),
    };
    let first = latest_run(&world.calls.pop_front().expect("the engine asks"));
    let long_ago = StoreTime(world.store_time().0 - 5_000_000);
    world.input(Input::StoreDown);
    world.input(Input::StoreUp { at: long_ago });
    let again = latest_run(&world.calls.pop_front().expect("and again"));
    assert!(again < first);
    world.input(Input::Cancel { session: SESSION, request: RequestId(1) });
    let Op::Withdraw(Withdraw { tombstone, .. }) = world.calls[0].op else { panic!("{:?}", world.calls) };
    assert_eq!(tombstone, Some(first));
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

/// Alone they are as many as all other requests of a session may be.
#[test]
fn operations_on_registers_are_bounded() {
    let config = Config { in_flight_per_session_max: 2, ..Config::new(Incarnation(1)) };
    let mut world = World::new(config);
    for number in 1..=3 {
        assert!(world.replies.is_empty(), "{:?}", world.replies);
        let (request, key) = (RequestId(number), key("r").in_space(Space::Register));
        let get = RegisterRequest { session: SESSION, request, key, lease: None, act: RegisterAct::Get };
        world.input(Input::Register(get));
    }
    assert!(
        matches!(world.replies[..], [Reply::Refused(Refusal::TooMany { limit: 2 })]),
        "{:?}",
        world.replies
    );
}

/// A look that began before somebody came tells nothing to that one (P17).
#[test]
fn who_comes_to_watch_during_a_look_has_one_of_its_own() {
    let mut world = World::new(Config::new(Incarnation(1)));
    for number in [1, 2] {
        let (request, key) = (RequestId(number), key("r").in_space(Space::Register));
        let act = RegisterAct::Watch { known: Known::Absent, wait: None };
        world.input(Input::Register(RegisterRequest { session: SESSION, request, key, lease: None, act }));
    }
    let look = world.calls.pop_front().expect("it looks");
    assert!(world.calls.is_empty(), "one look at a time: {:?}", world.calls);
    world.answer(&look, Answer::Unchanged);
    let look = world.calls.pop_front().expect("it looks again");
    assert!(matches!(look.op, Op::ReadRegister(_)), "{look:?}");
}

#[test]
fn a_lease_has_so_many_handles_at_most() {
    let mut world = World::new(Config::new(Incarnation(1)));
    world.input(Input::Acquire(acquire(1, "k")));
    let ask = world.calls.pop_front().expect("the engine asks");
    world.answer(&ask, granted(WHOLE));
    let entered = u64::from(INNER_HANDLES_MAX);
    for number in 2..=entered + 2 {
        world.input(Input::Acquire(Acquire { reentrant: true, ..acquire(number, "k") }));
    }
    let refused = world.replies.pop();
    assert!(
        matches!(refused, Some(Reply::Refused(Refusal::TooDeep { limit: INNER_HANDLES_MAX }))),
        "{refused:?}"
    );
    assert_eq!(world.replies.len() as u64, entered + 1);
    assert!(world.replies.iter().all(|reply| matches!(reply, Reply::Granted(_))));
}

/// That a window is open is known as long as it surely is: counted from before the question, by a clock that did not stand
/// still meanwhile (P18).
#[test]
fn what_is_done_is_known_no_longer_than_its_window_is_surely_open() {
    let enter = |number| Acquire {
        key: key("k").in_space(Space::Once),
        once: Some(Box::new(Window { per: Duration::from_secs(1), align: Align::Rolling })),
        ..acquire(number, "k")
    };
    for (answered_after, clock_steps, known) in [(1, false, true), (600, false, false), (1, true, false)] {
        let mut world = World::new(Config::new(Incarnation(1)));
        world.input(Input::Acquire(enter(1)));
        let ask = world.calls.pop_front().expect("the engine asks");
        let window_end = world.store_time() + Duration::from_secs(1);
        let success = Success { finished_at: world.store_time(), window_end, result: b"r"[..].into() };
        let at = world.store_time();
        world.now = world.now + Duration::from_millis(answered_after);
        if clock_steps {
            world.input(Input::ClockStepped);
        }
        let outcome = Outcome::Applied { at, reply: Answer::Finished(success) };
        world.input(Input::Store { call: ask.id, outcome });
        assert!(matches!(world.replies[..], [Reply::Done(_)]), "it asked before: {:?}", world.replies);
        world.now = world.now + Duration::from_millis(500);
        world.calls.clear();
        world.input(Input::Acquire(enter(2)));
        let is_asked = world.calls.iter().any(|call| matches!(call.op, Op::Ask(_)));
        assert_eq!((is_asked, world.replies.len()), (!known, 1 + usize::from(known)), "{answered_after}");
    }
}

/// A victim's wish goes on behind what was taken: at once when it learns of that, and with a pause as long as the store has not
/// heard that it knows (P19).
#[test]
fn an_ask_behind_what_was_taken_waits_for_the_proof_that_it_is_known() {
    let reader = Acquire { mode: Mode::Shared, owner: None, ..acquire(1, "k") };
    let writer = Acquire { owner: None, ..acquire(2, "k") };
    let mut world = World::new(Config::new(Incarnation(1)));
    world.input(Input::Acquire(reader));
    let ask = world.calls.pop_front().expect("the engine asks");
    world.answer(&ask, granted(1));
    world.input(Input::Acquire(writer));
    let grows = world.calls.pop_front().expect("the engine asks for all");
    let Op::Ask(Ask { id, .. }) = &grows.op else { panic!("an ask was due, got {grows:?}") };
    let id = *id;
    let is_ask = |call: &Call| matches!(&call.op, Op::Ask(ask) if ask.id == id);
    let is_return = |call: &Call| matches!(&call.op, Op::Return(back) if back.tenure.seq < id.seq);
    let taken = || Answer::Forced { seq: id.seq - 1, order: Order { by: 0, reason: "stuck".into() } };
    world.answer(&grows, taken());
    let calls = std::mem::take(&mut world.calls);
    assert_eq!((calls.len(), calls.iter().filter(|call| is_return(call)).count()), (2, 1), "{calls:?}");
    let again = calls.iter().find(|call| is_ask(call)).expect("the wish goes on");
    // The return is not answered yet.
    world.answer(again, taken());
    assert_eq!(world.calls.iter().filter(|call| is_ask(call)).count(), 0, "{:?}", world.calls);
    world.now = world.engine.next_deadline().expect("it asks again");
    world.input(Input::Tick);
    assert_eq!(world.calls.iter().filter(|call| is_ask(call)).count(), 1, "{:?}", world.calls);
}

const THEIRS: Etag = Etag { number: 7, writer: AskId { incarnation: Incarnation(2), seq: 1 } };

/// A write is on its way.
fn writing(condition: Condition) -> World {
    let mut world = World::new(Config::new(Incarnation(1)));
    let (request, key) = (RequestId(1), key("r").in_space(Space::Register));
    let act = RegisterAct::Put { condition, value: b"v"[..].into() };
    world.input(Input::Register(RegisterRequest { session: SESSION, request, key, lease: None, act }));
    world
}

/// The copy of the write that was sent, as soon as it is.
fn copy(world: &mut World) -> (Call, WriteRegister) {
    let call = loop {
        match world.calls.pop_front() {
            Some(call) => break call,
            None => {
                world.now = world.engine.next_deadline().expect("a write is given up at last");
                world.input(Input::Tick);
            }
        }
    };
    match &call.op {
        Op::WriteRegister(write) => (call.clone(), write.clone()),
        other => panic!("a write was due, got {other:?}"),
    }
}

fn unanswered(world: &mut World, call: &Call) {
    world.input(Input::Store { call: call.id, outcome: Outcome::Unknown(Fault::Down) });
}

/// That there is something, or nothing, may be otherwise for a copy that runs later; what was replaced never comes back (P17).
#[test]
fn a_condition_that_fails_tells_nothing_of_copies_that_may_still_run() {
    let there = || Version { etag: THEIRS, value: b"theirs"[..].into() };
    let is_unknown = |reply: &Reply| matches!(reply, Reply::Refused(Refusal::OutcomeUnknown));
    for (condition, current, is_settled) in [
        (Condition::Absent, Some(there()), false),
        (Condition::Present, None, false),
        (Condition::Match(Etag { number: 6, ..THEIRS }), Some(there()), true),
    ] {
        for in_doubt in [true, false] {
            let mut world = writing(condition);
            let (mut call, _) = copy(&mut world);
            if in_doubt {
                unanswered(&mut world, &call);
                (call, _) = copy(&mut world);
            }
            world.answer(&call, Answer::Conflict(current.clone()));
            let [reply] = &world.replies[..] else { panic!("one answer was due: {:?}", world.replies) };
            assert_eq!(is_unknown(reply), in_doubt && !is_settled, "{condition:?} {in_doubt}: {reply:?}");
        }
    }
}

/// All copies are void at one instant, or what the client is told then would not last.
#[test]
fn copies_of_a_write_are_void_together_but_a_new_attempt_is_not_bound_to_a_wrong_clock() {
    let mut world = writing(Condition::Any);
    let (first, write) = copy(&mut world);
    unanswered(&mut world, &first);
    let (second, again) = copy(&mut world);
    assert!(world.now > Time(1_000_000_000), "later");
    assert_eq!(again, write);
    world.answer(&second, Answer::TooLate);
    assert!(matches!(world.replies[..], [Reply::Refused(Refusal::OutcomeUnknown)]), "{:?}", world.replies);

    let mut world = writing(Condition::Any);
    let (only, write) = copy(&mut world);
    world.now = world.now + Duration::from_millis(10);
    let at = StoreTime(write.refuse_after.0 + 1);
    world.input(Input::Store { call: only.id, outcome: Outcome::Applied { at, reply: Answer::TooLate } });
    let (again, write) = copy(&mut world);
    assert!(world.replies.is_empty() && write.refuse_after > at, "{write:?}");
    world.answer(&again, Answer::Written(THEIRS));
    assert!(matches!(world.replies[..], [Reply::Written(_)]), "{:?}", world.replies);
}

/// An answer under a number that two requests have would be nobody's.
#[test]
fn a_number_names_one_request_whatever_it_asks_for() {
    let mut world = World::new(Config::new(Incarnation(1)));
    let (session, request, key) = (SESSION, RequestId(1), key("r").in_space(Space::Register));
    let get = RegisterRequest { session, request, key, lease: None, act: RegisterAct::Get };
    world.input(Input::Register(get.clone()));
    world.input(Input::Acquire(acquire(1, "k")));
    assert!(matches!(world.replies[..], [Reply::Refused(Refusal::BadRequest(_))]), "{:?}", world.replies);
    world.input(Input::Acquire(acquire(2, "k")));
    world.input(Input::Register(RegisterRequest { request: RequestId(2), ..get }));
    assert!(matches!(world.replies[1..], [Reply::Refused(Refusal::BadRequest(_))]), "{:?}", world.replies);
}
