//! Random operations on the strict script and on the strict memory store, on a clock that stands still, through losses,
//! promotions and the quarantines that follow: the same answers, wakes and records at the very instants at which something ends.

use super::differential::{self, Draft};
use super::stopped;
use super::strict::MARKER;
use super::subject::{RedisSubject, StoppedScript};
use crate::subject::{Subject, TTL};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sidelock_engine::store::{Ask, Op, REFUSE_AFTER, Reassert, Renew};
use sidelock_engine::{AskId, FenceRange, Incarnation, Key, Space, StoreTime};
use sidelock_store::Memory;
use sidelock_store::record::{Record, Tenure};
use sidelock_store::redis::fuzz::strict_program;
use sidelock_store::strict::Terms;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// Some of the times to live that are asked for are longer.
const TERMS: Terms = Terms { longest: Duration::from_secs(5), isolation: Duration::from_secs(1) };
const SEQUENCES: u32 = 240;
const OPERATIONS: usize = 120;

/// What happens before an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    Loss,
    Promotion,
    /// The operation is turned into a reassertion of the tenure that it is about.
    Reassert,
    /// Instead, the last in the queue of its key asks once more, as all who wait do all the time.
    Repeat,
    /// The quarantine passes, outlived by whoever holds the key.
    Outlast,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        40 => Just(Trouble::None),
        1 => Just(Trouble::Loss),
        4 => Just(Trouble::Promotion),
        6 => Just(Trouble::Reassert),
        5 => Just(Trouble::Repeat),
        6 => Just(Trouble::Outlast),
    ]
}

/// Both stores, at one instant.
struct Both {
    redis: RedisSubject,
    script: StoppedScript,
    memory: Memory,
    replications: u64,
    now: StoreTime,
    seen: BTreeMap<String, u32>,
}

impl Both {
    fn start() -> Both {
        let mut redis = RedisSubject::with(&["--enable-debug-command", "yes"], |_| ());
        Both {
            script: redis.load(&strict_program(), Some((TERMS, MARKER))),
            redis,
            memory: Memory::default(),
            replications: 0,
            now: StoreTime(1_700_000_000_000_000),
            seen: BTreeMap::new(),
        }
    }

    fn suffer(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Loss => {
                self.redis.flush();
                self.memory.flush();
            }
            Trouble::Promotion => {
                let _: String = self.redis.command(&[b"DEBUG", b"CHANGE-REPL-ID"]);
                self.replications += 1;
                self.memory.replicate(self.replications);
            }
            _ => {}
        }
    }

    /// The instants at which something ends of what is known of this key, or of the quarantine; the next first.
    fn ends(&self, key: &Key) -> Vec<StoreTime> {
        let quarantine = self.memory.marker().into_iter().flat_map(|marker| {
            let Terms { longest, isolation } = marker.terms;
            [marker.began + isolation, marker.began + longest, marker.ends()]
        });
        let mut ends: Vec<StoreTime> =
            stopped::ends(&self.memory, key).into_iter().chain(quarantine).collect();
        ends.sort_unstable();
        ends
    }

    fn operation(&self, draft: Draft, trouble: Trouble) -> Op {
        let last = self.memory.record(draft.key()).map_or(1_000, |record| record.last);
        let repeated = if trouble == Trouble::Repeat { self.repeated(draft.key()) } else { None };
        match (trouble, repeated.unwrap_or_else(|| draft.aimed_at(self.now, &self.memory))) {
            (Trouble::Reassert, Op::Ask(ask)) => reassertion(ask, last),
            (_, op) => op,
        }
    }

    /// The last in the queue asks once more.
    fn repeated(&self, key: &Key) -> Option<Op> {
        let record = self.memory.record(key)?;
        let last = record.queue.last()?;
        Some(ask(key, self.now, record.limit, last.id, last.units))
    }

    /// All others ask too, the quarantine passes and is outlived by the first who holds this key, and then the last in the queue
    /// is the first to ask again.
    fn outlast(&mut self, key: &Key) -> Result<(), TestCaseError> {
        let limit = self.memory.record(key).map_or(4, |record| record.limit);
        for incarnation in (1..5u128).map(|n| Incarnation(n << 100 | n)) {
            let record = self.memory.record(key);
            let holds =
                |record: &Record| record.tenures.iter().any(|tenure| tenure.id.incarnation == incarnation);
            if !record.is_some_and(holds) {
                self.compare(&ask(key, self.now, limit, AskId { incarnation, seq: 5 }, 1))?;
            }
        }
        let began = self.memory.marker().map_or(self.now, |marker| marker.began);
        let ends = began + TERMS.quarantine();
        let mut next = began + TERMS.isolation;
        while next < ends {
            self.now = self.now.max(next);
            let tenure = self.memory.record(key).and_then(|record| record.tenures.first().copied());
            if let Some(tenure) = tenure {
                self.compare(&renewal(key, &tenure))?;
            }
            next = next + TERMS.longest / 2;
        }
        self.now = self.now.max(ends);
        self.repeated(key).map_or(Ok(()), |ask| self.compare(&ask))
    }

    fn compare(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let expected = self.memory.apply_strictly(self.now, op, &TERMS);
        let done = self.redis.apply_at(&self.script, self.now, op);
        prop_assert_eq!(&done, &expected, "at {:?}: {:?}", self.now, op);
        differential::compare_records(&mut self.redis, &self.memory)?;
        let word = format!("{:?}", expected.0);
        let word = word.split([' ', '(']).next().unwrap_or_default();
        let word = if matches!(op, Op::Reassert(_)) { format!("Reassert: {word}") } else { word.to_owned() };
        *self.seen.entry(word).or_default() += 1;
        Ok(())
    }
}

