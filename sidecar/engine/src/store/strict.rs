//! What `strict` adds to the contract: how a tenure goes on when the store has lost its data (P20).
//!
//! Owns the one operation that may create what no ask won. Must not know how a store notices that it lost data, nor for how
//! long it grants nothing then: that is the store's business, and a store that is not strict never answers
//! [`Reply::Quarantined`](super::Reply::Quarantined) or [`Reply::Forgotten`](super::Reply::Forgotten).

use crate::model::{AskId, Fence, FenceRange, Key, StoreTime};
use std::time::Duration;

/// A live tenure that the store forgot is put back. The answer to a renewal that was [`Reply::Forgotten`](super::Reply::Forgotten).
///
/// `refuse_after` passed → [`Reply::TooLate`](super::Reply::TooLate). No quarantine any more →
/// [`Reply::Gone`](super::Reply::Gone). Renewals are not taken yet → [`Reply::Quarantined`](super::Reply::Quarantined). Taken
/// by force, or done with (`done_upto`, or a newer tenure of this incarnation) → as to a renewal. The record has this very
/// tenure → it is renewed. Otherwise it takes the place of an older one of its incarnation; stands beside the others if its
/// units fit; or, if its range starts above `last`, instead of them: they are older, and over. If neither,
/// [`Reply::Gone`](super::Reply::Gone).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassert {
    /// The key.
    pub key: Key,
    /// The tenure.
    pub tenure: AskId,
    /// Units that it has.
    pub units: u32,
    /// Units that the key has.
    pub limit: u32,
    /// What the store said of it, see [`Tenancy`](super::Tenancy).
    pub origin: Fence,
    /// The fences that it may still hand out. It gets no others before the quarantine is over.
    pub range: FenceRange,
    /// New time to live.
    pub ttl: Duration,
    /// Past this store time the message is void (P7): the tenure may be over by then.
    pub refuse_after: StoreTime,
}
