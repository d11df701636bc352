//! What is left over when everything has come to rest.

use serde::{Deserialize, Serialize};

/// What is left at rest; all of it should be zero, or false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rest {
    /// Sessions in sidecars.
    pub sessions: u32,
    /// Live leases in sidecars.
    pub leases: u32,
    /// Waiters in sidecars.
    pub waiters: u32,
    /// Tenures in sidecars.
    pub tenures: u32,
    /// Keys known to sidecars.
    pub keys: u32,
    /// Store calls never answered.
    pub calls: u32,
    /// Records in the store.
    pub records: u32,
    /// It did not come to rest: there was no end of inputs.
    pub restless: bool,
}
