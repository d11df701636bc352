//! Since which fence a tenure stands without a break (D37): what its sidecar is told of, however its tenure changes.

use crate::cases;
use crate::subject::*;
use sidelock_engine::WHOLE;
use sidelock_engine::store::{Force, Order, REFUSE_AFTER, Renew, Reply, Return, Withdraw};

pub(crate) const CASES: &[Case] = cases![
    a_tenure_stands_since_its_first_fence,
    what_grows_or_shrinks_stands_since_the_same_fence,
    more_fences_change_nothing,
    who_stands_beside_others_has_an_origin_of_its_own,
    what_is_left_of_a_growth_stands_since_the_beginning,
    what_ended_is_followed_by_another_one,
];

/// What a renewal says.
#[track_caller]
fn renewed(done: &Done) -> u64 {
    match done.reply {
        Reply::Renewed { origin, .. } => origin,
        ref other => panic!("not renewed: {other:?}"),
    }
}

fn a_tenure_stands_since_its_first_fence(store: &mut dyn Subject) {
    let granted = store.lock(A, 1).granted();
    assert_eq!(granted.origin, granted.range.first);
    assert_eq!(store.lock(A, 1).granted().origin, granted.origin, "told again");
    assert_eq!(renewed(&store.renew(renewal(A, 1))), granted.origin);
}

fn what_grows_or_shrinks_stands_since_the_same_fence(store: &mut dyn Subject) {
    let origin = store.take(A, 1, 1, 6).granted().origin;
    for (seq, units) in [(2, 4), (3, 2), (4, 6)] {
        let granted = store.take(A, seq, units, 6).granted();
        assert!(granted.origin == origin && granted.range.first > origin, "{granted:?}");
    }
    store.give(Return { keep: 1, ..ret(A, 4) });
    assert_eq!(renewed(&store.renew(renewal(A, 4))), origin);
    assert_eq!(store.take(A, 4, 6, 6).granted().origin, origin, "told again");
}

fn more_fences_change_nothing(store: &mut dyn Subject) {
    let origin = store.lock(A, 1).granted().origin;
    for _ in 0..3 {
        assert_eq!(renewed(&store.renew(Renew { top_up: true, ..renewal(A, 1) })), origin);
        let granted = store.lock(A, 1).granted();
        assert!(granted.origin == origin && granted.range.first > origin, "{granted:?}");
        assert_eq!(renewed(&store.renew(renewal(A, 1))), origin);
    }
    store.give(ret(A, 1)).quietly(Reply::Returned);
    assert_eq!(store.keys(), 0, "nothing is left");
}

/// Whatever way the record is read and written: others wait, or have what was reserved between.
fn who_stands_beside_others_has_an_origin_of_its_own(store: &mut dyn Subject) {
    let first = store.share(A, 1).granted().origin;
    let second = store.share(B, 1).granted().origin;
    assert!(first < second);
    for queued in [0, 1, 2] {
        for (incarnation, origin) in [(A, first), (B, second)] {
            for top_up in [false, true, false] {
                assert_eq!(renewed(&store.renew(Renew { top_up, ..renewal(incarnation, 1) })), origin);
            }
        }
        let waiting = [C, D][queued.min(1)];
        assert_eq!(store.lock(waiting, 1).queued().ahead as usize, queued.min(1));
    }
    assert_eq!(store.share(A, 1).granted().origin, first);
    assert_eq!(store.share(B, 1).granted().origin, second);
}

fn what_is_left_of_a_growth_stands_since_the_beginning(store: &mut dyn Subject) {
    let origin = store.share(A, 1).granted().origin;
    assert_eq!(store.lock(A, 2).granted().units, WHOLE);
    let left = store.withdraw(Withdraw { keep: 1, ..withdrawal(A, 2) }).granted();
    assert_eq!((left.units, left.origin), (1, origin));
}

fn what_ended_is_followed_by_another_one(store: &mut dyn Subject) {
    let mut before = store.lock(A, 1).granted().origin;
    let mut later = |what: &str, origin: u64| {
        assert!(origin > before, "{what}");
        before = origin;
    };
    store.give(ret(A, 1));
    later("given back", store.lock(A, 2).granted().origin);
    let short = renewal(A, 2);
    store.renew(Renew { top_up: true, ..short });
    store.give(ret(A, 2));
    let brief = sidelock_engine::store::Ask { ttl: SHORT, ..ask(store, A, 3) };
    later("with more fences", store.ask(brief).granted().origin);
    store.wait(AFTER_SHORT);
    later("run out, and grown", store.lock(A, 4).granted().origin);
    store.flush();
    later("forgotten, and made again by a copy of its ask", store.lock(A, 4).granted().origin);
    let order = Order { by: 7, reason: "stuck".into() };
    let refuse_after = store.now() + REFUSE_AFTER;
    store.apply(&sidelock_engine::store::Op::Force(Force { key: key(), from: B, order, refuse_after }));
    store.give(ret(A, 4));
    later("taken", store.lock(A, 5).granted().origin);
}
