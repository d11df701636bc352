//! Random operations on Redis, and the same at the same instants on memory: the same answers, wakes and records.

use super::subject::RedisSubject;
use crate::subject::{A, B, C, D, Subject, TTL, permits, renewal};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sidelock_engine::store::{
    Ask, Declare, Fault, Finish, Force, GiveBack, Inquire, Op, Order, Outcome, Publish, Renew, Return, Tell,
    Withdraw,
};
use sidelock_engine::{Align, AskId, Incarnation, Key, Space, StoreTime, WHOLE, Window};
use sidelock_store::Memory;
use sidelock_store::record::Record;
use std::time::Duration;

const SEQUENCES: u32 = 320;
const OPERATIONS: usize = 50;
/// Keys, by their number: two locks, which have most to tell apart, and a once key.
const KEYS: [u8; 7] = [0, 1, 0, 1, 0, 1, ONCE];
const ONCE: u8 = 2;

/// An operation of which times are only known when it is its turn.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    op: Op,
    /// Counted from the store's clock: refuse-after, floor and tombstone, in microseconds.
    refuse_after: i64,
    floor: i64,
    tombstone: Option<i64>,
    /// Waiting since then, or granted then.
    since: i64,
    /// Pause before it.
    pause: Duration,
    /// Which of the tenures or entries that stand it shall be about, if any; a random one rarely hits.
    aim: Option<usize>,
}

impl Draft {
    /// What it is about.
    pub(super) fn key(&self) -> &Key {
        self.op.key()
    }

    /// The operation at this instant, on what stands then.
    pub(super) fn aimed_at(self, now: StoreTime, memory: &Memory) -> Op {
        let aim = self.aim;
        aimed(self.at(now), aim, memory)
    }

    fn at(self, now: StoreTime) -> Op {
        let when = |offset: i64| StoreTime(now.0.saturating_add_signed(offset));
        let (refuse_after, floor) = (when(self.refuse_after), when(self.floor).0);
        let tombstone = self.tombstone.map(when);
        match self.op {
            Op::Ask(ask) => {
                let waiting_since = (ask.key.space() == Space::Once).then(|| when(self.since));
                Op::Ask(Ask { refuse_after, floor, waiting_since, ..ask })
            }
            Op::Renew(renew) => Op::Renew(Renew { floor, ..renew }),
            Op::Return(back) => Op::Return(Return { tombstone, ..back }),
            Op::Withdraw(withdraw) => Op::Withdraw(Withdraw { tombstone, ..withdraw }),
            Op::Publish(publish) => Op::Publish(Publish { refuse_after, ..publish }),
            Op::Force(force) => Op::Force(Force { refuse_after, ..force }),
            Op::Finish(finish) => {
                Op::Finish(Box::new(Finish { refuse_after, granted_at: when(self.since), ..*finish }))
            }
            same => same,
        }
    }
}

fn key(n: u8) -> Key {
    match n {
        ONCE => Key::of(Space::Once, "a").unwrap(),
        _ => Key::new(["a", "{b}:%/ключ"][usize::from(n)]).unwrap(),
    }
}

fn ask_id() -> impl Strategy<Value = AskId> {
    (1..5u128, 1..6u64).prop_map(|(n, seq)| AskId { incarnation: Incarnation(n << 100 | n), seq })
}

/// Times to live: some gone within a few operations.
fn ttl() -> impl Strategy<Value = Duration> {
    prop_oneof![4 => Just(Duration::from_secs(10)), 1 => (1..4000u64).prop_map(Duration::from_micros)]
}

fn units() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..6u32, 1 => Just(WHOLE)]
}

