//! What a strict store does besides (P20): it notices that its data may be gone, grants nothing for a while, and takes live tenures
//! back.

use crate::cases;
use crate::subject::*;
use sidelock_engine::store::{Op, Order, REFUSE_AFTER, Reassert, Renew, Reply, Return};
use sidelock_engine::{FenceRange, StoreTime, WHOLE};
use sidelock_store::strict::Terms;
use std::time::Duration;

/// Short enough to wait for, long enough that on a busy machine nothing runs out that a case extends.
pub(crate) const TERMS: Terms =
    Terms { longest: Duration::from_millis(800), isolation: Duration::from_millis(100) };

/// A strict store under test, with [`TERMS`].
pub(crate) trait StrictSubject: Subject {
    /// Everything is gone.
    fn lose(&mut self);
    /// A replica with the same data takes the primary's place.
    fn promote(&mut self);
}

impl StrictSubject for MemorySubject {
    fn lose(&mut self) {
        self.store.flush();
    }

    fn promote(&mut self) {
        // Another id than that of all before.
        let now = self.now();
        self.store.replicate(now.0);
    }
}

/// In so many steps a quarantine is outlasted, so that each may be late by most of what a tenure lives.
const EIGHTHS: u32 = 8;

type StrictCase = (&'static str, fn(&mut dyn StrictSubject));

pub(crate) const CASES: &[StrictCase] = cases![
    nothing_is_granted_before_the_first_quarantine_is_over,
    a_loss_and_a_promotion_begin_another_one,
    who_asks_in_a_quarantine_has_a_place,
    what_became_free_in_a_quarantine_is_offered_by_the_first_who_comes_after_it,
    nothing_is_extended_while_an_isolated_primary_may_grant,
    a_tenure_that_is_still_there_is_renewed_without_fences,
    a_tenure_that_was_forgotten_is_put_back,
    what_was_reserved_before_gives_way_to_what_was_reserved_after,
    shares_stand_beside_each_other_in_any_order,
    what_is_over_is_not_put_back,
    what_was_taken_by_force_is_not_put_back,
    nobody_asks_for_more_than_the_longest,
];

/// Runs every case on a store that has lost everything.
pub(crate) fn run(store: &mut dyn StrictSubject) {
    for (name, case) in CASES {
        println!("{name}");
        store.lose();
        case(store);
    }
}

impl dyn StrictSubject + '_ {
    fn plain(&mut self) -> &mut dyn Subject {
        self
    }

    /// Past the quarantine.
    fn settle(&mut self) {
        self.plain().lock(D, 999);
        self.wait(TERMS.quarantine());
        self.plain().withdraw(withdrawal(D, 999));
    }

    /// The rest of a quarantine of which isolation is over passes, and this lock is extended all the time.
    fn outlast_with(&mut self, holder: sidelock_engine::Incarnation) {
        self.outlast(holder, EIGHTHS - 1);
    }

    /// The same in eighths, the lock extended after so many of them.
    fn outlast(&mut self, holder: sidelock_engine::Incarnation, extended: u32) {
        let eighth = (TERMS.quarantine() - TERMS.isolation) / EIGHTHS;
        for passed in 1..=EIGHTHS {
            self.wait(eighth);
            if passed <= extended {
                renewed(&self.plain().renew(renewal(holder, 1)));
            }
        }
    }

    fn reassert(&mut self, reassert: Reassert) -> Done {
        self.apply(&Op::Reassert(reassert))
    }
}

/// All of a lock, with these fences.
fn reassertion(
    store: &mut dyn StrictSubject,
    incarnation: sidelock_engine::Incarnation,
    seq: u64,
    range: FenceRange,
) -> Reassert {
    let refuse_after = store.now() + REFUSE_AFTER;
    Reassert {
        key: key(),
        tenure: id(incarnation, seq),
        units: WHOLE,
        limit: WHOLE,
        origin: ORIGIN,
        range,
        ttl: TTL,
        refuse_after,
    }
}

/// Since then it stands, whoever it is.
const ORIGIN: u64 = 50;
const OLD: FenceRange = FenceRange { first: 100, last: 199 };
const NEW: FenceRange = FenceRange { first: 200, last: 299 };

#[track_caller]
fn left(done: &Done) -> (u32, Duration) {
    assert!(done.wakes.is_empty(), "{done:?}");
    match done.reply {
        Reply::Quarantined { ahead, left } => (ahead, left),
        ref other => panic!("granted something: {other:?}"),
    }
}

