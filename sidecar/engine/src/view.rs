//! What an operator may see of the engine: keys, holders, queues, counts. Read-only.
//!
//! Owns the shape of what `ls`, `why` and the gauges show. Must not change anything.

use crate::model::{AskId, Fence, Incarnation, Key, Mode, Owner, SessionId, Time};

/// One key as this sidecar knows it.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// The key.
    pub key: Key,
    /// Its units; [`crate::model::WHOLE`] for a lock.
    pub limit: u32,
    /// Live leases, oldest first.
    pub holders: Vec<HolderView>,
    /// Waiters in the order of grant.
    pub waiters: Vec<WaiterView>,
    /// The sidecar's own stand at the store.
    pub tenure: Option<TenureView>,
    /// The sidecar's ask at the store, if one is under way.
    pub ask: Option<AskView>,
}

/// A live lease.
#[derive(Clone, Debug)]
pub struct HolderView {
    /// Mode.
    pub mode: Mode,
    /// Token.
    pub fence: Fence,
    /// Whose, if its session still exists.
    pub session: Option<SessionId>,
    /// User id it was granted to.
    pub uid: u32,
    /// What the client called itself.
    pub app: String,
    /// Owner.
    pub owner: Option<Owner>,
    /// Since when.
    pub since: Time,
    /// Deadline last known.
    pub deadline: Time,
    /// A timed lease's short public name: not its secret.
    pub reference: Option<u32>,
}

/// A waiter.
#[derive(Clone, Debug)]
pub struct WaiterView {
    /// Mode.
    pub mode: Mode,
    /// Session.
    pub session: SessionId,
    /// User id.
    pub uid: u32,
    /// What the client calls itself.
    pub app: String,
    /// Owner.
    pub owner: Option<Owner>,
    /// Since when.
    pub since: Time,
    /// Priority.
    pub priority: i32,
}

/// A tenure.
#[derive(Clone, Debug)]
pub struct TenureView {
    /// Its id.
    pub id: AskId,
    /// Units.
    pub units: u32,
    /// Confirmed until.
    pub deadline: Time,
    /// No lease stands on it: kept for the next local request.
    pub idle: bool,
    /// Another sidecar wants it.
    pub recalled: bool,
}

/// An ask.
#[derive(Clone, Debug)]
pub struct AskView {
    /// Its id.
    pub id: AskId,
    /// Store entries ahead, once known.
    pub ahead: Option<u32>,
    /// A sidecar in the way, once known.
    pub holder: Option<Incarnation>,
    /// Since when.
    pub since: Time,
}

/// Sizes, for gauges and for tests that demand that nothing leaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open sessions, cut-off ones included.
    pub sessions: usize,
    /// Live leases.
    pub leases: usize,
    /// Queued acquires.
    pub waiters: usize,
    /// Keys known.
    pub keys: usize,
    /// Tenures held, idle ones included.
    pub tenures: usize,
    /// Store calls whose outcome is awaited.
    pub calls: usize,
    /// Since when the oldest waiter waits.
    pub oldest_waiter: Option<Time>,
}
