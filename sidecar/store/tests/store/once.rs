//! Once keys: a success is kept and told, exactly one turn may leave it, and nobody runs before its window ends (P18).

use crate::cases;
use crate::subject::*;
use sidelock_engine::store::{Ask, Finish, Force, Op, Order, Push, REFUSE_AFTER, Reply, Success, Wake};
use sidelock_engine::{Align, Incarnation, Key, RESULT_BYTES_MAX, Space, StoreTime, Window};
use std::time::Duration;

pub(crate) const CASES: &[Case] = cases![
    a_success_is_told_to_whoever_asks,
    a_success_ends_the_tenure,
    a_success_wakes_the_whole_queue,
    a_success_is_of_one_key_in_one_space,
    a_finish_twice_is_told_the_same,
    a_finish_of_another_tenure_is_gone,
    a_finish_under_a_fence_never_reserved_is_gone,
    a_finish_after_a_top_up_counts,
    a_finish_after_expiry_is_gone,
    a_finish_of_a_turn_taken_by_order_hears_so,
    a_late_finish_is_refused,
    a_turn_given_back_is_offered_to_one,
    a_window_over_lets_the_next_run,
    a_success_answers_those_who_waited_for_it,
    a_repeated_ask_of_the_runner_is_granted_still,
    an_aligned_window_ends_at_a_multiple,
    a_grant_from_the_future_is_one_from_now,
    a_success_stands_beside_the_next_queue,
    a_result_may_be_as_long_as_allowed,
];

const DAY: Window = Window { per: Duration::from_secs(86_400), align: Align::Rolling };

pub(crate) fn once_key() -> Key {
    key().in_space(Space::Once)
}

/// An ask of somebody who began to wait now.
fn turn_ask(store: &mut dyn Subject, incarnation: Incarnation, seq: u64) -> Ask {
    let waiting_since = Some(store.now());
    Ask { key: once_key(), waiting_since, ..ask(store, incarnation, seq) }
}

fn enter(store: &mut dyn Subject, incarnation: Incarnation, seq: u64) -> Done {
    let ask = turn_ask(store, incarnation, seq);
    store.ask(ask)
}

/// A finish of the turn that was granted so.
fn finish(store: &mut dyn Subject, incarnation: Incarnation, seq: u64, granted: &Done) -> Finish {
    Finish {
        key: once_key(),
        tenure: id(incarnation, seq),
        fence: granted.granted().range.first,
        granted_at: granted.at,
        window: DAY,
        result: b"paid".as_slice().into(),
        refuse_after: store.now() + REFUSE_AFTER,
    }
}

fn send(store: &mut dyn Subject, finish: Finish) -> Done {
    store.apply(&Op::Finish(Box::new(finish)))
}

/// A's first turn, done.
fn done_by_a(store: &mut dyn Subject, window: Window) -> Done {
    let granted = enter(store, A, 1);
    let finish = Finish { window, ..finish(store, A, 1, &granted) };
    send(store, finish)
}

#[track_caller]
fn finished(done: &Done) -> Success {
    match &done.reply {
        Reply::Finished(success) => success.clone(),
        other => panic!("not finished: {other:?}"),
    }
}

fn again(to: Incarnation, seq: u64) -> Wake {
    Wake { to, push: Push::Offer { key: once_key(), ask: id(to, seq) } }
}

fn a_success_is_told_to_whoever_asks(store: &mut dyn Subject) {
    let granted = enter(store, A, 1);
    let finish = finish(store, A, 1, &granted);
    let done = send(store, finish);
    let success = finished(&done);
    assert_eq!(success.finished_at, done.at);
    assert_eq!(success.window_end, granted.at + DAY.per);
    assert_eq!(&*success.result, b"paid");
    for (incarnation, seq) in [(B, 1), (C, 1), (A, 2), (B, 2)] {
        enter(store, incarnation, seq).quietly(Reply::Finished(success.clone()));
    }
}

