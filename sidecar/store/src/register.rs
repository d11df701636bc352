//! What a store knows of one register, and how one operation changes it (P17).
//!
//! Owns the rules of versions, of conditions, of writes that arrive twice and of fences for one register and one atomic step,
//! in which it may look at the lock's record of the same text, but never writes that. Must not know where either is kept, or
//! the clock. `scripts/register.lua` says the same for Redis, function by function and in the same order: change both or none.

use crate::record::Record;
use sidelock_engine::mutant::Mutant;
use sidelock_engine::store::{
    ABSENT_TTL, Bound, Condition, Known, Push, ReadRegister, Reply, Version, Wake, Watch, WriteRegister,
};
use sidelock_engine::{AskId, Etag, Incarnation, StoreTime};
use std::sync::Arc;

/// What a store knows of one register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// The version of what is there, or of the deletion; [`Etag::NEVER`] if it was never written.
    pub etag: Etag,
    /// Copies of the write that made this version may arrive until then.
    pub repeats_until: StoreTime,
    /// The greatest fence under which it was read or written.
    pub fence_seen: u64,
    /// A register without a value is forgotten at this instant; zero where there is one.
    pub until: StoreTime,
    /// What is there.
    pub value: Option<Arc<[u8]>>,
    /// Writes that were followed by another sidecar's, while copies of them may arrive; at most one per incarnation.
    pub done: Vec<Done>,
    /// Who wants to hear of changes; at most one entry per incarnation.
    pub watchers: Vec<Watcher>,
}

/// A write that was followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The version that it made.
    pub etag: Etag,
    /// Copies of it may arrive until then.
    pub until: StoreTime,
}

/// A sidecar that wants to hear of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// Which.
    pub incarnation: Incarnation,
    /// For how long.
    pub until: StoreTime,
}

impl Default for Register {
    /// Never written.
    fn default() -> Register {
        Register {
            etag: Etag::NEVER,
            repeats_until: StoreTime(0),
            fence_seen: 0,
            until: StoreTime(0),
            value: None,
            done: Vec::new(),
            watchers: Vec::new(),
        }
    }
}

impl Register {
    /// Nobody can miss it any more.
    pub(crate) fn has_lapsed(&self, now: StoreTime) -> bool {
        self.value.is_none() && self.until <= now
    }

    fn version(&self) -> Option<Version> {
        self.value.as_ref().map(|value| Version { etag: self.etag, value: value.clone() })
    }
}

/// One operation on one register at one instant.
pub(crate) struct Step<'a> {
    now: StoreTime,
    register: Register,
    /// The record of the lock with the same text.
    lock: Option<&'a Record>,
    is_changed: bool,
    mutant: Option<Mutant>,
}

/// What a step comes to: the answer, whom it wakes, and the register from now on if it changed.
pub(crate) type Stepped = (Reply, Vec<Wake>, Option<Register>);

