//! The history checker: reads what happened and says which promise was broken, if one was.
//!
//! Owns the rules by which a run is judged, one file per promise of GUARANTEES.md. Shared by the simulator and by the
//! tests on real processes, so it must not know either: all it sees is a [`History`].

pub mod history;
pub mod census;
pub mod value;
mod bounds;
mod acquire;
mod answer;
mod answers;
mod book;
mod deadlock;
mod fences;
mod fleet;
mod knot;
mod group;
mod once;
mod kept;
mod line;
mod forced;
mod order;
mod overtaking;
mod progress;
mod rate;
mod refusals;
mod registers;
mod rest;
mod revived;
mod store_truth;
mod watches;
mod windows;
#[cfg(test)]
mod deadlock_tests;
#[cfg(test)]
mod followers_tests;
#[cfg(test)]
mod registers_tests;
#[cfg(test)]
mod several_tests;
#[cfg(test)]
mod tests;

use book::Book;
use census::Census;
use history::{At, Event, History, Rest};
use std::fmt;

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// S2: conflicting leases are never held at the same time.
    Exclusion,
    /// S2, S9: what a sidecar has handed out is over before it is served anew, if others had the key in between.
    Revived,
    /// S2, on the sidecar's own side: nobody is granted before the last holder's end was decided.
    GrantBeforeEnd,
    /// Rates: in no window of `per` are there more units granted than the limit.
    Rate,
    /// P19: several keys are granted at once or not at all.
    Group,
    /// P4: no client is told more time than the store confirmed.
    Unconfirmed,
    /// S9: a grant, or a renewal, has time left when it is issued.
    DeadTenure,
    /// S3: no token twice.
    FenceTwice,
    /// S3: of two conflicting leases the later has the greater token.
    FenceOrder,
    /// S3: a token comes from what the store reserved for that sidecar, and reservations do not interleave.
    FenceUnreserved,
    /// S3, P17: a resource that honours tokens, and a register, lose no update.
    LostUpdate,
    /// P17: versions of a register rise, and none comes twice.
    VersionOrder,
    /// P17: no write, and no read, under a token gets in after a later one.
    FencedLate,
    /// P17: a write runs once, however often it is sent.
    WroteTwice,
    /// P17: a client is told that its write ran if it did, and only then.
    WriteOutcome,
    /// A change of a register is told to who watches it, soon, and nobody is told that there was none.
    Unheard,
    /// A read of a register shows what was there after it was asked for.
    StaleRead,
    /// Every request is answered exactly once.
    OneAnswer,
    /// S7, L5: who is refused is refused in time, for a reason that is so, and not granted after all.
    Refusal,
    /// L5: no grant after an acknowledged cancel.
    GrantAfterCancel,
    /// S4: only the holder, or the bearer with the same uid, renews and releases.
    Trespass,
    /// S5: a new incarnation does not serve what an older one granted.
    OldIncarnation,
    /// L2: first come first served within a sidecar, by priority.
    LocalOrder,
    /// L2: first come first served between sidecars.
    StoreOrder,
    /// L2: while another sidecar is known to wait, few local grants follow.
    Overtaking,
    /// L2: a busy sidecar notices soon that another waits, also without pushes.
    Learning,
    /// P7: nothing that a sidecar is done with comes back at the store.
    Ghost,
    /// L1: an offer is taken up in time.
    Wake,
    /// L1, L3, S8: a key that nobody holds is granted in time to one who waits.
    Idle,
    /// S8: nobody loses a lease without a reason.
    Kept,
    /// S8, L3: a lease ends with its `max_hold`, and with the process that holds it.
    Outlived,
    /// P19: those whose lease an operator took hear that it was forced, and nobody else does.
    Forced,
    /// P18: one success per window, and nobody is granted a turn inside it.
    OnceTwice,
    /// P18: only the turn that stands succeeds, and it stays whole until its success is known.
    TurnPassedOn,
    /// P18: whoever is told that it is done gets what the one who did it left.
    ForeignResult,
    /// P10: a try fails only where somebody holds.
    TryRefused,
    /// S10: a victim was needed for a deadlock that stood.
    FalseVictim,
    /// S10: one victim per deadlock.
    SecondVictim,
    /// L4: no deadlock stands for long.
    Undetected,
    /// The clean end: nothing is left over.
    Leftovers,
    /// The history contradicts itself: the recorder is wrong, not the sidecar.
    Recording,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// When it showed.
    pub at: At,
    /// What exactly.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.rule, self.at, self.text)
    }
}

