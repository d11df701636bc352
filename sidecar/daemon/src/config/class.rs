//! Classes: rules of the operator for keys that look alike, and the only label of keys in metrics.
//!
//! Owns what a class is. Must not know requests: the gate applies a class to them.

use serde::{Deserialize, Serialize};
use sidelock_notation::glob;
use std::sync::Arc;
use std::time::Duration;

/// Classes at most: each is a label value in metrics.
pub const CLASSES_MAX: usize = 64;

/// Keys that match a pattern, and what applies to them. The first class that matches a key decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name, as metrics show it.
    pub name: Arc<str>,
    /// A pattern over whole keys: `*` stands for anything but `/`, `**` for anything, `?` for one character but `/`.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Units of a semaphore on these keys, whatever askers say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How long a request waits that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "super::humane::MaybeSpan")]
    pub default_wait: Option<Duration>,
    /// A lease is lost this long after its grant; askers may want less, not more.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "super::humane::MaybeSpan")]
    pub max_hold: Option<Duration>,
    /// What is done about deadlocks.
    #[serde(default)]
    pub deadlock: Deadlock,
}

/// What is done about deadlocks among keys of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Deadlock {
    /// They are found and one victim is told.
    #[default]
    Detect,
    /// Nothing: who waits in a ring waits until its patience ends, or a lease does.
    Off,
}

impl Class {
    /// Whether `key` belongs to it, unless an earlier class has it.
    pub fn matches(&self, key: &str) -> bool {
        glob(&self.pattern, key)
    }
}
