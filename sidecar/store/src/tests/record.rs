//! What holds of every record after any sequence of operations.

use super::*;
use crate::Memory;
use proptest::prelude::*;
use sidelock_engine::store::{Force, GiveBack, REFUSE_AFTER};
use std::collections::BTreeSet;

/// One step of a random life: time passes, then an operation, or everything is lost.
#[derive(Clone, Debug)]
enum Event {
    Op(u64, Op),
    Flush,
}

const SIDECARS: u128 = 4;
const LIMIT: u32 = 4;

fn key() -> Key {
    Key::new("k").unwrap()
}

fn id() -> impl Strategy<Value = AskId> {
    (1..=SIDECARS, 1..12u64).prop_map(|(n, seq)| AskId { incarnation: Incarnation(n), seq })
}

/// For all units.
fn ask_for_all(id: AskId, ttl: Duration) -> Ask {
    Ask {
        key: key(),
        id,
        units: LIMIT,
        limit: LIMIT,
        ttl,
        entry_ttl: ttl,
        floor: 0,
        refuse_after: StoreTime(0),
        give_back: None,
        upgrade: false,
        waiting_since: None,
    }
}

fn op() -> impl Strategy<Value = Op> {
    let ttl = || prop_oneof![Just(Duration::from_secs(10)), Just(Duration::from_millis(5))];
    let back = prop::option::of((1..12u64, 0..LIMIT))
        .prop_map(|back| back.map(|(seq, keep)| GiveBack { seq, keep, issued: 0 }));
    let ask = (id(), 1..=LIMIT, ttl(), ttl(), back, any::<bool>()).prop_map(
        |(id, units, ttl, entry_ttl, give_back, upgrade)| {
            Op::Ask(Ask { units, entry_ttl, give_back, upgrade, ..ask_for_all(id, ttl) })
        },
    );
    let renew = (id(), any::<bool>()).prop_map(|(tenure, top_up)| {
        Op::Renew(Renew { key: key(), tenure, ttl: Duration::from_secs(10), floor: 0, top_up })
    });
    let back = (id(), prop_oneof![Just(0), 1..LIMIT]).prop_map(|(tenure, keep)| {
        Op::Return(Return { key: key(), tenure, keep, issued: 0, tombstone: None })
    });
    let withdraw = (id(), 0..LIMIT, any::<bool>()).prop_map(|(id, keep, bury)| {
        let tombstone = bury.then_some(StoreTime(0));
        Op::Withdraw(Withdraw { key: key(), id, keep, tombstone })
    });
    let force = Just(()).prop_map(|()| {
        let order = Order { by: 0, reason: "stuck".into() };
        Op::Force(Force { key: key(), from: Incarnation(1), order, refuse_after: StoreTime(0) })
    });
    prop_oneof![12 => ask, 4 => renew, 6 => back, 2 => withdraw, 1 => force]
}

fn event() -> impl Strategy<Value = Event> {
    let pause = prop_oneof![8 => 1..50u64, 3 => 50..10_000u64, 1 => Just(12_000_000u64)];
    prop_oneof![30 => (pause, op()).prop_map(|(pause, op)| Event::Op(pause, op)), 1 => Just(Event::Flush)]
}

/// What the sidecars together know: they hand out the first fence of every range they get.
#[derive(Default)]
struct Fences {
    issued: BTreeSet<u64>,
    reserved_max: u64,
}

impl Fences {
    fn got(&mut self, range: FenceRange) -> Result<(), TestCaseError> {
        prop_assert!(range.first <= range.last);
        if self.issued.contains(&range.first) {
            return Ok(()); // A repeat of what was granted before.
        }
        prop_assert!(self.issued.last().is_none_or(|highest| range.first > *highest), "a fence went back");
        self.issued.insert(range.first);
        self.reserved_max = self.reserved_max.max(range.last);
        Ok(())
    }
}

/// Fills in what depends on the instant.
fn timed(op: Op, now: StoreTime, fences: &Fences) -> Op {
    let issued = fences.issued.last().copied().unwrap_or(0);
    match op {
        Op::Ask(ask) => {
            let give_back = ask.give_back.map(|back| GiveBack { issued, ..back });
            Op::Ask(Ask { refuse_after: now + REFUSE_AFTER, give_back, ..ask })
        }
        Op::Return(back) => Op::Return(Return { issued, ..back }),
        Op::Force(force) => Op::Force(Force { refuse_after: now + REFUSE_AFTER, ..force }),
        Op::Withdraw(withdraw) => {
            Op::Withdraw(Withdraw { tombstone: withdraw.tombstone.map(|_| now + REFUSE_AFTER), ..withdraw })
        }
        other => other,
    }
}

