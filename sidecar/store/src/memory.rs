//! The memory store: every record in one map, as a pure value.
//!
//! Owns the map. Must not know a clock, a runtime or what an operation means: that is `record.rs`. The embedded daemon
//! runs on it, and the simulator wraps it in faults as its model of Redis.

use crate::boards::{Boards, peek};
use crate::record::{Record, Step, clock_regressed};
use crate::register::Register;
use crate::registers::Registers;
use crate::strict::{Marker, Quarantine, Terms};
use foldhash::fast::RandomState;
use sidelock_engine::mutant::Mutant;
use sidelock_engine::store::{Inquire, Op, Push, Reply, Wake};
use sidelock_engine::{Key, StoreTime};
use std::collections::{BTreeSet, HashMap};
use thin_vec::ThinVec;

/// Room for so many records is kept whatever happens.
const ROOM_KEPT: usize = 1024;

/// A store that lives in memory. What it forgets, it forgets with its process.
///
/// ```
/// use sidelock_engine::store::{Op, Reply, Withdraw};
/// use sidelock_engine::{AskId, Incarnation, Key, StoreTime};
///
/// let mut store = sidelock_store::Memory::default();
/// let id = AskId { incarnation: Incarnation(7), seq: 1 };
/// let key = Key::new("orders/42").expect("a key");
/// let (reply, wakes) = store.apply(StoreTime(1), &Op::Withdraw(Withdraw { key, id, keep: 0, tombstone: None }));
/// assert_eq!((reply, wakes.len(), store.keys()), (Reply::Withdrawn, 0, 0));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory {
    records: HashMap<Key, Box<Record>, RandomState>,
    /// Records of which nobody has anything, and when nothing of them need be known any more.
    lapsing: BTreeSet<(StoreTime, Key)>,
    boards: Boards,
    registers: Registers,
    replication: u64,
    /// Boxed, because most have none.
    marker: Option<Box<Marker>>,
    mutant: Option<Mutant>,
}

impl Memory {
    /// An empty store with a deliberate bug; without the feature `mutants`, an honest one.
    pub fn with_mutant(mutant: Option<Mutant>) -> Memory {
        Memory { mutant, ..Memory::default() }
    }

    /// Does one operation at the instant `now`. Instants may repeat and may go back, as any clock's may: then what is
    /// due stays until the clock is there again, and fences still rise as long as the record is known.
    pub fn apply(&mut self, now: StoreTime, op: &Op) -> (Reply, Vec<Wake>) {
        self.run(now, op, None)
    }

    /// The same as a strict store does it (P20), which notices that it was flushed or is another one now.
    pub fn apply_strictly(&mut self, now: StoreTime, op: &Op, terms: &Terms) -> (Reply, Vec<Wake>) {
        let there = self.marker().copied();
        let marker = Marker::next(there, now, self.replication, terms, self.mutant);
        if there != Some(marker) {
            self.marker = Some(Box::new(marker));
        }
        self.run(now, &terms.bound(op), marker.quarantine(now, self.mutant))
    }

