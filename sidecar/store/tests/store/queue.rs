//! The queue: order, offers, no bypass, expiry.

use crate::cases;
use crate::subject::*;
use sidelock_engine::WHOLE;
use sidelock_engine::store::{Ask, OFFER_TTL, Reply};
use std::time::Duration;

pub(crate) const CASES: &[Case] = cases![
    the_second_waits_and_the_first_is_recalled,
    the_queue_is_first_come_first_served,
    a_holder_is_recalled_by_who_enters_and_by_the_head,
    a_new_ask_of_the_same_sidecar_goes_to_the_tail,
    an_offer_that_is_not_taken_lapses,
    units_that_are_free_wait_for_the_head,
    readers_do_not_pass_a_writer,
    as_many_are_offered_as_fit,
    an_offer_is_kept_for_its_sidecar,
    an_offer_that_grew_beyond_what_is_free_waits_in_its_place,
    units_given_back_with_an_ask_serve_the_queue_first,
    a_give_back_of_another_tenure_does_nothing,
    giving_back_everything_with_an_ask_passes_the_turn,
    an_expired_tenure_makes_room,
    an_expired_entry_makes_room,
    a_re_ask_keeps_an_entry_alive,
    a_re_ask_can_want_other_units,
    retry_is_the_first_deadline_in_the_way,
];

fn the_second_waits_and_the_first_is_recalled(store: &mut dyn Subject) {
    let holder = store.lock(A, 1);
    let waiter = store.lock(B, 1);
    let queued = waiter.queued();
    assert_eq!((queued.ahead, queued.holder), (0, Some(A)));
    assert_eq!(queued.retry, TTL - Duration::from_micros(waiter.at.0 - holder.at.0));
    waiter.wakes(&[recall(A, B, 1)]);
    assert!(store.lock(A, 1).granted().contended);
}

fn the_queue_is_first_come_first_served(store: &mut dyn Subject) {
    let a = store.lock(A, 1).granted();
    for (ahead, waiter) in [B, C, D].into_iter().enumerate() {
        assert_eq!(store.lock(waiter, 1).queued().ahead as usize, ahead);
    }
    store.give(ret(A, 1)).wakes(&[offer(B, 1)]);
    assert_eq!(store.lock(C, 1).queued().ahead, 1, "an offer is still ahead");
    let b = store.lock(B, 1).granted();
    assert!(b.range.first > a.range.last && b.contended);
    store.give(ret(B, 1)).wakes(&[offer(C, 1)]);
    let c = store.lock(C, 1).granted();
    store.give(ret(C, 1)).wakes(&[offer(D, 1)]);
    let d = store.lock(D, 1).granted();
    assert!(c.range.first > b.range.last && d.range.first > c.range.last && !d.contended);
}

fn a_holder_is_recalled_by_who_enters_and_by_the_head(store: &mut dyn Subject) {
    store.lock(A, 1);
    store.lock(B, 1).wakes(&[recall(A, B, 1)]);
    store.lock(C, 1).wakes(&[recall(A, C, 1)]);
    store.lock(B, 1).wakes(&[recall(A, B, 1)]);
    store.lock(C, 1).wakes(&[]);
}

fn a_new_ask_of_the_same_sidecar_goes_to_the_tail(store: &mut dyn Subject) {
    store.lock(A, 1);
    store.lock(B, 1);
    store.lock(C, 1);
    assert_eq!(store.lock(B, 2).queued().ahead, 1);
    store.give(ret(A, 1)).wakes(&[offer(C, 1)]);
}

fn an_offer_that_is_not_taken_lapses(store: &mut dyn Subject) {
    store.lock(A, 1);
    store.lock(B, 1);
    store.lock(C, 1);
    store.give(ret(A, 1)).wakes(&[offer(B, 1)]);
    // Its place outlasts the offer by far.
    let patient = Ask { entry_ttl: TTL, ..ask(store, C, 1) };
    let waiting = store.ask(patient).queued();
    assert!(waiting.retry <= OFFER_TTL && waiting.holder == Some(B));
    store.wait(waiting.retry + Duration::from_millis(5));
    store.renew(renewal(D, 1)).wakes(&[offer(C, 1)]);
    store.lock(C, 1).granted();
    assert_eq!(store.lock(B, 1).queued().ahead, 0, "its place is gone, it enters anew");
}

fn units_that_are_free_wait_for_the_head(store: &mut dyn Subject) {
    store.take(A, 1, 3, 4).granted();
    store.take(B, 1, 2, 4).queued();
    assert_eq!(store.take(C, 1, 1, 4).queued().ahead, 1);
    store.withdraw(withdrawal(B, 1)).wakes(&[offer(C, 1)]);
    store.take(C, 1, 1, 4).granted();
}

fn readers_do_not_pass_a_writer(store: &mut dyn Subject) {
    store.share(A, 1).granted();
    store.share(B, 1).granted();
    store.lock(C, 1).wakes(&[recall(A, C, 1), recall(B, C, 1)]);
    store.share(D, 1).queued();
    store.give(ret(A, 1)).quietly(Reply::Returned);
    store.give(ret(B, 1)).wakes(&[offer(C, 1)]);
    store.lock(C, 1).granted();
    store.give(ret(C, 1)).wakes(&[offer(D, 1)]);
    store.share(D, 1).granted();
    store.share(A, 2).granted();
}

fn as_many_are_offered_as_fit(store: &mut dyn Subject) {
    store.take(A, 1, 4, 4).granted();
    store.take(B, 1, 1, 4);
    store.take(C, 1, 2, 4);
    store.take(D, 1, 3, 4);
    store.give(ret(A, 1)).wakes(&[offer(B, 1), offer(C, 1)]);
    store.take(C, 1, 2, 4).granted();
    assert_eq!(store.take(D, 1, 3, 4).queued().ahead, 1);
    store.take(B, 1, 1, 4).granted();
    store.give(ret(C, 1)).wakes(&[offer(D, 1)]);
}

