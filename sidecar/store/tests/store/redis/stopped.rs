//! The script on a clock that stands still: every case of `instants.rs`, and random operations at the very instants at which
//! something ends, beside the memory store.

use super::differential::draft;
use super::subject::{RedisSubject, StoppedScript};
use crate::instants::{At, CASES, Stopped};
use crate::subject::Subject;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sidelock_engine::store::{Ask, FENCE_LEAD_MAX_US, Op, Renew, Reply, Return, Tenancy, Wake, Withdraw};
use sidelock_engine::{AskId, Key, Space, StoreTime};
use sidelock_store::Memory;
use sidelock_store::record::Record;
use sidelock_store::redis::fuzz::program;
use std::cell::RefCell;

const SEQUENCES: u32 = 120;
const OPERATIONS: usize = 40;
/// Some instant.
pub(super) const BEGUN: StoreTime = StoreTime(1_700_000_000_000_000);

/// Both stores do the same, whichever of the scripts Redis is asked to run.
pub(super) struct Both {
    redis: RedisSubject,
    scripts: Vec<StoppedScript>,
    /// Which of them is the first incarnation's, and so on.
    pub(super) first: usize,
    pub(super) memory: Memory,
}

impl Both {
    /// With the scripts of these programs, see [`stopped`].
    pub(super) fn start(programs: &[String]) -> Both {
        let mut redis = RedisSubject::start();
        let scripts = programs.iter().map(|program| redis.load(program, None)).collect();
        Both { scripts, first: 0, redis, memory: Memory::default() }
    }

    /// The same answer, and the same messages. By this script, where it is not a sidecar's about its own: each has one version.
    pub(super) fn alike(&mut self, now: StoreTime, op: &Op, script: usize) -> Result<(), TestCaseError> {
        let (mut expected, wakes) = self.memory.apply(now, op);
        let script = match op {
            Op::Ask(Ask { id, .. }) | Op::Withdraw(Withdraw { id, .. }) => self.version_of(id),
            Op::Renew(Renew { tenure, .. }) | Op::Return(Return { tenure, .. }) => self.version_of(tenure),
            Op::Finish(finish) => self.version_of(&finish.tenure),
            // An older version leaves the origins of what it takes, and their record with them, until that would have been over.
            Op::Force(_) => 0,
            _ => script,
        };
        let which = script % self.scripts.len();
        let script = &self.scripts[which];
        let (mut reply, told) = self.redis.apply_at(script, now, op);
        let tells_origins = script.tells_origins;
        if which > 0 {
            self.forget_as_before(op.key());
        }
        if !tells_origins {
            [&mut expected, &mut reply].into_iter().for_each(forget_origin);
        }
        prop_assert_eq!((reply, told), (expected, wakes), "at {:?}: {:?}", now, op);
        Ok(())
    }
}

impl Both {
    /// An older version keeps no fences of a free key.
    fn forget_as_before(&mut self, key: &Key) {
        let is_free = |record: &Record| Record { last: 0, limit: 0, ..record.clone() } == Record::default();
        if self.memory.record(key).is_some_and(is_free) && self.redis.raw(key.as_str(), key.space()).is_none()
        {
            self.memory.evict(key);
        }
    }

    fn version_of(&self, id: &AskId) -> usize {
        id.incarnation.0 as usize % 16 + self.first
    }
}

impl Stopped for Both {
    fn apply(&mut self, now: StoreTime, op: &Op) -> (Reply, Vec<Wake>) {
        let expected = self.memory.apply(now, op);
        let done = self.redis.apply_at(&self.scripts[0], now, op);
        assert_eq!(done, expected, "at {now:?}: {op:?}");
        done
    }

    fn flush(&mut self) {
        self.redis.flush();
        self.memory.flush();
    }
}

#[test]
fn the_script_decides_each_at_its_instant() {
    let mut both = Both::start(&[program()]);
    for (name, case) in CASES {
        println!("{name}");
        Stopped::flush(&mut both);
        case(&mut At(&mut both));
    }
}

fn forget_origin(reply: &mut Reply) {
    match reply {
        Reply::Granted(Tenancy { origin, .. }) | Reply::Renewed { origin, .. } => *origin = 0,
        _ => {}
    }
}

/// The instants at which something ends of what is known of this key.
pub(super) fn ends(memory: &Memory, key: &Key) -> Vec<StoreTime> {
    let Some(record) = memory.record(key) else { return Vec::new() };
    let tenures = record.tenures.iter().map(|tenure| tenure.until);
    let queue = record.queue.iter().map(|entry| entry.until);
    let done = record.done.iter().map(|done| done.until);
    let forced = record.forced.iter().map(|forced| forced.until);
    let kept = record.kept.iter().flat_map(|kept| [kept.success.window_end, kept.success.kept_until()]);
    let fences = StoreTime(record.last.saturating_sub(FENCE_LEAD_MAX_US + 2));
    tenures.chain(queue).chain(done).chain(forced).chain(kept).chain([fences]).collect()
}

/// When it is done: some microseconds later, or just before something ends, or at that instant, or just after it.
pub(super) fn when(now: StoreTime, ends: &[StoreTime], pick: usize, offset: u64) -> StoreTime {
    let ahead: Vec<StoreTime> = ends.iter().copied().filter(|end| *end > now).collect();
    // One of the choices is no end: time passes, too.
    match ahead.get(pick % (ahead.len() + 1)) {
        Some(end) => StoreTime((end.0 + offset).saturating_sub(1)),
        None => StoreTime(now.0 + offset),
    }
}

#[test]
fn memory_and_the_script_answer_alike_where_something_ends() {
    alike_where_something_ends(&[program()]);
}

/// Random operations, each by one of these programs.
pub(super) fn alike_where_something_ends(programs: &[String]) {
    let both = RefCell::new(Both::start(programs));
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]);
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    let offset = prop_oneof![1 => Just(0u64), 3 => Just(1), 1 => Just(2)];
    let drafts = prop::collection::vec((draft(), 0..8usize, offset, any::<usize>()), OPERATIONS);
    let at_an_end = RefCell::new(0_u32);
    let compared = TestRunner::new_with_rng(config, rng).run(&drafts, |drafts| {
        let mut both = both.borrow_mut();
        Stopped::flush(&mut *both);
        both.first = drafts.first().map_or(0, |(.., script)| *script % 2);
        let mut now = BEGUN;
        // A board is forgotten by Redis' own clock.
        let drafts = drafts.into_iter().filter(|(draft, ..)| draft.key().space() != Space::Board);
        for (draft, pick, offset, script) in drafts {
            let ends = ends(&both.memory, draft.key());
            now = when(now, &ends, pick, offset);
            *at_an_end.borrow_mut() += u32::from(ends.contains(&now));
            let op = draft.aimed_at(now, &both.memory);
            both.alike(now, &op, script)?;
        }
        Ok(())
    });
    if let Err(difference) = compared {
        panic!("{difference}");
    }
    let at_an_end = at_an_end.into_inner();
    println!("{at_an_end} operations at an end");
    assert!(at_an_end > 500, "only {at_an_end} operations at an end: the test lost its worth");
}
