//! Inquiries: for a person who looks at a key, the other sidecars that its record names are asked who has it there.
//!
//! Owns whom this sidecar asks, for how long it waits, and how often it answers. Must not know what a stand says. Both
//! ways are pushes, which may be lost, and a sidecar may be stopped: who does not answer in time stays unknown. Only the
//! looks of people inquire; to find deadlocks takes boards, and nothing that a lock waits for.

use crate::engine::Engine;
use crate::fleet_graph::Look;
use crate::model::{AskId, Incarnation, Key, Time};
use crate::stand::Stand;
use crate::store::{Declare, Inquire, Op};
use crate::timers::Timer;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Sidecars that an inquiry asks at most: the first ones that hold, then those that wait.
const INQUIRED_MAX: usize = 64;
/// Inquiries under way. Looks beyond it show what the store and the boards say.
const INQUIRIES_MAX: usize = 16;
/// Stands are waited for so long …
const PATIENCE: Duration = Duration::from_millis(100);
/// … or this many round trips to the store, if that is longer. Question and answer take two.
const PATIENCE_ROUND_TRIPS: u32 = 4;
/// Answers within a second; more questions than that are not heard, whoever asks.
pub(crate) const DECLARED_PER_SECOND: u32 = 32;

/// What is asked, and what was answered.
#[derive(Default)]
pub(crate) struct Inquiries {
    last: u64,
    open: BTreeMap<u64, Inquiry>,
    /// The second that is counted began here, and has so many answers.
    second: Time,
    declared: u32,
}

struct Inquiry {
    ticket: u64,
    key: Key,
    look: Look,
    awaited: BTreeSet<Incarnation>,
    stands: BTreeMap<Incarnation, Stand>,
    due: Time,
}

impl Engine {
    /// All that the store and the boards say around this key was seen: now those are asked who hold it or wait for it.
    pub(crate) fn inquire(&mut self, now: Time, ticket: u64, key: Key, look: Look) {
        let me = self.config.incarnation;
        let record = look.records.get(&key);
        let holders = record.iter().flat_map(|record| record.tenures.iter().map(|held| held.id.incarnation));
        let queue = record.iter().flat_map(|record| record.queue.iter().map(|entry| entry.id.incarnation));
        let mut awaited = BTreeSet::new();
        for other in holders.chain(queue).filter(|other| *other != me) {
            if awaited.len() < INQUIRED_MAX {
                awaited.insert(other);
            }
        }
        if self.inquiries.open.len() >= INQUIRIES_MAX || !self.link.is_up() {
            awaited.clear();
        }
        self.inquiries.last += 1;
        let number = self.inquiries.last;
        let inquiry = AskId { incarnation: me, seq: number };
        for to in awaited.iter().copied() {
            self.send_for_patrol(now, Op::Inquire(Inquire { key: key.clone(), inquiry, to }));
        }
        let due = now + PATIENCE.max(self.link.round_trip() * PATIENCE_ROUND_TRIPS);
        self.timers.arm(due, Timer::Inquiry(number));
        let stands = BTreeMap::new();
        self.inquiries.open.insert(number, Inquiry { ticket, key, look, awaited, stands, due });
        self.conclude_inquiry(now, number);
    }

    /// Another sidecar said how it stands.
    pub(crate) fn declared(&mut self, now: Time, declare: &Declare) {
        let number = declare.inquiry.seq;
        let Some(inquiry) = self.inquiries.open.get_mut(&number) else { return };
        if declare.inquiry.incarnation != self.config.incarnation || declare.key != inquiry.key {
            return;
        }
        let Some(stand) = Stand::decode(&declare.stand) else { return };
        if inquiry.awaited.remove(&declare.from) {
            inquiry.stands.insert(declare.from, stand);
            self.conclude_inquiry(now, number);
        }
    }

    /// Shows what is known, if nobody is waited for any more.
    pub(crate) fn conclude_inquiry(&mut self, now: Time, number: u64) {
        let over = |inquiry: &Inquiry| inquiry.awaited.is_empty() || inquiry.due <= now;
        if !self.inquiries.open.get(&number).is_some_and(over) {
            return;
        }
        let Some(inquiry) = self.inquiries.open.remove(&number) else { return };
        self.timers.disarm(inquiry.due, Timer::Inquiry(number));
        let Inquiry { ticket, key, look, mut stands, .. } = inquiry;
        stands.insert(self.config.incarnation, self.compose_stand(now, &key));
        self.surveyed(ticket, look, Some(key), stands);
    }

    /// Another sidecar asks how this one stands.
    pub(crate) fn inquired(&mut self, now: Time, key: Key, inquiry: AskId) {
        if !self.link.is_up() || !self.inquiries.may_declare(now) {
            return;
        }
        let from = self.config.incarnation;
        let stand = self.compose_stand(now, &key).encode().into();
        self.send_for_patrol(now, Op::Declare(Box::new(Declare { key, inquiry, from, stand })));
    }
}

impl Inquiries {
    /// Takes one of the answers that there are to a second, if there is one left.
    fn may_declare(&mut self, now: Time) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.declared) = (now, 0);
        }
        let left = self.declared < DECLARED_PER_SECOND;
        self.declared += u32::from(left);
        left
    }
}

#[cfg(test)]
#[path = "tests/inquiry.rs"]
mod tests;
