//! Two versions on one Redis, as while a fleet is updated (H27): each sidecar brings its own script, and what they share is records
//! and messages.
//!
//! `versions/` keeps the whole script of each version that was in use, as it was. Random operations are run by one of those or by the
//! script of today, in turn and at the very instants at which something ends: all must do what the memory store does. When records
//! or messages change, the script that is replaced comes here, and both must pass.

use super::register_differential::{draft, register};
use super::stopped::{self, BEGUN, Both};
use super::subject::{RedisSubject, StoppedScript};
use crate::instants::Stopped;
use crate::subject::{A, B, MemorySubject, TTL, key, permits, renewal, ret, withdrawal};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sidelock_engine::StoreTime;
use sidelock_engine::store::{Ask, Force, Op, Order, Renew, Reply, Return, Tenancy, Withdraw};
use sidelock_store::redis::fuzz::program;
use std::cell::RefCell;
use std::time::Duration;

const SEQUENCES: u32 = 80;
const OPERATIONS: usize = 60;
/// By its name, what each brought.
const KEPT: &[(&str, &str)] = &[
    ("before strict", include_str!("versions/before-strict.script")),
    ("before origins", include_str!("versions/before-origins.script")),
];

/// Each of them, with the script of today.
fn pairs() -> impl Iterator<Item = [String; 2]> {
    KEPT.iter().map(|(name, kept)| {
        println!("{name}");
        assert_ne!(program(), *kept, "{name} is what there is today: nothing is compared");
        [program(), (*kept).to_owned()]
    })
}

#[test]
fn an_older_version_and_this_one_keep_locks_together() {
    for programs in pairs() {
        stopped::alike_where_something_ends(&programs);
    }
}

#[test]
fn an_older_version_and_this_one_keep_registers_together() {
    for programs in pairs() {
        let both = RefCell::new(Both::start(&programs));
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[13; 32]);
        let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
        let drafts = prop::collection::vec((draft(), 0..8usize, any::<usize>()), OPERATIONS);
        let compared = TestRunner::new_with_rng(config, rng).run(&drafts, |drafts| {
            let mut both = both.borrow_mut();
            Stopped::flush(&mut *both);
            both.first = drafts.first().map_or(0, |(.., script)| *script % 2);
            let (mut now, mut last_write) = (BEGUN, None);
            for (draft, pick, script) in drafts {
                let ends: Vec<StoreTime> =
                    both.memory.register(&register()).map(|kept| kept.until).into_iter().collect();
                now = stopped::when(now, &ends, pick, 1);
                let op = draft.at(now, &both.memory, &last_write);
                if let Op::WriteRegister(write) = &op {
                    last_write = Some(write.clone());
                }
                both.alike(now, &op, script)?;
            }
            Ok(())
        });
        if let Err(difference) = compared {
            panic!("{difference}");
        }
    }
}

/// Whatever others do meanwhile who do not know of it: since when a tenure stands is told to its sidecar (D37).
#[test]
fn an_older_version_leaves_the_origins_of_others_alone() {
    for programs in pairs() {
        let mut redis = RedisSubject::start();
        let [today, older] = programs.map(|program| redis.load(&program, None));
        let mut now = BEGUN;
        let mut told = |script: &StoppedScript, op: &Op| {
            now = now + Duration::from_millis(300);
            redis.apply_at(script, now, op).0
        };
        let take = |me, seq, units| {
            let ask = permits(&mut MemorySubject::new(None), me, seq, units, 4);
            Op::Ask(Ask { refuse_after: BEGUN + TTL * 100, ..ask })
        };
        let Reply::Granted(Tenancy { origin, .. }) = told(&today, &take(A, 1, 1)) else { panic!("granted") };
        told(&today, &take(A, 2, 2));
        for seq in 1..20 {
            // They come, are renewed, wait, and go.
            told(&older, &take(B, seq * 2, 1));
            let renewed = Op::Renew(Renew { top_up: seq % 3 == 0, ..renewal(B, seq * 2) });
            told(&older, &renewed);
            told(&older, &take(B, seq * 2 + 1, 4));
            told(&older, &take(B, seq * 2 + 1, 4));
            told(&older, &Op::Withdraw(Withdraw { keep: 1, ..withdrawal(B, seq * 2 + 1) }));
            told(&older, &Op::Return(Return { tombstone: Some(BEGUN + TTL), ..ret(B, seq * 2) }));
            let renewed = Op::Renew(Renew { top_up: seq % 2 == 0, ..renewal(A, 2) });
            match told(&today, &renewed) {
                Reply::Renewed { origin: said, .. } => {
                    assert_eq!(said, origin, "after {seq} of another version")
                }
                other => panic!("{other:?}"),
            }
        }
        // What it takes by force has its origin left behind; who comes after has its own.
        let order = Order { by: 7, reason: "stuck".into() };
        let (from, refuse_after) = (B, BEGUN + TTL * 100);
        told(&older, &Op::Force(Force { key: key(), from, order, refuse_after }));
        told(&today, &Op::Return(ret(A, 2)));
        for (seq, units) in [(3, 1), (4, 2)] {
            let Reply::Granted(next) = told(&today, &take(A, seq, units)) else { panic!("granted") };
            assert!(next.origin > origin, "{next:?} after {origin}");
        }
    }
}
