//! What to ask for, as plain records.
//!
//! Owns their meaning and the way into the SDK's words. Spans are whole milliseconds everywhere: that is what travels.

use crate::error::{Failure, Result};
use sidelock_client::{self as sdk, Window};
use std::time::Duration;

/// A wait of this many milliseconds has no end, whatever the client's default is.
pub(crate) const FOREVER_MS: u64 = u64::MAX;

/// A request for leases.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Wish {
    /// What to lock: one key, or several, all or nothing. A key has 1 to 512 bytes of UTF-8.
    pub keys: Vec<String>,
    /// How much of it.
    pub units: Units,
    /// Waits so long at most, in milliseconds; absent: as the client's default says; 2^64 - 1: without end.
    #[uniffi(default = None)]
    pub wait_ms: Option<u64>,
    /// Loses the lease so long after its grant or last renewal, in milliseconds. Absent: the session keeps it alive.
    #[uniffi(default = None)]
    pub ttl_ms: Option<u64>,
    /// Loses the lease so long after its grant, in milliseconds, whatever keeps it alive.
    #[uniffi(default = None)]
    pub max_hold_ms: Option<u64>,
    /// The sequential actor that asks, for the detection of deadlocks.
    #[uniffi(default = None)]
    pub owner: Option<String>,
    /// Ahead of local waiters with a lower one, -100 to 100.
    #[uniffi(default = 0)]
    pub priority: i32,
    /// If the owner holds the key already, one more handle of that lease.
    #[uniffi(default = false)]
    pub reentrant: bool,
}

/// How much of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Units {
    /// All of it.
    Exclusive,
    /// A share, beside other readers.
    Shared,
    /// Some of a semaphore's permits.
    Permits {
        /// How many.
        permits: u32,
        /// Of how many.
        limit: u32,
    },
    /// Some of a rate's permits, which come back a while after the grant.
    Rate {
        /// How many.
        permits: u32,
        /// Of how many in any window.
        limit: u32,
        /// The window's length in milliseconds.
        per_ms: u64,
    },
}

/// A request for the turn of a once key.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct TurnWish {
    /// What is to be done once.
    pub key: String,
    /// Per how many milliseconds.
    pub per_ms: u64,
    /// Where the window begins.
    pub align: Align,
    /// See [`Wish::wait_ms`].
    #[uniffi(default = None)]
    pub wait_ms: Option<u64>,
    /// See [`Wish::ttl_ms`].
    #[uniffi(default = None)]
    pub ttl_ms: Option<u64>,
    /// See [`Wish::max_hold_ms`].
    #[uniffi(default = None)]
    pub max_hold_ms: Option<u64>,
    /// See [`Wish::owner`].
    #[uniffi(default = None)]
    pub owner: Option<String>,
    /// See [`Wish::priority`].
    #[uniffi(default = 0)]
    pub priority: i32,
}

/// Where a window of a once key begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Align {
    /// With the grant of the turn that succeeds.
    Rolling,
    /// At whole multiples of its length since 1970-01-01T00:00:00Z.
    Utc,
}

/// How far a sidecar's locks reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Scope {
    /// This process: the embedded sidecar.
    Process,
    /// This host: a sidecar on the memory store.
    Host,
    /// All sidecars that share the store.
    Fleet,
}

/// What holds through a loss of the store's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Guarantee {
    /// Nothing to lose: the store lives and dies with the sidecar.
    Local,
    /// Leases of before and after may overlap for as long as a lease lasts; fences stay ordered.
    Bounded,
    /// No grant until every lease of before has run out.
    Strict,
}

/// Why a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum LossReason {
    /// Its ttl passed without a renewal.
    Expired,
    /// Its `max_hold` passed.
    MaxHold,
    /// The store did not confirm it in time, or no longer knows it.
    Store,
    /// Its session gave no sign of life in time, was cut off, or belongs to another process.
    Session,
    /// An operator took it.
    Forced,
    /// The sidecar that granted it is no more.
    SidecarRestarted,
    /// A reason that this version does not know.
    Other,
}

