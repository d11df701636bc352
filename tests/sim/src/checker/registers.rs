//! Registers: no update is lost, no write runs twice, and nobody gets in after a later fence (P17).
//!
//! Owns what the store's own history of a register says about the answers that clients got. Every write says which version
//! its writer had read, so an update is lost exactly where a write replaces another version. Histories without the store's
//! side pass.

use super::book::Book;
use super::history::{Answer, At, Bounds, Event, Refused, Req, Sent};
use super::value::{Act, Asked, Stored, Told, Value, Version};
use super::{Findings, Rule, slot};
use std::collections::{HashMap, HashSet};

/// One register, as the store has it.
#[derive(Default)]
struct Register {
    current: Option<(Version, Req)>,
    /// What the store lost, as long as nothing was written since.
    lost: Option<(Version, Req)>,
    /// Nothing was there until then.
    absent_until: At,
    /// The greatest number that any version had.
    last: u64,
    /// The greatest token under which it was read or written.
    seen: u64,
}

/// A version that was once current.
struct Past {
    register: u32,
    value: Value,
    replaced_at: Option<At>,
}

/// What a write took the place of; versions, and who had written them.
#[derive(Clone, Copy)]
struct Replaced {
    /// What was there.
    current: Option<(Version, Req)>,
    /// What would be there, had the store not lost it.
    lost: Option<(Version, Req)>,
}

impl Replaced {
    /// A write of somebody who had read this lost nobody's update. An ask that was on its way while the store lost its data
    /// can bring a tenure back, and a write under it then still lands. As long as nobody else wrote since, it lands where
    /// what its writer had read would be, or where it is itself, had it run before.
    fn is(self, base: Option<Version>, by: Req) -> bool {
        base == self.current.map(|(version, _)| version)
            || self.lost.is_some_and(|(version, writer)| base == Some(version) || writer == by)
    }
}

/// A write, or the refusal of one.
#[derive(Default)]
struct Fate {
    runs: u32,
    /// Its client was told that it did not run.
    refused: bool,
}

impl Register {
    /// It is not there. So it is forgotten after a while, and where the store's clock goes back, versions and tokens may
    /// begin anew below what was; as long as it is there, they rise whatever the clock does.
    fn is_absent(&mut self, bounds: &Bounds) {
        if !bounds.store_clock_monotone {
            (self.last, self.seen) = (0, 0);
        }
    }
}

/// The rules on registers.
#[derive(Default)]
pub(super) struct Registers {
    registers: Vec<Register>,
    past: HashMap<Version, Past>,
    fates: HashMap<Req, Fate>,
    /// Versions that were deleted.
    deleted: HashSet<Version>,
    /// The store's side is in the history.
    is_seen: bool,
}

impl Registers {
    pub(super) fn see(&mut self, at: At, event: &Event, book: &Book, bounds: &Bounds, found: &mut Findings) {
        match *event {
            Event::Stored(stored) => self.stored(at, &stored, book, bounds, found),
            Event::Looked { register, fence } => {
                self.enters(register, fence, found);
                let known = slot(&mut self.registers, register);
                if known.current.is_none() {
                    known.is_absent(bounds);
                }
            }
            Event::Flushed => {
                for register in &mut self.registers {
                    register.lost = register.current.take().or(register.lost);
                    register.seen = 0;
                    register.is_absent(bounds);
                }
                for past in self.past.values_mut() {
                    past.replaced_at = past.replaced_at.or(Some(at));
                }
            }
            Event::Answered { of, answer } if self.is_seen => self.answered(of, answer, book, found),
            _ => {}
        }
    }

    /// Somebody reads or writes under a token.
    fn enters(&mut self, register: u32, fence: u64, found: &mut Findings) {
        let seen = &mut slot(&mut self.registers, register).seen;
        if fence < *seen {
            let seen = *seen;
            found.add(Rule::FencedLate, || format!("register {register}: token {fence} got in after {seen}"));
        }
        *seen = (*seen).max(fence);
    }

