//! The turn of a once key, in another language's hands.
//!
//! Owns its end: finished, or given back as any lease is.

use crate::blocking::{self, Delivery, WayBack};
use crate::cancel::{self, Cancel};
use crate::error::{Failure, Result};
use crate::lease::{Held, Lease, LossListener};
use crate::wish::in_ms;
use sidelock_client as sdk;
use std::future::Future;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// What came of entering a once key.
#[derive(Clone, Debug, uniffi::Enum)]
pub enum Entered {
    /// The turn is ours.
    Won {
        /// To be finished, or given back.
        turn: Arc<Turn>,
    },
    /// Somebody did it.
    Done {
        /// The result that was left.
        result: Vec<u8>,
        /// When it was finished, by the store's clock: milliseconds since 1970.
        finished_at_ms: u64,
    },
}

/// The turn of a once key. Given back with its last reference: then the next who waits has it.
#[derive(Debug, uniffi::Object)]
pub struct Turn {
    lease: Arc<Lease>,
}

#[uniffi::export]
impl Turn {
    /// The lease that it is: to be looked at, renewed, watched, or given back undone.
    pub fn lease(&self) -> Arc<Lease> {
        self.lease.clone()
    }

    /// It is done: nobody runs again before the window ends, and `result`, at most 64 KiB, is what the others get. Whatever
    /// comes of this, the turn is over.
    pub async fn finish(&self, result: Vec<u8>, cancel: Option<Arc<Cancel>>) -> Result<()> {
        cancel::run(cancel, self.finishing(result)).await
    }

    /// The same, blocking the thread.
    pub fn finish_blocking(&self, result: Vec<u8>, ticket: u64) -> Result<()> {
        blocking::wait(ticket, || self.finishing(result))
    }
}

impl Turn {
    pub(crate) fn new(turn: sdk::Turn, listener: Option<Arc<dyn LossListener>>) -> Arc<Turn> {
        Arc::new(Turn { lease: Lease::new(vec![turn.view()], Held::Turn(turn), listener) })
    }

    pub(crate) fn finishing(&self, result: Vec<u8>) -> impl Future<Output = Result<()>> + Send + use<> {
        let key = self.lease.key().to_owned();
        let turn = self.lease.take_to_finish();
        async move {
            match turn? {
                Some(turn) => Ok(turn.finish(result).await?),
                None => Err(Failure::turn_closed(&key)),
            }
        }
    }
}

impl Delivery for Entered {
    fn way_back(&self) -> Option<WayBack> {
        match self {
            Entered::Won { turn } => turn.lease.way_back(),
            Entered::Done { .. } => None,
        }
    }
}

impl Entered {
    pub(crate) fn done(outcome: sdk::Outcome) -> Entered {
        let since_1970 = outcome.finished_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Entered::Done { result: outcome.result, finished_at_ms: in_ms(since_1970) }
    }
}
