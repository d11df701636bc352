//! Random operations on a register and on the lock of its name, in Redis, and the same at the same instants on memory: the
//! same answers, wakes and records.

use super::subject::RedisSubject;
use crate::subject::Subject;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sidelock_engine::store::{
    Ask, Bound, Condition, Fault, Known, Op, Outcome, REFUSE_AFTER, ReadRegister, Renew, Reply, Return,
    Watch, WriteRegister,
};
use sidelock_engine::{AskId, Etag, Incarnation, Key, Space, StoreTime, WHOLE};
use sidelock_store::Memory;
use sidelock_store::register::Register;
use std::time::Duration;

const SEQUENCES: u32 = 80;
const OPERATIONS: usize = 60;

/// An operation of which times, versions and fences are only known when it is its turn.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    what: What,
    incarnation: Incarnation,
    seq: u64,
    /// Counted from the store's clock, in microseconds.
    refuse_after: i64,
    ttl: Duration,
    /// Bound to the tenure that stands, with a fence so far from its first; `Err`: to some other one.
    bound: Option<Result<i64, u64>>,
    pause: Duration,
}

#[derive(Clone, Debug)]
enum What {
    Lock,
    TopUp,
    Unlock,
    /// What is known: nothing, absence, the version that is there, another one.
    Read {
        known: u8,
        watches: bool,
    },
    /// Under a condition: none, absent, present, the version that is there, another one.
    Write {
        condition: u8,
        value: Option<Vec<u8>>,
    },
    /// The last write once more.
    Again,
}

fn lock() -> Key {
    Key::new("a").unwrap()
}

pub(super) fn register() -> Key {
    lock().in_space(Space::Register)
}

pub(super) fn draft() -> impl Strategy<Value = Draft> {
    let value = prop::option::weighted(0.75, prop::collection::vec(any::<u8>(), 0..9));
    let what = prop_oneof![
        2 => Just(What::Lock),
        1 => Just(What::TopUp),
        1 => Just(What::Unlock),
        5 => (0..4u8, any::<bool>()).prop_map(|(known, watches)| What::Read { known, watches }),
        8 => (0..5u8, value).prop_map(|(condition, value)| What::Write { condition, value }),
        3 => Just(What::Again),
    ];
    let incarnation = (1..4u128).prop_map(|n| Incarnation(n << 100 | n));
    let refuse_after = prop_oneof![8 => Just(2_000_000i64), 2 => 300..2_000i64, 1 => Just(-1_000i64)];
    let ttl =
        prop_oneof![3 => Just(Duration::from_secs(10)), 1 => (1..4000u64).prop_map(Duration::from_micros)];
    let bound =
        prop::option::weighted(0.4, prop_oneof![4 => (-1..4i64).prop_map(Ok), 1 => (1..9u64).prop_map(Err)]);
    let pause = prop_oneof![10 => Just(0u64), 1 => 500..3_000u64].prop_map(Duration::from_micros);
    (what, incarnation, 1..12u64, refuse_after, ttl, bound, pause).prop_map(
        |(what, incarnation, seq, refuse_after, ttl, bound, pause)| Draft {
            what,
            incarnation,
            seq,
            refuse_after,
            ttl,
            bound,
            pause,
        },
    )
}

impl Draft {
    pub(super) fn at(self, now: StoreTime, memory: &Memory, last_write: &Option<WriteRegister>) -> Op {
        let id = AskId { incarnation: self.incarnation, seq: self.seq };
        let refuse_after = StoreTime(now.0.saturating_add_signed(self.refuse_after));
        let tenure = memory.record(&lock()).and_then(|record| record.tenures.first());
        let standing = tenure.map_or(id, |tenure| tenure.id);
        let bound = self.bound.map(|bound| match (bound, tenure) {
            (Ok(offset), Some(tenure)) => {
                Bound { tenure: tenure.id, fence: tenure.range.first.saturating_add_signed(offset) }
            }
            (Ok(_), None) => Bound { tenure: id, fence: now.0 },
            (Err(seq), _) => Bound { tenure: AskId { seq, ..standing }, fence: now.0 },
        });
        let there = memory.register(&register()).map_or(Etag::NEVER, |register| register.etag);
        let other = Etag { number: there.number + 1, ..there };
        match self.what {
            What::Lock => Op::Ask(Ask {
                key: lock(),
                id,
                units: WHOLE,
                limit: WHOLE,
                ttl: self.ttl,
                entry_ttl: self.ttl,
                floor: 0,
                refuse_after,
                give_back: None,
                upgrade: false,
                waiting_since: None,
            }),
            What::TopUp => {
                Op::Renew(Renew { key: lock(), tenure: standing, ttl: self.ttl, floor: 0, top_up: true })
            }
            What::Unlock => {
                Op::Return(Return { key: lock(), tenure: standing, keep: 0, issued: 0, tombstone: None })
            }
            What::Read { known, watches } => {
                let known = [Known::Nothing, Known::Absent, Known::Version(there), Known::Version(other)]
                    [usize::from(known)];
                let watch = watches.then_some(Watch { incarnation: self.incarnation, ttl: self.ttl });
                Op::ReadRegister(ReadRegister { key: register(), known, watch, bound })
            }
            What::Write { condition, value } => {
                let condition = [
                    Condition::Any,
                    Condition::Absent,
                    Condition::Present,
                    Condition::Match(there),
                    Condition::Match(other),
                ][usize::from(condition)];
                let value = value.map(Into::into);
                Op::WriteRegister(WriteRegister {
                    key: register(),
                    id,
                    condition,
                    value,
                    refuse_after,
                    bound,
                })
            }
            What::Again => match last_write {
                Some(write) => Op::WriteRegister(write.clone()),
                None => {
                    let (known, watch) = (Known::Nothing, None);
                    Op::ReadRegister(ReadRegister { key: register(), known, watch, bound })
                }
            },
        }
    }
}

