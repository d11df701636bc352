//! Who has a key, asked without wanting it.
//!
//! Owns that question. What is to be made of the answer is up to who asked: it may be over when it is read.

use crate::acquire::forked;
use crate::client::Client;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::lease::out_of_turn;
use crate::slots::Answer;
use sidelock_wire::{self as wire, Mode};
use std::sync::Arc;
use std::time::Duration;

/// One of those who have a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// How much of the key. Several shares, or permits, at another sidecar are one holder.
    pub mode: Mode,
    /// The sidecar: its [`crate::Sidecar::incarnation`].
    pub sidecar: u128,
    /// It is a lease of the sidecar that this client talks to, of whomever there. Of another sidecar no more is known than that
    /// it has the key: its clients hold it, or it keeps it at hand for the next of them, which delays nobody.
    pub local: bool,
    /// What the program with the lease calls itself; empty if that is not known.
    pub app: String,
    /// The owner that asked for it, if one was named and is known.
    pub owner: Option<String>,
    /// The lease's fence token, if it is local.
    pub fence: Option<u64>,
    /// Since its grant, if it is local.
    pub held_for: Option<Duration>,
    /// Until it ends, unless it is extended before.
    pub expires_in: Duration,
}

impl Client {
    /// Who has `key` now; it is free if nobody is named. Nothing is acquired, and nobody is disturbed: with Redis it is one
    /// look at its record. At most a hundred are named.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no key, [`Error::StoreUnavailable`] if the store that other sidecars share is away: who
    /// has the key is not known then.
    pub async fn holders(&self, key: impl AsRef<str>) -> Result<Vec<Holder>> {
        let key: Arc<str> = Arc::from(key.as_ref());
        loop {
            if !self.handle.shared.is_own_process() {
                return Err(forked(&key));
            }
            match Command::holders(&self.handle.shared, &key).await {
                Answer::Holders(holders) => return Ok(holders.named.into_iter().map(Holder::from).collect()),
                Answer::Refused(refused) => return Err(Error::refused(&key, refused)),
                Answer::Failed(error) => return Err(error),
                Answer::Interrupted | Answer::Reconnected => {}
                other => return Err(out_of_turn(&key, &other)),
            }
        }
    }
}

impl From<wire::Holder> for Holder {
    fn from(holder: wire::Holder) -> Holder {
        let wire::Holder { mode, sidecar, expires_in, lease } = holder;
        let (fence, held_for) = (lease.as_ref().map(|l| l.fence), lease.as_ref().map(|l| l.held_for));
        let local = lease.is_some();
        let (app, owner) = lease.map(|lease| (lease.app, lease.owner)).unwrap_or_default();
        Holder { mode, sidecar, local, app, owner, fence, held_for, expires_in }
    }
}
