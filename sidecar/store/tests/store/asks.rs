//! Asks: granting, repeating, refusing.

use crate::cases;
use crate::subject::*;
use sidelock_engine::declaration::ANSWER_BYTES_MAX;
use sidelock_engine::store::{
    CLOCK_REGRESSION_MAX, Declare, Inquire, KEYS_ASKED_BYTES_MAX, Op, Push, Reply, Tell, Wake,
};
use sidelock_engine::{StoreTime, WHOLE};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const CASES: &[Case] = cases![
    a_free_key_is_granted_at_once,
    a_repeated_ask_gets_the_same_range_and_what_remains,
    a_repeat_does_not_lengthen_or_shrink,
    an_older_ask_is_stale,
    an_ask_that_took_too_long_is_refused,
    a_free_key_refuses_what_took_too_long,
    another_limit_is_a_mismatch_while_the_key_is_in_use,
    an_entry_alone_pins_the_limit,
    growth_keeps_the_tenure_until_it_is_granted,
    growth_never_shortens_what_was_confirmed,
    more_units_than_there_are_never_fit,
    a_clock_set_back_by_a_day_is_refused,
    a_clock_set_back_on_a_free_key_is_refused,
    a_tell_reaches_the_asker,
    a_question_reaches_who_is_asked_and_the_answer_who_asked,
];

fn a_free_key_is_granted_at_once(store: &mut dyn Subject) {
    let done = store.lock(A, 1);
    let tenancy = done.granted();
    assert_eq!((tenancy.units, tenancy.remaining, tenancy.contended), (WHOLE, TTL, false));
    done.wakes(&[]);
    assert_eq!(store.keys(), 1);
}

fn a_repeated_ask_gets_the_same_range_and_what_remains(store: &mut dyn Subject) {
    let first = store.lock(A, 1);
    store.wait(SHORT);
    let again = store.lock(A, 1);
    assert_eq!(again.granted().range, first.granted().range);
    let passed = Duration::from_micros(again.at.0 - first.at.0);
    let left = Duration::from_millis(u64::try_from((TTL - passed).as_millis()).unwrap());
    assert_eq!(again.granted().remaining, left, "rounded down to milliseconds");
    again.wakes(&[]);
}

fn a_repeat_does_not_lengthen_or_shrink(store: &mut dyn Subject) {
    store.take(A, 1, 2, 4);
    let mut again = permits(store, A, 1, 1, 4);
    again.ttl = TTL * 2;
    let tenancy = store.ask(again).granted();
    assert_eq!(tenancy.units, 2);
    assert!(tenancy.remaining <= TTL);
}

fn an_older_ask_is_stale(store: &mut dyn Subject) {
    store.lock(A, 5);
    store.lock(A, 4).quietly(Reply::Stale);
    store.lock(B, 7).queued();
    store.lock(B, 6).quietly(Reply::Stale);
    assert_eq!(store.lock(B, 7).queued().ahead, 0);
}

fn an_ask_that_took_too_long_is_refused(store: &mut dyn Subject) {
    store.lock(A, 1);
    let mut late = ask(store, B, 1);
    late.refuse_after = StoreTime(store.now().0 - 1);
    store.ask(late).quietly(Reply::TooLate);
    store.give(ret(A, 1)).quietly(Reply::Returned);
    assert_eq!(store.keys(), 0, "it is not in the queue");
}

fn a_free_key_refuses_what_took_too_long(store: &mut dyn Subject) {
    let mut late = ask(store, A, 1);
    late.refuse_after = StoreTime(store.now().0 - 1);
    store.ask(late).quietly(Reply::TooLate);
    assert_eq!(store.keys(), 0);
}

fn another_limit_is_a_mismatch_while_the_key_is_in_use(store: &mut dyn Subject) {
    store.take(A, 1, 1, 4).granted();
    let other = store.take(B, 1, 1, 5);
    assert_eq!(other.reply, Reply::LimitMismatch { limit: 4 });
    other.wakes(&[recall(A, B, 1)]);
    store.give(ret(A, 1));
    store.take(B, 2, 5, 5).granted();
    store.take(A, 2, 1, 4).wakes(&[recall(B, A, 2)]);
}

