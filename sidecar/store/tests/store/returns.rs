//! Renewing, returning, withdrawing; duplicates and late messages of each.

use crate::cases;
use crate::subject::*;
use sidelock_engine::store::{Renew, Reply, Return, Withdraw};
use std::time::Duration;

pub(crate) const CASES: &[Case] = cases![
    a_renewal_extends,
    a_renewal_never_shortens,
    a_renewal_says_that_others_wait,
    a_renewal_creates_nothing,
    a_renewal_of_an_older_tenure_is_gone,
    a_renewal_after_expiry_is_gone,
    a_return_empties_the_record,
    a_return_can_keep_units,
    a_return_never_adds_units,
    a_return_twice_frees_nobody_else,
    a_late_return_does_not_touch_the_next_tenure,
    a_tombstone_keeps_a_late_ask_out,
    a_tombstone_is_forgotten_in_time,
    a_return_that_finds_nothing_still_leaves_its_tombstone,
    a_copy_that_came_after_its_tenure_ended_goes_with_the_return,
    a_tombstone_in_the_past_is_not_kept,
    a_tombstone_does_not_stop_newer_asks,
    a_withdrawn_entry_leaves_the_queue,
    a_withdrawn_offer_goes_to_the_next,
    a_withdrawn_grant_is_released,
    a_withdrawn_growth_keeps_what_leases_stand_on,
    a_withdrawal_of_another_ask_does_nothing,
    a_withdrawal_of_nothing_is_acknowledged,
    a_late_ask_after_a_withdrawal_is_stale,
];

fn renewed(done: &Done) -> (Duration, bool) {
    match done.reply {
        Reply::Renewed { remaining, contended, .. } => (remaining, contended),
        ref other => panic!("not renewed: {other:?}"),
    }
}

fn a_renewal_extends(store: &mut dyn Subject) {
    let mut short = ask(store, A, 1);
    short.ttl = BRIEF;
    let origin = store.ask(short).granted().origin;
    let done = store.renew(renewal(A, 1));
    assert_eq!(done.reply, Reply::Renewed { remaining: TTL, origin, range: None, contended: false });
    store.wait(AFTER_BRIEF);
    assert_eq!(renewed(&store.renew(renewal(A, 1))), (TTL, false));
}

fn a_renewal_never_shortens(store: &mut dyn Subject) {
    store.lock(A, 1);
    let (remaining, _) = renewed(&store.renew(Renew { ttl: SHORT, ..renewal(A, 1) }));
    assert!(remaining > TTL - Duration::from_secs(5));
}

fn a_renewal_says_that_others_wait(store: &mut dyn Subject) {
    store.share(A, 1);
    store.share(B, 1);
    assert!(!renewed(&store.renew(renewal(A, 1))).1);
    store.lock(B, 2);
    assert!(renewed(&store.renew(renewal(A, 1))).1);
    assert!(!renewed(&store.renew(renewal(B, 1))).1, "its own ask is not another's");
}

fn a_renewal_creates_nothing(store: &mut dyn Subject) {
    store.renew(renewal(A, 1)).quietly(Reply::Gone);
    assert_eq!(store.keys(), 0);
}

fn a_renewal_of_an_older_tenure_is_gone(store: &mut dyn Subject) {
    store.lock(A, 1);
    store.give(ret(A, 1));
    store.lock(A, 2).granted();
    store.renew(renewal(A, 1)).quietly(Reply::Gone);
    store.renew(renewal(A, 3)).quietly(Reply::Gone);
}

fn a_renewal_after_expiry_is_gone(store: &mut dyn Subject) {
    let mut short = ask(store, A, 1);
    short.ttl = SHORT;
    store.ask(short);
    store.wait(AFTER_SHORT);
    store.renew(renewal(A, 1)).quietly(Reply::Gone);
    assert_eq!(store.keys(), 0);
}

