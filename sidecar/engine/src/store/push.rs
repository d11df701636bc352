//! What a sidecar hears unasked, from the store or from another sidecar through it, and the operations by which sidecars
//! tell each other something.
//!
//! Those go the same way as all others, so that one sidecar need not know where another is. They touch no record.

use crate::model::{AskId, Incarnation, Key};
use std::sync::Arc;
use std::time::Duration;

/// Publish [`Push::Busy`] to another sidecar. Touches no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tell {
    /// The key.
    pub key: Key,
    /// The ask that caused the recall; its incarnation is the addressee.
    pub ask: AskId,
    /// As in [`Push::Busy`].
    pub free_in: Option<Duration>,
}

/// Publish [`Push::Inquired`] to another sidecar. Touches no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquire {
    /// The key.
    pub key: Key,
    /// Who asks, and the number of its inquiry.
    pub inquiry: AskId,
    /// Who is asked.
    pub to: Incarnation,
}

/// Publish [`Push::Declared`] to the sidecar that inquired. Touches no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declare {
    /// The key.
    pub key: Key,
    /// What is answered; its incarnation is the addressee.
    pub inquiry: AskId,
    /// Who answers.
    pub from: Incarnation,
    /// The bytes of a [`crate::stand::Stand`], at most [`crate::stand::STAND_BYTES_MAX`].
    pub stand: Arc<[u8]>,
}

/// What the store, or another sidecar through it, tells a sidecar unasked. A hint: it makes the engine ask, it never
/// installs anything (P3), and any number of them may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// Your ask was offered: ask again now.
    Offer {
        /// The key.
        key: Key,
        /// The offered ask.
        ask: AskId,
    },
    /// Somebody waits for what you hold.
    Recall {
        /// The key.
        key: Key,
        /// Who waits.
        ask: AskId,
    },
    /// The holder has a live lease and can not obey your recall.
    Busy {
        /// The key.
        key: Key,
        /// Your ask.
        ask: AskId,
        /// Time alone brings units back: the first of them after this, in whole microseconds and not 0.
        free_in: Option<Duration>,
    },
    /// A tenure of yours was taken away by force. It never lies, however late it comes: ids are used once.
    Forced {
        /// The key.
        key: Key,
        /// The tenure.
        tenure: AskId,
    },
    /// A register that you watch was written.
    Changed {
        /// The register.
        key: Key,
    },
    /// Another sidecar wants to know who holds a key here, and who waits.
    Inquired {
        /// The key.
        key: Key,
        /// Who asks, and the number of its inquiry.
        inquiry: AskId,
    },
    /// What another sidecar says of a key, asked by this one.
    Declared(Box<Declare>),
}

/// A push and whom it is for: a store's `apply` returns these beside its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// The addressee.
    pub to: Incarnation,
    /// What it is told.
    pub push: Push,
}
