//! What goes wrong, and when it is over.
//!
//! Owns each kind of trouble: how it strikes a fleet and how it ends. Must not know which round wants which.

use crate::fleet::{Fleet, Health};
use crate::proxy::{Flow, Flows};
use fastrand::Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than a session lives without a sign of its client.
const ASLEEP: Duration = Duration::from_secs(32);

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
}

/// What ends a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Relief {
    Client(usize),
    Sidecar(usize),
    NewSidecar(usize),
    Redis,
    NewRedis,
    Network(usize),
    /// Not the end yet: what was late does not arrive any more.
    Silence(usize),
}

/// Plagues a fleet until `end` with these troubles, each about so often. How many struck.
pub fn plague(fleet: &mut Fleet, troubles: &[(Duration, Trouble)], end: Instant, dice: &mut Rng) -> u32 {
    let begun = Instant::now();
    let mut strikes = 0;
    let mut due: BinaryHeap<Reverse<(Instant, Step)>> = BinaryHeap::new();
    for (index, (every, _)) in troubles.iter().enumerate() {
        due.push(Reverse((begun + every.mul_f64(0.2 + 0.5 * dice.f64()), Step::Strike(index))));
    }
    while let Some(Reverse((at, step))) = due.pop() {
        if at >= end {
            continue;
        }
        // A plan, not a wait for something to happen: the troubles are spaced in time.
        thread::sleep(at.saturating_duration_since(Instant::now()));
        match step {
            Step::Relieve(relief) => {
                if let Some((span, next)) = relieve(fleet, relief) {
                    due.push(Reverse((Instant::now() + span, Step::Relieve(next))));
                }
            }
            Step::Strike(index) => {
                let (every, trouble) = troubles[index];
                strikes += 1;
                if let Some((span, relief)) = strike(fleet, trouble, dice) {
                    due.push(Reverse((Instant::now() + span, Step::Relieve(relief))));
                }
                due.push(Reverse((Instant::now() + every.mul_f64(0.6 + 0.8 * dice.f64()), step)));
            }
        }
    }
    thread::sleep(end.saturating_duration_since(Instant::now()));
    strikes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Strike(usize),
    Relieve(Relief),
}

/// Strikes; what ends it, and after how long, unless it is over at once.
fn strike(fleet: &mut Fleet, trouble: Trouble, dice: &mut Rng) -> Option<(Duration, Relief)> {
    let ttl = fleet.size().tenure_ttl;
    let client = dice.usize(..fleet.clients().max(1));
    let host = dice.usize(..fleet.hosts());
    let mut span = |from: f64, to: f64| ttl.mul_f64(from + (to - from) * dice.f64());
    match trouble {
        Trouble::ClientKilled => {
            fleet.replace_client(client);
            None
        }
        Trouble::ClientStopped => {
            fleet.stop_client(client);
            Some((span(0.1, 1.6), Relief::Client(client)))
        }
        Trouble::ClientAsleep => {
            fleet.stop_client(client);
            Some((ASLEEP, Relief::Client(client)))
        }
        Trouble::SidecarKilled => {
            fleet.kill_sidecar(host);
            Some((span(0.0, 0.3), Relief::NewSidecar(host)))
        }
        Trouble::SidecarStopped => {
            fleet.stop_sidecar(host);
            Some((span(0.5, 2.0), Relief::Sidecar(host)))
        }
        Trouble::RedisStopped => {
            fleet.stop_redis();
            Some((span(0.1, 1.5), Relief::Redis))
        }
        Trouble::RedisKilled | Trouble::RedisLost => {
            fleet.kill_redis(trouble == Trouble::RedisKilled);
            Some((span(0.0, 0.8), Relief::NewRedis))
        }
        Trouble::Flushed | Trouble::ScriptsFlushed | Trouble::ConnectionsKilled(_) => {
            command(fleet, trouble);
            None
        }
        Trouble::Network(kind) => {
            fleet.set_network(host, flows(kind, dice));
            let span = ttl.mul_f64(0.1 + 1.7 * dice.f64());
            match kind {
                // Nobody misses what is only a hint: that stays so.
                Network::Deaf => None,
                Network::Fading => Some((ttl.mul_f64(0.4 + 0.4 * dice.f64()), Relief::Silence(host))),
                _ => Some((span, Relief::Network(host))),
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

/// Ends a trouble; what comes then, and after how long, if it is not over.
fn relieve(fleet: &mut Fleet, relief: Relief) -> Option<(Duration, Relief)> {
    match relief {
        Relief::Client(client) => fleet.continue_client(client),
        Relief::Sidecar(host) => fleet.continue_sidecar(host),
        Relief::NewSidecar(host) => fleet.start_sidecar(host),
        Relief::Redis => fleet.continue_redis(),
        Relief::NewRedis => fleet.start_redis(),
        Relief::Network(host) => fleet.set_network(host, Flows::PASS),
        Relief::Silence(host) => {
            fleet.set_network(host, Flows::both(Flow::Held));
            return Some((fleet.size().tenure_ttl.mul_f64(1.3), Relief::Network(host)));
        }
    }
    None
}
