//! What a sidecar hears unasked, from the store or from another sidecar through it, and the operations by which sidecars
//! tell each other something.
//!
//! Those go the same way as all others, so that one sidecar need not know where another is. They touch no record.

use crate::model::{AskId, Incarnation, Key};
use crate::packed::{Reader, put_key};
use std::sync::Arc;
use std::time::Duration;

/// Keys that one question is about at most …
pub const KEYS_ASKED_MAX: usize = 128;
/// … and bytes that say which those behind the first are.
pub const KEYS_ASKED_BYTES_MAX: usize = 16 * 1024;

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
    /// The key, or the first of several.
    pub key: Key,
    /// The others, each as the first letter of its space and its text, behind their length in two bytes.
    pub more: Arc<[u8]>,
    /// Who asks, and the number of its question.
    pub inquiry: AskId,
    /// Who is asked.
    pub to: Incarnation,
}

/// What a question says of the keys behind the first: of as many as there may be. How many those are.
pub(crate) fn put_keys(keys: &[Key]) -> (Arc<[u8]>, usize) {
    let (mut bytes, mut count) = (Vec::new(), 0);
    for key in keys.iter().take(KEYS_ASKED_MAX - 1) {
        let begin = bytes.len();
        put_key(&mut bytes, key);
        if bytes.len() > KEYS_ASKED_BYTES_MAX {
            bytes.truncate(begin);
            break;
        }
        count += 1;
    }
    (bytes.into(), count)
}

/// All keys of a question; nothing if it is none, or names too many.
pub(crate) fn keys_of(first: Key, more: &[u8]) -> Option<Vec<Key>> {
    let mut from = Reader::new(Some(more).filter(|more| more.len() <= KEYS_ASKED_BYTES_MAX)?);
    let mut keys = vec![first];
    while !from.is_empty() {
        keys.push(from.key()?);
    }
    Some(keys).filter(|keys| keys.len() <= KEYS_ASKED_MAX)
}

/// Publish [`Push::Declared`] to the sidecar that inquired. Touches no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declare {
    /// The key, or the first of several.
    pub key: Key,
    /// What is answered; its incarnation is the addressee.
    pub inquiry: AskId,
    /// Who answers.
    pub from: Incarnation,
    /// The bytes of a [`crate::declaration::Declaration`] of each key, at most [`crate::declaration::ANSWER_BYTES_MAX`].
    pub declarations: Arc<[u8]>,
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
    /// Another sidecar wants to know who holds a key here, and who waits; or several keys.
    Inquired {
        /// The key, or the first of them.
        key: Key,
        /// As in [`Inquire::more`].
        more: Arc<[u8]>,
        /// Who asks, and the number of its question.
        inquiry: AskId,
    },
    /// What another sidecar says of keys, asked by this one.
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
