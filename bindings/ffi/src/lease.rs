//! A lease in another language's hands.
//!
//! Owns that it is given back once: by release, or when the last reference goes. A forked child that inherits one can only
//! find it dead. What changes its mode is `mode`.

use crate::blocking::{self, Delivery, WayBack};
use crate::cancel::{self, Cancel};
use crate::error::{Failure, Result};
use crate::mode::Change;
use crate::own_process::OwnProcess;
use crate::runtime::runtime;
use crate::wish::LossReason;
use sidelock_client::{self as sdk, LeaseView};
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// One of each key. Only an upgrade changes it, which is for leases of one key.
    fences: Vec<(String, AtomicU64)>,
    /// Apart, so that who waits for its end refers to nothing of the other language's.
    holding: Arc<OwnProcess<Mutex<Holding>>>,
    listener: Option<Arc<dyn LossListener>>,
}

pub(crate) struct Holding {
    views: Vec<LeaseView>,
    pub(crate) place: Place,
}

/// Where what the SDK gave out is.
pub(crate) enum Place {
    Here(Held),
    /// With the upgrade or downgrade that is under way.
    Changing(Arc<Change>),
    /// With the finish of its turn: whoever finishes hears what became of it, and nobody else is to be stopped for a loss.
    Finishing,
    GivenBack,
}

