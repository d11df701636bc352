//! What a lease is asked for with.
//!
//! Owns the words. Must not judge: what follows from them is each rule's own.

use super::history::Req;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An acquire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acquire {
    /// Of which key. Keys are numbered densely from 0 by the recorder.
    pub key: u32,
    /// Units wanted.
    pub units: u32,
    /// Units that exist. A lock has `u32::MAX`, exclusive takes all, shared takes one.
    pub limit: u32,
    /// How long the client is ready to wait.
    pub wait: Wait,
    /// Ahead of lower ones; one point is worth a second.
    pub priority: i32,
    /// The lease belongs to a bearer and outlives its connection.
    pub timed: bool,
    /// On whose behalf: an owner of the session, numbered from 0, who does one thing after another. `None`: nobody says.
    pub owner: Option<u32>,
    /// Its units come back so long after the grant, not with its end.
    pub per: Option<Duration>,
    /// The lease is over so long after its grant, whatever renews it.
    #[serde(default)]
    pub max_hold: Option<Duration>,
    /// It wants a turn of a once key.
    #[serde(default)]
    pub turn: bool,
    /// Its wait counts where deadlocks are looked for.
    pub watched: bool,
    /// It takes the place of this shared lease, which its holder keeps until then.
    pub upgrades: Option<Req>,
    /// One of several keys that are asked for at once: all those of the session with this number.
    pub group: Option<u32>,
}

/// How long an acquire waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Not at all.
    Try,
    /// At most so long.
    AtMost(Duration),
    /// Until it is served.
    Forever,
}
