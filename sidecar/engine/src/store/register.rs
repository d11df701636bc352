//! Registers at the store: small values with a version each (P17).
//!
//! Owns the shape and the meaning of reading and writing one. A register has the text of a lock's key in a space of its own
//! and lives in the same slot as that lock's record, so that one step can look at both. Must not know who reads or writes,
//! or why.

use crate::model::{AskId, Etag, Fence, Incarnation, Key, StoreTime};
use std::sync::Arc;
use std::time::Duration;

/// What is known of a register without a value outlives its deletion by this long: far more than a copy of any write that
/// was sent before can take ([`super::REFUSE_AFTER`]).
pub const ABSENT_TTL: Duration = Duration::from_secs(10);

/// Look at a register, and be told of the next change if wanted.
///
/// `bound` fails → [`super::Reply::StaleFence`], nothing written. Otherwise `fence_seen` is raised to its fence, `watch` is
/// entered or refreshed (one that still has half of its time is left as it is), and the answer is
/// [`super::Reply::Unchanged`] if `known` is what is there, else [`super::Reply::Register`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRegister {
    /// The register.
    pub key: Key,
    /// What the reader has already.
    pub known: Known,
    /// Push [`super::Push::Changed`] to this sidecar at the next write of another one.
    pub watch: Option<Watch>,
    /// Only under this lease.
    pub bound: Option<Bound>,
}

/// Write a register, or delete it.
///
/// In this order: the very write was done before → [`super::Reply::Written`] with the version that it made, nothing changed,
/// whatever came after it; a later one of the same incarnation was done → [`super::Reply::Stale`]. `refuse_after` passed →
/// [`super::Reply::TooLate`]. `bound` fails → [`super::Reply::StaleFence`]; else `fence_seen` is raised to its fence, also
/// where the condition fails, because the answer lets its holder read. `condition` fails → [`super::Reply::Conflict`] with
/// what is there. Deleting what is absent → [`super::Reply::Register`] with nothing. Otherwise it is written, under a version
/// max(now, last + 1) that also names the write, and the watchers of other sidecars are pushed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRegister {
    /// The register.
    pub key: Key,
    /// Names the write; seq rises per (key, incarnation), and at most one is outstanding (P7).
    pub id: AskId,
    /// Only if this is so.
    pub condition: Condition,
    /// The new value; `None` deletes.
    pub value: Option<Arc<[u8]>>,
    /// Past this store time the message is void. The same in every copy: so long the store remembers that it ran.
    pub refuse_after: StoreTime,
    /// Only under this lease.
    pub bound: Option<Bound>,
}

/// What a reader has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// That there is no value.
    Absent,
    /// This version.
    Version(Etag),
}

/// What must be so for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Any,
    /// There is no value.
    Absent,
    /// There is a value.
    Present,
    /// There is this very version.
    Match(Etag),
}

/// The lease that an operation is bound to: the lock's record, looked at in the same step, has this tenure, not expired and
/// with fences up to this one reserved, and nobody with a greater fence was here before.
///
/// Its *first* fence is not compared: a tenure that is topped up has a new range, and leases from the old one live on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The tenure that the lease stands on.
    pub tenure: AskId,
    /// The lease's fence.
    pub fence: Fence,
}

/// Who wants to hear of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The sidecar.
    pub incarnation: Incarnation,
    /// For how long.
    pub ttl: Duration,
}

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The version.
    pub etag: Etag,
    /// The value.
    pub value: Arc<[u8]>,
}
