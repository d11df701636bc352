//! A lease in another language's hands.
//!
//! Owns that it is given back once: by release, or when the last reference goes. A forked child that inherits one can only
//! find it dead.

use crate::blocking::{self, Delivery, WayBack};
use crate::cancel::{self, Cancel};
use crate::error::{Failure, Result};
use crate::own_process::OwnProcess;
use crate::runtime;
use crate::wish::LossReason;
use sidelock_client::{self as sdk, LeaseView};
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

/// Hears of the losses of watched leases, on a thread that may wait for the other language.
#[uniffi::export(foreign)]
pub trait LossListener: Send + Sync + fmt::Debug {
    /// The lease that is watched under this number is lost.
    fn lost(&self, number: u64, reason: LossReason);
}

/// The fence token of one key.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Fence {
    /// What is locked.
    pub key: String,
    /// Strictly rising per key, below 2^53.
    pub fence: u64,
}

/// A lease of a key, or of several keys that are held and lost together. Given back with its last reference.
#[derive(uniffi::Object)]
pub struct Lease {
    key: String,
    fences: Vec<Fence>,
    holding: OwnProcess<Holding>,
    listener: Option<Arc<dyn LossListener>>,
}

struct Holding {
    views: Vec<LeaseView>,
    /// `None` once it was given back.
    held: Mutex<Option<Held>>,
}

/// What the SDK gave out, each with an end of its own.
pub(crate) enum Held {
    One(sdk::Lease),
    Several(sdk::LeaseAll),
    Turn(sdk::Turn),
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("fences", &self.fences).finish_non_exhaustive()
    }
}

#[uniffi::export]
impl Lease {
    /// The fence tokens, one per key, in the order of the keys' bytes: to be sent along with every write to what the lease
    /// protects, so that the receiver can refuse a lower one than it has seen.
    pub fn fences(&self) -> Vec<Fence> {
        self.fences.clone()
    }

    /// That of the first key.
    pub fn fence(&self) -> u64 {
        self.fences.first().map_or(0, |fence| fence.fence)
    }

