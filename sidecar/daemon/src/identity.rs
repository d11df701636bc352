//! What this sidecar is: its life, its store, how far its locks reach.
//!
//! Owns the facts that are fixed from start to end, and drawing random identities. Must not know any request.

use crate::config::StoreKind;
use rustix::rand::{GetRandomFlags, getrandom};
use sidelock_engine::Incarnation;
use sidelock_wire::{Guarantee, Scope};
use std::sync::{Arc, OnceLock};

/// The facts. Every grant carries scope and guarantee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// This life of this sidecar.
    pub incarnation: Incarnation,
    /// Where tenures live.
    pub store: StoreKind,
    /// How far its locks reach.
    pub scope: Scope,
    /// The store was seen to be strict. It stays so, or counts as away.
    pub(crate) proven_strict: Arc<OnceLock<()>>,
    /// The part of the store that it works in.
    pub namespace: String,
}

impl Identity {
    /// A new life over this store. `embedded`: inside a program, for that program alone.
    pub(crate) fn new(store: StoreKind, namespace: &str, embedded: bool) -> Identity {
        let scope = match store {
            StoreKind::Memory if embedded => Scope::Process,
            StoreKind::Memory => Scope::Host,
            StoreKind::Redis => Scope::Fleet,
        };
        let (incarnation, namespace) = (Incarnation(draw()), namespace.to_owned());
        Identity { incarnation, store, scope, proven_strict: Arc::default(), namespace }
    }

    /// What holds through a loss of the store's data.
    pub fn guarantee(&self) -> Guarantee {
        match self.store {
            StoreKind::Memory => Guarantee::Local,
            StoreKind::Redis if self.proven_strict.get().is_some() => Guarantee::Strict,
            StoreKind::Redis => Guarantee::Bounded,
        }
    }
}

/// 128 bits that nobody can guess: an incarnation, a lease's or a session's secret.
pub(crate) fn draw() -> u128 {
    let mut bytes = [0_u8; 16];
    // At most 256 bytes are never cut short, and the pool of a host that runs services is ready.
    getrandom(&mut bytes, GetRandomFlags::empty()).expect("the kernel gives random bytes");
    u128::from_le_bytes(bytes)
}