fn check(record: &Record, now: StoreTime) -> Result<(), TestCaseError> {
    prop_assert!(!record.is_empty(now), "an empty record was kept");
    let held: u64 = record.tenures.iter().map(|tenure| u64::from(tenure.units)).sum();
    prop_assert!(held <= record.used() && record.used() <= u64::from(LIMIT), "more units than there are");
    let unique = |ids: Vec<Incarnation>| ids.iter().collect::<BTreeSet<_>>().len() == ids.len();
    prop_assert!(unique(record.tenures.iter().map(|tenure| tenure.id.incarnation).collect()));
    prop_assert!(unique(record.queue.iter().map(|entry| entry.id.incarnation).collect()));
    prop_assert!(unique(record.done.iter().map(|done| done.incarnation).collect()));
    prop_assert!(unique(record.forced.iter().map(|forced| forced.id.incarnation).collect()));
    for tenure in &record.tenures {
        let knows = record.forced.iter().all(|forced| forced.id.incarnation != tenure.id.incarnation);
        prop_assert!(knows, "granted to a sidecar that does not know what it lost");
        prop_assert!(tenure.units > 0 && tenure.origin <= tenure.range.first);
        prop_assert!(tenure.range.last <= record.last);
    }
    prop_assert!(record.queue.iter().filter(|entry| entry.upgrade).count() <= 1, "two wait for each other");
    let mut again = record.clone();
    let mut step =
        Step { now, key: &key(), record: &mut again, wakes: Vec::new(), quarantine: None, mutant: None };
    step.settle();
    prop_assert!(step.wakes.is_empty(), "somebody who fits was not offered");
    prop_assert_eq!(&again, record, "settle does everything at once");
    prop_assert_eq!(Record::decode(&record.encode()), Ok(record.clone()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn units_and_fences_hold_whatever_happens(events in prop::collection::vec(event(), 1..150)) {
        let (mut store, mut fences, mut now) = (Memory::default(), Fences::default(), StoreTime(1_700_000_000_000_000));
        for event in events {
            let Event::Op(pause, op) = event else {
                store.flush();
                continue;
            };
            now.0 += pause;
            let op = timed(op, now, &fences);
            let (reply, _) = store.apply(now, &op);
            match reply {
                Reply::Granted(tenancy) => fences.got(tenancy.range)?,
                Reply::Renewed { range: Some(range), .. } => fences.got(range)?,
                _ => {}
            }
            prop_assert!(fences.reserved_max <= now.0 + FENCE_LEAD_MAX_US + 2, "P1: the bound on which a fresh start relies");
            if let Some(record) = store.record(&key()) {
                check(record, now)?;
            }
        }
    }
}

#[test]
fn what_holds_until_an_instant_is_over_at_it_and_what_counts_up_to_one_still_counts() {
    let (start, ttl) = (StoreTime(1_700_000_000_000_000), Duration::from_secs(10));
    let ask = |n, seq, refuse_after| {
        Op::Ask(Ask { refuse_after, ..ask_for_all(AskId { incarnation: Incarnation(n), seq }, ttl) })
    };
    let end = start + ttl;
    let before = StoreTime(end.0 - 1);
    let reply = |store: &mut Memory, now, op| store.apply(now, &op).0;

    let mut store = Memory::default();
    assert!(
        matches!(reply(&mut store, start, ask(1, 1, start)), Reply::Granted(_)),
        "refuse-after still counts"
    );
    assert_eq!(reply(&mut store, end, ask(2, 1, before)), Reply::TooLate);
    let mut store = Memory::default();
    reply(&mut store, start, ask(1, 1, start));
    assert!(
        matches!(reply(&mut store, before, ask(2, 1, end)), Reply::Queued(_)),
        "a tenure holds until then"
    );
    assert!(matches!(reply(&mut store, end, ask(2, 1, end)), Reply::Granted(_)), "and not longer");

    let mut store = Memory::default();
    let id = AskId { incarnation: Incarnation(1), seq: 1 };
    let bury = Op::Withdraw(Withdraw { key: key(), id, keep: 0, tombstone: Some(end) });
    reply(&mut store, start, bury);
    assert_eq!(
        reply(&mut store, end, ask(1, 1, end)),
        Reply::Stale,
        "a tombstone counts as long as the ask could"
    );
    let after = StoreTime(end.0 + 1);
    assert!(matches!(reply(&mut store, after, ask(1, 1, after)), Reply::Granted(_)));
}
