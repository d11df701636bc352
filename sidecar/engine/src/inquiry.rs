//! Inquiries: other sidecars are asked who of their clients has a key, and who waits for it.
//!
//! Owns whom this sidecar asks, for how long it waits, and how often it answers. Must not know what a declaration says. Both
//! ways are pushes, which may be lost, and a sidecar may be stopped: who does not answer in time stays unknown. Who
//! inquires is a person who looks, or has a refusal to explain that is certain already: nothing that a lock waits for. To
//! find deadlocks takes boards.

use crate::declaration::{Declaration, decode_all, encode_all};
use crate::engine::Engine;
use crate::fleet_graph::Look;
use crate::model::{AskId, Incarnation, Key, Time};
use crate::store::{Declare, Inquire, Op, keys_of, put_keys};
use crate::survey::Declarations;
use crate::timers::Timer;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Questions of an inquiry at most: about one key, as many sidecars. Those that hold are asked first.
const QUESTIONS_MAX: usize = 64;
/// Inquiries under way. Looks beyond it show what the store and the boards say.
const INQUIRIES_MAX: usize = 64;
/// Declarations are waited for so long …
const PATIENCE: Duration = Duration::from_millis(100);
/// … or this many round trips to the store, if that is longer. Question and answer take two.
const PATIENCE_ROUND_TRIPS: u32 = 4;
/// Keys that this sidecar answers for within a second; questions after that are not heard, whoever asks. It is a whole
/// listing of the fleet, or a look a second from each of a thousand sidecars at who leads.
pub(crate) const DECLARED_PER_SECOND: u32 = 1024;

/// What is asked, and what was answered.
#[derive(Default)]
pub(crate) struct Inquiries {
    /// The number last given, to an inquiry or to a question of one. An inquiry's comes before those of its questions.
    last: u64,
    open: BTreeMap<u64, Inquiry>,
    /// The second that is counted began here, and has so many answers.
    second: Time,
    declared: u32,
}

struct Inquiry {
    purpose: Purpose,
    awaited: BTreeMap<u64, Question>,
    /// What was answered, of each key that it is about.
    declarations: Declarations,
    due: Time,
}

/// What the answers are for.
pub(crate) enum Purpose {
    /// A person looks.
    Look {
        /// Carried back.
        ticket: u64,
        /// What the store and the boards said.
        look: Look,
    },
    /// An upgrade of this resource has to be refused because of another sidecar's.
    Refusal {
        /// Which.
        resource: usize,
        /// Where the other is.
        upgrader: Incarnation,
    },
}

/// What one sidecar is asked at a time.
struct Question {
    to: Incarnation,
    keys: Vec<Key>,
}

/// Who is to be asked, and about what.
pub(crate) type Wanted = Vec<(Incarnation, BTreeSet<Key>)>;

impl Engine {
    /// All that the store and the boards say was seen: now those are asked who hold these keys or wait for them.
    pub(crate) fn inquire_around(&mut self, now: Time, ticket: u64, look: Look, about: Vec<Key>) {
        let wanted = whom_to_ask(&look, &about, self.config.incarnation);
        let number = self.inquire(now, Purpose::Look { ticket, look }, about, wanted);
        self.conclude_inquiry(now, number);
    }

    /// Asks others. The number of the inquiry, which the caller concludes, in case there is nobody to wait for.
    pub(crate) fn inquire(
        &mut self,
        now: Time,
        purpose: Purpose,
        about: Vec<Key>,
        mut wanted: Wanted,
    ) -> u64 {
        if self.inquiries.open.len() >= INQUIRIES_MAX || !self.link.is_up() {
            wanted.clear();
        }
        let number = self.next_number();
        let mut awaited = BTreeMap::new();
        for (to, keys) in wanted {
            let keys: Vec<Key> = keys.into_iter().collect();
            let mut left = &keys[..];
            while let Some((first, others)) = left.split_first()
                && awaited.len() < QUESTIONS_MAX
            {
                let (more, count) = put_keys(others);
                let inquiry = AskId { incarnation: self.config.incarnation, seq: self.next_number() };
                let op = Inquire { key: first.clone(), more, inquiry, to };
                self.send_for_patrol(now, Op::Inquire(op));
                let (asked, rest) = left.split_at(count + 1);
                awaited.insert(inquiry.seq, Question { to, keys: asked.to_vec() });
                left = rest;
            }
        }
        let due = now + PATIENCE.max(self.link.round_trip() * PATIENCE_ROUND_TRIPS);
        self.timers.arm(due, Timer::Inquiry(number));
        let declarations = about.into_iter().map(|key| (key, BTreeMap::new())).collect();
        self.inquiries.open.insert(number, Inquiry { purpose, awaited, declarations, due });
        number
    }

