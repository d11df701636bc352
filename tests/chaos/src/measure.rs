//! How long a death costs: of a client that holds, and of a sidecar.
//!
//! Owns the measurements and what is promised of them (GUARANTEES, L3).

use crate::fleet::{Fleet, this_program};
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::Process;
use sidelock_sim::checker::history::{Answer, At, Event, History, Record};
use sidelock_wire::{Acquire, LeaseName, ToClient, ToSidecar};
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Promised from a holder's death to the next grant, for 99 of 100.
const HANDOVER: Duration = Duration::from_millis(50);
/// Of fewer, 99 of 100 would be all.
const HANDOVERS_MIN: usize = 200;
/// Promised beyond a tenure's time to live after a sidecar's death.
const DEATH: Duration = Duration::from_secs(1);

/// What was measured, and whether it is what was promised.
#[derive(Clone, Debug)]
pub struct Measured {
    /// In words.
    pub text: String,
    /// The promise was kept.
    pub kept: bool,
}

/// Kills holders with a waiter behind them, here and on another sidecar in turn, for so long, or until there are enough.
pub fn handovers(fleet: &Fleet, span: Duration) -> Vec<Measured> {
    let end = Instant::now() + span;
    let (here, there) = (fleet.sidecar(0).socket(), fleet.sidecar(1).socket());
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    while Instant::now() < end || local.len() < HANDOVERS_MIN {
        local.push(handover(here, here));
        remote.push(handover(here, there));
    }
    vec![summary("local", local), summary("remote", remote)]
}

fn summary(what: &str, mut spans: Vec<Duration>) -> Measured {
    spans.sort();
    let at = |percent: usize| spans[(spans.len() * percent / 100).min(spans.len() - 1)];
    let text = format!(
        "{what} grant after a holder's kill: p50 {:.1?}, p99 {:.1?}, longest {:.1?} of {}",
        at(50),
        at(99),
        at(100),
        spans.len()
    );
    Measured { text, kept: at(99) <= HANDOVER }
}

/// From the death of a process that holds the key to the next grant.
fn handover(holders: &Path, waiters: &Path) -> Duration {
    let mut command = Command::new(this_program());
    command.arg("hold").arg("--socket").arg(holders).args(["--key", "handover"]);
    let mut holder = Process::spawn(command);
    holder.line("that it holds", |line| line == "held");
    let mut waiter = Peer::greeted(waiters);
    waiter.say(&ToSidecar::Acquire(Acquire { wait: None, notify_queued: true, ..try_lock(1, "handover") }));
    waiter.hears("that it queues", |message| matches!(message, ToClient::Queued { .. }));
    let start = Instant::now();
    holder.kill();
    let killing = start.elapsed();
    assert!(waiter.hears("its grant", |message| matches!(message, ToClient::Granted(_))));
    let took = start.elapsed();
    // It is dead when its connection is closed. What a busy machine takes to do that is not ours.
    let took = if took > HANDOVER { took - killing } else { took };
    waiter.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
    waiter.hears("that it is free", |message| matches!(message, ToClient::Released { .. }));
    took
}

/// Kills a sidecar that holds a key, and asks for it at another one.
pub fn sidecar_death(fleet: &mut Fleet) -> Measured {
    let mut holder = Peer::greeted(fleet.sidecar(0).socket());
    assert_eq!(holder.acquires(try_lock(1, "death")), "granted");
    let mut waiter = Peer::greeted(fleet.sidecar(1).socket());
    let start = Instant::now();
    fleet.kill_sidecar(0);
    assert_eq!(waiter.acquires(Acquire { wait: None, ..try_lock(1, "death") }), "granted");
    let took = start.elapsed();
    waiter.say(&ToSidecar::Release { request: 2, lease: LeaseName::Session(1) });
    waiter.hears("that it is free", |message| matches!(message, ToClient::Released { .. }));
    fleet.start_sidecar(0);
    let ttl = fleet.size().tenure_ttl;
    let text = format!("granted elsewhere {took:.1?} after a sidecar's kill, of at most {:?}", ttl + DEATH);
    Measured { text, kept: took <= ttl + DEATH }
}

/// When the networks of hosts were struck and mended, in order.
#[derive(Clone, Debug, Default)]
pub struct Turns(Vec<Turn>);

#[derive(Clone, Copy, Debug)]
struct Turn {
    host: usize,
    at: At,
    works: bool,
}

/// A time in which a network works that was struck before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// Whose it is.
    pub host: usize,
    /// When it began.
    pub mended: At,
    /// When it was struck again, if it was.
    pub struck: Option<At>,
}

impl Turns {
    /// Something is wrong with it from now on, in one way or another.
    pub fn struck(&mut self, host: usize, at: At) {
        self.0.push(Turn { host, at, works: false });
    }

    /// All is well again, if it was not.
    pub fn mended(&mut self, host: usize, at: At) {
        if self.0.iter().rfind(|turn| turn.host == host).is_some_and(|last| !last.works) {
            self.0.push(Turn { host, at, works: true });
        }
    }

    /// Each time that it was mended.
    pub fn spells(&self) -> impl Iterator<Item = Spell> {
        self.0.iter().enumerate().filter(|(_, turn)| turn.works).map(|(index, turn)| {
            let struck = self.0[index..].iter().find(|later| later.host == turn.host && !later.works);
            Spell { host: turn.host, mended: turn.at, struck: struck.map(|turn| turn.at) }
        })
    }
}