impl<'a> Step<'a> {
    /// On what is stored. How every operation begins: drops what is due.
    pub(crate) fn new(
        now: StoreTime,
        stored: Option<&Register>,
        lock: Option<&'a Record>,
        mutant: Option<Mutant>,
    ) -> Step<'a> {
        let mut register = stored.filter(|stored| !stored.has_lapsed(now)).cloned().unwrap_or_default();
        register.done.retain(|done| done.until >= now);
        register.watchers.retain(|watcher| watcher.until > now);
        Step { now, register, lock, is_changed: false, mutant }
    }

    pub(crate) fn read(mut self, op: &ReadRegister) -> Stepped {
        if !self.enters(op.bound) {
            return self.done(Reply::StaleFence);
        }
        if let Some(watch) = op.watch {
            self.watch(watch);
        }
        let is_known = match op.known {
            Known::Nothing => false,
            Known::Absent => self.register.value.is_none(),
            Known::Version(etag) => self.register.value.is_some() && self.register.etag == etag,
        };
        let reply = if is_known { Reply::Unchanged } else { Reply::Register(self.register.version()) };
        self.done(reply)
    }

    pub(crate) fn write(mut self, op: &WriteRegister) -> Stepped {
        if let Some(reply) = self.repeated(op.id).filter(|_| !Mutant::RepeatedWriteRuns.is(self.mutant)) {
            return self.done(reply);
        }
        if self.now > op.refuse_after {
            return self.done(Reply::TooLate);
        }
        if !self.enters(op.bound) && !Mutant::FencedWriteUnchecked.is(self.mutant) {
            return self.done(Reply::StaleFence);
        }
        if !self.meets(op.condition) {
            let current = self.register.version();
            return self.done(Reply::Conflict(current));
        }
        if op.value.is_none() && self.register.value.is_none() {
            return self.done(Reply::Register(None));
        }
        self.put(op)
    }

    /// Whether the lease that the operation is bound to stands; if so, no earlier one gets in after it.
    fn enters(&mut self, bound: Option<Bound>) -> bool {
        let Some(Bound { tenure, fence }) = bound else { return true };
        let stands = self.lock.is_some_and(|lock| {
            let mut tenures = lock.tenures.iter();
            tenures.any(|held| held.id == tenure && held.until > self.now && fence <= held.range.last)
        });
        if !stands || fence < self.register.fence_seen {
            return false;
        }
        if fence > self.register.fence_seen {
            self.register.fence_seen = fence;
            self.is_changed = true;
            self.stay(self.now + ABSENT_TTL);
        }
        true
    }

    /// Without a value it is remembered until then at least.
    fn stay(&mut self, until: StoreTime) {
        if self.register.value.is_none() {
            self.register.until = self.register.until.max(until);
        }
    }

    /// Enters a watcher, or refreshes it once half of its time is over: a refresh costs a write.
    fn watch(&mut self, watch: Watch) {
        let until = self.now + watch.ttl;
        let watchers = &mut self.register.watchers;
        match watchers.iter_mut().find(|watcher| watcher.incarnation == watch.incarnation) {
            Some(watcher) if watcher.until >= self.now + watch.ttl / 2 => return,
            Some(watcher) => watcher.until = until,
            None => watchers.push(Watcher { incarnation: watch.incarnation, until }),
        }
        self.is_changed = true;
        self.stay(until);
    }

    /// The answer to a write that was done before, or that a later one of its incarnation followed (P7).
    fn repeated(&self, id: AskId) -> Option<Reply> {
        let done = self.register.done.iter().map(|done| done.etag).chain([self.register.etag]);
        let mine =
            done.filter(|etag| etag.writer.incarnation == id.incarnation).max_by_key(|etag| etag.number)?;
        match mine.writer.seq {
            seq if seq == id.seq => Some(Reply::Written(mine)),
            seq if seq > id.seq => Some(Reply::Stale),
            _ => None,
        }
    }

    fn meets(&self, condition: Condition) -> bool {
        match condition {
            Condition::Any => true,
            Condition::Absent => self.register.value.is_none(),
            Condition::Present => self.register.value.is_some(),
            Condition::Match(etag) => self.register.value.is_some() && self.register.etag == etag,
        }
    }

    fn put(mut self, op: &WriteRegister) -> Stepped {
        let (now, me) = (self.now, op.id.incarnation);
        let register = &mut self.register;
        let before = register.etag;
        register.done.retain(|done| done.etag.writer.incarnation != me);
        if before.number > 0 && before.writer.incarnation != me && register.repeats_until >= now {
            register.done.retain(|done| done.etag.writer.incarnation != before.writer.incarnation);
            register.done.push(Done { etag: before, until: register.repeats_until });
        }
        let etag = Etag { number: now.0.max(before.number + 1), writer: op.id };
        register.etag = etag;
        register.repeats_until = op.refuse_after;
        register.value = op.value.clone();
        register.until = StoreTime(0);
        self.is_changed = true;
        let watched_until = self.register.watchers.iter().map(|watcher| watcher.until).max();
        self.stay((now + ABSENT_TTL).max(watched_until.unwrap_or_default()));
        let mut stepped = self.done(Reply::Written(etag));
        stepped.1.extend(stepped.2.iter().flat_map(|register| &register.watchers).filter_map(|watcher| {
            let push = Push::Changed { key: op.key.clone() };
            (watcher.incarnation != me).then_some(Wake { to: watcher.incarnation, push })
        }));
        stepped
    }

    fn done(self, reply: Reply) -> Stepped {
        (reply, Vec::new(), self.is_changed.then_some(self.register))
    }
}

#[cfg(test)]
#[path = "tests/register.rs"]
mod tests;
