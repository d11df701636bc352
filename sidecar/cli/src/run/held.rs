//! What `run` holds while its command runs: one key, or several at once.
//!
//! Owns what the command is told of it, and what a `run` inside the command knows by that. Must not know the command.

use sidelock_client::{Lease, LeaseAll, LostReason, Result};

/// One lease, or those of several keys.
pub(super) enum Held {
    One(Lease),
    All(LeaseAll),
}

/// What is told of it.
pub(super) struct Told {
    /// For messages: the key, or the keys.
    pub(super) name: String,
    /// What the command finds in its environment.
    pub(super) environment: Vec<(&'static str, String)>,
}

impl Told {
    /// Of one lease.
    pub(super) fn one(key: &str, fence: u64) -> Told {
        let environment = vec![("SIDELOCK_KEY", key.to_owned()), ("SIDELOCK_FENCE", fence.to_string())];
        Told { name: key.to_owned(), environment }
    }
}

/// Whether the `run` that this process runs in holds `key` under `fence`, as its environment says: who waits for it waits
/// for itself.
pub(crate) fn is_held_around(key: &str, fence: u64) -> bool {
    let said = |name| std::env::var(name).unwrap_or_default();
    let holds = |keys: &str, fences: &str| {
        keys.lines().zip(fences.lines()).any(|held| held == (key, fence.to_string().as_str()))
    };
    holds(&said("SIDELOCK_KEYS"), &said("SIDELOCK_FENCES"))
        || (said("SIDELOCK_KEY") == key && said("SIDELOCK_FENCE") == fence.to_string())
}

impl Held {
    /// Of several keys it is the first in the order of their bytes that has the plain names in the environment;
    /// SIDELOCK_KEYS has a line for each, SIDELOCK_FENCES their tokens in the same order.
    pub(super) fn told(&self) -> Told {
        let leases = match self {
            Held::One(lease) => return Told::one(lease.key(), lease.fence()),
            Held::All(leases) => leases,
        };
        let keys: Vec<&str> = leases.keys().collect();
        let fences: Vec<u64> = leases.fences().map(|(_, fence)| fence).collect();
        let lines: Vec<String> = fences.iter().map(u64::to_string).collect();
        let Told { mut environment, .. } = Told::one(keys[0], fences[0]);
        environment.extend([("SIDELOCK_KEYS", keys.join("\n")), ("SIDELOCK_FENCES", lines.join("\n"))]);
        Told { name: keys.join(", "), environment }
    }

    pub(super) async fn lost(&self) -> LostReason {
        match self {
            Held::One(lease) => lease.lost().await,
            Held::All(leases) => leases.lost().await,
        }
    }

    pub(super) async fn release(self) -> Result<()> {
        match self {
            Held::One(lease) => lease.release().await,
            Held::All(leases) => leases.release().await,
        }
    }
}
