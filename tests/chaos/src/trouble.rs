//! What goes wrong, and when it is over.
//!
//! Owns each kind of trouble: how it strikes a fleet and how it ends, and that no trouble ends another one: what is in
//! trouble is spared until that is over. Must not know which round wants which.

use crate::fleet::{Fleet, Health};
use crate::proxy::{Flow, Flows};
use crate::wish::DOZED;
use fastrand::Rng;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than a session lives without a sign of its client.
pub const ASLEEP: Duration = Duration::from_secs(32);
/// Longer than a lease on [`DOZED`] lives, so that there is time for the next one. Less than a short round.
pub const DOZING: Duration = Duration::from_secs(3);

/// A slow network, in milliseconds.
const LATE_MAX_MS: u64 = 150;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A client is killed, another one takes its place.
    ClientKilled,
    /// A client is stopped for a time.
    ClientStopped,
    /// A client is stopped for longer than its session lives.
    ClientAsleep,
    /// The holder of [`DOZED`] is stopped for longer than its lease lives.
    HolderDozing,
    /// A sidecar is killed and started again.
    SidecarKilled,
    /// A sidecar is stopped for up to twice its tenures' time to live.
    SidecarStopped,
    /// Redis is stopped for a time.
    RedisStopped,
    /// Redis is killed and comes back with its data.
    RedisKilled,
    /// Redis is killed and comes back empty.
    RedisLost,
    /// Another server takes the place of the primary, which goes on answering.
    FailedOver,
    /// The primary is killed, and another server takes its place.
    PrimaryKilled,
    /// The slot of a key moves to another primary.
    SlotMoved,
    /// FLUSHALL.
    Flushed,
    /// SCRIPT FLUSH.
    ScriptsFlushed,
    /// Redis closes its connections, of this kind.
    ConnectionsKilled(&'static str),
    /// Something is wrong between a sidecar and Redis, for up to twice its tenures' time to live.
    Network(Network),
}

/// What is wrong with a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The sidecar does not hear what Redis sends unasked.
    Deaf,
    /// Nothing arrives until it is over, and then everything.
    Hole,
    /// The same, and what was sent meanwhile never arrives.
    Swallowed,
    /// What the sidecar sends does not arrive until it is over.
    AsksHeld,
    /// What the sidecar is answered does not arrive until it is over.
    AnswersHeld,
    /// What the sidecar is answered never arrives.
    AnswersSwallowed,
    /// Everything is late.
    Late,
    /// Everything is late, and then nothing arrives until the tenures confirmed last have run out.
    Fading,
    /// The sidecar's connections break, and new ones too.
    Cut,
    /// The link between its pod and Redis is down until its tenures have run out: packets get lost, and nobody says so.
    Unplugged,
}

/// What can be in trouble, and in one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Victim {
    kind: Kind,
    number: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Client,
    Sidecar,
    Network,
    Redis,
}

/// What ends a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Relief {
    /// It goes on.
    Continue,
    /// Another one in its place.
    Start,
    /// Everything passes.
    Pass,
    /// Not the end yet: what was late does not arrive any more.
    Silence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Strike(usize),
    Relieve(Victim, Relief),
}

/// Plagues a fleet until `end` with these troubles, each about so often. How many struck.
pub fn plague(fleet: &mut Fleet, troubles: &[(Duration, Trouble)], end: Instant, dice: &mut Rng) -> u32 {
    let begun = Instant::now();
    let mut plague = Plague { fleet, dice, in_trouble: BTreeSet::new(), strikes: 0 };
    let mut due: BinaryHeap<Reverse<(Instant, Step)>> = BinaryHeap::new();
    for (index, (every, _)) in troubles.iter().enumerate() {
        due.push(Reverse((begun + every.mul_f64(0.2 + 0.5 * plague.dice.f64()), Step::Strike(index))));
    }
    while let Some(Reverse((at, step))) = due.pop() {
        if at >= end {
            continue;
        }
        // A plan, not a wait for something to happen: the troubles are spaced in time.
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let next = match step {
            Step::Relieve(victim, relief) => plague.relieve(victim, relief),
            Step::Strike(index) => {
                let (every, trouble) = troubles[index];
                let again = every.mul_f64(0.6 + 0.8 * plague.dice.f64());
                due.push(Reverse((Instant::now() + again, step)));
                plague.strike(trouble)
            }
        };
        due.extend(next.map(|(span, step)| Reverse((Instant::now() + span, step))));
    }
    thread::sleep(end.saturating_duration_since(Instant::now()));
    plague.strikes
}