fn ask(key: &Key, now: StoreTime, limit: u32, id: AskId, units: u32) -> Op {
    Op::Ask(Ask {
        key: key.clone(),
        id,
        units,
        limit,
        ttl: TTL,
        entry_ttl: TTL,
        floor: 0,
        refuse_after: now + REFUSE_AFTER,
        give_back: None,
        upgrade: false,
        waiting_since: (key.space() == Space::Once).then_some(now),
    })
}

fn renewal(key: &Key, tenure: &Tenure) -> Op {
    Op::Renew(Renew { key: key.clone(), tenure: tenure.id, ttl: TTL, floor: 0, top_up: false })
}

/// By whoever would ask so; with fences from before, or from after, all that is known.
fn reassertion(ask: Ask, last: u64) -> Op {
    let Ask { key, id: tenure, units, limit, ttl, refuse_after, upgrade, .. } = ask;
    let first = if upgrade { last.saturating_sub(50).max(1) } else { last + 1 };
    let range = FenceRange { first, last: first + 20 };
    let origin = if upgrade { first / 2 } else { first };
    Op::Reassert(Reassert { key, tenure, units, limit, origin, range, ttl, refuse_after })
}

#[test]
fn strict_memory_and_the_strict_script_answer_alike() {
    let both = RefCell::new(Both::start());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]);
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    let offset = prop_oneof![1 => Just(0u64), 3 => Just(1), 1 => Just(2)];
    // Mostly time goes on as it does between operations: what a quarantine leaves behind is met by several.
    let pick = prop::option::weighted(0.15, 0..4usize);
    let drafts = prop::collection::vec((differential::draft(), trouble(), pick, offset), OPERATIONS);
    let compared = TestRunner::new_with_rng(config, rng).run(&drafts, |drafts| {
        let mut both = both.borrow_mut();
        both.suffer(Trouble::Loss);
        // One key, on which much happens. A board is forgotten by Redis' own clock.
        let mut keys = drafts.iter().map(|(draft, ..)| draft.key().clone());
        let key = keys.find(|key| key.space() != Space::Board).expect("there are many");
        let drafts = drafts.into_iter().filter(|(draft, ..)| *draft.key() == key);
        for (draft, trouble, pick, offset) in drafts {
            match trouble {
                Trouble::Outlast => both.outlast(&key)?,
                _ => both.suffer(trouble),
            }
            both.now = match pick {
                Some(pick) => stopped::when(both.now, &both.ends(&key), pick, offset),
                None => both.now + Duration::from_micros(200),
            };
            let op = both.operation(draft, trouble);
            both.compare(&op)?;
        }
        Ok(())
    });
    if let Err(difference) = compared {
        panic!("{difference}");
    }
    let seen = both.into_inner().seen;
    println!("{seen:?}");
    for reply in [
        "Quarantined",
        "Forgotten",
        "Granted",
        "Queued",
        "Renewed",
        "Reassert: Renewed",
        "Reassert: Gone",
        "Reassert: Quarantined",
    ] {
        assert!(seen.get(reply).is_some_and(|n| *n >= 20), "{reply} hardly occurs: the test lost its worth");
    }
}
