//! What a store knows of all keys at once: a question of a person, never of a rule.
//!
//! Owns the shape of the answer and its bounds. Must not know how a store finds out.

use sidelock_engine::Key;
use sidelock_engine::store::Peeked;
use std::collections::BTreeMap;

/// Keys in use that one listing names at most.
pub const KEYS_LISTED_MAX: usize = 1000;
/// Names at the store that one listing looks through at most, whoever's they are.
pub const NAMES_SCANNED_MAX: usize = 200_000;

/// Locks and turns that somebody holds or waits for, over all sidecars of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The keys, each as one look showed it: there is no instant at which all of it stood.
    pub keys: BTreeMap<Key, Peeked>,
    /// It ended early, and there may be more.
    pub cut: Option<Cut>,
}

/// Why a listing ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It names [`KEYS_LISTED_MAX`] keys.
    Keys,
    /// It looked through [`NAMES_SCANNED_MAX`] names.
    Names,
}