/// A fleet in trouble.
struct Plague<'a> {
    fleet: &'a mut Fleet,
    dice: &'a mut Rng,
    in_trouble: BTreeSet<Victim>,
    strikes: u32,
}

impl Plague<'_> {
    /// Strikes somebody who is in no trouble, if there is anybody; what comes next of it, and after how long.
    fn strike(&mut self, trouble: Trouble) -> Option<(Duration, Step)> {
        let victim = self.victim(trouble)?;
        self.strikes += 1;
        let (span, relief) = strike(self.fleet, trouble, victim.number, self.dice)?;
        self.in_trouble.insert(victim);
        Some((span, Step::Relieve(victim, relief)))
    }

    fn victim(&mut self, trouble: Trouble) -> Option<Victim> {
        let kind = kind_of(trouble);
        let numbers = match kind {
            _ if trouble == Trouble::HolderDozing => self.fleet.holder(DOZED).into_iter().collect(),
            Kind::Client => Vec::from_iter(0..self.fleet.clients()),
            Kind::Sidecar | Kind::Network => Vec::from_iter(0..self.fleet.hosts()),
            Kind::Redis => vec![0],
        };
        let victims = numbers.into_iter().map(|number| Victim { kind, number });
        self.dice.choice(victims.filter(|victim| !self.in_trouble.contains(victim)).collect::<Vec<_>>())
    }

    fn relieve(&mut self, victim: Victim, relief: Relief) -> Option<(Duration, Step)> {
        match (victim.kind, relief) {
            (Kind::Client, _) => self.fleet.continue_client(victim.number),
            (Kind::Sidecar, Relief::Start) => self.fleet.start_sidecar(victim.number),
            (Kind::Sidecar, _) => self.fleet.continue_sidecar(victim.number),
            (Kind::Redis, Relief::Start) => self.fleet.start_redis(),
            (Kind::Redis, _) => self.fleet.continue_redis(),
            (Kind::Network, Relief::Silence) => {
                self.fleet.strike_network(victim.number, Flows::both(Flow::Held));
                let span = self.fleet.size().tenure_ttl.mul_f64(1.3);
                return Some((span, Step::Relieve(victim, Relief::Pass)));
            }
            (Kind::Network, _) => self.fleet.mend_network(victim.number),
        }
        self.in_trouble.remove(&victim);
        None
    }
}

fn kind_of(trouble: Trouble) -> Kind {
    match trouble {
        Trouble::ClientKilled | Trouble::ClientStopped | Trouble::ClientAsleep | Trouble::HolderDozing => {
            Kind::Client
        }
        Trouble::SidecarKilled | Trouble::SidecarStopped => Kind::Sidecar,
        Trouble::Network(_) => Kind::Network,
        Trouble::RedisStopped
        | Trouble::RedisKilled
        | Trouble::RedisLost
        | Trouble::FailedOver
        | Trouble::PrimaryKilled
        | Trouble::SlotMoved
        | Trouble::Flushed
        | Trouble::ScriptsFlushed
        | Trouble::ConnectionsKilled(_) => Kind::Redis,
    }
}

