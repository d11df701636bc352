//! What a victim of a deadlock is told: who waits for whom, all the way round.
//!
//! Owns the shape. Must not know how a deadlock was found.

use crate::model::{Incarnation, Key, Mode};
use std::sync::Arc;
use std::time::Duration;

/// A ring of owners, each of whom waits for the next, and the last for the first, who is the one that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// At least one: an owner can wait for itself.
    pub edges: Vec<Edge>,
}

/// An owner waits for a key that the owner of the next edge holds, or will get before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// What is waited for.
    pub key: Key,
    /// How much of it.
    pub mode: Mode,
    /// Who waits.
    pub owner: Arc<str>,
    /// What its client calls itself.
    pub app: Arc<str>,
    /// Its sidecar.
    pub sidecar: Incarnation,
    /// How long it has been waiting.
    pub waiting_for: Duration,
    /// How long the owner of the next edge has held the key; `None`: it waits for the key itself, further ahead.
    pub held_for: Option<Duration>,
}