fn operation() -> impl Strategy<Value = Op> {
    let limit = prop_oneof![12 => Just(4u32), 1 => Just(WHOLE), 1 => Just(5u32)];
    let back = (1..8u64, units(), any::<bool>()).prop_map(|(seq, keep, _)| GiveBack {
        seq,
        keep: keep.min(3),
        issued: 0,
    });
    let back = prop::option::weighted(0.3, back);
    let upgrade = prop::bool::weighted(0.35);
    let ask = (prop::sample::select(&KEYS[..]), ask_id(), 1..5u32, limit, ttl(), ttl(), back, upgrade)
        .prop_map(|(k, id, units, limit, ttl, entry_ttl, give_back, upgrade)| {
            let (key, floor, refuse_after, waiting_since) = (key(k), 0, StoreTime(0), None);
            Op::Ask(Ask {
                key,
                id,
                units,
                limit,
                ttl,
                entry_ttl,
                floor,
                refuse_after,
                give_back,
                upgrade,
                waiting_since,
            })
        });
    let renew = (prop::sample::select(&KEYS[..]), ask_id(), ttl(), any::<bool>())
        .prop_map(|(k, tenure, ttl, top_up)| Op::Renew(Renew { key: key(k), tenure, ttl, floor: 0, top_up }));
    let back = (prop::sample::select(&KEYS[..]), ask_id(), units(), any::<bool>()).prop_map(
        |(k, tenure, keep, full)| {
            let keep = if full { 0 } else { keep };
            Op::Return(Return { key: key(k), tenure, keep, issued: 0, tombstone: None })
        },
    );
    let withdraw = (prop::sample::select(&KEYS[..]), ask_id(), units(), any::<bool>()).prop_map(
        |(k, id, keep, full)| {
            Op::Withdraw(Withdraw { key: key(k), id, keep: if full { 0 } else { keep }, tombstone: None })
        },
    );
    let tell = (prop::sample::select(&KEYS[..]), ask_id(), prop::option::of(1..u64::from(u32::MAX)))
        .prop_map(|(k, ask, free_in)| {
            Op::Tell(Tell { key: key(k), ask, free_in: free_in.map(Duration::from_micros) })
        });
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    let inquire =
        (prop::sample::select(&KEYS[..]), ask_id(), ask_id(), bytes()).prop_map(|(k, inquiry, to, more)| {
            Op::Inquire(Inquire { key: key(k), more: more.into(), inquiry, to: to.incarnation })
        });
    let declare = (prop::sample::select(&KEYS[..]), ask_id(), ask_id(), bytes()).prop_map(
        |(k, inquiry, from, stands)| {
            let (key, from, stands) = (key(k), from.incarnation, stands.into());
            Op::Declare(Box::new(Declare { key, inquiry, from, declarations: stands }))
        },
    );
    let length = prop_oneof![1..2_000u64, Just(3_600_000_000)].prop_map(Duration::from_micros);
    let finish = (ask_id(), length, any::<bool>(), 0..70usize).prop_map(|(tenure, per, utc, bytes)| {
        let (granted_at, refuse_after) = (StoreTime(0), StoreTime(0));
        let window = Window { per, align: if utc { Align::Utc } else { Align::Rolling } };
        let (key, result) = (key(ONCE), vec![7; bytes].into());
        Op::Finish(Box::new(Finish { key, tenure, fence: 1, granted_at, window, result, refuse_after }))
    });
    let publish = (0..2u8, 1..4u64, any::<bool>()).prop_map(|(k, version, empty)| {
        let body: &[u8] = if empty { b"" } else { b"SB" };
        let board = key(k).in_space(Space::Board);
        Op::Publish(Publish { board, version, body: body.into(), ttl: TTL, refuse_after: StoreTime(0) })
    });
    let read = (0..2u8).prop_map(|k| Op::ReadBoard { board: key(k).in_space(Space::Board) });
    let peek = prop::sample::select(&KEYS[..]).prop_map(|k| Op::Peek { key: key(k) });
    let force = (prop::sample::select(&KEYS[..]), ask_id(), any::<u32>(), "[a-zß]{1,40}").prop_map(
        |(k, id, by, reason)| {
            let order = Order { by, reason: reason.into() };
            Op::Force(Force { key: key(k), from: id.incarnation, order, refuse_after: StoreTime(0) })
        },
    );
    // A force ends all that the others build on: there must not be many.
    prop_oneof![36 => ask, 9 => renew, 18 => back, 9 => withdraw, 3 => tell, 1 => inquire, 1 => declare, 4 => finish, 6 => publish, 3 => read, 6 => peek, 1 => force]
}

pub(super) fn draft() -> impl Strategy<Value = Draft> {
    let refuse_after = prop_oneof![12 => Just(2_000_000i64), 1 => Just(-1_000i64)];
    // None to speak of, a little ahead of what was reserved, and more than a day ahead.
    let floor = prop_oneof![10 => Just(-50_000_000i64), 3 => 0..500_000i64, 1 => Just(90_000_000_000i64)];
    let tombstone = prop::option::weighted(0.15, prop_oneof![Just(2_000_000i64), 500..3_000i64]);
    let since = prop_oneof![Just(0i64), -3_000..0i64, Just(-90_000_000), Just(1_000_000)];
    let pause = prop_oneof![15 => Just(0u64), 1 => 500..3_000u64].prop_map(Duration::from_micros);
    let aim = prop::option::of(0..8usize);
    (operation(), refuse_after, floor, tombstone, since, pause, aim).prop_map(
        |(op, refuse_after, floor, tombstone, since, pause, aim)| Draft {
            op,
            refuse_after,
            floor,
            tombstone,
            since,
            pause,
            aim,
        },
    )
}

