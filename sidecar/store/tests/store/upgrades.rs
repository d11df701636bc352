//! Upgrades: from a share to all of it without giving the share up (P16).

use crate::cases;
use crate::subject::*;
use sidelock_engine::WHOLE;
use sidelock_engine::store::{Ask, Reply};

pub(crate) const CASES: &[Case] = cases![
    an_upgrade_of_the_only_share_is_granted_at_once,
    an_upgrade_waits_for_the_other_shares_and_keeps_its_own,
    an_upgrade_goes_before_everybody_who_waits,
    an_upgrade_goes_before_an_offer_that_grows,
    a_second_upgrade_is_refused_and_changes_nothing,
    a_repeated_upgrade_keeps_its_place,
    an_upgrade_that_is_withdrawn_leaves_its_share,
    an_upgrade_without_a_share_waits_like_anybody,
    the_upgrade_of_the_dead_lapses,
    who_shrinks_lets_others_in_and_can_be_upgraded_again,
];

fn an_upgrade_of_the_only_share_is_granted_at_once(store: &mut dyn Subject) {
    let share = store.share(A, 1).granted();
    let done = store.upgrade(A, 2);
    assert_eq!(done.granted().units, WHOLE);
    assert!(done.granted().range.first > share.range.last, "above everything reserved before");
    done.wakes(&[]);
    store.give(ret(A, 1)).quietly(Reply::Gone);
}

fn an_upgrade_waits_for_the_other_shares_and_keeps_its_own(store: &mut dyn Subject) {
    store.share(A, 1).granted();
    store.share(B, 1).granted();
    let keeping = upgrade(store, A, 2);
    let waiting = store.ask(giving_back(keeping, 1, 1));
    assert_eq!((waiting.queued().ahead, waiting.queued().holder), (0, Some(B)));
    waiting.wakes(&[recall(B, A, 2)]);
    assert!(matches!(store.renew(renewal(A, 1)).reply, Reply::Renewed { .. }), "its share stands");
    store.share(C, 1).queued();
    store.give(ret(B, 1)).wakes(&[offer(A, 2)]);
    assert_eq!(store.upgrade(A, 2).granted().units, WHOLE);
    store.renew(renewal(A, 1)).quietly(Reply::Gone);
}

fn an_upgrade_goes_before_everybody_who_waits(store: &mut dyn Subject) {
    store.share(A, 1).granted();
    store.share(B, 1).granted();
    assert_eq!(store.lock(C, 1).queued().ahead, 0);
    assert_eq!(store.share(D, 1).queued().ahead, 1);
    assert_eq!(store.upgrade(A, 2).queued().ahead, 0);
    assert_eq!(store.lock(C, 1).queued().ahead, 1);
    store.give(ret(B, 1)).wakes(&[offer(A, 2)]);
    assert!(store.upgrade(A, 2).granted().contended);
    store.give(ret(A, 2)).wakes(&[offer(C, 1)]);
}

fn an_upgrade_goes_before_an_offer_that_grows(store: &mut dyn Subject) {
    store.share(A, 1).granted();
    store.lock(B, 1).queued();
    store.share(C, 1).queued();
    store.withdraw(withdrawal(B, 1)).wakes(&[offer(C, 1)]);
    assert_eq!(store.upgrade(A, 2).queued().holder, Some(C), "an offer counts");
    assert_eq!(store.lock(C, 1).queued().ahead, 1, "and is no offer any more, for it wants all");
    assert_eq!(store.upgrade(A, 2).granted().units, WHOLE);
}

fn a_second_upgrade_is_refused_and_changes_nothing(store: &mut dyn Subject) {
    store.share(A, 1).granted();
    store.share(B, 1).granted();
    store.upgrade(A, 2).queued();
    store.upgrade(B, 2).quietly(Reply::UpgradeConflict { upgrader: A });
    assert!(matches!(store.renew(renewal(B, 1)).reply, Reply::Renewed { contended: true, .. }));
    assert_eq!(store.lock(C, 1).queued().ahead, 1, "it is not in the queue");
    store.give(ret(B, 1)).wakes(&[offer(A, 2)]);
    store.upgrade(A, 2).granted();
}

fn a_repeated_upgrade_keeps_its_place(store: &mut dyn Subject) {
    store.share(A, 1).granted();
    store.share(B, 1).granted();
    store.lock(C, 1).queued();
    store.upgrade(A, 2).wakes(&[recall(B, A, 2)]);
    let again = store.upgrade(A, 2);
    assert_eq!(again.queued().ahead, 0);
    again.wakes(&[recall(B, A, 2)]);
    assert_eq!(store.lock(C, 1).queued().ahead, 1);
}

fn an_upgrade_that_is_withdrawn_leaves_its_share(store: &mut dyn Subject) {
    store.share(A, 1).granted();
    store.share(B, 1).granted();
    store.upgrade(A, 2).queued();
    store.withdraw(withdrawal(A, 2)).quietly(Reply::Withdrawn);
    assert!(matches!(store.renew(renewal(A, 1)).reply, Reply::Renewed { contended: false, .. }));
    store.upgrade(B, 2).queued();
}

fn an_upgrade_without_a_share_waits_like_anybody(store: &mut dyn Subject) {
    store.share(A, 1).granted();
    store.lock(B, 1).queued();
    assert_eq!(store.upgrade(C, 1).queued().ahead, 1);
    assert_eq!(store.upgrade(A, 2).granted().units, WHOLE, "and is in nobody's way");
}

fn the_upgrade_of_the_dead_lapses(store: &mut dyn Subject) {
    store.share(A, 1).granted();
    store.share(B, 1).granted();
    let brief = Ask { entry_ttl: BRIEF, ..upgrade(store, A, 2) };
    store.ask(brief).queued();
    store.upgrade(B, 2).quietly(Reply::UpgradeConflict { upgrader: A });
    store.wait(AFTER_BRIEF);
    store.upgrade(B, 3).queued();
}

fn who_shrinks_lets_others_in_and_can_be_upgraded_again(store: &mut dyn Subject) {
    store.lock(A, 1).granted();
    store.share(B, 1).queued();
    let shrunk = sidelock_engine::store::Return { keep: 1, ..ret(A, 1) };
    store.give(shrunk).wakes(&[offer(B, 1)]);
    store.share(B, 1).granted();
    assert!(matches!(store.renew(renewal(A, 1)).reply, Reply::Renewed { .. }), "the same tenure");
    store.upgrade(A, 2).queued();
    store.give(ret(B, 1)).wakes(&[offer(A, 2)]);
    store.upgrade(A, 2).granted();
}
