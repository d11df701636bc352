//! All registers of the memory store.
//!
//! Owns the map, and that those without a value are forgotten in time. Must not know what an operation means.

use crate::record::Record;
use crate::register::{Register, Step};
use foldhash::fast::RandomState;
use sidelock_engine::mutant::Mutant;
use sidelock_engine::store::{Op, Reply, Wake};
use sidelock_engine::{Key, StoreTime};
use std::collections::{HashMap, VecDeque};

/// The registers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registers {
    all: HashMap<Key, Box<Register>, RandomState>,
    /// Those without a value, and when each was to be forgotten as it was written. Nearly in order, as they are written.
    lapsing: VecDeque<(StoreTime, Key)>,
}

impl Registers {
    /// Does a register's operation; nothing if it is none.
    pub(crate) fn apply(
        &mut self,
        now: StoreTime,
        op: &Op,
        lock: Option<&Record>,
        mutant: Option<Mutant>,
    ) -> Option<(Reply, Vec<Wake>)> {
        let step = || Step::new(now, self.find(op.key()), lock, mutant);
        let (reply, wakes, register) = match op {
            Op::ReadRegister(read) => step().read(read),
            Op::WriteRegister(write) => step().write(write),
            _ => return None,
        };
        if let Some(register) = register {
            if register.value.is_none() {
                self.lapsing.push_back((register.until, op.key().clone()));
            }
            self.all.insert(op.key().clone(), Box::new(register));
        }
        self.forget_lapsed(now);
        Some((reply, wakes))
    }

    fn forget_lapsed(&mut self, now: StoreTime) {
        while self.lapsing.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, key)) = self.lapsing.pop_front()
                && self.all.get(&key).is_some_and(|register| register.has_lapsed(now))
            {
                self.all.remove(&key);
            }
        }
    }

    pub(crate) fn find(&self, key: &Key) -> Option<&Register> {
        self.all.get(key).map(|register| &**register)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
        self.lapsing.clear();
    }
}