fn a_return_empties_the_record(store: &mut dyn Subject) {
    store.lock(A, 1);
    store.give(ret(A, 1)).quietly(Reply::Returned);
    assert_eq!(store.keys(), 0);
}

fn a_return_can_keep_units(store: &mut dyn Subject) {
    store.take(A, 1, 4, 4);
    store.take(B, 1, 3, 4).queued();
    store.give(Return { keep: 2, ..ret(A, 1) }).quietly(Reply::Returned);
    store.give(Return { keep: 1, ..ret(A, 1) }).wakes(&[offer(B, 1)]);
    assert_eq!(store.take(A, 1, 4, 4).granted().units, 1);
}

fn a_return_never_adds_units(store: &mut dyn Subject) {
    store.take(A, 1, 1, 4);
    store.give(Return { keep: 4, ..ret(A, 1) }).quietly(Reply::Returned);
    assert_eq!(store.take(A, 1, 1, 4).granted().units, 1);
}

fn a_return_twice_frees_nobody_else(store: &mut dyn Subject) {
    store.lock(A, 1);
    store.lock(B, 1);
    store.give(ret(A, 1)).wakes(&[offer(B, 1)]);
    store.give(ret(A, 1)).quietly(Reply::Gone);
    store.lock(B, 1).granted();
    store.give(ret(A, 1)).quietly(Reply::Gone);
    store.lock(C, 1).queued();
}

fn a_late_return_does_not_touch_the_next_tenure(store: &mut dyn Subject) {
    store.lock(A, 1);
    store.give(ret(A, 1));
    store.lock(A, 2).granted();
    store.give(ret(A, 1)).quietly(Reply::Gone);
    store.lock(B, 1).queued();
}

fn a_tombstone_keeps_a_late_ask_out(store: &mut dyn Subject) {
    store.lock(A, 3);
    let tombstone = Some(store.now() + TTL);
    store.give(Return { tombstone, ..ret(A, 3) }).quietly(Reply::Returned);
    store.lock(A, 3).quietly(Reply::Stale);
    store.lock(A, 2).quietly(Reply::Stale);
    assert_eq!(store.keys(), 1);
    store.lock(B, 1).granted();
}

fn a_tombstone_is_forgotten_in_time(store: &mut dyn Subject) {
    store.lock(A, 1);
    let tombstone = Some(store.now() + SHORT);
    store.give(Return { tombstone, ..ret(A, 1) });
    store.wait(AFTER_SHORT);
    store.lock(A, 1).granted();
    store.give(ret(A, 1));
    assert_eq!(store.keys(), 0);
}

fn a_return_that_finds_nothing_still_leaves_its_tombstone(store: &mut dyn Subject) {
    let tombstone = Some(store.now() + TTL);
    store.give(Return { tombstone, ..ret(A, 1) }).quietly(Reply::Gone);
    store.lock(A, 1).quietly(Reply::Stale);
}

fn a_copy_that_came_after_its_tenure_ended_goes_with_the_return(store: &mut dyn Subject) {
    let mut short = ask(store, A, 1);
    short.ttl = BRIEF;
    store.ask(short.clone()).granted();
    store.lock(B, 1).queued();
    store.wait(AFTER_BRIEF);
    // It takes the place behind B, which has the offer.
    store.ask(short).queued();
    store.lock(C, 1).queued();
    let tombstone = Some(store.now() + TTL);
    store.give(Return { tombstone, ..ret(A, 1) }).quietly(Reply::Gone);
    store.lock(B, 1).granted();
    store.give(ret(B, 1)).wakes(&[offer(C, 1)]);
    store.lock(C, 1).granted();
    // At the head it gives way at once.
    store.give(ret(C, 1));
    let mut short = ask(store, A, 2);
    short.ttl = SHORT;
    store.ask(short.clone()).granted();
    store.wait(AFTER_SHORT);
    store.lock(B, 2).granted();
    store.ask(short).queued();
    store.lock(C, 2).queued();
    store.give(ret(B, 2)).wakes(&[offer(A, 2)]);
    // Also where no other copy can come any more.
    let tombstone = Some(store.now());
    store.wait(Duration::from_millis(2));
    let done = store.give(Return { tombstone, ..ret(A, 2) });
    assert_eq!(done.reply, Reply::Gone);
    done.wakes(&[offer(C, 2)]);
}

