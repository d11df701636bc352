//! How long a death costs: of a client that holds, and of a sidecar.
//!
//! Owns the measurements and what is promised of them (GUARANTEES, L3).

use crate::fleet::{Fleet, this_program};
use sidelock_e2e::frames::{Peer, try_lock};
use sidelock_e2e::process::Process;
use sidelock_sim::checker::history::{Answer, At, Event, History, Record};
use sidelock_wire::{Acquire, LeaseName, ToClient, ToSidecar};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Promised from a holder's death to the next grant, for 99 of 100.
const HANDOVER: Duration = Duration::from_millis(50);
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

/// Kills holders with a waiter behind them, here and on another sidecar in turn, for so long.
pub fn handovers(fleet: &Fleet, span: Duration) -> Vec<Measured> {
    let end = Instant::now() + span;
    let (here, there) = (fleet.sidecar(0).socket(), fleet.sidecar(1).socket());
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    while Instant::now() < end {
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
    assert!(waiter.hears("its grant", |message| matches!(message, ToClient::Granted(_))));
    let took = start.elapsed();
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