#[track_caller]
fn renewed(done: &Done) -> Option<FenceRange> {
    match done.reply {
        Reply::Renewed { range, remaining, origin, .. } => {
            assert!(origin > 0);
            assert!(remaining > TERMS.longest - Duration::from_millis(5) && remaining <= TERMS.longest);
            range
        }
        ref other => panic!("not renewed: {other:?}"),
    }
}

fn nothing_is_granted_before_the_first_quarantine_is_over(store: &mut dyn StrictSubject) {
    let (ahead, left) = left(&store.plain().lock(A, 1));
    assert_eq!((ahead, left), (0, TERMS.quarantine()));
    store.wait(left);
    store.plain().lock(A, 1).granted();
}

fn a_loss_and_a_promotion_begin_another_one(store: &mut dyn StrictSubject) {
    store.settle();
    store.plain().lock(A, 1).granted();
    store.promote();
    assert_eq!(left(&store.plain().lock(B, 1)).1, TERMS.quarantine());
    store.wait(TERMS.quarantine());
    store.plain().lock(B, 1).granted();
    store.lose();
    assert_eq!(left(&store.plain().lock(C, 1)).1, TERMS.quarantine());
}

fn who_asks_in_a_quarantine_has_a_place(store: &mut dyn StrictSubject) {
    store.settle();
    store.plain().lock(A, 1).granted();
    store.plain().lock(B, 1).queued();
    store.promote();
    // What becomes free is offered to nobody: they could not take it up.
    store.plain().give(ret(A, 1)).quietly(Reply::Returned);
    assert_eq!(left(&store.plain().lock(C, 1)).0, 1);
    assert_eq!(left(&store.plain().lock(B, 1)).0, 0);
    store.wait(TERMS.quarantine());
    let behind = store.plain().lock(C, 1);
    assert_eq!(behind.queued().ahead, 1);
    behind.wakes(&[offer(B, 1)]);
    store.plain().lock(B, 1).granted();
}

fn what_became_free_in_a_quarantine_is_offered_by_the_first_who_comes_after_it(
    store: &mut dyn StrictSubject,
) {
    store.settle();
    let some = |store: &mut dyn StrictSubject, incarnation, units| {
        let ask = permits(store.plain(), incarnation, 1, units, 4);
        store.plain().ask(ask)
    };
    some(store, A, 2).granted();
    some(store, B, 2).granted();
    some(store, C, 2).queued();
    some(store, D, 4).queued();
    store.promote();
    store.plain().give(ret(B, 1)).quietly(Reply::Returned);
    store.wait(TERMS.isolation);
    renewed(&store.plain().renew(renewal(A, 1)));
    // None of A's extensions may be the first who comes: the last one is half-way, and lives beyond the end.
    store.outlast(A, EIGHTHS / 2);
    // Only its place is refreshed, behind a head that fits.
    let behind = some(store, D, 4);
    assert_eq!(behind.queued().ahead, 1);
    behind.wakes(&[offer(C, 1), recall(A, D, 1)]);
    some(store, C, 2).granted();
}

fn nothing_is_extended_while_an_isolated_primary_may_grant(store: &mut dyn StrictSubject) {
    store.settle();
    store.plain().lock(A, 1).granted();
    store.promote();
    assert_eq!(left(&store.plain().renew(renewal(A, 1))), (0, TERMS.isolation));
    // In a quarantine of its own, which it begins: what comes second in one might come after isolation.
    store.promote();
    let put_back = reassertion(store, A, 1, NEW);
    assert_eq!(left(&store.reassert(put_back)), (0, TERMS.isolation));
    store.wait(TERMS.isolation);
    renewed(&store.plain().renew(renewal(A, 1)));
}

fn a_tenure_that_is_still_there_is_renewed_without_fences(store: &mut dyn StrictSubject) {
    store.settle();
    let range = store.plain().lock(A, 1).granted().range;
    store.promote();
    store.plain().lock(B, 1);
    store.wait(TERMS.isolation);
    // Nor does it hear that others wait, who would get nothing.
    let top_up = Renew { top_up: true, ..renewal(A, 1) };
    let done = store.plain().renew(top_up.clone());
    assert_eq!(renewed(&done), None);
    assert!(matches!(done.reply, Reply::Renewed { contended: false, .. }));
    store.outlast_with(A);
    let more = renewed(&store.plain().renew(top_up)).expect("as ever");
    assert!(more.first > range.last);
    store.plain().lock(B, 1).queued();
}

