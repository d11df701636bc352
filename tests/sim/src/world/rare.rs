//! Rare things, counted: a run in which one of them hardly ever happened has proved nothing about it.
//!
//! Owns the list. Where they are noticed is beside what they happen to.

use crate::checker::history::{At, Req};
use std::time::Duration;

/// The names, in the order of the counters.
pub const NAMES: [&str; 23] = [
    "handoff while a recall is in flight",
    "claim reply after cancel",
    "expiry during yield",
    "cancel, grant, EOF",
    "cancel, EOF, grant",
    "grant, cancel, EOF",
    "grant, EOF, cancel",
    "EOF, cancel, grant",
    "EOF, grant, cancel",
    "renewal reply after the deadline",
    "FLUSHALL while queued",
    "duplicate claim",
    "push before its claim's reply",
    "crash between offer and take-up",
    "two upgrades that would wait for each other",
    "an upgrade taken back after its grant",
    "a write that ran before",
    "a fenced write that came too late",
    "a write whose condition no longer held",
    "a connection that broke within a pipeline",
    "a call refused by a store without memory",
    "several keys at once, for a time of their own",
    "another limit than the one in use",
];

/// Those of a strict store.
pub const STRICT_NAMES: [&str; 7] = [
    "a tenure was put back",
    "a tenure was not put back",
    "an ask in a quarantine",
    "a renewal while an isolated primary may still grant",
    "a grant by a primary that was replaced",
    "a renewal by a primary that was replaced",
    "a primary without replicas refused",
];

/// Rare things that are not triples.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    HandoffDuringRecall = 0,
    ClaimAfterCancel = 1,
    ExpiryDuringYield = 2,
    RenewalAfterDeadline = 9,
    FlushWhileQueued = 10,
    DuplicateClaim = 11,
    PushBeforeReply = 12,
    CrashWithOffer = 13,
    UpgradeConflict = 14,
    UpgradeTakenBack = 15,
    RepeatedWrite = 16,
    LateFencedWrite = 17,
    WriteConflict = 18,
    CutPipeline = 19,
    RefusedByFull = 20,
    TimedGroup = 21,
    OtherLimit = 22,
    PutBack = 23,
    NotPutBack = 24,
    AskInQuarantine = 25,
    RenewalTooSoon = 26,
    GrantByReplaced = 27,
    RenewalByReplaced = 28,
    RefusedByReplaced = 29,
}

/// One of the three things that race for an acquire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Racer {
    Cancel,
    Grant,
    Eof,
}

/// The three count as a race if they fall so close together.
const RACE: Duration = Duration::from_millis(500);

/// A race under way.
#[derive(Clone, Debug)]
struct Race {
    of: Req,
    since: At,
    order: Vec<Racer>,
}

/// The counters.
#[derive(Clone, Debug, Default)]
pub struct Rare {
    counts: [u64; NAMES.len() + STRICT_NAMES.len()],
    /// Races under way, youngest last.
    races: Vec<Race>,
}

impl Rare {
    /// How often each happened, by name.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.counts)
    }

    /// The same of a strict store.
    pub fn strict_counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        STRICT_NAMES.into_iter().zip(self.counts[NAMES.len()..].iter().copied())
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Rare) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
    }

    pub(crate) fn saw(&mut self, kind: Kind) {
        self.counts[kind as usize] += 1;
    }

    /// A session is over: its recent acquires are raced by that.
    pub(crate) fn session_over(&mut self, at: At, session: u32) {
        let recent = self.races.iter().filter(|race| race.of.session == session);
        for of in recent.map(|race| race.of).collect::<Vec<_>>() {
            self.race(at, of, Racer::Eof);
        }
    }

    /// One of the three reached the sidecar of an acquire.
    pub(crate) fn race(&mut self, at: At, of: Req, racer: Racer) {
        if self.races.first().is_some_and(|race| at.since(race.since) > 2 * RACE) {
            self.races.retain(|race| at.since(race.since) <= RACE);
        }
        let Some(race) = self.races.iter_mut().rev().find(|race| race.of == of) else {
            let order = vec![racer];
            return self.races.push(Race { of, since: at, order });
        };
        if race.order.contains(&racer) {
            return;
        }
        race.order.push(racer);
        let [first, second, _] = race.order[..] else {
            return;
        };
        if at.since(race.since) <= RACE {
            let index = match (first, second) {
                (Racer::Cancel, Racer::Grant) => 3,
                (Racer::Cancel, _) => 4,
                (Racer::Grant, Racer::Cancel) => 5,
                (Racer::Grant, _) => 6,
                (Racer::Eof, Racer::Cancel) => 7,
                (Racer::Eof, _) => 8,
            };
            self.counts[index] += 1;
        }
    }
}