/// What of it was there to be ended.
pub(crate) enum Taken {
    Held(Held),
    /// The change that was under way has it, and gives it back.
    GivenBackBy(Arc<Change>),
    /// It was given back before.
    Nothing,
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
        let fence =
            |(key, fence): &(String, AtomicU64)| Fence { key: key.clone(), fence: fence.load(Relaxed) };
        self.fences.iter().map(fence).collect()
    }

    /// That of the first key.
    pub fn fence(&self) -> u64 {
        self.fences.first().map_or(0, |(_, fence)| fence.load(Relaxed))
    }

    /// When it ends unless extended, as told last: nanoseconds of `CLOCK_BOOTTIME`. 0 in a forked child.
    pub fn deadline_ns(&self) -> u64 {
        let deadline = self.look(|views| views.iter().map(LeaseView::deadline).min());
        deadline.map_or(0, |deadline| u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Whether it is still yours, by a look at the clock. False after its release and in a forked child.
    pub fn is_valid(&self) -> bool {
        self.look(|views| !views.is_empty() && views.iter().all(LeaseView::is_valid))
    }

    /// Whether the sidecar fails to extend it at the moment.
    pub fn is_at_risk(&self) -> bool {
        self.look(|views| views.iter().any(LeaseView::is_at_risk))
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
        cancel::run(None, self.releasing(true)).await
    }

    /// The same, blocking the thread.
    pub fn release_blocking(&self, ticket: u64) -> Result<()> {
        // A signal's handler may give back what the call that it interrupted is changing: that one ends it when it goes on.
        let waits = !blocking::has_interrupted();
        blocking::wait(ticket, || self.releasing(waits))
    }

    /// Waits until it is over, and says why it was lost; absent: it was given back.
    pub async fn ended(self: Arc<Self>, cancel: Option<Arc<Cancel>>) -> Result<Option<LossReason>> {
        let ended = self.ending();
        // Waiting for its end keeps nobody's lease.
        drop(self);
        cancel::run(cancel, async { Ok(ended.await) }).await
    }

    /// Good while this object is; for `plain`.
    pub fn address(&self) -> u64 {
        std::ptr::from_ref(self) as u64
    }

    /// Tells the client's listener under this number should it be lost, once. Permits of a rate end by themselves, and who
    /// finishes a turn hears what became of it: nobody is to stop for that, and nothing is told.
    pub fn watch(self: Arc<Self>, number: u64) -> Result<()> {
        // Not kept by the task: its end would be the other language's business, on this thread, maybe while that language ends.
        let Some(listener) = self.listener.as_ref().map(Arc::downgrade) else {
            return Err(Failure::invalid(&self.key, "this client was made without a listener"));
        };
        let (runtime, ended) = (runtime()?, self.ending());
        let (holding, of_rate) = (
            Arc::downgrade(&self.holding),
            self.look(|views| views.iter().any(LeaseView::ends_with_its_rate)),
        );
        runtime.handle().spawn(async move {
            if let Some(reason) = ended.await
                && !(of_rate && reason == LossReason::Expired)
                && !holding.upgrade().is_some_and(|holding| is_finishing(&holding))
                && let Some(visit) = runtime.visits().announce()
            {
                // Elsewhere: the other language may be busy, and this thread has all connections to look after.
                tokio::task::spawn_blocking(move || {
                    if let Some(listener) = listener.upgrade() {
                        listener.lost(number, reason);
                    }
                    drop(visit);
                });
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
        let fence = |view: &LeaseView| (view.key().to_owned(), AtomicU64::new(view.fence()));
        let fences = views.iter().map(fence).collect();
        let key = views.iter().map(LeaseView::key).collect::<Vec<_>>().join(", ");
        let holding = Arc::new(OwnProcess::new(Mutex::new(Holding { views, place: Place::Here(held) })));
        Arc::new(Lease { key, fences, holding, listener })
    }

    /// What is locked; of several keys all, with commas between.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// A look at it for an operation that goes by it; an error if it was inherited.
    pub(crate) fn view(&self) -> Result<LeaseView> {
        self.look(|views| views.first().cloned()).ok_or_else(|| Failure::inherited(&self.key))
    }

    /// Takes it out, for whoever ends it. A change that is under way ends with this.
    pub(crate) fn take(&self) -> Result<Taken> {
        let mut holding = self.holding()?;
        Ok(match std::mem::replace(&mut holding.place, Place::GivenBack) {
            Place::Here(held) => Taken::Held(held),
            Place::Changing(change) => {
                change.give_back.give();
                holding.place = Place::Changing(change.clone());
                Taken::GivenBackBy(change)
            }
            Place::Finishing => {
                holding.place = Place::Finishing;
                Taken::Nothing
            }
            Place::GivenBack => Taken::Nothing,
        })
    }

    /// Takes a turn out to finish it; nothing if it is over.
    pub(crate) fn take_to_finish(&self) -> Result<Option<sdk::Turn>> {
        let mut holding = self.holding()?;
        match std::mem::replace(&mut holding.place, Place::Finishing) {
            Place::Here(Held::Turn(turn)) => Ok(Some(turn)),
            before => {
                holding.place = before;
                Ok(None)
            }
        }
    }

    /// What there is to hold, for a moment; an error if it was inherited.
    pub(crate) fn holding(&self) -> Result<MutexGuard<'_, Holding>> {
        look_at(&self.holding).ok_or_else(|| Failure::inherited(&self.key))
    }

    /// It has another name from now on.
    pub(crate) fn goes_on_as(&self, holding: &mut Holding, view: &LeaseView) {
        if let Some((_, fence)) = self.fences.first() {
            fence.store(view.fence(), Relaxed);
        }
        holding.views = vec![view.clone()];
    }

    /// Looks at it; at nothing if it was inherited.
    fn look<T>(&self, look: impl FnOnce(&[LeaseView]) -> T) -> T {
        match self.holding() {
            Ok(holding) => look(&holding.views),
            Err(_) => look(&[]),
        }
    }

    fn renewing(&self, ttl_ms: u64) -> impl Future<Output = Result<()>> + Send + use<> {
        let views = self.holding().map(|holding| holding.views.clone());
        async move {
            for view in views? {
                view.renew(Duration::from_millis(ttl_ms)).await?;
            }
            Ok(())
        }
    }

    /// Gives it back now; the future is only about hearing of it. `waits`: also for a change that has it meanwhile.
    pub(crate) fn releasing(&self, waits: bool) -> impl Future<Output = Result<()>> + Send + use<> {
        let release: Result<Giving> = self.take().map(|taken| match taken {
            Taken::Held(held) => held.give_back(),
            Taken::GivenBackBy(change) if waits => Box::pin(async move {
                change.settled.given().await;
                Ok(())
            }),
            Taken::GivenBackBy(_) | Taken::Nothing => Box::pin(async { Ok(()) }),
        });
        async move { Ok(release?.await?) }
    }

    /// Does not keep it: who waits for the end of a lease that nobody refers to any more hears that it was given back.
    fn ending(self: &Arc<Self>) -> impl Future<Output = Option<LossReason>> + Send + use<> {
        let (holding, views) = (Arc::downgrade(&self.holding), self.look(<[LeaseView]>::to_vec));
        async move {
            if views.is_empty() {
                return Some(LossReason::Session);
            }
            let mut views = views;
            loop {
                if let Some(reason) = first_end(&views).await {
                    return Some(LossReason::from(reason));
                }
                // Given back; or it was a share, and is upgraded.
                if let Some(change) = holding.upgrade().and_then(|holding| look_at(&holding)?.change()) {
                    change.settled.given().await;
                }
                views = match &*look_at(&*holding.upgrade()?)? {
                    Holding { place: Place::GivenBack | Place::Finishing, .. } => return None,
                    Holding { views, .. } => views.clone(),
                };
            }
        }
    }
}

/// What there is to hold, for a moment; nothing if it was inherited.
fn look_at(holding: &OwnProcess<Mutex<Holding>>) -> Option<MutexGuard<'_, Holding>> {
    Some(holding.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}

fn is_finishing(holding: &OwnProcess<Mutex<Holding>>) -> bool {
    look_at(holding).is_some_and(|holding| matches!(holding.place, Place::Finishing))
}

impl Holding {
    /// The change that is under way.
    fn change(&self) -> Option<Arc<Change>> {
        match &self.place {
            Place::Changing(change) => Some(change.clone()),
            Place::Here(_) | Place::Finishing | Place::GivenBack => None,
        }
    }
}

/// Why the first of them was lost, which speaks for all; `None`: it is over for another reason.
async fn first_end(views: &[LeaseView]) -> Option<sdk::LostReason> {
    let mut ends: Vec<_> = views.iter().map(|view| Box::pin(view.ended())).collect();
    poll_fn(|cx| {
        let ended = ends.iter_mut().find_map(|end| match end.as_mut().poll(cx) {
            Poll::Ready(reason) => Some(reason),
            Poll::Pending => None,
        });
        ended.map_or(Poll::Pending, Poll::Ready)
    })
    .await
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