    fn next_number(&mut self) -> u64 {
        self.inquiries.last += 1;
        self.inquiries.last
    }

    /// Another sidecar said how it stands.
    pub(crate) fn declared(&mut self, now: Time, declare: &Declare) {
        let seq = declare.inquiry.seq;
        let Some((&number, inquiry)) = self.inquiries.open.range_mut(..=seq).next_back() else { return };
        let Some(question) = inquiry.awaited.get(&seq) else { return };
        if declare.inquiry.incarnation != self.config.incarnation
            || declare.from != question.to
            || Some(&declare.key) != question.keys.first()
        {
            return;
        }
        let Some(declarations) = decode_all(&declare.declarations) else { return };
        if declarations.len() != question.keys.len() {
            return;
        }
        for (key, declaration) in question.keys.iter().zip(declarations) {
            inquiry.declarations.entry(key.clone()).or_default().insert(question.to, declaration);
        }
        inquiry.awaited.remove(&seq);
        self.conclude_inquiry(now, number);
    }

    /// Goes on with what is known, if nobody is waited for any more.
    pub(crate) fn conclude_inquiry(&mut self, now: Time, number: u64) {
        let over = |inquiry: &Inquiry| inquiry.awaited.is_empty() || inquiry.due <= now;
        if !self.inquiries.open.get(&number).is_some_and(over) {
            return;
        }
        let Some(inquiry) = self.inquiries.open.remove(&number) else { return };
        self.timers.disarm(inquiry.due, Timer::Inquiry(number));
        let Inquiry { purpose, declarations, .. } = inquiry;
        match purpose {
            Purpose::Look { ticket, look } => self.surveyed(now, ticket, look, declarations),
            Purpose::Refusal { resource, upgrader } => {
                let mut said = declarations.into_values().flatten();
                self.refuse_conflicted(
                    now,
                    (resource, number),
                    upgrader,
                    said.next().map(|(_, declaration)| declaration),
                );
            }
        }
    }

    /// Another sidecar asks how this one stands.
    pub(crate) fn inquired(&mut self, now: Time, key: Key, more: &[u8], inquiry: AskId) {
        let Some(keys) = keys_of(key.clone(), more) else { return };
        if !self.link.is_up() || !self.inquiries.may_declare(now, keys.len()) {
            return;
        }
        let from = self.config.incarnation;
        let declarations: Vec<Declaration> =
            keys.iter().map(|key| self.compose_declaration(now, key)).collect();
        let declarations = encode_all(&declarations).into();
        self.send_for_patrol(now, Op::Declare(Box::new(Declare { key, inquiry, from, declarations })));
    }
}

impl Inquiries {
    /// Takes so many of the answers that there are to a second, if there is one left.
    fn may_declare(&mut self, now: Time, count: usize) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.declared) = (now, 0);
        }
        let left = self.declared < DECLARED_PER_SECOND;
        self.declared += if left { count as u32 } else { 0 };
        left
    }
}

/// Whom to ask about which of these keys: sidecars that hold come first.
fn whom_to_ask(look: &Look, about: &[Key], me: Incarnation) -> Wanted {
    let records = || about.iter().filter_map(|key| Some((key, look.records.get(key)?)));
    let holders = records().flat_map(|(key, record)| record.tenures.iter().map(move |held| (key, held.id)));
    let queue = records().flat_map(|(key, record)| record.queue.iter().map(move |entry| (key, entry.id)));
    let mut places = BTreeMap::new();
    let mut wanted = Wanted::new();
    for (key, AskId { incarnation: to, .. }) in holders.chain(queue).filter(|(_, id)| id.incarnation != me) {
        let place = *places.entry(to).or_insert(wanted.len());
        if place == wanted.len() {
            wanted.push((to, BTreeSet::new()));
        }
        wanted[place].1.insert(key.clone());
    }
    wanted
}

#[cfg(test)]
#[path = "tests/inquiry.rs"]
mod tests;