fn a_tenure_that_was_forgotten_is_put_back(store: &mut dyn StrictSubject) {
    store.settle();
    store.lose();
    store.plain().lock(B, 1);
    store.wait(TERMS.isolation);
    store.plain().renew(renewal(A, 1)).quietly(Reply::Forgotten);
    // Something of it goes back: that ends nothing.
    store.plain().give(Return { keep: 1, ..ret(A, 1) }).quietly(Reply::Forgotten);
    let put_back = reassertion(store, A, 1, NEW);
    assert_eq!(renewed(&store.reassert(put_back.clone())), None);
    assert_eq!(renewed(&store.reassert(put_back.clone())), None, "as often as it is said");
    store.outlast_with(A);
    store.plain().lock(B, 1).queued();
    // The quarantine is over: it is a renewal where it stands, and nothing where it does not.
    renewed(&store.reassert(put_back.clone()));
    store.plain().give(ret(A, 1));
    assert_eq!(store.reassert(put_back).reply, Reply::Gone);
    assert_eq!(store.plain().renew(renewal(A, 1)).reply, Reply::Gone);
    assert!(store.plain().lock(B, 1).granted().range.first > NEW.last);
}

/// In a quarantine in which renewals are taken.
fn begin(store: &mut dyn StrictSubject) {
    store.plain().lock(D, 1);
    store.plain().withdraw(withdrawal(D, 1));
    store.wait(TERMS.isolation);
}

fn what_was_reserved_before_gives_way_to_what_was_reserved_after(store: &mut dyn StrictSubject) {
    begin(store);
    let (old, new) = (reassertion(store, A, 1, OLD), reassertion(store, B, 1, NEW));
    renewed(&store.reassert(old.clone()));
    renewed(&store.reassert(new));
    store.reassert(old).quietly(Reply::Gone);
    renewed(&store.plain().renew(renewal(B, 1)));
    store.plain().renew(renewal(A, 1)).quietly(Reply::Forgotten);
}

fn shares_stand_beside_each_other_in_any_order(store: &mut dyn StrictSubject) {
    begin(store);
    let share = |store: &mut dyn StrictSubject, incarnation, range| Reassert {
        units: 1,
        ..reassertion(store, incarnation, 1, range)
    };
    let (new, old) = (share(store, A, NEW), share(store, B, OLD));
    renewed(&store.reassert(new));
    renewed(&store.reassert(old));
    renewed(&store.plain().renew(renewal(A, 1)));
    let other_limit = Reassert { limit: 4, ..share(store, C, OLD) };
    store.reassert(other_limit).quietly(Reply::Gone);
}

fn what_is_over_is_not_put_back(store: &mut dyn StrictSubject) {
    begin(store);
    let tombstone = Some(store.now() + REFUSE_AFTER);
    store.plain().give(Return { tombstone, ..ret(A, 2) });
    let over = reassertion(store, A, 2, NEW);
    store.reassert(over).quietly(Reply::Gone);
    store.plain().renew(renewal(A, 2)).quietly(Reply::Gone);
    let late = Reassert { refuse_after: StoreTime(1), ..reassertion(store, B, 1, NEW) };
    store.reassert(late).quietly(Reply::TooLate);
    // It grew meanwhile, and the older name is of no use.
    let (older, newer) = (reassertion(store, B, 1, OLD), reassertion(store, B, 2, NEW));
    renewed(&store.reassert(older.clone()));
    renewed(&store.reassert(newer));
    store.reassert(older).quietly(Reply::Gone);
    store.plain().renew(renewal(B, 1)).quietly(Reply::Gone);
}

fn what_was_taken_by_force_is_not_put_back(store: &mut dyn StrictSubject) {
    store.settle();
    store.plain().lock(A, 1).granted();
    store.promote();
    let order = Order { by: 7, reason: "stuck".into() };
    let refuse_after = store.now() + REFUSE_AFTER;
    let force = sidelock_engine::store::Force { key: key(), from: B, order: order.clone(), refuse_after };
    store.apply(&Op::Force(force));
    store.wait(TERMS.isolation);
    let put_back = reassertion(store, A, 1, NEW);
    store.reassert(put_back).quietly(Reply::Forced { seq: 1, order: order.clone() });
    store.plain().renew(renewal(A, 1)).quietly(Reply::Forced { seq: 1, order });
}

fn nobody_asks_for_more_than_the_longest(store: &mut dyn StrictSubject) {
    store.settle();
    let remaining = store.plain().lock(A, 1).granted().remaining;
    assert!(remaining <= TERMS.longest && remaining > TERMS.longest - Duration::from_millis(5));
    renewed(&store.plain().renew(renewal(A, 1)));
}