fn a_tombstone_in_the_past_is_not_kept(store: &mut dyn Subject) {
    store.lock(A, 1);
    let tombstone = Some(store.now());
    store.wait(Duration::from_millis(2));
    store.give(Return { tombstone, ..ret(A, 1) }).quietly(Reply::Returned);
    assert_eq!(store.keys(), 0);
}

fn a_tombstone_does_not_stop_newer_asks(store: &mut dyn Subject) {
    store.lock(A, 1);
    let tombstone = Some(store.now() + TTL);
    store.give(Return { tombstone, ..ret(A, 1) });
    store.lock(A, 2).granted();
    store.give(Return { tombstone, ..ret(A, 2) });
    store.lock(A, 2).quietly(Reply::Stale);
    store.lock(A, 3).granted();
}

fn a_withdrawn_entry_leaves_the_queue(store: &mut dyn Subject) {
    store.lock(A, 1);
    store.lock(B, 1);
    store.lock(C, 1);
    store.withdraw(withdrawal(B, 1)).quietly(Reply::Withdrawn);
    assert_eq!(store.lock(C, 1).queued().ahead, 0);
    store.give(ret(A, 1)).wakes(&[offer(C, 1)]);
}

fn a_withdrawn_offer_goes_to_the_next(store: &mut dyn Subject) {
    store.lock(A, 1);
    store.lock(B, 1);
    store.lock(C, 1);
    store.give(ret(A, 1)).wakes(&[offer(B, 1)]);
    store.withdraw(withdrawal(B, 1)).wakes(&[offer(C, 1)]);
    store.lock(C, 1).granted();
}

fn a_withdrawn_grant_is_released(store: &mut dyn Subject) {
    store.lock(A, 1).granted();
    store.lock(B, 1);
    let done = store.withdraw(withdrawal(A, 1));
    assert_eq!(done.reply, Reply::Withdrawn);
    done.wakes(&[offer(B, 1)]);
}

fn a_withdrawn_growth_keeps_what_leases_stand_on(store: &mut dyn Subject) {
    store.take(A, 1, 1, 4);
    let grown = store.take(A, 2, 3, 4).granted();
    store.take(B, 1, 2, 4).queued();
    let done = store.withdraw(Withdraw { keep: 1, ..withdrawal(A, 2) });
    assert_eq!((done.granted().units, done.granted().range), (1, grown.range));
    done.wakes(&[offer(B, 1)]);
    assert!(matches!(store.renew(renewal(A, 2)).reply, Reply::Renewed { .. }));
}

fn a_withdrawal_of_another_ask_does_nothing(store: &mut dyn Subject) {
    store.lock(A, 2);
    store.lock(B, 2);
    store.withdraw(withdrawal(A, 1)).quietly(Reply::Withdrawn);
    store.withdraw(withdrawal(B, 1)).quietly(Reply::Withdrawn);
    store.lock(A, 2).granted();
    assert_eq!(store.lock(B, 2).queued().ahead, 0);
}

fn a_withdrawal_of_nothing_is_acknowledged(store: &mut dyn Subject) {
    store.withdraw(withdrawal(A, 1)).quietly(Reply::Withdrawn);
    assert_eq!(store.keys(), 0);
}

fn a_late_ask_after_a_withdrawal_is_stale(store: &mut dyn Subject) {
    let tombstone = Some(store.now() + TTL);
    store.withdraw(Withdraw { tombstone, ..withdrawal(A, 1) }).quietly(Reply::Withdrawn);
    store.lock(A, 1).quietly(Reply::Stale);
    store.lock(A, 2).granted();
}