    fn run(&mut self, now: StoreTime, op: &Op, quarantine: Option<Quarantine>) -> (Reply, Vec<Wake>) {
        match op {
            Op::Tell(tell) => {
                let push = Push::Busy { key: tell.key.clone(), ask: tell.ask, free_in: tell.free_in };
                return (Reply::Told, vec![Wake { to: tell.ask.incarnation, push }]);
            }
            Op::Inquire(Inquire { key, more, inquiry, to }) => {
                let push = Push::Inquired { key: key.clone(), more: more.clone(), inquiry: *inquiry };
                return (Reply::Told, vec![Wake { to: *to, push }]);
            }
            Op::Declare(declare) => {
                let push = Push::Declared(declare.clone());
                return (Reply::Told, vec![Wake { to: declare.inquiry.incarnation, push }]);
            }
            Op::Publish(publish) => return (self.boards.publish(now, publish), Vec::new()),
            Op::ReadBoard { board } => return (self.boards.read(now, board), Vec::new()),
            Op::Peek { key } => {
                let peeked = self.records.get(key).map(|record| peek(now, record));
                return (Reply::Record(peeked.unwrap_or_default()), Vec::new());
            }
            _ => {}
        }
        let lock = op.bound_to().and_then(|lock| self.records.get(&lock));
        if let Some(stepped) = self.registers.apply(now, op, lock.map(|record| &**record), self.mutant) {
            return stepped;
        }
        if clock_regressed(now, op) {
            return (Reply::ClockRegressed, Vec::new());
        }
        let mut new = Record::default();
        let known = self.records.get_mut(op.key());
        let was_known = known.is_some();
        let record = known.map_or(&mut new, |record| &mut **record);
        let lapsed_at = record.lapses_at();
        let mut step =
            Step { now, key: op.key(), record, wakes: Vec::new(), quarantine, mutant: self.mutant };
        step.settle();
        let reply = match op {
            Op::Ask(ask) => step.ask(ask),
            Op::Renew(renew) => step.renew(renew),
            Op::Reassert(reassert) => step.reassert(reassert),
            Op::Return(back) => step.give_back(back),
            Op::Withdraw(withdraw) => step.withdraw(withdraw),
            Op::Finish(finish) => step.finish(finish),
            Op::Tell(_)
            | Op::Inquire(_)
            | Op::Declare(_)
            | Op::Publish(_)
            | Op::ReadBoard { .. }
            | Op::Peek { .. } => unreachable!("answered above"),
            Op::Force(force) => step.force(force),
            Op::ReadRegister(_) | Op::WriteRegister(_) => unreachable!("answered by the registers"),
        };
        let Step { record, wakes, .. } = step;
        if record.queue.is_empty() {
            // Every tenure was in the queue for a moment; the room for that would be kept as long as the key is.
            record.queue = ThinVec::new();
        }
        let is_empty = record.is_empty(now);
        let lapses_at = record.lapses_at().filter(|_| !is_empty);
        if lapses_at != lapsed_at {
            let of = |at| (at, op.key().clone());
            if let Some(at) = lapsed_at {
                self.lapsing.remove(&of(at));
            }
            self.lapsing.extend(lapses_at.map(of));
        }
        match (was_known, is_empty) {
            (true, true) => self.forget(op.key()),
            (false, false) => drop(self.records.insert(op.key().clone(), Box::new(new))),
            _ => {}
        }
        (reply, wakes)
    }

    /// Forgets what nobody can want to know any more: turns that were done, above all, which nobody asks for again. Redis does so
    /// by itself, some time later.
    pub fn forget_lapsed(&mut self, now: StoreTime) {
        while self.lapsing.first().is_some_and(|(at, _)| *at < now) {
            if let Some((_, key)) = self.lapsing.pop_first()
                && self.record(&key).and_then(Record::lapses_at).is_some_and(|at| at < now)
            {
                self.forget(&key);
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        self.records.remove(key);
        let room = self.records.capacity();
        if room > ROOM_KEPT && self.records.len() < room / 8 {
            self.records.shrink_to(room / 4);
        }
    }

    /// Forgets a key, as a Redis does that evicts (A4).
    pub fn evict(&mut self, key: &Key) {
        self.forget(key);
    }

    /// Forgets everything, as FLUSHALL does.
    pub fn flush(&mut self) {
        self.records.clear();
        self.lapsing.clear();
        self.boards.clear();
        self.registers.clear();
        self.marker = None;
    }

    /// Is the store of another replication from now on, with the data that it has: as a replica that becomes the primary is, and
    /// a primary that starts anew.
    pub fn replicate(&mut self, replication: u64) {
        self.replication = replication;
    }

    /// What it keeps of itself, if it was ever used strictly.
    pub fn marker(&self) -> Option<&Marker> {
        self.marker.as_deref()
    }

    /// Keys with a record, registers among them.
    pub fn keys(&self) -> usize {
        self.records.len() + self.registers.len()
    }

    /// What is known of a register.
    pub fn register(&self, key: &Key) -> Option<&Register> {
        self.registers.find(key)
    }

    /// What is known of a key.
    pub fn record(&self, key: &Key) -> Option<&Record> {
        self.records.get(key).map(|record| &**record)
    }
}
