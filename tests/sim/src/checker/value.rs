//! What clients do with registers, and what becomes of it at the store: the words for it.
//!
//! Owns the vocabulary that `registers` judges by. A register is a counter here: whoever writes one more has read what was
//! there, and says what that was; so every lost update shows in the one write that replaced something else.

use super::history::Req;
use serde::{Deserialize, Serialize};

/// A version: what an ETag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Rises from version to version.
    pub number: u64,
    /// The writing sidecar.
    pub sidecar: u32,
    /// Its number of the write.
    pub seq: u64,
}

/// What a client asks of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Asked {
    /// Of which. Registers are numbered densely from 0 by the recorder.
    pub register: u32,
    /// Under a lease of this key.
    pub under: Option<u32>,
    /// What.
    pub act: Act,
}

/// What is done with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Reads it.
    Get,
    /// Writes what the client computed from what it had read: under a lease, or if that is still there.
    Put {
        /// What it had read; `None`: that nothing was there.
        base: Option<Version>,
    },
    /// Waits until something else is there than this.
    Watch {
        /// What it knows; `None`: that nothing is there.
        known: Option<Version>,
    },
    /// Deletes what it had read, if that is still there.
    Delete {
        /// What it had read.
        base: Version,
    },
}

/// A value: a count, and who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Value {
    /// One more than the value that its writer had read.
    pub count: u64,
    /// The put.
    pub by: Req,
}

/// The store changed a register: a put of a value, or a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stored {
    /// Which.
    pub register: u32,
    /// The new version, or the deletion's.
    pub version: Version,
    /// What is there now.
    pub value: Option<Value>,
    /// The token under which it was done.
    pub fence: Option<u64>,
}

/// What a client was told of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// To get: this is there.
    Read {
        /// Which version.
        version: Version,
        /// Its value.
        value: Value,
    },
    /// To put: it is there now, as this version.
    Written(Version),
    /// To delete: it is not there any more.
    Deleted,
    /// To watch: nothing is there.
    Nothing,
    /// To watch: what is there is what it knows.
    Unchanged,
}
