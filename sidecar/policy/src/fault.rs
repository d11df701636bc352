//! Why a policy could not decide.
//!
//! Owns the names of the limits: each stops its own kind of guest, and is told by its own name in logs, metrics and
//! answers. Must not know what is done about a fault.

use std::time::Duration;

/// Why a call ended without a decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ran too long.
    #[error("ran longer than its deadline of {0:?}")]
    Deadline(Duration),
    /// It wanted more linear memory than it may have. In bytes.
    #[error("wanted {wanted} bytes of memory; {allowed} are allowed")]
    Memory {
        /// In all its memories together.
        wanted: u64,
        /// The policy's `memory`.
        allowed: u64,
    },
    /// It wanted more table elements than it may have.
    #[error("wanted {wanted} table elements; {allowed} are allowed")]
    Table {
        /// In all its tables together.
        wanted: u64,
        /// The same for all policies.
        allowed: u64,
    },
    /// It called itself too deeply.
    #[error("its calls are nested too deeply")]
    Stack,
    /// It handed over texts or lists that are too long.
    #[error("handed over more than {allowed} bytes of texts and lists at a time")]
    Lists {
        /// Bytes that one call may carry from the guest.
        allowed: usize,
    },
    /// It trapped: an `unreachable`, a division by zero, an access out of bounds, an aborted assertion.
    #[error("trapped: {0}")]
    Trap(String),
    /// It called something that a policy does not have, such as a clock of WASI.
    #[error("called `{0}`, which a policy does not have")]
    Forbidden(String),
    /// `configure` did not accept settings that `validate` found good.
    #[error("did not accept its settings: {0}")]
    Settings(String),
    /// Its answer breaks a rule: an edit that no client could have asked for, a reason code with blanks in it.
    #[error("gave an answer that is not allowed: {0}")]
    Answer(String),
    /// More names are being counted than a policy may have.
    #[error("counts more than {0} names at a time")]
    Counters(usize),
    /// Others were admitted each time that it was asked, and what it decides by was not so any more.
    #[error("decides by what it counts, and that changed {0} times while it was asked")]
    Contended(usize),
    /// There is no room for another instance.
    #[error("no room for another instance: {0}")]
    Room(String),
    /// More requests wait for it than may.
    #[error("{0} requests wait for it already")]
    Busy(usize),
    /// It failed several times in a row, and is left alone for a while.
    #[error("failed {0} times in a row and is left alone for a while")]
    Resting(u32),
}

impl Fault {
    /// The name of the limit, for metrics and for programs: one word.
    pub fn limit(&self) -> &'static str {
        match self {
            Fault::Deadline(_) => "deadline",
            Fault::Memory { .. } => "memory",
            Fault::Table { .. } => "table",
            Fault::Stack => "stack",
            Fault::Lists { .. } => "lists",
            Fault::Trap(_) => "trap",
            Fault::Forbidden(_) => "forbidden",
            Fault::Settings(_) => "settings",
            Fault::Answer(_) => "answer",
            Fault::Counters(_) => "counters",
            Fault::Contended(_) => "contended",
            Fault::Room(_) => "room",
            Fault::Busy(_) => "busy",
            Fault::Resting(_) => "resting",
        }
    }

    /// Whether the guest is to blame: only that counts towards its rest.
    pub(crate) fn of_guest(&self) -> bool {
        !self.passes() && !matches!(self, Fault::Counters(_))
    }

    /// Whether it is over by itself: others were there, or were to blame.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Fault::Contended(_) | Fault::Room(_) | Fault::Busy(_) | Fault::Resting(_))
    }
}