/// Strikes the victim of this number; what ends it, and after how long, unless it is over at once.
fn strike(fleet: &mut Fleet, trouble: Trouble, victim: usize, dice: &mut Rng) -> Option<(Duration, Relief)> {
    let ttl = fleet.size().tenure_ttl;
    let span = |dice: &mut Rng, from: f64, to: f64| ttl.mul_f64(from + (to - from) * dice.f64());
    match trouble {
        Trouble::ClientKilled => {
            fleet.replace_client(victim);
            None
        }
        Trouble::ClientStopped => {
            fleet.stop_client(victim);
            Some((span(dice, 0.1, 1.6), Relief::Continue))
        }
        Trouble::ClientAsleep => {
            fleet.stop_client(victim);
            Some((ASLEEP, Relief::Continue))
        }
        Trouble::HolderDozing => {
            fleet.stop_client(victim);
            Some((DOZING, Relief::Continue))
        }
        Trouble::SidecarKilled => {
            fleet.kill_sidecar(victim);
            Some((span(dice, 0.0, 0.3), Relief::Start))
        }
        Trouble::SidecarStopped => {
            fleet.stop_sidecar(victim);
            Some((span(dice, 0.5, 2.0), Relief::Continue))
        }
        Trouble::RedisStopped => {
            fleet.stop_redis();
            Some((span(dice, 0.1, 1.5), Relief::Continue))
        }
        Trouble::RedisKilled | Trouble::RedisLost => {
            fleet.kill_redis(trouble == Trouble::RedisKilled);
            Some((span(dice, 0.0, 0.8), Relief::Start))
        }
        Trouble::FailedOver | Trouble::PrimaryKilled => {
            fleet.fail_over(trouble == Trouble::PrimaryKilled, dice);
            None
        }
        Trouble::SlotMoved => {
            fleet.move_slot(dice);
            None
        }
        Trouble::Flushed | Trouble::ScriptsFlushed | Trouble::ConnectionsKilled(_) => {
            command(fleet, trouble);
            None
        }
        Trouble::Network(kind) => {
            match kind {
                Network::Unplugged => fleet.unplug(victim),
                _ => fleet.strike_network(victim, flows(kind, dice)),
            }
            match kind {
                // Nobody misses what is only a hint: that stays so.
                Network::Deaf => None,
                Network::Unplugged => Some((ttl.mul_f64(1.1 + 0.6 * dice.f64()), Relief::Pass)),
                Network::Fading => Some((ttl.mul_f64(0.4 + 0.4 * dice.f64()), Relief::Silence)),
                _ => Some((ttl.mul_f64(0.1 + 1.7 * dice.f64()), Relief::Pass)),
            }
        }
    }
}

/// What is done to Redis by a command, if it takes any.
fn command(fleet: &mut Fleet, trouble: Trouble) {
    match trouble {
        _ if fleet.health() != Health::Up => {}
        Trouble::Flushed => fleet.flush(),
        Trouble::ConnectionsKilled(kind) => {
            fleet.redis(&["CLIENT", "KILL", "TYPE", kind]);
        }
        _ => {
            fleet.redis(&["SCRIPT", "FLUSH", "SYNC"]);
        }
    }
}

fn flows(kind: Network, dice: &mut Rng) -> Flows {
    let late = Duration::from_millis(dice.u64(1..=LATE_MAX_MS));
    match kind {
        Network::Hole => Flows::both(Flow::Held),
        Network::Swallowed => Flows::both(Flow::Swallowed),
        Network::Cut => Flows::both(Flow::Cut),
        Network::Unplugged => Flows::PASS,
        Network::Deaf => Flows { from_redis: Flow::Deaf, ..Flows::PASS },
        Network::AsksHeld => Flows { to_redis: Flow::Held, ..Flows::PASS },
        Network::AnswersHeld => Flows { from_redis: Flow::Held, ..Flows::PASS },
        Network::AnswersSwallowed => Flows { from_redis: Flow::Swallowed, ..Flows::PASS },
        Network::Fading => {
            Flows { from_redis: Flow::Late(Duration::from_millis(LATE_MAX_MS)), ..Flows::PASS }
        }
        Network::Late => {
            Flows { to_redis: Flow::Late(late.mul_f64(dice.f64())), from_redis: Flow::Late(late) }
        }
    }
}