fn an_offer_is_kept_for_its_sidecar(store: &mut dyn Subject) {
    store.take(A, 1, 4, 4);
    store.take(B, 1, 3, 4);
    store.give(ret(A, 1)).wakes(&[offer(B, 1)]);
    store.take(C, 1, 2, 4).queued();
    store.take(D, 1, 1, 4).queued();
    store.take(B, 1, 3, 4).granted();
}

fn an_offer_that_grew_beyond_what_is_free_waits_in_its_place(store: &mut dyn Subject) {
    store.take(A, 1, 2, 4);
    store.take(B, 1, 2, 4);
    store.take(C, 1, 2, 4).queued();
    store.take(D, 1, 1, 4).queued();
    store.give(ret(A, 1)).wakes(&[offer(C, 1)]);
    assert_eq!(store.take(C, 1, 3, 4).queued().ahead, 0);
    assert_eq!(store.take(D, 1, 1, 4).queued().ahead, 1, "and nobody passes it");
    store.give(ret(B, 1)).wakes(&[offer(C, 1), offer(D, 1)]);
    assert_eq!(store.take(C, 1, 3, 4).granted().units, 3);
}

fn units_given_back_with_an_ask_serve_the_queue_first(store: &mut dyn Subject) {
    store.take(A, 1, 2, 4);
    store.take(B, 1, 2, 4);
    let wants_all = permits(store, A, 2, 4, 4);
    store.ask(giving_back(wants_all, 1, 0)).wakes(&[recall(B, A, 2)]);
    let wants_all = permits(store, B, 2, 4, 4);
    let done = store.ask(giving_back(wants_all, 1, 0));
    assert_eq!((done.queued().ahead, done.queued().holder), (1, Some(A)));
    done.wakes(&[offer(A, 2)]);
    assert_eq!(store.take(A, 2, 4, 4).granted().units, 4);
}

fn a_give_back_of_another_tenure_does_nothing(store: &mut dyn Subject) {
    store.take(A, 2, 2, 4);
    store.take(B, 1, 2, 4);
    let more = permits(store, A, 3, 3, 4);
    store.ask(giving_back(more, 1, 0)).queued();
    store.take(C, 1, 2, 4).queued();
    assert!(matches!(store.renew(renewal(A, 2)).reply, Reply::Renewed { .. }));
}

fn giving_back_everything_with_an_ask_passes_the_turn(store: &mut dyn Subject) {
    store.lock(A, 1);
    store.lock(B, 1);
    let again = ask(store, A, 2);
    let done = store.ask(giving_back(again, 1, 0));
    done.wakes(&[offer(B, 1)]);
    assert_eq!((done.queued().ahead, done.queued().holder), (1, Some(B)));
    store.lock(B, 1).granted();
}

fn an_expired_tenure_makes_room(store: &mut dyn Subject) {
    let mut short = ask(store, A, 1);
    short.ttl = BRIEF;
    let a = store.ask(short).granted();
    store.lock(B, 1).queued();
    store.wait(AFTER_BRIEF);
    let b = store.lock(B, 1);
    assert!(b.granted().range.first > a.range.last);
    b.wakes(&[]);
    store.renew(renewal(A, 1)).quietly(Reply::Gone);
    store.give(ret(A, 1)).quietly(Reply::Gone);
}

fn an_expired_entry_makes_room(store: &mut dyn Subject) {
    store.lock(A, 1);
    let mut brief = ask(store, B, 1);
    brief.entry_ttl = BRIEF;
    store.ask(brief).queued();
    assert_eq!(store.lock(C, 1).queued().ahead, 1, "it is there yet");
    store.wait(AFTER_BRIEF);
    assert_eq!(store.lock(C, 1).queued().ahead, 0);
    store.give(ret(A, 1)).wakes(&[offer(C, 1)]);
}

fn a_re_ask_keeps_an_entry_alive(store: &mut dyn Subject) {
    store.lock(A, 1);
    let mut brief = ask(store, B, 1);
    brief.entry_ttl = BRIEF;
    store.ask(brief).queued();
    store.lock(C, 1).queued();
    assert_eq!(store.lock(B, 1).queued().ahead, 0, "one that had lapsed would enter anew, behind C");
    store.wait(AFTER_BRIEF);
    assert_eq!(store.lock(C, 1).queued().ahead, 1);
}

fn a_re_ask_can_want_other_units(store: &mut dyn Subject) {
    store.take(A, 1, 4, 4);
    store.take(B, 1, 1, 4);
    store.take(C, 1, 1, 4);
    assert_eq!(store.take(C, 1, 4, 4).queued().ahead, 1);
    store.give(ret(A, 1)).wakes(&[offer(B, 1)]);
    store.give(ret(B, 1)).quietly(Reply::Gone);
    store.withdraw(withdrawal(B, 1)).wakes(&[offer(C, 1)]);
    assert_eq!(store.take(C, 1, 4, 4).granted().units, 4);
}

fn retry_is_the_first_deadline_in_the_way(store: &mut dyn Subject) {
    store.share(A, 1);
    let mut shorter = permits(store, B, 1, 1, WHOLE);
    shorter.ttl = TTL / 2;
    let first = store.ask(shorter);
    let waiter = store.lock(C, 1);
    assert_eq!(waiter.queued().retry, TTL / 2 - Duration::from_micros(waiter.at.0 - first.at.0));
    assert_eq!(waiter.queued().holder, Some(A));
}
