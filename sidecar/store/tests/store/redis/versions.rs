//! Two versions on one Redis, as while a fleet is updated (H27): each sidecar brings its own script, and what they share is records
//! and messages.
//!
//! `versions/` keeps the whole script of each version that was in use, as it was. Random operations are run by one of those or by the
//! script of today, in turn and at the very instants at which something ends: all must do what the memory store does. When records
//! or messages change, the script that is replaced comes here, and both must pass.

use super::register_differential::{draft, register};
use super::stopped::{self, BEGUN, Both};
use crate::instants::Stopped;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sidelock_engine::StoreTime;
use sidelock_engine::store::Op;
use sidelock_store::redis::fuzz::program;
use std::cell::RefCell;

const SEQUENCES: u32 = 80;
const OPERATIONS: usize = 60;
/// By its name, what each brought.
const KEPT: &[(&str, &str)] = &[("before strict", include_str!("versions/before-strict.script"))];

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
