//! Several keys at once, all or nothing.
//!
//! Owns the request for them and what is held of them: together valid, together lost, together given back. Must not know
//! in which order the sidecar takes them.

use crate::acquire::{Asking, Gain};
use crate::client::{Client, Handle};
use crate::error::{Error, Result};
use crate::lease::{Lease, LeaseView};
use crate::request::{Request, another_kind};
use sidelock_wire::{LostReason, Mode};
use std::collections::BTreeSet;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A request for several keys, all or nothing, to be awaited once or acquired many times. Made by [`Client::lock_all`].
///
/// ```no_run
/// # async fn f(sl: sidelock_client::Client) -> sidelock_client::Result<()> {
/// let both = sl.lock_all(["accounts/1", "accounts/2"]).await?;
/// for (key, fence) in both.fences() {
///     println!("{key}: fence {fence}");
/// }
/// both.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited or acquired"]
pub struct RequestAll {
    request: Request,
}

/// Leases of several keys. They are one thing: as soon as one is lost all are, and the others go back. Dropping this
/// gives them back, without waiting for the answers.
#[derive(Debug)]
#[must_use = "leases that are dropped are released at once"]
pub struct LeaseAll {
    /// In the order of the keys.
    leases: Vec<Lease>,
}

impl Client {
    /// The locks of all these keys at once, in any order; the same key twice counts once. Nobody who asks for several keys
    /// in this way waits for another who does for ever: the sidecar takes them in one order.
    pub fn lock_all<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> RequestAll {
        let keys: BTreeSet<Arc<str>> = keys.into_iter().map(|key| Arc::from(key.as_ref())).collect();
        let mut keys = keys.into_iter();
        // Without any, the sidecar says what is allowed.
        let first = keys.next().unwrap_or_default();
        let mut request = Request::new(&self.handle, first, Mode::Exclusive);
        request.wish.others = keys.collect();
        RequestAll { request }
    }
}

impl RequestAll {
    /// Shares of them, beside other readers, instead of all for itself.
    pub fn shared(mut self) -> RequestAll {
        self.request.wish.mode = Mode::Shared;
        self
    }

    /// See [`Request::wait`]: for all of them together.
    pub fn wait(self, wait: Duration) -> RequestAll {
        RequestAll { request: self.request.wait(wait) }
    }

    /// See [`Request::wait_forever`].
    pub fn wait_forever(self) -> RequestAll {
        RequestAll { request: self.request.wait_forever() }
    }

    /// See [`Request::ttl`].
    pub fn ttl(self, ttl: Duration) -> RequestAll {
        RequestAll { request: self.request.ttl(ttl) }
    }

    /// See [`Request::max_hold`].
    pub fn max_hold(self, max_hold: Duration) -> RequestAll {
        RequestAll { request: self.request.max_hold(max_hold) }
    }

    /// See [`Request::priority`].
    pub fn priority(self, priority: i32) -> RequestAll {
        RequestAll { request: self.request.priority(priority) }
    }

    /// See [`Request::owner`].
    pub fn owner(self, owner: impl AsRef<str>) -> RequestAll {
        RequestAll { request: self.request.owner(owner) }
    }

    /// Acquires them. Dropping the future leaves the queue, gives back what was reserved, and a grant that raced that.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::WaitTimeout`] if the wait is over.
    pub fn acquire(&self) -> AcquiringAll {
        self.clone().into_future()
    }

