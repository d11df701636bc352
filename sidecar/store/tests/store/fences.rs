//! Fences (P1): unique and rising, also through the loss of everything.

use crate::cases;
use crate::subject::*;
use sidelock_engine::FenceRange;
use sidelock_engine::store::{FENCE_LEAD_MAX_US, FENCE_RANGE_MAX, Renew, Reply, Return};
use std::time::Duration;

pub(crate) const CASES: &[Case] = cases![
    a_fresh_record_reserves_one_fence_beyond_any_lost_range,
    a_top_up_reserves_a_range_above_the_last,
    a_range_never_runs_far_ahead_of_the_clock,
    fences_rise_through_a_flush,
    fences_stay_above_the_floor,
    unused_fences_come_back_with_the_topmost_range,
    unused_fences_stay_lost_below_a_later_range,
    a_withdrawal_gives_no_fences_back,
    expiry_gives_no_fences_back,
    a_tombstone_alone_is_no_memory_of_fences,
    a_give_back_returns_fences_too,
    fences_ahead_of_the_clock_are_remembered_of_a_free_key,
];

/// Tops up, and tells the new range.
fn top_up(store: &mut dyn Subject, seq: u64) -> (u64, FenceRange) {
    let done = store.renew(Renew { top_up: true, ..renewal(A, seq) });
    match done.reply {
        Reply::Renewed { range: Some(range), .. } => (done.at.0, range),
        other => panic!("no range: {other:?}"),
    }
}

fn a_fresh_record_reserves_one_fence_beyond_any_lost_range(store: &mut dyn Subject) {
    let done = store.lock(A, 1);
    let token = done.at.0 + FENCE_LEAD_MAX_US + 2;
    assert_eq!(done.granted().range, FenceRange { first: token, last: token });
}

fn a_top_up_reserves_a_range_above_the_last(store: &mut dyn Subject) {
    let fresh = store.lock(A, 1).granted().range;
    let (_, first) = top_up(store, 1);
    assert_eq!(first.first, fresh.last + 1);
    store.wait(AFTER_SHORT * 4);
    let (at, second) = top_up(store, 1);
    assert_eq!(second, FenceRange { first: at, last: at + FENCE_RANGE_MAX - 1 });
    assert_eq!(store.lock(A, 1).granted().range, second, "it replaces the old one");
}

fn a_range_never_runs_far_ahead_of_the_clock(store: &mut dyn Subject) {
    store.lock(A, 1);
    for _ in 0..60 {
        let (at, range) = top_up(store, 1);
        assert!(range.last <= range.first.max(at + FENCE_LEAD_MAX_US));
        assert!(range.last < range.first + FENCE_RANGE_MAX);
    }
}

fn fences_rise_through_a_flush(store: &mut dyn Subject) {
    store.lock(A, 1);
    let mut highest = 0;
    for seq in 2..6 {
        highest = highest.max(top_up(store, seq - 1).1.last);
        store.flush();
        let next = store.lock(A, seq).granted().range;
        assert!(next.first > highest);
        highest = next.last;
    }
}

fn fences_stay_above_the_floor(store: &mut dyn Subject) {
    let mut fresh = ask(store, A, 1);
    fresh.floor = store.now().0 + 5_000_000;
    assert_eq!(store.ask(fresh.clone()).granted().range.first, fresh.floor + 1);
    let floor = fresh.floor + 5_000_000;
    match store.renew(Renew { floor, top_up: true, ..renewal(A, 1) }).reply {
        Reply::Renewed { range: Some(range), .. } => {
            assert_eq!(range, FenceRange { first: floor + 1, last: floor + 1 });
        }
        other => panic!("no range: {other:?}"),
    }
}

fn unused_fences_come_back_with_the_topmost_range(store: &mut dyn Subject) {
    let mut far = ask(store, A, 1);
    far.floor = store.now().0 + 5_000_000;
    let a = store.ask(far).granted().range;
    store.lock(B, 1).queued();
    store.give(Return { issued: a.first, ..ret(A, 1) });
    assert_eq!(store.lock(B, 1).granted().range.first, a.first + 1);
    let b = store.lock(B, 1).granted().range;
    store.lock(C, 1).queued();
    store.give(Return { issued: 0, ..ret(B, 1) });
    assert_eq!(store.lock(C, 1).granted().range.first, b.first, "nothing of it was handed out");
}

fn unused_fences_stay_lost_below_a_later_range(store: &mut dyn Subject) {
    let mut far = permits(store, A, 1, 1, 4);
    far.floor = store.now().0 + 5_000_000;
    store.ask(far);
    let b = store.take(B, 1, 1, 4).granted().range;
    store.give(Return { issued: 0, ..ret(A, 1) });
    assert_eq!(store.take(C, 1, 1, 4).granted().range.first, b.last + 1);
}

fn a_withdrawal_gives_no_fences_back(store: &mut dyn Subject) {
    let mut far = ask(store, A, 1);
    far.floor = store.now().0 + 5_000_000;
    let a = store.ask(far).granted().range;
    store.lock(B, 1).queued();
    store.withdraw(withdrawal(A, 1));
    assert_eq!(store.lock(B, 1).granted().range.first, a.last + 1);
}

fn expiry_gives_no_fences_back(store: &mut dyn Subject) {
    let mut far = ask(store, A, 1);
    far.floor = store.now().0 + 5_000_000;
    far.ttl = BRIEF;
    let a = store.ask(far).granted().range;
    store.lock(B, 1).queued();
    store.wait(AFTER_BRIEF);
    assert_eq!(store.lock(B, 1).granted().range.first, a.last + 1);
}

fn a_tombstone_alone_is_no_memory_of_fences(store: &mut dyn Subject) {
    store.lock(A, 1);
    let (_, lost) = top_up(store, 1);
    store.flush();
    let tombstone = Some(store.now() + TTL);
    store.give(Return { tombstone, ..ret(A, 1) }).quietly(Reply::Gone);
    let done = store.lock(B, 1);
    assert_eq!(done.granted().range.first, done.at.0 + FENCE_LEAD_MAX_US + 2);
    assert!(done.granted().range.first > lost.last);
}

fn a_give_back_returns_fences_too(store: &mut dyn Subject) {
    let mut far = ask(store, A, 1);
    far.floor = store.now().0 + 5_000_000;
    let a = store.ask(far).granted().range;
    let again = ask(store, A, 2);
    assert_eq!(store.ask(giving_back(again, 1, 0)).granted().range.first, a.first);
}

/// Of two nodes of a cluster one has a clock that is ahead, or one clock went back: who has not heard of that names no floor.
fn fences_ahead_of_the_clock_are_remembered_of_a_free_key(store: &mut dyn Subject) {
    let mut ahead = ask(store, A, 1);
    ahead.floor = store.now().0 + 5_000_000;
    let told = store.ask(ahead).granted().range;
    store.give(ret(A, 1));
    assert_eq!(store.keys(), 1);
    assert!(store.lock(B, 1).granted().range.first > told.last);
    store.give(ret(B, 1));
    // No longer than it takes the clock to be where they are.
    store.flush();
    let mut brief = ask(store, A, 1);
    brief.floor = store.now().0 + FENCE_LEAD_MAX_US * 2;
    store.ask(brief);
    store.wait(Duration::from_micros(FENCE_LEAD_MAX_US));
    store.give(ret(A, 1));
    assert_eq!(store.keys(), 0);
}