fn an_entry_alone_pins_the_limit(store: &mut dyn Subject) {
    let mut holder = permits(store, A, 1, 4, 4);
    holder.ttl = BRIEF;
    store.ask(holder);
    store.take(B, 1, 1, 4).queued();
    store.wait(AFTER_BRIEF);
    let other = store.take(C, 1, 1, 5);
    assert_eq!(other.reply, Reply::LimitMismatch { limit: 4 });
    other.wakes(&[offer(B, 1)]);
}

fn growth_keeps_the_tenure_until_it_is_granted(store: &mut dyn Subject) {
    let share = store.share(A, 1).granted();
    store.share(B, 1).granted();
    store.lock(A, 2).queued();
    assert!(matches!(store.renew(renewal(A, 1)).reply, Reply::Renewed { contended: false, .. }));
    store.give(ret(B, 1)).wakes(&[offer(A, 2)]);
    let whole = store.lock(A, 2).granted();
    assert_eq!(whole.units, WHOLE);
    assert!(whole.range.first > share.range.last, "a range of its own, above the old one");
    store.renew(renewal(A, 1)).quietly(Reply::Gone);
    store.give(ret(A, 1)).quietly(Reply::Gone);
    store.share(B, 2).queued();
}

fn growth_never_shortens_what_was_confirmed(store: &mut dyn Subject) {
    let mut long = permits(store, A, 1, 1, 4);
    long.ttl = TTL * 360;
    store.ask(long);
    assert!(store.take(A, 2, 2, 4).granted().remaining > TTL * 359);
}

fn more_units_than_there_are_never_fit(store: &mut dyn Subject) {
    store.take(A, 1, 5, 4).queued();
    assert_eq!(store.take(A, 1, 5, 4).queued().holder, None);
    store.withdraw(withdrawal(A, 1));
    store.take(B, 1, 4, 4).granted();
}

/// A floor further ahead of the clock than anybody should bridge.
fn beyond(store: &mut dyn Subject) -> u64 {
    (store.now() + CLOCK_REGRESSION_MAX + Duration::from_secs(60)).0
}

fn a_clock_set_back_by_a_day_is_refused(store: &mut dyn Subject) {
    store.take(A, 1, 1, 4);
    let mut regressed = permits(store, B, 1, 1, 4);
    regressed.floor = beyond(store);
    store.ask(regressed).quietly(Reply::ClockRegressed);
    let floor = beyond(store);
    store.renew(sidelock_engine::store::Renew { floor, ..renewal(A, 1) }).quietly(Reply::ClockRegressed);
    let mut almost = permits(store, B, 1, 1, 4);
    almost.floor = beyond(store) - 120_000_000;
    assert!(store.ask(almost.clone()).granted().range.first > almost.floor);
}

fn a_clock_set_back_on_a_free_key_is_refused(store: &mut dyn Subject) {
    let mut regressed = ask(store, A, 1);
    regressed.floor = beyond(store);
    store.ask(regressed).quietly(Reply::ClockRegressed);
    assert_eq!(store.keys(), 0);
}

fn a_question_reaches_who_is_asked_and_the_answer_who_asked(store: &mut dyn Subject) {
    let inquiry = id(A, 1 << 40);
    let bytes = |length: usize| -> Arc<[u8]> { (0..=255).cycle().take(length).collect() };
    for more in [0, 1, KEYS_ASKED_BYTES_MAX].map(bytes) {
        let done = store.apply(&Op::Inquire(Inquire { key: key(), more: more.clone(), inquiry, to: B }));
        assert_eq!(done.reply, Reply::Told);
        done.wakes(&[Wake { to: B, push: Push::Inquired { key: key(), more, inquiry } }]);
    }
    for stands in [0, 1, ANSWER_BYTES_MAX].map(bytes) {
        let declare = Box::new(Declare { key: key(), inquiry, from: B, declarations: stands });
        let done = store.apply(&Op::Declare(declare.clone()));
        assert_eq!(done.reply, Reply::Told);
        done.wakes(&[Wake { to: A, push: Push::Declared(declare) }]);
    }
    assert_eq!(store.keys(), 0);
}

fn a_tell_reaches_the_asker(store: &mut dyn Subject) {
    for free_in in [None, Some(Duration::from_micros(1)), Some(Duration::from_secs(3_600))] {
        let done = store.apply(&Op::Tell(Tell { key: key(), ask: id(B, 9), free_in }));
        assert_eq!(done.reply, Reply::Told);
        done.wakes(&[Wake { to: B, push: Push::Busy { key: key(), ask: id(B, 9), free_in } }]);
        assert_eq!(store.keys(), 0);
    }
}