#[test]
fn memory_and_redis_keep_registers_alike() {
    let mut redis = RedisSubject::start();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]);
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let seen = std::cell::RefCell::new(std::collections::BTreeMap::<String, u32>::new());
    let redis = std::cell::RefCell::new(&mut redis);
    let drafts = prop::collection::vec(draft(), OPERATIONS);
    let compared = runner.run(&drafts, |drafts| {
        let mut redis = redis.borrow_mut();
        redis.flush();
        let mut memory = Memory::default();
        let mut last_write = None;
        for draft in drafts {
            redis.wait(draft.pause);
            let op = draft.at(redis.now(), &memory, &last_write);
            if let Op::WriteRegister(write) = &op {
                last_write = Some(write.clone());
            }
            let done = redis.apply(&op);
            let (reply, wakes) = memory.apply(done.at, &op);
            prop_assert_eq!((&done.reply, &done.wakes), (&reply, &wakes), "{:?}", op);
            compare(&mut redis, &memory)?;
            let word = format!("{reply:?}");
            let word = word.split([' ', '{']).next().unwrap_or_default();
            let word = if word.starts_with("Register(Some") { "Register(Some" } else { word };
            *seen
                .borrow_mut()
                .entry(word.split("(Version").next().unwrap_or_default().to_string())
                .or_default() += 1;
            if !wakes.is_empty() {
                *seen.borrow_mut().entry("(a wake)".into()).or_default() += 1;
            }
        }
        Ok(())
    });
    if let Err(difference) = compared {
        panic!("{difference}");
    }
    let seen = seen.into_inner();
    println!("{seen:?}");
    let answers = [
        "Register(None)",
        "Register(Some",
        "Unchanged",
        "Written(Etag",
        "Conflict(None)",
        "Conflict(Some",
        "StaleFence",
        "Stale",
        "TooLate",
        "(a wake)",
    ];
    for answer in answers {
        assert!(
            seen.get(answer).is_some_and(|n| *n >= 20),
            "{answer} hardly occurs: the test lost its worth"
        );
    }
}

/// Both keep the same, to the byte; and Redis keeps a value for ever, and what has none no longer than it must.
fn compare(redis: &mut RedisSubject, memory: &Memory) -> Result<(), TestCaseError> {
    let name = b"sl:1:default:{a}:register";
    // In one step: between two, it may lapse.
    let look = b"return { redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]) }";
    let (stored, millis): (Option<Vec<u8>>, i64) = redis.command(&[b"EVAL", look, b"1", name]);
    let at = redis.now();
    let kept = memory.register(&register());
    match (stored, kept) {
        (Some(stored), Some(kept)) => {
            prop_assert_eq!(stored, kept.encode());
            if kept.value.is_some() {
                prop_assert_eq!(millis, -1);
            } else {
                prop_assert!((0..=10_001).contains(&millis), "{millis} ms");
            }
        }
        // Either may have forgotten first what has lapsed.
        (None, Some(kept)) => {
            prop_assert!(kept.value.is_none() && kept.until <= at + Duration::from_millis(5))
        }
        (Some(stored), None) => {
            let stored = Register::decode(&stored).unwrap();
            prop_assert!(stored.value.is_none() && stored.until <= at + Duration::from_millis(5));
        }
        (None, None) => {}
    }
    Ok(())
}

/// The store's clock may have gone back since the last write.
#[test]
fn versions_rise_whatever_the_clock_does() {
    let mut redis = RedisSubject::start();
    let now = redis.now();
    let ahead = (now + Duration::from_secs(3_600)).0;
    let writer = |n, seq| AskId { incarnation: Incarnation(n), seq };
    for of in [writer(9, 1), writer(1, 1)] {
        let before = Register {
            etag: Etag { number: ahead, writer: of },
            value: Some(b"before"[..].into()),
            ..Register::default()
        };
        let _: String = redis.command(&[b"SET", b"sl:1:default:{a}:register", &before.encode()]);
        let write = WriteRegister {
            key: register(),
            id: writer(1, 2),
            condition: Condition::Any,
            value: Some(b"after"[..].into()),
            refuse_after: now + REFUSE_AFTER,
            bound: None,
        };
        let outcome = redis.outcome(&Op::WriteRegister(write));
        let etag = Etag { number: ahead + 1, writer: writer(1, 2) };
        assert!(
            matches!(outcome, Outcome::Applied { reply: Reply::Written(written), .. } if written == etag),
            "{outcome:?}"
        );
    }
}

#[test]
fn what_is_no_register_is_corrupt_and_left_alone() {
    let mut redis = RedisSubject::start();
    let name = b"sl:1:default:{a}:register";
    let read = ReadRegister { key: register(), known: Known::Nothing, watch: None, bound: None };
    let newer = [b"SR\x02".as_slice(), &[0; 65]].concat();
    for bytes in [b"".to_vec(), b"SL\x01".to_vec(), newer] {
        let _: String = redis.command(&[b"SET", name, &bytes]);
        let outcome = redis.outcome(&Op::ReadRegister(read.clone()));
        let Outcome::NotApplied(Fault::Corrupt(why)) = outcome else {
            panic!("{bytes:?}: {outcome:?}");
        };
        let expected = if bytes.get(2) == Some(&2) { "record_too_new" } else { "corrupt" };
        assert!(why.starts_with(expected), "{why}");
        let left: Vec<u8> = redis.command(&[b"GET", name]);
        assert_eq!(left, bytes);
    }
}
