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
    /// How much of the key. Several shares, or permits, at a sidecar that is not [`known`](Holder::known) are one holder.
    pub mode: Mode,
    /// The sidecar: its [`crate::Sidecar::incarnation`].
    pub sidecar: u128,
    /// It is the sidecar that this client talks to.
    pub local: bool,
    /// Its sidecar said whose the lease is. `false`: it did not within 100 ms, because it is stopped, or busy. Then its
    /// clients hold the key, or it keeps it at hand for the next of them, which delays nobody.
    pub known: bool,
    /// What the program with the lease calls itself; empty if that is not known.
    pub app: String,
    /// The user id of that program, if that is known.
    pub uid: Option<u32>,
    /// The owner that asked for it, if one was named and is known.
    pub owner: Option<String>,
    /// The lease's fence token, if it is known. What is only reserved for a request for several keys has none yet.
    pub fence: Option<u64>,
    /// Since its grant, if that is known.
    pub held_for: Option<Duration>,
    /// Until it ends, unless it is extended before.
    pub expires_in: Duration,
}

impl Client {
    /// Who has `key` now; it is free if nobody is named. Nothing is acquired, and nobody is disturbed: with Redis it is one
    /// look at its record, and a question to the other sidecars in it (64 at most), for whose answers it waits 100 ms at most.
    /// At most a hundred holders are named, of each other sidecar the oldest 32.
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
        let wire::Holder { mode, sidecar, local, expires_in, fence, client } = holder;
        let known = client.is_some();
        let (uid, held_for) = (client.as_ref().map(|c| c.uid), client.as_ref().map(|c| c.held_for));
        let (app, owner) = client.map(|client| (client.app, client.owner)).unwrap_or_default();
        Holder { mode, sidecar, local, known, app, uid, owner, fence, held_for, expires_in }
    }
}
