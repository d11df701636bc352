//! What the sidecars of a round share: a Redis, or several that stand in for one.
//!
//! Owns which shapes there are, and what can be asked of whichever server keeps the records. Must not know what is plagued.

use fastrand::Rng;
use sidelock_e2e::cluster::Cluster;
use sidelock_e2e::redis::Redis;
use sidelock_e2e::sentinel::Ensemble;
use std::time::Instant;

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A Redis, which writes everything to disk before it answers if it is durable.
    Single {
        /// Whether it is.
        durable: bool,
    },
    /// A Redis with replicas, and sentinels.
    Watched,
    /// A cluster.
    Sharded,
    /// A Redis in a network of its own, linked to each sidecar's.
    Linked,
}

/// It, as it runs.
pub enum Store {
    /// See [`Shape::Single`] and [`Shape::Linked`].
    Single(Redis),
    /// See [`Shape::Watched`].
    Watched(Ensemble),
    /// See [`Shape::Sharded`].
    Sharded(Cluster),
}

impl Store {
    /// Starts it.
    pub fn start(shape: Shape) -> Store {
        match shape {
            Shape::Single { durable: true } => Store::Single(Redis::durable()),
            Shape::Single { durable: false } | Shape::Linked => Store::Single(Redis::start()),
            Shape::Watched => Store::Watched(Ensemble::start()),
            Shape::Sharded => Store::Sharded(Cluster::start()),
        }
    }

    /// The one Redis, if it is one.
    pub fn single(&self) -> Option<&Redis> {
        match self {
            Store::Single(redis) => Some(redis),
            Store::Watched(_) | Store::Sharded(_) => None,
        }
    }

    /// The same, to be struck.
    ///
    /// # Panics
    /// If there are several.
    pub fn single_mut(&mut self) -> &mut Redis {
        match self {
            Store::Single(redis) => redis,
            Store::Watched(_) | Store::Sharded(_) => {
                panic!("there is no such trouble where Redis has replicas")
            }
        }
    }

    /// Sends a command to each server that keeps records; the answers.
    ///
    /// # Panics
    /// If one is away, or answers an error.
    pub fn command(&self, words: &[&str]) -> Vec<String> {
        match self {
            Store::Single(redis) => vec![redis.command(words)],
            Store::Watched(ensemble) => vec![ensemble.await_primary().command(words)],
            Store::Sharded(cluster) => cluster.command(words),
        }
    }

    /// Another server takes a primary's place: because it is killed, or though it is alive. `mark` is told what happens, at its
    /// time. Returns when nobody uses the old one any more.
    ///
    /// # Panics
    /// If there is nobody to take its place.
    pub fn fail_over(&mut self, kill: bool, dice: &mut Rng, mark: impl FnMut(Mark)) {
        match self {
            Store::Single(_) => panic!("there is nobody to take its place"),
            Store::Watched(ensemble) => sentinels_fail_over(ensemble, kill, mark),
            Store::Sharded(cluster) => cluster_fails_over(cluster, kill, dice, mark),
        }
    }

    /// The slot of this name moves to another primary.
    ///
    /// # Panics
    /// If there are no slots.
    pub fn move_slot(&self, name: &str, dice: &mut Rng) {
        let Store::Sharded(cluster) = self else { panic!("there are no slots") };
        let slot = cluster.slot_of(name);
        let (from, others): (Vec<_>, Vec<_>) =
            cluster.primaries().into_iter().partition(|number| cluster.has(*number, slot));
        let from = from.first().expect("somebody has the slot");
        cluster.move_slot(slot, *from, others[dice.usize(..others.len())]);
    }
}

/// What happens in a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// About now what was written last may be lost, or may not be seen by all.
    Lossy,
    /// The next primary takes writes since then.
    Promoted(Instant),
}

/// Sentinels do not ask the old primary: it goes on, and sidecars leave it when they hear of the new one. Two of them may lead
/// a failover at a time, and put another server in the place of the one that took it first. So until all agree, and nobody
/// uses the old one, some may use the one and some the other.
fn sentinels_fail_over(ensemble: &mut Ensemble, kill: bool, mut mark: impl FnMut(Mark)) {
    mark(Mark::Lossy);
    let mut succession = if kill { ensemble.kill_primary() } else { ensemble.fail_over() };
    let (new, since) = ensemble.await_successor(&mut succession, || mark(Mark::Lossy));
    mark(Mark::Promoted(since));
    if kill {
        ensemble.start_again(succession.old, new);
    }
    ensemble.await_left(succession.old, || mark(Mark::Lossy));
    mark(Mark::Lossy);
}

/// A primary that is alive hands over all that it has: nothing is lost. Nothing happens while no replica can be elected.
fn cluster_fails_over(cluster: &mut Cluster, kill: bool, dice: &mut Rng, mut mark: impl FnMut(Mark)) {
    let mut primaries = cluster.primaries();
    primaries.retain(|primary| cluster.can_be_replaced(*primary));
    let Some(primary) = dice.choice(primaries) else { return };
    if kill {
        mark(Mark::Lossy);
        cluster.kill_primary(primary);
        mark(Mark::Promoted(Instant::now()));
        mark(Mark::Lossy);
        cluster.start_again(primary);
    } else {
        cluster.hand_over(primary);
        mark(Mark::Promoted(Instant::now()));
    }
    cluster.await_settled();
}
