//! Forced unlocks: what is taken, what stays, and who is told.

use crate::cases;
use crate::subject::*;
use sidelock_engine::Incarnation;
use sidelock_engine::store::{
    Force, Op, Order, Push, REFUSE_AFTER, Renew, Reply, Return, Taken, Wake, Withdraw,
};
use std::time::Duration;

pub(crate) const CASES: &[Case] = cases![
    a_force_takes_every_tenure_and_tells_the_others,
    a_force_of_a_free_key_takes_nothing,
    the_next_fence_is_above_all_that_was_reserved,
    the_queue_goes_on_without_the_offers,
    whoever_was_forced_hears_so_until_it_shows_that_it_knows,
    an_ask_is_not_looked_at_before_the_victim_knows,
    a_late_copy_of_a_forced_ask_is_stale,
    a_growth_that_was_taken_takes_what_it_grew_from,
    a_partial_return_is_no_proof_that_the_victim_knows,
    a_withdrawal_of_what_was_taken_is_proof,
    what_was_taken_is_forgotten_with_its_deadline,
    a_late_force_takes_nothing,
];

const REASON: &str = "stuck since noon, «ticket» 7";

fn order() -> Order {
    Order { by: 1000, reason: REASON.into() }
}

fn force(store: &mut dyn Subject, from: Incarnation) -> Done {
    let refuse_after = store.now() + REFUSE_AFTER;
    store.apply(&Op::Force(Force { key: key(), from, order: order(), refuse_after }))
}

fn taken(done: &Done) -> &[Taken] {
    match &done.reply {
        Reply::Unlocked(taken) => taken,
        other => panic!("not unlocked: {other:?}"),
    }
}

fn forced(seq: u64) -> Reply {
    Reply::Forced { seq, order: order() }
}

fn told(to: Incarnation, seq: u64) -> Wake {
    Wake { to, push: Push::Forced { key: key(), tenure: id(to, seq) } }
}

fn a_force_takes_every_tenure_and_tells_the_others(store: &mut dyn Subject) {
    store.take(A, 1, 1, 4);
    store.take(B, 2, 2, 4);
    let done = force(store, A);
    let [a, b] = taken(&done) else { panic!("{done:?}") };
    assert_eq!([(a.id, a.units), (b.id, b.units)], [(id(A, 1), 1), (id(B, 2), 2)]);
    assert!(a.remaining <= TTL && a.remaining > TTL / 2, "{a:?}");
    done.wakes(&[told(B, 2)]);
    assert_eq!(store.take(C, 1, 4, 4).granted().units, 4);
}

fn a_force_of_a_free_key_takes_nothing(store: &mut dyn Subject) {
    force(store, A).quietly(Reply::Unlocked(Vec::new()));
    assert_eq!(store.keys(), 0);
}

fn the_next_fence_is_above_all_that_was_reserved(store: &mut dyn Subject) {
    store.lock(A, 1);
    let Reply::Renewed { range: Some(reserved), .. } =
        store.renew(Renew { top_up: true, ..renewal(A, 1) }).reply
    else {
        panic!("no fences");
    };
    force(store, B);
    assert!(store.lock(C, 1).granted().range.first > reserved.last);
}

fn the_queue_goes_on_without_the_offers(store: &mut dyn Subject) {
    store.lock(A, 1);
    store.lock(B, 1);
    store.lock(C, 1);
    store.give(ret(A, 1)).wakes(&[offer(B, 1)]);
    force(store, D).wakes(&[offer(C, 1)]);
    assert_eq!(store.lock(B, 1).queued().ahead, 1);
    store.lock(C, 1).granted();
    // Whoever waits behind a tenure that is taken is offered it in the same step.
    force(store, D).wakes(&[told(C, 1), offer(B, 1)]);
    store.lock(B, 1).granted();
}

fn whoever_was_forced_hears_so_until_it_shows_that_it_knows(store: &mut dyn Subject) {
    store.lock(A, 1);
    force(store, B);
    store.renew(renewal(A, 1)).quietly(forced(1));
    store.renew(renewal(A, 1)).quietly(forced(1));
    store.give(ret(A, 1)).quietly(forced(1));
    store.give(ret(A, 1)).quietly(Reply::Gone);
    store.renew(renewal(A, 1)).quietly(Reply::Gone);
    store.lock(A, 2).granted();
}

fn an_ask_is_not_looked_at_before_the_victim_knows(store: &mut dyn Subject) {
    store.take(A, 1, 2, 4);
    force(store, B);
    store.take(A, 2, 3, 4).quietly(forced(1));
    let holding_on = permits(store, A, 2, 3, 4);
    store.ask(giving_back(holding_on.clone(), 1, 1)).quietly(forced(1));
    store.ask(giving_back(holding_on, 1, 0)).granted();
}

fn a_late_copy_of_a_forced_ask_is_stale(store: &mut dyn Subject) {
    store.lock(A, 3);
    force(store, B);
    store.lock(A, 3).quietly(forced(3));
    store.give(ret(A, 3));
    store.lock(A, 3).quietly(Reply::Stale);
    store.lock(A, 4).granted();
}

fn a_growth_that_was_taken_takes_what_it_grew_from(store: &mut dyn Subject) {
    store.take(A, 1, 1, 4);
    store.take(A, 2, 3, 4).granted();
    force(store, B);
    // The sidecar has not heard of its growth: it speaks of the tenure that it knows.
    store.renew(renewal(A, 1)).quietly(forced(2));
    store.give(ret(A, 1)).quietly(forced(2));
    store.give(ret(A, 2)).quietly(forced(2));
    store.give(ret(A, 2)).quietly(Reply::Gone);
}

fn a_partial_return_is_no_proof_that_the_victim_knows(store: &mut dyn Subject) {
    store.take(A, 1, 3, 4);
    force(store, B);
    store.give(Return { keep: 1, ..ret(A, 1) }).quietly(forced(1));
    store.renew(renewal(A, 1)).quietly(forced(1));
}

fn a_withdrawal_of_what_was_taken_is_proof(store: &mut dyn Subject) {
    store.take(A, 1, 1, 4);
    store.take(A, 2, 3, 4);
    force(store, B);
    store.withdraw(Withdraw { keep: 1, ..withdrawal(A, 2) }).quietly(forced(2));
    store.withdraw(withdrawal(A, 2)).quietly(Reply::Withdrawn);
    store.take(A, 3, 1, 4).granted();
}

fn what_was_taken_is_forgotten_with_its_deadline(store: &mut dyn Subject) {
    let mut short = ask(store, A, 1);
    short.ttl = BRIEF;
    store.ask(short);
    assert_eq!(taken(&force(store, B)).len(), 1, "it was there to be taken");
    store.wait(AFTER_BRIEF);
    store.renew(renewal(A, 1)).quietly(Reply::Gone);
    store.lock(A, 2).granted();
}

fn a_late_force_takes_nothing(store: &mut dyn Subject) {
    store.lock(A, 1);
    let refuse_after = store.now();
    store.wait(Duration::from_millis(2));
    let late = Force { key: key(), from: B, order: order(), refuse_after };
    store.apply(&Op::Force(late)).quietly(Reply::TooLate);
    store.lock(B, 1).queued();
}