/// Turns an operation to what stands: a return to a tenure, with some of its fences handed out; an ask to an entry.
fn aimed(op: Op, aim: Option<usize>, memory: &Memory) -> Op {
    let Some(record) = memory.record(op.key()) else { return op };
    if let Op::Ask(ask) = &op
        && ask.upgrade
        && record.tenures.len() > 1
    {
        // By one who holds beside others, for all there is: only then it is an upgrade, and waits.
        let upgrades = |id: AskId| {
            record.queue.iter().any(|entry| entry.upgrade && entry.id.incarnation == id.incarnation)
        };
        let holders = record.tenures.iter().map(|tenure| tenure.id).filter(|id| !upgrades(*id));
        let upgrader = holders.cycle().nth(usize::try_from(ask.id.seq).unwrap_or_default());
        return match upgrader {
            Some(id) => {
                let (id, units) = (AskId { seq: id.seq + 1, ..id }, record.limit);
                Op::Ask(Ask { id, units, limit: units, give_back: None, ..ask.clone() })
            }
            None => op,
        };
    }
    let Some(aim) = aim else { return op };
    let entry = record.queue.get(aim % record.queue.len().max(1));
    if let Some(forced) = record.forced.get(aim % record.forced.len().max(1)) {
        return about(op, forced.id);
    }
    let Some(tenure) = record.tenures.get(aim % record.tenures.len().max(1)) else { return op };
    let issued = tenure.range.first + (tenure.range.last - tenure.range.first) / 2;
    match op {
        Op::Return(back) => Op::Return(Return { tenure: tenure.id, issued, ..back }),
        Op::Renew(renew) => Op::Renew(Renew { tenure: tenure.id, ..renew }),
        Op::Withdraw(withdraw) => {
            Op::Withdraw(Withdraw { id: entry.map_or(tenure.id, |entry| entry.id), ..withdraw })
        }
        Op::Ask(ask) => match entry {
            Some(entry) => Op::Ask(Ask { id: entry.id, units: entry.units, ..ask }),
            None => {
                let give_back = ask.give_back.map(|back| GiveBack { seq: tenure.id.seq, issued, ..back });
                let id = AskId { seq: tenure.id.seq + 1, ..tenure.id };
                Op::Ask(Ask { id, give_back, ..ask })
            }
        },
        Op::Finish(finish) => {
            let fence = issued + (aim as u64 / 6);
            Op::Finish(Box::new(Finish { tenure: tenure.id, fence, ..*finish }))
        }
        tell => tell,
    }
}

/// What the sidecar says whose tenure was taken, before it knows and then.
fn about(op: Op, id: AskId) -> Op {
    match op {
        Op::Return(back) => Op::Return(Return { tenure: id, ..back }),
        Op::Renew(renew) => Op::Renew(Renew { tenure: id, ..renew }),
        Op::Withdraw(withdraw) => Op::Withdraw(Withdraw { id, ..withdraw }),
        Op::Ask(ask) => {
            let give_back =
                ask.give_back.map(|back| GiveBack { seq: id.seq, keep: back.keep.min(1), ..back });
            Op::Ask(Ask { id: AskId { seq: id.seq + 1, ..id }, give_back, ..ask })
        }
        other => other,
    }
}

#[test]
fn memory_and_redis_answer_alike() {
    let mut redis = RedisSubject::start();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let seen = std::cell::RefCell::new(std::collections::BTreeMap::<String, u32>::new());
    let redis = std::cell::RefCell::new(&mut redis);
    let drafts = prop::collection::vec(draft(), OPERATIONS);
    let compared = runner.run(&drafts, |drafts| {
        let mut redis = redis.borrow_mut();
        redis.flush();
        let mut memory = Memory::default();
        for draft in drafts {
            redis.wait(draft.pause);
            let op = draft.aimed_at(redis.now(), &memory);
            let done = redis.apply(&op);
            let (reply, wakes) = memory.apply(done.at, &op);
            prop_assert_eq!((&done.reply, &done.wakes), (&reply, &wakes), "{:?}", op);
            compare_records(&mut redis, &memory)?;
            let word = format!("{reply:?}");
            let word = word.split([' ', '(']).next().unwrap_or_default().to_string();
            *seen.borrow_mut().entry(word).or_default() += 1;
        }
        Ok(())
    });
    if let Err(difference) = compared {
        panic!("{difference}");
    }
    let seen = seen.into_inner();
    println!("{seen:?}");
    let replies = [
        "Board",
        "ClockRegressed",
        "Forced",
        "Finished",
        "Gone",
        "Granted",
        "LimitMismatch",
        "Published",
        "Queued",
        "Record",
        "Renewed",
        "Returned",
        "Stale",
        "Told",
        "TooLate",
        "Unlocked",
        "UpgradeConflict",
        "Withdrawn",
    ];
    for reply in replies {
        assert!(seen.get(reply).is_some_and(|n| *n >= 20), "{reply} hardly occurs: the test lost its worth");
    }
}

