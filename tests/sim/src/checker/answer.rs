//! What clients are answered.
//!
//! Owns the words. Must not judge: whether an answer fits its question is `answers.rs`.

use super::history::{At, Req};
use super::value;
use serde::{Deserialize, Serialize};

/// What a client was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To acquire. It counts as a lease only if its deadline lies ahead when the client reads it.
    Granted {
        /// Its token.
        fence: u64,
        /// The deadline told.
        deadline: At,
    },
    /// To renew.
    Renewed {
        /// The new deadline told.
        deadline: At,
    },
    /// To acquire of a once key: it was done by this turn.
    Done {
        /// Whose result it was told.
        by: Req,
    },
    /// To finish: counted.
    Finished,
    /// To downgrade.
    Downgraded,
    /// To release.
    Released,
    /// To cancel, under the acquire's number.
    Cancelled,
    /// To what was asked of a register.
    Told(value::Told),
    /// To any.
    Refused(Refused),
}

/// Why the answer was no, as far as rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// A try met a holder.
    Held,
    /// The wait was over.
    WaitTimeout,
    /// Its owner stands in a deadlock, and is the victim.
    Deadlock,
    /// Not the speaker's lease, no such lease, or gone.
    NotYours,
    /// The key is in use with another limit.
    OtherLimit,
    /// The register has no value.
    Absent,
    /// The store is away.
    Unavailable,
    /// The store lost its data, and waits until what was granted before is over.
    Quarantined,
    /// The sidecar is going.
    Draining,
    /// It may have run, or not.
    Unknown,
    /// Anything else.
    Other,
}