    fn stored(&mut self, at: At, stored: &Stored, book: &Book, bounds: &Bounds, found: &mut Findings) {
        self.is_seen = true;
        let Stored { register, version, value, fence } = *stored;
        if let Some(fence) = fence {
            self.enters(register, fence, found);
        }
        let known = slot(&mut self.registers, register);
        if version.number <= known.last {
            let last = known.last;
            found.add(Rule::VersionOrder, || format!("register {register}: {version:?} came after {last}"));
        }
        known.last = known.last.max(version.number);
        let replaced = Replaced { current: known.current, lost: known.lost.take() };
        known.current = value.map(|value| (version, value.by));
        if replaced.current.is_none() {
            known.absent_until = at;
        }
        if value.is_none() {
            known.is_absent(bounds);
        }
        let before = replaced.current.map(|(version, _)| version);
        if let Some(before) = before {
            self.past.entry(before).and_modify(|past| past.replaced_at = Some(at));
        }
        match (value, before) {
            (Some(value), _) => {
                if self.past.insert(version, Past { register, value, replaced_at: None }).is_some() {
                    found.add(Rule::VersionOrder, || format!("register {register}: {version:?} came twice"));
                }
                self.put(register, replaced, value.by, book, bounds, found);
            }
            (None, Some(before)) => drop(self.deleted.insert(before)),
            (None, None) => {
                found.add(Rule::Recording, || format!("register {register}: nothing was deleted"))
            }
        }
    }

    /// A put ran: it replaces what its writer had read, and runs no second time.
    fn put(
        &mut self,
        register: u32,
        replaced: Replaced,
        by: Req,
        book: &Book,
        bounds: &Bounds,
        found: &mut Findings,
    ) {
        let Some(Asked { act: Act::Put { base }, under, .. }) = asked(by, book) else {
            return found
                .add(Rule::Recording, || format!("register {register}: {by} wrote, but sent no put"));
        };
        if !replaced.is(base, by) {
            let there = replaced.current.map(|(version, _)| version);
            found.add(Rule::LostUpdate, || {
                format!("register {register}: {by} had read {base:?}, and replaced {there:?}")
            });
        }
        let fate = self.fates.entry(by).or_default();
        fate.runs += 1;
        // What ran before the store lost its data, it can not know; nor what it forgot when it was time, if its clock goes
        // back. A write over a version needs no memory: what was replaced never comes back.
        let hangs_on_the_clock = base.is_none() || under.is_some();
        let is_forgotten = lost_data_since(by, book) || !bounds.store_clock_monotone && hangs_on_the_clock;
        if fate.runs > 1 && !is_forgotten {
            found.add(Rule::WroteTwice, || format!("register {register}: {by} ran {} times", fate.runs));
        }
        if fate.refused && !is_forgotten {
            found.add(Rule::WriteOutcome, || {
                format!("register {register}: {by} ran after its client was told that it did not")
            });
        }
    }

    fn answered(&mut self, of: Req, answer: Answer, book: &Book, found: &mut Findings) {
        let Some(Asked { register, act, .. }) = asked(of, book) else { return };
        match (act, answer) {
            (Act::Get | Act::Watch { .. }, Answer::Told(Told::Read { version, value })) => {
                let sent_at = book.request(of).map(|request| request.sent_at).unwrap_or_default();
                let past = self.past.get(&version);
                let past = past.filter(|past| past.register == register && past.value == value);
                let Some(past) = past else {
                    return found.add(Rule::StaleRead, || format!("{of} read {version:?}, which never was"));
                };
                if past.replaced_at.is_some_and(|replaced| replaced < sent_at) {
                    found.add(Rule::StaleRead, || {
                        format!("{of} read {version:?}, replaced before it was sent")
                    });
                }
            }
            (Act::Watch { .. }, Answer::Told(Told::Nothing)) => {
                let sent_at = book.request(of).map(|request| request.sent_at).unwrap_or_default();
                let known = slot(&mut self.registers, register);
                if known.current.is_some() && known.absent_until < sent_at {
                    found.add(Rule::StaleRead, || format!("{of} was told that nothing is there"));
                }
            }
            (Act::Put { .. }, Answer::Told(Told::Written(version)))
                if self.past.get(&version).is_none_or(|past| past.value.by != of) =>
            {
                found
                    .add(Rule::WriteOutcome, || format!("{of} was told {version:?}, which it did not write"));
            }
            (Act::Put { .. }, Answer::Refused(refused)) if refused != Refused::Unknown => {
                let fate = self.fates.entry(of).or_default();
                fate.refused = true;
                if fate.runs > 0 && !lost_data_since(of, book) {
                    found.add(Rule::WriteOutcome, || format!("{of} ran, and was told {refused:?}"));
                }
            }
            (Act::Delete { base }, Answer::Told(Told::Deleted)) if !self.deleted.contains(&base) => {
                found.add(Rule::WriteOutcome, || format!("{of} was told that it deleted {base:?}"));
            }
            _ => {}
        }
    }
}

fn asked(of: Req, book: &Book) -> Option<Asked> {
    match book.request(of)?.what {
        Sent::Register(asked) => Some(asked),
        _ => None,
    }
}

fn lost_data_since(of: Req, book: &Book) -> bool {
    let sent_at = book.request(of).map(|request| request.sent_at).unwrap_or_default();
    book.flushed_at.is_some_and(|flushed| flushed >= sent_at)
}