    /// When it ends unless extended, as told last: nanoseconds of `CLOCK_BOOTTIME`. 0 in a forked child.
    pub fn deadline_ns(&self) -> u64 {
        let deadlines = self.views().iter().map(LeaseView::deadline);
        deadlines.min().map_or(0, |deadline| u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Whether it is still yours, by a look at the clock. False after its release and in a forked child.
    pub fn is_valid(&self) -> bool {
        let views = self.views();
        !views.is_empty() && views.iter().all(LeaseView::is_valid)
    }

    /// Whether the sidecar fails to extend it at the moment.
    pub fn is_at_risk(&self) -> bool {
        self.views().iter().any(LeaseView::is_at_risk)
    }

    /// Makes it last so many milliseconds from now. Only for leases with a ttl: nothing else renews those.
    pub async fn renew(&self, ttl_ms: u64, cancel: Option<Arc<Cancel>>) -> Result<()> {
        cancel::run(cancel, self.renewing(ttl_ms)).await
    }

    /// The same, blocking the thread.
    pub fn renew_blocking(&self, ttl_ms: u64, ticket: u64) -> Result<()> {
        blocking::wait(ticket, || self.renewing(ttl_ms))
    }

    /// Gives it back: at once, whatever becomes of the future, which tells when the sidecar has freed it. Once it is given
    /// back there is nothing more to do, and no error in doing it again.
    pub async fn release(&self) -> Result<()> {
        cancel::run(None, self.releasing()).await
    }

    /// The same, blocking the thread.
    pub fn release_blocking(&self, ticket: u64) -> Result<()> {
        blocking::wait(ticket, || self.releasing())
    }

    /// Waits until it is over, and says why it was lost; absent: it was given back.
    pub async fn ended(&self, cancel: Option<Arc<Cancel>>) -> Result<Option<LossReason>> {
        let ended = self.ending();
        cancel::run(cancel, async { Ok(ended.await) }).await
    }

    /// Tells the client's listener under this number should it be lost, once.
    pub fn watch(&self, number: u64) -> Result<()> {
        let Some(listener) = self.listener.clone() else {
            return Err(Failure::invalid(&self.key, "this client was made without a listener"));
        };
        let (runtime, ended) = (runtime::handle()?, self.ending());
        runtime.spawn(async move {
            if let Some(reason) = ended.await {
                // Elsewhere: the other language may be busy, and this thread has all connections to look after.
                tokio::task::spawn_blocking(move || listener.lost(number, reason));
            }
        });
        Ok(())
    }
}

impl Lease {
    pub(crate) fn one(lease: sdk::Lease, listener: Option<Arc<dyn LossListener>>) -> Arc<Lease> {
        Lease::new(vec![lease.view()], Held::One(lease), listener)
    }

    pub(crate) fn several(leases: sdk::LeaseAll, listener: Option<Arc<dyn LossListener>>) -> Arc<Lease> {
        Lease::new(leases.views(), Held::Several(leases), listener)
    }

    pub(crate) fn new(
        views: Vec<LeaseView>,
        held: Held,
        listener: Option<Arc<dyn LossListener>>,
    ) -> Arc<Lease> {
        let fences: Vec<Fence> =
            views.iter().map(|view| Fence { key: view.key().to_owned(), fence: view.fence() }).collect();
        let key = views.iter().map(LeaseView::key).collect::<Vec<_>>().join(", ");
        let holding = OwnProcess::new(Holding { views, held: Mutex::new(Some(held)) });
        Arc::new(Lease { key, fences, holding, listener })
    }

    /// What is locked; of several keys all, with commas between.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// A look at it for an operation that goes by it; an error if it is over or was inherited.
    pub(crate) fn view(&self) -> Result<LeaseView> {
        self.views().first().cloned().ok_or_else(|| Failure::inherited(&self.key))
    }

    /// Takes it out, for whoever ends it; `None`: it was given back before.
    pub(crate) fn take(&self) -> Result<Option<Held>> {
        let holding = self.holding.get().ok_or_else(|| Failure::inherited(&self.key))?;
        Ok(holding.held.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    /// Empty if it was inherited.
    fn views(&self) -> &[LeaseView] {
        self.holding.get().map_or(&[], |holding| &holding.views)
    }

    fn renewing(&self, ttl_ms: u64) -> impl Future<Output = Result<()>> + Send + use<> {
        let (views, inherited) = (self.views().to_vec(), Failure::inherited(&self.key));
        async move {
            if views.is_empty() {
                return Err(inherited);
            }
            for view in views {
                view.renew(Duration::from_millis(ttl_ms)).await?;
            }
            Ok(())
        }
    }

    /// Gives it back now; the future is only about hearing of it.
    fn releasing(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let release = self.take().map(|held| held.map(Held::give_back));
        async move {
            match release? {
                Some(release) => Ok(release.await?),
                None => Ok(()),
            }
        }
    }

    fn ending(&self) -> impl Future<Output = Option<LossReason>> + Send + use<> {
        let views = self.views().to_vec();
        async move {
            if views.is_empty() {
                return Some(LossReason::Session);
            }
            let mut ends: Vec<_> = views.iter().map(|view| Box::pin(view.ended())).collect();
            // Lost together: the first speaks for all.
            let first = poll_fn(|cx| {
                let ended = ends.iter_mut().find_map(|end| match end.as_mut().poll(cx) {
                    Poll::Ready(reason) => Some(reason),
                    Poll::Pending => None,
                });
                ended.map_or(Poll::Pending, Poll::Ready)
            });
            first.await.map(LossReason::from)
        }
    }
}

impl Delivery for Arc<Lease> {
    fn way_back(&self) -> Option<WayBack> {
        let lease = Arc::downgrade(self);
        Some(Box::new(move || drop(lease.upgrade().map(|lease| lease.take()))))
    }
}

impl Held {
    fn give_back(self) -> Giving {
        match self {
            Held::One(lease) => Box::pin(lease.release()),
            Held::Several(leases) => Box::pin(leases.release()),
            Held::Turn(turn) => Box::pin(turn.give_back()),
        }
    }
}

type Giving = std::pin::Pin<Box<dyn Future<Output = sdk::Result<()>> + Send>>;