/// The longest that a sidecar, which has this number in the history, granted nothing while its network worked again. Some client of
/// it must always want what nobody else has. What it knew before runs out in time, so grants that go on are grants of the store.
pub fn recoveries(history: &History, spells: &[(u32, Spell)], limit: Duration) -> Measured {
    let mut answers = history.records.iter().filter(|record| matches!(record.event, Event::Answered { .. }));
    let end = answers.next_back().map_or(At(0), |last| last.at);
    let silences = spells.iter().filter_map(|&(sidecar, spell)| {
        let until = spell.struck.unwrap_or(end);
        // One that was struck again before it had to be back says nothing.
        let says = until >= spell.mended + limit;
        says.then(|| longest_silence(history, sidecar, spell.mended, until))
    });
    let silences: Vec<_> = silences.collect();
    let Some(&longest) = silences.iter().max() else {
        return Measured { text: "no network was mended for long enough".into(), kept: false };
    };
    let count = silences.len();
    let text = format!(
        "without a grant while a sidecar's network was mended, the longest of {count}: {longest:.1?}, of at most {limit:?}"
    );
    Measured { text, kept: longest <= limit }
}

/// The longest time from `from` to `until` in which no client read a grant of this sidecar.
fn longest_silence(history: &History, sidecar: u32, from: At, until: At) -> Duration {
    let mut sessions = HashSet::new();
    let (mut last, mut longest) = (from, Duration::ZERO);
    for &Record { at, event } in history.records.iter().take_while(|record| record.at < until) {
        match event {
            Event::Opened { session, sidecar: of, .. } if of == sidecar => {
                sessions.insert(session);
            }
            Event::Answered { of, answer: Answer::Granted { deadline, .. } }
                if at >= from && deadline > at && sessions.contains(&of.session) =>
            {
                longest = longest.max(at.since(last));
                last = at;
            }
            _ => {}
        }
    }
    longest.max(until.since(last))
}

/// From the instant at which another server took a primary's place to the next grant, of whichever key.
pub fn resumption(history: &History, promoted: At, limit: Duration) -> Measured {
    let granted = |record: &&Record| {
        record.at >= promoted
            && matches!(record.event, Event::Answered { answer: Answer::Granted { deadline, .. }, .. } if deadline > record.at)
    };
    let took = history.records.iter().find(granted).map(|record| record.at.since(promoted));
    match took {
        Some(took) => Measured {
            text: format!("granted again {took:.1?} after another primary took writes, of at most {limit:?}"),
            kept: took <= limit,
        },
        None => {
            Measured { text: "nothing was granted after another primary took writes".into(), kept: false }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelock_sim::checker::history::{Bounds, Refused, Req};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_network_works_from_its_mending_until_it_is_struck_again() {
        let mut turns = Turns::default();
        turns.mended(0, At(0));
        turns.struck(0, At(1));
        turns.struck(0, At(2));
        turns.mended(0, At(3));
        turns.mended(0, At(4));
        turns.struck(1, At(5));
        turns.struck(0, At(6));
        turns.mended(1, At(7));
        let spells = [
            Spell { host: 0, mended: At(3), struck: Some(At(6)) },
            Spell { host: 1, mended: At(7), struck: None },
        ];
        assert_eq!(turns.spells().collect::<Vec<_>>(), spells, "it is mended once");
    }

    #[test]
    fn a_silence_ends_with_a_grant_of_that_sidecar_and_no_other() {
        let opened = |session, sidecar| Event::Opened { session, sidecar, uid: 1 };
        let answer = |session, answer| Event::Answered { of: Req { session, request: 0 }, answer };
        let granted = |session| answer(session, Answer::Granted { fence: 1, deadline: At(99 * SECOND) });
        let over = answer(1, Answer::Granted { fence: 1, deadline: At(0) });
        let refused = answer(2, Answer::Refused(Refused::Held));
        let events = [
            (0, opened(1, 7)),
            (0, opened(2, 8)),
            (1, granted(1)),
            (4, granted(2)),
            (4, over),
            (5, granted(1)),
            (6, granted(1)),
            (9, refused),
        ];
        let records = events.map(|(seconds, event)| Record { at: At(seconds * SECOND), event }).to_vec();
        let history = History { bounds: Bounds::default(), records };
        let kept = |(mended, struck): (u64, Option<u64>), limit| {
            let [mended, struck] = [Some(mended), struck].map(|at| at.map(|seconds| At(seconds * SECOND)));
            let spell = Spell { host: 0, mended: mended.expect("given"), struck };
            recoveries(&history, &[(7, spell)], Duration::from_secs(limit)).kept
        };
        assert!(kept((3, Some(6)), 2), "after two seconds");
        assert!(!kept((3, Some(6)), 1));
        assert!(kept((3, Some(5)), 2), "struck again when it had to be back");
        assert!(!kept((3, Some(4)), 2), "what says nothing proves nothing");
        assert!(!kept((4, Some(8)), 1), "the last may not be long ago");
        assert!(kept((4, Some(8)), 2));
        assert!(kept((5, None), 3), "until somebody heard something for the last time");
        assert!(!kept((5, None), 2));
    }
}