    /// Acquires them if all are free, or become free within the wait that was said; else `None`.
    ///
    /// # Errors
    /// See [`Error`]; that one of them is held by somebody else is none.
    pub async fn try_acquire(&self) -> Result<Option<LeaseAll>> {
        let request = match self.request.wait_is_said {
            true => self.clone(),
            false => self.clone().wait(Duration::ZERO),
        };
        match request.await {
            Ok(leases) => Ok(Some(leases)),
            Err(Error::WaitTimeout(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl IntoFuture for RequestAll {
    type Output = Result<LeaseAll>;
    type IntoFuture = AcquiringAll;

    fn into_future(self) -> AcquiringAll {
        let Request { handle, wish, .. } = self.request;
        let keys = std::iter::once(&wish.key).chain(wish.others.iter()).cloned().collect();
        let asking = Asking::new(handle.shared.clone(), wish);
        AcquiringAll { asking, handle, keys }
    }
}

/// An acquire of several keys under way. Dropping it takes it back.
#[derive(Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct AcquiringAll {
    asking: Asking,
    handle: Arc<Handle>,
    keys: Vec<Arc<str>>,
}

impl Future for AcquiringAll {
    type Output = Result<LeaseAll>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<LeaseAll>> {
        let Poll::Ready(gain) = Pin::new(&mut self.asking).poll(cx) else {
            return Poll::Pending;
        };
        let holds = match gain? {
            Gain::Several(holds) => holds,
            Gain::Session(hold) => vec![hold],
            Gain::Timed(_) | Gain::Done(_) => return Poll::Ready(Err(another_kind(&self.keys[0]))),
        };
        let leases = holds.into_iter().zip(&self.keys);
        let leases = leases.map(|(hold, key)| Lease::new(self.handle.clone(), hold, key.clone())).collect();
        Poll::Ready(Ok(LeaseAll { leases }))
    }
}

impl LeaseAll {
    /// What is locked, each key once, in the order of their bytes.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.leases.iter().map(Lease::key)
    }

    /// The fence token of each key; see [`Lease::fence`].
    pub fn fences(&self) -> impl Iterator<Item = (&str, u64)> {
        self.leases.iter().map(|lease| (lease.key(), lease.fence()))
    }

    /// The fence token of this key, if it is one of them.
    pub fn fence(&self, key: &str) -> Option<u64> {
        self.fences().find(|(other, _)| *other == key).map(|(_, fence)| fence)
    }

    /// When the first of them ends unless extended; see [`Lease::deadline`].
    pub fn deadline(&self) -> Duration {
        self.leases.iter().map(Lease::deadline).min().unwrap_or_default()
    }

    /// Whether all of them are still yours, by a look at the clock.
    pub fn is_valid(&self) -> bool {
        self.leases.iter().all(Lease::is_valid)
    }

    /// A look at each of them for somebody else, in the order of the keys.
    pub fn views(&self) -> Vec<LeaseView> {
        self.leases.iter().map(Lease::view).collect()
    }

    /// Makes all of them last for `ttl` from now; see [`Lease::renew`].
    ///
    /// # Errors
    /// As there, for the first that can not be renewed.
    pub async fn renew(&self, ttl: Duration) -> Result<()> {
        for lease in &self.leases {
            lease.renew(ttl).await?;
        }
        Ok(())
    }

    /// Waits until one of them is lost, which ends them all, and says why.
    pub async fn lost(&self) -> LostReason {
        let mut losses: Vec<_> = self.leases.iter().map(|lease| Box::pin(lease.lost())).collect();
        poll_fn(|cx| {
            let lost = losses.iter_mut().find_map(|lost| match lost.as_mut().poll(cx) {
                Poll::Ready(reason) => Some(reason),
                Poll::Pending => None,
            });
            lost.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Gives all of them back. They are invalid from the call on, whatever becomes of the future.
    ///
    /// # Errors
    /// As [`Lease::release`], for the first that was not given back; a loss of one is told before an unknown outcome.
    pub fn release(self) -> impl Future<Output = Result<()>> + Send {
        // Made here: each is sent when it is made.
        let releasing: Vec<_> = self.leases.into_iter().map(Lease::release).collect();
        async move {
            let mut outcome = Ok(());
            for release in releasing {
                let release = pin!(release);
                outcome = match (outcome, release.await) {
                    // One of them was lost, and all of them with it.
                    (Err(Error::OutcomeUnknown { .. }), Err(lost @ Error::LeaseLost { .. })) => Err(lost),
                    (outcome, next) => outcome.and(next),
                };
            }
            outcome
        }
    }
}