/// A request of the SDK for one key or several, which have the same options by the same names.
macro_rules! with_options {
    ($request:expr, $wish:expr) => {{
        let mut request = $request;
        match $wish.wait_ms {
            None => {}
            Some(FOREVER_MS) => request = request.wait_forever(),
            Some(wait) => request = request.wait(Duration::from_millis(wait)),
        }
        if let Some(ttl) = $wish.ttl_ms {
            request = request.ttl(Duration::from_millis(ttl));
        }
        if let Some(max_hold) = $wish.max_hold_ms {
            request = request.max_hold(Duration::from_millis(max_hold));
        }
        if let Some(owner) = &$wish.owner {
            request = request.owner(owner);
        }
        if $wish.priority != 0 {
            request = request.priority($wish.priority);
        }
        request
    }};
}

impl Wish {
    /// For one key.
    pub(crate) fn single(&self, client: &sdk::Client, key: &str) -> sdk::Request {
        let request = match self.units {
            Units::Exclusive => client.lock(key),
            Units::Shared => client.rwlock(key).read(),
            Units::Permits { permits, limit } => client.semaphore(key, limit).permits(permits),
            Units::Rate { permits, limit, per_ms } => {
                client.rate(key, limit, Duration::from_millis(per_ms)).permits(permits)
            }
        };
        let request = with_options!(request, self);
        if self.reentrant { request.reentrant() } else { request }
    }

    /// For several.
    pub(crate) fn several(&self, client: &sdk::Client) -> Result<sdk::RequestAll> {
        let request = client.lock_all(&self.keys);
        let request = match self.units {
            Units::Exclusive => request,
            Units::Shared => request.shared(),
            Units::Permits { .. } | Units::Rate { .. } => {
                return Err(Failure::invalid(
                    &self.keys.join(", "),
                    "several keys at once can be locks, exclusive or shared",
                ));
            }
        };
        if self.reentrant {
            return Err(Failure::invalid(&self.keys.join(", "), "several keys at once can not be reentrant"));
        }
        Ok(with_options!(request, self))
    }
}

impl TurnWish {
    pub(crate) fn request(&self, client: &sdk::Client) -> sdk::Once {
        let per = Duration::from_millis(self.per_ms);
        let window = match self.align {
            Align::Rolling => Window::rolling(per),
            Align::Utc => Window::utc(per),
        };
        with_options!(client.once(&self.key, window), self)
    }
}

impl From<Scope> for sdk::Scope {
    fn from(scope: Scope) -> sdk::Scope {
        match scope {
            Scope::Process => sdk::Scope::Process,
            Scope::Host => sdk::Scope::Host,
            Scope::Fleet => sdk::Scope::Fleet,
        }
    }
}

impl From<sdk::Scope> for Scope {
    fn from(scope: sdk::Scope) -> Scope {
        match scope {
            sdk::Scope::Process => Scope::Process,
            sdk::Scope::Host => Scope::Host,
            sdk::Scope::Fleet => Scope::Fleet,
        }
    }
}

impl From<sdk::Guarantee> for Guarantee {
    fn from(guarantee: sdk::Guarantee) -> Guarantee {
        match guarantee {
            sdk::Guarantee::Local => Guarantee::Local,
            sdk::Guarantee::Bounded => Guarantee::Bounded,
            sdk::Guarantee::Strict => Guarantee::Strict,
        }
    }
}

impl From<sdk::LostReason> for LossReason {
    fn from(reason: sdk::LostReason) -> LossReason {
        match reason {
            sdk::LostReason::Expired => LossReason::Expired,
            sdk::LostReason::MaxHold => LossReason::MaxHold,
            sdk::LostReason::Store => LossReason::Store,
            sdk::LostReason::Session => LossReason::Session,
            sdk::LostReason::Forced => LossReason::Forced,
            sdk::LostReason::SidecarRestarted => LossReason::SidecarRestarted,
            sdk::LostReason::Other => LossReason::Other,
        }
    }
}

/// A span in whole milliseconds.
pub(crate) fn in_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
