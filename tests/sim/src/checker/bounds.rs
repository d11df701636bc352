//! What the rules may assume about a run.
//!
//! Owns the numbers that they judge by. A recorder that knows less promises less.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Two clocks differ by this much of a time at most (A1).
pub(super) const RATES_DIFFER_MAX: f64 = 0.02;

/// What the rules may assume about a run, and the numbers they judge by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The clocks kept within A1: windows must be disjoint, told deadlines confirmed.
    pub clocks_agree: bool,
    /// The store's clock never went back: fences must rise.
    pub store_clock_monotone: bool,
    /// Leases exclude each other through the loss of the store's data too (S6).
    #[serde(default)]
    pub strict: bool,
    /// Pushes arrive, once and soon: a try and a wake may rely on them.
    pub pushes_arrive: bool,
    /// Time to live of a tenure.
    pub tenure_ttl: Duration,
    /// The longest time that any tenure was ever confirmed for: `tenure_ttl` or the longest timed lease, whichever is
    /// longer. A sidecar's death, or the loss of the store's data, costs at most this.
    pub longest: Duration,
    /// How long an idle tenure is retained.
    pub retention: Duration,
    /// Grants to local waiters once another sidecar is known to wait.
    pub handoffs_max: u32,
    /// … and for how long.
    pub handoff_time_max: Duration,
    /// How long a busy tenure goes without contact to the store.
    pub contact_every: Duration,
    /// How long a waiter goes without asking again (L1).
    pub wake_max: Duration,
    /// How long a deadlock may stand (L4).
    pub deadlock_max: Duration,
    /// How long after a disturbance its traces may still be seen: offers to nobody, entries of nobody.
    pub settle: Duration,
    /// Longest undisturbed time from a sidecar to the store and back, queueing included.
    pub round_trip: Duration,
    /// Leeway on every bound on time: timers and messages between client and sidecar.
    pub slack: Duration,
}

impl Default for Bounds {
    /// The defaults of a sidecar on a well-behaved local store.
    fn default() -> Bounds {
        Bounds {
            clocks_agree: true,
            store_clock_monotone: true,
            strict: false,
            pushes_arrive: false,
            tenure_ttl: Duration::from_secs(10),
            longest: Duration::from_secs(10),
            retention: Duration::from_secs(1),
            handoffs_max: 32,
            handoff_time_max: Duration::from_millis(50),
            contact_every: Duration::from_millis(50),
            wake_max: Duration::from_secs(1),
            deadlock_max: Duration::from_secs(2),
            settle: Duration::from_secs(4),
            round_trip: Duration::from_millis(20),
            slack: Duration::from_millis(20),
        }
    }
}