/// Where rules write down what they find.
#[derive(Default)]
struct Findings {
    at: At,
    list: Vec<Violation>,
}

impl Findings {
    /// More than this tells no more.
    const MAX: usize = 20;

    fn add(&mut self, rule: Rule, text: impl FnOnce() -> String) {
        if self.list.len() < Findings::MAX {
            self.list.push(Violation { rule, at: self.at, text: text() });
        }
    }
}

/// What a history shows.
pub struct Judgement {
    /// Broken promises. None: every one was kept, as far as the history shows.
    pub violations: Vec<Violation>,
    /// What deadlocks there were.
    pub census: Census,
}

/// Judges a history: which promises did it break?
pub fn check(history: &History) -> Vec<Violation> {
    judge(history).violations
}

/// Judges a history.
pub fn judge(history: &History) -> Judgement {
    let bounds = &history.bounds;
    let mut found = Findings::default();
    let mut book = Book::default();
    let mut windows = windows::Windows::default();
    let mut revived = revived::Revived::default();
    let mut rates = rate::Rates::default();
    let mut groups = group::Groups::default();
    let mut fences = fences::Fences::default();
    let mut forced = forced::Forced::default();
    let mut kept = kept::Kept::default();
    let mut once = once::Once::default();
    let mut truth = store_truth::StoreTruth::default();
    let mut refusals = refusals::Refusals::default();
    let mut registers = registers::Registers::default();
    let mut watches = watches::Watches::default();
    let mut order = order::Order::default();
    let mut overtaking = overtaking::Overtaking::default();
    let mut progress = progress::Progress::default();
    let mut deadlocks = deadlock::Deadlocks::default();
    for record in &history.records {
        if record.at < found.at {
            found.add(Rule::Recording, || format!("a record of {} follows", record.at));
        }
        found.at = record.at;
        book.see(record.at, &record.event, &mut found);
        answers::see(&record.event, &book, &mut found);
        windows.see(record.at, &record.event, &book, bounds, &mut found);
        revived.see(record.at, &record.event, &book, bounds, &mut found);
        groups.see(record.at, &record.event, &book, &mut found);
        rates.see(record.at, &record.event, &book, bounds, &mut found);
        fences.see(record.at, &record.event, &book, bounds, &mut found);
        forced.see(record.at, &record.event, &book, bounds, &mut found);
        kept.see(record.at, &record.event, &book, bounds, &mut found);
        once.see(record.at, &record.event, &book, bounds, &mut found);
        truth.see(record.at, &record.event, &book, bounds, &mut found);
        refusals.see(record.at, &record.event, &book, bounds, &mut found);
        registers.see(record.at, &record.event, &book, bounds, &mut found);
        watches.see(record.at, &record.event, &book, bounds, &mut found);
        order.see(record.at, &record.event, &book, bounds, &mut found);
        overtaking.see(record.at, &record.event, &book, bounds, &mut found);
        progress.see(record.at, &record.event, &book, bounds, &mut found);
        deadlocks.see(record.at, &record.event, &book, bounds, &mut found);
        if let Event::Rest(rest) = record.event {
            at_rest(rest, &mut found);
            answers::at_rest(&book, &mut found);
        }
        if found.list.len() == Findings::MAX {
            break;
        }
    }
    Judgement { violations: found.list, census: deadlocks.census }
}

fn at_rest(rest: Rest, found: &mut Findings) {
    if rest != Rest::default() {
        found.add(Rule::Leftovers, || format!("at rest, but {rest:?}"));
    }
}

/// The element at `index`, made if it is not there yet.
fn slot<T: Default>(list: &mut Vec<T>, index: u32) -> &mut T {
    let index = index as usize;
    if list.len() <= index {
        list.resize_with(index + 1, T::default);
    }
    &mut list[index]
}