/// Both stores hold the same record, to the byte but for `next_due`, which may be early in Redis; and Redis will keep it
/// for long enough.
pub(super) fn compare_records(redis: &mut RedisSubject, memory: &Memory) -> Result<(), TestCaseError> {
    for (key, escaped) in [(key(0), "a"), (key(1), "%7Bb%7D%3A%25/ключ"), (key(ONCE), "a")] {
        let stored = redis.raw(escaped, key.space());
        let expected = memory.record(&key);
        prop_assert_eq!(stored.as_deref().map(Record::decode), expected.map(|record| Ok(record.clone())));
        if let (Some(mut stored), Some(expected)) = (stored, expected) {
            let before = expected.kept.as_ref().map_or(0, |kept| 55 + kept.success.result.len());
            let place = before + 3..before + 11;
            let next_due = |bytes: &[u8]| u64::from_le_bytes(bytes[place.clone()].try_into().unwrap());
            let left = redis.time_to_live(escaped, key.space());
            let done_only = expected.tenures.is_empty() && expected.queue.is_empty();
            let least = Duration::from_secs(if done_only { 20 } else { 9 * 60 });
            prop_assert!(left > least, "forgotten in {left:?}");
            let expected = expected.encode();
            prop_assert!(next_due(&stored) <= next_due(&expected));
            stored[place.clone()].copy_from_slice(&expected[place.clone()]);
            prop_assert_eq!(stored, expected);
        }
    }
    Ok(())
}

#[test]
fn a_record_outlives_what_it_says_however_it_was_written() {
    let mut redis = RedisSubject::start();
    let store: &mut dyn Subject = &mut redis;
    let ops: [fn(&mut dyn Subject) -> Op; 6] = [
        |store| Op::Ask(permits(store, A, 1, 3, 4)),
        |_| Op::Renew(renewal(A, 1)),
        |store| Op::Ask(permits(store, B, 1, 1, 4)),
        |_| Op::Renew(renewal(B, 1)),
        |store| Op::Ask(permits(store, C, 1, 1, 4)),
        |store| Op::Ask(permits(store, D, 1, 1, 4)),
    ];
    let again: fn(&mut dyn Subject) -> Op = |store| Op::Ask(permits(store, D, 1, 1, 4));
    for op in ops.into_iter().chain([again]) {
        let op = op(store);
        store.apply(&op);
    }
    let name = "orders/%7B42%7D%3A50%25 off/ключ";
    assert!(redis.time_to_live(name, Space::Lock) > TTL + Duration::from_secs(9 * 60));
    let store: &mut dyn Subject = &mut redis;
    store.renew(Renew { ttl: TTL * 360, ..renewal(A, 1) });
    assert!(redis.time_to_live(name, Space::Lock) > TTL * 360 + Duration::from_secs(9 * 60));
}

#[test]
fn what_is_no_record_is_corrupt_and_left_alone() {
    let mut redis = RedisSubject::start();
    let name = b"sl:1:default:{a}:lock";
    let op = Op::Withdraw(Withdraw {
        key: key(0),
        id: AskId { incarnation: Incarnation(1), seq: 1 },
        keep: 0,
        tombstone: None,
    });
    let mut newer = Record::default().encode();
    newer[2] = 3;
    let mut cut = Record::default().encode();
    cut.pop();
    for bytes in [b"".to_vec(), b"hello".to_vec(), cut, newer.clone(), [newer, vec![0; 52]].concat()] {
        let _: String = redis.command(&[b"SET", name, &bytes]);
        let Outcome::NotApplied(Fault::Corrupt(why)) = redis.outcome(&op) else {
            panic!("{bytes:?} was taken for a record");
        };
        let expected = if bytes.get(2) == Some(&3) { "record_too_new" } else { "corrupt" };
        assert!(why.starts_with(expected), "{why}");
        assert_eq!(redis.raw("a", Space::Lock), Some(bytes));
    }
    let _: String = redis.command(&[b"FLUSHALL"]);
    let _: i64 = redis.command(&[b"LPUSH", name, b"somebody's list"]);
    let outcome = redis.outcome(&op);
    assert!(matches!(outcome, Outcome::NotApplied(Fault::Corrupt(_))), "{outcome:?}");
}