fn a_success_ends_the_tenure(store: &mut dyn Subject) {
    finished(&done_by_a(store, DAY));
    let renew = sidelock_engine::store::Renew { key: once_key(), ..renewal(A, 1) };
    store.renew(renew).quietly(Reply::Gone);
}

fn a_success_wakes_the_whole_queue(store: &mut dyn Subject) {
    let granted = enter(store, A, 1);
    enter(store, B, 1).queued();
    enter(store, C, 1).queued();
    let finish = finish(store, A, 1, &granted);
    let done = send(store, finish);
    let success = finished(&done);
    done.wakes(&[again(B, 1), again(C, 1)]);
    enter(store, B, 1).quietly(Reply::Finished(success.clone()));
    enter(store, C, 1).quietly(Reply::Finished(success));
}

fn a_success_is_of_one_key_in_one_space(store: &mut dyn Subject) {
    finished(&done_by_a(store, DAY));
    store.lock(B, 1).granted();
    let mut other = turn_ask(store, B, 2);
    other.key = Key::of(Space::Once, "another").unwrap();
    store.ask(other).granted();
}

fn a_finish_twice_is_told_the_same(store: &mut dyn Subject) {
    let granted = enter(store, A, 1);
    let first = finish(store, A, 1, &granted);
    let success = finished(&send(store, first.clone()));
    let second = Finish { result: b"something else".as_slice().into(), ..first };
    send(store, second).quietly(Reply::Finished(success));
}

fn a_finish_of_another_tenure_is_gone(store: &mut dyn Subject) {
    let granted = enter(store, A, 2);
    for (incarnation, seq) in [(A, 1), (A, 3), (B, 2)] {
        let finish = finish(store, incarnation, seq, &granted);
        send(store, finish).quietly(Reply::Gone);
    }
    enter(store, B, 1).queued();
}

fn a_finish_of_a_turn_taken_by_order_hears_so(store: &mut dyn Subject) {
    let granted = enter(store, A, 1);
    let order = Order { by: 1000, reason: "stuck".into() };
    let refuse_after = store.now() + REFUSE_AFTER;
    store.apply(&Op::Force(Force { key: once_key(), from: B, order: order.clone(), refuse_after }));
    let finish = finish(store, A, 1, &granted);
    send(store, finish).quietly(Reply::Forced { seq: 1, order });
    enter(store, B, 1).granted();
}

fn a_finish_under_a_fence_never_reserved_is_gone(store: &mut dyn Subject) {
    let granted = enter(store, A, 1);
    let fence = granted.granted().range.last + 1;
    let finish = Finish { fence, ..finish(store, A, 1, &granted) };
    send(store, finish).quietly(Reply::Gone);
}

fn a_finish_after_a_top_up_counts(store: &mut dyn Subject) {
    let granted = enter(store, A, 1);
    store.renew(sidelock_engine::store::Renew { key: once_key(), top_up: true, ..renewal(A, 1) });
    let finish = finish(store, A, 1, &granted);
    finished(&send(store, finish));
}

fn a_finish_after_expiry_is_gone(store: &mut dyn Subject) {
    let short = Ask { ttl: SHORT, ..turn_ask(store, A, 1) };
    let granted = store.ask(short);
    store.wait(AFTER_SHORT);
    let finish = finish(store, A, 1, &granted);
    send(store, finish).quietly(Reply::Gone);
    enter(store, B, 1).granted();
}

fn a_late_finish_is_refused(store: &mut dyn Subject) {
    let granted = enter(store, A, 1);
    let refuse_after = StoreTime(store.now().0 - 1);
    let late = Finish { refuse_after, ..finish(store, A, 1, &granted) };
    send(store, late.clone()).quietly(Reply::TooLate);
    enter(store, B, 1).queued();
    let absent = Finish { key: Key::of(Space::Once, "absent").unwrap(), ..late };
    send(store, absent).quietly(Reply::TooLate);
}

