//! Another mode for a lease: shared instead of exclusive, and back.
//!
//! Owns where the SDK's lease is meanwhile: with the change, which puts it back whatever becomes of it. Whoever releases
//! the lease meanwhile ends the change.

use crate::blocking;
use crate::cancel::{self, Cancel};
use crate::error::{Failure, Result};
use crate::lease::{Held, Lease, Place};
use crate::signal::Signal;
use crate::wish::FOREVER_MS;
use sidelock_client as sdk;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A change that is under way.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// The lease is to be given back instead.
    pub(crate) give_back: Signal,
    /// The lease is back in its place, or given back.
    pub(crate) settled: Signal,
}

#[uniffi::export]
impl Lease {
    /// Makes a shared lease exclusive, once nobody else holds the key, before all who wait. Until then, and if it comes to
    /// nothing, the lease is what it was. Afterwards it has another fence. Waits as [`crate::Wish::wait_ms`] says.
    pub async fn upgrade(self: Arc<Self>, wait_ms: Option<u64>, cancel: Option<Arc<Cancel>>) -> Result<()> {
        cancel::run(cancel, self.upgrading(wait_ms)).await
    }

    /// The same, blocking the thread.
    pub fn upgrade_blocking(self: Arc<Self>, wait_ms: Option<u64>, ticket: u64) -> Result<()> {
        blocking::wait(ticket, || self.upgrading(wait_ms))
    }

    /// Makes it a share again if it has another fence than this by now: for whoever was cancelled, or interrupted, in the moment in
    /// which its upgrade was granted, and so has not heard of it.
    pub fn undo_upgrade(&self, fence: u64) {
        // In a forked child there is nothing to undo.
        let Ok(holding) = self.holding() else { return };
        if let Place::Here(Held::One(lease)) = &holding.place
            && lease.fence() != fence
        {
            lease.downgrade_unheard();
        }
    }

    /// Lets readers in beside an exclusive lease, without anybody coming in between. It keeps its fence.
    pub async fn downgrade(self: Arc<Self>, cancel: Option<Arc<Cancel>>) -> Result<()> {
        cancel::run(cancel, self.downgrading()).await
    }

    /// The same, blocking the thread.
    pub fn downgrade_blocking(self: Arc<Self>, ticket: u64) -> Result<()> {
        blocking::wait(ticket, || self.downgrading())
    }
}

impl Lease {
    fn upgrading(self: &Arc<Self>, wait_ms: Option<u64>) -> impl Future<Output = Result<()>> + Send + use<> {
        let borrowed = Borrowed::from(self);
        async move {
            let mut borrowed = borrowed?;
            let change = borrowed.change.clone();
            let upgrade = borrowed.lease().upgrade();
            let upgrade = match wait_ms {
                None => upgrade,
                Some(FOREVER_MS) => upgrade.wait_forever(),
                Some(wait) => upgrade.wait(Duration::from_millis(wait)),
            };
            unless_given_back(&change, upgrade.into_future())
                .await
                .unwrap_or_else(|| Err(borrowed.given_back()))
        }
    }

    fn downgrading(self: &Arc<Self>) -> impl Future<Output = Result<()>> + Send + use<> {
        let borrowed = Borrowed::from(self);
        async move {
            let mut borrowed = borrowed?;
            let change = borrowed.change.clone();
            let downgrade = borrowed.lease().downgrade();
            unless_given_back(&change, downgrade).await.unwrap_or_else(|| Err(borrowed.given_back()))
        }
    }
}

/// What came of the change; nothing if the lease is to be given back.
async fn unless_given_back(
    change: &Change,
    operation: impl Future<Output = sdk::Result<()>>,
) -> Option<Result<()>> {
    tokio::select! {
        biased;
        () = change.give_back.given() => None,
        outcome = operation => Some(outcome.map_err(Failure::from)),
    }
}

/// The SDK's lease, while it is changed.
struct Borrowed {
    owner: Arc<Lease>,
    change: Arc<Change>,
    /// `None` only while dropping.
    lease: Option<sdk::Lease>,
}

impl Borrowed {
    fn from(owner: &Arc<Lease>) -> Result<Borrowed> {
        let invalid = |text| Err(Failure::invalid(owner.key(), text));
        let mut holding = owner.holding()?;
        let change = Arc::new(Change::default());
        match std::mem::replace(&mut holding.place, Place::Changing(change.clone())) {
            Place::Here(Held::One(lease)) => {
                Ok(Borrowed { owner: owner.clone(), change, lease: Some(lease) })
            }
            before => {
                let refused = match &before {
                    Place::Finishing | Place::GivenBack => Err(Failure::given_back(owner.key())),
                    Place::Changing(_) => {
                        invalid("this lease is being upgraded or downgraded already; wait for that")
                    }
                    Place::Here(_) => {
                        invalid("only the lease of one key has a mode to change; acquire it as you need it")
                    }
                };
                holding.place = before;
                refused
            }
        }
    }

    fn lease(&mut self) -> &mut sdk::Lease {
        self.lease.as_mut().expect("it is put back when this is dropped")
    }

    fn given_back(&self) -> Failure {
        Failure::given_back(self.owner.key())
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // In a forked child there is no place to put it, and nobody to give it back to.
        let (Some(lease), Ok(mut holding)) = (self.lease.take(), self.owner.holding()) else { return };
        self.owner.goes_on_as(&mut holding, &lease.view());
        let wanted_back = self.change.give_back.is_given();
        let given_back = match wanted_back {
            true => {
                holding.place = Place::GivenBack;
                Some(lease)
            }
            false => {
                holding.place = Place::Here(Held::One(lease));
                None
            }
        };
        drop(holding);
        // Before anybody hears that it is settled.
        drop(given_back);
        self.change.settled.give();
    }
}