fn a_turn_given_back_is_offered_to_one(store: &mut dyn Subject) {
    enter(store, A, 1).granted();
    enter(store, B, 1).queued();
    enter(store, C, 1).queued();
    let back = sidelock_engine::store::Return { key: once_key(), ..ret(A, 1) };
    store.give(back).wakes(&[again(B, 1)]);
    enter(store, B, 1).granted();
    enter(store, C, 1).queued();
}

fn a_window_over_lets_the_next_run(store: &mut dyn Subject) {
    let success = finished(&done_by_a(store, Window { per: BRIEF, align: Align::Rolling }));
    enter(store, B, 1).quietly(Reply::Finished(success));
    store.wait(AFTER_BRIEF);
    enter(store, B, 1).granted();
    enter(store, C, 1).queued();
}

fn a_success_answers_those_who_waited_for_it(store: &mut dyn Subject) {
    let granted = enter(store, A, 1);
    let waiter = turn_ask(store, B, 1);
    store.ask(waiter.clone()).queued();
    let short = Window { per: SHORT, align: Align::Rolling };
    let finish = Finish { window: short, ..finish(store, A, 1, &granted) };
    let success = finished(&send(store, finish));
    store.wait(AFTER_SHORT);
    let refuse_after = store.now() + REFUSE_AFTER;
    store.ask(Ask { refuse_after, ..waiter }).quietly(Reply::Finished(success));
    enter(store, C, 1).granted();
}

fn a_repeated_ask_of_the_runner_is_granted_still(store: &mut dyn Subject) {
    let short = Window { per: SHORT, align: Align::Rolling };
    finished(&done_by_a(store, short));
    store.wait(AFTER_SHORT);
    let runner = turn_ask(store, B, 1);
    let first = store.ask(runner.clone()).granted();
    let old = Ask { waiting_since: Some(StoreTime(1)), ..runner };
    assert_eq!(store.ask(old).granted().range, first.range);
}

fn an_aligned_window_ends_at_a_multiple(store: &mut dyn Subject) {
    let hour = Window { per: Duration::from_secs(3_600), align: Align::Utc };
    let granted = enter(store, A, 1);
    let finish = Finish { window: hour, ..finish(store, A, 1, &granted) };
    let end = finished(&send(store, finish)).window_end;
    assert_eq!(end.0 % 3_600_000_000, 0);
    assert!(granted.at < end && end <= granted.at + hour.per, "{end:?} of {:?}", granted.at);
}

fn a_grant_from_the_future_is_one_from_now(store: &mut dyn Subject) {
    let granted = enter(store, A, 1);
    let granted_at = store.now() + DAY.per * 10;
    let finish = Finish { granted_at, ..finish(store, A, 1, &granted) };
    let done = send(store, finish);
    assert_eq!(finished(&done).window_end, done.at + DAY.per);
}

fn a_success_stands_beside_the_next_queue(store: &mut dyn Subject) {
    let short = Window { per: SHORT, align: Align::Rolling };
    let success = finished(&done_by_a(store, short));
    store.wait(AFTER_SHORT);
    let granted = enter(store, B, 1);
    enter(store, C, 1).queued();
    // It has waited all the time, so it hears of what was done meanwhile, and its place is free.
    let old = Ask { waiting_since: Some(success.finished_at), ..turn_ask(store, C, 1) };
    store.ask(old).quietly(Reply::Finished(success));
    let finish = finish(store, B, 1, &granted);
    let done = send(store, finish);
    finished(&done);
    done.wakes(&[]);
}

fn a_result_may_be_as_long_as_allowed(store: &mut dyn Subject) {
    let granted = enter(store, A, 1);
    let result: Vec<u8> = (0..RESULT_BYTES_MAX).map(|i| (i % 251) as u8).collect();
    let finish = Finish { result: result.clone().into(), ..finish(store, A, 1, &granted) };
    send(store, finish);
    assert_eq!(*finished(&enter(store, B, 1)).result, *result);
}
